"""The rows an estimator is given: checked, and kept as float32 where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from .arrays import Array, check_finite
from .config import assume_finite

__all__ = ["check_rows", "float_types", "refuse_not_finite"]


def check_rows(estimator: Any, X: Any, *, reset: bool, finite: bool = True) -> Array:
    """`X` as a finite (n, d) float array; sets (`reset`) or checks `n_features_in_` and the feature names.

    float32 and float64 stay, float16 becomes float32, everything else float64. With `finite=False` the caller
    looks for NaN and infinity.
    """
    checked = validate_data(estimator, X, reset=reset, dtype=float_types(X), ensure_all_finite=False)
    return refuse_not_finite(checked, "X") if finite else np.asarray(checked)


def float_types(rows: Any) -> Any:
    """The types that `rows` may keep or take, the byte order of the machine."""
    dtype = getattr(rows, "dtype", None)
    narrow = isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize <= 4
    return np.float32 if narrow else (np.float64, np.float32)


def refuse_not_finite(rows: Any, name: str) -> Array:
    """The rows; ValueError for NaN or infinity among them, unless `assume_finite`."""
    checked = np.asarray(rows)
    if not assume_finite():
        check_finite(checked, name)
    return checked
