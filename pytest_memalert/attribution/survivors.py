"""What each run of a leaking test leaves behind, by identity.

With everything that is alive frozen, a full collection visits only what the runs made, and
``gc.get_objects()`` lists exactly the containers that survived. All runs take place in one
frozen span: what one run leaves and the next one drops (the last result, a one-slot cache) is
collected, so that its number stays the same from run to run, while a leak's number grows.

Objects that the collector doesn't track (bytes, str, numbers, ``object()``) are found in what
survived, and in old containers that became longer.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise
from types import FunctionType

from pytest_memalert.attribution.containers import (
    container_lengths,
    grown_containers,
    newest,
    untracked_dicts,
)
from pytest_memalert.attribution.objects import (
    instance_dict,
    is_exactly,
    is_frame_of,
    length,
    referents_of,
    type_name,
)
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.attribution.sites import (
    FRAMES,
    OWN_DIRECTORY,
    Frame,
    frames_of,
    is_framework,
    is_ours,
    is_traced,
    start_tracing,
    traceback_of,
    useful,
)
from pytest_memalert.attribution.sizes import own_size
from pytest_memalert.clock import elapsed_s
from pytest_memalert.collector import can_freeze, clear_caches, collect, freeze, frozen, thaw

__all__ = ["Group", "Watch", "watch"]

#: Above so many new objects, growth is counted by type alone: a traceback costs 3 us each.
_MOST_TRACED_OBJECTS = 50_000

#: Taking all traces costs 2 us each and as much memory as the traces.
_MOST_TRACED_BYTES = 256 * 2**20

#: Where a run takes so long, with counting what it left, there are no more than growth needs to show twice.
_SLOW_RUN_S = 0.5
_FEWEST_RUNS = 3

#: An allocation costs 0.7 us more with one frame kept, and 3 us with sixteen: a test that makes 400,000
#: numbers in 20 ms takes 0.6 and 2.5 s. From so long on, with one, fewer are kept: six take 1.2 s.
_HEAVY_RUN_S = 0.3
_FEW_FRAMES = 6
_LITTLE = 0.1


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
    ``grown`` has the old containers that became longer, with how much longer per run.
    ``frames`` were kept of each allocation. ``reason`` says why there is less than was wanted.
    """

    groups: list[Group] = field(default_factory=list)
    new: list[object] = field(default_factory=list)
    grown: list[tuple[object, float]] = field(default_factory=list)
    hidden: list[Group] = field(default_factory=list)
    traced_bytes_per_run: float = 0.0
    exit_callbacks_per_run: float = 0.0
    runs: int = 0
    frames: int = FRAMES
    reason: str | None = None


class _Census:
    """Count survivors by type and site after each run, in numbers only.

    Whatever is kept between runs would be listed among the survivors: so nothing is, but
    dicts from int to int that are made before the first run.
    """

    def __init__(self, runs: int) -> None:
        self.objects: list[dict[int, int]] = [{} for _ in range(runs)]
        self.blocks: list[dict[int, int]] = [{} for _ in range(runs)]
        self.bytes: list[dict[int, int]] = [{} for _ in range(runs)]
        self.sites: dict[int, int] = {}
        self.by_site = True
        self.own = {id(self), id(self.__dict__), id(self.objects), id(self.blocks), id(self.bytes)}
        self.own |= {id(counts) for per_run in (self.objects, self.blocks, self.bytes) for counts in per_run}
        self.own |= {id(self.sites)}
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
        traceback = traceback_of(obj)
        if self.is_own(obj) or is_ours(traceback):
            return None
        return hash((id(type(obj)), self.site(traceback))) if self.by_site else id(type(obj))

    def sort(self, objects: Iterable[object]) -> dict[int, list[object]]:
        """Return those of the objects that are the test's doing, by type and site."""
        by_key: dict[int, list[object]] = {}
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
        counts = self.objects[run]
        for obj in found:
            key = self.key(obj)
            if key is not None:
                counts[key] = counts.get(key, 0) + 1
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


def watch(run: Callable[[], str | None], *, runs: int, freezing: bool = True) -> Watch:
    """Run ``runs`` times and return what survives of each run, with allocation sites.

    Not frozen, the same is found by comparing identities, slower; for tests that look at
    the collector themselves and so behave differently while the heap is frozen.
    """
    freezing = freezing and can_freeze()
    result = Watch()
    if not tracemalloc.is_tracing() and _traced_run_s(run) > _HEAVY_RUN_S:
        result.frames, runs = _FEW_FRAMES, _FEWEST_RUNS
    census = _Census(runs)
    lengths = container_lengths()
    old = frozenset() if freezing else frozenset(map(id, gc.get_objects()))
    exit_callbacks = _exit_callbacks()
    started_tracing = start_tracing(result.frames)
    try:
        if freezing:
            freeze()
        # Clears the free lists: an object from there would have no trace, its memory being older.
        collect()
        for index in range(runs):
            began_s = elapsed_s()
            result.reason = attempt(run)
            if result.reason is not None:
                break
            clear_caches()
            collect()
            if freezing:
                census.take(index)
            result.runs = index + 1
            if elapsed_s() - began_s > _SLOW_RUN_S and result.runs >= _FEWEST_RUNS:
                break
        if result.runs >= 2:
            by_key = census.sort(obj for obj in gc.get_objects() if id(obj) not in old)
            if not freezing:
                _count_unfrozen(census, by_key, result.runs)
            result.exit_callbacks_per_run = (_exit_callbacks() - exit_callbacks) / result.runs
            _analyse(result, by_key, census)
            del by_key
    finally:
        if freezing:
            thaw()
        if started_tracing:
            tracemalloc.stop()
    # Whatever looks at the whole heap comes after tracing, which makes every int cost a microsecond.
    own = census.own | {id(lengths), id(result.new), id(result)}
    new_ids = {id(obj) for obj in result.new}
    if result.runs >= 2:
        result.grown = grown_containers(lengths, new_ids, own, result.runs)
        lengths.clear()
        _find_untracked(run, result, new_ids)
    return result


