"""Two reports of like machines: `python -m benchmarks.compare_files OLD.json NEW.json`.

Seconds of different days do not compare. Each report carries peers and floors measured in turns with Isthmus;
what is compared is how many times faster than them it was.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from .measure import Ratio, ratio
from .peers import NOT_THE_CASE, OURS

LIKE = ("cpu", "cpu_flags", "threads")  # what two machines must share


def unlike(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Why two reports cannot be compared, or None."""
    for key in LIKE:
        before, after = old["environment"][key], new["environment"][key]
        if before != after:
            shown = "" if key == "cpu_flags" else f": {before} before, {after} after"
            return f"reports must be of like machines, but {key} differs{shown}"
    return None


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str, Ratio, Ratio, Ratio]]:
    """(case, contender, advantage before, after, change) of all that both reports measured.

    The band of a change is the widest that both bands allow.
    """
    before = {case["id"]: case for case in old["cases"] if case["status"] == "ok"}
    found = []
    for case in new["cases"]:
        if case["status"] != "ok" or case["id"] not in before:
            continue
        was, now = before[case["id"]]["seconds"], case["seconds"]
        for name in now:
            if name == OURS or name in NOT_THE_CASE or name not in was:
                continue
            first, last = ratio(was[name], was[OURS]), ratio(now[name], now[OURS])
            change = Ratio(last.median / first.median, last.low / first.high, last.high / first.low)
            found.append((case["id"], name, first, last, change))
    return found


def markdown(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The table of changes; above 1, the new report is better. The mean is over contenders, by case."""
    rows = changes(old, new)
    lines = [
        f"{which}: commit {report['environment']['commit']}, {report['environment']['date'][:10]}"
        + (", **the machine was busy**" if report["environment"]["loaded"] else "")
        for which, report in (("old", old), ("new", new))
    ]
    lines += ["", "| case | against | old | new | change |", "|---|---|---:|---:|---|"]
    for case, name, first, last, change in rows:
        lines.append(f"| {case} | {name} | {first.median:.2f} | {last.median:.2f} | {change} |")
    means = {
        case: geometric_mean(row[4].median for row in rows if row[0] == case)
        for case in dict.fromkeys(row[0] for row in rows)
    }
    lines += ["", "| case | mean change |", "|---|---:|"]
    lines += [f"| {case} | {mean:.2f} |" for case, mean in means.items()]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the comparison; 2 if the reports cannot be compared."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    old, new = (json.loads(Path(name).read_text()) for name in arguments)
    reason = unlike(old, new) or (None if changes(old, new) else "reports must share a case and a contender")
    if reason:
        print(reason, file=sys.stderr)
        return 2
    print(markdown(old, new))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
