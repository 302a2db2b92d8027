"""One run of one item, from before its set-up to after its teardown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.model import Comparison, Measurement, Note, PerformanceAlert, Sample
from pytest_memalert.plugin.pytest_internals import HeldScopes
from pytest_memalert.probes.peak import PeakWindow

if TYPE_CHECKING:
    from pytest_memalert.baseline import Entry

__all__ = ["Attempt"]


class Attempt:
    """One run of one item: what was sampled so far, and the reports it has got."""

    __slots__ = (
        "after_call_rss",
        "alerts",
        "before",
        "before_call_rss",
        "call_ended",
        "call_logged",
        "children",
        "comparisons",
        "entry",
        "failed_part",
        "held",
        "item",
        "measurement",
        "notes",
        "parts",
        "passed",
        "renamed_from",
        "reports",
        "reruns",
        "reruns_s",
        "screening_s",
        "window",
    )

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self.window: PeakWindow | None = None
        self.before: Sample | None = None
        self.before_call_rss: int | None = None
        self.after_call_rss: int | None = None
        self.children: dict[str, float] = {}
        self.call_ended = False
        self.call_logged = False
        self.failed_part = False
        self.parts = 0
        self.passed = False
        self.reports: dict[str, pytest.TestReport] = {}
        self.held = HeldScopes()
        self.measurement: Measurement | None = None
        self.alerts: Sequence[PerformanceAlert] = ()
        self.notes: Sequence[Note] = ()
        self.reruns = 0
        self.reruns_s = 0.0
        self.screening_s = 0.0
        self.comparisons: Sequence[Comparison] = ()
        self.entry: Entry | None = None
        self.renamed_from: str | None = None

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
        """Return how much resident memory each phase added, in bytes, as far as it is known."""
        assert self.before is not None
        before, called, returned = self.before.rss_bytes, self.before_call_rss, self.after_call_rss
        phases = {}
        if before is not None and called is not None:
            phases["setup"] = called - before
        if called is not None and returned is not None:
            phases["call"] = returned - called
        if returned is not None and rss_after_bytes is not None:
            phases["teardown"] = int(rss_after_bytes - returned)
        return phases
