"""Services that apprise knows: Slack, e-mail, Teams and a hundred more."""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
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
_lock = threading.Lock()
_silencing = 0


def is_installed() -> bool:
    """Return whether apprise can be imported."""
    return importlib.util.find_spec("apprise") is not None


class AppriseChannel:
    """Send digests through apprise, to whatever service its URL names.

    Raises DeliveryError for a URL that apprise doesn't take.
    """

    def __init__(self, url: str, *, limit_s: float = 10.0) -> None:
        with warnings.catch_warnings():
            # What its imports have to say is no business of a test run's.
            warnings.simplefilter("ignore")
            import apprise
        self.name = redact(url)
        self._limit_s = limit_s
        self._apprise = apprise.Apprise()
        with _silenced():
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


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep apprise from logging, as long as any thread is in such a block."""
    global _silencing
    logger = logging.getLogger("apprise")
    with _lock:
        _silencing += 1
        logger.disabled = True
    try:
        yield
    finally:
        with _lock:
            _silencing -= 1
            logger.disabled = _silencing > 0
