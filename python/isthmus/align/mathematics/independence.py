"""Pure mathematics of MIDA: leading eigenvectors of G N G' with N = H (mu I - D D' + gamma Y Y') H.

N is never formed: D and Y have a few columns. G N G' is symmetric but indefinite, for the term of the domains
is subtracted; only its eigenvalues above zero are of use. G' and products with K may be on a device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...algebra import column_lengths
from ...arrays import Array, beside, to_numpy
from .embedding import Rows
from .lanczos import leading_pairs
from .pencil import Solution, centred

__all__ = ["Middle", "solve_products", "solve_seen"]


class Middle:
    """N for weighted `rows`; D is `domains` (n, m), Y is `labels` (n, q) or None, both times the square roots
    of the weights.
    """

    def __init__(self, rows: Rows, domains: Array, labels: Array | None, mu: float, gamma: float) -> None:
        self._root, self.mu = rows.root, mu
        self.domains = self.centred(domains)
        self.labels = np.sqrt(gamma) * self.centred(np.empty((rows.n, 0)) if labels is None else labels)

    def centred(self, columns: Any) -> Any:
        """H V, weighted."""
        return centred(columns, self._root)

    def between(self, seen: Any) -> Array:
        """G N G' for G' = `seen` (n, p), on the host."""
        spread = self.centred(seen)
        gaps, labels = (to_numpy(beside(part.T, spread) @ spread) for part in (self.domains, self.labels))
        return np.asarray(self.mu * to_numpy(spread.T @ spread) - gaps.T @ gaps + labels.T @ labels)


def solve_seen(seen: Any, middle: Middle, n_components: int) -> tuple[Solution, float]:
    """The leading components for G' at hand, and |G N G'|. O(n p^2 + p^3)."""
    matrix = middle.between(seen)
    values, vectors = np.linalg.eigh(matrix)
    size = float(np.abs(values).max())
    return _above_zero(values[::-1], vectors[:, ::-1], n_components, size, lambda v: matrix @ v), size


def solve_products(
    product: Callable[[Any], Any],
    images: Any,
    middle: Middle,
    start: Any,
    n_components: int,
    *,
    tol: float,
    max_passes: int,
) -> tuple[Solution, float]:
    """The same for G = K known by `product`, V -> K V; `start` (n, b) is the first block.

    `images` is K times the columns `domains` and `labels` of `middle`, precise: their terms outweigh the
    rest, so the rounding of a product with K in float32 would drown it.
    """
    n_domains = middle.domains.shape[1]
    gaps, labels = images[:, :n_domains], images[:, n_domains:]

    def times(vectors: Any) -> Any:
        spread = middle.mu * product(middle.centred(product(vectors)))
        return spread - gaps @ (gaps.T @ vectors) + labels @ (labels.T @ vectors)

    found = leading_pairs(times, start, n_components, tol=tol / 2, max_passes=max_passes)
    size = float(np.abs(found.values).max()) + float((gaps * gaps).sum())
    solution = _above_zero(found.values, found.vectors, n_components, size, times)
    return solution._replace(passes=2 * found.passes + 3), size


def _above_zero(
    values: Array, vectors: Any, n_components: int, size: float, times: Callable[[Any], Any]
) -> Solution:
    weak = values <= len(vectors) * np.finfo(float).eps * size
    kept = min(n_components, int(np.argmax(weak)) if weak.any() else len(values))
    values, vectors = values[:kept], vectors[:, :kept]
    if not kept:
        return Solution(vectors, values, values)
    left = times(vectors) - beside(values, vectors) * vectors
    return Solution(vectors, values, column_lengths(left) / values)
