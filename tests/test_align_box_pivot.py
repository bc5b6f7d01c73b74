"""Exchanges on the faces of the box: the conditions of optimality, hard matrices, few rounds."""

import numpy as np
import pytest
from isthmus.align.mathematics import box_pivot
from isthmus.align.mathematics.box import Box, nearest
from isthmus.align.mathematics.box_matrix import StoredMatrix
from isthmus.align.mathematics.box_pivot import pivoted
from isthmus.align.mathematics.box_qp import minimise_in_box

BANDS = {"free": (0.0, 1e9), "low end": (30.0, 31.0), "high end": (0.1, 2.0), "one sum": (5.0, 5.0)}
BOUNDS = {"loose": 1000.0, "tight": 0.4}


def squares(n, seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    return root @ root.T / n + 0.1 * np.eye(n), rng.normal(0.3, 1.0, n), rng.integers(1, 4, n).astype(float)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("band", BANDS)
def test_the_conditions_of_optimality_hold(band, bound, seed):
    K, q, weight = squares(40, seed)
    low, high = BANDS[band]
    box = Box(weight, np.full(40, BOUNDS[bound]), min(low, 0.9 * BOUNDS[bound] * weight.sum()), high)
    start = nearest(np.full(40, 0.2), box, 0.0, None)[0]
    point, image, rounds = pivoted(StoredMatrix(K), q, box, start, start > 0, 1e-6, 100)
    assert 0 < rounds <= 30
    total = weight @ point
    assert (point >= 0).all() and (point <= box.upper).all()
    assert box.low * (1 - 1e-9) <= total <= box.high * (1 + 1e-9)
    np.testing.assert_allclose(image, K @ (weight * point), rtol=1e-12, atol=1e-12)
    slope = image - q
    inside = (point > 0) & (point < box.upper)
    # One multiplier for the free entries: 0 within the band, of the sign of the end that holds otherwise.
    shift = -np.mean(slope[inside])
    assert np.abs(slope[inside] + shift).max() < 1e-8
    if total > box.low * (1 + 1e-9):
        assert shift > -1e-8
    if total < box.high * (1 - 1e-9):
        assert shift < 1e-8
    assert (slope[point == 0] + shift > -1e-8).all()
    assert (slope[point == box.upper] + shift < 1e-8).all()


def test_fewer_rounds_leave_a_feasible_point():
    K, q, weight = squares(40, 0)
    box = Box(weight, np.full(40, 0.4), 5.0, 5.0)
    point, _, rounds = pivoted(StoredMatrix(K), q, box, np.full(40, 0.2), np.full(40, True), 1e-6, 1)
    assert rounds == 1
    assert (point >= 0).all() and (point <= 0.4).all()
    assert weight @ point == pytest.approx(5.0, rel=1e-9)


def test_too_many_free_entries_leave_a_feasible_point(monkeypatch):
    K, q, weight = squares(40, 0)
    box = Box(weight, np.full(40, 1000.0), 0.0, 1e9)
    start, few = np.full(40, 0.2), np.arange(40) < 4

    def rounds():
        point, image, taken = pivoted(StoredMatrix(K), q, box, start, few, 1e-6, 100)
        assert (point >= 0).all()
        np.testing.assert_allclose(image, K @ (weight * point), rtol=1e-12, atol=1e-12)
        return taken

    assert rounds() > 4
    monkeypatch.setattr(box_pivot, "DIRECT", 8)
    assert rounds() <= 4


def test_a_singular_system_leaves_a_feasible_point():
    # Rounding can leave an eigenvalue of K below 0: here it is the ridge's opposite.
    point, _, _ = pivoted(
        StoredMatrix(np.array([[-1e-6]])),
        np.ones(1),
        Box(np.ones(1), np.ones(1), 0, 9),
        np.full(1, 0.5),
        np.full(1, True),
        1.0,
        9,
    )
    assert point[0] == 0.5


PAIRS = np.arange(60) // 2
HARD = {
    "one row many times": lambda X: np.ones((60, 60)),
    "pairs of equal rows": lambda X: np.exp(-((X[PAIRS, None] - X[PAIRS]) ** 2).sum(-1)),
    "rows far apart": lambda X: np.eye(60),
    "nearly one row": lambda X: np.exp(-1e-7 * ((X[:, None] - X) ** 2).sum(-1)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bound", [1.2, 1000.0])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("name", HARD)
def test_hard_matrices_are_solved_to_their_proven_gap(name, eps, bound, dtype):
    rng = np.random.default_rng(0)
    K = HARD[name](rng.normal(size=(60, 3))).astype(dtype)
    wide = K.astype(np.float64)
    q = wide @ rng.uniform(0, 2, 60)  # so that means can be matched
    found = minimise_in_box(
        StoredMatrix(K), q, np.full(60, bound), 60 * (1 - eps), 60 * (1 + eps), tol=1e-6, max_iter=5000
    )
    assert found.gap <= 1e-6 * abs(found.value)
    assert found.value == pytest.approx(found.point @ wide @ found.point / 2 - q @ found.point, rel=1e-9)
    assert (found.point >= 0).all() and (found.point <= bound).all()
    assert 60 * (1 - eps) - 1e-9 <= found.point.sum() <= 60 * (1 + eps) + 1e-9


def test_few_entries_in_use_are_solved_for_in_few_rounds():
    # 600 rows of which an eighth is in use: accelerated steps alone take 90.
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(600, 20)), rng.normal(0.5, 1.0, (600, 20))

    def kernel(A, B):
        return np.exp(-((A[:, None] - B) ** 2).sum(-1) / 40)

    K, q = kernel(X, X), kernel(X, T).sum(axis=1)
    found = minimise_in_box(StoredMatrix(K), q, np.full(600, 1000.0), 25.0, 1175.0)
    assert found.gap <= 1e-4 * abs(found.value)
    assert found.n_iter < 40


def rbf(A, B, width2):
    return np.exp(-((A[:, None] - B) ** 2).sum(-1) / width2)


def test_a_sum_that_is_held_adds_the_entries_that_its_multiplier_asks_for():
    # With eps = 0 entries with a slope above 0 are lacking; by the slope alone it takes 37 steps.
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(300, 20)), rng.normal(0.5, 1.0, (300, 20))
    K, q = rbf(X, X, 40), rbf(X, T, 40).sum(axis=1)
    found = minimise_in_box(StoredMatrix(K), q, np.full(300, 1000.0), 300.0, 300.0, tol=1e-5)
    assert found.gap <= 1e-5 * abs(found.value)
    assert found.n_iter < 30


def test_exchanges_that_cycle_are_given_up():
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(300, 2)), rng.normal(0.5, 1.0, (300, 2))
    K, q = rbf(X, X, 4), rbf(X, T, 4).sum(axis=1)
    box = Box(np.ones(300), np.full(300, 2.0), 20.0, 580.0)
    point, _, rounds = pivoted(StoredMatrix(K), q, box, np.ones(300), np.full(300, True), 10.0, 100)
    assert rounds < 20
    assert (point >= 0).all() and (point <= 2).all() and 20 - 1e-9 <= point.sum() <= 580 + 1e-9


def test_a_held_sum_under_a_negative_system_leaves_the_point():
    # The multiplier of the sum divides by w'K^-1 w, which rounding can leave negative.
    K, start = -2e-6 * np.eye(3), np.array([0.5, 1.0, 1.5])
    box = Box(np.ones(3), np.full(3, 1e3), 3.0, 3.0)
    point, image, _ = pivoted(StoredMatrix(K), np.array([1.0, 2.0, 3.0]), box, start, start > 0, 1.0, 30)
    np.testing.assert_allclose(point, start, rtol=1e-12)
    np.testing.assert_allclose(image, K @ start, rtol=1e-12)
