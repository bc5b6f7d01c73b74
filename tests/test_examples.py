"""The examples run as their first lines say, and print what they promise."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name, *arguments, folder):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    # The matrices are small: several BLAS threads would mostly wait for each other on a busy machine.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)


def accuracies(text):
    return {
        name: float(value) for name, value in re.findall(r"^(.+): accuracy (\d\.\d+)", text, re.MULTILINE)
    }


def test_the_csv_example_trains_saves_loads_and_fine_tunes(tmp_path):
    done = run("csv_transfer.py", folder=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "source: 1597 rows, target: 40 rows to fine-tune, 160 to test" in done.stdout
    assert "loaded again: same probabilities" in done.stdout
    found = accuracies(done.stdout)
    assert len(found) == 5
    assert found["fine-tuned, full"] > max(found["source only"], found["target only"])
    assert list(tmp_path.iterdir()) == []


def test_the_csv_example_takes_files(tmp_path):
    rng = np.random.default_rng(0)
    for name, n, shift in (("source.csv", 300, 0.0), ("target.csv", 100, 0.7)):
        y = rng.integers(0, 2, n)
        X = rng.normal(size=(n, 3)) + 2.5 * y[:, None] + shift
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["a", "target", "b", "c"])
            writer.writerows([x[0], "yes" if label else "no", *x[1:]] for x, label in zip(X, y, strict=True))
    done = run("csv_transfer.py", "source.csv", "target.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "source: 300 rows, target: 20 rows to fine-tune, 80 to test" in done.stdout
    assert accuracies(done.stdout)["fine-tuned, full"] > 0.9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.csv", "target.csv"]


def test_the_csv_example_refuses_a_single_file(tmp_path):
    done = run("csv_transfer.py", "source.csv", folder=tmp_path)
    assert done.returncode == 2
    assert "give a source and a target file, or none, got 1" in done.stderr


def test_the_iris_example_shows_all_three_forms(tmp_path):
    done = run("iris_three_ways.py", folder=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    found = accuracies(done.stdout)
    assert list(found) == ["source only", "full", "partial", "features"]
    assert min(found["full"], found["partial"], found["features"]) > found["source only"]
    assert "layers kept: [True, True, False]" in done.stdout
    assert "all 3 layers moved" in done.stdout


def test_the_digits_example_aligns_without_labels(tmp_path):
    done = run("align_digits.py", folder=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    found = accuracies(done.stdout)
    assert len(found) == 7
    assert min(found["CORAL"], found["each domain z-scored"]) > 0.9 > found["source only"] + 0.2
    assert "exceeds source only" in done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_says_how_to_run_it(path):
    assert f"python examples/{path.name}" in path.read_text(encoding="utf-8").partition('"""\n\nimport')[0]
