"""Transfer of parameters: linear models for the target, held near the weights of a source model."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ..arrays import Array
from ..kernel_base import real
from ..models import LinearSourceClassifier, LinearSourceRegressor
from .base import TargetPredictor
from .domains import Domains
from .labelled import Labelled, deal_folds, is_text, labelled_rows, need_target

__all__ = ["RegularizedTransferClassifier", "RegularizedTransferRegressor"]

REGS = tuple(10.0**power for power in range(-3, 5))
N_FOLDS = 5
TOLERANCE = 1e-8  # largest entry of the gradient on arrival, in the basis of `_Problem`
ROUGH = 1e-5  # the same, to compare values of reg


class _Biased(TargetPredictor):
    """What both share: the source's weights and the choice of reg."""

    source: Any
    reg: Any
    _without_target = "it is the source model"

    def __init__(self, source: Any = None, *, reg: Any = 1.0) -> None:
        self.source = source
        self.reg = reg

    def _source_model(self, known: Labelled) -> Any:
        """The source's linear model: fitted here on the source rows, or the user's."""
        model = self.source
        if model is None:
            model = LinearSourceClassifier() if is_classifier(self) else LinearSourceRegressor()
        right = is_classifier if is_classifier(self) else is_regressor
        if not (hasattr(model, "fit") and right(model)):
            kind = "classifier" if is_classifier(self) else "regressor"
            raise TypeError(f"source must be a linear {kind}, got {type(model).__name__}")
        try:
            check_is_fitted(model)
        except NotFittedError:
            rows, labels, weight = (part[~known.target] for part in known[:3])
            if (weight == 1).all():
                model = clone(model).fit(rows, labels)
            elif has_fit_parameter(model, "sample_weight"):
                model = clone(model).fit(rows, labels, sample_weight=weight)
            else:
                raise ValueError(f"{type(model).__name__}.fit takes no sample_weight, got one") from None
        if model.n_features_in_ != known.rows.shape[1]:
            raise ValueError(
                f"source must take X's width d = {known.rows.shape[1]}, got a model fitted on "
                f"{model.n_features_in_} features"
            )
        return model

    def _regs(self) -> list[float]:
        """The values of reg to choose from."""
        chosen = REGS if self.reg is None else np.atleast_1d(np.asarray(self.reg, dtype=object)).tolist()
        for value in chosen:
            if not 0 < real(value) < np.inf:
                raise ValueError(
                    f"reg must be a finite number above 0, a sequence of these or None, got {self.reg!r}"
                )
        if not len(chosen):
            raise ValueError("reg must hold at least one number, got an empty sequence")
        return [float(value) for value in chosen]

    def _on_target(self, domains: Domains, known: Labelled) -> Labelled | None:
        """The labelled target rows; None without any target."""
        if domains.X_target is None:
            return None
        need_target(known, type(self).__name__)
        return Labelled(*(part[known.target] for part in known))


class RegularizedTransferRegressor(RegressorMixin, _Biased):  # type: ignore[misc]
    """Ridge regression on the labelled target rows around the source's weights w_s instead of around 0.

    Minimises sum_i (x_i'w + b - y_i)^2 + reg |w - w_s|^2 over the target; b is not penalised.

    Parameters
    ----------
    source : a linear regressor with `coef_` and `intercept_` such as Ridge, or a LinearSourceRegressor:
        fitted, or not (fitted on the source rows first); None: LinearSourceRegressor(). `clone`, and so
        GridSearchCV, takes the fit away from a model unless it stands in scikit-learn's FrozenEstimator.
    reg : float > 0 in the unit of X squared times rows; or a sequence of such, or None for 1e-3, 1e-2, ...,
        1e4, of which leave-one-out on the target rows, in closed form, takes the best

    Fitted: `coef_` (d,), `intercept_`, `source_coef_` (d,), `source_intercept_`, `reg_`, `has_target_`.

    Target rows without a label play no part; without any labelled one there is a ValueError. A weight k
    counts as the row repeated k times (but for leaving one out).

    Cost: O(m d min(m, d)) for m labelled target rows, beside the source's fit.
    Source: Chelba, Acero, EMNLP 2004 (for maximum entropy models).
    """

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        regs = self._regs()
        known = labelled_rows(domains, source_weight, target_weight, classes=False)
        target = self._on_target(domains, known)
        coef, intercept = _linear(self._source_model(known))
        if coef.shape[0] != 1:
            raise ValueError(f"source must predict one number, got {coef.shape[0]}")
        self.source_coef_: Array = coef[0]
        self.source_intercept_ = float(intercept[0])
        self.coef_, self.intercept_ = self.source_coef_.copy(), self.source_intercept_
        self.reg_ = regs[0]
        if target is None:
            return
        rows = target.rows.astype(np.float64)
        residual = target.labels - (rows @ self.source_coef_ + self.source_intercept_)
        if len(regs) > 1:
            _two_rows(target)
            found = RidgeCV(regs).fit(rows, residual, sample_weight=target.weight)
            self.reg_ = float(found.alpha_)
        else:
            found = Ridge(self.reg_, solver="svd").fit(rows, residual, sample_weight=target.weight)
        self.coef_ = self.source_coef_ + found.coef_
        self.intercept_ = self.source_intercept_ + float(found.intercept_)

    def predict(self, X: Any) -> Array:
        """The predicted values (n,) of target rows `X` (n, d), of X's float type."""
        rows = self._checked(X)
        return np.asarray(rows @ self.coef_.astype(rows.dtype) + rows.dtype.type(self.intercept_))


