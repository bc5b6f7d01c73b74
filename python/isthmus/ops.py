"""The waist: the public operations. Users' arrays are checked here, once, and rules become numbers here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from . import arrays, backends, bandwidth, machine
from .arrays import Array
from .config import assume_finite
from .homes import Home
from .kernel_base import Kernel
from .kernels import DEFAULT_KERNEL, Polynomial, check_kernel
from .reference import ACTIVATIONS

__all__ = ["block_sums", "kernel_matmul", "kernel_matrix", "project"]

# Magnitudes whose squares and their sums keep a distance to the ends of the format.
_SAFE = {"float32": (1e-15, 1e15), "float64": (0.0, 1e145)}

_SMALL = 1 << 26  # bytes of a result that is allocated without asking the system what is free


@arrays.on_its_device
def kernel_matrix(X: Any, Y: Any = None, *, kernel: Kernel = DEFAULT_KERNEL, out: Any = None) -> Any:
    """The kernel of every row of X with every row of Y.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64
    Y : array of shape (m, d), same library, device and dtype as `X`; None means X
    kernel : Kernel; its bandwidth is in the unit of `X`
    out : array of shape (n, m) and of the result's dtype, in C order, written and returned

    Returns
    -------
    array of shape (n, m), in the library, on the device and in the dtype of the input

    Raises
    ------
    TypeError : not an array of real numbers.
    ValueError : X and Y differ in library or device, widths disagree, a value is not finite or too large to
        square, or `out` does not fit or shares memory with an input. Values on a device are not looked at:
        there NaN gives NaN, and a row with an infinity is infinitely far from all others.
    MemoryError : the matrix is larger than the memory there is; nothing was allocated.

    Cost: O(n m d) time, O(n m) memory. `kernel_matmul` and `mmd2` never store the matrix.
    """
    given = Inputs(optional={"Y": None if Y is X else Y}, X=X)
    n, m = given.rows("X"), given.rows("X" if given["Y"] is None else "Y")
    given.check_width("X", "Y")
    kernel = given.resolve(kernel, "X", "Y")
    target = given.target("kernel_matrix", (n, m), out)
    backends.kernel_matrix(given["X"], given["Y"], kernel, target, given.where)
    return given.give("kernel_matrix", target, out)


@arrays.on_its_device
def kernel_matmul(
    X: Any, Y: Any, V: Any, *, kernel: Kernel = DEFAULT_KERNEL, skip_diagonal: bool = False
) -> Any:
    """K(X, Y) @ V, without ever storing the kernel matrix K.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64
    Y : array of shape (m, d), same library and device as `X`; None means X
    V : array of shape (m, q) or (m,)
    kernel : Kernel; its bandwidth is in the unit of `X`
    skip_diagonal : leave out the terms k(x_i, y_i); needs n == m

    Returns
    -------
    array of shape (n, q) or (n,), in the library, on the device and in the dtype of the input

    Raises TypeError, ValueError and MemoryError as `kernel_matrix` does.

    Cost: O(n m (d + q)) time, O((n + m) (d + q)) memory; of a large
    sample with itself, Y None, half of K is formed.
    """
    given = Inputs(optional={"Y": None if Y is X else Y}, X=X, V=V)
    against = "X" if given["Y"] is None else "Y"
    n, m = given.rows("X"), given.rows(against)
    given.check_width("X", "Y")
    v = given.check("V", (1, 2))
    if len(v) != m:
        raise ValueError(f"V must have one row for each of the {m} rows of {against}, got {len(v)}")
    if skip_diagonal and n != m:
        raise ValueError(f"skip_diagonal needs as many rows in X as in Y, got {n} and {m}")
    kernel = given.resolve(kernel, "X", "Y")
    columns = given.cast(given["V"] if v.ndim == 2 else given["V"][:, None])
    target = given.target("kernel_matmul", (n, columns.shape[1]))
    backends.kernel_matmul(given["X"], given["Y"], columns, kernel, bool(skip_diagonal), target, given.where)
    return given.give("kernel_matmul", target if v.ndim == 2 else target[:, 0])


@arrays.on_its_device
def project(X: Any, W: Any, b: Any = None, *, activation: str = "identity", out: Any = None) -> Any:
    """activation(X @ W + b): a linear layer, a feature map.

    Parameters
    ----------
    X : array of shape (n, d), float32 or float64
    W : array of shape (d, q), same library and device as `X`
    b : array of shape (q,), or None for zero
    activation : "identity", "relu", "tanh", "logistic" or "cos"
    out : array of shape (n, q) and of the result's dtype, in C order, written and returned

    Returns
    -------
    array of shape (n, q), in the library, on the device and in the dtype of the input

    Raises TypeError, ValueError and MemoryError as `kernel_matrix` does.

    Cost: O(n d q) time, O(n q) memory.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    given = Inputs(optional={"b": b}, X=X, W=W)
    x, w, shift = given.check("X", (2,)), given.check("W", (2,)), given.check("b", (1,))
    if len(w) != x.shape[1]:
        raise ValueError(f"W must have one row for each of X's {x.shape[1]} columns, got {len(w)}")
    if shift is not None and len(shift) != w.shape[1]:
        raise ValueError(f"b must have one value for each of W's {w.shape[1]} columns, got {len(shift)}")
    target = given.target("project", (len(x), w.shape[1]), out)
    backends.project(x, given.cast(w), shift, activation, target, given.where)
    return given.give("project", target, out)


