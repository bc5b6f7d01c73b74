"""Linear algebra and selection that the array libraries name each in their own way."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from .arrays import Array, library, namespace, to_numpy

__all__ = ["column_lengths", "expit", "lu_solver", "smallest", "triangle"]


def column_lengths(x: Any) -> Array:
    """Lengths (k,) of the columns of `x` (n, k), on the host."""
    if namespace(x) is np:
        return np.asarray(np.linalg.norm(x, axis=0))
    return np.sqrt(to_numpy((x * x).sum(0)))


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x)) of each entry, where `x` is."""
    if library(x) == "torch":
        return x.sigmoid()
    if namespace(x) is np:
        from scipy import special

        return special.expit(x)
    return import_module("cupyx.scipy.special").expit(x)


def triangle(x: Any) -> Array:
    """R (min(n, d), d) of the QR decomposition of `x` (n, d), on the host."""
    r = namespace(x).linalg.qr(x, mode="r")
    return to_numpy(r if library(x) != "torch" else r[1])


def lu_solver(matrix: Any) -> Callable[[Any], Any] | None:
    """V -> A^-1 V where a square `matrix` A is, factored once; None where A is singular. A may be lost."""
    if namespace(matrix) is np:
        from scipy.linalg import lapack, lu_solve

        *factors, singular = lapack.dgetrf(matrix, overwrite_a=True)
        return None if singular else lambda columns: lu_solve(factors, columns)
    if library(matrix) == "torch":
        linalg = sys.modules["torch"].linalg
        *pair, singular = linalg.lu_factor_ex(matrix)
        return None if int(singular) else lambda columns: linalg.lu_solve(*pair, columns)
    linalg = import_module("cupyx.scipy.linalg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a zero on the diagonal
        pair = linalg.lu_factor(matrix)
    return None if not pair[0].diagonal().all() else lambda columns: linalg.lu_solve(pair, columns)


def smallest(x: Any, count: int) -> Any:
    """Places (m, count) of the smallest entries of each row of `x` (m, n), in no order, where `x` is."""
    if library(x) == "torch":
        return x.topk(count, 1, False)[1]
    return namespace(x).argpartition(x, count - 1, 1)[:, :count]
