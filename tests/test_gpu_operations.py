"""Operations on arrays of a GPU, from the public functions to kernels that an emulated GPU runs."""

from itertools import pairwise

import isthmus as im
import numpy as np
import pytest
from conftest import DTYPES, KERNELS, TOLERANCES, largest, oracle_matrix, oracle_mmd2
from gpu_checks import CHECKS
from isthmus import arrays, backends, cupy_module

CHIPS = {"plain": 75, "tensor": 90}
PATHS = [("float32", "plain"), ("float32", "tensor"), ("float64", "plain")]
RBF = im.RBF(gamma=0.02)
# Sums of kernels in one launch, in several, and over all three inputs.
SOME_KERNELS = {
    name: KERNELS[name] for name in ("rbf", "rbf-chain", "matern32", "energy", "polynomial", "sum")
}


@pytest.fixture(params=PATHS, ids="-".join)
def path(request, emulated_gpu):
    """(dtype, the emulated GPU): each dtype with each way to form a tile."""
    dtype, chip = request.param
    emulated_gpu.capability = CHIPS[chip]
    return dtype, emulated_gpu


def rows(rng, n, d, dtype, offset=0.0):
    return (rng.normal(size=(n, d)) + offset).astype(dtype)


def on_gpu(there, *given):
    return [there.torch.from_numpy(x.copy()) for x in given]


def check_ran(there, *consumers):
    told = backends.explain()
    assert (told.backend, told.level, told.notes) == ("native", None, ())
    tile = "tensor" if there.capability == 90 and told.dtype == "float32" else told.dtype
    for consumer in consumers:
        names = (f"{consumer}_{tile}_", "small_") if consumer == "sum" else f"{consumer}_{tile}_"
        assert any(name.startswith(names) for name in there.launched), there.launched


@pytest.mark.parametrize(
    ("n", "m", "d", "offset"), [(1, 2, 1, 0), (63, 64, 3, 0), (65, 129, 19, 100), (127, 131, 40, 0)]
)
def test_every_operation_agrees_around_the_tiles(path, n, m, d, offset, rng):
    dtype, there = path
    x, y, v = rows(rng, n, d, dtype, offset), rows(rng, m, d, dtype, offset + 0.3), rows(rng, m, 3, dtype)
    gx, gy, gv = on_gpu(there, x, y, v)
    tolerance, expected = TOLERANCES[dtype], oracle_matrix(x, y, RBF)
    matrix = im.kernel_matrix(gx, gy, kernel=RBF)
    check_ran(there, "store")
    assert matrix.dtype == gx.dtype
    assert np.abs(matrix.numpy() - expected).max() <= tolerance.kernel
    product = im.kernel_matmul(gx, gy, gv, kernel=RBF)
    check_ran(there, "matmul")
    assert np.abs(product.numpy() - expected @ v).max() <= tolerance.kernel * np.abs(v).sum(0).max()
    own = oracle_matrix(y, y, RBF)
    assert np.abs(im.kernel_matrix(gy, kernel=RBF).numpy() - own).max() <= tolerance.kernel
    np.fill_diagonal(own, 0)
    square = im.kernel_matmul(gy, None, gv, kernel=RBF, skip_diagonal=True)
    assert np.abs(square.numpy() - own @ v).max() <= tolerance.kernel * np.abs(v).sum(0).max()
    value = im.mmd2(gx, gy, kernel=RBF, estimator="biased")
    check_ran(there, "sum")
    assert value.shape == () and value.dtype == there.torch.float64
    assert abs(float(value) - oracle_mmd2(x, y, RBF, "biased")) <= tolerance.mmd


