"""The past of the tests and of the session, for the rules that compare with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.anomalies import note_gap, resolve_rule
from pytest_memalert.clock import utc_now
from pytest_memalert.metrics import Metric
from pytest_memalert.model import AlertRule, Note, SeriesPoint
from pytest_memalert.plugin.given.earlier_runs import Warn, reading_history
from pytest_memalert.plugin.given.environment import this_environment
from pytest_memalert.plugin.given.given import Given

if TYPE_CHECKING:
    pass

__all__ = ["PastOfTests", "read_past_of_tests", "resolve_for_session"]


class PastOfTests:
    """Hold the series of the tests, by metric and node id, for the rules that compare with them."""

    def __init__(
        self, series: Mapping[str, Mapping[str, Sequence[SeriesPoint]]], metrics: Mapping[str, Metric]
    ) -> None:
        self._series = series
        self._metrics = metrics

    def resolve(self, rules: Iterable[AlertRule], nodeid: str) -> tuple[AlertRule, ...]:
        """Return the rules with the thresholds of this test; without those that it has too few runs for."""
        resolved = (self._resolve_one(rule, nodeid) for rule in rules)
        return tuple(rule for rule in resolved if rule is not None)

    def find_gaps(self, rules: Iterable[AlertRule], nodeid: str) -> list[Note]:
        """Return a note for each rule that this test has too few runs for."""
        return [note_gap(rule, nodeid=nodeid) for rule in rules if self._resolve_one(rule, nodeid) is None]

    def _resolve_one(self, rule: AlertRule, nodeid: str) -> AlertRule | None:
        if rule.against is None:
            return rule
        past = self._series.get(rule.metric, {}).get(nodeid, ())
        return resolve_rule(rule, past, metric=self._metrics[rule.metric])


def read_past_of_tests(
    config: pytest.Config, given: Given, rules: Iterable[AlertRule], *, warn: Warn
) -> PastOfTests | None:
    """Return what the rules compare with, read at once for all tests; None where none of them does."""
    runs: dict[str, int] = {}
    for rule in rules:
        if rule.enabled and rule.scope == "test" and rule.against is not None:
            runs[rule.metric] = max(runs.get(rule.metric, 0), rule.against.runs)
    if not runs:
        return None
    series: dict[str, Mapping[str, Sequence[SeriesPoint]]] = {}
    environment = this_environment(traced=given.settings.trace)
    with reading_history(
        config, given, purpose="can't compare tests with earlier runs", warn=warn
    ) as history:
        if history is not None:
            for metric, limit in runs.items():
                series[metric] = history.every_series(metric, limit=limit, environment=environment)
    return PastOfTests(series, given.metrics)


def resolve_for_session(
    config: pytest.Config,
    given: Given,
    rules: Sequence[AlertRule],
    *,
    values: Mapping[str, float],
    tests: int,
    warn: Warn,
) -> tuple[list[AlertRule], list[Note]]:
    """Return the session's rules with their thresholds, and a note for each that can't be judged.

    ``values`` are those of this session, of so many ``tests``: a part of the suite isn't
    compared with the whole of it.
    """
    comparing = [rule for rule in rules if rule.against is not None]
    if not comparing:
        return list(rules), []
    series: dict[str, Sequence[SeriesPoint]] = {}
    environment = this_environment(traced=given.settings.trace)
    with reading_history(
        config, given, purpose="can't compare the session with earlier ones", warn=warn
    ) as history:
        if history is not None:
            from pytest_memalert.comparisons import SESSION
            from pytest_memalert.history import WHOLE_SHARE

            if tests < WHOLE_SHARE * history.most_tests():
                comparing = []  # of a part of the suite no more is known than of another suite
            for rule in comparing:
                assert rule.against is not None
                series[rule.metric] = history.series(
                    SESSION, rule.metric, limit=rule.against.runs, environment=environment
                )
    resolved = [rule for rule in rules if rule.against is None]
    notes = []
    for rule in comparing:
        now = None
        if rule.metric in values:
            now = SeriesPoint(run_id="", started_at=utc_now(), commit=None, value=values[rule.metric])
        past = series.get(rule.metric, ())
        found = resolve_rule(rule, past, now=now, metric=given.metrics[rule.metric])
        if found is None:
            notes.append(note_gap(rule, nodeid=None))
        else:
            resolved.append(found)
    return resolved, notes
