"""The GPU cases: contenders checked, then timed in turns by events: `python -m benchmarks.gpu --json FILE`.

Prints a short table last. A time is that of one of several calls in a row between two events on the current
stream, launches and their gaps included; medians over rounds in alternating order. The report has the time
of a call alone too, `alone_ms`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from isthmus import backends

from . import gpu_contenders, gpu_oracle, oracle
from .availability import Unavailable, library
from .cases import inputs
from .environment import close, environment
from .gpu_cases import GPU_CASES, GpuCase, floor_milliseconds
from .measure import ratio

ROUNDS, WARM_UP, SLOW = 20, 3, 200.0  # a call of more milliseconds takes part in four rounds
WARM_SECONDS = 0.2  # of calls before the rounds, in which an idle GPU raises its clock
TOGETHER, MOST_TOGETHER = 5.0, 32  # milliseconds of calls in a row
SCHEMA = 1


def run(
    only: str,
    shrink: int,
    rounds: int,
    device: str = "cuda",
    without: Sequence[str] = (),
    keep: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """The whole report as plain data; `keep` gets what there is of it after every case."""
    chosen = [case for case in GPU_CASES if only in case.id]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "shrink": shrink,
        "environment": environment(1) | gpu_environment(),
        "cases": [],
    }
    for number, case in enumerate(chosen, 1):
        begin = perf_counter()
        report["cases"].append(measure(case, shrink, rounds, device, without))
        took = perf_counter() - begin
        print(f"[{number}/{len(chosen)}] {case.id}: {took:.1f} s", file=sys.stderr, flush=True)
        keep(report)
    close(report["environment"])
    keep(report)
    return report


def gpu_environment() -> dict[str, Any]:
    """The GPU, its driver, CUDA and what computes on it."""
    torch = library("torch")
    of_gpu = ("gpu", "cupy", "cuda")
    found = {name: text for name, text in backends.info().items() if name.startswith(of_gpu)}
    if torch.cuda.is_available():
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "gpu_memory_bytes": torch.cuda.get_device_properties(0).total_memory,
            "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
            "torch_cuda": torch.version.cuda,
            "driver": _driver(),
        }
    return found


def _driver() -> str | None:
    """The driver's version as nvidia-smi gives it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def measure(
    gpu_case: GpuCase, shrink: int, rounds: int, device: str, without: Sequence[str] = ()
) -> dict[str, Any]:
    """One case: each contender's error, times and why others are missing."""
    torch = library("torch")
    case = gpu_case.case.shrunk(shrink) if shrink > 1 else gpu_case.case
    host = inputs(case)
    data = {name: torch.from_numpy(getattr(host, name)).to(device) for name in ("x", "y", "v", "b")}
    if case.operation in ("kernel_matrix", "project"):
        columns = case.m if case.operation == "kernel_matrix" else case.q
        data["out"] = torch.empty(case.n, columns, dtype=data["x"].dtype, device=device)
    found: dict[str, Any] = {"id": gpu_case.id, "errors": {}, "skipped": {}}
    found["floor_ms"] = floor_milliseconds(case, gpu_case.fast)
    calls: dict[str, Callable[[], Any]] = {}
    promise = oracle.PROMISE[case.operation][case.dtype]
    for name in gpu_contenders.NAMES:
        if name in without:
            continue
        ours = name == gpu_contenders.OURS
        try:
            call = gpu_contenders.prepare(name, case, data, _free_bytes(device))
            if ours and gpu_case.fast:
                call = gpu_contenders.fast(call)
            error = gpu_oracle.error(case, data, host, call(), ours)
        except Unavailable as reason:
            found["skipped"][name] = str(reason)
            continue
        except Exception as failed:  # a contender's own failure, out of memory among them, ends only its part
            found["skipped"][name] = _failure(failed)
            continue
        finally:
            _release(device)
        found["errors"][name] = error
        if ours:
            found["explanation"] = str(backends.explain())
        most = gpu_case.promise if ours else promise * oracle.PEER_SLACK[case.operation]
        if error <= most:
            calls[name] = call
        else:
            found["skipped"][name] = f"wrong by {error:.1e}, at most {most:.0e}"
    found["milliseconds"], found["alone_ms"], failures = interleave(calls, rounds, device)
    found["skipped"] |= failures
    _release(device)
    return found | _summary(gpu_case, found)


