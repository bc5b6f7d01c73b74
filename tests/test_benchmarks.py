"""The benchmarks measure what they say: contenders compute their case, turns alternate, bands are honest."""

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from isthmus import backends

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `benchmarks` is a folder of the repository, not of the package on the path

from benchmarks import (  # noqa: E402
    against,
    choosing,
    compare_files,
    floors,
    measure,
    oracle,
    plots,
    readme_table,
    table,
    team,
)
from benchmarks.cases import CASES, Case, inputs  # noqa: E402
from benchmarks.contest import SHAPE, SQUARE, measure_case, question  # noqa: E402
from benchmarks.peers import CONTENDERS, NOT_THE_CASE, OURS, ROLES, Unavailable, prepare  # noqa: E402
from benchmarks.targets import Target, goals, judge  # noqa: E402

# KeOps compiles for seconds and hyppo loads numba: the benchmarks check them when they run.
SLOW_TO_START = ("KeOps", "hyppo")
SMALL = {
    case.id: case
    for case in sorted((c.shrunk(1000) for c in CASES if c.level is None), key=lambda c: len(c.peers))
}.values()
PATHS = os.pathsep.join([str(ROOT), *filter(None, sys.path)])


@pytest.fixture(autouse=True)
def little_tuning(monkeypatch):
    monkeypatch.setattr(team, "TUNING_SECONDS", dict.fromkeys(team.TUNING_SECONDS, 0.0))
    monkeypatch.setattr(measure, "SETTLE_SECONDS", 0.0)


def small(case):
    """Fewer features and permutations too."""
    return replace(case, q=min(case.q, 64)) if case.operation.endswith(("features", "mean", "test")) else case


@pytest.mark.parametrize("case", [small(case) for case in SMALL], ids=lambda case: case.id)
@pytest.mark.parametrize("threads", [1, 2])
def test_every_contender_computes_its_case(case, threads):
    data, answer = question(case)
    promise = oracle.PROMISE[case.operation][case.dtype]
    with measure.settings(case, threads):
        for name in (OURS, *case.peers):
            if name in (*SLOW_TO_START, *NOT_THE_CASE):
                continue
            try:
                call = prepare(case, name, data, threads)
            except Unavailable as reason:
                assert "not installed" in str(reason) or "this version of Isthmus has no" in str(reason)
                continue
            allowed = promise if name == OURS else promise * oracle.PEER_SLACK[case.operation]
            for _ in range(2):  # memory made beforehand must not carry over
                assert oracle.error(case, data, call(), answer) <= allowed, name


@pytest.mark.parametrize("n", [2, 3, 65, 300])
@pytest.mark.parametrize("name", ["numpy expert", "torch expert"])
def test_experts_are_right_at_ragged_sizes_for_each_way_and_tile(n, name, monkeypatch):
    if name == "torch expert":
        pytest.importorskip("torch")
    built = []

    def every(tier, build, choices):
        choices = list(choices)
        built.append([build(*choice) for choice in choices])
        return choices[0]

    from benchmarks import experts, experts_matrix

    monkeypatch.setattr(experts, "tuned", every)
    monkeypatch.setattr(experts_matrix, "tuned", every)
    for operation in ("mmd2", "mmd2_grad", "kernel_matrix", "kernel_matmul"):
        case = Case(operation, n, n, 5, "float64", q=3 if operation == "kernel_matmul" else 0)
        data, answer = question(case)
        built.clear()
        prepare(case, name, data, 2)
        for call in built[0]:
            assert oracle.error(case, data, call(), answer) <= oracle.PROMISE[operation]["float64"] * 100


def test_a_wrong_result_is_seen():
    case = Case("mmd2", 40, 40, 5)
    data = inputs(case)
    answer = oracle.expected(case, data)
    assert oracle.error(case, data, answer + 1e-3, answer) > oracle.PROMISE["mmd2"]["float32"]


