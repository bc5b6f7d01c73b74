"""Alignment inside pipelines: the right rows are aligned, and the right rows train the model."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Recorder(ClassifierMixin, BaseEstimator):
    """A classifier that keeps what it was trained on."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_ = X, y, sample_weight
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def rescaled_target(seed=0, n=100):
    X, y, fresh, y_target = shifted_classes(0.0, seed, n=n)
    return X, y, fresh * np.geomspace(0.2, 5, 10) - 4, y_target


def in_one_array(X, y, X_target, y_target):
    return (
        np.concatenate([X, X_target]),
        np.concatenate([y, y_target]),
        np.repeat([0, -1], [len(X), len(X_target)]),
    )


def test_pipeline_takes_domain_numbers_without_metadata_routing():
    X, y, X_target, y_target = rescaled_target()
    rows, labels, domain = in_one_array(X, y, X_target, y_target)
    pipeline = make_pipeline(StandardScaler(), im.CORAL(), Recorder())
    pipeline.fit(rows, labels, coral__sample_domain=domain)

    scaled = StandardScaler().fit_transform(rows)
    coral = im.CORAL().fit(scaled[:100], None, scaled[100:])
    expected = np.concatenate([coral.transform(scaled[:100], domain="source"), scaled[100:]])
    np.testing.assert_allclose(pipeline[-1].X_, expected, atol=1e-12)
    np.testing.assert_array_equal(pipeline[-1].y_, labels)


def test_aligned_and_unaligned_pipelines_differ():
    X, y, X_target, y_target = rescaled_target()
    rows, labels, domain = in_one_array(X, y, X_target, y_target)
    labels[100:] = 0
    aligned = make_pipeline(im.CORAL(ridge=0.0), LogisticRegression(max_iter=1000))
    aligned.fit(rows, labels, coral__sample_domain=domain)
    plain = make_pipeline(im.CORAL(ridge=0.0), LogisticRegression(max_iter=1000))
    with pytest.warns(im.NoTargetWarning):
        plain.fit(rows, labels)
    assert np.abs(aligned[-1].coef_ - plain[-1].coef_).max() > 0.1


def test_cross_validation_slices_domain_numbers_with_the_rows():
    X, y, X_target, y_target = rescaled_target()
    rows, labels, domain = in_one_array(X, y, X_target, y_target)
    pipeline = make_pipeline(im.CORAL(ridge=0.0), LogisticRegression(max_iter=1000))
    scores = cross_val_score(pipeline, rows, labels, params={"coral__sample_domain": domain})
    assert scores.shape == (5,) and np.isfinite(scores).all()


@pytest.mark.parametrize("align", [None, im.CORAL(ridge=0.0), im.TCA(n_components=5), im.MeanDiscrepancy()])
@pytest.mark.parametrize("form", ["two arrays", "domain numbers"])
def test_model_sees_aligned_source_rows_and_declared_target_rows_only(align, form):
    X, y, X_target, y_target = rescaled_target()
    labelled = np.arange(100) < 10
    poisoned = np.where(labelled, y_target, 99)
    pipeline = im.make_transfer_pipeline(align, Recorder())
    if form == "two arrays":
        pipeline.fit(X, y, X_target, poisoned, target_labelled=labelled)
    else:
        rows, labels, domain = in_one_array(X, y, X_target, poisoned)
        declared = np.concatenate([np.zeros(100, bool), labelled])
        pipeline.fit(rows, labels, sample_domain=domain, target_labelled=declared)
    expected = [X, X_target[labelled]]
    if align is not None:
        fitted = clone(align).fit(X, y, X_target, poisoned, target_labelled=labelled)
        expected = [fitted.transform(X, domain="source"), fitted.transform(X_target[labelled])]
    np.testing.assert_allclose(pipeline.model_.X_, np.concatenate(expected), atol=1e-9)
    np.testing.assert_array_equal(pipeline.model_.y_, np.concatenate([y, y_target[labelled]]))
    assert pipeline.classes_.tolist() == [0, 1]


@pytest.mark.parametrize("poison", [np.nan, None, "unknown", 99])
def test_labels_of_unlabelled_target_rows_are_never_read(poison):
    X, y, X_target, y_target = rescaled_target()
    rows, _, domain = in_one_array(X, y, X_target, y_target)
    labels = np.array([*y.tolist(), *([poison] * 100)], dtype=float if poison is np.nan else object)
    pipeline = im.make_transfer_pipeline(im.CORAL(ridge=0.0), LogisticRegression())
    pipeline.fit(rows, labels, sample_domain=domain)
    alone = im.make_transfer_pipeline(im.CORAL(ridge=0.0), LogisticRegression()).fit(X, y, X_target)
    np.testing.assert_array_equal(pipeline.predict(X_target), alone.predict(X_target))
    assert (
        pipeline.score(X_target, y_target) > 0.85 > LogisticRegression().fit(X, y).score(X_target, y_target)
    )


