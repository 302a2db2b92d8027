"""Tell channels, once at the end of a session, what is news of its alerts."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from pytest_memalert.channels.wording import headline
from pytest_memalert.clock import utc_now
from pytest_memalert.delivery import Opened, deliver
from pytest_memalert.digest import Message, Sent, count_kinds
from pytest_memalert.errors import MemalertWarning
from pytest_memalert.model import AlertLife, Run
from pytest_memalert.notify import address, begin_lives, find_due, values_told
from pytest_memalert.plugin.telling import record_warning
from pytest_memalert.routes import Notify

__all__ = ["Remembered", "tell_news"]

_RESOLVED_SHOWN = 10


class Remembered(Protocol):
    """What the history remembers of alerts, and of what was told of them."""

    def lives(self) -> Sequence[AlertLife]:
        """Return the lives of all alerts, this run's included."""
        ...

    def sent_since(self, moment: datetime) -> Sequence[Sent]:
        """Return the digests sent since then."""
        ...

    def mark_notified(self, told: Mapping[str, float], sent: Sequence[Sent], *, at: datetime) -> None:
        """Remember what was told now: the value of each alert, by fingerprint."""
        ...


def tell_news(
    config: pytest.Config,
    run: Run,
    *,
    notify: Notify,
    opened: Sequence[Opened],
    terminal: io.StringIO,
    remembered: Remembered | None,
) -> tuple[str, ...]:
    """Send what is new, worse, resolved or due for a reminder; return the lines for the summary.

    ``terminal`` has what the terminal's own channel writes. Without a history every alert is new.
    Trouble is a warning, and changes nothing else.
    """
    now = utc_now()
    lives = begin_lives(run.alerts) if remembered is None else remembered.lives()
    sent = () if remembered is None else remembered.sent_since(now - timedelta(hours=1))
    due = find_due(lives, seen={alert.fingerprint for alert in run.alerts}, pace=notify, now=now)
    dispatches = address(
        due, [each.route for each in opened], sent=sent, pace=notify, now=now, run_id=run.run_id
    )
    delivery = deliver(dispatches, opened, pace=notify)
    for trouble in delivery.troubles:
        warning = MemalertWarning(f"{trouble}; the run itself is not affected")
        record_warning(config, warning, nodeid="", path=__file__, line=1)
    if remembered is not None:
        # What no channel was to get was told by the summary of this very run.
        told = [
            message
            for message in due
            if (known := message.alert.fingerprint) in delivery.reached or known not in delivery.wanted
        ]
        remembered.mark_notified(values_told(told), delivery.sent, at=now)
    return (
        *terminal.getvalue().splitlines(),
        *(_changes(due) if remembered is not None else ()),
        *(f"memalert: {line}" for line in delivery.lines),
    )


def _changes(due: Iterable[Message]) -> Iterator[str]:
    """Yield what has changed since the runs before; new alerts are told in full above."""
    changed = [message for message in due if message.kind != "reminder"]
    if not changed:
        return
    yield f"since the runs before: {count_kinds(changed)}"
    told = [message for message in changed if message.kind != "new"]
    for message in told[:_RESOLVED_SHOWN]:
        yield f"  {headline(message)}"
    if len(told) > _RESOLVED_SHOWN:
        yield f"  and {len(told) - _RESOLVED_SHOWN} more"
