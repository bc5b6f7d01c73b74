"""Every estimator of `align`, once, with what the laws of `test_align_laws` need to know about it."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import isthmus as im
from sklearn.linear_model import LogisticRegression, Ridge


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


KNOWN: dict[str, Any] = {"kind": "predicts", "labels": True, "known": True}
FOLDS = KNOWN | {"repeats": False}  # which know rows, not repetitions

TABLE = [
    Row(im.MeanDiscrepancy(), grid={"keep": ["rest", "directions"]}),
    Row(im.MeanDiscrepancy(keep="directions")),
    Row(im.CORAL(), grid={"ridge": [0.1, 1.0]}),
    Row(im.CORAL(shrinkage="ledoit_wolf")),
    Row(im.CORAL(shrinkage="oas")),
    Row(im.LinearOT(), grid={"shrinkage": [None, 0.1]}),
    Row(im.StandardScaling(), grid={"with_std": [False, True]}),
    Row(im.SubspaceAlignment(), grid={"n_components": [2, 3]}),
    Row(im.GFK(), grid={"n_components": [1, 2]}),
    Row(im.GFK("auto", with_mean=True)),
    Row(im.TCA(3), grid={"n_components": [2, 3]}),
    Row(im.TCA(3, kernel=im.Linear())),
    Row(im.TCA(3, kernel=im.RBF(2.0)), grid={"reg": [0.1, 1.0]}, close=1e-7),
    Row(im.TCA(3, kernel=im.RBF(2.0), eigen_solver="krylov"), close=1e-6),
    Row(im.TCA(3, kernel=im.RBF(2.0), n_landmarks=15), repeats=False, close=1e-7),
    Row(im.FeatureAugmentation(), grid={"intercept": [False, True]}),
    Row(im.FeatureAugmentation(intercept=True)),
    Row(im.EasyTL(), kind="predicts", labels=True, grid={"align": [None, "coral"]}),
    Row(im.EasyTL(align=None), kind="predicts", labels=True),
    Row(im.EasyTL(align=im.CORAL()), kind="predicts", labels=True, known=True),
    Row(im.TrAdaBoostClassifier(), grid={"n_estimators": [1, 3]}, **KNOWN),
    Row(im.TrAdaBoostRegressor(Ridge(10.0)), grid={"n_estimators": [1, 3]}, **KNOWN, numbers=True),
    Row(im.TrAdaBoostRegressor(two_stage=True, n_estimators=2, n_steps=2), **FOLDS, numbers=True),
    Row(im.RegularizedTransferClassifier(), grid={"reg": [0.1, 1.0]}, **KNOWN),
    Row(im.RegularizedTransferClassifier(LogisticRegression(), reg=[0.1, 1.0]), **FOLDS),
    Row(im.RegularizedTransferRegressor(), grid={"reg": [0.1, 1.0]}, **KNOWN, numbers=True),
    Row(im.RegularizedTransferRegressor(reg=None), **FOLDS, numbers=True),
    Row(im.AugmentedRidge(), grid={"reg_domain": [0.1, 1.0]}, **KNOWN, numbers=True),
    Row(im.KMM(im.RBF(2.0)), kind="weighs", grid={"bound": [2.0, 1000.0]}),
    Row(im.KMM(im.Linear(), eps=0.1), kind="weighs"),
    Row(im.TargetShiftWeights(im.RBF(2.0)), kind="weighs", grid={"eps": [0.1, 0.5]}, labels=True),
    Row(im.TargetShiftWeights(im.RBF(2.0)), kind="weighs", labels=True, numbers=True, close=1e-6),
    Row(im.KLIEP(), kind="weighs", grid={"n_centres": [10, 20]}),
    Row(im.RuLSIF(), kind="weighs", grid={"alpha": [0.0, 0.5]}),
    Row(im.RuLSIF(alpha=0), kind="weighs"),
    Row(im.DensityRatioWeights(), kind="weighs", grid={"bound": [2.0, None]}, close=1e-4),
    Row(im.NearestNeighbourWeights(), kind="weighs", grid={"smoothing": [0.5, 1.0]}),
    Row(im.JDA(3), labels=True, grid={"n_iter": [1, 4], "normalize": ["both", None]}),
    Row(im.JDA(3, kernel=im.Linear(), classifier=LogisticRegression()), labels=True),
    Row(im.JDA(3, kernel=im.RBF(1.0), normalize="input"), labels=True, known=True, close=1e-7),
    Row(im.BDA(3), labels=True, grid={"mu": [0.3, "estimate"], "weighted": [False, "paper"]}),
    Row(im.BDA(3, weighted="released", scaling="metric"), labels=True, known=True),
    Row(im.MEDA(), kind="predicts", labels=True, grid={"reg": [1.0, 10.0], "n_components": [2, None]}),
    Row(im.MEDA(kernel=im.RBF() + im.Linear()), kind="predicts", labels=True, known=True),
    Row(im.MEDA(n_landmarks=20), kind="predicts", labels=True),
    Row(im.TJM(3), grid={"n_components": [2, 3]}, close=1e-7),
    Row(
        im.TJM(3, kernel=im.RBF(1.0), class_columns=True, eigen_solver="krylov"),
        labels=True,
        known=True,
        close=1e-6,
    ),
    Row(im.JGSA(3), grid={"beta": [0.01, 0.1]}, labels=True, close=1e-7),
    Row(im.JGSA(3, kernel=im.RBF(1.0)), labels=True, known=True, close=1e-6),
    Row(im.SemiSupervisedTCA(3), grid={"gamma": [0.1, 0.5]}, labels=True, close=1e-7),
    Row(im.SemiSupervisedTCA(3, kernel=im.RBF(2.0)), labels=True, known=True, close=1e-7),
    Row(im.MIDA(3), grid={"mu": [1.0, 10.0]}, labels=True, close=1e-7),
    Row(im.MIDA(3, kernel=im.RBF(2.0), eigen_solver="krylov"), labels=True, known=True, close=1e-6),
]
if find_spec("ot"):
    TABLE += [
        Row(im.OptimalTransport("emd"), grid={"norm": ["max", None]}),
        Row(im.OptimalTransport(reg=1.0), grid={"reg": [0.5, 1.0]}),
    ]
