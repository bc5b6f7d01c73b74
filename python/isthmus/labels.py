"""Turns the label cells of two domains into class or number arrays, and holds labelled rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .datasets import Table, clipped

TASKS = ("auto", "classification", "regression")
MAX_INTEGER_CLASSES = 20
_BOOLEANS = {"true": True, "false": False}
_PLURAL = {"boolean": "booleans", "number": "numbers", "text": "text"}


@dataclass(frozen=True)
class Labels:
    """Labels of both domains, of one dtype: bool, int64 or text for classes, float64 for regression."""

    task: str  # "classification" or "regression"
    source: NDArray[Any]  # labels of the source rows in `source_rows`
    source_rows: NDArray[np.intp]
    target: NDArray[Any]  # labels of the target rows in `target_rows`
    target_rows: NDArray[np.intp]
    spelling: dict[Any, str]  # class -> how the file writes it
    notes: tuple[str, ...]


def resolve(source: Table, target: Table, *, label: str, task: str = "auto") -> Labels:
    """Find the type of the labels and the task.

    "auto" takes text, booleans and integers of at most 20 distinct values as classes, and says so in `notes`.

    Raises
    ------
    ValueError : no label column or no label in the source, labels of two kinds or unfit for `task`, one
        class only, or a target label that the source does not have.
    """
    if source.labels is None:
        found = ", ".join(map(repr, source.names)) if source.names else "no labels"
        raise ValueError(f"{source.origin} must have the label column {label!r}, found {found}")
    cells = [*source.labels, *(target.labels if target.labels is not None else [])]
    split = len(source.labels)
    untyped = [source.untyped] * split + [target.untyped] * (len(cells) - split)
    values, kind, spelling = _typed(cells, untyped, source.origin, target.origin, split)
    given = np.array([value is not None for value in values], dtype=bool)
    rows, target_rows = np.flatnonzero(given[:split]), np.flatnonzero(given[split:])
    if not rows.size:
        raise ValueError(f"{source.origin}: column {label!r} must hold labels, found only empty cells")
    known = [value for value in values if value is not None]
    task, notes = _task(known, kind, task, label)
    if task == "regression":
        y = np.array(known, dtype=np.float64)
    else:
        y = np.array(known, dtype={"boolean": np.bool_, "number": np.int64, "text": np.str_}[kind])
    if rows.size < split:
        notes.append(f"{split - rows.size} source rows without a label were left out.")
    labels = Labels(task, y[: rows.size], rows, y[rows.size :], target_rows, spelling, tuple(notes))
    _check(labels, source.origin, target.origin, label)
    return labels


def _typed(
    cells: Sequence[Any], untyped: Sequence[bool], source: str, target: str, split: int
) -> tuple[list[Any], str, dict[Any, str]]:
    """Values with one common kind, that kind, and for CSV cells the spelling of each value."""
    raw = {cell for cell, text in zip(cells, untyped, strict=True) if text and cell is not None}
    kinds: dict[str, int] = {}  # kind -> first row with it
    for i, (cell, text) in enumerate(zip(cells, untyped, strict=True)):
        if cell is not None and not text:
            kinds.setdefault(_kind(cell, source if i < split else target), i)
    parsed: dict[str, Any] = {cell: cell for cell in raw}
    if raw and "text" not in kinds:
        if all(cell.lower() in _BOOLEANS for cell in raw):
            parsed = {cell: _BOOLEANS[cell.lower()] for cell in raw}
        elif all(_is_number(cell) for cell in raw) and any(cell.lower() != "nan" for cell in raw):
            parsed = {cell: None if cell.lower() == "nan" else _number(cell) for cell in raw}
    values = [parsed[c] if text and c is not None else c for c, text in zip(cells, untyped, strict=True)]
    for i, value in enumerate(values):
        if value is not None and untyped[i]:
            kinds.setdefault(_kind(value, source), i)
    if len(kinds) > 1:
        (first, i), (second, j), *_ = kinds.items()
        where = [f"{source}, row {k + 1}" if k < split else f"{target}, row {k - split + 1}" for k in (i, j)]
        raise ValueError(
            f"labels must be of one kind, found {_PLURAL[first]} ({clipped(cells[i])}: {where[0]}) "
            f"and {_PLURAL[second]} ({clipped(cells[j])}: {where[1]})"
        )
    spelling: dict[Any, str] = {}
    for value, cell, text in zip(values, cells, untyped, strict=True):
        if text and value is not None:
            spelling.setdefault(value, cell)
    return values, next(iter(kinds), "text"), spelling


def _kind(cell: Any, origin: str) -> str:
    if isinstance(cell, str):
        return "text"
    if isinstance(cell, bool):
        return "boolean"
    if isinstance(cell, Real) or type(cell).__name__ == "Decimal":
        return "number"
    raise ValueError(
        f"{origin}: labels must be text, booleans or numbers, found {type(cell).__name__} {clipped(cell)}"
    )


def _is_number(cell: str) -> bool:
    """Whether a CSV cell is a number; "007" is a code, not a number."""
    digits = cell.lstrip("+-")
    if (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()) or "_" in cell:
        return False
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str) -> int | float:
    """The number of a CSV cell; integers of 64 bits keep every digit."""
    try:
        value = int(cell)
    except ValueError:
        return float(cell)
    return value if abs(value) < 2**63 else float(cell)


def _task(known: Sequence[Any], kind: str, task: str, label: str) -> tuple[str, list[str]]:
    distinct = set(known)
    whole = kind == "number" and all(float(value).is_integer() and abs(value) < 2**63 for value in distinct)
    if task == "auto":
        held = f"{label!r} holds {'integers' if whole else _PLURAL[kind]} of {len(distinct)} distinct values"
        if kind != "number":
            return "classification", [f"The task is classification, since {held}."]
        few = whole and len(distinct) <= MAX_INTEGER_CLASSES
        task, other = ("classification", "regression") if few else ("regression", "classification")
        override = f"; set the task to {other} to override" if whole else ""
        return task, [f"The task is {task}, since {held}{override}."]
    if task == "classification" and kind == "number" and not whole:
        value = next(v for v in known if not float(v).is_integer())
        raise ValueError(
            f"column {label!r} must hold classes for task 'classification', found the number {value!r}"
        )
    if task == "regression":
        wrong = [v for v in known if kind != "number" or not np.isfinite(float(v))]
        if wrong:
            raise ValueError(
                f"column {label!r} must hold finite numbers for task 'regression', "
                f"found {_PLURAL[kind]}: {clipped(wrong[0])}"
            )
    return task, []


def _check(labels: Labels, source: str, target: str, label: str) -> None:
    values = np.unique(labels.source)
    if labels.task == "regression":
        if not np.isfinite(labels.source).all() or not np.isfinite(labels.target).all():
            raise ValueError(f"column {label!r} must hold finite numbers, found infinity")
        if len(values) < 2:
            raise ValueError(f"{source}: column {label!r} must vary, found only the value {values[0]!s}")
        with np.errstate(over="ignore", invalid="ignore"):
            wide = not np.isfinite(np.var(np.concatenate([labels.source, labels.target])))
        if wide:
            raise ValueError(f"column {label!r} must have a finite variance, found numbers too large")
        return
    if len(values) < 2:
        only = clipped(values[0].item())
        raise ValueError(f"{source}: column {label!r} must hold at least two classes, found one: {only}")
    unknown = np.flatnonzero(~np.isin(labels.target, values))
    if unknown.size:
        value, row = labels.target[unknown[0]].item(), labels.target_rows[unknown[0]] + 1
        known = ", ".join(clipped(v.item()) for v in values[:20]) + (", ..." if len(values) > 20 else "")
        raise ValueError(
            f"{target}: column {label!r}, row {row} must hold one of the source's classes "
            f"{known}, found {clipped(value)}"
        )


def hold_out(
    labels: Labels, *, test_size: float, random_state: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], list[str]]:
    """Positions in `labels.target` to train on and to hold out (stratified for classes), and notes.

    A class with one labelled row goes to training, unless the rows are too few to stratify. Raises
    ValueError unless 0 < test_size < 1.
    """
    from sklearn.model_selection import train_test_split

    if not 0.0 < test_size < 1.0:
        raise ValueError(f"test_size must lie between 0 and 1, found {test_size}")
    rows = np.arange(len(labels.target))
    if len(rows) < 2:
        return rows, rows[:0], []
    n_test = min(max(1, round(test_size * len(rows))), len(rows) - 1)
    if labels.task == "regression":
        train, test = train_test_split(rows, test_size=n_test, random_state=random_state)
        return np.sort(train), np.sort(test), []
    _, at, counts = np.unique(labels.target, return_inverse=True, return_counts=True)
    several = counts[at] > 1
    n_classes, n_several = int((counts > 1).sum()), int(several.sum())
    n_test = min(n_test, max(1, n_several - n_classes))
    if n_classes and n_test >= n_classes:
        train, test = train_test_split(
            rows[several], test_size=n_test, stratify=at[several], random_state=random_state
        )
        return np.sort(np.concatenate([train, rows[~several]])), np.sort(test), []
    train, test = train_test_split(rows, test_size=n_test, random_state=random_state)
    return (
        np.sort(train),
        np.sort(test),
        ["Too few labelled target rows per class to hold out a stratified part."],
    )
