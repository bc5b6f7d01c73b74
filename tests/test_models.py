"""Source models: gradients, optimisers, exact minimisers, early stopping, divergence, dtypes, bad input."""

import itertools

import isthmus as im
import numpy as np
import pytest
from isthmus import source_model
from isthmus.training import Network, Settings, Term, loss_and_gradients, train
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}
N_OUTPUTS = {"squared": 1, "logistic": 1, "softmax": 4}
UNSETTLED = "ignore:MLPSource.* reached max_iter:sklearn.exceptions.ConvergenceWarning"


def toy_network(rng, loss, activation, sizes=(5, 7, 6), dtype=np.float64):
    sizes = (*sizes, N_OUTPUTS[loss])
    pairs = list(itertools.pairwise(sizes))
    coefs = [rng.normal(size=pair).astype(dtype) for pair in pairs]
    return Network(coefs, [rng.normal(size=pair[1]).astype(dtype) for pair in pairs], activation, loss)


def toy_rows(rng, loss, n=40, d=5):
    X = rng.normal(size=(n, d))
    y = rng.normal(size=n) if loss == "squared" else rng.integers(0, max(2, N_OUTPUTS[loss]), n)
    return X, y


def settings(**changes):
    defaults = MLPClassifier().get_params()
    names = [name for name in Settings.__dataclass_fields__ if name != "l2"]
    return Settings(**{**{name: defaults[name] for name in names}, **changes})


def iris(n=None):
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    order = np.random.default_rng(0).permutation(len(X))[:n]
    return X[order], y[order]


def split_digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16.0, y, test_size=0.5, stratify=y, random_state=0)


# -- losses and gradients --


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", N_OUTPUTS)
def test_gradients_agree_with_difference_quotients(rng, loss, activation, weighted):
    network = toy_network(rng, loss, activation)
    X, y = toy_rows(rng, loss)
    weights = rng.random(len(X)) if weighted else None
    value, gradients = loss_and_gradients(network, X, y, weights=weights)
    step = 1e-6
    for array, gradient in zip(network.parameters(), gradients, strict=True):
        quotient = np.empty_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + step
            above, _ = loss_and_gradients(network, X, y, weights=weights)
            array[index] = kept - step
            below, _ = loss_and_gradients(network, X, y, weights=weights)
            array[index] = kept
            quotient[index] = (above - below) / (2 * step)
        np.testing.assert_allclose(gradient, quotient, rtol=1e-6, atol=2e-8 * max(1.0, value))


@pytest.mark.parametrize("loss", N_OUTPUTS)
def test_the_loss_is_cross_entropy_or_half_the_mean_square(rng, loss):
    network = toy_network(rng, loss, "tanh")
    X, y = toy_rows(rng, loss)
    scores = network.scores(X)
    if loss == "squared":
        expected = np.mean((scores[:, 0] - y) ** 2) / 2
    elif loss == "logistic":
        expected = log_loss(y, expit(scores[:, 0]))
    else:
        expected = log_loss(y, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))
    assert loss_and_gradients(network, X, y)[0] == pytest.approx(expected, rel=1e-12)


