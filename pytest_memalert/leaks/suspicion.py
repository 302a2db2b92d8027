"""Whether a test's first run stands out from what its suite retains anyway."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

__all__ = ["Floor", "is_alike"]

# What every test retains (pytest keeps a report for each) has its middle at 15 to 220 blocks,
# depending on the suite; until the suite has shown its own, this stands for it. It is low: a leak
# of 300 blocks must stand out in a suite of five tests as well.
_BLOCKS = 60.0
_HEAP_BYTES = 2048.0
_REMEMBERED = 255
_RELEARN_EACH = 16

# How far above the floor a first run is suspect. A leak of 300 blocks or 10 KiB per run must
# be, whatever else the first run gave back: what it took from free lists, say, is half of 300 small tuples.
_SUSPECT_BLOCKS = 150.0
_SUSPECT_HEAP_BYTES = 6 * 1024.0
# Resident memory that neither the heap nor Python's blocks (of 512 bytes at most) account for.
# Arenas are touched pool by pool: below this it is their noise, of which a slow test makes more.
_QUICK_S = 0.05
_SUSPECT_RESIDENT_BYTES, _SLOW_RESIDENT_BYTES = 40 * 1024.0, 400 * 1024.0
_BLOCK_BYTES = 512.0

# First runs that differ by no more left the same: from one session to the next, in the same order, 96 to 98 %
# of tests do, and a leak of what is promised differs by more than twice that, whatever hides a part of it.
_ALIKE_BLOCKS, _ALIKE_HEAP_BYTES = 50.0, 4 * 1024.0


class Floor:
    """Learn what the tests of one process retain, and tell which ones stand out."""

    def __init__(self) -> None:
        self._blocks: deque[float] = deque(maxlen=_REMEMBERED)
        self._heap_bytes: deque[float] = deque(maxlen=_REMEMBERED)
        self._seen = 0
        self.blocks = _BLOCKS
        self.heap_bytes = _HEAP_BYTES

    def learn(self, values: Mapping[str, float]) -> None:
        """Take in the figures of one more test."""
        if "blocks_growth" in values:
            self._blocks.append(values["blocks_growth"])
        if "heap_growth_bytes" in values:
            self._heap_bytes.append(values["heap_growth_bytes"])
        self._seen += 1
        if self._seen % _RELEARN_EACH == 0:
            # A median: half of the tests would have to leak before the floor hid it.
            self.blocks = max(0.0, _middle(self._blocks)) if self._blocks else _BLOCKS
            self.heap_bytes = max(0.0, _middle(self._heap_bytes)) if self._heap_bytes else _HEAP_BYTES

    def stands_out(self, values: Mapping[str, float]) -> bool:
        """Return whether a test's first run left clearly more behind than the suite's tests do."""
        return (
            values.get("blocks_growth", 0.0) > self.blocks + _SUSPECT_BLOCKS
            or values.get("heap_growth_bytes", 0.0) > self.heap_bytes + _SUSPECT_HEAP_BYTES
            or values.get("threads_growth", 0.0) > 0
            or _unaccounted_bytes(values) > _allowed_bytes(values)
        )


def is_alike(now: Mapping[str, float], then: Mapping[str, float]) -> bool:
    """Return whether a test's first run left what its first run in an earlier session did.

    A test that leaks since then leaves that much more. What is known of one alone can't be compared.
    """
    for metric, most in (("blocks_growth", _ALIKE_BLOCKS), ("heap_growth_bytes", _ALIKE_HEAP_BYTES)):
        if (metric in now) != (metric in then):
            return False
        if abs(now.get(metric, 0.0) - then.get(metric, 0.0)) > most:
            return False
    more_threads = now.get("threads_growth", 0.0) - then.get("threads_growth", 0.0)
    more_bytes = _unaccounted_bytes(now) - max(0.0, _unaccounted_bytes(then))
    return more_threads <= 0 and more_bytes <= _allowed_bytes(now)


def _unaccounted_bytes(values: Mapping[str, float]) -> float:
    """Return the resident memory that neither the heap nor Python's blocks account for."""
    heap_bytes = values.get("heap_growth_bytes", 0.0)
    # What any test retains touches next to nothing: its blocks are small, and most of them have a place.
    blocks = values.get("blocks_growth", 0.0) - _BLOCKS
    return values.get("rss_growth_bytes", 0.0) - max(heap_bytes, 0.0) - _BLOCK_BYTES * max(blocks, 0.0)


def _allowed_bytes(values: Mapping[str, float]) -> float:
    is_quick = values.get("duration_s", 0.0) <= _QUICK_S
    return _SUSPECT_RESIDENT_BYTES if is_quick else _SLOW_RESIDENT_BYTES


def _middle(values: Collection[float]) -> float:
    """Return the median; importing ``statistics`` takes longer than all that is done here in a session."""
    return sorted(values)[len(values) // 2]
