"""Operations past the borders of their tiles against float64, on a real GPU and on the emulated one.

Each check takes what moves numpy arrays to the GPU, a dtype and random numbers; its last operation runs
there. What is expected needs config(backend="auto"): a launcher that a test insists on knows no host.
"""

import isthmus as im
import numpy as np
from conftest import TOLERANCES, largest, oracle_matrix
from isthmus import arrays, backends, mmd

GRADIENT_KERNELS = {
    "rbf": im.RBF(gamma=0.02),
    "rbf-several": im.RBF(bandwidth=[2.0, 3.0, 9.0]),
    "matern32": im.Matern(nu=1.5, scale=5.0),
    "laplacian": im.Laplacian(scale=30.0),
    "exponential": im.Exponential(scale=5.0),
    "polynomial": im.Polynomial(degree=2, gamma=0.02, coef0=1.0),
}


def gradients(move, dtype, rng, kernel):
    x, y = (rng.normal(size=(n, 37)) + shift for n, shift in ((131, 0.0), (40, 0.3)))
    x, y = x.astype(dtype), y.astype(dtype)
    with im.config(backend="auto"):
        expected = im.mmd2_grad(x.astype(np.float64), y.astype(np.float64), kernel=kernel)
    value, dx, dy = im.mmd2_grad(move(x), move(y), kernel=kernel)
    scale = largest(oracle_matrix(x, x, kernel))
    assert abs(float(value) - expected[0]) <= 2 * TOLERANCES[dtype].mmd * scale
    for found, wanted in ((dx, expected[1]), (dy, expected[2])):
        gap = np.abs(arrays.to_numpy(found) - wanted).max()
        assert gap <= TOLERANCES[dtype].gradient * scale / len(wanted)


def permuted_sums(move, dtype, rng, rounded):
    """A fragment of a tensor core in the wrong place would shuffle the values by a standard deviation."""
    n, m, kernel = 130, 70, im.RBF(gamma=0.1)
    z = rng.normal(size=(n + m, 9)).astype(dtype)
    k = oracle_matrix(z, z, kernel)
    np.fill_diagonal(k, 0)
    there = move(z)
    bits = mmd.random_assignments(n, m, 37, rng, arrays.home(there)).bits
    words = arrays.to_numpy(bits).astype("<i8").view(np.uint8)
    marks = np.unpackbits(words, axis=1, bitorder="little")[:, : n + m]
    sums, row_sums = backends.permuted_sums(there, kernel, bits, arrays.home(there), rounded=rounded)
    values = _mmd2(arrays.to_numpy(sums), arrays.to_numpy(row_sums), marks)
    expected = _mmd2(((marks @ k) * marks).sum(1), k.sum(1), marks)
    bound = 0.02 * expected.std() if rounded and dtype == "float32" else TOLERANCES[dtype].mmd
    assert np.abs(values - expected).max() <= bound


def _mmd2(q, k, marks):
    """Unbiased MMD^2 of the marked rows and the others."""
    a = marks.sum(1, dtype=np.float64)
    b, r = marks.shape[1] - a, marks @ k
    return q / (a * (a - 1)) + (k.sum() - 2 * r + q) / (b * (b - 1)) - 2 * (r - q) / (a * b)


def small_batches(move, dtype, rng, d):
    x, y = (rng.normal(size=(3, n, d)) + shift for n, shift in ((64, 0.0), (57, 0.2)))
    x, y, kernel = x.astype(dtype), y.astype(dtype), im.RBF(gamma=0.5 / d)
    for estimator in ("unbiased", "biased"):
        with im.config(backend="auto"):
            expected = im.mmd2(x.astype(np.float64), y.astype(np.float64), kernel=kernel, estimator=estimator)
        found = arrays.to_numpy(im.mmd2(move(x), move(y), kernel=kernel, estimator=estimator))
        assert np.abs(found - expected).max() <= TOLERANCES[dtype].mmd


def projections(move, dtype, rng, activation):
    """Widths that 16 bytes divide, and those that they do not."""
    for n, d, q in ((131, 40, 68), (129, 37, 65)):
        x, w, b = (rng.normal(size=shape).astype(dtype) for shape in ((n, d), (d, q), (q,)))
        found = arrays.to_numpy(im.project(move(x), move(w), move(b), activation=activation))
        sums = x.astype(np.float64) @ w + b
        expected = {"identity": sums, "relu": np.maximum(sums, 0), "tanh": np.tanh(sums), "cos": np.cos(sums)}
        size = (np.abs(x) @ np.abs(w) + np.abs(b)).max()
        assert np.abs(found - expected[activation]).max() <= TOLERANCES[dtype].kernel * size


def features(move, dtype, rng, sampling):
    x = rng.normal(size=(131, 37)).astype(dtype)
    made = im.RandomFourierFeatures(150, kernel=im.RBF(gamma=0.05), sampling=sampling, random_state=0)
    with im.config(backend="auto"):
        exact = made.fit(x).transform(x.astype(np.float64))
    assert np.abs(arrays.to_numpy(made.transform(move(x))) - exact).max() <= 2 * TOLERANCES[dtype].kernel
    weights = rng.uniform(0.5, 1.5, size=len(x))
    expected = weights @ exact / weights.sum()
    assert np.abs(made.mean(move(x), move(weights)) - expected).max() <= TOLERANCES[dtype].kernel


def moments(move, dtype, rng, d):
    x, w = rng.normal(size=(700, d)).astype(dtype), rng.uniform(0, 2, size=700).astype(dtype)
    origin = x[0]
    there = move(x)
    sums, scatter = backends.moments(there, move(w), move(origin), arrays.home(there))
    gaps = x.astype(np.float64) - origin
    weighted = gaps * w[:, None]
    assert (
        np.abs(arrays.to_numpy(sums) - weighted.sum(0)).max()
        <= TOLERANCES[dtype].kernel * np.abs(weighted).sum(0).max()
    )
    size = (np.abs(weighted).T @ np.abs(gaps)).max()
    assert np.abs(arrays.to_numpy(scatter) - gaps.T @ weighted).max() <= TOLERANCES[dtype].kernel * size


# Check, the argument that it takes, what it is called.
_TABLE = [
    *((gradients, kernel, f"gradients-{name}") for name, kernel in GRADIENT_KERNELS.items()),
    *(
        (permuted_sums, rounded, f"permuted-{'rounded' if rounded else 'precise'}")
        for rounded in (True, False)
    ),
    *((small_batches, d, f"small-batches-d{d}") for d in (7, 128, 200)),
    *((projections, name, f"project-{name}") for name in ("identity", "relu", "tanh", "cos")),
    *((features, name, f"features-{name}") for name in ("independent", "structured")),
    *((moments, d, f"moments-d{d}") for d in (37, 132)),
]
CHECKS = {name: (check, argument) for check, argument, name in _TABLE}
