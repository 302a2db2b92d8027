"""What a run leaves behind, in short: enough to recognize a leak that was explained before."""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from functools import reduce
from math import gcd
from types import FrameType
from weakref import ReferenceType

from pytest_memalert.attribution.allocation import sites
from pytest_memalert.attribution.objects import (
    count_by_type,
    length,
    referents_of,
    referrers_of,
    type_name,
)
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.collector import collect, frozen

__all__ = ["Composition", "Kinds", "compose", "count_kinds", "is_like", "keepers_of", "kinds_of_run"]

#: Each kind of survivor with the place of its allocation, and in what proportion they occur.
Composition = frozenset[tuple[str, str, int]]

#: The types of what a run leaves behind, in what proportion they occur.
Kinds = frozenset[tuple[str, int]]

_FRAMEWORKS = ("_pytest.", "pytest.", "pluggy.", "pytest_memalert.", "weakref.", "functools.")

#: More objects than this are looked at by ``explain`` alone.
_MOST_OBJECTS = 20_000

#: Stands for the type of what the collector doesn't track.
_UNTRACKED = "object"

# The frames kept of each allocation: enough to come from the standard library to who called it.
_FRAMES = 4

_SAMPLES = 8

# What has no name of its own is counted by its traces, of which each run has some more or less, as where
# a tuple lies in memory that was traced before: so much of them may lie elsewhere.
_ELSEWHERE = 0.1
# A server's worker is kept by a function that asks it, in a dict of dicts: seven steps from one that is kept.
_LEVELS = 8


def count_kinds() -> dict[str, int]:
    """Return how many objects of each type there are that the collector tracks and that aren't frozen.

    Without those of types that anything may be made of (lists, dicts, functions), by which no leak can
    be told from another; and a plain dict, so that it is itself none of what is counted the next time.
    """
    found = gc.get_objects()
    if len(found) > _MOST_OBJECTS:
        return {}
    names = [(type_name(kind), count) for kind, count in count_by_type(found)]
    return {name: count for name, count in names if "." in name and not name.startswith(_FRAMEWORKS)}


def keepers_of(new: list[object], names: Container[str]) -> dict[int, int]:
    """Return what was there before and holds those of the ``new`` objects with such types.

    By identity, with the length of each, 0 for what has none. Weak references hold nothing.
    The heap must be thawed. Each level takes a walk through it, 20 to 50 ms for a million objects: so a few
    objects stand for all, those first that no other new one holds.
    """
    new_ids = {id(obj) for obj in new}
    holding = [obj for obj in new if not issubclass(type(obj), ReferenceType)]
    wanted = [obj for obj in holding if type_name(type(obj)) in names]
    inner = {id(child) for obj in wanted for child in referents_of(obj)}
    frontier = sorted(wanted, key=lambda obj: id(obj) in inner)[:_SAMPLES]
    ours = {id(new), id(holding), id(wanted)}
    seen: set[int] = set()
    for _ in range(_LEVELS):
        ours.add(id(frontier))
        referrers = referrers_of(frontier)
        ours.add(id(referrers))
        seen.update(map(id, frontier))
        found = [obj for obj in referrers if type(obj) is not FrameType and id(obj) not in ours]
        ours.add(id(found))
        if old := {id(obj): length(obj) or 0 for obj in found if id(obj) not in new_ids}:
            return old
        frontier = [obj for obj in found if id(obj) not in seen][:_SAMPLES]
        if not frontier:
            break
    return {}


