"""How much a leak takes per run: of each signal, of what Python's allocators lost, and in bytes altogether.

The numbers of this module were chosen with ``benchmarks/zoo.py``, as those of ``leaks`` were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from pytest_memalert.leaks.readings import (
    NOISY_SIGNALS,
    Reading,
    is_in_every_run,
    point_at,
    points_of,
    rate,
    single_increments,
)
from pytest_memalert.model import Signal, SignalGrowth
from pytest_memalert.records import record

__all__ = [
    "TracedGrowth",
    "bytes_per_run",
    "growth_of",
    "growth_per_run",
    "traced_growth",
]

_OF_MEMORY = {"blocks", *NOISY_SIGNALS}
# Less of the heap's growth beside blocks is malloc's rounding.
_LEAST_NATIVE_BYTES = 64.0
# A container makes room in one run of twenty, and ever more rarely; what takes whole pages, in one of two.
_LUMPY_SHARE = 0.15
_MOST_BESIDE, _ROOM_BYTES = 4.0, 4096.0
# Over fewer runs it is chance whether a container has made room. A dict that doubles does so in the last two
# thirds of the runs, by half of all that it has then. An entry takes up to 104 bytes; what is little is told
# as a part of the objects, as two of a list's entries are.
_ROOM_RUNS, _EARLY_ROOM, _LEAST_ROOM, _MOST_ROOM = 256, 2.0, 16.0, 104.0


@record(frozen=True, slots=True, kw_only=True)
class TracedGrowth:
    """Hold what Python's allocators lost per run, as traced: ``small`` are those of up to 512 bytes."""

    small_bytes: float
    large_bytes: float
    large_count: float
    traces: float


def growth_of(readings: Sequence[Reading], signal: Signal, *, since_run: int = 0) -> SignalGrowth:
    """Return how one signal grew from run to run."""
    points = [point for point in points_of(readings, signal) if point[0] >= since_run]
    per_run = growth_per_run(points)
    return SignalGrowth(
        signal=signal,
        per_run=per_run,
        runs=points[-1][0] - points[0][0] if points else 0,
        every_run=bool(single_increments(points))
        and all(0 < per_run == rate(before, after) for before, after in pairwise(points)),
    )


def growth_per_run(points: Sequence[tuple[int, float]]) -> float:
    """Return the growth per run of a leaking signal from its (runs, level) points.

    Where most runs add the same, that is it: a one-time step of 100 blocks would falsify a mean. What the
    later ones add counts, since a cache that fills meanwhile takes its share of the first. Else the mean,
    without the first third if that was out of the ordinary.
    """
    if len(points) < 2:
        return 0.0
    start = point_at(points, points[0][0] + (points[-1][0] - points[0][0]) / 3)
    mean = rate(start, points[-1])
    late = pairwise(point for point in points if point[0] >= start[0])
    single = ((a, b) for a, b in pairwise(points) if b[0] == a[0] + 1)
    for steps, near in (late, 1.5), (single, 1.1):
        usual = _usual_rate(tuple(steps))
        if usual > 0 and mean / near <= usual <= mean * near:
            return usual
    overall = rate(points[0], points[-1])
    return overall if 0.85 * mean <= overall <= 1.15 * mean else mean


def _usual_rate(steps: Sequence[tuple[tuple[int, float], tuple[int, float]]]) -> float:
    """Return the growth per run that is the same in 60 % of the runs, if they are four or more; else 0."""
    runs: Counter[float] = Counter()
    for before, after in steps:
        runs[rate(before, after)] += after[0] - before[0]
    if runs.total() < 4:
        return 0.0
    usual, times = runs.most_common(1)[0]
    return usual if times >= 0.6 * runs.total() else 0.0


def traced_growth(
    before: Mapping[tuple[str, int], int],
    after: Mapping[tuple[str, int], int],
    *,
    runs: int,
    events_per_run: float = 1.0,
) -> TracedGrowth:
    """Return what was lost per run from the live traces, counted by (line, size), of two moments.

    A line that grew much more rarely than the leak (``events_per_run``) is no part of it: a
    container's enlarged buffer, a value replaced. Nor is a trace much larger than its line's others.
    """
    events = min(1.0, events_per_run) * runs
    # Of few runs each must have left it: a dict that made room in one of two would be half of all.
    least = max(2.0, 0.5 * events) if runs >= 4 else max(1.0, 0.75 * events)
    by_line: dict[str, list[tuple[int, int]]] = {}
    for key in before.keys() | after.keys():
        grown = after.get(key, 0) - before.get(key, 0)
        if grown:
            by_line.setdefault(key[0], []).append((key[1], grown))
    small = large = large_count = traces = 0.0
    for sizes in by_line.values():
        count = sum(grown for _, grown in sizes)
        if count < least:
            continue
        typical = median(size for size, grown in sizes for _ in range(max(0, grown)))
        for size, grown in sizes:
            if size > 8 * typical and abs(grown) == 1 and runs >= 4:
                continue
            traces += grown
            if size > 512:
                large += size * grown
                large_count += grown
            else:
                small += size * grown
    return TracedGrowth(
        small_bytes=max(0.0, small) / runs,
        large_bytes=max(0.0, large) / runs,
        large_count=max(0.0, large_count) / runs,
        traces=max(0.0, traces) / runs,
    )


