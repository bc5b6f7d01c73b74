"""The operations on a GPU: `_native` plans the launches, a launcher runs them on the caller's stream.

The arguments are those of `reference.py`; arrays live at `where`, a CUDA device. With `fast`, for
config(precision="fast"), an operation says whether the GPU had a faster path.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from types import ModuleType
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from . import arrays
from .arrays import Array
from .homes import Home
from .kernel_base import Kernel
from .spectral import Frequencies

__all__ = [
    *("Launch", "Launcher", "block_sums", "fourier_features", "fourier_sums"),
    *("kernel_matmul", "kernel_matrix", "mmd2", "mmd2_grad", "moments", "permuted_sums", "project"),
    *("random_assignments", "subset_sums"),
]

LEAST_CAPABILITY = 75  # of the GPUs that the kernels are written for: 7.5
STRIPE_BYTES = 64 << 20  # of coefficients of pairs that a gradient keeps at a time

_PLACED: MutableMapping[Frequencies, dict[Home, tuple[Any, ...]]] = WeakKeyDictionary()  # by GPU

Launch = tuple[str, int, bytes]  # kernel, blocks, its task
Described = tuple[int, tuple[int, ...], tuple[int, ...]]


class Launcher(Protocol):
    """What runs launches: the module `_cuda`, CuPy's compiler, or the emulated GPU of the tests."""

    def launch(self, launches: Sequence[Launch], where: Home) -> None:
        """Run them one after the other on the current stream of the array library of `where`."""


def kernel_matrix(
    native: ModuleType,
    launcher: Launcher,
    x: Any,
    y: Any,
    kernel: Kernel,
    out: Any,
    where: Home,
    *,
    fast: bool = False,
) -> bool:
    """out[i, j] = k(x_i, y_j)."""
    terms, to = list(kernel.terms()), arrays.described(out)
    rows = (arrays.described(x), None if y is None else arrays.described(y))
    return _was_fast(_run(native.plan_kernel_matrix, launcher, x, where, *rows, terms, fast, to))


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
    *,
    fast: bool = False,
) -> bool:
    """out = K(x, y) @ v."""
    terms, to = list(kernel.terms()), arrays.described(out)
    rows = (arrays.described(x), None if y is None else arrays.described(y), arrays.described(v))
    return _was_fast(
        _run(native.plan_kernel_matmul, launcher, x, where, *rows, terms, fast, skip_diagonal, to)
    )


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
    *,
    fast: bool = False,
) -> bool:
    """Sums (P,) and diagonals (blocks,), float64."""
    rows = [arrays.described(stack) for stack in stacks]
    given = None
    if weights is not None:
        given = [None if share is None else arrays.described(share) for share in weights]
    terms, to = list(kernel.terms()), (arrays.described(sums), arrays.described(diagonals))
    return _was_fast(
        _run(native.plan_block_sums, launcher, stacks[0], where, rows, given, pairs, terms, fast, *to)
    )


def project(
    native: ModuleType, launcher: Launcher, x: Any, w: Any, b: Any, activation: str, out: Any, where: Home
) -> None:
    """out = activation(x @ w + b)."""
    rows = (arrays.described(x), arrays.described(w), _described(b))
    _run(native.plan_project, launcher, x, where, *rows, activation, arrays.described(out))


def moments(
    native: ModuleType,
    launcher: Launcher,
    x: Any,
    weights: Any,
    origin: Any,
    sums: Any,
    scatter: Any,
    where: Home,
) -> None:
    """Sums (d,) and scatter (d, d) about the origin, float64."""
    given = (arrays.described(x), _described(weights), arrays.described(origin))
    _run(native.plan_moments, launcher, x, where, *given, arrays.described(sums), arrays.described(scatter))


def fourier_features(
    native: ModuleType,
    launcher: Launcher,
    x: Any,
    frequencies: Frequencies,
    amplitude: float,
    out: Any,
    where: Home,
) -> None:
    """out = amplitude [cos z, sin z], z the phases of x."""
    parts = _placed(native, frequencies, where)
    given = (arrays.described(x), _described_frequencies(parts, frequencies), amplitude)
    _run(native.plan_fourier_features, launcher, x, where, *given, arrays.described(out))


def fourier_sums(
    native: ModuleType,
    launcher: Launcher,
    x: Any,
    weights: Any,
    frequencies: Frequencies,
    sums: Any,
    where: Home,
) -> None:
    """sums (2 q,) = weights' [cos z, sin z], z the phases of x, float64."""
    parts = _placed(native, frequencies, where)
    given = (arrays.described(x), _described(weights), _described_frequencies(parts, frequencies))
    _run(native.plan_fourier_sums, launcher, x, where, *given, arrays.described(sums))


def _placed(native: ModuleType, frequencies: Frequencies, where: Home) -> tuple[Any, ...]:
    """Centre, matrix, signs and scales on the GPU; the matrix None, or signs and scales.

    They are copied there once, and stay as long as the frequencies.
    """
    kept = _PLACED.setdefault(frequencies, {})
    if where not in kept:
        f = frequencies
        structured = 0 < f.width <= native.gpu_most_structured_width()
        given = (f.centre, None, f.signs, f.scales) if structured else (f.centre, f.matrix, None, None)
        kept[where] = tuple(None if part is None else where.asarray(part, part.dtype) for part in given)
        where.wait_for_copies()
    return kept[where]


