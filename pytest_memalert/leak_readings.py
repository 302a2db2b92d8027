"""What is read of an operation from run to run: its signals, their levels, and how they move.

A signal's *points* are its (runs, level) pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isnan
from typing import Literal

from pytest_memalert.records import record

__all__ = [
    "EXACT_SIGNALS",
    "NOISY_SIGNALS",
    "Reading",
    "Signal",
    "is_in_every_run",
    "point_at",
    "points_of",
    "rate",
    "single_increments",
]

Signal = Literal["blocks", "descriptors", "threads", "heap", "resident", "mapped"]

#: Signals that count things: one more is one more.
EXACT_SIGNALS: tuple[Signal, ...] = ("blocks", "descriptors", "threads")
#: Signals in bytes, which oscillate by themselves.
NOISY_SIGNALS: tuple[Signal, ...] = ("heap", "resident", "mapped")


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


def single_increments(points: Sequence[tuple[int, float]]) -> list[float]:
    """Return what each run added that was read by itself."""
    return [b[1] - a[1] for a, b in pairwise(points) if b[0] == a[0] + 1]


def is_in_every_run(points: Sequence[tuple[int, float]]) -> bool:
    """Return whether nine of ten runs that were read by themselves added something."""
    single = single_increments(points)
    return bool(single) and sum(step > 0 for step in single) >= 0.9 * len(single)
