"""Pictures of an alignment: the numbers that reach matplotlib."""

import isthmus as im
import numpy as np
import pytest
from align_toys import shifted_classes, two_covariances
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def agg():
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


def principal(*parts):
    """The rows on the two leading principal axes of all, from the covariance; signs are free."""
    rows = np.concatenate(parts)
    rows = rows - rows.mean(axis=0)
    values, vectors = np.linalg.eigh(rows.T @ rows)
    return rows @ vectors[:, np.argsort(-values)[:2]]


def same_up_to_sign(found, expected):
    sign = np.sign(np.sum(found * expected, axis=0))
    np.testing.assert_allclose(found, expected * sign, atol=1e-8)


def offsets(axes):
    """Source and target points of a scatter plot."""
    source, target = axes.collections
    assert (source.get_label(), target.get_label()) == ("source", "target")
    return np.asarray(source.get_offsets()), np.asarray(target.get_offsets())


def test_embedding_shows_all_rows_before_and_after():
    X, X_target = two_covariances(50, 40)
    coral = im.CORAL().fit(X, X_target=X_target)
    display = im.EmbeddingDisplay.from_estimator(coral, X, X_target)
    before, after = display.axes_
    same_up_to_sign(np.concatenate(offsets(before)), principal(X, X_target))
    moved = coral.transform(X, domain="source")
    same_up_to_sign(np.concatenate(offsets(after)), principal(moved, X_target))
    assert [len(part) for part in offsets(after)] == [50, 40]
    assert (before.get_title(), after.get_title()) == ("before", "after CORAL")
    assert display.figure_ is before.figure and before.get_legend() is not None


def test_embedding_draws_400_rows_of_a_domain_at_most():
    X, X_target = two_covariances(900, 30)
    display = im.EmbeddingDisplay.from_estimator(im.CORAL().fit(X, X_target=X_target), X, X_target)
    assert [len(part) for part in offsets(display.axes_[0])] == [400, 30]


def test_models_and_pipelines_show_the_space_they_predict_in():
    X, y, X_target, _ = shifted_classes(3.0, seed=0, n=50)
    model = im.make_transfer_pipeline(im.TCA(n_components=3), LogisticRegression()).fit(X, y, X_target)
    display = im.EmbeddingDisplay.from_estimator(model, X, X_target)
    Z = [model.align_.transform(X, domain="source"), model.align_.transform(X_target)]
    same_up_to_sign(np.concatenate(offsets(display.axes_[1])), principal(*Z))
    assert display.name == "TCA"
    packed = im.pack_domains(X, X_target, y)
    steps = make_pipeline(StandardScaler(), im.make_transfer_pipeline(im.CORAL(), LogisticRegression()))
    steps.fit(packed.X, packed.y, transferpipeline__sample_domain=packed.sample_domain)
    display = im.EmbeddingDisplay.from_estimator(steps, X, X_target)
    scaler, coral = steps[0], steps[1].align_
    Z = [coral.transform(scaler.transform(X), domain="source"), scaler.transform(X_target)]
    same_up_to_sign(np.concatenate(offsets(display.axes_[1])), principal(*Z))
    assert display.name == "CORAL"


@pytest.mark.parametrize("align", [im.StandardScaling(), im.CORAL()], ids=str)
def test_rows_of_several_domains_go_through_the_map_of_each(align):
    X, X_target = two_covariances(50, 40)
    parts, targets = [X[:20], 3 * X[20:] + 5], [X_target[:15], X_target[15:] - 2]
    align.fit(parts, X_target=targets)
    numbers = np.repeat([0, 1, -1, -2], [20, 30, 15, 25])
    rows = np.concatenate([*parts, *targets])
    Z = align.transform(rows, domain=numbers)
    swapped = np.r_[50:90, 0:50]
    for given in (
        {"X": parts, "X_target": targets},
        {"X": rows[swapped], "sample_domain": numbers[swapped]},
    ):
        after = im.EmbeddingDisplay.from_estimator(align, **given).axes_[1]
        same_up_to_sign(np.concatenate(offsets(after)), principal(Z))
        gaps = im.MeanGapDisplay.from_estimator(align, **given)
        for found, (source, target) in (
            (gaps.before, (rows[:50], rows[50:])),
            (gaps.after, (Z[:50], Z[50:])),
        ):
            scale = np.sqrt((source.var(axis=0) + target.var(axis=0)) / 2)
            expected = np.abs(source.mean(axis=0) - target.mean(axis=0)) / scale
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give X_target or sample_domain, got neither"),
        ({"X_target": np.eye(6), "sample_domain": np.arange(-3, 3)}, "got both"),
        ({"sample_domain": np.zeros(6, int)}, r"must name rows of both sides, got no target rows \(< 0\)"),
        ({"sample_domain": [0, -1]}, "one entry per row of X"),
    ],
)
def test_bad_domains_get_one_sentence(given, message):
    X, X_target = two_covariances(50, 40)
    with pytest.raises(ValueError, match=message):
        im.MeanGapDisplay.from_estimator(im.CORAL().fit(X, X_target=X_target), np.eye(6), **given)