def test_a_wrong_gradient_and_wrong_features_are_seen():
    case = Case("mmd2_grad", 40, 40, 5, "float64")
    data, answer = question(case)
    value, dx, dy = prepare(case, "numpy expert", data, 1)()
    promise = oracle.PROMISE["mmd2_grad"]["float64"]
    assert oracle.error(case, data, (value, dx, dy), answer) <= 10 * promise
    assert oracle.error(case, data, (value, dx, 1.01 * dy), answer) > 1e6 * promise
    assert oracle.error(case, data, (value + 1e-6, dx, dy), answer) > 1e6 * promise
    for operation in ("random_features", "features_mean"):
        case = Case(operation, 60, 0, 5, "float64", q=8)
        data, answer = question(case)
        values, frequencies, phases = prepare(case, "numpy expert", data, 1)()
        assert oracle.error(case, data, (values, frequencies, phases), answer) < 1e-12
        assert oracle.error(case, data, (values, frequencies * 1.01, phases), answer) > 1e-5


def test_the_gradient_of_the_oracle_is_a_difference_quotient():
    case = Case("mmd2_grad", 6, 6, 3, "float64")
    data, (_, rows, (dx, _), (dy, _)) = question(case)
    step = 1e-5
    for which, slopes in (("x", dx), ("y", dy)):
        found = np.zeros((6, 3))
        for at in np.ndindex(6, 3):
            sides = {}
            for sign in (1, -1):
                pair = {"x": data.x.copy(), "y": data.y.copy()}
                pair[which][at] += sign * step
                sides[sign] = oracle.mmd2(case, **pair)
            found[at] = (sides[1] - sides[-1]) / (2 * step)
        np.testing.assert_allclose(slopes, found[rows], atol=1e-9)


def test_hyppo_statistic_is_undone_to_the_unbiased_mmd2():
    if importlib.util.find_spec("hyppo") is None:
        pytest.skip("hyppo is not installed")
    case = Case("permutation_test", 30, 30, 4, "float64", q=9)
    data, answer = question(case)
    assert oracle.error(case, data, prepare(case, "hyppo", data, 1)(), answer) < 1e-12


def test_every_peer_of_a_case_is_known_has_a_role_and_every_id_is_used_once():
    for case in CASES:
        assert {(case.operation, name) for name in case.peers} <= set(CONTENDERS)
        assert set(case.peers) - set(NOT_THE_CASE) <= set(ROLES)
        assert {t.against for t in case.targets} - {
            "floor",
            "fused",
            "seconds",
            "usual",
            "expert",
            "peer",
        } <= set(case.peers)
    for tier in ("quick", "full", "sweep", "large"):
        ids = [case.id for case in CASES if case.tier == tier]
        assert len(ids) == len(set(ids)) > 0


def test_rounds_alternate_their_order_and_keep_the_best_call():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = measure.interleave(calls, measure.Plan(4, 2, frozenset()))
    assert "".join(order) == "AABB" + "BBAA" + "AABB" + "BBAA"
    assert {name: len(values) for name, values in seconds.items()} == {"A": 4, "B": 4}


def test_a_slow_contender_joins_two_rounds_only():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "AB"}
    seconds = measure.interleave(calls, measure.Plan(4, 2, frozenset("B")))
    assert "".join(order) == "AAB" + "BAA" + "AA" + "AA"
    assert {name: len(values) for name, values in seconds.items()} == {"A": 4, "B": 2}


@pytest.mark.parametrize("first", [1e-9, 1e-3, 0.1, 1.0, 30.0])
def test_rounds_are_even_and_at_least_two(first):
    how = measure.plan({"A": first, "B": first}, budget_seconds=4.0, rounds=8)
    assert how.rounds >= 2 and how.rounds % 2 == 0 and 1 <= how.repeats <= 5
    fast = 2 - len(how.slow)
    assert fast >= 1
    assert how.rounds == 2 or how.rounds * how.repeats * fast * first <= 4.0


