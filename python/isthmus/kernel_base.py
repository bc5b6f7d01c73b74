"""What every kernel offers: terms, sums and multiples, and the checks of its numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar, TypeAlias

Term: TypeAlias = tuple[str, float, tuple[float, ...]]
"""(name, weight, parameters): a kernel as the compiled backends take it."""

Scale: TypeAlias = float | str | tuple[float, ...]
"""A number, several whose kernels are averaged, or the name of a rule of `bandwidth.py`."""

SMALLEST_SCALE, LARGEST_SCALE = 1e-150, 1e150

# The rules that turn data into a scale, and the kernels each is defined for, None for all; `bandwidth.py`
# evaluates them. Those beside POOLED_RULES treat the two samples differently.
RULES: Mapping[str, tuple[str, ...] | None] = {
    "median": None,
    "alibi": ("RBF",),
    "evidently": ("RBF",),
    "hyppo": ("RBF",),
    "mmdagg": ("RBF", "Laplacian"),
    "mmdfuse": ("RBF", "Laplacian"),
    "opt-mmd": ("RBF",),
}
POOLED_RULES = frozenset({"median", "hyppo", "mmdfuse", "opt-mmd"})


@dataclass(frozen=True, repr=False)
class Kernel:
    """What every kernel offers; use one of the classes below, their sums `a + b` and multiples `0.5 * a`."""

    input: ClassVar[str]
    native_names: ClassVar[tuple[str, ...]] = ()
    scale_field: ClassVar[str | None] = None
    # numpy scalars then leave `0.5 * kernel` to __rmul__.
    __array_ufunc__: ClassVar[None] = None

    @staticmethod
    def formula(u: Any, xp: Any, *params: float) -> Any:
        """The kernel of one set of parameters at `u`, the input named by `input`."""
        raise NotImplementedError

    @staticmethod
    def derivative(u: Any, xp: Any, *params: float) -> Any:
        """d formula / d u; 0 at u = 0 where the kernel has a cusp: a subgradient."""
        raise NotImplementedError

    def parameters(self) -> tuple[tuple[float, ...], ...]:
        """One set of parameters for each kernel that is averaged."""
        raise NotImplementedError

    @property
    def native_name(self) -> str:
        """The name of the compiled formula."""
        return self.native_names[0]

    @property
    def resolved(self) -> bool:
        """Whether the kernel consists of numbers only, with no rule left to evaluate on data."""
        return self.unresolved is None

    @property
    def unresolved(self) -> str | None:
        """What is still to be evaluated on data, in words; None if nothing is."""
        if self.scale_field is None:
            return None
        rule = getattr(self, self.scale_field)
        return f"{self.scale_field}={rule!r}" if isinstance(rule, str) else None

    @property
    def parts(self) -> tuple[tuple[float, Kernel], ...]:
        """The kernel as a weighted sum of plain kernels."""
        return ((1.0, self),)

    def terms(self) -> tuple[Term, ...]:
        """The kernel as (name, weight, parameters) for the compiled backends.

        Raises ValueError if a rule such as "median" has not been evaluated yet.
        """
        sets = self._numbers()
        return tuple((self.native_name, 1.0 / len(sets), numbers) for numbers in sets)

    def value(self, u: Any, xp: Any) -> Any:
        """The kernel at `u`, an array of the library `xp` that holds the input named by `input`."""
        return self._mean(self.formula, u, xp)

    def slope(self, u: Any, xp: Any) -> Any:
        """d value / d u at `u`; 0 at u = 0 where the kernel has a cusp."""
        return self._mean(self.derivative, u, xp)

    def _mean(self, function: Callable[..., Any], u: Any, xp: Any) -> Any:
        sets = self._numbers()
        total = function(u, xp, *sets[0])
        for numbers in sets[1:]:
            total = total + function(u, xp, *numbers)
        return total if len(sets) == 1 else total / len(sets)

    def _numbers(self) -> tuple[tuple[float, ...], ...]:
        if self.unresolved is not None:
            raise ValueError(f"{self!r} is not resolved: {self.unresolved} must be evaluated on data first")
        return self.parameters()

    def __repr__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return f"{type(self).__name__}({', '.join(f'{name}={v!r}' for name, v in given if v is not None)})"

    def __add__(self, other: object) -> Sum:
        if not isinstance(other, Kernel):
            return NotImplemented
        return Sum(self.parts + other.parts)

    def __mul__(self, factor: object) -> Sum:
        if not isinstance(factor, Real):
            return NotImplemented
        number = positive("the factor of a kernel", factor, "a negative multiple is not positive definite")
        return Sum(tuple((number * weight, part) for weight, part in self.parts))

    __rmul__ = __mul__


@dataclass(frozen=True, repr=False)
class Sum(Kernel):
    """A weighted sum of kernels, made by `a + b` and `0.5 * a`."""

    weighted: tuple[tuple[float, Kernel], ...]

    @property
    def parts(self) -> tuple[tuple[float, Kernel], ...]:
        return self.weighted

    @property
    def input(self) -> str:  # type: ignore[override]
        """The input all parts share, or "mixed"."""
        inputs = {part.input for _, part in self.parts}
        return inputs.pop() if len(inputs) == 1 else "mixed"

    @property
    def unresolved(self) -> str | None:
        return next((part.unresolved for _, part in self.parts if part.unresolved is not None), None)

    def terms(self) -> tuple[Term, ...]:
        return tuple(
            (name, weight * share, numbers)
            for weight, part in self.parts
            for name, share, numbers in part.terms()
        )

    def value(self, u: Any, xp: Any) -> Any:
        return self._total([(weight, part.value) for weight, part in self.parts], u, xp)

    def slope(self, u: Any, xp: Any) -> Any:
        return self._total([(weight, part.slope) for weight, part in self.parts], u, xp)

    def _total(self, weighted: Sequence[tuple[float, Callable[..., Any]]], u: Any, xp: Any) -> Any:
        if self.input == "mixed":
            raise ValueError(f"the parts of {self!r} take different inputs: evaluate them one by one")
        (weight, first), *rest = weighted
        total = weight * first(u, xp)
        for weight, function in rest:
            total = total + weight * function(u, xp)
        return total

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {part!r}".removeprefix("1 * ") for weight, part in self.parts)


class ScaledKernel(Kernel):
    """A kernel whose field `scale` takes the same rules and sequences as RBF's bandwidth."""

    scale_field: ClassVar[str] = "scale"
    scale: Scale | Sequence[float]

    def __post_init__(self) -> None:
        store(self, scale=checked_scale("scale", self.scale, type(self).__name__))

    def parameters(self) -> tuple[tuple[float, ...], ...]:
        return tuple((scale,) for scale in each(self.scale))


