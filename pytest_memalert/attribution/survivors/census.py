"""How many survivors there are of each type and place after each run, in numbers alone."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable, Mapping
from itertools import pairwise
from statistics import median
from types import FrameType, FunctionType

from pytest_memalert.attribution.allocation.sites import (
    OWN_DIRECTORY,
    Frame,
    frames_of,
    is_framework,
    is_ours,
    is_traced,
    traceback_of,
    useful,
)
from pytest_memalert.attribution.holding.roots import is_of_context
from pytest_memalert.attribution.objects import (
    count_by_type,
    is_exactly,
    is_frame_of,
    is_heap_type,
    type_name,
)
from pytest_memalert.attribution.survivors.groups import Group

__all__ = ["Census", "count_unfrozen", "growth_of_objects", "hidden_groups"]

#: Above so many new objects in a run, they are counted by type alone: to ask for tracebacks costs 15 us each.
_MOST_TRACED_OBJECTS = 4_000

#: Taking all traces costs 2 us each and as much memory as the traces.
_MOST_TRACED_BYTES = 256 * 2**20


class Census:
    """Count survivors by type and site after each run, in numbers only.

    Whatever is kept between runs would be listed among the survivors: so nothing is, but
    dicts from int to int that are made before the first run.
    """

    def __init__(self, runs: int) -> None:
        self.objects: list[dict[int, int]] = [{} for _ in range(runs)]
        self.kinds: list[dict[int, int]] = [{} for _ in range(runs)]
        self.blocks: list[dict[int, int]] = [{} for _ in range(runs)]
        self.bytes: list[dict[int, int]] = [{} for _ in range(runs)]
        self.sites: dict[int, int] = {}
        self.by_site = True
        series = (self.objects, self.kinds, self.blocks, self.bytes)
        self.own = {id(self), id(self.__dict__), id(self.sites), *map(id, series)}
        self.own |= {id(counts) for per_run in series for counts in per_run}
        self.own |= {id(self.own)}

    def is_own(self, obj: object) -> bool:
        """Return whether an object is ours: a traceback that is kept leads to our frames and functions."""
        if type(obj) is FunctionType:
            return obj.__code__.co_filename.startswith(OWN_DIRECTORY)
        return id(obj) in self.own or is_frame_of(obj, OWN_DIRECTORY)

    def key(self, obj: object) -> int | None:
        """Return a number for the type and the site of an object; None for what is not the test's doing.

        The traceback is asked for once: with 16 frames it is some forty objects, which are traced as well.
        """
        if self.is_own(obj):
            return None
        traceback = traceback_of(obj)
        return None if is_ours(traceback) else hash((kind_of(obj), self.site(traceback)))

    def sort(self, objects: Iterable[object]) -> dict[int, list[object]]:
        """Return those of the objects that are the test's doing, by type and site."""
        by_key: dict[int, list[object]] = {}
        if not self.by_site:
            for alike in _by_type(objects):
                kept = [obj for obj in alike if not self.is_own(obj)] if _may_be_own(alike[0]) else alike
                if kept:
                    by_key.setdefault(kind_of(kept[0]), []).extend(kept)
            return by_key
        for obj in objects:
            key = self.key(obj)
            if key is not None:
                by_key.setdefault(key, []).append(obj)
        return by_key

    def site(self, traceback: tracemalloc.Traceback | None) -> int:
        """Return a number for the useful frames of a traceback."""
        if traceback is None:
            return 0
        number = hash(traceback)
        if number not in self.sites:
            self.sites[number] = hash(useful(frames_of(traceback)))
        return self.sites[number]

    def take(self, run: int) -> None:
        """Count what is new and alive after a run."""
        found = gc.get_objects()
        if run == 0 and len(found) > _MOST_TRACED_OBJECTS:
            self.by_site = False
        counts, kinds = self.objects[run], self.kinds[run]
        if not self.by_site:
            # The few that are ours are the same in each run. No object is asked for anything: there are many.
            for type_found, count in count_by_type(found):
                kind = _number_of(type_found)
                counts[kind] = kinds[kind] = counts.get(kind, 0) + count
            return
        for obj in found:
            key = self.key(obj)
            if key is not None:
                counts[key] = counts.get(key, 0) + 1
                kind = kind_of(obj)
                kinds[kind] = kinds.get(kind, 0) + 1
        self._take_traces(run)

    def _take_traces(self, run: int) -> None:
        if not tracemalloc.is_tracing() or tracemalloc.get_traced_memory()[0] > _MOST_TRACED_BYTES:
            return
        blocks, sizes = self.blocks[run], self.bytes[run]
        # By traceback, of which there are few: an object made for each trace would itself be traced.
        for statistic in tracemalloc.take_snapshot().statistics("traceback"):
            if is_ours(statistic.traceback):
                continue
            number = self.site(statistic.traceback)
            blocks[number] = blocks.get(number, 0) + statistic.count
            sizes[number] = sizes.get(number, 0) + statistic.size


