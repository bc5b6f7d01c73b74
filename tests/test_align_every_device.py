"""Every estimator that takes rows on a device: what the same rows give in numpy, one table for all."""

import inspect

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes
from isthmus import align, arrays, backends, bandwidth
from isthmus.align.base import DomainEstimator
from isthmus.align.mathematics import graphs, kernel_rows, neighbours
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression

RBF = im.RBF(bandwidth=3.0)
KRYLOV = {"kernel": RBF, "eigen_solver": "krylov"}
LANDMARKS = {"kernel": im.Laplacian(scale=9.0), "n_landmarks": 40}
METHODS = [
    im.StandardScaling(),
    im.MeanDiscrepancy(),
    im.CORAL(),
    im.LinearOT(),
    im.SubspaceAlignment(3),
    im.GFK(2),
    im.TCA(3),
    im.JDA(3, n_iter=3),
    im.BDA(3, n_iter=3),
    im.TJM(3, n_iter=3),
    im.TJM(3, n_iter=3, kernel=im.RBF(), class_columns=True, normalize="both"),
    im.TJM(3, n_iter=3, scaling="white", class_columns=True, classifier=LogisticRegression(), **KRYLOV),
    im.JGSA(3, n_iter=3),
    im.JGSA(3, n_iter=3, kernel=im.Linear(), normalize="both", scaling="metric"),
    im.JGSA(3, n_iter=3, kernel=im.RBF(), classifier=LogisticRegression()),
    im.JGSA(3, n_iter=3, **LANDMARKS),
    im.SemiSupervisedTCA(3),
    im.SemiSupervisedTCA(3, gamma=0, per_pair=True, width=2.0),
    im.SemiSupervisedTCA(3, kernel=im.Linear(), label_kernel="values", scaling="metric"),
    im.SemiSupervisedTCA(3, kernel=im.RBF(), gamma=0),
    im.SemiSupervisedTCA(3, kernel=im.RBF(), scaling="white"),
    im.SemiSupervisedTCA(3, **LANDMARKS),
    im.MIDA(3, mu=50.0),
    im.MIDA(3, mu=50.0, gamma=0, augment="easy"),
    im.MIDA(3, mu=50.0, kernel=im.Linear(), augment=None),
    im.MIDA(3, mu=50.0, kernel=im.RBF()),
    im.MIDA(3, mu=50.0, label_kernel="values", **KRYLOV),
    im.KMM(RBF, tol=1e-7, bound=5.0),
    im.TargetShiftWeights(),
    im.TargetShiftWeights(RBF, regression=True),
    im.KLIEP(n_centres=20, tol=1e-3),
    im.KLIEP(RBF),
    im.RuLSIF(n_centres=20),
    im.RuLSIF(0.0, n_centres=30),
    im.MEDA(2, n_iter=3),
    im.MEDA(2, kernel=im.RBF(), rho=0.0, normalize=False, n_iter=3),
    im.MEDA(3, n_landmarks=40, mu=0.5, n_iter=3),
    im.EasyTL(),
    im.EasyTL(None),
    im.EasyTL(im.SubspaceAlignment(2)),
]
TOLERANCES = {"float32": 5e-4, "float64": 1e-8}  # beside the largest value
every_method = pytest.mark.parametrize("method", METHODS, ids=str)
both_types = pytest.mark.parametrize("dtype", TOLERANCES)


def toy(dtype="float64", n=70, d=6):
    X, y, X_target, y_target = shifted_classes(2.0, 0, n=n, d=d)
    return X.astype(dtype), y, X_target[: n - 10].astype(dtype), y_target[: n - 10]


def assert_close(found, expected, dtype, name=""):
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    scale = max(np.abs(expected).max(initial=0), 1e-300)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCES[dtype] * scale, err_msg=name)


def assert_same_fit(there, plain, dtype):
    """Fitted arrays are on the host, in the types and of the values that numpy rows give."""
    passing = {"residuals_", "duality_gap_", "n_iter_", "n_passes_", "gap_"}  # of size rounding
    for name, value in vars(there).items():
        assert arrays.home(value) is None or isinstance(value, np.ndarray | np.generic), name
        if isinstance(value, np.ndarray) and name not in passing:
            expected = getattr(plain, name)
            assert value.dtype == expected.dtype, name
            if value.dtype.kind == "f":
                assert_close(value, expected, dtype, name)
            else:
                np.testing.assert_array_equal(value, expected, err_msg=name)


def assert_same_rows(there, plain, move, rows, dtype, **domain):
    """Moved rows stay on the device, in their float type; predictions are on the host."""
    if hasattr(there, "predict"):
        np.testing.assert_array_equal(there.predict(move(rows)), plain.predict(rows))
        found = there.decision_function(move(rows))
        assert type(found) is np.ndarray
        assert_close(found, plain.decision_function(rows), dtype)
        return
    tensors = move(rows)
    found = there.transform(tensors, **domain)
    assert arrays.home(found) == arrays.home(tensors) and found.dtype == tensors.dtype
    assert_close(arrays.to_numpy(found), plain.transform(rows, **domain), dtype)
    if hasattr(there, "density_ratio"):
        assert_close(there.density_ratio(tensors), plain.density_ratio(rows), dtype)


