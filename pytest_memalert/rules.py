"""Rules against what was measured: which alerts there are, and what each says.

Everything here is pure: values in, alerts out.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pytest_memalert.escaping import escape_controls
from pytest_memalert.leaks.words import enumerate_handles
from pytest_memalert.limits.advice import general_advice
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import (
    AlertCondition,
    AlertRule,
    LeakAnalysis,
    LeakVerdict,
    Measurement,
    Note,
    PerformanceAlert,
    SignalGrowth,
    Survivor,
)
from pytest_memalert.records import record
from pytest_memalert.units import format_beside, format_limit, format_mean, format_size, is_decimal

__all__ = [
    "LEAK_METRICS",
    "REARM_SHARE",
    "Breach",
    "Screen",
    "already_above",
    "find_breaches",
    "find_gaps",
    "find_idle_rules",
    "find_unjudged",
    "fingerprint",
    "group_notes",
    "judge_leak",
    "leak_figures",
    "make_alert",
    "matches",
    "mildest",
    "rules_for_test",
]

#: Metrics that are the state of the process rather than of the test: a rule on them fires
#: when a test carries the process across the line, never for a test that found it crossed.
_CARRIED = {"rss_bytes"}
#: Metrics that a confirmed leak has.
LEAK_METRICS = (
    "leak_bytes_per_run",
    "leak_blocks_per_run",
    "leak_handles_per_run",
    "leak_rate_bytes_per_hour",
)
#: A limit set by hand speaks for these metrics too: who allows 5 MiB allows them at any pace.
_COVERED_BY = {
    "growth_bytes": ("growth_rate_bytes_per_s", "leak_rate_bytes_per_hour"),
    "leak_bytes_per_run": ("growth_rate_bytes_per_s", "leak_blocks_per_run", "leak_rate_bytes_per_hour"),
}
#: After it fired, a line must be left by this share before crossing it is news again.
REARM_SHARE = 0.9

# From so many times the limit on, how far a pace is over it says nothing.
_FAR = 10


@record(frozen=True, slots=True, kw_only=True)
class Breach:
    """Say that a rule's limit was broken, by how much, and in how many further runs as well."""

    rule: AlertRule
    observed: float
    repeated: int = 0


class Screen:
    """Tell at one look whether figures could break any of some rules, or leave one without data.

    It says no for nearly every test; ``find_breaches`` and ``find_gaps`` say the rest.
    """

    __slots__ = ("_guarded", "_line_bytes", "_needed", "_tops", "_unlike")

    def __init__(self, rules: Iterable[AlertRule]) -> None:
        # Of rules that differ in how much they allow alone, the one that allows least decides.
        tops: dict[tuple[str | None, float, str], float] = {}
        self._unlike: list[tuple[str, AlertCondition, float, str, int | None]] = []
        self._needed: set[str] = set()
        self._line_bytes = float("inf")
        for rule in rules:
            guard, least = _guarding(rule), None if rule.metric in _CARRIED else rule.min_growth
            if rule.condition is AlertCondition.GREATER_THAN:
                key = (None, 0.0, rule.metric) if least is None else (guard, float(least), rule.metric)
                tops[key] = min(rule.threshold, tops.get(key, rule.threshold))
            else:
                self._unlike.append((rule.metric, rule.condition, rule.threshold, guard, least))
            if rule.origin != "default":
                self._needed.add(rule.metric)
            if rule.metric in _CARRIED:
                self._line_bytes = min(self._line_bytes, rule.threshold)
        self._tops = [(metric, most) for (guarded, _, metric), most in tops.items() if guarded is None]
        self._guarded = [
            (guarded, least, metric, most)
            for (guarded, least, metric), most in tops.items()
            if guarded is not None
        ]

    def stops(self, values: Mapping[str, float], *, rss_before_bytes: float | None) -> bool:
        """Return whether the figures have to be looked at more closely."""
        if rss_before_bytes is not None and rss_before_bytes > self._line_bytes:
            return True
        value_of = values.get
        for metric, most in self._tops:
            if value_of(metric, most) > most:
                return True
        # A rate is over its threshold in every quick test that takes one page: the guard decides first.
        for guard, least, metric, most in self._guarded:
            if value_of(guard, 0.0) > least and value_of(metric, most) > most:
                return True
        for metric, condition, threshold, guard, small in self._unlike:
            if small is not None and value_of(guard, 0.0) <= small:
                continue
            if metric in values and condition.holds(values[metric], threshold):
                return True
        return bool(self._needed) and not self._needed <= values.keys()


