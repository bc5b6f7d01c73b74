"""One model file: same bits after loading, a closed list of classes, nothing run, nothing half-written."""

import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import isthmus as im
import numpy as np
import pytest
from isthmus import model_file, persist
from safetensors import safe_open
from safetensors.numpy import save as to_safetensors
from sklearn.base import clone, is_regressor
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

pytestmark = pytest.mark.filterwarnings(
    "ignore:MLPSource.* reached max_iter:sklearn.exceptions.ConvergenceWarning"
)
NETWORK = {"hidden_layer_sizes": (11, 5), "max_iter": 4, "random_state": 0}


def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6))
    return X, np.digitize(X[:, 0], [-0.4, 0.4]), 1.5 * X[::-1] + 0.3


def fitted(model, X, y, X_target):
    """The model on both domains where it takes two, with values for labels where it is a regressor."""
    name = type(model).__name__
    y = X[:, 0] if is_regressor(model) else y
    if name in ("CORAL", "TCA", "MeanDiscrepancy", "TransferPipeline"):
        return model.fit(X, y, X_target)
    return model.fit(X, y, X_target, y) if name.startswith("Transfer") else model.fit(X, y)


MODELS = [
    im.LinearSourceClassifier(),
    im.LinearSourceRegressor(),
    im.MLPSourceClassifier(**NETWORK),
    im.MLPSourceRegressor(**NETWORK),
    im.CORAL(),
    im.MeanDiscrepancy(),
    im.TCA(n_components=3),
    im.TCA(n_components=3, kernel=im.RBF(bandwidth=[1.0, 2.0]) + 0.5 * im.Linear()),
    im.make_transfer_pipeline(im.CORAL(), LinearSVC()),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), align=im.CORAL()),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), mode="partial", freeze=["hidden0", 1]),
    im.TransferClassifier(mode="features", align=im.TCA(n_components=2), model=KNeighborsClassifier(3)),
    im.TransferRegressor(im.LinearSourceRegressor(), mode="features", model=KNeighborsRegressor(2)),
    im.TransferRegressor(im.MLPSourceRegressor(**NETWORK), mode="features", model=Ridge()),
    StandardScaler(),
    PCA(3),
    LogisticRegression(),
    Ridge(),
    LinearSVC(),
    KNeighborsClassifier(algorithm="brute"),
    KNeighborsRegressor(weights="distance"),
    make_pipeline(StandardScaler(), PCA(4), im.LinearSourceClassifier()),
    make_pipeline(StandardScaler(), im.TransferClassifier(im.MLPSourceClassifier(**NETWORK))),
]


def outputs(model, X):
    names = ("predict", "predict_proba", "decision_function", "transform", "features")
    return {name: np.asarray(getattr(model, name)(X)) for name in names if hasattr(model, name)}


def model_of(model):
    X, y, X_target = data()
    if isinstance(model, type(MODELS[-1])) and "transfer" in model.steps[-1][0]:
        return clone(model).fit(X, y, transferclassifier__X_target=X_target, transferclassifier__y_target=y)
    return fitted(clone(model), X, y, X_target)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model).replace("\n", "")[:60])
def test_a_loaded_model_gives_the_same_bits(model, tmp_path):
    model, path = model_of(model), tmp_path / "model.safetensors"
    im.save(model, path)
    loaded = im.load(path)
    assert type(loaded) is type(model)
    expected, found = outputs(model, data()[2]), outputs(loaded, data()[2])
    assert expected and expected.keys() == found.keys()
    for name, values in expected.items():
        assert (values.dtype, values.tobytes()) == (found[name].dtype, found[name].tobytes()), name
    assert str(loaded.get_params()) == str(model.get_params())
    im.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.safetensors", path.name]


