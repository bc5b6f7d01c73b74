"""Linear models around the source's weights: against normal equations, slopes of zero, and plain models."""

import isthmus as im
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor


def numbers(n_target, d=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((80 + n_target, d)) + 3
    w = rng.standard_normal(d)
    y = X @ w + 2 + 0.1 * rng.standard_normal(len(X))
    y[80:] += X[80:, 0] - 5
    return X[:80], y[:80], X[80:], y[80:]


def classes(n_classes=3, n_target=25, d=5, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_classes, d))
    y = rng.integers(0, n_classes, 150 + n_target)
    y[150 : 150 + n_classes] = np.arange(n_classes)
    X = centres[y] + rng.standard_normal((len(y), d)) + 2
    X[150:, 0] += 1
    return X[:150], y[:150], X[150:], y[150:]


@pytest.mark.parametrize(("n_target", "reg"), [(40, 0.1), (40, 10.0), (3, 1.0), (1, 1.0)])
def test_regressor_solves_the_normal_equations_around_the_source(n_target, reg):
    X, y, X_target, y_target = numbers(n_target)
    source = Ridge(2.0).fit(X, y)
    model = im.RegularizedTransferRegressor(Ridge(2.0), reg=reg).fit(X, y, X_target, y_target)
    ones = np.column_stack([X_target, np.ones(n_target)])
    penalty = np.diag([reg] * 5 + [0.0])
    right = ones.T @ y_target + penalty @ np.append(source.coef_, 0.0)
    expected = np.linalg.solve(ones.T @ ones + penalty, right)
    np.testing.assert_allclose(np.append(model.coef_, model.intercept_), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.source_coef_, source.coef_, rtol=1e-12)
    np.testing.assert_allclose(model.predict(X), X @ expected[:5] + expected[5], rtol=1e-9)


def test_regressor_chooses_reg_by_leaving_out_each_target_row():
    X, y, X_target, y_target = numbers(9)
    regs = [0.01, 0.3, 4.0, 60.0]
    model = im.RegularizedTransferRegressor(reg=regs).fit(X, y, X_target, y_target)
    lost = []
    for reg in regs:
        errors = []
        for i in range(9):
            rest = np.arange(9) != i
            one = im.RegularizedTransferRegressor(reg=reg).fit(X, y, X_target[rest], y_target[rest])
            errors.append((one.predict(X_target[[i]])[0] - y_target[i]) ** 2)
        lost.append(np.mean(errors))
    assert model.reg_ == regs[int(np.argmin(lost))]
    assert 0 < int(np.argmin(lost)) < 3


def slope(model, reg, X, code, n_classes):
    """The slope of the published objective by the weights and by the intercepts."""
    if n_classes == 2:
        surplus = 1 / (1 + np.exp(-(X @ model.coef_[0] + model.intercept_[0]))) - code
        return surplus @ X + reg * (model.coef_ - model.source_coef_)[0], surplus.sum()
    surplus = softmax(X @ model.coef_.T + model.intercept_, axis=1) - np.eye(n_classes)[code]
    return surplus.T @ X + reg * (model.coef_ - model.source_coef_), surplus.sum(axis=0)


@pytest.mark.parametrize(("n_classes", "d", "reg"), [(2, 5, 0.1), (3, 5, 1.0), (4, 60, 0.5), (2, 60, 20.0)])
def test_classifier_is_where_the_slope_is_zero(n_classes, d, reg):
    X, y, X_target, y_target = classes(n_classes, d=d)
    model = im.RegularizedTransferClassifier(reg=reg).fit(X, y, X_target, y_target)
    by_coef, by_intercept = slope(model, reg, X_target, y_target, n_classes)
    assert np.abs(by_coef).max() < 1e-5 and np.abs(by_intercept).max() < 1e-5
    assert np.abs(model.coef_ - model.source_coef_).max() > 1e-3
    scores = X @ model.coef_.T + model.intercept_
    p = softmax(scores if n_classes > 2 else np.hstack([0 * scores, scores]), axis=1)
    np.testing.assert_allclose(model.predict_proba(X), p, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), p.argmax(axis=1))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_around_zero_it_is_logistic_regression(n_classes):
    X, y, X_target, y_target = classes(n_classes)
    source = LogisticRegression().fit(X, y)
    source.coef_, source.intercept_ = 0 * source.coef_, 0 * source.intercept_
    model = im.RegularizedTransferClassifier(source, reg=0.5).fit(X, y, X_target, y_target)
    plain = LogisticRegression(C=2.0, tol=1e-10, max_iter=10000).fit(X_target, y_target)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_large_reg_keeps_the_source_and_a_small_one_leaves_it(n_classes):
    X, y, X_target, y_target = classes(n_classes)
    near, far = (
        im.RegularizedTransferClassifier(reg=reg).fit(X, y, X_target, y_target) for reg in (1e8, 1e-2)
    )
    np.testing.assert_allclose(near.coef_, near.source_coef_, atol=1e-6)
    loss = [-np.log(m.predict_proba(X_target)[np.arange(25), y_target]).sum() for m in (near, far)]
    assert loss[1] < 0.7 * loss[0]


