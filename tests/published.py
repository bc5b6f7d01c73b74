"""Real data of published tables, where it is at hand; its licence keeps it out of the repository."""

import os
from pathlib import Path

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


def accuracy_of_nearest_neighbour(Z, y, Z_target, y_target, *, unit_rows=True):
    """Percent, with rows of unit length unless told otherwise."""
    if unit_rows:
        Z, Z_target = normalize(Z), normalize(Z_target)
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(Z, y)
    return 100 * model.score(Z_target, y_target)


def digits():
    """USPS and MNIST rows of unit length, with their labels."""
    data = published_data("usps_to_mnist.npz")
    rows = (normalize(data[name].astype(np.float64)) for name in ("Xs", "Xt"))
    return *rows, data["ys"], data["yt"]


def surf(source, target):
    """Histograms as shares, each column standardised within its domain, with their labels."""
    data = published_data("office_caltech10_surf.npz")

    def rows_of(name):
        rows = data[f"{name}_X"].astype(np.float64)
        rows /= rows.sum(axis=1, keepdims=True)
        spread = rows.std(axis=0)
        return (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)

    return rows_of(source), rows_of(target), data[f"{source}_y"], data[f"{target}_y"]
