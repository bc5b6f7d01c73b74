"""Weights for source rows from how near the target is: by a classifier of the domains, by neighbours."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ..arrays import Array
from ..rows import check_rows
from .base import Reweighter
from .domains import Domains, positive

__all__ = ["DensityRatioWeights", "NearestNeighbourWeights"]


class DensityRatioWeights(Reweighter):
    """Density ratio by a classifier of the domains: p(target | x) / p(source | x) times ns / nt.

    Rows of several sources count as one sample, as do those of all targets.

    Parameters
    ----------
    classifier : a scikit-learn classifier with `predict_proba`, whose probabilities should be calibrated
        (wrap others in CalibratedClassifierCV); None: LogisticRegression(max_iter=1000)
    bound : float > 0, the largest weight; None: none

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
        shares = np.asarray(self.classifier_.predict_proba(rows), dtype=np.float64)
        tiny = np.finfo(np.float64).tiny
        weights = self.odds_ * shares[:, 1] / np.maximum(shares[:, 0], tiny)
        limit = np.finfo(np.float64).max if self.bound is None else float(self.bound)
        return np.asarray(np.minimum(weights, limit))

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        bound: Any = self.bound
        if bound is not None and (not isinstance(bound, Real) or not 0 < float(bound) < np.inf):
            raise ValueError(f"bound must be None or a finite number above 0, got {bound!r}")
        model = LogisticRegression(max_iter=1000) if self.classifier is None else clone(self.classifier)
        if not hasattr(model, "predict_proba"):
            raise TypeError(
                f"classifier must have predict_proba, got {type(model).__name__}: wrap it in "
                "CalibratedClassifierCV"
            )
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        rows, label = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
        extra = {}
        if source_weight is not None or target_weight is not None:
            if not has_fit_parameter(model, "sample_weight"):
                raise ValueError(f"{type(model).__name__}.fit takes no sample_weight, got one")
            extra["sample_weight"] = np.concatenate([w_source, w_target])
        self.classifier_ = model.fit(rows, label, **extra)
        self.odds_ = float(w_source.sum() / w_target.sum())
        return self._ratio(domains.X_source)


class NearestNeighbourWeights(Reweighter):
    """Weights by counting: how many target rows have this source row as their nearest.

    The count of the row's Voronoi cell plus `smoothing`, scaled to a mean of 1. Rows of several sources count
    as one sample, as do those of all targets.

    Parameters
    ----------
    smoothing : float >= 0, added to every count; 1 as published (Laplace), so that no row is lost

    Fitted: `weights_` (ns,), their mean 1 (over rows weighed by `sample_weight`); `has_target_`.

    A weight of k counts as the row k times, and equal source rows share their cell; `weights_` is 0 for a row
    of weight 0.

    Cost: a nearest-neighbour search of nt rows among ns.
    Source: Loog, IEEE Workshop on Machine Learning for Signal Processing 2012.
    """

    def __init__(self, smoothing: float = 1.0) -> None:
        self.smoothing = smoothing

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        smoothing: Any = self.smoothing
        if not isinstance(smoothing, Real) or not 0 <= float(smoothing) < np.inf:
            raise ValueError(f"smoothing must be a finite number of at least 0, got {smoothing!r}")
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        # Distinct rows in sorted order: which of two equally near is taken does not hang on the order given.
        distinct, place = np.unique(source, axis=0, return_inverse=True)
        place = place.ravel()
        search = NearestNeighbors(n_neighbors=1).fit(distinct)
        nearest = search.kneighbors(target, return_distance=False)[:, 0]
        cell = np.bincount(nearest, w_target, minlength=len(distinct))
        copies = np.bincount(place, w_source)
        found = (cell / copies + float(smoothing))[place]
        found *= w_source.sum() / float(w_source @ found)
        if source_weight is None:
            return np.asarray(found)
        weights = np.zeros(len(source_weight))
        weights[source_weight > 0] = found
        return weights
