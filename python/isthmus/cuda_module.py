"""Launches kernels by the module `_cuda`, which nvcc compiled beforehand; the optional half of the build."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import ModuleType

from .homes import Home

__all__ = ["Built", "build_info", "launcher"]


@dataclass(frozen=True)
class Built:
    """A launcher of `gpu`."""

    module: ModuleType

    def launch(self, launches: Sequence[tuple[str, int, bytes]], where: Home) -> None:
        """Run them one after the other on the current stream of the array library of `where`."""
        self.module.launch(where.index, where.stream(), launches)


@lru_cache
def launcher(capability: int | None = None) -> tuple[Built | None, str]:
    """The module `_cuda` as a launcher for GPUs of this compute capability; or why there is none."""
    module, why_not = _load()
    if module is None:
        return None, why_not
    built = module.build_info()
    if module.device_count() == 0:
        return None, f"the module for CUDA {built['cuda']} finds no device (driver: {built['driver']})"
    if capability is not None and not _has_code(built["architectures"], capability):
        found = f"{capability // 10}.{capability % 10}"
        return None, f"the module for CUDA has code for {built['architectures']}, not for {found}"
    return Built(module), ""


def build_info() -> dict[str, str]:
    """How the module `_cuda` was built; empty where it was not."""
    module, _ = _load()
    return {} if module is None else dict(module.build_info())


@lru_cache
def _load() -> tuple[ModuleType | None, str]:
    try:
        return import_module("isthmus._cuda"), ""
    except ModuleNotFoundError:
        how = "an installation from the sources builds it where nvcc is found"
        return None, f"the module for CUDA was not built ({how})"
    except ImportError as error:
        return None, f"the module for CUDA could not be loaded ({error})"


def _has_code(architectures: str, capability: int) -> bool:
    """Whether "90a-real 80-virtual", as CMake names it, is code that this GPU runs.

    Machine code runs on later GPUs of the same generation, virtual code on every later GPU, and code of a
    letter on that GPU only. What is no number is trusted.
    """
    for text in architectures.split():
        named = re.fullmatch(r"(\d+)([a-z]?)(-real|-virtual)?", text)
        if named is None:
            return True
        number, near = int(named[1]), named[3] != "-real" or int(named[1]) // 10 == capability // 10
        if number == capability or (not named[2] and near and number < capability):
            return True
    return False
