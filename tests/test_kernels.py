"""Kernels as numbers: their formulas, their algebra, what they refuse; bandwidth rules."""

import copy
import json
import math
import pickle
import warnings

import isthmus as im
import numpy as np
import pytest
from conftest import KERNELS, oracle_matrix
from isthmus import bandwidth, kernels
from scipy.spatial.distance import cdist, pdist


def test_formulas_are_those_of_the_table(rng):
    """Each convention written out over scipy's distances."""
    x, y = rng.normal(size=(20, 4)), rng.normal(size=(15, 4))
    r, r1, xy = cdist(x, y), cdist(x, y, "cityblock"), x @ y.T
    s, a = 1.7, 0.6
    r32, r52 = math.sqrt(3) * r / s, math.sqrt(5) * r / s
    for kernel, expected in (
        (im.RBF(bandwidth=s), np.exp(-(r**2) / (2 * s**2))),
        (im.RBF(gamma=a), np.exp(-a * r**2)),
        (im.RBF(bandwidth=[s, a]), (np.exp(-(r**2) / (2 * s**2)) + np.exp(-(r**2) / (2 * a**2))) / 2),
        (im.RBF(gamma=[s, a]), (np.exp(-s * r**2) + np.exp(-a * r**2)) / 2),
        (im.Laplacian(scale=s), np.exp(-r1 / s)),
        (im.Laplacian(scale=(s, a)), (np.exp(-r1 / s) + np.exp(-r1 / a)) / 2),
        (im.Exponential(scale=s), np.exp(-r / s)),
        (im.Matern(nu=0.5, scale=s), np.exp(-r / s)),
        (im.Matern(nu=1.5, scale=s), (1 + r32) * np.exp(-r32)),
        (im.Matern(nu=2.5, scale=s), (1 + r52 + r52**2 / 3) * np.exp(-r52)),
        (im.RationalQuadratic(scale=s, alpha=a), (1 + r**2 / (2 * a * s**2)) ** -a),
        (im.IMQ(scale=s), (1 + r**2 / s**2) ** -0.5),
        (im.Energy(), -r),
        (im.Linear(), xy),
        (im.Polynomial(degree=2, gamma=a, coef0=s), (a * xy + s) ** 2),
        (
            im.RBF(bandwidth=s) + 0.3 * im.Laplacian(scale=a),
            np.exp(-(r**2) / (2 * s**2)) + 0.3 * np.exp(-r1 / a),
        ),
    ):
        np.testing.assert_allclose(oracle_matrix(x, y, kernel), expected, atol=1e-14, err_msg=repr(kernel))
        np.testing.assert_allclose(im.kernel_matrix(x, y, kernel=kernel), expected, atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())
def test_kernels_are_values_that_survive_every_copy(kernel):
    for copied in (
        copy.deepcopy(kernel),
        pickle.loads(pickle.dumps(kernel)),
        kernels.from_json(json.loads(json.dumps(kernels.to_json(kernel)))),
        eval(repr(kernel), vars(im)),
    ):
        assert copied == kernel
        assert hash(copied) == hash(kernel)


