"""The report: one page that needs nothing else, hurts nobody and says what the numbers say."""

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from isthmus import plot, report

HOSTILE = "<script>alert('x')</script> & \"$a_{\" ÿ"
VOID = {"meta", "br", "path", "use", "rect"}


def summary(**changes):
    values = {
        "task": "classification",
        "metric": "accuracy",
        "label": "target",
        "classes": ["a", "b"],
        "features": ["height", "width"],
        "domains": {
            "source": {"name": "s.csv", "rows": 50},
            "target": {"name": "t.csv", "rows": 40, "labelled": 20, "train": 10, "test": 10},
        },
        "shift": {"before": {"mmd2": 0.25, "pvalue": 0.001}, "after": {"mmd2": -0.0004, "pvalue": 0.7}},
        "feature_shift": [{"name": "height", "before": 1.5, "after": 0.0}],
        "scores": {
            "source_only": {"score": 0.5, "low": 0.2, "high": 0.8},
            "aligned": {"score": 0.625, "low": 0.3, "high": 0.9},
            "fine_tuned": {"score": 0.875, "low": 0.6, "high": 1.0},
            "target_only": None,
        },
        "verdict": {
            "label": "helped",
            "difference": 0.375,
            "low": 0.125,
            "high": 0.5,
            "baseline": "source-only",
            "n_bootstrap": 2000,
        },
        "notes": ["a note"],
        "timing_s": {"reading": 0.25},
        "versions": {"python": "3.11"},
        "settings": {"align": "coral", "random_state": 0},
    }
    return {**values, **changes}


def without_labels():
    target = {"name": "t.csv", "rows": 40, "labelled": 0, "train": 0, "test": 0}
    verdict = dict.fromkeys(("difference", "low", "high", "baseline"))
    return summary(
        domains={"source": {"name": "s.csv", "rows": 50}, "target": target},
        scores=dict.fromkeys(report.SCORES),
        verdict={"label": "unknown", "n_bootstrap": 2000, **verdict},
    )


class Page(HTMLParser):
    """Checks that every tag is closed in order, and collects tags, attributes and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.links, self.words = [], [], [], []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [(name, value) for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.links += [(name, value) for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def all_pictures(values, classes):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 3)), rng.normal(size=(20, 3)) + 1
    y = np.sort(np.array(classes))[rng.integers(0, len(classes), 25)]
    return [
        plot.scores(values),
        plot.domains(rows, (rows[0], rows[1] - 1), "coral"),
        plot.features(values["feature_shift"]),
        plot.predictions(y, y[::-1], classes=sorted(classes)),
        plot.predictions(rows[0][:, 0], rows[0][:, 1], classes=None),
    ]


def test_the_text_report_says_every_number():
    said = report.text(summary())
    for words in ("50 rows, 2 features", "20 labelled: 10 to fine-tune, 10 held out", "0.2500", "-0.0004"):
        assert words in said
    assert re.search(r"source-only +0\.500 +0\.200 to 0\.800", said)
    assert "target-only   " not in said
    assert "verdict: helped (fine-tuned minus source-only: +0.375, 95% interval +0.125 to +0.500)" in said
    assert said.endswith("- a note")


def test_a_report_without_target_labels_has_no_scores_and_says_why():
    said = report.text(without_labels())
    assert "verdict: unknown\n" in said and "held-out" not in said
    assert "0 labelled" in said
    assert "held-out target rows" not in report.page(without_labels())


@pytest.mark.parametrize("label", ["helped", "hurt", "neutral", "not enough labels", "unknown"])
def test_every_verdict_has_words_of_its_own(label):
    values = summary(verdict={**summary()["verdict"], "label": label})
    assert f"Verdict: {label}" in report.page(values)
    assert len(report.text(values).split(f"verdict: {label}")) == 2


def test_the_page_is_well_formed_and_loads_nothing_from_outside():
    pytest.importorskip("matplotlib")
    html = report.page(summary(), all_pictures(summary(), ["a", "b"]))
    page = Page(html)
    assert page.count("svg") == page.count("figure") == 5
    assert all(value.startswith("#") for _, value in page.links)
    assert not page.count("script") and not page.count("link") and not page.count("img")
    assert "@import" not in html
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names)) and {value[1:] for _, value in page.links} <= set(names)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_tables_have_captions_and_scoped_headers_and_pictures_have_words():
    pytest.importorskip("matplotlib")
    page = Page(report.page(summary(), all_pictures(summary(), ["a", "b"])))
    assert page.count("table") == page.count("caption") > 4
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.tags if tag == "th")
    labels = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"]
    assert all(labels) and len(set(labels)) == 5
    assert ("html", {"lang": "en"}) in page.tags


def test_text_from_the_data_is_escaped_everywhere():
    pytest.importorskip("matplotlib")
    values = summary(
        label=HOSTILE,
        classes=[HOSTILE, "b"],
        notes=[HOSTILE],
        feature_shift=[{"name": HOSTILE, "before": 1.0, "after": 0.5}],
        domains={**summary()["domains"], "source": {"name": HOSTILE, "rows": 3}},
        settings={"align": HOSTILE},
    )
    page = Page(report.page(values, all_pictures(values, [HOSTILE, "b"])))
    assert page.count("script") == 0
    assert sum(HOSTILE in words for words in page.words) >= 3


def test_pictures_follow_the_page_s_colours_and_are_the_same_bytes_each_time():
    pytest.importorskip("matplotlib")
    first, second = (all_pictures(summary(), ["a", "b"]) for _ in range(2))
    assert first == second
    for picture in first:
        assert "currentColor" in picture.svg and plot._INK not in picture.svg


def test_drawing_changes_no_setting_of_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    all_pictures(summary(), ["a", "b"])
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or matplotlib.pyplot.get_fignums() == []


def test_the_confusion_matrix_counts_each_pair_and_gives_up_beyond_20_classes():
    pytest.importorskip("matplotlib")
    y = np.array(["a", "a", "b", "c"])
    picture = plot.predictions(y, np.array(["a", "b", "b", "a"]), classes=["a", "b", "c"])
    assert picture.alt == "Confusion matrix: 2 of 4 held-out target rows predicted right"
    assert plot.predictions(y, y, classes=[str(i) for i in range(21)]) is None


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_principal_axes_carry_the_largest_variance(d):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, d)) * np.arange(1, d + 1)
    left, right = plot.plane(rows[:25], rows[25:])
    spread = np.concatenate([left, right]).var(axis=0)
    expected = np.sort(np.linalg.eigvalsh(np.atleast_2d(np.cov(rows.T, ddof=0))))[::-1][:2]
    np.testing.assert_allclose(spread[: len(expected)], expected, rtol=1e-12)
    assert left.shape == (25, 2) and right.shape == (35, 2)