@arrays.on_its_device
def block_sums(
    Z: Any, offsets: Any, pairs: Any = None, *, kernel: Kernel = DEFAULT_KERNEL, weights: Any = None
) -> tuple[Any, Any]:
    """Sums of the kernel over pairs of blocks of rows: the primitive under every MMD.

    Parameters
    ----------
    Z : array of shape (N, d), float32 or float64: the blocks, one below the other
    offsets : integers of shape (b + 1,): block a is the rows offsets[a] to offsets[a + 1]
    pairs : integers of shape (P, 2), block numbers; None means all a <= b, ordered by a, then b
    kernel : Kernel; its bandwidth is in the unit of `Z`
    weights : array of shape (N,), not negative, used as they are; None means ones

    Returns
    -------
    sums : float64 array of shape (P,), sum_ij w_i w_j k(z_i, z_j) over rows i of block a and j of block b;
        for a block with itself without i == j
    diagonals : float64 array of shape (b,), sum_i w_i^2 k(z_i, z_i)

    Raises TypeError and ValueError as `kernel_matrix` does.

    Cost: O(d) time for each pair of rows, O(N d) memory.
    """
    given = Inputs(weights={"weights": weights}, Z=Z)
    n = given.rows("Z")
    w = given.weights("weights", (n,))
    bounds = _integers(offsets, "offsets", 1).tolist()
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != n or min(np.diff(bounds)) < 1:
        raise ValueError(f"offsets must rise from 0 to Z's number of rows {n}, got {_short(bounds)}")
    count = len(bounds) - 1
    pairs = all_pairs(count) if pairs is None else _integers(pairs, "pairs", 2)
    if pairs.shape[1] != 2 or not len(pairs) or pairs.min() < 0 or pairs.max() >= count:
        raise ValueError(f"pairs must be (P, 2) numbers of blocks, 0 to {count - 1}, got {_short(pairs)}")
    kernel = given.resolve(kernel, "Z")
    spans = [slice(first, last) for first, last in pairwise(bounds)]
    blocks = [given["Z"][None, span] for span in spans]
    if w is None:
        sums, diagonals = backends.block_sums(blocks, None, pairs, kernel, given.where)
    else:
        scaled = [given.scale_weights(w[None, span]) for span in spans]
        cast = [given.cast(even) for even, _ in scaled]
        sums, diagonals = backends.block_sums(blocks, cast, pairs, kernel, given.where)
        scale = given.where.xp.concatenate([scale for _, scale in scaled])
        first, second = (arrays.picked(scale, numbers) for numbers in pairs.T)
        sums, diagonals = sums * first * second, diagonals * scale * scale
    return given.where.give(sums), given.where.give(diagonals)


def all_pairs(count: int) -> Array:
    """Every pair (a, b) of blocks with a <= b, ordered by a, then b; (P, 2)."""
    return np.stack(np.triu_indices(count), axis=1).astype(np.int64)