def rules_for_test(
    rules: Iterable[AlertRule], limits: Sequence[AlertRule], *, nodeid: str, component: str
) -> tuple[AlertRule, ...]:
    """Return the rules in force for one test: its marker's ``limits``, and every rule they don't replace."""
    limited = {limit.metric for limit in limits}
    limited.update(covered for metric in tuple(limited) for covered in _COVERED_BY.get(metric, ()))
    return (
        *limits,
        *(
            rule
            for rule in rules
            if rule.enabled
            and rule.scope == "test"
            and rule.metric not in limited
            and (rule.component is None or fnmatch.fnmatchcase(component, rule.component))
            and (not rule.tests or any(matches(nodeid, pattern) for pattern in rule.tests))
        ),
    )


def matches(nodeid: str, pattern: str) -> bool:
    """Return whether a glob, or the node id of a test, class, file or folder, covers ``nodeid``."""
    if nodeid == pattern or fnmatch.fnmatchcase(nodeid, pattern):
        return True
    stem = pattern.rstrip("/")
    # "tests/io" and "tests/io/test_a.py" cover what is below them, as they do on pytest's command line.
    return nodeid.startswith((f"{stem}/", f"{stem}::", f"{stem}["))


def find_breaches(
    rules: Iterable[AlertRule], values: Mapping[str, float], *, rss_before_bytes: float | None = None
) -> tuple[Breach, ...]:
    """Return a breach for each rule that ``values`` break."""
    found = []
    for rule in rules:
        observed = values.get(rule.metric)
        if observed is None or not rule.condition.holds(observed, rule.threshold):
            continue
        if rule.min_growth is not None:
            grown = values.get(_guarding(rule), 0.0)
            if rule.metric in _CARRIED and rss_before_bytes is not None:
                # What fixtures of wider scope brought counts here: it is not deducted.
                grown = observed - rss_before_bytes
            if grown <= rule.min_growth:
                continue
        if already_above(rule, rss_before_bytes):
            continue
        found.append(Breach(rule=rule, observed=observed))
    return tuple(found)


def _guarding(rule: AlertRule) -> str:
    """Return the metric to which the rule's ``min_growth`` applies."""
    spike = METRICS[rule.metric].spike if rule.metric in METRICS else None
    return spike or "growth_bytes"


def already_above(rule: AlertRule, rss_before_bytes: float | None) -> bool:
    """Return whether the process had crossed the rule's line before the test began."""
    return (
        rule.metric in _CARRIED
        and rss_before_bytes is not None
        and rss_before_bytes > rule.threshold
        and rule.condition is AlertCondition.GREATER_THAN
    )


def find_gaps(
    rules: Iterable[AlertRule], values: Mapping[str, float], *, nodeid: str, missing: Mapping[str, str]
) -> tuple[Note, ...]:
    """Return a note for each rule of the user's own whose metric could not be measured.

    ``missing`` says why a reading isn't to be had on this machine.
    """
    notes = []
    for rule in rules:
        if rule.origin == "default" or rule.metric in values:
            continue
        metric = METRICS.get(rule.metric)
        reading = metric.reading if metric else None
        if reading == "leak":
            continue  # the verdict says itself why it is unclear or unchecked
        why = missing.get(reading or "", "") or "the reading failed"
        if reading == "traced":
            why = "memory is traced only with --memalert-trace"
        notes.append(
            Note(
                kind="no_data",
                nodeid=nodeid,
                text=f"no data for {rule.metric} ({rule.origin}): {why}; the limit was not judged",
            )
        )
    return tuple(notes)


def find_idle_rules(rules: Iterable[AlertRule], tests: Sequence[Measurement]) -> tuple[Note, ...]:
    """Return a note for each rule that is for certain tests, none of which ran: a misspelt glob, say."""
    return tuple(
        Note(
            kind="no_data",
            nodeid=None,
            text=f"{rule.origin} is for tests {', '.join(rule.tests)}, of which none ran; it was not judged",
        )
        for rule in rules
        if rule.enabled
        and rule.tests
        and not any(matches(test.nodeid, pattern) for test in tests for pattern in rule.tests)
    )


def group_notes(notes: Iterable[Note]) -> tuple[Note, ...]:
    """Return the notes with those on the same lack of history as one, which counts the tests it is about."""
    grouped: dict[tuple[str, str] | int, list[Note]] = {}
    for number, note in enumerate(notes):
        key = (note.kind, note.text) if note.kind == "no_history" else number
        grouped.setdefault(key, []).append(note)
    return tuple(_told_once(alike) for alike in grouped.values())


def _told_once(notes: Sequence[Note]) -> Note:
    nodeids = list(dict.fromkeys(note.nodeid for note in notes if note.nodeid is not None))
    if len(nodeids) < 2:
        return notes[0]
    text = f"{notes[0].text} for {len(nodeids)} tests, among them {nodeids[0]}"
    return replace(notes[0], nodeid=None, text=text)


