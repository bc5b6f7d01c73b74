"""TCA, JDA, BDA and KMM on rows that live on a device: what the same rows give in numpy."""

import warnings

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes, stacked
from isthmus import arrays
from isthmus.align import reweight
from isthmus.align.mathematics import box_matrix, box_qp, kernel_rows, krylov, pencil
from isthmus.align.mathematics.kernel_rows import StoredKernel, StreamedKernel
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

RBF = im.RBF(bandwidth=3.0)
SOLVERS = {
    "primal": {},
    "linear dual": {"kernel": im.Linear()},
    "stored": {"kernel": im.RBF()},
    "krylov": {"kernel": RBF, "eigen_solver": "krylov"},
    "landmarks": {"kernel": im.Laplacian(scale=9.0), "n_landmarks": 40},
}
TOLERANCES = {"float32": 2e-4, "float64": 1e-9}  # beside the largest value
every_solver = pytest.mark.parametrize("solver", SOLVERS)
both_types = pytest.mark.parametrize("dtype", TOLERANCES)


def toy(dtype="float64", n=70, d=6):
    X, y, X_target, _ = shifted_classes(2.0, 0, n=n, d=d)
    return X.astype(dtype), y, X_target[: n - 10].astype(dtype)


def assert_close(found, expected, dtype):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCES[dtype] * max(scale, 1e-300))


def compare(move, method, given, dtype, new_rows=None):
    """Fit on numpy rows and on rows moved: equal, what is fitted on the host, what is mapped at its home."""
    plain, there = clone(method), clone(method)
    moved = {name: move(given[name]) for name in ("X", "X_target") if name in given}
    expected, found = plain.fit_transform(**given), there.fit_transform(**{**given, **moved})
    assert arrays.home(found) == arrays.home(moved["X"]) and found.dtype == moved["X"].dtype
    assert_close(arrays.to_numpy(found), expected, dtype)
    for name, value in vars(there).items():
        assert arrays.home(value) is None or isinstance(value, np.ndarray | np.generic), name
    for name in ("components_", "eigenvalues_", "projection_", "X_fit_"):
        expected, found = getattr(plain, name), getattr(there, name)
        assert (found is None) == (expected is None)
        if expected is not None:
            assert found.dtype == expected.dtype
            assert_close(found, expected, dtype)
    if hasattr(plain, "pseudo_labels_"):
        np.testing.assert_array_equal(there.pseudo_labels_, plain.pseudo_labels_)
        np.testing.assert_allclose(there.mu_, plain.mu_, atol=1e-4 if dtype == "float32" else 1e-9)
    rows = [given["X"]] if new_rows is None else [given["X"], new_rows]
    for part in rows:
        tensors = move(part)
        found = there.transform(tensors)
        assert arrays.home(found) == arrays.home(tensors) and found.dtype == tensors.dtype
        assert_close(arrays.to_numpy(found), plain.transform(part), dtype)
    return plain, there


def check_solver(move, solver, dtype, path):
    X, _, X_target = toy(dtype)
    new_rows = np.random.default_rng(5).normal(size=(9, 6)).astype(dtype)
    method = im.TCA(3, **SOLVERS[solver])
    plain, there = compare(move, method, {"X": X, "X_target": X_target}, dtype, new_rows)
    # A model fitted on a device serves numpy rows, and is kept like any other.
    assert_close(there.transform(new_rows), plain.transform(new_rows), dtype)
    im.save(there, path / "model")
    kept = im.load(path / "model").transform(move(new_rows))
    np.testing.assert_array_equal(arrays.to_numpy(kept), arrays.to_numpy(there.transform(move(new_rows))))


@every_solver
@both_types
def test_components_on_a_device_are_those_of_numpy(device, solver, dtype, tmp_path):
    check_solver(device, solver, dtype, tmp_path)


@every_solver
@both_types
@pytest.mark.parametrize("scaling", ["metric", "white"])
def test_scaled_components_on_a_device_are_those_of_numpy(device, solver, dtype, scaling):
    X, _, X_target = toy(dtype)
    method = im.TCA(3, scaling=scaling, reg=0.1, **SOLVERS[solver])
    compare(device, method, {"X": X, "X_target": X_target}, dtype)


@every_solver
@both_types
def test_weights_and_domain_numbers_count_on_a_device_as_in_numpy(device, solver, dtype):
    X, _, X_target = toy(dtype)
    rows, domain, _ = stacked(X, X_target)
    weight = np.random.default_rng(1).integers(0, 4, len(rows)).astype(float)
    given = {"X": rows, "sample_domain": domain, "sample_weight": weight}
    plain, there = compare(device, im.TCA(3, **SOLVERS[solver]), given, dtype)
    found = there.transform(device(rows), domain=domain)
    assert_close(arrays.to_numpy(found), plain.transform(rows, domain=domain), dtype)


