"""How a method of transfer components sees the rows of both domains, and the solver that suits it.

Each class computes once what does not depend on the contrasts E: the scatter, a kernel matrix, a reduction, a
basis. `solve` may then be called with one E after another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import ops
from ...arrays import (
    Array,
    beside,
    generator,
    like,
    to_numpy,
    widened,
)
from ...kernels import Kernel, Linear
from . import kernel_rows, pencil
from .diagonal_pencil import leading_of_diagonal
from .embedding import Projection, Rows, draw_landmarks
from .krylov import KrylovSpace
from .pencil import Solution
from .row_reduction import reduce_by_squares, reduce_exactly

__all__ = ["Problem", "pose"]

LEFT_OUT = 1e-9  # residual that what a reduction leaves out may cost: a tenth of the gate
ROUNDED = 4e-9  # estimated residual of its rounding up to which that need not be measured
BLOCKS = (32, 160)  # least and most columns of a product with K


class Problem:
    """The pencil of one data set; `solve` takes any contrasts.

    `limit`: most components the sizes allow; `gate`: residual below which rounding is no concern.
    """

    limit: int
    gate = 1e-8

    def __init__(self, rows: Rows, reg: float) -> None:
        self.rows, self.reg = rows, reg

    def mean_contrast(self) -> Array:
        """E (n, 1) of TCA."""
        return pencil.mean_contrast(*self.rows.weights)

    def solve(self, contrasts: Array, n_components: int) -> tuple[Solution, Array]:
        """The leading `n_components` of the pencil, and F (p, q).

        `contrasts` E (n, q), source rows first, each entry times the square root of the row's weight, as
        `mean_contrast` gives it.
        """
        raise NotImplementedError

    def embed(self, solution: Solution) -> Any:
        """The rows of `fit` embedded (n, k) where they are, source first, without a further look at K."""
        assert solution.images is not None
        return solution.images / beside(self.rows.root[:, None], solution.images)

    def projection(self, solution: Solution) -> Projection:
        """What embeds new rows. The coefficient of a weighted row is that of all its repetitions together."""
        raise NotImplementedError


def pose(
    rows: Rows,
    kernel: Kernel | None,
    reg: float,
    *,
    eigen_solver: str = "auto",
    tol: float | None = None,
    max_passes: int = 60,
    n_components: int = 30,
    n_landmarks: int | None = None,
    random_state: Any = 0,
) -> Problem:
    """The problem of `rows` under `kernel` (numbers only; None is the primal) with the solver for its size.

    `n_components` is what `solve` will be asked for: a small dual of many components is solved densely.
    `n_landmarks` below the number of rows asks for the Nystroem approximation; it is never chosen here.
    """
    if kernel is None:
        return Primal(rows, reg)
    if n_landmarks is not None and n_landmarks < rows.n:
        return LandmarkDual(rows, kernel, reg, n_landmarks, random_state)
    if isinstance(kernel, Linear) and eigen_solver == "auto":
        return LinearDual(rows, reg)
    if kernel_rows.solve_whole(rows.n, n_components, eigen_solver):
        return StoredDual(rows, kernel, reg)
    return KrylovDual(rows, kernel, reg, tol, max_passes, n_components, random_state)


class Primal(Problem):
    """G = X': the ridge on the d columns. Forms (a) and, where n < d, (d)."""

    def __init__(self, rows: Rows, reg: float) -> None:
        super().__init__(rows, reg)
        d = rows.samples[0].shape[1]
        self.limit = min(d, rows.n - 1)
        source, target = (
            pencil.moments(part, weight) for part, weight in zip(rows.samples, rows.weights, strict=True)
        )
        self._means = source.mean, target.mean
        self._wide = rows.n < d
        if not self._wide:
            self._scatter = pencil.pooled_scatter(source, target)
        else:
            mean = (source.total * source.mean + target.total * target.mean) / (source.total + target.total)
            self._spread = ((to_numpy(rows.stacked(np.float64)) - mean) * rows.root[:, None]).T

    def solve(self, contrasts: Array, n_components: int) -> tuple[Solution, Array]:
        factor = self._sums(contrasts) / np.sqrt(pencil.contrast_norm(contrasts))
        if self._wide:
            return pencil.solve_rows(self._spread, factor, self.reg, n_components), factor
        return pencil.solve_metric(self._scatter, factor, self.reg, n_components), factor

    def embed(self, solution: Solution) -> Any:
        vectors = self.rows.where.asarray(solution.vectors, self.rows.dtype)
        return self.rows.where.xp.concatenate([part @ vectors for part in self.rows.samples])

    def projection(self, solution: Solution) -> Projection:
        return Projection(solution.vectors, solution.vectors, None)

    def _sums(self, contrasts: Array) -> Array:
        """G E (d, q), each sample centred at its mean, so that a common offset costs no digits."""
        weighted = self.rows.root[:, None] * contrasts
        total = np.zeros((len(self._means[0]), contrasts.shape[1]))
        halves = np.split(weighted, [len(self.rows.samples[0])])
        origin = self._means[0]
        for part, mean, half in zip(self.rows.samples, self._means, halves, strict=True):
            for block, centred in pencil.centred_blocks(part, mean):
                total += to_numpy(centred.T @ beside(half[block], centred))
            # The weights of a contrast sum to zero but for rounding, or to one where half of it is missing.
            total += np.outer(mean - origin, half.sum(axis=0))
        sums = weighted.sum(axis=0)
        sums[np.abs(sums) < 1e-12 * np.abs(weighted).sum(axis=0)] = 0.0
        return np.asarray(total + np.outer(origin, sums))


