"""Alignment by the nearest class: EasyTL."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from sklearn.base import ClassifierMixin, clone

from .. import ops
from ..arrays import Array, dtype_of, empty_like, index_of, like, namespace, to_numpy
from ..kernels import Energy
from .base import Aligner, Reweighter, TargetPredictor
from .domains import Domains, fit_arguments, kind_or_numbers, positive
from .labelled import Labelled, labelled_rows
from .mathematics.pencil import centred_blocks, moments, weighted_mean

__all__ = ["EasyTL"]


class EasyTL(ClassifierMixin, TargetPredictor):  # type: ignore[misc]
    """Easy transfer learning: each target row to the nearest class mean, and no class left without a row.

    The target rows X_j get the labels that minimise sum_j D_jc P_jc, D the Euclidean distance to the mean of
    class c, under P >= 0, sum_c P_jc = 1 and, for each class, sum_j P_jc >= 1. The last constraint binds only
    where a class is nearest to no row (to less than one, by weight); only then is the program solved.

    Parameters
    ----------
    align : what moves the rows first. "coral": source rows, those of all sources together, take the target's
        mean and covariance, with I added to both covariances, which divide by n - 1; this is the published
        EasyTL, stated for columns of mean 0 and variance 1. None: nothing, the published EasyTL(c). Or an
        aligner such as `CORAL()`.

    Fitted: `classes_` (C,); `means_` (C, q), of the source rows and the labelled target rows of each class;
    `prices_` (C,), what is taken off the distances to a class: 0 but for classes that would win no row, where
    they are prices of the program, so that `predict` repeats its labels; `labels_` (nt,), the labels of the
    target rows in `fit` (absent without a target); `align_`, the fitted aligner or None; `has_target_`.

    Rows may be CuPy arrays or CUDA tensors: they are moved and their distances taken there, by an `align`
    that does so; the program over these n x C distances, the labels and all predictions are on the host.

    Equal rows of which a class needs one only are told apart in `labels_`, not by `predict`. Fewer target
    rows than classes: nearest means, with a UserWarning.

    Cost: O(n C d), with "coral" O(n d^2 + d^3) more. The program has at most C^4 unknowns; with weights n C.
    Source: Wang, Chen, Yu, Huang, Yang, ICME 2019.
    """

    _on_device = True
    _without_target = "it predicts the nearest class mean of the source"

    def __init__(self, align: Any = "coral") -> None:
        self.align = align

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        align: Any = self.align
        if not (align is None or isinstance(align, Aligner) or (isinstance(align, str) and align == "coral")):
            raise ValueError(f"align must be None, 'coral' or an aligner such as CORAL(), got {align!r}")
        if isinstance(align, Reweighter):
            raise TypeError(f"align must move rows, {type(align).__name__} weighs them")
        several = domains.X_target is not None and len(np.unique(domains.target_domain)) > 1
        if several and isinstance(align, Aligner) and align._each_domain and not align._target_stays:
            raise ValueError(
                "align must move all targets alike, as predict takes rows of any; "
                f"{type(align).__name__} has a map for each"
            )
        # What is wrong with the labels is said before any work.
        labelled_rows(domains, source_weight, target_weight, classes=True)
        self.align_ = None
        if domains.X_target is not None and align == "coral":
            moved = _coral(domains, source_weight, target_weight)
            domains = domains._replace(X_source=moved)
        elif domains.X_target is not None and align is not None:
            self.align_ = clone(align).fit(**fit_arguments(domains, (source_weight, target_weight)))
            domains = domains._replace(
                X_source=self._moved(domains.X_source, kind_or_numbers(domains.source_domain)),
                X_target=self._moved(domains.X_target, kind_or_numbers(domains.target_domain)),
            )
        known = labelled_rows(domains, source_weight, target_weight, classes=True)
        self.classes_, code = np.unique(known.labels, return_inverse=True)
        self.means_: Array = _class_means(known, code, len(self.classes_))
        self.prices_ = np.zeros(len(self.classes_))
        if domains.X_target is None:
            return
        distances = self._distances(domains.X_target).astype(np.float64, copy=False)
        there, weight = positive(distances, target_weight)
        label, self.prices_ = _program(there, weight)
        every = np.argmin(distances - self.prices_, axis=1)
        every[... if target_weight is None else target_weight > 0] = label
        self.labels_ = self.classes_[every]

    def predict(self, X: Any) -> Array:
        """The classes (n,) of target rows `X` (n, d), on the host."""
        scores = self._scores(X)
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    def decision_function(self, X: Any) -> Array:
        """Price minus distance of each class (n, C); for two classes the second's minus the first's, (n,)."""
        scores = self._scores(X)
        return np.asarray(scores[:, 1] - scores[:, 0]) if len(self.classes_) == 2 else scores

    def _scores(self, X: Any) -> Array:
        rows = self._checked(X)
        return np.asarray(self.prices_ - self._distances(self._moved(rows, "target")))

    def _moved(self, rows: Array, domain: Any) -> Array:
        moved: Array = rows if self.align_ is None else self.align_.transform(rows, domain=domain)
        return moved

    def _distances(self, rows: Array) -> Array:
        """From each row to each class mean (n, C), on the host."""
        return -to_numpy(ops.kernel_matrix(rows, like(self.means_, rows), kernel=Energy()))


def _coral(domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
    """The source rows with the target's mean and, up to the identity added to both, its covariance."""
    assert domains.X_target is not None
    rows = domains.X_source
    source = moments(rows, source_weight, dtype=dtype_of(rows))
    target = moments(domains.X_target, target_weight, dtype=dtype_of(domains.X_target))
    for name, part in (("source", source), ("target", target)):
        if part.total <= 1:
            raise ValueError(
                f"align='coral' divides by n - 1, so the {name} rows must count more than one, got "
                f"{part.total:.3g} (a weight k counts as k rows); pass align=CORAL() to divide by n"
            )
    covariances = (part.scatter / (part.total - 1) for part in (source, target))
    (value_s, vector_s), (value_t, vector_t) = map(np.linalg.eigh, covariances)
    # Rounding makes zero eigenvalues slightly negative.
    root_s, root_t = (np.sqrt(np.maximum(values, 0) + 1) for values in (value_s, value_t))
    matrix = (vector_s / root_s) @ (vector_s.T @ vector_t * root_t) @ vector_t.T
    moved: Array = empty_like(rows, rows.shape[1])
    turn, goal, product = like(matrix, rows), like(target.mean, rows), namespace(rows).matmul
    for block, centred in centred_blocks(rows, source.mean.astype(dtype_of(rows))):
        product(centred, turn, out=moved[block])
        moved[block] += goal
    return moved


