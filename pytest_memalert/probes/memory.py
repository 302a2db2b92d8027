"""Memory of the process as it is now: resident, on the heap, in blocks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from pytest_memalert.clock import elapsed_s
from pytest_memalert.probes.procfs import STATM

__all__ = [
    "Rationed",
    "child_page_faults",
    "free_bytes",
    "open_blocks_reader",
    "open_heap_reader",
    "open_rss_reader",
    "read_nothing",
    "shared_bytes",
]

Reader = Callable[[], "int | None"]

# An expensive reading may take this share of the time since it was first taken. A heap of
# 500,000 free chunks makes psutil.heap_info() cost 8 ms, and 2 million live objects make
# sys.getallocatedblocks() cost 0.1 to 0.7 ms (benchmarks/readings.py).
_SHARE = 0.005
_FREE_S = 0.010
# Where Linux has the limit of a container, in cgroups of version 2 and of version 1.
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def child_page_faults() -> int:
    """Return the page faults of all child processes that were waited for: more of them, if one was since.

    Windows doesn't count them: 0.
    """
    try:
        from resource import RUSAGE_CHILDREN, getrusage
    except ImportError:
        return 0
    return getrusage(RUSAGE_CHILDREN).ru_minflt


def free_bytes() -> int | None:
    """Return how much this process may still take of the machine, or of its container; None if not known."""
    import psutil

    try:
        free = int(psutil.virtual_memory().available)
        rss_bytes = psutil.Process().memory_info().rss
    except (OSError, psutil.Error):
        return None
    for path in _CONTAINER_LIMITS:
        try:
            free = min(free, int(path.read_bytes()) - rss_bytes)
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return max(0, free)


def shared_bytes() -> int | None:
    """Return how much of the resident memory is of files, or shared; None where the kernel doesn't tell."""
    import psutil

    try:
        return getattr(psutil.Process().memory_info(), "shared", None)
    except (OSError, psutil.Error):
        return None


class Rationed:
    """Take a reading only while its cost stays a small share of the time gone by."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self._started_s = elapsed_s()
        self._spent_s = 0.0
        self._last_cost_s = 0.0

    def __call__(self) -> int | None:
        """Return the reading, or None when it has become too expensive to take now."""
        began_s = elapsed_s()
        if self._spent_s > _FREE_S + _SHARE * (began_s - self._started_s):
            return None
        value = self._read()
        cost_s = elapsed_s() - began_s
        # One dear reading among cheap ones is another process' doing; two in a row are the heap's.
        charged_s = min(cost_s, self._last_cost_s)
        self._last_cost_s = cost_s
        if charged_s > 0.0001:
            self._spent_s += charged_s
        return value


def open_rss_reader() -> Reader:
    """Return a reader of the resident memory, in bytes."""
    if sys.platform == "linux":
        return _open_statm_reader()
    import psutil

    memory_info = psutil.Process().memory_info

    def read() -> int | None:
        try:
            return int(memory_info().rss)
        except psutil.Error:
            return None

    return read


def _open_statm_reader() -> Reader:
    from os import sysconf

    page_bytes = sysconf("SC_PAGE_SIZE")

    def read() -> int | None:
        try:
            return int(STATM.read().split(None, 2)[1]) * page_bytes
        except (OSError, ValueError, IndexError):
            pass
        try:  # the descriptor's number may have become another file's
            STATM.reopen()
            return int(STATM.read().split(None, 2)[1]) * page_bytes
        except (OSError, ValueError, IndexError):
            return None

    return read


def open_heap_reader() -> Reader | None:
    """Return a reader of the bytes that malloc has handed out; None where there is none.

    It is the sum of heap and mmap: glibc moves its mmap threshold, so the same block
    shows now in one and then in the other.
    """
    import psutil

    heap_info = getattr(psutil, "heap_info", None)
    if heap_info is None:
        return None

    def read() -> int | None:
        try:
            info = heap_info()
        except (OSError, RuntimeError, psutil.Error):
            return None
        return int(info.heap_used + info.mmap_used)

    return read if read() is not None else None


def open_blocks_reader() -> Reader | None:
    """Return a reader of Python's allocated blocks; None where the interpreter has none."""
    blocks = getattr(sys, "getallocatedblocks", None)
    return blocks if blocks is not None and blocks() else None


def read_nothing() -> int | None:
    """Stand in for a reader that isn't to be had."""
    return None
