"""Published accuracies on real data, where it is at hand; its licence keeps it out of the repository."""

import isthmus as im
import numpy as np
import pytest
from published import accuracy_of_nearest_neighbour, digits, surf
from sklearn.preprocessing import normalize


def test_one_nearest_neighbour_on_usps_to_mnist_is_as_published():
    X, X_target, y, y_target = digits()
    # Wang and others, ACM MM 2018 (MEDA), table 3.
    assert accuracy_of_nearest_neighbour(X, y, X_target, y_target) == pytest.approx(44.70, abs=0.01)


@pytest.mark.parametrize("scaling", ["unit", "metric"])
def test_tca_on_usps_to_mnist_beats_the_published_accuracy(scaling):
    X, X_target, y, y_target = digits()
    tca = im.TCA(n_components=100, reg=0.1, scaling=scaling)
    Z, Z_target = tca.fit_transform(X, y, X_target), tca.transform(X_target)
    # 52.90 by the pencil solved with QZ under this protocol; Wang and others, ACM MM 2018, table 3: 51.2.
    assert accuracy_of_nearest_neighbour(Z, y, Z_target, y_target) == pytest.approx(52.90, abs=0.1)
    assert tca.residuals_.max() < 1e-8


# Amazon and Caltech to Webcam and DSLR: 1-NN on the dual linear embedding, by the pencil solved with QZ.
@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [("Caltech10", "dslr", 45.86), ("amazon", "webcam", 40.00), ("webcam", "dslr", 89.17)],
)
def test_tca_on_surf_features_has_the_accuracy_of_the_dense_solution(source, target, expected):
    X, X_target, y, y_target = surf(source, target)
    tca = im.TCA(n_components=100, kernel=im.Linear(), reg=1.0)
    Z, Z_target = (
        tca.fit_transform(normalize(X), None, normalize(X_target)),
        tca.transform(normalize(X_target)),
    )
    found = accuracy_of_nearest_neighbour(Z, y, Z_target, y_target)
    assert found == pytest.approx(expected, abs=0.01)
    assert tca.residuals_.max() < 1e-8


def accuracy(model, X, X_target, y, y_target):
    """Percent of the target rows whose class `fit` predicts rightly."""
    return 100 * np.mean(model.fit(X, y, X_target).pseudo_labels_ == y_target)


# Unit rows in and out, 1-NN, ten iterations. JDA: Li and others (LPJT), IEEE Transactions on Image Processing
# 28 (2019), table III. BDA has no figure in print: a dense pencil with the contrasts of its release.
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (im.JDA(100, reg=0.1), 59.65),
        (im.BDA(100, reg=0.1), 59.85),
        (im.BDA(100, reg=0.1, weighted="released"), 59.90),
    ],
    ids=["JDA", "BDA", "W-BDA"],
)
def test_joint_adaptation_on_usps_to_mnist_has_the_published_accuracy(model, expected):
    assert accuracy(model, *digits()) == pytest.approx(expected, abs=0.1)
    assert model.residuals_.max() < 1e-8


# By dense pencils with the contrasts of the releases; each within half a point or two target rows.
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (im.JDA(100, kernel=im.Linear()), {("webcam", "dslr"): 89.17, ("dslr", "webcam"): 89.49}),
        (im.BDA(100, kernel=im.Linear()), {("webcam", "dslr"): 89.2, ("amazon", "dslr"): 40.1}),
        (im.BDA(100, kernel=im.Linear(), weighted="released"), {("dslr", "webcam"): 91.2}),
        # Wang and others, ACM MM 2018, table 2: as printed.
        (im.MEDA(20), {("Caltech10", "webcam"): 53.9, ("amazon", "webcam"): 53.2, ("webcam", "dslr"): 88.5}),
    ],
    ids=["JDA", "BDA", "W-BDA", "MEDA"],
)
def test_joint_adaptation_on_surf_features_has_the_published_accuracy(model, expected):
    for task, figure in expected.items():
        X, X_target, y, y_target = surf(*task)
        close = max(0.5, 200 / len(y_target))
        assert accuracy(model, X, X_target, y, y_target) == pytest.approx(figure, abs=close)
