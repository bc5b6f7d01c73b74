"""TJM and JGSA against the dense definition of their problems, iterated step by step."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from conftest import oracle_matrix
from scipy import linalg
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

KERNELS = [im.Linear(), im.RBF(bandwidth=0.7)]
KERNEL_IDS = ["linear", "rbf"]
NAMES = np.array(["east", "north", "west", "south"])


def four_classes(seed=0, n=36, n_target=30, d=7, missing=True):
    """Rows of four classes, the target shifted; without rows of the last class where `missing`."""
    rng = np.random.default_rng(seed)
    centres = 2.5 * rng.standard_normal((4, d))
    y, y_target = np.arange(n) % 4, np.arange(n_target) % (3 if missing else 4)
    X = centres[y] + rng.standard_normal((n, d))
    return X, y, centres[y_target] + rng.standard_normal((n_target, d)) + 0.7, y_target


def leading(S, B, count):
    """Eigenpairs of the general pencil by a solver that knows nothing of symmetry, largest first."""
    values, vectors = linalg.eig(S, B)
    order = np.argsort(-values.real)[:count]
    assert np.abs(values[order].imag).max() < 1e-8 * values[order].real.max()
    return values[order].real, vectors[:, order].real


def scaled(vectors, S, B, scaling):
    form = {"unit": np.eye(len(S)), "metric": B, "white": S}[scaling]
    vectors = vectors / np.sqrt(np.sum(vectors * (form @ vectors), axis=0))
    top = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
    return vectors * np.sign(top)


def nearest(Z, y, Z_target):
    return y[((Z[None] - Z_target[:, None]) ** 2).sum(axis=2).argmin(axis=1)]


def gap(ours, theirs):
    """e e' of the means of `ours` and `theirs`, boolean masks over all rows; no half for an empty one."""
    e = np.zeros(len(ours))
    e[ours] = 1 / ours.sum()
    if theirs.any():
        e[theirs] = -1 / theirs.sum()
    return np.outer(e, e)


def mean_matrix(ns, nt, y=None, predicted=None):
    """M before it is divided: that of all rows C times and of each class, or of all rows alone."""
    source = np.arange(ns + nt) < ns
    if predicted is None:
        return gap(source, ~source)
    classes, every = np.unique(y), np.concatenate([y, predicted])
    M = len(classes) * gap(source, ~source)
    return M + sum(gap(source & (every == c), ~source & (every == c)) for c in classes)


def dense_tjm(X, X_target, kernel, *, k, n_iter, row_factor=1.0, scaling="unit", y=None, y_known=None):
    ns, nt = len(X), len(X_target)
    n = ns + nt
    rows = normalize(np.concatenate([X, X_target]))
    K = oracle_matrix(rows, rows, kernel)
    H = np.eye(n) - 1 / n
    S, D, predicted = K @ H @ K, np.ones(n), None
    for _ in range(n_iter):
        M = mean_matrix(ns, nt, y, predicted)
        B = K @ M @ K / np.linalg.norm(M) + np.diag(D)
        values, A = leading(S, B, k)
        A = scaled(A, S, B, scaling)
        D[:ns] = row_factor / np.sqrt((A[:ns] ** 2).sum(axis=1) + np.finfo(float).eps)
        if y is not None:
            Z = K @ A
            predicted = nearest(Z[:ns], y, Z[ns:])
            if y_known is not None:
                predicted = np.where(y_known >= 0, y_known, predicted)
    return values, A


@pytest.mark.parametrize("scaling", ["unit", "metric", "white"])
@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_tjm_is_the_dense_definition_iterated(kernel, scaling):
    X, _, X_target, _ = four_classes()
    tjm = im.TJM(4, kernel=kernel, n_iter=5, scaling=scaling).fit(X, None, X_target)
    values, A = dense_tjm(X, X_target, kernel, k=4, n_iter=5, scaling=scaling)
    np.testing.assert_allclose(tjm.eigenvalues_, values, rtol=1e-7)
    np.testing.assert_allclose(tjm.components_, A, atol=1e-6 * np.abs(A).max())
    assert tjm.residuals_.max() < 1e-8


def test_tjm_gives_less_weight_to_source_rows_unlike_the_target():
    rng = np.random.default_rng(0)
    X, X_target = rng.standard_normal((60, 4)) + 2, rng.standard_normal((40, 4)) + 2
    X[:20] -= 6
    tjm = im.TJM(2, kernel=im.RBF(bandwidth=0.5)).fit(X, None, X_target)
    length = np.linalg.norm(tjm.components_[:60], axis=1)
    assert np.median(length[20:]) > 100 * np.median(length[:20])


