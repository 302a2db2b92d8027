"""What ends what an object does: whether it can be closed, is closed, or is over."""

from __future__ import annotations

import io
import re
import sys
import threading
from types import FunctionType, MethodDescriptorType

from pytest_memalert.attribution.objects import (
    base_names,
    class_attribute,
    instance_dict,
    is_exactly,
    is_kind,
    own_attributes,
)
from pytest_memalert.attribution.survivors.groups import Group

__all__ = ["closing_of", "is_over"]

# What ends the objects of a type, the first that it has.
_CLOSING = ("aclose", "close", "shutdown", "stop", "disconnect", "cleanup", "dispose")
# One that runs can't be closed.
_OF_PROCESSES = {"subprocess.Popen": "wait", "multiprocessing.process.BaseProcess": "join"}
_SIGNAL = re.compile("signal|event", re.IGNORECASE)
_FUNCTIONS = (FunctionType, MethodDescriptorType)
_IN_MEMORY = (io.BytesIO, io.StringIO)
_FILES = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper, *_IN_MEMORY)


def closing_of(group: Group) -> str | None:
    """Return the method that ends what a group's objects do; None where they have none, or are closed."""
    if not group.objects or all(map(_is_closed, group.objects)):
        return None
    kind = type(group.objects[0])
    names = (name for name in _CLOSING if is_exactly(class_attribute(kind, name), _FUNCTIONS))
    processes = (name for base, name in _OF_PROCESSES.items() if base in base_names(kind))
    name = next(processes, None) or next(names, None)
    # A signal disconnects others, not itself.
    is_others = name == "disconnect" and _SIGNAL.search(group.type) is not None
    return None if is_others or is_exactly(group.objects[0], _IN_MEMORY) else name


def _is_closed(obj: object) -> bool:
    """Return whether ``obj`` is a file, a socket, an event loop or the like that is closed."""
    if is_exactly(obj, _FILES):
        try:
            return bool(obj.closed)  # type: ignore[attr-defined]
        except ValueError:  # detached from its stream
            return False
    return own_attributes(obj).get("_closed") is True


def is_over(obj: object) -> bool:
    """Return whether ``obj`` is a thread or a task of asyncio's that has ended."""
    if is_kind(obj, threading.Thread):
        # One whose __init__ wasn't called can't be asked.
        begun = (instance_dict(obj) or {}).get("_initialized") is True
        return begun and not threading.Thread.is_alive(obj)  # type: ignore[arg-type]
    asyncio = sys.modules.get("_asyncio")
    return asyncio is not None and is_kind(obj, asyncio.Future) and asyncio.Future.done(obj)
