"""Transfer of instances: boosting that forgets the source rows which do not fit the target. TrAdaBoost."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.validation import has_fit_parameter

from ..arrays import Array
from .base import TargetPredictor
from .checks import check_count, check_flag
from .domains import Domains
from .labelled import Labelled, deal_folds, labelled_rows, need_target

__all__ = ["TrAdaBoostClassifier", "TrAdaBoostRegressor"]

# A round that repeats the one before on the target has an error of 1/2; rounding must not decide there.
HALF = 0.5 - 1e-9
ROUNDING = 64  # errors of so many units in the last place are none
LEAST_ERROR = 1e-3  # a round without an error on the target would get all the votes


class _Boosted(TargetPredictor):
    """What both share: the checks, the weighted fits, the votes."""

    estimator: Any
    n_estimators: int
    _without_target = "it is its estimator, fitted on the source"

    def _labelled(
        self, domains: Domains, source_weight: Array | None, target_weight: Array | None
    ) -> Labelled:
        known = labelled_rows(domains, source_weight, target_weight, classes=is_classifier(self))
        if domains.X_target is not None:
            need_target(known, type(self).__name__)
        return known

    def _model(self) -> Any:
        model = self.estimator
        if model is None:
            return LogisticRegression(max_iter=1000) if is_classifier(self) else Ridge()
        right = is_classifier if is_classifier(self) else is_regressor
        if not (hasattr(model, "fit") and right(model)):
            kind = "classifier" if is_classifier(self) else "regressor"
            raise TypeError(f"estimator must be a {kind}, got {type(model).__name__}")
        if not has_fit_parameter(model, "sample_weight"):
            raise ValueError(
                f"estimator must take sample_weight in fit, which {type(model).__name__} does not"
            )
        return model

    def _fitted(self, rows: Array, labels: Array, weight: Array) -> Any:
        """A fitted copy of the estimator."""
        return clone(self._model()).fit(rows, labels, sample_weight=weight)

    def _boost(self, known: Labelled, n_rounds: int) -> None:
        """The rounds of TrAdaBoost."""
        rows, labels, weight, target = known
        fall = _fall(weight[~target].sum(), n_rounds)
        estimators: list[Any] = []
        errors: list[float] = []
        for _ in range(n_rounds):
            estimator = self._fitted(rows, labels, weight)
            off = self._errors(labels, np.asarray(estimator.predict(rows)))
            error = float(weight[target] @ off[target] / weight[target].sum())
            if error < HALF or not errors:
                estimators.append(estimator)
                errors.append(error)
            if error >= HALF:
                break
            weight = _reweighed(weight, off, target, fall, error)
        if errors[0] >= HALF:
            warnings.warn(
                f"{type(self).__name__} stopped after one round, with an error of {errors[0]:.2f} on the "
                "target where less than 0.5 is needed: the estimator fitted on all rows predicts alone",
                UserWarning,
                stacklevel=6,
            )
        self._keep(estimators, errors, first=(len(errors) + 1) // 2 - 1)

    def _keep(self, estimators: list[Any], errors: list[float], *, first: int = 0) -> None:
        """Keep the rounds; those before `first` have no vote."""
        self.estimators_, self.estimator_errors_ = estimators, np.array(errors)
        self.estimator_weights_: Array = _votes(errors, first)

    def _learn_alone(self, domains: Domains, source_weight: Array | None) -> None:
        known = labelled_rows(domains, source_weight, None, classes=is_classifier(self))
        if is_classifier(self):
            self.classes_ = np.unique(known.labels)
        self._keep([self._fitted(known.rows, known.labels, known.weight)], [0.0])

    def _errors(self, labels: Array, guesses: Array) -> Array:
        """The error (n,) of each row, in [0, 1]."""
        raise NotImplementedError


class TrAdaBoostClassifier(ClassifierMixin, _Boosted):  # type: ignore[misc]
    """Boosting on source and labelled target rows that turns away from misleading source rows.

    Each of N rounds fits the estimator on all labelled rows with weights w. With eps the weighted share of
    errors on the target rows and beta_t = eps / (1 - eps), target rows it got wrong are multiplied by
    1 / beta_t, source rows it got wrong by 1 / (1 + sqrt(2 ln(ns) / N)). A round with eps >= 1/2 ends it.
    Rounds ceil(N / 2) to N vote with ln(1 / beta_t), for any number of classes; eps counts as at least 1e-3.

    Parameters
    ----------
    estimator : a classifier whose `fit` takes sample_weight; None: LogisticRegression(max_iter=1000)
    n_estimators : int >= 1, N

    Fitted: `classes_` (C,), those of both domains; `estimators_`, a list of up to N fitted classifiers;
    `estimator_errors_`, their eps, and `estimator_weights_`, their votes (0 in the first half);
    `has_target_`.

    Target rows without a label play no part; without any labelled one there is a ValueError. `sample_weight`
    is the weight to start from, and a weight k counts as the row repeated k times. Where the first round ends
    it, its estimator predicts alone, with a UserWarning.

    Cost: N fits on ns + nt rows. Source: Dai, Yang, Xue, Yu, ICML 2007.
    """

    def __init__(self, estimator: Any = None, *, n_estimators: int = 10) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        check_count(self, "n_estimators")
        n_rounds = int(self.n_estimators)
        known = self._labelled(domains, source_weight, target_weight)
        self.classes_ = np.unique(known.labels)
        self._boost(known, n_rounds)

    def _errors(self, labels: Array, guesses: Array) -> Array:
        return np.asarray(guesses != labels, dtype=np.float64)

    def predict(self, X: Any) -> Array:
        """The classes (n,) of target rows `X` (n, d)."""
        votes = self._votes(X)
        return np.asarray(self.classes_[votes.argmax(axis=1)])

    def decision_function(self, X: Any) -> Array:
        """Share of the votes for each class (n, C); for two classes the second's minus the first's, (n,)."""
        votes = self._votes(X)
        return np.asarray(votes[:, 1] - votes[:, 0]) if len(self.classes_) == 2 else votes

    def _votes(self, X: Any) -> Array:
        rows = self._checked(X)
        votes = np.zeros((len(rows), len(self.classes_)))
        for estimator, weight in zip(self.estimators_, self.estimator_weights_, strict=True):
            if weight > 0:
                votes += weight * (np.asarray(estimator.predict(rows))[:, None] == self.classes_)
        return np.asarray(votes / self.estimator_weights_.sum())


class TrAdaBoostRegressor(RegressorMixin, _Boosted):  # type: ignore[misc]
    """TrAdaBoost for numbers (R2), in one stage or in two.

    One stage: as `TrAdaBoostClassifier`, with the errors e_i = |y_i - f(x_i)| / max_i |y_i - f(x_i)| over all
    rows in place of 0 and 1; prediction is the weighted median of rounds ceil(N / 2) to N.

    Two stages: S steps. At step t = 0 .. S - 1 the target rows have the share s + (1 - s) t / (S - 1) of the
    weight, s their share at the start: source rows are multiplied by b^e_i, b found by bisection. Each step
    fits AdaBoost.R2 with N rounds, in which the source rows keep their weights and the target rows their
    share. The step of least cross-validated squared error on the target rows predicts, by the weighted median
    of all its rounds.

    Parameters
    ----------
    estimator : a regressor whose `fit` takes sample_weight; None: Ridge()
    n_estimators : int >= 1, N
    two_stage : whether to take the second form
    n_steps : int >= 2, S (two stages)
    n_folds : int >= 2, of the labelled target rows (two stages), at most as many as there are rows. Rows are
        dealt to folds in the order of their label, so the order they come in plays no part.

    Fitted: `estimators_`, a list of up to N fitted regressors; `estimator_errors_`, their weighted errors;
    `estimator_weights_`, their votes; `step_errors_` (S,) and `step_` with two stages; `has_target_`.

    Target rows without a label play no part; without any labelled one there is a ValueError. `sample_weight`
    is the weight to start from, and a weight k counts as the row repeated k times (but for the folds).

    Cost: N fits on ns + nt rows; with two stages S (1 + N (n_folds + 1)) of them.
    Source: Pardoe, Stone, ICML 2010.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 10,
        two_stage: bool = False,
        n_steps: int = 10,
        n_folds: int = 5,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.two_stage = two_stage
        self.n_steps = n_steps
        self.n_folds = n_folds

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        check_count(self, "n_estimators")
        check_flag(self, "two_stage")
        check_count(self, "n_steps", 2)
        check_count(self, "n_folds", 2)
        n_rounds, n_steps, n_folds = int(self.n_estimators), int(self.n_steps), int(self.n_folds)
        known = self._labelled(domains, source_weight, target_weight)
        if self.two_stage:
            self._learn_in_steps(known, n_rounds, n_steps, n_folds)
        else:
            self._boost(known, n_rounds)

    def _errors(self, labels: Array, guesses: Array) -> Array:
        return _relative_errors(labels, guesses)

    def predict(self, X: Any) -> Array:
        """The predicted values (n,) of target rows `X` (n, d)."""
        return _weighted_median(self._checked(X), self.estimators_, self.estimator_weights_)

    def _learn_in_steps(self, known: Labelled, n_rounds: int, n_steps: int, n_folds: int) -> None:
        rows, labels, weight, target = known
        if target.sum() < 2:
            raise ValueError("two_stage=True needs at least 2 labelled target rows to cross-validate, got 1")
        start = weight[target].sum() / weight.sum()
        fold = np.full(len(rows), -1)
        fold[target] = deal_folds(rows[target], labels[target], min(n_folds, int(target.sum())))
        self.step_errors_: Array = np.empty(n_steps)
        best: tuple[list[Any], list[float]] | None = None
        for step in range(n_steps):
            share = start + step / (n_steps - 1) * (1 - start)
            if step:
                estimator = self._fitted(rows, labels, weight)
                off = _relative_errors(labels, estimator.predict(rows))
                goal = weight[target].sum() * (1 - share) / share
                weight = weight.copy()
                weight[~target] = _shrunk(weight[~target], off[~target], goal)
            lost = 0.0
            for held in range(fold.max() + 1):
                rest, out = fold != held, fold == held
                estimators, errors = self._boosted(
                    rows[rest], labels[rest], weight[rest], target[rest], n_rounds
                )
                guess = _weighted_median(rows[out], estimators, _votes(errors))
                lost += float(known.weight[out] @ (labels[out] - guess) ** 2)
            self.step_errors_[step] = lost / known.weight[target].sum()
            if not best or self.step_errors_[step] < self.step_errors_[:step].min():
                best = self._boosted(rows, labels, weight, target, n_rounds)
        assert best is not None
        self.step_ = int(self.step_errors_.argmin())
        self._keep(*best)

    def _boosted(
        self, rows: Array, labels: Array, weight: Array, target: Array, n_rounds: int
    ) -> tuple[list[Any], list[float]]:
        """Rounds of AdaBoost.R2 in which only the target rows change weight, among themselves."""
        there = weight > 0
        rows, labels, weight, target = rows[there], labels[there], weight[there], target[there]
        share = weight[target].sum()
        estimators: list[Any] = []
        errors: list[float] = []
        for _ in range(n_rounds):
            estimator = self._fitted(rows, labels, weight)
            off = _relative_errors(labels, estimator.predict(rows))
            error = float(weight @ off / weight.sum())
            if error < 0.5 or not errors:
                estimators.append(estimator)
                errors.append(error)
            if error >= 0.5 or error == 0:
                break
            weight = weight.copy()
            weight[target] *= (error / (1 - error)) ** (1 - off[target])
            weight[target] *= share / weight[target].sum()
        return estimators, errors


