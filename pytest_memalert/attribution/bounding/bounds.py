"""Containers that let go of the oldest once they are full: below their bound they grow, and are no leak."""

from __future__ import annotations

import functools
import gc
import io
import re
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from types import (
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)
from weakref import ReferenceType

from pytest_memalert.attribution.bounding.eviction import find_eviction
from pytest_memalert.attribution.containers import (
    CONTAINERS,
    container_lengths,
    grown_containers,
    newest,
    untracked_dicts,
)
from pytest_memalert.attribution.objects import (
    bases_of,
    class_attribute,
    class_constants,
    class_dict,
    is_exactly,
    is_kind,
    length,
    own_attributes,
    referents_of,
    referrers_of,
    type_name,
)
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.attribution.sizes import flat_size
from pytest_memalert.clock import monotonic_s
from pytest_memalert.collector import clear_caches, collect, frozen, thawed
from pytest_memalert.records import record

__all__ = [
    "LRU_WRAPPER",
    "Bound",
    "bounded_holder",
    "filling_cache",
    "is_bound_of",
    "kept_small",
]

LRU_WRAPPER = type(functools.lru_cache(maxsize=1)(lambda: None))

#: Attribute names under which classes that evict keep their bound, after words that say of what.
_BOUND_NAME = re.compile(
    r"^(?P<what>(?:.*_)??)(max_?(size|len|length|entries|items)|capacity)$", re.IGNORECASE
)
#: Words that any bound's name may have.
_ANY_BOUND = frozenset({"", "cache", "default", "lru", "max", "maximum", "total"})
#: More is bytes, as of an upload, or a bound that no test comes to.
_LARGEST_BOUND = 1_000_000
#: Such a class may let go only when it holds half as much again, and then of many at once.
_SLACK = 1.5
_STREAMS = (io.BytesIO, io.StringIO)
#: A timer that is due by then is no leak.
_SOON_S = 60.0

_RUNS = 2
#: The share of the survivors that a container must lead to, to be what keeps them.
_MOST = 0.5
# Objects whose holders are looked at; and the places of a list that nobody would fill one by one.
_HEADS = 64
_FEWEST_PLACES = 16


@record(frozen=True, slots=True, kw_only=True)
class Bound:
    """Say what bounds a container: ``way`` is what keeps it so, where that isn't the container itself.

    ``limit`` and ``count`` are the elements that it may have and has, where they are known.
    """

    count: int | None = None
    limit: int | None = None
    way: str = ""

    @property
    def text(self) -> str:
        """Return what is told of it, such as ``bounded: 37 of 1,000, by app.put``."""
        if self.limit is None:
            return self.way
        told = "" if self.count is None else f"{self.count:,} of {self.limit:,}"
        return f"bounded: {', '.join(filter(None, (told, self.way)))}"

    @property
    def is_known(self) -> bool:
        """Return whether the limit is known as a number."""
        return self.limit is not None

    @property
    def is_reached(self) -> bool:
        """Return whether there are as many elements as the limit, or more."""
        return self.limit is not None and self.count is not None and self.count >= self.limit


def bounded_holder(container: object) -> Bound | None:
    """Return the bound of ``container`` where it evicts and is below it, else None.

    Known are ``deque(maxlen=)``, ``functools.lru_cache(maxsize=)`` and instances with an
    attribute such as ``maxsize`` that hold, or are, a container of fewer elements. A constant of the class
    counts where they are one: elsewhere it is the bound of something else, as of an upload's size.
    """
    try:
        return _bounded(container)
    except Exception:
        return None


def is_bound_of(holder: object, containers: Iterable[object]) -> bool:
    """Return whether the bound that a holder has is that of one of the containers, which grow.

    A cache whose entry grows, or is replaced in each run, keeps to its bound and bounds nothing: one that
    fills has more than a few entries by now.
    """
    try:
        kept = {id(holder)}
        # What a container holds are its entries.
        if not is_kind(holder, CONTAINERS):
            kept |= {*map(id, referents_of(holder)), *map(id, own_attributes(holder).values())}
        entries = LRU_WRAPPER.cache_info(holder).currsize if type(holder) is LRU_WRAPPER else None
    except Exception:
        return False
    # What lru_cache() keeps is referred to by it as well as by its dict.
    return any(
        id(container) in kept
        and (count := length(container) or 0) > _RUNS
        and (entries is None or (type(container), count) == (dict, entries))
        for container in containers
    )


