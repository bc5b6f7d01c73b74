"""How the module `_cuda` is built and how it launches, on machines without a GPU too."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def tool(*names):
    """The first of these programs that there is; skips where there is none."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"{names[0]} is not installed")
    return found


# -- the search for a compiler, as a CMake script --


SEARCH = """
include({root}/csrc/cuda/module.cmake)
add_cuda_module(found)
message("WHY: ${{found}}")
"""


def why_not(folder, nvcc):
    """What csrc/cuda/module.cmake finds wrong with a compiler; so it comes to no target."""
    script = folder / "search.cmake"
    script.write_text(SEARCH.format(root=ROOT), encoding="utf-8")
    variables = {"CMAKE_CXX_COMPILER": "c++", "ISTHMUS_NVCC": nvcc}
    command = [tool("cmake"), *(f"-D{name}={value}" for name, value in variables.items()), "-P", script]
    # In a script CMAKE_BINARY_DIR is the folder it runs in, whatever is said.
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(folder)}, cwd=folder)
    assert done.returncode == 0, done.stderr
    return re.search(r"WHY: (.*)", done.stderr)[1]


def test_without_nvcc_the_build_says_how_to_name_one(tmp_path):
    assert why_not(tmp_path, "") == "no CUDA compiler (nvcc) was found; CUDACXX can name one"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            "echo 'x.h:1:2: error: unsupported GNU version!' >&2; exit 1",
            "x.h:1:2: error: unsupported GNU version!",
        ),
        ("echo 'nvcc fatal   : Unsupported gpu'; exit 1", "nvcc fatal   : Unsupported gpu"),
        ("echo one; echo two; exit 3", "3 one"),
    ],
)
def test_an_nvcc_that_cannot_compile_is_passed_over_and_the_reason_told(tmp_path, script, expected):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    nvcc.chmod(0o755)
    assert why_not(tmp_path, nvcc) == f"{nvcc} with c++: {expected}"


# -- launches --


def test_launches_on_a_played_cuda_runtime(tmp_path):
    """Order, device, shared memory, refusals and the text of every error; see tests/native/launching.cpp."""
    program = tmp_path / "launching"
    command = [tool("c++", "g++", "clang++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command += ["-I", ROOT / "tests/native/fake_cuda", ROOT / "tests/native/launching.cpp", "-o", program]
    subprocess.run(command, check=True)
    found = subprocess.run([program], capture_output=True, text=True)
    assert found.returncode == 0 and re.fullmatch(r"\d\d checks, 0 failed\n", found.stdout), found.stdout


# -- the module itself --


@pytest.fixture
def cuda():
    return pytest.importorskip("isthmus._cuda", reason="the module for CUDA devices is not built")


def test_the_module_has_the_kernels_that_are_planned_with(cuda):
    """A task of a wrong size is refused before any driver is asked, with the size that the kernel has."""
    native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")
    for name, (_, _, _, task_bytes) in native.gpu_entries().items():
        expected = f"a task of {name} must have {task_bytes} bytes, got 1"
        with pytest.raises(ValueError, match=expected):
            cuda.launch(0, 0, [(name, 1, b"x")])
    with pytest.raises(ValueError, match="no kernel of this build is named 'nothing'"):
        cuda.launch(0, 0, [("nothing", 1, b"")])


def test_the_module_says_what_is_missing_where_there_is_no_gpu(cuda):
    built = cuda.build_info()
    assert set(built) == {"architectures", "cuda", "driver"} and built["architectures"]
    if cuda.device_count():
        pytest.skip("there is a GPU here")
    with pytest.raises(RuntimeError, match=r"cudaGetDeviceCount: .*(driver|GPU).*nvidia-smi"):
        cuda.launch(0, 0, [])
