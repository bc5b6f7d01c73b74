"""Alignment chosen without target labels: the table, the rule, and what it may not look at."""

import dataclasses
import re
from pathlib import Path

import isthmus as im
import numpy as np
import pandas as pd
import pytest
from align_toys import shifted_classes
from isthmus.selection import SCORERS
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

METHODS = (im.MeanDiscrepancy(), im.CORAL(), im.TCA(n_components=3))


@pytest.fixture(autouse=True)
def one_blas_thread():
    """The matrices are small: several threads would mostly wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


def toy(shift=10.0, n=80):
    return shifted_classes(shift, seed=0, n=n, d=5)


class Table:
    """A scorer that gives each method, known by its aligner, the score of each fold in turn."""

    def __init__(self, **scores):
        self.scores = {name: list(values) for name, values in scores.items()}

    def __call__(self, estimator, X, y, sample_domain=None):
        return self.scores[type(estimator.align).__name__].pop(0)


def choose(**scores):
    X, y, X_target, _ = toy()
    return im.select_alignment(
        X,
        y,
        X_target,
        methods=[im.MeanDiscrepancy(), im.CORAL()],
        scorer=Table(**scores),
        cv=im.DomainSplit(3, test="both"),
    )


class TestChoice:
    def test_the_best_of_those_beyond_their_spread_is_chosen(self):
        result = choose(NoneType=[0.5, 0.6, 0.7], MeanDiscrepancy=[0.6, 0.7, 0.8], CORAL=[0.8, 0.9, 1.1])
        assert result.best == "CORAL" and "CORAL exceeds source only by 0.333" in result.reason
        assert isinstance(result.best_.align_, im.CORAL)

    def test_the_spread_is_of_the_differences_fold_by_fold(self):
        """Each fold moves all methods by 0.4; against source only on the same fold the gain is steady."""
        result = choose(NoneType=[0.1, 0.5, 0.9], MeanDiscrepancy=[0.15, 0.56, 0.94], CORAL=[0.0, 0.4, 0.8])
        assert result.best == "MeanDiscrepancy"

    def test_a_larger_mean_within_the_spread_does_not_beat_source_only(self):
        result = choose(NoneType=[0.5, 0.5, 0.5], MeanDiscrepancy=[0.5, 0.5, 0.5], CORAL=[0.3, 0.5, 1.2])
        assert result.best == "source only" and result.best_.align_ is None
        assert "No method exceeds source only" in result.reason

    def test_a_steady_gain_beats_a_larger_one_that_is_within_its_spread(self):
        result = choose(NoneType=[0.5] * 3, MeanDiscrepancy=[0.6, 0.61, 0.62], CORAL=[0.3, 0.5, 1.8])
        assert result.best == "MeanDiscrepancy"

    def test_every_scorer_shown_can_be_asked_for_its_choice(self):
        X, y, X_target, _ = toy()
        both = im.select_alignment(X, y, X_target, methods=[im.CORAL()], scorer=["entropy", "mmd"], cv=3)
        alone = im.select_alignment(X, y, X_target, methods=[im.CORAL()], scorer="mmd", cv=3)
        assert both.choice() == (both.best, both.reason)
        assert both.choice("mmd") == (alone.best, alone.reason) and alone.best == "CORAL"

    def test_a_method_that_fails_is_left_out_and_said(self):
        X, y, X_target, _ = toy()
        with pytest.warns(FitFailedWarning, match="Fails failed in fold 2 of 3 .*: RuntimeError: no luck"):
            result = im.select_alignment(
                X, y, X_target, methods=[Fails(), im.CORAL()], cv=im.DomainSplit(3, test="both")
            )
        assert np.isnan(result.mean()[1]) and np.isfinite(result.mean()[[0, 2]]).all()
        assert result.best != "Fails"


class Fails(ClassifierMixin, BaseEstimator):
    """Predicts by itself; its second fit fails."""

    fits = 0

    def fit(self, X, y):
        Fails.fits += 1
        if Fails.fits == 2:
            raise RuntimeError("no luck")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


class TestTable:
    def test_scores_are_those_of_the_folds_by_hand(self):
        X, y, X_target, y_target = toy()
        cv = im.DomainSplit(4, test="both", random_state=5)
        names = ["importance_weighted", "circular", "mmd"]
        result = im.select_alignment(
            X, y, X_target, methods=METHODS, scorer=names, cv=cv, y_target_test=y_target
        )
        assert result.methods == ("source only", "MeanDiscrepancy", "CORAL", "TCA")
        packed = im.pack_domains(X, X_target, y)
        true = np.concatenate([y, y_target])
        for i, align in enumerate((None, *METHODS)):
            folds = cv.split(packed.X, packed.y, sample_domain=packed.sample_domain)
            for k, (train, test) in enumerate(folds):
                pipeline = im.make_transfer_pipeline(align, LogisticRegression(max_iter=1000))
                pipeline.fit(packed.X[train], packed.y[train], sample_domain=packed.sample_domain[train])
                for name in names:
                    value = SCORERS[name]()(
                        pipeline, packed.X[test], packed.y[test], sample_domain=packed.sample_domain[test]
                    )
                    assert result.scores[name][i, k] == pytest.approx(value, rel=1e-12)
                held_out = test[test >= 80]
                assert result.target_score[i, k] == np.mean(
                    pipeline.predict(packed.X[held_out]) == true[held_out]
                )
        np.testing.assert_allclose(result.mean("mmd"), result.scores["mmd"].mean(axis=1))
        np.testing.assert_allclose(result.spread(), result.scores[names[0]].std(axis=1, ddof=1))
        row = result.to_dict()["CORAL"]
        assert row["circular"] == result.mean("circular")[2]
        assert row["target score"] == result.target_score[2].mean()
        assert row["fit seconds"] == result.fit_time[2].mean() > 0

    def test_the_chosen_one_is_fitted_on_all_rows(self):
        X, y, X_target, y_target = toy()
        result = im.select_alignment(X, y, X_target, methods={"moved": im.CORAL()}, scorer="mmd")
        assert result.best == "moved"
        alone = im.make_transfer_pipeline(im.CORAL(), LogisticRegression(max_iter=1000)).fit(X, y, X_target)
        np.testing.assert_allclose(result.best_.predict_proba(X_target), alone.predict_proba(X_target))
        raw = LogisticRegression().fit(X, y).score(X_target, y_target)
        assert result.best_.score(X_target, y_target) > raw + 0.05

    def test_true_target_labels_are_shown_and_not_used(self):
        X, y, X_target, y_target = toy()
        without, right, wrong = (
            im.select_alignment(X, y, X_target, methods=[im.CORAL()], scorer="circular", y_target_test=labels)
            for labels in (None, y_target, 1 - y_target)
        )
        assert without.target_score is None
        assert "target score" not in str(without) and "target score (not used)" in str(right)
        for other in (right, wrong):
            np.testing.assert_array_equal(other.scores["circular"], without.scores["circular"])
            assert other.best == without.best
        np.testing.assert_allclose(right.target_score + wrong.target_score, 1)

    def test_labels_of_unlabelled_target_rows_are_never_read(self):
        X, y, X_target, y_target = toy()
        known = np.arange(80) < 20
        poisoned = np.array([*y_target[:20].tolist(), *["unknown"] * 60], dtype=object)
        options = {"methods": [im.CORAL()], "scorer": "circular", "target_labelled": known}
        clean = im.select_alignment(X, y, X_target, y_target, **options)
        np.testing.assert_array_equal(
            im.select_alignment(X, y, X_target, poisoned, **options).scores["circular"],
            clean.scores["circular"],
        )
        unlabelled = im.select_alignment(X, y, X_target, methods=[im.CORAL()], scorer="circular")
        assert (clean.scores["circular"] != unlabelled.scores["circular"]).any()  # the 20 did reach the fits

    def test_it_prints_as_a_table_and_shows_as_html(self):
        X, y, X_target, _ = toy()
        result = im.select_alignment(X, y, X_target, methods={"<b>": im.CORAL()}, scorer=["mmd", "entropy"])
        lines = str(result).splitlines()
        assert lines[0].split() == ["method", "mmd", "entropy", "fit", "seconds"]
        assert lines[1].startswith("source only ") and lines[2].startswith("<b> *")
        assert f"{result.mean()[1]:.4g} ± {result.spread()[1]:.2g}" in lines[2]
        assert lines[-1] == result.reason
        page = result._repr_html_()
        assert page.count("<tr>") == 3 and "&lt;b&gt; *" in page and "<b>" not in page
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.best = "other"


class TestArguments:
    def test_all_scorers_by_name_and_default_methods(self):
        X, y, X_target, _ = toy(n=40)
        result = im.select_alignment(X, y, X_target, scorer=list(SCORERS), cv=im.DomainSplit(2, test="both"))
        assert list(result.scores) == list(SCORERS)
        quick = ("StandardScaling", "MeanDiscrepancy", "CORAL", "LinearOT", "SubspaceAlignment", "TCA")
        assert result.methods == ("source only", *quick)
        assert all(np.isfinite(values).all() for values in result.scores.values())

    def test_predictors_pipelines_and_the_users_model(self):
        X, y, X_target, _ = toy()
        own = im.TransferClassifier(im.LinearSourceClassifier(), align=im.CORAL())
        steps = make_pipeline(StandardScaler(), im.make_transfer_pipeline(im.CORAL(), LogisticRegression()))
        result = im.select_alignment(
            X,
            y,
            X_target,
            methods={"own": own, "steps": steps},
            scorer=[im.MMDScorer(), im.MMDScorer(kernel=im.Linear())],
            model=KNeighborsClassifier(3),
            cv=im.DomainSplit(2, test="both"),
        )
        assert list(result.scores) == ["MMDScorer", "MMDScorer(kernel=Linear())"]
        assert np.isfinite(result.mean()).all() and result.best in ("own", "steps")

    def test_a_pipeline_that_is_chosen_gets_its_domains(self):
        X, y, X_target, _ = toy()
        steps = make_pipeline(StandardScaler(), im.make_transfer_pipeline(im.CORAL(), LogisticRegression()))
        result = im.select_alignment(X, y, X_target, methods={"steps": steps}, scorer="mmd")
        assert result.best == "steps"
        packed = im.pack_domains(X, X_target, y)
        given = {"transferpipeline__sample_domain": packed.sample_domain}
        alone = clone(steps).fit(packed.X, packed.y, **given)
        np.testing.assert_allclose(result.best_.predict_proba(X_target), alone.predict_proba(X_target))

    @pytest.mark.parametrize("n_known", [0, 20])
    def test_a_model_that_knows_no_domains_learns_from_labelled_rows_only(self, n_known):
        X, y, X_target, y_target = toy()
        known = np.arange(80) < n_known
        model = KNeighborsClassifier(1)
        result = im.select_alignment(
            X,
            y,
            X_target,
            y_target,
            target_labelled=known,
            methods={"model": model, "steps": make_pipeline(StandardScaler(), model)},
            scorer="circular",
            model=model,
            y_target_test=y_target,
            cv=2,
        )
        # Source only is the same model on the same rows.
        np.testing.assert_array_equal(result.target_score[1], result.target_score[0])
        np.testing.assert_array_equal(result.scores["circular"][1], result.scores["circular"][0])
        packed = im.pack_domains(X, X_target, y, y_target, target_labelled=known)
        (train, test), *_ = im.DomainSplit(2, test="both").split(
            packed.X, packed.y, sample_domain=packed.sample_domain
        )
        train = train[(packed.sample_domain[train] >= 0) | packed.target_labelled[train]]
        alone = make_pipeline(StandardScaler(), clone(model)).fit(packed.X[train], packed.y[train])
        held = test[test >= 80]
        assert result.target_score[2][0] == np.mean(alone.predict(packed.X[held]) == y_target[held - 80])

    @pytest.mark.parametrize("scorer", ["dev", im.DeepEmbeddedValidation()], ids=str)
    def test_dev_compares_all_methods_by_one_loss(self, scorer):
        X, y, X_target, _ = toy()
        chosen = [im.CORAL(), im.EasyTL()]  # EasyTL has no probabilities
        found, zero_one, log = (
            im.select_alignment(X, y, X_target, methods=methods, scorer=one, cv=2).mean()
            for methods, one in (
                (chosen, scorer),
                (chosen, im.DeepEmbeddedValidation(loss="zero_one")),
                (chosen[:1], scorer),
            )
        )
        np.testing.assert_array_equal(found, zero_one)
        assert (found[:2] != log).all()

    def test_a_search_gets_its_domains(self):
        X, y, X_target, _ = toy()
        inner = im.make_transfer_pipeline(None, LogisticRegression(max_iter=1000))
        search = GridSearchCV(inner, {"align": [im.CORAL()]}, cv=im.DomainSplit(2))
        methods = {"search": search, "CORAL": im.CORAL()}
        result = im.select_alignment(X, y, X_target, methods=methods, scorer="mmd", cv=2)
        np.testing.assert_array_equal(result.scores["mmd"][1], result.scores["mmd"][2])
        assert result.best_.best_estimator_.align_.has_target_

    def test_several_sources_and_targets(self):
        X, y, X_target, y_target = toy()
        result = im.select_alignment(
            [X[:30], X[30:]],
            [y[:30], y[30:]],
            [X_target[:40], X_target[40:]],
            methods=[im.CORAL()],
            scorer="mmd",
            y_target_test=[y_target[:40], y_target[40:]],
        )
        assert result.best == "CORAL" and result.target_score[1].mean() > 0.8

    def test_tables_keep_their_names_in_the_chosen_model(self):
        X, y, X_target, _ = toy()
        names = list("abcde")
        table, target = pd.DataFrame(X, columns=names), pd.DataFrame(X_target, columns=names)
        result = im.select_alignment(table, y, target, methods=[im.CORAL()], scorer="mmd")
        assert result.best_.feature_names_in_.tolist() == names
        assert result.best_.predict(target).shape == (80,)

    def test_numbers_make_a_regression(self):
        X, _, X_target, _ = toy()
        y = X[:, 1] + 0.5
        result = im.select_alignment(
            X,
            y,
            X_target,
            methods=[im.CORAL()],
            y_target_test=X_target[:, 1],
            cv=im.DomainSplit(3, test="both"),
        )
        assert isinstance(result.best_.model_, Ridge)
        assert np.isfinite(result.target_score).all()

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"y": None}, ValueError, "needs the labels y of the source"),
            ({"scorer": "accuracy"}, ValueError, "scorer must be one of importance_weighted, dev, entropy"),
            ({"scorer": []}, ValueError, "at least one scorer"),
            ({"scorer": 3}, TypeError, "a name or a scorer object, got int"),
            ({"methods": ["CORAL"]}, TypeError, "methods must hold estimators, got str"),
            ({"methods": [im.CORAL]}, TypeError, "methods must hold estimators, got the class CORAL"),
            (
                {"methods": make_pipeline(im.CORAL(), Ridge())},
                TypeError,
                "Ridge at the end of 'Pipeline' would",
            ),
            ({"cv": 1}, ValueError, "n_splits must be an integer >= 2, got 1"),
            ({"methods": [im.CORAL(), im.CORAL()]}, ValueError, "got the same one twice"),
            ({"methods": {"source only": im.CORAL()}}, ValueError, "is taken"),
            ({"y_target_test": [0, 1]}, ValueError, "one label per target row, 80"),
            ({"cv": im.DomainSplit(3)}, ValueError, "needs source rows beside the target rows"),
            ({"X_target": np.zeros((3, 5))}, ValueError, "domain -1 must have at least 5 rows"),
        ],
    )
    def test_bad_input_gets_one_sentence(self, change, error, message):
        X, y, X_target, _ = toy()
        given = {"X": X, "y": y, "X_target": X_target} | change
        with pytest.raises(error, match=message):
            im.select_alignment(given.pop("X"), given.pop("y"), given.pop("X_target"), **given)

    def test_methods_of_one_class_are_told_apart(self):
        X, y, X_target, _ = toy()
        result = im.select_alignment(X, y, X_target, methods=[im.CORAL(), im.CORAL(ridge=0.5)], scorer="mmd")
        assert result.methods == ("source only", "CORAL()", "CORAL(ridge=0.5)")
        with pytest.raises(ValueError, match="scorer must be one of mmd, got 'dev'"):
            result.mean("dev")


def test_the_page_about_selection_runs():
    """Its blocks, as one program; the aligned model is chosen and is right."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    page = (Path(__file__).parents[1] / "docs" / "selection.md").read_text(encoding="utf-8")
    space = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        exec(block, space)
    assert space["found"].best != "source only"
    assert space["model"].score(space["X_target"], space["y_target"]) > 0.85
    assert space["search"].best_estimator_.align is not None and len(space["scores"]) == 5
    import matplotlib.pyplot as plt

    plt.close("all")
    assert set(re.findall(r"\bim\.(\w+)", page)) <= set(im.__all__)


def test_the_page_names_every_scorer():
    page = (Path(__file__).parents[1] / "docs" / "selection.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r'^\| `"(\w+)"` \| `(\w+)`', page, flags=re.MULTILINE))
    assert rows == {name: kind.__name__ for name, kind in SCORERS.items()}
