"""The steps of a holder path, in words: an attribute, a key, a closure's variable."""

from __future__ import annotations

import threading
from collections import deque
from types import (
    AsyncGeneratorType,
    CellType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    TracebackType,
)
from typing import cast

from pytest_memalert.attribution.bounding.bounds import LRU_WRAPPER
from pytest_memalert.attribution.objects import (
    attribute_of,
    class_dict,
    instance_dict,
    is_exactly,
    is_kind,
    items_of,
    key_text,
    length,
    type_name,
)

__all__ = ["GENERATORS", "MADE_OF", "edge_of", "key_of", "parameter_of"]

#: The way from a class or a function to what is no attribute of it.
MADE_OF = "what it is made of"
#: The way from a function to a default value, before the parameter.
_DEFAULT = "default of "

GENERATORS = (GeneratorType, CoroutineType, AsyncGeneratorType)


def edge_of(path: list[object]) -> tuple[str, int]:
    """Return the name of the way from the first object on, and how many steps it takes.

    An instance and its ``__dict__``, a function and its closure, are one step for a reader.
    """
    holder, child = path[0], path[1]
    grandchild = path[2] if len(path) > 2 else None
    kind = type(holder)
    if is_kind(holder, type) and grandchild is not None and type(child) is dict:
        return _class_edge(holder, grandchild), 2  # type: ignore[arg-type]
    if is_kind(holder, type):
        return _class_edge(holder, child), 1  # type: ignore[arg-type]
    if is_kind(holder, threading.local) and len(path) > 3 and type(child) is type(grandchild) is dict:
        # It has the attributes that each thread sees in a dict of their own.
        return f".{key_of(grandchild, path[3])}", 3
    if is_kind(holder, dict):
        return _key_edge(holder, child), 1
    if kind is FunctionType:
        return _function_edge(holder, path)
    if kind is LRU_WRAPPER:
        if type(child) is not dict or grandchild is None:
            return "cached value", 1
        if instance_dict(holder) is child:
            return f".{key_of(child, grandchild)}", 2
        return "cached value", 2
    if kind is CellType:
        return "closure", 1
    if kind is MethodType:
        return (".__self__" if holder.__self__ is child else ".__func__"), 1  # type: ignore[attr-defined]
    if kind is TracebackType:
        return (".tb_frame" if type(child) is FrameType else ".tb_next"), 1
    if kind is FrameType or is_exactly(holder, GENERATORS):
        return "local", 1
    if is_kind(holder, (list, tuple, deque)) and length(holder) is not None:
        name = _tuple_field(holder, child)
        return (f".{name}" if name else "[...]"), 1
    if is_kind(holder, (set, frozenset)):
        return "{...}", 1
    if grandchild is not None and type(child) is dict and instance_dict(holder) is child:
        return f".{key_of(child, grandchild)}", 2
    name = attribute_of(holder, child)
    return (f".{name}" if name else f"inside {type_name(kind)}"), 1


def _key_edge(holder: object, child: object) -> str:
    """Return the way from a dict: its key in brackets."""
    for key, value in items_of(holder):
        if value is child:
            return f"[{key_text(key)}]"
    return "[key]"


def parameter_of(edge: str) -> str | None:
    """Return the parameter whose default value an edge leads to; None where it leads elsewhere."""
    return edge.removeprefix(_DEFAULT) if edge.startswith(_DEFAULT) else None


def key_of(holder: object, child: object) -> str:
    """Return the key of a value in a dict as text, ``?`` where it isn't there any more."""
    for key, value in items_of(holder):
        if value is child:
            return key if type(key) is str else key_text(key)
    return "?"


def _class_edge(holder: type, child: object) -> str:
    """Return the way from a class: its attribute, else what it is made of, as the dict of its attributes."""
    for name, value in class_dict(holder).items():
        if value is child and type(name) is str:
            return f".{name}"
    return "base" if is_kind(child, type) else MADE_OF


def _tuple_field(holder: object, child: object) -> str | None:
    """Return the field of a named tuple; positions are erased."""
    fields = class_dict(type(holder)).get("_fields")
    if type(fields) is tuple and is_kind(holder, tuple):
        for name, value in zip(fields, list(cast("tuple[object, ...]", holder)), strict=False):
            if value is child and type(name) is str:
                return name
    return None


def _function_edge(holder: object, path: list[object]) -> tuple[str, int]:
    function: FunctionType = holder  # type: ignore[assignment]
    child = path[1]
    if child is function.__closure__ and len(path) > 3:
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=False):
            if cell is path[2]:
                return f"closure variable {name}", 3
    defaults = function.__defaults__
    if defaults and child is defaults and len(path) > 2:
        code = function.__code__
        values = zip(code.co_varnames[: code.co_argcount][-len(defaults) :], defaults, strict=False)
        return _DEFAULT + next((name for name, value in values if value is path[2]), "?"), 2
    if child is function.__kwdefaults__ and len(path) > 2:
        return _DEFAULT + key_of(child, path[2]), 2
    if len(path) > 2 and type(child) is dict and instance_dict(function) is child:
        return f".{key_of(child, path[2])}", 2
    attribute = attribute_of(function, child)
    return f".{attribute}" if attribute else MADE_OF, 1
