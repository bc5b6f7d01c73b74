"""SubspaceAlignment and GFK against their definitions on plain singular vectors."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from isthmus.align.mathematics.geodesic import geodesic, geodesic_point
from sklearn.base import clone

METHODS = [im.SubspaceAlignment(3), im.GFK(3)]
every_method = pytest.mark.parametrize("method", METHODS, ids=str)


def two_subspaces(n_source=90, n_target=70, d=12, seed=0):
    """Rows with a strong subspace of falling variances, another one in the target, both far from 0."""
    rng = np.random.default_rng(seed)
    scale = np.geomspace(5, 0.1, d)
    turn = np.linalg.qr(np.eye(d) + 0.3 * rng.standard_normal((d, d)))[0]
    source = rng.standard_normal((n_source, d)) * scale + rng.standard_normal(d)
    target = rng.standard_normal((n_target, d)) * scale @ turn + 3.0
    return source, target


def directions(rows, k):
    basis = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:k].T
    return basis * np.sign(basis[np.argmax(np.abs(basis), axis=0), np.arange(k)])


SHAPES = pytest.mark.parametrize(
    ("n_source", "n_target", "d"), [(90, 70, 12), (20, 70, 40), (30, 25, 40)], ids=["many", "mixed", "few"]
)


@SHAPES
def test_subspace_alignment_is_the_published_product(n_source, n_target, d):
    X, X_target = two_subspaces(n_source, n_target, d)
    P_s, P_t = directions(X, 3), directions(X_target, 3)
    fitted = im.SubspaceAlignment(3)
    np.testing.assert_allclose(fitted.fit_transform(X, None, X_target), X @ P_s @ P_s.T @ P_t, atol=1e-9)
    np.testing.assert_allclose(fitted.transform(X_target), X_target @ P_t, atol=1e-9)


@SHAPES
def test_products_of_gfk_rows_are_the_integral_of_all_products_on_the_way(n_source, n_target, d):
    X, X_target = two_subspaces(n_source, n_target, d)
    way = geodesic(directions(X, 3), directions(X_target, 3))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    points = [geodesic_point(way, (x + 1) / 2) for x in nodes]
    kernel = sum(w / 2 * point @ point.T for w, point in zip(weights, points, strict=True))
    fitted = im.GFK(3)
    Z, Z_target = fitted.fit_transform(X, None, X_target), fitted.transform(X_target)
    assert Z.shape == (n_source, 6)
    np.testing.assert_allclose(Z @ Z_target.T, X @ kernel @ X_target.T, atol=1e-8)
    np.testing.assert_allclose(fitted.angles_, way.angles, atol=1e-9)


@every_method
def test_equal_domains_share_their_subspace(method):
    X, _ = two_subspaces()
    fitted = clone(method).fit(X, None, X[::-1])
    basis = directions(X, 3)
    Z, Z_target = fitted.transform(X, domain="source"), fitted.transform(X)
    np.testing.assert_allclose(Z, Z_target, atol=1e-9)
    np.testing.assert_allclose(Z @ Z.T, X @ basis @ basis.T @ X.T, atol=1e-9)
    np.testing.assert_allclose(fitted.angles_, 0, atol=1e-9)


@every_method
def test_order_of_the_rows_changes_nothing(method):
    X, X_target = two_subspaces()
    rng = np.random.default_rng(1)
    shuffled = clone(method).fit(rng.permutation(X), None, rng.permutation(X_target))
    np.testing.assert_allclose(
        shuffled.transform(X, domain="source"), clone(method).fit_transform(X, None, X_target), atol=1e-9
    )


@every_method
def test_with_mean_projects_rows_minus_the_mean_of_their_domain(method):
    X, X_target = two_subspaces()
    plain, centred = clone(method), clone(method).set_params(with_mean=True)
    Z, Z_centred = plain.fit_transform(X, None, X_target), centred.fit_transform(X, None, X_target)
    mean = X.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(Z_centred, Z - plain.transform(mean, domain="source"), atol=1e-9)
    np.testing.assert_allclose(centred.transform(X_target).mean(axis=0), 0, atol=1e-9)


@every_method
@pytest.mark.parametrize("shape", [(90, 70, 12), (20, 30, 40)])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_float32_rows_stay_float32_and_follow_float64(method, shape, offset):
    narrow = [(part + offset).astype(np.float32) for part in two_subspaces(*shape)]
    Z = clone(method).fit_transform(narrow[0], None, narrow[1])
    exact = clone(method).fit_transform(*(part.astype(np.float64) for part in narrow[:1]), None, narrow[1])
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, exact, atol=1e-6 * np.abs(exact).max())


@every_method
@pytest.mark.parametrize("shape", [(60, 60, 10), (30, 25, 40)])
def test_weight_k_is_the_row_repeated_k_times(method, shape):
    X, X_target = two_subspaces(*shape)
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    by_weight = clone(method).fit(X, None, X_target, sample_weight=weight)
    by_rows = clone(method).fit(np.repeat(X, weight, axis=0), None, X_target)
    np.testing.assert_allclose(
        by_weight.transform(X, domain="source"), by_rows.transform(X, domain="source"), atol=1e-9
    )


@pytest.mark.parametrize("method", [im.SubspaceAlignment(50), im.GFK(50)], ids=str)
def test_more_components_than_rank_are_lowered_and_said(method):
    X, X_target = two_subspaces(30, 40, 12)
    X[:, 4:] = 0
    with pytest.warns(UserWarning, match="takes 4 components, not 50"):
        fitted = clone(method).fit(X, None, X_target)
    assert fitted.n_components_ == 4
    assert np.isfinite(fitted.transform(X)).all()


def test_gfk_stays_below_half_the_columns():
    X, X_target = two_subspaces(d=12)
    with pytest.warns(UserWarning, match="takes 5 components, not 6"):
        assert im.GFK(6).fit(X, None, X_target).transform(X).shape == (90, 10)
    assert im.GFK().fit(X, None, X_target).n_components_ == 5
    assert im.SubspaceAlignment().fit(X, None, X_target).n_components_ == 12


@pytest.mark.parametrize("shape", [(90, 70, 12), (5, 6, 30)])
def test_auto_is_the_first_number_at_which_the_subspaces_disagree(shape):
    rng = np.random.default_rng(0)
    n_source, n_target, d = shape
    scale = np.full(d, 0.01)
    scale[:2] = 5, 3
    X = rng.standard_normal((n_source, d)) * scale
    scale[[2, 5]] = 0.01, 1
    X_target = rng.standard_normal((n_target, d)) * scale
    X[:, 4] *= 100
    # Two strong directions are shared; the third of each domain is of no weight in the other.
    pooled = directions(np.concatenate([X, X_target]), min(d, n_source + n_target - 1))
    most = min(d, n_source - 1, n_target - 1)
    bases = [directions(part, most) for part in (X, X_target)]

    def disagreement(k):
        cosines = [np.linalg.svd(part[:, :k].T @ pooled[:, :k])[1][-1] for part in bases]
        return np.mean([np.sqrt(max(0, 1 - c**2)) for c in cosines])

    expected = next((k for k in range(1, most + 1) if disagreement(k) >= 0.99), most)
    assert im.SubspaceAlignment("auto").fit(X, None, X_target).n_components_ == expected


@every_method
def test_constant_rows_are_refused(method):
    X, X_target = two_subspaces()
    with pytest.raises(ValueError, match="needs rows that vary in both domains"):
        clone(method).fit(np.ones_like(X), None, X_target)


@every_method
def test_wrong_parameters_are_named(method):
    X, X_target = two_subspaces()
    for wrong in (0, 2.5, "all", True):
        with pytest.raises(ValueError, match="n_components must be an integer of at least 1, 'auto' or None"):
            clone(method).set_params(n_components=wrong).fit(X, None, X_target)
    with pytest.raises(ValueError, match="with_mean must be True or False, got 1"):
        clone(method).set_params(with_mean=1).fit(X, None, X_target)


@every_method
def test_new_rows_move_as_those_of_the_fit(method):
    X, y, X_target, _ = shifted_classes(3.0, 0, n=40)
    fitted = clone(method)
    Z = fitted.fit_transform(X, y, X_target)
    np.testing.assert_allclose(fitted.transform(X[7:9], domain="source"), Z[7:9], atol=1e-12)


@pytest.mark.parametrize("method", [im.SubspaceAlignment(5), im.GFK(5)], ids=str)
def test_signs_of_columns_do_not_hang_on_rounding(method):
    X, X_target = two_subspaces()
    fitted = clone(method).fit(X, None, X_target)
    columns = fitted.projection_ if isinstance(fitted, im.GFK) else fitted.projection_target_
    assert (columns.max(axis=0) == np.abs(columns).max(axis=0)).all()


def test_few_rows_far_from_zero_have_one_direction_less_than_rows():
    X, X_target = two_subspaces(9, 12, 40)
    for offset in (0.0, 1e11):
        assert im.SubspaceAlignment().fit(X + offset, None, X_target).n_components_ == 8


def test_directions_of_few_rows_are_orthonormal_however_small_their_variance():
    rng = np.random.default_rng(0)
    X, X_target = (rng.standard_normal((12, 40)) * np.geomspace(1, 1e-7, 40) for _ in range(2))
    basis = im.SubspaceAlignment().fit(X, None, X_target).projection_target_
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-13)
