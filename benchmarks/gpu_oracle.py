"""What a GPU case must give: float64 formulas of torch on the same device, in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import oracle
from .availability import library
from .cases import Case, Inputs, gammas, kernel_values

BLOCK = 4096
SAMPLED_ITEMS = 64
SPREAD_ROWS = 4000  # of the pooled rows, from which the null's standard deviation is estimated


def error(case: Case, data: dict[str, Any], host: Inputs, result: Any, ours: bool) -> float:
    """How far `result` is from the definition, on the scale of `oracle.PROMISE`."""
    match case.operation:
        case "mmd2" if case.batch:
            items = np.linspace(0, case.batch - 1, min(SAMPLED_ITEMS, case.batch)).astype(int).tolist()
            return max(abs(float(result[i]) - mmd2(case, data["x"][i], data["y"][i])) for i in items)
        case "mmd2":
            return abs(float(result) - mmd2(case, data["x"], data["y"]))
        case "permutation_test":
            return _permutation_error(case, data, result, ours)
    found = tuple(_host(part) for part in result) if isinstance(result, tuple) else _host(result)
    if case.operation == "mmd2_grad":
        return _gradient_error(case, data, found)
    return oracle.error(case, host, found, oracle.expected(case, host))


def mmd2(case: Case, x: Any, y: Any) -> float:
    """Unbiased squared MMD in float64."""
    within = sum((_sum(case, z, z) - len(z)) / (len(z) * (len(z) - 1)) for z in (x, y))
    return within - 2 * _sum(case, x, y) / (len(x) * len(y))


def _sum(case: Case, x: Any, y: Any) -> float:
    total = 0.0
    for a in x.double().split(BLOCK):
        for b in y.double().split(BLOCK):
            total += float(_kernel(case, a, b).sum())
    return total


def _kernel(case: Case, a: Any, b: Any) -> Any:
    """From products: for its differences torch launches a block of threads for every pair."""
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :]
    return kernel_values(case, squares.addmm_(a, b.T, alpha=-2).clamp_(min=0), library("torch"))


def _gradient_error(case: Case, data: dict[str, Any], found: Any) -> float:
    """The largest entry's gap beside the largest entry, and the value's on the scale of the gradients'."""
    torch = library("torch")
    x, y = (data[name].double().requires_grad_(True) for name in ("x", "y"))
    if case.n > BLOCK:
        rows = torch.linspace(0, case.n - 1, oracle.SAMPLED_ROWS).long()
        pairs = ((x, y, found[1]), (y, x, found[2]))
        return max(_row_error(case, a.detach(), b.detach(), part, rows) for a, b, part in pairs)
    value = 0.0
    for z in (x, y):
        kernel = _plain(case, z, z)
        value = value + (kernel.sum() - kernel.diagonal().sum()) / (len(z) * (len(z) - 1))
    value = value - 2 * _plain(case, x, y).mean()
    gaps = [
        float(np.abs(part - _host(wanted)).max() / np.abs(_host(wanted)).max())
        for part, wanted in zip(found[1:], torch.autograd.grad(value, (x, y)), strict=True)
    ]
    scale = oracle.PROMISE["mmd2_grad"][case.dtype] / oracle.PROMISE["mmd2"][case.dtype]
    return max(*gaps, scale * abs(float(found[0]) - float(value.detach())))


def _plain(case: Case, a: Any, b: Any) -> Any:
    """The kernel by a formula whose gradient is finite where rows are equal."""
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2 * a @ b.T
    return kernel_values(case, squares, library("torch"))


def _row_error(case: Case, x: Any, y: Any, found: Any, rows: Any) -> float:
    """The gradient in some rows of x, by its formula, beside the sizes of its terms."""
    (gamma,) = gammas(case)
    some = x[rows]
    total, size = some * 0, some[:, :1] * 0
    for other, weight in ((x, 1 / (len(x) * (len(x) - 1))), (y, -1 / (len(x) * len(y)))):
        kernel = -4 * gamma * weight * _kernel(case, some, other)
        total += kernel.sum(1, keepdim=True) * some - kernel @ other
        size += kernel.abs() @ other.norm(dim=1, keepdim=True)
    return float(np.max(np.abs(found[rows.numpy()] - _host(total)) / _host(size)))


def _permutation_error(case: Case, data: dict[str, Any], result: Any, ours: bool) -> float:
    """The statistic's gap, ours; infinite where the null is not spread as its kernel says."""
    torch = library("torch")
    z = torch.cat([data["x"], data["y"]]).double()
    z = z[:: max(1, len(z) // SPREAD_ROWS)]
    squares, count, worst = torch.cdist(z, z) ** 2, len(z), 0.0
    for number, gamma in enumerate(gammas(case)):
        # U-centred, so that the diagonal plays no part (Szekely and Rizzo, Annals of Statistics 42, 2014).
        kernel = torch.exp(-gamma * squares).fill_diagonal_(0)
        rows = kernel.sum(1) / (count - 2)
        centred = kernel - rows - rows[:, None] + kernel.sum() / ((count - 1) * (count - 2))
        centred.fill_diagonal_(0)
        variance = float((centred**2).sum()) / (count * (count - 3))
        spread = (2 * variance) ** 0.5 * (1 / case.n + 1 / case.m)
        null = result[number].null if ours else _host(result[number])[1:]
        if not 0.6 * spread < float(np.std(null)) < 1.6 * spread:
            return float("inf")
        if ours and len(gammas(case)) == 1:
            worst = abs(result[number].statistic - mmd2(case, data["x"], data["y"]))
    return worst


def _host(values: Any) -> Any:
    """A host copy of a tensor or of a CuPy array; None stays."""
    if values is None:
        return None
    if hasattr(values, "get"):
        return values.get()
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
