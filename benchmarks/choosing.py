"""What scorers choose on twelve Office-Caltech10 SURF tasks: `python -m benchmarks.choosing --data DIR`."""

from __future__ import annotations

import argparse
import os
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import isthmus as im
import numpy as np
from isthmus.selection import SCORERS, SOURCE_ONLY
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize, scale

FILE = "office_caltech10_surf.npz"
DOMAINS = ("Caltech10", "amazon", "webcam", "dslr")
AXES = 60
METHODS: dict[str, Any] = {
    "StandardScaling": im.StandardScaling(),
    "MeanDiscrepancy": im.MeanDiscrepancy(),
    "CORAL": im.CORAL(ridge=0.001),
    "LinearOT": im.LinearOT(),
    "SubspaceAlignment": im.SubspaceAlignment(20),
    "GFK": im.GFK(20),
    "TCA": im.TCA(20, reg=0.1),
}


def surf(path: Path) -> dict[str, tuple[Any, Any]]:
    """Rows and labels of each domain: histograms that sum to 1, z-scored columns, rows of length 1."""
    with np.load(path, allow_pickle=False) as arrays:
        return {
            name: (normalize(scale(normalize(arrays[f"{name}_X"].astype(float), "l1"))), arrays[f"{name}_y"])
            for name in DOMAINS
        }


def task(source: tuple[Any, Any], target: tuple[Any, Any], folds: int) -> dict[str, tuple[str, float]]:
    """Who chooses, what it chooses and the accuracy of that on held-out target rows."""
    rows = PCA(AXES, random_state=0).fit_transform(np.concatenate([source[0], target[0]]))
    found = im.select_alignment(
        rows[: len(source[0])],
        source[1],
        rows[len(source[0]) :],
        methods=METHODS,
        scorer=list(SCORERS),
        cv=im.DomainSplit(folds, test="both"),
        model=LogisticRegression(C=100, max_iter=1000),
        y_target_test=target[1],
    )
    assert found.target_score is not None
    accuracy = dict(zip(found.methods, (100 * found.target_score.mean(axis=1)).tolist(), strict=True))
    chosen = {scorer: found.choice(scorer)[0] for scorer in SCORERS}
    chosen |= {f"{method} always": method for method in found.methods}
    chosen["the target's own labels"] = max(accuracy, key=lambda method: accuracy[method])
    return {who: (method, accuracy[method]) for who, method in chosen.items()}


def table(tasks: list[dict[str, tuple[str, float]]]) -> str:
    """Markdown: mean accuracy, and on how many tasks source only was kept or would have been better."""
    lines = ["| chosen by | accuracy | tasks with source only | tasks made worse |", "|---|---:|---:|---:|"]
    for who in tasks[0]:
        accuracy = np.mean([one[who][1] for one in tasks])
        kept = sum(one[who][0] == SOURCE_ONLY for one in tasks)
        worse = sum(one[who][1] < one[f"{SOURCE_ONLY} always"][1] for one in tasks)
        lines.append(f"| {who} | {accuracy:.1f} | {kept} | {worse} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 2 if the data are absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choosing", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("ISTHMUS_DATA", beside)),
        metavar="DIR",
        help=f"folder with {FILE} (default: ISTHMUS_DATA)",
    )
    parser.add_argument("--folds", type=int, default=3, help="folds of each domain (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=12, help="the first so many tasks (default: all)")
    options = parser.parse_args(arguments)
    if not (options.data / FILE).exists():
        print(f"{options.data / FILE} is absent: pass --data or set ISTHMUS_DATA", file=sys.stderr)
        return 2
    domains, done = surf(options.data / FILE), []
    for source, target in list(permutations(DOMAINS, 2))[: options.tasks]:
        done.append(task(domains[source], domains[target], options.folds))
        print(f"{source} to {target}: {done[-1]}", file=sys.stderr, flush=True)
    print(table(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
