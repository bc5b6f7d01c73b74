"""skada's adapters as contenders; importing it switches metadata routing on, which is undone here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .alignment_scripts import KMM_BOUND, REG
from .availability import library
from .cases import Case, Inputs, gammas

Call = Callable[[], Any]


@lru_cache(maxsize=1)
def skada() -> Any:
    """The library, imported without its change of scikit-learn's settings."""
    import sklearn

    before = sklearn.get_config()
    try:
        return library("skada")
    finally:
        sklearn.set_config(enable_metadata_routing=before["enable_metadata_routing"])


def _stacked(data: Inputs) -> tuple[Any, Any]:
    return np.concatenate([data.x, data.y]), np.repeat([1, -2], [len(data.x), len(data.y)])


def _quiet(call: Call) -> Call:
    def run() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call()

    return run


def tca(case: Case, data: Inputs) -> Call:
    """Its TCA, which hands a matrix that is not symmetric to a symmetric solver: other vectors come out.

    Its gamma is 1/d, so the rows are scaled to the case's; mu M is (1 / reg) M / |M|.
    """
    adapter = skada()._subspace.TransferComponentAnalysisAdapter
    (gamma,), (rows, domain) = gammas(case), _stacked(data)
    rows = rows * np.asarray(np.sqrt(gamma * case.d), rows.dtype)
    mu = 1 / (REG * (1 / case.n + 1 / case.m))

    def run() -> Any:
        fitted = adapter(kernel="rbf", n_components=case.q, mu=mu).fit(rows, sample_domain=domain)
        return fitted.eigvects_, fitted.transform(rows, sample_domain=domain, allow_source=True)

    return _quiet(run)


def kmm(case: Case, data: Inputs) -> Call:
    """Frank-Wolfe, as it comes."""
    adapter = skada().KMMReweightAdapter
    (gamma,), (rows, domain) = gammas(case), _stacked(data)
    return _quiet(lambda: adapter(gamma=gamma, B=KMM_BOUND).fit(rows, sample_domain=domain).source_weights_)


def coral(case: Case, data: Inputs) -> Call:
    """The same work on the plain covariances: it shrinks by a convex combination or not at all."""
    adapter = skada().CORALAdapter
    rows, domain = _stacked(data)
    return _quiet(lambda: adapter(reg=None).fit_transform(rows, sample_domain=domain)[: case.n])
