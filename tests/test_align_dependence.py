"""Semi-supervised TCA and MIDA against the dense definition of their problems."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from conftest import oracle_matrix
from scipy import linalg

KERNELS = [None, im.Linear(), im.RBF(bandwidth=2.0)]
KERNEL_IDS = ["primal", "linear", "rbf"]
NAMES = np.array(["left", "right", "up"])


def data(n=24, n_target=20, d=5, seed=0):
    rng = np.random.default_rng(seed)
    y, y_target = np.arange(n) % 3, np.arange(n_target) % 3
    centres = 2 * rng.standard_normal((3, d))
    X = centres[y] + rng.standard_normal((n, d))
    return X, y, centres[y_target] + rng.standard_normal((n_target, d)) + 0.8, y_target


def seen_by(rows, kernel):
    """G: X' or K."""
    return rows.T if kernel is None else oracle_matrix(rows, rows, kernel)


def leading(matrix, count):
    """Eigenpairs by a solver that knows nothing of symmetry, largest first, unit columns, signs fixed."""
    values, vectors = linalg.eig(matrix)
    order = np.argsort(-values.real)[:count]
    vectors = vectors[:, order].real
    vectors /= np.linalg.norm(vectors, axis=0)
    top = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(count)]
    return values[order].real, vectors * np.sign(top)


def dense_laplacian(rows, n_neighbors, width=None):
    n = len(rows)
    D = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=2))
    width = D[np.triu_indices(n, 1)].mean() if width is None else width
    W = np.zeros((n, n))
    for i in range(n):
        others = [j for j in np.argsort(D[i]) if j != i][:n_neighbors]
        W[i, others] = np.exp(-(D[i, others] ** 2) / (2 * width**2))
    W = np.maximum(W, W.T)
    return np.diag(W.sum(axis=0)) - W, width


def label_matrix(y, known, kind):
    """Kernel of the labels (n, n), zero where either row has none."""
    if kind == "values":
        z = np.where(known, y - y[known].mean(), 0.0) / y[known].std()
        return np.outer(z, z)
    return (y[:, None] == y[None]) & known[:, None] & known[None]


def dense_sstca(X, X_target, kernel, Kyy, *, k, reg=1.0, lam=1.0, gamma=0.1, n_neighbors=5, width=None):
    rows = np.concatenate([X, X_target])
    n, G = len(rows), seen_by(rows, kernel)
    H = np.eye(n) - 1 / n
    e = np.concatenate([np.full(len(X), 1 / len(X)), np.full(len(X_target), -1 / len(X_target))])
    Lap, width = dense_laplacian(rows, n_neighbors, width)
    S = G @ H @ ((1 - gamma) * np.eye(n) + gamma * Kyy) @ H @ G.T
    B = G @ (np.outer(e, e) + lam * Lap) @ G.T + reg * np.eye(len(G))
    values, A = leading(np.linalg.solve(B, S), k)
    return values, A, S, B, width


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_sstca_is_its_dense_definition(kernel):
    X, y, X_target, y_target = data()
    known = np.r_[np.full(24, True), np.arange(20) < 6]
    Kyy = label_matrix(np.r_[y, y_target], known, "classes")
    model = im.SemiSupervisedTCA(3, kernel=kernel, n_neighbors=4)
    model.fit(X, NAMES[y], X_target, NAMES[y_target], target_labelled=known[24:])
    values, A, S, B, width = dense_sstca(X, X_target, kernel, Kyy, k=3, n_neighbors=4)
    assert model.width_ == pytest.approx(width)
    np.testing.assert_allclose(model.eigenvalues_, values, rtol=1e-8)
    np.testing.assert_allclose(model.components_, A, atol=1e-7 * np.abs(A).max())
    left, right = S @ model.components_, values * (B @ model.components_)
    np.testing.assert_allclose(left, right, atol=1e-8 * np.abs(right).max())
    assert model.residuals_.max() < 1e-8


@pytest.mark.parametrize(("scaling", "form"), [("metric", "B"), ("white", "S")])
def test_sstca_scales_its_columns_by_the_problem(scaling, form):
    X, y, X_target, _ = data()
    model = im.SemiSupervisedTCA(3, kernel=im.RBF(bandwidth=2.0), scaling=scaling).fit(X, y, X_target)
    Kyy = label_matrix(np.r_[y, np.zeros(20)], np.r_[np.full(24, True), np.full(20, False)], "classes")
    _, _, S, B, _ = dense_sstca(X, X_target, im.RBF(bandwidth=2.0), Kyy, k=3)
    A = model.components_
    np.testing.assert_allclose(A.T @ {"B": B, "S": S}[form] @ A, np.eye(3), atol=1e-8)


