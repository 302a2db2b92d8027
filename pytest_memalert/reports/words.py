"""The words that reports share: which alerts speak, how they are counted, what closes a report."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_memalert.codec import count_alerts
from pytest_memalert.comparisons import unit_of
from pytest_memalert.escaping import escape_controls
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import (
    AS_BEFORE,
    OPTED_OUT,
    OUT_OF_TURN,
    UNCLEAR_BEFORE,
    Comparison,
    ComparisonStatus,
    GateResult,
    Measurement,
    PerformanceAlert,
    Run,
)
from pytest_memalert.units import counted, format_duration, format_quantity, format_size

__all__ = [
    "closing_text",
    "comparison_cells",
    "counts_text",
    "cut",
    "exported_values",
    "function_name",
    "gate_counts",
    "headline",
    "label_of",
    "speaking_alerts",
    "split_location",
    "subject",
]

_UNCHECKED_NAMED = 3

# What Bencher and github-action-benchmark are given of a test, besides a leak.
_EXPORTED = ("peak_bytes", "growth_bytes", "traced_peak_bytes", "traced_growth_bytes")


def speaking_alerts(run: Run) -> list[PerformanceAlert]:
    """Return the alerts that are neither acknowledged nor inhibited, the worst first."""
    return sorted(
        (alert for alert in run.alerts if alert.speaks),
        key=lambda alert: alert.severity,
        reverse=True,
    )


def counts_text(alerts: Iterable[PerformanceAlert]) -> str:
    """Return the counts in words: ``2 critical, 1 warning, 1 acknowledged``.

    Those inhibited, which say again what a louder one says, are in the JSON report.
    """
    counts = count_alerts(alerts)
    words = ("critical", "warning", "info", "acknowledged")
    return ", ".join(f"{counts[word]} {word}" for word in words if counts[word]) or "0 alerts"


def subject(alert: PerformanceAlert) -> str:
    """Return what an alert is about: its test, how many tests, or the session."""
    if len(alert.nodeids) == 1:
        return alert.nodeids[0]
    return f"{len(alert.nodeids):,} tests" if alert.nodeids else "the session"


def headline(alert: PerformanceAlert) -> str:
    """Return the first line of an alert's message, without the test's name that it may begin with."""
    first_line = alert.message.split("\n", 1)[0]
    return first_line.removeprefix(f"{escape_controls(alert.nodeids[0])}: ") if alert.nodeids else first_line


def split_location(alert: PerformanceAlert) -> tuple[str, int] | None:
    """Return the file and line where the alert's test is defined.

    Without a location (an older report) it is the file of the node id; None for an alert of the session.
    """
    if alert.location is not None:
        path, _, line = alert.location.rpartition(":")
        # Not every digit is one that int() reads.
        if path and line.isascii() and line.isdigit() and len(line) < 10:
            return path, max(int(line), 1)
    path, colons, _ = (alert.nodeids[0] if alert.nodeids else "").partition("::")
    return (path, 1) if path and colons else None


def cut(text: str, length: int) -> str:
    """Return ``text`` in at most ``length`` characters, its middle left out where it is longer."""
    if len(text) <= length:
        return text
    # A node id differs from its neighbors at its end, in the parameters.
    end = (length - 3) // 2
    return f"{text[: length - 3 - end]}...{text[len(text) - end :]}"


def closing_text(run: Run, *, with_name: bool) -> str:
    """Return the line that says what was measured, and what measuring cost.

    ``with_name`` says which test the peak was in, by its function alone, as the suspects are told that were
    left unchecked; ``-v`` lists whole node ids.
    """
    parts = [f"{counted(len(run.tests), 'test')} measured"]
    peaks = [
        (peak, measurement.nodeid)
        for measurement in run.tests
        if (peak := measurement.values.get("rss_peak_bytes", measurement.values.get("rss_bytes"))) is not None
    ]
    if peaks:
        peak, nodeid = max(peaks, key=lambda each: each[0])
        named = f" ({escape_controls(function_name(nodeid))})" if with_name else ""
        parts.append(f"resident peak {format_size(peak)}{named}")
    if run.reruns:
        parts.append(counted(run.reruns, "re-run"))
    unchecked = [
        test
        for test in run.tests
        if test.leak.status == "unchecked"
        and test.leak.reason
        and not test.leak.reason.startswith(OPTED_OUT)  # a suspect or not: nobody looked
    ]
    left_out = [
        test for test in unchecked if test.leak.reason not in (AS_BEFORE, UNCLEAR_BEFORE, OUT_OF_TURN)
    ]
    if left_out:
        named = ", ".join(escape_controls(function_name(test.nodeid)) for test in left_out)
        told = f" ({named})" if len(left_out) <= _UNCHECKED_NAMED else ""
        parts.append(f"{counted(len(left_out), 'suspect')} unchecked{told}")
    if as_before := sum(test.leak.reason in (AS_BEFORE, UNCLEAR_BEFORE) for test in unchecked):
        parts.append(f"{counted(as_before, 'suspect')} as when checked before")
    if waiting := len(unchecked) - len(left_out) - as_before:
        parts.append(f"{waiting:,} not checked until it is their turn")
    if brief := sum(test.leak.brief for test in run.tests):
        parts.append(f"{brief:,} checked briefly")
    if run.tests:
        spent_s = run.overhead.screening_s + run.overhead.reruns_s + run.overhead.reporting_s
        parts.append(f"added {format_duration(spent_s)}")
    return f"memalert: {', '.join(parts)}"


def gate_counts(gate: GateResult) -> list[str]:
    """Return how many tests were compared, got worse and better, and what else there is of them."""

    def tests(status: ComparisonStatus) -> int:
        return len({each.nodeid for each in gate.comparisons if each.status == status})

    others = (("new", gate.new), ("missing", gate.missing), ("not compared", gate.uncompared))
    return [
        counted(gate.compared, "test"),
        f"{tests('regression'):,} worse",
        f"{tests('improvement'):,} better",
        *(f"{len(nodeids):,} {word}" for word, nodeids in others if nodeids),
    ]


def label_of(metric: str) -> str:
    """Return what a metric is called; one that isn't known here (an added probe's) by its name."""
    known = METRICS.get(metric)
    return known.label if known is not None else metric


def comparison_cells(comparison: Comparison) -> tuple[str, str, str, str]:
    """Return a row of the gate's table: what it was, what it is, the change, and what is allowed."""
    unit = unit_of(comparison.metric)
    change = comparison.observed - comparison.baseline
    share = f" ({change / comparison.baseline:+.0%})" if comparison.baseline > 0 else ""
    return (
        format_quantity(comparison.baseline, unit),
        format_quantity(comparison.observed, unit),
        f"{'+' if change > 0 else ''}{format_quantity(change, unit)}{share}",
        f"+{format_quantity(comparison.allowance, unit)}",
    )


def exported_values(measurement: Measurement) -> dict[str, float]:
    """Return the figures of a test that a dashboard follows: its size, not the state of the process.

    Duration is left to tools that are made for it; a growth below zero is of no use to a chart of costs.
    """
    values: dict[str, float] = {}
    for metric in _EXPORTED:
        value = measurement.values.get(metric)
        # Zero for what is finite only.
        if value is not None and value - value == 0:
            values[metric] = max(value, 0)
    if measurement.leak.status in ("clean", "leaking"):
        values["leak_bytes_per_run"] = max(measurement.leak.bytes_per_run or 0, 0)
    return values


def function_name(nodeid: str) -> str:
    """Return the name of a test's function, with its parameters."""
    name, bracket, parameters = nodeid.partition("[")
    return f"{name.rpartition('::')[2]}{bracket}{parameters}"
