"""Every contender by operation and name, and its role: the ordinary script or call, or the specialist's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from . import (
    alignment_scripts,
    experts,
    experts_matrix,
    libraries,
    numpy_usual,
    ours,
    skada_adapters,
    torch_usual,
)
from .alignment_cases import SCRIPT
from .availability import Unavailable, room_for
from .cases import EXPERTS, Case, Inputs
from .team import ways

__all__ = ["CONTENDERS", "NOT_THE_CASE", "OURS", "ROLES", "Unavailable", "prepare"]

Call = Callable[[], Any]
OURS = "isthmus"
# Timed beside the case, but one computes less than it asks and the other something else.
NOT_THE_CASE = ("one bandwidth", "skada TCA")
_EXPERT_SCRIPTS: dict[str, Callable[..., Call]] = {
    "mmd2": experts.mmd2,
    "mmd2_grad": experts.mmd2_grad,
    "kernel_matrix": experts_matrix.kernel_matrix,
    "kernel_matmul": experts_matrix.kernel_matmul,
    "permutation_test": experts_matrix.permutation_test,
    "random_features": experts_matrix.random_features,
    "features_mean": experts_matrix.features_mean,
    "project": experts_matrix.project,
}


def _expert(operation: str, name: str, case: Case, data: Inputs, threads: int) -> Call:
    return _EXPERT_SCRIPTS[operation](case, data, ways(name, threads))


# (operation, contender) -> what prepares the call. What a specialist would do once is done in preparation.
_USUAL: dict[tuple[str, str], Callable[[Case, Inputs], Call]] = {
    ("mmd2", "numpy formula"): numpy_usual.numpy_mmd2,
    ("mmd2", "torch formula"): torch_usual.mmd2,
    ("mmd2", "scikit-learn"): libraries.sklearn_mmd2,
    ("mmd2", "oneDAL"): libraries.onedal_mmd2,
    ("mmd2", "KeOps"): libraries.keops_mmd2,
    ("mmd2", "scipy cdist"): libraries.cdist_mmd2,
    ("mmd2_grad", "torch autograd"): torch_usual.mmd2_grad,
    ("kernel_matrix", "numpy formula"): numpy_usual.numpy_kernel_matrix,
    ("kernel_matrix", "torch formula"): torch_usual.kernel_matrix,
    ("kernel_matrix", "scikit-learn"): libraries.sklearn_kernel_matrix,
    ("kernel_matrix", "oneDAL"): libraries.onedal_kernel_matrix,
    ("kernel_matrix", "scipy cdist"): libraries.cdist_kernel_matrix,
    ("kernel_matmul", "torch formula"): torch_usual.kernel_matmul,
    ("kernel_matmul", "KeOps"): libraries.keops_kernel_matmul,
    ("permutation_test", "numpy formula"): numpy_usual.numpy_permutation_test,
    ("permutation_test", "MMDAgg's method"): numpy_usual.mmdagg_permutation_test,
    ("permutation_test", "hyppo"): libraries.hyppo_permutation_test,
    ("random_features", "scikit-learn"): libraries.sklearn_random_features,
    ("random_features", "torch formula"): torch_usual.random_features,
    ("project", "numpy formula"): numpy_usual.numpy_project,
    ("coral", "numpy formula"): numpy_usual.numpy_coral,
    ("coral", "POT LinearTransport"): libraries.pot_linear_transport,
    ("coral", "skada"): skada_adapters.coral,
    ("linear_ot", "POT LinearTransport"): libraries.pot_linear_transport,
    ("tca", "scipy eigh"): alignment_scripts.tca_dense,
    ("tca", SCRIPT): alignment_scripts.tca_lanczos,
    ("tca", "skada TCA"): skada_adapters.tca,
    ("jda", "scipy eigh"): partial(alignment_scripts.jda_dense, symmetric=True),
    ("jda", "scipy eig"): partial(alignment_scripts.jda_dense, symmetric=False),
    ("jda", "reduced eigh"): lambda case, data: (
        lambda: alignment_scripts.jda_reduced(data.x, data.y, data.labels, case.q)
    ),
    ("kmm", "300 APG steps"): alignment_scripts.kmm_apg,
    ("kmm", "skada"): skada_adapters.kmm,
    ("gfk", "numpy formula"): alignment_scripts.gfk_complement,
}
CONTENDERS: dict[tuple[str, str], Callable[[Case, Inputs, int], Call]] = {
    key: lambda case, data, threads, script=script: script(case, data)  # type: ignore[misc]
    for key, script in _USUAL.items()
} | {
    (operation, name): partial(_expert, operation, name) for operation in _EXPERT_SCRIPTS for name in EXPERTS
}
CONTENDERS["mmd2", "one bandwidth"] = lambda case, data, threads: ours.one_bandwidth(case, data)

SPECIALISTS = (SCRIPT, "reduced eigh", "300 APG steps")
ROLES = {name: "usual" for _, name in _USUAL} | dict.fromkeys((*EXPERTS, *SPECIALISTS), "expert")
# Whole matrices of pairs at once: this many, counted in elements of the case's type.
_WHOLE_MATRICES = {
    "numpy formula": 4,
    "torch formula": 4,
    "torch autograd": 12,
    "scikit-learn": 4,
    "oneDAL": 4,
}
_WHOLE_MATRICES |= {"scipy cdist": 8, SCRIPT: 6, "scipy eigh": 20, "scipy eig": 20, "skada TCA": 40}


def prepare(case: Case, name: str, data: Inputs, threads: int) -> Call:
    """The call of contender `name` on `threads` threads; raises Unavailable, with the reason."""
    if case.m and case.operation not in ("coral", "linear_ot", "gfk"):
        room_for(float(_WHOLE_MATRICES.get(name, 0)) * np.dtype(case.dtype).itemsize * case.n * case.m)
    return (
        ours.contender(case, data) if name == OURS else CONTENDERS[case.operation, name](case, data, threads)
    )
