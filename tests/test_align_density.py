"""Density ratios: KLIEP, RuLSIF, by classifier, by neighbours, against general optimisers and refits."""

import isthmus as im
import numpy as np
import pytest
from conftest import oracle_matrix
from isthmus.align.mathematics import ratio
from scipy.optimize import minimize
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

KERNEL = im.RBF(bandwidth=0.8)
DTYPES = ["float32", "float64"]
KERNEL_RATIOS = [im.KLIEP(), im.RuLSIF(), im.RuLSIF(alpha=0)]


def shifted(n=60, m=50, d=2, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)).astype(dtype), rng.normal(0.6, 0.7, (m, d)).astype(dtype)


def features(X, T, centres, kernel=KERNEL):
    return oracle_matrix(X, centres, kernel), oracle_matrix(T, centres, kernel)


# -- KLIEP --


@pytest.mark.parametrize("dtype", DTYPES)
def test_kliep_reaches_the_likelihood_that_a_general_optimiser_finds(dtype):
    X, T = shifted(40, 12, dtype=dtype)
    kliep = im.KLIEP(KERNEL, tol=1e-6, max_iter=100_000).fit(X, None, T)
    S, A = features(X, T, kliep.centres_)
    b = S.mean(axis=0)
    general = minimize(
        lambda a: -np.mean(np.log(np.maximum(A @ a, 1e-300))),
        np.full(12, 1 / b.sum()),
        jac=lambda a: -A.T @ (1 / np.maximum(A @ a, 1e-300)) / 12,
        bounds=[(0, None)] * 12,
        constraints={"type": "eq", "fun": lambda a: b @ a - 1, "jac": lambda a: b},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 5000},
    )
    a = kliep.coefficients_
    found = np.mean(np.log(A @ a))
    assert (a >= 0).all() and b @ a == pytest.approx(1, rel=1e-5 if dtype == "float32" else 1e-12)
    assert -1e-5 <= -general.fun - found <= kliep.gap_ + 1e-5
    assert kliep.gap_ <= 1e-6
    np.testing.assert_allclose(kliep.weights_, S @ a, rtol=1e-4 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_gap_of_kliep_bounds_what_is_missing_and_steps_never_lower_the_likelihood(steps):
    X, T = shifted(200, 80)
    S, A = features(X, T, T)
    share, b = np.full(80, 1 / 80), S.mean(axis=0)
    best = ratio.fit_likelihood(A, share, b, tol=1e-9, max_iter=200_000)
    early = ratio.fit_likelihood(A, share, b, tol=1e-9, max_iter=steps)
    later = ratio.fit_likelihood(A, share, b, tol=1e-9, max_iter=steps + 1)
    value = [share @ np.log(A @ fit.coefficients) for fit in (early, later, best)]
    assert early.n_iter == steps
    assert value[0] <= value[1] + 1e-12
    # The gap is that of the point before the last step, which is no better.
    assert value[2] - value[0] <= early.gap


def test_kliep_that_runs_out_of_steps_says_its_gap():
    X, T = shifted()
    with pytest.warns(ConvergenceWarning, match=r"KLIEP stopped after 3 steps at a gap of .* above 1e-09"):
        kliep = im.KLIEP(KERNEL, tol=1e-9, max_iter=3).fit(X, None, T)
    assert kliep.n_iter_ == 3 and kliep.gap_ > 1e-9


def test_kliep_chooses_the_kernel_by_the_likelihood_of_rows_left_out():
    X, T = shifted(80, 9)
    kernels = [im.RBF(bandwidth=width) for width in (0.05, 0.6, 20.0)]
    kliep = im.KLIEP(kernels, n_folds=9).fit(X, None, T)
    expected = []
    for kernel in kernels:
        S, A = features(X, T, kliep.centres_, kernel)
        scores = []
        for left in range(9):
            kept = np.arange(9) != left
            fit = ratio.fit_likelihood(A[kept], np.full(8, 1 / 8), S.mean(axis=0), tol=1e-7, max_iter=100_000)
            scores.append(max(np.log(max(A[left] @ fit.coefficients, 1e-300)), np.log(1e-300)))
        expected.append(np.mean(scores))
    assert kliep.kernel_ == kernels[int(np.argmax(expected))] == kernels[1]
    np.testing.assert_allclose(kliep.scores_[1:], expected[1:], atol=5e-2)
    assert kliep.scores_[0] < kliep.scores_[1]


def test_true_ratio_of_two_normal_samples_is_found():
    rng = np.random.default_rng(3)
    X, T = rng.normal(0, 1, (600, 1)), rng.normal(0.5, 0.8, (500, 1))
    x = np.linspace(-1.5, 2, 30)[:, None]
    true = (np.exp(-((x - 0.5) ** 2) / (2 * 0.64)) / 0.8 / np.exp(-(x**2) / 2))[:, 0]
    for estimator in (im.KLIEP(), im.RuLSIF(alpha=0), im.DensityRatioWeights()):
        found = estimator.fit(X, None, T).density_ratio(x)
        # Without any weights the error is that of the constant 1.
        limit = 0.3 if isinstance(estimator, im.DensityRatioWeights) else 0.1
        assert np.mean((found - true) ** 2) < limit * np.mean((1 - true) ** 2), estimator
    relative = im.RuLSIF(alpha=0.5).fit(X, None, T).density_ratio(x)
    assert np.mean((relative - true / (0.5 * true + 0.5)) ** 2) < 0.01


# -- least squares --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0, 0.1, 0.9])
def test_rulsif_is_the_closed_form(alpha, dtype):
    X, T = shifted(dtype=dtype)
    fit = im.RuLSIF(alpha, kernel=KERNEL, reg=0.05).fit(X, None, T)
    S, A = features(X, T, fit.centres_)
    H = (1 - alpha) * S.T @ S / len(X) + alpha * A.T @ A / len(T)
    expected = np.maximum(np.linalg.solve(H + 0.05 * np.eye(len(H)), A.mean(axis=0)), 0)
    near = {"rtol": 0, "atol": 1e-4 if dtype == "float32" else 1e-10}
    np.testing.assert_allclose(fit.coefficients_, expected, **near)
    np.testing.assert_allclose(fit.weights_, S @ expected, **near)
    assert fit.scores_ is None and fit.reg_ == 0.05 and fit.kernel_ == KERNEL


@pytest.mark.parametrize("weighted", [False, True])
def test_leave_one_out_score_equals_explicit_refits(weighted):
    X, T = shifted(23, 17)
    S, A = features(X, T, T[:9])
    rng = np.random.default_rng(1)
    a, v = (rng.uniform(0.5, 2, n) if weighted else np.ones(n) for n in (23, 17))
    pairs = np.array([rng.permutation(23)[:17], rng.permutation(17)])
    regs = np.array([1e-3, 0.1, 1.0])
    found = ratio.leave_one_out(S, a / a.sum(), A, v / v.sum(), regs, pairs)
    for reg, score in zip(regs, found, strict=True):
        squares, gains = 0.0, 0.0
        for i, j in pairs.T:
            rest, others = np.arange(23) != i, np.arange(17) != j
            H = (S[rest] * a[rest, None]).T @ S[rest] / a[rest].sum()
            h = v[others] @ A[others] / v[others].sum()
            theta = np.maximum(np.linalg.solve(H + reg * np.eye(9), h), 0)
            squares += a[i] * (S[i] @ theta) ** 2
            gains += v[j] * (A[j] @ theta)
        assert score == pytest.approx(squares / a[pairs[0]].sum() / 2 - gains / v[pairs[1]].sum(), rel=1e-12)


@pytest.mark.parametrize("heavy", [0, 1, 2], ids=["source", "target", "all"])
def test_leave_one_out_leaves_rows_of_nearly_all_the_weight_in(heavy):
    X, T = shifted(8, 8)
    S, A = features(X, T, T)
    shares = [np.full(8, 1 / 8), np.full(8, 1 / 8)]
    pairs, regs = np.array([np.arange(8), np.arange(8)]), np.array([0.01, 0.1])
    for domain in {0: [0], 1: [1], 2: [0, 1]}[heavy]:
        shares[domain] = np.r_[1.0, np.full(7, 1e-18)]
    expected = ratio.leave_one_out(S, shares[0], A, shares[1], regs, pairs[:, 1:])
    found = ratio.leave_one_out(S, shares[0], A, shares[1], regs, pairs)
    assert np.isfinite(found).all() and found.any()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(ratio.leave_one_out(S, shares[0], A, shares[1], regs, pairs[:, :1]), 0)


def test_ulsif_takes_the_kernel_and_the_ridge_of_the_least_score():
    X, T = shifted(30, 30)
    kernels, regs = [im.RBF(bandwidth=0.05), im.RBF(bandwidth=0.7)], [1e-3, 0.1, 10.0]
    fit = im.RuLSIF(0, kernel=kernels, reg=regs).fit(X, None, T)
    row, column = np.unravel_index(np.argmin(fit.scores_), fit.scores_.shape)
    assert fit.scores_.shape == (2, 3)
    assert (fit.kernel_, fit.reg_) == (kernels[row], regs[column])
    assert fit.kernel_ == kernels[1] and fit.reg_ < 10


def test_rulsif_score_is_the_error_of_folds_left_out():
    X, T = shifted(12, 12)
    fit = im.RuLSIF(0.3, kernel=[KERNEL, im.RBF(bandwidth=5.0)], reg=0.1, n_folds=12).fit(X, None, T)
    # Twelve folds of one row each, source and target rows paired at random: the mean over pairings is known.
    S, A = features(X, T, fit.centres_)
    scores = np.empty((12, 12))
    for i in range(12):
        for j in range(12):
            s, t = np.delete(S, i, axis=0), np.delete(A, j, axis=0)
            H = 0.7 * s.T @ s / 11 + 0.3 * t.T @ t / 11
            theta = np.maximum(np.linalg.solve(H + 0.1 * np.eye(len(H)), t.mean(axis=0)), 0)
            scores[i, j] = 0.35 * (S[i] @ theta) ** 2 + 0.15 * (A[j] @ theta) ** 2 - A[j] @ theta
    low, high = scores.min(axis=1).mean(), scores.max(axis=1).mean()
    assert low <= fit.scores_[0, 0] <= high
    assert fit.scores_[0, 0] == pytest.approx(scores.mean(), abs=3 * scores.std() / np.sqrt(12))


# -- what both share --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", [*KERNEL_RATIOS, im.DensityRatioWeights()], ids=str)
def test_ratio_at_the_rows_of_fit_is_their_weight(estimator, dtype):
    X, T = shifted(dtype=dtype)
    fit = estimator.fit(X, None, T)
    np.testing.assert_array_equal(fit.density_ratio(X), fit.weights_)
    new = fit.density_ratio(T)
    assert new.shape == (50,) and new.dtype == np.float64 and (new >= 0).all()
    with pytest.raises(ValueError, match="features"):
        fit.density_ratio(X[:, :1])


@pytest.mark.parametrize("estimator", [*KERNEL_RATIOS, im.DensityRatioWeights()], ids=str)
def test_ratio_without_a_target_is_one(estimator):
    X, _ = shifted()
    with pytest.warns(im.NoTargetWarning, match="its weights are all 1"):
        fit = estimator.fit(X)
    np.testing.assert_array_equal(fit.density_ratio(X[:7]), np.ones(7))


@pytest.mark.parametrize("estimator", [im.KLIEP(n_centres=20), im.RuLSIF(n_centres=20)], ids=str)
def test_centres_are_distinct_target_rows_drawn_by_the_random_state(estimator):
    X, T = shifted()
    T = np.concatenate([T, T[:10]])
    first, order = estimator.fit(X, None, T), np.random.default_rng(0).permutation(len(T))
    centres, weights = first.centres_, first.weights_
    assert centres.shape == (20, 2) == np.unique(centres, axis=0).shape
    assert {tuple(row) for row in centres} <= {tuple(row) for row in T}
    again = estimator.fit(X, None, T[order])
    np.testing.assert_array_equal(again.centres_, centres)
    np.testing.assert_allclose(again.weights_, weights, rtol=1e-9)
    other = estimator.set_params(random_state=1).fit(X, None, T)
    assert not np.array_equal(other.centres_, centres)
    estimator.set_params(random_state=0)


@pytest.mark.parametrize("estimator", [im.KLIEP, im.RuLSIF])
def test_domains_too_far_apart_for_the_kernel_are_said(estimator):
    X, T = shifted()
    with pytest.raises(ValueError, match="finds no source row near a target row under RBF"):
        estimator(kernel=im.RBF(bandwidth=0.01)).fit(X, None, T + 1e3)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (im.KLIEP(im.Linear()), "kernel must have positive values everywhere, got Linear"),
        (im.RuLSIF(kernel=[im.RBF(), im.Energy()]), "kernel must have positive values everywhere"),
        (im.KLIEP([]), "kernel must hold at least one kernel"),
        (im.KLIEP(n_centres=0), "n_centres must be an integer of at least 1, got 0"),
        (im.KLIEP(n_folds=1), "n_folds must be an integer of at least 2, got 1"),
        (im.RuLSIF(n_folds=1), "n_folds must be an integer of at least 2, got 1"),
        (im.KLIEP(tol=-1.0), "tol must be a finite number above 0, got -1.0"),
        (im.RuLSIF(alpha=1.0), "alpha must be a number of at least 0 and below 1, got 1.0"),
        (im.RuLSIF(reg=[0.1, 0.0]), "reg must be a finite number above 0 or several"),
        (im.DensityRatioWeights(bound=0.0), "bound must be a finite number above 0 or None"),
        (im.NearestNeighbourWeights(smoothing=-1), "smoothing must be a finite number of at least 0"),
    ],
    ids=str,
)
def test_parameters_out_of_range_are_refused(estimator, message):
    X, T = shifted()
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, None, T)