def test_spectrum_shows_eigenvalues_and_residuals():
    X, y, X_target, _ = shifted_classes(3.0, seed=0, n=50)
    model = im.make_transfer_pipeline(im.TCA(n_components=4), LogisticRegression()).fit(X, y, X_target)
    for display in (
        im.SpectrumDisplay.from_estimator(model),
        im.SpectrumDisplay.from_estimator(model.align_),
    ):
        left, right = display.axes_
        np.testing.assert_array_equal(left.lines[0].get_xydata().T, [[1, 2, 3, 4], model.align_.eigenvalues_])
        np.testing.assert_array_equal(right.lines[0].get_ydata(), model.align_.residuals_)
        assert left.get_yscale() == "log"


def test_spectrum_with_a_zero_has_a_linear_scale():
    display = im.SpectrumDisplay(np.array([2.0, 1.0]), np.array([0.0, 1e-9])).plot()
    assert [axes.get_yscale() for axes in display.axes_] == ["log", "linear"]


def test_spectrum_of_a_method_without_components_is_refused():
    X, X_target = two_covariances(50, 40)
    with pytest.raises(TypeError, match="CORAL has no eigenvalues_ and no residuals_ to draw"):
        im.SpectrumDisplay.from_estimator(im.CORAL().fit(X, X_target=X_target))


def test_mean_gaps_are_in_standard_deviations():
    X, X_target = two_covariances(50, 40)
    tca = im.TCA(n_components=3).fit(X, X_target=X_target)
    display = im.MeanGapDisplay.from_estimator(tca, X, X_target)
    Z = tca.transform(X, domain="source"), tca.transform(X_target)
    for axes, (source, target), width in zip(display.axes_, ((X, X_target), Z), (6, 3), strict=True):
        scale = np.sqrt((np.var(source, axis=0) + np.var(target, axis=0)) / 2)
        expected = np.abs(source.mean(axis=0) - target.mean(axis=0)) / scale
        np.testing.assert_allclose([bar.get_height() for bar in axes.patches], expected, rtol=1e-10)
        assert len(axes.patches) == width
    assert display.after.max() < display.before.max()
    assert display.axes_[0].get_ylim() == display.axes_[1].get_ylim() == (0, 1.05 * display.before.max())


def test_mean_gaps_of_constant_columns():
    X = np.array([[1.0, 5.0, 0.0], [1.0, 5.0, 2.0]])
    X_target = np.array([[1.0, 6.0, 3.0], [1.0, 6.0, 5.0]])
    aligned = im.make_transfer_pipeline(None, LogisticRegression()).fit(X, [0, 1], X_target)
    display = im.MeanGapDisplay.from_estimator(aligned, X, X_target)
    np.testing.assert_array_equal(display.before, [0.0, np.nan, 3.0])
    display.figure_.canvas.draw()


@pytest.mark.parametrize("display", ["EmbeddingDisplay", "MeanGapDisplay", "SpectrumDisplay"])
def test_axes_may_be_given(agg, display):
    X, X_target = two_covariances(30, 20)
    tca = im.TCA(n_components=3).fit(X, X_target=X_target)
    rows = () if display == "SpectrumDisplay" else (X, X_target)
    figure, axes = agg.subplots(1, 3)
    chosen = axes[0] if display == "SpectrumDisplay" else axes[:2]
    drawn = getattr(im, display).from_estimator(tca, *rows, ax=chosen)
    assert drawn.plot(ax=chosen) is drawn
    assert drawn.figure_ is figure and drawn.axes_[0] is axes[0]
    figure.canvas.draw()
    with pytest.raises(ValueError, match="axes, got 3"):
        drawn.plot(ax=axes)
