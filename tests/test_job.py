"""The whole job from Python: who learns from which rows, what is reported, what is kept."""

import csv
import json
import subprocess
import sys

import isthmus as im
import numpy as np
import pytest
from isthmus import job, plot
from isthmus.alignments import ALIGNMENTS
from isthmus.report import SCORES
from sklearn.linear_model import Ridge

KEYS = list(SCORES)


def clouds(n=60, seed=0, shift=1.5, d=3):
    """Two classes per domain; the target is moved, and its second class lies elsewhere."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, d)) + 3.0 * y[:, None]
    X_target = rng.normal(size=(n, d)) * [1.0, 2.0, 0.5] + 3.0 * y[:, None] + shift
    return X, y, X_target


def lines(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X, X_target = rng.normal(size=(n, 3)), rng.normal(size=(n, 3)) + 0.5
    y, y_target = X @ [1.0, -2.0, 0.5] + 100, X_target @ [1.0, -2.0, 0.7] + 101
    return X, y + 0.1 * rng.normal(size=n), X_target, y_target + 0.1 * rng.normal(size=n)


def quick(source, target, **options):
    """`im.transfer` with linear models, which are exact and fast."""
    return im.transfer(source, target, **{"model": "linear", **options})


def partly(y, n_labelled):
    return [value if i < n_labelled else None for i, value in enumerate(np.asarray(y).tolist())]


CLASSES = {
    "integers": [0, 1],
    "negative integers": [-1, 1],
    "booleans": [False, True],
    "text": ["cat", "a dog, brown"],
    "numpy text": [np.str_("u"), np.str_("v")],
}


@pytest.mark.parametrize("values", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("align", ALIGNMENTS)
def test_class_labels_of_any_type_come_back_as_predictions(values, align):
    X, y, X_target = clouds()
    named = [values[k] for k in y]
    result = quick((X, named), (X_target, partly(np.array(named), 40)), align=align)
    assert set(result.predictions.tolist()) <= set(values)
    assert result.classes == tuple(sorted(values))
    assert result.scores["fine_tuned"].score > 0.7
    assert (result.scores["aligned"] is None) == (align == "none") == (result.shift_after is None)


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_regression_runs_through_every_alignment(align):
    X, y, X_target, y_target = lines()
    result = quick((X, y), (X_target, y_target), align=align)
    assert result.task == "regression" and result.metric == "r2"
    assert result.scores["fine_tuned"].score > 0.5
    assert result.predictions.dtype == np.float64


@pytest.mark.parametrize(
    "n_labelled, label, n_scores",
    [
        (0, "unknown", 0),
        (1, "not enough labels", 0),
        (9, "not enough labels", 4),
        (10, None, 4),
        (60, None, 4),
    ],
)
def test_the_verdict_depends_on_the_number_of_target_labels(n_labelled, label, n_scores):
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, partly(y, n_labelled)))
    assert (result.verdict.label in ("helped", "hurt", "neutral")) == (label is None)
    assert label is None or result.verdict.label == label
    assert sum(score is not None for score in result.scores.values()) == n_scores
    target = result.domains["target"]
    assert target["labelled"] == n_labelled == target["train"] + target["test"]
    assert result.splits.tolist().count("unlabelled") == 60 - n_labelled


def test_without_target_labels_the_aligned_model_is_kept():
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, None))
    assert set(result.models) == {"source_only", "aligned"}
    assert result.model is result.models["aligned"]
    np.testing.assert_array_equal(result.predictions, result.model.predict(X_target))


def test_held_out_labels_reach_no_model():
    X, y, X_target, y_target = lines()
    first = quick((X, y), (X_target, y_target))
    other = np.where(first.splits == "test", -y_target, y_target)
    second = quick((X, y), (X_target, other))
    assert first.splits.tolist() == second.splits.tolist()
    assert first.scores != second.scores
    for key in KEYS:
        np.testing.assert_array_equal(
            first.models[key].predict(X_target), second.models[key].predict(X_target)
        )


def test_scores_are_those_of_the_models_on_the_held_out_rows():
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, y))
    rows = result.splits == "test"
    for key in KEYS:
        accuracy = (result.models[key].predict(X_target[rows]) == y[rows]).mean()
        assert result.scores[key].score == pytest.approx(accuracy, abs=1e-15)
        assert result.scores[key].low <= accuracy <= result.scores[key].high


def test_r2_on_held_out_rows_agrees_with_its_formula():
    X, y, X_target, y_target = lines()
    result = quick((X, y), (X_target, y_target))
    rows = result.splits == "test"
    truth, guess = y_target[rows], result.models["fine_tuned"].predict(X_target[rows])
    expected = 1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert result.scores["fine_tuned"].score == pytest.approx(expected, rel=1e-12)


def test_source_only_uses_no_target_label_and_target_only_no_source_row():
    X, y, X_target, y_target = lines(200)
    result = quick((X, y), (X_target, y_target), align="none")
    train = result.splits == "train"
    scale = result.models["source_only"].named_steps["scale"].transform
    # The exact linear model is a ridge regression: mean squared loss / 2 plus alpha / (2 n) of the weights.
    for key, rows, values in (("source_only", X, y), ("target_only", X_target[train], y_target[train])):
        ridge = Ridge(alpha=result.models[key].named_steps["model"].alpha).fit(scale(rows), values)
        np.testing.assert_allclose(
            result.models[key].predict(X_target), ridge.predict(scale(X_target)), rtol=1e-6
        )


def test_the_scaling_is_one_map_in_which_each_domain_counts_half():
    X, y, X_target = clouds(40)
    result = quick((X, y), (np.repeat(X_target, 3, axis=0), None))
    scaler = result.model.named_steps["scale"]
    mean = (X.mean(axis=0) + X_target.mean(axis=0)) / 2
    np.testing.assert_allclose(scaler.mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(
        scaler.var_, (((X - mean) ** 2).mean(0) + ((X_target - mean) ** 2).mean(0)) / 2
    )


def test_a_shift_is_found_and_alignment_lowers_it():
    X, y, X_target = clouds(shift=3.0)
    result = quick((X, y), (X_target, None))
    assert result.shift_before.pvalue == 1 / 1000
    assert result.shift_after.mmd2 < result.shift_before.mmd2 / 5
    same = quick((X, y), (clouds(seed=1)[0], None), align="none")
    assert same.shift_before.pvalue > 0.05


def test_the_same_seed_gives_the_same_numbers_and_another_seed_another_split():
    X, y, X_target = clouds()
    first, second = (im.transfer((X, y), (X_target, partly(y, 30))) for _ in range(2))
    one, two = first.to_dict(), second.to_dict()
    del one["timing_s"], two["timing_s"]
    assert one == two
    np.testing.assert_array_equal(first.predictions, second.predictions)
    other = quick((X, y), (X_target, partly(y, 30)), random_state=1)
    assert other.splits.tolist() != first.splits.tolist()


def test_source_rows_without_label_are_left_out_and_counted():
    X, y, X_target = clouds()
    result = quick((X, partly(y, 50)), (X_target, None))
    assert result.domains["source"]["rows"] == 50
    assert any("10 source rows without a label were left out" in note for note in result.notes)


def test_training_rows_of_one_class_leave_no_target_only_model():
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, [1 if value and i < 30 else None for i, value in enumerate(y)]))
    assert "target_only" not in result.models and result.scores["target_only"] is None
    assert any("no target-only model" in note for note in result.notes)
    assert result.verdict.baseline == "source-only"


def test_held_out_numbers_that_are_all_the_same_give_no_score():
    X, y, X_target, _ = lines()
    result = quick((X, y), (X_target, np.full(60, 100.5)), task="regression")
    assert not any(result.scores.values()) and result.verdict.label == "not enough labels"


def test_more_columns_than_rows_and_constant_columns_work():
    rng = np.random.default_rng(0)
    X, X_target = rng.normal(size=(12, 20)), rng.normal(size=(10, 20))
    X[:, 3] = X_target[:, 3] = 5.0
    for align in ALIGNMENTS:
        result = quick((X, np.arange(12) % 2), (X_target, np.arange(10) % 2), align=align)
        assert np.isin(result.predictions, [0, 1]).all()


@pytest.mark.parametrize(
    ("align", "kind"),
    [
        ("coral", im.CORAL),
        ("linear-ot", im.LinearOT),
        ("standard", im.StandardScaling),
        ("subspace", im.SubspaceAlignment),
        ("gfk", im.GFK),
        ("tca", im.TCA),
    ],
)
def test_the_aligned_model_holds_the_method_named(align, kind):
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, None), align=align)
    aligner = result.model.named_steps["align"]
    assert type(aligner) is kind and getattr(aligner, "with_mean", True)
    shown = [entry["after"] for entry in result.feature_shift]
    if align in ("coral", "linear-ot"):  # in the units of the features
        np.testing.assert_allclose(shown, 0, atol=1e-9)
    else:
        assert set(shown) == {None}


def test_numbers_too_large_to_scale_are_named():
    X, y, X_target = clouds()
    X[3, 1] = 1e200
    with pytest.raises(ValueError, match="column 'x1' must have a finite variance, found numbers too large"):
        quick((X, y), (X_target, None))


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None])
def test_a_seed_that_is_no_integer_in_range_is_refused(seed):
    X, y, X_target = clouds()
    with pytest.raises(ValueError, match=rf"random_state must be an integer from 0 .* found {seed}"):
        quick((X, y), (X_target, None), random_state=seed)


def test_one_held_out_row_gives_no_score_and_no_verdict():
    """Its resamples are all the same, so that its interval would have no width."""
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, y), test_size=0.01)
    assert not any(result.scores.values()) and result.verdict.label == "not enough labels"
    assert "There are no scores: at least two held-out rows are needed, found 1." in result.notes


def test_networks_settle_on_few_target_rows():
    """200 epochs of one step each would stop the target-only baseline early."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 5)) + y[:, None]
    result = im.transfer((X, y), (X + 1, partly(y, 30)))
    assert not any("ConvergenceWarning" in note for note in result.notes)
    assert result.models["target_only"].named_steps["model"].n_iter_ > 200


