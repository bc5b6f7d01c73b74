"""Pure mathematics of transfer components: the pencil S a = w (reg I + F F') a and the ways to solve it.

Names as in the method: G (p, n) is how a method sees the n rows (X' or K), E (n, q) holds the contrasts
between the domains, F = G E / sqrt(c) with c = |E'E|, S = Gc Gc' the scatter of the centred G. No n x n
matrix but K. B = reg I + F F' is the metric.

Row weights enter as their square roots s: with G diag(s), contrasts for weighted rows and the centring
I - s s' / s's, a weight k gives exactly what the row repeated k times gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from ..arrays import Array

__all__ = [
    "Moments",
    "Solution",
    "contrast_norm",
    "group_means",
    "mean_contrast",
    "metric_solve",
    "metric_times",
    "moments",
    "pooled_scatter",
    "rescale",
    "residuals",
    "row_blocks",
    "solve_dual",
    "solve_krylov",
    "solve_linear_dual",
    "solve_metric",
    "solve_rows",
]

PATIENCE = 10  # products with K without halving the residual: rounding allows no more
BLOCK_BYTES = 4 << 20  # rows centred at once: large enough for BLAS, small enough for a shared cache


class Moments(NamedTuple):
    """Total weight, mean (d,) and scatter (d, d), the sum of w (x - mean)(x - mean)', in float64."""

    total: float
    mean: Array
    scatter: Array


class Solution(NamedTuple):
    """Leading eigenpairs, largest w first: `vectors` (p, k), `eigenvalues` (k,), `residuals` (k,).

    Fewer than were asked for where the numerical rank is lower. `passes` counts the products with K.
    """

    vectors: Array
    eigenvalues: Array
    residuals: Array
    passes: int = 0


def moments(rows: Array, weight: Array | None = None, *, dtype: Any = np.float64) -> Moments:
    """Mean and scatter of `rows` (n, d) in two passes over blocks.

    Products are taken in `dtype` on centred rows and added up in float64, so a common offset costs no digits
    and float32 rows need no float64 copy. Cost: n d^2 multiplications, O(d^2) memory.
    """
    n, d = rows.shape
    unit = np.ones(n, dtype) if weight is None else weight.astype(dtype)
    total = float(n) if weight is None else float(weight.sum())
    blocks = row_blocks(n, d * np.dtype(dtype).itemsize)
    scatter, rest = np.zeros((d, d)), np.zeros(d)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        first = sum((unit[block] @ rows[block].astype(dtype, copy=False) for block in blocks), rest)
        origin = (first / total).astype(dtype)
        for block in blocks:
            centred = np.subtract(rows[block], origin, dtype=dtype)
            rest = rest + unit[block] @ centred
            if weight is not None:
                centred *= np.sqrt(unit[block])[:, None]
            scatter += centred.T @ centred
    if np.dtype(dtype) == np.float32 and not 1e-30 * total < np.diag(scatter).max() < np.inf:
        return moments(rows, weight)  # squares leave the range of float32
    # `origin` is the mean rounded to dtype; what is missing is known from the centred rows.
    drift = rest / total
    return Moments(total, origin + drift, scatter - total * np.outer(drift, drift))


