"""The units of the engine, one per instruction set, compiled as CMakeLists.txt says."""

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CMAKE = re.sub(r"#.*", "", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8"))
STANDARD = ("-std=c++17", "-fPIC", "-fvisibility=hidden")
# The tools of another machine's units, where this is not such a machine.
CROSS = "" if platform.machine() in ("aarch64", "arm64") else "aarch64-linux-gnu-"
PREFIXES = {"neon": CROSS}


def instruction_sets() -> Iterator[tuple[str, list[str]]]:
    """(name, flags) of each `add_isa` line."""
    common = re.search(r"target_compile_options\(engine_\$\{name\} PRIVATE([^)]*)\)", CMAKE)[1].split()
    for call in re.findall(r"^\s*add_isa\(([^)]*)\)", CMAKE, re.MULTILINE):
        name, *flags = call.split()
        yield name, [*(flag for flag in common if flag != "${ARGN}"), *flags]


def core_sources() -> list[Path]:
    """The sources that are compiled once, for all instruction sets."""
    listed = re.search(r"add_library\(isthmus_core OBJECT([^)]*)\)", CMAKE)[1].split()
    return [ROOT / name for name in listed]


def tool(name: str, isa: str) -> str:
    """Path of a compiler tool for this instruction set; skips where it is not installed."""
    found = shutil.which(PREFIXES.get(isa, "") + name)
    if found is None:
        pytest.skip(f"{PREFIXES.get(isa, '')}{name} is not installed")
    return found


def engine_object(isa: str, folder: Path, *more_flags: str, source: str = "csrc/cpu/engine.cpp") -> Path:
    """The compiled unit of one instruction set, or part of it; skips where the compiler does not know it."""
    target = folder / f"engine_{isa}.o"
    command = [tool("g++", isa), *STANDARD, *dict(instruction_sets())[isa], *more_flags]
    command += [f"-DISTHMUS_ARCH={isa}", "-c", str(ROOT / source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "unrecognized command-line option" in done.stderr:
        pytest.skip(f"this compiler does not know {isa}")
    assert done.returncode == 0, done.stderr
    return target
