"""scikit-learn's own checks on every estimator of the package, with no expected failure."""

import isthmus as im
import numpy as np
import pandas as pd
import pytest
from alignment_table import TABLE
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

NETWORK = {"hidden_layer_sizes": (20,), "learning_rate_init": 0.02, "max_iter": 60, "random_state": 0}

ESTIMATORS = [
    *(row.estimator for row in TABLE),
    im.RandomFourierFeatures(),
    im.RandomFourierFeatures(20, kernel=im.Laplacian()),
    im.RandomFourierFeatures(20, kernel=im.Matern() + im.IMQ(), sampling="orthogonal"),
    im.RandomFourierFeatures(20, sampling="structured"),
    im.NystroemFeatures(),
    im.NystroemFeatures(5, kernel=im.Polynomial(degree=2), selection="kmeans++"),
    im.make_transfer_pipeline(im.CORAL(), LogisticRegression()),
    im.make_transfer_pipeline(None, Ridge()),
    im.LinearSourceClassifier(),
    im.LinearSourceRegressor(),
    im.MLPSourceClassifier(**NETWORK),
    im.MLPSourceRegressor(**NETWORK),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK)),
    im.TransferRegressor(im.MLPSourceRegressor(**NETWORK)),
    im.TransferClassifier(im.LinearSourceClassifier(), mode="features"),
    im.TransferRegressor(im.LinearSourceRegressor(), mode="features"),
]


# The checks call `fit` without a target, which is a warning tested with the aligners; and the networks train
# for fewer epochs than they would need.
@pytest.mark.filterwarnings("ignore::isthmus.NoTargetWarning")
@pytest.mark.filterwarnings("ignore:MLPSource.* reached max_iter:sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS, xfail_strict=True)
def test_scikit_learn_check_passes(estimator, check):
    check(estimator)


class _AgainstFixedTarget:
    """The checks for source rows where there is a target to align with: without one all is the identity."""

    def fit(self, X, y=None, sample_weight=None):
        return super().fit(X, y, _fixed_target(X), sample_weight=sample_weight)

    def fit_transform(self, X, y=None, sample_weight=None):
        return super().fit_transform(X, y, _fixed_target(X), sample_weight=sample_weight)

    def transform(self, X):
        return super().transform(X, domain="source")


def _fixed_target(X):
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    width = shape[1] if len(shape) == 2 else 1
    return np.random.default_rng(0).normal(1.0, 2.0, (40, width))


class _WithLabelledTarget:
    """The checks for predictors of the target: the rows given are the source's and the target's alike."""

    def fit(self, X, y=None, sample_weight=None):
        if np.ndim(np.asarray(X)) != 2 or np.shape(np.asarray(y))[:1] != np.shape(np.asarray(X))[:1]:
            return super().fit(X, y, sample_weight=sample_weight)  # which has to say what is wrong
        both = pd.concat([X, X]) if hasattr(X, "columns") else np.vstack([np.asarray(X)] * 2)
        labels = np.concatenate([np.asarray(y)] * 2)
        if sample_weight is not None:
            sample_weight = np.concatenate([np.asarray(sample_weight)] * 2)
        domain = np.repeat([0, -1], len(labels) // 2)
        known = {"sample_domain": domain, "target_labelled": domain < 0, "sample_weight": sample_weight}
        return super().fit(both, labels, **known)


def _with_target(row):
    """The same estimator as a class of this module, as pickles need it."""
    estimator, name = row.estimator, type(row.estimator).__name__
    mixin = _WithLabelledTarget if row.kind == "predicts" else _AgainstFixedTarget
    kind = globals().get(name) or type(name, (mixin, type(estimator)), {"__module__": __name__})
    globals()[name] = kind
    return kind(**estimator.get_params(deep=False))


ALIGNED = [_with_target(row) for row in TABLE if row.repeats]


# On the random labels of some checks boosting has nothing to gain.
@pytest.mark.filterwarnings("ignore:TrAdaBoost.* stopped after one round:UserWarning")
@parametrize_with_checks(ALIGNED, xfail_strict=True)
def test_scikit_learn_check_passes_with_a_target(estimator, check):
    check(estimator)
