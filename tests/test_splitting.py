"""Domains in one array and back, and cross-validation in which every training part has all domains."""

import isthmus as im
import numpy as np
import pandas as pd
import pytest
import sklearn
from align_toys import shifted_classes
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def toy(n=60, d=4):
    X, y, X_target, y_target = shifted_classes(2.0, seed=1, n=n, d=d)
    return X, y, X_target, y_target


def packed_toy(n=60):
    X, y, X_target, _ = toy(n)
    return im.pack_domains(X, X_target, y)


def pipeline():
    return im.make_transfer_pipeline(im.CORAL(), LogisticRegression())


class TestPack:
    def test_stacks_sources_then_targets_and_numbers_them(self):
        X, y, X_target, _ = toy()
        packed = im.pack_domains([X[:20], X[20:]], [X_target[:50], X_target[50:]], [y[:20], y[20:]])
        np.testing.assert_array_equal(packed.X, np.concatenate([X, X_target]))
        np.testing.assert_array_equal(packed.y[:60], y)
        np.testing.assert_array_equal(packed.sample_domain, np.repeat([0, 1, -1, -2], [20, 40, 50, 10]))
        assert not packed.target_labelled.any() and packed.sample_weight is None

    @pytest.mark.parametrize("labels", [[-1, 1], ["no", "yes"], [0.25, 1.5]])
    def test_unlabelled_target_rows_hold_the_first_source_label(self, labels):
        X, y, X_target, y_target = toy()
        y, y_target = np.array(labels)[y], np.array(labels)[y_target]
        known = np.arange(60) % 3 == 0
        packed = im.pack_domains(X, X_target, y, y_target, target_labelled=known)
        assert packed.y.dtype == y.dtype
        np.testing.assert_array_equal(packed.y[60:][known], y_target[known])
        assert set(packed.y[60:][~known].tolist()) == {y[0].item()}
        np.testing.assert_array_equal(packed.target_labelled, np.r_[np.zeros(60, bool), known])

    @pytest.mark.parametrize("poison", [np.nan, None, "unknown", 99])
    def test_what_stood_in_the_place_of_a_label_does_not_matter(self, poison):
        X, y, X_target, y_target = toy()
        known = np.arange(60) < 7
        labels = [label if is_known else poison for label, is_known in zip(y_target, known, strict=True)]
        packed = im.pack_domains(X, X_target, y, np.array(labels, dtype=object), target_labelled=known)
        expected = im.pack_domains(X, X_target, y, y_target, target_labelled=known)
        np.testing.assert_array_equal(packed.y, expected.y)
        assert packed.y.dtype == expected.y.dtype

    def test_longer_text_of_the_target_is_not_cut(self):
        packed = im.pack_domains(np.zeros((2, 1)), np.ones((2, 1)), ["a", "b"], ["a", "longer"])
        assert packed.y.tolist() == ["a", "b", "a", "longer"]

    def test_one_of_several_targets_may_have_labels(self):
        X, y, X_target, y_target = toy()
        packed = im.pack_domains(X, [X_target[:20], X_target[20:]], y, [None, y_target[20:]])
        np.testing.assert_array_equal(packed.target_labelled, np.arange(120) >= 80)
        np.testing.assert_array_equal(packed.y[80:], y_target[20:])

    def test_weights_are_1_where_only_the_other_side_has_them(self):
        X, y, X_target, _ = toy()
        packed = im.pack_domains(X, X_target, y, sample_weight=np.arange(60) + 2)
        np.testing.assert_array_equal(packed.sample_weight, np.r_[np.arange(60) + 2, np.ones(60)])
        packed = im.pack_domains(X, X_target, y, target_weight=np.arange(60) + 2)
        np.testing.assert_array_equal(packed.sample_weight, np.r_[np.ones(60), np.arange(60) + 2])

    def test_float32_stays(self):
        X, y, X_target, _ = toy()
        assert im.pack_domains(X.astype("f"), X_target.astype("f"), y).X.dtype == np.float32
        assert im.pack_domains(X.astype("f"), X_target, y).X.dtype == np.float64

    def test_unpacking_gives_the_direct_form_back_from_any_order_of_rows(self):
        X, y, X_target, y_target = toy()
        known = np.arange(40) < 5
        packed = im.pack_domains(
            [X[:20], X[20:]], X_target[:40], [y[:20], y[20:]], y_target[:40], target_labelled=known
        )
        order = np.concatenate([np.arange(60, 100), np.arange(60)])  # targets first
        back = im.unpack_domains(*(values[order] for values in packed[:4]))
        for part, expected in zip(back[0] + back[1], [X[:20], X[20:], y[:20], y[20:]], strict=True):
            np.testing.assert_array_equal(part, expected)
        np.testing.assert_array_equal(back[2], X_target[:40])
        np.testing.assert_array_equal(back[3][known], y_target[:40][known])
        np.testing.assert_array_equal(back[4], known)
        assert im.unpack_domains(packed.X, packed.y, packed.sample_domain)[3:] == (None, None)
        np.testing.assert_array_equal(im.unpack_domains(packed.X, None, packed.sample_domain)[2], back[2])

    def test_unpacking_keeps_the_order_of_several_targets(self):
        X, y, X_target, y_target = toy()
        parts = [X_target[:10], X_target[10:30], X_target[30:]]
        packed = im.pack_domains(X, parts, y, [y_target[:10], None, y_target[30:]])
        back = im.unpack_domains(*packed[:4])
        for part, expected in zip(back[2], parts, strict=True):
            np.testing.assert_array_equal(part, expected)
        assert [part.tolist() for part in back[4]] == [[True] * 10, [False] * 20, [True] * 30]

    def test_numbers_in_a_list_beside_text_stay_numbers(self):
        y = im.unpack_domains(np.eye(4), [3, 5, "unknown", None], [0, 0, -1, -1])[1]
        assert y.dtype.kind == "i" and y.tolist() == [3, 5]

    def test_both_forms_fit_the_same(self):
        X, y, X_target, y_target = toy()
        packed = im.pack_domains(X, X_target, y, y_target, target_labelled=np.arange(60) < 9)
        stacked = pipeline().fit(
            packed.X, packed.y, sample_domain=packed.sample_domain, target_labelled=packed.target_labelled
        )
        *direct, known = im.unpack_domains(*packed[:4])
        two = pipeline().fit(*direct, target_labelled=known)
        np.testing.assert_allclose(stacked.model_.coef_, two.model_.coef_, rtol=1e-9)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"X_target": np.zeros((3, 5))}, ValueError, "width d = 2"),
            ({"X_target": None}, ValueError, "X_target must hold the target rows"),
            ({"y": None, "y_target": [0, 1]}, ValueError, "y_target needs the labels y"),
            ({"y_target": ["a", "b"]}, TypeError, r"one kind, got no text \(0\) and text \('a'\)"),
            ({"y": [0, 1]}, ValueError, "y must have one label per row of X, 3"),
            ({"target_labelled": [True, True]}, ValueError, "y_target is needed"),
            ({"target_weight": [1.0]}, ValueError, r"one entry per target row, shape \(2,\)"),
            ({"X_target": [[np.nan, 0.0], [0.0, 0.0]]}, ValueError, "X_target contains NaN"),
        ],
    )
    def test_bad_input_gets_one_sentence(self, change, error, message):
        given = {"X": np.zeros((3, 2)), "y": [0, 1, 1], "X_target": np.ones((2, 2))} | change
        with pytest.raises(error, match=message):
            im.pack_domains(given.pop("X"), given.pop("X_target"), **given)

    def test_tables_must_name_the_same_columns(self):
        table = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0]})
        np.testing.assert_array_equal(im.pack_domains(table, table).X, np.tile(table.to_numpy(), (2, 1)))
        with pytest.raises(ValueError, match="feature names"):
            im.pack_domains(table, table[["b", "a"]])


