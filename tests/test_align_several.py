"""Several sources and several targets, estimators that weigh rows, and estimators that predict."""

import isthmus as im
import numpy as np
import pytest
from align_toys import two_covariances
from isthmus import arrays
from isthmus.align.base import Aligner, Reweighter, TargetPredictor
from isthmus.align.domains import fit_arguments, read_domains
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


class Centred(Aligner):
    """Takes from every domain its own mean."""

    _each_domain = True
    _on_device = True

    def _learn(self, domains, source_weight, target_weight):
        rows = np.concatenate([arrays.to_numpy(part) for part in (domains.X_source, domains.X_target)])
        numbers = np.concatenate([domains.source_domain, domains.target_domain])
        self.means_ = {number: rows[numbers == number].mean(axis=0) for number in self.domains_.tolist()}

    def _map(self, rows, domain):
        return rows - arrays.like(self.means_[domain], rows)


class Towards(Centred):
    """Moves every source to the mean of all targets, which stay."""

    _target_stays = True

    def _learn(self, domains, source_weight, target_weight):
        super()._learn(domains, source_weight, target_weight)
        self.goal_ = domains.X_target.mean(axis=0)

    def _map(self, rows, domain):
        return super()._map(rows, domain) + self.goal_


class FirstRows(Reweighter):
    """Weight 2 on the first two source rows, 0 elsewhere."""

    def _weigh(self, domains, source_weight, target_weight):
        return np.where(np.arange(len(domains.X_source)) < 2, 2.0, 0.0)


class MostFrequent(ClassifierMixin, TargetPredictor):
    """The most frequent label, of labelled target rows where there are any."""

    def _learn(self, domains, source_weight, target_weight):
        labels = domains.y_source
        if domains.X_target is not None and domains.target_labelled.any():
            labels = domains.y_target[domains.target_labelled]
        self.classes_, counts = np.unique(labels, return_counts=True)
        self.label_ = self.classes_[np.argmax(counts)]

    def predict(self, X):
        return np.full(len(self._checked(X)), self.label_)


