"""Values published by other packages, or exact by hand; rows as the project's list of them numbers them."""

import math

import isthmus as im
import numpy as np
import pytest
from isthmus import bandwidth

G8 = im.RBF(gamma=1 / 8)


def shogun(m, n):
    """Shogun's data: 0, 1, 2, ... in three columns, each sample divided by its own maximum."""
    v = np.arange(3.0 * (m + n))
    p, q = v[: 3 * m].reshape(m, 3), v[3 * m :].reshape(n, 3)
    return p / p.max(), q / q.max()


def column(*values):
    return np.array(values)[:, None]


SHOGUN_3 = (
    column(0.61318059, -0.69222999, 0.94424411, -0.48769626, -0.00709551),
    column(0.35025598, 0.20741384, -0.63622519, -1.21315264, -0.77349617, -0.42707091),
)
SHOGUN_4 = (
    column(-0.47616889, -2.1767364, -0.04185537, -1.20787529, 1.94875193),
    column(-0.16695709, 2.51282666, -0.58116389, 1.52366887, 0.18985099, 0.76120258),
)


@pytest.mark.parametrize(
    ("samples", "kernel", "estimator", "factor", "expected"),
    [
        (shogun(8, 8), G8, "biased", 4, 0.17882546486779649),
        (shogun(8, 8), G8, "unbiased", 4, 0.13440094336133723),
        (SHOGUN_3, im.RBF(gamma=1 / 2), "unbiased", 30 / 11, -0.037500338130199401),
        (SHOGUN_4, im.RBF(gamma=1 / 2), "biased", 30 / 11, 0.54418915736201567),
    ],
    ids=["row 1", "row 2", "row 3", "row 4"],
)
def test_quadratic_statistics_of_shogun(samples, kernel, estimator, factor, expected):
    assert factor * im.mmd2(*samples, kernel=kernel, estimator=estimator) == pytest.approx(
        expected, abs=1e-12
    )


def test_linear_time_statistics_of_shogun_are_a_batch_of_blocks():
    """Rows 5 to 7: two blocks of 2 + 2 rows."""
    x, y = (sample.reshape(2, 2, 3) for sample in shogun(4, 4))
    factor = math.sqrt(4 * 4 / (4 + 4))
    biased = im.mmd2(x, y, kernel=G8, estimator="biased")
    unbiased = im.mmd2(x, y, kernel=G8)
    # The paired statistic leaves out k(x_i, y_i) as well.
    across = np.stack([im.kernel_matrix(a, b, kernel=G8) for a, b in zip(x, y, strict=True)])
    traces = np.trace(across, axis1=1, axis2=2)
    totals = across.sum(axis=(1, 2))
    paired = unbiased + 2 * totals / 4 - 2 * (totals - traces) / 2
    found = [factor * values.mean() for values in (biased, unbiased, paired)]
    np.testing.assert_allclose(
        found, [0.090438791828373444, 0.066491458266665582, 0.083423196012644057], atol=1e-6
    )


@pytest.mark.parametrize(
    ("m", "n", "expected"), [(100, 100, 0.00052755), (100, 10, -0.03200193), (10, 100, 0.07154671)]
)
def test_unbiased_values_of_frouros(m, n, expected):
    """Rows 8 to 10."""
    random = np.random.RandomState(31)
    x, y = random.normal(0, 1, m)[:, None], random.normal(0, 1, n)[:, None]
    assert im.mmd2(x, y, kernel=im.RBF(gamma=2)) == pytest.approx(expected, abs=1e-8)


def test_docstring_value_of_frouros():
    """Row 11."""
    random = np.random.RandomState(31)
    x = random.multivariate_normal([1, 1], [[2, 0], [0, 2]], 100)
    y = random.multivariate_normal([0, 0], [[2, 1], [1, 2]], 100)
    assert im.mmd2(x, y, kernel=im.RBF(gamma=2)) == pytest.approx(0.02146955300299802, abs=1e-14)


def test_docstring_value_of_ignite():
    """Row 12: the square root of the unbiased value."""
    x = [
        [-0.80324818, -0.95768364, -0.03807209],
        [-0.11059691, -0.38230813, -0.4111988],
        [-0.8864329, -0.02890403, -0.60119252],
        [-0.68732452, -0.12854739, -0.72095073],
        [-0.62604613, -0.52368328, -0.24112842],
    ]
    y = [
        [0.0686768, 0.80502737, 0.53321717],
        [0.83849465, 0.59099726, 0.76385441],
        [0.68688272, 0.56833803, 0.98100778],
        [0.55267761, 0.13084654, 0.45382906],
        [0.0754253, 0.70317304, 0.4756805],
    ]
    assert math.sqrt(im.mmd2(x, y, kernel=im.RBF(1.0))) == pytest.approx(1.07269754597376, abs=1e-12)


