"""The lives of alerts over sessions: what a run makes of those remembered.

Everything here is pure. An alert is known by its fingerprint. It is resolved when its tests ran,
were looked at as closely as when it was last seen, and its rule still asks: not when nobody looked. What a
test showed that doesn't exist any more is resolved by a whole session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pytest_memalert.comparisons import SESSION
from pytest_memalert.comparisons import is_whole as is_of_whole
from pytest_memalert.metrics import format_value
from pytest_memalert.model import (
    OUT_OF_TURN,
    AlertCategory,
    AlertLife,
    AlertRule,
    LeakChecks,
    Measurement,
    Note,
    PerformanceAlert,
    Run,
    Signal,
)
from pytest_memalert.rules import matches
from pytest_memalert.speaking import is_worse
from pytest_memalert.units import counted

__all__ = ["evolve", "note_resolved"]

_CLOSENESS: Mapping[LeakChecks, int] = {"off": 0, "suspects": 1, "all": 2}
# What a brief check of a few runs looks at.
_BRIEFLY_SEEN: frozenset[Signal] = frozenset({"blocks", "descriptors", "threads", "heap"})


def evolve(
    previous: Mapping[str, AlertLife],
    run: Run,
    *,
    rules: Sequence[AlertRule],
    leaks: LeakChecks,
    at: datetime,
    is_whole: bool = True,
    gone: frozenset[str] = frozenset(),
    since: Callable[[str], Collection[str]] = lambda fingerprint: (),
) -> tuple[AlertLife, ...]:
    """Return every life that ``run`` changes: begun, continued, reopened or resolved.

    ``rules`` are those of the settings, ``leaks`` is how closely tests were looked at, ``at`` when the
    run ended. ``is_whole`` says that no part of the suite was left out: else nothing about the session
    as a whole is known to be gone. ``gone`` are tests that don't exist any more, ``since`` returns those that
    came since an alert, by its fingerprint, was last seen. An inhibited alert neither begins a life nor ends
    one.
    """
    spoken = _loudest(run.alerts)
    lives = [_see(previous.get(known), alert, leaks=leaks, at=at) for known, alert in spoken.items()]
    there = {alert.fingerprint for alert in run.alerts}
    tests = {test.nodeid: test for test in run.tests}
    lives += [
        replace(life, resolved_at=at)
        for known, life in previous.items()
        if known not in there
        and life.resolved_at is None
        and _is_asked_for(life.alert, run, rules)
        and _were_looked_at(life, run, tests, leaks=leaks, is_whole=is_whole, gone=gone, since=since)
        and not (gone.intersection(life.alert.nodeids) and _came_since(life, run, previous))
    ]
    return tuple(lives)


def note_resolved(run: Run, lives: Iterable[AlertLife], session: Mapping[str, float]) -> Run:
    """Return the run with a note for each alert that it found resolved; ``session`` has the session's values.

    One that earlier runs set is a limit that moves by itself: a value that stays is not called resolved.
    """
    notes = []
    for life in lives:
        if life.resolved_at is None:
            continue
        still = _still_beyond(life.alert, run, session)
        since = f"first seen {life.first_seen:%Y-%m-%d}, in {counted(life.times, 'run')}"
        told = f"resolved: {_headline(life.alert)}"
        if still is not None:
            now = format_value(life.alert.metric, still, limit=life.alert.limit)
            told = f"no alert any more: {_headline(life.alert)}; it still is {now}"
        notes.append(Note(kind="resolved", nodeid=None, text=f"{told} (alert {life.fingerprint}, {since})"))
    return replace(run, notes=(*run.notes, *notes)) if notes else run


def _still_beyond(alert: PerformanceAlert, run: Run, session: Mapping[str, float]) -> float | None:
    """Return the value of this run where it is beyond the limit that the alert had; None where it isn't.

    What was only so in the first of several runs of the test has not stayed; nor is a regression judged by
    the first run, or by a limit of its own.
    """
    if alert.category is AlertCategory.MEMORY_REGRESSION or len(alert.nodeids) != 1:
        return None
    (nodeid,) = alert.nodeids
    values = session if _is_session(nodeid) else {}
    for test in run.tests:
        if test.nodeid == nodeid:
            values = test.values
    value = values.get(alert.metric)
    if value is None or not alert.condition.holds(value, alert.limit):
        return None
    return None if any((note.kind, note.nodeid) == ("one_time", nodeid) for note in run.notes) else value


def _headline(alert: PerformanceAlert) -> str:
    return alert.message.split("\n", 1)[0]


def _loudest(alerts: Iterable[PerformanceAlert]) -> dict[str, PerformanceAlert]:
    """Return of each fingerprint the alert that speaks for it.

    One that nobody acknowledged before one that somebody did, then the most severe, then the worst.
    """
    loudest: dict[str, PerformanceAlert] = {}
    for alert in alerts:
        if alert.inhibited_by is None and _is_louder(alert, loudest.get(alert.fingerprint)):
            loudest[alert.fingerprint] = alert
    return loudest


def _is_louder(alert: PerformanceAlert, other: PerformanceAlert | None) -> bool:
    if other is None:
        return True
    if (alert.acknowledged is None) != (other.acknowledged is None):
        return alert.acknowledged is None
    if alert.severity != other.severity:
        return alert.severity > other.severity
    return is_worse(alert, than=other.observed)


def _see(life: AlertLife | None, alert: PerformanceAlert, *, leaks: LeakChecks, at: datetime) -> AlertLife:
    """Return the life of an alert that was just raised."""
    if life is None:
        return AlertLife(
            fingerprint=alert.fingerprint,
            alert=alert,
            first_seen=alert.raised_at,
            last_seen=at,
            worst=alert.observed,
            leaks=leaks,
        )
    # A leak seen by looking at suspects shows again by doing so, even if it was once found otherwise.
    closeness = min(life.leaks, leaks, key=lambda each: _CLOSENESS[each])
    known = life.worst == life.worst  # nan, where the value could not be written
    seen = replace(
        life,
        alert=alert,
        last_seen=at,
        times=life.times + 1,
        worst=alert.observed if not known or is_worse(alert, than=life.worst) else life.worst,
        leaks=closeness,
    )
    if life.resolved_at is None:
        return seen
    # Nobody was told of its return yet.
    return replace(seen, resolved_at=None, reopened=life.reopened + 1, notified=None, notified_at=None)


def _is_asked_for(alert: PerformanceAlert, run: Run, rules: Sequence[AlertRule]) -> bool:
    """Return whether a rule that would raise the alert again is in force."""
    if alert.category is AlertCategory.MEMORY_REGRESSION:
        return run.gate is not None and run.gate.refusal is None
    namesakes = [rule for rule in rules if rule.name == alert.rule]
    if not namesakes:
        # A test's own limit: it is written on the test, which ran.
        return alert.rule.startswith("limit-")
    return any(
        rule.enabled
        and rule.metric == alert.metric
        and (
            not rule.tests
            or rule.scope == "session"
            or any(matches(nodeid, pattern) for nodeid in alert.nodeids for pattern in rule.tests)
        )
        for rule in namesakes
    )


def _were_looked_at(
    life: AlertLife,
    run: Run,
    tests: Mapping[str, Measurement],
    *,
    leaks: LeakChecks,
    is_whole: bool,
    gone: frozenset[str],
    since: Callable[[str], Collection[str]],
) -> bool:
    """Return whether the tests of an alert that there are ran, in a way in which it would have shown."""
    if life.alert.category is AlertCategory.MEMORY_REGRESSION and any(map(is_of_whole, life.alert.nodeids)):
        return run.gate is not None and set(life.alert.nodeids) <= set(run.gate.wholes)
    if not life.alert.nodeids or any(map(_is_session, life.alert.nodeids)):
        return is_whole and bool(tests)
    if not is_whole:
        gone = frozenset()
    concerned = [tests.get(nodeid) for nodeid in life.alert.nodeids if nodeid not in gone]
    if old := gone.intersection(life.alert.nodeids):
        came = since(life.fingerprint)
        concerned += [test for test in run.tests if any(_may_be(test, each, came) for each in old)]
    return all(test is not None and _shows(life, test, run, leaks) for test in concerned)


def _is_session(nodeid: str) -> bool:
    return nodeid == SESSION or nodeid.startswith(f"{SESSION} of ")


def _may_be(test: Measurement, old: str, came: Collection[str]) -> bool:
    """Return whether a test may be one that is gone, under a new name or in another file.

    ``came`` are the tests that came since the alert of the old one was last seen.
    """
    file, _, name = old.partition("::")
    # What is expected to fail always is, and was before.
    return test.outcome != "xfailed" and (
        test.nodeid in came or test.nodeid.startswith(f"{file}::") or test.nodeid.endswith(f"::{name}")
    )


def _came_since(life: AlertLife, run: Run, previous: Mapping[str, AlertLife]) -> bool:
    """Return whether an alert of the same rule has come since: it may be the same one, its test renamed."""
    return any(
        (alert.rule, alert.metric) == (life.alert.rule, life.alert.metric)
        and (alert.fingerprint not in previous or previous[alert.fingerprint].first_seen > life.last_seen)
        for alert in run.alerts
    )


def _shows(life: AlertLife, test: Measurement, run: Run, leaks: LeakChecks) -> bool:
    """Return whether the alert would have shown in this test."""
    if any(note.nodeid == test.nodeid and note.kind in ("not_repeated", "unclear") for note in run.notes):
        return False  # something did show, and nobody knows whether it comes back
    if test.outcome != "passed" and not _failed_by_us(test, run):
        return False
    if life.alert.category is not AlertCategory.MEMORY_LEAK:
        return True
    if test.leak.status == "clean":
        # A suspect is dismissed by little, which a leak that takes every test to be checked may be.
        # Two runs are enough for what each run leaves.
        missed = test.leak.brief and not any(
            growth.every_run and growth.signal in _BRIEFLY_SEEN for growth in life.alert.growth
        )
        dismissed = missed or (test.leak.reason and leaks == "suspects")
        return not (dismissed and life.leaks == "all")
    # Not a suspect: enough for a leak that had made it one. With a reason, the check was left out.
    return (
        test.leak.status == "unchecked"
        and test.leak.reason in (None, OUT_OF_TURN)
        and leaks != "off"
        and life.leaks == "suspects"
    )


def _failed_by_us(test: Measurement, run: Run) -> bool:
    return any(run.fails(alert) and test.nodeid in alert.nodeids for alert in run.alerts)
