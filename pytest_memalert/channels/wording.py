"""A digest in words, for channels that people read."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_memalert.digest import Digest, Message, count_kinds
from pytest_memalert.escaping import escape_controls
from pytest_memalert.metrics import format_value
from pytest_memalert.model import PerformanceAlert
from pytest_memalert.units import listed

__all__ = ["body", "headline", "message_lines", "single", "title"]

_TESTS_SHOWN = 3
_ADVICE_SHOWN = 3
_SURVIVORS_SHOWN = 3


def title(digest: Digest) -> str:
    """Return one line that says how much there is to tell."""
    return f"memalert: {count_kinds(digest.messages)}"


def body(digest: Digest) -> str:
    """Return all that a digest says, a paragraph for each message."""
    parts = ["\n".join(message_lines(message)) for message in digest.messages]
    if digest.more:
        parts.append(f"and {digest.more:,} more")
    return "\n\n".join(parts)


def single(alert: PerformanceAlert) -> Digest:
    """Return the digest that tells of one alert alone."""
    return Digest(messages=(Message(kind="new", alert=alert),), sent_at=alert.raised_at)


def headline(message: Message) -> str:
    """Return one line that stands alone: what is the case, how bad, which test, how much against what."""
    alert = message.alert
    first = escape_controls(alert.message.split("\n", 1)[0])
    said = f"{alert.severity.value} {alert.category.value}: {first}"
    if message.kind == "resolved":
        return f"RESOLVED {said}"
    if message.kind == "worse":
        before = "" if message.before is None else f" (was {_quantity(alert, message.before)})"
        return f"WORSE {said}{before}"
    if message.kind == "reminder":
        return f"STILL THERE {said}"
    return f"{'BACK' if message.returned else 'NEW'} {said}"


def message_lines(message: Message) -> Iterator[str]:
    """Yield a message line by line, each free of control characters."""
    alert = message.alert
    yield headline(message)
    if message.first_seen is not None and message.kind != "new":
        times = "once" if message.times == 1 else f"{message.times:,} times"
        yield f"  first seen {message.first_seen:%Y-%m-%d %H:%M} UTC, seen {times}"
    if message.kind == "resolved":
        return
    for row in alert.message.split("\n")[1:]:
        yield f"  {escape_controls(row)}"
    if len(alert.nodeids) > 1:
        yield f"  in {listed(map(escape_controls, alert.nodeids[:_TESTS_SHOWN]), len(alert.nodeids))}"
    for survivor in alert.survivors[:_SURVIVORS_SHOWN]:
        where = f", allocated at {escape_controls(survivor.allocated_at[0])}" if survivor.allocated_at else ""
        yield f"  {survivor.left_by} {escape_controls(survivor.told)}{where}"
    for advice in alert.recommendations[:_ADVICE_SHOWN]:
        yield f"  -> {escape_controls(' '.join(advice.split()))}"


def _quantity(alert: PerformanceAlert, value: float) -> str:
    return format_value(alert.metric, value, limit=alert.limit)
