"""Draws the report's pictures with matplotlib, which is imported inside the functions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .report import METRICS, SCORES, Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOURCE, TARGET, ACCENT = "#3f7fd0", "#e07b25", "#2f9e6e"  # readable on white and on black
_INK = "#010203"  # stands for the page's text colour; replaced by currentColor
_POINTS = 400  # of each domain in a scatter plot
_CLASSES = 20  # the largest confusion matrix drawn
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def available() -> bool:
    """Whether matplotlib can be imported (extra `plot`)."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def scores(summary: Mapping[str, Any]) -> Picture:
    """The four scores with their 95 percent intervals."""
    names = [key for key in SCORES if summary["scores"].get(key) is not None]
    values = [summary["scores"][key] for key in names]
    metric = METRICS[summary["metric"]]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for at, value in enumerate(values):
            axes.plot([value["low"], value["high"]], [at, at], color=ACCENT, linewidth=3, alpha=0.5)
            axes.plot(value["score"], at, "o", color=ACCENT, markersize=8)
        axes.set_yticks(range(len(names)), [SCORES[key][0] for key in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"{metric} on held-out target rows")
        axes.grid(axis="x", alpha=0.25)

    said = "; ".join(
        f"{SCORES[key][0]} {value['score']:.3f}" for key, value in zip(names, values, strict=True)
    )
    return _picture(f"{metric.capitalize()} with 95% intervals", said, draw, 7.0, 2.4)


def domains(
    before: tuple[NDArray[Any], NDArray[Any]], after: tuple[NDArray[Any], NDArray[Any]] | None, align: str
) -> Picture:
    """Source and target rows on their two leading principal axes, before and after alignment."""
    panels = [("before", before)] + ([(f"after {align}", after)] if after is not None else [])

    def draw(figure: Figure) -> None:
        for axes, (name, (source, target)) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            left, right = plane(source, target)
            axes.scatter(*left.T, s=9, color=SOURCE, alpha=0.6, linewidths=0, label="source")
            axes.scatter(*right.T, s=9, color=TARGET, alpha=0.6, linewidths=0, label="target")
            axes.set_title(name, fontsize=10)
            axes.set_xlabel("first principal axis")
            axes.set_ylabel("second principal axis")
        handles = axes.get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper right", ncols=2, markerscale=2)

    said = f"Scatter plot of source and target rows, {' and '.join(name for name, _ in panels)}"
    return _picture("Source and target rows on two principal axes", said, draw, 3.6 * len(panels), 3.4)


def features(shifts: Sequence[Mapping[str, Any]]) -> Picture:
    """The largest differences of means, feature by feature."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        at = np.arange(len(shifts))
        axes.barh(at - 0.2, [row["before"] for row in shifts], 0.4, color=TARGET, label="before")
        if all(row["after"] is not None for row in shifts):
            axes.barh(at + 0.2, [row["after"] for row in shifts], 0.4, color=ACCENT, label="after")
        axes.set_yticks(at, [_short(row["name"]) for row in shifts], parse_math=False)
        axes.set_ylim(len(shifts) - 0.4, -0.6)
        axes.set_xlabel("target mean minus source mean, in scaled units")
        figure.legend(loc="outside upper right", ncols=2)

    said = "; ".join(f"{row['name']} {row['before']:+.2f}" for row in shifts)
    return _picture("Features that shift most", said, draw, 7.0, 0.9 + 0.3 * len(shifts))


def predictions(
    y_true: NDArray[Any], y_pred: NDArray[Any], *, classes: Sequence[Any] | None
) -> Picture | None:
    """Confusion matrix over sorted classes (None beyond 20), or predicted against true numbers."""
    if classes is None:
        return _against(y_true, y_pred)
    if len(classes) > _CLASSES:
        return None
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (np.searchsorted(classes, y_true), np.searchsorted(classes, y_pred)), 1)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.pcolormesh(share, cmap=_ramp(), vmin=0, vmax=1)
        for i, j in zip(*np.nonzero(counts), strict=True):
            axes.text(j + 0.5, i + 0.5, str(counts[i, j]), ha="center", va="center", fontsize=9)
        at = np.arange(len(classes)) + 0.5
        names = [_short(str(name)) for name in classes]
        axes.set_xticks(at, names, rotation=45 if max(map(len, names)) > 3 else 0, parse_math=False)
        axes.set_yticks(at, names, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    right = int(np.trace(counts))
    said = f"Confusion matrix: {right} of {counts.sum()} held-out target rows predicted right"
    side = 2.2 + 0.28 * len(classes)
    return _picture("Fine-tuned model on held-out target rows", said, draw, side + 0.6, side)


def _against(y_true: NDArray[Any], y_pred: NDArray[Any]) -> Picture:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ends = [min(y_true.min(), y_pred.min()), max(y_true.max(), y_pred.max())]
        axes.plot(ends, ends, color=_INK, linewidth=1, alpha=0.5)
        axes.scatter(y_true, y_pred, s=14, color=ACCENT, alpha=0.7, linewidths=0)
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")

    said = f"Predicted against true values of {len(y_true)} held-out target rows"
    return _picture("Fine-tuned model on held-out target rows", said, draw, 4.0, 3.6)


def plane(source: NDArray[Any], target: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Up to 400 rows of each domain on the two leading principal axes of these rows, (m, 2) each."""
    rng = np.random.default_rng(0)
    picked = [rows[np.sort(rng.permutation(len(rows))[:_POINTS])] for rows in (source, target)]
    pooled = np.concatenate(picked).astype(np.float64)
    pooled -= pooled.mean(axis=0)
    axes = np.linalg.svd(pooled, full_matrices=False)[2][:2]
    axes *= np.where(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    flat = np.zeros((len(pooled), 2))
    flat[:, : len(axes)] = pooled @ axes.T
    return flat[: len(picked[0])], flat[len(picked[0]) :]


def _ramp() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    clear = (*(int(ACCENT[i : i + 2], 16) / 255 for i in (1, 3, 5)), 0.0)
    return LinearSegmentedColormap.from_list("share", [clear, (*clear[:3], 0.75)])


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _picture(title: str, alt: str, draw: Any, width: float, height: float) -> Picture:
    """Run `draw` on a figure of width x height inches. No global state of matplotlib changes."""
    import matplotlib
    from matplotlib.figure import Figure

    out = StringIO()
    with warnings.catch_warnings(), matplotlib.rc_context({**_STYLE, "svg.hashsalt": title + alt}):
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # the reader's browser has its own fonts
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Names that nothing refers to would be the same in every picture of the page.
    used = set(re.findall(r"#([^\")]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    return Picture(title, alt, svg.replace(_INK, "currentColor"))
