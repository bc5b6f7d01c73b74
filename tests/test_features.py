"""Random Fourier and Nystroem features, against formulas in float64 and the kernels they stand for."""

import subprocess
import sys

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, SIZES, THREADS, TOLERANCES, oracle_matrix
from isthmus import backends, homes, spectral
from sklearn.kernel_approximation import Nystroem

HOST = homes.Home("numpy", "cpu")
RADIAL = {
    "rbf": im.RBF(bandwidth=2.5),
    "rbf-several": im.RBF(bandwidth=[1.5, 4.0]),
    "exponential": im.Exponential(scale=6.0),
    "matern12": im.Matern(nu=0.5, scale=6.0),
    "matern32": im.Matern(nu=1.5, scale=3.0),
    "matern52": im.Matern(nu=2.5, scale=3.0),
    "rational-quadratic": im.RationalQuadratic(scale=2.0, alpha=1.7),
    "imq": im.IMQ(scale=3.0),
    "sum": 0.5 * im.RBF(gamma=0.1) + 2.0 * im.Matern(nu=1.5, scale=4.0),
}


def frequencies(rng, d, q, sampling="independent", dtype="float64", kernel=RADIAL["rbf"]):
    drawn = spectral.draw(kernel, rng.normal(size=d), q, sampling, rng)
    return drawn.cast(np.dtype(dtype))


def features(x, drawn, amplitude=0.5):
    out = np.full((len(x), 2 * drawn.matrix.shape[1]), np.nan, x.dtype)
    backends.fourier_features(x, drawn, amplitude, out, HOST)
    return out


def sums(x, drawn, weights=None):
    out = np.full(2 * drawn.matrix.shape[1], np.nan)
    backends.fourier_sums(x, weights, drawn, out, HOST)
    return out


def oracle(x, drawn):
    """Cosines and sines (n, 2 q) in float64, and the largest phase."""
    z = (x.astype(np.float64) - drawn.centre) @ drawn.matrix.astype(np.float64)
    return np.concatenate([np.cos(z), np.sin(z)], axis=1), max(1.0, np.abs(z).max())


def shapes():
    """(n, d, q): each size in each place, then past the widths of the structured blocks."""
    for i, n in enumerate(SIZES):
        yield n, SIZES[(i + 4) % len(SIZES)], SIZES[(i + 9) % len(SIZES)]
    yield from ((70, 128, 128), (129, 100, 200), (40, 300, 513), (10, 600, 1025))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling", ["independent", "structured"])
def test_features_and_sums_equal_the_oracle_at_all_sizes(level, sampling, dtype, rng):
    for n, d, q in shapes():
        x = rng.normal(size=(n, d)).astype(dtype)
        weights = rng.uniform(0, 2, n).astype(dtype)
        drawn = frequencies(rng, d, q, sampling, dtype)
        expected, reach = oracle(x, drawn)
        bound = TOLERANCES[dtype].kernel * reach
        assert np.abs(features(x, drawn) - 0.5 * expected).max() <= bound, (n, d, q)
        assert np.abs(sums(x, drawn) - expected.sum(axis=0)).max() <= n * bound, (n, d, q)
        assert np.abs(sums(x, drawn, weights) - weights.astype(np.float64) @ expected).max() <= 2 * n * bound


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-7), ("float64", 5e-16)])
def test_cosine_and_sine_are_right_to_their_last_digits(level, dtype, bound):
    """Around every multiple of pi / 2, near 0, and beyond what the reduction takes."""
    turns = np.arange(-5000, 5001) * (np.pi / 2)
    x = np.concatenate([turns, turns + 0.7, np.linspace(-2, 2, 999), [1e5, -3e6, 7999.9, 8000.1]])
    x = x.astype(dtype)[:, None]
    drawn = spectral.Frequencies(np.ones((1, 1), dtype), np.zeros(1))
    # sin and cos of numbers of this dtype, which float64 represents exactly.
    expected, _ = oracle(x, drawn)
    assert np.abs(features(x, drawn, 1.0) - expected).max() <= bound


