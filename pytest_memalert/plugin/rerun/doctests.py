"""What a doctest needs to be run again: its run ends by clearing the names that its examples see."""

from __future__ import annotations

import doctest
import sys
from typing import Any

import pytest
from _pytest.doctest import DoctestItem, DoctestTextfile

from pytest_memalert.plugin.rerun.undo import Undo, do_nothing

__all__ = ["doctest_namespace", "renew_doctest_namespace"]


def renew_doctest_namespace(item: pytest.Item) -> Undo:
    """Return what fills the names that the examples see: a doctest's run ends by clearing them."""
    if not isinstance(item, DoctestItem):
        return do_nothing

    def renew() -> None:
        item.dtest.globs.clear()
        item.dtest.globs.update(doctest_namespace(item) or {})

    return renew


def doctest_namespace(item: DoctestItem) -> dict[str, Any] | None:
    """Return a new copy of the names that a doctest starts with, or None where they can't be had again."""
    test: doctest.DocTest = item.dtest
    if isinstance(item.parent, DoctestTextfile):
        return {"__name__": "__main__"}
    # A doctest is called by its module's name and its place in the module.
    name = test.name
    while name:
        module = sys.modules.get(name)
        if module is not None and getattr(module, "__file__", None) == test.filename:
            return {"__name__": "__main__", **vars(module)}
        name = name.rpartition(".")[0]
    return None
