"""Weights for source rows that match kernel means: KMM, and TargetShiftWeights for shifted classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import type_of_target

from .. import bandwidth, ops
from ..arrays import Array, check_finite
from ..kernels import DEFAULT_KERNEL, Energy, Kernel, check_kernel
from . import box_qp
from .base import Reweighter
from .domains import Domains, plain_labels, positive

__all__ = ["KMM", "TargetShiftWeights"]

STORED_ROWS = 4000  # up to here K is kept: 128 MB in float64


class KMM(Reweighter):
    """Kernel mean matching: weights under which the source has the kernel mean of the target.

    Minimises b'K b / 2 - kappa'b with kappa_i = (ns / nt) sum_j k(x_i, t_j), under 0 <= b <= bound and
    |sum b - ns| <= ns eps, to a proven duality gap. Rows of several sources are weighed as one sample,
    against all targets as one.

    Parameters
    ----------
    kernel : Kernel, positive semidefinite (not Energy), None for `RBF()`; a bandwidth rule is evaluated on
        all rows in `fit`
    bound : float > 0, the largest weight
    eps : float >= 0, how far the mean weight may be from 1; None: (sqrt(ns) - 1) / sqrt(ns)
    tol : float > 0, the duality gap to reach, relative to the objective: 1e-4 is 0.01 %. Below 1e-5 all
        products are in float64.
    max_iter : int >= 1, most steps; a gap still above `tol` is a ConvergenceWarning that says it

    Fitted: `weights_` (ns,), their sum near ns; `objective_`; `duality_gap_`, an upper bound of what the
    objective is above the optimum; `n_iter_` (1 without a target); `kernel_` (numbers only); `has_target_`.

    A row of `sample_weight` k is k rows that share their weight; ns and nt are sums of weights, and
    `weights_` is 0 for a row of weight 0. Where K is nearly singular, single weights depend on the accuracy
    of the solution: take a smaller `tol` to compare them.

    Cost: O(ns (ns + nt) d) for the kernel, then 10 to some hundred products with the block of K for the rows
    of positive weight. K is stored up to 4000 source rows; beyond, it is formed anew for each product, but
    for a block of up to 4000 rows in use.
    Source: Huang, Smola, Gretton, Borgwardt, Schoelkopf, NIPS 2006.
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        bound: float = 1000.0,
        eps: float | None = None,
        tol: float = 1e-4,
        max_iter: int = 5000,
    ) -> None:
        self.kernel = kernel
        self.bound = bound
        self.eps = eps
        self.tol = tol
        self.max_iter = max_iter

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        _check_box(self.bound, self.eps, self.tol, self.max_iter)
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        self.kernel_ = bandwidth.resolve(_definite(self.kernel), source, target)
        total = float(w_source.sum())
        eps = max(0.0, 1 - 1 / np.sqrt(total)) if self.eps is None else float(self.eps)
        dtype = np.result_type(source, target)
        source, target = source.astype(dtype, copy=False), target.astype(dtype, copy=False)
        share = (w_target * (total / w_target.sum())).astype(dtype)
        kappa = np.asarray(ops.kernel_matmul(source, target, share, kernel=self.kernel_), dtype=np.float64)
        solution = _solved(
            type(self).__name__,
            _matrix(source, self.kernel_),
            kappa,
            (float(self.bound), max(0.0, total * (1 - eps)), total * (1 + eps)),
            w_source,
            tol=float(self.tol),
            max_iter=int(self.max_iter),
        )
        self.objective_, self.duality_gap_ = solution.value, solution.gap
        self.n_iter_ = solution.n_iter
        return _in_place(solution.point, source_weight)

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        super()._learn_alone(domains, source_weight)
        self.n_iter_ = 1  # as of any estimator with max_iter


