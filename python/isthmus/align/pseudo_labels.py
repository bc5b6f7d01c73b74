"""Classes of both domains as numbers, and the classes a model of the source predicts for the target."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import has_fit_parameter

from ..arrays import Array, check_finite
from .domains import Domains, plain_labels

__all__ = ["Classes", "guess", "known_labels", "number_classes"]


class Classes(NamedTuple):
    """Classes by number: 0 to `n_classes` - 1 are those of the source, in the order of their labels.

    `source` (ns,) of the source rows; `target` (nt,) of the target rows, `n_classes` or more for a class that
    the source lacks, -1 for an unknown one; `fixed` (nt,): a known label.
    """

    n_classes: int
    source: Array
    target: Array
    fixed: Array


def known_labels(
    domains: Domains, used_source: Array, used_target: Array, name: str
) -> tuple[Array, Array | None, Array]:
    """Labels of the source rows in use, of the target rows whose label is known, and which those are.

    `used_source`, `used_target`: masks of the rows in use. `y_source` must be there.

    Raises
    ------
    ValueError : no labels y, NaN or infinity among labels, text mixed with numbers.
    """
    if domains.y_source is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None")
    y_source = _flat(domains.y_source[used_source], "y")
    fixed = domains.target_labelled[used_target]
    if not fixed.any():
        return y_source, None, fixed
    assert domains.y_target is not None
    y_target = _flat(domains.y_target[used_target][fixed], "y_target")
    if (y_source.dtype.kind == "U") != (y_target.dtype.kind == "U"):
        raise ValueError(
            f"y and y_target must hold labels of one kind, got {y_source.dtype} and {y_target.dtype}"
        )
    return y_source, y_target, fixed


def number_classes(domains: Domains, used_source: Array, used_target: Array, name: str) -> Classes:
    """The classes of the source, and which rows of both domains are known to be of them.

    Raises ValueError as `known_labels`, and for labels of a continuous quantity.
    """
    y_source, y_target, fixed = known_labels(domains, used_source, used_target, name)
    if type_of_target(y_source).startswith("continuous"):
        raise ValueError(f"{name} needs classes, got y of a continuous quantity")
    names, source = np.unique(y_source, return_inverse=True)
    target = np.full(len(fixed), -1)
    if y_target is not None:
        names = np.concatenate([names, np.setdiff1d(y_target, names)])
        order = np.argsort(names)
        target[fixed] = order[np.searchsorted(names, y_target, sorter=order)]
    return Classes(int(source.max()) + 1, source, target, fixed)


def guess(
    classifier: Any, classes: Classes, source: Array, target: Array, weights: tuple[Array, Array]
) -> Array:
    """Class numbers (nt,) of the target rows: known labels stay, the rest is predicted.

    `classifier` None is 1-NN; else a clone is fitted, with `weights` (of source and of target rows) where it
    takes them and they are not all 1. It learns from the rows `source` (ns, k) and from the rows of `target`
    (nt, k) whose class is known.
    """
    fixed = classes.fixed
    rows = np.concatenate([source, target[fixed]])
    numbers = np.concatenate([classes.source, classes.target[fixed]])
    weight = np.concatenate([weights[0], weights[1][fixed]])
    if (numbers == numbers[0]).all():  # some classifiers refuse a single class
        return np.where(fixed, classes.target, numbers[0])
    if classifier is None:
        model = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    else:
        model = clone(classifier)
    weighted = has_fit_parameter(model, "sample_weight") and bool((weight != 1).any())
    model.fit(rows, numbers, **({"sample_weight": weight} if weighted else {}))
    return np.asarray(np.where(fixed, classes.target, model.predict(target)))


def _flat(labels: Array, name: str) -> Array:
    labels = plain_labels(labels)
    if labels.ndim != 1:
        raise ValueError(f"{name} must hold one label a row, got shape {labels.shape}")
    if labels.dtype == object:
        kinds = sorted({type(label).__name__ for label in labels.tolist()})
        raise ValueError(f"{name} must hold labels of one kind, got {', '.join(kinds)}")
    if labels.dtype.kind == "f":
        check_finite(labels, name)
    return labels
