"""Survivors that the collector doesn't track (bytes, str, numbers): what old containers took in."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterable
from tracemalloc import Traceback

from pytest_memalert.attribution.allocation.sites import (
    FRAMES,
    Frame,
    frames_of,
    is_framework,
    is_ours,
    start_tracing,
    traceback_of,
    useful,
)
from pytest_memalert.attribution.containers import newest, untracked_dicts
from pytest_memalert.attribution.objects import length, type_name
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.attribution.sizes import mean_size
from pytest_memalert.attribution.survivors.groups import Group, Watch
from pytest_memalert.attribution.survivors.variables import Variables, containers_in, replaced_since
from pytest_memalert.collector import collect, frozen

__all__ = ["find_untracked"]

# Growth must show twice.
_FEWEST_RUNS = 3
_LITTLE = 0.1
#: Of so many elements each may be looked at, 1 us for one.
_MOST_IN_ORDER = 20_000


def find_untracked(
    run: Callable[[], str | None], result: Watch, new_ids: set[int], variables: Variables
) -> None:
    """Add the groups of objects that the collector doesn't track, which old containers took in.

    Or one that takes the place of an old one, in a variable of a module: they had those of ``variables``.

    Takes runs of its own, and only if the tracked survivors leave something unexplained.
    """
    found_bytes = sum(group.size_bytes for group in result.groups)
    unexplained_bytes = result.traced_bytes_per_run - found_bytes
    lacks_some = unexplained_bytes > _LITTLE * found_bytes
    candidates = [
        obj
        for obj, per_run in result.grown
        if per_run > 0 and _took_in_untracked(obj, new_ids, per_run, beside_tracked=lacks_some)
    ]
    if result.frames < FRAMES and not lacks_some:
        return  # a run takes a second
    # A dict of numbers and text is itself not tracked: to be looked for among attributes and globals.
    wants_dicts = bool(result.hidden) and unexplained_bytes > found_bytes
    # What grew by our doing, as sys.modules by what we import, doesn't grow again.
    doubted = [] if result.groups else [(obj, per_run, length(obj)) for obj, per_run in result.grown]
    if not candidates and not wants_dicts and not doubted:
        return
    if wants_dicts:
        candidates += untracked_dicts()
    before = [length(obj) or 0 for obj in candidates]
    started_tracing = start_tracing(result.frames)
    # Where somebody else has been tracing, elements from before these runs have traces as well.
    known = (
        frozenset()
        if started_tracing
        else frozenset(
            id(old) for obj, count in zip(candidates, before, strict=True) for old in newest(obj, count)
        )
    )
    try:
        with frozen():
            collect()
            done = 0
            while done < _FEWEST_RUNS and attempt(run) is None:
                done += 1
            # Only now does the collector see that tuples of numbers and text are none of its own, and then
            # those of such tuples.
            collect()
            collect()
        if done >= 2 and doubted:
            result.grown = [
                (obj, per_run) for obj, per_run, count in doubted if (length(obj) or 0) > (count or 0)
            ]
        for obj, count in zip(candidates, before, strict=True):
            added = (length(obj) or 0) - count
            if added > 0 and done >= 2:
                groups = _untracked_groups(obj, added, done, known)
                # Beside a leak of others the few numbers and names that are their keys tell nothing.
                groups = [group for group in groups if group.size_bytes >= _LITTLE * found_bytes]
                result.groups.extend(groups)
                if groups and not any(grown is obj for grown, _ in result.grown):
                    result.grown.append((obj, added / done))
        if wants_dicts and done >= 2 and not result.groups:
            result.groups += _taken_over(replaced_since(variables), done, known)
    finally:
        if started_tracing:
            tracemalloc.stop()


def _taken_over(values: Iterable[object], runs: int, known: frozenset[int]) -> list[Group]:
    """Return the untracked objects in values that have taken the place of others."""
    found: list[Group] = []
    for value in values:
        for container in containers_in(value):
            found += _untracked_groups(container, length(container) or 0, runs, known)
    return found


def _took_in_untracked(holder: object, new_ids: set[int], per_run: float, *, beside_tracked: bool) -> bool:
    """Return whether a container may have grown by more than tracked survivors.

    Where it took in such, only if what is not tracked ``beside_tracked`` ones counts.
    """
    taken_in = list(newest(holder, round(per_run) + 1))
    if any(id(obj) in new_ids for obj in taken_in):
        return beside_tracked and not all(map(gc.is_tracked, taken_in))
    return True


def _untracked_groups(holder: object, added: int, runs: int, known: frozenset[int]) -> list[Group]:
    """Return the untracked objects among those that a container took in, by type and site.

    ``known`` are the identities of those that were in it before.
    """
    alike: dict[tuple[int, Traceback], dict[int, object]] = {}
    count = length(holder) or 0
    # Into a list that is kept in order they may have come anywhere.
    for obj in newest(holder, count if count <= _MOST_IN_ORDER else added):
        traceback = traceback_of(obj)
        if traceback is not None and not gc.is_tracked(obj) and id(obj) not in known:
            alike.setdefault((id(type(obj)), traceback), {})[id(obj)] = obj
    groups: dict[tuple[int, tuple[Frame, ...]], Group] = {}
    seen: set[int] = set()
    for (kind, traceback), found in alike.items():
        if is_ours(traceback):
            continue
        frames = frames_of(traceback)
        objects = [*found.values()]
        key = (kind, useful(frames))
        if key not in groups:
            groups[key] = Group(
                type=type_name(type(objects[0])),
                objects=[],
                frames=useful(frames),
                framework=is_framework(frames),
                per_run=0.0,
                size_bytes=0.0,
                confidence=1.0,
                container=holder,
            )
        group = groups[key]
        group.objects += objects
        group.size_bytes += len(objects) * mean_size(objects, set(), seen) / runs
        group.per_run += len(objects) / runs
    # One new object in all the runs is a replaced value, not growth.
    return [group for group in groups.values() if len(group.objects) >= 2]
