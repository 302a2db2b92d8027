"""Tell channels, once at the end of a session, what is news of its alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from pytest_memalert.clock import utc_now
from pytest_memalert.delivery import Delivery, deliver
from pytest_memalert.digest import Message, Sent
from pytest_memalert.errors import HistoryError
from pytest_memalert.model import AlertLife, Run
from pytest_memalert.notify import address, find_due, values_told
from pytest_memalert.plugin.given.given import Given

__all__ = ["tell_news"]


def tell_news(
    given: Given,
    run: Run,
    lives: Iterable[AlertLife],
    *,
    history: Path | None,
    warn: Callable[[str], None],
) -> tuple[str, ...]:
    """Send what is new, worse, resolved or due for a reminder; return the lines for the summary.

    ``lives`` are those that the run changed; all others are in the ``history``, without which nothing is
    known of what was told before. ``warn`` is told of trouble, which changes nothing else.
    """
    now, pace = utc_now(), given.settings.notify
    if pace is None:
        return ()
    lives, sent = _remembered(history, lives, now)
    due = find_due(lives, seen={alert.fingerprint for alert in run.alerts}, pace=pace, now=now)
    routes = [each.route for each in given.opened]
    dispatches = address(due, routes, sent=sent, pace=pace, now=now, run_id=run.run_id)
    if not dispatches:
        return ()
    delivery = deliver(dispatches, given.opened, pace=pace)
    for trouble in delivery.troubles:
        warn(trouble)
    if history is not None:
        _remember(history, due, delivery, now, warn)
    return (*given.terminal.getvalue().splitlines(), *(f"memalert: {line}" for line in delivery.lines))


def _remembered(
    history: Path | None, lives: Iterable[AlertLife], now: datetime
) -> tuple[Sequence[AlertLife], Sequence[Sent]]:
    """Return every life, and the digests of the last hour."""
    if history is None or not history.exists():
        return tuple(lives), ()
    from pytest_memalert.history import read_history

    try:
        with read_history(history) as opened:
            return opened.lives(), opened.sent_since(now - timedelta(hours=1))
    except HistoryError:
        # Whoever wrote the run into it has warned already.
        return tuple(lives), ()


def _remember(
    history: Path, due: Iterable[Message], delivery: Delivery, now: datetime, warn: Callable[[str], None]
) -> None:
    from pytest_memalert.history import write_history

    told = values_told(message for message in due if message.alert.fingerprint in delivery.told)
    try:
        write_history(
            history,
            lambda opened: opened.mark_notified(told, at=now, digests=delivery.sent),
            warn=warn,
            at=now,
        )
    except HistoryError as trouble:
        warn(f"memalert could not remember what it sent, and may send it again: {trouble}")
