"""Sizes of objects, found without running code of their own."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from types import MethodDescriptorType

from pympler import asizeof

from pytest_memalert.attribution.allocation.sites import is_traced
from pytest_memalert.attribution.objects import class_attribute, is_exactly, is_heap_type, referents_of

__all__ = ["flat_size", "mean_size", "own_size"]

_GC_HEADER_BYTES = 16
# So many of several objects are measured, twice as many at most.
_MEASURED = 1000
_FAR_LARGER = 20


def mean_size(objects: Sequence[object], new_ids: set[int], seen: set[int]) -> float:
    """Return the mean of the own sizes of objects of one type and place; of very many some tell it."""
    measured = objects[:: max(1, len(objects) // _MEASURED)]
    sizes = sorted(own_size(obj, new_ids, seen) for obj in measured)
    # A few that are much larger than the others, as the list of them all, stand for themselves alone.
    is_sample, typical = len(measured) < len(objects), sizes[len(sizes) // 2]
    large = [size for size in sizes if is_sample and size > _FAR_LARGER * typical]
    usual_bytes = (sum(sizes) - sum(large)) / (len(sizes) - len(large))
    return usual_bytes + sum(large) / len(objects)


def own_size(obj: object, new_ids: set[int], seen: set[int]) -> int:
    """Return the size in bytes of a survivor with the untracked objects that are new and only its own.

    What was traced was allocated during the runs; classes, modules and constants were not.
    """
    total = 0
    pending = [obj]
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        total += flat_size(current)
        if current is obj or is_exactly(current, (tuple, dict)):
            pending.extend(
                child
                for child in referents_of(current)
                if not gc.is_tracked(child) and id(child) not in new_ids and is_traced(child)
            )
    return total


def flat_size(obj: object) -> int:
    """Return the size of an object in bytes, its own buffers included, what it refers to not.

    A ``__sizeof__`` written in Python isn't run: the size of the instance itself is taken. Types
    written in C are left to pympler, which knows arrays and views that report too little; it
    looks at attributes, so it isn't shown an instance of a class that could answer by itself.
    """
    kind = type(obj)
    # Of a class pympler takes notes, which would keep the class alive.
    if kind is not type and not is_heap_type(kind):
        try:
            return int(asizeof.flatsize(obj))  # type: ignore[no-untyped-call]
        except Exception:
            pass  # it refuses what it doesn't know
    try:
        if type(class_attribute(kind, "__sizeof__")) is MethodDescriptorType:
            return sys.getsizeof(obj)
        return object.__sizeof__(obj) + (_GC_HEADER_BYTES if gc.is_tracked(obj) else 0)
    except Exception:
        return 0