class LinearDual(Problem):
    """G = X X': the ridge on the n rows, reduced to their rank, with a diagonal scatter. Form (b)."""

    def __init__(self, rows: Rows, reg: float) -> None:
        super().__init__(rows, reg)
        self.limit = min(rows.n - 1, rows.samples[0].shape[1])
        self._rows = rows.weighted()
        self._centred: Any = None
        self._reduced = reduce_by_squares(self._rows, rows.root) or reduce_exactly(self._rows, rows.root)

    def solve(self, contrasts: Array, n_components: int) -> tuple[Solution, Array]:
        small, small_factor = self._solve_reduced(contrasts, n_components)
        w = self._reduced.basis
        vectors = w @ beside(small.vectors, w)
        images = w @ beside(self._reduced.gram @ small.vectors, w)
        rounding = self._reduced.rounding(small, small_factor, self.reg)
        # W has orthonormal columns: lengths, residuals included, are those of the small problem.
        residuals = np.hypot(small.residuals, rounding)
        solution, factor = (
            Solution(vectors, small.eigenvalues, residuals, images=images),
            w @ beside(small_factor, w),
        )
        unsure = rounding > ROUNDED
        if not self.rows.where.on_host:
            return solution, factor
        if pencil.needs_care(small_factor, self.reg):
            factor = self._factor(contrasts, np.longdouble)
            times, trace = self._scatter_times(vectors), self._reduced.trace()
            solution = pencil.finished(small.eigenvalues, vectors, times, factor, self.reg, trace)
            solution = solution._replace(images=images[:, : len(solution.eigenvalues)])
        elif unsure.any():
            factor, some = self._factor(contrasts, np.float64), vectors[:, unsure]
            residuals[unsure] = pencil.residuals(
                self._scatter_times(some), factor, self.reg, small.eigenvalues[unsure], some
            )
        # Rounding a vector alone moves its residual by the second part.
        allowed = ROUNDED + np.finfo(float).eps * float((small_factor**2).sum()) / self.reg
        if self._reduced.left and (solution.residuals > allowed).any():
            self._reduced = reduce_exactly(self._rows, self.rows.root)
            return self.solve(contrasts, n_components)
        return solution, factor

    def _scatter_times(self, vectors: Array) -> Array:
        """S a, from rows centred before they are multiplied: a common offset costs few digits."""
        root = self.rows.root
        if self._centred is None:
            self._centred = pencil.centred(self._rows, root)
        images = pencil.centred(self._centred @ (self._rows.T @ vectors), root)
        return np.asarray(self._rows @ (self._rows.T @ images))

    def _solve_reduced(self, contrasts: Array, n_components: int) -> tuple[Solution, Array]:
        """The solution in the basis, and F there (p, q), in the exact basis where the squares do not do."""
        w, gram, scatter = self._reduced.basis, self._reduced.gram, self._reduced.scatter
        factor = gram @ to_numpy(w.T @ beside(contrasts, w)) / np.sqrt(pencil.contrast_norm(contrasts))
        wanted = min(n_components, len(scatter))
        values, vectors = leading_of_diagonal(scatter, factor, self.reg, wanted)
        times = scatter[:, None] * vectors
        solution = pencil.finished(values, vectors, times, factor, self.reg, self._reduced.trace())
        missing = self._reduced.missing(solution, factor, self.reg)
        few = n_components + factor.shape[1] > len(scatter)
        if self._reduced.left and (few or (missing > LEFT_OUT).any()):
            self._reduced = reduce_exactly(self._rows, self.rows.root)
            return self._solve_reduced(contrasts, n_components)
        return solution._replace(residuals=np.hypot(solution.residuals, missing)), factor

    def _factor(self, contrasts: Array, dtype: Any) -> Array:
        """F from the rows, in extended precision where |F|^2 / reg magnifies what rounding does to F'a."""
        rows, wide = self._rows, contrasts.astype(dtype) / np.sqrt(pencil.contrast_norm(contrasts))
        blocks = pencil.row_blocks(len(rows), 2 * rows[0].nbytes)
        start = np.zeros((rows.shape[1], contrasts.shape[1]), dtype)
        inner = sum((rows[block].T @ wide[block] for block in blocks), start)
        return np.concatenate([rows[block] @ inner for block in blocks])

    def projection(self, solution: Solution) -> Projection:
        components = self.rows.root[:, None] * to_numpy(solution.vectors)
        return Projection(components, to_numpy(self._rows.T @ solution.vectors), None)


