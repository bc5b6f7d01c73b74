"""The block Krylov space of K, against the dense pencil: restarts, new contrasts, other array libraries."""

import numpy as np
import pytest
from align_toys import shifted_classes
from isthmus.align.mathematics import pencil
from isthmus.align.mathematics.krylov import KrylovSpace
from scipy import linalg

N = 120  # rows of each domain


class Counted:
    """A stored K that counts the products; with torch, tall arrays are tensors."""

    def __init__(self, matrix, dtype=np.float64, library=np):
        self.n, self.library, self.passes = len(matrix), library, 0
        self.precise_passes = 0
        self.dtype = np.dtype(dtype)
        self.host = matrix
        self.matrix = self.asarray(matrix)

    def product(self, vectors):
        self.passes += 1
        return self.matrix @ vectors

    def columns(self, indices, weights):
        return self.asarray(self.host[:, indices] @ weights)

    def rows(self, indices, vectors):
        return self.matrix[indices] @ vectors

    def block(self, indices):
        return self.host[np.ix_(indices, indices)]

    def precise(self, weights, indices=None):
        self.precise_passes += indices is None
        return self.exact((self.host if indices is None else self.host[indices]).astype(np.float64) @ weights)

    def exact(self, values):
        host = np.ascontiguousarray(values, np.float64)
        return host if self.library is np else self.library.from_numpy(host)

    def asarray(self, values):
        host = np.ascontiguousarray(values, self.dtype)
        return host if self.library is np else self.library.from_numpy(host)

    def empty(self, shape):
        return self.asarray(np.empty(shape))


def rbf(n=N):
    X, _, X_target, _ = shifted_classes(3.0, 0, n=n)
    rows = np.concatenate([X, X_target])
    return np.exp(-0.05 * ((rows[:, None] - rows[None]) ** 2).sum(-1)), rows


def contrasts(seed=None, n=N):
    """E of TCA, or with a seed of classes drawn by it: what JDA asks for next."""
    overall = pencil.mean_contrast(np.ones(n), np.ones(n))
    if seed is None:
        return overall
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, 4, n), rng.integers(0, 3, n)  # one class without target rows
    columns = [2 * overall[:, 0]]
    for label in range(4):
        halves = source == label, target == label
        columns.append(np.concatenate([halves[0] / halves[0].sum(), halves[1] / -max(halves[1].sum(), 1)]))
    return np.column_stack(columns)


def dense(K, E, reg, k):
    """Leading pairs of S a = w B a by definition, unit columns, largest entry positive."""
    S = K @ (K - K.mean(axis=0))
    F = K @ E / np.sqrt(np.linalg.norm(E @ E.T))
    w, A = linalg.eigh((S + S.T) / 2, reg * np.eye(len(K)) + F @ F.T)
    return w[::-1][:k], unit(A[:, ::-1][:, :k])


def unit(A):
    top = A[np.argmax(np.abs(A), axis=0), np.arange(A.shape[1])]
    return A * np.sign(top) / np.linalg.norm(A, axis=0)


def space(operator, **sizes):
    return KrylovSpace(operator, np.ones(operator.n), np.random.default_rng(0), **sizes)


OPTIONS = {"tol": 1e-9, "max_passes": 60}
SIZES = {
    "whole": {},
    "narrow": {"block": 16, "n_landmarks": 20},
    "restarted": {"block": 8, "max_basis": 10, "n_landmarks": 10},
}


