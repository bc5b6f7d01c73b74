"""Pure mathematics of TJM: the pencil K H K a = w (reg D + F F') a with a new diagonal D for each solution.

D weighs the n rows one by one, so the problem is a dual whatever the kernel. With K H K = Q Q' it is solved
as Q'B^-1 Q z = w z: only 1 / D is multiplied, and a row that D all but excludes costs no digits.
"""

from __future__ import annotations

import numpy as np

from ... import ops
from ...arrays import Array, generator
from ...kernels import Kernel, Linear
from .embedding import Projection, Rows
from .kernel_rows import SPARE, KernelProduct, solve_whole
from .pencil import Solution, centred, contrast_norm
from .z_form import Metric, solve_factored, solve_streamed

__all__ = ["InstanceProblem", "LinearInstances", "StoredInstances", "StreamedInstances", "pose_instances"]


class InstanceProblem:
    """One data set under one kernel; `solve` takes any contrasts and any D."""

    gate = 1e-8

    def __init__(self, rows: Rows, reg: float) -> None:
        self.rows, self.reg = rows, reg
        self.root = rows.root[:, None]

    def factor(self, contrasts: Array) -> Array:
        """F = K E / sqrt(c), (n, q)."""
        return np.asarray(self.product(contrasts) / np.sqrt(contrast_norm(contrasts)))

    def solve(self, factor: Array, inverse: Array, n_components: int) -> tuple[Solution, Metric]:
        """The leading components for F (n, q) and 1 / D as `inverse` (n,), and the metric reg D + F F'."""
        scale = inverse[:, None] / self.reg
        metric = Metric(lambda v: v / scale, lambda v: v * scale, factor)
        return self._solve(metric, n_components), metric

    def product(self, columns: Array) -> Array:
        """K V, rows and columns of K times the square roots of the weights."""
        raise NotImplementedError

    def projection(self, vectors: Array) -> Projection:
        """What embeds new rows. The coefficient of a weighted row is that of all its repetitions together."""
        return Projection(self.root * vectors, None, self.rows.stacked(self.rows.dtype))

    def _solve(self, metric: Metric, n_components: int) -> Solution:
        raise NotImplementedError

    def _centred(self, columns: Array) -> Array:
        """H V, weighted."""
        return centred(columns, self.rows.root)


class LinearInstances(InstanceProblem):
    """K = X X': Q is n x r with r the rank of the centred rows, and no n x n matrix appears."""

    def __init__(self, rows: Rows, reg: float) -> None:
        super().__init__(rows, reg)
        self._weighted = rows.weighted()
        # K H K = X (Xc'Xc) X', and the small factor of Xc has the singular values of Xc.
        triangle = np.linalg.qr(self._centred(self._weighted), mode="r")
        _, singular, directions = np.linalg.svd(triangle, full_matrices=False)
        rank = int(np.sum(singular > singular[0] * np.finfo(float).eps * max(self._weighted.shape)))
        self._range = self._weighted @ (directions[:rank].T * singular[:rank])

    def product(self, columns: Array) -> Array:
        return np.asarray(self._weighted @ (self._weighted.T @ columns))

    def projection(self, vectors: Array) -> Projection:
        return Projection(self.root * vectors, self._weighted.T @ vectors, None)

    def _solve(self, metric: Metric, n_components: int) -> Solution:
        return solve_factored(self._range, metric, n_components)


class StoredInstances(InstanceProblem):
    """K stored in float64, Q = K H of n columns."""

    def __init__(self, rows: Rows, kernel: Kernel, reg: float) -> None:
        super().__init__(rows, reg)
        matrix = np.asarray(ops.kernel_matrix(rows.stacked(np.float64), kernel=kernel))
        self._matrix = self.root * matrix * rows.root
        self._range = self._centred(self._matrix).T

    def product(self, columns: Array) -> Array:
        return np.asarray(self._matrix @ columns)

    def _solve(self, metric: Metric, n_components: int) -> Solution:
        return solve_factored(self._range, metric, n_components)


class StreamedInstances(InstanceProblem):
    """K in products with a few columns.

    Each solution starts from the vectors of the last one.
    """

    def __init__(
        self, rows: Rows, kernel: Kernel, reg: float, tol: float | None, max_passes: int, random_state: object
    ) -> None:
        super().__init__(rows, reg)
        self._kernel = KernelProduct(rows, kernel)
        self.gate = self._kernel.gate
        self._tol, self._max_passes = self.gate if tol is None else tol, max_passes
        self._rng = generator(random_state)
        self._start: Array = np.empty((rows.n, 0))

    def product(self, columns: Array) -> Array:
        return self._kernel(columns)

    def _solve(self, metric: Metric, n_components: int) -> Solution:
        n = self.rows.n
        block = min(n, n_components + SPARE)
        more = self._rng.standard_normal((n, block - self._start.shape[1]))
        solution, self._start = solve_streamed(
            lambda v: self.product(self._centred(v)),
            lambda v: self._centred(self.product(v)),
            metric,
            self._centred(np.hstack([self._start, more])),
            n_components,
            tol=self._tol,
            max_passes=self._max_passes,
        )
        return solution


def pose_instances(
    rows: Rows,
    kernel: Kernel,
    reg: float,
    *,
    n_components: int,
    eigen_solver: str,
    tol: float | None,
    max_passes: int,
    random_state: object,
) -> InstanceProblem:
    """The problem of `rows` under `kernel` (numbers only) with the solver for its size."""
    if isinstance(kernel, Linear) and eigen_solver == "auto":
        return LinearInstances(rows, reg)
    if solve_whole(rows.n, n_components, eigen_solver):
        return StoredInstances(rows, kernel, reg)
    return StreamedInstances(rows, kernel, reg, tol, max_passes, random_state)
