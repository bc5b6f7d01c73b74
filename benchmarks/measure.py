"""Interleaved timing: rounds in alternating order, the best of a few calls in each, ratios with a band."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep
from typing import Any

from .cases import Case

# Worker threads of BLAS and OpenMP spin for a while after a call; the next contender must not share
# cores with them.
SETTLE_SECONDS = 0.03


@contextmanager
def settings(case: Case, threads: int) -> Iterator[None]:
    """The same number of threads for Isthmus and every peer, and the SIMD level the case names."""
    import isthmus as im
    from isthmus import backends
    from threadpoolctl import threadpool_limits

    count = case.threads or threads
    for name in (
        "scipy.linalg",
        "sklearn",
        "daal4py",
        "torch",
    ):  # limits reach only libraries that are loaded
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


@dataclass(frozen=True)
class Plan:
    """Even `rounds` of `repeats` calls each; contenders named in `slow` join the first two rounds, once."""

    rounds: int
    repeats: int
    slow: frozenset[str]


def plan(first_seconds: dict[str, float], budget_seconds: float, rounds: int) -> Plan:
    """What fits the budget: even rounds, at least two, at most five calls in each.

    A contender that would take more than half the budget alone is slow; its two calls do not count.
    """
    slow = {name for name, seconds in first_seconds.items() if seconds * rounds > 0.5 * budget_seconds}
    if len(slow) == len(first_seconds):
        slow.remove(min(slow, key=lambda name: first_seconds[name]))
    one_pass = sum(seconds for name, seconds in first_seconds.items() if name not in slow)
    passes = int(budget_seconds / max(one_pass, 1e-6))
    if passes < rounds:
        return Plan(max(2, passes // 2 * 2), 1, frozenset(slow))
    return Plan(rounds, min(5, passes // rounds), frozenset(slow))


def best_of(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls."""
    best = float("inf")
    for _ in range(repeats):
        start = perf_counter()
        call()
        best = min(best, perf_counter() - start)
    return best


def interleave(calls: dict[str, Callable[[], Any]], how: Plan) -> dict[str, list[float]]:
    """Seconds of each call, one number a round (the best of its repeats), in the order A B, B A, A B, ..."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(how.rounds):
        for name in calls if number % 2 == 0 else reversed(calls):
            if name in how.slow and number >= 2:
                continue
            sleep(SETTLE_SECONDS)
            seconds[name].append(best_of(calls[name], 1 if name in how.slow else how.repeats))
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
    """Ratios within a round: neighbours in time share the machine's mood. Both lists begin at round one."""
    values = [p / o for p, o in zip(peer, ours, strict=False)]
    return Ratio(median(values), min(values), max(values))
