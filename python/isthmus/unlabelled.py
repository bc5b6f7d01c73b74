"""How good a model is on a target without labels: each score as a function of arrays, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp, xlogy
from sklearn.model_selection import StratifiedKFold

from .align.domain_classifier import fit_domain_classifier, ratio_of_densities
from .arrays import Array, check_finite, generator, to_numpy

__all__ = [
    "density_ratio",
    "dev_risk",
    "domain_probabilities",
    "importance_weighted_score",
    "prediction_entropy",
    "proxy_a_distance",
    "soft_neighborhood_density",
]

BLOCK = 1 << 20  # entries of the similarity matrix held at once


def density_ratio(
    X: Any, X_target: Any, *, classifier: Any = None, n_folds: int = 5, random_state: Any = 0
) -> Array:
    """p_target(x) / p_source(x) at the source rows, by a classifier that tells the domains apart.

    w(x) = (ns / nt) P(target | x) / P(source | x), each row judged by a classifier that has not seen it.

    Parameters
    ----------
    X, X_target : rows (ns, d) and (nt, d); from a GPU they are copied to the host, where the classifier is
    classifier : a scikit-learn classifier with `predict_proba`; None: LogisticRegression on scaled columns
    n_folds : int >= 2, parts of the cross-fit; at most the rows of the smaller domain
    random_state : how rows are dealt to the parts

    Returns
    -------
    float64 array (ns,), not normalised: its mean over the source is about 1, and what it misses by is what
    the control variate of `dev_risk` needs.

    Source: Bickel, Brueckner, Scheffer, ICML 2007.
    """
    proba, is_target = domain_probabilities(
        X, X_target, classifier=classifier, n_folds=n_folds, random_state=random_state
    )
    return ratio_of_densities(proba[~is_target], float(np.sum(~is_target) / np.sum(is_target)))


def domain_probabilities(
    X: Any, X_target: Any, *, classifier: Any = None, n_folds: int = 5, random_state: Any = 0
) -> tuple[Array, Array]:
    """P(target | row) of all rows, source first, each out of fold, and which are target rows, (ns + nt,)."""
    source, target = _matrix(X, "X"), _matrix(X_target, "X_target")
    if source.shape[1] != target.shape[1]:
        raise ValueError(f"X_target must have X's width d = {source.shape[1]}, got {target.shape[1]}")
    folds = min(int(n_folds), len(source), len(target))
    if folds < 2:
        raise ValueError(
            f"telling domains apart needs n_folds >= 2 and 2 rows a domain, got n_folds = {n_folds}, "
            f"{len(source)} source and {len(target)} target rows"
        )
    rows = np.concatenate([source, target])
    is_target = np.repeat([False, True], [len(source), len(target)])
    proba = np.empty(len(rows))
    seed = int(generator(random_state).integers(2**31))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, is_target):
        fitted = fit_domain_classifier(classifier, rows[train], is_target[train])
        proba[test] = fitted.predict_proba(rows[test])[:, 1]
    return proba, is_target


def importance_weighted_score(y_true: Any, y_pred: Any, weight: Any, *, metric: Callable[..., Any]) -> float:
    """A metric over source rows, each with the weight p_target / p_source.

    Parameters
    ----------
    y_true, y_pred : labels and predictions of source rows (n,)
    weight : weights >= 0 (n,), normalised inside to mean 1
    metric : callable(y_true, y_pred, sample_weight=), higher is better, such as `accuracy_score`, `r2_score`

    Source: Sugiyama, Krauledat, Mueller, JMLR 8 (2007).
    """
    checked = _weights(weight, len(np.asarray(y_true)))
    return float(metric(y_true, y_pred, sample_weight=checked / checked.mean()))


def dev_risk(losses: Any, weight: Any) -> float:
    """The target risk estimated from source rows, with the weights themselves as control variate.

    mean(w l) + eta mean(w) - eta,  eta = -Cov(w l, w) / Var(w)

    Parameters
    ----------
    losses : the loss of each source row (n,), n >= 2
    weight : p_target / p_source at each (n,); their expectation is 1. Do not normalise them: with mean 1
        exactly the control variate vanishes.

    Source: You, Wang, Long, Jordan, ICML 2019 (deep embedded validation).
    """
    loss = np.asarray(losses, dtype=np.float64)
    if loss.ndim != 1 or len(loss) < 2:
        raise ValueError(f"losses must be the losses of at least 2 rows, got shape {loss.shape}")
    check_finite(loss, "losses")
    w = _weights(weight, len(loss))
    weighted = w * loss
    spread = np.mean((w - w.mean()) ** 2)
    varies = spread > (8 * np.finfo(np.float64).eps * w.max()) ** 2  # beyond the rounding of the mean
    eta = -np.mean((weighted - weighted.mean()) * (w - w.mean())) / spread if varies else 0.0
    return float(weighted.mean() + eta * (w.mean() - 1))


def prediction_entropy(proba: Any) -> float:
    """The mean entropy of predicted class probabilities (n, C) in nats: 0 certain, log C clueless.

    -mean_i sum_c p_ic log p_ic, with 0 log 0 = 0.

    Source: Morerio, Cavazza, Murino, ICLR 2018, as a way to choose between models.
    """
    p = _probabilities(proba)
    return float(-np.mean(np.sum(xlogy(p, p), axis=1)))


def soft_neighborhood_density(proba: Any, *, temperature: float = 0.05) -> float:
    """The mean entropy of each row's neighbourhood among the predictions; dense clusters score high.

    Rows of `proba` (n, C) are brought to length 1; row i sees row j != i with probability proportional to
    exp(<p_i, p_j> / temperature); the score is the mean over i of the entropy of these n - 1 numbers.

    Cost: O(n^2 C) time; n x n numbers are never held.
    Source: Saito, Kim, Teterwak, Sclaroff, Darrell, Saenko, ICCV 2021.
    """
    p = _probabilities(proba)
    if len(p) < 2:
        raise ValueError(f"soft neighborhood density needs at least 2 rows, got {len(p)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be a number > 0, got {temperature!r}")
    unit = p / np.linalg.norm(p, axis=1, keepdims=True)
    total, step = 0.0, max(1, BLOCK // len(p))
    for start in range(0, len(p), step):
        logit = unit[start : start + step] @ unit.T / temperature
        own = np.arange(len(logit))
        logit[own, start + own] = -np.inf
        log_d = logit - logsumexp(logit, axis=1, keepdims=True)
        log_d[own, start + own] = 0.0  # self: exp(-inf) times its logarithm
        d = np.exp(log_d)
        d[own, start + own] = 0.0
        total -= float(np.sum(d * log_d))
    return total / len(p)


def proxy_a_distance(
    X: Any, X_target: Any, *, classifier: Any = None, n_folds: int = 5, random_state: Any = 0
) -> float:
    """How well a classifier tells the domains apart: 2 (1 - 2 error), 0 not at all, 2 without a mistake.

    A row counts as a target row where p_target / p_source exceeds 1, judged by a classifier that has not seen
    it; the error is the mean of both domains' errors. It can exceed one half by chance, then the distance
    falls below 0. Parameters as in `density_ratio`.

    Source: Ben-David, Blitzer, Crammer, Pereira, NIPS 2006.
    """
    proba, is_target = domain_probabilities(
        X, X_target, classifier=classifier, n_folds=n_folds, random_state=random_state
    )
    share = is_target.mean()  # P(target | row) where both densities are equal; there, half a mistake
    wrong = np.where(is_target, proba < share, proba > share) + 0.5 * (proba == share)
    error = (wrong[is_target].mean() + wrong[~is_target].mean()) / 2
    return float(2 * (1 - 2 * error))


def _matrix(X: Any, name: str) -> Array:
    rows = np.asarray(to_numpy(X), dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"{name} must be a 2-d array of rows, got shape {rows.shape}")
    check_finite(rows, name)
    return rows


def _probabilities(proba: Any) -> Array:
    p = _matrix(proba, "proba")
    if len(p) == 0 or (p < 0).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-3):
        raise ValueError("proba must hold class probabilities: rows of numbers >= 0 with sum 1")
    return p


def _weights(weight: Any, n: int) -> Array:
    w = np.asarray(weight, dtype=np.float64)
    if w.shape != (n,):
        raise ValueError(f"weight must have one entry per row, shape ({n},), got {w.shape}")
    check_finite(w, "weight")
    if (w < 0).any() or not w.any():
        raise ValueError("weight must hold numbers >= 0, not all of them 0")
    return w
