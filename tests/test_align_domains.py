"""The two forms of `fit`, the row rules, and what is refused, the same for every aligner."""

import isthmus as im
import numpy as np
import pandas as pd
import pytest
from align_toys import shifted_classes, two_covariances
from alignment_table import TABLE
from isthmus.align.domains import split_domains
from sklearn.base import clone

ALIGNERS = [row.estimator for row in TABLE if row.kind == "moves" and not row.labels and not row.known]
every_aligner = pytest.mark.parametrize("aligner", ALIGNERS, ids=str)


@every_aligner
def test_fit_without_a_target_is_the_identity_with_a_warning(aligner):
    X, _ = two_covariances()
    with pytest.warns(im.NoTargetWarning, match=f"{type(aligner).__name__} was fitted without target rows"):
        Z = clone(aligner).fit_transform(X)
    np.testing.assert_array_equal(Z, X)
    with pytest.warns(im.NoTargetWarning):
        fitted = clone(aligner).fit(X, sample_domain=np.arange(len(X)))
    assert not fitted.has_target_
    np.testing.assert_array_equal(fitted.transform(X, domain=np.full(len(X), -1)), X)
    assert list(fitted.get_feature_names_out()) == [f"x{i}" for i in range(6)]


@every_aligner
def test_labels_are_never_needed_and_never_guessed(aligner):
    X, X_target = two_covariances()
    y = np.where(np.arange(len(X)) % 2, -1, 1)
    with_labels = clone(aligner).fit(X, y, X_target).transform(X)
    np.testing.assert_array_equal(with_labels, clone(aligner).fit(X, None, X_target).transform(X))


@every_aligner
def test_labels_of_target_rows_are_not_read_unless_declared(aligner):
    X, y, X_target, _ = shifted_classes(3.0, 0, n=40)
    rows, domain = np.concatenate([X, X_target]), np.repeat([0, -1], 40)
    poisoned = np.concatenate([y.astype(float), np.full(40, np.nan)])
    found = clone(aligner).fit(rows, poisoned, sample_domain=domain).transform(X)
    np.testing.assert_allclose(found, clone(aligner).fit(X, y, X_target).transform(X), atol=1e-9)


@every_aligner
def test_every_row_goes_through_the_map_of_its_own_domain(aligner):
    X, X_target = two_covariances(30, 20)
    fitted = clone(aligner).fit(X, None, X_target)
    mixed = np.concatenate([X[:5], X_target[:4], X[5:6]])
    domain = np.array([0, 1, 2, 0, 0, -1, -2, -1, -9, 7])
    if aligner._each_domain:  # which refuses numbers that `fit` did not meet
        domain = np.where(domain >= 0, 0, -1)
    Z = fitted.transform(mixed, domain=domain)
    source = domain >= 0
    np.testing.assert_allclose(Z[source], fitted.transform(mixed[source], domain="source"), atol=1e-12)
    np.testing.assert_allclose(Z[~source], fitted.transform(mixed[~source]), atol=1e-12)


@every_aligner
def test_tables_keep_their_names_and_index(aligner):
    X, X_target = two_covariances(30, 20)
    names = [f"column {i}" for i in range(6)]
    table = pd.DataFrame(X, columns=names, index=range(100, 130))
    target = pd.DataFrame(X_target, columns=names)
    fitted = clone(aligner).set_output(transform="pandas")
    Z = fitted.fit_transform(table, None, target)
    assert list(Z.index) == list(range(100, 130))
    assert list(Z.columns) == list(fitted.get_feature_names_out())
    assert fitted.feature_names_in_.tolist() == names
    np.testing.assert_allclose(Z.to_numpy(), clone(aligner).fit_transform(X, None, X_target), atol=1e-12)


