"""A benchmark report as a Markdown table."""

from __future__ import annotations

from typing import Any

from .measure import Ratio


def _milliseconds(seconds: float) -> str:
    value = 1e3 * seconds
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _row(case: dict[str, Any]) -> str:
    if case["status"] != "ok":
        return f"| {case['id']} | {case['status']}: {case['reason']} | | |"
    against = [
        f"{name} ({_milliseconds(case['median_seconds'][name])} ms) "
        f"{Ratio(value['median'], value['low'], value['high'])}"
        for name, value in case["ratios"].items()
    ]
    against += [f"{name}: {reason}" for name, reason in case["skipped"].items()]
    floor = f"{case['percent_of_floor']:.0f} %" if case["percent_of_floor"] is not None else ""
    ours = _milliseconds(case["median_seconds"]["isthmus"])
    return f"| {case['id']} | {ours} | {floor} | {'<br>'.join(against)} |"


def caption(report: dict[str, Any]) -> str:
    """Machine, level, threads, versions, commit and date in one paragraph."""
    where = report["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in where["packages"].items() if number)
    level = where["isthmus"]["simd"]
    busy = " **The machine was busy.**" if where["loaded"] else ""
    return (
        f"{where['cpu']}, {where['threads']} threads, SIMD level {level}; {versions}; "
        f"commit {where['commit']}, {where['date'][:10]}, `{report['tier']}` tier.{busy}"
    )


def markdown(report: dict[str, Any]) -> str:
    """The table, its caption and the memory lines."""
    lines = [
        caption(report),
        "",
        "| case | Isthmus, ms | of the matmul floor | times faster than, [lowest, highest round] |",
        "|---|---:|---:|---|",
        *(_row(case) for case in report["cases"]),
    ]
    for case, bytes_of in report["memory"].items():
        amounts = [
            f"{name} {n / 1e6:.1f} MB" if isinstance(n, int) else f"{name}: {n}"
            for name, n in bytes_of.items()
        ]
        lines += ["", f"Peak extra memory, {case}: {', '.join(amounts)}."]
    return "\n".join(lines)
