"""Alignment of two domains: scikit-learn estimators with one `fit` for both, one family a file."""

from .augment import AugmentedRidge, FeatureAugmentation
from .biased import RegularizedTransferClassifier, RegularizedTransferRegressor
from .components import TCA
from .instance import TrAdaBoostClassifier, TrAdaBoostRegressor
from .moments import CORAL, LinearOT, MeanDiscrepancy
from .nearest import EasyTL
from .pipeline import TransferPipeline, make_transfer_pipeline
from .scaling import StandardScaling
from .subspace import GFK, SubspaceAlignment
from .transport import OptimalTransport

__all__ = [
    "CORAL",
    "GFK",
    "TCA",
    "AugmentedRidge",
    "EasyTL",
    "FeatureAugmentation",
    "LinearOT",
    "MeanDiscrepancy",
    "OptimalTransport",
    "RegularizedTransferClassifier",
    "RegularizedTransferRegressor",
    "StandardScaling",
    "SubspaceAlignment",
    "TrAdaBoostClassifier",
    "TrAdaBoostRegressor",
    "TransferPipeline",
    "make_transfer_pipeline",
]
