"""Containers by their lengths: those that became longer while a test ran."""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Iterable
from itertools import islice

from pytest_memalert.attribution.objects import (
    is_kind,
    length,
    referents_of,
)

__all__ = [
    "CONTAINERS",
    "container_lengths",
    "grown_containers",
    "newest",
    "untracked_dicts",
]

CONTAINERS = (list, dict, set, deque)

#: Elements of a set that are looked at for new ones.
_MOST_ELEMENTS = 200_000


def container_lengths() -> dict[int, int]:
    """Return the length of every container by its identity (0.3 s for 500,000 of them)."""
    everything = gc.get_objects()
    # The exact types apart: it's what most are, and len() of them runs nobody's code.
    lengths = {
        id(obj): len(obj) for obj in everything if type(obj) is dict or type(obj) is list or type(obj) is set
    }
    lengths.update((id(obj), length(obj) or 0) for obj in everything if _is_derived_container(type(obj)))
    return lengths


def grown_containers(
    lengths: dict[int, int], new_ids: set[int], own: set[int], runs: int
) -> list[tuple[object, float]]:
    """Return the old containers that became longer, those that did in every run if there are any."""
    # A set made just now may lie where another was when the lengths were taken.
    own = own | {id(own), id(new_ids), id(lengths)}
    everything = gc.get_objects()
    unknown = sys.maxsize
    longer: list[object] = [
        obj
        for obj in everything
        if (type(obj) is dict or type(obj) is list or type(obj) is set)
        and len(obj) > lengths.get(id(obj), unknown)
    ]
    longer.extend(
        obj
        for obj in everything
        if _is_derived_container(type(obj)) and (length(obj) or 0) > lengths.get(id(obj), unknown)
    )
    grown = [
        (obj, (length(obj) or 0) - lengths[id(obj)])
        for obj in longer
        if id(obj) not in new_ids and id(obj) not in own and obj is not own
    ]
    steady = [(obj, added / runs) for obj, added in grown if added >= runs - 1]
    return steady or [(obj, added / runs) for obj, added in grown]


def untracked_dicts() -> list[object]:
    """Return the dicts that the collector doesn't track, as attributes and globals refer to them.

    0.3 s with a million objects. Tuples and lists are passed over: they hold such dicts as data.
    """
    found: dict[int, object] = {}
    for obj in gc.get_objects():
        kind = type(obj)
        if kind is tuple or kind is list:
            continue
        for child in referents_of(obj):
            if type(child) is dict and not gc.is_tracked(child):
                found[id(child)] = child
    return list(found.values())


def newest(holder: object, added: int) -> Iterable[object]:
    """Yield what a container took in last, without comparing; of unordered ones, everything."""
    if is_kind(holder, dict):
        # A subclass may define __reversed__ otherwise: the order of the plain dict is meant.
        items: Iterable[tuple[object, object]] = reversed(dict.items(holder))  # type: ignore[arg-type]
        for pair in list(islice(items, added)):
            yield from pair
        return
    elements = referents_of(holder)
    if is_kind(holder, (list, deque)):
        kept = elements[-added - 1 :] + elements[: added + 1]
        yield from {id(obj): obj for obj in kept}.values()
    elif len(elements) <= _MOST_ELEMENTS:
        yield from elements


def _is_derived_container(kind: type) -> bool:
    return not (kind is dict or kind is list or kind is set or kind is tuple) and issubclass(kind, CONTAINERS)
