"""Saving and loading: same bits, a closed list of classes, nothing half-written."""

import json
import os
import subprocess
import sys
from importlib import metadata

import isthmus as im
import numpy as np
import pytest
from isthmus import persist
from persisted_models import MODELS, NETWORK, data, model_of, outputs
from safetensors import safe_open
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.filterwarnings(
    "ignore:MLPSource.* reached max_iter:sklearn.exceptions.ConvergenceWarning"
)


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
