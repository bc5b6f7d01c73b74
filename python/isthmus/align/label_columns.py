"""Known labels as columns Y, so that Y Y' is the kernel of the labels: of classes, or of values."""

from __future__ import annotations

import numpy as np
from sklearn.utils.multiclass import type_of_target

from ..arrays import Array
from .domains import Domains
from .problem import Rows
from .pseudo_labels import known_labels

__all__ = ["LABEL_KERNELS", "label_columns"]

LABEL_KERNELS = ("auto", "classes", "values")


def label_columns(
    domains: Domains,
    rows: Rows,
    used: tuple[Array, Array],
    name: str,
    *,
    label_kernel: str,
    standardize_y: bool,
) -> Array | None:
    """Y (n, q), source rows first, times the square roots of the weights; None where no label is known.

    "classes": a column of ones and zeros for each class; "values": one column, with mean 0 and variance 1
    over the labelled rows if `standardize_y`; "auto" takes values where they are not all whole numbers. A row
    without a known label is zero.

    Raises ValueError as `known_labels`, for classes of a continuous quantity, and for values that are text.
    """
    if domains.y_source is None and not domains.target_labelled.any():
        return None
    y_source, y_target, fixed = known_labels(domains, *used, name)
    labels = y_source if y_target is None else np.concatenate([y_source, y_target])
    known = np.concatenate([np.ones(len(y_source), dtype=bool), fixed])
    continuous = type_of_target(labels).startswith("continuous")
    if label_kernel == "classes" and continuous:
        raise ValueError("label_kernel='classes' needs classes, got y of a continuous quantity")
    if label_kernel == "values" or (label_kernel == "auto" and continuous):
        if labels.dtype.kind not in "biuf":
            raise ValueError(f"label_kernel='values' needs numbers, got y of dtype {labels.dtype}")
        columns = labels.astype(np.float64)[:, None]
        if standardize_y:
            columns = _standardized(columns, rows.root[known, None] ** 2)
    else:
        columns = (labels[:, None] == np.unique(labels)).astype(np.float64)
    Y = np.zeros((rows.n, columns.shape[1]))
    Y[known] = columns
    return np.asarray(rows.root[:, None] * Y)


def _standardized(columns: Array, weight: Array) -> Array:
    columns = columns - np.sum(weight * columns) / weight.sum()
    deviation = np.sqrt(np.sum(weight * columns * columns) / weight.sum())
    return np.asarray(columns / deviation if deviation > 0 else columns)
