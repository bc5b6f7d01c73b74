"""TCA: the toy problems on which wrong solvers fail, both views of the data, new rows, weights, warnings."""

import itertools
import tracemalloc

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes, stacked, two_covariances
from conftest import oracle_matrix
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC

KERNELS = [None, im.Linear(), im.RBF(bandwidth=3.0), 0.5 * im.Laplacian(scale=8.0) + im.Linear()]
KERNEL_IDS = ["primal", "linear", "rbf", "sum"]


def spread_and_gap(Z_source, Z_target):
    """Total variance of the embedding and squared distance of the domain means in it."""
    Z = np.concatenate([Z_source, Z_target])
    return Z.var(axis=0).sum(), ((Z_source.mean(axis=0) - Z_target.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize("shift", [3.0, 10.0])
def test_toy_problem_is_solved_whatever_the_shift(shift):
    accuracies = []
    for seed in range(5):
        X, y, X_target, y_target = shifted_classes(shift, seed)
        tca = im.TCA(n_components=5, kernel=im.Linear(), reg=1.0)
        Z, Z_target = tca.fit_transform(X, y, X_target), tca.transform(X_target)
        variance, gap = spread_and_gap(Z, Z_target)
        assert gap < 1e-6 * variance
        assert tca.residuals_.max() < 1e-8
        scale = np.concatenate([Z, Z_target]).std(axis=0)
        accuracies.append(SVC(kernel="linear").fit(Z / scale, y).score(Z_target / scale, y_target))
    assert np.mean(accuracies) >= 0.90


@pytest.mark.parametrize("shift", [3.0, 10.0])
def test_residuals_are_those_of_the_dense_pencil(shift):
    X, _, X_target, _ = shifted_classes(shift, 0)
    tca = im.TCA(n_components=5, kernel=im.Linear()).fit(X, None, X_target)
    n, rows = len(X) + len(X_target), np.concatenate([X, X_target])
    K = rows @ rows.T
    e = np.concatenate([np.full(len(X), 1 / len(X)), np.full(len(X_target), -1 / len(X_target))])
    centred = K - K.mean(axis=0)
    S, f = centred.T @ centred, K @ e / np.linalg.norm(e)
    A = tca.components_
    right = tca.eigenvalues_ * (A + np.outer(f, f @ A))
    residuals = np.linalg.norm(S @ A - right, axis=0) / np.linalg.norm(right, axis=0)
    assert A.shape == (n, 5)
    assert residuals.max() < 1e-8


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is double on this machine")
@pytest.mark.parametrize("seed", range(5))
def test_fitted_components_have_the_residual_they_report(seed):
    X, _, X_target, _ = shifted_classes(10.0, seed)
    tca = im.TCA(n_components=5, kernel=im.Linear()).fit(X, None, X_target)
    rows, A = np.concatenate([X, X_target]).astype(np.longdouble), tca.components_
    e = np.repeat(np.array([1, -1]) / np.longdouble(200), 200)
    f = rows @ (rows.T @ e) / np.sqrt(e @ e)
    embedded = rows @ (rows.T @ A)
    left = rows @ (rows.T @ (embedded - embedded.mean(axis=0)))
    right = tca.eigenvalues_ * (A + np.outer(f, f @ A))
    residuals = np.sqrt(((left - right) ** 2).sum(axis=0) / (right**2).sum(axis=0))
    # Rounding A or F once, without care, leaves 1e-9 to 1e-8 here: eps |F|^2 / reg is 4e-8.
    assert residuals.max() < 5e-10
    assert tca.residuals_.max() < 5e-10


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_order_of_rows_changes_nothing(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=80)
    new = shifted_classes(3.0, 1, n=20)[2]
    order = np.random.default_rng(0).permutation(80)
    straight = im.TCA(n_components=4, kernel=kernel).fit(X, None, X_target)
    shuffled = im.TCA(n_components=4, kernel=kernel).fit(X[order], None, X_target[order[::-1]])
    for rows in (X, X_target, new):
        Z = straight.transform(rows)
        np.testing.assert_allclose(shuffled.transform(rows), Z, atol=1e-8 * np.abs(Z).max())


@pytest.mark.parametrize("kernel", [None, im.Linear()], ids=["primal", "linear"])
def test_gap_of_the_means_vanishes_as_the_ridge_does(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, d=2)
    gaps = []
    for reg in (1e4, 1e2, 1.0, 1e-2):
        tca = im.TCA(n_components=1, kernel=kernel, reg=reg).fit(X, None, X_target)
        variance, gap = spread_and_gap(tca.transform(X), tca.transform(X_target))
        gaps.append(gap / variance)
    assert all(later < 0.1 * earlier for earlier, later in itertools.pairwise(gaps))


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_fit_transform_and_transform_agree_on_the_rows_of_fit(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=50)
    tca = im.TCA(n_components=3, kernel=kernel)
    Z = tca.fit_transform(X, None, X_target)
    np.testing.assert_allclose(tca.transform(X, domain="source"), Z, atol=1e-10 * np.abs(Z).max())
    np.testing.assert_array_equal(tca.transform(X), tca.transform(X, domain="source"))


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_new_rows_are_embedded_by_the_definition(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=50)
    new = shifted_classes(3.0, 1, n=7)[2]
    tca = im.TCA(n_components=3, kernel=kernel).fit(X, None, X_target)
    rows = np.concatenate([X, X_target])
    seen = new if kernel is None else im.kernel_matrix(new, rows, kernel=kernel)
    np.testing.assert_allclose(tca.transform(new), seen @ tca.components_, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS[1:], ids=KERNEL_IDS[1:])
def test_dense_and_krylov_solvers_agree(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=100)
    found = {
        solver: im.TCA(n_components=5, kernel=kernel, eigen_solver=solver).fit(X, None, X_target)
        for solver in ("auto", "dense", "krylov")
    }
    assert found["krylov"].n_passes_ > 0 == found["dense"].n_passes_
    for other in ("auto", "krylov"):
        np.testing.assert_allclose(found[other].eigenvalues_, found["dense"].eigenvalues_, rtol=1e-9)
        np.testing.assert_allclose(found[other].components_, found["dense"].components_, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_dual_multiplies_by_the_kernel_without_storing_it(dtype, monkeypatch):
    from isthmus.align.mathematics import kernel_rows

    X, _, X_target, _ = (part.astype(dtype) for part in shifted_classes(3.0, 0, n=150))
    kernel = im.RBF(bandwidth=3.0)
    stored = im.TCA(n_components=5, kernel=kernel, eigen_solver="dense").fit(X, None, X_target)
    monkeypatch.setattr(kernel_rows, "STORED_BYTES", 0)
    monkeypatch.setattr(kernel_rows, "DENSE_ROWS", 0)
    streamed = im.TCA(n_components=5, kernel=kernel).fit(X, None, X_target)
    assert streamed.n_passes_ > 0
    assert streamed.residuals_.max() < (1e-3 if dtype == np.float32 else 1e-8)
    exact = np.linalg.qr(stored.components_)[0]
    cosines = np.linalg.svd(exact.T @ np.linalg.qr(streamed.components_)[0], compute_uv=False)
    assert cosines.min() > 0.999


@pytest.mark.parametrize("kernel", [None, im.Linear()], ids=["primal", "linear"])
def test_no_matrix_of_rows_by_rows_is_formed(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=5000)
    im.TCA(n_components=5, kernel=kernel).fit(X[:100], None, X_target[:100])
    tracemalloc.start()
    im.TCA(n_components=5, kernel=kernel).fit(X, None, X_target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 8 * 10_000 * 10  # ten times the rows; n x n would be a thousand times


def test_primal_takes_the_small_side_when_columns_outnumber_rows():
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((20, 70)), rng.standard_normal((15, 70)) + 0.5
    tca = im.TCA(n_components=6).fit(X, None, X_target)
    rows = np.concatenate([X, X_target])
    centred = rows - rows.mean(axis=0)
    gap = X.mean(axis=0) - X_target.mean(axis=0)
    B = np.eye(70) + np.outer(gap, gap) / (1 / 20 + 1 / 15)
    right = tca.eigenvalues_ * (B @ tca.components_)
    left = centred.T @ (centred @ tca.components_)
    np.testing.assert_allclose(left, right, atol=1e-9 * np.abs(right).max())
    assert tca.eigenvalues_[0] == pytest.approx(
        max(np.linalg.eigvals(np.linalg.solve(B, centred.T @ centred)).real)
    )


@pytest.mark.parametrize("solver", ["auto", "dense", "krylov"])
@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_weight_k_is_the_row_repeated_k_times(kernel, solver):
    if kernel is None and solver == "krylov":
        pytest.skip("the primal has no Krylov form")
    X, _, X_target, _ = shifted_classes(3.0, 0, n=60)
    weight = np.random.default_rng(0).integers(0, 4, 60)
    options = {"n_components": 4, "kernel": kernel, "eigen_solver": solver, "scaling": "metric"}
    weighted = im.TCA(**options).fit(X, None, X_target, sample_weight=weight)
    repeated = im.TCA(**options).fit(np.repeat(X, weight, axis=0), None, X_target)
    np.testing.assert_allclose(weighted.eigenvalues_, repeated.eigenvalues_, rtol=1e-9)
    Z = repeated.transform(X_target)
    np.testing.assert_allclose(weighted.transform(X_target), Z, atol=1e-7 * np.abs(Z).max())


def test_weights_reach_a_primal_of_few_rows_too():
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((12, 40)), rng.standard_normal((15, 40)) + 0.5
    weight = rng.integers(1, 4, 12)
    weighted = im.TCA(n_components=3).fit(X, None, X_target, sample_weight=weight)
    repeated = im.TCA(n_components=3).fit(np.repeat(X, weight, axis=0), None, X_target)
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_domain_numbers_give_the_same_embedding_as_two_arrays(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=50)
    rows, domain, order = stacked(X, X_target)
    direct = im.TCA(n_components=3, kernel=kernel).fit(X, None, X_target)
    expected = direct.transform(np.concatenate([X, X_target]))[order]
    Z = im.TCA(n_components=3, kernel=kernel).fit_transform(rows, sample_domain=domain)
    np.testing.assert_allclose(Z, expected, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("kernel", [None, im.Linear(), im.RBF()], ids=["primal", "linear", "rbf"])
def test_float32_rows_stay_float32(kernel):
    X, X_target = (part.astype(np.float32) for part in two_covariances())
    narrow = im.TCA(n_components=3, kernel=kernel)
    Z = narrow.fit_transform(X, None, X_target)
    exact = im.TCA(n_components=3, kernel=kernel)
    Z_exact = exact.fit_transform(X.astype(np.float64), None, X_target.astype(np.float64))
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, Z_exact, atol=2e-5 * np.abs(Z_exact).max())


def test_bandwidth_rule_is_evaluated_on_all_rows_of_fit():
    X, _, X_target, _ = shifted_classes(10.0, 0, n=30)
    tca = im.TCA(n_components=2, kernel=im.RBF()).fit(X, None, X_target)
    rows = np.concatenate([X, X_target])
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)[np.triu_indices(60, 1)]
    assert tca.kernel_.bandwidth == pytest.approx(np.median(distances), rel=1e-6)


@pytest.mark.parametrize(("kernel", "limit"), [(None, 4), (im.Linear(), 4), (im.RBF(bandwidth=2.0), 9)])
def test_components_beyond_the_size_of_the_data_are_left_out_silently(kernel, limit):
    rng = np.random.default_rng(0)
    tca = im.TCA(n_components=30, kernel=kernel).fit(rng.normal(size=(6, 4)), None, rng.normal(size=(4, 4)))
    assert tca.n_components_ == limit == tca.transform(rng.normal(size=(3, 4))).shape[1]


@pytest.mark.parametrize(
    "kernel", [None, im.Linear(), im.Polynomial(degree=1)], ids=["primal", "linear", "poly"]
)
def test_data_of_lower_rank_give_fewer_components_with_a_warning(kernel):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=40, d=4)
    repeated_columns = np.concatenate([X, X], axis=1), np.concatenate([X_target, X_target], axis=1)
    with pytest.warns(UserWarning, match="numerical rank"):
        tca = im.TCA(n_components=8, kernel=kernel).fit(repeated_columns[0], None, repeated_columns[1])
    assert tca.n_components_ == 4 == len(tca.get_feature_names_out())


def test_krylov_that_may_not_converge_warns_with_its_residual():
    X, _, X_target, _ = shifted_classes(3.0, 0, n=100)
    tca = im.TCA(n_components=30, kernel=im.RBF(bandwidth=1.0), eigen_solver="krylov", max_passes=3)
    with pytest.warns(ConvergenceWarning, match=r"residual \d\.\de[-+]\d\d, above 1e-08"):
        tca.fit(X, None, X_target)
    assert tca.residuals_.max() > 1e-8


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("solver", ["auto", "dense", "krylov"])
@pytest.mark.parametrize("kernel", [None, im.Linear(), im.RBF()], ids=["primal", "linear", "rbf"])
def test_constant_rows_are_refused(kernel, solver, value):
    if kernel is None and solver == "krylov":
        pytest.skip("the primal has no Krylov form")
    tca = im.TCA(kernel=kernel, eigen_solver=solver)
    with pytest.raises(ValueError, match="rows that vary"):
        tca.fit(np.full((5, 3), value), None, np.full((4, 3), value))


@pytest.mark.parametrize("kernel", [None, im.Linear()], ids=["primal", "linear"])
def test_ridge_lost_beside_the_gap_of_the_means_is_refused(kernel):
    X, X_target = two_covariances()
    with pytest.raises(ValueError, match="scale the columns of X or raise reg"):
        im.TCA(n_components=3, kernel=kernel).fit(1e30 * X, None, 1e30 * X_target)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_components": 0}, ValueError, "n_components must be an integer of at least 1, got 0"),
        ({"n_components": 2.5}, ValueError, "n_components must be an integer of at least 1, got 2.5"),
        ({"reg": 0.0}, ValueError, "reg must be a finite number above 0, got 0.0"),
        ({"reg": float("nan")}, ValueError, "reg must be a finite number above 0, got nan"),
        ({"tol": -1.0}, ValueError, "tol must be a finite number above 0 or None, got -1.0"),
        ({"scaling": "none"}, ValueError, "scaling must be one of 'unit', 'metric', 'white', got 'none'"),
        ({"eigen_solver": "arpack"}, ValueError, "eigen_solver must be one of 'auto', 'dense', 'krylov'"),
        ({"eigen_solver": "krylov"}, ValueError, "needs a kernel, got kernel=None"),
        ({"max_passes": 1}, ValueError, "max_passes must be an integer of at least 2, got 1"),
        ({"kernel": "rbf"}, TypeError, "kernel must be None or a kernel such as RBF"),
    ],
)
def test_wrong_parameters_are_named(options, error, message):
    X, X_target = two_covariances(20, 20)
    with pytest.raises(error, match=message):
        im.TCA(**options).fit(X, None, X_target)


