"""The heads among what survived: the groups that lead to all others, and that a reader would name."""

from __future__ import annotations

import threading
from weakref import ReferenceType

from pytest_memalert.attribution.advice import TASKS
from pytest_memalert.attribution.groups import Group
from pytest_memalert.attribution.objects import is_kind, referents_of

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

#: What holds together what a reader would name.
PLUMBING = frozenset(
    ("dict", "list", "tuple", "set", "cell", "function", "method", "builtin_function_or_method")
)


def heads_of(groups: list[Group]) -> list[Group]:
    """Return the groups that no other survivor holds, and one of each cycle that nothing else holds.

    Minor ones are among them only where all are minor.
    """
    owner_of = {id(obj): index for index, group in enumerate(groups) for obj in group.objects}
    holds: dict[int, set[int]] = {index: set() for index in range(len(groups))}
    held: set[int] = set()
    seen: set[tuple[int, int]] = set()
    for index, group in enumerate(groups):
        for obj in group.objects[:2000]:
            for child in referents_of(obj):
                # The dict of an instance's attributes is part of the instance.
                inner: list[object] = []
                # A table that many share is none of their attributes: it is looked into once.
                if type(child) is dict and id(child) not in owner_of and (index, id(child)) not in seen:
                    seen.add((index, id(child)))
                    inner = referents_of(child)
                for held_object in (child, *inner):
                    other = owner_of.get(id(held_object))
                    if other is not None and other != index:
                        holds[index].add(other)
                        held.add(other)
    # A thread or a task is in cycles with its own parts: it is what a reader would name.
    threads = {index for index, group in enumerate(groups) if _is_thread_or_task(group)}
    indexes = range(len(groups))
    candidates = [index for index in indexes if not _is_minor(groups[index])] or list(indexes)
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
        chosen = min(left, key=lambda index: (groups[index].type in PLUMBING, -groups[index].size_bytes))
        heads.append(chosen)
        pending.append(chosen)


def _is_minor(group: Group) -> bool:
    return group.type in _MINOR or consists_of_references(group)


def consists_of_references(group: Group) -> bool:
    """Return whether a group consists of weak references."""
    return bool(group.objects) and is_kind(group.objects[0], ReferenceType)


def refers_weakly_to(wanted: set[int], group: Group) -> bool:
    """Return whether a group consists of weak references, most of them to what is wanted."""
    if not consists_of_references(group):
        return False
    ids = [id(ReferenceType.__call__(obj)) for obj in group.objects]  # type: ignore[arg-type]
    return 2 * sum(each in wanted for each in ids) > len(ids)


def _is_thread_or_task(group: Group) -> bool:
    if not group.objects:
        return False
    return is_kind(group.objects[0], threading.Thread) or group.type in TASKS
