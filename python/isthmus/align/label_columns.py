"""Known labels as columns Y, so that Y Y' is the kernel of the labels: of classes, or of values."""

from __future__ import annotations

import numpy as np

from ..arrays import Array
from .domains import Domains, positive
from .labelled import are_continuous, labelled_rows, need_labels, read_labels
from .mathematics.embedding import Rows

__all__ = ["LABEL_KERNELS", "label_columns"]

LABEL_KERNELS = ("auto", "classes", "values")


def label_columns(
    domains: Domains,
    rows: Rows,
    source_weight: Array | None,
    target_weight: Array | None,
    name: str,
    *,
    label_kernel: str,
    standardize_y: bool,
) -> Array | None:
    """Y (n, q), source rows first, times the square roots of the weights; None where no label is known.

    "classes": a column of ones and zeros for each class; "values": one column, with mean 0 and variance 1
    over the labelled rows if `standardize_y`; "auto" takes values where they are not all whole numbers. A row
    without a known label is zero.

    Raises ValueError as `labelled_rows`, and for labels of the target without those of the source.
    """
    known = domains.target_labelled
    if domains.y_source is None and not known.any():
        return None
    need_labels(domains.y_source, name)
    assert domains.y_source is not None
    values = label_kernel == "values"
    if label_kernel == "auto":
        values = are_continuous(read_labels(positive(domains.y_source, source_weight)[0], "y"))
        if domains.y_target is not None:
            used = known if target_weight is None else known & (target_weight > 0)
            values = values or are_continuous(read_labels(domains.y_target[used], "y_target"))
    labels = labelled_rows(domains, source_weight, target_weight, classes=not values, least=1).labels
    if target_weight is not None:
        known = known[target_weight > 0]
    known = np.concatenate([np.ones(rows.n - len(known), dtype=bool), known])
    if values:
        columns = labels[:, None]
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
