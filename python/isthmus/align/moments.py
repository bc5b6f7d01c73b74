"""Alignment by first and second moments: MeanDiscrepancy and CORAL."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.utils.multiclass import type_of_target

from ..arrays import Array, check_finite
from .base import Aligner
from .domains import Domains, plain_labels
from .pencil import centred_blocks, moments, weighted_mean

__all__ = ["CORAL", "MeanDiscrepancy"]


class CORAL(Aligner):
    """Give the source the target's covariance and mean (Sun, Feng, Saenko, AAAI 2016).

    Source rows go to (x - mean_source_) map_ + mean_target_ with map_ = (C_s + r I)^-1/2 (C_t + r I)^1/2, so
    that map_' (C_s + r I) map_ = C_t + r I; target rows stay. The paper states the map for z-scored rows,
    whose means are zero. Covariances divide by the number of rows, or by the sum of the weights.

    Parameters
    ----------
    ridge : float >= 0, r above, added to both covariances; unit of X squared. 1 as published. 0 makes the
        covariance of the moved source exactly the target's, unless one is singular: then 1e-3 of the mean
        variance is added instead, and a UserWarning says how much.

    Fitted: `map_` (d, d), `mean_source_` (d,), `mean_target_` (d,), `ridge_` (what was added), `has_target_`.

    Cost: O((ns + nt) d^2 + d^3) time, O(d^2) memory beside the result. float32 rows are multiplied as
    float32.
    """

    def __init__(self, *, ridge: float = 1.0) -> None:
        self.ridge = ridge

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        ridge: Any = self.ridge
        if not isinstance(ridge, Real) or not 0 <= float(ridge) < np.inf:
            raise ValueError(f"ridge must be a number >= 0, got {self.ridge!r}")
        assert domains.X_target is not None
        source = moments(domains.X_source, source_weight, dtype=domains.X_source.dtype)
        target = moments(domains.X_target, target_weight, dtype=domains.X_target.dtype)
        covariances = [part.scatter / part.total for part in (source, target)]
        # numpy's eigh: scipy has BLAS threads of its own, whose spinning slows down the next product.
        (value_s, vector_s), (value_t, vector_t) = map(np.linalg.eigh, covariances)
        self.ridge_ = float(self.ridge)
        eps = np.finfo(np.result_type(domains.X_source, domains.X_target)).eps
        smallest = min(values[0] - len(values) * eps * values[-1] for values in (value_s, value_t))
        if self.ridge == 0 and smallest <= 0:
            self.ridge_ = 1e-3 * float(value_s.mean() + value_t.mean()) / 2
            if self.ridge_ == 0:
                raise ValueError("CORAL needs rows that vary, got constant X and X_target")
            warnings.warn(
                f"a covariance is singular, so CORAL shrinks: {self.ridge_:.3g} is added to both diagonals; "
                "pass ridge= to choose the number",
                UserWarning,
                stacklevel=4,
            )
        # Rounding makes zero eigenvalues slightly negative.
        root_s = np.sqrt(np.maximum(value_s, 0) + self.ridge_)
        root_t = np.sqrt(np.maximum(value_t, 0) + self.ridge_)
        self.map_: Array = (vector_s / root_s) @ (vector_s.T @ vector_t * root_t) @ vector_t.T
        self.mean_source_, self.mean_target_ = source.mean, target.mean

    def _map(self, rows: Array, domain: str) -> Array:
        if domain == "target":
            return rows
        matrix, origin, goal = (
            part.astype(rows.dtype) for part in (self.map_, self.mean_source_, self.mean_target_)
        )
        out = np.empty_like(rows, order="C")
        # Centred before the product, in blocks: a large mean costs no digits and no second array.
        for block, centred in centred_blocks(rows, origin):
            np.matmul(centred, matrix, out=out[block])
            out[block] += goal
        return out


class MeanDiscrepancy(Aligner):
    """The directions along which the source and target means differ, removed or kept.

    The simplest feature transfer, and a baseline for the others.

    Parameters
    ----------
    keep : "rest" gives X with the directions removed (the shared space, d columns); "directions" gives the
        projection onto them (q columns)

    Fitted: `directions_` (q, d), orthonormal rows, strongest first; `gaps_` (q,), how far the means lie
    apart along each; `has_target_`. Without target labels q = 1: the gap of the means (0 if there is none).
    With labels of classes on both sides, the singular vectors of the class-wise gaps, as many as their
    numerical rank. Labels of a continuous quantity (not all whole numbers) form no classes and are left
    aside.

    Cost: O(n d + C d min(C, d)) time for n rows and C classes; O(n d) memory, or O(d) without target labels.
    """

    def __init__(self, keep: str = "rest") -> None:
        self.keep = keep

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        if self.keep not in ("rest", "directions"):
            raise ValueError(f"keep must be 'rest' or 'directions', got {self.keep!r}")
        means = _means(domains, source_weight, target_weight)
        gaps = means[0] - means[1]
        _, lengths, directions = linalg.svd(gaps, full_matrices=False)
        # Below this a gap is the rounding of the means themselves.
        noise = np.finfo(float).eps * max(gaps.shape) * max(np.abs(means[0]).max(), np.abs(means[1]).max())
        rank = int(np.sum(lengths > noise))
        top = directions[np.arange(len(directions)), np.argmax(np.abs(directions), axis=1)]
        self.directions_: Array = (directions * np.where(top < 0, -1.0, 1.0)[:, None])[:rank]
        self.gaps_: Array = lengths[:rank]
        self._n_features_out = rank

    def _keeps_columns(self) -> bool:
        return self.keep == "rest" or not self.has_target_

    def _map(self, rows: Array, domain: str) -> Array:
        directions = self.directions_.astype(rows.dtype)
        along: Array = rows @ directions.T
        return along if self.keep == "directions" else rows - along @ directions


def _means(domains: Domains, source_weight: Array | None, target_weight: Array | None) -> tuple[Array, Array]:
    """Means (c, d) of both domains to compare: of each class labelled on both sides, or of all rows."""
    X_source, y_source, X_target = domains.X_source, domains.y_source, domains.X_target
    assert X_target is not None
    w_source = np.ones(len(X_source)) if source_weight is None else source_weight
    w_target = np.ones(len(X_target)) if target_weight is None else target_weight
    whole = weighted_mean(X_source, w_source)[None], weighted_mean(X_target, w_target)[None]
    labelled = domains.target_labelled & (w_target > 0)
    if not labelled.any():
        return whole
    assert domains.y_target is not None
    if y_source is None:
        raise ValueError("target labels need the labels y of the source beside them, got y=None")
    y_target = plain_labels(domains.y_target[labelled])
    for name, labels in (("y", y_source), ("y_target", y_target)):
        if labels.dtype.kind == "f":
            check_finite(labels, name)
    if type_of_target(y_source).startswith("continuous"):
        return whole
    known = w_source > 0
    source = _class_means(X_source[known], y_source[known], w_source[known])
    target = _class_means(X_target[labelled], y_target, w_target[labelled])
    shared = [label for label in target if label in source]
    if not shared:
        raise ValueError(
            f"no class is labelled on both sides: source {sorted(source)}, target {sorted(target)}"
        )
    return np.array([source[label] for label in shared]), np.array([target[label] for label in shared])


def _class_means(rows: Array, labels: Array, weight: Array) -> dict[Any, Array]:
    """The mean row (d,) of each label, in the order of the labels."""
    classes, group = np.unique(labels, return_inverse=True)
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group))[:-1])
    return {
        label: weighted_mean(rows[part], weight[part])
        for label, part in zip(classes.tolist(), parts, strict=True)
    }
