"""Operations on a real GPU: both launchers, both libraries, streams, graphs, large sizes, full memory."""

from contextlib import nullcontext

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, KERNELS, TOLERANCES, largest, oracle_matrix, oracle_mmd2
from gpu_checks import CHECKS
from isthmus import arrays, backends

pytestmark = pytest.mark.gpu
RBF = im.RBF(gamma=0.02)


@pytest.fixture(params=["native", "nvrtc"])
def backend(request, gpu):
    """Each launcher in turn, insisted on; its memory holds NaN before it is used."""
    where = arrays.home(gpu(np.ones((1, 1))))
    if why_not := backends._lacks(request.param, where):
        pytest.skip(f"{request.param}: {why_not}")
    used = [gpu(np.full((1 << k,), np.nan)) for k in range(8, 22)]
    del used
    with im.config(backend=request.param):
        yield request.param


def rows(rng, n, d, dtype="float32", offset=0.0):
    return (rng.normal(size=(n, d)) + offset).astype(dtype)


def nan_like(x, shape):
    where = arrays.home(x)
    return where.full(shape, float("nan"), arrays.dtype_of(x))


def synchronised(x):
    """A host copy, once everything on the GPU is done."""
    xp = arrays.namespace(x)
    xp.cuda.synchronize() if arrays.library(x) == "torch" else xp.cuda.Device().synchronize()
    return arrays.to_numpy(x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "m", "d", "offset"),
    [(1, 2, 1, 0), (63, 64, 3, 0), (127, 129, 8, 100), (1000, 777, 65, 0), (300, 2000, 512, 3)],
)
def test_every_operation_agrees(gpu, backend, dtype, n, m, d, offset, rng):
    x, y, v = rows(rng, n, d, dtype, offset), rows(rng, m, d, dtype, offset + 0.1), rows(rng, m, 5, dtype)
    gx, gy, gv = gpu(x), gpu(y), gpu(v)
    kernel, tolerance = im.RBF(gamma=0.5 / d), TOLERANCES[dtype]
    expected, bound = oracle_matrix(x, y, kernel), tolerance.kernel * np.abs(v).sum(0).max()
    matrix = im.kernel_matrix(gx, gy, kernel=kernel, out=nan_like(gx, (n, m)))
    assert backends.explain().backend == backend and arrays.home(matrix) == arrays.home(gx)
    assert np.abs(synchronised(matrix) - expected).max() <= tolerance.kernel
    assert np.abs(synchronised(im.kernel_matmul(gx, gy, gv, kernel=kernel)) - expected @ v).max() <= bound
    for estimator in ("unbiased", "biased") if n > 1 else ("biased",):
        value = im.mmd2(gx, gy, kernel=kernel, estimator=estimator)
        assert value.shape == () and arrays.home(value) == arrays.home(gx)
        assert abs(float(value) - oracle_mmd2(x, y, kernel, estimator)) <= tolerance.mmd
    again = [im.mmd2(gx, gy, kernel=kernel, estimator="biased") for _ in range(5)]
    assert len({float(value).hex() for value in again}) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_every_kernel_agrees(gpu, backend, dtype, kernel, rng):
    x, y = rows(rng, 300, 17, dtype), rows(rng, 200, 17, dtype, 0.5)
    tolerance, both = TOLERANCES[dtype], np.concatenate([x, y])
    scale = largest(oracle_matrix(both, both, kernel))
    matrix = synchronised(im.kernel_matrix(gpu(x), gpu(y), kernel=kernel))
    assert np.abs(matrix - oracle_matrix(x, y, kernel)).max() <= tolerance.kernel * scale
    value = float(im.mmd2(gpu(x), gpu(y), kernel=kernel))
    assert abs(value - oracle_mmd2(x, y, kernel, "unbiased")) <= tolerance.mmd * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("check", "argument"), CHECKS.values(), ids=CHECKS.keys())