def test_what_alone_would_take_half_the_budget_is_slow():
    assert measure.plan({"A": 0.1, "B": 0.3}, 4.0, 8).slow == {"B"}
    assert measure.plan({"A": 0.1, "B": 0.2}, 4.0, 8).slow == set()


def test_a_ratio_is_bold_only_when_its_band_excludes_one():
    assert str(measure.ratio([2.0, 4.0], [1.0, 1.0])) == "**3.00** [2.00, 4.00]"
    assert str(measure.ratio([0.9, 4.0], [1.0, 1.0])) == "2.45 [0.90, 4.00]"
    assert str(measure.ratio([0.25, 0.75], [1.0, 1.0])) == "**0.50** [0.25, 0.75]"


def _measured(**ratios):
    return {
        "ratios": {n: {"median": v, "low": v - 0.1, "high": v + 0.1} for n, v in ratios.items()},
        "floors": {},
    }


def test_targets_are_judged_against_the_best_of_a_role():
    roles = {"a": "usual", "b": "usual", "c": "expert"}
    case = _measured(a=9.0, b=6.0, c=2.0)
    assert (
        str(judge(Target("usual", 7, "avx512"), case, roles)) == "≥ 7 × usual: 6.00 (b), **missed by 14 %**"
    )
    assert judge(Target("expert", 1.6, "avx512"), case, roles).met is True
    assert judge(Target("peer", 2.5, "avx512"), case, roles).met is False
    assert judge(Target("a", 8.95, "avx512"), case, roles).note == "9.00, met, within the band"
    assert (
        judge(Target("one bandwidth", 1.3, "avx512"), _measured(**{"one bandwidth": 0.8}), roles).met is True
    )
    assert judge(Target("floor", 0.75, "avx512"), case, roles).note == "not measured"
    case["floors"] = {
        "shape": {"median": 0.9, "low": 0.8, "high": 1.0},
        "fused": {"median": 1.25, "low": 1, "high": 2},
    }
    assert (
        str(judge(Target("floor", 0.75, "avx512"), case, roles)) == "≤ 0.75 × floor: 0.90, **missed by 20 %**"
    )
    fused = judge(Target("fused", 0.85, "avx512"), case, roles)
    assert str(fused) == "≥ 85 % of the fused floor: 80 %, **missed by 6 %**, within the band"


def test_a_target_without_a_factor_at_amx_keeps_that_of_avx512():
    assert goals({"usual": (7, 12), "expert": (2, None)}) == (
        Target("usual", 7, "avx512"),
        Target("usual", 12, "amx"),
        Target("expert", 2, "avx512"),
        Target("expert", 2, "amx"),
    )


def test_floors_count_the_flops_of_symmetric_halves():
    assert floors.floor_flops(Case("mmd2", 4, 3, 10)) == 20 * (12 + 6 + 3)
    call, flops = floors.shape_call(Case("mmd2", 8, 6, 10))
    assert flops == 2 * 8 * 6 * 10
    np.testing.assert_allclose(call(), 2.5)
    for case in CASES:
        if case.tier == "quick" and floors.floor_flops(case) is not None:
            call, flops = floors.shape_call(case.shrunk(1000))
            assert call().size > 0 and flops > 0
    # 21 pairs, d + 15 operations of 2 flops each; half the rate in float64, d + 22
    assert floors.fused_floor(Case("mmd2", 4, 3, 10), "avx512", 2.0) == 21 * 25
    assert floors.fused_floor(Case("mmd2", 4, 3, 10, "float64"), "avx512", 2.0) == 21 * 32 * 2
    assert floors.fused_floor(Case("mmd2", 4, 3, 10, kernel="rbf5"), "avx512", 2.0) == 21 * 37
    assert floors.fused_floor(Case("mmd2", 4, 3, 10), "base", 2.0) is None


