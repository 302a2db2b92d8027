"""The highest resident memory within a window of time; windows may nest."""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from typing import Protocol

from pytest_memalert.probes.procfs import STATUS, reset_high_water_mark

__all__ = ["KernelMark", "PeakWindow", "PeakWindows", "open_peak_windows", "share_peak_windows"]


# A mark so little above the present level is the level: pages come and go by themselves.
_CLOSE_BYTES = 32 * 1024


class _Mark(Protocol):
    """A high-water mark: the kernel's, or a sampling thread's."""

    def reset(self) -> None:
        """Begin anew from the current resident memory."""

    def read(self, level_bytes: int | None = None) -> int | None:
        """Return the highest resident memory since the last reset, in bytes.

        ``level_bytes`` is what it is now, where the caller has just read it.
        """

    def stop(self) -> None:
        """End whatever keeps the mark."""


class PeakWindow:
    """A window of time whose highest resident memory is wanted.

    ``highest_bytes`` is that; ``own_highest_bytes`` is it without what ``PeakWindows.shift``
    was told isn't the window's own. Both are None until the mark was read.
    """

    __slots__ = ("apart", "highest_bytes", "own_highest_bytes", "shift_bytes")

    def __init__(self, *, apart: bool) -> None:
        self.apart = apart
        self.highest_bytes: int | None = None
        self.own_highest_bytes: int | None = None
        self.shift_bytes = 0


class PeakWindows:
    """Share the process' one high-water mark among nested windows, and among its ``users``."""

    def __init__(self, mark: _Mark) -> None:
        self.users = 0
        self._mark = mark
        self._open: list[PeakWindow] = []
        self._mark_bytes = sys.maxsize

    def open(self, *, apart: bool = False, level_bytes: int | None = None) -> PeakWindow:
        """Begin a window; what happens in one that is ``apart`` doesn't count in those around it.

        ``level_bytes`` is the resident memory now, where the caller knows it: a mark that is
        no higher needs no reset, which is most of the price of a window.
        """
        self._settle()
        window = PeakWindow(apart=apart)
        at_level = level_bytes is not None and self._mark_bytes - level_bytes <= _CLOSE_BYTES
        if self._open or not at_level:
            self._reset()
        self._open.append(window)
        return window

    def close(
        self, window: PeakWindow, *, shift_bytes: int = 0, level_bytes: int | None = None
    ) -> PeakWindow:
        """End a window and return it; ``shift_bytes`` is what it added, not on the others' account.

        ``level_bytes`` is the resident memory now, where the caller has just read it.
        """
        if window in self._open:
            self._settle(level_bytes)
            self._open.remove(window)
            self._raise_level(shift_bytes)
        return window

    def forget(self) -> None:
        """Take note that something was at work since the last window: the mark may be higher than known."""
        self._mark_bytes = sys.maxsize

    def peek(self, window: PeakWindow) -> PeakWindow:
        """Return an open window with what it has reached so far."""
        self._settle()
        return window

    def shift(self, level_bytes: int) -> None:
        """Take note that the level rose (or fell) by this much, on no open window's own account."""
        self._settle()
        self._raise_level(level_bytes)

    def stop(self) -> None:
        """End the use of these windows; with the last one ends whatever keeps the mark."""
        self.users -= 1
        if self.users <= 0:
            self._mark.stop()

    def _raise_level(self, level_bytes: int) -> None:
        if self._open:
            for window in self._open:
                window.shift_bytes += level_bytes
            self._reset()

    def _settle(self, level_bytes: int | None = None) -> None:
        """Give the mark reached so far to every window that it belongs to."""
        if not self._open:
            return
        try:
            highest = self._mark.read(level_bytes)
        except (OSError, ValueError):
            return
        if highest is None:
            return
        self._mark_bytes = highest
        for window in reversed(self._open):
            own = highest - window.shift_bytes
            window.highest_bytes = max(window.highest_bytes or 0, highest)
            window.own_highest_bytes = max(window.own_highest_bytes or 0, own)
            if window.apart:
                break

    def _reset(self) -> None:
        try:
            self._mark.reset()
        except OSError:
            pass


