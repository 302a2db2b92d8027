"""A path from a root down to a survivor, told in text: no object of it is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import groupby, pairwise
from types import FrameType, FunctionType, MethodType, TracebackType
from typing import Any

from pytest_memalert.attribution.allocation.packages import packaged_base
from pytest_memalert.attribution.allocation.sites import describe
from pytest_memalert.attribution.bounding.bounds import LRU_WRAPPER
from pytest_memalert.attribution.holding.edges import GENERATORS, edge_of, key_of, parameter_of
from pytest_memalert.attribution.holding.holder import C_STATE, Holder, Root
from pytest_memalert.attribution.holding.path_bounds import PathBounds
from pytest_memalert.attribution.holding.roots import context_variable, is_of_context, thread_target
from pytest_memalert.attribution.objects import (
    class_attribute,
    code_name,
    function_name,
    instance_dict,
    is_exactly,
    is_kind,
    length,
    type_module,
    type_name,
    wraps_method,
)

__all__ = ["PathWriter"]

_SHOWN_HOPS = 10
#: The names per run from which a module or class is told to get new ones: not those of one import.
_STEADY = 0.5
#: Of these modules are the types that only hold together what a reader would name.
_PLAIN = frozenset({"", "builtins", "collections"})
#: What lets go of what an instance keeps, as those have that are containers themselves.
_CLEARS = ("clear", "popitem", "pop", "discard", "remove", "__delitem__")


class PathWriter:
    """Say what the paths of one search are; for the parameters see ``PathBounds``.

    The ``growth`` of containers is that of so many runs ``together``.
    """

    def __init__(
        self, *, survivors: set[int], growth: Mapping[int, float], bounds: PathBounds, together: int
    ) -> None:
        self._together = together
        self._survivors = survivors
        self._growth = growth
        self._bounds = bounds

    def write(self, path: list[object], root: Root) -> Holder:
        """Return the path as text; ``path[0]`` is the root or what it holds."""
        old = [(id(obj), length(obj) or 0) for obj in path if id(obj) not in self._survivors]
        target = thread_target(path[0]) if root.kind == "thread" else None
        new_names = self._new_names(path, root)
        variable, container = root.local, None
        if root.kind == "context":
            variable = context_variable(path) or ""
            while len(path) > 2 and is_of_context(path[1]):
                del path[0]  # the nodes of the tree that a context is
        of_fixture = _value_of_fixture(path) if root.kind == "fixture" else None
        path = path if of_fixture is None else path[of_fixture:]
        growing = "" if new_names is None else f", {_growth_text(new_names, self._together)}"
        hops = _root_hops(root, variable, target, growing)
        way = _root_hops(root, variable, target, "")
        types: list[str] = []
        is_itself = root.kind == "none" and len(path) == 1 and id(path[0]) in self._survivors
        if (root.kind in ("none", "frame", "function", "object", "hook") or root.local) and not is_itself:
            # The root isn't an object of its own: what it holds is the first hop.
            label = f"{root.local}: " if root.local else ""
            hops.append(label + self._name(path[0]))
            way.append(label + _plain_name(path[0]))
            types.append(container := type_name(type(path[0])))
        if of_fixture is not None:
            hops[0] += f": {self._name(path[0])}"
            way[0] += f": {_plain_name(path[0])}"
            variable, container = "its value", type_name(type(path[0]))
            types.append(container)
        if root.kind == "class" and new_names is not None and len(path) == 2:
            path = path[:1]  # the namespace itself
        steps = list(_steps(path, root))
        default_of = None
        for start, edge, end in steps:
            types.append(type_name(type(path[end])))
            if start == 0 and variable is None:
                variable, container = edge.lstrip("."), types[-1]
            if (parameter := parameter_of(edge)) is not None:
                default_of = parameter, function_name(path[start])
            if start == 0 or edge.startswith(".") or end < len(path) - 1 or parameter is not None:
                hops.append(f"{edge}: {self._name(path[end])}")
                way.append(f"{edge}: {_plain_name(path[end])}")
        # What a hook, or a variable of a function, refers to comes first.
        value = path[steps[0][2]] if steps and not (root.local or root.kind == "hook") else path[0]
        is_set_anew = self._is_set_anew(value, path)
        for told in (hops, way):
            # From each to the one before it is the same way, as from each node of a linked list to the next.
            told[:] = dict.fromkeys(told) if is_set_anew else [hop for hop, _ in groupby(told)]
            if len(told) > _SHOWN_HOPS:
                told[_SHOWN_HOPS // 2 : len(told) - _SHOWN_HOPS // 2] = ["..."]
        named = root.name if root.identity is None else root.identity
        identity = root.kind if root.kind in ("none", "thread") else f"{root.kind} {named}"
        if root.kind in ("module", "class", "fixture") and variable and new_names is None:
            identity += f" {variable}" if not variable.startswith("[") else ""
        places = [start for start, _, _ in steps]
        bounded, bounded_by, full, full_by = self._bounds.of_path(path, places)
        lru = next((path[place] for place in reversed(places) if type(path[place]) is LRU_WRAPPER), None)
        return Holder(
            root=root.kind,
            root_name=root.name,
            variable=variable,
            container=container,
            types=tuple(types),
            hops=tuple(hops),
            way=tuple(way),
            identity=identity,
            keeper=old[-1] if old else None,
            by_way_of=tuple(old[:-1]),
            gets_names=new_names is not None,
            is_raised_again=any(
                is_kind(obj, BaseException) and type(next_obj) is TracebackType
                for obj, next_obj in pairwise(path)
                if id(obj) not in self._survivors
            ),
            default_of=default_of,
            is_set_anew=is_set_anew,
            **self._owner(path, steps),
            full=full,
            full_by=full_by,
            bounded=bounded,
            bounded_by=bounded_by,
            lru_cache=None if lru is None else function_name(lru),
            lru_cache_on_method=lru is not None and wraps_method(lru),
            lru_cache_unbounded=lru is not None and LRU_WRAPPER.cache_info(lru).maxsize is None,  # type: ignore[arg-type]
            thread_target=target,
            is_timer=is_kind(path[0], threading.Timer),
        )

    def _is_set_anew(self, value: object, path: list[object]) -> bool:
        """Return whether the value of a variable is a function that some run made."""
        if self._bounds.any_grows(path[1:]):
            return False  # there is one that collects them
        if id(value) in self._survivors:
            return is_exactly(value, (FunctionType, MethodType, partial))
        made = (obj for obj in path if id(obj) in self._survivors and type(obj) is FunctionType)
        return type(value) is FunctionType and any(obj.__code__ is value.__code__ for obj in made)

    def _owner(self, path: list[object], steps: list[tuple[int, str, int]]) -> dict[str, Any]:
        """Return which instance of those that were there before keeps it, and in what.

        That is the last; where that, and those before it, are of installed packages, the last of these that
        keeps it in a private attribute.
        """
        older = [each for each in steps if id(path[each[0]]) not in self._survivors]
        kinds = [(type(path[start]), edge[1:]) for start, edge, _ in older if edge.startswith(".")]
        instances = [
            (kind, name)
            for kind, name in kinds
            if type_module(kind) not in _PLAIN and not issubclass(kind, type)
        ]
        found: dict[str, Any] = {"owner": None}
        if instances:
            kind, name = _keeper_of(instances)
            clears = next((name for name in _CLEARS if class_attribute(kind, name) is not None), None)
            owner = packaged_base(kind, name) or kind
            found = {"owner": type_name(owner), "owner_keeps_in": name, "owner_clears": clears}
        return {**found, "older_types": tuple(type_name(type(path[start])) for start, _, _ in older)}

    def _new_names(self, path: list[object], root: Root) -> float | None:
        """Return how many names the module or class at the root gets per run; None where it has them all.

        Where a container further on grows as well, it is that container that holds the survivor.
        """
        if root.kind not in ("module", "class"):
            return None
        start = 1 if root.kind == "class" else 0
        if len(path) <= start or type(path[start]) is not dict:
            return None
        if self._bounds.any_grows(path[start + 1 :]):
            return None
        growth = self._growth.get(id(path[start]), 0.0)
        return growth if growth >= _STEADY else None

    def _name(self, obj: object) -> str:
        """Return what a hop is, with its length and growth: ``dict of 48, grows by 1 a run``."""
        text = _plain_name(obj)
        if type(obj) is LRU_WRAPPER:
            info = LRU_WRAPPER.cache_info(obj)
            bound = "" if info.maxsize is None else f" of {info.maxsize:,}"
            text = f"{text} with {info.currsize:,}{bound}"
        elif (count := length(obj)) is not None:
            text = f"{text} of {count:,}"
        growth = self._growth.get(id(obj))
        return text if growth is None else f"{text}, {_growth_text(growth, self._together)}"


def _value_of_fixture(path: list[object]) -> int | None:
    """Return where on a path from a fixture its value comes; None where another thing of it holds."""
    result = (instance_dict(path[0]) or {}).get("cached_result")
    if type(result) is not tuple or not result:
        return None
    pairs = enumerate(pairwise(path), start=1)
    return next((place for place, (a, b) in pairs if a is result and b is result[0]), None)


def _plain_name(obj: object) -> str:
    """Return what a hop is, without a number: ``dict``, ``function app.f``, ``app.Node``."""
    kind = type(obj)
    if kind is LRU_WRAPPER:
        return f"lru_cache of {function_name(obj)}"
    if kind is FunctionType:
        return f"function {function_name(obj)}"
    if is_exactly(obj, GENERATORS):
        return f"{type_name(kind)} {code_name(obj)}"
    if kind is FrameType:
        return f"frame of {describe((obj.f_code.co_filename, obj.f_lineno))}"  # type: ignore[attr-defined]
    if issubclass(kind, type):
        return f"class {type_name(obj)}"  # type: ignore[arg-type]
    return type_name(kind)


def _keeper_of(instances: list[tuple[type, str]]) -> tuple[type, str]:
    """Return which of several objects on a way keeps what it leads to, by type, and in which attribute."""
    for kind, name in reversed(instances):
        if packaged_base(kind, name) is None:
            break
        if name.startswith("_"):
            return kind, name
    return instances[-1]


def _root_hops(root: Root, variable: str | None, target: str | None, growing: str) -> list[str]:
    """Return the hop that is the root itself; none where what it holds tells as much."""
    if root.kind in ("function", "object"):
        return []
    if root.kind == "context" and variable:
        return [f"context variable {variable}"]
    labels = {"frame": "running function ", "pytest": "pytest's "}
    labels |= dict.fromkeys(("none", "context", "hook", "thread"), "")
    text = labels.get(root.kind, f"{root.kind} ") + root.name
    running = f" running {target}" if target else ""
    return [text + running + growing]


def _steps(path: list[object], root: Root) -> Iterator[tuple[int, str, int]]:
    """Yield the edges of a path: the place of the holder, the edge's name, the place of what is held."""
    start = 0
    while start < len(path) - 1:
        holder = path[start]
        if start == 0 and root.local and root.kind == "module":
            edge, used = edge_of(path)
        elif start == 0 and root.kind == "context":
            edge, used = "its value", 1
        elif start == 0 and root.kind == "module":
            edge, used = (key_of(holder, path[1]) if is_kind(holder, dict) else C_STATE), 1
        else:
            edge, used = edge_of(path[start:])
        yield start, edge, start + used
        start += used


def _growth_text(growth: float, together: int) -> str:
    """Return by how much something grows, which is known of so many runs."""
    if growth >= _STEADY * together:
        return f"grows by {max(1, round(growth / together)):,} a run"
    return f"grows by 1 in {round(together / growth):,} runs"
