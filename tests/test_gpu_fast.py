"""config(precision="fast") on an emulated GPU: what its products leave out, and where they are taken at all.

A float32 number is taken as high + low, both bf16: |low| <= 2^-8 |x|, and 2^-17 |x| is lost. A product of
two numbers leaves out low * low and what is lost: 2^-15 of it at most. Tensor cores truncate: three additions
for 16 dimensions, of at most 256 before the sum is taken out, each off by 2^-23 of the sum of moduli at most.
"""

import isthmus as im
import numpy as np
import pytest
from conftest import KERNELS, TOLERANCES, largest, oracle_matrix, oracle_mmd2
from isthmus import backends

FAST = TOLERANCES["fast"]
LEFT_OUT = 2.0**-15
RBF = im.RBF(gamma=0.02)
SOME_KERNELS = ("rbf-several", "matern32", "rational-quadratic", "imq", "polynomial", "sum")


@pytest.fixture
def fast(emulated_gpu):
    """The emulated GPU, with everything asked for fast."""
    with im.config(precision="fast"):
        yield emulated_gpu


def rows(rng, n, d, offset=0.0):
    return (rng.normal(size=(n, d)) + offset).astype(np.float32)


def matrix(there, x, y=None, kernel=RBF):
    given = (there.torch.from_numpy(x), None if y is None else there.torch.from_numpy(y))
    return im.kernel_matrix(*given, kernel=kernel).numpy()


def parts(x):
    """High and low part of float32 numbers, as float64."""

    def nearest(v):
        bits = v.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)

    high = nearest(x)
    return high.astype(float), nearest(x - high).astype(float)


def truncated(d):
    """Bound of what additions of d products lose, of the sum of their moduli."""
    return 3 * np.ceil(min(d, 256) / 16) * 2.0**-23 + 2.0**-22


@pytest.mark.parametrize(
    ("d", "positive"), [(1, False), (15, True), (16, False), (17, True), (33, False), (33, True), (600, True)]
)
def test_a_product_is_that_of_two_parts_but_for_the_low_ones(fast, d, positive, rng):
    x = rows(rng, 90, d)
    if positive:  # all products grow the sum
        x = 1 + abs(x)
    found = matrix(fast, x, kernel=im.Linear())
    assert fast.launched[-1] == "store_fast_dot"
    (high, low), exact = parts(x), x.astype(float)
    cross, moduli = high @ low.T, abs(exact) @ abs(exact).T
    assert (abs(found - (high @ high.T + cross + cross.T)) <= truncated(d) * moduli).all()
    assert (abs(found - exact @ exact.T) <= (LEFT_OUT + truncated(d)) * moduli).all()
    assert np.array_equal(found, found.T)


@pytest.mark.parametrize("d", [1, 16, 33, 300])
def test_equal_rows_have_distance_0_and_pairs_no_order(fast, d, rng):
    x = rows(rng, 70, d, 3.0)
    x[40:60] = x[:20]
    kernel = im.RBF(gamma=0.2 / d)
    own = matrix(fast, x, kernel=kernel)
    assert fast.launched[-2:] == ["norms_fast", "store_fast_rbf"]
    assert np.array_equal(own, own.T)
    assert np.array_equal(own.diagonal(), np.ones(70))
    assert np.array_equal(own[np.arange(20), np.arange(40, 60)], np.ones(20))
    assert np.array_equal(own[:20, :20], own[40:60, 40:60])
    assert np.array_equal(matrix(fast, x[:30], x[25:], kernel), matrix(fast, x[25:], x[:30], kernel).T)
    assert abs(own - oracle_matrix(x, x, kernel)).max() <= FAST.kernel


@pytest.mark.parametrize("name", SOME_KERNELS)
def test_matrices_products_and_sums_keep_the_promise(fast, name, rng):
    x, y, kernel = rows(rng, 129, 17, 50.0), rows(rng, 65, 17, 50.3), KERNELS[name]
    if name in ("polynomial", "sum"):  # not centred
        x, y = x - np.float32(50), y - np.float32(50)
    gx, gy = fast.torch.from_numpy(x), fast.torch.from_numpy(y)
    expected, both = oracle_matrix(x, y, kernel), np.concatenate([x, y])
    scale = largest(oracle_matrix(both, both, kernel))
    assert abs(matrix(fast, x, y, kernel) - expected).max() <= FAST.kernel * scale
    ones = fast.torch.ones(65)
    product = im.kernel_matmul(gx, gy, ones, kernel=kernel).numpy()
    assert abs(product - expected.sum(1)).max() <= 65 * FAST.kernel * scale
    value = float(im.mmd2(gx, gy, kernel=kernel))
    assert abs(value - oracle_mmd2(x, y, kernel, "unbiased")) <= FAST.mmd * scale
    assert {name.split("_fast_")[0] for name in fast.launched if "_fast_" in name} == {
        "sum",
        "store",
        "matmul",
    }


@pytest.mark.parametrize("distance", [2.0, 30.0])
@pytest.mark.parametrize("d", [1, 5, 33])
def test_near_pairs_far_from_the_mean_keep_their_digits(fast, d, distance, rng):
    ends = rng.standard_normal((1, d))
    ends = np.concatenate([ends, -ends]) * distance / np.linalg.norm(ends)
    x = (ends[rng.integers(0, 2, 100)] + 0.3 * rng.standard_normal((100, d)) / np.sqrt(d)).astype(np.float32)
    kernel = im.RBF(gamma=0.3)
    own = matrix(fast, x, kernel=kernel)
    assert abs(own - oracle_matrix(x, x, kernel)).max() <= FAST.kernel
    assert np.array_equal(own, own.T)


