"""The README keeps its word: its commands, its example, and everything it names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import isthmus
import pytest
from isthmus import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(language, text=README):
    """Contents of the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_first_two_shell_blocks_are_one_line_each_that_sets_up_and_runs():
    demo, tests = blocks("sh")[:2]
    assert demo.count("\n") == tests.count("\n") == 1
    for line in (demo, tests):
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install '.[")
    assert ".[plot]" in demo and demo.rstrip().endswith(".venv/bin/isthmus demo --out isthmus-demo --force")
    assert ".[test]" in tests and tests.rstrip().endswith(".venv/bin/python -m pytest")


def test_what_the_two_commands_write_is_ignored_by_git():
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"/isthmus-demo/", ".venv/", "__pycache__/", ".pytest_cache/"} <= set(ignored)


def test_the_python_example_has_fifteen_lines_at_most_and_runs(tmp_path):
    (example,) = blocks("python")
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = {
        name: float(value) for name, value in re.findall(r"^(.+): accuracy (\S+)", done.stdout, re.MULTILINE)
    }
    assert found["fine-tuned"] > max(found["source only"], found["target only"]) + 0.05
    assert (tmp_path / "digits.safetensors").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_linked_path_exists(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in link or (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_public_name_in_the_readme_exists_and_every_function_stands_in_the_map():
    for name in re.findall(r"\bim\.(\w+)", README):
        assert name in isthmus.__all__
    table = README.split("## Map")[1].split("[docs/index.md]")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert named <= set(isthmus.__all__)
    results = {"__version__", "AlignmentSelection", "PackedDomains", "TwoSampleResult"}
    errors = {name for name in isthmus.__all__ if name.endswith(("Warning", "Error"))}
    assert set(isthmus.__all__) - results - errors <= named


def test_every_subcommand_in_the_readme_exists():
    commands = set(re.findall(r"`(?:\.venv/bin/)?isthmus (\w+)", README))
    assert commands >= {"demo", "transfer", "info", "bench"}
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0


def test_the_speed_table_has_its_marks():
    assert README.count("<!-- speed:begin -->") == README.count("<!-- speed:end -->") == 1
