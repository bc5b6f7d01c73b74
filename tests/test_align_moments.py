"""CORAL and MeanDiscrepancy: what the moments of the moved rows must be."""

import tracemalloc

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes, stacked, two_covariances
from isthmus.align import pencil
from sklearn.linear_model import LogisticRegression


def covariance(rows, weight=None):
    return np.cov(np.asarray(rows, dtype=np.float64).T, bias=True, fweights=weight)


@pytest.mark.parametrize("ridge", [0.0, 0.1, 1.0])
def test_map_takes_the_source_covariance_to_the_targets(ridge):
    X, X_target = two_covariances()
    coral = im.CORAL(ridge=ridge).fit(X, None, X_target)
    moved = coral.map_.T @ (covariance(X) + ridge * np.eye(6)) @ coral.map_
    np.testing.assert_allclose(moved, covariance(X_target) + ridge * np.eye(6), atol=1e-10)


def test_moved_source_has_the_targets_mean_and_covariance():
    X, X_target = two_covariances()
    Z = im.CORAL(ridge=0.0).fit_transform(X, None, X_target)
    np.testing.assert_allclose(Z.mean(axis=0), X_target.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(covariance(Z), covariance(X_target), atol=1e-9)


def test_map_is_the_published_product_of_roots():
    X, X_target = two_covariances()

    def power(matrix, exponent):
        values, vectors = np.linalg.eigh(matrix + np.eye(6))
        return vectors @ np.diag(values**exponent) @ vectors.T

    expected = power(covariance(X), -0.5) @ power(covariance(X_target), 0.5)
    np.testing.assert_allclose(im.CORAL().fit(X, None, X_target).map_, expected, atol=1e-11)


def test_target_rows_stay():
    X, X_target = two_covariances()
    coral = im.CORAL().fit(X, None, X_target)
    np.testing.assert_array_equal(coral.transform(X_target), X_target)
    np.testing.assert_array_equal(coral.transform(X_target, domain="target"), X_target)


@pytest.mark.parametrize("n", [2, 9, 700])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_float32_rows_follow_the_float64_map(n, offset):
    X, X_target = two_covariances(n, 300)
    narrow = [(part + offset).astype(np.float32) for part in (X, X_target)]
    Z = im.CORAL().fit_transform(narrow[0], None, narrow[1])
    exact = im.CORAL().fit_transform(narrow[0].astype(np.float64), None, narrow[1].astype(np.float64))
    assert Z.dtype == np.float32
    # One rounding of the result, which carries the target's mean, beside those of the product.
    np.testing.assert_allclose(Z, exact, atol=2e-5 * np.std(exact) + 1e-7 * offset)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_float32_rows_at_the_ends_of_their_range_are_aligned(scale):
    X, X_target = two_covariances()
    narrow = [(scale * part).astype(np.float32) for part in (X, X_target)]
    Z = im.CORAL(ridge=0.0).fit_transform(narrow[0], None, narrow[1])
    exact = im.CORAL(ridge=0.0).fit_transform(X, None, X_target)
    np.testing.assert_allclose(Z / np.float32(scale), exact, atol=1e-4)


def test_blocks_of_rows_do_not_change_the_result(monkeypatch):
    X, X_target = two_covariances()
    whole = im.CORAL().fit_transform(X, None, X_target)
    monkeypatch.setattr(pencil, "BLOCK_BYTES", 1)  # blocks of 64 rows
    np.testing.assert_allclose(im.CORAL().fit_transform(X, None, X_target), whole, atol=1e-11)


@pytest.mark.parametrize("shape", ["few rows", "constant column"])
def test_singular_covariance_without_ridge_is_shrunk_with_a_warning(shape):
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((8, 12)), rng.standard_normal((50, 12))
    if shape == "constant column":
        X = rng.standard_normal((60, 12))
        X[:, 3] = 2.0
    with pytest.warns(UserWarning, match="is singular, so CORAL shrinks"):
        coral = im.CORAL(ridge=0.0).fit(X, None, X_target)
    assert coral.ridge_ == pytest.approx(
        1e-3 * (np.trace(covariance(X)) + np.trace(covariance(X_target))) / 24, rel=1e-9
    )
    assert np.isfinite(coral.transform(X, domain="source")).all()


def test_constant_column_needs_no_warning_with_the_published_ridge():
    X, X_target = two_covariances()
    X[:, 2] = 1.0
    assert im.CORAL().fit(X, None, X_target).ridge_ == 1.0


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf"), "1", None])
def test_ridge_must_be_a_number_of_at_least_zero(ridge):
    with pytest.raises(ValueError, match="ridge must be a number >= 0"):
        im.CORAL(ridge=ridge).fit(*two_covariances()[:1], None, two_covariances()[1])


def test_rows_whose_squares_overflow_are_refused():
    X, X_target = two_covariances()
    with pytest.raises(ValueError, match="scale the columns of X"):
        im.CORAL().fit(1e200 * X, None, X_target)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_coral_needs_no_second_copy_of_the_rows(dtype):
    X = np.random.default_rng(0).standard_normal((40_000, 64)).astype(dtype)
    tracemalloc.start()
    coral = im.CORAL().fit(X, None, X[::2])
    peak_of_fit = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    coral.transform(X, domain="source")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_of_fit < X.nbytes / 2 and peak < 1.5 * X.nbytes


def test_without_ridge_constant_rows_are_refused():
    with pytest.raises(ValueError, match="rows that vary"):
        im.CORAL(ridge=0.0).fit(np.ones((5, 3)), None, np.zeros((4, 3)))


@pytest.mark.parametrize("method", [im.CORAL(), im.MeanDiscrepancy(), im.MeanDiscrepancy("directions")])
@pytest.mark.parametrize("form", ["two arrays", "domain numbers"])
def test_weight_k_is_the_row_repeated_k_times(method, form):
    X, y, X_target, y_target = shifted_classes(3.0, 0, n=60)
    weight = np.random.default_rng(0).integers(0, 4, 60)
    repeated = [np.repeat(part, weight, axis=0) for part in (X, y)]
    by_weight, by_rows = (type(method)(**method.get_params()) for _ in range(2))
    if form == "two arrays":
        by_weight.fit(X, y, X_target, y_target, sample_weight=weight)
        by_rows.fit(*repeated, X_target, y_target)
    else:
        weight_target = np.random.default_rng(1).integers(0, 3, 60)
        stack = np.concatenate([X, X_target]), np.concatenate([y, y_target])
        domain = np.repeat([0, -1], 60)
        weights = np.concatenate([weight, weight_target])
        labelled = np.random.default_rng(2).random(120) < 0.5
        by_weight.fit(*stack, sample_domain=domain, target_labelled=labelled, sample_weight=weights)
        stack = [np.repeat(part, weights, axis=0) for part in (*stack, domain, labelled)]
        by_rows.fit(*stack[:2], sample_domain=stack[2], target_labelled=stack[3])
    for domain in ("source", "target"):
        np.testing.assert_allclose(
            by_weight.transform(X, domain=domain), by_rows.transform(X, domain=domain), atol=1e-10
        )


def test_direction_without_labels_is_the_gap_of_the_means():
    X, X_target = two_covariances()
    found = im.MeanDiscrepancy().fit(X, None, X_target)
    gap = X.mean(axis=0) - X_target.mean(axis=0)
    assert found.directions_.shape == (1, 6)
    assert abs(found.directions_[0] @ gap) == pytest.approx(np.linalg.norm(gap), rel=1e-12)
    assert found.gaps_[0] == pytest.approx(np.linalg.norm(gap), rel=1e-12)


def test_directions_with_labels_span_the_gaps_of_the_classes():
    X, y, X_target, y_target = shifted_classes(3.0, 0)
    labels = np.array(["wolf", "dog"])
    found = im.MeanDiscrepancy().fit(X, labels[y], X_target, labels[y_target])
    gaps = np.array([X[y == c].mean(axis=0) - X_target[y_target == c].mean(axis=0) for c in (0, 1)])
    assert found.directions_.shape == (2, 10)
    np.testing.assert_allclose(found.directions_ @ found.directions_.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(gaps @ found.directions_.T @ found.directions_, gaps, atol=1e-12)
    np.testing.assert_allclose(found.gaps_, np.linalg.svd(gaps, compute_uv=False), rtol=1e-12)


def test_only_labels_declared_known_form_classes():
    X, y, X_target, y_target = shifted_classes(3.0, 0)
    labelled = np.arange(len(y_target)) % 4 == 0
    poisoned = np.where(labelled, y_target, 7)
    some = im.MeanDiscrepancy().fit(X, y, X_target, poisoned, target_labelled=labelled)
    expected = im.MeanDiscrepancy().fit(X, y, X_target[labelled], y_target[labelled])
    np.testing.assert_allclose(some.directions_, expected.directions_, atol=1e-12)


def test_many_classes_need_no_matrix_of_classes_by_rows():
    X = np.random.default_rng(0).standard_normal((3000, 4))
    y = np.arange(3000) // 2
    tracemalloc.start()
    found = im.MeanDiscrepancy().fit(X, y, X + np.arange(1, 5), y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.directions_.shape == (1, 4)
    assert peak < 8 << 20  # 1500 x 3000 numbers are 34 MiB


def test_gaps_of_equal_direction_count_once():
    X, y, _, _ = shifted_classes(0.0, 0)
    found = im.MeanDiscrepancy().fit(X, y, X + np.arange(10), y)
    assert found.directions_.shape == (1, 10)


def test_equal_means_leave_nothing_to_remove():
    X, _, _, _ = shifted_classes(0.0, 0)
    found = im.MeanDiscrepancy().fit(X, None, X[::-1])
    assert found.directions_.shape == (0, 10)
    np.testing.assert_array_equal(found.transform(X), X)


def test_rest_and_directions_are_the_two_parts_of_a_row():
    X, y, X_target, y_target = shifted_classes(3.0, 0)
    rest = im.MeanDiscrepancy().fit(X, y, X_target, y_target)
    kept = im.MeanDiscrepancy(keep="directions").fit(X, y, X_target, y_target)
    Z = rest.transform(X_target)
    np.testing.assert_allclose(Z + kept.transform(X_target) @ kept.directions_, X_target, atol=1e-12)
    np.testing.assert_allclose(Z @ rest.directions_.T, 0, atol=1e-12)
    assert kept.transform(X_target).shape == (200, 2)


def test_means_agree_once_the_gap_is_removed():
    X, X_target = two_covariances()
    found = im.MeanDiscrepancy()
    Z = found.fit_transform(X, None, X_target)
    np.testing.assert_allclose(Z.mean(axis=0), found.transform(X_target).mean(axis=0), atol=1e-12)


def test_labels_of_a_continuous_quantity_are_left_aside():
    X, X_target = two_covariances()
    rng = np.random.default_rng(0)
    found = im.MeanDiscrepancy().fit(X, rng.normal(size=300), X_target, rng.normal(size=260))
    assert found.directions_.shape == (1, 6)


def test_wrong_arguments_of_mean_discrepancy_are_named():
    X, y, X_target, y_target = shifted_classes(3.0, 0)
    with pytest.raises(ValueError, match="keep must be 'rest' or 'directions', got 'all'"):
        im.MeanDiscrepancy(keep="all").fit(X, y, X_target)
    with pytest.raises(ValueError, match="no class is labelled on both sides"):
        im.MeanDiscrepancy().fit(X, y, X_target, y_target + 5)
    with pytest.raises(ValueError, match="target labels need the labels y of the source"):
        im.MeanDiscrepancy().fit(X, None, X_target, y_target)
    with pytest.raises(ValueError, match="y contains NaN"):
        im.MeanDiscrepancy().fit(X, np.where(y == 0, np.nan, y), X_target, y_target)


@pytest.mark.parametrize("method", [im.CORAL(), im.CORAL(ridge=0.0), im.MeanDiscrepancy()])
def test_domain_numbers_give_the_same_rows_as_two_arrays(method):
    X, X_target = two_covariances()
    rows, domain, order = stacked(X, X_target)
    domain[domain >= 0] = 0
    direct = method.fit(X, None, X_target)
    expected = np.concatenate([direct.transform(X, domain="source"), direct.transform(X_target)])[order]
    np.testing.assert_allclose(method.fit_transform(rows, sample_domain=domain), expected, atol=1e-9)
    np.testing.assert_allclose(method.transform(rows, domain=domain), expected, atol=1e-9)


def test_coral_helps_a_linear_model_across_a_scaled_and_shifted_target():
    X, y, _, _ = shifted_classes(0.0, 0)
    fresh, y_target, _, _ = shifted_classes(0.0, 1)
    X_target = fresh * np.geomspace(0.2, 5, 10) - 4
    coral = im.CORAL(ridge=0.0)
    Z = coral.fit_transform(X, y, X_target)
    raw = LogisticRegression().fit(X, y).score(X_target, y_target)
    aligned = LogisticRegression().fit(Z, y).score(coral.transform(X_target), y_target)
    assert raw < 0.7 < 0.85 < aligned
