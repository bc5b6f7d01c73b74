"""Checks that the families share: parameters, rows in use, rank and residual of a solution."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..arrays import Array
from ..kernel_base import Kernel, is_integer, real
from .domains import Domains
from .pencil import Solution
from .problem import Rows

__all__ = ["accept", "check_choice", "check_count", "check_kernel", "check_number", "rows_in_use"]


LARGEST = 1e70  # the dual of the linear kernel has fourth powers of the rows


def check_count(model: Any, name: str, least: int = 1, *, optional: bool = False) -> None:
    """The parameter `name` of `model` must be an integer >= `least`, or None where that is allowed."""
    value = getattr(model, name)
    if (optional and value is None) or (is_integer(value) and value >= least):
        return
    raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_number(model: Any, name: str, *, zero: bool = False, optional: bool = False) -> None:
    """The parameter `name` of `model` must be a finite number above 0, or at least 0 with `zero`."""
    value = getattr(model, name)
    number = real(value)
    if (optional and value is None) or 0 < number < np.inf or (zero and number == 0):
        return
    raise ValueError(f"{name} must be a finite number {'>= 0' if zero else 'above 0'}, got {value!r}")


def check_choice(model: Any, name: str, choices: tuple[Any, ...]) -> None:
    """The parameter `name` of `model` must be one of `choices`."""
    value = getattr(model, name)
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_kernel(model: Any) -> None:
    """The parameter `kernel` of `model` must be None or a kernel."""
    if model.kernel is not None and not isinstance(model.kernel, Kernel):
        found = type(model.kernel).__name__
        raise TypeError(f"kernel must be None or a kernel such as RBF(), got {found}")


def rows_in_use(
    model: Any, domains: Domains, source_weight: Array | None, target_weight: Array | None
) -> tuple[Rows, tuple[Array, Array]]:
    """The rows of positive weight, and the masks of source and target rows that picked them.

    Raises ValueError where all of them are the same row, or too large for the fourth power.
    """
    assert domains.X_target is not None
    parts = []
    for rows, weight in ((domains.X_source, source_weight), (domains.X_target, target_weight)):
        w = np.ones(len(rows)) if weight is None else weight
        parts.append((rows[w > 0], w[w > 0], w > 0))
    (source, w_source, used_source), (target, w_target, used_target) = parts
    if all((part == source[0]).all() for part in (source, target)):
        raise ValueError(f"{type(model).__name__} needs rows that vary, got constant X and X_target")
    largest = max(float(np.abs(part).max()) for part in (source, target))
    if largest > LARGEST:
        name = type(model).__name__
        raise ValueError(
            f"{name} needs entries up to {LARGEST:.0e}, got {largest:.0e}; scale the columns of X"
        )
    return Rows((source, target), (w_source, w_target)), (used_source, used_target)


def accept(model: Any, solution: Solution, wanted: int, gate: Any, advice: str) -> None:
    """Store what is known of `solution` in `model`, with a warning where it lacks components or precision.

    `gate`: residuals that call for no warning, one or one for each component. Sets `eigenvalues_`,
    `residuals_`, `n_components_`. Called by a method's `_learn`.
    """
    name, found = type(model).__name__, len(solution.eigenvalues)
    if not found:
        raise ValueError(f"{name} finds no direction along which the rows vary; scale the columns of X")
    if found < wanted:
        warnings.warn(
            f"{name} gives {found} components, the numerical rank of its problem, not {wanted}",
            UserWarning,
            stacklevel=5,
        )
    gates = np.broadcast_to(gate, solution.residuals.shape)
    if (solution.residuals > gates).any():
        column = int(np.argmax(solution.residuals / gates))
        warnings.warn(
            f"{name} component {column} of {found} has residual {solution.residuals[column]:.1e}, above "
            f"{gates[column]:.0e}; {advice}",
            ConvergenceWarning,
            stacklevel=5,
        )
    model.eigenvalues_, model.residuals_ = solution.eigenvalues, solution.residuals
    model.n_components_ = model._n_features_out = found
