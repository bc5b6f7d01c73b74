"""Feature augmentation against its kernel, and the ridge regression that never forms the columns."""

import tracemalloc

import isthmus as im
import numpy as np
import pytest
from align_toys import stacked
from sklearn.linear_model import Ridge


def several(seed=0):
    """Rows of two sources and two targets, with numbers that share most of their weights."""
    rng = np.random.default_rng(seed)
    domain = rng.permutation(np.repeat([0, 3, -1, -2], [30, 25, 12, 9]))
    X = rng.standard_normal((76, 4)) + 2
    shift = {0: 0.0, 3: 0.5, -1: -1.0, -2: 2.0}
    own = np.array([shift[k] for k in domain])
    y = X @ [1.0, -1.0, 0.5, 0.0] + own * X[:, 3] + 3 * own + 0.1 * rng.standard_normal(76)
    return X, y, domain


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernel_is_twice_as_large_inside_a_domain(dtype):
    X, _, domain = several()
    X = X.astype(dtype)
    Z = im.FeatureAugmentation().fit_transform(X, sample_domain=domain)
    assert Z.shape == (76, 5 * 4) and Z.dtype == dtype
    expected = (X @ X.T) * (1 + (domain[:, None] == domain))
    np.testing.assert_allclose(Z @ Z.T, expected, rtol=1e-4 if dtype == "float32" else 1e-12)


def test_a_row_is_shared_first_and_then_in_the_block_of_its_domain():
    X, X_target = np.array([[1.0, 2.0], [5.0, 6.0]]), np.array([[3.0, 4.0], [7.0, 8.0]])
    model = im.FeatureAugmentation(intercept=True).fit(X, X_target=X_target)
    assert model.domains_.tolist() == [-1, 0]
    assert model.transform(X[:1], domain="source").tolist() == [[1, 2, 0, 0, 0, 1, 2, 1]]
    assert model.transform(X_target[:1]).tolist() == [[3, 4, 3, 4, 1, 0, 0, 0]]
    assert model.get_feature_names_out().shape == (8,)


def test_a_domain_unknown_in_fit_is_refused():
    X, _, domain = several()
    model = im.FeatureAugmentation().fit(X, sample_domain=domain)
    with pytest.raises(ValueError, match="domain must hold numbers known from fit, -2, -1, 0, 3, got 7"):
        model.transform(X[:2], domain=[0, 7])


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("reg", "reg_domain"), [(1.0, 1.0), (0.1, 5.0), (4.0, 0.2)])
def test_ridge_without_the_columns_equals_ridge_with_them(reg, reg_domain, intercept):
    X, y, domain = several()
    model = im.AugmentedRidge(reg=reg, reg_domain=reg_domain, intercept=intercept)
    model.fit(X, y, sample_domain=domain, target_labelled=domain < 0)
    augment = im.FeatureAugmentation(intercept=intercept)
    Z = augment.fit_transform(X - X.mean(axis=0), sample_domain=domain)
    # Columns scaled by the roots of the penalties leave one penalty of 1.
    Z /= np.sqrt(np.where(np.arange(Z.shape[1]) < 4, reg, reg_domain))
    expected = Ridge(1.0).fit(Z, y).predict(Z)
    np.testing.assert_allclose(model.predict(X, domain=domain), expected, rtol=1e-9)


def test_a_small_penalty_on_the_domains_costs_no_digits():
    """Each domain then has its own least squares, and the shared weights do not blow up."""
    X, y, domain = several()
    X *= 1e4
    model = im.AugmentedRidge(reg_domain=1e-6, reg=1e-6, intercept=True)
    model.fit(X, y, sample_domain=domain, target_labelled=domain < 0)
    for number in (0, 3, -1, -2):
        part = domain == number
        ones = np.column_stack([X[part], np.ones(part.sum())])
        expected = ones @ np.linalg.lstsq(ones, y[part], rcond=None)[0]
        found = model.predict(X[part], domain=domain[part])
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_weight_is_a_repetition_and_the_origin_does_not_matter():
    X, y, domain = several()
    weight = np.random.default_rng(1).integers(0, 4, 76)
    forms = {"sample_domain": domain, "target_labelled": domain < 0}
    weighted = im.AugmentedRidge().fit(X, y, **forms, sample_weight=weight)
    again = np.repeat(np.arange(76), weight)
    repeated = im.AugmentedRidge().fit(
        X[again] + 100, y[again], sample_domain=domain[again], target_labelled=domain[again] < 0
    )
    np.testing.assert_allclose(weighted.predict(X, domain=domain), repeated.predict(X + 100, domain=domain))


