"""Alignment methods tried side by side on folds of both domains, and one chosen without target labels."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from time import perf_counter
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from . import scorers
from .align.components import TCA
from .align.moments import CORAL, LinearOT, MeanDiscrepancy
from .align.pipeline import make_transfer_pipeline
from .align.scaling import StandardScaling
from .align.subspace import SubspaceAlignment
from .arrays import Array
from .per_domain import fit_names, respond
from .rows import labels_on_host, picked_rows
from .splitting import DomainSplit, PackedDomains, pack_domains

__all__ = ["AlignmentSelection", "select_alignment"]

SOURCE_ONLY = "source only"
SCORERS: dict[str, Callable[[], Any]] = {
    "importance_weighted": scorers.ImportanceWeightedScorer,
    "dev": scorers.DeepEmbeddedValidation,
    "entropy": scorers.PredictionEntropyScorer,
    "soft_neighborhood_density": scorers.SoftNeighborhoodDensity,
    "circular": scorers.CircularValidation,
    "mmd": scorers.MMDScorer,
    "proxy_a_distance": scorers.ProxyADistanceScorer,
}


@dataclass(frozen=True, eq=False)
class AlignmentSelection:
    """What `select_alignment` found; prints as a table, shows as HTML in notebooks.

    The first method is always "source only": the model on the source rows as they are. A fold in which a
    method failed is NaN, and such a method is not chosen.
    """

    methods: tuple[str, ...]
    """Names of the methods, source only first."""
    scores: Mapping[str, Array] = field(repr=False)
    """Scorer to float64 (n_methods, n_folds), higher is better; the first scorer chooses."""
    fit_time: Array = field(repr=False)
    """Seconds, float64 (n_methods, n_folds)."""
    target_score: Array | None = field(repr=False)
    """Accuracy or R2 on held-out target rows, float64 (n_methods, n_folds), where `y_target_test` was given.
    The choice does not look at it."""
    best: str
    """The method chosen."""
    reason: str
    """Why, in one sentence."""
    best_: Any = field(repr=False)
    """The chosen method fitted on all rows."""

    def mean(self, scorer: str | None = None) -> Array:
        """The mean over the folds (n_methods,) by a scorer, the choosing one by default."""
        return np.asarray(self._of(scorer).mean(axis=1))

    def spread(self, scorer: str | None = None) -> Array:
        """The standard deviation over the folds (n_methods,) by a scorer, the choosing one by default."""
        return np.asarray(_deviation(self._of(scorer)))

    def choice(self, scorer: str | None = None) -> tuple[str, str]:
        """The method that a scorer chooses and why, the choosing one by default."""
        values = self._of(scorer)
        return _choice(self.methods, (next(iter(self.scores)) if scorer is None else scorer, values))

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Method to its row of the table: mean and spread of every scorer, seconds to fit, target score."""
        columns: dict[str, Array] = {}
        for name in self.scores:
            columns |= {name: self.mean(name), f"{name} spread": self.spread(name)}
        columns["fit seconds"] = self.fit_time.mean(axis=1)
        if self.target_score is not None:
            columns["target score"] = self.target_score.mean(axis=1)
        return {
            method: {name: float(values[i]) for name, values in columns.items()}
            for i, method in enumerate(self.methods)
        }

    def _of(self, scorer: str | None) -> Array:
        name = next(iter(self.scores)) if scorer is None else scorer
        if name not in self.scores:
            raise ValueError(f"scorer must be one of {', '.join(self.scores)}, got {name!r}")
        return self.scores[name]

    def _table(self) -> list[list[str]]:
        """Title row, then one row a method."""
        titles = ["method", *self.scores, "fit seconds"]
        columns = [
            [f"{m:.4g} ± {s:.2g}" for m, s in zip(self.mean(name), self.spread(name), strict=True)]
            for name in self.scores
        ]
        columns.append([f"{seconds:.3g}" for seconds in self.fit_time.mean(axis=1)])
        if self.target_score is not None:
            titles.append("target score (not used)")
            columns.append([f"{value:.4g}" for value in self.target_score.mean(axis=1)])
        names = [f"{name} *" if name == self.best else name for name in self.methods]
        return [titles, *map(list, zip(names, *columns, strict=True))]

    def __str__(self) -> str:
        table = self._table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        return "\n".join([*lines, "", self.reason])

    def _repr_html_(self) -> str:
        titles, *rows = self._table()
        head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{html.escape(self.reason)}</p>"
        )


