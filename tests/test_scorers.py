"""Scorers for a target without labels: what they ask, who calls them, and that no target label is read."""

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
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.naive_bayes import GaussianNB
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

    @pytest.mark.parametrize("scorer", SCORERS, ids=by_name)
    def test_labels_in_a_list_keep_their_kind_beside_text(self, scorer):
        pipeline, test = fitted(im.CORAL())
        mixed = [*test.y[:30].tolist(), *["unknown"] * 30]
        assert of(scorer, pipeline, test, list(mixed)) == of(scorer, pipeline, test)

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

    @pytest.mark.parametrize("align", [None, "coral", im.CORAL()], ids=str)
    def test_weights_are_taken_where_a_predictor_without_domains_sees_the_source(self, align):
        X, y, X_target, _ = toy()
        X_target = X_target + 3.0
        model = im.EasyTL(align).fit(X[:30], y[:30], X_target[:30])
        test = im.pack_domains(X[30:], X_target[30:], y[30:])
        # It takes all rows for target rows, which CORAL leaves where they are.
        w = im.density_ratio(X[30:], X_target[30:])
        wrong = model.predict(X[30:]) != y[30:]
        found = of(im.ImportanceWeightedScorer(), model, test)
        assert found == pytest.approx(np.sum(w * ~wrong) / w.sum(), rel=1e-12)
        found = of(im.DeepEmbeddedValidation(), model, test)
        assert found == pytest.approx(-im.dev_risk(wrong, w), rel=1e-12)
        Z = X[30:] if model.align_ is None else model.align_.transform(X[30:], domain="source")
        expected = -im.proxy_a_distance(Z, X_target[30:])
        assert of(im.ProxyADistanceScorer(), model, test) == pytest.approx(expected, rel=1e-12)

    def test_circular_validation_of_a_method_that_needs_target_labels_is_refused(self):
        X, y, X_target, y_target = toy()
        model = im.TrAdaBoostClassifier().fit(X[:30], y[:30], X_target[:30], y_target[:30])
        test = im.pack_domains(X[30:], X_target[30:], y[30:])
        message = "cannot fit TrAdaBoostClassifier with the domains exchanged: TrAdaBoostClassifier needs"
        with pytest.raises(ValueError, match=message):
            of(im.CircularValidation(), model, test)

    @pytest.mark.parametrize("align", [im.StandardScaling(), im.CORAL(), im.LinearOT()], ids=str)
    @pytest.mark.parametrize(
        "scorer", [one for one in SCORERS if not isinstance(one, im.CircularValidation)], ids=by_name
    )
    def test_rows_of_each_source_go_through_its_own_map(self, align, scorer):
        X, y, X_target, _ = toy()
        far = np.repeat([0.0, 100.0], 30)[:, None]
        number = np.repeat([2, 5], 30)
        found = []
        for rows in (X, X + far):
            packed = np.concatenate([rows, X_target]), np.concatenate([y, y]), np.r_[number, [-3] * 60]
            model = im.make_transfer_pipeline(align, LogisticRegression())
            model.fit(packed[0], packed[1], sample_domain=packed[2])
            found.append(scorer(model, packed[0], packed[1], sample_domain=packed[2]))
        assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-7)

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
        expected = of(scorer, pipeline, test)
        if isinstance(scorer, im.CircularValidation):  # CORAL has a map for each domain that is a source then
            X, X_target, guess = test.X[:30], test.X[30:], pipeline.predict(test.X[30:])
            back = clone(pipeline).fit([X_target[:15], X_target[15:]], guess, [X[:15], X[15:]])
            expected = np.mean(back.predict(X) == test.y[:30])
            assert expected != of(scorer, pipeline, test)
        assert of(scorer, pipeline, many) == pytest.approx(expected, rel=1e-9)

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


def test_the_worse_aligned_model_has_the_larger_shift():
    train, test = halves(shift=10.0)
    found = []
    for align in (None, im.CORAL()):
        pipeline = im.make_transfer_pipeline(align, LogisticRegression())
        pipeline.fit(train.X, train.y, sample_domain=train.sample_domain)
        found.append([of(scorer, pipeline, test) for scorer in (im.MMDScorer(), im.ProxyADistanceScorer())])
    assert (np.array(found[1]) > np.array(found[0]) + 0.2).all()


@pytest.mark.parametrize("rows", [np.eye(3, dtype=np.float32), [[0, 1], [2, 3]]], ids=["array", "list"])
def test_aligned_rows_are_float64(rows):
    assert aligned_rows(im.LinearSourceClassifier(), rows, "target").dtype == np.float64
