"""What all tests share: the tolerance table, the grids, the float64 oracle, the SIMD levels."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import isthmus as im
import numpy as np
import pytest
from isthmus import arrays, backends, cuda_module, cupy_module, homes, reference
from isthmus.align.mathematics import pencil

# Around every vector width: 4, 8, 16 and 32 lanes.
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65)
DTYPES = ("float32", "float64")
LEVELS = ("base", "avx2", "avx512", "amx", "neon")
THREADS = (1, 2, 3, 7)

# One of each formula, a mean of several, a sum over all three inputs.
KERNELS = {
    "rbf": im.RBF(bandwidth=2.5),
    "rbf-several": im.RBF(bandwidth=[1.0, 2.5, 6.0]),
    # Ratio 2: kernels share exponentials. Not sorted, one missing, one twice.
    "rbf-chain": im.RBF(bandwidth=[1.5, 0.75, 12.0, 3.0, 24.0, 3.0]),
    "laplacian": im.Laplacian(scale=7.0),
    "exponential": im.Exponential(scale=3.0),
    "matern12": im.Matern(nu=0.5, scale=3.0),
    "matern32": im.Matern(nu=1.5, scale=3.0),
    "matern52": im.Matern(nu=2.5, scale=3.0),
    "rational-quadratic": im.RationalQuadratic(scale=2.0, alpha=1.7),
    "imq": im.IMQ(scale=3.0),
    "energy": im.Energy(),
    "linear": im.Linear(),
    "polynomial": im.Polynomial(degree=3, gamma=0.1, coef0=1.0),
    "sum": 0.5 * im.RBF(gamma=0.1) + im.Laplacian(scale=5.0) + 0.1 * im.Linear(),
}
DISTANCE_KERNELS = {
    name: kernel for name, kernel in KERNELS.items() if all(p.input != "dot" for _, p in kernel.parts)
}


@dataclass(frozen=True)
class Tolerance:
    """Largest error against float64 on the same numbers, for kernels of values up to 1."""

    kernel: float
    mmd: float
    gradient: float  # of a row, times its share of the sample and the largest derivative of the kernel


TOLERANCES = {
    "float32": Tolerance(kernel=5e-6, mmd=1e-7, gradient=5e-6),
    "float64": Tolerance(kernel=1e-13, mmd=1e-14, gradient=1e-13),
    # float32 with config(precision="fast"); gradients have no faster path
    "fast": Tolerance(kernel=1e-4, mmd=1e-6, gradient=5e-6),
}


def largest(kernel_values: Any) -> float:
    """The factor of the tolerances: max(1, largest |K|)."""
    return max(1.0, float(np.abs(kernel_values).max()))


def oracle_matrix(x: Any, y: Any, kernel: Any) -> np.ndarray:
    """The kernel matrix in float64, from direct differences."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    out = np.empty((len(x), len(y)))
    reference.kernel_matrix(x, y, kernel, out, np)
    return out


def oracle_mmd2(x: Any, y: Any, kernel: Any, estimator: str, wx: Any = None, wy: Any = None) -> float:
    """MMD^2 in float64 from its definition, with the kernel matrices in full."""
    wx = np.ones(len(x)) if wx is None else np.asarray(wx, dtype=np.float64)
    wy = np.ones(len(y)) if wy is None else np.asarray(wy, dtype=np.float64)
    wx, wy = wx / wx.sum(), wy / wy.sum()
    xx, yy, xy = oracle_matrix(x, x, kernel), oracle_matrix(y, y, kernel), oracle_matrix(x, y, kernel)
    if estimator == "biased":
        return float(wx @ xx @ wx + wy @ yy @ wy - 2 * wx @ xy @ wy)
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    within = wx @ xx @ wx / (1 - wx @ wx) + wy @ yy @ wy / (1 - wy @ wy)
    return float(within - 2 * wx @ xy @ wy)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every test."""
    return np.random.default_rng(20240229)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each SIMD level in turn, forced; skips where this build or machine lacks it."""
    if request.param not in backends.simd_levels():
        pytest.skip(f"no SIMD level {request.param} here: {', '.join(backends.simd_levels()) or 'none'}")
    with backends.simd(request.param), im.config(backend="native"):
        yield request.param


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment without the variables that Isthmus reads."""
    for name in [*os.environ]:
        if name.startswith("ISTHMUS_") or name == "OMP_NUM_THREADS":
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def torch_as_device(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The torch module, whose CPU tensors are handled as if they lived on a GPU.

    So the paths for arrays on a device run here, in torch's own operations, without a device.
    """
    torch = pytest.importorskip("torch")

    class Device(str):
        def startswith(self, prefix: Any, *rest: Any) -> bool:
            return prefix == "cuda" or super().startswith(prefix, *rest)

    def home(x: Any, plain: Any = arrays.home) -> homes.Home | None:
        where: homes.Home | None = plain(x)
        return homes.Home("torch", Device("cpu")) if where is not None and where.library == "torch" else where

    def real(x: Any, name: str) -> Any:
        return x.detach() if x.is_floating_point() else x.detach().to(torch.float64)

    def asarray(self: Any, values: Any, dtype: Any, plain: Any = homes.Home.asarray) -> Any:
        made = plain(self, values, dtype)
        return made if self.on_host or isinstance(values, torch.Tensor) else made.clone()

    monkeypatch.setattr(arrays, "home", home)
    # What goes to a GPU or comes from it is a copy.
    monkeypatch.setattr(homes.Home, "asarray", asarray)
    monkeypatch.setattr(torch.Tensor, "cpu", torch.Tensor.clone)
    monkeypatch.setattr(arrays, "_real_torch", real)
    monkeypatch.setattr(homes.Home, "on_host", property(lambda self: self.library != "torch"))
    monkeypatch.setattr(homes.Home, "free_bytes", lambda self: 1 << 34)
    monkeypatch.setattr(homes.Home, "chip", lambda self: (90, 3))
    for module, name in ((cuda_module, "launcher"), (cupy_module, "compiler")):
        monkeypatch.setattr(module, name, lambda *_: (None, "tensors of the CPU play the GPU"))
    return torch