def test_equal_weights_give_the_mean(rng):
    network = toy_network(rng, "softmax", "relu")
    X, y = toy_rows(rng, "softmax")
    mean = loss_and_gradients(network, X, y)
    weighted = loss_and_gradients(network, X, y, weights=np.full(len(X), 1.0 / len(X)))
    assert weighted[0] == pytest.approx(mean[0], rel=1e-12)
    for a, b in zip(weighted[1], mean[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-15)


# -- the loop --


def full_gradient(network, terms, l2):
    """The gradient of the whole objective, by its definition."""
    total = [np.zeros_like(array) for array in network.parameters()]
    for term in terms:
        for sum_, part in zip(total, loss_and_gradients(network, term.X, term.y)[1], strict=True):
            sum_ += term.weight * part
    for index in range(0, len(total), 2):
        total[index] += l2 * network.parameters()[index]
    return total


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("loss", N_OUTPUTS)
def test_momentum_steps_follow_their_definition(rng, loss, nesterov):
    terms = [Term(*toy_rows(rng, loss, n=30)), Term(*toy_rows(rng, loss, n=20), weight=0.5)]
    network = toy_network(rng, loss, "tanh")
    expected = toy_network(np.random.default_rng(1), loss, "tanh")
    for target, source in zip(expected.parameters(), network.parameters(), strict=True):
        target[...] = source
    rate, momentum, l2 = 0.05, 0.9, 0.1
    velocity = [np.zeros_like(array) for array in expected.parameters()]
    for _ in range(3):
        gradients = full_gradient(expected, terms, l2)
        for array, v, g in zip(expected.parameters(), velocity, gradients, strict=True):
            v[...] = momentum * v - rate * g
            array += momentum * v - rate * g if nesterov else v
    options = {"solver": "sgd", "learning_rate_init": rate, "momentum": momentum, "max_iter": 3}
    train(network, terms, settings(**options, nesterovs_momentum=nesterov, l2=l2), rng)
    for got, want in zip(network.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_adam_steps_follow_their_definition(rng):
    terms = [Term(*toy_rows(rng, "softmax"))]
    network = toy_network(rng, "softmax", "relu")
    expected = Network(
        [a.copy() for a in network.coefs], [a.copy() for a in network.intercepts], "relu", "softmax"
    )
    rate, beta_1, beta_2, epsilon = 0.01, 0.8, 0.95, 1e-8
    mean = [np.zeros_like(array) for array in expected.parameters()]
    square = [np.zeros_like(array) for array in expected.parameters()]
    for t in range(1, 5):
        gradients = full_gradient(expected, terms, 0.0)
        for array, m, s, g in zip(expected.parameters(), mean, square, gradients, strict=True):
            m[...] = beta_1 * m + (1 - beta_1) * g
            s[...] = beta_2 * s + (1 - beta_2) * g**2
            # Kingma & Ba (2015), section 2, the efficient order of the update.
            array -= rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (np.sqrt(s) + epsilon)
    options = {"learning_rate_init": rate, "beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
    train(network, terms, settings(**options, max_iter=4), rng)
    for got, want in zip(network.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_an_epoch_visits_every_row_of_the_longest_term_once(rng):
    X, y = toy_rows(rng, "squared", n=23)
    seen = []

    class Watched(np.ndarray):
        def __getitem__(self, index):
            if isinstance(index, np.ndarray):
                seen.append(index)
            return np.asarray(self)[index]

    network = toy_network(rng, "squared", "relu")
    short = Term(*toy_rows(rng, "squared", n=9))
    train(network, [Term(X.view(Watched), y), short], settings(batch_size=5, max_iter=2), rng)
    assert [len(rows) for rows in seen] == [5, 5, 5, 5, 3] * 2
    for epoch in (seen[:5], seen[5:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(23))
    assert not np.array_equal(np.concatenate(seen[:5]), np.concatenate(seen[5:]))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("frozen", [[0], [0, 1], [0, 1, 2, 3], [2], [1, 4], [5]])
def test_frozen_arrays_keep_their_bits_and_the_others_move(rng, solver, frozen):
    network = toy_network(rng, "softmax", "tanh")
    before = [array.copy() for array in network.parameters()]
    mask = [index not in frozen for index in range(6)]
    options = settings(solver=solver, max_iter=3, l2=0.5, learning_rate_init=0.01)
    train(network, [Term(*toy_rows(rng, "softmax"))], options, rng, trainable=mask)
    for old, new, free in zip(before, network.parameters(), mask, strict=True):
        assert (old.tobytes() == new.tobytes()) != free


def test_training_the_head_is_training_a_linear_model_on_the_features(rng):
    X, y = toy_rows(rng, "softmax", n=60)
    network = toy_network(rng, "softmax", "relu")
    alone = Network([network.coefs[2].copy()], [network.intercepts[2].copy()], "identity", "softmax")
    options = settings(batch_size=16, max_iter=5)
    train(alone, [Term(network.hidden(X), y)], options, np.random.default_rng(3))
    mask = [False] * 4 + [True] * 2
    train(network, [Term(X, y)], options, np.random.default_rng(3), trainable=mask)
    np.testing.assert_array_equal(network.coefs[2], alone.coefs[0])
    np.testing.assert_array_equal(network.intercepts[2], alone.intercepts[0])


def test_training_stops_on_the_held_out_score_and_returns_to_the_best_parameters(rng):
    network = toy_network(rng, "squared", "tanh")
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.1])
    kept = []

    def validate():
        kept.append([array.copy() for array in network.parameters()])
        return next(scores)

    terms = [Term(*toy_rows(rng, "squared"))]
    history = train(network, terms, settings(n_iter_no_change=3), rng, validate=validate)
    assert history.converged and history.scores == [0.1, 0.5, 0.4, 0.3, 0.2, 0.1]
    for got, best, last in zip(network.parameters(), kept[1], kept[-1], strict=True):
        np.testing.assert_array_equal(got, best)
        assert not np.array_equal(got, last)


def test_an_adaptive_rate_is_lowered_before_training_ends():
    X, y = iris()
    options = {"solver": "sgd", "learning_rate_init": 0.5, "max_iter": 2000, "random_state": 0, "tol": 1e-3}
    constant = im.MLPSourceClassifier((10,), **options).fit(X, y)
    adaptive = im.MLPSourceClassifier((10,), **options, learning_rate="adaptive").fit(X, y)
    # 0.5 / 5^k stays above 1e-6 for 8 more rounds, each of more than n_iter_no_change epochs.
    assert adaptive.n_iter_ >= constant.n_iter_ + 8 * 11


@pytest.mark.filterwarnings(UNSETTLED)
def test_an_inverse_scaling_rate_takes_smaller_steps():
    X, y = iris()
    options = {"solver": "sgd", "max_iter": 5, "random_state": 0, "learning_rate_init": 0.1}
    constant = im.MLPSourceClassifier((10,), **options).fit(X, y)
    falling = im.MLPSourceClassifier((10,), **options, learning_rate="invscaling").fit(X, y)
    assert falling.loss_curve_[0] == constant.loss_curve_[0]
    assert falling.loss_curve_[-1] > constant.loss_curve_[-1]


@pytest.mark.filterwarnings(UNSETTLED)
@pytest.mark.parametrize("learning_rate", ["invscaling", "adaptive"])
def test_adam_follows_no_schedule_as_in_scikit_learn(learning_rate):
    X, y = iris()
    constant = im.MLPSourceClassifier((10,), learning_rate_init=0.5, tol=0.1, random_state=0).fit(X, y)
    other = clone(constant).set_params(learning_rate=learning_rate).fit(X, y)
    assert other.loss_curve_ == constant.loss_curve_


# -- against scikit-learn --


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "learning_rate_init": 0.1},
        {"activation": "tanh"},
        {"activation": "logistic", "learning_rate_init": 0.01},
        {"hidden_layer_sizes": (50, 50), "solver": "sgd", "learning_rate_init": 0.1},
        {"early_stopping": True, "learning_rate_init": 0.01},
    ],
    ids=str,
)
def test_digits_are_recognised_as_well_as_by_scikit_learn(options):
    X, X_test, y, y_test = split_digits()
    ours = im.MLPSourceClassifier(**options, max_iter=60, random_state=0).fit(X, y)
    theirs = MLPClassifier(**options, max_iter=60, random_state=0).fit(X, y)
    assert abs(ours.score(X_test, y_test) - theirs.score(X_test, y_test)) < 0.025
    assert ours.score(X_test, y_test) > 0.9


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_diabetes_is_fitted_as_well_as_by_scikit_learn():
    X, y = load_diabetes(return_X_y=True)
    X, y = X * 20.0, y / 100.0
    ours = im.MLPSourceRegressor((30,), learning_rate_init=0.01, random_state=0).fit(X, y)
    theirs = MLPRegressor(hidden_layer_sizes=(30,), learning_rate_init=0.01, random_state=0).fit(X, y)
    assert abs(ours.score(X, y) - theirs.score(X, y)) < 0.05


