"""The operations on a GPU: `_native` plans the launches, a launcher runs them on the caller's stream.

The arguments are those of `reference.py`; arrays live at `where`, a CUDA device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from . import arrays
from .arrays import Array, Home
from .kernel_base import Kernel

__all__ = ["Launch", "Launcher", "block_sums", "built_launcher", "kernel_matmul", "kernel_matrix"]

LEAST_CAPABILITY = 75

Launch = tuple[str, int, bytes]  # kernel, blocks, its task


class Launcher(Protocol):
    """What runs launches: the module `_cuda`, CuPy's compiler, or the emulated GPU of the tests."""

    def launch(self, launches: Sequence[Launch], where: Home) -> None:
        """Run them one after the other on the current stream of the array library of `where`."""


@dataclass(frozen=True)
class _Built:
    """Launches by the module `_cuda`, which was compiled beforehand."""

    module: ModuleType

    def launch(self, launches: Sequence[Launch], where: Home) -> None:
        self.module.launch(where.index, where.stream(), launches)


@lru_cache
def built_launcher(capability: int | None = None) -> tuple[Launcher | None, str]:
    """The module `_cuda` as a launcher for GPUs of this compute capability; or why there is none."""
    module, why_not = _load_cuda()
    if module is None:
        return None, why_not
    built = module.build_info()
    if module.device_count() == 0:
        return None, f"the module for CUDA {built['cuda']} finds no device (driver: {built['driver']})"
    if capability is not None and not _has_code(built["architectures"], capability):
        found = f"{capability // 10}.{capability % 10}"
        return None, f"the module for CUDA has code for {built['architectures']}, not for {found}"
    return _Built(module), ""


def build_info() -> dict[str, str]:
    """How the module `_cuda` was built; empty where it was not."""
    module, _ = _load_cuda()
    return {} if module is None else dict(module.build_info())


@lru_cache
def _load_cuda() -> tuple[ModuleType | None, str]:
    try:
        return import_module("isthmus._cuda"), ""
    except ModuleNotFoundError:
        how = "an installation from the sources builds it where nvcc is found"
        return None, f"the module for CUDA was not built ({how})"
    except ImportError as error:
        return None, f"the module for CUDA could not be loaded ({error})"


def _has_code(architectures: str, capability: int) -> bool:
    """Whether "90a-real 80-virtual", as CMake names it, is code that this GPU runs.

    Machine code runs on later GPUs of the same generation, virtual code on every later GPU, and code of a
    letter on that GPU only. What is no number is trusted.
    """
    for text in architectures.split():
        named = re.fullmatch(r"(\d+)([a-z]?)(-real|-virtual)?", text)
        if named is None:
            return True
        number, near = int(named[1]), named[3] != "-real" or int(named[1]) // 10 == capability // 10
        if number == capability or (not named[2] and near and number < capability):
            return True
    return False


def kernel_matrix(
    native: ModuleType, launcher: Launcher, x: Any, y: Any, kernel: Kernel, out: Any, where: Home
) -> None:
    """out[i, j] = k(x_i, y_j)."""
    terms, to = list(kernel.terms()), arrays.described(out)
    rows = (arrays.described(x), None if y is None else arrays.described(y))
    _run(native.plan_kernel_matrix, launcher, x, where, *rows, terms, to)


def kernel_matmul(
    native: ModuleType,
    launcher: Launcher,
    x: Any,
    y: Any,
    v: Any,
    kernel: Kernel,
    skip_diagonal: bool,
    out: Any,
    where: Home,
) -> None:
    """out = K(x, y) @ v."""
    terms, to = list(kernel.terms()), arrays.described(out)
    rows = (arrays.described(x), None if y is None else arrays.described(y), arrays.described(v))
    _run(native.plan_kernel_matmul, launcher, x, where, *rows, terms, skip_diagonal, to)


def block_sums(
    native: ModuleType,
    launcher: Launcher,
    stacks: Sequence[Any],
    weights: Sequence[Any] | None,
    pairs: Array,
    kernel: Kernel,
    sums: Any,
    diagonals: Any,
    where: Home,
) -> None:
    """Sums (P,) and diagonals (blocks,), float64."""
    rows = [arrays.described(stack) for stack in stacks]
    given = None
    if weights is not None:
        given = [None if share is None else arrays.described(share) for share in weights]
    terms, to = list(kernel.terms()), (arrays.described(sums), arrays.described(diagonals))
    _run(native.plan_block_sums, launcher, stacks[0], where, rows, given, pairs, terms, *to)


def _run(plan: Callable[..., Sequence[Launch]], launcher: Launcher, x: Any, where: Home, *rest: Any) -> None:
    """Plan with a workspace that the array library allocates, and run; `x` has the dtype of the rows."""
    workspace = []

    def allocate(size: int) -> int:
        workspace.append(where.workspace(size))
        return arrays.described(workspace[0])[0]

    launcher.launch(plan(where.chip(), allocate, arrays.dtype_of(x).name, *rest), where)
