"""Where holder paths begin: modules, threads, context variables, the locals of running functions."""

from __future__ import annotations

import signal
import sys
import threading
from contextvars import Context, ContextVar
from functools import partial
from inspect import CO_OPTIMIZED
from itertools import pairwise
from pathlib import Path
from types import FrameType, FunctionType, MethodType, ModuleType

from pytest_memalert.attribution.allocation.sites import describe, origin_of
from pytest_memalert.attribution.holding.holder import Root
from pytest_memalert.attribution.objects import (
    function_name,
    instance_dict,
    is_exactly,
    is_kind,
    module_dict,
    referents_of,
    type_name,
)

__all__ = [
    "context_variable",
    "hooks",
    "is_of_context",
    "live_frames",
    "module_roots",
    "obscurity_of",
    "running_locals",
    "thread_name",
    "thread_target",
    "top_name",
]

#: Modules whose names are for the standard library alone, and what people know them as.
_KNOWN_AS = {"posix": "os", "nt": "os"}

_FUNCTIONS = (FunctionType, MethodType, partial)

# References to what only a frame has and we are looking at: the frame's, our variable's, the call's.
_OF_THE_FRAME = 3


def module_roots() -> dict[int, str]:
    """Return the name of every loaded module by the identity of its globals and of itself."""
    roots: dict[int, str] = {}
    for name, module in list(sys.modules.items()):
        if is_kind(module, ModuleType) and type(name) is str and top_name(name) != "pytest_memalert":
            roots[id(module_dict(module))] = roots[id(module)] = name
    # An alias registered later doesn't rename a module: its own name wins.
    for module in list(sys.modules.values()):
        if is_kind(module, ModuleType):
            attributes = module_dict(module)
            own = attributes.get("__name__")
            if type(own) is str and id(attributes) in roots:
                roots[id(attributes)] = roots[id(module)] = _KNOWN_AS.get(own, own)
    return roots


def hooks() -> dict[int, str]:
    """Return with what a function was registered that the interpreter alone keeps, by its identity."""
    known = [(sys.gettrace(), "sys.settrace()"), (sys.getprofile(), "sys.setprofile()")]
    # Not by way of ``signal``: that asks the handler for its hash.
    getsignal = sys.modules["_signal"].getsignal
    for number in signal.valid_signals():
        name = number.name if is_kind(number, signal.Signals) else str(number)
        known.append((getsignal(number), f"signal.signal() for {name}"))
    return {id(function): name for function, name in known if is_exactly(function, _FUNCTIONS)}


def top_name(module: str) -> str:
    """Return the first name of a module, without the underscore of one in C that is part of another."""
    return module.partition(".")[0].lstrip("_")


def obscurity_of(module: str) -> int:
    """Return 0 for a public module of the standard library, 1 for a private one, 2 for any other."""
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names:
        return 2
    return 1 if top.startswith("_") else 0


def live_frames() -> set[int]:
    """Return the identities of this thread's frames, which are objects of the collector's up to 3.10."""
    live = set()
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        live.add(id(frame))
        frame = frame.f_back
    return live


def running_locals() -> dict[int, Root]:
    """Return what the locals of running functions hold, by identity, with the function and the variable.

    Frames of running functions are no objects of the collector's from Python 3.11 on. Asked only where
    nothing else explains a survivor, and not of frames of pytest's or ours.
    """
    held: dict[int, Root] = {}
    this_thread = threading.get_ident()
    # A class of the user's may have an ident of its own.
    names = {
        (instance_dict(thread) or {}).get("_ident"): thread_name(thread) for thread in threading.enumerate()
    }
    for ident, top in list(sys._current_frames().items()):
        frame: FrameType | None = top
        while frame is not None:
            origin = origin_of(frame.f_code.co_filename)
            users = origin in ("user", "library") or (ident != this_thread and origin == "stdlib")
            if users and frame.f_code.co_flags & CO_OPTIMIZED:
                where = describe((frame.f_code.co_filename, frame.f_lineno))
                if ident != this_thread:
                    where = f"{where}, {names.get(ident, 'a thread')}"
                # Neither the line, nor the number of a thread, nor the current directory.
                known_as = f"{Path(frame.f_code.co_filename).name} in {frame.f_code.co_name}"
                variables = frame.f_locals
                for name, value in list(variables.items()):
                    held.setdefault(id(value), Root("frame", where, name, f"{known_as} {name}"))
                value = None
                # Up to Python 3.12 the frame keeps this copy: what the function lets go of would live on.
                if type(variables) is dict and sys.getrefcount(variables) <= _OF_THE_FRAME:
                    variables.clear()
            frame = frame.f_back
    return held


def thread_name(thread: object) -> str:
    """Return ``thread NAME``, or ``timer NAME``."""
    kind = "timer" if is_kind(thread, threading.Timer) else "thread"
    name = (instance_dict(thread) or {}).get("_name")
    return f"{kind} {name}" if type(name) is str else kind


def thread_target(thread: object) -> str | None:
    """Return the name of the function that a thread runs."""
    attributes = instance_dict(thread) or {}
    target = attributes.get("function" if is_kind(thread, threading.Timer) else "_target")
    if type(target) is MethodType:
        target = target.__func__
    return function_name(target) if type(target) is FunctionType else None


def is_of_context(obj: object) -> bool:
    """Return whether an object is a context, or a node of the tree in which one keeps its variables."""
    name = type_name(type(obj))
    return type(obj) is Context or name == "hamt" or name.startswith("hamt_")


def context_variable(path: list[object]) -> str | None:
    """Return the name of the variable whose value the path leads through."""
    for node, value in pairwise(path):
        if is_of_context(node):
            # A node visits each variable right after its value.
            for held, variable in pairwise(referents_of(node)):
                if held is value and type(variable) is ContextVar:
                    return variable.name
    return None
