"""OptimalTransport against one-dimensional transport by sorting and against POT's own classes."""

import sys

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes, two_covariances
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

ot = pytest.importorskip("ot", reason="POT is not installed: pip install isthmus[ot]")

ENTROPIC = [
    im.OptimalTransport(reg=0.5, tol=1e-9),
    im.OptimalTransport("sinkhorn_l1l2", reg=0.5, max_steps=200, tol=1e-9),
    im.OptimalTransport("sinkhorn_lpl1", reg=0.5, max_steps=200),
]
ALL = [im.OptimalTransport("emd"), *ENTROPIC]
every_method = pytest.mark.parametrize("method", ALL, ids=[method.method for method in ALL])


def test_exact_transport_on_a_line_sends_ranks_to_ranks():
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((40, 1)), 5 + 3 * rng.standard_normal((40, 1))
    Z = im.OptimalTransport("emd").fit_transform(X, None, X_target)
    expected = np.empty_like(X)
    expected[np.argsort(X[:, 0])] = np.sort(X_target, axis=0)
    np.testing.assert_allclose(Z, expected, atol=1e-12)


def peer(method):
    kind = {
        "emd": lambda: ot.da.EMDTransport(norm="median"),
        "sinkhorn": lambda: ot.da.SinkhornTransport(reg_e=0.5, norm="median", max_iter=1000, tol=1e-9),
        "sinkhorn_l1l2": lambda: ot.da.SinkhornL1l2Transport(
            reg_e=0.5, reg_cl=0.1, norm="median", max_iter=10, max_inner_iter=200, tol=1e-9
        ),
        "sinkhorn_lpl1": lambda: ot.da.SinkhornLpl1Transport(
            reg_e=0.5, reg_cl=0.1, norm="median", max_iter=10, max_inner_iter=200, tol=1e-9
        ),
    }
    transport = kind[method.method]()
    transport.out_of_sample_map = "ferradans"  # new rows by their nearest row, for the entropic method too
    return transport


@every_method
def test_rows_of_the_fit_and_new_rows_move_as_in_pot(method):
    X, y, X_target, _ = shifted_classes(3.0, 0, n=50, d=4)
    theirs = peer(method).fit(Xs=X, ys=y, Xt=X_target)
    ours = clone(method)
    Z = ours.fit_transform(X, y, X_target)
    np.testing.assert_allclose(Z, theirs.transform(Xs=X), atol=1e-6)
    new = X[::-1][:20] + 0.1
    np.testing.assert_allclose(ours.transform(new, domain="source"), theirs.transform(Xs=new), atol=1e-6)
    np.testing.assert_array_equal(ours.transform(X_target), X_target)


@every_method
def test_rows_of_the_fit_move_alike_alone_and_in_any_order(method):
    X, y, X_target, _ = shifted_classes(3.0, 0, n=40, d=4)
    fitted = clone(method)
    Z = fitted.fit_transform(X, y, X_target)
    np.testing.assert_array_equal(fitted.transform(X[3:5], domain="source"), Z[3:5])
    order = np.random.default_rng(0).permutation(40)
    shuffled = clone(method).fit(X[order], y[order], X_target[order])
    np.testing.assert_allclose(shuffled.transform(X, domain="source"), Z, atol=1e-9)


@every_method
def test_weight_k_is_the_row_repeated_k_times(method):
    X, y, X_target, _ = shifted_classes(3.0, 0, n=30, d=4)
    rows, domain = np.concatenate([X, X_target]), np.repeat([0, -1], 30)
    labels, weight = np.concatenate([y, y]), np.random.default_rng(0).integers(0, 4, 60)
    by_weight = clone(method).fit(rows, labels, sample_domain=domain, sample_weight=weight)
    repeated = [np.repeat(part, weight, axis=0) for part in (rows, labels, domain)]
    by_rows = clone(method).fit(*repeated[:2], sample_domain=repeated[2])
    np.testing.assert_allclose(
        by_weight.transform(X, domain="source"), by_rows.transform(X, domain="source"), atol=1e-9
    )


