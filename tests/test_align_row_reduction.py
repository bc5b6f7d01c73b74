"""The linear dual in its reduced basis: what it holds, what it leaves out, and its solution."""

import numpy as np
import pytest
from isthmus.align.mathematics import pencil, problem, row_reduction
from isthmus.align.mathematics.embedding import Rows

EPS = np.finfo(float).eps


def rows_of(n, d, spread, seed=0):
    """Rows (n, d) whose axes fall to 10^-spread, one of them dependent; and their root weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * np.logspace(0, -spread, d)
    X[:, 4] = X[:, 0] - X[:, 1]
    return X, np.sqrt(rng.integers(1, 4, n))


@pytest.mark.parametrize("reduce", [row_reduction.reduce_by_squares, row_reduction.reduce_exactly])
@pytest.mark.parametrize("spread", [3.0, 7.0, 14.0])
@pytest.mark.parametrize(("n", "d"), [(60, 40), (40, 60)])
def test_the_basis_is_orthonormal_and_holds_the_kernel_and_a_diagonal_scatter(n, d, spread, reduce):
    X, root = rows_of(n, d, spread)
    W, gram, scatter, mean, length, left, left_mean = reduce(X, root)
    K, r = X @ X.T, root / np.linalg.norm(root)
    size = np.linalg.norm(K, 2)
    assert length == pytest.approx(size)
    np.testing.assert_allclose(W.T @ W, np.eye(W.shape[1]), atol=1e-13)
    missing = K - W @ gram @ W.T
    assert np.linalg.norm(missing, 2) <= left + 30 * EPS * size
    assert np.linalg.norm(missing @ r) <= left_mean + 30 * EPS * size
    np.testing.assert_allclose(mean, W.T @ r, atol=1e-13)
    S = K @ (np.eye(n) - np.outer(r, r)) @ K
    np.testing.assert_allclose(W.T @ S @ W, np.diag(scatter), atol=1e-13 * size**2)
    assert (np.diff(scatter) <= 0).all()
    assert (scatter >= 0).all()


def dual(X, root, reg=1.0):
    half, weight = len(X) // 2, root**2
    return problem.LinearDual(Rows((X[:half], X[half:]), (weight[:half], weight[half:])), reg)


def contrasts_of(found, q):
    E = np.random.default_rng(1).normal(size=(found.rows.n, q)) * found.rows.root[:, None]
    return np.column_stack([found.mean_contrast(), E - E.mean(axis=0)])


@pytest.mark.parametrize("reg", [1e-6, 1.0])
@pytest.mark.parametrize("spread", [2.0, 5.0, 14.0])
@pytest.mark.parametrize(("n", "d"), [(200, 90), (80, 120)])
def test_the_solution_is_that_of_the_dense_dual_and_its_residuals_are_those_of_the_whole(n, d, spread, reg):
    X, root = rows_of(n, d, spread)
    found = dual(X, root, reg)
    E = contrasts_of(found, 3)
    solution, factor = found.solve(E, 8)
    weighted = X * root[:, None]
    K = weighted @ weighted.T
    dense, F = pencil.solve_dual(K, E, root, reg, 8)
    np.testing.assert_allclose(solution.eigenvalues, dense.eigenvalues, rtol=1e-7)
    lengths = np.linalg.norm(solution.vectors, axis=0) * np.linalg.norm(dense.vectors, axis=0)
    cosines = np.abs((solution.vectors * dense.vectors).sum(axis=0)) / lengths
    assert cosines.min() > 1 - 1e-9
    np.testing.assert_allclose(factor.astype(float), F, atol=1e-11 * np.abs(F).max())
    np.testing.assert_allclose(
        solution.images, K @ solution.vectors, atol=1e-8 * np.abs(solution.images).max()
    )
    gate = 1e-8 + EPS * np.sum(F * F) / reg  # rounding a vector alone moves its residual by the second part
    image = pencil.centred(K @ solution.vectors, root)
    right = solution.eigenvalues * (reg * solution.vectors + F @ (F.T @ solution.vectors))
    true = np.linalg.norm(K @ image - right, axis=0) / np.linalg.norm(right, axis=0)
    assert solution.residuals.max() < gate
    assert true.max() < 10 * gate


def test_more_components_than_the_squares_hold_come_from_the_rows_themselves():
    X, root = rows_of(60, 40, 14.0)
    found = dual(X, root)
    held = len(found._reduced.scatter)
    assert found._reduced.left > 0
    assert held < 39
    found.solve(found.mean_contrast(), 4)
    assert len(found._reduced.scatter) == held
    solution, _ = found.solve(found.mean_contrast(), 39)
    assert found._reduced.left == 0
    assert len(found._reduced.scatter) > held
    assert 5 <= len(solution.eigenvalues) < 39
    assert solution.residuals.max() < 1e-2


def test_what_the_squares_leave_out_is_taken_in_where_the_ridge_is_small_beside_it():
    X, root = rows_of(60, 40, 14.0)
    X[30:] = X[:30]  # no gap between the domains, so nothing else forbids a tiny ridge
    root[30:] = root[:30]
    quick, small = dual(X, root, 1.0), dual(X, root, 1e-14)
    for found in (quick, small):
        assert found._reduced.left > 0
        found.solve(found.mean_contrast() + 1e-9 * contrasts_of(found, 1)[:, 1:], 3)
    assert quick._reduced.left > 0
    assert small._reduced.left == 0


def test_rows_whose_squares_vanish_are_reduced_from_themselves():
    X, root = rows_of(20, 8, 1.0)
    assert row_reduction.reduce_by_squares(1e-170 * X, root) is None


@pytest.mark.parametrize("d", [5, 80])
def test_a_mean_that_the_squares_leave_out_is_known_to_be_left_out(d):
    rng, n = np.random.default_rng(0), 60
    X = rng.normal(size=(n, 4)) @ np.linalg.qr(rng.normal(size=(d, 4)))[0].T
    away = np.linalg.svd(X)[2][-1]  # where no row is
    square = 0.5 * max(n, d) * EPS * np.linalg.norm(X, 2) ** 2
    X += np.sqrt(square / n) * away  # all rows alike: D is nearly `square` r r'
    reduced = row_reduction.reduce_by_squares(X, np.ones(n))
    assert reduced.basis.shape == (n, 4)
    assert 0.5 * square < reduced.left_mean < 2 * square
    assert 0.5 * square < reduced.left < 2 * square


@pytest.mark.parametrize(("n", "d"), [(60, 20), (20, 60), (24, 23)])
@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_residuals_of_rows_far_from_the_origin_are_those_of_the_whole(n, d, offset):
    rng = np.random.default_rng(2)
    X, root = rng.normal(size=(n, d)) + offset * rng.normal(size=d), np.sqrt(rng.integers(1, 4, n))
    found = dual(X, root, 1e3 * offset**2)
    solution, _ = found.solve(found.mean_contrast(), 5)
    wide, long_root = X.astype(np.longdouble), root.astype(np.longdouble)[:, None]
    weight = long_root**2 / (root @ root)
    centred = long_root * (wide - (weight * wide).sum(axis=0))
    whole, E = long_root * wide, found.mean_contrast().astype(np.longdouble)
    F = whole @ (centred.T @ E) / np.sqrt(pencil.contrast_norm(found.mean_contrast()))
    a = solution.vectors.astype(np.longdouble)
    image = whole @ (centred.T @ (centred @ (whole.T @ a)))
    right = solution.eigenvalues * (found.reg * a + F @ (F.T @ a))
    lengths = [np.sqrt((part**2).sum(axis=0)).astype(float) for part in (image - right, right)]
    assert (lengths[0] / lengths[1] <= 10 * solution.residuals + 1e-8).all()


@pytest.mark.parametrize(("n", "d"), [(60, 20), (20, 60)])
def test_rows_far_from_the_origin_are_solved_from_their_differences(n, d):
    rng = np.random.default_rng(3)
    X, root = rng.normal(size=(n, d)) + 1e2 * rng.normal(size=d), np.ones(n)
    found = dual(X, root, 1e14)  # no gap of the means calls for care
    solution, _ = found.solve(found.mean_contrast(), 5)
    assert len(solution.eigenvalues) == 5
    assert solution.residuals.max() < 1e-8
