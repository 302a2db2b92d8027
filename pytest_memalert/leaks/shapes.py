"""The shape of growth from run to run: whether a signal rises, slows down or has stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from pytest_memalert.leaks.readings import (
    EXACT_SIGNALS,
    NOISY_SIGNALS,
    Reading,
    point_at,
    points_of,
    rate,
    single_increments,
)
from pytest_memalert.model import Signal
from pytest_memalert.records import record

__all__ = ["TOLERANCE", "Shape", "shapes_of"]

#: What a noisy signal must rise before it counts as a record. The heap: glibc's own oscillations
#: are +-560 and +-1,100 bytes, chunk rounding adds 30 to 150. Resident memory comes in pages,
#: mappings in arenas: whatever they show in steps of 32 KiB, the heap doesn't account for.
TOLERANCE: Mapping[Signal, float] = {"heap": 1200.0, "resident": 32768.0, "mapped": 32768.0}
# Resident memory of a test that takes 0.1 s jumps about as malloc trims and reuses its heap.
_JITTERY_RUN_S = 0.002
_MOST_JITTER = 32.0
# The least that malloc hands out for a block, rounded down: a slower rise is no leak per run.
_LEAST_CHUNK_BYTES = 16
# From so many events on, the last third of the runs grows by this share of the one before it, at least.
_STEADY = ((150, 0.8), (60, 0.7), (0, 0.5))


@record(frozen=True, slots=True, kw_only=True)
class Shape:
    """Describe how one signal moved over ``runs`` runs.

    ``base_run`` is where it started to rise. ``records`` counts the readings that rose above
    all before them, ``record_run`` is the last of those; ``fell`` says that the signal dropped
    after it. ``late_records`` are those of the last two thirds of the runs; ``events`` is about how
    many runs of a third rose, as far as single runs tell, ``late_events`` how many of the last third did, by
    how far it rose. The rates are per run, over each third.
    ``creeping`` says that it rose by a small block per run or more, ``floating`` that its lowest level
    rose from third to third, though it fell now and then.
    """

    runs: int
    base_run: int
    records: int
    late_records: int
    events: float
    late_events: float
    record_run: int
    fell: bool
    growth: float
    first_rate: float
    middle_rate: float
    late_rate: float
    creeping: bool
    floating: bool

    @property
    def expected_records(self) -> float:
        """Return how many records the runs since the last one would have brought at the earlier pace."""
        if not self.records:
            return float(self.runs - self.base_run)
        return (self.runs - self.record_run) * self.records / (self.record_run - self.base_run)

    @property
    def is_flat(self) -> bool:
        """Return whether the growth, if any, is over."""
        if self.floating:
            return False  # what another thread takes for a while, and gives back, hides a leak's records
        if not self.records:
            return True
        # The more it has grown, the longer the silence that says it is over: a leak that shows
        # at random outlasts a silence of m expected records with a probability of exp(-m).
        if self.expected_records < min(1 + self.records, 10):
            return False
        # What was emptied may be filling again, a little higher: see the next period too.
        return not self.fell or self.runs - self.record_run >= self.record_run - self.base_run

    @property
    def is_steady(self) -> bool:
        """Return whether it still grows, as fast as before."""
        if self.fell or self.late_rate <= 0 or self.expected_records >= 3:
            return False
        # Tables that double in size, ever more rarely, are a few large steps.
        if self.late_records < (8 if self.runs >= 64 else 4):
            return False
        # Few events scatter widely; many don't: growth like log(runs) has a ratio of 0.58, and a memo of
        # keys that come at random one of 0.5 to 0.7 when most are in it.
        least = next(share for events, share in _STEADY if max(self.records, self.events) >= events)
        return self.late_rate >= least * self.middle_rate

    @property
    def fades(self) -> bool:
        """Return whether it grows at a third of its first pace or less, as a set does that chance fills."""
        return self.late_rate <= self.first_rate / 3

    @property
    def has_slowed_down(self) -> bool:
        """Return whether what growth remains is nothing against what it was at first."""
        return self.late_rate <= 0.1 * self.first_rate


def shapes_of(readings: Sequence[Reading], run_s: float) -> dict[Signal, Shape]:
    """Return the shape of each signal that was read more than once; a run takes ``run_s``."""
    jitter = min(max(run_s / _JITTERY_RUN_S, 1.0), _MOST_JITTER)
    shapes: dict[Signal, Shape] = {}
    for signal in (*EXACT_SIGNALS, *NOISY_SIGNALS):
        points = points_of(readings, signal)
        if len(points) > 1:
            tolerance = TOLERANCE.get(signal, 0.0)
            if signal in ("resident", "mapped"):
                tolerance *= jitter
            shapes[signal] = _shape_of(points, tolerance=tolerance)
    return shapes


def _shape_of(points: Sequence[tuple[int, float]], *, tolerance: float) -> Shape:
    """Return the shape of a signal from its (runs, level) points, at least one."""
    runs = points[-1][0]
    # The first runs may let go of something large, or take what they give back later: either
    # hides a leak of one block per run for long. Growth is counted from the end of them.
    earliest, early = (0, 2) if runs < 16 else (runs // 16, runs // 8)
    first = [index for index, point in enumerate(points) if earliest <= point[0] <= early]
    base = min(first or [0], key=lambda index: points[index][1])
    base_run, base_level = points[base]
    span = runs - base_run
    one_third, two_thirds = base_run + span / 3, base_run + span * 2 / 3
    records, record_run, record, lowest = 0, base_run, base_level, base_level
    late_records = 0
    for index in range(base + 1, len(points)):
        run, level = points[index]
        if level > record + tolerance:
            records, record_run, record, lowest = records + 1, run, level, level
            late_records += run > one_third
        else:
            lowest = min(lowest, level)
    floors = [
        min((level for run, level in points[base:] if start <= run <= stop), default=base_level)
        for start, stop in ((base_run, one_third), (one_third, two_thirds), (two_thirds, runs))
    ]
    at_one, at_two, end = point_at(points, one_third), point_at(points, two_thirds), points[-1]
    steps = len(points) - 1 - base
    # Where readings are windows of many runs, few records may be many events; of noise each is one.
    single = [] if tolerance else single_increments(points)
    rising = sum(step > 0 for step in single) / len(single) if single else 0.0
    usual = median([step for step in single if step > 0] or [1.0])
    return Shape(
        runs=runs,
        base_run=base_run,
        records=records,
        late_records=late_records,
        events=rising * span / 3,
        late_events=(end[1] - at_two[1]) / usual,
        record_run=record_run,
        fell=records > 0 and lowest < record - max(tolerance, 0.1 * (record - base_level)),
        growth=end[1] - base_level,
        first_rate=rate(points[base], at_one),
        middle_rate=rate(at_one, at_two),
        late_rate=rate(at_two, end),
        creeping=steps >= 2
        and end[1] - base_level >= _LEAST_CHUNK_BYTES * span
        and 4 * (end[1] - base_level) >= 3 * (max(level for _, level in points[base:]) - base_level),
        floating=not tolerance
        and floors[0] < floors[1] < floors[2]
        and any(after[1] < before[1] for before, after in pairwise(points[base:])),
    )
