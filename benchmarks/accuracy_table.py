"""What `benchmarks.tables` measured, as text for a terminal and as Markdown for a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .protocols import METHODS
from .published import DIGITS, MEAN, PUBLISHED, TASKS

KINDS = ("published", "Isthmus", "difference")
CAPTIONS = {
    "surf": "Office-Caltech10, SURF: percent of target rows classified right",
    "digits": "USPS -> MNIST: percent of target rows classified right",
}


def text(report: dict[str, Any]) -> str:
    """The tables, the gates, what does not reproduce, and what was warned of."""
    lines = []
    for data, tasks in _tables(report):
        lines += [CAPTIONS[data], f"{'':27}" + "".join(f"{task:>11.10}" for task in tasks)]
        if data == "surf":
            lines[-1] = f"{'':27}" + "".join(f"{task:>7}" for task in tasks)
        width = 7 if data == "surf" else 11
        for name, kind, cells in _rows(report, tasks):
            shown = name if kind == KINDS[0] else ""
            lines.append(f"{shown:16.16} {kind:10}" + "".join(f"{cell:>{width}}" for cell in cells))
        lines.append("")
    lines += ["Gates", *(f"  {line}" for line in gate_lines(report)), ""]
    lines += ["Protocols and what does not reproduce", *(f"  {line}" for line in notes(report))]
    lines += [
        f"  {name}, {warned}" for name, found in report["methods"].items() for warned in found["warnings"]
    ]
    return "\n".join(lines)


def markdown(report: dict[str, Any]) -> str:
    """The same for a page, with the commit, the versions and the machine."""
    where = report["environment"]
    versions = ", ".join(f"{name} {where['packages'][name]}" for name in ("numpy", "scipy", "scikit-learn"))
    spent = sum(sum(found["seconds"].values()) for found in report["methods"].values())
    lines = [
        f"Commit {where['commit']}, {where['date'][:10]}; {versions}; {where['cpu']}, "
        f"{where['threads']} threads, {spent:.0f} s in all."
    ]
    for data, tasks in _tables(report):
        rows = [f"| method | | {' | '.join(tasks)} |", f"|---|---|{'---:|' * len(tasks)}"]
        rows += [
            f"| {name if kind == KINDS[0] else ''} | {kind} | {' | '.join(cells)} |"
            for name, kind, cells in _rows(report, tasks)
        ]
        lines += ["", f"**{CAPTIONS[data]}**", "", *rows]
    lines += ["", "**Gates**", "", *(f"- {line}" for line in gate_lines(report))]
    lines += ["", "**Protocols and what does not reproduce**", "", *(f"- {line}" for line in notes(report))]
    return "\n".join(lines)


def _tables(report: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    measured = {task for found in report["methods"].values() for task in found["accuracy"]}
    for data, tasks in (("surf", (*TASKS, MEAN)), ("digits", (DIGITS,))):
        if chosen := [task for task in tasks if task in measured]:
            yield data, chosen


def _rows(report: dict[str, Any], tasks: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Method, kind of row and cells; rows without any figure are left out, the first is always there."""
    for name, found in report["methods"].items():
        figures = PUBLISHED.get(name)
        printed = [None if figures is None else figures.of(task) for task in tasks]
        ours = [found["accuracy"].get(task) for task in tasks]
        gaps = [None if a is None or b is None else b - a for a, b in zip(printed, ours, strict=True)]
        for kind, values, shape in zip(KINDS, (printed, ours, gaps), ("g", ".2f", "+.2f"), strict=True):
            if kind == KINDS[0] or any(value is not None for value in values):
                yield name, kind, ["-" if value is None else format(value, shape) for value in values]


def gate_lines(report: dict[str, Any]) -> list[str]:
    """One line for each gate on a mean or a data set; the single tasks of a method share a line."""
    lines = []
    for name in report["methods"]:
        of = [gate for gate in report["gates"] if gate["method"] == name]
        single = [gate for gate in of if gate["task"] in TASKS]
        lines += [_gate_line(gate) for gate in of if gate["task"] not in TASKS]
        missed = [gate for gate in single if not gate["met"]]
        if single:
            lines.append(f"{name}: {len(single) - len(missed)} of {len(single)} single SURF tasks met")
        lines += [_gate_line(gate) for gate in missed]
    return lines or ["none of the methods chosen has one"]


def _gate_line(gate: dict[str, Any]) -> str:
    verdict = "met" if gate["met"] else "MISSED"
    where = "SURF mean" if gate["task"] == MEAN else gate["task"]
    return (
        f"{gate['method']}, {where}: {gate['found']:.2f}, wanted {gate['figure']:.2f} within "
        f"{gate['tolerance']:.2g}: {verdict}"
    )


def notes(report: dict[str, Any]) -> list[str]:
    """How each method was run, and what is known about its figures."""
    lines = []
    for method in METHODS:
        if method.name not in report["methods"]:
            continue
        line = f"{method.name}: {method.surf}"
        line += "" if str(method.digits) == str(method.surf) else f"; digits: {method.digits}"
        for sentence in (method.note, report["methods"][method.name]["absent"]):
            line += f". {sentence.rstrip('.')}" if sentence else ""
        lines.append(line + ".")
    return lines