def test_a_class_that_the_target_does_not_show_keeps_its_score_at_the_mean_row():
    X, y, X_target, y_target = classes(4)
    seen = y_target != 2
    X_target, y_target = X_target[seen], y_target[seen]
    model = im.RegularizedTransferClassifier().fit(X, y, X_target, y_target)
    by_coef, by_intercept = slope(model, 1.0, X_target, y_target, 4)
    mean = X_target.mean(axis=0)
    # The score at the mean row being held, weights act on what a row is beside it.
    assert np.abs(by_coef - np.outer(by_intercept, mean)).max() < 1e-5
    assert np.ptp(np.delete(by_intercept, 2)) < 1e-5  # the others move by amounts that sum to 0
    moved = (model.coef_ - model.source_coef_) @ mean + model.intercept_ - model.source_intercept_
    assert moved[2] == pytest.approx(0, abs=1e-9) and moved.sum() == pytest.approx(0, abs=1e-9)
    assert (model.predict(X[y == 2]) == 2).any()


def test_one_class_in_the_target_is_enough():
    X, y, X_target, y_target = classes(2)
    model = im.RegularizedTransferClassifier().fit(X, y, X_target[y_target == 1], y_target[y_target == 1])
    mean = X_target[y_target == 1].mean(axis=0)
    before = model.source_coef_ @ mean + model.source_intercept_
    np.testing.assert_allclose(model.coef_ @ mean + model.intercept_, before, atol=1e-9)
    by_coef, by_intercept = slope(model, 1.0, X_target[y_target == 1], y_target[y_target == 1], 2)
    np.testing.assert_allclose(by_coef, by_intercept * mean, atol=1e-5)


def test_a_class_that_the_source_lacks_is_learned():
    X, y, X_target, y_target = classes(3, n_target=60)
    source = y != 1
    model = im.RegularizedTransferClassifier(reg=0.1).fit(X[source], y[source], X_target, y_target)
    assert model.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(model.source_coef_[1], 0)
    two = LogisticRegression().fit(X[source], y[source])
    given = im.RegularizedTransferClassifier(two, reg=1e8).fit(X[source], y[source], X_target, y_target)
    p = softmax((X @ given.source_coef_.T + given.source_intercept_)[:, [0, 2]], axis=1)
    np.testing.assert_allclose(p, two.predict_proba(X), atol=1e-12)
    assert (model.predict(X_target)[y_target == 1] == 1).mean() > 0.5


def test_classifier_chooses_reg_by_cross_validation_on_the_target():
    X, y, X_target, y_target = classes(3, n_target=14)
    regs = [1e-3, 0.1, 3.0, 1e3]
    model = im.RegularizedTransferClassifier(reg=regs).fit(X, y, X_target, y_target)
    fold = np.empty(14, int)  # rows dealt in the order of their class, then of their columns
    order = sorted(range(14), key=lambda i: (y_target[i], *X_target[i]))
    fold[order] = np.arange(14) % 5
    lost = []
    for reg in regs:
        total = 0.0
        for held in range(5):
            rest, out = fold != held, fold == held
            one = im.RegularizedTransferClassifier(reg=reg).fit(X, y, X_target[rest], y_target[rest])
            total -= np.log(one.predict_proba(X_target[out])[np.arange(out.sum()), y_target[out]]).sum()
        lost.append(total)
    assert model.reg_ == regs[int(np.argmin(lost))]
    alone = im.RegularizedTransferClassifier(reg=model.reg_).fit(X, y, X_target, y_target)
    np.testing.assert_array_equal(model.coef_, alone.coef_)


@pytest.mark.parametrize("source", [LogisticRegression(), im.LinearSourceClassifier(), LinearSVC()])
def test_a_fitted_source_is_taken_as_it_is(source):
    X, y, X_target, y_target = classes(3)
    source.fit(X + 1, y)
    model = im.RegularizedTransferClassifier(source, reg=1e9).fit(X, y, X_target, y_target)
    coef = source.coefs_[0].T if hasattr(source, "coefs_") else source.coef_
    np.testing.assert_allclose(model.source_coef_, coef)
    cloned = clone(im.RegularizedTransferClassifier(FrozenEstimator(source), reg=1e9))
    np.testing.assert_allclose(cloned.fit(X, y, X_target, y_target).source_coef_, coef)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (
            im.RegularizedTransferClassifier(Ridge()),
            TypeError,
            "source must be a linear classifier, got Ridge",
        ),
        (im.RegularizedTransferRegressor("ridge"), TypeError, "source must be a linear regressor, got str"),
        (
            im.RegularizedTransferRegressor(DecisionTreeRegressor()),
            TypeError,
            "a linear model with coef_ and",
        ),
        (im.RegularizedTransferRegressor(reg=0), ValueError, "reg must be a finite number above 0"),
        (im.RegularizedTransferRegressor(reg=[]), ValueError, "reg must hold at least one number"),
        (im.RegularizedTransferRegressor(reg=[1.0, "2"]), ValueError, "reg must be a finite number above 0"),
        (
            im.RegularizedTransferRegressor(Ridge().fit(np.ones((3, 2)), np.arange(3))),
            ValueError,
            "source must take X's width d = 5, got a model fitted on 2 features",
        ),
        (
            im.RegularizedTransferClassifier(LogisticRegression().fit(np.eye(5), list("ababa"))),
            ValueError,
            "y must hold labels like the classes of source, .'a', 'b'., got .0, 1",
        ),
    ],
    ids=range(8),
)
def test_what_does_not_fit_is_refused(model, error, message):
    X, y, X_target, y_target = classes(3)
    with pytest.raises(error, match=message):
        model.fit(X, y, X_target, y_target)


@pytest.mark.parametrize("kind", [im.RegularizedTransferClassifier, im.RegularizedTransferRegressor])
def test_choosing_reg_needs_two_target_rows(kind):
    X, y, X_target, y_target = classes(3)
    with pytest.raises(ValueError, match="choosing reg needs at least 2 labelled target rows, got 1"):
        kind(reg=None).fit(X, y, X_target[:1], y_target[:1])
