"""Pure mathematics of neighbours: the nearest row, and 1-NN."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import Array, namespace, to_numpy

__all__ = ["NearestRow", "blocks", "nearest_rows"]

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


def blocks(n_queries: int, n_rows: int, on_device: bool = False) -> list[slice]:
    """Slices of the queries whose distances to all rows are held at once."""
    size = max(LEAST, (DEVICE_BLOCK if on_device else BLOCK) // n_rows)
    return [slice(start, min(start + size, n_queries)) for start in range(0, n_queries, size)]