def test_a_case_reports_both_floors_and_its_verdicts():
    targets = tuple(
        Target(against, 1e9, level)
        for against in ("floor", "expert")
        for level in ("base", "avx2", "avx512", "amx")
    )
    case = Case("mmd2", 60, 60, 8, peers=("numpy expert", "numpy formula"), targets=targets)
    found = measure_case(case, 1, budget=0.05, rounds=2)
    assert found["status"] == "ok", found
    assert {SHAPE, SQUARE, OURS, "numpy expert"} <= set(found["seconds"])
    assert {"shape", "square"} <= set(found["floors"])
    assert [verdict["met"] for verdict in found["targets"]] == [True, False]
    row = table._row(json.loads(json.dumps(found)))
    assert row.count("|") == len(table.COLUMNS) + 1 and "missed by 100 %" in row and "met" in row


def test_a_case_that_this_version_lacks_is_skipped_with_the_reason(monkeypatch):
    import isthmus

    monkeypatch.delattr(isthmus, "mmd2_grad", raising=False)
    monkeypatch.setattr(isthmus, "__getattr__", lambda name: (_ for _ in ()).throw(AttributeError(name)))
    found = measure_case(Case("mmd2_grad", 40, 40, 4), 1, 0.01, 2)
    assert found["status"] == "skipped" and "has no mmd2_grad" in found["reason"]


def test_two_installs_take_turns_in_processes_that_stay_alive():
    case = Case("mmd2", 50, 50, 4, peers=("numpy formula",), targets=(Target("usual", 7, "avx512"),))
    absent = next(level for level in floors.EPILOGUE if level not in backends.simd_levels())
    lacking = Case("mmd2", 50, 50, 4, level=absent)
    report = against.run([case, lacking], str(ROOT), 1, budget=0.02, rounds=4)
    found, skipped = report["cases"]
    assert found["status"] == "ok"
    assert len(found["seconds"]["this"]) == len(found["seconds"]["other"]) == found["rounds"]
    assert skipped["status"] == "skipped" and absent in skipped["reason"]
    assert case.id in against.markdown(report)
    with pytest.raises(ValueError, match="--against must be"):
        against.install_at("/nowhere")
    assert against.install_at(sys.executable) == (sys.executable, None)


def test_the_table_of_choices_is_counted_by_hand():
    keep = {"source only always": ("source only", 50.0)}
    tasks = [
        keep | {"mmd": ("CORAL", 40.0), "dev": ("CORAL", 60.0)},
        keep | {"mmd": ("source only", 50.0), "dev": ("TCA", 70.0)},
    ]
    lines = choosing.table(tasks).splitlines()[2:]
    assert lines == [
        "| source only always | 50.0 | 2 | 0 |",
        "| mmd | 45.0 | 1 | 1 |",
        "| dev | 65.0 | 0 | 0 |",
    ]


