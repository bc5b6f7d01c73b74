"""What the methods that match kernel means share: their parameters, and the solution with its warning."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..arrays import Array
from ..kernels import DEFAULT_KERNEL, Energy, Kernel, check_kernel
from .checks import check_count, check_number
from .mathematics import box_matrix, box_qp

__all__ = ["check_box", "definite", "in_place", "solved"]


def solved(
    name: str,
    matrix: box_matrix.PositiveMatrix,
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


def check_box(model: Any) -> None:
    """The parameters that the methods have in common."""
    check_number(model, "bound")
    check_number(model, "eps", zero=True, words=(None,))
    check_count(model, "max_iter")
