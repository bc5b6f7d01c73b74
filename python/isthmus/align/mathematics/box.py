"""The feasible set of `box_qp`, the metric of its steps, and the point of the set nearest to a goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...arrays import Array

__all__ = ["Box", "Metric", "nearest"]

TINY = float(np.finfo(np.float64).tiny)


class Box(NamedTuple):
    """The feasible set: weights w (n,), upper bounds u (n,), and the band of w'b."""

    weight: Array
    upper: Array
    low: float
    high: float

    def part(self, index: Array) -> Box:
        return Box(self.weight[index], self.upper[index], self.low, self.high)

    def lowest(self, slope: Array) -> Array:
        """The masses w b of a feasible b that minimise slope'(w b): cheapest entries first."""
        room = self.weight * self.upper
        wanted = slope < 0
        mass = np.where(wanted, room, 0.0)
        total = float(mass.sum())
        if total > self.high:
            candidates, budget, mass = np.flatnonzero(wanted), self.high, np.zeros(len(room))
        elif total < self.low:
            candidates, budget = np.flatnonzero(~wanted), self.low - total
        else:
            return mass
        # So many entries take the whole budget, however little room each has.
        enough = int(min(budget / max(float(room[candidates].min()), TINY), len(room))) + 1
        if enough < len(candidates):
            candidates = candidates[np.argpartition(slope[candidates], enough)[:enough]]
        order = candidates[np.argsort(slope[candidates], kind="stable")]
        filled = np.cumsum(room[order])
        mass[order] = np.clip(budget - (filled - room[order]), 0.0, room[order])
        return mass


@dataclass
class Metric:
    """The metric H = l diag(w) + r w w' and what it says of a move: K <= H where l, r are large enough."""

    plain: float  # l
    common: float  # r

    def norm2(self, move: Array, weight: Array) -> float:
        heavy = weight * move
        return self.plain * float(heavy @ move) + self.common * float(heavy.sum()) ** 2

    def inner(self, a: Array, b: Array, weight: Array) -> float:
        heavy = weight * b
        return self.plain * float(a @ heavy) + self.common * float(weight @ a) * float(heavy.sum())


def nearest(goal: Array, box: Box, start: float, metric: tuple[Metric, float] | None) -> tuple[Array, float]:
    """clip(goal - m, 0, u) with the m that the metric and the band of the sum ask for, and m.

    `metric` is H and the sum S at which the step began: m = (r / l)(w'b(m) - S), or the m that meets the end
    of the band, whichever b(m) needs. None: m = 0 or the end of the band.
    """
    if metric is None:
        ratio, origin = 0.0, 0.0
    else:
        ratio, origin = metric[0].common / metric[0].plain, metric[1]
    point, shift = _root(goal, box, start, ratio, origin)
    total = float(box.weight @ point)
    slack = 1e-12 * total
    if box.low - slack <= total <= box.high + slack:
        return point, shift
    wanted = box.low if total < box.low else box.high
    # From the shift on: goals far from the box would leave m too few digits for the sum.
    point, more = _root(goal - shift, box, 0.0, None, wanted)
    return point, shift + more


def _root(goal: Array, box: Box, start: float, ratio: float | None, origin: float) -> tuple[Array, float]:
    """The m at which m = ratio (w'b(m) - origin), or w'b(m) = origin without a ratio; b falls with m.

    Newton on a piecewise linear function, inside a bracket that bisection can shrink.
    """
    if ratio is None:
        least, most = float((goal - box.upper).min()), float(goal.max())
    else:
        most = ratio * (float(box.weight @ box.upper) - origin)
        least = -ratio * origin
    m = min(max(start, least), most)
    scale = max(abs(origin), TINY)
    for _ in range(200):
        moved = goal - m
        point = np.clip(moved, 0.0, box.upper)
        excess = float(box.weight @ point) - origin
        fall = float(box.weight[point == moved].sum())
        if ratio is None:
            rest, slope = excess, fall
        else:
            rest, slope = ratio * excess - m, 1.0 + ratio * fall
        limit = 1e-13 * (scale if ratio is None else ratio * scale)
        if abs(rest) <= limit or most - least <= 4e-16 * max(abs(least), abs(most)):
            break
        least, most = (m, most) if rest > 0 else (least, m)
        m = m + rest / slope if slope > 0 else (least + most) / 2
        if not least < m < most:
            m = (least + most) / 2
    return point, m
