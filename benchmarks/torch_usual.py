"""torch on the CPU as people write it: the plain formula on whole matrices, and autograd through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .availability import library
from .cases import Case, Inputs, kernel_values

Call = Callable[[], Any]


def _tensors(data: Inputs) -> list[Any]:
    torch = library("torch")
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in (data.x, data.y, data.v, data.b)]


def _squared_distances(a: Any, b: Any) -> Any:
    return (a * a).sum(-1).unsqueeze(-1) + (b * b).sum(-1).unsqueeze(-2) - 2 * a @ b.transpose(-1, -2)


def _kernel(case: Case, a: Any, b: Any) -> Any:
    torch = library("torch")
    distances = torch.cdist(a, b, p=1) if case.kernel == "laplacian" else _squared_distances(a, b)
    return kernel_values(case, distances, torch)


def mmd2_of(case: Case, x: Any, y: Any) -> Any:
    """Unbiased squared MMD of two tensors, or of a batch of pairs."""

    def inner(z: Any, rows: int) -> Any:
        kernel = _kernel(case, z, z)
        trace = kernel.diagonal(dim1=-2, dim2=-1).sum(-1)
        return (kernel.sum((-2, -1)) - trace) / (rows * (rows - 1))

    return inner(x, case.n) + inner(y, case.m) - 2 * _kernel(case, x, y).mean((-2, -1))


def mmd2(case: Case, data: Inputs) -> Call:
    """exp(-gamma |x - y|^2) on whole matrices; a batch by batched products."""
    x, y, _, _ = _tensors(data)
    return lambda: mmd2_of(case, x, y).numpy()


def mmd2_grad(case: Case, data: Inputs) -> Call:
    """Value by the plain formula, gradients by autograd."""
    x, y, _, _ = _tensors(data)
    x.requires_grad_(True)
    y.requires_grad_(True)
    grad = library("torch").autograd.grad

    def run() -> tuple[Any, Any, Any]:
        value = mmd2_of(case, x, y)
        dx, dy = grad(value, (x, y))
        return value.detach().numpy(), dx.numpy(), dy.numpy()

    return run


def kernel_matrix(case: Case, data: Inputs) -> Call:
    x, y, _, _ = _tensors(data)
    return lambda: _kernel(case, x, y).numpy()


def kernel_matmul(case: Case, data: Inputs) -> Call:
    x, y, v, _ = _tensors(data)
    return lambda: (_kernel(case, x, y) @ v).numpy()


def random_features(case: Case, data: Inputs) -> Call:
    """sqrt(2 / D) cos(X W + b) into a buffer made beforehand."""
    x, _, w, b = _tensors(data)
    torch = library("torch")
    out = torch.zeros(case.n, case.q, dtype=x.dtype)

    def run() -> tuple[Any, Any, Any]:
        torch.addmm(b, x, w, out=out)
        out.cos_().mul_((2 / case.q) ** 0.5)
        return out.numpy(), data.v, data.b

    return run