@pytest.mark.parametrize("kernel", SOME_KERNELS.values(), ids=SOME_KERNELS.keys())
def test_every_kind_of_kernel_agrees(path, kernel, rng):
    dtype, there = path
    x, y = rows(rng, 70, 5, dtype), rows(rng, 40, 5, dtype, 0.5)
    gx, gy = on_gpu(there, x, y)
    tolerance, expected = TOLERANCES[dtype], oracle_matrix(x, y, kernel)
    scale = largest(oracle_matrix(np.concatenate([x, y]), np.concatenate([x, y]), kernel))
    assert (
        np.abs(im.kernel_matrix(gx, gy, kernel=kernel).numpy() - expected).max() <= tolerance.kernel * scale
    )
    ones = there.torch.ones(40, dtype=gx.dtype)
    found = im.kernel_matmul(gx, gy, ones, kernel=kernel).numpy()
    assert np.abs(found - expected.sum(1)).max() <= 40 * tolerance.kernel * scale
    for estimator in ("unbiased", "biased"):
        value = float(im.mmd2(gx, gy, kernel=kernel, estimator=estimator))
        assert abs(value - oracle_mmd2(x, y, kernel, estimator)) <= tolerance.mmd * scale
    check_ran(there)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_batches_and_weights_agree(emulated_gpu, dtype, estimator, rng):
    x = np.stack([rows(rng, 20, 4, dtype, i) for i in range(3)])
    y = np.stack([rows(rng, 33, 4, dtype, 2 * i) for i in range(3)])
    y[2, :20] = x[2]
    shared, each = rng.uniform(0.1, 2, 20), 1000 * rng.uniform(0.1, 2, (3, 33))
    each[1, 4] = 0.0
    gx, gy, gs, ge = on_gpu(emulated_gpu, x, y, shared, each)
    for wx, wy, given in (
        (None, None, {}),
        (shared, None, {"x_weights": gs}),
        (shared, each, {"x_weights": gs, "y_weights": ge}),
    ):
        found = im.mmd2(gx, gy, kernel=RBF, estimator=estimator, **given)
        assert found.shape == (3,)
        for i in range(3):
            w = None if wy is None else wy[i]
            expected = oracle_mmd2(x[i], y[i], RBF, estimator, wx, w)
            assert abs(float(found[i]) - expected) <= TOLERANCES[dtype].mmd
    check_ran(emulated_gpu, "sum")


def test_rows_are_centred_on_the_mean_of_their_item(emulated_gpu, rng, monkeypatch):
    """No result shows it: pairs that lose their digits are formed again from the rows."""
    x, y = (rng.normal(size=(2, n, 2)) + np.array([0.0, 10.0])[:, None, None] for n in (520, 20))
    spaces, plain = [], arrays.Home.workspace
    monkeypatch.setattr(
        arrays.Home, "workspace", lambda self, size: spaces.append(plain(self, size)) or spaces[-1]
    )
    im.mmd2(*on_gpu(emulated_gpu, x, y), kernel=RBF)
    means = np.concatenate([x, y], axis=1).mean(1).ravel()
    found = np.lib.stride_tricks.sliding_window_view(spaces[0].numpy().view(np.float64), means.size)
    assert np.isclose(found, means, rtol=1e-12).all(1).sum() == 1


def test_equal_samples_have_a_v_statistic_of_0(emulated_gpu, rng):
    (x,) = on_gpu(emulated_gpu, rows(rng, 30, 3, "float32"))
    w, other = emulated_gpu.torch.arange(1.0, 31.0), emulated_gpu.torch.ones(30)
    same = {"kernel": RBF, "estimator": "biased"}
    assert float(im.mmd2(x, x.clone(), **same)) == 0
    assert float(im.mmd2(x, x, x_weights=w, y_weights=w.clone(), **same)) == 0
    assert float(im.mmd2(x, x, x_weights=w, y_weights=other, **same)) > 1e-4
    assert float(im.mmd2(x, x, x_weights=w, **same)) > 1e-4
    found = im.mmd_matrix([x, x + 1, x.clone()], **same)
    assert found[0, 2] == found[2, 0] == 0 and (found[:2, 1] != 0).tolist() == [True, False]


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_all_pairs_of_samples_equal_single_calls(emulated_gpu, estimator, rng):
    samples = [rows(rng, n, 3, "float64", n / 50) for n in (20, 31, 25)]
    weights = [None, rng.uniform(0.5, 2, 31), None]
    given = on_gpu(emulated_gpu, *samples)
    shares = [None, *on_gpu(emulated_gpu, weights[1]), None]
    found = im.mmd_matrix(given, kernel=RBF, estimator=estimator, weights=shares).numpy()
    assert np.array_equal(found, found.T) and not found.diagonal().any()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = oracle_mmd2(samples[i], samples[j], RBF, estimator, weights[i], weights[j])
        assert abs(found[i, j] - expected) <= 1e-14


