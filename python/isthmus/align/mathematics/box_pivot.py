"""The minimiser of `box_qp`, exactly: linear systems for the entries inside the box, and exchanges.

Every entry takes part in the exchanges, the systems hold the free ones only. So the method is quick where few
entries are in use at the optimum, wherever it starts.

Source of the exchanges: Portugal, Judice and Vicente, Mathematics of Computation 63 (1994); Kim and Park,
SIAM Journal on Scientific Computing 33 (2011).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import Array
from .box import TINY, Box, nearest
from .box_matrix import PositiveMatrix

__all__ = ["pivoted"]

ROUNDS = 30  # most systems
PATIENCE = 5  # rounds that do not lower the weight of misplaced entries, as in a cycle
RIDGE = 1e-6  # of the proximal term, over the curvature
GROWTH = 0.5  # most weight that becomes free in a round, over that in use
LEAST_GROWTH = 0.01  # the same where little is in use, over all weight
DIRECT = 1000  # most entries of a system; after `TRIALS` rounds also with all that are still to become free
TRIALS = 4
WORK = 300  # most steps of `box_qp` that systems may cost: m^3 in all, over n^2 and
OVERHEAD = 300_000  # what a step costs beside its product, in entries of K


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
    matrix: PositiveMatrix,
    linear: Array,
    box: Box,
    start: Array,
    chosen: Array,
    curvature: float,
    rounds: int,
) -> tuple[Array, Array, int]:
    """The b that minimises f(b) + s sum w (b - start)^2 / 2 in the box, s slight; K(w b); the systems solved.

    The free entries are the `chosen` (n,) of `start` at first. In each round they solve their equations;
    those that leave the box go to the bound they crossed, and those at a bound whose slope points inwards
    become free, the steepest first. Where too many become free, the exchanges cycle, the rounds do not
    suffice or a system is singular, b is feasible, not optimal.

    Cost: O(m^3 / 3) for each system of m free entries, beside m columns of K.
    """
    scale = np.sqrt(box.weight)
    ridge = max(RIDGE * curvature, TINY)
    total = float(box.weight @ start)
    held = next((end for end in (box.low, box.high) if abs(total - end) <= 1e-9 * end), None)
    face = _Face(chosen & (start < box.upper), start >= box.upper, held)
    point, image, taken = start, None, 0
    least, idle = np.inf, 0
    work = WORK * (len(start) ** 2 + OVERHEAD)
    while taken < min(rounds, ROUNDS):
        taken += 1
        try:
            point, shift = _on_face(matrix, linear, box, start, scale, ridge, face)
        except np.linalg.LinAlgError:
            break
        image = matrix.times(box.weight * point, True)
        slope = image + ridge * (point - start) - linear + shift
        total = float(box.weight @ np.clip(point, 0.0, box.upper))
        misplaced = _misplaced(face, point, slope, box)
        following = _exchanged(face, misplaced, slope, shift, total, box)
        if following is None:
            break
        mass = misplaced.mass(box.weight)
        least, idle = (mass, 0) if mass < least else (least, idle + 1)
        expected = following.free | misplaced.raised if taken >= TRIALS else following.free
        count = int(np.count_nonzero(expected))
        work -= int(np.count_nonzero(face.free)) ** 3
        if idle > PATIENCE or count > DIRECT or count**3 > work:
            break
        face = following
    inside = nearest(point, box, 0.0, None)[0]
    if image is None or (inside != point).any():
        image = matrix.times(box.weight * inside, True)
    return inside, image, taken


def _on_face(
    matrix: PositiveMatrix, linear: Array, box: Box, start: Array, scale: Array, ridge: float, face: _Face
) -> tuple[Array, float]:
    """The minimiser over the free entries, whatever its signs, and the multiplier of the sum."""
    point = np.where(face.full, box.upper, 0.0)
    free = np.flatnonzero(face.free)
    if not len(free):
        return point, 0.0
    root = scale[free]
    system = matrix.part(free) * (root[:, None] * root)
    system[np.diag_indices(len(free))] += ridge
    right = linear[free] + ridge * start[free]
    if face.full.any():
        right -= matrix.times(box.weight * point, True)[free]
    solved = np.linalg.solve(system, np.column_stack([root * right, root]))
    shift = 0.0
    if face.held is not None:
        fall = float(root @ solved[:, 1])
        if not fall > 0:
            raise np.linalg.LinAlgError("a system that rounding left without a minimum")
        shift = (float(root @ solved[:, 0]) + float(box.weight @ point) - face.held) / fall
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


def _exchanged(
    face: _Face, misplaced: _Misplaced, slope: Array, shift: float, total: float, box: Box
) -> _Face | None:
    """The next face, None where this one holds the minimiser."""
    below, above, raised, lowered = misplaced
    if not below.any() and not above.any():
        # Only now the sum tells which end of its band holds it, if any.
        if face.held is None and not box.low * (1 - 1e-12) <= total <= box.high * (1 + 1e-12):
            return face._replace(held=box.low if total < box.low else box.high)
        if face.held is not None and box.low < box.high and (shift < 0) == (face.held == box.high) and shift:
            return face._replace(held=None)
        if not raised.any() and not lowered.any():
            return None
    elif face.held is not None and below.any() and above.any():
        # Clipped entries miss the sum: the others move one way to restore it, and one side stays crossed.
        none = np.zeros_like(below)
        below, above = (below, none) if total >= face.held else (none, above)
    free = face.free & ~below & ~above
    used = float(box.weight[free | face.full | above].sum())
    most = max(GROWTH * used, LEAST_GROWTH * float(box.weight.sum()))
    raised = _steepest(raised, slope, box.weight, most)
    return _Face(free | raised | lowered, (face.full & ~lowered) | above, face.held)


def _steepest(raised: Array, slope: Array, weight: Array, most: float) -> Array:
    """Those of the lowest slopes, of about `most` weight in all; equal slopes stay together."""
    index = np.flatnonzero(raised)
    order = index[np.argsort(slope[index])]
    reach = int(np.searchsorted(np.cumsum(weight[order]), most))
    if reach >= len(order):
        return raised
    return np.asarray(raised & (slope <= (1 - 1e-9) * slope[order[reach]]))
