"""Explain a leak by what survived each run: the objects, where they were made, who holds them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from pytest_memalert.attribution.advising import advice
from pytest_memalert.attribution.advising.advice import Finding
from pytest_memalert.attribution.advising.endings import closing_of, is_over
from pytest_memalert.attribution.allocation import sites
from pytest_memalert.attribution.allocation.calls import Calls, watch_calls
from pytest_memalert.attribution.allocation.entries import places_of_entries
from pytest_memalert.attribution.allocation.packages import (
    compiled_package_of_file,
    is_stdlib,
    package_of_extension,
    package_of_file,
    package_of_module,
)
from pytest_memalert.attribution.bounding.lengths import BUFFERS, POINTER_BYTES
from pytest_memalert.attribution.explanation import Amount, Explanation, without_counters
from pytest_memalert.attribution.holding.holder import AT_EXIT, AUDITED, NO_REFERRER, UNTRACKED, Holder
from pytest_memalert.attribution.holding.holders import HolderSearch
from pytest_memalert.attribution.objects import (
    base_names,
    class_attribute,
    is_exactly,
    referents_of,
    type_module,
    type_name,
)
from pytest_memalert.attribution.selection import SURE, Selection, is_unheld
from pytest_memalert.attribution.survivors.groups import Group, Watch
from pytest_memalert.model import Survivor

__all__ = ["explain_objects"]

#: Kinds of survivors that are told; a leak of more is still told by those at its head.
_SHOWN_SURVIVORS = 12

#: The calls told of survivors that are alike.
_SHOWN_CALLERS = 4

#: What nobody can take back.
_AUDITING = "sys.addaudithook"

#: So many functions per run are registered with atexit where it isn't one of the first run alone.
_REGISTERS = 0.5


def explain_objects(seen: Watch, root: Path | None, run: Callable[[], str | None]) -> Explanation:
    """Return the explanation by what survived; empty where no object did."""
    chosen = Selection(seen)
    users, leading = chosen.users, chosen.leading
    named, paths = chosen.named, chosen.paths
    if not users and not chosen.framework:
        users, paths = _without_objects(seen)
        named, leading = users, users[:1]
    holders = [paths.get(id(group)) for group in leading]
    bounds = [holder.bounded if holder is not None else None for holder in holders]
    filled = [holder.full if holder is not None else None for holder in holders]
    let_go = bool(leading) and all(_is_let_go(group, paths.get(id(group)), seen) for group in leading)
    closing = {id(group): closing_of(group) for group in leading}
    sought = [(type(group.objects[0]), name) for group in leading if (name := closing[id(group)]) is not None]
    is_unknown = any(holder is None or holder.root in ("none", "function") for holder in holders)
    calls = watch_calls(run, sought) if (sought or is_unknown) and not let_go else Calls()
    paths = {key: _as_registered(holder, seen, calls) for key, holder in paths.items()}
    indirect = _kept_indirectly(leading, paths, seen)
    entered = places_of_entries(run, indirect) if indirect and users else {}
    return Explanation(
        survivors=tuple(_survivors(named, paths, seen)[:_SHOWN_SURVIVORS]),
        framework_survivors=tuple(_survivors(chosen.framework, chosen.holders, seen)),
        signature=_signature(leading or chosen.framework, {**chosen.holders, **paths}, root),
        recommendations=advice.recommend(
            _finding(
                group,
                paths.get(id(group)),
                seen,
                calls,
                closing=closing[id(group)],
                entered=entered.get(id(group), ()),
            )
            for group in leading
        ),
        component=sites.component_of(leading[0].frames) if leading else "",
        framework=bool(chosen.framework) and not users,
        bounded=bounds[0] if bounds and None not in bounds else None,
        full=filled[0] if filled and None not in filled else None,
        in_parameter=chosen.in_parameter,
        is_whole=chosen.is_whole,
        let_go=let_go,
        has_files=any(map(_is_of_files, users)),
        own=_amount_of(users),
        cached=replace(_amount_of(chosen.cached), limit=chosen.cached_limit),
        keepers={h.keeper[0]: h.keeper[1] for h in holders if h is not None and h.keeper is not None},
        by_way_of=tuple({} if holder is None else dict(holder.by_way_of) for holder in holders),
        confidence=max((group.confidence for group in users or chosen.framework), default=0.0),
        runs=seen.runs,
        reason=seen.reason,
    )


def _kept_indirectly(
    leading: Iterable[Group], paths: Mapping[int, Holder | None], seen: Watch
) -> dict[int, object]:
    """Return what got longer by an entry that leads to a group's objects, for those that are none themselves.

    The place of a survivor far below, though it is the largest, isn't that where the entry was made.
    """
    grown = {id(container): container for container, _ in seen.grown}
    found: dict[int, object] = {}
    for group in leading:
        holder = paths.get(id(group))
        if holder is None or holder.keeper is None or group.container is not None or not group.objects:
            continue
        container = grown.get(holder.keeper[0])
        if container is None:
            continue
        alike = {id(obj) for obj in group.objects}
        if not any(id(child) in alike for child in referents_of(container)):
            found[id(group)] = container
    return found


def _as_registered(holder: Holder | None, seen: Watch, calls: Calls) -> Holder | None:
    """Return the holder, named where nothing refers to what it holds and each run registers something."""
    if holder is None or holder.hops[:1] not in ((NO_REFERRER,), (UNTRACKED,)):
        return holder
    if _registers_for_exit(seen):
        return replace(holder, hops=(AT_EXIT, *holder.hops[1:]))
    return replace(holder, hops=(AUDITED, *holder.hops[1:])) if _AUDITING in calls.registered_at else holder


def _registers_for_exit(seen: Watch) -> bool:
    return seen.exit_callbacks_per_run >= _REGISTERS


def _amount_of(groups: Iterable[Group]) -> Amount:
    kept = list(groups)
    return Amount(objects=sum(group.per_run for group in kept), bytes=sum(group.size_bytes for group in kept))


def _is_of_files(group: Group) -> bool:
    """Return whether a group's objects are files, sockets or the like: they can tell their descriptor."""
    return bool(group.objects) and class_attribute(type(group.objects[0]), "fileno") is not None