def test_what_is_past_the_borders_of_tiles_agrees(gpu, backend, check, argument, dtype, rng):
    check(gpu, dtype, rng, argument)
    assert backends.explain().backend == backend


def test_all_positive_rows_keep_their_accuracy_on_tensor_cores(gpu, backend):
    """They truncate: sums of products of one sign would drift."""
    rng = np.random.default_rng(7)
    x, y = (rng.uniform(1, 2, (n, 2048)).astype(np.float32) for n in (300, 260))
    for kernel in (im.Linear(), im.RBF(gamma=1e-3)):
        expected = oracle_matrix(x, y, kernel)
        found = synchronised(im.kernel_matrix(gpu(x), gpu(y), kernel=kernel))
        assert np.abs(found - expected).max() <= TOLERANCES["float32"].kernel * largest(expected)


@pytest.mark.parametrize("d", [1, 17, 64, 300, 2048])
def test_fast_products_leave_out_what_they_may_and_treat_both_rows_alike(gpu, backend, d, rng):
    """See tests/test_gpu_fast.py: 2^-15 of a product, and 2^-23 at each of 48 truncated additions."""
    x, v = rows(rng, 300, d), rows(rng, 300, 40)
    x[200:] = x[:100]
    given, kernel = gpu(x), im.RBF(gamma=0.2 / d)
    with im.config(precision="fast"):
        linear = synchronised(im.kernel_matrix(gpu(abs(x) + 1), kernel=im.Linear()))
        product = synchronised(im.kernel_matmul(given, None, gpu(v), kernel=kernel))
        value = float(im.mmd2(given[:170], given[170:], kernel=kernel))
        own = synchronised(im.kernel_matrix(given, kernel=kernel))
        across = synchronised(im.kernel_matrix(given[:130], given[130:], kernel=kernel))
    taken = arrays.home(given).chip()[0] in (80, 90, 100)
    assert ("two bfloat16 parts" in str(backends.explain())) == taken
    moduli = oracle_matrix(abs(x) + 1, abs(x) + 1, im.Linear())
    assert np.abs(linear / moduli - 1).max() <= 2.0**-15 + 50 * 2.0**-23
    expected, fast = oracle_matrix(x, x, kernel), TOLERANCES["fast"]
    assert np.abs(own - expected).max() <= fast.kernel
    assert np.abs(product - expected @ v).max() <= fast.kernel * np.abs(v).sum(0).max()
    assert abs(value - oracle_mmd2(x[:170], x[170:], kernel, "unbiased")) <= fast.mmd
    if taken:
        assert np.array_equal(own, own.T) and np.array_equal(own[:130, 130:], across)
        assert np.array_equal(own[np.arange(100), np.arange(200, 300)], np.ones(100))


def test_what_gpus_give_is_what_the_host_gives(gpu, rng):
    x, y = rows(rng, 12, 5), rows(rng, 7, 5, offset=1)
    for operation in (
        lambda a, b: im.kernel_matmul(a, None, a, skip_diagonal=True),
        lambda a, b: im.project(a, b.T, activation="logistic"),
        lambda a, b: im.mmd2(a[None], b[None], estimator="biased", x_weights=abs(a[:, 0])),
        lambda a, b: im.mmd2(a, a, estimator="biased"),
        lambda a, b: im.mmd_matrix([a, b, a[:5]]),
        lambda a, b: im.mmd_matrix([a, b, a[:5], b], estimator="biased"),
        lambda a, b: im.mmd2_grad(a, b, y_weights=abs(b[:, 0]))[1],
        lambda a, b: im.witness(a, b, b),
        lambda a, b: im.permuted_mmd2(a, b, n_permutations=3, random_state=0),
        lambda a, b: im.block_sums(a, [0, 5, 12], kernel=RBF, weights=abs(a[:, 0]))[0],
    ):
        found, expected = operation(gpu(x), gpu(y)), operation(x, y)
        assert arrays.home(found) == arrays.home(gpu(x))
        np.testing.assert_allclose(synchronised(found), expected, rtol=2e-5, atol=2e-6)
    tests = [im.two_sample_test(move(x), move(y), random_state=0) for move in (gpu, np.asarray)]
    assert tests[0].pvalue == tests[1].pvalue
    with pytest.raises(ValueError, match=r"Y must live where X lives, \w+ on cuda:0, got numpy on cpu"):
        im.mmd2(gpu(x), y)


