"""Fine-tuning of a fitted model: all parameters, some of them, or a new model in its feature space."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .align.base import Aligner
from .arrays import as_real
from .rows import check_home, check_rows, labels_on_host
from .source_model import Freeze, SourceModel
from .transfer import TransferClassifier, TransferRegressor
from .tuning import Rows, check_label_sets, check_mode, for_arrays, tuned

__all__ = ["fine_tune"]


def fine_tune(
    model: Any,
    X_target: Any,
    y_target: Any,
    *,
    mode: str,
    X: Any = None,
    y: Any = None,
    joint: bool = True,
    freeze: Freeze = None,
    target_model: Any = None,
    max_iter: int | None = None,
    learning_rate_init: float | None = None,
    random_state: Any = None,
) -> Any:
    """Fit a trained model to labelled rows of the target domain. The model itself stays as it is.

    Parameters
    ----------
    model : a fitted source model (`LinearSource...`, `MLPSource...`), a fitted `TransferClassifier` or
        `TransferRegressor`, or a Pipeline that ends in one of these; scaling and alignment stay as they are
    X_target, y_target : rows (nt, d) and their labels (nt,)
    mode : "full": all parameters move. "partial": the layers named by `freeze` keep their bits, the others
        move. "features": a new `target_model` on f(x), the parameters of f keep their bits.
    X, y : source rows (ns, d) and labels (ns,), used where `joint` says so
    joint : "full": minimise the sum of the source's and the target's mean loss, which needs `X` and `y`;
        False: the target's alone. "features": fit `target_model` on source and target rows if `X` and `y` are
        given, each domain with half the weight where the estimator takes weights; False: on target rows.
    freeze : "partial" only. Layers to keep: numbers (0 next to the input, -1 the head), names or patterns of
        `model.layer_names()` ("hidden*") or of one array ("head.intercept"), or a list of them. None: all
        layers but the head.
    target_model : "features" only. Any scikit-learn estimator; None: LogisticRegression or Ridge
    max_iter, learning_rate_init, random_state : of the tuning; None takes those of `model`

    Returns
    -------
    a tuned copy of `model`; for "features" its end is a fitted `TransferClassifier` or `TransferRegressor`

    Raises
    ------
    TypeError : a model of another class.
    ValueError : an unknown mode, source rows missing, widths or lengths that disagree, label sets that
        differ, a pattern that matches no layer, or nothing left to train; rows of both domains on different
        devices.
    TrainingDivergedError : the loss is no longer finite.
    """
    check_mode(mode, freeze, target_model, "target_model")
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    if not isinstance(last, SourceModel | TransferClassifier | TransferRegressor):
        raise TypeError(
            "model must be a fitted LinearSource..., MLPSource... or Transfer... estimator, or a Pipeline "
            f"that ends in one, got {type(last).__name__}"
        )
    check_is_fitted(last)
    if y_target is None:
        raise ValueError("y_target must hold one label per row of X_target, got None")
    y, y_target = labels_on_host(y), labels_on_host(y_target)
    if (X is None) != (y is None):
        raise ValueError(f"X and y must be given together, got {'y' if X is None else 'X'} alone")
    if mode == "full" and joint and X is None:
        raise ValueError('mode="full" with joint=True minimises both losses: pass X, y or joint=False')
    if is_classifier(last):
        check_label_sets(last.classes_, y_target, "the model", "y_target")
    overrides = {"max_iter": max_iter, "learning_rate_init": learning_rate_init, "random_state": random_state}
    target, source = (X_target, y_target), None if X is None or not joint else (X, y)
    if source is not None:
        where = check_home(X_target, "X_target", X)
        if not where.on_host:  # lists follow the arrays beside them
            target = (as_real(X_target, "X_target", where), y_target)
        if is_classifier(last):
            check_label_sets(last.classes_, y, "the model", "y", subset=True)
    if not isinstance(model, Pipeline):
        return _fine_tuned(model, mode, target, source, freeze, target_model, overrides)
    target = (_through(model, target[0], "target"), y_target)
    source = None if source is None else (_through(model, X, "source"), y)
    pipeline = deepcopy(model)
    end = _fine_tuned(last, mode, target, source, freeze, target_model, overrides)
    pipeline.steps[-1] = (model.steps[-1][0], end)
    return pipeline


def _fine_tuned(
    model: Any,
    mode: str,
    target: Rows,
    source: Rows | None,
    freeze: Freeze,
    target_model: Any,
    overrides: dict[str, Any],
) -> Any:
    if isinstance(model, TransferClassifier | TransferRegressor):
        return model._tuned(mode, target, source, freeze, target_model, overrides)
    if mode != "features":
        return tuned(model, target, source, mode, freeze, overrides)
    shell: Any = (TransferClassifier if is_classifier(model) else TransferRegressor)(
        model, mode=mode, model=target_model
    )
    shell.align_, shell.source_, shell.mode_ = None, for_arrays(model), mode
    shell.n_labelled_, shell.n_features_in_ = len(target[1]), model.n_features_in_
    if hasattr(model, "feature_names_in_"):
        shell.feature_names_in_ = model.feature_names_in_
    parts = (
        None if rows is None else (check_rows(shell, rows[0], reset=False), rows[1])
        for rows in (source, target)
    )
    return shell._fit_head(target_model, *parts)


def _through(pipeline: Pipeline, X: Any, domain: str) -> Any:
    """Rows of a domain as the last step of a fitted pipeline takes them."""
    for _, step in pipeline.steps[:-1]:
        if isinstance(step, Aligner):
            X = step.transform(X, domain=domain)
        elif step is not None and step != "passthrough":
            X = step.transform(X)
    return X
