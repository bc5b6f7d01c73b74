"""MEDA against its formula over all pairs of rows; neighbours and graph against direct search."""

import isthmus as im
import numpy as np
import pytest
from conftest import oracle_matrix
from isthmus.align import classify
from isthmus.align.mathematics import graphs, neighbours
from isthmus.align.mathematics.contrasts import estimate_balance
from isthmus.align.mathematics.geodesic import flow_root, geodesic
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import normalize
from test_align_contrasts import dense as dense_contrasts

NAMES = np.array(["ash", "birch", "cedar"])


def three_classes(seed=0, n=45, m=38, d=9):
    rng = np.random.default_rng(seed)
    centres = 1.2 * rng.normal(size=(3, d))
    y, y_target = np.arange(n) % 3, np.arange(m) % 3
    X = rng.normal(size=(n, d)) + centres[y]
    return X, y, rng.normal(size=(m, d)) + 0.7 * centres[y_target] + 0.4, y_target


def dense_graph(Z, count):
    """Cosines of each row with itself and its nearest, the larger of both directions; one by one."""
    cosine, W = Z @ Z.T, np.zeros((len(Z), len(Z)))
    for i in range(len(Z)):
        near = sorted((j for j in range(len(Z)) if j != i), key=lambda j: -cosine[i, j])[:count]
        W[i, [i, *near]] = cosine[i, [i, *near]]
    return np.maximum(W, W.T)


def directions(X, count):
    return np.linalg.svd(X - X.mean(axis=0))[2][:count].T


def by_formula(X, y, X_target, new, *, root, reg, eta, rho, n_neighbors, n_iter, mu, kernel_of):
    """Scores of the rows `new` and predicted classes of the target: b solved in full, n x n everywhere."""
    raw, ns = np.concatenate([X, X_target]) @ root, len(X)
    Z = normalize(raw)
    n = len(Z)
    K, K_new = kernel_of(Z, Z), kernel_of(normalize(new @ root), Z)
    W = dense_graph(Z, n_neighbors)
    degree = np.sqrt(W.sum(axis=1))
    laplacian = np.eye(n) - W / np.outer(degree, degree)
    J = np.diag((np.arange(n) < ns).astype(float))
    Y = np.zeros((n, 3))
    Y[np.arange(ns), y] = 1
    predicted = KNeighborsClassifier(1).fit(Z[:ns], y).predict(Z[ns:])
    for _ in range(n_iter):
        balance = estimate_balance(raw[:ns], raw[ns:], y, predicted) if mu == "estimate" else mu
        M = dense_contrasts(y, predicted, 3, balance=balance, marginal="released", priors=None)
        b = np.linalg.solve((J + reg * M + rho * laplacian) @ K + eta * np.eye(n), Y)
        predicted = np.argmax((K @ b)[ns:], axis=1)
    return K_new @ b, predicted


def gaussian(A, B):
    return oracle_matrix(A, B, im.RBF(1.0))


SETTINGS = {"reg": 10.0, "eta": 0.1, "rho": 1.0, "n_neighbors": 10, "mu": "estimate"}


