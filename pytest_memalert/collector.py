"""The garbage collector and the interpreter's caches, as they were at import: tests patch these modules."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "age_all",
    "allocated_blocks",
    "callbacks_apart",
    "can_freeze",
    "clear_caches",
    "collect",
    "collect_all",
    "collect_if_due",
    "collect_young",
    "empty_free_lists",
    "freeze",
    "frozen",
    "full_collections",
    "kept_young",
    "thaw",
    "thawed",
]

freeze, thaw = gc.freeze, gc.unfreeze
_collect, _callbacks = gc.collect, gc.callbacks
# Those of the callbacks that aren't told of a collection of ours.
_told: list[Any] = []
#: Those that re-runs keep apart from it in between: they are the collector's all the same.
callbacks_apart: list[Any] = []
_count, _count_frozen, _is_enabled = gc.get_count, gc.get_freeze_count, gc.isenabled
allocated_blocks: Callable[[], int] = getattr(sys, "getallocatedblocks", lambda: 0)

# In Python 3.14 a collection of generation 1 is a step through the old objects of the process.
_YOUNG = 1 if sys.version_info < (3, 14) else 0
# So many collections of the youngest take place in no run.
_NEVER = 2**30
# Collections since the last one of the next generation, after the last call of ``collect_young``.
_counts = (-1, -1)
# Blocks after the last call of ``collect_if_due`` that collected, or fewer that were seen since.
_least_blocks = sys.maxsize
_DUE = 1.25
# How often everything that wasn't frozen was collected for us.
_FULL = 2
_full = 0
_FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
# Python 3.12 freezes what its own start-up made, about 400 objects; nobody freezes so few on purpose.
_FROZEN_AT_START = 2000


def collect(generation: int = _FULL) -> int:
    """Collect, without a word to those who asked to be called at each collection; return how much was found.

    They are the program's own, and one that keeps something each time, or raises, would do so for us.
    """
    global _full
    _full += generation == _FULL
    if not _callbacks:
        return _collect(generation)
    # No list is made: it would lie ready for the next one, whose place of allocation nobody would know.
    _told.extend(_callbacks)
    _callbacks.clear()
    try:
        return _collect(generation)
    finally:
        _told.extend(_callbacks)
        _callbacks.clear()
        _callbacks.extend(_told)
        _told.clear()


def full_collections() -> int:
    """Return how often this module has collected everything that wasn't frozen."""
    return _full


def collect_young() -> None:
    """Collect the cyclic garbage that was made since the last call.

    What came since is in generation 0, unless the collector ran by itself meanwhile. Then ``gc.collect(1)``
    has it too, and moves what it finds alive to the oldest generation: 0.1 to 20 us per test, whatever the
    size of the heap, against 40 to 500 ms for a full collection with 2 million objects
    (benchmarks/readings.py). Since every tenth one may let a full one follow, it isn't called for each test.
    A free-threaded build has no generations: nothing is collected there, and garbage counts as growth
    until a re-run clears it.
    """
    global _counts
    if _FREE_THREADED:
        return
    collect(_YOUNG if _count()[1:] != _counts else 0)
    _counts = _count()[1:]


def collect_all() -> None:
    """Collect everything that can be collected: twice, since finalizers make garbage too."""
    collect()
    collect()


def collect_if_due() -> None:
    """Collect everything where a quarter more is allocated than after the last time.

    CPython does so by itself, but begins to count anew with each collection that is asked for, be it of the
    little that isn't frozen. Where every test was checked it never came to it, and cycles that had died old
    piled up. A program that has switched the collector off is left alone.
    """
    global _least_blocks
    blocks = allocated_blocks()
    if blocks > _DUE * _least_blocks and _is_enabled():
        collect()
        _least_blocks = allocated_blocks()
    else:
        _least_blocks = min(blocks, _least_blocks)


def age_all() -> None:
    """Move everything alive to the oldest generation without visiting it, once, at the start."""
    if not _FREE_THREADED and can_freeze():
        freeze()
        thaw()


@contextmanager
def kept_young() -> Iterator[None]:
    """Have all that is made meanwhile be young in the end, so that ``collect_young`` visits it.

    Else what a long run made in its first part is old by the time that it dies. Young objects are still
    collected as they come; what survives that doesn't become old.
    """
    if _FREE_THREADED or _YOUNG == 0:
        yield
        return
    age_all()
    thresholds = gc.get_threshold()
    gc.set_threshold(thresholds[0], _NEVER, thresholds[2])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def empty_free_lists() -> None:
    """Free the tuples, lists, floats and such that the interpreter keeps ready to be used again.

    Every full collection does, and for this one nothing is left to visit. The young garbage must be gone: it
    would be old from now on.
    """
    if not _FREE_THREADED and can_freeze():
        freeze()
        collect()
        thaw()


def can_freeze() -> bool:
    """Return whether nobody has frozen objects of their own: to thaw ours would thaw theirs."""
    return _count_frozen() <= _FROZEN_AT_START


@contextmanager
def frozen() -> Iterator[None]:
    """Set aside everything alive, garbage included, so that a collection visits only what came since.

    A process that froze objects of its own is left alone: there, collections are full ones.
    """
    if not can_freeze():
        yield
        return
    freeze()
    try:
        yield
    finally:
        thaw()
        collect_if_due()


@contextmanager
def thawed() -> Iterator[None]:
    """Make visible what the process has frozen, as ``gc.get_referrers`` doesn't look into that.

    It is frozen again in the end, with what was made since: nobody can tell the two apart.
    """
    if can_freeze():
        yield
        return
    thaw()
    try:
        yield
    finally:
        collect()
        freeze()


def _find_cache_clearer() -> Callable[[], object]:
    """Return what empties the interpreter's own caches.

    The type cache holds on to up to 4,096 attribute names made at run time: without clearing
    it, 18 % of jinja2's tests drift by a few blocks per run.
    """
    for name in ("_clear_internal_caches", "_clear_type_cache"):
        clear: Callable[[], object] | None = getattr(sys, name, None)
        if clear is not None:
            return clear
    return lambda: None


clear_caches = _find_cache_clearer()