class TargetShiftWeights(Reweighter):
    """Weights for shifted class frequencies: one weight a class, the estimate of p_target(c) / p_source(c).

    Assumes the same rows within a class in both domains and matches the kernel means: minimises
    a'P a / 2 - q'a with P_cd the sum of k over the source rows of classes c and d, and q_c = ns / nt times
    that over class c and the target, under 0 <= a <= bound and |sum n_c a_c - ns| <= ns eps. Source labels
    are needed, target labels are not read. Rows of several sources count as one sample.

    Parameters
    ----------
    kernel : Kernel, positive semidefinite (not Energy), None for `RBF()`; a bandwidth rule is evaluated on
        all rows in `fit`
    bound : float > 0, the largest weight
    eps : float >= 0, how far the mean weight may be from 1; None: 10 / (4 sqrt(ns)), as the authors' code
    max_iter : int >= 1, most steps of the solver

    Fitted: `weights_` (ns,); `classes_` (C,); `class_weights_` (C,); `condition_`, that of P for class means
    (large: some classes have nearly the same kernel mean, and their weights are arbitrary; above 1e8 it is a
    UserWarning); `duality_gap_`; `n_iter_` (1 without a target); `kernel_` (numbers only); `has_target_`.

    A weight of k counts as the row k times; `weights_` is 0 for a row of weight 0.

    Cost: O(ns (ns + nt) d) time; no matrix beyond C x C.
    Source: Zhang, Schoelkopf, Muandet, Wang, ICML 2013, section 3. Its smoother of the labels is the mean
    within a class here.
    """

    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        bound: float = 10.0,
        eps: float | None = None,
        max_iter: int = 5000,
    ) -> None:
        self.kernel = kernel
        self.bound = bound
        self.eps = eps
        self.max_iter = max_iter

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        _check_box(self.bound, self.eps, 1e-9, self.max_iter)
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        labels = self._labels(domains.y_source, source_weight)
        self.classes_, group = np.unique(labels, return_inverse=True)
        self.kernel_ = bandwidth.resolve(_definite(self.kernel), source, target)
        total, count = float(w_source.sum()), len(self.classes_)
        mass = np.bincount(group, w_source)
        order = np.argsort(group, kind="stable")
        rows = np.concatenate([source[order], target])
        offsets = [0, *np.cumsum(np.bincount(group)).tolist(), len(rows)]
        weight = np.concatenate([w_source[order], w_target])
        pairs = np.stack(np.triu_indices(count + 1), axis=1)[:-1]  # all but the target with itself
        sums, diagonals = ops.block_sums(rows, offsets, pairs, kernel=self.kernel_, weights=weight)
        table = np.zeros((count + 1, count + 1))
        table[pairs[:, 0], pairs[:, 1]] = table[pairs[:, 1], pairs[:, 0]] = sums
        means = (table[:count, :count] + np.diag(diagonals[:count])) / np.outer(mass, mass)
        self.condition_ = float(np.linalg.cond(means))
        if not self.condition_ < 1e8:
            warnings.warn(
                f"TargetShiftWeights: the kernel means of the {count} classes have condition "
                f"{self.condition_:.0e}, so some classes cannot be told apart by them",
                UserWarning,
                stacklevel=5,
            )
        eps = 2.5 / np.sqrt(total) if self.eps is None else float(self.eps)
        solution = _solved(
            type(self).__name__,
            box_qp.StoredMatrix(means),
            table[:count, count] / mass * (total / w_target.sum()),
            (float(self.bound), max(0.0, total * (1 - eps)), total * (1 + eps)),
            mass,
            tol=1e-9,
            max_iter=int(self.max_iter),
        )
        self.class_weights_: Array = solution.point
        self.duality_gap_, self.n_iter_ = solution.gap, solution.n_iter
        return _in_place(solution.point[group], source_weight)

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        super()._learn_alone(domains, source_weight)
        self.n_iter_ = 1  # as of any estimator with max_iter

    def _labels(self, y: Array | None, weight: Array | None) -> Array:
        if y is None:
            raise ValueError("TargetShiftWeights requires y, the labels of the source, got None")
        labels = plain_labels(y if weight is None else y[weight > 0])
        if labels.dtype.kind == "f":
            check_finite(labels, "y")
        if labels.dtype == object:
            kinds = sorted({type(label).__name__ for label in labels.tolist()})
            raise ValueError(f"y must hold labels of one type, got {' and '.join(kinds)}")
        if type_of_target(labels).startswith("continuous"):
            raise ValueError("TargetShiftWeights needs class labels y, got continuous numbers")
        return labels


