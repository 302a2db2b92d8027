"""One run of one item, from before its set-up to after its teardown."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_memalert.model import Sample
from pytest_memalert.plugin.facts import Facts
from pytest_memalert.plugin.pytest_internals import HeldScopes
from pytest_memalert.probes.peak import PeakWindow

__all__ = ["STOPPED", "Attempt"]

#: On an item whose own run stopped in the debugger.
STOPPED = pytest.StashKey[bool]()


class Attempt:
    """One run of one item: what was sampled and found so far, and the reports it has got."""

    # What most attempts never change is the class' own: to set each of these anew costs 1 us a test.
    window: PeakWindow | None = None
    before: Sample | None = None
    threads = 0
    before_call_rss: int | None = None
    after_call_rss: int | None = None
    children: Mapping[str, float] = {}
    call_ended = False
    call_logged = False
    logged = 0
    failed_part = False
    parts = 0
    held: HeldScopes | None = None

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.facts = Facts()
        self.reports: dict[str, pytest.TestReport] = {}

    @property
    def has_passed_call(self) -> bool:
        """Return whether the call passed, as far as its report says, and each subtest."""
        call = self.reports.get("call")
        return call is not None and call.passed and not hasattr(call, "wasxfail") and not self.failed_part

    def outcome(self, *, torn_down_well: bool) -> str:
        """Return how the test itself went, in pytest's words, before any alert."""
        setup, call = self.reports.get("setup"), self.reports.get("call")
        decisive = call or setup
        if decisive is None:
            return "error"
        if decisive.skipped:
            return "xfailed" if hasattr(decisive, "wasxfail") else "skipped"
        if decisive.failed or self.failed_part:
            return "failed" if call else "error"
        if not torn_down_well:
            return "error"
        return "xpassed" if hasattr(decisive, "wasxfail") else "passed"

    def phases(self, rss_after_bytes: float | None) -> dict[str, int]:
        """Return how much resident memory each phase added, in bytes, as far as it is known.

        What has nothing to set up has but a call.
        """
        assert self.before is not None
        before, called, returned = self.before.rss_bytes, self.before_call_rss, self.after_call_rss
        phases = {}
        if before is not None and called is not None:
            phases["setup"] = called - before
        elif before is not None and rss_after_bytes is not None and self.call_ended:
            phases["call"] = int(rss_after_bytes - before)
        if called is not None and returned is not None:
            phases["call"] = returned - called
        if returned is not None and rss_after_bytes is not None:
            phases["teardown"] = int(rss_after_bytes - returned)
        return phases