def test_the_factor_two_of_the_paper_is_a_parameter():
    X, _, X_target, _ = four_classes()
    tjm = im.TJM(3, kernel=im.RBF(bandwidth=0.7), n_iter=3, row_factor=0.5).fit(X, None, X_target)
    values, A = dense_tjm(X, X_target, im.RBF(bandwidth=0.7), k=3, n_iter=3, row_factor=0.5)
    np.testing.assert_allclose(tjm.eigenvalues_, values, rtol=1e-7)
    np.testing.assert_allclose(tjm.components_, A, atol=1e-6 * np.abs(A).max())


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_class_columns_take_predicted_classes_and_keep_known_ones(kernel):
    X, y, X_target, y_target = four_classes()
    known = np.where(np.arange(len(y_target)) < 9, (y_target + 1) % 4, -1)  # wrong, so that it shows
    options = {"kernel": kernel, "n_iter": 4, "class_columns": True}
    plain = im.TJM(3, **options).fit(X, NAMES[y], X_target)
    values, A = dense_tjm(X, X_target, kernel, k=3, n_iter=4, y=y)
    np.testing.assert_allclose(plain.eigenvalues_, values, rtol=1e-7)
    np.testing.assert_allclose(plain.components_, A, atol=1e-6 * np.abs(A).max())
    told = im.TJM(3, classifier=FirstRows(), **options)
    told.fit(X, NAMES[y], X_target, NAMES[known], target_labelled=known >= 0)
    values, A = dense_tjm(X, X_target, kernel, k=3, n_iter=4, y=y, y_known=known)
    np.testing.assert_allclose(told.eigenvalues_, values, rtol=1e-7)
    np.testing.assert_allclose(told.components_, A, atol=1e-6 * np.abs(A).max())


class FirstRows(LogisticRegression):
    """1-NN over the 36 source rows, which come first; deaf to the labelled target rows."""

    def fit(self, X, y):
        self.rows_, self.labels_ = X[:36], np.asarray(y)[:36]
        return self

    def predict(self, X):
        return nearest(self.rows_, self.labels_, X)


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_tjm_solvers_agree(kernel):
    X, _, X_target, _ = four_classes(n=60, n_target=50)
    found = {
        solver: im.TJM(4, kernel=kernel, eigen_solver=solver).fit(X, None, X_target)
        for solver in ("auto", "dense", "krylov")
    }
    for other in ("auto", "krylov"):
        np.testing.assert_allclose(found[other].eigenvalues_, found["dense"].eigenvalues_, rtol=1e-7)
        Z = found["dense"].transform(X_target)
        np.testing.assert_allclose(found[other].transform(X_target), Z, atol=1e-6 * np.abs(Z).max())
        assert found[other].residuals_.max() < 1e-8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_tjm_multiplies_by_the_kernel_without_storing_it(dtype, monkeypatch):
    from isthmus.align.mathematics import kernel_rows

    X, _, X_target, _ = (part.astype(dtype) for part in four_classes(n=120, n_target=100))
    kernel = im.RBF(bandwidth=0.7)
    stored = im.TJM(4, kernel=kernel, eigen_solver="dense").fit(X, None, X_target)
    monkeypatch.setattr(kernel_rows, "STORED_BYTES", 0)
    monkeypatch.setattr(kernel_rows, "DENSE_ROWS", 0)
    streamed = im.TJM(4, kernel=kernel).fit(X, None, X_target)
    assert streamed.residuals_.max() < (1e-3 if dtype == np.float32 else 1e-8)
    assert streamed.n_passes_ > 0 == stored.n_passes_
    exact = np.linalg.qr(stored.transform(X_target).astype(float))[0]
    cosines = np.linalg.svd(
        exact.T @ np.linalg.qr(streamed.transform(X_target).astype(float))[0], compute_uv=False
    )
    assert cosines.min() > 0.999


def dense_jgsa(seen, y, *, ns, k, n_iter, start, beta=0.1, norm="marginal", scaling="unit", y_known=None):
    """`seen` (n, p): rows as they are, or k(x, X); `start`: the first predictions."""
    X, X_target = seen[:ns], seen[ns:]
    p, C, nt = seen.shape[1], len(np.unique(y)), len(seen) - ns
    means = np.array([X[y == c].mean(axis=0) for c in np.unique(y)])
    within = sum((X[y == c] - m).T @ (X[y == c] - m) for c, m in zip(np.unique(y), means, strict=True))
    between = sum(
        (y == c).sum() * np.outer(m - X.mean(axis=0), m - X.mean(axis=0)) for c, m in enumerate(means)
    )
    spread = X_target - X_target.mean(axis=0)
    S = linalg.block_diag(beta * between, spread.T @ spread)
    one = np.eye(p)
    R0 = np.block([[one + beta * within, -one], [-one, 2 * one]]) + 1e-9 * np.eye(2 * p)
    both, predicted = linalg.block_diag(X, X_target), start
    for _ in range(n_iter):
        if y_known is not None:
            predicted = np.where(y_known >= 0, y_known, predicted)
        M = mean_matrix(ns, nt, y, predicted)
        c = C * np.linalg.norm(mean_matrix(ns, nt)) if norm == "marginal" else np.linalg.norm(M)
        R = R0 + both.T @ M @ both / c
        values, W = leading(S, R, k)
        W = scaled(W, S, R, scaling)
        predicted = nearest(X @ W[:p], y, X_target @ W[p:])
    return values, W


