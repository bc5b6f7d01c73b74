"""The cases of the GPU as data: shapes, targets on an H200, and the time that nothing goes below."""

from __future__ import annotations

from dataclasses import dataclass

from . import oracle
from .case import Case
from .cases import gammas
from .floors import pairs

# Of an H200, a second, nominal but for the last: float32 multiply-adds on plain units, those of float32
# accuracy on tensor cores (three products in TF32), those of precision "fast" (three in bf16), exponentials;
# bytes of a copy as measured.
PLAIN, TENSOR, FAST, EXPONENTIALS, BYTES = 33.45e12, 66e12, 132e12, 4.18e12, 4.3e12
BF16 = 395e12  # multiply-adds a second with 0/1 assignments


@dataclass(frozen=True)
class GpuCase:
    """A case, and what is to be shown: at most `milliseconds`, at least `times_torch` faster than torch."""

    case: Case
    milliseconds: float | None = None
    times_torch: float | None = None
    fast: bool = False  # our part under config(precision="fast")

    @property
    def id(self) -> str:
        return self.case.id + ("-fast" if self.fast else "")

    @property
    def promise(self) -> float:
        """The largest error of our result."""
        return oracle.PROMISE[self.case.operation]["fast" if self.fast else self.case.dtype]


GPU_CASES = (
    GpuCase(Case("mmd2", 10_000, 10_000, 64), 0.40, 10),
    GpuCase(Case("mmd2", 10_000, 10_000, 64, kernel="rbf5")),
    GpuCase(Case("mmd2", 10_000, 10_000, 512), 3.0),
    GpuCase(Case("mmd2", 2000, 2000, 2048)),
    GpuCase(Case("mmd2", 64, 64, 128, batch=4096), 0.25, 5),
    GpuCase(Case("mmd2", 100_000, 100_000, 32), 20),
    GpuCase(Case("mmd2", 10_000, 10_000, 64, "float64")),
    GpuCase(Case("kernel_matrix", 20_000, 20_000, 128), 1.5),
    GpuCase(Case("permutation_test", 100_000, 100_000, 10, q=100), 60),
    GpuCase(Case("permutation_test", 4000, 4000, 10, kernel="rbf20", q=2000), 20),
    GpuCase(Case("mmd2_grad", 256, 256, 2048, kernel="rbf5"), times_torch=5),
    GpuCase(Case("mmd2_grad", 10_000, 10_000, 64)),
    GpuCase(Case("kernel_matmul", 100_000, 100_000, 50, q=40), 60),
    GpuCase(Case("features_mean", 1_000_000, 0, 128, q=1024)),
    GpuCase(Case("random_features", 1_000_000, 0, 128, q=1024)),
    GpuCase(Case("project", 1_000_000, 0, 512, q=64)),
    GpuCase(Case("mmd2", 10_000, 10_000, 64), fast=True),
    GpuCase(Case("mmd2", 10_000, 10_000, 512), fast=True),
    GpuCase(Case("mmd2", 100_000, 100_000, 32), fast=True),
    GpuCase(Case("kernel_matrix", 20_000, 20_000, 128), fast=True),
    GpuCase(Case("kernel_matmul", 100_000, 100_000, 50, q=40), fast=True),
)


def floor_milliseconds(case: Case, fast: bool = False) -> float:
    """The longest of what an implementation of this accuracy cannot avoid: products, exponentials, bytes."""
    n, m, d, q = case.n, case.m, case.d, case.q
    own, size = pairs(case), 8 if case.dtype == "float64" else 4
    products = own * d
    # Where bandwidths have ratio 2, squares of one kernel make another.
    exponentials = own * len(gammas(case)) / (2 if case.kernel == "rbf5" else 1)
    read = size * d * (n + m) * max(case.batch, 1)
    signs = 0.0
    match case.operation:
        case "mmd2_grad":
            products = 3 * own * d
        case "kernel_matrix":
            products, exponentials, read = n * m * d, n * m, read + size * n * m
        case "kernel_matmul":
            products, exponentials, read = n * m * (d + q), n * m, read + size * q * (n + m)
        case "permutation_test":
            signs = own * q * len(gammas(case))
        case "features_mean":
            products, exponentials, read = n * d * q / 2, n * q, size * n * d
        case "random_features":
            products, exponentials, read = n * d * q / 2, n * q, size * n * (d + q)
        case "project":
            products, exponentials, read = n * d * q, 0, size * n * (d + q)
    rate = PLAIN if case.dtype == "float64" else FAST if fast else TENSOR  # float64: as many on tensor cores
    return 1e3 * max(products / rate, signs / BF16, exponentials / EXPONENTIALS, read / BYTES)
