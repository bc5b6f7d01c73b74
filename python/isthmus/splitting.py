"""Several domains as one array and back; cross-validation with every domain in every training part."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils.validation import _num_samples

from .align.domains import domain_numbers, label_array, plain_labels, read_domains
from .arrays import Array, generator, index_of, namespace
from .rows import as_array, labels_on_host

__all__ = ["DomainSplit", "PackedDomains", "pack_domains", "unpack_domains"]

TESTS = ("target", "both")


class PackedDomains(NamedTuple):
    """The rows of all domains in one array, sources first: the `sample_domain` form of `fit`.

    `X` (n, d); `y` (n,) or None; `sample_domain` (n,) integers: sources 0, 1, ..., targets -1, -2, ...;
    `target_labelled` (n,) bool: target rows whose `y` is a label; `sample_weight` (n,) or None.
    """

    X: Array
    y: Array | None
    sample_domain: Array
    target_labelled: Array
    sample_weight: Array | None


def pack_domains(
    X: Any,
    X_target: Any,
    y: Any = None,
    y_target: Any = None,
    *,
    target_labelled: Any = None,
    sample_weight: Any = None,
    target_weight: Any = None,
) -> PackedDomains:
    """Stack source rows and target rows for pipelines and cross-validation.

    Parameters
    ----------
    X, X_target : rows (ns, d) and (nt, d), or lists of such arrays, one per domain
    y, y_target : labels, one per row, in lists where the rows are in lists, or None. In a list for several
        targets an entry may be None: that target has no labels.
    target_labelled : booleans, one per target row, which entries of `y_target` are labels; None: all of them
    sample_weight, target_weight : weights, one per source row and one per target row; None: 1 each

    Returns
    -------
    PackedDomains. Where a target row has no label, `y` holds the first source label, whatever stood there:
    the array keeps its type and its classes, and nobody who heeds `target_labelled` reads it. No value marks
    a missing label: -1 is a label like any other.

    Raises
    ------
    TypeError : text and numbers mixed among the labels; `target_labelled` that is not boolean.
    ValueError : rows that are not 2-d, values that are not finite, widths, feature names or lengths that
        disagree, target labels without source labels.

    Cost: one copy of the rows, on the GPU where they are on one; the rest is on the host. float32 stays where
    all rows are.
    """
    if X_target is None:
        raise ValueError("X_target must hold the target rows, got None")
    given = read_domains(
        _PackDomains(), X, y, X_target, y_target, target_labelled=target_labelled, sample_weight=sample_weight
    )
    domains, weight = given.domains, given.weights[0]
    if domains.y_source is None and domains.y_target is not None:
        raise ValueError("y_target needs the labels y of the source beside it, got y=None")
    n_source, n_target = len(domains.X_source), len(domains.target_labelled)
    target_weight = labels_on_host(target_weight)
    if target_weight is not None and np.shape(target_weight) != (n_target,):
        raise ValueError(
            f"target_weight must have one entry per target row, shape ({n_target},), "
            f"got {np.shape(target_weight)}"
        )
    if weight is not None or target_weight is not None:
        parts = (
            np.ones(n) if part is None else part
            for part, n in ((weight, n_source), (target_weight, n_target))
        )
        weight = np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    return PackedDomains(
        namespace(domains.X_source).concatenate([domains.X_source, domains.X_target]),
        _filled(domains.y_source, domains.y_target, domains.target_labelled),
        np.concatenate([domains.source_domain, domains.target_domain]),
        np.concatenate([np.zeros(n_source, dtype=bool), domains.target_labelled]),
        weight,
    )


def unpack_domains(
    X: Any, y: Any, sample_domain: Any, target_labelled: Any = None
) -> tuple[Any, Any, Any, Any, Any]:
    """The direct form of `fit` again: X, y, X_target, y_target, target_labelled.

    Parameters
    ----------
    X, y, sample_domain, target_labelled : as in `PackedDomains`; the rows may be in any order

    Returns
    -------
    Source rows, their labels, target rows, their labels and which of these are labels: an array where a side
    has one domain, a list of arrays where it has several, in the order 0, 1, ... and -1, -2, ... The last
    two are None where no target row is labelled, and labels are None where `y` is.

    Raises
    ------
    ValueError : no row of a side, or lengths that disagree.
    """
    rows = as_array(X)
    number = domain_numbers(sample_domain, len(rows))
    _check_both_sides(number)
    labels = None if y is None else label_array(y)
    labelled = np.zeros(len(rows), bool)
    if target_labelled is not None:
        labelled = np.asarray(labels_on_host(target_labelled), bool)
    for name, values in (("y", labels), ("target_labelled", labelled)):
        if values is not None and len(values) != len(rows):
            raise ValueError(f"{name} must have one entry per row of X, {len(rows)}, got {len(values)}")

    def cut(values: Any, side: Array) -> Any:
        if values is None:
            return None
        parts = [values[index_of(number == one, values)] for one in side]
        if values is labels:
            parts = [plain_labels(part) for part in parts]
        return parts if len(parts) > 1 else parts[0]

    numbers = np.unique(number)
    sources, targets = numbers[numbers >= 0], numbers[numbers < 0][::-1]
    known = labelled if labels is not None and labelled[number < 0].any() else None
    of_target = None if known is None else labels
    return (
        cut(rows, sources),
        cut(labels, sources),
        cut(rows, targets),
        cut(of_target, targets),
        cut(known, targets),
    )


class DomainSplit(BaseCrossValidator):  # type: ignore[misc]
    """Cross-validation over the rows of several domains; every training part holds rows of all of them.

    The domain numbers (>= 0 source, < 0 target) reach `split` as `sample_domain` or as `groups`:
    `cross_val_score(model, X, y, cv=DomainSplit(), groups=sample_domain, params={"sample_domain":
    sample_domain})` without metadata routing; with it, `params={"sample_domain": sample_domain}`, which this
    splitter requests by itself. `GridSearchCV(...).fit(X, y, ...)` takes the same names.

    Parameters
    ----------
    n_splits : int >= 2
    test : "target": a test part is a fold of the target rows, and all source rows train. "both": it is a fold
        of each domain, which scorers need that compare the domains on rows held out.
    random_state : int, Generator, RandomState or None, the order of the rows before they are dealt; 0 by
        default, so that results repeat

    Each domain number is dealt evenly over the folds by itself. Source rows are dealt class by class if `y`
    holds classes; labels of target rows are never read. A class of one source row is missing from one
    training part with "both".

    `split` raises ValueError without domain numbers, without a domain on either side, and where a domain has
    fewer rows than `n_splits`, or fewer than would leave 2 to train on.
    """

    __metadata_request__split: ClassVar = {"groups": True, "sample_domain": True}

    def __init__(self, n_splits: int = 5, *, test: str = "target", random_state: Any = 0) -> None:
        self.n_splits = n_splits
        self.test = test
        self.random_state = random_state

    def get_n_splits(
        self, X: Any = None, y: Any = None, groups: Any = None, sample_domain: Any = None
    ) -> int:
        """The number of folds."""
        return int(self.n_splits)

    def split(
        self, X: Any, y: Any = None, groups: Any = None, *, sample_domain: Any = None
    ) -> Iterator[tuple[Array, Array]]:
        """Training and test row numbers, both ascending, of each fold.

        Parameters
        ----------
        X : rows (n, d) of all domains
        y : labels (n,) or None; entries of target rows are not read
        groups, sample_domain : integers (n,), >= 0 source, < 0 target; one of the two
        """
        n_splits: Any = self.n_splits
        if not isinstance(n_splits, Integral) or n_splits < 2:
            raise ValueError(f"n_splits must be an integer >= 2, got {self.n_splits!r}")
        if self.test not in TESTS:
            raise ValueError(f"test must be 'target' or 'both', got {self.test!r}")
        if sample_domain is None and groups is None:
            raise ValueError(
                "DomainSplit needs the domain numbers: pass sample_domain=, or groups= to scikit-learn's "
                "functions without metadata routing"
            )
        if sample_domain is not None and groups is not None and not np.array_equal(sample_domain, groups):
            raise ValueError("groups and sample_domain must be the same numbers, or one of them None")
        given, name = (groups, "groups") if sample_domain is None else (sample_domain, "sample_domain")
        number = domain_numbers(given, _num_samples(X), name)
        _check_both_sides(number)
        fold = self._deal(number, y)
        rows = np.arange(len(fold))
        for k in range(int(self.n_splits)):
            test = (fold == k) & ((number < 0) | (self.test == "both"))
            yield rows[~test], rows[test]

    def _deal(self, number: Array, y: Any) -> Array:
        """The fold (n,) of each row."""
        n_splits = int(self.n_splits)
        group = np.zeros(len(number), dtype=np.intp)
        if y is not None:
            group[number >= 0] = _classes(plain_labels(label_array(y)[number >= 0]))
        shuffled = generator(self.random_state).permutation(len(number))
        fold = np.empty(len(number), dtype=np.intp)
        for one in np.unique(number):
            rows = shuffled[number[shuffled] == one]
            tested = self.test == "both" or one < 0
            if tested and (len(rows) < n_splits or len(rows) - ceil(len(rows) / n_splits) < 2):
                raise ValueError(
                    f"domain {one} must have at least {max(n_splits, 4 if n_splits == 2 else 3)} rows for "
                    f"n_splits = {n_splits}, got {len(rows)}"
                )
            fold[rows[np.argsort(group[rows], kind="stable")]] = np.arange(len(rows)) % n_splits
        return fold


def _classes(y: Array) -> Array:
    """The class (n,) of each label; all 0 for numbers that form no classes."""
    if y.dtype == object:
        kinds = sorted({type(label).__name__ for label in y})
        raise TypeError(f"y must hold labels of one kind on the source rows, got {', '.join(kinds)}")
    if y.ndim > 1:
        return np.zeros(len(y), dtype=np.intp)
    classes, group = np.unique(y, return_inverse=True)
    values = y.dtype.kind == "f" and not np.array_equal(y, np.rint(y))
    return np.zeros(len(y), dtype=np.intp) if values or 2 * len(classes) > len(y) else group


class _PackDomains(BaseEstimator):  # type: ignore[misc]
    """Stands for the estimator that checks of rows name and write to."""

    _on_device: ClassVar[bool] = True


def _filled(y: Array | None, y_target: Array | None, labelled: Array) -> Array | None:
    """Labels (n,) of all rows, the first source label where a target row has none."""
    if y is None:
        return None
    rest = np.repeat(y[:1], len(labelled), axis=0)
    if y_target is None or not labelled.any():
        return np.concatenate([y, rest])
    known = plain_labels(y_target[labelled])
    text = [part.dtype.kind == "U" for part in (y, known)]
    if text[0] != text[1]:
        kinds = [
            f"{'text' if is_text else 'no text'} ({part[:1].tolist()[0]!r})"
            for is_text, part in zip(text, (y, known), strict=True)
        ]
        raise TypeError(f"y and y_target must hold labels of one kind, got {kinds[0]} and {kinds[1]}")
    rest = rest.astype(np.result_type(y, known))
    rest[labelled] = known
    return np.concatenate([y, rest])


def _check_both_sides(number: Array) -> None:
    for missing, side in (("source rows (>= 0)", number >= 0), ("target rows (< 0)", number < 0)):
        if not side.any():
            raise ValueError(f"sample_domain must name rows of both sides, got no {missing}")
