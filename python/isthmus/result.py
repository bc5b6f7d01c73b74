"""What a transfer found: scores, shift, verdict, models; printable, and plain JSON values on request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import report
from .verdict import Verdict

__all__ = ["Result", "Score", "Shift"]

SCHEMA_VERSION = 1  # of metrics.json and Result.to_dict
KEPT = ("fine_tuned", "aligned", "source_only")  # the first of these that exists is the model that is kept


@dataclass(frozen=True)
class Score:
    """A score on the held-out target rows with its 95 percent bootstrap interval."""

    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Shift:
    """Squared maximum mean discrepancy (unbiased) of source and target rows, and its permutation p-value."""

    mmd2: float
    pvalue: float
    n_permutations: int
    source_rows: int
    target_rows: int


@dataclass(frozen=True, eq=False)
class Result:
    """What `transfer` found; prints as the report, shows as HTML in notebooks.

    `scores` has the keys source_only, aligned, fine_tuned and target_only; a model that does not exist, or
    that no held-out row can score, is None. `models` has those of these keys whose model exists: pipelines
    that take raw rows of the target. `predictions` (n_target,) come from `model`: the fine-tuned one if there
    is one, else the aligned one, else source-only. `splits` (n_target,): "train", "test" or "unlabelled".
    """

    task: str
    metric: str
    label: str
    classes: tuple[Any, ...] | None
    features: tuple[str, ...]
    domains: Mapping[str, Mapping[str, Any]]
    shift_before: Shift
    shift_after: Shift | None
    feature_shift: tuple[Mapping[str, Any], ...]
    scores: Mapping[str, Score | None]
    verdict: Verdict
    models: Mapping[str, Any]
    predictions: NDArray[Any]
    splits: NDArray[np.str_]
    notes: tuple[str, ...]
    timing: Mapping[str, float]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]

    @property
    def model(self) -> Any:
        """The model that is kept and saved."""
        return self.models[next(key for key in KEPT if key in self.models)]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the models and the rows, as plain JSON values without NaN."""
        low, high = self.verdict.interval or (None, None)
        plain: dict[str, Any] = _plain(
            {
                "schema_version": SCHEMA_VERSION,
                "task": self.task,
                "metric": self.metric,
                "label": self.label,
                "classes": self.classes,
                "features": self.features,
                "domains": self.domains,
                "shift": {
                    "before": vars(self.shift_before),
                    "after": vars(self.shift_after) if self.shift_after else None,
                },
                "feature_shift": self.feature_shift,
                "scores": {key: vars(score) if score else None for key, score in self.scores.items()},
                "verdict": {
                    "label": self.verdict.label,
                    "difference": self.verdict.difference,
                    "low": low,
                    "high": high,
                    "baseline": self.verdict.baseline,
                    "n_bootstrap": self.verdict.n_bootstrap,
                },
                "notes": self.notes,
                "timing_s": self.timing,
                "versions": self.versions,
                "settings": self.settings,
            }
        )
        return plain

    def __str__(self) -> str:
        return report.text(self.to_dict())

    def _repr_html_(self) -> str:
        return report.fragment(self.to_dict())


def _plain(value: Any) -> Any:
    """`value` in JSON's own types: arrays and numpy scalars unpacked, numbers that are not finite None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
