"""Containers that the code around them keeps small: a bound that stands in the source, and nowhere else.

``if len(CACHE) > 500: CACHE.clear()`` is as good a bound as ``maxsize``, and so are entries that are dropped
once they are too old, or too large together; only that no object says so. Read are the files that define
what holds the container.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import CellType, FunctionType, MethodType, ModuleType
from typing import cast

from pytest_memalert.attribution.containers import CONTAINERS
from pytest_memalert.attribution.objects import (
    attribute_of,
    bases_of,
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
from pytest_memalert.attribution.packages import is_stdlib
from pytest_memalert.attribution.sites import compile_file
from pytest_memalert.records import record

__all__ = ["Eviction", "find_eviction"]

_ADDING = frozenset(
    {"__setitem__", "add", "append", "appendleft", "extend", "insert", "push", "setdefault", "update"}
)
_REMOVING = frozenset({"__delitem__", "clear", "discard", "pop", "popitem", "popleft", "remove"})
# Functions of heapq and bisect, which take the list as an argument.
_ORDERED = frozenset(
    {"heappop", "heappush", "heappushpop", "heapreplace", "insort", "insort_left", "insort_right"}
)
_CLOCKS = frozenset({"monotonic", "monotonic_ns", "now", "perf_counter", "time", "time_ns", "utcnow"})
# No test reaches so many, nor so many bytes: ``sys.maxsize``, infinity.
_ENDLESS = float(2**62)
_UNKNOWN = object()
_PLAIN = (*CONTAINERS, OrderedDict, defaultdict)


@record(frozen=True, slots=True, kw_only=True)
class Eviction:
    """Say which function lets go of what it keeps: beyond ``limit`` elements, where that is known.

    ``by`` is what it bounds the container by: ``length``, or ``age`` or ``size``, where all go that are
    beyond some limit. It is None where one goes at a time, for a reason that isn't told from here: perhaps
    the entry that is replaced, which bounds nothing.
    """

    function: str
    by: str | None
    limit: int | None = None


@record(frozen=True, slots=True, kw_only=True)
class _Place:
    """Hold a name that a container has in the code of a module, and the values of other names there."""

    name: str
    module: Mapping[str, object]
    class_name: str | None = None
    values: Mapping[str, object]


def find_eviction(container: object) -> Eviction | None:
    """Return how the code that adds to a container lets go of its elements, if it does.

    The function that adds, or one that it calls, compares the length with more than one and then removes
    something or adds no more; or slices off what is too much; or compares something else, as the time, and
    removes all that it holds for; or removes one for whatever reason. What others may remove, as from a
    registry, is no bound. The objects themselves are not asked.
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
    for base in bases_of(kind):
        module = sys.modules.get(type_module(base))
        if module is not None:
            class_name = type_name(base).rpartition(".")[2]
            mangled = f"_{class_name.lstrip('_')}__"
            plain = name[len(mangled) - 2 :] if name.startswith(mangled) else name
            names = module_dict(module)
            # What is private is written without the class.
            private = {
                key[len(mangled) - 2 :]: each for key, each in values.items() if key.startswith(mangled)
            }
            known = {**names, **values, **private}
            yield _Place(name=plain, module=names, class_name=class_name, values=known)


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
                functions[node.name] = _Habits(node, place.name, place.values)
    module = place.module.get("__name__")
    for habits in reversed(functions.values()):
        # What one test adds and removes is none of another's.
        if not habits.adds or habits.name.startswith("test"):
            continue
        called = [habits, *(functions[name] for name in sorted(habits.calls & functions.keys()))]
        more = {name for each in called for name in each.calls} - {each.name for each in called}
        together = [*called, *(functions[name] for name in sorted(more & functions.keys()))]
        together += [
            given
            for each in called
            for call in each.passed
            if (given := each.given(call, functions.get(_last_name(call.func) or ""))) is not None
        ]
        found = _judge(together)
        if found is not None:
            by, limit = found
            if by is None and is_stdlib(str(module)):
                continue  # the registry of running threads: who ends is removed, and who doesn't is left
            return Eviction(function=f"{module}.{habits.name}", by=by, limit=limit)
    return None


