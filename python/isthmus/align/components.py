"""Alignment by transfer components: TCA."""

from __future__ import annotations

from typing import Any

from ..arrays import Array
from ..kernels import Kernel
from .component_base import PencilAligner
from .domains import Domains

__all__ = ["TCA"]


class TCA(PencilAligner):
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
    eigen_solver : how a dual is solved. "dense" stores K (n x n), "krylov" multiplies by K once per step and
        keeps K up to 256 MB, "auto" takes the exact d x d form for the linear kernel, "dense" up to 600
        rows, "krylov" beyond. The primal has exact small forms of its own.
    tol : residual at which "krylov" stops; None is 1e-8 for float64 rows, 1e-3 for float32 rows
    max_passes : int >= 2, most products with K
    n_landmarks : None, or how many rows, drawn at random, stand for all (Nystroem): the dual of the kernel
        K(X, L) K(L, L)^-1 K(L, X), for rows too many to meet in pairs. Exact where n is no larger. Never
        chosen by itself; a weighted row is drawn like any other.
    random_state : int, Generator or None, the rows drawn for `n_landmarks` and for the start of "krylov"; 0
        by default, so that results repeat

    Fitted: `components_` (d, k), or (n, k) for a kernel, rows in the order source, target, or
    (n_landmarks, k); `eigenvalues_` (k,), variance over mean gap plus ridge, largest first; `residuals_`
    (k,), |S a - w B a| / (w |B a|); `kernel_` (numbers only, or None); `n_components_`; `n_passes_`
    (products with K, 0 if none); `projection_` (d, k), what rows are multiplied by in the primal and for the
    linear kernel, else None; `X_fit_` (n, d), the rows (or landmarks) behind `components_`, for other
    kernels, else None; `has_target_`. Rows of weight 0 are not among the n.

    The residuals of "krylov" beyond 512 rows are measured on about a twentieth of the rows, 512 or more.
    Where the rounding of float32 products would show in them, the gap of the means is computed in float64:
    one more pass over the pairs of rows.

    A residual above 1e-8 (float32 products with K: 1e-3), and above what rounding makes of a large gap of the
    means, is a ConvergenceWarning with its number.

    Rows may be CuPy arrays or CUDA tensors: they, K and the basis stay on the device; what has the size of
    the columns, of the basis or of the landmarks, and all of "dense" but K, is solved on the host, where the
    fitted arrays are.

    Cost: primal O(n d^2 + d^3), or O(n^2 d + n^3) where n < d; linear kernel O(n d min(n, d)); "dense"
    O(n^3) time and O(n^2) memory; "krylov" about 4 (float32) or 7 (float64) products of K with 64
    columns and O(600 n) memory; `n_landmarks` m O(n m (d + m) + m^3) time.
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
        n_landmarks: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.reg = reg
        self.scaling = scaling
        self.eigen_solver = eigen_solver
        self.tol = tol
        self.max_passes = max_passes
        self.n_landmarks = n_landmarks
        self.random_state = random_state

    def _learn(
        self, domains: Domains, source_weight: Array | None, target_weight: Array | None
    ) -> Array | None:
        problem = self._pose(domains, source_weight, target_weight)
        solution, factor = self._solve(problem, problem.mean_contrast())
        self._finish(problem, solution, factor)
        return None if solution.images is None else problem.embed(solution)
