"""Dense networks: forward pass, losses and gradients, optimisers, the one loop of fit and fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from .algebra import expit
from .arrays import Array, beside, home, index_of, like, namespace
from .errors import TrainingDivergedError
from .homes import HOST
from .ops import project

__all__ = [
    "ACTIVATIONS",
    "RATES",
    "History",
    "Network",
    "Settings",
    "Term",
    "labels_beside",
    "loss_and_gradients",
    "train",
]

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
RATES = ("constant", "invscaling", "adaptive")
SLOWEST_RATE = 1e-6  # "adaptive" gives up below this learning rate, as scikit-learn does


@dataclass
class Network:
    """L dense layers: act(x W_l + b_l) in the hidden ones, x W + b in the last.

    `coefs[l]` (q_l, q_{l+1}) and `intercepts[l]` (q_{l+1},) share one dtype and home, that of the rows they
    meet; `train` changes them in place.
    `loss` is "squared" (half the mean square), "logistic" (two classes, one output) or "softmax"
    (cross-entropy).
    """

    coefs: list[Array]
    intercepts: list[Array]
    activation: str
    loss: str

    def parameters(self) -> list[Array]:
        """Every array, layer by layer: coef 0, intercept 0, coef 1, ..."""
        return [array for layer in zip(self.coefs, self.intercepts, strict=True) for array in layer]

    def hidden(self, X: Array, n_layers: int | None = None) -> Array:
        """Rows after the first `n_layers` hidden layers, all of them by default."""
        for coef, intercept in list(zip(self.coefs, self.intercepts, strict=True))[:-1][:n_layers]:
            X = _layer(X, coef, intercept, self.activation)
        return X

    def scores(self, X: Array) -> Array:
        """What the last layer gives for each row, before any link: (n, n_outputs)."""
        return _layer(self.hidden(X), self.coefs[-1], self.intercepts[-1], "identity")

    def beside(self, X: Array) -> Network:
        """This network where rows X are: itself on the host, else with copies of its arrays."""
        if namespace(X) is np:
            return self
        coefs, intercepts = ([beside(part, X) for part in parts] for parts in (self.coefs, self.intercepts))
        return Network(coefs, intercepts, self.activation, self.loss)

    def tail(self, first: int) -> Network:
        """The layers from `first` on, sharing their arrays with this network."""
        return Network(self.coefs[first:], self.intercepts[first:], self.activation, self.loss)


@dataclass(frozen=True)
class Term:
    """One mean loss of the objective, times `weight`.

    y holds class numbers, or values for "squared", on the host, wherever the rows are.
    """

    X: Array
    y: Array
    weight: float = 1.0


@dataclass(frozen=True)
class Settings:
    """scikit-learn's MLP parameters that steer the loop; `l2` is the factor of |W|^2 / 2 in the objective."""

    solver: str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    batch_size: int | str
    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: int
    l2: float = 0.0

    def rows_per_step(self, n: int) -> int:
        """Rows of a sample of n that one step uses."""
        return min(200 if self.batch_size == "auto" else int(self.batch_size), n)