def mildest(breaches: Sequence[Breach], runs: Sequence[Mapping[str, float]]) -> tuple[Breach, ...]:
    """Return the breaches that came back in every further run, with the mildest value seen there.

    That is the value which every repetition reached, so the one that is claimed.
    """
    kept = []
    for breach in breaches:
        again = [find_breaches((breach.rule,), values) for values in runs]
        if not runs or not all(again):
            continue
        seen = [found[0].observed for found in again]
        worst_first = breach.rule.condition is AlertCondition.LESS_THAN
        kept.append(replace(breach, observed=max(seen) if worst_first else min(seen), repeated=len(runs)))
    return tuple(kept)


def find_unjudged(breaches: Sequence[Breach], runs: Sequence[Mapping[str, float]]) -> tuple[Breach, ...]:
    """Return the breaches of which nobody knows whether they came back: a further run has no data.

    One that a run with data didn't show is gone all the same.
    """
    return tuple(
        breach
        for breach in breaches
        if any(breach.rule.metric not in values for values in runs)
        and all(find_breaches((breach.rule,), values) for values in runs if breach.rule.metric in values)
    )


def make_alert(
    breach: Breach,
    *,
    id: str,
    measurement: Measurement,
    raised_at: datetime,
    evidence: Sequence[str] = (),
    recommendations: Sequence[str] = (),
    growth: Sequence[SignalGrowth] = (),
    survivors: Sequence[Survivor] = (),
    signature: str | None = None,
    each: str = "run",
    metrics: Mapping[str, Metric] = METRICS,
) -> PerformanceAlert:
    """Return the alert for a breach; its message's first line stands alone, ``evidence`` follows.

    ``signature`` is the leak's, by which the alert is then known instead of by its test; ``each`` says what
    was repeated.
    """
    rule = breach.rule
    subject = escape_controls(measurement.nodeid)  # one with a line break would cut the headline
    headline = describe(breach, subject, metrics=metrics)
    if rule.metric in LEAK_METRICS:
        headline = describe_leak(breach, subject, measurement.leak, growth=growth, each=each)
        evidence = (*evidence, *_tell_pace(breach))
    if rule.message:
        # What a rule says of every test doesn't say of which, how much and against what.
        figures = headline.removeprefix(f"{subject}: ")
        headline = f"{subject}: {escape_controls(rule.message)} ({figures})"
    return PerformanceAlert(
        id=id,
        fingerprint=fingerprint(rule, signature or measurement.nodeid),
        rule=rule.name,
        category=rule.category,
        severity=rule.severity,
        component=rule.component or measurement.component,
        nodeids=(measurement.nodeid,),
        metric=rule.metric,
        observed=breach.observed,
        limit=rule.threshold,
        condition=rule.condition,
        # The headline of a leak that takes no bytes is its evidence.
        message="\n".join(
            (headline, *(each for each in evidence if not headline.endswith(_without_signs(each))))
        ),
        recommendations=(*recommendations, *rule.recommendations),
        growth=tuple(growth),
        survivors=tuple(survivors),
        raised_at=raised_at,
    )


def leak_figures(analysis: LeakAnalysis) -> dict[str, float]:
    """Return the values of the metrics of leaks: that of a size that isn't known breaks a limit of 0."""
    return {
        "leak_bytes_per_run": analysis.least_bytes_per_run,
        "leak_blocks_per_run": analysis.blocks_per_run or 0.0,
        "leak_handles_per_run": analysis.handles_per_run,
        "leak_rate_bytes_per_hour": analysis.rate_bytes_per_hour or 0.0,
    }


def judge_leak(
    analysis: LeakAnalysis,
    rules: Sequence[AlertRule],
    *,
    measurement: Measurement,
    raised_at: datetime,
    make_id: Callable[[], str],
    each: str = "run",
    metrics: Mapping[str, Metric] = METRICS,
) -> tuple[PerformanceAlert, ...]:
    """Return the alerts that rules on the metrics of leaks raise for a confirmed one.

    ``measurement`` has the leak's figures among its values, and its verdict; ``each`` says what was repeated,
    where that is more than the test.
    """
    evidence = [analysis.reason] if analysis.reason else []
    evidence += [f"grown at {place}" for place in analysis.grown_at[:1]]
    alerts = []
    for breach in find_breaches((rule for rule in rules if rule.metric in LEAK_METRICS), measurement.values):
        rule = breach.rule
        if analysis.recommendations and rule.recommendations == general_advice(rule):
            # What is known of this leak says more than what is said of any.
            rule = replace(rule, recommendations=())
        alerts.append(
            make_alert(
                replace(breach, rule=rule),
                id=make_id(),
                measurement=measurement,
                raised_at=raised_at,
                evidence=evidence,
                recommendations=analysis.recommendations,
                growth=analysis.growth,
                survivors=analysis.survivors,
                signature=analysis.signature,
                each=each,
                metrics=metrics,
            )
        )
    return tuple(alerts)