def test_sums_over_chosen_pairs_of_blocks_carry_their_weights(path, rng):
    dtype, there = path
    z, w = rows(rng, 150, 4, dtype), rng.uniform(0, 3, 150)
    offsets, pairs = [0, 3, 133, 150], [[2, 0], [1, 1], [0, 1], [2, 2]]
    gz, gw = on_gpu(there, z, w)
    matrix = oracle_matrix(z, z, RBF) * w[:, None] * w
    blocks = [slice(0, 3), slice(3, 133), slice(133, 150)]
    sums, diagonals = im.block_sums(gz, offsets, pairs, kernel=RBF, weights=gw)
    check_ran(there, "sum")
    np.testing.assert_allclose(diagonals.numpy(), [(w[b] ** 2).sum() for b in blocks], rtol=1e-6)
    for value, (a, b) in zip(sums.tolist(), pairs, strict=True):
        part = matrix[blocks[a], blocks[b]]
        expected = part.sum() - (np.trace(part) if a == b else 0)
        assert abs(value - expected) <= TOLERANCES[dtype].kernel * w[blocks[a]].sum() * w[blocks[b]].sum()


def test_the_order_of_threads_changes_no_bit(path, rng):
    dtype, there = path
    x, y, v = on_gpu(there, *(rows(rng, n, 6, dtype) for n in (129, 70, 70)))
    kernel = RBF + im.Laplacian(scale=5.0)
    results = []
    for there.reverse in (False, True):
        results.append(
            (
                im.kernel_matrix(x, y, kernel=kernel),
                im.kernel_matmul(x, y, v, kernel=kernel),
                im.mmd2(x, y, kernel=kernel),
            )
        )
    for forwards, backwards in zip(*results, strict=True):
        assert there.torch.equal(forwards, backwards)


def test_rows_apart_are_read_where_they_are(emulated_gpu, rng, monkeypatch):
    """Columns of a wider array, every second row, a repeated row; a transposed array is copied."""
    torch = emulated_gpu.torch
    (wide,) = on_gpu(emulated_gpu, rows(rng, 80, 9, "float32"))
    (tall,) = on_gpu(emulated_gpu, rows(rng, 4, 40, "float32"))
    given = [wide[::2, 3:7], wide[:40, :4], wide[:1, :4].expand(40, 4), tall.T]
    copies = []
    monkeypatch.setattr(
        torch.Tensor,
        "contiguous",
        lambda x, plain=torch.Tensor.contiguous: copies.append(x) or plain(x),
    )
    for x in given:
        found = im.kernel_matrix(x, given[1], kernel=RBF)
        assert np.abs(found.numpy() - oracle_matrix(x, given[1], RBF)).max() <= TOLERANCES["float32"].kernel
    assert len(copies) == 1 and copies[0].shape == tall.T.shape
    batch = wide.reshape(4, 20, 9)[::2, :, 1:5]
    found = im.mmd2(batch, batch.flip(0), kernel=RBF)
    for i in range(2):
        expected = oracle_mmd2(batch[i], batch[1 - i], RBF, "unbiased")
        assert abs(float(found[i]) - expected) <= TOLERANCES["float32"].mmd


def test_tensors_that_need_a_gradient_and_out_are_taken(emulated_gpu, rng):
    x = rows(rng, 30, 3, "float32")
    (given,) = on_gpu(emulated_gpu, x)
    out = emulated_gpu.poisoned((30, 30), np.dtype(np.float32))
    found = im.kernel_matrix(given.requires_grad_(), kernel=RBF, out=out)
    assert found is out and not found.requires_grad
    assert np.abs(found.numpy() - oracle_matrix(x, x, RBF)).max() <= TOLERANCES["float32"].kernel


