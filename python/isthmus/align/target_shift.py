"""Weights for source rows under shifted labels, classes or numbers, that match kernel means."""

from __future__ import annotations

import warnings

import numpy as np

from .. import bandwidth, ops
from ..arrays import Array, dtype_of, home, index_of, like, namespace, to_numpy, widened
from ..homes import HOST
from ..kernels import RBF, Kernel
from .base import Reweighter
from .checks import check_number
from .domains import Domains, positive
from .labelled import are_continuous, need_labels, read_labels
from .mathematics import box_matrix
from .mean_matching import check_box, definite, in_place, solved

__all__ = ["TargetShiftWeights"]

LANDMARKS = 20  # labels of a regression at which the weights are free


class TargetShiftWeights(Reweighter):
    """Weights for shifted labels: the estimate of p_target(y) / p_source(y), one weight a class.

    Assumes the same rows for a label in both domains and matches the kernel means: minimises
    a'P a / 2 - q'a with P_cd the sum of k over the source rows of classes c and d, and q_c = ns / nt times
    that over class c and the target, under 0 <= a <= bound and |sum n_c a_c - ns| <= ns eps. Source labels
    are needed, target labels are not read. Rows of several sources count as one sample.

    With the numbers of a regression the weight is a smooth function of the label, a mean of values at up to
    20 labels, and kernel ridge regression on the labels says which rows belong to a label.

    Parameters
    ----------
    kernel : Kernel, positive semidefinite (not Energy), None for `RBF()`; a bandwidth rule is evaluated on
        all rows in `fit`, whatever their weights
    bound : float > 0, the largest weight
    eps : float >= 0, how far the mean weight may be from 1; None: 10 / (4 sqrt(ns)), as the authors' code
    regression : whether labels are the numbers of a regression; None: if some have a fraction
    label_bandwidth : float > 0, of the RBF kernel of numbers, in median distances of the distinct labels
    label_reg : float > 0, the ridge of the regression on numbers
    max_iter : int >= 1, most steps of the solver

    Fitted: `weights_` (ns,); `classes_` (C,); `class_weights_` (C,); `condition_`, that of P for class means
    (large: some classes have nearly the same kernel mean, and their weights are arbitrary; above 1e8 it is a
    UserWarning); `label_grid_` and `label_weights_` (c,) in place of these three with numbers;
    `duality_gap_`; `n_iter_` (1 without a target); `kernel_` (numbers only); `has_target_`.

    A weight of k counts as the row k times; `weights_` is 0 for a row of weight 0.

    Rows may be CuPy arrays or CUDA tensors: sums and products with K are taken there; the small problem is
    solved on the host, where labels and `weights_` are.

    Cost: O(ns (ns + nt) d) time; no matrix beyond C x C, or ns x 20 with numbers.
    Source: Zhang, Schoelkopf, Muandet, Wang, ICML 2013, section 3. Its smoother of the labels,
    L (L + reg I)^-1 for the kernel matrix L of the labels, is the mean within a class for classes. Weights of
    numbers are there smoothed too, here a mean of bounded values, so that they keep the bound.
    """

    _on_device = True
    _takes_numbers = True

    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        bound: float = 10.0,
        eps: float | None = None,
        regression: bool | None = None,
        label_bandwidth: float = 0.6,
        label_reg: float = 0.1,
        max_iter: int = 5000,
    ) -> None:
        self.kernel = kernel
        self.bound = bound
        self.eps = eps
        self.regression = regression
        self.label_bandwidth = label_bandwidth
        self.label_reg = label_reg
        self.max_iter = max_iter

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        check_box(self)
        if self.regression is not None and not isinstance(self.regression, bool):
            raise ValueError(f"regression must be True, False or None, got {self.regression!r}")
        for name in ("label_bandwidth", "label_reg"):
            check_number(self, name)
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        if np.result_type(dtype_of(source), dtype_of(target)) == np.float64:
            source, target = widened(source), widened(target)
        need_labels(domains.y_source, type(self).__name__)
        assert domains.y_source is not None
        labels = read_labels(positive(domains.y_source, source_weight)[0], "y")
        self.kernel_ = bandwidth.resolve(definite(self.kernel), source, target)
        for name in ("classes_", "class_weights_", "condition_", "label_grid_", "label_weights_"):
            self.__dict__.pop(name, None)  # of labels of the other kind, fitted before
        total = float(w_source.sum())
        w_target = w_target * (total / w_target.sum())
        eps = 2.5 / np.sqrt(total) if self.eps is None else float(self.eps)
        limits = (float(self.bound), max(0.0, total * (1 - eps)), total * (1 + eps))
        numbers = self.regression
        if numbers is None:
            numbers = are_continuous(labels)
        elif numbers and labels.dtype.kind not in "biuf":
            raise ValueError(f"y must hold numbers with regression=True, got {labels[0]!r}")
        of = self._of_numbers if numbers else self._of_classes
        means, linear, mass, place = of(labels, source, w_source, target, w_target)
        solution = solved(
            type(self).__name__,
            box_matrix.StoredMatrix(means),
            linear,
            limits,
            mass,
            tol=1e-6 if numbers else 1e-9,
            max_iter=int(self.max_iter),
        )
        self.duality_gap_, self.n_iter_ = solution.gap, solution.n_iter
        if numbers:
            self.label_weights_: Array = solution.point
            return in_place(place @ solution.point, source_weight)
        self.class_weights_: Array = solution.point
        return in_place(solution.point[place], source_weight)

    def _of_classes(
        self,
        labels: Array,
        source: Array,
        w_source: Array,
        target: Array,
        w_target: Array,
    ) -> tuple[Array, Array, Array, Array]:
        """P and q over the masses n, n (C,), and the class of each row."""
        classes, group = np.unique(labels, return_inverse=True)
        self.classes_: Array = classes
        count = len(self.classes_)
        mass = np.bincount(group, w_source)
        order = np.argsort(group, kind="stable")
        rows = namespace(source).concatenate([source[index_of(order, source)], target])
        offsets = [0, *np.cumsum(np.bincount(group)).tolist(), len(rows)]
        where = home(rows) or HOST
        weight = where.asarray(np.concatenate([w_source[order], w_target]), np.dtype(np.float64))
        pairs = np.stack(np.triu_indices(count + 1), axis=1)[:-1]  # all but the target with itself
        sums, diagonals = ops.block_sums(rows, offsets, pairs, kernel=self.kernel_, weights=weight)
        table = np.zeros((count + 1, count + 1))
        table[pairs[:, 0], pairs[:, 1]] = table[pairs[:, 1], pairs[:, 0]] = to_numpy(sums)
        means = (table[:count, :count] + np.diag(to_numpy(diagonals)[:count])) / np.outer(mass, mass)
        self.condition_ = float(np.linalg.cond(means))
        if not self.condition_ < 1e8:
            warnings.warn(
                f"TargetShiftWeights: the kernel means of the {count} classes have condition "
                f"{self.condition_:.0e}, so some classes cannot be told apart by them",
                UserWarning,
                stacklevel=6,
            )
        return means, table[:count, count] / mass, mass, group

    def _of_numbers(
        self,
        labels: Array,
        source: Array,
        w_source: Array,
        target: Array,
        w_target: Array,
    ) -> tuple[Array, Array, Array, Array]:
        """P and q over the masses n, n (c,), and R: the row weights are R a."""
        known, inverse = np.unique(labels, return_inverse=True)
        known = known.astype(np.float64)
        scaled = known / (np.abs(known).max() or 1.0)
        scaled = scaled - scaled[0]
        scaled = scaled / (scaled[-1] or 1.0)
        places = np.linspace(0, len(known) - 1, min(LANDMARKS, len(known))).round().astype(int)
        self.label_grid_: Array = known[places]
        scale = bandwidth.scale_of(bandwidth.resolve(RBF(), scaled[:, None])) if len(known) > 1 else 1.0
        assert isinstance(scale, float)
        bumps, share = _smoothed(
            scaled[inverse], w_source, scaled[places], self.label_bandwidth * scale, self.label_reg
        )
        mass = w_source @ share
        columns, row = like(bumps, source), like(w_target, source)
        image = to_numpy(ops.kernel_matmul(source, source, columns, kernel=self.kernel_)).astype(np.float64)
        shift = to_numpy(ops.kernel_matmul(source, target, row, kernel=self.kernel_)).astype(np.float64)
        linear = bumps.T @ shift
        means = bumps.T @ image / np.outer(mass, mass)
        # Rounding may leave eigenvalues below 0.
        values, vectors = np.linalg.eigh((means + means.T) / 2)
        means = (vectors * np.maximum(values, 0)) @ vectors.T
        return means, linear / mass, mass, share

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        super()._learn_alone(domains, source_weight)
        self.n_iter_ = 1  # as of any estimator with max_iter


def _smoothed(y: Array, weight: Array, marks: Array, width: float, reg: float) -> tuple[Array, Array]:
    """What weights at landmarks mean for rows with labels y (n,): two matrices (n, c).

    The second, R, has rows that sum to 1: row weights are R a. The first is G: the rows' kernel means given
    their labels, weighed by R a, are the rows weighed by G a. For rows of weight 1 it is L (L + reg I)^-1 R,
    with L = near among^-1 near', the kernel matrix of the labels by landmarks (Nystroem).
    """
    distance = ((y[:, None] - marks) / width) ** 2 / 2
    near = np.exp(-distance)
    share = np.exp(distance.min(axis=1, keepdims=True) - distance)
    share /= share.sum(axis=1, keepdims=True)
    among = np.exp(-(((marks[:, None] - marks) / width) ** 2) / 2)
    heavy = weight[:, None] * near
    system = near.T @ heavy + reg * among + 1e-10 * weight.sum() * np.eye(len(marks))
    return np.asarray(heavy @ np.linalg.solve(system, heavy.T @ share)), np.asarray(share)