def test_every_class_of_the_list_is_tested():
    text = " ".join(map(str, MODELS))
    missing = [name for name in persist.CLASSES if name not in text]
    assert missing == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_new_process_predicts_the_same_bits(tmp_path, dtype):
    X, y, X_target = data()
    model = im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), align=im.CORAL(), random_state=0)
    model.fit(X.astype(dtype), y, X_target.astype(dtype), y)
    im.save(model, tmp_path / "model.safetensors")
    np.save(tmp_path / "rows.npy", X_target.astype(dtype))
    code = (
        "import numpy as np, isthmus as im;"
        "p = im.load('model.safetensors').predict_proba(np.load('rows.npy'));"
        "import sys; sys.stdout.buffer.write(p.tobytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == model.predict_proba(X_target.astype(dtype)).tobytes()


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "long name"],
        [True, False],
        [-1, 1],
        np.array([1, 2], dtype=np.int8),
        np.array(["x", "y", "Ünïcødé \U0001f40d"], dtype=object),
        [2.0, 3.0],
    ],
    ids=str,
)
def test_class_labels_keep_their_type(labels, tmp_path):
    X, y, _ = data()
    y = np.asarray(labels)[y % len(labels)]
    model = im.LinearSourceClassifier().fit(X, y)
    im.save(model, tmp_path / "model")
    loaded = im.load(tmp_path / "model")
    assert loaded.classes_.dtype == model.classes_.dtype
    assert loaded.predict(X).tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("values", [0.25, 7, True, np.float32(0.1), np.int16(-3), None, "text"], ids=repr)
def test_single_values_keep_their_type(values, tmp_path):
    model = with_extra([values, (values, [values]), {"key": values}])
    im.save(model, tmp_path / "model")
    extra = im.load(tmp_path / "model").extra_
    assert extra == model.extra_ and type(extra[1]) is tuple
    assert type(extra[0]) is type(extra[2]["key"]) is type(values)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(3, 4)[::-1, ::2],
        np.arange(5.0).astype(">f8"),
        np.array(3.0),
        np.zeros((0, 4), dtype=np.float32),
        np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
        np.array([True, False]),
        np.array([["a", "bc"], ["", "d"]]),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays_of_any_layout_survive(array, tmp_path):
    im.save(with_extra(array), tmp_path / "model")
    found = im.load(tmp_path / "model").extra_
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=") and found.shape == array.shape
    if array.dtype.kind != "U":
        assert found.flags.aligned and found.flags.writeable
        assert found.flags.fnc == array.flags.fnc


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(3),
        KNeighborsRegressor(3),
        make_pipeline(StandardScaler(), LogisticRegression()),
        im.MLPSourceClassifier(**NETWORK),
        im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), align=im.CORAL()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_names_of_columns_survive(model, tmp_path):
    """Warnings are errors: neither loading nor predicting misses the names."""
    pandas = pytest.importorskip("pandas")
    X, y, X_target = data()
    names = [f"column {i}" for i in range(X.shape[1])]
    X, X_target = pandas.DataFrame(X, columns=names), pandas.DataFrame(X_target, columns=names)
    model = clone(model)
    model.fit(X, y, X_target, y) if hasattr(model, "align") else model.fit(X, y)
    im.save(model, tmp_path / "model")
    loaded = im.load(tmp_path / "model")
    assert loaded.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(loaded.predict(X_target), model.predict(X_target))
    im.save(loaded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_labels_of_neighbours_are_stored_once_a_class(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2000, 3)), np.array(["no", "yes, a long label"])[rng.integers(0, 2, 2000)]
    model = KNeighborsClassifier().fit(X, y)
    im.save(model, tmp_path / "model")
    loaded = im.load(tmp_path / "model")
    assert loaded.predict(X).tolist() == model.predict(X).tolist() and loaded.classes_.dtype == y.dtype
    assert (tmp_path / "model").stat().st_size < 2000 * (3 + 1) * 8 + 3000


