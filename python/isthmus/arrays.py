"""Arrays of numpy, CuPy and torch, and what numpy can read (lists, tables): checked, brought to one home.

With `homes` the only file that knows array libraries.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from numbers import Real
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from .homes import HOST, Home, torch_dtype

Array: TypeAlias = np.ndarray[Any, Any]
_P = ParamSpec("_P")
_R = TypeVar("_R")

_HOST_DEVICES = (1, 3)  # DLPack's numbers for the host's memory, plain and pinned
_CHUNK = 1 << 18  # elements per step of the search for NaN: 1 to 2 MB, so one pass over memory


def on_its_device(operation: Callable[_P, _R]) -> Callable[_P, _R]:
    """The operation, with the GPU of its first CuPy array as CuPy's current one while it runs."""

    @wraps(operation)
    def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if "cupy" not in sys.modules:
            return operation(*args, **kwargs)
        lists = (x if isinstance(x, list | tuple) else (x,) for x in (*args, *kwargs.values()))
        homes = (home(x) for some in lists for x in some)
        with next((at for at in homes if at is not None and at.library == "cupy"), HOST).guard():
            return operation(*args, **kwargs)

    return guarded


def described(x: Any) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Address, shape and strides in elements of an array on a GPU."""
    if library(x) == "torch":
        return x.data_ptr(), tuple(x.shape), tuple(x.stride())
    return x.data.ptr, x.shape, tuple(stride // x.itemsize for stride in x.strides)


def library(x: Any) -> str | None:
    """ "numpy", "torch" or "cupy" for an array of that library, else None (lists, tables, scalars)."""
    if isinstance(x, np.ndarray | np.generic):
        return "numpy"
    for name, kind in (("torch", "Tensor"), ("cupy", "ndarray")):
        module = sys.modules.get(name)
        if module is not None and isinstance(x, getattr(module, kind)):
            return name
    return None


def home(x: Any) -> Home | None:
    """Library and device of an array; None for what merely converts to numpy."""
    name = library(x)
    if name == "torch":
        return _torch_home(x.device)
    if name == "cupy":
        return Home(name, f"cuda:{x.device.id}")
    return None if name is None else HOST


@lru_cache
def _torch_home(device: Any) -> Home:
    return Home("torch", str(device))


def namespace(x: Any) -> Any:
    """The array library that computes on `x`."""
    return (home(x) or HOST).xp


def to_numpy(x: Any) -> Array:
    """A host copy (or view) of an array of any library."""
    name = library(x)
    if name == "torch":
        return np.asarray(x.detach().cpu().numpy())
    if name == "cupy":
        return np.asarray(x.get())
    return np.asarray(x)


def like(values: Any, x: Any) -> Any:
    """Host values as an array of the library, device and dtype of `x`."""
    return (home(x) or HOST).asarray(values, dtype_of(x))


def beside(values: Any, x: Any) -> Any:
    """Host values as what meets `x` in an operator: themselves on the host, else as `like` gives them."""
    where = home(x)
    return values if where is None or where.on_host else where.asarray(values, dtype_of(x))


def empty_like(x: Any, n_columns: int) -> Any:
    """An array of as many rows as `x`, at its home and of its dtype, whose values are arbitrary."""
    return (home(x) or HOST).empty((len(x), n_columns), dtype_of(x))


def index_of(which: Array, x: Any) -> Any:
    """What picks the rows of `x` that the host array `which` names: a mask (n,), or row numbers."""
    where = home(x) or HOST
    if where.on_host:
        return which
    return where.asarray(np.flatnonzero(which) if which.dtype == bool else which, np.dtype(np.int64))


def picked(values: Any, numbers: Array) -> Any:
    """Some of `values` (n,) by their numbers (m,) on the host, which are not copied to a device."""
    if (home(values) or HOST).on_host:
        return values[numbers]
    return namespace(values).stack([values[i] for i in numbers.tolist()])


def square_block(matrix: Any, numbers: Array) -> Any:
    """Rows and columns of a square matrix by their numbers (m,), on the host: (m, m)."""
    if namespace(matrix) is np:
        return matrix.take(numbers, 0).take(numbers, 1)  # twice as fast as both at once
    rows, columns = np.ix_(numbers, numbers)
    return matrix[index_of(rows, matrix), index_of(columns, matrix)]


def widened(x: Any) -> Any:
    """`x` in float64, at its home; itself where it is that."""
    return _cast(x, np.dtype(np.float64))


def narrowed(x: Any) -> Any:
    """`x` in float32, at its home; itself where it is that."""
    return _cast(x, np.dtype(np.float32))


def _cast(x: Any, dtype: np.dtype[Any]) -> Any:
    if library(x) == "torch":
        return x.to(torch_dtype(dtype))
    return x.astype(dtype, copy=False)


def gather(
    named: Mapping[str, Any], weights: Mapping[str, Any]
) -> tuple[Home, np.dtype[Any], dict[str, Any]]:
    """The common home of the arguments, their common dtype, and the arguments there, each row contiguous.

    The dtype is float32 or float64, by promotion; `weights` have no say in it and come as float64. Lists and
    tables follow the arrays beside them. Raises ValueError if two arrays differ in library or device, and
    TypeError or ValueError for anything that is not an array of real numbers.
    """
    where = _common_home({**named, **weights})
    real = {name: as_real(x, name, where) for name, x in named.items()}
    dtype = np.result_type(*(dtype_of(x) for x in real.values()))
    ready = {name: as_rows(x, dtype, where) for name, x in real.items()}
    for name, x in weights.items():
        ready[name] = as_dtype(as_real(x, name, where), np.dtype(np.float64), where)
    return where, dtype, ready


def _common_home(named: Mapping[str, Any]) -> Home:
    where, owner = HOST, ""
    for name, x in named.items():
        at = home(x)
        if at is None:
            continue
        if owner and at != where:
            raise ValueError(f"{name} must live where {owner} lives, {where}, got {at}")
        where, owner = at, name
    check_supported(where, owner)
    return where


def check_supported(where: Home, name: str) -> None:
    """ValueError unless the arrays called `name` live on the CPU or a CUDA device."""
    if not where.on_host and not where.device.startswith("cuda"):
        raise ValueError(f"{name} must live on the CPU or a CUDA device, got {where}")


def as_real(x: Any, name: str, where: Home) -> Any:
    """`x` as float32 or float64 at `where`: half types become float32, integers and booleans float64."""
    if library(x) == "torch":
        return _real_torch(x, name)
    if library(x) == "cupy":
        _check_dtype(x.dtype, x, name)
        return x.astype(_real_dtype(x.dtype), copy=False)
    values = _real_numpy(x, name)
    return values if where.on_host else where.asarray(values, values.dtype)


def as_dtype(x: Any, dtype: np.dtype[Any], where: Home) -> Any:
    """`x` in C order, aligned, in native byte order and of this dtype; itself where it is all that."""
    if where.on_host:
        return np.require(x, dtype, ["C", "A"])
    if where.library == "torch":
        return x.to(torch_dtype(dtype)).contiguous()
    return where.xp.ascontiguousarray(x, dtype=dtype)


def is_rows(x: Any, dtype: np.dtype[Any], where: Home) -> bool:
    """Whether `x` is rows of this dtype that only may be apart, repeated or, on the host, reversed."""
    if x.ndim < 2:
        return False
    if library(x) == "torch":
        return dtype_of(x) == dtype and (x.stride(-1) == 1 or x.shape[-1] == 1)
    whole = all(stride % dtype.itemsize == 0 for stride in x.strides)
    last = x.strides[-1] == dtype.itemsize or x.shape[-1] == 1
    straight = bool(x.flags.aligned) if where.on_host else min(x.strides) >= 0
    return bool(x.dtype == dtype and whole and last and straight)


def as_rows(x: Any, dtype: np.dtype[Any], where: Home) -> Any:
    """`x` as `as_dtype` gives it, but without a copy when it `is_rows` already."""
    return x if is_rows(x, dtype, where) else as_dtype(x, dtype, where)


def check_finite(x: Any, name: str) -> tuple[float, float]:
    """Smallest and largest value of an array that is not empty, in one pass and without a temporary array.

    Raises ValueError with the number of NaN or infinite values and the position of the first.
    """
    step = max(1, _CHUNK * len(x) // x.size) if namespace(x) is np else len(x)
    low, high = np.inf, -np.inf
    for start in range(0, len(x), step):
        chunk = x[start : start + step]
        least, most = float(chunk.min()), float(chunk.max())
        # NaN passes through min and max, and compares false.
        if not (-np.inf < least and most < np.inf):
            _refuse_not_finite(to_numpy(x), name)
        low, high = min(low, least), max(high, most)
    return low, high


def narrow(x: Any, dtype: np.dtype[Any], where: Home, name: str) -> Any:
    """A finite float64 result cast to float32; ValueError if a value is beyond it, infinity on a device."""
    limit = float(np.finfo(dtype).max)
    if where.on_host and bool((abs(x) > limit).any()):
        raise ValueError(f"{name} overflows in the cast from float64 to {dtype}: pass float64 arrays")
    return as_dtype(x, dtype, where)


def check_out(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], where: Home, inputs: Iterable[tuple[str, Any]]
) -> Any:
    """`out` as the array the backends write to.

    Raises ValueError unless it has this shape and dtype, lives at `where`, is writeable and in C order, and
    shares no memory with the inputs, given by name.
    """
    at = home(out)
    if at is None:
        raise TypeError(f"out must be an array, got {type(out).__name__}")
    if at != where:
        raise ValueError(f"out must live where the input lives, {where}, got {at}")
    if tuple(out.shape) != shape:
        raise ValueError(f"out must have shape {shape}, got {tuple(out.shape)}")
    if str(out.dtype).removeprefix("torch.") != dtype.name:
        raise ValueError(f"out must have dtype {dtype}, got {out.dtype}")
    if at.library == "torch" and out.requires_grad:
        raise ValueError("out must not require a gradient")
    if not where.on_host:
        if not (out.is_contiguous() if at.library == "torch" else out.flags.c_contiguous):
            raise ValueError("out must be in C order")
        return out
    target = out.numpy() if at.library == "torch" else out
    if not target.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")
    if not (target.flags.c_contiguous and target.flags.aligned):
        raise ValueError(f"out must be in C order and aligned, got strides {target.strides}")
    for name, x in inputs:
        if home(x) is not None and np.shares_memory(to_numpy(x), target):
            raise ValueError(f"out must not share memory with {name}")
    return target


def same(x: Any, y: Any) -> Any:
    """Which samples are equal: arrays (c, n, d), or one sample (n, d); boolean (c,), at their home.

    On a device nothing waits for it.
    """
    where = home(x) or HOST
    x, y = (a if a.ndim == 3 else a[None] for a in (x, y))
    if x.shape != y.shape:
        return where.full((1,), False, np.dtype(bool))
    if not where.on_host:
        return (x == y).all(-1).all(-1)
    # The first rows tell most unequal samples apart.
    equal = np.asarray((x[:, 0] == y[:, 0]).all(-1))
    for i in np.flatnonzero(equal).tolist():
        equal[i] = bool((x[i] == y[i]).all())
    return equal


def generator(random_state: Any) -> np.random.Generator:
    """The random numbers that `random_state` stands for: None, an int, a Generator or a RandomState.

    numpy's global state is neither read nor changed, unless its own RandomState object is handed in.
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=8, dtype=np.uint32))
    if random_state is None or isinstance(random_state, int | np.integer | np.random.Generator):
        if isinstance(random_state, int | np.integer) and random_state < 0:
            raise ValueError(f"random_state must not be negative, got {random_state}")
        return np.random.default_rng(random_state)
    accepted = "None, an integer, a numpy Generator or RandomState"
    raise TypeError(f"random_state must be {accepted}, got {type(random_state).__name__}")


