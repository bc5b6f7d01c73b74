"""Laws that hold for every estimator of `align`: the table is `alignment_table.TABLE`."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from alignment_table import TABLE
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

every = pytest.mark.parametrize("row", TABLE, ids=str)
movers = pytest.mark.parametrize("row", [row for row in TABLE if row.kind == "moves"], ids=str)

NAMES = np.array(["left", "right"])


def problem(row, n=40, dtype=np.float64):
    """Source and target rows with labels a method may see: every third target row's is known."""
    X, y, X_target, y_target = shifted_classes(1.5, 3, n=n, d=6)
    if row.numbers:
        y, y_target = X @ np.arange(6.0), X_target @ np.arange(6.0)
    labelled = np.arange(n) % 3 == 0
    return X.astype(dtype), y, X_target[: n - 4].astype(dtype), y_target[: n - 4], labelled[: n - 4]


def fitted(row, X, y, X_target, y_target, labelled, estimator=None, **extra):
    model = clone(row.estimator if estimator is None else estimator)
    known = {"y_target": y_target, "target_labelled": labelled} if row.known else {}
    return model.fit(X, y if row.labels or row.known else None, X_target, **known, **extra)


def outcome(row, model, X, X_target):
    """What the fitted estimator says of source rows and of target rows: numbers."""
    if row.kind == "weighs":
        return model.weights_, np.zeros(0)
    if row.kind == "predicts":
        found = model.predict(X_target)
        return np.zeros(0), (found if row.numbers else (found == found.max()).astype(float))
    return model.transform(X, domain="source"), model.transform(X_target)


def assert_near(found, expected, close):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = max(1.0, float(np.abs(other).max(initial=0)))
        np.testing.assert_allclose(one, other, rtol=0, atol=close * scale)


@every
def test_both_forms_of_the_domains_agree(row):
    X, y, X_target, y_target, labelled = problem(row)
    direct = outcome(row, fitted(row, X, y, X_target, y_target, labelled), X, X_target)
    order = np.random.default_rng(0).permutation(len(X) + len(X_target))
    rows, labels = np.concatenate([X, X_target])[order], np.concatenate([y, y_target])[order]
    domain = np.repeat([0, -1], [len(X), len(X_target)])[order]
    known = np.concatenate([np.zeros(len(X), bool), labelled])[order]
    stacked = clone(row.estimator).fit(
        rows, labels, sample_domain=domain, target_labelled=known if row.known else None
    )
    if row.kind == "weighs":
        found = np.empty(len(X))
        found[order[domain == 0]] = stacked.weights_
        found = (found, np.zeros(0))
    else:
        found = outcome(row, stacked, X, X_target)
    assert_near(found, direct, row.close)


@every
def test_order_of_the_rows_changes_nothing(row):
    X, y, X_target, y_target, labelled = problem(row)
    expected = outcome(row, fitted(row, X, y, X_target, y_target, labelled), X, X_target)
    rng = np.random.default_rng(1)
    a, b = rng.permutation(len(X)), rng.permutation(len(X_target))
    model = fitted(row, X[a], y[a], X_target[b], y_target[b], labelled[b])
    found = outcome(row, model, X, X_target)
    if row.kind == "weighs":
        expected = expected[0][a], expected[1]
    assert_near(found, expected, row.close)


@movers
def test_training_rows_are_moved_as_new_ones(row):
    X, y, X_target, y_target, labelled = problem(row)
    model = clone(row.estimator)
    order = np.random.default_rng(3).permutation(len(X) + len(X_target))
    rows, domain = np.concatenate([X, X_target])[order], np.repeat([0, -1], [len(X), len(X_target)])[order]
    labels = np.concatenate([y, y_target])[order]
    known = np.concatenate([np.zeros(len(X), bool), labelled])[order] if row.known else None
    moved = model.fit_transform(rows, labels, sample_domain=domain, target_labelled=known)
    assert_near([moved], [model.transform(rows, domain=domain)], row.close)
    back = np.argsort(order)
    assert_near(
        [moved[back][: len(X)]],
        [fitted(row, X, y, X_target, y_target, labelled).transform(X, domain="source")],
        row.close,
    )


