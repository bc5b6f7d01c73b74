"""Isthmus and peers, interleaved: `python -m benchmarks.compare --quick | --full [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from isthmus.machine import cpu_count

from . import memory, oracle
from .cases import CASES, Case, floor_flops, inputs
from .environment import close, environment
from .measure import MATMUL_FLOPS, interleave, matmul_call, plan, ratio, settings
from .peers import OURS, Unavailable, prepare
from .table import markdown

SCHEMA = 1
WARM_SECONDS = 0.5  # a longer call carries its own warm-up
FLOOR = "matmul"  # the contender whose rate gives the floor
TIERS = {"quick": {"budget": 1.5, "rounds": 4}, "full": {"budget": 24.0, "rounds": 8}}


def measure_case(case: Case, threads: int, budget: float, rounds: int) -> dict[str, Any]:
    """Check every contender of one case, then time those that pass. Nothing unchecked is timed."""
    report: dict[str, Any] = {"id": case.id, "case": asdict(case), "skipped": {}, "errors": {}}
    try:
        with settings(case, threads):
            return report | _checked_and_timed(case, report, budget, rounds)
    except RuntimeError as absent:  # a SIMD level this machine lacks
        if case.level is None:
            raise
        return report | {"status": "skipped", "reason": str(absent)}


def _checked_and_timed(case: Case, report: dict[str, Any], budget: float, rounds: int) -> dict[str, Any]:
    data = inputs(case)
    answer = oracle.expected(case, data)
    promise = oracle.PROMISE[case.operation][case.dtype]
    calls, first_pass = {}, 0.0
    for name in (OURS, *case.peers):
        try:
            call = prepare(case, name, data)
        except Unavailable as reason:
            report["skipped"][name] = str(reason)
            continue
        result, seconds_of_one = _timed(call)
        first_pass += seconds_of_one
        report["errors"][name] = oracle.error(case, data, result, answer)
        allowed = promise if name == OURS else promise * oracle.PEER_SLACK
        if report["errors"][name] <= allowed:
            calls[name] = call
        elif name == OURS:
            return {"status": "failed", "reason": f"error {report['errors'][name]:.1e} exceeds {promise:.0e}"}
        else:
            report["skipped"][name] = f"its error {report['errors'][name]:.1e} exceeds {allowed:.0e}"
    flops = floor_flops(case)
    if flops is not None:
        calls[FLOOR] = matmul_call(case.dtype)
        first_pass += _timed(calls[FLOOR])[1]
    rounds, repeats = plan(first_pass, budget, rounds)
    seconds = interleave(calls, rounds, repeats)
    ours = seconds[OURS]
    ratios = {name: ratio(values, ours) for name, values in seconds.items() if name not in (OURS, FLOOR)}
    floor = None
    if flops is not None:
        floors = [flops / MATMUL_FLOPS * matmul for matmul in seconds[FLOOR]]
        floor = 100.0 * median(least / own for least, own in zip(floors, ours, strict=True))
    return {
        "status": "ok",
        "rounds": rounds,
        "repeats": repeats,
        "seconds": seconds,
        "median_seconds": {name: median(values) for name, values in seconds.items()},
        "ratios": {name: asdict(value) | {"resolved": value.resolved} for name, value in ratios.items()},
        "percent_of_floor": floor,
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """Result and seconds of one call; a short one is warmed first."""
    for _ in range(2):
        start = perf_counter()
        result = call()
        elapsed = perf_counter() - start
        if elapsed > WARM_SECONDS:
            break
    return result, elapsed


def run(tier: str, threads: int, only: str = "", shrink: int = 1, with_memory: bool = True) -> dict[str, Any]:
    """The whole report of one tier as plain data, ready for JSON."""
    limits = TIERS[tier]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "tier": tier,
        "shrink": shrink,
        "environment": environment(threads),
    }
    chosen = [case for case in CASES if case.tier == tier and only in case.id]
    report["cases"] = []
    for number, case in enumerate(chosen, 1):
        case = case.shrunk(shrink) if shrink > 1 else case
        print(f"[{number}/{len(chosen)}] {case.id}", file=sys.stderr, flush=True)
        report["cases"].append(measure_case(case, threads, limits["budget"], int(limits["rounds"])))
    report["memory"] = {}
    if with_memory:
        print(f"peak memory of {memory.CASE.id}", file=sys.stderr, flush=True)
        report["memory"] = {memory.CASE.id: {name: memory.measure(name, threads) for name in memory.NAMES}}
    close(report["environment"])
    return report


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a result of Isthmus was outside its promise, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    tiers = parser.add_mutually_exclusive_group()
    tiers.add_argument(
        "--quick", dest="tier", action="store_const", const="quick", help="under a minute (default)"
    )
    tiers.add_argument(
        "--full", dest="tier", action="store_const", const="full", help="every size, some minutes"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    parser.add_argument(
        "--threads", type=int, default=cpu_count(), help="for all contenders (default: %(default)s)"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument(
        "--shrink", type=int, default=1, metavar="N", help="divide rows by N, to try the machinery"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory measurement")
    options = parser.parse_args(arguments)
    if options.threads < 1 or options.shrink < 1:
        parser.error("--threads and --shrink must be at least 1")
    report = run(
        options.tier or "quick", options.threads, options.only, options.shrink, not options.no_memory
    )
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, default=str) + "\n")
    print(markdown(report))
    return int(any(case["status"] == "failed" for case in report["cases"]))


if __name__ == "__main__":
    sys.exit(main())
