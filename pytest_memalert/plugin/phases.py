"""The hooks around each phase of a test, for where another plugin runs it or pytest shows it.

Registered only there: each wrapper costs every test 2 to 3 us, and the worker hears of the phases that
it runs itself without any (``pytest_internals.run_phases_heard``).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_memalert.plugin.worker import Worker

__all__ = ["Logged", "Phases"]


class Phases:
    """Tell the worker of the phases that go by."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        """Take the sample before a test."""
        if not self._worker.repeating:
            self._worker.begin(item)
        yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Read the memory around the call."""
        if self._worker.attempt_of(item) is None:
            return (yield)
        self._worker.before_call()
        try:
            return (yield)
        finally:
            self._worker.after_call()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, None, None]:
        """Hold the wider scopes of a test that will be repeated."""
        scopes = self._worker.scopes_to_hold(item, nextitem)
        if scopes is None:
            return (yield)
        with scopes:
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep the item's reports; with the last one, judge the test."""
        attempt = self._worker.attempt_of(item)
        if attempt is None:
            return (yield)
        if call.when == "teardown" and not self._worker.owned:
            # This is the last that will be heard of it.
            self._worker.conclude_for_others(attempt, call)
            report = yield
            self._worker.tell(attempt, report)
            return report
        report = yield
        if call.when != "call" or attempt.call_ended:  # before that it is a subtest's
            self._worker.keep_report(attempt, report)
        return report


class Logged:
    """Tell the worker of the reports that are logged, where there is no controller beside it to do so."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pass the report on."""
        self._worker.hear_report(report)
