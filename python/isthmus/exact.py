"""Exact minimisers of the linear models: ridge regression in closed form, logistic regression by L-BFGS."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import svd
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from .algebra import triangle
from .arrays import Array, beside, namespace, to_numpy, widened
from .training import Network, labels_beside, loss_and_gradients

__all__ = ["minimise"]

TOLERANCE = 1e-8  # largest entry of the gradient on arrival, in the basis below
MAX_ITER = 5000


def minimise(network: Network, X: Array, y: Array, weights: Array, l2: float) -> tuple[float, int]:
    """Minimise sum_i weights_i loss_i + l2 |W|^2 / 2 over a network of one layer, in place.

    Parameters
    ----------
    network : one layer, on the host; a logistic loss starts from its present parameters
    X, y, weights : (n, d), (n,) as in `training.Term`, (n,) non-negative, on the host like y
    l2 : factor of the penalty; intercepts are not penalised. With 0 and dependent columns: the shortest W

    Returns
    -------
    (objective, number of iterations). Work is done in float64, on centred rows, where the rows are: of rows
    on a device the host sees triangles, parameters and gradients.

    Cost: O(n d^2) for the basis of singular vectors, O(n d n_outputs) an iteration; O(n d) memory.
    """
    X = widened(X)
    y, shares = labels_beside(y, X, network.loss), beside(weights, X)
    mean = to_numpy(shares @ X / float(weights.sum()))
    X = X - beside(mean, X)
    find = _ridge if network.loss == "squared" else _logistic
    start = Network(
        [network.coefs[0].astype(np.float64)],
        [network.intercepts[0] + mean @ network.coefs[0]],
        "identity",
        network.loss,
    )
    coef, intercept, n_iter = find(start, X, y, shares, l2)
    network.coefs[0][...] = coef
    network.intercepts[0][...] = intercept - mean @ coef
    minimum = Network([coef], [intercept], "identity", network.loss).beside(X)
    loss, _ = loss_and_gradients(minimum, X, y, weights=shares)
    return float(loss) + 0.5 * l2 * float(np.square(coef).sum()), n_iter


def _ridge(start: Network, X: Array, y: Array, weights: Array, l2: float) -> tuple[Array, Array, int]:
    xp = namespace(X)
    mean = weights @ y / weights.sum()
    rows = xp.concatenate([X, (y - mean)[:, None]], 1) * xp.sqrt(weights)[:, None]
    reduced = triangle(rows)
    left, sizes, right = _singular(reduced[:, :-1], len(X), l2)
    coef = right.T @ (sizes / (sizes**2 + l2) * (left.T @ reduced[:, -1]))
    return coef[:, None], np.array([float(mean)]), 1


def _logistic(start: Network, X: Array, y: Array, weights: Array, l2: float) -> tuple[Array, Array, int]:
    # In singular vectors over sqrt(s^2 / 4 + l2) the Hessian is near the identity: p (1 - p) <= 1 / 4.
    _, sizes, right = _singular(triangle(X * namespace(X).sqrt(weights)[:, None]), len(X), l2)
    damping = np.sqrt(sizes**2 / 4.0 + l2)[:, None]
    basis = right.T / damping.T
    X = X @ beside(basis, X)
    penalty = l2 / damping**2
    shape = (len(sizes), start.coefs[0].shape[1])

    def objective(flat: Array) -> tuple[float, Array]:
        coef, intercept = flat[: -shape[1]].reshape(shape), flat[-shape[1] :]
        trial = Network([coef], [intercept], "identity", start.loss).beside(X)
        value, gradients = loss_and_gradients(trial, X, y, weights=weights)
        by_coef, by_intercept = map(to_numpy, gradients)
        total = float(value) + 0.5 * float((penalty * coef * coef).sum())
        return total, np.concatenate([(by_coef + penalty * coef).ravel(), by_intercept])

    found = minimize(
        objective,
        np.concatenate([(damping * (right @ start.coefs[0])).ravel(), start.intercepts[0]]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITER, "maxfun": 2 * MAX_ITER, "gtol": TOLERANCE, "ftol": 0.0, "maxls": 50},
    )
    slope = float(np.abs(found.jac).max())
    # A line search that fails at a flat gradient met rounding: no lower value can be told apart.
    if not found.success and slope > 1e3 * TOLERANCE:
        warnings.warn(
            f"logistic regression stopped after {found.nit} steps with a gradient of {slope:.1e}, not "
            f"{TOLERANCE:.0e}: the classes may be separable, a larger alpha helps",
            ConvergenceWarning,
            stacklevel=6,
        )
    return basis @ found.x[: -shape[1]].reshape(shape), found.x[-shape[1] :], max(1, int(found.nit))


def _singular(reduced: Array, n_rows: int, l2: float) -> tuple[Array, Array, Array]:
    """Singular vectors and values of n rows by the triangle of their QR decomposition.

    Without a penalty only those that rounding cannot have made.
    """
    left, sizes, right = svd(reduced, full_matrices=False)
    rounding = max(n_rows, reduced.shape[1]) * np.finfo(np.float64).eps * sizes.max()
    keep = sizes > (0.0 if l2 > 0.0 else rounding)
    return left[:, keep], sizes[keep], right[keep]
