"""What this process may use: CPUs and memory, as the operating system and its control group say."""

from __future__ import annotations

import math
import os
import platform
from functools import lru_cache
from pathlib import Path

_ROOT = Path("/")


def _read(path: Path) -> str | None:
    """The file's text without its end of line, or None where there is no such readable file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _read_int(path: Path) -> int | None:
    """The file's integer; None where the file is missing or says "max" (no limit)."""
    text = _read(path)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


def _control_groups(controller: str, root: Path) -> list[tuple[int, Path]]:
    """(version, folder) of every control group, own and enclosing, that can limit `controller`.

    Inside a container the path in /proc may name folders of the host, so the mount point is always tried.
    """
    groups: list[tuple[int, Path]] = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, own = line.split(":", 2)
        if controllers == "":
            version, mounts = 2, ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            version, mounts = 1, [f"sys/fs/cgroup/{controller}", f"sys/fs/cgroup/{controllers}"]
        else:
            continue
        inner = Path(own.lstrip("/"))
        for mount in mounts:
            groups += [(version, root / mount / folder) for folder in (inner, *inner.parents)]
    return groups


@lru_cache
def cpu_quota(root: Path = _ROOT) -> float | None:
    """CPUs granted by the control group (2.5 means 250 ms of every 100 ms), or None without a limit."""
    quotas = []
    for version, folder in _control_groups("cpu", root):
        if version == 2:
            quota, _, period = (_read(folder / "cpu.max") or "max").partition(" ")
        else:
            quota = str(_read_int(folder / "cpu.cfs_quota_us"))
            period = str(_read_int(folder / "cpu.cfs_period_us"))
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def cpu_count(root: Path = _ROOT) -> int:
    """CPUs this process may use: its affinity, and no more than its control group grants; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def available_memory(root: Path = _ROOT) -> int | None:
    """Bytes that can still be allocated, by the system and by the control group; None where neither says."""
    amounts = []
    for line in (_read(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            amounts.append(int(line.split()[1]) * 1024)
    files = {2: ("memory.max", "memory.current"), 1: ("memory.limit_in_bytes", "memory.usage_in_bytes")}
    for version, folder in _control_groups("memory", root):
        limit, used = (_read_int(folder / name) for name in files[version])
        if limit is not None and used is not None:
            # The page cache counts as used but is given back under pressure.
            amounts.append(max(0, limit - used + _reclaimable(folder)))
    return min(amounts, default=None)


def _reclaimable(folder: Path) -> int:
    """Bytes of page cache in a control group that the kernel can drop at once."""
    for line in (_read(folder / "memory.stat") or "").splitlines():
        name, _, amount = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(amount)
    return 0


def cpu_model(root: Path = _ROOT) -> str:
    """The processor's name as the system gives it."""
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
