"""Any object, looked at without running code of its own.

A survivor may be of any class: its ``__repr__`` may raise, its ``__len__`` loop, its
``__class__`` lie, its metaclass compare. So nothing here calls a method, an operator or
``isinstance`` on it: types come from ``type()``, their names, bases and attributes from the
descriptors of ``type`` itself, lengths and sizes from methods written in C.
"""

from __future__ import annotations

import gc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from types import (
    CodeType,
    FrameType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any, cast

__all__ = [
    "attribute_of",
    "base_names",
    "bases_of",
    "class_attribute",
    "class_constants",
    "class_dict",
    "code_name",
    "count_by_type",
    "function_name",
    "has_attribute",
    "instance_dict",
    "is_exactly",
    "is_heap_type",
    "is_kind",
    "is_tracked_kind",
    "items_of",
    "key_text",
    "length",
    "module_dict",
    "own_attributes",
    "referents_of",
    "referrers_of",
    "type_module",
    "type_name",
    "wraps_method",
]

_NAME_OF_TYPE: Callable[[type], object] = type.__dict__["__qualname__"].__get__
_FLAGS_OF_TYPE: Callable[[type], int] = type.__dict__["__flags__"].__get__
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_HAVE_GC = 1 << 14  # Py_TPFLAGS_HAVE_GC
_MODULE_OF_TYPE: Callable[[type], object] = type.__dict__["__module__"].__get__
_MRO_OF_TYPE: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_DICT_OF_TYPE: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_DICT_OF_MODULE: Callable[[ModuleType], dict[str, object]] = (
    cast(Any, ModuleType).__dict__["__dict__"].__get__
)

_SIZED = (list, dict, set, frozenset, tuple, deque, bytearray)
_KEY_LENGTH = 40


def is_kind(obj: object, kinds: type | tuple[type, ...]) -> bool:
    """Return whether the true type of ``obj`` is one of ``kinds`` or derives from one.

    ``isinstance`` would ask the ``__class__`` of the object, which may be a property.
    ``kinds`` must be plain classes: an abstract one would run its own subclass check.
    """
    return issubclass(type(obj), kinds)


def is_exactly(obj: object, kinds: tuple[type, ...]) -> bool:
    """Return whether the type of ``obj`` is one of these: ``in`` would ask a metaclass for equality."""
    kind = type(obj)
    return any(kind is known for known in kinds)


def type_name(kind: type) -> str:
    """Return ``package.module.Class``, without ``builtins``."""
    name, module = _NAME_OF_TYPE(kind), type_module(kind)
    text = name if type(name) is str else "?"
    return text if module in ("builtins", "") else f"{module}.{text}"


def is_heap_type(kind: type) -> bool:
    """Return whether a type may be made anew at any time, as by a class statement: it is not static in C."""
    return bool(_FLAGS_OF_TYPE(kind) & _HEAP_TYPE)


def is_tracked_kind(kind: type) -> bool:
    """Return whether the objects of a type tell the collector what they refer to."""
    return bool(_FLAGS_OF_TYPE(kind) & _HAVE_GC)


def count_by_type(objects: list[object]) -> list[tuple[type, int]]:
    """Return each type of these objects with how many there are of it; 0.1 s for a million.

    By identity: a metaclass may have a hash of its own, or none.
    """
    kinds = {id(kind): kind for kind in map(type, objects)}
    return [(kinds[key], count) for key, count in Counter(map(id, map(type, objects))).items()]


def type_module(kind: type) -> str:
    """Return the module that a type says it is from, or nothing."""
    try:
        module = _MODULE_OF_TYPE(kind)
    except Exception:
        return ""
    return module if type(module) is str else ""


def bases_of(kind: type) -> tuple[type, ...]:
    """Return a type and all it derives from, in the order of look-up."""
    return _MRO_OF_TYPE(kind)


def base_names(kind: type) -> frozenset[str]:
    """Return the names of a type and of all it derives from."""
    return frozenset(map(type_name, _MRO_OF_TYPE(kind)))


def class_dict(kind: type) -> dict[str, object]:
    """Return a copy of what a class itself defines."""
    return dict(_DICT_OF_TYPE(kind))


def class_attribute(kind: type, name: str) -> object:
    """Return what a class has by this name, itself or from the first base that defines it, else None."""
    for base in _MRO_OF_TYPE(kind):
        found = _DICT_OF_TYPE(base).get(name)
        if found is not None:
            return cast(object, found)
    return None


def module_dict(module: ModuleType) -> dict[str, object]:
    """Return the globals of a module, whatever its class does with attributes."""
    return _DICT_OF_MODULE(module)


def has_attribute(kind: type, name: object) -> bool:
    """Return whether a class itself defines a name, not one that it derives from."""
    return type(name) is str and name in _DICT_OF_TYPE(kind)


def instance_dict(obj: object) -> dict[str, object] | None:
    """Return the attributes of an instance; None where it has no plain ``__dict__``."""
    kind = type(obj)
    if issubclass(kind, type):
        return None
    descriptor = class_attribute(kind, "__dict__")
    if not is_exactly(descriptor, (GetSetDescriptorType, MemberDescriptorType)):
        return None  # a property of that name would run code of the user's
    try:
        found = cast(Any, descriptor).__get__(obj, kind)
    except Exception:
        return None
    return found if type(found) is dict else None


def attribute_of(holder: object, child: object) -> str | None:
    """Return the name of the attribute or slot of ``holder`` that is ``child``."""
    attributes = instance_dict(holder)
    if attributes is not None:
        for name, value in list(attributes.items()):
            if value is child:
                return name if type(name) is str else None
    return next((name for name, value in _slots(holder) if value is child), None)


def items_of(holder: object) -> list[tuple[object, object]]:
    """Return the keys and values of a dict or of one derived from it."""
    return list(dict.items(cast("dict[object, object]", holder)))


def key_text(key: object) -> str:
    """Return a key of a dict for people, escaped and cut; keys of unknown types by type alone."""
    if is_exactly(key, (str, bytes, int, float, bool)) or key is None:
        if type(key) is int and key.bit_length() > 1000:
            return "int"  # repr() refuses one of more than 4,300 digits
        text = repr(key)
        return text if len(text) <= _KEY_LENGTH else text[: _KEY_LENGTH - 3] + "..."
    if issubclass(type(key), type):
        return type_name(key)  # type: ignore[arg-type]
    return type_name(type(key))


def referents_of(obj: object) -> list[object]:
    """Return what an object refers to; of a module, its globals alone.

    Up to CPython 3.12.2 the module ``_asyncio`` shows the collector its free list (gh-115874).
    Taking a reference to one of those dead objects, and dropping it, puts it on that list twice,
    after which every collection loops for ever: seen in 3.12.1.
    """
    if is_kind(obj, ModuleType):
        return [module_dict(cast(ModuleType, obj))]
    return gc.get_referents(obj)


def referrers_of(objects: Sequence[object]) -> list[object]:
    """Return what refers to any of these objects; not the tuple of arguments in which they are passed."""
    if not objects:
        return []
    mark = object()  # by its last element is that tuple known
    found = gc.get_referrers(*objects, mark)
    kept = []
    # Up to Python 3.11 a comprehension would have a cell for the mark, which refers to it.
    for obj in found:
        if not (type(obj) is tuple and obj and obj[-1] is mark):
            kept.append(obj)  # noqa: PERF401
    return kept


def length(obj: object) -> int | None:
    """Return how many elements a built-in container, or one derived from it, holds."""
    kind = type(obj)
    # Most are one of these; and no iterator is made, which tracing would see.
    if kind is dict or kind is list or kind is set:
        return len(obj)  # type: ignore[arg-type]
    for base in _SIZED:
        if issubclass(kind, base):
            return base.__len__(obj)  # type: ignore[arg-type]
    return None


def is_frame_of(obj: object, directory: str) -> bool:
    """Return whether ``obj`` is a frame of code from a file in ``directory``."""
    return type(obj) is FrameType and obj.f_code.co_filename.startswith(directory)


def own_attributes(obj: object) -> dict[str, object]:
    """Return the attributes of an instance, those in slots included."""
    return {**dict(_slots(obj)), **(instance_dict(obj) or {})}


def class_constants(kind: type) -> dict[str, int]:
    """Return the whole numbers that a class and its bases have as attributes."""
    found: dict[str, int] = {}
    for base in reversed(_MRO_OF_TYPE(kind)):
        found.update({name: value for name, value in class_dict(base).items() if type(value) is int})
    return found


def function_name(function: object) -> str:
    """Return ``module.qualname`` of a function, or of what a wrapper wraps."""
    if type(function) is not FunctionType:
        wrapped = (instance_dict(function) or {}).get("__wrapped__")
        if type(wrapped) is not FunctionType:
            return type_name(type(function))
        function = wrapped
    module = function.__module__
    return f"{module}.{function.__qualname__}" if type(module) is str else function.__qualname__


def code_name(generator: object) -> str:
    """Return the name of the function that a generator or a coroutine runs."""
    for name in ("gi_code", "cr_code", "ag_code"):
        code = getattr(generator, name, None)  # of exact built-in types alone
        if type(code) is CodeType:
            return code.co_name
    return "?"


def wraps_method(wrapper: object) -> bool:
    """Return whether a wrapped function is defined in a class and takes the instance."""
    wrapped = (instance_dict(wrapper) or {}).get("__wrapped__")
    if type(wrapped) is not FunctionType:
        return False
    before, _, _ = wrapped.__qualname__.rpartition(".")
    in_class = bool(before) and not before.endswith("<locals>")
    return in_class and wrapped.__code__.co_varnames[:1] == ("self",)


def _slots(holder: object) -> Iterator[tuple[str, object]]:
    kind = type(holder)
    for base in _MRO_OF_TYPE(kind):
        for name, descriptor in list(_DICT_OF_TYPE(base).items()):
            if type(descriptor) is MemberDescriptorType and type(name) is str:
                try:
                    yield name, descriptor.__get__(holder, kind)
                except Exception:
                    continue  # an empty slot
