"""How a problem sees its rows: one contrast after another, landmarks, rows embedded in place."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from isthmus.align.mathematics import kernel_rows, pencil, problem
from isthmus.align.mathematics.embedding import Rows

N = 90  # rows of each domain
RBF = im.RBF(bandwidth=4.0)
KINDS = {
    "primal": lambda rows: problem.Primal(rows, 1.0),
    "linear": lambda rows: problem.LinearDual(rows, 1.0),
    "stored": lambda rows: problem.StoredDual(rows, RBF, 1.0),
    "krylov": lambda rows: problem.KrylovDual(rows, RBF, 1.0, None, 60, 5, 0),
    "landmarks": lambda rows: problem.LandmarkDual(rows, RBF, 1.0, 40, 0),
}


def weighted_rows(dtype=np.float64, n=N, shift=3.0):
    X, _, X_target, _ = shifted_classes(shift, 0, n=n)
    weights = np.random.default_rng(0).integers(1, 4, (2, n)).astype(float)
    return Rows((X.astype(dtype), X_target.astype(dtype)), tuple(weights))


def class_contrasts(rows, seed):
    """E of all means and of two classes, one of them without target rows in it."""
    (ws, wt), n = rows.weights, len(rows.samples[0])
    source, target = np.random.default_rng(seed).integers(0, 2, n), np.zeros(n, int)
    columns = [pencil.mean_contrast(ws, wt)[:, 0]]
    for label in (0, 1):
        halves = (source == label) * np.sqrt(ws), (target == label) * np.sqrt(wt)
        totals = ws[source == label].sum(), -max(wt[target == label].sum(), 1)
        columns.append(np.concatenate([half / total for half, total in zip(halves, totals, strict=True)]))
    return np.column_stack(columns)


def seen(kind, rows):
    """G (p, n) with the weights' square roots, by definition."""
    X = rows.stacked(np.float64)
    if kind == "primal":
        return X.T * rows.root
    K = X @ X.T if kind == "linear" else np.exp(-((X[:, None] - X[None]) ** 2).sum(-1) / 32)
    if kind == "landmarks":
        known = problem.LandmarkDual(rows, RBF, 1.0, 40, 0)._landmarks
        chosen = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in known]
        K = K[:, chosen] @ np.linalg.pinv(K[np.ix_(chosen, chosen)], rcond=1e-10) @ K[chosen]
    return rows.root[:, None] * K * rows.root


@pytest.mark.parametrize("kind", KINDS)
def test_one_problem_solves_one_contrast_after_another(kind):
    rows = weighted_rows()
    G, s = seen(kind, rows), rows.root
    found = KINDS[kind](rows)
    for E in (found.mean_contrast(), class_contrasts(rows, 1), class_contrasts(rows, 2)):
        solution, _ = found.solve(E, 5)
        F = G @ E / np.sqrt(np.linalg.norm(E.T @ E))
        centred = G - np.outer(G @ s, s) / (s @ s)
        values = np.linalg.eigvals(np.linalg.solve(np.eye(len(G)) + F @ F.T, centred @ centred.T))
        np.testing.assert_allclose(solution.eigenvalues, np.sort(values.real)[::-1][:5], rtol=1e-6)
        assert solution.residuals.max() < 1e-8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_embedded_in_place_are_the_rows_mapped(kind, dtype):
    rows = weighted_rows(dtype)
    found = KINDS[kind](rows)
    solution, factor = found.solve(found.mean_contrast(), 5)
    solution = pencil.rescale(solution, factor, 1.0, "unit")
    components, matrix, known = found.projection(solution)
    X = rows.stacked(np.float64)
    if matrix is None:
        mapped = im.kernel_matrix(X, known.astype(np.float64), kernel=RBF) @ components
    else:
        mapped = X @ matrix
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(found.embed(solution), mapped, atol=tolerance * np.abs(mapped).max())


def test_all_rows_as_landmarks_give_the_dual_itself():
    rows = weighted_rows()
    exact, landmarks = problem.StoredDual(rows, RBF, 1.0), problem.LandmarkDual(rows, RBF, 1.0, 2 * N, 0)
    E = class_contrasts(rows, 1)
    expected, found = exact.solve(E, 5)[0], landmarks.solve(E, 5)[0]
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-7)
    Z, Z_landmarks = exact.embed(expected), landmarks.embed(found)
    lengths = np.linalg.norm(expected.vectors, axis=0), np.linalg.norm(found.vectors, axis=0)
    np.testing.assert_allclose(np.abs(Z_landmarks / lengths[1]), np.abs(Z / lengths[0]), atol=1e-6)


def test_more_landmarks_come_closer_to_the_dual():
    X, _, X_target, _ = shifted_classes(3.0, 0, n=200)
    exact = im.TCA(5, kernel=RBF, eigen_solver="dense").fit(X, X_target=X_target).transform(X_target)
    cosines = []
    for count in (10, 40, 160):
        tca = im.TCA(5, kernel=RBF, n_landmarks=count).fit(X, X_target=X_target)
        assert tca.X_fit_.shape == (count, X.shape[1])
        assert tca.components_.shape == (count, 5)
        Z = tca.transform(X_target)
        bases = np.linalg.qr(exact)[0], np.linalg.qr(Z)[0]
        cosines.append(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).min())
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.999


