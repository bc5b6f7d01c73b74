"""The gate: every kind of array is taken right or refused in one clear sentence."""

import isthmus as im
import numpy as np
import pytest
from conftest import oracle_matrix
from isthmus import arrays

KERNEL = im.RBF(bandwidth=1.5)


def table(dtype="float64"):
    return np.random.default_rng(3).normal(size=(12, 5)).astype(dtype)


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided rows": lambda x: np.repeat(x, 2, axis=0)[::2],
    "strided columns": lambda x: np.repeat(x, 3, axis=1)[:, ::3],
    "negative strides": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "read-only": read_only,
    "subclass": lambda x: x.view(np.matrix),
    "list": lambda x: x.tolist(),
    "masked without masked values": np.ma.masked_array,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_any_layout_gives_the_bits_of_the_contiguous_copy(layout, dtype):
    x = table(dtype)
    given = layout(x)
    expected = im.kernel_matrix(x.astype("float64") if isinstance(given, list) else x, kernel=KERNEL)
    assert np.array_equal(im.kernel_matrix(given, kernel=KERNEL), expected)


def test_zero_strides_are_read_as_repeated_rows():
    x = np.broadcast_to(np.array([1.0, 2.0, 3.0]), (20, 3))
    assert np.array_equal(im.kernel_matrix(x, kernel=KERNEL), np.ones((20, 20)))


def test_a_memory_map_is_read_and_never_written(tmp_path):
    x = table()
    path = tmp_path / "x.npy"
    np.save(path, x)
    before = path.read_bytes()
    mapped = np.load(path, mmap_mode="r")
    assert np.array_equal(im.kernel_matrix(mapped, kernel=KERNEL), im.kernel_matrix(x, kernel=KERNEL))
    assert path.read_bytes() == before


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables_are_read_as_their_numbers(library):
    module = pytest.importorskip(library)
    x = table()
    columns = {f"c{j}": x[:, j] for j in range(x.shape[1])}
    given = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    assert np.array_equal(im.kernel_matrix(given, kernel=KERNEL), im.kernel_matrix(x, kernel=KERNEL))


def test_tables_with_other_columns_are_refused_with_both_lists():
    pandas = pytest.importorskip("pandas")
    x, y = pandas.DataFrame({"a": [1.0], "b": [2.0]}), pandas.DataFrame({"b": [1.0], "a": [2.0]})
    with pytest.raises(ValueError, match=r"Y must have X's columns \['a', 'b'\], got \['b', 'a'\]"):
        im.mmd2(x, y, estimator="biased")


def test_nullable_columns_work_until_a_value_is_missing():
    pandas = pytest.importorskip("pandas")
    whole = pandas.DataFrame({"a": pandas.array([1, 2, 3], dtype="Int64"), "b": [True, False, True]})
    expected = oracle_matrix([[1, 1], [2, 0], [3, 1]], [[1, 1], [2, 0], [3, 1]], KERNEL)
    np.testing.assert_allclose(im.kernel_matrix(whole, kernel=KERNEL), expected, atol=1e-13)
    holed = pandas.DataFrame({"a": pandas.array([1, None, 3], dtype="Int64")})
    with pytest.raises(ValueError, match=r"X contains NaN \(1 value, first at row 1 column 0\)"):
        im.kernel_matrix(holed, kernel=KERNEL)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_of_text_is_named(library):
    module = pytest.importorskip(library)
    given = module.DataFrame({"a": [1.0, 2.0], "b": ["1", "2"]})
    with pytest.raises(TypeError, match="X must hold real numbers, column 'b' is"):
        im.kernel_matrix(given, kernel=KERNEL)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_booleans_beside_numbers_are_zeros_and_ones(library):
    module = pytest.importorskip(library)
    given = module.DataFrame({"a": [1, 2], "b": [True, False]})
    expected = im.kernel_matrix([[1, 1], [2, 0]], kernel=KERNEL)
    assert np.array_equal(im.kernel_matrix(given, kernel=KERNEL), expected)


def test_a_lazy_table_is_refused_with_the_remedy():
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"X must be a table in memory, got a lazy one: pass X\.collect\(\)"):
        im.kernel_matrix(polars.LazyFrame({"a": [1.0]}), kernel=KERNEL)


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("bool", "float64"),
        ("int8", "float64"),
        ("uint8", "float64"),
        ("int64", "float64"),
        (">i2", "float64"),
        (">f2", "float32"),
    ],
)
def test_dtypes_become_float32_or_float64(given, computed):
    x = np.array([[0, 1], [1, 0], [1, 1]]).astype(given)
    found = im.kernel_matrix(x, kernel=KERNEL)
    assert found.dtype == computed
    np.testing.assert_allclose(found, oracle_matrix(x, x, KERNEL), atol=1e-6)


