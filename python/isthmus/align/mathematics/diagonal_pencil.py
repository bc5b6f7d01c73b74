"""Pure mathematics: the leading pairs of the pencil whose scatter is diagonal, with few coordinates.

From (s_i - w reg) a_i = w F_i (F'a) the tail of a, where s_i is small, is F_t times a smooth function of s_t:
it lies in the span of F_t, s_t F_t, s_t^2 F_t, ... up to an error that falls geometrically. A first part of
the coordinates and that span hold the leading pairs as exactly as all of them.
"""

from __future__ import annotations

import numpy as np

from ...arrays import Array
from .pencil import leading

__all__ = ["leading_of_diagonal"]

TAIL = 1e-13  # share of a tail that may lie outside its span
WORTH = 0.8  # of the whole size: a basis that large saves nothing


def leading_of_diagonal(scatter: Array, factor: Array, reg: float, count: int) -> tuple[Array, Array]:
    """The `count` largest eigenpairs of diag(s) a = w (reg I + F F') a, largest first, a'Ba = 1.

    `scatter` s (p,) >= 0, largest first; `factor` F (p, q); `count` at most p. Returns w (count,) and vectors
    (p, count). Cost: O(r^3 + p r (q + count)) for a basis of r vectors, r = p where s hardly falls.
    """
    head, degree = _sizes(scatter, factor.shape[1], count)
    if head == len(scatter):
        return leading(np.diag(scatter), factor, reg, count)
    rest = scatter[head:]
    tail = _tail_basis(rest, factor[head:], degree)
    small = np.zeros((head + tail.shape[1],) * 2)
    small[:head, :head] = np.diag(scatter[:head])
    small[head:, head:] = (tail.T * rest) @ tail
    inner = np.concatenate([factor[:head], tail.T @ factor[head:]])
    values, vectors = leading(small, inner, reg, count)
    return values, np.concatenate([vectors[:head], tail @ vectors[head:]])


def _sizes(scatter: Array, q: int, count: int) -> tuple[int, int]:
    """How many coordinates to keep whole, and the degree in s_t of the span of the others; (p, 0): keep all.

    F F' has rank q, so reg w_count >= s_(count + q) =: u. A polynomial of degree j nears 1 / (u - x) on
    [0, x1] to the relative error g^j / (a - 1), a = 2 u / x1 - 1, g = a - sqrt(a^2 - 1) (Chebyshev).
    """
    p, first = len(scatter), count + q
    if first >= p or scatter[first - 1] <= 0:
        return p, 0
    least = scatter[first - 1]
    above = 2 / np.maximum(scatter[first:] / least, 1e-30)  # a + 1
    heads = np.flatnonzero(above > 2) + first
    above = above[above > 2]
    if not len(heads):
        return p, 0
    a = above - 1
    shrink = np.log(a + np.sqrt(a * a - 1))
    degrees = np.ceil(np.maximum(-np.log(TAIL * (a - 1)) / shrink, 0))
    sizes = heads + q * (degrees + 1)
    best = int(np.argmin(sizes))
    if sizes[best] > WORTH * p:
        return p, 0
    return int(heads[best]), int(degrees[best])


def _tail_basis(rest: Array, factor: Array, degree: int) -> Array:
    """Orthonormal columns (t, (degree + 1) q) that span F_t, s_t F_t, ..., s_t^degree F_t."""
    x = (2 / max(rest[0], np.finfo(float).tiny) * rest - 1)[:, None]
    blocks = [factor, x * factor]
    while len(blocks) <= degree:
        blocks.append(2 * x * blocks[-1] - blocks[-2])  # Chebyshev polynomials: powers alone would align
    columns = np.concatenate(blocks[: degree + 1], axis=1)
    length = np.linalg.norm(columns, axis=0)
    # Of columns that depend on others, or vanish, QR makes orthonormal ones that do no harm.
    return np.asarray(np.linalg.qr(columns / np.where(length > 0, length, 1))[0])
