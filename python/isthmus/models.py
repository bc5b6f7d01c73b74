"""Source models: linear and multilayer perceptron, each a classifier and a regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin

from .arrays import Array
from .source_model import SourceModel, winners
from .training import Settings, Term

__all__ = ["LinearSourceClassifier", "LinearSourceRegressor", "MLPSourceClassifier", "MLPSourceRegressor"]


class _Classifier(ClassifierMixin):  # type: ignore[misc]
    def predict(self, X: Any) -> Array:
        """The most probable class of each row, shape (n,), on the host."""
        chosen = winners(self._scores(X))
        return np.asarray(self.classes_[chosen])

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities, shape (n, n_classes), columns in the order of `classes_`, on the host."""
        scores = self._scores(X)
        if scores.shape[1] > 1:
            return np.asarray(softmax(scores, axis=1))
        second = expit(scores)
        return np.hstack([1 - second, second])


class _Regressor(RegressorMixin):  # type: ignore[misc]
    def predict(self, X: Any) -> Array:
        """The predicted value of each row, shape (n,), of the model's float type, on the host."""
        return np.asarray(self._scores(X)[:, 0])


class _Linear(SourceModel):
    _solvers = ("exact", "adam", "sgd")

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        solver: str = "exact",
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.01,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
    ) -> None:
        self.alpha = alpha
        self.solver = solver
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from X (n, d), y (n,) and, with solver="exact", row weights (n,): weight k counts as k rows.

        Raises ValueError for rows that are not finite, lengths that disagree, fewer than two rows or classes.
        """
        return self._fit(X, y, sample_weight)

    def _hidden_sizes(self) -> list[int]:
        return []

    def _activation(self) -> str:
        return "identity"

    def _penalty_rows(self, terms: list[Term], settings: Settings) -> int:
        return sum(len(term.X) for term in terms)


class _MLP(SourceModel):
    _solvers = ("adam", "sgd")

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from X (n, d) and y (n,) by mini-batches.

        Raises
        ------
        ValueError : a parameter out of range, rows that are not finite, lengths that disagree, fewer than two
            rows or classes.
        TrainingDivergedError : the loss is no longer finite; the best parameters so far are kept.
        """
        return self._fit(X, y)

    def _hidden_sizes(self) -> list[int]:
        return [int(size) for size in np.atleast_1d(self.hidden_layer_sizes)]

    def _activation(self) -> str:
        return self.activation

    def _penalty_rows(self, terms: list[Term], settings: Settings) -> int:
        return sum(settings.rows_per_step(len(term.X)) for term in terms)


class LinearSourceClassifier(_Classifier, _Linear):
    """Logistic regression (multinomial for more than two classes) as a source model; f(x) = x.

    Minimises mean cross-entropy + alpha |W|^2 / (2 n): scikit-learn's LogisticRegression with C = 1 / alpha.
    `solver="exact"` finds the minimum by L-BFGS in float64; "adam" and "sgd" take mini-batch steps, as tuning
    does. The other parameters steer those steps and are named as in scikit-learn's MLPClassifier.
    """


class LinearSourceRegressor(_Regressor, _Linear):
    """Ridge regression as a source model; f(x) = x.

    Minimises half the mean squared error + alpha |W|^2 / (2 n): scikit-learn's Ridge with the same alpha.
    `solver="exact"` solves the least-squares problem in float64; "adam" and "sgd" take mini-batch steps, as
    tuning does. The other parameters steer those steps and are named as in scikit-learn's MLPRegressor.
    """


class MLPSourceClassifier(_Classifier, _MLP):
    """Multilayer perceptron classifier: feature map f(x) = act(W'x + b), once per hidden layer, and a head.

    Parameters have scikit-learn's MLPClassifier names, meanings and defaults. The loss is cross-entropy, plus
    alpha |W|^2 / (2 batch rows). float32 rows train a float32 model. One thread may fit an object at a time.
    """


class MLPSourceRegressor(_Regressor, _MLP):
    """Multilayer perceptron regressor: feature map f(x) = act(W'x + b), once per hidden layer, and a head.

    Parameters have scikit-learn's MLPRegressor names, meanings and defaults. The loss is half the mean square
    error, plus alpha |W|^2 / (2 batch rows); y is not scaled inside.
    """
