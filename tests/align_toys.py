"""Small problems with a known shift between the domains, for the tests of alignment."""

import numpy as np


def shifted_classes(shift, seed, n=200, d=10):
    """n + n standard normal rows, labels 0/1 at random, 3 y on axis 1; the target moved by `shift` on axis 0.

    The target also moves by shift / 4 on the axis of the classes.
    """
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((2 * n, d))
    y = rng.integers(0, 2, 2 * n)
    X[:, 1] += 3 * y
    X[n:, 0] += shift
    X[n:, 1] += shift / 4
    return X[:n], y[:n], X[n:], y[n:]


def two_covariances(n_source=300, n_target=260, d=6, seed=0):
    """Source and target rows whose means, scales and correlations all differ."""
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((n_source, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)
    target = rng.standard_normal((n_target, d)) @ rng.standard_normal((d, d)) - 2 * rng.standard_normal(d)
    return source, target


def stacked(X_source, X_target, seed=0):
    """Rows of both domains in random order, with their domain numbers: sources 0 and 3, targets -1 and -2."""
    rng = np.random.default_rng(seed)
    domain = np.concatenate([rng.choice([0, 3], len(X_source)), rng.choice([-1, -2], len(X_target))])
    order = rng.permutation(len(domain))
    return np.concatenate([X_source, X_target])[order], domain[order], order
