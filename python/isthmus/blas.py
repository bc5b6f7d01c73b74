"""BLAS on the calling thread alone, for matrices so small that its threads mostly wait for each other."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["blas_alone"]

SMALL = 512  # rows and columns of a matrix whose eigenvectors several threads find no sooner


def blas_alone(size: int) -> AbstractContextManager[None]:
    """While it lasts BLAS has one thread, if its matrices have at most `SMALL` rows: `size`.

    Threads of OpenBLAS that have nothing left to do spin for tens of milliseconds: the operation that follows
    lacks their processors.
    """
    return _one_thread() if size <= SMALL else nullcontext()


class _OneThread(AbstractContextManager[None]):
    """One thread for the BLAS libraries of the process, from the first who enters to the last who leaves.

    The number is the process's: one caller alone that set it and set it back would leave another caller's.
    """

    def __init__(self) -> None:
        self._libraries = ThreadpoolController().select(user_api="blas")
        self._lock = Lock()
        self._inside = 0
        self._limits: Any = None

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


@cache
def _one_thread() -> _OneThread:
    return _OneThread()
