"""The benchmarks measure what they say: contenders compute their case, turns alternate, bands are honest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `benchmarks` is a folder of the repository, not of the package on the path

from benchmarks import measure, oracle, readme_table, table  # noqa: E402
from benchmarks.cases import CASES, Case, inputs  # noqa: E402
from benchmarks.peers import CONTENDERS, OURS, Unavailable, prepare  # noqa: E402

SMALL = sorted({case.shrunk(100) for case in CASES if case.level is None}, key=lambda case: case.id)


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.id)
def test_every_contender_computes_its_case(case):
    data = inputs(case)
    answer = oracle.expected(case, data)
    promise = oracle.PROMISE[case.operation][case.dtype]
    for name in (OURS, *case.peers):
        try:
            call = prepare(case, name, data)
        except Unavailable as reason:
            assert "not installed" in str(reason)
            continue
        allowed = promise if name == OURS else promise * oracle.PEER_SLACK
        assert oracle.error(case, data, call(), answer) <= allowed, name


def test_a_wrong_result_is_seen():
    case = Case("mmd2", 40, 40, 5)
    data = inputs(case)
    answer = oracle.expected(case, data)
    assert oracle.error(case, data, answer + 1e-3, answer) > oracle.PROMISE["mmd2"]["float32"]


def test_every_peer_of_a_case_is_known_and_every_id_is_used_once():
    for case in CASES:
        assert {(case.operation, name) for name in case.peers} <= set(CONTENDERS)
    for tier in ("quick", "full"):
        ids = [case.id for case in CASES if case.tier == tier]
        assert len(ids) == len(set(ids)) > 0


def test_rounds_alternate_their_order_and_keep_the_best_call(monkeypatch):
    monkeypatch.setattr(measure, "SETTLE_SECONDS", 0.0)
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = measure.interleave(calls, rounds=4, repeats=2)
    assert "".join(order) == "AABB" + "BBAA" + "AABB" + "BBAA"
    assert {name: len(values) for name, values in seconds.items()} == {"A": 4, "B": 4}


@pytest.mark.parametrize("first_pass", [1e-9, 1e-3, 0.1, 1.0, 30.0])
def test_rounds_are_even_and_at_least_two(first_pass):
    rounds, repeats = measure.plan(first_pass, budget_seconds=4.0, rounds=8)
    assert rounds >= 2 and rounds % 2 == 0 and 1 <= repeats <= 5
    assert rounds == 2 or rounds * repeats * first_pass <= 4.0


def test_a_ratio_is_bold_only_when_its_band_excludes_one():
    assert str(measure.ratio([2.0, 4.0], [1.0, 1.0])) == "**3.00** [2.00, 4.00]"
    assert str(measure.ratio([0.9, 4.0], [1.0, 1.0])) == "2.45 [0.90, 4.00]"
    assert str(measure.ratio([0.25, 0.75], [1.0, 1.0])) == "**0.50** [0.25, 0.75]"


def test_the_command_writes_a_report_that_fills_the_readme(tmp_path):
    paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    command = [sys.executable, "-m", "benchmarks.compare", "--quick", "--shrink", "100", "--no-memory"]
    done = subprocess.run(
        [*command, "--only", "project", "--json", str(tmp_path / "report.json")],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    (case,) = report["cases"]
    assert report["schema"] == 1 and case["status"] == "ok" and len(case["seconds"][OURS]) == case["rounds"]
    assert {
        "cpu",
        "cpu_flags",
        "threads",
        "commit",
        "date",
        "load_at_start",
        "load_at_end",
        "packages",
        "isthmus",
    } <= set(report["environment"])
    filled = readme_table.insert(
        "a\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nb", table.markdown(report)
    )
    assert case["id"] in filled and "old" not in filled
    assert readme_table.insert(filled, table.markdown(report)) == filled
    with pytest.raises(ValueError, match="must contain <!-- speed:begin -->"):
        readme_table.insert("no marks", "")
