"""Our pool as threadpoolctl sees it. Importing this module registers it; `_native` must be loaded."""

from __future__ import annotations

import threadpoolctl

from . import __version__
from .config import default_threads
from .machine import cpu_count


class PoolController(threadpoolctl.LibController):  # type: ignore[misc]
    """Lets `threadpool_info` and `threadpool_limits` see and limit the threads of the compiled operations.

    A limit holds for operations called from the thread that set it; `config(n_threads=)` goes before it.
    """

    user_api = "isthmus"
    internal_api = "isthmus"
    filename_prefixes = ("_native",)
    check_symbols = ("isthmus_get_thread_limit", "isthmus_set_thread_limit")

    def get_num_threads(self) -> int | None:
        """Threads of an operation outside any `config(n_threads=)`; None for a module that is not ours."""
        if not hasattr(self.dynlib, "isthmus_get_thread_limit"):
            return None
        return _threads(self.dynlib.isthmus_get_thread_limit())

    def set_num_threads(self, num_threads: int) -> None:
        """Limit the threads of this thread's operations.

        The number there is without a limit takes the limit away: threadpoolctl restores all libraries,
        even those that it left alone.
        """
        limit = max(1, int(num_threads))
        self.dynlib.isthmus_set_thread_limit(0 if limit == _threads(0) else limit)

    def get_version(self) -> str:
        """The version of Isthmus."""
        return str(__version__)


def _threads(limit: int) -> int:
    try:
        return default_threads(limit)
    except ValueError:  # a broken variable is reported to who calls an operation, not to who lists libraries
        return cpu_count()


threadpoolctl.register(PoolController)
