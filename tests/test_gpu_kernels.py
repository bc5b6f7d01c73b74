"""The device code of csrc/cuda: every kernel on an emulated GPU, and by NVIDIA's compiler where there is one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "tests/native/emulated_gpu.cpp"
KERNELS = ROOT / "csrc/cuda/kernels.cuh"
ARCHITECTURES = ("75", "80", "86", "90a", "100", "120")

# One entry for each consumer, path and dtype.
ENTRIES = """
#include "{kernels}"
using namespace isthmus::cuda;
using Small = Plain<float, 64, 2>;
using Large = Plain<float, 128, 2>;
using Wide = Plain<double, 64, 1>;
#define ISTHMUS_ENTRY(name, Task, function, T, Shape, Values) \\
    extern "C" __global__ void __launch_bounds__(Shape::kThreads) name(Task<T> t) {{ function<T, Shape, Values>(t); }}
#define ISTHMUS_ENTRIES(kind, T, Shape, Values) \\
    ISTHMUS_ENTRY(sum_##kind, SumTask, sum_tiles, T, Shape, Values) \\
    ISTHMUS_ENTRY(store_##kind, StoreTask, store_tiles, T, Shape, Values) \\
    ISTHMUS_ENTRY(matmul_##kind, MatmulTask, multiply_tiles, T, Shape, Values)
using Rbf32 = One<float, Rbf<float>>;
using Rbf64 = One<double, Rbf<double>>;
using Any32 = Any<float, Pairing::Difference>;
ISTHMUS_ENTRIES(large, float, Large, Rbf32)
ISTHMUS_ENTRIES(small, float, Small, Rbf32)
ISTHMUS_ENTRIES(tensor, float, Tensor, Rbf32)
ISTHMUS_ENTRIES(float64, double, Wide, Rbf64)
ISTHMUS_ENTRIES(any, float, Small, Any32)
extern "C" __global__ void pack_float32(PackTask<float> t) {{ pack_panel<float>(t); }}
"""


def test_every_kernel_equals_its_formula_on_an_emulated_gpu(tmp_path):
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if compiler is None or os.name != "posix":
        pytest.skip("no C++ compiler here")
    program = tmp_path / "emulated_gpu"
    subprocess.run([compiler, "-std=c++17", "-O1", "-o", program, PROGRAM], check=True)
    found = subprocess.run([program], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert re.fullmatch(r"\d{4,} checks, 0 failed\n", found.stdout)


def test_nvidias_compiler_takes_the_kernels_without_spills(tmp_path):
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("no nvcc here")
    source = tmp_path / "entries.cu"
    source.write_text(ENTRIES.format(kernels=KERNELS))
    command = [
        compiler,
        "-std=c++17",
        "-cubin",
        "-arch=sm_90a",
        "-Xptxas",
        "-v",
        "-o",
        tmp_path / "entries.cubin",
        source,
    ]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    spilled = re.findall(r"(\d+) bytes spill stores", report)
    assert len(spilled) >= 16 and set(spilled) == {"0"}, report
