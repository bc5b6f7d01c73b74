"""Pictures of a fitted alignment with matplotlib, which is imported inside: `from_estimator`, then `plot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .align.domains import domain_numbers, is_list_of_samples
from .arrays import Array, to_numpy
from .per_domain import aligned_rows, found_by_search
from .plot import ACCENT, SOURCE, TARGET, plane
from .rows import picked_rows

__all__ = ["EmbeddingDisplay", "MeanGapDisplay", "SpectrumDisplay"]


@dataclass(eq=False)
class EmbeddingDisplay:
    """Source and target rows on their two leading principal axes, before and after alignment.

    Each panel has axes of its own, of all its rows. At most 400 rows of each domain are drawn. Rows on a GPU
    are aligned there and drawn from a copy on the host, as in `MeanGapDisplay`.
    After `plot`: `axes_` (before, after), `figure_`.
    """

    before: tuple[Array, Array]
    """Source and target points, each (m, 2)."""
    after: tuple[Array, Array]
    """The same rows after alignment."""
    name: str = "alignment"
    """What stands over the second panel."""

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, X_target: Any = None, *, sample_domain: Any = None, ax: Any = None
    ) -> Self:
        """Draw source rows and target rows before and after.

        Parameters
        ----------
        estimator : a fitted aligner, `TransferPipeline`, `TransferClassifier`, or a Pipeline with one of them
        X, X_target : source rows (ns, d) and target rows (nt, d), or lists of such, one per domain; with
            `sample_domain` the rows of all domains (n, d) as `X`
        sample_domain : integers (n,), >= 0 source, < 0 target, in place of `X_target`
        ax : two matplotlib axes, or None for a new figure
        """
        before, after, name = _before_and_after(estimator, X, X_target, sample_domain)
        return cls(plane(*before), plane(*after), name).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on two axes, or on a new figure."""
        self.axes_, self.figure_ = _axes(ax, 2)
        panels = zip(self.axes_, (self.before, self.after), ("before", f"after {self.name}"), strict=True)
        for axes, (source, target), title in panels:
            axes.scatter(*source.T, s=9, color=SOURCE, alpha=0.6, linewidths=0, label="source")
            axes.scatter(*target.T, s=9, color=TARGET, alpha=0.6, linewidths=0, label="target")
            axes.set(title=title, xlabel="first principal axis", ylabel="second principal axis")
        self.axes_[0].legend()
        return self


@dataclass(eq=False)
class SpectrumDisplay:
    """The eigenvalues of a method of components, and the residual of each.

    After `plot`: `axes_` (eigenvalues, residuals), `figure_`. The residuals have the scale on the right.
    """

    eigenvalues: Array
    """(k,), largest first."""
    residuals: Array
    """(k,), as the method defines them."""

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw the `eigenvalues_` and `residuals_` of a fitted method, or of the `align_` of a fitted model.

        Raises TypeError where there are none.
        """
        method = _aligner(estimator)
        check_is_fitted(method)
        missing = [name for name in ("eigenvalues_", "residuals_") if not hasattr(method, name)]
        if missing:
            raise TypeError(f"{type(method).__name__} has no {' and no '.join(missing)} to draw")
        return cls(np.asarray(method.eigenvalues_), np.asarray(method.residuals_)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on the axes `ax`, or on a new figure."""
        (left,), self.figure_ = _axes(ax, 1)
        right = left.twinx()
        at = np.arange(1, len(self.eigenvalues) + 1)
        left.plot(at, self.eigenvalues, "o-", color=ACCENT, label="eigenvalue")
        right.plot(at, self.residuals, "x", color=TARGET, label="residual")
        # A rounded zero has no place on a logarithmic scale.
        for axes, values in ((left, self.eigenvalues), (right, self.residuals)):
            axes.set_yscale("log" if len(values) and (values > 0).all() else "linear")
        left.set(xlabel="component", ylabel="eigenvalue")
        right.set_ylabel("residual")
        left.legend(handles=[*left.lines, *right.lines])
        self.axes_ = (left, right)
        return self


