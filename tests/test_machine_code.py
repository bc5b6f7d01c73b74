"""The machine code of the engine: no weak symbols, no spills in the hot loop; its test without Python."""

import re
import subprocess

import pytest
from instruction_sets import ROOT, STANDARD, core_sources, engine_object, instruction_sets, tool

# Fused multiply-adds of one step of a tile, kRows * kPacks of csrc/cpu/tile.hpp.
TILES = {"avx2": 4 * 3, "avx512": 8 * 2, "amx": 8 * 2, "neon": 4 * 4}
PRODUCT_KERNELS = (
    8  # whose tile is formed from products: all but laplacian, exponential and energy, and sums of RBF
)


def test_every_instruction_set_is_tested_here():
    assert {name for name, _ in instruction_sets()} == {"base", *TILES}


@pytest.mark.parametrize("isa", ["base", *TILES])
def test_objects_of_an_instruction_set_have_no_weak_symbol(isa, tmp_path):
    """A weak symbol compiled for a new processor may be the one the linker keeps for all.

    Without optimisation nothing is inlined, so every such function shows.
    """
    unit = engine_object(isa, tmp_path, "-O0")
    symbols = subprocess.run([tool("nm", isa), "-C", unit], capture_output=True, text=True, check=True).stdout
    assert f"isthmus::engines_{isa}" in symbols
    weak = [line for line in symbols.splitlines() if re.search(r" [VWvwu] ", line)]
    assert weak == []


# -- the loop over dimensions --


def functions(disassembly):
    """(name, [(address, operation, operands)]) of each function."""
    for block in disassembly.split("\n\n"):
        head = re.match(r"[0-9a-f]+ <(.*)>:$", block.lstrip("\n"), re.MULTILINE)
        if head:
            lines = re.findall(r"^ *([0-9a-f]+):\t(\S+)[ \t]*(.*)$", block, re.MULTILINE)
            yield head[1], [(int(address, 16), operation, operands) for address, operation, operands in lines]


def jump_target(operation, operands):
    """Where a jump or a branch goes, else None."""
    target = re.search(r"\b([0-9a-f]+) <", operands)
    jumps = re.match(r"j|b(\.|$)|cbn?z|tbn?z", operation)
    return int(target[1], 16) if jumps and target else None


def straight_loops(body):
    """The loops that are one run of instructions, ended by the jump back to the first."""
    start = 0
    for i, (_, operation, operands) in enumerate(body):
        target = jump_target(operation, operands)
        if target is not None or operation in ("ret", "call", "bl"):
            for first in range(start, i + 1):
                if body[first][0] == target:
                    yield body[first : i + 1]
            start = i + 1


def is_product(operation, operands):
    """A packed float32 multiply-add."""
    return re.match(r"vfmadd\d+ps", operation) or (operation == "fmla" and ".4s" in operands)


def touches_stack(operands, framed):
    registers = r"%rsp|\[sp" + (r"|-0x[0-9a-f]+\(%rbp|\[x29" if framed else "")
    return re.search(registers, operands)


@pytest.mark.parametrize("isa", TILES)
def test_the_loop_over_dimensions_keeps_its_tile_in_registers(isa, tmp_path):
    """One spilled accumulator costs tens of percent, all of them a factor of five."""
    unit = engine_object(isa, tmp_path, source="tests/native/sum_unit.cpp")
    command = [tool("objdump", isa), "-d", "-C", "--no-show-raw-insn", unit]
    disassembly = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = 0
    for name, body in functions(disassembly):
        if "sum<float>" not in name:
            continue
        framed = any((o, p) in (("mov", "%rsp,%rbp"), ("mov", "x29, sp")) for _, o, p in body)
        for loop in straight_loops(body):
            products = sum(bool(is_product(o, p)) for _, o, p in loop)
            differences = any(re.match("vsubps|fsub", o) for _, o, _ in loop)
            if products == TILES[isa] and not differences:
                found += 1
                assert [f"{o} {p}" for _, o, p in loop if touches_stack(p, framed)] == [], name
    assert found >= PRODUCT_KERNELS


# -- the engine's own test --


def test_the_test_without_python_passes(tmp_path):
    """At the portable level only: `.ci/aarch64` and the presets run it at all levels of a machine."""
    compiler = tool("g++", "base")
    program = tmp_path / "selftest"
    sources = [str(path) for path in [*core_sources(), ROOT / "tests/native/selftest.cpp"]]
    unit = engine_object("base", tmp_path, "-O1")
    subprocess.run([compiler, *STANDARD, "-O1", "-pthread", *sources, unit, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d{4,} passed, 0 failed$", done.stdout.splitlines()[-1])
