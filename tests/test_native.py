"""The compiled tile engine, called directly: laws that hold below the waist."""

import itertools

import numpy as np
import pytest

native = pytest.importorskip("isthmus._native", reason="the compiled module is not built")

SMOOTH = {
    "rbf": ((0.3,), lambda sq: np.exp(-0.3 * sq)),
    "matern32": ((1.4,), lambda sq: (1 + np.sqrt(3 * sq) / 1.4) * np.exp(-np.sqrt(3 * sq) / 1.4)),
    "matern52": (
        (1.4,),
        lambda sq: (1 + np.sqrt(5 * sq) / 1.4 + 5 * sq / (3 * 1.4**2)) * np.exp(-np.sqrt(5 * sq) / 1.4),
    ),
    "rational_quadratic": ((1.4, 6.0), lambda sq: (1 + sq / (2 * 6.0 * 1.4**2)) ** -6.0),
    "imq": ((1.4,), lambda sq: (1 + sq / 1.4**2) ** -0.5),
}
SHARP = {
    "exponential": ((1.4,), lambda sq: np.exp(-np.sqrt(sq) / 1.4)),
    "energy": ((), lambda sq: -np.sqrt(sq)),
}
LEVELS = native.levels()
RBF = [("rbf", 1.0, (0.05,))]


def squared_distances(X, Y):
    X, Y = X.astype(np.float64), Y.astype(np.float64)
    return ((X[:, None] - Y[None]) ** 2).sum(-1)


def kernel_matrix(X, Y, terms, level=LEVELS[-1], n_threads=2):
    out = np.full((len(X), len(X if Y is None else Y)), np.nan, X.dtype)
    native.kernel_matrix(X, Y, terms, out, level=level, n_threads=n_threads)
    return out


