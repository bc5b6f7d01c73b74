"""Where a measurement was made: machine, flags, threads, versions, commit, load."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from isthmus import backends, machine

PACKAGES = (
    "isthmus",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-learn-intelex",
    "torch",
    "pykeops",
    "hyppo",
    "POT",
    "skada",
    "pytest-benchmark",
)


def cpu_flags() -> list[str]:
    """Instruction sets and features the processor reports, sorted; empty where the system does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((sorted(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), [])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> str | None:
    """Commit of the checkout these files belong to, "-modified" when it has changes; None outside one."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    head = _git("rev-parse", "--short=12", "HEAD")
    return f"{head}-modified" if head and _git("status", "--porcelain", "--untracked-files=no") else head


def load_average() -> float | None:
    """Mean number of running processes over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def environment(threads: int) -> dict[str, Any]:
    """Everything a reader needs to judge the figures."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": machine.cpu_model(),
        "cpu_flags": cpu_flags(),
        "cores": machine.cpu_count(),
        "threads": threads,
        "load_at_start": load_average(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "isthmus": backends.info(),
    }


def close(where: dict[str, Any]) -> None:
    """Record the load at the end, and whether others ran too: more than 1 above the run's own threads."""
    where["load_at_end"] = load_average()
    start, end = where["load_at_start"] or 0.0, where["load_at_end"] or 0.0
    where["loaded"] = start > 1.0 or end > where["threads"] + 1.0