def kinds_of_run(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Kinds, int]:
    """Return what one run left behind, and how many times over; of no kind where nothing tells."""
    grown = {name: count - before.get(name, 0) for name, count in after.items()}
    counts = {name: count for name, count in grown.items() if count > 0}
    times = reduce(gcd, counts.values(), 0)
    return frozenset((name, count // times) for name, count in counts.items()), times


def compose(
    run: Callable[[], str | None], *, containers: Container[int] = ()
) -> tuple[Composition, dict[int, int]]:
    """Return what each call of ``run`` leaves behind, and what keeps it, at the cost of two traced runs.

    What the collector doesn't track (bytes, say) stands for a leak by its places alone, where there is
    nothing else; what keeps it are those of the ``containers`` that become longer. Empty when a run is no
    evidence, or left nothing of the user's: by nothing can a leak be recognized.
    """
    found: list[object] = []
    lengths = _lengths_of(containers)
    started_tracing = sites.start_tracing(_FRAMES)
    traced: list[tuple[type, tracemalloc.Traceback | None]] = []
    untracked: list[tracemalloc.Traceback] = []
    try:
        with frozen():
            # Frozen it costs little; it clears the free lists, objects from which would have no trace.
            collect()
            problem = attempt(run) or attempt(run)
            collect()
            # What it took for containers may turn out to be plain tuples: some of them, as they come.
            collect()
            found = gc.get_objects()
            if problem is None and len(found) <= _MOST_OBJECTS:
                traced = [(type(obj), sites.traceback_of(obj)) for obj in found]
            # The test may have stopped it.
            if problem is None and started_tracing and tracemalloc.is_tracing():
                traces = tracemalloc.take_snapshot().traces
                if len(traces) <= _MOST_OBJECTS:
                    ranges = sites.ranges_of_callbacks()
                    tracebacks = (trace.traceback for trace in traces)
                    untracked = [each for each in tracebacks if not sites.is_within(each, ranges)]
    finally:
        if started_tracing:
            tracemalloc.stop()
    # Only now, since tracing makes whatever is made cost many times as much: to name a place, files are read.
    counts = _count_alike(_describe(kind, traceback) for kind, traceback in traced)
    keepers = keepers_of(found, {kind for kind, _ in counts}) if counts else {}
    if not counts:
        counts = _count_alike(_describe(object, traceback) for traceback in untracked)
        longer = _lengths_of(containers)
        keepers = {key: count for key, count in longer.items() if count > lengths.get(key, count)}
    if not counts:
        return frozenset(), {}
    # A test that does it twice leaves twice as much of the same.
    shared = reduce(gcd, counts.values())
    return frozenset((kind, place, count // shared) for (kind, place), count in counts.items()), keepers


def is_like(one: Composition, other: Composition) -> bool:
    """Return whether two runs left the same behind: all that a type tells of, most of the rest."""
    if one == other:
        return True
    if _named(one) != _named(other) or (not _named(one) and not _is_untracked(one | other)):
        return False
    shares, others = _shares(one), _shares(other)
    places = shares.keys() | others.keys()
    return sum(abs(shares.get(place, 0.0) - others.get(place, 0.0)) for place in places) <= _ELSEWHERE


def _named(composition: Composition) -> Composition:
    """Return what has a type with a name of its own, in proportion: one tuple less is no other leak."""
    named = [(kind, place, count) for kind, place, count in composition if "." in kind]
    shared = reduce(gcd, (count for *_, count in named), 0)
    return frozenset((kind, place, count // shared) for kind, place, count in named)


def _is_untracked(composition: Composition) -> bool:
    return all(kind == _UNTRACKED for kind, _, _ in composition)


def _shares(composition: Composition) -> dict[tuple[str, str], float]:
    """Return what part of all is of each kind at each place."""
    total = sum(count for _, _, count in composition)
    return {(kind, place): count / total for kind, place, count in composition}


def _lengths_of(containers: Container[int]) -> dict[int, int]:
    """Return the length of each of these containers that there is, by identity."""
    return {id(obj): length(obj) or 0 for obj in gc.get_objects() if id(obj) in containers}


def _count_alike(described: Iterable[tuple[str, str] | None]) -> dict[tuple[str, str], int]:
    """Return how many there are of each that isn't None, without what is there once.

    That dies with the next run, as the last result of a function does.
    """
    counts = Counter(described)
    return {kind: count for kind, count in counts.items() if kind is not None and count > 1}


def _describe(cls: type, traceback: tracemalloc.Traceback | None) -> tuple[str, str] | None:
    """Return the kind of an object and where it was allocated; None for what isn't the user's."""
    kind = type_name(cls)
    frames = sites.frames_of(traceback)
    if any(sites.origin_of(filename) in ("user", "library") for filename, _ in frames):
        return kind, sites.place(sites.useful(frames)[0])
    # Python 3.11 allocates instances that have a __dict__ in a way that leaves no trace. A class
    # of the user's own is recognized by its name alone.
    is_own = "." in kind and not frames and not kind.startswith(_FRAMEWORKS)
    return (kind, "") if is_own else None