@thawed()
def filling_cache(
    run: Callable[[], str | None], *, heap_bytes: float = 0.0, blocks: float = 0.0, lasted_s: float = 0.0
) -> Bound | None:
    """Return what lets go, or will, of most of what ``run`` leaves; None where nothing does.

    That is an evicting container which it fills with most of the objects, or of the ``blocks``, and of the
    ``heap_bytes`` that each run takes; or whoever made weak references to what is gone.
    Others may hold the same objects: through weak references whose callbacks remove them, say, or in lists
    that are emptied when an object is disposed of. ``run`` is called twice, and nothing is traced. It grew
    for ``lasted_s`` so far: what is over sooner doesn't.
    """
    lengths = container_lengths()
    dicts = [(obj, length(obj) or 0) for obj in untracked_dicts()]
    with frozen():
        collect()
        for _ in range(_RUNS):
            if attempt(run) is not None:
                return None
            clear_caches()
            collect()
        new = gc.get_objects()
    left = _Left(new, heap_bytes=heap_bytes, blocks=blocks)
    grown = grown_containers(lengths, left.known, {id(lengths), id(new), id(left.known)}, _RUNS)
    longer = ((obj, (length(obj) or 0) - count) for obj, count in dicts)
    grown += [(obj, added / _RUNS) for obj, added in longer if added > 0]
    containers = [obj for obj, _ in grown]
    ours = {id(grown), id(dicts), id(containers), id(new), *map(id, grown), *map(id, dicts)}
    holders = [obj for obj in gc.get_referrers(*containers) if id(obj) not in ours]
    if left.is_mostly_dead_references() and not any(
        # A variable or an attribute keeps it: nobody lets go of that in bulk.
        left.is_mostly_below(container) and _is_in_dict(container, holders)
        for container in containers
    ):
        way = "weak references to what is gone, which are let go in bulk: sqlite3 keeps those of 200 cursors"
        return Bound(way=way)
    left.taken_in.update((id(obj), round(added * _RUNS)) for obj, added in grown)
    # The attributes of an instance may be in a dict of their own.
    holders += gc.get_referrers(*(obj for obj in holders if type(obj) is dict))
    for holder in (*containers, *holders):
        bound = bounded_holder(holder)
        if bound is not None and left.is_mostly_below(holder) and is_bound_of(holder, containers):
            return bound
    for container, added in grown:
        if left.is_mostly_below(container, added=round(added * _RUNS)):
            return kept_small(container, lasted_s=lasted_s)
    for holder in referrers_of(left.heads()):
        places = lengths.get(id(holder), 0)
        if type(holder) is list and len(holder) == places >= _FEWEST_PLACES and left.is_mostly_below(holder):
            return Bound(limit=places, way=f"a list of {places:,} that gets no longer")
    return None


def _is_in_dict(obj: object, holders: Iterable[object]) -> bool:
    """Return whether one of the holders that has an object is a dict."""
    return any(
        type(holder) is dict and any(child is obj for child in referents_of(holder)) for holder in holders
    )


