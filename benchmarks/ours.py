"""Isthmus's entry in each case, through the public interface and with its default checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .availability import Unavailable
from .cases import Case, Inputs, gammas, isthmus_kernel


def _public(name: str) -> Any:
    """A name of the package, or that this version lacks it."""
    import isthmus as im

    try:
        return getattr(im, name)
    except AttributeError as absent:
        raise Unavailable(f"this version of Isthmus has no {name}") from absent


def one_bandwidth(case: Case, data: Inputs) -> Callable[[], Any]:
    """The same samples with the first of the case's bandwidths only: what several cost beside one."""
    import isthmus as im

    kernel = im.RBF(gamma=gammas(case)[0])
    return lambda: im.mmd2(data.x, data.y, kernel=kernel)


def contender(case: Case, data: Inputs) -> Callable[[], Any]:
    """A call without arguments that computes the case."""
    import isthmus as im

    match case.operation:
        case "mmd2":
            kernel = isthmus_kernel(case)
            return lambda: im.mmd2(data.x, data.y, kernel=kernel)
        case "mmd2_grad":
            gradient, kernel = _public("mmd2_grad"), isthmus_kernel(case)
            return lambda: gradient(data.x, data.y, kernel=kernel)
        case "random_features" | "features_mean":
            return _features(case, data)
        case "kernel_matrix":
            kernel, out = isthmus_kernel(case), np.zeros((case.n, case.m), case.dtype)
            return lambda: im.kernel_matrix(data.x, data.y, kernel=kernel, out=out)
        case "kernel_matmul":
            kernel = isthmus_kernel(case)
            return lambda: im.kernel_matmul(data.x, data.y, data.v, kernel=kernel)
        case "project":
            out = np.zeros((case.n, case.q), case.dtype)
            return lambda: im.project(data.x, data.v, data.b, activation="relu", out=out)
        case "coral":
            return lambda: im.CORAL().fit(data.x, X_target=data.y).transform(data.x, domain="source")
        case "tca":
            pooled, domain = np.concatenate([data.x, data.y]), np.repeat([0, -1], [case.n, case.m])
            tca = im.TCA(n_components=case.q, kernel=isthmus_kernel(case), reg=1.0)

            def components() -> Any:
                embedding = tca.fit_transform(pooled, sample_domain=domain)
                return tca.components_, embedding, tca.residuals_

            return components
        case "jda":
            both = np.concatenate([data.x, data.y])
            jda = _public("JDA")(n_components=case.q, kernel=im.Linear(), reg=1.0, n_iter=10)
            return lambda: jda.fit(data.x, data.labels, data.y).transform(both)
        case "kmm":
            kmm = _public("KMM")(kernel=isthmus_kernel(case))
            return lambda: kmm.fit(data.x, X_target=data.y).weights_
        case "linear_ot":
            transport = _public("LinearOT")
            return lambda: transport().fit(data.x, X_target=data.y).transform(data.x, domain="source")
        case "gfk":
            flow = _public("GFK")(n_components=case.q)
            return lambda: (flow.fit_transform(data.x, X_target=data.y), flow.transform(data.y))
        case "permutation_test":
            kernel = isthmus_kernel(case)
            return lambda: _test(im, case, data, kernel)
    raise ValueError(f"operation is not one of the benchmarks': {case.operation!r}")


def _features(case: Case, data: Inputs) -> Callable[[], Any]:
    kernel = isthmus_kernel(case)
    features = _public("RandomFourierFeatures")(
        n_components=case.q, kernel=kernel, sampling=case.sampling, random_state=0
    ).fit(data.x)
    # What the features are: sines and cosines of (x - mean) @ frequencies.
    made_of = np.asarray(features.frequencies_), None, np.asarray(features.mean_)
    if case.operation == "features_mean":
        return lambda: (features.mean(data.x), *made_of)
    out = np.zeros((case.n, case.q), case.dtype)
    return lambda: (features.transform(data.x, out=out), *made_of)


def _test(im: Any, case: Case, data: Inputs, kernel: Any) -> tuple[Any, Any, Any]:
    result = im.two_sample_test(data.x, data.y, kernel=kernel, n_permutations=case.q, random_state=0)
    return result.statistic, result.pvalue, result.null
