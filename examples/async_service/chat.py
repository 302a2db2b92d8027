"""A chat service: one asynchronous task for each visitor."""

from __future__ import annotations

import asyncio
from typing import ClassVar

MIB = 2**20


class Room:
    """Hold the visitors who are in, and what each of them wrote."""

    #: The mistake: on the class, so it outlives every room.
    transcripts: ClassVar[list[bytearray]] = []

    def __init__(self) -> None:
        self.visitors: set[asyncio.Task[int]] = set()

    def enter(self, *, keep: bool) -> asyncio.Task[int]:
        """Let a visitor in, who writes 2 MiB; what was written is kept if ``keep``."""
        visit = asyncio.create_task(self._write(keep=keep))
        self.visitors.add(visit)
        visit.add_done_callback(self.visitors.discard)
        return visit

    async def _write(self, *, keep: bool) -> int:
        text = bytearray(b"hello, ") * (2 * MIB // 7)
        await asyncio.sleep(0)
        if keep:
            self.transcripts.append(text)
        return len(text)
