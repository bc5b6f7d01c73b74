"""The rows whose label is known, of both domains: joined for a model, dealt to folds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

from ..arrays import Array, check_finite, dtype_of, index_of, namespace
from .domains import Domains, plain_labels

__all__ = ["Labelled", "class_labels", "deal_folds", "is_text", "labelled_rows", "need_target"]


class Labelled(NamedTuple):
    """Rows of positive weight with a known label, source rows first.

    `rows` (n, d), `labels` (n,), `weight` (n,) float64, `target` (n,) bool: which are rows of the target.
    """

    rows: Array
    labels: Array
    weight: Array
    target: Array


def labelled_rows(
    domains: Domains, source_weight: Array | None, target_weight: Array | None, *, classes: bool
) -> Labelled:
    """All source rows and the target rows declared labelled, without those of weight 0.

    Parameters
    ----------
    domains : with `y_source`
    source_weight, target_weight : (ns,) and (nt,), or None where all are 1
    classes : whether labels name classes; otherwise they are numbers, and become float64

    Raises
    ------
    ValueError : labels that are not finite, not 1-d, of several kinds, unfit for classification, one class
        only, text in one domain and numbers in the other, rows or numbers whose squares overflow, or no
        weight at all.
    """
    assert domains.y_source is not None
    parts = [_part(domains.X_source, domains.y_source, source_weight, "y", classes)]
    if domains.X_target is not None and domains.y_target is not None and domains.target_labelled.any():
        chosen = domains.target_labelled
        labels = plain_labels(domains.y_target[chosen])
        weight = None if target_weight is None else target_weight[chosen]
        parts.append(
            _part(domains.X_target[index_of(chosen, domains.X_target)], labels, weight, "y_target", classes)
        )
        if classes and len({is_text(part[1]) for part in parts}) > 1:
            raise ValueError(
                "y and y_target must hold labels of one kind, got text on one side and numbers on the other"
            )
    target = np.repeat(np.arange(len(parts)) > 0, [len(part[0]) for part in parts])
    rows = namespace(parts[0][0]).concatenate([part[0] for part in parts])
    labels, weight = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    dtype, count = dtype_of(rows), len(rows) * rows.shape[1]
    if max(float(rows.max()), -float(rows.min())) > np.sqrt(np.finfo(dtype).max / (8 * count)):
        raise ValueError(f"the squares of the rows must stay in the range of {dtype}; scale the columns of X")
    if classes and len(found := np.unique(labels)) < 2:
        raise ValueError(f"y must hold at least 2 classes, got one class: {found.tolist()[0]!r}")
    return Labelled(rows, labels, weight, target)


def need_target(known: Labelled, name: str) -> None:
    """ValueError unless there is a target row among `known`; `name`: of the estimator."""
    if not known.target.any():
        raise ValueError(
            f"{name} needs labelled target rows of positive weight: pass y_target, or with sample_domain "
            "target_labelled"
        )


def class_labels(labels: Any, name: str) -> Array:
    """Labels (n,) that name classes; ValueError: not 1-d, not finite, None or text among numbers."""
    checked = plain_labels(column_or_1d(labels))
    if checked.dtype.kind == "f":
        check_finite(checked, name)
    if checked.dtype == object:
        kinds = sorted({type(label).__name__ for label in checked.tolist()})
        raise ValueError(f"{name} must hold text or numbers, got {' and '.join(kinds)}")
    return checked


def deal_folds(rows: Array, labels: Array, n_folds: int) -> Array:
    """The fold (n,) of each row, 0 to n_folds - 1: rows sorted by label are dealt out in turn.

    So every fold has its share of each class, or of small and of large values, and the order in which the
    rows are given plays no part.
    """
    fold = np.empty(len(rows), dtype=np.intp)
    fold[np.lexsort((*rows.T[::-1], labels))] = np.arange(len(rows)) % n_folds
    return fold


def _part(
    rows: Array, labels: Any, weight: Array | None, name: str, classes: bool
) -> tuple[Array, Array, Array]:
    labels = column_or_1d(labels, warn=name == "y")
    if labels.dtype == object and plain_labels(labels).dtype == object:
        kinds = sorted({type(entry).__name__ for entry in labels})
        if len(kinds) > 1:
            raise ValueError(f"{name} must hold labels of one kind, got {' and '.join(kinds)}")
    if classes:
        if labels.dtype.kind == "f":
            check_finite(labels, name)
        check_classification_targets(labels)
    else:
        if labels.dtype.kind in "US":
            raise ValueError(f"{name} must hold numbers, got text such as {str(labels[0])!r}")
        labels = check_array(labels, dtype=np.float64, ensure_2d=False, ensure_all_finite=False)
        check_finite(labels, name)
        if max(labels.max(), -labels.min()) > np.sqrt(np.finfo(np.float64).max / (8 * labels.size)):
            raise ValueError(f"the squares of {name} must stay in the range of float64; scale {name}")
    if weight is None:
        return rows, labels, np.ones(len(rows))
    there = weight > 0
    if name == "y" and not there.any():
        raise ValueError("sample_weight must be positive on at least one source row, got zeros only")
    return rows[index_of(there, rows)], labels[there], weight[there]


def is_text(labels: Array) -> bool:
    """Whether labels of one kind are text."""
    return labels.dtype.kind == "U" or (labels.dtype == object and isinstance(labels.flat[0], str))
