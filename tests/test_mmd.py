"""MMD: against its definition in float64, batches, weights, all pairs, the witness, permutations; laws."""

import itertools
import math

import isthmus as im
import numpy as np
import pytest
from conftest import (
    DTYPES,
    KERNELS,
    SIZES,
    THREADS,
    TOLERANCES,
    largest,
    oracle_matrix,
    oracle_mmd2,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as tables
from scipy.spatial.distance import pdist

ESTIMATORS = ("unbiased", "biased")


def samples(rng, n, m, d, dtype, shift=0.0):
    x = (rng.normal(size=(n, d)) + shift).astype(dtype)
    return x, (rng.normal(size=(m, d)) + shift + 0.3).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_mmd2_equals_its_definition_at_all_sizes(level, kernel, dtype, rng):
    for i, n in enumerate(SIZES):
        m, d = SIZES[-1 - i], SIZES[(5 * i + 3) % len(SIZES)]
        for estimator in ESTIMATORS:
            n, m = (max(n, 2), max(m, 2)) if estimator == "unbiased" else (n, m)
            x, y = samples(rng, n, m, d, dtype)
            found = im.mmd2(x, y, kernel=kernel, estimator=estimator)
            scale = largest(oracle_matrix(np.concatenate([x, y]), np.concatenate([x, y]), kernel))
            bound = TOLERANCES[dtype].mmd * scale
            assert isinstance(found, np.float64)
            assert abs(found - oracle_mmd2(x, y, kernel, estimator)) <= bound, (n, m, d, estimator)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "linear", "sum"])
def test_weighted_mmd2_equals_its_definition(level, kernel, estimator, dtype, rng):
    kernel = KERNELS[kernel]
    for n, m in ((2, 3), (17, 8), (33, 65)):
        x, y = samples(rng, n, m, 5, dtype)
        wx, wy = rng.uniform(0.1, 3, n), rng.uniform(0, 1e-3, m)
        found = im.mmd2(x, y, kernel=kernel, estimator=estimator, x_weights=wx, y_weights=wy)
        expected = oracle_mmd2(x, y, kernel, estimator, wx, wy)
        scale = largest(oracle_matrix(np.concatenate([x, y]), np.concatenate([x, y]), kernel))
        assert abs(found - expected) <= TOLERANCES[dtype].mmd * scale, (n, m)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_the_reference_backend_gives_the_same_values(kernel, rng):
    x, y, w = rng.normal(size=(3, 40, 5)), rng.normal(size=(3, 30, 5)), rng.uniform(size=40)
    for estimator in ESTIMATORS:
        expected = im.mmd2(x, y, kernel=kernel, estimator=estimator, x_weights=w)
        with im.config(backend="reference"):
            found = im.mmd2(x, y, kernel=kernel, estimator=estimator, x_weights=w)
        scale = largest(oracle_matrix(x[0], x[0], kernel))
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCES["float64"].mmd * 10 * scale)


@pytest.mark.parametrize("n", [300, 1000])
@pytest.mark.parametrize("shift", [0, 1000])
def test_float32_keeps_its_promise_for_large_samples_and_large_shifts(level, n, shift, rng):
    x, y = samples(rng, n, n + 17, 64, "float32", shift)
    kernel = im.RBF(bandwidth=8.0)
    for estimator in ESTIMATORS:
        expected = oracle_mmd2(x, y, kernel, estimator)
        found = im.mmd2(x, y, kernel=kernel, estimator=estimator)
        assert abs(found - expected) <= TOLERANCES["float32"].mmd


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_batched_mmd2_equals_the_loop_of_single_ones(level, estimator, weighted, dtype, rng):
    for b, n, m, d in ((1, 5, 4, 3), (7, 16, 9, 2), (20, 33, 64, 17)):
        x = (rng.normal(size=(b, n, d)) * 3 + rng.normal(size=(b, 1, 1))).astype(dtype)
        y = rng.normal(size=(b, m, d)).astype(dtype)
        wx = rng.uniform(size=(b, n)) if weighted else None
        kernel = im.RBF(bandwidth=[1.0, 4.0])
        batch = im.mmd2(x, y, kernel=kernel, estimator=estimator, x_weights=wx)
        single = [
            im.mmd2(x[i], y[i], kernel=kernel, estimator=estimator, x_weights=None if wx is None else wx[i])
            for i in range(b)
        ]
        assert batch.shape == (b,)
        assert batch.tolist() == single


