"""Put a report's table into the README: `python -m benchmarks.readme_table REPORT.json [README.md]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .table import markdown

MARK = "speed"


def insert(page: str, table: str, mark: str = MARK) -> str:
    """The text with everything between the two comments of `mark` replaced by the table."""
    first, last = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"the page must contain {first} and {last}, in this order")
    return f"{before}{first}\n{table}\n{last}{after}"


def main(arguments: list[str]) -> int:
    """Rewrite the README in place."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    report, readme = Path(arguments[0]), Path(arguments[1] if len(arguments) == 2 else "README.md")
    readme.write_text(insert(readme.read_text(), markdown(json.loads(report.read_text()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
