"""Published accuracies of SA and GFK on real data, where it is at hand."""

import isthmus as im
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from test_align_published import digits, published_data


def accuracy(Z, y, Z_target, y_target):
    model = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(Z, y)
    return 100 * model.score(Z_target, y_target)


def surf(source, target):
    """Histograms that sum to one, then each domain z-scored: the protocol of the published table."""
    data = published_data("office_caltech10_surf.npz")
    rows = [data[f"{name}_X"].astype(np.float64) for name in (source, target)]
    rows = [part / part.sum(axis=1, keepdims=True) for part in rows]
    scaling = im.StandardScaling()
    X = scaling.fit_transform(rows[0], None, rows[1])
    return X, scaling.transform(rows[1]), data[f"{source}_y"], data[f"{target}_y"]


# Digits: Li and others, LPJT, table III; Wang and others (MEDA), ACM MM 2018, table 3.
@pytest.mark.parametrize(("method", "expected"), [(im.SubspaceAlignment(100), 48.80), (im.GFK(100), 46.45)])
def test_usps_to_mnist_is_as_published(method, expected):
    X, X_target, y, y_target = digits()
    Z, Z_target = method.fit_transform(X, None, X_target), method.transform(X_target)
    assert accuracy(Z, y, Z_target, y_target) == pytest.approx(expected, abs=0.01)


# 1-NN: MEDA, table 2. SA and GFK, k = 20: the definitions computed with plain singular vectors.
@pytest.mark.parametrize(
    ("source", "target", "raw", "sa", "gfk"),
    [
        ("Caltech10", "dslr", 25.5, 43.95, 41.40),
        ("amazon", "webcam", 29.8, 41.36, 40.00),
        ("webcam", "dslr", 59.2, 77.07, 87.90),
    ],
)
def test_surf_features_have_the_accuracy_of_the_definitions(source, target, raw, sa, gfk):
    X, X_target, y, y_target = surf(source, target)
    assert accuracy(X, y, X_target, y_target) == pytest.approx(raw, abs=0.06)
    for method, expected in ((im.SubspaceAlignment(20), sa), (im.GFK(20), gfk)):
        Z, Z_target = method.fit_transform(X, None, X_target), method.transform(X_target)
        assert accuracy(Z, y, Z_target, y_target) == pytest.approx(expected, abs=0.01)
