"""The benchmarks of alignment: a wrong result is seen, and a peer's library leaves settings alone."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `benchmarks` is a folder of the repository, not of the package on the path

from benchmarks import alignment_oracle, memory, oracle, table  # noqa: E402
from benchmarks.alignment_cases import ALIGNMENT, alignment_rows  # noqa: E402
from benchmarks.alignment_scripts import apg, contrasts, kmm_terms  # noqa: E402
from benchmarks.cases import Case  # noqa: E402
from benchmarks.contest import question  # noqa: E402
from benchmarks.peers import prepare  # noqa: E402
from benchmarks.targets import Target, judge  # noqa: E402


def test_components_that_do_not_lead_or_do_not_fit_their_embedding_are_seen():
    case = Case("tca", 60, 50, 6, "float64", q=5)
    data, answer = question(case)
    components, embedding = prepare(case, "scipy eigh", data, 1)()
    promise = oracle.PROMISE["tca"]["float64"]
    assert oracle.error(case, data, (components, embedding), answer) <= promise
    assert oracle.error(case, data, (components[:, ::-1], embedding[:, ::-1]), answer) <= promise
    assert oracle.error(case, data, (components, embedding + 1e-3), answer) > promise
    assert oracle.error(case, data, (components[:, :4], embedding[:, :4]), answer) > promise
    more = replace(case, q=6)
    wider = prepare(more, "scipy eigh", data, 1)()
    skipped = tuple(part[:, :5] for part in wider)  # eigh sorts upwards: the largest is the last
    assert oracle.error(case, data, skipped, answer) > promise
    shifted = (components + 1e-4 * np.random.default_rng(0).standard_normal(components.shape), embedding)
    assert oracle.error(case, data, shifted, answer) > promise


def test_weights_above_the_optimum_or_outside_the_constraints_are_seen():
    case = Case("kmm", 50, 40, 4, "float64")
    data, answer = question(case)
    weights = prepare(case, "300 APG steps", data, 1)()
    promise = oracle.PROMISE["kmm"]["float64"]
    assert oracle.error(case, data, weights, answer) <= promise
    assert oracle.error(case, data, np.ones(50), answer) > promise
    assert oracle.error(case, data, weights - 1, answer) > promise
    assert oracle.error(case, data, 100 * weights, answer) > promise


def test_accelerated_steps_reach_the_optimum_of_scipy():
    from scipy.optimize import LinearConstraint, minimize

    x, y, _ = alignment_rows(Case("kmm", 12, 15, 3, "float64"))
    kernel, kappa, eps = kmm_terms(Case("kmm", 12, 15, 3, "float64"), x, y)
    for width in (eps, 0.01):
        found = minimize(
            lambda b: b @ kernel @ b / 2 - kappa @ b,
            np.ones(12),
            jac=lambda b: kernel @ b - kappa,
            bounds=[(0, 1000)] * 12,
            constraints=LinearConstraint(np.ones(12), 12 * (1 - width), 12 * (1 + width)),
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        weights = apg(kernel, kappa, width, 5000)
        assert weights @ kernel @ weights / 2 - kappa @ weights == pytest.approx(found.fun, rel=1e-7)


def test_a_jda_of_other_contrasts_is_seen():
    case = Case("jda", 60, 60, 40, "float64", q=10)
    data, answer = question(case)
    embedding = prepare(case, "scipy eigh", data, 1)()
    assert oracle.error(case, data, embedding, answer) <= oracle.PROMISE["jda"]["float64"]
    first = np.concatenate([data.x, data.y])
    first = first @ np.linalg.svd(first, full_matrices=False)[2][:10].T
    assert oracle.error(case, data, first, answer) > oracle.PROMISE["jda"]["float64"]


def test_contrasts_give_the_matrix_of_the_definition_with_a_class_never_predicted():
    labels, guessed, m = np.array([0, 1, 2, 0, 1]), np.array([0, 0, 1, 1]), 4
    e = contrasts(labels, guessed, m)
    wanted = 3 * np.outer(*[np.concatenate([np.full(5, 1 / 5), np.full(4, -1 / 4)])] * 2)
    for of in range(3):
        halves = [(labels == of) / np.sum(labels == of), (guessed == of) / -max(1, np.sum(guessed == of))]
        wanted += np.outer(*[np.concatenate(halves)] * 2)
    np.testing.assert_allclose(e @ e.T, wanted / np.linalg.norm(wanted), atol=1e-15)


def test_a_flow_kernel_without_its_complement_is_seen():
    case = Case("gfk", 40, 40, 12, "float64", q=3)
    data, answer = question(case)
    source, target = prepare(case, "numpy formula", data, 1)()
    assert oracle.error(case, data, (source, target), answer) <= oracle.PROMISE["gfk"]["float64"]
    basis = np.linalg.svd(data.x - data.x.mean(0), full_matrices=False)[2][:3].T
    assert oracle.error(case, data, (data.x @ basis, data.y @ basis), answer) > 1e-3


def test_a_transport_that_is_not_symmetric_is_seen():
    case = Case("linear_ot", 60, 60, 4, "float64")
    data, answer = question(case)
    roots = [np.linalg.cholesky(alignment_oracle.covariance(part)) for part in (data.x, data.y)]
    moved = (data.x - data.x.mean(0)) @ np.linalg.solve(roots[0].T, roots[1].T)
    assert oracle.error(case, data, moved, answer) > oracle.PROMISE["linear_ot"]["float64"]


def test_importing_skada_leaves_the_settings_of_scikit_learn_alone():
    pytest.importorskip("sklearn")
    program = (
        "import sklearn; before = sklearn.get_config()\n"
        "from benchmarks.skada_adapters import skada\n"
        "from benchmarks.availability import Unavailable\n"
        "try: skada()\n"
        "except Unavailable as reason: print(reason)\n"
        "assert sklearn.get_config() == before"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "not installed" in done.stdout:
        pytest.skip("skada is not installed")


def test_what_computes_something_else_is_timed_with_its_error():
    case = {"id": "c", "status": "ok", "floors": {}, "skipped": {}, "targets": []}
    case |= {"median_seconds": {"isthmus": 0.1, "skada TCA": 9.0}, "errors": {"skada TCA": 0.3}}
    case |= {"ratios": {"skada TCA": {"median": 90.0, "low": 80.0, "high": 95.0}}}
    assert "skada TCA: 9000 ms, error 3e-01" in table._row(case)


def test_seconds_are_judged_as_such():
    found = judge(Target("seconds", 2, "avx512"), {"seconds": {"isthmus": [1.0, 1.5, 1.2]}}, {})
    assert found.met and str(found) == "≤ 2 s: 1.20, met"
    late = judge(Target("seconds", 1, "avx512"), {"seconds": {"isthmus": [1.5]}}, {})
    assert late.met is False and "missed by 50 %" in str(late)


def test_limits_of_memory_belong_to_cases_that_are_measured():
    asked = {case.id: case for case in memory.ASKED}
    assert set(memory.LIMITS) <= set(asked)
    for name in memory.LIMITS:
        assert [case.tier for case in ALIGNMENT if case.id == name] == [asked[name].tier]
