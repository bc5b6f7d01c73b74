"""Published accuracies of alignment beside ours: `python -m benchmarks.tables --data DIR`.

Office-Caltech10 (SURF, 12 tasks) and USPS -> MNIST. The data are not part of the project: DIR holds
office_caltech10_surf.npz and usps_to_mnist.npz (docs/alignment-tables.md says what is in them).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from isthmus.machine import cpu_count

from . import accuracy_table, readme_table
from .environment import close, environment
from .measure import settings
from .protocols import HONEST, METHODS, NAMES, NEIGHBOUR, OWN, Method, Protocol, gates
from .published import DIGITS, MEAN, TASKS

SCHEMA = 1
SURF_FILE, DIGITS_FILE = "office_caltech10_surf.npz", "usps_to_mnist.npz"
DOMAINS = {"C": "Caltech10", "A": "amazon", "W": "webcam", "D": "dslr"}
MARK = "tables"  # of the generated part of docs/alignment-tables.md


class Task(NamedTuple):
    """Source rows (ns, d) and labels, target rows (nt, d) and the labels they are scored by."""

    X: Any
    y: Any
    X_target: Any
    y_target: Any


class MissingData(Exception):
    """A file of the data is absent or not what it should be; the message says which."""


def default_folder() -> Path:
    """ISTHMUS_DATA, or the folder shared/data beside the repository."""
    return Path(os.environ.get("ISTHMUS_DATA") or Path(__file__).parents[2] / "shared" / "data")


def load_tasks(folder: Path, names: tuple[str, ...]) -> dict[str, Task]:
    """The tasks of `names`, preprocessed as their data set asks for, in float64."""
    found: dict[str, Task] = {}
    surf = [name for name in TASKS if name in names]
    if surf:
        arrays = _arrays(folder, SURF_FILE, [f"{d}_{part}" for d in DOMAINS.values() for part in "Xy"])
        rows = {letter: z_scored(arrays[f"{name}_X"]) for letter, name in DOMAINS.items()}
        labels = {letter: arrays[f"{name}_y"] for letter, name in DOMAINS.items()}
        for name in surf:
            source, target = name.split("-")
            found[name] = Task(rows[source], labels[source], rows[target], labels[target])
    if DIGITS in names:
        arrays = _arrays(folder, DIGITS_FILE, ["Xs", "ys", "Xt", "yt"])
        pixels = (arrays[part].astype(np.float64) for part in ("Xs", "Xt"))
        source, target = pixels
        found[DIGITS] = Task(source, arrays["ys"], target, arrays["yt"])
    return found


def _arrays(folder: Path, file: str, names: list[str]) -> dict[str, Any]:
    path = folder / file
    if not path.is_file():
        raise MissingData(f"{path} is absent: name the folder that holds it with --data or ISTHMUS_DATA")
    with np.load(path, allow_pickle=False) as stored:
        absent = [name for name in names if name not in stored.files]
        if absent:
            raise MissingData(f"{path} must hold the arrays {', '.join(names)}, it lacks {', '.join(absent)}")
        return {name: stored[name] for name in names}


def z_scored(counts: Any) -> Any:
    """Histograms over their sums, then every column to mean 0 and deviation 1 (ddof 0); constants stay 0."""
    rows = counts.astype(np.float64)
    rows /= np.maximum(rows.sum(axis=1, keepdims=True), 1)
    spread = rows.std(axis=0)
    return (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)


def accuracy(protocol: Protocol, task: Task) -> float:
    """Percent of target rows classified right; target labels only score."""
    import isthmus
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import normalize
    from sklearn.svm import SVC

    X, X_target = (normalize(part) if protocol.unit_in else part for part in (task.X, task.X_target))
    if protocol.estimator is not None:
        estimator = getattr(isthmus, protocol.estimator)(**protocol.parameters)
        if protocol.classifier == OWN:
            return float(100 * estimator.fit(X, task.y, X_target).score(X_target, task.y_target))
        X, X_target = estimator.fit_transform(X, task.y, X_target), estimator.transform(X_target)
    if protocol.unit_out:
        X, X_target = normalize(X), normalize(X_target)
    if protocol.classifier == NEIGHBOUR:
        model = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    else:
        model = SVC(kernel="linear", C=1.0)
    return float(100 * model.fit(X, task.y).score(X_target, task.y_target))


def run(tasks: dict[str, Task], methods: list[Method], threads: int) -> dict[str, Any]:
    """Accuracies, seconds, gates and what was warned of, as plain data."""
    report: dict[str, Any] = {"schema": SCHEMA, "environment": environment(threads), "methods": {}}
    from .cases import Case

    with settings(Case("accuracy", 0, 0, 0), threads):
        for method in methods:
            print(method.name, file=sys.stderr, flush=True)
            report["methods"][method.name] = _measured(method, tasks)
    close(report["environment"])
    sizes = {name: len(task.X_target) for name, task in tasks.items()}
    report["gates"] = [
        {"method": gate.method, "task": gate.task, "figure": gate.figure, "tolerance": gate.tolerance}
        | {"found": value, "met": abs(value - gate.figure) <= gate.tolerance + 1e-9}
        for gate in gates(sizes)
        if (value := report["methods"].get(gate.method, {}).get("accuracy", {}).get(gate.task)) is not None
    ]
    return report


def _measured(method: Method, tasks: dict[str, Task]) -> dict[str, Any]:
    import isthmus

    found: dict[str, Any] = {"accuracy": {}, "seconds": {}, "warnings": [], "absent": ""}
    for name, task in tasks.items():
        protocol = method.protocol(name)
        if protocol.estimator is not None and not hasattr(isthmus, protocol.estimator):
            return found | {"absent": f"this version of Isthmus has no {protocol.estimator}"}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            start = perf_counter()
            found["accuracy"][name] = accuracy(protocol, task)
            found["seconds"][name] = perf_counter() - start
        found["warnings"] += [f"{name}: {warning.message}" for warning in said]
    if set(TASKS) <= set(tasks):
        found["accuracy"][MEAN] = float(np.mean([found["accuracy"][name] for name in TASKS]))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; 0 if every gate is met, 1 if one is missed, 2 if data are missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=default_folder(),
        metavar="DIR",
        help="default: ISTHMUS_DATA or %(default)s",
    )
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME")
    every = (*TASKS, DIGITS)
    parser.add_argument("--tasks", nargs="+", choices=every, default=list(every), metavar="TASK")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help=f"fill the part of this page between its {MARK} marks"
    )
    options = parser.parse_args(arguments)
    try:
        tasks = load_tasks(options.data, tuple(options.tasks))
    except MissingData as reason:
        print(reason, file=sys.stderr)
        return 2
    chosen = [method for method in METHODS if method.name in {*options.methods, HONEST}]
    report = run(tasks, chosen, options.threads)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.page:
        page = options.page.read_text()
        options.page.write_text(readme_table.insert(page, accuracy_table.markdown(report), MARK))
    print(accuracy_table.text(report))
    return int(not all(gate["met"] for gate in report["gates"]))


if __name__ == "__main__":
    sys.exit(main())