class StoredDual(Problem):
    """G = K, stored in float64 on the host and solved densely. Form (a) of size n."""

    def __init__(self, rows: Rows, kernel: Kernel, reg: float) -> None:
        super().__init__(rows, reg)
        self.limit = rows.n - 1
        self._known = rows.stacked(np.float64)
        self._matrix = to_numpy(ops.kernel_matrix(self._known, kernel=kernel))
        self._matrix *= rows.root[:, None]
        self._matrix *= rows.root

    def solve(self, contrasts: Array, n_components: int) -> tuple[Solution, Array]:
        solution, factor = pencil.solve_dual(self._matrix, contrasts, self.rows.root, self.reg, n_components)
        return solution._replace(images=self._matrix @ solution.vectors), factor

    def embed(self, solution: Solution) -> Any:
        return self.rows.where.asarray(super().embed(solution), np.dtype(np.float64))

    def projection(self, solution: Solution) -> Projection:
        known = to_numpy(self._known).astype(self.rows.dtype)
        return Projection(self.rows.root[:, None] * solution.vectors, None, known)


class KrylovDual(Problem):
    """G = K, met only in products with a few columns. Form (c) in the block Krylov space of K."""

    def __init__(
        self,
        rows: Rows,
        kernel: Kernel,
        reg: float,
        tol: float | None,
        max_passes: int,
        n_components: int,
        random_state: Any,
    ) -> None:
        super().__init__(rows, reg)
        self.limit = rows.n - 1
        self.gate = 1e-8 if rows.dtype == np.float64 else 1e-3
        self._tol, self._max_passes = self.gate if tol is None else tol, max_passes
        self._known = rows.stacked(rows.dtype)
        self._space = KrylovSpace(
            kernel_rows.kernel_of(self._known, kernel, rows.root),
            rows.root,
            generator(random_state),
            block=min(BLOCKS[1], max(BLOCKS[0], -(-3 * n_components // 32) * 16)),
        )

    def solve(self, contrasts: Array, n_components: int) -> tuple[Solution, Array]:
        return self._space.solve(
            contrasts, self.reg, n_components, tol=self._tol, max_passes=self._max_passes
        )

    def projection(self, solution: Solution) -> Projection:
        components = self.rows.root[:, None] * to_numpy(solution.vectors)
        return Projection(components, None, to_numpy(self._known))


class LandmarkDual(Problem):
    """The dual of K(X, L) K(L, L)^-1 K(L, X), L some of the rows (Nystroem). Form (b) in its features.

    With Phi = K(X, L) K(L, L)^-1/2 and G = Phi'Phi the dual vectors are Phi G^-1/2 b, b (m, k) of the same
    length. Neither Phi nor they are formed. O(n m^2 + m^3) time, O(m^2) memory.
    """

    def __init__(self, rows: Rows, kernel: Kernel, reg: float, n_landmarks: int, random_state: Any) -> None:
        super().__init__(rows, reg)
        self.limit = min(rows.n - 1, n_landmarks)
        self._kernel, self._all = kernel, rows.stacked(rows.dtype)
        self._landmarks, self._root = draw_landmarks(self._all, kernel, n_landmarks, random_state)
        wide = widened(self._landmarks)
        gram, total, turn = np.zeros(self._root.shape), np.zeros(len(wide)), beside(self._root, wide)
        for block in pencil.row_blocks(rows.n, 8 * n_landmarks, not rows.where.on_host):
            image = ops.kernel_matrix(widened(self._all[block]), wide, kernel=kernel)
            features = beside(rows.root[block, None], image) * (image @ turn)
            gram += to_numpy(features.T @ features)
            total += pencil.weighted_sum(rows.root[block], features)
        values, vectors = np.linalg.eigh(gram)
        sure = values > len(values) * np.finfo(float).eps * values[-1]
        self._turn, self._scale = vectors[:, sure], values[sure]
        # Columns of W = Phi R / D are orthonormal, so W'HW is the identity but for the direction of s.
        root_image = (total @ self._turn / np.sqrt(self._scale))[:, None]
        spread = np.eye(len(self._scale)) - root_image @ root_image.T / (rows.root @ rows.root)
        self._scatter = self._scale[:, None] * spread * self._scale

    def solve(self, contrasts: Array, n_components: int) -> tuple[Solution, Array]:
        norm = np.sqrt(pencil.contrast_norm(contrasts))
        weighted = like(self.rows.root[:, None] * contrasts / norm, self._all)
        image = ops.kernel_matmul(self._landmarks, self._all, weighted, kernel=self._kernel)
        features = self._root @ to_numpy(image).astype(np.float64)
        factor = np.sqrt(self._scale)[:, None] * (self._turn.T @ features)
        wanted = min(n_components, len(self._scale))
        values, alpha = pencil.leading(self._scatter, factor, self.reg, wanted)
        trace = float(np.trace(self._scatter))
        times = self._turn @ (self._scatter @ alpha)
        factor = self._turn @ factor
        return pencil.finished(values, self._turn @ alpha, times, factor, self.reg, trace), factor

    def embed(self, solution: Solution) -> Any:
        weights = like(self._weights(solution), self._all)
        return ops.kernel_matmul(self._all, self._landmarks, weights, kernel=self._kernel)

    def projection(self, solution: Solution) -> Projection:
        return Projection(self._weights(solution), None, to_numpy(self._landmarks))

    def _weights(self, solution: Solution) -> Array:
        """What k(x, L) is multiplied by: K(L, L)^-1/2 G^1/2 b."""
        turned = np.sqrt(self._scale)[:, None] * (self._turn.T @ solution.vectors)
        return np.asarray(self._root @ (self._turn @ turned))
