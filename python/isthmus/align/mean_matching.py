"""What the methods that match kernel means share: their parameters, and the solution with its warning."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..arrays import Array
from ..kernels import DEFAULT_KERNEL, Energy, Kernel, check_kernel
from . import box_qp

__all__ = ["check_box", "check_positive", "definite", "in_place", "solved"]


def solved(
    name: str,
    matrix: box_qp.PositiveMatrix,
    linear: Array,
    limits: tuple[float, float, float],
    weight: Array,
    *,
    tol: float,
    max_iter: int,
) -> box_qp.BoxSolution:
    """The solution under bound, low and high (`limits`), with a warning where it misses `tol`."""
    bound, low, high = limits
    if low > bound * float(weight.sum()):
        raise ValueError(
            f"bound must be at least 1 - eps = {low / weight.sum():g}, the least mean weight, got {bound:g}"
        )
    upper = np.full(len(linear), bound)
    solution = box_qp.minimise_in_box(
        matrix, linear, upper, low, high, weight=weight, tol=tol, max_iter=max_iter
    )
    if solution.gap > tol * abs(solution.value):
        warnings.warn(
            f"{name} stopped after {solution.n_iter} steps at a duality gap of {solution.gap:.1e}, "
            f"{solution.gap / max(abs(solution.value), np.finfo(float).tiny):.1e} of the objective, above "
            f"{tol:.0e}; raise max_iter, or take a narrower kernel",
            ConvergenceWarning,
            stacklevel=6,
        )
    return solution


def in_place(weights: Array, source_weight: Array | None) -> Array:
    """Weights of the rows of positive weight, among zeros for the others."""
    if source_weight is None:
        return weights
    out = np.zeros(len(source_weight))
    out[source_weight > 0] = weights
    return out


def definite(kernel: Any) -> Kernel:
    checked = DEFAULT_KERNEL if kernel is None else check_kernel(kernel)
    for _, part in checked.parts:
        if isinstance(part, Energy):
            raise ValueError(
                f"kernel must be positive semidefinite for its means to be matched, got {checked!r}"
            )
    return checked


def check_box(bound: Any, eps: Any, tol: Any, max_iter: Any) -> None:
    check_positive("bound", bound)
    check_positive("tol", tol)
    if eps is not None and (not isinstance(eps, Real) or not 0 <= float(eps) < np.inf):
        raise ValueError(f"eps must be None or a finite number of at least 0, got {eps!r}")
    if isinstance(max_iter, bool) or not isinstance(max_iter, Integral) or max_iter < 1:
        raise ValueError(f"max_iter must be an integer of at least 1, got {max_iter!r}")


def check_positive(name: str, value: Any) -> None:
    if not isinstance(value, Real) or not 0 < float(value) < np.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
