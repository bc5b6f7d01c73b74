"""What Isthmus is compared with: NumPy, SciPy, scikit-learn and POT here, torch in `torch_peers`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from . import ours, torch_peers
from .cases import Case, Inputs, gammas, kernel_values
from .oracle import covariance, permuted_values

Call = Callable[[], Any]
NUMPY_TILE = (256, 2048)  # rows, columns: 2 MB of float32


class Unavailable(Exception):
    """This contender cannot run here; the message says why."""


def library(name: str) -> Any:
    """Import a peer's library, or say that it is missing."""
    try:
        return import_module(name)
    except ImportError as absent:
        raise Unavailable(f"{name} is not installed") from absent


def room_for(n_bytes: float) -> None:
    """Refuse a formula whose whole matrices would not fit in memory."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = 1024 * int(fields["MemAvailable"].split()[0])
    if n_bytes > 0.8 * available:
        raise Unavailable(f"needs {n_bytes / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are free")


def tiles(
    n: int, m: int, rows: int, columns: int, symmetric: bool
) -> Iterator[tuple[int, int, int, int, bool]]:
    """Tiles that cover n x m, or its upper half: row start and end, column start and end, on the diagonal."""
    for r0 in range(0, n, rows):
        r1 = min(r0 + rows, n)
        if symmetric:
            yield r0, r1, r0, r1, True
        for c0 in range(r1 if symmetric else 0, m, columns):
            yield r0, r1, c0, min(c0 + columns, m), False


# -- the formula as people write it: whole matrices ----------------------------------------------------------


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


# -- NumPy by someone who minds the cache --------------------------------------------------------------------


def augmented(z: Any, gamma: float, mean: Any) -> tuple[Any, Any]:
    """Rows a_i, b_j with <a_i, b_j> = -gamma |z_i - z_j|^2: one product gives the exponent."""
    z = (z - mean) * np.asarray(np.sqrt(2 * gamma), z.dtype)
    half = (-0.5 * (z * z).sum(1, keepdims=True)).astype(z.dtype)
    one = np.ones_like(half)
    return np.hstack([z, half, one]), np.hstack([z, one, half])


def numpy_blocked_mmd2(case: Case, data: Inputs) -> Call:
    """Tiles that stay in cache, exponent in place, symmetric halves, gammas of ratio 4 by squaring."""
    rows, columns = NUMPY_TILE
    buffer = np.empty(rows * max(rows, columns), case.dtype)
    count = len(gammas(case))

    def pair_sum(a: Any, b: Any, symmetric: bool) -> float:
        total = 0.0
        for r0, r1, c0, c1, diagonal in tiles(len(a), len(b), rows, columns, symmetric):
            tile = buffer[: (r1 - r0) * (c1 - c0)].reshape(r1 - r0, c1 - c0)
            np.matmul(a[r0:r1], b[c0:c1].T, out=tile)
            np.exp(tile, out=tile)
            for step in range(count):
                if step:
                    np.square(tile, out=tile)
                    np.square(tile, out=tile)
                part = float(tile.sum())
                total += part - float(np.trace(tile)) if diagonal else 2 * part if symmetric else part
        return total / count

    def run() -> float:
        n, m = case.n, case.m
        z = np.concatenate([data.x, data.y])
        a, b = augmented(z, gammas(case)[0], z.mean(0))
        within = pair_sum(a[:n], b[:n], True) / (n * (n - 1)) + pair_sum(a[n:], b[n:], True) / (m * (m - 1))
        return within - 2 * pair_sum(a[:n], b[n:], False) / (n * m)

    return run


def numpy_blocked_matmul(case: Case, data: Inputs) -> Call:
    """K(X, Y) V by tiles."""
    rows, columns = NUMPY_TILE
    buffer = np.empty(rows * columns, case.dtype)
    out = np.zeros((case.n, case.q), case.dtype)

    def run() -> Any:
        mean = data.y.mean(0)
        (gamma,) = gammas(case)
        a, b = augmented(data.x, gamma, mean)[0], augmented(data.y, gamma, mean)[1]
        out[...] = 0
        for r0, r1, c0, c1, _ in tiles(case.n, case.m, rows, columns, False):
            tile = buffer[: (r1 - r0) * (c1 - c0)].reshape(r1 - r0, c1 - c0)
            np.matmul(a[r0:r1], b[c0:c1].T, out=tile)
            np.exp(tile, out=tile)
            out[r0:r1] += tile @ data.v[c0:c1]
        return out

    return run


# -- libraries -----------------------------------------------------------------------------------------------


def sklearn_mmd2(case: Case, data: Inputs) -> Call:
    rbf_kernel = library("sklearn.metrics.pairwise").rbf_kernel

    def run() -> Any:
        n, m = case.n, case.m
        value = 0.0
        for gamma in gammas(case):
            kxx, kyy = rbf_kernel(data.x, gamma=gamma), rbf_kernel(data.y, gamma=gamma)
            value += (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
            value -= 2 * rbf_kernel(data.x, data.y, gamma=gamma).mean()
        return value / len(gammas(case))

    return run


def sklearn_kernel_matrix(case: Case, data: Inputs) -> Call:
    rbf_kernel = library("sklearn.metrics.pairwise").rbf_kernel
    return lambda: rbf_kernel(data.x, data.y, gamma=gammas(case)[0])


def cdist_kernel_matrix(case: Case, data: Inputs) -> Call:
    """scipy's distances, one thread, float64 whatever the input is."""
    cdist = library("scipy.spatial.distance").cdist
    metric = "cityblock" if case.kernel == "laplacian" else "sqeuclidean"
    return lambda: kernel_values(case, cdist(data.x, data.y, metric), np)


