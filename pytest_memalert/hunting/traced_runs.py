"""Run an operation under tracemalloc: the sizes of what Python allocates in it and never frees."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from math import ceil

from pytest_memalert.clock import elapsed_s
from pytest_memalert.leaks.sizes import TracedGrowth, traced_growth
from pytest_memalert.probes.exact import ExactReader, live_traces
from pytest_memalert.tracing import begin_tracing

__all__ = ["run_traced", "stops_tracing"]

_FEWEST, _MOST = 2, 64
# What events there are by chance are known to 30 % from a dozen.
_WANTED, _WANTED_EVENTS = 16, 12
_TRACING_S = 1.0
# To list what is traced takes 15 us for each.
_MOST_LISTED = 5000


def stops_tracing(run: Callable[[], str | None]) -> bool:
    """Return whether an operation uses tracemalloc itself: up to Python 3.12, each stop loses memory.

    It is watched without tracing: many a test stops it only where it began it.
    """
    if tracemalloc.is_tracing() or sys.version_info >= (3, 13):
        return False
    starts = []
    start = tracemalloc.start

    def note_start(*frames: int) -> None:
        starts.append(frames)
        start(*frames)

    tracemalloc.start = note_start
    try:
        return run() is None and bool(starts) and not tracemalloc.is_tracing()
    finally:
        tracemalloc.start = start


def run_traced(
    run: Callable[[], str | None], reader: ExactReader, *, blocks_per_run: float, events_per_run: float
) -> TracedGrowth | None:
    """Return the sizes of what further runs allocate and never free; None where that can't be told.

    ``blocks_per_run`` is how many blocks each is known to leave, ``events_per_run`` the share of those that
    leave any: where it is small, more runs are made.
    """
    if tracemalloc.is_tracing():
        return _total(run, reader)
    wanted = ceil(_WANTED_EVENTS / events_per_run) if 0 < events_per_run < 1 else _WANTED
    begin_tracing()
    try:
        if blocks_per_run > _MOST_LISTED:
            return _total(run, reader)
        began_s = elapsed_s()
        if run() is not None or not tracemalloc.is_tracing():  # the test may have stopped it
            return None
        # Traced, a run takes from little more to a hundred times as long, by what it allocates.
        affordable = int(_TRACING_S / max(elapsed_s() - began_s, 1e-6))
        count = max(_FEWEST, min(max(wanted, _WANTED), affordable, _MOST))
        reader.settle()
        before = live_traces()
        for runs in range(1, 4 * count + 1):
            # Counting leaves objects of its own in the free lists, and so does a run: taken from there, the
            # leak would have no size, or be of as many lines as there were runs.
            reader.settle()
            if run() is not None or not tracemalloc.is_tracing():
                return None
            if runs % count == 0:
                reader.settle()
                growth = traced_growth(before, live_traces(), runs=runs, events_per_run=events_per_run)
                if growth.traces:  # else chance left these runs out
                    return growth
        return None
    finally:
        tracemalloc.stop()


def _total(run: Callable[[], str | None], reader: ExactReader) -> TracedGrowth | None:
    """Return the sizes as a total, which the heap may have grown by: of many blocks, or where others trace.

    How much of it came from malloc isn't known. Taken for large blocks it never counts twice, as part
    of the heap's growth as well; native memory that a leak keeps beside small objects may be missed.
    """
    reader.settle()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(_FEWEST):
        if run() is not None or not tracemalloc.is_tracing():
            return None
    reader.settle()
    after, _ = tracemalloc.get_traced_memory()
    return TracedGrowth(small_bytes=0, large_bytes=max(0, after - before) / _FEWEST, large_count=0, traces=0)
