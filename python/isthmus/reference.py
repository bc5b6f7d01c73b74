"""Each operation as a short array-API formula in float64: the oracle of the tests and the last fallback.

`xp` is numpy, torch or cupy. Tiles bound the memory. Distances are sums of direct differences, so nothing
cancels and no centring is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import Array, like, to_numpy
from .kernel_base import Kernel
from .spectral import Frequencies

_HOST_TILE = 512  # rows and columns of a float64 tile: 2 MB, for the cache
_DEVICE_TILE = 4096  # 128 MB: few launches


def kernel_matrix(x: Any, y: Any, kernel: Kernel, out: Any, xp: Any) -> None:
    """out[i, j] = k(x_i, y_j); x (n, d), y (m, d) or None for x, out (n, m)."""
    y = x if y is None else y
    for rows in _slices(len(x), xp):
        for columns in _slices(len(y), xp):
            out[rows, columns] = _tile(x[rows], y[columns], kernel, xp)


def kernel_matmul(x: Any, y: Any, v: Any, kernel: Kernel, skip_diagonal: bool, out: Any, xp: Any) -> None:
    """out = K(x, y) @ v; x (n, d), y (m, d) or None for x, v (m, q), out (n, q).

    `skip_diagonal` leaves out the terms i == j.
    """
    y = x if y is None else y
    v = xp.asarray(v, dtype=xp.float64)
    for rows in _slices(len(x), xp):
        total = None
        for columns in _slices(len(y), xp):
            tile = _tile(x[rows], y[columns], kernel, xp)
            if skip_diagonal and rows == columns:
                _clear_diagonal(tile, xp)
            product = tile @ v[columns]
            total = product if total is None else total + product
        out[rows] = total


def project(x: Any, w: Any, b: Any, activation: str, out: Any, xp: Any) -> None:
    """out = activation(x @ w + b); x (n, d), w (d, q), b (q,) or None, out (n, q)."""
    w = xp.asarray(w, dtype=xp.float64)
    for rows in _slices(len(x), xp):
        z = xp.asarray(x[rows], dtype=xp.float64) @ w
        out[rows] = ACTIVATIONS[activation](z if b is None else z + b, xp)


def moments(x: Any, weights: Any, origin: Any, sums: Any, scatter: Any, xp: Any) -> None:
    """sums (d,) = sum_i w_i c_i and scatter (d, d) = sum_i w_i c_i c_i', c = x - origin.

    x (n, d), weights (n,) or None for 1, origin (d,).
    """
    sums[:] = 0
    scatter[:] = 0
    for rows in _slices(len(x), xp):
        centred = xp.asarray(x[rows], dtype=xp.float64) - xp.asarray(origin, dtype=xp.float64)
        factor = (
            xp.ones_like(centred[:, 0]) if weights is None else xp.asarray(weights[rows], dtype=xp.float64)
        )
        sums += factor @ centred
        scatter += (centred * factor[:, None]).T @ centred


def fourier_features(x: Any, frequencies: Frequencies, amplitude: float, out: Any, xp: Any) -> None:
    """out = amplitude [cos z, sin z], z the phases of x (n, d); out (n, 2 q)."""
    for rows in _slices(len(x), xp):
        out[rows] = amplitude * _waves(x[rows], frequencies, xp)


def fourier_sums(x: Any, weights: Any, frequencies: Frequencies, sums: Any, xp: Any) -> None:
    """sums (2 q,) = weights' [cos z, sin z], z the phases of x (n, d); weights (n,), or None for 1."""
    sums[:] = 0
    for rows in _slices(len(x), xp):
        waves = _waves(x[rows], frequencies, xp)
        factor = xp.ones_like(waves[:, 0]) if weights is None else xp.asarray(weights[rows], dtype=xp.float64)
        sums += factor @ waves


def _waves(x: Any, frequencies: Frequencies, xp: Any) -> Any:
    wide = xp.asarray(x, dtype=xp.float64)
    phases = (wide - like(frequencies.centre, wide)) @ like(frequencies.matrix, wide)
    return xp.concatenate([xp.cos(phases), xp.sin(phases)], 1)


