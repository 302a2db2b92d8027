"""What holds around all re-runs of a test, and is ended once, after the last."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from _pytest.tmpdir import tmppath_result_key

from pytest_memalert.collector import callbacks_apart
from pytest_memalert.plugin.rerun.undo import Undo, do_nothing

__all__ = [
    "ReportEar",
    "entered",
    "environment_kept",
    "item_state_kept",
    "log_handlers_silent",
    "other_instances_allowed",
    "output_silent",
    "random_states_kept",
    "reports_unheard",
    "temporary_directories_apart",
    "timers_of_their_own",
    "unraisable_exceptions_apart",
]


class ReportEar:
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

    def __init__(self, hooks: Any, reports: ReportEar) -> None:
        self._hooks = hooks
        self.pytest_runtest_logreport = reports
        self.pytest_exception_interact = _Unheard()
        self.pytest_warning_recorded = _Unheard()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hooks, name)


@contextlib.contextmanager
def reports_unheard(session: pytest.Session, reports: ReportEar) -> Generator[None]:
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
def other_instances_allowed(item: pytest.Item) -> Generator[None]:
    """Let hypothesis run a method on the instances that pytest makes for the re-runs.

    It refuses to run one on two instances. Its own pytest plugin allows it the same way where a method is
    parametrized.
    """
    function = getattr(getattr(item, "obj", None), "__func__", None)
    settings = getattr(function, "_hypothesis_internal_use_settings", None)
    hypothesis = sys.modules.get("hypothesis")
    if function is None or settings is None or hypothesis is None:
        yield
        return
    suppressed = {hypothesis.HealthCheck.differing_executors, *settings.suppress_health_check}
    function._hypothesis_internal_use_settings = hypothesis.settings(
        parent=settings, suppress_health_check=suppressed
    )
    try:
        yield
    finally:
        function._hypothesis_internal_use_settings = settings


@contextlib.contextmanager
def timers_of_their_own(item: pytest.Item) -> Generator[tuple[_OwnProtocol, ...]]:
    """Stop the timers that were set for the item's own run; yield the plugins that set them.

    Both pytest-timeout and faulthandler start a clock before an item's protocol and stop it after: it
    would run on through all re-runs, and end the session in the midst of them.
    """
    plugins: list[_OwnProtocol] = []
    manager = item.config.pluginmanager
    faulthandler = sys.modules.get("_pytest.faulthandler")
    # Without it (-p no:faulthandler), pytest doesn't know its setting.
    if faulthandler is not None and manager.is_registered(faulthandler):
        seconds = float(item.config.getini("faulthandler_timeout") or 0)
        if seconds > 0:
            plugins.append(faulthandler)
    timeout = sys.modules.get("pytest_timeout")
    cancel = getattr(item.config.hook, "pytest_timeout_cancel_timer", None)
    if timeout is not None and cancel is not None and manager.is_registered(timeout):
        cancel(item=item)
        plugins.append(timeout)
    with entered(plugins, item):
        pass  # Starting faulthandler's clock and stopping it stops the outer one: there is one only.
    try:
        yield tuple(plugins)
    finally:
        if timeout in plugins:
            # What follows, the teardown of higher-scoped fixtures, gets its time as before. The timer
            # is stopped by the plugin's own implementation, which is still around us.
            next(timeout.pytest_runtest_protocol(item))


@contextlib.contextmanager
def entered(plugins: Any, item: pytest.Item) -> Generator[None]:
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
def log_handlers_silent(config: pytest.Config) -> Generator[None]:
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
def output_silent(config: pytest.Config) -> Generator[None]:
    """Keep what is printed in re-runs from the terminal: with ``-s``, in ``capsys.disabled()``, by children.

    Descriptors are turned away, not the streams of ``sys``: what a test puts there is its own. Nor is
    anything read: a question that nobody sees would wait for ever.
    """
    capture = getattr(config.pluginmanager.get_plugin("capturemanager"), "_global_capturing", None)
    # --capture=fd has copies of its own, which take the place of the two wherever it is suspended.
    copies = [getattr(getattr(capture, name, None), "targetfd_save", None) for name in ("out", "err")]
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    _flush(streams)
    with contextlib.ExitStack() as stack:
        for descriptor in (0, 1, 2, *copies):
            if descriptor is not None:
                stack.enter_context(_descriptor_silent(descriptor))
        stack.callback(lambda: _flush((*streams, sys.stdout, sys.stderr)))
        timeout: Any = sys.modules.get("pytest_timeout")
        end_process = getattr(timeout, "timeout_timer", None)
        if end_process is None:
            yield
            return

        def tell_and_end_process(*args: object) -> None:
            stack.close()
            end_process(*args)

        # It ends a process that hangs from another thread, and says so first.
        with _attribute_shadowed(timeout, "timeout_timer", tell_and_end_process):
            yield


def _flush(streams: Iterable[Any]) -> None:
    for stream in streams:
        # It may be closed, None, or whatever a test has put there.
        with contextlib.suppress(Exception):
            stream.flush()


@contextlib.contextmanager
def _descriptor_silent(descriptor: int) -> Generator[None]:
    """Let a descriptor lead nowhere for a while; one that isn't open stays so."""
    try:
        inheritable = os.get_inheritable(descriptor)
        copy = _copy(descriptor)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor, inheritable)
    os.close(nowhere)
    try:
        yield
    finally:
        # Where the test has closed the copy, there is no way back.
        with contextlib.suppress(OSError):
            os.dup2(copy, descriptor, inheritable)
            os.close(copy)


