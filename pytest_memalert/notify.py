"""What goes out now: only what is new, worse, resolved, or due for a reminder.

Everything here is pure: the lives of alerts, the time and the routes in, messages out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from pytest_memalert.digest import MESSAGE_KINDS, Digest, Message, MessageKind, Sent
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertCondition, AlertLife, AlertSeverity, PerformanceAlert
from pytest_memalert.records import record
from pytest_memalert.routes import Notify, Route, takes
from pytest_memalert.units import TIMED_UNITS

__all__ = ["Dispatch", "address", "begin_lives", "find_due", "values_told"]

_HOUR = timedelta(hours=1)


@record(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """Hold what one route is to get now: ``digest`` tells of all ``messages``.

    ``held_back`` says that the route's pace leaves them for later.
    """

    route: Route
    messages: tuple[Message, ...]
    digest: Digest
    held_back: bool = False


def begin_lives(alerts: Iterable[PerformanceAlert]) -> tuple[AlertLife, ...]:
    """Return the lives of alerts of which nothing is remembered: one for each fingerprint, by its worst."""
    lives: dict[str, AlertLife] = {}
    for alert in alerts:
        known = lives.get(alert.fingerprint)
        if known is None or _speaks_for(alert, known.alert):
            lives[alert.fingerprint] = AlertLife(
                fingerprint=alert.fingerprint,
                alert=alert,
                first_seen=alert.raised_at,
                last_seen=alert.raised_at,
                worst=alert.observed,
            )
    return tuple(lives.values())


def find_due(
    lives: Iterable[AlertLife], *, seen: Collection[str], pace: Notify, now: datetime
) -> tuple[Message, ...]:
    """Return what is worth telling, the most important first.

    ``lives`` are those after the run, ``seen`` the fingerprints of its alerts: what wasn't looked at
    this time is no news. Acknowledged and inhibited alerts are silent.
    """
    messages = [
        Message(
            kind=kind,
            alert=life.alert,
            first_seen=life.first_seen,
            times=life.times,
            before=life.notified,
            returned=life.reopened > 0,
        )
        for life in lives
        if (kind := _news_of(life, seen, pace, now))
    ]
    order = {kind: number for number, kind in enumerate(MESSAGE_KINDS)}
    severities = list(AlertSeverity)
    # Stable: what is alike stays in the order in which it was found.
    return tuple(sorted(messages, key=lambda m: (order[m.kind], -severities.index(m.alert.severity))))


def address(
    messages: Sequence[Message],
    routes: Iterable[Route],
    *,
    sent: Sequence[Sent] = (),
    pace: Notify,
    now: datetime,
    run_id: str | None = None,
) -> tuple[Dispatch, ...]:
    """Return a digest for each route that has messages.

    ``sent`` are the digests of the last hour at least. What is for a route that has had its share is
    held back, and stays due.
    """
    dispatches = []
    for route in routes:
        mine = tuple(message for message in messages if takes(route, message.alert))
        if not mine:
            continue
        recent = sum(1 for each in sent if each.route == route.key and now - each.at < _HOUR)
        shown = mine[: pace.max_shown]
        dispatches.append(
            Dispatch(
                route=route,
                messages=mine,
                digest=Digest(messages=shown, more=len(mine) - len(shown), sent_at=now, run_id=run_id),
                held_back=recent >= pace.max_per_hour,
            )
        )
    return tuple(dispatches)


def values_told(messages: Iterable[Message]) -> dict[str, float]:
    """Return the value that each of these messages told, by fingerprint: what is to be remembered."""
    return {message.alert.fingerprint: message.alert.observed for message in messages}


def _news_of(life: AlertLife, seen: Collection[str], pace: Notify, now: datetime) -> MessageKind | None:
    alert, told_at = life.alert, life.notified_at
    if life.resolved_at is not None:
        # Only what was told of is missed; and it is told once that it is gone.
        return "resolved" if told_at is not None and told_at < life.resolved_at else None
    if life.fingerprint not in seen or not alert.speaks:
        return None
    if told_at is None:
        return "new"
    if life.notified is not None and _is_worse(alert, life.notified, pace.worse_by):
        return "worse"
    if now - told_at >= timedelta(seconds=pace.remind_every_s):
        return "reminder"
    return None


def _is_worse(alert: PerformanceAlert, before: float, worse_by: float) -> bool:
    """Return whether the value left what was told by more than a share of it, to the wrong side.

    So is one that has crossed the limit which now speaks: a warning that became critical. What has time
    in it differs by a factor between runs of the same code, and is worse from its double on.
    """
    if alert.metric in METRICS and METRICS[alert.metric].unit in TIMED_UNITS:
        worse_by = 0.5 if alert.condition is AlertCondition.LESS_THAN else max(worse_by, 1.0)
    if alert.condition is AlertCondition.LESS_THAN:
        beyond = alert.observed < before - worse_by * abs(before)
    elif alert.condition is AlertCondition.GREATER_THAN:
        beyond = alert.observed > before + worse_by * abs(before)
    else:
        return False
    return beyond or (
        alert.condition.holds(alert.observed, alert.limit) and not alert.condition.holds(before, alert.limit)
    )


def _speaks_for(alert: PerformanceAlert, other: PerformanceAlert) -> bool:
    """Return whether ``alert`` rather than ``other`` stands for their common fingerprint."""
    if alert.speaks != other.speaks:
        return alert.speaks
    return alert.severity > other.severity
