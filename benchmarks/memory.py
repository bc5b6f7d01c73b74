"""Peak extra memory of a contender, in its own process: `python -m benchmarks.memory CASE NAME THREADS`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from .alignment_cases import SCRIPT
from .cases import Case, inputs
from .measure import settings
from .peers import OURS, prepare

# What is asked for in every report: case, contenders.
ASKED = {
    Case("mmd2", 10_000, 10_000, 64): (OURS, "torch expert", "torch formula"),
    Case("kernel_matmul", 20_000, 20_000, 64, q=32): (OURS, "torch expert"),
    Case("features_mean", 200_000, 0, 128, q=1024): (OURS, "torch expert"),
    Case("tca", 10_000, 10_000, 50, q=30): (OURS, SCRIPT),
    Case("tca", 50_000, 50_000, 50, q=30, tier="large"): (OURS,),
}
# Bytes that Isthmus may take beside its inputs.
LIMITS = {"tca-10000x10000-d50-q30-float32": 1e9, "tca-50000x50000-d50-q30-float32": 2e9}


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise LookupError(field)


def peak_extra_bytes(case: Case, name: str, threads: int) -> int:
    """Highest memory during a call above what was resident before it; a small call has warmed the library."""
    small = case.shrunk(50)
    with settings(case, threads):
        prepare(small, name, inputs(small), threads)()
        call = prepare(case, name, inputs(case), threads)
        if not Path("/proc/self/clear_refs").exists():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            call()
            unit = 1 if sys.platform == "darwin" else 1024
            return unit * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        # ru_maxrss outlives exec and would count the parent's peak; the kernel's own mark can be reset.
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        call()
        return _status("VmHWM") - before


def measure(case_id: str, name: str, threads: int) -> int | str:
    """Bytes for one contender, from a fresh process; the last line of its complaint when it fails."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", __spec__.name, case_id, name, str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1]
        return last.partition(": ")[2] or last
    return int(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    (chosen,) = (case for case in ASKED if case.id == sys.argv[1])
    print(peak_extra_bytes(chosen, sys.argv[2], int(sys.argv[3])))
