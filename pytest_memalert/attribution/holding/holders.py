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
from collections.abc import Sequence
from contextvars import Context, Token
from itertools import pairwise
from types import CellType, FrameType, FunctionType, MethodType, ModuleType, TracebackType

from pytest_memalert.attribution.allocation.sites import OWN_DIRECTORY, origin_of
from pytest_memalert.attribution.holding.holder import IN_C, NO_REFERRER, Holder, Root
from pytest_memalert.attribution.holding.path_bounds import PathBounds
from pytest_memalert.attribution.holding.paths import PathWriter
from pytest_memalert.attribution.holding.roots import (
    hooks,
    is_of_context,
    live_frames,
    module_roots,
    obscurity_of,
    running_locals,
    thread_name,
    top_name,
)
from pytest_memalert.attribution.objects import (
    function_name,
    instance_dict,
    is_exactly,
    is_kind,
    referents_of,
    referrers_of,
    type_module,
    type_name,
)
from pytest_memalert.clock import Stopwatch
from pytest_memalert.collector import callbacks_apart

__all__ = ["HolderSearch"]

#: Referrers followed from one level of the search to the next. Real paths are narrow; what has
#: thousands of referrers is a shared object, which explains nothing.
_WIDTH = 64
#: What is wrapped anew in each run takes three steps from one to the next, and up to four runs follow those
#: that are searched.
_DEPTH = 18
#: The iterators of one itertools.tee() have what they read in a chain of such.
_ITERATOR_OF_TEE = "itertools._tee"
_PART_OF_TEE = "itertools._tee_dataobject"
#: How long the search of one leak may take.
_LIMIT_S = 1.5


