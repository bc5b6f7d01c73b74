"""The benchmark cases as data: shapes, inputs, kernels, and the arithmetic each case cannot avoid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

# Bandwidths of the five-kernel case, in units of the root of d. Ratio 2, so gammas have ratio 4.
FIVE_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Case:
    """One row of the benchmark table.

    `n` and `m` are the rows of X and Y, `d` their columns. `batch` > 0 means that many independent pairs of
    samples. `q` counts columns of V or W, components or permutations. `threads` and `level` override what the
    command line asks for. `peers` are names in `contenders.CONTENDERS`.
    """

    operation: str
    n: int
    m: int
    d: int
    dtype: str = "float32"
    kernel: str = "rbf"
    threads: int | None = None
    level: str | None = None
    peers: tuple[str, ...] = ()
    tier: str = "full"
    batch: int = 0
    q: int = 0

    @property
    def id(self) -> str:
        """A name that says all that tells this case from the others."""
        rows = f"{self.n}" if self.operation == "project" else f"{self.n}x{self.m}"
        parts = [self.operation, f"{self.batch}x({rows})" if self.batch else rows, f"d{self.d}"]
        parts += [f"q{self.q}"] if self.q else []
        parts += [self.dtype] + ([self.kernel] if self.kernel != "rbf" else [])
        parts += [f"threads{self.threads}"] if self.threads else []
        return "-".join(parts + ([self.level] if self.level else []))

    def shrunk(self, factor: int) -> Case:
        """The same case with `factor` times fewer rows (and batch items), to try the machinery quickly."""
        least = 2 * self.d if self.operation == "coral" else 40  # fewer rows than columns leave the map open
        smaller = replace(self, n=max(self.n // factor, least), m=max(self.m // factor, least))
        return replace(smaller, batch=max(self.batch // factor, 2)) if self.batch else smaller


TORCH = ("torch formula", "torch tiled")
MMD_PEERS = ("numpy formula", "numpy blocked", *TORCH, "scikit-learn")

CASES = (
    # -- quick: under a minute on two cores, checks included
    Case("mmd2", 10_000, 10_000, 64, peers=("numpy blocked", *TORCH), tier="quick"),
    Case("mmd2", 1000, 1000, 512, peers=("numpy blocked", *TORCH), tier="quick"),
    Case("mmd2", 64, 64, 128, batch=512, peers=("numpy formula", *TORCH), tier="quick"),
    Case("mmd2", 2000, 2000, 64, kernel="rbf5", peers=("numpy blocked", *TORCH), tier="quick"),
    Case("mmd2", 2000, 2000, 64, "float64", peers=("numpy blocked", *TORCH), tier="quick"),
    Case("kernel_matrix", 2000, 2000, 128, peers=("numpy formula", *TORCH, "scikit-learn"), tier="quick"),
    Case("kernel_matmul", 4000, 4000, 50, q=40, peers=("numpy blocked", *TORCH), tier="quick"),
    Case("project", 20_000, 0, 512, q=64, peers=("numpy formula", "torch tiled"), tier="quick"),
    Case(
        "coral", 10_000, 10_000, 128, "float64", peers=("numpy formula", "POT LinearTransport"), tier="quick"
    ),
    Case("tca", 400, 400, 20, "float64", q=20, peers=("scipy eigh", "scipy eigsh"), tier="quick"),
    Case("permutation_test", 1000, 1000, 32, q=200, peers=("numpy formula", "torch tiled"), tier="quick"),
    # -- full
    Case("mmd2", 10_000, 10_000, 64, peers=MMD_PEERS),
    Case("mmd2", 10_000, 10_000, 64, threads=1, peers=("torch tiled",)),
    Case("mmd2", 10_000, 10_000, 64, level="avx2", peers=TORCH),
    Case("mmd2", 10_000, 10_000, 64, level="base", peers=TORCH),
    Case("mmd2", 4000, 4000, 512, peers=MMD_PEERS),
    Case("mmd2", 2000, 2000, 2048, peers=MMD_PEERS),
    Case("mmd2", 4000, 4000, 8, peers=MMD_PEERS),
    Case("mmd2", 64, 64, 128, batch=4096, peers=("numpy formula", *TORCH)),
    Case("mmd2", 5000, 5000, 64, kernel="rbf5", peers=MMD_PEERS),
    Case("mmd2", 5000, 5000, 64, "float64", peers=MMD_PEERS),
    Case("mmd2", 5000, 5000, 64, kernel="matern32", peers=("numpy formula", "torch formula")),
    Case("mmd2", 3000, 3000, 32, kernel="laplacian", peers=("scipy cdist", "torch formula")),
    Case("kernel_matrix", 8000, 8000, 128, peers=("numpy formula", *TORCH, "scikit-learn")),
    Case("kernel_matrix", 4000, 4000, 64, "float64", peers=("scipy cdist", "torch tiled", "scikit-learn")),
    Case("kernel_matmul", 20_000, 20_000, 50, q=40, peers=("numpy blocked", *TORCH)),
    Case("project", 200_000, 0, 512, q=64, peers=("numpy formula", "torch tiled")),
    Case("coral", 50_000, 50_000, 256, "float64", peers=("numpy formula", "POT LinearTransport")),
    Case("coral", 50_000, 50_000, 256, peers=("numpy formula", "POT LinearTransport")),
    Case("tca", 2000, 2000, 50, "float64", q=30, peers=("scipy eigh", "scipy eigsh")),
    Case("permutation_test", 2000, 2000, 64, q=500, peers=("numpy formula", "torch tiled")),
)


@dataclass(frozen=True)
class Inputs:
    """Arrays of one case: x (n, d) or (batch, n, d), y likewise, v (m, q) or (d, q), b (q,)."""

    x: np.ndarray[Any, Any]
    y: np.ndarray[Any, Any]
    v: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any]


def _normal(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.dtype(dtype).type)


def inputs(case: Case) -> Inputs:
    """Two normal samples; the second is moved by 0.05 and stretched by 1.05 on every axis."""
    front = (case.batch,) if case.batch else ()
    wide = case.d if case.operation == "project" else case.m
    x = _normal((*front, case.n, case.d), case.dtype, 0)
    y = _normal((*front, case.m, case.d), case.dtype, 1) * np.asarray(1.05, case.dtype) + np.asarray(
        0.05, case.dtype
    )
    v = _normal((wide, case.q), case.dtype, 2) / np.asarray(np.sqrt(wide), case.dtype)
    return Inputs(x, y, v, _normal((case.q,), case.dtype, 3))


def gammas(case: Case) -> tuple[float, ...]:
    """gamma of each RBF kernel of the case, smallest first: 1 / (2 bandwidth^2)."""
    factors = {"rbf": (1.0,), "rbf5": FIVE_BANDWIDTHS}[case.kernel]
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


def floor_flops(case: Case) -> float | None:
    """Multiply-adds, counted twice, of the matrix products that an implementation using symmetry needs.

    None where the case is not bound by a matrix product.
    """
    n, m, d, q = case.n, case.m, case.d, case.q
    halves = n * (n - 1) / 2 + m * (m - 1) / 2
    if case.kernel == "laplacian" or case.operation == "tca":
        return None
    return {
        "mmd2": 2.0 * d * (n * m + halves) * max(case.batch, 1),
        "kernel_matrix": 2.0 * d * n * m,
        "kernel_matmul": 2.0 * (d + q) * n * m,
        "project": 2.0 * d * q * n,
        "coral": d * (d + 1.0) * (n + m) + 2.0 * d * d * n,
        "permutation_test": (d + q) * float(n + m) ** 2,
    }[case.operation]