def test_saving_works_from_a_source_tree_that_was_never_installed(tmp_path, monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    im.save(model_of(im.CORAL()), tmp_path / "model")
    assert type(im.load(tmp_path / "model")) is im.CORAL


def test_the_file_is_plain_safetensors(tmp_path):
    model = model_of(im.MLPSourceClassifier(**NETWORK))
    im.save(model, tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="np") as file:
        document = json.loads(file.metadata()["isthmus"])
        np.testing.assert_array_equal(file.get_tensor("MLPSourceClassifier.coefs_.0"), model.coefs_[0])
    assert document["format_version"] == 1
    assert document["model"]["estimator"]["class"] == "MLPSourceClassifier"


def test_generators_and_job_counts_are_left_out(tmp_path):
    X, y, X_target = data()
    network = im.MLPSourceClassifier((3,), max_iter=2, random_state=np.random.default_rng(0)).fit(X, y)
    neighbours = KNeighborsClassifier(n_jobs=2).fit(X, y)
    for model, name in ((network, "random_state"), (neighbours, "n_jobs")):
        im.save(model, tmp_path / "model")
        loaded = im.load(tmp_path / "model")
        assert loaded.get_params()[name] is None
        np.testing.assert_array_equal(loaded.predict(X_target), model.predict(X_target))


# -- what cannot be saved --


class Derived(im.CORAL):
    pass


def with_extra(value):
    model = model_of(im.CORAL())
    model.extra_ = value
    return model


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (
            lambda X, y, Xt: RandomForestClassifier(2).fit(X, y),
            r"RandomForestClassifier must be",
        ),
        (lambda X, y, Xt: Derived().fit(X, y, Xt), "Derived must be"),
        (lambda X, y, Xt: KNeighborsClassifier(weights=lambda d: d).fit(X, y), r"weights must be .*function"),
        (
            lambda X, y, Xt: make_pipeline(StandardScaler(), RandomForestClassifier(2)).fit(X, y),
            r"Pipeline\.steps\.1\.1 must be",
        ),
        (
            lambda X, y, Xt: im.TransferClassifier(
                im.LinearSourceClassifier(), mode="features", model=RandomForestClassifier(2)
            ).fit(X, y, Xt, y),
            r"TransferClassifier\.model must be",
        ),
        (lambda X, y, Xt: with_extra(np.zeros(2, dtype=complex)), r"CORAL\.extra_ must be an array of real"),
        (lambda X, y, Xt: with_extra(np.array([b"a"])), r"CORAL\.extra_ must be an array of real"),
        (lambda X, y, Xt: with_extra({1: 2}), r"CORAL\.extra_ must be a number"),
    ],
)
def test_anything_else_is_a_type_error_before_anything_is_written(make, where, tmp_path):
    model = make(*data())
    with pytest.raises(TypeError, match=where):
        im.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_fitted_or_not_finite_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        im.save(im.LinearSourceClassifier(), tmp_path / "model")
    model = model_of(im.LinearSourceClassifier())
    model.coefs_[0][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"LinearSourceClassifier\.coefs_\.0 must hold finite numbers"):
        im.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model"
    im.save(model_of(im.CORAL()), path)
    before = path.read_bytes()

    def no_space(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            im.save(model_of(im.LinearSourceClassifier()), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    im.save(model_of(im.LinearSourceClassifier()), path)
    assert type(im.load(path)) is im.LinearSourceClassifier


def test_a_folder_is_no_place_for_a_model(tmp_path):
    with pytest.raises(IsADirectoryError, match="must name a file"):
        im.save(model_of(im.CORAL()), tmp_path)
    with pytest.raises(FileNotFoundError):
        im.save(model_of(im.CORAL()), tmp_path / "missing" / "model")
    with pytest.raises(FileNotFoundError):
        im.load(tmp_path / "missing")


def test_the_name_of_the_file_may_be_as_long_as_the_folder_allows(tmp_path):
    im.save(model_of(im.CORAL()), tmp_path / ("m" * 255))
    assert type(im.load(tmp_path / ("m" * 255))) is im.CORAL


def test_a_new_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    im.save(model_of(im.CORAL()), tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "plain").stat().st_mode


# -- hostile files --


@pytest.fixture
def path(tmp_path):
    im.save(model_of(im.MLPSourceClassifier(**NETWORK)), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def parts(path):
    """Header (dict) and data of a safetensors file."""
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def packed(header, content):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def test_a_file_cut_anywhere_is_refused(path):
    raw = path.read_bytes()
    for length in (*range(0, 32), *range(32, len(raw), 97), len(raw) - 1):
        path.write_bytes(raw[:length])
        with pytest.raises(im.ModelFileError):
            im.load(path)


def test_a_flipped_bit_anywhere_is_refused(path):
    """But for white space and for what JSON reads as the same text."""
    raw = path.read_bytes()
    for position in range(0, len(raw), 61):
        damaged = bytearray(raw)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(im.ModelFileError):
            im.load(path)


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 8,
        b"\xff" * 8 + b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        pickle.dumps(Bomb()),
        b"PK\x03\x04" + b"\x00" * 100,
        packed(b"{" * 100_000, b""),
        packed(b"[" * 3_000_000, b""),
        packed(b'"text"', b""),
        packed(b'{"a": NaN}', b""),
        packed(b"\xff\xfe{}", b""),
        packed({}, b""),
        to_safetensors({"a": np.zeros(3)}),
        to_safetensors({"a": np.zeros(3)}, {"isthmus": "{}"}),
    ],
    ids=range(14),
)
def test_other_files_are_refused_and_nothing_in_them_runs(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").write_bytes(content)
    with pytest.raises(im.ModelFileError, match=r"^model: "):
        im.load("model")
    assert not Path("exploded").exists()


def test_links_folders_and_pipes_are_refused(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("link", "symbolic link"),
        ("pipe", "not a regular file"),
        ("", "not a regular file"),
    ):
        with pytest.raises(im.ModelFileError, match=message):
            im.load(tmp_path / name)


def rewrite(path, change):
    """Change the file's document or tensors and give it a valid checksum again."""
    header, content = parts(path)
    document = json.loads(header["__metadata__"]["isthmus"])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            dtype = {"F64": "<f8", "I64": "<i8"}[entry["dtype"]]
            tensors[name] = np.frombuffer(content[first:last], dtype=dtype).reshape(entry["shape"]).copy()
    change(document["model"]["estimator"], tensors, document)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    document.pop("sha256")
    digest = hashlib.sha256(json.dumps(document).encode())
    for name, array in sorted(tensors.items()):
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    document["sha256"] = digest.hexdigest()
    path.write_bytes(to_safetensors(tensors, {"isthmus": json.dumps(document)}))


COEF = "MLPSourceClassifier.coefs_.0"


def set_tensor(name, make):
    def change(model, tensors, document):
        tensors[name] = make(tensors[name])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t, d: d.update(format_version=2), "format_version must be 1, got 2: from a later Isthmus"),
        (lambda m, t, d: d.update(format_version="1"), "format_version must be 1, got '1'"),
        (lambda m, t, d: d.pop("format_version"), "format_version must be 1, got None"),
        (lambda m, t, d: d.pop("model"), "do not make a model"),
        (lambda m, t, d: d.update(model=3), "belong to no parameter"),
        (lambda m, t, d: m.update({"class": "os.system"}), "unknown class 'os.system'"),
        (lambda m, t, d: m.update({"class": "LinearSVC"}), "LinearSVC has the parameters"),
        (lambda m, t, d: m["params"].update(evil=1), "has the parameters"),
        (lambda m, t, d: m["params"].update(alpha={"import": "os"}), r"unknown value \['import'\]"),
        (lambda m, t, d: m["params"].update(alpha={"kernel": {"kernel": "RBF"}}), "do not make a model"),
        (lambda m, t, d: m["fitted"].update(__class__=1), "cannot have the attribute '__class__'"),
        (lambda m, t, d: m["fitted"].update(predict=1), "cannot have the attribute 'predict'"),
        (lambda m, t, d: m["fitted"].update(n_features_in_=10**12), "must fit together"),
        (lambda m, t, d: m["fitted"].pop("intercepts_"), "do not make a model|belong to no"),
        (lambda m, t, d: m["fitted"].pop("classes_"), "scores|belong to no parameter"),
        (lambda m, t, d: m["fitted"].update(classes_={"text": [["a"], [1], 10**9]}), "texts of width"),
        (
            lambda m, t, d: m["fitted"].update(classes_={"text": [["a", "b"], [2], 1]}),
            "2 classes_ cannot have 3 scores",
        ),
        (lambda m, t, d: m["fitted"]["coefs_"].append(m["fitted"]["coefs_"][0]), "do not make a model"),
        (lambda m, t, d: t.update(more=np.zeros(2)), r"the tensors \['more'\] belong to no parameter"),
        (lambda m, t, d: t.pop(COEF), "do not make a model"),
        (set_tensor(COEF, lambda a: a[:, :-1]), "layers must fit together"),
        (set_tensor(COEF, lambda a: a.T), "layers must fit together"),
        (set_tensor(COEF, lambda a: a.astype("<i8")), "must have one float type"),
        (set_tensor(COEF, lambda a: a * np.nan), "must hold finite numbers, got NaN or infinity"),
        (set_tensor("MLPSourceClassifier.classes_", lambda a: a[:-1]), "2 classes_ cannot have 3 scores"),
    ],
)
def test_a_document_that_makes_no_model_is_refused(path, change, message):
    rewrite(path, change)
    with pytest.raises(im.ModelFileError, match=message):
        im.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_tensor("CORAL.map_", lambda a: a[:-1]), "do not make a model"),
        (set_tensor("CORAL.mean_source_", lambda a: a[:-1]), "do not make a model"),
        (lambda m, t, d: m["fitted"].pop("has_target_"), "do not make a model"),
        (
            lambda m, t, d: m["fitted"].update(n_features_in_=10**12),
            "number of features, got 10000",
        ),
        (lambda m, t, d: m["fitted"].update(n_features_in_="6"), "number of features, got '6'"),
        (lambda m, t, d: (m.update(params=m["params"], fitted={}), t.clear()), "not fitted"),
    ],
    ids=range(6),
)
def test_an_aligner_that_cannot_transform_a_row_is_refused(tmp_path, change, message):
    path = tmp_path / "coral"
    im.save(model_of(im.CORAL()), path)
    rewrite(path, change)
    with pytest.raises(im.ModelFileError, match=message):
        im.load(path)


