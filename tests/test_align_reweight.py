"""KMM and target-shift weights: their problems by the definition, exact cases, bad input, use in training."""

import isthmus as im
import numpy as np
import pytest
from conftest import oracle_matrix, oracle_mmd2
from isthmus.align import reweight, target_shift
from isthmus.align.mathematics import box_dual
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

KERNEL = im.RBF(bandwidth=1.5)
DTYPES = ["float32", "float64"]


def shifted(n=60, m=50, d=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), rng.normal(0.7, 0.8, (m, d)).astype(dtype)


def matching_problem(X, T):
    K = oracle_matrix(X, X, KERNEL)
    return K, oracle_matrix(X, T, KERNEL).mean(axis=1) * len(X)


# -- KMM --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bound", "eps"), [(1000.0, None), (2.0, None), (1000.0, 0.0), (3.0, 0.05)])
def test_kmm_reaches_the_optimum_that_a_general_solver_finds(bound, eps, dtype):
    X, T = shifted(25, 30, dtype=dtype)
    K, kappa = matching_problem(X, T)
    slack = 1 - 1 / np.sqrt(25) if eps is None else eps
    band = [
        {"type": "ineq", "fun": lambda b: 25 * (1 + slack) + 1e-12 - b.sum(), "jac": lambda b: -np.ones(25)},
        {"type": "ineq", "fun": lambda b: b.sum() - 25 * (1 - slack) + 1e-12, "jac": lambda b: np.ones(25)},
    ]
    general = minimize(
        lambda b: b @ K @ b / 2 - kappa @ b,
        np.ones(25),
        jac=lambda b: K @ b - kappa,
        bounds=[(0, bound)] * 25,
        constraints=band,
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 2000},
    )
    kmm = im.KMM(KERNEL, bound=bound, eps=eps, tol=1e-6, max_iter=20000).fit(X, None, T)
    b = kmm.weights_
    scale = abs(general.fun)
    assert b.dtype == np.float64 and (b >= 0).all() and (b <= bound).all()
    assert abs(b.sum() - 25) <= 25 * slack * (1 + 1e-9) + 1e-9
    # float32 rows have a float32 kernel matrix, of error 5e-6.
    near = 1e-5 if dtype == "float32" else 1e-9
    assert b @ K @ b / 2 - kappa @ b == pytest.approx(kmm.objective_, rel=near)
    assert -near * scale <= kmm.objective_ - general.fun <= kmm.duality_gap_ + near * scale
    assert kmm.duality_gap_ <= 1e-6 * scale


@pytest.mark.parametrize("dtype", DTYPES)
def test_weighted_source_has_nearly_the_kernel_mean_of_the_target(dtype):
    X, T = shifted(300, 200, dtype=dtype)
    weights = im.KMM(KERNEL).fit(X, None, T).weights_
    before, after = (oracle_mmd2(X, T, KERNEL, "biased", wx=w) for w in (None, weights))
    assert after < before / 50


def test_sum_of_the_weights_stops_at_the_end_of_its_band():
    # In many columns a source row is as far from the other ones as from the target, which is near the middle:
    # free weights would sum to far more than n.
    X, T = shifted(100, 100, d=30)
    kernel = im.RBF(gamma=1 / 30)
    assert im.KMM(kernel, eps=9.0).fit(X, None, 0.3 * T).weights_.sum() > 120
    assert im.KMM(kernel, eps=0.05).fit(X, None, 0.3 * T).weights_.sum() == pytest.approx(105, rel=1e-9)
    low = im.KMM(im.RBF(bandwidth=0.3), eps=0.05).fit(X[:, :2], None, T[:, :2] + 3)
    assert low.weights_.sum() == pytest.approx(95, rel=1e-9)


def test_weights_of_the_rows_may_sum_to_less_than_one():
    X, T = shifted()
    kmm = im.KMM(KERNEL).fit(X, None, T, sample_weight=np.full(60, 0.01))
    assert kmm.weights_.sum() * 0.01 == pytest.approx(0.6, rel=1e-9)


