"""Libraries that compute a case by a call: scikit-learn, oneDAL, SciPy, POT, KeOps, hyppo."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from .availability import Unavailable, library
from .cases import Case, Inputs, gammas, kernel_values
from .numpy_usual import squared_distances

Call = Callable[[], Any]
LINEAR_OT_REG = 1e-6


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


def pot_linear_transport(case: Case, data: Inputs) -> Call:
    """A (Cs + reg I) A = Ct + reg I with A symmetric: for CORAL the same covariance by the other root."""
    da = library("ot.da")
    reg = 1.0 if case.operation == "coral" else LINEAR_OT_REG
    return lambda: da.LinearTransport(reg=reg).fit(Xs=data.x, Xt=data.y).transform(Xs=data.x)


def _onedal_kernel() -> Callable[..., Any]:
    """oneDAL's RBF kernel as scikit-learn-intelex ships it."""
    rbf_kernel: Callable[..., Any] = library("onedal.primitives").rbf_kernel
    return rbf_kernel


def onedal_kernel_matrix(case: Case, data: Inputs) -> Call:
    rbf_kernel, (gamma,) = _onedal_kernel(), gammas(case)
    return lambda: rbf_kernel(data.x, data.y, gamma=gamma)


def onedal_mmd2(case: Case, data: Inputs) -> Call:
    rbf_kernel = _onedal_kernel()

    def one(gamma: float) -> Any:
        n, m = case.n, case.m
        kxx, kyy = rbf_kernel(data.x, data.x, gamma=gamma), rbf_kernel(data.y, data.y, gamma=gamma)
        within = (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
        return within - 2 * rbf_kernel(data.x, data.y, gamma=gamma).mean()

    return lambda: sum(one(gamma) for gamma in gammas(case)) / len(gammas(case))


def _keops_kernel(case: Case, a: Any, b: Any) -> Any:
    """The symbolic kernel matrix of rows a and b; KeOps compiles its reductions at their first call."""
    with redirect_stdout(sys.stderr):
        pykeops, lazy = library("pykeops"), library("pykeops.numpy").LazyTensor
        pykeops.set_verbose(False)
    (gamma,) = gammas(case)
    rows, columns = lazy(np.ascontiguousarray(a[:, None, :])), lazy(np.ascontiguousarray(b[None, :, :]))
    return (-gamma * ((rows - columns) ** 2).sum(-1)).exp()


def _compile(case: Case, use: Callable[[Any], Any]) -> None:
    """Compile the reduction that `use` asks of a kernel; KeOps needs a compiler at run time."""
    try:
        with redirect_stdout(sys.stderr):
            use(
                _keops_kernel(case, np.zeros((2, case.d), case.dtype), np.zeros((case.m, case.d), case.dtype))
            )
    except Unavailable:
        raise
    except Exception as broken:
        raise Unavailable(f"KeOps cannot compile: {broken}") from broken


def keops_mmd2(case: Case, data: Inputs) -> Call:
    n, m = case.n, case.m

    def total(kernel: Any) -> float:
        return float(np.asarray(kernel.sum(axis=1), np.float64).sum())

    _compile(case, total)
    kxx, kyy, kxy = (
        _keops_kernel(case, a, b) for a, b in ((data.x, data.x), (data.y, data.y), (data.x, data.y))
    )

    def run() -> float:
        within = (total(kxx) - n) / (n * (n - 1)) + (total(kyy) - m) / (m * (m - 1))
        return within - 2 * total(kxy) / (n * m)

    return run


def keops_kernel_matmul(case: Case, data: Inputs) -> Call:
    _compile(case, lambda kernel: kernel @ data.v)
    kernel = _keops_kernel(case, data.x, data.y)
    return lambda: kernel @ data.v


def hyppo_permutation_test(case: Case, data: Inputs) -> Call:
    """hyppo's MMD test. Its statistic is the root of a normalised HSIC; undone here, it is the biased MMD^2.

    With labels 0 and 1, HSIC(K, L) = 2 (1 - k(0, 1)) (n m / N^2)^2 MMD^2; the norms of K and L are hyppo's.
    The permuted values stay inside hyppo.
    """
    test = library("hyppo.ksample").MMD
    n, m = case.n, case.m
    (gamma,) = gammas(case)
    z = np.concatenate([data.x, data.y]).astype(np.float64)
    label = np.repeat([0.0, 1.0], [n, m])[:, None]

    def centred(kernel: Any) -> Any:
        return kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()

    kernel, of_labels = (np.exp(-gamma * squared_distances(a, a)) for a in (z, label))
    norms = [np.linalg.norm(centred(matrix)) for matrix in (kernel, of_labels)]
    to_mmd2 = norms[0] * norms[1] * (n + m) ** 2 / (2 * (1 - np.exp(-gamma)) * (n * m) ** 2)
    sums = ((kernel[:n, :n].sum(), n), (kernel[n:, n:].sum(), m))
    to_unbiased = sum((total - rows) / (rows * (rows - 1)) - total / rows**2 for total, rows in sums)

    def run() -> tuple[float, float, None]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            statistic, p_value = test(compute_kernel="rbf", bias=True, gamma=gamma).test(
                z[:n], z[n:], reps=case.q, auto=False, random_state=0
            )
        biased = (statistic * (n + m) ** 4 / (2 * n**2 * m**2)) ** 2 * to_mmd2
        return biased + to_unbiased, p_value, None

    return run


def sklearn_random_features(case: Case, data: Inputs) -> Call:
    """RBFSampler, given the frequencies and phases of the other contenders."""
    sampler = library("sklearn.kernel_approximation").RBFSampler(n_components=case.q, random_state=0)
    sampler.fit(data.x[:2])
    sampler.random_weights_, sampler.random_offset_ = data.v, data.b
    return lambda: (sampler.transform(data.x), data.v, data.b)
