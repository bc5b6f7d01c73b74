"""The benchmark cases as data: shapes, inputs, kernels, and the arithmetic each case cannot avoid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .alignment_cases import ALIGNMENT, CLUSTERED, alignment_rows
from .case import ONE_SAMPLE, Case
from .targets import Target, goals

__all__ = [
    "CASES",
    "EXPERTS",
    "FIVE_BANDWIDTHS",
    "Case",
    "Inputs",
    "gammas",
    "inputs",
    "isthmus_kernel",
    "kernel_values",
]

# Bandwidths of the five-kernel case, in units of the root of d. Ratio 2, so gammas have ratio 4.
FIVE_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
TWENTY_BANDWIDTHS = tuple(2.0 ** ((k - 10) / 4) for k in range(20))

# Peers: the plain formula or a library call ("usual"), and the best script of a specialist ("expert").
EXPERTS = ("numpy expert", "torch expert")
MMD_PEERS = ("numpy formula", "torch formula", "scikit-learn", "oneDAL", *EXPERTS)
QUICK = ("torch formula", *EXPERTS)
FEATURES = ("scikit-learn", "torch formula", *EXPERTS)

CASES = (
    # -- quick: under a minute on two cores, checks included
    Case("mmd2", 10_000, 10_000, 64, peers=EXPERTS, tier="quick"),
    Case("mmd2", 1000, 1000, 512, peers=QUICK, tier="quick"),
    Case("mmd2", 4000, 4000, 16, peers=EXPERTS, tier="quick"),
    Case("mmd2", 64, 64, 128, batch=512, peers=QUICK, tier="quick"),
    Case("mmd2", 2000, 2000, 64, kernel="rbf5", peers=("one bandwidth", *EXPERTS), tier="quick"),
    Case("mmd2", 2000, 2000, 64, "float64", peers=QUICK, tier="quick"),
    Case("mmd2_grad", 2000, 2000, 64, peers=("torch autograd", *EXPERTS), tier="quick"),
    Case("kernel_matrix", 2000, 2000, 64, peers=(*QUICK, "oneDAL"), tier="quick"),
    Case("kernel_matmul", 4000, 4000, 64, q=32, peers=QUICK, tier="quick"),
    Case("permutation_test", 1000, 1000, 20, q=199, peers=EXPERTS, tier="quick"),
    Case("random_features", 20_000, 0, 128, q=1024, peers=("torch formula", *EXPERTS), tier="quick"),
    Case("features_mean", 50_000, 0, 128, q=1024, peers=EXPERTS, tier="quick"),
    Case("project", 20_000, 0, 512, q=64, peers=("numpy formula", "torch expert"), tier="quick"),
    # -- full: the targets of the CPU engine
    Case(
        "mmd2",
        10_000,
        10_000,
        64,
        peers=MMD_PEERS,
        targets=goals({"floor": (0.75, 0.45), "usual": (7, 12), "expert": (1.6, 2.7)}),
    ),
    Case(
        "mmd2",
        4000,
        4000,
        512,
        peers=MMD_PEERS,
        targets=goals({"floor": (1.0, 0.5), "usual": (1.9, 3.5)}),
    ),
    Case(
        "mmd2",
        2000,
        2000,
        2048,
        peers=MMD_PEERS,
        targets=(*goals({"floor": (1.05, 0.5)}), Target("usual", 3, "amx")),
    ),
    Case(
        "mmd2",
        4000,
        4000,
        16,
        peers=(*MMD_PEERS, "KeOps"),
        targets=goals({"fused": (0.85, None), "expert": (1.5, None)}),
    ),
    Case(
        "mmd2",
        4000,
        4000,
        64,
        kernel="rbf5",
        peers=("one bandwidth", *MMD_PEERS),
        targets=goals({"one bandwidth": (1.3, None), "expert": (2.5, 3.5)}),
    ),
    Case(
        "mmd2",
        4000,
        4000,
        64,
        "float64",
        peers=MMD_PEERS,
        targets=goals({"floor": (1.1, None), "expert": (1.3, None)}),
    ),
    Case(
        "mmd2",
        64,
        64,
        128,
        batch=4096,
        peers=("numpy formula", "torch formula", *EXPERTS),
        targets=goals({"torch formula": (7, None), "expert": (3, 7)}),
    ),
    Case(
        "mmd2_grad",
        4000,
        4000,
        64,
        peers=("torch autograd", *EXPERTS),
        targets=goals({"torch autograd": (8, None), "expert": (2.2, 3)}),
    ),
    Case(
        "kernel_matrix",
        10_000,
        10_000,
        64,
        peers=("numpy formula", "torch formula", "scikit-learn", "oneDAL", *EXPERTS),
        targets=goals({"usual": (2.2, None)}),
    ),
    Case(
        "kernel_matmul",
        20_000,
        20_000,
        64,
        q=32,
        peers=("torch formula", "KeOps", *EXPERTS),
        targets=goals({"usual": (2.8, None), "expert": (1.7, 2.5)}),
    ),
    Case(
        "permutation_test",
        2000,
        2000,
        20,
        q=999,
        peers=("MMDAgg's method", "numpy formula", *EXPERTS),
        targets=goals({"MMDAgg's method": (25, None), "expert": (3, 6)}),
    ),
    Case("random_features", 200_000, 0, 128, q=1024, peers=FEATURES, targets=goals({"peer": (2, 3)})),
    Case("features_mean", 1_000_000, 0, 128, q=1024, peers=EXPERTS, targets=goals({"expert": (3, None)})),
    Case("random_features", 200_000, 0, 128, q=1024, sampling="structured", peers=EXPERTS),
    Case("features_mean", 1_000_000, 0, 128, q=1024, sampling="structured", peers=EXPERTS),
    # -- full: other levels, kernels and operations
    Case("mmd2", 10_000, 10_000, 64, threads=1, peers=("torch expert",)),
    Case("mmd2", 10_000, 10_000, 64, level="avx2", peers=("torch expert",)),
    Case("mmd2", 10_000, 10_000, 64, level="base", peers=("torch expert",)),
    Case("mmd2", 5000, 5000, 64, kernel="matern32", peers=("numpy formula", "torch formula")),
    Case("mmd2", 3000, 3000, 32, kernel="laplacian", peers=("scipy cdist", "torch formula")),
    Case("project", 200_000, 0, 512, q=64, peers=("numpy formula", "torch expert")),
    # hyppo takes minutes at the size of the target
    Case("permutation_test", 250, 250, 20, "float64", q=99, peers=("hyppo", "MMDAgg's method", *EXPERTS)),
    # -- sweep: time against n
    *(
        Case(
            "mmd2", n, n, 64, peers=("numpy formula", "torch formula", "scikit-learn", *EXPERTS), tier="sweep"
        )
        for n in (250, 500, 1000, 2000, 4000, 8000)
    ),
    Case("mmd2", 16_000, 16_000, 64, peers=EXPERTS, tier="sweep"),
    *ALIGNMENT,
)


@dataclass(frozen=True)
class Inputs:
    """Arrays of one case: x (n, d) or (batch, n, d), y likewise, v (m, q) or (d, q), b (q,).

    Random features: v (d, q/2) holds the frequencies of the paired form, and b phases in [0, 2 pi).
    `labels` (n,) are classes of x, where the case has them.
    """

    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    v: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any] | None = None


def _normal(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.dtype(dtype).type)


def inputs(case: Case) -> Inputs:
    """Two normal samples, the second moved by 0.05 and stretched by 1.05 on every axis; or clusters."""
    if case.operation in CLUSTERED:
        x, y, labels = alignment_rows(case)
        return Inputs(x, y, *(np.zeros(0, case.dtype),) * 2, labels)
    front = (case.batch,) if case.batch else ()
    wide = case.d if case.operation in ONE_SAMPLE else case.m
    x = _normal((*front, case.n, case.d), case.dtype, 0)
    y = _normal((*front, case.m, case.d), case.dtype, 1) * np.asarray(1.05, case.dtype) + np.asarray(
        0.05, case.dtype
    )
    v = _normal((wide, case.q), case.dtype, 2) / np.asarray(np.sqrt(wide), case.dtype)
    if case.operation in ("random_features", "features_mean"):  # N(0, 2 gamma) with gamma = 1 / (2 d)
        phases = np.random.default_rng(3).uniform(0, 2 * np.pi, case.q).astype(case.dtype)
        return Inputs(x, y, v, phases)
    return Inputs(x, y, v, _normal((case.q,), case.dtype, 3))


def gammas(case: Case) -> tuple[float, ...]:
    """gamma of each RBF kernel of the case, smallest first: 1 / (2 bandwidth^2)."""
    factors = {"rbf": (1.0,), "rbf5": FIVE_BANDWIDTHS, "rbf20": TWENTY_BANDWIDTHS}[case.kernel]
    return tuple(sorted(1.0 / (2.0 * case.d * factor**2) for factor in factors))


def kernel_values(case: Case, u: Any, xp: Any) -> Any:
    """Kernel at distances `u`: city-block for the Laplacian, squared Euclidean for the others.

    `xp` is numpy or torch.
    """
    if case.kernel == "laplacian":
        return xp.exp(u * (-1.0 / case.d))
    if case.kernel == "matern32":
        r = xp.sqrt(xp.clip(u, 0.0, None) * (3.0 / case.d))
        return (1.0 + r) * xp.exp(-r)
    values = [xp.exp(u * -gamma) for gamma in gammas(case)]
    return values[0] if len(values) == 1 else sum(values) / len(values)


def isthmus_kernel(case: Case) -> Any:
    """The same kernel as an object of Isthmus."""
    import isthmus as im

    root = float(np.sqrt(case.d))
    return {
        "rbf": lambda: im.RBF(bandwidth=root),
        "rbf5": lambda: im.RBF(bandwidth=[factor * root for factor in FIVE_BANDWIDTHS]),
        "laplacian": lambda: im.Laplacian(scale=float(case.d)),
        "matern32": lambda: im.Matern(nu=1.5, scale=root),
    }[case.kernel]()