@pytest.mark.parametrize("sampling", ["independent", "structured"])
def test_a_phase_that_is_not_finite_spoils_no_other_row(level, sampling, rng):
    x = rng.normal(size=(40, 5)).astype("float32")
    drawn = frequencies(rng, 5, 70, sampling, "float32")
    clean = features(x, drawn)
    x[3, 2], x[17, 0], x[20] = np.nan, np.inf, 1e6
    found = features(x, drawn)
    assert np.isnan(found[[3, 17]]).all()
    others = np.delete(np.arange(40), [3, 17, 20])
    np.testing.assert_allclose(found[others], clean[others], atol=1e-6)
    assert np.abs(found[20]).max() <= 0.5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling", ["independent", "structured"])
def test_any_number_of_threads_and_any_batch_give_the_same_bits(level, sampling, dtype, rng):
    x = rng.normal(size=(9000, 9)).astype(dtype)
    drawn = frequencies(rng, 9, 150, sampling, dtype)
    several = []
    for n_threads in THREADS:
        with im.config(n_threads=n_threads):
            several.append((features(x, drawn).tobytes(), sums(x, drawn).tobytes()))
    assert all(results == several[0] for results in several)
    whole = features(x, drawn)
    for rows in (slice(0, 1), slice(3, 4), slice(5, 12), slice(16, 49), slice(8000, 9000)):
        assert np.array_equal(features(x[rows], drawn), whole[rows])
    assert np.array_equal(features(x[::-3], drawn), whole[::-3])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling", spectral.SAMPLINGS)
def test_a_row_with_large_phases_leaves_the_bits_of_its_neighbours(level, sampling, dtype, rng):
    """Cosines of more turns than the reduction takes are another function's, which rounds otherwise."""
    x = rng.normal(size=(100, 5)).astype(dtype)
    x[::7] *= 3000
    drawn = frequencies(rng, 5, 70, sampling, dtype, im.RBF(0.5))
    found, (expected, reach) = features(x, drawn), oracle(x, drawn)
    assert reach > 8000
    assert np.array_equal(found, np.concatenate([features(row[None], drawn) for row in x]))
    assert np.abs(found - 0.5 * expected).max() <= TOLERANCES[dtype].kernel * reach


@pytest.mark.parametrize("offset", [0, 1, 5])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling", ["independent", "structured"])
def test_a_large_result_is_written_whole_wherever_it_begins(level, sampling, dtype, offset, rng):
    """Large results go past the caches, in aligned lines."""
    n, d, q = 6000, 4, 195
    x = rng.normal(size=(n, d)).astype(dtype)
    model = im.RandomFourierFeatures(2 * q, sampling=sampling, random_state=0).fit(x)
    buffer = np.full(n * 2 * q + offset + 3, 7.0, dtype)
    out = buffer[offset : offset + n * 2 * q].reshape(n, 2 * q)
    assert out.nbytes > 1 << 23
    assert model.transform(x, out=out) is out
    assert (buffer[:offset] == 7).all() and (buffer[-3:] == 7).all()
    pieces = [model.transform(x[start : start + 100]) for start in range(0, n, 100)]
    assert np.array_equal(out, np.concatenate(pieces))


def test_every_implementation_gives_the_same_features(rng):
    x = rng.normal(size=(700, 7))
    for sampling in spectral.SAMPLINGS:
        model = im.RandomFourierFeatures(66, sampling=sampling, random_state=0).fit(x)
        results = []
        for backend in ("native", "reference"):
            with im.config(backend=backend):
                results.append((model.transform(x), model.mean(x), model.mean(x, np.arange(700))))
                assert backends.explain().backend == backend
        for first, second in zip(*results, strict=True):
            np.testing.assert_allclose(first, second, atol=1e-13)


# -- the estimator --


@pytest.mark.parametrize("d", [1, 3, 70])
@pytest.mark.parametrize("sampling", spectral.SAMPLINGS)
@pytest.mark.parametrize("kernel", RADIAL.values(), ids=RADIAL.keys())
def test_products_of_features_are_near_the_kernel(kernel, sampling, d, rng):
    x = rng.normal(size=(20, d)) * (4 / np.sqrt(d))
    model = im.RandomFourierFeatures(1 << 13, kernel=kernel, sampling=sampling, random_state=1).fit(x)
    found = model.transform(x)
    expected = oracle_matrix(x, x, kernel)
    own = expected[0, 0]
    # A mean of 2^12 terms of size at most 1: five standard deviations, and the bias of the structured ones.
    assert np.abs(found @ found.T - expected).max() <= own * (0.078 + 0.01 * (sampling == "structured"))
    np.testing.assert_allclose((found * found).sum(axis=1), own, rtol=1e-12)


