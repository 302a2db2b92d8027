"""The terminal, or any other stream of text."""

from __future__ import annotations

import sys
from typing import TextIO

from pytest_memalert.channels.wording import body, single
from pytest_memalert.digest import Digest
from pytest_memalert.model import PerformanceAlert

__all__ = ["TerminalChannel"]


class TerminalChannel:
    """Write alerts to a stream; by default to what is standard error at that time."""

    name = "terminal"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def send(self, alert: PerformanceAlert) -> None:
        """Write one alert."""
        self.send_digest(single(alert))

    def send_digest(self, digest: Digest) -> None:
        """Write all messages at once, so that those of other threads don't come between."""
        stream = self._stream or sys.stderr
        text = f"{body(digest)}\n"
        encoding = getattr(stream, "encoding", None) or "utf-8"
        # A name that the terminal has no letters for must not cost the alert.
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
