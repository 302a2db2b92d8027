"""Holder paths: what keeps a survivor alive, from a root down to it.

A search goes backwards from the survivors through ``gc.get_referrers``, level by level, until
it meets a root: the globals of a module, a class, a running function, a thread, a fixture of
wider scope. One call costs 20 to 50 ms on a heap of a million objects, and few levels are
needed, so that no map of the whole heap is made.

The heap must not be frozen: ``gc.get_referrers`` doesn't look into what is.
"""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextvars import Context, Token
from dataclasses import replace
from itertools import pairwise
from types import (
    CellType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Literal

from pytest_memalert.attribution.bounds import LRU_WRAPPER, Bound, bounded_holder, is_bound_of, kept_small
from pytest_memalert.attribution.edges import GENERATORS, edge_of, key_of
from pytest_memalert.attribution.objects import (
    code_name,
    function_name,
    instance_dict,
    is_exactly,
    is_kind,
    length,
    referents_of,
    referrers_of,
    type_module,
    type_name,
    wraps_method,
)
from pytest_memalert.attribution.roots import (
    context_variable,
    is_of_context,
    live_frames,
    module_roots,
    obscurity_of,
    running_locals,
    thread_name,
    thread_target,
    top_name,
)
from pytest_memalert.attribution.sites import OWN_DIRECTORY, describe, origin_of
from pytest_memalert.clock import Stopwatch
from pytest_memalert.records import record

__all__ = ["C_STATE", "IN_C", "NO_REFERRER", "UNREFERRED", "UNTRACKED", "Holder", "HolderSearch"]

RootKind = Literal[
    "module", "class", "context", "thread", "frame", "fixture", "pytest", "none", "function", "object"
]

#: Referrers followed from one level of the search to the next. Real paths are narrow; what has
#: thousands of referrers is a shared object, which explains nothing.
_WIDTH = 64
_DEPTH = 14
#: How long the search of one leak may take.
_LIMIT_S = 1.5
_SHOWN_HOPS = 10
#: The names per run from which a module or class is told to get new ones: not those of one import.
_STEADY = 0.5

NO_REFERRER = "no Python referrer: a missing decref, or held from C"
#: What is older than the runs was meant to be there: the interpreter's lists of codecs, of what a fork calls.
IN_C = "C code, without a Python referrer"
#: Of strings, bytes and tuples of such only the place is known, not the objects.
UNTRACKED = "something that can't be told: the collector doesn't track such objects"

#: Stands for the variable where a module keeps something in C alone.
C_STATE = "its C state"


@record(frozen=True, slots=True, kw_only=True)
class Holder:
    """Say what holds a survivor: text and types only, no object.

    ``hops`` is for people, from the root to the survivor. ``variable`` is the root's name for
    the first holder, ``container`` that holder's type, ``types`` all types on the way.
    ``identity`` names the root without numbers or keys. ``keeper`` is the last object on the way that
    was there before the runs, its identity and its length (0 if it has none); None where there is none.
    ``gets_names`` says that a module or class gets new names in each run, ``variable`` being one of them or
    not known. ``full`` is the bound of a holder that evicts and is full, ``full_by`` has its identity and
    those of its parts: another one keeps what stays. ``keeps_weak_key`` says that what a
    WeakKeyDictionary has for a key leads to that key, so that neither ever goes, ``is_raised_again`` that an
    exception of before the runs keeps their tracebacks.
    ``bounded`` is set where a holder on the way evicts and is not yet full; ``bounded_by`` is its
    identity, for a search without it.
    """

    root: RootKind
    root_name: str = ""
    variable: str | None = None
    container: str | None = None
    types: tuple[str, ...] = ()
    hops: tuple[str, ...] = ()
    identity: str = ""
    keeper: tuple[int, int] | None = None
    gets_names: bool = False
    bounded: Bound | None = None
    full: Bound | None = None
    full_by: frozenset[int] = frozenset()
    keeps_weak_key: bool = False
    is_raised_again: bool = False
    bounded_by: frozenset[int] = frozenset()
    lru_cache: str | None = None
    lru_cache_on_method: bool = False
    lru_cache_unbounded: bool = False
    thread_target: str | None = None


#: Of what nothing visible refers to.
UNREFERRED = Holder(root="none", root_name=NO_REFERRER, hops=(NO_REFERRER,), identity="none")


@record(slots=True)
class _Root:
    kind: RootKind
    name: str
    local: str | None = None


def _full(holder: object) -> Bound | None:
    """Return the bound of a cache, or a deque, that lets go of one for each that it takes in."""
    if type(holder) is LRU_WRAPPER:
        info = LRU_WRAPPER.cache_info(holder)
        bound = Bound(count=info.currsize, limit=info.maxsize)
    elif is_kind(holder, deque):
        bound = Bound(count=length(holder), limit=deque.maxlen.__get__(holder))
    else:
        return None
    return bound if bound.is_reached else None


def _is_table_of(cache: object, obj: object) -> bool:
    """Return whether an object is the dict in which an lru_cache() finds what it keeps."""
    if type(cache) is not LRU_WRAPPER or type(obj) is not dict or not obj:
        return False
    return type_name(type(next(iter(dict.values(obj))))) == "functools._lru_list_elem"


class HolderSearch:
    """Find the holder paths of several survivors in one search.

    ``ours`` are identities of containers that hold survivors only because we look at them.
    ``survivors`` are the identities of everything the runs left behind.
    """

    def __init__(
        self,
        *,
        survivors: set[int],
        ours: set[int],
        grown: Sequence[tuple[object, float]] = (),
    ) -> None:
        self._survivors = survivors
        self._growth = {id(obj): per_run for obj, per_run in grown}
        self._kept_small: dict[int, Bound | None] = {}
        self._watch = Stopwatch()
        self._modules = module_roots()
        self._threads = {id(thread) for thread in threading.enumerate()}
        self._locals: dict[int, tuple[str | None, str]] | None = None
        self._nodes: dict[int, object] = {}
        self._below: dict[int, list[int]] = {}
        self._ours = {*ours, id(self), id(self._nodes), id(self._below)}
        self._live = live_frames()

    def find(self, targets: list[object], *, without: frozenset[int] = frozenset()) -> list[Holder | None]:
        """Return the holder of each target; None where time or width ended the search.

        ``without`` are identities of holders that are not to count.
        """
        self._ours.add(id(targets))
        found = self._find(targets, without)
        open_ends = [i for i, h in enumerate(found) if h is None or h.root in ("none", "object", "function")]
        if open_ends:
            self._locals = running_locals()
            if self._locals:
                again = [targets[index] for index in open_ends]
                self._ours.add(id(again))
                for index, holder in zip(open_ends, self._find(again, without), strict=True):
                    if holder is not None and (found[index] is None or holder.root == "frame"):
                        found[index] = holder
                again.clear()  # the frame of this function may live on
            self._locals = None
        self._nodes.clear()
        return found

    def _find(self, targets: list[object], without: frozenset[int]) -> list[Holder | None]:
        self._nodes.clear()
        self._below.clear()
        # Which targets a node leads to, one bit each.
        leads: dict[int, int] = {}
        for index, target in enumerate(targets):
            self._nodes[id(target)] = target
            leads[id(target)] = leads.get(id(target), 0) | 1 << index
        roots: dict[int, _Root] = {}
        ends: dict[int, _Root] = {}
        frontier = list(leads)
        resolved = 0
        for _ in range(_DEPTH):
            for node in frontier:
                root = self._root(self._nodes[node])
                if root is not None:
                    roots[node] = root
                    resolved |= leads[node]
            frontier = [node for node in frontier if node not in roots and leads[node] & ~resolved]
            if not frontier or self._watch.worked_s() > _LIMIT_S:
                break
            frontier = self._expand(frontier[:_WIDTH], leads, ends, without)
        found = enumerate(map(id, targets))
        return [self._holder(target, 1 << index, leads, roots, ends) for index, target in found]

    def _expand(
        self, frontier: list[int], leads: dict[int, int], ends: dict[int, _Root], without: frozenset[int]
    ) -> list[int]:
        """Record who refers to these nodes; return the referrers that are new."""
        inside = set(frontier)
        children = [self._nodes[node] for node in frontier]
        referrers = referrers_of(children)
        self._ours.update((id(children), id(referrers)))
        following: dict[int, None] = {}
        held: set[int] = set()
        passed: set[int] = set()
        for referrer in referrers:
            node = id(referrer)
            if node in self._ours:
                continue
            below = {key for child in referents_of(referrer) if (key := id(child)) in inside}
            if node in without:
                held |= below  # so nothing is known of its own holder, not even that there is none
                continue
            if type(referrer) is Token:
                # It tells of the context in which a variable was set: that of the thread, for all to use.
                below = {key for key in below if type(self._nodes[key]) is not Context}
            if not below and is_kind(referrer, ModuleType):
                # Held by the module's state in C, into which it isn't safe to look.
                below = {id(child) for child in children if _refers(referrer, child)}
            below.discard(node)
            if self._is_passed_over(referrer):
                passed |= below
                continue
            held |= below
            self._nodes[node] = referrer
            self._below.setdefault(node, []).extend(sorted(below))
            mask = leads.get(node, 0)
            for child in below:
                mask |= leads[child]
            if mask != leads.get(node, 0):
                leads[node] = mask
                following[node] = None
        for node in inside - held:
            ends[node] = self._end(self._nodes[node], is_passed=node in passed)
        # Roots first: they must not be cut off by the width.
        return sorted(following, key=lambda node: self._root(self._nodes[node]) is None)

    def _is_passed_over(self, obj: object) -> bool:
        """Return whether ``obj`` refers to survivors only because the test is being run and explained."""
        if type(obj) is FrameType:
            return id(obj) in self._live or origin_of(obj.f_code.co_filename) == "own"
        if type(obj) is FunctionType:
            return obj.__code__.co_filename.startswith(OWN_DIRECTORY)
        return top_name(type_module(type(obj))) == "pytest_memalert"

    def _end(self, obj: object, *, is_passed: bool) -> _Root:
        """Return the root of an object to which nothing visible refers."""
        # A survivor isn't its own holder.
        is_old = id(obj) not in self._survivors
        if type(obj) is FunctionType and is_old:
            return _Root("function", function_name(obj), function_name(obj))
        if is_passed or (type(obj) is MethodType and is_old):
            return _Root("object", "the running code")
        if is_of_context(obj):
            return _Root("context", "context variables of the current thread")
        return _Root("none", IN_C if is_old else NO_REFERRER)

    def _root(self, obj: object) -> _Root | None:
        """Return the root that ``obj`` is, or None."""
        node = id(obj)
        # A module that the runs made is itself kept, by sys.modules.
        if node in self._modules and node not in self._survivors:
            return _Root("module", self._modules[node])
        if node in self._threads:
            return _Root("thread", thread_name(obj))
        if self._locals is not None and node in self._locals:
            variable, where = self._locals[node]
            return _Root("frame", where, variable)
        if node in self._survivors:
            return None
        kind = type(obj)
        if issubclass(kind, type):
            return _Root("class", type_name(obj))  # type: ignore[arg-type]
        if kind is dict and "__builtins__" in obj and "__name__" in obj:  # type: ignore[operator]
            name = obj["__name__"]  # type: ignore[index]
            return _Root("module", name if type(name) is str else "?")
        if type_module(kind).split(".", 1)[0] in ("_pytest", "pluggy"):
            argname = (instance_dict(obj) or {}).get("argname")
            if type_name(kind).endswith("FixtureDef") and type(argname) is str:
                return _Root("fixture", argname)
            return _Root("pytest", type_name(kind))
        return None

    # ------------------------------------------------------------- from root to target

    def _holder(
        self, target: int, bit: int, leads: dict[int, int], roots: dict[int, _Root], ends: dict[int, _Root]
    ) -> Holder | None:
        """Return the shortest path to a target, from the best kind of root that was met."""
        candidates = [node for node in roots if leads.get(node, 0) & bit]
        known = roots
        if not candidates:
            candidates = [node for node in ends if leads.get(node, 0) & bit]
            if not candidates:
                return None  # a cycle without a holder, or a chain longer than the search
            known = ends
        paths = [self._descend(node, target) for node in candidates]
        path = min(filter(None, paths), key=lambda path: self._preference(path, known[path[0]]), default=None)
        if path is None:
            return None
        objects = [self._nodes[node] for node in path]
        if known[path[0]].kind == "object":
            if path == [target] and target in self._survivors:
                return None
            while len(objects) > 2 and is_exactly(objects[0], (tuple, CellType)):
                del objects[0]  # the closure of a function of ours
        return self._render(objects, known[path[0]])

    def _preference(self, path: list[int], root: _Root) -> tuple[int, bool, bool, int, int, str]:
        """Return what sorts the best of several paths first, the same one in every test.

        What grows by as much holds them all; a cache that is full (``re``'s) holds the last ones as well.
        A logger is reachable from every module that has one: the module that its class is from
        tells more than those that happen to use it. What both a module of the standard library and one of
        the user's have is the library's, and best known by its public name.
        """
        rank = {"frame": 1, "pytest": 2, "none": 3, "object": 3}.get(root.kind, 0)
        modules = {top_name(type_module(type(self._nodes[node]))) for node in path[1:]}
        is_home = top_name(root.name) in modules
        foreign = bool(modules - {"builtins", "collections", "functools"}) and not is_home
        grows = any(node in self._growth for node in path)
        return rank, not grows, foreign, len(path), obscurity_of(root.name), root.name

    def _descend(self, start: int, target: int) -> list[int]:
        """Return the nodes of the shortest way from ``start`` down to ``target``."""
        before = {start: start}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if node == target:
                path = [node]
                while path[-1] != start:
                    path.append(before[path[-1]])
                return path[::-1]
            for child in self._below.get(node, ()):
                if child not in before:
                    before[child] = node
                    queue.append(child)
        return []

    def _render(self, path: list[object], root: _Root) -> Holder:
        """Return the path as text; ``path[0]`` is the root or what it holds."""
        old = (obj for obj in reversed(path) if id(obj) not in self._survivors)
        keeper = next(((id(obj), length(obj) or 0) for obj in old), None)
        target = thread_target(path[0]) if root.kind == "thread" else None
        new_names = self._new_names(path, root)
        variable, container = root.local, None
        if root.kind == "context":
            variable = context_variable(path) or ""
            while len(path) > 2 and is_of_context(path[1]):
                del path[0]  # the nodes of the tree that a context is
        hops = _root_hops(root, variable, target, new_names)
        types: list[str] = []
        is_itself = root.kind == "none" and len(path) == 1 and id(path[0]) in self._survivors
        if root.kind in ("none", "frame", "function", "object") and not is_itself:
            # The root isn't an object of its own: what it holds is the first hop.
            label = f"{root.local}: " if root.kind == "frame" and root.local else ""
            hops.append(label + self._name(path[0]))
            types.append(container := type_name(type(path[0])))
        if root.kind == "class" and new_names is not None and len(path) == 2:
            path = path[:1]  # the namespace itself
        steps = list(_steps(path, root))
        for start, edge, end in steps:
            types.append(type_name(type(path[end])))
            if start == 0 and variable is None:
                variable, container = edge.lstrip("."), types[-1]
            if start == 0 or edge.startswith(".") or end < len(path) - 1:
                hops.append(f"{edge}: {self._name(path[end])}")
        if len(hops) > _SHOWN_HOPS:
            hops[_SHOWN_HOPS // 2 : len(hops) - _SHOWN_HOPS // 2] = ["..."]
        identity = root.kind if root.kind in ("none", "thread") else f"{root.kind} {root.name}"
        if root.kind in ("module", "class", "fixture") and variable and new_names is None:
            identity += f" {variable}" if not variable.startswith("[") else ""
        places = [start for start, _, _ in steps]
        bounded, bounded_by, full, full_by = self._bounds_on(path, places)
        lru = next((path[place] for place in reversed(places) if type(path[place]) is LRU_WRAPPER), None)
        return Holder(
            root=root.kind,
            root_name=root.name,
            variable=variable,
            container=container,
            types=tuple(types),
            hops=tuple(hops),
            identity=identity,
            keeper=keeper,
            gets_names=new_names is not None,
            is_raised_again=any(
                is_kind(obj, BaseException) and type(next_obj) is TracebackType
                for obj, next_obj in pairwise(path)
                if id(obj) not in self._survivors
            ),
            full=full,
            full_by=full_by,
            bounded=bounded,
            bounded_by=bounded_by,
            lru_cache=None if lru is None else function_name(lru),
            lru_cache_on_method=lru is not None and wraps_method(lru),
            lru_cache_unbounded=lru is not None and LRU_WRAPPER.cache_info(lru).maxsize is None,  # type: ignore[arg-type]
            thread_target=target,
        )

    def _bounds_on(
        self, path: list[object], places: list[int]
    ) -> tuple[Bound | None, frozenset[int], Bound | None, frozenset[int]]:
        """Return the first bound of the holders at these places and that of what is full, each with whose."""
        bounded, full = None, None
        bounded_by: frozenset[int] = frozenset()
        full_by: frozenset[int] = frozenset()
        for place in places:
            holder = path[place]
            if bounded is None and (bounded := self._bound_of(holder, path)) is not None:
                bounded_by = frozenset((id(holder),))
            if (filled := _full(holder)) is not None and not self._any_grows(path[place + 1 : -1]):
                full = filled
                # What lru_cache() keeps is held by a dict as well.
                tables = (id(part) for part in referents_of(holder) if _is_table_of(holder, part))
                full_by = frozenset((id(holder), *tables))
        # What is full, and gets no longer, has let go of as much as it took in.
        if bounded is not None and bounded.is_reached and not self._any_grows(path[:-1]):
            return None, frozenset(), bounded, bounded_by
        return bounded, bounded_by, full, full_by

    def _any_grows(self, objects: Sequence[object]) -> bool:
        return any(id(obj) in self._growth for obj in objects)

    def _bound_of(self, holder: object, path: Sequence[object]) -> Bound | None:
        bound = bounded_holder(holder)
        growing = [obj for obj in path[:-1] if id(obj) in self._growth][-1:]
        if bound is not None and (not growing or is_bound_of(holder, growing)):
            return bound
        last = next((obj for obj in reversed(path[:-1]) if id(obj) not in self._survivors), None)
        # Where nothing grows, the last one took in as much as it let go of: by now, what is old goes.
        if id(holder) not in self._growth and (growing or holder is not last):
            return None
        return self.kept_small(holder)

    def with_bound(self, holder: Holder, container: object) -> Holder:
        """Return the holder of a container, with the bound of either: its own isn't looked for on the way."""
        bounded = holder.bounded or bounded_holder(container) or self.kept_small(container)
        return replace(holder, bounded=bounded)

    def kept_small(self, container: object) -> Bound | None:
        """Return what surely bounds a container that takes in survivors; it reads a source file, once."""
        if id(container) not in self._kept_small:
            self._kept_small[id(container)] = kept_small(container, surely=True)
        return self._kept_small[id(container)]

    def _new_names(self, path: list[object], root: _Root) -> float | None:
        """Return how many names the module or class at the root gets per run; None where it has them all.

        Where a container further on grows as well, it is that container that holds the survivor.
        """
        if root.kind not in ("module", "class"):
            return None
        start = 1 if root.kind == "class" else 0
        if len(path) <= start or type(path[start]) is not dict:
            return None
        if self._any_grows(path[start + 1 :]):
            return None
        growth = self._growth.get(id(path[start]), 0.0)
        return growth if growth >= _STEADY else None

    def _name(self, obj: object) -> str:
        """Return what a hop is: ``dict of 48``, ``function app.f``, ``app.Node``."""
        kind = type(obj)
        text = type_name(kind)
        if kind is LRU_WRAPPER:
            info = LRU_WRAPPER.cache_info(obj)  # type: ignore[arg-type]
            bound = "" if info.maxsize is None else f" of {info.maxsize:,}"
            text = f"lru_cache of {function_name(obj)} with {info.currsize:,}{bound}"
        elif kind is FunctionType:
            text = f"function {function_name(obj)}"
        elif is_exactly(obj, GENERATORS):
            text = f"{type_name(kind)} {code_name(obj)}"
        elif kind is FrameType:
            text = f"frame of {describe((obj.f_code.co_filename, obj.f_lineno))}"  # type: ignore[attr-defined]
        elif issubclass(kind, type):
            text = f"class {type_name(obj)}"  # type: ignore[arg-type]
        elif (count := length(obj)) is not None:
            text = f"{text} of {count:,}"
        growth = self._growth.get(id(obj))
        return text if growth is None else f"{text}, {_growth_text(growth)}"


def _root_hops(root: _Root, variable: str | None, target: str | None, new_names: float | None) -> list[str]:
    """Return the hop that is the root itself; none where what it holds tells as much."""
    if root.kind in ("function", "object"):
        return []
    if root.kind == "context" and variable:
        return [f"context variable {variable}"]
    labels = {"none": "", "context": "", "thread": "", "frame": "running function ", "pytest": "pytest's "}
    text = labels.get(root.kind, f"{root.kind} ") + root.name
    running = f" running {target}" if target else ""
    growing = f", {_growth_text(new_names)}" if new_names is not None else ""
    return [text + running + growing]


def _steps(path: list[object], root: _Root) -> Iterator[tuple[int, str, int]]:
    """Yield the edges of a path: the place of the holder, the edge's name, the place of what is held."""
    start = 0
    while start < len(path) - 1:
        holder = path[start]
        if start == 0 and root.kind == "context":
            edge, used = "its value", 1
        elif start == 0 and root.kind == "module":
            edge, used = (key_of(holder, path[1]) if is_kind(holder, dict) else C_STATE), 1
        else:
            edge, used = edge_of(path[start:])
        yield start, edge, start + used
        start += used


def _growth_text(per_run: float) -> str:
    return f"grows by {max(round(per_run), 1):,} a run"


def _refers(holder: object, child: object) -> bool:
    return any(referrer is holder for referrer in gc.get_referrers(child))
