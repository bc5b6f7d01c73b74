"""The kernel matrix of weighted rows as a Krylov space meets it: in memory, or evaluated in each product."""

from __future__ import annotations

import numpy as np

from .. import ops
from ..arrays import Array, Home
from ..kernels import Kernel

__all__ = ["StoredKernel", "StreamedKernel"]


class StoredKernel:
    """K in memory, in the float type of the rows, weighted by `root` on both sides."""

    def __init__(self, rows: Array, kernel: Kernel, root: Array) -> None:
        self.n = len(rows)
        self._matrix = np.asarray(ops.kernel_matrix(rows, kernel=kernel))
        if (root != 1).any():
            self._matrix *= root.astype(rows.dtype)[:, None]
            self._matrix *= root.astype(rows.dtype)

    def product(self, vectors: Array) -> Array:
        # K is symmetric, and few rows times a large matrix are quicker than a large matrix times few columns.
        return np.asarray((vectors.T @ self._matrix).T)

    def columns(self, indices: Array, weights: Array) -> Array:
        return np.asarray(self._matrix[indices].T @ self.asarray(weights))

    def rows(self, indices: Array, vectors: Array) -> Array:
        return np.asarray(self._matrix[indices] @ vectors)

    def block(self, indices: Array) -> Array:
        return np.asarray(self._matrix[np.ix_(indices, indices)], np.float64)

    def asarray(self, values: Array) -> Array:
        return values.astype(self._matrix.dtype, copy=False)

    def empty(self, shape: tuple[int, int]) -> Array:
        return np.empty(shape, self._matrix.dtype)


class StreamedKernel:
    """K evaluated anew in each product, weighted by `root` on both sides."""

    def __init__(self, rows: Array, kernel: Kernel, root: Array) -> None:
        self.n, self._rows, self._kernel = len(rows), rows, kernel
        self._root = root.astype(rows.dtype)[:, None]

    def product(self, vectors: Array) -> Array:
        image = ops.kernel_matmul(self._rows, None, self._root * vectors, kernel=self._kernel)
        return np.asarray(self._root * image)

    def columns(self, indices: Array, weights: Array) -> Array:
        weighted = self._root[indices] * self.asarray(weights)
        image = ops.kernel_matmul(self._rows, self._rows[indices], weighted, kernel=self._kernel)
        return np.asarray(self._root * image)

    def rows(self, indices: Array, vectors: Array) -> Array:
        image = ops.kernel_matmul(self._rows[indices], self._rows, self._root * vectors, kernel=self._kernel)
        return np.asarray(self._root[indices] * image)

    def block(self, indices: Array) -> Array:
        rows, root = self._rows[indices], self._root[indices]
        return np.asarray(
            root * np.asarray(ops.kernel_matrix(rows, kernel=self._kernel), np.float64) * root.T
        )

    def asarray(self, values: Array) -> Array:
        return values.astype(self._rows.dtype, copy=False)

    def empty(self, shape: tuple[int, int]) -> Array:
        ops.check_room(
            "a Krylov basis (n_landmarks needs less)", shape, self._rows.dtype, Home("numpy", "cpu")
        )
        return np.empty(shape, self._rows.dtype)
