"""Asynchronous tests, each with an event loop of its own, by the standard library alone."""

from __future__ import annotations

import asyncio
import unittest

from chat import Room


class TestRoom(unittest.IsolatedAsyncioTestCase):
    """Tests of a room, which is made anew for each."""

    async def asyncSetUp(self):
        self.room = Room()

    async def test_room_is_empty_again(self):
        """Lets ten visitors in and out, and leaves nothing behind."""
        await asyncio.gather(*(self.room.enter(keep=False) for _ in range(10)))
        assert self.room.visitors == set()

    async def test_transcript_is_kept(self):
        """Leaves 2 MiB behind in each run, on the class: an alert."""
        assert await self.room.enter(keep=True) > 0
