"""The survivors of repeated runs in groups, one for each type and place of allocation."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from types import CellType, FrameType, FunctionType

from pytest_memalert.attribution.allocation.sites import (
    FRAMES,
    Frame,
    frames_of,
    is_framework,
    is_traced,
    traceback_of,
    useful,
)
from pytest_memalert.attribution.holding.edges import GENERATORS
from pytest_memalert.attribution.objects import (
    count_by_type,
    instance_dict,
    is_exactly,
    referents_of,
    type_name,
)
from pytest_memalert.attribution.sizes import flat_size, mean_size

__all__ = [
    "Group",
    "Watch",
    "count_types",
    "fold_attribute_dicts",
    "fold_closures",
    "group_of",
    "lend_sites",
    "without_accidents",
    "without_replaced",
]

# Of a type of which so small a share of what is new is more than before, the rest takes the place of others.
_REPLACED = 0.5
_CONTAINERS = (list, tuple, dict, set)
# What refers to cells directly: those of its own variables, and of those around it.
_WITH_CELLS = (FrameType, *GENERATORS)


@dataclass(slots=True, kw_only=True, eq=False)
class Group:
    """Hold the survivors of one type and one allocation site, over all the runs."""

    type: str
    objects: list[object]
    frames: tuple[Frame, ...] = ()
    framework: bool = False
    per_run: float
    size_bytes: float
    confidence: float
    #: The old containers that became longer by these objects, for those that aren't tracked.
    container: object = None
    #: The site is that of something the object holds: its own wasn't found.
    is_site_lent: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Watch:
    """Hold what a series of runs left behind.

    It refers to the survivors themselves: drop it as soon as the holders are known.
    ``grown`` has the old containers that became longer, with how much longer per run. ``opaque`` are the
    variables that have another value than before, into which can't be looked.
    Each of the ``runs`` was so many ``times`` a ``period`` of runs of the test. ``frames`` were kept of each
    allocation. ``reason`` says why there is less than was wanted.
    """

    groups: list[Group] = field(default_factory=list)
    new: list[object] = field(default_factory=list)
    grown: list[tuple[object, float]] = field(default_factory=list)
    hidden: list[Group] = field(default_factory=list)
    opaque: tuple[str, ...] = ()
    traced_bytes_per_run: float = 0.0
    exit_callbacks_per_run: float = 0.0
    runs: int = 0
    period: int = 1
    times: int = 1
    frames: int = FRAMES
    reason: str | None = None

    @property
    def together(self) -> int:
        """Return how often the test was run for each of the runs."""
        return self.period * self.times


def group_of(
    objects: list[object], per_run: float, confidence: float, new_ids: set[int], seen: set[int]
) -> Group:
    """Return the group of these survivors, the site taken from the first that has one."""
    frames: tuple[Frame, ...] = ()
    for obj in islice(objects, 50):
        frames = _frames_of_object(obj, new_ids)
        if frames:
            break
    return Group(
        type=type_name(type(objects[0])),
        objects=objects,
        frames=useful(frames),
        framework=is_framework(frames),
        is_site_lent=bool(frames)
        and not is_exactly(objects[0], _CONTAINERS)
        and traceback_of(objects[0]) is None,
        per_run=per_run,
        size_bytes=per_run * mean_size(objects, new_ids, seen),
        confidence=confidence,
    )


def _frames_of_object(obj: object, new_ids: set[int]) -> tuple[Frame, ...]:
    """Return the frames of an object's allocation, or of the first of what it alone holds.

    Of a container these tell where its contents were made: what is most of it tells as much as its own would.
    """
    frames = frames_of(traceback_of(obj))
    if frames:
        return frames
    if is_exactly(obj, _CONTAINERS):
        contents = [child for child in referents_of(obj) if not gc.is_tracked(child) and is_traced(child)]
        sizes = [flat_size(child) for child in contents]
        if sizes and 2 * max(sizes) > flat_size(obj) + sum(sizes):
            frames = frames_of(traceback_of(contents[sizes.index(max(sizes))]))
        return () if is_framework(frames) else frames
    for child in referents_of(obj):
        if id(child) in new_ids or not gc.is_tracked(child):
            frames = frames_of(traceback_of(child))
            if frames:
                return frames
    return ()


def fold_attribute_dicts(groups: list[Group]) -> None:
    """Count the ``__dict__`` of an instance as part of the instance."""
    dicts = {id(obj) for group in groups if group.type == "dict" for obj in group.objects}
    if not dicts:
        return
    owners: dict[int, Group] = {}
    for group in groups:
        if group.type in ("dict", "list", "tuple", "set"):
            continue
        for obj in group.objects:
            if any(id(child) in dicts for child in referents_of(obj)):
                attributes = instance_dict(obj)
                if attributes is not None and id(attributes) in dicts:
                    owners[id(attributes)] = group
    _fold(groups, "dict", owners)


def fold_closures(groups: list[Group]) -> None:
    """Count the closure of a function as part of it, with what the cells hold.

    Cells are made before the first line of the function around it runs: their site is that of its caller.
    """
    owners: dict[int, Group] = {}
    for group in groups:
        for obj in group.objects:
            if type(obj) is FunctionType and (closure := obj.__closure__) is not None:
                owners.setdefault(id(closure), group)
                for cell in closure:
                    owners.setdefault(id(cell), group)
            elif is_exactly(obj, _WITH_CELLS):
                for child in referents_of(obj):
                    if type(child) is CellType:
                        owners.setdefault(id(child), group)
    for kind in ("tuple", "cell"):
        _fold(groups, kind, owners)


def _fold(groups: list[Group], kind: str, owners: Mapping[int, Group]) -> None:
    """Count the objects of a type as part of their owners, which are known by their identity."""
    for group in [group for group in groups if group.type == kind]:
        folded = [owners[id(obj)] for obj in group.objects if id(obj) in owners]
        if not folded:
            continue
        for owner in folded:
            owner.size_bytes += group.size_bytes / len(group.objects)
        group.size_bytes *= 1 - len(folded) / len(group.objects)
        group.per_run *= 1 - len(folded) / len(group.objects)
        group.objects = [obj for obj in group.objects if id(obj) not in owners]
    groups[:] = [group for group in groups if group.objects]


def lend_sites(groups: list[Group], hidden: list[Group]) -> None:
    """Give the groups without a site the one site that nothing else explains.

    In Python 3.11 tracemalloc doesn't find the traces of instances that have a ``__dict__``.
    """
    without = [group for group in groups if not group.frames or group.is_site_lent]
    known = {group.frames for group in groups if not group.is_site_lent}
    free = [group for group in hidden if group.frames and group.frames not in known]
    for group in without:
        fitting = [other for other in free if other.per_run == group.per_run]
        if group.is_site_lent:
            # What the object holds was made further up the stack, in its __init__.
            below = group.frames[1:]
            fitting = [other for other in fitting if below and other.frames[: len(below)] == below]
        if len(fitting) == 1:
            group.frames, group.framework = fitting[0].frames, fitting[0].framework


def without_accidents(groups: list[Group]) -> list[Group]:
    """Return the groups without those that grew once, where others grew in most runs.

    What pytest made is an accident unless it recurs: it replaces much of its own in each run.
    """
    groups = [group for group in groups if group.confidence > 0.6 or not group.framework]
    if any(group.confidence > 0.6 for group in groups):
        return [group for group in groups if group.confidence >= 0.5]
    return groups


def count_types() -> dict[str, int]:
    """Return how many objects the collector knows of each type, by its name; 0.1 s for a million."""
    named: dict[str, int] = {}
    for kind, count in count_by_type(gc.get_objects()):
        name = type_name(kind)
        named[name] = named.get(name, 0) + count
    return named


def without_replaced(
    groups: list[Group], before: Mapping[str, int], after: Mapping[str, int], *, runs: int
) -> list[Group]:
    """Return the groups with as many objects as there are more of, before and after all the runs.

    While frozen, what takes the place of another one is new and the other still there: tasks that wait
    on timers, begun anew in each run, leave them. Lists, dicts and the like come and go everywhere: their
    number tells nothing. Where there are no more of anything, all are returned.
    """
    made: dict[str, float] = {}
    for group in groups:
        made[group.type] = made.get(group.type, 0.0) + group.per_run
    shares = {
        kind: max(0, after.get(kind, 0) - before.get(kind, 0)) / runs / new
        for kind, new in made.items()
        if new > 0
    }
    kept = []
    for group in groups:
        share = shares.get(group.type, 1.0) if "." in group.type else 1.0
        if share >= _REPLACED:
            kept.append(group)
        elif share * group.per_run >= _REPLACED:
            per_run, size_bytes = share * group.per_run, share * group.size_bytes
            kept.append(replace(group, per_run=per_run, size_bytes=size_bytes))
    return kept or groups
