"""The process to the block, for repeated runs: what is alive once everything dead is gone."""

from __future__ import annotations

import gc
import os
import sys
import sysconfig
import tracemalloc
from _thread import _count as count_threads
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import sleep

from pytest_memalert.clock import elapsed_s
from pytest_memalert.collector import can_freeze, clear_caches, collect, collect_if_due, freeze, thaw
from pytest_memalert.probes.memory import open_heap_reader
from pytest_memalert.probes.procfs import STATM

__all__ = ["ExactReader", "live_traces", "refusal"]

_NAN = float("nan")
# Kept from import on: tests that patch these modules change nothing here.
_listdir, _sleep = os.listdir, sleep
# A badly fragmented heap makes heap_info() cost 8 ms: then it is read as rarely as descriptors are.
_DEAR_S = 0.0003
# How long threads that were told to end may take to be gone, over a whole hunt.
_THREAD_GRACE_S = 0.1
# How long each reading waits for threads of Python's that are ending, and how often it looks.
_ENDING_S, _POLL_S = 0.005, 0.0001

_STATM = STATM if sys.platform == "linux" else None
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if _STATM is not None else 1


def refusal() -> str | None:
    """Return why leaks can't be hunted in this process; None where they can."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} doesn't count allocated blocks; CPython is needed"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "a free-threaded Python doesn't count blocks exactly; use the default build"
    if not sys.getallocatedblocks():
        return "Python doesn't count blocks here (PYTHONMALLOC=malloc?); unset PYTHONMALLOC"
    if gc.get_debug() & gc.DEBUG_SAVEALL:
        return "gc.DEBUG_SAVEALL keeps all garbage alive; call gc.set_debug(0)"
    return None


class ExactReader:
    """Read what is alive in this process, exactly; use it in a ``with`` block.

    While frozen, a collection visits only what was made since: its cost is that of the runs,
    not of the heap, and what was garbage before stays put instead of hiding a leak by going
    away. The freeze is taken once for many runs, so that an object which dies one run later
    is collected then. A process that froze objects of its own is left alone: there,
    collections are full ones. ``lists`` returns the bytes in use of lists that were seen to grow;
    ``let_go`` is done before each reading in place of a full collection.
    """

    def __init__(
        self,
        *,
        freezing: bool = True,
        lists: Callable[[], float] | None = None,
        let_go: Callable[[], None] | None = None,
    ) -> None:
        self.freezing = freezing and can_freeze()
        self._let_go = _collect_to_the_last if let_go is None else let_go
        self._lists = lists
        self._heap = open_heap_reader()
        self._heap_is_dear = _cost_s(self._heap) > _DEAR_S
        self._statm = _STATM
        self._page_bytes = _PAGE_BYTES
        self._grace_s = _THREAD_GRACE_S
        self._most_threads = _count_entries("/proc/self/task")
        self._usual_threads = count_threads()
        self._ending_s = _THREAD_GRACE_S

    def __enter__(self) -> ExactReader:
        if self._statm is not None:
            # It opens the file, and what it keeps would be a block of the first reading.
            with suppress(OSError):
                self._statm.read()
        self.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        if self.freezing:
            self.thaw()
            collect_if_due()

    def freeze(self) -> None:
        """Set aside everything alive now, garbage included."""
        if self.freezing:
            freeze()

    def thaw(self) -> None:
        """Give back what was set aside."""
        if self.freezing:
            thaw()

    @contextmanager
    def thawed(self) -> Iterator[None]:
        """Give back what was set aside, for a while."""
        self.thaw()
        try:
            yield
        finally:
            self.freeze()

    def settle(self) -> None:
        """Let go of what died, once threads that are ending have ended."""
        if count_threads() > self._usual_threads:
            self._await_threads()
        self._let_go()

    def read(self, row: array[float], at: int, *, counts: bool = True, dear: bool = True) -> None:
        """Write a value for each of ``SIGNALS`` into ``row`` from ``at`` on; NaN where not read.

        ``SIGNALS`` are those of ``leaks.readings``. ``counts`` asks for descriptors and threads, 30 us
        together; ``dear`` for the heap even where that costs milliseconds. Allocates nothing that stays.
        """
        row[at] = sys.getallocatedblocks()
        heap = None if self._heap is None or (self._heap_is_dear and not dear) else self._heap()
        row[at + 1] = _NAN if heap is None else heap
        if heap is not None and tracemalloc.is_tracing():
            row[at + 1] -= tracemalloc.get_tracemalloc_memory()
        row[at + 2] = row[at + 3] = row[at + 4] = row[at + 5] = _NAN
        row[at + 6] = _NAN if self._lists is None else self._lists()
        if self._statm is None:
            return
        try:
            pages = self._statm.read().split(None, 2)
            row[at + 3] = int(pages[0]) * self._page_bytes
            row[at + 2] = int(pages[1]) * self._page_bytes
        except (OSError, ValueError, IndexError):
            pass
        if counts:
            row[at + 4] = _count_entries("/proc/self/fd")
            row[at + 5] = self._count_threads()

    def _await_threads(self) -> None:
        """Let threads end that a run has told to: what they hold would count, or be frozen with them."""
        began_s = elapsed_s()
        until_s = began_s + min(_ENDING_S, self._ending_s)
        while count_threads() > self._usual_threads and elapsed_s() < until_s:
            _sleep(_POLL_S)
        self._usual_threads = max(count_threads(), self._usual_threads)
        self._ending_s -= elapsed_s() - began_s

    def _count_threads(self) -> float:
        threads = _count_entries("/proc/self/task")
        if threads > self._most_threads:
            while threads > self._most_threads and self._grace_s > 0:
                _sleep(0.001)
                self._grace_s -= 0.001
                threads = _count_entries("/proc/self/task")
            self._most_threads = max(threads, self._most_threads)
        return threads


def live_traces() -> dict[tuple[str, int], int]:
    """Return how many traced allocations are alive, by (line, size), without those of tracing itself."""
    counts: dict[tuple[str, int], int] = {}
    for trace in tracemalloc.take_snapshot().traces:
        if trace.domain:  # an extension's own allocator: malloc's figures have it
            continue
        frame = trace.traceback[-1]
        if frame.filename in (__file__, tracemalloc.__file__):
            continue
        key = (f"{frame.filename}:{frame.lineno}", trace.size)
        counts[key] = counts.get(key, 0) + 1
    return counts


def _collect_to_the_last() -> None:
    """Collect what died, and empty the interpreter's caches."""
    # A finalizer may bring things back to life, or release others.
    for _ in range(3):
        if not collect():
            break
    clear_caches()


def _cost_s(read: Callable[[], object] | None) -> float:
    if read is None:
        return 0.0
    costs = []
    for _ in range(2):
        began_s = elapsed_s()
        read()
        costs.append(elapsed_s() - began_s)
    return min(costs)


def _count_entries(folder: str) -> float:
    try:
        return len(_listdir(folder))
    except OSError:
        return _NAN
