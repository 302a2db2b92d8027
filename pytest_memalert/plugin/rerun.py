"""Runs a pytest item again, exactly, leaving nothing behind.

A re-run is set-up, call and teardown through pytest's own hooks, in the same process, after the item's
own run is over; class-, module-, package- and session-scoped fixtures stay set up. No report is made of
it and no other plugin hears of its outcome. Whatever pytest and its plugins keep of a run is put back:
else each re-run would itself look like a leak, and the suite would go on from another state than the
one it would have had.

Only what a *test* leaves behind remains; that is what is being looked for.

Private attributes of pytest are touched here, each with its reason. They were read in pytest 8.0 to 9.2.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import os
import random
import shutil
import sys
import tempfile
import unittest
import warnings
from collections.abc import Callable, Generator, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from _pytest.doctest import DoctestItem, DoctestTextfile
from _pytest.fixtures import FixtureDef
from _pytest.junitxml import xml_key
from _pytest.outcomes import Skipped, XFailed
from _pytest.skipping import xfailed_key
from _pytest.tmpdir import tmppath_result_key
from _pytest.unittest import TestCaseFunction

from pytest_memalert.clock import elapsed_s
from pytest_memalert.errors import describe_exception
from pytest_memalert.plugin.pytest_internals import heeder_of_next_item
from pytest_memalert.records import record

__all__ = ["RerunOutcome", "Rerunner", "can_rerun"]

Outcome = Literal["passed", "failed", "skipped"]

# The first and the last item below each collector.
_ENDS = pytest.StashKey[dict[Any, tuple[pytest.Item, pytest.Item]]]()

#: Puts back what was found when it was made.
Undo = Callable[[], None]


@record(frozen=True, slots=True, kw_only=True)
class RerunOutcome:
    """Say how a re-run ended.

    ``outcome`` is "failed" for an error in any phase, and "skipped" for an expected failure, as in
    pytest's reports. ``reason`` is one line: the phase, the exception's type and its message.
    """

    outcome: Outcome
    reason: str | None
    duration_s: float

    @property
    def objection(self) -> str | None:
        """Return why this run is no evidence of a test that passed by itself; None where it is."""
        return None if self.outcome == "passed" else f"run again, it {self.outcome} ({self.reason})"


def can_rerun(item: pytest.Item) -> str | None:
    """Return why ``item`` must not be run again, or None if it may be.

    To be asked after the item's own run, while its parent is still set up.
    """
    session, option = item.session, item.config.option
    if session.shouldstop or session.shouldfail:
        return "the session is stopping"
    if getattr(option, "setuponly", False) or getattr(option, "setupplan", False):
        return "only fixtures are set up (--setup-only, --setup-plan)"
    if getattr(option, "trace", False):
        return "each test opens the debugger (--trace)"
    if item.parent not in session._setupstate.stack:
        heeder = heeder_of_next_item(item)
        if heeder is not None:
            return f"it is the last of its class or module, and {heeder} ends more than fixtures with it"
        return "its module or class is not set up"
    if hasattr(item, "_request") and not hasattr(item, "_initrequest"):
        return f"items of type {type(item).__name__} can't be given fixtures twice"
    if "benchmark" in getattr(item, "fixturenames", ()) and item.config.pluginmanager.hasplugin("benchmark"):
        return "pytest-benchmark would record its benchmark again"
    if isinstance(item, DoctestItem) and _doctest_namespace(item) is None:
        return "the module of its doctest is not imported any more"
    return None


class Rerunner:
    """Run one item again and again; used as a context manager.

    Entering sets up what holds for all re-runs, leaving undoes it:

        with Rerunner(item) as rerunner:
            first = rerunner.run()
            second = rerunner.run()

    ``run`` neither allocates anything that outlives it (but for what it returns) nor frees anything
    that was there before.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._next_item = _find_sibling(item)
        self._whole = contextlib.ExitStack()
        self._undos: tuple[Undo, ...] = ()
        self._before: tuple[Undo, ...] = ()
        self._own_protocols: tuple[Any, ...] = ()
        self._reports = _ReportEar()

    def __enter__(self) -> Rerunner:
        """Take note of what is there, and turn off what would tell of the re-runs; return this object."""
        item = self._item
        with contextlib.ExitStack() as stack:
            # Each is undone once, after the last re-run.
            self._own_protocols = stack.enter_context(_timers_of_their_own(item))
            stack.enter_context(_reports_unheard(item.session, self._reports))
            stack.enter_context(_log_handlers_silent(item.config))
            stack.enter_context(_random_states_kept())
            forget_unraisable = stack.enter_context(_unraisable_exceptions_apart(item.config))
            remove_directory = stack.enter_context(_temporary_directories_apart(item.config))
            refresh_item = stack.enter_context(_item_state_kept(item))
            # Each is undone after every re-run.
            self._undos = (
                remove_directory,
                _keep_finalizers(item),
                refresh_item,
                _keep_session_counters(item.session),
                _keep_subtest_failures(item),
                _keep_junit_reporters(item.config),
                _keep_last_exception(),
                _keep_current_test_variable(),
                _drop_log_records(item.config),
                forget_unraisable,
            )
            self._before = (forget_unraisable, refresh_item, _renew_doctest_namespace(item))
            # What the first re-run would leave of all this, it finds: then it is as exact as the others.
            for node in item.listchain():
                item.session.gethookproxy(node.path)
            for undo in self._undos:
                undo()
            self._whole = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave the item and the session as they were found."""
        self._undos = self._before = self._own_protocols = ()
        self._whole.close()

    def run(self) -> RerunOutcome:
        """Run the item once more and return how it ended.

        KeyboardInterrupt passes through, as in the item's own run. ``pytest.exit`` is a failure: the
        session of which the item's own run didn't want an end goes on.
        """
        item = self._item
        for prepare in self._before:
            prepare()
        started_s = elapsed_s()
        try:
            # pytest records the warnings of one whole protocol, ours and all re-runs: they would pile up,
            # and be shown as the test's own. The filters in force are kept.
            with warnings.catch_warnings(record=True), _entered(self._own_protocols, item):
                outcome, reason = _run_phases(item, self._next_item)
            subtest_failure = self._reports.take_failure()
            if outcome == "passed" and subtest_failure is not None:
                outcome, reason = "failed", subtest_failure
        finally:
            self._reports.take_failure()
            for undo in self._undos:
                undo()
        return RerunOutcome(outcome=outcome, reason=reason, duration_s=elapsed_s() - started_s)


# ---------------------------------------------------------------- one re-run


def _run_phases(item: pytest.Item, next_item: pytest.Item) -> tuple[Outcome, str | None]:
    """Set up, call and tear down ``item``, as ``_pytest.runner.runtestprotocol`` does without reporting."""
    if hasattr(item, "_initrequest"):
        item._initrequest()
    hooks = item.ihook

    def tear_down() -> tuple[Outcome, str | None]:
        return _run_phase(
            item, "teardown", lambda: hooks.pytest_runtest_teardown(item=item, nextitem=next_item)
        )

    try:
        outcome, reason = _run_phase(item, "setup", lambda: hooks.pytest_runtest_setup(item=item))
        if outcome == "passed":
            outcome, reason = _run_phase(item, "call", lambda: hooks.pytest_runtest_call(item=item))
    except KeyboardInterrupt:
        # At its end the session would tear down fixtures that no longer find what they left on the item.
        tear_down()
        raise
    ended, ended_reason = tear_down()
    if item in item.session._setupstate.stack:
        # A hook raised before pytest's own had its turn: the next test would be refused for that.
        parent: Any = item.parent
        _run_phase(item, "teardown", lambda: item.session._setupstate.teardown_exact(parent))
        ended = "failed"
    if ended == "failed" or outcome == "passed":
        return ended, ended_reason or reason
    return outcome, reason


def _find_sibling(item: pytest.Item) -> pytest.Item:
    """Return what takes the place of the next item: the item is torn down for it, and nothing above it.

    That is another item of the same class or module, or of a class in that, as hooks expect one. Where it is
    the only one the parent stands for it, since pytest itself looks at the chain of parents alone.
    """
    stash = item.session.stash
    if _ENDS not in stash:
        ends = stash[_ENDS] = {}
        for each in item.session.items:
            for node in each.listchain()[:-1]:
                first, _ = ends.setdefault(node, (each, each))
                ends[node] = (first, each)
    siblings = stash[_ENDS].get(item.parent, ())
    parent: Any = item.parent
    return next((each for each in siblings if each is not item), parent)


def _run_phase(item: pytest.Item, phase: str, call: Callable[[], object]) -> tuple[Outcome, str | None]:
    """Make the call and return how it ended; no exception is kept, nor its frames."""
    raised: BaseException | None = None
    try:
        call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raised = error
    try:
        # A TestCase's failures don't get out of its run: they are told to the item, one after the other.
        told = getattr(item, "_excinfo", None)
        if isinstance(item, TestCaseFunction) and told:
            raised = told.pop(0).value
        return _judge(item, phase, raised)
    finally:
        del raised


def _judge(item: pytest.Item, phase: str, raised: BaseException | None) -> tuple[Outcome, str | None]:
    """Return the outcome that pytest's reports would give a phase that raised this, or nothing."""
    run_xfail = item.config.option.runxfail
    expected = None if run_xfail else item.stash.get(xfailed_key, None)
    if raised is None:
        if expected is not None and expected.strict and phase == "call":
            return "failed", "call: passed, though it is strictly expected to fail"
        return "passed", None
    reason = f"{phase}: {describe_exception(raised)}"
    if isinstance(raised, XFailed) and not run_xfail:
        return "skipped", reason
    if isinstance(raised, (Skipped, unittest.SkipTest)):
        return "skipped", reason
    if expected is not None and _is_expected(raised, expected.raises):
        return "skipped", reason
    return "failed", reason


