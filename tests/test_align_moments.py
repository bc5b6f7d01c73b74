"""CORAL, LinearOT and MeanDiscrepancy: what the moments of the moved rows must be."""

import tracemalloc

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes, stacked, two_covariances
from isthmus.align.mathematics import pencil
from scipy import linalg
from sklearn.base import clone
from sklearn.covariance import ledoit_wolf_shrinkage, oas
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


def test_linear_ot_is_the_monge_map_of_the_covariances():
    X, X_target = two_covariances()
    root = linalg.sqrtm(covariance(X))
    inverse = np.linalg.inv(root)
    expected = inverse @ linalg.sqrtm(root @ covariance(X_target) @ root) @ inverse
    found = im.LinearOT(reg=0).fit(X, None, X_target)
    np.testing.assert_allclose(found.map_, expected, atol=1e-9)
    np.testing.assert_array_equal(found.map_, found.map_.T)
    Z = found.transform(X, domain="source")
    np.testing.assert_allclose(Z.mean(axis=0), X_target.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(covariance(Z), covariance(X_target), atol=1e-9)
    np.testing.assert_array_equal(found.transform(X_target), X_target)


def test_linear_ot_moves_the_rows_less_than_coral():
    X, X_target = two_covariances()
    moved = [
        np.mean(np.sum((method.fit_transform(X, None, X_target) - X) ** 2, axis=1))
        for method in (im.LinearOT(reg=0), im.CORAL(ridge=0))
    ]
    # Bures: the least mean squared way between two Gaussians.
    root = linalg.sqrtm(covariance(X))
    gap = X.mean(axis=0) - X_target.mean(axis=0)
    least = np.trace(
        covariance(X) + covariance(X_target) - 2 * linalg.sqrtm(root @ covariance(X_target) @ root)
    )
    assert moved[0] == pytest.approx(gap @ gap + least, rel=1e-9)
    assert moved[1] > 1.01 * moved[0]


def test_reg_of_linear_ot_is_relative_where_a_covariance_is_singular():
    rng = np.random.default_rng(0)
    X, X_target = 1e-4 * rng.standard_normal((8, 12)), 1e-4 * rng.standard_normal((50, 12))
    found = im.LinearOT(reg=0.01).fit(X, None, X_target)
    variance = (np.trace(covariance(X)) + np.trace(covariance(X_target))) / 24
    assert found.ridge_ == pytest.approx(0.01 * variance, rel=1e-9)
    added = found.ridge_ * np.eye(12)
    moved = found.map_ @ (covariance(X) + added) @ found.map_
    np.testing.assert_allclose(moved, covariance(X_target) + added, atol=1e-9 * variance)
    assert im.LinearOT(reg=0.01).fit(X_target, None, X_target[:40]).ridge_ == 0.01
    with pytest.warns(UserWarning, match=r"LinearOT shrinks: .* pass reg= to choose"):
        assert im.LinearOT(reg=0).fit(X, None, X_target).ridge_ == pytest.approx(1e-3 * variance, rel=1e-9)


@pytest.mark.parametrize("method", [im.CORAL(ridge=0.1), im.LinearOT(), im.CORAL(shrinkage=0.3)], ids=str)
def test_each_of_several_sources_has_its_own_map_to_all_targets(method):
    first, first_target = two_covariances(seed=1)
    second, second_target = two_covariances(90, 80, seed=2)
    together = clone(method).fit([first, second], X_target=[first_target, second_target])
    assert together.map_.shape == (2, 6, 6) and together.mean_source_.shape == (2, 6)
    goal = np.concatenate([first_target, second_target])
    alone = [clone(method).fit_transform(part, None, goal) for part in (first, second)]
    rows, domain = np.concatenate([first, second, goal]), np.repeat([0, 1, -1], [300, 90, 340])
    moved = together.transform(rows, domain=domain)
    np.testing.assert_allclose(moved, np.concatenate([*alone, goal]), atol=1e-10)
    numbered = clone(method).fit(rows, sample_domain=np.where(domain == 1, 7, domain))
    np.testing.assert_allclose(numbered.transform(second, domain=np.full(90, 7)), alone[1], atol=1e-10)


@pytest.mark.parametrize("method", [im.CORAL(), im.LinearOT(), im.StandardScaling()], ids=str)
def test_maps_of_several_domains_are_kept_in_a_file(method, tmp_path):
    parts = [*two_covariances(40, 30), *two_covariances(20, 25, seed=1)]
    fitted = clone(method).fit(parts[:2], X_target=parts[2:])
    im.save(fitted, tmp_path / "model")
    rows, domain = np.concatenate(parts), np.repeat([0, 1, -1, -2], [len(part) for part in parts])
    np.testing.assert_array_equal(
        im.load(tmp_path / "model").transform(rows, domain=domain), fitted.transform(rows, domain=domain)
    )


def test_a_source_of_weight_zero_is_named():
    first, target = two_covariances()
    with pytest.raises(ValueError, match="positive on a row of source 1, got zeros only"):
        im.CORAL().fit([first, first], X_target=target, sample_weight=np.repeat([1.0, 0.0], 300))


@pytest.mark.parametrize("shape", [(40, 30), (300, 200), (9, 30)])
@pytest.mark.parametrize("rule", ["ledoit_wolf", "oas", 0.25])
def test_covariances_are_shrunk_as_the_rules_of_scikit_learn_say(shape, rule):
    X, X_target = two_covariances(*shape)
    coral = im.CORAL(ridge=0.0, shrinkage=rule).fit(X, None, X_target)
    shrunk = []
    for i, rows in enumerate((X, X_target)):
        amount = {"ledoit_wolf": ledoit_wolf_shrinkage, "oas": lambda rows: oas(rows)[1]}.get(rule)
        amount = rule if amount is None else amount(rows)
        assert coral.shrinkage_[i] == pytest.approx(amount, rel=1e-9)
        level = np.trace(covariance(rows)) / 6
        shrunk.append((1 - amount) * covariance(rows) + amount * level * np.eye(6))
    np.testing.assert_allclose(coral.map_.T @ shrunk[0] @ coral.map_, shrunk[1], atol=1e-9)


def test_shrinkage_makes_a_singular_covariance_usable():
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((8, 12)), rng.standard_normal((9, 12))
    coral = im.CORAL(ridge=0.0, shrinkage="oas").fit(X, None, X_target)
    assert coral.ridge_ == 0 and np.isfinite(coral.transform(X, domain="source")).all()


@pytest.mark.parametrize("shrinkage", ["lw", -0.1, 1.5, True, float("nan")])
@pytest.mark.parametrize("method", [im.CORAL, im.LinearOT])
def test_shrinkage_must_be_a_rule_or_a_share(method, shrinkage):
    with pytest.raises(
        ValueError, match="shrinkage must be a number from 0 to 1, 'ledoit_wolf', 'oas' or None"
    ):
        method(shrinkage=shrinkage).fit(*two_covariances()[:1], None, two_covariances()[1])


def test_sorted_rows_and_rows_of_weight_zero_cost_no_digits():
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((5000, 3)) + np.linspace(0, 3000, 5000)[:, None]).astype(np.float32)
    weight = np.ones(5000)
    weight[:: 5000 // pencil.ORIGIN_ROWS] = 0  # the rows whose mean the products start from
    rows[weight == 0] = 1e6
    for given in (None, weight):
        kept = rows.astype(np.float64) if given is None else rows[given > 0].astype(np.float64)
        found = pencil.moments(rows, given, dtype=np.float32)
        np.testing.assert_allclose(found.mean, kept.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(found.scatter / len(kept), covariance(kept), rtol=1e-5)


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
    with pytest.raises(ValueError, match="ridge must be a finite number of at least 0"):
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


@pytest.mark.parametrize(
    "method",
    [
        im.CORAL(),
        im.CORAL(shrinkage="ledoit_wolf"),
        im.CORAL(shrinkage="oas"),
        im.LinearOT(),
        im.MeanDiscrepancy(),
        im.MeanDiscrepancy("directions"),
    ],
    ids=str,
)
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
    with pytest.raises(ValueError, match="keep must be one of 'rest', 'directions', got 'all'"):
        im.MeanDiscrepancy(keep="all").fit(X, y, X_target)
    with pytest.raises(ValueError, match="no class is labelled on both sides"):
        im.MeanDiscrepancy().fit(X, y, X_target, y_target + 5)
    with pytest.raises(ValueError, match="target labels need the labels y of the source"):
        im.MeanDiscrepancy().fit(X, None, X_target, y_target)
    with pytest.raises(ValueError, match="y contains NaN"):
        im.MeanDiscrepancy().fit(X, np.where(y == 0, np.nan, y), X_target, y_target)


@pytest.mark.parametrize("method", [im.CORAL(), im.CORAL(ridge=0.0), im.LinearOT(), im.MeanDiscrepancy()])
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


@pytest.mark.parametrize("reg", [0, 1e-6])
def test_linear_ot_refuses_constant_rows(reg):
    with pytest.raises(ValueError, match="LinearOT needs rows that vary, got constant X and X_target"):
        im.LinearOT(reg=reg).fit(np.ones((5, 3)), None, np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([1, "a"] * 3, dtype=object), "labels of one kind, got int and str"),
        (
            np.array(["b", None] * 3, dtype=object),
            "labels of one kind, got NoneType and str",
        ),
        (np.array([0, np.nan] * 3), "contains NaN"),
        (np.eye(6, 2), "1d array"),
    ],
    ids=["mixed", "None", "nan", "2-d"],
)
@pytest.mark.parametrize("side", ["y", "y_target"])
@pytest.mark.parametrize(
    "method", [im.MeanDiscrepancy(), im.OptimalTransport("emd")], ids=["means", "transport"]
)
def test_labels_that_name_no_classes_are_refused(method, side, wrong, message):
    if isinstance(method, im.OptimalTransport):
        pytest.importorskip("ot")
    X, X_target = two_covariances(6, 6)
    good = np.array(["b", "a"] * 3) if wrong.dtype == object else np.array([0, 1] * 3)
    labels = {"y": good, "y_target": good} | {side: wrong}
    with pytest.raises(ValueError, match=message):
        clone(method).fit(X, X_target=X_target, **labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_weights_count_relative_to_each_other(dtype):
    X, X_target = (part.astype(dtype) for part in two_covariances())
    weight = np.arange(1.0, 301.0)
    small, large = (
        im.CORAL(ridge=0.1).fit(X, None, X_target, sample_weight=scale * weight) for scale in (1.0, 1e60)
    )
    np.testing.assert_allclose(large.map_, small.map_, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"sample_weight must have a finite sum, got a largest weight of 1e\+308"
    ):
        im.CORAL().fit(X, None, X_target, sample_weight=np.full(300, 1e308))


def test_a_class_of_weight_zero_is_not_there():
    X, y, X_target, y_target = shifted_classes(3.0, 0, n=60)
    y, y_target = y + 2 * (np.arange(60) % 2), y_target + 2 * (np.arange(60) % 2)
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    domain, known = np.repeat([0, -1], 60), np.ones(120, bool)
    gone = ((labels == 3) & (domain == 0)) | ((labels == 2) & (domain < 0))
    found = im.MeanDiscrepancy().fit(
        rows, labels, sample_domain=domain, target_labelled=known, sample_weight=(~gone).astype(float)
    )
    there = [part[~gone] for part in (rows, labels, domain, known)]
    expected = im.MeanDiscrepancy().fit(*there[:2], sample_domain=there[2], target_labelled=there[3])
    np.testing.assert_allclose(found.gaps_, expected.gaps_, rtol=1e-12)
