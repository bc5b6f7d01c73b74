"""Pure mathematics of graphs of rows: nearest neighbours by the heat kernel, nearest directions by cosine.

Rows may be on a device; graphs are sparse matrices on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from ... import ops
from ...algebra import smallest
from ...arrays import Array, beside, index_of, like, namespace, to_numpy
from ...kernels import Energy
from .neighbours import blocks, nearest_others
from .pencil import row_blocks

__all__ = ["direction_graph", "heat_laplacian", "mean_distance", "normalized_laplacian", "quadratic_form"]


def mean_distance(rows: Any, weight: Array) -> float:
    """The mean distance of all pairs of rows, a row of weight k standing for k of them. O(n^2 d), O(n d)."""
    total = float(weight.sum())
    sums, _ = ops.block_sums(rows, [0, len(rows)], kernel=Energy(), weights=like(weight, rows))
    return -float(sums[0]) / max(total * (total - 1), total * total / 2)


def heat_laplacian(rows: Any, weight: Array, n_neighbors: int, width: float) -> tuple[Any, Array]:
    """D - W (m, m), sparse, of the m distinct rows, and the place (m,) where each of them first stands.

    W is exp(-|x - y|^2 / (2 width^2)) between rows of which one is among the `n_neighbors` nearest of the
    other, all at the distance of the last one included, so that the order of the rows plays no part. A row of
    weight k is k equal rows, which are neighbours of each other: it takes k places, and its edges count k
    times.

    Cost: that of scikit-learn's nearest neighbours. On a device O(n^2 d); equal rows are found on the host.
    """
    single, first, group = np.unique(to_numpy(rows), axis=0, return_index=True, return_inverse=True)
    mass = np.bincount(group.reshape(-1), weights=weight)
    distinct = single if namespace(rows) is np else rows[index_of(first, rows)]
    pairs, lengths = _neighbours(distinct, mass, n_neighbors)
    heat = np.exp(-0.5 * (lengths / width) ** 2) if width > 0 else np.ones(len(lengths))
    one_way = sparse.csr_array((heat, (pairs[0], pairs[1])), shape=(len(single), len(single)))
    graph = sparse.diags_array(mass) @ one_way.maximum(one_way.T) @ sparse.diags_array(mass)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(degree) - graph), first


def quadratic_form(matrix: Any, columns: Any) -> Array:
    """V' P V (k, k) on the host, for a sparse P (n, n) and `columns` V (n, k), which may be on a device.

    On a device, O(k^2) for each entry of P.
    """
    if namespace(columns) is np:
        return np.asarray(columns.T @ (matrix @ columns))
    entries = matrix.tocoo()
    total = np.zeros((columns.shape[1],) * 2)
    for block in row_blocks(entries.nnz, 8 * columns.shape[1], True):
        left, right = (columns[index_of(at[block], columns)] for at in (entries.row, entries.col))
        total += to_numpy((left * beside(entries.data[block, None], left)).T @ right)
    return total


def direction_graph(rows: Any, count: int, weight: Array) -> sparse.csr_array:
    """Symmetric weights (n, n) of a graph: each row to its `count` nearest directions and itself.

    A weight is the cosine; an edge is there where either end has it. `rows` have unit length or are zero, and
    each stands for `weight` (n,) equal ones, at least for one. Of equal rows that are too many to be among
    the `count` nearest each gets its share of an edge; the diagonal is the mean over the pairs of a row's
    equals.
    Cost: O(n^2 d) time, O(BLOCK + n (count + LEAST)) memory.
    """
    n = len(rows)
    times = np.maximum(weight, 1.0)
    size = min(count + 1, n)
    ends, values = np.empty((n, size), dtype=np.intp), np.empty((n, size))
    for block in blocks(n, n, namespace(rows) is not np):
        near = rows[block] @ rows.T
        own = np.arange(block.start, block.stop)
        place = index_of(own - block.start, near)
        near[place, index_of(own, near)] = np.inf  # itself and its equals, first
        found = smallest(-near, size)
        chosen, cosine = to_numpy(found), to_numpy(near[place[:, None], found])
        order = np.argsort(-cosine, axis=1, kind="stable")
        ends[block] = np.take_along_axis(chosen, order, axis=1)
        values[block] = np.take_along_axis(cosine, order, axis=1)
    copies = times[ends]
    copies[:, 0] -= 1
    before = np.cumsum(copies, axis=1) - copies
    share = np.clip(count - before, 0, copies) / times[ends]
    share[:, 0] += 1 / times
    values[:, 0] = to_numpy(namespace(rows).einsum("ij,ij->i", rows, rows))
    start = np.repeat(np.arange(n), size)
    half = sparse.csr_array(((values * share).ravel(), (start, ends.ravel())), shape=(n, n))
    return sparse.csr_array(half.maximum(half.T))


def normalized_laplacian(graph: sparse.csr_array, weight: Array) -> sparse.csr_array:
    """I - D^-1/2 W D^-1/2 for rows that count `weight` (n,) times, on functions times sqrt(weight).

    Rows of degree 0 are left alone: their diagonal is 1.
    """
    degree = graph @ weight
    scale = np.sqrt(weight / np.where(degree > 0, degree, 1.0))
    scaled = graph.multiply(scale[:, None]).multiply(scale[None, :])
    return sparse.csr_array(sparse.eye_array(len(weight)) - scaled)


def _neighbours(rows: Any, mass: Array, n_neighbors: int) -> tuple[Array, Array]:
    """Directed pairs (2, e) from each row to its neighbours among the others, and their distances (e,)."""
    n = len(rows)
    if n == 1:
        return np.empty((2, 0), dtype=np.intp), np.empty(0)
    wanted = min(n - 1, n_neighbors + 3)
    while True:
        if namespace(rows) is np:
            distances, indices = NearestNeighbors(n_neighbors=wanted).fit(rows).kneighbors()
        else:
            distances, indices = nearest_others(rows, wanted)
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