def _class_means(known: Labelled, code: Array, n_classes: int) -> Array:
    members = [code == c for c in range(n_classes)]
    return np.array([weighted_mean(known.rows[index_of(m, known.rows)], known.weight[m]) for m in members])


def _program(distances: Array, weight: Array) -> tuple[Array, Array]:
    """Class (n,) of each row and price (C,) of each class in the program that `EasyTL` states.

    `distances` (n, C); a row of weight k stands for k rows.
    """
    n, n_classes = distances.shape
    nearest = distances.argmin(axis=1)
    won = np.bincount(nearest, weights=weight, minlength=n_classes)
    if (won >= 1).all():
        return nearest, np.zeros(n_classes)
    if weight.sum() < n_classes:
        warnings.warn(
            f"EasyTL cannot give each of {n_classes} classes one of {weight.sum():.3g} target rows; the "
            "labels are the nearest class means",
            UserWarning,
            stacklevel=6,
        )
        return nearest, np.zeros(n_classes)
    free = np.arange(n) if (weight != 1).any() else _candidates(distances, nearest, n_classes)
    stay = np.delete(np.arange(n), free)
    needed = np.maximum(1 - np.bincount(nearest[stay], minlength=n_classes), 0)
    # The solver's tolerances are absolute, so costs are differences in a unit of their size.
    losses = distances - distances.min(axis=1, keepdims=True)
    largest = losses.max(axis=0)
    unit = float(largest[largest > 0].min()) if largest.any() else 1.0
    losses /= unit
    costs = losses[free]
    at = np.arange(costs.size)
    row, column = np.divmod(at, n_classes)
    found = linprog(
        costs.ravel(),
        A_ub=sparse.csr_array((-np.ones(costs.size), (column, at)), shape=(n_classes, costs.size)),
        b_ub=-needed,
        A_eq=sparse.csr_array((np.ones(costs.size), (row, at)), shape=(len(free), costs.size)),
        b_eq=weight[free],
        method="highs-ds",
    )
    if not found.success:
        raise RuntimeError(f"the linear program of EasyTL was not solved: {found.message}")
    shares = found.x.reshape(costs.shape) / weight[free, None]
    label = nearest.copy()
    label[free] = shares.argmax(axis=1)
    if shares.max(axis=1).min() < 1 - 1e-6:  # a row of larger weight is divided: it lies equally near to both
        return label, -unit * np.asarray(found.ineqlin.marginals)
    won = np.bincount(label, weights=weight, minlength=n_classes)
    return label, unit * _prices(losses, label, won <= 1 + 1e-9)


def _candidates(distances: Array, nearest: Array, n_classes: int) -> Array:
    """Rows that an optimum may move from their nearest class, where all weigh 1.

    A class takes at most one row, so at most C rows move; from class a to class c, one of the C that lose
    least will do.
    """
    chosen: set[int] = set()
    for a in range(n_classes):
        rows = np.flatnonzero(nearest == a)
        loss = distances[rows] - distances[rows, a][:, None]
        chosen.update(rows[np.argsort(loss, axis=0, kind="stable")[:n_classes]].ravel().tolist())
    return np.array(sorted(chosen), dtype=np.intp)


def _prices(distances: Array, label: Array, short: Array) -> Array:
    """Prices v >= 0 of the classes in `short` so that argmin_c (D_jc - v_c) is `label` by the widest margin.

    v_c - v_a + margin <= D_jc - D_ja for all rows j of class a and all other classes c.
    """
    n_classes = len(short)
    bounds: list[tuple[float, float | None]] = [(0, None if free else 0) for free in short]
    rows, limits = [], []
    for a in np.unique(label):
        of_class = distances[label == a]
        gaps = (of_class - of_class[:, [a]]).min(axis=0)
        for c in np.delete(np.arange(n_classes), a):
            rows.append(np.eye(n_classes + 1)[c] - np.eye(n_classes + 1)[a] + np.eye(n_classes + 1)[-1])
            limits.append(gaps[c])
    found = linprog(
        np.append(np.zeros(n_classes), -1),
        A_ub=np.array(rows),
        b_ub=np.array(limits),
        bounds=[*bounds, (None, None)],
        method="highs",
    )
    return np.asarray(found.x[:-1])