def test_landmarks_beyond_the_rows_are_all_the_rows():
    X, _, X_target, _ = shifted_classes(3.0, 0, n=30)
    options = {"n_components": 3, "kernel": RBF}
    plain = im.TCA(**options).fit(X, X_target=X_target)
    landmarks = im.TCA(n_landmarks=60, **options).fit(X, X_target=X_target)
    np.testing.assert_array_equal(landmarks.transform(X), plain.transform(X))


def test_fewer_landmarks_than_components_give_fewer_components_with_a_warning():
    X, _, X_target, _ = shifted_classes(3.0, 0, n=30)
    with pytest.warns(UserWarning, match="TCA gives 4 components"):
        tca = im.TCA(6, kernel=RBF, n_landmarks=4).fit(X, X_target=X_target)
    assert tca.transform(X).shape == (30, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_landmarks_need_no_matrix_of_rows_by_rows(dtype):
    import tracemalloc

    X, _, X_target, _ = (part.astype(dtype) for part in shifted_classes(3.0, 0, n=4000))
    tca = im.TCA(5, kernel=RBF, n_landmarks=50)
    tca.fit(X[:100], X_target=X_target[:100])
    tracemalloc.start()
    tca.fit(X, X_target=X_target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tca.transform(X).dtype == dtype
    assert peak < 16e6  # n x n would be 512 MB in float64


@pytest.mark.parametrize(
    "sizes",
    [(True, "float64"), (False, "float64"), (True, "float32"), (False, "float32")],
    ids=["kept-f64", "streamed-f64", "kept-f32", "streamed-f32"],
)
def test_krylov_reaches_its_gate_and_the_dense_components(sizes, monkeypatch):
    kept, dtype = sizes
    monkeypatch.setattr(kernel_rows, "STORED_BYTES", 1 << 30 if kept else 0)
    X, _, X_target, _ = (part.astype(dtype) for part in shifted_classes(3.0, 0, n=400))
    krylov = im.TCA(20, kernel=RBF, eigen_solver="krylov").fit(X, X_target=X_target)
    dense = im.TCA(20, kernel=RBF, eigen_solver="dense").fit(X, X_target=X_target)
    assert krylov.residuals_.max() < (1e-3 if dtype == "float32" else 1e-8)
    assert 0 < krylov.n_passes_ <= (6 if dtype == "float32" else 10)
    w = dense.eigenvalues_
    assert w[-1] > 0
    bases = (np.linalg.qr(found.components_.astype(np.float64))[0] for found in (krylov, dense))
    cosines = np.linalg.svd(next(bases).T @ next(bases), compute_uv=False)
    assert cosines.min() >= 0.999
    if dtype == "float64":
        np.testing.assert_allclose(krylov.eigenvalues_, w, rtol=1e-6)
        np.testing.assert_allclose(krylov.transform(X), dense.transform(X), atol=1e-6)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "streamed"])
@pytest.mark.parametrize("kind", ["means", "classes"])
@pytest.mark.parametrize("ratio", [1e2, 1e4, 3e5, 1e7])
def test_float32_residuals_are_within_the_gate_and_true_however_far_apart_the_domains(
    ratio, kind, kept, monkeypatch
):
    monkeypatch.setattr(kernel_rows, "STORED_BYTES", 1 << 30 if kept else 0)
    rows = weighted_rows(np.float32, n=350, shift=7.0)
    K, root = seen("krylov", rows), rows.root
    wanted = pencil.mean_contrast(*rows.weights) if kind == "means" else class_contrasts(rows, 1)
    reg = float(np.sum((K @ wanted) ** 2) / np.linalg.norm(wanted.T @ wanted) / ratio)
    found = problem.KrylovDual(rows, RBF, reg, None, 60, 10, 0)
    for E in (class_contrasts(rows, 2), wanted):
        solution, factor = found.solve(E, 10)
        F = K @ E / np.sqrt(np.linalg.norm(E.T @ E))
        for scaling in ("unit", "metric", "white"):
            scaled = pencil.rescale(solution, factor, reg, scaling, root)
            A, w = scaled.vectors, scaled.eigenvalues
            images = K @ A
            right = w * (reg * A + F @ (F.T @ A))
            left = K @ (images - np.outer(root, root @ images) / (root @ root)) - right
            true = np.linalg.norm(left, axis=0) / np.linalg.norm(right, axis=0)
            assert true.max() < 1e-3
            # Below 1e-4 lies what float32 products lose of S a unseen.
            np.testing.assert_allclose(scaled.residuals.max(), true.max(), rtol=0.5, atol=1e-4)


def test_every_right_column_of_the_primal_survives_a_large_offset():
    X, _, X_target, _ = shifted_classes(3.0, 0, n=60)
    offset = im.TCA(3).fit(X + 1e6, X_target=X_target + 1e6)
    np.testing.assert_allclose(offset.components_, im.TCA(3).fit(X, X_target=X_target).components_, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_landmarks": 1, "kernel": RBF}, "n_landmarks must be an integer of at least 2 or None, got 1"),
        (
            {"n_landmarks": 2.0, "kernel": RBF},
            "n_landmarks must be an integer of at least 2 or None, got 2.0",
        ),
        ({"n_landmarks": 9}, "n_landmarks needs a kernel and eigen_solver='auto', got kernel=None"),
        ({"n_landmarks": 9, "kernel": RBF, "eigen_solver": "dense"}, "got kernel=.* eigen_solver='dense'"),
    ],
)
def test_landmarks_that_make_no_sense_are_refused(options, message):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=30)
    with pytest.raises(ValueError, match=message):
        im.TCA(**options).fit(X, X_target=X_target)