@every_aligner
def test_target_table_with_other_columns_is_refused(aligner):
    X, X_target = two_covariances(30, 20)
    table = pd.DataFrame(X, columns=list("abcdef"))
    with pytest.raises(ValueError, match="feature names"):
        clone(aligner).fit(table, None, pd.DataFrame(X_target, columns=list("abcdeg")))
    with pytest.raises(ValueError, match="same order"):
        clone(aligner).fit(table, None, pd.DataFrame(X_target, columns=list("abcdfe")))


def with_value(rows, value):
    changed = rows.copy()
    changed[3, 1] = value
    return changed


X, X_TARGET = two_covariances(30, 20)
ROWS, DOMAIN = np.concatenate([X, X_TARGET]), np.repeat([0, -1], [30, 20])
LABELS = np.arange(50) % 2

REFUSED = [
    ((X, None, X_TARGET[:, :4]), {}, ValueError, r"X has shape \(30, 6\), X_target \(20, 4\)"),
    ((ROWS, None, DOMAIN), {}, TypeError, r"did you mean sample_domain=\?"),
    ((ROWS, None, DOMAIN.tolist()), {}, TypeError, r"did you mean sample_domain=\?"),
    ((X, None, X_TARGET), {"sample_domain": np.zeros(30, int)}, ValueError, "or sample_domain, got both"),
    ((X, None, None, LABELS[:20]), {}, ValueError, "y_target needs X_target"),
    ((ROWS, None), {"sample_domain": np.full(50, -1)}, ValueError, "at least one source row"),
    ((ROWS, None), {"sample_domain": DOMAIN[:49]}, ValueError, r"shape \(50,\), got \(49,\)"),
    ((ROWS, None), {"sample_domain": DOMAIN.astype(float)}, TypeError, "integers .* got dtype float64"),
    ((ROWS, None), {"sample_domain": DOMAIN < 0}, TypeError, "integers .* got dtype bool"),
    ((ROWS, LABELS[:49]), {"sample_domain": DOMAIN}, ValueError, "one label per row of X, 50"),
    ((X, None, X_TARGET, LABELS[:19]), {}, ValueError, "one label per row of X_target, 20"),
    (
        (ROWS, None),
        {"sample_domain": DOMAIN, "target_labelled": DOMAIN < 0},
        ValueError,
        "so y is needed, got None",
    ),
    (
        (X, None, X_TARGET),
        {"target_labelled": np.ones(20, bool)},
        ValueError,
        "so y_target is needed, got None",
    ),
    ((X, LABELS[:30]), {"target_labelled": np.ones(30, bool)}, ValueError, "target_labelled needs X_target"),
    (
        (ROWS, LABELS),
        {"sample_domain": DOMAIN, "target_labelled": DOMAIN},
        TypeError,
        "target_labelled must be boolean",
    ),
    (
        (ROWS, LABELS),
        {"sample_domain": DOMAIN, "target_labelled": DOMAIN[:5] < 0},
        ValueError,
        r"target_labelled .* shape \(50,\), got \(5,\)",
    ),
    ((X, None, X_TARGET[:1]), {}, ValueError, "at least 2 target rows, got n_samples = 1"),
    ((X[:1], None, X_TARGET), {}, ValueError, "at least 2 source rows, got n_samples = 1"),
    ((with_value(X, np.nan), None, X_TARGET), {}, ValueError, "X contains NaN .*row 3 column 1"),
    ((X, None, with_value(X_TARGET, np.inf)), {}, ValueError, "X_target contains infinity .*row 3 column 1"),
    ((X, None, X_TARGET), {"sample_weight": -np.ones(30)}, ValueError, "[Nn]egative"),
    (
        (ROWS, None),
        {"sample_domain": DOMAIN, "sample_weight": (DOMAIN >= 0) * 1.0},
        ValueError,
        "sample_weight must be positive on at least one target row",
    ),
]


@pytest.mark.parametrize(("given", "keywords", "error", "message"), REFUSED, ids=[row[3] for row in REFUSED])
@every_aligner
def test_wrong_input_is_refused_in_one_sentence(aligner, given, keywords, error, message):
    with pytest.raises(error, match=message):
        clone(aligner).fit(*given, **keywords)


