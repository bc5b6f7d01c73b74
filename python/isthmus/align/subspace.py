"""Alignment of the principal subspaces of two domains: SubspaceAlignment and GFK."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array
from .base import Aligner
from .domains import Domains, positive
from .geodesic import flow_root, geodesic, principal_angles
from .pencil import Moments, moments, pooled_scatter, row_blocks, weighted_mean

__all__ = ["GFK", "SubspaceAlignment"]

DEFAULT_COMPONENTS = 20
DISAGREEMENT = 0.99  # from here on a direction of one domain counts as missing in the other


class Principal(NamedTuple):
    """Mean (d,), principal directions (d, r), largest variance first, r their numerical rank."""

    mean: Array
    basis: Array


class _SubspaceMethod(Aligner):
    """Principal directions of both domains, and the check of how many there can be.

    A method gives `_most`, how many components d columns allow, and `_align`, which sets the projections.
    """

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
        source, target = (_principal(*sample) for sample in samples)
        rank = min(source.basis.shape[1], target.basis.shape[1])
        if rank == 0:
            raise ValueError(f"{type(self).__name__} needs rows that vary in both domains, got constant rows")
        most = min(rank, max(1, self._most(len(source.basis))))
        if self.n_components == "auto":
            count = _agreeing(source.basis, target.basis, _pooled_basis(samples), most)
        elif self.n_components is None:
            count = min(most, DEFAULT_COMPONENTS)
        else:
            count = min(most, int(self.n_components))
            if count < self.n_components:
                warnings.warn(
                    f"{type(self).__name__} takes {count} components, not {self.n_components}: the domains "
                    f"share rank {rank} in {len(source.basis)} columns",
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
            rows = rows - mean.reshape(-1).astype(rows.dtype)
        return np.asarray(rows @ projection.astype(rows.dtype))


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
        self.projection_: Array = flow_root(geodesic(source, target))
        self._n_features_out = self.projection_.shape[1]

    def _map(self, rows: Array, domain: Any) -> Array:
        return self._projected(
            rows, self.projection_, self.mean_source_ if domain == "source" else self.mean_target_
        )


def _principal(rows: Array, weight: Array | None) -> Principal:
    """Mean and principal directions of `rows` (n, d) with positive `weight` (n,) or None, in float64."""
    if len(rows) >= rows.shape[1]:
        found = moments(rows, weight)
        return Principal(found.mean, _leading(found))
    weight = np.ones(len(rows)) if weight is None else weight
    mean = weighted_mean(rows, weight)
    mean += weighted_mean(rows - mean, weight)  # what rounding left of a large mean
    centred = (rows - mean) * np.sqrt(weight)[:, None]
    return Principal(mean, _row_space(centred))


def _pooled_basis(samples: list[tuple[Array, Array | None]]) -> Array:
    """Principal directions of the rows of both domains together."""
    n, d = sum(len(rows) for rows, _ in samples), samples[0][0].shape[1]
    if n < d:
        weights = [np.ones(len(rows)) if weight is None else weight for rows, weight in samples]
        return _principal(np.concatenate([rows for rows, _ in samples]), np.concatenate(weights)).basis
    a, b = (moments(*sample) for sample in samples)
    return _leading(Moments(a.total + b.total, a.mean, pooled_scatter(a, b)))


def _leading(found: Moments) -> Array:
    values, vectors = np.linalg.eigh(found.scatter)
    rank = int(np.sum(values > len(values) * np.finfo(float).eps * max(values[-1], 0.0)))
    return _signed(vectors[:, ::-1][:, :rank])


def _row_space(centred: Array) -> Array:
    """Right singular vectors (d, r) of `centred` (n, d), n < d, through the Gram matrix of its rows."""
    n, d = centred.shape
    gram = np.zeros((n, n))
    for block in row_blocks(d, 8 * n):
        gram += centred[:, block] @ centred[:, block].T
    values, vectors = np.linalg.eigh(gram)
    # Squares: below this share a direction is made of rounding.
    rank = int(np.sum(values > d * np.finfo(float).eps * max(values[-1], 0.0)))
    basis = centred.T @ (vectors[:, ::-1][:, :rank] / np.sqrt(values[::-1][:rank]))
    # Directions of small variance are orthogonal to the large ones only up to the rounding of these.
    orthonormal, triangle = np.linalg.qr(basis)
    return _signed(orthonormal * np.where(np.diag(triangle) < 0, -1.0, 1.0))


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
