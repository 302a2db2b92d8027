"""What is put back after each re-run: what pytest and its plugins keep of a run."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.fixtures import FixtureDef
from _pytest.junitxml import xml_key

__all__ = [
    "Undo",
    "do_nothing",
    "drop_log_records",
    "keep_current_test_variable",
    "keep_directory",
    "keep_finalizers",
    "keep_junit_reporters",
    "keep_last_exception",
    "keep_session_counters",
    "keep_subtest_failures",
]

#: Puts back what was found when it was made.
Undo = Callable[[], None]


def do_nothing() -> None:
    """Put nothing back: there is nothing of the kind here."""


def keep_finalizers(item: pytest.Item) -> Undo:
    """Return what drops the finalizers that a re-run added to fixtures which stay set up.

    Each function-scoped fixture adds one to every higher-scoped fixture that it depends on, which keeps
    its value's request alive until that one is torn down, long after it is finished itself. Before 8.1
    each use of a higher-scoped fixture adds one to its node as well.
    """
    active = {id(fixture): fixture for fixture in _known_fixtures(item) if fixture.cached_result is not None}
    lists: list[list[Any]] = [fixture._finalizers for fixture in active.values()]
    lists += [finalizers for finalizers, _ in item.session._setupstate.stack.values()]
    lengths = [len(finalizers) for finalizers in lists]

    def is_spent(finalizer: Any) -> bool:
        fixture = getattr(getattr(finalizer, "func", None), "__self__", None)
        if not isinstance(finalizer, functools.partial) or not isinstance(fixture, FixtureDef):
            return False
        if fixture.cached_result is None:
            return True  # it is torn down, with its module, say
        request = finalizer.keywords.get("request")
        return getattr(request, "_pyfuncitem", None) is item and id(fixture) in active

    def undo() -> None:
        for finalizers, length in zip(lists, lengths):  # noqa: B905 - as long as each other, and hot
            if len(finalizers) > length:
                finalizers[length:] = [each for each in finalizers[length:] if not is_spent(each)]

    return undo


def _known_fixtures(item: pytest.Item) -> Iterator[FixtureDef[Any]]:
    """Yield every fixture definition that there is, and those that parametrization made for the item."""
    manager: Any = item.session._fixturemanager
    # The first until 9.0, then by node and, for plugins that still give a node id, by that.
    names = ("_arg2fixturedefs", "_arg2node2fixturedefs", "_arg2nodeid2fixturedefs")
    pending: list[Any] = [getattr(manager, name, ()) for name in names]
    pending.append(getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", ()))
    while pending:
        found = pending.pop()
        if isinstance(found, FixtureDef):
            yield found
        else:
            pending.extend(found.values() if isinstance(found, dict) else found)


def keep_session_counters(session: pytest.Session) -> Undo:
    """Return what restores the count of failures and the wish to stop; the setters only ever set."""
    attributes = vars(session)
    names = ("testsfailed", "_shouldstop", "_shouldfail")
    kept = {name: attributes[name] for name in names if name in attributes}
    return functools.partial(attributes.update, kept)


def keep_subtest_failures(item: pytest.Item) -> Undo:
    """Return what restores how many subtests of the item failed; pytest counts them since 9.0."""
    key = getattr(sys.modules.get("_pytest.subtests"), "failed_subtests_key", None)
    if key is None or key not in item.config.stash:
        return do_nothing
    counts: dict[object, int] = item.config.stash[key]
    names = {item.nodeid, getattr(item, "id", item.nodeid)}  # the former until 9.1
    kept = {name: counts[name] for name in names if name in counts}

    def undo() -> None:
        for name in names:
            if name not in kept:
                counts.pop(name, None)
        counts.update(kept)

    return undo


def keep_junit_reporters(config: pytest.Config) -> Undo:
    """Return what drops the JUnit entries that ``record_xml_attribute`` and the like made in a re-run."""
    xml: Any = config.stash.get(xml_key, None)
    if xml is None:
        return do_nothing
    reporters, entries = dict(xml.node_reporters), len(xml.node_reporters_ordered)
    properties = [(each, len(each)) for each in (xml.global_properties, *_property_lists(xml))]

    def undo() -> None:
        if len(xml.node_reporters) != len(reporters):
            xml.node_reporters.clear()
            xml.node_reporters.update(reporters)
        del xml.node_reporters_ordered[entries:]
        for each, length in properties:
            del each[length:]

    return undo


def _property_lists(xml: Any) -> list[list[Any]]:
    return [each.properties for each in xml.node_reporters.values()]


def keep_last_exception() -> Undo:
    """Return what restores ``sys.last_exc`` and its kin: they keep a traceback, and all it holds, alive."""
    names = ("last_type", "last_value", "last_traceback", "last_exc")
    attributes = vars(sys)
    kept = {name: attributes[name] for name in names if name in attributes}

    def undo() -> None:
        for name in names:
            if name not in kept:
                attributes.pop(name, None)
        attributes.update(kept)

    return undo


def keep_current_test_variable() -> Undo:
    """Return what restores PYTEST_CURRENT_TEST, which stays behind where a teardown fails."""
    name = "PYTEST_CURRENT_TEST"
    kept = os.environ.get(name)

    def undo() -> None:
        if kept is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = kept

    return undo


def keep_directory() -> Undo:
    """Return what goes back to the current directory: that of a re-run may be gone by the next one."""
    try:
        kept = str(Path.cwd())
    except OSError:  # gone already
        return do_nothing

    def undo() -> None:
        with contextlib.suppress(OSError):
            os.chdir(kept)

    return undo


def drop_log_records(config: pytest.Config) -> Undo:
    """Return what lets go of the records of the last phase; with their arguments they hold on to a lot."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    names = ("caplog_handler", "report_handler")
    handlers = [getattr(plugin, name) for name in names if hasattr(plugin, name)]

    def undo() -> None:
        for handler in handlers:
            handler.reset()

    return undo
