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
    from .align import (
        BDA,
        CORAL,
        GFK,
        JDA,
        JGSA,
        KLIEP,
        KMM,
        MEDA,
        MIDA,
        TCA,
        TJM,
        AugmentedRidge,
        DensityRatioWeights,
        EasyTL,
        FeatureAugmentation,
        LinearOT,
        MeanDiscrepancy,
        NearestNeighbourWeights,
        OptimalTransport,
        RegularizedTransferClassifier,
        RegularizedTransferRegressor,
        RuLSIF,
        SemiSupervisedTCA,
        StandardScaling,
        SubspaceAlignment,
        TargetShiftWeights,
        TrAdaBoostClassifier,
        TrAdaBoostRegressor,
        make_transfer_pipeline,
    )
    from .displays import EmbeddingDisplay, MeanGapDisplay, SpectrumDisplay
    from .features import NystroemFeatures, RandomFourierFeatures
    from .fine_tuning import fine_tune
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
    from .scorers import (
        CircularValidation,
        DeepEmbeddedValidation,
        ImportanceWeightedScorer,
        MMDScorer,
        PredictionEntropyScorer,
        ProxyADistanceScorer,
        SoftNeighborhoodDensity,
    )
    from .selection import AlignmentSelection, select_alignment
    from .splitting import DomainSplit, PackedDomains, pack_domains, unpack_domains
    from .transfer import TransferClassifier, TransferRegressor
    from .two_sample import TwoSampleResult, two_sample_test
    from .unlabelled import (
        density_ratio,
        dev_risk,
        importance_weighted_score,
        prediction_entropy,
        proxy_a_distance,
        soft_neighborhood_density,
    )

# Public names that load their module on first use, so that `import isthmus` needs numpy only.
_MODULE_OF = {
    "AlignmentSelection": "selection",
    "AugmentedRidge": "align",
    "BDA": "align",
    "CORAL": "align",
    "CircularValidation": "scorers",
    "DeepEmbeddedValidation": "scorers",
    "DensityRatioWeights": "align",
    "DomainSplit": "splitting",
    "EasyTL": "align",
    "EmbeddingDisplay": "displays",
    "FeatureAugmentation": "align",
    "GFK": "align",
    "ImportanceWeightedScorer": "scorers",
    "JDA": "align",
    "JGSA": "align",
    "KLIEP": "align",
    "KMM": "align",
    "LinearOT": "align",
    "LinearSourceClassifier": "models",
    "LinearSourceRegressor": "models",
    "MEDA": "align",
    "MIDA": "align",
    "MLPSourceClassifier": "models",
    "MLPSourceRegressor": "models",
    "MMDScorer": "scorers",
    "MeanDiscrepancy": "align",
    "MeanGapDisplay": "displays",
    "NearestNeighbourWeights": "align",
    "NystroemFeatures": "features",
    "OptimalTransport": "align",
    "PackedDomains": "splitting",
    "PredictionEntropyScorer": "scorers",
    "ProxyADistanceScorer": "scorers",
    "RandomFourierFeatures": "features",
    "RegularizedTransferClassifier": "align",
    "RegularizedTransferRegressor": "align",
    "RuLSIF": "align",
    "SemiSupervisedTCA": "align",
    "SoftNeighborhoodDensity": "scorers",
    "SpectrumDisplay": "displays",
    "StandardScaling": "align",
    "SubspaceAlignment": "align",
    "TCA": "align",
    "TJM": "align",
    "TargetShiftWeights": "align",
    "TrAdaBoostClassifier": "align",
    "TrAdaBoostRegressor": "align",
    "TransferClassifier": "transfer",
    "TransferRegressor": "transfer",
    "TwoSampleResult": "two_sample",
    "block_sums": "ops",
    "density_ratio": "unlabelled",
    "dev_risk": "unlabelled",
    "fine_tune": "fine_tuning",
    "importance_weighted_score": "unlabelled",
    "kernel_matmul": "ops",
    "kernel_matrix": "ops",
    "load": "persist",
    "make_transfer_pipeline": "align",
    "mmd2": "mmd",
    "mmd2_grad": "gradient",
    "mmd_matrix": "mmd",
    "pack_domains": "splitting",
    "permuted_mmd2": "mmd",
    "prediction_entropy": "unlabelled",
    "project": "ops",
    "proxy_a_distance": "unlabelled",
    "save": "persist",
    "select_alignment": "selection",
    "soft_neighborhood_density": "unlabelled",
    "transfer": "job",
    "two_sample_test": "two_sample",
    "unpack_domains": "splitting",
    "witness": "mmd",
}

__all__ = [
    "AlignmentSelection",
    "AugmentedRidge",
    "BDA",
    "CORAL",
    "CircularValidation",
    "DeepEmbeddedValidation",
    "DegenerateBandwidthWarning",
    "DensityRatioWeights",
    "DomainScaleWarning",
    "DomainSplit",
    "EasyTL",
    "EmbeddingDisplay",
    "Energy",
    "Exponential",
    "FeatureAugmentation",
    "GFK",
    "IMQ",
    "ImportanceWeightedScorer",
    "JDA",
    "JGSA",
    "KLIEP",
    "KMM",
    "Laplacian",
    "Linear",
    "LinearOT",
    "LinearSourceClassifier",
    "LinearSourceRegressor",
    "MEDA",
    "MIDA",
    "MLPSourceClassifier",
    "MLPSourceRegressor",
    "MMDScorer",
    "Matern",
    "MeanDiscrepancy",
    "MeanGapDisplay",
    "ModelFileError",
    "NearestNeighbourWeights",
    "NoTargetWarning",
    "NystroemFeatures",
    "OptimalTransport",
    "PackedDomains",
    "Polynomial",
    "PredictionEntropyScorer",
    "ProxyADistanceScorer",
    "RBF",
    "RandomFourierFeatures",
    "RationalQuadratic",
    "RegularizedTransferClassifier",
    "RegularizedTransferRegressor",
    "RuLSIF",
    "SemiSupervisedTCA",
    "SoftNeighborhoodDensity",
    "SpectrumDisplay",
    "StandardScaling",
    "SubspaceAlignment",
    "TCA",
    "TJM",
    "TargetShiftWeights",
    "TrAdaBoostClassifier",
    "TrAdaBoostRegressor",
    "TrainingDivergedError",
    "TransferClassifier",
    "TransferRegressor",
    "TwoSampleResult",
    "__version__",
    "backends",
    "block_sums",
    "config",
    "density_ratio",
    "dev_risk",
    "fine_tune",
    "importance_weighted_score",
    "kernel_matmul",
    "kernel_matrix",
    "load",
    "make_transfer_pipeline",
    "mmd2",
    "mmd2_grad",
    "mmd_matrix",
    "pack_domains",
    "permuted_mmd2",
    "prediction_entropy",
    "project",
    "proxy_a_distance",
    "save",
    "select_alignment",
    "soft_neighborhood_density",
    "transfer",
    "two_sample_test",
    "unpack_domains",
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
