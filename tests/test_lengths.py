"""Lists and buffers that become longer by what is nothing new."""

from __future__ import annotations

import io
import logging
import sys
from array import array
from collections import deque
from collections.abc import Callable

import pytest

from pytest_memalert import find_leaks
from pytest_memalert.attribution.bounding.lengths import Lengths, buffers, used_bytes

NAMES: list[str] = []
HANDLERS: list[Callable[[], None]] = []
TEXT = io.StringIO()
BYTES = io.BytesIO()
BUFFER = bytearray()
NUMBERS = array("q")
STREAM = io.StringIO()
RING: list[None] = []
BATCH: list[None] = []
FIRST: list[None] = []
CUT = bytearray()
CAPPED = io.StringIO()
CALLS: deque[None] = deque()


class Journal:
    """Keep the last 5,000 lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.maxsize = 5000

    def add(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) > self.maxsize:
            self.lines.pop(0)


JOURNAL = Journal()


def handler() -> None:
    """Do nothing."""


def log_a_line() -> None:
    logger = logging.getLogger("test_lengths")
    logger.warning("line %s", "of a log")


def keep_to_fifty() -> None:
    RING.append(None)
    if len(RING) > 50:
        RING.pop(0)


def send_in_batches() -> None:
    BATCH.append(None)
    if len(BATCH) >= 4000:
        BATCH.clear()


def cut_its_bytes() -> None:
    CUT.extend(b"b" * 300)
    if len(CUT) > 500_000:
        del CUT[:-500_000]


def cap_its_stream() -> None:
    CAPPED.write("request 1 was handled in 12 ms\n")
    if CAPPED.tell() > 64_000:
        CAPPED.seek(0)
        CAPPED.truncate()


def fill_once() -> None:
    if len(FIRST) < 40:
        FIRST.append(None)


def write_and_empty() -> None:
    STREAM.write("a line")
    STREAM.seek(0)
    STREAM.truncate()


@pytest.mark.parametrize(
    ("operation", "size_bytes", "survivor", "holder"),
    [
        (lambda: NAMES.append("constant"), 8, "1 element of list", "NAMES"),
        (lambda: HANDLERS.extend([handler, handler]), 16, "2 elements of list", "HANDLERS"),
        (lambda: CALLS.append(None), 8, "1 element of collections.deque", "CALLS"),
        (lambda: TEXT.write("t" * 100), 100, "100 bytes of _io.StringIO", "TEXT"),
        (lambda: BYTES.write(b"b" * 100), 100, "100 bytes of _io.BytesIO", "BYTES"),
        (lambda: BUFFER.extend(b"b" * 100), 100, "100 bytes of bytearray", "BUFFER"),
        (lambda: NUMBERS.append(7), 8, "8 bytes of array.array", "NUMBERS"),
    ],
    ids=["a constant", "functions", "deque", "StringIO", "BytesIO", "bytearray", "array"],
)
def test_what_becomes_longer_without_anything_new_is_a_leak(
    operation: Callable[[], object], size_bytes: float, survivor: str, holder: str
) -> None:
    analysis = find_leaks(operation)
    assert analysis.status == "leaking"
    # io.StringIO keeps its texts in a list. Where the heap tells, there is room beyond what is in use.
    assert analysis.bytes_per_run == pytest.approx(size_bytes, rel=0.2)
    assert survivor in [kind.told for kind in analysis.survivors]
    assert holder in " ".join(hop for kind in analysis.survivors for hop in kind.held_by)
    assert any(holder in advice for advice in analysis.recommendations)


def test_what_is_added_to_a_list_of_the_interpreter_is_told_with_how_to_undo_it() -> None:
    before = len(sys.path)
    try:
        analysis = find_leaks(lambda: sys.path.append("nowhere"))
    finally:
        del sys.path[before:]
    assert analysis.status == "leaking"
    assert "monkeypatch.syspath_prepend" in " ".join(analysis.recommendations)


@pytest.mark.parametrize(
    "operation",
    [
        keep_to_fifty,
        send_in_batches,
        fill_once,
        cut_its_bytes,
        cap_its_stream,
        write_and_empty,
        lambda: JOURNAL.add("constant"),
    ],
)
def test_a_list_that_is_kept_short_is_no_leak(operation: Callable[[], None]) -> None:
    # Where the heap was seen to grow for it, the verdict is unclear.
    assert find_leaks(operation).status in ("clean", "unclear")


@pytest.mark.parametrize("stream", [io.BytesIO(bytes(10**6)), io.StringIO("a line\n" * 10**5)])
def test_a_stream_that_is_read_is_no_leak(stream: io.BytesIO | io.StringIO) -> None:
    """Its place moves on."""
    assert find_leaks(lambda: stream.read(8) and None).status == "clean"


def test_texts_written_to_a_stream_are_held_by_it() -> None:
    """They were "let go of a moment later": the stream's own list of them has no visible referrer."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("test_lengths")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        analysis = find_leaks(log_a_line)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    assert analysis.status == "leaking"
    assert "StringIO" in " ".join(analysis.survivors[0].held_by)


def test_what_has_no_length_takes_nothing() -> None:
    closed = io.BytesIO(b"bytes")
    closed.close()
    assert used_bytes(closed) == 0
    assert used_bytes({}) == 0


def test_buffers_are_found_where_the_collector_does_not_track_them() -> None:
    tracked = [type(obj) for obj in buffers(untracked=False)]
    assert bytearray not in tracked
    assert any(obj is BUFFER for obj in buffers(untracked=True))


def test_a_large_heap_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "getallocatedblocks", lambda: 6_000_000)
    assert Lengths.taken() is None