def test_unlabelled_target_rows_do_reach_the_aligner():
    X, y, X_target, _ = rescaled_target()
    pipeline = im.make_transfer_pipeline(im.CORAL(), LogisticRegression())
    whole = pipeline.fit(X, y, X_target).align_.map_
    half = pipeline.fit(X, y, X_target[:50]).align_.map_
    assert np.abs(whole - half).max() > 1e-3


def test_weights_reach_the_aligner_and_the_model():
    X, y, X_target, y_target = rescaled_target()
    weight = np.random.default_rng(0).integers(0, 4, 100)
    labelled = np.arange(100) < 10
    options = {"target_labelled": labelled}
    weighted = im.make_transfer_pipeline(im.CORAL(), Recorder())
    weighted.fit(X, y, X_target, y_target, sample_weight=weight, **options)
    np.testing.assert_array_equal(weighted.model_.weight_, np.concatenate([weight, np.ones(10)]))
    repeated = im.make_transfer_pipeline(im.CORAL(), Recorder())
    repeated.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight), X_target, y_target, **options)
    np.testing.assert_allclose(weighted.align_.map_, repeated.align_.map_, atol=1e-11)


def test_predictions_are_those_of_the_model_on_target_rows():
    X, y, X_target, y_target = rescaled_target()
    pipeline = im.make_transfer_pipeline(im.TCA(n_components=4), LogisticRegression()).fit(X, y, X_target)
    Z = pipeline.align_.transform(X_target)
    for method in ("predict", "predict_proba", "decision_function"):
        np.testing.assert_array_equal(
            getattr(pipeline, method)(X_target), getattr(pipeline.model_, method)(Z)
        )
    assert pipeline.score(X_target, y_target) == pipeline.model_.score(Z, y_target)


@pytest.mark.parametrize("align", [None, im.CORAL(ridge=0.0), im.TCA(n_components=4)])
def test_predictions_for_source_rows_go_through_the_map_of_the_source(align):
    X, y, X_target, y_target = rescaled_target()
    pipeline = im.make_transfer_pipeline(align, LogisticRegression()).fit(X, y, X_target)
    rows, _, domain = in_one_array(X, y, X_target, y_target)
    Z = X if align is None else pipeline.align_.transform(X, domain="source")
    for method in ("predict", "predict_proba", "decision_function"):
        expected = getattr(pipeline.model_, method)(Z)
        np.testing.assert_array_equal(getattr(pipeline, method)(X, domain="source"), expected)
        mixed = getattr(pipeline, method)(rows, domain=domain)
        np.testing.assert_allclose(mixed[:100], expected, rtol=1e-12)
        np.testing.assert_allclose(mixed[100:], getattr(pipeline, method)(X_target), rtol=1e-12)
    assert pipeline.score(X, y, domain="source") == pipeline.model_.score(Z, y)
    if isinstance(align, im.CORAL):
        assert (pipeline.predict_proba(X) != pipeline.predict_proba(X, domain="source")).any()


def test_pipeline_has_only_the_methods_of_its_model():
    pipeline = im.make_transfer_pipeline(im.CORAL(), Ridge())
    assert not hasattr(pipeline, "predict_proba") and not hasattr(pipeline, "decision_function")
    assert hasattr(im.make_transfer_pipeline(None, LogisticRegression()), "predict_proba")


@pytest.mark.parametrize("form", ["two arrays", "domain numbers"])
def test_targets_of_a_regressor_form_no_classes(form):
    X, y, X_target, y_target = rescaled_target()
    y, y_target = np.round(10 * X[:, 1]), np.round(10 * X_target[:, 1])
    pipeline = im.make_transfer_pipeline(im.MeanDiscrepancy(), Ridge())
    if form == "two arrays":
        pipeline.fit(X, y, X_target, y_target)
    else:
        rows, labels, domain = in_one_array(X, y, X_target, y_target)
        pipeline.fit(rows, labels, sample_domain=domain, target_labelled=domain < 0)
    assert pipeline.align_.directions_.shape == (1, 10)


def test_source_labels_are_needed():
    X, _, X_target, _ = rescaled_target()
    with pytest.raises(ValueError, match="requires y to be passed"):
        im.make_transfer_pipeline(im.CORAL(), LogisticRegression()).fit(X, None, X_target)