@pytest.mark.parametrize("change", [{}, {"reg": 0.0}, {"rho": 0.0}, {"mu": 0.3, "n_neighbors": 4}], ids=str)
@pytest.mark.parametrize("n_iter", [1, 2, 6])
def test_scores_are_those_of_the_formula(change, n_iter):
    X, y, X_target, _ = three_classes()
    settings = {**SETTINGS, **change, "n_iter": n_iter}
    new = three_classes(1)[2]
    root = flow_root(geodesic(directions(X, 3), directions(X_target, 3)))
    scores, predicted = by_formula(X, y, X_target, new, root=root, kernel_of=gaussian, **settings)
    model = im.MEDA(3, **settings).fit(X, NAMES[y], X_target)
    np.testing.assert_allclose(model.decision_function(new), scores, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(model.pseudo_labels_, NAMES[predicted])
    np.testing.assert_array_equal(model.predict(X_target), NAMES[predicted])


def test_landmarks_give_the_formula_of_their_kernel():
    X, y, X_target, _ = three_classes()
    model = im.MEDA(3, n_landmarks=12, n_iter=3).fit(X, y, X_target)
    landmarks = model.X_fit_
    assert landmarks.shape == (12, 6)

    def kernel_of(A, B):
        inverse = np.linalg.inv(gaussian(landmarks, landmarks))
        return gaussian(A, landmarks) @ inverse @ gaussian(landmarks, B)

    settings = {**SETTINGS, "n_iter": 3, "root": model.projection_}
    scores, predicted = by_formula(X, y, X_target, X_target, kernel_of=kernel_of, **settings)
    np.testing.assert_allclose(model.decision_function(X_target), scores, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(model.pseudo_labels_, predicted)


def test_many_rows_get_landmarks_of_their_own_accord(monkeypatch):
    X, y, X_target, _ = three_classes()
    monkeypatch.setattr(classify, "DENSE_ROWS", 80)
    monkeypatch.setattr(classify, "DEFAULT_LANDMARKS", 15)
    assert im.MEDA().fit(X, y, X_target).dual_coef_.shape == (15, 3)
    assert im.MEDA().fit(X[:40], y[:40], X_target).dual_coef_.shape == (78, 3)


def test_the_order_of_the_rows_changes_not_one_bit():
    X, y, X_target, _ = three_classes()
    a, b = np.random.default_rng(5).permutation(len(X)), np.random.default_rng(6).permutation(len(X_target))
    for parameters in ({}, {"n_landmarks": 12}):
        model = im.MEDA(**parameters).fit(X, y, X_target)
        again = im.MEDA(**parameters).fit(X[a], y[a], X_target[b])
        np.testing.assert_array_equal(again.dual_coef_, model.dual_coef_)
        np.testing.assert_array_equal(again.pseudo_labels_, model.pseudo_labels_[b])


def test_known_target_labels_count_and_are_never_overwritten():
    X, y, X_target, y_target = three_classes()
    labelled = np.arange(len(X_target)) % 2 == 0
    told = np.where(labelled, np.where(y_target == 2, "yew", NAMES[y_target]), "unseen")
    model = im.MEDA().fit(X, NAMES[y], X_target, told, target_labelled=labelled)
    assert model.classes_.tolist() == ["ash", "birch", "cedar", "yew"]
    np.testing.assert_array_equal(model.pseudo_labels_[labelled], told[labelled])
    assert model.decision_function(X_target).shape == (len(X_target), 4)
    assert (model.predict(X_target[~labelled]) == "yew").any()


def test_two_classes_have_one_score():
    X, y, X_target, _ = three_classes()
    model = im.MEDA().fit(X, y == 0, X_target)
    scores = model.decision_function(X_target)
    assert scores.shape == (len(X_target),)
    np.testing.assert_array_equal(model.predict(X_target), scores > 0)


def test_rows_of_weight_zero_get_their_class_without_a_part_in_it():
    X, y, X_target, _ = three_classes()
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, np.zeros(len(X_target), int)])
    domain, weight = np.repeat([0, -1], [len(X), len(X_target)]), np.ones(len(rows))
    weight[len(X) : len(X) + 5] = 0
    model = im.MEDA().fit(rows, labels, sample_domain=domain, sample_weight=weight)
    without = im.MEDA().fit(X, y, X_target[5:])
    np.testing.assert_array_equal(model.dual_coef_, without.dual_coef_)
    np.testing.assert_array_equal(model.pseudo_labels_, without.predict(X_target))


def test_without_a_target_it_learns_from_the_source_alone():
    X, y, _, _ = three_classes()
    with pytest.warns(im.NoTargetWarning, match="it learned from the source alone"):
        model = im.MEDA().fit(X, y)
    assert model.score(X, y) > 0.9 and len(model.pseudo_labels_) == 0 and len(model.mu_) == 0
    W = dense_graph(normalize(X), 10)
    degree = np.sqrt(W.sum(axis=1))
    laplacian = np.eye(len(X)) - W / np.outer(degree, degree)
    K = gaussian(normalize(X), normalize(X))
    b = np.linalg.solve((np.eye(len(X)) + laplacian) @ K + 0.1 * np.eye(len(X)), np.eye(3)[y])
    np.testing.assert_allclose(model.decision_function(X), K @ b, rtol=0, atol=1e-9)


def test_more_components_than_directions_are_lowered_and_said():
    X, y, X_target, _ = three_classes()
    with pytest.warns(UserWarning, match="MEDA takes 4 components, not 8: the domains share rank 4 in 9"):
        model = im.MEDA(8).fit(X, y, X_target[:5])
    assert model.n_components_ == 4 and model.projection_.shape == (9, 8)
    assert im.MEDA().fit(X, y, X_target).n_components_ == 9
    wide = np.random.default_rng(0).normal(size=(83, 41))
    assert im.MEDA().fit(wide[:45], y, wide[45:]).n_components_ == 20


