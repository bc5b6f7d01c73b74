"""A benchmark report as a Markdown table."""

from __future__ import annotations

from typing import Any

from .measure import Ratio
from .peers import NOT_THE_CASE, ROLES

COLUMNS = ("case", "Isthmus, ms", "× floor", "expert", "usual", "target")


def milliseconds(seconds: float) -> str:
    """Three digits."""
    value = 1e3 * seconds
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _floors(case: dict[str, Any]) -> str:
    floors = case["floors"]
    parts = [f"{floors['shape']['median']:.2f}"] if "shape" in floors else []
    parts += [f"square {floors['square']['median']:.2f}"] if "square" in floors else []
    parts += [f"fused {100 / floors['fused']['median']:.0f} %"] if "fused" in floors else []
    return "<br>".join(parts)


def _against(case: dict[str, Any], role: str) -> str:
    lines = [
        f"{name} ({milliseconds(case['median_seconds'][name])} ms) "
        f"{Ratio(value['median'], value['low'], value['high'])}"
        for name, value in case["ratios"].items()
        if ROLES.get(name) == role
    ]
    lines += [f"{name}: {why}" for name, why in case["skipped"].items() if ROLES.get(name) == role]
    return "<br>".join(lines)


def _row(case: dict[str, Any]) -> str:
    if case["status"] != "ok":
        return f"| {case['id']} | {case['status']}: {case['reason']} |{' |' * (len(COLUMNS) - 2)}"
    targets = [verdict["text"] for verdict in case["targets"]]
    targets += [
        f"{name}: {milliseconds(case['median_seconds'][name])} ms, error {case['errors'][name]:.0e}"
        for name in NOT_THE_CASE
        if name in case["ratios"]
    ]
    cells = (
        case["id"],
        milliseconds(case["median_seconds"]["isthmus"]),
        _floors(case),
        _against(case, "expert"),
        _against(case, "usual"),
        "<br>".join(targets),
    )
    return f"| {' | '.join(cells)} |"


def caption(report: dict[str, Any]) -> str:
    """Machine, level, threads, rates, versions, commit and date in one paragraph."""
    where = report["environment"]
    versions = ", ".join(f"{name} {number}" for name, number in where["packages"].items() if number)
    level = where["isthmus"]["simd"]
    rates = [case["fma_flops"] for case in report["cases"] if case.get("fma_flops")]
    speeds = [f"FMA peak {max(rates) / 1e9:.0f} GF/s"] if rates else []
    if report.get("stream_bytes_per_second"):
        speeds.append(f"copy {report['stream_bytes_per_second'] / 1e9:.1f} GB/s")
    busy = " **The machine was busy.**" if where["loaded"] else ""
    return (
        f"{where['cpu']}, {where['threads']} threads, SIMD level {level}"
        f"{''.join(f', {speed}' for speed in speeds)}; {versions}; "
        f"commit {where['commit']}, {where['date'][:10]}, `{report['tier']}` tier.{busy}"
    )


def markdown(report: dict[str, Any]) -> str:
    """The table, its caption and the memory lines."""
    lines = [
        caption(report),
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---|---:|---:|---|---|---|",
        *(_row(case) for case in report["cases"]),
    ]
    for case, bytes_of in report["memory"].items():
        amounts = [
            f"{name} {n / 1e6:.1f} MB" if isinstance(n, int) else f"{name}: {n}"
            for name, n in bytes_of.items()
        ]
        if case in report.get("memory_limits", {}):
            limit, own = report["memory_limits"][case], bytes_of["isthmus"]
            met = isinstance(own, int) and own <= limit
            amounts.append(f"at most {limit / 1e6:.0f} MB: {'met' if met else '**missed**'}")
        lines += ["", f"Peak extra memory, {case}: {', '.join(amounts)}."]
    return "\n".join(lines)
