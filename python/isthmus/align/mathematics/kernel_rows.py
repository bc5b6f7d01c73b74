"""Products with the kernel matrix of weighted rows: K in memory, or evaluated anew in each of them.

Rows may be on a device: K, vectors and products are then there too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...arrays import Array, dtype_of, home, index_of, like, square_block, to_numpy, widened
from ...homes import HOST, Home
from ...kernels import Kernel
from .embedding import Rows

__all__ = ["SPARE", "KernelProduct", "StoredKernel", "StreamedKernel", "kernel_of", "solve_whole"]

DENSE_ROWS = 600  # up to here an n x n eigenproblem is as quick as any other way
DENSE_MANY = 4000  # and up to here where many components are wanted
STORED_BYTES = 256 << 20  # up to here K is kept
SPARE = 10  # columns of a block of Lanczos beyond those wanted


class _Kernel:
    """K of `rows` (n, d), weighted by `root` (n,) on both sides."""

    def __init__(self, rows: Any, kernel: Kernel, root: Array) -> None:
        self.n, self._rows, self._kernel, self._host_root = len(rows), rows, kernel, root

    def precise(self, weights: Array, indices: Array | None = None) -> Any:
        """K W (n, b), or its rows `indices`, evaluated anew in float64, for W on the host."""
        rows, root = widened(self._rows), self._host_root
        given = self.exact(root[:, None] * weights)
        if indices is None:
            product = ops.kernel_matmul(rows, None, given, kernel=self._kernel)
        else:
            chosen, root = rows[index_of(indices, rows)], root[indices]
            product = ops.kernel_matmul(chosen, rows, given, kernel=self._kernel)
        return self.exact(root[:, None]) * product

    def exact(self, values: Array) -> Any:
        return _home(self._rows).asarray(values, np.dtype(np.float64))


class StoredKernel(_Kernel):
    """K in memory, in the float type of the rows, weighted by `root` on both sides."""

    def __init__(self, rows: Any, kernel: Kernel, root: Array) -> None:
        super().__init__(rows, kernel, root)
        self._matrix = ops.kernel_matrix(rows, kernel=kernel)
        if (root != 1).any():
            self._matrix *= self.asarray(root)[:, None]
            self._matrix *= self.asarray(root)

    def product(self, vectors: Any) -> Any:
        # K is symmetric, and few rows times a large matrix are quicker than a large matrix times few columns.
        return (vectors.T @ self._matrix).T

    def columns(self, indices: Array, weights: Array) -> Any:
        return self._matrix[index_of(indices, self._matrix)].T @ self.asarray(weights)

    def rows(self, indices: Array, vectors: Any) -> Any:
        return self._matrix[index_of(indices, self._matrix)] @ vectors

    def block(self, indices: Array) -> Array:
        return to_numpy(square_block(self._matrix, indices)).astype(np.float64, copy=False)

    def asarray(self, values: Array) -> Any:
        return like(values, self._matrix)

    def empty(self, shape: tuple[int, int]) -> Any:
        return _home(self._matrix).empty(shape, dtype_of(self._matrix))


class StreamedKernel(_Kernel):
    """K evaluated anew in each product, weighted by `root` on both sides."""

    def __init__(self, rows: Any, kernel: Kernel, root: Array) -> None:
        super().__init__(rows, kernel, root)
        self._root = self.asarray(root[:, None])

    def product(self, vectors: Any) -> Any:
        return self._root * ops.kernel_matmul(self._rows, None, self._root * vectors, kernel=self._kernel)

    def columns(self, indices: Array, weights: Array) -> Any:
        rows, root = self._part(indices)
        return self._root * ops.kernel_matmul(
            self._rows, rows, root * self.asarray(weights), kernel=self._kernel
        )

    def rows(self, indices: Array, vectors: Any) -> Any:
        rows, root = self._part(indices)
        return root * ops.kernel_matmul(rows, self._rows, self._root * vectors, kernel=self._kernel)

    def block(self, indices: Array) -> Array:
        rows, root = self._part(indices)
        matrix, root = to_numpy(ops.kernel_matrix(rows, kernel=self._kernel)), to_numpy(root)
        return np.asarray(root * matrix.astype(np.float64, copy=False) * root.T)

    def asarray(self, values: Array) -> Any:
        return like(values, self._rows)

    def empty(self, shape: tuple[int, int]) -> Any:
        where, dtype = _home(self._rows), dtype_of(self._rows)
        ops.check_room("a Krylov basis (n_landmarks needs less)", shape, dtype, where)
        return where.empty(shape, dtype)

    def _part(self, indices: Array) -> tuple[Any, Any]:
        """Some rows and the square roots of their weights."""
        chosen = index_of(indices, self._rows)
        return self._rows[chosen], self._root[chosen]


def _home(x: Any) -> Home:
    return home(x) or HOST


def kernel_of(rows: Any, kernel: Kernel, root: Array) -> StoredKernel | StreamedKernel:
    """K of `rows` in their float type, weighted by `root`, in memory where it has room."""
    stored = len(rows) ** 2 * dtype_of(rows).itemsize <= STORED_BYTES
    return (StoredKernel if stored else StreamedKernel)(rows, kernel, root)


class KernelProduct:
    """V -> K V in float64: K itself in float64 where that has room in memory, else in the rows' float type.

    `gate`: the residual that this allows. V may be on the host, K V is where the rows are.
    """

    def __init__(self, rows: Rows, kernel: Kernel) -> None:
        self._rows, self._kernel = rows, kernel
        self._quick = self._exact()
        self.gate = 1e-8
        if isinstance(self._quick, StreamedKernel) and rows.dtype != np.float64:
            self._quick = StreamedKernel(rows.stacked(rows.dtype), kernel, rows.root)
            self.gate = 1e-3

    def __call__(self, columns: Any) -> Any:
        return widened(self._quick.product(self._quick.asarray(columns)))

    def precise(self, columns: Any) -> Any:
        """K V with K in float64, whatever the type of the rows."""
        kernel = self._quick if self.gate < 1e-3 else self._exact()
        return kernel.product(kernel.asarray(columns))

    def _exact(self) -> StoredKernel | StreamedKernel:
        return kernel_of(self._rows.stacked(np.float64), self._kernel, self._rows.root)


def solve_whole(n_rows: int, n_components: int, eigen_solver: str) -> bool:
    """Whether a dual of `n_rows` is solved as a whole ("dense") or by products ("krylov")."""
    small = n_rows <= DENSE_ROWS or (n_rows <= DENSE_MANY and 8 * n_components > n_rows)
    return eigen_solver == "dense" or (eigen_solver == "auto" and small)
