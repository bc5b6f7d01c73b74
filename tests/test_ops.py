"""The public operations against the float64 oracle, on grids, at every SIMD level."""

import math

import isthmus as im
import numpy as np
import pytest
from conftest import (
    DISTANCE_KERNELS,
    DTYPES,
    KERNELS,
    SIZES,
    THREADS,
    TOLERANCES,
    largest,
    oracle_matrix,
)
from isthmus import backends, machine, reference

ACTIVATIONS = ("identity", "relu", "tanh", "logistic", "cos")


def sample(rng, n, d, dtype, shift=0.0):
    return (rng.normal(size=(n, d)) + shift).astype(dtype)


def shapes():
    """(n, m, d) with every size in each place, and never the same neighbours twice."""
    for i, n in enumerate(SIZES):
        yield n, SIZES[-1 - i], SIZES[(5 * i + 3) % len(SIZES)]
        yield n, SIZES[(4 * i + 1) % len(SIZES)], SIZES[i]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_kernel_matrix_equals_the_oracle_at_all_sizes(level, kernel, dtype, rng):
    for n, m, d in shapes():
        x, y = sample(rng, n, d, dtype), sample(rng, m, d, dtype, shift=0.3)
        expected = oracle_matrix(x, y, kernel)
        found = im.kernel_matrix(x, y, kernel=kernel)
        assert found.dtype == dtype
        assert np.abs(found - expected).max() <= TOLERANCES[dtype].kernel * largest(expected), (n, m, d)
        own = im.kernel_matrix(x, kernel=kernel)
        expected = oracle_matrix(x, x, kernel)
        assert np.abs(own - expected).max() <= TOLERANCES[dtype].kernel * largest(expected), (n, d)
        assert np.array_equal(own, own.T), (n, d)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_kernel_matmul_equals_the_oracle_at_all_sizes(level, kernel, dtype, rng):
    for i, (n, m, d) in enumerate(shapes()):
        x, y = sample(rng, n, d, dtype), sample(rng, m, d, dtype)
        v = sample(rng, m, SIZES[i % len(SIZES)], dtype)
        matrix = oracle_matrix(x, y, kernel)
        bound = TOLERANCES[dtype].kernel * largest(matrix) * np.abs(v).sum(axis=0)
        found = im.kernel_matmul(x, y, v, kernel=kernel)
        assert found.dtype == dtype
        assert (np.abs(found - matrix @ v.astype(np.float64)) <= bound).all(), (n, m, d)
        single = im.kernel_matmul(x, y, v[:, 0], kernel=kernel)
        assert single.shape == (n,)
        assert (np.abs(single - matrix @ v[:, 0].astype(np.float64)) <= bound[0]).all(), (n, m, d)

        square = oracle_matrix(y, y, kernel)
        np.fill_diagonal(square, 0)
        skipped = im.kernel_matmul(y, None, v, kernel=kernel, skip_diagonal=True)
        bound = TOLERANCES[dtype].kernel * largest(square) * np.abs(v).sum(axis=0)
        assert (np.abs(skipped - square @ v.astype(np.float64)) <= bound).all(), (m, d)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_kernel_matmul_of_a_large_sample_with_itself_equals_the_oracle(level, kernel, dtype, rng):
    # From 512 rows on each block of K serves both its sides; the last one is cut off.
    for n, d, columns in [(512, 3, 9), (577, 17, 23)]:
        x, v = sample(rng, n, d, dtype), sample(rng, n, columns, dtype)
        matrix = oracle_matrix(x, x, kernel)
        bound = TOLERANCES[dtype].kernel * largest(matrix) * np.abs(v).sum(axis=0)
        for skip_diagonal in (False, True):
            if skip_diagonal:
                np.fill_diagonal(matrix, 0)
            found = im.kernel_matmul(x, None, v, kernel=kernel, skip_diagonal=skip_diagonal)
            assert (np.abs(found - matrix @ v.astype(np.float64)) <= bound).all(), (n, skip_diagonal)