def test_a_domain_without_labels_or_unknown_has_the_shared_weights():
    X, y, domain = several()
    model = im.AugmentedRidge().fit(X, y, sample_domain=domain, target_labelled=domain == -1)
    shared = X @ model.shared_coef_ + model.shared_intercept_
    for number in (-2, 9):
        np.testing.assert_allclose(model.predict(X, domain=np.full(76, number)), shared, rtol=1e-12)
    assert np.abs(model.predict(X, domain=np.full(76, -1)) - shared).max() > 0.1


def test_several_targets_have_no_single_default():
    X, y, domain = several()
    model = im.AugmentedRidge().fit(X, y, sample_domain=domain, target_labelled=domain < 0)
    with pytest.raises(ValueError, match=r"weights for each of the target domains \[-2, -1\]: pass domain"):
        model.predict(X)
    with pytest.raises(ValueError, match="domain must be 'target' or an array of integers, got 'source'"):
        model.predict(X, domain="source")


def test_models_of_several_targets_are_kept_in_a_file(tmp_path):
    X, y, domain = several()
    forms = {"sample_domain": domain, "target_labelled": domain < 0}
    ridge, augment = im.AugmentedRidge().fit(X, y, **forms), im.FeatureAugmentation().fit(X, y, **forms)
    im.save(ridge, tmp_path / "ridge")
    im.save(augment, tmp_path / "augment")
    loaded = im.load(tmp_path / "ridge")
    np.testing.assert_array_equal(loaded.predict(X, domain=domain), ridge.predict(X, domain=domain))
    found = im.load(tmp_path / "augment").transform(X, domain=domain)
    np.testing.assert_array_equal(found, augment.transform(X, domain=domain))


def test_sharing_helps_a_target_with_few_labels():
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((200, 20)), rng.standard_normal((215, 20))
    w = rng.standard_normal(20)
    v = np.zeros(20)
    v[0] = 3.0
    y, y_target = X @ w, X_target @ (w + v) + 0.1 * rng.standard_normal(215)
    few, rest = (X_target[:15], y_target[:15]), (X_target[15:], y_target[15:])
    both = im.AugmentedRidge().fit(X, y, *few).score(*rest)
    assert both > Ridge().fit(X, y).score(*rest) + 0.05
    assert both > Ridge().fit(*few).score(*rest) + 0.05
    piped = im.make_transfer_pipeline(im.FeatureAugmentation(), Ridge()).fit(X, y, *few)
    assert piped.score(*rest) == pytest.approx(both, abs=0.02)


@pytest.mark.parametrize("name", ["reg", "reg_domain"])
@pytest.mark.parametrize("value", [0, -1.0, np.nan, True, "1"])
def test_penalties_out_of_range_are_refused(name, value):
    X, X_target = np.arange(8.0).reshape(4, 2), np.ones((2, 2))
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0"):
        im.AugmentedRidge(**{name: value}).fit(X, X[:, 0], X_target, [1.0, 2.0])


def test_both_forms_of_fit_agree():
    X, y, domain = several()
    source, target = domain >= 0, domain == -1
    keep = source | target
    numbers = np.where(domain >= 0, 0, -1)
    direct = im.AugmentedRidge().fit(X[source], y[source], X[target], y[target])
    rows, numbers, order = stacked(X[source], X[target])
    labels = np.concatenate([y[source], y[target]])[order]
    one = np.where(numbers >= 0, 0, -1)
    other = im.AugmentedRidge().fit(rows, labels, sample_domain=one, target_labelled=one < 0)
    np.testing.assert_allclose(other.coef_, direct.coef_, rtol=1e-9)
    assert keep.sum() == len(rows)


@pytest.mark.parametrize("model", [im.AugmentedRidge, im.FeatureAugmentation])
@pytest.mark.parametrize("value", [np.ones(2), "yes"])
def test_an_intercept_is_true_or_false(model, value):
    X, y, domain = several()
    with pytest.raises(ValueError, match="intercept must be True or False"):
        model(intercept=value).fit(X, y, sample_domain=domain, target_labelled=domain < 0)


def test_rows_are_widened_to_float64_block_by_block():
    X = np.random.default_rng(0).standard_normal((60_000, 40)).astype(np.float32)
    tracemalloc.start()
    im.AugmentedRidge().fit(X[:50_000], X[:50_000, 0], X[50_000:], X[50_000:, 0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * X.nbytes