def test_laplacian_features_are_near_the_city_block_kernel(rng):
    x = rng.normal(size=(20, 4))
    kernel = im.Laplacian(scale=[3.0, 5.0]) + im.RBF(2.0)
    found = im.RandomFourierFeatures(1 << 14, kernel=kernel, random_state=0).fit_transform(x)
    assert np.abs(found @ found.T - oracle_matrix(x, x, kernel)).max() <= 2 * 0.056


@pytest.mark.parametrize("sampling", ["orthogonal", "structured"])
def test_orthogonal_frequencies_have_smaller_errors(sampling, rng):
    x = rng.normal(size=(60, 64)) / 8
    expected = oracle_matrix(x, x, im.RBF(1.0))

    def error(name):
        squares = []
        for seed in range(8):
            model = im.RandomFourierFeatures(128, kernel=im.RBF(1.0), sampling=name, random_state=seed)
            found = model.fit_transform(x)
            squares.append(np.square(found @ found.T - expected).mean())
        return np.mean(squares)

    assert error(sampling) < 0.7 * error("independent")


def test_structured_frequencies_are_orthogonal_and_of_the_length_of_normal_vectors(rng):
    drawn = spectral.draw(im.RBF(1.0), np.zeros(128), 512, "structured", rng)
    lengths = np.linalg.norm(drawn.matrix, axis=0)
    directions = (drawn.matrix / lengths)[:, :128]
    np.testing.assert_allclose(directions.T @ directions, np.eye(128), atol=1e-12)
    assert abs((lengths**2).mean() / 128 - 1) < 5 * np.sqrt(2 / 128 / 512)


def test_the_parts_of_a_sum_share_the_frequencies_by_weight(rng):
    kernel = 3.0 * im.RBF(bandwidth=1e-6) + im.RBF(bandwidth=[1.0, 1e6])
    drawn = spectral.draw(kernel, np.zeros(50), 800, "independent", rng)
    sizes = np.abs(drawn.matrix).max(axis=0)
    assert [int((sizes > 1e3).sum()), int((sizes < 1e-3).sum())] == [600, 100]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling", spectral.SAMPLINGS)
def test_the_mean_is_the_mean_of_the_features(level, sampling, dtype, rng):
    x = rng.normal(size=(501, 11)).astype(dtype)
    w = rng.uniform(0, 3, 501)
    w[:5] = 0
    model = im.RandomFourierFeatures(170, sampling=sampling, random_state=0).fit(x)
    rows = model.transform(x).astype(np.float64)
    bound = 0.1 * TOLERANCES[dtype].kernel
    found = model.mean(x)
    assert found.dtype == np.float64 and found.shape == (170,)
    np.testing.assert_allclose(found, rows.mean(axis=0), atol=bound)
    np.testing.assert_allclose(model.mean(x, w), w @ rows / w.sum(), atol=bound)
    np.testing.assert_allclose(model.mean(x, 1e200 * w), model.mean(x, w), rtol=1e-12)


