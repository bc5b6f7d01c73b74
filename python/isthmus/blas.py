"""Linear algebra of matrices so small that the threads of BLAS mostly wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from .arrays import Array

__all__ = ["blas_alone", "eigenpairs"]

SMALL = 512  # rows and columns of a matrix whose eigenvectors several threads find no sooner
WORTH_A_THREAD = 128  # of one whose eigenvectors take a millisecond


def blas_alone(size: int) -> AbstractContextManager[None]:
    """While it lasts BLAS has one thread, if its matrices have at most `SMALL` rows: `size`.

    Threads of OpenBLAS that have nothing left to do spin for tens of milliseconds: the operation that follows
    lacks their processors.
    """
    return _ONE_THREAD if size <= SMALL else nullcontext()


def eigenpairs(matrices: Sequence[Array]) -> list[tuple[Array, Array]]:
    """Eigenvalues (d,) and eigenvectors (d, d) of symmetric matrices (d, d), from `numpy.linalg.eigh`.

    Small ones are decomposed side by side, on as many threads as BLAS may use, each on one: the bits do not
    depend on the number.
    """
    size, n_threads = len(matrices[0]), _ONE_THREAD.n_threads()
    with blas_alone(size):
        if n_threads == 1 or not WORTH_A_THREAD <= size <= SMALL:
            return [_eigh(matrix) for matrix in matrices]
        with ThreadPoolExecutor(min(n_threads, len(matrices))) as pool:
            return list(pool.map(_eigh, matrices))


def _eigh(matrix: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(matrix)
    return values, vectors


class _OneThread(AbstractContextManager[None]):
    """One thread for the BLAS libraries of the process, from the first who enters to the last who leaves.

    The number is the process's: one caller alone that set it and set it back would leave another caller's.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limits: Any = None

    @cached_property
    def _libraries(self) -> Any:
        return ThreadpoolController().select(user_api="blas")

    def n_threads(self) -> int:
        """The most that one of the libraries may use."""
        return max((library["num_threads"] for library in self._libraries.info()), default=1)

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limits = self._libraries.limit(limits=1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.restore_original_limits()


_ONE_THREAD = _OneThread()
