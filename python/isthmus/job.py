"""The whole job in one call: read two domains, measure the shift, align, train, fine-tune, judge, write."""

from __future__ import annotations

import csv
import json
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from . import __version__, candidates, datasets, folders, labels, persist, plot, report
from .alignments import ALIGNMENTS, named_alignment
from .result import KEPT, Result, Score, Shift
from .two_sample import two_sample_test
from .verdict import Verdict, score_interval, verdict

__all__ = ["Result", "Score", "Shift", "transfer"]

FILES = ("model.safetensors", "metrics.json", "predictions.csv", "report.html")
N_BOOTSTRAP = 2000
N_PERMUTATIONS = 999
SHIFT_ROWS = 2000  # rows of each domain that enter the two-sample test
TOP_FEATURES = 10
_METRICS: dict[str, Literal["accuracy", "r2"]] = {"classification": "accuracy", "regression": "r2"}

Rows = NDArray[Any]


def transfer(
    source: Any,
    target: Any,
    *,
    label: str = "target",
    task: str = "auto",
    align: str = "coral",
    model: str = "auto",
    test_size: float = 0.5,
    random_state: int = 0,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Train on a labelled source domain, move to a target domain, and say whether that helped.

    Parameters
    ----------
    source, target : each a path (.csv, .npz, .parquet), a pandas, polars or pyarrow table, or a pair (X, y).
        Target labels may be missing for some or all rows (empty cell, None, NaN, no column, y None).
    label : name of the label column
    task : "auto", "classification" or "regression"; "auto" takes text, booleans and integers of at most 20
        distinct values as classes
    align : "coral", "linear-ot", "standard" (`StandardScaling`), "subspace" (`SubspaceAlignment`), "gfk",
        "tca" or "none"; "subspace" and "gfk" centre each domain first
    model : "mlp" (one hidden layer), "linear", or "auto": "mlp" for classes, "linear" for numbers
    test_size : share of the labelled target rows held out for the scores, stratified; the rest fine-tunes
    random_state : seed of the split, the networks, the permutations and the bootstrap
    out : folder for model.safetensors, metrics.json, predictions.csv and report.html; None writes nothing
    force : replace an earlier result in `out`
    progress : called with one line before each stage

    Returns
    -------
    Result

    Raises
    ------
    ValueError : bad input; the message names what was expected and found. Nothing is written then.
    FileNotFoundError : no such file.
    ImportError : a .parquet file without pyarrow.

    All features are standardised by one map for both domains, each domain counting half, so that a column
    nearly constant in one domain is not blown up in the other and every shift stays visible. Features of
    held-out rows take part in the scaling and the alignment; their labels never do. The shift is measured on
    at most 2000 rows of each domain.
    """
    label = str(label)  # as the names of columns are: pandas allows numbers
    settings = {
        "label": label,
        "task": task,
        "align": align,
        "model": model,
        "test_size": test_size,
        "random_state": random_state,
        "n_bootstrap": N_BOOTSTRAP,
        "n_permutations": N_PERMUTATIONS,
    }
    for name, allowed in (("align", ALIGNMENTS), ("model", candidates.MODELS), ("task", labels.TASKS)):
        if settings[name] not in allowed:
            raise ValueError(
                f"{name} must be one of {', '.join(map(repr, allowed))}, found {settings[name]!r}"
            )
    if not isinstance(random_state, (int, np.integer)) or not 0 <= random_state < 2**32:
        raise ValueError(f"random_state must be an integer from 0 to 2^32 - 1, found {random_state!r}")
    with nullcontext() if out is None else folders.new_folder(out, force=force, replaces=FILES) as folder:
        clock = _Clock(progress)
        notes: list[str] = []
        with _warnings_in(notes):
            clock.stage("reading")
            data = _read(source, target, settings, notes)
            fitted = _fit(data, settings, notes, clock)
            clock.stage("scoring")
            scores, judged = _judge(data, fitted.models, settings, notes)
            predictions = np.asarray(fitted.models[fitted.kept].predict(data.X_target))
        if folder is not None and not plot.available():
            notes.append("The report has tables only: plots need matplotlib, pip install 'isthmus[plot]'.")
        clock.stage("")
        result = Result(
            task=data.y.task,
            metric=_METRICS[data.y.task],
            label=label,
            classes=data.classes,
            features=data.features,
            domains=data.domains,
            shift_before=fitted.before,
            shift_after=fitted.after,
            feature_shift=tuple(fitted.feature_shift),
            scores=scores,
            verdict=judged,
            models=fitted.models,
            predictions=predictions,
            splits=data.splits,
            notes=tuple(notes),
            timing=clock.seconds,
            versions=_versions(),
            settings=settings,
        )
        if folder is not None:
            _write(folder, result, data, fitted)
    return result


class _Clock:
    """Names the stage that runs, and keeps the seconds of each."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._since = time.perf_counter()
        self._name = ""

    def stage(self, name: str) -> None:
        """Start a stage; an empty name only ends the one before."""
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = now - self._since
        self._name, self._since = name, now
        if self._progress is not None and name:
            self._progress(name)


@contextmanager
def _warnings_in(notes: list[str]) -> Iterator[None]:
    """Turn warnings into notes, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    notes += dict.fromkeys(f"{warning.category.__name__}: {warning.message}" for warning in caught)


@dataclass(frozen=True)
class _Data:
    """Both domains over their shared columns: raw rows, scaled rows, labels and who learns from which row."""

    X: Rows  # (ns, d) labelled source rows
    X_target: Rows  # (nt, d)
    Z: Rows  # the same scaled
    Z_target: Rows
    scaler: StandardScaler
    y: labels.Labels
    train: NDArray[np.intp]  # positions in y.target
    test: NDArray[np.intp]
    features: tuple[str, ...]
    names: tuple[str, str]  # of source and target

    @property
    def classes(self) -> tuple[Any, ...] | None:
        return tuple(np.unique(self.y.source).tolist()) if self.y.task == "classification" else None

    @property
    def splits(self) -> NDArray[np.str_]:
        splits = np.full(len(self.X_target), "unlabelled", dtype="<U10")
        splits[self.y.target_rows[self.train]] = "train"
        splits[self.y.target_rows[self.test]] = "test"
        return splits

    @property
    def domains(self) -> dict[str, dict[str, Any]]:
        counts = {"labelled": len(self.y.target), "train": len(self.train), "test": len(self.test)}
        return {
            "source": {"name": self.names[0], "rows": len(self.X)},
            "target": {"name": self.names[1], "rows": len(self.X_target), **counts},
        }


@dataclass(frozen=True)
class _Fitted:
    """Models on raw rows by name, the one that is kept, and the shift before and after alignment."""

    models: dict[str, Pipeline]
    moved: tuple[Rows, Rows] | None  # aligned source and target rows
    before: Shift
    after: Shift | None
    feature_shift: list[dict[str, Any]]

    @property
    def kept(self) -> str:
        return next(key for key in KEPT if key in self.models)


def _read(source: Any, target: Any, settings: Mapping[str, Any], notes: list[str]) -> _Data:
    tables = [
        datasets.read(data, label=settings["label"], role=role)
        for data, role in ((source, "source"), (target, "target"))
    ]
    y = labels.resolve(*tables, label=settings["label"], task=settings["task"])
    X, X_target, features, said = datasets.shared_columns(*tables)
    train, test, more = labels.hold_out(
        y, test_size=settings["test_size"], random_state=settings["random_state"]
    )
    notes += [*y.notes, *tables[0].notes, *tables[1].notes, *said, *more]
    X = X[y.source_rows]
    scaler = _shared_scaler(X, X_target, features)
    names = (Path(tables[0].origin).name, Path(tables[1].origin).name)
    Z, Z_target = scaler.transform(X), scaler.transform(X_target)
    return _Data(X, X_target, Z, Z_target, scaler, y, train, test, features, names)


def _shared_scaler(X: Rows, X_target: Rows, features: tuple[str, ...]) -> StandardScaler:
    """Mean 0 and variance 1 over both domains, each counting half whatever its number of rows."""
    counts = np.array([len(X), len(X_target)])
    weight = np.repeat(counts.sum() / (2.0 * counts), counts)
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(np.concatenate([X, X_target]), sample_weight=weight)
    wide = np.flatnonzero(~np.isfinite(scaler.var_))
    if wide.size:
        raise ValueError(f"column {features[wide[0]]!r} must have a finite variance, found numbers too large")
    return scaler


def _fit(data: _Data, settings: Mapping[str, Any], notes: list[str], clock: _Clock) -> _Fitted:
    align, seed, y = settings["align"], settings["random_state"], data.y
    clock.stage("measuring the shift")
    before, after = _shift(data.Z, data.Z_target, seed), None
    if max(len(data.Z), len(data.Z_target)) > SHIFT_ROWS:
        notes.append(f"The shift was measured on {SHIFT_ROWS} random rows of a domain that has more.")
    aligner, moved = named_alignment(align, data.Z.shape[1]), None
    if aligner is not None:
        clock.stage(f"aligning by {align}")
        aligner.fit(data.Z, y.source, data.Z_target)
        moved = aligner.transform(data.Z, domain="source"), aligner.transform(data.Z_target, domain="target")
        clock.stage("measuring the shift after alignment")
        after = _shift(*moved, seed)

    clock.stage("training on the source")
    known = y.target_rows[data.train], y.target[data.train]
    models = candidates.train(
        data.scaler,
        aligner,
        (data.Z, y.source),
        data.Z_target,
        known,
        model=candidates.new_model(y.task, settings["model"], seed),
        tuning=lambda: clock.stage(f"fine-tuning on {len(data.train)} target rows"),
    )
    if data.train.size and "target_only" not in models:
        notes.append("There is no target-only model: its training rows hold a single label value.")
    # Shown feature by feature where the aligned columns are still the features, in their units.
    kept = align in ("coral", "linear-ot")
    return _Fitted(models, moved, before, after, _feature_shift(data, moved if kept else None))


def _shift(Z: Rows, Z_target: Rows, seed: int) -> Shift:
    rng = np.random.default_rng(seed)
    rows = [part[np.sort(rng.permutation(len(part))[:SHIFT_ROWS])] for part in (Z, Z_target)]
    found = two_sample_test(*rows, n_permutations=N_PERMUTATIONS, random_state=seed)
    return Shift(float(found.statistic), float(found.pvalue), N_PERMUTATIONS, len(rows[0]), len(rows[1]))


def _feature_shift(data: _Data, moved: tuple[Rows, Rows] | None) -> list[dict[str, Any]]:
    """The features whose means differ most, in scaled units. `moved`: aligned rows in the same columns."""
    before = data.Z_target.mean(axis=0) - data.Z.mean(axis=0)
    after = None if moved is None else moved[1].mean(axis=0) - moved[0].mean(axis=0)
    return [
        {
            "name": data.features[j],
            "before": float(before[j]),
            "after": None if after is None else float(after[j]),
        }
        for j in np.argsort(-np.abs(before), kind="stable")[:TOP_FEATURES]
    ]


def _judge(
    data: _Data, models: Mapping[str, Any], settings: Mapping[str, Any], notes: list[str]
) -> tuple[dict[str, Score | None], Verdict]:
    """Scores on the held-out target rows, and whether fine-tuning helped."""
    metric, n_labelled = _METRICS[data.y.task], len(data.y.target)
    truth, rows = data.y.target[data.test], data.y.target_rows[data.test]
    seeds = {"n_bootstrap": N_BOOTSTRAP, "random_state": settings["random_state"]}
    scores: dict[str, Score | None] = dict.fromkeys(report.SCORES)
    guesses: dict[str, Rows] = {}
    if len(rows) > 1 and (metric == "accuracy" or len(np.unique(truth)) > 1):
        guesses = {key: np.asarray(model.predict(data.X_target[rows])) for key, model in models.items()}
        for key, values in guesses.items():
            scores[key] = Score(*score_interval(truth, values, metric=metric, **seeds))
    elif n_labelled:
        why = f"all {len(rows)} held-out rows have the same label"
        if len(rows) < 2:
            why = f"at least two held-out rows are needed, found {len(rows)}"
        notes.append(f"There are no scores: {why}.")
        n_labelled = min(n_labelled, 1)
    baselines = guesses.get("source_only"), guesses.get("target_only")
    judged = verdict(
        truth, guesses.get("fine_tuned"), *baselines, metric=metric, n_labelled=n_labelled, **seeds
    )
    return scores, judged


def _pictures(result: Result, data: _Data, fitted: _Fitted) -> list[report.Picture]:
    """The report's plots; none without matplotlib."""
    if not plot.available():
        return []
    summary = result.to_dict()
    pictures: list[report.Picture | None] = [
        plot.domains((data.Z, data.Z_target), fitted.moved, result.settings["align"]),
        plot.features(summary["feature_shift"]),
    ]
    truth, guess = data.y.target[data.test], result.predictions[data.y.target_rows[data.test]]
    if any(result.scores.values()):
        pictures.insert(0, plot.scores(summary))
        pictures.append(plot.predictions(truth, guess, classes=data.classes))
    return [picture for picture in pictures if picture is not None]


def _versions() -> dict[str, str]:
    names = ("numpy", "scipy", "scikit-learn", "safetensors")
    return {
        "isthmus": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def _write(folder: Path, result: Result, data: _Data, fitted: _Fitted) -> None:
    """The four files of a result."""
    summary = result.to_dict()
    persist.save(result.model, folder / "model.safetensors")
    text = json.dumps(summary, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "metrics.json").write_text(text + "\n", encoding="utf-8")
    (folder / "report.html").write_text(
        report.page(summary, _pictures(result, data, fitted)), encoding="utf-8"
    )
    spelling = data.y.spelling if data.y.task == "classification" else {}
    known = dict(zip(data.y.target_rows.tolist(), data.y.target.tolist(), strict=True))
    with open(folder / "predictions.csv", "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["row", "prediction", "label", "split"])
        for i, (value, split) in enumerate(
            zip(result.predictions.tolist(), result.splits.tolist(), strict=True)
        ):
            label = known.get(i, "")
            out.writerow([i + 1, spelling.get(value, value), spelling.get(label, label), split])