def block_sums(
    stacks: Sequence[Any],
    weights: Sequence[Any] | None,
    pairs: Any,
    kernel: Kernel,
    sums: Any,
    diagonals: Any,
    xp: Any,
) -> None:
    """Weighted sums of the kernel over pairs of blocks of rows.

    stacks: arrays (c, n_i, d); item i of stack s is block s * c + i. weights: None, or for each stack None or
    an array (c, n_i). pairs (P, 2) integers. sums (P,): sum_ij w_i w_j k(x_i, y_j), without i == j for a
    block with itself. diagonals (blocks,): sum_i w_i^2 k(x_i, x_i).
    """
    blocks = [item for stack in stacks for item in stack]
    shares = [None if weights is None else weights[s] for s in range(len(stacks))]
    factors = [
        xp.ones_like(item[:, 0], dtype=xp.float64)
        if share is None
        else xp.asarray(share[i], dtype=xp.float64)
        for stack, share in zip(stacks, shares, strict=True)
        for i, item in enumerate(stack)
    ]
    for p, (a, b) in enumerate(pairs.tolist()):
        total = 0.0
        for rows in _slices(len(blocks[a]), xp):
            for columns in _slices(len(blocks[b]), xp):
                tile = _tile(blocks[a][rows], blocks[b][columns], kernel, xp)
                if a == b and rows == columns:
                    _clear_diagonal(tile, xp)
                total = total + factors[a][rows] @ tile @ factors[b][columns]
        sums[p] = total
    for a, (block, factor) in enumerate(zip(blocks, factors, strict=True)):
        diagonals[a] = (factor * factor) @ diagonal(block, kernel, xp)


def mmd2(
    x: Any,
    y: Any,
    weights: Sequence[Any],
    factors: Any,
    with_diagonal: bool,
    kernel: Kernel,
    values: Any,
    xp: Any,
) -> None:
    """Weighted sums of the kernel over pairs of rows of x and y.

    x (c, n, d), y (c, m, d); weights of x (c, n) and y (c, m), each may be None; factors f (c, 3), or (3,) on
    the host for all.
    values (c,): f_0 sum w_i w_j k(x_i, x_j) + f_1 sum w_i w_j k(y_i, y_j) + 2 f_2 sum w_i w_j k(x_i, y_j);
    the first two sums leave i == j out unless `with_diagonal`.
    """
    for i, (fx, fy, across) in enumerate(_of_items(factors, len(x))):
        sums, own = [0.0] * 3, [0.0] * 2
        shares = [None if w is None else w[i : i + 1] for w in weights]
        pairs = np.array([(0, 0), (1, 1), (0, 1)])
        block_sums([x[i : i + 1], y[i : i + 1]], shares, pairs, kernel, sums, own, xp)
        values[i] = fx * sums[0] + fy * sums[1] + 2 * across * sums[2]
        if with_diagonal:
            values[i] += fx * own[0] + fy * own[1]


def _of_items(factors: Any, c: int) -> list[list[float]]:
    rows: list[Any] = factors.tolist()
    return rows if factors.ndim == 2 else [rows] * c


def mmd2_grad(
    x: Any,
    y: Any,
    weights: Sequence[Any],
    factors: Any,
    with_diagonal: bool,
    kernel: Kernel,
    values: Any,
    dx: Any,
    dy: Any,
    xp: Any,
) -> None:
    """The values of `mmd2` and their gradients dx (c, n, d) and dy (c, m, d)."""
    for i, (fx, fy, across) in enumerate(_of_items(factors, len(x))):
        rows = [xp.asarray(stack[i], dtype=xp.float64) for stack in (x, y)]
        wx, wy = (
            xp.ones_like(z[:, 0]) if w is None else xp.asarray(w[i], dtype=xp.float64)
            for z, w in zip(rows, weights, strict=True)
        )
        xx, dxx = _pair_sum(rows[0], None, wx, wx, with_diagonal, kernel, xp)
        yy, dyy = _pair_sum(rows[1], None, wy, wy, with_diagonal, kernel, xp)
        xy, dxy = _pair_sum(rows[0], rows[1], wx, wy, True, kernel, xp)
        _, dyx = _pair_sum(rows[1], rows[0], wy, wx, True, kernel, xp)
        values[i] = fx * xx + fy * yy + 2 * across * xy
        dx[i] = 2 * (fx * dxx + across * dxy)
        dy[i] = 2 * (fy * dyy + across * dyx)


