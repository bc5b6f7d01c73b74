"""Whether a contender can run here: its library, the memory it needs."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any


class Unavailable(Exception):
    """This contender cannot run here; the message says why."""


def library(name: str) -> Any:
    """Import a peer's library, its warnings silenced, or say why it cannot be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(name)
    except ModuleNotFoundError as absent:
        raise Unavailable(f"{name.partition('.')[0]} is not installed") from absent
    except Exception as broken:  # a peer's own failure must not end the run
        raise Unavailable(f"{name} cannot be imported: {broken}") from broken


def room_for(n_bytes: float) -> None:
    """Refuse a formula whose whole matrices would not fit in memory."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = 1024 * int(fields["MemAvailable"].split()[0])
    if n_bytes > 0.8 * available:
        raise Unavailable(f"needs {n_bytes / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are free")
