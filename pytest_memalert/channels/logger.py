"""Python's own logging."""

from __future__ import annotations

import logging

from pytest_memalert.channels.wording import headline, single
from pytest_memalert.digest import Digest
from pytest_memalert.model import AlertSeverity, PerformanceAlert

__all__ = ["LoggingChannel"]

_LEVELS = {
    AlertSeverity.INFO: logging.INFO,
    AlertSeverity.WARNING: logging.WARNING,
    AlertSeverity.CRITICAL: logging.CRITICAL,
}


class LoggingChannel:
    """Log a record for each message, with the alert as its attribute ``memalert_alert``."""

    def __init__(self, logger: str = "memalert") -> None:
        self._logger = logging.getLogger(logger)
        self.name = f"logging:{logger}"

    def send(self, alert: PerformanceAlert) -> None:
        """Log one alert, at the level of its severity."""
        self.send_digest(single(alert))

    def send_digest(self, digest: Digest) -> None:
        """Log each message; what is resolved is information."""
        for message in digest.messages:
            level = logging.INFO if message.kind == "resolved" else _LEVELS[message.alert.severity]
            extra = {"memalert_alert": message.alert, "memalert_kind": message.kind}
            self._logger.log(level, "%s", headline(message), extra=extra)
