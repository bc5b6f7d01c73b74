"""Writes the summary of a transfer as text for the terminal and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Summary = Mapping[str, Any]  # what Result.to_dict() returns and metrics.json holds

SCORES = {
    "source_only": ("source-only", "trained on the source, used on the target as it is"),
    "aligned": ("aligned", "trained on the source after alignment, no target label used"),
    "fine_tuned": ("fine-tuned", "trained on the aligned source and the labelled target rows"),
    "target_only": ("target-only", "trained on the labelled target rows alone"),
}
METRICS = {"accuracy": "accuracy", "r2": "R²"}
_ADVICE = {
    "helped": "The fine-tuned model beats both baselines by more than chance explains.",
    "hurt": "A baseline beats the fine-tuned model: use that one, and doubt this source.",
    "neutral": "The held-out rows cannot tell the fine-tuned model from the better baseline.",
    "not enough labels": "A verdict needs at least 10 labelled target rows, several of them held out.",
    "unknown": "Without target labels no score can be measured.",
}


@dataclass(frozen=True)
class Picture:
    """One plot of the report: an SVG element, and the words for those who do not see it."""

    title: str
    alt: str
    svg: str


def text(summary: Summary) -> str:
    """The report as plain text, about 25 lines."""
    parts = [_headline(summary), ""]
    rows = _domain_rows(summary)
    width = max(len(row[1]) for row in rows)
    parts += [f"  {role:<8}{name:<{width}}  {what}" for role, name, what in rows]
    parts += ["", f"  {'shift':<22}{'MMD^2':>10}{'p-value':>10}"]
    parts += [f"    {name:<20}{value:>10}{pvalue:>10}" for name, value, pvalue in _shift_rows(summary)]
    scores = _score_rows(summary)
    if scores:
        metric = METRICS[summary["metric"]]
        n_test = summary["domains"]["target"]["test"]
        parts += ["", f"  {metric} on {n_test} held-out target rows, 95% interval"]
        parts += [f"    {name:<20}{value:>10}   {interval}" for name, value, interval, _ in scores]
    parts += ["", f"  verdict: {summary['verdict']['label']}{_difference(summary)}"]
    parts += [f"    {_ADVICE[summary['verdict']['label']]}"]
    if summary["notes"]:
        parts += ["", "  notes", *(f"    - {note}" for note in summary["notes"])]
    return "\n".join(parts)


def page(summary: Summary, pictures: Sequence[Picture] = ()) -> str:
    """The report as one HTML document without any outside resource; every text from the data is escaped."""
    title = escape(_headline(summary))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{fragment(summary, pictures)}\n</main>\n</body>\n</html>\n"
    )


def fragment(summary: Summary, pictures: Sequence[Picture] = ()) -> str:
    """The body of `page`, also what notebooks show."""
    label = summary["verdict"]["label"]
    metric = METRICS[summary["metric"]]
    parts = [
        f"<h1>{escape(_headline(summary))}</h1>",
        f'<p class="verdict {escape(label.split()[0])}"><strong>Verdict: {escape(label)}</strong>'
        f"{escape(_difference(summary))}<br>{escape(_ADVICE[label])}</p>",
        _table("Domains", ("domain", "name", "rows"), _domain_rows(summary)),
        _table(
            "Shift between source and target rows",
            ("rows", "MMD²", "p-value"),
            _shift_rows(summary),
            numeric=(1, 2),
        ),
        "<p>MMD² is the squared maximum mean discrepancy (unbiased, so it may fall below zero), the p-value "
        "comes from a permutation test. The alignment was fitted on the same rows, so its p-value describes "
        "what is left and is not a test of fresh data.</p>",
    ]
    if scores := _score_rows(summary):
        n_test = summary["domains"]["target"]["test"]
        parts.append(
            _table(
                f"{metric.capitalize()} on {n_test} held-out target rows",
                ("model", metric, "95% interval", "what it is"),
                scores,
                numeric=(1, 2),
            )
        )
    parts += [_figure(picture) for picture in pictures]
    if summary["feature_shift"]:
        rows = [
            (row["name"], _number(row["before"]), _number(row["after"])) for row in summary["feature_shift"]
        ]
        head = ("feature", "before", "after")
        parts.append(_table("Largest differences of means, in scaled units", head, rows, numeric=(1, 2)))
    if summary["notes"]:
        items = "".join(f"<li>{escape(note)}</li>" for note in summary["notes"])
        parts.append(f"<h2>Notes</h2><ul>{items}</ul>")
    for name, values in (("Settings", "settings"), ("Versions", "versions"), ("Seconds", "timing_s")):
        table = _table(
            name, ("name", "value"), [(key, _shown(each)) for key, each in summary[values].items()]
        )
        parts.append(f"<details><summary>{name}</summary>{table}</details>")
    return "\n".join(parts)


def _headline(summary: Summary) -> str:
    what = f"{summary['task']} of {summary['label']!r}"
    if summary["classes"] is not None:
        what += f", {len(summary['classes'])} classes"
    return f"Transfer to a new domain: {what}"


def _domain_rows(summary: Summary) -> list[tuple[str, str, str]]:
    source, target = summary["domains"]["source"], summary["domains"]["target"]
    d = len(summary["features"])
    labelled = f"{target['labelled']} labelled"
    if target["labelled"]:
        labelled += f": {target['train']} to fine-tune, {target['test']} held out"
    return [
        ("source", source["name"], f"{source['rows']} rows, {d} features"),
        ("target", target["name"], f"{target['rows']} rows, {labelled}"),
    ]


def _shift_rows(summary: Summary) -> list[tuple[str, str, str]]:
    shift, align = summary["shift"], summary["settings"]["align"]
    rows = [("before", shift["before"])]
    if shift["after"] is not None:
        rows.append((f"after {align}", shift["after"]))
    return [(name, _number(value["mmd2"], 4), _number(value["pvalue"], 4)) for name, value in rows]


def _score_rows(summary: Summary) -> list[tuple[str, str, str, str]]:
    return [
        (name, _number(score["score"]), f"{_number(score['low'])} to {_number(score['high'])}", what)
        for key, (name, what) in SCORES.items()
        if (score := summary["scores"].get(key)) is not None
    ]


def _difference(summary: Summary) -> str:
    verdict = summary["verdict"]
    if verdict["difference"] is None:
        return ""
    return (
        f" (fine-tuned minus {verdict['baseline']}: {verdict['difference']:+.3f}, "
        f"95% interval {verdict['low']:+.3f} to {verdict['high']:+.3f})"
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.000"


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) and value >= 0.01 else str(value)


def _table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()
) -> str:
    kind = ['class="number"' if j in numeric else "" for j in range(len(head))]
    cells = "".join(f'<th scope="col" {kind[j]}>{escape(name)}</th>' for j, name in enumerate(head))
    body = ""
    for first, *rest in rows:
        row = "".join(f"<td {kind[j]}>{escape(cell)}</td>" for j, cell in enumerate(rest, 1))
        body += f'<tr><th scope="row">{escape(first)}</th>{row}</tr>\n'
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>\n'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def _figure(picture: Picture) -> str:
    svg = picture.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.alt)}" ', 1)
    return f"<figure><figcaption>{escape(picture.title)}</figcaption>\n{svg}\n</figure>"


_STYLE = """
:root { color-scheme: light dark; --line: #c8ccd2; --soft: #f3f4f6; --good: #17773f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --line: #454a52; --soft: #22262c; --good: #6fd196; --bad: #ff8a80; }
}
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 56rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2, caption, figcaption { font-size: 1.05rem; font-weight: 600; text-align: left; }
.verdict { background: var(--soft); border-left: .3rem solid var(--line); padding: .75rem 1rem; }
.verdict.helped { border-color: var(--good); }
.verdict.hurt { border-color: var(--bad); }
.scroll { overflow-x: auto; margin: 1.5rem 0; }
table { border-collapse: collapse; width: 100%; }
caption { padding-bottom: .4rem; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem; text-align: left; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 2rem 0; }
figure svg { max-width: 100%; height: auto; display: block; }
details { margin: .75rem 0; }
summary { cursor: pointer; font-weight: 600; }
"""
