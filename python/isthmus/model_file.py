"""One safetensors file with a JSON document in its header: strict reading, atomic writing."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_safetensors

from .arrays import Array
from .errors import ModelFileError

__all__ = ["read", "write"]

ENTRY = "isthmus"  # of the metadata: the document. The only one, since safetensors does not order them
MAX_HEADER = 1 << 22  # bytes; parsed JSON can take 30 times its text
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


def write(
    path: str | os.PathLike[str],
    document: Mapping[str, Any],
    tensors: Mapping[str, Array],
    check: Callable[[Path], None],
) -> None:
    """Write JSON and tensors to a file beside `path`, let `check` read it back, then give it the name `path`.

    `tensors` are C-contiguous, little-endian and not 0-d. On any exception an older file at `path` is as it
    was. Raises ValueError where the header would be too long, IsADirectoryError for a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"path must name a file, got the folder {target}")
    text = json.dumps({**document, "sha256": _digest(document, tensors)}, allow_nan=False)
    content = to_safetensors(dict(tensors), {ENTRY: text})
    if int.from_bytes(content[:8], "little") > MAX_HEADER:
        raise ValueError(
            f"the model's names, labels and parameters must fit in {MAX_HEADER} bytes, got {len(text)}"
        )
    draft = target.with_name(f".isthmus-{secrets.token_hex(8)}.tmp")
    try:
        with open(draft, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        check(draft)
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    with contextlib.suppress(PermissionError):  # Windows cannot open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """The document and the tensors of a file that `write` made.

    The file is opened once, no tensor is allocated before the header agrees with the file's size, and memory
    stays near that size, besides the parsed header. Raises ModelFileError for anything else than such a file.
    """
    with _opened(path) as (file, size):
        header = _header(file, size)
        metadata = header.pop("__metadata__", None)
        if not isinstance(metadata, dict) or not isinstance(metadata.get(ENTRY), str):
            raise ModelFileError("a safetensors file without an Isthmus model")
        document = _parse(metadata[ENTRY])
        places = _places(header, size - file.tell())
        tensors = {name: _tensor(file, name, *place) for name, place in places.items()}
        if document.pop("sha256", None) != _digest(document, tensors):
            raise ModelFileError("the content does not agree with its checksum, the file is damaged")
        return document, tensors


def _parse(text: str) -> dict[str, Any]:
    """A JSON object without ambiguities: no key twice, no NaN, no infinity."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ModelFileError("a JSON object has a key twice")
        return found

    def refuse(constant: str) -> None:
        raise ModelFileError(f"JSON must hold finite numbers, got {constant}")

    try:
        found = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except ModelFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"the header is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelFileError(f"the header must be a JSON object, got {type(found).__name__}")
    return found


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[BufferedReader, int]]:
    """The file and its size; what is wrong inside becomes a ModelFileError with the path in front."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        if Path(path).is_symlink():
            raise ModelFileError("a symbolic link, not a file")
        try:
            handle = os.open(path, flags)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ModelFileError("a symbolic link, not a file") from error
            raise
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            raise ModelFileError("not a regular file")
        with open(handle, "rb") as file:
            yield file, status.st_size
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error.__cause__
    except (ValueError, RecursionError) as error:  # a shape numpy refuses, a name that is no text
        raise ModelFileError(f"{os.fspath(path)}: the file is damaged: {error}") from error


def _header(file: BufferedReader, size: int) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size - 8:
        raise ModelFileError(f"not a safetensors file, or truncated: {size} bytes, header of {length}")
    if length > MAX_HEADER:
        raise ModelFileError(f"a header of {length} bytes, at most {MAX_HEADER} are read")
    raw = file.read(length)
    if len(raw) < length:
        raise ModelFileError("truncated while it was read")
    try:
        return _parse(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ModelFileError(f"not a safetensors file: {error}") from error


def _places(header: Mapping[str, Any], n_bytes: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """dtype and shape of each tensor in the order of the file; together they fill `n_bytes` without a gap."""
    found = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise ModelFileError(f"tensor {name!r} must have dtype, shape and data_offsets")
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in DTYPES:
            raise ModelFileError(f"tensor {name!r} has the unknown dtype {kind!r}")
        if not (_naturals(shape) and 1 <= len(shape) <= 8 and _naturals(offsets) and len(offsets) == 2):
            raise ModelFileError(f"tensor {name!r} must have a shape and two offsets of whole numbers")
        found.append((*offsets, name, DTYPES[kind], tuple(shape)))
    end = 0
    found.sort(key=lambda place: place[:3])
    for first, last, name, dtype, shape in found:
        count = dtype.itemsize
        for length in shape:
            count *= length
        if first != end or last - first != count or last > n_bytes:
            raise ModelFileError(f"tensor {name!r} of shape {shape} does not lie at bytes {first} to {last}")
        end = last
    if end != n_bytes:
        raise ModelFileError(f"the tensors take {end} bytes, the file holds {n_bytes}")
    return {name: (dtype, shape) for _, _, name, dtype, shape in found}


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**63 for v in values
    )


def _tensor(file: BufferedReader, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    out = np.empty(shape, dtype=dtype)
    raw = out.reshape(-1).view(np.uint8)
    if raw.size and file.readinto(raw.data) != raw.size:
        raise ModelFileError("truncated while it was read")
    if dtype.kind == "b" and raw.size and raw.max() > 1:
        raise ModelFileError(f"tensor {name!r} must hold 0 and 1 only, got {raw.max()}")
    if dtype.kind == "f" and not np.isfinite(out).all():
        raise ModelFileError(f"tensor {name!r} must hold finite numbers, got NaN or infinity")
    return out.astype(dtype.newbyteorder("="), copy=False)


def _digest(document: Mapping[str, Any], tensors: Mapping[str, Array]) -> str:
    found = hashlib.sha256(json.dumps(document).encode())
    for name in sorted(tensors):
        little = np.ascontiguousarray(tensors[name], dtype=tensors[name].dtype.newbyteorder("<"))
        found.update(f"\n{name} {little.dtype.str} {little.shape}\n".encode())
        found.update(little.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
