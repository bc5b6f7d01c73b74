"""The rows an estimator is given: checked, and kept as float32 where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from . import arrays, backends
from .arrays import Array
from .config import assume_finite

__all__ = ["as_given", "check_rows", "check_rows_beside", "refuse_not_finite"]


def check_rows(estimator: Any, X: Any, *, reset: bool, finite: bool = True) -> Array:
    """`X` as a finite (n, d) float array; sets (`reset`) or checks `n_features_in_` and the feature names.

    float32 and float64 stay, float16 becomes float32, everything else float64. Arrays on a GPU stay there, in
    an estimator whose class says `_on_device`; all others come as numpy arrays. With `finite=False` the
    caller looks for NaN and infinity.
    """
    where = arrays.home(X)
    if where is not None and not where.on_host:
        checked = _on_device(estimator, X, where, "X")
        if reset:
            estimator.n_features_in_ = int(checked.shape[1])
            vars(estimator).pop("feature_names_in_", None)
        elif checked.shape[1] != estimator.n_features_in_:
            raise ValueError(
                f"X has {checked.shape[1]} features, but {type(estimator).__name__} is expecting "
                f"{estimator.n_features_in_} features as input"
            )
    else:
        X = _on_host(X, "X")
        checked = np.asarray(
            validate_data(estimator, X, reset=reset, dtype=_float_types(X), ensure_all_finite=False)
        )
    return refuse_not_finite(checked, "X") if finite else checked


def check_rows_beside(estimator: Any, rows: Any, name: str, X: Array) -> Array:
    """Further rows of `fit` as a finite float array with the feature names of the checked `X`, at its home.

    Their width is the caller's to check.
    """
    where, at = arrays.home(X) or arrays.Home("numpy", "cpu"), arrays.home(rows)
    if at is not None and at != where and not (at.on_host and where.on_host):
        raise ValueError(f"{name} must live where X lives, {where}, got {at}")
    if not where.on_host:
        return refuse_not_finite(_on_device(estimator, rows, where, name), name)
    if hasattr(rows, "columns"):
        validate_data(estimator, rows, reset=False, skip_check_array=True)
    rows = _on_host(rows, name)
    checked = check_array(rows, dtype=_float_types(rows), ensure_all_finite=False, input_name=name)
    return refuse_not_finite(np.asarray(checked), name)


def as_given(values: Any, X: Any) -> Any:
    """Computed `values` in the library of `X`: a torch tensor where `X` is one."""
    where = arrays.home(X)
    return where.give(values) if where is not None and where.library == "torch" else values


def refuse_not_finite(rows: Array, name: str) -> Array:
    """The rows; ValueError for NaN or infinity among them, unless `assume_finite`."""
    where = arrays.home(rows) or arrays.Home("numpy", "cpu")
    if not assume_finite() and backends.value_range(rows, where) is None:
        arrays.check_finite(rows, name)
    return rows


def _on_device(estimator: Any, rows: Any, where: arrays.Home, name: str) -> Any:
    if not getattr(estimator, "_on_device", False):
        raise ValueError(f"{type(estimator).__name__} needs {name} in host memory, got {where}")
    real = arrays.as_real(rows, name, where)
    if real.ndim != 2 or 0 in real.shape:
        raise ValueError(f"{name} must have shape (n, d) with n, d >= 1, got {tuple(real.shape)}")
    return arrays.as_dtype(real, arrays.dtype_of(real), where)


def _on_host(rows: Any, name: str) -> Any:
    """A torch tensor as numpy sees it, in its float type; anything else as it is."""
    return arrays.as_real(rows, name, arrays.HOST) if arrays.library(rows) == "torch" else rows


def _float_types(rows: Any) -> Any:
    """The types that `rows` may keep or take, the byte order of the machine."""
    dtype = getattr(rows, "dtype", None)
    narrow = isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize <= 4
    return np.float32 if narrow else (np.float64, np.float32)
