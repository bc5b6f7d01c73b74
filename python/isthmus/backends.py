"""Who computes each operation: the only file that knows several implementations exist.

The arguments are those of `reference.py`; `ops.py` has checked them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, metadata
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from . import arrays, cuda_module, cupy_module, gpu, homes, machine, reference
from .arrays import Array
from .config import settings, threads
from .homes import HOST, Home
from .kernel_base import Kernel
from .spectral import Frequencies

__all__ = ["Explanation", "explain", "info", "simd"]

LEVELS = ("base", "avx2", "avx512", "amx", "neon")
OPERATIONS = (
    *("block_sums", "fourier_features", "fourier_sums"),
    *("kernel_matmul", "kernel_matrix", "mmd2", "mmd2_grad", "moments", "permuted_sums", "project"),
)

# CuPy is built for a version of CUDA each.
_DISTRIBUTIONS = {"cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy")}

# Levels that multiply float32 rows as parts, and the kernels that need no such products.
_SPLIT_LEVELS = ("amx",)
_FROM_DIFFERENCES = ("energy", "exponential", "laplacian")

# (operation, kind of device): the implementations, best first.
_TABLE = {(operation, "cpu"): ("native", "reference") for operation in OPERATIONS} | {
    (operation, "cuda"): ("native", "nvrtc", "reference") if hasattr(gpu, operation) else ("reference",)
    for operation in OPERATIONS
}


@dataclass(frozen=True)
class Explanation:
    """What computed an operation, and why other implementations did not."""

    operation: str
    backend: str
    device: str
    level: str | None
    n_threads: int
    dtype: str
    notes: tuple[str, ...]

    def __str__(self) -> str:
        how = f"{self.backend} on {self.device}, {self.dtype}"
        if self.level is not None:
            how += f", SIMD level {self.level}, {self.n_threads} thread{'s' if self.n_threads > 1 else ''}"
        return "\n  ".join([f"{self.operation}: {how}", *self.notes])


_LAST: ContextVar[Explanation | None] = ContextVar("isthmus_explanation", default=None)
# One entry for each open `with` block.
_LEVELS: ContextVar[tuple[str, ...]] = ContextVar("isthmus_simd", default=())


def explain() -> Explanation | None:
    """What computed the last operation of this context, and why the others did not; None before the first."""
    return _LAST.get()


class simd:
    """Force a SIMD level inside a `with` block: "base", "avx2", "avx512", "amx" or "neon".

    Raises RuntimeError, listing the levels there are, if this build or machine lacks it.
    """

    def __init__(self, level: str) -> None:
        self.level = _checked_level(level, "simd")

    def __enter__(self) -> str:
        _LEVELS.set((*_LEVELS.get(), self.level))
        return self.level

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _LEVELS.set(_LEVELS.get()[:-1])


def simd_levels() -> tuple[str, ...]:
    """The SIMD levels of this build that this machine runs, lowest first."""
    native, _ = _load_native()
    return () if native is None else tuple(native.levels())


def simd_level() -> str:
    """The level in use: `simd(level)`, else the variable ISTHMUS_SIMD, else the highest there is."""
    chosen = _LEVELS.get()
    if chosen:
        return chosen[-1]
    forced = os.environ.get("ISTHMUS_SIMD", "").strip()
    return _checked_level(forced, "ISTHMUS_SIMD") if forced else simd_levels()[-1]


def kernel_matrix(x: Any, y: Any, kernel: Kernel, out: Any, where: Home) -> None:
    """out[i, j] = k(x_i, y_j); see `reference.kernel_matrix`."""
    _run(
        "kernel_matrix",
        where,
        x,
        (x, y, kernel, out),
        native=lambda module, how: module.kernel_matrix(x, y, list(kernel.terms()), out, **how),
        kernel=kernel,
    )


def kernel_matmul(x: Any, y: Any, v: Any, kernel: Kernel, skip_diagonal: bool, out: Any, where: Home) -> None:
    """out = K(x, y) @ v; see `reference.kernel_matmul`."""
    _run(
        "kernel_matmul",
        where,
        x,
        (x, y, v, kernel, skip_diagonal, out),
        native=lambda module, how: module.kernel_matmul(
            x, y, v, list(kernel.terms()), skip_diagonal, out, **how
        ),
        kernel=kernel,
    )


def project(x: Any, w: Any, b: Any, activation: str, out: Any, where: Home) -> None:
    """out = activation(x @ w + b); see `reference.project`."""
    _run(
        "project",
        where,
        x,
        (x, w, b, activation, out),
        native=lambda module, how: module.project(x, w, b, activation, out, **how),
    )


def moments(x: Any, weights: Any, origin: Any, where: Home) -> tuple[Any, Any]:
    """Sums (d,) and scatter (d, d) of x about an origin, float64; see `reference.moments`."""
    d, float64 = len(origin), np.dtype(np.float64)
    sums, scatter = where.empty((d,), float64), where.empty((d, d), float64)
    _run(
        "moments",
        where,
        x,
        (x, weights, origin, sums, scatter),
        native=lambda module, how: module.moments(x, weights, origin, sums, scatter, **how),
    )
    return sums, scatter


def fourier_features(x: Any, frequencies: Frequencies, amplitude: float, out: Any, where: Home) -> None:
    """out = amplitude [cos z, sin z] of the phases of x; see `reference.fourier_features`."""
    _run(
        "fourier_features",
        where,
        x,
        (x, frequencies, amplitude, out),
        native=lambda module, how: module.fourier_features(
            x, *_native_frequencies(frequencies), amplitude, out, **how
        ),
    )


def fourier_sums(x: Any, weights: Any, frequencies: Frequencies, sums: Any, where: Home) -> None:
    """sums = weights' [cos z, sin z] of the phases of x; see `reference.fourier_sums`."""
    _run(
        "fourier_sums",
        where,
        x,
        (x, weights, frequencies, sums),
        native=lambda module, how: module.fourier_sums(
            x, weights, *_native_frequencies(frequencies), sums, **how
        ),
    )


