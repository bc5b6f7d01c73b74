"""Sums and scatter of rows about an origin, of which covariances are made, against formulas in float64."""

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, SIZES, THREADS
from isthmus import backends, homes

HOST = homes.Home("numpy", "cpu")
BOUND = {"float32": 2e-6, "float64": 4e-14}  # of an entry, against the same sum of absolute values


def sample(rng, n, d, dtype, weighted=False):
    """Rows, weights (a third of them 0) or None, and an origin among the rows."""
    rows = (rng.standard_normal((n, d)) + 3).astype(dtype)
    weights = (rng.random(n) * rng.integers(0, 3, n)).astype(dtype) if weighted else None
    return rows, weights, rng.normal(3, 1, d).astype(dtype)


def error(rows, weights, origin):
    """Largest errors of the sums and of the scatter as shares of sums of absolute values."""
    sums, scatter = backends.moments(rows, weights, origin, HOST)
    centred = rows.astype(np.float64) - origin
    weights = np.ones(len(rows)) if weights is None else weights.astype(np.float64)
    gap = np.abs(sums - weights @ centred), np.abs(scatter - (weights * centred.T) @ centred)
    size = weights @ np.abs(centred), (weights * np.abs(centred.T)) @ np.abs(centred)
    return max((part / np.maximum(whole, 1e-300)).max() for part, whole in zip(gap, size, strict=True))


def shapes():
    """(n, d): each size in each place, then past the rows of a block and the columns of a task."""
    for i, n in enumerate(SIZES):
        yield from ((n, SIZES[(i + shift) % len(SIZES)]) for shift in (0, 4, 9))
    yield from ((255, 33), (256, 5), (257, 48), (700, 100), (300, 257), (70, 530))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_equal_the_formula_at_all_sizes(level, dtype, weighted, rng):
    for n, d in shapes():
        assert error(*sample(rng, n, d, dtype, weighted)) <= BOUND[dtype], (n, d)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_reference_equals_the_formula_beyond_its_tile(dtype, rng):
    for weighted in (False, True):
        with im.config(backend="reference"):
            assert error(*sample(rng, 1100, 7, dtype, weighted)) <= BOUND["float64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(level, dtype, rng, monkeypatch):
    # More pieces of rows than accumulators, and more than one task across the columns.
    for n, d in ((9000, 300), (300_000, 3)):
        rows, weights, origin = sample(rng, n, d, dtype, weighted=True)
        found = []
        for n_threads in THREADS:
            monkeypatch.setattr(backends, "_threads", lambda count=n_threads: count)
            sums, scatter = backends.moments(rows, weights, origin, HOST)
            found.append(sums.tobytes() + scatter.tobytes())
        assert len(set(found)) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_scatter_is_symmetric_to_the_bit(level, dtype, rng):
    _, scatter = backends.moments(*sample(rng, 400, 70, dtype, weighted=True), HOST)
    assert scatter.tobytes() == scatter.T.tobytes()


def test_rows_are_read_where_they_lie(level, rng):
    rows, weights, origin = sample(rng, 600, 40, "float32", weighted=True)
    for view in (rows[::2], rows[::-1], rows[:, 3:20], np.broadcast_to(rows[5], rows.shape)):
        assert error(view, weights[: len(view)], origin[: view.shape[1]].copy()) <= BOUND["float32"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_reaches_its_column_and_no_other(level, dtype, rng):
    rows, weights, origin = sample(rng, 300, 37, dtype)
    rows[299, 36] = np.nan
    sums, scatter = backends.moments(rows, weights, origin, HOST)
    assert np.isnan(sums[36]) and np.isfinite(sums[:36]).all()
    assert np.isnan(scatter[36]).all() and np.isfinite(scatter[:36, :36]).all()


def test_the_net_below_the_waist_refuses_what_it_cannot_read():
    native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")
    rows, how = np.ones((4, 3)), {"level": "base", "n_threads": 1}
    sums, scatter = np.empty(3), np.empty((3, 3))
    for given, message in (
        ((rows, None, np.ones(2), sums, scatter), "origin must be"),
        ((rows, np.ones(3), np.ones(3), sums, scatter), "weights must be"),
        ((rows, None, np.ones(3), np.empty(2), scatter), "sums must be"),
        ((rows, None, np.ones(3), sums, np.empty((3, 2))), "out has the wrong shape"),
        ((rows, None, np.ones(3), sums, np.empty((3, 3), order="F")), "C-contiguous"),
    ):
        with pytest.raises(ValueError, match=message):
            native.moments(*given, **how)
    with pytest.raises(TypeError):
        native.moments(rows, None, np.ones(3, np.float32), sums, scatter, **how)
