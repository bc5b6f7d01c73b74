"""Pure mathematics: leading eigenpairs of any symmetric matrix known by its products alone: block Lanczos.

Each call is a problem of its own; `krylov` solves the pencil for one E after another in one space of K.
Vectors may be on a device, in float64; everything of the size of the basis is on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...algebra import column_lengths
from ...arrays import Array, beside, index_of, namespace, to_numpy

__all__ = ["Leading", "leading_pairs"]

PATIENCE = 10  # products without halving the residual: rounding allows no more


class Leading(NamedTuple):
    """Eigenpairs, largest first: `values` (k,), orthonormal `vectors` (n, k), and the number of products."""

    values: Array
    vectors: Any
    passes: int


def leading_pairs(
    product: Callable[[Any], Any],
    start: Any,
    count: int,
    *,
    tol: float,
    max_passes: int,
    max_basis: int = 400,
) -> Leading:
    """The `count` algebraically largest eigenpairs of T, given `product`: V (n, b) -> T V.

    Block Lanczos with full orthogonalisation: one product with `start`'s number of columns a step, and the
    residual |T v - w v| of a step without a product of its own. Beyond `max_basis` columns it starts again
    from the leading Ritz vectors, which loses nothing of what is known of them. Stops when all residuals are
    <= `tol` |w|, when the space is exhausted, after `max_passes` products, or when residuals no longer fall;
    fewer pairs where the space is smaller.

    Cost: O(n m^2) for a basis of m columns beside the products; O(n m) memory.
    """
    block = start.shape[1]
    max_basis = max(max_basis, 3 * (count + 2 * block))
    basis, projected = start[:, :0], np.empty((0, 0))
    fresh = _orthonormal(start, basis)
    passes, best, best_pass = 0, np.inf, 0
    while True:
        image = product(fresh)
        passes += 1
        known = basis.shape[1]
        basis = namespace(basis).concatenate([basis, fresh], 1)
        inside = basis.T @ image
        left = image - basis @ inside
        again = basis.T @ left
        left -= basis @ again
        inside += again
        cross = to_numpy(inside)
        corner = (cross[known:] + cross[known:].T) / 2
        projected = np.block([[projected, cross[:known]], [cross[:known].T, corner]])
        values, y = np.linalg.eigh(projected)
        values, y = values[::-1], y[:, ::-1]
        kept = min(count, len(values))
        # T Q y = Q y w + left y_last: what lies outside the basis comes from its last block alone.
        outside = column_lengths(left @ beside(y[known:, :kept], left))
        smallest = max(np.finfo(float).eps * np.abs(values).max(), np.finfo(float).tiny)
        relative = float((outside / np.maximum(np.abs(values[:kept]), smallest)).max())
        if relative < best / 2:
            best, best_pass = relative, passes
        fresh = _orthonormal(left, basis)
        complete = kept == count and relative <= tol
        if complete or passes >= min(max_passes, best_pass + PATIENCE) or not fresh.shape[1]:
            return Leading(values[:kept], basis @ beside(y[:, :kept], basis), passes)
        if basis.shape[1] + fresh.shape[1] > max_basis:
            ritz = min(count + block, len(values))
            basis, projected = basis @ beside(y[:, :ritz], basis), np.diag(values[:ritz])


def _orthonormal(columns: Any, basis: Any) -> Any:
    """Orthonormal columns for what `columns` add to `basis`, without directions at the level of rounding."""
    length, qr = column_lengths(columns), namespace(columns).linalg.qr
    some = length > 0
    if not some.any():
        return columns[:, :0]
    new = columns[:, index_of(some, columns)] / beside(length[some], columns)
    for _ in range(2):
        new = new - basis @ (basis.T @ new)
    new, triangle = qr(new)
    found = np.abs(np.diag(to_numpy(triangle))) > 1e-12
    new = new[:, index_of(found, new)][:, : max(0, len(columns) - basis.shape[1])]
    new = new - basis @ (basis.T @ new)
    return qr(new)[0] if new.shape[1] else new