def select_alignment(
    X: Any,
    y: Any,
    X_target: Any,
    y_target: Any = None,
    *,
    target_labelled: Any = None,
    methods: Mapping[str, Any] | Sequence[Any] | None = None,
    scorer: Any = "importance_weighted",
    cv: Any = None,
    model: Any = None,
    y_target_test: Any = None,
) -> AlignmentSelection:
    """Try alignment methods on folds of both domains and choose one without target labels.

    Parameters
    ----------
    X, y : source rows (ns, d) and labels (ns,), or lists of them, one per source
    X_target : target rows (nt, d), or a list of them, one per target
    y_target, target_labelled : labels of target rows and which of them may be used in the fits, as in the
        aligners' `fit`; the scorers do not read them
    methods : name to aligner, or a list of aligners; a method with `predict` of its own is used as it is, an
        aligner as `make_transfer_pipeline(aligner, model)`; a model that knows no domains learns from the
        labelled rows. None: StandardScaling, MeanDiscrepancy, CORAL, LinearOT, SubspaceAlignment (domains
        centred) and TCA, each in O(n d^2 + d^3), for classes and numbers. The model on the source alone is
        always among them, as "source only".
    scorer : "importance_weighted", "dev", "entropy", "soft_neighborhood_density", "circular", "mmd",
        "proxy_a_distance", a scorer object, or a list of these: all are shown, the first chooses. "dev" takes
        one loss for all: "zero_one" where a method has no `predict_proba`
    cv : splitter whose `split` takes `sample_domain`, or the number of folds, 5 if None, of
        `DomainSplit(test="both")`
    model : classifier or regressor behind the aligners; None: LogisticRegression, or Ridge for numbers that
        are not whole
    y_target_test : true labels of all target rows (nt,), for show: the accuracy (or R2) on held-out target
        rows stands beside the scores. Neither fits nor choice use them.

    Returns
    -------
    AlignmentSelection. A method is chosen if its score exceeds that of source only by more than the spread,
    the standard deviation over the folds of the difference to source only; of several the one with the best
    mean; of none, source only.

    Raises
    ------
    TypeError : a method without `fit`; a Pipeline that moves rows and whose last step knows no domains.
    ValueError : an unknown scorer, two methods of one name, a domain with too few rows for the folds. What
        stops source only stops all; another method that fails is a FitFailedWarning and a row of NaN.

    Rows may be CuPy arrays or CUDA tensors where all methods take these, as those of `methods=None` do.

    Cost: (n_splits * methods) + 1 fits.
    """
    packed = pack_domains(X, X_target, y, y_target, target_labelled=target_labelled)
    if packed.y is None:
        raise ValueError("select_alignment needs the labels y of the source, got None")
    truth = None if y_target_test is None else _truth(y_target_test, packed)
    if model is None:
        values = packed.y.dtype.kind == "f" and not np.array_equal(packed.y, np.rint(packed.y))
        model = Ridge() if values else LogisticRegression(max_iter=1000)
    tried = _methods(methods, model)
    chosen_by = {name: _of_one_loss(one, tried) for name, one in _scorers(scorer).items()}
    cv = 5 if cv is None else cv
    splitter = DomainSplit(int(cv), test="both") if isinstance(cv, Integral) else cv
    folds = list(splitter.split(packed.X, packed.y, sample_domain=packed.sample_domain))
    shape = (len(tried), len(folds))
    found = {name: np.full(shape, np.nan) for name in chosen_by}
    seconds, target_score = np.full(shape, np.nan), np.full(shape, np.nan)
    with config_context(enable_metadata_routing=False):
        for i, (name, estimator) in enumerate(tried.items()):
            for k, (train, test) in enumerate(folds):
                try:
                    start = perf_counter()
                    fitted = _fitted(estimator, packed, train)
                    seconds[i, k] = perf_counter() - start
                    for key, one in chosen_by.items():
                        rows, of_domain = picked_rows(packed.X, test), packed.sample_domain[test]
                        found[key][i, k] = one(fitted, rows, packed.y[test], sample_domain=of_domain)
                    if truth is not None:
                        target_score[i, k] = _target_score(fitted, packed, truth, test)
                except Exception as error:
                    if name == SOURCE_ONLY:
                        raise
                    for values in found.values():
                        values[i] = np.nan
                    warnings.warn(
                        f"{name} failed in fold {k + 1} of {len(folds)} and is left out: "
                        f"{type(error).__name__}: {error}",
                        FitFailedWarning,
                        stacklevel=2,
                    )
                    break
        names = tuple(tried)
        best, reason = _choice(names, next(iter(found.items())))
        best_ = clone(tried[best])
        if has_fit_parameter(best_, "X_target"):  # with the feature names, which packing loses
            known = {} if y_target is None else {"y_target": y_target, "target_labelled": target_labelled}
            best_.fit(X, y, X_target, **known)
        else:
            best_ = _fitted(best_, packed, np.arange(len(packed.X)))
    shown = None if truth is None else target_score
    return AlignmentSelection(names, found, seconds, shown, best, reason, best_)


def _choice(names: tuple[str, ...], chosen_by: tuple[str, Array]) -> tuple[str, str]:
    """The method and the reason, by the scores (n_methods, n_folds) of one scorer."""
    scorer, scores = chosen_by
    gain = scores - scores[0]
    mean, spread = gain.mean(axis=1), _deviation(gain)
    better = [i for i in range(1, len(names)) if mean[i] > spread[i]]
    if not better:
        return SOURCE_ONLY, f"No method exceeds source only by more than its spread over folds ({scorer})."
    best = max(better, key=lambda i: float(mean[i]))
    return names[best], (
        f"{names[best]} exceeds source only by {mean[best]:.3g}, with a spread of {spread[best]:.2g} over "
        f"folds ({scorer})."
    )