@every
def test_a_weight_is_the_number_of_times_a_row_is_there(row):
    if not row.repeats:
        pytest.skip("weights are no repetitions for it")
    X, y, X_target, y_target, labelled = problem(row)
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    domain = np.repeat([0, -1], [len(X), len(X_target)])
    known = np.concatenate([np.zeros(len(X), bool), labelled])
    weight = np.random.default_rng(2).integers(0, 4, len(rows))
    again = np.repeat(np.arange(len(rows)), weight)
    weighted = clone(row.estimator).fit(
        rows, labels, sample_domain=domain, target_labelled=known if row.known else None, sample_weight=weight
    )
    repeated = clone(row.estimator).fit(
        rows[again],
        labels[again],
        sample_domain=domain[again],
        target_labelled=known[again] if row.known else None,
    )
    found, expected = (outcome(row, model, X, X_target) for model in (weighted, repeated))
    if row.kind == "weighs":
        seen = weight[: len(X)] > 0
        first = np.flatnonzero(np.diff(again[again < len(X)], prepend=-1))
        found, expected = (found[0][seen], found[1]), (expected[0][first], expected[1])
    assert_near(found, expected, max(row.close, 1e-8))


@every
def test_float32_is_kept_and_near_float64(row):
    X, y, X_target, y_target, labelled = problem(row)
    wide = outcome(row, fitted(row, X, y, X_target, y_target, labelled), X, X_target)
    X, X_target = X.astype(np.float32), X_target.astype(np.float32)
    narrow = outcome(row, fitted(row, X, y, X_target, y_target, labelled), X, X_target)
    if row.kind == "moves":
        assert narrow[0].dtype == narrow[1].dtype == np.float32
    assert_near(narrow, wide, max(row.close, 2e-3))


@every
def test_fitting_again_gives_the_same_bits(row):
    X, y, X_target, y_target, labelled = problem(row)
    model = fitted(row, X, y, X_target, y_target, labelled)
    first = outcome(row, model, X, X_target)
    known = {"y_target": y_target, "target_labelled": labelled} if row.known else {}
    again = outcome(row, model.fit(X, y, X_target, **known), X, X_target)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


@every
def test_labels_may_be_text(row):
    if row.numbers:
        pytest.skip("a regressor")
    X, y, X_target, y_target, labelled = problem(row)
    numbers = outcome(row, fitted(row, X, y, X_target, y_target, labelled), X, X_target)
    text = fitted(row, X, NAMES[y], X_target, NAMES[y_target], labelled)
    assert_near(outcome_of_text(row, text, X, X_target), numbers, row.close)


def outcome_of_text(row, model, X, X_target):
    if row.kind != "predicts":
        return outcome(row, model, X, X_target)
    return np.zeros(0), (model.predict(X_target) == "right").astype(float)


@every
def test_model_selection_works_with_domain_numbers(row):
    X, y, X_target, y_target, labelled = problem(row)
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    domain = np.repeat([0, -1], [len(X), len(X_target)])
    known = np.concatenate([np.zeros(len(X), bool), labelled])
    params = {"sample_domain": domain} | ({"target_labelled": known} if row.known else {})
    folds = StratifiedKFold(2, shuffle=True, random_state=0).split(rows, domain)
    folds = list(folds)
    if row.kind == "predicts":
        model, prefix = clone(row.estimator), ""
    else:
        last = Ridge() if row.numbers else LogisticRegression(max_iter=1000)
        model, prefix = im.make_transfer_pipeline(clone(row.estimator), last), "align__"
    scores = cross_val_score(model, rows, labels, cv=folds, params=params)
    assert scores.shape == (2,) and np.isfinite(scores).all()
    search = GridSearchCV(model, {prefix + name: values for name, values in row.grid.items()} or {}, cv=folds)
    search.fit(rows, labels, **params)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(X_target).shape == (len(X_target),)


@every
def test_a_file_keeps_it_to_the_bit(row, tmp_path):
    X, y, X_target, y_target, labelled = problem(row)
    model = fitted(row, X, y, X_target, y_target, labelled)
    im.save(model, tmp_path / "model")
    again = im.load(tmp_path / "model")
    for one, other in zip(outcome(row, again, X, X_target), outcome(row, model, X, X_target), strict=True):
        np.testing.assert_array_equal(one, other)