@pytest.mark.parametrize("seed", [None, 1], ids=["means", "classes"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_krylov_solves_the_dense_pencil(sizes, seed):
    K, _ = rbf()
    E = contrasts(seed)
    w, A = dense(K, E, 1.0, 10)
    solution, F = space(Counted(K), **sizes).solve(E, 1.0, 10, **OPTIONS)
    np.testing.assert_allclose(solution.eigenvalues, w, rtol=1e-9)
    np.testing.assert_allclose(unit(solution.vectors), A, atol=1e-7)
    np.testing.assert_allclose(solution.images, K @ solution.vectors, atol=1e-10 * np.abs(K).sum())
    np.testing.assert_allclose(F, K @ E / np.sqrt(np.linalg.norm(E @ E.T)), atol=1e-12)
    right = w * (solution.vectors + F @ (F.T @ solution.vectors))
    left = K @ (solution.images - solution.images.mean(axis=0))
    found = np.linalg.norm(left - right, axis=0) / np.linalg.norm(right, axis=0)
    assert found.max() < 1e-8
    assert solution.residuals.max() < 1e-8


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_new_contrasts_are_solved_in_the_basis_at_hand(sizes):
    K, _ = rbf()
    operator = Counted(K)
    kept = space(operator, **sizes)
    spent = []
    for seed in (None, 1, 2, 3):
        E = contrasts(seed)
        w, A = dense(K, E, 1.0, 6)
        before = operator.passes
        solution, _ = kept.solve(E, 1.0, 6, **OPTIONS)
        spent.append(operator.passes - before)
        assert solution.passes == spent[-1]
        np.testing.assert_allclose(solution.eigenvalues, w, rtol=1e-9)
        np.testing.assert_allclose(unit(solution.vectors), A, atol=1e-7)
    cold = Counted(K)
    space(cold, **sizes).solve(contrasts(3), 1.0, 6, **OPTIONS)
    assert max(spent[1:]) <= cold.passes


def test_a_basis_at_hand_saves_most_of_the_products():
    K, _ = rbf(300)
    sizes = {"block": 24, "n_landmarks": 60}
    operator, cold = Counted(K), Counted(K)
    kept = space(operator, **sizes)
    kept.solve(contrasts(1, 300), 1.0, 10, **OPTIONS)
    before = operator.passes
    kept.solve(contrasts(2, 300), 1.0, 10, **OPTIONS)
    space(cold, **sizes).solve(contrasts(2, 300), 1.0, 10, **OPTIONS)
    assert operator.passes - before <= cold.passes - 3


def test_more_components_than_the_block_holds_are_found():
    K, _ = rbf()
    w, _ = dense(K, contrasts(), 1.0, 50)
    solution, _ = space(Counted(K), **SIZES["restarted"]).solve(contrasts(), 1.0, 50, **OPTIONS)
    assert solution.vectors.shape == (2 * N, 50)
    np.testing.assert_allclose(solution.eigenvalues, w, rtol=1e-6)


def test_a_kernel_of_low_rank_is_exhausted():
    _, rows = rbf()
    operator = Counted(rows[:, :3] @ rows[:, :3].T)
    solution, _ = space(operator).solve(contrasts(), 1.0, 10, **OPTIONS)
    assert solution.vectors.shape == (2 * N, 3)
    assert operator.passes <= 4
    assert solution.residuals.max() < 1e-8


def test_an_indefinite_kernel_is_solved_too():
    _, rows = rbf()
    K = -np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(-1))
    w, A = dense(K, contrasts(), 1.0, 6)
    solution, _ = space(Counted(K)).solve(contrasts(), 1.0, 6, tol=1e-8, max_passes=60)
    np.testing.assert_allclose(solution.eigenvalues, w, rtol=1e-8)
    np.testing.assert_allclose(unit(solution.vectors), A, atol=1e-6)


def test_float32_products_reach_their_gate():
    K, _ = rbf(400)
    _, A = dense(K, contrasts(None, 400), 1.0, 20)
    operator = Counted(K, np.float32)
    solution, _ = space(operator).solve(contrasts(None, 400), 1.0, 20, tol=1e-3, max_passes=60)
    assert operator.precise_passes == 0
    assert solution.images.dtype == np.float32
    assert solution.vectors.dtype == np.float64
    assert solution.residuals.max() < 1e-3
    cosines = np.linalg.svd(np.linalg.qr(A)[0].T @ np.linalg.qr(solution.vectors)[0], compute_uv=False)
    assert cosines.min() >= 0.999


@pytest.mark.parametrize("max_passes", [2, 3, 4])
def test_residuals_measured_on_some_rows_are_those_of_all_rows(max_passes):
    K, _ = rbf(500)
    E = contrasts(2, 500)
    found, F = space(Counted(K), block=24).solve(E, 1.0, 10, tol=1e-12, max_passes=max_passes)
    right = found.eigenvalues * (found.vectors + F @ (F.T @ found.vectors))
    left = K @ (found.images - found.images.mean(axis=0)) - right
    exact = np.linalg.norm(left, axis=0) / np.linalg.norm(right, axis=0)
    np.testing.assert_allclose(found.residuals, exact, rtol=0.2)


@pytest.mark.parametrize("sizes", [SIZES["whole"], SIZES["restarted"]], ids=["whole", "restarted"])
def test_tensors_give_what_numpy_gives(sizes):
    torch = pytest.importorskip("torch")
    K, _ = rbf()
    host, tensors = (space(Counted(K, library=library), **sizes) for library in (np, torch))
    for seed in (None, 1):
        E = contrasts(seed)
        expected, F = host.solve(E, 1.0, 6, **OPTIONS)
        found, F_found = tensors.solve(E, 1.0, 6, **OPTIONS)
        assert isinstance(found.vectors, torch.Tensor)
        assert isinstance(found.images, torch.Tensor)
        np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-10)
        np.testing.assert_allclose(unit(found.vectors.numpy()), unit(expected.vectors), atol=1e-7)
        np.testing.assert_allclose(F_found.numpy(), F, atol=1e-12)


