"""Pure mathematics of TJM: the pencil K H K a = w (reg D + F F') a with a new diagonal D for each solution.

D weighs the n rows one by one, so the problem is a dual whatever the kernel. With K H K = Q Q' it is solved
as Q'B^-1 Q z = w z: only 1 / D is multiplied, and a row that D all but excludes costs no digits. Of rows on a
device, K, Q and the vectors are there; contrasts and D are on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...algebra import triangle
from ...arrays import Array, beside, generator, like, namespace, to_numpy
from ...kernels import Kernel, Linear
from .embedding import Projection, Rows
from .kernel_rows import SPARE, KernelProduct, solve_whole
from .pencil import Solution, centred, contrast_norm
from .z_form import Metric, solve_factored, solve_streamed

__all__ = ["InstanceProblem", "LinearInstances", "StoredInstances", "StreamedInstances", "pose_instances"]


class InstanceProblem:
    """One data set under one kernel; `solve` takes any contrasts and any D.

    `root` (n, 1): square roots of the weights, where the rows are.
    """

    gate = 1e-8

    def __init__(self, rows: Rows, reg: float) -> None:
        self.rows, self.reg = rows, reg
        self.root = rows.where.asarray(rows.root[:, None], np.dtype(np.float64))

    def factor(self, contrasts: Array) -> Any:
        """F = K E / sqrt(c), (n, q)."""
        return self.product(contrasts) / float(np.sqrt(contrast_norm(contrasts)))

    def solve(self, factor: Any, inverse: Array, n_components: int) -> tuple[Solution, Metric]:
        """The leading components for F (n, q) and 1 / D as `inverse` (n,), and the metric reg D + F F'."""
        scale = beside(inverse[:, None] / self.reg, factor)
        metric = Metric(lambda v: v / scale, lambda v: v * scale, factor)
        return self._solve(metric, n_components), metric

    def product(self, columns: Any) -> Any:
        """K V, rows and columns of K times the square roots of the weights; V may be on the host."""
        raise NotImplementedError

    def projection(self, vectors: Any) -> Projection:
        """What embeds new rows. The coefficient of a weighted row is that of all its repetitions together."""
        return Projection(to_numpy(self.root * vectors), None, to_numpy(self.rows.stacked(self.rows.dtype)))

    def _solve(self, metric: Metric, n_components: int) -> Solution:
        raise NotImplementedError

    def _centred(self, columns: Any) -> Any:
        """H V, weighted."""
        return centred(columns, self.rows.root)


class LinearInstances(InstanceProblem):
    """K = X X': Q is n x r with r the rank of the centred rows, and no n x n matrix appears."""

    def __init__(self, rows: Rows, reg: float) -> None:
        super().__init__(rows, reg)
        self._weighted = rows.weighted()
        # K H K = X (Xc'Xc) X', and the small factor of Xc has the singular values of Xc.
        small = triangle(self._centred(self._weighted))
        _, singular, directions = np.linalg.svd(small, full_matrices=False)
        rank = int(np.sum(singular > singular[0] * np.finfo(float).eps * max(self._weighted.shape)))
        self._range = self._weighted @ beside(directions[:rank].T * singular[:rank], self._weighted)

    def product(self, columns: Any) -> Any:
        return self._weighted @ (self._weighted.T @ beside(columns, self._weighted))

    def projection(self, vectors: Any) -> Projection:
        return Projection(to_numpy(self.root * vectors), to_numpy(self._weighted.T @ vectors), None)

    def _solve(self, metric: Metric, n_components: int) -> Solution:
        return solve_factored(self._range, metric, n_components)


class StoredInstances(InstanceProblem):
    """K stored in float64, Q = K H of n columns."""

    def __init__(self, rows: Rows, kernel: Kernel, reg: float) -> None:
        super().__init__(rows, reg)
        matrix = ops.kernel_matrix(rows.stacked(np.float64), kernel=kernel)
        self._matrix = self.root * matrix * self.root[:, 0]
        self._range = self._centred(self._matrix).T

    def product(self, columns: Any) -> Any:
        return self._matrix @ beside(columns, self._matrix)

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
        self._start: Any = self.root[:, :0]

    def product(self, columns: Any) -> Any:
        return self._kernel(columns)

    def _solve(self, metric: Metric, n_components: int) -> Solution:
        n = self.rows.n
        block = min(n, n_components + SPARE)
        more = like(self._rng.standard_normal((n, block - self._start.shape[1])), self._start)
        solution, self._start = solve_streamed(
            lambda v: self.product(self._centred(v)),
            lambda v: self._centred(self.product(v)),
            metric,
            self._centred(namespace(more).concatenate([self._start, more], 1)),
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
