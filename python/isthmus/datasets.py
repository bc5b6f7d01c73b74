"""Reads one domain from a file, a table or an array pair, and makes the two demo data sets."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".csv", ".npz", ".parquet")
_ROWS_PER_CHUNK = 4096
_LINE_LIMIT = 1 << 24  # characters; a longer line is refused before it fills the memory


@dataclass(frozen=True)
class Table:
    """One domain as read. A column that cannot be used is only an error once it is asked for."""

    origin: str  # how messages name it: the file, or "source" and "target"
    X: NDArray[Any]  # (n, d) float32 or float64
    names: tuple[str, ...] | None  # d column names; None for bare arrays
    labels: NDArray[np.object_] | None = None  # (n,), None where a row has no label; None: no label column
    untyped: bool = False  # labels are the text of CSV cells; their type is still to be found
    defects: dict[int, str] = field(default_factory=dict)  # column number -> why it is no number column
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        return self.names or tuple(f"x{j}" for j in range(self.X.shape[1]))


def read(data: Any, *, label: str, role: str) -> Table:
    """Read one domain.

    Parameters
    ----------
    data : path of a .csv, .npz or .parquet file; a pandas, polars or pyarrow table; or a pair (X, y or None)
    label : name of the label column (an .npz file holds `X` (n, d) and `y` (n,) instead)
    role : "source" or "target", used in messages

    Raises
    ------
    ValueError : an empty, broken or ambiguous input; the message says what was expected and found.
    FileNotFoundError : no such file.
    ImportError : a .parquet file without pyarrow.
    TypeError : `data` is none of the above.
    """
    if hasattr(data, "collect_schema") and hasattr(data, "collect"):
        data = data.collect()  # polars LazyFrame
    if isinstance(data, (str, PathLike)):
        table = _read_path(Path(data), label)
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        table = _from_pair(data[0], data[1], role)
    elif _is_table(data):
        table = _from_table(data, label, role)
    else:
        raise TypeError(f"{role} must be a path, a table or a pair (X, y), got {type(data).__name__}")
    if len(table.X) == 0:
        raise ValueError(f"{table.origin} must hold at least two rows, found a header only")
    if len(table.X) == 1:
        raise ValueError(f"{table.origin}: the {role} must hold at least two rows, found 1")
    return table


def shared_columns(
    source: Table, target: Table
) -> tuple[NDArray[Any], NDArray[Any], tuple[str, ...], list[str]]:
    """Source rows, target rows, names and notes over the columns of both tables, in the source's order.

    Raises ValueError when there are none, or when a shared column holds anything but finite numbers.
    """
    notes: list[str] = []
    if source.names is None or target.names is None:
        if source.X.shape[1] != target.X.shape[1]:
            raise ValueError(
                f"{target.origin} must have the source's width d = {source.X.shape[1]}, "
                f"found {target.X.shape[1]}"
            )
        names = source.names or target.names or source.shown
        left = right = list(range(len(names)))
        if (source.names is None) != (target.names is None):
            notes.append("Only one domain names its columns, so columns were matched by position.")
    else:
        places = [{name: j for j, name in enumerate(table.names or ())} for table in (source, target)]
        names = tuple(name for name in source.names if name in places[1])
        if not names:
            raise ValueError(
                f"{source.origin} and {target.origin} must share feature columns, found none in common: "
                f"{_listed(source.names)} and {_listed(target.names)}"
            )
        left, right = ([place[name] for name in names] for place in places)
        for table, other in ((source, places[1]), (target, places[0])):
            extra = [name for name in table.names or () if name not in other]
            if extra:
                notes.append(f"Columns only in {table.origin} were left out: {_listed(extra)}.")
    if not names:
        raise ValueError(f"{source.origin} must have at least one feature column, found none")
    for table, columns in ((source, left), (target, right)):
        for j in columns:
            if j in table.defects:
                raise ValueError(table.defects[j])
    return source.X[:, left], target.X[:, right], names, notes


def _listed(names: Iterable[str], limit: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + more if names else "no columns"


# -- files


def _read_path(path: Path, label: str) -> Table:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path} must end in .csv, .npz or .parquet, found {suffix or 'no suffix'!r}")
    if path.is_dir():
        raise ValueError(f"{path} must be a file, found a folder")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} must hold a table, found an empty file")
    if suffix == ".csv":
        return _read_csv(path, label)
    return _read_npz(path) if suffix == ".npz" else _read_parquet(path, label)


def _lines(file: Any, path: Path) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: file.readline(_LINE_LIMIT), ""), 1):
        if len(line) == _LINE_LIMIT:
            raise ValueError(f"{path}: line {number} must be shorter than {_LINE_LIMIT} characters")
        yield line


def _read_csv(path: Path, label: str) -> Table:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_lines(file, path), strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            kept = [j for j, name in enumerate(header) if name and name != label]
            label_at = header.index(label) if label in header else None
            names = tuple(header[j] for j in kept)
            parts, cells, n = [], [], 0
            defects: dict[int, str] = {}
            while rows := list(islice(_full_rows(reader, path, len(header)), _ROWS_PER_CHUNK)):
                columns = list(zip(*rows, strict=True))
                if label_at is not None:
                    cells += [cell.strip() or None for cell in columns[label_at]]
                part = np.empty((len(rows), len(kept)))
                for at, j in enumerate(kept):
                    part[:, at], defect = _numbers(columns[j])
                    if defect is not None:
                        defects.setdefault(at, _defect(path, names[at], n + defect[0], defect[1]))
                parts.append(part)
                n += len(rows)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} must be UTF-8 text, found byte 0x{error.object[error.start]:02x} that is not"
            ) from error
        except csv.Error as error:
            raise ValueError(
                f"{path}: line {reader.line_num} must be comma-separated values, found: {error}"
            ) from error
    notes = () if all(header) else (f"Columns of {path} without a name were left out.",)
    labels = None if label_at is None else _objects(cells)
    X = np.concatenate(parts) if parts else np.empty((0, len(names)))
    return Table(str(path), X, names, labels, True, defects, notes)


def _check_header(path: Path, header: Sequence[str]) -> None:
    if not any(header):
        raise ValueError(f"{path} must start with a line of column names, found an empty line")
    for mark, shown in ((";", "';'"), ("\t", "tabs"), ("|", "'|'")):
        if len(header) == 1 and mark in header[0]:
            raise ValueError(f"{path} must separate its columns by ',', found {shown}")
    _check_duplicates(str(path), [name for name in header if name])


def _check_duplicates(origin: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{origin} must name each column once, found duplicates: {_listed(twice)}")


def _full_rows(reader: Any, path: Path, width: int) -> Iterator[list[str]]:
    for row in reader:
        if not row:
            continue
        if len(row) != width:
            raise ValueError(f"{path}: line {reader.line_num} must have {width} cells, found {len(row)}")
        yield row


def _numbers(cells: Sequence[Any]) -> tuple[NDArray[np.float64], tuple[int, str] | None]:
    """The cells as float64, and the first that is no finite number as (index, what it is)."""
    try:
        values = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array([_number(cell) for cell in cells])
    bad = np.flatnonzero(~np.isfinite(values))
    if not bad.size:
        return values, None
    cell = cells[bad[0]]
    empty = cell is None or (isinstance(cell, str) and not cell.strip())
    return values, (int(bad[0]), "an empty cell" if empty else clipped(cell))


def clipped(value: Any, limit: int = 60) -> str:
    """`repr(value)`, cut for a message of one sentence."""
    shown = repr(value)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _defect(origin: Any, name: str, row: int, found: str) -> str:
    return f"{origin}: column {name!r}, row {row + 1} must hold a finite number, found {found}"


def _read_npz(path: Path) -> Table:
    with open(path, "rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in ("X", "y") if name in archive.files}
            found = archive.files
        except Exception as error:  # the parsers answer a damaged file with errors of many types
            expected = "an .npz archive of plain arrays (pickled data is never loaded)"
            raise ValueError(f"{path} must be {expected}, found: {error}") from error
    if "X" not in arrays:
        raise ValueError(f"{path} must hold an array 'X' (and 'y' for labels), found {found}")
    return _from_pair(arrays["X"], arrays.get("y"), str(path))


def _read_parquet(path: Path, label: str) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ImportError(f"{path}: reading .parquet needs pyarrow: pip install 'isthmus[io]'") from error
    try:
        _check_duplicates(str(path), parquet.read_schema(path).names)
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a Parquet file, found: {str(error).splitlines()[0]}") from error
    return _from_table(table, label, str(path))


# -- tables and arrays in memory


def _is_table(data: Any) -> bool:
    return hasattr(data, "column_names") or hasattr(data, "columns")  # pyarrow; pandas, polars


def _from_table(table: Any, label: str, origin: str) -> Table:
    keys = list(table.column_names if hasattr(table, "column_names") else table.columns)
    names = [str(key) for key in keys]  # pandas allows other keys
    _check_duplicates(origin, names)
    columns = {name: _as_array(table[key]) for name, key in zip(names, keys, strict=True)}
    labels = _label_cells(columns.pop(label)) if label in columns else None
    X, defects = _stack_columns(columns, origin, n=len(table))
    return Table(origin, X, tuple(columns), labels, False, defects)


def _as_array(column: Any) -> NDArray[Any]:
    """A column as numpy: numbers when it has no gaps, Python objects otherwise."""
    try:
        return np.asarray(column.to_numpy())
    except (TypeError, ValueError, NotImplementedError):
        return _objects(column.to_pylist() if hasattr(column, "to_pylist") else list(column))


def _stack_columns(
    columns: dict[str, NDArray[Any]], origin: str, n: int
) -> tuple[NDArray[Any], dict[int, str]]:
    kinds = [column.dtype for column in columns.values() if column.dtype.kind == "f"]
    narrow = len(kinds) == len(columns) and all(kind.itemsize <= 4 for kind in kinds)
    X = np.full((n, len(columns)), np.nan, dtype=np.float32 if narrow and kinds else np.float64)
    defects: dict[int, str] = {}
    for j, (name, column) in enumerate(columns.items()):
        if column.dtype.kind in "biuf":
            X[:, j] = column
            bad = np.flatnonzero(~np.isfinite(X[:, j]))
            if bad.size:
                cell = column[bad[0]]
                defects[j] = _defect(
                    origin, name, int(bad[0]), "an empty cell" if cell != cell else clipped(float(cell))
                )
        elif column.dtype.kind != "O":
            defects[j] = _defect(origin, name, 0, clipped(column[0].item()) if n else "nothing")
        elif (at := next((i for i, cell in enumerate(column) if _no_number(cell)), None)) is not None:
            defects[j] = _defect(origin, name, at, clipped(column[at]))
        else:
            X[:, j], defect = _numbers(list(column))
            if defect is not None:
                defects[j] = _defect(origin, name, *defect)
    return X, defects


def _no_number(cell: Any) -> bool:
    """Text, bytes, a list or an array, or a complex number, some of which `float` would take."""
    return hasattr(cell, "__len__") or isinstance(cell, complex)


def _from_pair(X: Any, y: Any, origin: str) -> Table:
    if _is_table(X):
        both = hasattr(X, "index") and hasattr(getattr(y, "index", None), "equals")  # of pandas
        if both and not y.index.equals(X.index):
            raise ValueError(f"{origin}: y must have the index of X, found another one or another order")
        table = _from_table(X, "", origin)
    else:
        rows = np.asarray(X)
        if rows.ndim != 2:
            raise ValueError(f"{origin}: X must have shape (n, d), found {rows.shape}")
        if rows.dtype.kind not in "biufO":
            raise ValueError(f"{origin}: X must hold real numbers, found dtype {rows.dtype}")
        columns = {f"x{j}": rows[:, j] for j in range(rows.shape[1])}
        data, defects = _stack_columns(columns, origin, n=len(rows))
        table = Table(origin, data, None, None, False, defects)
    if y is None:
        return table
    cells = _as_array(y) if hasattr(y, "to_numpy") else y if isinstance(y, np.ndarray) else _objects(list(y))
    if cells.shape != (len(table.X),):
        raise ValueError(
            f"{origin}: y must have one label for each of {len(table.X)} rows, found shape {cells.shape}"
        )
    return Table(origin, table.X, table.names, _label_cells(cells), False, table.defects)


def _objects(cells: Sequence[Any]) -> NDArray[np.object_]:
    out = np.empty(len(cells), dtype=object)
    out[:] = cells
    return out


def _label_cells(column: NDArray[Any]) -> NDArray[np.object_]:
    """Python values with None for a missing label: None, NaN, NA, NaT and empty text."""
    cells = [cell.item() if isinstance(cell, np.generic) else cell for cell in column.tolist()]
    return _objects([None if _missing(cell) else cell for cell in cells])


def _missing(cell: Any) -> bool:
    if cell is None or (isinstance(cell, str) and not cell):
        return True
    if hasattr(cell, "__len__"):
        return False
    same = cell == cell  # False for NaN and NaT, NA for pandas' NA
    return not (isinstance(same, (bool, np.bool_)) and same)
