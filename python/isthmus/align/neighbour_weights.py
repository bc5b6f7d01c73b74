"""Weights for source rows by counting the target rows in their Voronoi cells."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from ..arrays import Array
from .base import Reweighter
from .checks import check_number
from .domains import Domains, positive

__all__ = ["NearestNeighbourWeights"]


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
        check_number(self, "smoothing", zero=True)
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
        found = (cell / copies + float(self.smoothing))[place]
        found *= w_source.sum() / float(w_source @ found)
        if source_weight is None:
            return np.asarray(found)
        weights = np.zeros(len(source_weight))
        weights[source_weight > 0] = found
        return weights