def bytes_per_run(
    readings: Sequence[Reading], signals: Sequence[Signal], traced: TracedGrowth | None, *, since_run: int = 0
) -> float | None:
    """Return the bytes a leak takes per run; None where nothing tells.

    Python's part is what was traced, brought to the pace of the blocks where they don't grow
    in every run. malloc's is the heap's growth beyond that; it alone is known where nothing could be
    traced. What bypasses malloc is resident memory in mappings that neither explains. Of lists and
    buffers alone that is what is in use of them.
    """
    if "lists" in signals and "blocks" not in signals:
        # Of the heap they take as much, and room beyond, in steps.
        return growth_per_run([p for p in points_of(readings, "lists") if p[0] >= since_run])
    points = {signal: points_of(readings, signal) for signal in ("blocks", *NOISY_SIGNALS)}
    python_bytes = python_heap_bytes = 0.0
    blocks = (
        growth_per_run([p for p in points["blocks"] if p[0] >= since_run]) if "blocks" in signals else 0.0
    )
    in_every_run = is_in_every_run(points["blocks"])
    # Only what leaves blocks may be kept in a container that makes room; heap alone is no room of blocks that
    # come and go, as a list of weak references that is emptied now and then does.
    heap = _typical_growth(points["heap"], in_every_run and "blocks" in signals, since_run)
    if "blocks" in signals:
        if traced is None:
            return heap if "heap" in signals and heap >= _LEAST_NATIVE_BYTES else None
        scale = 1.0
        if in_every_run:
            # What takes the place of an older object, as in a full cache, is traced, and no growth.
            if (small := traced.traces - traced.large_count) > 1.15 * blocks:
                scale = blocks / small
        elif traced.traces:
            scale = blocks / traced.traces
        # malloc adds a header and rounds to 16 bytes.
        python_heap_bytes = scale * (traced.large_bytes + 16 * traced.large_count)
        large_bytes = scale * traced.large_bytes
        if "heap" in signals and traced.large_count and 0 < heap < 0.9 * python_heap_bytes:
            # What takes the place of a smaller result counts in the few runs that are traced: all tell more.
            large_bytes *= heap / python_heap_bytes
            python_heap_bytes = heap
        python_bytes = scale * traced.small_bytes + large_bytes
    native = heap - python_heap_bytes
    least = _LEAST_NATIVE_BYTES if "blocks" in signals else 0.0
    if "heap" not in signals or native < max(least, 0.1 * python_heap_bytes):
        native = _room(points["heap"], blocks, beyond=python_heap_bytes)
    bypassing = 0.0
    if "resident" in signals or "mapped" in signals:
        # Only what is counted as the heap's is none of this, nor what Python keeps in arenas of its own.
        counted = max(python_bytes, heap if "heap" in signals else 0.0)
        mapped = _median_increment(points["mapped"])
        mapped -= max(0.0, _median_increment(points["heap"])) if "heap" in signals else 0.0
        resident = growth_per_run([p for p in points["resident"] if p[0] >= since_run])
        if mapped >= 4096 or not (python_bytes or native):
            unexplained = resident - counted
            bypassing = min(mapped, unexplained) if mapped >= 4096 else unexplained
    size_bytes = python_bytes + native + max(0.0, bypassing)
    return size_bytes if size_bytes or not {*signals} & _OF_MEMORY else None


def _typical_growth(points: Sequence[tuple[int, float]], in_every_run: bool, since_run: int) -> float:
    """Return the heap's growth per run, without the rare steps of containers that make room.

    These are little, spread over all the runs; what is more is lost in some of them.
    """
    steps = single_increments(points)
    mean = growth_per_run([point for point in points if point[0] >= since_run])
    if in_every_run and len(steps) >= 4:
        typical = median(steps)
        large = sum(step > 1.5 * typical + _LEAST_NATIVE_BYTES for step in steps)
        is_room = mean <= _MOST_BESIDE * typical + _ROOM_BYTES
        if large < _LUMPY_SHARE * len(steps) and is_room:
            # The runs that were read one by one are the first, which fill caches as well.
            return min(typical, mean)
    return mean


def _room(points: Sequence[tuple[int, float]], blocks: float, *, beyond: float) -> float:
    """Return the heap's growth per run that is room which containers made for so many blocks per run.

    It comes in ever rarer steps, the later the larger. What fills once, as a cache does in the first runs,
    has none in the last two thirds.
    """
    if not blocks or len(points) < 2 or points[-1][0] < _ROOM_RUNS:
        return 0.0
    late = rate(point_at(points, points[-1][0] / 3), points[-1])
    room = min(rate(points[0], points[-1]), _EARLY_ROOM * late, beyond + _MOST_ROOM * blocks) - beyond
    return room if room >= _LEAST_ROOM else 0.0


def _median_increment(points: Sequence[tuple[int, float]]) -> float:
    single = single_increments(points)
    return median(single) if single else growth_per_run(points)