class Recorder(ClassifierMixin, BaseEstimator):
    """A classifier that keeps what it was trained on."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.weight_, self.classes_ = X, y, sample_weight, np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def four_domains():
    rng = np.random.default_rng(4)
    samples = [rng.normal(at, 1 + at / 4, (n, 3)) for at, n in zip((0, 2, 5, 9), (11, 7, 9, 12), strict=True)]
    labels = [rng.choice(["a", "b"], len(part)) for part in samples]
    return samples, labels


def numbered(samples, numbers):
    return np.concatenate(samples), np.repeat(numbers, [len(part) for part in samples])


def test_lists_and_domain_numbers_give_the_same_maps():
    samples, _ = four_domains()
    by_list = Centred().fit(samples[:2], X_target=samples[2:])
    rows, domain = numbered(samples, [0, 1, -1, -2])
    by_number = Centred().fit(rows, sample_domain=domain)
    assert by_list.domains_.tolist() == by_number.domains_.tolist() == [-2, -1, 0, 1]
    expected = np.concatenate([part - part.mean(axis=0) for part in samples])
    for fitted in (by_list, by_number):
        np.testing.assert_allclose(fitted.transform(rows, domain=domain), expected, atol=1e-12)


def test_fit_transform_of_a_list_gives_a_list():
    samples, _ = four_domains()
    moved = Centred().fit_transform(samples[:2], X_target=samples[2:])
    assert [part.shape for part in moved] == [(11, 3), (7, 3)]
    for part, sample in zip(moved, samples, strict=False):
        np.testing.assert_allclose(part, sample - sample.mean(axis=0), atol=1e-12)


def test_a_map_for_each_of_several_domains_needs_their_numbers():
    samples, _ = four_domains()
    fitted = Centred().fit(samples[:2], X_target=samples[2])
    np.testing.assert_allclose(fitted.transform(samples[2]).mean(axis=0), 0, atol=1e-12)
    with pytest.raises(ValueError, match=r"each of the source domains \[0, 1\].* got 'source'"):
        fitted.transform(samples[0], domain="source")
    with pytest.raises(ValueError, match="known from fit, -1, 0, 1, got 5"):
        fitted.transform(samples[0], domain=np.full(11, 5))
    # The one target's map serves any target.
    np.testing.assert_array_equal(
        fitted.transform(samples[3], domain=np.full(12, -7)), fitted.transform(samples[3])
    )


def test_targets_that_stay_need_no_number_and_may_be_new():
    samples, _ = four_domains()
    fitted = Towards().fit(samples[:2], X_target=samples[2:])
    np.testing.assert_array_equal(fitted.transform(samples[3]), samples[3])
    rows, domain = numbered(samples, [0, 1, -1, -7])
    moved = fitted.transform(rows, domain=domain)
    np.testing.assert_array_equal(moved[18:], rows[18:])
    goal = np.concatenate(samples[2:]).mean(axis=0)
    np.testing.assert_allclose([moved[:11].mean(axis=0), moved[11:18].mean(axis=0)], [goal, goal])


def test_every_domain_needs_rows_enough():
    samples, _ = four_domains()
    with pytest.raises(ValueError, match="at least 2 source rows of domain 1, got n_samples = 1"):
        Centred().fit([samples[0], samples[1][:1]], X_target=samples[2])
    one_map = im.MeanDiscrepancy()
    one_map.fit([samples[0], samples[1][:1]], X_target=samples[2])


def test_lists_of_labels_and_weights_go_with_lists_of_samples():
    samples, labels = four_domains()
    weights = [np.arange(1.0, 1 + len(part)) for part in samples[:2]]
    given = read_domains(
        MostFrequent(), samples[:2], labels[:2], samples[2:], [None, labels[3]], sample_weight=weights
    )
    domains = given.domains
    assert domains.y_source.tolist() == np.concatenate(labels[:2]).tolist()
    assert domains.target_labelled.tolist() == [False] * 9 + [True] * 12
    assert domains.y_target[9:].tolist() == labels[3].tolist()
    assert domains.source_domain.tolist() == [0] * 11 + [1] * 7
    assert domains.target_domain.tolist() == [-1] * 9 + [-2] * 12
    np.testing.assert_array_equal(given.weights[0], np.concatenate(weights))


SAMPLES, LABELS = four_domains()
REFUSED = [
    (([SAMPLES[0], SAMPLES[1][:, :2]], None, SAMPLES[2]), r"X\[1\] must have X\[0\]'s width d = 3"),
    ((SAMPLES[:2], None, [SAMPLES[2], SAMPLES[3][:, :1]]), r"X_target\[1\] must have X's width d = 3"),
    ((SAMPLES[:2], [LABELS[0], LABELS[1][:3]], SAMPLES[2]), r"y\[1\] must have one label per row, 7, got 3"),
    ((SAMPLES[:2], [LABELS[0], None], SAMPLES[2]), r"y must have labels for every source .* X\[1\]"),
    ((SAMPLES[:2], LABELS[0], SAMPLES[2]), "y must have one label per row of X, 18"),
    ((SAMPLES[0], None, SAMPLES[2:], [LABELS[2], LABELS[2]]), r"y_target\[1\] must have one label per row"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=[row[1] for row in REFUSED])
def test_lists_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Centred().fit(*given)


def test_a_list_beside_domain_numbers_is_refused():
    with pytest.raises(ValueError, match="X must be one array beside sample_domain"):
        Centred().fit(SAMPLES[:2], sample_domain=np.zeros(18, int))


def test_nan_in_a_list_is_found_with_its_sample():
    broken = SAMPLES[1].copy()
    broken[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[1\] contains NaN \(1 value, first at row 4 column 2\)"):
        Centred().fit([SAMPLES[0], broken], X_target=SAMPLES[2])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["direct", "lists", "numbers"])
def test_arguments_made_of_domains_give_the_same_domains(form, weighted):
    rows, numbers = numbered(SAMPLES, [3, 0, -1, -4])
    y, labelled = np.concatenate(LABELS), np.arange(len(rows)) % 5 == 0
    weight = np.linspace(1, 2, len(rows))
    if form == "numbers":
        given = ((rows, y), {"sample_domain": numbers, "target_labelled": labelled & (numbers < 0)})
    elif form == "lists":
        given, weight = ((SAMPLES[:2], LABELS[:2], SAMPLES[2:], [None, LABELS[3]]), {}), weight[:18]
    else:
        given, weight = ((SAMPLES[0], LABELS[0], SAMPLES[2], LABELS[2]), {}), weight[:11]
    how = given[1] | ({"sample_weight": weight} if weighted else {})
    first = read_domains(MostFrequent(), *given[0], **how)
    again = read_domains(MostFrequent(), **fit_arguments(first.domains, first.weights))
    known = first.domains.target_labelled
    for name, part in first.domains._asdict().items():
        other = getattr(again.domains, name)
        if name == "y_target":
            part, other = part[known], other[known]
        np.testing.assert_array_equal(part, other)
    for part, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(1.0 if part is None else part, 1.0 if other is None else other)


def test_pipeline_aligns_each_source_with_its_own_map():
    pipeline = im.make_transfer_pipeline(Centred(), Recorder())
    pipeline.fit(SAMPLES[:2], LABELS[:2], SAMPLES[2])
    expected = np.concatenate([part - part.mean(axis=0) for part in SAMPLES[:2]])
    np.testing.assert_allclose(pipeline.model_.X_, expected, atol=1e-12)
    transfer = im.TransferClassifier(mode="features", align=Centred(), model=KNeighborsClassifier(1))
    transfer.fit(SAMPLES[:2], LABELS[:2], SAMPLES[2])
    np.testing.assert_allclose(transfer.model_._fit_X, expected, atol=1e-12)


@pytest.mark.parametrize("weight", [None, np.arange(1.0, 12.0)])
def test_pipeline_trains_with_the_weights_of_a_reweighter(weight):
    pipeline = im.make_transfer_pipeline(FirstRows(), Recorder())
    labelled = np.arange(9) < 2
    pipeline.fit(SAMPLES[0], LABELS[0], SAMPLES[2], LABELS[2], target_labelled=labelled, sample_weight=weight)
    expected = np.where(np.arange(11) < 2, 2.0, 0.0) * (1 if weight is None else weight)
    np.testing.assert_array_equal(pipeline.model_.weight_, [*expected, 1, 1])
    np.testing.assert_array_equal(pipeline.model_.X_[:11], SAMPLES[0])


def test_a_reweighter_needs_a_model_that_takes_weights():
    pipeline = im.make_transfer_pipeline(FirstRows(), KNeighborsClassifier())
    with pytest.raises(ValueError, match=r"KNeighborsClassifier.fit takes no sample_weight.* FirstRows"):
        pipeline.fit(SAMPLES[0], LABELS[0], SAMPLES[2])
    with pytest.raises(TypeError, match="align must move rows, FirstRows weighs them"):
        im.TransferClassifier(align=FirstRows()).fit(SAMPLES[0], LABELS[0], SAMPLES[2])


def test_weights_are_one_and_rows_stay_without_a_target():
    with pytest.warns(im.NoTargetWarning, match="so its weights are all 1"):
        fitted = FirstRows().fit(SAMPLES[0])
    np.testing.assert_array_equal(fitted.weights_, np.ones(11))
    fitted = FirstRows().fit(SAMPLES[0], None, SAMPLES[2])
    np.testing.assert_array_equal(fitted.transform(SAMPLES[0], domain="source"), SAMPLES[0])


def test_a_predictor_learns_from_the_source_alone_with_a_warning():
    y = np.array(["a"] * 8 + ["b"] * 3)
    with pytest.warns(im.NoTargetWarning, match="it learned from the source alone"):
        fitted = MostFrequent().fit(SAMPLES[0], y)
    assert fitted.predict(SAMPLES[2]).tolist() == ["a"] * 9
    fitted = MostFrequent().fit(SAMPLES[0], y, SAMPLES[2][:1], ["b"])
    assert set(fitted.predict(SAMPLES[2])) == {"b"}
    with pytest.raises(ValueError, match="MostFrequent requires y to be passed"):
        MostFrequent().fit(SAMPLES[0], None, SAMPLES[2])


def test_regressions_do_not_hand_their_numbers_to_the_aligner_as_classes():
    X, X_target = two_covariances(30, 20)
    y = np.arange(30.0)
    pipeline = im.make_transfer_pipeline(im.MeanDiscrepancy(), LinearRegression())
    pipeline.fit(X, y, X_target, np.arange(20.0) + 100)
    assert len(pipeline.align_.directions_) == 1


def test_reweighted_training_meets_the_target_where_the_model_is_too_simple():
    """A line through a parabola: least squares on the source misses the end where the target lies."""
    rng = np.random.default_rng(0)
    X, X_target = rng.normal(0, 1, (400, 1)), rng.normal(1.5, 0.3, (200, 1))

    class Ratio(Reweighter):
        def _weigh(self, domains, source_weight, target_weight):
            model = LogisticRegression().fit(
                np.concatenate([domains.X_source, domains.X_target]),
                np.repeat([0, 1], [len(domains.X_source), len(domains.X_target)]),
            )
            share = model.predict_proba(domains.X_source)[:, 1]
            return share / (1 - share)

    def error(align):
        line = im.make_transfer_pipeline(align, LinearRegression()).fit(X, X[:, 0] ** 2, X_target)
        return np.mean((line.predict(X_target) - X_target[:, 0] ** 2) ** 2)

    assert error(Ratio()) < error(None) / 4
    assert clone(Ratio()).get_params() == {}


# -- scales --


def test_a_pipeline_that_scales_only_the_source_is_warned_of():
    rng = np.random.default_rng(0)
    X, X_target = rng.normal(size=(40, 3)), rng.normal(size=(3000, 3))
    X[:, 2] *= 1e4
    X_target[:, 2] *= 1.2e4
    pipeline = make_pipeline(StandardScaler(), im.CORAL())
    with pytest.warns(im.DomainScaleWarning, match=r"CORAL: column 2 .*transform_input=\[\"X_target\"\]"):
        pipeline.fit(X, coral__X_target=X_target)
    im.CORAL().fit(X, None, X_target)
    rows, domain = numbered([X, X_target], [0, -1])
    pipeline.fit(rows, coral__sample_domain=domain)


def test_constant_columns_and_moderate_scales_warn_of_nothing():
    X, X_target = SAMPLES[0].copy(), SAMPLES[2] * 100
    X[:, 0] = 0.1  # whose mean is rounded
    im.MeanDiscrepancy().fit(X, None, X_target)
    X_target[:, 1] = 0.0
    im.MeanDiscrepancy().fit(X, None, X_target)


# -- arrays of other libraries --


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_on_a_device_stay_there(torch_as_device, dtype):
    torch = torch_as_device
    rows, domain = numbered([part.astype(dtype) for part in SAMPLES], [2, 0, -1, -3])
    expected = Centred().fit(rows, sample_domain=domain).transform(rows, domain=domain)
    fitted = Centred()
    moved = fitted.fit_transform(torch.from_numpy(rows), sample_domain=torch.from_numpy(domain))
    for found in (moved, fitted.transform(torch.from_numpy(rows), domain=domain)):
        assert isinstance(found, torch.Tensor) and found.dtype == torch.from_numpy(rows).dtype
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)
    samples = [torch.from_numpy(part.astype(dtype)) for part in SAMPLES]
    parts = clone(fitted).fit_transform(samples[:2], X_target=samples[2:])
    assert [tuple(part.shape) for part in parts] == [(11, 3), (7, 3)]


def test_rows_on_a_device_are_checked_like_others(torch_as_device):
    torch = torch_as_device
    X, X_target = (torch.from_numpy(part) for part in (SAMPLES[0], SAMPLES[2]))
    with pytest.raises(ValueError, match="MostFrequent needs X in host memory, got torch on"):
        MostFrequent().fit(X, LABELS[0], X_target)
    with pytest.raises(ValueError, match=r"X_target must live where X lives, torch on .*, got numpy on cpu"):
        Centred().fit(X, None, SAMPLES[2])
    with pytest.raises(ValueError, match="X_target must have X's width d = 3"):
        Centred().fit(X, None, X_target[:, :2])
    with pytest.raises(ValueError, match=r"X must have shape \(n, d\) with n, d >= 1, got \(3,\)"):
        Centred().fit(X[0], None, X_target)
    with pytest.raises(ValueError, match=r"X_target contains NaN \(1 value, first at row 1 column 0\)"):
        broken = X_target.clone()
        broken[1, 0] = np.nan
        Centred().fit(X, None, broken)
    fitted = Centred().fit(X, None, X_target)
    with pytest.raises(ValueError, match="X has 2 features, but Centred is expecting 3 features as input"):
        fitted.transform(X[:, :2])


@pytest.mark.parametrize(
    "estimator", [im.CORAL(), im.TCA(2, kernel=im.RBF()), im.RandomFourierFeatures(8, random_state=0)]
)
def test_torch_rows_in_host_memory_give_torch_rows(estimator):
    torch = pytest.importorskip("torch")
    X, X_target = SAMPLES[0], SAMPLES[2]
    given = {} if isinstance(estimator, im.RandomFourierFeatures) else {"X_target": X_target}
    fitted = clone(estimator).fit(X, **given)
    found = fitted.transform(torch.from_numpy(X))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), fitted.transform(X))


# -- labels of one of several targets --


def test_labels_declared_of_a_target_that_has_none_are_refused():
    declared = [np.zeros(9, bool), np.ones(12, bool)]
    given = (SAMPLES[:2], LABELS[:2], SAMPLES[2:], [None, LABELS[3]])
    fitted = MostFrequent().fit(*given, target_labelled=declared)
    assert fitted.classes_.tolist() == ["a", "b"]
    declared[0][3] = True
    with pytest.raises(ValueError, match=r"declares labelled rows of X_target\[0\], which has none"):
        MostFrequent().fit(*given, target_labelled=declared)


def test_labelled_rows_of_one_of_several_targets_move_by_its_map():
    given = (SAMPLES[:2], LABELS[:2], SAMPLES[2:], [None, LABELS[3]])
    pipeline = im.make_transfer_pipeline(Centred(), Recorder()).fit(*given)
    expected = np.concatenate([SAMPLES[i] - SAMPLES[i].mean(axis=0) for i in (0, 1, 3)])
    np.testing.assert_allclose(pipeline.model_.X_, expected, atol=1e-12)
    transfer = im.TransferClassifier(mode="features", align=Centred(), model=KNeighborsClassifier(1))
    transfer.fit(*given)
    np.testing.assert_allclose(transfer.model_._fit_X, expected, atol=1e-12)