def test_equal_rows_move_together_whatever_their_labels():
    X, y, X_target, _ = shifted_classes(3.0, 0, n=20, d=2)
    X[1], y[0], y[1] = X[0], 0, 1
    fitted = im.OptimalTransport("sinkhorn_lpl1", reg=0.5)
    Z = fitted.fit_transform(X, y, X_target)
    np.testing.assert_array_equal(Z[0], Z[1])
    # All mass arrives, so the mean of the moved rows is the target's.
    np.testing.assert_allclose(Z.mean(axis=0), X_target.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "method", [im.OptimalTransport("emd"), im.OptimalTransport(reg=0.2, tol=1e-3)], ids=str
)
def test_labelled_target_rows_draw_their_own_class(method):
    rng = np.random.default_rng(0)
    labels = np.array(["wolf", "dog"])
    y, y_target = np.repeat([0, 1], 15), np.repeat([1, 0], 15)
    X = rng.normal(y[:, None], 0.1, (30, 2))
    X_target = rng.normal(1 - y_target[:, None], 0.1, (30, 2))  # the classes have changed places
    crossed = clone(method).fit_transform(X, labels[y], X_target, labels[y_target])
    np.testing.assert_allclose(crossed.mean(axis=1).round(), 1 - y)
    plain = clone(method).fit_transform(X, labels[y], X_target)
    np.testing.assert_allclose(plain.mean(axis=1).round(), y)
    half = np.arange(30) % 2 == 0
    some = clone(method).fit_transform(X, labels[y], X_target, labels[y_target], target_labelled=half)
    assert np.mean(some.mean(axis=1).round() != y) > 0.3
    # A class that the source lacks, and labels without source labels, refuse nothing.
    other = np.where(half, "fox", labels[y_target])
    assert np.isfinite(clone(method).fit_transform(X, labels[y], X_target, other)).all()
    np.testing.assert_array_equal(clone(method).fit_transform(X, None, X_target, other), plain)


def test_a_small_reg_does_not_underflow():
    X, X_target = two_covariances(30, 25)
    Z = im.OptimalTransport(reg=2e-3, norm="max", max_steps=20000, tol=1e-6).fit_transform(X, None, X_target)
    np.testing.assert_allclose(Z.mean(axis=0), X_target.mean(axis=0), atol=1e-3)


def test_too_few_iterations_are_a_convergence_warning():
    X, X_target = two_covariances(30, 25)
    with pytest.warns(ConvergenceWarning, match=r"POT reports for 'sinkhorn': .*did not converge"):
        im.OptimalTransport(reg=0.01, max_steps=2).fit(X, None, X_target)


@pytest.mark.parametrize("norm", ["max", "median", "mean"])
def test_norms_make_the_result_free_of_the_unit(norm):
    X, X_target = two_covariances(30, 25)
    method = im.OptimalTransport(reg=0.5, norm=norm)
    Z = clone(method).fit_transform(X, None, X_target)
    np.testing.assert_allclose(clone(method).fit_transform(1e3 * X, None, 1e3 * X_target), 1e3 * Z, rtol=1e-6)


def test_float32_rows_stay_float32():
    X, X_target = (part.astype(np.float32) for part in two_covariances(30, 25))
    Z = im.OptimalTransport("emd").fit_transform(X, None, X_target)
    assert Z.dtype == np.float32
    exact = im.OptimalTransport("emd").fit_transform(X.astype(np.float64), None, X_target.astype(np.float64))
    np.testing.assert_allclose(Z, exact, rtol=1e-6, atol=1e-6)


def test_without_pot_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    X, X_target = two_covariances(30, 25)
    with pytest.raises(ImportError, match=r"needs POT: pip install isthmus\[ot\]"):
        im.OptimalTransport().fit(X, None, X_target)


def test_a_loaded_model_moves_rows_without_pot(tmp_path, monkeypatch):
    X, X_target = two_covariances(30, 25)
    fitted = im.OptimalTransport("emd").fit(X, None, X_target)
    im.save(fitted, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "ot", None)
    loaded = im.load(tmp_path / "model")
    new = X + 0.01
    np.testing.assert_array_equal(
        loaded.transform(new, domain="source"), fitted.transform(new, domain="source")
    )


def test_wrong_arguments_are_named():
    X, y, X_target, _ = shifted_classes(3.0, 0, n=20)
    for wrong, message in [
        ({"method": "linear"}, "method must be one of 'emd', 'sinkhorn'"),
        ({"norm": "log"}, "norm must be one of 'max', 'median', 'mean', None"),
        ({"reg": 0}, "reg must be a finite number above 0, got 0"),
        ({"tol": "small"}, "tol must be a finite number above 0"),
        ({"reg_group": -1}, "reg_group must be a finite number of at least 0, got -1"),
        ({"max_steps": 0}, "max_steps must be an integer of at least 1, got 0"),
        ({"metric": None}, "metric must be the name of a metric, got None"),
    ]:
        with pytest.raises(ValueError, match=message):
            im.OptimalTransport(**wrong).fit(X, y, X_target)
    with pytest.raises(ValueError, match="needs the classes y of the source, got y=None"):
        im.OptimalTransport("sinkhorn_l1l2").fit(X, None, X_target)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        im.OptimalTransport("sinkhorn_l1l2").fit(X, X[:, 0], X_target)
