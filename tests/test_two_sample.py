"""The permutation test: valid p-values, exact on small samples, right with ties; it finds shifts."""

import itertools
import math

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, oracle_mmd2


def test_the_pvalue_is_one_plus_k_over_one_plus_b(rng):
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(25, 3)) + 0.2
    result = im.two_sample_test(x, y, n_permutations=199, random_state=0)
    assert isinstance(result, im.TwoSampleResult)
    assert result.null.shape == (199,)
    assert result.pvalue == (1 + np.count_nonzero(result.null >= result.statistic)) / 200
    assert result.statistic == im.mmd2(x, y, kernel=result.kernel)
    assert (result.method, result.n_permutations) == ("permutation", 199)
    assert result.bandwidth == result.kernel.bandwidth


def test_the_smallest_pvalue_is_never_zero(rng):
    result = im.two_sample_test(rng.normal(size=(20, 2)), rng.normal(size=(20, 2)) + 9, n_permutations=99)
    assert result.pvalue == 0.01


@pytest.mark.parametrize("n_permutations", [1, 19])
@pytest.mark.parametrize(
    "kernel", [im.RBF(), im.Laplacian(2.0), im.Energy(), im.RBF([1.0, 2.0]) + im.Linear()]
)
def test_every_kernel_and_any_number_of_permutations_work(kernel, n_permutations, rng):
    x, y = rng.normal(size=(10, 2)), rng.normal(size=(8, 2)) + 1
    result = im.two_sample_test(x, y, kernel=kernel, n_permutations=n_permutations, random_state=1)
    assert 1 / (1 + n_permutations) <= result.pvalue <= 1
    assert np.isfinite(result.null).all()


def test_permutation_values_of_small_samples_equal_enumeration(rng):
    """All C(10, 5) = 252 splits: the test's p-value estimates the enumerated one."""
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 2)) + 0.8
    z, kernel = np.concatenate([x, y]), im.RBF(1.5)
    splits = np.array([np.isin(np.arange(10), chosen) for chosen in itertools.combinations(range(10), 5)])
    assert len(splits) == 252
    values = im.permuted_mmd2(x, y, splits, kernel=kernel)
    direct = [oracle_mmd2(z[u], z[~u], kernel, "unbiased") for u in splits]
    np.testing.assert_allclose(values, direct, atol=1e-14)
    exact = np.mean(values >= values[0] - 1e-13)
    result = im.two_sample_test(x, y, kernel=kernel, n_permutations=20_000, random_state=5)
    assert abs(result.pvalue - exact) < 4 * math.sqrt(exact * (1 - exact) / 20_000)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_data_gives_a_pvalue_of_one(dtype):
    x = np.full((40, 3), 7.3, dtype=dtype)
    with pytest.warns(im.DegenerateBandwidthWarning):
        assert im.two_sample_test(x, x[:23], n_permutations=99).pvalue == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [im.RBF(0.7), im.Laplacian(0.3), im.Energy(), im.Polynomial(gamma=0.3)])
def test_ties_count_towards_k_whatever_the_order_of_the_sums(kernel, dtype, rng):
    """Two different rows, shared evenly: no assignment has a smaller statistic, and many have the same."""
    values = np.array([[0.1, 0.7], [0.9, 0.3]], dtype=dtype)
    x = y = values[[0, 0, 0, 1] * 5]
    second = np.tile([0, 0, 0, 1] * 5, 2)
    shares = rng.permuted(np.tile(np.arange(40) < 20, (199, 1)), axis=1) @ second
    assert 20 < (shares == 5).sum() < 100
    assert im.two_sample_test(x, y, kernel=kernel, n_permutations=199, random_state=0).pvalue == 1


@pytest.mark.parametrize(("kernel", "offset"), [(im.RBF(3000.0), 0), (im.Linear(), 1000)])
def test_float32_finds_the_shift_that_float64_finds(kernel, offset, rng):
    """Values that differ by less than the roundings of their terms."""
    x, y = rng.normal(size=(200, 5)) + offset, rng.normal(size=(200, 5)) + offset + 0.5
    x, y = x.astype("float32"), y.astype("float32")
    narrow, wide = (
        im.two_sample_test(a, b, kernel=kernel, n_permutations=199, random_state=0)
        for a, b in ((x, y), (x.astype("float64"), y.astype("float64")))
    )
    assert wide.pvalue == narrow.pvalue == 0.005
    assert narrow.statistic == pytest.approx(wide.statistic, rel=1e-9)