def test_a_label_column_may_have_a_number_for_its_name():
    pandas = pytest.importorskip("pandas")
    X, y, X_target = clouds()
    source = pandas.DataFrame(np.column_stack([X, y]))
    assert quick(source, pandas.DataFrame(X_target), label=3).features == ("0", "1", "2")


def test_large_domains_measure_the_shift_on_2000_rows_each():
    X, y, X_target = clouds(2500)
    result = quick((X, y), (X_target[:100], None))
    assert (result.shift_before.source_rows, result.shift_before.target_rows) == (2000, 100)
    assert any("2000 random rows" in note for note in result.notes)


def test_the_result_prints_shows_and_exports_plain_json():
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, y))
    assert str(result).startswith("Transfer to a new domain")
    assert "<table" in result._repr_html_() and "<html" not in result._repr_html_()
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values == result.to_dict()
    assert values["scores"]["fine_tuned"]["score"] == result.scores["fine_tuned"].score
    assert {"isthmus", "numpy", "python"} <= set(values["versions"])
    assert all(seconds >= 0 for seconds in values["timing_s"].values())


def test_the_result_of_a_source_tree_that_is_not_installed_names_its_version(monkeypatch):
    def version(name, installed=job.metadata.version):
        if name == "isthmus":
            raise job.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(job.metadata, "version", version)
    X, y, X_target = clouds()
    assert quick((X, y), (X_target, None)).versions["isthmus"] == im.__version__


