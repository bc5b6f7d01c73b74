"""The dense ways to solve the pencil, against its dense non-symmetric form solved by QZ."""

import numpy as np
import pytest
from align_toys import shifted_classes
from isthmus.align.mathematics import pencil, problem
from isthmus.align.mathematics.embedding import Rows
from scipy import linalg

N = 60  # rows of each domain


def as_the_method_sees(view):
    """G (p, n) for the toy's rows: their columns, or a kernel."""
    X_source, _, X_target, _ = shifted_classes(3.0, 0, n=N)
    rows = np.concatenate([X_source, X_target])
    squared = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    return {"primal": rows.T, "linear": rows @ rows.T, "rbf": np.exp(-0.05 * squared)}[view], rows


def contrasts_of(kind):
    """E (n, q): the means of the domains, or with "classes" also of four classes, one of them source only."""
    overall = pencil.mean_contrast(np.ones(N), np.ones(N))
    if kind == "means":
        return overall
    rng = np.random.default_rng(1)
    of_source, of_target = rng.integers(0, 4, N), rng.integers(0, 3, N)
    columns = [2 * overall[:, 0]]
    for label in range(4):
        in_source, in_target = of_source == label, of_target == label
        columns.append(np.concatenate([in_source / in_source.sum(), in_target / -max(in_target.sum(), 1)]))
    return np.column_stack(columns)


def dense_pencil(G, E, reg):
    """S and B by their definitions, with M, H and all."""
    n = G.shape[1]
    M = E @ E.T / np.linalg.norm(E @ E.T)
    H = np.eye(n) - np.full((n, n), 1 / n)
    return G @ H @ G.T, G @ M @ G.T + reg * np.eye(len(G))


def unit(vectors):
    top = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
    return vectors * np.sign(top) / np.linalg.norm(vectors, axis=0)


def solved(form, G, rows, E, reg, k):
    root = np.ones(G.shape[1])
    if form == "linear reduction":
        halves = Rows((rows[:N], rows[N:]), (root[:N], root[N:]))
        return problem.LinearDual(halves, reg).solve(E, k)[0]
    if form == "stored kernel":
        return pencil.solve_dual(G, E, root, reg, k)[0]
    centred = G - G.mean(axis=1, keepdims=True)
    factor = G @ E / np.sqrt(pencil.contrast_norm(E))
    if form == "rows":
        return pencil.solve_rows(centred, factor, reg, k)
    return pencil.solve_metric(centred @ centred.T, factor, reg, k)


FORMS = [(view, form) for view in ("primal", "linear", "rbf") for form in ("metric", "rows")]
FORMS += [("linear", "stored kernel"), ("rbf", "stored kernel"), ("linear", "linear reduction")]


@pytest.mark.parametrize("kind", ["means", "classes"])
@pytest.mark.parametrize(("view", "form"), FORMS)
def test_every_form_solves_the_dense_pencil(view, form, kind):
    G, rows = as_the_method_sees(view)
    E, reg, k = contrasts_of(kind), 1.0, 5
    S, B = dense_pencil(G, E, reg)
    values, vectors = linalg.eig(S, B)
    order = np.argsort(-values.real)[:k]

    solution = solved(form, G, rows, E, reg, k)

    np.testing.assert_allclose(solution.eigenvalues, values[order].real, rtol=1e-9)
    np.testing.assert_allclose(unit(solution.vectors), unit(vectors[:, order].real), atol=1e-7)
    assert solution.residuals.max() < 1e-8
    left = S @ solution.vectors - solution.eigenvalues * (B @ solution.vectors)
    right = np.linalg.norm(solution.eigenvalues * (B @ solution.vectors), axis=0)
    assert (np.linalg.norm(left, axis=0) / right).max() < 1e-8


@pytest.mark.parametrize("kind", ["means", "classes"])
def test_norm_of_m_comes_from_its_thin_factor(kind):
    E = contrasts_of(kind)
    assert pencil.contrast_norm(E) == pytest.approx(np.linalg.norm(E @ E.T), rel=1e-13)


