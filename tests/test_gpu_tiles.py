"""Tiles on an emulated GPU: truncation, any alignment, groups of columns, small samples, tile lists."""

import ctypes

import isthmus as im
import numpy as np
import pytest
from conftest import TOLERANCES, oracle_matrix, oracle_mmd2
from isthmus import _native

RBF = im.RBF(gamma=0.02)


def rows(rng, n, d, offset=0.0):
    return (rng.normal(size=(n, d)) + offset).astype(np.float32)


def test_products_that_all_grow_the_sum_lose_nothing_to_truncation(emulated_gpu, rng):
    x, y = 1 + 0.2 * abs(rows(rng, 20, 512)), 1 + 0.2 * abs(rows(rng, 21, 512))
    torch = emulated_gpu.torch
    found = im.kernel_matrix(torch.from_numpy(x), torch.from_numpy(y), kernel=im.Linear()).numpy()
    assert emulated_gpu.launched[-1] == "store_tensor_dot"
    expected = x.astype(float) @ y.astype(float).T
    error = found / expected - 1
    assert abs(error).max() <= 1e-6
    assert abs(error.mean()) <= 1e-7


def test_long_rows_near_each_other_keep_their_distance(emulated_gpu, rng):
    # All products of near rows are positive; their distance is small beside them.
    x = rows(rng, 6, 700, 0.3)
    y = x + np.float32(0.01) * rows(rng, 6, 700)
    kernel = im.RBF(gamma=0.05)
    torch = emulated_gpu.torch
    found = im.kernel_matrix(torch.from_numpy(x), torch.from_numpy(y), kernel=kernel).numpy()
    assert abs(found - oracle_matrix(x, y, kernel)).max() <= TOLERANCES["float32"].kernel


@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize("columns", [5, 130, 132])
def test_a_matrix_is_stored_whole_whatever_its_alignment(emulated_gpu, capability, columns, rng):
    emulated_gpu.capability = capability
    x, y = rows(rng, 3, 5), rows(rng, columns, 5)
    torch, kernel = emulated_gpu.torch, RBF + im.Laplacian(scale=9.0)  # the second is added to the first
    found = im.kernel_matrix(torch.from_numpy(x), torch.from_numpy(y), kernel=kernel).numpy()
    assert abs(found - oracle_matrix(x, y, kernel)).max() <= 2 * TOLERANCES["float32"].kernel
    own = im.kernel_matrix(torch.from_numpy(y), kernel=kernel).numpy()
    assert abs(own - oracle_matrix(y, y, kernel)).max() <= 2 * TOLERANCES["float32"].kernel
    assert np.array_equal(own, own.T)
    assert (own.diagonal() == 2).all()


def test_a_kernel_matrix_is_symmetric_to_the_bit(emulated_gpu):
    # Rows of which tensor cores, adding up in another order, round a pair otherwise than its mirror image.
    x = emulated_gpu.torch.from_numpy(rows(np.random.default_rng(1), 128, 32))
    found = im.kernel_matrix(x, kernel=im.RBF(gamma=0.05)).numpy()
    assert emulated_gpu.launched[-1] == "store_tensor_rbf"
    assert np.array_equal(found, found.T)


@pytest.mark.parametrize("capability", [75, 90])
def test_columns_are_multiplied_in_groups_of_every_size(emulated_gpu, capability, rng):
    emulated_gpu.capability = capability
    x, y, v = rows(rng, 3, 4), rows(rng, 129, 4), rows(rng, 129, 81)
    torch, expected = emulated_gpu.torch, oracle_matrix(x, y, RBF) @ v
    for count in (1, 17, 33, 81):
        own = torch.from_numpy(v[:, :count].copy())
        found = im.kernel_matmul(torch.from_numpy(x), torch.from_numpy(y), own, kernel=RBF).numpy()
        bound = TOLERANCES["float32"].kernel * abs(v).sum(0).max()
        assert abs(found - expected[:, :count]).max() <= bound, count


def test_products_with_the_kernel_do_not_shrink(emulated_gpu, rng):
    x, y = rows(rng, 20, 4), rows(rng, 300, 4)
    torch, ones = emulated_gpu.torch, np.ones((300, 1), np.float32)
    found = im.kernel_matmul(*(torch.from_numpy(a) for a in (x, y, ones)), kernel=RBF).numpy()[:, 0]
    error = found / oracle_matrix(x, y, RBF).sum(1) - 1
    assert abs(error.mean()) <= 1e-7


SMALL = [(2, 20, 33, 7), (3, 64, 64, 12), (1, 127, 1, 129), (2, 16, 16, 33)]


