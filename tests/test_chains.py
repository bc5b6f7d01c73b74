"""Sums of Gaussians whose exponentials are squares of one another, on the CPU and on an emulated GPU."""

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, TOLERANCES, oracle_matrix, oracle_mmd2

UNEVEN = (1e-3, 0.7, 1e-3, 1e-3, 2.0)  # the least exact kernel of a chain weighs most
GAMMAS = {
    "ratio-2": [0.01 * 2**k for k in range(5)],
    "ratio-4": [0.003 * 4**k for k in range(5)],
    "ratio-16": [0.02, 0.32],
    "ratio-3": [0.01 * 3**k for k in range(4)],
    "almost-2": [0.05, 0.1 * (1 + 1e-6)],
    "unsorted-twice": [0.08, 0.01, 0.04, 0.04, 0.16, 0.01],
    "many": [0.3 * 2.0 ** (-k / 2) for k in range(30)],  # more than one launch carries
    "underflow": [1.0, 2.0, 4.0, 8.0, 16.0],
}
KERNELS = {name: im.RBF(gamma=gammas) for name, gammas in GAMMAS.items()} | {
    "uneven": sum(
        (w * im.RBF(gamma=g) for w, g in zip(UNEVEN[1:], GAMMAS["ratio-2"][1:], strict=True)),
        UNEVEN[0] * im.RBF(gamma=GAMMAS["ratio-2"][0]),
    ),
    # Their weights are 0 by underflow: the first of a chain, a chain of its own.
    "vanishing": im.RBF(gamma=[0.02, 0.3, 0.5])
    + 1e-200 * (1e-200 * (im.RBF(gamma=0.01) + im.RBF(gamma=0.07))),
    "nothing": 1e-200 * (1e-200 * im.RBF(gamma=[0.01, 0.03])),
}


def samples(rng, dtype):
    return [(rng.normal(size=(n, 6)) + shift).astype(dtype) for n, shift in ((37, 0.0), (45, 0.5))]


def check(found, x, y, kernel, dtype, bound):
    """Matrix, MMD^2 and gradients: the first against the formula, the last against difference quotients."""
    matrix, value, dx = found
    tolerance, expected = TOLERANCES[dtype], oracle_matrix(x, y, kernel)
    size = max(1.0, sum(weight for weight, _ in kernel.parts))
    assert np.abs(matrix - expected).max() <= tolerance.kernel * size
    assert abs(value - oracle_mmd2(x, y, kernel, "biased")) <= tolerance.mmd * size
    step = 1e-5
    for i, k in ((0, 0), (36, 5)):
        wide = x.astype(np.float64), y.astype(np.float64)
        moved = [wide[0].copy() for _ in range(2)]
        moved[0][i, k] += step
        moved[1][i, k] -= step
        up, down = (oracle_mmd2(z, wide[1], kernel, "biased") for z in moved)
        assert abs(dx[i, k] - (up - down) / (2 * step)) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_sums_of_gaussians_keep_the_promise(level, kernel, dtype, rng):
    x, y = samples(rng, dtype)
    value, dx, _ = im.mmd2_grad(x, y, kernel=kernel, estimator="biased")
    found = im.kernel_matrix(x, y, kernel=kernel), float(value), dx
    check(found, x, y, kernel, dtype, 1e-6 if dtype == "float32" else 1e-9)
    assert abs(value - im.mmd2(x, y, kernel=kernel, estimator="biased")) <= 2 * TOLERANCES[dtype].mmd


@pytest.mark.parametrize(("dtype", "capability"), [("float32", 75), ("float32", 90), ("float64", 90)])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_sums_of_gaussians_keep_the_promise_on_a_gpu(emulated_gpu, kernel, dtype, capability, rng):
    emulated_gpu.capability = capability
    x, y = samples(rng, dtype)
    given = [emulated_gpu.torch.from_numpy(z) for z in (x, y)]
    _, dx, _ = im.mmd2_grad(*given, kernel=kernel, estimator="biased")
    value = float(im.mmd2(*given, kernel=kernel, estimator="biased"))
    found = im.kernel_matrix(*given, kernel=kernel).numpy(), value, dx.numpy()
    check(found, x, y, kernel, dtype, 1e-6 if dtype == "float32" else 1e-9)
    ones = emulated_gpu.torch.ones((len(y), 1), dtype=given[1].dtype)
    rows = im.kernel_matmul(*given, ones, kernel=kernel).numpy()[:, 0]
    assert np.abs(rows - oracle_matrix(x, y, kernel).sum(1)).max() <= 45 * TOLERANCES[dtype].kernel * 3
    assert all("gaussians" in name for name in emulated_gpu.launched if name.startswith(("store", "slopes")))
