"""The classes of both domains as numbers, those of the source first, and those predicted for the target."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from ..arrays import Array, index_of, namespace, to_numpy
from .domains import Domains
from .labelled import labelled_rows, need_labels
from .mathematics.neighbours import NearestRow

__all__ = ["Classes", "number_classes", "predicted"]


class Classes(NamedTuple):
    """Classes of the rows of positive weight by number: 0 to `n_classes` - 1 are those of the source.

    `names` (C,): their labels, first those of the source, then those that only target labels have.
    `source` (ns,) of the source rows; `target` (nt,) of the target rows, -1 for an unknown one.
    """

    names: Array
    n_classes: int
    source: Array
    target: Array

    def model(self, classifier: Any, source: Array, target: Array, weights: tuple[Array, Array]) -> Any:
        """A clone of `classifier`, 1-NN for None or a single class, fitted on the rows whose class is known.

        These are `source` (ns, k) and some of `target` (nt, k); `weights` of both go where they are taken.
        """
        fixed = self.target >= 0
        rows = namespace(source).concatenate([source, target[index_of(fixed, target)]])
        numbers = np.concatenate([self.source, self.target[fixed]])
        if classifier is None or (numbers == numbers[0]).all():  # some classifiers refuse a single class
            return NearestRow(rows, numbers)
        model, rows = clone(classifier), to_numpy(rows)
        if not has_fit_parameter(model, "sample_weight"):
            return model.fit(rows, numbers)
        return model.fit(rows, numbers, sample_weight=np.concatenate([weights[0], weights[1][fixed]]))

    def predicted(self, model: Any, target: Array) -> Array:
        """Numbers (nt,) of the target rows `target` (nt, k): known ones stay, `model` predicts the others."""
        return np.where(self.target >= 0, self.target, predicted(model, target))


def predicted(model: Any, rows: Any) -> Array:
    """Classes of `rows`, which may be on a device; scikit-learn's models get them on the host."""
    return np.asarray(model.predict(rows if isinstance(model, NearestRow) else to_numpy(rows)))


def number_classes(
    domains: Domains,
    source_weight: Array | None,
    target_weight: Array | None,
    name: str,
    *,
    least: int = 2,
) -> Classes:
    """The classes of the labels that are known. ValueError as `labelled_rows`, and without labels `y`."""
    need_labels(domains.y_source, name)
    known = labelled_rows(domains, source_weight, target_weight, classes=True, least=least)
    names, number = np.unique(known.labels, return_inverse=True)
    of_source = np.zeros(len(names), dtype=bool)
    of_source[number[~known.target]] = True
    order = np.argsort(~of_source, kind="stable")
    number = np.argsort(order)[number]
    labelled = domains.target_labelled
    if target_weight is not None:
        labelled = labelled[target_weight > 0]
    target = np.full(len(labelled), -1)
    target[labelled] = number[known.target]
    return Classes(names[order], int(of_source.sum()), number[~known.target], target)