def test_equal_samples_get_weights_of_one_in_effect():
    X, _ = shifted(50)
    kmm = im.KMM(KERNEL, tol=1e-8, max_iter=20000).fit(X, None, X)
    # b = 1 is optimal: K 1 = kappa.
    assert kmm.objective_ == pytest.approx(-oracle_matrix(X, X, KERNEL).sum() / 2, rel=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rows_are_solved_without_the_stored_matrix(dtype, monkeypatch):
    X, T = shifted(90, 80, dtype=dtype)
    stored = im.KMM(KERNEL).fit(X, None, T)
    formed = []
    original = reweight._FormedMatrix.times
    monkeypatch.setattr(reweight, "STORED_ROWS", 30)
    monkeypatch.setattr(
        reweight._FormedMatrix, "times", lambda *arguments: formed.append(1) or original(*arguments)
    )
    free = im.KMM(KERNEL).fit(X, None, T)
    assert formed
    assert abs(free.objective_ - stored.objective_) <= 2e-4 * abs(stored.objective_)
    assert free.duality_gap_ <= 1e-4 * abs(free.objective_)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("far", [0.0, 1e7])
def test_a_matrix_in_float32_leads_only_where_it_is_near(far, factor):
    # One far row moves the mean so far from the others that float32 no longer tells them apart.
    X = shifted(600)[0]
    X[3] += far
    matrix = reweight._matrix(X, factor * KERNEL, 1e-4)
    assert isinstance(matrix, reweight._TwoPrecisions) == (far == 0)
    exact = factor * oracle_matrix(X, X, KERNEL)
    some = np.linspace(0, 1, 600)
    np.testing.assert_allclose(matrix.times(some, False), exact @ some, rtol=2e-5)
    np.testing.assert_allclose(matrix.times(some, True), exact @ some, rtol=1e-8)
    # Few rows are kept once formed; the second product takes known ones and new ones.
    for few in (np.arange(5, 90), np.arange(40, 200)):
        sparse = np.zeros(600)
        sparse[few] = some[few]
        np.testing.assert_allclose(matrix.times(sparse, True), exact @ sparse, rtol=1e-8)
        np.testing.assert_allclose(matrix.part(few), exact[np.ix_(few, few)], rtol=0, atol=1e-8 * factor)
    np.testing.assert_allclose(matrix.row(7, False), exact[7], rtol=0, atol=2e-5 * factor)
    np.testing.assert_allclose(matrix.row(7, True), exact[7], rtol=0, atol=1e-8 * factor)


def test_rows_are_formed_in_float64_only_for_the_last_look(monkeypatch):
    X, T = shifted(600, 500, d=2)
    formed = []
    original = reweight._FormedMatrix.row
    monkeypatch.setattr(reweight._FormedMatrix, "row", lambda *args: formed.append(1) or original(*args))
    kmm = im.KMM(im.RBF(gamma=1.0)).fit(X, None, T)
    assert kmm.n_iter_ > 100
    assert len(formed) <= 2 * box_dual.REPAIRS


def test_a_row_of_weight_zero_is_not_there():
    X, T = shifted()
    weight = np.ones(60)
    weight[::3] = 0
    part = im.KMM(KERNEL).fit(X, None, T, sample_weight=weight)
    alone = im.KMM(KERNEL).fit(X[weight > 0], None, T)
    np.testing.assert_allclose(part.weights_[weight > 0], alone.weights_, rtol=0, atol=1e-9)
    assert not part.weights_[weight == 0].any()


def test_kmm_that_runs_out_of_steps_says_its_gap():
    X, T = shifted(200, 200)
    with pytest.warns(ConvergenceWarning, match=r"stopped after 2 .* duality gap of .* above 1e-04") as said:
        kmm = im.KMM(KERNEL, max_iter=2).fit(X, None, T)
    assert said[0].filename == __file__
    assert kmm.duality_gap_ > 1e-4 * abs(kmm.objective_) and kmm.n_iter_ == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel": im.Energy()}, ValueError, "kernel must be positive semidefinite"),
        ({"kernel": "rbf"}, TypeError, "kernel must be a kernel object"),
        ({"bound": 0}, ValueError, "bound must be a finite number above 0, got 0"),
        ({"bound": 0.5, "eps": 0.1}, ValueError, "bound must be at least 1 - eps = 0.9"),
        ({"eps": -1.0}, ValueError, "eps must be a finite number of at least 0 or None"),
        ({"tol": 0.0}, ValueError, "tol must be a finite number above 0"),
        ({"max_iter": 0}, ValueError, "max_iter must be an integer of at least 1, got 0"),
    ],
    ids=str,
)
def test_kmm_refuses_what_makes_no_problem(options, error, message):
    with pytest.raises(error, match=message):
        im.KMM(**options).fit(*shifted()[:1], None, shifted()[1])


