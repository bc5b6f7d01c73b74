"""mmd2_grad against the float64 formula, torch's automatic derivative and difference quotients."""

import isthmus as im
import numpy as np
import pytest
from conftest import DISTANCE_KERNELS, DTYPES, KERNELS, SIZES, THREADS, TOLERANCES, largest, oracle_matrix
from isthmus import reference

ESTIMATORS = ("unbiased", "biased")
CUSPS = {"exponential": im.Exponential(3.0), "energy": im.Energy(), "laplacian": im.Laplacian(3.0)}


def samples(rng, n, m, d, dtype, shift=0.0):
    x, y = rng.normal(size=(n, d)) + shift, rng.normal(size=(m, d)) + shift + 0.3
    return x.astype(dtype), y.astype(dtype)


def derivatives(x, y, kernel):
    """d k(x_i, y_j) / d x_ik in float64, (n, m, d)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    total = np.zeros((len(x), len(y), x.shape[1]))
    for weight, part in kernel.parts:
        slope = weight * part.slope(reference.INPUTS[part.input](x, y, np), np)
        by_input = reference.INPUT_SLOPES[part.input](x[:, None], y[None], np)
        total += slope[:, :, None] * by_input
    return total


def shares(w, n):
    w = np.ones(n) if w is None else np.asarray(w, np.float64)
    return w / w.sum()


def oracle(x, y, kernel, estimator, wx=None, wy=None):
    """dX and dY from the definition, with all derivatives in full."""
    px, py = shares(wx, len(x)), shares(wy, len(y))

    def gradient(a, b, pa, pb):
        within, across = derivatives(a, a, kernel), derivatives(a, b, kernel)
        scale = 1.0
        if estimator == "unbiased":
            within[np.arange(len(a)), np.arange(len(a))] = 0
            scale = 1 / (1 - pa @ pa)
        inner = scale * np.einsum("ijk,j->ik", within, pa) - np.einsum("ijk,j->ik", across, pb)
        return 2 * pa[:, None] * inner

    return gradient(x, y, px, py), gradient(y, x, py, px)


def check(found, x, y, kernel, estimator, wx=None, wy=None, largest_slope=None):
    """The promise of the docstring, for the value and both gradients."""
    value, dx, dy = found
    tolerance = TOLERANCES[str(x.dtype)]
    z = np.concatenate([x, y])
    scale = largest(oracle_matrix(z, z, kernel))
    assert abs(value - im.mmd2(x, y, kernel=kernel, estimator=estimator, x_weights=wx, y_weights=wy)) <= (
        2 * tolerance.mmd * scale
    )
    bound = tolerance.gradient * (
        np.abs(derivatives(z, z, kernel)).max() if largest_slope is None else largest_slope
    )
    for got, expected, rows, w in zip(
        (dx, dy), oracle(x, y, kernel, estimator, wx, wy), (x, y), (wx, wy), strict=True
    ):
        assert got.dtype == rows.dtype
        assert got.shape == rows.shape
        assert (np.abs(got - expected) <= bound * shares(w, len(rows))[:, None]).all()


# -- slopes --


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_slopes_are_difference_quotients(kernel, rng):
    u = rng.uniform(0.1, 30, size=50)
    h = 1e-6 * u
    for _, part in kernel.parts:
        quotient = (part.value(u + h, np) - part.value(u - h, np)) / (2 * h)
        np.testing.assert_allclose(part.slope(u, np), quotient, rtol=1e-7, atol=1e-10)


def test_the_slope_of_a_sum_is_the_sum_of_slopes():
    u = np.array([0.5, 2.0])
    kernel = im.RBF(gamma=0.3) + 0.5 * im.IMQ(scale=2.0)
    expected = -0.3 * np.exp(-0.3 * u) - 0.5 * 0.125 * (1 + u / 4) ** -1.5
    np.testing.assert_allclose(kernel.slope(u, np), expected, rtol=1e-14)
    with pytest.raises(ValueError, match="take different inputs"):
        (im.RBF(gamma=0.3) + im.Linear()).slope(u, np)


@pytest.mark.parametrize("kernel", [im.Exponential(2.0), im.Matern(nu=0.5, scale=2.0), im.Energy()], ids=repr)
def test_the_slope_at_a_cusp_is_zero(kernel):
    assert kernel.slope(np.zeros(3), np).tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_compiled_slopes_equal_the_formulas(level, kernel, dtype, rng):
    """Pairs of single rows: the gradient is a derivative of the kernel. By products and by differences."""
    for d in (2, 20):
        x, y = rng.normal(size=(2, 40, 1, d)).astype(dtype) * rng.uniform(0.1, 3, size=(40, 1, 1)).astype(
            dtype
        )
        _, dx, dy = im.mmd2_grad(x, y, kernel=kernel, estimator="biased")
        for i in range(40):
            own = [derivatives(z[i], z[i], kernel)[0] for z in (x, y)]
            expected = 2 * (own[0] - derivatives(x[i], y[i], kernel)[0])
            bound = TOLERANCES[dtype].gradient * max(1e-3, *(np.abs(a).max() for a in (expected, *own)))
            assert np.abs(dx[i] - expected).max() <= bound, (i, d)
            expected = 2 * (own[1] - derivatives(y[i], x[i], kernel)[0])
            assert np.abs(dy[i] - expected).max() <= bound, (i, d)


# -- against the formulas --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_gradients_equal_the_oracle_at_all_sizes(level, kernel, dtype, rng):
    for i, n in enumerate(SIZES[1:]):
        m, d = SIZES[-1 - i], SIZES[(5 * i + 3) % len(SIZES)]
        x, y = samples(rng, n, max(2, m), d, dtype)
        for estimator in ESTIMATORS:
            check(im.mmd2_grad(x, y, kernel=kernel, estimator=estimator), x, y, kernel, estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_weighted_gradients_equal_the_oracle(level, kernel, dtype, estimator, rng):
    x, y = samples(rng, 150, 97, 11, dtype)
    wx, wy = rng.uniform(0, 3, size=150), rng.uniform(0, 3, size=97)
    wx[::7] = 0
    found = im.mmd2_grad(x, y, kernel=kernel, estimator=estimator, x_weights=wx, y_weights=wy)
    check(found, x, y, kernel, estimator, wx, wy)
    assert (found[1][::7] == 0).all()
    scaled = im.mmd2_grad(x, y, kernel=kernel, estimator=estimator, x_weights=4 * wx, y_weights=wy / 8)
    assert all(np.array_equal(a, b) for a, b in zip(found, scaled, strict=True))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_the_reference_is_the_oracle(kernel, rng):
    x, y = samples(rng, 30, 21, 4, "float64")
    wx = rng.uniform(size=30)
    for estimator in ESTIMATORS:
        with im.config(backend="reference"):
            found = im.mmd2_grad(x, y, kernel=kernel, estimator=estimator, x_weights=wx)
        check(found, x, y, kernel, estimator, wx)


@pytest.mark.parametrize("name", ["rbf", "laplacian", "exponential", "matern32", "polynomial"])
def test_gradients_equal_difference_quotients(name, rng):
    x, y = samples(rng, 20, 15, 3, "float64")
    kernel, h = KERNELS[name], 1e-6
    _, dx, dy = im.mmd2_grad(x, y, kernel=kernel)
    for rows, gradient, value in (
        (x, dx, lambda z: im.mmd2(z, y, kernel=kernel)),
        (y, dy, lambda z: im.mmd2(x, z, kernel=kernel)),
    ):
        for i, k in ((0, 0), (7, 2)):
            step = np.zeros_like(rows)
            step[i, k] = h
            quotient = (value(rows + step) - value(rows - step)) / (2 * h)
            assert gradient[i, k] == pytest.approx(quotient, abs=1e-8)


TORCH_FORMULAS = {
    "rbf": lambda t, x, y: (-(t.cdist(x, y) ** 2) / (2 * 2.5**2)).exp(),
    "exponential": lambda t, x, y: (-t.cdist(x, y) / 3.0).exp(),
    "laplacian": lambda t, x, y: (-t.cdist(x, y, p=1) / 7.0).exp(),
    "imq": lambda t, x, y: (1 + t.cdist(x, y) ** 2 / 9.0) ** -0.5,
    "polynomial": lambda t, x, y: (0.1 * x @ y.T + 1.0) ** 3,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TORCH_FORMULAS)
def test_gradients_equal_torchs(name, dtype, rng):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    n, m = 40, 33
    x, y = samples(rng, n, m, 9, dtype)
    a, b = (torch.from_numpy(z.astype(np.float64)).requires_grad_() for z in (x, y))
    formula = TORCH_FORMULAS[name]
    off_x, off_y = ~torch.eye(n, dtype=torch.bool), ~torch.eye(m, dtype=torch.bool)
    within = formula(torch, a, a)[off_x].mean() + formula(torch, b, b)[off_y].mean()
    (within - 2 * formula(torch, a, b).mean()).backward()
    _, dx, dy = im.mmd2_grad(x, y, kernel=KERNELS[name])
    bound = TOLERANCES[dtype].gradient * np.abs(derivatives(x, y, KERNELS[name])).max()
    assert np.abs(dx - a.grad.numpy()).max() <= bound / n
    assert np.abs(dy - b.grad.numpy()).max() <= bound / m


# -- laws --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_a_batch_equals_the_loop_of_single_calls(kernel, dtype, rng):
    x, y = rng.normal(size=(7, 33, 9)).astype(dtype), rng.normal(size=(7, 20, 9)).astype(dtype)
    wx = rng.uniform(size=33)
    values, dx, dy = im.mmd2_grad(x, y, kernel=kernel, x_weights=wx)
    assert values.shape == (7,)
    for i in range(7):
        value, dxi, dyi = im.mmd2_grad(x[i], y[i], kernel=kernel, x_weights=wx)
        assert value == values[i]
        assert np.array_equal(dxi, dx[i]) and np.array_equal(dyi, dy[i])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["rbf", "rbf-several", "laplacian", "energy", "linear", "sum"])
def test_any_number_of_threads_gives_the_same_bits(level, name, dtype, rng):
    x, y = samples(rng, 900, 707, 21, dtype)
    found = []
    for n_threads in THREADS:
        with im.config(n_threads=n_threads):
            found.append(im.mmd2_grad(x, y, kernel=KERNELS[name]))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_a_batch_has_the_same_bits_for_any_number_of_threads(rng):
    x, y = rng.normal(size=(2, 50, 40, 16)).astype("float32")
    found = []
    for n_threads in THREADS:
        with im.config(n_threads=n_threads):
            found.append(im.mmd2_grad(x, y, kernel=KERNELS["rbf"]))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_coincident_rows_are_no_trouble(level, kernel, dtype, rng):
    """Within a sample and across both, at float distance 0."""
    for d in (3, 20):
        x, y = samples(rng, 40, 30, d, dtype)
        x[10:20], y[5:15] = x[:10], x[20:30]
        for estimator in ESTIMATORS:
            check(im.mmd2_grad(x, y, kernel=kernel, estimator=estimator), x, y, kernel, estimator)


@pytest.mark.parametrize("kernel", CUSPS.values(), ids=CUSPS.keys())
def test_rows_that_all_coincide_have_gradient_zero(level, kernel):
    _, dx, dy = im.mmd2_grad(np.ones((5, 9)), np.ones((4, 9)), kernel=kernel)
    assert (dx == 0).all() and (dy == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", DISTANCE_KERNELS.values(), ids=DISTANCE_KERNELS.keys())
def test_a_shift_costs_no_accuracy(level, kernel, dtype, rng):
    for d in (2, 33):
        x, y = samples(rng, 65, 40, d, dtype, shift=1000)
        check(im.mmd2_grad(x, y, kernel=kernel), x, y, kernel, "unbiased")


@pytest.mark.parametrize("radius", [2.0, 5.0, 7.0, 30.0, 1000.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kernel", "largest_slope"),
    [
        (im.RBF(bandwidth=1.0), np.exp(-0.5)),
        (im.Matern(nu=1.5, scale=1.0), np.sqrt(3) / np.e),
        (im.Matern(nu=2.5, scale=1.0), 0.5),
        (im.RationalQuadratic(scale=1.0, alpha=1.0), 0.45),
        (im.IMQ(scale=1.0), 2 / 3**1.5),
        (im.Exponential(scale=1.0), 1.0),
        (im.Laplacian(scale=1.0), 1.0),
    ],
    ids=repr,
)
def test_tight_clusters_far_from_the_mean_keep_the_promise(level, kernel, largest_slope, dtype, radius, rng):
    """|z - mean| >> scale while |x - y| ~ scale: norms, products and sums over rows would cancel."""
    for d, spread in ((5, 0.001), (16, 0.1), (40, 0.5)):
        ends = rng.normal(size=(1, d))
        ends = np.concatenate([ends, -ends]) * radius / np.linalg.norm(ends)
        x, y = (
            (ends[rng.integers(0, 2, n)] + spread * rng.normal(size=(n, d)) / np.sqrt(d)).astype(dtype)
            for n in (150, 110)
        )
        check(
            im.mmd2_grad(x, y, kernel=kernel), x, y, kernel, "unbiased", largest_slope=radius * largest_slope
        )


def test_samples_of_several_parts_equal_the_oracle(level, rng):
    x, y = samples(rng, 700, 450, 6, "float32")
    check(im.mmd2_grad(x, y, kernel=KERNELS["rbf"]), x, y, KERNELS["rbf"], "unbiased")


# -- at the waist --


def test_a_rule_is_the_same_number_as_in_mmd2(rng):
    x, y = samples(rng, 50, 40, 4, "float64")
    value, dx, _ = im.mmd2_grad(x, y)
    assert value == pytest.approx(im.mmd2(x, y), abs=1e-14)
    z = np.concatenate([x, y])
    distances = np.sqrt(((z[:, None] - z[None]) ** 2).sum(-1))[np.triu_indices(90, 1)]
    expected = im.mmd2_grad(x, y, kernel=im.RBF(bandwidth=np.median(distances)))[1]
    np.testing.assert_allclose(dx, expected, atol=1e-15)


def test_few_rows_and_half_types_are_computed_wider(rng):
    x, y = samples(rng, 5, 4, 3, "float16")
    value, dx, dy = im.mmd2_grad(x, y, kernel=im.RBF(1.0))
    wide = im.mmd2_grad(x.astype("float64"), y.astype("float64"), kernel=im.RBF(1.0))
    assert value == wide[0]
    assert dx.dtype == dy.dtype == np.float32
    assert np.array_equal(dx, wide[1].astype("float32"))


def test_rows_that_lie_apart_are_read_where_they_are(rng):
    x, y = samples(rng, 60, 50, 8, "float32")
    for a, b in ((x[::-2], y[::3]), (np.asfortranarray(x), y[:, :])):
        found = im.mmd2_grad(a, b, kernel=KERNELS["rbf"])
        expected = im.mmd2_grad(a.copy(), b.copy(), kernel=KERNELS["rbf"])
        assert all(np.array_equal(p, q) for p, q in zip(found, expected, strict=True))


def test_tensors_in_give_tensors_out(rng):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, y = samples(rng, 30, 20, 3, "float32")
    value, dx, dy = im.mmd2_grad(
        torch.from_numpy(x).requires_grad_(), torch.from_numpy(y), kernel=KERNELS["rbf"]
    )
    expected = im.mmd2_grad(x, y, kernel=KERNELS["rbf"])
    assert isinstance(value, torch.Tensor) and value.dtype == torch.float64 and value.shape == ()
    assert dx.dtype == dy.dtype == torch.float32
    assert float(value) == expected[0]
    assert np.array_equal(dx.numpy(), expected[1]) and np.array_equal(dy.numpy(), expected[2])


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        ((3, 2), (4, 3), {}, ValueError, "Y must have X's width d = 2, got 3"),
        ((3, 2), (1, 2), {}, ValueError, "Y needs >= 2 rows .* got 1"),
        ((2, 3, 2), (3, 3, 2), {}, ValueError, "the same number of samples"),
        ((3,), (3, 2), {}, ValueError, "X must have shape"),
        ((3, 2), (3, 2), {"estimator": "both"}, ValueError, "estimator must be one of"),
        ((3, 2), (3, 2), {"x_weights": [1, 2]}, ValueError, r"x_weights must have shape \(3,\)"),
        ((3, 2), (3, 2), {"y_weights": [1, -1, 1]}, ValueError, "y_weights must not be negative"),
        ((3, 2), (3, 2), {"kernel": im.RBF}, TypeError, "kernel must be a kernel object"),
    ],
)
def test_what_does_not_fit_is_refused(x, y, options, error, message):
    with pytest.raises(error, match=message):
        im.mmd2_grad(np.ones(x), np.zeros(y), **{"kernel": im.RBF(1.0), **options})


def test_nan_is_refused_with_its_position():
    x = np.ones((4, 3))
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN \(1 value, first at row 2 column 1\)"):
        im.mmd2_grad(x, np.zeros((4, 3)), kernel=im.RBF(1.0))
