"""Which of several alerts speak: of one rule, of one leak, of what was acknowledged or failed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pytest_memalert.metrics import RETAINED
from pytest_memalert.model import AlertCategory, AlertCondition, PerformanceAlert

__all__ = ["group_alike", "group_leaks", "inhibit", "is_worse", "mute", "set_free"]


def inhibit(alerts: Sequence[PerformanceAlert]) -> tuple[PerformanceAlert, ...]:
    """Return the alerts of one test, each inhibited that another one of them makes needless.

    The highest severity of a rule pair speaks, and the highest of the alerts about one leak, of equal ones
    the last; a leak speaks for the growth it causes, against a baseline as well, unless that growth is the
    more severe.
    """
    return tuple(
        replace(alert, inhibited_by=by)
        if alert.inhibited_by is None and (by := _speaker(alert, alerts))
        else alert
        for alert in alerts
    )


def _speaker(alert: PerformanceAlert, alerts: Sequence[PerformanceAlert]) -> str | None:
    """Return what speaks for ``alert``, if anything does."""
    leak, growth = AlertCategory.MEMORY_LEAK, AlertCategory.MEMORY_GROWTH
    regression = AlertCategory.MEMORY_REGRESSION
    for other in alerts:
        if other.inhibited_by is not None or other.severity < alert.severity:
            continue
        if other.fingerprint == alert.fingerprint and other.severity > alert.severity:
            return f"{other.severity.value} of the same rule"
        # Of two that are as severe the last speaks: it is of the rule that somebody wrote.
        outranks = other.severity > alert.severity or alerts.index(other) > alerts.index(alert)
        if other.category is leak and alert.category is leak and outranks:
            return f"rule {other.rule}, of the same leak"
        grows = alert.category is growth or (alert.category is regression and alert.metric in RETAINED)
        if other.category is leak and grows:
            return f"rule {other.rule}: the growth is the leak's"
    return None


def set_free(alerts: Sequence[PerformanceAlert]) -> tuple[PerformanceAlert, ...]:
    """Return the alerts of one test, where nobody is told of a leak with the regressions it spoke for.

    It was acknowledged meanwhile, or dropped.
    """
    leak, regression = AlertCategory.MEMORY_LEAK, AlertCategory.MEMORY_REGRESSION
    if any(alert.category is leak and alert.speaks for alert in alerts):
        return tuple(alerts)
    return tuple(replace(a, inhibited_by=None) if a.category is regression else a for a in alerts)


def mute(alerts: Iterable[PerformanceAlert], *, reason: str) -> tuple[PerformanceAlert, ...]:
    """Return the alerts, all inhibited for ``reason``."""
    return tuple(replace(alert, inhibited_by=reason) for alert in alerts)


def group_leaks(alerts: Iterable[PerformanceAlert]) -> tuple[PerformanceAlert, ...]:
    """Return the alerts with those of one leak as one; alerts of other kinds stay as they are.

    Where a leak is acknowledged in some tests and has outgrown that in others, the latter speak for
    themselves.
    """

    def key(alert: PerformanceAlert) -> tuple[object, ...] | None:
        if alert.category is not AlertCategory.MEMORY_LEAK:
            return None
        return alert.fingerprint, alert.severity, alert.inhibited_by, alert.acknowledged is not None

    return group_alike(alerts, key)


def group_alike(
    alerts: Iterable[PerformanceAlert], key: Callable[[PerformanceAlert], tuple[object, ...] | None]
) -> tuple[PerformanceAlert, ...]:
    """Return the alerts with those of one ``key`` as one, which lists every test that they list.

    The one that observed the worst speaks for all, and its test is the first; one without a key stays.
    """
    grouped: dict[object, PerformanceAlert] = {}
    for number, alert in enumerate(alerts):
        known = key(alert) or number
        other = grouped.setdefault(known, alert)
        if other is not alert:
            speaker = alert if is_worse(alert, than=other.observed) else other
            nodeids = dict.fromkeys((*speaker.nodeids, *other.nodeids, *alert.nodeids))
            grouped[known] = replace(speaker, nodeids=tuple(nodeids))
    return tuple(grouped.values())


def is_worse(alert: PerformanceAlert, *, than: float) -> bool:
    """Return whether what was observed is worse than a value: lower, where the rule forbids low values."""
    if alert.condition in (AlertCondition.GREATER_THAN, AlertCondition.LESS_THAN):
        return alert.condition.holds(alert.observed, than)
    return False
