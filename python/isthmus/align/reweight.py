"""Weights for source rows that match the kernel mean of the target: KMM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import bandwidth, ops
from ..arrays import Array, dtype_of, index_of, like, namespace, narrowed, to_numpy, widened
from ..kernels import Kernel
from .base import Reweighter
from .checks import check_number
from .domains import Domains, positive
from .mathematics import box_matrix, box_qp
from .mean_matching import check_box, definite, in_place, solved

__all__ = ["KMM"]

STORED_ROWS = 4000  # up to here K is kept: 128 MB in float64
PROBED_ROWS = 5  # of K, in float32 and float64
NARROW_ERROR = (
    1e-5  # of an entry of K, relative to the largest, up to which rows in float32 serve for the steps
)
TINY_ROWS, HUGE_ROWS = 1e-15, 1e15  # float32 holds the squares of what is between


class KMM(Reweighter):
    """Kernel mean matching: weights under which the source has the kernel mean of the target.

    Minimises b'K b / 2 - kappa'b with kappa_i = (ns / nt) sum_j k(x_i, t_j), under 0 <= b <= bound and
    |sum b - ns| <= ns eps, to a proven duality gap. Rows of several sources are weighed as one sample,
    against all targets as one.

    Parameters
    ----------
    kernel : Kernel, positive semidefinite (not Energy), None for `RBF()`; a bandwidth rule is evaluated on
        all rows in `fit`, whatever their weights
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

    Rows may be CuPy arrays or CUDA tensors: K and its products are formed there; `weights_` are on the host.

    Cost: O(ns (ns + nt) d) for the kernel, 20 products with K, and some ten systems of equations in the
    rows of positive weight. Where these are very many, some hundred products with the block of K for them
    instead. K is stored up to 4000 source rows, in float32 for a `tol` of 1e-5 or more where that carries
    the rows, with the rows in use in float64; beyond, it is formed anew for each product, but for a block
    of up to 4000 rows in use.
    Source: Huang, Smola, Gretton, Borgwardt, Schoelkopf, NIPS 2006.
    """

    _on_device = True

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
        check_box(self)
        check_number(self, "tol")
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        self.kernel_ = bandwidth.resolve(definite(self.kernel), source, target)
        total = float(w_source.sum())
        eps = max(0.0, 1 - 1 / np.sqrt(total)) if self.eps is None else float(self.eps)
        if np.result_type(dtype_of(source), dtype_of(target)) == np.float64:
            source, target = widened(source), widened(target)
        share = like(w_target * (total / w_target.sum()), target)
        kappa = to_numpy(ops.kernel_matmul(source, target, share, kernel=self.kernel_)).astype(np.float64)
        solution = solved(
            type(self).__name__,
            _matrix(source, self.kernel_, float(self.tol)),
            kappa,
            (float(self.bound), max(0.0, total * (1 - eps)), total * (1 + eps)),
            w_source,
            tol=float(self.tol),
            max_iter=int(self.max_iter),
        )
        self.objective_, self.duality_gap_ = solution.value, solution.gap
        self.n_iter_ = solution.n_iter
        return in_place(solution.point, source_weight)

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        super()._learn_alone(domains, source_weight)
        self.n_iter_ = 1  # as of any estimator with max_iter


class _FormedMatrix:
    """K of many rows, formed anew for each product; blocks of few rows are stored."""

    def __init__(self, rows: Any, kernel: Kernel) -> None:
        self.rows, self.kernel = rows, kernel

    def times(self, vector: Array, precise: bool) -> Array:
        chosen = np.flatnonzero(vector)
        rows = widened(self.rows) if precise else self.rows
        if not len(chosen):
            return np.zeros(len(rows))
        part, some = like(vector[chosen], rows), rows[index_of(chosen, rows)]
        return to_numpy(ops.kernel_matmul(rows, some, part, kernel=self.kernel)).astype(np.float64)

    def block(self, index: Array | None, precise: bool) -> Callable[[Array], Array]:
        if index is not None and len(index) <= STORED_ROWS:
            stored = ops.kernel_matrix(self.rows[index_of(index, self.rows)], kernel=self.kernel)
            return box_matrix.StoredMatrix(stored).block(None, precise)
        part = self.rows if index is None else self.rows[index_of(index, self.rows)]
        return lambda vector: _FormedMatrix(part, self.kernel).times(vector, precise)

    def part(self, index: Array) -> Array:
        rows = widened(self.rows[index_of(index, self.rows)])
        return to_numpy(ops.kernel_matrix(rows, kernel=self.kernel))

    def row(self, index: int, precise: bool) -> Array:
        return to_numpy(ops.kernel_matrix(self.rows[index : index + 1], self.rows, kernel=self.kernel)[0])


class _TwoPrecisions(_FormedMatrix):
    """K of float64 rows: stored in float32, which leads, and formed in float64 where that is asked for."""

    def __init__(self, rows: Any, kernel: Kernel, narrow: Any) -> None:
        super().__init__(rows, kernel)
        self.narrow = box_matrix.StoredMatrix(narrow)
        self._wide: box_matrix.StoredMatrix | None = None
        self._lines = _Lines(rows, kernel) if namespace(rows) is np else None

    def times(self, vector: Array, precise: bool) -> Array:
        if not precise:
            return self.narrow.times(vector, False)
        if self._wide is not None:
            return self._wide.times(vector, True)
        chosen = np.flatnonzero(vector)
        if self._lines is None or 2 * len(chosen) > len(vector):
            return super().times(vector, True)
        return self._lines.times(vector, chosen)

    def part(self, index: Array) -> Array:
        if self._lines is None or 2 * len(index) > len(self.rows):
            return super().part(index)
        return self._lines.part(index)

    def block(self, index: Array | None, precise: bool) -> Callable[[Array], Array]:
        if not precise:
            return self.narrow.block(index, False)
        if self._wide is None:
            self._wide = box_matrix.StoredMatrix(ops.kernel_matrix(self.rows, kernel=self.kernel))
        return self._wide.block(index, True)

    def row(self, index: int, precise: bool) -> Array:
        if not precise:
            return self.narrow.row(index, False)
        return super().row(index, True) if self._wide is None else self._wide.row(index, True)


class _Lines:
    """Rows of K in float64, in numpy, each formed when it is first asked for."""

    def __init__(self, rows: Array, kernel: Kernel) -> None:
        self.rows, self.kernel = rows, kernel
        self._stored = np.empty((len(rows), len(rows)))
        self._place = np.full(len(rows), -1)
        self._count = 0

    def times(self, vector: Array, chosen: Array) -> Array:
        """K v, v being 0 but for the `chosen` numbers."""
        self._form(chosen)
        factors = np.zeros(self._count)
        factors[self._place[chosen]] = vector[chosen]
        return np.asarray(factors @ self._stored[: self._count])

    def part(self, index: Array) -> Array:
        """K[index][:, index]."""
        self._form(index)
        return self._stored.take(self._place[index], 0).take(index, 1)

    def _form(self, index: Array) -> None:
        lacking = index[self._place[index] < 0]
        if not len(lacking):
            return
        end = self._count + len(lacking)
        ops.kernel_matrix(
            self.rows[lacking], self.rows, kernel=self.kernel, out=self._stored[self._count : end]
        )
        self._place[lacking] = np.arange(self._count, end)
        self._count = end


def _matrix(rows: Any, kernel: Kernel, tol: float) -> box_matrix.PositiveMatrix:
    if len(rows) > STORED_ROWS:
        return _FormedMatrix(rows, kernel)
    if dtype_of(rows) == np.float64 and not box_qp.needs_precision(len(rows), tol):
        narrow = _narrow_matrix(rows, kernel)
        if narrow is not None:
            return _TwoPrecisions(rows, kernel, narrow)
    return box_matrix.StoredMatrix(ops.kernel_matrix(rows, kernel=kernel))


def _narrow_matrix(rows: Any, kernel: Kernel) -> Any | None:
    """K from centred float32 rows; None where some rows of it show that float32 does not carry them.

    These are rows near and far from the mean: an outlier alone moves the mean away from all others. Errors
    elsewhere cost steps, no accuracy.
    """
    if any(part.input == "dot" for _, part in kernel.parts):
        return None
    centred = rows - rows.mean(axis=0)
    if not TINY_ROWS < float(abs(centred).max()) < HUGE_ROWS:
        return None
    order = np.argsort(to_numpy((centred * centred).sum(axis=1)))
    some = index_of(order[np.linspace(0, len(order) - 1, PROBED_ROWS).astype(int)], rows)
    stored = ops.kernel_matrix(narrowed(centred), kernel=kernel)
    exact = ops.kernel_matrix(rows[some], rows, kernel=kernel)
    close = float(abs(stored[some] - exact).max()) <= NARROW_ERROR * float(abs(exact).max())
    return stored if close else None
