"""Rows that lie further apart than 32 bits can count, and the pages that large arrays stand on."""

import mmap
import multiprocessing
import re
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import isthmus as im
import numpy as np
import pytest
from isthmus import homes
from isthmus.spectral import SAMPLINGS
from numpy.lib.stride_tricks import as_strided

native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or sys.maxsize < 2**40, reason="needs address space that nothing stands behind"
)

NO_RESERVE = 0x4000  # MAP_NORESERVE of Linux: pages that are never touched cost nothing


def far_apart(values, offset):
    """A copy of an array whose last row lies `offset` elements or more behind its first."""
    stride = -(-offset // (len(values) - 1))
    size = ((len(values) - 1) * stride + values[0].size) * values.itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    try:
        room = np.frombuffer(mmap.mmap(-1, size, flags=flags), values.dtype)
    except OSError:
        pytest.skip(f"this system grants no {size / 2**30:.0f} GiB of addresses")
    strides = (stride * values.itemsize, *values.strides[1:])
    apart = as_strided(room, values.shape, strides)
    apart[...] = values
    assert (apart.strides[0] // values.itemsize) * (len(values) - 1) >= offset
    return apart


@pytest.fixture(params=[2**31, 2**32, 2**33], ids=["2^31", "2^32", "2^33"])
def offset(request):
    """Elements between the first and the last row."""
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_far_apart_give_the_bits_of_rows_side_by_side(dtype, offset, level, rng):
    X, Y = (rng.standard_normal((n, 7)).astype(dtype) for n in (41, 67))
    V, W = rng.standard_normal((67, 5)).astype(dtype), rng.standard_normal((7, 33)).astype(dtype)
    kernels = [im.RBF(2.0), im.Laplacian(3.0), im.Energy(), im.Linear()]
    Z = np.concatenate([X, Y])
    maps = [im.RandomFourierFeatures(66, sampling=name, random_state=0).fit(Z) for name in SAMPLINGS]

    def everything(X, Y, Z):
        for kernel in kernels:
            yield im.kernel_matrix(X, Y, kernel=kernel)
            yield im.kernel_matrix(Y, kernel=kernel)
            yield im.kernel_matmul(X, Y, V, kernel=kernel)
            yield from im.block_sums(Z, [0, 41, 108], kernel=kernel)
            yield im.mmd2(X, Y, kernel=kernel)
        yield im.project(Y, W, activation="tanh")
        yield from im.mmd2_grad(X, Y, kernel=kernels[0])
        for features in maps:
            yield features.transform(Y)
            yield features.mean(Y)

    far = [far_apart(values, offset) for values in (X, Y, Z)]
    for reverse in (1, -1):
        given = [values[::reverse] for values in (X, Y, Z)]
        for expected, found in zip(everything(*given), everything(*(x[::reverse] for x in far)), strict=True):
            assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_of_a_batch_far_apart_give_the_bits_of_samples_side_by_side(dtype, offset, level, rng):
    X, Y = (rng.standard_normal((5, n, 3)).astype(dtype) for n in (20, 30))
    expected = im.mmd2(X, Y, kernel=im.RBF(2.0))
    assert (
        im.mmd2(far_apart(X, offset), far_apart(Y, offset), kernel=im.RBF(2.0)).tobytes()
        == expected.tobytes()
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "terms", [[("rbf", 1.0, (0.1,))], [("rbf", 0.5, (0.1,)), ("laplacian", 0.5, (2.0,))]]
)
def test_a_matrix_is_stored_in_rows_far_apart(dtype, terms, offset, level, rng):
    X, Y = (rng.standard_normal((n, 7)).astype(dtype) for n in (41, 67))
    expected = np.empty((41, 67), dtype)
    native.kernel_matrix(X, Y, terms, expected, level=level, n_threads=2)
    out = far_apart(np.full_like(expected, np.nan), offset)
    native.kernel_matrix(X, Y, terms, out, level=level, n_threads=2)
    assert out.tobytes() == expected.tobytes()


# -- huge pages --


def advised_bytes(first=0, last=2**64):
    """Bytes between two addresses of this process for which huge pages were asked."""
    total = low = high = 0
    with open("/proc/self/smaps") as file:
        for line in file:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                low, high = (int(end, 16) for end in line.split()[0].split("-"))
            elif line.startswith("VmFlags:") and re.search(r"\bhg\b", line):
                total += max(0, min(high, last) - max(low, first))
    return total


@pytest.fixture
def huge_pages():
    """Skips where the kernel has no transparent huge pages or does not tell what was asked of it."""
    try:
        chunk = mmap.mmap(-1, 1 << 25)
        chunk.madvise(mmap.MADV_HUGEPAGE)
        if not advised_bytes():
            pytest.skip("this system does not tell which pages were asked to be huge")
    except (OSError, AttributeError):
        pytest.skip("this system has no transparent huge pages")
    chunk.close()


def test_huge_pages_are_asked_for_large_results(huge_pages):
    result = homes.Home("numpy", "cpu").empty((1 << 24,), np.dtype(np.float32))
    first = result.ctypes.data
    assert advised_bytes(first, first + result.nbytes) >= result.nbytes - (1 << 22)


def most_advised_by_a_large_call():
    """Bytes for which huge pages were asked while one call with a workspace of 100 MB ran."""
    X = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (1, 400_000, 64))
    before, most = advised_bytes(), 0

    def compute():
        sums, diagonals = np.empty(1), np.empty(2)
        pairs = np.array([[0, 1]], np.int64)
        how = {"level": "base", "n_threads": 1}
        native.block_sums([X, X[:, :64]], None, pairs, [("rbf", 1.0, (0.1,))], sums, diagonals, **how)

    thread = threading.Thread(target=compute)
    thread.start()
    while thread.is_alive():
        most = max(most, advised_bytes() - before)
    thread.join()
    return most


def test_huge_pages_are_asked_for_large_workspaces(huge_pages):
    # A new process: here the allocator may hand out memory that was advised, and freed, by another test.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(most_advised_by_a_large_call).result() >= 400_000 * 64 * 4 - (1 << 22)
