"""Fine-tuning: full, partial, features; both forms of fit; what is read, kept and refused."""

from copy import deepcopy

import isthmus as im
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

MODES = ("full", "partial", "features")
UNSETTLED = "ignore:MLPSource.* reached max_iter:sklearn.exceptions.ConvergenceWarning"
pytestmark = pytest.mark.filterwarnings(UNSETTLED)

CLASSIFIER = im.MLPSourceClassifier((16, 8), learning_rate_init=0.01, max_iter=40, random_state=0)
REGRESSOR = im.MLPSourceRegressor((16, 8), learning_rate_init=0.01, max_iter=40, random_state=0)


def domains(n_target=40):
    """Source and target rows and labels: iris, the target's columns in other units and with an offset."""
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    parts = train_test_split(X, y, test_size=75, stratify=y, random_state=0)
    X, X_target, y, y_target = parts
    X_target = X_target * [1.3, 0.8, 1.5, 0.6] + [0.5, -0.5, 0.8, 0.0]
    return X, y, X_target[:n_target], y_target[:n_target]


def real_values(X):
    return X @ np.array([1.0, -2.0, 0.5, 3.0])[: X.shape[1]]


def arrays_of(model):
    return [array for layer in zip(model.coefs_, model.intercepts_, strict=True) for array in layer]


def bits(model):
    return [array.tobytes() for array in arrays_of(model)]


# -- full --


@pytest.mark.parametrize("n_classes", [2, 3])
def test_joint_full_transfer_minimises_the_sum_of_both_mean_losses(n_classes):
    X, y, X_target, y_target = domains()
    X, y, X_target, y_target = X[y < n_classes], y[y < n_classes], X_target[y_target < n_classes], y_target
    y_target = y_target[y_target < n_classes]
    model = im.LinearSourceClassifier(alpha=2.0).fit(X, y)
    tuned = im.fine_tune(model, X_target, y_target, mode="full", X=X, y=y)
    n = len(X) + len(X_target)
    weight = np.repeat([n / len(X), n / len(X_target)], [len(X), len(X_target)])
    oracle = LogisticRegression(C=0.5, tol=1e-10, solver="newton-cholesky")
    oracle.fit(np.concatenate([X, X_target]), np.concatenate([y, y_target]), sample_weight=weight)
    np.testing.assert_allclose(tuned.predict_proba(X_target), oracle.predict_proba(X_target), atol=1e-6)


def test_joint_full_transfer_of_a_regressor_is_weighted_ridge_regression():
    X, _, X_target, _ = domains()
    y, y_target = real_values(X), real_values(X_target) + 1.0
    tuned = im.TransferRegressor(im.LinearSourceRegressor(alpha=0.5)).fit(X, y, X_target, y_target)
    n = len(X) + len(X_target)
    weight = np.repeat([n / len(X), n / len(X_target)], [len(X), len(X_target)])
    oracle = Ridge(alpha=0.5, solver="svd")
    oracle.fit(np.concatenate([X, X_target]), np.concatenate([y, y_target]), sample_weight=weight)
    np.testing.assert_allclose(tuned.predict(X_target), oracle.predict(X_target), rtol=1e-9)


@pytest.mark.parametrize("joint", [True, False])
def test_a_joint_step_follows_both_gradients_and_a_single_one_the_target_alone(joint):
    """One step over all rows, without momentum: the source's gradient is there or not."""
    X, y, X_target, y_target = domains()
    options = {"solver": "sgd", "momentum": 0.0, "batch_size": 100, "learning_rate_init": 0.1, "alpha": 0.0}
    model = im.MLPSourceClassifier((6,), "tanh", **options, max_iter=1, random_state=0).fit(X, y)
    alone = {
        name: im.fine_tune(model, *rows, mode="full", joint=False)
        for name, rows in (("source", (X, y)), ("target", (X_target, y_target)))
    }
    tuned = im.fine_tune(model, X_target, y_target, mode="full", X=X, y=y, joint=joint)
    for start, source, target, got in zip(
        arrays_of(model), *map(arrays_of, (alone["source"], alone["target"], tuned)), strict=True
    ):
        expected = (source - start if joint else 0.0) + target
        np.testing.assert_allclose(got, expected, atol=1e-13)


