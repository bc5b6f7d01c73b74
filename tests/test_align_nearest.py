"""EasyTL against its linear program and against nearest class means, written out."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from scipy.optimize import linprog


def distances(rows, means):
    return np.sqrt(((rows[:, None, :] - means) ** 2).sum(axis=2))


def program(D, weight=None):
    """The least cost of the published program, in full: rows sum to their weight, columns to at least 1."""
    n, c = D.shape
    ones = {"A_eq": np.kron(np.eye(n), np.ones(c)), "b_eq": np.ones(n) if weight is None else weight}
    found = linprog(D.ravel(), A_ub=-np.kron(np.ones((1, n)), np.eye(c)), b_ub=-np.ones(c), **ones)
    return found.fun


def root(matrix, power):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**power) @ vectors.T


def problem(seed, n_classes=4, n_target=23):
    """Classes of which most lie far from all target rows, so that their means are nearest to none."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 40)])
    X = rng.standard_normal((len(y), 3)) + 4 * rng.standard_normal((n_classes, 3))[y]
    return X, y, rng.standard_normal((n_target, 3))


def test_labels_are_the_nearest_class_means_where_every_class_wins_a_row():
    X, y, X_target, _ = shifted_classes(0.5, 0)
    model = im.EasyTL(align=None).fit(X, y, X_target)
    means = np.array([X[y == c].mean(axis=0) for c in (0, 1)])
    expected = distances(X_target, means).argmin(axis=1)
    assert set(expected) == {0, 1}
    np.testing.assert_array_equal(model.labels_, expected)
    np.testing.assert_allclose(model.means_, means, rtol=1e-12)
    np.testing.assert_array_equal(model.prices_, 0)
    D = distances(X_target, means)
    np.testing.assert_allclose(model.decision_function(X_target), D[:, 0] - D[:, 1], atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_labels_solve_the_program_where_a_class_wins_no_row(seed):
    X, y, X_target = problem(seed, n_classes=2 + seed % 4, n_target=5 + seed)
    model = im.EasyTL(align=None).fit(X, y, X_target)
    D = distances(X_target, np.array([X[y == c].mean(axis=0) for c in np.unique(y)]))
    assert set(model.labels_) == set(y)
    assert D[np.arange(len(D)), model.labels_].sum() == pytest.approx(program(D), rel=1e-9)
    np.testing.assert_array_equal(model.predict(X_target), model.labels_)
    assert (model.prices_[np.bincount(model.labels_) > 1] == 0).all() and (model.prices_ >= 0).all()


@pytest.mark.parametrize("unit", [1e-9, 1e-7, 1e6])
def test_the_unit_of_the_rows_does_not_matter_to_the_program(unit):
    """The tolerances of a solver are absolute: small distances must not fall below them."""
    solved = 0
    for seed in range(8):
        X, y, X_target = problem(seed, n_classes=3 + seed % 3, n_target=5 + seed)
        model, scaled = (im.EasyTL(align=None).fit(s * X, y, s * X_target) for s in (1, unit))
        solved += model.prices_.max() > 0
        np.testing.assert_array_equal(scaled.labels_, model.labels_)
        np.testing.assert_array_equal(scaled.predict(unit * X_target), model.labels_)
    assert solved >= 5


def test_equal_rows_in_both_domains_get_every_class():
    model = im.EasyTL(align=None).fit(np.ones((6, 2)), np.arange(6) % 3, np.ones((4, 2)))
    assert set(model.labels_) == {0, 1, 2}
    np.testing.assert_array_equal(model.prices_, 0)


def test_the_toys_of_the_program_leave_classes_empty():
    empty = 0
    for seed in range(20):
        X, y, X_target = problem(seed, n_classes=2 + seed % 4, n_target=5 + seed)
        means = np.array([X[y == c].mean(axis=0) for c in np.unique(y)])
        empty += len(set(distances(X_target, means).argmin(axis=1))) < len(means)
    assert empty >= 15


def test_weights_of_target_rows_stand_for_repeated_rows_in_the_program():
    X, y, X_target = problem(3)
    rng = np.random.default_rng(0)
    weight = np.concatenate([np.ones(len(X)), rng.integers(0, 4, len(X_target))])
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, np.zeros(len(X_target), int)])
    domain = np.repeat([0, -1], [len(X), len(X_target)])
    weighted = im.EasyTL(align=None).fit(rows, labels, sample_domain=domain, sample_weight=weight)
    again = np.repeat(np.arange(len(rows)), weight.astype(int))
    D = distances(rows[again][domain[again] < 0], weighted.means_)
    repeated = im.EasyTL(align=None).fit(rows[again], labels[again], sample_domain=domain[again])
    np.testing.assert_allclose(weighted.means_, repeated.means_)
    given = distances(X_target, weighted.means_) - weighted.prices_
    # At these prices the dual of the program is as large as its least cost: they are optimal.
    dual = weight[len(X) :] @ given.min(axis=1) + weighted.prices_.sum()
    assert weighted.prices_.max() > 0
    assert dual == pytest.approx(program(D), rel=1e-6)


