"""The time a case cannot go below, from rates of the same run: matrix product, vector units, memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from .cases import Case, gammas

SQUARE = 1536  # rows of the square product
SQUARE_FLOPS = 2.0 * SQUARE**3
LARGEST = 400e6  # bytes of a product's result; more rows are left out, the rate is the same
STREAM_BYTES = 256e6
# Vector operations of the RBF epilogue for one vector of pairs: norms, clamp, exponential, sum.
EPILOGUE = {
    "avx2": {"float32": 17, "float64": 22},
    "avx512": {"float32": 15, "float64": 22},
    "amx": {"float32": 15, "float64": 22},
    "neon": {"float32": 17, "float64": 22},
}
FURTHER_BANDWIDTH = 3  # two squarings and one sum


def pairs(case: Case) -> float:
    """Pairs whose kernel value an implementation using symmetry needs, the diagonal apart."""
    n, m = case.n, case.m
    return (n * m + n * (n - 1) / 2 + m * (m - 1) / 2) * max(case.batch, 1)


def floor_flops(case: Case) -> float | None:
    """Multiply-adds, counted twice, of the matrix products that an implementation using symmetry needs.

    None where the case is not bound by a matrix product.
    """
    n, m, d, q = case.n, case.m, case.d, case.q
    if case.kernel == "laplacian":
        return None
    counts = {
        "mmd2": 2.0 * d * pairs(case),
        "mmd2_grad": 6.0 * d * pairs(case),  # Gram, and each tile against both sides' rows
        "kernel_matrix": 2.0 * d * n * m,
        "kernel_matmul": 2.0 * (d + q) * n * m,
        "project": 2.0 * d * q * n,
        "random_features": 1.0 * d * q * n,  # one product for a sine and a cosine
        "features_mean": 1.0 * d * q * n,
        "coral": d * (d + 1.0) * (n + m) + 2.0 * d * d * n,
        "permutation_test": (d + q) * float(n + m) ** 2,
    }
    return counts.get(case.operation)


def _shape(case: Case) -> tuple[int, int, int]:
    """(rows, inner, columns) of the largest product of the task."""
    n, m, d, q = case.n, case.m, case.d, case.q
    return {
        "project": (n, d, q),
        "random_features": (n, d, q // 2),
        "features_mean": (n, d, q // 2),
        "coral": (d, n, d),
        "permutation_test": (n + m, n + m, q),
    }.get(case.operation, (n, d, m))


def shape_call(case: Case) -> tuple[Callable[[], Any], float]:
    """numpy's product at the operand shapes of the case into touched memory, and its flops."""
    rows, inner, columns = _shape(case)
    front = (case.batch,) if case.batch else ()
    size = np.dtype(case.dtype).itemsize
    rows = max(1, min(rows, int(LARGEST / (columns * size * max(case.batch, 1)))))
    a = np.full((*front, rows, inner), 0.5, case.dtype)
    b = np.full((*front, columns, inner), 0.5, case.dtype)
    out = np.zeros((*front, rows, columns), case.dtype)
    b = (
        np.swapaxes(b, -1, -2)
        if case.operation not in ("permutation_test", "coral")
        else b.reshape(inner, -1)
    )
    return lambda: np.matmul(a, b, out=out), 2.0 * rows * inner * columns * max(case.batch, 1)


def square_call(dtype: str) -> tuple[Callable[[], Any], float]:
    """numpy's product of two square matrices that stay in cache, and its flops."""
    a = np.full((SQUARE, SQUARE), 0.5, dtype)
    out = np.zeros_like(a)
    return lambda: np.matmul(a, a, out=out), SQUARE_FLOPS


def fma_rate(level: str, threads: int) -> float | None:
    """float32 flops/s of independent fused multiply-adds on all threads; None where the build cannot tell."""
    from isthmus import _native

    measured = getattr(_native, "fma_rate", None)
    return None if measured is None else float(measured(level=level, n_threads=threads))


def fused_floor(case: Case, level: str, rate: float) -> float | None:
    """Seconds of the fused tile at the measured peak: pairs / lanes x (d + c) vector operations.

    A vector operation takes as long as a fused multiply-add of all lanes, so with `rate` in float32 flops/s
    the lanes cancel; float64 has half of them.
    """
    epilogue = EPILOGUE.get(level, {}).get(case.dtype)
    if case.operation != "mmd2" or case.kernel not in ("rbf", "rbf5") or epilogue is None:
        return None
    operations = case.d + epilogue + FURTHER_BANDWIDTH * (len(gammas(case)) - 1)
    narrower = 4 / np.dtype(case.dtype).itemsize
    return float(pairs(case) * operations * 2.0 / (rate * narrower))


def stream_rate(threads: int) -> float:
    """Bytes/s of a copy between touched arrays on all threads, read and written bytes counted; best of 3."""
    source = np.ones(int(STREAM_BYTES / 4), np.float32)
    target = np.zeros_like(source)
    parts = np.array_split(np.arange(0, len(source) + 1), threads)
    cuts = [(int(part[0]), int(part[-1])) for part in parts]
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(3):
            start = perf_counter()
            list(pool.map(lambda cut: np.copyto(target[slice(*cut)], source[slice(*cut)]), cuts))
            best = min(best, perf_counter() - start)
    return 2.0 * source.nbytes / best