def test_sums_and_multiples_are_flat_sums_of_terms():
    kernel = 2 * (im.RBF(gamma=0.5) + 0.25 * im.Laplacian(scale=(1.0, 2.0)))
    assert kernel.terms() == (
        ("rbf", 2.0, (0.5,)),
        ("laplacian", 0.25, (1.0,)),
        ("laplacian", 0.25, (2.0,)),
    )
    assert (np.float64(2) * im.Linear()).terms() == (("linear", 2.0, ()),)
    assert (im.Linear() * 3).terms() == (("linear", 3.0, ()),)
    assert kernel.input == "mixed"
    assert (im.RBF(1.0) + im.Energy()).input == "distance"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: im.RBF(0), "bandwidth must be a finite number above 0, got 0"),
        (lambda: im.RBF(-1.0), "bandwidth must be a finite number above 0, got -1.0"),
        (lambda: im.RBF(math.nan), "bandwidth must be a finite number above 0, got nan"),
        (lambda: im.RBF(math.inf), "bandwidth must be a finite number above 0, got inf"),
        (lambda: im.RBF(True), "bandwidth must be a finite number above 0 or a sequence of them, got True"),
        (lambda: im.RBF([1.0, 0.0]), r"bandwidth\[1\] must be a finite number above 0, got 0.0"),
        (lambda: im.RBF([]), "bandwidth must name at least one number"),
        (lambda: im.RBF(1e-200), "bandwidth must lie between 1e-150 and 1e\\+150"),
        (lambda: im.RBF(1.0, 2.0), "RBF takes bandwidth or gamma, not both: got bandwidth=1.0, gamma=2.0"),
        (lambda: im.RBF(gamma=-1), "gamma must be a finite number above 0, got -1"),
        (
            lambda: im.RBF(gamma="scale"),
            "gamma must be a finite number above 0 or a sequence of them, got 'scale'",
        ),
        (lambda: im.RBF(10**400), "bandwidth must be a finite number above 0, got 1000"),
        (lambda: im.Polynomial(coef0=10**400), "coef0 must be a finite number of at least 0, got 1000"),
        (lambda: im.Matern(nu=10**400), "nu must be 0.5, 1.5 or 2.5, got 1000"),
        (lambda: im.RBF("medain"), "bandwidth must be a number or one of the rules median, .*, got 'medain'"),
        (lambda: im.IMQ("alibi"), "scale must be a number or one of the rules median, got 'alibi'"),
        (lambda: im.IMQ(None), "scale must be a finite number above 0 or a sequence of them, got None"),
        (lambda: im.Matern(nu=2), "nu must be 0.5, 1.5 or 2.5, got 2"),
        (lambda: im.RationalQuadratic(alpha=0), "alpha must be a finite number above 0, got 0"),
        (lambda: im.Polynomial(degree=0), "degree must be an integer from 1 to 1000, got 0"),
        (lambda: im.Polynomial(degree=2.5), "degree must be an integer from 1 to 1000, got 2.5"),
        (lambda: im.Polynomial(degree=2**40), "degree must be an integer from 1 to 1000, got 1099511627776"),
        (lambda: im.Polynomial(gamma=0), "gamma must be a finite number above 0, got 0"),
        (lambda: im.Polynomial(coef0=-1), "coef0 must be a finite number of at least 0, got -1"),
        (lambda: -1 * im.RBF(), "the factor of a kernel must be a finite number above 0, got -1"),
        (lambda: 0 * im.RBF(), "the factor of a kernel must be a finite number above 0, got 0"),
        (lambda: kernels.from_json(5), "a kernel must be an object with its name and parameters, got 5"),
        (lambda: kernels.from_json({"kernel": ["RBF"]}), r"kernel must be one of RBF, .*; got \['RBF'\]"),
        (lambda: kernels.from_json({"kernel": "Exec"}), "kernel must be one of RBF, .*; got 'Exec'"),
        (
            lambda: kernels.from_json({"kernel": "Linear", "x": 1}),
            r"Linear has the parameters \[\], got \['x'\]",
        ),
        (lambda: kernels.from_json({"kernel": "Sum", "parts": [[1.0]]}), "a part of a Sum must be"),
        (lambda: im.RBF().terms(), "is not resolved: bandwidth='median' must be evaluated on data first"),
        (lambda: im.Polynomial().terms(), "is not resolved: gamma=None"),
    ],
)
def test_wrong_numbers_are_refused_where_they_are_given(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [lambda: im.RBF() + 1, lambda: im.RBF() * im.RBF(), lambda: "a" * im.RBF()])
def test_what_is_no_sum_or_multiple_is_a_type_error(make):
    with pytest.raises(TypeError):
        make()


def test_polynomial_gamma_is_one_over_the_width():
    x = np.arange(12.0).reshape(4, 3)
    expected = im.kernel_matrix(x, kernel=im.Polynomial(gamma=1 / 3))
    assert np.array_equal(im.kernel_matrix(x, kernel=im.Polynomial()), expected)
    assert bandwidth.resolve(im.Polynomial(), x) == im.Polynomial(gamma=1 / 3)


# -- bandwidth rules --