def test_analytic_value_of_coreax():
    """Row 13."""
    value = im.mmd2([[0, 0], [1, 1], [2, 2]], [[0, 0], [1, 1]], kernel=im.RBF(1.0), estimator="biased")
    expected = math.sqrt((3 - math.exp(-1) - 2 * math.exp(-4)) / 18)
    assert math.sqrt(value) == pytest.approx(expected, abs=1e-14)


def test_analytic_joint_value_of_coreax():
    """Row 14: a kernel of the data times a kernel of the labels."""
    x, y = column(-1.0, 0.0, 1.0), column(1.0, 2.0)

    def mean(a, b):
        return (
            im.kernel_matrix(a, b, kernel=im.RBF(gamma=1)) * im.kernel_matrix(a, b, kernel=im.Linear())
        ).mean()

    e = math.exp
    expected = (5 + 4 * e(-1)) / 4 + (2 - 2 * e(-4)) / 9 - (1 + 2 * e(-1) - e(-4) - 2 * e(-9)) / 3
    value = mean(x, x) + mean(y, y) - 2 * mean(x, y)
    assert math.sqrt(value) == pytest.approx(math.sqrt(expected), abs=1e-12)


def test_block_sums_of_goodpoints():
    """Row 15: blocks of 8 rows, each block's diagonal counted."""
    rng = np.random.default_rng(7)
    z = np.concatenate([rng.standard_normal((16, 2)), rng.standard_normal((16, 2))])
    sums, diagonals = im.block_sums(z, [0, 8, 16, 24, 32], kernel=im.RBF(gamma=1))
    sums[[0, 4, 7, 9]] += diagonals
    expected = [
        *(28.73529978, 11.81695961, 17.85693934, 20.0338135),
        *(25.55758466, 14.18951336, 7.7712617),
        *(19.33207834, 15.86730704),
        21.54884222,
    ]
    np.testing.assert_allclose(sums, expected, atol=1e-8)


def test_readme_value_of_mmdagg():
    """Row 16: the first Laplace bandwidth, and the paired statistic with it."""
    random = np.random.RandomState(0)
    x, y = random.uniform(0, 1, (500, 10)), random.uniform(0, 1, (500, 10)) + 1
    scale = bandwidth.resolve(im.Laplacian("mmdagg"), x, y).scale[0]
    assert scale == pytest.approx(2.42038079739479, rel=1e-12)
    kernel = im.Laplacian(scale)
    (xx, xy, yy), _ = im.block_sums(np.concatenate([x, y]), [0, 500, 1000], kernel=kernel)
    paired = xx + yy - 2 * (xy - np.trace(im.kernel_matrix(x, y, kernel=kernel)))
    assert paired == pytest.approx(122196.9529089949, rel=1e-12)
    assert paired / (500 * 499) == pytest.approx(0.48976734632863667, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "x_weights", "y_weights", "expected"),
    [
        ([0], [2], None, None, 2.0),
        ([0, 8], [0, 8], [3, 1], [2, 2], 1.0),
        ([0.7, 7.4, 2.4, 6.8], [1.4, 8], [2.1, 4.2, 7.4, 8], [7.6, 8.8], 0.8800334097615818),
    ],
    ids=["row 17", "row 18", "row 19"],
)
def test_energy_distances_of_scipy(x, y, x_weights, y_weights, expected):
    """The square root of MMD^2 with -|x - y|, weighted."""
    value = im.mmd2(
        column(*x),
        column(*y),
        kernel=im.Energy(),
        estimator="biased",
        x_weights=x_weights,
        y_weights=y_weights,
    )
    assert math.sqrt(value) == pytest.approx(expected, abs=1e-12)


def test_the_mean_of_unbiased_values_is_the_population_value(rng):
    """Row 20: N(0, I) against N(0.6 e1, I) in five dimensions."""
    expected = 2 * (4 / 6) ** 2.5 * (1 - math.exp(-0.36 / 12))
    x, y = rng.normal(size=(200, 100, 5)), rng.normal(size=(200, 100, 5))
    y[..., 0] += 0.6
    values = im.mmd2(x, y, kernel=G8)
    assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / math.sqrt(len(values))


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_the_one_product_identity_equals_direct_recomputation(estimator, rng):
    """Row 21: any assignment, by one product with the kernel matrix without its diagonal."""
    z = rng.normal(size=(30, 3))
    assignments = rng.permuted(np.tile(np.arange(30) < 12, (20, 1)), axis=1)
    found = im.permuted_mmd2(z[:12], z[12:], assignments, kernel=G8, estimator=estimator)
    direct = [im.mmd2(z[u], z[~u], kernel=G8, estimator=estimator) for u in assignments]
    np.testing.assert_allclose(found, direct, rtol=0, atol=4e-15)
