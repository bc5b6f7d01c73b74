"""TrAdaBoost and TrAdaBoost.R2 against their loops, written out."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

STUMP = DecisionTreeClassifier(max_depth=2, random_state=0)
TREE = DecisionTreeRegressor(max_depth=3, random_state=0)
RIDGE = Ridge()


def classes(seed=0, n_target=40):
    """Three classes; the target is turned by a quarter circle, so much of the source misleads."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((160 + n_target, 4))
    y = np.digitize(X[:, 0] + 0.3 * rng.standard_normal(len(X)), [-0.5, 0.5])
    y[160:] = np.digitize(X[160:, 0] + X[160:, 1], [-0.5, 0.5])
    return X[:160], y[:160], X[160:], y[160:]


def numbers(seed=0, n_target=30):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((120 + n_target, 3))
    y = X[:, 0] + 0.5 * X[:, 1] ** 2 + 0.1 * rng.standard_normal(len(X))
    y[120:] += X[120:, 2]
    return X[:120], y[:120], X[120:], y[120:]


def tradaboost(model, X, y, m, n_rounds, off_of):
    """The published loop, the last m rows being the target: the models and their errors on it."""
    n = len(X) - m
    w = np.ones(len(X)) / len(X)
    beta = 1 / (1 + np.sqrt(2 * np.log(n) / n_rounds))
    models, errors = [], []
    for _ in range(n_rounds):
        fitted = type(model)(**model.get_params()).fit(X, y, sample_weight=w * len(X))
        off = off_of(y, fitted.predict(X))
        error = np.sum(w[n:] * off[n:]) / np.sum(w[n:])
        if error > 0.5 - 1e-9:  # 0.5 in exact numbers where a round repeats the one before on the target
            break
        models.append(fitted)
        errors.append(max(error, 1e-3))
        beta_t = errors[-1] / (1 - errors[-1])
        w = w * np.concatenate([beta ** off[:n], beta_t ** -off[n:]])
        w /= w.sum()
    return models, np.array(errors)


def weighted_median(values, votes):
    """The least value that gathers half of the votes with those below it."""
    for value, _ in sorted(zip(values, votes, strict=True)):
        if sum(v for other, v in zip(values, votes, strict=True) if other <= value) >= sum(votes) / 2:
            return value
    raise AssertionError


@pytest.mark.parametrize("model", [STUMP, LogisticRegression()], ids=["tree", "logistic"])
@pytest.mark.parametrize("n_rounds", [1, 4, 9])
def test_classifier_follows_the_published_loop(model, n_rounds):
    X, y, X_target, y_target = classes()
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    models, errors = tradaboost(
        model, rows, labels, len(X_target), n_rounds, lambda y, f: (y != f).astype(float)
    )
    found = im.TrAdaBoostClassifier(model, n_estimators=n_rounds).fit(X, y, X_target, y_target)
    assert len(found.estimators_) == len(models)
    np.testing.assert_allclose(np.maximum(found.estimator_errors_, 1e-3), errors, rtol=1e-6)
    first = int(np.ceil(len(models) / 2)) - 1
    votes = np.zeros((len(X), 3))
    for fitted, error in list(zip(models, errors, strict=True))[first:]:
        votes[np.arange(len(X)), fitted.predict(X)] += np.log((1 - error) / error)
    np.testing.assert_array_equal(found.predict(X), votes.argmax(axis=1))
    shares = votes / votes.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.decision_function(X), shares, atol=1e-6)


@pytest.mark.filterwarnings("ignore:TrAdaBoostClassifier stopped after one round:UserWarning")
def test_boosting_beats_its_estimator_on_joined_rows_and_on_the_target_alone():
    scores = []
    for seed in range(5):
        X, y, X_target, y_target = classes(seed, n_target=340)
        known, rest = (X_target[:40], y_target[:40]), (X_target[40:], y_target[40:])
        boosted = im.TrAdaBoostClassifier().fit(X, y, *known)
        joined = LogisticRegression().fit(*map(np.concatenate, zip((X, y), known, strict=True)))
        alone = LogisticRegression().fit(*known)
        scores.append([model.score(*rest) for model in (boosted, joined, alone)])
    boosted, joined, alone = np.mean(scores, axis=0)
    assert boosted > joined + 0.1
    assert boosted > alone


