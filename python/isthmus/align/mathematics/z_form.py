"""Pure mathematics: S a = w B a with S = Q Q' and a metric B = B0 + F F' that is easy to invert.

Solved as Q'B^-1 Q z = w z, a plain symmetric problem of the width of Q, with a = B^-1 Q z / sqrt(w), so that
a'B a = 1. Neither S nor B is formed, and an entry of B0 may be as large as it likes: only its inverse is
multiplied. Q, F and the vectors may be on a device; the plain problem is solved on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg

from ...algebra import column_lengths
from ...arrays import Array, beside, index_of, to_numpy
from .lanczos import leading_pairs
from .pencil import Solution

SMALL = 512  # up to here a whole eigendecomposition costs little more than the wanted part

__all__ = ["Metric", "rescaled", "rounding", "solve_factored", "solve_streamed"]


class Metric:
    """B = B0 + F F' by the products with B0 and with its inverse; F is (p, q), q small."""

    def __init__(self, times: Callable[[Any], Any], solve: Callable[[Any], Any], factor: Any) -> None:
        self._times, self._solve, self.factor = times, solve, factor
        self._solved = solve(factor)
        values, vectors = np.linalg.eigh(to_numpy(factor.T @ self._solved))
        # |F|^2 in the metric B0: rounding F'a moves a residual by eps times this.
        self.gap = float(np.sum(np.abs(values)))
        # (I + F'B0^-1 F)^-1, which a solver would find singular where the 1 is lost beside a large gap.
        self._inner = beside((vectors / (1 + np.maximum(values, 0))) @ vectors.T, factor)

    def times(self, vectors: Any) -> Any:
        """B V."""
        return self._times(vectors) + self.factor @ (self.factor.T @ vectors)

    def solve(self, vectors: Any) -> Any:
        """B^-1 V by Woodbury."""
        inner = self._inner @ (self._solved.T @ vectors)
        return self._solve(vectors) - self._solved @ inner

    def between(self, root: Any) -> Array:
        """Q'B0^-1 Q for Q = `root` (p, m), on the host."""
        return to_numpy(root.T @ self._solve(root))

    def taken(self, root: Any) -> Array:
        """Q'(B0^-1 - B^-1) Q, of rank q, on the host: what F takes from `between`."""
        cross = root.T @ self._solved
        return to_numpy(cross @ self._inner @ cross.T)


def solve_factored(root: Any, metric: Metric, n_components: int, between: Array | None = None) -> Solution:
    """The leading pairs for Q at hand as `root` (p, m). O(p m^2 + m^3).

    `between` (m, m) is Q'B0^-1 Q where that is known from another F: then O(p m q + m^3), at the cost of
    digits where F is large beside B0.
    """
    m = root.shape[1]
    small = to_numpy(root.T @ metric.solve(root)) if between is None else between - metric.taken(root)
    small = (small + small.T) / 2
    if m > SMALL and 4 * n_components < m:
        values, z = linalg.eigh(small, subset_by_index=[m - n_components, m - 1])
    else:
        values, z = np.linalg.eigh(small)
    values, z = values[::-1][:n_components], z[:, ::-1][:, :n_components]
    kept = _strong(values, m * np.finfo(float).eps)
    return _finished(
        values[:kept], beside(z[:, :kept], root), metric, lambda v: root @ v, lambda v: root.T @ v
    )


def solve_streamed(
    times: Callable[[Any], Any],
    times_transposed: Callable[[Any], Any],
    metric: Metric,
    start: Any,
    n_components: int,
    *,
    tol: float,
    max_passes: int,
) -> tuple[Solution, Any]:
    """The same with products alone: `times` V -> Q V and `times_transposed` V -> Q'V.

    `start` (m, b) holds the first block. Returns the solution, whose `passes` counts products with Q or Q',
    and the z (m, k), a good start for a metric nearby. They are found to `tol` / 10, for Q magnifies what is
    left of them in the residual.
    """

    def product(z: Any) -> Any:
        return times_transposed(metric.solve(times(z)))

    found = leading_pairs(product, start, n_components, tol=tol / 10, max_passes=max_passes)
    kept = _strong(found.values, max(tol * tol, len(start) * np.finfo(float).eps))
    values, z = found.values[:kept], found.vectors[:, :kept]
    solution = _finished(values, z, metric, times, times_transposed)
    return solution._replace(passes=2 * found.passes + 3), z


def rescaled(solution: Solution, scaling: str, signs_of: Any = None) -> Solution:
    """Columns of "unit" length |a| = 1, "metric" a'B a = 1 (as solved) or "white" a'S a = 1.

    The largest entry is positive, or that of `signs_of` (p', k), the same columns in other coordinates.
    """
    vectors = solution.vectors
    if scaling == "unit":
        length = column_lengths(vectors)
    else:
        length = np.sqrt(solution.eigenvalues) if scaling == "white" else np.ones(vectors.shape[1])
    entries = vectors if signs_of is None else signs_of
    columns = index_of(np.arange(entries.shape[1]), entries)
    top = to_numpy(entries[abs(entries).argmax(0), columns])
    return solution._replace(vectors=vectors * beside(np.where(top < 0, -1.0, 1.0) / length, vectors))


def rounding(solution: Solution, metric: Metric) -> Array:
    """The residuals (k,) that rounding alone may leave: F'a is near zero, and S has larger parts than w B."""
    if not len(solution.eigenvalues):
        return solution.eigenvalues
    length = column_lengths(solution.vectors)
    strength = solution.eigenvalues * column_lengths(metric.times(solution.vectors)) / length
    return np.asarray(np.finfo(float).eps * np.maximum(4 * metric.gap, 16 * strength.max() / strength))


def _strong(values: Array, share: float) -> int:
    """How many leading values stand out of what rounding makes of the largest."""
    weak = values <= share * max(values[0], 0.0)
    return int(np.argmax(weak)) if weak.any() else len(values)


def _finished(
    values: Array,
    z: Any,
    metric: Metric,
    times: Callable[[Any], Any],
    times_transposed: Callable[[Any], Any],
) -> Solution:
    """Vectors B^-1 Q z / sqrt(w) and their residuals |S a - w B a| / (w |B a|)."""
    if not len(values):
        return Solution(metric.factor[:, :0], values, values)
    vectors = metric.solve(times(z))
    vectors = vectors / beside(np.sqrt(values), vectors)
    projected, weighted = times_transposed(vectors), metric.times(vectors)
    # Q magnifies what rounding leaves of the first z in the last: once more within the span of the vectors.
    try:
        lower = np.linalg.cholesky(to_numpy(vectors.T @ weighted))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"the gap of the means must not drown the ridge, got {metric.gap:.0e} times as much; scale the "
            "columns of X, or raise the ridge"
        ) from None
    inverse = np.linalg.inv(lower).T
    half = projected @ beside(inverse, projected)
    values, turned = np.linalg.eigh(to_numpy(half.T @ half))
    values, turn = values[::-1], beside(inverse @ turned[:, ::-1], vectors)
    vectors, right = vectors @ turn, beside(values, vectors) * (weighted @ turn)
    left = times(projected @ turn)
    residuals = column_lengths(left - right) / column_lengths(right)
    return Solution(vectors, values, residuals)
