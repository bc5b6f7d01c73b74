"""Pure mathematics of density ratios w(x) = phi(x)'a = p_target(x) / p_source(x): KLIEP and least squares.

phi(x)_l = k(x, c_l) >= 0 for c centres. S (ns, c) and T (nt, c) hold phi of source and target rows, with
weights that sum to 1: a row of weight k / n is k rows of n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import Array

__all__ = [
    "LikelihoodFit",
    "fit_least_squares",
    "fit_likelihood",
    "leave_one_out",
    "least_squares_score",
    "likelihood_score",
    "spectrum",
]

TINY = np.finfo(np.float64).tiny


class LikelihoodFit(NamedTuple):
    """`coefficients` a (c,); `gap` >= the mean log-likelihood that is missing; `n_iter` steps taken."""

    coefficients: Array
    gap: float
    n_iter: int


def fit_likelihood(
    T: Array, weight: Array, source_mean: Array, *, tol: float, max_iter: int
) -> LikelihoodFit:
    """KLIEP: the a >= 0 that maximises sum weight log(T a) under source_mean'a = 1.

    With the proportions p_l = a_l source_mean_l this is the maximum likelihood of a mixture, so a <- a g with
    g = T'(weight / T a) / source_mean never lowers it and keeps the constraint; max(g) - 1 bounds what is
    missing. Centres no source row is near have no proportion, and a = 0; rows no other centre is near are
    left out.

    Cost: two products with T a step. Source: Sugiyama and others, NIPS 2007; the update is that of
    expectation maximisation.
    """
    known = source_mean > TINY * len(source_mean)
    out = np.zeros(len(source_mean))
    if not known.any():
        return LikelihoodFit(out, np.inf, 0)
    # Columns of the mixture: densities relative to the source, so that p itself is iterated.
    densities = T[:, known] / source_mean[known]
    reached = densities.max(axis=1) > 0
    densities, weight = densities[reached], weight[reached]
    if not len(densities):
        return LikelihoodFit(out, np.inf, 0)
    weight = weight / weight.sum()
    share = np.full(densities.shape[1], 1.0 / densities.shape[1])
    gap, taken = np.inf, 0
    while gap > tol and taken < max_iter:
        growth = densities.T @ (weight / (densities @ share))
        gap = float(growth.max()) - 1.0
        if gap > tol:
            share = share * growth
            taken += 1
    out[known] = share / share.sum() / source_mean[known]
    return LikelihoodFit(out, max(gap, 0.0), taken)


def likelihood_score(T: Array, weight: Array, coefficients: Array) -> float:
    """Mean log-ratio on rows; a ratio of 0 counts as the smallest number there is."""
    return float(weight @ np.log(np.maximum(T @ coefficients, TINY)))


def spectrum(
    S: Array, s_weight: Array, T: Array, t_weight: Array, alpha: float
) -> tuple[Array, Array, Array]:
    """Eigenvalues (c,) and vectors (c, c) of H, the mean of phi phi' under the mixture, and h (c,)."""
    H = (1 - alpha) * (S * s_weight[:, None]).T @ S
    if alpha > 0:
        H += alpha * (T * t_weight[:, None]).T @ T
    values, vectors = np.linalg.eigh(H)
    return np.maximum(values, 0.0), vectors, t_weight @ T


def fit_least_squares(values: Array, vectors: Array, h: Array, reg: float) -> Array:
    """(H + reg I)^-1 h with its negative entries set to 0."""
    return np.asarray(np.maximum(vectors @ ((vectors.T @ h) / (values + reg)), 0.0))


def least_squares_score(
    S: Array, s_weight: Array, T: Array, t_weight: Array, coefficients: Array, alpha: float
) -> float:
    """The squared error of the ratio on these rows up to a constant; smaller is better."""
    source, target = S @ coefficients, T @ coefficients
    squares = (1 - alpha) * float(s_weight @ source**2) + alpha * float(t_weight @ target**2)
    return squares / 2 - float(t_weight @ target)


def leave_one_out(S: Array, s_weight: Array, T: Array, t_weight: Array, regs: Array, pairs: Array) -> Array:
    """uLSIF's score (len(regs),) with row pairs[0, i] of S and row pairs[1, i] of T left out together.

    Without a source row of weight a and with reg l, H + l I is 1 / (1 - a) times (H + l (1 - a) I) minus a
    x x': one eigendecomposition of H serves all rows, weights and regs, and Sherman-Morrison the rest.
    Pairs with a row of nearly all the weight stay in, for without it there is next to nothing left.

    Cost: O(n c^2) for each reg. Source: Kanamori, Hido, Sugiyama, JMLR 10 (2009), section 4.
    """
    light = np.maximum(s_weight[pairs[0]], t_weight[pairs[1]]) < 1 - 1e-6
    if not light.any():
        return np.zeros(len(regs))
    pairs = pairs[:, light]
    values, vectors, h = spectrum(S, s_weight, T, t_weight, 0.0)
    x, t = S[pairs[0]], T[pairs[1]]
    a, v = s_weight[pairs[0]], t_weight[pairs[1]]
    x_turned, t_turned, h_turned = x @ vectors, t @ vectors, h @ vectors
    rest = (h_turned - v[:, None] * t_turned) / (1 - v)[:, None]
    scores = []
    for reg in regs:
        inverse = 1.0 / (values + reg * (1 - a)[:, None])
        x_solved, rest_solved = x_turned * inverse, rest * inverse
        lever = a / (1 - a * np.sum(x_turned * x_solved, axis=1))
        inner = lever * np.sum(x_turned * rest_solved, axis=1)
        solved = (1 - a)[:, None] * (rest_solved + inner[:, None] * x_solved)
        theta = np.maximum(solved @ vectors.T, 0.0)
        squares, gains = np.sum(x * theta, axis=1) ** 2, np.sum(t * theta, axis=1)
        scores.append(a @ squares / a.sum() / 2 - v @ gains / v.sum())
    return np.array(scores)
