"""The models a transfer compares: source-only, aligned, fine-tuned, target-only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_regressor
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from .models import LinearSourceClassifier, LinearSourceRegressor, MLPSourceClassifier, MLPSourceRegressor
from .transfer import TransferClassifier, TransferRegressor

MODELS = ("auto", "mlp", "linear")
_SMALL = 1 << 20  # numbers in a table
_BATCH = 200  # rows of a network's step
_STEPS = 5000  # a network may always take; as many as 200 epochs of 5000 rows
Rows = NDArray[Any]


def new_model(task: str, model: str, random_state: int) -> Any:
    """A source model that is not fitted; "auto" is "mlp" for classes and "linear" for numbers."""
    numbers = task == "regression"
    if model == "linear" or (numbers and model == "auto"):
        linear = LinearSourceRegressor if numbers else LinearSourceClassifier
        return linear(random_state=random_state)
    network = MLPSourceRegressor if numbers else MLPSourceClassifier
    return network(random_state=random_state, batch_size=_BATCH)


def train(
    scaler: Any,
    aligner: Any,
    source: tuple[Rows, Rows],
    Z_target: Rows,
    known: tuple[NDArray[np.intp], Rows],
    *,
    model: Any,
    tuning: Callable[[], None],
) -> dict[str, Pipeline]:
    """Train the models that can be had.

    Parameters
    ----------
    scaler, aligner : fitted; the aligner on scaled rows, or None
    source : scaled rows (ns, d) and labels (ns,)
    Z_target : scaled rows (nt, d)
    known : numbers of the target rows that may teach, ascending, and their labels
    model : the source model to clone for each
    tuning : called before the fine-tuning

    Returns
    -------
    pipelines on raw rows: "source_only"; "aligned" with an aligner; "fine_tuned" with a known label;
    "target_only" with known labels of at least two values
    """
    (Z, y), (rows, y_known), numbers = source, known, is_regressor(model)
    # Networks learn numbers of mean 0 and variance 1 best; the linear last layer takes the unit back.
    mean, unit = (float(y.mean()), float(y.std())) if numbers else (0.0, 1.0)
    if numbers:
        y, y_known = (y - mean) / unit, (y_known - mean) / unit
    scale: tuple[str, Any] = ("scale", scaler)
    # Several BLAS threads mostly wait for each other in the steps of a network and on small tables.
    small = _is_network(model) or max(Z.size, Z_target.size) < _SMALL
    with threadpool_limits(1 if small else None, user_api="blas"):
        trained = _new(model, len(Z)).fit(Z, y)
        models = {"source_only": Pipeline([scale, ("model", trained)])}
        if aligner is not None:
            trained = _new(model, len(Z)).fit(aligner.transform(Z, domain="source"), y)
            models["aligned"] = Pipeline([scale, ("align", aligner), ("model", trained)])
        if len(rows):
            tuning()
            tuned = _fine_tuned(trained, aligner, Z, y, Z_target, rows, y_known)
            models["fine_tuned"] = Pipeline([scale, ("model", tuned)])
        if len(np.unique(y_known)) > 1:
            alone = _new(model, len(rows)).fit(Z_target[rows], y_known)
            models["target_only"] = Pipeline([scale, ("model", alone)])
    if numbers:
        for pipeline in models.values():
            _in_unit(pipeline.named_steps["model"], mean, unit)
    return models


def _is_network(model: Any) -> bool:
    return hasattr(model, "hidden_layer_sizes")


def _new(model: Any, n: int) -> Any:
    """A clone of `model` with epochs enough for n rows: on few rows an epoch is a single step."""
    new = clone(model)
    if _is_network(model):
        new.set_params(max_iter=max(model.max_iter, _STEPS // math.ceil(n / _BATCH)))
    return new


def _fine_tuned(
    trained: Any, aligner: Any, Z: Rows, y: Rows, Z_target: Rows, rows: NDArray[np.intp], y_known: Rows
) -> Any:
    """`trained` on aligned rows, all parameters tuned on the sum of both domains' mean losses."""
    labelled = np.zeros(len(Z_target), dtype=bool)
    labelled[rows] = True
    y_target = np.full(len(Z_target), y[0], dtype=y.dtype)  # a filler where no label may be used
    y_target[rows] = y_known
    kind = TransferRegressor if is_regressor(trained) else TransferClassifier
    align = None if aligner is None else clone(aligner)
    transfer = kind(trained, mode="full", align=align, random_state=trained.random_state)
    return transfer.fit(Z, y, Z_target, y_target, target_labelled=labelled)


def _in_unit(model: Any, mean: float, unit: float) -> None:
    """Let a regressor trained on (y - mean) / unit predict y."""
    for network in (model.model_, model.source_) if isinstance(model, TransferRegressor) else (model,):
        network.coefs_[-1] = network.coefs_[-1] * unit
        network.intercepts_[-1] = network.intercepts_[-1] * unit + mean
