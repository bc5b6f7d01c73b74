"""Compiles kernels of csrc/cuda with CuPy (NVRTC), each when it is first used, and launches them.

For installs whose compiled module for CUDA was not built: no nvcc is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .homes import Home

__all__ = ["OPTIONS", "Compiler", "compiler", "sources"]

Entry = tuple[str, int, int, int]  # C++ type, threads of a block, bytes of shared memory, bytes of a task

# CuPy adds the architecture and --device-as-default-execution-space itself; a second one is an error.
OPTIONS = ("--std=c++17",)

_LOG_LINES = 5
_PLAIN_SHARED = 48 << 10  # bytes of shared memory that a block gets without asking


class Compiler:
    """A launcher of `gpu`: `cupy` is the module, `entries` its kernels by name, `folder` holds the sources.

    CuPy keeps compiled kernels on disk; the first use of one in a process only loads it.
    """

    def __init__(self, cupy: Any, entries: Mapping[str, Entry], folder: Path) -> None:
        self._cupy = cupy
        self._entries = entries
        self._folder = folder
        self._digest = _digest(folder)
        self._kernels: dict[tuple[int, str], Any] = {}  # by device and name

    def launch(self, launches: Sequence[tuple[str, int, bytes]], where: Home) -> None:
        """Run them one after the other on the current stream of the array library of `where`.

        Raises RuntimeError with the first lines of the compiler's log. The first use of a kernel waits for
        its compilation, so no CUDA graph can capture it.
        """
        cuda, index = self._cupy.cuda, where.index
        with cuda.Device(index), cuda.ExternalStream(where.stream(), index):
            for name, blocks, task in launches:
                _, threads, shared_bytes, _ = self._entries[name]
                # CuPy hands on the bytes of a numpy array of one element: a struct by value.
                argument = np.frombuffer(task, dtype=np.dtype((np.void, len(task))))
                self._kernel(index, name)((blocks,), (threads,), (argument,), shared_mem=shared_bytes)

    def source(self, name: str) -> str:
        """What is compiled. CuPy's cache on disk sees this text only: it names the state of the headers."""
        body = self._entries[name][0]
        return (
            f"// {self._digest}\n"
            '#include "cuda/entries.cuh"\n'
            f"namespace isthmus::cuda {{\nISTHMUS_CUDA_KERNEL({name}, {body})\n}}\n"
        )

    def _kernel(self, index: int, name: str) -> Any:
        """The kernel on the current device, whose number is `index`."""
        if (index, name) not in self._kernels:
            options = (*OPTIONS, f"-I{self._folder}")
            try:
                module = self._cupy.RawModule(code=self.source(name), options=options)
                kernel = module.get_function(f"isthmus_{name}")
                _, _, shared_bytes, _ = self._entries[name]
                if shared_bytes > _PLAIN_SHARED:
                    kernel.max_dynamic_shared_size_bytes = shared_bytes
            except self._cupy.cuda.compiler.CompileException as error:
                log = "\n".join(str(error).splitlines()[:_LOG_LINES])
                raise RuntimeError(f"NVRTC could not compile the kernel {name}:\n{log}") from error
            self._kernels[index, name] = kernel
        return self._kernels[index, name]


@lru_cache
def compiler(native: ModuleType) -> tuple[Compiler | None, str]:
    """What compiles the kernels that `native` plans with; or why nothing does."""
    folder = sources(native)
    if not (folder / "cuda" / "entries.cuh").is_file():
        return None, f"the sources of the kernels are not in {folder} (an installation puts them there)"
    if find_spec("cupy") is None:
        return None, "CuPy is not installed (pip install 'isthmus[cuda13]' or 'isthmus[cuda12]')"
    try:
        cupy = import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except (ImportError, RuntimeError) as error:
        return None, f"CuPy sees no GPU ({str(error).strip().splitlines()[0]})"
    return Compiler(cupy, native.gpu_entries(), folder), ""


def sources(native: ModuleType) -> Path:
    """The folder of the kernels' sources: beside the compiled module, which need not be beside this file."""
    return Path(str(native.__file__)).parent / "csrc"


def _digest(folder: Path) -> str:
    """What changes with any header that a kernel may include."""
    found = hashlib.sha256()
    for path in sorted([*folder.rglob("*.hpp"), *folder.rglob("*.cuh")]):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