def fit_both(method, move, given):
    moved = {name: move(given[name]) for name in ("X", "X_target") if name in given}
    return clone(method).fit(**given), clone(method).fit(**{**given, **moved})


def check(method, move, dtype, path):
    X, y, X_target, _ = toy(dtype)
    new_rows = np.random.default_rng(5).normal(size=(9, 6)).astype(dtype)
    plain, there = fit_both(method, move, {"X": X, "y": y, "X_target": X_target})
    assert_same_fit(there, plain, dtype)
    domains = [{}] if hasattr(there, "predict") else [{"domain": "source"}, {"domain": "target"}]
    for domain in domains:
        assert_same_rows(there, plain, move, X, dtype, **domain)
        assert_same_rows(there, plain, move, new_rows, dtype, **domain)
    im.save(there, path / "model")
    kept = im.load(path / "model")
    how = "predict" if hasattr(there, "predict") else "transform"
    found = arrays.to_numpy(getattr(kept, how)(move(new_rows)))
    np.testing.assert_array_equal(found, arrays.to_numpy(getattr(there, how)(move(new_rows))))


def test_the_table_holds_every_estimator_that_claims_a_device():
    public = [getattr(align, name) for name in align.__all__]
    claim = {
        kind
        for kind in public
        if inspect.isclass(kind) and issubclass(kind, DomainEstimator) and kind._on_device
    }
    assert claim == {type(method) for method in METHODS}


@every_method
@both_types
def test_a_device_gives_what_numpy_gives(device, method, dtype, tmp_path):
    check(method, device, dtype, tmp_path)


@every_method
@both_types
def test_weights_several_domains_and_target_labels_count_on_a_device(device, method, dtype):
    X, y, X_target, y_target = toy(dtype)
    rng = np.random.default_rng(2)
    rows, labels = np.concatenate([X, X_target]), np.concatenate([y, y_target])
    domain = np.concatenate([rng.choice([0, 3], len(X)), np.full(len(X_target), -1)])
    order = rng.permutation(len(rows))
    rows, labels, domain = rows[order], labels[order], domain[order]
    given = {
        "X": rows,
        "y": labels,
        "sample_domain": domain,
        "target_labelled": (domain < 0) & (rng.random(len(rows)) < 0.2),
        "sample_weight": rng.integers(0, 3, len(rows)).astype(float),
    }
    plain, there = fit_both(method, device, given)
    assert_same_fit(there, plain, dtype)
    assert_same_rows(there, plain, device, rows, dtype, domain=domain)


@every_method
def test_types_mix_on_a_device_as_in_numpy(device, method):
    X, y, X_target, _ = toy()
    for one, other in ((np.float32, np.float64), (np.float64, np.float32)):
        given = {"X": X.astype(one), "y": y, "X_target": X_target.astype(other)}
        plain, there = fit_both(method, device, given)
        assert_same_fit(there, plain, "float32")
        assert_same_rows(there, plain, device, X, "float32", domain="source")


@every_method
def test_rows_of_two_homes_are_refused(device, method):
    X, y, X_target, _ = toy()
    with pytest.raises(ValueError, match=r"X_target must live where X lives, torch on .*, got numpy on cpu"):
        clone(method).fit(device(X), y, X_target)
    with pytest.raises(ValueError, match=r"X_target must live where X lives, numpy on cpu, got torch on"):
        clone(method).fit(X, y, device(X_target))


@every_method
def test_no_kernel_or_distance_of_all_rows_is_evaluated_on_the_host(device, monkeypatch, method):
    def elsewhere(name, plain):
        def call(rows, *rest):
            sizes = [len(part) for part in (rows if isinstance(rows, list) else [rows])]
            assert not rest[-1].on_host or max(sizes) <= 40, f"{name} of {sizes} rows on the host"
            return plain(rows, *rest)

        return call

    for name in ("kernel_matrix", "kernel_matmul", "block_sums"):
        monkeypatch.setattr(backends, name, elsewhere(name, getattr(backends, name)))
    monkeypatch.setattr(graphs, "NearestNeighbors", None)
    X, y, X_target, _ = toy()
    there = clone(method).fit(device(X), y, device(X_target))
    (there.predict if hasattr(there, "predict") else there.transform)(device(X))


def test_mixed_types_on_a_device_are_weighed_in_float64(device):
    X, y, X_target, _ = toy()
    X = X.astype(np.float32)
    method = im.TargetShiftWeights(RBF, regression=True)
    exact = clone(method).fit(X.astype(np.float64), y, X_target)
    found = clone(method).fit(device(X), y, device(X_target))
    np.testing.assert_allclose(found.weights_, exact.weights_, rtol=1e-9)