def test_parameters_have_the_names_and_defaults_of_scikit_learn():
    theirs = MLPClassifier().get_params()
    for model in (im.MLPSourceClassifier(), im.MLPSourceRegressor()):
        assert {name: theirs[name] for name in model.get_params()} == model.get_params()


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_linear_classifier_is_logistic_regression(rng, alpha, n_classes, weighted):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes] * [1.0, 100.0, 1e-2, 1.0] + [1e3, 0.0, 0.0, 0.0], y[y < n_classes]
    # The reference needs scaled columns; rows of equal scale carry the same penalty in both.
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    weight = rng.integers(0, 3, len(X)) if weighted else None
    ours = im.LinearSourceClassifier(alpha=alpha).fit(X, y, sample_weight=weight)
    theirs = LogisticRegression(C=1 / alpha, tol=1e-10, solver="newton-cholesky")
    theirs.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert ours.coefs_[0].shape == (4, 1 if n_classes == 2 else 3)


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_linear_regressor_is_ridge_regression(rng, alpha, weighted):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    weight = rng.random(len(X)) if weighted else None
    ours = im.LinearSourceRegressor(alpha=alpha).fit(X, y, sample_weight=weight)
    theirs = Ridge(alpha=alpha, solver="svd").fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(ours.coefs_[0][:, 0], theirs.coef_, rtol=1e-8)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)


