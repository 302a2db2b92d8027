"""Thresholds that earlier runs set: how they are written, and what each comes to for one test.

"p99 of 30 runs", "4 MAD over median of 30 runs", "step of 10 % in 20 runs".
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from pytest_memalert.metrics import LEAST_CHANGES, METRICS, Metric
from pytest_memalert.model import AlertCondition, AlertRule, HistoryThreshold, Note, SeriesPoint
from pytest_memalert.units import Unit, parse_quantity, parse_ratio

__all__ = [
    "is_of_history",
    "note_gap",
    "parse_history_threshold",
    "refuse_misuse",
    "resolve_rule",
]

#: What to write for a threshold of this sort; error messages end in it.
_HISTORY_EXAMPLES = "'p99 of 30 runs' or '4 MAD over median of 30 runs'"
_TREND_EXAMPLE = "'step of 10 % in 20 runs'"

#: Fewer values say nothing about the next one.
_FEWEST_RUNS = 5
# Judged from so many runs on, unless the threshold says otherwise ("p99 of 5 to 30 runs").
_USUAL_MINIMUM = 10
_USUAL_RUNS = 30
# A trend has bounds of its own: see trends.MINIMUM_RUNS and metrics.LONGEST_SERIES.
_TREND_MINIMUM, _TREND_MAXIMUM = 10, 60
_MOST_RUNS = 1000

_RUNS = r"(?:(?:of|in|over) (?:(?P<least>\d+) to )?(?P<runs>\d+) runs?)"
# Not compiled here: few sessions have such a threshold.
_FORMS = {
    "percentile": rf"p(?P<value>\d+(?:\.\d+)?) {_RUNS}",
    "mad": rf"(?P<value>\d+(?:\.\d+)?) mads? (?P<side>over|under) (?:the )?median(?: {_RUNS})?",
    "trend": rf"(?P<kind>step|drift) of (?P<change>.+?) {_RUNS}",
}
# No unit of a quantity is one of these words.
_WORDS = r"\b(?:runs?|mads?|median|step|drift|percentile|p\d+(?:\.\d+)?)\b"


def is_of_history(value: object) -> bool:
    """Return whether a threshold is meant to come from earlier runs, well written or not."""
    return isinstance(value, str) and re.search(_WORDS, value.lower(), re.ASCII) is not None


def parse_history_threshold(text: str, unit: Unit) -> HistoryThreshold:
    """Return the threshold that ``text`` describes; raises ValueError, saying what to write instead."""
    plain = " ".join(text.lower().split())
    matched = [
        (form, match) for form, pattern in _FORMS.items() if (match := re.fullmatch(pattern, plain, re.ASCII))
    ]
    if not matched:
        raise ValueError(
            f"{text!r} is no threshold of earlier runs; write it as {_HISTORY_EXAMPLES}, "
            f"or for the session {_TREND_EXAMPLE}"
        )
    ((form, match),) = matched
    parts = match.groupdict()
    is_trend = form == "trend"
    runs, minimum = _read_runs(text, parts["runs"], parts["least"], is_trend=is_trend)
    common = {"runs": runs, "minimum": minimum, "text": " ".join(text.split())}
    if is_trend:
        share = parts["change"].endswith("%")
        change = parse_ratio(parts["change"]) if share else parse_quantity(parts["change"], unit)
        if not change:
            raise ValueError(f"{text!r}: every change is more than none; write it as {_TREND_EXAMPLE}")
        kind = "drift" if parts["kind"] == "drift" else "step"
        return HistoryThreshold(kind=kind, value=change, is_share=share, **common)  # type: ignore[arg-type]
    value = float(parts["value"])
    if form == "percentile":
        if not 0 < value < 100:
            raise ValueError(f"{text!r}: percentiles lie between 0 and 100; write it as 'p99 of {runs} runs'")
        return HistoryThreshold(kind="percentile", value=value, **common)  # type: ignore[arg-type]
    if not value:
        raise ValueError(f"{text!r}: half of all values lie there; write it as '4 MAD over median'")
    signed = value if parts["side"] == "over" else -value
    return HistoryThreshold(kind="mad", value=signed, **common)  # type: ignore[arg-type]


def refuse_misuse(rule: AlertRule) -> str | None:
    """Return why a rule can't be held against earlier runs as it is, and what to write; None if it can."""
    against = rule.against
    if against is None:
        return None
    metric = METRICS.get(rule.metric)
    if metric is not None and metric.reading == "leak":
        return (
            f"{rule.metric} is known of tests that leak alone, so there is no series of it; write a quantity"
        )
    if against.kind in ("step", "drift"):
        if rule.scope != "session":
            return (
                f"{against.text!r} is for the session as a whole: in a rule of the configuration write "
                f"scope = 'session' beside it; for tests write {_HISTORY_EXAMPLES}"
            )
        upward = True
    else:
        upward = against.value >= 50 if against.kind == "percentile" else against.value > 0
    if against.kind in ("step", "drift") and rule.condition is AlertCondition.LESS_THAN:
        return None
    expected = AlertCondition.GREATER_THAN if upward else AlertCondition.LESS_THAN
    if rule.condition is not expected:
        return (
            f"condition '{rule.condition.value}' doesn't go with {against.text!r}; "
            f"write condition = '{expected.value}'"
        )
    return None


