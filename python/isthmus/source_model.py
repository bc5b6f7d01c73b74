"""What the source models share: fit by the training loop or exactly, features, tuning on a second sample."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_is_fitted,
    column_or_1d,
)

from . import exact
from .arrays import (
    Array,
    as_dtype,
    check_finite,
    dtype_of,
    generator,
    home,
    index_of,
    namespace,
    to_numpy,
)
from .homes import HOST
from .rows import as_given, check_rows, check_rows_beside, labels_on_host, refuse_not_finite
from .training import ACTIVATIONS, RATES, History, Network, Settings, Term, train

__all__ = ["Freeze", "SourceModel", "winners"]

Freeze = str | int | Sequence[str | int] | None


class SourceModel(BaseEstimator):  # type: ignore[misc]
    """The network's arrays, their training on one sample, and their tuning on a second.

    Fitted: `coefs_`, list of (q_l, q_{l+1}) arrays, and `intercepts_`, list of (q_{l+1},) arrays, of the
    float type of X; `loss_curve_` and `n_iter_` of the last training; `validation_scores_`, None without
    `early_stopping`; `n_features_in_`; classifiers also `classes_` (n_classes,).

    Rows may be CuPy arrays or CUDA tensors. They stay on the device, where the steps, the sums over rows and
    the features are computed, by `project` layer for layer; labels, fitted arrays and predictions are on the
    host. What is drawn at random is drawn there, so both give the same model up to rounding.
    """

    _on_device: ClassVar[bool] = True

    def features(self, X: Any) -> Any:
        """The feature map f(x): the last hidden layer. A linear model has none; its f is the identity.

        Parameters
        ----------
        X : array of shape (n, d)

        Returns
        -------
        array of shape (n, q) and the model's float type, in the library and on the device of `X`; q is the
        width of the last hidden layer, or d
        """
        check_is_fitted(self)
        rows = self._rows(X)
        return as_given(self._network().beside(rows).hidden(rows), X)

    def layer_names(self) -> list[str]:
        """Names of the layers from the input on: "hidden0", "hidden1", ..., "head"."""
        check_is_fitted(self)
        return [*(f"hidden{layer}" for layer in range(len(self.coefs_) - 1)), "head"]

    def trainable(self, freeze: Freeze) -> list[bool]:
        """Which arrays move in partial fine-tuning: one boolean for coef 0, intercept 0, coef 1, ...

        Parameters
        ----------
        freeze : layers to keep: numbers (0 next to the input, -1 the head), names or patterns of
            `layer_names()` ("hidden*") or of one array ("head.intercept"), or a list of them. None: all
            layers but the head.

        Raises
        ------
        ValueError : an item that matches no layer, or nothing left to train; the layers are listed.
        """
        layers = self.layer_names()
        arrays = [(layer, f"{layer}.{part}") for layer in layers for part in ("coef", "intercept")]
        if freeze is None:
            return [layer == "head" for layer, _ in arrays]
        frozen: set[tuple[str, str]] = set()
        for item in [freeze] if isinstance(freeze, str | int) else freeze:
            pattern = item
            if isinstance(item, int) and not isinstance(item, bool) and -len(layers) <= item < len(layers):
                pattern = layers[item]
            matches = [names for names in arrays if any(fnmatchcase(name, str(pattern)) for name in names)]
            if not matches:
                raise ValueError(
                    f"freeze must name layers of {layers}, by name, number or pattern, got {item!r}"
                )
            frozen.update(matches)
        if len(frozen) == len(arrays):
            raise ValueError(f"freeze must leave something to train, got all of {layers}")
        return [names not in frozen for names in arrays]

    def tune(
        self,
        X_target: Any,
        y_target: Any,
        *,
        X: Any = None,
        y: Any = None,
        trainable: Sequence[bool] | None = None,
        max_iter: int | None = None,
        learning_rate_init: float | None = None,
        random_state: Any = None,
    ) -> Self:
        """Go on training from the present parameters, in place.

        Parameters
        ----------
        X_target, y_target : rows (nt, d) and labels (nt,); the objective is their mean loss
        X, y : source rows (ns, d) and labels (ns,), or None; with them it is the sum of both mean losses
        trainable : one boolean per array in the order coef 0, intercept 0, coef 1, ...; the rest keep their
            bits
        max_iter, learning_rate_init, random_state : None takes the constructor's

        Returns
        -------
        self. `alpha` counts as in `fit`, and `early_stopping` holds out target rows. Where all of an "exact"
        model is tuned on both losses their sum is minimised exactly; else it takes steps of "adam", since the
        minimum of the target's loss alone would forget the source.

        Raises
        ------
        ValueError : widths or lengths that disagree, other feature names, values that are not finite, labels
            new to the model, nothing to train, rows of both domains on different devices.
        TrainingDivergedError : the loss is no longer finite; the best parameters are back in place.
        """
        check_is_fitted(self)
        changes = {
            name: value
            for name, value in (("max_iter", max_iter), ("learning_rate_init", learning_rate_init))
            if value is not None
        }
        _check_parameters({**self.get_params(deep=False), **changes}, self._solvers)
        n_arrays = 2 * len(self.coefs_)
        if trainable is not None and (len(trainable) != n_arrays or not any(trainable)):
            raise ValueError(
                f"trainable must be {n_arrays} booleans, at least one of them true, got {list(trainable)}"
            )
        terms = []
        if X is not None:
            rows = self._rows(X)
            terms.append(Term(rows, self._encode(y, "y", "X", rows)))
        rows = self._rows(X_target, "X_target", terms[0].X if terms else X_target)
        terms.append(Term(rows, self._encode(y_target, "y_target", "X_target", rows)))
        if self.solver == "exact" and X is not None and (trainable is None or all(trainable)):
            shares = [np.full(len(term.X), 1.0 / len(term.X)) for term in terms]
            self._minimise(terms, np.concatenate(shares), sum(len(term.X) for term in terms))
            return self
        rng = generator(self.random_state if random_state is None else random_state)
        self._descend(terms, rng, trainable, changes)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        _check_parameters(self.get_params(deep=False), self._solvers)
        rows = check_rows(self, X, reset=True, least=2)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        y = column_or_1d(labels_on_host(y), warn=True)
        if is_classifier(self):
            if y.dtype.kind == "f":
                check_finite(y, "y")
            check_classification_targets(y)
            self.classes_ = np.unique(y)
            if len(self.classes_) < 2:
                raise ValueError(
                    f"y must hold at least 2 classes, got one class: {self.classes_.tolist()[0]!r}"
                )
        sizes = [rows.shape[1], *self._hidden_sizes(), len(self.classes_) if is_classifier(self) else 1]
        if is_classifier(self) and sizes[-1] == 2:
            sizes[-1] = 1
        rng = generator(self.random_state)
        self._initialise(sizes, dtype_of(rows), rng)
        term = Term(rows, self._encode(y, "y", "X", rows))
        if self.solver == "exact":
            weights = _check_sample_weight(
                labels_on_host(sample_weight),
                np.empty(len(rows)),
                dtype=np.float64,
                ensure_non_negative=True,
            )
            self._minimise([term], weights / weights.sum(), weights.sum())
            return self
        if sample_weight is not None:
            raise ValueError(f'sample_weight needs solver="exact", got solver={self.solver!r}')
        if not self._descend([term], rng).converged:
            warnings.warn(
                f"{type(self).__name__} reached max_iter={self.max_iter} epochs before its score settled",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _initialise(self, sizes: list[int], dtype: Any, rng: np.random.Generator) -> None:
        """Uniform as in scikit-learn (Glorot & Bengio, AISTATS 2010); zeros where a minimiser follows."""
        self.coefs_, self.intercepts_ = [], []
        factor = 2.0 if self._activation() == "logistic" else 6.0
        for n_in, n_out in itertools.pairwise(sizes):
            bound = 0.0 if self.solver == "exact" else np.sqrt(factor / (n_in + n_out))
            self.coefs_.append(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype))
            self.intercepts_.append(rng.uniform(-bound, bound, n_out).astype(dtype))

    def _minimise(self, terms: list[Term], weights: Array, n_rows: float) -> None:
        X = namespace(terms[0].X).concatenate([term.X for term in terms])
        y = np.concatenate([term.y for term in terms])
        loss, self.n_iter_ = exact.minimise(self._network(), X, y, weights, self.alpha / n_rows)
        self.loss_curve_ = [loss]
        self.validation_scores_: list[float] | None = None

    def _descend(
        self,
        terms: list[Term],
        rng: np.random.Generator,
        trainable: Sequence[bool] | None = None,
        changes: dict[str, Any] | None = None,
    ) -> History:
        network = self._network().beside(terms[0].X)
        validate: Callable[[], float] | None = None
        if self.early_stopping and (split := self._hold_out(terms[-1], rng)):
            last = terms[-1]
            X, y = last.X[index_of(split[1], last.X)], last.y[split[1]]
            terms = [*terms[:-1], Term(last.X[index_of(split[0], last.X)], last.y[split[0]])]

            def held_out_score() -> float:
                return self._score(to_numpy(network.scores(X)), y)

            validate = held_out_score
        names = [name for name in Settings.__dataclass_fields__ if name != "l2"]
        settings = Settings(**{**{name: getattr(self, name) for name in names}, **(changes or {})})
        settings = replace(settings, l2=self.alpha / self._penalty_rows(terms, settings))
        try:
            history = train(network, terms, settings, rng, trainable=trainable, validate=validate)
        finally:
            for kept, trained in zip(self._network().parameters(), network.parameters(), strict=True):
                if trained is not kept:
                    kept[...] = to_numpy(trained)
        self.loss_curve_, self.n_iter_ = history.losses, len(history.losses)
        self.validation_scores_ = history.scores if validate else None
        return history

    def _hold_out(self, term: Term, rng: np.random.Generator) -> tuple[Array, Array] | None:
        """Rows to train on and rows to score, classes in proportion; None, with a warning, if impossible."""
        n_held = max(1, round(self.validation_fraction * len(term.X)))
        counts = np.unique(term.y, return_counts=True)[1] if is_classifier(self) else np.array([2, 2])
        smallest, needed = int(counts.min()), len(counts)
        if smallest < 2 or not needed <= n_held <= len(term.X) - needed:
            warnings.warn(
                f"early_stopping needs 2 rows of every class and {needed} rows held out, got {smallest} and "
                f"{n_held} of {len(term.X)}; training on all rows without it",
                UserWarning,
                stacklevel=5,
            )
            return None
        rows, held = train_test_split(
            np.arange(len(term.X)),
            test_size=n_held,
            stratify=term.y if is_classifier(self) else None,
            random_state=int(rng.integers(2**31)),
        )
        return rows, held

    def _network(self) -> Network:
        loss = "squared"
        if is_classifier(self):
            loss = "logistic" if len(self.classes_) == 2 else "softmax"
        return Network(self.coefs_, self.intercepts_, self._activation(), loss)

    def _scores(self, X: Any) -> Array:
        """What the head gives for each row (n, n_outputs), on the host."""
        check_is_fitted(self)
        rows = self._rows(X)
        return to_numpy(self._network().beside(rows).scores(rows))

    def _rows(self, X: Any, name: str = "X", beside: Any = None) -> Array:
        """Finite rows of the model's width and float type; of another name at the home of rows `beside`."""
        if name == "X":
            rows = check_rows(self, X, reset=False, finite=False)
        else:
            rows = check_rows_beside(self, X, name, beside, finite=False)
            if rows.shape[1] != self.n_features_in_:
                raise ValueError(
                    f"{name} must have the model's width d = {self.n_features_in_}, got {rows.shape[1]}"
                )
        if (dtype := self.coefs_[0].dtype) != dtype_of(rows):
            rows = as_dtype(rows, dtype, home(rows) or HOST)
        return refuse_not_finite(rows, name)

    def _encode(self, y: Any, name: str, of: str, rows: Array) -> Array:
        """Labels as class numbers, values as the float type of the rows, on the host."""
        if y is None:
            raise ValueError(f"{name} must hold one label per row of {of}, got None")
        labels = column_or_1d(labels_on_host(y), warn=True)
        if len(labels) != len(rows):
            raise ValueError(f"{name} must have one label per row of {of}, {len(rows)}, got {len(labels)}")
        if not is_classifier(self):
            values = check_array(
                labels, dtype=dtype_of(rows), ensure_2d=False, ensure_all_finite=False, input_name=name
            )
            check_finite(values, name)
            return np.asarray(values)
        known = np.isin(labels, self.classes_)
        if not known.all():
            found = np.unique(labels[~known]).tolist()
            raise ValueError(f"{name} must hold the classes {self.classes_.tolist()}, got also {found}")
        return np.asarray(np.searchsorted(self.classes_, labels))

    def _score(self, scores: Array, y: Array) -> float:
        if is_classifier(self):
            return float(np.mean(winners(scores) == y))
        return float(r2_score(y, scores[:, 0]))