@pytest.mark.parametrize("skip_diagonal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_wide_bands_of_a_larger_sample_give_the_product_with_its_rows(level, dtype, skip_diagonal, rng):
    # Bands of several blocks, and columns of more than one panel; K V = X X'V needs no matrix K.
    n, d, columns = 6401, 5, 40
    x, v = sample(rng, n, d, dtype), sample(rng, n, columns, dtype)
    wide, factors = x.astype(np.float64), v.astype(np.float64)
    expected = wide @ (wide.T @ factors)
    lengths = np.square(wide).sum(axis=1)
    if skip_diagonal:
        expected -= lengths[:, None] * factors
    found = im.kernel_matmul(x, None, v, kernel=im.Linear(), skip_diagonal=skip_diagonal)
    bound = TOLERANCES[dtype].kernel * lengths.max() * np.abs(factors).sum(axis=0)
    assert (np.abs(found - expected) <= bound).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_block_sums_equal_the_oracle_at_all_sizes(level, kernel, dtype, weighted, rng):
    for n, m, d in shapes():
        offsets = [0, n, n + m]
        z = sample(rng, n + m, d, dtype)
        weights = rng.uniform(0, 2, n + m).astype(dtype) if weighted else None
        w = np.ones(n + m) if weights is None else weights.astype(np.float64)
        matrix = oracle_matrix(z, z, kernel)
        sums, diagonals = im.block_sums(z, offsets, kernel=kernel, weights=weights)
        assert sums.dtype == diagonals.dtype == np.float64
        weighed = w[:, None] * matrix * w
        spans = [slice(0, n), slice(n, n + m)]
        scale = TOLERANCES[dtype].kernel * largest(matrix)
        for found, (a, b) in zip(sums, [(0, 0), (0, 1), (1, 1)], strict=True):
            block = weighed[spans[a], spans[b]]
            expected = block.sum() - (np.trace(block) if a == b else 0)
            assert abs(found - expected) <= scale * max(1, w[spans[a]].sum() * w[spans[b]].sum()), (n, m, d)
        expected = [np.trace(weighed[span, span]) for span in spans]
        np.testing.assert_allclose(diagonals, expected, atol=scale * max(1, (w * w).sum()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_project_equals_the_oracle_at_all_sizes(level, activation, dtype, rng):
    for n, q, d in shapes():
        x, w, b = sample(rng, n, d, dtype), sample(rng, d, q, dtype), sample(rng, 1, q, dtype)[0]
        for shift in (None, b):
            expected, z = np.empty((n, q)), np.empty((n, q))
            wide = None if shift is None else shift.astype(np.float64)
            reference.project(x.astype(np.float64), w, wide, activation, expected, np)
            reference.project(x.astype(np.float64), w, wide, "identity", z, np)
            found = im.project(x, w, shift, activation=activation)
            assert found.dtype == dtype
            assert np.abs(found - expected).max() <= TOLERANCES[dtype].kernel * largest(z), (n, d, q)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_of_extreme_values_are_their_limits(level, activation):
    x = np.array([[-1e4], [-100.0], [-0.0], [100.0], [1e4]], dtype=np.float32)
    found = im.project(x, np.ones((1, 1), np.float32), activation=activation)[:, 0].astype(np.float64)
    z = x[:, 0].astype(np.float64)
    limits = {
        "identity": z,
        "relu": np.maximum(z, 0),
        "tanh": np.tanh(z),
        "logistic": np.array([0, 0, 0.5, 1, 1]),
        "cos": np.cos(z),
    }
    np.testing.assert_allclose(found, limits[activation], atol=5e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", DISTANCE_KERNELS.values(), ids=DISTANCE_KERNELS.keys())
@pytest.mark.parametrize("shift", [1000, 1e8])
def test_a_shift_costs_no_accuracy(level, kernel, shift, dtype, rng):
    """At 1e8 neighbouring float32 numbers are 8 apart; the promise is about the numbers as they are."""
    x, y = sample(rng, 65, 33, dtype, shift=shift), sample(rng, 40, 33, dtype, shift=shift + 0.3)
    expected = oracle_matrix(x, y, kernel)
    found = im.kernel_matrix(x, y, kernel=kernel)
    assert np.abs(found - expected).max() <= TOLERANCES[dtype].kernel * largest(expected)


@pytest.mark.parametrize("distance", [30.0, 1000.0])
@pytest.mark.parametrize("kernel", DISTANCE_KERNELS.values(), ids=DISTANCE_KERNELS.keys())
def test_tight_clusters_far_from_the_mean_keep_their_accuracy(level, kernel, distance, rng):
    """gamma |x - mean|^2 >> 1 while gamma |x - y|^2 ~ 1: norms and products would cancel in float32."""
    for d in (3, 40):
        centres = rng.normal(size=(4, d)) * distance
        x = (centres[rng.integers(0, 4, 70)] + 0.3 * rng.normal(size=(70, d))).astype(np.float32)
        y = (centres[rng.integers(0, 4, 50)] + 0.3 * rng.normal(size=(50, d))).astype(np.float32)
        expected = oracle_matrix(x, y, kernel)
        scale = TOLERANCES["float32"].kernel * largest(expected)
        assert np.abs(im.kernel_matrix(x, y, kernel=kernel) - expected).max() <= scale, d
        sums, _ = im.block_sums(np.concatenate([x, y]), [0, 70, 120], [[0, 1]], kernel=kernel)
        assert abs(sums[0] / expected.size - expected.mean()) <= scale, d
        product = im.kernel_matmul(x, y, np.eye(50, dtype=np.float32), kernel=kernel)
        assert np.abs(product - expected).max() <= scale, d


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_any_number_of_threads_gives_the_same_bits(level, kernel, dtype, rng):
    x, y = sample(rng, 301, 17, dtype), sample(rng, 257, 17, dtype)
    v, w = sample(rng, 257, 19, dtype), sample(rng, 17, 23, dtype)
    several = []
    for n_threads in THREADS:
        with im.config(n_threads=n_threads):
            assert backends.threads() == n_threads
            results = [
                im.kernel_matrix(x, y, kernel=kernel),
                im.kernel_matrix(x, kernel=kernel),
                im.kernel_matmul(x, y, v, kernel=kernel),
                im.block_sums(np.concatenate([x, y]), [0, 5, 301, 558], kernel=kernel)[0],
                im.project(x, w, activation="tanh"),
            ]
        several.append([result.tobytes() for result in results])
    assert all(results == several[0] for results in several)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", ["rbf", "rbf-chain", "laplacian", "polynomial", "sum"])
def test_the_matrix_of_a_sample_with_itself_is_symmetric_to_the_bit(level, kernel, dtype, rng):
    """Half of it is mirrored, block by block; two equal samples form all of it."""
    for n in (1, 2, 5, 31, 255, 256, 257, 530):
        x = rng.standard_normal((n, 3)).astype(dtype)
        out = np.full((n, n), np.nan, dtype)
        im.kernel_matrix(x, kernel=KERNELS[kernel], out=out)
        np.testing.assert_array_equal(out, im.kernel_matrix(x, x.copy(), kernel=KERNELS[kernel]))
        np.testing.assert_array_equal(out, out.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_the_bits_of_a_row_do_not_depend_on_its_batch(level, kernel, dtype, rng):
    x, y = sample(rng, 65, 9, dtype), sample(rng, 33, 9, dtype)
    v, w = sample(rng, 33, 5, dtype), sample(rng, 9, 5, dtype)
    matrix, product = im.kernel_matrix(x, y, kernel=kernel), im.kernel_matmul(x, y, v, kernel=kernel)
    features = im.project(x, w, activation="cos")
    for rows in (slice(0, 1), slice(3, 4), slice(5, 12), slice(16, 33), slice(64, 65)):
        assert np.array_equal(im.kernel_matrix(x[rows], y, kernel=kernel), matrix[rows])
        assert np.array_equal(im.kernel_matmul(x[rows], y, v, kernel=kernel), product[rows])
        assert np.array_equal(im.project(x[rows], w, activation="cos"), features[rows])


def test_every_entry_of_out_is_written(level, rng):
    x, y, w = sample(rng, 33, 7, "float32"), sample(rng, 17, 7, "float32"), sample(rng, 7, 9, "float32")
    for shape, operation in (
        ((33, 17), lambda out: im.kernel_matrix(x, y, kernel=im.RBF(1.0), out=out)),
        ((33, 33), lambda out: im.kernel_matrix(x, kernel=im.RBF(1.0), out=out)),
        ((33, 9), lambda out: im.project(x, w, activation="cos", out=out)),
    ):
        out = np.full(shape, np.nan, dtype=np.float32)
        assert operation(out) is out
        assert np.array_equal(out, operation(None))


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "imq", "energy", "linear"])
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e18, 1e-18])
def test_float32_data_beyond_the_squares_of_float32_is_computed_in_float64(kernel, scale, rng):
    x, y = sample(rng, 9, 3, "float32") * np.float32(scale), sample(rng, 7, 3, "float32") * np.float32(scale)
    kernels = {"rbf": im.RBF(scale), "laplacian": im.Laplacian(scale), "imq": im.IMQ(scale)}
    chosen = kernels.get(kernel, KERNELS[kernel])
    expected = oracle_matrix(x, y, chosen)
    sums, _ = im.block_sums(np.concatenate([x, y]), [0, 9, 16], [[0, 1]], kernel=chosen)
    np.testing.assert_allclose(sums[0], expected.sum(), rtol=1e-12)
    if largest(expected) > float(np.finfo(np.float32).max):
        with pytest.raises(ValueError, match="overflows in the cast from float64 to float32"):
            im.kernel_matrix(x, y, kernel=chosen)
    else:
        found = im.kernel_matrix(x, y, kernel=chosen)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-40)


