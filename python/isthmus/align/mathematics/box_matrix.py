"""The positive semidefinite matrix of `box_qp`: what the solver asks of it, and one that is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ...arrays import (
    Array,
    beside,
    dtype_of,
    index_of,
    like,
    namespace,
    narrowed,
    square_block,
    to_numpy,
    widened,
)

__all__ = ["PositiveMatrix", "StoredMatrix"]


class PositiveMatrix(Protocol):
    """K (n, n), positive semidefinite, as the solver sees it."""

    def times(self, vector: Array, precise: bool) -> Array:
        """K v (n,), in float32 accuracy unless `precise`; sparse vectors may be cheaper."""

    def block(self, index: Array | None, precise: bool) -> Callable[[Array], Array]:
        """v -> K[index][:, index] v, for many products: in float32 accuracy unless `precise`."""

    def part(self, index: Array) -> Array:
        """K[index][:, index] in float64, on the host."""

    def row(self, index: int, precise: bool) -> Array:
        """One row of K (n,), in float32 accuracy unless `precise`."""


class StoredMatrix:
    """A symmetric matrix in memory, float32 or float64; on a device its products are formed there."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self._narrow: Any = None
        # A power of 2 near the largest entry, which float32 need not hold.
        self._unit = 1.0
        if dtype_of(matrix) == np.float64 and len(matrix):
            self._unit = 2.0 ** float(np.frexp(float(abs(matrix.diagonal()).max()))[1])

    def times(self, vector: Array, precise: bool) -> Array:
        """K v; `precise` from float32, or for few entries that are not 0: added up over these, in float64."""
        if not precise:
            return self.block(None, False)(vector)
        rows = np.flatnonzero(vector)
        if dtype_of(self.matrix) == np.float64 and 4 * len(rows) > len(vector):
            return to_numpy(self.matrix @ beside(vector, self.matrix))
        out = np.zeros(len(self.matrix))
        for start in range(0, len(rows), 256):
            chosen = rows[start : start + 256]
            part = widened(self.matrix[index_of(chosen, self.matrix)])
            out += to_numpy(beside(vector[chosen], part) @ part)
        return out

    def block(self, index: Array | None, precise: bool) -> Callable[[Array], Array]:
        """The block is copied once, in the type the products take."""
        if precise:
            wide = widened(self.matrix if index is None else square_block(self.matrix, index))
            return lambda vector: to_numpy(wide @ beside(vector, wide))
        if self._narrow is None:
            self._narrow = self.matrix if dtype_of(self.matrix) == np.float32 else self._divided()
        part, unit = self._narrow if index is None else square_block(self._narrow, index), self._unit
        return lambda vector: to_numpy(part @ like(vector, part)).astype(np.float64) * unit

    def _divided(self) -> Any:
        """K over its unit, in float32."""
        if namespace(self.matrix) is not np:
            return narrowed(self.matrix / self._unit)
        out = np.empty(self.matrix.shape, np.float32)
        return np.divide(self.matrix, self._unit, out=out, casting="same_kind")

    def part(self, index: Array) -> Array:
        """Widened, whatever the type of K."""
        return to_numpy(widened(square_block(self.matrix, index)))

    def row(self, index: int, precise: bool) -> Array:
        """One row of K, as it is stored."""
        return to_numpy(self.matrix[index])
