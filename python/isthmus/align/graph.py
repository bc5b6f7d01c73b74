"""Pure mathematics: the Laplacian of the graph of nearest neighbours with heat-kernel weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from .. import ops
from ..arrays import Array
from ..kernels import Energy

__all__ = ["heat_laplacian", "mean_distance"]


def mean_distance(rows: Array, weight: Array) -> float:
    """The mean distance of all pairs of rows, a row of weight k standing for k of them. O(n^2 d), O(n d)."""
    total = float(weight.sum())
    sums, _ = ops.block_sums(rows, [0, len(rows)], kernel=Energy(), weights=weight)
    return -float(sums[0]) / max(total * (total - 1), total * total / 2)


def heat_laplacian(rows: Array, weight: Array, n_neighbors: int, width: float) -> tuple[Any, Array]:
    """D - W (m, m), sparse, of the m distinct rows, and the place (m,) where each of them first stands.

    W is exp(-|x - y|^2 / (2 width^2)) between rows of which one is among the `n_neighbors` nearest of the
    other, all at the distance of the last one included, so that the order of the rows plays no part. A row of
    weight k is k equal rows, which are neighbours of each other: it takes k places, and its edges count k
    times.

    Cost: that of scikit-learn's nearest neighbours.
    """
    single, first, group = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    mass = np.bincount(group.reshape(-1), weights=weight)
    pairs, lengths = _neighbours(single, mass, n_neighbors)
    heat = np.exp(-0.5 * (lengths / width) ** 2) if width > 0 else np.ones(len(lengths))
    one_way = sparse.csr_array((heat, (pairs[0], pairs[1])), shape=(len(single), len(single)))
    graph = sparse.diags_array(mass) @ one_way.maximum(one_way.T) @ sparse.diags_array(mass)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(degree) - graph), first


def _neighbours(rows: Array, mass: Array, n_neighbors: int) -> tuple[Array, Array]:
    """Directed pairs (2, e) from each row to its neighbours among the others, and their distances (e,)."""
    n = len(rows)
    if n == 1:
        return np.empty((2, 0), dtype=np.intp), np.empty(0)
    wanted = min(n - 1, n_neighbors + 3)
    while True:
        distances, indices = NearestNeighbors(n_neighbors=wanted).fit(rows).kneighbors()
        taken = np.maximum(mass - 1, 0)[:, None] + np.cumsum(mass[indices], axis=1)
        before = np.column_stack([np.maximum(mass - 1, 0), taken[:, :-1]])
        needed = before < n_neighbors * (1 - 1e-9)  # places left when this neighbour's turn comes
        last = np.where(needed.any(axis=1), needed.sum(axis=1) - 1, 0)
        radius = np.where(needed.any(axis=1), distances[np.arange(n), last], -1.0)
        inside = distances <= radius[:, None] * (1 + 1e-9)
        full = taken[:, -1] >= n_neighbors * (1 - 1e-9)
        if wanted == n - 1 or bool((full & ~inside[:, -1]).all()):
            break
        wanted = min(n - 1, 2 * wanted)
    start = np.repeat(np.arange(n), inside.sum(axis=1))
    return np.stack([start, indices[inside]]), distances[inside]
