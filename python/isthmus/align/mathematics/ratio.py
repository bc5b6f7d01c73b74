"""Pure mathematics of density ratios w(x) = phi(x)'a = p_target(x) / p_source(x): KLIEP and least squares.

phi(x)_l = k(x, c_l) >= 0 for c centres. S (ns, c) and T (nt, c) hold phi of source and target rows, with
weights that sum to 1: a row of weight k / n is k rows of n. S and T may be on a device, all
else is on the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...arrays import Array, beside, index_of, namespace, to_numpy

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


def fit_likelihood(T: Any, weight: Array, source_mean: Array, *, tol: float, max_iter: int) -> LikelihoodFit:
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
    densities = T[:, index_of(known, T)] / beside(source_mean[known], T)
    reached = to_numpy(namespace(T).amax(densities, 1)) > 0
    densities, weight = densities[index_of(reached, T)], weight[reached]
    if not len(densities):
        return LikelihoodFit(out, np.inf, 0)
    there = beside(weight / weight.sum(), T)
    share = beside(np.full(densities.shape[1], 1.0 / densities.shape[1]), T)
    gap, taken = np.inf, 0
    while gap > tol and taken < max_iter:
        growth = densities.T @ (there / (densities @ share))
        gap = float(growth.max()) - 1.0
        if gap > tol:
            share = share * growth
            taken += 1
    out[known] = to_numpy(share / share.sum()) / source_mean[known]
    return LikelihoodFit(out, max(gap, 0.0), taken)


def likelihood_score(T: Any, weight: Array, coefficients: Array) -> float:
    """Mean log-ratio on rows; a ratio of 0 counts as the smallest number there is."""
    return float(weight @ np.log(np.maximum(to_numpy(T @ beside(coefficients, T)), TINY)))


def spectrum(S: Any, s_weight: Array, T: Any, t_weight: Array, alpha: float) -> tuple[Array, Array, Array]:
    """Eigenvalues (c,) and vectors (c, c) of H, the mean of phi phi' under the mixture, and h (c,)."""
    H = (1 - alpha) * (S * beside(s_weight[:, None], S)).T @ S
    if alpha > 0:
        H += alpha * (T * beside(t_weight[:, None], T)).T @ T
    values, vectors = np.linalg.eigh(to_numpy(H))
    return np.maximum(values, 0.0), vectors, to_numpy(beside(t_weight, T) @ T)


def fit_least_squares(values: Array, vectors: Array, h: Array, reg: float) -> Array:
    """(H + reg I)^-1 h with its negative entries set to 0."""
    return np.asarray(np.maximum(vectors @ ((vectors.T @ h) / (values + reg)), 0.0))


def least_squares_score(
    S: Any, s_weight: Array, T: Any, t_weight: Array, coefficients: Array, alpha: float
) -> float:
    """The squared error of the ratio on these rows up to a constant; smaller is better."""
    source, target = (to_numpy(table @ beside(coefficients, table)) for table in (S, T))
    squares = (1 - alpha) * float(s_weight @ source**2) + alpha * float(t_weight @ target**2)
    return squares / 2 - float(t_weight @ target)


def leave_one_out(S: Any, s_weight: Array, T: Any, t_weight: Array, regs: Array, pairs: Array) -> Array:
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
    x, t = S[index_of(pairs[0], S)], T[index_of(pairs[1], T)]
    a, v = s_weight[pairs[0]], t_weight[pairs[1]]
    total, total_t = float(a.sum()), float(v.sum())
    a, v, values, vectors, h = (beside(part, x) for part in (a, v, values, vectors, h))
    x_turned, t_turned, h_turned = x @ vectors, t @ vectors, h @ vectors
    rest = (h_turned - v[:, None] * t_turned) / (1 - v)[:, None]
    scores = []
    for reg in regs.tolist():
        inverse = 1.0 / (values + reg * (1 - a)[:, None])
        x_solved, rest_solved = x_turned * inverse, rest * inverse
        lever = a / (1 - a * (x_turned * x_solved).sum(1))
        inner = lever * (x_turned * rest_solved).sum(1)
        solved = (1 - a)[:, None] * (rest_solved + inner[:, None] * x_solved)
        theta = namespace(x).clip(solved @ vectors.T, 0.0, None)
        squares, gains = (x * theta).sum(1) ** 2, (t * theta).sum(1)
        scores.append(float(a @ squares) / total / 2 - float(v @ gains) / total_t)
    return np.array(scores)
