"""What each case must give: float64 formulas, the error of a result against them, and the errors allowed."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import alignment_oracle
from .cases import Case, Inputs, gammas, kernel_values

# Largest error allowed to Isthmus (docs/numerics.md); a peer must stay within PEER_SLACK times as much,
# which tells that it computes the same thing.
PROMISE = {
    "mmd2": {"float32": 1e-7, "float64": 1e-14, "fast": 1e-6},
    "mmd2_grad": {"float32": 5e-6, "float64": 1e-13},
    "kernel_matrix": {"float32": 5e-6, "float64": 1e-13, "fast": 1e-4},
    "kernel_matmul": {"float32": 5e-6, "float64": 1e-13, "fast": 1e-4},
    "project": {"float32": 5e-6, "float64": 1e-13},
    "random_features": {"float32": 5e-6, "float64": 1e-13},
    "features_mean": {"float32": 5e-6, "float64": 1e-13},
    "coral": {"float32": 1e-4, "float64": 1e-8},
    "linear_ot": {"float32": 1e-4, "float64": 1e-8},
    "tca": {"float32": 1e-3, "float64": 1e-8},  # the residual
    "jda": {"float32": 1e-2, "float64": 1e-6},
    "kmm": {"float32": 1e-4, "float64": 1e-4},  # above the optimum, relative
    "gfk": {"float32": 1e-4, "float64": 1e-8},
    "permutation_test": {"float32": 1e-7, "float64": 1e-14},
}
PEER_SLACK = dict.fromkeys(PROMISE, 10_000.0) | {"tca": 3.0, "jda": 1.0, "kmm": 1000.0}
ALIGNMENT = ("coral", "linear_ot", "tca", "jda", "kmm", "gfk")
SAMPLED_ROWS = 200
SAMPLED_BATCHES = 32
SAMPLED_FREQUENCIES = 16
BLOCK = 512  # float64 tiles of 2 MB


def squared_distances(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Squared Euclidean distances (n, m) of float64 rows, by the matrix product on centred rows."""
    mean = a.mean(axis=0)
    a, b = a - mean, b - mean
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1)[None, :] - 2.0 * (a @ b.T), 0.0)


def _distances(case: Case, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if case.kernel != "laplacian":
        return squared_distances(a, b)
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b, "cityblock"))


def _kernel(case: Case, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(kernel_values(case, _distances(case, a, b), np))


def _sum_of_pairs(case: Case, a: np.ndarray[Any, Any], b: np.ndarray[Any, Any] | None) -> float:
    """Sum of k(a_i, b_j); without b, of k(a_i, a_j) over i != j. In blocks, so memory stays small."""
    total = 0.0
    for start in range(0, len(a), BLOCK):
        rows = a[start : start + BLOCK]
        if b is None:
            square = _kernel(case, rows, rows)
            total += float(square.sum() - np.trace(square))
            total += 2.0 * _sum_of_pairs(case, rows, a[start + BLOCK :]) if start + BLOCK < len(a) else 0.0
        else:
            total += sum(_kernel(case, rows, b[c : c + BLOCK]).sum() for c in range(0, len(b), BLOCK))
    return total


def mmd2(case: Case, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    """Unbiased squared MMD of two float64 samples."""
    n, m = len(x), len(y)
    within = _sum_of_pairs(case, x, None) / (n * (n - 1)) + _sum_of_pairs(case, y, None) / (m * (m - 1))
    return within - 2.0 * _sum_of_pairs(case, x, y) / (n * m)


def _spread(count: int, total: int) -> np.ndarray[Any, Any]:
    return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))


def expected(case: Case, data: Inputs) -> Any:
    """The float64 answer, or as much of it as `error` needs."""
    if case.operation in ALIGNMENT:
        return alignment_oracle.expected(case, data)
    x, y, v, b = (a.astype(np.float64) for a in (data.x, data.y, data.v, data.b))
    rows = _spread(SAMPLED_ROWS, case.n)
    match case.operation:
        case "mmd2" if case.batch:
            items = _spread(SAMPLED_BATCHES, case.batch)
            return items, np.array([mmd2(case, x[i], y[i]) for i in items])
        case "mmd2":
            return mmd2(case, x, y)
        case "mmd2_grad":
            return mmd2(case, x, y), rows, _gradient(case, x, y, rows), _gradient(case, y, x, rows)
        case "random_features" | "features_mean":
            return None  # it depends on the frequencies a contender drew
        case "kernel_matrix":
            return rows, _kernel(case, x[rows], y)
        case "kernel_matmul":
            kernel = _kernel(case, x[rows], y)
            return rows, kernel @ v, kernel @ np.abs(v)
        case "project":
            return rows, np.maximum(x[rows] @ v + b, 0.0), np.abs(x[rows]) @ np.abs(v) + np.abs(b)
        case "permutation_test":
            return mmd2(case, x, y), permuted_spread(case, np.concatenate([x, y]))
    raise ValueError(f"operation must be one of {sorted(PROMISE)}, got {case.operation!r}")


