"""What is read of an operation from run to run: its signals, their levels, and how they move.

A signal's *points* are its (runs, level) pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isnan

from pytest_memalert.model import Signal
from pytest_memalert.records import record

__all__ = [
    "EXACT_SIGNALS",
    "NOISY_SIGNALS",
    "SIGNALS",
    "SMALL_BLOCK_BYTES",
    "Reading",
    "alike_from",
    "is_in_every_run",
    "point_at",
    "points_of",
    "rate",
    "rises",
    "single_increments",
    "stands_out",
]

#: All of them, in the order in which they are read.
SIGNALS: tuple[Signal, ...] = ("blocks", "heap", "resident", "mapped", "descriptors", "threads", "lists")
#: Signals that count things: one more is one more.
EXACT_SIGNALS: tuple[Signal, ...] = ("blocks", "descriptors", "threads", "lists")
#: Signals in bytes, which oscillate by themselves.
NOISY_SIGNALS: tuple[Signal, ...] = ("heap", "resident", "mapped")
#: The size of a block of a small object, of number or text.
SMALL_BLOCK_BYTES = 48.0
# What the noisy signals must have risen by to have a say in what was left.
_NOISE: dict[Signal, float] = {"heap": 1200.0, "resident": 65536.0, "mapped": 65536.0}
# Paces that differ by less are the same.
_ALIKE = 0.02
# What a signal has risen by at the end is the least of so many readings.
_LATE_READINGS = 3


@record(frozen=True, slots=True, kw_only=True)
class Reading:
    """Hold the levels after ``runs`` runs, relative to the start; signals that weren't read are absent."""

    runs: int
    elapsed_s: float
    levels: Mapping[Signal, float]


def points_of(readings: Sequence[Reading], signal: Signal) -> list[tuple[int, float]]:
    """Return the (runs, level) points of a signal, where it was read."""
    return [
        (reading.runs, level)
        for reading in readings
        if (level := reading.levels.get(signal)) is not None and not isnan(level)
    ]


def point_at(points: Sequence[tuple[int, float]], run: float) -> tuple[int, float]:
    """Return the last point at or before ``run``."""
    found = points[0]
    for point in points:
        if point[0] > run:
            break
        found = point
    return found


def rate(start: tuple[int, float], end: tuple[int, float]) -> float:
    """Return the growth per run from one point to another."""
    return (end[1] - start[1]) / (end[0] - start[0]) if end[0] > start[0] else 0.0


def alike_from(points: Sequence[tuple[int, float]]) -> int:
    """Return the run from which on each reading tells of the same pace as the last third of them all."""
    usual = rate(point_at(points, points[-1][0] * 2 / 3), points[-1])
    for before, after in reversed([*pairwise(points)]):
        if abs(rate(before, after) - usual) > _ALIKE * abs(usual):
            return after[0]
    return points[0][0]


def single_increments(points: Sequence[tuple[int, float]]) -> list[float]:
    """Return what each run added that was read by itself."""
    return [b[1] - a[1] for a, b in pairwise(points) if b[0] == a[0] + 1]


def is_in_every_run(points: Sequence[tuple[int, float]]) -> bool:
    """Return whether nine of ten runs that were read by themselves added something."""
    single = single_increments(points)
    return bool(single) and sum(step > 0 for step in single) >= 0.9 * len(single)


def rises(readings: Sequence[Reading], *, since_run: int) -> dict[Signal, float]:
    """Return how far each signal rose since then; what one reading alone shows is chance."""
    start: dict[Signal, float] = {}
    end: dict[Signal, float] = {}
    for reading in readings:
        (start if reading.runs <= since_run else end).update(reading.levels)
    seen = {name: end[name] - start.get(name, 0.0) for name in end}
    late = [reading.levels for reading in readings if reading.runs > since_run][-_LATE_READINGS:]
    for signal in EXACT_SIGNALS:
        levels = [known[signal] for known in late if signal in known]
        if len(levels) == _LATE_READINGS and (least := min(levels) - start.get(signal, 0.0)) > 0:
            seen[signal] = least
    return seen


def stands_out(signal: Signal, rise: float) -> bool:
    """Return whether a signal rose by more than the noise of it."""
    return rise > _NOISE.get(signal, 0.0)
