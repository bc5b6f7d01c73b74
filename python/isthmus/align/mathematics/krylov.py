"""Pure mathematics of transfer components: the dual of any kernel in a block Krylov space of K itself.

Tall arrays (n rows) belong to the library of the operator (numpy, CuPy or torch) and meet only operators that
all three have; everything of the size of the basis is float64 on the host.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from ...arrays import Array, index_of, to_numpy, widened
from .pencil import Solution, contrast_norm, finished, leading, needs_care, rank_of

__all__ = ["KrylovSpace", "Operator"]

PATIENCE = 10  # products with K without halving the residual: rounding allows no more
MOST_LANDMARKS = 1000  # their eigenvectors cost as much as all that they save
CHECKED_ROWS = 512  # fewest rows on which residuals are measured
NOISE = 4  # how often the rounding of K a component's image must be longer to count as one
KERNEL_NOISE = 8  # roundings of K in K D a, as measured against K in float64: 1 to 15
ROOMY = 2  # a basis of fewer times the columns wanted is too small to have them
SPEED = 50  # one product seldom lowers the residual by more
WIDE_ROWS = 4096  # of Q in float64 at once
PROBED_ROWS = 256  # on which the rounding of F is measured
UNSEEN = 0.1  # part of the tolerance that eps |F|^2 / reg must exceed to be looked into
MARGIN = 1.3  # by which residuals measured on some rows must keep below the tolerance


class Operator(Protocol):
    """A symmetric K (n, n), met only in products; tall arrays in, tall arrays of the same library out."""

    n: int

    def product(self, vectors: Any) -> Any:
        """K V (n, b) for V (n, b)."""

    def columns(self, indices: Array, weights: Array) -> Any:
        """K[:, indices] W (n, b) for W on the host."""

    def rows(self, indices: Array, vectors: Any) -> Any:
        """K[indices] V (rows, b)."""

    def block(self, indices: Array) -> Array:
        """K[indices][:, indices], on the host."""

    def precise(self, weights: Array, indices: Array | None = None) -> Any:
        """K W (n, b), or some rows of it, in float64 whatever the type of the products, for W on the host."""

    def asarray(self, values: Array) -> Any:
        """Host values in the library, on the device and in the float type of the products."""

    def exact(self, values: Array) -> Any:
        """Host values there in float64."""

    def empty(self, shape: tuple[int, int]) -> Any:
        """A new array there."""


class _Ritz(NamedTuple):
    """Ritz values w (k,) and vectors y (m, k) in the basis."""

    values: Array
    y: Array


class KrylovSpace:
    """An orthonormal basis Q of a block Krylov space of K, kept from one set of contrasts to the next.

    S = K H K and F = K E / sqrt(c), so the space of K started from [s, F, leading vectors], s the square
    roots of the row weights, holds whatever a solver of the pencil can reach. K Q = Q+ T is known, Q+ being Q
    and the block after it, so S and B within the basis are small matrices. New contrasts cost one product and
    add F to a basis that stays valid.

    Residuals need K once more. They are measured on some rows drawn at random, rather those where the
    last blocks of the basis are large, which tells their length to a few per cent for a twentieth of a
    product; of up to `CHECKED_ROWS` rows on all.

    F F'a / reg magnifies the rounding of F: in float32 to 1e-2 where |F|^2 / reg is 1e6. What that does is
    measured on some rows too, and where it is too much, F is computed in float64 and the small pencil solved
    anew. Vectors are float64 in any case, so that their rounding is not magnified either.

    Parameters
    ----------
    operator : K, the rows of the problem weighted by `root` on both sides
    root : (n,), square roots of the row weights, on the host
    rng : draws the rows whose kernel gives the first vectors
    block : columns of a product with K
    max_basis : columns beyond which the space starts again from its Ritz vectors
    n_landmarks : how many rows are drawn, unless n / 20 is more

    Cost: n (2 block + max_basis) numbers; beside each product n b (8 m + 6 b) multiplications and additions,
    m columns in Q.
    """

    def __init__(
        self,
        operator: Operator,
        root: Array,
        rng: np.random.Generator,
        *,
        block: int = 64,
        max_basis: int = 512,
        n_landmarks: int = 300,
    ) -> None:
        self._operator, self._rng, n = operator, rng, operator.n
        self._n_landmarks = min(n, max(n_landmarks, min(n // 20, MOST_LANDMARKS)))
        self._block, self._max_basis = min(operator.n, block), max_basis
        self._root, self._weight = operator.asarray(root[:, None]), float(root @ root)
        self._eps = 2.0 ** -(23 if "float32" in str(self._root.dtype) else 52)
        self._size = self._pending = 0  # columns of Q, and of the block after it
        self._before = 0  # where the block before the last one begins: K couples neighbours only
        self._basis: Any = operator.empty((0, operator.n))  # a row is a basis vector
        self._t = np.zeros((0, 0))  # Q+' K Q in its leading block
        self._factor: Any = None  # F
        self._s, self._f = np.zeros(0), np.zeros((0, 0))  # Q+'s and Q+'F
        self._norm = 0.0  # the largest |K q| seen: about |K|

    def solve(
        self, contrasts: Array, reg: float, n_components: int, *, tol: float, max_passes: int
    ) -> tuple[Solution, Any]:
        """The leading components for `contrasts` E (n, q), and F (n, q) in float64.

        Stops when all residuals are <= `tol`, when the space is exhausted, after `max_passes` products, or
        when residuals no longer fall. `vectors` of the solution, float64, and `images`, of the type of the
        products, are tall arrays (n, k).
        """
        q = contrasts.shape[1]
        self._block = min(self._operator.n, max(self._block, q + 2))
        self._max_basis = max(self._max_basis, 3 * (n_components + self._block + q + 1))
        self._reserve(self._max_basis + self._block)
        self._begin(contrasts)
        passes, best, best_pass, next_check = 1, np.inf, 1, 1
        margin = 1.0 if self._operator.n <= CHECKED_ROWS else MARGIN
        while True:
            if self._size + 2 * self._pending > self._max_basis:
                self._restart(reg, n_components)
            if self._pending:
                self._advance()
                passes += 1
            last = passes >= min(max_passes, best_pass + PATIENCE) or not self._pending
            if not last and (passes < next_check or self._size < ROOMY * n_components):
                continue
            ritz = self._ritz(reg, n_components)
            left = self._residuals(ritz, reg)
            if left.max() < best / 2:
                best, best_pass, last = left.max(), passes, passes >= max_passes or not self._pending
            excess = margin * left.max() / tol
            if last or (len(left) == n_components and excess <= 1):
                ritz, left = self._exact(contrasts, ritz, left, reg, tol)
                return self._solution(ritz, left, reg)._replace(passes=passes), widened(self._factor)
            next_check = passes + int(np.log(min(max(excess, 1.0), 1e300)) / np.log(SPEED))

    def _begin(self, contrasts: Array) -> None:
        """F for new contrasts, and a basis that contains it."""
        q = contrasts.shape[1]
        weighted = self._operator.asarray(contrasts / np.sqrt(contrast_norm(contrasts)))
        if self._size:
            self._factor = self._advance(weighted) if self._pending else self._operator.product(weighted)
            self._include(self._factor)
        else:
            start = self._leading_vectors(self._block - q - 1)
            first = self._operator.product(self._beside(weighted, start))
            self._factor = first[:, :q]
            self._include(self._beside(self._root, first))
        self._locate()

    def _leading_vectors(self, count: int) -> Any:
        """About the `count` leading eigenvectors of K: those of K(:, L) K(L, L)^-1 K(L, :) for few rows L."""
        drawn = np.sort(self._rng.choice(self._operator.n, self._n_landmarks, replace=False))
        values, vectors = np.linalg.eigh(self._operator.block(drawn))
        order = np.argsort(-np.abs(values))[: 2 * count]
        scale = np.sqrt(np.maximum(np.abs(values[order]), 1e-10 * np.abs(values).max() + 1e-300))
        features = self._operator.columns(drawn, vectors[:, order] / scale)
        turn = np.linalg.eigh(_host(features.T @ features))[1][:, ::-1][:, :count]
        return features @ self._operator.asarray(turn)

    def _advance(self, beside: Any = None) -> Any:
        """K times the block after Q: Q grows by it, what is new becomes the next block.

        Returns K times the columns `beside`.
        """
        known, total = self._pending, self._size + self._pending
        vectors = self._basis[self._size : total].T
        image = self._operator.product(vectors if beside is None else self._beside(vectors, beside))
        inside, outside = self._append(image[:, :known], self._before)
        self._t[:total, self._size : total] = inside
        self._t[total : total + len(outside), self._size : total] = outside
        self._before, self._size, self._pending = self._size, total, len(outside)
        return image[:, known:]

    def _include(self, columns: Any) -> None:
        """Add what `columns` (n, c) have outside of Q+ to the next block."""
        lengths = np.sqrt(_host((columns * columns).sum(0)))
        scale = 1 / np.where(lengths > 0, lengths, 1.0)
        self._pending += len(self._append(columns * self._operator.asarray(scale))[1])

    def _append(self, columns: Any, first: int = 0) -> tuple[Array, Array]:
        """Write an orthonormal basis N of what `columns` add to Q+ behind it.

        Returns C and R, `columns` = Q+ C + N R, both on the host. `columns` have nothing but rounding errors
        along the basis vectors before `first`; N is freed of those too.
        """
        total, most = self._size + self._pending, self._operator.n
        self._reserve(total + columns.shape[1])
        small, near = self._operator.asarray, self._basis[first:total]
        inside = near @ columns
        outside = columns - near.T @ inside
        coordinates = np.zeros((total, columns.shape[1]))
        coordinates[first:] = _host(inside)
        lengths = np.sum(coordinates**2, axis=0) + _host((outside * outside).sum(0))
        self._norm = max(self._norm, float(np.sqrt(lengths.max())))
        noise = (2 * self._eps * self._norm) ** 2
        found, rest = total, outside
        # What is far below the largest direction drowns in the Gram matrix of the block: level by level.
        while found < most:
            squares, turn = np.linalg.eigh(_host(rest.T @ rest))
            strong = squares > max(noise, squares[-1] * 4 * self._eps**0.75)
            if not strong.any():
                break
            new = rest @ small(turn[:, strong][:, found - most :] / np.sqrt(squares[strong][found - most :]))
            new = new - self._basis[:found].T @ (self._basis[:found] @ new)
            squares, shape = np.linalg.eigh(_host(new.T @ new))
            real = squares > 0.01  # the others were noise inside Q+
            new = new @ small(shape[:, real] / np.sqrt(squares[real]))
            self._basis[found : found + new.shape[1]] = new.T
            found += new.shape[1]
            if strong.all():
                break
            rest = rest @ small(turn[:, ~strong])
            rest = rest - new @ (new.T @ rest)
        return coordinates, _host(self._basis[total:found] @ outside)

    def _locate(self) -> None:
        """Coordinates of s and F in Q+, zero in all blocks still to come."""
        total, room = self._size + self._pending, len(self._t)
        found = np.zeros((total, 1 + self._factor.shape[1]))
        for start in range(0, self._operator.n, WIDE_ROWS):
            # In float64: F is long where the domains lie far apart, and B has its square.
            part = slice(start, start + WIDE_ROWS)
            tall = (self._root[part], self._factor[part])
            basis = widened(self._basis[:total, part])
            found += np.hstack([_host(basis @ widened(columns)) for columns in tall])
        self._s, self._f = np.zeros(room), np.zeros((room, found.shape[1] - 1))
        self._s[:total], self._f[:total] = found[:, 0], found[:, 1:]

    def _ritz(self, reg: float, n_components: int) -> _Ritz:
        m = self._size
        spread = self._centred(self._t[: m + self._pending, :m])
        return _Ritz(*leading(spread.T @ spread, self._f[:m], reg, min(n_components, m)))

    def _metric_times(self, ritz: _Ritz, reg: float) -> Array:
        """Coordinates of B a, a = Q y."""
        m, f = len(ritz.y), self._f[: self._size + self._pending]
        product = f @ (f[:m].T @ ritz.y)
        product[:m] += reg * ritz.y
        return np.asarray(product)

    def _centred_images(self, ritz: _Ritz) -> Any:
        """H K a (n, k)."""
        total, m = self._size + self._pending, self._size
        coordinates = self._centred(self._t[:total, :m] @ ritz.y)
        images = self._basis[:total].T @ self._operator.asarray(coordinates)
        # The basis is orthonormal but for rounding, which the leading vectors of K would magnify.
        return images - self._root * ((self._root.T @ images) / self._weight)

    def _residuals(self, ritz: _Ritz, reg: float) -> Array:
        """|S a - w B a| / (w |B a|), the numerator from the rows checked."""
        right = self._metric_times(ritz, reg) * ritz.values
        rows, chance = self._checked_rows()
        left = _host(self._operator.rows(rows, self._centred_images(ritz)))
        left -= _host(self._basis[: len(right)][:, index_of(rows, self._basis)].T) @ right
        left /= np.sqrt(chance)[:, None]
        lengths = np.linalg.norm(right, axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.linalg.norm(left, axis=0) / lengths
        return np.asarray(np.nan_to_num(found, nan=np.inf))

    def _exact(
        self, contrasts: Array, ritz: _Ritz, left: Array, reg: float, tol: float
    ) -> tuple[_Ritz, Array]:
        """`ritz` and its residuals `left` with what rounding F adds to them: with F in float64 if needed."""
        weighted = contrasts / np.sqrt(contrast_norm(contrasts))
        squares = _host((self._factor * self._factor).sum(0))
        if self._eps < 1e-10 or self._eps * squares.sum() <= UNSEEN * tol * reg:
            return ritz, left
        lost = self._rounding(weighted, ritz, reg, squares)
        if np.hypot(left, MARGIN * lost).max() <= tol or lost.max() <= UNSEEN * tol:
            return ritz, np.hypot(left, lost)
        self._factor = self._operator.precise(weighted)
        self._locate()
        ritz = self._ritz(reg, len(left))
        return ritz, self._residuals(ritz, reg)

    def _rounding(self, weighted: Array, ritz: _Ritz, reg: float, squares: Array) -> Array:
        """About |F D'a| / |B a| (k,), D what products with K lost of F = K `weighted`, |F|^2 `squares`."""
        n, m, total = self._operator.n, self._size, self._size + self._pending
        rows = np.sort(self._rng.choice(n, min(n, PROBED_ROWS), replace=False))
        chosen = index_of(rows, self._basis)
        lost = _host(self._operator.precise(weighted, rows)) - _host(self._factor[chosen])
        vectors = _host(self._basis[:m][:, chosen]).T @ ritz.y
        random = (vectors**2).T @ lost**2 * (n / len(rows))
        # Rounding E shifts the weight of whole classes, which does not average out over the rows.
        asarray = self._operator.asarray
        shifts = _host(self._basis[:total] @ asarray(weighted - _host(asarray(weighted))))
        steady = (self._t[:total, :m] @ ritz.y).T @ shifts
        lengths = np.linalg.norm(self._metric_times(ritz, reg), axis=0)
        # The largest of some 30 random sums is about two standard deviations.
        return np.asarray(np.sqrt((4 * random + steady**2) @ squares) / lengths)

    def _checked_rows(self) -> tuple[Array, Array]:
        """Rows drawn to measure residuals on, and the chance that each had."""
        n = self._operator.n
        if n <= CHECKED_ROWS:
            return np.arange(n), np.ones(n)
        # What the basis misses lies where its last blocks do.
        latest = self._basis[self._before : self._size + self._pending]
        mass = _host((latest * latest).sum(0))
        chance = 0.5 / n + 0.5 * mass / mass.sum()
        for _ in range(5):  # what rows beyond 1 leave goes to the others
            chance = np.minimum(1.0, max(CHECKED_ROWS, n // 20) * chance / chance.sum())
        rows = np.flatnonzero(self._rng.random(n) < chance)
        return rows, chance[rows]

    def _solution(self, ritz: _Ritz, left: Array, reg: float) -> Solution:
        m, total, small = self._size, self._size + self._pending, self._operator.asarray
        coordinates = self._t[:total, :m] @ ritz.y
        trace = float(np.sum(self._centred(self._t[:total, :m]) ** 2))
        metric_lengths = np.linalg.norm(self._metric_times(ritz, reg), axis=0)
        lengths = np.linalg.norm(ritz.y, axis=0)
        kept = rank_of(ritz.values, metric_lengths, lengths, trace, self._operator.n)
        # |K a| below the rounding of K: |S a| is its square.
        drowned = ritz.values * metric_lengths <= (NOISE * self._eps * self._norm) ** 2 * lengths
        kept = int(np.argmax(drowned[:kept])) if drowned[:kept].any() else kept
        # K itself is rounded, which products with it cannot show: K D a, D its rounding, beside w B a.
        left = np.hypot(
            left, KERNEL_NOISE * self._eps * self._norm * lengths / (ritz.values * metric_lengths)
        )
        exact = self._operator.exact
        vectors, y = exact(np.empty((self._operator.n, kept))), exact(ritz.y[:, :kept])
        for start in range(0, self._operator.n, WIDE_ROWS):
            part = slice(start, start + WIDE_ROWS)
            vectors[part] = widened(self._basis[:m, part]).T @ y
        images = self._basis[:total].T @ small(coordinates[:, :kept])
        solution = Solution(vectors, ritz.values[:kept], left[:kept], images=images)
        if self._eps > 1e-10 or not isinstance(vectors, np.ndarray) or not needs_care(self._factor, reg):
            return solution
        scatter_times = self._operator.product(self._centred_images(ritz)[:, :kept])
        sharp = finished(solution.eigenvalues, vectors, scatter_times, self._factor, reg, trace)
        return sharp._replace(images=images[:, : len(sharp.eigenvalues)])

    def _restart(self, reg: float, n_components: int) -> None:
        """Start again from s, F and the Ritz vectors, whose products with K are known."""
        m, total = self._size, self._size + self._pending
        s, f = self._s[:m, None], self._f[:m]
        ritz = self._ritz(reg, max(n_components, self._block - f.shape[1] - 1))
        turn = np.linalg.qr(np.hstack([s, f, ritz.y]))[0]
        kept = turn.shape[1]
        images = self._basis[:total].T @ self._operator.asarray(self._t[:total, :m] @ turn)
        vectors = self._basis[:m].T @ self._operator.asarray(turn)
        self._basis[:kept] = vectors.T
        self._before, self._size, self._pending = 0, kept, 0
        inside, outside = self._append(images)
        self._pending = len(outside)
        self._t[:] = 0.0
        self._t[:kept, :kept] = inside
        self._t[kept : kept + len(outside), :kept] = outside
        self._include(self._beside(self._root, self._factor))
        self._locate()

    def _centred(self, coordinates: Array) -> Array:
        """H applied to columns given by their leading coordinates in Q+."""
        s = self._s[: len(coordinates), None]
        return np.asarray(coordinates - s @ (s.T @ coordinates) / self._weight)

    def _beside(self, *parts: Any) -> Any:
        """Columns next to each other."""
        whole, filled = self._operator.empty((self._operator.n, sum(part.shape[1] for part in parts))), 0
        for part in parts:
            whole[:, filled : filled + part.shape[1]] = part
            filled += part.shape[1]
        return whole

    def _reserve(self, room: int) -> None:
        """Space for `room` basis vectors."""
        room, had, used = min(room, self._operator.n), len(self._t), self._size + self._pending
        if room <= had:
            return
        basis = self._operator.empty((room, self._operator.n))
        basis[:used] = self._basis[:used]
        self._basis = basis
        more = (0, room - had)
        self._t, self._f = np.pad(self._t, (more, more)), np.pad(self._f, (more, (0, 0)))
        self._s = np.pad(self._s, more)


def _host(small: Any) -> Array:
    return to_numpy(small).astype(np.float64)
