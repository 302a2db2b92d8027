"""What pytest has no public name for: running an item's phases, holding scopes, failing a report."""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprFileLocation, ReprTraceback
from _pytest.fixtures import reorder_items
from _pytest.outcomes import OutcomeException
from _pytest.runner import call_and_report, check_interactive_exception, runtestprotocol
from _pytest.scope import Scope

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup  # pytest itself needs it there

__all__ = [
    "HeldScopes",
    "fail_report",
    "has_fixtures",
    "heeder_of_next_item",
    "hold_wider_scopes",
    "is_in_pytests_order",
    "is_of_one_test",
    "kept_output_bytes",
    "refit_section",
    "report_teardown",
    "run_phases",
    "run_phases_heard",
    "shared_node",
]


# pytest's own, which knows what is set up; ours; and one that keeps what is next for the item's own sake.
_HEEDLESS = frozenset({"_pytest.runner", "pytest_memalert.plugin.phases", "pytest_rerunfailures"})


class PhaseEar(Protocol):
    """What is told of an item's phases as they go by."""

    def before_call(self) -> None:
        """Hear that the set-up passed and that the call is next."""

    def after_phase(self, report: pytest.TestReport) -> None:
        """Hear that a phase is over, and what its report is."""

    def scopes_to_hold(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> AbstractContextManager[None] | None:
        """Return what the teardown is to run within, if anything."""


def run_phases(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Run set-up, call and teardown of an item without logging their reports."""
    runtestprotocol(item, nextitem=nextitem, log=False)


def run_phases_heard(item: pytest.Item, nextitem: pytest.Item | None, ear: PhaseEar) -> None:
    """Run the phases as ``run_phases`` does, telling the ``ear`` of each.

    Hooks of our own tell the same, but six wrappers around pytest's calls of them take as long as all
    readings together.
    """
    has_request = hasattr(item, "_request")
    if has_request and not item._request:  # type: ignore[attr-defined]
        item._initrequest()  # type: ignore[attr-defined]
    try:
        report = call_and_report(item, "setup", log=False)
        ear.after_phase(report)
        if report.passed:
            ear.before_call()
            ear.after_phase(call_and_report(item, "call", log=False))
        if item.session.shouldfail or item.session.shouldstop:
            nextitem = None  # the session is about to end: everything is torn down now
        scopes = ear.scopes_to_hold(item, nextitem)
        if scopes is None:
            report = call_and_report(item, "teardown", log=False, nextitem=nextitem)
        else:
            with scopes:
                report = call_and_report(item, "teardown", log=False, nextitem=nextitem)
        ear.after_phase(report)
    finally:
        if has_request:
            item._request = False  # type: ignore[attr-defined]
            item.funcargs = None  # type: ignore[attr-defined]


def report_teardown(item: pytest.Item, call: pytest.CallInfo[None]) -> pytest.TestReport:
    """Return the report of a teardown that was made to wait; its failure is shown to such as ``--pdb``."""
    report: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    if check_interactive_exception(call, report):
        item.ihook.pytest_exception_interact(node=item, call=call, report=report)
    return report


def fail_report(report: pytest.TestReport, item: pytest.Item, *, headline: str, text: str) -> None:
    """Turn a report into one of failure, whose section is ``text`` and whose reason is ``headline``."""
    path, line, _ = item.location
    where = ReprFileLocation(str(path), (line or 0) + 1, headline)
    entry = ReprEntry(text.split("\n"), None, None, None, "value")
    traceback = ReprTraceback([entry], None, style="value")
    report.outcome = "failed"
    report.longrepr = ExceptionChainRepr([(traceback, where, None)])


def refit_section(report: pytest.TestReport, refit: Callable[[Sequence[str]], list[str]]) -> None:
    """Put lines in the place of those of the section of a report that ``fail_report`` made."""
    if isinstance(report.longrepr, ExceptionChainRepr):
        for entry in report.longrepr.reprtraceback.reprentries:
            entry.lines = refit(entry.lines)


def is_of_one_test(definition: pytest.FixtureDef[Any]) -> bool:
    """Return whether a fixture's scope is the function."""
    # Its public name, ``scope``, is a property over a property: 1 us for each fixture of each test.
    return definition._scope is Scope.Function


def has_fixtures(item: pytest.Item) -> bool:
    """Return whether anything is set up for an item, parameters apart; True where that isn't known."""
    names = getattr(item, "fixturenames", None)
    if names is None:
        return True
    callspec = getattr(item, "callspec", None)
    return len(names) > (0 if callspec is None else len(callspec.params))


def heeder_of_next_item(item: pytest.Item) -> str | None:
    """Return the name of a plugin, or conftest.py, whose teardown depends on which test comes next.

    Such ends by itself what belongs to a class, say, with its last test, and begins it with the next one:
    to repeat that test would confuse it. pytest's own does so only with what it has set up.
    """
    for found in item.ihook.pytest_runtest_teardown.get_hookimpls():
        function = inspect.unwrap(found.function)
        is_heedless = getattr(function, "__module__", None) in _HEEDLESS
        if not is_heedless and "nextitem" in found.argnames and _reads(function, "nextitem"):
            return Path(str(found.plugin_name)).name
    return None


def _reads(function: Any, name: str) -> bool:
    """Return whether a function does anything with an argument; True where that can't be seen."""
    try:
        instructions = list(dis.get_instructions(function))
        arguments = inspect.getfullargspec(function)
    except TypeError:
        return True
    if name not in (*arguments.args, *arguments.kwonlyargs):
        return True  # whoever takes anything may read it
    read = (step.argval for step in instructions if "LOAD" in step.opname)
    return any(value == name or (isinstance(value, tuple) and name in value) for value in read)


def is_in_pytests_order(items: Sequence[pytest.Item], collected: Sequence[pytest.Item]) -> bool:
    """Return whether the tests come as collected, but for what pytest moves for the sake of fixtures.

    Else a plugin or an option has changed their order, maybe to another one each time.
    """
    chosen = {*items}
    return list(items) == list(reorder_items([item for item in collected if item in chosen]))


def kept_output_bytes(item: pytest.Item) -> int:
    """Return the size of the captured output that pytest keeps for its reports, in bytes."""
    sections = item._report_sections
    # Up to 512 bytes a string is no heap of malloc's, and at most a page of resident memory.
    return sum(len(text) for _, _, text in sections if len(text) > 512) if sections else 0


class HeldScopes:
    """Wider scopes that a test's teardown left set up, so that the test, or their fixtures, can run again.

    ``release`` tears them down as the test's own teardown would have done, step by step: first what no other
    test will use, which lies below the node ``shared``, then the session. ``torn_down`` says that the first
    step was taken.
    """

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.torn_down = False
        self._steps: list[Callable[[], None]] = []

    @property
    def held(self) -> bool:
        """Return whether there is anything left to tear down."""
        return bool(self._steps)

    def hold(self, *steps: Callable[[], None]) -> None:
        """Remember what is left to do."""
        self._steps.extend(steps)

    def release(self, item: pytest.Item) -> pytest.CallInfo[None] | None:
        """Take the next step, its output captured as the item's; return how that went."""
        if not self._steps:
            return None
        step = self._steps.pop(0)
        self.torn_down = True
        capture = item.config.pluginmanager.getplugin("capturemanager")

        def tear_down() -> None:
            if capture is None:
                step()
                return
            with capture.item_capture("teardown", item):
                step()

        reraise: tuple[type[BaseException], ...] = (pytest.exit.Exception,)
        if not item.config.getoption("usepdb", False):
            reraise += (KeyboardInterrupt,)
        return pytest.CallInfo.from_call(tear_down, when="teardown", reraise=reraise)


def shared_node(item: pytest.Item, nextitem: pytest.Item | None) -> Any:
    """Return the innermost collector that the next item is in as well: the session, where there is none."""
    nodes = {*([item.session] if nextitem is None else nextitem.listchain())}
    return next(node for node in reversed(item.listchain()) if node in nodes)


@contextmanager
def hold_wider_scopes(
    item: pytest.Item, scopes: HeldScopes, *, suspect: Callable[[], bool], keeps_session: Callable[[], bool]
) -> Iterator[None]:
    """Hold the teardown of wider scopes in ``scopes``, if the item is ``suspect`` by then.

    The last test of a module takes the module's fixtures down with it; a repetition needs
    them. The last one of all takes the session's down, which a repetition of the module's fixtures needs:
    they are held where ``keeps_session`` says so, asked once the module's are gone, or where there are none.
    Every plugin still sees the true ``nextitem``: only pytest's own stack of what is set up is asked to wait.
    """
    state = item.session._setupstate
    tear_down_to = state.teardown_exact

    def tear_down_item_first(nextitem: pytest.Item | None) -> None:
        problems: list[BaseException] = []

        def attempt(step: Callable[[], None]) -> None:
            try:
                step()
            except (OutcomeException, Exception) as problem:
                problems.insert(0, problem)  # which keeps nothing wider from being torn down

        # A collector stands in for the next item: only the chain of its parents is looked at.
        steps = [lambda: tear_down_to(nextitem)]
        if nextitem is None:
            steps.insert(0, lambda: tear_down_to(item.session))  # type: ignore[arg-type]
        attempt(lambda: tear_down_to(item.parent))  # type: ignore[arg-type]
        if not problems and suspect():
            scopes.hold(*steps)
            return
        attempt(steps.pop(0))
        scopes.torn_down = not problems
        # The first finalizer is the session's own, which does nothing.
        is_bare = len(state.stack.get(item.session, ((),))[0]) <= 1
        if steps and not problems and (is_bare or keeps_session()):
            scopes.hold(*steps)
            return
        for step in steps:
            attempt(step)
        if len(problems) > 1:
            raise BaseExceptionGroup("errors during test teardown", problems)
        if problems:
            raise problems[0]

    state.teardown_exact = tear_down_item_first  # type: ignore[method-assign]
    try:
        yield
    finally:
        del state.teardown_exact
