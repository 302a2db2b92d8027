"""Keeps the suite itself, all of which each worker holds, out of what tests collect and search."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

__all__ = ["set_aside", "untrack"]

# Their deallocators mind no object that isn't tracked, as those of instances of Python's classes: dicts of
# plain values never are.
_PLAIN = (list, dict, set)
# What all tests share: it is no part of an item.
_SHARED = (pytest.Config, pytest.Collector, pytest.FixtureDef)


@contextmanager
def set_aside() -> Iterator[None]:
    """Keep what the outer run has loaded out of an inner run's collections: they took most of its time.

    Only where no leak is searched for: a search that meets a frozen heap doesn't freeze it itself.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def untrack(items: Sequence[pytest.Item]) -> None:
    """Hide the tests that were collected, twenty objects each, from the garbage collector.

    They are half of the heap, and each search for a leak visits the heap dozens of times: a quarter of the
    time that searches within this process took. They live as long as the process, so nobody misses them.
    """
    if sys.implementation.name != "cpython":
        return
    hide = ctypes.pythonapi.PyObject_GC_UnTrack
    hide.argtypes, hide.restype = [ctypes.py_object], None
    left: list[object] = [*items]
    while left:
        obj = left.pop()
        hide(obj)
        left += filter(_is_of_an_item, gc.get_referents(obj))


def _is_of_an_item(obj: object) -> bool:
    """Return whether this is visible, and plain or an instance of a class that pytest wrote in Python."""
    if not gc.is_tracked(obj) or isinstance(obj, _SHARED):
        return False
    kind = type(obj)
    is_pytests = kind.__module__.startswith("_pytest.") and kind.__name__ != "FixtureManager"
    return kind in _PLAIN or is_pytests