def with_weights(X, y, X_target, weight):
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, np.zeros(len(X_target), int)])
    domain = np.repeat([0, -1], [len(X), len(X_target)])
    weight = np.concatenate([np.ones(len(X)), weight])
    return im.EasyTL(align=None).fit(rows, labels, sample_domain=domain, sample_weight=weight)


@pytest.mark.parametrize("seed", range(4))
def test_prices_are_optimal_where_several_rows_make_one(seed):
    X, y, X_target = problem(seed, n_target=60)
    weight = np.random.default_rng(seed).uniform(0, 0.4, 60)
    model = with_weights(X, y, X_target, weight)
    D = distances(X_target, model.means_)
    assert model.prices_.max() > 0
    dual = weight @ (D - model.prices_).min(axis=1) + model.prices_.sum()
    assert dual == pytest.approx(program(D, weight), rel=1e-6)


def test_target_rows_of_weight_0_have_labels_but_no_say():
    X, y, X_target = problem(0)
    weight = np.where(np.arange(23) % 3 == 1, 0.0, 1.0)
    model, other = with_weights(X, y, X_target, weight), im.EasyTL(align=None).fit(X, y, X_target[weight > 0])
    assert other.prices_.max() > 0
    np.testing.assert_allclose(model.prices_, other.prices_, atol=1e-9)
    np.testing.assert_array_equal(model.labels_, other.predict(X_target))


def test_what_counts_is_the_weight_and_not_the_number_of_target_rows():
    X, y, X_target = problem(0)
    with pytest.warns(UserWarning, match="cannot give each of 4 classes one of 2.3 target rows"):
        light = with_weights(X, y, X_target, np.full(23, 0.1))
    np.testing.assert_array_equal(light.labels_, distances(X_target, light.means_).argmin(axis=1))
    heavy = with_weights(X, y, X_target[:2], np.full(2, 50.0))
    assert heavy.prices_.max() > 0


def test_coral_moves_the_source_rows_first_with_n_minus_1_and_the_identity():
    X, y, X_target, _ = shifted_classes(2.0, 1)
    C_source, C_target = np.cov(X.T), np.cov(X_target.T)
    move = root(C_source + np.eye(10), -0.5) @ root(C_target + np.eye(10), 0.5)
    moved = (X - X.mean(axis=0)) @ move + X_target.mean(axis=0)
    model = im.EasyTL().fit(X, y, X_target)
    np.testing.assert_allclose(model.means_, [moved[y == c].mean(axis=0) for c in (0, 1)], atol=1e-12)
    assert model.align_ is None


def test_an_aligner_moves_both_domains():
    X, y, X_target, y_target = shifted_classes(10.0, 0)
    model = im.EasyTL(align=im.TCA(n_components=5, kernel=im.Linear())).fit(X, y, X_target)
    Z = model.align_.transform(X, domain="source")
    np.testing.assert_allclose(model.means_, [Z[y == c].mean(axis=0) for c in (0, 1)], atol=1e-9)
    assert model.score(X_target, y_target) > im.EasyTL(align=None).fit(X, y, X_target).score(
        X_target, y_target
    )
    np.testing.assert_array_equal(model.predict(X_target), model.labels_)