def test_far_apart_domains_still_get_finite_weights():
    X, T = shifted()
    kmm = im.KMM(im.RBF(bandwidth=0.1)).fit(X, None, T + 1e3)
    assert np.isfinite(kmm.weights_).all() and kmm.weights_.sum() >= 60 / np.sqrt(60) - 1e-9


# -- training --


def covariate_shift(seed=0, n=400):
    """One column; class 1 where |x| > 1. The source lies around 0, the target around 1."""
    rng = np.random.default_rng(seed)
    X, T = rng.normal(0, 1.2, (n, 1)), rng.normal(1, 0.4, (n, 1))
    return X, (np.abs(X[:, 0]) > 1).astype(int), T, (np.abs(T[:, 0]) > 1).astype(int)


@pytest.mark.parametrize(
    "align",
    [im.KMM(), im.KLIEP(), im.RuLSIF(), im.RuLSIF(alpha=0), im.NearestNeighbourWeights()],
    ids=lambda align: str(align),
)
def test_weights_let_a_line_learn_what_matters_on_the_target(align):
    # A line cannot have |x| > 1: on the source both ends are 1 and it learns next to nothing. Around the
    # target only the border at 1 matters, which a line can have; the weights bring the source rows there.
    X, y, T, y_target = covariate_shift()
    plain = LogisticRegression().fit(X, y).score(T, y_target)
    weighted = im.make_transfer_pipeline(align, LogisticRegression()).fit(X, y, T)
    assert plain < 0.7 < 0.9 < weighted.score(T, y_target)


# -- target shift --


def classes(n=90, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(n, 2)) + 2.0 * np.eye(3)[y][:, :2] - 2.0 * (y == 2)[:, None], y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "names", [np.array([0, 1, 2]), np.array(["a", "b", "c"]), np.array([-1.0, 7.0, 9.0])]
)
def test_target_that_repeats_the_source_by_class_has_the_exact_ratios(dtype, names):
    X, y = classes()
    copies = np.array([1, 3, 2])
    target = np.repeat(X, copies[y], axis=0).astype(dtype)
    shift = im.TargetShiftWeights(KERNEL, eps=0.5).fit(X.astype(dtype), names[y], target)
    # p_target(c) / p_source(c): class c makes copies[c] of the 6 parts of the target, 1 of 3 of the source.
    expected = copies / copies.sum() * 3
    np.testing.assert_allclose(shift.class_weights_, expected, atol=1e-3 if dtype == "float32" else 1e-6)
    np.testing.assert_array_equal(shift.classes_, names)
    np.testing.assert_array_equal(shift.weights_, shift.class_weights_[y])