def _deviation(scores: Array) -> Array:
    """Standard deviation over the folds; 0 for a single fold, which says nothing of it."""
    return scores.std(axis=1, ddof=1) if scores.shape[1] > 1 else 0.0 * scores[:, 0]


def _fitted(estimator: Any, packed: PackedDomains, rows: Array) -> Any:
    given = {"sample_domain": packed.sample_domain[rows]}
    if packed.target_labelled.any():
        given["target_labelled"] = packed.target_labelled[rows]
    assert packed.y is not None
    named = {key: values for name, values in given.items() for key in fit_names(estimator, name)}
    if not named:  # it would learn what stands in place of the labels
        rows = rows[(packed.sample_domain[rows] >= 0) | packed.target_labelled[rows]]
    return clone(estimator).fit(picked_rows(packed.X, rows), packed.y[rows], **named)


def _target_score(fitted: Any, packed: PackedDomains, truth: Array, test: Array) -> float:
    held_out = test[packed.sample_domain[test] < 0]
    rows, of_domain = picked_rows(packed.X, held_out), packed.sample_domain[held_out]
    predicted = respond(fitted, "predict", rows, of_domain)
    metric = r2_score if is_regressor(fitted) else accuracy_score
    return float(metric(truth[held_out], predicted))


def _truth(y_target_test: Any, packed: PackedDomains) -> Array:
    """True labels (n,) of the target rows at their places among all rows."""
    y_target_test = labels_on_host(y_target_test)
    parts = y_target_test if isinstance(y_target_test, list | tuple) else [y_target_test]
    parts = [labels_on_host(part) for part in parts]
    nested = all(np.ndim(part) == 1 for part in parts)
    labels = np.concatenate([np.asarray(part) for part in parts]) if nested else np.asarray(y_target_test)
    n_target = int(np.sum(packed.sample_domain < 0))
    if labels.shape != (n_target,):
        raise ValueError(f"y_target_test must hold one label per target row, {n_target}, got {labels.shape}")
    return np.concatenate([np.repeat(labels[:1], len(packed.X) - n_target), labels])


def _methods(methods: Any, model: Any) -> dict[str, Any]:
    """Name to estimator, source only first."""
    if methods is None:
        subspaces = SubspaceAlignment(with_mean=True)
        methods = [StandardScaling(), MeanDiscrepancy(), CORAL(), LinearOT(), subspaces, TCA()]
    elif hasattr(methods, "fit"):
        methods = [methods]
    if not isinstance(methods, Mapping):
        listed = list(methods)
        kinds = [type(method).__name__ for method in listed]
        # Two of one class are told apart by their parameters.
        methods = {
            kind if kinds.count(kind) == 1 else " ".join(repr(method).split()): method
            for kind, method in zip(kinds, listed, strict=True)
        }
        if len(methods) != len(listed):
            raise ValueError("methods must differ, got the same one twice")
    tried = {SOURCE_ONLY: make_transfer_pipeline(None, model)}
    for name, method in methods.items():
        if name == SOURCE_ONLY:
            raise ValueError(f"the name {SOURCE_ONLY!r} is taken: that method is always tried")
        if isinstance(method, type) or not hasattr(method, "fit"):
            kind = f"the class {method.__name__}" if isinstance(method, type) else type(method).__name__
            raise TypeError(f"methods must hold estimators, got {kind} as {name!r}")
        if isinstance(method, Pipeline) and hasattr(method, "predict"):
            last = method[-1]
            if fit_names(method, "sample_domain") and not fit_names(last, "sample_domain"):
                raise TypeError(
                    f"{type(last).__name__} at the end of {name!r} would learn from unlabelled target rows: "
                    "put make_transfer_pipeline(aligner, model) there"
                )
        tried[name] = method if hasattr(method, "predict") else make_transfer_pipeline(method, model)
    return tried


def _of_one_loss(scorer: Any, tried: Mapping[str, Any]) -> Any:
    """The scorer; DEV without a loss of its own gets one that every method tried has."""
    if not isinstance(scorer, scorers.DeepEmbeddedValidation) or scorer.loss is not None:
        return scorer
    without = [one for one in tried.values() if not is_regressor(one) and not hasattr(one, "predict_proba")]
    return clone(scorer).set_params(loss="zero_one") if without else scorer


def _scorers(scorer: Any) -> dict[str, Any]:
    """Name to scorer object."""
    named: dict[str, Any] = {}
    for one in scorer if isinstance(scorer, list | tuple) else [scorer]:
        if isinstance(one, str):
            if one not in SCORERS:
                raise ValueError(
                    f"scorer must be one of {', '.join(SCORERS)} or a scorer object, got {one!r}"
                )
            name, made = one, SCORERS[one]()
        elif callable(one):
            name, made = type(one).__name__, one
            name = " ".join(repr(one).split()) if name in named else name
        else:
            raise TypeError(f"scorer must be a name or a scorer object, got {type(one).__name__}")
        named[name] = made
    if not named:
        raise ValueError("scorer must hold at least one scorer, got an empty list")
    return named
