"""Writes a folder completely or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path


def check_free(out: str | PathLike[str], *, force: bool) -> Path:
    """The absolute path of `out` if a result may be written there.

    Raises ValueError for a file, for a folder that is not empty unless `force`, and for one that is or holds
    the current folder, which would be left without a name.
    """
    path = Path(out).resolve()
    if path.exists() and not path.is_dir():
        raise ValueError(f"the out folder {out} must be a folder, found a file")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise ValueError(
            f"the out folder {out or '.'} must be empty, found {len(list(path.iterdir()))} entries "
            "(force, --force on the command line, replaces an earlier result)"
        )
    if Path.cwd().is_relative_to(path):
        raise ValueError(f"the out folder {out or '.'} must not hold the current folder {Path.cwd()}")
    return path


@contextmanager
def new_folder(out: str | PathLike[str], *, force: bool, replaces: Collection[str]) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name at the end, or disappears on any exception.

    So do the folders above `out` that had to be made for it.
    With `force` a folder that is there stays until the new one is complete. Only its entries named in
    `replaces` go; others are moved into the new folder.
    """
    path = check_free(out, force=force)
    missing = [folder for folder in path.parents if not folder.exists()]  # deepest first
    token = secrets.token_hex(4)
    new, old = (path.with_name(f".{path.name}.{kind}-{token}") for kind in ("new", "old"))
    try:
        try:
            new.mkdir(parents=True)
        except OSError as error:
            raise ValueError(f"the out folder {out} must be writable, found: {error.strerror}") from error
        yield new
        _sync(new)
        if force and path.exists():
            path.rename(old)
        new.rename(path)  # takes the place of an empty folder
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        with suppress(OSError):  # something else has come to lie there
            for folder in missing:
                folder.rmdir()
        raise
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
