"""Alignment of statistics and instances together: TJM and JGSA."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Array, namespace, to_numpy
from ..kernels import Kernel, Linear
from .checks import check_choice, check_count, check_flag, check_kernel, check_number
from .classes import number_classes
from .component_base import NORMALIZE, SCALINGS, SOLVERS, ComponentAligner
from .domains import Domains
from .mathematics.contrasts import joint_contrasts
from .mathematics.embedding import Projection
from .mathematics.instances import pose_instances
from .mathematics.pencil import mean_contrast
from .mathematics.two_maps import TwoMaps
from .mathematics.views import look
from .mathematics.z_form import rescaled, rounding

__all__ = ["JGSA", "TJM"]

EPS = float(np.finfo(float).eps)


class TJM(ComponentAligner):
    """Transfer joint matching: components on which the means agree, learnt from the source rows that fit.

    Maximises tr(A' K H K A) under A' (K M K + reg D) A = I, in turn with D: 1 on target rows, and on source
    rows `row_factor` over the length of the row's coefficients a^i, by which source rows unlike the target
    lose theirs. The first D is the identity. D weighs rows, so the problem is a dual; the embedding of a row
    x is k(x, X)A. M is divided by its Frobenius norm.

    Parameters
    ----------
    n_components : int >= 1; silently at most min(d, n - 1) (linear kernel) or n - 1, and fewer, with a
        UserWarning, where the numerical rank is lower. Published: 20 on SURF, 100 on digits.
    kernel : None for `Linear()`, or another kernel. A bandwidth rule is evaluated on all rows in `fit`.
    reg : float > 0, lambda, 1 as published
    row_factor : float > 0. 1 gives the published figures; 0.5 is the derivative that the paper prints.
    class_columns : False as published; True lets the means of each class agree too, with the labels `y` and
        predicted target classes, as some released codes do
    n_iter : int >= 1, how often the problem is solved, 10 as published
    scaling : "unit" (columns of A have length 1; reproduces the published figures), "metric" (A'BA = I) or
        "white" (A'SA = I); D is taken from columns so scaled
    normalize : "input" (rows to unit length before all else, as published), "output" (rows of the embedding),
        "both" or None; new rows alike
    classifier : with `class_columns`, what predicts the classes on the embedding; None is 1-NN
    eigen_solver : "dense" stores K (n x n), "krylov" multiplies by K a block of columns at a time, "auto"
        takes an exact small form for the linear kernel, "dense" up to 600 rows, "krylov" beyond, which keeps
        K up to 256 MB
    tol : residual at which "krylov" stops; None is 1e-8 for float64 rows or a stored K, 1e-3 for float32
    max_passes : int >= 2, most steps of "krylov" for each solution, two products with K each
    random_state : int, Generator or None, the start of "krylov"

    Fitted: `components_` (n, k), rows in the order source, target; `eigenvalues_` (k,), largest first, and
    `residuals_` (k,), |S a - w B a| / (w |B a|), of the last problem; `kernel_` (numbers only);
    `n_components_`; `n_passes_`, products with K in "krylov", else 0; `projection_` (d, k), what rows are
    multiplied by for the linear kernel, else None;
    `X_fit_` (n, d), the rows behind `components_` for other kernels, else None; `has_target_`. Rows of weight
    0 are not among the n.

    Target labels are used with `class_columns` alone: a known class stays, the others are predicted.

    Rows may be CuPy arrays or CUDA tensors: they, K and the basis of "krylov" stay on the device, as does
    1-NN; what has the size of the components is solved on the host, and so is all of "dense" but K and its
    products. Another classifier gets the embedded rows on the host, where labels and fitted arrays are.

    Cost per solution: linear O(n r^2 + r^3), r = min(n, d); "dense" O(n^3); "krylov" some 20 products of K
    with k + 10 columns, fewer after the first, and O(400 n) memory.
    Source: Long, Wang, Ding, Sun, Yu, CVPR 2014.
    """

    def __init__(
        self,
        n_components: int = 20,
        *,
        kernel: Kernel | None = None,
        reg: float = 1.0,
        row_factor: float = 1.0,
        class_columns: bool = False,
        n_iter: int = 10,
        scaling: str = "unit",
        normalize: str | None = "input",
        classifier: Any = None,
        eigen_solver: str = "auto",
        tol: float | None = None,
        max_passes: int = 60,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.reg = reg
        self.row_factor = row_factor
        self.class_columns = class_columns
        self.n_iter = n_iter
        self.scaling = scaling
        self.normalize = normalize
        self.classifier = classifier
        self.eigen_solver = eigen_solver
        self.tol = tol
        self.max_passes = max_passes
        self.random_state = random_state

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        domains = self._unit_input(domains)
        rows = self._rows_in_use(domains, source_weight, target_weight)
        classes = None
        if self.class_columns:
            classes = number_classes(domains, source_weight, target_weight, "TJM", least=1)
        self.kernel_ = self._resolved(rows) or Linear()
        count = self._wanted(rows)
        problem = pose_instances(
            rows,
            self.kernel_,
            float(self.reg),
            n_components=count,
            eigen_solver=self.eigen_solver,
            tol=None if self.tol is None else float(self.tol),
            max_passes=int(self.max_passes),
            random_state=self.random_state,
        )
        ns, inverse, predicted = len(rows.samples[0]), np.ones(rows.n), None
        factor, self.n_passes_ = problem.factor(mean_contrast(*rows.weights)), 0
        for step in range(self.n_iter):
            if classes is not None and predicted is not None:
                contrasts = joint_contrasts(classes.source, predicted, classes.n_classes, *rows.weights)
                factor = problem.factor(contrasts)
            solution, metric = problem.solve(factor, inverse, count)
            self.n_passes_ += solution.passes
            solution = rescaled(solution, self.scaling, solution.vectors / problem.root)
            if step + 1 == self.n_iter or not len(solution.eigenvalues):
                break
            # Each copy of a repeated row has its own coefficients, all of them alike.
            single = solution.vectors[:ns] / problem.root[:ns]
            inverse[:ns] = np.sqrt(to_numpy((single * single).sum(1)) + EPS) / self.row_factor
            if classes is not None:
                Z = self._unit(problem.product(solution.vectors) / problem.root, "output")
                model = classes.model(self.classifier, Z[:ns], Z[ns:], rows.weights)
                predicted = classes.predicted(model, Z[ns:])
        gate = np.maximum(max(problem.gate, self.tol or 0.0), rounding(solution, metric))
        self._accept(solution, count, gate, "scale the columns of X, raise reg or max_passes")
        self._keep(problem.projection(solution.vectors))

    def _check_parameters(self) -> None:
        check_count(self, "n_components")
        check_count(self, "n_iter")
        check_count(self, "max_passes", 2)
        check_kernel(self)
        check_number(self, "reg")
        check_number(self, "row_factor")
        check_number(self, "tol", words=(None,))
        check_flag(self, "class_columns")
        check_choice(self, "scaling", SCALINGS)
        check_choice(self, "normalize", NORMALIZE)
        check_choice(self, "eigen_solver", SOLVERS)


class JGSA(ComponentAligner):
    """Joint geometrical and statistical alignment: a map for the source and a nearby one for the target.

    Maximises the scatter of the target and between the classes of the source over the gaps of all means, the
    scatter within the classes of the source, and the difference of the two maps. Source rows are embedded by
    A, target rows by B: the k largest of S W = R W w for W = [A; B],

        S = diag(beta S_b, mu S_t)
        R = F F' + [(alpha + ridge) I + beta S_w, -alpha I; -alpha I, (alpha + mu + ridge) I]

    with F as in JDA, its source half by A's columns and its target half by B's.

    Parameters
    ----------
    n_components : int >= 1; silently at most what the sizes allow, and fewer, with a UserWarning, where the
        numerical rank is lower. Published: 30 on SURF, 100 on digits.
    kernel : None for rows as they are, or a kernel: then k(x, X) takes the place of the row x
    alpha, mu : floats > 0, how near the maps are, and the weight of the target's scatter; 1 as published
    beta : float > 0, the weight of the source's classes; published: 0.1 on SURF, 0.01 on digits
    ridge : float >= 0, 1e-9 as released
    norm : what M is divided by: "marginal", the norm of the contrast of all rows alone, as released and
        published; "joint", that of M
    scaling : "unit" (columns of W have length 1; reproduces the published figures), "metric" (W'RW = I) or
        "white" (W'SW = I)
    n_iter : int >= 1, most rounds of solution and prediction, 10 as published; they end where predictions do
        not change
    normalize : "input" (rows to unit length before all else, as published), "output" (rows of the embedding),
        "both" or None; new rows alike
    classifier : what predicts the classes of target rows, first on the rows as given, then on the embedding;
        None is 1-NN
    n_landmarks : int, or None: Nystroem features of so many rows for a kernel that is not linear; None is
        1000 of them beyond 2000 rows, where k(x, X) would be too wide
    random_state : draws the landmarks

    Fitted: `components_source_`, `components_target_`, A and B, (d, k), or (n, k) for a kernel, rows in the
    order source, target, or (m, k) for landmarks; `eigenvalues_` (k,), largest first, and `residuals_` (k,),
    |S w - l R w| / (l |R w|), of the last problem; `kernel_` (numbers only, or None); `n_components_`;
    `projection_source_`, `projection_target_` (d, k), what rows are multiplied by in the primal and for the
    linear kernel, else None; `X_fit_`, the rows or landmarks behind the components of other kernels, else
    None; `has_target_`.

    Needs the labels `y`. Known target labels stay, the others are predicted.

    Of rows on a device scatters, contrasts, embedding and 1-NN are computed there; the p x p problems are
    solved on the host, where labels and fitted arrays are.

    Cost per round: O(n p C + p^3) for p = min(n, d) columns, p = n for a stored kernel; no 2p x 2p matrix.
    Source: Zhang, Li, Ogunbona, CVPR 2017.
    """

    def __init__(
        self,
        n_components: int = 30,
        *,
        kernel: Kernel | None = None,
        alpha: float = 1.0,
        mu: float = 1.0,
        beta: float = 0.1,
        ridge: float = 1e-9,
        norm: str = "marginal",
        scaling: str = "unit",
        normalize: str | None = "input",
        n_iter: int = 10,
        classifier: Any = None,
        n_landmarks: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.alpha = alpha
        self.mu = mu
        self.beta = beta
        self.ridge = ridge
        self.norm = norm
        self.scaling = scaling
        self.normalize = normalize
        self.n_iter = n_iter
        self.classifier = classifier
        self.n_landmarks = n_landmarks
        self.random_state = random_state

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        domains = self._unit_input(domains)
        rows = self._rows_in_use(domains, source_weight, target_weight)
        classes = number_classes(domains, source_weight, target_weight, "JGSA", least=1)
        self.kernel_ = self._resolved(rows)
        view = look(rows, self.kernel_, n_landmarks=self.n_landmarks, random_state=self.random_state)
        ns, n_classes = len(rows.samples[0]), classes.n_classes
        problem = TwoMaps(
            view.seen[:ns],
            view.seen[ns:],
            rows.root,
            classes.source,
            n_classes,
            alpha=float(self.alpha),
            mu=float(self.mu),
            beta=float(self.beta),
            ridge=float(self.ridge),
        )
        count = min(int(self.n_components), problem.limit)
        model = classes.model(self.classifier, *rows.samples, rows.weights)
        predicted = classes.predicted(model, rows.samples[1])
        for step in range(self.n_iter):
            # joint_contrasts halves both parts of M, and the released normaliser is of the first alone.
            contrasts = np.sqrt(2) * joint_contrasts(classes.source, predicted, n_classes, *rows.weights)
            norm = None if self.norm == "joint" else n_classes * sum(1 / w.sum() for w in rows.weights)
            solution, metric = problem.solve(contrasts, norm, count)
            halves = np.split(solution.vectors, 2)
            entries = [view.signs_of(half) for half in halves]
            signs = namespace(entries[0]).concatenate(entries)
            solution = rescaled(solution, self.scaling, signs)
            A, B = np.split(solution.vectors, 2)
            if step + 1 == self.n_iter or not len(solution.eigenvalues):
                break
            before = predicted
            Z, Z_target = (self._unit(part, "output") for part in problem.embedded(A, B))
            model = classes.model(self.classifier, Z, Z_target, rows.weights)
            predicted = classes.predicted(model, Z_target)
            if (predicted == before).all():
                break  # the same problem again
        gate = np.maximum(1e-8, rounding(solution, metric))
        self._accept(solution, count, gate, "scale the columns of X, raise alpha and mu or ridge")
        source, target = view.projection(A), view.projection(B)
        self.components_source_, self.projection_source_, self.X_fit_ = source
        self.components_target_, self.projection_target_, _ = target

    def _map(self, rows: Array, domain: str) -> Array:
        parts = {
            "source": (self.components_source_, self.projection_source_),
            "target": (self.components_target_, self.projection_target_),
        }
        projection = Projection(*parts[domain], self.X_fit_)
        return self._unit(projection.embed(self._unit(rows, "input"), self.kernel_), "output")

    def _check_parameters(self) -> None:
        check_count(self, "n_components")
        check_count(self, "n_iter")
        check_count(self, "n_landmarks", words=(None,))
        check_kernel(self)
        for name in ("alpha", "mu", "beta"):
            check_number(self, name)
        check_number(self, "ridge", zero=True)
        check_choice(self, "norm", ("marginal", "joint"))
        check_choice(self, "scaling", SCALINGS)
        check_choice(self, "normalize", NORMALIZE)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