def winners(scores: Array) -> Array:
    return np.asarray(scores.argmax(axis=1) if scores.shape[1] > 1 else (scores[:, 0] > 0).astype(np.int64))


def _check_parameters(parameters: dict[str, Any], solvers: tuple[str, ...]) -> None:
    for name, choices in (("solver", solvers), ("activation", ACTIVATIONS), ("learning_rate", RATES)):
        if name in parameters and parameters[name] not in choices:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, choices))}, got {parameters[name]!r}"
            )
    for name in ("max_iter", "n_iter_no_change"):
        _check_number(name, parameters[name], Integral, low=1)
    if parameters["batch_size"] != "auto":
        _check_number("batch_size", parameters["batch_size"], Integral, low=1)
    for size in np.atleast_1d(np.asarray(parameters.get("hidden_layer_sizes", ()), dtype=object)):
        _check_number("hidden_layer_sizes", size, Integral, low=1)
    for name in ("alpha", "power_t", "tol"):
        _check_number(name, parameters[name], Real, low=0.0)
    for name in ("learning_rate_init", "epsilon"):
        _check_number(name, parameters[name], Real, above=0.0)
    for name in ("momentum", "beta_1", "beta_2"):
        _check_number(name, parameters[name], Real, low=0.0, below=1.0)
    _check_number("validation_fraction", parameters["validation_fraction"], Real, above=0.0, below=1.0)


def _check_number(
    name: str,
    value: Any,
    kind: type,
    *,
    low: float = -np.inf,
    above: float = -np.inf,
    below: float = np.inf,
) -> None:
    number: Any = value if isinstance(value, kind) and not isinstance(value, bool) else np.nan
    if not (low <= number and above < number < below):
        what = "an integer" if kind is Integral else "a finite number"
        bounds = [f">= {low:g}"] * (low > -np.inf) + [f"> {above:g}"] * (above > -np.inf)
        bounds += [f"< {below:g}"] * (below < np.inf)
        raise ValueError(f"{name} must be {what} {' and '.join(bounds)}, got {value!r}")
