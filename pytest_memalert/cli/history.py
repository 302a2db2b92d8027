"""The command ``memalert history``: the alerts and the runs that are remembered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from pytest_memalert.acknowledgments import Acknowledgment, acknowledge
from pytest_memalert.cli.console import Unreadable, table_lines
from pytest_memalert.cli.project import (
    acknowledgments_path,
    history_option,
    locate_history,
    metrics_with,
    read_entries,
    read_since,
)
from pytest_memalert.clock import utc_now
from pytest_memalert.codec import encode_life
from pytest_memalert.comparisons import SESSION
from pytest_memalert.errors import MemalertError
from pytest_memalert.history import RememberedRun, read_history
from pytest_memalert.metrics import format_value
from pytest_memalert.model import AlertCategory, AlertLife, AlertSeverity, PerformanceAlert
from pytest_memalert.rules import matches
from pytest_memalert.units import format_duration, listed

__all__ = ["HISTORY_FORMAT", "history", "observed_text", "state_of"]

#: The format of ``memalert history --json``.
#:
#: 1  the first
HISTORY_FORMAT = 1


@click.command(short_help="List remembered alerts, runs or trends.")
@click.option("--runs", "of_runs", is_flag=True, help="List the runs, not the alerts.")
@click.option("--trends", "of_trends", is_flag=True, help="List the trends of tests and of the session.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="With --trends: of this metric, not of peaks."
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="GLOB",
    help="Only alerts of tests that match: a glob, or the node id of a test, file or folder.",
)
@click.option(
    "--category",
    "categories",
    multiple=True,
    type=click.Choice([each.value for each in AlertCategory]),
    help="Only alerts of this category.",
)
@click.option(
    "--severity",
    "severities",
    multiple=True,
    type=click.Choice([each.value for each in AlertSeverity]),
    help="Only alerts of this severity.",
)
@click.option("--acknowledged/--unacknowledged", default=None, help="Only those that are, or are not.")
@click.option("--open", "only_open", is_flag=True, help="Only alerts that are not resolved.")
@click.option(
    "--since", metavar="TIME", help="Only what was seen since: a day (2026-01-31), or how long ago (7 days)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@history_option
def history(
    of_runs: bool,
    of_trends: bool,
    metrics: tuple[str, ...],
    tests: tuple[str, ...],
    categories: tuple[str, ...],
    severities: tuple[str, ...],
    acknowledged: bool | None,
    only_open: bool,
    since: str | None,
    as_json: bool,
    history_path: Path | None,
) -> None:
    """List the alerts that are remembered, the latest first; with --runs, the runs.

    With --trends, what rose or fell from one run to another, and since which run and commit.

    Each filter may be given several times; what fits any of its values is listed.

    Exit status: 0 whatever is listed, 2 wrong usage or a history that can't be read.
    """
    begin = read_since(since)
    if of_runs and (tests or categories or severities or acknowledged is not None or only_open):
        raise click.UsageError("--runs goes with --since, --json and --history alone: a run has no severity")
    if of_trends:
        if of_runs or categories or severities or acknowledged is not None or only_open or since:
            raise click.UsageError("--trends goes with --metric, --test, --json and --history alone")
        # Imported here: the other lists need nothing of it.
        from pytest_memalert.cli.trends import print_trends

        print_trends(locate_history(history_path), tests=tests, metrics=metrics, as_json=as_json)
        return
    if metrics:
        raise click.UsageError("--metric goes with --trends: an alert's metric is its rule's")
    entries = {} if of_runs else _entries()
    try:
        with read_history(locate_history(history_path)) as remembered:
            runs = remembered.runs(since=begin) if of_runs else ()
            lives = () if of_runs else remembered.lives()
    except MemalertError as problem:
        raise Unreadable(str(problem)) from None
    if of_runs:
        _print_runs(runs, as_json)
        return
    chosen = [
        life
        for life in lives
        if (begin is None or life.last_seen >= begin)
        and (not tests or any(matches(nodeid, glob) for nodeid in life.alert.nodeids for glob in tests))
        and (not categories or life.alert.category.value in categories)
        and (not severities or life.alert.severity.value in severities)
        and (acknowledged is None or _is_acknowledged(life, entries) == acknowledged)
        and not (only_open and life.resolved_at is not None)
    ]
    _print_alerts(chosen, entries, as_json, some=bool(lives))


def _is_acknowledged(life: AlertLife, entries: Mapping[str, Acknowledgment]) -> bool:
    """Return whether an alert is accepted now: by the file as it is, not as its last run found it."""
    entry = entries.get(life.fingerprint)
    if entry is None:
        return False
    today, alert = utc_now().date(), replace(life.alert, acknowledged=None)
    return acknowledge((alert,), (entry,), today=today)[0].acknowledged is not None


def state_of(life: AlertLife, entries: Mapping[str, Acknowledgment]) -> str:
    """Return in a word what became of an alert."""
    if life.resolved_at is not None:
        return "resolved"
    if _is_acknowledged(life, entries):
        return "acknowledged"
    return "reopened" if life.reopened else "open"


def observed_text(value: float, alert: PerformanceAlert) -> str:
    """Return a value of an alert's metric for people, as the alert has it."""
    return format_value(alert.metric, value, limit=alert.limit)


def _entries() -> dict[str, Acknowledgment]:
    path = acknowledgments_path()
    return {entry.fingerprint: entry for entry in read_entries(path, metrics_with(path))}


def _print_alerts(
    lives: Sequence[AlertLife], entries: Mapping[str, Acknowledgment], as_json: bool, *, some: bool
) -> None:
    if as_json:
        alerts = [{**encode_life(life), "state": state_of(life, entries)} for life in lives]
        click.echo(json.dumps({"format": HISTORY_FORMAT, "alerts": alerts}, indent=1))
        return
    if not lives:
        click.echo("no alert fits" if some else "no alert is remembered")
        return
    head = ("alert", "severity", "state", "last seen", "times", "observed", "worst", "rule", "test")
    _print_table(
        head,
        (
            (
                life.fingerprint,
                life.alert.severity.value,
                state_of(life, entries),
                _minute(life.last_seen),
                str(life.times),
                observed_text(life.alert.observed, life.alert),
                observed_text(life.worst, life.alert),
                life.alert.rule,
                _tests_text(life.alert.nodeids),
            )
            for life in lives
        ),
    )


def _print_runs(runs: Sequence[RememberedRun], as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "run_id": run.run_id,
                "started_at": run.started_at.isoformat(),
                "duration_s": run.duration_s,
                "commit": run.commit,
                "environment": run.environment,
                "tests": run.tests,
                "leaks": run.leaks,
                "alerts": dict(run.alerts),
            }
            for run in runs
        ]
        click.echo(json.dumps({"format": HISTORY_FORMAT, "runs": rows}, indent=1))
        return
    if not runs:
        click.echo("no run is remembered")
        return
    _print_table(
        ("run", "started", "commit", "tests", "took", "critical", "warning", "acknowledged", "environment"),
        (
            (
                run.run_id[:8],
                _minute(run.started_at),
                (run.commit or "unknown")[:10],
                str(run.tests),
                format_duration(run.duration_s),
                *(str(run.alerts.get(word, 0)) for word in ("critical", "warning", "acknowledged")),
                run.environment,
            )
            for run in runs
        ),
    )


def _print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    for line in table_lines(head, rows):
        click.echo(line)


def _tests_text(nodeids: Sequence[str]) -> str:
    return listed(nodeids[:1], len(nodeids)) or SESSION


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