@pytest.mark.parametrize("method", [im.TJM(3, **KRYLOV), im.MIDA(3, mu=50.0, **KRYLOV)], ids=str)
@both_types
def test_a_kernel_that_is_not_stored_gives_the_same_on_a_device(device, monkeypatch, method, dtype):
    monkeypatch.setattr(kernel_rows, "STORED_BYTES", 0)
    X, y, X_target, _ = toy(dtype)
    plain, there = fit_both(method, device, {"X": X, "y": y, "X_target": X_target})
    assert_same_fit(there, plain, "float32" if dtype == "float32" else "float64")
    assert_same_rows(there, plain, device, X, dtype, domain="source")


NARROW = [
    im.TJM(3),
    im.JGSA(3, scaling="metric"),
    im.SemiSupervisedTCA(3),
    im.MIDA(3, mu=50.0),
    im.MEDA(2),
    im.EasyTL(),
]


@pytest.mark.parametrize("method", NARROW, ids=str)
def test_fewer_rows_than_columns_on_a_device_give_what_numpy_gives(device, method):
    X, y, X_target, _ = toy(n=20, d=40)
    plain, there = fit_both(method, device, {"X": X, "y": y, "X_target": X_target})
    assert_same_fit(there, plain, "float64")
    assert_same_rows(there, plain, device, X, "float64", domain="source")


def test_neighbours_and_edges_come_in_blocks_on_a_device(device, monkeypatch):
    monkeypatch.setattr(neighbours, "DEVICE_BLOCK", 1)  # blocks of 64 rows
    X, y, X_target, _ = toy()
    weight = 1.0 + np.arange(len(X)) % 2
    given = {"X": X, "y": y, "X_target": X_target, "sample_weight": weight}
    for method in (im.MEDA(2), im.MEDA(3, n_landmarks=30)):
        plain, there = fit_both(method, device, given)
        assert_same_fit(there, plain, "float64")
    X[5] = X[9] = X_target[3] = X[2]  # one row four times
    plain, there = fit_both(im.SemiSupervisedTCA(3, kernel=im.Linear()), device, given)
    assert_same_fit(there, plain, "float64")


def test_a_median_over_many_rows_is_the_same_on_a_device(device, monkeypatch):
    monkeypatch.setattr(bandwidth, "MEDIAN_ROWS", 40)
    X, _, X_target, _ = toy()
    found = bandwidth.resolve(im.RBF(), device(X), device(X_target))
    assert found == bandwidth.resolve(im.RBF(), X, X_target)


ALIGNERS = [None, im.CORAL(), im.TJM(3), im.MIDA(3, mu=50.0, gamma=0)]
PIPELINES = [(align, model) for align in ALIGNERS for model in (LogisticRegression(), LinearRegression())]
PIPELINES += [(im.KLIEP(RBF), LogisticRegression()), (im.CORAL(), im.LinearSourceClassifier(random_state=0))]


@pytest.mark.parametrize(("align", "model"), PIPELINES, ids=str)
@both_types
def test_a_pipeline_aligns_on_the_device_and_trains_its_model_on_the_host(device, align, model, dtype):
    X, y, X_target, y_target = toy(dtype)
    pipeline = im.make_transfer_pipeline(align, model)
    known = np.arange(len(X_target)) % 5 == 0
    given = {"X": X, "y": y, "X_target": X_target, "y_target": y_target, "target_labelled": known}
    plain, there = fit_both(pipeline, device, given)
    assert_close(there.predict(device(X_target)), plain.predict(X_target), dtype)
    assert_close(there.predict(device(X), domain="source"), plain.predict(X, domain="source"), dtype)
    assert type(there.predict(device(X_target))) is np.ndarray
    assert there.score(device(X_target), y_target) == pytest.approx(plain.score(X_target, y_target), abs=1e-3)
    if hasattr(plain, "predict_proba"):
        found = there.predict_proba(device(X_target))
        np.testing.assert_allclose(found, plain.predict_proba(X_target), atol=TOLERANCES[dtype] * 10)


def test_a_pipeline_moves_aligned_rows_to_the_host_once(device, leaving):
    X, y, X_target, _ = toy(n=600)  # of which some hundred are looked at on the host
    pipeline = im.make_transfer_pipeline(im.SubspaceAlignment(2), LogisticRegression())
    pipeline.fit(device(X), y, device(X_target))
    assert [shape for shape in leaving if len(shape) == 2 and shape[0] == len(X)] == [(len(X), 2)]


def test_a_pipeline_whose_aligner_needs_the_host_says_so(device):
    X, y, X_target, _ = toy()
    pipeline = im.make_transfer_pipeline(im.NearestNeighbourWeights(), LogisticRegression())
    with pytest.raises(ValueError, match="NearestNeighbourWeights needs X in host memory, got torch on"):
        pipeline.fit(device(X), y, device(X_target))


@pytest.mark.gpu
@every_method
@both_types
def test_a_gpu_gives_what_numpy_gives(gpu, method, dtype, tmp_path):
    check(method, gpu, dtype, tmp_path)
