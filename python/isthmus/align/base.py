"""What all estimators of `align` share: one `fit` for every form of the domains, and the row rules."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from ..arrays import Array, as_dtype, dtype_of, empty_like, home, index_of, to_numpy
from ..errors import DomainScaleWarning, NoTargetWarning
from ..homes import HOST
from ..rows import as_given, check_rows
from .domains import Domains, Given, domain_numbers, read_domains, source_mask
from .labelled import need_labels

_ROWS_FOR_SCALE = 256
_SCALE_GAP = 1e3

__all__ = ["Aligner", "DomainEstimator", "Reweighter", "TargetPredictor"]


class DomainEstimator(BaseEstimator):  # type: ignore[misc]
    """The `fit` of all: a method gives `_learn` (two samples in).

    Fitted: `n_features_in_`, `feature_names_in_` when X has names, `has_target_`.
    """

    # With metadata routing on, `fit` asks for these by itself.
    __metadata_request__fit: ClassVar = {"sample_domain": True, "target_labelled": True}
    _each_domain: ClassVar[bool] = False  # a map for every domain, not one for all sources
    _any_scale: ClassVar[bool] = False  # columns may be spread otherwise in each domain
    _least_rows: ClassVar[int] = 2  # of a domain
    _without_target: ClassVar[str] = "its transform is the identity"
    _on_device: ClassVar[bool] = False  # takes arrays on a GPU; fitted arrays are on the host always

    def fit(
        self,
        X: Any,
        y: Any = None,
        X_target: Any = None,
        y_target: Any = None,
        *,
        sample_domain: Any = None,
        target_labelled: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Learn how the domains meet.

        Parameters
        ----------
        X : array of shape (ns, d), the source rows, or a list of such arrays, one a source; with
            `sample_domain` the rows of all domains, (n, d)
        y : labels, one per row of `X` (a list of such for a list), or None
        X_target : array of shape (nt, d), the target rows, or a list of such arrays, one a target
        y_target : labels, one per row of `X_target`, or None; in a list, None for a target without labels
        sample_domain : integers of shape (n,), >= 0 source, < 0 target, in place of `X_target`; the form for
            pipelines and cross-validation. The samples of lists are numbered 0, 1, ... and -1, -2, ...
        target_labelled : booleans, which target labels may be used: shape (n,) with `sample_domain` (None:
            none of them), shape (nt,) with `y_target` (None: all of them)
        sample_weight : array with one weight per row of `X`; weight k counts as the row repeated k times

        Returns
        -------
        self. Without any target row there is a `NoTargetWarning`, and nothing is aligned.

        Raises
        ------
        TypeError : a 1-d array of integers as `X_target`.
        ValueError : both forms at once, widths or lengths that disagree, other feature names, values that
            are not finite, too few rows in a domain.
        """
        self._fit_rows(X, y, X_target, y_target, sample_domain, target_labelled, sample_weight)
        return self

    def _fit_rows(
        self,
        X: Any,
        y: Any,
        X_target: Any,
        y_target: Any,
        sample_domain: Any,
        target_labelled: Any,
        sample_weight: Any,
    ) -> tuple[Given, Array | None]:
        """What was given, and what `_learn` returned."""
        forms = {"sample_domain": sample_domain, "target_labelled": target_labelled}
        given = read_domains(self, X, y, X_target, y_target, sample_weight=sample_weight, **forms)
        domains, name = given.domains, type(self).__name__
        self.has_target_ = domains.X_target is not None
        if domains.X_target is None:
            warnings.warn(
                f"{name} was fitted without target rows, so {self._without_target}; "
                "pass X_target, or sample_domain with negative entries",
                NoTargetWarning,
                stacklevel=3,
            )
            self._learn_alone(domains, given.weights[0])
            return given, None
        found = []
        for kind, numbers in (("source", domains.source_domain), ("target", domains.target_domain)):
            known, counts = _counted(numbers)
            found.append(known)
            if not self._each_domain:
                counts = np.array([len(numbers)])
            if (fewest := int(counts.min())) < self._least_rows:
                of = f" of domain {known[np.argmin(counts)]}" if self._each_domain and len(known) > 1 else ""
                raise ValueError(
                    f"{name} needs at least {self._least_rows} {kind} rows{of}, got n_samples = {fewest}"
                )
        if X_target is not None and not self._any_scale:
            _warn_of_scale(name, domains.X_source, domains.X_target)
        if self._each_domain:
            self.domains_: Array = np.unique(np.concatenate(found))
        return given, self._learn(domains, *given.weights)

    def _learn(
        self, domains: Domains, source_weight: Array | None, target_weight: Array | None
    ) -> Array | None:
        """Learn from both domains, each with a weight a row or None: what every method brings.

        Returns the rows of positive weight moved, source first, where that leaves nothing to compute.
        """
        raise NotImplementedError

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        """What there is to learn without a target; nothing by default."""


