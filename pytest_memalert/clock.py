"""The only reader of time.

The functions are taken from ``time`` once, at import: a test that patches the
module later changes nothing here. Each is called through a ``partial``: libraries that stop the
clock replace the functions wherever a module has one of them.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import partial

__all__ = ["Stopwatch", "cpu_time_s", "elapsed_s", "monotonic_s", "thread_cpu_time_s", "utc_now"]

elapsed_s = partial(time.perf_counter)
monotonic_s = partial(time.monotonic)
cpu_time_s = partial(time.process_time)
_epoch_s = partial(time.time)
# Not on macOS and Windows.
_clock_of_thread = getattr(time, "pthread_getcpuclockid", None)
_read_clock = getattr(time, "clock_gettime", None)


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.fromtimestamp(_epoch_s(), timezone.utc)


def thread_cpu_time_s(ident: int) -> float | None:
    """Return the processor time that a living thread of Python's took so far; None where nothing tells it."""
    if _clock_of_thread is None or _read_clock is None:
        return None
    seconds: float = _read_clock(_clock_of_thread(ident))
    return seconds


class Stopwatch:
    """Tell the time that this process had to work, since the stopwatch was made.

    On a busy machine wall time passes while others work, and a budget in it would buy less
    evidence. So processor time is told; but where a test mostly waits, a quarter of the wall time.
    """

    __slots__ = ("_started_cpu_s", "_started_s")

    def __init__(self) -> None:
        self._started_s = elapsed_s()
        self._started_cpu_s = cpu_time_s()

    def gone_s(self) -> float:
        """Return the wall time, in seconds."""
        return elapsed_s() - self._started_s

    def worked_s(self) -> float:
        """Return the time that there was work, in seconds."""
        wall_s = self.gone_s()
        return max(min(cpu_time_s() - self._started_cpu_s, wall_s), wall_s / 4)
