"""Source models and transfer on rows that live on a device: what the same rows give in numpy."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from isthmus import arrays
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression

FEW = {"max_iter": 6, "random_state": 0}
MODELS = [
    im.LinearSourceClassifier(),
    im.LinearSourceClassifier(alpha=0.01, solver="adam", **FEW),
    im.LinearSourceRegressor(alpha=0.5),
    im.LinearSourceRegressor(alpha=0.0),
    im.LinearSourceRegressor(solver="sgd", nesterovs_momentum=False, **FEW),
    im.MLPSourceClassifier((9, 5), batch_size=16, **FEW),
    im.MLPSourceClassifier((9,), "tanh", batch_size=16, early_stopping=True, **FEW),
    im.MLPSourceClassifier((7,), "logistic", solver="sgd", learning_rate="invscaling", **FEW),
    im.MLPSourceRegressor((8, 6), "tanh", batch_size=20, **FEW),
    im.MLPSourceRegressor((8,), "identity", solver="sgd", shuffle=False, early_stopping=True, **FEW),
]
NETWORK = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.01, "batch_size": 32, **FEW}
TRANSFERS = [
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK)),
    im.TransferClassifier(im.LinearSourceClassifier(), align=im.CORAL()),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), mode="partial", align=im.SubspaceAlignment(3)),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), joint=False, align=im.StandardScaling()),
    im.TransferClassifier(im.MLPSourceClassifier(**NETWORK), mode="features"),
    im.TransferClassifier(mode="features", align=im.TCA(3), model=im.LinearSourceClassifier()),
    im.TransferClassifier(mode="features", align=im.CORAL()),
    im.TransferRegressor(im.MLPSourceRegressor(**NETWORK)),
    im.TransferRegressor(im.LinearSourceRegressor(), align=im.CORAL()),
    im.TransferRegressor(im.MLPSourceRegressor(**NETWORK), mode="features", joint=False, align=im.LinearOT()),
]
TOLERANCES = {"float32": 1e-3, "float64": 1e-9}  # beside the largest value; steps magnify roundings
pytestmark = pytest.mark.filterwarnings("ignore:.* reached max_iter:sklearn.exceptions.ConvergenceWarning")
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: " ".join(repr(model).split()))
every_transfer = pytest.mark.parametrize("model", TRANSFERS, ids=lambda model: " ".join(repr(model).split()))
both_types = pytest.mark.parametrize("dtype", TOLERANCES)


def toy(model, dtype="float64", n=70):
    """Rows and labels of both domains; numbers for a regressor, three classes for a network."""
    X, y, X_target, y_target = shifted_classes(2.0, 0, n=n, d=6)
    X_target, y_target = X_target[:-10], y_target[:-10]
    if not is_classifier(model):
        y, y_target = X[:, 0] - X[:, 1] ** 2, X_target[:, 0] - X_target[:, 1] ** 2
    elif "Linear" not in type(model).__name__:
        y, y_target = (labels + (rows[:, 1] > 1) for labels, rows in ((y, X), (y_target, X_target)))
        y, y_target = (np.array(["a", "b", "c"])[labels] for labels in (y, y_target))
    return X.astype(dtype), y, X_target.astype(dtype), y_target


def assert_close(found, expected, dtype, name=""):
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    scale = max(np.abs(expected).max(initial=0), 1e-300)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCES[dtype] * scale, err_msg=name)


def assert_same_fit(there, plain, dtype):
    for name in ("coefs_", "intercepts_"):
        for found, expected in zip(getattr(there, name), getattr(plain, name), strict=True):
            assert type(found) is np.ndarray and found.dtype == expected.dtype == np.dtype(dtype)
            assert_close(found, expected, dtype, name)
    if plain.solver != "exact":
        assert there.n_iter_ == plain.n_iter_
    np.testing.assert_allclose(there.loss_curve_, plain.loss_curve_, rtol=TOLERANCES[dtype])
    assert (there.validation_scores_ is None) == (plain.validation_scores_ is None)
    if plain.validation_scores_ is not None:
        assert_close(there.validation_scores_, plain.validation_scores_, dtype)


def assert_same_answers(there, plain, move, rows, dtype, **domain):
    """Features stay where the rows are, predictions are on the host; the same from rows of either home."""
    moved = move(rows)
    features = there.features(moved, **domain)
    assert arrays.home(features) == arrays.home(moved)
    assert arrays.dtype_of(features) == np.dtype(dtype)
    assert_close(arrays.to_numpy(features), plain.features(rows, **domain), dtype, "features")
    for method in ("predict", "predict_proba"):
        if not hasattr(plain, method):
            continue
        expected = getattr(plain, method)(rows, **domain)
        for given in (moved, rows):
            found = getattr(there, method)(given, **domain)
            assert type(found) is np.ndarray and found.dtype == expected.dtype
            if expected.dtype.kind == "f":
                assert_close(found, expected, dtype, method)
            else:
                np.testing.assert_array_equal(found, expected)


def assert_kept(model, move, rows, path, **domain):
    """A file holds host arrays, which predict the same bits from rows of either home."""
    im.save(model, path / "model")
    kept = im.load(path / "model")
    for given in (move(rows), rows):
        np.testing.assert_array_equal(kept.predict(given, **domain), model.predict(given, **domain))


def check_model(model, move, dtype, path):
    X, y, X_target, y_target = toy(model, dtype)
    new_rows = np.random.default_rng(5).normal(size=(9, 6)).astype(dtype)
    plain, there = clone(model).fit(X, y), clone(model).fit(move(X), y)
    assert_same_fit(there, plain, dtype)
    assert_same_answers(there, plain, move, new_rows, dtype)
    assert there.score(move(X), y) == pytest.approx(plain.score(X, y), abs=TOLERANCES[dtype])
    for source in ({}, {"X": X, "y": y}):
        moved = {name: move(part) if name == "X" else part for name, part in source.items()}
        plain.tune(X_target, y_target, **source)
        there.tune(move(X_target), y_target, **moved)
        assert_same_fit(there, plain, dtype)
    assert_kept(there, move, new_rows, path)


def check_transfer(model, move, dtype, path):
    X, y, X_target, y_target = toy(model, dtype)
    known = np.arange(len(X_target)) % 4 == 0
    given = {"y": y, "y_target": y_target, "target_labelled": known}
    plain = clone(model).fit(X=X, X_target=X_target, **given)
    there = clone(model).fit(X=move(X), X_target=move(X_target), **given)
    for domain in ("source", "target"):
        assert_same_answers(there, plain, move, X_target, dtype, domain=domain)
    assert_kept(there, move, X_target, path, domain="source")
    source = {"X": X, "y": y, "random_state": 3, "mode": model.mode}
    plain = im.fine_tune(plain, X_target, y_target, **source)
    there = im.fine_tune(there, move(X_target), y_target, **{**source, "X": move(X)})
    assert_same_answers(there, plain, move, X_target, dtype)


@every_model
@both_types
def test_a_model_of_a_device_is_that_of_numpy(device, model, dtype, tmp_path):
    check_model(model, device, dtype, tmp_path)


@every_transfer
@both_types
def test_transfer_on_a_device_is_that_of_numpy(device, model, dtype, tmp_path):
    check_transfer(model, device, dtype, tmp_path)


@pytest.mark.parametrize("kind", [im.LinearSourceClassifier, im.LinearSourceRegressor])
def test_labels_weights_and_domains_may_be_on_the_device_too(device, kind):
    X, y, X_target, y_target = toy(kind())
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    plain = kind().fit(X, y, sample_weight=weight)
    there = kind().fit(device(X), device(y), sample_weight=device(weight))
    assert_same_fit(there, plain, "float64")
    given = (device(X), device(y), device(X_target), device(y_target))
    transfer = im.TransferClassifier if is_classifier(plain) else im.TransferRegressor
    expected = transfer(kind()).fit(X, y, X_target, y_target)
    assert_same_fit(transfer(kind()).fit(*given).model_, expected.model_, "float64")
    rows, labels = np.concatenate([X_target, X]), np.concatenate([y_target, y])
    domain = np.repeat([-1, 0], [len(X_target), len(X)])
    found = transfer(kind()).fit(
        device(rows), device(labels), sample_domain=device(domain), target_labelled=device(domain < 0)
    )
    assert_same_fit(found.model_, expected.model_, "float64")
    tuned = im.fine_tune(plain, given[2], given[3], mode="full", X=given[0], y=given[1])
    expected = im.fine_tune(plain, X_target, y_target, mode="full", X=X, y=y)
    assert_same_fit(tuned, expected, "float64")


@pytest.mark.parametrize("mode", ["full", "features"])
@pytest.mark.parametrize("transfer", [False, True])
def test_a_list_of_target_rows_follows_the_source_to_the_device(device, mode, transfer):
    X, y, X_target, y_target = toy(MODELS[0])
    head = im.LinearSourceClassifier() if mode == "features" else None
    model = im.LinearSourceClassifier().fit(X, y)
    if transfer:
        model = im.TransferClassifier(model, align=im.CORAL()).fit(X, y, X_target, y_target)
    given = {"mode": mode, "y": y, "target_model": head}
    plain = im.fine_tune(model, X_target, y_target, X=X, **given)
    there = im.fine_tune(model, X_target.tolist(), y_target, X=device(X), **given)
    assert_close(there.predict_proba(X), plain.predict_proba(X), "float64")


@every_model
def test_frozen_arrays_keep_their_bits_on_a_device(device, model):
    X, y, X_target, y_target = toy(model)
    plain, there = clone(model).fit(X, y), clone(model).fit(X, y)
    before = [array.tobytes() for array in there._network().parameters()]
    mask = [False] * (len(before) - 1) + [True]
    plain.tune(X_target, y_target, trainable=mask)
    there.tune(device(X_target), y_target, trainable=mask)
    assert [array.tobytes() for array in there._network().parameters()][:-1] == before[:-1]
    assert_same_fit(there, plain, "float64")


@every_model
def test_rows_never_leave_the_device(device, leaving, model):
    X, y, X_target, y_target = toy(model)
    n_outputs = {True: len(np.unique(y)), False: 1}[is_classifier(model)]
    n_outputs = 1 if n_outputs == 2 else n_outputs
    there, rows, targets = clone(model), device(X), device(X_target)
    there.fit(rows, y).tune(targets, y_target, X=rows, y=y)
    parameters = {array.shape for array in there._network().parameters()}
    triangles = {(6, 6), (7, 7), (6, n_outputs), (6,)}
    held_out = {(7, n_outputs), (6, n_outputs)}
    assert set(leaving) <= parameters | triangles | held_out
    leaving.clear()
    there.features(rows)
    assert leaving == []
    there.predict(rows)
    assert leaving == [(len(X), n_outputs)]


def test_transfer_keeps_rows_on_the_device_unless_the_target_model_is_of_scikit_learn(device, leaving):
    for model in TRANSFERS:
        X, y, X_target, y_target = toy(model, n=600)  # of which aligners look at some hundred on the host
        leaving.clear()
        clone(model).fit(device(X), y, device(X_target), y_target)
        rows = [shape for shape in leaving if len(shape) == 2 and shape[0] in (len(X), len(X_target))]
        on_host = model.mode == "features" and model.model is None
        width = {None: 6}.get(model.source, 8)
        assert rows == ([(len(X), width)] * (on_host and model.joint) + [(len(X_target), width)] * on_host)


def test_a_pipeline_trains_a_source_model_on_the_device(device, leaving):
    model = im.LinearSourceClassifier()
    X, y, X_target, y_target = toy(model, n=600)
    known = np.arange(len(X_target)) % 5 == 0
    labels = {"y_target": y_target, "target_labelled": known}
    pipeline = im.make_transfer_pipeline(im.SubspaceAlignment(3), model)
    there = clone(pipeline).fit(device(X), device(y), device(X_target), **labels)
    assert not [shape for shape in leaving if len(shape) == 2 and shape[0] > 300]
    plain = pipeline.fit(X, y, X_target, **labels)
    assert_close(there.predict_proba(device(X)), plain.predict_proba(X), "float64")
    assert there.score(device(X), device(y)) == plain.score(X, y)


@pytest.mark.parametrize("kind", [im.LinearSourceRegressor, im.CORAL, im.NystroemFeatures])
def test_rows_of_other_devices_are_refused(kind):
    rows = pytest.importorskip("torch").empty(5, 2, device="meta")
    with pytest.raises(ValueError, match="X must live on the CPU or a CUDA device, got torch on meta"):
        kind().fit(rows, np.zeros(5))


@pytest.mark.parametrize("trained", [False, True])
def test_rows_of_two_homes_are_refused(device, trained):
    X, y, X_target, y_target = toy(im.LinearSourceClassifier())
    model = im.LinearSourceClassifier().fit(X, y)
    fine_tuned = [
        lambda X, X_target, mode=mode: im.fine_tune(model, X_target, y_target, mode=mode, X=X, y=y)
        for mode in ("full", "features")
    ]
    for use in (
        *fine_tuned,
        lambda X, X_target: model.tune(X_target, y_target, X=X, y=y),
        lambda X, X_target: im.TransferClassifier(model if trained else None).fit(X, y, X_target, y_target),
    ):
        with pytest.raises(
            ValueError, match=r"X_target must live where X lives, torch on .*, got numpy on cpu"
        ):
            use(device(X), X_target)
        with pytest.raises(ValueError, match=r"X_target must live where X lives, numpy on cpu, got torch on"):
            use(X, device(X_target))


def test_bad_rows_on_a_device_are_refused_as_on_the_host(device):
    X, y, X_target, y_target = toy(im.LinearSourceClassifier())
    model = im.LinearSourceClassifier().fit(device(X), y)
    with pytest.raises(ValueError, match="X has 3 features, but LinearSourceClassifier is expecting 6"):
        model.predict(device(X[:, :3]))
    with pytest.raises(ValueError, match="X_target must have the model's width d = 6, got 3"):
        model.tune(device(X_target[:, :3]), y_target)
    with pytest.raises(ValueError, match="needs at least 2 rows, got 1 in X"):
        model.fit(device(X[:1]), y[:1])
    X[3, 2] = np.nan
    for use in (
        model.fit,
        lambda X, y: model.predict(X),
        lambda X, y: model.tune(X_target, y_target, X=X, y=y),
    ):
        with pytest.raises(ValueError, match=r"X contains NaN \(1 value, first at row 3 column 2\)"):
            use(device(X), y)
    with pytest.raises(ValueError, match=r"X contains infinity \(1 value, first at row 1 column 0\)"):
        narrow = im.LinearSourceClassifier().fit(X_target.astype(np.float32), y_target)
        narrow.predict(device(np.where(np.arange(12).reshape(2, 6) == 6, 1e300, 0.0)))


def test_divergence_on_a_device_returns_to_the_best_parameters(device):
    model = im.MLPSourceRegressor(
        (8,), solver="sgd", learning_rate_init=0.1, momentum=0.99, max_iter=100, random_state=0
    )
    X, y, *_ = toy(model)
    plain, there = clone(model), clone(model)
    epochs = []
    for fitted, rows in ((plain, X), (there, device(X))):
        with pytest.raises(im.TrainingDivergedError, match=r"got .* in epoch \d+") as caught:
            fitted.fit(rows, y)
        epochs.append(caught.value.epoch)
    assert epochs[0] == epochs[1] > 2
    untrained = clone(model).set_params(learning_rate_init=1e-12, max_iter=1).fit(X, y)
    for found, expected, first in zip(there.coefs_, plain.coefs_, untrained.coefs_, strict=True):
        assert_close(found, expected, "float64")
        assert np.abs(found - first).max() > 1e-3


def test_an_aligner_that_needs_the_host_says_so(device):
    X, y, X_target, y_target = toy(im.LinearSourceClassifier())
    transfer = im.TransferClassifier(im.LinearSourceClassifier(), align=im.FeatureAugmentation())
    with pytest.raises(ValueError, match="FeatureAugmentation needs X in host memory, got torch on"):
        transfer.fit(device(X), y, device(X_target), y_target)


def test_a_classifier_of_scikit_learn_gets_features_on_the_host(device):
    model = im.TransferClassifier(mode="features", align=im.CORAL(), model=LogisticRegression())
    X, y, X_target, y_target = toy(model)
    plain = clone(model).fit(X, y, X_target, y_target)
    there = clone(model).fit(device(X), y, device(X_target), y_target)
    assert_close(there.predict_proba(device(X)), plain.predict_proba(X), "float32")


@pytest.mark.parametrize("capability", [75, 90])
def test_a_model_trains_on_the_kernels_of_a_gpu(emulated_gpu, capability):
    emulated_gpu.capability = capability
    move = emulated_gpu.torch.from_numpy
    options = {"batch_size": 24, "max_iter": 1, "random_state": 0}
    for model in (im.MLPSourceClassifier((5,), "tanh", **options), im.LinearSourceRegressor()):
        X, y, *_ = toy(model, "float32")
        plain, there = clone(model).fit(X, y), clone(model).fit(move(X), y)
        emulated_gpu.launched.clear()
        assert_same_fit(there, plain, "float32")
        assert_same_answers(there, plain, move, X, "float32")
        assert emulated_gpu.launched and all("project" in name for name in emulated_gpu.launched)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[5], TRANSFERS[1], TRANSFERS[4]], ids=repr)
def test_features_of_a_tensor_on_the_host_are_a_tensor(model):
    torch = pytest.importorskip("torch")
    X, y, *target = toy(model)
    given = target if "Transfer" in type(model).__name__ else ()
    plain = clone(model).fit(X, y, *given)
    found = plain.features(torch.from_numpy(X))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), plain.features(X))
    np.testing.assert_array_equal(plain.predict(torch.from_numpy(X)), plain.predict(X))


@pytest.mark.gpu
@every_model
@both_types
def test_a_model_of_a_gpu_is_that_of_numpy(gpu, model, dtype, tmp_path):
    check_model(model, gpu, dtype, tmp_path)


@pytest.mark.gpu
@every_transfer
@both_types
def test_transfer_on_a_gpu_is_that_of_numpy(gpu, model, dtype, tmp_path):
    check_transfer(model, gpu, dtype, tmp_path)