@pytest.mark.parametrize("n_rounds", [1, 4, 9])
@pytest.mark.parametrize("model", [TREE, Ridge()], ids=["tree", "ridge"])
def test_regressor_follows_the_published_loop(model, n_rounds):
    X, y, X_target, y_target = numbers()
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])

    def off_of(y, f):
        return np.abs(y - f) / np.abs(y - f).max()

    models, errors = tradaboost(model, rows, labels, len(X_target), n_rounds, off_of)
    found = im.TrAdaBoostRegressor(model, n_estimators=n_rounds).fit(X, y, X_target, y_target)
    np.testing.assert_allclose(found.estimator_errors_, errors, rtol=1e-6)
    first = int(np.ceil(len(models) / 2)) - 1
    guesses = np.array([fitted.predict(X) for fitted in models[first:]]).T
    votes = np.log((1 - errors) / errors)[first:]
    expected = [weighted_median(row, votes) for row in guesses]
    np.testing.assert_allclose(found.predict(X), expected, rtol=1e-6)


@pytest.mark.parametrize(("votes", "shift"), [([1, 1], 0.0), ([1.01, 1], 3.0), ([1, 1.01], 0.0)])
def test_two_votes_give_the_lower_value_unless_the_other_counts_more(votes, shift):
    X, y, X_target, y_target = numbers()
    model = im.TrAdaBoostRegressor().fit(X, y, X_target, y_target)
    model.estimators_ = [Ridge().fit(X, y + shift) for shift in (3.0, 0.0)]
    model.estimator_weights_ = np.array(votes)
    np.testing.assert_allclose(model.predict(X), Ridge().fit(X, y + shift).predict(X))


def adaboost_r2(model, X, y, w, m, n_rounds):
    """AdaBoost.R2 in which the first rows keep their weights and the last m their sum."""
    models, errors, w = [], [], w.copy()
    share = w[-m:].sum()
    for _ in range(n_rounds):
        there = w > 0
        fitted = type(model)(**model.get_params()).fit(X[there], y[there], sample_weight=w[there])
        off = np.abs(y - fitted.predict(X))
        off = off / off[there].max()
        error = np.sum(w * off) / np.sum(w)
        if error >= 0.5 and models:
            break
        models.append(fitted)
        errors.append(error)
        if error >= 0.5:
            break
        w[-m:] *= (error / (1 - error)) ** (1 - off[-m:])
        w[-m:] *= share / w[-m:].sum()
    errors = np.maximum(errors, 1e-3)
    return models, np.log((1 - errors) / errors) if len(models) > 1 else np.ones(1)


