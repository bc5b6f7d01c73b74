"""Density ratios by a classifier that tells the domains apart, and the weights that come of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ..arrays import Array
from ..rows import check_rows
from .base import Reweighter
from .checks import check_number
from .domains import Domains, positive

__all__ = ["DensityRatioWeights", "fit_domain_classifier", "ratio_of_densities"]

CERTAIN = 1e-6  # domain probabilities are taken to stay this far from 0 and 1


def fit_domain_classifier(classifier: Any, rows: Array, is_target: Array, weight: Array | None = None) -> Any:
    """A fitted copy of a classifier of rows (n, d) as source (0) or target (1).

    None: logistic regression on standardised columns, so that neither their scale nor an offset matters.
    """
    label = np.asarray(is_target, dtype=np.int64)
    if classifier is None:
        # Fitted one by one: a Pipeline passes weights on under names that metadata routing changes.
        scaler = StandardScaler().fit(rows, sample_weight=weight)
        logistic = LogisticRegression(max_iter=1000).fit(scaler.transform(rows), label, sample_weight=weight)
        return make_pipeline(scaler, logistic)
    if not hasattr(classifier, "predict_proba"):
        raise TypeError(
            f"classifier must have predict_proba, got {type(classifier).__name__}: wrap it in "
            "CalibratedClassifierCV"
        )
    if weight is None:
        return clone(classifier).fit(rows, label)
    if not has_fit_parameter(classifier, "sample_weight"):
        raise ValueError(f"{type(classifier).__name__}.fit takes no sample_weight, got one")
    return clone(classifier).fit(rows, label, sample_weight=weight)


def ratio_of_densities(target_probability: Any, odds: float) -> Array:
    """p_target(x) / p_source(x) = odds P(target | x) / P(source | x), `odds` the sizes' ratio ns / nt.

    Probabilities nearer to 0 or 1 than `CERTAIN` count as that near.
    """
    known = np.clip(np.asarray(target_probability, dtype=np.float64), CERTAIN, 1 - CERTAIN)
    return np.asarray(known / (1 - known) * odds)


class DensityRatioWeights(Reweighter):
    """Density ratio by a classifier of the domains: p(target | x) / p(source | x) times ns / nt.

    Rows of several sources count as one sample, as do those of all targets.

    Parameters
    ----------
    classifier : a scikit-learn classifier with `predict_proba`, whose probabilities should be calibrated
        (wrap others in CalibratedClassifierCV); None: LogisticRegression on standardised columns
    bound : float > 0, the largest weight; None: what a probability of 1 - 1e-6 comes to

    Fitted: `weights_` (ns,); `classifier_`, fitted to 0 for source and 1 for target rows; `odds_`, the factor
    ns / nt (of sums of weights); `has_target_`.

    A weight of k counts as the row k times if it does for the classifier; one whose `fit` takes no
    `sample_weight` is a ValueError where there are weights.

    Cost: that of the classifier on all rows.
    Source: Bickel, Brueckner, Scheffer, ICML 2007.
    """

    def __init__(self, classifier: Any = None, *, bound: float | None = None) -> None:
        self.classifier = classifier
        self.bound = bound

    def density_ratio(self, X: Any) -> Array:
        """The estimated ratio at the rows of `X` (n, d): float64 (n,); ones where `fit` had no target."""
        check_is_fitted(self)
        rows = check_rows(self, X, reset=False)
        return self._ratio(rows) if self.has_target_ else np.ones(len(rows))

    def _ratio(self, rows: Array) -> Array:
        weights = ratio_of_densities(self.classifier_.predict_proba(rows)[:, 1], self.odds_)
        return weights if self.bound is None else np.minimum(weights, float(self.bound))

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        check_number(self, "bound", words=(None,))
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        rows, is_target = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
        weight = None
        if source_weight is not None or target_weight is not None:
            weight = np.concatenate([w_source, w_target])
        self.classifier_ = fit_domain_classifier(self.classifier, rows, is_target, weight)
        self.odds_ = float(w_source.sum() / w_target.sum())
        return self._ratio(domains.X_source)