class _Left:
    """Hold what the runs left, and what each of them takes."""

    # A dict of attributes, made just now, may lie where a shorter one was before the runs.
    __slots__ = ("_blocks", "_heap_bytes", "_new", "known", "taken_in")

    def __init__(self, new: list[object], *, heap_bytes: float, blocks: float) -> None:
        self.known = {id(obj) for obj in new}
        self._new = new
        self._heap_bytes = heap_bytes
        self._blocks = blocks
        #: How many entries containers took in, by identity.
        self.taken_in: dict[int, int] = {}

    def heads(self) -> list[object]:
        """Return some of those that no other refers to."""
        inner = {id(child) for obj in self._new for child in referents_of(obj)}
        return [obj for obj in self._new if id(obj) not in inner][:_HEADS]

    def is_mostly_dead_references(self) -> bool:
        """Return whether most of it are weak references to what is gone."""
        references = (obj for obj in self._new if is_kind(obj, ReferenceType))
        dead = [obj for obj in references if ReferenceType.__call__(obj) is None]  # type: ignore[arg-type]
        has_blocks = 0 < self._blocks <= len(dead) / _RUNS / _MOST
        return has_blocks and sum(map(flat_size, dead)) / _RUNS >= _MOST * self._heap_bytes

    def is_mostly_below(self, holder: object, *, added: int = 0) -> bool:
        """Return whether a holder leads to most of it; ``added`` elements of it are new, tracked or not."""
        below, untracked = _below(holder, self.known)
        is_lru = type(holder) is LRU_WRAPPER
        entries = _newest_entries(holder, self.taken_in) if is_lru else newest(holder, added)
        plain = {id(obj): obj for obj in (*untracked, *entries) if not gc.is_tracked(obj)}
        size_bytes = sum(map(flat_size, (*below, *plain.values()))) / _RUNS
        # What a run replaces is new as well, but takes no blocks: they tell where there is much of it.
        blocks = (len(plain) + sum(2 if is_kind(obj, CONTAINERS) else 1 for obj in below)) / _RUNS
        has_objects = bool(below) and len(below) >= _MOST * len(self.known)
        has_blocks = self._blocks > 0 and blocks >= _MOST * self._blocks
        return (has_objects or has_blocks) and size_bytes >= _MOST * self._heap_bytes


def _newest_entries(cache: object, taken_in: Mapping[int, int]) -> list[object]:
    """Return what an lru_cache() has taken in last: keys, what holds them, values and what these hold.

    It refers to each key and value with the type of what holds the two, the oldest first, before all else but
    its own type.
    """
    referents = referents_of(cache)
    table = next((child for child in referents if id(child) in taken_in), None)
    if table is None:
        return []
    added, entries = taken_in[id(table)], LRU_WRAPPER.cache_info(cache).currsize  # type: ignore[arg-type]
    found = [*newest(table, added), *referents[1 : 1 + 3 * entries][-3 * added :]]
    return [*found, *(child for obj in found if type(obj) is tuple for child in referents_of(obj))]


def kept_small(container: object, *, surely: bool = False, lasted_s: float = 0.0) -> Bound | None:
    """Return how the code that adds to a container keeps it small; None where it doesn't.

    ``surely`` asks for what bounds it: a length, be it known or not, or the age or size of its elements.
    It has grown for ``lasted_s``.
    """
    if _are_timers(container, lasted_s):
        return Bound(way="timers of asyncio's, which it drops in bulk or which are soon over")
    found = find_eviction(container)
    if found is None or (surely and found.by is None):
        return None
    if found.limit is None:
        return Bound(way=f"{found.function} removes from it{f' by {found.by}' if found.by else ', too'}")
    count = _extent(container)
    # The code lets go at the limit, or adds one and lets go: what is longer isn't kept by it.
    if count is None or count > found.limit + 1:
        return None
    return Bound(count=count, limit=found.limit, way=f"by {found.function}")


def _extent(container: object) -> int | None:
    """Return how many elements a container has, or how much was written to a stream."""
    if not is_exactly(container, _STREAMS):
        return length(container)
    try:
        return container.tell()  # type: ignore[attr-defined, no-any-return]
    except ValueError:  # closed
        return None


def _are_timers(container: object, lasted_s: float) -> bool:
    """Return whether a container is what an event loop has scheduled, all of it cancelled or soon due.

    asyncio drops those that are cancelled once they are half of all. What is due much sooner than after the
    time for which it grew would be over: tasks that set a timer again and again are not.
    """
    events = sys.modules.get("asyncio.events")
    if events is None or type(container) is not list or not container:
        return False
    kind, now_s = events.TimerHandle, monotonic_s()
    if any(type(timer) is not kind for timer in container):
        return False
    due_s = [kind.when(timer) - now_s for timer in container if not kind.cancelled(timer)]
    return not due_s or lasted_s / 2 <= max(due_s) <= _SOON_S