def describe(breach: Breach, subject: str, *, metrics: Mapping[str, Metric] = METRICS) -> str:
    """Return one line: which test, what, how much, against what."""
    rule = breach.rule
    metric = metrics[rule.metric]
    observed, limit = _told_apart(breach.observed, rule.threshold, metric)
    if rule.against is not None:
        limit += f" that earlier runs set ({rule.against.text})"
    relation = {
        AlertCondition.GREATER_THAN: f"is over the limit of {limit}",
        AlertCondition.LESS_THAN: f"is under the limit of {limit}",
        AlertCondition.EQUALS: f"is {limit}, which the rule forbids",
        AlertCondition.NOT_EQUALS: f"is not the {limit} that the rule asks for",
    }[rule.condition]
    if rule.metric in _CARRIED and rule.condition is AlertCondition.GREATER_THAN:
        relation = f"crossed the limit of {limit}"
    return f"{subject}: {metric.label} {observed} {relation}"


def describe_leak(
    breach: Breach,
    subject: str,
    leak: LeakVerdict,
    *,
    growth: Sequence[SignalGrowth] = (),
    each: str = "run",
) -> str:
    """Return one line: which test leaks, how much in each run, against what."""
    rule = breach.rule
    unit = METRICS[rule.metric].unit
    tells_limit = bool(rule.threshold) and rule.metric != "leak_rate_bytes_per_hour"
    decimal = tells_limit and is_decimal(rule.threshold, unit)
    amounts = []
    if leak.bytes_per_run:
        amounts.append(format_size(leak.bytes_per_run, decimal=decimal))
    if leak.blocks_per_run:
        amounts.append(f"{format_mean(leak.blocks_per_run)} block{'s' if leak.blocks_per_run != 1 else ''}")
    lost = _without_signs(leak.reason or "")
    if amounts:
        # What is left open or running comes first: the memory goes with it.
        *handles, last = *enumerate_handles(growth), " in ".join(amounts)
        lost = f"{', '.join(handles)} and {last} per {each}" if handles else f"{last} per {each}"
    text = f"{subject}: leaks {lost}"
    return f"{text} (limit {format_limit(rule.threshold, unit)})" if tells_limit else text


def _without_signs(growth: str) -> str:
    """Return what "+1 open descriptor in each of 5 runs" says of a leak."""
    return growth.replace("+", "")


def _tell_pace(breach: Breach) -> tuple[str, ...]:
    """Return how fast a leak is where a rule asks for that: for the headline of a quick test too large."""
    if breach.rule.metric != "leak_rate_bytes_per_hour":
        return ()
    if breach.observed >= _FAR * breach.rule.threshold > 0:
        # The pace of a test of a millisecond is of no use as a number, and another one in each session.
        limit = format_limit(breach.rule.threshold, METRICS[breach.rule.metric].unit)
        return (f"if run without pause, far over the limit of {limit}",)
    pace, limit = _told_apart(breach.observed, breach.rule.threshold, METRICS[breach.rule.metric])
    return (f"{pace} if run without pause, over the limit of {limit}",)


def _told_apart(observed: float, limit: float, metric: Metric) -> tuple[str, str]:
    """Return both as text; where rounding would show them equal, with more digits, or as bare numbers."""
    texts = format_beside(observed, limit, metric.unit), format_limit(limit, metric.unit)
    amount, _, name = texts[1].partition(" ")
    if texts[0] == texts[1] and observed != limit and metric.unit.startswith("bytes") and limit:
        # In the unit of the limit: 5.03 MB/s beside 5 MB/s.
        for places in range(2, 5):
            shown = f"{observed / limit * float(amount):.{places}f}"
            if float(shown) != float(amount):
                return f"{shown} {name}", texts[1]
    digits = 2
    while texts[0] == texts[1] and observed != limit and digits < 17:
        digits += 1
        texts = f"{observed:,.{digits}g}", f"{limit:,.{digits}g}"
    return texts


def fingerprint(rule: AlertRule, subject: str) -> str:
    """Return what an alert is known by: rule, metric and subject, never a number, time or severity.

    ``subject`` is a node id, the signature of a leak, or "session".
    """
    import hashlib  # 3 ms of the start, which only alerts are worth

    text = "\0".join((rule.name, rule.metric, subject))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def tell_crossing(growers: Sequence[Measurement]) -> str:
    """Return the advice for a crossed line: who brought the most so far, seldom the last one."""
    told = ", ".join(f"{test.nodeid} (+{format_size(test.values['rss_growth_bytes'])})" for test in growers)
    return f"the largest growth in this process so far: {told}"