def row_blocks(n_rows: int, row_bytes: int) -> list[slice]:
    """Slices of rows that together make about `BLOCK_BYTES`."""
    block = max(64, BLOCK_BYTES // row_bytes)
    return [slice(start, min(start + block, n_rows)) for start in range(0, n_rows, block)]


def group_means(rows: Array, weights: Array) -> Array:
    """Weighted means (c, d) of `rows` (n, d), one for each row of `weights` (c, n), in float64."""
    sums = np.zeros((len(weights), rows.shape[1]))
    for block in row_blocks(len(rows), 8 * rows.shape[1]):
        sums += weights[:, block] @ rows[block].astype(np.float64, copy=False)
    return np.asarray(sums / weights.sum(axis=1, keepdims=True))


def pooled_scatter(a: Moments, b: Moments) -> Array:
    """Scatter (d, d) of two samples about their common mean."""
    gap = a.mean - b.mean
    return a.scatter + b.scatter + (a.total * b.total / (a.total + b.total)) * np.outer(gap, gap)


def mean_contrast(source: Array, target: Array) -> Array:
    """E (n, 1) of TCA for rows weighted by the square roots of `source` and `target`, source rows first."""
    halves = (np.sqrt(source) / source.sum(), -np.sqrt(target) / target.sum())
    return np.concatenate(halves)[:, None]


def contrast_norm(contrasts: Array) -> float:
    """c = |E E'| = |E'E| (Frobenius), by which M is divided."""
    return float(np.linalg.norm(contrasts.T @ contrasts))


def metric_times(factor: Array, reg: float, vectors: Array) -> Array:
    """B V."""
    return np.asarray(reg * vectors + factor @ (factor.T @ vectors))


def metric_solve(factor: Array, reg: float, vectors: Array) -> Array:
    """B^-1 V by Woodbury: only a q x q system is solved."""
    small = factor.T @ factor
    small[np.diag_indices_from(small)] += reg
    return np.asarray((vectors - factor @ linalg.solve(small, factor.T @ vectors, assume_a="pos")) / reg)


def residuals(scatter_times: Array, factor: Array, reg: float, eigenvalues: Array, vectors: Array) -> Array:
    """|S a - w B a| / (w |B a|) per column, `scatter_times` being S a. |S| would hide the small w."""
    right = eigenvalues * (reg * vectors + factor @ _precise_product(factor, vectors))
    return np.asarray(np.linalg.norm(scatter_times - right, axis=0) / np.linalg.norm(right, axis=0))


def rescale(
    solution: Solution, factor: Array, reg: float, scaling: str, root: Array | None = None
) -> Solution:
    """Scale the columns: "unit" |a| = 1, "metric" a'B a = 1, "white" a'S a = 1; largest entry positive.

    With `root` it is the largest entry of a / root: a row repeated k times shares the entry of a row
    weighted k.
    """
    vectors = solution.vectors
    if scaling == "unit":
        length = np.linalg.norm(vectors, axis=0)
    else:
        length = np.sqrt(np.sum(vectors * metric_times(factor, reg, vectors), axis=0))
        if scaling == "white":
            length = length * np.sqrt(solution.eigenvalues)
    entries = vectors if root is None else vectors / root[:, None]
    top = entries[np.argmax(np.abs(entries), axis=0), np.arange(vectors.shape[1])]
    return solution._replace(vectors=vectors * (np.where(top < 0, -1.0, 1.0) / length))


def solve_metric(scatter: Array, factor: Array, reg: float, n_components: int) -> Solution:
    """Form (a): S (p, p) and F (p, q) at hand, a symmetric-definite problem of size p. O(p^3)."""
    values, vectors = _leading(scatter, factor, reg, n_components)
    return _finished(values, vectors, scatter @ vectors, factor, reg, float(np.trace(scatter)))


def solve_rows(centred: Array, factor: Array, reg: float, n_components: int) -> Solution:
    """Form (d), n < p: Gc' B^-1 Gc z = w z for `centred` Gc (p, n), then a = B^-1 Gc z. O(n^2 p + n^3)."""
    n = centred.shape[1]
    dual = centred.T @ metric_solve(factor, reg, centred)
    values, z = linalg.eigh((dual + dual.T) / 2, subset_by_index=[n - n_components, n - 1])
    values, vectors = values[::-1], metric_solve(factor, reg, centred @ z[:, ::-1])
    scatter_times = centred @ (centred.T @ vectors)
    return _finished(values, vectors, scatter_times, factor, reg, float(np.sum(centred * centred)))


def solve_linear_dual(
    rows: Array, contrasts: Array, root: Array, reg: float, n_components: int
) -> tuple[Solution, Array]:
    """Form (b): the dual of the linear kernel of `rows` (n, d), reduced exactly to size r = rank(rows).

    With rows = W D R' (thin) the dual vectors are W alpha, and alpha solves form (a) for G_r = D^2 W'.
    Returns the solution, vectors (n, k), and F (n, q). `rows` come weighted by `root`. O(n d min(n, d)).
    """
    w, singular, _ = linalg.svd(rows, full_matrices=False)
    # Directions below the rounding of the largest are noise; G_r has the square of these numbers.
    rank = int(np.sum(singular > singular[0] * np.finfo(float).eps * max(rows.shape)))
    w, scale = w[:, :rank], singular[:rank] ** 2
    root_c = np.sqrt(contrast_norm(contrasts))
    small_factor = scale[:, None] * (w.T @ contrasts) / root_c
    spread = _centred(w, root) * scale
    small = spread.T @ spread
    values, alpha = _leading(small, small_factor, reg, min(n_components, rank))
    vectors = w @ alpha
    # Not w @ small_factor: its rounding lies in the space of the vectors, and |F|^2 would magnify it.
    factor = rows @ (rows.T @ contrasts) / root_c
    scatter_times = rows @ (rows.T @ _centred(rows @ (rows.T @ vectors), root))
    return _finished(values, vectors, scatter_times, factor, reg, float(np.trace(small))), factor


def solve_dual(
    kernel: Array, contrasts: Array, root: Array, reg: float, n_components: int
) -> tuple[Solution, Array]:
    """Form (a) with G = K, the stored `kernel` (n, n) weighted by `root` on both sides. O(n^3).

    Returns the solution, vectors (n, k), and F (n, q).
    """
    factor = kernel @ contrasts / np.sqrt(contrast_norm(contrasts))
    centred = _centred(kernel, root)
    scatter = centred.T @ centred
    values, vectors = _leading(scatter, factor, reg, n_components)
    scatter_times = centred.T @ (centred @ vectors)
    return _finished(values, vectors, scatter_times, factor, reg, float(np.trace(scatter))), factor


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
            centred = _centred(_centred(image, root), root)
            basis, images = np.hstack([basis, fresh]), np.hstack([images, image])
            cross = images.T @ centred
            gram = np.block([[gram, cross[:size]], [cross[:size].T, cross[size:]]])
        if size:
            # S a = K t, t = H K a, and K a lies in the span of the basis: no product of its own is needed.
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
        values, y = _leading(gram, small_factor, reg, wanted)
        if len(gram) + block > max_basis:
            ritz = _leading(gram, small_factor, reg, min(n_components + block, len(gram)))[1]
            coordinates = linalg.qr(np.hstack([ritz, small_factor, basis.T @ root_image]), mode="economic")[0]
            basis, images = basis @ coordinates, images @ coordinates
            gram, y = coordinates.T @ gram @ coordinates, coordinates.T @ y
            image = images
        fresh = _orthonormal(image, basis)
    vectors = basis[:, :size] @ y
    solution = _finished(values, vectors, scatter_times, factor, reg, float(np.trace(gram)))
    return solution._replace(passes=passes), factor


def _leading(scatter: Array, factor: Array, reg: float, count: int) -> tuple[Array, Array]:
    """The `count` largest eigenpairs of S a = w (reg I + F F') a, largest first."""
    p = len(scatter)
    metric = factor @ factor.T
    metric[np.diag_indices_from(metric)] += reg
    values, vectors = linalg.eigh((scatter + scatter.T) / 2, metric, subset_by_index=[p - count, p - 1])
    return values[::-1], vectors[:, ::-1]


def _finished(
    values: Array, vectors: Array, scatter_times: Array, factor: Array, reg: float, trace: float
) -> Solution:
    """Cut off what lies below rounding, sharpen the rest and measure it; `scatter_times` is S a."""
    length = np.linalg.norm(vectors, axis=0)
    strength = values * np.linalg.norm(metric_times(factor, reg, vectors), axis=0)
    weak = strength <= len(vectors) * np.finfo(float).eps * trace * length
    kept = int(np.argmax(weak)) if weak.any() else len(values)
    values, vectors, scatter_times = values[:kept], vectors[:, :kept], scatter_times[:, :kept]
    # F'S a = w (reg I + F'F) F'a: where |F| is large F'a is tiny, and its rounding rules the residual.
    gram = factor.T @ factor
    shifted = gram + reg * np.eye(len(gram))
    goal = linalg.solve(shifted, factor.T @ scatter_times, assume_a="pos") / values
    for _ in range(2):
        missing = goal - _precise_product(factor, vectors)
        vectors = vectors + factor @ (linalg.pinvh(gram) @ missing)
    return Solution(vectors, values, residuals(scatter_times, factor, reg, values, vectors))


def _precise_product(factor: Array, vectors: Array) -> Array:
    """F'V added up in extended precision where the machine has it."""
    return np.asarray((factor.T.astype(np.longdouble) @ vectors.astype(np.longdouble)).astype(np.float64))


def _centred(columns: Array, root: Array) -> Array:
    return np.asarray(columns - np.outer(root, root @ columns / (root @ root)))


def _orthonormal(columns: Array, basis: Array) -> Array:
    """Orthonormal columns for what `columns` add to `basis`, without directions at the level of rounding."""
    length = np.linalg.norm(columns, axis=0)
    new = columns[:, length > 0] / length[length > 0]
    for _ in range(2):
        new = new - basis @ (basis.T @ new)
    new, triangle, _ = linalg.qr(new, mode="economic", pivoting=True)
    found = np.abs(np.diag(triangle)) > 1e-14 * np.sqrt(len(columns))
    new = new[:, : max(0, len(columns) - basis.shape[1])][:, found[: max(0, len(columns) - basis.shape[1])]]
    new = new - basis @ (basis.T @ new)
    return np.asarray(linalg.qr(new, mode="economic")[0]) if new.shape[1] else new
