"""Alignment by transfer components: TCA."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import bandwidth, ops
from ..arrays import Array, generator
from ..kernels import Kernel, Linear
from . import pencil
from .base import Aligner
from .domains import Domains, positive

__all__ = ["TCA"]

SCALINGS = ("unit", "metric", "white")
SOLVERS = ("auto", "dense", "krylov")
DENSE_ROWS = 600  # up to here an n x n eigenproblem is as quick as any other way
STORED_ROWS = 4000  # up to here K is kept, in float64: 128 MB


class TCA(Aligner):
    """Transfer component analysis: directions of large variance along which the domain means nearly agree.

    Maximises tr(A' G H G' A) under A' (G M G' + reg I) A = I, with M divided by its Frobenius norm; the
    embedding of a row x is x'A (primal) or k(x, X)A (dual), for source and target rows alike.

    Parameters
    ----------
    n_components : int >= 1; silently at most min(d, n - 1) (primal, linear kernel) or n - 1 (other kernels),
        and fewer, with a UserWarning, where the numerical rank is lower
    kernel : None for the primal (ridge on the d columns), or a kernel for the dual (ridge on the n rows);
        with `Linear()` these are two different problems. A bandwidth rule is evaluated on all rows in `fit`.
    reg : float > 0, the ridge lambda
    scaling : "unit" (columns of A have length 1; reproduces the published figures), "metric" (A'BA = I) or
        "white" (A'SA = I: all embedded columns have equal variance)
    eigen_solver : how a dual is solved. "dense" stores K (n x n), "krylov" multiplies by K once per step,
        "auto" takes the exact d x d form for the linear kernel, "dense" up to 600 rows, "krylov" beyond,
        which keeps K up to 4000 rows. The primal has exact small forms of its own.
    tol : residual at which "krylov" stops; None is 1e-8 for float64 rows or a stored K, 1e-3 for float32 rows
    max_passes : int >= 2, most products with K
    random_state : int, Generator or None, the start of "krylov"; 0 by default, so that results repeat

    Fitted: `components_` (d, k), or (n, k) for a kernel, rows in the order source, target; `eigenvalues_`
    (k,), variance over mean gap plus ridge, largest first; `residuals_` (k,), |S a - w B a| / (w |B a|);
    `kernel_` (numbers only, or None); `n_components_`; `n_passes_` (products with K, 0 if none);
    `projection_` (d, k), what rows are multiplied by in the primal and for the linear kernel, else None;
    `X_fit_` (n, d), the rows behind `components_`, for other kernels, else None; `has_target_`. Rows of
    weight 0 are not among the n.

    A residual above 1e-8 (float32 products with K: 1e-3), and above what rounding makes of a large gap of the
    means, is a ConvergenceWarning with its number.

    Cost: primal O(n d^2 + d^3), or O(n^2 d + n^3) where n < d; linear kernel O(n d min(n, d)); "dense"
    O(n^3) time and O(n^2) memory; "krylov" about 10 products of K with 40 columns and O(500 n) memory.
    Source: Pan, Tsang, Kwok, Yang, IEEE Transactions on Neural Networks 22 (2011).
    """

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: Kernel | None = None,
        reg: float = 1.0,
        scaling: str = "unit",
        eigen_solver: str = "auto",
        tol: float | None = None,
        max_passes: int = 60,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.reg = reg
        self.scaling = scaling
        self.eigen_solver = eigen_solver
        self.tol = tol
        self.max_passes = max_passes
        self.random_state = random_state

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        if all((part == source[0]).all() for part in (source, target)):
            raise ValueError("TCA needs rows that vary, got constant X and X_target")
        data = _Data((source, target), (w_source, w_target))
        self.kernel_ = None if self.kernel is None else bandwidth.resolve(self.kernel, source, target)
        linear = self.kernel_ is None or isinstance(self.kernel_, Linear)
        count = min(int(self.n_components), data.n - 1, source.shape[1] if linear else data.n)
        gate = 1e-8
        if self.kernel_ is None:
            solution, factor = self._solve_primal(data, count)
        elif linear and self.eigen_solver == "auto":
            rows = data.root[:, None] * data.rows(np.float64)
            solution, factor = pencil.solve_linear_dual(
                rows, data.contrasts, data.root, float(self.reg), count
            )
        else:
            gate = 1e-8 if data.n <= STORED_ROWS or data.dtype == np.float64 else 1e-3
            solution, factor = self._solve_dual(data, count, gate)
        found = len(solution.eigenvalues)
        if not found:
            raise ValueError("TCA needs rows that vary, got constant X and X_target")
        if found < count:
            warnings.warn(
                f"TCA gives {found} components, the numerical rank of the data, not {count}",
                UserWarning,
                stacklevel=4,
            )
        # Rounding a column alone moves its residual by up to eps |F|^2 / reg: no solver can do better.
        gate = max(gate, self.tol or 0.0, np.finfo(float).eps * float(np.sum(factor * factor)) / self.reg)
        if solution.residuals.max() > gate:
            column = int(np.argmax(solution.residuals))
            warnings.warn(
                f"TCA component {column} of {found} has residual {solution.residuals[column]:.1e}, above "
                f"{gate:.0e}; scale the columns of X, raise reg or max_passes, or lower n_components",
                ConvergenceWarning,
                stacklevel=4,
            )
        root = None if self.kernel_ is None else data.root
        self._keep(pencil.rescale(solution, factor, float(self.reg), self.scaling, root), data)

    def _keep(self, solution: pencil.Solution, data: _Data) -> None:
        self.eigenvalues_, self.residuals_ = solution.eigenvalues, solution.residuals
        self.n_passes_ = solution.passes
        self.n_components_ = self._n_features_out = len(solution.eigenvalues)
        self.components_: Array = solution.vectors
        self.projection_: Array | None = solution.vectors
        self.X_fit_: Array | None = None
        if self.kernel_ is None:
            return
        # The coefficient of a weighted row is that of all its repetitions together.
        self.components_ = data.root[:, None] * solution.vectors
        rows = data.rows(data.dtype)
        if isinstance(self.kernel_, Linear):
            self.projection_ = rows.T @ self.components_
        else:
            self.projection_, self.X_fit_ = None, rows

    def _keeps_columns(self) -> bool:
        return not self.has_target_

    def _map(self, rows: Array, domain: str) -> Array:
        if self.projection_ is not None:
            return np.asarray(rows @ self.projection_.astype(rows.dtype))
        assert self.X_fit_ is not None and self.kernel_ is not None
        known, weights = (part.astype(rows.dtype, copy=False) for part in (self.X_fit_, self.components_))
        return np.asarray(ops.kernel_matmul(rows, known, weights, kernel=self.kernel_))

    def _check_parameters(self) -> None:
        for name, least in (("n_components", 1), ("max_passes", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if self.kernel is not None and not isinstance(self.kernel, Kernel):
            raise TypeError(
                f"kernel must be None or a kernel such as RBF(), got {type(self.kernel).__name__}"
            )
        for name in ("reg", "tol"):
            value = getattr(self, name)
            if name == "tol" and value is None:
                continue
            if not isinstance(value, Real) or not 0 < float(value) < np.inf:
                raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
        for name, choices in (("scaling", SCALINGS), ("eigen_solver", SOLVERS)):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
        if self.kernel is None and self.eigen_solver == "krylov":
            raise ValueError("eigen_solver='krylov' solves a dual, so it needs a kernel, got kernel=None")

    def _solve_primal(self, data: _Data, count: int) -> tuple[pencil.Solution, Array]:
        d = data.samples[0].shape[1]
        reg = float(self.reg)
        source, target = (
            pencil.moments(rows, weight) for rows, weight in zip(data.samples, data.weights, strict=True)
        )
        factor = (source.mean - target.mean)[:, None] / np.sqrt(pencil.contrast_norm(data.contrasts))
        if data.n >= d:
            return pencil.solve_metric(pencil.pooled_scatter(source, target), factor, reg, count), factor
        mean = (source.total * source.mean + target.total * target.mean) / (source.total + target.total)
        centred = (data.rows(np.float64) - mean) * data.root[:, None]
        return pencil.solve_rows(centred.T, factor, reg, count), factor

    def _solve_dual(self, data: _Data, count: int, gate: float) -> tuple[pencil.Solution, Array]:
        assert self.kernel_ is not None
        n, reg, root = data.n, float(self.reg), data.root
        small = n <= DENSE_ROWS or (n <= STORED_ROWS and 8 * count > n)
        stored = n <= STORED_ROWS or self.eigen_solver == "dense"
        kernel, rows = self.kernel_, data.rows(np.float64 if stored else data.dtype)
        if stored:
            matrix = np.asarray(ops.kernel_matrix(rows, kernel=kernel))
            matrix *= root[:, None]
            matrix *= root
            if self.eigen_solver == "dense" or (self.eigen_solver == "auto" and small):
                return pencil.solve_dual(matrix, data.contrasts, root, reg, count)

        def product(vectors: Array) -> Array:
            if stored:
                return np.asarray(matrix @ vectors)
            weighted = (root[:, None] * vectors).astype(rows.dtype)
            image = np.asarray(ops.kernel_matmul(rows, None, weighted, kernel=kernel), dtype=np.float64)
            return np.asarray(root[:, None] * image)

        return pencil.solve_krylov(
            product,
            data.contrasts,
            root,
            reg,
            count,
            tol=gate if self.tol is None else float(self.tol),
            max_passes=int(self.max_passes),
            rng=generator(self.random_state),
        )


class _Data:
    """The rows of both domains, source first, with the quantities every form of the problem needs."""

    def __init__(self, samples: tuple[Array, Array], weights: tuple[Array, Array]) -> None:
        self.samples, self.weights = samples, weights
        self.n = len(samples[0]) + len(samples[1])
        self.dtype = np.result_type(*samples)
        self.root = np.sqrt(np.concatenate(weights))
        self.contrasts = pencil.mean_contrast(*weights)

    def rows(self, dtype: Any) -> Array:
        return np.concatenate(self.samples, dtype=dtype)
