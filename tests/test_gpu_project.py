"""Operations that multiply rows by a matrix, as the kernels of csrc/cuda compute them: on an emulated GPU."""

from typing import Any

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, TOLERANCES, largest
from isthmus import arrays, gpu, reference, spectral
from isthmus.ops import ACTIVATIONS

native = pytest.importorskip("isthmus._native")

# dtype and compute capability: plain float32, tensor cores, float64
PATHS = [("float32", 70), ("float32", 90), ("float64", 90)]
# (n, d, q) around the borders of tiles, slabs and 16 bytes
SHAPES = [
    *((1, 1, 1), (2, 63, 64), (63, 2, 127), (64, 64, 65), (65, 130, 2)),
    *((127, 33, 63), (128, 16, 64), (129, 7, 130), (257, 20, 4)),
]


class Device:
    """The operations on numpy arrays, through poisoned outputs whose surroundings must stay as they are."""

    def __init__(self, emulated_gpu: Any, capability: int) -> None:
        self.gpu, self.torch = emulated_gpu, emulated_gpu.torch
        self.gpu.capability = capability

    def _there(self, x: Any) -> Any:
        return None if x is None else self.torch.from_numpy(x)

    def _run(self, operation: Any, *arguments: Any, outputs: Any) -> Any:
        buffers, views = [], []
        for shape, dtype, offset in outputs:
            size = int(np.prod(shape))
            buffer = self.torch.full((offset + size + 8,), 7.0, dtype=getattr(self.torch, dtype))
            view = buffer[offset : offset + size].reshape(shape)
            view.fill_(np.nan)
            buffers.append((buffer, offset, size))
            views.append(view)
        operation(native, self.gpu, *arguments, *views, arrays.home(views[0]))
        for buffer, offset, size in buffers:
            assert (buffer[:offset] == 7).all() and (buffer[offset + size :] == 7).all()
        return [view.numpy() for view in views]

    def project(self, x: Any, w: Any, b: Any, activation: str, offset: int = 8) -> Any:
        given = (self._there(x), self._there(w), self._there(b), activation)
        outputs = [((len(x), w.shape[1]), x.dtype.name, offset)]
        return self._run(gpu.project, *given, outputs=outputs)[0]

    def features(self, x: Any, drawn: Any, amplitude: float = 0.5, offset: int = 8) -> Any:
        outputs = [((len(x), 2 * drawn.matrix.shape[1]), x.dtype.name, offset)]
        return self._run(gpu.fourier_features, self._there(x), drawn, amplitude, outputs=outputs)[0]

    def sums(self, x: Any, drawn: Any, weights: Any = None) -> Any:
        outputs = [((2 * drawn.matrix.shape[1],), "float64", 8)]
        given = (self._there(x), self._there(weights), drawn)
        return self._run(gpu.fourier_sums, *given, outputs=outputs)[0]

    def moments(self, x: Any, weights: Any, origin: Any) -> Any:
        d = x.shape[1]
        given = (self._there(x), self._there(weights), self._there(origin))
        return self._run(gpu.moments, *given, outputs=[((d,), "float64", 8), ((d, d), "float64", 8)])


def placed(x, i):
    """The same rows: packed, from an odd address on, far apart, or far apart on borders of 16 bytes."""
    n, d = x.shape
    stride, offset = ((d, 0), (d, 1), (d + 3, 0), (-(-d // 4) * 4 + 4, 0))[i % 4]
    buffer = np.full(offset + n * stride, np.nan, x.dtype)
    rows = buffer[offset:].reshape(n, stride)[:, :d]
    rows[...] = x
    return rows


def draw(rng, d, q, sampling, dtype, centre=0.0):
    drawn = spectral.draw(im.RBF(gamma=0.5 / d), np.full(d, centre), q, sampling, rng)
    return drawn.cast(np.dtype(dtype))


def waves(x, drawn):
    """Cosines and sines of the phases in float64, and the tolerance's factor."""
    phases = (x.astype(np.float64) - drawn.centre) @ drawn.matrix.astype(np.float64)
    return np.concatenate([np.cos(phases), np.sin(phases)], 1), largest(phases)


@pytest.mark.parametrize(("dtype", "capability"), PATHS)
def test_projections_equal_the_formula_around_the_borders_of_tiles(emulated_gpu, dtype, capability, rng):
    device = Device(emulated_gpu, capability)
    for i, (n, d, q) in enumerate(SHAPES):
        x, w = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(d, q)).astype(dtype)
        b = None if i % 3 == 0 else rng.normal(size=q).astype(dtype)
        z = x.astype(np.float64) @ w.astype(np.float64) + (0 if b is None else b.astype(np.float64))
        for activation in {"identity", list(ACTIVATIONS)[i % len(ACTIVATIONS)]}:
            found = device.project(placed(x, i), w, b, activation, offset=8 - i % 2)
            error = np.abs(found - reference.ACTIVATIONS[activation](z, np)).max()
            assert error <= TOLERANCES[dtype].kernel * largest(z), (n, d, q, activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "capability"), PATHS)
def test_activations_of_extreme_values_are_their_limits(emulated_gpu, dtype, capability, activation):
    x = np.array([[-1e30], [-1e4], [-100.0], [-0.0], [100.0], [1e4]], dtype=dtype)
    x = x[1:] if activation == "cos" else x
    z = x[:, :1].astype(np.float64)
    found = Device(emulated_gpu, capability).project(x, np.ones((1, 1), dtype), None, activation)
    limits = {
        "identity": z,
        "relu": np.maximum(z, 0),
        "tanh": np.tanh(z),
        "logistic": 1 / (1 + np.exp(np.minimum(-z, 700))),
        "cos": np.cos(z),
    }
    assert (np.abs(found - limits[activation]) <= 1e-6 * np.maximum(1, np.abs(z))).all()


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 3e-7), ("float64", 1e-15)])
def test_cosine_and_sine_are_right_to_their_last_digits_for_any_number_of_turns(emulated_gpu, dtype, bound):
    turns = np.concatenate([np.arange(-60, 60), [5000, 31415, 99999]]) * (np.pi / 2)
    x = np.concatenate([turns, turns + 0.7, [1e-30, 1e5, -3e6, 2.0**24 + 2]]).astype(dtype)[:, None]
    drawn = spectral.Frequencies(np.ones((1, 1), dtype), np.zeros(1))
    expected, _ = waves(x, drawn)
    found = Device(emulated_gpu, 70).features(x, drawn, 1.0)
    assert np.abs(found - expected).max() <= bound
    found = Device(emulated_gpu, 70).project(x, drawn.matrix, None, "cos")
    assert np.abs(found - expected[:, :1]).max() <= bound


