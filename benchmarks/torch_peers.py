"""torch on the CPU: the plain formula, and the best script a specialist would write with tiles."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np

from .cases import Case, Inputs, gammas, kernel_values

Call = Callable[[], Any]
TILE_ROWS = (512, 256, 1024)  # likeliest first, should the time to tune run out
TILE_COLUMNS = (1024, 512, 2048)
TUNING_ROWS = 3000  # tile sizes are tuned on at most so many rows
TUNING_SECONDS = 3.0


def _tensors(torch: Any, data: Inputs) -> list[Any]:
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in (data.x, data.y, data.v, data.b)]


def _best(build: Callable[..., Call], choices: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The choice whose call ran fastest, of those that could be tried in TUNING_SECONDS."""
    fastest, chosen, begin = float("inf"), choices[0], perf_counter()
    for choice in choices:
        call = build(*choice)
        call()
        for _ in range(2):
            start = perf_counter()
            call()
            elapsed = perf_counter() - start
            if elapsed < fastest:
                fastest, chosen = elapsed, choice
        if perf_counter() - begin > TUNING_SECONDS:
            break
    return chosen


# -- the formula as people write it --------------------------------------------------------------------------


def _squared_distances(a: Any, b: Any) -> Any:
    return (a * a).sum(-1).unsqueeze(-1) + (b * b).sum(-1).unsqueeze(-2) - 2 * a @ b.transpose(-1, -2)


def _distances(torch: Any, case: Case, a: Any, b: Any) -> Any:
    return torch.cdist(a, b, p=1) if case.kernel == "laplacian" else _squared_distances(a, b)


def formula_mmd2(torch: Any, case: Case, data: Inputs) -> Call:
    """exp(-gamma |x - y|^2) on whole matrices; a batch by batched products."""
    x, y, _, _ = _tensors(torch, data)
    n, m = case.n, case.m

    def inner(z: Any, rows: int) -> Any:
        kernel = kernel_values(case, _distances(torch, case, z, z), torch)
        trace = kernel.diagonal(dim1=-2, dim2=-1).sum(-1)
        return (kernel.sum((-2, -1)) - trace) / (rows * (rows - 1))

    def run() -> Any:
        cross = kernel_values(case, _distances(torch, case, x, y), torch).mean((-2, -1))
        return (inner(x, n) + inner(y, m) - 2 * cross).numpy()

    return run


def formula_kernel_matrix(torch: Any, case: Case, data: Inputs) -> Call:
    x, y, _, _ = _tensors(torch, data)
    return lambda: kernel_values(case, _distances(torch, case, x, y), torch).numpy()


def formula_kernel_matmul(torch: Any, case: Case, data: Inputs) -> Call:
    x, y, v, _ = _tensors(torch, data)
    return lambda: (kernel_values(case, _distances(torch, case, x, y), torch) @ v).numpy()


# -- the specialist: tiles in cache, exponent from one product, in place, symmetric halves -------------------


def _augmented(torch: Any, z: Any, gamma: float, mean: Any) -> tuple[Any, Any]:
    """Rows a_i, b_j with <a_i, b_j> = -gamma |z_i - z_j|^2: one product gives the exponent."""
    z = (z - mean) * (2 * gamma) ** 0.5
    half = (z * z).sum(-1, keepdim=True) * -0.5
    one = torch.ones_like(half)
    return torch.cat([z, half, one], -1), torch.cat([z, one, half], -1)


def _powers(tile: Any, count: int) -> Any:
    """Sum of the tile and of its fourth powers in turn: kernels whose gammas have ratio 4. Overwrites it."""
    total = tile.sum()
    for _ in range(count - 1):
        total = total + tile.square_().square_().sum()
    return total


def tiled_mmd2(torch: Any, case: Case, data: Inputs) -> Call:
    """Upper triangle of the pooled matrix in tuned tiles; a batch in tuned chunks."""
    x, y, _, _ = _tensors(torch, data)
    if case.batch:
        return _tiled_batch(torch, case, x, y)
    count = len(gammas(case))

    def build(rows: int, columns: int, limit: int | None = None) -> Call:
        xs, ys = x[:limit], y[:limit]
        n, m = len(xs), len(ys)
        buffer = torch.empty(rows * max(rows, columns), dtype=x.dtype)

        def tile(a: Any, b: Any) -> Any:
            view = buffer[: len(a) * len(b)].view(len(a), len(b))
            return torch.mm(a, b.T, out=view).exp_()

        def within(a: Any, b: Any) -> Any:
            total = torch.zeros((), dtype=torch.float64)
            for r0 in range(0, len(a), rows):
                r1 = min(r0 + rows, len(a))
                total += _powers(tile(a[r0:r1], b[r0:r1]), count) - count * (r1 - r0)
                for c0 in range(r1, len(a), columns):
                    total += 2 * _powers(tile(a[r0:r1], b[c0 : c0 + columns]), count)
            return total / (count * len(a) * (len(a) - 1))

        def between(a: Any, b: Any) -> Any:
            total = torch.zeros((), dtype=torch.float64)
            for r0 in range(0, len(a), rows):
                for c0 in range(0, len(b), columns):
                    total += _powers(tile(a[r0 : r0 + rows], b[c0 : c0 + columns]), count)
            return total / (count * len(a) * len(b))

        def run() -> float:
            z = torch.cat([xs, ys])
            a, b = _augmented(torch, z, gammas(case)[0], z.mean(0))
            value = within(a[:n], b[:n]) + within(a[n:], b[n:]) - 2 * between(a[:n], b[n : n + m])
            return float(value)

        return run

    def sized(rows: int, columns: int) -> Call:
        return build(rows, columns, TUNING_ROWS)

    rows, columns = _best(sized, list(product(TILE_ROWS, TILE_COLUMNS)))
    return build(rows, columns)


