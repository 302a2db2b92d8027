"""Explain a confirmed leak: what survives each run, where it was allocated, what holds it.

The test is run again a few times with allocations traced and the heap frozen, so that what
the runs left behind is known by identity (``survivors``); the allocation sites are cut to the
user's frames (``sites``); what others of them lead to is left out (``heads``), the holders
of the rest are searched in the thawed heap (``group_holders``, ``holders``), and of these some
speak for the leak (``selection``, ``by_objects``); memory that no
Python object accounts for is measured apart (``native``), descriptors and threads are traced to who
opened them (``by_system``); and what to do follows from all of it (``advice``).

Trouble on the way yields fewer facts, never an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_memalert.attribution.by_objects import explain_objects
from pytest_memalert.attribution.by_system import explain_heap, with_system_advice
from pytest_memalert.attribution.calls import watch_calls
from pytest_memalert.attribution.descriptors import open_descriptors
from pytest_memalert.attribution.explanation import Explanation
from pytest_memalert.attribution.native import measure_native_growth
from pytest_memalert.attribution.objects import type_name
from pytest_memalert.attribution.selection import SURE
from pytest_memalert.attribution.survivors import watch
from pytest_memalert.collector import thawed
from pytest_memalert.model import Signal

__all__ = ["explain"]

#: So often is the test run, traced: growth must show more than once.
_RUNS = 4

# The share of what is lost that must be accounted for.
_MOST = 0.5


def explain(
    run: Callable[[], str | None], *, lost: Mapping[Signal, float] | None = None, root: Path | None = None
) -> Explanation:
    """Return what each call of ``run`` leaves behind, and why.

    ``run`` runs the test once and returns None, or the reason why this run is no evidence.
    It is called a few times, traced, and where no object is found, a few times more. ``lost`` has how
    much of each signal a run is known to take, where it is. The signature names files from ``root``,
    else from the current directory.

    Do not call it while tracemalloc traces for another purpose: it then has only the frames
    that tracing was started with.
    """
    try:
        descriptors = open_descriptors()
        known = lost or {}
        with thawed():
            explanation = _explain(run, known, root)
        opened = open_descriptors() - descriptors
        return with_system_advice(explanation, known, opened, run, root)
    except Exception as error:
        return Explanation(reason=f"explaining it failed: {type_name(type(error))}")


def _explain(run: Callable[[], str | None], lost: Mapping[Signal, float], root: Path | None) -> Explanation:
    # Where no block is lost, it may be a buffer that takes more and more of the heap.
    with_buffers = bool(lost) and "blocks" not in lost
    seen = watch(run, runs=_RUNS, with_buffers=with_buffers)
    if seen.reason is not None and seen.runs < 2:
        # Some tests look at the collector themselves, and fail while the heap is frozen.
        reason = seen.reason
        seen = watch(run, runs=_RUNS, freezing=False, with_buffers=with_buffers)
        if seen.runs < 2:
            return Explanation(reason=seen.reason or reason, runs=seen.runs)
    explanation = explain_objects(seen, root, run)
    del seen
    found_bytes = sum(survivor.size_bytes for survivor in explanation.survivors)
    heap_bytes = lost.get("heap", 0.0)
    lost_bytes = max(heap_bytes, lost.get("resident", 0.0), lost.get("mapped", 0.0))
    is_told = not with_buffers or found_bytes >= _MOST * lost_bytes
    if (explanation.confidence >= SURE and is_told) or explanation.framework:
        return explanation
    bypasses_heap = bool(lost) and heap_bytes < _MOST * lost_bytes
    growth = measure_native_growth(run, runs=_RUNS, resident=bypasses_heap)
    if explanation.survivors and (growth.bytes_per_run or 0.0) < 4 * found_bytes:
        return explanation
    return explain_heap(growth, explanation, lost, root, watch_calls(run))
