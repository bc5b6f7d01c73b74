"""Isthmus joins a source domain, where labels are plenty, to a target domain, where they are few.

Measure the shift between two domains, align them, train on the source, fine-tune on the target.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .config import config
from .errors import (
    DegenerateBandwidthWarning,
    DomainScaleWarning,
    ModelFileError,
    NoTargetWarning,
    TrainingDivergedError,
)
from .kernels import (
    IMQ,
    RBF,
    Energy,
    Exponential,
    Laplacian,
    Linear,
    Matern,
    Polynomial,
    RationalQuadratic,
)

if TYPE_CHECKING:
    from . import backends
    from .align import CORAL, TCA, MeanDiscrepancy, make_transfer_pipeline
    from .features import NystroemFeatures, RandomFourierFeatures
    from .gradient import mmd2_grad
    from .job import transfer
    from .mmd import mmd2, mmd_matrix, permuted_mmd2, witness
    from .models import (
        LinearSourceClassifier,
        LinearSourceRegressor,
        MLPSourceClassifier,
        MLPSourceRegressor,
    )
    from .ops import block_sums, kernel_matmul, kernel_matrix, project
    from .persist import load, save
    from .transfer import TransferClassifier, TransferRegressor, fine_tune
    from .two_sample import TwoSampleResult, two_sample_test

# Public names that load their module on first use, so that `import isthmus` needs numpy only.
_MODULE_OF = {
    "CORAL": "align",
    "LinearSourceClassifier": "models",
    "LinearSourceRegressor": "models",
    "MLPSourceClassifier": "models",
    "MLPSourceRegressor": "models",
    "MeanDiscrepancy": "align",
    "NystroemFeatures": "features",
    "RandomFourierFeatures": "features",
    "TCA": "align",
    "TransferClassifier": "transfer",
    "TransferRegressor": "transfer",
    "TwoSampleResult": "two_sample",
    "block_sums": "ops",
    "fine_tune": "transfer",
    "kernel_matmul": "ops",
    "kernel_matrix": "ops",
    "load": "persist",
    "make_transfer_pipeline": "align",
    "mmd2": "mmd",
    "mmd2_grad": "gradient",
    "mmd_matrix": "mmd",
    "permuted_mmd2": "mmd",
    "project": "ops",
    "save": "persist",
    "transfer": "job",
    "two_sample_test": "two_sample",
    "witness": "mmd",
}

__all__ = [
    "CORAL",
    "DegenerateBandwidthWarning",
    "DomainScaleWarning",
    "Energy",
    "Exponential",
    "IMQ",
    "Laplacian",
    "Linear",
    "LinearSourceClassifier",
    "LinearSourceRegressor",
    "MLPSourceClassifier",
    "MLPSourceRegressor",
    "Matern",
    "MeanDiscrepancy",
    "ModelFileError",
    "NoTargetWarning",
    "NystroemFeatures",
    "Polynomial",
    "RBF",
    "RandomFourierFeatures",
    "RationalQuadratic",
    "TCA",
    "TrainingDivergedError",
    "TransferClassifier",
    "TransferRegressor",
    "TwoSampleResult",
    "__version__",
    "backends",
    "block_sums",
    "config",
    "fine_tune",
    "kernel_matmul",
    "kernel_matrix",
    "load",
    "make_transfer_pipeline",
    "mmd2",
    "mmd2_grad",
    "mmd_matrix",
    "permuted_mmd2",
    "project",
    "save",
    "transfer",
    "two_sample_test",
    "witness",
]


class _Package(ModuleType):
    """Keeps `isthmus.transfer` the function and `isthmus.config` the context manager.

    The import system binds each submodule to its package, which would hide the public object of that name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and (name in _MODULE_OF or name == "config")):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "backends":
        return import_module(".backends", __name__)
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULE_OF:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:  # a source tree on the path, never installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted(__all__)
