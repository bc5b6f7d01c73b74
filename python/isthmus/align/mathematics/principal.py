"""Pure mathematics: principal directions of weighted rows, of one domain or of both together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import Array, to_numpy
from .pencil import moments, pooled_scatter, weighted_mean

__all__ = ["Principal", "pooled_directions", "principal", "signed"]


class Principal(NamedTuple):
    """Mean (d,), principal directions (d, k), largest variance first, and how many there are."""

    mean: Array
    basis: Array
    rank: int


def principal(rows: Array, weight: Array | None, most: int) -> Principal:
    """Up to `most` principal directions of `rows` (n, d), positive `weight` (n,) or None, in float64."""
    n, d = rows.shape
    if n >= d:
        found = moments(rows, weight)
        return Principal(found.mean, *_leading(found.scatter, most))
    rows = to_numpy(rows)
    weight = np.ones(n) if weight is None else weight
    mean = weighted_mean(rows, weight)
    centred = rows - mean
    # What rounding left of a large mean.
    rest = weight @ centred / weight.sum()
    centred = (centred - rest) * np.sqrt(weight)[:, None]
    values, vectors = np.linalg.eigh(centred @ centred.T)
    # Squares: below this share a direction is made of rounding.
    rank = int(np.sum(values > d * np.finfo(float).eps * max(values[-1], 0.0)))
    kept = min(most, rank)
    basis = centred.T @ (vectors[:, ::-1][:, :kept] / np.sqrt(values[::-1][:kept]))
    # Directions of small variance are orthogonal to the large ones only up to the rounding of these.
    return Principal(mean + rest, signed(np.linalg.qr(basis)[0]), rank)


def pooled_directions(samples: list[tuple[Array, Array | None]], most: int) -> Array:
    """Principal directions of the rows of both domains together."""
    n, d = sum(len(rows) for rows, _ in samples), samples[0][0].shape[1]
    if n < d:
        weights = [np.ones(len(rows)) if weight is None else weight for rows, weight in samples]
        return principal(
            np.concatenate([to_numpy(rows) for rows, _ in samples]), np.concatenate(weights), most
        ).basis
    return _leading(pooled_scatter(*(moments(*sample) for sample in samples)), most)[0]


def _leading(scatter: Array, most: int) -> tuple[Array, int]:
    """Up to `most` leading eigenvectors of a scatter (d, d), and its rank."""
    values, vectors = np.linalg.eigh(scatter)
    rank = int(np.sum(values > len(values) * np.finfo(float).eps * max(values[-1], 0.0)))
    return signed(vectors[:, ::-1][:, : min(most, rank)]), rank


def signed(basis: Array) -> Array:
    """Each column with its entry of largest modulus positive."""
    top = basis[np.argmax(np.abs(basis), axis=0), np.arange(basis.shape[1])]
    return np.asarray(basis * np.where(top < 0, -1.0, 1.0))