class RegularizedTransferClassifier(ClassifierMixin, _Biased):  # type: ignore[misc]
    """Logistic regression on the labelled target rows around the source's weights W_s instead of around 0.

    Minimises sum_i cross-entropy_i + reg |W - W_s|^2 / 2 over the target, so reg is 1 / C of scikit-learn's
    LogisticRegression; intercepts are not penalised. Two classes have one column of weights, more are
    multinomial. A class that the source lacks starts from 0. The scores of the mean target row change by
    amounts that sum to 0 over the classes seen in the target, which is no restriction when all are; a class
    that is not seen keeps its score there, which would otherwise fall without end.

    Parameters
    ----------
    source : a linear classifier with `coef_`, `intercept_` and `classes_` such as LogisticRegression, or a
        LinearSourceClassifier: fitted, or not (fitted on the source rows first); None:
        LinearSourceClassifier(). `clone`, and so GridSearchCV, takes the fit away from a model unless it
        stands in scikit-learn's FrozenEstimator.
    reg : float > 0; or a sequence of such, or None for 1e-3, 1e-2, ..., 1e4, of which the least cross-entropy
        in 5-fold cross-validation on the target rows takes the best. Rows are dealt to folds by their class.

    Fitted: `classes_` (C,), the source's and the target's; `coef_` (C, d) and `intercept_` (C,), or (1, d)
    and (1,) for two classes; `source_coef_` and `source_intercept_` of the same shapes; `reg_`; `n_iter_`;
    `has_target_`.

    Target rows without a label play no part; without any labelled one there is a ValueError. A weight k
    counts as the row repeated k times (but for the folds).

    Cost: O(m d min(m, d)) for m labelled target rows, then O(m min(m, d) C) an iteration of L-BFGS, beside
    the source's fit. Source: Chelba, Acero, EMNLP 2004.
    """

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        regs = self._regs()
        known = labelled_rows(domains, source_weight, target_weight, classes=True)
        target = self._on_target(domains, known)
        model = self._source_model(known)
        if is_text(model.classes_) != is_text(known.labels):
            raise ValueError(
                f"y must hold labels like the classes of source, {model.classes_.tolist()}, got "
                f"{np.unique(known.labels).tolist()}"
            )
        self.classes_ = np.unique(np.concatenate([model.classes_, known.labels]))
        self.source_coef_, self.source_intercept_ = _spread(*_linear(model), model.classes_, self.classes_)
        self.coef_, self.intercept_ = self.source_coef_.copy(), self.source_intercept_.copy()
        self.reg_, self.n_iter_ = regs[0], 0
        if target is None:
            return
        code = np.searchsorted(self.classes_, target.labels)
        problem = _Problem(target.rows, code, target.weight, self.source_coef_, self.source_intercept_)
        if len(regs) > 1:
            _two_rows(target)
            self.reg_ = self._chosen(regs, target, code)
        self.coef_, self.intercept_, self.n_iter_ = problem.solve(self.reg_)

    def _chosen(self, regs: list[float], target: Labelled, code: Array) -> float:
        """The reg of least cross-validated cross-entropy."""
        fold = deal_folds(target.rows, code, min(N_FOLDS, len(code)))
        start = self.source_coef_, self.source_intercept_
        lost = np.zeros(len(regs))
        for held in range(fold.max() + 1):
            rest, out = fold != held, fold == held
            problem = _Problem(target.rows[rest], code[rest], target.weight[rest], *start)
            for i, reg in enumerate(regs):
                coef, intercept, _ = problem.solve(reg, ROUGH)
                lost[i] += target.weight[out] @ _cross_entropies(
                    target.rows[out] @ coef.T + intercept, code[out]
                )
        return regs[int(lost.argmin())]

    def decision_function(self, X: Any) -> Array:
        """Scores (n, C), or (n,) for two classes, of target rows `X` (n, d)."""
        rows = self._checked(X)
        scores = rows @ self.coef_.astype(rows.dtype).T + self.intercept_.astype(rows.dtype)
        return np.asarray(scores[:, 0] if len(self.classes_) == 2 else scores)

    def predict(self, X: Any) -> Array:
        """The classes (n,) of target rows `X` (n, d)."""
        scores = self.decision_function(X)
        return np.asarray(
            self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]
        )

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities (n, C) of target rows `X` (n, d), columns as in `classes_`."""
        scores = self.decision_function(X)
        return np.asarray(softmax(_both(scores[:, None]) if scores.ndim == 1 else scores, axis=1))


class _Problem:
    """Multinomial (with one column of weights: logistic) regression of target rows around given weights."""

    def __init__(self, rows: Array, code: Array, weight: Array, coef: Array, intercept: Array) -> None:
        rows = rows.astype(np.float64)
        self.code, self.share, self.total = code, weight / weight.sum(), float(weight.sum())
        self.coef, self.intercept = coef, intercept
        self.offsets = rows @ coef.T + intercept
        self.mean = self.share @ rows
        rows -= self.mean
        # The change of the weights lies in the span of the centred rows.
        _, self.sizes, self.axes = np.linalg.svd(np.sqrt(self.share)[:, None] * rows, full_matrices=False)
        self.rows = rows @ self.axes.T
        self.seen = np.isin(np.arange(max(2, len(coef))), code)

    def solve(self, reg: float, tolerance: float = TOLERANCE) -> tuple[Array, Array, int]:
        """Weights (K, d), intercepts (K,), iterations."""
        l2 = reg / self.total
        # Over sqrt(s^2 / 4 + l2) the Hessian is near the identity: p (1 - p) <= 1 / 4.
        damping = np.sqrt(self.sizes**2 / 4 + l2)[:, None]
        rows, penalty = self.rows / damping.T, l2 / damping**2
        shape = (len(damping), len(self.coef))

        def objective(flat: Array) -> tuple[float, Array]:
            change, shift = flat[: -shape[1]].reshape(shape), flat[-shape[1] :]
            scores = self.offsets + rows @ change + shift
            slope = self.share[:, None] * _surplus(scores, self.code)
            value = float(
                self.share @ _cross_entropies(scores, self.code) + 0.5 * (penalty * change**2).sum()
            )
            by_shift = self._allowed(slope.sum(axis=0))
            return value, np.concatenate([(rows.T @ slope + penalty * change).ravel(), by_shift])

        found = minimize(
            objective,
            np.zeros((shape[0] + 1) * shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 5000, "maxfun": 10000, "gtol": tolerance, "ftol": 0.0, "maxls": 50},
        )
        slope = float(np.abs(found.jac).max())
        # A line search that fails at a flat gradient met rounding: no lower value can be told apart.
        if not found.success and slope > 1e3 * tolerance:
            warnings.warn(
                f"RegularizedTransferClassifier stopped after {found.nit} steps with a gradient of "
                f"{slope:.1e}, not {tolerance:.0e}: a larger reg helps",
                ConvergenceWarning,
                stacklevel=6,
            )
        change = (self.axes.T / damping.T) @ found.x[: -shape[1]].reshape(shape)
        intercept = self.intercept + found.x[-shape[1] :] - self.mean @ change
        return self.coef + change.T, intercept, int(found.nit)

    def _allowed(self, by_shift: Array) -> Array:
        """The part of a gradient by the intercepts along which they may move."""
        if len(by_shift) == 1:
            return by_shift * self.seen.all()
        return np.asarray(np.where(self.seen, by_shift - by_shift[self.seen].mean(), 0))


def _linear(model: Any) -> tuple[Array, Array]:
    """Weights (K, d) and intercepts (K,) of a fitted linear model, in float64."""
    if hasattr(model, "coefs_") and len(model.coefs_) == 1:
        coef, intercept = model.coefs_[0].T, model.intercepts_[0]
    elif hasattr(model, "coef_") and hasattr(model, "intercept_"):
        coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    else:
        raise TypeError(
            f"source must be a linear model with coef_ and intercept_, got {type(model).__name__}"
        )
    coef = np.array(coef, dtype=np.float64)
    return coef, np.array(np.broadcast_to(intercept, len(coef)), dtype=np.float64)


def _spread(coef: Array, intercept: Array, known: Array, classes: Array) -> tuple[Array, Array]:
    """Weights and intercepts of a model with the classes `known` among all `classes`; 0 for the others."""
    if len(coef) != (1 if len(known) == 2 else len(known)):
        raise ValueError(
            f"source must have one row of weights for each of {len(known)} classes, got {len(coef)}"
        )
    if len(classes) == 2:
        return coef, intercept
    if len(known) == 2:  # the same probabilities with a row for each
        coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    place = np.searchsorted(classes, known)
    all_coef, all_intercept = np.zeros((len(classes), coef.shape[1])), np.zeros(len(classes))
    all_coef[place], all_intercept[place] = coef, intercept
    return all_coef, all_intercept


def _both(scores: Array) -> Array:
    """Scores of two classes by the one column (n, 1) that is their difference."""
    return np.hstack([np.zeros_like(scores), scores])


def _surplus(scores: Array, code: Array) -> Array:
    """The slope of the cross-entropies by the scores, of the same shape."""
    if scores.shape[1] == 1:
        return np.asarray(softmax(_both(scores), axis=1)[:, 1:] - code[:, None])
    slope = np.asarray(softmax(scores, axis=1))
    slope[np.arange(len(code)), code] -= 1
    return slope


def _cross_entropies(scores: Array, code: Array) -> Array:
    scores = _both(scores) if scores.shape[1] == 1 else scores
    return np.asarray(logsumexp(scores, axis=1) - scores[np.arange(len(code)), code])


def _two_rows(target: Labelled) -> None:
    if len(target.rows) < 2:
        raise ValueError("choosing reg needs at least 2 labelled target rows, got 1: pass one number")