def test_float32_with_float64_promotes_and_lists_count_as_float64():
    x = table("float32")
    assert im.kernel_matrix(x, table(), kernel=KERNEL).dtype == np.float64
    assert im.kernel_matrix(x, [[0.0] * 5], kernel=KERNEL).dtype == np.float64
    assert im.kernel_matrix(x, x[:2], kernel=KERNEL).dtype == np.float32


def test_longdouble_warns_and_its_overflow_names_the_cast():
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("longdouble is float64 here")
    x = np.array([[1, 2], [3, 4]], dtype=np.longdouble)
    with pytest.warns(RuntimeWarning, match="X is converted from float128 to float64"):
        found = im.kernel_matrix(x, kernel=KERNEL)
    assert np.array_equal(found, im.kernel_matrix(x.astype(float), kernel=KERNEL))
    with (
        pytest.warns(RuntimeWarning, match="X is converted"),
        pytest.raises(ValueError, match="X overflows in the cast from float128 to float64"),
    ):
        im.kernel_matrix(x * np.longdouble("1e4000"), kernel=KERNEL)


class Ragged:
    def __array__(self, dtype=None, copy=None):
        raise ValueError("rows of different lengths")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (None, TypeError, "X must be an array of real numbers, got NoneType"),
        ("text", TypeError, "X must be an array of real numbers, got str"),
        ({"a": [1.0]}, TypeError, "X must be an array of real numbers, got dict"),
        ([["a", "b"]], TypeError, "X must be an array of real numbers, got dtype <U1"),
        ([[1.0, None]], TypeError, "X must be an array of real numbers, got dtype object with None"),
        (np.array([[1, 2]], dtype=object), TypeError, "got dtype object"),
        (np.array([["2020-01-01"]], dtype="M8[D]"), TypeError, "got dtype datetime64"),
        (np.zeros((2, 2), dtype="f8,f8"), TypeError, "X must be an array of real numbers"),
        ([[1.0, 2.0], [3.0]], ValueError, "X must be a rectangular array of real numbers"),
        (Ragged(), ValueError, "X must be a rectangular array of real numbers: rows of different lengths"),
        (np.ones((2, 2)) * 1j, ValueError, "X must hold real numbers, complex data is not supported"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), ValueError, "X must have no masked values"),
        (1.0, ValueError, r"X must have shape \(rows, columns\), got \(\)"),
        ([1.0, 2.0], ValueError, r"got \(2,\): X.reshape\(-1, 1\) or \(1, -1\)"),
        (np.ones((2, 2, 2)), ValueError, r"X must have shape \(rows, columns\), got \(2, 2, 2\)"),
        (np.ones((0, 3)), ValueError, r"X must have at least one row and one column, got shape \(0, 3\)"),
        (np.ones((3, 0)), ValueError, r"X must have at least one row and one column, got shape \(3, 0\)"),
        ([], ValueError, r"X must have shape \(rows, columns\), got \(0,\)"),
    ],
)
def test_what_is_no_matrix_of_real_numbers_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        im.kernel_matrix(x, kernel=KERNEL)


def test_sparse_matrices_are_refused_with_the_remedy():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_matrix, sparse.coo_array):
        with pytest.raises(
            TypeError, match=r"X must be a dense array, got a sparse one: pass X\.toarray\(\)"
        ):
            im.kernel_matrix(kind(np.eye(3)), kernel=KERNEL)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_values_that_are_not_finite_are_counted_and_located(value, name, dtype):
    x = np.ones((600, 700), dtype=dtype)
    x[517, 2] = x[517, 5] = x[599, 699] = value
    with pytest.raises(ValueError, match=rf"X contains {name} \(3 values, first at row 517 column 2\)"):
        im.kernel_matrix(x, kernel=KERNEL)
    batch = np.ones((4, 3, 2), dtype=dtype)
    batch[2, 1, 0] = value
    with pytest.raises(ValueError, match=rf"Y contains {name} \(1 value, first at item 2 row 1 column 0\)"):
        im.mmd2(np.ones((4, 3, 2), dtype=dtype), batch, kernel=KERNEL)
    with pytest.raises(ValueError, match=rf"V contains {name} \(1 value, first at position 1\)"):
        im.kernel_matmul(np.ones((2, 1)), None, np.array([0, value], dtype=dtype), kernel=KERNEL)


def test_scikit_learns_assume_finite_counts_as_well():
    sklearn = pytest.importorskip("sklearn")
    x = np.array([[0.0], [np.nan]])
    with sklearn.config_context(assume_finite=True):
        assert np.isnan(im.kernel_matrix(x, kernel=KERNEL)[0, 1])
    with pytest.raises(ValueError, match="X contains NaN"):
        im.kernel_matrix(x, kernel=KERNEL)