def test_a_domain_of_equal_rows_takes_the_directions_of_the_other():
    X, y, X_target, _ = three_classes()
    model = im.MEDA().fit(X, y, X_target[:1])
    assert model.predict(X_target[:1])[0] in y
    with pytest.raises(ValueError, match="rows that vary"):
        im.MEDA().fit(np.ones((4, 2)), [0, 1, 0, 1], np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components must be an integer of at least 1 or None, got 0"),
        ({"n_neighbors": 2.5}, "n_neighbors must be an integer of at least 1, got 2.5"),
        ({"n_landmarks": True}, "n_landmarks must be an integer of at least 1 or None, got True"),
        ({"eta": 0.0}, "eta must be a finite number above 0, got 0.0"),
        ({"reg": -1}, "reg must be a finite number of at least 0, got -1"),
        ({"rho": np.nan}, "rho must be a finite number of at least 0, got nan"),
        ({"mu": 2}, "mu must be a number from 0 to 1 or 'estimate', got 2"),
        ({"mu": None}, "mu must be a number from 0 to 1 or 'estimate', got None"),
        ({"marginal": "C"}, "marginal must be one of 'released', 'paper', got 'C'"),
        ({"kernel": im.Energy()}, "MEDA needs a positive definite kernel"),
    ],
)
def test_a_wrong_parameter_is_named(parameters, message):
    X, y, X_target, _ = three_classes()
    with pytest.raises(ValueError, match=message):
        im.MEDA(**parameters).fit(X, y, X_target)


@pytest.mark.parametrize(("block", "least"), [(1, 1), (1, 7), (200, 1), (1 << 22, 64)])
def test_nearest_rows_and_graph_are_those_of_a_direct_search(monkeypatch, block, least):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    monkeypatch.setattr(neighbours, "LEAST", least)
    X, _, X_target, _ = three_classes()
    expected = NearestNeighbors(n_neighbors=1).fit(X + 1e3).kneighbors(X_target + 1e3)[1][:, 0]
    np.testing.assert_array_equal(neighbours.nearest_rows(X_target + 1e3, X + 1e3), expected)
    Z = normalize(X)
    graph = graphs.direction_graph(Z, 6, np.ones(len(Z)))
    np.testing.assert_allclose(graph.toarray(), dense_graph(Z, 6), rtol=0, atol=1e-14)
    everyone = graphs.direction_graph(Z, 100, np.ones(len(Z)))
    np.testing.assert_allclose(everyone.toarray(), Z @ Z.T, rtol=0, atol=1e-14)


def test_the_graph_of_weighted_rows_is_that_of_the_rows_repeated():
    Z = normalize(three_classes()[0][:12])
    times = np.array([1, 3, 1, 2, 1, 1, 4, 1, 2, 1, 1, 1])
    graph = graphs.direction_graph(Z, 5, times.astype(float))
    laplacian = graphs.normalized_laplacian(graph, times.astype(float)).toarray()
    each = np.repeat(np.arange(12), times)
    cosine, W = (Z @ Z.T)[np.ix_(each, each)], np.zeros((len(each), len(each)))
    for i in range(len(each)):
        left = 5.0
        W[i, i] = 1
        for group in sorted(range(12), key=lambda j: (j != each[i], -cosine[i, each == j][0])):
            others = np.flatnonzero((each == group) & (np.arange(len(each)) != i))
            share = min(left / len(others), 1) if len(others) else 0  # a share of the edge to each equal row
            W[i, others] = share * cosine[i, others]
            left -= share * len(others)
    W = np.maximum(W, W.T)
    degree = np.sqrt(W.sum(axis=1))
    whole = np.eye(len(each)) - W / np.outer(degree, degree)
    values = np.random.default_rng(0).normal(size=(12, 3))
    scaled = np.sqrt(times)[:, None] * values
    expected = values[each].T @ whole @ values[each]
    np.testing.assert_allclose(scaled.T @ laplacian @ scaled, expected, rtol=1e-12)


def test_a_row_without_edges_is_left_alone():
    laplacian = graphs.normalized_laplacian(sparse.csr_array(np.diag([0.0, 1.0])), np.ones(2))
    np.testing.assert_array_equal(laplacian.toarray(), np.diag([1.0, 0.0]))


def test_a_system_without_a_ridge_names_eta():
    rng = np.random.default_rng(0)
    rows, y = rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    model = im.MEDA(kernel=im.RBF(bandwidth=1e20), eta=1e-20)
    with pytest.raises(ValueError, match="eta must not vanish"):
        model.fit(rows, y, X_target=rows[:20] + 1)
