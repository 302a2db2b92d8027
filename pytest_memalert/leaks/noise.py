"""Growth that is no leak after all: what dies, what comes and goes, what an allocator does by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

from pytest_memalert.leaks.readings import SMALL_BLOCK_BYTES, Reading, point_at, rate, single_increments
from pytest_memalert.model import Signal

__all__ = [
    "CACHED_CHUNKS",
    "follows_objects",
    "is_creep",
    "is_heap_noise",
    "is_regular",
    "surviving",
    "takes_unseen",
]

#: glibc keeps so many free chunks of a size in the thread's own cache, and moves as many to it at a time.
CACHED_CHUNKS = 7
_REFILLS = (CACHED_CHUNKS, CACHED_CHUNKS + 1)
# The size of a chunk is a multiple of this.
_CHUNK_UNIT_BYTES = 16
# The smallest chunk of glibc's heap, which a leak leaves in each run, is 32 bytes, give or take its noise: a
# pool of threads left 14 to 20 bytes per run over 1,300 runs, and none over 4,000.
_NOISY_PACE_BYTES = 28
_FALLING_SHARE = 0.1
# A chunk in every other run.
_LEAST_PACE_BYTES = 16
# attrs' classes: 28 to 45 bytes per run over 1,300 runs, in one run of eleven, and nothing after 6,000.
_SPORADIC_PACE_BYTES = 256
_RISING_SHARE = 0.3
# So many equal steps are no chance. Rows of 50 bytes take one of SQLite's pages, 4,384 bytes, each 60 runs:
# 75 to 87 % of the growth, within 1.4 to 1.7 pages of a straight line over 1,300 runs.
_FEWEST_STEPS, _BY_STEPS, _BESIDE_STEPS, _OFF_STEPS = 12, 0.6, 0.25, 2.0
# Whatever bypasses malloc and Python's own allocator takes whole pages.
_PAGE_BYTES = 4096
# What a run makes resident is noise below this, as where pools of an arena are touched.
_UNSEEN_BYTES, _BLOCK_BYTES = 64 * 1024, 512
_IN_MOST = 0.9
# What came and went must account for this share of what is resident.
_HALF = 0.5
# Of what rises in each run, beside a thread that holds two things for half of the time, a quarter is seen.
_REGULAR_SHARE = 0.25


def surviving(
    signals: Sequence[Signal], *, seen: Mapping[Signal, float], proven: Mapping[Signal, float]
) -> tuple[Signal, ...]:
    """Return those signals whose growth seen while frozen is still there after a full collection."""
    return tuple(
        signal
        for signal in signals
        if signal not in proven or proven[signal] >= 0.5 * seen.get(signal, 0.0) > 0.0
    )


def is_creep(lost: Mapping[Signal, float], *, blocks: float) -> bool:
    """Return whether resident memory alone grows, by less than a page per run, where blocks came and went."""
    return {*lost} <= {"resident", "mapped"} and max(lost.values()) < _PAGE_BYTES and blocks >= 1


def takes_unseen(readings: Sequence[Reading]) -> bool:
    """Return whether nine of ten runs make plainly more resident than heap and blocks account for.

    An allocator that has reserved its room before, as mimalloc has a gigabyte, maps nothing for it. The first
    run may do what it likes.
    """
    steps = [
        after.levels["resident"]
        - before.levels["resident"]
        - max(0.0, after.levels.get("heap", 0.0) - before.levels.get("heap", 0.0))
        - _BLOCK_BYTES * max(0.0, after.levels["blocks"] - before.levels["blocks"])
        for before, after in pairwise(readings[1:])
        if after.runs == before.runs + 1 and "resident" in before.levels and "resident" in after.levels
    ]
    return bool(steps) and sum(step >= _UNSEEN_BYTES for step in steps) >= _IN_MOST * len(steps)


def follows_objects(lost: Mapping[Signal, float], readings: Sequence[Reading], *, runs: int) -> bool:
    """Return whether resident memory alone grows, and objects that are let go of now and then explain it.

    ``lost`` is what each of so many ``runs`` adds. Two generations of a cache that take turns have doubled
    what they hold by the time that blocks fall for the first time; what was resident stays.
    """
    if not {*lost} <= {"resident", "mapped"}:
        return False
    swing_bytes = 0.0
    weights: dict[Signal, float] = {"blocks": SMALL_BLOCK_BYTES, "heap": 1.0}
    for signal, weight in weights.items():
        levels = [reading.levels[signal] for reading in readings if signal in reading.levels]
        if levels and levels[-1] < max(levels):
            swing_bytes += weight * (max(levels) - min(levels))
    return swing_bytes >= _HALF * max(lost.values()) * runs


def is_heap_noise(points: Sequence[tuple[int, float]]) -> bool:
    """Return whether a heap rises by next to nothing, or by little, falling in many runs, or in few runs.

    malloc's own caches took 189 KB in 4,000 runs of a test with sockets, and nothing in the next 40,000. It
    falls in many runs with threads that take turns; it rises in few where tables of the interpreter's grow a
    little for a thousand runs and more, as with classes that are made and dropped.
    """
    single = single_increments(points)
    if not single:
        return False
    pace = rate(point_at(points, points[-1][0] / 3), points[-1])  # at first caches fill
    falls, rises = sum(step < 0 for step in single), _count_rises(single)
    if pace < _LEAST_PACE_BYTES:
        return True
    if pace < _NOISY_PACE_BYTES and falls >= _FALLING_SHARE * len(single):
        return True
    is_rare = pace < _SPORADIC_PACE_BYTES and rises < _RISING_SHARE * len(single)
    return is_rare and not _is_in_equal_steps(points)


def is_regular(points: Sequence[tuple[int, float]]) -> bool:
    """Return whether what a signal doesn't fall below any more rises in a quarter of the runs, or more often.

    A server in a thread keeps a connection until it comes to close it: of steps of 80 blocks, up and down,
    one in six stayed on a busy machine, for want of time.
    """
    floors = list(accumulate((level for _, level in reversed(points)), min))[::-1]
    steps = single_increments([(run, floor) for (run, _), floor in zip(points, floors, strict=True)])
    return bool(steps) and _count_rises(steps) >= _REGULAR_SHARE * len(steps)


def _is_in_equal_steps(points: Sequence[tuple[int, float]]) -> bool:
    """Return whether it rises by the page or more, by as much each time, after as many runs.

    What keeps small things in pages of its own does so, as SQLite its rows. Tables that grow do it by other
    sizes, and what comes by chance at no equal distances.
    """
    steps = [after[1] - before[1] for before, after in pairwise(points)]
    pages = [step for step in steps if step >= _PAGE_BYTES]
    if not pages:
        return False
    step = min(pages)
    start, end = point_at(points, points[-1][0] / 3), points[-1]
    growth, pace = end[1] - points[0][1], rate(start, end)
    by_steps = sum(rise for rise in pages if rise % step <= _BESIDE_STEPS * step)
    off = max(abs(level - start[1] - pace * (run - start[0])) for run, level in points)
    return growth >= _FEWEST_STEPS * step and by_steps >= _BY_STEPS * growth and off <= _OFF_STEPS * step


def _count_rises(steps: Sequence[float]) -> int:
    """Return how many runs took memory, as far as their steps tell.

    Where glibc has free chunks of a size, it moves seven at a time to the thread's own cache: a leak of 32
    bytes is then one of 224 in every seventh run, and counts as seven; or, with the chunk that was asked for,
    one of 1,664 in every eighth run, if it is of 208.
    """
    at = [index for index, step in enumerate(steps) if step > 0]
    refills = [
        after - before
        for before, after in pairwise(at)
        if after - before in _REFILLS
        and steps[before] == steps[after]
        and steps[after] % (_CHUNK_UNIT_BYTES * (after - before)) == 0
    ]
    return len(at) + sum(refills) - len(refills)