class _FormedMatrix:
    """K of many rows, formed anew for each product; blocks of few rows are stored."""

    def __init__(self, rows: Array, kernel: Kernel) -> None:
        self.rows, self.kernel = rows, kernel

    def times(self, vector: Array, precise: bool) -> Array:
        chosen = np.flatnonzero(vector)
        rows = self.rows.astype(np.float64, copy=False) if precise else self.rows
        part = vector[chosen].astype(rows.dtype)
        if not len(chosen):
            return np.zeros(len(rows))
        image = ops.kernel_matmul(rows, rows[chosen], part, kernel=self.kernel)
        return np.asarray(image, dtype=np.float64)

    def block(self, index: Array | None, precise: bool) -> Callable[[Array], Array]:
        if index is not None and len(index) <= STORED_ROWS:
            stored = ops.kernel_matrix(self.rows[index], kernel=self.kernel)
            return box_qp.StoredMatrix(stored).block(None, precise)
        part = self.rows if index is None else self.rows[index]
        return lambda vector: _FormedMatrix(part, self.kernel).times(vector, precise)

    def row(self, index: int) -> Array:
        return np.asarray(ops.kernel_matrix(self.rows[index : index + 1], self.rows, kernel=self.kernel)[0])


def _matrix(rows: Array, kernel: Kernel) -> box_qp.PositiveMatrix:
    if len(rows) <= STORED_ROWS:
        return box_qp.StoredMatrix(np.asarray(ops.kernel_matrix(rows, kernel=kernel)))
    return _FormedMatrix(rows, kernel)


def _solved(
    name: str,
    matrix: box_qp.PositiveMatrix,
    linear: Array,
    limits: tuple[float, float, float],
    weight: Array,
    *,
    tol: float,
    max_iter: int,
) -> box_qp.BoxSolution:
    """The solution under bound, low and high (`limits`), with a warning where it misses `tol`."""
    bound, low, high = limits
    if low > bound * float(weight.sum()):
        raise ValueError(
            f"bound must be at least 1 - eps = {low / weight.sum():g}, the least mean weight, got {bound:g}"
        )
    upper = np.full(len(linear), bound)
    solution = box_qp.minimise_in_box(
        matrix, linear, upper, low, high, weight=weight, tol=tol, max_iter=max_iter
    )
    if solution.gap > tol * abs(solution.value):
        warnings.warn(
            f"{name} stopped after {solution.n_iter} steps at a duality gap of {solution.gap:.1e}, "
            f"{solution.gap / max(abs(solution.value), np.finfo(float).tiny):.1e} of the objective, above "
            f"{tol:.0e}; raise max_iter, or take a narrower kernel",
            ConvergenceWarning,
            stacklevel=6,
        )
    return solution


def _in_place(weights: Array, source_weight: Array | None) -> Array:
    """Weights of the rows of positive weight, among zeros for the others."""
    if source_weight is None:
        return weights
    out = np.zeros(len(source_weight))
    out[source_weight > 0] = weights
    return out


def _definite(kernel: Any) -> Kernel:
    checked = DEFAULT_KERNEL if kernel is None else check_kernel(kernel)
    for _, part in checked.parts:
        if isinstance(part, Energy):
            raise ValueError(
                f"kernel must be positive semidefinite for its means to be matched, got {checked!r}"
            )
    return checked


def _check_box(bound: Any, eps: Any, tol: Any, max_iter: Any) -> None:
    for name, value in (("bound", bound), ("tol", tol)):
        if not isinstance(value, Real) or not 0 < float(value) < np.inf:
            raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
    if eps is not None and (not isinstance(eps, Real) or not 0 <= float(eps) < np.inf):
        raise ValueError(f"eps must be None or a finite number of at least 0, got {eps!r}")
    if isinstance(max_iter, bool) or not isinstance(max_iter, Integral) or max_iter < 1:
        raise ValueError(f"max_iter must be an integer of at least 1, got {max_iter!r}")