def test_two_stages_follow_the_published_loop():
    X, y, X_target, y_target = numbers(1, n_target=12)
    n_steps, n_rounds, m = 4, 3, len(X_target)
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    found = im.TrAdaBoostRegressor(RIDGE, two_stage=True, n_steps=n_steps, n_estimators=n_rounds, n_folds=3)
    found.fit(X, y, X_target, y_target)
    rank = np.argsort(np.argsort(y_target))  # rows dealt to three folds in the order of their labels
    start, n = m / len(rows), len(X)
    w, errors, models = np.ones(len(rows)), [], []
    for step in range(n_steps):
        share = start + step / (n_steps - 1) * (1 - start)
        if step:
            off = np.abs(labels - RIDGE.fit(rows, labels, sample_weight=w).predict(rows))
            off /= off.max()
            low, high = 0.0, 1.0
            for _ in range(200):
                beta = (low + high) / 2
                total = (w[:n] * beta ** off[:n]).sum()
                low, high = (low, beta) if total > m * (1 - share) / share else (beta, high)
            w[:n] *= beta ** off[:n] if share < 1 else 0
            assert w[n:].sum() / w.sum() == pytest.approx(share)
        lost = 0.0
        for held in range(3):
            out = np.concatenate([np.zeros(n, bool), rank % 3 == held])
            fitted = adaboost_r2(
                RIDGE, rows[~out], labels[~out], w[~out], int((rank % 3 != held).sum()), n_rounds
            )
            guesses = np.array([one.predict(rows[out]) for one in fitted[0]]).T
            lost += sum(
                (weighted_median(guess, fitted[1]) - label) ** 2
                for guess, label in zip(guesses, labels[out], strict=True)
            )
        errors.append(lost / m)
        models.append(adaboost_r2(RIDGE, rows, labels, w, m, n_rounds))
    np.testing.assert_allclose(found.step_errors_, errors, rtol=1e-6)
    assert found.step_ == np.argmin(errors)
    best, votes = models[found.step_]
    expected = [weighted_median(row, votes) for row in np.array([one.predict(X) for one in best]).T]
    np.testing.assert_allclose(found.predict(X), expected, rtol=1e-9)


def test_two_stages_give_up_a_source_that_misleads():
    scores = []
    for seed in range(3):
        X, y, X_target, y_target = numbers(seed, n_target=330)
        known, rest = (X_target[:30], y_target[:30]), (X_target[30:], y_target[30:])
        plain = im.TrAdaBoostRegressor(TREE).fit(X, -y, *known)
        staged = im.TrAdaBoostRegressor(TREE, two_stage=True, n_estimators=3, n_steps=5).fit(X, -y, *known)
        assert staged.step_ > 0
        scores.append([plain.score(*rest), staged.score(*rest)])
    plain, staged = np.mean(scores, axis=0)
    assert staged > plain + 0.1


def test_a_round_without_an_error_on_the_target_has_a_finite_vote():
    X, y, X_target, y_target = shifted_classes(0.0, 0, n=60)
    X_target[:, 1] += 20 * y_target
    X[:, 1] += 20 * y
    model = im.TrAdaBoostClassifier(n_estimators=4).fit(X, y, X_target, y_target)
    np.testing.assert_array_equal(model.estimator_errors_, 0)
    np.testing.assert_allclose(model.estimator_weights_, [0, *[np.log(999)] * 3])
    assert model.score(X_target, y_target) == 1


def test_a_first_round_of_half_errors_is_said_and_kept():
    X, y, X_target, _ = shifted_classes(0.0, 0, n=60)
    with pytest.warns(UserWarning, match="stopped after one round, with an error of .* on the target"):
        model = im.TrAdaBoostClassifier().fit(
            X, y, X_target[:5], 1 - LogisticRegression().fit(X, y).predict(X_target[:5])
        )
    assert len(model.estimators_) == 1
    assert model.score(X, y) > 0.8


