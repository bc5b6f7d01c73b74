"""Scores of a model on a target without labels: formulas, callers, and that no target label is read."""

import warnings

import isthmus as im
import numpy as np
import pandas as pd
import pytest
import sklearn
from align_toys import shifted_classes
from conftest import oracle_mmd2
from isthmus.per_domain import aligned_rows, respond
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

SCORERS = [
    im.ImportanceWeightedScorer(),
    im.DeepEmbeddedValidation(),
    im.PredictionEntropyScorer(),
    im.SoftNeighborhoodDensity(),
    im.CircularValidation(),
    im.MMDScorer(),
    im.ProxyADistanceScorer(),
]
NEED_SOURCE = [
    scorer for scorer in SCORERS if hasattr(scorer, "set_params") and "source" in scorer.get_params()
]


@pytest.fixture(autouse=True)
def one_blas_thread():
    """The matrices are small: several threads would mostly wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


def by_name(scorer):
    return type(scorer).__name__


def toy(shift=2.0, n=60):
    return shifted_classes(shift, seed=3, n=n, d=4)


def halves(shift=2.0, labels=(0, 1)):
    """A training part and a held-out part of one problem, packed."""
    X, y, X_target, _ = toy(shift)
    y = np.array(labels)[y]
    return im.pack_domains(X[:30], X_target[:30], y[:30]), im.pack_domains(X[30:], X_target[30:], y[30:])


def fitted(align=None, model=None, labels=(0, 1)):
    train, test = halves(labels=labels)
    pipeline = im.make_transfer_pipeline(align, model or LogisticRegression())
    return pipeline.fit(train.X, train.y, sample_domain=train.sample_domain), test


def of(scorer, estimator, test, y="given"):
    return scorer(estimator, test.X, test.y if isinstance(y, str) else y, sample_domain=test.sample_domain)


class TestFormulas:
    def test_importance_weighted_accuracy(self, rng):
        y, guess, weight = rng.integers(0, 3, 50), rng.integers(0, 3, 50), rng.exponential(size=50)
        expected = np.sum(weight * (y == guess)) / np.sum(weight)
        for scale in (1.0, 1e-200, 1e200):
            found = im.importance_weighted_score(
                y, guess, scale * weight, metric=sklearn.metrics.accuracy_score
            )
            assert found == pytest.approx(expected, rel=1e-12)

    def test_dev_is_the_weighted_risk_less_what_the_weights_explain(self, rng):
        loss, w = rng.exponential(size=80), rng.exponential(size=80)
        cov = np.cov(w * loss, w)
        expected = np.mean(w * loss) - cov[0, 1] / cov[1, 1] * (np.mean(w) - 1)
        assert im.dev_risk(loss, w) == pytest.approx(expected, rel=1e-12)

    def test_dev_of_a_constant_loss_is_that_loss(self, rng):
        """Then w l is explained by w entirely: the control variate leaves no error, normalised or not."""
        assert im.dev_risk(np.full(40, 0.7), 3 * rng.exponential(size=40)) == pytest.approx(0.7, rel=1e-12)

    def test_dev_without_spread_of_the_weights_is_the_mean_loss(self, rng):
        loss = rng.exponential(size=40)
        assert im.dev_risk(loss, np.ones(40)) == pytest.approx(loss.mean(), rel=1e-15)

    def test_dev_takes_the_rounding_of_equal_weights_for_no_spread(self, rng):
        for weight in rng.exponential(size=20):
            loss = rng.exponential(size=37)
            found = im.dev_risk(loss, np.full(37, weight))
            assert found == pytest.approx(weight * loss.mean(), rel=1e-12)

    def test_entropy_of_probabilities_with_zeros(self):
        p = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
        assert im.prediction_entropy(p) == pytest.approx((0 + np.log(2) + np.log(3)) / 3, rel=1e-14)

    @pytest.mark.parametrize("temperature", [0.05, 0.7])
    def test_soft_neighborhood_density_from_its_definition(self, rng, temperature, monkeypatch):
        p = rng.dirichlet(np.full(4, 0.3), size=37)
        total = 0.0
        for i in range(37):
            s = np.array(
                [p[i] @ p[j] / np.linalg.norm(p[i]) / np.linalg.norm(p[j]) for j in range(37) if j != i]
            )
            d = np.exp(s / temperature)
            d /= d.sum()
            total -= np.sum(d * np.log(d))
        found = im.soft_neighborhood_density(p, temperature=temperature)
        assert found == pytest.approx(total / 37, rel=1e-12)
        monkeypatch.setattr("isthmus.unlabelled.BLOCK", 5 * 37)  # blocks of 5 rows, the last of 2
        assert im.soft_neighborhood_density(p, temperature=temperature) == pytest.approx(found, rel=1e-13)

    def test_soft_neighborhood_density_of_equal_rows_is_log_of_the_others(self):
        assert im.soft_neighborhood_density(np.tile([0.2, 0.8], (9, 1))) == pytest.approx(
            np.log(8), rel=1e-14
        )

    def test_soft_neighborhood_density_at_a_tiny_temperature_stays_finite(self, rng):
        p = rng.dirichlet(np.ones(3), size=20)
        with np.errstate(all="raise", under="ignore"):
            assert im.soft_neighborhood_density(p, temperature=1e-6) == pytest.approx(0.0, abs=1e-9)

    def test_density_ratio_of_normal_samples(self):
        """N(0, 1) against N(1, 1): the logarithm of the ratio is x - 1/2, whatever the sizes."""
        rng = np.random.default_rng(0)
        X, X_target = rng.normal(size=(4000, 1)), 1 + rng.normal(size=(1500, 1))
        weight = im.density_ratio(X, X_target)
        assert np.abs(np.log(weight) - (X[:, 0] - 0.5)).max() < 0.35
        assert np.mean(weight) == pytest.approx(1, abs=0.1)

    def test_density_ratio_takes_a_classifier_and_stays_finite_when_it_is_sure(self):
        rng = np.random.default_rng(0)
        X, X_target = rng.normal(size=(40, 2)), 50 + rng.normal(size=(40, 2))
        weight = im.density_ratio(X, X_target, classifier=KNeighborsClassifier(1))
        assert (weight > 0).all() and np.isfinite(weight).all()

    def test_no_row_judges_itself(self):
        """A forest that has seen a row knows its domain; without shift, out of fold, it cannot."""
        X, X_target = np.random.default_rng(0).normal(size=(2, 150, 3))
        forest = RandomForestClassifier(30, random_state=0)
        assert abs(im.proxy_a_distance(X, X_target, classifier=forest)) < 0.5

    def test_proxy_a_distance_is_2_for_domains_apart_and_near_0_for_equal_ones(self):
        rng = np.random.default_rng(1)
        X, X_target = rng.normal(size=(200, 3)), rng.normal(size=(100, 3))
        assert im.proxy_a_distance(X, X_target + 40) == 2.0
        assert (
            abs(im.proxy_a_distance(X, X_target)) < 1.05
        )  # one domain is twice the other: all called source
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
    def test_bad_input_gets_one_sentence(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestScorersAreTheirFormulas:
    @pytest.mark.parametrize(
        "align", [None, im.CORAL(), im.TCA(n_components=2)], ids=["none", "CORAL", "TCA"]
    )
    @pytest.mark.parametrize("labels", [(0, 1), ("no", "yes"), (1, -1)], ids=str)
    def test_on_aligned_rows_with_predictions_of_each_domain(self, align, labels):
        pipeline, test = fitted(align, labels=labels)
        X, X_target, y = test.X[:30], test.X[30:], test.y[:30]
        Z, Z_target = X, X_target
        if align is not None:
            Z, Z_target = pipeline.align_.transform(X, domain="source"), pipeline.align_.transform(X_target)
        proba, proba_target = pipeline.model_.predict_proba(Z), pipeline.model_.predict_proba(Z_target)
        w = im.density_ratio(Z, Z_target)
        right = proba[
            np.arange(30), (y == labels[1]).astype(int) if labels != (1, -1) else (y == 1).astype(int)
        ]
        hit = pipeline.model_.predict(Z) == y
        back = clone(pipeline).fit(X_target, pipeline.predict(X_target), X)
        expected = [
            np.sum(w * hit) / np.sum(w),
            -im.dev_risk(-np.log(right), w),
            np.mean(np.sum(proba_target * np.log(proba_target), axis=1)),
            im.soft_neighborhood_density(proba_target),
            np.mean(back.predict(X) == y),
            -oracle_mmd2(Z, Z_target, im.RBF(bandwidth=_median(Z, Z_target)), "unbiased"),
            -im.proxy_a_distance(Z, Z_target),
        ]
        for scorer, value in zip(SCORERS, expected, strict=True):
            assert of(scorer, pipeline, test) == pytest.approx(value, rel=1e-9, abs=1e-12), by_name(scorer)

    def test_order_of_the_domains_among_the_rows_does_not_matter(self):
        pipeline, test = fitted(im.CORAL())
        swap = np.r_[30:60, 0:30]
        for scorer in SCORERS:
            swapped = scorer(pipeline, test.X[swap], test.y[swap], sample_domain=test.sample_domain[swap])
            assert swapped == pytest.approx(of(scorer, pipeline, test), rel=1e-12), by_name(scorer)

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    @pytest.mark.parametrize("poison", [np.nan, None, "unknown", 99])
    def test_labels_of_target_rows_are_never_read(self, scorer, poison):
        pipeline, test = fitted(im.CORAL())
        poisoned = np.array([*test.y[:30].tolist(), *[poison] * 30], dtype=object)
        assert of(scorer, pipeline, test, poisoned) == of(scorer, pipeline, test)
        assert of(scorer, pipeline, test, test.y.astype(float)) == of(scorer, pipeline, test)

    def test_losses_of_dev(self):
        pipeline, test = fitted(im.CORAL(), LinearSVC())
        Z = pipeline.align_.transform(test.X[:30], domain="source")
        w = im.density_ratio(Z, pipeline.align_.transform(test.X[30:]))
        wrong = (pipeline.model_.predict(Z) != test.y[:30]).astype(float)
        assert of(im.DeepEmbeddedValidation(), pipeline, test) == pytest.approx(-im.dev_risk(wrong, w))
        given = im.DeepEmbeddedValidation(loss=lambda y, guess: 3.0 * (y != guess))
        assert of(given, pipeline, test) == pytest.approx(-im.dev_risk(3 * wrong, w))
        with pytest.raises(ValueError, match="loss must be 'zero_one', 'log', 'squared' or a function"):
            of(im.DeepEmbeddedValidation(loss="hinge"), pipeline, test)

    def test_a_class_the_fit_has_not_seen_has_a_large_but_finite_loss(self):
        pipeline, test = fitted()
        y = test.y.copy()
        y[:5] = 7
        assert (
            -100
            < of(im.DeepEmbeddedValidation(), pipeline, test, y)
            < of(im.DeepEmbeddedValidation(), pipeline, test)
        )

    def test_metric_and_ratio_are_the_users(self):
        pipeline, test = fitted(im.CORAL())
        guess = pipeline.predict(test.X[:30], domain="source")
        scorer = im.ImportanceWeightedScorer(
            metric=balanced_accuracy_score, ratio=lambda Z, Z_target: np.arange(len(Z)) + 1.0
        )
        expected = balanced_accuracy_score(test.y[:30], guess, sample_weight=np.arange(30) + 1.0)
        assert of(scorer, pipeline, test) == pytest.approx(expected)
        Z = pipeline.align_.transform(test.X[:30], domain="source")
        w = im.density_ratio(Z, test.X[30:], classifier=GaussianNB())
        found = of(im.ImportanceWeightedScorer(ratio=GaussianNB()), pipeline, test)
        assert found == pytest.approx(np.sum(w * (guess == test.y[:30])) / w.sum())

    def test_a_reweighting_method_gives_the_weights(self):
        pipeline, test = fitted()
        found = of(im.ImportanceWeightedScorer(ratio=FirstHalf()), pipeline, test)
        assert found == np.mean(pipeline.predict(test.X[:15]) == test.y[:15])

    def test_regressors_have_r2_and_squared_losses(self):
        X, _, X_target, _ = toy()
        y = X[:, 0] - 2 * X[:, 1]
        pipeline = im.make_transfer_pipeline(im.CORAL(), Ridge()).fit(X[:30], y[:30], X_target[:30])
        test = im.pack_domains(X[30:], X_target[30:], y[30:])
        Z = pipeline.align_.transform(X[30:], domain="source")
        w = im.density_ratio(Z, X_target[30:])
        error = (pipeline.model_.predict(Z) - y[30:]) ** 2
        r2 = 1 - np.sum(w * error) / np.sum(w * (y[30:] - np.average(y[30:], weights=w)) ** 2)
        assert of(im.ImportanceWeightedScorer(), pipeline, test) == pytest.approx(r2)
        assert of(im.DeepEmbeddedValidation(), pipeline, test) == pytest.approx(-im.dev_risk(error, w))
        back = clone(pipeline).fit(X_target[30:], pipeline.predict(X_target[30:]), X[30:]).predict(X[30:])
        circle = 1 - np.sum((back - y[30:]) ** 2) / np.sum((y[30:] - y[30:].mean()) ** 2)
        assert of(im.CircularValidation(), pipeline, test) == pytest.approx(circle)


def _median(*parts):
    rows = np.concatenate(parts)
    distance = np.sqrt(np.sum((rows[:, None] - rows[None]) ** 2, axis=2))
    return float(np.median(distance[np.triu_indices(len(rows), 1)]))


class FirstHalf(BaseEstimator):
    """A reweighting method that trusts the first half of the source."""

    def fit(self, X, X_target=None):
        self.weights_ = (np.arange(len(X)) < len(X) // 2).astype(float)
        return self


class Alike(ClassifierMixin, BaseEstimator):
    """A predictor of its own that treats both domains alike and keeps what reached its fit."""

    seen = ()

    def fit(self, X, y, X_target=None, *, sample_domain=None):
        Alike.seen = (X, y, sample_domain)
        source = np.ones(len(X), bool) if sample_domain is None else sample_domain >= 0
        self.model_ = LogisticRegression().fit(X[source], y[source])
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


class TestWhatIsAsked:
    def test_circular_validation_exchanges_the_domains_and_hides_the_source_labels(self):
        train, test = halves(labels=(5, 9))
        model = Alike().fit(train.X, train.y, sample_domain=train.sample_domain)
        guess = model.predict(test.X[30:])
        of(im.CircularValidation(), model, test)
        X, y, domain = Alike.seen
        np.testing.assert_array_equal(X, np.concatenate([test.X[30:], test.X[:30]]))
        np.testing.assert_array_equal(y[:30], guess)
        assert len(set(y[30:].tolist())) == 1
        np.testing.assert_array_equal(domain, np.repeat([0, -1], 30))
        np.testing.assert_array_equal(model.predict(test.X[30:]), guess)  # a clone was fitted, not the model

    def test_circular_validation_of_one_predicted_class(self):
        train, test = halves()
        model = LogisticRegression().fit(train.X[:30] * [0, 1, 0, 0], train.y[:30])
        far = im.pack_domains(test.X[:30], test.X[30:] + 100.0, test.y[:30])
        assert set(model.predict(far.X[30:]).tolist()) == {1}
        assert of(im.CircularValidation(), model, far) == np.mean(test.y[:30] == 1)

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_a_plain_pipeline_is_a_transfer_pipeline(self, scorer):
        train, test = halves()
        plain = make_pipeline(StandardScaler(), im.CORAL(), LogisticRegression())
        labels = np.where(train.sample_domain >= 0, train.y, np.arange(60) % 2)
        plain.fit(train.X, labels, coral__sample_domain=train.sample_domain)
        scaler, coral, model = (step for _, step in plain.steps)
        joined = im.make_transfer_pipeline(im.CORAL(), LogisticRegression())
        joined.align_, joined.model_, joined.n_features_in_ = coral, model, 4
        scaled = test._replace(X=scaler.transform(test.X))
        if isinstance(scorer, im.CircularValidation):  # the plain one is trained on all rows of the fit back
            assert 0 <= of(scorer, plain, test) <= 1
        else:
            assert of(scorer, plain, test) == pytest.approx(of(scorer, joined, scaled), rel=1e-12)

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    @pytest.mark.parametrize("mode", ["full", "features"])
    def test_transfer_classifiers(self, scorer, mode):
        train, test = halves()
        model = im.TransferClassifier(
            im.LinearSourceClassifier(), mode=mode, align=im.CORAL(), random_state=0
        )
        model.fit(train.X, train.y, sample_domain=train.sample_domain)
        assert np.isfinite(of(scorer, model, test))

    def test_transfer_classifier_answers_for_source_rows(self):
        train, test = halves()
        model = im.TransferClassifier(im.LinearSourceClassifier(), align=im.CORAL())
        model.fit(train.X, train.y, sample_domain=train.sample_domain)
        moved = model.align_.transform(test.X, domain=test.sample_domain)
        for method in ("predict", "predict_proba"):
            expected = getattr(model.model_, method)(moved)
            np.testing.assert_allclose(
                respond(model, method, test.X, test.sample_domain), expected, rtol=1e-12
            )
        np.testing.assert_allclose(
            aligned_rows(model, test.X, test.sample_domain), model.model_.features(moved), rtol=1e-12
        )

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_predictors_that_treat_both_domains_alike(self, scorer):
        train, test = halves()
        alike = Alike().fit(train.X, train.y, sample_domain=train.sample_domain)
        assert of(scorer, alike, test) == pytest.approx(of(scorer, fitted()[0], test), rel=1e-9)

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_a_search_is_the_estimator_it_found(self, scorer):
        train, test = halves()
        search = GridSearchCV(
            im.make_transfer_pipeline(None, LogisticRegression()),
            {"align": [im.CORAL()]},
            cv=im.DomainSplit(2),
        )
        numbers = train.sample_domain
        search.fit(train.X, train.y, groups=numbers, sample_domain=numbers)
        assert of(scorer, search, test) == pytest.approx(of(scorer, fitted(im.CORAL())[0], test), rel=1e-12)

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_several_sources_and_targets(self, scorer):
        pipeline, test = fitted(im.CORAL())
        many = test._replace(sample_domain=np.repeat([0, 4, -2, -7], 15))
        assert of(scorer, pipeline, many) == pytest.approx(of(scorer, pipeline, test), rel=1e-9)

    def test_tables_keep_their_names(self):
        train, test = halves()
        names, nameless = list("abcd"), fitted(im.CORAL())[0]
        pipeline = im.make_transfer_pipeline(im.CORAL(), LogisticRegression())
        pipeline.fit(pd.DataFrame(train.X, columns=names), train.y, sample_domain=train.sample_domain)
        table = test._replace(X=pd.DataFrame(test.X, columns=names))
        for scorer in SCORERS:
            assert of(scorer, pipeline, table) == pytest.approx(of(scorer, nameless, test), rel=1e-12)

    @pytest.mark.parametrize(
        "scorer", [im.PredictionEntropyScorer(), im.SoftNeighborhoodDensity()], ids=by_name
    )
    def test_probabilities_are_needed(self, scorer):
        pipeline, test = fitted(None, LinearSVC())
        with pytest.raises(TypeError, match="TransferPipeline has no predict_proba, which this score needs"):
            of(scorer, pipeline, test)


class TestSides:
    @pytest.mark.parametrize("scorer", NEED_SOURCE, ids=by_name)
    def test_source_rows_come_from_the_parameter_where_no_numbers_arrive(self, scorer):
        pipeline, test = fitted(im.CORAL())
        given = clone(scorer).set_params(source=(test.X[:30], test.y[:30]))
        assert given(pipeline, test.X[30:]) == pytest.approx(of(scorer, pipeline, test), rel=1e-12)

    @pytest.mark.parametrize("scorer", NEED_SOURCE, ids=by_name)
    def test_missing_source_rows_are_one_sentence(self, scorer):
        pipeline, test = fitted(im.CORAL())
        name = type(scorer).__name__
        with pytest.raises(
            ValueError, match=f"{name} needs source rows beside the target rows: pass sample_d"
        ):
            scorer(pipeline, test.X[30:])
        with pytest.raises(ValueError, match=f"{name} needs source rows"):
            scorer(pipeline, test.X[30:], sample_domain=np.full(30, -1))

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_missing_target_rows_are_one_sentence(self, scorer):
        pipeline, test = fitted(im.CORAL())
        with pytest.raises(ValueError, match="needs target rows, got none among 30 rows"):
            scorer(pipeline, test.X[:30], test.y[:30], sample_domain=np.zeros(30, int))

    def test_missing_source_labels_are_one_sentence(self):
        pipeline, test = fitted(im.CORAL())
        for scorer in SCORERS:
            if type(scorer)._needs_source == "labels":
                with pytest.raises(ValueError, match="needs the labels y of the source rows, got None"):
                    of(scorer, pipeline, test, None)
            else:
                assert of(scorer, pipeline, test, None) == of(scorer, pipeline, test)

    @pytest.mark.parametrize(
        "scorer", [im.PredictionEntropyScorer(), im.SoftNeighborhoodDensity()], ids=by_name
    )
    def test_all_rows_are_target_rows_without_numbers(self, scorer):
        pipeline, test = fitted(im.CORAL())
        assert scorer(pipeline, test.X[30:]) == of(scorer, pipeline, test)


def scores_by_hand(scorer, packed, test_part):
    found = []
    split = im.DomainSplit(3, test=test_part).split(packed.X, packed.y, sample_domain=packed.sample_domain)
    for train, test in split:
        pipeline = im.make_transfer_pipeline(im.CORAL(), LogisticRegression())
        pipeline.fit(packed.X[train], packed.y[train], sample_domain=packed.sample_domain[train])
        found.append(
            scorer(pipeline, packed.X[test], packed.y[test], sample_domain=packed.sample_domain[test])
        )
    return found


class TestWithScikitLearn:
    def packed(self):
        X, y, X_target, _ = toy()
        return im.pack_domains(X, X_target, y)

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_with_metadata_routing_every_scorer_gets_the_numbers(self, scorer):
        packed = self.packed()
        with sklearn.config_context(enable_metadata_routing=True):
            scores = cross_val_score(
                im.make_transfer_pipeline(im.CORAL(), LogisticRegression()),
                packed.X,
                packed.y,
                scoring=scorer,
                cv=im.DomainSplit(3, test="both"),
                params={"sample_domain": packed.sample_domain},
            )
        np.testing.assert_allclose(scores, scores_by_hand(scorer, packed, "both"), rtol=1e-9)

    @pytest.mark.parametrize(
        "scorer", [im.PredictionEntropyScorer(), im.SoftNeighborhoodDensity()], ids=by_name
    )
    def test_without_routing_scorers_of_target_rows_take_target_parts(self, scorer):
        packed = self.packed()
        scores = cross_val_score(
            im.make_transfer_pipeline(im.CORAL(), LogisticRegression()),
            packed.X,
            packed.y,
            scoring=scorer,
            cv=im.DomainSplit(3),
            groups=packed.sample_domain,
            params={"sample_domain": packed.sample_domain},
        )
        np.testing.assert_allclose(scores, scores_by_hand(scorer, packed, "target"), rtol=1e-9)

    def test_grid_search_by_several_scorers(self):
        packed = self.packed()
        scoring = {type(scorer).__name__: scorer for scorer in SCORERS}
        with sklearn.config_context(enable_metadata_routing=True):
            search = GridSearchCV(
                im.make_transfer_pipeline(im.CORAL(), LogisticRegression()),
                {"align": [None, im.CORAL()]},
                scoring=scoring,
                refit="MMDScorer",
                cv=im.DomainSplit(3, test="both"),
            ).fit(packed.X, packed.y, sample_domain=packed.sample_domain)
        for name, scorer in scoring.items():
            expected = np.mean(scores_by_hand(scorer, packed, "both"))
            assert search.cv_results_[f"mean_test_{name}"][1] == pytest.approx(expected, rel=1e-9)
        assert isinstance(search.best_estimator_.align, im.CORAL)

    def test_without_routing_the_source_given_to_the_scorer_serves_a_grid_search(self):
        packed = self.packed()
        X, y, _, _ = shifted_classes(2.0, seed=8, n=40, d=4)
        search = GridSearchCV(
            im.make_transfer_pipeline(im.CORAL(), LogisticRegression()),
            {"align": [None, im.CORAL()]},
            scoring=im.MMDScorer(source=(X, y)),
            cv=im.DomainSplit(3),
        ).fit(packed.X, packed.y, groups=packed.sample_domain, sample_domain=packed.sample_domain)
        assert search.cv_results_["mean_test_score"][1] > search.cv_results_["mean_test_score"][0]

    def test_a_request_can_be_declined(self):
        packed = self.packed()
        with sklearn.config_context(enable_metadata_routing=True):
            scorer = im.PredictionEntropyScorer().set_score_request(sample_domain=False)
            result = cross_validate(
                im.make_transfer_pipeline(im.CORAL(), LogisticRegression()),
                packed.X,
                packed.y,
                scoring={"entropy": scorer},
                cv=im.DomainSplit(3),
                params={"sample_domain": packed.sample_domain},
            )
        expected = scores_by_hand(im.PredictionEntropyScorer(), packed, "target")
        np.testing.assert_allclose(result["test_entropy"], expected, rtol=1e-9)

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_parameters_are_scikit_learns(self, scorer):
        assert clone(scorer).get_params() == scorer.get_params()
        assert repr(scorer) == f"{type(scorer).__name__}()"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scorer._repr_html_()


def test_proxy_a_distance_from_the_ratio(rng):
    """Domains of unequal size: a row is called target where the ratio of the densities exceeds 1."""
    X, X_target = rng.normal(size=(90, 2)), 0.7 + rng.normal(size=(30, 2))
    called = im.density_ratio(X, X_target) > 1
    swapped = im.density_ratio(X_target, X) > 1  # the target rows, judged with the domains exchanged
    error = (called.mean() + swapped.mean()) / 2
    assert im.proxy_a_distance(X, X_target) == pytest.approx(2 - 4 * error, abs=0.15)


def test_the_worse_aligned_model_has_the_larger_shift():
    train, test = halves(shift=10.0)
    found = []
    for align in (None, im.CORAL()):
        pipeline = im.make_transfer_pipeline(align, LogisticRegression())
        pipeline.fit(train.X, train.y, sample_domain=train.sample_domain)
        found.append([of(scorer, pipeline, test) for scorer in (im.MMDScorer(), im.ProxyADistanceScorer())])
    assert (np.array(found[1]) > np.array(found[0]) + 0.2).all()