class TestDomainSplit:
    def test_target_rows_are_tested_once_and_all_source_rows_train(self):
        packed = packed_toy()
        domain = packed.sample_domain
        folds = list(im.DomainSplit(4).split(packed.X, packed.y, sample_domain=domain))
        assert len(folds) == im.DomainSplit(4).get_n_splits() == 4
        np.testing.assert_array_equal(
            np.sort(np.concatenate([test for _, test in folds])), np.arange(60, 120)
        )
        for train, test in folds:
            np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(120))
            assert np.sum(domain[train] >= 0) == 60 and np.sum(domain[train] < 0) == 45

    def test_both_tests_every_row_once_and_every_number_evenly(self):
        X, y, X_target, _ = toy()
        packed = im.pack_domains([X[:21], X[21:]], [X_target[:33], X_target[33:]], [y[:21], y[21:]])
        order = np.random.default_rng(0).permutation(120)
        domain = packed.sample_domain[order]
        folds = list(im.DomainSplit(5, test="both").split(packed.X[order], packed.y[order], domain))
        np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(120))
        for number, size in ((0, 21), (1, 39), (-1, 33), (-2, 27)):
            counts = [np.sum(domain[test] == number) for _, test in folds]
            assert max(counts) - min(counts) <= 1 and sum(counts) == size

    @pytest.mark.parametrize("labels", [["b", "a", "c"], [-1, 7, 3]])
    def test_each_class_of_the_source_is_spread_evenly(self, labels):
        rng = np.random.default_rng(0)
        y = np.array(labels)[np.repeat([0, 1, 2, 0], [40, 13, 7, 30])]
        domain = np.repeat([2, -1], [60, 30])
        for _, test in im.DomainSplit(5, test="both").split(
            rng.normal(size=(90, 2)), y, sample_domain=domain
        ):
            tested = y[test[domain[test] >= 0]]
            for label, count in zip(labels, (40, 13, 7), strict=True):
                assert count // 5 <= np.sum(tested == label) <= -(-count // 5)

    @pytest.mark.parametrize("poison", [np.nan, None, "unknown", 99])
    def test_labels_of_target_rows_do_not_change_the_folds(self, poison):
        packed = packed_toy()
        poisoned = np.array([*packed.y[:60].tolist(), *[poison] * 60], dtype=object)
        splits = [
            im.DomainSplit(3, test="both").split(packed.X, labels, sample_domain=packed.sample_domain)
            for labels in (packed.y, poisoned)
        ]
        for (_, left), (_, right) in zip(*splits, strict=True):
            np.testing.assert_array_equal(left, right)

    def test_random_state_fixes_the_folds(self):
        packed = packed_toy()

        def first(state):
            split = im.DomainSplit(random_state=state).split(packed.X, groups=packed.sample_domain)
            return next(split)[1].tolist()

        assert first(0) == first(0) == first(np.random.default_rng(0)) != first(1)

    def test_numbers_that_are_no_classes_are_dealt_as_they_come(self):
        packed = packed_toy()
        values = packed.X[:, 0]
        folds = list(
            im.DomainSplit(3, test="both").split(packed.X, values, sample_domain=packed.sample_domain)
        )
        assert [len(test) for _, test in folds] == [40, 40, 40]

    def test_labels_in_several_columns_are_dealt_as_they_come(self):
        packed = packed_toy()
        folds = list(im.DomainSplit(3, test="both").split(packed.X, packed.X[:, :2], packed.sample_domain))
        assert [len(test) for _, test in folds] == [40, 40, 40]

    @pytest.mark.parametrize(
        ("options", "domain", "message"),
        [
            ({"n_splits": 1}, [0] * 9 + [-1] * 9, "n_splits must be an integer >= 2, got 1"),
            ({"test": "source"}, [0] * 9 + [-1] * 9, "test must be 'target' or 'both', got 'source'"),
            ({}, [0] * 18, r"got no target rows \(< 0\)"),
            ({}, [-3] * 18, r"got no source rows \(>= 0\)"),
            ({}, [0] * 14 + [-1] * 4, "domain -1 must have at least 5 rows for n_splits = 5, got 4"),
            (
                {"n_splits": 2},
                [0] * 15 + [-1] * 3,
                "domain -1 must have at least 4 rows for n_splits = 2, got 3",
            ),
            ({"test": "both"}, [2] * 4 + [0] * 8 + [-1] * 6, "domain 2 must have at least 5 rows"),
            ({}, [0.0] * 9 + [-1.0] * 9, "must hold integers"),
            ({}, [0] * 9, "one entry per row"),
        ],
    )
    def test_bad_input_gets_one_sentence(self, options, domain, message):
        with pytest.raises((ValueError, TypeError), match=message):
            list(im.DomainSplit(**options).split(np.zeros((18, 1)), sample_domain=domain))

    def test_a_source_that_always_trains_may_be_small(self):
        domain = np.repeat([0, -1], [2, 10])
        train, _ = next(im.DomainSplit().split(np.zeros((12, 1)), sample_domain=domain))
        assert np.sum(domain[train] >= 0) == 2

    def test_domain_numbers_are_needed_and_must_agree(self):
        with pytest.raises(ValueError, match="pass sample_domain=, or groups="):
            next(im.DomainSplit().split(np.zeros((18, 1))))
        with pytest.raises(ValueError, match="must be the same numbers"):
            next(im.DomainSplit().split(np.zeros((2, 1)), None, [0, -1], sample_domain=[-1, 0]))

    def test_it_prints_its_parameters(self):
        assert repr(im.DomainSplit(3)) == "DomainSplit(n_splits=3, random_state=0, test='target')"


