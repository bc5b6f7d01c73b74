"""Two-sample tests and their result type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import arrays, backends
from .arrays import Array
from .bandwidth import scale_of
from .kernel_base import POOLED_RULES, Kernel
from .kernels import DEFAULT_KERNEL, Energy, check_kernel
from .mmd import assigned_mmd2, check_permutations, pooled_rows, random_assignments, sample_mmd2
from .ops import Inputs

__all__ = ["TwoSampleResult", "two_sample_test"]

METHODS = ("permutation",)
# Equal rows under another assignment give equal statistics, but blocks of pairs round their values apart: to
# less than this many roundings, of the dtype they are computed in, of the mean |k| over the pairs. The
# float64 sums over N rows add up to N of theirs.
_TIE_ROUNDINGS = 1
# Where that is more than this part of the null's standard deviation, or rows are few, float64 decides.
_TIE_SHARE = 0.1
_FEW_ROWS = 64


@dataclass(frozen=True, eq=False)
class TwoSampleResult:
    """The result of a two-sample test."""

    statistic: float
    """Unbiased MMD^2 of the samples; can fall below zero."""
    pvalue: float
    """(1 + k) / (1 + n_permutations), where k permuted values reach the observed one; never 0."""
    null: Array = field(repr=False)
    """The permuted values, float64 (n_permutations,)."""
    method: str
    """"permutation"."""
    bandwidth: float | tuple[float, ...] | None
    """Bandwidth or scale of the kernel, in the unit of the data; several for several kernels."""
    n_permutations: int
    kernel: Kernel
    """The kernel, with numbers only."""


@arrays.on_its_device
def two_sample_test(
    X: Any,
    Y: Any,
    *,
    method: str = "permutation",
    kernel: Kernel = DEFAULT_KERNEL,
    n_permutations: int = 999,
    random_state: Any = None,
) -> TwoSampleResult:
    """Test whether two samples come from one distribution, by the MMD.

    Parameters
    ----------
    X, Y : arrays of shape (n, d) and (m, d), of one library and device; at least two rows each
    method : "permutation": exact level for any sample size and kernel
    kernel : Kernel; "median" looks at rows of the pooled sample, drawn by `random_state` if there are many
    n_permutations : number of random assignments of the pooled rows
    random_state : None, an int, a numpy Generator or RandomState; numpy's global state is not touched

    Returns
    -------
    TwoSampleResult with `statistic`, `pvalue`, `null`, `method`, `bandwidth`, `n_permutations`, `kernel`

    Raises
    ------
    TypeError : not an array of real numbers.
    ValueError : X and Y differ in library or device, shapes disagree, a value is not finite, fewer than two
        rows, or a bandwidth rule that treats X and Y differently (the p-value would not be valid).

    The p-value compares permuted values with the observed one of the same computation. Values that differ by
    rounding only count as reaching it, which can only make it larger. Float32 samples are compared in float64
    where rounding would matter.
    Cost: O(N^2 (d + n_permutations)) time for N = n + m, never O(N^2) memory.
    Source: Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010); Gretton et al., JMLR 13 (2012).
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")
    count = check_permutations(n_permutations)
    _check_exchangeable(check_kernel(kernel))
    rng = arrays.generator(random_state)
    given = Inputs(X=X, Y=Y)
    n, m = given.rows("X"), given.rows("Y")
    given.check_width("X", "Y")
    numbers = given.resolve(kernel, "X", "Y", random_state=rng)
    statistic = sample_mmd2(given, numbers, "unbiased")
    if min(n, m) <= _FEW_ROWS:
        given.widen()
    null, margin = _permuted(given, numbers, n, m, count, rng)
    if given.compute_dtype == np.float32 and margin > _TIE_SHARE * null.std():
        given.widen()
        statistic = sample_mmd2(given, numbers, "unbiased")
        null, margin = _permuted(given, numbers, n, m, count, rng)
    # A NaN says nothing against the null hypothesis: it counts as reaching.
    reached = int(np.count_nonzero(~(null[1:] < null[0] - margin)))
    return TwoSampleResult(
        statistic=statistic,
        pvalue=(1 + reached) / (1 + count),
        null=null[1:],
        method=method,
        bandwidth=scale_of(numbers),
        n_permutations=count,
        kernel=numbers,
    )


def _permuted(
    given: Inputs, kernel: Kernel, n: int, m: int, count: int, rng: np.random.Generator
) -> tuple[Array, float]:
    """The observed and then the permuted values, and by how much rounding may part equal ones.

    The second is the same whichever assignment is the observed one.
    """
    assignments = random_assignments(n, m, count, rng, given.where, observed=True)
    values, magnitudes = assigned_mmd2(given, kernel, assignments, "unbiased", rounded=True)
    roundings = _TIE_ROUNDINGS * np.finfo(given.compute_dtype).eps + (n + m) * np.finfo(np.float64).eps
    return values, float(roundings) * (float(magnitudes.max()) + _hidden_magnitude(given, kernel))


def _hidden_magnitude(given: Inputs, kernel: Kernel) -> float:
    """What the terms of MMD^2 may lack of those of |k| because values of both signs cancel.

    Dot products have both signs; -|x - y| beside a positive kernel has the other one. |k(x, y)| of all but
    -|x - y| is at most the largest k(z, z), and the means of |k| in the terms add up to four times that.
    """
    parts = [part for _, part in kernel.parts]
    energies = sum(isinstance(part, Energy) for part in parts)
    if energies in (0, len(parts)) and all(part.input != "dot" for part in parts):
        return 0.0
    largest = float(backends.diagonal(pooled_rows(given), kernel, given.where).max())
    return 4 * largest if energies == 0 else 8 * largest


def _check_exchangeable(kernel: Kernel) -> None:
    for _, part in kernel.parts:
        rule = getattr(part, part.scale_field) if part.scale_field else None
        if isinstance(rule, str) and rule not in POOLED_RULES:
            pooled = ", ".join(sorted(POOLED_RULES))
            raise ValueError(f"a test needs a rule that pools X and Y ({pooled}), got {rule!r}")
