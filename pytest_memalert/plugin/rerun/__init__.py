"""Runs a pytest item again, exactly, leaving nothing behind.

A re-run is set-up, call and teardown through pytest's own hooks, in the same process, after the item's
own run is over; class-, module-, package- and session-scoped fixtures stay set up, unless it is they that
are looked at. No report is made of
it and no other plugin hears of its outcome. Whatever pytest and its plugins keep of a run is put back:
else each re-run would itself look like a leak, and the suite would go on from another state than the
one it would have had.

Only what a *test* leaves behind remains; that is what is being looked for.

Private attributes of pytest are touched in these modules, each with its reason. They were read in pytest
8.0 to 9.2.
"""

from __future__ import annotations

import contextlib
import warnings
from array import array
from typing import Any

import pytest
from _pytest.doctest import DoctestItem

from pytest_memalert.clock import elapsed_s
from pytest_memalert.plugin.measuring.attempt import STOPPED
from pytest_memalert.plugin.pytest_internals import heeder_of_next_item
from pytest_memalert.plugin.rerun.apart import (
    ReportEar,
    collector_callbacks_apart,
    entered,
    environment_kept,
    item_state_kept,
    log_handlers_silent,
    other_instances_allowed,
    output_silent,
    random_states_kept,
    reports_unheard,
    temporary_directories_apart,
    timers_of_their_own,
    unraisable_exceptions_apart,
)
from pytest_memalert.plugin.rerun.doctests import doctest_namespace, renew_doctest_namespace
from pytest_memalert.plugin.rerun.phases import Outcome, find_sibling, run_phases
from pytest_memalert.plugin.rerun.undo import (
    Undo,
    drop_log_records,
    keep_current_test_variable,
    keep_directory,
    keep_finalizers,
    keep_junit_reporters,
    keep_last_exception,
    keep_session_counters,
    keep_subtest_failures,
)
from pytest_memalert.records import record

__all__ = ["Rerunner", "can_rerun"]


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


def can_rerun(item: pytest.Item, shared: Any = None) -> str | None:
    """Return why ``item`` must not be run again, or None if it may be.

    To be asked after the item's own run, while its parent is still set up; or ``shared``, where all below
    that is to be set up anew each time.
    """
    session, option = item.session, item.config.option
    if session.shouldstop or session.shouldfail:
        return "the session is stopping"
    if getattr(option, "setuponly", False) or getattr(option, "setupplan", False):
        return "only fixtures are set up (--setup-only, --setup-plan)"
    if getattr(option, "trace", False):
        return "each test opens the debugger (--trace)"
    if STOPPED in item.stash:
        return "it stopped in the debugger"
    if item.parent not in session._setupstate.stack:
        heeder = heeder_of_next_item(item)
        if heeder is not None:
            return f"it is the last of its class or module, and {heeder} ends more than fixtures with it"
        if shared not in session._setupstate.stack:
            return (
                "it is the last of all, and stood out only once the session's fixtures were torn down; "
                "--memalert-leaks=all looks at such a test in time"
            )
    if hasattr(item, "_request") and not hasattr(item, "_initrequest"):
        return f"items of type {type(item).__name__} can't be given fixtures twice"
    if "benchmark" in getattr(item, "fixturenames", ()) and item.config.pluginmanager.hasplugin("benchmark"):
        return "pytest-benchmark would record its benchmark again"
    if isinstance(item, DoctestItem) and doctest_namespace(item) is None:
        return "the module of its doctest is not imported any more"
    return None


class Rerunner:
    """Run one item again and again; used as a context manager.

    Entering sets up what holds for all re-runs, leaving undoes it:

        with Rerunner(item) as rerunner:
            first = rerunner.run()
            second = rerunner.run()

    ``run`` neither allocates anything that outlives it (but for what it returns) nor frees anything
    that was there before. With ``shared``, each run sets up and tears down all that lies below that node, the
    fixtures of the item's class or module, say; as it must be torn down by then.
    """

    def __init__(self, item: pytest.Item, shared: Any = None) -> None:
        self._item = item
        self._next_item = find_sibling(item, shared)
        self._whole = contextlib.ExitStack()
        self._undos: tuple[Undo, ...] = ()
        self._before: tuple[Undo, ...] = ()
        self._own_protocols: tuple[Any, ...] = ()
        self._reports = ReportEar()
        # A number of its own would be a block of memory from the 257th run on.
        self._runs = array("q", [0])

    @property
    def runs(self) -> int:
        """Return how often the item was run again so far."""
        return self._runs[0]

    def __enter__(self) -> Rerunner:
        """Take note of what is there, and turn off what would tell of the re-runs; return this object."""
        item = self._item
        with contextlib.ExitStack() as stack:
            # Each is undone once, after the last re-run.
            stack.enter_context(output_silent(item.config))
            self._own_protocols = stack.enter_context(timers_of_their_own(item))
            stack.enter_context(reports_unheard(item.session, self._reports))
            stack.enter_context(log_handlers_silent(item.config))
            give_callbacks, take_callbacks = stack.enter_context(collector_callbacks_apart())
            stack.enter_context(random_states_kept())
            stack.enter_context(environment_kept())
            stack.enter_context(other_instances_allowed(item))
            forget_unraisable = stack.enter_context(unraisable_exceptions_apart(item.config))
            remove_directory = stack.enter_context(temporary_directories_apart(item.config))
            refresh_item = stack.enter_context(item_state_kept(item))
            # Each is undone after every re-run.
            self._undos = (
                take_callbacks,
                keep_directory(),
                remove_directory,
                keep_finalizers(item),
                refresh_item,
                keep_session_counters(item.session),
                keep_subtest_failures(item),
                keep_junit_reporters(item.config),
                keep_last_exception(),
                keep_current_test_variable(),
                drop_log_records(item.config),
                forget_unraisable,
            )
            self._before = (forget_unraisable, refresh_item, renew_doctest_namespace(item), give_callbacks)
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
        self._runs[0] += 1
        for prepare in self._before:
            prepare()
        started_s = elapsed_s()
        try:
            # pytest records the warnings of one whole protocol, ours and all re-runs: they would pile up,
            # and be shown as the test's own. The filters in force are kept.
            with warnings.catch_warnings(record=True), entered(self._own_protocols, item):
                outcome, reason = run_phases(item, self._next_item)
            subtest_failure = self._reports.take_failure()
            if outcome == "passed" and subtest_failure is not None:
                outcome, reason = "failed", subtest_failure
        finally:
            self._reports.take_failure()
            for undo in self._undos:
                undo()
        return RerunOutcome(outcome=outcome, reason=reason, duration_s=elapsed_s() - started_s)
