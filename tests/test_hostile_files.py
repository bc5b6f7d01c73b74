"""Damaged and hostile model files: `ModelFileError`, nothing run, no memory beyond the file's size."""

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import isthmus as im
import numpy as np
import pytest
from isthmus import model_file
from persisted_models import NETWORK, model_of
from safetensors.numpy import save as to_safetensors
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.filterwarnings(
    "ignore:MLPSource.* reached max_iter:sklearn.exceptions.ConvergenceWarning"
)


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
            dtype = {"F64": "<f8", "I64": "<i8", "I32": "<i4"}[entry["dtype"]]
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


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (im.CORAL(), set_tensor("CORAL.map_", lambda a: a[:1]), "map_ must have one entry for each of 2"),
        (im.CORAL(), set_tensor("CORAL.map_", lambda a: a[[0, 1, 1]]), "one entry for each of 2 sources"),
        (im.CORAL(), set_tensor("CORAL.map_", lambda a: a[0]), "one entry for each of 2 sources"),
        (im.CORAL(), set_tensor("CORAL.map_", lambda a: a[None]), "map_ must have at most 3 axes"),
        (im.CORAL(), set_tensor("CORAL.mean_source_", lambda a: a[:1]), "one entry for each of 2 sources"),
        (im.CORAL(), set_tensor("CORAL.spread_source_", lambda a: a[:1]), "one entry for each of 2 sources"),
        (im.CORAL(), set_tensor("CORAL.domains_", lambda a: a + 0.5), "do not make a model"),
        (im.CORAL(), set_tensor("CORAL.domains_", lambda a: a[:0]), "do not make a model"),
        (im.CORAL(), set_tensor("CORAL.domains_", lambda a: a[[0, 2, 1]]), "domains_ must ascend from"),
        (im.StandardScaling(), set_tensor("StandardScaling.domains_", lambda a: 0 * a), "must ascend from"),
        (im.StandardScaling(), set_tensor("StandardScaling.domains_", lambda a: a - 9), "must ascend from"),
        (
            im.StandardScaling(),
            set_tensor("StandardScaling.domain_means_", lambda a: a[:1]),
            "must have equal lengths",
        ),
        (
            im.StandardScaling(),
            set_tensor("StandardScaling.domain_means_", lambda a: a[:, :1]),
            "do not make a model",
        ),
    ],
    ids=range(13),
)
def test_maps_that_are_not_one_for_each_domain_are_refused(tmp_path, model, change, message):
    rng = np.random.default_rng(0)
    path = tmp_path / "model"
    im.save(model.fit([rng.normal(size=(9, 4)), rng.normal(size=(8, 4))], X_target=np.eye(4)), path)
    im.load(path)
    rewrite(path, change)
    with pytest.raises(im.ModelFileError, match=message):
        im.load(path)


def test_images_that_are_not_one_for_each_row_are_refused(tmp_path):
    pytest.importorskip("ot", reason="POT is not installed: pip install isthmus[ot]")
    path = tmp_path / "transport"
    im.save(model_of(im.OptimalTransport("emd")), path)
    rewrite(path, set_tensor("OptimalTransport.images_", lambda a: a[:-1]))
    with pytest.raises(im.ModelFileError, match=r"images_ must have the shape \(60, 6\), got \(59, 6\)"):
        im.load(path)


def test_a_mean_that_is_a_column_is_not_broadcast_against_the_rows(tmp_path):
    path = tmp_path / "subspace"
    im.save(model_of(im.SubspaceAlignment(2, with_mean=True)), path)
    rewrite(path, set_tensor("SubspaceAlignment.mean_source_", lambda a: np.ones((10**6, 1))))
    with pytest.raises(im.ModelFileError, match="do not make a model"):
        im.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_tensor("MEDA.dual_coef_", lambda a: a[:, :-1]), "a column for each of classes_"),
        (set_tensor("MEDA.dual_coef_", lambda a: a[0]), "a column for each of classes_"),
        (set_tensor("MEDA.classes_", lambda a: a[:-1]), "a column for each of classes_"),
        (lambda m, t, d: (m["fitted"].pop("classes_"), t.pop("MEDA.classes_")), "a column for each"),
        (set_tensor("MEDA.dual_coef_", lambda a: a[:-1]), "do not make a model"),
        (set_tensor("MEDA.X_fit_", lambda a: a[:, :-1]), "do not make a model"),
        (set_tensor("MEDA.projection_", lambda a: a[:-1]), "do not make a model"),
        (set_tensor("MEDA.X_fit_", lambda a: a[None]), "X_fit_ must have at most 2 axes"),
        (lambda m, t, d: m["fitted"].pop("kernel_"), "do not make a model"),
    ],
    ids=range(9),
)
def test_a_target_classifier_that_cannot_predict_a_row_is_refused(tmp_path, change, message):
    path = tmp_path / "meda"
    im.save(model_of(im.MEDA()), path)
    rewrite(path, change)
    with pytest.raises(im.ModelFileError, match=message):
        im.load(path)


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (im.JGSA(3), set_tensor("JGSA.projection_source_", lambda a: a[:-1])),
        (im.JGSA(3), set_tensor("JGSA.projection_target_", lambda a: a[:-1])),
        (im.JGSA(3, kernel=im.RBF()), set_tensor("JGSA.components_source_", lambda a: a[:-1])),
        (im.JGSA(3, kernel=im.RBF()), set_tensor("JGSA.X_fit_", lambda a: a[:, :-1])),
        (im.MIDA(3), set_tensor("MIDA.domains_", lambda a: a[:-1])),
        (im.MIDA(3), set_tensor("MIDA.domains_", lambda a: a[:, None])),
        (im.MIDA(3), set_tensor("MIDA.projection_", lambda a: a[:-2])),
        (im.TJM(3, kernel=im.RBF()), lambda m, t, d: m["fitted"].pop("kernel_")),
        (im.SemiSupervisedTCA(3), lambda m, t, d: m["fitted"].update(projection_=None)),
    ],
    ids=range(9),
)
def test_components_that_do_not_fit_the_rows_are_refused(tmp_path, model, change):
    im.save(model_of(model), tmp_path / "model")
    rewrite(tmp_path / "model", change)
    with pytest.raises(im.ModelFileError):
        im.load(tmp_path / "model")


