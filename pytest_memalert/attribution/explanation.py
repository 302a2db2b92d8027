"""Explain a confirmed leak: what survives each run, where it was allocated, what holds it.

The test is run again a few times with allocations traced and the heap frozen, so that what
the runs left behind is known by identity (``survivors``); the allocation sites are cut to the
user's frames (``sites``); the holders are searched in the thawed heap (``holders``); memory
that no Python object accounts for is measured apart (``native``); and what to do follows from
all of it (``advice``). The result is text and numbers: it keeps no object of the test's alive.

Trouble on the way yields fewer facts, never an exception.
"""

from __future__ import annotations

import re
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import ModuleType

from pytest_memalert.attribution import advice, sites
from pytest_memalert.attribution.advice import Finding
from pytest_memalert.attribution.bounds import bounded_holder
from pytest_memalert.attribution.descriptors import open_descriptors, targets_of
from pytest_memalert.attribution.holders import NO_REFERRER, UNTRACKED, Holder, HolderSearch
from pytest_memalert.attribution.native import NativeGrowth, measure_native_growth
from pytest_memalert.attribution.objects import (
    base_names,
    is_kind,
    referents_of,
    type_module,
    type_name,
)
from pytest_memalert.attribution.packages import (
    compiled_package_of_file,
    is_stdlib,
    origin_of_name,
    package_of_extension,
    package_of_file,
    package_of_module,
)
from pytest_memalert.attribution.survivors import Group, Watch, watch
from pytest_memalert.model import Survivor
from pytest_memalert.records import record
from pytest_memalert.units import format_size

__all__ = ["Explanation", "explain"]

#: So often is the test run, traced: growth must show more than once.
_RUNS = 4

#: Kinds of survivors that are told; a leak of more is still told by those at its head.
_SHOWN_SURVIVORS = 12

#: Groups of survivors that are named, alike ones together; and the calls told of such.
_NAMED_GROUPS = 48
_SHOWN_CALLERS = 4

#: The share of runs in which survivors must have grown in number to be the whole story.
_SURE = 0.6

#: Kinds whose holders are searched. More survive where a test loads modules anew in each run.
_MOST_HEADS = 20

_NO_HOLDERS = ((), (NO_REFERRER,), (UNTRACKED,))

#: Below so many bytes per run, the noise of the heap itself, nothing is called native.
_LEAST_NATIVE_BYTES = 16

#: A number at the end of a name: "argmap_read_17", "<argmap> compilation 21".
_COUNTER = re.compile(r"(?<=[_ ])\d+\b")

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

#: The kinds of roots, those that a reader can do most about first.
_ROOTS = ("module", "class", "fixture", "context", "thread", "function", "frame", "pytest", "object", "none")

# What is so much larger than the rest is what leaks, whoever holds it.
_MUCH_MORE = 8
_WEAK_CONTAINERS = frozenset(
    ("_weakrefset.WeakSet", "weakref.WeakKeyDictionary", "weakref.WeakValueDictionary")
)

#: What holds together what a reader would name.
_PLUMBING = frozenset(
    ("dict", "list", "tuple", "set", "cell", "function", "method", "builtin_function_or_method")
)


