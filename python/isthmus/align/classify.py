"""Classifiers of the target that learn from both domains at once: MEDA."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse
from sklearn.base import ClassifierMixin

from .. import bandwidth, ops
from ..algebra import column_lengths, lu_solver
from ..arrays import Array, beside, index_of, like, namespace, to_numpy, widened
from ..features import NystroemFeatures
from ..kernels import RBF, Energy, Kernel
from .base import TargetPredictor
from .checks import check_choice, check_count, check_kernel, check_number, check_share
from .classes import Classes, number_classes
from .domains import Domains, positive
from .mathematics.contrasts import MARGINAL, estimate_balance, joint_contrasts
from .mathematics.embedding import unit_rows
from .mathematics.geodesic import flow_root, geodesic
from .mathematics.graphs import direction_graph, normalized_laplacian, quadratic_form
from .mathematics.neighbours import NearestRow
from .mathematics.pencil import contrast_norm
from .mathematics.principal import principal

__all__ = ["MEDA"]

DEFAULT_COMPONENTS = 20
DENSE_ROWS = 4000  # up to here the kernel matrix is kept, in float64: 128 MB, and as much for its factors
DEFAULT_LANDMARKS = 1000


class _Nodes(NamedTuple):
    """The distinct rows of both domains, source first, in an order of their own.

    `rows` (n, d), which may be on a device; `classes` (n,), numbers, -1 unknown; `weight` (n,), of all equal
    rows together; `n_source`.
    """

    rows: Any
    classes: Array
    weight: Array
    n_source: int


class _System(NamedTuple):
    """(A + (lambda / c) U V') x = right, the part A of which is factored once.

    `solve` gives A^-1 times columns; `spread` takes contrasts E to U and V; `scores` takes x to the values
    of the nodes, on the host; `known` and `coefficients` (of x) predict for new rows: k(z, known)
    coefficients. Of rows on a device x, U and V are there, or else all of them are on the host.
    """

    right: Any
    solve: Callable[[Any], Any]
    spread: Callable[[Array], tuple[Any, Any]]
    scores: Callable[[Any], Array]
    known: Any
    coefficients: Callable[[Any], Any]


class MEDA(ClassifierMixin, TargetPredictor):  # type: ignore[misc]
    """Manifold embedded distribution alignment: a kernel classifier with little shift between the domains.

    Rows go through the geodesic flow kernel and to unit length. There the classifier f, a kernel expansion of
    all rows, minimises the squared error on labelled rows plus eta |f|^2 plus reg times the contrasts of f
    between the domains (as BDA: all rows and each class, balanced by mu) plus rho times its roughness on the
    graph of nearest directions. The target's classes are those of the iteration before, at first by 1-NN.

    Parameters
    ----------
    n_components : int >= 1, directions of the geodesic flow, lowered with a UserWarning to the rank of either
        domain; None: 20 where there are more than 40 columns, otherwise all, with which it is a rotation
    kernel : Kernel of the classifier; None: RBF with the bandwidth of the release, the root of the mean
        length of a row, which is 1 on unit rows
    n_neighbors : int >= 1, neighbours of a row in the graph, besides itself
    eta, reg, rho : weights of the ridge, > 0, of the contrasts (lambda) and of the graph, >= 0
    mu : number in [0, 1], or "estimate" as in `BDA`
    n_iter : int >= 1, most solutions; fewer where the pseudo-labels repeat, as the next would be the same
    normalize : whether rows get unit length behind the geodesic flow
    marginal : weight of the contrast of all rows beside those of C classes: C with "released", 1 with "paper"
    n_landmarks : int, the kernel by so many Nystroem features instead of the full matrix; None: 1000 of them
        beyond 4000 rows, none up to there
    random_state : None, int, numpy Generator or RandomState: chooses the landmarks

    Target labels that may be used (`target_labelled`) count like the source's. Without a target it is the
    same classifier of the source alone: no geodesic flow, no contrasts.

    Rows may be CuPy arrays or CUDA tensors: the graph's neighbours, K and its factors are found there (of
    landmarks the m x m system is solved on the host); equal rows and the balance mu need the rows on the host
    once. Predictions are on the host.

    Fitted: `classes_` (C,); `pseudo_labels_` (nt,), known or predicted labels of the target rows; `n_iter_`,
    the number of solutions with contrasts; `mu_` (n_iter_,), the balance in each; `kernel_` (numbers only);
    `projection_` (d, q), what rows are multiplied by, None without a target; `n_components_`; `X_fit_` (n, q)
    and `dual_coef_` (n, C), the distinct rows or the landmarks behind it and their coefficients;
    `has_target_`.

    Cost: O(n^2 d + n^3) time and O(n^2) memory, or with m landmarks O(n^2 d) for the graph, O(n m^2 + m^3)
    and O(n m) memory; a further iteration costs little. Source: Wang, Feng, Chen, Yu, Huang, Yu, ACM MM 2018.
    """

    _on_device = True

    def __init__(
        self,
        n_components: Any = None,
        *,
        kernel: Kernel | None = None,
        n_neighbors: int = 10,
        eta: float = 0.1,
        reg: float = 10.0,
        rho: float = 1.0,
        mu: float | str = "estimate",
        n_iter: int = 10,
        normalize: bool = True,
        marginal: str = "released",
        n_landmarks: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.n_neighbors = n_neighbors
        self.eta = eta
        self.reg = reg
        self.rho = rho
        self.mu = mu
        self.n_iter = n_iter
        self.normalize = normalize
        self.marginal = marginal
        self.n_landmarks = n_landmarks
        self.random_state = random_state

    def predict(self, X: Any) -> Array:
        """The class of each of the target rows `X` (n, d), on the host."""
        chosen = np.argmax(self._scores(self._checked(X)), axis=1)
        return np.asarray(self.classes_[chosen])

    def decision_function(self, X: Any) -> Array:
        """The classifier's values for target rows `X` (n, d): (n, C); of two classes the difference, (n,)."""
        scores = self._scores(self._checked(X))
        return scores if len(self.classes_) > 2 else scores[:, 1] - scores[:, 0]

    def _learn(self, domains: Domains, source_weight: Array | None, target_weight: Array | None) -> None:
        self._check_parameters()
        known = number_classes(domains, source_weight, target_weight, "MEDA")
        samples = [positive(domains.X_source, source_weight)]
        if domains.X_target is not None:
            samples.append(positive(domains.X_target, target_weight))
        nodes = _distinct(samples, (known.source, known.target))
        self.projection_: Array | None = self._flow(nodes) if self.has_target_ else None
        raw = self._projected(nodes.rows)
        seen = self._unit(raw)
        self.kernel_ = self._resolved(seen, nodes.weight)
        system = self._pose(seen, nodes, len(known.names))
        x = system.solve(system.right)
        balances: list[float] = []
        if domains.X_target is not None:
            x, balances = self._iterate(system, known, nodes, raw, seen)
        order = np.argsort(known.names)
        self.classes_: Array = known.names[order]
        self.X_fit_: Array = to_numpy(system.known)
        self.dual_coef_: Array = np.ascontiguousarray(to_numpy(system.coefficients(x))[:, order])
        self.n_iter_, self.mu_ = len(balances), np.array(balances)
        self.pseudo_labels_: Array = known.names[:0]
        if domains.X_target is not None:
            every = self.predict(domains.X_target)
            used = np.arange(len(every)) if target_weight is None else np.flatnonzero(target_weight > 0)
            fixed = known.target >= 0
            every[used[fixed]] = known.names[known.target[fixed]]
            self.pseudo_labels_ = every

    def _iterate(
        self, system: _System, known: Classes, nodes: _Nodes, raw: Any, seen: Any
    ) -> tuple[Any, list[float]]:
        """The last x, and mu of every solution."""
        ns, target = nodes.n_source, nodes.n_source + np.flatnonzero(nodes.classes[nodes.n_source :] < 0)
        fixed = nodes.classes >= 0
        classes = nodes.classes.copy()
        nearest = NearestRow(seen[index_of(fixed, seen)], classes[fixed])
        classes[target] = nearest.predict(seen[index_of(target, seen)])
        on_host = to_numpy(raw) if self.mu == "estimate" else raw[:0]
        before, balances = np.zeros(0), list[float]()
        weights = nodes.weight[:ns], nodes.weight[ns:]
        base = x = system.solve(system.right)
        while len(balances) < int(self.n_iter):
            mu: Any = self.mu
            if mu == "estimate":
                mu = estimate_balance(on_host[:ns], on_host[ns:], classes[:ns], classes[ns:], *weights)
            contrasts = joint_contrasts(
                classes[:ns],
                classes[ns:],
                known.n_classes,
                *weights,
                balance=float(mu),
                marginal=self.marginal,
            )
            if np.array_equal(contrasts, before):
                break  # the same problem again, with the same solution
            before = contrasts
            balances.append(float(mu))
            if self.reg > 0:
                left, right = system.spread(contrasts)
                left = system.solve(left)
                share = contrast_norm(contrasts) / float(self.reg)
                small = share * np.eye(left.shape[1]) + to_numpy(right.T @ left)
                x = base - left @ beside(np.linalg.solve(small, to_numpy(right.T @ base)), left)
            classes[target] = np.argmax(system.scores(x)[target], axis=1)
        return x, balances

    def _flow(self, nodes: _Nodes) -> Array:
        """What rows are multiplied by: the root of the geodesic flow kernel."""
        d = nodes.rows.shape[1]
        parts = (slice(None, nodes.n_source), slice(nodes.n_source, None))
        bases = [principal(nodes.rows[part], nodes.weight[part], d).basis for part in parts]
        # A domain of equal rows has no directions of its own.
        bases = [base if base.shape[1] else bases[1 - i] for i, base in enumerate(bases)]
        rank = min(base.shape[1] for base in bases)
        if not rank:
            raise ValueError("MEDA needs rows that vary, got constant X and X_target")
        wanted = self.n_components
        if wanted is None:
            wanted = DEFAULT_COMPONENTS if d > 2 * DEFAULT_COMPONENTS else rank
        elif wanted > rank:
            warnings.warn(
                f"MEDA takes {rank} components, not {wanted}: the domains share rank {rank} in {d} columns",
                UserWarning,
                stacklevel=5,
            )
        self.n_components_ = min(rank, int(wanted))
        return flow_root(geodesic(*(base[:, : self.n_components_] for base in bases)))

    def _pose(self, seen: Any, nodes: _Nodes, n_classes: int) -> _System:
        """The system without contrasts: J, the ridge and the graph."""
        n, root = len(seen), np.sqrt(nodes.weight)
        fixed = nodes.classes >= 0
        penalty = sparse.diags_array(fixed.astype(float))
        if self.rho > 0:
            graph = direction_graph(unit_rows(seen), int(self.n_neighbors), nodes.weight)
            penalty = penalty + float(self.rho) * normalized_laplacian(graph, nodes.weight)
        right = np.zeros((n, n_classes))
        right[np.flatnonzero(fixed), nodes.classes[fixed]] = root[fixed]
        count = self.n_landmarks
        if count is None and n > DENSE_ROWS:
            count = DEFAULT_LANDMARKS
        wide = widened(seen)
        tall = beside(root[:, None], wide)
        if count is None or count >= n:
            kernel = ops.kernel_matrix(wide, kernel=self.kernel_) * beside(np.outer(root, root), wide)
            on_host = namespace(wide) is np
            system = (penalty if on_host else like(penalty.toarray(), wide)) @ kernel
            every = index_of(np.arange(n), system)
            system[every, every] += float(self.eta)
            solve = lu_solver(system)
            if solve is None:
                raise ValueError(
                    f"eta must not vanish beside the kernel matrix, got eta = {self.eta:g}; raise eta or "
                    "lower the bandwidth of the kernel"
                )
            return _System(
                beside(right, wide),
                solve,
                lambda contrasts: (beside(contrasts, wide), kernel @ beside(contrasts, wide)),
                lambda x: to_numpy(kernel @ x / tall),
                seen,
                lambda x: tall * x,
            )
        features = NystroemFeatures(int(count), kernel=self.kernel_, random_state=self.random_state)
        features.fit(to_numpy(wide))
        landmarks, turn = (like(part, wide) for part in (features.landmarks_, features.normalization_))
        thin = tall * ops.kernel_matmul(wide, landmarks, turn, kernel=self.kernel_)
        system = quadratic_form(penalty, thin)
        system[np.diag_indices_from(system)] += float(self.eta)

        def spread(contrasts: Array) -> tuple[Array, Array]:
            columns = to_numpy(thin.T @ beside(contrasts, thin))
            return columns, columns

        return _System(
            to_numpy(thin.T @ beside(right, thin)),
            _solver(system, float(self.eta)),
            spread,
            lambda x: to_numpy(thin @ beside(x, thin) / tall),
            like(features.landmarks_, seen),
            lambda x: features.normalization_ @ x,
        )

    def _resolved(self, seen: Any, weight: Array) -> Kernel:
        if self.kernel is None:
            length = float(weight @ column_lengths(seen.T).astype(float) / weight.sum())
            return RBF(bandwidth=np.sqrt(length) if length > 0 else 1.0)
        kernel = bandwidth.resolve(self.kernel, seen)
        if any(isinstance(part, Energy) for _, part in kernel.parts):
            raise ValueError(f"MEDA needs a positive definite kernel, got {kernel!r}")
        return kernel

    def _unit(self, rows: Any) -> Any:
        return unit_rows(rows) if self.normalize else rows

    def _projected(self, rows: Any) -> Any:
        return rows if self.projection_ is None else rows @ like(self.projection_, rows)

    def _scores(self, rows: Any) -> Array:
        seen = self._unit(self._projected(rows))
        known, weights = (like(part, rows) for part in (self.X_fit_, self.dual_coef_))
        return to_numpy(ops.kernel_matmul(seen, known, weights, kernel=self.kernel_))

    def _check_parameters(self) -> None:
        check_count(self, "n_components", words=(None,))
        check_count(self, "n_neighbors")
        check_count(self, "n_iter")
        check_count(self, "n_landmarks", words=(None,))
        check_kernel(self)
        check_number(self, "eta")
        check_number(self, "reg", zero=True)
        check_number(self, "rho", zero=True)
        check_share(self, "mu", words=("estimate",))
        check_choice(self, "marginal", MARGINAL)


