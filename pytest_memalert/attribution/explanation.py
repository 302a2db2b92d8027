"""Explain a confirmed leak: what survives each run, where it was allocated, what holds it.

The test is run again a few times with allocations traced and the heap frozen, so that what
the runs left behind is known by identity (``survivors``); the allocation sites are cut to the
user's frames (``sites``); what others of them lead to is left out (``heads``), the holders
of the rest are searched in the thawed heap (``group_holders``, ``holders``), and of these some
speak for the leak (``selection``); memory that no
Python object accounts for is measured apart (``native``); and what to do follows from all of
it (``advice``). The result is text and numbers: it keeps no object of the test's alive.

Trouble on the way yields fewer facts, never an exception.
"""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from itertools import islice
from pathlib import Path
from types import FunctionType, MethodDescriptorType

from pytest_memalert.attribution import advice, sites
from pytest_memalert.attribution.advice import Finding
from pytest_memalert.attribution.bounds import Bound
from pytest_memalert.attribution.calls import Calls, watch_calls
from pytest_memalert.attribution.descriptors import open_descriptors, places_of_opening, targets_of
from pytest_memalert.attribution.groups import Group, Watch
from pytest_memalert.attribution.holder import AT_EXIT, NO_REFERRER, UNTRACKED, Holder
from pytest_memalert.attribution.holders import HolderSearch
from pytest_memalert.attribution.lengths import BUFFERS, POINTER_BYTES
from pytest_memalert.attribution.native import NativeGrowth, measure_native_growth
from pytest_memalert.attribution.objects import (
    base_names,
    class_attribute,
    instance_dict,
    is_exactly,
    is_kind,
    own_attributes,
    type_module,
    type_name,
)
from pytest_memalert.attribution.packages import (
    compiled_package_of_file,
    is_stdlib,
    package_of_extension,
    package_of_file,
    package_of_module,
)
from pytest_memalert.attribution.selection import SURE, Selection, is_unheld
from pytest_memalert.attribution.survivors import watch
from pytest_memalert.collector import thawed
from pytest_memalert.model import Signal, Survivor
from pytest_memalert.records import record

__all__ = ["Amount", "Explanation", "explain"]

#: So often is the test run, traced: growth must show more than once.
_RUNS = 4

#: Kinds of survivors that are told; a leak of more is still told by those at its head.
_SHOWN_SURVIVORS = 12

#: The calls told of survivors that are alike.
_SHOWN_CALLERS = 4

#: So many functions per run are registered with atexit where it isn't one of the first run alone.
_REGISTERS = 0.5

_NO_HOLDERS = ((), (NO_REFERRER,), (UNTRACKED,), (AT_EXIT,))

#: Below so many bytes per run, the noise of the heap itself, nothing is called native.
_LEAST_NATIVE_BYTES = 16

#: A number at the end of a name: "argmap_read_17", "<argmap> compilation 21".
_COUNTER = re.compile(r"(?<=[_ ])\d+\b")

# What ends the objects of a type, the first that it has.
_CLOSING = ("aclose", "close", "shutdown", "stop", "disconnect")
_SIGNAL = re.compile("signal|event", re.IGNORECASE)
_FUNCTIONS = (FunctionType, MethodDescriptorType)
_IN_MEMORY = (io.BytesIO, io.StringIO)
_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper, *_IN_MEMORY)

# The share of what is lost that must be accounted for.
_MOST = 0.5


@record(frozen=True, slots=True, kw_only=True)
class Amount:
    """Hold so many objects, and what they take, in each run; what holds them keeps up to so many."""

    objects: float
    bytes: float
    limit: int = 0


_NOTHING = Amount(objects=0.0, bytes=0.0)


