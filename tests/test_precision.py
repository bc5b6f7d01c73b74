"""config(precision="fast"): what it promises, and where a level has a faster path at all."""

import isthmus as im
import numpy as np
import pytest
from conftest import DISTANCE_KERNELS, KERNELS, TOLERANCES, largest, oracle_matrix, oracle_mmd2
from isthmus import backends

FAST = TOLERANCES["fast"]
HAS_FASTER = ("amx",)
FROM_DIFFERENCES = ("laplacian", "exponential", "matern12", "energy")


def samples(rng, d, shift=0.3):
    x = rng.standard_normal((70, d)).astype(np.float32)
    return x, (rng.standard_normal((53, d)) + shift).astype(np.float32)


@pytest.mark.parametrize("d", [1, 3, 16, 33, 100])
@pytest.mark.parametrize("name", KERNELS)
def test_fast_matrices_keep_their_promise(name, d, level, rng):
    x, y = samples(rng, d)
    with im.config(precision="fast"):
        k = im.kernel_matrix(x, y, kernel=KERNELS[name])
        product = im.kernel_matmul(x, y, np.eye(53, dtype=np.float32), kernel=KERNELS[name])
    expected = oracle_matrix(x, y, KERNELS[name])
    assert np.abs(k - expected).max() <= FAST.kernel * largest(expected)
    assert np.abs(product - expected).max() <= FAST.kernel * largest(expected)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("name", DISTANCE_KERNELS)
def test_fast_mmd_keeps_its_promise(name, estimator, level, rng):
    x, y = samples(rng, 19)
    with im.config(precision="fast"):
        value = im.mmd2(x, y, kernel=KERNELS[name], estimator=estimator)
    scale = largest(oracle_matrix(x, y, KERNELS[name]))
    assert abs(value - oracle_mmd2(x, y, KERNELS[name], estimator)) <= FAST.mmd * scale


@pytest.mark.parametrize("distance", [0.5, 2.0, 8.0, 30.0, 1e3])
@pytest.mark.parametrize("d", [1, 2, 5, 16, 300])
def test_fast_keeps_the_digits_of_near_pairs_far_from_the_mean(d, distance, level, rng):
    ends = rng.standard_normal((1, d))
    ends = np.concatenate([ends, -ends]) * distance / np.linalg.norm(ends)
    x = (ends[rng.integers(0, 2, 200)] + 0.3 * rng.standard_normal((200, d)) / np.sqrt(d)).astype(np.float32)
    kernel = im.RBF(gamma=0.3)
    with im.config(precision="fast"):
        k = im.kernel_matrix(x, kernel=kernel)
    assert np.abs(k - oracle_matrix(x, x, kernel)).max() <= FAST.kernel
    assert np.array_equal(k, k.T)
    assert np.array_equal(np.diag(k), np.ones(200))


@pytest.mark.parametrize("name", KERNELS)
def test_the_explanation_says_whether_a_faster_path_was_taken(name, level, rng):
    x, y = samples(rng, 20)
    exact = im.kernel_matrix(x, y, kernel=KERNELS[name])
    with im.config(precision="fast"):
        fast = im.kernel_matrix(x, y, kernel=KERNELS[name])
    taken = level in HAS_FASTER and name not in FROM_DIFFERENCES
    assert ("so none was taken" in str(backends.explain())) != taken
    assert ("two bfloat16 parts" in str(backends.explain())) == taken
    assert np.array_equal(fast, exact) != taken


def test_fast_leaves_float64_alone(level, rng):
    x = rng.standard_normal((40, 7))
    exact = im.kernel_matrix(x, kernel=im.RBF(1.0))
    with im.config(precision="fast"):
        assert np.array_equal(im.kernel_matrix(x, kernel=im.RBF(1.0)), exact)
    assert "so none was taken" in str(backends.explain())