@pytest.mark.parametrize(
    ("options", "oracle"),
    [
        ({"smoothness": 0.0}, {"lam": 0.0}),
        ({"smoothness": 5.0, "per_pair": True}, {"lam": 5.0 / 44**2}),
        ({"width": 0.5, "reg": 3.0}, {"width": 0.5, "reg": 3.0}),
        ({"gamma": 0.0}, {"gamma": 0.0}),
        ({"gamma": 0.8}, {"gamma": 0.8}),
    ],
)
def test_parameters_of_sstca_are_those_of_the_definition(options, oracle):
    X, y, X_target, _ = data()
    model = im.SemiSupervisedTCA(2, kernel=im.RBF(bandwidth=2.0), **options).fit(X, y, X_target)
    Kyy = label_matrix(np.r_[y, np.zeros(20)], np.r_[np.full(24, True), np.full(20, False)], "classes")
    values, A, *_ = dense_sstca(X, X_target, im.RBF(bandwidth=2.0), Kyy, k=2, **oracle)
    np.testing.assert_allclose(model.eigenvalues_, values, rtol=1e-8)
    np.testing.assert_allclose(model.components_, A, atol=1e-7)


@pytest.mark.parametrize("standardize", [True, False])
def test_values_are_standardised_over_the_labelled_rows_or_taken_as_they_are(standardize):
    X, _, X_target, _ = data()
    y, y_target = X[:, 0] * 3 + 7.1, X_target[:, 0] * 3 + 7.1
    known = np.r_[np.full(24, True), np.arange(20) < 6]
    values = np.r_[y, y_target]
    raw = np.where(known, values, 0.0)
    Kyy = label_matrix(values, known, "values") if standardize else np.outer(raw, raw)
    sstca = im.SemiSupervisedTCA(2, standardize_y=standardize, gamma=0.5)
    sstca.fit(X, y, X_target, y_target, target_labelled=known[24:])
    expected, A, *_ = dense_sstca(X, X_target, None, Kyy, k=2, gamma=0.5)
    np.testing.assert_allclose(sstca.eigenvalues_, expected, rtol=1e-8)
    np.testing.assert_allclose(sstca.components_, A, atol=1e-7)
    mida = im.MIDA(2, standardize_y=standardize, augment=None)
    mida.fit(X, y, X_target, y_target, target_labelled=known[24:])
    expected, A = dense_mida(np.concatenate([X, X_target]), np.repeat([0, -1], [24, 20]), None, Kyy, k=2)
    np.testing.assert_allclose(mida.eigenvalues_, expected, rtol=1e-8)
    np.testing.assert_allclose(mida.components_, A, atol=1e-7)


def test_whole_numbers_may_be_values_too():
    X, y, X_target, _ = data()
    known = np.r_[np.full(24, True), np.full(20, False)]
    model = im.SemiSupervisedTCA(2, label_kernel="values").fit(X, y, X_target)
    expected, *_ = dense_sstca(X, X_target, None, label_matrix(np.r_[y, np.zeros(20)], known, "values"), k=2)
    np.testing.assert_allclose(model.eigenvalues_, expected, rtol=1e-8)


def test_sstca_without_labels_or_graph_is_tca_of_another_scale():
    X, _, X_target, _ = data()
    model = im.SemiSupervisedTCA(3, kernel=im.RBF(bandwidth=2.0), smoothness=0.0, reg=0.5)
    c = 1 / 24 + 1 / 20  # by which TCA divides L
    tca = im.TCA(3, kernel=im.RBF(bandwidth=2.0), reg=0.5 / c)
    Z = tca.fit(X, None, X_target).transform(X)
    np.testing.assert_allclose(model.fit(X, None, X_target).transform(X), Z, atol=1e-8)


def test_landmarks_of_all_rows_give_the_subspace_of_the_kernel_features():
    X, y, X_target, _ = data()
    kernel = im.RBF(bandwidth=2.0)
    model = im.SemiSupervisedTCA(3, kernel=kernel, n_landmarks=44).fit(X, y, X_target)
    rows = np.concatenate([X, X_target])
    K = oracle_matrix(rows, rows, kernel)
    w, V = np.linalg.eigh(K)
    features = V * np.sqrt(w)  # any rotation of the features gives the same embedding
    known = np.r_[np.full(24, True), np.full(20, False)]
    Kyy = label_matrix(np.r_[y, np.zeros(20)], known, "classes")
    n = 44
    H, Lap = np.eye(n) - 1 / n, dense_laplacian(rows, 5)[0]
    e = np.r_[np.full(24, 1 / 24), np.full(20, -1 / 20)]
    S = features.T @ H @ (0.9 * np.eye(n) + 0.1 * Kyy) @ H @ features
    B = features.T @ (np.outer(e, e) + Lap) @ features + np.eye(n)
    values, A = leading(np.linalg.solve(B, S), 3)
    np.testing.assert_allclose(model.eigenvalues_, values, rtol=1e-7)
    Z = features @ A
    found = model.transform(rows)
    np.testing.assert_allclose(found, Z * np.sign(np.sum(Z * found, axis=0)), atol=1e-6)