def _pair_sum(
    x: Any, y: Any, wx: Any, wy: Any, with_diagonal: bool, kernel: Kernel, xp: Any
) -> tuple[Any, Any]:
    """sum_ij w_i w_j k(x_i, y_j) and its gradient by the x_i on the left; y may be None for x."""
    gradient, total = xp.zeros_like(x), 0.0
    y = x if (own := y is None) else y
    for rows in _slices(len(x), xp):
        for columns in _slices(len(y), xp):
            pair_weights = wx[rows, None] * wy[None, columns]
            if own and not with_diagonal and rows == columns:
                _clear_diagonal(pair_weights, xp)
            total = total + (pair_weights * _tile(x[rows], y[columns], kernel, xp)).sum()
            for name in {part.input for _, part in kernel.parts}:
                slopes = pair_weights * _tile_slopes(x[rows], y[columns], name, kernel, xp)
                for k in range(x.shape[1]):
                    by_input = INPUT_SLOPES[name](x[rows, k, None], y[None, columns, k], xp)
                    gradient[rows, k] += (slopes * by_input).sum(1)
    return total, gradient


def permuted_sums(
    z: Any, kernel: Kernel, bits: Array, rounded: bool, sums: Any, row_sums: Any, xp: Any
) -> None:
    """Sums of the kernel over the pairs of rows that 0/1 assignments u mark.

    z (n, d). bits (B, words), of 64 each: u_i of row b is bit i % 64 of bits[b, i // 64]. sums (B,):
    sum_{i != j} u_i u_j k(z_i, z_j). row_sums (n,): sum_{j != i} k(z_i, z_j). `rounded` lets a backend round
    the kernel as far as a permutation test bears; this formula does not.
    """
    sums[...] = 0
    row_sums[...] = 0
    bits = to_numpy(bits)
    for rows in _slices(len(z), xp):
        for columns in _slices(len(z), xp):
            if columns.start < rows.start:
                continue
            tile = _tile(z[rows], z[columns], kernel, xp)
            if rows == columns:
                tile = xp.triu(tile, 1)
            row_sums[rows] += tile.sum(1)
            row_sums[columns] += tile.sum(0)
            for some in _slices(len(bits), xp):
                left, right = (like(marked(bits[some], part), sums) for part in (rows, columns))
                sums[some] += 2 * ((left @ tile) * right).sum(1)


def subset_sums(bits: Any, values: Any, sums: Any) -> None:
    """sums (B,) of float64 values (n,) over the rows that each row of bits (B, words) marks."""
    sums[...] = 0
    bits = to_numpy(bits)
    for rows in _slices(len(values), np):
        for some in _slices(len(bits), np):
            sums[some] += like(marked(bits[some], rows), values) @ values[rows]