def _in_order(moved: Any, given: Given, sample_domain: Any) -> Any:
    """The rows of X from all rows moved, source first, in X's order and float type."""
    moved = as_dtype(moved, dtype_of(given.rows), home(given.rows) or HOST)
    if sample_domain is None:
        return moved[: len(given.rows)]
    from_target = np.argsort(source_mask(sample_domain, len(moved)) == 0, kind="stable")
    out = empty_like(given.rows, moved.shape[1])
    out[index_of(from_target, out)] = moved
    return out


def _counted(numbers: Array) -> tuple[Array, Array]:
    """The domain numbers of rows, ascending, and how many rows each has."""
    if numbers.min() == numbers.max():
        return numbers[:1], np.array([len(numbers)])
    known, counts = np.unique(numbers, return_counts=True)
    return known, counts


def _warn_of_scale(name: str, X: Array, X_target: Array) -> None:
    """Warn where only one of the domains seems to have been scaled: some hundred rows of each tell."""
    spreads = []
    for rows in (X, X_target):
        some = to_numpy(rows[:: max(1, len(rows) // _ROWS_FOR_SCALE)]).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            spreads.append((some - some[0]).std(axis=0))  # of a constant column exactly 0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = spreads[1] / spreads[0]
    known = np.isfinite(ratio) & (ratio > 0)
    far = np.flatnonzero(known & (np.abs(np.log(np.where(known, ratio, 1))) > np.log(_SCALE_GAP)))
    if len(far):
        warnings.warn(
            f"{name}: column {far[0]} is spread {ratio[far[0]]:.1e} times as wide in X_target as in X. "
            "In a Pipeline the steps before do not see X_target: give sample_domain instead, or "
            'transform_input=["X_target"] with metadata routing',
            DomainScaleWarning,
            stacklevel=4,
        )


class Aligner(TransformerMixin, DomainEstimator):  # type: ignore[misc]
    """Estimators that move rows: a method also gives `_map` (rows of one domain out).

    `_map` gets "source" or "target"; in a class with `_each_domain` the number of the domain, which is one of
    the fitted `domains_`. `has_target_` is False where the transform is the identity.
    """

    _takes_numbers: ClassVar[bool] = False  # labels may be the numbers of a regression
    _target_stays: ClassVar[bool] = False  # target rows go through the identity, whichever target

    def fit_transform(
        self,
        X: Any,
        y: Any = None,
        X_target: Any = None,
        y_target: Any = None,
        *,
        sample_domain: Any = None,
        target_labelled: Any = None,
        sample_weight: Any = None,
    ) -> Any:
        """Fit, then move the rows of `X`, each through the map of its own domain; parameters as in `fit`.

        Returns the source rows moved, shape (ns, q), in a list where `X` is one; with `sample_domain` all
        rows in their order, shape (n, q).
        """
        forms = (sample_domain, target_labelled, sample_weight)
        given, at_hand = self._fit_rows(X, y, X_target, y_target, *forms)
        if at_hand is not None and all(weight is None or weight.all() for weight in given.weights):
            moved = _in_order(at_hand, given, sample_domain)
        elif given.sizes is None:
            moved = self._moved(given.rows, "source" if sample_domain is None else sample_domain)
        else:
            moved = self._moved(given.rows, given.domains.source_domain)
        if given.sizes is None:
            return as_given(moved, X)
        ends = np.cumsum([0, *given.sizes]).tolist()
        return [as_given(moved[ends[i] : ends[i + 1]], part) for i, part in enumerate(X)]

    def transform(self, X: Any, *, domain: Any = "target") -> Any:
        """Move the rows of `X`.

        Parameters
        ----------
        X : array of shape (n, d)
        domain : "target" (what a deployed model meets), "source", or integers of shape (n,), >= 0 source;
            where every domain has a map of its own, these must be numbers known from `fit`, unless there is
            one source (one target), whose map serves all

        Returns
        -------
        array of shape (n, q) and X's float type
        """
        check_is_fitted(self)
        return as_given(self._moved(check_rows(self, X, reset=False), domain), X)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Names of the columns of `transform`: the input's where each column keeps its meaning."""
        check_is_fitted(self)
        mixin = OneToOneFeatureMixin if self._keeps_columns() else ClassNamePrefixFeaturesOutMixin
        names: Array = mixin.get_feature_names_out(self, input_features)
        return names

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _moved(self, rows: Array, domain: Any) -> Array:
        if isinstance(domain, str):
            if domain not in ("source", "target"):
                raise ValueError(f"domain must be 'source', 'target' or an array of integers, got {domain!r}")
            if not self.has_target_:
                return rows
            if self._each_domain and not (domain == "target" and self._target_stays):
                return self._map(rows, self._only(domain))
            return self._one_moved(rows, domain)
        numbers = domain_numbers(domain, len(rows), "domain")
        if not self.has_target_:
            return rows
        masks: dict[Any, Array] = {"source": numbers >= 0, "target": numbers < 0}
        if self._each_domain:
            masks = {int(number): numbers == number for number in np.unique(numbers)}
        places = {key: index_of(mask, rows) for key, mask in masks.items() if mask.any()}
        moved = {key: self._one_moved(rows[place], key) for key, place in places.items()}
        out: Array = empty_like(rows, next(iter(moved.values())).shape[1])
        for key, part in moved.items():
            out[places[key]] = part
        return out

    def _one_moved(self, rows: Array, key: Any) -> Array:
        """Rows of one domain, by its number or as "source" or "target", moved."""
        if self._target_stays and (key == "target" or (key != "source" and key < 0)):
            return rows
        if self._each_domain and key not in self.domains_:
            alike = self.domains_[(self.domains_ >= 0) == (key >= 0)]
            if len(alike) > 1:
                known = ", ".join(map(str, self.domains_.tolist()))
                raise ValueError(f"domain must hold numbers known from fit, {known}, got {key}")
            key = int(alike[0])
        return self._map(rows, key)

    def _only(self, domain: str) -> int:
        """The number of the one source or the one target."""
        of_kind = (
            self.domains_[self.domains_ >= 0] if domain == "source" else self.domains_[self.domains_ < 0]
        )
        if len(of_kind) > 1:
            raise ValueError(
                f"{type(self).__name__} has a map for each of the {domain} domains {of_kind.tolist()}: pass "
                f"domain as an array with the number of each row, got {domain!r}"
            )
        return int(of_kind[0])

    def _keeps_columns(self) -> bool:
        return True

    def _map(self, rows: Array, domain: Any) -> Array:
        """Rows of the "source", the "target" or of a domain by its number, moved."""
        raise NotImplementedError


class Reweighter(Aligner):
    """Estimators that weigh the source rows: a method gives `_weigh`. Their transform is the identity.

    Fitted: `weights_` (ns,), float64, one weight per source row in the order given to `fit`; all 1 without a
    target. `TransferPipeline` trains its model with them.
    """

    _without_target = "its weights are all 1"

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self.weights_: Array = self._weigh(domains, source_weight, target_weight)

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        self.weights_ = np.ones(len(domains.X_source))

    def _map(self, rows: Array, domain: Any) -> Array:
        return rows

    def _weigh(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Array:
        """The weights (ns,) of the source rows: what every method brings."""
        raise NotImplementedError


class TargetPredictor(DomainEstimator):
    """Classifiers and regressors that learn from both domains and predict for target rows.

    A method gives `_learn`, which also gets domains without a target (`X_target` is None), and its own
    `predict`, which takes its rows from `_checked`.
    """

    _least_rows = 1
    _without_target = "it learned from the source alone"

    def _fit_rows(
        self,
        X: Any,
        y: Any,
        X_target: Any,
        y_target: Any,
        sample_domain: Any,
        target_labelled: Any,
        sample_weight: Any,
    ) -> tuple[Given, Array | None]:
        need_labels(y, type(self).__name__)
        return super()._fit_rows(X, y, X_target, y_target, sample_domain, target_labelled, sample_weight)

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        self._learn(domains, source_weight, None)

    def _checked(self, X: Any) -> Array:
        """Rows (n, d) to predict for."""
        check_is_fitted(self)
        return check_rows(self, X, reset=False)
