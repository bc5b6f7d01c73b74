"""Every case on pytest-benchmark, each contender checked against float64 before it is timed.

Run `python -m pytest benchmarks -m quick`; `--benchmark-save=NAME` and `--benchmark-compare` track speed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
from isthmus.machine import cpu_count

from . import oracle
from .cases import CASES, Case, Inputs, inputs
from .measure import settings
from .peers import OURS, Unavailable, prepare


@lru_cache(maxsize=1)
def _question(case: Case) -> tuple[Inputs, Any]:
    data = inputs(case)
    return data, oracle.expected(case, data)


CONTESTS = [
    pytest.param(
        case, name, id=f"{case.tier}-{case.id}-{name}", marks=[pytest.mark.quick] * (case.tier == "quick")
    )
    for case in CASES
    for name in (OURS, *case.peers)
]


@pytest.mark.parametrize(("case", "name"), CONTESTS)
def test_contender_is_right_and_is_timed(benchmark: Any, case: Case, name: str) -> None:
    """The error is in `extra_info`; times are reported, never judged."""
    data, answer = _question(case)
    with settings(case, cpu_count()):
        try:
            call = prepare(case, name, data)
        except Unavailable as reason:
            pytest.skip(str(reason))
        error = oracle.error(case, data, call(), answer)
        promise = oracle.PROMISE[case.operation][case.dtype]
        assert error <= (promise if name == OURS else promise * oracle.PEER_SLACK)
        benchmark.group = f"{case.tier}-{case.id}"
        benchmark.extra_info.update(error=error, threads=case.threads or cpu_count())
        benchmark.pedantic(call, rounds=3 if case.tier == "quick" else 7)
