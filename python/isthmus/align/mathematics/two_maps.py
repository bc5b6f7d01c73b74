"""Pure mathematics of JGSA: the pencil of two stacked maps, without its 2p x 2p matrices.

In the axes of the scatter within classes R0, all of R but F F', couples each axis of A with the same axis of
B alone, so its inverse is a formula. S = Q Q' with Q of C + min(nt, p) columns. Rows may be on a device; what
has p or 2p rows is on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...algebra import triangle
from ...arrays import Array, beside, index_of, to_numpy
from .pencil import Solution, contrast_norm
from .z_form import Metric, solve_factored

__all__ = ["TwoMaps"]

LARGE_GAP = 1e4  # of the means, beside the ridge: beyond, short cuts cost digits


class TwoMaps:
    """One data set; `solve` takes any contrasts.

    `source` (ns, p) and `target` (nt, p) are rows times `root` (ns + nt,), the square roots of their weights;
    `classes` (ns,) numbers the source rows 0 to `n_classes` - 1. `limit`: most components the sizes allow.
    """

    def __init__(
        self,
        source: Any,
        target: Any,
        root: Array,
        classes: Array,
        n_classes: int,
        *,
        alpha: float,
        mu: float,
        beta: float,
        ridge: float,
    ) -> None:
        ns, p = source.shape
        self.limit = min(n_classes - 1, p) + min(len(target) - 1, p)
        self._samples = source, target
        roots = root[:ns, None], root[ns:, None]
        self._roots = beside(roots[0], source), beside(roots[1], target)
        member = (classes[:, None] == np.arange(n_classes)) * roots[0]
        total = np.sum(member * member, axis=0)
        means = to_numpy(beside(member.T, source) @ source) / total[:, None]
        within = source - self._roots[0] * beside(means, source)[index_of(classes, source)]
        values, self._axes = np.linalg.eigh(to_numpy(within.T @ within))
        between = np.sqrt(total)[:, None] * (means - total @ means / total.sum())
        shares = beside(roots[1].T / np.sum(roots[1] ** 2), target)
        centred = target - self._roots[1] * (shares @ target)
        spread = triangle(centred) if len(centred) > p else to_numpy(centred)
        self._range = np.block(
            [
                [np.sqrt(beta) * (between @ self._axes).T, np.zeros((p, len(spread)))],
                [np.zeros((p, n_classes)), np.sqrt(mu) * (spread @ self._axes).T],
            ]
        )
        self._between: Array | None = None  # the same for all contrasts
        own = ridge + beta * np.maximum(values, 0)[:, None]
        other = mu + ridge
        # det of [alpha + own, -alpha; -alpha, alpha + other], without the difference of squares
        det = alpha * (own + other) + own * other
        self._blocks = alpha + own, -alpha, alpha + other
        self._inverse = (alpha + other) / det, alpha / det, (alpha + own) / det

    def solve(self, contrasts: Array, norm: float | None, n_components: int) -> tuple[Solution, Metric]:
        """The leading components, vectors (2p, k) with the map of the source above that of the target.

        `contrasts` E (ns + nt, q), each entry times the square root of the row's weight; `norm` is c, None
        for |E'E|. Returns the metric R too.
        """
        c = contrast_norm(contrasts) if norm is None else norm
        halves = np.split(contrasts, [len(self._samples[0])])
        factor = np.concatenate(
            [
                self._axes.T @ to_numpy(rows.T @ beside(half, rows))
                for rows, half in zip(self._samples, halves, strict=True)
            ]
        ) / np.sqrt(c)
        metric = Metric(lambda v: _coupled(self._blocks, v), lambda v: _coupled(self._inverse, v), factor)
        if self._between is None:
            self._between = metric.between(self._range)
        between = self._between if metric.gap < LARGE_GAP else None
        solution = solve_factored(self._range, metric, n_components, between)
        turned = np.concatenate([self._axes @ half for half in np.split(solution.vectors, 2)])
        return solution._replace(vectors=turned), metric

    def embedded(self, A: Array, B: Array) -> tuple[Any, Any]:
        """Source rows by A and target rows by B, without the weights."""
        (source, target), (root_s, root_t) = self._samples, self._roots
        return source @ beside(A, source) / root_s, target @ beside(B, target) / root_t


def _coupled(blocks: tuple[Array | float, Array | float, Array | float], vectors: Array) -> Array:
    """[diag(a), diag(b); diag(b), diag(c)] V for `blocks` a, b, c of shape (p, 1)."""
    upper, lower = np.split(vectors, 2)
    a, b, c = blocks
    return np.concatenate([a * upper + b * lower, b * upper + c * lower])
