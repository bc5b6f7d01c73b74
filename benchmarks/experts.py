"""MMD as a specialist writes it on NumPy or torch: the opponent that counts.

Row tiles that stay in cache, the exponent from one product, powers of two in place of exponentials (half the
time), symmetric halves, further bandwidths by squaring, memory made beforehand, tile sizes and the sharing of
cores tuned on the machine. No step overflows where the formula does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from .cases import Case, Inputs, gammas
from .team import Call, Team, tuned

# (rows, columns), likeliest first, should the time to tune run out.
SIZES = ((256, 512), (256, 1024), (512, 512), (128, 512), (512, 1024), (128, 1024), (1024, 1024), (512, 2048))
TUNING_ROWS = 3000  # tile sizes are tuned on at most so many rows of each sample

LOG2E = float(np.log2(np.e))

Tile = tuple[int, int, int, int]  # row start and end, column start and end


def augmented(z: np.ndarray[Any, Any], gamma: float, mean: Any) -> tuple[Any, Any]:
    """Rows a_i, b_j with <a_i, b_j> = -gamma |z_i - z_j|^2 log2(e): one product gives the exponent of two."""
    n, d = z.shape
    a, b = np.empty((n, d + 2), z.dtype), np.empty((n, d + 2), z.dtype)
    np.subtract(z, mean, out=a[:, :d])
    a[:, :d] *= z.dtype.type(np.sqrt(2 * gamma * LOG2E))
    b[:, :d] = a[:, :d]
    a[:, d] = b[:, d + 1] = -0.5 * np.einsum("ij,ij->i", a[:, :d], a[:, :d])
    a[:, d + 1] = b[:, d] = 1
    return a, b


def upper(start: int, stop: int, rows: int, columns: int) -> Iterator[Tile]:
    """Tiles of the upper half of rows start to stop against themselves; the first of each strip is square."""
    for r0 in range(start, stop, rows):
        r1 = min(r0 + rows, stop)
        yield r0, r1, r0, r1
        for c0 in range(r1, stop, columns):
            yield r0, r1, c0, min(c0 + columns, stop)


def pooled_tiles(n: int, total: int, rows: int, columns: int) -> list[tuple[str, Tile]]:
    """Tiles of XX and YY (upper halves) and XY (whole) of the pooled sample, with the name of their block."""
    found = [("xx", tile) for tile in upper(0, n, rows, columns)]
    found += [("yy", tile) for tile in upper(n, total, rows, columns)]
    for r0, c0 in product(range(0, n, rows), range(n, total, columns)):
        found.append(("xy", (r0, min(r0 + rows, n), c0, min(c0 + columns, total))))
    return found


def _coefficients(n: int, m: int) -> dict[str, float]:
    """Weight of one ordered pair of each block in the unbiased squared MMD."""
    return {"xx": 1 / (n * (n - 1)), "yy": 1 / (m * (m - 1)), "xy": -1 / (n * m)}


class Exponent:
    """Tiles of exp(-gamma |z_i - z_j|^2), each in the memory of the worker that asks."""

    def __init__(self, team: Team, most: int, dtype: str) -> None:
        self._tiles = team.tiles
        self._memory = [team.tiles.empty(most, dtype=dtype) for _ in range(team.size)]
        self._left: Any = None
        self._right: Any = None

    def prepare(self, left: Any, right: Any) -> None:
        self._left, self._right = self._tiles.array(left), self._tiles.array(right)

    def __call__(self, worker: int, tile: Tile) -> Any:
        r0, r1, c0, c1 = tile
        view = self._memory[worker][: (r1 - r0) * (c1 - c0)].reshape(r1 - r0, c1 - c0)
        return self._tiles.exp2(self._tiles.matmul(self._left[r0:r1], self._right[c0:c1].T, view))


def sized(tier: str, build: Callable[[Team, int, int, int | None], Call], teams: Sequence[Team]) -> Call:
    """The call built with the way of sharing and the tile size that are fastest on a part of the rows."""
    choices = [(team, *size) for size in SIZES for team in teams]
    chosen = tuned(tier, lambda team, rows, columns: build(team, rows, columns, TUNING_ROWS), choices)
    return build(*chosen, None)


def mmd2(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """Upper halves of XX and YY and the whole of XY in tuned tiles; a batch in tuned chunks."""
    if case.batch:
        return _batched_mmd2(case, data, teams)
    count, gamma = len(gammas(case)), gammas(case)[0]

    def build(team: Team, rows: int, columns: int, limit: int | None) -> Call:
        tiles = team.tiles
        x, y = data.x[:limit], data.y[:limit]
        n, m = len(x), len(y)
        exponent = Exponent(team, rows * max(rows, columns), case.dtype)
        work = pooled_tiles(n, n + m, rows, columns)
        coefficients = _coefficients(n, m)

        def sums(worker: int, items: Iterable[Any]) -> float:
            total = 0.0
            for block, tile in items:
                values = exponent(worker, tile)
                part = tiles.sum(values)
                for _ in range(count - 1):  # gammas have ratio 4
                    part += tiles.sum(tiles.square(tiles.square(values)))
                if block != "xy" and tile[0] == tile[2]:
                    part -= count * (tile[1] - tile[0])  # k(z, z) = 1 does not count
                else:
                    part *= 2
                total += coefficients[block] * part
            return total / count

        def run() -> float:
            z = np.concatenate([x, y])
            exponent.prepare(*augmented(z, gamma, z.mean(0)))
            return sum(team.run(sums, work))

        return run

    return sized(case.tier, build, teams)


def _batched_mmd2(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """Three batched products for each chunk of pairs; exponent in place while the chunk is in cache."""
    n, m, b = case.n, case.m, case.batch
    (gamma,) = gammas(case)
    scale = gamma * LOG2E
    x, y = teams[0].tiles.array(data.x), teams[0].tiles.array(data.y)

    def norms(rows: Any) -> Any:
        return (rows * rows).sum(-1) * -scale

    def build(team: Team, chunk: int, limit: int | None = None) -> Call:
        tiles = team.tiles
        size = min(chunk, b)
        memory = [{"xx": (size, n, n), "yy": (size, m, m), "xy": (size, n, m)} for _ in range(team.size)]
        buffers = [
            {name: tiles.empty(*shape, dtype=case.dtype) for name, shape in one.items()} for one in memory
        ]
        out = np.empty(b)
        starts = list(range(0, min(b, limit or b), chunk))

        def work(worker: int, items: Iterable[int]) -> None:
            for start in items:
                xs, ys = x[start : start + chunk], y[start : start + chunk]
                sides = {"x": (xs, norms(xs)), "y": (ys, norms(ys))}
                sums = {}
                for name, buffer in buffers[worker].items():
                    (left, left_norms), (right, right_norms) = sides[name[0]], sides[name[1]]
                    tile = tiles.matmul(left, right.swapaxes(-1, -2), buffer[: len(xs)])
                    tile = tiles.scale(tile, 2 * scale)
                    tile += left_norms[:, :, None]
                    tile += right_norms[:, None, :]
                    sums[name] = np.asarray(tiles.exp2(tile).sum((-2, -1)), np.float64)
                within = (sums["xx"] - n) / (n * (n - 1)) + (sums["yy"] - m) / (m * (m - 1))
                out[start : start + chunk] = within - 2 * sums["xy"] / (n * m)

        def run() -> Any:
            team.run(work, starts)
            return out

        return run

    sizes = [size for size in (16, 8, 4, 32, 64, 128, 512) if size <= b] or [b]
    choices = [(team, size) for size in sizes for team in teams]
    return build(*tuned(case.tier, lambda team, size: build(team, size, 1024), choices))


def mmd2_grad(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """Value and both gradients by hand: a tile and its transpose multiply the rows of the other side.

    With s_ij = c_ij k_ij over the pooled rows z, the value is the sum of s_ij over i != j, and the gradient
    in z_i is -4 gamma (z_i sum_j s_ij - sum_j s_ij z_j); a column of ones gives the row sums as well.
    """
    (gamma,) = gammas(case)

    def build(team: Team, rows: int, columns: int, limit: int | None) -> Call:
        tiles = team.tiles
        x, y = data.x[:limit], data.y[:limit]
        n, total = len(x), len(x) + len(y)
        exponent = Exponent(team, rows * max(rows, columns), case.dtype)
        work = pooled_tiles(n, total, rows, columns)
        coefficients = _coefficients(n, total - n)
        gradients = [tiles.zeros(total, case.d + 1, dtype=case.dtype) for _ in range(team.size)]
        with_ones = np.ones((total, case.d + 1), case.dtype)
        pooled = tiles.array(with_ones)

        def add(worker: int, items: Iterable[Any]) -> None:
            gradient = gradients[worker]
            gradient[...] = 0
            for block, tile in items:
                values, (r0, r1, c0, c1) = exponent(worker, tile), tile
                tiles.add_matmul(gradient[r0:r1], values, pooled[c0:c1], coefficients[block])
                if block == "xy" or r0 != c0:
                    tiles.add_matmul(gradient[c0:c1], values.T, pooled[r0:r1], coefficients[block])

        def run() -> tuple[float, Any, Any]:
            with_ones[:n, :-1], with_ones[n:, :-1] = x, y
            z = with_ones[:, :-1]
            z -= z.mean(0)
            exponent.prepare(*augmented(z, gamma, 0))
            team.run(add, work)
            found = np.add.reduce([tiles.numpy(gradient) for gradient in gradients])
            value = float(found[:, -1].sum(dtype=np.float64)) - 1 / (n - 1) - 1 / (total - n - 1)
            slopes = (found[:, -1:] * z - found[:, :-1]) * found.dtype.type(-4 * gamma)
            return value, slopes[:n], slopes[n:]

        return run

    return sized(case.tier, build, teams)