def test_tuning_on_the_target_alone_starts_from_the_source():
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    near = im.fine_tune(
        model, X_target, y_target, mode="full", joint=False, max_iter=1, learning_rate_init=1e-9
    )
    for a, b in zip(arrays_of(model), arrays_of(near), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    far = im.fine_tune(model, X_target, y_target, mode="full", joint=False)
    assert far.loss_curve_[-1] < far.loss_curve_[0]


# -- partial --


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (None, {0, 1, 2, 3}),
        (0, {0, 1}),
        (-1, {4, 5}),
        ([0, 1], {0, 1, 2, 3}),
        ("hidden1", {2, 3}),
        ("hidden*", {0, 1, 2, 3}),
        ("*.intercept", {1, 3, 5}),
        (["hidden0.coef", "head"], {0, 4, 5}),
        ("hidden[01].coef", {0, 2}),
    ],
    ids=str,
)
def test_frozen_parameters_are_byte_identical_and_the_others_move(solver, freeze, frozen):
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).set_params(solver=solver, alpha=10.0).fit(X, y)
    tuned = im.fine_tune(model, X_target, y_target, mode="partial", freeze=freeze, max_iter=5)
    same = {i for i, (a, b) in enumerate(zip(bits(model), bits(tuned), strict=True)) if a == b}
    assert same == frozen


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("conv*", r"must name layers of \['hidden0', 'hidden1', 'head'\].*got 'conv\*'"),
        (3, "by name, number or pattern, got 3"),
        ([0, -4], "got -4"),
        ([True], "got True"),
        ([0, 1, 2], "must leave something to train"),
        ("*", "must leave something to train"),
    ],
    ids=str,
)
def test_a_freeze_that_matches_no_layer_lists_the_layers(freeze, message):
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    with pytest.raises(ValueError, match=message):
        im.fine_tune(model, X_target, y_target, mode="partial", freeze=freeze)


# -- features --


@pytest.mark.parametrize(
    "target_model", [None, KNeighborsClassifier(3), RandomForestClassifier(5, random_state=0)], ids=str
)
def test_features_fit_the_target_model_on_the_last_hidden_layer(target_model):
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    tuned = im.fine_tune(model, X_target, y_target, mode="features", target_model=target_model)
    oracle = LogisticRegression(max_iter=1000) if target_model is None else clone(target_model)
    oracle.fit(model.features(X_target), y_target)
    np.testing.assert_array_equal(
        tuned.predict_proba(X_target), oracle.predict_proba(model.features(X_target))
    )
    np.testing.assert_array_equal(tuned.features(X_target), model.features(X_target))
    assert bits(tuned.source_) == bits(model)


def test_joint_features_weigh_both_domains_alike():
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    tuned = im.fine_tune(model, X_target, y_target, mode="features", X=X, y=y)
    rows = np.concatenate([model.features(X), model.features(X_target)])
    weight = np.repeat([len(rows) / 2 / len(X), len(rows) / 2 / len(X_target)], [len(X), len(X_target)])
    oracle = LogisticRegression(max_iter=1000)
    oracle.fit(rows, np.concatenate([y, y_target]), sample_weight=weight)
    np.testing.assert_array_equal(tuned.predict_proba(X_target), oracle.predict_proba(rows[len(X) :]))


def test_features_of_an_aligner_alone_are_the_aligned_rows():
    X, y, X_target, y_target = domains()
    transfer = im.TransferClassifier(mode="features", align=im.CORAL(), joint=False)
    transfer.fit(X, y, X_target, y_target)
    assert transfer.source_ is None
    np.testing.assert_array_equal(
        transfer.features(X, domain="source"), transfer.align_.transform(X, domain="source")
    )
    oracle = LogisticRegression(max_iter=1000).fit(X_target, y_target)
    np.testing.assert_array_equal(transfer.predict(X_target), oracle.predict(X_target))


def test_features_work_for_a_regressor():
    X, _, X_target, _ = domains()
    y, y_target = real_values(X), real_values(X_target)
    model = clone(REGRESSOR).fit(X, y)
    tuned = im.fine_tune(model, X_target, y_target, mode="features", target_model=KNeighborsRegressor(1))
    np.testing.assert_array_equal(tuned.predict(X_target), y_target)