def test_numbers_that_are_not_finite_become_null():
    from isthmus.result import _plain

    assert _plain({"a": float("nan"), 1: [np.float64("inf"), np.int64(3)]}) == {"a": None, "1": [None, 3]}


def write_job(folder, **options):
    X, y, X_target = clouds()
    named = np.array(["cat", "dog"])[y]
    return X_target, quick((X, named), (X_target, partly(named, 40)), out=folder / "out", **options)


def test_the_saved_model_predicts_raw_target_rows_in_a_new_process(tmp_path):
    X_target, result = write_job(tmp_path)
    np.save(tmp_path / "X.npy", X_target)
    code = (
        "import sys, numpy as np, isthmus as im\n"
        "model = im.load(sys.argv[1]); np.save(sys.argv[3], model.predict(np.load(sys.argv[2])))"
    )
    files = [tmp_path / "out" / "model.safetensors", tmp_path / "X.npy", tmp_path / "y.npy"]
    subprocess.run([sys.executable, "-c", code, *map(str, files)], check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), result.predictions)


@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize("align", ALIGNMENTS)
@pytest.mark.parametrize("n_labelled", [0, 40])
def test_every_kept_model_comes_back_from_its_file(model, align, n_labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(plot, "available", lambda: False)  # the pictures take the longest
    X, y, X_target = clouds()
    result = im.transfer(
        (X, y), (X_target, partly(y, n_labelled)), model=model, align=align, out=tmp_path / "out"
    )
    loaded = im.load(tmp_path / "out" / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(X_target), result.predictions)
    np.testing.assert_array_equal(loaded.predict_proba(X_target), result.model.predict_proba(X_target))


def test_predictions_name_every_target_row_its_label_and_its_split(tmp_path):
    _, result = write_job(tmp_path)
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["prediction"] for row in rows] == result.predictions.tolist()
    assert [row["split"] for row in rows] == result.splits.tolist()
    assert [row["label"] for row in rows] == [["cat", "dog"][i % 2] if i < 40 else "" for i in range(60)]