def test_the_table_of_choices_is_made_from_a_file_of_the_data(tmp_path, capsys, monkeypatch):
    assert choosing.main(["--data", str(tmp_path)]) == 2
    assert "pass --data or set ISTHMUS_DATA" in capsys.readouterr().err
    rng = np.random.default_rng(0)
    arrays = {f"{name}_y": np.arange(40, dtype=np.uint8) % 2 + 1 for name in choosing.DOMAINS}
    arrays |= {f"{name}_X": rng.poisson(3.0, (40, 12)).astype(np.uint8) for name in choosing.DOMAINS}
    np.savez(tmp_path / choosing.FILE, **arrays)
    rows = choosing.surf(tmp_path / choosing.FILE)["dslr"][0]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1)
    share = arrays["dslr_X"] / arrays["dslr_X"].sum(axis=1, keepdims=True, dtype=float)
    z = (share - share.mean(axis=0)) / share.std(axis=0)
    np.testing.assert_allclose(rows, z / np.linalg.norm(z, axis=1, keepdims=True))
    monkeypatch.setattr(choosing, "AXES", 3)
    monkeypatch.setattr(choosing, "METHODS", {"CORAL": choosing.METHODS["CORAL"]})
    assert choosing.main(["--data", str(tmp_path), "--tasks", "1", "--folds", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + 7 + 2 + 1 and printed[-1].startswith("| the target's own labels |")


@pytest.fixture
def report(tmp_path):
    """A real report of one small case, written by the command."""
    command = [sys.executable, "-m", "benchmarks.compare", "--quick", "--shrink", "100", "--no-memory"]
    done = subprocess.run(
        [*command, "--only", "project", "--json", str(tmp_path / "report.json")],
        env=os.environ | {"PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "report.json").read_text())


def test_the_command_writes_a_report_that_fills_the_readme(report):
    (case,) = report["cases"]
    assert report["schema"] == 2 and case["status"] == "ok" and len(case["seconds"][OURS]) == case["rounds"]
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
    with pytest.raises(ValueError, match="page must contain <!-- speed:begin -->"):
        readme_table.insert("no marks", "")


def _report(ours, peer, date="2026-01-01", tier="full", n=100, **where):
    case = Case("mmd2", n, n, 4)
    found = measure.ratio(peer, ours)
    return {
        "schema": 2,
        "tier": tier,
        "environment": {
            "cpu": "c",
            "cpu_flags": ["f"],
            "threads": 2,
            "commit": "abc",
            "date": date,
            "loaded": False,
        }
        | {"isthmus": {"simd": "avx512"}}
        | where,
        "cases": [
            {
                "id": case.id,
                "case": asdict(case),
                "status": "ok",
                "seconds": {OURS: ours, "torch expert": peer, "one bandwidth": ours},
                "median_seconds": {OURS: ours[0], "torch expert": peer[0]},
                "ratios": {"torch expert": asdict(found)},
                "floors": {"shape": {"median": 1.0, "low": 0.9, "high": 1.1}},
            }
        ],
    }


def test_files_compare_ratios_of_the_same_run_not_seconds():
    # Everything takes twice as long on the second day, and Isthmus gained a factor of two.
    old, new = _report([1.0, 1.0], [2.0, 2.0]), _report([1.0, 1.0], [4.0, 4.0])
    ((_, name, first, last, change),) = compare_files.changes(old, new)
    assert (name, first.median, last.median, change.median) == ("torch expert", 2.0, 4.0, 2.0)
    assert "**2.00** [2.00, 2.00]" in compare_files.markdown(old, new)


def test_files_of_unlike_machines_are_refused(tmp_path, capsys):
    for name, report in (("a", _report([1.0], [2.0])), ("b", _report([1.0], [2.0], cpu="d"))):
        (tmp_path / f"{name}.json").write_text(json.dumps(report))
    assert compare_files.main([str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "cpu differs: c before, d after" in capsys.readouterr().err
    assert compare_files.main([str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 0
    assert compare_files.unlike(_report([1.0], [2.0]), _report([1.0], [2.0], threads=3)) is not None


def test_pictures_are_drawn_from_the_reports_of_a_folder(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for day in (2, 1):
        report = _report([1.0, 1.1], [2.0 * day, 2.2 * day], date=f"2026-01-0{day}")
        (tmp_path / f"{3 - day}.json").write_text(json.dumps(report))
    (tmp_path / "sweep.json").write_text(json.dumps(_report([1.0, 1.1], [2.0, 2.1], tier="sweep")))
    assert [r["environment"]["date"] for r in plots.reports(tmp_path)][-1] == "2026-01-02"
    assert plots.main([str(tmp_path), "--out", str(tmp_path / "pictures")]) == 0
    for name in ("history.png", "sweep.png"):
        assert (tmp_path / "pictures" / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    figure = plots.history(plots.reports(tmp_path))
    line = figure.axes[0].containers[0][0]
    assert list(line.get_ydata()) == pytest.approx([2.0, 4.0])
    assert plots.main([str(tmp_path / "pictures")]) == 1
    assert "found none" in capsys.readouterr().err
