"""Channels: what carries alerts to where people look, a module for each transport.

A channel has a ``name`` and ``send(alert)``. One that also has ``send_digest(digest)`` gets what a
session has to tell at once; to the others its alerts are sent one by one.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pytest_memalert.digest import Digest
from pytest_memalert.model import PerformanceAlert

__all__ = ["AlertChannel", "DigestChannel", "send_each"]


@runtime_checkable
class AlertChannel(Protocol):
    """Take alerts somewhere; whatever ``send`` returns that can be awaited is awaited.

    ``name`` is shown in warnings and must hold nothing secret.
    """

    @property
    def name(self) -> str:
        """Return what the channel is called."""
        ...

    def send(self, alert: PerformanceAlert, /) -> object:
        """Send one alert; raise DeliveryError where that can't be done."""
        ...


@runtime_checkable
class DigestChannel(AlertChannel, Protocol):
    """Take everything that a session has to tell at once, resolved alerts included."""

    def send_digest(self, digest: Digest, /) -> object:
        """Send the messages of a digest; raise DeliveryError where that can't be done."""
        ...


def send_each(channel: AlertChannel, digest: Digest) -> list[object]:
    """Send what a digest says, in the way that the channel knows; return what it returned."""
    if isinstance(channel, DigestChannel):
        return [channel.send_digest(digest)]
    # Such a channel has no words for an alert that is gone.
    return [channel.send(message.alert) for message in digest.messages if message.kind != "resolved"]