def test_fixed_kernels_never_wait_for_the_gpu(emulated_gpu, rng, monkeypatch):
    """No value of a tensor is read by the host, none of the host's arrays is copied: a graph captures all."""
    torch = emulated_gpu.torch
    x, y, w = on_gpu(emulated_gpu, rows(rng, 20, 3, "float32"), rows(rng, 20, 3, "float32"), np.ones(20))
    batch = torch.stack([x, y])
    features = im.RandomFourierFeatures(8, kernel=RBF, random_state=0).fit(x)
    first = features.transform(x)  # the first use copies the frequencies to the GPU

    def refuse(*_, **__):
        raise AssertionError("the host waits for the GPU")

    for name in (
        "__bool__",
        "__float__",
        "__int__",
        "item",
        "tolist",
        "numpy",
        "cpu",
        "__array__",
        "nonzero",
    ):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    for name in ("asarray", "as_tensor", "tensor", "from_numpy"):
        plain = getattr(torch, name)
        monkeypatch.setattr(
            torch,
            name,
            lambda a, *rest, plain=plain, **how: (
                plain(a, *rest, **how) if isinstance(a, torch.Tensor) else refuse()
            ),
        )
    kernel = RBF + im.Polynomial(degree=2)
    for estimator in ("unbiased", "biased"):
        im.mmd2(x, y, kernel=kernel, estimator=estimator)
        im.mmd2(batch, batch, kernel=kernel, estimator=estimator, x_weights=w)
        im.mmd_matrix([x, y, x], kernel=kernel, estimator=estimator, weights=[w, None, None])
    im.kernel_matrix(x, y, kernel=kernel)
    im.kernel_matmul(x, None, y, kernel=kernel, skip_diagonal=True)
    im.block_sums(x, [0, 4, 20], kernel=kernel, weights=w)
    im.witness(x, y, x, kernel=kernel)
    im.project(x, y.T)
    im.mmd2_grad(x, y, kernel=kernel, x_weights=w)
    again = features.transform(x)
    monkeypatch.undo()
    assert torch.equal(first, again)


def test_a_map_that_is_fitted_again_has_new_frequencies_on_the_gpu(emulated_gpu, rng):
    x = rows(rng, 20, 3, "float32")
    (there,) = on_gpu(emulated_gpu, x)
    features = im.RandomFourierFeatures(8, random_state=0)
    for kernel in (RBF, im.RBF(gamma=0.01)):
        features.set_params(kernel=kernel).fit(there)
        phases = (x - features.mean_) @ features.frequencies_
        expected = features.amplitude_ * np.hstack([np.cos(phases), np.sin(phases)])
        np.testing.assert_allclose(features.transform(there).numpy(), expected, atol=1e-5)


def test_what_is_not_finite_shows_in_the_result(emulated_gpu, rng):
    """The host does not look: that would wait for the GPU. Infinity is far away."""
    (x,) = on_gpu(emulated_gpu, rows(rng, 20, 3, "float32"))
    far = x.clone()
    x[3, 1], far[3, 1] = float("inf"), 1e6
    expected = oracle_mmd2(far.numpy(), far.numpy()[::2] + 1, RBF, "unbiased")
    assert abs(float(im.mmd2(x, far[::2] + 1, kernel=RBF)) - expected) <= TOLERANCES["float32"].mmd
    x[3, 1] = float("nan")
    matrix = im.kernel_matrix(x, kernel=RBF)
    assert matrix.isnan()[3, 4] and not matrix.isnan()[4, 5]
    assert im.mmd2(x, x + 1, kernel=RBF).isnan()
    assert im.mmd2(x[4:], x[4:] + 1, kernel=RBF, x_weights=x.new_zeros(16)).isnan()


@pytest.mark.parametrize("count", [20, 150], ids=["small", "tiles"])
@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize(
    "kernel",
    [im.Matern(nu=1.5, scale=5.0), im.RationalQuadratic(scale=4.0, alpha=60.0)],
    ids=["matern", "rq"],
)
def test_a_row_whose_squares_overflow_is_as_far_as_rows_can_be(emulated_gpu, kernel, capability, count, rng):
    emulated_gpu.capability = capability
    x, y = rows(rng, count, 4, "float32"), rows(rng, count, 4, "float32", 0.5)
    x[3, 1] = 1e25
    gx, gy = on_gpu(emulated_gpu, x, y)
    expected = oracle_mmd2(x.astype(np.float64), y.astype(np.float64), kernel, "biased")
    found = float(im.mmd2(gx, gy, kernel=kernel, estimator="biased"))
    assert abs(found - expected) <= 1e-6