class Inputs:
    """The arrays of one call: brought to one home and dtype, then checked by name.

    The host reads no value of arrays on a device: it would wait for the device, and a CUDA graph could not
    capture the call. NaN shows in the result there, infinity as rows that are far from all others.

    Only `optional` arguments and `weights` may be None. `resolve` may widen arrays to float64, so read those
    for a backend after it.
    """

    def __init__(
        self,
        *,
        optional: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> None:
        optional, weights = optional or {}, weights or {}
        self._given = {**named, **_present(optional), **_present(weights)}
        self.where, self.dtype, found = arrays.gather({**named, **_present(optional)}, _present(weights))
        self._arrays: dict[str, Any] = {**dict.fromkeys([*optional, *weights]), **found}
        self._wide = False
        self._ranges: dict[str, tuple[float, float]] = {}

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]

    @property
    def compute_dtype(self) -> np.dtype[Any]:
        """The dtype the backends see: that of the result, or float64 where float32 would not do."""
        return np.dtype(np.float64) if self._wide else self.dtype

    def check(self, name: str, ndims: tuple[int, ...]) -> Any:
        """The argument or None: of one of these numbers of axes, not empty and, on the host, finite."""
        x = self[name]
        if x is None:
            return None
        if x.ndim not in ndims:
            axes = " or ".join(
                {1: "(rows,)", 2: "(rows, columns)", 3: "(items, rows, columns)"}[k] for k in ndims
            )
            advice = f": {name}.reshape(-1, 1) or (1, -1)" if x.ndim == 1 and 2 in ndims else ""
            raise ValueError(f"{name} must have shape {axes}, got {tuple(x.shape)}{advice}")
        if 0 in x.shape:
            raise ValueError(f"{name} must have at least one row and one column, got shape {tuple(x.shape)}")
        if self.where.on_host and not assume_finite():
            found = backends.value_range(x, self.where)
            self._ranges[name] = arrays.check_finite(x, name) if found is None else found
        return x

    def reach(self, name: str) -> float:
        """The largest size of a value of a checked argument; 0 where it was left unseen."""
        return max(map(abs, self._ranges.get(name, (0.0,))))

    def rows(self, name: str) -> int:
        """Number of rows of a matrix argument, once it is checked."""
        return len(self.check(name, (2,)))

    def check_width(self, name: str, other: str) -> None:
        """Both arguments have the same columns, by number and, for tables, by name."""
        x, y = self[name], self[other]
        if y is None:
            return
        if x.shape[-1] != y.shape[-1]:
            shapes = f"shapes {tuple(x.shape)} and {tuple(y.shape)}"
            raise ValueError(
                f"{other} must have {name}'s width d = {x.shape[-1]}, got {y.shape[-1]} ({shapes})"
            )
        names = [list(getattr(self._given[key], "columns", ())) for key in (name, other)]
        if all(names) and names[0] != names[1]:
            raise ValueError(f"{other} must have {name}'s columns {names[0]}, got {names[1]}")

    def weights(self, name: str, *shapes: tuple[int, ...]) -> Any:
        """A weights argument of one of these shapes, float64, or None.

        On the host it is finite, not negative and not all zero.
        """
        w = self[name]
        if w is None:
            return None
        if tuple(w.shape) not in shapes:
            expected = " or ".join(map(str, shapes))
            raise ValueError(
                f"{name} must have shape {expected}, one weight for each row, got {tuple(w.shape)}"
            )
        if not self.where.on_host:
            return w
        arrays.check_finite(w, name)
        if w.min() < 0:
            raise ValueError(f"{name} must not be negative, got {float(w.min())}")
        if not (self.where.xp.amax(w, -1) > 0).all():
            raise ValueError(f"{name} must not be all zero")
        return w

    def scale_weights(self, w: Any) -> tuple[Any, Any]:
        """Weights (c, n) divided to a mean of 1, and the divisors (c,), float64.

        With a mean of 1 float32 products and sums are as exact as without weights.
        """
        peaks = self.where.xp.amax(w, -1)
        peaks = peaks + (peaks == 0)
        w = w / peaks[:, None]
        means = w.mean(-1)
        means = means + (means == 0)
        return w / means[:, None], peaks * means

    def cast(self, x: Any) -> Any:
        """An array in C order and in the dtype the backends see."""
        return arrays.as_dtype(x, self.compute_dtype, self.where)

    def resolve(
        self, kernel: Kernel, *names: str, beside: Sequence[str] = (), random_state: Any = None
    ) -> Kernel:
        """The kernel with numbers only, its rules evaluated on the rows of the named arguments.

        Where its values on these and on the arguments `beside` would overflow float32, or it magnifies the
        roundings of float32, all arrays become float64. Raises ValueError where they would overflow float64.
        """
        samples = [self[name] for name in names if self[name] is not None]
        kernel = bandwidth.resolve(check_kernel(kernel), *samples, random_state=random_state)
        ranges = [self._ranges[name] for name in (*names, *beside) if name in self._ranges]
        if any(_steep(part) for _, part in kernel.parts):
            self.widen()
        if ranges:
            low, high = min(least for least, _ in ranges), max(most for _, most in ranges)
            sizes = _magnitudes(kernel, low, high, int(samples[0].shape[-1]))
            if not _fit(sizes, self.dtype):
                if not _fit(sizes, np.dtype(np.float64)):
                    present = " and ".join(name for name in names if self[name] is not None)
                    largest = f"values up to {max(-low, high):g}"
                    raise ValueError(
                        f"{present} must be small enough to square, got {largest} for {kernel!r}"
                    )
                self.widen()
        return kernel

    def widen(self) -> None:
        """Let the backends compute in float64; results keep their dtype."""
        if self.compute_dtype == np.float32:
            self._wide = True
            for name, x in self._arrays.items():
                if x is not None:
                    self._arrays[name] = arrays.as_rows(x, self.compute_dtype, self.where)

    def target(self, operation: str, shape: tuple[int, ...], out: Any = None) -> Any:
        """The array a backend writes: `out` once it is checked, or a new one; it has the compute dtype."""
        checked = None
        if out is not None:
            # As given, and as read: a buffer of no array library has no home of its own.
            inputs = [*self._given.items(), *self._arrays.items()]
            checked = arrays.check_out(out, shape, self.dtype, self.where, inputs)
        if checked is not None and not self._wide:
            return checked
        check_room(operation, shape, self.compute_dtype, self.where)
        return self.where.empty(shape, self.compute_dtype)

    def give(self, operation: str, target: Any, out: Any = None) -> Any:
        """The result as the user gets it, in the dtype and library of the input."""
        if self._wide:
            narrow = arrays.narrow(target, self.dtype, self.where, operation)
            if out is not None:
                out[...] = self.where.give(narrow)
            target = narrow
        return self.where.give(target) if out is None else out


