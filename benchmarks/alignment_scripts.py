"""Alignment as a careful numpy or scipy script does it, without Isthmus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .availability import library
from .cases import Case, Inputs, gammas

Call = Callable[[], Any]
REG = 1.0
JDA_ROUNDS = 10  # the first without pseudo-labels
KMM_BOUND = 1000.0
RESIDUAL = {"float32": 1e-3, "float64": 1e-8}  # what TCA is asked for


def dense_kernel(z: Any, gamma: float) -> Any:
    """exp(-gamma |z_i - z_j|^2) (N, N) in the dtype of z: one array beside the rows, changed in place."""
    squares = np.einsum("ij,ij->i", z, z)
    kernel = z @ z.T
    kernel *= 2
    kernel -= squares[:, None]
    kernel -= squares
    np.minimum(kernel, 0, out=kernel)
    kernel *= gamma
    return np.exp(kernel, out=kernel)


def mean_gap(kernel: Any, n: int) -> Any:
    """f = K e (N,) in float64 whatever K is: in float32 its cancelling sums would spoil the components."""
    gap = kernel[:, :n].mean(axis=1, dtype=np.float64) - kernel[:, n:].mean(axis=1, dtype=np.float64)
    return gap / np.sqrt(1 / n + 1 / (len(kernel) - n))


def lanczos(product: Callable[[Any], Any], force: Any, count: int, tol: float) -> tuple[Any, Any]:
    """Leading w and a of K H K a = w (I + f f') a: eigsh on B^-1/2 S B^-1/2, which is never formed.

    `product` is V -> K V. With few more basis vectors than are wanted ARPACK multiplies least often.
    """
    sparse = library("scipy.sparse.linalg")
    square = force @ force
    shrink = (1 - 1 / np.sqrt(1 + square)) / square

    def whiten(vector: Any) -> Any:
        return vector - (shrink * (force @ vector)) * force

    def apply(vector: Any) -> Any:
        image = product(whiten(vector.ravel()))
        return whiten(product(image - image.mean()))

    n = len(force)
    operator = sparse.LinearOperator((n, n), matvec=apply, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    values, y = sparse.eigsh(operator, k=count, tol=tol, ncv=min(n, count + count // 2), v0=start)
    return values[::-1], (y - shrink * np.outer(force, force @ y))[:, ::-1]


def tca_lanczos(case: Case, data: Inputs) -> Call:
    """The kernel matrix once, in the case's type; everything else in float64."""
    z, (gamma,) = np.concatenate([data.x, data.y]), gammas(case)

    def run() -> Any:
        kernel = dense_kernel(z, gamma)

        def product(vectors: Any) -> Any:
            return (kernel @ vectors.astype(kernel.dtype, copy=False)).astype(np.float64, copy=False)

        _, a = lanczos(product, mean_gap(kernel, case.n), case.q, RESIDUAL[case.dtype])
        return a, product(a)

    return run


def tca_dense(case: Case, data: Inputs) -> Call:
    """The dense pencil with the structure of S and B, by LAPACK's generalised solver."""
    eigh = library("scipy.linalg").eigh
    z, (gamma,) = np.concatenate([data.x, data.y]), gammas(case)

    def run() -> Any:
        kernel = dense_kernel(z, gamma)
        force, centred, total = mean_gap(kernel, case.n), kernel - kernel.mean(0), len(z)
        metric = np.eye(total) + np.outer(force, force)
        _, a = eigh(centred.T @ centred, metric, subset_by_index=[total - case.q, total - 1])
        return a, kernel @ a

    return run


def unit_rows(rows: Any) -> Any:
    """Rows divided by their lengths."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def predicted(embedding: Any, labels: Any) -> Any:
    """1-NN labels of the target rows, which follow the labelled source rows; rows of unit length."""
    rows = unit_rows(embedding)
    near = library("sklearn.neighbors").KNeighborsClassifier(1, algorithm="brute")
    return near.fit(rows[: len(labels)], labels).predict(rows[len(labels) :])


def contrasts(labels: Any, guessed: Any, m: int) -> Any:
    """E (n + m, 1 or C + 1) of JDA with E E' = M: all rows, and each class once labels are guessed."""
    n, classes = len(labels), np.unique(labels)
    overall = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)])
    columns = [np.sqrt(len(classes)) * overall]
    for of in classes if guessed is not None else ():
        source, target = labels == of, guessed == of
        columns.append(np.concatenate([source / source.sum(), -(target / max(1, target.sum()))]))
    e = np.stack(columns, axis=1)
    return e / np.sqrt(np.linalg.norm(e.T @ e))


def jda_reduced(x: Any, y: Any, labels: Any, count: int) -> Any:
    """Embedding (n + m, count) of JDA, linear kernel: the pencil reduced exactly to the rank of the rows."""
    eigh = library("scipy.linalg").eigh
    w, singular, _ = np.linalg.svd(np.concatenate([x, y]), full_matrices=False)
    rank = int(np.sum(singular > singular[0] * len(w) * np.finfo(singular.dtype).eps))
    view = w[:, :rank] * singular[:rank] ** 2
    spread = view - view.mean(0)
    scatter, guessed = spread.T @ spread, None
    for _ in range(JDA_ROUNDS):
        factor = view.T @ contrasts(labels, guessed, len(y))
        metric = factor @ factor.T + REG * np.eye(rank)
        _, a = eigh(scatter, metric, subset_by_index=[rank - count, rank - 1])
        embedding = view @ (a / np.linalg.norm(a, axis=0))[:, ::-1]
        guessed = predicted(embedding, labels)
    return embedding