def _is_let_go(group: Group, holder: Holder | None, seen: Watch) -> bool:
    """Return whether nothing holds a group's objects but we; a missing decref is a reference more."""
    if holder is None or holder.root != "none" or not group.objects:
        return False
    # What the collector doesn't track isn't among what is new, but was found in a container.
    places = [group.objects] if group.container is not None else [seen.new, group.objects]
    group.objects.append(object())
    for place in places[:-1]:
        place.append(group.objects[-1])
    try:
        # All in one way, ours last: what a call itself refers to differs from Python to Python.
        *references, of_ours = [sys.getrefcount(obj) for obj in group.objects]
        return max(references) <= of_ours
    finally:
        for place in places:
            place.pop()


def _without_objects(seen: Watch) -> tuple[list[Group], dict[int, Holder | None]]:
    """Return what is known where no survivor was found: a container that grew, or traced memory."""
    paths: dict[int, Holder | None] = {}
    steady = [g for g in seen.hidden if not g.framework and g.frames and g.confidence >= SURE]
    if seen.grown and not steady:
        groups = []
        targets = [obj for obj, _ in seen.grown[:8]]
        ours = {id(seen.grown), *(id(pair) for pair in seen.grown), id(seen.new), id(seen)}
        search = HolderSearch(survivors=set(), ours=ours, grown=seen.grown, together=seen.together)
        for holder, (container, per_run) in zip(search.find(targets), seen.grown, strict=False):
            if holder is None or holder.root in ("pytest", "none", "object"):
                continue
            is_buffer = is_exactly(container, BUFFERS)
            group = Group(
                type=f"{'byte' if is_buffer else 'element'} of {type_name(type(container))}",
                objects=[],
                per_run=per_run,
                size_bytes=per_run if is_buffer else POINTER_BYTES * per_run,
                confidence=1.0,
            )
            groups.append(group)
            paths[id(group)] = search.bounds.with_bound(holder, container)
        return groups, paths
    kept = steady[:_SHOWN_SURVIVORS]
    unheld = Holder(root="none", root_name=UNTRACKED, hops=(UNTRACKED,), identity="none")
    paths = {id(group): unheld for group in kept}
    return kept, paths


