"""What classifiers and regressors for targets with few labels keep to, beside `test_align_laws`."""

import isthmus as im
import numpy as np
import pandas as pd
import pytest
from align_toys import shifted_classes
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

PREDICTORS = [
    im.EasyTL(),
    im.EasyTL(align=None),
    im.EasyTL(align=im.CORAL()),
    im.TrAdaBoostClassifier(),
    im.TrAdaBoostRegressor(),
    im.TrAdaBoostRegressor(two_stage=True, n_estimators=2, n_steps=3, n_folds=3),
    im.RegularizedTransferClassifier(),
    im.RegularizedTransferClassifier(reg=[0.1, 10.0]),
    im.RegularizedTransferRegressor(),
    im.RegularizedTransferRegressor(reg=None),
    im.AugmentedRidge(),
]
CLASSIFIERS = [model for model in PREDICTORS if is_classifier(model)]
NEED_LABELS = [model for model in PREDICTORS if not isinstance(model, im.EasyTL)]
# Their folds, and leaving out a row, know rows and not repetitions.
BY_WEIGHT = [
    model
    for model in PREDICTORS
    if not getattr(model, "two_stage", False) and isinstance(getattr(model, "reg", 1.0), float)
]


def named(models):
    return pytest.mark.parametrize("model", models, ids=lambda model: str(model).replace("\n", ""))


def problem(model, seed=0):
    """Source and target with classes, or numbers for a regressor."""
    X, y, X_target, y_target = shifted_classes(1.0, seed, n=60, d=4)
    if is_classifier(model):
        return X, y, X_target, y_target
    return X, X[:, 1] + 0.5 * X[:, 2], X_target, X_target[:, 1] - 0.5 * X_target[:, 3]


def stacked(X, y, X_target, y_target, n_labelled=20):
    """The same in `sample_domain` form: 20 target labels known, nonsense in the place of the others."""
    domain = np.repeat([0, -1], [len(X), len(X_target)])
    labelled = np.zeros(len(domain), bool)
    labelled[len(X) : len(X) + n_labelled] = True
    labels = np.concatenate([y, y_target])
    labels[~labelled & (domain < 0)] = labels[0]
    return np.concatenate([X, X_target]), labels, {"sample_domain": domain, "target_labelled": labelled}


def answers(model, X):
    names = ("predict", "decision_function", "predict_proba")
    return [getattr(model, name)(X) for name in names if hasattr(model, name)]


@named(BY_WEIGHT)
def test_a_weight_is_a_repetition_in_both_domains(model):
    X, y, X_target, y_target = problem(model)
    rows, labels, forms = stacked(X, y, X_target, y_target)
    weight = np.random.default_rng(2).integers(0, 3, len(rows))
    weighted = clone(model).fit(rows, labels, **forms, sample_weight=weight)
    again = np.repeat(np.arange(len(rows)), weight)
    repeated = clone(model).fit(rows[again], labels[again], **{k: v[again] for k, v in forms.items()})
    plain = clone(model).fit(rows, labels, **forms)
    probes = 2 * np.random.default_rng(3).standard_normal((500, 4))
    given, same, other = (answers(fitted, probes)[0] for fitted in (weighted, repeated, plain))
    np.testing.assert_allclose(given, same, atol=1e-4)
    assert np.abs(given - other).max() > 1e-3


@named(CLASSIFIERS)
@pytest.mark.parametrize(
    "names",
    [["no", "yes"], [-1, 7], [False, True], np.array(["b", "a"], dtype=object)],
    ids=["text", "numbers", "booleans", "objects"],
)
def test_labels_may_be_of_any_kind(model, names):
    X, y, X_target, y_target = problem(model)
    names = np.array(names, dtype=getattr(names, "dtype", None))
    fitted = clone(model).fit(X, names[y], X_target[:20], names[y_target[:20]])
    assert fitted.classes_.tolist() == sorted(names)
    assert fitted.score(X_target, names[y_target]) > 0.75
    assert fitted.predict(X_target).dtype == names.dtype


@named(CLASSIFIERS)
def test_labels_of_two_kinds_are_refused(model):
    X, y, X_target, y_target = problem(model)
    with pytest.raises(ValueError, match="y and y_target must hold labels of one kind, got text on one side"):
        clone(model).fit(X, y, X_target, y_target.astype(str))


@named(PREDICTORS)
def test_labels_that_are_not_finite_are_refused(model):
    X, y, X_target, y_target = problem(model)
    spoiled = np.where(np.arange(60) == 3, np.nan, y_target)
    with pytest.raises(ValueError, match="y_target"):
        clone(model).fit(X, y.astype(float), X_target, spoiled)
    known = np.isfinite(spoiled)
    fitted = clone(model).fit(X, y.astype(float), X_target, spoiled, target_labelled=known)
    assert np.isfinite(np.asarray(fitted.predict(X_target), dtype=float)).all()


@named(CLASSIFIERS)
def test_labels_of_rows_of_weight_zero_are_not_read(model):
    X, y, X_target, y_target = problem(model)
    X, labels, domains = stacked(X, y, X_target, y_target)
    weight = np.ones(len(X))
    weight[[3, 62]] = 0
    spoiled = labels.astype(float)
    spoiled[[3, 62]] = np.nan
    fitted = clone(model).fit(X, labels, **domains, sample_weight=weight)
    again = clone(model).fit(X, spoiled, **domains, sample_weight=weight)
    np.testing.assert_array_equal(again.predict(X_target), fitted.predict(X_target))