def test_layouts_and_batches_agree(gpu, backend, rng):
    wide = gpu(rows(rng, 80, 9))
    for x in (wide[::2, 3:7], wide[:40, :4], gpu(rows(rng, 4, 40)).T):
        expected = oracle_matrix(synchronised(x), synchronised(x), RBF)
        found = synchronised(im.kernel_matrix(x, kernel=RBF))
        assert np.abs(found - expected).max() <= TOLERANCES["float32"].kernel
    x, y, w = rows(rng, 300 * 64, 16).reshape(300, 64, 16), rows(rng, 300 * 40, 16), rng.uniform(1, 2, 40)
    y = y.reshape(300, 40, 16)
    found = synchronised(im.mmd2(gpu(x), gpu(y), kernel=RBF, y_weights=gpu(w)))
    for i in (0, 1, 150, 299):
        expected = oracle_mmd2(x[i], y[i], RBF, "unbiased", None, w)
        assert abs(found[i] - expected) <= TOLERANCES["float32"].mmd


def test_work_goes_to_the_current_stream(gpu, backend, rng):
    """What it waits for is still being written there when it is called."""
    x, y = gpu(rows(rng, 500, 32)), gpu(rows(rng, 500, 32))
    expected = float(im.mmd2(x + 1, y, kernel=RBF))
    cuda, is_torch = arrays.namespace(x).cuda, arrays.library(x) == "torch"
    stream = cuda.Stream() if is_torch else cuda.Stream(non_blocking=True)
    synchronised(x)
    with cuda.stream(stream) if is_torch else stream:
        late = x + 0
        for _ in range(2000):
            late += 1 / 2048
        late = late * 0 + (x + 1)
        value = im.mmd2(late, y, kernel=RBF)
    stream.synchronize()
    assert abs(float(value) - expected) <= 1e-7


def test_a_cuda_graph_captures_and_replays(gpu, backend, rng):
    x, y = gpu(rows(rng, 200, 8)), gpu(rows(rng, 150, 8))
    other = gpu(rows(rng, 200, 8, offset=1))
    expected = float(im.mmd2(other, y, kernel=RBF, estimator="biased"))
    cuda, is_torch = arrays.namespace(x).cuda, arrays.library(x) == "torch"
    stream = cuda.Stream() if is_torch else cuda.Stream(non_blocking=True)
    # The graph's own memory, which nobody else is given.
    pool = None if is_torch else cuda.MemoryPool()
    synchronised(x)
    with (
        cuda.stream(stream) if is_torch else stream,
        nullcontext() if is_torch else cuda.using_allocator(pool.malloc),
    ):
        im.mmd2(x, y, kernel=RBF, estimator="biased")  # compiles, and fills the pool of the stream
        stream.synchronize()
        if is_torch:
            graph = cuda.CUDAGraph()
            with cuda.graph(graph, stream=stream):
                value = im.mmd2(x, y, kernel=RBF, estimator="biased")
        else:
            stream.begin_capture()
            value = im.mmd2(x, y, kernel=RBF, estimator="biased")
            graph = stream.end_capture()
    synchronised(x)
    if is_torch:
        x.copy_(other)
        graph.replay()
    else:
        x[...] = other
        synchronised(x)
        graph.launch(stream)
        stream.synchronize()
    assert abs(float(synchronised(value)) - expected) <= 1e-7


