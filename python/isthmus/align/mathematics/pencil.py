"""Pure mathematics of transfer components: the pencil S a = w (reg I + F F') a and the ways to solve it.

Names as in the method: G (p, n) is how a method sees the n rows (X' or K), E (n, q) holds the contrasts
between the domains, F = G E / sqrt(c) with c = |E'E|, S = Gc Gc' the scatter of the centred G. No n x n
matrix but K. B = reg I + F F' is the metric.

Row weights enter as their square roots s: with G diag(s), contrasts for weighted rows and the centring
I - s s' / s's, a weight k gives exactly what the row repeated k times gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from ... import backends
from ...arrays import Array, as_dtype, beside, home, is_rows, like, namespace, to_numpy
from ...homes import HOST, Home

__all__ = [
    "Moments",
    "Solution",
    "centred",
    "centred_blocks",
    "contrast_norm",
    "finished",
    "leading",
    "mean_contrast",
    "metric_solve",
    "metric_times",
    "moments",
    "needs_care",
    "pooled_scatter",
    "rescale",
    "rank_of",
    "residuals",
    "row_blocks",
    "solve_dual",
    "solve_metric",
    "solve_rows",
    "weighted_mean",
    "weighted_sum",
]

SMALL_PENCIL = 1024  # up to here a whole eigendecomposition costs little more than the wanted part
BLOCK_BYTES = 2 << 20  # rows centred at once: large enough for BLAS, small enough for a shared cache
CAST_BYTES = 16 << 20  # rows brought to another dtype at once: some tasks for each thread
DEVICE_BLOCK_BYTES = 32 << 20  # of rows on a GPU: large beside a launch, small beside its memory
ORIGIN_ROWS = 256  # whose mean stands for the mean of all until that is known


class Moments(NamedTuple):
    """Total weight, mean (d,) and scatter (d, d), the sum of w (x - mean)(x - mean)', in float64."""

    total: float
    mean: Array
    scatter: Array


class Solution(NamedTuple):
    """Leading eigenpairs, largest w first: `vectors` (p, k), `eigenvalues` (k,), `residuals` (k,).

    Fewer than were asked for where the numerical rank is lower. `passes` counts the products with K.
    `images` is G'A (n, k), the embedded rows times their square root weights, where it is at hand.
    """

    vectors: Array
    eigenvalues: Array
    residuals: Array
    passes: int = 0
    images: Array | None = None


