"""Alignment by first and second moments: CORAL, LinearOT, MeanDiscrepancy."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy import linalg

from .. import ops
from ..arrays import Array, dtype_of, empty_like, index_of, like, namespace
from ..blas import blas_alone, eigenpairs
from ..config import config
from .base import Aligner
from .checks import check_choice, check_number, check_share
from .domains import Domains
from .labelled import are_continuous, read_labels
from .mathematics.pencil import centred_blocks, moments, weighted_mean
from .mathematics.shrinkage import RULES, shrunk_covariance

__all__ = ["CORAL", "LinearOT", "MeanDiscrepancy"]


class Eigenpairs(NamedTuple):
    """Eigenvalues (d,) and orthonormal eigenvectors (d, d) of a covariance."""

    values: Array
    vectors: Array


class _GaussianMap(Aligner):
    """Moves each source by x -> (x - its mean) map + the target's mean; the target stays.

    A method gives `_matrix`: the map from the eigenpairs of the source's covariance and the target's; and the
    name of the parameter that is added to all eigenvalues.
    """

    _each_domain = True
    _target_stays = True
    _on_device = True
    _ridge_name: ClassVar[str]
    _ridge_is_relative: ClassVar[bool] = False  # to the mean variance, where a covariance is singular
    shrinkage: Any

    def _matrix(self, source: Eigenpairs, target: Eigenpairs) -> Array:
        raise NotImplementedError

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        check_number(self, self._ridge_name, zero=True)
        check_share(self, "shrinkage", words=(*RULES, None))
        assert domains.X_target is not None
        parts = _sources(domains, source_weight, self.domains_[self.domains_ >= 0].tolist())
        parts.append((domains.X_target, target_weight))
        found = [moments(rows, weight, dtype=dtype_of(rows)) for rows, weight in parts]
        shrunk = [
            shrunk_covariance(part, *sample, self.shrinkage)
            for part, sample in zip(found, parts, strict=True)
        ]
        eps = np.finfo(np.result_type(*(dtype_of(rows) for rows, _ in parts))).eps
        maps = self._maps([covariance for covariance, _ in shrunk], float(eps))
        means = [part.mean for part in found[:-1]]
        spreads = [np.sqrt(np.trace(part.scatter) / part.total) for part in found[:-1]]
        several = len(maps) > 1
        self.map_: Array = np.stack(maps) if several else maps[0]
        self.mean_source_: Array = np.stack(means) if several else means[0]
        self.spread_source_: Array = np.array(spreads if several else spreads[0])
        self.mean_target_: Array = found[-1].mean
        self.shrinkage_: Array = np.array([amount for _, amount in shrunk])

    def _maps(self, covariances: list[Array], eps: float) -> list[Array]:
        """The map of each source, from the covariances of all sources and the target; sets `ridge_`."""
        pairs = [Eigenpairs(*pair) for pair in eigenpairs(covariances)]
        ridge = float(getattr(self, self._ridge_name))
        if any(values[0] <= len(values) * eps * values[-1] for values, _ in pairs):
            variance = float(np.mean([values.mean() for values, _ in pairs]))
            if ridge == 0:
                ridge = 1e-3 * variance
                self._check_varies(ridge)
                self._say_shrunk(ridge)
            elif self._ridge_is_relative:
                ridge *= variance
                self._check_varies(ridge)
        self.ridge_ = ridge
        # Rounding makes zero eigenvalues slightly negative.
        pairs = [Eigenpairs(np.maximum(values, 0) + ridge, vectors) for values, vectors in pairs]
        with blas_alone(len(pairs[0].values)):
            return [self._matrix(source, pairs[-1]) for source in pairs[:-1]]

    def _check_varies(self, ridge: float) -> None:
        if ridge == 0:
            raise ValueError(f"{type(self).__name__} needs rows that vary, got constant X and X_target")

    def _say_shrunk(self, ridge: float) -> None:
        name = type(self).__name__
        warnings.warn(
            f"a covariance is singular, so {name} shrinks: {ridge:.3g} is added to both diagonals; "
            f"pass {self._ridge_name}= to choose the number",
            UserWarning,
            stacklevel=6,
        )

    def _map(self, rows: Array, domain: int) -> Array:
        numbers = self.domains_[self.domains_ >= 0]
        at: Any = int(np.searchsorted(numbers, domain)) if len(numbers) > 1 else ()
        matrix, origin, spread = self.map_[at], self.mean_source_[at], self.spread_source_[at]
        weights: Array = like(matrix, rows)
        out: Array = empty_like(rows, len(origin))
        if np.abs(origin).max() * np.sqrt(len(origin)) <= 2 * spread:
            # The mean is about as long as the rows spread, so taking it away later costs no digits.
            # einsum, lest threads of BLAS spin beside the product that follows.
            shift = like(self.mean_target_ - np.einsum("i,ij->j", origin, matrix), rows)
            with config(assume_finite=True):
                ops.project(rows, weights, shift, out=out)
            return out
        goal: Array = like(self.mean_target_, rows)
        product: Any = namespace(rows).matmul
        for block, centred in centred_blocks(rows, origin.astype(dtype_of(rows))):
            product(centred, weights, out=out[block])
            out[block] += goal
        return out


class CORAL(_GaussianMap):
    """Give the source the target's covariance and mean (Sun, Feng, Saenko, AAAI 2016).

    Source rows go to (x - mean_source_) map_ + mean_target_ with map_ = (C_s + r I)^-1/2 (C_t + r I)^1/2, so
    that map_' (C_s + r I) map_ = C_t + r I; target rows stay. The paper states the map for z-scored rows,
    whose means are zero. Covariances divide by the number of rows, or by the sum of the weights. Of several
    sources each has a map of its own to all target rows together.

    Parameters
    ----------
    ridge : float >= 0, r above, added to both covariances; unit of X squared. 1 as published. 0 makes the
        covariance of the moved source exactly the target's, unless one is singular: then 1e-3 of the mean
        variance is added instead, and a UserWarning says how much.
    shrinkage : None, or how far both covariances go towards a multiple of the identity before that: a number
        in [0, 1], or "ledoit_wolf" or "oas", which estimate it for every domain

    Fitted: `map_` (d, d), `mean_source_` (d,), `spread_source_` () (root mean square distance of the source
    rows from their mean), each with a leading axis of m for m > 1 sources in the order of their numbers;
    `mean_target_` (d,); `ridge_` (what was added); `shrinkage_` (m + 1,), of the sources and the target;
    `domains_` (the numbers of all domains), `has_target_`.

    Cost: O((ns + nt) d^2 + m d^3) time, O(m d^2) memory beside the result. float32 rows are multiplied as
    float32.
    """

    _ridge_name = "ridge"

    def __init__(self, *, ridge: float = 1.0, shrinkage: Any = None) -> None:
        self.ridge = ridge
        self.shrinkage = shrinkage

    def _matrix(self, source: Eigenpairs, target: Eigenpairs) -> Array:
        left = source.vectors / np.sqrt(source.values)
        across = source.vectors.T @ target.vectors * np.sqrt(target.values)
        return np.asarray(left @ across @ target.vectors.T)


class LinearOT(_GaussianMap):
    """Optimal transport between the Gaussians with the means and covariances of the two domains.

    Source rows go to (x - mean_source_) map_ + mean_target_ with the symmetric positive definite map_ =
    C_s^-1/2 (C_s^1/2 C_t C_s^1/2)^1/2 C_s^-1/2, so that map_ C_s map_ = C_t: of all linear maps that do so,
    the one that moves the rows least. Target rows stay. Covariances divide by the number of rows, or by the
    sum of the weights. Of several sources each has a map of its own to all target rows together.

    Parameters
    ----------
    reg : float >= 0, added to the variances; unit of X squared. Where a covariance is singular (few rows, a
        constant column) it counts in units of the mean variance instead; 0 is then 1e-3, and a UserWarning
        says how much was added.
    shrinkage : as for `CORAL`

    Fitted: `ridge_` (what was added) and all else as for `CORAL`.

    Cost: as `CORAL`.
    Source: Knott and Smith, J. Optimization Theory and Applications 43 (1984); Flamary, Lounici, Ferrari,
    arXiv 1905.10155 (2019).
    """

    _ridge_name = "reg"
    _ridge_is_relative = True

    def __init__(self, *, reg: float = 1e-6, shrinkage: Any = None) -> None:
        self.reg = reg
        self.shrinkage = shrinkage

    def _matrix(self, source: Eigenpairs, target: Eigenpairs) -> Array:
        root = np.sqrt(source.values)
        turned = source.vectors.T @ target.vectors
        inner = root[:, None] * ((turned * target.values) @ turned.T) * root
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        half = (source.vectors / root) @ vectors * np.maximum(values, 0) ** 0.25
        return np.asarray(half @ half.T)


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

    _on_device = True

    def __init__(self, keep: str = "rest") -> None:
        self.keep = keep

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        check_choice(self, "keep", ("rest", "directions"))
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
        directions: Array = like(self.directions_, rows)
        along: Array = rows @ directions.T
        return along if self.keep == "directions" else rows - along @ directions


def _sources(domains: Domains, weight: Array | None, numbers: list[int]) -> list[tuple[Array, Array | None]]:
    """Rows and weights of each source, in the order of their `numbers`."""
    if len(numbers) == 1:
        return [(domains.X_source, weight)]
    parts: list[tuple[Array, Array | None]] = []
    for number in numbers:
        mask = domains.source_domain == number
        part = None if weight is None else weight[mask]
        if part is not None and not part.any():
            raise ValueError(f"sample_weight must be positive on a row of source {number}, got zeros only")
        parts.append((domains.X_source[index_of(mask, domains.X_source)], part))
    return parts


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
    y_target = read_labels(domains.y_target[labelled], "y_target")
    known = w_source > 0
    y_source = read_labels(y_source[known], "y")
    if are_continuous(y_source):
        return whole
    source = _class_means(X_source[index_of(known, X_source)], y_source, w_source[known])
    target = _class_means(X_target[index_of(labelled, X_target)], y_target, w_target[labelled])
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
        label: weighted_mean(rows[index_of(part, rows)], weight[part])
        for label, part in zip(classes.tolist(), parts, strict=True)
    }
