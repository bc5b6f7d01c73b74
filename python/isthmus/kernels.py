"""Kernels as frozen dataclasses of numbers, each with its formula.

A kernel is a function of one of three inputs: the squared Euclidean distance ("distance"), the city-block
distance ("cityblock") or the dot product ("dot") of two rows. `csrc/ops.hpp` holds the same formulas for the
compiled backends, under the names that `terms` hands down.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .kernel_base import Kernel as Kernel
from .kernel_base import (
    Scale,
    ScaledKernel,
    Sum,
    checked_scale,
    each,
    inverse_square,
    is_integer,
    positive,
    positive_numbers,
    real,
    store,
)

__all__ = [
    "Energy",
    "Exponential",
    "IMQ",
    "Laplacian",
    "Linear",
    "Matern",
    "Polynomial",
    "RBF",
    "RationalQuadratic",
]

_LARGEST_DEGREE = 1000  # the compiled formula multiplies one factor at a time


@dataclass(frozen=True, repr=False)
class RBF(Kernel):
    """exp(-|x-y|^2 / (2 bandwidth^2)), the Gaussian kernel.

    Parameters
    ----------
    bandwidth : None, float, sequence of floats, "median" or another rule
        In the unit of the data. None means "median", the median distance of the pooled rows. A sequence means
        the mean of the kernels.
    gamma : None, float or sequence of floats
        1 / (2 bandwidth^2), in place of `bandwidth`; both at once are a ValueError.
    """

    input: ClassVar[str] = "distance"
    native_names: ClassVar[tuple[str, ...]] = ("rbf",)
    scale_field: ClassVar[str] = "bandwidth"

    bandwidth: Scale | Sequence[float] | None = None
    gamma: float | tuple[float, ...] | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.gamma is None:
            bandwidth = "median" if self.bandwidth is None else self.bandwidth
            store(self, bandwidth=checked_scale("bandwidth", bandwidth, type(self).__name__))
        elif self.bandwidth is None:
            store(self, gamma=positive_numbers("gamma", self.gamma))
        else:
            given = f"bandwidth={self.bandwidth!r}, gamma={self.gamma!r}"
            raise ValueError(f"RBF takes bandwidth or gamma, not both: got {given}")

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        (gamma,) = params
        return xp.exp(-gamma * u)

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        (gamma,) = params
        return -gamma * xp.exp(-gamma * u)

    def parameters(self) -> tuple[tuple[float, ...], ...]:
        if self.gamma is not None:
            return tuple((gamma,) for gamma in each(self.gamma))
        return tuple((inverse_square(bandwidth) / 2,) for bandwidth in each(self.bandwidth))


@dataclass(frozen=True, repr=False)
class Laplacian(ScaledKernel):
    """exp(-|x-y|_1 / scale), with the city-block distance."""

    input: ClassVar[str] = "cityblock"
    native_names: ClassVar[tuple[str, ...]] = ("laplacian",)

    scale: Scale | Sequence[float] = "median"

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        (scale,) = params
        return xp.exp(-u / scale)

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        (scale,) = params
        return -xp.exp(-u / scale) / scale


@dataclass(frozen=True, repr=False)
class Exponential(ScaledKernel):
    """exp(-|x-y|_2 / scale), with the Euclidean distance."""

    input: ClassVar[str] = "distance"
    native_names: ClassVar[tuple[str, ...]] = ("exponential",)

    scale: Scale | Sequence[float] = "median"

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        (scale,) = params
        return xp.exp(-xp.sqrt(u) / scale)

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        (scale,) = params
        return xp.exp(-xp.sqrt(u) / scale) * _half_inverse_root(u, xp) / -scale


@dataclass(frozen=True, repr=False)
class Matern(ScaledKernel):
    """The Matern kernel of smoothness nu = 0.5, 1.5 or 2.5, with r = sqrt(2 nu) |x-y|_2 / scale.

    exp(-r), (1 + r) exp(-r) and (1 + r + r^2 / 3) exp(-r). Source: Rasmussen and Williams (2006), eq. 4.17.
    """

    input: ClassVar[str] = "distance"
    native_names: ClassVar[tuple[str, ...]] = ("exponential", "matern32", "matern52")

    nu: float = 1.5
    scale: Scale | Sequence[float] = "median"

    def __post_init__(self) -> None:
        if real(self.nu) not in (0.5, 1.5, 2.5):
            raise ValueError(f"nu must be 0.5, 1.5 or 2.5, got {self.nu!r}")
        store(self, nu=float(self.nu))
        super().__post_init__()

    @property
    def native_name(self) -> str:
        return self.native_names[int(self.nu)]

    def formula(self, u: Any, xp: Any, *params: float) -> Any:  # type: ignore[override]
        (scale,) = params
        r = xp.sqrt(u) * (math.sqrt(2 * self.nu) / scale)
        polynomial = (1.0, 1 + r, 1 + r + r * r / 3)[int(self.nu)]
        return polynomial * xp.exp(-r)

    def derivative(self, u: Any, xp: Any, *params: float) -> Any:  # type: ignore[override]
        (scale,) = params
        r = xp.sqrt(u) * (math.sqrt(2 * self.nu) / scale)
        # d r / d u = nu / (scale^2 r); the r cancels but for nu = 1/2.
        factor = _half_inverse_root(u, xp) / scale if self.nu == 0.5 else self.nu * inverse_square(scale)
        return -factor * (1.0, 1.0, (1 + r) / 3)[int(self.nu)] * xp.exp(-r)


@dataclass(frozen=True, repr=False)
class RationalQuadratic(ScaledKernel):
    """(1 + |x-y|^2 / (2 alpha scale^2))^-alpha; its limit for large alpha is RBF(scale)."""

    input: ClassVar[str] = "distance"
    native_names: ClassVar[tuple[str, ...]] = ("rational_quadratic",)

    scale: Scale | Sequence[float] = "median"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        alpha = positive("alpha", self.alpha)
        store(self, alpha=alpha)

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        scale, alpha = params
        return xp.exp(-alpha * xp.log1p(u * (inverse_square(scale) / (2 * alpha))))

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        scale, alpha = params
        power = xp.exp(-(alpha + 1) * xp.log1p(u * (inverse_square(scale) / (2 * alpha))))
        return power * (inverse_square(scale) / -2)

    def parameters(self) -> tuple[tuple[float, ...], ...]:
        return tuple((scale, self.alpha) for scale in each(self.scale))


@dataclass(frozen=True, repr=False)
class IMQ(ScaledKernel):
    """(1 + |x-y|^2 / scale^2)^-1/2, the inverse multiquadric."""

    input: ClassVar[str] = "distance"
    native_names: ClassVar[tuple[str, ...]] = ("imq",)

    scale: Scale | Sequence[float] = "median"

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        (scale,) = params
        return 1 / xp.sqrt(1 + u * inverse_square(scale))

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        (scale,) = params
        v = 1 + u * inverse_square(scale)
        return inverse_square(scale) / -2 / (v * xp.sqrt(v))


@dataclass(frozen=True, repr=False)
class Energy(Kernel):
    """-|x-y|_2, whose MMD^2 is the energy distance 2 E|x-y| - E|x-x'| - E|y-y'|.

    Conditionally positive definite: fit for MMD, not for kernel regression.
    """

    input: ClassVar[str] = "distance"
    native_names: ClassVar[tuple[str, ...]] = ("energy",)

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        return -xp.sqrt(u)

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        return -_half_inverse_root(u, xp)

    def parameters(self) -> tuple[tuple[float, ...], ...]:
        return ((),)


@dataclass(frozen=True, repr=False)
class Linear(Kernel):
    """<x, y>. Its MMD^2 is the squared distance of the means."""

    input: ClassVar[str] = "dot"
    native_names: ClassVar[tuple[str, ...]] = ("linear",)

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        return u

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        return xp.ones_like(u)

    def parameters(self) -> tuple[tuple[float, ...], ...]:
        return ((),)


@dataclass(frozen=True, repr=False)
class Polynomial(Kernel):
    """(gamma <x, y> + coef0)^degree, with degree <= 1000; gamma None is 1 / (number of columns)."""

    input: ClassVar[str] = "dot"
    native_names: ClassVar[tuple[str, ...]] = ("polynomial",)

    degree: int = 3
    gamma: float | None = None
    coef0: float = 1.0

    def __post_init__(self) -> None:
        if not is_integer(self.degree) or not 1 <= self.degree <= _LARGEST_DEGREE:
            raise ValueError(f"degree must be an integer from 1 to {_LARGEST_DEGREE}, got {self.degree!r}")
        if self.gamma is not None:
            store(self, gamma=positive("gamma", self.gamma))
        if not 0 <= real(self.coef0) < math.inf:
            raise ValueError(f"coef0 must be a finite number of at least 0, got {self.coef0!r}")
        store(self, degree=int(self.degree), coef0=float(self.coef0))

    @property
    def unresolved(self) -> str | None:
        return "gamma=None (1 / number of columns)" if self.gamma is None else None

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        gamma, coef0, degree = params
        return (gamma * u + coef0) ** int(degree)

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        gamma, coef0, degree = params
        return (degree * gamma) * (gamma * u + coef0) ** (int(degree) - 1)

    def parameters(self) -> tuple[tuple[float, ...], ...]:
        if self.gamma is None:
            raise ValueError("gamma=None has no number before the columns are known")
        return ((self.gamma, self.coef0, float(self.degree)),)


def _half_inverse_root(u: Any, xp: Any) -> Any:
    """d sqrt(u) / d u = 1 / (2 sqrt(u)), and 0 at u = 0."""
    return (u > 0) / (2 * xp.sqrt(u + (u == 0)))


_CLASSES: Mapping[str, type[Kernel]] = {
    kind.__name__: kind
    for kind in (RBF, Laplacian, Exponential, Matern, RationalQuadratic, IMQ, Energy, Linear, Polynomial)
}

NATIVE_NAMES = frozenset(name for kind in _CLASSES.values() for name in kind.native_names)
"""The names under which `csrc/ops.hpp` must offer formulas."""


def to_json(kernel: Kernel) -> dict[str, Any]:
    """The kernel as JSON values; `from_json` reads it back."""
    if isinstance(kernel, Sum):
        return {"kernel": "Sum", "parts": [[weight, to_json(part)] for weight, part in kernel.parts]}
    fields = {field.name: getattr(kernel, field.name) for field in dataclasses.fields(kernel)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    return {"kernel": type(kernel).__name__, **plain}


def from_json(data: Mapping[str, Any]) -> Kernel:
    """The kernel that `to_json` described. Raises ValueError for anything else."""
    if not isinstance(data, Mapping):
        raise ValueError(f"a kernel must be an object with its name and parameters, got {data!r}")
    fields = dict(data)
    name = fields.pop("kernel", None)
    if name == "Sum":
        parts = fields.pop("parts", None)
        if fields or not isinstance(parts, list) or not parts:
            raise ValueError("a Sum must consist of a list of parts")
        kernels = [_weighted_from_json(part) for part in parts]
        return Sum(tuple(part for kernel in kernels for part in kernel.parts))
    if not isinstance(name, str) or name not in _CLASSES:
        raise ValueError(f"kernel must be one of {', '.join(_CLASSES)}, Sum; got {name!r}")
    expected = {field.name for field in dataclasses.fields(_CLASSES[name])}
    if fields.keys() != expected:
        raise ValueError(f"{name} has the parameters {sorted(expected)}, got {sorted(fields)}")
    return _CLASSES[name](**fields)


def _weighted_from_json(part: Any) -> Kernel:
    if not isinstance(part, list) or len(part) != 2 or not isinstance(part[1], Mapping):
        raise ValueError(f"a part of a Sum must be [weight, kernel], got {part!r}")
    if part[1].get("kernel") == "Sum":
        raise ValueError("a part of a Sum must be a plain kernel, got a Sum")
    return positive("the weight of a part", part[0]) * from_json(part[1])


def check_kernel(kernel: Any) -> Kernel:
    """The argument itself if it is a kernel object, else TypeError."""
    if isinstance(kernel, Kernel):
        return kernel
    if isinstance(kernel, type) and issubclass(kernel, Kernel):
        name = kernel.__name__
        raise TypeError(f"kernel must be a kernel object, got the class {name}: write {name}()")
    raise TypeError(f"kernel must be a kernel object such as isthmus.RBF(), got {type(kernel).__name__}")


DEFAULT_KERNEL = RBF()
"""The kernel of every operation that is given none."""
