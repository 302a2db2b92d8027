"""A file of JSON lines, one for each message."""

from __future__ import annotations

import json
import os
from math import isfinite
from pathlib import Path

from pytest_memalert.channels.wording import single
from pytest_memalert.codec import encode_alert
from pytest_memalert.digest import Digest, Message
from pytest_memalert.errors import DeliveryError
from pytest_memalert.model import PerformanceAlert

__all__ = ["JsonLinesChannel"]

#: The format of each line.
#:
#: 1  the first
_LINES_FORMAT = 1


class JsonLinesChannel:
    """Append messages to the file ``path``; several processes may write the same one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"jsonl:{path}"

    def send(self, alert: PerformanceAlert) -> None:
        """Append one alert."""
        self.send_digest(single(alert))

    def send_digest(self, digest: Digest) -> None:
        """Append a line for each message, all by one write: no reader or writer sees half a line."""
        lines = "".join(f"{json.dumps(_entry(message, digest))}\n" for message in digest.messages)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _append(self.path, lines.encode("ascii"))
        except OSError as problem:
            raise DeliveryError(problem.strerror or type(problem).__name__) from None


def _append(path: Path, content: bytes) -> None:
    # The system moves to the end and writes in one step; a buffered file could write in pieces.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def _entry(message: Message, digest: Digest) -> dict[str, object]:
    return {
        "format": _LINES_FORMAT,
        "kind": message.kind,
        "sent_at": digest.sent_at.isoformat(),
        "run_id": digest.run_id,
        "first_seen": message.first_seen.isoformat() if message.first_seen else None,
        "times": message.times,
        # JSON has no word for what is not finite.
        "before": message.before if message.before is not None and isfinite(message.before) else None,
        "returned": message.returned,
        "alert": encode_alert(message.alert),
    }
