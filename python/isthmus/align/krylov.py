"""Pure mathematics of transfer components: the dual of any kernel in the block Krylov space of K itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..arrays import Array
from .pencil import Solution, centred, contrast_norm, finished, leading, residuals

__all__ = ["solve_krylov"]

PATIENCE = 10  # products with K without halving the residual: rounding allows no more


def solve_krylov(
    product: Callable[[Array], Array],
    contrasts: Array,
    root: Array,
    reg: float,
    n_components: int,
    *,
    tol: float,
    max_passes: int,
    rng: np.random.Generator,
    block: int = 40,
    max_basis: int = 480,
) -> tuple[Solution, Array]:
    """The dual of any kernel: block Krylov space of K itself, one product with K per step (`product`: V -> K
    V).

    S = K H K and F = K E / sqrt(c), so the space of K started from [F, K s, random] holds whatever a solver
    of the pencil can reach, and the residual of one step comes out of the next step's block. Beyond
    `max_basis` columns it starts again from [F, K s, Ritz vectors], whose products are known. Stops when all
    residuals are <= `tol`, when the space is exhausted, after `max_passes` products, or when residuals no
    longer fall. Returns the solution, vectors (n, k), and F (n, q). O(n max_basis) memory.
    """
    n, q = contrasts.shape
    block = min(n, max(block, q + 2))
    restart = n_components + block + q + 1
    max_basis = max(max_basis, 3 * restart)
    first = product(np.column_stack([contrasts, root]))
    factor, root_image = first[:, :q] / np.sqrt(contrast_norm(contrasts)), first[:, q:]
    random = rng.standard_normal((n, max(0, block - q - 1)))
    fresh = _orthonormal(np.hstack([factor, root_image, random]), np.empty((n, 0)))
    basis, images, gram = np.empty((n, 0)), np.empty((n, 0)), np.empty((0, 0))  # Q, K Q, (H K Q)'(H K Q)
    values, y, left = np.empty(0), np.empty((0, 0)), np.empty(0)
    passes, best, best_pass = 1, np.inf, 1
    while True:
        size = basis.shape[1]
        if fresh.shape[1]:
            image = product(fresh)
            passes += 1
            # Centred twice: what rounding leaves of s would be multiplied by the large mean of `images`.
            spread = centred(centred(image, root), root)
            basis, images = np.hstack([basis, fresh]), np.hstack([images, image])
            cross = images.T @ spread
            gram = np.block([[gram, cross[:size]], [cross[:size].T, cross[size:]]])
        if size:
            # S a = K H t, t = K a, and t lies in the span of the basis: no product of its own is needed.
            t = images[:, :size] @ y
            scatter_times = images @ (basis.T @ t) - root_image * (root @ t / (root @ root))
            left = residuals(scatter_times, factor, reg, values, basis[:, :size] @ y)
            if left.max() < best / 2:
                best, best_pass = left.max(), passes
            complete = len(values) == n_components and left.max() <= tol
            if complete or passes >= min(max_passes, best_pass + PATIENCE) or not fresh.shape[1]:
                break
        wanted = min(n_components, len(gram))
        small_factor = basis.T @ factor
        values, y = leading(gram, small_factor, reg, wanted)
        if len(gram) + block > max_basis:
            ritz = leading(gram, small_factor, reg, min(n_components + block, len(gram)))[1]
            coordinates = np.linalg.qr(np.hstack([ritz, small_factor, basis.T @ root_image]))[0]
            basis, images = basis @ coordinates, images @ coordinates
            gram, y = coordinates.T @ gram @ coordinates, coordinates.T @ y
            image = images
        fresh = _orthonormal(image, basis)
    vectors = basis[:, :size] @ y
    solution = finished(values, vectors, scatter_times, factor, reg, float(np.trace(gram)))
    return solution._replace(passes=passes), factor


def _orthonormal(columns: Array, basis: Array) -> Array:
    """Orthonormal columns for what `columns` add to `basis`, without directions at the level of rounding."""
    length = np.linalg.norm(columns, axis=0)
    new = columns[:, length > 0] / length[length > 0]
    for _ in range(2):
        new = new - basis @ (basis.T @ new)
    new, triangle = np.linalg.qr(new)
    found = np.abs(np.diag(triangle)) > 1e-14 * np.sqrt(len(columns))
    new = new[:, found][:, : max(0, len(columns) - basis.shape[1])]
    new = new - basis @ (basis.T @ new)
    return np.asarray(np.linalg.qr(new)[0]) if new.shape[1] else new
