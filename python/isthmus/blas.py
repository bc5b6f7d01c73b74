"""Linear algebra of matrices so small that the threads of BLAS mostly wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from threading import current_thread, main_thread
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from .arrays import Array

__all__ = ["blas_alone", "eigenpairs"]

SMALL = 512  # rows and columns of a matrix whose eigenvectors several threads find no sooner
WORTH_A_THREAD = 128  # of one whose eigenvectors take a millisecond


def blas_alone(size: int) -> AbstractContextManager[Any]:
    """While it lasts BLAS has one thread, if its matrices have at most `SMALL` rows: `size`.

    Threads of OpenBLAS that have nothing left to do spin for tens of milliseconds: the operation that follows
    lacks their processors. On the main thread alone: from another one OpenBLAS takes no number, neither this
    nor the one to give back.
    """
    return _libraries().limit(limits=1) if size <= SMALL and _is_main() else nullcontext()


def eigenpairs(matrices: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Eigenvalues (d,) and eigenvectors (d, d) of symmetric matrices (d, d), from `numpy.linalg.eigh`.

    Small ones are decomposed side by side, on as many threads as BLAS may use, each on one: the bits do not
    depend on the number.
    """
    size = len(matrices[0])
    n_threads = max((library["num_threads"] for library in _libraries().info()), default=1)
    with blas_alone(size):
        if n_threads == 1 or not WORTH_A_THREAD <= size <= SMALL or not _is_main():
            return [_eigh(matrix) for matrix in matrices]
        with ThreadPoolExecutor(min(n_threads, len(matrices))) as pool:
            return list(pool.map(_eigh, matrices))


def _eigh(matrix: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(matrix)
    return values, vectors


def _is_main() -> bool:
    return current_thread() is main_thread()


@cache
def _libraries() -> Any:
    return ThreadpoolController().select(user_api="blas")
