"""Products with the kernel matrix of weighted rows, for solvers that need nothing else of it."""

from __future__ import annotations

import numpy as np

from .. import ops
from ..arrays import Array
from ..kernels import Kernel
from .problem import Rows

__all__ = ["SPARE", "KernelProduct", "solve_whole"]

DENSE_ROWS = 600  # up to here an n x n eigenproblem is as quick as any other way
STORED_ROWS = 4000  # up to here K is kept, in float64: 128 MB
SPARE = 10  # columns of a block of Lanczos beyond those wanted


class KernelProduct:
    """V -> K V, rows and columns of K times the square roots of the weights.

    K is kept in float64 up to `STORED_ROWS` rows, and evaluated in the rows' float type in each product
    beyond. `gate`: the residual that this allows.
    """

    def __init__(self, rows: Rows, kernel: Kernel) -> None:
        stored = rows.n <= STORED_ROWS
        self.gate = 1e-8 if stored or rows.dtype == np.float64 else 1e-3
        self._root = rows.root[:, None]
        self._kernel, self._known = kernel, rows.stacked(np.float64 if stored else rows.dtype)
        self._matrix: Array | None = None
        if stored:
            self._matrix = self._root * np.asarray(ops.kernel_matrix(self._known, kernel=kernel)) * rows.root

    def __call__(self, columns: Array) -> Array:
        return self._times(columns, self._known)

    def precise(self, columns: Array) -> Array:
        """K V in float64, whatever the type of the rows."""
        return self._times(columns, self._known.astype(np.float64, copy=False))

    def _times(self, columns: Array, rows: Array) -> Array:
        if self._matrix is not None:
            return np.asarray(self._matrix @ columns)
        weighted = (self._root * columns).astype(rows.dtype)
        image = ops.kernel_matmul(rows, None, weighted, kernel=self._kernel)
        return np.asarray(self._root * np.asarray(image, dtype=np.float64))


def solve_whole(n_rows: int, n_components: int, eigen_solver: str) -> bool:
    """Whether a dual of `n_rows` is solved as a whole ("dense") or by products ("krylov")."""
    small = n_rows <= DENSE_ROWS or (n_rows <= STORED_ROWS and 8 * n_components > n_rows)
    return eigen_solver == "dense" or (eigen_solver == "auto" and small)