def by_hand(model, packed):
    """Accuracy on the test rows of each fold, with the labels at hand."""
    scores = []
    for train, test in im.DomainSplit(3).split(packed.X, packed.y, sample_domain=packed.sample_domain):
        fitted = model().fit(packed.X[train], packed.y[train], sample_domain=packed.sample_domain[train])
        scores.append(np.mean(fitted.predict(packed.X[test]) == packed.y[test]))
    return scores


class TestWithScikitLearn:
    """The two ways the documentation shows: without metadata routing, and with it."""

    def labelled(self):
        X, y, X_target, y_target = toy()
        return im.pack_domains(X, X_target, y, y_target)  # labels for the test; the fits do not declare them

    def test_cross_val_score_without_routing(self):
        packed = self.labelled()
        domain = packed.sample_domain
        scores = cross_val_score(
            pipeline(),
            packed.X,
            packed.y,
            cv=im.DomainSplit(3),
            groups=domain,
            params={"sample_domain": domain},
        )
        np.testing.assert_allclose(scores, by_hand(pipeline, packed))

    def test_cross_val_score_with_routing(self):
        packed = self.labelled()
        with sklearn.config_context(enable_metadata_routing=True):
            scores = cross_val_score(
                pipeline(),
                packed.X,
                packed.y,
                cv=im.DomainSplit(3),
                params={"sample_domain": packed.sample_domain},
            )
        np.testing.assert_allclose(scores, by_hand(pipeline, packed))

    @pytest.mark.parametrize("routing", [False, True])
    def test_grid_search(self, routing):
        packed = self.labelled()
        given = {"sample_domain": packed.sample_domain} | (
            {} if routing else {"groups": packed.sample_domain}
        )
        with sklearn.config_context(enable_metadata_routing=routing):
            search = GridSearchCV(pipeline(), {"align__ridge": [0.1, 1.0]}, cv=im.DomainSplit(3))
            search.fit(packed.X, packed.y, **given)
        expected = [
            by_hand(lambda ridge=ridge: pipeline().set_params(align__ridge=ridge), packed)
            for ridge in (0.1, 1.0)
        ]
        found = np.array([search.cv_results_[f"split{k}_test_score"] for k in range(3)]).T
        np.testing.assert_allclose(found, expected)

    @pytest.mark.parametrize("routing", [False, True])
    def test_an_aligner_as_a_step_of_a_pipeline(self, routing):
        packed = self.labelled()
        steps = make_pipeline(StandardScaler(), im.CORAL(), LogisticRegression())
        domain = packed.sample_domain
        options = (
            {"params": {"sample_domain": domain}}
            if routing
            else {"groups": domain, "params": {"coral__sample_domain": domain}}
        )
        with sklearn.config_context(enable_metadata_routing=routing):
            scores = cross_val_score(steps, packed.X, packed.y, cv=im.DomainSplit(3), **options)
        expected = []
        for train, test in im.DomainSplit(3).split(packed.X, packed.y, domain):
            fitted = make_pipeline(StandardScaler(), im.CORAL(), LogisticRegression())
            fitted.fit(packed.X[train], packed.y[train], coral__sample_domain=domain[train])
            expected.append(np.mean(fitted.predict(packed.X[test]) == packed.y[test]))
        np.testing.assert_allclose(scores, expected)
