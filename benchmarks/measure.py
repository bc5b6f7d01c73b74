"""Interleaved timing: rounds in alternating order, the best of a few calls in each, ratios with a band."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

from .cases import Case

# Worker threads of BLAS and OpenMP spin for a while after a call; the next contender must not share
# cores with them.
SETTLE_SECONDS = 0.03
FLOOR_SIZE = 1536


@contextmanager
def settings(case: Case, threads: int) -> Iterator[None]:
    """The same number of threads for Isthmus and every peer, and the SIMD level the case names."""
    import isthmus as im
    from isthmus import backends
    from threadpoolctl import threadpool_limits

    count = case.threads or threads
    for name in ("scipy.linalg", "sklearn", "torch"):  # limits reach only libraries that are loaded
        with suppress(ImportError):
            module = importlib.import_module(name)
            if name == "torch":
                module.set_num_threads(count)
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(count))
        stack.enter_context(im.config(n_threads=count))
        if case.level:
            stack.enter_context(backends.simd(case.level))
        yield


def matmul_call(dtype: str) -> Callable[[], Any]:
    """numpy's square matrix product of FLOOR_SIZE rows: the rate that floors are computed from."""
    a = np.full((FLOOR_SIZE, FLOOR_SIZE), 0.5, dtype)
    out = np.zeros_like(a)
    return lambda: np.matmul(a, a, out=out)


MATMUL_FLOPS = 2.0 * FLOOR_SIZE**3


def plan(first_pass_seconds: float, budget_seconds: float, rounds: int) -> tuple[int, int]:
    """(rounds, calls in a round) that fit the budget: rounds even and at least two, at most five calls."""
    passes = int(budget_seconds / max(first_pass_seconds, 1e-6))
    if passes < rounds:
        return max(2, passes // 2 * 2), 1
    return rounds, min(5, passes // rounds)


def interleave(calls: dict[str, Callable[[], Any]], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, one number a round (the best of `repeats`), in the order A B, B A, A B, ..."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in calls if number % 2 == 0 else reversed(calls):
            sleep(SETTLE_SECONDS)
            best = float("inf")
            for _ in range(repeats):
                start = perf_counter()
                calls[name]()
                best = min(best, perf_counter() - start)
            seconds[name].append(best)
    return seconds


@dataclass(frozen=True)
class Ratio:
    """How many times faster Isthmus is than a peer: the median over rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @property
    def resolved(self) -> bool:
        """Whether every round says the same: faster, or slower."""
        return self.low > 1.0 or self.high < 1.0

    def __str__(self) -> str:
        value = f"**{self.median:.2f}**" if self.resolved else f"{self.median:.2f}"
        return f"{value} [{self.low:.2f}, {self.high:.2f}]"


def ratio(peer: list[float], ours: list[float]) -> Ratio:
    """Ratios of the same round only: neighbours in time share the machine's mood."""
    values = [p / o for p, o in zip(peer, ours, strict=True)]
    return Ratio(median(values), min(values), max(values))
