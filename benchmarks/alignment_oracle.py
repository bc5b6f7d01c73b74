"""What a case of alignment must give: float64 solutions of the definitions, and the error of a result.

A result is judged by what the definition asks of it (residual, objective, covariance), not by its digits:
eigenvectors are only determined up to their sign, minimisers up to the flatness of the objective.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .alignment_scripts import (
    KMM_BOUND,
    apg,
    dense_kernel,
    jda_reduced,
    kmm_terms,
    lanczos,
    predicted,
    unit_rows,
)
from .cases import Case, Inputs, gammas, kernel_values

WRONG = 1.0  # the error of a result that is not of the kind asked for
DENSE_ROWS = 5000  # of both domains: up to here the pencil is solved densely
STORED_ROWS = 25_000  # up to here the kernel matrix is kept
SAMPLED_ROWS = 200
LONG_RUN = 3000  # steps of the reference for kernel mean matching
NODES = 48  # of the quadrature over the geodesic


class Pencil(NamedTuple):
    """TCA's S a = w (I + f f') a: K (N, N) and the f of K e, the leading w, and vectors if solved densely."""

    kernel: Any
    force: Any
    values: Any
    vectors: Any


def expected(case: Case, data: Inputs) -> Any:
    """What `error` needs for a case of this file."""
    x, y = data.x.astype(np.float64), data.y.astype(np.float64)
    match case.operation:
        case "tca":
            return _pencil(case, np.concatenate([x, y]))
        case "jda":
            embedding = jda_reduced(x, y, data.labels, case.q)
            return embedding, predicted(embedding, data.labels)
        case "kmm":
            kernel, kappa, eps = kmm_terms(case, x, y)
            return kernel, kappa, eps, _objective(kernel, kappa, apg(kernel, kappa, eps, LONG_RUN))
        case "coral":
            return tuple(covariance(rows) + np.eye(case.d) for rows in (x, y))
        case "linear_ot":
            return covariance(x), covariance(y)
        case "gfk":
            return _flow_kernel(case, x, y)
    raise ValueError(f"no oracle for {case.operation!r}")


def error(case: Case, data: Inputs, result: Any, answer: Any) -> float:
    """How far `result` is from what the definition asks, on the scale of `oracle.PROMISE`."""
    match case.operation:
        case "tca":
            return _tca_error(case, data, result, answer)
        case "jda":
            return _jda_error(data, np.asarray(result, np.float64), answer)
        case "kmm":
            return _kmm_error(np.asarray(result, np.float64), answer)
        case "coral" | "linear_ot":
            return _covariance_error(case, data.x, np.asarray(result), answer)
        case "gfk":
            (source, target), wanted = result, answer
            return float(np.max(np.abs(source @ target.T - wanted)) / np.max(np.abs(wanted)))
    raise ValueError(f"no oracle for {case.operation!r}")


def covariance(x: Any) -> Any:
    """Covariance (d, d), divided by the number of rows."""
    centred = x - x.mean(axis=0)
    return centred.T @ centred / len(x)


def contrast(n: int, m: int) -> Any:
    """e of TCA with e e' = M: the difference of the domain means, of length 1."""
    gap = np.concatenate([np.full(n, 1.0 / n), np.full(m, -1.0 / m)])
    return gap / np.linalg.norm(gap)


def _pencil(case: Case, z: Any) -> Pencil | None:
    total, count, e = len(z), case.q, contrast(case.n, case.m)
    if total > STORED_ROWS:
        return None
    (gamma,) = gammas(case)
    if total > DENSE_ROWS:  # entries rounded to float32, everything else in float64
        kernel = _rounded_kernel(z, gamma)
        force = _product(kernel, e)
        return Pencil(kernel, force, lanczos(lambda v: _product(kernel, v), force, count, 1e-6)[0], None)
    from scipy.linalg import eigh

    kernel = dense_kernel(z, gamma)
    force, centred = kernel @ e, kernel - kernel.mean(axis=0)
    metric = np.eye(total) + np.outer(force, force)
    values, vectors = eigh(centred.T @ centred, metric, subset_by_index=[total - count, total - 1])
    return Pencil(kernel, force, values[::-1], vectors[:, ::-1])