def _described_frequencies(parts: tuple[Any, ...], frequencies: Frequencies) -> tuple[Any, ...]:
    return *map(_described, parts), 0 if parts[2] is None else frequencies.width


def _described(x: Any) -> Described | None:
    return None if x is None else arrays.described(x)


def random_assignments(
    native: ModuleType,
    launcher: Launcher,
    key0: int,
    key1: int,
    rows: int,
    ones: int,
    bits: Any,
    where: Home,
) -> None:
    """Fills bits (B, words)."""
    launcher.launch(native.plan_random_assignments(key0, key1, rows, ones, arrays.described(bits)), where)


def subset_sums(
    native: ModuleType, launcher: Launcher, bits: Any, values: Any, sums: Any, where: Home
) -> None:
    """Sums (B,) of values (n,) over the marked rows, float64."""
    launcher.launch(native.plan_subset_sums(*map(arrays.described, (bits, values, sums))), where)


def permuted_sums(
    native: ModuleType,
    launcher: Launcher,
    z: Any,
    kernel: Kernel,
    bits: Any,
    rounded: bool,
    sums: Any,
    row_sums: Any,
    where: Home,
) -> None:
    """Sums (B,) and row sums (n,), float64, as `reference.permuted_sums`.

    `rounded`, for float32 where tensor cores take bf16 (compute capability 8.0): less a constant near its
    mean, the kernel is rounded to bf16, to 2^-9 of each value. Both results are those of the one rounded
    matrix, so that MMD^2 from them takes no notice of the constant, nor of errors that a row's values share;
    it is off by 0.1 % to 0.3 % of its standard deviation over the assignments, 0.8 % for rows with heavy
    tails. A pair's rounding depends on its two rows alone: a permutation test whose observed value comes from
    the same call has its exact level. Never compare with a value from elsewhere.
    Otherwise the kernel is as accurate as in `kernel_matrix`; sums over a tile are formed in the dtype of z.

    Cost: O(n^2 (d + B)) time, one multiplication in bf16 for each of the n^2 B / 2 terms; O(n (d + B / 8))
    memory, half a KB more for a row, and 8 B bytes for each of some 16 blocks on a multiprocessor.
    """
    terms, to = list(kernel.terms()), (arrays.described(sums), arrays.described(row_sums))
    rows = arrays.described(z), terms, arrays.described(bits), rounded
    _run(native.plan_permuted_sums, launcher, z, where, *rows, *to)


def mmd2(
    native: ModuleType,
    launcher: Launcher,
    x: Any,
    y: Any,
    weights: Sequence[Any],
    factors: Any,
    with_diagonal: bool,
    kernel: Kernel,
    values: Any,
    where: Home,
    *,
    fast: bool = False,
) -> bool:
    """Values (c,), float64."""
    given = (arrays.described(x), arrays.described(y), *map(_described, weights), _factors(factors))
    terms, to = list(kernel.terms()), arrays.described(values)
    return _was_fast(_run(native.plan_mmd2, launcher, x, where, *given, with_diagonal, terms, fast, to))


def mmd2_grad(
    native: ModuleType,
    launcher: Launcher,
    x: Any,
    y: Any,
    weights: Sequence[Any],
    factors: Any,
    with_diagonal: bool,
    kernel: Kernel,
    values: Any,
    dx: Any,
    dy: Any,
    where: Home,
) -> None:
    """Values (c,), float64, and gradients (c, n, d) and (c, m, d)."""
    terms, rows = list(kernel.terms()), (arrays.described(x), arrays.described(y))
    given = map(_described, weights)
    to = (arrays.described(values), arrays.described(dx), arrays.described(dy))
    shares = _factors(factors)
    _run(
        native.plan_mmd2_grad,
        launcher,
        x,
        where,
        *rows,
        *given,
        shares,
        with_diagonal,
        terms,
        STRIPE_BYTES,
        *to,
    )


def _factors(factors: Any) -> Any:
    """Three numbers of the host, or an array (c, 3) on the GPU."""
    return factors.tolist() if factors.ndim == 1 else arrays.described(factors)


def _was_fast(launches: Sequence[Launch]) -> bool:
    return any("_fast_" in kernel for kernel, *_ in launches)


def _run(
    plan: Callable[..., Sequence[Launch]], launcher: Launcher, x: Any, where: Home, *rest: Any
) -> Sequence[Launch]:
    """Plan with a workspace that the array library allocates, and run; `x` has the dtype of the rows."""
    workspace = []

    def allocate(size: int) -> int:
        workspace.append(where.workspace(size))
        return arrays.described(workspace[0])[0]

    dtype = arrays.dtype_name(arrays.dtype_of(x))
    launches = plan(where.chip(), allocate, dtype, *rest)
    launcher.launch(launches, where)
    return launches