def _fall(n_source: float, n_rounds: int) -> float:
    """beta, by which a source row falls that was got wrong."""
    return float(1 / (1 + np.sqrt(2 * np.log(max(n_source, 1)) / n_rounds)))


def _reweighed(weight: Array, off: Array, target: Array, fall: float, error: float) -> Array:
    """Weights after a round with errors `off` (n,) in [0, 1], of the same sum."""
    error = max(error, LEAST_ERROR)
    factor = np.where(target, ((1 - error) / error) ** off, fall**off)
    changed = weight * factor
    return np.asarray(changed * (weight.sum() / changed.sum()))


def _relative_errors(labels: Array, guess: Array) -> Array:
    off = np.abs(labels - guess)
    most, precision = off.max(), np.result_type(guess, np.float32)
    if most <= ROUNDING * np.finfo(precision).eps * np.abs(labels).max():
        return np.zeros(len(off))
    return np.asarray(off / most)


def _shrunk(weight: Array, off: Array, goal: float) -> Array:
    """weight * b^off with the sum `goal`, 0 <= b <= 1. Rows without error shrink too if b = 0 leaves more."""
    least = weight[off == 0].sum()
    if least >= goal:
        return np.where(off == 0, weight * (goal / least if least > 0 else 0.0), 0.0)
    low, high = -1.0, 0.0  # of log b
    while (weight * np.exp(low * off)).sum() > goal:
        low *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if (weight * np.exp(middle * off)).sum() > goal:
            high = middle
        else:
            low = middle
    return np.asarray(weight * np.exp(low * off))


def _votes(errors: list[float], first: int = 0) -> Array:
    """The votes ln(1 / beta_t) of all rounds, none before `first`; one round decides alone, however poor."""
    if len(errors) == 1:
        return np.ones(1)
    at_least = np.maximum(errors, LEAST_ERROR)
    votes = np.log((1 - at_least) / at_least)
    votes[:first] = 0
    return np.asarray(votes)


def _weighted_median(rows: Array, estimators: list[Any], votes: Array) -> Array:
    """The least prediction (n,) that gathers half of the votes with those below it."""
    voters = np.flatnonzero(votes > 0)
    guesses = np.array([np.asarray(estimators[i].predict(rows)) for i in voters])
    order = np.argsort(guesses, axis=0, kind="stable")
    gathered = np.cumsum(votes[voters][order], axis=0)
    at = (gathered >= gathered[-1] / 2).argmax(axis=0)
    return np.asarray(np.take_along_axis(guesses, np.take_along_axis(order, at[None], 0), 0)[0])
