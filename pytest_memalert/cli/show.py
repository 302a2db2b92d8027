"""The command ``memalert show``: everything that is remembered of one alert."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pytest_memalert.acknowledgments import Acknowledgment
from pytest_memalert.cli.console import Unreadable, echo_wrapped, table_lines
from pytest_memalert.cli.history import HISTORY_FORMAT, observed_text, state_of
from pytest_memalert.cli.project import (
    acknowledgments_path,
    choose,
    history_option,
    locate_history,
    metrics_with,
    read_entries,
)
from pytest_memalert.codec import encode_life
from pytest_memalert.comparisons import SESSION
from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import escape_controls
from pytest_memalert.history import RememberedRun, read_history
from pytest_memalert.metrics import format_value
from pytest_memalert.model import AlertLife, PerformanceAlert, SeriesPoint
from pytest_memalert.reports.terminal import render_alert
from pytest_memalert.units import counted

__all__ = ["show"]

_RUNS_SHOWN = 20


@click.command(short_help="Print all that is remembered of an alert.")
@click.argument("fingerprint")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@history_option
def show(fingerprint: str, as_json: bool, history_path: Path | None) -> None:
    """Print all that is remembered of the alert FINGERPRINT, or of the only one that begins so.

    What it says, what survived and what holds it; when it was seen; whether it is acknowledged; and, where
    that tells more, what its metric was in each run that is remembered.

    Exit status: 0 fine, 2 there is no such alert, or the history can't be read.
    """
    path = acknowledgments_path()
    entries = {entry.fingerprint: entry for entry in read_entries(path, metrics_with(path))}
    try:
        with read_history(locate_history(history_path)) as remembered:
            life = choose(remembered.lives(), fingerprint)
            occurrences = remembered.occurrences(life.fingerprint)
            series = {
                nodeid: remembered.series(_subject(nodeid), life.alert.metric, limit=_RUNS_SHOWN)
                for nodeid in life.alert.nodeids[:1]
            }
    except MemalertError as problem:
        raise Unreadable(str(problem)) from None
    entry = entries.get(life.fingerprint)
    if as_json:
        document = {
            "format": HISTORY_FORMAT,
            **encode_life(life),
            "state": state_of(life, entries),
            "acknowledgment": None if entry is None else _entry_document(entry),
            "occurrences": [_occurrence_document(run, alert) for run, alert in occurrences],
            "series": [_point_document(point) for points in series.values() for point in points],
        }
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"alert {escape_controls(life.fingerprint)}, {state_of(life, entries)}\n")
    for row in render_alert(life.alert).split("\n"):
        echo_wrapped(f"  {row}")
    click.echo()
    for text in _life_texts(life):
        echo_wrapped(text)
    if entry is not None:
        # Of a leak's pace the size per run is accepted: another metric than the alert's.
        up_to = ""
        if entry.accepted is not None:
            metric = entry.metric or life.alert.metric
            up_to = f", up to {format_value(metric, entry.accepted, limit=entry.accepted)}"
        by = f" by {escape_controls(entry.author)}" if entry.author else ""
        reason = escape_controls(entry.reason)
        echo_wrapped(f"acknowledged{by} until {entry.until}{up_to}: {reason}")
    click.echo("\nraised in")
    rows = [
        (
            f"{run.started_at:%Y-%m-%d %H:%M}",
            (run.commit or "unknown")[:10],
            observed_text(alert.observed, alert),
            alert.severity.value,
            "acknowledged" if alert.acknowledged else f"inhibited by {alert.inhibited_by}",
        )[: 5 if alert.acknowledged or alert.inhibited_by else 4]
        for run, alert in occurrences[:_RUNS_SHOWN]
    ]
    for line in table_lines(("run", "commit", "observed", "severity", ""), rows):
        click.echo(f"  {line}")
    if len(occurrences) > _RUNS_SHOWN:
        click.echo(f"  and {len(occurrences) - _RUNS_SHOWN:,} more runs: --json lists them")
    told = {(run.run_id, alert.observed) for run, alert in occurrences}
    for nodeid, points in series.items():
        # Runs that raised it are told above: of a leak, which only they have values of, that is all.
        if any((point.run_id, point.value) not in told for point in points):
            click.echo(f"\n{life.alert.metric} of {escape_controls(nodeid)}")
            values = (
                (
                    f"{point.started_at:%Y-%m-%d %H:%M}",
                    (point.commit or "unknown")[:10],
                    observed_text(point.value, life.alert),
                )
                for point in reversed(points)
            )
            for line in table_lines(("run", "commit", "value"), values):
                click.echo(f"  {line}")


def _life_texts(life: AlertLife) -> list[str]:
    seen = f"first seen {life.first_seen:%Y-%m-%d %H:%M} UTC, last seen {life.last_seen:%Y-%m-%d %H:%M} UTC"
    often = f"in {counted(life.times, 'run')}"
    texts = [f"{seen}, {often}; at its worst {observed_text(life.worst, life.alert)}"]
    if life.resolved_at is not None:
        texts.append(f"resolved {life.resolved_at:%Y-%m-%d %H:%M} UTC")
    if life.reopened:
        texts.append(f"came back {counted(life.reopened, 'time')}")
    if life.notified_at is not None:
        texts.append(f"last notified {life.notified_at:%Y-%m-%d %H:%M} UTC")
    return texts


def _subject(nodeid: str) -> str:
    """Return under which node id values are remembered: those of each process' session under one."""
    return SESSION if nodeid.startswith(f"{SESSION} of ") else nodeid


def _entry_document(entry: Acknowledgment) -> dict[str, object]:
    return {
        "reason": entry.reason,
        "author": entry.author or None,
        "until": entry.until.isoformat(),
        "accepted": entry.accepted,
    }


def _occurrence_document(run: RememberedRun, alert: PerformanceAlert) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "started_at": run.started_at.isoformat(),
        "commit": run.commit,
        "observed": alert.observed,
        "severity": alert.severity.value,
        "acknowledged": alert.acknowledged,
        "inhibited_by": alert.inhibited_by,
    }


def _point_document(point: SeriesPoint) -> dict[str, object]:
    return {
        "run_id": point.run_id,
        "started_at": point.started_at.isoformat(),
        "commit": point.commit,
        "value": point.value,
    }
