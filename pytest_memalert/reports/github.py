"""Workflow commands of GitHub Actions: annotations at the tests that alerts are about.

The format is that of the runner's toolkit: ``::error file=...,line=...,title=...::message``,
https://docs.github.com/en/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import AlertSeverity, PerformanceAlert, Run
from pytest_memalert.reports.words import cut, headline, speaking_alerts, split_location, subject
from pytest_memalert.units import format_size

__all__ = ["escape_message", "escape_property", "render"]

#: GitHub shows ten annotations of each kind for a step and drops the rest without a word.
_COMMANDS_PER_KIND = 10

# Long enough for every path; the runner cuts a message at 4 KiB, and a line is easier to read.
_PROPERTY_LENGTH = 400
_TEXT_LENGTH = 1_000
_SURVIVORS_TOLD = 3
_ADVICE_TOLD = 3


def render(run: Run) -> str:
    """Return the commands, a line each; the tenth of a kind counts those that found no room.

    What failed a test is an error, other alerts are warnings, those of severity info notices.
    """
    kinds: dict[str, list[PerformanceAlert]] = {"error": [], "warning": [], "notice": []}
    for alert in speaking_alerts(run):
        kinds[_kind(alert, run)].append(alert)
    return "".join(line + "\n" for kind, alerts in kinds.items() for line in _commands(kind, alerts))


def escape_message(text: str) -> str:
    """Return ``text`` as the data of a command; line breaks stay line breaks to the reader."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Return ``text`` as the value of a command's property."""
    return escape_message(text).replace(":", "%3A").replace(",", "%2C")


def _kind(alert: PerformanceAlert, run: Run) -> str:
    if run.fails(alert):
        return "error"
    return "notice" if alert.severity is AlertSeverity.INFO else "warning"


def _commands(kind: str, alerts: list[PerformanceAlert]) -> Iterator[str]:
    told = alerts if len(alerts) <= _COMMANDS_PER_KIND else alerts[: _COMMANDS_PER_KIND - 1]
    for alert in told:
        title = f"memalert: {alert.category.value}"
        place = split_location(alert)
        properties = {} if place is None else {"file": place[0], "line": str(place[1])}
        yield _command(kind, {**properties, "title": title}, _message(alert))
    if rest := len(alerts) - len(told):
        words = "alerts that fail a test" if kind == "error" else "alerts"
        yield _command(
            kind, {"title": f"memalert: {rest:,} more"}, f"and {rest:,} more {words}: see the job summary"
        )


def _command(kind: str, properties: dict[str, str], message: str) -> str:
    listed = ",".join(
        f"{name}={escape_property(cut(escape_controls(value), _PROPERTY_LENGTH))}"
        for name, value in properties.items()
    )
    return f"::{kind} {listed}::{escape_message(message)}"


def _message(alert: PerformanceAlert) -> str:
    """Return the alert in a few lines: which test, what, what survives where, what to do."""
    rows = [f"{subject(alert)}: {headline(alert)}"]
    for survivor in alert.survivors[:_SURVIVORS_TOLD]:
        row = f"{survivor.left_by} {survivor.told}, {format_size(survivor.size_bytes)}"
        if survivor.held_by:
            row += f", held by {', '.join(survivor.held_by)}"
        rows.append(row)
    rows += [f"-> {recommendation}" for recommendation in alert.recommendations[:_ADVICE_TOLD]]
    return "\n".join(cut(escape_controls(row), _TEXT_LENGTH) for row in rows)