def _native_frequencies(f: Frequencies) -> tuple[Any, Any, Any, Any, int]:
    return f.centre, f.matrix if f.signs is None else None, f.signs, f.scales, f.width


def block_sums(
    stacks: Sequence[Any], weights: Sequence[Any] | None, pairs: Array, kernel: Kernel, where: Home
) -> tuple[Any, Any]:
    """Sums (P,) and diagonals (blocks,), float64; see `reference.block_sums`."""
    float64 = np.dtype(np.float64)
    sums = where.empty((len(pairs),), float64)
    diagonals = where.empty((sum(len(stack) for stack in stacks),), float64)
    given = None if weights is None else list(weights)
    _run(
        "block_sums",
        where,
        stacks[0],
        (stacks, given, pairs, kernel, sums, diagonals),
        native=lambda module, how: module.block_sums(
            list(stacks), given, pairs, list(kernel.terms()), sums, diagonals, **how
        ),
        kernel=kernel,
    )
    return sums, diagonals


def value_range(x: Any, where: Home) -> tuple[float, float] | None:
    """Smallest and largest value of rows (n, d) or (c, n, d).

    None where a value is not finite, or where only `arrays.check_finite` can tell.
    """
    module = _host_module() if where.on_host else None
    if module is None or x.ndim not in (2, 3) or x.dtype not in (np.float32, np.float64):
        return None
    if not arrays.is_rows(x, x.dtype, where):
        return None
    found: tuple[float, float] | None = module.value_range(x, level=simd_level(), n_threads=_threads())
    return found


def mmd2(
    x: Any,
    y: Any,
    weights: Sequence[Any],
    factors: Any,
    with_diagonal: bool,
    kernel: Kernel,
    where: Home,
) -> Any:
    """Values (c,), float64; see `reference.mmd2`."""
    values = where.empty((len(x),), np.dtype(np.float64))
    _run(
        "mmd2",
        where,
        x,
        (x, y, weights, factors, with_diagonal, kernel, values),
        native=lambda module, how: module.mmd2(
            x, y, *weights, factors, with_diagonal, list(kernel.terms()), values, **how
        ),
        kernel=kernel,
    )
    return values


def mmd2_grad(
    x: Any,
    y: Any,
    weights: Sequence[Any],
    factors: Any,
    with_diagonal: bool,
    kernel: Kernel,
    dx: Any,
    dy: Any,
    where: Home,
) -> Any:
    """Values (c,), float64, and gradients into dx and dy; see `reference.mmd2_grad`."""
    values = where.empty((len(x),), np.dtype(np.float64))
    _run(
        "mmd2_grad",
        where,
        x,
        (x, y, weights, factors, with_diagonal, kernel, values, dx, dy),
        native=lambda module, how: module.mmd2_grad(
            x, y, *weights, factors, with_diagonal, list(kernel.terms()), values, dx, dy, **how
        ),
    )
    return values


