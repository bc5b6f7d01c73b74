"""What every form of fine-tuning shares: its modes, the comparison of label sets, one tuning of a copy."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.utils.validation import column_or_1d

from .arrays import Array, check_finite
from .source_model import Freeze, SourceModel

__all__ = ["Rows", "check_label_sets", "check_mode", "checked_labels", "for_arrays", "tuned"]

MODES = ("full", "partial", "features")
Rows = tuple[Any, Any]  # rows (n, d) of one domain and their labels (n,)


def tuned(
    model: SourceModel,
    target: Rows,
    source: Rows | None,
    mode: str,
    freeze: Freeze,
    overrides: dict[str, Any],
) -> SourceModel:
    """A copy of the model, tuned on target rows and, where it counts both losses, source rows."""
    X, y = (None, None) if source is None or mode == "partial" else source
    mask = model.trainable(freeze) if mode == "partial" else None
    return deepcopy(model).tune(*target, X=X, y=y, trainable=mask, **overrides)


def for_arrays(model: SourceModel) -> SourceModel:
    """A copy that is handed arrays: whoever holds it has checked the names of the columns."""
    copy = deepcopy(model)
    if hasattr(copy, "feature_names_in_"):
        del copy.feature_names_in_
    return copy


def check_mode(mode: str, freeze: Freeze, model: Any, model_name: str) -> None:
    """Refuses an unknown mode, and what belongs to another one."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    if freeze is not None and mode != "partial":
        raise ValueError(f'freeze needs mode="partial", got mode={mode!r}')
    if model is not None and mode != "features":
        raise ValueError(f'{model_name} needs mode="features", got mode={mode!r}')


def checked_labels(y: Any, of: str, n_rows: int) -> Array:
    """Labels (n,), one for each of the rows called `of`: "X" or "X_target"."""
    name = "y" if of == "X" else "y_target"
    labels = column_or_1d(y)
    if labels.dtype.kind == "f":
        check_finite(labels, name)
    if len(labels) != n_rows:
        raise ValueError(f"{name} must have one label per row of {of}, {n_rows}, got {len(labels)}")
    return np.asarray(labels)


def check_label_sets(known: Array, y: Any, of: str, name: str, *, subset: bool = False) -> None:
    """The label sets must be the same; with `subset`, `y` may miss some of `known`."""
    found = set(np.unique(column_or_1d(y)).tolist())
    expected = set(known.tolist())
    if found - expected or (not subset and expected - found):
        new, missing = sorted(found - expected, key=str), sorted(expected - found, key=str)
        differences = [f"{new} more"] * bool(new) + [f"{missing} missing"] * bool(missing)
        listed = sorted(expected, key=str)
        raise ValueError(f"{name} must hold the labels of {of}, {listed}, got {' and '.join(differences)}")