def permuted_spread(case: Case, z: np.ndarray[Any, Any], permutations: int = 200) -> float:
    """Standard deviation of the unbiased squared MMD over random relabellings of the pooled rows."""
    kernel = _kernel(case, z, z)
    np.fill_diagonal(kernel, 0.0)
    n, m = case.n, case.m
    u = np.zeros((n + m, permutations))
    u[:n] = 1.0
    u = np.random.default_rng(7).permuted(u, axis=0)
    return float(np.std(permuted_values(kernel @ u, u, kernel.sum(axis=1), n, m)))


def permuted_values(ku: Any, u: Any, row_sums: Any, n: int, m: int) -> Any:
    """Unbiased squared MMD of each 0/1 column of `u`, from K u and the row sums of K (zero diagonal)."""
    xx = (u * ku).sum(0)
    xz = u.T @ row_sums
    return xx / (n * (n - 1)) + (row_sums.sum() - 2.0 * xz + xx) / (m * (m - 1)) - 2.0 * (xz - xx) / (n * m)


def _gradient(case: Case, x: Any, y: Any, rows: Any) -> tuple[Any, Any]:
    """Gradient of the squared MMD in some rows of x, float64, and the sum of its terms' sizes."""
    (gamma,) = gammas(case)
    total, size = np.zeros((len(rows), case.d)), np.zeros((len(rows), 1))
    for other, weight in ((x, 1 / (len(x) * (len(x) - 1))), (y, -1 / (len(x) * len(y)))):
        kernel = -4 * gamma * weight * _kernel(case, x[rows], other)
        total += kernel.sum(1, keepdims=True) * x[rows] - kernel @ other
        size += np.abs(kernel) @ np.sqrt((other**2).sum(1, keepdims=True))
    return total, size


def features(x: Any, frequencies: Any, phases: Any, count: int) -> Any:
    """Random features, float64: cosines then sines of x @ frequencies, or cosines with phases."""
    angles = x.astype(np.float64) @ frequencies.astype(np.float64)
    if phases is None:
        return np.hstack([np.cos(angles), np.sin(angles)]) * np.sqrt(2 / count)
    return np.cos(angles + phases) * np.sqrt(2 / count)


def _features_error(case: Case, data: Inputs, result: Any) -> float:
    values, frequencies, phases, *centre = result
    x = data.x.astype(np.float64) - (centre[0] if centre else 0.0)
    values = np.asarray(values)
    if case.operation == "random_features":
        rows = _spread(SAMPLED_ROWS, case.n)
        return float(np.max(np.abs(values[rows] - features(x[rows], frequencies, phases, case.q))))
    columns = _spread(SAMPLED_FREQUENCIES, frequencies.shape[1])
    mean = sum(
        features(part, frequencies[:, columns], phases, case.q).sum(0)
        for part in np.array_split(x, len(x) // BLOCK + 1)
    )
    found = values[np.concatenate([columns, columns + case.q // 2])]
    return float(np.max(np.abs(found - mean / case.n)))


def error(case: Case, data: Inputs, result: Any, answer: Any) -> float:
    """How far `result` is from `answer`, on the scale of `PROMISE`."""
    if case.operation in ALIGNMENT:
        return alignment_oracle.error(case, data, result, answer)
    match case.operation:
        case "mmd2" if case.batch:
            items, values = answer
            return float(np.max(np.abs(np.asarray(result, np.float64)[items] - values)))
        case "mmd2":
            return abs(float(result) - answer)
        case "mmd2_grad":
            value, rows, *gradients = answer
            parts = [
                np.max(np.abs(np.asarray(found)[rows] - wanted) / size)
                for found, (wanted, size) in zip(result[1:], gradients, strict=True)
            ]
            # The value keeps the promise of mmd2, on the scale of the gradients'.
            scale = PROMISE["mmd2_grad"][case.dtype] / PROMISE["mmd2"][case.dtype]
            return float(max(*parts, scale * abs(float(result[0]) - value)))
        case "random_features" | "features_mean":
            return _features_error(case, data, result)
        case "kernel_matrix":
            rows, values = answer
            return float(np.max(np.abs(np.asarray(result)[rows] - values)))
        case "kernel_matmul" | "project":
            rows, values, scale = answer
            return float(np.max(np.abs(np.asarray(result)[rows] - values) / scale))
        case "permutation_test":
            statistic, p_value, null = result
            value, spread = answer
            if not 0.0 <= float(p_value) <= 1.0:
                return float("inf")
            if null is not None and not 0.7 * spread < float(np.std(np.asarray(null))) < 1.4 * spread:
                return float("inf")
            return abs(float(statistic) - value)
    raise ValueError(f"operation must be one of {sorted(PROMISE)}, got {case.operation!r}")
