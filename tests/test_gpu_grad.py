"""Gradients on an emulated GPU against the float64 formula."""

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, TOLERANCES, largest, oracle_matrix
from isthmus import _native, gpu, reference

PLAIN, TENSOR = 70, 90  # compute capabilities without and with wide tensor cores
TILE = {"float32": 128, "float64": 64}
SEVERAL = im.RBF(bandwidth=[2.0, 3.0, 9.0])
EVERY_INPUT = 0.5 * im.RBF(gamma=0.03) + im.Laplacian(scale=9.0) + im.Energy() + 0.1 * im.Linear()
SMOOTH = im.Matern(nu=1.5, scale=5.0) + im.RationalQuadratic(scale=4.0, alpha=1.7) + 0.3 * im.IMQ(scale=6.0)
CUBIC = im.Polynomial(degree=3, gamma=0.1, coef0=1.0)
SINGLE = im.RBF(gamma=0.02)
MANY = im.RBF(bandwidth=list(np.geomspace(1.0, 20.0, 30)))  # more than one launch carries


@pytest.fixture
def emulate(emulated_library):
    """Runs a launch on an emulated GPU."""
    return emulated_library.isthmus_emulate


class EmulatedGpu:
    """A launcher, and the home of arrays on the host. The workspace starts as NaN."""

    library, device = "torch", "cuda:0"

    def __init__(self, emulate, *, capability=PLAIN, processors=3, reverse=False):
        self.emulate, self.reverse = emulate, reverse
        self.capability, self.processors = capability, processors
        self.kernels = []

    def chip(self):
        return self.capability, self.processors

    def workspace(self, size):
        torch = pytest.importorskip("torch")
        room = torch.full((size + 256,), 255, dtype=torch.uint8)
        first = -room.data_ptr() % 256
        return room[first : first + size]

    def launch(self, launches, where):
        for name, blocks, task in launches:
            assert self.emulate(name.encode(), blocks, task, self.reverse) == 0, name
            self.kernels.append(name)


def on_gpu(machine, x, y, weights, factors, with_diagonal, kernel):
    torch = pytest.importorskip("torch")
    rows = [torch.from_numpy(z) for z in (x, y)]
    shares = tuple(None if w is None else torch.from_numpy(w) for w in weights)
    values = torch.full((len(x),), np.nan, dtype=torch.float64)
    dx, dy = (torch.full(z.shape, np.nan, dtype=z.dtype) for z in rows)
    gpu.mmd2_grad(
        _native,
        machine,
        *rows,
        shares,
        torch.from_numpy(factors),
        with_diagonal,
        kernel,
        values,
        dx,
        dy,
        machine,
    )
    return values.numpy(), dx.numpy(), dy.numpy()


def samples(rng, c, n, m, d, dtype, offset=0.0):
    x, y = (rng.normal(size=(c, rows, d)) + offset + shift for rows, shift in ((n, 0.0), (m, 0.3)))
    return x.astype(dtype), y.astype(dtype)


def shares_of(weights, x, y):
    """Weights (c, n) and (c, m) over their sums, float64."""
    full = (
        np.ones(z.shape[:2]) if w is None else w.astype(np.float64)
        for w, z in zip(weights, (x, y), strict=True)
    )
    return [w / w.sum(1, keepdims=True) for w in full]


def factors_of(weights, x, y):
    """Of the biased estimator."""
    tx, ty = (
        np.full(len(z), z.shape[1], np.float64) if w is None else w.sum(1, dtype=np.float64)
        for w, z in zip(weights, (x, y), strict=True)
    )
    return np.stack([1 / tx**2, 1 / ty**2, -1 / (tx * ty)], -1)


def largest_derivative(z, kernel):
    """Of the kernel by one coordinate of a row, over pairs of rows."""
    z, total = np.asarray(z, np.float64), 0.0
    for weight, part in kernel.parts:
        slope = weight * part.slope(reference.INPUTS[part.input](z, z, np), np)
        total = total + slope[:, :, None] * reference.INPUT_SLOPES[part.input](z[:, None], z[None], np)
    return np.abs(total).max()