def test_coral_as_an_aligner_divides_by_n():
    X, y, X_target, _ = shifted_classes(2.0, 1)
    given, built_in = im.EasyTL(align=im.CORAL()).fit(X, y, X_target), im.EasyTL().fit(X, y, X_target)
    gap = np.abs(given.means_ - built_in.means_).max()
    assert 1e-6 < gap < 1e-2


def test_labelled_target_rows_join_the_means_and_bring_their_classes():
    X, y, X_target, y_target = shifted_classes(1.0, 0)
    labelled = np.arange(len(X_target)) < 9
    names = np.array(["no", "yes", "new"])
    y_target = names[np.where(np.arange(len(X_target)) < 3, 2, y_target)]
    model = im.EasyTL(align=None).fit(X, names[y], X_target, y_target, target_labelled=labelled)
    assert model.classes_.tolist() == ["new", "no", "yes"]
    rows, labels = np.concatenate([X, X_target[:9]]), np.concatenate([names[y], y_target[:9]])
    expected = [rows[labels == c].mean(axis=0) for c in model.classes_]
    np.testing.assert_allclose(model.means_, expected, atol=1e-12)


def test_fewer_target_rows_than_classes_get_the_nearest_means_with_a_warning():
    X, y, X_target = problem(0)
    with pytest.warns(UserWarning, match="cannot give each of 4 classes one of 3 target rows"):
        model = im.EasyTL(align=None).fit(X, y, X_target[:3])
    np.testing.assert_array_equal(model.labels_, distances(X_target[:3], model.means_).argmin(axis=1))


def test_the_order_of_the_rows_does_not_matter():
    X, y, X_target = problem(2)
    order, other = np.random.default_rng(0).permutation(len(X)), np.arange(len(X_target))[::-1]
    model = im.EasyTL().fit(X, y, X_target)
    shuffled = im.EasyTL().fit(X[order], y[order], X_target[other])
    np.testing.assert_allclose(shuffled.means_, model.means_, atol=1e-12)
    np.testing.assert_allclose(shuffled.prices_, model.prices_, atol=1e-9)
    np.testing.assert_array_equal(shuffled.labels_, model.labels_[other])


@pytest.mark.parametrize(
    ("align", "error", "message"),
    [
        ("corral", ValueError, "align must be None, 'coral' or an aligner"),
        (im.RBF(), ValueError, "align must"),
        (np.ones(2), ValueError, "align must"),
    ],
)
def test_another_alignment_is_refused(align, error, message):
    X, y, X_target = problem(0)
    with pytest.raises(error, match=message):
        im.EasyTL(align=align).fit(X, y, X_target)


def test_coral_refuses_weights_that_count_no_more_than_one_row():
    X, y, X_target = problem(0)
    with pytest.raises(
        ValueError, match="divides by n - 1, so the source rows must count more than one, got 1"
    ):
        im.EasyTL().fit(X, y, X_target, sample_weight=np.full(len(X), 1 / len(X)))


def test_an_aligner_with_a_map_for_each_target_is_for_one_target():
    X, y, X_target = problem(0)
    with pytest.raises(ValueError, match=r"align must move all targets alike, .* StandardScaling has a map"):
        im.EasyTL(align=im.StandardScaling()).fit(X, y, [X_target[:9], X_target[9:]])
    sources, labels = [X[:20], X[20:]], [y[:20], y[20:]]
    for align in (im.StandardScaling(), im.CORAL()):
        model = im.EasyTL(align=align).fit(sources, labels, X_target)
        np.testing.assert_array_equal(model.predict(X_target), model.labels_)
    model = im.EasyTL(align=im.CORAL()).fit(X, y, [X_target[:9], X_target[9:]])
    np.testing.assert_array_equal(model.predict(X_target), model.labels_)
