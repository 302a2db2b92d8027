"""Decide whether a repeated operation leaks: after each reading, run it again or give the verdict.

A leak adds something in run after run and doesn't slow down. Everything that only looks
like one stops: caches fill, pools start, buffers wrap round, code is specialized, the heap
oscillates. So a hunt watches each signal's *records*, the runs that took it higher than it
had ever been:

- no record, or none for much longer than their pace would have it: flat;
- records to the end, the last third of the runs growing as fast as the one before: a leak;
- anything else: run again, until the budget ends ("unclear").

What a signal did is in ``shapes``, what growth is none in ``noise``, which suspects leave too
little to pursue in ``dismissal``. Their numbers were chosen with ``benchmarks/zoo.py``, which repeats
the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_memalert.leaks.dismissal import dismiss_briefly, dismiss_weak, may_hide
from pytest_memalert.leaks.noise import CACHED_CHUNKS, is_heap_noise, takes_unseen
from pytest_memalert.leaks.policy import SLOW_RUN_S, Policy, Step
from pytest_memalert.leaks.readings import (
    EXACT_SIGNALS,
    NOISY_SIGNALS,
    Reading,
    is_in_every_run,
    points_of,
    single_increments,
)
from pytest_memalert.leaks.shapes import TOLERANCE, Shape, shapes_of
from pytest_memalert.leaks.words import noun
from pytest_memalert.model import Signal

__all__ = ["next_step", "runs_left"]

# Records before a steady rise is called a leak. Noise makes a few in a long hunt.
_LEAST_RECORDS: dict[Signal, int] = {
    "blocks": 8,
    "descriptors": 8,
    "threads": 8,
    "lists": 8,
    "heap": 8,
    "resident": 12,
    "mapped": 12,
}
# A leak of 32 bytes needs 38 runs to pass the tolerance: look that long while the rise goes on.
_CREEP_RUNS = 64
# One run is enough to dismiss a test that takes this long, two any other.
_LONG_RUN_S = 1.0
# On a busy machine ``quick_s`` is soon over.
_QUICK_RUNS = 24
# What glibc keeps of free chunks in the thread's own cache counts as used: a leak of a small chunk doesn't
# show while it takes those, up to seven. A test that takes less than this is run beyond that, if looked at;
# briefly, a quick one: 2,500 took no more time for it, most of which isn't that of runs.
_UNHURRIED_RUN_S = 0.2
# Runs read one by one; later ones are read in windows of a sixteenth of the runs so far.
_SINGLE_READINGS = 400
_HARD_GROWTH = 4
# Of what takes more than the rest of that at once there are two runs, unless the first took so much.
_ONLY_GROWTH = 16
# What so few runs take, each as much: no heap's noise is that large, and no cache was found that fills so.
_PLAIN_BYTES, _PLAIN_SPREAD = 16 * 2**20, 1.25
# Runs after which the pace of growth is known well enough not to pursue it.
_WEAK_KNOWN_AFTER = 4
# Runs after which the noise of a suspect is no reason to go on.
_NOISY_RUNS = 64
_IRREGULAR = 3
# What comes up once in more than fifty runs is chance: small numbers that were replaced by larger ones.
_FEWEST_PER_RUN = 0.02
# Where resident memory alone grows, in so many runs at least: an allocator of its own takes some to settle.
_RESIDENT_RUNS = 16
_CHANCE_EVENTS = 150


def next_step(readings: Sequence[Reading], policy: Policy) -> Step:
    """Return what to do after these readings, the first of which is the start."""
    last = readings[-1]
    runs = last.runs
    if runs == 0:
        return Step(action="run", runs=1)
    run_s = last.elapsed_s / runs
    # What is pursued in a suspect is more than the chunks in the cache.
    is_unhurried = not policy.weak_bytes and run_s < (SLOW_RUN_S if policy.brief else _UNHURRIED_RUN_S)
    if policy.brief and runs < _WEAK_KNOWN_AFTER and not is_unhurried:
        dismissed = dismiss_briefly(readings, policy, run_s=run_s)
        if dismissed is not None:
            return dismissed
    shapes = shapes_of(readings, run_s)
    resident = shapes.get("resident")
    unseen = resident is not None and not resident.is_flat and takes_unseen(readings)
    moving = _moving(shapes, run_s, patient=policy.follows_creep, unseen=unseen)
    resident_runs = max(policy.leak_runs, _RESIDENT_RUNS)
    least = 1 if run_s >= _LONG_RUN_S else 2
    if is_unhurried:
        least = _QUICK_RUNS if policy.quick_s > 0 and run_s < SLOW_RUN_S else CACHED_CHUNKS + 2
    ended = _end(last, run_s, policy, leak_runs=resident_runs if unseen else policy.leak_runs)
    if not ended and runs < _NOISY_RUNS and may_hide(readings, policy):
        return _run_more(last, run_s, policy, suspected=False)
    if not moving:
        if ended or (runs >= least and last.elapsed_s >= policy.quick_s):
            return Step(action="clean")
        return _run_more(last, run_s, policy, suspected=False)
    if runs >= _WEAK_KNOWN_AFTER and (weak := dismiss_weak(readings, moving, policy)):
        return weak
    is_alone = "mapped" not in moving
    most_records = policy.leak_runs if unseen else policy.leak_runs * 3 // 2
    is_regular = is_in_every_run(points_of(readings, "blocks"))
    leaking = tuple(
        signal
        for signal in moving
        if runs >= (resident_runs if signal == "resident" and is_alone else policy.leak_runs)
        and shapes[signal].records >= min(_LEAST_RECORDS[signal], most_records)
        and shapes[signal].is_steady
        and (signal not in EXACT_SIGNALS or shapes[signal].late_rate >= _FEWEST_PER_RUN)
        # What fades goes on fading: pages and chunks of a heap fill up over hundreds of runs. A cache
        # that filled first may hide a leak, or go on to fill slowly: only many runs tell.
        and not (shapes[signal].has_slowed_down and (signal in NOISY_SIGNALS or runs < policy.shape_runs))
        # What is met by chance, ever more rarely, is a finite set: of a leak there are as many at the end.
        and not (shapes[signal].fades and signal in EXACT_SIGNALS and not is_regular)
    )
    # The pace of a leak that shows now and then takes longer to know; of few events chance makes any pace.
    shape_s = policy.shape_s * (1 if is_regular else _IRREGULAR)
    events = max((shapes[signal].late_events for signal in leaking if signal in EXACT_SIGNALS), default=0.0)
    is_known = is_regular or "heap" in leaking or events >= _CHANCE_EVENTS or not policy.shape_s
    if leaking and (ended or (is_known and runs >= policy.shape_runs and last.elapsed_s >= shape_s)):
        if leaking == ("heap",) and is_heap_noise(points_of(readings, "heap")):
            return _give_up(shapes, moving, runs, "so little may be an allocator's", policy, unseen)
        return Step(action="leaking", signals=leaking, suspected=True)
    plain = _plainly_growing(readings, moving)
    if ended and runs > 1 and plain and last.levels[plain[0]] >= policy.most_growth_bytes:
        return Step(action="leaking", signals=plain, suspected=True)
    if ended:
        return _give_up(shapes, moving, runs, ended, policy, unseen)
    # The proof begins with full collections of the whole heap: not for what won't be pursued.
    is_weak_known = runs >= _WEAK_KNOWN_AFTER or not policy.weak_bytes
    suspected = bool(plain) or (is_weak_known and any(shapes[signal].records >= 3 for signal in moving))
    return _run_more(last, run_s, policy, suspected=suspected)


def runs_left(last: Reading, run_s: float, policy: Policy) -> int:
    """Return for how many runs there is time after the last reading, where one takes ``run_s``.

    The readings are left out, which take most of the time of quick ones: later few of them are read.
    """
    return int((_budget_s(run_s, policy) - last.elapsed_s) / run_s)


def _moving(
    shapes: Mapping[Signal, Shape], run_s: float, *, patient: bool, unseen: bool
) -> tuple[Signal, ...]:
    """Return the signals that may still be growing."""
    moving = [
        signal
        for signal, shape in shapes.items()
        if not shape.is_flat or (patient and signal == "heap" and _may_creep(shape, run_s))
    ]
    # What bypasses malloc is mapped, then touched. Resident memory alone grows while pages that
    # were mapped long ago are used, mappings alone when an arena is reserved: neither goes on.
    # And what blocks or heap show needs no other witness. Only what each run takes unseen has none.
    if {"resident", "mapped"} <= set(moving):
        return tuple(moving)
    return tuple(
        signal
        for signal in moving
        if signal not in ("resident", "mapped") or (signal == "resident" and unseen)
    )


def _plainly_growing(readings: Sequence[Reading], moving: Sequence[Signal]) -> tuple[Signal, ...]:
    """Return the signals of bytes to which each run added much, and as much as the others."""
    steps = {
        signal: single_increments(points_of(readings, signal)) for signal in moving if signal in NOISY_SIGNALS
    }
    return tuple(
        signal
        for signal, added in steps.items()
        if len(added) == readings[-1].runs
        and max(added) <= _PLAIN_SPREAD * min(added)
        and min(added) >= _PLAIN_BYTES
    )


def _may_creep(shape: Shape, run_s: float) -> bool:
    return shape.creeping and shape.runs < _CREEP_RUNS and run_s < _UNHURRIED_RUN_S


def _end(last: Reading, run_s: float, policy: Policy, *, leak_runs: int) -> str | None:
    """Return why there can be no further runs, or None."""
    grown = max(last.levels.get("heap", 0.0), last.levels.get("resident", 0.0))
    hard_growth_bytes = policy.most_growth_bytes * (_HARD_GROWTH if last.runs > 1 else _ONLY_GROWTH)
    if grown >= policy.most_growth_bytes and (last.runs >= leak_runs or grown >= hard_growth_bytes):
        return f"they had taken {grown / 2**20:,.0f} MiB"
    left = max(last.levels.get("descriptors", 0.0), last.levels.get("threads", 0.0))
    if left >= policy.most_left and last.runs >= policy.leak_runs:
        return f"they had left {left:,.0f} descriptors open, or threads"
    if last.runs >= policy.most_runs:
        return "no more were allowed"
    budget_s = _budget_s(run_s, policy)
    if last.elapsed_s >= budget_s:
        return f"there was no time for more ({budget_s:.2g} s)"
    return None


def _budget_s(run_s: float, policy: Policy) -> float:
    return max(
        policy.budget_s,
        min(policy.wide_runs * run_s, policy.wide_budget_s),
        min(policy.slow_runs * run_s, policy.slow_budget_s),
    )


def _give_up(
    shapes: Mapping[Signal, Shape],
    moving: tuple[Signal, ...],
    runs: int,
    ended: str,
    policy: Policy,
    unseen: bool,
) -> Step:
    """Return the verdict where the evidence ends before it suffices."""
    growing = [
        signal
        for signal in moving
        if (signal in EXACT_SIGNALS or signal == "heap" or unseen)
        and shapes[signal].growth > 8 * TOLERANCE.get(signal, 0.0)
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
    if runs < 2 or (run_s >= SLOW_RUN_S and runs < _CREEP_RUNS):
        return Step(action="run", runs=1, suspected=suspected)
    if last.elapsed_s < policy.quick_s and runs < _SINGLE_READINGS:
        count = int((policy.quick_s - last.elapsed_s) / run_s) + 1
        # What the proof begins after must leave it runs enough: over one alone, a block that another thread
        # lets go of hides a leak of one.
        return Step(action="run", runs=max(1, min(count, 64, left // 2)), suspected=suspected)
    # A window of 0.2 s at most, so that the budget is kept.
    count = min(max(1, runs // 16), max(1, int(0.2 / run_s)), left)
    return Step(action="run", runs=count, each=runs < _CREEP_RUNS, suspected=suspected)
