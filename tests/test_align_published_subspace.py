"""Published accuracies of SA and GFK on real data, where it is at hand."""

from functools import partial

import isthmus as im
import pytest
from published import accuracy_of_nearest_neighbour, digits, surf

accuracy = partial(accuracy_of_nearest_neighbour, unit_rows=False)


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
