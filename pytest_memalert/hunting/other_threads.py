"""What other threads do during a hunt: they end, leave as much behind, hold some for a moment."""

from __future__ import annotations

import sys
from _thread import _count as count_threads
from _thread import get_ident
from array import array
from collections.abc import Mapping
from time import sleep

from pytest_memalert.clock import elapsed_s, thread_cpu_time_s
from pytest_memalert.hunting.rows import differences, new_levels
from pytest_memalert.leaks.readings import stands_out
from pytest_memalert.model import Signal
from pytest_memalert.probes.exact import ExactReader

__all__ = ["OtherThreads", "read_least"]

# How long threads that the runs left are given to end by themselves, as a timer's does.
_ENDING_S, _POLL_S = 3.0, 0.02
# How long the process is watched without a run where other threads are at work: five runs, within this.
_SHORTEST_IDLE_S, _LONGEST_IDLE_S = 0.05, 1.0
_IDLE_RUNS = 5
# How often the process is read where other threads are at work, and how long they are given in between.
_CROWDED_READINGS, _MOMENT_S = 8, 0.0005
# A thread that takes less than this per run only waits. To answer a request takes ten times as long.
_AT_WORK_S = 10e-6
# What tells whether they leave things behind, too.
_TOLD: tuple[Signal, ...] = ("blocks", "heap")


class OtherThreads:
    """Tell the threads that were there before the runs from those that the runs leave."""

    def __init__(self) -> None:
        self._before = frozenset(sys._current_frames())
        # Each of them is alive: a thread has no frame any more before it ends.
        self._used_s = {ident: thread_cpu_time_s(ident) for ident in self._before}

    def are_at_work(self, runs: int) -> bool:
        """Return whether one that was there before did something in so many runs, or may have."""
        for ident in self._before & sys._current_frames().keys() - {get_ident()}:
            now_s, before_s = thread_cpu_time_s(ident), self._used_s[ident]
            if now_s is None or before_s is None or now_s - before_s >= runs * _AT_WORK_S:
                return True
        return False

    def end_by_themselves(self, *, were_left: bool) -> bool:
        """Return whether most of the threads that the runs left end by themselves, being given time.

        All of them are waited for: what those hold that end a moment later would be taken for what stays.
        They may have ended by now: ``were_left`` says that they were there after most runs.
        """
        alive = left = sys._current_frames().keys() - self._before
        until_s = elapsed_s() + _ENDING_S
        while alive and elapsed_s() < until_s:
            sleep(_POLL_S)
            alive = left & sys._current_frames().keys()
        return 2 * len(alive) <= len(left) and (were_left or bool(left))

    def leave_as_much(
        self, reader: ExactReader, seen: Mapping[Signal, float], *, runs: int, run_s: float
    ) -> bool:
        """Return whether others leave behind, without a run, as much as was ``seen`` in so many ``runs``."""
        if len(self._before) == 1:
            return False
        idle_s = min(max(_IDLE_RUNS * run_s, _SHORTEST_IDLE_S), _LONGEST_IDLE_S)
        start, end = new_levels(), new_levels()
        reader.settle()
        reader.read(start, 0)
        sleep(idle_s)
        reader.settle()
        reader.read(end, 0)
        meanwhile = differences(start, end)
        as_much = {name: seen.get(name, 0.0) / max(1, runs) / max(run_s, 1e-9) * idle_s for name in _TOLD}
        return any(
            stands_out(name, as_much[name]) and meanwhile.get(name, 0.0) >= as_much[name] / 2
            for name in _TOLD
        )


def read_least(reader: ExactReader) -> array[float]:
    """Return the levels now; where other threads are at work, the least of several readings.

    What they hold for a moment would else count as what the runs left.
    """
    levels = new_levels()
    reader.read(levels, 0)
    if count_threads():
        again = array("d", levels)
        for _ in range(_CROWDED_READINGS):
            sleep(_MOMENT_S)
            reader.read(again, 0)
            levels = array("d", map(min, levels, again))
    return levels
