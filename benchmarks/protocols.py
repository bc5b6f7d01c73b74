"""Alignment methods as rows: how each treats the two data sets, what must come out, what is known of it.

Every row first gets what its data set asks for: SURF histograms divided by their sums and z-scored in each
domain (ddof 0, a constant column stays 0), pixels nothing. All source rows are labelled, no target row is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.kernels import Linear

from .published import DIGITS, MEAN, TASKS

NEIGHBOUR, SVM, OWN = "1-NN", "linear SVM", "its own"
HONEST = "1-NN, unit rows"  # the baseline that every other row stands beside


@dataclass(frozen=True)
class Protocol:
    """One method on one data set.

    `estimator` is a name of Isthmus, or None for the rows as they are, made with `parameters`. `unit_in` and
    `unit_out`: rows to unit length before the estimator, and before the classifier. `classifier`: the
    nearest neighbour, a linear SVM with C = 1, or the estimator's own.
    """

    estimator: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    unit_in: bool = False
    unit_out: bool = False
    classifier: str = NEIGHBOUR

    def __str__(self) -> str:
        made = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        steps = ["unit rows"] if self.unit_in else []
        steps += [f"{self.estimator}({made})"] if self.estimator else []
        steps += ["unit rows"] if self.unit_out else []
        return ", ".join(steps + ([] if self.classifier == OWN else [self.classifier]))


@dataclass(frozen=True)
class Method:
    """A row of the tables. `note` says what does not reproduce and the probable reason."""

    name: str
    surf: Protocol
    digits: Protocol
    note: str = ""

    def protocol(self, task: str) -> Protocol:
        """How the method treats the data set of `task`."""
        return self.digits if task == DIGITS else self.surf


@dataclass(frozen=True)
class Gate:
    """The accuracy on `task` (or the mean over SURF) must be `figure` within `tolerance`, in percent."""

    method: str
    task: str
    figure: float
    tolerance: float


DUAL = {"n_components": 100, "kernel": Linear(), "reg": 1.0}
PRIMAL = {"n_components": 100, "reg": 0.1}
TJM = {"kernel": Linear(), "reg": 1.0, "row_factor": 1.0, "n_iter": 10, "normalize": "input"}
JGSA = {"alpha": 1.0, "mu": 1.0, "norm": "marginal", "n_iter": 10, "normalize": "input"}


MEDA = {"n_components": 20, "n_neighbors": 10, "eta": 0.1, "reg": 10.0, "rho": 1.0, "mu": "estimate"}
MEDA |= {"n_iter": 10}


def _joint(**more: Any) -> tuple[Protocol, Protocol]:
    """JDA and its kin, who take rows to unit length themselves, because their 1-NN works on such rows."""
    both = {"n_iter": 10, "normalize": "both"} | more
    estimator = "BDA" if more else "JDA"
    return Protocol(estimator, DUAL | both), Protocol(estimator, PRIMAL | both)


METHODS = (
    Method("1-NN", Protocol(), Protocol(unit_in=True), "The published digits are those of unit rows."),
    Method(HONEST, Protocol(unit_in=True), Protocol(unit_in=True), "Much of what is published is this step."),
    Method(
        "SA",
        Protocol("SubspaceAlignment", {"n_components": 20}),
        Protocol("SubspaceAlignment", {"n_components": 100}, unit_in=True),
    ),
    Method(
        "GFK",
        Protocol("GFK", {"n_components": 20}),
        Protocol("GFK", {"n_components": 100}, unit_in=True),
        "The printed SURF row is lower, probably of other rows or subspaces; the digits agree.",
    ),
    Method(
        "TCA",
        Protocol("TCA", DUAL, unit_in=True, unit_out=True),
        Protocol("TCA", PRIMAL, unit_in=True, unit_out=True),
        "Digits: the solution of the definition is better than the printed 51.2, whose settings are not "
        "given; printed SURF differs by up to 3.9 (A-D), and JDA's first iteration is this TCA.",
    ),
    Method(
        "JDA",
        *_joint(),
        "Single SURF tasks differ from print by up to 3.8, their mean by 0.5; the digits agree.",
    ),
    Method("BDA", *_joint(mu="estimate"), "No SURF mean is published for this protocol."),
    Method("W-BDA", *_joint(mu=1.0, weighted="released"), "No SURF mean is published."),
    Method(
        "TJM",
        Protocol("TJM", TJM | {"n_components": 20}),
        Protocol("TJM", TJM | {"n_components": 100}),
    ),
    Method(
        "JGSA",
        Protocol("JGSA", JGSA | {"n_components": 30, "beta": 0.1}),
        Protocol("JGSA", JGSA | {"n_components": 100, "beta": 0.01}),
    ),
    Method(
        "CORAL + SVM",
        Protocol("CORAL", {"ridge": 1.0}, classifier=SVM),
        Protocol("CORAL", {"ridge": 1.0}, classifier=SVM),
        "48.8 does not reproduce: it is the CORAL paper's own figure, whose protocol draws 20 rows of each "
        "class, 20 times, and picks C by cross-validation; others could not reproduce it either "
        "(transferlearning#233). No setting is printed for the digits.",
    ),
    Method("EasyTL(c)", *[Protocol("EasyTL", {"align": None}, classifier=OWN)] * 2),
    Method(
        "EasyTL",
        *[Protocol("EasyTL", {"align": "coral"}, classifier=OWN)] * 2,
        "No digits are published; the means are matched too, which z-scored rows do not show.",
    ),
    Method(
        "MEDA",
        *[Protocol("MEDA", MEDA, classifier=OWN)] * 2,
        "The release has no setting for digits: with subspaces of 20 to 40, raw or unit rows, they give 68.6 "
        "to 71.6, so the printed 72.1 is not pinned down.",
    ),
)
NAMES = tuple(method.name for method in METHODS)

# Held to the last row: mean within 0.1, a single task within the larger of 0.5 point and two target rows.
HELD_BY_TASK = ("1-NN", HONEST, "SA", "GFK", "TCA", "JDA")
MEAN_TOLERANCE, TASK_TOLERANCE, TARGET_ROWS = 0.1, 0.5, 2
GATES = (
    Gate("TJM", MEAN, 46.33, 0.1),
    Gate("TJM", DIGITS, 52.25, 0.1),
    Gate("JGSA", MEAN, 50.04, 0.1),
    Gate("JGSA", DIGITS, 68.15, 0.1),
    Gate("EasyTL(c)", MEAN, 45.42, 0.1),
    Gate("EasyTL", MEAN, 50.46, 0.1),
    Gate("MEDA", MEAN, 52.6, 0.3),
    Gate("BDA", MEAN, 46.21, 0.1),
    Gate("W-BDA", MEAN, 47.07, 0.1),
)


def gates(rows_of_target: Mapping[str, int]) -> list[Gate]:
    """Every gate; `rows_of_target` (task -> rows) sets the tolerance of single tasks."""
    from .published import BY_DEFINITION

    found = []
    for name in HELD_BY_TASK:
        figures = BY_DEFINITION[name]
        found += [Gate(name, MEAN, figures.mean or 0.0, MEAN_TOLERANCE)]
        for task in (*TASKS, DIGITS):
            if task in rows_of_target:
                tolerance = max(TASK_TOLERANCE, 100 * TARGET_ROWS / rows_of_target[task])
                found.append(Gate(name, task, figures.of(task) or 0.0, tolerance))
    return [*found, *GATES]
