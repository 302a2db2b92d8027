"""Dismiss suspects: those whose further runs leave too little to be pursued."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from pytest_memalert.leaks.policy import SLOW_RUN_S, Policy, Step
from pytest_memalert.leaks.readings import (
    EXACT_SIGNALS,
    NOISY_SIGNALS,
    Reading,
    points_of,
    rate,
    single_increments,
)
from pytest_memalert.leaks.shapes import TOLERANCE
from pytest_memalert.model import Signal

__all__ = ["dismiss_briefly", "dismiss_weak", "look_on", "may_hide"]

# The first of a suspect's plain runs may leave what any re-run needs once: some more are granted where it
# left much, fewer of a slow one.
_MOST_RUNS, _MOST_SLOW_RUNS = 5, 2
# What grows by so much per run does so, whatever the noise.
_PLAIN_BYTES = 40_000
# So many blocks are left by a run now and then: the interpreter's, a log record's. Where its free lists
# aren't emptied, each run puts some there that it didn't take from them: in five suites nine of ten suspects
# that were dismissed after a plain look had left 20 at most.
_NOISE_BLOCKS, _PLAIN_NOISE_BLOCKS = 2, 20
# An allocator that has reserved its room before maps nothing for what it hands out.
_MUCH_TOUCHED_BYTES = 2**20
# Growth of fewer blocks per run is none.
_ANY_BLOCKS = 0.5
# With "all" and a budget it may be a suspect out of turn.
_NOT_PURSUED = "less than is pursued in a suspect; a test marked leaks='all' is looked at further"
# A block of pymalloc's is 16 to 512 bytes; those of the real leaks of the zoo have this middle.
_TYPICAL_BLOCK_BYTES = 96


def dismiss_briefly(readings: Sequence[Reading], policy: Policy, *, run_s: float) -> Step | None:
    """Return the verdict where the first run or two leave nothing more, or too little; None where not."""
    # What is left in some runs alone would be missed by one, or be made up for by what the run before left.
    wanted = 1 if policy.weak_bytes and run_s >= SLOW_RUN_S else 2
    if readings[-1].runs < wanted:
        return None
    if all(_left_nothing(*pair) for pair in pairwise(readings[-wanted - 1 :])):
        return Step(action="clean")
    return _dismiss_little(readings, policy)


def look_on(readings: Sequence[Reading], policy: Policy, *, run_s: float) -> Step | None:
    """Return what follows a suspect's plain runs: one more, or the verdict; None where it grows on."""
    runs = readings[-1].runs
    # What is left in some runs alone would be missed by one.
    wanted, most = (1, _MOST_SLOW_RUNS) if run_s >= SLOW_RUN_S else (2, _MOST_RUNS)
    latest = readings[-wanted - 1 :]
    if runs >= wanted:
        if all(_left_nothing(*pair) for pair in pairwise(latest)):
            return Step(action="clean")
        if (little := _dismiss_little(latest, policy, noise_blocks=_PLAIN_NOISE_BLOCKS)) is not None:
            return little
    if runs < most and not _both_left_much(readings[-3:], policy):
        return Step(action="run", runs=1)
    if may_hide(readings, policy):
        return None
    moving = [
        signal
        for signal in (*EXACT_SIGNALS, *NOISY_SIGNALS)
        if len(points := points_of(readings, signal)) > 2 and _pace(points[1:]) > 0
    ]
    # What was mapped and not touched, or touched where nothing was mapped, is the allocator's.
    if not {"resident", "mapped"} <= {*moving}:
        moving = [signal for signal in moving if signal not in ("resident", "mapped")]
    return dismiss_weak(readings, moving, policy)


def dismiss_weak(readings: Sequence[Reading], moving: Sequence[Signal], policy: Policy) -> Step | None:
    """Return the verdict where what is moving grows by less than the policy pursues; None where not."""
    weak = _weak_growth(readings, moving, policy)
    if weak is None:
        return None
    # Blocks are exact: over several runs, one in each is no noise.
    is_noise = weak[0] < _ANY_BLOCKS and weak[1] <= TOLERANCE["heap"]
    return _leave(weak, f"grows by about {_tell(*weak)} per run", is_noise=is_noise)


def may_hide(readings: Sequence[Reading], policy: Policy) -> bool:
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


def _left_nothing(before: Reading, after: Reading) -> bool:
    """Return whether a run left or let go not one block, descriptor or thread, and took no memory."""
    steps = _steps(before, after)
    bypassed = steps.pop("mapped")
    return steps.pop("heap", 0.0) <= 0 and bypassed <= 0 and not any(steps.values())


def _both_left_much(readings: Sequence[Reading], policy: Policy) -> bool:
    """Return whether either of two runs left more than is pursued."""
    steps = [_steps(*pair) for pair in pairwise(readings)]
    return len(steps) == 2 and all(
        step.get("blocks", 0.0) >= policy.weak_blocks
        and step.get("heap", 0.0) + _TYPICAL_BLOCK_BYTES * step.get("blocks", 0.0) >= policy.weak_bytes
        for step in steps
    )


def _dismiss_little(
    readings: Sequence[Reading], policy: Policy, *, noise_blocks: int = _NOISE_BLOCKS
) -> Step | None:
    """Return the verdict where runs left, and let go of, so little that what is pursued would have shown."""
    left, beside_bytes = (0.0, 0.0), 0.0
    for before, after in pairwise(readings):
        steps = _steps(before, after)
        blocks, heap_bytes, bypassed = steps.pop("blocks", 0.0), steps.pop("heap", 0.0), steps.pop("mapped")
        size_bytes = abs(heap_bytes) + max(bypassed, 0.0) + _TYPICAL_BLOCK_BYTES * abs(blocks)
        if any(steps.values()) or abs(blocks) >= policy.weak_blocks or size_bytes > policy.weak_bytes / 2:
            return None
        beside_bytes = heap_bytes + max(bypassed, 0.0)
        left = (blocks, beside_bytes + _TYPICAL_BLOCK_BYTES * blocks)
    is_noise = abs(left[0]) <= noise_blocks and abs(beside_bytes) <= TOLERANCE["heap"]
    return _leave(left, f"a further run left about {_tell(*left)}", is_noise=is_noise)


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


def _leave(left: tuple[float, float], seen: str, *, is_noise: bool) -> Step:
    """Return the verdict on a suspect that leaves too few blocks and bytes per run to be pursued."""
    action: Literal["clean", "unclear"] = "clean" if is_noise else "unclear"
    return Step(action=action, reason=f"{seen}: {_NOT_PURSUED}", left=left)


def _steps(before: Reading, after: Reading) -> dict[Signal, float]:
    """Return by how much a run moved each signal; what it mapped and touched, under "mapped" alone.

    What bypasses malloc is mapped and touched; either alone is the allocator's, unless very much is touched.
    """
    steps: dict[Signal, float] = {
        signal: after.levels[signal] - before.levels[signal]
        for signal in (*EXACT_SIGNALS, *NOISY_SIGNALS)
        if signal in after.levels and signal in before.levels
    }
    resident = steps.pop("resident", 0.0)
    is_much = resident - max(0.0, steps.get("heap", 0.0)) >= _MUCH_TOUCHED_BYTES
    steps["mapped"] = resident if is_much else min(resident, steps.get("mapped", 0.0))
    return steps


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
