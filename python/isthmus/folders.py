"""Writes a folder completely or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path


def check_free(out: str | PathLike[str], *, force: bool) -> Path:
    """The absolute path of `out` if a result may be written there.

    Raises ValueError for a file, for a folder that is not empty unless `force`, and for one that holds the
    current folder.
    """
    path = Path(out).resolve()
    if path.exists() and not path.is_dir():
        raise ValueError(f"the out folder {out} must be a folder, found a file")
    if path.is_dir() and any(path.iterdir()):
        if not force:
            raise ValueError(
                f"the out folder {out} must be empty, found {len(list(path.iterdir()))} entries "
                "(force, --force on the command line, replaces an earlier result)"
            )
        if Path.cwd().is_relative_to(path):
            raise ValueError(f"the out folder {out} must not hold the current folder {Path.cwd()}")
    return path


@contextmanager
def new_folder(out: str | PathLike[str], *, force: bool, replaces: Collection[str]) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name at the end, or disappears on any exception.

    With `force` a folder that is there stays until the new one is complete. Only its entries named in
    `replaces` go; others are moved into the new folder.
    """
    path = check_free(out, force=force)
    path.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(4)
    new, old = (path.with_name(f".{path.name}.{kind}-{token}") for kind in ("new", "old"))
    new.mkdir()
    try:
        yield new
        _sync(new)
        if force and path.exists():
            path.rename(old)
            try:
                new.rename(path)
            except BaseException:
                old.rename(path)
                raise
        else:
            new.rename(path)  # takes the place of an empty folder
    finally:
        shutil.rmtree(new, ignore_errors=True)
    if old.exists():
        for entry in old.iterdir():
            if entry.name not in replaces and not (path / entry.name).exists():
                entry.rename(path / entry.name)
        shutil.rmtree(old)


def _sync(folder: Path) -> None:
    """Hand every file below `folder` to the disk."""
    for entry in folder.rglob("*"):
        if entry.is_file():
            with open(entry, "rb") as file:
                os.fsync(file.fileno())
