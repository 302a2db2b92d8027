"""Containers that the code around them keeps small: a bound that stands in the source, and nowhere else.

``if len(CACHE) > 500: CACHE.clear()`` is as good a bound as ``maxsize``, and so is an entry that is dropped
once it is too old; only that no object says so. Read are the files that define what holds the container.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import CellType, FunctionType, MethodType, ModuleType
from typing import cast

from pytest_memalert.attribution.containers import CONTAINERS
from pytest_memalert.attribution.objects import (
    attribute_of,
    class_constants,
    instance_dict,
    is_exactly,
    is_kind,
    items_of,
    module_dict,
    own_attributes,
    type_module,
    type_name,
)
from pytest_memalert.attribution.sites import compile_file
from pytest_memalert.records import record

__all__ = ["Eviction", "find_eviction"]

_ADDING = frozenset(
    {"__setitem__", "add", "append", "appendleft", "extend", "insert", "push", "setdefault", "update"}
)
_REMOVING = frozenset({"__delitem__", "clear", "discard", "pop", "popitem", "popleft", "remove"})
_CLOCKS = frozenset({"monotonic", "monotonic_ns", "now", "perf_counter", "time", "time_ns", "utcnow"})
_PLAIN = (*CONTAINERS, OrderedDict, defaultdict)


@record(frozen=True, slots=True, kw_only=True)
class Eviction:
    """Say which function lets go of what it keeps: beyond ``limit`` elements, where that is known.

    ``by`` is ``length``, or ``age``: then there is no limit.
    """

    function: str
    by: str
    limit: int | None = None


@record(frozen=True, slots=True, kw_only=True)
class _Place:
    """Hold a name that a container has in the code of a module, and the values of other names there."""

    name: str
    module: Mapping[str, object]
    class_name: str | None = None
    values: Mapping[str, object]


@record(slots=True)
class _Habits:
    """Hold what one function does with a container; ``limits`` are what its length is compared with."""

    name: str
    calls: set[str]
    limits: list[ast.expr]
    adds: bool = False
    removes: bool = False
    guards: bool = False
    trims: ast.expr | None = None
    sees_age: bool = False


def find_eviction(container: object) -> Eviction | None:
    """Return how the code that adds to a container lets go of its elements, if it does.

    The function that adds, or one that it calls, compares the length with more than one and then removes
    something or adds no more; or slices off what is too much; or compares the time and removes.
    What others may remove, as from a registry, is no bound. The objects themselves are not asked.
    """
    try:
        for place in _places(container):
            found = _read(place)
            if found is not None:
                return found
    except Exception:  # whatever a module's source or an odd referrer holds
        return None
    return None


def _places(container: object) -> Iterator[_Place]:
    kind = type(container)
    if not is_exactly(container, _PLAIN):
        yield from _places_in_class(kind, "self", {**class_constants(kind), **own_attributes(container)})
    for holder in gc.get_referrers(container):
        if type(holder) is CellType:
            yield from _places_in_closures(holder)
        elif type(holder) is not dict:
            if not is_exactly(holder, (*_PLAIN, tuple, FunctionType, MethodType)):
                yield from _places_in_instance(holder, container)
        elif (module := _module_of(holder)) is not None:
            if (name := _key_of(holder, container)) is not None:
                yield _Place(name=name, module=module, values=module)
        else:
            for owner in gc.get_referrers(holder):
                if is_kind(owner, type):
                    name = _key_of(holder, container)
                    if name is not None:
                        kind = cast(type, owner)
                        yield from _places_in_class(kind, name, class_constants(kind))
                elif type(owner) is not dict and instance_dict(owner) is holder:
                    yield from _places_in_instance(owner, container)


def _places_in_instance(owner: object, container: object) -> Iterator[_Place]:
    name = attribute_of(owner, container)
    if name is not None and not is_kind(owner, (type, ModuleType)):
        values = {**class_constants(type(owner)), **own_attributes(owner)}
        yield from _places_in_class(type(owner), name, values)


def _places_in_class(kind: type, name: str, values: Mapping[str, object]) -> Iterator[_Place]:
    for base in type.__dict__["__mro__"].__get__(kind):
        module = sys.modules.get(type_module(base))
        if module is not None:
            class_name = type_name(base).rpartition(".")[2]
            mangled = f"_{class_name.lstrip('_')}__"
            plain = name[len(mangled) - 2 :] if name.startswith(mangled) else name
            names = module_dict(module)
            yield _Place(name=plain, module=names, class_name=class_name, values={**names, **values})


def _places_in_closures(cell: CellType) -> Iterator[_Place]:
    cells = [found for found in gc.get_referrers(cell) if type(found) is tuple]
    for function in gc.get_referrers(*cells) if cells else ():
        if type(function) is FunctionType and function.__closure__ is not None:
            values = dict(function.__globals__)
            name = ""
            for variable, held in zip(function.__code__.co_freevars, function.__closure__, strict=True):
                name = variable if held is cell else name
                with suppress(ValueError):  # an empty cell
                    values[variable] = held.cell_contents
            yield _Place(name=name, module=function.__globals__, values=values)


def _module_of(names: dict[str, object]) -> dict[str, object] | None:
    name = names.get("__name__")
    module = sys.modules.get(name) if type(name) is str else None
    return names if module is not None and module_dict(module) is names else None


def _key_of(holder: object, value: object) -> str | None:
    return next((key for key, held in items_of(holder) if held is value and type(key) is str), None)


def _read(place: _Place) -> Eviction | None:
    filename = place.module.get("__file__")
    # 0.2 s for 4,000 lines: this is asked of few containers, and nothing is kept.
    tree = compile_file(filename, flags=ast.PyCF_ONLY_AST) if type(filename) is str else None
    if tree is None:
        return None
    functions = {}
    # The innermost last: it is the one that a name stands for.
    for scope in [tree] if place.class_name is None else _classes(tree, place.class_name):
        for node in ast.walk(scope):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[node.name] = _habits(node, place.name)
    module = place.module.get("__name__")
    for habits in reversed(functions.values()):
        if not habits.adds:
            continue
        called = [habits, *(functions[name] for name in sorted(habits.calls & functions.keys()))]
        more = {name for each in called for name in each.calls} - {each.name for each in called}
        together = [*called, *(functions[name] for name in sorted(more & functions.keys()))]
        found = _judge(together, place.values)
        if found is not None:
            by, limit = found
            return Eviction(function=f"{module}.{habits.name}", by=by, limit=limit)
    return None


def _judge(functions: list[_Habits], values: Mapping[str, object]) -> tuple[str, int | None] | None:
    """Return what a function bounds a container by, together with those it calls."""
    removes = any(each.removes for each in functions)
    for each in functions:
        if each.trims is not None:
            return "length", _value(each.trims, values)
        for expression in each.limits if removes or each.guards else ():
            limit = _value(expression, values)
            if limit is None or limit > 1:
                return "length", limit
    return ("age", None) if any(each.sees_age and each.removes for each in functions) else None


def _habits(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> _Habits:
    found = _Habits(name=function.name, calls=set(), limits=[])
    outer = {
        each
        for node in ast.walk(function)
        if isinstance(node, ast.Global | ast.Nonlocal)
        for each in node.names
    }
    clock = compares = False
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            called = _last_name(node.func)
            clock |= called in _CLOCKS
            if isinstance(node.func, ast.Attribute) and _is(node.func.value, name):
                found.adds |= called in _ADDING
                found.removes |= called in _REMOVING
            elif called is not None:
                found.calls.add(called)
        elif isinstance(node, ast.Compare):
            compares = True
            found.limits += _limits(node, name)
        elif isinstance(node, ast.If | ast.While) and _limits(node.test, name):
            found.guards |= any(
                _adds_or_leaves(inner, name) for part in node.body for inner in ast.walk(part)
            )
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Subscript) and _is(target.value, name):
                    found.adds |= not isinstance(target.slice, ast.Slice)
                    found.removes |= isinstance(target.slice, ast.Slice)
                elif _is(target, name) and (isinstance(target, ast.Attribute) or name in outer):
                    found.removes |= function.name != "__init__"
                    found.trims = found.trims or (None if node.value is None else _tail_of(node.value, name))
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and _is(target.value, name):
                    found.removes = True
                    if isinstance(target.slice, ast.Slice) and target.slice.lower is None:
                        found.trims = found.trims or _negated(target.slice.upper)
    found.sees_age = clock and compares
    return found


def _limits(tree: ast.AST, name: str) -> list[ast.expr]:
    """Return what the length of a container is compared with."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            sides = (node.left, node.comparators[0])
            for one, other in (sides, sides[::-1]):
                if (
                    isinstance(one, ast.Call)
                    and _last_name(one.func) == "len"
                    and one.args
                    and _is(one.args[0], name)
                ):
                    found.append(other)
    return found