@pytest.mark.parametrize("scaling", ["unit", "metric", "white"])
@pytest.mark.parametrize("norm", ["marginal", "joint"])
def test_jgsa_is_the_dense_definition_iterated(norm, scaling):
    X, y, X_target, _ = four_classes()
    jgsa = im.JGSA(4, n_iter=4, norm=norm, scaling=scaling).fit(X, NAMES[y], X_target)
    rows, rows_target = normalize(X), normalize(X_target)
    start, codes = nearest(rows, y, rows_target), np.argsort(np.argsort(NAMES))
    assert codes.tolist() == [0, 1, 3, 2]  # the order of the names is not that of the numbers
    values, W = dense_jgsa(
        np.concatenate([rows, rows_target]), y, ns=36, k=4, n_iter=4, start=start, norm=norm, scaling=scaling
    )
    np.testing.assert_allclose(jgsa.eigenvalues_, values, rtol=1e-8)
    found = np.concatenate([jgsa.components_source_, jgsa.components_target_])
    np.testing.assert_allclose(found, W, atol=1e-7 * np.abs(W).max())
    np.testing.assert_allclose(jgsa.transform(X, domain="source"), rows @ W[:7], atol=1e-8)
    np.testing.assert_allclose(jgsa.transform(X_target), rows_target @ W[7:], atol=1e-8)
    assert jgsa.residuals_.max() < 1e-10


@pytest.mark.parametrize("kernel", KERNELS, ids=KERNEL_IDS)
def test_kernel_jgsa_takes_kernel_values_for_rows(kernel):
    X, y, X_target, _ = four_classes(n=24, n_target=20)
    jgsa = im.JGSA(3, kernel=kernel, n_iter=3).fit(X, y, X_target)
    rows = normalize(np.concatenate([X, X_target]))
    K = oracle_matrix(rows, rows, kernel)
    start = nearest(rows[:24], y, rows[24:])
    values, W = dense_jgsa(K, y, ns=24, k=3, n_iter=3, start=start)
    np.testing.assert_allclose(jgsa.eigenvalues_, values, rtol=1e-7)
    found = np.concatenate([jgsa.components_source_, jgsa.components_target_])
    np.testing.assert_allclose(found, W, atol=1e-6 * np.abs(W).max())
    np.testing.assert_allclose(
        jgsa.transform(X_target), K[24:] @ W[44:], atol=1e-6 * np.abs(K @ W[44:]).max()
    )


def test_jgsa_of_more_columns_than_rows_is_reduced_exactly():
    X, y, X_target, _ = four_classes(n=16, n_target=12, d=40)
    jgsa = im.JGSA(4, n_iter=2, normalize=None).fit(X, y, X_target)
    start = nearest(X, y, X_target)
    values, W = dense_jgsa(np.concatenate([X, X_target]), y, ns=16, k=4, n_iter=2, start=start)
    np.testing.assert_allclose(jgsa.eigenvalues_, values, rtol=1e-8)
    found = np.concatenate([jgsa.components_source_, jgsa.components_target_])
    np.testing.assert_allclose(found, W, atol=1e-7)


def test_jgsa_keeps_known_target_labels():
    X, y, X_target, y_target = four_classes()
    known = np.where(np.arange(len(y_target)) < 9, (y_target + 1) % 4, -1)
    jgsa = im.JGSA(3, n_iter=2, classifier=FirstRows())
    jgsa.fit(X, y, X_target, np.where(known >= 0, known, 0), target_labelled=known >= 0)
    rows, rows_target = normalize(X), normalize(X_target)
    start = nearest(rows, y, rows_target)
    values, _ = dense_jgsa(
        np.concatenate([rows, rows_target]), y, ns=36, k=3, n_iter=2, start=start, y_known=known
    )
    np.testing.assert_allclose(jgsa.eigenvalues_, values, rtol=1e-8)


def test_a_known_target_class_that_the_source_lacks_has_no_gap_to_close():
    X, y, X_target, y_target = four_classes()
    strange = np.where(y_target == 0, 9, y_target)
    told = im.JGSA(3, n_iter=1).fit(X, y, X_target, strange)
    values, _ = dense_jgsa(normalize(np.concatenate([X, X_target])), y, ns=36, k=3, n_iter=1, start=strange)
    np.testing.assert_allclose(told.eigenvalues_, values, rtol=1e-8)