def _survivors(groups: Iterable[Group], paths: Mapping[int, Holder | None], seen: Watch) -> list[Survivor]:
    """Return what to tell of groups; those of one type, place and holder that differ by the calls as one.

    Of a leak that shows in few runs, it is told how many of them leave a whole number of the first.
    """
    alike: dict[object, list[Group]] = {}
    for group in groups:
        holder = paths.get(id(group))
        key = (group.type, group.frames[:1], holder.hops if holder is not None else ())
        alike.setdefault(key, []).append(group)
    survivors: list[Survivor] = []
    runs = 0
    for same in alike.values():
        number, size_bytes = sum(group.per_run for group in same), sum(group.size_bytes for group in same)
        if seen.together > 1:
            runs = runs or _runs_for_whole(number, seen)
            count = max(1, round(number * runs / seen.together))
            size_bytes *= count / number
        else:
            count = max(1, round(number))
        frames, holder = same[0].frames, paths.get(id(same[0]))
        if len(same) > 1:
            callers = dict.fromkeys(frame for group in same for frame in group.frames[1:2])
            frames = (*frames[:1], *islice(callers, _SHOWN_CALLERS))
        survivors.append(
            Survivor(
                type=same[0].type,
                count=count,
                size_bytes=round(size_bytes),
                runs=runs or 1,
                allocated_at=tuple(sites.describe(frame) for frame in frames),
                held_by=holder.hops if holder is not None else (),
            )
        )
    return survivors


def _runs_for_whole(number: float, seen: Watch) -> int:
    """Return how many runs leave a whole number of what so many are left of in the runs watched together.

    That is a period, unless more than one of them, by chance in these runs or not, is left besides.
    """
    in_period = number / seen.times
    whole = max(1, round(in_period))
    if abs(in_period - whole) * seen.times * (seen.runs - 1) <= 1:
        return seen.period
    return max(1, round(seen.period * whole / in_period))


def _signature(leading: list[Group], paths: dict[int, Holder | None], root: Path | None) -> str | None:
    """Return what survives, allocated where and held by what; lines and counts are left out.

    Nothing tells plain values of unknown places apart that nothing holds: of such a leak there is none.
    """
    parts = set()
    for group in leading:
        holder = paths.get(id(group))
        if is_unheld(holder) and not group.frames and "." not in group.type:
            continue
        where = sites.place(group.frames[0], root) if group.frames else "an unknown place"
        held = f" held by {holder.identity}" if holder is not None else ""
        parts.add(f"{group.type} from {where}{held}")
    return without_counters("; ".join(sorted(parts))) or None


def _finding(
    group: Group,
    holder: Holder | None,
    seen: Watch,
    calls: Calls,
    *,
    closing: str | None,
    entered: tuple[sites.Frame, ...],
) -> Finding:
    bases: frozenset[str] = frozenset()
    extension = None
    kind = type(group.objects[0]) if group.objects else None
    if kind is not None:
        bases = base_names(kind)
        extension = package_of_extension(type_module(kind))
    if extension is None:
        # A built-in type made by a library: the library whose frame is the deepest.
        extension = compiled_package_of_file(group.frames[0][0]) if group.frames else None
    at_exit = holder is not None and holder.root in ("none", "function") and _registers_for_exit(seen)
    frames = (calls.registered_at.get("atexit.register", ()) if at_exit else ()) or group.frames
    owner = holder.owner if holder is not None else None
    adding = entered or group.frames
    return Finding(
        type=group.type,
        bases=bases,
        site=sites.describe(frames[0]) if frames else None,
        entered_at=sites.describe(entered[0]) if entered else None,
        holder=holder,
        owner=package_of_module(_module_of(owner)) if owner is not None else None,
        called=calls.extensions,
        opaque=seen.opaque if is_unheld(holder) else (),
        registered={name: sites.describe(at[0]) for name, at in calls.registered_at.items() if at},
        by_ctypes=None if calls.by_ctypes is None else sites.describe(calls.by_ctypes),
        package=package_of_module(_module_of(holder.root_name))
        if holder and holder.root in ("module", "class")
        else None,
        is_stdlib=holder is not None and holder.root in ("module", "class") and is_stdlib(holder.root_name),
        extension=extension,
        is_over=bool(group.objects) and all(map(is_over, group.objects)),
        at_exit=at_exit,
        closing=None if closing is None or calls.survives(type(group.objects[0]), closing) else closing,
        maker=package_of_file(adding[0][0]) if adding else None,
    )


def _module_of(name: str) -> str:
    """Return the name of the module that something is, or that a class is of."""
    while name not in sys.modules and "." in name:
        name = name.rpartition(".")[0]
    return name
