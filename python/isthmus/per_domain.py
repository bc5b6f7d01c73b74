"""What a fitted estimator makes of the rows of one domain: predictions, and rows in its own space."""

from __future__ import annotations

import inspect
from typing import Any

from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from .arrays import Array, to_numpy, widened
from .rows import as_array
from .splitting import DomainSplit

__all__ = ["aligned_rows", "fit_names", "found_by_search", "respond"]


def respond(estimator: Any, method: str, rows: Any, domain: Any) -> Array:
    """What `estimator.method` says of rows of a domain: "source", "target" or the number of each row.

    A method that takes `domain` gets it; in a Pipeline so does the `transform` of each step that takes it. A
    search is its `best_estimator_`. Otherwise the estimator treats the rows of both domains alike. The
    answer is on the host, wherever the estimator gives it.
    """
    estimator = found_by_search(estimator)
    if isinstance(estimator, Pipeline):
        return respond(estimator[-1], method, _through(estimator, rows, domain), domain)
    if not hasattr(estimator, method):
        raise TypeError(f"{type(estimator).__name__} has no {method}, which this score needs")
    call = getattr(estimator, method)
    return to_numpy(call(rows, domain=domain) if _takes(call, "domain") else call(rows))


def aligned_rows(estimator: Any, rows: Any, domain: Any, *, predicted: bool = False) -> Any:
    """Rows of a domain in the space in which `estimator` predicts, as float64; on a GPU where they are there.

    The first that fits: the `best_estimator_` of a search; the steps of a Pipeline before the last, then the
    last; `features(rows, domain=)`; the fitted aligner `align_`; `transform(rows, domain=)`; the rows as they
    are. `predicted`: where `predict` sees them; one that takes no `domain` moves all by the target's map.
    """
    estimator = found_by_search(estimator)
    if isinstance(estimator, Pipeline):
        return aligned_rows(estimator[-1], _through(estimator, rows, domain), domain, predicted=predicted)
    align = getattr(estimator, "align_", None)
    if predicted and align is not None and not _takes(estimator.predict, "domain"):
        domain = "target"
    if hasattr(estimator, "features") and _takes(estimator.features, "domain"):
        rows = estimator.features(rows, domain=domain)
    elif align is not None:
        rows = align.transform(as_array(rows), domain=domain)  # whoever has `align_` fitted it on arrays
    elif hasattr(estimator, "transform") and _takes(estimator.transform, "domain"):
        rows = estimator.transform(rows, domain=domain)
    return widened(as_array(rows))


def found_by_search(estimator: Any) -> Any:
    """The estimator that a fitted GridSearchCV or its like found best, or the estimator itself."""
    return getattr(estimator, "best_estimator_", estimator)


def fit_names(estimator: Any, name: str) -> list[str]:
    """The arguments by which `name` reaches the `fit` of the estimator, or of the steps of a Pipeline.

    A search hands on what its estimator takes; `DomainSplit` in it gets the domain numbers as `groups`.
    """
    if isinstance(estimator, BaseSearchCV):
        names = fit_names(estimator.estimator, name)
        splits = name == "sample_domain" and isinstance(estimator.cv, DomainSplit)
        return [*names, "groups"] if names and splits else names
    if not isinstance(estimator, Pipeline):
        return [name] if has_fit_parameter(estimator, name) else []
    steps = [(key, step) for key, step in estimator.steps if hasattr(step, "fit")]
    return [f"{key}__{name}" for key, step in steps if has_fit_parameter(step, name)]


def _takes(call: Any, name: str) -> bool:
    return name in inspect.signature(call).parameters


def _through(pipeline: Pipeline, rows: Any, domain: Any) -> Any:
    """Rows of a domain as the last step of a fitted pipeline takes them."""
    for _, step in pipeline.steps[:-1]:
        if step is not None and step != "passthrough":
            given = {"domain": domain} if _takes(step.transform, "domain") else {}
            rows = step.transform(rows, **given)
    return rows