@pytest.mark.parametrize("kernel", [im.RBF(0.7), im.Energy(), im.Linear()])
def test_float32_ties_of_many_rows_count_towards_k(kernel, rng):
    """As above, with enough rows for a null in float32."""
    values = np.array([[0.1, 0.7], [0.9, 0.3]], dtype="float32")
    x = y = values[[0, 0, 0, 1] * 25]
    assert im.two_sample_test(x, y, kernel=kernel, n_permutations=199, random_state=0).pvalue == 1


@pytest.mark.parametrize(
    ("kernel", "first", "rows", "values"),
    [
        (im.Linear(), 1, 120, (0.4, -0.4 / 7)),
        (im.Linear(), 7, 128, (0.2, -1.4)),
        (im.Linear(), 7, 200, (0.8, -5.6)),
        (1.62 * im.RBF(0.16) + im.Energy(), 2, 120, (0.0, 2.7)),
    ],
)
def test_float32_ties_count_where_kernel_values_of_both_signs_cancel(kernel, first, rows, values):
    """The kernel's mean is about 0: MMD^2 is far below its values, whose roundings part equal ones."""
    x = y = np.where(np.arange(rows) % 8 < first, *values)[:, None].astype("float32")
    assert im.two_sample_test(x, y, kernel=kernel, n_permutations=199, random_state=0).pvalue == 1


def test_a_nan_is_no_evidence(rng):
    x, y = rng.normal(size=(2, 90, 2))
    x[3, 1] = np.nan
    with im.config(assume_finite=True):
        result = im.two_sample_test(x, y, kernel=im.RBF(1.0), n_permutations=19)
    assert np.isnan(result.statistic) and result.pvalue == 1


def test_the_level_is_kept_under_the_null():
    """600 tests at 0.05: within four standard deviations."""
    rng = np.random.default_rng(11)
    pvalues = [
        im.two_sample_test(
            rng.normal(size=(20, 2)), rng.normal(size=(15, 2)), n_permutations=99, random_state=rng
        ).pvalue
        for _ in range(600)
    ]
    assert abs(np.mean(np.array(pvalues) <= 0.05) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 600)
    assert abs(np.mean(pvalues) - 0.505) < 4 * math.sqrt(1 / 12 / 600)


def test_a_shift_is_found(rng):
    x, y = rng.normal(size=(100, 5)), rng.normal(size=(100, 5))
    assert im.two_sample_test(x, y, random_state=0).pvalue > 0.01
    assert im.two_sample_test(x, y + 0.5, random_state=0).pvalue == 0.001


def test_the_same_random_state_gives_the_same_result(rng):
    x, y = rng.normal(size=(1500, 2)), rng.normal(size=(900, 2))

    def test(random_state):
        result = im.two_sample_test(x, y, n_permutations=19, random_state=random_state)
        return result.bandwidth, result.null.tobytes()

    assert test(3) == test(3) == test(np.random.default_rng(3))
    # Above 2,000 rows the bandwidth's rows are drawn by the random state.
    assert test(3)[0] != test(4)[0]
    assert test(np.random.RandomState(3)) == test(np.random.RandomState(3))
    state = np.random.get_state()[1].tobytes()  # noqa: NPY002
    test(None)
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002


def test_the_result_prints_without_its_null(rng):
    text = repr(im.two_sample_test(rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), n_permutations=9))
    assert text.startswith("TwoSampleResult(statistic=")
    assert "pvalue=" in text
    assert "null" not in text


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        ((3, 2), (3, 3), {}, "Y must have X's width d = 2, got 3"),
        ((1, 2), (3, 2), {}, "X needs >= 2 rows"),
        ((2, 3, 2), (2, 3, 2), {}, r"X must have shape \(rows, columns\), got \(2, 3, 2\)"),
        ((3, 2), (3, 2), {"method": "bootstrap"}, "method must be one of 'permutation', got 'bootstrap'"),
        ((3, 2), (3, 2), {"n_permutations": 0}, "n_permutations must be an integer of at least 1, got 0"),
        (
            (3, 2),
            (3, 2),
            {"kernel": im.RBF("alibi")},
            "a rule that pools X and Y .* got 'alibi'",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(x, y, options, message):
    with pytest.raises(ValueError, match=message):
        im.two_sample_test(np.ones(x), np.zeros(y), **{"kernel": im.RBF(1.0)} | options)