def test_source_rows_without_error_shrink_where_the_others_are_not_enough():
    """Half of the source is fitted exactly: their weights fall too, for the target to get its share."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 2))
    y = X[:, 0].copy()
    model = im.TrAdaBoostRegressor(Ridge(alpha=1e-9), two_stage=True, n_steps=3, n_estimators=2)
    model.fit(X, y, X[:10] + 1, y[:10] + 1)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (im.TrAdaBoostClassifier(Ridge()), TypeError, "estimator must be a classifier, got Ridge"),
        (im.TrAdaBoostRegressor(LogisticRegression()), TypeError, "estimator must be a regressor"),
        (im.TrAdaBoostClassifier("tree"), TypeError, "estimator must be a classifier, got str"),
        (
            im.TrAdaBoostClassifier(KNeighborsClassifier()),
            ValueError,
            "must take sample_weight in fit, which KN",
        ),
        (
            im.TrAdaBoostClassifier(n_estimators=0),
            ValueError,
            "n_estimators must be an integer of at least 1",
        ),
        (im.TrAdaBoostRegressor(two_stage="yes"), ValueError, "two_stage must be True or False, got 'yes'"),
        (
            im.TrAdaBoostRegressor(two_stage=True, n_steps=1),
            ValueError,
            "n_steps must be an integer of at least 2",
        ),
        (
            im.TrAdaBoostRegressor(n_folds=1.5),
            ValueError,
            "n_folds must be an integer of at least 2, got 1.5",
        ),
    ],
    ids=range(8),
)
def test_parameters_out_of_range_are_refused(model, error, message):
    X, y, X_target, y_target = shifted_classes(0.0, 0, n=20)
    with pytest.raises(error, match=message):
        model.fit(X, y, X_target, y_target)


def test_two_stages_need_two_labelled_target_rows():
    X, y, X_target, y_target = numbers()
    with pytest.raises(ValueError, match="at least 2 labelled target rows to cross-validate, got 1"):
        im.TrAdaBoostRegressor(two_stage=True).fit(X, y, X_target[:1], y_target[:1])


@pytest.mark.parametrize("two_stage", [False, True])
def test_errors_of_rounding_are_none(two_stage):
    """Equal labels are met up to the last digit; relative to the largest, that would be an error of 1."""
    X, _, X_target, _ = numbers()
    y, y_target = np.full(len(X), 0.1), np.full(len(X_target), 0.1)
    model = im.TrAdaBoostRegressor(two_stage=two_stage).fit(X, y, X_target, y_target)
    np.testing.assert_array_equal(model.estimator_errors_, 0)
    np.testing.assert_allclose(model.predict(X), 0.1)


def refused(model, y, y_target, **more):
    X, _, X_target, _ = numbers()
    if more:
        rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
        return model.fit(rows, labels, **more)
    return model.fit(X, y, X_target, y_target)


MODELS = [
    im.TrAdaBoostClassifier(),
    im.RegularizedTransferClassifier(),
    im.EasyTL(),
    im.TrAdaBoostRegressor(),
    im.RegularizedTransferRegressor(),
    im.AugmentedRidge(),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_labels_of_several_kinds_are_refused(model):
    y = np.arange(120) % 2
    with pytest.raises(ValueError, match="y_target must hold labels of one kind, got NoneType and int"):
        refused(model, y, [None, *[1] * 29])
    with pytest.raises(ValueError, match="y must hold labels of one kind, got int and str"):
        refused(model, np.array(["a", 1] * 60, dtype=object), [1] * 30)


@pytest.mark.parametrize("model", MODELS[3:], ids=lambda model: type(model).__name__)
def test_labels_that_are_no_numbers_to_compute_with_are_refused(model):
    y = np.arange(120.0)
    with pytest.raises(ValueError, match="y must hold numbers, got text such as 'a'"):
        refused(model, ["a"] * 120, y[:30])
    with pytest.raises(ValueError, match="the squares of y_target must stay in the range of float64"):
        refused(model, y, 1e160 * y[:30])
    given = refused(model, y.astype(object), y[:30].astype(object)).predict(np.ones((1, 3)))
    assert given == refused(model, y, y[:30]).predict(np.ones((1, 3)))


@pytest.mark.parametrize("model", MODELS[:2] + MODELS[3:], ids=lambda model: type(model).__name__)
def test_labelled_target_rows_of_weight_0_are_not_there(model):
    domain = np.repeat([0, -1], [120, 30])
    weight = np.where(np.arange(150) < 125, 1.0, 0.0)
    y = np.arange(150) % 2
    forms = {"sample_domain": domain, "sample_weight": weight, "target_labelled": np.arange(150) >= 125}
    with pytest.raises(ValueError, match="needs labelled target rows of positive weight"):
        refused(model, y[:120], y[120:], **forms)