def test_many_rows_of_a_kernel_are_seen_through_landmarks():
    X, y, X_target, _ = shifted_classes(3.0, 0, n=1100)
    model = im.SemiSupervisedTCA(3, kernel=im.RBF(bandwidth=4.0)).fit(X, y, X_target)
    assert model.X_fit_.shape == (1000, 10)
    assert model.residuals_.max() < 1e-8


def dense_mida(rows, domain, kernel, Kyy, *, k, mu=1.0, gamma=0.1):
    n, G = len(rows), seen_by(rows, kernel)
    H = np.eye(n) - 1 / n
    D = (domain[:, None] == np.unique(domain)).astype(float)
    return leading(G @ (mu * H - H @ D @ D.T @ H + gamma * H @ Kyy @ H) @ G.T, k)


@pytest.mark.parametrize("augment", ["domains", "easy", None])
@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_mida_is_its_dense_definition(kernel, augment):
    X, y, X_target, y_target = data()
    domain = np.r_[np.arange(24) % 2 * 3, np.full(20, -1)]  # domains -1, 0 and 3
    known = np.r_[np.full(24, True), np.arange(20) < 6]
    rows, labels = np.concatenate([X, X_target]), np.r_[y, y_target]
    order = np.random.default_rng(1).permutation(44)
    model = im.MIDA(3, kernel=kernel, augment=augment)
    model.fit(rows[order], NAMES[labels][order], sample_domain=domain[order], target_labelled=known[order])
    D = (domain[:, None] == [-1, 0, 3]).astype(float)
    copies = [rows * column[:, None] for column in D.T]
    added = {"domains": [D], "easy": copies, None: []}[augment]
    augmented = np.concatenate([rows, *added], axis=1)
    values, A = dense_mida(augmented, domain, kernel, label_matrix(labels, known, "classes"), k=3)
    np.testing.assert_allclose(model.eigenvalues_, values, rtol=1e-8)
    assert model.residuals_.max() < 1e-8
    Z = seen_by(augmented, kernel).T @ A
    found = model.transform(rows, domain=domain)
    np.testing.assert_allclose(found, Z * np.sign(np.sum(Z * found, axis=0)), atol=1e-7 * np.abs(Z).max())
    np.testing.assert_allclose(found.T @ found, Z.T @ Z, atol=1e-7 * np.abs(Z.T @ Z).max())


def test_components_of_mida_are_orthonormal():
    X, y, X_target, _ = data()
    for kernel in KERNELS:
        A = im.MIDA(4, kernel=kernel).fit(X, y, X_target).components_
        np.testing.assert_allclose(A.T @ A, np.eye(4), atol=1e-10)


def test_mida_without_labels_leaves_little_of_the_gap_of_the_means():
    X, y, X_target, _ = shifted_classes(10.0, 0)
    model = im.MIDA(3)
    Z, Z_target = model.fit_transform(X, None, X_target), model.transform(X_target)
    gap = Z.mean(axis=0) - Z_target.mean(axis=0)
    assert gap @ gap < 1e-3 * np.concatenate([Z, Z_target]).var(axis=0).sum()
    told = im.MIDA(1, gamma=1.0).fit(X, y, X_target)
    assert abs(np.corrcoef(told.transform(X, domain="source")[:, 0], y)[0, 1]) > 0.6


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=KERNEL_IDS[1:])
def test_mida_solvers_agree(kernel, monkeypatch):
    from isthmus.align.mathematics import kernel_rows

    X, y, X_target, _ = data(60, 50)
    dense = im.MIDA(4, kernel=kernel, eigen_solver="dense").fit(X, y, X_target)
    Z = dense.transform(X_target)
    for stored in (256 << 20, 0):
        monkeypatch.setattr(kernel_rows, "STORED_BYTES", stored)
        krylov = im.MIDA(4, kernel=kernel, eigen_solver="krylov").fit(X, y, X_target)
        assert krylov.n_passes_ > 0 == dense.n_passes_
        np.testing.assert_allclose(krylov.eigenvalues_, dense.eigenvalues_, rtol=1e-8)
        np.testing.assert_allclose(krylov.transform(X_target), Z, atol=1e-6 * np.abs(Z).max())
        assert krylov.residuals_.max() < 1e-8


