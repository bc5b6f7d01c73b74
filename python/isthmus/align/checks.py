"""Checks of an estimator's parameters, one line each: name, expected, found.

`words` are values allowed beside those of the check, such as None or "auto".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernel_base import Kernel, is_integer, real

__all__ = ["check_choice", "check_count", "check_flag", "check_kernel", "check_number", "check_share"]

Words = tuple[str | None, ...]


def check_count(model: Any, name: str, least: int = 1, *, words: Words = ()) -> None:
    """The parameter `name` of `model` must be an integer >= `least`."""
    value = getattr(model, name)
    if not (is_integer(value) and value >= least):
        _check_word(name, f"an integer of at least {least}", value, words)


def check_number(model: Any, name: str, *, zero: bool = False, words: Words = ()) -> None:
    """The parameter `name` of `model` must be a finite number above 0, or at least 0 with `zero`."""
    value = getattr(model, name)
    number = real(value)
    if not (0 < number < np.inf or (zero and number == 0)):
        _check_word(name, f"a finite number {'of at least' if zero else 'above'} 0", value, words)


def check_share(model: Any, name: str, *, words: Words = ()) -> None:
    """The parameter `name` of `model` must be a number in [0, 1]."""
    value = getattr(model, name)
    if not 0 <= real(value) <= 1:
        _check_word(name, "a number from 0 to 1", value, words)


def check_choice(model: Any, name: str, choices: tuple[Any, ...]) -> None:
    """The parameter `name` of `model` must be one of `choices`."""
    value = getattr(model, name)
    if not _is_one_of(value, choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_flag(model: Any, name: str) -> None:
    """The parameter `name` of `model` must be True or False."""
    value = getattr(model, name)
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_kernel(model: Any) -> None:
    """The parameter `kernel` of `model` must be None or a kernel."""
    if model.kernel is not None and not isinstance(model.kernel, Kernel):
        found = type(model.kernel).__name__
        raise TypeError(f"kernel must be None or a kernel such as RBF(), got {found}")


def _check_word(name: str, expected: str, value: Any, words: Words) -> None:
    if not _is_one_of(value, words):
        *first, last = expected, *map(repr, words)
        ways = f"{', '.join(first)} or {last}" if first else last
        raise ValueError(f"{name} must be {ways}, got {value!r}")


def _is_one_of(value: Any, choices: tuple[Any, ...]) -> bool:
    return any(value is choice or (isinstance(value, str) and value == choice) for choice in choices)