def _rounded_kernel(z: Any, gamma: float) -> Any:
    """K (N, N) in float32, each entry computed in float64."""
    kernel, squares = np.empty((len(z), len(z)), np.float32), (z * z).sum(axis=1)
    for rows in np.array_split(np.arange(len(z)), len(z) // 1000 + 1):
        distances = squares[rows, None] + squares - 2 * z[rows] @ z.T
        kernel[rows] = np.exp(-gamma * np.maximum(distances, 0))
    return kernel


def _product(kernel: Any, vectors: Any) -> Any:
    """K V in float64, block by block where K is stored in float32."""
    if kernel.dtype == np.float64:
        return kernel @ vectors
    blocks = np.array_split(np.arange(len(kernel)), len(kernel) // 1000 + 1)
    return np.concatenate([kernel[rows].astype(np.float64) @ vectors for rows in blocks])


def _tca_error(case: Case, data: Inputs, result: Any, answer: Pencil | None) -> float:
    """Largest |S a - w B a| / (w |B a|) over the components, if they lead and the embedding is K A."""
    components, embedding, *own = (np.asarray(part, np.float64) for part in result)
    if components.shape != (case.n + case.m, case.q) or not np.isfinite(components).all():
        return WRONG
    components = components / np.linalg.norm(components, axis=0)
    if (
        answer is None
    ):  # too large to form: the rows embedded are checked, the residual is the estimator's own
        rows = np.unique(np.linspace(0, len(components) - 1, SAMPLED_ROWS).astype(int))
        z = np.concatenate([data.x, data.y]).astype(np.float64)
        squares = (z * z).sum(1)
        kernel = kernel_values(case, squares[rows][:, None] + squares - 2 * z[rows] @ z.T, np)
        return float(own[0].max()) if _same(embedding[rows], kernel @ components, 1e-3) else WRONG
    image = _product(answer.kernel, components)
    scatter = _product(answer.kernel, image - image.mean(axis=0))
    right = components + np.outer(answer.force, answer.force @ components)
    values = np.sum(components * scatter, axis=0) / np.sum(components * right, axis=0)
    residual = np.linalg.norm(scatter - values * right, axis=0) / (values * np.linalg.norm(right, axis=0))
    leading = (np.sort(values)[::-1] >= answer.values * (1 - 1e-3)).all()
    if not leading or not _same(embedding, image, 1e-3 if case.dtype == "float32" else 1e-8):
        return max(WRONG, float(residual.max()))
    if answer.vectors is not None and smallest_cosine(components, answer.vectors) < 0.999:
        return WRONG
    return float(residual.max())


def smallest_cosine(a: Any, b: Any) -> float:
    """Cosine of the largest angle between the column spaces of two matrices."""
    return float(np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0], compute_uv=False)[-1])


def _same(embedding: Any, image: Any, tolerance: float) -> bool:
    """Whether the columns agree up to their lengths and signs."""
    a, b = (part / np.linalg.norm(part, axis=0) for part in (embedding, image))
    return bool(np.max(np.abs(a - b * np.sign((a * b).sum(0)))) <= tolerance)


def _jda_error(data: Inputs, embedding: Any, answer: Any) -> float:
    """Part of the leading half of the true embedding that is missed, or of the labels that differ."""
    wanted, labels = answer
    if embedding.shape != wanted.shape or not np.isfinite(embedding).all():
        return WRONG
    half = np.linalg.qr(unit_rows(wanted)[:, : (wanted.shape[1] + 1) // 2])[0]
    space = np.linalg.qr(unit_rows(embedding))[0]
    missed = np.linalg.norm(half - space @ (space.T @ half), 2)
    return float(max(missed, np.mean(predicted(embedding, data.labels) != labels)))


def _objective(kernel: Any, kappa: Any, weights: Any) -> float:
    return float(weights @ (kernel @ weights) / 2 - kappa @ weights)


def _kmm_error(weights: Any, answer: Any) -> float:
    """How far the objective lies above that of a long run, relative, for feasible weights."""
    kernel, kappa, eps, best = answer
    n, total = len(kappa), weights.sum()
    feasible = weights.min() >= -1e-9 and weights.max() <= KMM_BOUND * (1 + 1e-9)
    if not feasible or abs(total - n) > n * eps * (1 + 1e-6):
        return WRONG
    return max(0.0, (_objective(kernel, kappa, weights) - best) / abs(best))


def _covariance_error(case: Case, x: Any, moved: Any, answer: Any) -> float:
    """x -> moved is affine with a matrix A: A' Cs A must be Ct (CORAL: both + I), A symmetric (transport)."""
    source, target = answer
    rows = np.unique(np.linspace(0, len(x) - 1, 20 * case.d).astype(int))
    design = np.column_stack([x[rows], np.ones(len(rows))]).astype(np.float64)
    a = np.linalg.lstsq(design, moved[rows].astype(np.float64), rcond=None)[0][:-1]
    found = np.max(np.abs(a.T @ source @ a - target)) / np.max(np.abs(target))
    skew = np.max(np.abs(a - a.T)) / np.max(np.abs(a)) if case.operation == "linear_ot" else 0.0
    return float(max(found, skew))


def _flow_kernel(case: Case, x: Any, y: Any) -> Any:
    """x G y' with G the integral of Phi Phi' over the geodesic from the source's subspace, by quadrature."""
    bases = [np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][: case.q].T for rows in (x, y)]
    u, cosine, vt = np.linalg.svd(bases[0].T @ bases[1])
    angles = np.arccos(np.clip(cosine, -1, 1))
    start, end = bases[0] @ u, bases[1] @ vt.T
    rest = end - start * np.cos(angles)
    rest = rest / np.where(np.linalg.norm(rest, axis=0) > 1e-12, np.linalg.norm(rest, axis=0), 1.0)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    found = np.zeros((len(x), len(y)))
    for at, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        phi = start * np.cos(at * angles) + rest * np.sin(at * angles)
        found += weight * (x @ phi) @ (y @ phi).T
    return found