def test_a_small_file_cannot_ask_for_an_outer_product(tmp_path):
    """A column in place of a row would be broadcast against the columns of X: here to 8 TB."""
    rows = [[0.0, 1.0], [1.0, 0.0]]
    for model, name in ((StandardScaler(), "mean_"), (StandardScaler(), "scale_"), (PCA(1), "mean_")):
        path, full = tmp_path / "model", f"{type(model).__name__}.{name}"
        im.save(model.fit(rows), path)

        def change(found, tensors, document, full=full):
            found["fitted"]["n_features_in_"] = 10**6
            tensors[full] = np.ones((10**6, 1))

        rewrite(path, change)
        with pytest.raises(im.ModelFileError, match=rf"{name} must have at most 1 axes, got shape \(1000000"):
            im.load(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"objects": [["a", "b"], [2]]}, "feature_names_in_ must name 6 features"),
        ("abcdef", "feature_names_in_ must name 6 features"),
    ],
    ids=["too few", "no array"],
)
def test_names_that_do_not_fit_the_columns_are_refused(tmp_path, names, message):
    path = tmp_path / "coral"
    im.save(model_of(im.CORAL()), path)
    rewrite(path, lambda m, t, d: m["fitted"].update(feature_names_in_=names))
    with pytest.raises(im.ModelFileError, match=message):
        im.load(path)