def marked(bits: Array, rows: slice) -> Array:
    """Bits (B, words) of some rows as 0 and 1, uint8 (B, rows); the first row is a multiple of 64."""
    words = np.ascontiguousarray(bits[:, rows.start // 64 : -(-rows.stop // 64)], dtype="<u8")
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, : rows.stop - rows.start]


_SHARE_DIGITS = 8


def random_assignment(key: Array, number: int, rows: int, ones: int) -> Array:
    """A random subset of `ones` of some rows as bits, uint64 (words,): a function of the arguments alone.

    Every bit is 1 with the same chance, independent of the others; flips at uniformly chosen rows then bring
    the number to `ones`. Both prefer no row, so all subsets are equally likely.
    Source: Salmon, Moraes, Dror and Shaw, SC 2011, for Philox; Lemire, ACM TOMACS 29 (2019), for `below`.
    """
    stream = np.random.Philox(key=key, counter=[0, number, 0, 0])

    def below(k: int) -> int:
        while True:
            product = int(stream.random_raw()) * k
            if product % 2**64 >= 2**64 % k:
                return product >> 64

    # The share of ones, rounded down; small ones count as 0, the rows are then chosen one by one.
    share = (ones << _SHARE_DIGITS) // rows
    digits = f"{share % 2**_SHARE_DIGITS:b}".zfill(_SHARE_DIGITS) if share >= 16 else ""
    words = np.full(-(-rows // 64), np.uint64(2**64 - 1) if share >= 2**_SHARE_DIGITS else np.uint64(0))
    # From the last digit 1: with a digit 1 the chance p of a bit becomes (1 + p) / 2, with 0, p / 2.
    digits = digits.rstrip("0")[::-1]
    draws = stream.random_raw(len(words) * len(digits)).reshape(len(words), len(digits))
    for draw, digit in zip(draws.T, digits, strict=True):
        words = draw | words if digit == "1" else draw & words
    bits = marked(words[None], slice(0, rows))[0]
    excess = int(bits.sum()) - ones
    while excess:
        row = below(rows)
        if bits[row] == (excess > 0):
            bits[row] ^= 1
            excess += -1 if excess > 0 else 1
    whole = np.zeros(len(words) * 64, dtype=np.uint8)
    whole[:rows] = bits
    return np.packbits(whole, bitorder="little").view("<u8").astype(np.uint64)


def _squared_distance(x: Any, y: Any, xp: Any) -> Any:
    u = xp.zeros_like(x[:, :1] * y[:, 0])
    for j in range(x.shape[1]):
        difference = x[:, j, None] - y[None, :, j]
        u += difference * difference
    return u


def _cityblock_distance(x: Any, y: Any, xp: Any) -> Any:
    u = xp.zeros_like(x[:, :1] * y[:, 0])
    for j in range(x.shape[1]):
        u += abs(x[:, j, None] - y[None, :, j])
    return u


def _dot(x: Any, y: Any, xp: Any) -> Any:
    return x @ y.T


INPUTS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "distance": _squared_distance,
    "cityblock": _cityblock_distance,
    "dot": _dot,
}

# d input / d x_k of two rows, from the values x_k and y_k of one column.
INPUT_SLOPES: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "distance": lambda x, y, xp: 2 * (x - y),
    "cityblock": lambda x, y, xp: xp.sign(x - y),
    "dot": lambda x, y, xp: y,
}

ACTIVATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "identity": lambda z, xp: z,
    "relu": lambda z, xp: xp.clip(z, 0, None),
    "tanh": lambda z, xp: xp.tanh(z),
    # 1 / (1 + exp(-z)) without overflow.
    "logistic": lambda z, xp: xp.exp(-xp.logaddexp(xp.zeros_like(z), -z)),
    "cos": lambda z, xp: xp.cos(z),
}


def _tile(x: Any, y: Any, kernel: Kernel, xp: Any) -> Any:
    """The kernel between rows x (n, d) and y (m, d), float64 (n, m)."""
    x, y = xp.asarray(x, dtype=xp.float64), xp.asarray(y, dtype=xp.float64)
    inputs = {name: INPUTS[name](x, y, xp) for name in {part.input for _, part in kernel.parts}}
    return _sum_of_parts(inputs, kernel, xp)


def _tile_slopes(x: Any, y: Any, name: str, kernel: Kernel, xp: Any) -> Any:
    """Slope, by their input `name`, of the kernels that take it; float64 (n, m)."""
    u = INPUTS[name](x, y, xp)
    slopes = [part.slope(u, xp) * weight for weight, part in kernel.parts if part.input == name]
    return sum(slopes[1:], slopes[0])


def diagonal(x: Any, kernel: Kernel, xp: Any) -> Any:
    """k(x_i, x_i), float64 (n,)."""
    x = xp.asarray(x, dtype=xp.float64)
    norms = (x * x).sum(1)
    zeros = xp.zeros_like(norms)
    return _sum_of_parts({"distance": zeros, "cityblock": zeros, "dot": norms}, kernel, xp)


def _sum_of_parts(inputs: Mapping[str, Any], kernel: Kernel, xp: Any) -> Any:
    values = [part.value(inputs[part.input], xp) * weight for weight, part in kernel.parts]
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _clear_diagonal(tile: Any, xp: Any) -> None:
    i = xp.arange(len(tile))
    tile[i, i] = 0


def _slices(n: int, xp: Any) -> Iterator[slice]:
    step = _HOST_TILE if xp is np else _DEVICE_TILE
    return (slice(start, min(start + step, n)) for start in range(0, n, step))
