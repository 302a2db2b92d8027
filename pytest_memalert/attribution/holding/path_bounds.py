"""What bounds the holders on a path: which of them let go of things, and which are full."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_memalert.attribution.bounding.bounds import (
    LRU_WRAPPER,
    Bound,
    bounded_holder,
    is_bound_of,
    kept_small,
)
from pytest_memalert.attribution.holding.holder import Holder
from pytest_memalert.attribution.objects import is_kind, length, referents_of, type_name

__all__ = ["PathBounds"]


class PathBounds:
    """Find bounds on paths; ``growth`` has by identity what gets longer, and by how many entries a run.

    ``survivors`` are the identities of everything the runs left behind.
    """

    def __init__(self, *, survivors: set[int], growth: Mapping[int, float]) -> None:
        self._survivors = survivors
        self._growth = growth
        self._kept_small: dict[int, Bound | None] = {}

    def of_path(
        self, path: list[object], places: list[int]
    ) -> tuple[Bound | None, frozenset[int], Bound | None, frozenset[int]]:
        """Return the first bound of the holders at these places and that of what is full, each with whose."""
        bounded, full = None, None
        bounded_by: frozenset[int] = frozenset()
        full_by: frozenset[int] = frozenset()
        for place in places:
            holder = path[place]
            if bounded is None and (bounded := self._bound_of(holder, path)) is not None:
                bounded_by = frozenset((id(holder),))
            if (filled := _full(holder)) is not None and not self.any_grows(path[place + 1 : -1]):
                full = filled
                # What lru_cache() keeps is held by a dict as well.
                tables = (id(part) for part in referents_of(holder) if _is_table_of(holder, part))
                full_by = frozenset((id(holder), *tables))
        # What is full, and gets no longer, has let go of as much as it took in.
        if bounded is not None and bounded.is_reached and not self.any_grows(path[:-1]):
            return None, frozenset(), bounded, bounded_by
        return bounded, bounded_by, full, full_by

    def any_grows(self, objects: Sequence[object]) -> bool:
        """Return whether any of these gets longer."""
        return any(id(obj) in self._growth for obj in objects)

    def with_bound(self, holder: Holder, container: object) -> Holder:
        """Return the holder of a container, with the bound of either: its own isn't looked for on the way."""
        bounded = holder.bounded or bounded_holder(container) or self.of_container(container)
        return replace(holder, bounded=bounded)

    def _bound_of(self, holder: object, path: Sequence[object]) -> Bound | None:
        bound = bounded_holder(holder)
        growing = [obj for obj in path[:-1] if id(obj) in self._growth][-1:]
        if bound is not None and (not growing or is_bound_of(holder, growing)):
            return bound
        last = next((obj for obj in reversed(path[:-1]) if id(obj) not in self._survivors), None)
        # Where nothing grows, the last one took in as much as it let go of: by now, what is old goes.
        if id(holder) not in self._growth and (growing or holder is not last):
            return None
        return self.of_container(holder)

    def of_container(self, container: object) -> Bound | None:
        """Return what surely bounds a container that takes in survivors; it reads a source file, once."""
        if id(container) not in self._kept_small:
            self._kept_small[id(container)] = kept_small(container, surely=True)
        return self._kept_small[id(container)]


def _full(holder: object) -> Bound | None:
    """Return the bound of a cache, or a deque, that lets go of one for each that it takes in."""
    if type(holder) is LRU_WRAPPER:
        info = LRU_WRAPPER.cache_info(holder)
        bound = Bound(count=info.currsize, limit=info.maxsize)
    elif is_kind(holder, deque):
        bound = Bound(count=length(holder), limit=deque.maxlen.__get__(holder))
    else:
        return None
    return bound if bound.is_reached else None


def _is_table_of(cache: object, obj: object) -> bool:
    """Return whether an object is the dict in which an lru_cache() finds what it keeps."""
    if type(cache) is not LRU_WRAPPER or type(obj) is not dict or not obj:
        return False
    return type_name(type(next(iter(dict.values(obj))))) == "functools._lru_list_elem"
