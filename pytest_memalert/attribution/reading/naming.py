"""By which names code reaches a container: a variable of a module or a function, an attribute of an object.

A name alone says little: another function has a local variable of that name, another object an attribute, and
``sys.stdout.flush()`` is not the module's own ``flush()``. So a place knows whose the name is, and which
function a call in it comes to.
"""

from __future__ import annotations

import ast
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import cast

from pytest_memalert.attribution.objects import (
    base_names,
    bases_of,
    class_dict,
    is_kind,
    module_dict,
    type_module,
    type_name,
)
from pytest_memalert.attribution.reading.known_values import UNKNOWN, attribute
from pytest_memalert.attribution.reading.source import Function, Source, Sources
from pytest_memalert.records import record

__all__ = ["SUPER", "Attribute", "Path", "Place", "Variable", "cells_of", "globals_of", "path_of"]

#: A dotted name: a variable, and attributes from there on.
Path = tuple[str, ...]
#: What ``super()`` is in a path.
SUPER = "super()"

# Their methods are written in terms of one another.
_WRAPPING = frozenset({f"collections.abc.Mutable{each}" for each in ("Mapping", "Sequence", "Set")})


def path_of(node: ast.expr) -> Path | None:
    """Return the dotted name that an expression is, if it is one; of ``type(self)`` that of ``self``."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        path = path_of(node.value)
        return path if path is None or node.attr == "__class__" else (*path, node.attr)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "super":
            return (SUPER,)
        if node.func.id == "type" and len(node.args) == 1:
            return path_of(node.args[0])
    return None


class Place(ABC):
    """Hold where a container is named, and tell what other names are there."""

    def __init__(self, *, names: Mapping[str, object], closure: Mapping[str, object]) -> None:
        self._names = names
        self._closure = closure

    @abstractmethod
    def functions(self) -> Sequence[Function]:
        """Return the functions that stand where the container may be named, and can be called."""

    @abstractmethod
    def is_named_in(self, function: Function) -> bool:
        """Return whether a function, by its text, may name the container."""

    @abstractmethod
    def paths(self, function: Function) -> frozenset[Path]:
        """Return how the container is called in a function."""

    @abstractmethod
    def method(self, function: Function, name: str, *, above: bool = False) -> Function | None:
        """Return the method that ``self.name`` is in a function, or ``super().name``."""

    def names(self, function: Function) -> Mapping[str, object]:
        """Return the globals of a function."""
        return self._names

    def module(self, function: Function) -> str:
        """Return the name of a function's module."""
        name = self.names(function).get("__name__")
        return name if type(name) is str else "?"

    def instance(self, function: Function) -> str | None:
        """Return the name of the instance, or of the class, that a method is called with."""
        method = function.method()
        if method is None or method.is_decorated("staticmethod") or not method.parameters:
            return None
        name = method.parameters[0]
        return name if function.scope_of(name) is method else None

    def called(self, function: Function, called: ast.expr) -> tuple[Function, int] | None:
        """Return the function that an expression in a function is, and how many arguments it has already.

        A bare name is one, and what is looked up in ``self``, in ``cls``, in ``super()`` or in a class of the
        file: what an attribute of anything else is isn't known.
        """
        path = path_of(called)
        if path is None or not 1 <= len(path) <= 2:
            return None
        if len(path) == 1:
            scope = function.scope_of(path[0])
            found = function.source.defined(path[0], scope)
            return None if found is None else (found, 0)
        receiver, name = path
        if receiver in (SUPER, self.instance(function)):
            found = self.method(function, name, above=receiver == SUPER)
            return None if found is None else (found, 0 if found.is_decorated("staticmethod") else 1)
        owners = [node for known, node in function.source.classes if known == receiver]
        if function.scope_of(receiver) is None and owners:
            found = function.source.methods(owners[-1]).get(name)
            return None if found is None else (found, 1 if found.is_decorated("classmethod") else 0)
        return None

    def value(self, function: Function, path: Path) -> object:
        """Return what a dotted name stands for in a function, where it isn't of the function itself."""
        found = self._variable(function, path[0])
        method = function.method()
        for name in path[1:]:
            if found is UNKNOWN:
                break
            owner = method.owner if method is not None else None
            if owner is not None and name.startswith("__") and not name.endswith("__"):
                name = f"_{owner.name.lstrip('_')}{name}"
            found = attribute(found, name)
        return found

    def _variable(self, function: Function, name: str) -> object:
        scope = function.scope_of(name)
        if scope is None:
            return self.names(function).get(name, UNKNOWN)
        return UNKNOWN if scope is function else self._closure.get(name, UNKNOWN)


class Variable(Place):
    """A variable: of a module, or of the function whose inner functions have it in their closure."""

    def __init__(
        self,
        path: Path,
        *,
        source: Source,
        scope: Function | None,
        names: Mapping[str, object],
        closure: Mapping[str, object],
    ) -> None:
        super().__init__(names=names, closure=closure)
        self._path = path
        self._source = source
        self._scope = scope

    def functions(self) -> Sequence[Function]:
        return self._source.functions

    def is_named_in(self, function: Function) -> bool:
        return function.mentions(self._path[-1])

    def paths(self, function: Function) -> frozenset[Path]:
        in_it = function.source is self._source and function.scope_of(self._path[0]) is self._scope
        return frozenset({self._path} if in_it else ())

    def method(self, function: Function, name: str, *, above: bool = False) -> Function | None:
        method = function.method()
        if above or method is None or method.owner is None:
            return None
        return self._source.methods(method.owner).get(name)