def test_weights_of_one_row_serve_the_whole_batch(rng):
    x, y, w = rng.normal(size=(4, 6, 2)), rng.normal(size=(4, 5, 2)), rng.uniform(size=6)
    shared = im.mmd2(x, y, kernel=im.RBF(1.0), x_weights=w)
    assert np.array_equal(shared, im.mmd2(x, y, kernel=im.RBF(1.0), x_weights=np.tile(w, (4, 1))))


@pytest.mark.parametrize("n", [9, 12, 17])
def test_float32_keeps_its_promise_for_small_samples(level, n):
    """20,000 pairs of samples, for one that is out of luck."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, n, 3)).astype("float32")
    y = (rng.normal(size=(20_000, n, 3)) + 0.3).astype("float32")
    for estimator in ESTIMATORS:
        found = im.mmd2(x, y, kernel=im.IMQ(3.0), estimator=estimator)
        expected = im.mmd2(x.astype(float), y.astype(float), kernel=im.IMQ(3.0), estimator=estimator)
        assert np.abs(found - expected).max() <= TOLERANCES["float32"].mmd


@pytest.mark.parametrize("share", [1e-3, 1e-9, 1e-17, 1e-200])
def test_one_dominant_weight_costs_the_unbiased_estimator_no_accuracy(share, rng):
    """Within two rows there is one pair, whatever their weights."""
    x, y = rng.normal(size=(2, 2)), rng.normal(size=(20, 2))
    kernel = im.RBF(1.0)
    yy, xy = oracle_matrix(y, y, kernel), oracle_matrix(x, y, kernel).mean(axis=1)
    across = (xy[0] + share * xy[1]) / (1 + share)
    expected = oracle_matrix(x, x, kernel)[0, 1] + (yy.sum() - 20) / (20 * 19) - 2 * across
    assert im.mmd2(x, y, kernel=kernel, x_weights=[1, share]) == pytest.approx(expected, abs=1e-14)
    assert im.mmd2(x, y, kernel=kernel, x_weights=[share, 1]) == pytest.approx(
        im.mmd2(x[::-1], y, kernel=kernel, x_weights=[1, share]), abs=1e-14
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_weights_give_the_unweighted_bits_at_any_scale(estimator, rng):
    x, y = samples(rng, 31, 17, 3, "float32")
    plain = im.mmd2(x, y, estimator=estimator)
    for w in (1.0, 0.1, 3e300, 7e-300):
        weights = {"x_weights": np.full(31, w), "y_weights": np.full(17, w)}
        assert im.mmd2(x, y, estimator=estimator, **weights) == plain


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_scale_of_weights_does_not_matter_and_zero_drops_a_row(estimator, rng):
    x, y = samples(rng, 12, 9, 3, "float64")
    w = rng.uniform(0.5, 1, 12)
    w[[3, 7]] = 0
    first = im.mmd2(x, y, kernel=im.RBF(1.0), estimator=estimator, x_weights=w)
    scaled = im.mmd2(x, y, kernel=im.RBF(1.0), estimator=estimator, x_weights=w * 1e300)
    dropped = im.mmd2(x[w > 0], y, kernel=im.RBF(1.0), estimator=estimator, x_weights=w[w > 0])
    assert first == pytest.approx(scaled, abs=1e-14)
    assert first == pytest.approx(dropped, abs=1e-14)


def test_integer_weights_count_rows_in_the_biased_estimator(rng):
    x, y = samples(rng, 10, 8, 3, "float64")
    w = rng.integers(1, 4, 10)
    weighted = im.mmd2(x, y, kernel=im.RBF(1.0), estimator="biased", x_weights=w)
    repeated = im.mmd2(np.repeat(x, w, axis=0), y, kernel=im.RBF(1.0), estimator="biased")
    assert weighted == pytest.approx(repeated, abs=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_the_biased_mmd2_of_a_sample_with_itself_is_exactly_zero(kernel, dtype, rng):
    x, _ = samples(rng, 33, 2, 5, dtype, shift=3)
    for other in (x, x.copy(), x[::-1][::-1]):
        assert im.mmd2(x, other, kernel=kernel, estimator="biased") == 0
    w = rng.uniform(size=33)
    assert im.mmd2(x, x, kernel=kernel, estimator="biased", x_weights=w, y_weights=w.copy()) == 0
    assert im.mmd2(x, x, kernel=kernel, estimator="biased", x_weights=w) > 0
    assert im.mmd2(x, x, kernel=kernel, estimator="biased", x_weights=np.full(len(x), 3.0)) == 0
    batch = np.stack([x, x + 1])
    values = im.mmd2(batch, np.stack([x, x]), kernel=kernel, estimator="biased")
    assert values[0] == 0
    assert values[1] > 0


def test_the_unbiased_mmd2_falls_below_zero_and_is_not_clamped(rng):
    values = im.mmd2(rng.normal(size=(50, 20, 2)), rng.normal(size=(50, 20, 2)))
    assert 10 < (values < 0).sum() < 45


def test_linear_mmd2_is_the_squared_distance_of_the_means(rng):
    x, y = samples(rng, 20, 31, 4, "float64")
    gap = x.mean(axis=0) - y.mean(axis=0)
    assert im.mmd2(x, y, kernel=im.Linear(), estimator="biased") == pytest.approx(gap @ gap, abs=1e-13)


def test_several_bandwidths_are_the_mean_of_the_single_ones(rng):
    x, y = samples(rng, 40, 30, 4, "float64")
    single = [im.mmd2(x, y, kernel=im.RBF(s)) for s in (0.5, 1.0, 4.0)]
    assert im.mmd2(x, y, kernel=im.RBF([0.5, 1.0, 4.0])) == pytest.approx(np.mean(single), abs=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_value(level, dtype, rng):
    x, y = samples(rng, 1500, 1200, 9, dtype)
    found = set()
    for n_threads in THREADS:
        with im.config(n_threads=n_threads):
            found.add(im.mmd2(x, y, kernel=im.RBF(2.0)))
    assert len(found) == 1


finite = st.floats(-100, 100, width=32)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    x=tables(np.float64, (7, 2), elements=finite),
    y=tables(np.float64, (5, 2), elements=finite),
    name=st.sampled_from(["rbf", "laplacian", "matern32", "imq", "energy"]),
    shift=st.floats(-1e3, 1e3),
)
def test_laws_of_mmd2(x, y, name, shift):
    """Symmetric, not negative when biased, blind to the order of rows and to a common translation."""
    kernel = KERNELS[name]
    value = im.mmd2(x, y, kernel=kernel, estimator="biased")
    scale = 1e-12 * largest(oracle_matrix(np.concatenate([x, y]), np.concatenate([x, y]), kernel))
    # A distance of 0 is computed to about sqrt(eps |x|^2), which kernels with a kink at 0 feel.
    shifted = scale + (1e-10 if name in ("energy", "laplacian") else 0)
    assert value >= -scale
    assert im.mmd2(y, x, kernel=kernel, estimator="biased") == pytest.approx(value, abs=scale)
    assert im.mmd2(x[::-1], y[::-1], kernel=kernel, estimator="biased") == pytest.approx(value, abs=scale)
    moved = im.mmd2(x + shift, y + shift, kernel=kernel, estimator="biased")
    assert moved == pytest.approx(value, abs=shifted)


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        ((3, 2), (3, 4), {}, r"Y must have X's width d = 2, got 4 \(shapes \(3, 2\) and \(3, 4\)\)"),
        ((3, 2), (2, 3, 2), {}, "X and Y must be one sample each, or the same number of samples, got"),
        ((4, 3, 2), (2, 3, 2), {}, "the same number of samples, got"),
        ((1, 2), (3, 2), {}, "X needs >= 2 rows of weight above 0 for the unbiased estimator, got 1"),
        ((3, 2), (1, 2), {}, "Y needs >= 2 rows .* got 1"),
        ((3, 2), (3, 2), {"estimator": "u"}, "estimator must be one of 'unbiased', 'biased', got 'u'"),
        ((3, 2), (3, 2), {"x_weights": [1, 0, 0]}, "X needs >= 2 rows of weight above 0 .* got 1"),
        ((3, 2), (3, 2), {"x_weights": [1, -1, 1]}, "x_weights must not be negative, got -1.0"),
        ((3, 2), (3, 2), {"y_weights": [0, 0, 0]}, "y_weights must not be all zero"),
        (
            (3, 2),
            (3, 2),
            {"y_weights": [1, math.nan, 1]},
            r"y_weights contains NaN \(1 value, first at position 1\)",
        ),
        ((3, 2), (3, 2), {"x_weights": [1, 1]}, r"x_weights must have shape \(3,\), one weight for each row"),
        ((4, 3, 2), (4, 3, 2), {"x_weights": np.ones((2, 3))}, r"shape \(3,\) or \(4, 3\)"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        im.mmd2(np.ones(x), np.zeros(y), kernel=im.RBF(1.0), **options)


def test_one_target_row_works_biased():
    value = im.mmd2([[0.0], [1.0]], [[0.5]], kernel=im.RBF(1.0), estimator="biased")
    expected = oracle_mmd2([[0.0], [1.0]], [[0.5]], im.RBF(1.0), "biased")
    assert value == pytest.approx(expected, abs=1e-15)


def test_a_missing_sample_is_a_type_error():
    with pytest.raises(TypeError, match="Y must be an array of real numbers, got NoneType"):
        im.mmd2(np.ones((3, 2)), None)


# -- all pairs --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("weighted", [False, True])
def test_mmd_matrix_equals_mmd2_of_each_pair(level, estimator, weighted, dtype, rng):
    sizes = (5, 17, 2, 33)
    domains = [(rng.normal(size=(n, 3)) + i).astype(dtype) for i, n in enumerate(sizes)]
    weights = [None, rng.uniform(0.5, 1, 17), None, rng.uniform(0.5, 1, 33)] if weighted else [None] * 4
    kernel = im.RBF(2.0)
    matrix = im.mmd_matrix(domains, kernel=kernel, estimator=estimator, weights=weights)
    assert matrix.dtype == np.float64
    assert np.array_equal(matrix, matrix.T)
    assert not matrix.diagonal().any()
    for i, j in itertools.combinations(range(4), 2):
        expected = oracle_mmd2(domains[i], domains[j], kernel, estimator, weights[i], weights[j])
        assert abs(matrix[i, j] - expected) <= TOLERANCES[dtype].mmd


def test_mmd_matrix_evaluates_a_rule_once_on_all_domains(rng):
    domains = [rng.normal(size=(10, 2)) * (i + 1) for i in range(3)]
    kernel = im.RBF(np.median(pdist(np.concatenate(domains))))
    np.testing.assert_allclose(im.mmd_matrix(domains), im.mmd_matrix(domains, kernel=kernel), atol=1e-14)


def test_the_biased_mmd_matrix_of_equal_domains_is_exactly_zero(rng):
    for n in range(20, 76, 7):
        x, w = rng.normal(size=(n, 3)), rng.uniform(size=n)
        matrix = im.mmd_matrix(
            [x, x.copy(), x], kernel=im.RBF(1.0), estimator="biased", weights=[None, None, w]
        )
        assert matrix[0, 1] == 0
        assert matrix[0, 2] > 0


@pytest.mark.parametrize(
    ("domains", "options", "message"),
    [
        ([(3, 2)], {}, "samples must hold at least 2 samples, got 1"),
        ([(3, 2), (3, 4)], {}, r"samples\[1\] must have samples\[0\]'s width d = 2, got 4"),
        ([(3, 2), (1, 2)], {}, r"samples\[1\] needs >= 2 rows"),
        ([(3, 2), (3,)], {}, r"samples\[1\] must have shape \(rows, columns\), got \(3,\)"),
        ([(3, 2), (3, 2)], {"weights": [None]}, "weights must have one entry for each of 2 samples, got 1"),
        ([(3, 2), (3, 2)], {"weights": [None, [1, 1]]}, r"weights\[1\] must have shape \(3,\)"),
    ],
)
def test_domains_that_do_not_fit_are_refused(domains, options, message):
    with pytest.raises(ValueError, match=message):
        im.mmd_matrix([np.ones(shape) for shape in domains], kernel=im.RBF(1.0), **options)


# -- the witness --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_the_witness_is_the_difference_of_kernel_means(kernel, dtype, rng):
    x, y = samples(rng, 33, 17, 3, dtype)
    at = rng.normal(size=(9, 3)).astype(dtype)
    across = oracle_matrix(at, x, kernel), oracle_matrix(at, y, kernel)
    found = im.witness(x, y, at, kernel=kernel)
    assert found.dtype == dtype
    expected = across[0].mean(axis=1) - across[1].mean(axis=1)
    assert np.abs(found - expected).max() <= 2 * TOLERANCES[dtype].kernel * largest(np.hstack(across))


def test_the_mean_witness_gap_is_the_biased_mmd2(rng):
    x, y = samples(rng, 40, 30, 3, "float64")
    gap = im.witness(x, y, x, kernel=im.RBF(1.0)).mean() - im.witness(x, y, y, kernel=im.RBF(1.0)).mean()
    assert gap == pytest.approx(im.mmd2(x, y, kernel=im.RBF(1.0), estimator="biased"), abs=1e-14)


# -- permutations --


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_permuted_mmd2_equals_mmd2_of_the_permuted_samples(kernel, estimator, dtype, rng):
    x, y = samples(rng, 20, 13, 3, dtype)
    z = np.concatenate([x, y])
    # Any number of rows may be assigned to X, not just n.
    assignments = (np.arange(33) < rng.integers(2, 31, size=(15, 1))).astype(int)
    assignments = rng.permuted(assignments, axis=1)
    found = im.permuted_mmd2(x, y, assignments, kernel=kernel, estimator=estimator)
    expected = [oracle_mmd2(z[u == 1], z[u == 0], kernel, estimator) for u in assignments]
    scale = largest(oracle_matrix(z, z, kernel))
    assert found.dtype == np.float64
    assert np.abs(found - expected).max() <= TOLERANCES[dtype].mmd * scale


@pytest.mark.parametrize("kernel", ["rbf", "energy", "linear"])
@pytest.mark.parametrize("distinct", [3, 170])
def test_permuted_float32_values_keep_the_promise_of_mmd2(kernel, distinct, rng):
    """Few different rows: the roundings of their row sums are equal and do not average out."""
    z = rng.normal(size=(distinct, 5)).astype("float32")[rng.integers(0, distinct, 170)]
    found, expected = (
        im.permuted_mmd2(rows[:90], rows[90:], n_permutations=50, random_state=0, kernel=KERNELS[kernel])
        for rows in (z, z.astype("float64"))
    )
    scale = largest(oracle_matrix(z, z, KERNELS[kernel]))
    assert np.abs(found - expected).max() <= TOLERANCES["float32"].mmd * scale


def test_assignments_of_any_dtype_are_counted_right():
    """Float16 counts to 2048, and not beyond 65504."""
    x, y = np.zeros((66_000, 1)), np.zeros((3, 1))
    assignments = np.repeat([[1.0, 0.0]], [66_000, 3], axis=1).astype("float16")
    assert im.permuted_mmd2(x, y, assignments, kernel=im.Linear()) == 0


@pytest.mark.parametrize(
    ("assignments", "options", "message"),
    [
        (None, {}, "give assignments or n_permutations, one of them"),
        ([[1, 1, 0, 0, 0]], {"n_permutations": 3}, "give assignments or n_permutations, one of them"),
        ([[1, 1, 0, 0]], {}, r"assignments must have shape \(B, n \+ m\) with n \+ m = 5, got \(1, 4\)"),
        ([[1, 2, 0, 0, 0]], {}, "assignments must hold 0 and 1 only"),
        ([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], {}, "X needs >= 2 rows .* got 1"),
        ([[1, 1, 1, 1, 0]], {}, "Y needs >= 2 rows .* got 1"),
        (None, {"n_permutations": 0}, "n_permutations must be an integer of at least 1, got 0"),
        (None, {"n_permutations": 2.0}, "n_permutations must be an integer of at least 1, got 2.0"),
    ],
)
def test_assignments_that_do_not_fit_are_refused(assignments, options, message):
    with pytest.raises(ValueError, match=message):
        im.permuted_mmd2(np.ones((3, 2)), np.zeros((2, 2)), assignments, kernel=im.RBF(1.0), **options)


@pytest.mark.parametrize("kernel", ["rbf", "matern52", "imq", "laplacian", "polynomial"])
def test_few_distinct_rows_cost_float32_no_more_than_documented(kernel, rng):
    """Each many times, in other shares in X than in Y: the roundings of the kernel do not average out."""
    bound = 3e-7 if kernel == "polynomial" else 2e-7
    for d in (1, 3, 20):
        rows = rng.normal(size=(3, d)).astype("float32")
        x, y = rows[np.repeat([0, 1, 2], [320, 40, 40])], rows[np.repeat([0, 1, 2], [30, 30, 240])]
        k = KERNELS[kernel]
        scale = largest(oracle_matrix(rows, rows, k))
        assert abs(im.mmd2(x, y, kernel=k) - oracle_mmd2(x, y, k, "unbiased")) <= bound * scale
