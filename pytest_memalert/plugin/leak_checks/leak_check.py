"""Check tests for leaks: which ones, and each by running it again until there is a verdict."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.clock import Stopwatch
from pytest_memalert.collector import collect_young
from pytest_memalert.leaks.suspicion import Floor
from pytest_memalert.limits.marker import MarkerLimits
from pytest_memalert.model import OPTED_OUT, OUT_OF_TURN, LeakAnalysis
from pytest_memalert.plugin.leak_checks.purses import Purses
from pytest_memalert.settings import LeakChecks

if TYPE_CHECKING:
    from pytest_memalert.hunting.recognition import Explained, Proof
    from pytest_memalert.leaks.policy import Policy
    from pytest_memalert.plugin.leak_checks.checked_before import CheckedBefore

__all__ = ["LeakCheck"]

# A suspect is promised to be found with 300 blocks or 10 KiB per run; less is pursued where there is time.
_WEAK_BLOCKS, _WEAK_BYTES = 200.0, 8.5 * 1024
# Pursued is what blocks tell, exact to one; a heap of holes fades for hundreds of runs.
_ANY_BLOCKS = 0.05
# A session within a test that is run again, as a plugin's own tests have them: each run would be a hunt.
_WITHIN = "another search for leaks is under way in this process"


class LeakCheck:
    """Check the tests of one process; a leak that was explained is recognized in later tests.

    ``turns`` are the node ids whose turn it is, where a budget doesn't cover every test; ``before`` knows
    what earlier sessions found. ``let_go`` is done before each reading around a test of the suite.
    """

    def __init__(
        self,
        leaks: LeakChecks,
        *,
        turns: frozenset[str] | None,
        before: CheckedBefore | None = None,
        let_go: Callable[[], None] = collect_young,
    ) -> None:
        self._leaks = leaks
        self._let_go = let_go
        self._before = before
        self._turns = turns
        self._floor = Floor()
        # Made with the engine, which is loaded for the first test that is checked: most sessions have none.
        self._explained: Explained | None = None
        self.purses = Purses()

    @property
    def proof(self) -> Proof | None:
        """Return the proof of the leak found last, for later sessions; None where it says too little."""
        return None if self._explained is None else self._explained.latest

    def may_repeat(self, limits: MarkerLimits) -> bool:
        """Return whether the settings and the test's marker let it be run again."""
        return self._leaks != "off" and limits.leaks != "off"

    def decide(
        self, nodeid: str, values: Mapping[str, float], limits: MarkerLimits
    ) -> tuple[bool, str | None]:
        """Return whether a test with these figures is to be checked, or why one that might be is not."""
        if self._leaks == "off":
            return False, None
        if limits.leaks == "off":
            return False, f"{OPTED_OUT}: {limits.reason}" if limits.reason else OPTED_OUT
        if self.is_asked_for(nodeid, limits):
            return True, None
        # What leaks a little may stand out in one session and not in the next.
        if self._before is not None and self._turns is None and nodeid in self._before.leaking:
            return True, None
        if self._floor.stands_out(values):
            reason = None if self._before is None else self._before.why_left(nodeid, values)
            return reason is None, reason
        return False, None if self._turns is None else OUT_OF_TURN

    def would_check_fixtures(self, nodeid: str, values: Mapping[str, float], limits: MarkerLimits) -> bool:
        """Return whether wider fixtures that left this behind are to be checked with their last test."""
        if not self.may_repeat(limits):
            return False
        return self.is_asked_for(nodeid, limits) or self._floor.stands_out(values)

    def takes_turns(self, values: Mapping[str, float], limits: MarkerLimits) -> bool:
        """Return whether a test is checked because it is its turn, and for nothing else."""
        return self._leaks == "all" and limits.leaks != "all" and not self._floor.stands_out(values)

    def is_asked_for(self, nodeid: str, limits: MarkerLimits) -> bool:
        """Return whether the test is to be checked whatever its first run was like."""
        if self._leaks == "all" and (self._turns is None or nodeid in self._turns):
            return True
        return limits.leaks == "all" or any(rule.metric.startswith("leak_") for rule in limits.rules)

    def learn(self, values: Mapping[str, float], *, leaks: bool = False) -> None:
        """Take in the figures of a test, as part of what the suite retains anyway unless it ``leaks``."""
        if self._leaks != "off":
            self.purses.tests_s += values["duration_s"]
            if not leaks:
                self._floor.learn(values)

    def check(
        self,
        item: pytest.Item,
        limits: MarkerLimits,
        *,
        values: Mapping[str, float],
        budget_s: float | None,
        shared: Any = None,
        of_fixtures: bool = False,
        exactly: bool = False,
    ) -> tuple[LeakAnalysis, int]:
        """Return whether the test leaks, and where the leak comes from; and how often it was run for that.

        ``values`` are the figures of its first run, ``budget_s`` is what is left of a budget that the user
        set. Below the node ``shared``, if there is one, all is set up and torn down with each run; it is the
        fixtures there that are looked at where ``of_fixtures`` says so, and the figures are theirs.
        ``exactly`` asks for what each run leaves to the block, though it be little.
        """
        if self._explained is None:
            self._explained = _load_engine()
        from pytest_memalert.hunting.under_way import is_searching
        from pytest_memalert.plugin.rerun import can_rerun

        if is_searching():
            return LeakAnalysis(status="unclear", reason=_WITHIN), 0
        reason = can_rerun(item, shared)
        if reason:
            return LeakAnalysis(status="unclear", reason=reason), 0
        asked_for = self.is_asked_for(item.nodeid, limits)
        # A leak that was told of once is not to come and go with the time that there is.
        before = None if of_fixtures else self._before
        has_leaked = before is not None and item.nodeid in before.leaking
        # A leak that is known is recognized in two exact runs.
        looks_plainly = not (
            asked_for or has_leaked or exactly or limits.warmups or limits.runs or self._explained.by_kinds
        )
        has_purses = not asked_for and budget_s is None
        if has_purses:
            reason = self.purses.why_unchecked(values)
            if reason is None and not looks_plainly:
                reason = self.purses.why_not_followed(values)
            if reason is not None:
                return _unchecked(reason), 0
        pursuing = asked_for or has_leaked or self.purses.can_pursue()
        looking = asked_for and (self._has_time_to_look(limits) or self._floor.stands_out(values))
        stopwatch = Stopwatch()
        analysis, runs, followed_s = self._investigate(
            item,
            limits,
            self._policy(asked_for=asked_for, pursuing=pursuing, looking=looking),
            budget_s=budget_s,
            before=before,
            shared=shared,
            looks_plainly=looks_plainly,
            why_not_followed=(lambda: self.purses.why_not_followed(values)) if has_purses else lambda: None,
        )
        leaks = analysis.status == "leaking"
        # Beside other programs a re-run takes longer, and costs no more. But of a leak that was found, what
        # its runs wait for is time that somebody waits: in a suite of servers it would be four times as much.
        seconds = stopwatch.gone_s() if leaks else stopwatch.worked_s()
        if not asked_for:
            self.purses.charge_suspect(values, seconds, followed_s=followed_s, pursued=pursuing, leaks=leaks)
        elif looking and not leaks:
            self.purses.charge_look(seconds)
        elif not looking and analysis.status == "clean":
            analysis = replace(analysis, brief=True)
        return analysis, runs

    def _investigate(
        self,
        item: pytest.Item,
        limits: MarkerLimits,
        policy: Policy,
        *,
        budget_s: float | None,
        before: CheckedBefore | None,
        shared: Any,
        looks_plainly: bool,
        why_not_followed: Callable[[], str | None],
    ) -> tuple[LeakAnalysis, int, float | None]:
        """Return the verdict, how often the test was run for it, and how long after a plain look.

        That is in seconds, and None where there was no such look.
        """
        from pytest_memalert.attribution.bounding.eviction import running
        from pytest_memalert.hunting.investigation import investigate
        from pytest_memalert.hunting.plain_look import look_plainly
        from pytest_memalert.plugin.rerun import Rerunner

        function, names = getattr(item, "function", None), item.config.getini("python_functions")
        with Rerunner(item, shared) as rerunner, running(function, tests=names):

            def run() -> str | None:
                return rerunner.run().objection

            if looks_plainly:
                looked = look_plainly(run, policy, let_go=self._let_go)
                if looked is None and (reason := why_not_followed()) is not None:
                    looked = _unchecked(reason, runs=rerunner.runs)
                if looked is not None:
                    return looked, rerunner.runs, 0.0
            stopwatch = Stopwatch()
            analysis = investigate(
                run,
                # The test has already run once.
                warmups=limits.warmups or 0,
                runs=limits.runs,
                budget_s=budget_s,
                policy=policy,
                explained=self._explained,
                before=None if before is None else before.proof_of(item.nodeid),
                root=item.config.rootpath,
            )
            return analysis, rerunner.runs, stopwatch.worked_s() if looks_plainly else None

    def _has_time_to_look(self, limits: MarkerLimits) -> bool:
        """Return whether a test may be run for some time before it is called flat."""
        # Else the price is fixed, or asked for by name.
        return self._turns is not None or limits.leaks == "all" or self.purses.can_look()

    @staticmethod
    def _policy(*, asked_for: bool, pursuing: bool, looking: bool) -> Policy:
        """Return how thoroughly a test is checked."""
        from pytest_memalert.leaks.policy import Policy

        if asked_for:
            return Policy() if looking else Policy(quick_s=0.0, brief=True, looks_at_lists=False)
        # A suspect is dismissed by a re-run or two that leave little: what made it one, it left in its first.
        # Checking on request is for the small and the lumpy leaks too, so it looks longer.
        return Policy(
            quick_s=0.0,
            brief=True,
            follows_creep=False,
            looks_at_lists=False,
            budget_s=1.0,
            wide_budget_s=2.0,
            weak_blocks=_ANY_BLOCKS if pursuing else _WEAK_BLOCKS,
            weak_bytes=_WEAK_BYTES,
        )


def _unchecked(reason: str, *, runs: int = 0) -> LeakAnalysis:
    """Return the verdict on a suspect that there is no time for, or none after so many runs."""
    grew = " that grew again" if runs else ""
    told = f"a suspect{grew}, but {reason}; --memalert-leaks=all checks it"
    return LeakAnalysis(status="unchecked", reason=told, runs=runs)


def _load_engine() -> Explained:
    """Load what checks tests, which most sessions don't need: after the first suspect, uncounted.

    No garbage is collected meanwhile: a full collection takes as long as the loading, and finds nothing.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        import pytest_memalert.hunting.investigation
        import pytest_memalert.plugin.rerun  # noqa: F401
        from pytest_memalert.hunting.recognition import Explained

        return Explained()
    finally:
        if was_collecting:
            gc.enable()
