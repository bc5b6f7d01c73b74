"""The look at every value before an operation: finite, and between which bounds."""

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES
from isthmus import backends, homes

HOST = homes.Home("numpy", "cpu")
SHAPES = [(1, 1), (3, 7), (5, 16), (70, 33), (300, 1000), (4, 9, 5), (2, 500, 129)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_bounds_are_those_of_numpy(level, dtype, shape, rng):
    x = rng.standard_normal(shape).astype(dtype)
    for view in (x, x[..., ::-1, :], x[..., : max(1, shape[-1] // 2)], np.broadcast_to(x[..., :1, :], shape)):
        assert backends.value_range(view, HOST) == (view.min(), view.max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_value_anywhere_is_found(level, dtype, bad, rng):
    x = rng.standard_normal((9, 37)).astype(dtype)
    for position in range(x.size):
        spoilt = x.copy()
        spoilt.flat[position] = bad
        assert backends.value_range(spoilt, HOST) is None
        assert backends.value_range(spoilt[None, :, ::1], HOST) is None


def test_the_refusal_names_the_position(level):
    x = np.zeros((5, 40), np.float32)
    x[3, 21] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN \(1 value, first at row 3 column 21\)"):
        im.kernel_matrix(x)


def test_arrays_that_are_no_rows_are_left_to_numpy():
    for x in (np.zeros(4), np.zeros((3, 4)).T, np.zeros((3, 4), ">f4"), np.zeros((3, 4), np.int64)):
        assert backends.value_range(x, HOST) is None
    with im.config(backend="reference"):
        assert backends.value_range(np.zeros((3, 4)), HOST) is None
