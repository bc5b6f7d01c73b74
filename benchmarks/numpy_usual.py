"""NumPy's formulas as people write them, on whole matrices; and MMDAgg's method of permuting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .alignment_oracle import covariance
from .cases import Case, Inputs, gammas, kernel_values
from .oracle import permuted_values

Call = Callable[[], Any]


def squared_distances(a: Any, b: Any) -> Any:
    """|a_i - b_j|^2 by one matrix product and whole n x m temporaries."""
    return (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T


def numpy_mmd2(case: Case, data: Inputs) -> Call:
    """Three whole matrices; a batch in a Python loop."""

    def one(x: Any, y: Any) -> Any:
        n, m = len(x), len(y)
        kxx = kernel_values(case, squared_distances(x, x), np)
        kyy = kernel_values(case, squared_distances(y, y), np)
        within = (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
        return within - 2 * kernel_values(case, squared_distances(x, y), np).mean()

    if case.batch:
        return lambda: [one(x, y) for x, y in zip(data.x, data.y, strict=True)]
    return lambda: one(data.x, data.y)


def numpy_kernel_matrix(case: Case, data: Inputs) -> Call:
    return lambda: kernel_values(case, squared_distances(data.x, data.y), np)


def numpy_project(case: Case, data: Inputs) -> Call:
    return lambda: np.maximum(data.x @ data.v + data.b, 0)


def numpy_coral(case: Case, data: Inputs) -> Call:
    """Roots of both covariances by eigendecomposition; the means are matched too."""

    def power(c: Any, exponent: float) -> Any:
        w, u = np.linalg.eigh(c)
        return (u * w**exponent) @ u.T

    def run() -> Any:
        eye = np.eye(case.d, dtype=case.dtype)
        a = power(covariance(data.x) + eye, -0.5) @ power(covariance(data.y) + eye, 0.5)
        return (data.x - data.x.mean(0)) @ a + data.y.mean(0)

    return run


def numpy_permutation_test(case: Case, data: Inputs) -> Call:
    """One kernel matrix, then one product with the 0/1 vector of each permutation."""
    n, m = case.n, case.m
    z = np.concatenate([data.x, data.y])

    def run() -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(0)
        kernel = kernel_values(case, squared_distances(z, z), np)
        np.fill_diagonal(kernel, 0)
        row_sums = kernel.sum(1, dtype=np.float64)
        values = []
        member = np.zeros(n + m, kernel.dtype)
        member[:n] = 1
        for _ in range(case.q + 1):
            values.append(permuted_values((kernel @ member)[:, None], member[:, None], row_sums, n, m)[0])
            member = rng.permutation(member)
        null = np.array(values[1:])
        statistic = numpy_mmd2(case, data)()
        return statistic, (1 + np.sum(null >= values[0])) / (1 + case.q), null

    return run


def mmdagg_permutation_test(case: Case, data: Inputs) -> Call:
    """Stored kernel matrix and three sign products, in float64: the method of MMDAgg (JMLR 24, 2023).

    With u and w the 0/1 marks of the two groups, the products K u, K w and K (u - w) give the sums within
    both groups and, by (u - w)' K (u - w) = u'Ku + w'Kw - 2 u'Kw, the sum between them.
    """
    n, m = case.n, case.m
    (gamma,) = gammas(case)

    def run() -> tuple[Any, Any, Any]:
        from scipy.spatial.distance import cdist

        rng = np.random.default_rng(0)
        z = np.concatenate([data.x, data.y])
        kernel = np.exp(-gamma * cdist(z, z) ** 2)
        np.fill_diagonal(kernel, 0)
        u = np.zeros((n + m, case.q + 1))
        u[:n] = 1
        u[:, 1:] = rng.permuted(u[:, 1:], axis=0)
        w = 1 - u
        xx = np.sum(u * (kernel @ u), 0)
        yy = np.sum(w * (kernel @ w), 0)
        xy = (xx + yy - np.sum((u - w) * (kernel @ (u - w)), 0)) / 2
        values = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
        return values[0], np.mean(values[1:] >= values[0]), values[1:]

    return run