@record(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Hold what is known of a leak.

    ``signature`` says what survives, where it was allocated and what holds it, without a number: two tests
    that show the same leak have the same; None where nothing is known that would tell it from another one.
    ``native`` says that the heap grew and no Python object accounts for it; ``grown_at`` has the Python
    frames active then. ``framework`` says that everything was allocated within pytest, pluggy or their
    plugins, and that no variable of the user's holds it: those survivors are in ``framework_survivors``, and
    raise nothing. ``bounded`` is set where every survivor is held by something that evicts, and that is not
    yet full, ``full`` where by something that is: it may have been filling before. ``in_parameter`` says that
    all of it is kept by a value that the test is parametrised with.
    ``is_whole`` says that these survivors are all that a run leaves, as far as is seen: none was
    left out as being part of others, and what was traced is theirs. ``let_go`` says that nothing but this
    search holds the survivors: what did so has let go of them since. ``has_files`` says that some of them
    have a descriptor. ``own`` is how much they are in each run, ``cached`` how much caches take in beside
    them. ``keepers`` are what was there before and holds the survivors, by identity, with the length of each:
    by them is the leak recognised. ``by_way_of`` has for each kind that matters what leads to its keeper, in
    the same way.
    ``lost`` is what each run of the explained operation took, by signal, where that is kept for the
    recognition.
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
    bounded: Bound | None = None
    full: Bound | None = None
    in_parameter: bool = False
    is_whole: bool = True
    let_go: bool = False
    has_files: bool = False
    own: Amount = _NOTHING
    cached: Amount = _NOTHING
    keepers: Mapping[int, int] = field(default_factory=dict)
    by_way_of: tuple[Mapping[int, int], ...] = ()
    confidence: float = 0.0
    runs: int = 0
    lost: Mapping[Signal, float] = field(default_factory=dict)
    reason: str | None = None


def explain(
    run: Callable[[], str | None], *, lost: Mapping[Signal, float] | None = None, root: Path | None = None
) -> Explanation:
    """Return what each call of ``run`` leaves behind, and why.

    ``run`` runs the test once and returns None, or the reason why this run is no evidence.
    It is called a few times, traced, and where no object is found, a few times more. ``lost`` has how
    much of each signal a run is known to take, where it is. The signature names files from ``root``,
    else from the current directory.

    Do not call it while tracemalloc traces for another purpose: it then has only the frames
    that tracing was started with.
    """
    try:
        descriptors = open_descriptors()
        known = lost or {}
        with thawed():
            explanation = _explain(run, known, root)
        opened = open_descriptors() - descriptors
        return _with_system_advice(explanation, known, opened, run, root)
    except Exception as error:
        return Explanation(reason=f"explaining it failed: {type_name(type(error))}")


def _with_system_advice(
    explanation: Explanation,
    lost: Mapping[Signal, float],
    opened: frozenset[int],
    run: Callable[[], str | None],
    root: Path | None,
) -> Explanation:
    """Return the explanation with advice for lost descriptors and threads that no known holder explains.

    A leak that takes such is another one than the same without: who accepted that hasn't accepted them.
    """
    left = " and ".join(signal for signal in ("descriptors", "threads") if signal in lost)
    signature = explanation.signature
    if signature is not None and left:
        signature = f"{signature}; {left} left open"
    is_held = any(survivor.held_by[:1] not in _NO_HOLDERS for survivor in explanation.survivors)
    if "descriptors" in lost and explanation.bounded is not None and not explanation.has_files:
        # What fills a cache opens none.
        cached = replace(explanation.own, limit=explanation.bounded.limit or 0)
        explanation = replace(explanation, survivors=(), recommendations=(), own=_NOTHING, cached=cached)
        is_held, signature = False, None
    # Files that are kept are closed by letting go of them.
    descriptors = "descriptors" in lost and not (is_held and explanation.has_files)
    if explanation.framework or (is_held and not descriptors):
        return replace(explanation, signature=signature)
    targets = targets_of(opened) if descriptors else ()
    places = places_of_opening(run) if descriptors else ()
    advised = advice.recommend_for_system(
        descriptors=descriptors,
        threads="threads" in lost and not is_held,
        targets=targets,
        places=[_opening(frames) for frames in places],
    )
    if is_held:
        advice_for_all = (*explanation.recommendations, *advised)
        return replace(explanation, recommendations=advice_for_all, signature=signature)
    if not explanation.survivors and advised:
        # Memory beside them is the thread's own, or the buffer of a file.
        explanation = replace(explanation, recommendations=(), grown_at=())
        signature = None if places else signature
    # Where they are opened tells one leak from another, and what they lead to: of files where no place is
    # known, without the folder, which may be a test's own.
    names = [Path(target).name for target in targets if not (places and target.startswith("/"))]
    told_apart = [f" to {_COUNTER.sub('#', name)}" for name in sorted(names)]
    told_apart += sorted(f" from {sites.place(frames[0], root)}" for frames in places)
    signature = signature or (f"{left} left open{''.join(told_apart)}" if left else None)
    return replace(explanation, recommendations=(*advised, *explanation.recommendations), signature=signature)


def _opening(frames: tuple[sites.Frame, ...]) -> advice.Opening:
    place, *callers = map(sites.describe, frames)
    return advice.Opening(
        place=place, caller=callers[0] if callers else None, package=package_of_file(frames[0][0])
    )


def _explain(run: Callable[[], str | None], lost: Mapping[Signal, float], root: Path | None) -> Explanation:
    # Where no block is lost, it may be a buffer that takes more and more of the heap.
    with_buffers = bool(lost) and "blocks" not in lost
    seen = watch(run, runs=_RUNS, with_buffers=with_buffers)
    if seen.reason is not None and seen.runs < 2:
        # Some tests look at the collector themselves, and fail while the heap is frozen.
        reason = seen.reason
        seen = watch(run, runs=_RUNS, freezing=False, with_buffers=with_buffers)
        if seen.runs < 2:
            return Explanation(reason=seen.reason or reason, runs=seen.runs)
    explanation = _from_objects(seen, root, run)
    del seen
    found_bytes = sum(survivor.size_bytes for survivor in explanation.survivors)
    heap_bytes = lost.get("heap", 0.0)
    lost_bytes = max(heap_bytes, lost.get("resident", 0.0), lost.get("mapped", 0.0))
    is_told = not with_buffers or found_bytes >= _MOST * lost_bytes
    if (explanation.confidence >= SURE and is_told) or explanation.framework:
        return explanation
    bypasses_heap = bool(lost) and heap_bytes < _MOST * lost_bytes
    growth = measure_native_growth(run, runs=_RUNS, resident=bypasses_heap)
    if explanation.survivors and (growth.bytes_per_run or 0.0) < 4 * found_bytes:
        return explanation
    return _from_heap(growth, explanation, lost, root)


# --------------------------------------------------------------- Python objects


def _from_objects(seen: Watch, root: Path | None, run: Callable[[], str | None]) -> Explanation:
    """Return the explanation by what survived; empty where no object did."""
    chosen = Selection(seen)
    users, leading = chosen.users, chosen.leading
    paths = {key: _at_exit(holder, seen) for key, holder in chosen.paths.items()}
    survivors = _survivors(chosen.named, paths)[:_SHOWN_SURVIVORS]
    if not users and not chosen.framework:
        survivors, users, paths = _without_objects(seen)
        leading = users[:1]
    holders = [paths.get(id(group)) for group in leading]
    bounds = [holder.bounded if holder is not None else None for holder in holders]
    filled = [holder.full if holder is not None else None for holder in holders]
    let_go = bool(leading) and all(_is_let_go(group, paths.get(id(group)), seen) for group in leading)
    closing = {id(group): _closing_of(group) for group in leading}
    sought = [(type(group.objects[0]), name) for group in leading if (name := closing[id(group)]) is not None]
    is_unknown = any(holder is None or holder.root in ("none", "function") for holder in holders)
    calls = watch_calls(run, sought) if (sought or is_unknown) and not let_go else Calls()
    return Explanation(
        survivors=tuple(survivors),
        framework_survivors=tuple(_survivors(chosen.framework, chosen.holders)),
        signature=_signature(leading or chosen.framework, {**chosen.holders, **paths}, root),
        recommendations=advice.recommend(
            _finding(group, paths.get(id(group)), seen, calls, closing=closing[id(group)])
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


def _at_exit(holder: Holder | None, seen: Watch) -> Holder | None:
    """Return the holder, said to be atexit where nothing refers to what it holds and each run registers."""
    if holder is None or holder.hops[:1] != (NO_REFERRER,) or not _registers_for_exit(seen):
        return holder
    return replace(holder, hops=(AT_EXIT, *holder.hops[1:]))


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


def _without_objects(
    seen: Watch,
) -> tuple[list[Survivor], list[Group], dict[int, Holder | None]]:
    """Return what is known where no survivor was found: a container that grew, or traced memory."""
    paths: dict[int, Holder | None] = {}
    steady = [g for g in seen.hidden if not g.framework and g.frames and g.confidence >= SURE]
    if seen.grown and not steady:
        groups = []
        targets = [obj for obj, _ in seen.grown[:8]]
        ours = {id(seen.grown), *(id(pair) for pair in seen.grown), id(seen.new), id(seen)}
        search = HolderSearch(survivors=set(), ours=ours, grown=seen.grown)
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

    Nothing tells plain values of unknown places apart that nothing holds: of such a leak there is none.
    Of names that end in a number the number is left out, too: generated code counts up in them, from run
    to run with what ran before.
    """
    parts = set()
    for group in leading:
        holder = paths.get(id(group))
        if is_unheld(holder) and not group.frames and "." not in group.type:
            continue
        where = sites.place(group.frames[0], root) if group.frames else "an unknown place"
        held = f" held by {holder.identity}" if holder is not None else ""
        parts.add(f"{group.type} from {where}{held}")
    return _COUNTER.sub("#", "; ".join(sorted(parts))) or None


# ----------------------------------------------------------------- native memory


def _from_heap(
    growth: NativeGrowth, seen: Explanation, lost: Mapping[Signal, float], root: Path | None
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
            place=grown_at[0] if grown_at else None,
            function=growth.function,
            package=package,
            caller=grown_at[1] if len(grown_at) > 1 else None,
        ),
        component=sites.component_of(frames),
        native=True,
        grown_at=grown_at,
        confidence=1.0,
        runs=seen.runs,
        reason=reason,
    )


# ---------------------------------------------------------------- for the advice


def _finding(
    group: Group, holder: Holder | None, seen: Watch, calls: Calls, *, closing: str | None
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
    frames = (calls.exit_registered_at if at_exit else ()) or group.frames
    owner = holder.owner if holder is not None else None
    return Finding(
        type=group.type,
        bases=bases,
        site=sites.describe(frames[0]) if frames else None,
        holder=holder,
        owner=package_of_module(_module_of(owner)) if owner is not None else None,
        called=calls.extensions,
        by_ctypes=None if calls.by_ctypes is None else sites.describe(calls.by_ctypes),
        package=package_of_module(_module_of(holder.root_name))
        if holder and holder.root in ("module", "class")
        else None,
        is_stdlib=holder is not None and holder.root in ("module", "class") and is_stdlib(holder.root_name),
        extension=extension,
        is_over=bool(group.objects) and all(map(_is_over, group.objects)),
        at_exit=at_exit,
        closing=None if closing is None or calls.survives(type(group.objects[0]), closing) else closing,
        maker=package_of_file(group.frames[0][0]) if group.frames else None,
    )


def _closing_of(group: Group) -> str | None:
    """Return the method that ends what a group's objects do; None where they have none, or are closed."""
    if not group.objects or all(map(_is_closed, group.objects)):
        return None
    kind = type(group.objects[0])
    names = (name for name in _CLOSING if is_exactly(class_attribute(kind, name), _FUNCTIONS))
    name = "wait" if "subprocess.Popen" in base_names(kind) else next(names, None)
    # A signal disconnects others, not itself.
    is_others = name == "disconnect" and _SIGNAL.search(group.type) is not None
    return None if is_others or is_exactly(group.objects[0], _IN_MEMORY) else name


def _is_closed(obj: object) -> bool:
    """Return whether ``obj`` is a file, a socket, an event loop or the like that is closed."""
    if is_exactly(obj, _FILES):
        try:
            return bool(obj.closed)  # type: ignore[attr-defined]
        except ValueError:  # detached from its stream
            return False
    return own_attributes(obj).get("_closed") is True


def _module_of(name: str) -> str:
    """Return the name of the module that something is, or that a class is of."""
    while name not in sys.modules and "." in name:
        name = name.rpartition(".")[0]
    return name


def _is_over(obj: object) -> bool:
    """Return whether ``obj`` is a thread or a task of asyncio's that has ended."""
    if is_kind(obj, threading.Thread):
        # One whose __init__ wasn't called can't be asked.
        begun = (instance_dict(obj) or {}).get("_initialized") is True
        return begun and not threading.Thread.is_alive(obj)  # type: ignore[arg-type]
    asyncio = sys.modules.get("_asyncio")
    return asyncio is not None and is_kind(obj, asyncio.Future) and asyncio.Future.done(obj)
