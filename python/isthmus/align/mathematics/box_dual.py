"""How far a point of `box_qp` may be from the minimiser: bounds of the Lagrangian dual.

min f >= -s^2 z'K z / 2 + the least value of (s K z - q)'x over feasible masses x, for every z and s: a sort.
z are the masses w b of the point, with a few entries raised until K z >= q.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...arrays import Array
from .box import TINY, Box

__all__ = ["certified"]

SCALES = 3  # of a dual point looked at, beside 1
REPAIRS = 20  # most entries raised for a dual point


def certified(
    image: Array, linear: Array, point: Array, box: Box, row: Callable[[int], Array], tol: float
) -> tuple[float, float]:
    """f(b) and its distance to a dual bound: one within `tol` |f|, or the best that is quickly found.

    `image` is K(w b), `row` gives a row of K. Cost: some sorts, and `REPAIRS` rows of K at most.
    """
    mass = box.weight * point
    curvature = float(mass @ image)
    value = curvature / 2 - float(linear @ mass)
    best = _dual_bound(image, curvature, linear, box)
    if value - best > tol * abs(value) and float(mass.sum()) < box.high * (1 - 1e-9):
        # Feasible x may take much where K z < q and b < u: raise z there, the worst entry first.
        before, full = image, point >= box.upper
        for _ in range(REPAIRS):
            lowest = int(np.argmin(np.where(full, np.inf, image - linear)))
            missing = float(linear[lowest] - image[lowest])
            line = row(lowest)
            if missing <= 0 or not line[lowest] > 0:
                break
            raised = missing / float(line[lowest])
            curvature += raised * (2 * float(image[lowest]) + raised * float(line[lowest]))
            image = image + raised * line
        if image is not before:
            best = max(best, _dual_bound(image, curvature, linear, box))
    return value, max(value - best, 0.0)


def _dual_bound(image: Array, curvature: float, linear: Array, box: Box) -> float:
    """The largest dual value at s z for s near 1, `image` being K z and `curvature` z'K z."""

    def dual(s: float) -> tuple[float, float]:
        slope = s * image - linear
        cheapest = box.lowest(slope)
        return -s * s * curvature / 2 + float(slope @ cheapest), float(image @ cheapest) - s * curvature

    best, rise = dual(1.0)
    # The dual is concave in s, with at least this curvature: its maximum lies between 1 and `outside`.
    # It often has a kink at 1, so a few looks are enough.
    inside, outside, before, beyond = 1.0, 1.0 + 2.0 * rise / max(curvature, TINY), rise, 0.0
    s = (inside + outside) / 2
    for _ in range(SCALES):
        found, slope = dual(s)
        best = max(best, found)
        if (slope > 0) == (rise > 0) and slope:
            inside, before = s, slope
        else:
            outside, beyond = s, slope
        share = before / (before - beyond) if beyond else 0.5
        s = inside + min(max(share, 0.1), 0.9) * (outside - inside)
    return best
