"""Alignment of two domains: scikit-learn estimators with one `fit` for both, one family a file."""

from .augment import AugmentedRidge, FeatureAugmentation
from .biased import RegularizedTransferClassifier, RegularizedTransferRegressor
from .components import TCA
from .instance import TrAdaBoostClassifier, TrAdaBoostRegressor
from .moments import CORAL, MeanDiscrepancy
from .nearest import EasyTL
from .pipeline import TransferPipeline, make_transfer_pipeline

__all__ = [
    "CORAL",
    "TCA",
    "AugmentedRidge",
    "EasyTL",
    "FeatureAugmentation",
    "MeanDiscrepancy",
    "RegularizedTransferClassifier",
    "RegularizedTransferRegressor",
    "TrAdaBoostClassifier",
    "TrAdaBoostRegressor",
    "TransferPipeline",
    "make_transfer_pipeline",
]