def needs(where, gigabytes):
    free = where.free_bytes() / 2**30
    if free < gigabytes:
        pytest.skip(f"needs {gigabytes} GiB of GPU memory, {free:.0f} are free")


def test_matrices_of_more_than_32_bits_of_elements_are_right(gpu, backend, rng):
    n, x = 65_600, rows(rng, 65_600, 2)
    assert n * n > 2**32
    given = gpu(x)
    needs(arrays.home(given), 20)
    matrix = im.kernel_matrix(given, kernel=RBF)
    some = np.r_[0:3, 32_767:32_770, n - 200 : n]
    expected = oracle_matrix(x[some], x[some], RBF)
    picked = matrix[arrays.index_of(some, given)][:, arrays.index_of(some, given)]
    assert np.abs(synchronised(picked) - expected).max() <= TOLERANCES["float32"].kernel


def test_more_pairs_than_32_bits_count_are_summed_right(gpu, backend, rng):
    """Eight different rows, repeated: sums over 72,000^2 pairs are weighted sums over 64."""
    n, few = 72_000, rows(rng, 8, 3)
    tiled, v = gpu(np.tile(few, (n // 8, 1))), gpu(np.ones((n, 1), dtype=np.float32))
    sums, _ = im.block_sums(tiled, [0, n], kernel=RBF)
    matrix = oracle_matrix(few, few, RBF)
    expected = matrix.sum() * (n // 8) ** 2 - n
    assert abs(float(sums[0]) / expected - 1) <= 1e-7
    found = synchronised(im.kernel_matmul(tiled, None, v, kernel=RBF))[-8:, 0]
    np.testing.assert_allclose(found, matrix.sum(1) * (n // 8), rtol=1e-5)


def test_full_memory_is_refused_and_leaves_the_gpu_usable(gpu, backend, rng):
    x = gpu(rows(rng, 400_000, 4))
    free = arrays.home(x).free_bytes()
    if free >= 4 * 400_000**2:
        pytest.skip("a matrix of 640 GB fits here")
    with pytest.raises(MemoryError, match="kernel_matrix of shape"):
        im.kernel_matrix(x, kernel=RBF)
    held, size = [], 1 << 36
    while size >= 1 << 20:
        try:
            held.append(arrays.home(x).empty((size,), np.dtype(np.uint8)))
        except (MemoryError, RuntimeError):
            size //= 2
    with pytest.raises((MemoryError, RuntimeError), match=r"(?i)out of memory"):
        im.kernel_matmul(x, None, x, kernel=RBF)
    del held
    xp = arrays.namespace(x)  # which keeps what was freed, where the driver finds no room for code
    xp.cuda.empty_cache() if arrays.library(x) == "torch" else xp.get_default_memory_pool().free_all_blocks()
    assert float(im.mmd2(x[:100], x[100:200], kernel=RBF)) < 1


def test_other_gpus_are_computed_on_and_the_current_one_stays(gpu, backend, rng):
    x, y = rows(rng, 300, 5), rows(rng, 200, 5)
    first, cuda = gpu(x), arrays.namespace(gpu(x)).cuda
    is_torch = arrays.library(first) == "torch"
    count = cuda.device_count() if is_torch else cuda.runtime.getDeviceCount()
    if count < 2:
        pytest.skip(f"needs 2 GPUs, got {count}")
    with nullcontext() if is_torch else cuda.Device(1):
        there = [gpu(part).to("cuda:1") if is_torch else gpu(part) for part in (x, y)]
    value = im.mmd2(*there, kernel=RBF)
    assert str(arrays.home(value)).endswith("on cuda:1")
    assert (cuda.current_device() if is_torch else cuda.Device().id) == 0
    assert abs(float(value) - oracle_mmd2(x, y, RBF, "unbiased")) <= TOLERANCES["float32"].mmd
    with pytest.raises(ValueError, match=r"Y must live where X lives, \w+ on cuda:0, got \w+ on cuda:1"):
        im.mmd2(first, there[1], kernel=RBF)
