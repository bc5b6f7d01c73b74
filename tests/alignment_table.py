"""Every estimator of `align`, once, with what the laws of `test_align_laws` need to know about it."""

from dataclasses import dataclass, field
from typing import Any

import isthmus as im


@dataclass(frozen=True)
class Row:
    """One estimator: `kind` "moves", "weighs" or "predicts"; `grid`: a parameter and two values to search.

    `labels`: it needs labels of the source; `known`: and of some target rows; `repeats`: a weight k is the
    row repeated k times; `close`: how near two ways to the same result come, relative to the largest number.
    """

    estimator: Any
    kind: str = "moves"
    grid: dict[str, list[Any]] = field(default_factory=dict)
    labels: bool = False
    known: bool = False
    repeats: bool = True
    close: float = 1e-9
    numbers: bool = False  # a regressor

    def __str__(self) -> str:
        return str(self.estimator).replace("\n", "").replace(" ", "")


TABLE = [
    Row(im.MeanDiscrepancy(), grid={"keep": ["rest", "directions"]}),
    Row(im.MeanDiscrepancy(keep="directions")),
    Row(im.CORAL(), grid={"ridge": [0.1, 1.0]}),
    Row(im.TCA(3), grid={"n_components": [2, 3]}),
    Row(im.TCA(3, kernel=im.Linear())),
    Row(im.TCA(3, kernel=im.RBF(2.0)), grid={"reg": [0.1, 1.0]}, close=1e-7),
]