# -- source, alignment, both forms of fit --


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fitted", [True, False])
def test_the_source_model_of_the_user_is_never_changed(mode, fitted):
    X, y, X_target, y_target = domains()
    source = clone(CLASSIFIER)
    if fitted:
        source.fit(X, y)
    before = deepcopy(vars(source))
    transfer = im.TransferClassifier(source, mode=mode).fit(X, y, X_target, y_target)
    assert before.keys() == vars(source).keys()
    if fitted:
        assert bits(source) == [array.tobytes() for array in arrays_of(_Plain(before))]
        assert bits(transfer.source_) == bits(source)


class _Plain:
    def __init__(self, attributes):
        self.__dict__.update(attributes)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("align", [None, im.CORAL(), im.MeanDiscrepancy()], ids=str)
def test_both_forms_of_fit_give_the_same_model(mode, joint, align):
    X, y, X_target, y_target = domains()
    direct = im.TransferClassifier(CLASSIFIER, mode=mode, align=align, joint=joint)
    stacked = clone(direct)
    known = np.arange(len(X_target)) % 3 > 0
    direct.fit(X, y, X_target, y_target, target_labelled=known)
    order = np.random.default_rng(0).permutation(len(X) + len(X_target))
    order = np.concatenate([np.sort(order[order < len(X)]), np.sort(order[order >= len(X)])])
    rows, labels = np.concatenate([X, X_target])[order], np.concatenate([y, y_target])[order]
    domain = np.where(order < len(X), 1, -2)
    labelled = np.concatenate([np.zeros(len(X), dtype=bool), known])[order]
    stacked.fit(rows, labels, sample_domain=domain, target_labelled=labelled)
    np.testing.assert_array_equal(direct.predict_proba(X_target), stacked.predict_proba(X_target))
    assert direct.n_labelled_ == stacked.n_labelled_ == known.sum()


