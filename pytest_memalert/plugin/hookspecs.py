"""The hooks that other plugins and conftest files may implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # loaded in every run
    from collections.abc import Sequence

    from pytest_memalert.model import PerformanceAlert, Probe, Run


@pytest.hookspec
def pytest_memalert_probes(config: pytest.Config) -> Sequence[Probe]:  # type: ignore[empty-body]
    """Return probes to be read before and after each test.

    The name of each is a metric like any other: rules can name it, reports have it.
    Called once per process, when pytest is configured.
    """


@pytest.hookspec(firstresult=True)
def pytest_memalert_component(item: pytest.Item) -> str | None:
    """Return the name of the component that ``item`` tests, or None to leave it to others.

    Without an answer the component is the test's file.
    """


@pytest.hookspec
def pytest_memalert_modify_alerts(config: pytest.Config, alerts: list[PerformanceAlert]) -> None:
    """Change, drop or add alerts in place, before they are judged failing.

    Called in the process that ran the test, with the alerts of one test, and once at the
    end of the session with those of the session. A conftest file is asked for the tests
    below it and for the session. Alerts are immutable: put a new one in place.
    """


@pytest.hookspec
def pytest_memalert_finished(config: pytest.Config, run: Run) -> None:
    """See the finished run, before reports are written; called once, in the controller."""
