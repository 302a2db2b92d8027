"""The heads among what survived: the groups that lead to all others, and that a reader would name."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from weakref import CallableProxyType, ProxyType, ReferenceType

from pytest_memalert.attribution.advising.advice import TASKS
from pytest_memalert.attribution.objects import instance_dict, is_exactly, is_kind, referents_of
from pytest_memalert.attribution.survivors.groups import Group

__all__ = ["PLUMBING", "consists_of_references", "heads_of", "refers_weakly_to"]

#: What comes along with the real survivors, as weak references do: told, but not the reason for anything.
_MINOR = frozenset(
    (
        "_thread.lock",
        "_thread.RLock",
        "method",
        "cell",
        "builtin_function_or_method",
        "functools._lru_list_elem",
    )
)

_PROXIES = (ProxyType, CallableProxyType)
_WEAK = (ReferenceType, *_PROXIES)

#: So many minor ones in a row are followed.
_DEEPEST = 3

#: What holds together what a reader would name.
PLUMBING = frozenset(
    ("dict", "list", "tuple", "set", "cell", "function", "method", "builtin_function_or_method")
)


def heads_of(groups: list[Group]) -> list[Group]:
    """Return the groups that no other survivor holds, and one of each cycle that nothing else holds.

    Minor ones are among them only where all are minor.
    """
    owner_of = {id(obj): index for index, group in enumerate(groups) for obj in group.objects}
    indexes = range(len(groups))
    called_back = _callbacks_of_proxies(groups)
    candidates = [
        index
        for index in indexes
        if not _is_minor(groups[index]) and not all(id(obj) in called_back for obj in groups[index].objects)
    ] or list(indexes)
    major = set(candidates)
    holds: dict[int, set[int]] = {index: set() for index in indexes}
    held: set[int] = set()
    for index in candidates:
        seen: set[int] = set()
        for obj in groups[index].objects[:2000]:
            for child in _held_by(obj, owner_of, major, seen):
                other = owner_of.get(id(child))
                if other is not None and other != index:
                    holds[index].add(other)
                    held.add(other)
    # A thread or a task is in cycles with its own parts: it is what a reader would name.
    threads = {index for index, group in enumerate(groups) if _is_thread_or_task(group)}
    heads = [index for index in candidates if index not in held or index in threads]
    covered: set[int] = set()
    pending = list(heads)
    while True:
        while pending:
            index = pending.pop()
            if index not in covered:
                covered.add(index)
                pending.extend(holds[index])
        left = [index for index in candidates if index not in covered]
        if not left:
            found = [groups[index] for index in heads]
            return sorted(found, key=lambda group: (-group.confidence, -group.size_bytes))
        # A cycle: told by what a reader would name, an instance before its plumbing.
        chosen = min(left, key=lambda index: (_is_plumbing(groups[index]), -groups[index].size_bytes))
        heads.append(chosen)
        pending.append(chosen)


def _callbacks_of_proxies(groups: list[Group]) -> set[int]:
    """Return the identities of what proxies call when what they refer to goes: that is all they hold."""
    proxies = (obj for group in groups for obj in group.objects if is_exactly(obj, _PROXIES))
    return {id(child) for proxy in proxies for child in referents_of(proxy)}


def _held_by(obj: object, owner_of: dict[int, int], major: set[int], seen: set[int]) -> Iterator[object]:
    """Yield what an object holds, by itself or through its attributes and through minor survivors.

    Of a minor group all are alike but for what they lead to: one method is of one object.
    """
    pending = [(child, 0) for child in referents_of(obj)]
    while pending:
        child, depth = pending.pop()
        yield child
        owner = owner_of.get(id(child))
        if owner is not None and owner not in major and depth < _DEEPEST:
            pending += [(each, depth + 1) for each in referents_of(child)]
        # The dict of an instance's attributes is part of the instance; a function refers to that of its
        # module, and a built-in method to the one that it is of. A table that many share is looked into once.
        elif type(child) is dict and owner is None and id(child) not in seen and instance_dict(obj) is child:
            seen.add(id(child))
            yield from referents_of(child)


def _is_plumbing(group: Group) -> bool:
    return group.type in PLUMBING or group.type.startswith("collections.")


def _is_minor(group: Group) -> bool:
    return group.type in _MINOR or consists_of_references(group)


def consists_of_references(group: Group) -> bool:
    """Return whether a group consists of weak references, or of proxies, which are such."""
    return bool(group.objects) and is_kind(group.objects[0], _WEAK)


def refers_weakly_to(wanted: set[int], group: Group) -> bool:
    """Return whether a group consists of weak references, most of them to what is wanted."""
    if not consists_of_references(group) or is_kind(group.objects[0], _PROXIES):
        return False  # what a proxy refers to answers for it
    ids = [id(ReferenceType.__call__(obj)) for obj in group.objects]  # type: ignore[arg-type]
    return 2 * sum(each in wanted for each in ids) > len(ids)


def _is_thread_or_task(group: Group) -> bool:
    if not group.objects:
        return False
    return is_kind(group.objects[0], threading.Thread) or group.type in TASKS
