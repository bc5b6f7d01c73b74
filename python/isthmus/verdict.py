"""Did the transfer help: scores with bootstrap intervals, and a paired comparison with baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Verdict", "bootstrap_interval", "paired_bootstrap", "score", "score_interval", "verdict"]

Label = Literal["helped", "hurt", "neutral", "not enough labels", "unknown"]

MIN_LABELLED = 10  # labelled target rows below which no verdict is given
_CHUNK = 1_000_000  # resampled indices held at a time: 8 MB, and as much for each of 3 arrays of values


@dataclass(frozen=True)
class Verdict:
    """What a paired bootstrap says about the fine-tuned model.

    `label` is "helped" when the interval of the difference lies above 0, "hurt" when it lies below, else
    "neutral"; "not enough labels" with fewer than 10 labelled target rows, "unknown" with none.
    `difference` is the score of the fine-tuned model minus that of `baseline`, the better of "source-only"
    and "target-only" on the same rows; `interval` holds its 2.5 and 97.5 percentiles over `n_bootstrap`
    resamples. The three are None for the last two labels.
    """

    label: Label
    difference: float | None
    interval: tuple[float, float] | None
    n_bootstrap: int
    baseline: str | None


def score(y_true: ArrayLike, y_pred: ArrayLike, *, metric: str) -> float:
    """Accuracy, or the coefficient of determination R2, of one prediction.

    Parameters
    ----------
    y_true, y_pred : arrays of shape (n,); labels of any type for "accuracy", real numbers for "r2"

    Raises
    ------
    ValueError : lengths differ, no rows, an unknown metric, or "r2" of values that are all the same.
    """
    truth, (prediction,) = _checked(y_true, [y_pred], metric)
    return float(_scores(truth, [prediction], np.arange(len(truth))[None, :], metric)[0, 0])


def paired_bootstrap(
    y_true: ArrayLike,
    predictions: Sequence[ArrayLike],
    *,
    metric: str,
    n_bootstrap: int = 2000,
    random_state: int = 0,
) -> NDArray[np.float64]:
    """Scores of several models on the same resampled rows.

    Parameters
    ----------
    y_true : array of shape (n,)
    predictions : k arrays of shape (n,), one per model
    n_bootstrap : number of resamples B, each of n rows drawn with replacement

    Returns
    -------
    float64 array of shape (k, B). Column b holds every model's score on resample b, so that differences of
    rows are paired. For "r2" a resample whose values are all the same has no score and is NaN.

    Raises
    ------
    ValueError : as `score`, or n_bootstrap below 1.

    Cost: O(B n k) time, about 32 MB memory.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    truth, columns = _checked(y_true, predictions, metric)
    if n_bootstrap < 1:
        raise ValueError(f"n_bootstrap must be at least 1, got {n_bootstrap}")
    n = len(truth)
    rng = np.random.default_rng(random_state)
    out = np.empty((len(columns), n_bootstrap))
    step = max(1, _CHUNK // n)
    for first in range(0, n_bootstrap, step):
        last = min(first + step, n_bootstrap)
        rows = rng.integers(0, n, size=(last - first, n))
        out[:, first:last] = _scores(truth, columns, rows, metric)
    return out


def bootstrap_interval(scores: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap scores of shape (B,); resamples without a score (NaN) are left out."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    values = np.asarray(scores, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        raise ValueError("scores must hold at least one number, got none")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def score_interval(
    y_true: ArrayLike, y_pred: ArrayLike, *, metric: str, n_bootstrap: int = 2000, random_state: int = 0
) -> tuple[float, float, float]:
    """Score of one model with its 95 percent bootstrap interval: (score, low, high)."""
    point = score(y_true, y_pred, metric=metric)
    resampled = paired_bootstrap(
        y_true, [y_pred], metric=metric, n_bootstrap=n_bootstrap, random_state=random_state
    )
    return (point, *bootstrap_interval(resampled[0]))


def verdict(
    y_true: ArrayLike | None,
    fine_tuned: ArrayLike | None,
    source_only: ArrayLike | None,
    target_only: ArrayLike | None,
    *,
    metric: str,
    n_labelled: int,
    n_bootstrap: int = 2000,
    random_state: int = 0,
) -> Verdict:
    """Compare the fine-tuned model with the better of its two baselines, on the same held-out target rows.

    Parameters
    ----------
    y_true : array of shape (n,), labels of held-out target rows; may be None with fewer than 10 labelled rows
    fine_tuned, source_only, target_only : predictions of shape (n,) for those rows, or None as `y_true`; a
        baseline that does not exist is None
    metric : "accuracy" or "r2"
    n_labelled : labelled target rows in all, those used for training included
    n_bootstrap, random_state : resamples, and the seed that draws them

    Raises
    ------
    ValueError : as `score`, n_labelled negative, or a fine-tuned model without a baseline.

    The better baseline is chosen once, by its score on all rows.
    """
    if n_labelled < 0:
        raise ValueError(f"n_labelled must be at least 0, got {n_labelled}")
    if n_labelled < MIN_LABELLED:
        return Verdict("not enough labels" if n_labelled else "unknown", None, None, n_bootstrap, None)
    if y_true is None or fine_tuned is None:
        raise ValueError(f"y_true and fine_tuned must be given with {n_labelled} labelled rows, got None")
    baselines = {
        name: values
        for name, values in (("source-only", source_only), ("target-only", target_only))
        if values is not None
    }
    if not baselines:
        raise ValueError("verdict needs the predictions of source_only or target_only, got neither")
    points = {name: score(y_true, values, metric=metric) for name, values in baselines.items()}
    best = max(points, key=lambda name: points[name])
    resampled = paired_bootstrap(
        y_true,
        [fine_tuned, baselines[best]],
        metric=metric,
        n_bootstrap=n_bootstrap,
        random_state=random_state,
    )
    low, high = bootstrap_interval(resampled[0] - resampled[1])
    difference = score(y_true, fine_tuned, metric=metric) - points[best]
    label: Label
    if low > 0.0:
        label = "helped"
    elif high < 0.0:
        label = "hurt"
    else:
        label = "neutral"
    return Verdict(label, difference, (low, high), n_bootstrap, best)


def _checked(
    y_true: ArrayLike, predictions: Sequence[ArrayLike], metric: str
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    if metric not in ("accuracy", "r2"):
        raise ValueError(f'metric must be "accuracy" or "r2", got {metric!r}')
    kind = np.float64 if metric == "r2" else None
    truth = np.asarray(y_true, dtype=kind)
    columns = [np.asarray(values, dtype=kind) for values in predictions]
    if truth.ndim != 1 or truth.size == 0:
        raise ValueError(f"y_true must have shape (n,) with n >= 1, got shape {truth.shape}")
    for values in columns:
        if values.shape != truth.shape:
            raise ValueError(f"y_pred must have y_true's shape {truth.shape}, got {values.shape}")
    if metric == "r2":
        for name, values in (("y_true", truth), *(("y_pred", values) for values in columns)):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
        if np.ptp(truth) == 0.0:
            raise ValueError("y_true must hold at least two different values for r2, got one")
    return truth, columns


def _scores(
    truth: NDArray[Any], columns: list[NDArray[Any]], rows: NDArray[np.int64], metric: str
) -> NDArray[np.float64]:
    if metric == "accuracy":
        return np.stack([(values == truth)[rows].mean(axis=1) for values in columns])
    y = truth - truth.mean()  # R2 does not depend on the origin; centred, the variance keeps its digits
    spread = y[rows].var(axis=1)
    spread[spread <= 1e-14 * y.var()] = np.nan  # one value drawn n times
    return np.stack([1.0 - np.square(truth - values)[rows].mean(axis=1) / spread for values in columns])
