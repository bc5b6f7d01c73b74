"""The pencil with a diagonal scatter, in few coordinates, against the dense pencil, on hard spectra."""

import numpy as np
import pytest
from isthmus.align.mathematics import diagonal_pencil
from scipy import linalg

P = 150
ORDER = np.arange(P)
SPECTRA = {
    "flat": np.ones(P),
    "slow": 1 - ORDER / P,
    "decaying": 0.9**ORDER,
    "down to rounding": 10.0 ** (-14 * ORDER / P),
    "rank of 40": np.where(ORDER < 40, 1 / (1.0 + ORDER), 0.0),
    "tenfold values": np.repeat(0.5 ** np.arange(P // 10), 10),
    "equal at the cut": np.where(ORDER < 9, 2.0, np.where(ORDER < 30, 1.0, 0.1 / (1.0 + ORDER))),
}
DECAYING = ("decaying", "down to rounding", "rank of 40", "tenfold values", "equal at the cut")


def factor_of(kind, q, scatter):
    rng = np.random.default_rng(q)
    F = rng.normal(size=(P, q)) * scatter[:, None] ** 0.25
    if kind == "dependent":
        F[:, 0], F[:, -1] = 0, F[:, 1]
    return {"large": 30 * F, "none": 0 * F}.get(kind, F)


@pytest.mark.parametrize("count", [1, 12, P])
@pytest.mark.parametrize(
    ("kind", "q"), [("plain", 1), ("plain", 20), ("dependent", 5), ("large", 3), ("none", 2)]
)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_few_coordinates_give_the_leading_pairs_of_the_dense_pencil(spectrum, kind, q, count):
    s = 50 * SPECTRA[spectrum]
    F = factor_of(kind, q, s)
    values, vectors = diagonal_pencil.leading_of_diagonal(s, F, 0.5, count)
    B = 0.5 * np.eye(P) + F @ F.T
    expected = linalg.eigh(np.diag(s), B, eigvals_only=True)[::-1][:count]
    assert vectors.shape == (P, count)
    np.testing.assert_allclose(values, expected, atol=1e-12 * expected[0])
    np.testing.assert_allclose(vectors.T @ B @ vectors, np.eye(count), atol=1e-10)
    missed = s[:, None] * vectors - values * (B @ vectors)
    # What a dense solver leaves too, relative to the largest w.
    assert np.linalg.norm(missed, axis=0).max() < 1e-13 * expected[0] * np.linalg.norm(B, 2) ** 0.5 * P


@pytest.mark.parametrize("spectrum", DECAYING)
def test_a_decaying_spectrum_is_solved_in_fewer_coordinates_to_the_relative_residual(spectrum, monkeypatch):
    sizes, whole = [], diagonal_pencil.leading

    def seen(scatter, *others):
        sizes.append(len(scatter))
        return whole(scatter, *others)

    monkeypatch.setattr(diagonal_pencil, "leading", seen)
    s = SPECTRA[spectrum]
    F = factor_of("plain", 3, s)
    values, vectors = diagonal_pencil.leading_of_diagonal(s, F, 0.5, 12)
    assert sizes[0] < 0.6 * P
    right = values * (0.5 * vectors + F @ (F.T @ vectors))
    residuals = np.linalg.norm(s[:, None] * vectors - right, axis=0) / np.linalg.norm(right, axis=0)
    assert residuals.max() < 1e-11


def test_more_contrasts_than_coordinates_are_solved_whole():
    rng = np.random.default_rng(0)
    s, F = np.linspace(2, 1, 6), rng.normal(size=(6, 9))
    values, vectors = diagonal_pencil.leading_of_diagonal(s, F, 1.0, 2)
    B = np.eye(6) + F @ F.T
    np.testing.assert_allclose(values, linalg.eigh(np.diag(s), B, eigvals_only=True)[:-3:-1], rtol=1e-12)
    np.testing.assert_allclose(s[:, None] * vectors, values * (B @ vectors), atol=1e-12)


def test_a_scatter_near_the_least_numbers_is_solved_as_any_other():
    # Zero must not be divided by zero where a share of the scatter underflows.
    s = 1e-312 * np.where(ORDER < 40, 1 / (1.0 + ORDER), 0.0)
    values, _ = diagonal_pencil.leading_of_diagonal(s, np.zeros((P, 1)), 1e-12, 3)
    np.testing.assert_allclose(values, 1e12 * s[:3], rtol=1e-9)
