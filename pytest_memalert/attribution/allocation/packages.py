"""Whose a module is, and which installed package a file belongs to."""

from __future__ import annotations

import dis
import functools
import sys
from pathlib import Path
from types import FunctionType, ModuleType

from pytest_memalert.attribution.allocation import sites
from pytest_memalert.attribution.objects import (
    bases_of,
    class_dict,
    is_kind,
    module_dict,
    type_module,
)
from pytest_memalert.records import record

__all__ = [
    "Package",
    "compiled_module",
    "compiled_package_of_file",
    "is_stdlib",
    "origin_of_name",
    "package_of_extension",
    "package_of_file",
    "package_of_module",
    "packaged_base",
]


@record(frozen=True, slots=True, kw_only=True)
class Package:
    """Name an installed package, or one of its modules; or a compiled module of the user's own."""

    name: str
    version: str | None
    is_users: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name


def origin_of_name(name: str) -> str | None:
    """Return whose a module is, or that of a class by its full name; None where that isn't known."""
    while name and not is_kind(sys.modules.get(name), ModuleType):
        name = name.rpartition(".")[0]
    filename = _file_of_module(name)
    return None if filename is None else sites.origin_of(filename)


def _file_of_module(name: str) -> str | None:
    """Return the file of a loaded module; None where it isn't one, or has none."""
    module = sys.modules.get(name)
    filename = module_dict(module).get("__file__") if is_kind(module, ModuleType) else None  # type: ignore[arg-type]
    return filename if type(filename) is str else None


def is_stdlib(name: str) -> bool:
    """Return whether a module, or a class by its full name, is of the standard library or the interpreter."""
    top = name.partition(".")[0]
    if top not in sys.stdlib_module_names or not is_kind(sys.modules.get(top), ModuleType):
        return False
    filename = _file_of_module(top)
    # A module of the user's may have the name of one.
    return filename is None or sites.origin_of(filename) == "stdlib"


def package_of_module(name: str) -> Package | None:
    """Return the installed package that a module is from; None for the user's own and the library's."""
    filename = _file_of_module(name)
    return None if filename is None else package_of_file(filename)


def package_of_extension(name: str) -> Package | None:
    """Return the installed package of a module that is compiled; None for all others."""
    filename = _file_of_module(name)
    return package_of_file(filename) if filename is not None and _is_compiled(filename) else None


def packaged_base(kind: type, attribute: str) -> type | None:
    """Return the base of a class whose attribute it is, if that is of an installed package; else None.

    What a class of the user's sets, and no such base of it, is the user's.
    """
    packaged = [base for base in bases_of(kind) if package_of_module(type_module(base)) is not None]
    if not packaged or kind is packaged[0]:
        return kind if packaged else None
    owner = next((base for base in packaged if _sets(base, attribute)), None)
    others = (base for base in bases_of(kind) if not any(base is known for known in packaged))
    is_users = any(_sets(base, attribute) for base in others)
    return owner or (None if is_users else packaged[0])


def _sets(kind: type, attribute: str) -> bool:
    """Return whether a class itself has an attribute, declares it or sets it in one of its functions."""
    own = class_dict(kind)
    annotations = own.get("__annotations__")
    if attribute in own or (type(annotations) is dict and attribute in annotations):
        return True
    return any(
        instruction.opname == "STORE_ATTR" and instruction.argval == attribute
        for function in own.values()
        if type(function) is FunctionType
        for instruction in dis.get_instructions(function.__code__)
    )


def compiled_module(name: str, *, is_shown: bool = False) -> Package | None:
    """Return the package of a module that is compiled, or that module if it is the user's own.

    None for the interpreter's, pytest's and ours, and for all that are not compiled. ``is_shown`` says that
    it may be the package of what is compiled: that may say to be of it.
    """
    filename = _file_of_module(name)
    if filename is None:
        return None
    origin = sites.origin_of(filename)
    if origin == "user" and _is_compiled(filename):
        return Package(name=name, version=None, is_users=True)
    if origin != "library":
        return None
    if _is_compiled(filename):
        return package_of_file(filename)
    return compiled_package_of_file(filename) if is_shown else None


def compiled_package_of_file(filename: str) -> Package | None:
    """Return the installed package of a file, if modules of it that are loaded are compiled.

    They may be in the package, or beside it, as ``_yaml`` is.
    """
    top = sites.component_of(((filename, 0),))
    names = {top, f"_{top}"}
    parts = [module for name, module in tuple(sys.modules.items()) if name.partition(".")[0] in names]
    compiled = any(_is_compiled(module_dict(m).get("__file__")) for m in parts if is_kind(m, ModuleType))
    return package_of_file(filename) if compiled else None


def _is_compiled(filename: object) -> bool:
    return type(filename) is str and filename.endswith((".so", ".pyd", ".dll", ".dylib"))


@functools.lru_cache(maxsize=256)
def package_of_file(filename: str) -> Package | None:
    """Return the installed package that a file belongs to, with its version; None for the user's own."""
    if sites.origin_of(filename) not in ("library", "framework"):
        return None
    from importlib import metadata

    top = sites.component_of(((filename, 0),))
    try:
        return Package(name=top, version=metadata.version(top))
    except Exception:
        pass  # the package is called otherwise than its module
    try:
        names = dict.fromkeys(metadata.packages_distributions().get(top, ()))
        # Several share a namespace, as "zope" or "google".
        owner = next((name for name in names if len(names) == 1 or _has_file(name, filename)), None)
        if owner is not None:
            return Package(name=owner, version=metadata.version(owner))
    except Exception:
        pass  # broken metadata of some package
    return Package(name=top, version=None)


def _has_file(distribution: str, filename: str) -> bool:
    """Return whether an installed distribution lists a file among its own."""
    from importlib import metadata

    files = metadata.files(distribution) or ()
    # By the name first: to find out where a file is takes longer.
    name = Path(filename).name
    return any(file.name == name and Path(file.locate()) == Path(filename) for file in files)
