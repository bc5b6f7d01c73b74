"""The minimiser of `box_qp` over a few entries, exactly: linear systems for the free ones, and exchanges.

Source of the exchanges: Portugal, Judice and Vicente, Mathematics of Computation 63 (1994); Kim and Park,
SIAM Journal on Scientific Computing 33 (2011).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import Array, square_block
from .box import TINY, Box, nearest

__all__ = ["pivoted"]

ROUNDS = 30  # most systems for one set of entries
PATIENCE = 5  # rounds that do not lower the weight of misplaced entries, as in a cycle
RIDGE = 1e-6  # of the proximal term, over the curvature


class _Face(NamedTuple):
    """Which entries are free and which at their upper bound (n,), and the sum that is held, None if none."""

    free: Array
    full: Array
    held: float | None


class _Misplaced(NamedTuple):
    """Free entries beyond a bound, and entries at a bound whose slope points inwards (n,)."""

    below: Array
    above: Array
    raised: Array
    lowered: Array

    def mass(self, weight: Array) -> float:
        return sum(float(weight[entries].sum()) for entries in self)


def pivoted(
    block: Array, linear: Array, box: Box, start: Array, curvature: float, rounds: int
) -> tuple[Array, float, int]:
    """The b that minimises f(b) + s sum w (b - start)^2 / 2 in the box, s slight.

    Also the multiplier of the sum, 0 where it is within its band, and the number of systems solved.

    `block` is K (n, n) in float64. In each round the free entries solve their equations; those outside
    the box go to the bound they crossed, and if none is outside, those whose slope points inwards become
    free. Where the exchanges cycle, the rounds do not suffice or a system is singular, the result is
    feasible, not optimal.

    Cost: O(n^3 / 3) for each system, fewer as entries leave.
    """
    scale = np.sqrt(box.weight)
    ridge = max(RIDGE * curvature, 1e-13 * float(box.weight @ block.diagonal()), TINY)
    total = float(box.weight @ start)
    held = next((end for end in (box.low, box.high) if abs(total - end) <= 1e-9 * end), None)
    face = _Face((start > 0) & (start < box.upper), start >= box.upper, held)
    point, shift, taken = start, 0.0, 0
    least, idle = np.inf, 0
    while taken < min(rounds, ROUNDS):
        taken += 1
        try:
            point, shift = _on_face(block, linear, box, start, scale, ridge, face)
        except np.linalg.LinAlgError:
            break
        slope = block @ (box.weight * point) + ridge * (point - start) - linear + shift
        total = float(box.weight @ np.clip(point, 0.0, box.upper))
        misplaced = _misplaced(face, point, slope, box)
        following = _exchanged(face, misplaced, shift, total, box)
        if following is None:
            break
        mass = misplaced.mass(box.weight)
        least, idle = (mass, 0) if mass < least else (least, idle + 1)
        if idle > PATIENCE:
            break
        face = following
    return nearest(point, box, 0.0, None)[0], shift, taken


def _on_face(
    block: Array, linear: Array, box: Box, start: Array, scale: Array, ridge: float, face: _Face
) -> tuple[Array, float]:
    """The minimiser over the free entries, whatever its signs, and the multiplier of the sum."""
    point = np.where(face.full, box.upper, 0.0)
    free = np.flatnonzero(face.free)
    if not len(free):
        return point, 0.0
    root = scale[free]
    system = square_block(block, free)
    system *= root[:, None] * root
    system[np.diag_indices(len(free))] += ridge
    right = linear[free] + ridge * start[free]
    if face.full.any():
        right = right - block[np.ix_(free, face.full)] @ (box.weight * box.upper)[face.full]
    solved = np.linalg.solve(system, np.column_stack([root * right, root]))
    shift = 0.0
    if face.held is not None:
        rest = face.held - float((box.weight * point).sum())
        shift = (float(root @ solved[:, 0]) - rest) / max(float(root @ solved[:, 1]), TINY)
    point[free] = (solved[:, 0] - shift * solved[:, 1]) / root
    return point, shift


def _misplaced(face: _Face, point: Array, slope: Array, box: Box) -> _Misplaced:
    rounding = 1e-12 * float(np.abs(slope).max())
    return _Misplaced(
        face.free & (point < 0),
        face.free & (point > box.upper),
        ~face.free & ~face.full & (slope < -rounding),
        face.full & (slope > rounding),
    )


def _exchanged(face: _Face, misplaced: _Misplaced, shift: float, total: float, box: Box) -> _Face | None:
    """The next face, None where this one holds the minimiser."""
    if face.held is None and not box.low * (1 - 1e-12) <= total <= box.high * (1 + 1e-12):
        return face._replace(held=box.low if total < box.low else box.high)
    below, above, raised, lowered = misplaced
    if below.any() or above.any():
        if face.held is not None and below.any() and above.any():
            # Clipped entries miss the sum: the others move one way to restore it, and one side stays crossed.
            none = np.zeros_like(below)
            below, above = (below, none) if total >= face.held else (none, above)
        return _Face(face.free & ~below & ~above, face.full | above, face.held)
    if face.held is not None and not face.free.any():
        return None
    if face.held is not None and box.low < box.high and (shift < 0) == (face.held == box.high) and shift != 0:
        return face._replace(held=None)
    if not raised.any() and not lowered.any():
        return None
    return _Face(face.free | raised | lowered, face.full & ~lowered, face.held)
