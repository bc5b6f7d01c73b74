"""Alignment of the principal subspaces of two domains: SubspaceAlignment and GFK."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..arrays import Array, like
from .base import Aligner
from .checks import check_count, check_flag
from .domains import Domains, positive
from .mathematics.geodesic import flow_root, geodesic, principal_angles
from .mathematics.principal import pooled_directions, principal, signed

__all__ = ["GFK", "SubspaceAlignment"]

DEFAULT_COMPONENTS = 20
DISAGREEMENT = 0.99  # from here on a direction of one domain counts as missing in the other


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
        source, target = (principal(*sample, most) for sample in samples)
        rank = min(source.rank, target.rank)
        if rank == 0:
            raise ValueError(f"{type(self).__name__} needs rows that vary in both domains, got constant rows")
        count = min(most, rank)
        if self.n_components == "auto":
            count = _agreeing(source.basis, target.basis, pooled_directions(samples, count), count)
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
        check_flag(self, "with_mean")
        check_count(self, "n_components", words=("auto", None))

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
        self.projection_: Array = signed(flow_root(geodesic(source, target)))
        self._n_features_out = self.projection_.shape[1]

    def _map(self, rows: Array, domain: Any) -> Array:
        return self._projected(
            rows, self.projection_, self.mean_source_ if domain == "source" else self.mean_target_
        )


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
