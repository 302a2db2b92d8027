"""Containers by their lengths: those that became longer while a test ran."""

from __future__ import annotations

import gc
import sys
from collections import deque

from pytest_memalert.attribution.objects import length

__all__ = ["CONTAINERS", "container_lengths", "grown_containers"]

CONTAINERS = (list, dict, set, deque)


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
        if id(obj) not in new_ids and id(obj) not in own
    ]
    steady = [(obj, added / runs) for obj, added in grown if added >= runs - 1]
    return steady or [(obj, added / runs) for obj, added in grown]


def _is_derived_container(kind: type) -> bool:
    return not (kind is dict or kind is list or kind is set or kind is tuple) and issubclass(kind, CONTAINERS)