def test_neighbours_with_other_classes_than_their_labels_are_refused(tmp_path):
    path = tmp_path / "neighbours"
    im.save(model_of(KNeighborsClassifier()), path)
    rewrite(path, lambda m, t, d: t.update({"KNeighborsClassifier.classes_": np.arange(2)}))
    with pytest.raises(im.ModelFileError, match="a name for each of its classes"):
        im.load(path)


@pytest.mark.parametrize(("name", "shape"), [("\ud800", [0]), ("more", [2**62, 2**62, 0])])
def test_an_empty_tensor_that_numpy_refuses_is_refused(path, name, shape):
    header, content = parts(path)
    header[name] = {"dtype": "F64", "shape": shape, "data_offsets": [len(content)] * 2}
    path.write_bytes(packed(header, content))
    with pytest.raises(im.ModelFileError, match="the file is damaged"):
        im.load(path)


def test_a_writer_that_spoils_an_array_is_found_out(tmp_path, monkeypatch):
    """As safetensors 0.8.0 does with arrays that are not contiguous."""
    im.save(model_of(im.CORAL()), tmp_path / "model")
    before = (tmp_path / "model").read_bytes()

    def spoil(tensors, metadata):
        return to_safetensors({name: array * 2 for name, array in tensors.items()}, metadata)

    monkeypatch.setattr(model_file, "to_safetensors", spoil)
    with pytest.raises(im.ModelFileError, match="does not agree with its checksum"):
        im.save(model_of(im.CORAL()), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_a_header_too_long_to_be_parsed_is_refused(tmp_path):
    (tmp_path / "model").write_bytes(packed(b" " * 2**22 + b"{}", b""))
    with pytest.raises(im.ModelFileError, match="a header of 4194306 bytes, at most 4194304 are read"):
        im.load(tmp_path / "model")


def test_rewriting_without_a_change_gives_a_good_file(path):
    """What the test above does to a file is not itself the reason for the refusals."""
    rewrite(path, lambda model, tensors, document: None)
    assert type(im.load(path)) is im.MLPSourceClassifier


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.update(shape=[2**62, 2**62]),
        lambda entry: entry.update(shape=[-1]),
        lambda entry: entry.update(shape=[True]),
        lambda entry: entry.update(shape="all"),
        lambda entry: entry.update(dtype="O"),
        lambda entry: entry.update(data_offsets=[0, 2**40]),
        lambda entry: entry.update(data_offsets=[8, 0]),
        lambda entry: entry.update(more=1),
        lambda entry: entry.pop("dtype"),
    ],
    ids=range(9),
)
def test_a_lying_header_is_refused_before_memory_is_taken(path, change):
    header, content = parts(path)
    change(header[COEF])
    path.write_bytes(packed(header, content))
    with pytest.raises(im.ModelFileError, match="tensor"):
        im.load(path)


def test_a_key_that_stands_twice_is_refused(path):
    header, content = parts(path)
    text = json.dumps(header)
    path.write_bytes(packed(b'{"__metadata__": {}, ' + text[1:].encode(), content))
    with pytest.raises(im.ModelFileError, match="a key twice"):
        im.load(path)


def test_bytes_behind_the_tensors_are_refused(path):
    path.write_bytes(path.read_bytes() + b"\x00" * 8)
    with pytest.raises(im.ModelFileError, match="the file holds"):
        im.load(path)


def test_loading_takes_less_than_twice_the_memory_of_the_file(tmp_path):
    import tracemalloc

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 300))
    with pytest.warns(UserWarning, match="max_iter"):
        model = im.MLPSourceRegressor((2000,), max_iter=1, random_state=0).fit(X, X[:, 0])
    im.save(model, tmp_path / "model")
    size = (tmp_path / "model").stat().st_size
    im.load(tmp_path / "model")
    tracemalloc.start()
    im.load(tmp_path / "model")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 4_000_000 and peak < 2 * size


def test_no_module_of_the_package_names_pickle():
    for path in Path(im.__file__).parent.rglob("*.py"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "import" in line]
        assert not [line for line in lines if "pickle" in line or "joblib" in line], path
