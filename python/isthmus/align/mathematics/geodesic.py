"""Pure mathematics of subspaces: principal angles, the geodesic between two subspaces, its flow kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import Array

__all__ = ["Geodesic", "flow_root", "geodesic", "geodesic_point", "principal_angles"]


class Geodesic(NamedTuple):
    """The shortest way Phi(u) = start cos(u t) + direction sin(u t), u in [0, 1], between two subspaces.

    `start` (d, k): orthonormal, spans the first subspace. `direction` (d, k): orthonormal and orthogonal to
    `start`; columns whose angle is rounding are zero. `angles` t (k,): principal angles in [0, pi / 2],
    ascending.
    """

    start: Array
    direction: Array
    angles: Array


def geodesic(first: Array, second: Array) -> Geodesic:
    """The geodesic from the span of `first` to the span of `second`, both (d, k) with orthonormal columns.

    Small angles come from their sines, as accurate as large ones. Where an angle is pi / 2 the shortest way
    is not unique: one of them is returned. Cost: O(d k^2).
    Source: Bjoerck and Golub, Math. Comp. 27 (1973); Gong, Shi, Sha, Grauman, CVPR 2012, section 3.1.
    """
    left, cosines, right = np.linalg.svd(first.T @ second)
    cosines = np.minimum(cosines, 1.0)
    start = first @ left
    across = second @ right.T - start * cosines
    sines = np.linalg.norm(across, axis=0)
    near = int(np.sum(cosines > np.sqrt(0.5)))
    direction = across / np.where(sines > 0, sines, 1.0)
    if near:
        # Cosines near 1 do not tell small angles apart; the part of `second` outside `first` does.
        outside, small, turn = np.linalg.svd(across[:, :near], full_matrices=False)
        cosines[:near] = np.sqrt(np.maximum(1 - small[::-1] ** 2, 0))
        sines[:near], direction[:, :near] = small[::-1], outside[:, ::-1]
        start[:, :near] = start[:, :near] @ turn[::-1].T
    direction[:, sines <= 8 * len(first) * np.finfo(direction.dtype).eps] = 0
    return Geodesic(start, direction, np.arctan2(sines, cosines))


def principal_angles(first: Array, second: Array) -> Array:
    """Principal angles (k,) between the spans of two orthonormal bases (d, k), ascending."""
    return geodesic(first, second).angles


def geodesic_point(way: Geodesic, u: float) -> Array:
    """Phi(u) (d, k), orthonormal: u = 0 spans the first subspace, u = 1 the second."""
    return np.asarray(way.start * np.cos(u * way.angles) + way.direction * np.sin(u * way.angles))


def flow_root(way: Geodesic) -> Array:
    """L (d, 2 k) with L L' = G, the integral over [0, 1] of Phi(u) Phi(u)': GFK's kernel without G.

    In the frame of the midpoint Phi(1/2) the integral is diagonal: (1 + sin t / t) / 2 along it and
    (1 - sin t / t) / 2 across it, which equals the 2 x 2 blocks of the paper turned by t / 2.
    Source: Gong, Shi, Sha, Grauman, CVPR 2012, equation 5.
    """
    t = way.angles
    middle = geodesic_point(way, 0.5)
    across = way.direction * np.cos(t / 2) - way.start * np.sin(t / 2)
    # 1 - sin t / t without cancellation: Taylor's series where its first left out term is below 1e-17.
    small = t < 0.1
    squared = t**2
    series = squared / 6 * (1 - squared / 20 * (1 - squared / 42 * (1 - squared / 72 * (1 - squared / 110))))
    missing = np.where(small, series, 1 - np.sin(t) / np.where(small, 1.0, t))
    return np.hstack([middle * np.sqrt(1 - missing / 2), across * np.sqrt(missing / 2)])