def check(found, x, y, weights, with_diagonal, kernel, largest_slope=None):
    """What `im.mmd2_grad` promises for its value and for its gradients."""
    factors = factors_of(weights, x, y)
    values, dx, dy = np.empty(len(x)), np.empty(x.shape), np.empty(y.shape)
    reference.mmd2_grad(x, y, weights, factors, with_diagonal, kernel, values, dx, dy, np)
    tolerance, shares = TOLERANCES[str(x.dtype)], shares_of(weights, x, y)
    for i in range(len(x)):
        z = np.concatenate([x[i], y[i]])
        assert abs(found[0][i] - values[i]) <= 2 * tolerance.mmd * largest(oracle_matrix(z, z, kernel))
        bound = tolerance.gradient * (largest_slope or largest_derivative(z, kernel))
        for got, expected, share in zip(found[1:], (dx, dy), shares, strict=True):
            assert (np.abs(got[i] - expected[i]) <= bound * share[i][:, None]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kernel", "shape", "offset"),
    [
        (SINGLE, (1, 131, 40, 19), 100.0),
        (SEVERAL, (3, 20, 9, 3), 0.0),
        (EVERY_INPUT, (1, 65, 33, 17), 0.0),
        (SMOOTH, (1, 64, 128, 5), 10.0),
        (CUBIC, (2, 2, 3, 1), 0.0),
        (MANY, (1, 30, 60, 4), 0.0),
    ],
    ids=["single", "several-batch", "every-input", "smooth", "cubic-batch", "many"],
)
@pytest.mark.parametrize("with_diagonal", [False, True], ids=["unbiased", "biased-weights"])
def test_gradients_equal_the_formula(emulate, kernel, shape, offset, dtype, with_diagonal, rng):
    c, n = shape[:2]
    x, y = samples(rng, *shape, dtype, offset)
    weights = (None, None)
    if with_diagonal:
        weights = (rng.uniform(0, 2, size=(c, n)).astype(dtype), None)
    machine = EmulatedGpu(emulate)
    found = on_gpu(machine, x, y, weights, factors_of(weights, x, y), with_diagonal, kernel)
    check(found, x, y, weights, with_diagonal, kernel)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stripes_and_groups_of_a_sample_add_up(emulate, dtype, monkeypatch, rng):
    """Rows and columns of an item in several launches; two items of three in one."""
    side, item = TILE[dtype], np.dtype(dtype).itemsize
    x, y = samples(rng, 3, 7, 5, 3, dtype)
    weights = (None, rng.uniform(0, 2, size=(3, 5)).astype(dtype))
    long = samples(rng, 1, 2 * side + 1, 3, 3, dtype)
    for given, shares, tiles, n_pulls in ((long, (None, None), 2, 8), ((x, y), weights, 2 * 4, 2)):
        monkeypatch.setattr(gpu, "STRIPE_BYTES", tiles * side * side * item)
        machine = EmulatedGpu(emulate)
        found = on_gpu(machine, *given, shares, factors_of(shares, *given), False, SINGLE)
        check(found, *given, shares, False, SINGLE)
        assert sum(name.startswith("pull") for name in machine.kernels) == n_pulls


@pytest.mark.parametrize(
    ("kernel", "c", "dtype", "capability"),
    [
        (SEVERAL, 2, "float32", PLAIN),
        (SEVERAL, 1, "float32", TENSOR),
        (EVERY_INPUT, 2, "float64", PLAIN),
    ],
    ids=["plain", "tensor", "float64"],
)
def test_few_tiles_are_split_and_threads_take_any_turns(emulate, kernel, c, dtype, capability, rng):
    """Over the dimensions and over the columns, for a GPU with more processors than tiles."""
    x, y = (z / np.dtype(dtype).type(10) for z in samples(rng, c, 20, 31, 260, dtype))
    weights = (None, None)
    found = []
    for reverse in (False, True) if capability == PLAIN else (True,):
        machine = EmulatedGpu(emulate, capability=capability, processors=40, reverse=reverse)
        found.append(on_gpu(machine, x, y, weights, factors_of(weights, x, y), False, kernel))
        assert any(name.startswith("products") for name in machine.kernels)
        assert ("add_norms" in machine.kernels) == (capability == TENSOR)
    check(found[0], x, y, weights, False, kernel)
    assert all(np.array_equal(a, b) for a, b in zip(found[0], found[-1], strict=True))