def _bounded(container: object) -> Bound | None:
    if is_kind(container, deque):
        return _below_limit(length(container), deque.maxlen.__get__(container))
    if type(container) is LRU_WRAPPER:
        info = LRU_WRAPPER.cache_info(container)
        return _below_limit(info.currsize, info.maxsize)
    if is_kind(container, (ModuleType, FunctionType, type)):
        return None
    attributes = own_attributes(container)
    own = length(container)
    limits = attributes if own is None else {**class_constants(type(container)), **attributes}
    for name, limit in limits.items():
        if type(name) is not str or type(limit) is not int or not 0 < limit <= _LARGEST_BOUND:
            continue
        if (words := _words_of_bound(name)) is None:
            continue
        kind = type_name(type(container)).rpartition(".")[2]
        if own:
            if _is_of(words, kind):
                return _below_limit(own, limit, slack=_SLACK)
            continue
        held = [
            length(value)
            for attribute, value in attributes.items()
            if not is_kind(value, tuple) and _is_of(words, f"{kind} {attribute}")
        ]
        longest = max((count for count in held if count is not None), default=None)
        if longest is not None:
            return _below_limit(longest, limit, slack=_SLACK)
    return _compiled_bound(container)


def _words_of_bound(name: str) -> frozenset[str] | None:
    """Return the words that say what is bounded, where an attribute's name is that of a bound; else None."""
    found = _BOUND_NAME.match(name.rpartition("__")[2])
    return None if found is None else frozenset(found["what"].lower().split("_")) - _ANY_BOUND


def _is_of(words: Collection[str], named: str) -> bool:
    """Return whether a bound is one of what is named: that of a table is none of the streams beside it."""
    return not words or any(word in named.lower() for word in words)


def _compiled_bound(container: object) -> Bound | None:
    """Return the bound of an instance of a compiled class, which has it and its length in C."""
    kind = type(container)
    count = class_attribute(kind, "__len__")
    if not is_exactly(count, (WrapperDescriptorType,)):
        return None
    names = {
        name for base in bases_of(kind) for name in class_dict(base) if _words_of_bound(name) == frozenset()
    }
    for name in sorted(names):
        limit = class_attribute(kind, name)
        if is_exactly(limit, (GetSetDescriptorType, MemberDescriptorType)):
            return _below_limit(count(container), limit.__get__(container))  # type: ignore[operator, attr-defined]
    return None


def _below_limit(count: int | None, limit: object, *, slack: float = 1.0) -> Bound | None:
    if count is None or type(limit) is not int or count >= slack * limit:
        return None
    return Bound(count=count, limit=limit)


def _below(holder: object, wanted: set[int]) -> tuple[list[object], list[object]]:
    """Return those of the ``wanted`` that a holder leads to by way of others, and what they refer to else.

    The latter is what the collector doesn't track: texts, numbers, bytes.
    """
    # The holder's attributes and its container are none of the wanted.
    frontier: list[object] = [holder]
    pending: list[object] = []
    for _ in range(3):
        children = [child for obj in frontier for child in referents_of(obj) if not is_kind(child, type)]
        pending += [child for child in children if id(child) in wanted]
        containers = (child for child in children if id(child) not in wanted and is_kind(child, CONTAINERS))
        frontier = list({id(child): child for child in containers}.values())
    found: dict[int, object] = {}
    untracked: dict[int, object] = {}
    while pending:
        obj = pending.pop()
        if id(obj) in found:
            continue
        found[id(obj)] = obj
        for child in referents_of(obj):
            if id(child) in wanted:
                pending.append(child)
            elif not gc.is_tracked(child):
                untracked[id(child)] = child
    return list(found.values()), list(untracked.values())
