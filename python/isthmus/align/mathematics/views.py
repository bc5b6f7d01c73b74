"""Pure mathematics: the rows of both domains as a method sees them, reduced to as few columns as exact.

G' (n, p) holds one row's view a row: x itself (primal), k(x, X) (dual) or Nystroem features. Every problem
here takes G only in forms like G A G' with a multiple of the identity beside it, so where the rows of G' span
fewer than p directions it is solved in these, with vectors of the same length. Views of rows on a
device are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...arrays import Array, beside, like, to_numpy, widened
from ...kernels import Kernel, Linear
from .embedding import Projection, Rows, draw_landmarks, row_space

__all__ = ["DENSE_ROWS", "LANDMARKS", "View", "look"]

DENSE_ROWS = 2000  # up to here a kernel matrix is stored and solved whole
LANDMARKS = 1000  # of the Nystroem features beyond


class View:
    """G' of all rows, source first, each times the square root of its weight.

    `seen` (n, p) float64; the problem's vectors are `lift` (p', p) times those of `seen`, the same for None.
    """

    def __init__(self, rows: Rows, seen: Any, lift: Any, *, dual: bool = False, known: Any = None) -> None:
        self.rows, self.seen = rows, seen
        self._lift, self._dual, self._known = lift, dual, known

    def projection(self, vectors: Array) -> Projection:
        """What embeds new rows for `vectors` (p, k) of the reduced problem."""
        lifted = to_numpy(self._lifted(vectors))
        # The coefficient of a weighted row is that of all its repetitions together.
        components = self.rows.root[:, None] * lifted if self._dual else lifted
        if self._known is not None:
            return Projection(components, None, to_numpy(self._known))
        if not self._dual:
            return Projection(components, components, None)
        stacked = self.rows.stacked(np.float64)
        return Projection(components, to_numpy(stacked.T @ beside(components, stacked)), None)

    def signs_of(self, vectors: Array) -> Any:
        """Entries by which signs are chosen: those of one row, not of all its repetitions."""
        lifted = self._lifted(vectors)
        return lifted / beside(self.rows.root[:, None], lifted) if self._dual else lifted

    def _lifted(self, vectors: Array) -> Any:
        return vectors if self._lift is None else self._lift @ beside(vectors, self._lift)


def look(
    rows: Rows,
    kernel: Kernel | None,
    *,
    n_landmarks: int | None = None,
    random_state: Any = 0,
    stored_rows: int = DENSE_ROWS,
) -> View:
    """The view of `rows` under `kernel` (numbers only; None is the primal).

    The linear kernel is reduced exactly to the rank of the rows, and so is the primal where n < d. Other
    kernels are stored, n x n, up to `stored_rows` rows; beyond, or with `n_landmarks`, the rows are seen
    through Nystroem features of `n_landmarks` (`LANDMARKS`) of them drawn by `random_state`.

    Cost: O(n d min(n, d)); stored O(n^2 d) time and O(n^2) memory; Nystroem O(n m (d + m)).
    """
    if kernel is None or isinstance(kernel, Linear):
        weighted = rows.weighted()
        n, d = weighted.shape
        if kernel is None and n >= d:
            return View(rows, weighted, None)
        w, singular, directions = row_space(weighted)
        if kernel is None:
            return View(rows, w * beside(singular, w), directions.T)
        return View(rows, w * beside(singular**2, w), w, dual=True)
    if n_landmarks is None and rows.n <= stored_rows:
        matrix = ops.kernel_matrix(rows.stacked(np.float64), kernel=kernel)
        root = like(rows.root, matrix)
        return View(rows, root[:, None] * matrix * root, None, dual=True, known=rows.stacked(rows.dtype))
    stacked = rows.stacked(rows.dtype)
    known, inverse = draw_landmarks(stacked, kernel, n_landmarks or LANDMARKS, random_state)
    image = widened(ops.kernel_matmul(stacked, known, like(inverse, stacked), kernel=kernel))
    seen = like(rows.root[:, None], image) * image
    return View(rows, seen, inverse, known=known)
