"""Alignment of two domains: scikit-learn estimators with one `fit` for both, one family a file."""

from .adaptation import BDA, JDA
from .augment import AugmentedRidge, FeatureAugmentation
from .biased import RegularizedTransferClassifier, RegularizedTransferRegressor
from .classify import MEDA
from .components import TCA
from .density import KLIEP, RuLSIF
from .dependence import MIDA, SemiSupervisedTCA
from .domain_classifier import DensityRatioWeights
from .instance import TrAdaBoostClassifier, TrAdaBoostRegressor
from .joint import JGSA, TJM
from .moments import CORAL, LinearOT, MeanDiscrepancy
from .nearest import EasyTL
from .neighbour_weights import NearestNeighbourWeights
from .pipeline import TransferPipeline, make_transfer_pipeline
from .reweight import KMM
from .scaling import StandardScaling
from .subspace import GFK, SubspaceAlignment
from .target_shift import TargetShiftWeights
from .transport import OptimalTransport

__all__ = [
    "JGSA",
    "MIDA",
    "TJM",
    "SemiSupervisedTCA",
    "BDA",
    "CORAL",
    "GFK",
    "JDA",
    "KLIEP",
    "KMM",
    "MEDA",
    "TCA",
    "AugmentedRidge",
    "DensityRatioWeights",
    "EasyTL",
    "FeatureAugmentation",
    "LinearOT",
    "MeanDiscrepancy",
    "NearestNeighbourWeights",
    "OptimalTransport",
    "RegularizedTransferClassifier",
    "RegularizedTransferRegressor",
    "RuLSIF",
    "StandardScaling",
    "SubspaceAlignment",
    "TargetShiftWeights",
    "TrAdaBoostClassifier",
    "TrAdaBoostRegressor",
    "TransferPipeline",
    "make_transfer_pipeline",
]
