"""The benchmarks of the GPU, small and on the CPU: contenders compute their case, verdicts are honest."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # `benchmarks` is a folder of the repository

torch = pytest.importorskip("torch")

from benchmarks import gpu, gpu_cases, gpu_contenders, gpu_oracle, oracle  # noqa: E402
from benchmarks.availability import Unavailable  # noqa: E402
from benchmarks.cases import Case, inputs  # noqa: E402
from benchmarks.gpu_cases import GPU_CASES, GpuCase, floor_milliseconds  # noqa: E402

QUICK = (gpu_contenders.OURS, gpu_contenders.TORCH)  # the others compile, or are not here


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(gpu_contenders, "NAMES", QUICK)
    monkeypatch.setattr(gpu, "WARM_SECONDS", 0.0)


@pytest.mark.parametrize("case", GPU_CASES, ids=lambda case: case.id)
def test_every_contender_computes_its_case_and_is_timed(case, quick):
    found = gpu.measure(case, 1000, 2, "cpu")
    assert found["skipped"] == {}
    assert set(found["median_ms"]) == set(QUICK) and min(found["median_ms"].values()) > 0
    assert found["errors"][gpu_contenders.OURS] <= case.promise
    assert set(found["ratios"]) == {gpu_contenders.TORCH}


@pytest.mark.parametrize("case", GPU_CASES, ids=lambda case: case.id)
def test_a_wrong_result_is_seen(case):
    small = case.case.shrunk(1000)
    host = inputs(small)
    data = {name: torch.from_numpy(getattr(host, name)) for name in ("x", "y", "v", "b")}
    result = gpu_contenders.prepare(gpu_contenders.TORCH, small, data, 1e9)()
    bound = oracle.PROMISE[small.operation][small.dtype] * oracle.PEER_SLACK[small.operation]
    assert gpu_oracle.error(small, data, host, result, False) <= bound
    spoilt = tuple(_spoilt(part) for part in result) if isinstance(result, tuple) else _spoilt(result)
    assert gpu_oracle.error(small, data, host, spoilt, False) > bound


def _spoilt(part):
    return 3 * part + 0.5 if isinstance(part, torch.Tensor) else part


def test_floors_are_those_of_the_design():
    floors = {case.id: floor_milliseconds(case.case, case.fast) for case in GPU_CASES}
    # Milliseconds of products at 66e12 a second, fast ones at twice that, and of bytes at 4.3e12.
    expected = {
        "mmd2-10000x10000-d64-float32": 2e8 * 64 / 66e9,
        "kernel_matrix-20000x20000-d128-float32": 4e8 * 128 / 66e9,
        "project-1000000-d512-q64-float32": 4e6 * 576 / 4.3e9,
        "mmd2-100000x100000-d32-float32": 2e10 * 32 / 66e9,
        "mmd2-10000x10000-d512-float32-fast": 2e8 * 512 / 132e9,
    }
    for name, milliseconds in expected.items():
        assert floors[name] == pytest.approx(milliseconds, rel=1e-3)


def test_targets_are_judged_and_shown(quick):
    times = {"isthmus": [0.5, 0.4, 0.6], "torch": [5.0, 4.0, 6.0]}
    case = GpuCase(Case("mmd2", 10, 10, 4), 0.5, 11)
    summary = gpu._summary(case, {"milliseconds": times})
    assert summary["targets"] == [["<= 0.5 ms", True], [">= 11 x torch", False]]
    assert summary["ratios"]["torch"] == {"median": 10.0, "low": 10.0, "high": 10.0}
    row = {"id": case.id, "floor_ms": 0.25, "skipped": {}, **summary}
    lost = {"id": "other", "median_ms": {}, "skipped": {"isthmus": "wrong by 1"}}
    lines = gpu.table({"cases": [row, lost]}).splitlines()
    assert (
        lines[2]
        == "| mmd2-10x10-d4-float32 | 0.5 | 50 % | 10.0 | <= 0.5 ms: met<br>>= 11 x torch: **missed** |"
    )
    assert lines[3].startswith("| other | wrong by 1 |")
    without = gpu._summary(case, {"milliseconds": {"isthmus": [0.5]}})
    assert without["targets"][1] == [">= 11 x torch", None]


def test_a_formula_that_does_not_fit_is_left_out():
    case = gpu_cases.GPU_CASES[5].case
    with pytest.raises(Unavailable, match="GiB are free"):
        gpu_contenders.prepare(gpu_contenders.TORCH, case, {}, 80e9)


def test_a_contender_that_fails_beside_the_others_is_left_out(monkeypatch):
    monkeypatch.setattr(gpu, "WARM_SECONDS", 0.0)
    made = {"early": 0, "late": 0, "sound": 0}

    def call(name, most):
        made[name] += 1
        if made[name] > most:
            raise RuntimeError("out of memory\nsecond line" if name == "late" else "")

    calls = {
        "sound": lambda: call("sound", 999),
        "early": lambda: call("early", 0),
        "late": lambda: call("late", 5),
    }
    times, alone, failures = gpu.interleave(calls, 4, "cpu")
    assert set(times) == set(alone) == {"sound"} and len(times["sound"]) == 4
    assert 0 < alone["sound"] < gpu.TOGETHER and made["sound"] == gpu.WARM_UP + 4 * gpu.MOST_TOGETHER
    assert failures == {
        "early": "beside the others it failed: RuntimeError",
        "late": "beside the others it failed: out of memory",
    }
    assert made["early"] == 1


def test_the_report_is_kept_after_every_case_and_contenders_can_stay_out(quick):
    kept = []
    report = gpu.run(
        "mmd2_grad", 1000, 2, "cpu", [gpu_contenders.TORCH], lambda so_far: kept.append(len(so_far["cases"]))
    )
    assert kept == [1, 2, 2] and all(set(case["median_ms"]) == {"isthmus"} for case in report["cases"])
    assert all(case["skipped"] == {} for case in report["cases"])


def test_without_a_gpu_the_command_says_so(capsys, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    assert gpu.main(["--json", str(tmp_path / "out.json")]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.gpu
def test_a_report_is_written_on_a_gpu(tmp_path, quick):
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    path = tmp_path / "out.json"
    assert gpu.main(["--json", str(path), "--shrink", "50", "--rounds", "4", "--only", "mmd2-"]) == 0
    report = json.loads(path.read_text())
    assert all(np.isfinite(case["median_ms"]["isthmus"]) for case in report["cases"])
    assert report["environment"]["gpu"] and report["environment"]["driver"]