def test_tensor_cores_keep_the_promise(emulate, rng):
    """Positive rows, where truncation shows most."""
    x, y = (np.abs(z) for z in samples(rng, 1, 127, 40, 20, "float32"))
    weights = (None, None)
    kernel = SEVERAL + 0.1 * im.Linear()
    machine = EmulatedGpu(emulate, capability=TENSOR)
    found = on_gpu(machine, x, y, weights, factors_of(weights, x, y), True, kernel)
    check(found, x, y, weights, True, kernel)
    assert {"slopes_tensor_gaussians", "slopes_tensor_dot", "pull_tensor_gram", "pull_tensor_dot"} <= {
        *machine.kernels
    }


@pytest.mark.parametrize(
    ("radius", "zeros"), [(5.0, 0), (30.0, 0), (30.0, 244)], ids=["near", "far", "split"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tight_clusters_far_from_the_mean_cost_no_accuracy(emulate, dtype, radius, zeros, rng):
    """|z - mean| >> scale while |x - y| ~ scale: norms, products and sums over rows would cancel."""
    ends = rng.normal(size=(1, 16))
    ends = np.concatenate([ends, -ends]) * radius / np.linalg.norm(ends)
    x, y = (
        (ends[rng.integers(0, 2, n)] + 0.1 * rng.normal(size=(n, 16)) / 4).astype(dtype)[None]
        for n in (60, 50)
    )
    x, y = (np.pad(z, ((0, 0), (0, 0), (0, zeros))) for z in (x, y))
    kernel, weights = im.RBF(bandwidth=1.0), (None, None)
    machine = EmulatedGpu(emulate, processors=40)
    found = on_gpu(machine, x, y, weights, factors_of(weights, x, y), True, kernel)
    check(found, x, y, weights, True, kernel, largest_slope=np.exp(-0.5))
    assert any(name.startswith("split_slopes") for name in machine.kernels) == (zeros > 0)


@pytest.mark.parametrize("kernel", [im.Exponential(3.0), im.Energy(), im.Laplacian(3.0)], ids=repr)
def test_rows_that_all_coincide_have_gradient_zero(emulate, kernel):
    x, y = np.ones((1, 5, 9)), np.ones((1, 4, 9))
    _, dx, dy = on_gpu(EmulatedGpu(emulate), x, y, (None, None), np.ones((1, 3)), False, kernel)
    assert (dx == 0).all() and (dy == 0).all()


@pytest.mark.parametrize("kernel", [im.Exponential(0.5), im.Energy()], ids=repr)
@pytest.mark.parametrize("gap", [1e-19, 1e-20, 1e-22])
def test_rows_too_close_for_squares_keep_a_bounded_gradient(emulate, kernel, gap):
    """A GPU's root flushes their squared distance to 0 where it is subnormal."""
    x, y = (np.float32(gap) * np.arange(first, 12, 2, dtype=np.float32)[None, :, None] for first in (0, 1))
    factors = np.ones((1, 3))
    _, dx, dy = on_gpu(EmulatedGpu(emulate), x, y, (None, None), factors, False, kernel)
    pairs = 2 * (x.shape[1] + y.shape[1])  # of a row, each in both orders
    steepest = largest_derivative(np.array([[0.0], [1e-3]]), kernel)
    assert max(np.abs(dx).max(), np.abs(dy).max()) <= pairs * steepest * 1.01


def test_rows_that_lie_apart_are_read_where_they_are(emulate, rng):
    x, y = samples(rng, 2, 40, 12, 8, "float64")
    weights, factors = (None, None), np.ones((2, 3))
    found = on_gpu(EmulatedGpu(emulate), x[:, ::2], y[:, :, :], weights, factors, False, SINGLE)
    expected = on_gpu(EmulatedGpu(emulate), x[:, ::2].copy(), y, weights, factors, False, SINGLE)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
