"""Scores of a model without target labels: each function is its formula."""

import isthmus as im
import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_blas_thread():
    """The matrices are small: several threads would mostly wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


def test_importance_weighted_accuracy(rng):
    y, guess, weight = rng.integers(0, 3, 50), rng.integers(0, 3, 50), rng.exponential(size=50)
    expected = np.sum(weight * (y == guess)) / np.sum(weight)
    for scale in (1.0, 1e-200, 1e200):
        found = im.importance_weighted_score(y, guess, scale * weight, metric=sklearn.metrics.accuracy_score)
        assert found == pytest.approx(expected, rel=1e-12)


def test_dev_is_the_weighted_risk_less_what_the_weights_explain(rng):
    loss, w = rng.exponential(size=80), rng.exponential(size=80)
    cov = np.cov(w * loss, w)
    expected = np.mean(w * loss) - cov[0, 1] / cov[1, 1] * (np.mean(w) - 1)
    assert im.dev_risk(loss, w) == pytest.approx(expected, rel=1e-12)


def test_dev_of_a_constant_loss_is_that_loss(rng):
    """Then w l is explained by w entirely: the control variate leaves no error, normalised or not."""
    assert im.dev_risk(np.full(40, 0.7), 3 * rng.exponential(size=40)) == pytest.approx(0.7, rel=1e-12)


def test_dev_without_spread_of_the_weights_is_the_mean_loss(rng):
    loss = rng.exponential(size=40)
    assert im.dev_risk(loss, np.ones(40)) == pytest.approx(loss.mean(), rel=1e-15)


def test_dev_takes_the_rounding_of_equal_weights_for_no_spread(rng):
    for weight in rng.exponential(size=20):
        loss = rng.exponential(size=37)
        found = im.dev_risk(loss, np.full(37, weight))
        assert found == pytest.approx(weight * loss.mean(), rel=1e-12)


def test_entropy_of_probabilities_with_zeros():
    p = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert im.prediction_entropy(p) == pytest.approx((0 + np.log(2) + np.log(3)) / 3, rel=1e-14)


@pytest.mark.parametrize("temperature", [0.05, 0.7])
def test_soft_neighborhood_density_from_its_definition(rng, temperature, monkeypatch):
    p = rng.dirichlet(np.full(4, 0.3), size=37)
    total = 0.0
    for i in range(37):
        s = np.array([p[i] @ p[j] / np.linalg.norm(p[i]) / np.linalg.norm(p[j]) for j in range(37) if j != i])
        d = np.exp(s / temperature)
        d /= d.sum()
        total -= np.sum(d * np.log(d))
    found = im.soft_neighborhood_density(p, temperature=temperature)
    assert found == pytest.approx(total / 37, rel=1e-12)
    monkeypatch.setattr("isthmus.unlabelled.BLOCK", 5 * 37)  # blocks of 5 rows, the last of 2
    assert im.soft_neighborhood_density(p, temperature=temperature) == pytest.approx(found, rel=1e-13)


def test_soft_neighborhood_density_of_equal_rows_is_log_of_the_others():
    assert im.soft_neighborhood_density(np.tile([0.2, 0.8], (9, 1))) == pytest.approx(np.log(8), rel=1e-14)


def test_soft_neighborhood_density_at_a_tiny_temperature_stays_finite(rng):
    p = rng.dirichlet(np.ones(3), size=20)
    with np.errstate(all="raise", under="ignore"):
        assert im.soft_neighborhood_density(p, temperature=1e-6) == pytest.approx(0.0, abs=1e-9)


def test_density_ratio_of_normal_samples():
    """N(0, 1) against N(1, 1): the logarithm of the ratio is x - 1/2, whatever the sizes."""
    rng = np.random.default_rng(0)
    X, X_target = rng.normal(size=(4000, 1)), 1 + rng.normal(size=(1500, 1))
    weight = im.density_ratio(X, X_target)
    assert np.abs(np.log(weight) - (X[:, 0] - 0.5)).max() < 0.35
    assert np.mean(weight) == pytest.approx(1, abs=0.1)


def test_density_ratio_takes_a_classifier_and_stays_finite_when_it_is_sure():
    rng = np.random.default_rng(0)
    X, X_target = rng.normal(size=(40, 2)), 50 + rng.normal(size=(40, 2))
    weight = im.density_ratio(X, X_target, classifier=KNeighborsClassifier(1))
    assert (weight > 0).all() and np.isfinite(weight).all()


def test_domains_need_a_classifier_with_probabilities():
    X, X_target = np.random.default_rng(0).normal(size=(2, 20, 3))
    with pytest.raises(TypeError, match="classifier must have predict_proba, got LinearSVC"):
        im.density_ratio(X, X_target, classifier=LinearSVC())


def test_no_row_judges_itself():
    """A forest that has seen a row knows its domain; without shift, out of fold, it cannot."""
    X, X_target = np.random.default_rng(0).normal(size=(2, 150, 3))
    forest = RandomForestClassifier(30, random_state=0)
    assert abs(im.proxy_a_distance(X, X_target, classifier=forest)) < 0.5


def test_proxy_a_distance_is_2_for_domains_apart_and_near_0_for_equal_ones():
    rng = np.random.default_rng(1)
    X, X_target = rng.normal(size=(200, 3)), rng.normal(size=(100, 3))
    assert im.proxy_a_distance(X, X_target + 40) == 2.0
    assert abs(im.proxy_a_distance(X, X_target)) < 1.05  # one domain is twice the other: all called source
    assert abs(im.proxy_a_distance(X[:100], X_target)) < 0.4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: im.prediction_entropy([[0.5, 0.4]]), "rows of numbers >= 0 with sum 1"),
        (lambda: im.prediction_entropy([[1.5, -0.5]]), "rows of numbers >= 0 with sum 1"),
        (lambda: im.soft_neighborhood_density([[1.0]]), "at least 2 rows, got 1"),
        (lambda: im.soft_neighborhood_density([[1.0], [1.0]], temperature=0), "temperature must be"),
        (lambda: im.dev_risk([1.0], [1.0]), "at least 2 rows"),
        (lambda: im.dev_risk([1.0, np.nan], [1.0, 1.0]), "losses contains NaN"),
        (lambda: im.dev_risk([1.0, 2.0], [1.0]), r"one entry per row, shape \(2,\)"),
        (lambda: im.dev_risk([1.0, 2.0], [0.0, 0.0]), "not all of them 0"),
        (lambda: im.density_ratio(np.zeros((3, 2)), np.zeros((3, 1))), "width d = 2"),
        (lambda: im.density_ratio(np.zeros((3, 1)), np.zeros((1, 1))), "2 rows a domain"),
        (lambda: im.proxy_a_distance(np.zeros(3), np.zeros((3, 1))), "X must be a 2-d array"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class FirstColumn(ClassifierMixin, BaseEstimator):
    """P(target | row) is the first column."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.column_stack([1 - X[:, 0], X[:, 0]])


def test_proxy_a_distance_is_the_mean_of_both_errors():
    """6 source and 2 target rows: a row is called target beyond 2 / 8; at 2 / 8 it is half a mistake."""
    X = np.array([[0.1], [0.2], [0.25], [0.3], [0.1], [0.1]])
    X_target = np.array([[0.9], [0.2]])
    error = (1.5 / 6 + 1 / 2) / 2
    found = im.proxy_a_distance(X, X_target, classifier=FirstColumn())
    assert found == pytest.approx(2 * (1 - 2 * error), rel=1e-12)
    ratio = im.density_ratio(X, X_target, classifier=FirstColumn())
    np.testing.assert_allclose(ratio, X[:, 0] / (1 - X[:, 0]) * 3, rtol=1e-12)
