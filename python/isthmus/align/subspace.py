"""Alignment of the principal subspaces of two domains: SubspaceAlignment and GFK."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array, like, to_numpy
from .base import Aligner
from .domains import Domains, positive
from .geodesic import flow_root, geodesic, principal_angles
from .pencil import moments, pooled_scatter, weighted_mean

__all__ = ["GFK", "SubspaceAlignment"]

DEFAULT_COMPONENTS = 20
DISAGREEMENT = 0.99  # from here on a direction of one domain counts as missing in the other


class Principal(NamedTuple):
    """Mean (d,), principal directions (d, k), largest variance first, and how many there are."""

    mean: Array
    basis: Array
    rank: int


class _SubspaceMethod(Aligner):
    """Principal directions of both domains, and the check of how many there can be.

    A method gives `_most`, how many components d columns allow, and `_align`, which sets the projections.
    """

    _on_device = True
    n_components: Any
    with_mean: bool

    def _most(self, d: int) -> int:
        return d

    def _align(self, source: Array, target: Array) -> None:
        """Learn from two bases (d, k)."""
        raise NotImplementedError

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        assert domains.X_target is not None
        given = [(domains.X_source, source_weight), (domains.X_target, target_weight)]
        samples = [part if part[1] is None else positive(*part) for part in given]
        d = domains.X_source.shape[1]
        most = max(1, self._most(d))
        if self.n_components != "auto":
            most = min(most, int(self.n_components or DEFAULT_COMPONENTS))
        source, target = (_principal(*sample, most) for sample in samples)
        rank = min(source.rank, target.rank)
        if rank == 0:
            raise ValueError(f"{type(self).__name__} needs rows that vary in both domains, got constant rows")
        count = min(most, rank)
        if self.n_components == "auto":
            count = _agreeing(source.basis, target.basis, _pooled_basis(samples, count), count)
        elif self.n_components is not None and count < self.n_components:
            warnings.warn(
                f"{type(self).__name__} takes {count} components, not {self.n_components}: the domains "
                f"share rank {rank} in {d} columns",
                UserWarning,
                stacklevel=4,
            )
        bases = source.basis[:, :count], target.basis[:, :count]
        self.n_components_ = count
        self.angles_: Array = principal_angles(*bases)
        self.mean_source_, self.mean_target_ = source.mean, target.mean
        self._align(*bases)

    def _check_parameters(self) -> None:
        if not isinstance(self.with_mean, bool | np.bool_):
            raise ValueError(f"with_mean must be True or False, got {self.with_mean!r}")
        value = self.n_components
        if value is None or (isinstance(value, str) and value == "auto"):
            return
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"n_components must be an integer of at least 1, 'auto' or None, got {value!r}")

    def _keeps_columns(self) -> bool:
        return not self.has_target_

    def _projected(self, rows: Array, projection: Array, mean: Array) -> Array:
        if self.with_mean:
            rows = rows - like(mean.reshape(-1), rows)
        moved: Array = rows @ like(projection, rows)
        return moved


class SubspaceAlignment(_SubspaceMethod):
    """Turn the principal directions of the source onto those of the target (Fernando and others, ICCV 2013).

    With P_s and P_t (d, k) the principal directions, source rows go to x P_s P_s'P_t and target rows to
    x P_t.

    Parameters
    ----------
    n_components : int >= 1, lowered with a UserWarning to the rank of either domain; None: 20, or what there
        is; "auto": the first number at which both subspaces hold a direction that the subspace of all rows
        together lacks (mean sine of the largest angles at least 0.99; Gong and others, CVPR 2012, section
        3.3)
    with_mean : whether each domain's own mean is taken away from the rows before they are projected. False as
        published, where the directions alone come from centred rows; rows that were not z-scored often gain
        from True.

    Fitted: `projection_source_` and `projection_target_` (d, k); `mean_source_`, `mean_target_` (d,);
    `angles_` (k,), the principal angles between the two subspaces, ascending; `n_components_`; `has_target_`.

    Cost: O(n d^2 + d^3) time and O(d^2) memory, or O(n^2 d + n^3) and O(n d) for a domain with n < d rows.
    """

    def __init__(self, n_components: Any = None, *, with_mean: bool = False) -> None:
        self.n_components = n_components
        self.with_mean = with_mean

    def _align(self, source: Array, target: Array) -> None:
        self.projection_source_: Array = source @ (source.T @ target)
        self.projection_target_: Array = target
        self._n_features_out = target.shape[1]

    def _map(self, rows: Array, domain: Any) -> Array:
        if domain == "source":
            return self._projected(rows, self.projection_source_, self.mean_source_)
        return self._projected(rows, self.projection_target_, self.mean_target_)


class GFK(_SubspaceMethod):
    """The geodesic flow kernel as 2 k features (Gong, Shi, Sha, Grauman, CVPR 2012).

    Inner products of the new rows are x G x', where G (d, d) adds up the inner products in all subspaces on
    the shortest way from the source's principal subspace to the target's: G = `projection_` `projection_`'.
    Rows of both domains go to x projection_.

    Parameters
    ----------
    n_components : k, int >= 1, lowered with a UserWarning to the rank of either domain and below d / 2; None:
        20, or what there is; "auto": as for `SubspaceAlignment`
    with_mean : as for `SubspaceAlignment`

    Fitted: `projection_` (d, 2 k); `mean_source_`, `mean_target_` (d,); `angles_` (k,), the principal angles
    between the two subspaces, ascending; `n_components_`; `has_target_`.

    Cost: as `SubspaceAlignment`.
    """

    def __init__(self, n_components: Any = None, *, with_mean: bool = False) -> None:
        self.n_components = n_components
        self.with_mean = with_mean

    def _most(self, d: int) -> int:
        return (d - 1) // 2

    def _align(self, source: Array, target: Array) -> None:
        self.projection_: Array = _signed(flow_root(geodesic(source, target)))
        self._n_features_out = self.projection_.shape[1]

    def _map(self, rows: Array, domain: Any) -> Array:
        return self._projected(
            rows, self.projection_, self.mean_source_ if domain == "source" else self.mean_target_
        )


def _principal(rows: Array, weight: Array | None, most: int) -> Principal:
    """Up to `most` principal directions of `rows` (n, d), positive `weight` (n,) or None, in float64."""
    n, d = rows.shape
    if n >= d:
        found = moments(rows, weight)
        return Principal(found.mean, *_leading(found.scatter, most))
    rows = to_numpy(rows)
    weight = np.ones(n) if weight is None else weight
    mean = weighted_mean(rows, weight)
    centred = rows - mean
    # What rounding left of a large mean.
    rest = weight @ centred / weight.sum()
    centred = (centred - rest) * np.sqrt(weight)[:, None]
    values, vectors = np.linalg.eigh(centred @ centred.T)
    # Squares: below this share a direction is made of rounding.
    rank = int(np.sum(values > d * np.finfo(float).eps * max(values[-1], 0.0)))
    kept = min(most, rank)
    basis = centred.T @ (vectors[:, ::-1][:, :kept] / np.sqrt(values[::-1][:kept]))
    # Directions of small variance are orthogonal to the large ones only up to the rounding of these.
    return Principal(mean + rest, _signed(np.linalg.qr(basis)[0]), rank)


def _pooled_basis(samples: list[tuple[Array, Array | None]], most: int) -> Array:
    """Principal directions of the rows of both domains together."""
    n, d = sum(len(rows) for rows, _ in samples), samples[0][0].shape[1]
    if n < d:
        weights = [np.ones(len(rows)) if weight is None else weight for rows, weight in samples]
        return _principal(
            np.concatenate([to_numpy(rows) for rows, _ in samples]), np.concatenate(weights), most
        ).basis
    return _leading(pooled_scatter(*(moments(*sample) for sample in samples)), most)[0]


def _leading(scatter: Array, most: int) -> tuple[Array, int]:
    """Up to `most` leading eigenvectors of a scatter (d, d), and its rank."""
    values, vectors = np.linalg.eigh(scatter)
    rank = int(np.sum(values > len(values) * np.finfo(float).eps * max(values[-1], 0.0)))
    return _signed(vectors[:, ::-1][:, : min(most, rank)]), rank


def _signed(basis: Array) -> Array:
    """Each column with its entry of largest modulus positive."""
    top = basis[np.argmax(np.abs(basis), axis=0), np.arange(basis.shape[1])]
    return np.asarray(basis * np.where(top < 0, -1.0, 1.0))


def _agreeing(source: Array, target: Array, pooled: Array, most: int) -> int:
    """The first k <= `most` at which the mean sine of the largest angles to the pooled directions is 1."""
    for k in range(1, most + 1):
        sines = [
            np.sqrt(max(0.0, 1 - np.linalg.svd(part[:, :k].T @ pooled[:, :k], compute_uv=False)[-1] ** 2))
            for part in (source, target)
        ]
        if np.mean(sines) >= DISAGREEMENT:
            return k
    return most
