"""The tile engine on the CPU. Arrays must have been checked by `isthmus.ops`: nothing is converted here."""

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]
_Term = tuple[str, float, Sequence[float]]
# Address, shape and strides in elements of an array on a GPU.
_Described = tuple[int, Sequence[int], Sequence[int]]
# Compute capability (90 for 9.0) and number of multiprocessors.
_Chip = tuple[int, int]
# Gives the address of that many bytes on the GPU, on a border of 256.
_Allocate = Callable[[int], int]
# Kernel, blocks, task.
_Launches = list[tuple[str, int, bytes]]

def kernel_names() -> list[str]: ...
def levels() -> list[str]: ...
def thread_limit() -> int: ...
def build_info() -> dict[str, str]: ...
def fma_rate(*, level: str, n_threads: int) -> float: ...
def value_range(x: _Array, *, level: str, n_threads: int) -> tuple[float, float] | None: ...
def block_sums(
    stacks: Sequence[_Array],
    weights: Sequence[_Array | None] | None,
    pairs: _Array,
    terms: Sequence[_Term],
    sums: _Array,
    diagonals: _Array,
    *,
    level: str,
    n_threads: int,
    fast: bool = False,
) -> None: ...
def kernel_matrix(
    x: _Array,
    y: _Array | None,
    terms: Sequence[_Term],
    out: _Array,
    *,
    level: str,
    n_threads: int,
    fast: bool = False,
) -> None: ...
def kernel_matmul(
    x: _Array,
    y: _Array | None,
    v: _Array,
    terms: Sequence[_Term],
    skip_diagonal: bool,
    out: _Array,
    *,
    level: str,
    n_threads: int,
    fast: bool = False,
) -> None: ...
def mmd2(
    x: _Array,
    y: _Array,
    x_weights: _Array | None,
    y_weights: _Array | None,
    factors: _Array,
    with_diagonal: bool,
    terms: Sequence[_Term],
    values: _Array,
    *,
    level: str,
    n_threads: int,
    fast: bool = False,
) -> None: ...
def mmd2_grad(
    x: _Array,
    y: _Array,
    x_weights: _Array | None,
    y_weights: _Array | None,
    factors: _Array,
    with_diagonal: bool,
    terms: Sequence[_Term],
    values: _Array,
    dx: _Array,
    dy: _Array,
    *,
    level: str,
    n_threads: int,
) -> None: ...
def permuted_sums(
    z: _Array,
    terms: Sequence[_Term],
    bits: _Array,
    sums: _Array,
    row_sums: _Array,
    *,
    level: str,
    n_threads: int,
) -> None: ...
def random_assignments(
    key0: int, key1: int, rows: int, ones: int, bits: _Array, *, n_threads: int
) -> None: ...
def subset_sums(bits: _Array, values: _Array, sums: _Array, *, n_threads: int) -> None: ...
def project(
    x: _Array, w: _Array, b: _Array | None, activation: str, out: _Array, *, level: str, n_threads: int
) -> None: ...
def moments(
    x: _Array,
    weights: _Array | None,
    origin: _Array,
    sums: _Array,
    scatter: _Array,
    *,
    level: str,
    n_threads: int,
) -> None: ...
def fourier_features(
    x: _Array,
    centre: _Array,
    w: _Array | None,
    signs: _Array | None,
    scales: _Array | None,
    width: int,
    amplitude: float,
    out: _Array,
    *,
    level: str,
    n_threads: int,
) -> None: ...
def fourier_sums(
    x: _Array,
    weights: _Array | None,
    centre: _Array,
    w: _Array | None,
    signs: _Array | None,
    scales: _Array | None,
    width: int,
    sums: _Array,
    *,
    level: str,
    n_threads: int,
) -> None: ...
def gpu_entries() -> dict[str, tuple[str, int, int, int]]: ...
def plan_block_sums(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    stacks: Sequence[_Described],
    weights: Sequence[_Described | None] | None,
    pairs: _Array,
    terms: Sequence[_Term],
    fast: bool,
    sums: _Described,
    diagonals: _Described,
) -> _Launches: ...
def plan_kernel_matrix(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    y: _Described | None,
    terms: Sequence[_Term],
    fast: bool,
    out: _Described,
) -> _Launches: ...
def plan_kernel_matmul(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    y: _Described | None,
    v: _Described,
    terms: Sequence[_Term],
    fast: bool,
    skip_diagonal: bool,
    out: _Described,
) -> _Launches: ...

# Centre (d,); matrix (d, q), or None and signs (3, padded) and scales (padded,); width of H.
_Frequencies = tuple[_Described, _Described | None, _Described | None, _Described | None, int]

def gpu_most_structured_width() -> int: ...
def plan_project(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    w: _Described,
    b: _Described | None,
    activation: str,
    out: _Described,
) -> _Launches: ...
def plan_moments(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    weights: _Described | None,
    origin: _Described,
    sums: _Described,
    scatter: _Described,
) -> _Launches: ...
def plan_fourier_features(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    frequencies: _Frequencies,
    amplitude: float,
    out: _Described,
) -> _Launches: ...
def plan_fourier_sums(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    weights: _Described | None,
    frequencies: _Frequencies,
    sums: _Described,
) -> _Launches: ...
def plan_permuted_sums(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    z: _Described,
    terms: Sequence[_Term],
    bits: _Described,
    rounded: bool,
    sums: _Described,
    row_sums: _Described,
) -> _Launches: ...
def plan_random_assignments(key0: int, key1: int, rows: int, ones: int, bits: _Described) -> _Launches: ...
def plan_subset_sums(bits: _Described, values: _Described, sums: _Described) -> _Launches: ...

# Factors of all items, or of each (c, 3) on the GPU.
def plan_mmd2(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    y: _Described,
    x_weights: _Described | None,
    y_weights: _Described | None,
    factors: Sequence[float] | _Described,
    with_diagonal: bool,
    terms: Sequence[_Term],
    fast: bool,
    values: _Described,
) -> _Launches: ...
def plan_mmd2_grad(
    chip: _Chip,
    allocate: _Allocate,
    dtype: str,
    x: _Described,
    y: _Described,
    x_weights: _Described | None,
    y_weights: _Described | None,
    factors: Sequence[float] | _Described,
    with_diagonal: bool,
    terms: Sequence[_Term],
    stripe_bytes: int,
    values: _Described,
    dx: _Described,
    dy: _Described,
) -> _Launches: ...