@dataclass
class History:
    """What `train` saw: the objective and, with a hold-out, the score of each epoch."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    converged: bool = False


def loss_and_gradients(
    network: Network, X: Array, y: Array, *, weights: Array | None = None
) -> tuple[Any, list[Array]]:
    """Mean loss of the rows and its gradient by every parameter, in the order of `Network.parameters`.

    All arrays are of one home, y as `labels_beside` gives it; there the results are, the loss in float64.
    `weights` (n,) replace the equal weights 1 / n. No penalty is included. Cost: O(n) times the number of
    parameters.
    """
    outputs = [X]
    for coef, intercept in list(zip(network.coefs, network.intercepts, strict=True))[:-1]:
        outputs.append(_layer(outputs[-1], coef, intercept, network.activation))
    scores = _layer(outputs[-1], network.coefs[-1], network.intercepts[-1], "identity")
    losses, delta = _output_loss(scores, y, network.loss)
    if weights is None:
        loss = losses.mean(dtype=namespace(losses).float64)
        delta /= len(X)
    else:
        loss = losses @ weights
        delta *= weights[:, None]
    gradients: list[Array] = []
    for layer in range(len(network.coefs) - 1, -1, -1):
        gradients += [delta.sum(0), outputs[layer].T @ delta]
        if layer > 0:
            delta = delta @ network.coefs[layer].T
            _times_slope(delta, outputs[layer], network.activation)
    return loss, gradients[::-1]


def train(
    network: Network,
    terms: Sequence[Term],
    settings: Settings,
    rng: np.random.Generator,
    *,
    trainable: Sequence[bool] | None = None,
    validate: Callable[[], float] | None = None,
) -> History:
    """Minimise sum_k weight_k mean_loss_k + l2 |W|^2 / 2 by mini-batches, changing `network` in place.

    Parameters
    ----------
    network : its arrays are where the rows are, as `Network.beside` gives them; the host draws the batches
        and waits for a device at the end of an epoch only
    terms : the losses of the objective. Each step draws a batch from every one; an epoch is one pass over the
        term with the most batches, shorter ones start over.
    trainable : one boolean per array of `network.parameters()`; the others are never written. Leading layers
        that are frozen whole are evaluated once.
    validate : score of the network on rows held out; training stops on it, and the best parameters return

    Raises
    ------
    TrainingDivergedError : the objective or a parameter is no longer finite; the best parameters so far are
        back in place.
    """
    mask = [True] * (2 * len(network.coefs)) if trainable is None else list(trainable)
    first = next(layer for layer in range(len(mask) // 2) if mask[2 * layer] or mask[2 * layer + 1])
    terms = [
        Term(
            network.hidden(term.X, first) if first else term.X,
            labels_beside(term.y, term.X, network.loss),
            term.weight,
        )
        for term in terms
    ]
    network, mask = network.tail(first), mask[2 * first :]
    xp = namespace(terms[0].X)
    moving = [array for array, free in zip(network.parameters(), mask, strict=True) if free]
    optimiser = (_Momentum if settings.solver == "sgd" else _Adam)(moving, settings)
    streams = [_batches(term.X, settings, rng) for term in terms]
    n_steps = max(math.ceil(len(term.X) / settings.rows_per_step(len(term.X))) for term in terms)
    n_rows = max(len(term.X) for term in terms)
    # As in scikit-learn, only plain descent follows a schedule: Adam adapts its steps itself.
    schedule = settings.learning_rate if settings.solver == "sgd" else "constant"
    history = History()
    best = [xp.empty_like(array) for array in moving]
    _restore(best, moving)
    best_value = -math.inf  # the score held out, or minus the objective
    since_best = 0
    for epoch in range(1, settings.max_iter + 1):
        totals: list[Any] = [0.0] * len(terms)
        counts = [0] * len(terms)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for _ in range(n_steps):
                gradients: list[Array] | None = None
                for k, term in enumerate(terms):
                    rows = next(streams[k])
                    loss, partial = loss_and_gradients(network, term.X[rows], term.y[rows])
                    totals[k] += loss * len(rows)
                    counts[k] += len(rows)
                    partial = [array * term.weight for array in partial] if term.weight != 1.0 else partial
                    gradients = partial if gradients is None else _sum(gradients, partial)
                assert gradients is not None
                for index in range(0, len(mask), 2):
                    gradients[index] += settings.l2 * network.parameters()[index]
                optimiser.step([g for g, free in zip(gradients, mask, strict=True) if free])
            penalty = 0.5 * settings.l2 * sum(float((coef * coef).sum()) for coef in network.coefs)
        means = [float(total) / count for total, count in zip(totals, counts, strict=True)]
        loss = float(np.dot([term.weight for term in terms], means)) + penalty
        if not math.isfinite(loss) or not all(xp.isfinite(array).all() for array in moving):
            _restore(moving, best)
            raise TrainingDivergedError(
                f"the training loss must stay finite, got {loss} in epoch {epoch}: scale the columns or "
                f"lower learning_rate_init = {settings.learning_rate_init:g}; the best parameters are kept",
                epoch,
            )
        history.losses.append(loss)
        value = -loss
        if validate is not None:
            value = validate()
            history.scores.append(value)
        since_best = 0 if value > best_value + settings.tol else since_best + 1
        if value > best_value:
            best_value = value
            _restore(best, moving)
        if since_best > settings.n_iter_no_change:
            if schedule != "adaptive" or optimiser.rate / 5.0 <= SLOWEST_RATE:
                history.converged = True
                break
            optimiser.rate /= 5.0
            since_best = 0
        if schedule == "invscaling":
            optimiser.rate = settings.learning_rate_init / (epoch * n_rows + 1) ** settings.power_t
    if validate is not None:
        _restore(moving, best)
    return history


class _Momentum:
    """Stochastic gradient descent with (Nesterov's) momentum (Sutskever et al., ICML 2013)."""

    def __init__(self, parameters: list[Array], settings: Settings) -> None:
        self.parameters = parameters
        self.rate = settings.learning_rate_init
        self.momentum = settings.momentum
        self.nesterov = settings.nesterovs_momentum
        self.velocities = [namespace(array).zeros_like(array) for array in parameters]

    def step(self, gradients: list[Array]) -> None:
        for array, velocity, gradient in zip(self.parameters, self.velocities, gradients, strict=True):
            gradient *= self.rate
            velocity *= self.momentum
            velocity -= gradient
            if self.nesterov and self.momentum > 0.0:
                array += self.momentum * velocity - gradient
            else:
                array += velocity


class _Adam:
    """Adam with bias correction (Kingma & Ba, ICLR 2015)."""

    def __init__(self, parameters: list[Array], settings: Settings) -> None:
        self.parameters = parameters
        self.rate = settings.learning_rate_init
        self.beta_1, self.beta_2, self.epsilon = settings.beta_1, settings.beta_2, settings.epsilon
        self.xp = namespace(parameters[0])
        self.means = [self.xp.zeros_like(array) for array in parameters]
        self.squares = [self.xp.zeros_like(array) for array in parameters]
        self.n_steps = 0

    def step(self, gradients: list[Array]) -> None:
        self.n_steps += 1
        unbias = math.sqrt(1.0 - self.beta_2**self.n_steps) / (1.0 - self.beta_1**self.n_steps)
        for array, mean, square, gradient in zip(
            self.parameters, self.means, self.squares, gradients, strict=True
        ):
            mean += (1.0 - self.beta_1) * (gradient - mean)
            gradient *= gradient
            square += (1.0 - self.beta_2) * (gradient - square)
            array -= (self.rate * unbias) * mean / (self.xp.sqrt(square) + self.epsilon)


def labels_beside(y: Array, X: Array, loss: str) -> Any:
    """Labels of rows X, from the host to where these are: column numbers for "softmax", else floats as X."""
    return index_of(y, X) if loss == "softmax" else like(y, X)


def _batches(X: Array, settings: Settings, rng: np.random.Generator) -> Iterator[Array]:
    n = len(X)
    size = settings.rows_per_step(n)
    while True:
        order = index_of(rng.permutation(n) if settings.shuffle else np.arange(n), X)
        for start in range(0, n, size):
            yield order[start : start + size]


def _layer(X: Array, coef: Array, intercept: Array, activation: str) -> Array:
    """act(x W + b) of each row."""
    if namespace(X) is np:
        return _activate(X @ coef + intercept, activation)
    outputs: Array = project(X, coef, intercept, activation=activation)
    return outputs


def _activate(Z: Array, activation: str) -> Array:
    if activation == "relu":
        return np.maximum(Z, 0, out=Z)
    if activation == "tanh":
        return np.tanh(Z, out=Z)
    if activation == "logistic":
        return np.asarray(special.expit(Z, out=Z))
    return Z


def _times_slope(delta: Array, output: Array, activation: str) -> None:
    """delta *= act'(z), the slope written by the activation's value."""
    if activation == "relu":
        delta *= output > 0
    elif activation == "tanh":
        delta *= 1 - output * output
    elif activation == "logistic":
        delta *= output * (1 - output)


def _output_loss(Z: Array, y: Array, loss: str) -> tuple[Array, Array]:
    """Loss of each row (n,), and its gradient by the scores Z (n, n_outputs)."""
    xp = namespace(Z)
    if loss == "squared":
        delta = Z - y[:, None]
        return 0.5 * delta[:, 0] ** 2, delta
    if loss == "logistic":
        signs = y[:, None]
        return (xp.logaddexp(xp.zeros_like(Z), Z) - signs * Z)[:, 0], expit(Z) - signs
    rows = (home(Z) or HOST).arange(len(Z))
    Z = Z - xp.amax(Z, 1)[:, None]
    log_norm = xp.log(xp.exp(Z).sum(1))
    delta = xp.exp(Z - log_norm[:, None])
    delta[rows, y] -= 1
    return log_norm - Z[rows, y], delta


def _sum(left: list[Array], right: list[Array]) -> list[Array]:
    for a, b in zip(left, right, strict=True):
        a += b
    return left


def _restore(arrays: list[Array], saved: list[Array]) -> None:
    for array, copy in zip(arrays, saved, strict=True):
        array[...] = copy
