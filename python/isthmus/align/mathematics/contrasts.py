"""Pure mathematics of joint alignment: which means must agree, how much each, and how far domains lie apart.

E (n, q) holds one contrast a column: how the mean of the source and that of the target differ, over all rows
or over the rows of one class. M = E E' / c is never formed. Classes are numbered 0 to C - 1, those of the
source; -1 is a target row of no such class. A row of weight w enters as sqrt(w), as everywhere in the pencil:
weight k is the row repeated k times.
"""

from __future__ import annotations

import numpy as np

from ...arrays import Array
from .pencil import mean_contrast

__all__ = ["MARGINAL", "domain_distance", "estimate_balance", "joint_contrasts"]

MARGINAL = ("released", "paper")  # weight of the contrast of all rows beside those of the classes
LEAST_BALANCE = 1e-3  # below it the estimate is 0, as in the released code
NEWTON_STEPS = 100


def joint_contrasts(
    source_class: Array,
    target_class: Array,
    n_classes: int,
    source_weight: Array,
    target_weight: Array,
    *,
    balance: float = 0.5,
    marginal: str = "released",
    priors: str | None = None,
) -> Array:
    """E of JDA (`balance` 0.5), BDA and weighted BDA, source rows first.

    Parameters
    ----------
    source_class : integers of shape (ns,), 0 to C - 1
    target_class : integers of shape (nt,), 0 to C - 1: known or predicted classes; -1 for any other
    n_classes : C, the number of classes of the source
    source_weight, target_weight : positive weights of shapes (ns,) and (nt,)
    balance : mu in [0, 1]: the share of the class contrasts; 0 is TCA, 1 the classes alone
    marginal : "released" weighs the contrast of all rows by C, "paper" by 1
    priors : None for class means; "paper": sqrt(P(c)) of its domain times the mean (weighted BDA);
        "released": the target's mean times P_t(c) / P_s(c)

    Returns
    -------
    float64 array of shape (n, q), q <= C + 1: columns of weight 0 are left out

    A class without target rows keeps its source half; without source rows it has no column. Only the target
    halves depend on `target_class`. Source: Long, Wang, Ding, Sun, Yu, ICCV 2013; Wang, Chen, Hao, Feng,
    Shen, ICDM 2017.
    """
    if marginal not in ("released", "paper"):
        raise ValueError(f"marginal must be 'released' or 'paper', got {marginal!r}")
    if priors not in (None, "paper", "released"):
        raise ValueError(f"priors must be None, 'paper' or 'released', got {priors!r}")
    columns = []
    if balance < 1:
        share = n_classes if marginal == "released" else 1
        columns.append(np.sqrt((1 - balance) * share) * mean_contrast(source_weight, target_weight))
    if balance > 0:
        source = _class_means(source_class, n_classes, source_weight)
        target = _class_means(target_class, n_classes, target_weight)
        if priors is not None:
            of_source = _class_shares(source_class, n_classes, source_weight)
            of_target = _class_shares(target_class, n_classes, target_weight)
            if priors == "paper":
                source, target = source * np.sqrt(of_source), target * np.sqrt(of_target)
            else:
                target = target * (of_target / np.where(of_source > 0, of_source, 1))
        halves = np.concatenate([source, -target])[:, source.any(axis=0)]
        columns.append(np.sqrt(balance) * halves)
    return np.concatenate(columns, axis=1)


def estimate_balance(
    source: Array,
    target: Array,
    source_class: Array,
    target_class: Array,
    source_weight: Array | None = None,
    target_weight: Array | None = None,
) -> float:
    """mu of BDA and MEDA: how much of the distance between the domains is one between their classes.

    d_c / (d_c + d_m) in [0, 1], d_m the distance of all rows and d_c the mean over the classes that both
    domains have, as in the released code; 0 below 1e-3, and where the domains do not differ at all.

    Parameters
    ----------
    source, target : embedded rows (ns, k) and (nt, k)
    source_class, target_class : integers, -1 for a row of no class
    source_weight, target_weight : weights (ns,) and (nt,), or None

    Cost: that of `domain_distance`, twice. Source: Wang, Feng, Chen, Yu, Huang, Yu, ACM MM 2018.
    """
    weight = np.ones(len(source)) if source_weight is None else source_weight
    rest = np.ones(len(target)) if target_weight is None else target_weight
    of_classes = []
    for label in np.intersect1d(source_class[source_class >= 0], target_class):
        ours, theirs = source_class == label, target_class == label
        of_classes.append(domain_distance(source[ours], target[theirs], weight[ours], rest[theirs]))
    between = float(np.mean(of_classes)) if of_classes else 0.0
    total = between + domain_distance(source, target, weight, rest)
    balance = between / total if total > 0 else 0.0
    return min(balance, 1.0) if balance >= LEAST_BALANCE else 0.0