def test_class_problem_is_the_one_of_the_definition():
    X, y = classes(31)
    T = np.random.default_rng(1).normal(size=(20, 2))
    shift = im.TargetShiftWeights(KERNEL, bound=1.5).fit(X, y, T)
    R = np.eye(3)[y]
    P = R.T @ oracle_matrix(X, X, KERNEL) @ R
    q = R.T @ oracle_matrix(X, T, KERNEL).sum(axis=1) * 31 / 20
    counts, slack = R.sum(axis=0), 31 * 10 / (4 * np.sqrt(31))
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1.5, 61)] * 3), axis=-1).reshape(-1, 3)
    grid = grid[np.abs(grid @ counts - 31) <= slack]
    values = np.einsum("ij,jk,ik->i", grid, P, grid) / 2 - grid @ q
    a = shift.class_weights_
    found = a @ P @ a / 2 - q @ a
    assert found <= values.min() + 1e-9
    assert found >= values.min() - 0.02 * abs(values.min())
    assert abs(a @ counts - 31) <= slack + 1e-9 and (a <= 1.5).all()
    np.testing.assert_allclose(shift.condition_, np.linalg.cond(P / np.outer(counts, counts)), rtol=1e-9)


def test_classes_with_equal_means_are_said():
    X, _ = classes(60)
    rows, y = np.concatenate([X, X]), np.repeat([0, 1], 60)
    with pytest.warns(UserWarning, match="some classes cannot be told apart") as said:
        shift = im.TargetShiftWeights(KERNEL).fit(rows, y, X[:30])
    assert said[0].filename == __file__
    assert shift.condition_ > 1e8 and np.isfinite(shift.weights_).all()


def test_one_class_gets_one_weight():
    X, _ = classes()
    shift = im.TargetShiftWeights(KERNEL, eps=0.0).fit(X, np.zeros(90, dtype=int), X[:40] + 1)
    np.testing.assert_allclose(shift.weights_, 1.0, rtol=1e-9)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "TargetShiftWeights requires y to be passed"),
        (np.ones((90, 2)), r"1d array, got an array of shape \(90, 2\)"),
        (np.where(np.arange(90) == 4, np.nan, 1.0), "y"),
        (np.array([1, "a"] * 45, dtype=object), "y must hold labels of one kind, got int and str"),
    ],
    ids=["none", "columns", "nan", "mixed"],
)
def test_target_shift_needs_labels(y, message):
    X, _ = classes()
    with pytest.raises(ValueError, match=message):
        im.TargetShiftWeights(KERNEL).fit(X, y, X + 1)


# -- target shift of numbers --


def curve(n, centre, spread, rng):
    """Labels, and rows on a curve whose place and not whose direction is the label."""
    y = rng.normal(centre, spread, n)
    return np.c_[y**2, y] + 0.3 * rng.normal(size=(n, 2)), y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e6])
@pytest.mark.parametrize("seed", range(3))
def test_true_ratio_of_normal_labels_is_found(seed, scale, dtype):
    rng = np.random.default_rng(seed)
    (X, y), (T, _) = curve(600, 0.0, 1.0, rng), curve(500, 0.8, 0.6, rng)
    X, T = X.astype(dtype), T.astype(dtype)
    true = np.exp(-((y - 0.8) ** 2) / (2 * 0.36)) / 0.6 / np.exp(-(y**2) / 2)
    shift = im.TargetShiftWeights().fit(X, scale * (y + 3), T)
    error, constant = (np.mean((weights - true) ** 2) for weights in (shift.weights_, 1))
    without_labels = np.mean((im.KMM().fit(X, None, T).weights_ - true) ** 2)
    assert error < 0.25 * constant and error < 0.5 * without_labels
    assert (shift.weights_ >= 0).all() and (shift.weights_ <= 10).all() and not hasattr(shift, "classes_")
    assert shift.label_grid_.shape == shift.label_weights_.shape == (20,)
    assert {*shift.label_grid_} <= {*(scale * (y + 3))}


