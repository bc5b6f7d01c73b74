"""Settings of the benchmarks' own pytest run; they stand here because the folder also runs once installed."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of the quick tier."""
    config.addinivalue_line("markers", "quick: the quick tier of the benchmarks")
