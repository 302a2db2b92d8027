"""What the fixture ``memalert`` gives a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.finding import assert_no_leaks, find_leaks
from pytest_memalert.measuring import MemoryReport, measure
from pytest_memalert.model import LeakAnalysis, PerformanceAlert

if TYPE_CHECKING:
    from pytest_memalert.plugin.worker import Worker

__all__ = ["Memalert"]


class Memalert:
    """Measure blocks within a test and look for leaks; works with and without ``--memalert``."""

    def __init__(self, config: pytest.Config) -> None:
        self._worker: Worker | None = config.pluginmanager.getplugin("memalert-worker")

    def measure(self, name: str = "block") -> MemoryReport:
        """Return a context manager that measures the block under it; its figures are known afterwards.

        What happens in the block counts in the test's own figures as well.
        """
        return measure(name, windows=self._worker.peak_windows if self._worker else None)

    def find_leaks(
        self,
        func: Callable[..., object],
        /,
        *args: Any,
        warmups: int | None = None,
        runs: int | None = None,
        **kwargs: Any,
    ) -> LeakAnalysis:
        """Return whether ``func(*args, **kwargs)`` leaks, as ``pytest_memalert.find_leaks`` does."""
        return find_leaks(func, *args, warmups=warmups, runs=runs, **kwargs)

    def assert_no_leaks(
        self,
        func: Callable[..., object],
        /,
        *args: Any,
        warmups: int | None = None,
        runs: int | None = None,
        **kwargs: Any,
    ) -> LeakAnalysis:
        """Fail the test where ``func(*args, **kwargs)`` leaks, saying what, from where and what to do."""
        __tracebackhide__ = True
        return assert_no_leaks(func, *args, warmups=warmups, runs=runs, **kwargs)

    @property
    def alerts(self) -> tuple[PerformanceAlert, ...]:
        """Return the alerts that this process has raised so far; none without ``--memalert``."""
        return tuple(self._worker.alerts) if self._worker else ()
