"""Domains in, two arrays out: every form in which `fit` takes the rows of several domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from ..arrays import Array, index_of, namespace, to_numpy
from ..rows import check_rows, check_rows_beside

__all__ = [
    "Domains",
    "Given",
    "check_target_rows",
    "domain_numbers",
    "fit_arguments",
    "is_list_of_samples",
    "kind_or_numbers",
    "label_array",
    "plain_labels",
    "positive",
    "read_domains",
    "source_mask",
    "split_domains",
    "split_weights",
]


class Domains(NamedTuple):
    """The samples of one `fit`, source and target, whichever form they came in.

    `X_source` (ns, d), `y_source` (ns,) or None, `X_target` (nt, d) or None when there is no target,
    `y_target` (nt,) or None, `target_labelled` (nt,) bool: which entries of `y_target` may be used,
    `source_domain` (ns,) integers >= 0 and `target_domain` (nt,) integers < 0: which domain each row is of.
    """

    X_source: Array
    y_source: Array | None
    X_target: Array | None
    y_target: Array | None
    target_labelled: Array
    source_domain: Array
    target_domain: Array


class Given(NamedTuple):
    """The checked arguments of one `fit`.

    `rows` (n, d): those of `X`, the samples of a list one after the other; `sizes`: the lengths of these
    samples, None where `X` was one array; `targets` (nt, d): those of `X_target`, or None; `domains`;
    `weights`: of the source and of the target rows, each None where all are 1.
    """

    rows: Array
    sizes: list[int] | None
    targets: Array | None
    domains: Domains
    weights: tuple[Array | None, Array | None]


def read_domains(
    estimator: Any,
    X: Any,
    y: Any = None,
    X_target: Any = None,
    y_target: Any = None,
    *,
    sample_domain: Any = None,
    target_labelled: Any = None,
    sample_weight: Any = None,
) -> Given:
    """Check the arguments of `fit` and bring them to source rows and target rows.

    Sets `n_features_in_` and the feature names of `estimator`. Arguments and errors as in the estimators'
    `fit`.
    """
    rows, sizes = _stacked_rows(estimator, X)
    known = None
    targets, target_sizes = (None, None) if X_target is None else _stacked_targets(estimator, X_target, rows)
    if sizes is not None:
        if sample_domain is not None:
            raise ValueError("X must be one array beside sample_domain, got a list of samples")
        y = _stacked_labels(y, sizes, "y")[0]
        sample_weight = _stacked(sample_weight, sizes, "sample_weight")
    if target_sizes is not None:
        y_target, known = _stacked_labels(y_target, target_sizes, "y_target")
        if target_labelled is None:
            target_labelled = known
        else:
            target_labelled = _stacked(target_labelled, target_sizes, "target_labelled")
    domains = split_domains(
        rows, y, targets, y_target, sample_domain=sample_domain, target_labelled=target_labelled
    )
    if sizes is not None:
        domains = domains._replace(source_domain=np.repeat(np.arange(len(sizes)), sizes))
    if target_sizes is not None:
        numbers = -1 - np.arange(len(target_sizes))
        domains = domains._replace(target_domain=np.repeat(numbers, target_sizes))
    if known is not None and (unknown := domains.target_labelled & ~known).any():
        sample = -1 - domains.target_domain[unknown][0]
        raise ValueError(f"target_labelled declares labelled rows of X_target[{sample}], which has none")
    return Given(rows, sizes, targets, domains, split_weights(sample_weight, rows, domains, sample_domain))


def fit_arguments(
    domains: Domains, weights: tuple[Array | None, Array | None] = (None, None), *, labels: bool = True
) -> dict[str, Any]:
    """Arguments with which `fit` meets the same domains again, with or without their labels."""
    X, y, X_target, y_target, labelled, of_source, of_target = domains
    if not labels:
        y = y_target = None
    if X_target is None:
        return {"X": X, "y": y, "sample_weight": weights[0]}
    known = y_target is not None and bool(labelled.any())
    if weights[1] is None and not of_source.any() and (of_target == -1).all():
        arguments = {"X": X, "y": y, "X_target": X_target, "sample_weight": weights[0]}
        return arguments | ({"y_target": y_target, "target_labelled": labelled} if known else {})
    arguments = {
        "X": namespace(X).concatenate([X, X_target]),
        "sample_domain": np.concatenate([of_source, of_target]),
    }
    if y is not None:
        rest = list(y_target) if y_target is not None else [y[0]] * len(X_target)
        arguments["y"] = plain_labels([*y, *rest])
    if known:
        arguments["target_labelled"] = np.concatenate([np.zeros(len(X), dtype=bool), labelled])
    if weights[0] is not None or weights[1] is not None:
        both = zip(weights, (X, X_target), strict=True)
        arguments["sample_weight"] = np.concatenate(
            [np.ones(len(rows)) if weight is None else weight for weight, rows in both]
        )
    return arguments


def kind_or_numbers(numbers: Array, chosen: Array | None = None) -> Any:
    """What `transform` takes as `domain` for all or the `chosen` rows of all sources, or of all targets."""
    if (numbers != numbers[0]).any():
        return numbers if chosen is None else numbers[chosen]
    return "source" if numbers[0] >= 0 else "target"


def is_list_of_samples(X: Any) -> bool:
    """Whether `X` is a list of 2-d arrays or tables, one a domain."""
    return (
        isinstance(X, list | tuple)
        and len(X) > 0
        and all(hasattr(part, "shape") and len(part.shape) == 2 for part in X)
    )


def _stacked_rows(estimator: Any, X: Any) -> tuple[Array, list[int] | None]:
    if not is_list_of_samples(X):
        return check_rows(estimator, X, reset=True), None
    first = check_rows(estimator, X[0], reset=True)
    parts = [first, *(check_target_rows(estimator, X[i], first, f"X[{i}]", "X[0]") for i in range(1, len(X)))]
    return namespace(first).concatenate(parts), [len(part) for part in parts]


def _stacked_targets(estimator: Any, X_target: Any, X: Array) -> tuple[Array, list[int] | None]:
    if not is_list_of_samples(X_target):
        return check_target_rows(estimator, X_target, X), None
    parts = [check_target_rows(estimator, part, X, f"X_target[{i}]") for i, part in enumerate(X_target)]
    return namespace(X).concatenate(parts), [len(part) for part in parts]


def _stacked(values: Any, sizes: list[int], name: str) -> Any:
    """`values` of all rows in one array, where they came as one array a sample."""
    if values is None or len(values) != len(sizes) or not all(map(_is_sequence, values)):
        return values
    for i, (part, size) in enumerate(zip(values, sizes, strict=True)):
        if len(part) != size:
            raise ValueError(f"{name}[{i}] must have one entry per row, {size}, got {len(part)}")
    return np.concatenate([np.asarray(part) for part in values])


def _stacked_labels(y: Any, sizes: list[int], name: str) -> tuple[Any, Array | None]:
    """Labels of all rows, and which are known (None: all): a sample without any has None in the list."""
    if y is None or isinstance(y, np.ndarray) or len(y) != len(sizes):
        return y, None
    if not all(part is None or _is_sequence(part) for part in y) or all(part is None for part in y):
        return (None if all(part is None for part in y) else y), None
    for i, (part, size) in enumerate(zip(y, sizes, strict=True)):
        if part is not None and len(part) != size:
            raise ValueError(f"{name}[{i}] must have one label per row, {size}, got {len(part)}")
    known = np.repeat([part is not None for part in y], sizes)
    if name == "y" and not known.all():
        missing = [part is None for part in y].index(True)
        raise ValueError(f"y must have labels for every source or be None, got None for X[{missing}]")
    filler = next(part for part in y if part is not None)[0]
    entries: list[Any] = []
    for part, size in zip(y, sizes, strict=True):
        entries += [filler] * size if part is None else list(part)
    return plain_labels(entries), known


def _is_sequence(part: Any) -> bool:
    return (isinstance(part, Sequence) and not isinstance(part, str)) or getattr(part, "ndim", 0) == 1


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
    numbers = domain_numbers(sample_domain, len(X))
    source = numbers >= 0
    if not source.any():
        raise ValueError("sample_domain must name at least one source row (>= 0), got only target rows (< 0)")
    labelled = np.zeros(len(X), dtype=bool)
    if target_labelled is not None:
        labelled = _boolean_mask(target_labelled, len(X), "X") & ~source
        if y is None and labelled.any():
            raise ValueError("target_labelled declares labelled rows, so y is needed, got None")
    if source.all():
        return Domains(X, y, None, None, labelled[:0], numbers, numbers[:0])
    y_source, y_rest = (None, None) if y is None else (plain_labels(y[source]), y[~source])
    rows, rest = (X[index_of(mask, X)] for mask in (source, ~source))
    parts = (rows, y_source, rest, y_rest, labelled[~source])
    return Domains(*parts, numbers[source], numbers[~source])


def _split_direct(
    X: Array, y: Array | None, X_target: Array | None, y_target: Any, target_labelled: Any
) -> Domains:
    zeros = np.zeros(len(X), dtype=np.int64)
    if X_target is None:
        if y_target is not None:
            raise ValueError("y_target needs X_target, got None")
        if target_labelled is not None:
            raise ValueError("target_labelled needs X_target or sample_domain, got neither")
        return Domains(X, y, None, None, np.zeros(0, dtype=bool), zeros, zeros[:0])
    labels = _labels(y_target, "y_target", "X_target", len(X_target))
    labelled = np.full(len(X_target), labels is not None)
    if target_labelled is not None:
        labelled = _boolean_mask(target_labelled, len(X_target), "X_target")
        if labels is None and labelled.any():
            raise ValueError("target_labelled declares labelled rows, so y_target is needed, got None")
    return Domains(X, y, X_target, labels, labelled, zeros, np.full(len(X_target), -1))


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
    weight = _check_sample_weight(
        to_numpy(sample_weight), np.empty(len(X)), dtype=np.float64, ensure_non_negative=True
    )
    with np.errstate(over="ignore"):
        total = weight.sum()
    if not np.isfinite(total):
        raise ValueError(f"sample_weight must have a finite sum, got a largest weight of {weight.max():.0e}")
    if sample_domain is None or domains.X_target is None:
        return weight, None
    source = source_mask(sample_domain, len(X))
    for name, part in (("source", weight[source]), ("target", weight[~source])):
        if not part.any():
            raise ValueError(f"sample_weight must be positive on at least one {name} row, got zeros only")
    return weight[source], weight[~source]


def positive(rows: Array, weight: Array | None) -> tuple[Array, Array]:
    """Rows of positive weight and their weights (n,); a row of weight 0 is a row that is not there."""
    if weight is None:
        return rows, np.ones(len(rows))
    return rows[index_of(weight > 0, rows)], weight[weight > 0]


def domain_numbers(sample_domain: Any, n_rows: int, name: str = "sample_domain") -> Array:
    """The domain number of each of `n_rows` rows: (n_rows,) integers, >= 0 source, < 0 target."""
    domain = to_numpy(sample_domain)
    if domain.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers (>= 0 source, < 0 target), got dtype {domain.dtype}")
    if domain.shape != (n_rows,):
        raise ValueError(f"{name} must have one entry per row of X, shape ({n_rows},), got {domain.shape}")
    return domain.astype(np.int64, copy=False)


def source_mask(sample_domain: Any, n_rows: int, name: str = "sample_domain") -> Array:
    """Which of `n_rows` rows are source rows (>= 0) by their domain numbers."""
    return domain_numbers(sample_domain, n_rows, name) >= 0


def label_array(y: Any) -> Array:
    """`y` as an array; a list that mixes text with other labels does not become text."""
    return plain_labels(y) if isinstance(y, list | tuple) else np.asarray(to_numpy(y))


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


def check_target_rows(
    estimator: Any, X_target: Any, X: Array, name: str = "X_target", beside: str = "X"
) -> Array:
    """`X_target` as a finite (nt, d) float array with the width and the feature names of `X`.

    Raises
    ------
    TypeError : a 1-d array of integers, which is `sample_domain` in the wrong place.
    ValueError : another width or other feature names than `X`, NaN or infinity.
    """
    shape = np.shape(X_target)
    if len(shape) == 1 and to_numpy(X_target).dtype.kind in "iub":
        raise TypeError(
            f"{name} must be a 2-d array of rows, got {shape[0]} integers: did you mean sample_domain=?"
        )
    if len(shape) == 2 and shape[1] != X.shape[1]:
        raise ValueError(
            f"{name} must have {beside}'s width d = {X.shape[1]}: "
            f"{beside} has shape {X.shape}, {name} {shape}"
        )
    return check_rows_beside(estimator, X_target, name, X)


def _labels(y: Any, name: str, rows: str, n_rows: int) -> Array | None:
    if y is None:
        return None
    labels = label_array(y)
    if labels.ndim == 0 or len(labels) != n_rows:
        raise ValueError(f"{name} must have one label per row of {rows}, {n_rows}, got shape {labels.shape}")
    return labels


def _boolean_mask(mask: Any, n_rows: int, rows: str) -> Array:
    checked = to_numpy(mask)
    if checked.dtype != bool:
        raise TypeError(
            f"target_labelled must be boolean, one entry per row of {rows}, got dtype {checked.dtype}"
        )
    if checked.shape != (n_rows,):
        raise ValueError(
            f"target_labelled must have one entry per row of {rows}, shape ({n_rows},), got {checked.shape}"
        )
    return checked
