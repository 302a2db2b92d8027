"""Holds what is told of leaks that a library makes, keeps, or may keep: whose they are, and what is known."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import psutil
import pytest

from pytest_memalert.attribution.allocation.calls import watch_calls
from pytest_memalert.attribution.allocation.packages import Package, compiled_module
from pytest_memalert.attribution.explain import explain
from pytest_memalert.attribution.explanation import Explanation
from pytest_memalert.attribution.holding.holder import NO_REFERRER, UNTRACKED

OBJECTS: dict[str, Any] = {}
LIBRARY: Any = None

Library = Callable[[str], Any]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Provide how to install a library of this source."""
    directory = tmp_path / "site-packages"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))

    def install(source: str) -> Any:
        (directory / "keeping.py").write_text(dedent(source))
        return importlib.import_module("keeping")

    yield install
    sys.modules.pop("keeping", None)
    OBJECTS.clear()


def explained(leak: Callable[[], object]) -> Explanation:
    for _ in range(3):
        leak()

    def run() -> None:
        leak()

    return explain(run)


def keep(obj: object) -> None:
    """Leave a reference without a holder, as a C extension does that lacks a decref."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(obj))


# -------------------------------------------------------------- C extensions


def test_who_is_called_is_named_for_what_nothing_refers_to_and_not_only_who_made_it() -> None:
    """An array of NumPy's, of which another extension lacks a decref, was told to be kept by NumPy."""
    found = explained(lambda: keep([psutil.net_if_addrs()]))
    assert found.survivors[0].held_by[:1] == (NO_REFERRER,)
    (text,) = found.recommendations
    assert text.startswith("a C extension called here lacks a decref, or keeps what it is given: ")
    assert f"psutil {psutil.__version__}" in text
    assert "what is called by ctypes (tests/test_attribution_libraries.py" in text
    assert "look there, upgrade psutil, or report it" in text


def test_what_is_called_in_c_without_an_event_is_noticed_by_the_module_that_has_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a ufunc of SciPy's, whose class is of NumPy: it wasn't seen that SciPy is called."""
    monkeypatch.setitem(globals(), "LIBRARY", library("fast = len.__call__"))
    beside = ModuleType("_keeping")
    beside.__file__ = "/env/site-packages/_keeping.so"
    monkeypatch.setitem(sys.modules, "_keeping", beside)
    calls = watch_calls(lambda: LIBRARY.fast([]) and None)
    assert [package.name for package in calls.extensions] == ["keeping"]


def test_the_maker_is_no_more_than_one_that_may_keep_it() -> None:
    (text, *_) = explained(lambda: keep(psutil.net_if_addrs())).recommendations
    assert f"psutil {psutil.__version__}, which made it" in text
    assert "ctypes" in text
    assert "keeps psutil" not in text


def test_who_is_called_is_named_for_what_the_collector_does_not_track() -> None:
    found = explained(lambda: keep(repr(psutil.net_if_addrs()).encode() * 5))
    assert found.survivors[0].held_by == (UNTRACKED,)
    (text, *_) = found.recommendations
    assert "find what keeps what is made here" in text
    assert f"psutil {psutil.__version__}" in text


def test_a_compiled_module_of_the_users_own_is_named_and_not_to_be_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("own_extension")
    module.__file__ = str(tmp_path / "own_extension.so")
    monkeypatch.setitem(sys.modules, "own_extension", module)
    assert compiled_module("own_extension") == Package(name="own_extension", version=None, is_users=True)
    assert compiled_module("json") is None
    assert compiled_module("test_attribution_libraries") is None


# ------------------------------------------------------------------ registries


def test_a_library_that_fills_a_registry_of_the_standard_library_is_named_first(library: Library) -> None:
    """The test adds nothing itself, and had to undo it."""
    keeping = library(
        """
        import copyreg
        def make():
            class Made:
                pass
            copyreg._extension_registry[Made] = repr
            return Made()
        """
    )
    try:
        (text,) = explained(keeping.make).recommendations
    finally:
        import copyreg

        registry: dict[Any, Any] = copyreg._extension_registry  # type: ignore[attr-defined]
        for kind in [kind for kind in registry if type(kind) is type and kind.__module__ == "keeping"]:
            del registry[kind]
    registry_name = "`copyreg._extension_registry`"
    assert text.startswith(f"{registry_name} keeps what keeping makes: upgrade keeping, or report it")
    assert f"else undo in teardown what the test adds to {registry_name}" in text


FINALIZED = """
    import weakref
    class Group:
        def __init__(self, owner):
            self.owner = owner
    class Descriptor:
        _instances = {}
        def __get__(self, instance, owner=None):
            if id(instance) not in self._instances:
                self._instances[id(instance)] = Group(instance)
                weakref.finalize(instance, self._instances.pop, id(instance), None)
            return self._instances[id(instance)]
    class Owner:
        events = Descriptor()
