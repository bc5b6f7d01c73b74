"""The level amx on machines without it: its matrix unit in plain arithmetic, against double loops."""

import subprocess

import pytest
from instruction_sets import ROOT, STANDARD, core_sources, engine_object, tool
from isthmus import backends


def test_the_level_amx_keeps_its_promises_on_an_emulated_unit(tmp_path):
    if "avx512" not in backends.simd_levels():
        pytest.skip("this machine has no AVX-512, which the rest of the level needs")
    unit = engine_object("amx", tmp_path, "-O1", "-DISTHMUS_EMULATED_AMX")
    code = subprocess.run(
        [tool("objdump", "amx"), "-d", unit], capture_output=True, text=True, check=True
    ).stdout
    assert "tmm" not in code
    # The test names its level itself; plans for a GPU need the choice of levels.
    sources = [path for path in core_sources() if path.name != "dispatch.cpp" and path.parent.name != "cuda"]
    program = tmp_path / "program"
    command = [
        tool("g++", "amx"),
        *STANDARD,
        "-O1",
        "-pthread",
        *sources,
        ROOT / "tests/native/emulated_amx.cpp",
    ]
    subprocess.run([*command, unit, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_emulated_unit_is_in_no_ordinary_build():
    native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")
    if "amx" not in native.levels() or "emulated" in native.build_info()["levels"]:
        pytest.skip("no level amx, or a build made for its tests")
    with open("/proc/cpuinfo", encoding="ascii") as file:
        assert "amx_bf16" in file.read()
