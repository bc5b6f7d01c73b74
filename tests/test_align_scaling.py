"""StandardScaling: every domain by its own mean and standard deviation."""

import isthmus as im
import numpy as np
import pytest
from align_toys import two_covariances


def z_scored(rows):
    spread = rows.std(axis=0)
    return (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)


def test_each_domain_is_z_scored_by_its_own_statistics():
    X, X_target = two_covariances()
    scaling = im.StandardScaling()
    np.testing.assert_allclose(scaling.fit_transform(X, None, X_target), z_scored(X), atol=1e-12)
    np.testing.assert_allclose(scaling.transform(X_target), z_scored(X_target), atol=1e-12)


def test_several_sources_and_targets_have_their_own_maps():
    parts = [*two_covariances(), *two_covariances(50, 40, seed=1)]
    scaling = im.StandardScaling()
    moved = scaling.fit_transform(parts[:2], X_target=parts[2:])
    for Z, rows in zip(moved, parts[:2], strict=True):
        np.testing.assert_allclose(Z, z_scored(rows), atol=1e-12)
    Z = scaling.transform(parts[3], domain=np.full(40, -2))
    np.testing.assert_allclose(Z, z_scored(parts[3]), atol=1e-12)
    assert scaling.domains_.tolist() == [-2, -1, 0, 1] and scaling.domain_means_.shape == (4, 6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_constant_column_becomes_zero(dtype, weighted):
    X, X_target = (part.astype(dtype) for part in two_covariances())
    X[:, 2] = 0.1
    weight = np.random.default_rng(0).random(300) if weighted else None
    Z = im.StandardScaling().fit_transform(X, None, X_target, sample_weight=weight)
    np.testing.assert_array_equal(Z[:, 2], 0)
    assert Z.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_large_mean_costs_no_digits(dtype):
    X, X_target = ((part + 1e4).astype(dtype) for part in two_covariances())
    Z = im.StandardScaling().fit_transform(X, None, X_target)
    np.testing.assert_allclose(Z, z_scored(X.astype(np.float64)), atol=2 * np.finfo(dtype).eps * 5e4**0.5)


@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("with_std", [True, False])
def test_mean_and_deviation_can_each_be_left(with_mean, with_std):
    X, X_target = two_covariances()
    Z = im.StandardScaling(with_mean=with_mean, with_std=with_std).fit_transform(X, None, X_target)
    expected = (X - with_mean * X.mean(axis=0)) / (X.std(axis=0) if with_std else 1)
    np.testing.assert_allclose(Z, expected, atol=1e-12)


@pytest.mark.parametrize("form", ["two arrays", "domain numbers"])
def test_weight_k_is_the_row_repeated_k_times(form):
    X, X_target = two_covariances(60, 50)
    weights = np.random.default_rng(0).integers(0, 4, 110)
    by_weight, by_rows = im.StandardScaling(), im.StandardScaling()
    if form == "two arrays":
        by_weight.fit(X, None, X_target, sample_weight=weights[:60])
        by_rows.fit(np.repeat(X, weights[:60], axis=0), None, X_target)
    else:
        rows, domain = np.concatenate([X, X_target]), np.repeat([0, -1], [60, 50])
        by_weight.fit(rows, sample_domain=domain, sample_weight=weights)
        by_rows.fit(np.repeat(rows, weights, axis=0), sample_domain=np.repeat(domain, weights))
    for name in ("domain_means_", "domain_scales_"):
        np.testing.assert_allclose(getattr(by_weight, name), getattr(by_rows, name), atol=1e-12)


def test_domains_of_any_scale_need_no_warning():
    X, X_target = two_covariances()
    Z = im.StandardScaling().fit(X, None, 1e5 * X_target).transform(1e5 * X_target)
    np.testing.assert_allclose(Z, z_scored(X_target), atol=1e-12)


def test_wrong_input_is_named():
    X, X_target = two_covariances()
    for name in ("with_mean", "with_std"):
        with pytest.raises(ValueError, match=f"{name} must be True or False, got 'no'"):
            im.StandardScaling(**{name: "no"}).fit(X, None, X_target)
    with pytest.raises(ValueError, match="positive on a row of domain 1, got zeros only"):
        im.StandardScaling().fit([X, X], X_target=X_target, sample_weight=np.repeat([1.0, 0.0], 300))
    with pytest.raises(ValueError, match="scale the columns of X"):
        im.StandardScaling().fit(1e200 * X, None, X_target)
