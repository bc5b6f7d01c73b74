"""Targets of speed as data, and whether a measured case meets them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

# At most so many seconds, or times the floor's (or the one bandwidth's) time; the others: times faster.
AT_MOST = ("floor", "one bandwidth", "seconds")
LEVELS = ("avx512", "amx")


@dataclass(frozen=True)
class Target:
    """`factor` against something of the same run, at one SIMD level.

    `against` is "floor" (matrix product at the operand shapes of the case) or "one bandwidth": at most
    `factor` times its time; "fused" (the fused floor): at least that part of its speed; "seconds": at most
    `factor` of them; "usual", "expert", "peer" (the best of that role, or of both) or a contender's name: at
    least `factor` times faster.
    """

    against: str
    factor: float
    level: str

    def __str__(self) -> str:
        if self.against == "fused":
            return f"≥ {100 * self.factor:.0f} % of the fused floor"
        if self.against == "seconds":
            return f"≤ {self.factor:g} s"
        sign = "≤" if self.against in AT_MOST else "≥"
        name = {"usual": "usual", "expert": "expert", "peer": "best peer"}.get(self.against, self.against)
        return f"{sign} {self.factor:g} × {name}"


def goals(factors: dict[str, tuple[float | None, float | None]]) -> tuple[Target, ...]:
    """Targets from {against: (factor at avx512, factor at amx)}; None at amx keeps that of avx512."""
    found = []
    for against, (avx512, amx) in factors.items():
        for level, factor in zip(LEVELS, (avx512, avx512 if amx is None else amx), strict=True):
            found += [] if factor is None else [Target(against, factor, level)]
    return tuple(found)


@dataclass(frozen=True)
class Verdict:
    """What was found against a target; `met` is None where it could not be measured."""

    target: Target
    value: float | None
    met: bool | None
    note: str

    def __str__(self) -> str:
        return f"{self.target}: {self.note}"


def judge(target: Target, case: dict[str, Any], roles: dict[str, str]) -> Verdict:
    """Compare the medians of a measured case (`compare.measure_case`) with one target.

    `roles` gives "usual" or "expert" for each contender's name.
    """
    value, low, high, name = _found(target, case, roles)
    if value is None or low is None or high is None:
        return Verdict(target, None, None, "not measured")
    at_most = target.against in AT_MOST
    met = value <= target.factor if at_most else value >= target.factor
    shown = f"{100 * value:.0f} %" if target.against == "fused" else f"{value:.2f}"
    shown += f" ({name})" if name else ""
    if not met:
        short = value / target.factor - 1 if at_most else 1 - value / target.factor
        shown += f", **missed by {100 * short:.0f} %**"
    else:
        shown += ", met"
    return Verdict(target, value, met, shown + (", within the band" if low < target.factor < high else ""))


def _found(
    target: Target, case: dict[str, Any], roles: dict[str, str]
) -> tuple[float | None, float | None, float | None, str]:
    """Median, lowest and highest round of what the target speaks of, and the peer's name."""
    floors, ratios = case.get("floors", {}), case.get("ratios", {})
    if target.against in ("floor", "fused"):
        found = floors.get("shape" if target.against == "floor" else "fused")
        if found is None:
            return None, None, None, ""
        if target.against == "floor":
            return found["median"], found["low"], found["high"], ""
        return 1 / found["median"], 1 / found["high"], 1 / found["low"], ""
    if target.against == "seconds":
        own = case["seconds"]["isthmus"]
        return median(own), min(own), max(own), ""
    if target.against == "one bandwidth":
        found = ratios.get(target.against)
        return (
            (1 / found["median"], 1 / found["high"], 1 / found["low"], "")
            if found
            else (None, None, None, "")
        )
    names = [
        name
        for name in ratios
        if name == target.against
        or roles.get(name) == target.against
        or (target.against == "peer" and name in roles)
    ]
    if not names:
        return None, None, None, ""
    best = min(names, key=lambda name: ratios[name]["median"])
    found = ratios[best]
    return found["median"], found["low"], found["high"], best if len(names) > 1 else ""