def test_normalization_of_the_embedding_is_that_of_its_rows():
    X, y, X_target, _ = four_classes()
    for method in (im.TJM(3), im.JGSA(3, n_iter=1)):
        plain = method.fit(X, y, X_target).transform(X_target)
        unit = method.set_params(normalize="both").fit(X, y, X_target).transform(X_target)
        np.testing.assert_allclose(unit, normalize(plain), atol=1e-9)


# JGSA starts from 1-NN on the rows as they are, which a shift of 10 leaves with 59 % of the classes.
@pytest.mark.parametrize(
    ("method", "shift"),
    [
        (im.TJM(5, normalize=None), 3.0),
        (im.TJM(5, normalize=None), 10.0),
        (im.JGSA(5), 3.0),
        (im.JGSA(5), 10.0),
    ],
)
def test_target_classes_of_the_toy_problem_are_found(method, shift):
    X, y, X_target, y_target = shifted_classes(shift, 0)
    Z = method.fit_transform(X, y, X_target)
    assert (nearest(Z, y, method.transform(X_target)) == y_target).mean() > 0.8


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (im.TJM(0), "n_components must be an integer of at least 1, got 0"),
        (im.TJM(reg=0.0), "reg must be a finite number above 0, got 0.0"),
        (im.TJM(row_factor=-1), "row_factor must be a finite number above 0"),
        (im.TJM(scaling="long"), "scaling must be one of 'unit', 'metric', 'white', got 'long'"),
        (im.TJM(class_columns="yes"), "class_columns must be True or False, got 'yes'"),
        (im.TJM(normalize="all"), "normalize must be one of 'both', 'input', 'output', None, got 'all'"),
        (im.TJM(n_iter=0), "n_iter must be an integer of at least 1"),
        (im.JGSA(n_iter=2.0), "n_iter must be an integer of at least 1, got 2.0"),
        (im.JGSA(alpha=0), "alpha must be a finite number above 0"),
        (im.JGSA(ridge=-1e-9), "ridge must be a finite number of at least 0"),
        (im.JGSA(norm="max"), "norm must be one of 'marginal', 'joint'"),
        (im.JGSA(n_landmarks=0), "n_landmarks must be an integer of at least 1 or None, got 0"),
    ],
)
def test_parameters_are_checked(method, message):
    X, y, X_target, _ = four_classes()
    with pytest.raises(ValueError, match=message):
        method.fit(X, y, X_target)


@pytest.mark.parametrize("method", [im.TJM(2, class_columns=True), im.JGSA(2)], ids=["tjm", "jgsa"])
def test_labels_that_do_not_make_classes_are_refused(method):
    X, y, X_target, y_target = four_classes()
    with pytest.raises(ValueError, match="requires y to be passed"):
        method.fit(X, None, X_target)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        method.fit(X, y + 0.5, X_target)
    with pytest.raises(ValueError, match="NaN"):
        method.fit(X, np.where(y == 1, np.nan, y), X_target)
    with pytest.raises(ValueError, match="labels of one kind"):
        method.fit(X, y, X_target, NAMES[y_target])
    mixed = np.array(["a", 1], dtype=object)[y % 2]
    with pytest.raises(ValueError, match="labels of one kind, got int and str"):
        method.fit(X, mixed, X_target)


def test_rows_that_do_not_vary_are_refused():
    for method in (im.TJM(2), im.JGSA(2)):
        with pytest.raises(ValueError, match="needs rows that vary"):
            method.fit(np.ones((5, 3)), np.arange(5) % 2, np.ones((4, 3)))


def test_fewer_components_than_asked_for_are_said():
    X, y, X_target, _ = four_classes(d=3)
    wide, wide_target = np.hstack([X, X]), np.hstack([X_target, X_target])
    with pytest.warns(UserWarning, match="TJM gives 3 components, the numerical rank of its problem, not 6"):
        tjm = im.TJM(6).fit(wide, y, wide_target)
    assert tjm.transform(wide).shape[1] == 3 == len(tjm.get_feature_names_out())
    with pytest.warns(UserWarning, match="JGSA gives 6 components, the numerical rank of its problem, not 9"):
        assert im.JGSA(20).fit(wide, y, wide_target).n_components_ == 6


@pytest.mark.parametrize("model", [im.TJM(2), im.JGSA(2)], ids=["TJM", "JGSA"])
def test_rows_without_a_length_in_their_float_type_are_said_to_be_large(model):
    rng = np.random.default_rng(0)
    rows = (1e30 * rng.standard_normal((20, 3))).astype(np.float32)
    with pytest.raises(ValueError, match="squares of the rows must stay in the range of float32"):
        model.fit(rows[:10], np.arange(10) % 2, X_target=rows[10:])
