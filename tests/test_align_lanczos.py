"""Eigenpairs by products alone, the form that inverts the metric, and the graph of neighbours."""

import numpy as np
import pytest
from isthmus.align.mathematics.graphs import heat_laplacian, mean_distance
from isthmus.align.mathematics.lanczos import leading_pairs
from isthmus.align.mathematics.z_form import Metric, rescaled, solve_factored, solve_streamed
from scipy import linalg


def symmetric(values, seed=0):
    n = len(values)
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    return basis @ (np.asarray(values)[:, None] * basis.T)


@pytest.mark.parametrize("max_basis", [400, 10])
@pytest.mark.parametrize(
    "values",
    [
        np.exp(-0.05 * np.arange(150)),
        np.r_[3.0, 3.0, 3.0, np.linspace(1, 0, 147)],  # a multiple eigenvalue
        np.r_[np.exp(-0.05 * np.arange(147)), -500.0, -200.0, -100.0],  # indefinite
        np.r_[5.0, 4.0, 3.0, 2.0, np.zeros(146)],  # the space ends early
    ],
    ids=["decaying", "multiple", "indefinite", "low-rank"],
)
def test_leading_pairs_are_those_of_the_dense_solver(values, max_basis):
    T = symmetric(values)
    start = np.random.default_rng(1).standard_normal((150, 8))
    found = leading_pairs(lambda v: T @ v, start, 4, tol=1e-10, max_passes=300, max_basis=max_basis)
    np.testing.assert_allclose(found.values, np.sort(values)[::-1][:4], rtol=1e-9)
    np.testing.assert_allclose(T @ found.vectors, found.values * found.vectors, atol=1e-8)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(4), atol=1e-12)


def test_a_small_space_is_exhausted():
    T = symmetric(np.arange(6.0))
    found = leading_pairs(lambda v: T @ v, np.eye(6)[:, :4], 10, tol=1e-12, max_passes=50)
    np.testing.assert_allclose(found.values, np.arange(6.0)[::-1], atol=1e-12)
    assert found.passes <= 3


def test_a_good_start_saves_products():
    T = symmetric(np.exp(-0.02 * np.arange(300)))
    rng = np.random.default_rng(0)
    cold = leading_pairs(lambda v: T @ v, rng.standard_normal((300, 10)), 5, tol=1e-8, max_passes=100)
    near = np.hstack([cold.vectors + 1e-6 * rng.standard_normal((300, 5)), rng.standard_normal((300, 5))])
    warm = leading_pairs(lambda v: T @ v, near, 5, tol=1e-8, max_passes=100)
    assert warm.passes < cold.passes


def pencil(seed=0, p=30, m=20, q=3):
    rng = np.random.default_rng(seed)
    root, factor = rng.standard_normal((p, m)), 10 * rng.standard_normal((p, q))
    diagonal = 10.0 ** rng.uniform(-2, 8, p)  # entries that all but exclude some rows
    times, solve = (lambda v: diagonal[:, None] * v), (lambda v: v / diagonal[:, None])
    return root, Metric(times, solve, factor), np.diag(diagonal) + factor @ factor.T


def test_metric_is_inverted_by_woodbury():
    _, metric, B = pencil()
    v = np.random.default_rng(1).standard_normal((30, 4))
    np.testing.assert_allclose(metric.times(v), B @ v, rtol=1e-10)
    np.testing.assert_allclose(metric.times(metric.solve(v)), v, atol=1e-8)


@pytest.mark.parametrize("streamed", [False, True])
def test_both_solvers_give_the_pencil(streamed):
    root, metric, B = pencil()
    S = root @ root.T
    expected = np.sort(linalg.eigvals(np.linalg.solve(B, S)).real)[::-1][:5]
    if streamed:
        start = np.random.default_rng(2).standard_normal((20, 8))
        found, _ = solve_streamed(
            lambda z: root @ z, lambda v: root.T @ v, metric, start, 5, tol=1e-10, max_passes=50
        )
    else:
        found = solve_factored(root, metric, 5)
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-9)
    A = found.vectors
    np.testing.assert_allclose(A.T @ B @ A, np.eye(5), atol=1e-8)
    assert found.residuals.max() < 1e-8
    white = rescaled(found, "white").vectors
    np.testing.assert_allclose(white.T @ S @ white, np.eye(5), atol=1e-8)
    unit = rescaled(found, "unit", -A).vectors
    np.testing.assert_allclose(np.linalg.norm(unit, axis=0), 1)
    assert (unit[np.argmax(np.abs(unit), axis=0), np.arange(5)] < 0).all()


def test_width_is_the_mean_distance_of_all_pairs():
    rows = np.random.default_rng(0).standard_normal((12, 3))
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)[np.triu_indices(12, 1)]
    assert mean_distance(rows, np.ones(12)) == pytest.approx(distances.mean(), rel=1e-12)


def test_all_rows_at_the_distance_of_the_last_neighbour_are_joined():
    grid = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), axis=-1).reshape(-1, 2)
    found, first = heat_laplacian(grid, np.ones(36), 3, 2.0)
    D = np.linalg.norm(grid[first][:, None] - grid[first][None], axis=2)
    radius = np.sort(D, axis=1)[:, 3]
    joined = np.maximum(radius[:, None], radius[None]) > D - 1e-9
    W = np.where(joined & (D > 0), np.exp(-(D**2) / 8), 0.0)
    np.testing.assert_allclose(found.toarray(), np.diag(W.sum(axis=0)) - W, atol=1e-12)


def test_a_row_of_weight_k_is_k_equal_rows_of_the_graph():
    rng = np.random.default_rng(0)
    rows, weight = rng.standard_normal((20, 3)), rng.integers(1, 8, 20)
    single, first = heat_laplacian(rows, weight.astype(float), 4, 1.0)
    repeated = np.repeat(rows, weight, axis=0)
    several, places = heat_laplacian(repeated, np.ones(len(repeated)), 4, 1.0)
    np.testing.assert_array_equal(rows[first], repeated[places])
    np.testing.assert_allclose(single.toarray(), several.toarray(), atol=1e-12)
    z = rng.standard_normal(3)
    values = rows[first] @ z
    D = np.linalg.norm(repeated[:, None] - repeated[None], axis=2)
    radius = np.sort(D, axis=1)[:, 4]
    joined = np.maximum(radius[:, None], radius[None]) > D - 1e-9
    energy = (
        np.sum(np.where(joined, np.exp(-(D**2) / 2), 0) * (repeated @ z - (repeated @ z)[:, None]) ** 2) / 2
    )
    assert values @ (single @ values) == pytest.approx(energy)
