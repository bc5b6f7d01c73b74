"""Alignment of two domains: scikit-learn estimators with one `fit` for both, one family a file."""

from .components import TCA
from .moments import CORAL, MeanDiscrepancy
from .pipeline import TransferPipeline, make_transfer_pipeline

__all__ = ["CORAL", "TCA", "MeanDiscrepancy", "TransferPipeline", "make_transfer_pipeline"]