def moments(rows: Array, weight: Array | None = None, *, dtype: Any = np.float64) -> Moments:
    """Mean and scatter of `rows` (n, d), which may be on a GPU, in one pass over blocks.

    Products are taken in `dtype` on rows minus the mean of a few of them and added up in float64, so a common
    offset costs no digits and float32 rows need no float64 copy. Where these few stand for the others badly,
    there is a second pass. Cost: n d^2 multiplications, O(d^2) memory.
    """
    step = max(1, len(rows) // ORIGIN_ROWS)
    few = to_numpy(rows[::step]).astype(np.float64, order="C")
    part = np.ones(len(few)) if weight is None else weight[::step]
    # einsum: threads of BLAS would still spin while the operation below wants their processors.
    middle = np.einsum("i,ij->j", part, few) / part.sum() if part.any() else few[0]
    origin = middle.astype(dtype)
    found = _moments_about(origin, rows, weight)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        far = found.total * (found.mean - origin) ** 2 > 4 * np.diag(found.scatter)
    if far.any():
        found = _moments_about(found.mean.astype(dtype), rows, weight)
    if np.dtype(dtype) == np.float32 and not 1e-30 * found.total < np.diag(found.scatter).max() < np.inf:
        return moments(rows, weight)  # squares leave the range of float32
    if not np.isfinite(found.scatter).all():
        raise ValueError("the squares of the rows must stay in the range of float64; scale the columns of X")
    return found


def _moments_about(origin: Array, rows: Array, weight: Array | None) -> Moments:
    """Moments of `rows` from rows minus `origin` (d,), multiplied in its dtype."""
    total = float(len(rows)) if weight is None else float(weight.sum())
    found = _sums_on_host if namespace(rows) is np else _sums_on_device
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        rest, scatter = found(origin, rows, None if weight is None else weight.astype(origin.dtype))
        drift = rest / total
        return Moments(total, origin + drift, scatter - total * np.outer(drift, drift))


def _sums_on_host(origin: Array, rows: Array, weight: Array | None) -> tuple[Array, Array]:
    """Weighted sum (d,) and scatter (d, d) of `rows` about `origin`, multiplied in its dtype."""
    if is_rows(rows, origin.dtype, HOST):
        return backends.moments(rows, weight, origin, HOST)
    d = len(origin)
    rest, scatter = np.zeros(d), np.zeros((d, d))
    blocks = _slices(len(rows), CAST_BYTES // origin.nbytes)
    buffer = np.empty((blocks[0].stop, d), origin.dtype)
    for block in blocks:
        cast = buffer[: block.stop - block.start]
        cast[...] = rows[block]
        sums = backends.moments(cast, None if weight is None else weight[block], origin, HOST)
        rest += sums[0]
        scatter += sums[1]
    return rest, scatter


def _sums_on_device(origin: Array, rows: Array, weight: Array | None) -> tuple[Array, Array]:
    """As `_sums_on_host`, of rows on a GPU."""
    where = home(rows) or HOST
    about, share = where.asarray(origin, origin.dtype), None
    rest, scatter = np.zeros(len(origin)), np.zeros((len(origin),) * 2)
    for block in row_blocks(len(rows), origin.nbytes, True):
        cast = as_dtype(rows[block], origin.dtype, where)
        if weight is not None:
            share = where.asarray(weight[block], origin.dtype)
        sums = backends.moments(cast, share, about, where)
        rest += to_numpy(sums[0])
        scatter += to_numpy(sums[1])
    return rest, scatter


def row_blocks(n_rows: int, row_bytes: int, on_device: bool = False) -> list[slice]:
    """Slices of rows that together make about `BLOCK_BYTES`, or `DEVICE_BLOCK_BYTES`."""
    return _slices(n_rows, (DEVICE_BLOCK_BYTES if on_device else BLOCK_BYTES) // row_bytes)


def _slices(n_rows: int, block: int) -> list[slice]:
    block = max(64, block)
    return [slice(start, min(start + block, n_rows)) for start in range(0, n_rows, block)]


def centred_blocks(rows: Array, origin: Array) -> Iterator[tuple[slice, Array]]:
    """Blocks of `rows` minus `origin` (d,), in the dtype of `origin`: all in one buffer, C order.

    Of rows on a GPU each block is a new array there.
    """
    if namespace(rows) is not np:
        where = home(rows)
        assert where is not None
        there = where.asarray(origin, origin.dtype)
        for block in row_blocks(len(rows), origin.nbytes, on_device=True):
            yield block, as_dtype(rows[block], origin.dtype, where) - there
        return
    blocks = row_blocks(len(rows), origin.nbytes)
    buffer = np.empty((blocks[0].stop, len(origin)), origin.dtype)
    for block in blocks:
        yield block, np.subtract(rows[block], origin, out=buffer[: block.stop - block.start])


def weighted_sum(weight: Array, rows: Array) -> Array:
    """weight' rows (d,) on the host, for `rows` (n, d) anywhere, in their dtype."""
    return to_numpy(like(weight, rows) @ rows)


def weighted_mean(rows: Array, weight: Array) -> Array:
    """Mean (d,) of `rows` (n, d), which may be on a GPU, in float64, without a float64 copy of them."""
    where, wide = home(rows) or Home("numpy", "cpu"), np.dtype(np.float64)
    total = np.zeros(rows.shape[1])
    for block in row_blocks(len(rows), 8 * rows.shape[1], not where.on_host):
        total += weighted_sum(weight[block], as_dtype(rows[block], wide, where))
    return np.asarray(total / weight.sum())


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
    product: Array = reg * vectors + factor @ (factor.T @ vectors)
    return product


def metric_solve(factor: Array, reg: float, vectors: Array) -> Array:
    """B^-1 V by Woodbury: only a q x q system is solved."""
    small = factor.T @ factor
    small[np.diag_indices_from(small)] += reg
    return np.asarray((vectors - factor @ linalg.solve(small, factor.T @ vectors, assume_a="pos")) / reg)


def residuals(scatter_times: Array, factor: Array, reg: float, eigenvalues: Array, vectors: Array) -> Array:
    """|S a - w B a| / (w |B a|) per column, `scatter_times` being S a. |S| would hide the small w."""
    rounded = factor.astype(np.float64, copy=False)
    inner = _precise_product(factor, vectors) if needs_care(rounded, reg) else rounded.T @ vectors
    right = eigenvalues * (reg * vectors + rounded @ inner)
    return np.asarray(np.linalg.norm(scatter_times - right, axis=0) / np.linalg.norm(right, axis=0))


def rescale(
    solution: Solution, factor: Array, reg: float, scaling: str, root: Array | None = None
) -> Solution:
    """Scale the columns: "unit" |a| = 1, "metric" a'B a = 1, "white" a'S a = 1; largest entry positive.

    With `root` it is the largest entry of a / root: a row repeated k times shares the entry of a row
    weighted k. Vectors, images and `factor` may be on a device; there nothing is done about roundings.
    """
    vectors, xp = solution.vectors, namespace(solution.vectors)
    on_host = xp is np
    rounded = factor.astype(np.float64, copy=False) if on_host else factor
    squared = vectors * (vectors if scaling == "unit" else metric_times(rounded, reg, vectors))
    length = np.sqrt(to_numpy(squared.sum(0)))
    if scaling == "white":
        length = length * np.sqrt(solution.eigenvalues)
    entries = vectors if root is None else vectors / beside(root[:, None], vectors)
    least, most = to_numpy(xp.amin(entries, 0)), to_numpy(xp.amax(entries, 0))
    scale = np.where(most < -least, -1.0, 1.0) / length
    images = None if solution.images is None else solution.images * beside(scale, solution.images)
    scaled = vectors * beside(scale, vectors)
    if on_host and needs_care(rounded, reg):
        scaled = _pinned(factor, scaled, _precise_product(factor, vectors) * scale)
    return solution._replace(vectors=scaled, images=images)


def solve_metric(scatter: Array, factor: Array, reg: float, n_components: int) -> Solution:
    """Form (a): S (p, p) and F (p, q) at hand, a symmetric-definite problem of size p. O(p^3)."""
    values, vectors = leading(scatter, factor, reg, n_components)
    return finished(values, vectors, scatter @ vectors, factor, reg, float(np.trace(scatter)))


def solve_rows(spread: Array, factor: Array, reg: float, n_components: int) -> Solution:
    """Form (d), n < p: Gc' B^-1 Gc z = w z for `spread` Gc (p, n), then a = B^-1 Gc z. O(n^2 p + n^3)."""
    n = spread.shape[1]
    dual = spread.T @ metric_solve(factor, reg, spread)
    values, z = linalg.eigh((dual + dual.T) / 2, subset_by_index=[n - n_components, n - 1])
    values, vectors = values[::-1], metric_solve(factor, reg, spread @ z[:, ::-1])
    scatter_times = spread @ (spread.T @ vectors)
    return finished(values, vectors, scatter_times, factor, reg, float(np.sum(spread * spread)))


def solve_dual(
    kernel: Array, contrasts: Array, root: Array, reg: float, n_components: int
) -> tuple[Solution, Array]:
    """Form (a) with G = K, the stored `kernel` (n, n) weighted by `root` on both sides. O(n^3).

    Returns the solution, vectors (n, k), and F (n, q).
    """
    factor = kernel @ contrasts / np.sqrt(contrast_norm(contrasts))
    spread = centred(kernel, root)
    scatter = spread.T @ spread
    values, vectors = leading(scatter, factor, reg, n_components)
    scatter_times = spread.T @ (spread @ vectors)
    return finished(values, vectors, scatter_times, factor, reg, float(np.trace(scatter))), factor


def leading(scatter: Array, factor: Array, reg: float, count: int) -> tuple[Array, Array]:
    """The `count` largest eigenpairs of S a = w (reg I + F F') a, largest first, a'Ba = 1. O(p^3)."""
    p = len(scatter)
    u, s, _ = np.linalg.svd(factor, full_matrices=False)
    gap = float(s @ s)
    if reg <= np.finfo(float).eps * gap:
        raise ValueError(
            f"reg must not vanish beside the gap of the means, |F|^2 = {gap:.0e}, got reg = {reg:g}; "
            "scale the columns of X or raise reg"
        )
    # B^-1/2 = (I - U D U') / sqrt(reg)
    shrink = u * (1 - np.sqrt(reg / (reg + s * s)))
    half = scatter - shrink @ (u.T @ scatter)
    whole = half - (half @ u) @ shrink.T
    whole = (whole + whole.T) / (2 * reg)
    if p > SMALL_PENCIL:
        values, z = linalg.eigh(whole, subset_by_index=[p - count, p - 1])
    else:
        # scipy has BLAS threads of its own, whose spinning would slow down the caller's next products.
        values, z = np.linalg.eigh(whole)
    z = z[:, ::-1][:, :count]
    return values[::-1][:count], (z - shrink @ (u.T @ z)) / np.sqrt(reg)


def rank_of(eigenvalues: Array, metric_lengths: Array, lengths: Array, trace: float, n_rows: int) -> int:
    """How many leading pairs lie above rounding: w |B a| against the rounding of S, whose trace is given."""
    weak = eigenvalues * metric_lengths <= n_rows * np.finfo(float).eps * trace * lengths
    return int(np.argmax(weak)) if weak.any() else len(eigenvalues)


def finished(
    values: Array, vectors: Array, scatter_times: Array, factor: Array, reg: float, trace: float
) -> Solution:
    """Cut off what lies below rounding, sharpen the rest and measure it; `scatter_times` is S a."""
    rounded = factor.astype(np.float64, copy=False)
    lengths = np.linalg.norm(vectors, axis=0)
    metric_lengths = np.linalg.norm(metric_times(rounded, reg, vectors), axis=0)
    kept = rank_of(values, metric_lengths, lengths, trace, len(vectors))
    values, vectors, scatter_times = values[:kept], vectors[:, :kept], scatter_times[:, :kept]
    if needs_care(rounded, reg):
        # F'S a = w (reg I + F'F) F'a: where |F| is large F'a is tiny, and its rounding rules the residual.
        _, size, turn = np.linalg.svd(rounded, full_matrices=False)
        inner = turn @ (rounded.T @ scatter_times)
        goal = turn.T @ (inner / (size[:, None] ** 2 + reg)) / values
        vectors = _pinned(factor, vectors, goal)
    return Solution(vectors, values, residuals(scatter_times, factor, reg, values, vectors))


def needs_care(factor: Array, reg: float) -> bool:
    """Whether rounding a vector moves its residual to where a gate of 1e-8 would see it."""
    return bool(np.finfo(float).eps * np.sum(factor * factor) > 1e-11 * reg)


def _pinned(factor: Array, vectors: Array, goal: Array) -> Array:
    """`vectors` (p, k) moved by rounding errors so that F'V is `goal` (q, k)."""
    _, size, turn = np.linalg.svd(factor.astype(np.float64, copy=False), full_matrices=False)
    # Columns of F may depend on each other: what is left of them is rounding, and nothing to aim at.
    kept = size > 1e-6 * size[0]
    size, turn = size[kept], turn[kept].T
    factor, goal = factor @ turn, turn.T @ goal
    rounded = factor.astype(np.float64, copy=False)
    vectors = vectors + rounded @ ((goal - _precise_product(factor, vectors)) / size[:, None] ** 2)
    # Rounding all entries leaves eps |F| |a|. Entries near zero round finer, so a few take what is missing.
    missing = goal - _precise_product(factor, vectors)
    weight = np.linalg.norm(rounded, axis=1)
    heavy = np.flatnonzero(weight >= np.median(weight))
    for column, rest in zip(vectors.T, missing.T, strict=True):
        few = heavy[np.argsort(np.abs(column[heavy]))[: 4 * rounded.shape[1]]]
        column[few] += linalg.lstsq(rounded[few].T, rest, cond=1e-6)[0]
    return vectors


def _precise_product(factor: Array, vectors: Array) -> Array:
    """F'V added up in extended precision where the machine has it."""
    return np.asarray((factor.T.astype(np.longdouble, copy=False) @ vectors).astype(np.float64))


def centred(columns: Array, root: Array) -> Array:
    """H times `columns` (n, k), which may be on a device; `root` (n,) is on the host."""
    root = beside(root, columns)
    inside: Array = columns - root[:, None] * (root @ columns / (root @ root))
    return inside
