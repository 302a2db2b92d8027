"""A digest: what one session, or one check of a program, tells one channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, get_args

from pytest_memalert.model import AlertSeverity, PerformanceAlert
from pytest_memalert.records import record

__all__ = ["MESSAGE_KINDS", "Digest", "Message", "MessageKind", "Sent", "count_kinds", "worst_of"]

MessageKind = Literal["new", "worse", "reminder", "resolved"]

#: Every kind, in the order in which a digest tells them.
MESSAGE_KINDS: tuple[MessageKind, ...] = get_args(MessageKind)


@record(frozen=True, slots=True, kw_only=True)
class Message:
    """Hold one thing that is worth telling: an alert that is new, worse, still there, or gone.

    ``before`` is the value that was last told, in the base unit of the alert's metric. ``first_seen``
    and ``times`` are what is remembered of the alert; ``returned`` says that it had been resolved once.
    """

    kind: MessageKind
    alert: PerformanceAlert
    first_seen: datetime | None = None
    times: int = 1
    before: float | None = None
    returned: bool = False


@record(frozen=True, slots=True, kw_only=True)
class Digest:
    """Hold the messages for one channel, the most important first; ``more`` counts those left out.

    ``sent_at`` is when it was made; ``run_id`` is None outside of a test session.
    """

    messages: tuple[Message, ...]
    more: int = 0
    sent_at: datetime
    run_id: str | None = None


@record(frozen=True, slots=True, kw_only=True)
class Sent:
    """Remember that a digest went to a route, by the route's key, which holds nothing secret."""

    route: str
    at: datetime


def count_kinds(messages: Iterable[Message]) -> str:
    """Return how many messages there are of each kind, in words: ``2 new, 1 resolved``."""
    counts = Counter(message.kind for message in messages)
    words = {"reminder": "still there"}
    return ", ".join(f"{counts[kind]} {words.get(kind, kind)}" for kind in MESSAGE_KINDS if counts[kind])


def worst_of(messages: Iterable[Message]) -> AlertSeverity:
    """Return the highest severity of what is there; what is resolved counts as information."""
    severities = (message.alert.severity for message in messages if message.kind != "resolved")
    return max(severities, default=AlertSeverity.INFO)