@pytest.mark.parametrize("count", [10**12, -1, "7"])
def test_a_small_file_cannot_ask_for_any_number_of_feature_names(tmp_path, count):
    path = tmp_path / "nystroem"
    im.save(model_of(im.NystroemFeatures(7)), path)
    rewrite(path, lambda m, t, d: m["fitted"].update(_n_features_out=count))
    with pytest.raises(im.ModelFileError, match="_n_features_out must be a number of features, got"):
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
        with pytest.raises(im.ModelFileError, match=rf"{name} must have at most 1 axis, got shape \(1000000"):
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


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (
            im.FeatureAugmentation(),
            lambda m, t, d: t.update({"FeatureAugmentation.domains_": np.arange(10**6)}),
            "_n_features_out must be 6000006, got 18",
        ),
        (
            im.FeatureAugmentation(),
            lambda m, t, d: (
                t.update({"FeatureAugmentation.domains_": np.arange(10**6)}),
                m["fitted"].update(_n_features_out=6 * (10**6 + 1)),
            ),
            "_n_features_out must be a number of features, got 6000006",
        ),
        (
            im.EasyTL(),
            lambda m, t, d: t.update({"EasyTL.prices_": np.zeros(1)}),
            r"classes_, means_, prices_ must have equal lengths, got \[3, 3, 1\]",
        ),
        (
            im.AugmentedRidge(),
            lambda m, t, d: t.update({"AugmentedRidge.domains_": np.arange(3)}),
            r"domains_, coef_, intercept_ must have equal lengths, got \[3, 2, 2\]",
        ),
        (
            im.RegularizedTransferClassifier(),
            lambda m, t, d: t.update({"RegularizedTransferClassifier.classes_": np.arange(2)}),
            "2 classes_ cannot have 3 scores",
        ),
        (
            im.RegularizedTransferClassifier(),
            lambda m, t, d: t.update({"RegularizedTransferClassifier.intercept_": np.ones(10**5)}),
            r"intercept_ must have the shape \(3,\), got \(100000,\)",
        ),
        (
            im.RegularizedTransferRegressor(),
            lambda m, t, d: t.update({"RegularizedTransferRegressor.coef_": np.ones((6, 10**5))}),
            r"coef_ must have 1 axis, got shape \(6, 100000\)",
        ),
        (
            im.RegularizedTransferRegressor(),
            lambda m, t, d: (
                t.update(more=np.ones(10**5)),
                m["fitted"].update(intercept_={"array": ["more", "C"]}),
            ),
            r"intercept_ must have the shape \(\), got \(100000,\)",
        ),
        (
            im.AugmentedRidge(),
            lambda m, t, d: (
                t.update(more=np.ones(3)),
                m["fitted"].update(shared_intercept_={"array": ["more", "C"]}),
            ),
            "shared_intercept_ must have at most 0 axes",
        ),
        (
            im.EasyTL(),
            lambda m, t, d: t.update({"EasyTL.classes_": np.arange(3)[:, None]}),
            r"classes_ must have at most 1 axis, got shape \(3, 1\)",
        ),
        (
            im.TrAdaBoostRegressor(),
            lambda m, t, d: t.update({"TrAdaBoostRegressor.estimator_weights_": np.zeros(10)}),
            "estimator_weights_ must hold votes from 0 to 10.0, not all 0",
        ),
        (
            im.TrAdaBoostClassifier(),
            lambda m, t, d: t.update(
                {"TrAdaBoostClassifier.estimator_weights_": np.array([*[1.0] * 9, -9.0])}
            ),
            "estimator_weights_ must hold votes from 0 to 10.0, not all 0",
        ),
        (
            im.TrAdaBoostClassifier(),
            lambda m, t, d: t.update({"TrAdaBoostClassifier.estimator_weights_": np.full(10, 1e308)}),
            "estimator_weights_ must hold votes from 0 to 10.0, not all 0",
        ),
        (
            im.SubspaceAlignment(2),
            lambda m, t, d: (
                t.update({"SubspaceAlignment.projection_source_": np.ones((3, 2)), "more": np.array([-1])}),
                m["fitted"].update(domains_={"array": ["more", "C"]}),
            ),
            "do not make a model",
        ),
    ],
    ids=range(14),
)
def test_a_model_of_domains_with_parts_that_do_not_fit_is_refused(tmp_path, model, change, message):
    path = tmp_path / "model"
    im.save(model_of(model), path)
    rewrite(path, change)
    with pytest.raises(im.ModelFileError, match=message):
        im.load(path)


@pytest.mark.parametrize("model", [LogisticRegression(), im.RegularizedTransferClassifier()], ids=str)
def test_a_small_file_cannot_ask_for_many_scores_of_two_classes(tmp_path, model):
    """One column of scores and a long intercept would be broadcast to rows times its length."""
    path, rng = tmp_path / "model", np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    fitted = model.fit(X, y) if isinstance(model, LogisticRegression) else model.fit(X, y, X, y)
    im.save(fitted, path)
    rewrite(path, set_tensor(f"{type(model).__name__}.intercept_", lambda a: np.ones(10**5)))
    with pytest.raises(im.ModelFileError, match=r"intercept_ must have the shape \(1,\), got \(100000,\)"):
        im.load(path)
