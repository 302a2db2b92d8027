"""Holds what goes out to what is worth it: new, worse, resolved or due, and no more an hour than agreed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.digest import Message, MessageKind, Sent, count_kinds
from pytest_memalert.model import AlertCondition, AlertLife, AlertSeverity, PerformanceAlert
from pytest_memalert.notify import address, begin_lives, find_due, values_told
from pytest_memalert.routes import Notify, Route
from tests.makers import NOON, make_alert

PACE = Notify(remind_every_s=24 * 3600.0, worse_by=0.2, max_per_hour=2, max_shown=2)
MINUTE = timedelta(minutes=1)


def an_alert(fingerprint: str = "f", observed: float = 100.0, **changes: Any) -> PerformanceAlert:
    warning = make_alert(
        fingerprint=fingerprint, severity=AlertSeverity.WARNING, observed=observed, limit=50.0
    )
    return replace(warning, **changes)


def a_life(alert: PerformanceAlert, **changes: Any) -> AlertLife:
    life = AlertLife(
        fingerprint=alert.fingerprint,
        alert=alert,
        first_seen=NOON - timedelta(days=3),
        last_seen=NOON,
        worst=alert.observed,
    )
    return replace(life, **changes)


def kind_of(life: AlertLife, *, seen: bool = True) -> MessageKind | None:
    """Return what is worth telling of a life, if anything."""
    due = find_due([life], seen={life.fingerprint} if seen else set(), pace=PACE, now=NOON)
    return due[0].kind if due else None


def told(value: float = 100.0, *, ago: timedelta = MINUTE) -> dict[str, Any]:
    return {"notified": value, "notified_at": NOON - ago}


def test_alert_that_nobody_was_told_of_is_new() -> None:
    assert kind_of(a_life(an_alert())) == "new"


def test_alert_that_was_told_of_is_no_news() -> None:
    assert kind_of(a_life(an_alert(), **told())) is None


@pytest.mark.parametrize(("observed", "expected"), [(119.0, None), (120.0, None), (121.0, "worse")])
def test_alert_is_worse_beyond_a_share_of_what_was_told(observed: float, expected: str | None) -> None:
    """Else noise would be news."""
    assert kind_of(a_life(an_alert(observed=observed), **told(100.0))) == expected


@pytest.mark.parametrize("metric", ["leak_rate_bytes_per_hour", "growth_rate_bytes_per_s", "duration_s"])
def test_what_has_time_in_it_is_worse_from_its_double_on(metric: str) -> None:
    """A busy machine halves the pace of the same leak."""
    assert kind_of(a_life(an_alert(metric=metric, observed=199.0), **told(100.0))) is None
    assert kind_of(a_life(an_alert(metric=metric, observed=201.0), **told(100.0))) == "worse"


def test_worse_is_lower_where_the_rule_forbids_low_values() -> None:
    low = an_alert(observed=0.3, limit=0.5, condition=AlertCondition.LESS_THAN)
    assert kind_of(a_life(low, **told(0.45))) == "worse"
    assert kind_of(a_life(low, **told(0.35))) is None
    assert kind_of(a_life(low, **told(0.2))) is None


def test_warning_that_became_critical_is_worse_by_however_little() -> None:
    """The limit that speaks now was not crossed when it was told last."""
    critical = an_alert(observed=101.0, limit=100.0, severity=AlertSeverity.CRITICAL)
    assert kind_of(a_life(critical, **told(99.0))) == "worse"


@pytest.mark.parametrize("condition", [AlertCondition.EQUALS, AlertCondition.NOT_EQUALS])
def test_what_is_equal_or_not_can_not_get_worse(condition: AlertCondition) -> None:
    assert kind_of(a_life(an_alert(observed=1000.0, condition=condition), **told(1.0))) is None


def test_alert_that_stays_is_told_again_after_a_while() -> None:
    assert kind_of(a_life(an_alert(), **told(ago=timedelta(hours=23)))) is None
    assert kind_of(a_life(an_alert(), **told(ago=timedelta(hours=24)))) == "reminder"


def test_alert_that_is_gone_is_told_once() -> None:
    gone = a_life(an_alert(), resolved_at=NOON, **told())
    assert kind_of(gone, seen=False) == "resolved"
    assert kind_of(replace(gone, notified_at=NOON + MINUTE), seen=False) is None


def test_end_of_an_alert_that_nobody_was_told_of_is_no_news() -> None:
    assert kind_of(a_life(an_alert(), resolved_at=NOON), seen=False) is None


def test_alert_whose_test_did_not_run_is_no_news() -> None:
    """Neither as a reminder nor as new: nobody knows whether it is still there."""
    assert kind_of(a_life(an_alert()), seen=False) is None
    assert kind_of(a_life(an_alert(), **told(ago=timedelta(days=9))), seen=False) is None


@pytest.mark.parametrize("silence", [{"acknowledged": "known"}, {"inhibited_by": "rule leak"}])
def test_acknowledged_and_inhibited_alerts_are_silent(silence: dict[str, Any]) -> None:
    assert kind_of(a_life(an_alert(observed=1e9, **silence), **told(1.0))) is None
    assert kind_of(a_life(an_alert(**silence))) is None


def test_value_that_is_not_a_number_is_not_worse() -> None:
    assert kind_of(a_life(an_alert(observed=float("nan")), **told())) is None


def test_what_is_new_and_severe_comes_first() -> None:
    critical = AlertSeverity.CRITICAL
    lives = [
        a_life(an_alert("gone"), resolved_at=NOON, **told()),
        a_life(an_alert("worse", 500.0), **told()),
        a_life(an_alert("new")),
        a_life(an_alert("severe", severity=critical)),
    ]
    due = find_due(lives, seen={"worse", "new", "severe"}, pace=PACE, now=NOON)
    assert [message.alert.fingerprint for message in due] == ["severe", "new", "worse", "gone"]
    assert count_kinds(due) == "2 new, 1 worse, 1 resolved"


def test_message_knows_what_was_told_before() -> None:
    life = a_life(an_alert(observed=500.0), times=7, reopened=1, **told(90.0))
    (message,) = find_due([life], seen={"f"}, pace=PACE, now=NOON)
    assert message == Message(
        kind="worse", alert=life.alert, first_seen=life.first_seen, times=7, before=90.0, returned=True
    )
    assert values_told([message]) == {"f": 500.0}


def test_alerts_of_one_fingerprint_are_one_life() -> None:
    """The one that speaks, and of those the most severe, stands for it."""
    inhibited = an_alert(severity=AlertSeverity.CRITICAL, inhibited_by="x")
    warning = an_alert()
    critical = an_alert(severity=AlertSeverity.CRITICAL)
    lives = begin_lives([inhibited, warning, critical, an_alert("other")])
    assert [life.alert for life in lives] == [critical, an_alert("other")]


def messages(count: int) -> tuple[Message, ...]:
    return tuple(Message(kind="new", alert=an_alert(str(number))) for number in range(count))


def test_session_is_one_digest_with_the_rest_counted() -> None:
    route = Route(channel="terminal", origin="urls[0]")
    (dispatch,) = address(messages(5), [route], pace=PACE, now=NOON, run_id="r")
    assert [message.alert.fingerprint for message in dispatch.digest.messages] == ["0", "1"]
    assert dispatch.digest.more == 3
    assert len(dispatch.messages) == 5
    assert dispatch.digest.run_id == "r"


def test_route_without_messages_gets_nothing() -> None:
    critical = Route(channel="terminal", severity=AlertSeverity.CRITICAL)
    assert address(messages(2), [critical], pace=PACE, now=NOON) == ()


def test_route_gets_no_more_digests_an_hour_than_agreed() -> None:
    """Each route for itself; after the hour it gets them again."""
    busy, quiet = Route(channel="terminal", origin="a"), Route(channel="terminal", origin="b")
    sent = [Sent(route=busy.key, at=NOON - 10 * MINUTE), Sent(route=busy.key, at=NOON - 59 * MINUTE)]
    first, second = address(messages(1), [busy, quiet], sent=sent, pace=PACE, now=NOON)
    assert first.held_back
    assert not second.held_back
    (later,) = address(messages(1), [busy], sent=sent, pace=PACE, now=NOON + 2 * MINUTE)
    assert not later.held_back


@given(
    observed=st.lists(st.floats(min_value=60, max_value=1e9), min_size=1, max_size=30),
    worse_by=st.floats(min_value=0.01, max_value=2),
)
def test_law_a_growing_alert_is_told_at_most_as_often_as_it_grows_by_the_share(
    observed: list[float], worse_by: float
) -> None:
    """Session after session, an hour apart: each told value lies beyond the one before, by the share."""
    pace = Notify(worse_by=worse_by, remind_every_s=1e9)
    notified: float | None = None
    notified_at: datetime | None = None
    for number, value in enumerate(observed):
        now = NOON + number * timedelta(hours=1)
        life = a_life(an_alert(observed=value), notified=notified, notified_at=notified_at)
        due = find_due([life], seen={"f"}, pace=pace, now=now)
        if due:
            assert notified is None or value > notified * (1 + worse_by)
            notified, notified_at = values_told(due)["f"], now
        else:
            assert notified is not None
            assert value <= notified * (1 + worse_by)
