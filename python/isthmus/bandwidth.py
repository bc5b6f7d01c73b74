"""Turns bandwidth rules ("median" and the named conventions) into numbers, from the distances of rows."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .arrays import Array, generator, index_of, to_numpy
from .errors import DegenerateBandwidthWarning
from .kernel_base import LARGEST_SCALE, RULES, SMALLEST_SCALE, Kernel, Sum, each
from .kernels import Polynomial

MEDIAN_ROWS = 2000
"""The median is exact up to this many pooled rows; above it, it is the median over a sample of this size."""

_AGGREGATE_ROWS = 500  # rows of each sample that "mmdagg" looks at, as published
_BLOCK = 128  # rows of distances computed at once
_SAMPLED = 1 << 14  # distances that are sorted to find where the median lies
# Pairs whose squared distance is below this fraction of |x|^2 + |y|^2 are computed by direct differences: the
# rest keep a relative error below 1e-11.
_CANCELLATION = 1e-5


def resolve(kernel: Kernel, *samples: Any, random_state: Any = None) -> Kernel:
    """The kernel with numbers only.

    Parameters
    ----------
    kernel : Kernel; returned as it is when it has no rule left to evaluate
    samples : arrays of shape (n, d) or (b, n, d), finite; their rows are pooled
    random_state : draws the rows for the median of more than `MEDIAN_ROWS`; None is a fixed seed

    Raises ValueError if a rule needs two samples and got one. Warns with DegenerateBandwidthWarning, and
    takes 1.0, if no two rows differ. Cost: O(min(N, 2000)^2 d).
    """
    if kernel.resolved:
        return kernel
    rows = _Rows([sample.reshape(-1, sample.shape[-1]) for sample in samples], random_state)
    if isinstance(kernel, Sum):
        return Sum(tuple((weight, _resolve_plain(part, rows)) for weight, part in kernel.parts))
    return _resolve_plain(kernel, rows)


def scale_of(kernel: Kernel) -> float | tuple[float, ...] | None:
    """The bandwidth or scale of a resolved kernel: one number, several, or None where the kernel has none."""
    numbers: list[float] = []
    for _, part in kernel.parts:
        if part.scale_field is not None:
            value = getattr(part, part.scale_field)
            if value is None:  # RBF given by gamma
                numbers += [math.sqrt(0.5) / math.sqrt(gamma) for (gamma,) in part.parameters()]
            else:
                numbers += value if isinstance(value, tuple) else (value,)
    return None if not numbers else numbers[0] if len(numbers) == 1 else tuple(numbers)


class _Rows:
    """The rows a rule may look at, and their distances, each computed when first asked for."""

    def __init__(self, samples: list[Any], random_state: Any) -> None:
        self.samples = samples
        self._random_state = random_state
        self._pooled: Array | None = None
        self._distances: dict[str, Array] = {}

    @property
    def width(self) -> int:
        return int(self.samples[0].shape[1])

    def pooled(self) -> Array:
        """All rows, or `MEDIAN_ROWS` of them drawn without replacement; float64."""
        if self._pooled is None:
            sizes = [len(sample) for sample in self.samples]
            if sum(sizes) <= MEDIAN_ROWS:
                drawn = [_float64(sample) for sample in self.samples]
            else:
                seed = 0 if self._random_state is None else self._random_state
                chosen = np.sort(generator(seed).choice(sum(sizes), MEDIAN_ROWS, replace=False))
                starts = np.cumsum([0, *sizes])
                drawn = [
                    _float64(
                        sample[index_of(chosen[(start <= chosen) & (chosen < start + size)] - start, sample)]
                    )
                    for sample, start, size in zip(self.samples, starts, sizes, strict=False)
                ]
            self._pooled = np.concatenate(drawn)
        return self._pooled

    def pooled_distances(self, metric: str) -> Array:
        """Distances of all pairs of pooled rows, in no particular order."""
        if metric not in self._distances:
            self._distances[metric] = _distances(self.pooled(), metric)
        return self._distances[metric]

    def reference(self) -> Array:
        """The first sample, at most `MEDIAN_ROWS` of its rows."""
        return _float64(self.samples[0][:MEDIAN_ROWS])

    def cross_distances(self, metric: str, rule: str) -> Array:
        """Distances between the first rows of two samples, (<= 500, <= 500)."""
        if len(self.samples) != 2:
            raise ValueError(f"the rule {rule!r} needs two samples, got {len(self.samples)}")
        from scipy.spatial.distance import cdist

        x, y = (_float64(sample[:_AGGREGATE_ROWS]) for sample in self.samples)
        return np.asarray(cdist(x, y, "cityblock" if metric == "cityblock" else "euclidean"))


def _median(rows: _Rows, metric: str) -> float:
    """Median distance of all pairs of pooled rows; of the positive ones if more than half are zero."""
    distances = rows.pooled_distances(metric)
    median = _middle(distances)
    if median == 0 and distances.size:
        positive = distances[distances > 0]
        median = _middle(positive) if positive.size else 0.0
    return median


def _alibi(rows: _Rows, metric: str) -> float:
    """sqrt of half the lower median of the squared distances within the first sample."""
    distances = np.sort(_distances(rows.reference(), metric))
    return float(distances[(len(distances) - 1) // 2]) / math.sqrt(2) if distances.size else 0.0


def _evidently(rows: _Rows, metric: str) -> float:
    """sqrt of half the median squared distance within the first sample, zero diagonal included."""
    x = rows.reference()
    distances = _distances(x, metric)
    everything = np.concatenate([np.zeros(len(x)), np.repeat(distances, 2)])
    return math.sqrt(float(np.median(everything**2)) / 2)


def _opt_mmd(rows: _Rows, metric: str) -> float:
    """sqrt of half the median squared distance of the pooled rows."""
    distances = rows.pooled_distances(metric)
    return math.sqrt(float(np.median(distances**2)) / 2) if distances.size else 0.0


def _mmdagg(rows: _Rows, metric: str) -> tuple[float, ...]:
    """Ten lengths in geometric progression over the cross distances; Schrab et al., JMLR 24 (2023).

    The convention writes exp(-D^2 / l^2) and exp(-D1 / l).
    """
    distances = np.sort(rows.cross_distances(metric, "mmdagg"), axis=None)
    least = distances[0]
    if least < 0.1:
        least = max(distances[int(np.floor(distances.size * 0.05))], 0.1)
    lengths = np.geomspace(least / 2, 2 * max(distances[-1], 0.3), 10)
    return tuple((lengths if metric == "cityblock" else lengths / math.sqrt(2)).tolist())


def _mmdfuse(rows: _Rows, metric: str) -> tuple[float, ...]:
    """Ten lengths evenly between half the 5 % and twice the 95 % quantile; Biggs et al., NeurIPS 2023.

    Zero distances, the diagonal's included, count as the median. The convention writes exp(-D^2 / (2 l^2))
    and exp(-sqrt(2) D1 / l).
    """
    distances = np.concatenate([np.zeros(len(rows.pooled())), rows.pooled_distances(metric)])
    distances[distances == 0] = np.median(distances)
    distances.sort()
    low, high = (distances[int(np.floor(distances.size * share))] for share in (0.05, 0.95))
    lengths = np.linspace(low / 2, high * 2, 10)
    return tuple((lengths / math.sqrt(2) if metric == "cityblock" else lengths).tolist())


_EVALUATE: Mapping[str, Callable[[_Rows, str], float | tuple[float, ...]]] = {
    "median": _median,
    "hyppo": _median,
    "alibi": _alibi,
    "evidently": _evidently,
    "opt-mmd": _opt_mmd,
    "mmdagg": _mmdagg,
    "mmdfuse": _mmdfuse,
}
assert _EVALUATE.keys() == RULES.keys()


def _resolve_plain(kernel: Kernel, rows: _Rows) -> Kernel:
    if kernel.resolved:
        return kernel
    if isinstance(kernel, Polynomial):
        return dataclasses.replace(kernel, gamma=1 / rows.width)
    assert kernel.scale_field is not None
    rule = getattr(kernel, kernel.scale_field)
    scale = _EVALUATE[rule](rows, kernel.input)
    if min(each(scale)) <= 0:
        warnings.warn(
            f"the rule {rule!r} found no positive distance between rows; {kernel.scale_field} is 1.0",
            DegenerateBandwidthWarning,
            stacklevel=2,
        )
        scale = 1.0
    if not all(SMALLEST_SCALE <= number <= LARGEST_SCALE for number in each(scale)):
        between = f"between {SMALLEST_SCALE} and {LARGEST_SCALE}"
        raise ValueError(f"the distances of rows must lie {between} for the rule {rule!r}, got {scale}")
    return dataclasses.replace(kernel, **{kernel.scale_field: scale})


def _distances(x: Array, metric: str) -> Array:
    """Distances of all pairs of rows, (N (N - 1) / 2,), in no particular order."""
    # pdist does the same exact sums one pair at a time: 4x faster at d = 2, equal at d = 64, slower above.
    if metric == "cityblock" or x.shape[1] <= 64:
        from scipy.spatial.distance import pdist

        return np.asarray(pdist(x, "cityblock" if metric == "cityblock" else "euclidean"))
    return np.asarray(np.sqrt(_wide_squared_distances(x)))


def _wide_squared_distances(x: Array) -> Array:
    """Squared Euclidean distances of all pairs of rows, by matrix products; equal rows give exactly 0."""
    n = len(x)
    x = x - x.mean(axis=0)
    norms = np.einsum("ij,ij->i", x, x)
    squares = np.empty(n * (n - 1) // 2)
    end = 0
    for first in range(0, n - 1, _BLOCK):
        block = x[first : first + _BLOCK]
        sizes = norms[first : first + _BLOCK, None] + norms[first:]
        tile = sizes - 2 * (block @ x[first:].T)
        later = np.arange(len(x) - first) > np.arange(len(block))[:, None]
        i, j = np.nonzero((tile <= _CANCELLATION * sizes) & later)
        for some in range(0, len(i), n):
            pairs = slice(some, some + n)
            tile[i[pairs], j[pairs]] = ((block[i[pairs]] - x[first:][j[pairs]]) ** 2).sum(axis=1)
        chosen = tile[later]
        squares[end : end + chosen.size] = chosen
        end += chosen.size
    return squares


def _middle(values: Array) -> float:
    """The median; 0 for no values. Only what lies between two values of a sample around it is sorted."""
    if values.size == 0:
        return 0.0
    middle = np.array([(values.size - 1) // 2, values.size // 2])
    some = np.sort(values[:: max(1, values.size // _SAMPLED)])
    place, reach = len(some) // 2, 4 * math.isqrt(len(some))
    low, high = some[max(0, place - reach)], some[min(len(some) - 1, place + reach)]
    near = values[(values >= low) & (values <= high)]
    rank = middle - np.count_nonzero(values < low)
    if rank[0] < 0 or rank[1] >= near.size:
        near, rank = values, middle
    near = np.partition(near, rank)
    return float(near[rank[0]] + near[rank[1]]) / 2


def _float64(x: Any) -> Array:
    return to_numpy(x).astype(np.float64, copy=False)
