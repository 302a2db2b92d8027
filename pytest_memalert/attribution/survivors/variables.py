"""Variables of modules that each run sets to another value: a tuple that is made anew, longer by one."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType, WrapperDescriptorType

from pytest_memalert.attribution.allocation.packages import is_stdlib, origin_of_name
from pytest_memalert.attribution.objects import (
    class_attribute,
    is_kind,
    is_tracked_kind,
    length,
    module_dict,
    referents_of,
    type_module,
    type_name,
)

__all__ = ["Variables", "containers_in", "opaque_since", "replaced_since", "variables_of_modules"]

#: The variables of each module, by its name. They keep the values: another would lie where one was.
Variables = dict[str, dict[str, object]]

#: So far from a variable, over so many objects, what keeps things is looked for.
_DEEPEST, _MOST_VISITED = 4, 200
_NO_VALUES = (ModuleType, FunctionType, type)
_CONTAINERS = (dict, list, set, frozenset, tuple)


def variables_of_modules() -> Variables:
    """Return the variables of the user's and the libraries' modules."""
    return {
        name: dict(module_dict(module))
        for name, module in list(sys.modules.items())
        if type(name) is str and is_kind(module, ModuleType) and origin_of_name(name) in ("user", "library")
    }


def replaced_since(before: Variables) -> list[object]:
    """Return the values of the variables that have another than before."""
    return [value for _, value in _replaced(before).values()]


def containers_in(value: object) -> list[object]:
    """Return the built-in containers that a value is, or consists of."""
    found: dict[int, object] = {}
    level = [value]
    for _ in range(_DEEPEST):
        following: list[object] = []
        for obj in level:
            if id(obj) in found or is_kind(obj, _NO_VALUES) or len(found) >= _MOST_VISITED:
                continue
            found[id(obj)] = obj
            if (length(obj) or 0) <= _MOST_VISITED:
                following += referents_of(obj)
        level = following
    return [obj for obj in found.values() if is_kind(obj, _CONTAINERS)]


def opaque_since(before: Variables) -> tuple[str, ...]:
    """Return which variables have a longer value than before that can't be looked into, each with its type.

    An array of NumPy's doesn't tell the collector of the objects in it.
    """
    return tuple(
        f"`{name}` ({type_name(type(value))})"
        for name, (old, value) in _replaced(before).items()
        if type(old) is type(value)
        and not is_tracked_kind(type(value))
        and not is_stdlib(type_module(type(value)) or "builtins")
        and (_length_in_c(value) or 0) > (_length_in_c(old) or 0)
    )


def _length_in_c(value: object) -> int | None:
    """Return the length of a value, if the type has that from C; an array without a dimension has none."""
    method = class_attribute(type(value), "__len__")
    try:
        return int(method(value)) if type(method) is WrapperDescriptorType else None
    except Exception:
        return None


def _replaced(before: Variables) -> dict[str, tuple[object, object]]:
    """Return the values of the variables that have another than before, the old and the new, by full name."""
    found: dict[str, tuple[object, object]] = {}
    for name, known in before.items():
        module = sys.modules.get(name)
        values = module_dict(module) if is_kind(module, ModuleType) else {}  # type: ignore[arg-type]
        for variable, value in list(values.items()):
            if variable in known and value is not known[variable]:
                found[f"{name}.{variable}"] = known[variable], value
    return found