def dtype_of(x: Any) -> np.dtype[Any]:
    """The dtype of a float32 or float64 array of any library, in native byte order."""
    return x.dtype.newbyteorder("=") if isinstance(x, np.ndarray) else _dtype_named(x.dtype)


@lru_cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Its name, which numpy puts together anew each time it is asked."""
    return dtype.name


@lru_cache
def _dtype_named(dtype: Any) -> np.dtype[Any]:
    """numpy's dtype of the name of another library's."""
    return np.dtype(str(dtype).removeprefix("torch.")).newbyteorder("=")


def _real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype we compute in for input of this one."""
    if (dtype.kind == "f" and dtype.itemsize <= 4) or dtype.name == "bfloat16":
        return np.dtype(np.float32)
    return np.dtype(np.float64)


def _real_numpy(x: Any, name: str) -> Array:
    if x is None or isinstance(x, str | bytes | Mapping | set | frozenset):
        raise TypeError(f"{name} must be an array of real numbers, got {type(x).__name__}")
    if hasattr(x, "tocsr") or hasattr(x, "todense"):
        raise TypeError(f"{name} must be a dense array, got a sparse one: pass {name}.toarray()")
    if hasattr(x, "collect") and hasattr(x, "lazy"):
        raise TypeError(f"{name} must be a table in memory, got a lazy one: pass {name}.collect()")
    if _on_a_device(x):
        kind = f"{type(x).__module__}.{type(x).__name__}"
        remedy = f"cupy.asarray({name}) or torch.from_dlpack({name})"
        raise TypeError(f"{name} must be of numpy, CuPy or torch, got a {kind} on a device: pass {remedy}")
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(f"{name} must have no masked values")
    if hasattr(x, "dtypes") and hasattr(x, "to_numpy"):
        values = _table_to_numpy(x, name)
    else:
        try:
            values = np.asarray(x)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from error
    _check_dtype(values.dtype, values, name)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        warnings.warn(f"{name} is converted from {values.dtype} to float64", RuntimeWarning, stacklevel=2)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float64)
        if not np.array_equal(np.isfinite(values), np.isfinite(narrow)):
            raise ValueError(f"{name} overflows in the cast from {values.dtype} to float64")
        return narrow
    return values.astype(_real_dtype(values.dtype).newbyteorder(values.dtype.byteorder), copy=False)


