"""Alignment of each column on its own: StandardScaling."""

from __future__ import annotations

import numpy as np

from ..arrays import Array, empty_like, index_of, like, to_numpy
from .base import Aligner
from .checks import check_flag
from .domains import Domains, positive
from .mathematics.pencil import centred_blocks, weighted_sum

__all__ = ["StandardScaling"]


class StandardScaling(Aligner):
    """Give every column of every domain mean 0 and standard deviation 1, by the domain's own statistics.

    Each source and each target has a map of its own. Standard deviations divide by the number of rows, or by
    the sum of the weights; a column that is constant in a domain becomes 0 there.

    Parameters
    ----------
    with_mean : whether the mean is taken away
    with_std : whether the rest is divided by the standard deviation

    Fitted, for the m domains of `domains_` (m,), targets (< 0) first: `domain_means_` (m, d),
    `domain_scales_` (m, d), 1 for a constant column; `has_target_`.

    Cost: O(n d) time in two passes over blocks, O(m d) memory beside the result.
    """

    _any_scale = True
    _each_domain = True
    _on_device = True

    def __init__(self, *, with_mean: bool = True, with_std: bool = True) -> None:
        self.with_mean = with_mean
        self.with_std = with_std

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        assert domains.X_target is not None
        for name in ("with_mean", "with_std"):
            check_flag(self, name)
        means, scales = [], []
        for number in self.domains_.tolist():
            if number < 0:
                rows, weight, numbers = domains.X_target, target_weight, domains.target_domain
            else:
                rows, weight, numbers = domains.X_source, source_weight, domains.source_domain
            mask = numbers == number
            part = None if weight is None else weight[mask]
            if part is not None and not part.any():
                raise ValueError(
                    f"sample_weight must be positive on a row of domain {number}, got zeros only"
                )
            of_domain = rows if mask.all() else rows[index_of(mask, rows)]
            mean, scale = _mean_and_deviation(*positive(of_domain, part))
            means.append(mean)
            scales.append(scale)
        self.domain_means_: Array = np.array(means)
        self.domain_scales_: Array = np.array(scales)

    def _map(self, rows: Array, domain: int) -> Array:
        at = int(np.searchsorted(self.domains_, domain))
        mean, factor = self.domain_means_[at], 1 / self.domain_scales_[at]
        if not self.with_mean:
            return rows * like(factor, rows) if self.with_std else rows
        out: Array = empty_like(rows, rows.shape[1])
        # In float64: beside a large mean float32 would lose the digits of the rest.
        for block, centred in centred_blocks(rows, mean):
            if self.with_std:
                centred *= like(factor, centred)
            out[block] = centred
        return out


def _mean_and_deviation(rows: Array, weight: Array) -> tuple[Array, Array]:
    """Mean and standard deviation (d,) of `rows` (n, d), exact where a column is constant; 1 instead of 0."""
    total = weight.sum()
    first = to_numpy(rows[0]).astype(np.float64)
    rest, squares = np.zeros(len(first)), np.zeros(len(first))
    with np.errstate(over="ignore", invalid="ignore"):
        # From the first row: a constant column has differences of exactly 0.
        for block, centred in centred_blocks(rows, first):
            rest += weighted_sum(weight[block], centred)
        mean = first + rest / total
        for block, centred in centred_blocks(rows, mean):
            centred *= centred
            squares += weighted_sum(weight[block], centred)
    if not np.isfinite(squares).all():
        raise ValueError("the squares of the rows must stay in the range of float64; scale the columns of X")
    deviation = np.sqrt(squares / total)
    return mean, np.where(deviation > 0, deviation, 1.0)