def _copy(descriptor: int) -> int:
    """Return a copy whose number is high: tests that close what isn't theirs close the low ones."""
    try:
        import fcntl

        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 200)
    except (ImportError, OSError):  # Windows; a limit of fewer descriptors
        return os.dup(descriptor)


@contextlib.contextmanager
def environment_kept() -> Generator[None]:
    """Let the next test find the variables and the import path that the test's own run left.

    Once, not after each re-run: what a test adds there each time is a leak, to be seen growing.
    """
    environ, path = os.environ, sys.path
    variables, entries = dict(environ), list(path)
    try:
        yield
    finally:
        for name in environ.keys() - variables.keys():
            environ.pop(name, None)
        for name, value in variables.items():
            if environ.get(name) != value:
                environ[name] = value
        sys.path = path
        path[:] = entries


@contextlib.contextmanager
def collector_callbacks_apart() -> Generator[tuple[Undo, Undo]]:
    """Provide how to give the collector its callbacks for a re-run, and to take them away after it.

    Between re-runs it works for us alone. One that each re-run adds, and that raises or takes its time, would
    be called a thousand times in each collection; in the end all that were added are dropped.
    """
    before, kept = len(gc.callbacks), callbacks_apart

    def give() -> None:
        gc.callbacks[:0] = kept
        kept.clear()

    def take_away() -> None:
        kept.extend(gc.callbacks)
        gc.callbacks.clear()

    try:
        yield give, take_away
    finally:
        give()
        del gc.callbacks[before:]


@contextlib.contextmanager
def random_states_kept() -> Generator[None]:
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
def unraisable_exceptions_apart(config: pytest.Config) -> Generator[Undo]:
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


_SAME_DIRECTORY = pytest.StashKey[Path]()


@contextlib.contextmanager
def temporary_directories_apart(config: pytest.Config) -> Generator[Undo]:
    """Give each re-run a base directory of its own for ``tmp_path`` and the like; yield what removes it.

    Its name is new each time, as the names in it would have been: a cache that is keyed by path grows.
    Not so on Python 3.12, whose pathlib interns each new name for ever (python/cpython#113993): every test
    that uses ``tmp_path`` would seem to leak it. There it is the same in all of a session.
    """
    factory = getattr(config, "_tmp_path_factory", None)
    if factory is None:
        yield do_nothing
        return
    get_base = factory.getbasetemp
    made: list[Path] = []

    def getbasetemp() -> Path:
        if not made:
            known = config.stash.get(_SAME_DIRECTORY, None)
            if known is None:
                known = Path(tempfile.mkdtemp(prefix="", dir=get_base()))
                if sys.version_info[:2] == (3, 12):
                    config.stash[_SAME_DIRECTORY] = known
            known.mkdir(mode=0o700, exist_ok=True)
            made.append(known)
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


#: Lists on an item that a run may lengthen: markers added, ``record_property``, captured output and log,
#: failures of a TestCase, fixtures that a plugin asks for in the test's stead.
_ITEM_LISTS = ("own_markers", "user_properties", "_report_sections", "_excinfo", "fixturenames")


@contextlib.contextmanager
def item_state_kept(item: pytest.Item) -> Generator[Undo]:
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