@pytest.mark.parametrize("align", [im.CORAL(), im.MeanDiscrepancy()], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_labels_of_rows_that_are_not_declared_labelled_are_never_read(mode, align):
    X, y, X_target, y_target = domains()
    known = np.arange(len(X_target)) < 20
    garbage = np.where(known, y_target, 1 - y_target)
    fits = [
        im.TransferClassifier(CLASSIFIER, mode=mode, align=align).fit(
            X, y, X_target, labels, target_labelled=known
        )
        for labels in (y_target, garbage)
    ]
    np.testing.assert_array_equal(fits[0].predict_proba(X_target), fits[1].predict_proba(X_target))


@pytest.mark.parametrize("mode", MODES)
def test_an_unlabelled_target_shapes_the_alignment_only(mode):
    X, y, X_target, _ = domains()
    transfer = im.TransferClassifier(CLASSIFIER, mode=mode, align=im.CORAL()).fit(X, y, X_target)
    align = im.CORAL().fit(X, y, X_target)
    Z = align.transform(X, domain="source")
    oracle = clone(CLASSIFIER).fit(Z, y)
    rows = align.transform(X_target)
    if mode == "features":
        rows = oracle.features(rows)
        oracle = LogisticRegression(max_iter=1000).fit(oracle.features(Z), y)
    np.testing.assert_array_equal(transfer.predict(X_target), oracle.predict(rows))
    assert transfer.n_labelled_ == 0


def test_an_unlabelled_target_without_alignment_is_refused():
    X, y, X_target, y_target = domains()
    with pytest.raises(ValueError, match="pass align, or y_target"):
        im.TransferClassifier(CLASSIFIER).fit(X, y, X_target)
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    domain = np.repeat([0, -1], [len(X), len(X_target)])
    with pytest.raises(ValueError, match="pass align, or y_target"):
        im.TransferClassifier(CLASSIFIER).fit(rows, labels, sample_domain=domain)


def test_no_target_at_all_is_the_source_model_with_a_warning():
    X, y, _, _ = domains()
    transfer = im.TransferClassifier(CLASSIFIER, align=im.CORAL())
    with pytest.warns(im.NoTargetWarning, match="so it is the source model"):
        transfer.fit(X, y)
    np.testing.assert_array_equal(transfer.predict_proba(X), clone(CLASSIFIER).fit(X, y).predict_proba(X))


@pytest.mark.parametrize("kind", [im.TransferClassifier, im.TransferRegressor])
@pytest.mark.parametrize("mode", MODES)
def test_without_a_source_model_a_network_is_trained(kind, mode):
    X, y, X_target, y_target = domains()
    transfer = kind(mode=mode, random_state=0).fit(X, y, X_target, y_target)
    assert isinstance(transfer.source_, im.MLPSourceClassifier | im.MLPSourceRegressor)
    assert transfer.score(X_target, y_target) > 0.8
    again = clone(transfer).fit(X, y, X_target, y_target)
    np.testing.assert_array_equal(transfer.predict(X_target), again.predict(X_target))


def test_folds_of_cross_validation_carry_their_domains():
    X, y, X_target, y_target = domains(75)
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    domain = np.repeat([1, -1], [len(X), len(X_target)])
    folds = StratifiedKFold(3, shuffle=True, random_state=0).split(rows, 10 * domain + labels)
    model = make_pipeline(StandardScaler(), im.TransferClassifier(im.LinearSourceClassifier()))
    params = {"transferclassifier__sample_domain": domain, "transferclassifier__target_labelled": domain < 0}
    scores = cross_val_score(model, rows, labels, params=params, cv=folds)
    assert scores.min() > 0.7


def test_names_of_columns_are_kept_and_checked():
    pandas = pytest.importorskip("pandas")
    X, y, X_target, y_target = domains()
    names = ["a", "b", "c", "d"]
    source, target = (pandas.DataFrame(rows, columns=names) for rows in (X, X_target))
    transfer = im.TransferClassifier(im.LinearSourceClassifier()).fit(source, y, target, y_target)
    assert transfer.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names"):
        transfer.predict(target[["b", "a", "c", "d"]])


@pytest.mark.parametrize("mode", MODES)
def test_names_of_a_source_fitted_on_a_table_serve_the_whole_transfer(mode):
    """Warnings are errors: the model inside is not asked again for the names."""
    pandas = pytest.importorskip("pandas")
    X, y, X_target, y_target = domains()
    names = ["a", "b", "c", "d"]
    source, target = (pandas.DataFrame(rows, columns=names) for rows in (X, X_target))
    model = clone(CLASSIFIER).fit(source, y)
    tuned = im.fine_tune(model, target, y_target, mode=mode, X=source, y=y)
    transfer = im.TransferClassifier(model, mode=mode).fit(source, y, target, y_target)
    for fitted in (tuned, transfer):
        assert fitted.feature_names_in_.tolist() == names
        assert fitted.predict(target).shape == (len(target),)
    assert model.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names"):
        im.fine_tune(model, target[["b", "a", "c", "d"]], y_target, mode=mode, joint=False)


@pytest.mark.parametrize("mode", MODES)
def test_a_fitted_transfer_is_fine_tuned_behind_its_alignment(mode):
    X, y, X_target, y_target = domains(60)
    align = im.MeanDiscrepancy(keep="rest")
    transfer = im.TransferClassifier(CLASSIFIER, align=align).fit(X, y, X_target[:30], y_target[:30])
    before = bits(transfer.model_)
    tuned = im.fine_tune(transfer, X_target, y_target, mode=mode, X=X, y=y, joint=mode == "full")
    assert bits(transfer.model_) == before and transfer.n_labelled_ == 30 and tuned.n_labelled_ == 60
    rows = transfer.align_.transform(X_target)
    source = {"X": transfer.align_.transform(X, domain="source"), "y": y} if mode == "full" else {}
    direct = im.fine_tune(transfer.model_, rows, y_target, mode=mode, **source)
    np.testing.assert_array_equal(tuned.predict_proba(X_target), direct.predict_proba(rows))


@pytest.mark.parametrize("mode", MODES)
def test_a_pipeline_is_fine_tuned_behind_its_steps(mode):
    X, y, X_target, y_target = domains()
    align = im.CORAL().fit(X, y, X_target)
    scaler = StandardScaler().fit(align.transform(X, domain="source"))
    Z, Z_target = (
        scaler.transform(align.transform(rows, domain=domain))
        for rows, domain in ((X, "source"), (X_target, "target"))
    )
    model = clone(CLASSIFIER).fit(Z, y)
    pipeline = Pipeline([("align", align), ("none", "passthrough"), ("scale", scaler), ("model", model)])
    tuned = im.fine_tune(pipeline, X_target, y_target, mode=mode, X=X, y=y)
    direct = im.fine_tune(model, Z_target, y_target, mode=mode, X=Z, y=y)
    np.testing.assert_array_equal(tuned.predict_proba(X_target), direct.predict_proba(Z_target))
    assert pipeline.steps[-1][1] is model


def test_a_target_model_in_the_feature_space_can_be_refitted_but_not_tuned():
    X, y, X_target, y_target = domains()
    first = im.TransferClassifier(CLASSIFIER, mode="features", model=KNeighborsClassifier(1))
    first.fit(X, y, X_target, y_target)
    again = im.fine_tune(first, X_target, y_target, mode="features")
    assert isinstance(again.model_, KNeighborsClassifier)
    assert again.score(X_target, y_target) == 1.0
    with pytest.raises(ValueError, match="needs a model that predicts by a source model, got KNeighbors"):
        im.fine_tune(first, X_target, y_target, mode="partial")


# -- does it help --


@pytest.mark.parametrize("mode", MODES)
def test_few_target_labels_help_on_turned_digits(mode):
    X, y = load_digits(return_X_y=True)
    X, X_target, y, y_target = train_test_split(X / 16.0, y, test_size=500, stratify=y, random_state=0)
    images = X_target.reshape(-1, 8, 8)
    # A shear by one pixel: the upper half moves right, the lower half left.
    X_target = np.concatenate([np.roll(images[:, :4], 1, axis=2), images[:, 4:]], axis=1).reshape(-1, 64)
    X_tune, X_test, y_tune, y_test = train_test_split(
        X_target, y_target, train_size=50, stratify=y_target, random_state=0
    )
    model = im.MLPSourceClassifier((64,), learning_rate_init=0.01, max_iter=60, random_state=0)
    source_only = clone(model).fit(X, y).score(X_test, y_test)
    target_only = clone(model).set_params(max_iter=200).fit(X_tune, y_tune).score(X_test, y_test)
    transfer = im.TransferClassifier(model, mode=mode).fit(X, y, X_tune, y_tune)
    assert transfer.score(X_test, y_test) > max(source_only, target_only)


# -- bad input --


def test_full_joint_transfer_needs_the_source_rows():
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    with pytest.raises(ValueError, match="pass X, y or joint=False"):
        im.fine_tune(model, X_target, y_target, mode="full")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, y + 1), r"the labels of the model, \[0, 1, 2\], got \[3\] more and \[0\] missing"),
        (lambda X, y: (X[y < 2], y[y < 2]), r"got \[2\] missing"),
        (lambda X, y: (X[:, :3], y), "width d = 4, got 3|X has 3 features"),
        (lambda X, y: (X, y[:-1]), "y_target must have one label per row of X_target, 40, got 39"),
        (lambda X, y: (X + np.nan, y), r"contains NaN \(160 values, first at row 0 column 0\)"),
        (lambda X, y: (X, None), "y_target must hold one label per row of X_target, got None"),
    ],
)
def test_bad_target_rows_are_refused_by_name(mode, change, message):
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    with pytest.raises(ValueError, match=message):
        im.fine_tune(model, *change(X_target, y_target), mode=mode, joint=False)


