"""One fitted model of every class that a model file may hold, for the tests of persistence."""

import isthmus as im
import numpy as np
from alignment_table import TABLE
from isthmus.align import TransferPipeline
from isthmus.align.base import DomainEstimator, TargetPredictor
from sklearn.base import clone, is_regressor
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

NETWORK = {"hidden_layer_sizes": (11, 5), "max_iter": 4, "random_state": 0}


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6))
    return X, np.digitize(X[:, 0], [-0.4, 0.4]), 1.5 * X[::-1] + 0.3


def fitted(model, X, y, X_target):
    """The model on both domains where it takes two, with values for labels where it is a regressor."""
    y = X[:, 0] if is_regressor(model) else y
    if isinstance(model, im.TransferClassifier | im.TransferRegressor):
        return model.fit(X, y, X_target, y)
    if isinstance(model, TargetPredictor):
        return model.fit(X, y, X_target, y[::-1])  # X_target is made of X in reverse
    return (
        model.fit(X, y, X_target)
        if isinstance(model, DomainEstimator | TransferPipeline)
        else model.fit(X, y)
    )


MODELS = [
    im.LinearSourceClassifier(),
    im.LinearSourceRegressor(),
    im.MLPSourceClassifier(**NETWORK),
    im.MLPSourceRegressor(**NETWORK),
    *(row.estimator for row in TABLE),
    im.TCA(n_components=3, kernel=im.RBF(bandwidth=[1.0, 2.0]) + 0.5 * im.Linear()),
    im.JGSA(3, kernel=im.Laplacian(), n_landmarks=20),
    im.MIDA(3, kernel=im.RBF(), augment=None),
    im.RandomFourierFeatures(8, kernel=im.RBF([1.0, 2.0]) + im.Matern(), random_state=0),
    im.RandomFourierFeatures(130, sampling="structured", random_state=0),
    im.NystroemFeatures(7, random_state=0),
    im.make_transfer_pipeline(im.CORAL(), LinearSVC()),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), align=im.CORAL()),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), mode="partial", freeze=["hidden0", 1]),
    im.TransferClassifier(mode="features", align=im.TCA(n_components=2), model=KNeighborsClassifier(3)),
    im.TransferRegressor(im.LinearSourceRegressor(), mode="features", model=KNeighborsRegressor(2)),
    im.TransferRegressor(im.MLPSourceRegressor(**NETWORK), mode="features", model=Ridge()),
    StandardScaler(),
    PCA(3),
    LogisticRegression(),
    Ridge(),
    LinearSVC(),
    KNeighborsClassifier(algorithm="brute"),
    KNeighborsRegressor(weights="distance"),
    make_pipeline(StandardScaler(), PCA(4), im.LinearSourceClassifier()),
    make_pipeline(StandardScaler(), im.TransferClassifier(im.MLPSourceClassifier(**NETWORK))),
]


def outputs(model, X):
    names = ("predict", "predict_proba", "decision_function", "transform", "features", "density_ratio")
    return {name: np.asarray(getattr(model, name)(X)) for name in names if hasattr(model, name)}


def model_of(model):
    X, y, X_target = data()
    if isinstance(model, type(MODELS[-1])) and "transfer" in model.steps[-1][0]:
        return clone(model).fit(X, y, transferclassifier__X_target=X_target, transferclassifier__y_target=y)
    return fitted(clone(model), X, y, X_target)