def test_float32_tensors_of_domains_far_apart_reach_the_gate():
    torch = pytest.importorskip("torch")
    K, _ = rbf()
    E, reg = contrasts(1), 1e-4
    operator = Counted(K, np.float32, torch)
    found, factor = space(operator).solve(E, reg, 6, tol=1e-3, max_passes=20)
    A, w, F = found.vectors.numpy(), found.eigenvalues, K @ E / np.sqrt(np.linalg.norm(E @ E.T))
    images = K @ A
    right = w * (reg * A + F @ (F.T @ A))
    left = np.linalg.norm(K @ (images - images.mean(axis=0)) - right, axis=0) / np.linalg.norm(right, axis=0)
    assert np.sum(F**2) > 1e5 * reg
    assert operator.precise_passes == 1
    assert left.max() < 1e-3
    np.testing.assert_allclose(factor.numpy(), F, atol=1e-12)


def plane(n, dtype):
    """K of rows in the plane, of which float32 tells some twenty directions apart."""
    rows = np.random.default_rng(0).standard_normal((n, 2))
    rows[n // 2 :] += 0.5
    return Counted(np.exp(-0.02 * ((rows[:, None] - rows[None]) ** 2).sum(-1)), dtype)


def test_in_float32_a_component_stands_out_of_the_rounding_of_k():
    operator = plane(600, np.float32)
    found, _ = space(operator).solve(contrasts(n=300), 1.0, 40, tol=1e-3, max_passes=20)
    K = operator.host
    images = K @ np.asarray(found.vectors, float)
    lengths = np.linalg.norm(images - images.mean(axis=0), axis=0)
    assert 10 <= len(found.eigenvalues) < 40
    assert lengths.min() > 2 * np.finfo(np.float32).eps * np.linalg.norm(K, 2)


def test_in_float32_residuals_tell_what_the_rounding_of_k_leaves():
    operator, E = plane(600, np.float32), contrasts(n=300)
    found, _ = space(operator).solve(E, 1.0, 40, tol=1e-3, max_passes=20)
    K, A, w = operator.host, np.asarray(found.vectors, float), found.eigenvalues
    images, F = K @ A, K @ E / np.sqrt(np.linalg.norm(E @ E.T))
    right = w * (A + F @ (F.T @ A))
    left = K @ (images - images.mean(axis=0)) - right
    true = np.linalg.norm(left, axis=0) / np.linalg.norm(right, axis=0)
    lost = true > 1e-3  # the last components are hardly any
    assert 3 < lost.sum() < len(true) - 3
    # Neither without the rounding of K nor with a mean that the images keep, thousandfold.
    assert (found.residuals[lost] > true[lost] / 2).all() and (found.residuals[lost] < 20 * true[lost]).all()
    assert (found.residuals[~lost] < 1e-3).all()


@pytest.mark.parametrize("seed", [11, 26])
def test_a_few_rows_with_most_of_the_residual_are_among_those_checked(seed):
    rng = np.random.default_rng(seed)
    n = 1200
    rows = rng.standard_normal((n, 6)) * rng.lognormal(0.0, 1.0, (n, 1))  # some rows far from all others
    weight = np.concatenate([rng.lognormal(0.0, 2.0, n // 2), np.ones(n // 2)])
    root = np.sqrt(weight)
    K = np.exp(-((rows[:, None] - rows[None]) ** 2).sum(-1) / 75) * np.outer(root, root)
    E = pencil.mean_contrast(weight[: n // 2], weight[n // 2 :])
    reg = float(np.sum((K @ E) ** 2))
    found, F = KrylovSpace(Counted(K), root, rng).solve(E, reg, 20, tol=1e-5, max_passes=20)
    A = found.vectors
    images = K @ A
    S_times = K @ (images - np.outer(root, root @ images / weight.sum()))
    right = (reg * A + F @ (F.T @ A)) * found.eigenvalues
    true = np.linalg.norm(S_times - right, axis=0) / np.linalg.norm(right, axis=0)
    np.testing.assert_allclose(found.residuals.max(), true.max(), rtol=0.1)


def test_in_float32_domains_far_apart_leave_a_residual_within_the_gate():
    n, reg = 2500, 10.0
    X, _, X_target, _ = shifted_classes(6.0, 0, n=n)
    rows = np.concatenate([X, X_target])
    squares = np.sum(rows**2, axis=1)
    K = np.exp(-0.02 * (squares[:, None] + squares - 2 * rows @ rows.T)).astype(np.float32)
    operator = Counted(K, np.float32)
    found, factor = space(operator).solve(contrasts(n=n), reg, 20, tol=1e-4, max_passes=20)
    A, w, F = found.vectors.astype(float), found.eigenvalues, factor.astype(float)
    images = K @ A
    right = w * (reg * A + F @ (F.T @ A))
    left = np.linalg.norm(K @ (images - images.mean(axis=0)) - right, axis=0) / np.linalg.norm(right, axis=0)
    assert operator.precise_passes == 1
    assert np.sum(F**2) > 5e4 * reg
    assert left.max() < 8e-4
