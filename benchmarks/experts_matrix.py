"""The kernel matrix, its products, permutations, random features and layers as a specialist writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .cases import Case, Inputs, gammas
from .experts import TUNING_ROWS, Exponent, augmented, sized
from .team import Call, Team, tuned


def _chunks(n: int, rows: int) -> list[tuple[int, int]]:
    return [(start, min(start + rows, n)) for start in range(0, n, rows)]


def kernel_matrix(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """Row tiles straight into the output, exponent in place while the tile is in cache."""
    (gamma,) = gammas(case)
    out = teams[0].tiles.zeros(case.n, case.m, dtype=case.dtype)

    def build(team: Team, rows: int) -> Call:
        tiles = team.tiles
        work = _chunks(case.n, rows)

        def run() -> Any:
            mean = data.y.mean(0)
            a, b = augmented(data.x, gamma, mean)[0], augmented(data.y, gamma, mean)[1]
            left, right = tiles.array(a), tiles.array(b).T

            def fill(worker: int, items: Iterable[tuple[int, int]]) -> None:
                for r0, r1 in items:
                    tiles.exp2(tiles.matmul(left[r0:r1], right, out[r0:r1]))

            team.run(fill, work)
            return tiles.numpy(out)

        return run

    choices = [(team, rows) for rows in (32, 16, 64, 128, 512) for team in teams]
    return build(*tuned(case.tier, build, choices))


def kernel_matmul(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """K(X, Y) V by tuned tiles, each multiplied while it is in cache."""
    (gamma,) = gammas(case)
    v = teams[0].tiles.array(data.v)
    out = teams[0].tiles.zeros(case.n, case.q, dtype=case.dtype)

    def build(team: Team, rows: int, columns: int, limit: int | None) -> Call:
        tiles = team.tiles
        x, y = data.x[:limit], data.y[:limit]
        exponent = Exponent(team, rows * columns, case.dtype)
        across = _chunks(len(y), columns)

        def fill(worker: int, items: Iterable[tuple[int, int]]) -> None:
            for r0, r1 in items:
                part = out[r0:r1]
                part[...] = 0
                for c0, c1 in across:
                    tiles.add_matmul(part, exponent(worker, (r0, r1, c0, c1)), v[c0:c1])

        def run() -> Any:
            mean = y.mean(0)
            exponent.prepare(augmented(x, gamma, mean)[0], augmented(y, gamma, mean)[1])
            team.run(fill, _chunks(len(x), rows))
            return tiles.numpy(out)

        return run

    return sized(case.tier, build, teams)


def permutation_test(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """Upper half of K stored by tiles; one product with the 0/1 marks of all permutations, on that half.

    u'Ku needs the upper half only, doubled off the diagonal; the row sums of K give the other two sums.
    """
    n, m, total = case.n, case.m, case.n + case.m
    (gamma,) = gammas(case)
    kernel = teams[0].tiles.zeros(total, total, dtype=case.dtype)
    marks = np.zeros((case.q + 1, total), case.dtype)
    marks[0, :n] = 1
    members = teams[0].tiles.array(marks)  # shares the memory

    def draw(worker: int, items: Iterable[tuple[int, int]]) -> None:
        """Rows of `marks`: the n smallest of random keys."""
        for r0, r1 in items:
            rng = np.random.default_rng((0, r0))
            keys = rng.integers(0, 2**32, (r1 - r0, total), np.uint32)
            least = np.partition(keys, n - 1, axis=1)[:, n - 1 : n]
            rows = np.less_equal(keys, least, out=marks[r0 + 1 : r1 + 1], casting="unsafe")
            for tied in np.flatnonzero(rows.sum(1) != n):
                rows[tied] = 0
                rows[tied, np.argpartition(keys[tied], n - 1)[:n]] = 1

    def build(team: Team, rows: int) -> Call:
        tiles = team.tiles
        memory = [tiles.empty(rows * max(case.q + 1, total), dtype=case.dtype) for _ in range(team.size)]
        strips = _chunks(total, rows)

        def run() -> tuple[Any, Any, Any]:
            team.run(draw, _chunks(case.q, 50))
            z = np.concatenate([data.x, data.y])
            a, b = (tiles.array(side) for side in augmented(z, gamma, z.mean(0)))

            def fill(worker: int, items: Iterable[tuple[int, int]]) -> Any:
                """Row sums of K without its diagonal."""
                found = np.zeros(total)
                for r0, r1 in items:
                    tile = memory[worker][: (r1 - r0) * (total - r0)].reshape(r1 - r0, total - r0)
                    tiles.exp2(tiles.matmul(a[r0:r1], b[r0:].T, tile))
                    kernel[r0:r1, r0:] = tile
                    found[r0:r1] += np.asarray(tile.sum(1)) - 1.0
                    found[r1:] += tiles.rows_sum(tile[:, r1 - r0 :])
                    kernel[r0:r1, r0:r1] *= 0.5
                return found

            def sums(worker: int, items: Iterable[tuple[int, int]]) -> Any:
                found = np.full(case.q + 1, 0.0)
                for r0, r1 in items:
                    image = memory[worker][: (case.q + 1) * (r1 - r0)].reshape(case.q + 1, r1 - r0)
                    tiles.matmul(members[:, r0:], kernel[r0:r1, r0:].T, image)
                    image *= members[:, r0:r1]
                    found += 2 * np.asarray(image.sum(1), np.float64)
                return found

            row_sums = np.add.reduce(team.run(fill, strips))
            xx = np.add.reduce(team.run(sums, strips)) - n  # the diagonal of K is one
            xz = marks @ row_sums
            yy = row_sums.sum() - 2 * xz + xx
            values = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * (xz - xx) / (n * m)
            null = values[1:]
            return values[0], (1 + np.sum(null >= values[0])) / (1 + case.q), null

        return run

    choices = [(team, rows) for rows in (256, 128, 512) for team in teams]
    return build(*tuned(case.tier, build, choices))


def random_features(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """One product for a cosine and a sine, both written while the rows are in cache."""
    half = case.q // 2
    array = teams[0].tiles.array
    x, w = array(data.x), array(data.v[:, :half])
    out = teams[0].tiles.zeros(case.n, case.q, dtype=case.dtype)
    factor = (2 / case.q) ** 0.5

    def build(team: Team, rows: int, limit: int | None) -> Call:
        tiles = team.tiles
        memory = [tiles.empty(rows, half, dtype=case.dtype) for _ in range(team.size)]

        def fill(worker: int, items: Iterable[tuple[int, int]]) -> None:
            for r0, r1 in items:
                angles = tiles.matmul(x[r0:r1], w, memory[worker][: r1 - r0])
                tiles.cos(angles, out[r0:r1, :half])
                tiles.sin(angles, out[r0:r1, half:])
                tiles.scale(out[r0:r1], factor)

        def run() -> tuple[Any, Any, None]:
            team.run(fill, _chunks(len(x[:limit]), rows))
            return tiles.numpy(out), tiles.numpy(w), None

        return run

    return _row_chunks(case.tier, build, teams)


def features_mean(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """The same without the features: only their column sums leave the cache."""
    half = case.q // 2
    array = teams[0].tiles.array
    x, w = array(data.x), array(data.v[:, :half])
    factor = (2 / case.q) ** 0.5

    def build(team: Team, rows: int, limit: int | None) -> Call:
        tiles = team.tiles
        memory = [[tiles.empty(rows, half, dtype=case.dtype) for _ in range(2)] for _ in range(team.size)]

        def total(worker: int, items: Iterable[tuple[int, int]]) -> Any:
            found = np.zeros(case.q)
            for r0, r1 in items:
                angles, values = (buffer[: r1 - r0] for buffer in memory[worker])
                tiles.matmul(x[r0:r1], w, angles)
                found[:half] += tiles.rows_sum(tiles.cos(angles, values))
                found[half:] += tiles.rows_sum(tiles.sin(angles, values))
            return found

        def run() -> tuple[Any, Any, None]:
            parts = team.run(total, _chunks(len(x[:limit]), rows))
            return np.add.reduce(parts) * (factor / case.n), tiles.numpy(w), None

        return run

    return _row_chunks(case.tier, build, teams)


def project(case: Case, data: Inputs, teams: Sequence[Team]) -> Call:
    """Bias and activation in place while the rows are in cache."""
    x, w, b = (teams[0].tiles.array(a) for a in (data.x, data.v, data.b))
    out = teams[0].tiles.zeros(case.n, case.q, dtype=case.dtype)

    def build(team: Team, rows: int, limit: int | None) -> Call:
        tiles = team.tiles

        def fill(worker: int, items: Iterable[tuple[int, int]]) -> None:
            for r0, r1 in items:
                part = tiles.matmul(x[r0:r1], w, out[r0:r1])
                part += b
                tiles.relu(part)

        def run() -> Any:
            team.run(fill, _chunks(len(x[:limit]), rows))
            return tiles.numpy(out)

        return run

    return _row_chunks(case.tier, build, teams)


def _row_chunks(tier: str, build: Callable[[Team, int, int | None], Call], teams: Sequence[Team]) -> Call:
    choices = [(team, rows) for rows in (256, 128, 512, 1024, 4096, 64) for team in teams]
    chosen = tuned(tier, lambda team, rows: build(team, rows, 8 * TUNING_ROWS), choices)
    return build(*chosen, None)