def _traced_run_s(run: Callable[[], str | None]) -> float:
    """Return how long a run takes with one frame kept of each allocation."""
    tracemalloc.start(1)
    try:
        began_s = elapsed_s()
        attempt(run)
        return elapsed_s() - began_s
    finally:
        tracemalloc.stop()


def _exit_callbacks() -> int:
    import atexit

    # The callbacks are kept in C, where no referrer leads; their number is all that can be had.
    count = getattr(atexit, "_ncallbacks", None)
    return int(count()) if count is not None else 0


def _count_unfrozen(census: _Census, by_key: Mapping[int, list[object]], runs: int) -> None:
    """Count as if each run had left the same share of what was found."""
    for key, objects in by_key.items():
        for index in range(runs):
            census.objects[index][key] = len(objects) * (index + 1) // runs


def _analyse(result: Watch, by_key: dict[int, list[object]], census: _Census) -> None:
    """Fill in what is new, and the groups that grew from run to run."""
    runs = result.runs
    result.new = [obj for objects in by_key.values() for obj in objects]
    new_ids = {id(obj) for obj in result.new}
    growth = _growth(census.objects[:runs])
    if by_key and not growth.keys() & by_key.keys():
        growth = _growth_by_type(result.new, by_key, runs)
    seen: set[int] = set()
    for key, objects in by_key.items():
        if key in growth:
            per_run, confidence = growth[key]
            result.groups.append(_group(objects, per_run, confidence, new_ids, seen))
    _fold_attribute_dicts(result.groups)
    result.groups = _without_accidents(result.groups)
    result.hidden, result.traced_bytes_per_run = _hidden_groups(census, runs)
    _lend_sites(result.groups, result.hidden)


def _growth(counts: list[dict[int, int]]) -> dict[int, tuple[float, float]]:
    """Return, for each key whose count never fell and rose: growth per run, share of runs it rose in."""
    growth = {}
    intervals = len(counts) - 1
    for key, last in counts[-1].items():
        series = [per_run.get(key, 0) for per_run in counts]
        steps = [after - before for before, after in pairwise(series)]
        if last > series[0] and min(steps) >= 0:
            growth[key] = ((last - series[0]) / intervals, sum(step > 0 for step in steps) / intervals)
    return growth


def _growth_by_type(
    found: list[object], by_key: dict[int, list[object]], runs: int
) -> dict[int, tuple[float, float]]:
    """Return growth where sites differ from run to run: whatever is new in the last run alone.

    Only objects with a site count: those without were there before and are tracked only now.
    """
    kinds: dict[int, int] = {}
    for obj in found:
        if is_traced(obj):
            kinds[id(type(obj))] = kinds.get(id(type(obj)), 0) + 1
    return {
        key: (max(len(objects) / runs, 1 / runs), 0.5)
        for key, objects in by_key.items()
        if kinds.get(id(type(objects[0])), 0) >= runs - 1 and is_traced(objects[0])
    }


def _group(
    objects: list[object], per_run: float, confidence: float, new_ids: set[int], seen: set[int]
) -> Group:
    """Return the group of these survivors, the site taken from the first that has one."""
    frames: tuple[Frame, ...] = ()
    for obj in islice(objects, 50):
        frames = _frames_of_object(obj, new_ids)
        if frames:
            break
    total = sum(own_size(obj, new_ids, seen) for obj in objects)
    return Group(
        type=type_name(type(objects[0])),
        objects=objects,
        frames=useful(frames),
        framework=is_framework(frames),
        is_site_lent=bool(frames) and traceback_of(objects[0]) is None,
        per_run=per_run,
        size_bytes=total / len(objects) * per_run,
        confidence=confidence,
    )


def _frames_of_object(obj: object, new_ids: set[int]) -> tuple[Frame, ...]:
    """Return the frames of an object's allocation, or of the first of what it alone holds."""
    frames = frames_of(traceback_of(obj))
    if frames or is_exactly(obj, (list, tuple, dict, set)):
        return frames
    for child in referents_of(obj):
        if id(child) in new_ids or not gc.is_tracked(child):
            frames = frames_of(traceback_of(child))
            if frames:
                return frames
    return ()


