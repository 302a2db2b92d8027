"""What the fixture ``memalert`` gives a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.hunting.finding import assert_no_leaks, find_leaks
from pytest_memalert.measuring import MemoryReport, measure
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertRule, LeakAnalysis, PerformanceAlert

if TYPE_CHECKING:
    from pytest_memalert.alerts import AlertManager
    from pytest_memalert.plugin.worker import Worker

__all__ = ["Memalert"]


class Memalert:
    """Measure blocks within a test and look for leaks; works with and without ``--memalert``."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._worker: Worker | None = item.config.pluginmanager.getplugin("memalert-worker")
        self._manager: AlertManager | None = None

    def measure(self, name: str = "block") -> MemoryReport:
        """Return a context manager that measures the block under it; its figures are known afterwards.

        What happens in the block counts in the test's own figures as well.
        """
        return measure(name)

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

    @property
    def manager(self) -> AlertManager:
        """Return an alert manager of this test's own, with the rules in force for it and no channels.

        What it finds is for the test to judge: it neither fails the test nor is reported. A manager
        that lived longer would make what it remembers look like the tests' own growth.
        """
        if self._manager is None:
            from pytest_memalert.alerts import AlertManager

            metrics = METRICS if self._worker is None else self._worker.given.metrics
            self._manager = AlertManager(self._rules(), metrics=metrics)
        return self._manager

    def _rules(self) -> Sequence[AlertRule]:
        from pytest_memalert.limits.defaults import DEFAULT_RULES

        if self._worker is None:
            return DEFAULT_RULES
        # They were chosen for this test; what the manager judges has names and components of its own.
        return [replace(rule, tests=(), component=None) for rule in self._worker.rules_for(self._item)]
