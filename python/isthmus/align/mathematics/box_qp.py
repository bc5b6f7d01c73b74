"""Pure mathematics: a convex quadratic over a box and a band for the sum, with a proven duality gap.

    minimise  f(b) = (w b)'K(w b) / 2 - q'(w b)   under  0 <= b <= u,  low <= w'b <= high

Row weights w count repetitions: an entry of weight k is k equal entries of weight 1.

Method: accelerated proximal gradient with restarts in the metric H = l diag(w) + r w w'. Kernel matrices are
close to a multiple of 11', so the one direction w takes most of their condition number, and the prox under H
stays a search for one number, the shift that also serves the sum. Entries at a bound that the gradient holds
there leave the products. After the first steps `box_pivot` looks for the exact solution, which is quick
where few entries are in use; its point is taken where it lowers f. Every operation treats equal entries
alike, so the order of the rows does not matter.

Source of the steps: Beck and Teboulle, SIAM Journal on Imaging Sciences 2 (2009); of the restarts: O'Donoghue
and Candes, Foundations of Computational Mathematics 15 (2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...arrays import Array
from .box import TINY, Box, Metric, nearest
from .box_dual import certified
from .box_matrix import PositiveMatrix
from .box_pivot import pivoted

__all__ = ["BoxSolution", "minimise_in_box", "needs_precision"]

FIRST_CHECK = 10  # steps before the first look at the duality gap
LATER_CHECK = 20  # least steps between later looks, which are a fifth of the way apart
LATER_ATTEMPT = 8  # times the steps so far are taken until the exchanges are tried again
WHOLE = 0.7  # above this share of entries a smaller matrix is not worth gathering
SLACK = 1.2  # l over the estimated curvature; the estimate comes from below
COARSE = 1e-5  # the gap down to which products in float32 lead
FEW = 512  # up to here products in float64 cost no more
FLAT = 1e-7  # least curvature taken, relative to that along w and to what moves an entry across the box
SHARE = 0.25  # of the mass, whose largest entries are free when the exchanges begin
PROGRESS = 0.1  # of `tol`, by which f falls where the exchanges go on


class BoxSolution(NamedTuple):
    """`point` (n,), `value` f(b), `gap` >= f(b) - min f, in float64; `n_iter` steps taken."""

    point: Array
    value: float
    gap: float
    n_iter: int


def minimise_in_box(
    matrix: PositiveMatrix,
    linear: Array,
    upper: Array,
    low: float,
    high: float,
    *,
    weight: Array | None = None,
    tol: float = 1e-4,
    max_iter: int = 2000,
) -> BoxSolution:
    """The minimiser b, to a duality gap of `tol` |f(b)|.

    Parameters
    ----------
    matrix : K, positive semidefinite (n, n)
    linear : q (n,)
    upper : u (n,) > 0
    low, high : the band of w'b, 0 <= low <= high, low <= w'u
    weight : w (n,) > 0, None for ones
    tol : the gap to reach, relative to |f|
    max_iter : most steps; the gap says what they came to

    The gap is f(b) minus the Lagrangian dual at s z, the best s, for masses z that are w b with a few entries
    raised until K z >= q: min f >= -s^2 z'K z / 2 + the least value of (s K z - q)'x over feasible masses x,
    which is a sort. It holds for every z and s.

    Cost: one product with the block of the entries that are not held at 0 for each step, and one with all of
    K for each look at the gap.
    """
    n = len(linear)
    box = Box(np.ones(n) if weight is None else weight, np.asarray(upper, dtype=np.float64), low, high)
    descent = _Descent(matrix, linear, box, precise=needs_precision(n, tol))
    taken, attempt, lowered = 0, FIRST_CHECK, False
    while True:
        if lowered or attempt <= taken:
            spent, lowered = descent.settle(tol, max_iter - taken)
            taken += spent
            attempt = LATER_ATTEMPT * taken
        else:
            steps = min(max(LATER_CHECK if taken else FIRST_CHECK, taken // 5), max_iter - taken)
            descent.run(steps)
            taken += steps
        value, gap = descent.certified(tol)
        if not descent.exact and (gap <= tol * abs(value) or taken >= max_iter):
            descent.refine()
            value, gap = descent.certified(tol)
            if gap > tol * abs(value) and taken < max_iter:
                descent.sharpen()
        if gap <= tol * abs(value) or taken >= max_iter:
            return BoxSolution(descent.point, value, gap, taken)


def needs_precision(n: int, tol: float) -> bool:
    """Whether all products are in float64, from the first step on."""
    return tol < COARSE or n <= FEW


class _Descent:
    """The iterate, its predecessor (for the momentum), and the entries that take part in the products."""

    def __init__(self, matrix: PositiveMatrix, linear: Array, box: Box, precise: bool) -> None:
        self.matrix, self.linear, self.box, self.precise = matrix, linear, box, precise
        self.exact = precise  # whether `image` is in float64 accuracy
        self.settled = False  # whether `point` comes from the exchanges
        self.index: Array | None = None
        self.product = matrix.block(None, precise)
        whole = self.product(box.weight)
        self.metric = _metric(self.product, whole, linear, box.weight, float(box.upper.max()))
        total = float(box.weight.sum())
        level = max(float(linear @ box.weight), 0.0) / max(float(whole @ box.weight), TINY)
        level = min(max(level, box.low / total), box.high / total)
        self.point = nearest(np.full(len(linear), level), box, 0.0, None)[0]
        self.before = self.point
        self.image = self.product(box.weight * self.point)
        self.momentum = 1.0
        self.shift = 0.0

    def refine(self) -> None:
        """The image in float64 accuracy."""
        self.image, self.exact = self.matrix.times(self.box.weight * self.point, True), True

    def sharpen(self) -> None:
        """From here on products in float64 accuracy: float32 has given what it can."""
        self.precise, self.product = True, self.matrix.block(self.index, True)

    def run(self, steps: int) -> None:
        """So many steps on the entries that may move; then `image` is that of all of them again."""
        self._gather()
        self.exact, self.settled = self.precise, False
        index, weight = self.index, self.box.weight
        if index is None:
            still = self.before is self.point
            behind = self.image if still else self.product(weight * self.before)
            here = _Path(self.point, self.before, self.image, behind)
            self._steps(here, self.linear, self.box, steps)
            self.point, self.before, self.image = here.point, here.before, here.image
            return
        box, point, before = self.box.part(index), self.point[index], self.before[index]
        here = _Path(point, before, self.image[index], self.product(box.weight * before))
        self._steps(here, self.linear[index], box, steps)
        self.point, self.before = np.zeros((2, len(weight)))
        self.point[index], self.before[index] = here.point, here.before
        self.image = self.matrix.times(weight * self.point, self.precise)

    def settle(self, tol: float, rounds: int) -> tuple[int, bool]:
        """Take the exact solution if it lowers f.

        The systems solved, and whether f fell by `PROGRESS` of `tol` |f|, so that another may pay.
        """
        chosen = self.point > 0 if self.settled else _heaviest(self.point, self.box.weight)
        point, image, spent = pivoted(
            self.matrix, self.linear, self.box, self.point, chosen, self.metric.plain, rounds
        )
        before, value = self._value(self.point, self.image), self._value(point, image)
        if not value < before:
            return spent, False
        self.point = self.before = point
        self.image, self.momentum, self.exact, self.settled = image, 1.0, True, True
        return spent, before - value > PROGRESS * tol * abs(value)

    def _value(self, point: Array, image: Array) -> float:
        mass = self.box.weight * point
        return float(mass @ image) / 2 - float(self.linear @ mass)

    def certified(self, tol: float) -> tuple[float, float]:
        """f(b) of the iterate and how far it may be from the minimum."""
        row = self.matrix.row
        return certified(self.image, self.linear, self.point, self.box, lambda i: row(i, self.exact), tol)

    def _gather(self) -> None:
        """Choose the entries: those above 0, and those a step would lift above it."""
        ahead = self.point - (self.image - self.linear) / self.metric.plain
        moved = nearest(ahead, self.box, self.shift, (self.metric, float(self.box.weight @ self.point)))[0]
        needed = (moved > 0) | (self.point > 0) | (self.before > 0)
        count = int(needed.sum())
        if count > WHOLE * len(needed):
            wanted = None
        elif self.index is not None and count > WHOLE * len(self.index) and needed[self.index].sum() == count:
            return
        else:
            wanted = np.flatnonzero(needed)
        if wanted is not None or self.index is not None:
            self.index = wanted
            self.product = self.matrix.block(wanted, self.precise)

    def _steps(self, here: _Path, linear: Array, box: Box, steps: int) -> None:
        noise = 1e-13 if self.precise else 1e-6
        for _ in range(steps):
            momentum = (1 + np.sqrt(1 + 4 * self.momentum**2)) / 2
            lead = (self.momentum - 1) / momentum
            ahead = here.point + lead * (here.point - here.before)
            ahead_image = here.image + lead * (here.image - here.before_image)
            total = float(box.weight @ ahead)
            while True:
                goal = ahead - (ahead_image - linear) / self.metric.plain
                point, self.shift = nearest(goal, box, self.shift, (self.metric, total))
                image = self.product(box.weight * point)
                move = point - ahead
                bent = float((box.weight * move) @ (image - ahead_image))
                allowed = self.metric.norm2(move, box.weight)
                rounding = noise * float(np.abs(box.weight * move) @ np.abs(image))
                if bent <= allowed + rounding:
                    break
                growth = max(1.2, min(1.1 * bent / allowed, 10.0))
                self.metric = Metric(growth * self.metric.plain, growth * self.metric.common)
            turned = self.metric.inner(-move, point - here.point, box.weight) > 0
            here.step(point, image)
            self.momentum = 1.0 if turned else momentum


@dataclass
class _Path:
    """The last two points of some entries, and their products with K."""

    point: Array
    before: Array
    image: Array
    before_image: Array

    def step(self, point: Array, image: Array) -> None:
        self.before, self.before_image = self.point, self.image
        self.point, self.image = point, image


def _heaviest(point: Array, weight: Array) -> Array:
    """The largest entries (n,) that hold a `SHARE` of the mass; equal ones stay together."""
    order = np.argsort(-point)
    held = np.cumsum((weight * point)[order])
    level = point[order[int(np.searchsorted(held, SHARE * held[-1]))]]
    return np.asarray((point > 0) & (point >= (1 - 1e-9) * level))


def _metric(
    product: Callable[[Array], Array], whole: Array, linear: Array, weight: Array, largest: float
) -> Metric:
    """l from the largest curvature across w (a power iteration), r from what is left along w.

    `whole` is K w, `largest` the largest entry there can be. With l = SLACK times that curvature, H >= K
    needs r >= a + |h|^2 / (l - l / SLACK) - l for the parts a along w and h across it of K w.
    """
    total = float(weight.sum())

    def across(vector: Array) -> Array:
        return np.asarray(vector - float(weight @ vector) / total)

    def length(vector: Array) -> float:
        return float(np.sqrt((weight * vector) @ vector))

    h = across(whole)
    along = float(weight @ whole) / total
    # Starts that do not hang on the order of the entries, with signs that cannot cancel.
    vector, other, curvature = h, across(linear), 0.0
    if length(other) > 0:
        sign = 1.0 if float((weight * h) @ other) >= 0 else -1.0
        vector = h / max(length(h), TINY) + sign * other / length(other)
    for _ in range(4):
        size = length(vector)
        if not size > 0:
            break
        vector = vector / size
        image = across(product(weight * vector))
        curvature = max(curvature, float((weight * vector) @ image))
        vector = image
    curvature = max(curvature, FLAT * along, FLAT * float(np.abs(linear).max()) / largest, TINY)
    plain = SLACK * curvature
    h2 = float((weight * h) @ h) / total
    # |h|^2 <= a curvature for any positive semidefinite K.
    rest = min(h2 / (plain - curvature), along / (SLACK - 1))
    return Metric(plain, max(along + rest - plain, 0.0) / total)
