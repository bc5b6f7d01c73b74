"""JDA, BDA and weighted BDA against the dense pencil of the papers, iteration by iteration."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from conftest import oracle_matrix
from isthmus.align.mathematics.contrasts import joint_contrasts
from isthmus.align.mathematics.embedding import Rows
from isthmus.align.mathematics.problem import pose
from scipy import linalg
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from test_align_contrasts import dense as dense_contrasts

NAMES = np.array(["ash", "birch", "cedar", "dogwood"])


def four_classes(seed=8, n=48, m=41, d=7):
    """Four clouds, those of the target moved, each its own way; class 3 is far off and not in the target."""
    rng = np.random.default_rng(seed)
    centres = 2.0 * rng.normal(size=(4, d))
    centres[3] = -12.0 * centres[0]
    y, y_target = np.arange(n) % 4, np.arange(m) % 3
    X = rng.normal(size=(n, d)) + centres[y]
    X_target = rng.normal(size=(m, d)) + centres[y_target] + 0.6 * rng.normal(size=(4, d))[y_target] + 0.5
    return X, y, X_target, y_target


def dense_embeddings(X, y, X_target, *, kernel=None, reg, count, mus, marginal="released", priors=None):
    """Embeddings of all rows and predicted classes of every iteration, with M, H and the pencil in full."""
    rows, ns = normalize(np.concatenate([X, X_target])), len(X)
    n = len(rows)
    G = rows.T if kernel is None else oracle_matrix(rows, rows, kernel)
    H = np.eye(n) - 1 / n
    predicted = np.full(n - ns, -1)
    for step, mu in enumerate(mus):
        balance = mu if step else 0.0
        M = dense_contrasts(y, predicted, 4, balance=balance, marginal=marginal, priors=priors)
        w, A = linalg.eig(G @ H @ G.T, G @ M @ G.T + reg * np.eye(len(G)))
        A = np.real(A[:, np.argsort(-np.real(w))[:count]])
        Z = normalize(G.T @ (A / np.linalg.norm(A, axis=0)))
        predicted = KNeighborsClassifier(1).fit(Z[:ns], y).predict(Z[ns:])
        yield Z, predicted


VARIANTS = {
    "jda": (im.JDA, {}, {"mu": 0.5}),
    "jda-paper": (im.JDA, {"marginal": "paper"}, {"mu": 0.5, "marginal": "paper"}),
    "bda": (im.BDA, {"mu": 0.2}, {"mu": 0.2}),
    "weighted-paper": (im.BDA, {"mu": 0.7, "weighted": "paper"}, {"mu": 0.7, "priors": "paper"}),
    "weighted-released": (im.BDA, {"weighted": "released"}, {"mu": 1.0, "priors": "released"}),
}


@pytest.mark.parametrize("kernel", [None, im.Linear(), im.RBF(1.0)], ids=["primal", "linear", "rbf"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_iteration_is_that_of_the_dense_pencil(variant, kernel):
    X, y, X_target, _ = four_classes()
    kind, parameters, of_oracle = VARIANTS[variant]
    oracle = {name: value for name, value in of_oracle.items() if name != "mu"}
    oracle |= {"kernel": kernel, "reg": 0.5, "count": 4, "mus": [of_oracle["mu"]] * 3}
    expected = dense_embeddings(X, y, X_target, **oracle)
    for n_iter, (Z, predicted) in enumerate(expected, start=1):
        model = kind(4, kernel=kernel, reg=0.5, n_iter=n_iter, **parameters).fit(X, NAMES[y], X_target)
        found = np.concatenate([model.transform(X, domain="source"), model.transform(X_target)])
        signs = np.sign(np.sum(found * Z, axis=0))
        np.testing.assert_allclose(found, Z * signs, rtol=0, atol=1e-7)
        np.testing.assert_array_equal(model.pseudo_labels_, NAMES[predicted])
        assert kernel is not None or "dogwood" not in model.pseudo_labels_
    assert model.classes_.tolist() == NAMES.tolist()


def test_estimated_balance_enters_the_pencil():
    X, y, X_target, _ = four_classes()
    model = im.BDA(4, reg=0.5, n_iter=4).fit(X, y, X_target)
    assert model.mu_[0] == 0 and len(set(model.mu_)) == 4 and (model.mu_[1:] > 0.3).all()
    *_, (Z, predicted) = dense_embeddings(X, y, X_target, reg=0.5, count=4, mus=model.mu_)
    found = model.transform(X_target)
    signs = np.sign(np.sum(found * Z[len(X) :], axis=0))
    np.testing.assert_allclose(found, Z[len(X) :] * signs, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(model.pseudo_labels_, predicted)


def test_the_first_iteration_is_tca_and_half_a_balance_is_jda():
    X, y, X_target, _ = four_classes()
    first = im.JDA(3, n_iter=1).fit(X, y, X_target)
    tca = im.TCA(3).fit(normalize(X), None, normalize(X_target))
    np.testing.assert_allclose(first.components_, tca.components_, rtol=0, atol=1e-12)
    for mu, other in ((0.5, im.JDA(3, n_iter=5)), (0.0, im.JDA(3, n_iter=1))):
        balanced = im.BDA(3, mu=mu, n_iter=5).fit(X, y, X_target)
        other.fit(X, y, X_target)
        np.testing.assert_allclose(balanced.components_, other.components_, rtol=0, atol=1e-9)


def test_it_stops_where_the_labels_repeat_with_the_result_of_all_iterations():
    X, y, X_target, _ = four_classes()
    model = im.JDA(4, reg=0.5, n_iter=30).fit(X, y, X_target)
    assert 2 < model.n_iter_ < 30 and len(model.mu_) == model.n_iter_
    *_, (Z, predicted) = dense_embeddings(X, y, X_target, reg=0.5, count=4, mus=[0.5] * 30)
    found = model.transform(X, domain="source")
    signs = np.sign(np.sum(found * Z[: len(X)], axis=0))
    np.testing.assert_allclose(found, Z[: len(X)] * signs, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(model.pseudo_labels_, predicted)


def test_known_target_labels_are_never_overwritten_and_train_the_classifier():
    X, y, X_target, y_target = four_classes()
    labelled = np.arange(len(X_target)) % 4 == 0
    told = np.where(labelled, NAMES[(y_target + 1) % 3], "unseen")
    model = im.JDA(3).fit(X, NAMES[y], X_target, told, target_labelled=labelled)
    np.testing.assert_array_equal(model.pseudo_labels_[labelled], told[labelled])
    assert not (model.pseudo_labels_ == "unseen").any()
    blind = im.JDA(3).fit(X, NAMES[y], X_target)
    assert (model.pseudo_labels_ != blind.pseudo_labels_)[~labelled].any()


def test_a_class_that_only_target_labels_have_is_predicted_too():
    X, y, X_target, y_target = four_classes()
    told = np.where(y_target == 2, "yew", NAMES[y_target])
    X, y = X[y != 2], y[y != 2]
    labelled = np.arange(len(X_target)) < 21
    model = im.JDA(3).fit(X, NAMES[y], X_target, told, target_labelled=labelled)
    assert model.classes_.tolist() == ["ash", "birch", "dogwood", "yew"]
    assert (model.pseudo_labels_[~labelled] == told[~labelled]).mean() > 0.7
    assert (model.pseudo_labels_[~labelled] == "yew").any()


def test_rows_of_weight_zero_have_no_part_but_get_their_class():
    X, y, X_target, _ = four_classes()
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, np.full(len(X_target), -9)])
    domain, weight = np.repeat([0, -1], [len(X), len(X_target)]), np.ones(len(rows))
    weight[len(X) : len(X) + 7] = 0
    model = im.JDA(3).fit(rows, labels, sample_domain=domain, sample_weight=weight)
    without = im.JDA(3).fit(X, y, X_target[7:])
    np.testing.assert_allclose(model.components_, without.components_, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(model.pseudo_labels_[7:], without.pseudo_labels_)
    nearest = KNeighborsClassifier(1).fit(without.transform(X, domain="source"), y)
    np.testing.assert_array_equal(model.pseudo_labels_[:7], nearest.predict(without.transform(X_target[:7])))


@pytest.mark.parametrize("choice", ["both", "input", "output", None])
def test_new_rows_are_normalised_as_those_of_fit(choice):
    X, y, X_target, _ = four_classes()
    model = im.JDA(3, normalize=choice).fit(X, y, X_target)
    found = model.transform(X_target)
    inside = choice in ("both", "input")
    assert np.allclose(np.linalg.norm(found, axis=1), 1) == (choice in ("both", "output"))
    rows = normalize(X_target) if inside else X_target
    expected = rows @ model.projection_
    np.testing.assert_allclose(
        found, normalize(expected) if choice in ("both", "output") else expected, atol=1e-12
    )
    stretched = im.JDA(3, normalize=choice).fit(3 * X, y, 3 * X_target)
    assert np.allclose(stretched.components_, model.components_, atol=1e-9) == inside


class Recorder(ClassifierMixin, BaseEstimator):
    """Logistic regression that keeps the weights it was given."""

    seen: list = []  # noqa: RUF012 - shared by the clones

    def fit(self, X, y, sample_weight=None):
        self.model_ = LogisticRegression().fit(X, y, sample_weight)
        self.classes_ = self.model_.classes_
        Recorder.seen.append(sample_weight)
        return self

    def predict(self, X):
        return self.model_.predict(X)


def test_any_classifier_predicts_the_classes_with_the_weights_of_the_rows():
    X, y, X_target, y_target = four_classes()
    Recorder.seen.clear()
    weight = 1.0 + np.arange(len(X)) % 3
    model = im.JDA(3, classifier=Recorder(), n_iter=3).fit(
        X, NAMES[y], X_target, NAMES[y_target], target_labelled=y_target == 0, sample_weight=weight
    )
    assert len(Recorder.seen) == model.n_iter_
    expected = np.concatenate([weight, np.ones((y_target == 0).sum())])
    np.testing.assert_array_equal(Recorder.seen[-1], expected)
    assert (model.pseudo_labels_ == NAMES[y_target]).mean() > 0.8


def test_aligned_classes_are_told_apart_where_a_shift_hid_them():
    X, y, X_target, y_target = shifted_classes(10.0, 1)
    raw = LogisticRegression().fit(X, y).score(X_target, y_target)
    model = im.JDA(5, normalize=None, classifier=LogisticRegression())
    assert raw < 0.75
    assert (model.fit(X, y, X_target).pseudo_labels_ == y_target).mean() >= 0.9


@pytest.mark.parametrize("kernel", [None, im.Linear(), im.RBF(2.0)], ids=["primal", "linear", "rbf"])
def test_contrasts_that_depend_on_each_other_cost_no_precision(kernel):
    X, _, X_target, _ = four_classes()
    ours, theirs, ones = np.arange(len(X)) % 2, np.arange(28) % 2, np.ones(28)
    # Equal shares of two classes: the contrast of all rows is the mean of those of the classes.
    contrasts = joint_contrasts(ours, theirs, 2, np.ones(len(X)), ones)
    assert np.linalg.matrix_rank(contrasts) == 2 < contrasts.shape[1]
    for target in (X_target[:28], np.repeat(X_target[:1], 28, axis=0)):
        rows = Rows((X, target), (np.ones(len(X)), ones))
        for reg in (1e-1, 1e-3, 1e-5):
            solution, factor = pose(rows, kernel, reg).solve(contrasts, 3)
            rounding = np.finfo(float).eps * float(np.sum(factor * factor)) / reg
            assert solution.residuals.max() < max(1e-9, rounding)


def test_lists_of_domains_are_their_rows_together():
    X, y, X_target, _ = four_classes()
    whole = im.JDA(3).fit(X, y, X_target)
    parts = im.JDA(3).fit([X[:20], X[20:]], [y[:20], y[20:]], [X_target[:9], X_target[9:]])
    np.testing.assert_allclose(parts.components_, whole.components_, rtol=0, atol=1e-12)


def test_without_a_target_it_is_the_identity_and_needs_no_labels():
    X, *_ = four_classes()
    with pytest.warns(im.NoTargetWarning):
        model = im.JDA().fit(X)
    np.testing.assert_array_equal(model.transform(X), X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_iter": 0}, "n_iter must be an integer of at least 1, got 0"),
        ({"n_iter": True}, "n_iter must be an integer of at least 1, got True"),
        ({"normalize": "l2"}, "normalize must be one of 'both', 'input', 'output', None, got 'l2'"),
        ({"marginal": None}, "marginal must be one of 'released', 'paper', got None"),
        ({"mu": 1.5}, "mu must be a number from 0 to 1, 'estimate' or None, got 1.5"),
        ({"mu": "guess"}, "mu must be a number from 0 to 1, 'estimate' or None, got 'guess'"),
        ({"weighted": True}, "weighted must be one of False, 'paper', 'released', got True"),
    ],
)
def test_a_wrong_parameter_is_named(parameters, message):
    X, y, X_target, _ = four_classes()
    with pytest.raises(ValueError, match=message):
        im.BDA(3, **parameters).fit(X, y, X_target)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "JDA requires y to be passed"),
        (np.zeros(48), "at least 2 classes"),
        (np.where(np.arange(48) == 3, np.nan, 1.0), "NaN"),
        (np.linspace(0, 1, 48), "Unknown label type"),
    ],
)
def test_labels_that_name_no_classes_are_refused(labels, message):
    X, _, X_target, _ = four_classes()
    with pytest.raises(ValueError, match=message):
        im.JDA(3).fit(X, labels, X_target)


def test_labels_of_two_kinds_are_refused():
    X, y, X_target, y_target = four_classes()
    with pytest.raises(ValueError, match="labels of one kind"):
        im.JDA(3).fit(X, NAMES[y], X_target, y_target)
