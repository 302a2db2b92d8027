"""From a target to the channel that takes it."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from pytest_memalert.channels import AlertChannel
from pytest_memalert.channels.jsonl import JsonLinesChannel
from pytest_memalert.channels.logger import LoggingChannel
from pytest_memalert.errors import DeliveryError
from pytest_memalert.files import expand_path
from pytest_memalert.targets import Target

__all__ = ["GROUP", "open_channel"]

#: The entry point group of other packages' channels: the scheme of their addresses = a callable
#: that takes the whole address and returns a channel.
GROUP = "memalert.channels"


def open_channel(target: Target, *, base: Path, limit_s: float = 10.0) -> AlertChannel:
    """Return the channel of a target that isn't the terminal; a relative path is one below ``base``.

    Raises ValueError, with nothing secret in it, where there is none.
    """
    if target.kind == "jsonl":
        return JsonLinesChannel(base / expand_path(target.address))
    if target.kind == "logging":
        return LoggingChannel(target.address)
    if target.kind == "webhook":
        from pytest_memalert.channels.webhook import WebhookChannel

        return WebhookChannel(target.address, limit_s=limit_s)
    return _open_other(target, limit_s)


def _open_other(target: Target, limit_s: float) -> AlertChannel:
    scheme = target.address.partition(":")[0].lower()
    for entry in entry_points(group=GROUP):
        if entry.name.lower() == scheme:
            try:
                channel = entry.load()(target.address)
            except Exception as trouble:
                raise ValueError(
                    f"{target.shown!r}: the channel of {entry.value} can't be opened "
                    f"({trouble if isinstance(trouble, DeliveryError) else type(trouble).__name__})"
                ) from None
            if not isinstance(channel, AlertChannel):
                raise ValueError(
                    f"{target.shown!r}: what {entry.value} returns is no channel: name, send(alert)"
                )
            return channel
    if not target.address[len(scheme) :].startswith("://"):
        known = "'terminal', 'jsonl:PATH', 'logging:NAME', 'https://...', or a service's 'scheme://...'"
        raise ValueError(f"no channel takes {target.shown!r}; write {known}")
    from pytest_memalert.channels.services import AppriseChannel, is_installed

    if not is_installed():
        raise ValueError(
            f"{target.shown!r} needs apprise; install it with: pip install 'pytest-memalert[notify]'"
        )
    try:
        return AppriseChannel(target.address, limit_s=limit_s)
    except DeliveryError as trouble:
        raise ValueError(f"{target.shown!r}: {trouble}") from None
