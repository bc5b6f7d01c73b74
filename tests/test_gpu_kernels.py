"""The device code of csrc/cuda as compilers take it: nvcc for every generation, NVRTC as CuPy asks it."""

import ctypes
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

import pytest
from isthmus.machine import cpu_count

native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "csrc"
ENTRIES = native.gpu_entries()
ARCHITECTURES = ("75", "80", "86", "90a", "100", "120")
# The kernels where time is spent, which must keep their tiles in registers.
HOT = re.compile(
    r"pack_float32|(sum|store)_float32_(rbf|gaussians)|sum_(tensor|fast)_(rbf|gaussians|gram)|sum_float64_rbf"
    r"|store_(tensor|fast)_rbf|matmul_(tensor|fast|float32)_rbf|norms_fast|small_128_(rbf|gaussians)"
    r"|permuted_(bf16|halves)_rbf|project_tensor|(slopes|pull)_tensor_(rbf|gaussians|gram)"
    r"|split_slopes_float32_(rbf|gaussians)"
)
LARGEST_TASK = 4096  # bytes of a kernel's argument
LARGEST_SHARED = 227 << 10  # bytes a block can have on Hopper
PLAIN_SHARED = 64 << 10  # bytes a block can have on Turing, which runs all that needs no tensor cores


def source(names):
    """A program of these kernels, each from the text that a compiler at run time is given."""
    kernels = "\n".join(f"ISTHMUS_CUDA_KERNEL({name}, {ENTRIES[name][0]})" for name in names)
    return f'#include "cuda/entries.cuh"\nnamespace isthmus::cuda {{\n{kernels}\n}}\n'


def test_every_kernel_can_be_launched_on_some_gpu():
    for name, (_, threads, shared_bytes, task_bytes) in ENTRIES.items():
        assert threads % 32 == 0 and 0 < threads <= 1024, name
        assert shared_bytes <= LARGEST_SHARED and 0 < task_bytes <= LARGEST_TASK, name
        if not re.search("tensor|_fast_|small_|permuted_(bf16|halves)", name):
            # The plan gives small ones room; the others need tensor cores.
            assert shared_bytes <= PLAIN_SHARED, name


def test_the_installed_module_carries_the_sources_of_this_checkout():
    folder = Path(native.__file__).parent
    if "site-packages" not in folder.parts:
        pytest.skip(f"{folder} is no installation")
    for path in [SOURCES / "arch.hpp", SOURCES / "ops.hpp", *sorted(SOURCES.glob("cuda/*.cuh"))]:
        assert (folder / path.relative_to(ROOT)).read_bytes() == path.read_bytes(), path


# -- nvcc --


def nvcc(folder, names, architecture, *options):
    """What nvcc reports of machine code for these kernels; skips where it does not know the architecture."""
    compiler = shutil.which("nvcc")
    if compiler is None:
        pytest.skip("nvcc is not installed")
    known = subprocess.run([compiler, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    if f"sm_{architecture.rstrip('a')}\n" not in known:
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    program, target = folder / "kernels.cu", folder / "kernels.cubin"
    program.write_text(source(names), encoding="utf-8")
    virtual_and_real = f"arch=compute_{architecture},code=sm_{architecture}"
    command = [compiler, "-std=c++17", f"-I{SOURCES}", "-cubin", "-gencode", virtual_and_real, *options]
    done = subprocess.run([*command, "-o", target, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    return done.stderr


def test_nvcc_takes_every_kernel_for_every_generation(tmp_path):
    """Hardly optimised, which is twenty times quicker; the build optimises."""

    def compiled(architecture):
        folder = tmp_path / architecture
        folder.mkdir()
        report = nvcc(folder, ENTRIES, architecture, "--Ofast-compile=max", "-Xptxas", "-v")
        return set(re.findall(r"Compiling entry function 'isthmus_(\w+)'", report))

    with ThreadPoolExecutor(cpu_count()) as pool:
        assert list(pool.map(compiled, ARCHITECTURES)) == [set(ENTRIES)] * len(ARCHITECTURES)


def test_hot_kernels_keep_their_tiles_in_registers(tmp_path):
    names = [name for name in ENTRIES if HOT.fullmatch(name)]
    assert len(names) == 29
    report = nvcc(tmp_path, names, "90a", "-Xptxas", "-v")
    found = re.findall(r"properties for isthmus_(\w+)\n\s*(\d+) bytes stack frame, (\d+) bytes spill", report)
    assert sorted(name for name, _, _ in found) == sorted(names)
    assert {name: spilled for name, _, spilled in found if spilled != "0"} == {}


# -- NVRTC --


def nvrtc():
    """NVIDIA's compiler at run time, from the package index or the system; skips where there is none."""
    if sys.platform != "linux":
        pytest.skip("the library is looked for on Linux only")
    places = find_spec("nvidia").submodule_search_locations if find_spec("nvidia") else []
    found = [path for place in places for path in sorted(Path(place).glob("**/libnvrtc.so.*"))]
    name = str(found[-1]) if found else find_library("nvrtc")
    if name is None:
        pytest.skip("NVRTC is not installed (pip install nvidia-cuda-nvrtc)")
    # It looks for this one by name only, which is found once it is loaded.
    for builtins in Path(name).parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins))
    return ctypes.CDLL(name)


def compile_at_run_time(text, *options):
    """PTX of a program, as CuPy has it made."""
    library, program = nvrtc(), ctypes.c_void_p()
    # Without the second option constexpr functions and generic lambdas would have to be marked.
    listed = [b"--std=c++17", b"--device-as-default-execution-space", f"-I{SOURCES}".encode()]
    listed += [b"--gpu-architecture=compute_90", *options]
    assert library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None) == 0
    status = library.nvrtcCompileProgram(program, len(listed), (ctypes.c_char_p * len(listed))(*listed))
    texts = []
    for kind in ("ProgramLog", "PTX"):
        size = ctypes.c_size_t()
        getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(max(1, size.value))
        if kind == "ProgramLog" or status == 0:
            getattr(library, f"nvrtcGet{kind}")(program, buffer)
        texts.append(buffer.value.decode())
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, texts[0]
    return texts[1]


def test_nvrtc_takes_every_kernel():
    made = compile_at_run_time(source(ENTRIES), b"--Ofast-compile=max")
    assert set(re.findall(r"\.entry isthmus_(\w+)\(", made)) == set(ENTRIES)


@pytest.mark.parametrize("name", ["sum_tensor_rbf", "pack_float64"])
def test_nvrtc_takes_a_kernel_alone(name):
    assert f".entry isthmus_{name}(" in compile_at_run_time(source([name]))
