"""Pure mathematics: weighted rows of both domains, the few that stand for them, and what embeds any row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import normalize

from ... import ops
from ...arrays import (
    Array,
    as_dtype,
    beside,
    dtype_of,
    generator,
    home,
    index_of,
    like,
    namespace,
    to_numpy,
    widened,
)
from ...homes import HOST
from ...kernels import Energy, Kernel
from .pencil import row_blocks

__all__ = ["Projection", "Rows", "draw_landmarks", "row_space", "unit_rows"]


class Rows:
    """The rows of both domains, source first, and their weights (positive) with the square roots `root`.

    The rows may be on a device, `where`; weights are on the host.
    """

    def __init__(self, samples: tuple[Array, Array], weights: tuple[Array, Array]) -> None:
        self.samples, self.weights = samples, weights
        self.n = len(samples[0]) + len(samples[1])
        self.dtype = np.result_type(*(dtype_of(part) for part in samples))
        self.root = np.sqrt(np.concatenate(weights))
        self.where = home(samples[0]) or HOST
        if not self.where.on_host:  # where types do not mix
            source, target = (as_dtype(part, self.dtype, self.where) for part in samples)
            self.samples = source, target

    def stacked(self, dtype: Any) -> Any:
        if self.where.on_host:
            return np.concatenate(self.samples, dtype=dtype)
        return as_dtype(self.where.xp.concatenate(self.samples), np.dtype(dtype), self.where)

    def weighted(self) -> Any:
        """All rows (n, d) in float64, each times the square root of its weight."""
        stacked = self.stacked(np.float64)
        return beside(self.root[:, None], stacked) * stacked


class Projection(NamedTuple):
    """What embeds any row: x `matrix` (d, k), or k(x, `known`) `components` where `matrix` is None."""

    components: Array
    matrix: Array | None
    known: Array | None

    def embed(self, rows: Array, kernel: Kernel | None) -> Array:
        """Rows (m, d) embedded (m, k), in their own float type."""
        if self.matrix is not None:
            moved: Array = rows @ like(self.matrix, rows)
            return moved
        assert kernel is not None and self.known is not None
        known, weights = like(self.known, rows), like(self.components, rows)
        embedded: Array = ops.kernel_matmul(rows, known, weights, kernel=kernel)
        return embedded


def unit_rows(rows: Any) -> Any:
    """Rows (n, d) of length 1 in the direction of `rows`; one of length 0 stays."""
    if namespace(rows) is np:
        return np.asarray(normalize(rows))
    length = (rows * rows).sum(1)[:, None] ** 0.5
    # Where scikit-learn leaves a row as it is.
    return rows / (length + (length < 10 * float(np.finfo(dtype_of(rows)).eps)) * (1 - length))


def row_space(weighted: Any) -> tuple[Any, Array, Array]:
    """W (n, r), singular values (r,) and directions (r, d) of rows (n, d) of numerical rank r.

    W is where the rows are, on a device by their R alone. Directions below the rounding of the largest are
    noise; a dual has the square of these numbers.
    """
    xp = namespace(weighted)
    if xp is np:
        w, singular, directions = np.linalg.svd(weighted, full_matrices=False)
    else:
        q, r = xp.linalg.qr(weighted)
        u, singular, directions = np.linalg.svd(to_numpy(r), full_matrices=False)
        w = q @ beside(u, q)
    rank = max(1, int(np.sum(singular > singular[0] * np.finfo(float).eps * max(weighted.shape))))
    return w[:, :rank], singular[:rank], directions[:rank]


def draw_landmarks(rows: Any, kernel: Kernel, count: int, random_state: Any) -> tuple[Any, Array]:
    """L (m, d), `count` of the rows (n, d) or all, and K(L, L)^-1/2 (m, m) in float64 on the host.

    K(X, L) K(L, L)^-1/2 are the features of Nystroem. ValueError for a kernel that is not positive definite.
    """
    if any(isinstance(part, Energy) for _, part in kernel.parts):
        raise ValueError(f"n_landmarks needs a positive definite kernel, got {kernel!r}")
    rng = generator(random_state)
    # Drawn from the rows in the order of one random direction: the order they come in changes nothing.
    order = np.argsort(_along(rows, rng.standard_normal(rows.shape[1])))
    known = rows[index_of(order[rng.choice(len(rows), min(count, len(rows)), replace=False)], rows)]
    values, vectors = np.linalg.eigh(to_numpy(ops.kernel_matrix(widened(known), kernel=kernel)))
    # Below this the kernel of the landmarks is noise; a pencil has the square of these numbers.
    sure = values > 1e-10 * values[-1]
    return known, np.asarray((vectors[:, sure] / np.sqrt(values[sure])) @ vectors[:, sure].T)


def _along(rows: Any, direction: Array) -> Array:
    """The rows times `direction` (d,), (n,) float64 wherever the rows are: so all draw the same ones."""
    if namespace(rows) is np:
        return np.asarray(rows @ direction)
    parts = (widened(rows[block]) for block in row_blocks(len(rows), 8 * rows.shape[1], True))
    return np.concatenate([to_numpy(part @ beside(direction, part)) for part in parts])
