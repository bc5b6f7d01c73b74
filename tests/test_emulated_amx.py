"""The level amx on machines without it: its matrix unit in plain arithmetic, against double loops."""

import shutil
import subprocess

import pytest
from isthmus import backends
from test_floors import ROOT, instruction_sets


def test_the_level_amx_keeps_its_promises_on_an_emulated_unit(tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    if "avx512" not in backends.simd_levels():
        pytest.skip("this machine has no AVX-512, which the rest of the level needs")
    flags = [flag for flag in dict(instruction_sets())["amx"] if not flag.startswith("-mamx")]
    cpu = ROOT / "csrc" / "cpu"
    engine, program = tmp_path / "engine.o", tmp_path / "program"
    common = [compiler, "-std=c++17", "-O1"]
    emulated = ["-DISTHMUS_ARCH=amx", "-DISTHMUS_EMULATED_AMX"]
    hosts = [str(cpu / f"{name}.cpp") for name in ("block_sums", "kernel_rows", "pool", "prepare")]
    test = str(ROOT / "tests" / "native" / "emulated_amx.cpp")
    for command in (
        [*common, *flags, *emulated, "-c", str(cpu / "engine.cpp"), "-o", str(engine)],
        [*common, test, *hosts, str(engine), "-pthread", "-o", str(program)],
        [str(program)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout


def test_the_emulated_unit_is_in_no_ordinary_build():
    native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")
    if "amx" not in native.levels() or "emulated" in native.build_info()["levels"]:
        pytest.skip("no level amx, or a build made for its tests")
    with open("/proc/cpuinfo", encoding="ascii") as file:
        assert "amx_bf16" in file.read()