def test_a_file_whose_centres_do_not_fit_is_refused(tmp_path):
    X, T = shifted()
    fit = im.KLIEP(KERNEL).fit(X, None, T)
    for name, wrong in (("centres_", fit.centres_[:, :1]), ("coefficients_", fit.coefficients_[:3])):
        broken = im.KLIEP(KERNEL).fit(X, None, T)
        setattr(broken, name, wrong)
        with pytest.raises(im.ModelFileError):
            im.save(broken, tmp_path / "model")


# -- by classifier, by neighbours --


def test_classifier_gives_odds_times_the_ratio_of_the_sizes():
    X, T = shifted(60, 20)
    fit = im.DensityRatioWeights().fit(X, None, T)
    inside = fit.classifier_.predict_proba(X)
    np.testing.assert_allclose(fit.weights_, inside[:, 1] / inside[:, 0] * 3, rtol=1e-12)
    assert fit.odds_ == 3
    clipped = im.DensityRatioWeights(bound=0.5).fit(X, None, T).weights_
    np.testing.assert_array_equal(clipped, np.minimum(fit.weights_, 0.5))
    sure = im.DensityRatioWeights(KNeighborsClassifier(1)).fit(X, None, T + 100)
    np.testing.assert_allclose(sure.weights_, 3e-6, rtol=1e-5)
    np.testing.assert_allclose(sure.density_ratio(T + 100), 3e6, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (1e6, 0.0), (1.0, 1e4)])