class HolderSearch:
    """Find the holder paths of several survivors in one search.

    ``ours`` are identities of containers that hold survivors only because we look at them.
    ``grown`` has the containers that became longer, with how much in so many runs ``together`` each.
    ``survivors`` are the identities of everything the runs left behind. ``bounds`` finds what bounds them.
    """

    def __init__(
        self,
        *,
        survivors: set[int],
        ours: set[int],
        grown: Sequence[tuple[object, float]] = (),
        together: int = 1,
    ) -> None:
        self._survivors = survivors
        self._growth = {id(obj): per_run for obj, per_run in grown}
        self.bounds = PathBounds(survivors=survivors, growth=self._growth)
        self._writer = PathWriter(
            survivors=survivors, growth=self._growth, bounds=self.bounds, together=together
        )
        self._watch = Stopwatch()
        self._modules = module_roots()
        self._hooks = hooks()
        self._threads = {id(thread) for thread in threading.enumerate()}
        self._locals: dict[int, Root] | None = None
        self._before: dict[type, dict[int, object]] = {}
        self._nodes: dict[int, object] = {}
        self._below: dict[int, list[int]] = {}
        self._straight: dict[int, int] = {}
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
        self._before.clear()
        return found

    def _find(self, targets: list[object], without: frozenset[int]) -> list[Holder | None]:
        self._nodes.clear()
        self._below.clear()
        # Which targets a node leads to, one bit each; and which it leads to straight.
        leads: dict[int, int] = {}
        self._straight.clear()
        for index, target in enumerate(targets):
            self._nodes[id(target)] = target
            leads[id(target)] = leads.get(id(target), 0) | 1 << index
            self._straight[id(target)] = leads[id(target)]
        roots: dict[int, Root] = {}
        ends: dict[int, Root] = {}
        frontier = list(leads)
        resolved = 0
        for _ in range(_DEPTH):
            for node in frontier:
                root = self._root(self._nodes[node])
                if root is not None:
                    roots[node] = root
                    # What only a detour leads to may have a holder further up.
                    resolved |= self._straight.get(node, 0)
            frontier = [node for node in frontier if node not in roots and leads[node] & ~resolved]
            if not frontier or self._watch.worked_s() > _LIMIT_S:
                break
            frontier = self._expand(frontier[:_WIDTH], leads, ends, without)
        found = enumerate(map(id, targets))
        return [self._holder(target, 1 << index, leads, roots, ends) for index, target in found]

    def _expand(
        self, frontier: list[int], leads: dict[int, int], ends: dict[int, Root], without: frozenset[int]
    ) -> list[int]:
        """Record who refers to these nodes; return the referrers that are new."""
        following: dict[int, None] = {}
        read: set[int] = set()
        for node in frontier:
            outer = self._outermost(self._nodes[node])
            if outer is not None:
                read.add(node)
                self._nodes[id(outer)] = outer
                self._lead(id(outer), [node], leads, following)
        inside = set(frontier)
        children = [self._nodes[node] for node in frontier]
        referrers = referrers_of(children)
        self._ours.update((id(children), id(referrers)))
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
            if type_name(type(referrer)) == _ITERATOR_OF_TEE:
                below -= read  # it has come so far: the one that lags behind holds all of it
            if self._is_passed_over(referrer):
                passed |= below
                continue
            held |= below
            self._nodes[node] = referrer
            self._lead(node, sorted(below), leads, following)
        for node in inside - held:
            ends[node] = self._end(self._nodes[node], is_passed=node in passed)
        # Roots first: they must not be cut off by the width.
        return sorted(following, key=lambda node: self._root(self._nodes[node]) is None)

    def _lead(self, node: int, below: list[int], leads: dict[int, int], following: dict[int, None]) -> None:
        """Record that a node leads to others, and that it is to be followed if that is new."""
        self._below.setdefault(node, []).extend(below)
        before = leads.get(node, 0), self._straight.get(node, 0)
        mask, straight = before
        for child in below:
            mask |= leads[child]
            if not self._is_detour(node, child):
                straight |= self._straight.get(child, 0)
        if (mask, straight) != before:
            leads[node], self._straight[node] = mask, straight
            following[node] = None

    def _is_detour(self, node: int, child: int) -> bool:
        """Return whether a survivor leads to what was there before it: something else holds that."""
        return node in self._survivors and child not in self._survivors

    def _outermost(self, obj: object) -> object:
        """Return the first of those that lead to one of its kind, more than there are levels; or None.

        An exception that is raised again and again has one traceback longer by some each time.
        """
        kind = type(obj)
        if kind is not TracebackType and type_name(kind) != _PART_OF_TEE:
            return None
        if kind not in self._before:
            self._before[kind] = {
                id(child): each
                for each in gc.get_objects()
                if type(each) is kind
                for child in referents_of(each)
                if type(child) is kind
            }
            self._ours.add(id(self._before[kind]))
        outer: object = obj
        seen = set()
        while (further := self._before[kind].get(id(outer))) is not None and id(further) not in seen:
            seen.add(id(further))
            outer = further
        return None if outer is obj else outer

    def _is_passed_over(self, obj: object) -> bool:
        """Return whether ``obj`` refers to survivors only because the test is being run and explained."""
        if type(obj) is FrameType:
            return id(obj) in self._live or origin_of(obj.f_code.co_filename) == "own"
        if type(obj) is FunctionType:
            return obj.__code__.co_filename.startswith(OWN_DIRECTORY)
        return top_name(type_module(type(obj))) == "pytest_memalert"

    def _end(self, obj: object, *, is_passed: bool) -> Root:
        """Return the root of an object to which nothing visible refers."""
        if id(obj) in self._hooks:
            return Root("hook", self._hooks[id(obj)])
        # A survivor isn't its own holder.
        is_old = id(obj) not in self._survivors
        if type(obj) is FunctionType and is_old:
            return Root("function", function_name(obj), function_name(obj))
        if is_passed or (type(obj) is MethodType and is_old):
            return Root("object", "the running code")
        if is_of_context(obj):
            return Root("context", "context variables of the current thread")
        return Root("none", IN_C if is_old else NO_REFERRER)

    def _root(self, obj: object) -> Root | None:
        """Return the root that ``obj`` is, or None."""
        node = id(obj)
        # A module that the runs made is itself kept, by sys.modules.
        if node in self._modules and node not in self._survivors:
            return Root("module", self._modules[node])
        if node in self._threads:
            return Root("thread", thread_name(obj))
        if self._locals is not None and node in self._locals:
            return self._locals[node]
        if obj is callbacks_apart:
            return Root("module", "gc", "callbacks")
        if node in self._survivors:
            return None
        kind = type(obj)
        if issubclass(kind, type):
            return Root("class", type_name(obj))  # type: ignore[arg-type]
        if kind is dict and "__builtins__" in obj and "__name__" in obj:  # type: ignore[operator]
            name = obj["__name__"]  # type: ignore[index]
            return Root("module", name if type(name) is str else "?")
        if type_module(kind).split(".", 1)[0] in ("_pytest", "pluggy"):
            argname = (instance_dict(obj) or {}).get("argname")
            if type_name(kind).endswith("FixtureDef") and type(argname) is str:
                return Root("fixture", argname)
            return Root("pytest", type_name(kind))
        return None

    # ------------------------------------------------------------- from root to target

    def _holder(
        self, target: int, bit: int, leads: dict[int, int], roots: dict[int, Root], ends: dict[int, Root]
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
        return self._writer.write(objects, known[path[0]])

    def _preference(self, path: list[int], root: Root) -> tuple[int, bool, bool, bool, int, int, str]:
        """Return what sorts the best of several paths first, the same one in every test.

        A finalizer that each run makes may refer to the registry that holds what it watches: it is the
        registry that holds it, and another path leads there.
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
        is_detour = any(self._is_detour(node, child) for node, child in pairwise(path))
        return rank, is_detour, not grows, foreign, len(path), obscurity_of(root.name), root.name

    def _descend(self, start: int, target: int) -> list[int]:
        """Return the nodes of the shortest way from ``start`` down to ``target``, a straight one first."""
        return self._way_down(start, target, straight=True) or self._way_down(start, target, straight=False)

    def _way_down(self, start: int, target: int, *, straight: bool) -> list[int]:
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
                if child not in before and not (straight and self._is_detour(node, child)):
                    before[child] = node
                    queue.append(child)
        return []


def _refers(holder: object, child: object) -> bool:
    return any(referrer is holder for referrer in gc.get_referrers(child))
