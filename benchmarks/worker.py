"""One install of Isthmus that answers questions line by line: prepare a case, time its call, give it up.

Started by `against.py` with the Python of that install. Questions and answers are JSON, one a line; what
libraries print goes to the error stream.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import Any

from . import oracle
from .cases import Case
from .contest import question
from .measure import best_of, settings
from .peers import OURS, Unavailable, prepare


class Worker:
    """The case in hand, its settings and its call."""

    def __init__(self) -> None:
        self._settings = ExitStack()
        self._call: Any = None

    def install(self) -> dict[str, Any]:
        """What this process runs."""
        import isthmus
        from isthmus import backends

        return {"version": isthmus.__version__, "path": os.path.dirname(isthmus.__file__), **backends.info()}

    def prepare(self, case: dict[str, Any], threads: int) -> dict[str, Any]:
        """Check the case and time it once; or say why not."""
        self.release()
        asked = Case(**case)
        try:
            self._settings.enter_context(settings(asked, threads))
            data, answer = question(asked)
            self._call = prepare(asked, OURS, data, asked.threads or threads)
            error = oracle.error(asked, data, self._call(), answer)
        except (Unavailable, RuntimeError, TypeError, ValueError) as reason:
            return {"reason": str(reason)}
        if error > oracle.PROMISE[asked.operation][asked.dtype]:
            return {
                "reason": f"its error {error:.1e} exceeds {oracle.PROMISE[asked.operation][asked.dtype]:.0e}"
            }
        return {"error": error, "seconds": best_of(self._call, 1)}

    def time(self, repeats: int) -> dict[str, float]:
        """Seconds of the fastest of `repeats` calls."""
        return {"seconds": best_of(self._call, repeats)}

    def release(self) -> dict[str, Any]:
        """Give up the case."""
        self._settings.close()
        self._settings, self._call = ExitStack(), None
        return {}


def main() -> int:
    """Answer until the questions end."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = Worker()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(worker, name)(**arguments), default=str), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
