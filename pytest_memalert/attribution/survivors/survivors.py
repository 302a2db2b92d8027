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
from collections import Counter
from collections.abc import Callable

from pytest_memalert.attribution.allocation.sites import start_tracing
from pytest_memalert.attribution.bounding.lengths import buffers, used_bytes
from pytest_memalert.attribution.containers import container_lengths, grown_containers
from pytest_memalert.attribution.holding.roots import is_of_context
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.attribution.survivors.census import (
    Census,
    count_unfrozen,
    growth_of_objects,
    hidden_groups,
)
from pytest_memalert.attribution.survivors.groups import (
    Watch,
    count_types,
    fold_attribute_dicts,
    group_of,
    lend_sites,
    without_accidents,
    without_replaced,
)
from pytest_memalert.attribution.survivors.held import held_from_outside
from pytest_memalert.attribution.survivors.untracked import find_untracked
from pytest_memalert.attribution.survivors.variables import opaque_since, variables_of_modules
from pytest_memalert.clock import elapsed_s
from pytest_memalert.collector import can_freeze, clear_caches, collect, freeze, thaw
from pytest_memalert.tracing import begin_tracing

__all__ = ["watch"]

#: Where a run takes so long, with counting what it left, there are no more than growth needs to show twice.
_SLOW_RUN_S = 0.5
_FEWEST_RUNS = 3

#: An allocation costs 0.7 us more with one frame kept, and 3 us with sixteen: a test that makes 400,000
#: numbers in 20 ms takes 0.6 and 2.5 s. From so long on, with one, fewer are kept: six take 1.2 s.
_HEAVY_RUN_S = 0.3
_FEW_FRAMES = 6


def watch(
    run: Callable[[], str | None],
    *,
    runs: int,
    freezing: bool = True,
    with_buffers: bool = False,
    period: int = 1,
    times: int = 1,
) -> Watch:
    """Run ``runs`` times and return what survives of each run, with allocation sites.

    Not frozen, the same is found by comparing identities, slower; for tests that look at
    the collector themselves and so behave differently while the heap is frozen. ``with_buffers`` looks
    for bytearrays that became longer, too, wherever they are kept. A run of these is so many ``times`` a
    ``period`` of the test's.
    """
    freezing = freezing and can_freeze()
    result = Watch(period=period, times=times)
    if not tracemalloc.is_tracing() and _traced_run_s(run) > _HEAVY_RUN_S:
        result.frames, runs = _FEW_FRAMES, _FEWEST_RUNS
    census = Census(runs)
    lengths = container_lengths()
    variables = variables_of_modules()
    alive = count_types()
    used = [(obj, used_bytes(obj)) for obj in buffers(untracked=with_buffers)]
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
            # What it took for containers may turn out to be plain tuples, and then those of such tuples.
            collect()
            if freezing:
                census.take(index)
            result.runs = index + 1
            is_slow = elapsed_s() - began_s > _SLOW_RUN_S or not census.by_site
            if is_slow and result.runs >= _FEWEST_RUNS:
                break
        if result.runs >= 2:
            by_key = census.sort(obj for obj in gc.get_objects() if id(obj) not in old)
            if not freezing:
                count_unfrozen(census, by_key, result.runs)
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
    # A list of ours may lie where a shorter one was.
    own |= {id(group.objects) for group in (*result.groups, *result.hidden)}
    new_ids = {id(obj) for obj in result.new}
    if result.runs >= 2:
        result.grown = grown_containers(lengths, new_ids, own, result.runs)
        lengths.clear()
        result.groups = without_replaced(result.groups, alive, count_types(), runs=result.runs)
        longer = [(obj, more / result.runs) for obj, before in used if (more := used_bytes(obj) - before) > 0]
        _leave_out_last_results(run, result)
        find_untracked(run, result, new_ids, variables)
        result.opaque = opaque_since(variables)
        _leave_out_accidents(result)
        result.grown += longer
    return result


def _leave_out_last_results(run: Callable[[], str | None], result: Watch) -> None:
    """Leave out of the groups what the last run alone left: once more run, something else is in its place.

    Types of which there are no more in all are left out already; of others, a few may be such.
    """
    if attempt(run) is not None:
        return
    clear_caches()
    collect()
    in_groups = Counter(id(obj) for group in result.groups for obj in group.objects)
    held = held_from_outside(result.new, in_groups)
    kept = [
        [obj for obj in group.objects if id(obj) in held or is_of_context(obj)] for group in result.groups
    ]
    if any(kept):  # else all of it was let go: there is nothing better to tell of
        for group, objects in zip(result.groups, kept, strict=True):
            group.objects = objects
        result.groups = [group for group in result.groups if group.objects]


def _leave_out_accidents(result: Watch) -> None:
    """Leave out what grew in few runs, where what isn't tracked turned out to be most of what is left."""
    kept = without_accidents(result.groups)
    if 2 * sum(group.size_bytes for group in kept) >= sum(group.size_bytes for group in result.groups):
        result.groups = kept


def _traced_run_s(run: Callable[[], str | None]) -> float:
    """Return how long a run takes with one frame kept of each allocation."""
    begin_tracing()
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


def _analyse(result: Watch, by_key: dict[int, list[object]], census: Census) -> None:
    """Fill in what is new, and the groups that grew from run to run."""
    runs = result.runs
    result.new = [obj for objects in by_key.values() for obj in objects]
    new_ids = {id(obj) for obj in result.new}
    growth = growth_of_objects(census, by_key, runs)
    seen: set[int] = set()
    for key, objects in by_key.items():
        if key in growth:
            per_run, confidence = growth[key]
            if result.together > 1:
                per_run = len(objects) / runs  # the first ones are no warm-up: few of many may be chance
            result.groups.append(group_of(objects, per_run, confidence, new_ids, seen))
    fold_attribute_dicts(result.groups)
    result.groups = without_accidents(result.groups)
    result.hidden, result.traced_bytes_per_run = hidden_groups(census, runs)
    lend_sites(result.groups, result.hidden)
