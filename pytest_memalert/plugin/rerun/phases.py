"""The three phases of one re-run, and the outcome that pytest's reports would give them."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any, Literal

import pytest
from _pytest.outcomes import Skipped, XFailed
from _pytest.skipping import xfailed_key
from _pytest.unittest import TestCaseFunction

from pytest_memalert.errors import describe_exception

__all__ = ["Outcome", "find_sibling", "run_phases"]

Outcome = Literal["passed", "failed", "skipped"]

# The first and the last item below each collector.
_ENDS = pytest.StashKey[dict[Any, tuple[pytest.Item, pytest.Item]]]()


def run_phases(item: pytest.Item, next_item: pytest.Item) -> tuple[Outcome, str | None]:
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
    except BaseException:  # Ctrl-C, or trouble of our own
        # The next test, or the session at its end, would find what is still set up.
        tear_down()
        raise
    ended, ended_reason = tear_down()
    if item in item.session._setupstate.stack:
        # A hook raised before pytest's own had its turn: the next test would be refused for that.
        _run_phase(item, "teardown", lambda: item.session._setupstate.teardown_exact(next_item))
        ended = "failed"
    if ended == "failed" or outcome == "passed":
        return ended, ended_reason or reason
    return outcome, reason


def find_sibling(item: pytest.Item, shared: Any = None) -> pytest.Item:
    """Return what takes the place of the next item: all below ``shared`` is torn down for it, and no more.

    By default that is the item alone, ``shared`` being its parent. It is another item below that, as hooks
    expect one. Where there is none ``shared`` stands for it, since pytest itself looks at the chain of
    parents alone.
    """
    chain = item.listchain()
    shared = chain[-2] if shared is None else shared
    below = chain[chain.index(shared) + 1]
    stash = item.session.stash
    if _ENDS not in stash:
        ends = stash[_ENDS] = {}
        for each in item.session.items:
            for node in each.listchain()[:-1]:
                first, _ = ends.setdefault(node, (each, each))
                ends[node] = (first, each)
    siblings = stash[_ENDS].get(shared, ())
    return next((each for each in siblings if below not in each.listchain()), shared)


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
    run_xfail = getattr(item.config.option, "runxfail", False)  # not there with -p no:skipping
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
