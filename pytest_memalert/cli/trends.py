"""The trends that ``memalert history --trends`` lists."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from pytest_memalert.cli.console import Unreadable
from pytest_memalert.comparisons import SESSION
from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import escape_controls
from pytest_memalert.history import read_history
from pytest_memalert.metrics import LONGEST_SERIES, METRICS, PEAKS, SESSION_PEAKS
from pytest_memalert.model import SeriesPoint
from pytest_memalert.records import record
from pytest_memalert.rules import matches
from pytest_memalert.trends import MINIMUM_RUNS, Search, Trend, describe_trend, find_trend
from pytest_memalert.units import counted
from pytest_memalert.user_values import refuse_unknown

__all__ = ["print_trends"]

#: The format of ``memalert history --trends --json``.
#:
#: 1  the first
_TRENDS_FORMAT = 1


@record(frozen=True, slots=True, kw_only=True)
class _Found:
    """Hold the trend of one series."""

    nodeid: str
    trend: Trend

    @property
    def text(self) -> str:
        subject = "the session" if self.nodeid == SESSION else self.nodeid
        return describe_trend(self.trend, subject)


def print_trends(path: Path, *, tests: Sequence[str], metrics: Sequence[str], as_json: bool) -> None:
    """Print every trend of the history, the session's first, then the largest change.

    ``tests`` are globs, ``metrics`` names; without any, all tests, and the metrics that pytest tells
    trends of. Raises Unreadable.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise Unreadable(str(refuse_unknown("metric", unknown[0], METRICS)))
    try:
        series = _read_series(path, metrics, tests)
    except MemalertError as problem:
        raise Unreadable(str(problem)) from None
    # The standard method says the same in nearly every case; who installed ruptures asked for it.
    search: Search = "ruptures" if importlib.util.find_spec("ruptures") else "standard"
    trends = [(nodeid, find_trend(points, metric=metric, search=search)) for nodeid, metric, points in series]
    found = [
        _Found(nodeid=nodeid, trend=trend)
        for nodeid, trend in trends
        if trend is not None and trend.kind != "steady"
    ]
    found.sort(key=lambda each: (each.nodeid != SESSION, -abs(each.trend.change_ratio)))
    too_short = sum(trend is None for _, trend in trends)
    if as_json:
        document = {
            "format": _TRENDS_FORMAT,
            "trends": [_entry(each) for each in found],
            "steady": len(trends) - len(found) - too_short,
            "too_short": too_short,
        }
        click.echo(json.dumps(document, indent=1))
        return
    for each in found:
        # A line each, however long: it can be searched and cut.
        click.echo(f"{each.trend.kind}: {escape_controls(each.text)}")
    click.echo(_summary(found, looked_at=len(trends), too_short=too_short))


def _read_series(
    path: Path, metrics: Sequence[str], tests: Sequence[str]
) -> list[tuple[str, str, tuple[SeriesPoint, ...]]]:
    """Return the series to look at: whose, of which metric, and its points."""
    found: list[tuple[str, str, tuple[SeriesPoint, ...]]] = []
    with read_history(path) as history:
        if not tests:
            for metric in metrics or SESSION_PEAKS:
                points = history.series(SESSION, metric, limit=LONGEST_SERIES)
                found += [(SESSION, metric, points)] if points else []
        for metric in metrics or PEAKS:
            for nodeid, points in history.every_series(metric, limit=LONGEST_SERIES).items():
                covered = not tests or any(matches(nodeid, glob) for glob in tests)
                if nodeid != SESSION and covered:
                    found.append((nodeid, metric, points))
    return found


def _summary(found: Iterable[_Found], *, looked_at: int, too_short: int) -> str:
    told = list(found)
    text = f"{counted(len(told), 'trend')} in {looked_at:,} series"
    if too_short:
        text += f"; {too_short:,} of them have fewer than {MINIMUM_RUNS} runs, of which nothing is said"
    return text


def _entry(found: _Found) -> dict[str, object]:
    trend = found.trend
    return {
        "nodeid": found.nodeid,
        "metric": trend.metric,
        "kind": trend.kind,
        "before": trend.before,
        "after": trend.after,
        "change_ratio": trend.change_ratio if math.isfinite(trend.change_ratio) else None,
        "since": {
            "run_id": trend.since.run_id,
            "started_at": trend.since.started_at.isoformat(),
            "commit": trend.since.commit,
        },
        "runs_ago": trend.runs_ago,
        "runs": trend.runs,
        "text": found.text,
    }
