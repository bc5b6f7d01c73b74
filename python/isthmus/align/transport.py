"""Alignment by optimal transport between the rows themselves, computed by POT (extra `ot`)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin

from ..arrays import Array
from .base import Aligner
from .checks import check_choice, check_count, check_number
from .classes import number_classes
from .domains import Domains, positive
from .labelled import are_continuous, read_labels

__all__ = ["OptimalTransport"]

METHODS = ("emd", "sinkhorn", "sinkhorn_l1l2", "sinkhorn_lpl1")
NORMS = ("max", "median", "mean", None)
FARTHEST_EXPONENT = 500.0  # cost / reg beyond which exp underflows and Sinkhorn runs on logarithms
CLASS_BARRIER = 10.0  # times the largest cost: between rows known to be of different classes


class OptimalTransport(Aligner):
    """Carry each source row to where optimal transport sends its mass: the mean of its share of target rows.

    The coupling of all source rows with all target rows has least cost, squared Euclidean distance by
    default; a new source row moves as its nearest row of the fit does. Target rows stay. Equal rows of a
    domain count as one row with their weights together, so they move together.

    Parameters
    ----------
    method : "emd" (exact), "sinkhorn" (entropy), "sinkhorn_l1l2" or "sinkhorn_lpl1" (entropy and a group
        penalty that keeps source rows of different classes from sharing a target row; these need `y`)
    reg : float > 0, weight of the entropy beside the cost; not used by "emd"
    reg_group : float >= 0, weight of the group penalty
    metric : metric of the cost, a name that POT's `dist` knows
    norm : what the cost is divided by, "max", "median" or "mean" of its entries, so that `reg` needs no unit;
        None: the cost as it is
    max_steps : int >= 1, most iterations ("emd" counts pivots and takes at least 100000)
    tol : float > 0, violation of the marginals at which the entropic methods stop

    Where target labels are declared and `y` holds classes, mass between rows of different classes costs ten
    times the largest cost.

    Fitted: `X_fit_` (m, d), the source rows without repetition, and `images_` (m, d), where they go;
    `has_target_`. Rows of weight 0 are not among the m, and move as new rows do.

    Needs POT, `pip install isthmus[ot]`, for `fit` alone. Cost: O(ns nt) memory; "emd" about O(n^3 log n)
    time, the others O(ns nt) an iteration ("sinkhorn_l1l2": times the number of classes). In float64.
    Source: Courty, Flamary, Tuia, Rakotomamonjy, IEEE TPAMI 39 (2017); Ferradans and others, SIAM J. Imaging
    Sciences 7 (2014), for new rows.
    """

    def __init__(
        self,
        method: str = "sinkhorn",
        *,
        reg: float = 0.1,
        reg_group: float = 0.1,
        metric: str = "sqeuclidean",
        norm: str | None = "median",
        max_steps: int = 1000,
        tol: float = 1e-6,
    ) -> None:
        self.method = method
        self.reg = reg
        self.reg_group = reg_group
        self.metric = metric
        self.norm = norm
        self.max_steps = max_steps
        self.tol = tol

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        assert domains.X_target is not None
        source, mass_s = positive(domains.X_source, source_weight)
        target, mass_t = positive(domains.X_target, target_weight)
        labels_s, labels_t = self._class_numbers(domains, source_weight, target_weight)
        source, mass_s, labels_s = _merged(source.astype(np.float64), mass_s, labels_s)
        target, mass_t, labels_t = _merged(target.astype(np.float64), mass_t, labels_t)
        coupling = self._coupling(source, mass_s, labels_s, target, mass_t, labels_t)
        arrived = coupling.sum(axis=1)
        if not (np.isfinite(arrived).all() and (arrived > 0).all()):
            raise ValueError(
                f"OptimalTransport lost rows to rounding with reg={self.reg!r}; raise reg, or choose norm"
            )
        # A row that came with several labels goes to the mean of where these go.
        self.X_fit_, group = _distinct(source)
        images = np.zeros_like(self.X_fit_)
        share = np.bincount(group, weights=arrived)
        np.add.at(images, group, coupling @ target)
        self.images_: Array = images / share[:, None]

    def _map(self, rows: Array, domain: Any) -> Array:
        if domain == "target":
            return rows
        wide = rows.astype(np.float64)
        origin = self.X_fit_[0]
        nearest = pairwise_distances_argmin(wide - origin, self.X_fit_ - origin)
        return np.asarray(wide - self.X_fit_[nearest] + self.images_[nearest], dtype=rows.dtype)

    def _class_numbers(
        self, domains: Domains, source_weight: Array | None, target_weight: Array | None
    ) -> tuple[Array, Array]:
        """Numbers of the classes of the rows of positive weight; 0 everywhere if unused, -1 if not known."""
        assert domains.X_target is not None
        grouped, y_source = self.method.startswith("sinkhorn_"), domains.y_source
        if grouped and y_source is None:
            raise ValueError(f"method={self.method!r} needs the classes y of the source, got y=None")
        used = grouped or bool(domains.target_labelled.any())
        if y_source is None or not used or (not grouped and are_continuous(read_labels(y_source, "y"))):
            parts = positive(domains.X_source, source_weight), positive(domains.X_target, target_weight)
            return np.zeros(len(parts[0][1]), np.int64), np.zeros(len(parts[1][1]), np.int64)
        known = number_classes(domains, source_weight, target_weight, "OptimalTransport", least=1)
        return known.source, known.target

    def _coupling(
        self, source: Array, mass_s: Array, labels_s: Array, target: Array, mass_t: Array, labels_t: Array
    ) -> Array:
        """Which share of each source row goes to each target row, (m, p)."""
        ot = _pot()
        mass_s, mass_t = mass_s / mass_s.sum(), mass_t / mass_t.sum()
        cost = np.asarray(ot.dist(source, target, metric=self.metric))
        if self.norm is not None:
            size = float(getattr(np, self.norm)(cost))
            cost /= size if size > 0 else (cost.max() or 1.0)
        if (labels_t >= 0).any():
            barrier = CLASS_BARRIER * cost.max()
            cost[(labels_t >= 0) & (labels_s[:, None] != labels_t)] = barrier
        reg, group, tol = float(self.reg), float(self.reg_group), float(self.tol)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if self.method == "emd":
                steps = max(100_000, int(self.max_steps))
                coupling = ot.emd(mass_s, mass_t, cost, numItermax=steps)
            elif self.method == "sinkhorn":
                far = cost.max() / reg > FARTHEST_EXPONENT
                how = {"method": "sinkhorn_log" if far else "sinkhorn", "numItermax": int(self.max_steps)}
                coupling = ot.sinkhorn(mass_s, mass_t, cost, reg, stopThr=tol, **how)
            else:
                solve = ot.da.sinkhorn_l1l2_gl if self.method == "sinkhorn_l1l2" else ot.da.sinkhorn_lpl1_mm
                limits = {"numInnerItermax": int(self.max_steps), "stopInnerThr": tol}
                coupling = solve(mass_s, labels_s, mass_t, cost, reg, eta=group, **limits)
        for entry in said:
            if issubclass(entry.category, UserWarning):
                text = str(entry.message).strip().split("\n")[0]
                warnings.warn(f"POT reports for {self.method!r}: {text}", ConvergenceWarning, stacklevel=5)
        return np.asarray(coupling)

    def _check_parameters(self) -> None:
        check_choice(self, "method", METHODS)
        check_choice(self, "norm", NORMS)
        check_number(self, "reg")
        check_number(self, "tol")
        check_number(self, "reg_group", zero=True)
        check_count(self, "max_steps")
        metric: Any = self.metric
        if not isinstance(metric, str):
            raise ValueError(f"metric must be the name of a metric, got {metric!r}")


def _pot() -> Any:
    try:
        import ot
    except ImportError as error:
        raise ImportError("OptimalTransport needs POT: pip install isthmus[ot]") from error
    return ot


def _merged(rows: Array, mass: Array, labels: Array) -> tuple[Array, Array, Array]:
    """Rows without repetition in ascending order, their masses together; labels set equal rows apart."""
    distinct, group = _distinct(np.column_stack([rows, labels]))
    return distinct[:, :-1].copy(), np.bincount(group, weights=mass), distinct[:, -1].astype(np.int64)


def _distinct(rows: Array) -> tuple[Array, Array]:
    """The distinct rows in ascending order, and for each row its place among them."""
    distinct, group = np.unique(rows, axis=0, return_inverse=True)
    return distinct, group.reshape(-1)
