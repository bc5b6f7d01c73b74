"""What the methods of components share: the rows in use, the solution as fitted attributes, the map."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import bandwidth
from ..arrays import Array, dtype_of
from ..kernels import Kernel, Linear
from .base import Aligner
from .checks import check_choice, check_count, check_kernel, check_number
from .domains import Domains, positive
from .mathematics import pencil
from .mathematics.embedding import Projection, Rows, unit_rows
from .mathematics.problem import Problem, pose

__all__ = ["NORMALIZE", "SCALINGS", "SOLVERS", "ComponentAligner", "PencilAligner"]

SCALINGS = ("unit", "metric", "white")
SOLVERS = ("auto", "dense", "krylov")
NORMALIZE = ("both", "input", "output", None)
LARGEST = 1e70  # the dual of the linear kernel has fourth powers of the rows


class ComponentAligner(Aligner):
    """Base of the methods that embed rows by the leading vectors of an eigenproblem."""

    _on_device = True
    n_components: int
    kernel: Kernel | None
    normalize: str | None = None  # which rows get unit length: "input", "output", "both" or None

    def _rows_in_use(
        self, domains: Domains, source_weight: Array | None, target_weight: Array | None
    ) -> Rows:
        """The rows of positive weight. ValueError where all are equal, or too large for the fourth power."""
        assert domains.X_target is not None
        source, w_source = positive(domains.X_source, source_weight)
        target, w_target = positive(domains.X_target, target_weight)
        if all((part == source[0]).all() for part in (source, target)):
            raise ValueError(f"{self._name()} needs rows that vary, got constant X and X_target")
        largest = max(float(abs(part).max()) for part in (source, target))
        if largest > LARGEST:
            raise ValueError(
                f"{self._name()} needs entries up to {LARGEST:.0e}, got {largest:.0e}; scale the columns of X"
            )
        return Rows((source, target), (w_source, w_target))

    def _resolved(self, rows: Rows) -> Kernel | None:
        """`kernel` with numbers only."""
        return None if self.kernel is None else bandwidth.resolve(self.kernel, *rows.samples)

    def _wanted(self, rows: Rows) -> int:
        """Components asked for, as far as the sizes allow them."""
        linear = self.kernel_ is None or isinstance(self.kernel_, Linear)
        return min(int(self.n_components), rows.n - 1, rows.samples[0].shape[1] if linear else rows.n)

    def _accept(
        self, solution: pencil.Solution, wanted: int, gate: Any, advice: str, stacklevel: int = 5
    ) -> None:
        """Keep what is known of `solution`, with a warning where it lacks components or precision.

        `gate`: residuals that call for no warning, one or one for each component. Sets `eigenvalues_`,
        `residuals_`, `n_components_`. Called by a method's `_learn`.
        """
        name, found = self._name(), len(solution.eigenvalues)
        if not found:
            raise ValueError(f"{name} finds no direction along which the rows vary; scale the columns of X")
        if found < wanted:
            warnings.warn(
                f"{name} gives {found} components, the numerical rank of its problem, not {wanted}",
                UserWarning,
                stacklevel=stacklevel,
            )
        gates = np.broadcast_to(gate, solution.residuals.shape)
        if (solution.residuals > gates).any():
            column = int(np.argmax(solution.residuals / gates))
            warnings.warn(
                f"{name} component {column} of {found} has residual {solution.residuals[column]:.1e}, above "
                f"{gates[column]:.0e}; {advice}",
                ConvergenceWarning,
                stacklevel=stacklevel,
            )
        self.eigenvalues_, self.residuals_ = solution.eigenvalues, solution.residuals
        self.n_components_ = self._n_features_out = found

    def _keep(self, projection: Projection) -> None:
        self.components_: Array = projection.components
        self.projection_: Array | None = projection.matrix
        self.X_fit_: Array | None = projection.known

    def _map(self, rows: Array, domain: Any) -> Array:
        projection = Projection(self.components_, self.projection_, self.X_fit_)
        return self._unit(projection.embed(self._unit(rows, "input"), self.kernel_), "output")

    def _unit(self, rows: Array, side: str) -> Array:
        return unit_rows(rows) if self.normalize in ("both", side) else rows

    def _unit_input(self, domains: Domains) -> Domains:
        assert domains.X_target is not None
        if self.normalize not in ("both", "input"):
            return domains
        largest = max(float(abs(rows).max()) for rows in (domains.X_source, domains.X_target))
        dtype = np.result_type(dtype_of(domains.X_source), dtype_of(domains.X_target))
        if largest > np.sqrt(np.finfo(dtype).max / domains.X_source.shape[1]):
            raise ValueError(
                f"the squares of the rows must stay in the range of {dtype}; scale the columns of X"
            )
        return domains._replace(
            X_source=self._unit(domains.X_source, "input"), X_target=self._unit(domains.X_target, "input")
        )

    def _keeps_columns(self) -> bool:
        return not self.has_target_

    def _name(self) -> str:
        return type(self).__name__


class PencilAligner(ComponentAligner):
    """Base of TCA, JDA and BDA: the leading vectors of the pencil, for one E or several in turn.

    A method's `_learn` poses the problem, solves it and keeps the last solution:

        problem = self._pose(domains, source_weight, target_weight)
        solution, factor = self._solve(problem, contrasts)      # as often as E changes
        Z = problem.embed(solution)                             # (n, k), source rows first
        self._finish(problem, solution, factor)                 # warns once

    Rows of weight 0 are not among the n. `problem.rows.weights` has the weights of the others.
    """

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
        rows = self._rows_in_use(domains, source_weight, target_weight)
        self.kernel_ = self._resolved(rows)
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

    def _finish(self, problem: Problem, solution: pencil.Solution, factor: Array) -> None:
        """Store the solution, with a warning where it is short of components or of precision."""
        # Rounding a column alone moves its residual by up to eps |F|^2 / reg: no solver can do better.
        rounding = np.finfo(float).eps * float((factor * factor).sum()) / self.reg
        gate = max(problem.gate, self.tol or 0.0, rounding)
        advice = "scale the columns of X, raise reg or max_passes, or lower n_components"
        self._accept(solution, self._wanted(problem.rows), gate, advice, stacklevel=6)
        self.n_passes_ = solution.passes
        self._keep(problem.projection(solution))

    def _check_parameters(self) -> None:
        check_count(self, "n_components")
        check_count(self, "max_passes", 2)
        check_count(self, "n_landmarks", 2, words=(None,))
        check_kernel(self)
        check_number(self, "reg")
        check_number(self, "tol", words=(None,))
        check_choice(self, "scaling", SCALINGS)
        check_choice(self, "eigen_solver", SOLVERS)
        if self.n_landmarks is not None and (self.kernel is None or self.eigen_solver != "auto"):
            raise ValueError(
                "n_landmarks needs a kernel and eigen_solver='auto', got kernel="
                f"{self.kernel!r} and eigen_solver={self.eigen_solver!r}"
            )
        if self.kernel is None and self.eigen_solver == "krylov":
            raise ValueError("eigen_solver='krylov' solves a dual, so it needs a kernel, got kernel=None")