def jda_dense(case: Case, data: Inputs, *, symmetric: bool) -> Call:
    """With n x n matrices M and H as in released code, whose solver is the one that is not symmetric (QZ)."""
    linalg = library("scipy.linalg")
    labels, total, count = data.labels, case.n + case.m, case.q

    def run() -> Any:
        z = np.concatenate([data.x, data.y])
        kernel = z @ z.T
        centring = np.eye(total) - 1 / total
        spread, guessed = kernel @ centring @ kernel.T, None
        for _ in range(JDA_ROUNDS):
            e = contrasts(labels, guessed, case.m)
            metric = kernel @ (e @ e.T) @ kernel.T + REG * np.eye(total)
            if symmetric:
                _, a = linalg.eigh(spread, metric, subset_by_index=[total - count, total - 1])
                a = a[:, ::-1]
            else:
                values, vectors = linalg.eig(spread, metric)
                a = vectors[:, np.argsort(-values.real)[:count]].real
            embedding = kernel @ (a / np.linalg.norm(a, axis=0))
            guessed = predicted(embedding, labels)
        return embedding

    return run


def kmm_terms(case: Case, x: Any, y: Any) -> tuple[Any, Any, float]:
    """K (n, n), kappa (n,) and eps of kernel mean matching."""
    n, (gamma,) = len(x), gammas(case)
    kernel = dense_kernel(np.concatenate([x, y]), gamma)
    kappa = kernel[:n, n:].sum(axis=1) * (n / len(y))
    return np.ascontiguousarray(kernel[:n, :n]), kappa, (np.sqrt(n) - 1) / np.sqrt(n)


def apg(kernel: Any, kappa: Any, eps: float, steps: int) -> Any:
    """Minimise b'Kb / 2 - kappa'b, 0 <= b <= bound, |sum b - n| <= n eps: accelerated gradient steps."""
    n = len(kappa)
    vector = np.ones(n, kernel.dtype)
    for _ in range(20):
        vector = kernel @ (vector / np.linalg.norm(vector))
    rate = 1 / (1.01 * np.linalg.norm(vector))
    weights = momentum = np.ones(n, kernel.dtype)
    clock = 1.0
    for _ in range(steps):
        moved = _into_the_set(momentum - rate * (kernel @ momentum - kappa), n, eps)
        if (momentum - moved) @ (moved - weights) > 0:  # the momentum points uphill: start it afresh
            clock = 1.0
        after = (1 + np.sqrt(1 + 4 * clock * clock)) / 2
        momentum = moved + (clock - 1) / after * (moved - weights)
        weights, clock = moved, after
    return weights


def _into_the_set(weights: Any, n: int, eps: float) -> Any:
    """The nearest weights in the box with a sum in range, by bisection of one multiplier."""
    clipped = np.clip(weights, 0, KMM_BOUND)
    total, low, high = clipped.sum(), n * (1 - eps), n * (1 + eps)
    if low <= total <= high:
        return clipped
    goal = low if total < low else high
    first, last = -np.abs(weights).max() - KMM_BOUND, np.abs(weights).max() + KMM_BOUND
    for _ in range(60):
        middle = (first + last) / 2
        if np.clip(weights - middle, 0, KMM_BOUND).sum() > goal:
            first = middle
        else:
            last = middle
    return np.clip(weights - last, 0, KMM_BOUND)


def kmm_apg(case: Case, data: Inputs) -> Call:
    """300 steps on the stored kernel matrix."""
    return lambda: apg(*kmm_terms(case, data.x, data.y), 300)


def gfk_complement(case: Case, data: Inputs) -> Call:
    """As the released code: the full orthogonal complement, two decompositions, G (d, d) formed."""
    k = case.q

    def principal(rows: Any) -> Any:
        return np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:k].T

    def run() -> Any:
        source, target = principal(data.x), principal(data.y)
        whole = np.linalg.qr(source, mode="complete")[0]
        whole[:, :k] = source
        across = whole.T @ target
        u, cosine, vt = np.linalg.svd(across[:k])
        angles = np.arccos(np.clip(cosine, -1, 1))
        sine = np.maximum(np.sin(angles), 1e-20)
        rest = whole[:, k:] @ (across[k:] @ vt.T) / sine
        twice = np.maximum(2 * angles, 1e-20)
        one, two, three = (
            (1 + np.sin(twice) / twice) / 2,
            (1 - np.cos(twice)) / (2 * twice),
            (1 - np.sin(twice) / twice) / 2,
        )
        frame = np.hstack([source @ u, rest])
        middle = np.block([[np.diag(one), np.diag(two)], [np.diag(two), np.diag(three)]])
        return data.x @ (frame @ middle @ frame.T), data.y

    return run