@pytest.mark.parametrize(("c", "n", "m", "d"), SMALL)
@pytest.mark.parametrize(
    "kernel", [im.RBF(gamma=0.05), im.RBF(gamma=[0.02, 0.1]), im.Matern(nu=1.5, scale=5.0)]
)
def test_pairs_of_small_samples_are_summed_in_one_launch(emulated_gpu, c, n, m, d, kernel, rng):
    x, y = rng.normal(size=(c, n, d)).astype("f4") + 10, rng.normal(size=(c, m, d)).astype("f4") + 10.2
    wx = rng.uniform(0.5, 2, size=(c, n))
    torch = emulated_gpu.torch
    for given in ({}, {"x_weights": wx}):
        there = {name: torch.from_numpy(w) for name, w in given.items()}
        bits = []
        for emulated_gpu.reverse in (False, True):
            emulated_gpu.launched.clear()
            found = im.mmd2(
                torch.from_numpy(x), torch.from_numpy(y), kernel=kernel, estimator="biased", **there
            )
            bits.append(found.numpy().tobytes())
            if min(n, m) > 16:  # fewer rows are summed in float64
                assert len(emulated_gpu.launched) == 1 and emulated_gpu.launched[0].startswith("small_")
        assert bits[0] == bits[1]
        for i in range(c):
            expected = oracle_mmd2(x[i], y[i], kernel, "biased", wx[i] if given else None, None)
            assert abs(float(found[i]) - expected) <= TOLERANCES["float32"].mmd


def test_small_samples_far_apart_keep_the_distances_of_near_rows(emulated_gpu, rng):
    # Two tight clusters far from their common mean: the Gram trick would lose their distances.
    x, y = 0.1 * rows(rng, 30, 8) - 60, 0.1 * rows(rng, 30, 8) + 60
    kernel, torch = im.RBF(gamma=3.0), emulated_gpu.torch
    found = float(im.mmd2(torch.from_numpy(x), torch.from_numpy(y), kernel=kernel))
    assert emulated_gpu.launched == ["small_128_rbf"]
    assert abs(found - oracle_mmd2(x, y, kernel, "unbiased")) <= 2e-6


def test_a_tile_of_rows_far_apart_keeps_the_distances_of_near_rows(emulated_gpu, rng):
    x = np.concatenate([0.1 * rows(rng, 70, 8) - 60, 0.1 * rows(rng, 70, 8) + 60])
    kernel, torch = im.RBF(gamma=3.0), emulated_gpu.torch
    for emulated_gpu.capability in (75, 90):
        found = im.kernel_matrix(torch.from_numpy(x), kernel=kernel).numpy()
        assert abs(found - oracle_matrix(x, x, kernel)).max() <= 2e-6


def test_every_tile_of_a_triangle_comes_once(emulated_library):
    place = emulated_library.isthmus_place_in_triangle
    place.argtypes = [ctypes.c_ulonglong, ctypes.c_ulonglong, ctypes.POINTER(ctypes.c_ulonglong)]
    found = (ctypes.c_ulonglong * 2)()
    for down in (1, 2, 7, 100, 3_000_000):
        total = down * (down + 1) // 2
        # All of a small triangle; of a large one steps, its ends, and the borders of some rows.
        tiles = set(range(0, total, total // 1000 + 1)) | {total - 1}
        for row in range(1, down, down // 200 + 1):
            first = row * down - row * (row - 1) // 2
            tiles |= {first - 1, first}
        for t in tiles:
            place(t, down, found)
            row, col = found
            assert row <= col < down
            assert row * down - row * (row - 1) // 2 + col - row == t


def test_an_interval_is_found_among_empty_ones(emulated_library):
    interval = emulated_library.isthmus_interval_of
    interval.argtypes = [ctypes.POINTER(ctypes.c_ulonglong), ctypes.c_ulonglong, ctypes.c_ulonglong]
    interval.restype = ctypes.c_ulonglong
    first = [0, 3, 4, 2**40, 2**40 + 5]
    array = (ctypes.c_ulonglong * len(first))(*first)
    for at in (0, 2, 3, 4, 5, 2**40 - 1, 2**40, 2**40 + 4):
        expected = max(k for k in range(len(first) - 1) if first[k] <= at)
        assert interval(array, len(first) - 1, at) == expected


def test_entries_fit_the_shared_memory_of_their_gpus():
    kilobyte = 1024
    for name, (_, _, shared, task) in _native.gpu_entries().items():
        assert task <= 4096
        # Tensor cores are used where a block may have 163 KB or more, the other tiles anywhere.
        most = 163 if "_tensor_" in name or "_fast_" in name or name.startswith("small_256") else 99
        if name.startswith(("sum_float", "store_float", "matmul_float", "pack")):
            most = 64
        assert shared <= most * kilobyte, name