def _tiled_batch(torch: Any, case: Case, x: Any, y: Any) -> Call:
    """One batched product of the pooled rows by chunks; K @ [in X, in Y] gives all three sums."""
    n, m = case.n, case.m
    (gamma,) = gammas(case)
    sides = torch.zeros(n + m, 2, dtype=x.dtype)
    sides[:n, 0] = 1
    sides[n:, 1] = 1

    def build(chunk: int) -> Call:
        buffer = torch.empty(chunk, n + m, n + m, dtype=x.dtype)
        out = torch.empty(case.batch, dtype=torch.float64)

        def run() -> Any:
            for start in range(0, case.batch, chunk):
                z = torch.cat([x[start : start + chunk], y[start : start + chunk]], 1)
                a, b = _augmented(torch, z, gamma, z.mean(1, keepdim=True))
                kernel = torch.bmm(a, b.transpose(1, 2), out=buffer[: len(z)]).exp_()
                sums = (sides.T @ (kernel @ sides)).double()
                within = (sums[:, 0, 0] - n) / (n * (n - 1)) + (sums[:, 1, 1] - m) / (m * (m - 1))
                out[start : start + chunk] = within - 2 * sums[:, 0, 1] / (n * m)
            return out.numpy()

        return run

    return build(*_best(build, [(8,), (32,), (128,), (512,)]))


def tiled_kernel_matrix(torch: Any, case: Case, data: Inputs) -> Call:
    """Row tiles straight into the output, exponent in place while the tile is in cache."""
    x, y, _, _ = _tensors(torch, data)
    (gamma,) = gammas(case)
    out = torch.zeros(case.n, case.m, dtype=x.dtype)

    def build(rows: int) -> Call:
        def run() -> Any:
            mean = y.mean(0)
            a, b = _augmented(torch, x, gamma, mean)[0], _augmented(torch, y, gamma, mean)[1].T
            for r0 in range(0, case.n, rows):
                torch.mm(a[r0 : r0 + rows], b, out=out[r0 : r0 + rows]).exp_()
            return out.numpy()

        return run

    return build(*_best(build, [(rows,) for rows in (32, *TILE_ROWS)]))


def tiled_kernel_matmul(torch: Any, case: Case, data: Inputs) -> Call:
    """K(X, Y) V by tuned tiles, each multiplied while it is in cache."""
    x, y, v, _ = _tensors(torch, data)
    (gamma,) = gammas(case)
    out = torch.zeros(case.n, case.q, dtype=x.dtype)

    def build(rows: int, columns: int, limit: int | None = None) -> Call:
        xs, ys = x[:limit], y[:limit]
        buffer = torch.empty(rows * columns, dtype=x.dtype)

        def run() -> Any:
            mean = ys.mean(0)
            a, b = _augmented(torch, xs, gamma, mean)[0], _augmented(torch, ys, gamma, mean)[1]
            out.zero_()
            for r0 in range(0, len(xs), rows):
                left = a[r0 : r0 + rows]
                for c0 in range(0, len(ys), columns):
                    right = b[c0 : c0 + columns]
                    view = buffer[: len(left) * len(right)].view(len(left), len(right))
                    tile = torch.mm(left, right.T, out=view).exp_()
                    out[r0 : r0 + len(left)].addmm_(tile, v[c0 : c0 + len(right)])
            return out.numpy()

        return run

    def sized(rows: int, columns: int) -> Call:
        return build(rows, columns, TUNING_ROWS)

    return build(*_best(sized, list(product(TILE_ROWS, TILE_COLUMNS))))


def tiled_project(torch: Any, case: Case, data: Inputs) -> Call:
    """Bias in the product, activation in place while the rows are in cache."""
    x, _, w, b = _tensors(torch, data)
    out = torch.zeros(case.n, case.q, dtype=x.dtype)

    def build(rows: int) -> Call:
        def run() -> Any:
            for r0 in range(0, case.n, rows):
                torch.addmm(b, x[r0 : r0 + rows], w, out=out[r0 : r0 + rows]).relu_()
            return out.numpy()

        return run

    return build(*_best(build, [(rows,) for rows in (1024, 4096, 16384, case.n)]))


def product_permutation_test(torch: Any, case: Case, data: Inputs) -> Call:
    """One kernel matrix, one product with all permutations' 0/1 columns, sums of its entries."""
    x, y, _, _ = _tensors(torch, data)
    n, m = case.n, case.m
    (gamma,) = gammas(case)
    kernel = torch.zeros(n + m, n + m, dtype=x.dtype)

    def run() -> tuple[Any, Any, Any]:
        generator = torch.Generator().manual_seed(0)
        z = torch.cat([x, y])
        a, b = _augmented(torch, z, gamma, z.mean(0))
        torch.mm(a, b.T, out=kernel).exp_()
        kernel.fill_diagonal_(0)
        order = torch.rand(case.q, n + m, generator=generator).argsort(1)
        members = torch.zeros(case.q + 1, n + m, dtype=x.dtype)
        members[0, :n] = 1
        members[1:].scatter_(1, order[:, :n], 1)
        row_sums = kernel.sum(1, dtype=torch.float64)
        xx = ((members @ kernel) * members).sum(1, dtype=torch.float64)
        xz = members.double() @ row_sums
        yy = row_sums.sum() - 2 * xz + xx
        values = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * (xz - xx) / (n * m)
        null = values[1:]
        return float(values[0]), float((1 + (null >= values[0]).sum()) / (1 + case.q)), null.numpy()

    return run
