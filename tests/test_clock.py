"""Tests for the time that a process had to work."""

from __future__ import annotations

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