@pytest.mark.parametrize("width", [1, 3, 64, 65, 200])
def test_the_median_is_that_of_all_pairs_of_pooled_rows(width, rng):
    x, y = rng.normal(size=(40, width)) + 50, rng.normal(size=(31, width)) + 51
    z = np.concatenate([x, y])
    assert bandwidth.resolve(im.RBF(), x, y).bandwidth == pytest.approx(np.median(pdist(z)), rel=1e-12)
    for kernel in (im.Laplacian(), im.Exponential(), im.Matern(2.5), im.RationalQuadratic(), im.IMQ()):
        metric = "cityblock" if isinstance(kernel, im.Laplacian) else "euclidean"
        resolved = bandwidth.resolve(kernel, x, y)
        assert resolved.scale == pytest.approx(np.median(pdist(z, metric)), rel=1e-12)
        assert resolved.resolved
        assert type(resolved) is type(kernel)


@pytest.mark.parametrize("width", [3, 100])
def test_wide_and_narrow_rows_with_duplicates_have_the_same_exact_median(width, rng):
    x = rng.normal(size=(300, width)) * 1e3
    x[100:180] = x[0]
    x[180:200] = x[1] + 1e-9
    assert bandwidth.resolve(im.RBF(), x).bandwidth == pytest.approx(np.median(pdist(x)), rel=1e-12)


