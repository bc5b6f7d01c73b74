"""Isthmus and peers, or two installs, in turns: `python -m benchmarks.compare --quick | --full | ...`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from isthmus.machine import cpu_count

from . import against, memory
from .cases import CASES
from .contest import measure_case
from .environment import close, environment
from .floors import stream_rate
from .table import markdown

SCHEMA = 2
TIERS = {
    "quick": {"budget": 1.0, "rounds": 4},
    "full": {"budget": 8.0, "rounds": 8},
    "sweep": {"budget": 6.0, "rounds": 6},
    "large": {"budget": 0.0, "rounds": 2},
}


def run(tier: str, threads: int, only: str = "", shrink: int = 1, with_memory: bool = True) -> dict[str, Any]:
    """The whole report of one tier as plain data, ready for JSON."""
    limits = TIERS[tier]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "tier": tier,
        "shrink": shrink,
        "environment": environment(threads),
        "stream_bytes_per_second": stream_rate(threads) if shrink == 1 else None,
    }
    chosen = [case for case in CASES if case.tier == tier and only in case.id]
    report["cases"] = []
    for number, case in enumerate(chosen, 1):
        case = case.shrunk(shrink) if shrink > 1 else case
        print(f"[{number}/{len(chosen)}] {case.id}", file=sys.stderr, flush=True)
        report["cases"].append(measure_case(case, threads, limits["budget"], int(limits["rounds"])))
    report["memory"] = {}
    report["memory_limits"] = memory.LIMITS
    if with_memory:
        for case, names in memory.ASKED.items():
            if case.tier == tier and only in case.id:
                print(f"peak memory of {case.id}", file=sys.stderr, flush=True)
                report["memory"][case.id] = {name: memory.measure(case.id, name, threads) for name in names}
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
    tiers.add_argument(
        "--sweep",
        dest="tier",
        action="store_const",
        const="sweep",
        help="mmd2 over n, for `benchmarks.plots`",
    )
    tiers.add_argument(
        "--large", dest="tier", action="store_const", const="large", help="100 000 rows, some minutes"
    )
    parser.add_argument(
        "--against",
        metavar="WHERE",
        help="another install to take turns with: a checkout, a folder that holds isthmus, or a Python",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    parser.add_argument(
        "--threads", type=int, default=cpu_count(), help="for all contenders (default: %(default)s)"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains TEXT")
    parser.add_argument(
        "--shrink", type=int, default=1, metavar="N", help="divide rows by N, to try the machinery"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory of the full tier")
    options = parser.parse_args(arguments)
    if options.threads < 1 or options.shrink < 1:
        parser.error("--threads and --shrink must be at least 1")
    tier = options.tier or "quick"
    if options.against:
        cases = [case for case in CASES if case.tier == tier and options.only in case.id]
        cases = [case.shrunk(options.shrink) for case in cases] if options.shrink > 1 else cases
        limits = TIERS[tier]
        report = against.run(
            cases, options.against, options.threads, limits["budget"] / 2, int(limits["rounds"])
        )
        text = against.markdown(report)
    else:
        report = run(tier, options.threads, options.only, options.shrink, not options.no_memory)
        text = markdown(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, default=str) + "\n")
    print(text)
    return int(any(case["status"] == "failed" for case in report["cases"]))


if __name__ == "__main__":
    sys.exit(main())