def permuted_sums(
    z: Any, kernel: Kernel, bits: Array, where: Home, *, rounded: bool = False
) -> tuple[Any, Any]:
    """Sums (B,) and row sums (n,), float64; see `reference.permuted_sums`."""
    float64 = np.dtype(np.float64)
    sums, row_sums = where.empty((len(bits),), float64), where.empty((len(z),), float64)
    _run(
        "permuted_sums",
        where,
        z,
        (z, kernel, bits, rounded, sums, row_sums),
        native=lambda module, how: module.permuted_sums(z, list(kernel.terms()), bits, sums, row_sums, **how),
    )
    return sums, row_sums


def random_assignments(key: Array, rows: int, ones: int, bits: Any, where: Home) -> None:
    """Fills `bits` (B, words); see `reference.random_assignment`, which gives the same bits everywhere."""
    module, launcher = _helper(where)
    key0, key1 = key.tolist()
    if module is not None and launcher is not None:
        gpu.random_assignments(module, launcher, key0, key1, rows, ones, bits, where)
    elif not where.on_host:
        drawn = np.empty(tuple(bits.shape), dtype=np.uint64)
        random_assignments(key, rows, ones, drawn, HOST)
        bits[...] = where.asarray(drawn.view(np.int64), np.dtype(np.int64))
    elif module is not None:
        module.random_assignments(key0, key1, rows, ones, bits, n_threads=_threads())
    else:
        for b in range(len(bits)):
            bits[b] = reference.random_assignment(key, b, rows, ones)


def subset_sums(bits: Any, values: Any, where: Home) -> Any:
    """Sums (B,) of float64 values (n,) over the rows that each row of bits marks."""
    module, launcher = _helper(where)
    sums = where.empty((len(bits),), np.dtype(np.float64))
    if module is not None and launcher is not None:
        gpu.subset_sums(module, launcher, bits, values, sums, where)
    elif where.on_host and module is not None:
        module.subset_sums(bits, values, sums, n_threads=_threads())
    else:
        reference.subset_sums(bits, values, sums)
    return sums


def _helper(where: Home) -> tuple[ModuleType | None, gpu.Launcher | None]:
    """The compiled module, if it may compute there, and on a GPU what launches its plans."""
    if where.on_host:
        return _host_module(), None
    backend, _ = _choose("permuted_sums", where)
    return (None, None) if backend == "reference" else (_load_native()[0], _launcher(backend, where)[0])


def diagonal(x: Any, kernel: Kernel, where: Home) -> Any:
    """k(x_i, x_i), float64 (n,); too cheap to need a compiled form."""
    return reference.diagonal(x, kernel, where.xp)


def info() -> dict[str, str]:
    """Versions, processor, SIMD levels, threads and GPU, as `isthmus info` prints them."""
    native, why_not = _load_native()
    found = {"isthmus": _version("isthmus"), "python": platform.python_version()}
    for name in ("numpy", "scipy", "scikit-learn", "safetensors", "torch", "cupy", "pyarrow", "matplotlib"):
        found[name] = _version(*_DISTRIBUTIONS.get(name, (name,)))
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["cpu"] = machine.cpu_model()
    if native is None:
        found["simd"] = f"none: {why_not}"
    else:
        found["simd"] = f"{simd_level()} (of {', '.join(simd_levels())})"
        found |= {f"build {name}": text for name, text in native.build_info().items()}
    found["threads"] = str(_threads())
    memory = machine.available_memory()
    found["memory available"] = "unknown" if memory is None else f"{memory / 2**30:.1f} GiB"
    found["gpu"] = homes.gpu_report()
    found["gpu native"] = f"not used: {text}" if (text := cuda_module.launcher()[1]) else "used"
    text = why_not if native is None else cupy_module.compiler(native)[1]
    found["gpu nvrtc"] = f"not used: {text}" if text else "used"
    found |= {f"gpu build {name}": text for name, text in cuda_module.build_info().items()}
    return found