def test_a_kernel_that_sees_no_difference_is_not_called_constant_rows():
    rows = np.random.default_rng(0).standard_normal((30, 3))
    model = im.TCA(2, kernel=im.RBF(bandwidth=1e20))
    with pytest.raises(ValueError, match="scale the columns of X or the kernel"):
        model.fit(rows[:15], X_target=rows[15:])


@pytest.mark.parametrize("scaling", ["unit", "metric", "white"])
def test_float32_rows_of_domains_far_apart_keep_the_gate_in_a_saved_model(scaling, tmp_path):
    X, _, X_target, _ = (part.astype(np.float32) for part in shifted_classes(12.0, 0, n=700))
    kernel = im.RBF(gamma=0.02)
    tca = im.TCA(10, kernel=kernel, reg=0.05, eigen_solver="krylov", scaling=scaling)
    Z = tca.fit_transform(X, None, X_target)
    im.save(tca, tmp_path / "model")
    loaded = im.load(tmp_path / "model")
    rows = np.concatenate([X, X_target]).astype(np.float64)
    K = oracle_matrix(rows, rows, kernel)
    A, w = loaded.components_, loaded.eigenvalues_
    f = (K[:, :700].mean(axis=1) - K[:, 700:].mean(axis=1)) / np.sqrt(2 / 700)
    images = K @ A
    right = w * (0.05 * A + np.outer(f, f @ A))
    left = np.linalg.norm(K @ (images - images.mean(axis=0)) - right, axis=0) / np.linalg.norm(right, axis=0)
    assert f @ f > 1e6 * 0.05
    assert left.max() < 1e-3
    np.testing.assert_allclose(tca.residuals_.max(), left.max(), rtol=0.5, atol=1e-4)
    assert Z.dtype == np.float32
    np.testing.assert_array_equal(loaded.transform(X), tca.transform(X))
    np.testing.assert_allclose(loaded.transform(X), Z, atol=1e-4 * np.abs(images).max())
    np.testing.assert_allclose(Z, images[:700], atol=1e-4 * np.abs(images).max())