def resolve_rule(
    rule: AlertRule,
    past: Sequence[SeriesPoint],
    *,
    now: SeriesPoint | None = None,
    metric: Metric | None = None,
) -> AlertRule | None:
    """Return the rule with the threshold that ``past`` gives it; None where that has too few runs.

    ``past`` is the series before this run, the oldest first; ``now`` is this run's value, which a step
    or drift ends in: without such a trend the threshold stays NaN, which no value breaks.
    A limit lies by the metric's least change beyond what was seen, so that no scatter breaks it.
    """
    against, metric = rule.against, metric or METRICS[rule.metric]
    if against is None:
        return rule
    if against.kind in ("step", "drift"):
        if len(past) < against.minimum - 1 or now is None:
            return None
        return _resolve_trend(rule, against, [*past[-(against.runs - 1) :], now], metric)
    values = sorted(point.value for point in past[-against.runs :])
    if len(values) < against.minimum:
        return None
    middle = _median(values)
    least = LEAST_CHANGES[metric.unit].of(middle)
    if against.kind == "percentile":
        limit = _percentile(values, against.value)
        away = -least if rule.condition is AlertCondition.LESS_THAN else least
    else:
        limit = middle
        deviation = _median(sorted(abs(value - middle) for value in values))
        away = against.value * deviation
        # What more than a tenth of the runs had is nothing unusual, though the median and its deviations
        # don't know of it: where a test has one of two values, one in five, a fifth would be accused.
        tenth = len(values) // 10
        common = values[-1 - tenth] if against.value > 0 else values[tenth]
        beyond = common - middle + (least if against.value > 0 else -least)
        away = max(away, beyond) if against.value > 0 else min(away, beyond)
    return replace(rule, threshold=limit + away)


def note_gap(rule: AlertRule, *, nodeid: str | None) -> Note:
    """Return the note that says that a rule was not judged, since the history is too short for it."""
    assert rule.against is not None
    return Note(
        kind="no_history",
        nodeid=nodeid,
        text=f"no data for {rule.metric} ({rule.origin}): '{rule.against.text}' needs {rule.against.minimum} "
        "earlier runs in the history; the limit was not judged",
    )


def _resolve_trend(
    rule: AlertRule, against: HistoryThreshold, points: Sequence[SeriesPoint], metric: Metric
) -> AlertRule:
    # Imported here: few sessions have such a rule.
    from pytest_memalert.trends import find_trend

    trend = find_trend(points, metric=metric.name, metrics={metric.name: metric})
    if trend is None or trend.kind != against.kind:
        return rule
    change = against.value * abs(trend.before) if against.is_share else against.value
    falls = rule.condition is AlertCondition.LESS_THAN
    limit = trend.before - change if falls else trend.before + change
    # The new level must be beyond the limit, not only the value of this run.
    if (trend.after >= limit) if falls else (trend.after <= limit):
        return rule
    return replace(rule, threshold=limit)


def _read_runs(text: str, runs: str | None, least: str | None, *, is_trend: bool) -> tuple[int, int]:
    """Return how many runs are looked at, and how many there must be."""
    count = int(runs) if runs else _USUAL_RUNS
    usual = _TREND_MINIMUM if is_trend else _USUAL_MINIMUM
    minimum = int(least) if least else min(usual, count)
    fewest = _TREND_MINIMUM if is_trend else _FEWEST_RUNS
    most = _TREND_MAXIMUM if is_trend else _MOST_RUNS
    if minimum < fewest:
        raise ValueError(f"{text!r}: {minimum} runs are too few to tell; write {fewest} or more")
    if count > most:
        raise ValueError(f"{text!r}: {count} runs are more than are looked at; write {most} or fewer")
    if minimum > count:
        raise ValueError(f"{text!r}: {minimum} is more than {count}; write the smaller number first")
    return count, minimum


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the least of the values that so many per cent don't exceed: one that was really seen.

    Definition 1 of Hyndman and Fan, Sample quantiles in statistical packages, 1996. A value between two
    would be broken by what has been seen before: of 30 runs, p99 is the highest.
    """
    # Rounded, since 7 % of 100 is a little over 7 in binary.
    return ordered[max(math.ceil(round(percent / 100 * len(ordered), 9)), 1) - 1]


def _median(ordered: Sequence[float]) -> float:
    # Not that of statistics, which takes a few milliseconds to import.
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
