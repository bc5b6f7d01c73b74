"""Pure mathematics of neighbours: the nearest row, 1-NN, and the graph of the nearest directions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from ..arrays import Array, namespace, to_numpy

__all__ = ["NearestRow", "direction_graph", "nearest_rows", "normalized_laplacian"]

BLOCK = 1 << 22  # entries of the distances held at once


class NearestRow(NamedTuple):
    """1-NN, fitted: `rows` (n, d), which may be on a device, and their `classes` (n,)."""

    rows: Array
    classes: Array

    def predict(self, queries: Array) -> Array:
        """The class (m,) of the row nearest to each of the `queries` (m, d); the first of equals."""
        return np.asarray(self.classes[nearest_rows(queries, self.rows)])


def nearest_rows(queries: Array, rows: Array) -> Array:
    """The number (m,) of the row of `rows` (n, d) nearest to each of the `queries` (m, d).

    Distances come from inner products about the mean of `rows`, so rows nearer to each other than rounding
    leaves of their distance from it count as equally near. Both may be on a device, the queries in
    no wider type. Cost: O(m n d) time, O(BLOCK + n d) memory.
    """
    origin = rows.mean(0)
    centred = rows - origin
    half = namespace(rows).einsum("ij,ij->i", centred, centred) / 2
    found = np.empty(len(queries), dtype=np.intp)
    for block in _blocks(len(queries), len(rows)):
        found[block] = to_numpy((half - (queries[block] - origin) @ centred.T).argmin(1))
    return found


def direction_graph(rows: Array, count: int, weight: Array) -> sparse.csr_array:
    """Symmetric weights (n, n) of a graph: each row to its `count` nearest directions and itself.

    A weight is the cosine; an edge is there where either end has it. `rows` have unit length or are zero, and
    each stands for `weight` (n,) equal ones, at least for one. Of equal rows that are too many to be among
    the `count` nearest each gets its share of an edge; the diagonal is the mean over the pairs of a row's
    equals.
    Cost: O(n^2 d) time, O(BLOCK + n count) memory.
    """
    n = len(rows)
    times = np.maximum(weight, 1.0)
    size = min(count + 1, n)
    ends, values = np.empty((n, size), dtype=np.intp), np.empty((n, size))
    for block in _blocks(n, n):
        near = rows[block] @ rows.T
        own = np.arange(block.start, block.stop)
        near[own - block.start, own] = np.inf  # itself and its equals, first
        chosen = np.argpartition(-near, size - 1, axis=1)[:, :size]
        cosine = np.take_along_axis(near, chosen, axis=1)
        order = np.argsort(-cosine, axis=1, kind="stable")
        ends[block] = np.take_along_axis(chosen, order, axis=1)
        values[block] = np.take_along_axis(cosine, order, axis=1)
    copies = times[ends]
    copies[:, 0] -= 1
    before = np.cumsum(copies, axis=1) - copies
    share = np.clip(count - before, 0, copies) / times[ends]
    share[:, 0] += 1 / times
    values[:, 0] = np.einsum("ij,ij->i", rows, rows)
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


def _blocks(n_queries: int, n_rows: int) -> list[slice]:
    size = max(1, BLOCK // n_rows)
    return [slice(start, min(start + size, n_queries)) for start in range(0, n_queries, size)]