def test_the_mean_needs_no_memory_for_the_features():
    """100 000 rows of 1024 features would take 400 MB."""
    code = """
import resource, numpy as np, isthmus as im
X = np.random.default_rng(0).normal(size=(100_000, 8)).astype(np.float32)
for sampling in ("independent", "structured"):
    model = im.RandomFourierFeatures(sampling=sampling, random_state=0).fit(X)
    model.mean(X[:100])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.mean(X)
    model.mmd2(X, X[:50_000])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40_000, f"{grown} kB"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_mmd2_is_that_of_the_features(rng):
    x, y = rng.normal(size=(90, 5)), rng.normal(size=(70, 5)) + 0.5
    kernel = im.RBF(2.0) + 0.5 * im.IMQ(2.0)
    model = im.RandomFourierFeatures(4096, kernel=kernel, random_state=0).fit(x)
    fx, fy = model.transform(x), model.transform(y)
    for estimator in ("unbiased", "biased"):
        found = model.mmd2(x, y, estimator=estimator)
        assert isinstance(found, float)
        expected = im.mmd2(fx, fy, kernel=im.Linear(), estimator=estimator)
        np.testing.assert_allclose(found, expected, rtol=1e-10)
        assert abs(found - im.mmd2(x, y, kernel=kernel, estimator=estimator)) < 0.05
    with pytest.raises(ValueError, match=r"Y needs >= 2 rows for the unbiased estimator, got 1"):
        model.mmd2(x, y[:1])
    with pytest.raises(ValueError, match="estimator must be one of 'unbiased', 'biased', got 'best'"):
        model.mmd2(x, y, estimator="best")


@pytest.mark.parametrize("sampling", spectral.SAMPLINGS)
def test_a_shift_costs_no_accuracy(level, sampling, rng):
    """The phases of rows around 1e6 would have errors of 0.1 in float32, were the rows not centred."""
    x = (rng.normal(size=(80, 20)) + 1e6).astype("float32")
    model = im.RandomFourierFeatures(100, kernel=im.RBF(4.0), sampling=sampling, random_state=0).fit(x)
    expected, reach = oracle(x, model._frequencies())
    found = model.transform(x)
    assert np.abs(found - model.amplitude_ * expected).max() <= TOLERANCES["float32"].kernel * reach


@pytest.mark.parametrize("sampling", spectral.SAMPLINGS)
@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e25, 1e36])
def test_float32_rows_of_any_size_have_their_features(sampling, scale, rng):
    x = rng.normal(size=(60, 5)).astype("float32")
    rows = x * np.float32(scale)
    found, mean = {}, {}
    for name, z, unit in (("plain", x, 1.0), ("scaled", rows, scale)):
        model = im.RandomFourierFeatures(90, kernel=im.RBF(2 * unit), sampling=sampling, random_state=0)
        found[name], mean[name] = model.fit_transform(z), model.mean(z)
        assert found[name].dtype == np.float32
    np.testing.assert_allclose(found["plain"], found["scaled"], atol=5e-6)
    np.testing.assert_allclose(mean["plain"], mean["scaled"], atol=5e-6)


@pytest.mark.parametrize("sampling", spectral.SAMPLINGS)
def test_float32_rows_near_the_end_of_their_format_do_not_overflow_on_the_way(sampling, rng):
    """Differences from the mean do, and the sums of the transforms."""
    x = (rng.uniform(-1, 1, size=(60, 5)) * 3.4e38).astype("float32")
    x[:50] = np.abs(x[:50])
    model = im.RandomFourierFeatures(90, kernel=im.RBF(1e27), sampling=sampling, random_state=0).fit(x)
    found = model.transform(x)
    assert found.dtype == np.float32 and np.abs(found).max() <= model.amplitude_ * (1 + 1e-6)
    np.testing.assert_allclose(model.mean(x), found.astype(np.float64).mean(axis=0), atol=1e-6)


def test_values_too_large_for_float64_are_refused(rng):
    model = im.RandomFourierFeatures(10, kernel=im.RBF(1e-3), random_state=0).fit(rng.normal(size=(9, 2)))
    for method in (model.transform, model.mean):
        with pytest.raises(
            ValueError, match=r"X must be small enough to multiply by the frequencies, got .*306"
        ):
            method([[1e306, 0.0]])


@pytest.mark.parametrize("method", ["transform", "mean"])
def test_values_that_are_not_finite_are_refused_with_their_position(method, rng):
    x = rng.normal(size=(50, 3))
    model = im.RandomFourierFeatures(10, random_state=0).fit(x)
    x[7, 1] = np.inf
    with pytest.raises(ValueError, match=r"X contains infinity \(1 value, first at row 7 column 1\)"):
        getattr(model, method)(x)
    x[9, 2] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN \(1 value, first at row 9 column 2\)"):
        getattr(model, method)(x)
    with im.config(assume_finite=True):
        assert np.isnan(getattr(model, method)(x)).any()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"kernel": im.Linear()}, ValueError, r"need a sum of RBF, .*, Laplacian, got Linear\(\)"),
        ({"kernel": im.RBF() + im.Energy()}, ValueError, r"need a sum of .*, got Energy\(\)"),
        ({"kernel": im.RBF}, TypeError, r"got the class RBF: write RBF\(\)"),
        (
            {"kernel": im.Laplacian(), "sampling": "structured"},
            ValueError,
            "sampling='structured' needs a kernel of the Euclidean distance, got Laplacian",
        ),
        ({"sampling": "best"}, ValueError, "'independent', 'orthogonal', 'structured', got 'best'"),
        ({"n_components": 0}, ValueError, "n_components must be an integer of at least 1, got 0"),
        ({"n_components": 2.5}, ValueError, "n_components must be an integer of at least 1, got 2.5"),
        ({"random_state": "x"}, TypeError, "random_state must be"),
    ],
)
def test_wrong_parameters_of_random_features_are_named(settings, error, message, rng):
    with pytest.raises(error, match=message):
        im.RandomFourierFeatures(**settings).fit(rng.normal(size=(9, 3)))


def test_out_is_checked(rng):
    x = rng.normal(size=(9, 3))
    model = im.RandomFourierFeatures(10, random_state=0).fit(x)
    with pytest.raises(ValueError, match=r"out must have shape \(9, 10\), got \(9, 11\)"):
        model.transform(x, out=np.empty((9, 11)))
    with pytest.raises(ValueError, match="out must have dtype float64, got float32"):
        model.transform(x, out=np.empty((9, 10), np.float32))


def test_a_seed_repeats_the_features_and_an_odd_number_is_rounded_up(rng):
    x = rng.normal(size=(30, 3))
    first, again, other = (
        im.RandomFourierFeatures(7, random_state=seed).fit_transform(x) for seed in (1, 1, 2)
    )
    assert first.shape == (30, 8)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_features_are_named_and_tables_and_tensors_are_taken(rng):
    pandas, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
    x = rng.normal(size=(30, 3))
    table = pandas.DataFrame(x, columns=["a", "b", "c"])
    for model in (im.RandomFourierFeatures(4, random_state=0), im.NystroemFeatures(4, random_state=0)):
        name = type(model).__name__.lower()
        plain = model.fit_transform(x)
        assert np.array_equal(model.transform(torch.from_numpy(x)), plain)
        framed = model.set_output(transform="pandas").fit_transform(table)
        assert framed.columns.tolist() == [f"{name}{i}" for i in range(4)]
        np.testing.assert_allclose(framed, plain, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_tensors_keep_their_float_type_and_take_an_output(rng, dtype):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(30, 3)).astype(dtype)
    kept = np.float64 if dtype == "float64" else np.float32
    for model in (im.RandomFourierFeatures(4, random_state=0), im.NystroemFeatures(4, random_state=0)):
        found = model.fit(torch.from_numpy(x)).transform(torch.from_numpy(x))
        np.testing.assert_array_equal(found.numpy(), model.fit(x).transform(x))
        assert found.numpy().dtype == kept
    out = torch.full((30, 4), float("nan"), dtype=getattr(torch, np.dtype(kept).name))
    fourier = im.RandomFourierFeatures(4, random_state=0).fit(x)
    assert fourier.transform(torch.from_numpy(x), out=out) is out
    np.testing.assert_array_equal(out.numpy(), fourier.transform(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_of_rows_on_a_device_are_those_of_numpy(device, rng, dtype):
    x, weights = rng.normal(size=(30, 3)).astype(dtype), rng.uniform(size=30)
    models = [
        *(im.RandomFourierFeatures(8, sampling=sampling, random_state=0) for sampling in spectral.SAMPLINGS),
        *(im.NystroemFeatures(5, selection=how, random_state=0) for how in ("uniform", "kmeans++")),
    ]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for model in models:
        plain = model.fit_transform(x)
        found = model.fit_transform(device(x))
        assert found.numpy().dtype == plain.dtype
        np.testing.assert_allclose(found.numpy(), plain, atol=tolerance)
        assert not any(isinstance(value, type(found)) for value in vars(model).values())
        if isinstance(model, im.RandomFourierFeatures):
            mean = model.mean(device(x), device(weights))
            assert isinstance(mean, np.ndarray)
            np.testing.assert_allclose(mean, model.mean(x, weights), atol=tolerance)
            apart = model.mmd2(device(x), device(x[:9] + 1))
            assert abs(apart - model.mmd2(x, x[:9] + 1)) <= tolerance


# -- Nystroem --


@pytest.mark.parametrize("dtype", DTYPES)
def test_nystroem_agrees_with_scikit_learn_on_the_same_landmarks(level, dtype, rng):
    x = rng.normal(size=(200, 6)).astype(dtype)
    model = im.NystroemFeatures(25, kernel=im.RBF(gamma=0.1), random_state=0).fit(x)
    found = model.transform(x)
    assert found.dtype == dtype and found.shape == (200, 25) and model.rank_ == 25
    # On rows that are all landmarks scikit-learn has no choice but their order.
    peer = Nystroem(gamma=0.1, n_components=25, random_state=0).fit(model.landmarks_.astype(np.float64))
    expected = peer.transform(x.astype(np.float64))
    bound = {"float32": 2e-4, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=bound)
    # The same features up to a rotation: here a permutation of the landmarks.
    np.testing.assert_allclose(found[:, peer.component_indices_], expected, atol=10 * bound)


@pytest.mark.parametrize("selection", ["uniform", "kmeans++"])
@pytest.mark.parametrize("kernel", [im.RBF(), im.Laplacian(), im.Linear(), im.Polynomial(degree=2)], ids=repr)
def test_nystroem_is_exact_when_every_row_is_a_landmark(kernel, selection, rng):
    x = rng.normal(size=(30, 4))
    model = im.NystroemFeatures(100, kernel=kernel, selection=selection, random_state=0).fit(x)
    found = model.transform(x)
    assert found.shape == (30, 30)
    expected = im.kernel_matrix(x, kernel=model.kernel_)
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-9 * np.abs(expected).max())


def test_nystroem_leaves_out_directions_that_are_not_there(rng):
    x = np.repeat(rng.normal(size=(6, 3)), 5, axis=0)
    model = im.NystroemFeatures(30, random_state=0).fit(x)
    assert model.rank_ == 6
    found = model.transform(x)
    np.testing.assert_allclose(found @ found.T, im.kernel_matrix(x, kernel=model.kernel_), atol=1e-9)
    assert im.NystroemFeatures(5, kernel=im.Linear(), random_state=0).fit(rng.normal(size=(30, 2))).rank_ == 2


def test_kmeans_landmarks_lie_further_apart(rng):
    x = np.concatenate([rng.normal(size=(990, 2)) * 0.01, rng.normal(size=(10, 2)) * 10])
    far = im.NystroemFeatures(8, selection="kmeans++", random_state=0).fit(x).landmarks_
    assert (np.abs(far) > 1).any(axis=1).sum() >= 5


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"kernel": im.Energy()}, ValueError, r"need a positive definite kernel, got Energy\(\)"),
        ({"kernel": "rbf"}, TypeError, "kernel must be a kernel object"),
        ({"selection": "best"}, ValueError, r"selection must be one of 'uniform', 'kmeans\+\+', got 'best'"),
        ({"n_components": True}, ValueError, "n_components must be an integer of at least 1, got True"),
    ],
)
def test_wrong_parameters_of_nystroem_are_named(settings, error, message, rng):
    with pytest.raises(error, match=message):
        im.NystroemFeatures(**settings).fit(rng.normal(size=(9, 3)))


@pytest.mark.parametrize("part", ["signs_", "scales_", "mean_"])
def test_a_file_whose_parts_do_not_fit_together_is_refused(part, rng, tmp_path):
    pytest.importorskip("isthmus._native", reason="the compiled module is not built")
    model = im.RandomFourierFeatures(130, sampling="structured", random_state=0).fit(rng.normal(size=(9, 3)))
    setattr(model, part, getattr(model, part)[..., :-1])
    with pytest.raises(im.ModelFileError, match="its values do not make a model"):
        im.save(model, tmp_path / "model")
    assert not any(tmp_path.iterdir())