@pytest.mark.parametrize("weighted", [False, True])
def test_smoother_of_numbers_is_the_one_of_the_definition(weighted):
    rng = np.random.default_rng(0)
    marks = np.sort(rng.uniform(0, 1, 6))
    y = marks[rng.integers(0, 6, 30)]  # only landmarks: no approximation
    weight = rng.integers(1, 4, 30) if weighted else np.ones(30, dtype=int)
    G, R = target_shift._smoothed(y, weight.astype(float), marks, 0.2, 0.3)
    again = np.repeat(np.arange(30), weight)
    L = np.exp(-((y[again, None] - y[again]) ** 2) / 0.08)
    dense = L @ np.linalg.solve(L + 0.3 * np.eye(len(again)), R[again])
    expected = np.stack([dense[again == row].sum(axis=0) for row in range(30)])
    np.testing.assert_allclose(G, expected, atol=1e-7)
    bumps = np.exp(-((y[:, None] - marks) ** 2) / 0.08)
    np.testing.assert_allclose(R, bumps / bumps.sum(axis=1, keepdims=True), rtol=1e-12)


def test_numbers_of_the_same_law_weigh_about_one():
    rng = np.random.default_rng(0)
    (X, y), (T, _) = curve(600, 0.0, 1.0, rng), curve(500, 0.0, 1.0, rng)
    assert np.abs(im.TargetShiftWeights().fit(X, y, T).weights_ - 1).mean() < 0.2


def test_one_number_and_numbers_far_apart_have_finite_weights():
    X, T = shifted(60, 50)
    alone = im.TargetShiftWeights(KERNEL).fit(X, np.full(60, 0.5), T)
    np.testing.assert_array_equal(alone.weights_, alone.weights_[0])
    y = np.exp(np.linspace(-30, 30, 60))
    wide = im.TargetShiftWeights(KERNEL).fit(X, y, T).weights_
    assert np.isfinite(wide).all() and (wide >= 0).all() and (wide <= 10).all()


@pytest.mark.parametrize("name", ["label_bandwidth", "label_reg"])
def test_parameters_of_numbers_out_of_range_are_refused(name):
    X, y = classes()
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0, got 0"):
        im.TargetShiftWeights(**{name: 0}).fit(X, y, X + 1)


def test_whole_numbers_are_those_of_a_regression_where_it_is_said():
    rng = np.random.default_rng(0)
    (X, y), (T, _) = curve(300, 0.0, 1.0, rng), curve(200, 0.8, 0.6, rng)
    counts = (10 * y).round()
    shift = im.TargetShiftWeights(regression=True).fit(X, counts, T)
    near = im.TargetShiftWeights().fit(X, counts + 0.001, T)
    again = im.TargetShiftWeights().fit(X, y > 0, T).set_params(regression=True).fit(X, counts, T)
    assert not hasattr(again, "classes_") and hasattr(again, "label_grid_")
    np.testing.assert_allclose(shift.weights_, near.weights_, atol=1e-2)
    assert im.TargetShiftWeights(regression=False).fit(X, y > 0, T).classes_.tolist() == [False, True]
    assert np.isfinite(im.TargetShiftWeights(regression=True).fit(X, np.zeros(300), T).weights_).all()
    with pytest.raises(ValueError, match=r"y must hold numbers with regression=True, got .*'a'"):
        im.TargetShiftWeights(regression=True).fit(X, np.where(y > 0, "a", "b"), T)
    with pytest.raises(ValueError, match="regression must be True, False or None, got 'yes'"):
        im.TargetShiftWeights(regression="yes").fit(X, y, T)


def test_a_regression_in_a_pipeline_is_trained_with_its_weights():
    rng = np.random.default_rng(0)
    (X, y), (T, _) = curve(300, 0.0, 1.0, rng), curve(200, 0.8, 0.6, rng)
    piped = im.make_transfer_pipeline(im.TargetShiftWeights(), Ridge()).fit(X, y, T)
    weights = im.TargetShiftWeights().fit(X, y, T).weights_
    np.testing.assert_allclose(piped.model_.coef_, Ridge().fit(X, y, sample_weight=weights).coef_, rtol=1e-9)