@pytest.mark.parametrize("d", [8, 11, 16, 24, 40])
def test_low_parts_at_their_largest_keep_the_promise(fast, d):
    """Positive in one row, negative in another: what is left out adds up to the whole of their distance."""
    ends = np.array([1 + 2.0**-8 - 2.0**-16, 1 + 2.0**-6 - 2.0**-8 + 2.0**-16], dtype=np.float32) / 4
    x = np.repeat(np.concatenate([ends, -ends])[:, None], d, axis=1)  # its mean is 0
    kernel = im.RationalQuadratic(scale=1 / np.sqrt(2 * 1.7), alpha=1.7)  # of |x - y|^2 itself
    assert abs(matrix(fast, x, kernel=kernel) - oracle_matrix(x, x, kernel)).max() <= FAST.kernel


@pytest.mark.parametrize("count", [1, 17, 40, 81])
def test_columns_are_multiplied_by_parts_of_the_same_values(fast, count, rng):
    x, y, v = rows(rng, 40, 4), rows(rng, 150, 4), rows(rng, 150, count)
    values = matrix(fast, x, y).astype(float)
    given = (fast.torch.from_numpy(a) for a in (x, y, v))
    found = im.kernel_matmul(*given, kernel=RBF).numpy()
    # Half a tile of 64 columns is three additions for each 16; the result is rounded to float32.
    bound = (LEFT_OUT + 12 * 2.0**-23 + 2.0**-23) * (values @ abs(v))
    assert (abs(found - values @ v) <= bound).all()


def test_weighted_sums_over_pairs_of_blocks_keep_the_promise(fast, rng):
    z, w = rows(rng, 150, 20), rng.uniform(0, 3, 150)
    offsets, pairs = [0, 3, 133, 150], [[2, 0], [1, 1], [0, 1]]
    there = (fast.torch.from_numpy(z), fast.torch.from_numpy(w))
    sums, _ = im.block_sums(there[0], offsets, pairs, kernel=RBF, weights=there[1])
    assert "sum_fast_rbf" in fast.launched
    expected = oracle_matrix(z, z, RBF) * w[:, None] * w
    np.fill_diagonal(expected, 0)
    blocks = [slice(0, 3), slice(3, 133), slice(133, 150)]
    for value, (a, b) in zip(sums.tolist(), pairs, strict=True):
        bound = FAST.kernel * w[blocks[a]].sum() * w[blocks[b]].sum()
        assert abs(value - expected[blocks[a], blocks[b]].sum()) <= bound


def test_the_order_of_threads_changes_no_bit(fast, rng):
    x, y, v = (fast.torch.from_numpy(rows(rng, n, d)) for n, d in ((70, 33), (65, 33), (65, 20)))
    results = []
    for fast.reverse in (False, True):
        product = im.kernel_matmul(x, y, v, kernel=RBF)
        results.append((im.mmd2(x, y, kernel=RBF), product, im.kernel_matrix(x, y, kernel=RBF)))
    for forwards, backwards in zip(*results, strict=True):
        assert fast.torch.equal(forwards, backwards)


@pytest.mark.parametrize("capability", [75, 80, 86, 89, 90, 100, 120])
def test_it_is_taken_where_tensor_cores_are_wide(emulated_gpu, capability, rng):
    emulated_gpu.capability = capability
    x = rows(rng, 30, 20)
    exact = matrix(emulated_gpu, x)
    with im.config(precision="fast"):
        found = matrix(emulated_gpu, x)
    taken = capability in (80, 90, 100)
    assert (emulated_gpu.launched[-1] == "store_fast_rbf") == taken
    assert ("two bfloat16 parts" in str(backends.explain())) == taken
    assert ("so none was taken" in str(backends.explain())) != taken
    assert np.array_equal(found, exact) != taken


@pytest.mark.parametrize(
    ("dtype", "kernel", "count"),
    [("float64", RBF, 70), ("float32", im.Energy(), 70), ("float32", RBF, 30)],
    ids=["float64", "from differences", "small samples"],
)
def test_elsewhere_nothing_changes_and_the_explanation_says_so(emulated_gpu, dtype, kernel, count, rng):
    x, y = (emulated_gpu.torch.from_numpy(rows(rng, count, 20).astype(dtype)) for _ in range(2))
    exact = im.mmd2(x, y, kernel=kernel)
    with im.config(precision="fast"):
        assert emulated_gpu.torch.equal(im.mmd2(x, y, kernel=kernel), exact)
        assert "so none was taken" in str(backends.explain())
        im.project(x, y.T)
        assert "so none was taken" in str(backends.explain())
    assert not any("fast" in name for name in emulated_gpu.launched)


def test_rows_that_overflow_or_are_no_numbers_show_as_elsewhere(fast, rng):
    x, y, kernel = rows(rng, 70, 4), rows(rng, 70, 4, 0.5), im.RationalQuadratic(scale=4.0, alpha=60.0)
    x[3, 1] = 1e25
    found = float(im.mmd2(*(fast.torch.from_numpy(a) for a in (x, y)), kernel=kernel, estimator="biased"))
    assert abs(found - oracle_mmd2(x.astype(float), y.astype(float), kernel, "biased")) <= FAST.mmd
    x[3, 1] = np.nan
    own = matrix(fast, x)
    assert np.isnan(own[3, 4]) and not np.isnan(own[4, 5])