def _fold_attribute_dicts(groups: list[Group]) -> None:
    """Count the ``__dict__`` of an instance as part of the instance."""
    dicts = {id(obj) for group in groups if group.type == "dict" for obj in group.objects}
    if not dicts:
        return
    folded: dict[int, Group] = {}
    for group in groups:
        if group.type in ("dict", "list", "tuple", "set"):
            continue
        for obj in group.objects:
            if any(id(child) in dicts for child in referents_of(obj)):
                attributes = instance_dict(obj)
                if attributes is not None and id(attributes) in dicts:
                    folded[id(attributes)] = group
    for group in [group for group in groups if group.type == "dict"]:
        kept = [obj for obj in group.objects if id(obj) not in folded]
        if len(kept) == len(group.objects):
            continue
        owner = folded[next(id(obj) for obj in group.objects if id(obj) in folded)]
        share = 1 - len(kept) / len(group.objects)
        owner.size_bytes += group.size_bytes * share
        group.size_bytes *= 1 - share
        group.per_run *= 1 - share
        group.objects = kept
    groups[:] = [group for group in groups if group.objects]


def _lend_sites(groups: list[Group], hidden: list[Group]) -> None:
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


def _find_untracked(run: Callable[[], str | None], result: Watch, new_ids: set[int]) -> None:
    """Add the groups of objects that the collector doesn't track, which old containers took in.

    Takes runs of its own, and only if the tracked survivors leave something unexplained.
    """
    candidates = [obj for obj, per_run in result.grown if _untracked_share(obj, new_ids, per_run) > 0]
    found_bytes = sum(group.size_bytes for group in result.groups)
    unexplained_bytes = result.traced_bytes_per_run - found_bytes
    if result.frames < FRAMES and unexplained_bytes < _LITTLE * found_bytes:
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
            # Only now does the collector see that tuples of numbers and text are none of its own.
            collect()
        if done >= 2 and doubted:
            result.grown = [
                (obj, per_run) for obj, per_run, count in doubted if (length(obj) or 0) > (count or 0)
            ]
        for obj, count in zip(candidates, before, strict=True):
            added = (length(obj) or 0) - count
            if added > 0 and done >= 2:
                groups = _untracked_groups(obj, added, done, known)
                result.groups.extend(groups)
                if groups and not any(grown is obj for grown, _ in result.grown):
                    result.grown.append((obj, added / done))
    finally:
        if started_tracing:
            tracemalloc.stop()


def _untracked_share(holder: object, new_ids: set[int], per_run: float) -> float:
    """Return how much of a container's growth per run is not by tracked survivors."""
    if per_run <= 0:
        return 0.0
    taken_in = newest(holder, round(per_run) + 1)
    if any(id(obj) in new_ids for obj in taken_in):
        return 0.0
    return per_run


def _untracked_groups(holder: object, added: int, runs: int, known: frozenset[int]) -> list[Group]:
    """Return the untracked objects among those that a container took in, by type and site.

    ``known`` are the identities of those that were in it before.
    """
    groups: dict[tuple[int, tuple[Frame, ...]], Group] = {}
    seen: set[int] = set()
    for obj in newest(holder, added):
        traceback = traceback_of(obj)
        if traceback is None or is_ours(traceback) or gc.is_tracked(obj) or id(obj) in seen:
            continue
        if id(obj) in known:
            continue
        frames = frames_of(traceback)
        key = (id(type(obj)), useful(frames))
        if key not in groups:
            groups[key] = Group(
                type=type_name(type(obj)),
                objects=[],
                frames=useful(frames),
                framework=is_framework(frames),
                per_run=0.0,
                size_bytes=0.0,
                confidence=1.0,
                container=holder,
            )
        group = groups[key]
        group.objects.append(obj)
        group.size_bytes += own_size(obj, set(), seen) / runs
        group.per_run += 1 / runs
    # One new object in all the runs is a replaced value, not growth.
    return [group for group in groups.values() if len(group.objects) >= 2]


def _without_accidents(groups: list[Group]) -> list[Group]:
    """Return the groups without those that grew once, where others grew in most runs.

    What pytest made is an accident unless it recurs: it replaces much of its own in each run.
    """
    groups = [group for group in groups if group.confidence > 0.6 or not group.framework]
    if any(group.confidence > 0.6 for group in groups):
        return [group for group in groups if group.confidence >= 0.5]
    return groups


def _hidden_groups(census: _Census, runs: int) -> tuple[list[Group], float]:
    """Return what tracemalloc saw grow by site, and the traced growth in bytes per run."""
    growth = _growth(census.blocks[:runs])
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
            size_bytes=(sizes[-1].get(number, 0) - sizes[0].get(number, 0)) / max(runs - 1, 1),
            confidence=confidence,
        )
        for number, (per_run, confidence) in growth.items()
    ]
    return sorted(hidden, key=lambda group: -group.size_bytes), total
