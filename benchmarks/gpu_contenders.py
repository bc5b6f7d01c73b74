"""Who computes a GPU case: Isthmus through its public interface, torch (eager and compiled), CuPy, KeOps.

Each takes tensors of the case on one device and returns a call; whole matrices where the formula has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .availability import Unavailable, library
from .cases import Case, gammas, isthmus_kernel, kernel_values
from .torch_usual import mmd2_of

Call = Callable[[], Any]
OURS, TORCH, COMPILED, CUPY, KEOPS = "isthmus", "torch", "torch compiled", "CuPy", "KeOps"
NAMES = (OURS, TORCH, COMPILED, CUPY, KEOPS)
WHOLE = 3.0  # matrices of pairs that a plain formula keeps at once


def prepare(name: str, case: Case, data: dict[str, Any], free_bytes: float) -> Call:
    """The call of one contender; `Unavailable` where its library, its memory or its formula is missing."""
    if name == OURS:
        return _ours(case, data)
    if name != KEOPS:
        size = 8 if case.dtype == "float64" else 4
        needed = WHOLE * size * max(case.batch, 1) * _whole(case)
        if needed > free_bytes:
            raise Unavailable(f"needs {needed / 2**30:.0f} GiB, {free_bytes / 2**30:.0f} GiB are free")
    if name == CUPY:
        return _cupy(case, data)
    if name == KEOPS:
        return _keops(case, data)
    call = _torch(case, data)
    if name == COMPILED:
        if case.operation == "permutation_test":
            raise Unavailable("a loop over permutations gains nothing")
        return library("torch").compile(call)
    return call


def fast(call: Call) -> Call:
    """The same of Isthmus under config(precision="fast")."""
    import isthmus as im

    def inside() -> Any:
        with im.config(precision="fast"):
            return call()

    return inside


def _whole(case: Case) -> float:
    """Entries of the largest array that the plain formula keeps."""
    match case.operation:
        case "mmd2" | "mmd2_grad":
            return float(max(case.n, case.m)) ** 2
        case "permutation_test":
            return float(case.n + case.m) ** 2
        case "kernel_matrix" | "kernel_matmul":
            return float(case.n) * case.m
    return float(case.n) * case.q


def _ours(case: Case, data: dict[str, Any]) -> Call:
    import isthmus as im

    x, y, v, b = data["x"], data["y"], data["v"], data["b"]
    match case.operation:
        case "mmd2":
            kernel = isthmus_kernel(case)
            return lambda: im.mmd2(x, y, kernel=kernel)
        case "mmd2_grad":
            kernel = isthmus_kernel(case)
            return lambda: im.mmd2_grad(x, y, kernel=kernel)
        case "kernel_matrix":
            kernel, out = isthmus_kernel(case), data["out"]
            return lambda: im.kernel_matrix(x, y, kernel=kernel, out=out)
        case "kernel_matmul":
            kernel = isthmus_kernel(case)
            return lambda: im.kernel_matmul(x, y, v, kernel=kernel)
        case "project":
            out = data["out"]
            return lambda: im.project(x, v, b, activation="relu", out=out)
        case "random_features" | "features_mean":
            kernel = isthmus_kernel(case)
            features = im.RandomFourierFeatures(n_components=case.q, kernel=kernel, random_state=0).fit(x)
            made_of = np.asarray(features.frequencies_), None, np.asarray(features.mean_)
            if case.operation == "features_mean":
                return lambda: (features.mean(x), *made_of)
            return lambda: (features.transform(x), *made_of)
        case "permutation_test":
            kernels = [im.RBF(gamma=gamma) for gamma in gammas(case)]
            arguments = {"n_permutations": case.q, "random_state": 0}
            return lambda: [im.two_sample_test(x, y, kernel=kernel, **arguments) for kernel in kernels]
    raise ValueError(f"operation is not one of the GPU's: {case.operation!r}")


def _squared(x: Any, y: Any) -> Any:
    return (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * x @ y.T


def _torch(case: Case, data: dict[str, Any]) -> Call:
    """The plain formula; gradients by autograd; permuted sums by one product a kernel."""
    torch = library("torch")
    x, y, v, b = data["x"], data["y"], data["v"], data["b"]
    match case.operation:
        case "mmd2":
            return lambda: mmd2_of(case, x, y)
        case "mmd2_grad":
            left, right = x.clone().requires_grad_(True), y.clone().requires_grad_(True)

            def gradient() -> Any:
                value = mmd2_of(case, left, right)
                return value.detach(), *torch.autograd.grad(value, (left, right))

            return gradient
        case "kernel_matrix":
            return lambda: kernel_values(case, _squared(x, y), torch)
        case "kernel_matmul":
            return lambda: kernel_values(case, _squared(x, y), torch) @ v
        case "project":
            return lambda: torch.relu(torch.addmm(b, x, v))
        case "random_features":
            made_of = v.cpu().numpy(), b.cpu().numpy()
            return lambda: (torch.cos(torch.addmm(b, x, v)) * (2 / case.q) ** 0.5, *made_of)
        case "features_mean":
            half = v[:, : case.q // 2].contiguous()
            made_of = half.cpu().numpy(), None

            def mean() -> Any:
                phases = x @ half
                parts = torch.cos(phases).mean(0), torch.sin(phases).mean(0)
                return torch.cat(parts) * (2 / case.q) ** 0.5, *made_of

            return mean
        case "permutation_test":
            return lambda: _torch_permuted(case, torch.cat([x, y]))
    raise Unavailable(f"no formula of torch for {case.operation}")


def _torch_permuted(case: Case, z: Any) -> Any:
    """The permuted values of every kernel: K stored, one product with all assignments."""
    torch = library("torch")
    n, m = case.n, case.m
    order = torch.rand(case.q + 1, n + m, device=z.device).argsort(1)
    order[0] = torch.arange(n + m, device=z.device)
    u = torch.zeros(n + m, case.q + 1, device=z.device, dtype=z.dtype)
    u.scatter_(0, order[:, :n].T, 1.0)
    squares, found = _squared(z, z), []
    for gamma in gammas(case):
        kernel = torch.exp(-gamma * squares)
        kernel.fill_diagonal_(0)
        product = kernel @ u
        xx, xz, total = (u * product).sum(0), u.T @ kernel.sum(1), kernel.sum()
        within = xx / (n * (n - 1)) + (total - 2 * xz + xx) / (m * (m - 1))
        found.append(within - 2 * (xz - xx) / (n * m))
    return torch.stack(found)


def _cupy(case: Case, data: dict[str, Any]) -> Call:
    cupy = library("cupy")
    if case.operation not in ("mmd2", "kernel_matrix", "kernel_matmul") or case.batch:
        raise Unavailable(f"no formula of CuPy for {case.id}")
    x, y, v = (cupy.from_dlpack(data[name]) for name in ("x", "y", "v"))

    def kernel(a: Any, b: Any) -> Any:
        return kernel_values(case, _squared(a, b), cupy)

    def mmd2() -> Any:
        total = -2 * kernel(x, y).mean()
        for rows in (x, y):
            within = kernel(rows, rows)
            total += (within.sum() - cupy.trace(within)) / (len(rows) * (len(rows) - 1))
        return total

    return {
        "mmd2": mmd2,
        "kernel_matrix": lambda: kernel(x, y),
        "kernel_matmul": lambda: kernel(x, y) @ v,
    }[case.operation]


def _keops(case: Case, data: dict[str, Any]) -> Call:
    if case.operation not in ("mmd2", "kernel_matmul") or case.batch or case.kernel != "rbf":
        raise Unavailable(f"no formula of KeOps for {case.id}")
    lazy = library("pykeops.torch").LazyTensor
    x, y, v, (gamma,) = data["x"], data["y"], data["v"], gammas(case)

    def kernel(a: Any, b: Any) -> Any:
        return (-gamma * ((lazy(a[:, None, :]) - lazy(b[None, :, :])) ** 2).sum(-1)).exp()

    def mmd2() -> Any:
        total = -2 * kernel(x, y).sum(1).double().mean() / len(y)
        for rows in (x, y):
            total += (kernel(rows, rows).sum(1).double().sum() - len(rows)) / (len(rows) * (len(rows) - 1))
        return total

    return mmd2 if case.operation == "mmd2" else lambda: kernel(x, y) @ v
