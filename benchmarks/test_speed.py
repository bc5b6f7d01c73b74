"""Every case on pytest-benchmark, each contender checked against float64 before it is timed.

Run `python -m pytest benchmarks -m quick`; `--benchmark-save=NAME` and `--benchmark-compare` track speed.
"""

from __future__ import annotations

from typing import Any

import pytest
from isthmus.machine import cpu_count

from . import oracle
from .cases import CASES, Case
from .contest import question
from .measure import settings
from .peers import NOT_THE_CASE, OURS, Unavailable, prepare

CONTESTS = [
    pytest.param(
        case, name, id=f"{case.tier}-{case.id}-{name}", marks=[pytest.mark.quick] * (case.tier == "quick")
    )
    for case in CASES
    if case.tier in ("quick", "full")
    for name in (OURS, *case.peers)
]


@pytest.mark.parametrize(("case", "name"), CONTESTS)
def test_contender_is_right_and_is_timed(benchmark: Any, case: Case, name: str) -> None:
    """The error is in `extra_info`; times are reported, never judged."""
    data, answer = question(case)
    threads = case.threads or cpu_count()
    with settings(case, threads):
        try:
            call = prepare(case, name, data, threads)
        except Unavailable as reason:
            pytest.skip(str(reason))
        error = None if name in NOT_THE_CASE else oracle.error(case, data, call(), answer)
        promise = oracle.PROMISE[case.operation][case.dtype]
        assert error is None or error <= (
            promise if name == OURS else promise * oracle.PEER_SLACK[case.operation]
        )
        benchmark.group = f"{case.tier}-{case.id}"
        benchmark.extra_info.update(error=error, threads=threads)
        benchmark.pedantic(call, rounds=3 if case.tier == "quick" else 7)
