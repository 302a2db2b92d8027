"""Explain a confirmed leak: what survives each run, where it was allocated, what holds it.

The test is run again a few times with allocations traced and the heap frozen, so that what
the runs left behind is known by identity (``survivors``); the allocation sites are cut to the
user's frames (``sites``); what others of them lead to is left out (``heads``), the holders
of the rest are searched in the thawed heap (``group_holders``, ``holders``), and of these some
speak for the leak (``selection``, ``by_objects``); memory that no Python object accounts for is
measured apart (``native``), where it is most of what is lost beside objects as well; descriptors and
threads are traced to who opened them (``by_system``); and what to do follows from all of it (``advice``).

Trouble on the way yields fewer facts, never an exception.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pytest_memalert.attribution.allocation.calls import watch_calls
from pytest_memalert.attribution.allocation.descriptors import open_descriptors
from pytest_memalert.attribution.allocation.native import (
    LARGE_BYTES,
    measure_native_beside,
    measure_native_growth,
)
from pytest_memalert.attribution.by_objects import explain_objects
from pytest_memalert.attribution.by_system import explain_heap, with_native_beside, with_system_advice
from pytest_memalert.attribution.explanation import Explanation
from pytest_memalert.attribution.objects import type_name
from pytest_memalert.attribution.repetition import in_batches
from pytest_memalert.attribution.selection import SURE
from pytest_memalert.attribution.survivors.groups import Group, Watch
from pytest_memalert.attribution.survivors.survivors import watch
from pytest_memalert.collector import thawed
from pytest_memalert.model import Signal

__all__ = ["explain"]

#: So often is the test run, traced: growth must show more than once.
_RUNS = 4

# What some runs take of resident memory is no leak per run where it is so many times what each run loses.
_MOST_AT_ONCE = 4.0
# The share of what is lost that must be accounted for.
_MOST = 0.5

#: What grows in a leak of memory that leaves no more blocks.
_MEMORY: frozenset[Signal] = frozenset({"heap", "resident", "mapped"})

#: Less of the heap's growth is malloc's rounding, or the room that a container makes.
_LEAST_BYTES = 64

#: Less of resident memory is no page in each run.
_LEAST_RESIDENT_BYTES = 4096


def explain(
    run: Callable[[], str | None],
    *,
    lost: Mapping[Signal, float] | None = None,
    root: Path | None = None,
    period: int = 1,
    times: int = 1,
) -> Explanation:
    """Return what each call of ``run`` leaves behind, and why.

    ``run`` runs the test once and returns None, or the reason why this run is no evidence.
    It is called a few times, traced, and where no object is found, a few times more. ``lost`` has how
    much of each signal a run is known to take, where it is. The signature names files from ``root``,
    else from the current directory. Where one run of a ``period`` leaves something, so many ``times`` a
    period is watched as if it were one run.

    Do not call it while tracemalloc traces for another purpose: it then has only the frames
    that tracing was started with.
    """
    try:
        descriptors = open_descriptors()
        together = period * times
        known = {signal: together * amount for signal, amount in (lost or {}).items()}
        run = in_batches(run, together) if together > 1 else run
        with thawed():
            explanation = _explain(run, known, root, period, times)
        opened = open_descriptors() - descriptors
        explanation = with_system_advice(explanation, known, opened, run, root)
        return _per_run(explanation, together) if together > 1 else explanation
    except Exception as error:
        return Explanation(reason=f"explaining it failed: {type_name(type(error))}")


def _explain(
    run: Callable[[], str | None], lost: Mapping[Signal, float], root: Path | None, period: int, times: int
) -> Explanation:
    # Where no block is lost, it may be a buffer that takes more and more of the heap.
    with_buffers = bool(lost) and "blocks" not in lost
    seen = watch(run, runs=_RUNS, with_buffers=with_buffers, period=period, times=times)
    if seen.reason is not None and seen.runs < 2:
        # Some tests look at the collector themselves, and fail while the heap is frozen.
        reason = seen.reason
        seen = watch(run, runs=_RUNS, freezing=False, with_buffers=with_buffers, period=period, times=times)
        if seen.runs < 2:
            return Explanation(reason=seen.reason or reason, runs=seen.runs)
    if lost and lost.keys() <= _MEMORY:
        _leave_out_replaced(seen, lost)
    explanation = explain_objects(seen, root, run)
    del seen
    found_bytes = sum(survivor.size_bytes for survivor in explanation.survivors)
    heap_bytes = lost.get("heap", 0.0)
    lost_bytes = max(heap_bytes, lost.get("resident", 0.0), lost.get("mapped", 0.0))
    is_told = not with_buffers or found_bytes >= _MOST * lost_bytes
    if explanation.framework:
        return explanation
    if explanation.confidence >= SURE and is_told:
        return _with_native(explanation, lost, run)
    bypasses_heap = bool(lost) and heap_bytes < _MOST * lost_bytes
    growth = measure_native_growth(run, runs=_RUNS, resident=bypasses_heap)
    if bypasses_heap and not heap_bytes <= (growth.bytes_per_run or 0.0) <= _MOST_AT_ONCE * lost_bytes:
        # It is taken in a few runs alone, in which malloc finds no room for a large object that grows.
        growth = measure_native_growth(run, runs=_RUNS)
    if explanation.survivors and (growth.bytes_per_run or 0.0) < 4 * found_bytes:
        return explanation
    return explain_heap(growth, explanation, lost, root, watch_calls(run))


def _leave_out_replaced(seen: Watch, lost: Mapping[Signal, float]) -> None:
    """Leave out of what was seen the objects that can't be what leaks, where there are no more blocks.

    Each of them takes one, in the place of another: an entry of a log that is full. Only large ones are
    malloc's alone, which are told where they are most of what is lost; what holds these may be small.
    """
    if sys.getallocatedblocks() and sum(map(_large_bytes, seen.groups)) < _MOST * max(lost.values()):
        seen.groups = [group for group in seen.groups if group.container is not None and _large_bytes(group)]
        seen.hidden = [group for group in seen.hidden if _large_bytes(group)]


def _large_bytes(group: Group) -> float:
    return group.size_bytes if group.size_bytes > LARGE_BYTES * group.per_run else 0.0


def _with_native(
    explanation: Explanation, lost: Mapping[Signal, float], run: Callable[[], str | None]
) -> Explanation:
    """Return an explanation by objects with the native memory beside them, where they are the lesser part.

    Beside descriptors and threads it is theirs: buffers and stacks.
    """
    heap_bytes = lost.get("heap", 0.0)
    all_bytes = max(heap_bytes, lost.get("resident", 0.0), lost.get("mapped", 0.0))
    found_bytes = large_bytes = 0
    for survivor in explanation.survivors:
        found_bytes += survivor.size_bytes
        large_bytes += survivor.size_bytes if survivor.size_bytes > LARGE_BYTES * survivor.count else 0
    # Heap and small objects are resident as well.
    missing = heap_bytes - large_bytes
    beyond_heap = all_bytes - max(heap_bytes, large_bytes) - (found_bytes - large_bytes)
    resident = beyond_heap > max(missing, _LEAST_RESIDENT_BYTES)
    lost_bytes = all_bytes if resident else heap_bytes
    least_bytes = max(_MOST * lost_bytes, _LEAST_BYTES)
    if (beyond_heap if resident else missing) < least_bytes or lost.keys() & {"descriptors", "threads"}:
        return explanation
    growth = measure_native_beside(run, runs=_RUNS, least_bytes=least_bytes, resident=resident)
    if growth is None:
        return explanation
    return with_native_beside(explanation, growth, native_bytes=min(growth.bytes_per_run or 0.0, lost_bytes))


def _per_run(explanation: Explanation, together: int) -> Explanation:
    """Return what was found of so many runs together, with the amounts and the confidence of a single one."""
    own, cached = (
        replace(amount, objects=amount.objects / together, bytes=amount.bytes / together)
        for amount in (explanation.own, explanation.cached)
    )
    often = max((survivor.runs for survivor in explanation.survivors), default=together)
    return replace(
        explanation,
        own=own,
        cached=cached,
        native_bytes=explanation.native_bytes / together,
        confidence=explanation.confidence / often,
    )
