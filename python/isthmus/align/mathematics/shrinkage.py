"""Pure mathematics of covariances: how far to shrink one towards a multiple of the identity."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Array, like, to_numpy
from .pencil import Moments, centred_blocks

__all__ = ["RULES", "shrunk_covariance"]

RULES = ("ledoit_wolf", "oas")


def shrunk_covariance(
    found: Moments, rows: Array, weight: Array | None, shrinkage: Any
) -> tuple[Array, float]:
    """(1 - a) C + a mean(diag C) I (d, d) and a, for C = scatter / total of `rows` (n, d).

    `shrinkage` is a itself, None for 0, or a rule that estimates it: "oas" from C alone; "ledoit_wolf" also
    from the fourth moment of the rows, which is one more pass over them of O(n d).
    Source: Ledoit and Wolf, J. Multivariate Analysis 88 (2004); Chen, Wiesel, Eldar, Hero, IEEE Transactions
    on Signal Processing 58 (2010), equation 23 without its terms 2 / d, as scikit-learn has it.
    """
    covariance = found.scatter / found.total
    if shrinkage is None:
        return covariance, 0.0
    d = len(covariance)
    level = float(np.trace(covariance)) / d
    if level == 0:
        return covariance, 0.0
    unit = covariance / level
    size = float(np.sum(unit**2))  # |C|^2, for C of mean variance 1
    if shrinkage == "ledoit_wolf":
        spread = _fourth_moment(rows, weight, found, level) - size
        away = size - d
        amount = min(spread / found.total, away) / away if away > 0 else 0.0
    elif shrinkage == "oas":
        above, below = size / d**2 + 1, (found.total + 1) * (size / d**2 - 1 / d)
        amount = min(above / below, 1.0) if below > 0 else 1.0
    else:
        amount = float(shrinkage)
    covariance *= 1 - amount
    covariance[np.diag_indices(d)] += amount * level
    return covariance, amount


def _fourth_moment(rows: Array, weight: Array | None, found: Moments, level: float) -> float:
    """Mean of |x - mean|^4 / level^2 over the rows."""
    unit = np.ones(len(rows)) if weight is None else weight
    total = 0.0
    for block, centred in centred_blocks(rows, found.mean):
        centred *= centred
        squares = to_numpy(centred @ like(np.ones(centred.shape[1]), centred))
        total += float(unit[block] @ (squares / level) ** 2)
    return total / found.total
