"""The rows whose label is known, of both domains: joined for a model, dealt to folds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from ..arrays import Array, check_finite, dtype_of, index_of, namespace
from .domains import Domains, plain_labels

__all__ = [
    "Labelled",
    "are_continuous",
    "deal_folds",
    "is_text",
    "labelled_rows",
    "need_labels",
    "need_target",
    "read_labels",
]


class Labelled(NamedTuple):
    """Rows of positive weight with a known label, source rows first.

    `rows` (n, d), `labels` (n,), `weight` (n,) float64, `target` (n,) bool: which are rows of the target.
    """

    rows: Array
    labels: Array
    weight: Array
    target: Array


def labelled_rows(
    domains: Domains,
    source_weight: Array | None,
    target_weight: Array | None,
    *,
    classes: bool,
    least: int = 2,
) -> Labelled:
    """All source rows and the target rows declared labelled, without those of weight 0.

    Parameters
    ----------
    domains : with `y_source`
    source_weight, target_weight : (ns,) and (nt,), or None where all are 1
    classes : whether labels name classes; otherwise they are numbers, and become float64
    least : how many classes there must be

    Raises
    ------
    ValueError : labels that are not finite, not 1-d, of several kinds, unfit for classification, one class
        only, text in one domain and numbers in the other, rows or numbers whose squares overflow, or no
        weight at all.
    """
    assert domains.y_source is not None
    parts = [_part(domains.X_source, domains.y_source, source_weight, "y", classes)]
    chosen = domains.target_labelled
    if target_weight is not None:
        chosen = chosen & (target_weight > 0)
    if domains.X_target is not None and domains.y_target is not None and chosen.any():
        weight = None if target_weight is None else target_weight[chosen]
        rows = domains.X_target[index_of(chosen, domains.X_target)]
        parts.append(_part(rows, domains.y_target[chosen], weight, "y_target", classes))
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
    if classes and len(found := np.unique(labels)) < least:
        raise ValueError(f"y must hold at least 2 classes, got one class: {found.tolist()[0]!r}")
    return Labelled(rows, labels, weight, target)


def need_target(known: Labelled, name: str) -> None:
    """ValueError unless there is a target row among `known`; `name`: of the estimator."""
    if not known.target.any():
        raise ValueError(
            f"{name} needs labelled target rows of positive weight: pass y_target, or with sample_domain "
            "target_labelled"
        )


def need_labels(y: Any, name: str) -> None:
    """ValueError unless there are labels `y`; `name`: of the estimator."""
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None")


def read_labels(labels: Any, name: str) -> Array:
    """Labels (n,) of one kind; ValueError: not 1-d, not finite, None, or text among numbers."""
    labels = column_or_1d(labels, warn=name == "y")
    plain = plain_labels(labels)
    if plain.dtype == object:
        kinds = sorted({type(label).__name__ for label in plain.tolist()})
        raise ValueError(f"{name} must hold labels of one kind, got {' and '.join(kinds)}")
    if plain.dtype.kind == "f":
        check_finite(plain, name)
    return labels if plain.dtype.kind == "U" else plain


def are_continuous(labels: Array) -> bool:
    """Whether labels, as `read_labels` gives them, are numbers that are not all whole."""
    return labels.dtype.kind == "f" and bool((labels % 1 != 0).any())


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
    if weight is not None:
        there = weight > 0
        if not there.any():
            raise ValueError("sample_weight must be positive on at least one source row, got zeros only")
        rows, labels, weight = rows[index_of(there, rows)], labels[there], weight[there]
    labels = read_labels(labels, name)
    if classes:
        check_classification_targets(labels)
    else:
        if labels.dtype.kind in "OUS":
            raise ValueError(f"{name} must hold numbers, got text such as {str(labels[0])!r}")
        labels = labels.astype(np.float64)
        if max(labels.max(), -labels.min()) > np.sqrt(np.finfo(np.float64).max / (8 * labels.size)):
            raise ValueError(f"the squares of {name} must stay in the range of float64; scale {name}")
    return rows, labels, np.ones(len(rows)) if weight is None else weight


def is_text(labels: Array) -> bool:
    """Whether labels of one kind are text."""
    return labels.dtype.kind == "U" or (labels.dtype == object and isinstance(labels.flat[0], str))
