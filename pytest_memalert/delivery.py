"""Delivery: routes opened, digests sent, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TextIO

from pytest_memalert.channels import AlertChannel, send_each
from pytest_memalert.channels.bounded import complete, explain, gather_troubles
from pytest_memalert.channels.opening import open_channel
from pytest_memalert.channels.terminal import TerminalChannel
from pytest_memalert.digest import Digest, Sent, count_kinds
from pytest_memalert.notify import Dispatch
from pytest_memalert.records import record
from pytest_memalert.routes import Notify, Route
from pytest_memalert.targets import read_target

__all__ = ["Delivery", "Opened", "deliver", "open_routes"]


@record(frozen=True, slots=True, kw_only=True)
class Opened:
    """Hold a route with its channel; ``shown`` is what may be said of where it leads."""

    route: Route
    channel: AlertChannel
    shown: str


@record(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Hold what came of sending: ``told`` has the fingerprints of what somebody has been told of.

    What only the terminal took isn't told as long as another channel should have had it.
    ``lines`` say what went where, ``troubles`` what didn't.
    """

    told: frozenset[str] = frozenset()
    sent: tuple[Sent, ...] = ()
    lines: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def open_routes(
    notify: Notify, environ: Mapping[str, str], *, base: Path, terminal: TextIO | None = None
) -> tuple[tuple[Opened, ...], list[str]]:
    """Return the routes with their channels, and everything wrong with any.

    ``environ`` has the variables that addresses name. Nothing is sent, and no problem shows a secret.
    """
    opened: list[Opened] = []
    problems: list[str] = []
    for route in notify.routes:
        try:
            target = read_target(route.channel, environ)
            if target.kind == "terminal":
                channel: AlertChannel = TerminalChannel(terminal)
            else:
                channel = open_channel(target, base=base, limit_s=notify.timeout_s)
        except ValueError as problem:
            problems.append(f"{route.origin}: {problem}")
        else:
            opened.append(Opened(route=route, channel=channel, shown=target.shown))
    return tuple(opened), problems


def deliver(dispatches: Iterable[Dispatch], opened: Iterable[Opened], *, pace: Notify) -> Delivery:
    """Send each dispatch to its channel, all at the same time and within ``pace.timeout_s``."""
    by_route = {each.route.key: each for each in opened}
    plan = [(by_route[each.route.key], each) for each in dispatches if each.route.key in by_route]
    calls: dict[str, Callable[[], object]] = {
        to.route.key: partial(_send, to.channel, each.digest, pace.timeout_s)
        for to, each in plan
        if not each.held_back
    }
    failed = gather_troubles(calls, limit_s=pace.timeout_s)
    wanted: set[str] = set()
    reached: set[str] = set()
    shown: set[str] = set()
    sent: list[Sent] = []
    lines: list[str] = []
    troubles: list[str] = []
    for to, each in plan:
        key = to.route.key
        is_terminal = isinstance(to.channel, TerminalChannel)
        about = {message.alert.fingerprint for message in each.messages}
        if not is_terminal:
            wanted |= about
        if each.held_back:
            lines.append(
                f"held back for {to.shown}: {count_kinds(each.messages)}; "
                f"it got {pace.max_per_hour} messages within an hour"
            )
        elif key in failed:
            troubles.append(
                f"{to.shown} could not be told of {count_kinds(each.messages)} ({explain(failed[key])})"
            )
        else:
            sent.append(Sent(route=key, at=each.digest.sent_at))
            (shown if is_terminal else reached).update(about)
            if not is_terminal:
                lines.append(f"sent to {to.shown}: {count_kinds(each.messages)}")
    return Delivery(
        told=frozenset(reached | (shown - wanted)),
        sent=tuple(sent),
        lines=tuple(lines),
        troubles=tuple(troubles),
    )


def _send(channel: AlertChannel, digest: Digest, limit_s: float) -> None:
    for answer in send_each(channel, digest):
        complete(answer, limit_s)
