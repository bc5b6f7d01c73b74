"""Settings of the current context: threads, precision, backend, whether input is taken to be finite."""

from __future__ import annotations

import os
import sys
import warnings
from contextvars import ContextVar
from dataclasses import dataclass, replace
from numbers import Integral
from types import TracebackType
from typing import Any

from .machine import cpu_count

__all__ = ["config"]

PRECISIONS = ("default", "fast")
BACKENDS = ("auto", "native", "nvrtc", "reference")


@dataclass(frozen=True)
class Settings:
    """The settings in force. `n_threads` None means every CPU this process may use."""

    n_threads: int | None = None
    precision: str = "default"
    backend: str = "auto"
    assume_finite: bool = False


# One entry for each open `with` block. The stack is the context's, not the `config` object's: several threads
# and tasks may be inside blocks of one object.
_STACK: ContextVar[tuple[Settings, ...]] = ContextVar("isthmus_settings", default=(Settings(),))


def settings() -> Settings:
    """The settings of the current context."""
    return _STACK.get()[-1]


class config:
    """Change settings inside a `with` block, for this thread or task only.

    Parameters
    ----------
    n_threads : int
        Threads of the compiled operations. Default: the CPUs of the process's affinity and control group, at
        most as many as `threadpoolctl.threadpool_limits` allows on this thread, else `ISTHMUS_NUM_THREADS`,
        else `OMP_NUM_THREADS`. Results have the same bits for any number.
    precision : "default" or "fast"
        "fast" allows less exact arithmetic where a backend has a faster path for it; `backends.explain()`
        says whether one was taken.
    backend : "auto", "native", "nvrtc" or "reference"
        Who computes: the compiled module (on a GPU, the one that was built for CUDA), on a GPU also kernels
        that CuPy compiles when they are first used, or the formulas of the array library. Anything but "auto"
        is an error where it cannot do the work.
    assume_finite : bool
        Skip the search for NaN, infinity and values too large to square. scikit-learn's setting of that name
        counts as well.

    Settings that are not named, or None, keep their value. Raises TypeError or ValueError for a value out of
    range.

    Examples
    --------
    >>> import isthmus as im
    >>> with im.config(n_threads=1):
    ...     value = im.mmd2([[0.0], [1.0]], [[0.0], [3.0]], kernel=im.RBF(1.0))
    """

    def __init__(
        self,
        *,
        n_threads: int | None = None,
        precision: str | None = None,
        backend: str | None = None,
        assume_finite: bool | None = None,
    ) -> None:
        changes: dict[str, Any] = {}
        if n_threads is not None:
            changes["n_threads"] = _checked_threads(n_threads)
        if precision is not None:
            changes["precision"] = _checked_choice("precision", precision, PRECISIONS)
        if backend is not None:
            changes["backend"] = _checked_choice("backend", backend, BACKENDS)
        if assume_finite is not None:
            if not isinstance(assume_finite, bool):
                raise TypeError(f"assume_finite must be True or False, got {assume_finite!r}")
            changes["assume_finite"] = assume_finite
        self._changes = changes

    def __enter__(self) -> Settings:
        _STACK.set((*_STACK.get(), replace(settings(), **self._changes)))
        return settings()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _STACK.set(_STACK.get()[:-1])

    def __repr__(self) -> str:
        return f"config({', '.join(f'{name}={value!r}' for name, value in self._changes.items())})"


def threads(limit: int = 0) -> int:
    """Threads a compiled operation uses in the current context; see `default_threads`."""
    chosen = settings().n_threads
    return default_threads(limit) if chosen is None else chosen


def default_threads(limit: int = 0) -> int:
    """Threads without `config(n_threads=)`: CPUs of the process, capped by `limit`, else by the environment.

    A limit of 0 is none.
    """
    if limit > 0:
        return min(cpu_count(), limit)
    for variable in ("ISTHMUS_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").strip()
        if text:
            # OpenMP allows a list, one number for each nesting level; the first is the outermost.
            first = text.partition(",")[0].strip() if variable == "OMP_NUM_THREADS" else text
            if not first.isdecimal() or int(first) < 1:
                raise ValueError(f"the variable {variable} must be a positive integer, got {text!r}")
            return min(cpu_count(), int(first))
    return cpu_count()


def assume_finite() -> bool:
    """Whether arrays are taken to be finite, by our setting or by scikit-learn's if it is loaded."""
    if settings().assume_finite:
        return True
    sklearn = sys.modules.get("sklearn")
    return sklearn is not None and bool(sklearn.get_config()["assume_finite"])


def _checked_threads(n_threads: Any) -> int:
    if isinstance(n_threads, bool) or not isinstance(n_threads, Integral):
        raise TypeError(f"n_threads must be a positive integer, got {n_threads!r}")
    number = int(n_threads)
    if number < 1:
        raise ValueError(f"n_threads must be a positive integer, got {number}")
    # More threads than CPUs is allowed (tests compare bits); thousands only exhaust the process.
    limit = max(64, 4 * (os.cpu_count() or 1))
    if number > limit:
        warnings.warn(f"n_threads={number} is clamped to {limit}", RuntimeWarning, stacklevel=3)
    return min(number, limit)


def _checked_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return str(value)