@pytest.mark.parametrize("sampling", ["independent", "structured"])
@pytest.mark.parametrize(("dtype", "capability"), PATHS)
def test_fourier_features_and_sums_equal_the_formula(emulated_gpu, dtype, capability, sampling, rng):
    device = Device(emulated_gpu, capability)
    shapes = [(1, 1, 1), (64, 33, 65), (129, 17, 4), (3, 65, 127), (130, 100, 200), (7, 600, 1025)]
    for i, (n, d, q) in enumerate(shapes[:-2] if sampling == "independent" else shapes):
        x, weights = rng.normal(size=(n, d)).astype(dtype), rng.uniform(0, 2, n).astype(dtype)
        drawn, x = draw(rng, d, q, sampling, dtype, 0.3), placed(x, i)
        expected, reach = waves(x, drawn)
        bound = TOLERANCES[dtype].kernel * reach
        assert np.abs(device.features(x, drawn, offset=8 - i % 2) - 0.5 * expected).max() <= bound, (n, d, q)
        assert np.abs(device.sums(x, drawn) - expected.sum(0)).max() <= n * bound, (n, d, q)
        expected_sums = weights.astype(np.float64) @ expected
        assert np.abs(device.sums(x, drawn, weights) - expected_sums).max() <= 2 * n * bound, (n, d, q)


@pytest.mark.parametrize("sampling", ["independent", "structured"])
@pytest.mark.parametrize("capability", [70, 90])
def test_a_shift_costs_the_phases_no_accuracy(emulated_gpu, capability, sampling, rng):
    x = (rng.normal(size=(70, 9)) + 1000).astype("float32")
    drawn = draw(rng, 9, 33, sampling, "float32", 1000.3)
    expected, reach = waves(x, drawn)
    device = Device(emulated_gpu, capability)
    assert reach < 20
    assert np.abs(device.features(x, drawn) - 0.5 * expected).max() <= 2e-6 * reach
    assert np.abs(device.sums(x, drawn) / 70 - expected.mean(0)).max() <= 5e-7 * reach


def test_structured_frequencies_too_wide_for_shared_memory_are_taken_as_a_matrix(
    emulated_gpu, monkeypatch, rng
):
    x, drawn = rng.normal(size=(2, 70)), draw(rng, 70, 3, "structured", "float64")
    expected, reach = waves(x, drawn)
    monkeypatch.setattr(native, "gpu_most_structured_width", lambda: 64)
    found = Device(emulated_gpu, 90).features(x, drawn)
    assert np.abs(found - 0.5 * expected).max() <= TOLERANCES["float64"].kernel * reach
    assert not any("structured" in name for name in emulated_gpu.launched)


@pytest.mark.parametrize("sampling", ["independent", "structured"])
def test_a_phase_that_is_not_finite_spoils_no_other_row(emulated_gpu, sampling, rng):
    x, drawn = rng.normal(size=(40, 5)).astype("float32"), draw(rng, 5, 70, sampling, "float32")
    device = Device(emulated_gpu, 90)
    clean = device.features(x, drawn)
    x[3, 2], x[17, 0] = np.nan, np.inf
    found = device.features(x, drawn)
    assert np.isnan(found[[3, 17]]).all()
    others = np.delete(np.arange(40), [3, 17])
    assert np.array_equal(found[others], clean[others])


