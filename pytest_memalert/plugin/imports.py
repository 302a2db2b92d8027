"""Modules: the ways by which they are found, kept for our own, and what is in those that are loaded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["ImportPaths", "globals_of"]

_NAMES = ("path", "meta_path", "path_hooks")


class ImportPaths:
    """Hold how modules are found now, to find ours when a test has changed that."""

    def __init__(self) -> None:
        self._seen = {name: list(getattr(sys, name)) for name in _NAMES}

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Have what was there at first back for a while, before what came since."""
        now = {name: getattr(sys, name) for name in _NAMES}
        lost = [name for name in _NAMES if not all(each in (now[name] or ()) for each in self._seen[name])]
        for name in lost:
            seen = self._seen[name]
            setattr(sys, name, [*seen, *(each for each in now[name] or () if each not in seen)])
        if lost:
            # It holds what was not found meanwhile, too.
            importlib.invalidate_caches()
        try:
            yield
        finally:
            for name in lost:
                setattr(sys, name, now[name])


def globals_of(module: object) -> Mapping[str, object]:
    """Return what is in a loaded module, without asking it: a lazy one would load, a proxy may raise."""
    try:
        found = object.__getattribute__(module, "__dict__")
    except Exception:  # whatever its class does instead
        return {}
    return found if type(found) is dict else {}