def test_classifier_of_the_domains_minds_neither_scale_nor_offset(scale, offset, dtype):
    X, T = shifted(80, 60)
    sizes = {"sample_weight": np.random.default_rng(0).integers(1, 4, 80)}
    for weight in ({}, sizes):
        plain = im.DensityRatioWeights().fit(X, None, T, **weight).weights_
        moved = [(scale * rows + offset).astype(dtype) for rows in (X, T)]
        found = im.DensityRatioWeights().fit(moved[0], None, moved[1], **weight).weights_
        near = 1e-2 if dtype == "float32" else 1e-4
        assert plain.max() > 3 * plain.min()
        np.testing.assert_allclose(found, plain, rtol=near)


def test_classifier_must_have_probabilities_and_take_weights_where_there_are_any():
    X, T = shifted()
    with pytest.raises(TypeError, match="classifier must have predict_proba, got LinearSVC: wrap it"):
        im.DensityRatioWeights(LinearSVC()).fit(X, None, T)
    with pytest.raises(ValueError, match=r"KNeighborsClassifier\.fit takes no sample_weight, got one"):
        im.DensityRatioWeights(KNeighborsClassifier()).fit(X, None, T, sample_weight=np.ones(60))
    wrapped = im.DensityRatioWeights(CalibratedClassifierCV(LinearSVC())).fit(X, None, T)
    assert np.isfinite(wrapped.weights_).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 1.0])
def test_neighbour_weights_count_the_target_rows_of_each_cell(smoothing, dtype):
    X, T = shifted(30, 80, dtype=dtype)
    found = im.NearestNeighbourWeights(smoothing).fit(X, None, T).weights_
    distances = ((T[:, None].astype(float) - X[None].astype(float)) ** 2).sum(axis=-1)
    count = np.bincount(distances.argmin(axis=1), minlength=30) + smoothing
    np.testing.assert_allclose(found, count * 30 / count.sum(), rtol=1e-12)


def test_equal_source_rows_share_their_cell():
    X = np.array([[0.0], [0.0], [5.0]])
    T = np.array([[0.1], [-0.1], [0.2], [0.3], [6.0]])
    found = im.NearestNeighbourWeights(0.0).fit(X, None, T).weights_
    np.testing.assert_allclose(found, np.array([2.0, 2.0, 1.0]) * 3 / 5)