def kind_of(obj: object) -> int:
    """Return a number for the type of an object."""
    return _number_of(type(obj))


def _number_of(kind: type) -> int:
    """Return a number for a type: by name, where each run may have made one of its own."""
    return hash(type_name(kind)) if is_heap_type(kind) else id(kind)


def _by_type(objects: Iterable[object]) -> list[list[object]]:
    """Return the objects, those of one type together."""
    found: dict[int, list[object]] = {}
    for obj in objects:
        found.setdefault(id(type(obj)), []).append(obj)
    return list(found.values())


def _may_be_own(obj: object) -> bool:
    """Return whether objects of such a type may be ours."""
    return is_exactly(obj, (FunctionType, FrameType, dict, list, set, Census))


def count_unfrozen(census: Census, by_key: Mapping[int, list[object]], runs: int) -> None:
    """Count as if each run had left the same share of what was found."""
    for key, objects in by_key.items():
        kind = kind_of(objects[0])
        for index in range(runs):
            share = len(objects) * (index + 1) // runs
            census.objects[index][key] = share
            census.kinds[index][kind] = census.kinds[index].get(kind, 0) + share


def _growth_of_counts(counts: list[dict[int, int]]) -> dict[int, tuple[float, float]]:
    """Return, for each key whose count never fell and rose: growth per run, share of runs it rose in."""
    growth = {}
    intervals = len(counts) - 1
    for key, last in counts[-1].items():
        series = [per_run.get(key, 0) for per_run in counts]
        steps = [after - before for before, after in pairwise(series)]
        if last > series[0] and min(steps) >= 0:
            growth[key] = ((last - series[0]) / intervals, sum(step > 0 for step in steps) / intervals)
    return growth


def growth_of_objects(
    census: Census, by_key: dict[int, list[object]], runs: int
) -> dict[int, tuple[float, float]]:
    """Return growth by type and place: per run, and the share of runs in which the number rose.

    Only of types of which there are more in all: what each run replaces may rise in number at one place, as
    memory that is reused has no trace, or that of what was there before. The tree of a context is such, and
    what it holds isn't seen.
    """
    more = _growth_of_counts(census.kinds[:runs])
    grown = {
        key: objects
        for key, objects in by_key.items()
        if kind_of(objects[0]) in more or is_of_context(objects[0])
    }
    growth = _growth_of_counts(census.objects[:runs])
    if grown and not growth.keys() & grown.keys():
        return _growth_by_type(grown, runs)
    return {key: growth[key] for key in grown.keys() & growth.keys()}


def _growth_by_type(by_key: dict[int, list[object]], runs: int) -> dict[int, tuple[float, float]]:
    """Return growth where sites differ from run to run: whatever is new in the last run alone.

    Only objects with a site count: those without were there before and are tracked only now.
    """
    kinds: dict[int, int] = {}
    for objects in by_key.values():
        kind = kind_of(objects[0])
        kinds[kind] = kinds.get(kind, 0) + sum(map(is_traced, objects))
    return {
        key: (max(len(objects) / runs, 1 / runs), 0.5)
        for key, objects in by_key.items()
        if kinds.get(kind_of(objects[0]), 0) >= runs - 1 and is_traced(objects[0])
    }


def hidden_groups(census: Census, runs: int) -> tuple[list[Group], float]:
    """Return what tracemalloc saw grow by site, and the traced growth in bytes per run."""
    growth = _growth_of_counts(census.blocks[:runs])
    sizes = census.bytes[:runs]
    total = (sum(sizes[-1].values()) - sum(sizes[0].values())) / max(runs - 1, 1)
    if not growth or not tracemalloc.is_tracing():
        return [], total
    frames: dict[int, tuple[Frame, ...]] = {}
    for statistic in tracemalloc.take_snapshot().statistics("traceback"):
        number = census.site(statistic.traceback)
        if number in growth and number not in frames:
            frames[number] = frames_of(statistic.traceback)
    hidden = [
        Group(
            type="untracked object",
            objects=[],
            frames=useful(frames.get(number, ())),
            framework=is_framework(frames.get(number, ())),
            per_run=per_run,
            size_bytes=_usual_growth([size.get(number, 0) for size in sizes]),
            confidence=confidence,
        )
        for number, (per_run, confidence) in growth.items()
    ]
    return sorted(hidden, key=lambda group: -group.size_bytes), total


def _usual_growth(sizes: list[int]) -> float:
    """Return the growth from run to run: where most add some, without the room that a table makes once."""
    steps = [after - before for before, after in pairwise(sizes)]
    usual = median(steps) if steps else 0.0
    return usual if usual > 0 else (sizes[-1] - sizes[0]) / max(len(steps), 1)