def domain_distance(
    source: Array,
    target: Array,
    source_weight: Array | None = None,
    target_weight: Array | None = None,
    *,
    penalty: float = 1.0,
) -> float:
    """Proxy A-distance 2 (1 - 2 err) of two samples, err the training error of a linear classifier.

    The classifier is the linear SVM of the squared hinge loss, intercept penalised like the rest. Its
    optimum is unique, and Newton's method reaches it up to rounding, so neither a seed nor the order of the
    rows matters.

    Parameters
    ----------
    source, target : rows (ns, d) and (nt, d)
    source_weight, target_weight : weights (ns,) and (nt,), or None
    penalty : C of the SVM

    Returns
    -------
    2 where a plane parts the domains, 0 where no plane beats a coin

    Cost: about ten systems of size min(n, d + 1), O(n d min(n, d)) each. Source: Ben-David, Blitzer,
    Crammer, Pereira, NIPS 2006.
    """
    weight = np.concatenate(
        [
            np.ones(len(rows)) if given is None else given
            for rows, given in ((source, source_weight), (target, target_weight))
        ]
    )
    rows = np.concatenate([source, target]).astype(np.float64, copy=False)
    rows = np.column_stack([rows, np.ones(len(rows))])[weight > 0]
    side = np.repeat([-1.0, 1.0], [len(source), len(target)])[weight > 0]
    weight = weight[weight > 0]
    if len(rows) < rows.shape[1]:
        rows = np.linalg.qr(rows.T)[1].T  # the optimum lies in the span of the rows
    scores = rows @ _separating(rows, side, penalty * weight)
    error = weight[(scores > 0) != (side > 0)].sum() / weight.sum()
    return float(2 * (1 - 2 * error))


def _separating(rows: Array, side: Array, penalty: Array) -> Array:
    """w of least |w|^2 / 2 + sum penalty max(0, 1 - side x'w)^2, by Newton with halved steps."""

    def loss(vector: Array) -> float:
        missing = np.maximum(0.0, 1 - side * (rows @ vector))
        return float(vector @ vector / 2 + penalty @ missing**2)

    w = np.zeros(rows.shape[1])
    best, active = loss(w), np.ones(len(rows), dtype=bool)
    for _ in range(NEWTON_STEPS):
        used, share = rows[active], 2 * penalty[active]
        hessian = used.T @ (share[:, None] * used)
        hessian[np.diag_indices_from(hessian)] += 1
        right = used.T @ (share * side[active])
        try:
            step = np.linalg.solve(hessian, right) - w
        except np.linalg.LinAlgError:  # rows so large that the penalty of w is lost beside them
            step = np.linalg.lstsq(hessian, right)[0] - w
        size = 1.0
        while (now := loss(w + size * step)) > best and size > 1e-10:
            size /= 2
        if now > best:
            break
        w, before = w + size * step, best
        best, last = now, active
        active = side * (rows @ w) < 1
        exact = size == 1 and bool((active == last).all())
        if exact or now >= before * (1 - 1e-15):
            break
    return w


def _class_means(classes: Array, n_classes: int, weight: Array) -> Array:
    """(n, C): column c times G is the weighted mean of the rows of class c; zero for a class of no row."""
    member = classes[:, None] == np.arange(n_classes)
    total = np.where(member.any(axis=0), weight @ member, 1.0)
    return np.asarray(np.where(member, np.sqrt(weight)[:, None] / total, 0.0))


def _class_shares(classes: Array, n_classes: int, weight: Array) -> Array:
    """P(c) (C,): the share of the weight of all rows."""
    shares: Array = (weight @ (classes[:, None] == np.arange(n_classes))) / weight.sum()
    return shares