@pytest.mark.parametrize("mode", MODES)
def test_source_labels_that_the_model_does_not_know_are_refused(mode):
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    with pytest.raises(ValueError, match=r"y must hold the labels of the model.* got \[3\] more"):
        im.fine_tune(model, X_target, y_target, mode=mode, X=X, y=y + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "all"}, "mode must be one of 'full', 'partial', 'features', got 'all'"),
        ({"mode": "full", "freeze": 0}, "freeze needs mode=\"partial\", got mode='full'"),
        ({"mode": "full", "target_model": Ridge()}, "target_model needs mode=\"features\", got mode='full'"),
        ({"mode": "partial", "X": [[0.0] * 4]}, "X and y must be given together, got X alone"),
        ({"mode": "partial", "max_iter": 0}, "max_iter must be an integer >= 1, got 0"),
    ],
    ids=str,
)
def test_arguments_that_contradict_each_other_are_refused(arguments, message):
    X, y, X_target, y_target = domains()
    model = clone(CLASSIFIER).fit(X, y)
    with pytest.raises(ValueError, match=message):
        im.fine_tune(model, X_target, y_target, **arguments)


def test_models_of_another_kind_are_refused():
    X, y, X_target, y_target = domains()
    with pytest.raises(TypeError, match=r"model must be a fitted LinearSource.*, got LogisticRegression"):
        im.fine_tune(LogisticRegression().fit(X, y), X_target, y_target, mode="partial")
    with pytest.raises(NotFittedError):
        im.fine_tune(CLASSIFIER, X_target, y_target, mode="partial")
    for source, message in (
        (LogisticRegression(), r"source must be a LinearSource.* got LogisticRegression"),
        (REGRESSOR, "TransferClassifier cannot tune a MLPSourceRegressor"),
    ):
        for options in ({}, {"mode": "features", "align": im.CORAL()}):
            with pytest.raises(TypeError, match=message):
                im.TransferClassifier(source, **options).fit(X, y, X_target, y_target)
    with pytest.raises(TypeError, match="the target model must be a classifier, got Ridge"):
        im.TransferClassifier(CLASSIFIER, mode="features", model=Ridge()).fit(X, y, X_target, y_target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, Xt, yt: (X, y, Xt[:1], yt[:1]), "X_target must have at least 2 rows, got 1"),
        (lambda X, y, Xt, yt: (X, y * 0, Xt, yt), "y must hold at least 2 classes, got one class: 0"),
        (
            lambda X, y, Xt, yt: (X, y, Xt, yt * 0),
            r"labels of y, .* got \[1, 2\] missing",
        ),
        (
            lambda X, y, Xt, yt: (X, y.astype(str), Xt, yt),
            r"got \[0, 1, 2\] more and \['0'",
        ),
        (lambda X, y, Xt, yt: (X, y, Xt[:, :2], yt), "X_target must have X's width d = 4"),
        (lambda X, y, Xt, yt: (X, y, Xt, yt[:3]), "y_target must have one label per row of X_target"),
        (lambda X, y, Xt, yt: (X, y, Xt / 0.0, yt), "X_target contains"),
        (lambda X, y, Xt, yt: (X, None, Xt, yt), "requires y to be passed"),
        (lambda X, y, Xt, yt: (X, y + np.inf, Xt, yt), "y contains infinity"),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide|invalid):RuntimeWarning")