def _is_expected(raised: BaseException, expected: Any) -> bool:
    """Return whether an xfail mark's ``raises`` allows for this exception."""
    if expected is None:
        return True
    if isinstance(expected, (type, tuple)):
        return isinstance(raised, expected)
    return bool(expected.matches(raised))  # pytest.RaisesExc and RaisesGroup, since 8.4


# -------------------------------------------------------- undone at the end


class _ReportEar:
    """Hear the reports that subtests make in a re-run, in the place of all other plugins."""

    def __init__(self) -> None:
        self._failure: str | None = None

    def __call__(self, *, report: Any, **kwargs: object) -> list[object]:
        if report.failed:
            self._failure = "call: a subtest failed"
        return []

    def take_failure(self) -> str | None:
        """Return what failed since it was last asked, once."""
        failure, self._failure = self._failure, None
        return failure


class _Unheard:
    """Stand in for a hook that nobody is to hear."""

    def __call__(self, **kwargs: object) -> list[object]:
        return []

    def call_historic(self, result_callback: object = None, kwargs: object = None) -> None:
        """Do nothing; the hook itself would remember the call for plugins that come later."""


class _QuietHooks:
    """Stand in for a hook relay: the hooks that tell of an outcome call nobody."""

    def __init__(self, hooks: Any, reports: _ReportEar) -> None:
        self._hooks = hooks
        self.pytest_runtest_logreport = reports
        self.pytest_exception_interact = _Unheard()
        self.pytest_warning_recorded = _Unheard()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hooks, name)