def _adds_or_leaves(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break):
        return True
    if isinstance(node, ast.Assign):
        return any(isinstance(each, ast.Subscript) and _is(each.value, name) for each in node.targets)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in _ADDING and _is(node.func.value, name)
    return False


def _tail_of(value: ast.expr, name: str) -> ast.expr | None:
    """Return the ``n`` of ``name[-n:]``."""
    if isinstance(value, ast.Subscript) and _is(value.value, name) and isinstance(value.slice, ast.Slice):
        return _negated(value.slice.lower) if value.slice.upper is None else None
    return None


def _negated(value: ast.expr | None) -> ast.expr | None:
    is_negative = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub)
    return cast(ast.UnaryOp, value).operand if is_negative else None


def _value(expression: ast.expr, values: Mapping[str, object]) -> int | None:
    found: object = None
    if isinstance(expression, ast.Constant):
        found = expression.value
    elif (name := _last_name(expression)) is not None:
        found = values.get(name)
    return found if type(found) is int else None


def _is(node: ast.expr, name: str) -> bool:
    """Return whether an expression is the container of this name: a variable, an attribute, ``self``."""
    if name == "self" and isinstance(node, ast.Call):
        return _last_name(node.func) == "super"
    return _last_name(node) == name and (name != "self" or isinstance(node, ast.Name))


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _classes(tree: ast.AST, name: str) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