@every_aligner
@pytest.mark.parametrize(
    ("domain", "error", "message"),
    [
        ("both", ValueError, "domain must be 'source', 'target' or an array of integers, got 'both'"),
        (np.zeros(3, int), ValueError, r"domain must have one entry per row of X, shape \(30,\), got \(3,\)"),
        (np.zeros(30), TypeError, "domain must hold integers"),
    ],
)
def test_wrong_domain_of_transform_is_refused(aligner, domain, error, message):
    fitted = clone(aligner).fit(X, None, X_TARGET)
    with pytest.raises(error, match=message):
        fitted.transform(X, domain=domain)


def test_infinity_passes_where_the_user_vouches_for_the_data():
    with im.config(assume_finite=True):
        Z = im.MeanDiscrepancy().fit(X, None, X_TARGET).transform(with_value(X, np.nan))
    assert np.isnan(Z[3]).any()


def test_half_precision_is_computed_as_float32():
    assert (
        im.CORAL().fit_transform(X.astype(np.float16), None, X_TARGET.astype(np.float16)).dtype == np.float32
    )


@pytest.mark.parametrize(("given", "kept"), [("bfloat16", "float32"), ("float32",) * 2, ("float64",) * 2])
@pytest.mark.parametrize("aligner", [im.CORAL(), im.TCA(2), im.KMM()], ids=str)
def test_tensors_keep_their_float_type(aligner, given, kept):
    torch = pytest.importorskip("torch")
    tensors = [torch.from_numpy(rows).to(getattr(torch, given)) for rows in (X, X_TARGET)]
    host = [rows.to(getattr(torch, kept)).numpy() for rows in tensors]
    Z = clone(aligner).fit_transform(tensors[0], None, tensors[1])
    assert isinstance(Z, torch.Tensor) and Z.dtype == getattr(torch, kept)
    np.testing.assert_array_equal(Z.numpy(), clone(aligner).fit_transform(host[0], None, host[1]))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_byte_order_and_layout_of_the_rows_change_nothing(dtype, order):
    native = dtype.replace(">", "<")
    expected = im.CORAL().fit_transform(X.astype(native), None, X_TARGET.astype(native))
    Z = im.CORAL().fit_transform(X.astype(dtype, order), None, X_TARGET.astype(dtype, order))
    np.testing.assert_array_equal(Z, expected)
    assert Z.dtype == np.dtype(native)


@pytest.mark.parametrize("labels", [[1, 0, 1, "?"], [1, 0, 1, None], np.array([1, 0, 1, "?"], dtype=object)])
def test_numbers_stay_numbers_beside_the_text_of_rows_left_out(labels):
    split = split_domains(np.zeros((4, 2)), labels, sample_domain=np.array([0, 0, 0, -1]))
    assert split.y_source.tolist() == [1, 0, 1] and split.y_source.dtype.kind == "i"


def test_labels_of_mixed_kinds_are_not_turned_into_text():
    labels = np.array([1, "a", 1, None], dtype=object)
    split = split_domains(np.zeros((4, 2)), labels, sample_domain=np.array([0, 0, 0, -1]))
    assert split.y_source.tolist() == [1, "a", 1]


def test_split_keeps_the_order_of_rows_in_each_domain():
    domain = np.array([-1, 0, 2, -3, 0])
    rows, y = np.arange(10.0).reshape(5, 2), np.array(["t", "a", "b", None, "c"], dtype=object)
    labelled = np.array([True, True, False, False, True])
    split = split_domains(rows, y, sample_domain=domain, target_labelled=labelled)
    np.testing.assert_array_equal(split.X_source, rows[[1, 2, 4]])
    np.testing.assert_array_equal(split.X_target, rows[[0, 3]])
    assert split.y_source.tolist() == ["a", "b", "c"] and split.y_source.dtype.kind == "U"
    assert split.target_labelled.tolist() == [True, False]
