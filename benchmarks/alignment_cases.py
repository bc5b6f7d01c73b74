"""The benchmark cases of alignment, and their rows: clusters whose target is moved and stretched."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case
from .targets import Target, goals

CLUSTERED = ("tca", "jda", "kmm", "gfk")
CLUSTERS = 10
DECAY = 0.96  # deviation of an axis over that of the axis before
SHIFT = 0.5  # of the target, in deviations of an axis
CENTRES = {"jda": 0.5}  # spread of the centres, in deviations; 1.5 where not named
SCRIPT = "scipy eigsh"  # K stored once in the case's type, S and B never formed, Lanczos
LANCZOS = ("scipy eigh", SCRIPT, "skada TCA")


def _seconds(most: float) -> tuple[Target, ...]:
    return goals({"seconds": (most, None)})


ALIGNMENT = (
    # -- quick
    Case("coral", 10_000, 10_000, 128, "float64", peers=("numpy formula",), tier="quick"),
    Case("tca", 400, 400, 20, "float64", q=20, peers=("scipy eigh", SCRIPT), tier="quick"),
    # -- full
    Case(
        "tca",
        2000,
        2000,
        50,
        q=30,
        peers=(SCRIPT, "skada TCA"),
        targets=goals({SCRIPT: (2, None), "skada TCA": (60, None)}),
    ),
    Case(
        "tca",
        2000,
        2000,
        50,
        "float64",
        q=30,
        peers=LANCZOS,
        targets=goals({SCRIPT: (2, None), "skada TCA": (60, None)}),
    ),
    Case("tca", 10_000, 10_000, 50, q=30, peers=(SCRIPT,), targets=goals({SCRIPT: (4, None)})),
    Case(
        "jda",
        1000,
        1000,
        800,
        "float64",
        q=100,
        peers=("scipy eigh", "reduced eigh"),
        targets=goals({"scipy eigh": (20, None)}),
    ),
    # QZ, which released code calls, takes minutes at the size of the target
    Case("jda", 250, 250, 800, "float64", q=100, peers=("scipy eig", "scipy eigh", "reduced eigh")),
    Case(
        "kmm",
        2000,
        2000,
        20,
        "float64",
        peers=("300 APG steps", "skada"),
        targets=goals({"300 APG steps": (1.5, None), "skada": (15, None)}),
    ),
    Case("coral", 50_000, 50_000, 256, "float64", peers=("numpy formula", "POT LinearTransport")),
    Case(
        "coral",
        50_000,
        50_000,
        256,
        peers=("numpy formula", "POT LinearTransport", "skada"),
        targets=goals({"numpy formula": (1, None), "POT LinearTransport": (2.5, None), "skada": (8, None)}),
    ),
    Case("linear_ot", 50_000, 50_000, 256, peers=("POT LinearTransport",)),
    Case("gfk", 1000, 1000, 256, "float64", q=40, peers=("numpy formula",)),
    # -- large: ours alone
    Case("tca", 50_000, 50_000, 50, q=30, tier="large", targets=_seconds(180)),
)


def alignment_rows(case: Case) -> tuple[Any, Any, Any]:
    """Rows of both domains (mean squared norm d, or 1 for jda) and the clusters of the source rows."""
    rng = np.random.default_rng(0)
    axes = DECAY ** np.arange(case.d)
    centres = CENTRES.get(case.operation, 1.5) * rng.standard_normal((CLUSTERS, case.d)) * axes
    shift = SHIFT * rng.standard_normal(case.d) * axes
    source, target = (rng.integers(0, CLUSTERS, count) for count in (case.n, case.m))
    x, y = (centres[of] + rng.standard_normal((len(of), case.d)) * axes for of in (source, target))
    y = 1.05 * y + shift
    mean = np.concatenate([x, y]).mean(axis=0)
    x, y = x - mean, y - mean
    if case.operation == "jda":
        x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    else:
        scale = np.sqrt(case.d / np.mean((np.concatenate([x, y]) ** 2).sum(axis=1)))
        x, y = scale * x, scale * y
    return x.astype(case.dtype), y.astype(case.dtype), source