def _on_a_device(x: Any) -> bool:
    """Whether an array of another library lives outside the host's memory, from which numpy would copy it."""
    if hasattr(x, "__cuda_array_interface__"):
        return True
    asked = getattr(x, "__dlpack_device__", None)
    return asked is not None and asked()[0] not in _HOST_DEVICES


def _table_to_numpy(table: Any, name: str) -> Array:
    """A pandas or polars table as one array; columns that are not numbers are named in a TypeError."""
    kinds = dict(zip(table.columns, table.dtypes, strict=True)) if hasattr(table, "columns") else {}
    for column, dtype in kinds.items():
        numeric = (
            dtype.is_numeric() if hasattr(dtype, "is_numeric") else getattr(dtype, "kind", "O") in "biufc"
        )
        if not numeric and str(dtype) != "Boolean":
            raise TypeError(f"{name} must hold real numbers, column {column!r} is {dtype}")
    pandas = [type(dtype).__module__.startswith("pandas") for dtype in kinds.values()]
    if any(pandas) or (hasattr(table, "iloc") and "bool" in map(str, kinds.values())):
        # Nullable columns, and booleans beside numbers, would become Python objects; missing values become
        # NaN and are refused.
        return np.asarray(table.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(table.to_numpy())


def _check_dtype(dtype: np.dtype[Any], values: Any, name: str) -> None:
    if dtype.kind == "c":
        raise ValueError(f"{name} must hold real numbers, complex data is not supported (dtype {dtype})")
    if dtype.kind not in "biuf" and dtype.name != "bfloat16":
        values = values.flat if dtype.kind == "O" else ()
        example = next((f" with {v!r}" for v in values if not isinstance(v, Real)), "")
        raise TypeError(f"{name} must be an array of real numbers, got dtype {dtype}{example}")


def _real_torch(x: Any, name: str) -> Any:
    """A detached tensor, as a numpy view on the CPU."""
    torch = sys.modules["torch"]
    if x.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {x.layout}: pass {name}.to_dense()")
    if x.is_complex():
        raise ValueError(f"{name} must hold real numbers, complex data is not supported (dtype {x.dtype})")
    half = x.dtype in (torch.float16, torch.bfloat16)
    real = x.detach()
    if half or not x.is_floating_point():
        real = real.to(torch.float32 if half else torch.float64)
    real = real.resolve_neg()  # a view that only is marked as negative
    return real.numpy() if real.device.type == "cpu" else real


def _refuse_not_finite(x: Array, name: str) -> None:
    for what, bad in (("NaN", np.isnan(x)), ("infinity", np.isinf(x))):
        count = int(np.count_nonzero(bad))
        if count:
            index = np.unravel_index(int(np.argmax(bad)), x.shape)
            axes = {1: ("position",), 2: ("row", "column"), 3: ("item", "row", "column")}[x.ndim]
            first = " ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))
            values = "value" if count == 1 else "values"
            raise ValueError(f"{name} contains {what} ({count} {values}, first at {first})")
