"""What holds each group of survivors: of the holders of its objects, the one that a reader can do most about.

Those of single objects are searched in ``holders``.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from weakref import ReferenceType

from pytest_memalert.attribution.allocation.packages import origin_of_name
from pytest_memalert.attribution.containers import newest
from pytest_memalert.attribution.heads import PLUMBING, consists_of_references
from pytest_memalert.attribution.holding.holder import UNREFERRED, Holder
from pytest_memalert.attribution.holding.holders import HolderSearch
from pytest_memalert.attribution.objects import is_kind, items_of, own_attributes, referents_of, referrers_of
from pytest_memalert.attribution.survivors.groups import Group, Watch

__all__ = [
    "cache_limit",
    "finalizes_others",
    "holders_of",
    "is_parameter",
    "is_users",
    "is_weak",
    "owner_of",
    "parts_of_others",
]

#: The kinds of roots, those that a reader can do most about first.
_ROOTS = (
    *("module", "class", "fixture", "hook", "context", "thread", "function", "frame", "pytest", "object"),
    "none",
)

#: Where pytest keeps the values that tests are parametrized with.
_PARAMETERS = frozenset({"CallSpec", "CallSpec2", "Mark", "ParameterSet"})

#: So many full caches are passed over.
_FULL_CACHES = 3

_LIST_OF_THREADS = "module threading _active"
_WEAK_KEYS = "weakref.WeakKeyDictionary"
_WEAK_CONTAINERS = frozenset(("_weakrefset.WeakSet", _WEAK_KEYS, "weakref.WeakValueDictionary"))
_FINALIZER = "weakref.finalize._Info"
#: So many objects that a survivor leads to are looked at.
_MOST_VISITED = 5000


def holders_of(seen: Watch, heads: list[Group]) -> list[Holder | None]:
    """Return the holder of each head, unbounded ones preferred.

    That is a cache that is full only where something else holds another head.
    """
    ours = {id(seen), id(seen.groups), id(seen.new), id(seen.grown), id(heads)}
    ours.update(id(pair) for pair in seen.grown)
    for group in (*seen.groups, *seen.hidden):
        ours.update((id(group), id(group.objects)))
    search = HolderSearch(
        survivors={id(obj) for group in seen.groups for obj in group.objects},
        ours=ours,
        grown=seen.grown,
        together=seen.together,
    )
    holders: list[Holder | None] = [None] * len(heads)
    targets: list[object] = []
    origins: list[int] = []
    for index, group in enumerate(heads):
        # What the collector doesn't track has no visible referrer: its container is known instead.
        targets += _some(group) if group.container is None else [group.container]
        origins += [index] * (len(targets) - len(origins))
    for index, found in zip(origins, search.find(targets), strict=True):
        current = holders[index]
        if found is not None and (current is None or _rank(found) < _rank(current)):
            holders[index] = found
    targets.clear()
    for index, holder in enumerate(holders):
        container = heads[index].container
        if holder is not None and container is not None:
            if holder.root == "none" and (stream := _stream_of(heads[index], seen)) is not None:
                holder, container = search.find([stream])[0] or holder, stream
            holders[index] = search.bounds.with_bound(holder, container)
        elif holder is not None and holder.bounded is not None:
            other = search.find([heads[index].objects[0]], without=holder.bounded_by)[0]
            if other is not None and other.bounded is None and other.root not in ("none", "object"):
                holders[index] = other
    if not any(holder is not None and holder.root != "pytest" and not holder.full_by for holder in holders):
        for index, holder in enumerate(holders):
            if holder is not None and holder.full_by and heads[index].objects:
                holders[index] = _beyond_full(heads[index].objects, holder, search, seen)
    return [_with_weak_key(holder, seen) for holder in holders]


def _with_weak_key(holder: Holder | None, seen: Watch) -> Holder | None:
    """Return the holder, saying whether what a WeakKeyDictionary took in leads to its own key."""
    if holder is None or _WEAK_KEYS not in holder.types or holder.keeper is None:
        return holder
    table = next((obj for obj, _ in seen.grown if id(obj) == holder.keeper[0]), None)
    new = {id(obj) for obj in seen.new}
    entries = items_of(table) if type(table) is dict else []
    reference, value = next((entry for entry in reversed(entries) if id(entry[1]) in new), (None, None))
    keeps = type(reference) is ReferenceType and _leads_to([value], {id(reference())}, new)
    return replace(holder, keeps_weak_key=keeps)


def _passed_on_to(kind: type, seen: Watch, search: HolderSearch) -> Holder | None:
    """Return what holds the older ones of a type: a container that gets longer by what a full one drops.

    The newest are in the full one still.
    """
    elements = (
        element
        for container, per_run in seen.grown
        for element in newest(container, max(1, round(per_run)))
        if type(element) is kind
    )
    found = (search.find([element])[0] for element in elements)
    return next((holder for holder in found if holder is not None and _keeps_on(holder)), None)


def _keeps_on(holder: Holder) -> bool:
    """Return whether something is known to hold, and doesn't let go of one for each that it takes in."""
    return holder.root != "none" and not holder.full_by


def _beyond_full(objects: list[object], holder: Holder, search: HolderSearch, seen: Watch) -> Holder:
    """Return what holds the first of some objects besides caches that are full, or takes over from them.

    The first if that is unknown.
    """
    without: frozenset[int] = frozenset()
    found: Holder | None = holder
    for _ in range(_FULL_CACHES):
        if found is None or not found.full_by:
            break
        without |= found.full_by
        found = search.find(objects[:1], without=without)[0]
    if found is None and _hidden_references(objects) > _hidden_references([object()]):
        found = replace(UNREFERRED, full=holder.full)
    beyond = found or holder
    return beyond if _keeps_on(beyond) else _passed_on_to(type(objects[0]), seen, search) or beyond