def _solver(system: Array, least: float) -> Callable[[Array], Array]:
    """A^-1 times columns for a symmetric A whose eigenvalues are `least` or more but for rounding."""
    try:
        lower = linalg.cho_factor(system)
    except linalg.LinAlgError:
        values, vectors = np.linalg.eigh(system)
        inverse = 1 / np.maximum(values, least)
        return lambda columns: np.asarray((vectors * inverse) @ (vectors.T @ columns))
    return lambda columns: np.asarray(linalg.cho_solve(lower, columns))


def _distinct(samples: list[tuple[Array, Array]], classes: tuple[Array, Array]) -> _Nodes:
    """Merge equal rows of one domain and class; what follows then depends neither on order nor on copies."""
    rows = namespace(samples[0][0]).concatenate([part for part, _ in samples])
    domain = np.repeat(np.arange(len(samples)), [len(part) for part, _ in samples])
    # Adding 0 makes zeros of minus zeros, so that equal rows have equal bytes; with the high bytes first the
    # order of the bytes is that of the numbers up to their sign, so rounding hardly changes it.
    keys = (np.column_stack([domain, np.concatenate(classes), to_numpy(rows)]) + 0.0).astype(">f8")
    bytes_of_row = np.ascontiguousarray(keys).view(np.dtype((np.void, keys[0].nbytes)))[:, 0]
    _, first, place = np.unique(bytes_of_row, return_index=True, return_inverse=True)
    weight = np.bincount(place, np.concatenate([part for _, part in samples]))
    number = np.concatenate(classes)[first]
    return _Nodes(rows[index_of(first, rows)], number, weight, int(np.sum(domain[first] == 0)))
