"""Scorers, folds and the choice of an aligner on rows that live on a device: what numpy rows give."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from isthmus import arrays
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression

RBF = im.RBF(bandwidth=2.0)
SCORERS = [
    im.ImportanceWeightedScorer(),
    im.ImportanceWeightedScorer(ratio=im.KMM(RBF, tol=1e-7, bound=5.0)),
    im.DeepEmbeddedValidation(),
    im.PredictionEntropyScorer(),
    im.SoftNeighborhoodDensity(),
    im.CircularValidation(),
    im.MMDScorer(kernel=RBF),
    im.ProxyADistanceScorer(),
]
ESTIMATORS = [
    im.make_transfer_pipeline(im.CORAL(), LogisticRegression()),
    im.TransferClassifier(im.LinearSourceClassifier(), align=im.SubspaceAlignment(3)),
    im.EasyTL(None),  # without predict_proba
]
OF_PROBABILITIES = (im.PredictionEntropyScorer, im.SoftNeighborhoodDensity)
CASES = [
    (estimator, scorer)
    for estimator in ESTIMATORS
    for scorer in SCORERS
    if hasattr(estimator, "predict_proba") or not isinstance(scorer, OF_PROBABILITIES)
]


def toy(n=60):
    X, y, X_target, y_target = shifted_classes(2.0, 0, n=n, d=5)
    rows, labels = np.concatenate([X_target[:-10], X]), np.concatenate([y_target[:-10], y])
    return rows, labels, np.repeat([-1, 0], [n - 10, n])


every_case = pytest.mark.parametrize(
    ("estimator", "scorer"), CASES, ids=lambda one: " ".join(repr(one).split())
)


def check(estimator, scorer, move):
    rows, y, domain = toy()
    plain = clone(estimator).fit(rows, y, sample_domain=domain)
    there = clone(estimator).fit(move(rows), y, sample_domain=domain)
    expected = scorer(plain, rows, y, sample_domain=domain)
    found = scorer(there, move(rows), move(y), sample_domain=move(domain))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    if "source" in scorer.get_params():
        source, target = (rows[domain == 0], y[domain == 0]), rows[domain < 0]
        moved = clone(scorer).set_params(source=(move(source[0]), move(source[1])))
        expected = clone(scorer).set_params(source=source)(plain, target)
        assert moved(there, move(target)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@every_case
def test_a_score_of_rows_on_a_device_is_that_of_numpy(device, estimator, scorer):
    check(estimator, scorer, device)


@pytest.mark.gpu
@every_case
def test_a_score_of_rows_on_a_gpu_is_that_of_numpy(gpu, estimator, scorer):
    check(estimator, scorer, gpu)


def test_the_mmd_of_aligned_rows_is_computed_on_the_device(device, leaving):
    rows, y, domain = toy(n=600)
    there = im.TransferClassifier(im.LinearSourceClassifier(), align=im.CORAL())
    there.fit(device(rows), y, sample_domain=domain)
    leaving.clear()
    im.MMDScorer(kernel=RBF)(there, device(rows), y, sample_domain=domain)
    assert leaving == []


class SignOfFirst(ClassifierMixin, BaseEstimator):
    """An estimator of somebody else, which answers where the rows are."""

    def fit(self, X, y):
        self.classes_ = np.array([0.0, 1.0])
        return self

    def predict(self, X):
        return (X[:, 0] > 0) * 1.0

    def predict_proba(self, X):
        second = self.predict(X)[:, None]
        return arrays.namespace(X).concatenate([1 - second, second], 1)


@pytest.mark.parametrize("scorer", [im.ImportanceWeightedScorer(), im.SoftNeighborhoodDensity()], ids=str)
def test_answers_of_other_estimators_may_be_on_the_device(device, scorer):
    rows, y, domain = toy()
    expected = scorer(SignOfFirst().fit(rows, y), rows, y, sample_domain=domain)
    found = scorer(SignOfFirst().fit(rows, y), device(rows), y, sample_domain=domain)
    assert found == pytest.approx(expected, rel=1e-6)


def test_domains_are_packed_and_unpacked_on_the_device(device):
    rows, y, domain = toy()
    samples = [rows[domain == 0][:20], rows[domain == 0][20:]]
    labels = [y[domain == 0][:20], y[domain == 0][20:]]
    target, y_target, weight = rows[domain < 0], y[domain < 0], np.arange(50.0)
    given = {"y": labels, "target_weight": weight}
    plain = im.pack_domains(samples, target, y_target=y_target, **given)
    given["target_weight"] = device(weight)
    there = im.pack_domains([device(part) for part in samples], device(target), y_target=y_target, **given)
    assert arrays.home(there.X) == arrays.home(device(target))
    np.testing.assert_array_equal(arrays.to_numpy(there.X), plain.X)
    for found, expected in zip(there[1:], plain[1:], strict=True):
        np.testing.assert_array_equal(found, expected)
    expected = im.unpack_domains(*plain[:4])
    found = im.unpack_domains(
        there.X, device(there.y), device(there.sample_domain), device(there.target_labelled)
    )
    for part, other in zip(found[0], expected[0], strict=True):
        assert arrays.home(part) == arrays.home(there.X)
        np.testing.assert_array_equal(arrays.to_numpy(part), other)
    np.testing.assert_array_equal(arrays.to_numpy(found[2]), expected[2])
    for part, other in zip((*found[1], *found[3:]), (*expected[1], *expected[3:]), strict=True):
        np.testing.assert_array_equal(part, other)


def test_an_aligner_is_chosen_on_the_device_as_in_numpy(device):
    rows, y, domain = toy(n=40)
    parts = rows[domain == 0], y[domain == 0], rows[domain < 0]
    options = {
        "cv": 2,
        "scorer": ["importance_weighted", "mmd", "circular"],
        "methods": [im.CORAL(), im.TCA(2)],
    }
    plain = im.select_alignment(*parts, y_target_test=y[domain < 0], **options)
    there = im.select_alignment(
        device(parts[0]), device(parts[1]), device(parts[2]), y_target_test=device(y[domain < 0]), **options
    )
    assert there.methods == plain.methods and there.best == plain.best
    for name, expected in plain.scores.items():
        np.testing.assert_allclose(there.scores[name], expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(there.target_score, plain.target_score)
    np.testing.assert_array_equal(there.best_.predict(device(parts[2])), plain.best_.predict(parts[2]))


def test_pictures_show_rows_of_a_device(device):
    pytest.importorskip("matplotlib").use("agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    rows, _, domain = toy()
    aligner = im.CORAL().fit(rows, sample_domain=domain)
    for display in (im.EmbeddingDisplay, im.MeanGapDisplay):
        plain = display.from_estimator(aligner, rows, sample_domain=domain)
        there = display.from_estimator(aligner, device(rows), sample_domain=domain)
        for name in ("before", "after"):
            for found, expected in zip(getattr(there, name), getattr(plain, name), strict=True):
                np.testing.assert_allclose(found, expected, atol=1e-9)
    pyplot.close("all")
