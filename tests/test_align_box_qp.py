"""The quadratic over a box and a band for the sum: exact solutions, a gap that bounds, order, repetitions."""

import functools
import itertools

import isthmus as im
import numpy as np
import pytest
from isthmus.align.mathematics.box_matrix import StoredMatrix
from isthmus.align.mathematics.box_qp import minimise_in_box

BANDS = {"free": (0.0, 1e9), "low end": (9.0, 11.0), "high end": (0.1, 0.4), "one sum": (3.0, 3.0)}


def random_problem(n, seed, rank=None):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, rank or n))
    return root @ root.T / n, rng.normal(0.5, 1.0, n), rng.uniform(0.5, 4.0, n), rng.uniform(0.5, 3.0, n)


def value(K, q, mass):
    return float(mass @ K @ mass / 2 - q @ mass)


def exact(K, q, room, low, high):
    """The least value over masses 0 <= m <= room, low <= sum m <= high: the best of all active sets."""
    n, best = len(q), np.inf
    for state in itertools.product((0, 1, 2), repeat=n):
        fixed = np.where(np.array(state) == 1, room, 0.0)
        free = np.flatnonzero(np.array(state) == 2)
        for total in (None, low, high):
            k = len(free)
            system, right = np.zeros((k + 1, k + 1)), np.zeros(k + 1)
            system[:k, :k], right[:k] = K[np.ix_(free, free)], (q - K @ fixed)[free]
            system[k, k] = 1.0
            if total is not None:
                system[k, :k], system[:k, k], system[k, k] = 1.0, 1.0, 0.0
                right[k] = total - fixed.sum()
            found = fixed.copy()
            found[free] = np.linalg.lstsq(system, right, rcond=None)[0][:k]
            inside = (found >= -1e-9).all() and (found <= room + 1e-9).all()
            if inside and low - 1e-9 <= found.sum() <= high + 1e-9:
                best = min(best, value(K, q, found))
    return best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("band", BANDS)
def test_solution_is_the_best_of_all_active_sets(band, seed):
    K, q, upper, weight = random_problem(5, seed)
    low, high = BANDS[band]
    room = weight * upper
    low = min(low, 0.9 * room.sum())
    found = minimise_in_box(StoredMatrix(K), q, upper, low, high, weight=weight, tol=1e-9, max_iter=20000)
    mass = weight * found.point
    assert (found.point >= 0).all() and (found.point <= upper).all()
    assert low - 1e-9 <= mass.sum() <= high + 1e-9
    best = exact(K, q, room, low, high)
    assert found.value == pytest.approx(value(K, q, mass), rel=1e-12, abs=1e-14)
    assert best - 1e-9 <= found.value <= best + 1e-8 * abs(best) + 1e-12
    assert found.gap <= 1e-9 * abs(best) + 1e-12


