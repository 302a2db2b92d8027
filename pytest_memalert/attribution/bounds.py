"""Containers that let go of the oldest once they are full: below their bound they grow, and are no leak."""

from __future__ import annotations

import functools
import gc
import re
import sys
from collections import deque
from collections.abc import Callable
from types import FunctionType, ModuleType

from pytest_memalert.attribution.containers import CONTAINERS, container_lengths, grown_containers
from pytest_memalert.attribution.objects import (
    is_kind,
    length,
    module_dict,
    own_attributes,
    referents_of,
)
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.collector import can_freeze, clear_caches, collect, frozen

__all__ = ["LRU_WRAPPER", "bounded_holder", "filling_cache", "stdlib_bound"]

LRU_WRAPPER = type(functools.lru_cache(maxsize=1)(lambda: None))

#: Attribute names under which classes that evict keep their bound.
_BOUND_NAME = re.compile(r"(^|_)(max_?(size|len|length|entries|items)|capacity)$", re.IGNORECASE)
#: Such a class may let go only when it holds half as much again, and then of many at once.
_SLACK = 1.5

#: Module-level caches of the standard library that evict, and the constant that bounds each.
_STDLIB_BOUNDS = {
    ("re", "_cache"): "_MAXCACHE",
    ("re", "_cache2"): "_MAXCACHE2",
    ("_strptime", "_regex_cache"): "_CACHE_MAX_SIZE",
    ("fnmatch", "_cache"): "_MAXCACHE",
}

_RUNS = 2
#: The share of the survivors that a container must lead to, to be what keeps them.
_MOST = 0.5


def bounded_holder(container: object) -> str | None:
    """Return ``bounded: 37 of 1,000`` where ``container`` evicts and is below its bound, else None.

    Known are ``deque(maxlen=)``, ``functools.lru_cache(maxsize=)`` and instances with an
    attribute such as ``maxsize``, of their own or of their class, that hold, or are, a container of fewer
    elements.
    """
    try:
        return _bounded(container)
    except Exception:
        return None


def filling_cache(run: Callable[[], str | None]) -> str | None:
    """Return the bound of an evicting container that ``run`` fills with most of what it leaves; else None.

    Others may hold the same objects: through weak references whose callbacks remove them, say, or in lists
    that are emptied when an object is disposed of. ``run`` is called twice, and nothing is traced.
    """
    if not can_freeze():
        return None
    lengths = container_lengths()
    with frozen():
        collect()
        for _ in range(_RUNS):
            if attempt(run) is not None:
                return None
            clear_caches()
            collect()
        new = gc.get_objects()
    known = {id(obj) for obj in new}
    grown = [obj for obj, _ in grown_containers(lengths, known, {id(lengths), id(new), id(known)}, _RUNS)]
    ours = {id(grown), id(new)}
    holders = [obj for obj in gc.get_referrers(*grown) if id(obj) not in ours]
    # The attributes of an instance may be in a dict of their own.
    holders += gc.get_referrers(*(obj for obj in holders if type(obj) is dict))
    for holder in (*grown, *holders):
        bound = bounded_holder(holder)
        if bound is not None and _count_below(holder, known) >= _MOST * len(known):
            return bound
    return None


def stdlib_bound(module: str, variable: str, cache: object) -> str | None:
    """Return the bound of a cache that a module of the standard library keeps, as ``bounded_holder`` does."""
    constant = _STDLIB_BOUNDS.get((module, variable))
    found = sys.modules.get(module)
    if constant is None or not is_kind(found, ModuleType):
        return None
    return _bound_text(length(cache), module_dict(found).get(constant))  # type: ignore[arg-type]


def _bounded(container: object) -> str | None:
    if is_kind(container, deque):
        return _bound_text(length(container), deque.maxlen.__get__(container))
    if type(container) is LRU_WRAPPER:
        info = LRU_WRAPPER.cache_info(container)
        return _bound_text(info.currsize, info.maxsize)
    if is_kind(container, (ModuleType, FunctionType, type)):
        return None
    attributes = own_attributes(container)
    for name, limit in attributes.items():
        if type(name) is str and type(limit) is int and limit > 0 and _BOUND_NAME.search(name):
            own = length(container)
            if own:
                return _bound_text(own, limit, slack=_SLACK)
            held = [length(value) for value in attributes.values() if not is_kind(value, tuple)]
            longest = max((count for count in held if count is not None), default=None)
            return _bound_text(longest, limit, slack=_SLACK)
    return None


def _bound_text(count: int | None, limit: object, *, slack: float = 1.0) -> str | None:
    if count is None or type(limit) is not int or count >= slack * limit:
        return None
    return f"bounded: {count:,} of {limit:,}"


def _count_below(holder: object, wanted: set[int]) -> int:
    """Return how many of the ``wanted`` a holder leads to by way of others of them."""
    pending: list[object] = [holder]
    # Through the holder's attributes and its container, which are none of them.
    for _ in range(3):
        below = [child for obj in pending if not is_kind(obj, type) for child in referents_of(obj)]
        pending += [child for child in below if id(child) in wanted or is_kind(child, CONTAINERS)]
    found: set[int] = set()
    while pending:
        obj = pending.pop()
        if id(obj) in wanted and id(obj) not in found:
            found.add(id(obj))
            pending.extend(referents_of(obj))
    return len(found)
