"""Frequencies of random Fourier features, drawn from the spectral measure of a kernel of x - y.

By Bochner's theorem k(x, y) = k(0) E cos(w'(x - y)) for a random w. Source: Rahimi and Recht, NIPS 2007.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arrays import Array
from .kernel_base import Kernel
from .kernels import IMQ, RBF, Exponential, Laplacian, Matern, RationalQuadratic

__all__ = ["SAMPLINGS", "Frequencies", "draw", "dtype_for", "total_weight"]

SAMPLINGS = ("independent", "orthogonal", "structured")
_LEAST_WIDTH = 64  # zero columns fill narrower rows up: products of fewer signs would be far from normal
_LARGEST = {"float32": 1e28, "float64": 1e290}  # sums of products keep a distance to the end of the format
_RADIAL = (RBF, Exponential, Matern, RationalQuadratic, IMQ)
_NAMES = ", ".join(kind.__name__ for kind in (*_RADIAL, Laplacian))


@dataclass(frozen=True, eq=False)
class Frequencies:
    """The phases of rows x are (x - centre) @ matrix.

    `matrix` (d, q), `centre` (d,) float64. A structured matrix is also given by its parts: column j is the
    first d entries of row j of H S_2 H S_1 H S_0, times scales[j]. H is the Walsh-Hadamard matrix of `width`
    rows, S_i the diagonals of `signs` (3, padded), of their own for each `width` columns; `scales` (padded,).
    """

    matrix: Any
    centre: Any
    signs: Any = None
    scales: Any = None
    _casts: dict[str, Frequencies] = field(default_factory=dict, init=False, repr=False)

    @property
    def width(self) -> int:
        """Rows of H, 0 for a matrix without structure."""
        return 0 if self.signs is None else _width(len(self.matrix))

    def cast(self, dtype: np.dtype[Any]) -> Frequencies:
        """The same numbers as a backend takes them beside rows of this dtype; the same object each time."""
        if dtype.name not in self._casts:
            parts = (self.matrix, self.signs, self.scales)
            matrix, signs, scales = (
                None if part is None else np.ascontiguousarray(part, dtype=dtype) for part in parts
            )
            centre = np.ascontiguousarray(self.centre, dtype=np.float64)
            self._casts[dtype.name] = Frequencies(matrix, centre, signs, scales)
        return self._casts[dtype.name]


def total_weight(kernel: Kernel) -> float:
    """k(x, x), for the kernels that `draw` takes."""
    return float(sum(weight for weight, _ in kernel.parts))


def draw(kernel: Kernel, centre: Array, q: int, sampling: str, rng: np.random.Generator) -> Frequencies:
    """q random frequencies of a resolved kernel, for rows around `centre` (d,).

    A sum of kernels shares them out by its weights, so that all features have one amplitude.

    Raises ValueError for a kernel that is no function of x - y of a known spectral measure, and for a
    city-block kernel unless `sampling` is "independent".

    Cost: O(q d) time and memory for "independent", O(q d^2) for "orthogonal", O(q d log d) for "structured".
    """
    shares, kinds = [], []
    for weight, part in kernel.parts:
        if not isinstance(part, (*_RADIAL, Laplacian)):
            raise ValueError(f"random Fourier features need a sum of {_NAMES}, got {part!r}")
        if isinstance(part, Laplacian) and sampling != "independent":
            raise ValueError(
                f"sampling={sampling!r} needs a kernel of the Euclidean distance, got {part!r}: "
                "take sampling='independent'"
            )
        numbers = part.parameters()
        shares += [weight / len(numbers)] * len(numbers)
        kinds += [(part, number) for number in numbers]
    # Systematic sampling: each frequency is of each kind with the right probability, and their numbers are as
    # even as can be.
    bounds = np.cumsum(shares) / sum(shares)
    kind_of = np.minimum(np.searchsorted(bounds, (np.arange(q) + rng.random()) / q, "right"), len(kinds) - 1)
    counts = np.bincount(kind_of, minlength=len(kinds)).tolist()
    d = len(centre)
    if sampling == "independent":
        columns = [_independent(*kind, d, count, rng) for kind, count in zip(kinds, counts, strict=True)]
        return Frequencies(np.concatenate(columns, axis=1), centre)
    lengths = np.concatenate([_spread(*kind, count, rng) for kind, count in zip(kinds, counts, strict=True)])
    if sampling == "orthogonal":
        return Frequencies(_orthogonal(d, q, rng) * lengths, centre)
    return _structured(centre, lengths, rng)


def _independent(part: Kernel, numbers: tuple[float, ...], d: int, q: int, rng: np.random.Generator) -> Array:
    if isinstance(part, Laplacian):
        return rng.standard_cauchy((d, q)) / numbers[0]
    return rng.standard_normal((d, q)) * _spread(part, numbers, q, rng)


def _spread(part: Kernel, numbers: tuple[float, ...], q: int, rng: np.random.Generator) -> Array:
    """Random s (q,) such that s times a standard normal vector has the kernel's spectral measure.

    Matern: Student's t of 2 nu degrees of freedom (Rasmussen and Williams, 2006, eq. 4.15). Rational
    quadratic: its own definition as a mixture of RBF kernels, 1 / bandwidth^2 of a gamma distribution.
    """
    if isinstance(part, RBF):
        return np.full(q, math.sqrt(2 * numbers[0]))
    scale = numbers[0]
    if isinstance(part, Exponential | Matern):
        freedom = 1.0 if isinstance(part, Exponential) else 2 * part.nu
        return np.sqrt(freedom / rng.chisquare(freedom, q)) / scale
    alpha = part.alpha if isinstance(part, RationalQuadratic) else 0.5
    return np.sqrt(rng.gamma(alpha, 1 / alpha, q)) / scale


def _orthogonal(d: int, q: int, rng: np.random.Generator) -> Array:
    """Columns (d, q), orthogonal in blocks of d, of the lengths of normal vectors (Yu et al., 2016)."""
    blocks = []
    for start in range(0, q, d):
        basis, upper = np.linalg.qr(rng.standard_normal((d, d)))
        # Of the uniform distribution only with these signs.
        blocks.append((basis * np.sign(np.diag(upper)))[:, : q - start])
    return np.concatenate(blocks, axis=1) * np.sqrt(rng.chisquare(d, q))


def _structured(centre: Array, lengths: Array, rng: np.random.Generator) -> Frequencies:
    d, q = len(centre), len(lengths)
    width = _width(d)
    padded = -(-q // width) * width
    signs = rng.integers(0, 2, (3, padded), dtype=np.int8) * np.int8(2) - np.int8(1)
    scales = np.zeros(padded)
    scales[:q] = lengths * np.sqrt(rng.chisquare(width, q)) / width**1.5
    blocks = []
    for start in range(0, padded, width):
        first, second, third = (sign[start : start + width, None].astype(np.float64) for sign in signs)
        product = _walsh_hadamard(np.eye(width, d) * first)
        product = _walsh_hadamard(_walsh_hadamard(product * second) * third)
        blocks.append((scales[start : start + width, None] * product).T)
    return Frequencies(np.concatenate(blocks, axis=1)[:, :q].copy(), centre, signs, scales)


def _walsh_hadamard(columns: Array) -> Array:
    """H @ columns, for a number of rows that is a power of two."""
    shape, half = columns.shape, 1
    while half < shape[0]:
        pairs = columns.reshape(-1, 2, half, shape[1])
        columns = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(shape)
        half *= 2
    return columns


def _width(d: int) -> int:
    return max(_LEAST_WIDTH, 1 << (d - 1).bit_length())


def dtype_for(frequencies: Frequencies, dtype: np.dtype[Any], reach: float) -> np.dtype[Any]:
    """`dtype` of rows with values up to `reach`, or float64 where their phases might leave float32.

    Raises ValueError where they might leave float64.
    """
    matrix, d, width = frequencies.matrix, len(frequencies.matrix), frequencies.width
    steepest = float(np.abs(matrix).max())
    span = reach + float(np.abs(frequencies.centre).max())
    # Three transforms make a value grow up to width^2 times before the scales come.
    size = max(steepest, span * steepest * d, span * float(width) ** 2)
    if max(size, span) <= _LARGEST["float32"] and steepest >= 1 / _LARGEST["float32"]:
        return dtype
    if size <= _LARGEST["float64"]:
        return np.dtype(np.float64)
    raise ValueError(f"X must be small enough to multiply by the frequencies, got values up to {reach:g}")