@record(frozen=True, slots=True, kw_only=True)
class _Level:
    """Hold one class of those that an object's methods are looked up in, the ``index``-th of them."""

    index: int
    source: Source
    names: Mapping[str, object]
    methods: Mapping[str, Function]


class Attribute(Place):
    """An attribute of an instance or of a class; or the instance itself, which is the container."""

    def __init__(self, path: Path, *, owner: object, sources: Sources) -> None:
        kind = cast(type, owner) if is_kind(owner, type) else type(owner)
        closure: dict[str, object] = {}
        for base in bases_of(kind):
            for function in _functions_of(base):
                closure.update(cells_of(function))
        super().__init__(names={}, closure=closure)
        self._path = path
        self._owner = owner
        self._bases = bases_of(kind)
        levels = (_level(index, base, sources) for index, base in enumerate(self._bases))
        self._levels = [level for level in levels if level is not None]
        self._level_by_method = {each: level for level in self._levels for each in level.methods.values()}
        self._is_itself = not path or self._wraps(base_names(kind))

    def functions(self) -> Sequence[Function]:
        found = []
        for level in self._levels:
            hidden = {name for base in self._bases[: level.index] for name in class_dict(base)}
            current = {function for name, function in level.methods.items() if name not in hidden}
            found += [each for each in level.source.functions if each.method() in current]
        return found

    def is_named_in(self, function: Function) -> bool:
        if self._is_itself:
            return True
        return function.mentions(self._path[-1].rpartition("__")[2] or self._path[-1])

    def paths(self, function: Function) -> frozenset[Path]:
        method = function.method()
        level = self._level_of(method)
        if method is None or level is None:
            return frozenset()
        found: set[Path] = set()
        receivers = {self.instance(function)} - {None}
        if is_kind(self._owner, type) and self._bases[level.index] is self._owner:
            receivers.add(cast(ast.ClassDef, method.owner).name)
        for receiver in receivers:
            if self._is_itself:
                found |= {(cast(str, receiver),), (SUPER,)}
            if self._path:
                attributes = _as_written(self._path[0], cast(ast.ClassDef, method.owner).name)
                found |= {(cast(str, receiver), each, *self._path[1:]) for each in attributes}
        return frozenset(found)

    def method(self, function: Function, name: str, *, above: bool = False) -> Function | None:
        method = function.method()
        level = self._level_of(method)
        if level is None:
            return None
        first = level.index + 1 if above else 0
        later = enumerate(self._bases[first:], start=first)
        index = next((index for index, base in later if name in class_dict(base)), None)
        found = next((each for each in self._levels if each.index == index), None)
        return None if found is None else found.methods.get(name)

    def names(self, function: Function) -> Mapping[str, object]:
        return next((each.names for each in self._levels if each.source is function.source), {})

    def _variable(self, function: Function, name: str) -> object:
        if name == self.instance(function) and self._level_of(function.method()) is not None:
            return self._owner
        return super()._variable(function, name)

    def _level_of(self, method: Function | None) -> _Level | None:
        return None if method is None else self._level_by_method.get(method)

    def _wraps(self, bases: frozenset[str]) -> bool:
        """Return whether the instance stands for the container, and has its length, as one of UserDict."""
        count = next((each.methods["__len__"] for each in self._levels if "__len__" in each.methods), None)
        if count is None or not bases & _WRAPPING or not isinstance(count.node.body[-1], ast.Return):
            return False
        self._is_itself = False
        value, paths = count.node.body[-1].value, self.paths(count)
        is_len = isinstance(value, ast.Call) and path_of(value.func) == ("len",)
        return is_len and path_of(cast(ast.Call, value).args[0]) in paths


def _as_written(name: str, class_name: str) -> set[str]:
    """Return how an attribute may be written in a class: what is private, without the class."""
    mangled = f"_{class_name.lstrip('_')}__"
    return {name, name[len(mangled) - 2 :]} if name.startswith(mangled) else {name}


def _level(index: int, base: type, sources: Sources) -> _Level | None:
    lines = {function.__code__.co_firstlineno for function in _functions_of(base)}
    names = globals_of(base) if lines else None  # OrderedDict is made by C, though its file tells otherwise
    source = None if names is None else sources.of(names)
    if names is None or source is None:
        return None
    qualified = type_name(base).removeprefix(f"{type_module(base)}.")
    owners = [node for name, node in source.classes if name == qualified]
    if not owners:
        return None
    alike = [node for node in owners if lines & {each.first_line for each in source.methods(node).values()}]
    methods = source.methods((alike or owners)[-1])
    return _Level(index=index, source=source, names=names, methods=methods)


def globals_of(base: type) -> dict[str, object] | None:
    """Return the globals of the module that defines a class, though it be no module of ``sys.modules``."""
    module = sys.modules.get(type_module(base))
    if is_kind(module, ModuleType):
        return module_dict(cast(ModuleType, module))
    named = (function.__globals__ for function in _functions_of(base))
    return next((names for names in named if names.get("__name__") == type_module(base)), None)


def _functions_of(base: type) -> Iterator[FunctionType]:
    for value in class_dict(base).values():
        found = value.__func__ if type(value) is staticmethod or type(value) is classmethod else value
        if type(found) is FunctionType:
            yield found


def cells_of(function: FunctionType) -> dict[str, object]:
    found = {}
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty cell
            found[variable] = cell.cell_contents
    return found
