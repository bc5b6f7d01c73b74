"""Maximum mean discrepancy of two samples, of batches, of all pairs of domains, under permutations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays, backends
from .arrays import Array
from .homes import Home
from .kernel_base import Kernel
from .kernels import DEFAULT_KERNEL
from .ops import Inputs, all_pairs, check_room

__all__ = ["mmd2", "mmd_matrix", "permuted_mmd2", "witness"]

_FLOAT64 = np.dtype(np.float64)
ESTIMATORS = ("unbiased", "biased")
# Roundings of float32 average out over the pairs of a sample, to less than 1e-7 of the kernel for more
# distinct rows than these; up to this many are computed in float64.
_FEW_ROWS = 16


@arrays.on_its_device
def mmd2(
    X: Any,
    Y: Any,
    *,
    kernel: Kernel = DEFAULT_KERNEL,
    estimator: str = "unbiased",
    x_weights: Any = None,
    y_weights: Any = None,
) -> Any:
    """Squared maximum mean discrepancy of two samples, or of b pairs of samples.

    Parameters
    ----------
    X : array of shape (n, d) or (b, n, d), float32 or float64
    Y : array of shape (m, d) or (b, m, d), same library, device and dtype as `X`
    kernel : Kernel; its bandwidth is in the unit of `X`. A rule is evaluated once, on the rows of all samples
    estimator : "unbiased" (U-statistic, can fall below zero) or "biased" (V-statistic)
    x_weights, y_weights : arrays of shape (n,) and (m,), or (b, n) and (b, m), or None for equal weights. Not
        negative; their scale does not matter

    Returns
    -------
    float64 of shape () or (b,), in the library and on the device of `X`

    Raises
    ------
    TypeError : not an array of real numbers.
    ValueError : X and Y differ in library or device, shapes disagree, a value is not finite, or fewer than
        two rows with "unbiased". Values on a device are not looked at, so that nothing waits for it: there
        NaN, and weights that leave no pair, give NaN; a row with an infinity is far from all others.

    Cost: O(b (n + m)^2 d) time, O(b (n + m) d) memory: the kernel matrix is never formed.
    Source: Gretton et al., JMLR 13 (2012), section 2.2; with weights of sum 1, the unbiased mean within X is
    sum_{i != j} w_i w_j k_ij / (1 - sum_i w_i^2).
    """
    given, kernel, weights = two_samples(X, Y, kernel, estimator, x_weights, y_weights)
    values = _mmd2(given, kernel, estimator, weights)
    return given.where.give(values if given["X"].ndim == 3 else values[0])


@arrays.on_its_device
def mmd_matrix(
    samples: Sequence[Any],
    *,
    kernel: Kernel = DEFAULT_KERNEL,
    estimator: str = "unbiased",
    weights: Sequence[Any] | None = None,
) -> Any:
    """Squared maximum mean discrepancy of all pairs of samples, in one call.

    Parameters
    ----------
    samples : k arrays of shapes (n_1, d) to (n_k, d), of one library and device; float32 or float64
    kernel : Kernel; a rule is evaluated once, on the rows of all samples
    estimator : "unbiased" or "biased", as in `mmd2`
    weights : None, or for each sample None or an array of shape (n_i,)

    Returns
    -------
    float64 array of shape (k, k), symmetric; the diagonal is 0

    Raises TypeError and ValueError as `mmd2` does, naming the sample.

    Cost: O(N^2 d) time for N rows in all, O(N d) memory: no kernel sum is computed twice.
    """
    _check_estimator(estimator)
    if len(samples) < 2:
        raise ValueError(f"samples must hold at least 2 samples, got {len(samples)}")
    shares = [None] * len(samples) if weights is None else list(weights)
    if len(shares) != len(samples):
        raise ValueError(f"weights must have one entry for each of {len(samples)} samples, got {len(shares)}")
    names = [f"samples[{i}]" for i in range(len(samples))]
    keys = [f"weights[{i}]" for i in range(len(samples))]
    given = Inputs(weights=dict(zip(keys, shares, strict=True)), **dict(zip(names, samples, strict=True)))
    sizes = [given.rows(name) for name in names]
    for name in names[1:]:
        given.check_width(names[0], name)
    checked = [given.weights(key, (n,)) for key, n in zip(keys, sizes, strict=True)]
    kernel = given.resolve(kernel, *names)
    pairs = all_pairs(len(samples))
    blocks = Blocks(given, names, checked, estimator)
    sums, diagonals = blocks.sums(kernel, pairs)
    xp, i = given.where.xp, given.where.arange(len(samples))
    first, second = xp.minimum(i[:, None], i), xp.maximum(i[:, None], i)
    # Where the pair (first, second) stands among all pairs.
    place = first * (2 * len(samples) - first - 1) // 2 + second
    within = blocks.within(sums[place[i, i]], diagonals)
    totals = blocks.joined(blocks.totals)
    across = sums[place] / (totals[:, None] * totals)
    equal = i[:, None] == i
    if estimator == "biased":
        stacks = blocks.stacks()
        coincide = [
            _coincide([stacks[a], stacks[b]], [blocks.weights[a], blocks.weights[b]])
            for a, b in pairs.tolist()
        ]
        equal = xp.concatenate(coincide)[place]
    return given.where.give(xp.where(equal, 0.0, within[:, None] + within - 2 * across))


@arrays.on_its_device
def witness(X: Any, Y: Any, at: Any, *, kernel: Kernel = DEFAULT_KERNEL) -> Any:
    """The witness function of the MMD: positive where X has more mass than Y, negative where less.

    Parameters
    ----------
    X, Y : arrays of shape (n, d) and (m, d), of one library and device; float32 or float64
    at : array of shape (q, d), the points to evaluate it at
    kernel : Kernel; a rule is evaluated on the rows of X and Y

    Returns
    -------
    array of shape (q,), mean_i k(at, x_i) - mean_j k(at, y_j), in the library and dtype of the input

    Raises TypeError and ValueError as `mmd2` does.

    Cost: O(q (n + m) d) time, O((q + n + m) d) memory.
    """
    given = Inputs(X=X, Y=Y, at=at)
    n, m, q = (given.rows(name) for name in ("X", "Y", "at"))
    given.check_width("X", "Y")
    given.check_width("X", "at")
    kernel = given.resolve(kernel, "X", "Y", beside=["at"])
    shares = (given.where.full((k, 1), share, given.compute_dtype) for k, share in ((n, 1 / n), (m, -1 / m)))
    signs = given.where.xp.concatenate(list(shares))
    target = given.target("witness", (q, 1))
    backends.kernel_matmul(given["at"], pooled_rows(given), signs, kernel, False, target, given.where)
    return given.give("witness", target[:, 0])


@arrays.on_its_device
def permuted_mmd2(
    X: Any,
    Y: Any,
    assignments: Any = None,
    *,
    kernel: Kernel = DEFAULT_KERNEL,
    n_permutations: int | None = None,
    random_state: Any = None,
    estimator: str = "unbiased",
) -> Any:
    """Squared MMD of the pooled rows under other assignments to the two samples.

    Parameters
    ----------
    X, Y : arrays of shape (n, d) and (m, d), of one library and device; float32 or float64
    assignments : array of shape (B, n + m) of 0 and 1; 1 puts a row of the pooled sample (X, then Y) in X
    kernel : Kernel; a rule is evaluated on the pooled rows
    n_permutations : number of random assignments, in place of `assignments`
    random_state : None, an int, a numpy Generator or RandomState, for `n_permutations`
    estimator : "unbiased" or "biased", as in `mmd2`

    Returns
    -------
    float64 array of shape (B,), in the library and on the device of `X`

    Raises TypeError and ValueError as `mmd2` does, and ValueError unless one of `assignments` and
    `n_permutations` is given.

    Cost: O(N^2 (d + B)) time for N = n + m, an addition for several of the N^2 B terms together;
    O(N (d + B / 32)) memory. The kernel of each pair is evaluated once, and its matrix is never formed.
    """
    _check_estimator(estimator)
    if (assignments is None) == (n_permutations is None):
        raise ValueError("give assignments or n_permutations, one of them")
    given = Inputs(X=X, Y=Y)
    n, m = given.rows("X"), given.rows("Y")
    given.check_width("X", "Y")
    if assignments is not None:
        drawn = _checked_assignments(assignments, n + m, estimator, given.where)
    else:
        _check_sizes([n, m], ["X", "Y"], estimator)
        count = check_permutations(n_permutations)
        drawn = random_assignments(n, m, count, arrays.generator(random_state), given.where)
    kernel = given.resolve(kernel, "X", "Y")
    if drawn.sizes.min() <= _FEW_ROWS:
        given.widen()
    values, _ = assigned_mmd2(given, kernel, drawn, estimator)
    return given.where.give(given.where.asarray(values, np.dtype(np.float64)))


def two_samples(
    X: Any, Y: Any, kernel: Kernel, estimator: str, x_weights: Any, y_weights: Any
) -> tuple[Inputs, Kernel, list[Any]]:
    """The arguments of `mmd2`, checked: both samples, the kernel in numbers, the weights of X and of Y."""
    _check_estimator(estimator)
    given = Inputs(weights={"x_weights": x_weights, "y_weights": y_weights}, X=X, Y=Y)
    x, y = given.check("X", (2, 3)), given.check("Y", (2, 3))
    if x.ndim != y.ndim or (x.ndim == 3 and len(x) != len(y)):
        shapes = f"{tuple(x.shape)} and {tuple(y.shape)}"
        raise ValueError(f"X and Y must be one sample each, or the same number of samples, got {shapes}")
    given.check_width("X", "Y")
    weights = [
        given.weights(name, shape[-2:-1], *([shape[:2]] if len(shape) == 3 else []))
        for name, shape in (("x_weights", tuple(x.shape)), ("y_weights", tuple(y.shape)))
    ]
    return given, given.resolve(kernel, "X", "Y"), weights


def sample_mmd2(given: Inputs, kernel: Kernel, estimator: str) -> float:
    """MMD^2 of the checked samples X and Y of `given`, without weights."""
    return float(_mmd2(given, kernel, estimator, [None, None])[0])


def pooled_rows(given: Inputs) -> Any:
    """The rows of X, then those of Y; (n + m, d)."""
    return given.where.xp.concatenate([given["X"], given["Y"]])


@dataclass(frozen=True)
class Assignments:
    """Splits of some rows into two samples, the rows of the smaller one marked: the statistic is symmetric.

    bits (B, words), row i of pooled rows is bit i % 64 of word i // 64: uint64, or on a GPU int64.
    sizes (B,): marked rows, on the host.
    """

    bits: Any
    sizes: Array


def random_assignments(
    n: int, m: int, count: int, rng: np.random.Generator, where: Home, *, observed: bool = False
) -> Assignments:
    """`count` random splits of n + m rows into n and m, after the observed one on request."""
    rows, size = n + m, min(n, m)
    shape, dtype = (count + observed, -(-rows // 64)), np.dtype(np.uint64 if where.on_host else np.int64)
    check_room("assignments", shape, dtype, where)
    bits = where.empty(shape, dtype)
    if observed:
        bits[:1] = _placed(_packed((np.arange(rows) < n)[None] ^ (n > m)), where)
    key = rng.integers(np.iinfo(np.uint64).max, size=2, dtype=np.uint64, endpoint=True)
    backends.random_assignments(key, rows, size, bits[int(observed) :], where)
    return Assignments(bits, np.full(len(bits), size))


def _placed(bits: Array, where: Home) -> Any:
    return bits if where.on_host else where.asarray(bits.view(np.int64), np.dtype(np.int64))


def check_permutations(n_permutations: Any) -> int:
    """The number of permutations, an integer of at least 1."""
    whole = isinstance(n_permutations, int | np.integer) and not isinstance(n_permutations, bool)
    if not whole or n_permutations < 1:
        raise ValueError(f"n_permutations must be an integer of at least 1, got {n_permutations!r}")
    return int(n_permutations)


def assigned_mmd2(
    given: Inputs, kernel: Kernel, assignments: Assignments, estimator: str, *, rounded: bool = False
) -> tuple[Array, Array]:
    """MMD^2 of the pooled rows for each assignment, and the sum of the absolute values of its three terms.

    With K0 the kernel matrix without its diagonal, k = K0 1, T = 1' k, u an assignment, q = u' K0 u and
    r = k' u, the sum within X is q, across r - q, within Y T - 2 r + q. `rounded`: a GPU may round K0, for
    values that are compared among themselves alone.
    """
    where, z, bits = given.where, pooled_rows(given), assignments.bits
    sums, row_sums = backends.permuted_sums(z, kernel, bits, where, rounded=rounded)
    q, r = arrays.to_numpy(sums), arrays.to_numpy(backends.subset_sums(bits, row_sums, where))
    xx, yy, xy = q, float(row_sums.sum()) - 2 * r + q, r - q
    a = assignments.sizes.astype(np.float64)
    b = len(z) - a
    # Without its diagonal, a sample of a rows has a (a - 1) pairs; with it, a^2.
    own = 1
    if estimator == "biased":
        diagonal = backends.diagonal(z, kernel, where)
        inside = arrays.to_numpy(backends.subset_sums(bits, diagonal, where))
        xx, yy, own = xx + inside, yy + (float(diagonal.sum()) - inside), 0
    terms = xx / (a * (a - own)), yy / (b * (b - own)), 2 * xy / (a * b)
    return terms[0] + terms[1] - terms[2], abs(terms[0]) + abs(terms[1]) + abs(terms[2])


class Blocks:
    """Samples with their weights: argument i of `names` is a stack of c samples, numbered i c to i c + c - 1.

    Weights are None for a stack, or float64 of shape (n,) or (c, n).
    """

    def __init__(self, given: Inputs, names: Sequence[str], weights: Sequence[Any], estimator: str) -> None:
        self._given, self._names, self._estimator = given, names, estimator
        where, xp = given.where, given.where.xp
        shapes = [tuple(stack.shape[:2]) for stack in self.stacks()]
        # Equal weights are no weights, so that the value is the same to the last bit.
        even = [
            None
            if w is None or (where.on_host and bool((w == w[..., :1]).all()))
            else given.scale_weights(xp.broadcast_to(w, shape))[0]
            for w, shape in zip(weights, shapes, strict=True)
        ]
        counts, effective = [], []
        for w, (_, n) in zip(even, shapes, strict=True):
            if w is None or not where.on_host:
                counts.append(n)
                effective.append(float(n))
            else:
                counts.append(int((w > 0).sum(-1).min()))
                effective.append(float((n * n / (w * w).sum(-1)).min()))
        _check_sizes(counts, names, estimator)
        if min(effective) <= _FEW_ROWS:
            given.widen()
        self.weights = [None if w is None else given.cast(w) for w in even]
        # Of each stack sum_i w_i, and the sum of w_i w_j over pairs within: a number, or with weights (c,).
        self.totals: list[Any] = []
        self._pairs: list[Any] = []
        for weight, (_, n) in zip(self.weights, shapes, strict=True):
            # In float64, from the weights as the backends see them.
            w = None if weight is None else arrays.widened(weight)
            total = n if w is None else w.sum(-1)
            self.totals.append(total)
            if estimator == "biased":
                self._pairs.append(total * total)
            elif w is None:
                self._pairs.append(n * (n - 1))
            else:
                # From terms that are not negative: nothing cancels where one dominates.
                self._pairs.append(2 * (w[:, 1:] * xp.cumsum(w, -1)[:, :-1]).sum(-1))

    def sums(self, kernel: Kernel, pairs: Array) -> tuple[Any, Any]:
        """Weighted kernel sums (P,) over pairs of blocks, and diagonals (blocks,)."""
        weights = None if all(w is None for w in self.weights) else self.weights
        return backends.block_sums(self.stacks(), weights, pairs, kernel, self._given.where)

    def within(self, sums: Any, diagonals: Any) -> Any:
        """Mean of the kernel over the pairs within each block, from its sum and diagonal."""
        sums = sums + diagonals if self._estimator == "biased" else sums
        return sums / self.joined(self._pairs)

    def factors(self) -> Any:
        """What the kernel sums within X, within Y and across are multiplied by, for stacks X and Y.

        MMD^2 is the first two products plus twice the third. (c, 3); without weights (3,) on the host.
        """
        (x, y), (within_x, within_y) = self.totals, self._pairs
        factors = [1 / within_x, 1 / within_y, -1 / (x * y)]
        if all(w is None for w in self.weights):
            return np.array(factors)
        return self._given.where.xp.stack([self._of_samples(x) for x in factors], -1)

    def joined(self, of_stacks: Sequence[Any]) -> Any:
        """Numbers of each stack, or of each of its samples (c,), one behind the other; float64 (blocks,)."""
        return self._given.where.xp.concatenate([self._of_samples(x) for x in of_stacks])

    def _of_samples(self, x: Any) -> Any:
        if not isinstance(x, int | float):
            return x
        return self._given.where.full((len(self.stacks()[0]),), x, _FLOAT64)

    def stacks(self) -> list[Any]:
        """The samples as the backends see them, (c, n, d) each."""
        samples = (self._given[name] for name in self._names)
        return [x if x.ndim == 3 else x[None] for x in samples]


def _mmd2(given: Inputs, kernel: Kernel, estimator: str, weights: Sequence[Any]) -> Any:
    """MMD^2 of each of the c pairs of samples X (c, n, d) and Y (c, m, d), float64 (c,)."""
    blocks = Blocks(given, ["X", "Y"], weights, estimator)
    x, y = blocks.stacks()
    biased = estimator == "biased"
    values = backends.mmd2(x, y, blocks.weights, blocks.factors(), biased, kernel, given.where)
    if biased:
        values = given.where.xp.where(_coincide([x, y], blocks.weights), 0.0, values)
    return values


def _coincide(samples: Sequence[Any], weights: Sequence[Any]) -> Any:
    """Which of c pairs of samples, with the weights of `Blocks`, are equal; boolean (c,) or (1,), at home.

    Their V-statistic is 0; rounding would leave some 1e-17.
    """
    equal = arrays.same(*samples)
    if all(w is None for w in weights):
        return equal
    if any(w is None for w in weights):
        return equal & False
    return equal & arrays.same(*(w[..., None] for w in weights))


def _checked_assignments(assignments: Any, rows: int, estimator: str, where: Home) -> Assignments:
    table = arrays.to_numpy(assignments)
    if table.ndim != 2 or table.shape[1] != rows or not len(table):
        raise ValueError(f"assignments must have shape (B, n + m) with n + m = {rows}, got {table.shape}")
    if table.dtype.kind not in "biuf" or not ((table == 0) | (table == 1)).all():
        raise ValueError("assignments must hold 0 and 1 only")
    table = table.astype(bool, copy=False)
    inside = np.count_nonzero(table, axis=1)
    _check_sizes([int(inside.min()), rows - int(inside.max())], ["X", "Y"], estimator)
    bits = _packed(table ^ (2 * inside > rows)[:, None])
    return Assignments(_placed(bits, where), np.minimum(inside, rows - inside))


def _packed(table: Array) -> Array:
    """A boolean table (B, N) as bits, uint64 (B, words)."""
    whole = np.zeros((len(table), -(-table.shape[1] // 64) * 8), dtype=np.uint8)
    packed = np.packbits(table, axis=1, bitorder="little")
    whole[:, : packed.shape[1]] = packed
    return whole.view("<u8").astype(np.uint64, copy=False)


def _check_sizes(counts: Sequence[int], names: Sequence[str], estimator: str) -> None:
    least = 2 if estimator == "unbiased" else 1
    for count, name in zip(counts, names, strict=True):
        if count < least:
            raise ValueError(
                f"{name} needs >= {least} rows of weight above 0 for the {estimator} estimator, got {count}"
            )


def _check_estimator(estimator: Any) -> None:
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator must be one of {', '.join(map(repr, ESTIMATORS))}, got {estimator!r}")