def store(kernel: Kernel, **values: Any) -> None:
    """Store checked values in a frozen dataclass under construction."""
    for name, value in values.items():
        object.__setattr__(kernel, name, value)


def is_real(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)


def is_integer(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral)


def real(value: Any) -> float:
    """The value as a float; NaN for what is no real number or beyond the largest float."""
    try:
        return float(value) if is_real(value) else math.nan
    except OverflowError:
        return math.nan


def positive(name: str, value: Any, reason: str = "") -> float:
    number = real(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}{reason and f' ({reason})'}")
    return number


def positive_numbers(name: str, value: Any) -> float | tuple[float, ...]:
    """One positive number, or a tuple of several."""
    if is_real(value):
        return positive(name, value)
    if isinstance(value, str) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        raise ValueError(f"{name} must be a finite number above 0 or a sequence of them, got {value!r}")
    if len(value) == 0:
        raise ValueError(f"{name} must name at least one number, got an empty sequence")
    return tuple(positive(f"{name}[{i}]", number) for i, number in enumerate(value))


def checked_scale(name: str, value: Any, kind: str) -> Scale:
    if not isinstance(value, str):
        numbers = positive_numbers(name, value)
        for number in each(numbers):
            if not SMALLEST_SCALE <= number <= LARGEST_SCALE:
                raise ValueError(
                    f"{name} must lie between {SMALLEST_SCALE} and {LARGEST_SCALE}, where its square is a "
                    f"number, got {number}"
                )
        return numbers
    rules = [rule for rule, kinds in RULES.items() if kinds is None or kind in kinds]
    if value not in rules:
        raise ValueError(f"{name} must be a number or one of the rules {', '.join(rules)}, got {value!r}")
    return value


def each(numbers: Any) -> tuple[float, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


def inverse_square(scale: float) -> float:
    return 1 / (scale * scale)
