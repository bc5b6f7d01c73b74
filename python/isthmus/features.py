"""Feature maps whose dot products approximate a kernel: random Fourier features and the Nystroem method."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from numbers import Integral
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from . import backends, bandwidth, ops, spectral
from .arrays import Array, generator, index_of, like, namespace, to_numpy
from .config import assume_finite
from .kernels import DEFAULT_KERNEL, Energy, Kernel, check_kernel
from .rows import as_given, check_rows

__all__ = ["NystroemFeatures", "RandomFourierFeatures"]

SELECTIONS = ("uniform", "kmeans++")

_DRAWN: MutableMapping[Any, spectral.Frequencies] = WeakKeyDictionary()  # of fitted maps


class _FeatureMap(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What both maps share: the kernel's rules become numbers, and rows keep their float type."""

    _on_device: ClassVar[bool] = True  # takes arrays on a GPU; fitted arrays are on the host always
    kernel: Kernel | None
    n_components: int

    def _resolve(self, rows: Array, rng: np.random.Generator) -> Kernel:
        kernel = DEFAULT_KERNEL if self.kernel is None else check_kernel(self.kernel)
        return bandwidth.resolve(kernel, rows, random_state=rng)

    def _checked_components(self) -> int:
        count: Any = self.n_components
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ValueError(f"n_components must be an integer of at least 1, got {count!r}")
        return int(count)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class RandomFourierFeatures(_FeatureMap):
    """Random Fourier features: phi(x)'phi(y) is close to k(x, y), and phi(x)'phi(x) is k(x, x).

    phi(x) = a [cos((x - mean_)'W), sin((x - mean_)'W)]: one product serves two features. a =
    sqrt(2 k(x, x) / D). The error of a kernel value is of the order 1 / sqrt(D).

    Parameters
    ----------
    n_components : int >= 1, the number of features D; an odd one is rounded up, as cosines and sines come in
        pairs
    kernel : Kernel, None for `RBF()`: RBF, Exponential, Matern, RationalQuadratic, IMQ, Laplacian, and their
        sums and multiples. A bandwidth rule is evaluated on the rows of `fit`.
    sampling : how the columns of W are drawn. "independent": as published. "orthogonal" in blocks of d, of
        the same distribution each: a smaller error. "structured": orthogonal, made of three Walsh-Hadamard
        transforms with random signs between, in O(log d) instead of O(d) operations a feature and row; the
        distribution of a column is that of the others up to O(1 / sqrt(d)), for d < 64 up to that of d = 64.
        The latter two take kernels of the Euclidean distance.
    random_state : None, int, numpy Generator or RandomState

    Fitted: `kernel_` (numbers only); `mean_` (d,); `frequencies_` (d, D / 2), which is W;
    `amplitude_`, which is a; `signs_` (3, m) and `scales_` (m,), what a structured W is made of, else None.

    Rows may be CuPy arrays or CUDA tensors: the features stay there; `mean` and `mmd2` are on the host. What
    backends make of the fitted arrays is kept between calls: replace these, do not write into them.

    Accuracy, against float64 on the same rows and frequencies: 5e-6 for float32, 1e-13 for float64, times the
    larger of 1 and the largest phase.

    Cost: O(n d D) time for D features, O(n log(d) D) if structured. `mean` and `mmd2` take O(D) memory
    beside W.
    Source: Rahimi and Recht, NIPS 2007; Yu, Suresh, Choromanski, Holtmann-Rice, Kumar, NIPS 2016.
    """

    def __init__(
        self,
        n_components: int = 1024,
        *,
        kernel: Kernel | None = None,
        sampling: str = "independent",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.sampling = sampling
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Evaluate the bandwidth rule on `X`, an array of shape (n, d), and draw the frequencies.

        Raises ValueError for a kernel without a known spectral measure, and for NaN or infinity in `X`.
        """
        q = -(-self._checked_components() // 2)
        if self.sampling not in spectral.SAMPLINGS:
            names = ", ".join(map(repr, spectral.SAMPLINGS))
            raise ValueError(f"sampling must be one of {names}, got {self.sampling!r}")
        rows = check_rows(self, X, reset=True)
        rng = generator(self.random_state)
        self.kernel_ = self._resolve(rows, rng)
        mean = to_numpy(rows.sum(0, dtype=namespace(rows).float64)) / len(rows)
        drawn = spectral.draw(self.kernel_, mean, q, self.sampling, rng)
        self.mean_: Array = drawn.centre
        self.frequencies_: Array = drawn.matrix
        self.signs_: Array | None = drawn.signs
        self.scales_: Array | None = drawn.scales
        self.amplitude_ = math.sqrt(spectral.total_weight(self.kernel_) / q)
        self._n_features_out = 2 * q
        return self

    def transform(self, X: Any, *, out: Any = None) -> Any:
        """The features of the rows of `X`.

        Parameters
        ----------
        X : array of shape (n, d)
        out : array of shape (n, D) and X's float type, of X's library, in C order, written and returned

        Returns
        -------
        array of shape (n, D) and X's float type: all cosines, then all sines

        Raises ValueError as `kernel_matrix` does, and MemoryError where the features do not fit.
        """
        check_is_fitted(self)
        rows = check_rows(self, X, reset=False, finite=False)
        given = ops.Inputs(X=as_given(rows, X))
        given.check("X", (2,))
        self._widen_if_needed(given)
        target = given.target("transform", (len(rows), self._n_features_out), out)
        frequencies = self._frequencies().cast(given.compute_dtype)
        backends.fourier_features(given["X"], frequencies, self.amplitude_, target, given.where)
        return given.give("transform", target, out)

    def mean(self, X: Any, weights: Any = None) -> Array:
        """The mean of the features of `X`, without forming them: its mean embedding.

        Parameters
        ----------
        X : array of shape (n, d)
        weights : array of shape (n,), not negative; their scale does not matter. None for equal weights

        Returns
        -------
        float64 array of shape (D,): sums of a few rows in X's float type, then float64

        Raises ValueError as `kernel_matrix` does.

        Cost: the time of `transform`; O(D) memory.
        """
        check_is_fitted(self)
        rows = check_rows(self, X, reset=False, finite=False)
        given = ops.Inputs(weights={"weights": weights}, X=rows)
        factors = given.weights("weights", (len(rows),))
        even = None if factors is None else given.scale_weights(factors[None])[0][0]
        self._widen_if_needed(given)
        sums = self._sums(given, even)
        if not np.isfinite(sums).all() and not assume_finite():
            # One look at D sums has saved one at n d numbers.
            given.check("X", (2,))
            self._widen_if_needed(given)
            sums = self._sums(given, even)
        return sums * (self.amplitude_ / len(rows))

    def mmd2(self, X: Any, Y: Any, *, estimator: str = "unbiased") -> float:
        """Squared maximum mean discrepancy of the features of `X` and `Y`, in time linear in their rows.

        It estimates `isthmus.mmd2` with `kernel_`, with an error of its own from the random frequencies, of
        the order 1 / sqrt(D); it is exact for the kernel phi(x)'phi(y).

        Parameters
        ----------
        X, Y : arrays of shape (n, d) and (m, d)
        estimator : "unbiased" or "biased"
        """
        if estimator not in ("unbiased", "biased"):
            raise ValueError(f"estimator must be one of 'unbiased', 'biased', got {estimator!r}")
        means = [self.mean(X), self.mean(Y)]
        gap = means[0] - means[1]
        if estimator == "biased":
            return float(gap @ gap)
        own = spectral.total_weight(self.kernel_)
        excess = 0.0
        for name, mean, count in zip(("X", "Y"), means, (len(X), len(Y)), strict=True):
            if count < 2:
                raise ValueError(f"{name} needs >= 2 rows for the unbiased estimator, got {count}")
            # The mean over i == j is k(x, x); the rest of the mean over all pairs is what is wanted.
            excess += (own - float(mean @ mean)) / (count - 1)
        return float(gap @ gap) - excess

    def _sums(self, given: ops.Inputs, weights: Any) -> Array:
        sums = given.where.empty((self._n_features_out,), np.dtype(np.float64))
        factors = None if weights is None else given.cast(weights)
        frequencies = self._frequencies().cast(given.compute_dtype)
        backends.fourier_sums(given["X"], factors, frequencies, sums, given.where)
        return to_numpy(sums)

    def _widen_if_needed(self, given: ops.Inputs) -> None:
        if spectral.dtype_for(self._frequencies(), given.dtype, given.reach("X")) != given.dtype:
            given.widen()

    def _frequencies(self) -> spectral.Frequencies:
        """The fitted arrays as one object, the same until `fit`: backends keep what they make of it."""
        kept, parts = _DRAWN.get(self), (self.frequencies_, self.mean_, self.signs_, self.scales_)
        if kept is not None:
            own = (kept.matrix, kept.centre, kept.signs, kept.scales)
            if all(a is b for a, b in zip(own, parts, strict=True)):
                return kept
        _DRAWN[self] = spectral.Frequencies(*parts)
        return _DRAWN[self]


class NystroemFeatures(_FeatureMap):
    """Nystroem features: phi(x)'phi(y) is k(x, L) K(L, L)^-1 k(L, y) for some rows L, the landmarks.

    Exact between landmarks, and for all rows when every row is a landmark.

    Parameters
    ----------
    n_components : int >= 1, the number of landmarks; at most the number of rows
    kernel : Kernel, None for `RBF()`; any but Energy, which is not positive definite. A bandwidth rule is
        evaluated on the rows of `fit`.
    selection : "uniform", random rows, or "kmeans++", rows far from each other
    random_state : None, int, numpy Generator or RandomState

    Fitted: `kernel_` (numbers only); `landmarks_` (m, d); `normalization_` (m, m), K(L, L)^-1/2 in
    float64, with eigenvalues below m eps times the largest left out, eps that of the float type of X;
    `rank_`, how many are kept.

    Rows may be CuPy arrays or CUDA tensors: the features stay there; the landmarks are on the host, and to
    choose them "kmeans++" copies all rows there.

    Cost: O(m^2 d + m^3) to fit; O(n m (d + m)) time and O(n m) memory for the features of n rows.
    Source: Williams and Seeger, NIPS 2000.
    """

    def __init__(
        self,
        n_components: int = 100,
        *,
        kernel: Kernel | None = None,
        selection: str = "uniform",
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.selection = selection
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose the landmarks among the rows of `X`, an array of shape (n, d).

        Raises ValueError for the energy kernel, and for NaN or infinity in `X`.
        """
        count = self._checked_components()
        if self.selection not in SELECTIONS:
            names = ", ".join(map(repr, SELECTIONS))
            raise ValueError(f"selection must be one of {names}, got {self.selection!r}")
        rows = check_rows(self, X, reset=True)
        rng = generator(self.random_state)
        self.kernel_ = self._resolve(rows, rng)
        for _, part in self.kernel_.parts:
            if isinstance(part, Energy):
                raise ValueError(f"Nystroem features need a positive definite kernel, got {self.kernel_!r}")
        chosen = self._select(rows, min(count, len(rows)), rng)
        self.landmarks_: Array = to_numpy(rows[index_of(chosen, rows)])
        # In float64: its inverse root magnifies the smallest eigenvalues.
        matrix = ops.kernel_matrix(self.landmarks_.astype(np.float64), kernel=self.kernel_)
        values, vectors = np.linalg.eigh(matrix)
        kept = values > len(values) * np.finfo(self.landmarks_.dtype).eps * values[-1]
        self.rank_ = int(kept.sum())
        self.normalization_: Array = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
        self._n_features_out = len(self.landmarks_)
        return self

    def transform(self, X: Any) -> Any:
        """K(X, landmarks_) @ normalization_, without ever storing K.

        Parameters
        ----------
        X : array of shape (n, d)

        Returns
        -------
        array of shape (n, m) and X's float type

        Raises ValueError as `kernel_matmul` does.
        """
        check_is_fitted(self)
        rows = check_rows(self, X, reset=False, finite=False)
        landmarks, weights = (like(part, rows) for part in (self.landmarks_, self.normalization_))
        return as_given(ops.kernel_matmul(rows, landmarks, weights, kernel=self.kernel_), X)

    def _select(self, rows: Array, count: int, rng: np.random.Generator) -> Array:
        if self.selection == "uniform":
            return np.sort(rng.choice(len(rows), count, replace=False))
        from sklearn.cluster import kmeans_plusplus

        _, chosen = kmeans_plusplus(to_numpy(rows), count, random_state=int(rng.integers(2**31)))
        return np.sort(chosen)
