"""Pictures of the reports in a folder: `python -m benchmarks.plots DIR [--out DIR]`.

`history.png`: for each case, how many times faster Isthmus is than the best expert, the best usual peer and
the floor, over the commits of the reports. `sweep.png`: time of `mmd2` against n, from the latest `--sweep`.
"""

from __future__ import annotations

import argparse
import json
import sys
from math import ceil
from pathlib import Path
from typing import Any

from .measure import Ratio, ratio
from .peers import OURS, ROLES

COLOURS = {"usual": "#8c8c8c", "expert": "#0072b2", "floor": "#d55e00"}
NAMES = {"usual": "best usual peer", "expert": "best expert", "floor": "matmul floor"}
SWEEP = {  # fixed colours, so a contender keeps its own in every picture
    OURS: "#000000",
    "numpy expert": "#56b4e9",
    "torch expert": "#0072b2",
    "numpy formula": "#e69f00",
    "torch formula": "#cc79a7",
    "scikit-learn": "#009e73",
    "oneDAL": "#f0e442",
    "floor": "#d55e00",
}
MOST_COLUMNS = 4


def reports(folder: Path) -> list[dict[str, Any]]:
    """The reports in a folder, oldest first."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted((report for report in found if "schema" in report), key=lambda r: r["environment"]["date"])


def advantage(case: dict[str, Any]) -> dict[str, Ratio]:
    """Times faster than the best of each role; "floor" is the floor's time over ours."""
    seconds = case["seconds"]
    found: dict[str, Ratio] = {}
    for name in case["ratios"]:
        role = ROLES.get(name)
        mine = ratio(seconds[name], seconds[OURS])
        if role and (role not in found or mine.median < found[role].median):
            found[role] = mine
    if "shape" in case.get("floors", {}):
        floor = case["floors"]["shape"]
        found["floor"] = Ratio(1 / floor["median"], 1 / floor["high"], 1 / floor["low"])
    return found


def history(of: list[dict[str, Any]]) -> Any:
    """A figure of small plots, one a case; None when no report holds a case."""
    from matplotlib.figure import Figure

    by_machine = [
        r for r in of if r["tier"] != "sweep" and r["environment"]["cpu"] == of[-1]["environment"]["cpu"]
    ]
    commits = [f"{r['environment']['commit'] or '?'}"[:7] for r in by_machine]
    lines: dict[str, list[tuple[int, dict[str, Ratio]]]] = {}
    for at, report in enumerate(by_machine):
        for case in report["cases"]:
            if case["status"] == "ok":
                lines.setdefault(case["id"], []).append((at, advantage(case)))
    lines = {case: points for case, points in lines.items() if any(values for _, values in points)}
    if not lines:
        return None
    columns = min(MOST_COLUMNS, len(lines))
    rows = ceil(len(lines) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.5 * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axis, (case, points) in zip(axes, lines.items(), strict=False):
        for role, colour in COLOURS.items():
            known = [(at, values[role]) for at, values in points if role in values]
            if not known:
                continue
            at, values = [k for k, _ in known], [v for _, v in known]
            below = [v.median - v.low for v in values]
            above = [v.high - v.median for v in values]
            axis.errorbar(
                at,
                [v.median for v in values],
                yerr=[below, above],
                color=colour,
                marker="o",
                markersize=4,
                linewidth=1.5,
                elinewidth=1,
                capsize=2,
                label=NAMES[role],
            )
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_yscale("log")
        _plain_ticks(axis)
        axis.set_title(case.replace("-float32", ""), fontsize=8)
        axis.set_xticks(range(len(commits)), commits, rotation=45, ha="right", fontsize=7)
        axis.set_xlim(-0.5, len(commits) - 0.5)
        axis.tick_params(axis="y", labelsize=7)
        axis.grid(axis="y", which="major", color="#e5e5e5", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(lines) :]:
        axis.set_visible(False)
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False, fontsize=9
    )
    figure.supylabel("times faster", fontsize=9)
    figure.supxlabel(_machine(of[-1]), fontsize=8, color="#555555")
    return figure


def _plain_ticks(axis: Any) -> None:
    """A log axis with few, plainly written ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _machine(report: dict[str, Any]) -> str:
    where = report["environment"]
    level = str(where["isthmus"]["simd"]).partition(" ")[0]
    busy = "; the machine was busy" if where["loaded"] else ""
    return f"{where['cpu']}, {where['threads']} threads, {level}, commit {where['commit']}{busy}"


def sweep(report: dict[str, Any]) -> Any:
    """Time against n on logarithmic axes, with the floor from the matrix product of the same run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    series: dict[str, list[tuple[int, float]]] = {}
    for case in sorted((c for c in report["cases"] if c["status"] == "ok"), key=lambda c: c["case"]["n"]):
        n = case["case"]["n"]
        for name in (OURS, *case["ratios"]):
            series.setdefault(name, []).append((n, 1e3 * case["median_seconds"][name]))
        if "shape" in case["floors"]:
            least = case["median_seconds"][OURS] / case["floors"]["shape"]["median"]
            series.setdefault("floor", []).append((n, 1e3 * least))
    if not series:
        return None
    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axis = figure.subplots()
    ends = []
    for name, points in series.items():
        own = name == OURS
        style = "--" if name == "floor" else "-"
        axis.plot(
            [n for n, _ in points],
            [t for _, t in points],
            style,
            color=SWEEP.get(name, "#999999"),
            linewidth=2.5 if own else 1.5,
            marker=None if name == "floor" else "o",
            markersize=5 if own else 3.5,
            zorder=3 if own else 2,
        )
        ends.append(
            (points[-1], "matmul floor" if name == "floor" else name, SWEEP.get(name, "#999999"), own)
        )
    _label_ends(axis, ends)
    sizes = sorted({n for points in series.values() for n, _ in points})
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(sizes, [f"{n:,}".replace(",", " ") for n in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_xlim(sizes[0] * 0.9, sizes[-1] * 2.6)
    axis.set_xlabel("rows of each sample")
    axis.set_ylabel("ms")
    first = next(case for case in report["cases"] if case["status"] == "ok")["case"]
    axis.set_title(f"mmd2, d = {first['d']}, {first['dtype']}", loc="left", fontsize=11)
    axis.grid(which="major", color="#e5e5e5", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(_machine(report), fontsize=8, color="#555555")
    return figure


def _label_ends(axis: Any, ends: list[tuple[tuple[int, float], str, str, bool]]) -> None:
    """Names at the right ends of the lines; those that end together are moved apart."""
    heights: dict[int, float] = {}
    for (n, time), name, colour, own in sorted(ends, key=lambda end: (end[0][0], end[0][1])):
        height = max(time, 1.32 * heights.get(n, 0.0))
        heights[n] = height
        axis.annotate(
            name,
            (n, time),
            xytext=(1.08 * n, height),
            textcoords="data",
            color=colour,
            va="center",
            fontsize=9,
            fontweight="bold" if own else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )


def main(arguments: list[str] | None = None) -> int:
    """Write the pictures there is data for and print their names; 1 if there is none."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds reports (.json)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the pictures go (default: DIR)")
    options = parser.parse_args(arguments)
    out = options.out or options.folder
    of = reports(options.folder)
    if not of:
        print(f"{options.folder} must hold reports, found none", file=sys.stderr)
        return 1
    sweeps = [report for report in of if report["tier"] == "sweep"]
    figures = {"history.png": history(of), "sweep.png": sweep(sweeps[-1]) if sweeps else None}
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(out / name, dpi=150)
            print(out / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