"""


def test_a_finalizer_that_waits_for_what_a_library_keeps_is_not_told_to_be_detached(library: Library) -> None:
    keeping = library(FINALIZED)
    found = explained(lambda: keeping.Owner().events)
    (text,) = found.recommendations
    assert text.startswith("`keeping.Descriptor._instances` of keeping keeps it: ")
    assert "detach" not in text
    assert found.survivors[0].type.startswith("keeping.")


def test_what_a_librarys_object_keeps_for_itself_is_for_the_library_to_clear(library: Library) -> None:
    """A private list within it was to be bounded or cleared by the user."""
    keeping = library(
        """
        class Local:
            def __init__(self):
                self._refs = []
            def set(self, value):
                self._refs.append([value])
        """
    )
    OBJECTS["local"] = keeping.Local()
    (text,) = explained(lambda: OBJECTS["local"].set(1)).recommendations
    assert "keeps it in `_refs`, which is for keeping to clear: upgrade keeping, or report it" in text


STORE = """
    class Pending:
        def __init__(self):
            self.entries = []
    class Store:
        def __init__(self):
            self._pending = Pending()
        def note(self, value):
            self._pending.entries.append([value])
    class Base: ...
"""


def test_what_a_class_derives_from_a_librarys_keeps_is_for_the_library_to_clear(library: Library) -> None:
    """And what is kept by an object of the library's in such a private attribute."""

    class OwnStore(library(STORE).Store):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.own = 1

    OBJECTS["store"] = OwnStore()
    (text,) = explained(lambda: OBJECTS["store"].note(1)).recommendations
    assert "keeps it in `_pending`, which is for keeping to clear: upgrade keeping, or report it" in text


def test_what_the_users_class_keeps_for_itself_is_the_users_whatever_it_derives_from(
    library: Library,
) -> None:
    class OwnBase(library(STORE).Base):  # type: ignore[misc]
        def __init__(self) -> None:
            self._pending: list[Any] = []

    OBJECTS["base"] = OwnBase()
    (text,) = explained(lambda: OBJECTS["base"]._pending.append([1])).recommendations
    assert text.startswith("bound or clear")


def test_a_container_of_a_librarys_is_the_users_to_clear(library: Library) -> None:
    keeping = library(
        """
        class Bag:
            def __init__(self):
                self._items = []
            def add(self, item):
                self._items.append(item)
            def clear(self):
                self._items.clear()
        """
    )
    OBJECTS["bag"] = keeping.Bag()
    (text,) = explained(lambda: OBJECTS["bag"].add([1])).recommendations
    assert "bound or clear" in text
    assert "upgrade" not in text


# ------------------------------------------------------------- what is closed


CLOSING = """
    KEPT = []
    def keep(made):
        KEPT.append(made)
    class Loop:
        def close(self):
            self.is_open = False
"""


def test_what_is_to_be_closed_is_told_for_what_is_open(library: Library, tmp_path: Path) -> None:
    keeping = library(CLOSING)
    (tmp_path / "file").touch()
    try:
        (text,) = explained(lambda: keeping.keep((tmp_path / "file").open())).recommendations
        assert "call close() on what is made" in text
    finally:
        for file in keeping.KEPT:
            file.close()
    (text,) = explained(lambda: keeping.keep(keeping.Loop())).recommendations
    assert "call close() on what is made" in text


def test_what_is_closed_is_not_to_be_closed(library: Library, tmp_path: Path) -> None:
    """Of files their state is looked at, of others whether the test calls that method."""
    keeping = library(CLOSING)
    (tmp_path / "file").touch()

    def close_file() -> None:
        with (tmp_path / "file").open() as file:
            keeping.keep(file)

    def close_loop() -> None:
        loop = keeping.Loop()
        keeping.keep(loop)
        loop.close()

    for leak in (close_file, close_loop):
        (text,) = explained(leak).recommendations
        assert text == (
            "`keeping.KEPT` of keeping keeps it: clear it in a fixture if it offers a way, upgrade keeping, "
            "or report it"
        )


def test_one_that_is_closed_does_not_hide_another_that_is_open(library: Library) -> None:
    keeping = library(CLOSING)

    def leak() -> None:
        keeping.Loop().close()
        keeping.keep(keeping.Loop())

    (text,) = explained(leak).recommendations
    assert "call close() on what is made" in text
