"""The command ``memalert ack``: accept an alert, for a reason, until a date."""

from __future__ import annotations

import getpass
import math
import os
from datetime import date, timedelta
from pathlib import Path

import click

from pytest_memalert.acknowledgments import Acknowledgment, put_entry
from pytest_memalert.cli.console import Unreadable, echo_wrapped
from pytest_memalert.cli.project import (
    acknowledgments_path,
    choose,
    edit_entries,
    history_option,
    locate_history,
    metrics_with,
)
from pytest_memalert.clock import utc_now
from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import escape_controls
from pytest_memalert.history import History, read_history
from pytest_memalert.metrics import Metric, unknown_metric
from pytest_memalert.model import AlertLife
from pytest_memalert.units import format_quantity, parse_duration, parse_quantity

__all__ = ["ack"]

_DAYS = 90
_SIZE = "leak_bytes_per_run"


@click.command(short_help="Accept an alert, with a reason and until a date.")
@click.argument("fingerprint")
@click.option("--reason", required=True, help="Why it is accepted; whoever reads the file will want to know.")
@click.option(
    "--until",
    metavar="DATE",
    default=f"{_DAYS} days",
    show_default=True,
    help="The last day on which it is accepted (2027-01-31), or for how long (30 days).",
)
@click.option("--author", help="Who accepts it; without it, GIT_AUTHOR_NAME or the name of the user.")
@click.option(
    "--accept",
    metavar="VALUE",
    help="Up to what, such as '2 KiB'; without it, what was last observed. It speaks again beyond.",
)
@history_option
def ack(
    fingerprint: str,
    reason: str,
    until: str,
    author: str | None,
    accept: str | None,
    history_path: Path | None,
) -> None:
    """Accept the alert FINGERPRINT, or the only one that begins so: it fails no test until then.

    Writes memalert.acks.toml beside the configuration, for review; an entry that is there is renewed. The
    alert must be in the history.

    Exit status: 0 fine, 2 there is no such alert, or a file is wrong.
    """
    if not reason.strip():
        raise click.UsageError("--reason: say why the alert is accepted")
    last_day = _read_until(until)
    try:
        with read_history(locate_history(history_path)) as remembered:
            life = choose(remembered.lives(), fingerprint)
            size = _leaked_bytes(remembered, life)
    except MemalertError as problem:
        raise Unreadable(str(problem)) from None
    path = acknowledgments_path()
    metrics = metrics_with(path)
    name, observed = (life.alert.metric, life.alert.observed) if size is None else (_SIZE, size)
    metric = metrics.setdefault(name, unknown_metric(name))
    accepted = _read_accepted(accept, observed, metric)
    entry = Acknowledgment(
        fingerprint=life.fingerprint,
        what=life.alert.message.split("\n", 1)[0],
        tests=life.alert.nodeids,
        reason=reason.strip(),
        author=_author() if author is None else author.strip(),
        until=last_day,
        metric=None if accepted is None else metric.name,
        accepted=accepted,
    )
    edit_entries(path, lambda text: put_entry(text, entry, place=path.name, metrics=metrics))
    up_to = "" if entry.accepted is None else f", up to {format_quantity(entry.accepted, metric.unit)}"
    echo_wrapped(f"{path}: {entry.fingerprint} is acknowledged until {entry.until}{up_to}")
    echo_wrapped(f"  {escape_controls(entry.what)}")


def _leaked_bytes(remembered: History, life: AlertLife) -> float | None:
    """Return what a leak leaves per run, where its alert tells the pace: that has the duration in it."""
    if life.alert.metric != "leak_rate_bytes_per_hour":
        return None
    latest = [remembered.series(nodeid, _SIZE, limit=1) for nodeid in life.alert.nodeids]
    return max((points[-1].value for points in latest if points), default=None)


def _read_accepted(accept: str | None, observed: float, metric: Metric) -> float | None:
    if accept is None:
        return observed if math.isfinite(observed) and observed >= 0 else None
    try:
        return parse_quantity(accept, metric.unit)
    except ValueError as problem:
        raise click.UsageError(f"--accept: {problem}") from None


def _read_until(text: str) -> date:
    today = utc_now().date()
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        try:
            day = today + timedelta(seconds=parse_duration(text))
        except (ValueError, OverflowError):
            raise click.UsageError(
                f"--until: {text!r} is no date; write it as 2027-01-31, or for how long ('30 days')"
            ) from None
    if day < today:
        raise click.UsageError(f"--until: {day} is past; write a day that is yet to come")
    return day


def _author() -> str:
    for variable in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        if name := os.environ.get(variable, "").strip():
            return name
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in some containers
        return ""