class Blocked:
    """Refuses the import of matplotlib."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)


def test_without_matplotlib_the_report_has_tables_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    _, result = write_job(tmp_path)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" not in page and "<table" in page
    assert "pip install &#x27;isthmus[plot]&#x27;" in page
    assert any("isthmus[plot]" in note for note in result.notes)


def test_with_matplotlib_the_report_has_plots(tmp_path):
    pytest.importorskip("matplotlib")
    _, result = write_job(tmp_path)
    assert (tmp_path / "out" / "report.html").read_text().count("<svg") == 4
    assert not any("isthmus[plot]" in note for note in result.notes)


def test_nothing_is_written_without_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y, X_target = clouds()
    quick((X, y), (X_target, y))
    assert not list(tmp_path.iterdir())


def test_progress_names_the_stages_in_order():
    stages = []
    X, y, X_target = clouds()
    result = quick((X, y), (X_target, y), progress=stages.append)
    assert stages[0] == "reading" and stages[-1] == "scoring"
    assert set(result.timing) == set(stages)


@pytest.mark.parametrize("name", ["task", "align", "model"])
def test_an_unknown_setting_lists_the_allowed_ones(name):
    X, y, X_target = clouds()
    with pytest.raises(ValueError, match=rf"{name} must be one of '.*, found 'magic'"):
        im.transfer((X, y), (X_target, y), **{name: "magic"})


def test_a_target_without_the_label_column_is_unlabelled():
    pandas = pytest.importorskip("pandas")
    X, y, X_target = clouds()
    source = pandas.DataFrame(X, columns=["a", "b", "c"]).assign(target=y)
    target = pandas.DataFrame(X_target, columns=["a", "b", "c"])
    result = quick(source, target)
    assert result.verdict.label == "unknown" and result.features == ("a", "b", "c")
    swapped = quick(source, target[["c", "a", "b"]])
    np.testing.assert_array_equal(swapped.predictions, result.predictions)


def test_the_function_is_public_and_stays_a_function_after_its_module_s_import():
    import isthmus.transfer  # noqa: F401

    assert im.transfer is job.transfer
