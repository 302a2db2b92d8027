"""Decide whether a repeated operation leaks: after each reading, run it again or give the verdict.

A leak adds something in run after run and doesn't slow down. Everything that only looks
like one stops: caches fill, pools start, buffers wrap round, code is specialised, the heap
oscillates. So a hunt watches each signal's *records*, the runs that took it higher than it
had ever been:

- no record, or none for much longer than their pace would have it: flat;
- records to the end, the last third of the runs growing as fast as the one before: a leak;
- anything else: run again, until the budget ends ("unclear").

The numbers of this module were chosen with ``benchmarks/zoo.py``, which repeats the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

from pytest_memalert.leak_readings import (
    EXACT_SIGNALS,
    NOISY_SIGNALS,
    Reading,
    Signal,
    is_in_every_run,
    point_at,
    points_of,
    rate,
    single_increments,
)
from pytest_memalert.leak_words import noun
from pytest_memalert.records import record

__all__ = ["Policy", "Shape", "Step", "next_step", "shape_of", "surviving"]

# What a noisy signal must rise before it counts as a record. The heap: glibc's own oscillations
# are +-560 and +-1,100 bytes, chunk rounding adds 30 to 150. Resident memory comes in pages,
# mappings in arenas: whatever they show in steps of 32 KiB, the heap doesn't account for.
_TOLERANCE: dict[Signal, float] = {"heap": 1200.0, "resident": 32768.0, "mapped": 32768.0}
# Records before a steady rise is called a leak. Noise makes a few in a long hunt.
_LEAST_RECORDS: dict[Signal, int] = {
    "blocks": 8,
    "descriptors": 8,
    "threads": 8,
    "heap": 8,
    "resident": 12,
    "mapped": 12,
}
# Resident memory of a test that takes 0.1 s jumps about as malloc trims and reuses its heap.
_JITTERY_RUN_S = 0.002
_MOST_JITTER = 32.0
# A leak of 32 bytes needs 38 runs to pass the tolerance: look that long while the rise goes on.
_CREEP_RUNS = 64
# The least that malloc hands out for a block, rounded down: a slower rise is no leak per run.
_LEAST_CHUNK_BYTES = 16
# One run is enough to dismiss a test that takes this long, two any other.
_LONG_RUN_S = 1.0
# On a busy machine ``quick_s`` is soon over.
_QUICK_RUNS = 24
# What glibc keeps of free chunks in the thread's own cache counts as used: a leak of a small chunk doesn't
# show while it takes those, up to seven. A test that takes less than this is run beyond that, if looked at.
_UNHURRIED_RUN_S = 0.2
# Runs read one by one; later ones are read in windows of a sixteenth of the runs so far.
_SINGLE_READINGS = 400
_SLOW_RUN_S = 0.005
_HARD_GROWTH = 4
# Runs after which the pace of growth is known well enough not to pursue it.
_WEAK_KNOWN_AFTER = 4
# Runs after which the noise of a suspect is no reason to go on.
_NOISY_RUNS = 64
# What grows by so much per run does so, whatever the noise.
_PLAIN_BYTES = 40_000
# The smallest chunk of glibc's heap, which a leak leaves in each run, is 32 bytes, give or take its noise: a
# pool of threads left 14 to 20 bytes per run over 1,300 runs, and none over 4,000.
_NOISY_PACE_BYTES = 28
_FALLING_SHARE = 0.1
# attrs' classes: 28 to 45 bytes per run over 1,300 runs, in one run of eleven, and nothing after 6,000.
_SPORADIC_PACE_BYTES = 256
_RISING_SHARE = 0.3
_CACHED_CHUNKS = 7
# So many blocks are left by a run now and then: the interpreter's, a log record's.
_NOISE_BLOCKS = 2
# Growth of fewer blocks per run is none.
_ANY_BLOCKS = 0.5
_NOT_PURSUED = "less than is pursued in a suspect; --memalert-leaks=all decides"
# A block of pymalloc's is 16 to 512 bytes; those of the real leaks of the zoo have this middle.
_TYPICAL_BLOCK_BYTES = 96
_IRREGULAR = 3
# From so many events on, the last third of the runs grows by this share of the one before it, at least.
_STEADY = ((150, 0.8), (60, 0.7), (0, 0.5))


@record(frozen=True, slots=True, kw_only=True)
class Policy:
    """Say how much evidence to gather, and what it may cost.

    A hunt is flat no sooner than after ``quick_s`` of runs; where it is ``brief``, the first run that
    leaves nothing on top of what the one before it left is enough. ``follows_creep`` asks to go on
    while the heap rises by less than its noise. A leak must grow for
    ``leak_runs`` runs at least, and for ``shape_runs`` where ``budget_s`` and
    ``most_growth_bytes`` allow it: 1,300 is beyond ``re``'s cache of 512 and the
    customary ring buffer of 1,000; with fewer than ``filled_runs``, a cache that is seen to fill excuses
    growth. ``shape_s`` is spent even when those took less. A test too
    slow for ``leak_runs`` in the budget may have ``slow_runs``, within ``slow_budget_s``; one
    that it would cut short of ``wide_runs``, beyond the caches of 128 and 256 that ``typing``
    and others keep, may have those within ``wide_budget_s``. No more than ``most_left`` descriptors, or
    threads, are left open: other tests need some as well. Growth of less than ``weak_blocks``
    and ``weak_bytes`` per run isn't pursued.
    """

    quick_s: float = 0.02
    brief: bool = False
    follows_creep: bool = True
    budget_s: float = 2.0
    slow_budget_s: float = 60.0
    slow_runs: int = 14
    wide_budget_s: float = 6.0
    wide_runs: int = 300
    leak_runs: int = 8
    shape_runs: int = 1300
    filled_runs: int = 1300
    shape_s: float = 0.1
    most_runs: int = 20_000
    most_growth_bytes: int = 64 * 2**20
    most_left: int = 48
    weak_blocks: float = 0.0
    weak_bytes: float = 0.0


@record(frozen=True, slots=True, kw_only=True)
class Shape:
    """Describe how one signal moved over ``runs`` runs.

    ``base_run`` is where it started to rise. ``records`` counts the readings that rose above
    all before them, ``record_run`` is the last of those; ``fell`` says that the signal dropped
    after it. ``late_records`` are those of the last two thirds of the runs; ``events`` is about how
    many runs of a third rose, as far as single runs tell. The rates are per run, over each third.
    ``creeping`` says that it rose by a small block per run or more, ``floating`` that its lowest level
    rose from third to third, though it fell now and then.
    """

    runs: int
    base_run: int
    records: int
    late_records: int
    events: float
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
    def has_slowed_down(self) -> bool:
        """Return whether what growth remains is nothing against what it was at first."""
        return self.late_rate <= 0.1 * self.first_rate


@record(frozen=True, slots=True, kw_only=True)
class Step:
    """Say what to do next: ``run`` so many times, or the verdict.

    ``each`` asks for a reading after each run, else there is one after the last.
    ``suspected`` says that growth has been seen which must be proven. ``signals`` are
    those that leak. ``left`` has the blocks and bytes per run of growth that isn't pursued.
    """

    action: Literal["run", "clean", "leaking", "unclear"]
    runs: int = 0
    each: bool = True
    suspected: bool = False
    reason: str | None = None
    signals: tuple[Signal, ...] = ()
    left: tuple[float, float] | None = None


def next_step(readings: Sequence[Reading], policy: Policy) -> Step:
    """Return what to do after these readings, the first of which is the start."""
    last = readings[-1]
    runs = last.runs
    if runs == 0:
        return Step(action="run", runs=1)
    run_s = last.elapsed_s / runs
    if policy.brief and runs < _WEAK_KNOWN_AFTER:
        # What a suspect leaves in some runs alone would be missed by one: a quick one is run twice for it.
        wanted = 2 if policy.weak_bytes and run_s < _SLOW_RUN_S else 1
        if runs >= wanted:
            if all(_left_nothing(*pair) for pair in pairwise(readings[-wanted - 1 :])):
                return Step(action="clean")
            if dismissed := _dismiss(readings, policy):
                return dismissed
    shapes = _shapes(readings, run_s)
    moving = _moving(shapes, run_s, patient=policy.follows_creep)
    least = 1 if run_s >= _LONG_RUN_S else 2
    if policy.quick_s > 0 and run_s < _UNHURRIED_RUN_S:
        least = _QUICK_RUNS if run_s < _SLOW_RUN_S else _CACHED_CHUNKS + 2
    ended = _end(last, run_s, policy)
    if not ended and runs < _NOISY_RUNS and _may_hide(readings, policy):
        return _run_more(last, run_s, policy, suspected=False)
    if not moving:
        if ended or (runs >= least and last.elapsed_s >= policy.quick_s):
            return Step(action="clean")
        return _run_more(last, run_s, policy, suspected=False)
    if runs >= _WEAK_KNOWN_AFTER and (weak := _weak_growth(readings, moving, policy)):
        # Blocks are exact: over several runs, one in each is no noise.
        is_noise = weak[0] < _ANY_BLOCKS and weak[1] <= _TOLERANCE["heap"]
        return _leave(weak, f"grows by about {_tell(*weak)} per run", is_noise=is_noise)
    leaking = tuple(
        signal
        for signal in moving
        if runs >= policy.leak_runs
        and shapes[signal].records >= min(_LEAST_RECORDS[signal], policy.leak_runs * 3 // 2)
        and shapes[signal].is_steady
        # What fades goes on fading: pages and chunks of a heap fill up over hundreds of runs. A cache
        # that filled first may hide a leak, or go on to fill slowly: only many runs tell.
        and not (shapes[signal].has_slowed_down and (signal in NOISY_SIGNALS or runs < policy.shape_runs))
    )
    # The pace of a leak that shows now and then takes longer to know.
    shape_s = policy.shape_s * (1 if is_in_every_run(points_of(readings, "blocks")) else _IRREGULAR)
    if leaking and (ended or (runs >= policy.shape_runs and last.elapsed_s >= shape_s)):
        if leaking == ("heap",) and _is_noise(points_of(readings, "heap")):
            return _give_up(shapes, moving, runs, "so little may be an allocator's", policy)
        return Step(action="leaking", signals=leaking, suspected=True)
    if ended:
        return _give_up(shapes, moving, runs, ended, policy)
    # The proof begins with full collections of the whole heap: not for what won't be pursued.
    is_weak_known = runs >= _WEAK_KNOWN_AFTER or not policy.weak_bytes
    suspected = is_weak_known and any(shapes[signal].records >= 3 for signal in moving)
    return _run_more(last, run_s, policy, suspected=suspected)


def _left_nothing(before: Reading, after: Reading) -> bool:
    """Return whether a run left or let go not one block, descriptor or thread, and took no memory."""
    steps = _steps(before, after)
    bypassed = steps.pop("mapped")
    return steps.pop("heap", 0.0) <= 0 and bypassed <= 0 and not any(steps.values())


def _dismiss(readings: Sequence[Reading], policy: Policy) -> Step | None:
    """Return the verdict where runs left, and let go of, so little that what is pursued would have shown."""
    left = (0.0, 0.0)
    for before, after in pairwise(readings):
        steps = _steps(before, after)
        blocks, heap_bytes, bypassed = steps.pop("blocks", 0.0), steps.pop("heap", 0.0), steps.pop("mapped")
        size_bytes = abs(heap_bytes) + max(bypassed, 0.0) + _TYPICAL_BLOCK_BYTES * abs(blocks)
        if any(steps.values()) or abs(blocks) >= policy.weak_blocks or size_bytes > policy.weak_bytes / 2:
            return None
        left = (blocks, heap_bytes + max(bypassed, 0.0) + _TYPICAL_BLOCK_BYTES * blocks)
    is_noise = abs(left[0]) <= _NOISE_BLOCKS and abs(left[1]) <= _TOLERANCE["heap"]
    return _leave(left, f"a further run left about {_tell(*left)}", is_noise=is_noise)


def _leave(left: tuple[float, float], seen: str, *, is_noise: bool) -> Step:
    """Return the verdict on a suspect that leaves too few blocks and bytes per run to be pursued."""
    action: Literal["clean", "unclear"] = "clean" if is_noise else "unclear"
    return Step(action=action, reason=f"{seen}: {_NOT_PURSUED}", left=left)


def _steps(before: Reading, after: Reading) -> dict[Signal, float]:
    """Return by how much a run moved each signal; what it mapped and touched, under "mapped" alone.

    What bypasses malloc is mapped and touched; either alone is the allocator's.
    """
    steps: dict[Signal, float] = {
        signal: after.levels[signal] - before.levels[signal]
        for signal in (*EXACT_SIGNALS, *NOISY_SIGNALS)
        if signal in after.levels and signal in before.levels
    }
    steps["mapped"] = min(steps.pop("resident", 0.0), steps.get("mapped", 0.0))
    return steps


def _may_hide(readings: Sequence[Reading], policy: Policy) -> bool:
    """Return whether a suspect's runs differ so much that what is pursued would not show in so few of them.

    One that keeps its last result, of another size each time, ends as far from its pace as these differ. The
    run that differs most is left out: once, anything may be let go of, or fill.
    """
    if not policy.weak_bytes:
        return False
    weights: dict[Signal, float] = {"blocks": _TYPICAL_BLOCK_BYTES, "heap": 1.0}
    for signal, block_bytes in weights.items():
        steps = sorted(single_increments(points_of(readings, signal)), key=abs)
        if len(steps) > 2:
            steps.pop()
        if len(steps) > 1:
            off_bytes = (max(steps) - min(steps)) * block_bytes / len(steps)
            if off_bytes > policy.weak_bytes / 2:
                return True
    return False


def _weak_growth(
    readings: Sequence[Reading], moving: Sequence[Signal], policy: Policy
) -> tuple[float, float] | None:
    """Return the growth, in blocks and bytes per run, where it is less than the policy pursues; else None."""
    if not (policy.weak_blocks or policy.weak_bytes) or "descriptors" in moving or "threads" in moving:
        return None
    pace = {signal: _pace(points[1:]) for signal in moving if (points := points_of(readings, signal))}
    blocks = pace.pop("blocks", 0.0)
    size_bytes = max(pace.values(), default=0.0)
    size_bytes += _TYPICAL_BLOCK_BYTES * max(blocks, 0.0)
    is_weak = blocks < policy.weak_blocks and size_bytes < policy.weak_bytes
    return (blocks, size_bytes) if is_weak else None


def _tell(blocks: float, size_bytes: float) -> str:
    """Return so many blocks and bytes in words; what is negative was let go of."""
    told = []
    for count, one, several in (blocks, "block", "blocks"), (size_bytes, "byte", "bytes"):
        whole = abs(round(count))
        told.append(f"{whole:,} {one if whole == 1 else several}{' less' if round(count) < 0 else ''}")
    return " and ".join(told)


def _pace(points: Sequence[tuple[int, float]]) -> float:
    """Return the growth per run of a few runs; the first before them may still have filled a cache.

    Where that is little, one run's noise could be most of it, and whether a small leak is pursued be
    chance: so the largest step is left out. (A buffer that makes room for several runs grows in some.)
    """
    mean = rate(points[0], points[-1])
    steps = single_increments(points)
    if len(steps) < 2 or mean >= _PLAIN_BYTES:
        return mean
    return min(mean, (sum(steps) - max(steps)) / (len(steps) - 1))


def shape_of(points: Sequence[tuple[int, float]], *, tolerance: float = 0.0) -> Shape:
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
    return Shape(
        runs=runs,
        base_run=base_run,
        records=records,
        late_records=late_records,
        events=rising * span / 3,
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


def surviving(
    signals: Sequence[Signal], *, seen: Mapping[Signal, float], proven: Mapping[Signal, float]
) -> tuple[Signal, ...]:
    """Return those signals whose growth seen while frozen is still there after a full collection."""
    return tuple(
        signal
        for signal in signals
        if signal not in proven or proven[signal] >= 0.5 * seen.get(signal, 0.0) > 0.0
    )


def _shapes(readings: Sequence[Reading], run_s: float) -> dict[Signal, Shape]:
    jitter = min(max(run_s / _JITTERY_RUN_S, 1.0), _MOST_JITTER)
    shapes: dict[Signal, Shape] = {}
    for signal in (*EXACT_SIGNALS, *NOISY_SIGNALS):
        points = points_of(readings, signal)
        if len(points) > 1:
            tolerance = _TOLERANCE.get(signal, 0.0)
            if signal in ("resident", "mapped"):
                tolerance *= jitter
            shapes[signal] = shape_of(points, tolerance=tolerance)
    return shapes


def _moving(shapes: Mapping[Signal, Shape], run_s: float, *, patient: bool) -> tuple[Signal, ...]:
    """Return the signals that may still be growing."""
    moving = [
        signal
        for signal, shape in shapes.items()
        if not shape.is_flat or (patient and signal == "heap" and _may_creep(shape, run_s))
    ]
    # What bypasses malloc is mapped, then touched. Resident memory alone grows while pages that
    # were mapped long ago are used, mappings alone when an arena is reserved: neither goes on.
    # And what blocks or heap show needs no other witness.
    if {"resident", "mapped"} <= set(moving):
        return tuple(moving)
    return tuple(signal for signal in moving if signal not in ("resident", "mapped"))


def _may_creep(shape: Shape, run_s: float) -> bool:
    return shape.creeping and shape.runs < _CREEP_RUNS and run_s < _UNHURRIED_RUN_S


def _end(last: Reading, run_s: float, policy: Policy) -> str | None:
    """Return why there can be no further runs, or None."""
    grown = max(last.levels.get("heap", 0.0), last.levels.get("resident", 0.0))
    if grown >= policy.most_growth_bytes and (
        last.runs >= policy.leak_runs or grown >= _HARD_GROWTH * policy.most_growth_bytes
    ):
        return f"they had taken {grown / 2**20:,.0f} MiB"
    left = max(last.levels.get("descriptors", 0.0), last.levels.get("threads", 0.0))
    if left >= policy.most_left and last.runs >= policy.leak_runs:
        return f"they had left {left:,.0f} descriptors open, or threads"
    if last.runs >= policy.most_runs:
        return "no more were allowed"
    budget_s = max(
        policy.budget_s,
        min(policy.wide_runs * run_s, policy.wide_budget_s),
        min(policy.slow_runs * run_s, policy.slow_budget_s),
    )
    if last.elapsed_s >= budget_s:
        return f"the {budget_s:.2g} s for them were over"
    return None


def _give_up(
    shapes: Mapping[Signal, Shape], moving: tuple[Signal, ...], runs: int, ended: str, policy: Policy
) -> Step:
    """Return the verdict where the evidence ends before it suffices."""
    growing = [
        signal
        for signal in moving
        if (signal in EXACT_SIGNALS or signal == "heap")
        and shapes[signal].growth > 8 * _TOLERANCE.get(signal, 0.0)
        and (not shapes[signal].has_slowed_down or (signal in EXACT_SIGNALS and shapes[signal].is_steady))
    ]
    if not growing:
        return Step(action="clean")
    seen = " and ".join(f"{shapes[signal].growth:+,.0f} {noun(signal)}" for signal in growing)
    why = "too few to tell" if runs < policy.leak_runs else "but not steadily"
    if any(shapes[signal].is_steady and shapes[signal].has_slowed_down for signal in growing):
        why = "much slower than at first"
    return Step(action="unclear", reason=f"{seen} in {runs:,} runs, {why}; {ended}", suspected=True)


def _run_more(last: Reading, run_s: float, policy: Policy, *, suspected: bool) -> Step:
    runs = last.runs
    left = policy.most_runs - runs
    if runs < 2 or (run_s >= _SLOW_RUN_S and runs < _CREEP_RUNS):
        return Step(action="run", runs=1, suspected=suspected)
    if last.elapsed_s < policy.quick_s and runs < _SINGLE_READINGS:
        count = int((policy.quick_s - last.elapsed_s) / run_s) + 1
        # What the proof begins after must leave it runs enough: over one alone, a block that another thread
        # lets go of hides a leak of one.
        return Step(action="run", runs=max(1, min(count, 64, left // 2)), suspected=suspected)
    # A window of 0.2 s at most, so that the budget is kept.
    count = min(max(1, runs // 16), max(1, int(0.2 / run_s)), left)
    return Step(action="run", runs=count, each=runs < _CREEP_RUNS, suspected=suspected)


def _is_noise(points: Sequence[tuple[int, float]]) -> bool:
    """Return whether a heap rises by little, falling in many runs, or in few runs.

    The first is so with threads that take turns; the second where tables of the interpreter's grow a little
    for a thousand runs and more, as with classes that are made and dropped.
    """
    single = single_increments(points)
    if not single:
        return False
    pace = rate(point_at(points, points[-1][0] / 3), points[-1])  # at first caches fill
    falls, rises = sum(step < 0 for step in single), _count_rises(single)
    if pace < _NOISY_PACE_BYTES and falls >= _FALLING_SHARE * len(single):
        return True
    return pace < _SPORADIC_PACE_BYTES and rises < _RISING_SHARE * len(single)


def _count_rises(steps: Sequence[float]) -> int:
    """Return how many runs took memory, as far as their steps tell.

    Where glibc has free chunks of a size, it moves seven at a time to the thread's own cache: a leak of 32
    bytes is then one of 224 in every seventh run, and counts as seven.
    """
    at = [index for index, step in enumerate(steps) if step > 0]
    refills = sum(
        after - before == _CACHED_CHUNKS and steps[after] % _CACHED_CHUNKS == 0
        for before, after in pairwise(at)
    )
    return len(at) + (_CACHED_CHUNKS - 1) * refills
