"""One case: every contender checked against float64, those that pass timed in turns, targets judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache
from statistics import median
from time import perf_counter
from typing import Any

from isthmus.backends import simd_level

from . import oracle
from .cases import Case, Inputs, inputs
from .floors import floor_flops, fma_rate, fused_floor, shape_call, square_call
from .measure import interleave, plan, ratio, settings
from .peers import NOT_THE_CASE, OURS, ROLES, Unavailable, prepare
from .targets import judge

WARM_SECONDS = 0.5  # a longer call carries its own warm-up
SHAPE, SQUARE = "matmul at the operand shapes", "matmul, square"  # the contenders whose rates give the floors


@lru_cache(maxsize=1)
def _asked(case: Case) -> tuple[Inputs, Any]:
    data = inputs(case)
    return data, oracle.expected(case, data)


def question(case: Case) -> tuple[Inputs, Any]:
    """Inputs of a case and what `oracle.error` needs; the last one asked is kept."""
    return _asked(replace(case, threads=None, level=None, tier="full", peers=(), targets=()))


def measure_case(case: Case, threads: int, budget: float, rounds: int) -> dict[str, Any]:
    """Check every contender of one case, then time those that pass. Nothing unchecked is timed."""
    report: dict[str, Any] = {"id": case.id, "case": asdict(case), "skipped": {}, "errors": {}}
    try:
        with settings(case, threads):
            return report | _checked_and_timed(case, case.threads or threads, report, budget, rounds)
    except RuntimeError as absent:  # a SIMD level this machine lacks
        if case.level is None:
            raise
        return report | {"status": "skipped", "reason": str(absent)}


def _checked_and_timed(
    case: Case, threads: int, report: dict[str, Any], budget: float, rounds: int
) -> dict[str, Any]:
    data, answer = question(case)
    calls: dict[str, Callable[[], Any]] = {}
    first: dict[str, float] = {}
    for name in (OURS, *case.peers):
        try:
            call = prepare(case, name, data, threads)
        except Unavailable as reason:
            if name == OURS:
                return {"status": "skipped", "reason": str(reason)}
            report["skipped"][name] = str(reason)
            continue
        result, first[name] = _timed(call)
        problem = _problem(case, name, data, result, answer, report["errors"])
        if problem and name not in NOT_THE_CASE:
            del first[name]
            if name == OURS:
                return {"status": "failed", "reason": problem}
            report["skipped"][name] = problem
            continue
        del result
        calls[name] = call
    needed = floor_flops(case)
    flops: dict[str, float] = {}
    if needed is not None:
        calls[SHAPE], flops[SHAPE] = shape_call(case)
        calls[SQUARE], flops[SQUARE] = square_call(case.dtype)
        first |= {name: _timed(calls[name])[1] for name in flops}
    how = plan(first, budget, rounds)
    rates = [fma_rate(simd_level(), threads)]
    seconds = interleave(calls, how)
    rates.append(fma_rate(simd_level(), threads))
    ours = seconds[OURS]
    ratios = {name: ratio(values, ours) for name, values in seconds.items() if name not in (OURS, *flops)}
    floors = {
        key: ratio(ours, [(needed or 0.0) / flops[name] * value for value in seconds[name]])
        for key, name in (("shape", SHAPE), ("square", SQUARE))
        if name in flops
    }
    fused = fused_floor(case, simd_level(), max(rates)) if None not in rates else None
    if fused is not None:
        floors["fused"] = ratio(ours, [fused] * len(ours))
    found = {
        "status": "ok",
        "level": simd_level(),
        "rounds": how.rounds,
        "repeats": how.repeats,
        "seconds": seconds,
        "median_seconds": {name: median(values) for name, values in seconds.items()},
        "ratios": {name: asdict(value) | {"resolved": value.resolved} for name, value in ratios.items()},
        "floors": {name: asdict(value) for name, value in floors.items()},
        "fma_flops": None if None in rates else max(rates),
    }
    verdicts = [judge(target, found, ROLES) for target in case.targets if target.level == simd_level()]
    return found | {"targets": [asdict(verdict) | {"text": str(verdict)} for verdict in verdicts]}


def _problem(
    case: Case, name: str, data: Inputs, result: Any, answer: Any, errors: dict[str, float]
) -> str | None:
    """Why a result is not good enough, or None; its error goes into `errors`."""
    promise = oracle.PROMISE[case.operation][case.dtype]
    allowed = promise if name == OURS else promise * oracle.PEER_SLACK[case.operation]
    errors[name] = oracle.error(case, data, result, answer)
    return None if errors[name] <= allowed else f"its error {errors[name]:.1e} exceeds {allowed:.0e}"


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and seconds of one call; a short one is warmed first."""
    for _ in range(2):
        start = perf_counter()
        result = call()
        elapsed = perf_counter() - start
        if elapsed > WARM_SECONDS:
            break
    return result, elapsed
