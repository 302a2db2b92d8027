"""Conclude a test whose teardown is done: measure and judge it, and the wider fixtures torn down with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.clock import elapsed_s
from pytest_memalert.model import LeakVerdict, Measurement
from pytest_memalert.plugin.bench import Bench
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.imports import ImportPaths
from pytest_memalert.plugin.markers import limits_of
from pytest_memalert.plugin.measuring.attempt import Attempt
from pytest_memalert.plugin.measuring.guarding import guarded
from pytest_memalert.plugin.pytest_internals import (
    HeldScopes,
    heeder_of_next_item,
    hold_wider_scopes,
    shared_node,
)
from pytest_memalert.plugin.telling import accept_known, let_others_modify
from pytest_memalert.speaking import set_free

if TYPE_CHECKING:
    from pytest_memalert.plugin.measuring.whole import WholeProcess

__all__ = ["Concluder"]

_CUT_SHORT = LeakVerdict(reason="its check did not come to an end")


class Concluder:
    """Put what is found about each test of a process on its facts, running it again where that is needed."""

    def __init__(
        self,
        config: pytest.Config,
        given: Given,
        bench: Bench,
        *,
        worker: str,
        whole: WholeProcess | None,
        name_component: Callable[[pytest.Item], str],
        report_trouble: Callable[[Exception], None],
    ) -> None:
        """Conclude with what is on the ``bench``, in the process named ``worker``."""
        self._config = config
        self._given = given
        self._bench = bench
        self._worker = worker
        self._whole = whole
        self._name_component = name_component
        self._report_trouble = report_trouble
        self._import_paths = ImportPaths()
        #: Whether the phases that go by are those of a test run again.
        self.repeating = False

    def scopes_to_hold(
        self, attempt: Attempt, nextitem: pytest.Item | None
    ) -> AbstractContextManager[None] | None:
        """Return what holds the wider scopes of a test that may be repeated beyond its own teardown."""
        item = attempt.item
        if self._whole is None and not self._bench.judge.may_repeat(limits_of(item)):
            return None
        attempt.held = held = HeldScopes(shared_node(item, nextitem))
        return hold_wider_scopes(
            item,
            held,
            suspect=lambda: bool(self._stands_out(attempt)),
            keeps_session=lambda: self._fixtures_to_check(attempt) is not None,
        )

    def conclude(self, attempt: Attempt, *, torn_down_well: bool) -> pytest.CallInfo[None] | None:
        """Measure and judge a test whose teardown is done; then tear down what was held for it.

        In between its wider fixtures are judged, unless the test was not: an interrupt ends it all.
        """
        began_s, torn_down_s = elapsed_s(), 0.0
        held, ended, is_judged = attempt.held, None, False
        was_held = held is not None and held.held
        try:
            self._judge_attempt(attempt, torn_down_well=torn_down_well)
            is_judged = True
        except Exception as trouble:
            self._report_trouble(trouble)
        finally:
            try:
                if held is not None and held.held and not held.torn_down:
                    ended, torn_down_s = self._tear_down(attempt, held)
                if is_judged and (ended is None or ended.excinfo is None):
                    self._check_fixtures(attempt)
            except Exception as trouble:
                self._report_trouble(trouble)
            finally:
                if held is not None and held.held:
                    last, took_s = self._tear_down(attempt, held)
                    torn_down_s += took_s
                    ended = ended if ended is not None and ended.excinfo is not None else last
            facts = attempt.facts
            if was_held or facts.reruns or facts.measurement is None:
                self._bench.meter.start_afresh(attempt)
        facts.screening_s += elapsed_s() - began_s - torn_down_s - facts.reruns_s
        return ended

    def give_up(self, trouble: Exception) -> None:
        """Tell of trouble of our own: what it was about is not repeated."""
        self._report_trouble(trouble)

    @guarded
    def _stands_out(self, attempt: Attempt) -> bool:
        """Return whether the test, its own teardown just done, is about to be repeated."""
        if not attempt.has_passed_call:
            return False
        bench, item = self._bench, attempt.item
        values = bench.meter.measure_so_far(attempt)
        would_repeat = bench.judge.would_repeat(
            item.nodeid, self._name_component(item), values, limits_of(item)
        )
        return would_repeat and heeder_of_next_item(item) is None

    @guarded
    def _fixtures_to_check(self, attempt: Attempt) -> tuple[list[str], dict[str, float]] | None:
        """Return the wider fixtures torn down with the test, and what they left; None if it isn't checked."""
        bench, item, held = self._bench, attempt.item, attempt.held
        if held is None or held.shared is item.parent or not attempt.has_passed_call:
            return None
        left = bench.fixtures.left_over()
        if left is None or not bench.judge.would_check_fixtures(item.nodeid, left[1], limits_of(item)):
            return None
        return left

    def _tear_down(self, attempt: Attempt, held: HeldScopes) -> tuple[pytest.CallInfo[None] | None, float]:
        """Tear down the next of what was held; return how that went, and the time that it took."""
        began_s = elapsed_s()
        ended = held.release(attempt.item)
        took_s = elapsed_s() - began_s
        self._bench.fixtures.end_test()
        return ended, took_s

    def _check_fixtures(self, attempt: Attempt) -> None:
        """Check the wider fixtures that were torn down with a test which passed, and doesn't leak itself."""
        item, facts = attempt.item, attempt.facts
        if not facts.passed or facts.measurement is None or facts.measurement.leak.status == "leaking":
            return
        left = self._fixtures_to_check(attempt)
        if attempt.held is None or left is None:
            return
        names, values = left
        try:
            with self._rerunning():
                found, figures = self._bench.judge.judge_fixtures(
                    facts, item, limits_of(item), names=names, left=values, shared=attempt.held.shared
                )
        except BaseException:
            facts.measurement = replace(facts.measurement, leak=_CUT_SHORT)
            raise
        alerts = let_others_modify(self._config, found, item=item)
        facts.alerts = [*facts.alerts, *set_free(accept_known(self._given, alerts, figures))]

    @contextmanager
    def _rerunning(self) -> Iterator[None]:
        """Say that phases which go by are those of a re-run; load what is first needed for one."""
        self.repeating = True
        try:
            with self._import_paths.kept():
                yield
        finally:
            self.repeating = False

    def _judge_attempt(self, attempt: Attempt, *, torn_down_well: bool) -> None:
        """Judge a test by what was measured of it, unless it was skipped or expected to fail."""
        bench, item = self._bench, attempt.item
        if attempt.before is None:
            return
        meter, judge = bench.meter, bench.judge
        bench.fixtures.end_test()
        outcome = attempt.outcome(torn_down_well=torn_down_well)
        if outcome == "skipped":
            meter.close_window(attempt)
            return
        values = meter.measure(attempt)
        measurement = Measurement(
            nodeid=item.nodeid,
            worker=self._worker,
            outcome=outcome,
            component=self._name_component(item),
            rss_before_bytes=attempt.before.rss_bytes,
            values=values,
            phases=attempt.phases(values.get("rss_bytes")),
        )
        facts = attempt.facts
        facts.passed = outcome == "passed"
        facts.measurement = own = judge.discounted(measurement)
        if outcome not in ("passed", "failed", "error"):
            return  # an expected failure, and a pass that wasn't expected, are told as such
        limits = limits_of(item)
        if judge.passes_over(own, limits):
            return
        try:
            with self._rerunning():
                shared = attempt.held.shared if attempt.held is not None and attempt.held.torn_down else None
                found = judge.judge(measurement, item, limits, passed=facts.passed, shared=shared)
        except BaseException:  # Ctrl-C in a re-run, or trouble of our own
            facts.measurement = replace(own, leak=_CUT_SHORT)
            raise
        if self._whole is not None:
            usual_bytes = judge.usual_peak(item.nodeid, found.entry)
            self._whole.note_test(values, attempt.before.rss_bytes, usual_peak_bytes=usual_bytes)
            if found.reruns:
                self._whole.note_reruns(
                    meter.last,
                    runs=found.reruns,
                    retains=found.retains,
                    tracing_left_bytes=judge.tracing_left_bytes,
                )
        attempt.facts = found
        found.screening_s = facts.screening_s
        alerts = let_others_modify(self._config, found.alerts, item=item)
        observed = (found.measurement or own).values
        found.alerts = set_free(accept_known(self._given, alerts, observed))
