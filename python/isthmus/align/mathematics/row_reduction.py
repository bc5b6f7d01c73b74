"""Pure mathematics: the dual of the linear kernel, K = X X', in an orthonormal basis of its range.

In the basis the scatter of the dual is diagonal, whatever the contrasts are: it is found once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...arrays import Array, beside, to_numpy
from .embedding import row_space
from .pencil import Solution, centred, metric_times

__all__ = ["Reduced", "reduce_by_squares", "reduce_exactly"]


class Reduced(NamedTuple):
    """W (n, p), orthonormal, where the rows are, with K = W `gram` W' + D and W' S W = diag(`scatter`).

    `gram` (p, p); `scatter` (p,), largest first; `mean` (p,), W' r for r the unit vector of the root weights.
    `size` is |K|; `left` bounds |D| and `left_mean` |D r|; both are 0 where nothing is left out.
    """

    basis: Any
    gram: Array
    scatter: Array
    mean: Array
    size: float
    left: float = 0.0
    left_mean: float = 0.0

    def missing(self, solution: Solution, factor: Array, reg: float) -> Array:
        """Bound (k,) of what D adds to the residuals of a `solution` in the basis, `factor` F (p, q).

        S a lacks D (I - r r') K a, of which D K a vanishes, and F lacks D E / sqrt(c), no longer than |D|.
        """
        values, vectors = solution.eigenvalues, solution.vectors
        size = values * np.linalg.norm(metric_times(factor, reg, vectors), axis=0)
        along_mean = np.abs(self.mean @ self.gram @ vectors)
        inner = np.linalg.norm(factor.T @ vectors, axis=0)
        return np.asarray((self.left_mean * along_mean + self.left * values * inner) / size)

    def rounding(self, solution: Solution, factor: Array, reg: float) -> Array:
        """About what rounding the reduction adds to the residuals (k,) of a `solution` in the basis."""
        vectors = solution.vectors
        right = solution.eigenvalues * np.linalg.norm(metric_times(factor, reg, vectors), axis=0)
        lengths = np.linalg.norm(vectors, axis=0)
        return np.asarray(np.finfo(float).eps * self.size**2 * lengths / right)

    def trace(self) -> float:
        """That of the scatter, or what rounding K adds to it where K is far longer than its centred half."""
        noise = len(self.basis) * np.finfo(float).eps * self.size**2
        return float(self.scatter.sum()) + noise


def reduce_by_squares(rows: Any, root: Array) -> Reduced | None:
    """All of K (n, n) that its own rounding leaves, for weighted `rows` (n, d) and their root weights (n,).

    From the eigenvectors of the smaller of X'X and X X', in a quarter of the time of a singular value
    decomposition. None where the squares are out of range.
    """
    n, d = rows.shape
    values, vectors = np.linalg.eigh(to_numpy(rows @ rows.T if n < d else rows.T @ rows))
    kept = values > max(n, d) * np.finfo(float).eps * values[-1]
    if not kept.any():
        return None
    unit = root / np.linalg.norm(root)
    known, scale, others = vectors[:, kept], np.sqrt(values[kept]), vectors[:, ~kept]
    left = max(values[~kept].max(), np.finfo(float).eps * values[-1]) if others.size else 0.0
    if n < d:
        left_mean = left * float(np.linalg.norm(others.T @ unit))
        eye = np.eye(len(scale))
        return _diagonal(beside(known, rows), np.diag(scale**2), eye, unit, values[-1], left, left_mean)
    along = others.T @ to_numpy(rows.T @ beside(unit, rows))
    columns = rows @ beside(known / scale, rows)
    # Rounding of the squares has bent the columns of small scale: orthonormal they are columns C'^-1.
    lower = np.linalg.cholesky(to_numpy(columns.T @ columns))
    half = lower.T * scale
    left_mean = float(np.sqrt(left) * np.linalg.norm(along))
    turn = np.linalg.inv(lower).T
    return _diagonal(columns, half @ half.T, turn, unit, values[-1], left, left_mean)


def reduce_exactly(rows: Any, root: Array) -> Reduced:
    """The same down to the rounding of the rows themselves, which is that of K squared."""
    w, singular, directions = row_space(rows)
    # From centred rows: K is far longer than the scatter's root where the rows have a common offset. Twice:
    # what rounding leaves of a mean is common to all rows, and K would magnify it.
    spread = centred(centred(rows, root) @ beside(directions.T * singular, rows), root)
    scatter, vectors = np.linalg.eigh(to_numpy(spread.T @ spread))
    vectors = vectors[:, ::-1]
    mean = to_numpy(w.T @ beside(root / np.linalg.norm(root), w))
    gram, size = (vectors.T * singular**2) @ vectors, float(singular[0]) ** 2
    return Reduced(w @ beside(vectors, w), gram, np.maximum(scatter[::-1], 0), vectors.T @ mean, size)


def _diagonal(
    columns: Any, gram: Array, turn: Array, unit: Array, size: float, left: float, left_mean: float
) -> Reduced:
    """The basis `columns` `turn`, in which K is `gram`, turned to the eigenvectors of the scatter."""
    mean = turn.T @ to_numpy(columns.T @ beside(unit, columns))
    image = gram @ mean
    scatter, vectors = np.linalg.eigh(gram @ gram - np.outer(image, image))
    vectors = vectors[:, ::-1]
    return Reduced(
        columns @ beside(turn @ vectors, columns),
        vectors.T @ gram @ vectors,
        np.maximum(scatter[::-1], 0),
        vectors.T @ mean,
        float(size),
        left,
        left_mean,
    )