@named(CLASSIFIERS)
def test_a_class_may_be_missing_on_either_side(model):
    X, y, X_target, y_target = problem(model)
    y, y_target = y.copy(), y_target.copy()
    y[X[:, 2] > 1], y_target[X_target[:, 2] > 1] = 2, 3
    fitted = clone(model).fit(X, y, X_target, y_target)
    assert fitted.classes_.tolist() == [0, 1, 2, 3]
    assert set(fitted.predict(X_target)) <= {0, 1, 2, 3}
    assert all(np.isfinite(answer).all() for answer in answers(fitted, X_target))


@named(CLASSIFIERS)
def test_one_class_is_refused(model):
    X, _, X_target, _ = problem(model)
    with pytest.raises(ValueError, match="y must hold at least 2 classes, got one class: 'a'"):
        clone(model).fit(X, ["a"] * 60, X_target, ["a"] * 60)


@named(NEED_LABELS)
def test_a_target_without_labels_is_refused(model):
    X, y, X_target, _ = problem(model)
    with pytest.raises(
        ValueError,
        match="needs labelled target rows of positive weight: pass y_target",
    ):
        clone(model).fit(X, y, X_target)


@named(PREDICTORS)
def test_without_a_target_it_learns_from_the_source_with_a_warning(model):
    X, y, _, _ = problem(model)
    with pytest.warns(im.NoTargetWarning, match="was fitted without target rows, so it"):
        fitted = clone(model).fit(X, y)
    assert fitted.has_target_ is False
    assert fitted.score(X, y) > 0.9


@named(PREDICTORS)
def test_without_labels_of_the_source_there_is_nothing_to_learn(model):
    X, _, X_target, y_target = problem(model)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        clone(model).fit(X, None, X_target, y_target)


@named(PREDICTORS)
def test_it_works_in_cross_validation_and_grid_search(model):
    X, y, X_target, y_target = problem(model)
    rows, labels, forms = stacked(X, y, X_target, y_target, n_labelled=60)
    order = np.random.default_rng(0).permutation(len(rows))
    rows, labels = pd.DataFrame(rows[order], columns=list("abcd")), labels[order]
    forms = {name: value[order] for name, value in forms.items()}
    scores = cross_val_score(clone(model), rows, labels, params=forms, cv=3)
    assert scores.min() > 0.2
    name = next(iter(set(model.get_params(deep=False)) & {"align", "n_estimators", "reg"}))
    values = {"align": [None, "coral"], "n_estimators": [1, 3], "reg": [1.0, 0.1]}[name]
    search = GridSearchCV(clone(model), {name: values}, cv=3).fit(rows, labels, **forms)
    assert search.best_params_[name] in values
    assert search.predict(rows).shape == (120,)
    assert search.best_estimator_.feature_names_in_.tolist() == list("abcd")


@named(PREDICTORS)
def test_it_ends_a_pipeline(model):
    X, y, X_target, y_target = problem(model)
    rows, labels, forms = stacked(X, y, X_target, y_target)
    end = type(model).__name__.lower()
    pipeline = make_pipeline(StandardScaler(), clone(model))
    pipeline.fit(rows, labels, **{f"{end}__{name}": value for name, value in forms.items()})
    expected = clone(model).fit(StandardScaler().fit_transform(rows), labels, **forms)
    scaled = StandardScaler().fit(rows).transform(X_target)
    np.testing.assert_array_equal(pipeline.predict(X_target), expected.predict(scaled))


@named([model for model in PREDICTORS if str(model) not in ("AugmentedRidge()", "EasyTL(align=CORAL())")])
def test_several_sources_and_targets_are_taken_together(model):
    X, y, X_target, y_target = problem(model)
    together = clone(model).fit(X, y, X_target, y_target)
    parts = [[part[:25], part[25:]] for part in (X, y, X_target, y_target)]
    apart = clone(model).fit(*parts)
    for one, two in zip(answers(together, X_target), answers(apart, X_target), strict=True):
        np.testing.assert_array_equal(one, two)


@named(NEED_LABELS)
def test_rows_out_of_the_range_of_float64_are_said(model):
    X, y, X_target, y_target = problem(model)
    with pytest.raises(ValueError, match="range of float64"):
        clone(model).fit(X * 1e200, y, X_target * 1e200, y_target)


def test_a_model_out_of_the_list_is_named_by_save(tmp_path):
    X, y, X_target, y_target = problem(Ridge())
    model = im.TrAdaBoostRegressor(DecisionTreeRegressor(max_depth=2)).fit(X, y, X_target, y_target)
    with pytest.raises(TypeError, match="DecisionTreeRegressor"):
        im.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    model = im.RegularizedTransferClassifier(LogisticRegression(solver="newton-cg"))
    X, y, X_target, y_target = problem(model)
    im.save(model.fit(X, y, X_target, y_target), tmp_path / "model")
    np.testing.assert_array_equal(im.load(tmp_path / "model").predict(X), model.predict(X))