@contextlib.contextmanager
def _reports_unheard(session: pytest.Session, reports: _ReportEar) -> Generator[None]:
    """Let no plugin hear of reports: subtests log theirs themselves, in the middle of a run.

    Every node asks ``session.gethookproxy`` for its hooks each time it calls one.
    """
    get_hooks = session.gethookproxy
    quiet: dict[object, _QuietHooks] = {}

    def gethookproxy(path: Path) -> _QuietHooks:
        hooks = quiet.get(path)
        if hooks is None:
            hooks = quiet[path] = _QuietHooks(get_hooks(path), reports)
        return hooks

    with _attribute_shadowed(session, "gethookproxy", gethookproxy):
        yield


@contextlib.contextmanager
def _attribute_shadowed(instance: object, name: str, value: object) -> Generator[None]:
    """Give an object an attribute that hides its class's for a while."""
    attributes = vars(instance)
    missing = object()
    kept = attributes.get(name, missing)
    attributes[name] = value
    try:
        yield
    finally:
        if kept is missing:
            del attributes[name]
        else:
            attributes[name] = kept


class _OwnProtocol(Protocol):
    """Name the hook implementation that a plugin puts around the protocol of one item."""

    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[object]: ...


@contextlib.contextmanager
def _timers_of_their_own(item: pytest.Item) -> Generator[tuple[_OwnProtocol, ...]]:
    """Stop the timers that were set for the item's own run; yield the plugins that set them.

    Both pytest-timeout and faulthandler start a clock before an item's protocol and stop it after: it
    would run on through all re-runs, and end the session in the midst of them.
    """
    plugins: list[_OwnProtocol] = []
    manager = item.config.pluginmanager
    faulthandler = sys.modules.get("_pytest.faulthandler")
    seconds = float(item.config.getini("faulthandler_timeout") or 0)
    if faulthandler is not None and manager.is_registered(faulthandler) and seconds > 0:
        plugins.append(faulthandler)
    timeout = sys.modules.get("pytest_timeout")
    cancel = getattr(item.config.hook, "pytest_timeout_cancel_timer", None)
    if timeout is not None and cancel is not None and manager.is_registered(timeout):
        cancel(item=item)
        plugins.append(timeout)
    with _entered(plugins, item):
        pass  # Starting faulthandler's clock and stopping it stops the outer one: there is one only.
    try:
        yield tuple(plugins)
    finally:
        if timeout in plugins:
            # What follows, the teardown of higher-scoped fixtures, gets its time as before. The timer
            # is stopped by the plugin's own implementation, which is still around us.
            next(timeout.pytest_runtest_protocol(item))