@dataclass
class EmulatedGpu:
    """A launcher that runs the kernels of csrc/cuda on the host, one thread after the other."""

    torch: Any
    library: Any
    capability: int = 90
    processors: int = 3
    reverse: bool = False
    launched: list[str] = field(default_factory=list)

    def launch(self, launches: Sequence[tuple[str, int, bytes]], where: homes.Home) -> None:
        for name, blocks, task in launches:
            assert self.library.isthmus_emulate(name.encode(), blocks, task, int(self.reverse)) == 0, name
            self.launched.append(name)

    def poisoned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """Memory on a border of 256 bytes, of NaN: what is not written shows."""
        size = int(np.prod(shape)) * dtype.itemsize
        memory = self.torch.full((size + 256,), 255, dtype=self.torch.uint8)
        start = -memory.data_ptr() % 256
        return memory[start : start + size].view(getattr(self.torch, dtype.name)).reshape(shape)


@pytest.fixture(scope="session")
def emulated_library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kernels of csrc/cuda as a library of the host."""
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if compiler is None or os.name != "posix":
        pytest.skip("no C++ compiler here")
    source = Path(__file__).parent / "native/emulated_launch.cpp"
    target = tmp_path_factory.mktemp("emulated") / "launch.so"
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-o", str(target), str(source)]
    subprocess.run(command, check=True)
    library = ctypes.CDLL(str(target))
    library.isthmus_emulate.argtypes = [ctypes.c_char_p, ctypes.c_ulonglong, ctypes.c_char_p, ctypes.c_int]
    return library


@pytest.fixture
def emulated_gpu(torch_as_device: Any, emulated_library: Any, monkeypatch: pytest.MonkeyPatch) -> EmulatedGpu:
    """Operations on torch tensors run as on a GPU: planned, and launched on the emulated one."""
    pytest.importorskip("isthmus._native", reason="the compiled module is not built")
    there = EmulatedGpu(torch_as_device, emulated_library)
    monkeypatch.setattr(cuda_module, "launcher", lambda capability: (there, ""))
    monkeypatch.setattr(homes.Home, "chip", lambda self: (there.capability, there.processors))
    monkeypatch.setattr(
        homes.Home, "workspace", lambda self, size: there.poisoned((size,), np.dtype(np.uint8))
    )

    def empty(self: Any, shape: Any, dtype: Any, plain: Any = homes.Home.empty) -> Any:
        return plain(self, shape, dtype) if self.on_host else there.poisoned(shape, dtype)

    monkeypatch.setattr(homes.Home, "empty", empty)
    return there


@pytest.fixture
def device(torch_as_device: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Moves numpy arrays to what refuses numpy arrays in every operation, as CuPy and CUDA tensors do."""
    torch = torch_as_device

    def refuse(self: Any, dtype: Any = None) -> None:
        raise TypeError("can't convert a tensor on a device to numpy")

    def picked(self: Any, key: Any, plain: Any = torch.Tensor.__getitem__) -> Any:
        if any(isinstance(part, np.ndarray) for part in (key if isinstance(key, tuple) else (key,))):
            raise TypeError("a tensor on a device must not be indexed with a numpy array")
        return plain(self, key)

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)
    monkeypatch.setattr(torch.Tensor, "__getitem__", picked)
    monkeypatch.setattr(pencil, "DEVICE_BLOCK_BYTES", 1)  # blocks of 64 rows
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several cost seconds where other processes want the cores
    yield lambda rows: torch.from_numpy(rows.copy())
    torch.set_num_threads(threads)


@pytest.fixture
def leaving(device: Any, torch_as_device: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what was copied from the device to the host."""
    shapes = []

    def recorded(tensor: Any, plain: Any = torch_as_device.Tensor.numpy) -> Any:
        shapes.append(tuple(tensor.shape))
        return plain(tensor)

    monkeypatch.setattr(torch_as_device.Tensor, "numpy", recorded)
    return shapes


@pytest.fixture(params=["torch", "cupy"])
def gpu(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Moves numpy arrays to a GPU; in the end each library gives back the memory it keeps from the other."""
    module = pytest.importorskip(request.param)
    if homes.gpu_report().startswith("none"):
        pytest.skip(f"no GPU: {homes.gpu_report()}")
    if request.param == "cupy":
        yield module.asarray
        module.get_default_memory_pool().free_all_blocks()
    else:
        yield lambda rows: module.from_numpy(rows).cuda()
        module.cuda.empty_cache()


def pytest_report_header() -> str:
    levels = backends.simd_levels()
    missing = [name for name in LEVELS if name not in levels]
    ran = ", ".join(levels) or "none"
    return f"isthmus SIMD levels run: {ran}; skipped: {', '.join(missing) or 'none'}"
