"""Scores with bootstrap intervals, and the verdict on a transfer."""

import numpy as np
import pytest
from isthmus.verdict import bootstrap_interval, paired_bootstrap, score, score_interval, verdict
from sklearn.metrics import accuracy_score, r2_score

ORACLES = {"accuracy": accuracy_score, "r2": r2_score}


def guesses(rng, metric, n=60, quality=0.8):
    """Labels, and predictions of the wanted quality."""
    if metric == "r2":
        y = rng.normal(size=n)
        return y, y + (1.0 - quality) * rng.normal(size=n)
    y = rng.integers(0, 3, n)
    return y, np.where(rng.random(n) < quality, y, (y + 1) % 3)


@pytest.mark.parametrize("metric", ORACLES)
def test_scores_are_those_of_scikit_learn(rng, metric):
    y, predicted = guesses(rng, metric)
    assert score(y, predicted, metric=metric) == pytest.approx(ORACLES[metric](y, predicted), rel=1e-12)


@pytest.mark.parametrize("metric", ORACLES)
def test_every_resample_is_scored_on_the_rows_drawn_for_it(rng, metric):
    y, first = guesses(rng, metric)
    _, second = guesses(rng, metric)
    found = paired_bootstrap(y, [first, second], metric=metric, n_bootstrap=50, random_state=3)
    rows = np.random.default_rng(3).integers(0, len(y), size=(50, len(y)))
    for values, predicted in zip(found, (first, second), strict=True):
        expected = [ORACLES[metric](y[index], predicted[index]) for index in rows]
        np.testing.assert_allclose(values, expected, rtol=1e-9)


def test_the_interval_of_an_accuracy_has_the_width_of_the_binomial(rng):
    n, p = 4000, 0.8
    y = np.zeros(n, dtype=int)
    value, low, high = score_interval(y, (np.arange(n) >= n * p).astype(int), metric="accuracy")
    assert value == p and low < p < high
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(p * (1 - p) / n), rel=0.08)


def test_pairing_narrows_the_difference_of_models_that_err_on_the_same_rows(rng):
    y, base = guesses(rng, "accuracy", n=400)
    better = base.copy()
    better[np.flatnonzero(base != y)[:10]] = y[np.flatnonzero(base != y)[:10]]
    scores = paired_bootstrap(y, [better, base], metric="accuracy", random_state=0)
    low, high = bootstrap_interval(scores[0] - scores[1])
    wide = [np.diff(bootstrap_interval(row))[0] for row in scores]
    assert 0 < low < 10 / 400 < high
    assert high - low < min(wide) / 2


def test_resamples_of_one_value_have_no_r2():
    found = paired_bootstrap([0.0, 1.0], [[0.0, 1.0]], metric="r2", n_bootstrap=200)
    assert np.isnan(found).any() and np.nanmin(found) == np.nanmax(found) == 1.0
    assert bootstrap_interval(found[0]) == (1.0, 1.0)


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize(
    ("tuned", "source", "target", "label", "baseline"),
    [
        (0.95, 0.5, 0.6, "helped", "target-only"),
        (0.95, 0.6, 0.3, "helped", "source-only"),
        (0.4, 0.95, 0.5, "hurt", "source-only"),
        (0.4, 0.3, 0.95, "hurt", "target-only"),
    ],
)
def test_the_verdict_compares_with_the_better_baseline(metric, tuned, source, target, label, baseline):
    rng = np.random.default_rng(0)
    y, _ = guesses(rng, metric, n=300)

    def model(quality):
        noise = np.random.default_rng(int(1000 * quality))
        if metric == "r2":
            return y + (1 - quality) * noise.normal(size=len(y))
        return np.where(noise.random(len(y)) < quality, y, (y + 1) % 3)

    models = model(tuned), model(source), model(target)
    found = verdict(y, *models, metric=metric, n_labelled=300)
    assert (found.label, found.baseline) == (label, baseline)
    best = max(score(y, part, metric=metric) for part in models[1:])
    assert found.difference == pytest.approx(score(y, models[0], metric=metric) - best)
    assert found.interval[0] <= found.difference <= found.interval[1]
    assert (found.interval[0] > 0) == (label == "helped")


@pytest.mark.parametrize("labels", [[0, 1], ["b", "a"], [True, False]], ids=str)
def test_the_same_predictions_are_neutral_for_labels_of_any_type(labels):
    y = np.asarray(labels)[np.random.default_rng(0).integers(0, 2, 50)]
    predicted = np.roll(y, 1)
    found = verdict(y, predicted, predicted, None, metric="accuracy", n_labelled=50)
    assert (found.label, found.difference, found.interval) == ("neutral", 0.0, (0.0, 0.0))
    assert (found.baseline, found.n_bootstrap) == ("source-only", 2000)


@pytest.mark.parametrize(
    ("n_labelled", "label"), [(0, "unknown"), (1, "not enough labels"), (9, "not enough labels")]
)
def test_few_labels_give_no_verdict(n_labelled, label):
    found = verdict([1] * 5, [1] * 5, [0] * 5, [0] * 5, metric="accuracy", n_labelled=n_labelled)
    assert (found.label, found.difference, found.interval, found.baseline) == (label, None, None, None)
    assert verdict(None, None, None, None, metric="r2", n_labelled=n_labelled).label == label


def test_ten_labels_give_a_verdict():
    assert verdict([0, 1], [0, 1], [0, 1], None, metric="accuracy", n_labelled=10).label == "neutral"


def test_a_seed_fixes_the_interval(rng):
    y, predicted = guesses(rng, "r2")
    first, again, other = (score_interval(y, predicted, metric="r2", random_state=s) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score([1, 2], [1, 2], metric="f1"), 'metric must be "accuracy" or "r2", got \'f1\''),
        (
            lambda: score([1, 2], [1], metric="accuracy"),
            r"y_pred must have y_true's shape \(2,\), got \(1,\)",
        ),
        (lambda: score([], [], metric="accuracy"), r"y_true must have shape \(n,\) with n >= 1"),
        (lambda: score([1.0, 1.0], [1.0, 2.0], metric="r2"), "at least two different values for r2, got one"),
        (lambda: score([1.0, np.nan], [1.0, 2.0], metric="r2"), "y_true must hold finite numbers"),
        (lambda: score([1.0, 2.0], [np.inf, 2.0], metric="r2"), "y_pred must hold finite numbers"),
        (
            lambda: paired_bootstrap([1], [[1]], metric="accuracy", n_bootstrap=0),
            "n_bootstrap must be at least 1",
        ),
        (lambda: bootstrap_interval([np.nan]), "scores must hold at least one number"),
        (lambda: bootstrap_interval([1.0], level=1.0), "level must lie between 0 and 1"),
        (
            lambda: verdict([1], [1], [1], None, metric="accuracy", n_labelled=-1),
            "n_labelled must be at",
        ),
        (
            lambda: verdict([1], [1], None, None, metric="accuracy", n_labelled=10),
            "source_only or target",
        ),
        (lambda: verdict(None, [1], [1], None, metric="accuracy", n_labelled=10), "must be given with 10"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