def _run(
    operation: str,
    where: Home,
    x: Any,
    arguments: tuple[Any, ...],
    *,
    native: Callable[[ModuleType, dict[str, Any]], None],
    kernel: Kernel | None = None,
) -> None:
    """Let the best implementation compute, and remember which one it was.

    `arguments` are those of `reference` and `gpu`; `native` calls the compiled module on the host. With a
    kernel both take "fast" too; on a GPU the plan knows whether there is such a path.
    """
    backend, notes = _choose(operation, where)
    dtype = arrays.dtype_name(arrays.dtype_of(x))
    compiled = backend == "native" and where.on_host
    level, n_threads = (simd_level(), _threads()) if compiled else (None, 1)
    wants_fast = settings().precision == "fast"
    fast = wants_fast and level in _SPLIT_LEVELS and dtype == "float32" and _multiplies_rows(kernel)
    if backend == "reference":
        # Distances beyond the largest float64 are infinite, which kernels map to their limit.
        with np.errstate(over="ignore"):
            getattr(reference, operation)(*arguments, where.xp)
    else:
        module, _ = _load_native()
        assert module is not None
        if compiled:
            native(module, {"level": level, "n_threads": n_threads} | ({"fast": True} if fast else {}))
        else:
            launcher, _ = _launcher(backend, where)
            precision = {"fast": True} if wants_fast and kernel is not None else {}
            fast = bool(getattr(gpu, operation)(module, launcher, *arguments, where, **precision))
    if fast:
        notes.append("precision='fast': products of two bfloat16 parts of each number")
    elif wants_fast:
        notes.append(f"precision='fast': {backend} has no faster path on {where.device}, so none was taken")
    _LAST.set(Explanation(operation, backend, where.device, level, n_threads, dtype, tuple(notes)))


def _multiplies_rows(kernel: Kernel | None) -> bool:
    return kernel is not None and any(name not in _FROM_DIFFERENCES for name, *_ in kernel.terms())


def _choose(operation: str, where: Home) -> tuple[str, list[str]]:
    """The implementation to use, and one note for each better one that was passed over."""
    wanted = settings().backend
    candidates = _TABLE[operation, "cpu" if where.on_host else "cuda"]
    notes = []
    for name in candidates:
        if wanted not in ("auto", name):
            notes.append(f"{name}: not used, config(backend={wanted!r})")
        elif why_not := _lacks(name, where):
            notes.append(f"{name}: not used, {why_not}")
        else:
            return name, notes
    own = [note for note in notes if note.startswith(f"{wanted}:")]
    reason = own[0] if own else f"it does not compute on {where}"
    raise RuntimeError(f"backend {wanted!r} cannot compute {operation}: {reason}")


def _lacks(name: str, where: Home) -> str:
    """Why this implementation cannot compute there; empty where it can."""
    if name == "reference":
        return ""
    return _load_native()[1] if where.on_host else _launcher(name, where)[1]


def _launcher(name: str, where: Home) -> tuple[gpu.Launcher | None, str]:
    """What runs launches on a GPU under this name; or why nothing does."""
    native, why_not = _load_native()
    if native is None:
        return None, why_not
    capability, _ = where.chip()
    if capability < gpu.LEAST_CAPABILITY:
        found, least = (f"{number // 10}.{number % 10}" for number in (capability, gpu.LEAST_CAPABILITY))
        return None, f"{where.device} has compute capability {found}, below {least}"
    return cuda_module.launcher(capability) if name == "native" else cupy_module.compiler(native)


def _host_module() -> ModuleType | None:
    """The compiled module for work on the host, unless there is none or the formulas are wanted."""
    return None if settings().backend == "reference" else _load_native()[0]


@lru_cache
def _load_native() -> tuple[ModuleType | None, str]:
    """The compiled module, made known to threadpoolctl; or why there is none."""
    try:
        native = import_module("isthmus._native")
    except ImportError as error:
        return None, f"the compiled module could not be loaded ({error})"
    import_module("isthmus.threadpool")
    return native, ""


def _threads() -> int:
    """Threads of a compiled operation called from this thread now."""
    native, _ = _load_native()
    return threads(0 if native is None else native.thread_limit())


def _checked_level(level: str, source: str) -> str:
    if level not in LEVELS:
        raise ValueError(f"{source} must be one of {', '.join(LEVELS)}, got {level!r}")
    there = simd_levels()
    if level not in there:
        has = f"it has {', '.join(there)}" if there else f"it has none: {_load_native()[1]}"
        raise RuntimeError(f"{source}: this machine and build lack the SIMD level {level!r}; {has}")
    return level


def _version(*distributions: str) -> str:
    """The version of the first of these distributions that is installed."""
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