def test_inputs_are_left_as_they_were():
    x, y = table(), table()[:4] + 1
    before = x.tobytes(), y.tobytes()
    im.mmd2(x, y)
    im.kernel_matrix(x, y)
    im.two_sample_test(x, y, n_permutations=9)
    assert (x.tobytes(), y.tobytes()) == before


def test_random_state_never_touches_the_global_state():
    state = np.random.get_state()[1].tobytes()  # noqa: NPY002
    for random_state in (None, 3, np.int64(3), np.random.default_rng(3), np.random.RandomState(3)):
        arrays.generator(random_state).normal()
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002
    assert arrays.generator(5).normal() == arrays.generator(5).normal()
    first, second = np.random.RandomState(5), np.random.RandomState(5)
    assert arrays.generator(first).normal() == arrays.generator(second).normal()


@pytest.mark.parametrize("random_state", ["seed", 1.5, -1])
def test_a_wrong_random_state_is_refused(random_state):
    with pytest.raises((TypeError, ValueError), match="random_state must"):
        arrays.generator(random_state)


# -- torch --


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_tensors_give_tensors_with_the_same_bits(torch, dtype):
    x, y = table(dtype), table(dtype)[:7] + 1
    tx, ty = torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)
    for operation in (
        lambda a, b: im.kernel_matrix(a, b),
        lambda a, b: im.kernel_matmul(a, None, a),
        lambda a, b: im.kernel_matmul(a, None, a[:, 0]),
        lambda a, b: im.project(a, b.T),
        lambda a, b: im.mmd2(a, b),
        lambda a, b: im.mmd2(a[None], b[None]),
        lambda a, b: im.mmd_matrix([a, b]),
        lambda a, b: im.witness(a, b, b),
        lambda a, b: im.permuted_mmd2(a, b, n_permutations=3, random_state=0),
        lambda a, b: im.block_sums(a, [0, 5, 12], kernel=KERNEL)[1],
    ):
        found, expected = operation(tx, ty), operation(x, y)
        assert isinstance(found, torch.Tensor)
        assert not found.requires_grad
        assert tuple(found.shape) == np.shape(expected)
        assert np.array_equal(found.numpy(), expected)
    assert im.mmd2(tx, ty).dtype == torch.float64


def test_torch_tensors_are_read_without_a_copy(torch):
    x = torch.randn(6, 3)
    assert np.shares_memory(arrays.as_real(x, "X", arrays.home(x)), x.numpy())
    out = torch.empty(6, 6)
    assert im.kernel_matrix(x, kernel=KERNEL, out=out) is out
    assert torch.equal(out, im.kernel_matrix(x, kernel=KERNEL))


def test_torch_half_types_compute_as_float32_and_integers_as_float64(torch):
    whole = torch.arange(12).reshape(4, 3)
    for dtype, computed in (
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.int32, torch.float64),
        (torch.uint8, torch.float64),
    ):
        found = im.kernel_matrix(whole.to(dtype), kernel=KERNEL)
        assert found.dtype == computed
        np.testing.assert_allclose(found.numpy(), oracle_matrix(whole, whole, KERNEL), atol=1e-6)


def test_mixed_libraries_are_refused_naming_both_but_lists_follow(torch):
    x = table()
    with pytest.raises(ValueError, match="Y must live where X lives, numpy on cpu, got torch on cpu"):
        im.mmd2(x, torch.from_numpy(x))
    with pytest.raises(ValueError, match="x_weights must live where Y lives, numpy on cpu, got torch on cpu"):
        im.mmd2(x, x, x_weights=torch.ones(12))
    assert isinstance(im.mmd2(torch.from_numpy(x), x.tolist()), torch.Tensor)
    with pytest.raises(
        ValueError, match="out must live where the input lives, torch on cpu, got numpy on cpu"
    ):
        im.kernel_matrix(torch.from_numpy(x), out=np.empty((12, 12)))


def test_tensors_that_are_no_real_matrix_are_refused(torch):
    for given, error, message in (
        (torch.eye(3).to_sparse(), TypeError, r"X must be a dense tensor, .* pass X\.to_dense\(\)"),
        (torch.eye(3) * 1j, ValueError, "X must hold real numbers, complex data"),
        (torch.ones(3), ValueError, r"X\.reshape\(-1, 1\)"),
        (torch.full((2, 2), torch.nan), ValueError, r"X contains NaN \(4 values, first at row 0 column 0\)"),
        (
            torch.empty((2, 2), device="meta"),
            ValueError,
            "X must live on the CPU or a CUDA device, got torch on meta",
        ),
    ):
        with pytest.raises(error, match=message):
            im.kernel_matrix(given, kernel=KERNEL)
    out = torch.empty(3, 3, requires_grad=True)
    with pytest.raises(ValueError, match="out must not require a gradient"):
        im.kernel_matrix(torch.eye(3), kernel=KERNEL, out=out)