@contextlib.contextmanager
def _entered(plugins: Any, item: pytest.Item) -> Generator[None]:
    """Run the protocol wrappers of these plugins around a block."""
    wrappers = [plugin.pytest_runtest_protocol(item) for plugin in plugins]
    for wrapper in wrappers:
        next(wrapper)
    try:
        yield
    finally:
        for wrapper in reversed(wrappers):
            next(wrapper, None)


@contextlib.contextmanager
def _log_handlers_silent(config: pytest.Config) -> Generator[None]:
    """Keep what is logged in re-runs from the terminal (``log_cli``) and from ``--log-file``."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    names = ("log_cli_handler", "log_file_handler")
    handlers = [getattr(plugin, name) for name in names if hasattr(plugin, name)]
    for handler in handlers:
        handler.addFilter(_reject)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_reject)


def _reject(record: object) -> bool:
    return False


@contextlib.contextmanager
def _random_states_kept() -> Generator[None]:
    """Let the next test draw the random numbers that it would have drawn without re-runs."""
    numpy_random: Any = sys.modules.get("numpy.random")
    state = random.getstate()
    numpy_state = numpy_random.get_state() if numpy_random is not None else None
    try:
        yield
    finally:
        random.setstate(state)
        if numpy_state is not None:
            numpy_random.set_state(numpy_state)


@contextlib.contextmanager
def _unraisable_exceptions_apart(config: pytest.Config) -> Generator[Undo]:
    """Keep exceptions that nobody could catch in a re-run from the tests that follow.

    From 8.4 on pytest queues them, and those of threads, and warns in the next phase of whatever test
    that is. Before, one that is raised between phases, when garbage is collected, is printed.
    """
    queues = []
    for module, name in (
        ("_pytest.unraisableexception", "unraisable_exceptions"),
        ("_pytest.threadexception", "thread_exceptions"),
    ):
        key = getattr(sys.modules.get(module), name, None)
        if key is not None and key in config.stash:
            queues.append(config.stash[key])
    kept = [list(queue) for queue in queues]

    def forget() -> None:
        for queue in queues:
            queue.clear()

    hook = sys.unraisablehook
    if not queues:
        sys.unraisablehook = _ignore_unraisable
    try:
        yield forget
    finally:
        if sys.unraisablehook is _ignore_unraisable:
            sys.unraisablehook = hook
        for queue, exceptions in zip(queues, kept, strict=True):
            queue.clear()
            queue.extend(exceptions)


def _ignore_unraisable(unraisable: object) -> None:
    pass


@contextlib.contextmanager
def _temporary_directories_apart(config: pytest.Config) -> Generator[Undo]:
    """Give each re-run a base directory of its own for ``tmp_path`` and the like; yield what removes it.

    Its name is new each time, as the names in it would have been: a cache that is keyed by path grows.
    Not so on Python 3.12, whose pathlib interns each new name for ever (python/cpython#113993): every test
    that uses ``tmp_path`` would seem to leak it.
    """
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:
        yield _do_nothing
        return
    get_base = factory.getbasetemp
    made: list[Path] = []

    def getbasetemp() -> Path:
        if not made:
            if sys.version_info[:2] == (3, 12):
                made.append(get_base() / "rerun")
                made[0].mkdir(mode=0o700, exist_ok=True)
            else:
                made.append(Path(tempfile.mkdtemp(prefix="", dir=get_base())))
        return made[0]

    def remove() -> None:
        # From 9.1 on the numbers given in a base directory are remembered.
        if numbers:
            vars(factory)["_next_number"] = {}
        while made:
            shutil.rmtree(made.pop(), ignore_errors=True)

    numbers = "_next_number" in vars(factory)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_attribute_shadowed(factory, "getbasetemp", getbasetemp))
        if numbers:
            stack.enter_context(_attribute_shadowed(factory, "_next_number", {}))
        try:
            yield remove
        finally:
            remove()


def _do_nothing() -> None:
    pass


#: Lists on an item that a run may lengthen: markers added, ``record_property``, captured output and log,
#: failures of a TestCase, fixtures that a plugin asks for in the test's stead.
_ITEM_LISTS = ("own_markers", "user_properties", "_report_sections", "_excinfo", "fixturenames")


@contextlib.contextmanager
def _item_state_kept(item: pytest.Item) -> Generator[Undo]:
    """Keep the item's attributes, markers and stash; yield what makes it ready for one more run."""
    attributes = vars(item)
    found = dict(attributes)
    ready = dict(attributes)
    if _has_instance_of_its_own(item):
        # pytest makes the instance once for an item; each run gets one, as the first did.
        ready.pop("_obj", None)
        ready.pop("_instance", None)
    lists = [(found[name], list(found[name])) for name in _ITEM_LISTS if type(found.get(name)) is list]
    # Whoever makes reports puts it there, tmp_path's teardown wants it and takes it away.
    item.stash.setdefault(tmppath_result_key, {})
    tables: list[tuple[MutableMapping[Any, Any], dict[Any, Any]]] = []
    for owner, name in ((item.keywords, "_markers"), (item.stash, "_storage")):
        table = getattr(owner, name, None)
        if isinstance(table, dict):
            tables.append((table, dict(table)))
    extra_keywords = set(item.extra_keyword_matches)

    def put_back(kept: dict[str, Any]) -> None:
        attributes.clear()
        attributes.update(kept)
        for live, content in lists:
            live[:] = content
        for table, entries in tables:
            table.clear()
            table.update(entries)
        item.extra_keyword_matches.clear()
        item.extra_keyword_matches.update(extra_keywords)

    try:
        yield functools.partial(put_back, ready)
    finally:
        put_back(found)


def _has_instance_of_its_own(item: pytest.Item) -> bool:
    """Return whether the item is a plain method: what it calls can be had again from a new instance.

    A plugin may have put something else in its place (``item.obj = retrying(item.obj)``); that stays.
    """
    if not isinstance(item, pytest.Function) or not isinstance(item.parent, pytest.Class):
        return False
    called = vars(item).get("_obj")
    method = getattr(item.parent.obj, item.originalname, None)
    return called is None or getattr(called, "__func__", called) is getattr(method, "__func__", method)


# ------------------------------------------------- undone after every re-run


def _keep_finalizers(item: pytest.Item) -> Undo:
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
        request = finalizer.keywords.get("request")
        return getattr(request, "node", None) is item or (
            getattr(request, "_pyfuncitem", None) is item and id(fixture) in active
        )

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


def _keep_session_counters(session: pytest.Session) -> Undo:
    """Return what restores the count of failures and the wish to stop; the setters only ever set."""
    attributes = vars(session)
    names = ("testsfailed", "_shouldstop", "_shouldfail")
    kept = {name: attributes[name] for name in names if name in attributes}
    return functools.partial(attributes.update, kept)


def _keep_subtest_failures(item: pytest.Item) -> Undo:
    """Return what restores how many subtests of the item failed; pytest counts them since 9.0."""
    key = getattr(sys.modules.get("_pytest.subtests"), "failed_subtests_key", None)
    if key is None or key not in item.config.stash:
        return _do_nothing
    counts: dict[object, int] = item.config.stash[key]
    names = {item.nodeid, getattr(item, "id", item.nodeid)}  # the former until 9.1
    kept = {name: counts[name] for name in names if name in counts}

    def undo() -> None:
        for name in names:
            if name not in kept:
                counts.pop(name, None)
        counts.update(kept)

    return undo


def _keep_junit_reporters(config: pytest.Config) -> Undo:
    """Return what drops the JUnit entries that ``record_xml_attribute`` and the like made in a re-run."""
    xml: Any = config.stash.get(xml_key, None)
    if xml is None:
        return _do_nothing
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


def _keep_last_exception() -> Undo:
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


def _keep_current_test_variable() -> Undo:
    """Return what restores PYTEST_CURRENT_TEST, which stays behind where a teardown fails."""
    name = "PYTEST_CURRENT_TEST"
    kept = os.environ.get(name)

    def undo() -> None:
        if kept is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = kept

    return undo


def _drop_log_records(config: pytest.Config) -> Undo:
    """Return what lets go of the records of the last phase; with their arguments they hold on to a lot."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    names = ("caplog_handler", "report_handler")
    handlers = [getattr(plugin, name) for name in names if hasattr(plugin, name)]

    def undo() -> None:
        for handler in handlers:
            handler.reset()

    return undo


# ------------------------------------------------------------------ doctests


def _renew_doctest_namespace(item: pytest.Item) -> Callable[[], None]:
    """Return what fills the names that the examples see: a doctest's run ends by clearing them."""
    if not isinstance(item, DoctestItem):
        return _do_nothing

    def renew() -> None:
        item.dtest.globs.clear()
        item.dtest.globs.update(_doctest_namespace(item) or {})

    return renew


def _doctest_namespace(item: DoctestItem) -> dict[str, Any] | None:
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
