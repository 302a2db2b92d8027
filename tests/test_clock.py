"""Tests for the time that a process had to work."""

from __future__ import annotations

import sys
import time

from pytest_memalert.clock import Stopwatch, elapsed_s


def test_time_that_passes_while_others_work_counts_a_quarter() -> None:
    stopwatch = Stopwatch()
    began_s = elapsed_s()
    time.sleep(0.05)
    wall_s = elapsed_s() - began_s
    assert wall_s / 4 <= stopwatch.worked_s() + 0.001
    assert stopwatch.worked_s() < wall_s


def test_time_at_work_never_exceeds_the_time_gone_by() -> None:
    began_s = elapsed_s()
    stopwatch = Stopwatch()
    sum(range(200_000))
    worked_s = stopwatch.worked_s()
    assert 0 < worked_s <= elapsed_s() - began_s


def test_clock_goes_on_where_a_library_replaces_the_functions_in_every_module() -> None:
    """As freezegun does: durations of decades took part in what re-runs may cost, or waiting never ended."""
    functions = {time.perf_counter, time.monotonic, time.process_time, time.time}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "pytest_memalert":
            found = [key for key, value in vars(module).items() if any(value is each for each in functions)]
            assert (name, found) == (name, [])
