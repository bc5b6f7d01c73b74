"""Alignment by dependence on labels and independence of domains: semi-supervised TCA and MIDA."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

from ..algebra import triangle
from ..arrays import Array, beside, generator, index_of, like, namespace, to_numpy
from ..kernels import Kernel, Linear
from .checks import check_choice, check_count, check_flag, check_kernel, check_number, check_share
from .component_base import SCALINGS, SOLVERS, ComponentAligner
from .domains import Domains, positive
from .label_columns import LABEL_KERNELS, label_columns
from .mathematics.embedding import Projection, Rows
from .mathematics.graphs import heat_laplacian, mean_distance, quadratic_form
from .mathematics.independence import Middle, solve_products, solve_seen
from .mathematics.kernel_rows import SPARE, KernelProduct, solve_whole
from .mathematics.pencil import centred, mean_contrast
from .mathematics.views import look
from .mathematics.z_form import Metric, rescaled, rounding, solve_factored

__all__ = ["MIDA", "SemiSupervisedTCA"]

AUGMENTS = ("domains", "easy", None)
EPS = float(np.finfo(float).eps)


class _LabelKernelAligner(ComponentAligner):
    """Base of the methods with a kernel of the labels."""

    gamma: float
    label_kernel: str
    standardize_y: bool

    def _labels(
        self, domains: Domains, rows: Rows, source_weight: Array | None, target_weight: Array | None
    ) -> Array | None:
        """Y of the known labels, None without any or where the method leaves them aside."""
        if self.gamma == 0:
            return None
        return label_columns(
            domains,
            rows,
            source_weight,
            target_weight,
            self._name(),
            label_kernel=self.label_kernel,
            standardize_y=bool(self.standardize_y),
        )


class SemiSupervisedTCA(_LabelKernelAligner):
    """TCA whose components also depend on the labels and vary little between neighbours (SSTCA).

    Maximises tr(A' S A) under A'BA = I with

        S = G H ((1 - gamma) I + gamma Y Y') H G'
        B = reg I + G (L + smoothness Lap) G'

    L = e0 e0' is the gap of the means as in TCA, but not divided by its norm, as published; Lap is the graph
    Laplacian of nearest neighbours under heat-kernel weights, and Y Y' is the kernel of the known labels. The
    embedding of a row x is x'A (primal) or k(x, X)A (dual).

    Parameters
    ----------
    n_components : int >= 1; silently at most what the sizes allow, and fewer, with a UserWarning, where the
        numerical rank is lower
    kernel : None for the primal (ridge on the d columns), or a kernel for the dual (ridge on the n rows)
    reg : float > 0, mu of the paper, 1 in the released code
    smoothness : float >= 0, lambda of the paper, 1 in the released code
    per_pair : whether `smoothness` is divided by n^2, as the paper has it; False is the released code
    gamma : float in [0, 1], the share of the labels, 0.1 in the released code; 0 leaves them aside
    label_kernel : "classes", 1 for rows of one class; "values", the product of two values; "auto" takes
        values where `y` is not all whole numbers
    standardize_y : whether values are brought to mean 0 and variance 1 first; the released code takes them as
        they are
    n_neighbors : int >= 1, 5 in the released code
    width : float > 0 of the heat kernel, or None for the mean distance of all pairs of rows, as released
    scaling : "unit" (columns of A have length 1), "metric" (A'BA = I) or "white" (A'SA = I)
    n_landmarks : int, or None: Nystroem features of so many rows for a kernel that is not linear; None is
        1000 of them beyond 2000 rows
    random_state : draws the landmarks

    Fitted: `components_` (d, k), or (n, k) for a kernel, rows in the order source, target, or (m, k) for
    landmarks; `eigenvalues_` (k,), largest first; `residuals_` (k,), |S a - w B a| / (w |B a|); `kernel_`
    (numbers only, or None); `width_`; `n_components_`; `projection_` (d, k), what rows are multiplied by in
    the primal and for the linear kernel, else None; `X_fit_`, the rows or landmarks behind `components_` for
    other kernels, else None; `has_target_`.

    Labels are those of `y` and the known ones of the target; without any, there is no term of labels.

    Rows may be CuPy arrays or CUDA tensors: K, scatters and nearest neighbours are computed there; equal
    rows are found and the p x p problem is solved on the host, where labels and fitted arrays are.

    Cost: O(n p^2 + p^3) for p = min(n, d) columns, p = n for a stored kernel, and the nearest neighbours.
    Source: Pan, Tsang, Kwok, Yang, IEEE Transactions on Neural Networks 22 (2011).
    """

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: Kernel | None = None,
        reg: float = 1.0,
        smoothness: float = 1.0,
        per_pair: bool = False,
        gamma: float = 0.1,
        label_kernel: str = "auto",
        standardize_y: bool = True,
        n_neighbors: int = 5,
        width: float | None = None,
        scaling: str = "unit",
        n_landmarks: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.reg = reg
        self.smoothness = smoothness
        self.per_pair = per_pair
        self.gamma = gamma
        self.label_kernel = label_kernel
        self.standardize_y = standardize_y
        self.n_neighbors = n_neighbors
        self.width = width
        self.scaling = scaling
        self.n_landmarks = n_landmarks
        self.random_state = random_state

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        rows = self._rows_in_use(domains, source_weight, target_weight)
        self.kernel_ = self._resolved(rows)
        view = look(rows, self.kernel_, n_landmarks=self.n_landmarks, random_state=self.random_state)
        Y = self._labels(domains, rows, source_weight, target_weight)
        gamma = 0.0 if Y is None else float(self.gamma)
        spread = centred(view.seen, rows.root)
        parts = [float(np.sqrt(1 - gamma)) * spread]
        if Y is not None:
            parts.append(float(np.sqrt(gamma)) * (beside(Y.T, spread) @ spread))
        whole = namespace(spread).concatenate(parts)
        root = (triangle(whole) if len(whole) > whole.shape[1] else to_numpy(whole)).T
        metric = self._metric(rows, view.seen)
        count = self._wanted(rows)
        if gamma == 1.0:
            assert Y is not None
            count = min(count, Y.shape[1])
        solution = solve_factored(root, metric, count)
        solution = rescaled(solution, self.scaling, view.signs_of(solution.vectors))
        advice = "scale the columns of X, or raise reg"
        self._accept(solution, count, np.maximum(1e-8, rounding(solution, metric)), advice)
        self._keep(view.projection(solution.vectors))

    def _metric(self, rows: Rows, seen: Any) -> Metric:
        """B = reg I + smoothness G Lap G' + F F' with F = G e0."""
        stacked, weight = rows.stacked(np.float64), np.concatenate(rows.weights)
        self.width_ = mean_distance(stacked, weight) if self.width is None else float(self.width)
        share = float(self.smoothness) / (weight.sum() ** 2 if self.per_pair else 1.0)
        base = np.zeros((seen.shape[1],) * 2)
        if share:
            laplacian, first = heat_laplacian(stacked, weight, int(self.n_neighbors), self.width_)
            single = seen[index_of(first, seen)]
            base = share * quadratic_form(laplacian, single / beside(rows.root[first, None], single))
        base = (base + base.T) / 2
        largest = float(np.diag(base).max())
        base[np.diag_indices_from(base)] += float(self.reg)
        try:
            lower = linalg.cho_factor(base, lower=True)
        except linalg.LinAlgError:
            raise ValueError(
                f"reg must not vanish beside the graph of neighbours, up to {largest:.0e}, got reg = "
                f"{self.reg:g}; scale the columns of X, raise reg or lower smoothness"
            ) from None
        factor = to_numpy(seen.T @ beside(mean_contrast(*rows.weights), seen))
        return Metric(lambda v: base @ v, lambda v: linalg.cho_solve(lower, v), factor)

    def _check_parameters(self) -> None:
        for name in ("n_components", "n_neighbors"):
            check_count(self, name)
        check_count(self, "n_landmarks", words=(None,))
        check_kernel(self)
        check_number(self, "reg")
        check_number(self, "smoothness", zero=True)
        check_number(self, "width", words=(None,))
        check_share(self, "gamma")
        for name in ("per_pair", "standardize_y"):
            check_flag(self, name)
        check_choice(self, "label_kernel", LABEL_KERNELS)
        check_choice(self, "scaling", SCALINGS)


class MIDA(_LabelKernelAligner):
    """Maximum independence domain adaptation: components of large variance that tell little of the domain.

    The components are the leading orthonormal eigenvectors of

        G (mu H - H D D' H + gamma H Y Y' H) G'

    with a column of D for each domain, one for its rows; Y Y' is the kernel of the known labels. Several
    sources and several targets are as many domains. With labels it is the semi-supervised SMIDA.

    Parameters
    ----------
    n_components : int >= 1; silently at most what the sizes allow, and fewer, with a UserWarning, where fewer
        eigenvalues stand out above zero
    kernel : None for the primal (d columns), or a kernel for the dual (n rows)
    mu : float > 0, weight of the variance, 1 as published. The term of the domains is not divided by n, so it
        outweighs mu = 1; dividing it is the same as multiplying mu and gamma.
    gamma : float >= 0, weight of the labels, 0.1 as published; 0 leaves them aside
    augment : "domains" adds the columns of D to those of X before the kernel, as published; "easy" adds a
        copy of X for each domain, zero on the rows of others; None adds nothing
    label_kernel, standardize_y : as in `SemiSupervisedTCA`; the released code standardises
    eigen_solver : "dense" stores K (n x n), "krylov" multiplies by K a block of columns at a time, "auto"
        takes an exact small form for the linear kernel, "dense" up to 600 rows, "krylov" beyond, which keeps
        K up to 256 MB
    tol : residual at which "krylov" stops; None is 1e-8 for float64 rows or a stored K, 1e-3 for float32
    max_passes : int >= 2, most steps of "krylov", two products with K each
    random_state : int, Generator or None, the start of "krylov"

    Fitted: `components_` (d', k), d' the columns after augmentation, or (n, k) for a kernel, rows in the
    order source, target; `eigenvalues_` (k,), largest first; `residuals_` (k,), |T a - w a| / (w |a|);
    `domains_`, the numbers of the domains in the order of their columns; `kernel_` (numbers only, or None);
    `n_components_`; `n_passes_`, products with K in "krylov", else 0; `projection_` (d', k), what augmented
    rows are multiplied by in the primal and for the linear kernel, else None; `X_fit_` (n, d'), the augmented
    rows behind `components_` for other kernels, else None; `has_target_`.

    A new row needs the number of its domain for its columns of D: `transform(X, domain=numbers)`; "source"
    and "target" do where there is one of them. Labels are those of `y` and the known ones of the target.

    Rows may be CuPy arrays or CUDA tensors: they, K and the basis of "krylov" stay on the device; p x p
    problems are solved on the host, where labels and fitted arrays are.

    Cost: primal and linear O(n d min(n, d)); "dense" O(n^3); "krylov" some 20 products of K with k + 10
    columns and O(400 n) memory. Source: Yan, Kou, Zhang, IEEE Transactions on Cybernetics 48 (2018).
    """

    _each_domain = True

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: Kernel | None = None,
        mu: float = 1.0,
        gamma: float = 0.1,
        augment: str | None = "domains",
        label_kernel: str = "auto",
        standardize_y: bool = True,
        eigen_solver: str = "auto",
        tol: float | None = None,
        max_passes: int = 60,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.mu = mu
        self.gamma = gamma
        self.augment = augment
        self.label_kernel = label_kernel
        self.standardize_y = standardize_y
        self.eigen_solver = eigen_solver
        self.tol = tol
        self.max_passes = max_passes
        self.random_state = random_state

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        plain = self._rows_in_use(domains, source_weight, target_weight)
        numbers = [
            positive(domains.source_domain, source_weight)[0],
            positive(domains.target_domain, target_weight)[0],
        ]
        augmented = [self._augmented(*part) for part in zip(plain.samples, numbers, strict=True)]
        rows = Rows((augmented[0], augmented[1]), plain.weights)
        self.kernel_ = self._resolved(rows)
        Y = self._labels(domains, rows, source_weight, target_weight)
        D = rows.root[:, None] * self._one_hot(np.concatenate(numbers))
        middle = Middle(rows, D, Y, float(self.mu), float(self.gamma))
        linear = self.kernel_ is None or isinstance(self.kernel_, Linear)
        # The columns of D add as many directions as their term takes away.
        columns = plain.samples[0].shape[1] * (len(self.domains_) if self.augment == "easy" else 1)
        count = min(int(self.n_components), rows.n - 1, columns if linear else rows.n)
        reduced = linear and self.eigen_solver != "krylov"
        gate: Any = 1e-8
        if reduced or solve_whole(rows.n, count, self.eigen_solver):
            view = look(rows, self.kernel_, stored_rows=rows.n)
            solution, size = solve_seen(view.seen, middle, count)
            solution = rescaled(solution, "unit", view.signs_of(solution.vectors))
            projection = view.projection(solution.vectors)
        else:
            assert self.kernel_ is not None
            product = KernelProduct(rows, self.kernel_)
            gate = product.gate
            start = generator(self.random_state).standard_normal((rows.n, min(rows.n, count + SPARE)))
            solution, size = solve_products(
                product,
                product.precise(np.hstack([middle.domains, middle.labels])),
                middle,
                rows.where.asarray(start, np.dtype(np.float64)),
                count,
                tol=gate if self.tol is None else float(self.tol),
                max_passes=int(self.max_passes),
            )
            root = beside(rows.root[:, None], solution.vectors)
            solution = rescaled(solution, "unit", solution.vectors / root)
            components = to_numpy(root * solution.vectors)
            projection = Projection(components, None, to_numpy(rows.stacked(rows.dtype)))
        if not len(solution.eigenvalues):
            raise ValueError(
                "MIDA finds no direction along which the rows vary more than they tell of the domain; raise "
                "mu or scale the columns of X"
            )
        # what rounding the largest term makes of the smallest eigenvalue
        gate = np.maximum(max(gate, self.tol or 0.0), 16 * EPS * size / solution.eigenvalues)
        self._accept(solution, count, gate, "scale the columns of X, raise mu or max_passes")
        self.n_passes_ = solution.passes
        self._keep(projection)

    def _map(self, rows: Array, domain: int) -> Array:
        return super()._map(self._augmented(rows, np.full(len(rows), domain)), domain)

    def _one_moved(self, rows: Array, key: Any) -> Array:
        return super()._one_moved(rows, key) if self.augment else self._map(rows, 0)

    def _only(self, domain: str) -> int:
        return super()._only(domain) if self.augment else 0

    def _one_hot(self, numbers: Array) -> Array:
        return np.asarray(numbers[:, None] == self.domains_, dtype=np.float64)

    def _augmented(self, rows: Array, numbers: Array) -> Array:
        """Rows (m, d) of the domains `numbers` (m,) with the columns that `augment` adds, (m, d')."""
        if self.augment is None:
            return rows
        member = like(self._one_hot(numbers), rows)
        if self.augment == "easy":
            member = (member[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
        augmented: Array = namespace(rows).concatenate([rows, member], 1)
        return augmented

    def _check_parameters(self) -> None:
        check_count(self, "n_components")
        check_count(self, "max_passes", 2)
        check_kernel(self)
        check_number(self, "mu")
        check_number(self, "gamma", zero=True)
        check_number(self, "tol", words=(None,))
        check_choice(self, "augment", AUGMENTS)
        check_flag(self, "standardize_y")
        check_choice(self, "label_kernel", LABEL_KERNELS)
        check_choice(self, "eigen_solver", SOLVERS)
        if self.kernel is None and self.eigen_solver == "krylov":
            raise ValueError("eigen_solver='krylov' solves a dual, so it needs a kernel, got kernel=None")