def test_gradients_tests_features_and_moments_run_there(path, rng):
    dtype, there = path
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    x, y = rows(rng, 70, 5, dtype), rows(rng, 90, 5, dtype, 0.5)
    gx, gy, w, b = on_gpu(there, x, y, rows(rng, 5, 3, dtype), rows(rng, 1, 3, dtype)[0])

    def ran(*kernels):
        assert backends.explain().backend == "native", backends.explain()
        for kernel in kernels:
            assert any(name.startswith(kernel) for name in there.launched), there.launched
        there.launched.clear()

    for found, expected in zip(im.mmd2_grad(gx, gy, kernel=RBF), im.mmd2_grad(x, y, kernel=RBF), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, atol=tolerance)
    ran("slopes", "pull", "place_gradients", "grad_values")
    np.testing.assert_allclose(
        im.project(gx, w, b, activation="tanh").numpy(), np.tanh(x @ w.numpy() + b.numpy()), atol=tolerance
    )
    ran("project")
    features = im.RandomFourierFeatures(6, kernel=RBF, random_state=0).fit(x)
    np.testing.assert_allclose(features.transform(gx).numpy(), features.transform(x), atol=tolerance)
    np.testing.assert_allclose(features.mean(gx), features.mean(x), atol=tolerance)
    ran("features", "feature_sums")
    arguments = {"kernel": RBF, "n_permutations": 40, "random_state": 0}
    plain, test = im.two_sample_test(x, y, **arguments), im.two_sample_test(gx, gy, **arguments)
    rounded = there.capability >= 80 and dtype == "float32"
    ran(f"permuted_{('halves' if there.capability == 90 else 'bf16') if rounded else dtype}")
    assert abs(test.statistic - plain.statistic) <= tolerance
    assert np.abs(test.null - plain.null).max() <= (0.02 * plain.null.std() if rounded else tolerance)
    assert abs(test.pvalue - plain.pvalue) <= 1 / 41
    drawn = im.permuted_mmd2(gx, gy, kernel=RBF, n_permutations=40, random_state=0)
    ran(f"permuted_{dtype}")
    expected = im.permuted_mmd2(x, y, kernel=RBF, n_permutations=40, random_state=0)
    np.testing.assert_allclose(drawn, expected, atol=tolerance)
    moved = im.CORAL().fit(gx, X_target=gy).transform(gx, domain="source")
    ran("moments", "add_scatters")
    np.testing.assert_allclose(
        moved.numpy(), im.CORAL().fit(x, X_target=y).transform(x, domain="source"), atol=100 * tolerance
    )


@pytest.mark.parametrize(("check", "argument"), CHECKS.values(), ids=CHECKS.keys())
def test_the_checks_of_a_real_gpu_hold_on_the_emulated_one(emulated_gpu, check, argument, rng, monkeypatch):
    """In the dtype that is quickly emulated, as the only launcher; other paths have their own tests here."""
    monkeypatch.setattr(cupy_module, "compiler", lambda module: (emulated_gpu, ""))
    with im.config(backend="nvrtc"):
        check(emulated_gpu.torch.from_numpy, "float64", rng, argument)
    assert backends.explain().backend == "nvrtc" and emulated_gpu.launched


def test_many_items_are_described_in_one_launch(emulated_gpu, rng):
    x, y = rng.normal(size=(90, 3, 2)), rng.normal(size=(90, 2, 2))
    found = im.mmd2(*on_gpu(emulated_gpu, x, y), kernel=RBF).numpy()
    assert emulated_gpu.launched.count("describe") == 1
    for value, a, b in zip(found, x, y, strict=True):
        assert abs(value - oracle_mmd2(a, b, RBF, "unbiased")) <= TOLERANCES["float64"].mmd


def test_tables_without_any_order_arrive_whole(emulated_gpu, rng):
    """More words than a launch carries, and some progressions among them."""
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 4, 70))])
    pairs = np.concatenate([rng.integers(70, size=(400, 2)), np.stack([np.arange(70)] * 2, 1)])
    z = rng.normal(size=(offsets[-1], 2))
    sums, diagonals = im.block_sums(*on_gpu(emulated_gpu, z), offsets, pairs, kernel=RBF)
    assert emulated_gpu.launched.count("describe") > 1
    matrix = oracle_matrix(z, z, RBF)
    blocks = [slice(*ends) for ends in pairwise(offsets)]
    for value, (a, b) in zip(sums.tolist(), pairs, strict=True):
        part = matrix[blocks[a], blocks[b]]
        assert abs(value - part.sum() + (a == b) * np.trace(part)) <= 1e-12
    np.testing.assert_allclose(diagonals.numpy(), np.diff(offsets))