def block_sums(samples, terms, level=LEVELS[-1], n_threads=2):
    pairs = np.array([(a, b) for a in range(len(samples)) for b in range(a, len(samples))], np.int64)
    sums, diagonals = np.full(len(pairs), np.nan), np.full(len(samples), np.nan)
    native.block_sums(
        [s[None] for s in samples], None, pairs, terms, sums, diagonals, level=level, n_threads=n_threads
    )
    return sums, diagonals


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*SMOOTH, *SHARP])
def test_near_pairs_far_from_the_mean_keep_their_digits(name, dtype, level):
    """Tight clusters at |x - mean| >> scale: where the Gram trick alone loses every digit."""
    params, formula = (SMOOTH | SHARP)[name]
    tolerance = 5e-6 if dtype is np.float32 else 1e-13
    rng = np.random.default_rng(7)
    for d, distance in itertools.product((1, 3, 16, 65, 300), (0.5, 2.0, 4.0, 8.0, 30.0, 1e3)):
        ends = rng.standard_normal((1, d))
        ends = np.concatenate([ends, -ends]) * distance / np.linalg.norm(ends)
        X = (ends[rng.integers(0, 2, 70)] + 0.3 * rng.standard_normal((70, d)) / np.sqrt(d)).astype(dtype)
        expected = formula(squared_distances(X, X))
        error = np.abs(kernel_matrix(X, None, [(name, 1.0, params)], level) - expected).max()
        assert error <= tolerance * max(1.0, np.abs(expected).max()), (d, distance)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_has_the_same_bits_whatever_batch_it_stands_in(dtype, level):
    rng = np.random.default_rng(0)
    Y = (rng.standard_normal((53, 19)) * rng.choice([0.3, 30.0], (53, 1))).astype(dtype)
    X = np.concatenate([Y[:20] + dtype(1e-3), (5 * rng.standard_normal((50, 19))).astype(dtype)])
    terms = [("rbf", 0.5, (0.8,)), ("matern32", 0.25, (2.0,)), ("energy", 0.25, ())]
    V = rng.standard_normal((53, 5)).astype(dtype)
    whole = kernel_matrix(X, Y, terms, level)
    product = np.empty((70, 5), dtype)
    native.kernel_matmul(X, Y, V, terms, False, product, level=level, n_threads=2)
    for rows in ([0], [69], list(range(3, 16)), list(range(40, 70)), [5, 1, 60]):
        assert kernel_matrix(X[rows], Y, terms, level).tobytes() == whole[rows].tobytes()
        part = np.empty((len(rows), 5), dtype)
        native.kernel_matmul(X[rows], Y, V, terms, False, part, level=level, n_threads=1)
        assert part.tobytes() == product[rows].tobytes()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_matrix_of_a_sample_with_itself_is_symmetric_to_the_bit(dtype, level):
    X = (3 * np.random.default_rng(1).standard_normal((77, 13))).astype(dtype)
    for name, (params, _) in (SMOOTH | SHARP).items():
        K = kernel_matrix(X, None, [(name, 1.0, params)], level)
        assert K.tobytes() == K.T.tobytes()
        assert np.diag(K).tobytes() == np.full(77, 0.0 if name == "energy" else 1.0, dtype).tobytes()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(dtype, level):
    rng = np.random.default_rng(2)
    X, Y = (rng.standard_normal((n, 21)).astype(dtype) for n in (1500, 1101))
    V = rng.standard_normal((1101, 33)).astype(dtype)
    terms = [("rbf", 0.5, (0.02,)), ("rbf", 0.5, (0.08,))]

    def everything(n_threads):
        product, features = np.empty((1500, 33), dtype), np.empty((1500, 1101), dtype)
        native.kernel_matmul(X, Y, V, terms, False, product, level=level, n_threads=n_threads)
        own = np.empty((1101, 33), dtype)
        native.kernel_matmul(Y, None, V, terms, False, own, level=level, n_threads=n_threads)
        native.project(X, Y.T.copy(), None, "tanh", features, level=level, n_threads=n_threads)
        return (
            *block_sums([X, Y], terms, level, n_threads),
            kernel_matrix(X, Y, terms, level, n_threads),
            product,
            own,
            features,
        )

    alone = everything(1)
    for n_threads in (2, 3, 7, 16):
        for a, b in zip(alone, everything(n_threads), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_of_kernels_equals_the_sum_over_kernels(dtype):
    rng = np.random.default_rng(3)
    X, Y = (rng.standard_normal((n, 9)).astype(dtype) for n in (83, 41))
    terms = [
        ("rbf", 0.2, (0.1,)),
        ("rbf", 0.3, (1.6,)),
        ("imq", 0.5, (2.0,)),
        ("laplacian", 1.5, (4.0,)),
        ("energy", 0.1, ()),
        ("linear", 0.25, ()),
        ("polynomial", 0.01, (0.1, 1.0, 3.0)),
    ]
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    expected = sum(kernel_matrix(X, Y, [term]).astype(np.float64) for term in terms)
    assert np.abs(kernel_matrix(X, Y, terms) - expected).max() <= tolerance
    sums, diagonals = block_sums([X, Y], terms)
    parts = [block_sums([X, Y], [term]) for term in terms]
    np.testing.assert_allclose(sums, sum(p[0] for p in parts), rtol=1e-6)
    np.testing.assert_allclose(diagonals, sum(p[1] for p in parts), rtol=1e-6)


def test_pairs_across_items_share_one_mean():
    rng = np.random.default_rng(4)
    stack = rng.standard_normal((3, 40, 6)) + 100 * np.arange(3)[:, None, None]
    pairs = np.array([[0, 1], [2, 0]], np.int64)
    sums, diagonals = np.empty(2), np.empty(3)
    native.block_sums(
        [stack], None, pairs, [("energy", 1.0, ())], sums, diagonals, level=LEVELS[-1], n_threads=2
    )
    for (a, b), total in zip(pairs, sums, strict=True):
        assert total == pytest.approx(-np.sqrt(squared_distances(stack[a], stack[b])).sum(), rel=1e-13)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rational_quadratic_keeps_its_promise_for_any_alpha(dtype, level):
    X = np.random.default_rng(8).standard_normal((40, 5)).astype(dtype)
    sq = squared_distances(X, X).astype(np.longdouble)
    for alpha in (0.3, 1.0, 1e2, 1e4, 1e6):
        expected = np.exp(-alpha * np.log1p(sq / (2 * np.longdouble(alpha) * 4)))
        error = np.abs(
            kernel_matrix(X, None, [("rational_quadratic", 1.0, (2.0, alpha))], level) - expected
        ).max()
        assert error <= (5e-6 if dtype is np.float32 else 1e-13), alpha


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_nan_reaches_its_row_and_no_other(dtype, level):
    X = np.random.default_rng(9).standard_normal((50, 5)).astype(dtype)
    X[33, 2] = np.nan
    Y = np.random.default_rng(10).standard_normal((40, 5)).astype(dtype)
    kernels = {name: params for name, (params, _) in (SMOOTH | SHARP).items()}
    kernels |= {"laplacian": (3.0,), "linear": (), "polynomial": (0.5, 1.0, 2.0)}
    assert set(kernels) == set(native.kernel_names())
    for name, params in kernels.items():
        K = kernel_matrix(X, Y, [(name, 1.0, params)], level)
        assert np.isnan(K[33]).all() and np.isfinite(np.delete(K, 33, axis=0)).all(), name


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_whose_norms_overflow_still_give_the_limit(dtype, level):
    large = dtype(2e20) if dtype is np.float32 else dtype(2e160)
    X = np.array([[0.0, 1.0], [large, 0.0], [-large, 0.0]], dtype).repeat(20, axis=0)
    same = np.arange(60)[:, None] // 20 == np.arange(60)[None] // 20
    for name, (params, _) in SMOOTH.items():
        K = kernel_matrix(X, None, [(name, 1.0, params)], level)
        assert np.array_equal(K[same], np.ones(1200, dtype)), name
        assert (np.abs(K[~same]) < 1e-6).all(), name


def test_the_net_below_the_waist_refuses_what_it_cannot_read():
    X = np.ones((4, 3), np.float32)
    out = np.empty((4, 4), np.float32)
    how = {"level": LEVELS[-1], "n_threads": 1}
    with pytest.raises(ValueError, match="no kernel is named 'rbv'"):
        native.kernel_matrix(X, None, [("rbv", 1.0, (1.0,))], out, **how)
    with pytest.raises(ValueError, match="wrong number of parameters"):
        native.kernel_matrix(X, None, [("rbf", 1.0, ())], out, **how)
    with pytest.raises(ValueError, match="at least one term"):
        native.kernel_matrix(X, None, [], out, **how)
    with pytest.raises(ValueError, match="out has the wrong shape"):
        native.kernel_matrix(X, None, RBF, out[:2], **how)
    with pytest.raises(ValueError, match="not writeable"):
        out.flags.writeable = False
        native.kernel_matrix(X, None, RBF, out, **how)
    with pytest.raises(TypeError):
        native.kernel_matrix(X, None, RBF, np.empty((4, 4)), **how)
    with pytest.raises(TypeError):
        native.kernel_matrix(X.astype(">f4"), None, RBF, np.empty((4, 4), np.float32), **how)
    with pytest.raises(RuntimeError, match="SIMD level 'sse9'"):
        native.kernel_matrix(X, None, RBF, np.empty((4, 4), np.float32), level="sse9", n_threads=1)
    with pytest.raises(ValueError, match="n_threads"):
        native.kernel_matrix(X, None, RBF, np.empty((4, 4), np.float32), level=LEVELS[-1], n_threads=0)
    packed = np.zeros(4, np.dtype([("x", np.float32, 3), ("tag", np.uint8)]))["x"]
    with pytest.raises(ValueError, match="whole elements"):
        native.kernel_matrix(packed, X, RBF, np.empty((4, 4), np.float32), **how)
    with pytest.raises(ValueError, match="whole elements"):
        sums, diagonals = np.empty(1), np.empty(1)
        native.block_sums([packed[None]], None, np.zeros((1, 2), np.int64), RBF, sums, diagonals, **how)
    native.project(X, np.empty((3, 0), np.float32), None, "relu", np.empty((4, 0), np.float32), **how)
    with pytest.raises(ValueError, match="pairs must name blocks"):
        pairs = np.array([[0, 1]], np.int64)
        native.block_sums([X[None]], None, pairs, RBF, np.empty(1), np.empty(1), **how)
