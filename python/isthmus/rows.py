"""The rows an estimator is given: checked, and kept as float32 where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array, validate_data

from . import arrays, backends
from .arrays import Array
from .config import assume_finite
from .homes import HOST, Home

__all__ = [
    "as_array",
    "as_given",
    "check_home",
    "check_rows",
    "check_rows_beside",
    "for_model",
    "labels_on_host",
    "picked_rows",
    "refuse_not_finite",
]


_FEW = 1 << 15  # values that NumPy looks through while a call of the native pass sets out: 4 us of 8 at 1000


def check_rows(estimator: Any, X: Any, *, reset: bool, finite: bool = True, least: int = 1) -> Array:
    """`X` as a finite (n, d) float array; sets (`reset`) or checks `n_features_in_` and the feature names.

    float32 and float64 stay, float16 becomes float32, everything else float64. Arrays on a GPU stay there, in
    an estimator whose class says `_on_device`; all others come as numpy arrays. With `finite=False` the
    caller looks for NaN and infinity. Fewer than `least` rows are a ValueError.
    """
    where = arrays.home(X)
    if where is not None and not where.on_host:
        checked = _on_device(estimator, X, where, "X", least)
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
            validate_data(
                estimator,
                X,
                reset=reset,
                dtype=_float_types(X),
                ensure_all_finite=False,
                ensure_min_samples=least,
            )
        )
    return refuse_not_finite(checked, "X") if finite else checked


def check_rows_beside(estimator: Any, rows: Any, name: str, X: Any, *, finite: bool = True) -> Array:
    """Further rows of `fit` as a finite float array with the feature names of the checked `X`, at its home.

    Their width is the caller's to check, and so are NaN and infinity with `finite=False`.
    """
    where = check_home(rows, name, X)
    if not where.on_host:
        checked = _on_device(estimator, rows, where, name)
        return refuse_not_finite(checked, name) if finite else checked
    if hasattr(rows, "columns"):
        validate_data(estimator, rows, reset=False, skip_check_array=True)
    rows = _on_host(rows, name)
    checked = np.asarray(
        check_array(rows, dtype=_float_types(rows), ensure_all_finite=False, input_name=name)
    )
    return refuse_not_finite(checked, name) if finite else checked


def check_home(rows: Any, name: str, X: Any) -> Home:
    """The home of `X`; ValueError that names both where `rows` are an array of another one."""
    where, at = arrays.home(X) or HOST, arrays.home(rows)
    if at is not None and at != where and not (at.on_host and where.on_host):
        raise ValueError(f"{name} must live where X lives, {where}, got {at}")
    return where


def for_model(model: Any, rows: Any) -> Any:
    """Rows as `model` takes them: on the host, unless its class says `_on_device`."""
    return rows if getattr(model, "_on_device", False) else arrays.to_numpy(rows)


def picked_rows(X: Any, numbers: Array) -> Any:
    """Rows of an array or a table by their numbers (m,) on the host, where `X` is."""
    on_host = (arrays.home(X) or HOST).on_host
    return _safe_indexing(X, numbers) if on_host else X[arrays.index_of(numbers, X)]


def labels_on_host(y: Any) -> Any:
    """Labels or weights as they are; a CuPy array or a tensor as a numpy array."""
    return y if arrays.library(y) is None else arrays.to_numpy(y)


def as_array(rows: Any) -> Any:
    """Rows of an array, a list or a table as a numpy array; those on a GPU as they are."""
    return np.asarray(rows) if (arrays.home(rows) or HOST).on_host else rows


def as_given(values: Any, X: Any) -> Any:
    """Computed `values` in the library of `X`: a torch tensor where `X` is one."""
    where = arrays.home(X)
    return where.give(values) if where is not None and where.library == "torch" else values


def refuse_not_finite(rows: Array, name: str) -> Array:
    """The rows; ValueError for NaN or infinity among them, unless `assume_finite`."""
    where = arrays.home(rows) or HOST
    few = where.on_host and rows.size < _FEW
    if not assume_finite() and (few or backends.value_range(rows, where) is None):
        arrays.check_finite(rows, name)
    return rows


def _on_device(estimator: Any, rows: Any, where: Home, name: str, least: int = 1) -> Any:
    if not getattr(estimator, "_on_device", False):
        raise ValueError(f"{type(estimator).__name__} needs {name} in host memory, got {where}")
    arrays.check_supported(where, name)
    if not where.is_current:
        advice = f"call {type(estimator).__name__} inside `with cupy.cuda.Device({where.index}):`"
        raise ValueError(f"{name} must live on CuPy's current device, got {where}: {advice}")
    real = arrays.as_real(rows, name, where)
    if real.ndim != 2 or 0 in real.shape:
        raise ValueError(f"{name} must have shape (n, d) with n, d >= 1, got {tuple(real.shape)}")
    if len(real) < least:
        raise ValueError(f"{type(estimator).__name__} needs at least {least} rows, got {len(real)} in {name}")
    return arrays.as_dtype(real, arrays.dtype_of(real), where)


def _on_host(rows: Any, name: str) -> Any:
    """A torch tensor as numpy sees it, in its float type; anything else as it is."""
    return arrays.as_real(rows, name, HOST) if arrays.library(rows) == "torch" else rows


def _float_types(rows: Any) -> Any:
    """The types that `rows` may keep or take, the byte order of the machine."""
    dtype = getattr(rows, "dtype", None)
    narrow = isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize <= 4
    return np.float32 if narrow else (np.float64, np.float32)