@pytest.mark.parametrize(("dtype", "capability"), PATHS)
def test_moments_equal_the_formula_around_the_borders_of_tiles(emulated_gpu, dtype, capability, rng):
    device = Device(emulated_gpu, capability)
    shapes = [(1, 1), (2, 63), (64, 64), (65, 65), (33, 129), (300, 2)]
    for i, (n, d) in enumerate(shapes):
        x = (rng.normal(size=(n, d)) + 30).astype(dtype)
        weights = rng.uniform(0, 2, n).astype(dtype) if i % 2 else None
        origin = (x.mean(0) + 0.1).astype(dtype)
        sums, scatter = device.moments(placed(x, i), weights, origin)
        factors = np.ones(n) if weights is None else weights.astype(np.float64)
        centred = x.astype(np.float64) - origin
        expected = (centred * factors[:, None]).T @ centred
        scale = TOLERANCES[dtype].kernel * max(1.0, float(expected.diagonal().max()))
        assert np.abs(sums - factors @ centred).max() <= scale, (n, d)
        assert np.abs(scatter - expected).max() <= 0.2 * scale, (n, d)
        assert np.array_equal(scatter, scatter.T)


def test_many_rows_of_one_block_are_promoted_to_float64_on_the_way(emulated_gpu, rng):
    x = rng.normal(size=(2200, 65))
    sums, scatter = Device(emulated_gpu, 90).moments(x, None, np.zeros(65))
    np.testing.assert_allclose(sums, x.sum(0), rtol=0, atol=1e-11)
    np.testing.assert_allclose(scatter, x.T @ x, rtol=0, atol=1e-11)


def test_a_nan_reaches_its_column_of_the_moments_and_no_other(emulated_gpu, rng):
    x = rng.normal(size=(20, 70)).astype("float32")
    x[3, 66] = np.nan
    sums, scatter = Device(emulated_gpu, 90).moments(x, None, np.zeros(70, "float32"))
    kept = np.delete(np.arange(70), 66)
    assert np.isnan(sums[66]) and np.isnan(scatter[66]).all() and np.isnan(scatter[:, 66]).all()
    assert np.isfinite(sums[kept]).all() and np.isfinite(scatter[np.ix_(kept, kept)]).all()


@pytest.mark.parametrize(("dtype", "capability"), PATHS)
def test_the_order_of_threads_changes_no_bit(emulated_gpu, dtype, capability, rng):
    x, w = rng.normal(size=(129, 20)).astype(dtype), rng.normal(size=(20, 3)).astype(dtype)
    weights = rng.uniform(0, 2, 129).astype(dtype)
    device, found = Device(emulated_gpu, capability), []
    plain, structured = (draw(rng, 20, 3, s, dtype) for s in ("independent", "structured"))
    for emulated_gpu.reverse in (False, True):
        results = [device.project(x, w, None, "cos"), *device.moments(x[:40], weights[:40], x[0].copy())]
        for drawn in (plain, structured):
            results += [device.features(x, drawn), device.sums(x, drawn, weights)]
        found.append([part.tobytes() for part in results])
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sampling", ["independent", "structured"])
def test_features_of_a_row_do_not_depend_on_the_rows_beside_it(emulated_gpu, sampling, dtype, rng):
    x, drawn = rng.normal(size=(140, 9)).astype(dtype), draw(rng, 9, 70, sampling, dtype)
    device = Device(emulated_gpu, 90)
    whole = device.features(x, drawn)
    for rows in (slice(0, 1), slice(5, 12), slice(100, 140)):
        assert np.array_equal(device.features(x[rows], drawn), whole[rows])


def test_plans_refuse_arrays_that_the_kernels_would_misread():
    chip, x, out = (90, 3), (1 << 20, (4, 5), (5, 1)), (1 << 24, (4, 6), (6, 1))
    plan = native.plan_project
    with pytest.raises(ValueError, match="wrong shape"):
        plan(chip, int, "float32", x, (1 << 22, (5, 7), (7, 1)), None, "cos", out)
    with pytest.raises(ValueError, match="last axis"):
        plan(chip, int, "float32", (1 << 20, (4, 5), (1, 4)), (1 << 22, (5, 6), (6, 1)), None, "cos", out)
    with pytest.raises(ValueError, match="no activation is named 'sine'"):
        plan(chip, int, "float32", x, (1 << 22, (5, 6), (6, 1)), None, "sine", out)
    wide = native.gpu_most_structured_width() * 2
    parts = ((1 << 20, (3, wide), (wide, 1)), (1 << 22, (wide,), (1,)))
    frequencies = ((1 << 22, (5,), (1,)), None, *parts, wide)
    with pytest.raises(ValueError, match="power of two"):
        native.plan_fourier_features(chip, int, "float32", x, frequencies, 1.0, out)
