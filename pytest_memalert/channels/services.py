"""Services that apprise knows: Slack, e-mail, Teams and a hundred more."""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_memalert.channels.bounded import run_within
from pytest_memalert.channels.wording import body, single, title
from pytest_memalert.digest import Digest, worst_of
from pytest_memalert.errors import DeliveryError
from pytest_memalert.model import AlertSeverity, PerformanceAlert
from pytest_memalert.targets import redact

__all__ = ["AppriseChannel", "is_installed"]

# What would call a whole room: @everyone, Slack's <!channel> and <@U123>.
_MENTION = re.compile(r"(?<!\w)@(?=\w)|<(?=[!@#])")
_TYPES = {
    AlertSeverity.INFO: "info",
    AlertSeverity.WARNING: "warning",
    AlertSeverity.CRITICAL: "failure",
}
_LOG_ADDRESSES = ("apprise", "urllib3", "requests")


def is_installed() -> bool:
    """Return whether apprise can be imported."""
    return importlib.util.find_spec("apprise") is not None


class AppriseChannel:
    """Send digests through apprise, to whatever service its URL names.

    Raises DeliveryError for a URL that apprise doesn't take.
    """

    def __init__(self, url: str, *, limit_s: float = 10.0) -> None:
        self.name = redact(url)
        self._limit_s = limit_s
        with warnings.catch_warnings():
            # What its imports have to say is no business of a test run's; most come with the first URL.
            warnings.simplefilter("ignore")
            import apprise

        with _silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._apprise = apprise.Apprise()
            taken = self._apprise.add(url)
        if not taken:
            raise DeliveryError("apprise doesn't take this URL; see https://github.com/caronc/apprise/wiki")

    def send(self, alert: PerformanceAlert) -> None:
        """Send one alert."""
        self.send_digest(single(alert))

    def send_digest(self, digest: Digest) -> None:
        """Send a digest as one text; raise DeliveryError where the service didn't take it."""
        run_within(lambda: self._notify(digest), self._limit_s)

    def _notify(self, digest: Digest) -> None:
        # Its log, which would show whole URLs, is not for us to print.
        with _silenced():
            sent = self._apprise.notify(
                title=_without_mentions(title(digest)),
                body=_without_mentions(body(digest)),
                notify_type=_TYPES[worst_of(digest.messages)],
                body_format="text",
            )
        if not sent:
            raise DeliveryError("the service didn't take it")


def _without_mentions(text: str) -> str:
    """Return text in which no service finds anybody to call; it looks the same."""
    return _MENTION.sub(lambda found: f"{found[0]}\u2060", text)


class _Silence(logging.Filter):
    """Drop what is logged while a digest is on its way."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether nothing is being sent: apprise sends from threads that can't be told from others."""
        return not _sending


_sending: list[object] = []
_silence = _Silence()


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep apprise, and what it sends by, from logging: they log whole addresses."""
    for name in tuple(logging.root.manager.loggerDict):
        if name.partition(".")[0] in _LOG_ADDRESSES:
            logging.getLogger(name).addFilter(_silence)
    mine = object()
    _sending.append(mine)
    try:
        yield
    finally:
        _sending.remove(mine)
