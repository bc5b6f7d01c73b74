"""permuted_sums on an emulated GPU: plan, launches and device code, against the formula in float64."""

from pathlib import Path

import isthmus as im
import numpy as np
import pytest
from conftest import KERNELS, largest, oracle_matrix
from isthmus import cupy_module, gpu

native = pytest.importorskip("isthmus._native")
torch = pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[1]
PATHS = {
    "halves": (90, "float32", True),
    "bf16": (86, "float32", True),
    "float32": (70, "float32", True),
    "float64": (90, "float64", True),
}
UNROUNDED = (90, "float32", False)


class Emulated:
    """A GPU of torch whose launches run on the host; the workspace starts as NaN."""

    library, device = "torch", "cuda:0"
    n_processors = 1  # so that few rows make squares of several tiles

    def __init__(self, played, capability, reverse):
        self._play = played.isthmus_emulate
        self._capability, self._reverse, self.kernels = capability, reverse, []

    def chip(self):
        return self._capability, self.n_processors

    def workspace(self, size):
        space = torch.full((size + 256,), 255, dtype=torch.uint8)
        start = -space.data_ptr() % 256
        return space[start : start + size]

    def asarray(self, values, dtype):
        return torch.asarray(np.asarray(values, dtype))

    def launch(self, launches, where):
        for name, blocks, task in launches:
            self.kernels.append(name)
            assert self._play(name.encode(), blocks, task, self._reverse) == 0, name


@pytest.fixture
def emulated(emulated_library):
    def permuted_sums(z, kernel, bits, path_of_values, reverse=False):
        capability, dtype, rounded = path_of_values
        where = Emulated(emulated_library, capability, reverse)
        rows = torch.from_numpy(np.ascontiguousarray(z, dtype))
        bits = torch.from_numpy(bits.view(np.int64))
        sums, row_sums = (torch.full((len(x),), np.nan, dtype=torch.float64) for x in (bits, z))
        gpu.permuted_sums(native, where, rows, kernel, bits, rounded, sums, row_sums, where)
        return sums.numpy(), row_sums.numpy(), where.kernels

    return permuted_sums