def interleave(
    calls: dict[str, Callable[[], Any]], rounds: int, device: str
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str]]:
    """Milliseconds of each call, one number a round, in the order A B, B A, A B, ...; and why some have none.

    A number is that of one of as many calls in a row as take TOGETHER milliseconds. Second, the least time of
    a call alone on an idle GPU, which waits for what the host does first. Each library keeps the memory it
    has used, so that a call may fail beside the others.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    first: dict[str, float] = {}
    failures: dict[str, str] = {}

    def timed(name: str, count: int = 1) -> float:
        try:
            return _timed(calls[name], count, device)
        except Exception as failed:
            failures[name] = f"beside the others it {_failure(failed)}"
            times.pop(name)
            return 0.0

    begin = perf_counter()
    for turn in range(1000):
        if turn >= WARM_UP and perf_counter() - begin > WARM_SECONDS:
            break
        for name in [*times]:
            first[name] = min(first.get(name, float("inf")), timed(name))
    for number in range(rounds):
        for name in [*times] if number % 2 == 0 else [*reversed(times)]:
            if first[name] <= SLOW or number < 4:
                milliseconds = timed(name, max(1, min(MOST_TOGETHER, int(TOGETHER / max(first[name], 1e-3)))))
                if name in times:
                    times[name].append(milliseconds)
    return times, {name: first[name] for name in times}, failures


def _failure(error: Exception) -> str:
    return f"failed: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"


def _timed(call: Callable[[], Any], count: int, device: str) -> float:
    """Milliseconds a call, of some between two events on a GPU idle at first; of a clock on the CPU."""
    if device == "cpu":
        begin = perf_counter()
        for _ in range(count):
            call()
        return 1e3 * (perf_counter() - begin) / count
    cuda = library("torch").cuda
    cuda.synchronize()
    start, end = (cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        call()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / count


def _free_bytes(device: str) -> float:
    return float(library("torch").cuda.mem_get_info()[0]) if device != "cpu" else 8e9


def _release(device: str) -> None:
    """Give the memory back that torch and CuPy keep for themselves."""
    if device != "cpu":
        library("torch").cuda.empty_cache()
        if "cupy" in sys.modules:
            sys.modules["cupy"].get_default_memory_pool().free_all_blocks()


def _summary(case: GpuCase, found: dict[str, Any]) -> dict[str, Any]:
    """Medians, ratios and whether the targets are met."""
    times = found["milliseconds"]
    medians = {name: median(values) for name, values in times.items()}
    own = medians.get(gpu_contenders.OURS)
    ratios, targets = {}, []
    if own is not None:
        for name, values in times.items():
            if name != gpu_contenders.OURS:
                ratios[name] = asdict(ratio(values, times[gpu_contenders.OURS]))
        if case.milliseconds is not None:
            targets.append([f"<= {case.milliseconds:g} ms", own <= case.milliseconds])
        if case.times_torch is not None:
            against = ratios.get(gpu_contenders.TORCH)
            met = None if against is None else against["median"] >= case.times_torch
            targets.append([f">= {case.times_torch:g} x torch", met])
    return {"median_ms": medians, "ratios": ratios, "targets": targets}


def table(report: dict[str, Any]) -> str:
    """One line a case: time, part of the floor's speed, times faster than each peer, targets."""
    peers = gpu_contenders.NAMES[1:]
    lines = [
        "| case | Isthmus, ms | of floor | " + " | ".join(f"× {name}" for name in peers) + " | target |",
        "|---|---:|---:|" + "---:|" * len(peers) + "---|",
    ]
    for case in report["cases"]:
        own = case["median_ms"].get(gpu_contenders.OURS)
        if own is None:
            why = case["skipped"].get(gpu_contenders.OURS, "not timed")
            lines.append(f"| {case['id']} | {why} |{' |' * (len(peers) + 2)}")
            continue
        ratios = [case["ratios"].get(name) for name in peers]
        cells = [f"{found['median']:.1f}" if found else "" for found in ratios]
        words = {True: "met", False: "**missed**", None: "not measured"}
        verdicts = "<br>".join(f"{text}: {words[met]}" for text, met in case["targets"])
        share = f"{100 * case['floor_ms'] / own:.0f} %"
        lines.append(f"| {case['id']} | {own:.3g} | {share} | {' | '.join(cells)} | {verdicts} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a result of Isthmus was outside its promise or missing, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument("--shrink", type=int, default=1, metavar="N", help="divide rows by N")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="NAME",
        choices=gpu_contenders.NAMES[1:],
        help=f"leave a contender out: {', '.join(gpu_contenders.NAMES[1:])}; may be repeated",
    )
    options = parser.parse_args(arguments)
    try:
        there = library("torch").cuda.is_available()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 2
    if not there:
        print("torch sees no CUDA device: nothing to measure", file=sys.stderr)
        return 2

    def keep(so_far: dict[str, Any]) -> None:
        if options.json:
            options.json.write_text(json.dumps(so_far, indent=1, default=str) + "\n")

    report = run(options.only, options.shrink, options.rounds, without=options.without, keep=keep)
    print(table(report))
    return int(any("isthmus" not in case["median_ms"] for case in report["cases"]))


if __name__ == "__main__":
    sys.exit(main())