def test_fitted_arrays_that_are_read_only_serve_a_device(device):
    X, _, X_target = toy()
    fitted = im.TCA(2, **SOLVERS["krylov"]).fit(X, None, X_target)
    expected = fitted.transform(X)
    fitted.X_fit_.flags.writeable = fitted.components_.flags.writeable = False
    assert_close(fitted.transform(device(X)).numpy(), expected, "float64")


@every_solver
def test_types_mix_on_a_device_as_in_numpy(device, solver):
    X, _, X_target = toy()
    X = X.astype(np.float32)
    compare(device, im.TCA(3, **SOLVERS[solver]), {"X": X, "X_target": X_target}, "float32")


def test_fewer_rows_than_columns_on_a_device_give_what_numpy_gives(device):
    X, _, X_target = toy(n=20, d=40)
    for kernel in (None, im.Linear()):
        compare(device, im.TCA(3, kernel=kernel), {"X": X, "X_target": X_target}, "float64")


@both_types
def test_a_kernel_that_is_not_stored_gives_the_same_on_a_device(device, monkeypatch, dtype):
    monkeypatch.setattr(kernel_rows, "STORED_BYTES", 0)
    rows, domain, _ = stacked(*toy(dtype)[::2])
    weight = 1.0 + np.arange(len(rows)) % 3
    given = {"X": rows, "sample_domain": domain, "sample_weight": weight}
    compare(device, im.TCA(3, **SOLVERS["krylov"]), given, dtype)


def test_the_rows_drawn_as_landmarks_do_not_depend_on_the_device(device):
    """Beside this offset float32 could not tell the order of the rows."""
    X, _, X_target = toy("float32")
    X, X_target = X + np.float32(1e4), X_target + np.float32(1e4)
    method = im.TCA(2, kernel=RBF, n_landmarks=25)
    plain, there = method.fit(X, None, X_target), clone(method).fit(device(X), None, device(X_target))
    np.testing.assert_array_equal(there.X_fit_, plain.X_fit_)


@pytest.mark.parametrize("form", [StoredKernel, StreamedKernel])
def test_a_krylov_space_on_a_device_starts_again_and_takes_new_contrasts(device, form):
    X, _, X_target = toy(n=150)
    root = np.sqrt(1.0 + np.arange(290) % 2)
    first = pencil.mean_contrast(*np.split(root**2, [150]))
    found = []
    for rows in (np.concatenate([X, X_target]), device(np.concatenate([X, X_target]))):
        operator = form(rows, im.RBF(bandwidth=1.5), root)
        rng = np.random.default_rng(0)
        space = krylov.KrylovSpace(operator, root, rng, block=6, max_basis=36, n_landmarks=20)
        solved = [
            space.solve(contrasts, 1.0, 4, tol=1e-9, max_passes=200)[0]
            for contrasts in (first, first * np.linspace(1, 2, 290)[:, None])
        ]
        assert solved[0].passes > 36 / 6  # more products than the basis has room for
        found.append([solution.eigenvalues for solution in solved])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


def check_joint(move, dtype):
    X, y, X_target = toy(dtype)
    names = np.array(["no", "yes"])[y]
    given = {"X": X, "y": names, "X_target": X_target}
    for method in (
        im.JDA(3, n_iter=4),
        im.JDA(3, n_iter=3, kernel=RBF, eigen_solver="krylov", normalize="input"),
        im.BDA(3, n_iter=3, weighted="paper", normalize=None, classifier=LogisticRegression()),
    ):
        compare(move, method, given, dtype)


@both_types
def test_joint_components_on_a_device_are_those_of_numpy(device, dtype):
    check_joint(device, dtype)


@every_solver
@both_types
def test_joint_components_count_weights_and_target_labels_on_a_device(device, solver, dtype):
    X, y, X_target = toy(dtype)
    rows, domain, order = stacked(X, X_target)
    labels = np.concatenate([y, (X_target[:, 1] > 2).astype(int)])[order]
    rng = np.random.default_rng(2)
    given = {
        "X": rows,
        "y": labels,
        "sample_domain": domain,
        "target_labelled": (domain < 0) & (rng.random(len(rows)) < 0.2),
        "sample_weight": rng.integers(0, 3, len(rows)).astype(float),
    }
    compare(device, im.JDA(3, n_iter=3, **SOLVERS[solver]), given, dtype)


def test_joint_components_take_mixed_types_on_a_device(device):
    X, y, X_target = toy()
    weight = np.arange(len(X)) % 3 * 1.0
    for one, other in ((np.float32, np.float64), (np.float64, np.float32)):
        given = {"X": X.astype(one), "y": y, "X_target": X_target.astype(other), "sample_weight": weight}
        for kernel in (None, im.RBF()):
            compare(device, im.JDA(3, n_iter=3, kernel=kernel), given, "float32")