def test_the_median_is_exact_however_the_distances_lie(rng):
    n = 700
    periodic = np.zeros(n)
    periodic[::15] = (
        np.arange(len(periodic[::15])) + 1e3
    )  # what a stride through the pairs misses or meets alone
    for values in (
        np.arange(n) * 1.0,
        np.repeat([0.0, 1.0], n // 2) + 1e-3 * rng.normal(size=n),
        np.repeat([0.0, 5.0, 7.0], [n // 2, n // 4, n // 4]),
        np.exp(rng.normal(size=n) * 10),
        periodic + 1e-6 * rng.normal(size=n),
    ):
        distances = pdist(values[:, None])
        expected = np.median(distances)
        if expected == 0:
            expected = np.median(distances[distances > 0])
        assert bandwidth.resolve(im.RBF(), values[:, None]).bandwidth == expected


def test_the_median_of_many_rows_is_that_of_a_fixed_sample(rng):
    x = rng.normal(size=(bandwidth.MEDIAN_ROWS + 500, 2))
    first, second = bandwidth.resolve(im.RBF(), x), bandwidth.resolve(im.RBF(), x[:1000], x[1000:])
    assert first == second
    assert first != bandwidth.resolve(im.RBF(), x, random_state=1)
    assert first.bandwidth == pytest.approx(np.median(pdist(x)), rel=0.05)
    exact = bandwidth.resolve(im.RBF(), x[: bandwidth.MEDIAN_ROWS])
    assert exact.bandwidth == pytest.approx(np.median(pdist(x[: bandwidth.MEDIAN_ROWS])), rel=1e-12)


def test_a_batch_has_one_median_over_all_its_rows(rng):
    x, y = rng.normal(size=(3, 10, 2)), rng.normal(size=(3, 5, 2))
    z = np.concatenate([x.reshape(-1, 2), y.reshape(-1, 2)])
    assert bandwidth.resolve(im.RBF(), x, y).bandwidth == pytest.approx(np.median(pdist(z)), rel=1e-12)


def test_mostly_duplicate_rows_take_the_median_of_positive_distances():
    x = np.array([[0.0]] * 50 + [[3.0], [4.0]])
    distances = pdist(x)
    assert np.median(distances) == 0
    assert bandwidth.resolve(im.RBF(), x).bandwidth == np.median(distances[distances > 0])


@pytest.mark.parametrize("kernel", [im.RBF(), im.Laplacian()])
@pytest.mark.parametrize(("scale", "found"), [(1e160, r"\d.*e\+160|inf"), (1e-155, r"\d.*e-155")])
def test_distances_beyond_any_scale_are_refused_naming_the_rule(kernel, scale, found):
    with pytest.raises(ValueError, match=f"must lie between .* for the rule 'median', got ({found})"):
        bandwidth.resolve(kernel, np.array([[0.0], [1.0], [3.0]]) * scale)


@pytest.mark.parametrize("kernel", [im.RBF(), im.Laplacian(), im.IMQ(), im.RBF("opt-mmd"), im.RBF("mmdfuse")])
def test_constant_data_warns_and_takes_one(kernel):
    x = np.full((20, 3), 7.0)
    with pytest.warns(im.DegenerateBandwidthWarning, match="found no positive distance between rows"):
        resolved = bandwidth.resolve(kernel, x)
    assert bandwidth.scale_of(resolved) == 1.0
    with pytest.warns(im.DegenerateBandwidthWarning):
        assert im.mmd2(x, x, estimator="biased") == 0


def test_a_single_row_warns_as_constant_data_does():
    with pytest.warns(im.DegenerateBandwidthWarning):
        assert im.kernel_matrix(np.ones((1, 2))) == 1


def test_a_resolved_kernel_looks_at_no_data():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bandwidth.resolve(im.RBF(2.0), np.full((3, 1), np.nan)) == im.RBF(2.0)


def test_sums_resolve_every_part(rng):
    x = rng.normal(size=(30, 2))
    resolved = bandwidth.resolve(0.5 * im.RBF() + im.Laplacian() + im.Linear(), x)
    assert (
        resolved == 0.5 * bandwidth.resolve(im.RBF(), x) + bandwidth.resolve(im.Laplacian(), x) + im.Linear()
    )
    assert len(bandwidth.scale_of(resolved)) == 2


def test_named_conventions_follow_their_definitions(rng):
    """Each written out with the full distance matrices that those packages use."""
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(41, 2)) + 1
    z, n = np.concatenate([x, y]), len(x)
    squares = cdist(x, x, "sqeuclidean")
    alibi = math.sqrt(np.sort(squares, axis=None)[n + (n * n - n) // 2 - 1] / 2)
    fuse = cdist(z, z)[np.triu_indices(len(z))]
    fuse = np.sort(np.where(fuse == 0, np.median(fuse), fuse))
    fuse = np.linspace(fuse[int(len(fuse) * 0.05)] / 2, fuse[int(len(fuse) * 0.95)] * 2, 10)
    for rule, expected in (
        ("median", np.median(pdist(z))),
        ("hyppo", np.median(pdist(z))),
        ("alibi", alibi),
        ("evidently", math.sqrt(np.median(squares) / 2)),
        ("opt-mmd", math.sqrt(np.median(pdist(z, "sqeuclidean")) / 2)),
        ("mmdfuse", fuse),
    ):
        found = bandwidth.scale_of(bandwidth.resolve(im.RBF(rule), x, y))
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=rule)
    lengths = bandwidth.scale_of(bandwidth.resolve(im.Laplacian("mmdagg"), x, y + 5))
    cross = cdist(x, y + 5, "cityblock")
    np.testing.assert_allclose(lengths, np.geomspace(cross.min() / 2, cross.max() * 2, 10), rtol=1e-12)
    # Close samples: the shortest length starts at 0.1 / 2, the longest at 0.3 * 2.
    lengths = bandwidth.scale_of(bandwidth.resolve(im.Laplacian("mmdagg"), x[:1], x[:1] + 0.01))
    np.testing.assert_allclose(lengths, np.geomspace(0.05, 0.6, 10), rtol=1e-12)
    with pytest.raises(ValueError, match="the rule 'mmdagg' needs two samples, got 1"):
        bandwidth.resolve(im.RBF("mmdagg"), x)


def test_scale_of_speaks_of_bandwidths_whatever_was_given():
    assert bandwidth.scale_of(im.RBF(gamma=0.125)) == 2.0
    assert bandwidth.scale_of(im.RBF(gamma=1e308)) == pytest.approx(math.sqrt(0.5) * 1e-154)
    assert bandwidth.scale_of(im.RBF([1.0, 2.0])) == (1.0, 2.0)
    assert bandwidth.scale_of(im.Energy()) is None
    assert bandwidth.scale_of(im.RBF(3.0) + im.Linear()) == 3.0
