"""Weights for source rows from a density ratio made of kernels: KLIEP and RuLSIF (alpha 0: uLSIF)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .. import bandwidth, ops
from ..arrays import Array, beside, generator, index_of, like, namespace, to_numpy, widened
from ..kernel_base import real
from ..kernels import RBF, Energy, Kernel, check_kernel
from ..rows import check_rows
from .base import Reweighter
from .checks import check_count, check_number
from .domains import Domains, positive
from .mathematics import ratio

__all__ = ["KLIEP", "RuLSIF"]

WIDTHS = (0.2, 0.35, 0.6, 1.0, 1.7)  # bandwidths tried by default, in median distances
REGS = tuple(10.0**k for k in (-3, -2.5, -2, -1.5, -1, -0.5, 0))


class _Sample(NamedTuple):
    """The distinct rows of one domain in sorted order, and their shares, which sum to 1.

    Centres and folds are drawn from these, so neither the order of the rows nor whether a weight is k or the
    row is there k times makes a difference. Rows on a device are sorted on the host and stay where they are.
    """

    rows: Any
    share: Array

    @classmethod
    def of(cls, rows: Array, weight: Array | None) -> _Sample:
        rows, weight = positive(rows, weight)
        distinct, first, place = np.unique(to_numpy(rows), axis=0, return_index=True, return_inverse=True)
        total = np.bincount(place.ravel(), weight)
        on_host = namespace(rows) is np
        return cls(distinct if on_host else rows[index_of(first, rows)], total / total.sum())


class _KernelRatio(Reweighter):
    """Ratios w(x) = sum_l a_l k(x, c_l): the candidates, the centres, and the ratio on new rows."""

    _on_device = True
    kernel: Any
    n_centres: int
    random_state: Any

    def density_ratio(self, X: Any) -> Array:
        """The estimated ratio at the rows of `X`.

        Parameters
        ----------
        X : array of shape (n, d)

        Returns
        -------
        float64 array of shape (n,), >= 0, on the host; ones where `fit` had no target
        """
        check_is_fitted(self)
        rows = check_rows(self, X, reset=False)
        return self._ratio(rows) if self.has_target_ else np.ones(len(rows))

    def _ratio(self, rows: Array) -> Array:
        centres, coefficients = (like(part, rows) for part in (self.centres_, self.coefficients_))
        image = ops.kernel_matmul(rows, centres, coefficients, kernel=self.kernel_)
        return to_numpy(image).astype(np.float64, copy=False)

    def _weighed(self, rows: Array) -> Array:
        weights = self._ratio(rows)
        if not weights.any():
            raise ValueError(
                f"{type(self).__name__} finds no source row near a target row under {self.kernel_!r}: "
                "take a wider kernel"
            )
        return weights

    def _candidates(self, source: Array, target: Array) -> list[Kernel]:
        """The kernels to choose from, with numbers only."""
        if self.kernel is None:
            (scale,) = _scales(bandwidth.resolve(RBF(), source, target))
            return [RBF(bandwidth=width * scale) for width in WIDTHS]
        given = list(self.kernel) if isinstance(self.kernel, list | tuple) else [self.kernel]
        if not given:
            raise ValueError("kernel must hold at least one kernel to choose from, got an empty list")
        for kernel in given:
            for _, part in check_kernel(kernel).parts:
                if part.input == "dot" or isinstance(part, Energy):
                    raise ValueError(f"kernel must have positive values everywhere, got {kernel!r}")
        return [bandwidth.resolve(kernel, source, target) for kernel in given]

    def _centres(self, target: _Sample, rng: np.random.Generator) -> Any:
        check_count(self, "n_centres")
        count = int(self.n_centres)
        if count >= len(target.rows):
            return target.rows
        chosen = np.sort(rng.choice(len(target.rows), count, replace=False))
        return target.rows[index_of(chosen, target.rows)]


def _scales(kernel: Kernel) -> tuple[float, ...]:
    scale = bandwidth.scale_of(kernel)
    return scale if isinstance(scale, tuple) else (float(scale or 1.0),)


def _features(sample: _Sample, centres: Any, kernel: Kernel) -> Any:
    return widened(ops.kernel_matrix(sample.rows, centres, kernel=kernel))


def _mean_features(sample: _Sample, centres: Any, kernel: Kernel) -> Array:
    """The mean (c,) of the features, on the host."""
    features = _features(sample, centres, kernel)
    return to_numpy(beside(sample.share, features) @ features)


class KLIEP(_KernelRatio):
    """Density ratio of greatest likelihood of the target, a combination of kernels at target rows.

    Maximises the target's mean log w(x), w(x) = sum_l a_l k(x, c_l), a >= 0, under mean w = 1 over the
    source. Solved by a multiplicative update without a step size, to a proven gap. Rows of several sources
    count as one sample, as do those of all targets.

    Parameters
    ----------
    kernel : Kernel with positive values, or a list of such to choose from by the likelihood of target rows
        left out; bandwidth rules are evaluated on all rows. None: RBF of 0.2, 0.35, 0.6, 1 and 1.7 times the
        median distance.
    n_centres : int >= 1, most centres; drawn without replacement among the distinct target rows
    n_folds : int >= 2, parts of the distinct target rows in the choice of the kernel
    tol : float > 0, the gap of the mean log-likelihood to reach
    max_iter : int >= 1, most steps; a gap still above `tol` is a ConvergenceWarning that says it
    random_state : draws centres and folds; 0 by default, so that results repeat

    Fitted: `weights_` (ns,), their mean 1 (over rows weighed by `sample_weight`); `centres_` (c, d) and
    `coefficients_` (c,), what `density_ratio` is made of; `kernel_` (numbers only); `scores_`, the mean
    log-likelihood left out, one per kernel, or None where there was no choice; `gap_`; `n_iter_`
    (1 without a target); `has_target_`.

    A weight of k counts as the row k times.

    Rows may be CuPy arrays or CUDA tensors: kernels and products are formed there; weights, centres and what
    has their number are on the host.

    Cost: O((ns + nt) c d) for each kernel, and O(nt c) a step.
    Source: Sugiyama, Nakajima, Kashima, von Buenau, Kawanabe, NIPS 2007.
    """

    def __init__(
        self,
        kernel: Kernel | Sequence[Kernel] | None = None,
        *,
        n_centres: int = 100,
        n_folds: int = 5,
        tol: float = 1e-4,
        max_iter: int = 10000,
        random_state: Any = 0,
    ) -> None:
        self.kernel = kernel
        self.n_centres = n_centres
        self.n_folds = n_folds
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        check_count(self, "n_folds", 2)
        check_number(self, "tol")
        check_count(self, "max_iter")
        folds, tol, max_iter = int(self.n_folds), float(self.tol), int(self.max_iter)
        assert domains.X_target is not None
        source, target = (
            _Sample.of(domains.X_source, source_weight),
            _Sample.of(domains.X_target, target_weight),
        )
        rng = generator(self.random_state)
        kernels = self._candidates(source.rows, target.rows)
        centres = self._centres(target, rng)
        self.centres_: Array = to_numpy(centres)
        parts = _folds(len(target.rows), folds, rng)
        tables = [(_features(target, centres, k), _mean_features(source, centres, k)) for k in kernels]
        self.scores_: Array | None = None
        best = 0
        if len(kernels) > 1 and len(parts) > 1:
            self.scores_ = np.array([_left_out(T, target.share, mean, parts, max_iter) for T, mean in tables])
            best = int(np.argmax(self.scores_))
        self.kernel_ = kernels[best]
        T, mean = tables[best]
        fit = ratio.fit_likelihood(T, target.share, mean, tol=tol, max_iter=max_iter)
        self.coefficients_: Array = fit.coefficients
        self.gap_, self.n_iter_ = fit.gap, fit.n_iter
        weights = self._weighed(domains.X_source)
        if fit.gap > tol:
            warnings.warn(
                f"KLIEP stopped after {fit.n_iter} steps at a gap of {fit.gap:.1e} in the mean "
                f"log-likelihood, above {tol:.0e}; raise max_iter",
                ConvergenceWarning,
                stacklevel=5,
            )
        return weights

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        super()._learn_alone(domains, source_weight)
        self.n_iter_ = 1  # as of any estimator with max_iter


class RuLSIF(_KernelRatio):
    """Relative density ratio by least squares, p_target / (alpha p_target + (1 - alpha) p_source).

    w(x) = sum_l a_l k(x, c_l), in closed form: a = (H + reg I)^-1 h with negative entries set to 0, H the
    mean of phi phi' under the mixture, h the target's mean of phi. `alpha=0` is uLSIF. Rows of several
    sources count as one sample, as do those of all targets.

    Parameters
    ----------
    alpha : float in [0, 1), share of the target in the denominator: w <= 1 / alpha
    kernel : Kernel with positive values, or a list of such to choose from; bandwidth rules are evaluated on
        all rows. None: RBF of 0.2, 0.35, 0.6, 1 and 1.7 times the median distance.
    reg : float > 0 or a sequence to choose from; None: 7 values from 0.001 to 1
    n_centres : int >= 1, most centres; drawn without replacement among the distinct target rows
    n_folds : int >= 2, parts of the distinct rows of each domain in the choice, for alpha > 0; with alpha = 0
        one source and one target row at a time are left out, in closed form
    random_state : draws centres, folds and the pairs left out; 0 by default, so that results repeat

    Fitted: `weights_` (ns,); `centres_` (c, d) and `coefficients_` (c,), what `density_ratio` is made of;
    `kernel_` (numbers only); `reg_`; `scores_` (kernels, regs), the squared error left out up to a constant,
    or None where there was no choice; `has_target_`.

    A weight of k counts as the row k times.

    Rows may be CuPy arrays or CUDA tensors: kernels and products are formed there; weights, centres and what
    has their number are on the host.

    Cost: O((ns + nt) c (c + d) + c^3) for each kernel, as much again for each reg.
    Source: Kanamori, Hido, Sugiyama, JMLR 10 (2009); Yamada, Suzuki, Kanamori, Hachiya, Sugiyama, NIPS 2011.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        kernel: Kernel | Sequence[Kernel] | None = None,
        reg: float | Sequence[float] | None = None,
        n_centres: int = 100,
        n_folds: int = 5,
        random_state: Any = 0,
    ) -> None:
        self.alpha = alpha
        self.kernel = kernel
        self.reg = reg
        self.n_centres = n_centres
        self.n_folds = n_folds
        self.random_state = random_state

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        if not 0 <= real(self.alpha) < 1:
            raise ValueError(f"alpha must be a number of at least 0 and below 1, got {self.alpha!r}")
        regs = self._regs()
        assert domains.X_target is not None
        source, target = (
            _Sample.of(domains.X_source, source_weight),
            _Sample.of(domains.X_target, target_weight),
        )
        rng = generator(self.random_state)
        kernels = self._candidates(source.rows, target.rows)
        centres = self._centres(target, rng)
        self.centres_: Array = to_numpy(centres)
        tables = [(_features(source, centres, k), _features(target, centres, k)) for k in kernels]
        self.scores_: Array | None = None
        row, column = 0, 0
        if len(kernels) * len(regs) > 1 and min(len(source.rows), len(target.rows)) > 1:
            self.scores_ = self._scores(tables, source.share, target.share, regs, rng)
            row, column = divmod(int(np.argmin(self.scores_)), len(regs))
        self.kernel_, self.reg_ = kernels[row], float(regs[column])
        S, T = tables[row]
        solved = ratio.spectrum(S, source.share, T, target.share, float(self.alpha))
        self.coefficients_: Array = ratio.fit_least_squares(*solved, self.reg_)
        return self._weighed(domains.X_source)

    def _scores(
        self,
        tables: list[tuple[Any, Any]],
        s_share: Array,
        t_share: Array,
        regs: Array,
        rng: np.random.Generator,
    ) -> Array:
        ns, nt = len(s_share), len(t_share)
        if self.alpha == 0:
            orders = [rng.permutation(size)[: min(ns, nt)] for size in (ns, nt)]
            pairs = np.array(orders)
            return np.array([ratio.leave_one_out(S, s_share, T, t_share, regs, pairs) for S, T in tables])
        check_count(self, "n_folds", 2)
        count = min(int(self.n_folds), ns, nt)
        parts = list(zip(_folds(ns, count, rng), _folds(nt, count, rng), strict=True))
        scores = np.zeros((len(tables), len(regs)))
        for row, (S, T) in enumerate(tables):
            for s_out, t_out in parts:
                kept, out = list[Any](), list[Any]()
                for table, share, left in ((S, s_share, s_out), (T, t_share, t_out)):
                    inside = np.ones(len(share), dtype=bool)
                    inside[left] = False
                    kept += [table[index_of(inside, table)], share[inside] / share[inside].sum()]
                    out += [table[index_of(left, table)], share[left] / share[left].sum()]
                solved = ratio.spectrum(kept[0], kept[1], kept[2], kept[3], float(self.alpha))
                for column, reg in enumerate(regs):
                    found = ratio.fit_least_squares(*solved, float(reg))
                    score = ratio.least_squares_score(
                        out[0], out[1], out[2], out[3], found, float(self.alpha)
                    )
                    scores[row, column] += score / len(parts)
        return scores

    def _regs(self) -> Array:
        given: Any = REGS if self.reg is None else self.reg
        regs = np.atleast_1d(np.asarray(given, dtype=np.float64))
        if regs.ndim != 1 or not regs.size or not ((regs > 0) & np.isfinite(regs)).all():
            raise ValueError(f"reg must be a finite number above 0 or several, got {self.reg!r}")
        return regs


def _left_out(T: Any, share: Array, source_mean: Array, parts: list[Array], max_iter: int) -> float:
    """Mean log-likelihood of the parts of the target, each under the fit to the others."""
    total = 0.0
    for left in parts:
        inside = np.ones(len(T), dtype=bool)
        inside[left] = False
        kept = share[inside] / share[inside].sum()
        # A choice among kernels needs no more than this.
        rows = T[index_of(inside, T)]
        fit = ratio.fit_likelihood(rows, kept, source_mean, tol=1e-3, max_iter=min(max_iter, 1000))
        total += ratio.likelihood_score(T[index_of(left, T)], share[left], fit.coefficients)
    return total


def _folds(size: int, count: int, rng: np.random.Generator) -> list[Array]:
    """`size` positions dealt at random into at most `count` parts of nearly equal size."""
    return [np.sort(part) for part in np.array_split(rng.permutation(size), min(count, size))]