@record(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Hold what is known of a leak.

    ``signature`` says what survives, where it was allocated and what holds it, without a
    number: two tests that show the same leak have the same; None where nothing is known that would tell it
    from another one. ``native`` says that the heap grew and no Python object accounts for it; ``grown_at``
    has the Python frames active then. ``framework`` says that everything was allocated within pytest, pluggy
    or their plugins, and that no variable of the user's holds it: those survivors are in
    ``framework_survivors``, and raise nothing. ``bounded`` is set where every survivor is held by something
    that evicts, and that is not yet full. ``keepers`` are the identities of
    what was there before and holds the survivors: by them is the leak recognised. ``blocks_per_run`` is what
    the explained operation left, where that is kept for the recognition.
    ``reason`` says why facts are missing. ``confidence`` is the share of runs that grew.
    """

    survivors: tuple[Survivor, ...] = ()
    framework_survivors: tuple[Survivor, ...] = ()
    signature: str | None = None
    recommendations: tuple[str, ...] = ()
    component: str = ""
    native: bool = False
    grown_at: tuple[str, ...] = ()
    framework: bool = False
    bounded: str | None = None
    keepers: frozenset[int] = frozenset()
    confidence: float = 0.0
    runs: int = 0
    blocks_per_run: float = 0.0
    reason: str | None = None


def explain(
    run: Callable[[], str | None], *, lost: Collection[str] = (), root: Path | None = None
) -> Explanation:
    """Return what each call of ``run`` leaves behind, and why.

    ``run`` runs the test once and returns None, or the reason why this run is no evidence.
    It is called a few times, traced, and where no object is found, a few times more. ``lost`` has the signals
    that are known to grow, for the advice. The signature names files from ``root``, else from the current
    directory.

    Do not call it while tracemalloc traces for another purpose: it then has only the frames
    that tracing was started with.
    """
    try:
        descriptors = open_descriptors()
        explanation = _explain(run, lost, root)
        return _with_system_advice(explanation, lost, open_descriptors() - descriptors)
    except Exception as error:
        return Explanation(reason=f"explaining it failed: {type_name(type(error))}")


def _with_system_advice(
    explanation: Explanation, lost: Collection[str], opened: frozenset[int]
) -> Explanation:
    """Return the explanation with advice for lost descriptors and threads that no known holder explains."""
    if explanation.framework or any(s.held_by[:1] not in _NO_HOLDERS for s in explanation.survivors):
        return explanation
    advised = advice.recommend_for_system(
        descriptors="descriptors" in lost, threads="threads" in lost, targets=targets_of(opened)
    )
    # Memory beside them is the thread's own, or the buffer of a file.
    known = explanation.recommendations if explanation.survivors or not advised else ()
    left = " and ".join(signal for signal in ("descriptors", "threads") if signal in lost)
    signature = explanation.signature or (f"{left} left open" if left else None)
    return replace(explanation, recommendations=(*advised, *known), signature=signature)


def _explain(run: Callable[[], str | None], lost: Collection[str], root: Path | None) -> Explanation:
    seen = watch(run, runs=_RUNS)
    if seen.reason is not None and seen.runs < 2:
        # Some tests look at the collector themselves, and fail while the heap is frozen.
        reason = seen.reason
        seen = watch(run, runs=_RUNS, freezing=False)
        if seen.runs < 2:
            return Explanation(reason=seen.reason or reason, runs=seen.runs)
    explanation = _from_objects(seen, root)
    del seen
    if explanation.confidence >= _SURE or explanation.framework:
        return explanation
    growth = measure_native_growth(run, runs=_RUNS)
    found_bytes = sum(survivor.size_bytes for survivor in explanation.survivors)
    if explanation.survivors and (growth.bytes_per_run or 0.0) < 4 * found_bytes:
        return explanation
    return _from_heap(growth, explanation, lost, root)


# --------------------------------------------------------------- Python objects


def _from_objects(seen: Watch, root: Path | None) -> Explanation:
    """Return the explanation by what survived; empty where no object did."""
    groups = seen.groups
    heads = _heads(groups)[:_MOST_HEADS]
    holders = _holders(seen, heads)
    new = {id(obj) for group in groups for obj in group.objects}
    found = {id(group): holder for group, holder in zip(heads, holders, strict=True)}
    framework = [group for group in groups if group.framework and not _is_users(found.get(id(group)))]
    users = [group for group in groups if group not in framework]
    # What a full cache has taken in, it has let go of as much for.
    users = [group for group in users if not _is_in_full_cache(found.get(id(group)))] or users
    weak = {id(group) for group in groups if _is_weak(group, found.get(id(group)))}
    weak_bytes = sum(group.size_bytes for group in heads if id(group) in weak)
    if weak_bytes > _MUCH_MORE * sum(group.size_bytes for group in heads if id(group) not in weak):
        weak = set()  # a value of a WeakKeyDictionary that refers to its key is held by it for ever
    users.sort(key=lambda group: (id(group) in weak, group not in heads, -group.size_bytes))
    named = users[:_NAMED_GROUPS]
    paths = {id(group): found.get(id(group)) or _owner(group, heads, found, new) for group in named}
    for part in _unheld_parts(named, paths):
        paths[id(part)] = None
        users.remove(part)
    survivors = _survivors(named, paths)[:_SHOWN_SURVIVORS]
    if not users and not framework:
        survivors, users, paths = _without_objects(seen)
    leading = [group for group in users if group in heads] or users[:1]
    # What only weak references hold has another holder: that of the others is to be told.
    leading = [group for group in leading if id(group) not in weak] or leading
    leading_holders = [paths.get(id(group)) for group in leading]
    bounds = [holder.bounded if holder is not None else None for holder in leading_holders]
    return Explanation(
        survivors=tuple(survivors),
        framework_survivors=tuple(_survivors(framework[:_SHOWN_SURVIVORS], found)),
        signature=_signature(leading or framework, {**found, **paths}, root),
        recommendations=advice.recommend(_finding(group, paths.get(id(group)), seen) for group in leading),
        component=sites.component_of(leading[0].frames) if leading else "",
        framework=bool(framework) and not users,
        bounded=bounds[0] if bounds and None not in bounds else None,
        keepers=frozenset(h.keeper for h in leading_holders if h is not None and h.keeper is not None),
        confidence=max((group.confidence for group in users or framework), default=0.0),
        runs=seen.runs,
        reason=seen.reason,
    )


def _unheld_parts(groups: list[Group], paths: Mapping[int, Holder | None]) -> list[Group]:
    """Return what only seems unheld, being part of what is held.

    It was made in the same line, or as often by the same calls; or it is a tuple or the like of which nothing
    is known, beside what is held. A stream doesn't tell the collector of its decoder, nor an exception of its
    arguments: that is no missing decref.
    """
    held: set[object] = set()
    unheld, has_held = [], False
    for group in groups:
        holder = paths[id(group)]
        if holder is None:
            continue
        if holder.root == "none":
            unheld.append(group)
        else:
            has_held = True
            held |= {group.frames[0], (group.frames[1:], group.per_run)} if group.frames else set()
    return [
        group
        for group in unheld
        if (group.frames[:1] and group.frames[0] in held)
        or (group.frames[1:] and (group.frames[1:], group.per_run) in held)
        or (has_held and not group.frames and group.type in _PLUMBING)
    ]


def _heads(groups: list[Group]) -> list[Group]:
    """Return the groups that no other survivor holds, and one of each cycle that nothing else holds.

    Minor ones are among them only where all are minor.
    """
    owner_of = {id(obj): index for index, group in enumerate(groups) for obj in group.objects}
    holds: dict[int, set[int]] = {index: set() for index in range(len(groups))}
    held: set[int] = set()
    for index, group in enumerate(groups):
        for obj in group.objects[:2000]:
            for child in referents_of(obj):
                # The dict of an instance's attributes is part of the instance.
                inner = referents_of(child) if type(child) is dict and id(child) not in owner_of else ()
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
        chosen = min(left, key=lambda index: (groups[index].type in _PLUMBING, -groups[index].size_bytes))
        heads.append(chosen)
        pending.append(chosen)


def _is_minor(group: Group) -> bool:
    return group.type in _MINOR or _is_reference(group)


def _is_reference(group: Group) -> bool:
    return bool(group.objects) and is_kind(group.objects[0], weakref.ReferenceType)


def _is_in_full_cache(holder: Holder | None) -> bool:
    return holder is not None and holder.lru_cache_full


def _is_weak(group: Group, holder: Holder | None) -> bool:
    """Return whether a group consists of weak references, or is held by a container of such."""
    return _is_reference(group) or bool(holder is not None and _WEAK_CONTAINERS.intersection(holder.types))


def _is_thread_or_task(group: Group) -> bool:
    if not group.objects:
        return False
    return is_kind(group.objects[0], threading.Thread) or group.type in advice.TASKS


def _holders(seen: Watch, heads: list[Group]) -> list[Holder | None]:
    """Return the holder of each head, unbounded ones preferred."""
    ours = {id(seen), id(seen.groups), id(seen.new), id(seen.grown), id(heads)}
    ours.update(id(pair) for pair in seen.grown)
    for group in (*seen.groups, *seen.hidden):
        ours.update((id(group), id(group.objects)))
    search = HolderSearch(
        survivors={id(obj) for group in seen.groups for obj in group.objects},
        ours=ours,
        grown=seen.grown,
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
            holders[index] = replace(holder, bounded=holder.bounded or bounded_holder(container))
        elif holder is not None and holder.bounded is not None:
            other = search.find([heads[index].objects[0]], without=frozenset(holder.bounded_by))[0]
            if other is not None and other.bounded is None and other.root not in ("none", "object"):
                holders[index] = other
    return holders


def _some(group: Group) -> list[object]:
    """Return a few objects of a group, from which its holder is searched: oldest, middle, newest.

    Any of them may be the one that a root holds. The newest is what the head of a linked list holds; the
    oldest is surely no last result.
    """
    last = len(group.objects) - 1
    return [group.objects[index] for index in sorted({0, last // 2, last})]


def _rank(holder: Holder) -> tuple[int, int]:
    return _ROOTS.index(holder.root), len(holder.hops)


def _owner(group: Group, heads: list[Group], found: dict[int, Holder | None], new: set[int]) -> Holder | None:
    """Return the holder of the head that leads to a group, the first found."""
    wanted = {id(obj) for obj in group.objects}
    if group.container is not None:
        return None
    for head in heads:
        pending = _some(head)
        visited: set[int] = set()
        while pending and len(visited) < 5000:
            current = pending.pop()
            if id(current) in wanted:
                return found.get(id(head))
            if id(current) in visited or is_kind(current, (type, ModuleType)):
                continue
            visited.add(id(current))
            pending.extend(child for child in referents_of(current) if id(child) in new)
    return None


def _without_objects(
    seen: Watch,
) -> tuple[list[Survivor], list[Group], dict[int, Holder | None]]:
    """Return what is known where no survivor was found: a container that grew, or traced memory."""
    paths: dict[int, Holder | None] = {}
    steady = [g for g in seen.hidden if not g.framework and g.frames and g.confidence >= _SURE]
    if seen.grown and not steady:
        groups = []
        targets = [obj for obj, _ in seen.grown[:8]]
        ours = {id(seen.grown), *(id(pair) for pair in seen.grown), id(seen.new), id(seen)}
        search = HolderSearch(survivors=set(), ours=ours, grown=seen.grown)
        for holder, (container, per_run) in zip(search.find(targets), seen.grown, strict=False):
            if holder is None or holder.root in ("pytest", "none", "object"):
                continue
            group = Group(
                type=f"element of {type_name(type(container))}",
                objects=[],
                per_run=per_run,
                size_bytes=8 * per_run,
                confidence=1.0,
            )
            groups.append(group)
            paths[id(group)] = holder
        return _survivors(groups, paths), groups, paths
    kept = steady[:_SHOWN_SURVIVORS]
    unheld = Holder(root="none", root_name=UNTRACKED, hops=(UNTRACKED,), identity="none")
    paths = {id(group): unheld for group in kept}
    return _survivors(kept, paths), kept, paths


def _survivors(groups: Iterable[Group], paths: Mapping[int, Holder | None]) -> list[Survivor]:
    """Return what to tell of groups; those of one type, place and holder that differ by the calls as one."""
    alike: dict[object, list[Group]] = {}
    for group in groups:
        holder = paths.get(id(group))
        key = (group.type, group.frames[:1], holder.hops if holder is not None else ())
        alike.setdefault(key, []).append(group)
    survivors = []
    for same in alike.values():
        frames, holder = same[0].frames, paths.get(id(same[0]))
        if len(same) > 1:
            callers = dict.fromkeys(frame for group in same for frame in group.frames[1:2])
            frames = (*frames[:1], *islice(callers, _SHOWN_CALLERS))
        survivors.append(
            Survivor(
                type=same[0].type,
                count=max(1, round(sum(group.per_run for group in same))),
                size_bytes=round(sum(group.size_bytes for group in same)),
                allocated_at=tuple(sites.describe(frame) for frame in frames),
                held_by=holder.hops if holder is not None else (),
            )
        )
    return survivors


def _signature(leading: list[Group], paths: dict[int, Holder | None], root: Path | None) -> str | None:
    """Return what survives, allocated where and held by what; lines and counts are left out.

    Of names that end in a number the number is left out, too: generated code counts up in them, from run
    to run with what ran before.
    """
    parts = set()
    for group in leading:
        where = sites.place(group.frames[0], root) if group.frames else "an unknown place"
        holder = paths.get(id(group))
        held = f" held by {holder.identity}" if holder is not None else ""
        parts.add(f"{group.type} from {where}{held}")
    return _COUNTER.sub("#", "; ".join(sorted(parts))) or None


# ----------------------------------------------------------------- native memory


def _from_heap(
    growth: NativeGrowth, seen: Explanation, lost: Collection[str], root: Path | None
) -> Explanation:
    """Return the explanation of growth that no new Python object accounts for."""
    reason = growth.reason or seen.reason
    if growth.bytes_per_run is None or growth.bytes_per_run < _LEAST_NATIVE_BYTES:
        # What grows in steps, as a bytearray does, may not do so in these few runs.
        is_memory = reason is None and bool({"heap", "resident", "mapped"}.intersection(lost))
        return Explanation(
            recommendations=advice.recommend_for_memory() if is_memory else (),
            runs=seen.runs,
            reason=reason or "nothing that survives the runs was found",
        )
    # pytest takes and frees memory all the time: that some of it grew there by as much is chance.
    frames = () if sites.is_framework(growth.frames) else growth.frames
    grown_at = tuple(sites.describe(frame) for frame in frames)
    package = package_of_file(frames[0][0]) if frames else None
    if package is None and frames and growth.module is not None:
        package = package_of_module(growth.module)
    return Explanation(
        signature=f"native memory from {sites.place(frames[0], root)}" if frames else None,
        recommendations=advice.recommend_for_memory(
            size=format_size(growth.bytes_per_run),
            place=grown_at[0] if grown_at else None,
            function=growth.function,
            package=package,
        ),
        component=sites.component_of(frames),
        native=True,
        grown_at=grown_at,
        confidence=1.0,
        runs=seen.runs,
        reason=reason,
    )


# ---------------------------------------------------------------- for the advice


def _finding(group: Group, holder: Holder | None, seen: Watch) -> Finding:
    bases: frozenset[str] = frozenset()
    extension = None
    kind = type(group.objects[0]) if group.objects else None
    if kind is not None:
        bases = base_names(kind)
        extension = package_of_extension(type_module(kind))
    if extension is None:
        # A built-in type made by a library: the library whose frame is the deepest.
        extension = compiled_package_of_file(group.frames[0][0]) if group.frames else None
    return Finding(
        type=group.type,
        bases=bases,
        site=sites.describe(group.frames[0]) if group.frames else None,
        holder=holder,
        package=package_of_module(holder.root_name) if holder and holder.root == "module" else None,
        is_stdlib=holder is not None and holder.root in ("module", "class") and is_stdlib(holder.root_name),
        extension=extension,
        is_over=bool(group.objects) and all(map(_is_over, group.objects)),
        at_exit=bool(holder and holder.root in ("none", "function") and seen.exit_callbacks_per_run >= 0.5),
    )


def _is_over(obj: object) -> bool:
    """Return whether ``obj`` is a thread or a task of asyncio's that has ended."""
    if is_kind(obj, threading.Thread):
        return not threading.Thread.is_alive(obj)  # type: ignore[arg-type]
    asyncio = sys.modules.get("_asyncio")
    return asyncio is not None and is_kind(obj, asyncio.Future) and asyncio.Future.done(obj)


def _is_users(holder: Holder | None) -> bool:
    """Return whether a variable of the user's own holds something: then it is theirs, whoever made it.

    Not so by way of an object of pytest's or a plugin's, which the variable merely refers to.
    """
    if holder is None or holder.root not in ("module", "class"):
        return False
    between = map(origin_of_name, holder.types[:-1])
    return origin_of_name(holder.root_name) == "user" and "framework" not in between
