"""Tell of alerts through pytest: as the failure of a test, or as a warning."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from sys import intern

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.codec import decode_alert, encode_alert
from pytest_memalert.errors import MemalertWarning, MemoryAlertWarning, describe_exception
from pytest_memalert.escaping import disarm, escape_controls
from pytest_memalert.model import Measurement, PerformanceAlert
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.pytest_internals import fail_report
from pytest_memalert.reports.terminal import render_alert
from pytest_memalert.reports.words import headline

__all__ = [
    "accept_known",
    "add_properties",
    "fail_test",
    "let_others_modify",
    "tell_trouble",
    "warn_of",
]

# Each test has them, and they are the difference, the larger or the quotient of others.
_LEFT_OUT_OF_JUNIT = frozenset(
    {
        "blocks_growth",
        "duration_s",
        "efficiency_ratio",
        "growth_rate_bytes_per_s",
        "heap_growth_bytes",
        "rss_growth_bytes",
    }
)


def let_others_modify(
    config: pytest.Config, alerts: Sequence[PerformanceAlert], *, item: pytest.Item | None = None
) -> tuple[PerformanceAlert, ...]:
    """Return the alerts as the hook leaves them; as they were, with a warning, where it or one of them fails.

    For those of an ``item``, only the conftest files above it are asked.
    """
    if not alerts:
        return ()
    modified = list(alerts)
    try:
        hook = config.hook if item is None else item.ihook
        hook.pytest_memalert_modify_alerts(config=config, alerts=modified)
        for alert in modified:
            decode_alert(encode_alert(alert))  # of what is no alert no report can be made
    except Exception as trouble:
        text = f"pytest_memalert_modify_alerts failed ({describe_exception(trouble)})"
        tell_trouble(config, f"{text}; the alerts stay as they were", nodeid=alerts[0].nodeids[0])
        return tuple(alerts)
    return tuple(modified)


def accept_known(
    given: Given, alerts: tuple[PerformanceAlert, ...], values: Mapping[str, float]
) -> tuple[PerformanceAlert, ...]:
    """Return the alerts, those acknowledged that the file of acknowledgments covers today."""
    if not alerts or not given.acknowledgments:
        return alerts
    from pytest_memalert.acknowledgments import acknowledge

    return acknowledge(
        alerts, given.acknowledgments, today=utc_now().date(), metrics=given.metrics, values=values
    )


def fail_test(report: pytest.TestReport, item: pytest.Item, alerts: Sequence[PerformanceAlert]) -> None:
    """Make a report one of failure for these alerts."""
    text = disarm("\n\n".join(map(render_alert, alerts)))
    first = disarm(escape_controls(headline(alerts[0])))  # pytest writes it as it is; a hook may have made it
    if len(alerts) > 1:
        first += f" (and {len(alerts) - 1:,} more)"
    fail_report(report, item, headline=first, text=text)


def warn_of(config: pytest.Config, item: pytest.Item, alert: PerformanceAlert) -> None:
    """Record an alert that doesn't fail its test as a pytest warning at the test's location."""
    first_line = disarm(escape_controls(alert.message.split("\n", 1)[0]))
    _, line, _ = item.location
    warning = MemoryAlertWarning(f"{alert.severity.value} {alert.category.value}: {first_line}")
    _record_warning(config, warning, nodeid=item.nodeid, path=str(item.path), line=(line or 0) + 1)


def add_properties(report: pytest.TestReport, measurement: Measurement, told: Collection[str]) -> None:
    """Give JUnit XML the same figures, as properties of the test.

    pytest keeps each as an element of XML until the session ends, in 0.5 KiB: so what follows from the
    others is left out, unless it is to be ``told``.
    """
    others = (pair for pair in report.user_properties if not pair[0].startswith("memalert_"))
    figures = (
        (intern(f"memalert_{name}"), value)
        for name, value in measurement.values.items()
        if name in told or name not in _LEFT_OUT_OF_JUNIT
    )
    report.user_properties = [*others, *figures]


def tell_trouble(config: pytest.Config, text: str, *, nodeid: str = "") -> None:
    """Warn of trouble that isn't the tests'; no line of anybody's code is shown with it."""
    _record_warning(config, MemalertWarning(text), nodeid=nodeid, path="pytest-memalert", line=1)


def _record_warning(config: pytest.Config, warning: Warning, *, nodeid: str, path: str, line: int) -> None:
    """Have pytest list a warning, whatever the filters make of it but to ignore it.

    Under ``-W error`` a warning is an exception wherever it is issued: ours would break
    the session. What fails a test is up to ``--memalert-fail-on`` alone.
    """
    with warnings.catch_warnings(record=True) as seen:
        try:
            warnings.warn_explicit(warning, type(warning), path, line, registry={})
        except Warning:
            ignored = False
        else:
            ignored = not seen
    if ignored:
        return
    message = warnings.WarningMessage(warning, type(warning), path, line)
    config.hook.pytest_warning_recorded.call_historic(
        kwargs={
            "warning_message": message,
            "nodeid": nodeid,
            "when": "runtest",
            "location": None,
        }
    )