def test_values_too_large_to_square_in_float64_are_refused():
    with pytest.raises(ValueError, match=r"X must be small enough to square, got values up to 1e\+200"):
        im.kernel_matrix([[1e200], [1.0]], kernel=im.Linear())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [30.0, 1e4, 1e7])
def test_a_large_alpha_does_not_magnify_the_rounding_of_its_base(level, alpha, dtype, rng):
    x, kernel = sample(rng, 60, 3, dtype), im.RationalQuadratic(scale=1.7, alpha=alpha)
    squares = ((x.astype(np.float64)[:, None] - x.astype(np.float64)) ** 2).sum(axis=-1)
    expected = np.exp(-alpha * np.log1p(squares / (2 * alpha * 1.7**2)))
    assert np.abs(im.kernel_matrix(x, kernel=kernel) - expected).max() <= TOLERANCES[dtype].kernel
    np.testing.assert_allclose(oracle_matrix(x, x, kernel), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("gamma", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_huge_gamma_gives_the_identity_and_a_tiny_one_gives_ones(level, gamma, dtype, rng):
    x = sample(rng, 20, 3, dtype)
    expected = np.eye(20) if gamma > 1 else np.ones((20, 20))
    assert np.array_equal(im.kernel_matrix(x, kernel=im.RBF(gamma=gamma)), expected)


def test_denormal_values_are_computed_as_the_oracle_does(level):
    x = np.array([[1e-310], [3e-310], [0.0]])
    found = im.kernel_matrix(x, kernel=im.RBF(1.0))
    assert np.array_equal(found, np.ones((3, 3)))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_the_reference_backend_agrees_and_explains_itself(kernel, rng):
    x, y, v = sample(rng, 600, 3, "float64"), sample(rng, 530, 3, "float64"), sample(rng, 530, 2, "float64")
    with im.config(backend="reference"):
        matrix = im.kernel_matrix(x, y, kernel=kernel)
        assert backends.explain().backend == "reference"
        assert "config(backend='reference')" in str(backends.explain())
        product = im.kernel_matmul(x, y, v, kernel=kernel)
        square = im.kernel_matmul(y, None, v, kernel=kernel, skip_diagonal=True)
    scale = 1e-12 * largest(matrix)
    assert np.abs(matrix - im.kernel_matrix(x, y, kernel=kernel)).max() <= scale
    assert np.abs(product - matrix @ v).max() <= scale * 530
    own = im.kernel_matrix(y, kernel=kernel)
    np.fill_diagonal(own, 0)
    assert np.abs(square - own @ v).max() <= scale * 530


def test_the_reference_formulas_are_the_same_on_torch(rng):
    """What computes where no compiled backend reaches: plain functions of the array library."""
    torch = pytest.importorskip("torch")
    x, y, v = sample(rng, 30, 4, "float64"), sample(rng, 20, 4, "float64"), sample(rng, 30, 3, "float64")
    tx, ty, tv = (torch.from_numpy(a) for a in (x, y, v))
    w = [abs(v[None, :, 0]), None]
    tw = [torch.from_numpy(w[0]), None]
    pairs = np.array([[0, 0], [0, 1], [1, 1]])
    for kernel in KERNELS.values():
        for call in (
            lambda a, b, c, w, xp, out, k=kernel: reference.kernel_matrix(a, b, k, out[0], xp),
            lambda a, b, c, w, xp, out, k=kernel: reference.kernel_matmul(a, None, c, k, True, out[1], xp),
            lambda a, b, c, w, xp, out, k=kernel: reference.block_sums(
                [a[None], b[None]], w, pairs, k, out[2], out[3], xp
            ),
        ):
            outs = [np.zeros(shape) for shape in ((30, 20), (30, 3), 3, 2)]
            torch_outs = [torch.from_numpy(out.copy()) for out in outs]
            call(x, y, v, w, np, outs)
            call(tx, ty, tv, tw, torch, torch_outs)
            for found, expected in zip(torch_outs, outs, strict=True):
                np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
    for activation in ACTIVATIONS:
        out, torch_out = np.zeros((30, 3)), torch.zeros(30, 3, dtype=torch.float64)
        reference.project(x, v[:4], v[0], activation, out, np)
        reference.project(tx, tv[:4], tv[0], activation, torch_out, torch)
        np.testing.assert_allclose(torch_out.numpy(), out, rtol=1e-13, atol=1e-15)


def test_more_pairs_than_32_bits_count_are_summed_right():
    """Eight different rows, repeated: the sum over 46,400^2 pairs is a weighted sum over 64."""
    n = 46_400
    assert n * n > 2**31
    few = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
    rows = np.tile(few, (n // 8, 1))
    v = np.ones((n, 1), dtype=np.float32)
    kernel = im.RBF(1.0)
    expected = oracle_matrix(few, few, kernel).sum(axis=1) * (n // 8)
    found = im.kernel_matmul(rows, None, v, kernel=kernel)[:, 0]
    np.testing.assert_allclose(found, np.tile(expected, n // 8), rtol=1e-5)


def test_rows_further_apart_than_32_bits_count_are_read_right(tmp_path):
    """A sparse file: nine rows, 2^28 elements apart."""
    apart = 2**28
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.truncate(4 * 9 * apart)
    rows = np.memmap(path, dtype=np.float32, mode="r+", shape=(9, apart))[:, :3]
    rows[...] = np.random.default_rng(2).normal(size=(9, 3))
    assert 8 * apart >= 2**31
    for kernel in (im.RBF(1.0), im.Linear()):
        found = im.kernel_matrix(rows, rows[::-1], kernel=kernel)
        assert np.array_equal(found, im.kernel_matrix(rows.copy(), rows[::-1].copy(), kernel=kernel))
    with pytest.raises(ValueError, match=r"X contains NaN \(1 value, first at row 8 column 1\)"):
        rows[8, 1] = np.nan
        im.kernel_matrix(rows)


# -- arguments --


def test_y_none_and_y_x_are_the_same(rng):
    x = sample(rng, 20, 3, "float64")
    assert np.array_equal(im.kernel_matrix(x, x), im.kernel_matrix(x))
    np.testing.assert_allclose(
        im.kernel_matrix(x, x.copy(), kernel=im.RBF(1.0)), im.kernel_matrix(x, kernel=im.RBF(1.0)), atol=1e-14
    )


def test_block_sums_default_pairs_are_the_upper_triangle_by_rows(rng):
    z = sample(rng, 12, 2, "float64")
    named, _ = im.block_sums(
        z, [0, 3, 7, 12], [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]], kernel=im.RBF(1.0)
    )
    default, _ = im.block_sums(z, [0, 3, 7, 12], kernel=im.RBF(1.0))
    reverse, _ = im.block_sums(z, [0, 3, 7, 12], [[2, 1], [1, 0]], kernel=im.RBF(1.0))
    assert np.array_equal(named, default)
    np.testing.assert_allclose(reverse, default[[4, 1]], rtol=1e-13)


@pytest.mark.parametrize(
    ("offsets", "pairs", "message"),
    [
        ([0, 3], None, "offsets must rise from 0 to Z's number of rows 5, got"),
        ([0, 3, 3, 5], None, "offsets must rise"),
        ([1, 5], None, "offsets must rise"),
        ([0.0, 5.0], None, "offsets must be integers with 1 axes, got float64"),
        ([0, 2, 5], [[0, 2]], "pairs must be .* numbers of blocks, 0 to 1, got"),
        ([0, 2, 5], [[0, -1]], "pairs must be"),
        ([0, 2, 5], [[0, 1, 1]], "pairs must be"),
        ([0, 2, 5], [0, 1], "pairs must be integers with 2 axes"),
        ([0, 5], [[0, 0], [0]], "pairs must be a rectangular array of integers"),
        (list(range(100)), None, r"got \[0, 1, 2, \.\.\., 97, 98, 99\]$"),
        ([0, 5], [[9, 9]] * 100, r"got \[\[9, 9\], .* \.\.\., .*\]$"),
    ],
)
def test_wrong_offsets_and_pairs_are_refused(offsets, pairs, message):
    with pytest.raises(ValueError, match=message):
        im.block_sums(np.ones((5, 2)), offsets, pairs, kernel=im.Linear())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: im.kernel_matrix(np.ones((3, 2)), np.ones((3, 4))), "Y must have X's width d = 2, got 4"),
        (
            lambda: im.kernel_matmul(np.ones((3, 2)), None, np.ones((4, 1))),
            "V must have one row for each of the 3 rows of X, got 4",
        ),
        (
            lambda: im.kernel_matmul(np.ones((3, 2)), np.ones((4, 2)), np.ones(4), skip_diagonal=True),
            "skip_diagonal needs as many rows in X as in Y, got 3 and 4",
        ),
        (
            lambda: im.project(np.ones((3, 2)), np.ones((4, 2))),
            "W must have one row for each of X's 2 columns, got 4",
        ),
        (
            lambda: im.project(np.ones((3, 2)), np.ones((2, 2)), np.ones(3)),
            "b must have one value for each of W's 2 columns, got 3",
        ),
        (
            lambda: im.project(np.ones((3, 2)), np.ones((2, 2)), activation="gelu"),
            "activation must be one of identity, relu, tanh, logistic, cos, got 'gelu'",
        ),
        (
            lambda: im.block_sums(np.ones((3, 2)), [0, 3], kernel=im.Linear(), weights=np.ones(4)),
            r"weights must have shape \(3,\)",
        ),
        (
            lambda: im.block_sums(np.ones((3, 2)), [0, 3], kernel=im.Linear(), weights=[1, -1, 1]),
            "weights must not be negative, got -1.0",
        ),
        (
            lambda: im.block_sums(np.ones((3, 2)), [0, 3], kernel=im.Linear(), weights=np.zeros(3)),
            "weights must not be all zero",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kernel", [im.RBF, "rbf", None, np.ones(3)])
def test_a_kernel_that_is_no_kernel_object_is_refused(kernel):
    with pytest.raises(TypeError, match="kernel must be a kernel object"):
        im.kernel_matrix(np.ones((2, 2)), kernel=kernel)


def test_wrong_out_is_refused():
    x = np.arange(12.0).reshape(4, 3)
    frozen = np.empty((4, 4))
    frozen.flags.writeable = False
    base = np.zeros(64)
    base[:12] = x.ravel()
    inside = base[:12].reshape(4, 3)
    for out, message in (
        (np.empty((4, 3)), r"out must have shape \(4, 4\), got \(4, 3\)"),
        (np.empty((4, 4), np.float32), "out must have dtype float64, got float32"),
        (np.empty((4, 4), ">f8"), "out must have dtype float64, got >f8"),
        (np.empty((4, 4), order="F"), "out must be in C order"),
        (np.empty((4, 8))[:, ::2], "out must be in C order"),
        (frozen, "out must be writeable"),
        (base[8:24].reshape(4, 4), "out must not share memory with X"),
    ):
        with pytest.raises(ValueError, match=message):
            im.kernel_matrix(inside, kernel=im.RBF(1.0), out=out)
    with pytest.raises(ValueError, match="out must not share memory with X"):
        im.kernel_matrix(memoryview(inside), kernel=im.RBF(1.0), out=base[8:24].reshape(4, 4))
    with pytest.raises(TypeError, match="out must be an array, got list"):
        im.kernel_matrix(inside, kernel=im.RBF(1.0), out=[[0.0] * 4] * 4)
    free = base[12:28].reshape(4, 4)
    assert np.array_equal(
        im.kernel_matrix(inside, kernel=im.RBF(1.0), out=free), im.kernel_matrix(x, kernel=im.RBF(1.0))
    )


def test_a_matrix_larger_than_memory_is_refused_before_allocation():
    rows = np.broadcast_to(np.float32(1), (3_000_000, 1))
    size = 4 * len(rows) ** 2
    assert size > machine.available_memory()
    with pytest.raises(
        MemoryError, match=f"kernel_matrix of shape .* needs {size / 2**30:.1f} GiB, .* available"
    ):
        im.kernel_matrix(rows, kernel=im.RBF(1.0))


def test_assume_finite_lets_nan_through_without_a_crash(level):
    x = np.array([[0.0], [np.nan], [2.0]])
    with im.config(assume_finite=True):
        found = im.kernel_matrix(x, kernel=im.RBF(1.0))
        value = im.mmd2(x, x + 1, kernel=im.RBF(1.0))
    assert np.isnan(found[1, 0])
    assert math.isnan(value)
