"""Where arrays live: an array library and a device, and what can be asked of them."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

__all__ = ["HOST", "Home", "gpu_report", "torch_dtype"]


@dataclass(frozen=True)
class Home:
    """Where arrays live: the user's library and device. Arrays on "cpu" are handled as numpy arrays."""

    library: str
    device: str

    @property
    def on_host(self) -> bool:
        return self.device == "cpu"

    @property
    def xp(self) -> Any:
        """The namespace that computes on these arrays: numpy on the host, else the library itself."""
        return np if self.on_host else sys.modules[self.library]

    def __str__(self) -> str:
        return f"{self.library} on {self.device}"

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """A new array whose values are arbitrary."""
        with self.guard():
            return self.xp.empty(shape, **self._options(dtype))

    def full(self, shape: tuple[int, ...], value: float, dtype: np.dtype[Any]) -> Any:
        """A new array of one value; on a GPU without a copy from the host."""
        with self.guard():
            return self.xp.full(shape, value, **self._options(dtype))

    def arange(self, count: int) -> Any:
        """The integers below `count`; on a GPU without a copy from the host."""
        with self.guard():
            return self.xp.arange(count, **self._options(np.dtype(np.int64)))

    def asarray(self, values: Any, dtype: np.dtype[Any]) -> Any:
        """Host values as an array of this home."""
        if self.library == "torch" and isinstance(values, np.ndarray):
            values = np.require(values, requirements=["C", "W"])  # torch takes no others
        with self.guard():
            return self.xp.asarray(values, **self._options(dtype))

    def wait_for_copies(self) -> None:
        """Until what `asarray` copied to a GPU can be read on every stream: CuPy does not wait by itself."""
        if self.library == "cupy":
            with self.guard():
                self.xp.cuda.get_current_stream().synchronize()

    def give(self, values: Any) -> Any:
        """A host result as the user gets it: a torch tensor, without a copy, where the input was one."""
        if self.library == "torch" and self.on_host:
            return sys.modules["torch"].from_numpy(np.ascontiguousarray(values)).reshape(np.shape(values))
        return values[()] if self.library == "numpy" else values

    def free_bytes(self) -> int | None:
        """Free memory of the device, the library's own pool included; None on the host: ask the system."""
        if self.on_host:
            return None
        cuda = self.xp.cuda
        if self.library == "torch":
            pooled = cuda.memory_reserved(self.device) - cuda.memory_allocated(self.device)
            return int(cuda.mem_get_info(self.device)[0] + pooled)
        with self.guard():
            return int(cuda.Device(self.index).mem_info[0] + self.xp.get_default_memory_pool().free_bytes())

    def guard(self) -> AbstractContextManager[Any]:
        """Where CuPy allocates and computes inside a `with` block; torch follows its tensors."""
        return self.xp.cuda.Device(self.index) if self.library == "cupy" else nullcontext()

    @property
    def is_current(self) -> bool:
        """Whether what has no `guard` around it computes there too."""
        return self.library != "cupy" or int(self.xp.cuda.Device().id) == self.index

    def workspace(self, size: int) -> Any:
        """So many bytes on a GPU, on a border of 256; freed in the order of the current stream."""
        return self.empty((size,), np.dtype(np.uint8))

    def chip(self) -> tuple[int, int]:
        """Compute capability of a GPU, 90 for 9.0, and its number of multiprocessors."""
        return _chip(self.library, self.index)

    @property
    def index(self) -> int:
        """The number of the GPU."""
        return int(self.device.partition(":")[2] or 0)

    def stream(self) -> int:
        """The address of the library's current stream on a GPU."""
        if self.library == "torch":
            return int(self.xp.cuda.current_stream(self.device).cuda_stream)
        with self.guard():
            return int(self.xp.cuda.get_current_stream().ptr)

    def _options(self, dtype: np.dtype[Any]) -> dict[str, Any]:
        if self.library == "torch" and not self.on_host:
            return {"dtype": torch_dtype(dtype), "device": self.device}
        return {"dtype": dtype}


HOST = Home("numpy", "cpu")


def gpu_report() -> str:
    """The CUDA devices that CuPy or torch sees, or why there are none."""
    reasons = []
    for name in ("cupy", "torch"):
        if find_spec(name) is None:
            continue
        try:
            if name == "cupy":
                runtime = import_module("cupy").cuda.runtime
                names = [
                    runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())
                ]
            else:
                cuda = import_module("torch").cuda
                names = [cuda.get_device_name(i) for i in range(cuda.device_count())]
        except (ImportError, RuntimeError) as error:
            reasons.append(f"{name} says {str(error).strip().partition(chr(10))[0]}")
            continue
        if names:
            return f"{', '.join(names)} (seen by {name})"
        reasons.append(f"{name} sees no CUDA device")
    return f"none: {'; '.join(reasons) or 'neither CuPy nor torch is installed'}"


@lru_cache
def _chip(library: str, index: int) -> tuple[int, int]:
    if library == "torch":
        found = sys.modules["torch"].cuda.get_device_properties(index)
        return 10 * found.major + found.minor, found.multi_processor_count
    attributes = sys.modules["cupy"].cuda.Device(index).attributes
    capability = 10 * attributes["ComputeCapabilityMajor"] + attributes["ComputeCapabilityMinor"]
    return capability, attributes["MultiProcessorCount"]


@lru_cache
def torch_dtype(dtype: np.dtype[Any]) -> Any:
    """torch's type of the same name."""
    return getattr(sys.modules["torch"], dtype.name)
