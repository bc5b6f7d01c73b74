"""Published accuracies on real data, where it is at hand; its licence keeps it out of the repository."""

import os
from pathlib import Path

import isthmus as im
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize


def published_data(name):
    folder = Path(os.environ.get("ISTHMUS_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = folder / name
    if not path.exists():
        pytest.skip(f"{path} is absent; set ISTHMUS_DATA to the folder that holds {name}")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def accuracy_of_nearest_neighbour(Z, y, Z_target, y_target):
    """Percent, with rows of unit length."""
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(normalize(Z), y)
    return 100 * model.score(normalize(Z_target), y_target)


def digits():
    data = published_data("usps_to_mnist.npz")
    rows = (normalize(data[name].astype(np.float64)) for name in ("Xs", "Xt"))
    return *rows, data["ys"], data["yt"]


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
    data = published_data("office_caltech10_surf.npz")

    def rows_of(name):
        rows = data[f"{name}_X"].astype(np.float64)
        rows /= rows.sum(axis=1, keepdims=True)
        spread = rows.std(axis=0)
        return normalize((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1))

    X, X_target = rows_of(source), rows_of(target)
    tca = im.TCA(n_components=100, kernel=im.Linear(), reg=1.0)
    Z, Z_target = tca.fit_transform(X, None, X_target), tca.transform(X_target)
    found = accuracy_of_nearest_neighbour(Z, data[f"{source}_y"], Z_target, data[f"{target}_y"])
    assert found == pytest.approx(expected, abs=0.01)
    assert tca.residuals_.max() < 1e-8