def drawn(rng, count, rows, share=0.5):
    """Assignments as uint8 (count, rows) and as bits; the first marks no row, the second every row."""
    marks = (rng.random((count, rows)) < share).astype(np.uint8)
    marks[:1], marks[1:2] = 0, 1
    padded = np.zeros((count, -(-rows // 64) * 64), np.uint8)
    padded[:, :rows] = marks
    return marks, np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def sums_of(k, marks):
    """Sums (B,) over i != j that are both marked, and row sums (n,) over j != i; float64."""
    k = k - np.diag(np.diag(k))
    u = marks.astype(np.float64)
    return ((u @ k) * u).sum(1), k.sum(1)


def mmd2_of(sums, row_sums, marks):
    """Unbiased MMD^2 of the marked rows and the others."""
    a = marks.sum(1).astype(np.float64)
    b = marks.shape[1] - a
    r, q = marks @ row_sums, sums
    return q / (a * (a - 1)) + (row_sums.sum() - 2 * r + q) / (b * (b - 1)) - 2 * (r - q) / (a * b)


def check(found, k, marks, share):
    """Results within `share` of the largest |k|, for each pair that they add up."""
    sums, row_sums = sums_of(k, marks)
    a = marks.sum(1).astype(np.float64)
    assert (np.abs(found[0] - sums) <= share * largest(k) * a * (a - 1)).all()
    assert np.abs(found[1] - row_sums).max() <= share * largest(k) * (len(k) - 1)


SHARES = {"halves": 2.0**-8, "bf16": 2.0**-8, "float32": 5e-6, "float64": 1e-13}


@pytest.mark.parametrize(
    ("path", "rows", "count"),
    [(path, *size) for path in PATHS for size in [(2, 1), (63, 9), (129, 65), (193, 8)]]
    + [("bf16", 65, 257), ("halves", 31, 7), ("halves", 127, 15), ("halves", 128, 16), ("halves", 130, 17)]
    + [("halves", 33, count) for count in (127, 128, 129, 255, 256, 257)],
)
def test_sums_equal_the_formula_around_tiles_words_and_chunks(path, rows, count, emulated, rng):
    z = rng.normal(size=(rows, 3)).astype("float32")
    marks, bits = drawn(rng, count, rows)
    found = emulated(z, im.RBF(bandwidth=2.0), bits, PATHS[path])
    assert f"permuted_{path}_rbf" in found[2]
    check(found, oracle_matrix(z, z, im.RBF(bandwidth=2.0)), marks, SHARES[path])


@pytest.mark.parametrize(
    ("path", "rows", "count"),
    [("halves", 800, 10), ("halves", 780, 140), ("bf16", 800, 10), ("float64", 420, 10)],
)
def test_squares_of_several_tiles_add_up(path, rows, count, emulated, rng):
    z = rng.normal(size=(rows, 2)).astype("float32")
    marks, bits = drawn(rng, count, rows)
    found = emulated(z, im.RBF(bandwidth=2.0), bits, PATHS[path])
    check(found, oracle_matrix(z, z, im.RBF(bandwidth=2.0)), marks, SHARES[path])


@pytest.mark.parametrize("path", [*PATHS, "unrounded"])
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_equals_its_formula(name, path, emulated, rng):
    z = (rng.normal(size=(70, 5)) + 0.5).astype("float32")
    marks, bits = drawn(rng, 9, 70)
    found = emulated(z, KERNELS[name], bits, PATHS.get(path, UNROUNDED))
    check(found, oracle_matrix(z, z, KERNELS[name]), marks, SHARES.get(path, SHARES["float32"]))


@pytest.mark.parametrize("path", PATHS)
def test_an_offset_of_the_rows_changes_nothing(path, emulated, rng):
    z = np.round(rng.normal(size=(70, 5)) * 64) / 64 + 4096  # exact in float32
    marks, bits = drawn(rng, 9, 70)
    found = emulated(z, im.RBF(bandwidth=2.0), bits, PATHS[path])
    check(found, oracle_matrix(z, z, im.RBF(bandwidth=2.0)), marks, SHARES[path])


def in_bf16(k):
    """Rounded to the nearest number of bf16."""
    mantissa, exponent = np.frexp(k)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)


WIDE = {  # whose values are near one another
    "rbf-100": im.RBF(bandwidth=np.sqrt(1000)),
    "rbf-1000": im.RBF(bandwidth=100.0),
    "exponential": im.Exponential(scale=300.0),
    "laplacian": im.Laplacian(scale=1000.0),
    "polynomial": im.Polynomial(degree=2, gamma=1e-3, coef0=1.0),
}


@pytest.mark.parametrize("name", ["rbf-1", *WIDE])
def test_rounding_moves_mmd2_by_little_of_its_deviation_at_any_bandwidth(name, emulated, rng):
    z = rng.normal(size=(250, 10)).astype("float32")
    marks, bits = (x[2:] for x in drawn(rng, 66, 250))
    kernel = WIDE.get(name, im.RBF(bandwidth=np.sqrt(10)))
    k = oracle_matrix(z, z, kernel)
    expected = mmd2_of(*sums_of(k, marks), marks)
    sums, row_sums, _ = emulated(z, kernel, bits, PATHS["bf16"])
    allowed = 0.004 * expected.std()
    error = mmd2_of(sums, row_sums, marks) - expected
    assert error.std() < allowed and abs(error.mean()) < allowed
    if name in WIDE:  # what the shift is for
        unshifted = mmd2_of(*sums_of(in_bf16(k), marks), marks)
        assert (unshifted - expected).std() > 10 * allowed


@pytest.mark.parametrize("path", PATHS)
def test_row_sums_are_those_of_the_matrix_that_sums_add_up(path, emulated, rng):
    z = rng.normal(size=(150, 4))
    _, bits = drawn(rng, 2, 150)
    sums, row_sums, _ = emulated(z, im.RBF(bandwidth=1.5), bits, PATHS[path])
    assert sums[0] == 0
    assert sums[1] == pytest.approx(row_sums.sum(), rel=1e-12 if path == "float64" else 1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_the_order_of_rows_does_not_show(path, emulated, rng):
    # Rounding is a function of two rows alone: a permutation test keeps its exact level.
    z = np.repeat(rng.normal(size=(75, 4)), 2, axis=0)
    marks, bits = drawn(rng, 8, 150)
    order = rng.permutation(150)
    padded = np.zeros((8, 192), np.uint8)
    padded[:, :150] = marks[:, order]
    turned = np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    sums, row_sums, _ = emulated(z, im.RBF(bandwidth=1.5), bits, PATHS[path])
    turned_sums, turned_rows, _ = emulated(z[order], im.RBF(bandwidth=1.5), turned, PATHS[path])
    np.testing.assert_allclose(turned_rows, row_sums[order], rtol=0, atol=1e-5)
    np.testing.assert_allclose(turned_sums, sums, rtol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_a_pair_is_rounded_alike_whichever_row_comes_first(path, emulated, rng):
    # Rows whose mean and spread are the same to the last bit in any order, and pairs of them across tiles.
    half = np.round(rng.normal(size=(65, 5)) * 64) / 64
    z = np.concatenate([half, -half])
    pairs = [rng.choice(130, 2, replace=False) for _ in range(300)]
    order = rng.permutation(130)
    found = []
    for rows in (np.arange(130), order):
        marks = np.zeros((300, 192), np.uint8)
        for b, pair in enumerate(pairs):
            marks[b, :130] = np.isin(rows, pair)
        bits = np.packbits(marks, axis=1, bitorder="little").view("<u8").astype(np.uint64)
        found.append(emulated(z[rows], im.RBF(bandwidth=2.0), bits, PATHS[path])[0])
    assert found[0].tobytes() == found[1].tobytes()
    expected = [oracle_matrix(z, z, im.RBF(bandwidth=2.0))[tuple(pair)] for pair in pairs]
    np.testing.assert_allclose(found[0] / 2, expected, rtol=0, atol=SHARES[path])


@pytest.mark.parametrize("path", ["halves", "bf16"])
def test_numbers_past_those_of_float16_are_looked_up_in_the_rows(path, emulated, rng):
    z = np.round(rng.normal(size=(40, 3)) * 64) / 64 + np.repeat([-1e5, 1e5], 20)[:, None]
    marks, bits = drawn(rng, 9, 40)
    found = emulated(z, im.RBF(bandwidth=1.0), bits, PATHS[path])
    check(found, oracle_matrix(z, z, im.RBF(bandwidth=1.0)), marks, SHARES[path])


@pytest.mark.parametrize(
    ("path", "count"), [*((path, 11) for path in PATHS), ("halves", 300), ("float32", 140)]
)
def test_threads_in_the_other_order_give_the_same_bits(path, count, emulated, rng):
    z = rng.normal(size=(131, 3))
    _, bits = drawn(rng, count, 131)
    one, other = (emulated(z, im.RBF(bandwidth=2.0), bits, PATHS[path], reverse) for reverse in (False, True))
    assert one[0].tobytes() == other[0].tobytes() and one[1].tobytes() == other[1].tobytes()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 1000, 9000])
def test_assignments_drawn_on_the_gpu_are_those_of_the_host(emulated_library, rows, reverse):
    where = Emulated(emulated_library, 75, reverse)
    for ones in {0, 1, rows // 100, rows // 16, rows // 3, rows // 2, rows}:
        if ones > rows // 2 and rows > 65:
            continue
        expected = np.empty((3, -(-rows // 64)), dtype=np.uint64)
        native.random_assignments(7, 2**64 - 1, rows, ones, expected, n_threads=1)
        bits = torch.full(expected.shape, -1, dtype=torch.int64)
        gpu.random_assignments(native, where, 7, 2**64 - 1, rows, ones, bits, where)
        assert np.array_equal(bits.numpy().view(np.uint64), expected), ones


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 257, 1000])
def test_sums_over_marked_rows_equal_the_formula(emulated_library, rows, rng):
    marks, bits = drawn(rng, 5, rows)
    values = rng.normal(size=rows)
    found = []
    for reverse in (False, True):
        where, sums = Emulated(emulated_library, 75, reverse), torch.full((5,), np.nan, dtype=torch.float64)
        given = torch.from_numpy(bits.view(np.int64)), torch.from_numpy(values), sums
        gpu.subset_sums(native, where, *given, where)
        found.append(sums.numpy())
    np.testing.assert_allclose(found[0], marks @ values, rtol=0, atol=1e-12)
    assert np.array_equal(*found)


def test_the_reference_on_a_gpu_launches_nothing(emulated_gpu, rng, monkeypatch):
    """Also where the next best launcher is there."""
    monkeypatch.setattr(cupy_module, "compiler", lambda module: (emulated_gpu, ""))
    x, y = (rng.normal(size=(n, 2)) for n in (9, 7))
    given = {"kernel": im.RBF(gamma=0.1), "n_permutations": 5, "random_state": 0}
    expected = im.permuted_mmd2(x, y, **given)
    with im.config(backend="reference"):
        found = im.permuted_mmd2(*map(emulated_gpu.torch.from_numpy, (x, y)), **given)
    assert emulated_gpu.launched == []
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)