def _hidden_references(objects: list[object]) -> int:
    """Return how many references to the first of some objects the collector doesn't see, ours among them."""
    one = objects[:1]
    seen = sum(child is one[0] for referrer in referrers_of(one) for child in referents_of(referrer))
    return sys.getrefcount(one[0]) - seen


def _stream_of(group: Group, seen: Watch) -> object:
    """Return the io.StringIO that became longer by texts: nothing visible refers to its list of them."""
    if group.type != "str":
        return None
    return next((obj for obj, _ in seen.grown if type(obj) is io.StringIO), None)


def _some(group: Group) -> list[object]:
    """Return a few objects of a group, from which its holder is searched: oldest, middle, newest.

    Any of them may be the one that a root holds. The newest is what the head of a linked list holds; the
    oldest is surely no last result.
    """
    last = len(group.objects) - 1
    return [group.objects[index] for index in sorted({0, last // 2, last})]


def _rank(holder: Holder) -> tuple[int, int]:
    return _ROOTS.index(holder.root), len(holder.hops)


def owner_of(
    group: Group, heads: list[Group], found: dict[int, Holder | None], new: set[int]
) -> Holder | None:
    """Return the holder of the head that leads to a group, the first found."""
    wanted = {id(obj) for obj in group.objects}
    if group.container is not None:
        return None
    for head in heads:
        if _leads_to(_some(head), wanted, new):
            return found.get(id(head))
    return None


def _leads_to(pending: list[object], wanted: set[int], new: set[int]) -> bool:
    """Return whether any of some objects leads, by new ones, to one of those that are wanted."""
    visited: set[int] = set()
    while pending and len(visited) < _MOST_VISITED:
        current = pending.pop()
        if id(current) in wanted:
            return True
        if id(current) in visited or is_kind(current, ModuleType):
            continue
        visited.add(id(current))
        pending.extend(child for child in referents_of(current) if id(child) in new)
    return False


def parts_of_others(groups: list[Group], paths: Mapping[int, Holder | None]) -> list[Group]:
    """Return what only seems unheld, being part of what is held, and what is told of a thread by the thread.

    It was made in the same line, or as often by the same calls; or it is a tuple or the like of which nothing
    is known, beside what is held. A stream doesn't tell the collector of its decoder, an exception of its
    arguments, or a class of the table of its subclasses: that is no missing decref. Nor does a thread that
    runs tell of what the expression that it waits in has on its stack; and ``threading`` lists it.
    """
    held: set[object] = set()
    unheld, has_held = [], False
    holders = [holder for holder in paths.values() if holder is not None]
    has_thread = any(holder.root == "thread" for holder in holders)
    for group in groups:
        holder = paths[id(group)]
        if holder is None:
            continue
        if holder.root == "none" or (has_thread and holder.identity == _LIST_OF_THREADS):
            unheld.append(group)
        else:
            has_held = True
            held |= {group.frames[0], (group.frames[1:], group.per_run)} if group.frames else set()
    return [
        group
        for group in unheld
        if has_thread
        or (group.frames[:1] and group.frames[0] in held)
        or (group.frames[1:] and (group.frames[1:], group.per_run) in held)
        or (has_held and not group.frames and group.type in PLUMBING)
        or (has_held and _lists_subclasses(group))
    ]


def _lists_subclasses(group: Group) -> bool:
    """Return whether it is the table that a class has of its subclasses."""
    table = group.objects[0] if group.objects else None
    values = [value for _, value in items_of(table)] if type(table) is dict else []
    references = [value for value in values if type(value) is ReferenceType]
    return 0 < len(values) == len(references) and all(is_kind(each(), type) for each in references)


def cache_limit(holder: Holder | None) -> int:
    """Return how many a cache keeps of what it takes in, where it holds something; 0 where none does."""
    bounds = () if holder is None else (holder.full if holder.full_by else None, holder.bounded)
    return max((bound.limit or 0 for bound in bounds if bound is not None), default=0)


def is_weak(group: Group, holder: Holder | None) -> bool:
    """Return whether a group consists of weak references, or is held by a container of such."""
    return consists_of_references(group) or bool(
        holder is not None and _WEAK_CONTAINERS.intersection(holder.types) and not holder.keeps_weak_key
    )


def finalizes_others(group: Group, new: set[int]) -> bool:
    """Return whether a group is of finalizers that wait for other survivors, and lead to none of these.

    They are there as long as what they watch: something else keeps that.
    """
    if group.type != _FINALIZER or not group.objects:
        return False
    attributes = own_attributes(group.objects[0])
    reference = attributes.pop("weakref", None)
    watched = reference() if type(reference) is ReferenceType else None
    return id(watched) in new and not _leads_to(list(attributes.values()), {id(watched)}, new)


def is_parameter(holder: Holder | None) -> bool:
    """Return whether something is kept by a value that a test, or its fixture, is parametrized with."""
    if holder is None:
        return False
    if holder.root == "fixture":
        return holder.variable == "params"
    return holder.root == "pytest" and holder.root_name.rpartition(".")[2] in _PARAMETERS


def is_users(holder: Holder | None) -> bool:
    """Return whether a variable of the user's own holds something: then it is theirs, whoever made it.

    Not so by way of an object of pytest's or a plugin's, which the variable merely refers to.
    """
    if holder is None or holder.root not in ("module", "class"):
        return False
    between = map(origin_of_name, holder.types[:-1])
    return origin_of_name(holder.root_name) == "user" and "framework" not in between
