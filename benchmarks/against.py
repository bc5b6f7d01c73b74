"""This install and another one, each in a child process that stays alive, timed in turns case by case."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from .cases import Case
from .environment import close, environment
from .measure import interleave, plan, ratio
from .table import milliseconds

HERE = Path(__file__).resolve().parent
# The child runs these benchmarks, whatever its install brings: their folder becomes the package `benchmarks`.
START = """
import importlib.util, runpy, sys
spec = importlib.util.spec_from_file_location("benchmarks", {init!r}, submodule_search_locations=[{folder!r}])
sys.modules["benchmarks"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["benchmarks"])
runpy.run_module("benchmarks.worker", run_name="__main__", alter_sys=False)
"""


def install_at(where: str) -> tuple[str, str | None]:
    """(Python, folder for PYTHONPATH or None) of a checkout, a folder that holds the package, or a Python."""
    path = Path(where)
    for folder in (path, path / "python"):
        if (folder / "isthmus" / "__init__.py").is_file():
            return sys.executable, str(folder.resolve())
    if path.is_file() and os.access(path, os.X_OK):
        return str(path.absolute()), None
    raise ValueError(f"--against must be a checkout, a folder that holds isthmus, or a Python; got {where!r}")


class Install:
    """One install in a child process."""

    def __init__(self, python: str, folder: str | None) -> None:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if folder is not None:
            variables["PYTHONPATH"] = folder
        command = [python, "-c", START.format(init=str(HERE / "__init__.py"), folder=str(HERE))]
        self._child = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, question: str, **arguments: Any) -> dict[str, Any]:
        """The child's answer; RuntimeError when it has died."""
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the child must have pipes")
        try:
            self._child.stdin.write(json.dumps([question, arguments]) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer tells
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"the child that ran {question} ended with code {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the child."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


def _one(
    case: Case, installs: dict[str, Install], threads: int, budget: float, rounds: int
) -> dict[str, Any]:
    asked = asdict(case) | {"peers": (), "targets": ()}
    report: dict[str, Any] = {"id": case.id}
    first = {}
    for name, install in installs.items():
        answer = install.ask("prepare", case=asked, threads=threads)
        if "reason" in answer:
            return report | {"status": "skipped", "reason": f"{name}: {answer['reason']}"}
        first[name] = answer["seconds"]
    how = plan(first, budget, rounds)
    # Each turn takes the best of its calls inside the child, so no message is timed.
    seconds: dict[str, list[float]] = {name: [] for name in installs}

    def turn(name: str) -> Any:
        return lambda: seconds[name].append(installs[name].ask("time", repeats=how.repeats)["seconds"])

    interleave({name: turn(name) for name in installs}, type(how)(how.rounds, 1, frozenset()))
    for install in installs.values():
        install.ask("release")
    found = ratio(seconds["other"], seconds["this"])
    return report | {
        "status": "ok",
        "rounds": how.rounds,
        "repeats": how.repeats,
        "seconds": seconds,
        "median_seconds": {name: median(values) for name, values in seconds.items()},
        "ratio": asdict(found) | {"resolved": found.resolved, "text": str(found)},
    }


def run(cases: Sequence[Case], where: str, threads: int, budget: float, rounds: int) -> dict[str, Any]:
    """Every case in both installs, as plain data. "this" is the isthmus that this process imports."""
    import isthmus

    here = str(Path(isthmus.__file__).resolve().parents[1])
    installs = {"this": Install(sys.executable, here), "other": Install(*install_at(where))}
    try:
        report: dict[str, Any] = {
            "environment": environment(threads),
            "installs": {name: install.ask("install") for name, install in installs.items()},
            "cases": [],
        }
        for number, case in enumerate(cases, 1):
            print(f"[{number}/{len(cases)}] {case.id}", file=sys.stderr, flush=True)
            report["cases"].append(_one(case, installs, threads, budget, rounds))
    finally:
        for install in installs.values():
            install.close()
    close(report["environment"])
    return report


def markdown(report: dict[str, Any]) -> str:
    """Both installs and the table of ratios; above 1, this install is faster."""
    lines = [f"{name}: {install['path']}" for name, install in report["installs"].items()]
    if report["environment"]["loaded"]:
        lines += ["", "**The machine was busy.**"]
    lines += [
        "",
        "| case | this, ms | other, ms | this is faster by, [lowest, highest round] |",
        "|---|---:|---:|---|",
    ]
    for case in report["cases"]:
        if case["status"] == "ok":
            this, other = (milliseconds(case["median_seconds"][name]) for name in ("this", "other"))
            lines.append(f"| {case['id']} | {this} | {other} | {case['ratio']['text']} |")
        else:
            lines.append(f"| {case['id']} | {case['status']}: {case['reason']} | | |")
    return "\n".join(lines)