def _judge(functions: list[_Habits]) -> tuple[str | None, int | None] | None:
    """Return what a function bounds a container by, together with those it calls."""
    removes = any(each.removes for each in functions)
    for each in functions:
        if each.trims is not None:
            return "length", each.length(each.trims)
        for expression in each.limits if removes or each.guards else ():
            limit = each.length(expression)
            if limit is None or 1 < limit < _ENDLESS:
                return "length", limit
    if any(each.removes_beyond for each in functions):
        return "age" if any(each.has_clock for each in functions) else "size", None
    return (None, None) if removes else None


class _Habits(ast.NodeVisitor):
    """Read what one function does with the container of a name.

    It ``adds`` to it, ``removes`` from it, ``trims`` it to a length, compares its length with ``limits``, and
    with such a comparison ``guards`` an addition. It ``removes_beyond`` some limit where it removes all for
    which a comparison of anything else holds. ``values`` are those that names have there.
    """

    def __init__(
        self, function: ast.FunctionDef | ast.AsyncFunctionDef, name: str, values: Mapping[str, object]
    ) -> None:
        self.name = function.name
        self.calls: set[str] = set()
        #: The calls that are given it.
        self.passed: list[ast.Call] = []
        self.limits: list[ast.expr] = []
        self.adds = self.removes = self.guards = self.removes_beyond = self.has_clock = False
        self.trims: ast.expr | None = None
        self._function = function
        self._values = values
        self._container = name
        self._aliases: set[str] = set()
        self._lengths: set[str] = set()
        self._outer: set[str] = set()
        self._loops = self._limited = 0
        for statement in function.body:
            self.visit(statement)

    def limit(self, expression: ast.expr) -> float | None:
        """Return the limit that an expression is: None where it isn't known, endless where there is none."""
        value: object = _UNKNOWN
        if isinstance(expression, ast.Constant):
            value = expression.value
        elif (name := _last_name(expression)) is not None:
            value = self._values.get(name, _UNKNOWN)
        if value is None:
            return _ENDLESS
        return min(value, _ENDLESS) if type(value) is int or type(value) is float else None

    def length(self, expression: ast.expr) -> int | None:
        """Return the same of a length, as a whole number."""
        limit = self.limit(expression)
        return None if limit is None else int(limit)

    def given(self, call: ast.Call, called: _Habits | None) -> _Habits | None:
        """Return what a function does with the container that a call of this one gives it."""
        if called is None:
            return None
        parameters = [each.arg for each in (*called._function.args.posonlyargs, *called._function.args.args)]
        # Of a method the first parameter is the instance.
        arguments = dict(zip(parameters[isinstance(call.func, ast.Attribute) :], call.args, strict=False))
        arguments.update((each.arg, each.value) for each in call.keywords if each.arg is not None)
        name = next((name for name, value in arguments.items() if self._is(value)), None)
        known = {name: limit for name, value in arguments.items() if (limit := self.limit(value)) is not None}
        return None if name is None else _Habits(called._function, name, {**self._values, **known})

    def visit_Global(self, node: ast.Global) -> None:
        self._outer.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._outer.update(node.names)

    def visit_Call(self, node: ast.Call) -> None:
        called = _last_name(node.func)
        self.has_clock |= called in _CLOCKS
        if isinstance(node.func, ast.Attribute) and self._is(node.func.value):
            self.adds |= called in _ADDING
            if called in _REMOVING:
                self._remove(all_of_them=called == "clear")
        elif called in _ORDERED and node.args and self._is(node.args[0]):
            self.adds |= called != "heappop"
            if called in ("heappop", "heappushpop", "heapreplace"):
                self._remove()
        elif called is not None:
            self.calls.add(called)
            arguments = (*node.args, *(each.value for each in node.keywords))
            if any(self._is(each) for each in arguments):
                self.passed.append(node)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        self.limits += self._compared(node)
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        with self._inside(limit=node.test):
            self._visit_condition(node)

    def visit_While(self, node: ast.While) -> None:
        with self._inside(limit=node.test, loop=True):
            self._visit_condition(node)

    def visit_For(self, node: ast.For) -> None:
        with self._inside(limit=node.iter, loop=True):
            self.generic_visit(node)

    @contextmanager
    def _inside(self, *, limit: ast.expr, loop: bool = False) -> Iterator[None]:
        """Note that what is visited depends on an expression, which may compare one thing with another."""
        is_limit = self._compares_sizes(limit)
        self._loops += loop
        self._limited += is_limit
        yield
        self._loops -= loop
        self._limited -= is_limit

    def _compares_sizes(self, expression: ast.expr) -> bool:
        """Return whether an expression asks which of two is more: the later, or the larger.

        There must be a limit, and what is compared with it, after many additions, no longer 0.
        """
        compared = [each for each in ast.walk(expression) if isinstance(each, ast.Compare)]
        return any(
            isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
            for each in compared
            if not any(self.limit(side) in (0, _ENDLESS) for side in (each.left, *each.comparators))
            for op in each.ops
        )

    def _remove(self, *, all_of_them: bool = False, limited: bool = False) -> None:
        self.removes = True
        self.removes_beyond |= (all_of_them or self._loops > 0) and (limited or self._limited > 0)

    def _visit_condition(self, node: ast.If | ast.While) -> None:
        if any(self._compared(each) for each in ast.walk(node.test)):
            inside = [inner for part in node.body for inner in ast.walk(part)]
            self.guards |= any(isinstance(each, ast.Return | ast.Raise | ast.Break) for each in inside)
            before, self.adds = self.adds, False
            self.generic_visit(node)
            self.guards |= self.adds
            self.adds |= before
        else:
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        pairs = [pair for target in node.targets for pair in _pairs(target, node.value)]
        for target, value in pairs:
            self._assign(target, value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._assign(node.target, node.value)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript) and self._is(target.value):
                self._remove(all_of_them=isinstance(target.slice, ast.Slice))
                if isinstance(target.slice, ast.Slice) and target.slice.lower is None:
                    self.trims = self.trims or _negated(target.slice.upper)
        self.generic_visit(node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Subscript) and self._is(target.value):
            self.adds |= not isinstance(target.slice, ast.Slice)
            if isinstance(target.slice, ast.Slice):
                self._remove(all_of_them=True, limited=self._compares_sizes(value))
        elif self._is(value):
            if isinstance(target, ast.Name):
                self._aliases.add(target.id)
        elif self._is(target) and (isinstance(target, ast.Attribute) or _last_name(target) in self._outer):
            # A new one is begun, or the end of the old one is kept.
            if self.name != "__init__":
                self._remove(all_of_them=True, limited=self._compares_sizes(value))
            if isinstance(value, ast.Subscript) and self._is(value.value):
                part = value.slice
                if isinstance(part, ast.Slice) and part.upper is None:
                    self.trims = self.trims or _negated(part.lower)
        elif isinstance(target, ast.Name) and self._is_length(value):
            self._lengths.add(target.id)

    def _compared(self, node: ast.AST) -> list[ast.expr]:
        """Return what the length of the container is compared with."""
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            return []
        sides = (node.left, node.comparators[0])
        return [other for one, other in (sides, sides[::-1]) if self._is_length(one)]

    def _is_length(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Call):
            return _last_name(node.func) == "len" and bool(node.args) and self._is(node.args[0])
        return isinstance(node, ast.Name) and node.id in self._lengths

    def _is(self, node: ast.expr) -> bool:
        """Return whether an expression is the container: a variable, an attribute, ``self``, another name."""
        if isinstance(node, ast.Name) and node.id in self._aliases:
            return True
        if self._container == "self" and isinstance(node, ast.Call):
            return _last_name(node.func) == "super"
        is_it = _last_name(node) == self._container
        return is_it and (self._container != "self" or isinstance(node, ast.Name))


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """Return what is assigned to what: of ``a, b = b, {}`` two pairs."""
    if not isinstance(target, ast.Tuple):
        return [(target, value)]
    values = value.elts if isinstance(value, ast.Tuple) else [value] * len(target.elts)
    return list(zip(target.elts, values, strict=False))


def _negated(value: ast.expr | None) -> ast.expr | None:
    is_negative = isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub)
    return cast(ast.UnaryOp, value).operand if is_negative else None


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _classes(tree: ast.AST, name: str) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name]
