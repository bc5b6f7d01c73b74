"""The operations on a GPU: `_native` plans the launches, a launcher runs them on the caller's stream.

The arguments are those of `reference.py`; arrays live at `where`, a CUDA device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

from . import arrays
from .arrays import Array, Home
from .kernel_base import Kernel

__all__ = ["Launch", "Launcher", "block_sums", "kernel_matmul", "kernel_matrix"]

LEAST_CAPABILITY = 75  # of the GPUs that the kernels are written for: 7.5

Launch = tuple[str, int, bytes]  # kernel, blocks, its task


class Launcher(Protocol):
    """What runs launches: the module `_cuda`, CuPy's compiler, or the emulated GPU of the tests."""

    def launch(self, launches: Sequence[Launch], where: Home) -> None:
        """Run them one after the other on the current stream of the array library of `where`."""


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
