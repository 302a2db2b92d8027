"""The trends that a session ends in: looked for where a test's values have moved, told as notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.comparisons import SESSION
from pytest_memalert.metrics import LEAST_CHANGES, LONGEST_SERIES, PEAKS, SESSION_PEAKS
from pytest_memalert.model import Note, Run, SeriesPoint
from pytest_memalert.plugin.given.earlier_runs import reading_history
from pytest_memalert.plugin.given.given import Given

if TYPE_CHECKING:
    from pytest_memalert.history import History

__all__ = ["FEWEST_REMEMBERED", "note_trends"]

#: The runs that are looked at of all tests, counted back from the latest: one of now, and one of before
#: what is news; and the others, of those tests alone whose value differs in these two.
_RECENT_AGE, _EARLIER_AGE = 0, 13
_RECENT_AGES, _EARLIER_AGES = (1,), (8, 18, 23, 28)
#: Reading the series of one test takes as long as sampling those of 25, of which all are sampled at once.
_SERIES_COST = 25
#: More tests than this are never looked at closely.
_MOST_CANDIDATES = 50
_MOST_NOTES = 20
#: With fewer runs remembered, this one is not enough for any trend (``trends.MINIMUM_RUNS``), and that
#: module isn't loaded.
FEWEST_REMEMBERED = 9


def note_trends(config: pytest.Config, given: Given, run: Run, whole: Mapping[str, float]) -> Run:
    """Return the run with a note for each trend that is news, the largest change first.

    ``whole`` has the values of the session (``measurement.values_of_worst``).
    A history that can't be read is told by who writes it next, at the end of the same session.
    """
    notes: list[Note] = []
    if run.tests:
        with reading_history(config, given, purpose="", warn=lambda _: None) as history:
            if history is not None and history.count_runs(run.environment) >= FEWEST_REMEMBERED:
                notes = _find_news(history, given, run, whole)
    return replace(run, notes=(*run.notes, *notes)) if notes else run


def _find_news(history: History, given: Given, run: Run, whole: Mapping[str, float]) -> list[Note]:
    from pytest_memalert.history import WHOLE_SHARE

    found: list[tuple[float, Note]] = []

    def look(nodeid: str, subject: str, metric: str, value: float) -> None:
        past = history.series(nodeid, metric, limit=LONGEST_SERIES - 1, environment=run.environment)
        levels = [value, *(point.value for point in past)]
        if max(levels) - min(levels) < 0.5 * LEAST_CHANGES["bytes"].of(min(levels)):
            return  # no trend is told of so little; it is so nearly always, and that module isn't loaded
        from pytest_memalert.trends import describe_trend, find_trend, is_news

        now = SeriesPoint(run_id=run.run_id, started_at=run.started_at, commit=run.commit, value=value)
        trend = find_trend([*past, now], metric=metric, metrics=given.metrics)
        if trend is not None and is_news(trend):
            text = describe_trend(trend, subject, metrics=given.metrics)
            note = Note(kind="trend", nodeid=None if nodeid == SESSION else nodeid, text=text)
            found.append((abs(trend.change_ratio), note))

    for metric in PEAKS:
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
        for metric in SESSION_PEAKS:
            if metric in whole:
                look(SESSION, "the session", metric, whole[metric])
    return [*(note for _, note in found), *of_tests]


def _candidates(history: History, run: Run, metric: str, values: Mapping[str, float]) -> Sequence[str]:
    """Return the tests whose level seems to have changed, judged by few of their values; the most first."""
    if len(values) * _SERIES_COST <= history.most_tests():
        return list(values)
    sample = partial(history.samples, metric, environment=run.environment)
    least = LEAST_CHANGES["bytes"]

    latest, earlier = sample(ages=(_RECENT_AGE, _EARLIER_AGE))
    if not earlier:
        (earlier,) = sample(ages=(_EARLIER_AGES[0],))
    differing = set()
    for nodeid, value in values.items():
        level = earlier.get(nodeid)
        if level is not None:
            enough = 0.5 * least.of(level)  # a drift has come but half of its way between the two
            if abs(value - level) > enough or abs(latest.get(nodeid, value) - level) > enough:
                differing.add(nodeid)
    if not differing:
        return []
    others = sample(ages=(*_RECENT_AGES, *_EARLIER_AGES), nodeids=differing)
    recent, before = (latest, *others[: len(_RECENT_AGES)]), (earlier, *others[len(_RECENT_AGES) :])
    moved = []
    for nodeid in differing:
        now = sorted([values[nodeid], *(found[nodeid] for found in recent if nodeid in found)])
        then = sorted(found[nodeid] for found in before if nodeid in found)
        level = then[len(then) // 2]
        # How far the middle moved, in changes that are worth telling.
        moved_by = abs(now[len(now) // 2] - level) / least.of(level)
        if moved_by > 0.5:
            moved.append((moved_by, nodeid))
    moved.sort(reverse=True)
    return [nodeid for _, nodeid in moved[:_MOST_CANDIDATES]]
