"""Check tests for leaks: which ones, and each by running it again until there is a verdict."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.clock import Stopwatch
from pytest_memalert.limits import MarkerLimits
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.settings import LeakChecks
from pytest_memalert.suspicion import QUICK_S, Floor

if TYPE_CHECKING:
    from pytest_memalert.finding import Explained
    from pytest_memalert.leaks import Policy

__all__ = ["LeakCheck"]

# Suspects that turn out to be clean may take this share of the tests' own time, and this long at
# the start, where most suspects are. Quick ones, as most are, have a purse of their own: a slow one or two
# would leave them nothing. And so have, of both, those that left much behind: one memo that fills for 200
# runs would leave a leak of 1 MB unchecked. All four together are 5 % and 0.6 s.
_CLEARING_SHARE = 0.0125
_CLEARING_QUICK_S, _CLEARING_SLOW_S = 0.2, 0.1
_LARGE_BYTES, _LARGE_BLOCKS = 256 * 1024, 5000
# What grows in a few re-runs is followed until it has outlasted caches: a second or two, which would leave
# other suspects nothing for their first re-run. So these are charged so many runs at most, and what a hunt
# took beyond them, for nothing, to a purse for all.
_FIRST_RUNS = 6
_DOUBT_SHARE, _DOUBT_S = 0.02, 4.0
# A leak that is explained takes what it takes, until all of them took so much: then whoever runs the suite
# knows of several, and wants to have the others another day. To recognise one again costs far less.
_FINDING_SHARE, _FINDING_S = 0.1, 20.0
# Where every test is checked, 20 ms of runs for each would make a suite of 1 ms tests 20 times as
# long: so they are given to the first tests, and from then on while they take no more than this share.
_LOOKING_SHARE, _LOOKING_S = 0.2, 1.5
# A hunt to the end takes a second or two. A suspect is promised to be found with 300 blocks or
# 10 KiB per run; less is pursued to the end only while that stays this share of the tests' time.
_PURSUIT_SHARE, _PURSUIT_S = 0.01, 0.5
_WEAK_BLOCKS, _WEAK_BYTES = 200.0, 8.5 * 1024
# Pursued is what blocks tell, exact to one; a heap of holes fades for hundreds of runs.
_ANY_BLOCKS = 0.05
_FIRST_S = 10.0


class _Purse:
    """Hold the time for one purpose: so much at the start, and a share of what the tests themselves take."""

    def __init__(self, share: float, start_s: float = 0.0) -> None:
        self._share = share
        self._start_s = start_s
        self.spent_s = 0.0

    def affords(self, cost_s: float, *, tests_s: float) -> bool:
        """Return whether so much more may be spent, the tests having taken ``tests_s`` so far."""
        return self.spent_s + cost_s <= self._start_s + self._share * tests_s


class LeakCheck:
    """Check the tests of one process; a leak that was explained is recognised in later tests.

    ``turns`` are the node ids whose turn it is, where a budget doesn't cover every test.
    """

    def __init__(self, leaks: LeakChecks, *, turns: frozenset[str] | None) -> None:
        self._leaks = leaks
        self._turns = turns
        self._floor = Floor()
        # Made with the engine, which is loaded for the first test that is checked: most sessions have none.
        self._explained: Explained | None = None
        self._tests_s = 0.0
        self._clearing = {
            (quick, large): _Purse(_CLEARING_SHARE, _CLEARING_QUICK_S if quick else _CLEARING_SLOW_S)
            for quick in (True, False)
            for large in (True, False)
        }
        self._doubt = _Purse(_DOUBT_SHARE, _DOUBT_S)
        self._finding = _Purse(_FINDING_SHARE, _FINDING_S)
        self._looking = _Purse(_LOOKING_SHARE, _LOOKING_S)
        self._pursuit = _Purse(_PURSUIT_SHARE)

    def may_repeat(self, limits: MarkerLimits) -> bool:
        """Return whether the settings and the test's marker let it be run again."""
        return self._leaks != "off" and limits.leaks != "off"

    def is_wanted(self, nodeid: str, values: Mapping[str, float], limits: MarkerLimits) -> bool:
        """Return whether a test with these figures is to be checked."""
        if not self.may_repeat(limits):
            return False
        if self.is_asked_for(nodeid, limits):
            return True
        # Where tests take turns, a suspect out of turn would take another one's.
        return self._turns is None and self._floor.stands_out(values)

    def is_asked_for(self, nodeid: str, limits: MarkerLimits) -> bool:
        """Return whether the test is to be checked whatever its first run was like."""
        if self._leaks == "all" and (self._turns is None or nodeid in self._turns):
            return True
        return limits.leaks == "all" or any(rule.metric.startswith("leak_") for rule in limits.rules)

    def has_time_to_clear(self, values: Mapping[str, float]) -> bool:
        """Return whether a suspect with these figures may be run again, to clear it."""
        first_run_s = values["duration_s"]
        purse = self._purse_to_clear(values)
        if purse.spent_s == 0.0 and first_run_s <= _FIRST_S:
            return True  # a first run may have been slow for what it imported
        return purse.affords(first_run_s, tests_s=self._tests_s)

    def _purse_to_clear(self, values: Mapping[str, float]) -> _Purse:
        blocks, heap_bytes = values.get("blocks_growth", 0.0), values.get("heap_growth_bytes", 0.0)
        large = blocks >= _LARGE_BLOCKS or heap_bytes >= _LARGE_BYTES
        return self._clearing[values["duration_s"] <= QUICK_S, large]

    def learn(self, values: Mapping[str, float], *, leaks: bool = False) -> None:
        """Take in the figures of a test, as part of what the suite retains anyway unless it ``leaks``."""
        if self._leaks != "off":
            self._tests_s += values["duration_s"]
            if not leaks:
                self._floor.learn(values)

    def check(
        self,
        item: pytest.Item,
        limits: MarkerLimits,
        *,
        values: Mapping[str, float],
        budget_s: float | None,
    ) -> tuple[LeakAnalysis, int]:
        """Return whether the test leaks, and where the leak comes from; and how often it was run for that.

        ``values`` are the figures of its first run, ``budget_s`` is what is left of a budget that the user
        set.
        """
        if self._explained is None:
            self._explained = _load_engine()
        from pytest_memalert.plugin.rerun import can_rerun

        reason = can_rerun(item)
        if reason:
            return LeakAnalysis(status="unclear", reason=reason), 0
        first_run_s = values["duration_s"]
        asked_for = self.is_asked_for(item.nodeid, limits)
        if not asked_for and budget_s is None:
            reason = None
            if not self.has_time_to_clear(values):
                reason = "running it again would take too much of the suite's time"
            elif not self._doubt.affords(0.0, tests_s=self._tests_s):
                reason = f"suspects that grew for a while took {self._doubt.spent_s:.0f} s"
            elif not self._finding.affords(0.0, tests_s=self._tests_s):
                reason = f"the leaks explained before took {self._finding.spent_s:.0f} s"
            if reason is not None:
                reason = f"a suspect, but {reason}; --memalert-leaks=all checks it"
                return LeakAnalysis(status="unchecked", reason=reason), 0
        pursuing = asked_for or self._has_time_to_pursue()
        looking = asked_for and self._has_time_to_look(limits)
        stopwatch = Stopwatch()
        explained = self._explained.times
        analysis, runs = self._investigate(
            item,
            limits,
            self._policy(asked_for=asked_for, pursuing=pursuing, looking=looking),
            budget_s=budget_s,
        )
        # Beside other programs a re-run takes longer, and costs no more.
        seconds = stopwatch.worked_s()
        if looking and analysis.status != "leaking":
            self._looking.spent_s += seconds
        if not asked_for:
            beyond_s = max(0.0, seconds - _FIRST_RUNS * first_run_s)
            if pursuing:
                self._pursuit.spent_s += beyond_s
            if analysis.status != "leaking":
                self._purse_to_clear(values).spent_s += seconds - beyond_s
                if not pursuing:
                    self._doubt.spent_s += beyond_s
            elif self._explained.times > explained:
                self._finding.spent_s += seconds
        return analysis, runs

    def _investigate(
        self,
        item: pytest.Item,
        limits: MarkerLimits,
        policy: Policy,
        *,
        budget_s: float | None,
    ) -> tuple[LeakAnalysis, int]:
        from pytest_memalert.finding import investigate
        from pytest_memalert.plugin.rerun import Rerunner

        with Rerunner(item) as rerunner:

            def run() -> str | None:
                return rerunner.run().objection

            analysis = investigate(
                run,
                # The test has already run once.
                warmups=limits.warmups or 0,
                runs=limits.runs,
                budget_s=budget_s,
                policy=policy,
                explained=self._explained,
                root=item.config.rootpath,
            )
            return analysis, rerunner.runs

    def _has_time_to_pursue(self) -> bool:
        return self._pursuit.affords(_PURSUIT_S, tests_s=self._tests_s)

    def _has_time_to_look(self, limits: MarkerLimits) -> bool:
        """Return whether a test may be run for some time before it is called flat."""
        if self._turns is not None or limits.leaks == "all":
            return True  # the price is fixed, or asked for by name
        # Not by its own first run, which may have been slow for what it imported: a look at a quick test
        # takes 20 ms, and at a slow one nine runs or none.
        return self._looking.affords(0.0, tests_s=self._tests_s)

    @staticmethod
    def _policy(*, asked_for: bool, pursuing: bool, looking: bool) -> Policy:
        """Return how thoroughly a test is checked."""
        from pytest_memalert.leaks import Policy

        if asked_for:
            return Policy() if looking else Policy(quick_s=0.0, brief=True)
        # A suspect is dismissed by a re-run or two that leave little: what made it one, it left in its first.
        # Checking on request is for the small and the lumpy leaks too, so it looks longer.
        return Policy(
            quick_s=0.0,
            brief=True,
            follows_creep=False,
            budget_s=1.0,
            wide_budget_s=2.0,
            weak_blocks=_ANY_BLOCKS if pursuing else _WEAK_BLOCKS,
            weak_bytes=_WEAK_BYTES,
        )


def _load_engine() -> Explained:
    """Load what checks tests, which most sessions don't need: after the first suspect, uncounted.

    No garbage is collected meanwhile: a full collection takes as long as the loading, and finds nothing.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        import pytest_memalert.plugin.rerun  # noqa: F401
        from pytest_memalert.finding import Explained

        return Explained()
    finally:
        if was_collecting:
            gc.enable()