@pytest.mark.parametrize("n", [40, 400], ids=["dense", "krylov"])
@pytest.mark.parametrize("method", [im.TCA(4), im.JDA(4, n_iter=2)], ids=["tca", "jda"])
def test_rows_moved_in_fit_are_those_of_transform(method, n):
    X, y, X_target, _ = shifted_classes(3.0, 1, n=n, d=6)
    model = clone(method).set_params(kernel=im.RBF(bandwidth=4.0))
    direct = model.fit_transform(X, y, X_target)
    share = 1e-6 * np.abs(direct).max()
    np.testing.assert_allclose(direct, model.transform(X, domain="source"), atol=share)
    parts = model.fit_transform([X[:15], X[15:]], [y[:15], y[15:]], X_target)
    np.testing.assert_allclose(np.concatenate(parts), direct, atol=share)
    assert [len(part) for part in parts] == [15, n - 15]
    mixed = model.fit_transform(X.astype(np.float32), y, X_target)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, direct, atol=1e-4 * np.abs(direct).max())
    weight = np.ones(n)
    weight[3] = 0  # not among the rows of fit, and moved all the same
    weighted = model.fit_transform(X, y, X_target, sample_weight=weight)
    np.testing.assert_allclose(weighted, model.transform(X, domain="source"), atol=share)
    assert np.isfinite(weighted[3]).all()
