"""Pure mathematics of neighbours: the nearest row, and 1-NN."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...algebra import column_lengths, smallest
from ...arrays import Array, index_of, namespace, to_numpy

__all__ = ["NearestRow", "blocks", "nearest_others", "nearest_rows"]

BLOCK = 1 << 18  # entries of the distances held at once: they stay in a core's cache
DEVICE_BLOCK = 1 << 22  # on a GPU
LEAST = 64  # queries at once, however many the rows: what a product needs to be fast


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
    no wider type. Cost: O(m n d) time, O(BLOCK + n (d + LEAST)) memory.
    """
    origin = rows.mean(0)
    centred = rows - origin
    half = namespace(rows).einsum("ij,ij->i", centred, centred) / 2
    found = np.empty(len(queries), dtype=np.intp)
    on_device = namespace(rows) is not np
    for block in blocks(len(queries), len(rows), on_device):
        found[block] = to_numpy((half - (queries[block] - origin) @ centred.T).argmin(1))
    return found


def nearest_others(rows: Any, count: int) -> tuple[Array, Array]:
    """Distances and numbers (n, count), on the host, of the `count` others nearest to each of `rows` (n, d).

    The nearest comes first. Found by inner products about the mean, then measured by differences. `rows` may
    be on a device.
    Cost: O(n^2 d) time, O(BLOCK + n d) memory.
    """
    n, d = rows.shape
    centred = rows - rows.mean(0)
    half = (centred * centred).sum(1) / 2
    lengths, numbers = np.empty((n, count)), np.empty((n, count), dtype=np.intp)
    for block in blocks(n, max(n, count * d), namespace(rows) is not np):
        own = np.arange(block.start, block.stop)
        near = half - centred[block] @ centred.T
        near[index_of(own - block.start, near), index_of(own, near)] = np.inf
        chosen = smallest(near, count)
        apart = (centred[block][:, None, :] - centred[chosen]).reshape(-1, d)
        found, chosen = column_lengths(apart.T).reshape(-1, count), to_numpy(chosen)
        order = np.argsort(found, axis=1, kind="stable")
        lengths[block] = np.take_along_axis(found, order, axis=1)
        numbers[block] = np.take_along_axis(chosen, order, axis=1)
    return lengths, numbers


def blocks(n_queries: int, n_rows: int, on_device: bool = False) -> list[slice]:
    """Slices of the queries whose distances to all rows are held at once."""
    size = max(LEAST, (DEVICE_BLOCK if on_device else BLOCK) // n_rows)
    return [slice(start, min(start + size, n_queries)) for start in range(0, n_queries, size)]