def cdist_mmd2(case: Case, data: Inputs) -> Call:
    cdist = library("scipy.spatial.distance").cdist
    metric = "cityblock" if case.kernel == "laplacian" else "sqeuclidean"

    def run() -> Any:
        n, m = case.n, case.m
        kxx, kyy = (kernel_values(case, cdist(z, z, metric), np) for z in (data.x, data.y))
        within = (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
        return within - 2 * kernel_values(case, cdist(data.x, data.y, metric), np).mean()

    return run


def scipy_tca(case: Case, data: Inputs, *, iterative: bool) -> Call:
    """TCA from the stored kernel matrix; dense pencil, or Lanczos on it with the rank-one term folded in."""
    linalg, sparse = library("scipy.linalg"), library("scipy.sparse.linalg")
    n, m, k = case.n, case.m, case.q
    z = np.concatenate([data.x, data.y])
    gap = np.concatenate([np.full(n, 1.0 / n), np.full(m, -1.0 / m)]) / np.sqrt(1 / n + 1 / m)

    def dense() -> Any:
        kernel = kernel_values(case, squared_distances(z, z), np)
        force = kernel @ gap
        centred = kernel - kernel.mean(0)
        metric = np.eye(n + m) + np.outer(force, force)
        _, a = linalg.eigh(centred.T @ centred, metric, subset_by_index=[n + m - k, n + m - 1])
        return kernel @ (a / np.linalg.norm(a, axis=0))

    def lanczos() -> Any:
        kernel = kernel_values(case, squared_distances(z, z), np)
        force = kernel @ gap
        square = force @ force
        shrink = (1 - 1 / np.sqrt(1 + square)) / square

        def whiten(vector: Any) -> Any:
            return vector - shrink * force * (force @ vector)

        def apply(vector: Any) -> Any:
            image = kernel @ whiten(vector.ravel())
            return whiten(kernel @ (image - image.mean()))

        operator = sparse.LinearOperator((n + m, n + m), matvec=apply, dtype=np.float64)
        _, y = sparse.eigsh(operator, k=k, tol=1e-8, v0=np.random.default_rng(0).standard_normal(n + m))
        a = y - shrink * np.outer(force, force @ y)
        return kernel @ (a / np.linalg.norm(a, axis=0))

    return lanczos if iterative else dense


def pot_linear_transport(case: Case, data: Inputs) -> Call:
    """The same covariance match by the other root: A (Cs + I) A = Ct + I with A symmetric."""
    da = library("ot.da")
    return lambda: da.LinearTransport(reg=1.0).fit(Xs=data.x, Xt=data.y).transform(Xs=data.x)


def _torch(operation: Callable[[Any, Case, Inputs], Call], case: Case, data: Inputs) -> Call:
    return operation(library("torch"), case, data)


# (operation, contender) -> what prepares the call. What a specialist would do once is done in preparation.
CONTENDERS: dict[tuple[str, str], Callable[[Case, Inputs], Call]] = {
    ("mmd2", "numpy formula"): numpy_mmd2,
    ("mmd2", "numpy blocked"): numpy_blocked_mmd2,
    ("mmd2", "scikit-learn"): sklearn_mmd2,
    ("mmd2", "scipy cdist"): cdist_mmd2,
    ("mmd2", "torch formula"): partial(_torch, torch_peers.formula_mmd2),
    ("mmd2", "torch tiled"): partial(_torch, torch_peers.tiled_mmd2),
    ("kernel_matrix", "numpy formula"): numpy_kernel_matrix,
    ("kernel_matrix", "scikit-learn"): sklearn_kernel_matrix,
    ("kernel_matrix", "scipy cdist"): cdist_kernel_matrix,
    ("kernel_matrix", "torch formula"): partial(_torch, torch_peers.formula_kernel_matrix),
    ("kernel_matrix", "torch tiled"): partial(_torch, torch_peers.tiled_kernel_matrix),
    ("kernel_matmul", "numpy blocked"): numpy_blocked_matmul,
    ("kernel_matmul", "torch formula"): partial(_torch, torch_peers.formula_kernel_matmul),
    ("kernel_matmul", "torch tiled"): partial(_torch, torch_peers.tiled_kernel_matmul),
    ("project", "numpy formula"): numpy_project,
    ("project", "torch tiled"): partial(_torch, torch_peers.tiled_project),
    ("coral", "numpy formula"): numpy_coral,
    ("coral", "POT LinearTransport"): pot_linear_transport,
    ("tca", "scipy eigh"): partial(scipy_tca, iterative=False),
    ("tca", "scipy eigsh"): partial(scipy_tca, iterative=True),
    ("permutation_test", "numpy formula"): numpy_permutation_test,
    ("permutation_test", "torch tiled"): partial(_torch, torch_peers.product_permutation_test),
}

OURS = "isthmus"
STORES_MATRICES = ("numpy formula", "torch formula", "scikit-learn", "scipy cdist")


def prepare(case: Case, name: str, data: Inputs) -> Call:
    """The call of contender `name`; raises Unavailable with the reason where it cannot run."""
    if name in STORES_MATRICES and case.operation not in ("coral", "project"):
        room_for(4.0 * np.dtype(case.dtype).itemsize * case.n * case.m)
    return ours.contender(case, data) if name == OURS else CONTENDERS[case.operation, name](case, data)
