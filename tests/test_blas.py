"""One thread for BLAS where matrices are small, and what was there before afterwards."""

from threading import Barrier, Thread

import isthmus as im
import numpy as np
import pytest
from isthmus.blas import SMALL, WORTH_A_THREAD, blas_alone, eigenpairs
from threadpoolctl import ThreadpoolController, threadpool_limits


def blas_threads():
    """The numbers of threads that the BLAS libraries of this process would use."""
    return {library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()}


@pytest.fixture
def three_threads():
    if not blas_threads():
        pytest.skip("no BLAS library here has a number of threads")
    with threadpool_limits(3, user_api="blas"):
        yield


def test_blas_has_one_thread_inside_and_all_afterwards(three_threads):
    with blas_alone(SMALL):
        assert blas_threads() == {1}
        with blas_alone(2):
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {3}


def test_large_matrices_keep_the_threads(three_threads):
    with blas_alone(SMALL + 1):
        assert blas_threads() == {3}


def test_an_error_inside_gives_the_threads_back(three_threads):
    with pytest.raises(ZeroDivisionError), blas_alone(2):
        raise ZeroDivisionError
    assert blas_threads() == {3}


def test_another_python_thread_leaves_the_number_alone(three_threads):
    inside = []

    def other():
        with blas_alone(2):
            inside.append(blas_threads())

    with blas_alone(2):
        thread = Thread(target=other)
        thread.start()
        thread.join(10)
        assert blas_threads() == {1}
    assert inside == [{1}]
    assert blas_threads() == {3}
    thread = Thread(target=other)
    thread.start()
    thread.join(10)
    assert inside == [{1}, {3}]
    assert blas_threads() == {3}


def test_eigenpairs_of_another_python_thread_are_the_same(three_threads, rng):
    half = rng.standard_normal((WORTH_A_THREAD, 4))
    found = []
    thread = Thread(target=lambda: found.extend(eigenpairs([half @ half.T] * 2)))
    thread.start()
    thread.join(10)
    values, vectors = found[1]
    np.testing.assert_allclose(vectors * values @ vectors.T, half @ half.T, atol=1e-10)
    assert len(found) == 2 and blas_threads() == {3}


@pytest.mark.parametrize("method", [im.CORAL, im.LinearOT])
def test_moment_matching_wakes_no_thread_of_blas_for_its_small_matrices(
    method, three_threads, rng, monkeypatch
):
    found, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: found.append(blas_threads()) or eigh(a))
    X, Y = rng.standard_normal((2, 60, 5))
    method().fit(X, X_target=Y)
    assert len(found) >= 2
    assert all(numbers == {1} for numbers in found)
    assert blas_threads() == {3}


@pytest.mark.parametrize("size", [WORTH_A_THREAD - 1, WORTH_A_THREAD])
def test_eigenpairs_on_any_number_of_threads_are_those_of_numpy(size, rng):
    halves = rng.standard_normal((3, size, 4))
    matrices = [half @ half.T for half in halves]
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, user_api="blas"):
            found = eigenpairs(matrices)
            with blas_alone(size):
                expected = [np.linalg.eigh(matrix) for matrix in matrices]
        for (values, vectors), pair in zip(found, expected, strict=True):
            assert values.tobytes() == pair.eigenvalues.tobytes()
            assert vectors.tobytes() == pair.eigenvectors.tobytes()


def test_small_matrices_are_decomposed_side_by_side(three_threads, monkeypatch):
    """Each waits for the other: one after the other they would wait in vain."""
    both, eigh = Barrier(2), np.linalg.eigh

    def after_both_began(matrix):
        both.wait(10)
        return eigh(matrix)

    monkeypatch.setattr(np.linalg, "eigh", after_both_began)
    eigenpairs([np.eye(WORTH_A_THREAD)] * 2)
