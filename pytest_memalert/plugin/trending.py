"""The trends that a session ends in: looked for where a test's values have moved, told as notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.metrics import LEAST_CHANGES
from pytest_memalert.model import Note, Run, SeriesPoint
from pytest_memalert.plugin.options import Given
from pytest_memalert.plugin.past import reading_history
from pytest_memalert.rules import values_of_worst

if TYPE_CHECKING:
    from pytest_memalert.history import History

__all__ = ["FEWEST_REMEMBERED", "note_trends"]

_OF_TESTS = ("peak_bytes", "traced_peak_bytes")
_OF_SESSION = ("rss_peak_bytes",)

#: The runs that are looked at of all tests, counted back from the latest: two of now, and some of before
#: what is news. Reading seven takes 24 us a test, reading 30 takes 159 (``benchmarks/trends.py``).
_RECENT_AGES, _EARLIER_AGES = (0, 1), (8, 13, 18, 23, 28)
#: Reading the series of one test takes as long as sampling those of 25, of which all are sampled at once.
_SERIES_COST = 25
#: More tests than this are never looked at closely.
_MOST_CANDIDATES = 50
_MOST_NOTES = 20
#: With fewer runs remembered, this one is not enough for any trend (``trends.MINIMUM_RUNS``), and that
#: module isn't loaded.
FEWEST_REMEMBERED = 9


def note_trends(config: pytest.Config, given: Given, run: Run) -> Run:
    """Return the run with a note for each trend that is news, the largest change first.

    A history that can't be read is told by who writes it next, at the end of the same session.
    """
    notes: list[Note] = []
    if run.tests:
        with reading_history(config, given, purpose="", warn=lambda _: None) as history:
            if history is not None and history.count_runs(run.environment) >= FEWEST_REMEMBERED:
                notes = _find_news(history, given, run)
    return replace(run, notes=(*run.notes, *notes)) if notes else run


def _find_news(history: History, given: Given, run: Run) -> list[Note]:
    from pytest_memalert.history import SESSION, WHOLE_SHARE
    from pytest_memalert.trends import LONGEST_SERIES, describe_trend, find_trend, is_news

    found: list[tuple[float, Note]] = []

    def look(nodeid: str, subject: str, metric: str, value: float) -> None:
        past = history.series(nodeid, metric, limit=LONGEST_SERIES - 1, environment=run.environment)
        now = SeriesPoint(run_id=run.run_id, started_at=run.started_at, commit=run.commit, value=value)
        trend = find_trend([*past, now], metric=metric, metrics=given.metrics)
        if trend is not None and is_news(trend):
            text = describe_trend(trend, subject, metrics=given.metrics)
            note = Note(kind="trend", nodeid=None if nodeid == SESSION else nodeid, text=text)
            found.append((abs(trend.change_ratio), note))

    for metric in _OF_TESTS:
        values = {
            test.nodeid: test.values[metric]
            for test in run.tests
            if test.outcome == "passed" and metric in test.values
        }
        for nodeid in _candidates(history, run, metric, values) if values else ():
            look(nodeid, nodeid, metric, values[nodeid])
    found.sort(key=lambda each: -each[0])
    of_tests = [note for _, note in found[:_MOST_NOTES]]
    found.clear()
    if len(run.tests) >= WHOLE_SHARE * history.most_tests():
        whole = values_of_worst(run.tests, given.metrics)
        for metric in _OF_SESSION:
            if metric in whole:
                look(SESSION, "the session", metric, whole[metric])
    return [*(note for _, note in found), *of_tests]


def _candidates(history: History, run: Run, metric: str, values: Mapping[str, float]) -> Sequence[str]:
    """Return the tests whose level seems to have changed, judged by few of their values; the most first."""
    if len(values) * _SERIES_COST <= history.most_tests():
        return list(values)
    ages = (*_RECENT_AGES, *_EARLIER_AGES)
    samples = history.samples(metric, ages=ages, environment=run.environment)
    recent, earlier = samples[: len(_RECENT_AGES)], samples[len(_RECENT_AGES) :]
    least = LEAST_CHANGES["bytes"]
    moved = []
    for nodeid, value in values.items():
        before = sorted(sample[nodeid] for sample in earlier if nodeid in sample)
        if not before:
            continue
        after = sorted((value, *(sample[nodeid] for sample in recent if nodeid in sample)))
        level = before[len(before) // 2]
        change = abs(after[len(after) // 2] - level) / least.of(level)
        # A drift has come but half of its way between the two.
        if change > 0.5:
            moved.append((change, nodeid))
    moved.sort(reverse=True)
    return [nodeid for _, nodeid in moved[:_MOST_CANDIDATES]]
