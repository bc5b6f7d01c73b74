"""What TCA, JDA and BDA share: their parameters, the checks, the solution as fitted attributes, the map."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import bandwidth, ops
from ..arrays import Array, like
from ..kernels import Kernel, Linear
from . import pencil
from .base import Aligner
from .domains import Domains, positive
from .problem import Problem, Rows, pose

__all__ = ["ComponentAligner"]

SCALINGS = ("unit", "metric", "white")
SOLVERS = ("auto", "dense", "krylov")


class ComponentAligner(Aligner):
    """Base of the methods that embed by the leading vectors of the pencil, for one E or several in turn.

    A method's `_learn` poses the problem, solves it and keeps the last solution:

        problem = self._pose(domains, source_weight, target_weight)
        solution, factor = self._solve(problem, contrasts)      # as often as E changes
        Z = problem.embed(solution)                             # (n, k), source rows first
        self._keep(problem, solution, factor)                   # warns once

    Rows of weight 0 are not among the n. `problem.rows.weights` has the weights of the others.
    """

    _on_device = True
    n_components: int
    kernel: Kernel | None
    reg: float
    scaling: str
    eigen_solver: str
    tol: float | None
    max_passes: int
    n_landmarks: int | None = None
    random_state: Any

    def _pose(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> Problem:
        """Check the parameters, resolve the kernel into `kernel_`, and pose the problem."""
        self._check_parameters()
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        if all((part == source[0]).all() for part in (source, target)):
            raise ValueError(f"{self._name()} needs rows that vary, got constant X and X_target")
        self.kernel_ = None if self.kernel is None else bandwidth.resolve(self.kernel, source, target)
        rows = Rows((source, target), (w_source, w_target))
        return pose(
            rows,
            self.kernel_,
            float(self.reg),
            eigen_solver=self.eigen_solver,
            tol=None if self.tol is None else float(self.tol),
            max_passes=int(self.max_passes),
            n_components=self._wanted(rows),
            n_landmarks=None if self.n_landmarks is None else int(self.n_landmarks),
            random_state=self.random_state,
        )

    def _solve(self, problem: Problem, contrasts: Array) -> tuple[pencil.Solution, Array]:
        """Leading components for `contrasts` E (n, q), scaled as `scaling` says, and F."""
        solution, factor = problem.solve(contrasts, self._wanted(problem.rows))
        if not len(solution.eigenvalues):
            raise ValueError(
                f"{self._name()} finds no direction along which the rows vary; scale the columns of X"
                + ("" if self.kernel is None else " or the kernel")
            )
        root = problem.rows.root if len(solution.vectors) == problem.rows.n else None
        return pencil.rescale(solution, factor, float(self.reg), self.scaling, root), factor

    def _keep(self, problem: Problem, solution: pencil.Solution, factor: Array) -> None:
        """Store the solution, with a warning where it is short of components or of precision."""
        found, wanted = len(solution.eigenvalues), self._wanted(problem.rows)
        if found < wanted:
            warnings.warn(
                f"{self._name()} gives {found} components, the numerical rank of the data, not {wanted}",
                UserWarning,
                stacklevel=5,
            )
        # Rounding a column alone moves its residual by up to eps |F|^2 / reg: no solver can do better.
        rounding = np.finfo(float).eps * float((factor * factor).sum()) / self.reg
        gate = max(problem.gate, self.tol or 0.0, rounding)
        if solution.residuals.max() > gate:
            column = int(np.argmax(solution.residuals))
            warnings.warn(
                f"{self._name()} component {column} of {found} has residual "
                f"{solution.residuals[column]:.1e}, above {gate:.0e}; scale the columns of X, raise reg or "
                "max_passes, or lower n_components",
                ConvergenceWarning,
                stacklevel=5,
            )
        self.eigenvalues_, self.residuals_ = solution.eigenvalues, solution.residuals
        self.n_passes_ = solution.passes
        self.n_components_ = self._n_features_out = found
        found_projection = problem.projection(solution)
        self.components_: Array = found_projection.components
        self.projection_: Array | None = found_projection.matrix
        self.X_fit_: Array | None = found_projection.known

    def _keeps_columns(self) -> bool:
        return not self.has_target_

    def _map(self, rows: Array, domain: str) -> Array:
        if self.projection_ is not None:
            moved: Array = rows @ like(self.projection_, rows)
            return moved
        assert self.X_fit_ is not None and self.kernel_ is not None
        known, weights = like(self.X_fit_, rows), like(self.components_, rows)
        embedded: Array = ops.kernel_matmul(rows, known, weights, kernel=self.kernel_)
        return embedded

    def _wanted(self, rows: Rows) -> int:
        """Components asked for, as far as the sizes allow them."""
        linear = self.kernel_ is None or isinstance(self.kernel_, Linear)
        return min(int(self.n_components), rows.n - 1, rows.samples[0].shape[1] if linear else rows.n)

    def _name(self) -> str:
        return type(self).__name__

    def _check_parameters(self) -> None:
        for name, least in (("n_components", 1), ("max_passes", 2), ("n_landmarks", 2)):
            value = getattr(self, name)
            if name == "n_landmarks" and value is None:
                continue
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
        if self.n_landmarks is not None and (self.kernel is None or self.eigen_solver != "auto"):
            raise ValueError(
                "n_landmarks needs a kernel and eigen_solver='auto', got kernel="
                f"{self.kernel!r} and eigen_solver={self.eigen_solver!r}"
            )
        if self.kernel is None and self.eigen_solver == "krylov":
            raise ValueError("eigen_solver='krylov' solves a dual, so it needs a kernel, got kernel=None")