class KernelMark:
    """The kernel's own mark (Linux).

    getrusage() tells it in 1 us, against 8 us for /proc/self/status (benchmarks/readings.py), but with
    two flaws. It lags behind the present level by up to 32 pages for each processor, since the kernel
    counts pages by processor; so the present level is read as well. And it is never less than
    what the process had reached that was replaced when this one was executed, most often its parent.
    That is constant, and no more than what is told at the start: what is more than that is this
    process' own. (That /proc/self/status says no less is no sign: at the peak of one test the two may be
    equal, and a worker of pytest-xdist is about as large as the controller that executed it.)
    """

    def __init__(
        self, read_rss: Callable[[], int | None], read_most_kib: Callable[[], int] | None = None
    ) -> None:
        self._read_rss = read_rss
        self._read_most_kib = read_most_kib or _open_most_reader()
        self._inherited_most_bytes = self._read_most_kib() * 1024

    def reset(self) -> None:
        """Begin anew from the current resident memory."""
        reset_high_water_mark()

    def read(self, level_bytes: int | None = None) -> int | None:
        """Return the highest resident memory since the last reset, in bytes."""
        seen_bytes = self._read_most_kib() * 1024
        if seen_bytes > self._inherited_most_bytes:
            return max(seen_bytes, level_bytes or self._read_rss() or 0)
        return self.read_exactly()

    def stop(self) -> None:
        """Do nothing: the kernel keeps its mark in any case."""

    def read_exactly(self) -> int | None:
        """Return the mark as /proc/self/status has it."""
        text = STATUS.read()
        at = text.find(b"VmHWM:")
        if at < 0:
            STATUS.reopen()
            return None
        return int(text[at + 6 : text.index(b"kB", at)]) * 1024


def _open_most_reader() -> Callable[[], int]:
    from resource import RUSAGE_SELF, getrusage  # no module of Windows

    return lambda: getrusage(RUSAGE_SELF).ru_maxrss


class _SampledMark:
    """A thread that looks at the resident memory at an interval: spikes in between are missed."""

    def __init__(self, read_rss: Callable[[], int | None], *, interval_s: float) -> None:
        self._read_rss = read_rss
        self._interval_s = interval_s
        self._highest_bytes = 0
        self._resets = 0
        self._lock = _thread.allocate_lock()
        self._stop = _thread.allocate_lock()
        self._stop.acquire()
        # Not threading.Thread: tests that list the threads of the process shall not see ours.
        _thread.start_new_thread(self._watch, ())

    def reset(self) -> None:
        with self._lock:
            self._resets += 1
            self._highest_bytes = self._read_rss() or 0

    def stop(self) -> None:
        if self._stop.locked():
            self._stop.release()

    def read(self, level_bytes: int | None = None) -> int | None:
        highest = max(self._highest_bytes, level_bytes or self._read_rss() or 0)
        return highest or None

    def _watch(self) -> None:
        while not self._stop.acquire(timeout=self._interval_s):
            resets = self._resets
            seen = self._read_rss() or 0
            with self._lock:
                # What was read before a reset is of the time before it.
                if resets == self._resets and seen > self._highest_bytes:
                    self._highest_bytes = seen


_shared: PeakWindows | None = None


def share_peak_windows(read_rss: Callable[[], int | None], *, interval_s: float) -> PeakWindows:
    """Return the windows over the process' one mark, for a user more: who is done is to ``stop`` them.

    With windows of their own, a session and what a test of it measures would each reset the other's mark: the
    peaks that they then read had lost what came before.
    """
    global _shared
    if _shared is None or not _shared.users:
        _shared = open_peak_windows(read_rss, interval_s=interval_s)
    _shared.users += 1
    return _shared


def open_peak_windows(read_rss: Callable[[], int | None], *, interval_s: float) -> PeakWindows:
    """Return the windows over the best mark there is: the kernel's, else a sampling thread's."""
    if sys.platform == "linux":
        try:
            reset_high_water_mark()  # what imports and collection reached is no parent's
            kernel = KernelMark(read_rss)
            if kernel.read_exactly() is not None:
                return PeakWindows(kernel)
        except (OSError, ValueError):
            pass  # clear_refs is forbidden in some containers
    return PeakWindows(_SampledMark(read_rss, interval_s=interval_s))