def test_more_columns_than_rows_give_the_shortest_solution(rng):
    X, y = rng.normal(size=(8, 30)), rng.normal(size=8)
    ours = im.LinearSourceRegressor(alpha=0.0).fit(X, y)
    expected = np.linalg.pinv(X - X.mean(axis=0)) @ (y - y.mean())
    np.testing.assert_allclose(ours.coefs_[0][:, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("kind", [im.LinearSourceClassifier, im.LinearSourceRegressor])
def test_a_weight_counts_as_repeated_rows(rng, kind):
    X, y = iris(60)
    weight = rng.integers(0, 4, len(X))
    weighted = kind().fit(X, y, sample_weight=weight)
    repeated = kind().fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_mini_batches_reach_the_exact_minimum(solver):
    X, y = iris()
    exact = im.LinearSourceClassifier(alpha=5.0).fit(X, y)
    options = {"max_iter": 3000, "tol": 0.0, "n_iter_no_change": 3000, "learning_rate_init": 0.02}
    with pytest.warns(ConvergenceWarning, match="reached max_iter=3000"):
        steps = im.LinearSourceClassifier(alpha=5.0, solver=solver, batch_size=150, **options).fit(X, y)
    np.testing.assert_allclose(steps.coefs_[0], exact.coefs_[0], atol=1e-3)
    assert steps.loss_curve_[-1] == pytest.approx(exact.loss_curve_[0], abs=1e-6)


# -- estimators --


@pytest.mark.filterwarnings(UNSETTLED)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_features_are_the_last_hidden_layer(activation):
    X, y = iris()
    model = im.MLPSourceClassifier((9, 4), activation, max_iter=3, random_state=0).fit(X, y)
    act = ACTIVATIONS[activation]
    expected = act(act(X @ model.coefs_[0] + model.intercepts_[0]) @ model.coefs_[1] + model.intercepts_[1])
    np.testing.assert_allclose(model.features(X), expected, rtol=1e-12)
    assert model.layer_names() == ["hidden0", "hidden1", "head"]


def test_the_features_of_a_linear_model_are_its_input():
    X, y = iris()
    model = im.LinearSourceClassifier().fit(X, y)
    np.testing.assert_array_equal(model.features(X), X)
    assert model.layer_names() == ["head"]


@pytest.mark.filterwarnings(UNSETTLED)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", [im.MLPSourceClassifier, im.LinearSourceClassifier])
def test_probabilities_sum_to_one_and_agree_with_predictions(kind, n_classes):
    X, y = iris()
    X, y = X[y < n_classes], y[y < n_classes]
    model = kind(max_iter=20, random_state=0).fit(X, y)
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (len(X), n_classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X))


@pytest.mark.filterwarnings(UNSETTLED)
@pytest.mark.parametrize(
    "model",
    [
        im.MLPSourceClassifier((20,), max_iter=30, random_state=0),
        im.LinearSourceClassifier(),
        im.MLPSourceRegressor((20,), max_iter=30, random_state=0),
        im.LinearSourceRegressor(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_float32_stays_float32_and_agrees_with_float64(model):
    X, y = iris()
    narrow, wide = clone(model).fit(X.astype(np.float32), y), clone(model).fit(X, y)
    for fitted, dtype in ((narrow, np.float32), (wide, np.float64)):
        assert {array.dtype for array in (*fitted.coefs_, *fitted.intercepts_)} == {np.dtype(dtype)}
        assert fitted.features(X.astype(dtype)).dtype == dtype
    if hasattr(narrow, "predict_proba"):
        assert narrow.predict_proba(X).dtype == np.float32
        np.testing.assert_allclose(narrow.predict_proba(X), wide.predict_proba(X), atol=1e-3)
    else:
        assert narrow.predict(X).dtype == np.float32
        np.testing.assert_allclose(narrow.predict(X), wide.predict(X), atol=1e-3)


def test_half_precision_rows_train_a_float32_model():
    X, y = iris()
    half = X.astype(np.float16)
    model = im.LinearSourceClassifier().fit(half, y)
    single = im.LinearSourceClassifier().fit(half.astype(np.float32), y)
    assert model.coefs_[0].dtype == np.float32
    np.testing.assert_array_equal(model.coefs_[0], single.coefs_[0])


@pytest.mark.filterwarnings(UNSETTLED)
@pytest.mark.parametrize("kind", [im.MLPSourceClassifier, im.LinearSourceClassifier])
@pytest.mark.parametrize(
    "labels",
    [["b", "a", "c"], [True, False], [-1, 1], [3.0, 1.0], np.array(["x", "y", "z"], dtype=object)],
    ids=str,
)
def test_labels_may_be_of_any_type(kind, labels):
    X, y = iris()
    X, y = X[y < len(labels)], y[y < len(labels)]
    y = np.asarray(labels)[y]
    model = kind(max_iter=60, random_state=0).fit(X, y)
    assert model.classes_.tolist() == sorted(np.asarray(labels).tolist())
    assert set(model.predict(X)) <= set(y)
    assert model.score(X, y) > 0.8


@pytest.mark.filterwarnings(UNSETTLED)
def test_a_seed_fixes_every_bit_and_numpys_global_state_stays():
    X, y = iris()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    model = im.MLPSourceClassifier((10,), max_iter=5, random_state=7, early_stopping=True)
    first, again = clone(model).fit(X, y), clone(model).fit(X, y)
    other = clone(model).set_params(random_state=8).fit(X, y)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.coefs_, again.coefs_, strict=True))
    assert first.coefs_[0].tobytes() != other.coefs_[0].tobytes()
    clone(model).set_params(random_state=np.random.default_rng(0)).fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@pytest.mark.filterwarnings(UNSETTLED)
@pytest.mark.parametrize("kind", [im.MLPSourceClassifier, im.MLPSourceRegressor])
def test_early_stopping_returns_to_the_best_epoch(kind):
    X, y = iris()
    options = {"learning_rate_init": 0.05, "early_stopping": True, "random_state": 1, "n_iter_no_change": 20}
    model = kind((20,), **options, max_iter=300).fit(X, y)
    assert len(model.validation_scores_) == len(model.loss_curve_) == model.n_iter_ < 300
    best = int(np.argmax(model.validation_scores_))
    assert best < model.n_iter_ - 1
    until_best = kind((20,), **options, max_iter=best + 1).fit(X, y)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(model.coefs_, until_best.coefs_, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_hold_out_has_its_share_of_every_class(seed, monkeypatch):
    X, y = iris()
    rare = np.flatnonzero(y == 2)[8:]
    X, y = np.delete(X, rare, axis=0), np.delete(y, rare)
    seen = []

    def watched(network, terms, *arguments, **options):
        seen.extend(terms)
        return train(network, terms, *arguments, **options)

    monkeypatch.setattr(source_model, "train", watched)
    options = {"early_stopping": True, "validation_fraction": 0.25, "random_state": seed, "tol": 10.0}
    im.MLPSourceClassifier((3,), **options).fit(X, y)
    assert np.bincount(seen[0].y).tolist() in ([37, 38, 6], [38, 37, 6])


def test_a_class_of_one_row_turns_early_stopping_off_with_a_warning():
    X, y = iris()
    y = np.where(np.arange(len(y)) == 0, 9, y)
    model = im.MLPSourceClassifier((5,), early_stopping=True, learning_rate_init=0.05, random_state=0)
    with pytest.warns(UserWarning, match="early_stopping needs 2 rows of every class"):
        model.fit(X, y)
    assert model.validation_scores_ is None


def test_reaching_max_iter_is_a_warning():
    X, y = iris()
    with pytest.warns(ConvergenceWarning, match="MLPSourceClassifier reached max_iter=2 epochs"):
        im.MLPSourceClassifier(max_iter=2, random_state=0).fit(X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_names_its_epoch_and_leaves_finite_parameters(dtype):
    X, y = load_diabetes(return_X_y=True, scaled=False)
    model = im.MLPSourceRegressor((5,), "identity", solver="sgd", learning_rate_init=0.1, random_state=0)
    with pytest.raises(
        im.TrainingDivergedError, match=r"loss must stay finite, got .* in epoch \d+"
    ) as caught:
        model.fit(X.astype(dtype), y)
    assert caught.value.epoch >= 1
    assert all(np.isfinite(array).all() for array in (*model.coefs_, *model.intercepts_))
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.filterwarnings(UNSETTLED)
def test_divergence_while_tuning_returns_to_the_best_parameters():
    X, y = load_diabetes(return_X_y=True)
    model = im.MLPSourceRegressor((10,), solver="sgd", learning_rate_init=1e-4, random_state=0).fit(X, y)
    before = [array.copy() for array in model.coefs_]
    with pytest.raises(im.TrainingDivergedError):
        model.tune(X * 1e200, y)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, model.coefs_, strict=True))


def test_a_regressor_refuses_a_target_that_is_text():
    X, _ = iris()
    with pytest.raises(ValueError, match="could not convert string to float"):
        im.LinearSourceRegressor().fit(X, np.repeat(["a", "b"], len(X) // 2))


@pytest.mark.parametrize(
    "model", [im.MLPSourceClassifier(), im.LinearSourceClassifier()], ids=lambda model: type(model).__name__
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, np.zeros(len(y))), r"y must hold at least 2 classes, got one class: 0\.0"),
        (lambda X, y: (X, y[:-1]), "y must have one label per row of X, 150, got 149"),
        (
            lambda X, y: (np.where(np.arange(4) == 2, np.nan, X), y),
            r"X contains NaN \(150 values, first at row 0",
        ),
        (lambda X, y: (np.where(X.max() == X, np.inf, X), y), r"X contains infinity"),
        (lambda X, y: (X[:1], y[:1]), "minimum of 2 is required"),
        (lambda X, y: (X[:0], y[:0]), "minimum of 2 is required"),
        (lambda X, y: (X[:, 0], y), "Expected 2D array"),
        (lambda X, y: (X, None), "requires y to be passed"),
        (lambda X, y: (X, y + 0.5 * (y == 1) + 0.1), "Unknown label type"),
    ],
)
def test_bad_training_data_is_refused_in_one_sentence(model, change, message):
    with pytest.raises(ValueError, match=message):
        clone(model).fit(*change(*iris()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "lbfgs"}, "solver must be one of 'adam', 'sgd', got 'lbfgs'"),
        (
            {"activation": "sin"},
            "activation must be one of 'identity', 'logistic', 'tanh', 'relu', got 'sin'",
        ),
        ({"learning_rate": "fast"}, "learning_rate must be one of"),
        ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes must be an integer >= 1, got 0"),
        ({"hidden_layer_sizes": 2.5}, "hidden_layer_sizes must be an integer >= 1, got 2.5"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1, got 0"),
        ({"batch_size": "small"}, "batch_size must be an integer >= 1, got 'small'"),
        ({"alpha": -1.0}, "alpha must be a finite number >= 0, got -1.0"),
        ({"learning_rate_init": np.inf}, "learning_rate_init must be a finite number > 0, got inf"),
        ({"momentum": 1.0}, "momentum must be a finite number >= 0 and < 1, got 1.0"),
        ({"validation_fraction": 0.0}, "validation_fraction must be a finite number > 0 and < 1, got 0.0"),
        ({"tol": np.nan}, "tol must be a finite number >= 0, got nan"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused_by_name(change, message):
    X, y = iris()
    with pytest.raises(ValueError, match=message):
        im.MLPSourceClassifier(**change).fit(X, y)


def test_weights_need_the_exact_solver():
    X, y = iris()
    with pytest.raises(ValueError, match=r"sample_weight needs solver=\"exact\", got solver='adam'"):
        im.LinearSourceClassifier(solver="adam").fit(X, y, sample_weight=np.ones(len(X)))


@pytest.mark.parametrize("trainable", [[False] * 4, [True], []], ids=str)
def test_tuning_needs_something_to_train(trainable):
    X, y = iris()
    with pytest.warns(ConvergenceWarning):
        model = im.MLPSourceClassifier((3,), max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="trainable must be 4 booleans, at least one of them true, got"):
        model.tune(X, y, trainable=trainable)


def test_other_widths_and_models_that_are_not_fitted_are_refused():
    X, y = iris()
    model = im.LinearSourceClassifier()
    with pytest.raises(NotFittedError):
        model.features(X)
    model.fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features, but LinearSourceClassifier is expecting 4"):
        model.predict(X[:, :3])
