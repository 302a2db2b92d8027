"""Lists and buffers that become longer: what a test adds to them may be nothing new.

A function that is registered again, None, a small number, the text of a constant: to append it makes no
object, and a list makes room so rarely that nothing else shows it. So their lengths are compared, in bytes.
"""

from __future__ import annotations

import gc
import io
import sys
from array import array
from collections import deque
from collections.abc import Callable

from pytest_memalert.attribution.bounding.bounds import bounded_holder, is_bound_of, kept_small
from pytest_memalert.attribution.objects import referents_of
from pytest_memalert.attribution.repetition import attempt

__all__ = ["BUFFERS", "POINTER_BYTES", "Lengths", "buffers", "growing_buffers", "used_bytes"]

# Five million blocks are some 50 ms of looking at all that is tracked, twice for each test: no more than
# the other readings take there.
_MOST_BLOCKS = 5_000_000
POINTER_BYTES = 8
# The exact types: a derived one may measure itself by code of its own.
_TRACKED_BUFFERS = (array, io.BytesIO, io.StringIO)
BUFFERS = (bytearray, *_TRACKED_BUFFERS)
_RUNS = 3
# To ask what keeps one short takes tens of milliseconds.
_MOST_GROWN = 16
# What is added in one run of ten is looked for.
_RARELY = 10


class Lengths:
    """Hold how long every list and buffer is that the collector tracks, to see later which became longer."""

    def __init__(self) -> None:
        self._used_bytes = {id(obj): used_bytes(obj) for obj in _tracked()}

    @classmethod
    def taken(cls) -> Lengths | None:
        """Return the lengths now; None where there is too much to look at."""
        return None if sys.getallocatedblocks() > _MOST_BLOCKS else cls()

    def longer(self, *, runs: int) -> list[object]:
        """Return those that so many runs made longer, and that nothing keeps short."""
        unknown = sys.maxsize
        least_bytes = max(1, runs // _RARELY)
        grown = [
            obj
            for obj in _tracked()
            if used_bytes(obj) >= self._used_bytes.get(id(obj), unknown) + least_bytes * _unit_bytes(obj)
        ]
        grown.sort(key=used_bytes, reverse=True)
        return [obj for obj in grown[:_MOST_GROWN] if _is_at_its_end(obj) and not _is_kept_short(obj, grown)]


def used_bytes(obj: object) -> int:
    """Return how many bytes of a list or buffer are in use: without the room that it has beyond; else 0."""
    kind = type(obj)
    if kind is list or kind is deque or kind is bytearray or kind is array:
        return len(obj) * _unit_bytes(obj)  # type: ignore[arg-type]
    if kind is io.BytesIO or kind is io.StringIO:
        try:
            return obj.tell()  # type: ignore[attr-defined, no-any-return]
        except ValueError:  # closed
            return 0
    return 0


def buffers(*, untracked: bool) -> list[object]:
    """Return the buffers; with those that the collector doesn't track 0.3 s for a million objects.

    Such a one is found as an attribute, a variable or an element.
    """
    found = {id(obj): obj for obj in _tracked() if type(obj) not in (list, deque)}
    if untracked:
        for obj in gc.get_objects():
            if type(obj) is not tuple:
                found.update((id(child), child) for child in referents_of(obj) if type(child) is bytearray)
    return list(found.values())


def growing_buffers(run: Callable[[], str | None]) -> list[object]:
    """Return the buffers that a few runs make longer, and that nothing keeps short."""
    known = [(obj, used_bytes(obj)) for obj in buffers(untracked=True)]
    for _ in range(_RUNS):
        if attempt(run) is not None:
            return []
    grown = [obj for obj, used in known if used_bytes(obj) >= used + _RUNS]
    known.clear()
    return [obj for obj in grown[:_MOST_GROWN] if not _is_kept_short(obj, grown)]


def _tracked() -> list[object]:
    """Return the lists and buffers that the collector tracks; no type is asked for a hash, or compared."""
    one, two, three = _TRACKED_BUFFERS
    return [
        obj
        for obj in gc.get_objects()
        if (kind := type(obj)) is list or kind is deque or kind is one or kind is two or kind is three
    ]


def _unit_bytes(obj: object) -> int:
    kind = type(obj)
    if kind is list or kind is deque:
        return POINTER_BYTES
    return obj.itemsize if kind is array else 1  # type: ignore[attr-defined]


def _is_at_its_end(obj: object) -> bool:
    """Return whether a stream is written to at its end: to read it moves its place as well."""
    if type(obj) is io.BytesIO:
        with obj.getbuffer() as held:
            return obj.tell() == held.nbytes
    return type(obj) is not io.StringIO or obj.tell() == len(obj.getvalue())


def _is_kept_short(obj: object, grown: list[object]) -> bool:
    """Return whether the code that adds to a list removes from it too, or who holds it has a bound for it."""
    if kept_small(obj) is not None:
        return True
    holders = [holder for holder in gc.get_referrers(obj) if holder is not grown]
    holders += gc.get_referrers(*(holder for holder in holders if type(holder) is dict))
    return any(bounded_holder(holder) is not None and is_bound_of(holder, [obj]) for holder in holders)