@dataclass(eq=False)
class MeanGapDisplay:
    """How far apart the means of the domains lie along each column, before and after alignment.

    The gap of a column is |mean of target - mean of source| over the root of the mean of both variances; NaN
    where both domains are constant and differ. After `plot`: `axes_` (before, after), `figure_`.
    """

    before: Array
    """(d,), of the columns of X."""
    after: Array
    """(q,), of the columns after alignment."""
    name: str = "alignment"
    """What stands over the second panel."""

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, X_target: Any = None, *, sample_domain: Any = None, ax: Any = None
    ) -> Self:
        """Draw the gaps between source rows and target rows before and after.

        Parameters as in `EmbeddingDisplay.from_estimator`; all sources count as one, and so do all targets.
        """
        before, after, name = _before_and_after(estimator, X, X_target, sample_domain)
        return cls(_gaps(*before), _gaps(*after), name).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on two axes, or on a new figure."""
        self.axes_, self.figure_ = _axes(ax, 2)
        top = float(np.nan_to_num(np.concatenate([self.before, self.after])).max())  # one scale for both
        panels = zip(self.axes_, (self.before, self.after), ("before", f"after {self.name}"), strict=True)
        for axes, gaps, title in panels:
            axes.bar(np.arange(len(gaps)), gaps, color=ACCENT)
            axes.set(title=title, xlabel="column", ylim=(0, 1.05 * top if top > 0 else 1))
        self.axes_[0].set_ylabel("gap of the means, in standard deviations")
        return self


def _gaps(source: Array, target: Array) -> Array:
    gap = np.abs(target.mean(axis=0) - source.mean(axis=0))
    scale = np.sqrt((source.var(axis=0) + target.var(axis=0)) / 2)
    unscaled = np.where(gap == 0, 0.0, np.nan)
    return np.asarray(np.divide(gap, scale, out=unscaled, where=scale > 0))


def _before_and_after(
    estimator: Any, X: Any, X_target: Any, sample_domain: Any
) -> tuple[tuple[Array, Array], tuple[Array, Array], str]:
    source, target = _sides(X, X_target, sample_domain)

    def given(rows: Any, domain: Any) -> Array:
        return np.asarray(to_numpy(rows), dtype=np.float64)

    def moved(rows: Any, domain: Any) -> Array:
        return to_numpy(aligned_rows(estimator, rows, domain))

    before, after = (
        (np.concatenate([show(*part) for part in source]), np.concatenate([show(*part) for part in target]))
        for show in (given, moved)
    )
    return before, after, type(_aligner(estimator)).__name__


def _sides(X: Any, X_target: Any, sample_domain: Any) -> tuple[list[tuple[Any, Any]], ...]:
    """Rows and what names their domain, of the source and of the target; several parts where lists came."""
    if (X_target is None) == (sample_domain is None):
        raise ValueError(f"give X_target or sample_domain, got {'neither' if X_target is None else 'both'}")
    if sample_domain is not None:
        numbers = domain_numbers(sample_domain, np.shape(X)[0])
        places = [np.flatnonzero(numbers >= 0), np.flatnonzero(numbers < 0)]
        for name, place in zip(("source rows (>= 0)", "target rows (< 0)"), places, strict=True):
            if not len(place):
                raise ValueError(f"sample_domain must name rows of both sides, got no {name}")
        return tuple([(picked_rows(X, place), numbers[place])] for place in places)
    return tuple(
        [(part, np.full(len(part), first + step * i)) for i, part in enumerate(rows)]
        if is_list_of_samples(rows)
        else [(rows, kind)]
        for rows, kind, first, step in ((X, "source", 0, 1), (X_target, "target", -1, -1))
    )


def _aligner(estimator: Any) -> Any:
    """The fitted aligner inside an estimator, or the estimator itself."""
    found = found_by_search(estimator)
    last = found[-1] if hasattr(found, "steps") else found
    align = getattr(last, "align_", None)
    return last if align is None else align


def _axes(ax: Any, count: int) -> tuple[tuple[Any, ...], Any]:
    """`count` axes and their figure: those given, or new ones."""
    if ax is None:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(1, count, figsize=(4.5 * count, 3.6), layout="constrained", squeeze=False)
        return tuple(axes[0]), figure
    axes = tuple(np.ravel(np.asarray(ax, dtype=object)))
    if len(axes) != count:
        raise ValueError(f"ax must be {'one axes' if count == 1 else f'{count} axes'}, got {len(axes)}")
    return axes, axes[0].figure