def kernel_problem(n=120, d=3, gamma=0.2, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X, T = rng.normal(size=(n, d)), rng.normal(0.8, 0.7, (n + 20, d))
    kernel = im.RBF(gamma=gamma)
    K = im.kernel_matrix(X.astype(dtype), kernel=kernel)
    return K, np.asarray(im.kernel_matrix(X, T, kernel=kernel).mean(axis=1) * n)


@functools.cache
def long_run(gamma, dtype):
    """A problem and the value of a feasible point near its optimum, by plain projected gradient steps."""
    K, q = kernel_problem(gamma=gamma, dtype=dtype)
    n, wide = len(q), K.astype(np.float64)
    upper, low, high = np.full(n, 1000.0), 0.1 * n, 1.9 * n
    step, point = 1 / np.linalg.eigvalsh(wide)[-1], np.ones(n)
    for _ in range(5000):
        point = np.clip(point - step * (wide @ point - q), 0, upper)
    assert low <= point.sum() <= high
    return K, q, (upper, low, high), value(wide, q, point)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gamma", [1e-4, 0.02, 0.2, 5.0])
@pytest.mark.parametrize("steps", [1, 3, 10, 40])
def test_gap_bounds_the_distance_to_the_optimum(steps, gamma, dtype):
    K, q, limits, better = long_run(gamma, dtype)
    found = minimise_in_box(StoredMatrix(K), q, *limits, tol=1e-15, max_iter=steps)
    # Any feasible point lies above the optimum, so this is a lower bound of the true distance.
    away = value(K.astype(np.float64), q, found.point) - better
    assert found.n_iter == steps
    assert found.value == pytest.approx(value(K.astype(np.float64), q, found.point), rel=1e-9)
    assert away <= found.gap + 1e-9 * abs(better)
    assert found.gap >= 0


def test_gap_equals_the_dual_by_hand_for_one_entry():
    # f = b^2 - 6 b on [0, 2]: at the bound 2 f = -8 is optimal; at 1 it is -5.
    def at(steps, upper):
        matrix = StoredMatrix(np.array([[2.0]]))
        return minimise_in_box(matrix, np.array([6.0]), np.array([upper]), 0, 9, max_iter=steps, tol=1e-12)

    assert (at(50, 2.0).value, at(50, 2.0).point[0]) == (-8.0, 2.0)
    assert at(50, 9.0).point[0] == pytest.approx(3.0)
    assert at(50, 9.0).value == pytest.approx(-9.0)


def test_value_and_gap_come_from_products_in_float64():
    # Above 512 rows the steps take float32 products, whose sum of 700 terms is off by 1e-7 or more.
    K, q = kernel_problem(n=700, dtype=np.float32)
    found = minimise_in_box(StoredMatrix(K), q, np.full(700, 1000.0), 70.0, 1330.0)
    assert found.value == pytest.approx(value(K.astype(np.float64), q, found.point), rel=1e-12)


@pytest.mark.parametrize("gamma", [1e-6, 1e-3, 1.0, 50.0])
def test_nearly_rank_one_and_nearly_diagonal_matrices_are_solved_in_few_steps(gamma):
    K, q = kernel_problem(n=600, d=20, gamma=gamma)
    found = minimise_in_box(StoredMatrix(K), q, np.full(600, 1000.0), 10.0, 1190.0, tol=1e-4)
    assert found.gap <= 1e-4 * abs(found.value)
    # Accelerated gradient steps without the common direction in the metric take 700 for gamma 1e-3.
    assert found.n_iter <= 100


def test_equal_entries_are_treated_alike_and_weights_are_repetitions():
    K, q = kernel_problem(n=40)
    copies = np.random.default_rng(1).integers(1, 4, 40)
    again = np.repeat(np.arange(40), copies)
    options = {"tol": 1e-4, "max_iter": 500}
    bound, low, high = 3.0, 20.0, 60.0
    weighted = minimise_in_box(
        StoredMatrix(K), q, np.full(40, bound), low, high, weight=copies.astype(float), **options
    )
    repeated = minimise_in_box(
        StoredMatrix(K[np.ix_(again, again)]), q[again], np.full(len(again), bound), low, high, **options
    )
    assert weighted.n_iter == repeated.n_iter
    np.testing.assert_allclose(repeated.point, weighted.point[again], rtol=0, atol=1e-9)
    assert repeated.gap == pytest.approx(weighted.gap, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_tolerance_is_reached_from_a_float32_matrix_too(dtype):
    K, q = kernel_problem(n=700, gamma=1.0, d=5, dtype=dtype)
    found = minimise_in_box(StoredMatrix(K), q, np.full(700, 1000.0), 70.0, 1330.0, tol=1e-8, max_iter=20000)
    wide = K.astype(np.float64)
    slope = wide @ found.point - q
    assert found.gap <= 1e-8 * abs(found.value)
    # The optimality conditions: no slope where b > 0, none downwards where b = 0.
    assert np.abs(slope[found.point > 0.05]).max() < 2e-4 * np.abs(q).max()
    assert slope.min() > -2e-4 * np.abs(q).max()


@pytest.mark.parametrize("scale", [2.0**-200, 2.0**140])
def test_entries_beyond_float32_change_nothing(scale):
    K, q = kernel_problem(n=600)
    limits = (np.full(600, 1000.0), 60.0, 1140.0)
    plain = minimise_in_box(StoredMatrix(K), q, *limits)
    scaled = minimise_in_box(StoredMatrix(scale * K), scale * q, *limits)
    np.testing.assert_array_equal(scaled.point, plain.point)
    assert (scaled.value, scaled.gap) == (scale * plain.value, scale * plain.gap)


def test_a_matrix_of_zeros_is_no_trouble():
    found = minimise_in_box(StoredMatrix(np.zeros((3, 3))), np.array([1.0, 2.0, -1.0]), np.ones(3), 0, 1.5)
    np.testing.assert_allclose(found.point, [0.5, 1.0, 0.0], atol=1e-6)
    assert found.value == pytest.approx(-2.5, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("band", BANDS)
def test_products_of_slopes_that_underflow_are_no_trouble(band, seed):
    K, q, upper, weight = random_problem(4, seed)
    low, high = BANDS[band]
    low, tiny = min(low, 0.9 * weight @ upper), 2.0**-600
    found = minimise_in_box(StoredMatrix(tiny * K), tiny * q, upper, low, high, weight=weight, tol=1e-9)
    best = exact(K, q, weight * upper, low, high)
    assert found.value / tiny <= best + max(found.gap / tiny, 1e-9)


@pytest.mark.parametrize("n", [4, 11, 51])
def test_the_sum_is_kept_to_rounding_where_all_entries_are_alike(n):
    # No curvature across w is seen, so that goals of steps lie far outside the box.
    found = minimise_in_box(StoredMatrix(np.eye(n)), np.full(n, 1e-30), np.full(n, 5.0), 0.99 * n, 1.01 * n)
    assert found.point.sum() == pytest.approx(0.99 * n, rel=1e-12)