@pytest.mark.parametrize("q", [1, 5])
def test_woodbury_inverts_the_metric(q):
    rng = np.random.default_rng(0)
    F, V = rng.standard_normal((40, q)), rng.standard_normal((40, 3))
    solved_for = pencil.metric_solve(F, 0.3, V)
    np.testing.assert_allclose(0.3 * solved_for + F @ (F.T @ solved_for), V, atol=1e-12)


@pytest.mark.parametrize("scaling", ["unit", "metric", "white"])
def test_columns_have_the_length_that_scaling_names(scaling):
    G, rows = as_the_method_sees("primal")
    E = contrasts_of("means")
    S, B = dense_pencil(G, E, 1.0)
    factor = G @ E / np.sqrt(pencil.contrast_norm(E))
    A = pencil.rescale(solved("metric", G, rows, E, 1.0, 4), factor, 1.0, scaling).vectors
    measure = {"unit": np.eye(len(G)), "metric": B, "white": S}[scaling]
    np.testing.assert_allclose(np.diag(A.T @ measure @ A), 1.0, rtol=1e-9)
    assert (A[np.argmax(np.abs(A), axis=0), np.arange(4)] > 0).all()


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 63, 64, 65, 1000])
def test_moments_of_blocks_are_the_moments_of_the_rows(n, dtype, offset, monkeypatch):
    monkeypatch.setattr(pencil, "BLOCK_BYTES", 1)  # blocks of 64 rows
    rows = (np.random.default_rng(0).standard_normal((n, 5)) * [1, 2, 3, 4, 5] + offset).astype(dtype)
    found = pencil.moments(rows, dtype=dtype)
    exact = rows.astype(np.float64)
    tolerance = 1e-5 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(found.mean, exact.mean(axis=0), rtol=1e-13, atol=tolerance / 10)
    covariance = np.cov(exact.T, bias=True)
    np.testing.assert_allclose(found.scatter / n, covariance, atol=tolerance * np.abs(covariance).max())


@pytest.mark.parametrize("kind", ["float32", ">f8", "by column"])
def test_moments_of_rows_in_another_form_are_the_moments_of_the_rows(kind, monkeypatch):
    monkeypatch.setattr(pencil, "CAST_BYTES", 1)  # blocks of 64 rows
    rows, weight = np.random.default_rng(0).standard_normal((200, 5)), np.arange(200.0)
    given = np.asfortranarray(rows) if kind == "by column" else rows.astype(kind)
    exact = given.astype(np.float64)
    found = pencil.moments(given, weight)
    mean = weight @ exact / weight.sum()
    np.testing.assert_allclose(found.mean, mean, atol=1e-14)
    np.testing.assert_allclose(found.scatter, (weight * (exact - mean).T) @ (exact - mean), atol=1e-9)


def test_weighted_moments_count_a_row_as_often_as_its_weight_says():
    rng = np.random.default_rng(0)
    rows, weight = rng.standard_normal((50, 4)), rng.integers(0, 4, 50).astype(float)
    weighted, repeated = (
        pencil.moments(rows, weight),
        pencil.moments(np.repeat(rows, weight.astype(int), axis=0)),
    )
    assert weighted.total == repeated.total
    np.testing.assert_allclose(weighted.mean, repeated.mean, atol=1e-13)
    np.testing.assert_allclose(weighted.scatter, repeated.scatter, atol=1e-11)


def test_pooled_scatter_is_the_scatter_of_all_rows():
    X_source, _, X_target, _ = shifted_classes(10.0, 0, n=N)
    parts = pencil.moments(X_source), pencil.moments(X_target[:20])
    everything = pencil.moments(np.concatenate([X_source, X_target[:20]]))
    np.testing.assert_allclose(pencil.pooled_scatter(*parts), everything.scatter, atol=1e-10)
