"""Domains in, two arrays out: both forms of `fit`, the row rules, and the base class of the aligners."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OneToOneFeatureMixin,
    TransformerMixin,
)
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data

from ..arrays import Array
from ..errors import NoTargetWarning
from ..rows import check_rows, float_types, refuse_not_finite

__all__ = [
    "Aligner",
    "Domains",
    "check_target_rows",
    "source_mask",
    "split_domains",
    "split_weights",
]


class Domains(NamedTuple):
    """The two samples of one `fit`, whichever form they came in.

    `X_source` (ns, d), `y_source` (ns,) or None, `X_target` (nt, d) or None when there is no target,
    `y_target` (nt,) or None, `target_labelled` (nt,) bool: which entries of `y_target` may be used.
    """

    X_source: Array
    y_source: Array | None
    X_target: Array | None
    y_target: Array | None
    target_labelled: Array


def split_domains(
    X: Array,
    y: Any = None,
    X_target: Array | None = None,
    y_target: Any = None,
    *,
    sample_domain: Any = None,
    target_labelled: Any = None,
) -> Domains:
    """Bring both forms of `fit` to source rows and target rows, in the order they were given.

    Parameters
    ----------
    X, X_target : checked arrays of equal width (`check_rows`, `check_target_rows`)
    y, y_target : labels, one per row of `X` and of `X_target`, or None
    sample_domain : integers, one per row of `X`: >= 0 source, < 0 target; not together with `X_target`
    target_labelled : booleans, one per row of `X` (with `sample_domain`) or of `X_target`: which target
        labels may be used. None: none of them with `sample_domain`, all of `y_target` otherwise.

    Raises
    ------
    TypeError : domains that are not integers, `target_labelled` that is not boolean.
    ValueError : both forms at once, no source row, lengths that disagree, labels declared but not given.
    """
    y = _labels(y, "y", "X", len(X))
    if sample_domain is None:
        return _split_direct(X, y, X_target, y_target, target_labelled)
    if X_target is not None or y_target is not None:
        raise ValueError("give X_target (and y_target) or sample_domain, got both")
    source = source_mask(sample_domain, len(X))
    if not source.any():
        raise ValueError("sample_domain must name at least one source row (>= 0), got only target rows (< 0)")
    labelled = np.zeros(len(X), dtype=bool)
    if target_labelled is not None:
        labelled = _boolean_mask(target_labelled, len(X), "X") & ~source
        if y is None and labelled.any():
            raise ValueError("target_labelled declares labelled rows, so y is needed, got None")
    if source.all():
        return Domains(X, y, None, None, labelled[:0])
    y_source, y_rest = (None, None) if y is None else (plain_labels(y[source]), y[~source])
    return Domains(X[source], y_source, X[~source], y_rest, labelled[~source])


def _split_direct(
    X: Array, y: Array | None, X_target: Array | None, y_target: Any, target_labelled: Any
) -> Domains:
    if X_target is None:
        if y_target is not None:
            raise ValueError("y_target needs X_target, got None")
        if target_labelled is not None:
            raise ValueError("target_labelled needs X_target or sample_domain, got neither")
        return Domains(X, y, None, None, np.zeros(0, dtype=bool))
    labels = _labels(y_target, "y_target", "X_target", len(X_target))
    labelled = np.full(len(X_target), labels is not None)
    if target_labelled is not None:
        labelled = _boolean_mask(target_labelled, len(X_target), "X_target")
        if labels is None and labelled.any():
            raise ValueError("target_labelled declares labelled rows, so y_target is needed, got None")
    return Domains(X, y, X_target, labels, labelled)


def split_weights(
    sample_weight: Any, X: Array, domains: Domains, sample_domain: Any = None
) -> tuple[Array | None, Array | None]:
    """Weights of the source rows and of the target rows, each None where all are 1.

    `sample_weight` has one entry per row of `X`: source rows alone in the direct form, all rows with
    `sample_domain`. A weight k counts as the row repeated k times. ValueError: negative, not finite, or no
    weight left in a domain.
    """
    if sample_weight is None:
        return None, None
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if sample_domain is None or domains.X_target is None:
        return weight, None
    source = source_mask(sample_domain, len(X))
    for name, part in (("source", weight[source]), ("target", weight[~source])):
        if not part.any():
            raise ValueError(f"sample_weight must be positive on at least one {name} row, got zeros only")
    return weight[source], weight[~source]


def source_mask(sample_domain: Any, n_rows: int, name: str = "sample_domain") -> Array:
    """Which of `n_rows` rows are source rows (>= 0) by their domain numbers."""
    domain = np.asarray(sample_domain)
    if domain.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers (>= 0 source, < 0 target), got dtype {domain.dtype}")
    if domain.shape != (n_rows,):
        raise ValueError(f"{name} must have one entry per row of X, shape ({n_rows},), got {domain.shape}")
    return np.asarray(domain >= 0)


def plain_labels(y: Any) -> Array:
    """`y` without an object dtype, unless it mixes text with other labels: numpy makes text of them all.

    For what is left where the rows left out had needed the object dtype (None or text among numbers).
    """
    if isinstance(y, np.ndarray) and y.dtype != object:
        return y
    entries = list(y)
    labels = np.asarray(entries)
    if labels.dtype.kind == "U" and not all(isinstance(entry, str) for entry in entries):
        return np.asarray(entries, dtype=object)
    return labels


def check_target_rows(estimator: Any, X_target: Any, X: Array) -> Array:
    """`X_target` as a finite (nt, d) float array with the width and the feature names of `X`.

    Raises
    ------
    TypeError : a 1-d array of integers, which is `sample_domain` in the wrong place.
    ValueError : another width or other feature names than `X`, NaN or infinity.
    """
    shape = np.shape(X_target)
    if len(shape) == 1 and np.asarray(X_target).dtype.kind in "iub":
        raise TypeError(
            f"X_target must be a 2-d array of rows, got {shape[0]} integers: did you mean sample_domain=?"
        )
    if len(shape) == 2 and shape[1] != X.shape[1]:
        raise ValueError(
            f"X_target must have X's width d = {X.shape[1]}: X has shape {X.shape}, X_target {shape}"
        )
    if hasattr(X_target, "columns"):
        validate_data(estimator, X_target, reset=False, skip_check_array=True)
    options = {"dtype": float_types(X_target), "ensure_all_finite": False, "input_name": "X_target"}
    return refuse_not_finite(check_array(X_target, **options), "X_target")


def _labels(y: Any, name: str, rows: str, n_rows: int) -> Array | None:
    if y is None:
        return None
    labels = plain_labels(y) if isinstance(y, list | tuple) else np.asarray(y)
    if labels.ndim == 0 or len(labels) != n_rows:
        raise ValueError(f"{name} must have one label per row of {rows}, {n_rows}, got shape {labels.shape}")
    return labels


def _boolean_mask(mask: Any, n_rows: int, rows: str) -> Array:
    checked = np.asarray(mask)
    if checked.dtype != bool:
        raise TypeError(
            f"target_labelled must be boolean, one entry per row of {rows}, got dtype {checked.dtype}"
        )
    if checked.shape != (n_rows,):
        raise ValueError(
            f"target_labelled must have one entry per row of {rows}, shape ({n_rows},), got {checked.shape}"
        )
    return checked


class Aligner(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What all aligners share: a method gives `_learn` (two samples in) and `_map` (rows of one domain out).

    Fitted: `n_features_in_`, `feature_names_in_` when X has names, `has_target_` (False: the identity).
    """

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
        """Learn how the two domains meet.

        Parameters
        ----------
        X : array of shape (ns, d), the source rows; with `sample_domain` the rows of all domains, (n, d)
        y : labels, one per row of `X`, or None
        X_target : array of shape (nt, d), the target rows
        y_target : labels, one per row of `X_target`, or None
        sample_domain : integers of shape (n,), >= 0 source, < 0 target, in place of `X_target`; the form for
            pipelines and cross-validation
        target_labelled : booleans, which target labels may be used: shape (n,) with `sample_domain` (None:
            none of them), shape (nt,) with `y_target` (None: all of them)
        sample_weight : array with one weight per row of `X`; weight k counts as the row repeated k times

        Returns
        -------
        self. Without any target row it is the identity, with a `NoTargetWarning`.

        Raises
        ------
        TypeError : a 1-d array of integers as `X_target`.
        ValueError : both forms at once, widths or lengths that disagree, other feature names, values that
            are not finite, fewer than two rows in a domain.
        """
        self._fit_rows(X, y, X_target, y_target, sample_domain, target_labelled, sample_weight)
        return self

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

        Returns the source rows moved, shape (ns, q); with `sample_domain` all rows in their order, shape (n,
        q).
        """
        rows = self._fit_rows(X, y, X_target, y_target, sample_domain, target_labelled, sample_weight)
        return self._moved(rows, "source" if sample_domain is None else sample_domain)

    def transform(self, X: Any, *, domain: Any = "target") -> Any:
        """Move the rows of `X`.

        Parameters
        ----------
        X : array of shape (n, d)
        domain : "target" (what a deployed model meets), "source", or integers of shape (n,), >= 0 source

        Returns
        -------
        array of shape (n, q) and X's float type
        """
        check_is_fitted(self)
        return self._moved(check_rows(self, X, reset=False), domain)

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

    def _fit_rows(
        self,
        X: Any,
        y: Any,
        X_target: Any,
        y_target: Any,
        sample_domain: Any,
        target_labelled: Any,
        sample_weight: Any,
    ) -> Array:
        rows = check_rows(self, X, reset=True)
        targets = None if X_target is None else check_target_rows(self, X_target, rows)
        domains = split_domains(
            rows, y, targets, y_target, sample_domain=sample_domain, target_labelled=target_labelled
        )
        weights = split_weights(sample_weight, rows, domains, sample_domain)
        self.has_target_ = domains.X_target is not None
        if domains.X_target is None:
            warnings.warn(
                f"{type(self).__name__} was fitted without target rows, so its transform is the identity; "
                "pass X_target, or sample_domain with negative entries",
                NoTargetWarning,
                stacklevel=3,
            )
            return rows
        for name, part in (("source", domains.X_source), ("target", domains.X_target)):
            if len(part) < 2:
                raise ValueError(
                    f"{type(self).__name__} needs at least 2 {name} rows, got n_samples = {len(part)}"
                )
        self._learn(domains, *weights)
        return rows

    def _moved(self, rows: Array, domain: Any) -> Array:
        if isinstance(domain, str):
            if domain not in ("source", "target"):
                raise ValueError(f"domain must be 'source', 'target' or an array of integers, got {domain!r}")
            return self._map(rows, domain) if self.has_target_ else rows
        source = source_mask(domain, len(rows), "domain")
        if not self.has_target_:
            return rows
        parts = {"source": source, "target": ~source}
        moved = {name: self._map(rows[mask], name) for name, mask in parts.items() if mask.any()}
        out = np.empty((len(rows), next(iter(moved.values())).shape[1]), dtype=rows.dtype)
        for name, part in moved.items():
            out[parts[name]] = part
        return out

    def _keeps_columns(self) -> bool:
        return True

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        """Learn from both domains, each with a weight a row or None: what every method brings."""
        raise NotImplementedError

    def _map(self, rows: Array, domain: str) -> Array:
        """Rows of the "source" or the "target" moved: what every method brings."""
        raise NotImplementedError