def check_room(operation: str, shape: tuple[int, ...], dtype: np.dtype[Any], where: Home) -> None:
    """Raise MemoryError if an array is larger than the free memory there."""
    needed = math.prod(shape) * dtype.itemsize
    if needed <= _SMALL:
        return
    free = machine.available_memory() if where.on_host else where.free_bytes()
    if free is not None and needed > free:
        raise MemoryError(
            f"{operation} of shape {shape} in {dtype} needs {needed / 2**30:.1f} GiB, "
            f"{free / 2**30:.1f} GiB are available"
        )


def _present(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in named.items() if x is not None}


def _magnitudes(kernel: Kernel, low: float, high: float, width: int) -> list[float]:
    """Sizes of the numbers whose squares a kernel takes, over rows of `width` values in [low, high]."""
    sizes: list[float] = []
    for _, part in kernel.parts:
        size = (max(-low, high) if part.input == "dot" else high - low) * math.sqrt(width)
        sizes.append(size)
        scale = bandwidth.scale_of(part)
        if scale is not None:
            sizes += [max(1.0, size / each) for each in (scale if isinstance(scale, tuple) else (scale,))]
        if isinstance(part, Polynomial):
            gamma, coef0, degree = part.parameters()[0]
            # Logarithms, as the power itself may overflow; the square root because callers square.
            power = degree * math.log10(max(1.0, gamma * size * size + coef0)) / 2
            sizes.append(10.0 ** min(power, 300.0))
    return sizes


def _steep(part: Kernel) -> bool:
    """Whether a power multiplies the relative rounding error of float32 by more than 32."""
    return isinstance(part, Polynomial) and part.degree > 32


def _fit(sizes: Sequence[float], dtype: np.dtype[Any]) -> bool:
    least, most = _SAFE[dtype.name]
    return all(size == 0 or least <= size <= most for size in sizes)


def _short(values: Any) -> str:
    """Numbers for a message of one line, the middle of long ones left out."""
    text = np.array2string(np.asarray(values), separator=", ", threshold=20, edgeitems=3)
    return " ".join(text.split()).replace("[ ", "[")


def _integers(values: Any, name: str, ndim: int) -> Array:
    """An argument of integers, as int64."""
    try:
        found = arrays.to_numpy(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of integers: {error}") from error
    if found.dtype.kind not in "iu" or found.ndim != ndim:
        raise ValueError(
            f"{name} must be integers with {ndim} axes, got {found.dtype} of shape {found.shape}"
        )
    return np.ascontiguousarray(found, dtype=np.int64)