def test_bad_rows_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        im.TransferClassifier(CLASSIFIER).fit(*change(*domains()))


def test_labelled_rows_may_miss_a_class_where_others_are_unlabelled():
    X, y, X_target, y_target = domains()
    transfer = im.TransferClassifier(CLASSIFIER).fit(X, y, X_target, y_target, target_labelled=y_target < 2)
    assert transfer.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"got \[5\] more"):
        im.TransferClassifier(CLASSIFIER).fit(
            X, y, X_target, np.where(y_target == 0, 5, y_target), target_labelled=y_target < 2
        )


def test_a_fitted_source_must_take_the_aligned_columns():
    X, y, X_target, y_target = domains()
    source = clone(CLASSIFIER).fit(X, y)
    with pytest.raises(ValueError, match="source was fitted on 4 features, got 2 aligned columns"):
        im.TransferClassifier(source, align=im.TCA(n_components=2)).fit(X, y, X_target, y_target)
    with pytest.raises(ValueError, match=r"y must hold the labels of source, \[0, 1, 2\]"):
        im.TransferClassifier(source).fit(X, y + 1, X_target, y_target + 1)


def test_a_target_model_without_probabilities_has_none():
    assert not hasattr(im.TransferRegressor(mode="features"), "predict_proba")
    transfer = im.TransferClassifier(CLASSIFIER, mode="features", model=LinearSVC())
    assert not hasattr(transfer, "predict_proba")
    X, y, X_target, y_target = domains()
    assert transfer.fit(X, y, X_target, y_target).score(X_target, y_target) > 0.8
    assert not hasattr(transfer, "predict_proba")


def test_whole_number_targets_of_a_regressor_are_not_classes_to_its_aligner():
    rng = np.random.default_rng(3)
    X, X_target = rng.standard_normal((60, 6)), rng.standard_normal((60, 6)) + 1
    y, y_target = rng.integers(0, 8, 60).astype(float), rng.integers(0, 8, 60).astype(float)
    model = im.TransferRegressor(im.LinearSourceRegressor(), align=im.MeanDiscrepancy())
    assert model.fit(X, y, X_target, y_target).align_.directions_.shape == (1, 6)
