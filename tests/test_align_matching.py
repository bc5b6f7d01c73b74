"""What TJM, JGSA, semi-supervised TCA and MIDA have in common beyond the laws of every estimator."""

import tracemalloc

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

RBF = im.RBF(bandwidth=3.0)
METHODS = [
    im.TJM(3),
    im.TJM(3, kernel=RBF, normalize=None, class_columns=True),
    im.TJM(3, kernel=RBF, normalize=None, eigen_solver="krylov"),
    im.JGSA(3),
    im.JGSA(3, kernel=RBF, normalize=None),
    im.SemiSupervisedTCA(3),
    im.SemiSupervisedTCA(3, kernel=im.Linear()),
    im.SemiSupervisedTCA(3, kernel=RBF),
    im.MIDA(3),
    im.MIDA(3, kernel=im.Linear()),
    im.MIDA(3, kernel=RBF, eigen_solver="krylov"),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=str)


def toy(n=60, seed=0):
    X, y, X_target, y_target = shifted_classes(3.0, seed, n=n, d=5)
    return X, np.array(["no", "yes"])[y], X_target, np.array(["no", "yes"])[y_target]


def close(found, expected, share=1e-6):
    np.testing.assert_allclose(found, expected, atol=share * np.abs(expected).max())


@every_method
def test_fit_transform_and_transform_agree_on_the_rows_of_fit(method):
    X, y, X_target, _ = toy()
    fitted = clone(method)
    Z = fitted.fit_transform(X, y, X_target)
    np.testing.assert_array_equal(fitted.transform(X, domain="source"), Z)
    assert fitted.transform(X_target).shape == (60, 3)
    assert len(fitted.get_feature_names_out()) == 3 == len(fitted.eigenvalues_)
    assert (np.diff(fitted.eigenvalues_) <= 0).all()


@every_method
def test_names_of_the_classes_change_nothing(method):
    X, y, X_target, _ = toy()
    Z = clone(method).fit(X, y, X_target).transform(X_target)
    for other in (np.where(y == "yes", -7, 40), np.where(y == "yes", 2.0, -1.0), y == "no"):
        close(clone(method).fit(X, other, X_target).transform(X_target), Z)


@every_method
def test_a_class_of_one_side_alone_is_no_obstacle(method):
    X, y, X_target, y_target = toy()
    one = clone(method).fit(X[y == "yes"], y[y == "yes"], X_target)  # one class
    assert np.isfinite(one.transform(X_target)).all()
    strange = np.where(y_target == "yes", "maybe", "no")
    told = clone(method).fit(X, y, X_target, strange)
    assert np.isfinite(told.transform(X_target)).all()


@every_method
def test_a_model_saved_and_loaded_moves_rows_to_the_same_place(method, tmp_path):
    X, y, X_target, _ = toy()
    fitted = clone(method).fit([X[:30], X[30:]], [y[:30], y[30:]], X_target)
    im.save(fitted, tmp_path / "model")
    again = im.load(tmp_path / "model")
    domain = np.repeat([0, 1], 30)
    np.testing.assert_array_equal(again.transform(X, domain=domain), fitted.transform(X, domain=domain))
    np.testing.assert_array_equal(again.transform(X_target), fitted.transform(X_target))


@pytest.mark.parametrize("method", [METHODS[0], METHODS[3], METHODS[5], METHODS[8], METHODS[9]], ids=str)
def test_no_matrix_of_rows_by_rows_is_formed(method):
    X, y, X_target, _ = toy(n=4000)
    clone(method).fit(X[:100], y[:100], X_target[:100])
    options = {"n_iter": 1} if hasattr(method, "n_iter") else {}
    if isinstance(method, im.JGSA):  # scikit-learn's nearest neighbours take a distance matrix by pieces
        options["classifier"] = LogisticRegression()
    tracemalloc.start()
    clone(method).set_params(**options).fit(X, y, X_target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 8000**2 / 20


UNSCALED = [im.TJM(2, normalize=None), im.JGSA(2, normalize=None), im.SemiSupervisedTCA(2), im.MIDA(2)]


@pytest.mark.parametrize("method", UNSCALED, ids=str)
def test_rows_out_of_range_are_refused_in_one_sentence(method):
    X, y, X_target, _ = toy()
    with pytest.raises(ValueError, match=r"needs entries up to 1e\+70, got .*; scale the columns of X"):
        clone(method).fit(1e90 * X, y, 1e90 * X_target)
    with pytest.raises(ValueError, match="finds no direction along which the rows vary"):
        clone(method).fit(1e-170 * X, y, 1e-170 * X_target)


@pytest.mark.filterwarnings("ignore:.*has residual:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*the numerical rank of its problem:UserWarning")
@pytest.mark.parametrize("distance", [1e3, 1e6, 1e9])
@pytest.mark.parametrize("method", UNSCALED, ids=str)
def test_domains_far_apart_make_no_linear_algebra_error(method, distance):
    X, y, X_target, _ = toy()
    try:
        Z = clone(method).fit(X, y, X_target + distance).transform(X_target)
    except ValueError as error:
        assert distance > 1e3
        assert not isinstance(error, np.linalg.LinAlgError)
        assert "columns of X" in str(error)
    else:
        assert np.isfinite(Z).all()


@pytest.mark.parametrize("method", [im.JGSA, im.SemiSupervisedTCA])
def test_landmarks_do_not_depend_on_the_order_of_the_rows(method):
    X, y, X_target, _ = toy()
    Z = method(3, kernel=RBF, n_landmarks=30).fit(X, y, X_target).transform(X_target)
    turned = method(3, kernel=RBF, n_landmarks=30).fit(X[::-1], y[::-1], X_target[::-1])
    close(turned.transform(X_target), Z)
    with pytest.raises(ValueError, match="n_landmarks needs a positive definite kernel, got Energy"):
        method(3, kernel=im.Energy(), n_landmarks=30).fit(X, y, X_target)
