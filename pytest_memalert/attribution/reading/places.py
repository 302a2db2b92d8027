"""Where a container is named in code: found by what refers to it, and by what refers to that.

A variable of a module has it in the module's dict, one of a function in a cell of the inner functions, an
attribute in a dict or a slot; an attribute of a thread two dicts further on.
"""

from __future__ import annotations

import gc
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from threading import local
from types import CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import TypeVar, cast

from pytest_memalert.attribution.containers import CONTAINERS
from pytest_memalert.attribution.objects import (
    attribute_of,
    class_dict,
    instance_dict,
    is_exactly,
    is_kind,
    items_of,
)
from pytest_memalert.attribution.reading.naming import Attribute, Path, Place, Variable, cells_of, globals_of
from pytest_memalert.attribution.reading.source import Sources

__all__ = ["places_of"]

_PLAIN = (*CONTAINERS, OrderedDict, defaultdict)
#: Those that hold a container by thousands are what leaks, and refer back to it: a few of them will do.
_FEW = 32
_FEW_OF_A_CLASS = 8

_T = TypeVar("_T")


def places_of(container: object) -> Iterator[Place]:
    """Yield the places where code may name a container."""
    sources = Sources()
    if not is_exactly(container, _PLAIN):
        yield Attribute((), owner=container, sources=sources)
    yield from _named(container, (), sources, seen=set())


def _named(value: object, path: Path, sources: Sources, seen: set[tuple[object, ...]]) -> Iterator[Place]:
    """Yield the places where what is held by way of the attributes of a path is named."""
    holders = gc.get_referrers(value)
    for owner in holders:
        if not is_exactly(owner, (*_PLAIN, tuple, CellType, FunctionType, MethodType, ModuleType)):
            yield from _in_owner(owner, attribute_of(owner, value), path, sources, seen)
    dicts = _few([holder for holder in holders if type(holder) is dict])
    for names in dicts:
        if _is_module(names):
            yield from _in_module(names, value, path, sources)
    yield from _in_attributes([each for each in dicts if not _is_module(each)], value, path, sources, seen)
    for cell in [holder for holder in holders if type(holder) is CellType]:
        yield from _in_closures(cell, path, sources, seen)


def _in_attributes(
    dicts: list[dict[str, object]],
    value: object,
    path: Path,
    sources: Sources,
    seen: set[tuple[object, ...]],
) -> Iterator[Place]:
    """Yield the places of what is in the dicts of instances or classes."""
    owners = [owner for owner in gc.get_referrers(*dicts) if owner is not dicts] if dicts else []
    for owner in owners:
        if is_kind(owner, type):
            found = (key for key, held in class_dict(cast(type, owner)).items() if held is value)
            if (name := next(found, None)) is not None:
                yield Attribute((name, *path), owner=owner, sources=sources)
                if (names_there := globals_of(cast(type, owner))) is not None:
                    yield from _in_module(names_there, owner, (name, *path), sources)
        elif type(owner) is not dict and any(instance_dict(owner) is each for each in dicts):
            yield from _in_owner(owner, attribute_of(owner, value), path, sources, seen)
    # Each thread's attributes of a threading.local are in a dict, and those dicts in another one.
    tables = _few([owner for owner in owners if type(owner) is dict])
    for owner in gc.get_referrers(*tables) if tables else ():
        if is_kind(owner, local):
            for names in dicts:
                yield from _in_owner(owner, _key_of(names, value), path, sources, seen)


def _in_owner(
    owner: object, name: str | None, path: Path, sources: Sources, seen: set[tuple[object, ...]]
) -> Iterator[Place]:
    """Yield the places of an attribute of an instance."""
    # These have no methods: it is others who use them.
    is_bare = is_kind(owner, (local, SimpleNamespace))
    key = (id(type(owner)), id(owner) if is_bare else None, name)
    of_class = sum(each[0] == key[0] for each in seen)
    if name is None or key in seen or of_class >= _FEW_OF_A_CLASS or is_kind(owner, type):
        return
    seen.add(key)
    yield Attribute((name, *path), owner=owner, sources=sources)
    if (names := globals_of(type(owner))) is not None:
        yield from _in_module(names, owner, (name, *path), sources)
    if is_bare and not path:
        yield from _named(owner, (name,), sources, seen)


def _in_module(names: dict[str, object], value: object, path: Path, sources: Sources) -> Iterator[Place]:
    source = sources.of(names)
    name = _key_of(names, value)
    if name is not None and source is not None:
        yield Variable((name, *path), source=source, scope=None, names=names, closure={})


def _in_closures(
    cell: CellType, path: Path, sources: Sources, seen: set[tuple[object, ...]]
) -> Iterator[Place]:
    cells = _few([found for found in gc.get_referrers(cell) if type(found) is tuple])
    for function in gc.get_referrers(*cells) if cells else ():
        if type(function) is not FunctionType or ("code", id(function.__code__)) in seen:
            continue
        seen.add(("code", id(function.__code__)))
        held = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        name = next((variable for variable, each in held if each is cell), None)
        source = sources.of(function.__globals__)
        found = None if source is None else source.at_line(function.__code__.co_firstlineno)
        if name is None or source is None or found is None:
            continue
        scope = found.scope_of(name)
        if scope is not None and (id(scope.node), name) not in seen:
            seen.add((id(scope.node), name))
            names, closure = function.__globals__, cells_of(function)
            yield Variable((name, *path), source=source, scope=scope, names=names, closure=closure)


def _is_module(names: dict[str, object]) -> bool:
    """Return whether a dict is that of a module's globals; it need not be one of ``sys.modules``."""
    return all(type(names.get(key)) is str for key in ("__name__", "__file__")) and "__builtins__" in names


def _key_of(holder: object, value: object) -> str | None:
    return next((key for key, held in items_of(holder) if held is value and type(key) is str), None)


def _few(found: list[_T]) -> list[_T]:
    """Return the first and the last: what leaks is young, and what was there before it is old."""
    return found if len(found) <= 2 * _FEW else [*found[:_FEW], *found[-_FEW:]]
