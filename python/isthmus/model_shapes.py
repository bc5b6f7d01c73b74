"""Shapes that the arrays of a model file must have: what one row of zeros put through a model cannot show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from . import align
from .errors import ModelFileError
from .source_model import SourceModel

__all__ = ["check_shapes", "check_value"]

# Most axes of the arrays that prediction adds or multiplies: with one more a small file could ask for an
# outer product of any size. Those of the networks are checked layer by layer.
MOST_AXES = {
    "shared_intercept_": 0,
    **dict.fromkeys(("mean_", "scale_", "var_", "explained_variance_", "intercept_", "classes_"), 1),
    **dict.fromkeys(("mean_target_", "scales_", "spread_source_", "shrinkage_", "domains_"), 1),
    **dict.fromkeys(("estimator_weights_", "prices_", "shared_coef_", "label_grid_", "label_weights_"), 1),
    **dict.fromkeys(("weights_", "coefficients_", "class_weights_", "mu_"), 1),
    **dict.fromkeys(("frequencies_", "signs_", "landmarks_", "normalization_", "centres_"), 2),
    **dict.fromkeys(("coef_", "dual_coef_", "means_", "directions_", "X_fit_", "images_"), 2),
    **dict.fromkeys(("components_", "components_source_", "components_target_"), 2),
    **dict.fromkeys(("projection_", "projection_source_", "projection_target_"), 2),
    **dict.fromkeys(("domain_means_", "domain_scales_"), 2),
    **{"map_": 3, "mean_source_": 2},  # one for each of several sources
}
MAX_VOTE = 10.0  # of a round of TrAdaBoost: above ln 999


def check_value(name: str, value: Any) -> None:
    """Refuse, for the attribute `name`, a value of too many axes or one that is no array of numbers."""
    if name not in MOST_AXES:
        return
    array = np.asarray(value) if isinstance(value, np.generic | int | float) else value
    kinds = "biufUO" if name == "classes_" else "biuf"
    if array is not None and not (isinstance(array, np.ndarray) and array.dtype.kind in kinds):
        raise ModelFileError(f"{name} must be an array of numbers, got {type(value).__name__}")
    if array is not None and array.ndim > MOST_AXES[name]:
        axes = "1 axis" if MOST_AXES[name] == 1 else f"{MOST_AXES[name]} axes"
        raise ModelFileError(f"{name} must have at most {axes}, got shape {array.shape}")


def check_shapes(model: Any) -> None:
    """Refuse a model whose arrays do not fit together; one that is not fitted passes."""
    coef, intercept = (np.shape(vars(model).get(name, 0)) for name in ("coef_", "intercept_"))
    if intercept not in ((), (1,), coef[:-1]):
        raise ModelFileError(f"intercept_ must have the shape {coef[:-1]}, got {intercept}")
    for kinds, fitted, check in _CHECKS:
        if isinstance(model, kinds) and fitted in vars(model):
            check(model)


def _network(model: Any) -> None:
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    width = model.n_features_in_
    for coef, intercept in layers:
        if coef.dtype not in (np.float32, np.float64) or {coef.dtype} != {
            intercept.dtype,
            layers[0][0].dtype,
        }:
            raise ModelFileError("coefs_ and intercepts_ must have one float type")
        if coef.ndim != 2 or coef.shape[0] != width or intercept.shape != coef.shape[1:]:
            raise ModelFileError(f"layers must fit together, got {coef.shape} after width {width}")
        width = coef.shape[1]
    _one_score_a_class(model, width)


def _linear(model: Any) -> None:
    _one_score_a_class(model, len(model.coef_))


def _one_score_a_class(model: Any, width: int) -> None:
    n_classes = len(model.classes_) if hasattr(model, "classes_") else 1
    if width != (1 if n_classes == 2 else n_classes):
        raise ModelFileError(f"{n_classes} classes_ cannot have {width} scores")


def _one_coefficient_a_column(model: Any) -> None:
    if np.ndim(model.coef_) > 1:
        raise ModelFileError(f"coef_ must have 1 axis, got shape {np.shape(model.coef_)}")


def _votes(model: Any) -> None:
    votes = model.estimator_weights_
    if not (votes.min(initial=0) >= 0 and 0 < votes.max(initial=0) <= MAX_VOTE):
        raise ModelFileError(f"estimator_weights_ must hold votes from 0 to {MAX_VOTE}, not all 0")


def _augmented_columns(model: Any) -> None:
    width = model.n_features_in_
    width += len(model.domains_) * (width + bool(model.intercept))
    if model._n_features_out != width:
        raise ModelFileError(f"_n_features_out must be {width}, got {model._n_features_out!r}")


def _equal_lengths(*names: str) -> Callable[[Any], None]:
    def check(model: Any) -> None:
        lengths = [len(getattr(model, name)) for name in names]
        if len(set(lengths)) > 1:
            raise ModelFileError(f"{', '.join(names)} must have equal lengths, got {lengths}")

    return check


def _images(model: Any) -> None:
    if model.images_.shape != model.X_fit_.shape:
        raise ModelFileError(f"images_ must have the shape {model.X_fit_.shape}, got {model.images_.shape}")


def _class_columns(model: Any) -> None:
    if np.shape(model.dual_coef_)[1:] != np.shape(getattr(model, "classes_", ())):
        raise ModelFileError("dual_coef_ must have a column for each of classes_")


def _map_of_each_source(model: Any) -> None:
    count = int(np.sum(model.domains_ >= 0))
    for name in ("map_", "mean_source_", "spread_source_"):
        # The arrays of a single source have no axis for the domains.
        if count > 1 and len(getattr(model, name)) != count:
            raise ModelFileError(f"{name} must have one entry for each of {count} sources")


# Classes, an attribute that only the fitted ones have, and what must hold of it.
_CHECKS: list[tuple[Any, str, Callable[[Any], None]]] = [
    (SourceModel, "coefs_", _network),
    (LogisticRegression | LinearSVC | align.RegularizedTransferClassifier, "coef_", _linear),
    (align.RegularizedTransferRegressor, "coef_", _one_coefficient_a_column),
    (align.TrAdaBoostClassifier | align.TrAdaBoostRegressor, "estimator_weights_", _votes),
    (align.FeatureAugmentation, "domains_", _augmented_columns),
    (align.AugmentedRidge, "coef_", _equal_lengths("domains_", "coef_", "intercept_")),
    (align.EasyTL, "means_", _equal_lengths("classes_", "means_", "prices_")),
    (align.StandardScaling, "domains_", _equal_lengths("domains_", "domain_means_", "domain_scales_")),
    (align.CORAL | align.LinearOT, "map_", _map_of_each_source),
    (align.OptimalTransport, "images_", _images),
    (align.MEDA, "dual_coef_", _class_columns),
]