def test_float32_rows_of_mida_meet_their_gate_without_a_stored_kernel(monkeypatch):
    from isthmus.align.mathematics import kernel_rows

    X, _, X_target, _ = shifted_classes(3.0, 0, n=400)
    monkeypatch.setattr(kernel_rows, "STORED_BYTES", 0)
    monkeypatch.setattr(kernel_rows, "DENSE_ROWS", 0)
    exact = im.MIDA(5, kernel=im.RBF(bandwidth=4.0)).fit(X, None, X_target)
    rows, rows_target = X.astype(np.float32), X_target.astype(np.float32)
    narrow = im.MIDA(5, kernel=im.RBF(bandwidth=4.0)).fit(rows, None, rows_target)
    assert exact.residuals_.max() < 1e-8
    assert narrow.residuals_.max() < 1e-3
    np.testing.assert_allclose(narrow.eigenvalues_, exact.eigenvalues_, rtol=1e-3)


def test_rows_of_new_domains_have_no_domain_features():
    X, y, X_target, _ = data()
    several = im.MIDA(2).fit([X[:12], X[12:]], [y[:12], y[12:]], X_target)
    with pytest.raises(ValueError, match="known from fit, -1, 0, 1, got 5"):
        several.transform(X, domain=np.full(24, 5))
    with pytest.raises(ValueError, match="a map for each of the source domains"):
        several.transform(X, domain="source")
    free = im.MIDA(2, augment=None).fit([X[:12], X[12:]], [y[:12], y[12:]], X_target)
    np.testing.assert_array_equal(
        free.transform(X, domain="source"), free.transform(X, domain=np.full(24, 5))
    )


def test_components_that_gain_nothing_are_left_out_with_a_warning():
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((30, 3)), rng.standard_normal((30, 3))
    X_target[:, 0] += 9
    with pytest.warns(UserWarning, match="MIDA gives 2 components, .* not 3"):
        model = im.MIDA(3, augment=None).fit(X, None, X_target)
    assert model.eigenvalues_.min() > 0
    wide, wide_target = np.hstack([X, X]), np.hstack([X_target, X_target])
    with pytest.warns(UserWarning, match="SemiSupervisedTCA gives 3 components, .* not 6"):
        im.SemiSupervisedTCA(6).fit(wide, None, wide_target)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (im.SemiSupervisedTCA(reg=0), "reg must be a finite number above 0, got 0"),
        (im.SemiSupervisedTCA(smoothness=-1), "smoothness must be a finite number of at least 0"),
        (im.SemiSupervisedTCA(gamma=1.5), "gamma must be a number from 0 to 1, got 1.5"),
        (im.SemiSupervisedTCA(width=0.0), "width must be a finite number above 0"),
        (im.SemiSupervisedTCA(n_neighbors=0), "n_neighbors must be an integer of at least 1"),
        (im.SemiSupervisedTCA(label_kernel="rbf"), "label_kernel must be one of"),
        (im.SemiSupervisedTCA(reg=1e-300), "reg must not vanish beside the graph of neighbours"),
        (im.MIDA(mu=0), "mu must be a finite number above 0"),
        (im.MIDA(augment="all"), "augment must be one of 'domains', 'easy', None, got 'all'"),
        (im.MIDA(eigen_solver="krylov"), "needs a kernel, got kernel=None"),
        (im.MIDA(standardize_y=1), "standardize_y must be True or False, got 1"),
    ],
)
def test_parameters_are_checked(method, message):
    X, y, X_target, _ = data()
    with pytest.raises(ValueError, match=message):
        method.fit(np.hstack([X, X]), y, np.hstack([X_target, X_target]))


@pytest.mark.parametrize("method", [im.SemiSupervisedTCA(2), im.MIDA(2)], ids=["sstca", "mida"])
def test_labels_of_the_wrong_kind_are_refused(method):
    X, y, X_target, y_target = data()
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        method.set_params(label_kernel="classes").fit(X, y + 0.5, X_target)
    with pytest.raises(ValueError, match="y must hold numbers, got text such as"):
        method.set_params(label_kernel="values").fit(X, NAMES[y], X_target)
    method.set_params(label_kernel="auto")
    with pytest.raises(ValueError, match="NaN"):
        method.fit(X, np.where(y == 1, np.nan, y), X_target)
    with pytest.raises(ValueError, match="labels of one kind"):
        method.fit(X, y, X_target, NAMES[y_target])
    with pytest.raises(ValueError, match="requires y to be passed"):
        method.fit(X, None, X_target, y_target)
    with pytest.raises(ValueError, match="needs rows that vary"):
        method.fit(np.ones((5, 3)), np.arange(5) % 2, np.ones((4, 3)))


def test_mida_without_an_eigenvalue_above_zero_says_what_to_change():
    rows = np.random.default_rng(0).standard_normal((40, 1))
    with pytest.raises(ValueError, match="vary more than they tell of the domain; raise mu"):
        im.MIDA(1, augment=None, gamma=0.0).fit(rows[:20], X_target=rows[20:] + 1.0)