def test_rows_of_length_zero_stay_on_a_device(device):
    X, y, X_target = toy()
    X[3] = X_target[5] = 0.0
    compare(device, im.JDA(3, n_iter=3), {"X": X, "y": y, "X_target": X_target}, "float64")


def check_kmm(move, dtype, tol=1e-7):
    X, _, X_target = toy(dtype)
    weight = np.arange(len(X)) % 3 * 1.0
    given = {"X_target": X_target, "sample_weight": weight}
    plain = im.KMM(RBF, tol=tol, bound=5.0).fit(X, **given)
    there = im.KMM(RBF, tol=tol, bound=5.0)
    moved = there.fit(move(X), **{**given, "X_target": move(X_target)})
    assert type(moved.weights_) is np.ndarray
    assert (moved.weights_[weight == 0] == 0).all()
    np.testing.assert_allclose(moved.objective_, plain.objective_, rtol=1e-5)
    matrix, ratio = plain_matrix(X), weight.sum() / len(X_target)
    kappa = ratio * plain_matrix(X, X_target).sum(axis=1)
    mass = weight * moved.weights_
    value = mass @ matrix @ mass / 2 - kappa @ mass
    np.testing.assert_allclose(value, plain.objective_, rtol=1e-5)
    np.testing.assert_array_equal(arrays.to_numpy(there.transform(move(X))), X)


def plain_matrix(x, y=None):
    x, y = (np.asarray(part, np.float64) for part in (x, x if y is None else y))
    return np.exp(-((x[:, None] - y) ** 2).sum(axis=-1) / 18)


@both_types
@pytest.mark.parametrize("tol", [1e-4, 1e-7])
@pytest.mark.parametrize("stored", [True, False])
def test_kernel_mean_matching_on_a_device_reaches_the_optimum_of_numpy(
    device, monkeypatch, dtype, stored, tol
):
    monkeypatch.setattr(box_qp, "FEW", 8)
    if not stored:
        monkeypatch.setattr(reweight, "STORED_ROWS", 20)
    check_kmm(device, dtype, tol)


@pytest.mark.parametrize("where", ["numpy", "device"])
def test_precise_products_of_float32_matrices_are_summed_in_float64(request, where):
    X = toy("float32")[0]
    move = request.getfixturevalue("device") if where == "device" else np.asarray
    vector = np.where(np.arange(len(X)) % 4 > 0, np.linspace(0, 1e3, len(X)), 0.0)
    matrix = im.kernel_matrix(X, kernel=RBF)
    stored = box_matrix.StoredMatrix(move(matrix)).times(vector, True)
    np.testing.assert_allclose(stored, matrix.astype(np.float64) @ vector, rtol=1e-13)
    formed = reweight._FormedMatrix(move(X), RBF).times(vector, True)
    np.testing.assert_allclose(formed, plain_matrix(X) @ vector, rtol=1e-12)


def test_kernel_mean_matching_takes_mixed_types_on_a_device(device):
    X, _, X_target = toy()
    X = X.astype(np.float32)
    exact = im.KMM(RBF, tol=1e-10).fit(X.astype(np.float64), None, X_target)
    found = im.KMM(RBF, tol=1e-10).fit(device(X), None, device(X_target))
    np.testing.assert_allclose(found.objective_, exact.objective_, rtol=1e-9)


def test_without_a_target_rows_on_a_device_stay(device):
    X, y, _ = toy()
    for method in (im.TCA(2), im.JDA(2), im.KMM()):
        with pytest.warns(im.NoTargetWarning):
            fitted = clone(method).fit(device(X), y)
        assert arrays.home(fitted.transform(device(X))) == arrays.home(device(X))


def test_bad_rows_on_a_device_are_refused_as_in_numpy(device):
    X, _, X_target = toy()
    with pytest.raises(ValueError, match="TCA needs rows that vary, got constant X and X_target"):
        im.TCA(2).fit(device(np.ones_like(X)), None, device(np.ones_like(X_target)))
    far = np.concatenate([X, X[:1] * 1e200])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", im.DomainScaleWarning)
        with pytest.raises(ValueError, match="scale the columns of X"):
            im.TCA(2).fit(device(far), None, device(X_target))


@pytest.mark.gpu
@every_solver
@both_types
def test_components_on_a_gpu_are_those_of_numpy(gpu, solver, dtype, tmp_path):
    check_solver(gpu, solver, dtype, tmp_path)


@pytest.mark.gpu
@both_types
def test_joint_components_and_weights_on_a_gpu_are_those_of_numpy(gpu, dtype):
    check_joint(gpu, dtype)
    check_kmm(gpu, dtype)
