"""What happens where tests run: measure each test, judge it, and put what was found on its report."""

from __future__ import annotations

from _thread import _count as count_threads
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.clock import elapsed_s
from pytest_memalert.collector import age_all
from pytest_memalert.errors import describe_exception
from pytest_memalert.model import AlertRule, PerformanceAlert
from pytest_memalert.plugin.bench import Bench, set_up_bench
from pytest_memalert.plugin.collected import Collected
from pytest_memalert.plugin.concluding import Concluder
from pytest_memalert.plugin.facts import FACTS, encode_facts
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.markers import limits_of
from pytest_memalert.plugin.measuring.attempt import STOPPED, Attempt
from pytest_memalert.plugin.pytest_internals import (
    has_fixtures,
    is_of_one_test,
    report_teardown,
    run_phases,
    run_phases_heard,
)
from pytest_memalert.plugin.telling import (
    add_properties,
    fail_test,
    tell_trouble,
    warn_of,
)
from pytest_memalert.rules import rules_for_test
from pytest_memalert.tracing import begin_tracing

if TYPE_CHECKING:
    from pytest_memalert.plugin.measuring.whole import WholeProcess

__all__ = ["Worker"]


class Worker:
    """The hooks around each test, in the process that runs it."""

    def __init__(self, config: pytest.Config, given: Given, collected: Collected) -> None:
        self._config = config
        self._given = given
        self._collected = collected
        workerinput = getattr(config, "workerinput", None)
        self._name = workerinput["workerid"] if workerinput else "main"
        self._is_remote = bool(workerinput)
        self._bench: Bench | None = None
        self._attempt: Attempt | None = None
        self._concluder: Concluder | None = None
        self.owned = False
        self._hears_by_hooks = False
        self._owners: list[Any] | None = None
        self._names_components = False
        self._junit = bool(config.getoption("xmlpath", None))
        self._asked_for: set[str] = set()
        self._started_tracing = False
        self._told_trouble: set[str] = set()
        self._whole: WholeProcess | None = None
        if given.gate is not None:
            # Imported now: whether a suspect needs it later must not make a difference to the session.
            import pytest_memalert.hunting.investigation
            import pytest_memalert.plugin.judging.gating  # noqa: F401
            from pytest_memalert.plugin.measuring.whole import WholeProcess

            self._whole = WholeProcess(config)
            config.pluginmanager.register(self._whole, "memalert-whole")
        self.alerts: list[PerformanceAlert] = []

    # ------------------------------------------------------------- protocol

    def pytest_collection_finish(self) -> None:
        """See who runs items."""
        # Others that run items themselves tell us of it by the hooks alone; so does pytest where it
        # shows fixtures while it sets them up.
        self._hears_by_hooks = bool(self._other_owners() or self._config.getoption("setupshow", False))
        if self._hears_by_hooks:
            from pytest_memalert.plugin.phases import Phases

            self._config.pluginmanager.register(Phases(self), "memalert-phases")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """Run the item with the report of a call that passed logged only after its teardown.

        An alert is known only then, and must fail the *call*: so its report has to wait. Another
        plugin that runs items itself (pytest-rerunfailures) keeps doing so.
        """
        for owner in self._other_owners():
            arguments = {"item": item, "nextitem": nextitem}
            answer = owner.function(*(arguments[name] for name in owner.argnames))
            if answer is not None:
                return answer
        hook, nodeid, location = item.ihook, item.nodeid, item.location
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        self.owned = True
        try:
            if self._hears_by_hooks:
                run_phases(item, nextitem)
            else:
                self.begin(item)
                run_phases_heard(item, nextitem, self)
            # Only now has pytest let go of the values of the test's fixtures.
            self._conclude_owned(item)
        finally:  # Ctrl-C and pytest.exit() must not lose what is known already
            attempt, self._attempt, self.owned = self._attempt, None, False
            if attempt is not None and attempt.item is item:
                for report in tuple(attempt.reports.values())[attempt.logged :]:
                    hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
        return True

    def hear_report(self, report: pytest.TestReport) -> None:
        """Notice which reports are out, and whether a subtest failed."""
        attempt = self._attempt
        if attempt is None or self.repeating:
            return
        if report is attempt.reports.get("call"):
            attempt.call_logged = True
        elif report is not attempt.reports.get(report.when or "") and report.nodeid == attempt.item.nodeid:
            attempt.parts += 1
            attempt.failed_part |= report.failed

    def pytest_enter_pdb(self) -> None:
        """Let no test that stops in the debugger be run again: it would stop there each time."""
        if self.repeating:
            pytest.fail("it opens the debugger, as its own run did not", pytrace=False)
        if self._attempt is not None:
            self._attempt.item.stash[STOPPED] = True

    # ------------------------------------------------------------- fixtures

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Measure the set-up of a fixture wider than the test."""
        # A class-scoped fixture of a test that is in no class is the test's own: each run sets it up anew.
        is_own = is_of_one_test(fixturedef) or isinstance(request.node, pytest.Item)
        if self._bench is None or self.repeating or is_own:
            return (yield)
        fixtures = self._bench.fixtures
        fixtures.begin_setup(fixturedef)
        try:
            return (yield)
        finally:
            fixtures.end_setup(fixturedef, request)

    @pytest.hookimpl(trylast=True)
    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Measure the teardown of a fixture wider than the test."""
        if self._bench is not None and not self.repeating and not is_of_one_test(fixturedef):
            self._bench.fixtures.end_teardown(fixturedef)

    def pytest_sessionfinish(self) -> None:
        """Stop what was started."""
        if self._bench is not None:
            self._bench.sampler.close()
        if self._started_tracing:
            import tracemalloc

            tracemalloc.stop()

    # -------------------------------------------------------------- for others

    def sum_up(self) -> dict[str, Any] | None:
        """Return what the process needed as a whole; None where nobody asks for it."""
        return None if self._whole is None else self._whole.sum_up()

    @property
    def given(self) -> Given:
        """Return what the session was given."""
        return self._given

    def rules_for(self, item: pytest.Item) -> tuple[AlertRule, ...]:
        """Return the rules in force for a test, with the limits that its markers set."""
        return rules_for_test(
            self._given.settings.rules,
            limits_of(item).rules,
            nodeid=item.nodeid,
            component=self._component(item),
        )

    # --------------------------------------------------- the phases of an item

    @property
    def repeating(self) -> bool:
        """Return whether the phases that go by are those of a test run again."""
        return self._concluder is not None and self._concluder.repeating

    def attempt_of(self, item: pytest.Item) -> Attempt | None:
        """Return the attempt under way, if it is the item's own first run."""
        attempt = self._attempt
        return None if self.repeating or attempt is None or attempt.item is not item else attempt

    def begin(self, item: pytest.Item) -> None:
        """Take the sample before a test."""
        began_s = elapsed_s()
        self._attempt = attempt = Attempt(item)
        attempt.threads = count_threads()
        try:
            bench = self._bench or self._start()
            attempt.facts.screening_s = bench.meter.begin(attempt).at_s - began_s
        except Exception as trouble:
            self._report_trouble(trouble)

    def before_call(self) -> None:
        """Read the resident memory before the call of a test that has something to set up."""
        attempt = self._attempt
        if attempt is not None and self._bench is not None and has_fixtures(attempt.item):
            attempt.before_call_rss = self._bench.sampler.read_rss()

    def after_call(self) -> None:
        """Read the resident memory after the call; look at child processes while they are there."""
        attempt, bench = self._attempt, self._bench
        if attempt is None:
            return
        attempt.call_ended = True
        if bench is None:
            return
        if attempt.before_call_rss is not None:
            attempt.after_call_rss = bench.sampler.read_rss()
        if bench.sampler.children is not None:
            attempt.children = bench.sampler.read_children()

    def after_phase(self, report: pytest.TestReport) -> None:
        """Look at a phase that was run here, and keep its report."""
        if self._attempt is None:
            return
        if report.when == "call":
            self.after_call()
        self.keep_report(self._attempt, report)

    def keep_report(self, attempt: Attempt, report: pytest.TestReport) -> None:
        """Keep the report of a phase; of one run here, log what nothing can change any more."""
        attempt.reports[report.when or ""] = report
        if not self.owned:
            return
        # With a failure out, pytest knows before the teardown whether it was one too many (-x).
        if report.when == "setup" or (report.when == "call" and not report.passed):
            attempt.logged += 1
            attempt.item.ihook.pytest_runtest_logreport(report=report)

    def scopes_to_hold(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> AbstractContextManager[None] | None:
        """Return what holds the wider scopes of a test that may be repeated beyond its own teardown."""
        if nextitem is not None and nextitem.parent is item.parent:
            return None
        attempt = self.attempt_of(item)
        if attempt is None or self._concluder is None:
            return None
        return self._concluder.scopes_to_hold(attempt, nextitem)

    def conclude_for_others(self, attempt: Attempt, call: pytest.CallInfo[None]) -> None:
        """Conclude an attempt that another plugin runs, before the report of its teardown is made."""
        try:
            ended = self._conclude(attempt, torn_down_well=call.excinfo is None)
        except BaseException:  # an interrupt in a re-run: nobody else will log what is known
            attempt.reports["teardown"] = last = pytest.TestReport.from_item_and_call(attempt.item, call)
            self.tell(attempt, last)
            for report in attempt.reports.values():
                if report is last or not attempt.call_logged:
                    attempt.item.ihook.pytest_runtest_logreport(report=report)
            raise
        if ended is not None and ended.excinfo is not None and call.excinfo is None:
            call.excinfo = ended.excinfo

    def tell(self, attempt: Attempt, report: pytest.TestReport) -> None:
        """Fail the test or warn, and put what was found on its last report."""
        try:
            facts = attempt.facts
            self._tell_alerts(attempt, report)
            if self._bench is not None:
                facts.fixtures = self._bench.fixtures.take_news()
            if facts.reruns:
                facts.source = self._collected.sources.get(attempt.item.nodeid)
            # Who runs the item in our stead may do so in a process of its own (pytest-forked).
            stays_here = self.owned and not self._is_remote
            setattr(report, FACTS, facts if stays_here else encode_facts(facts))
            if self._junit and facts.measurement is not None:
                told = self._asked_for | {alert.metric for alert in facts.alerts}
                add_properties(report, facts.measurement, told)
        except Exception as trouble:
            self._report_trouble(trouble)

    # --------------------------------------------------------------- the steps

    def _start(self) -> Bench:
        """Set up the bench, when the first test begins."""
        settings = self._given.settings
        in_force = [rule for rule in (*settings.rules, *self._collected.limit_rules) if rule.enabled]
        self._asked_for = {rule.metric for rule in in_force if rule.origin != "default"}
        self._names_components = bool(self._config.hook.pytest_memalert_component.get_hookimpls())
        if settings.trace:
            import tracemalloc

            if not tracemalloc.is_tracing():
                begin_tracing()
                self._started_tracing = True
        # Where any of this fails, the next test tries again, and is told of as well.
        self._bench = bench = set_up_bench(
            self._config,
            self._given,
            in_force,
            worker=self._name,
            whole=self._whole,
            turns=self._collected.turns,
            report_trouble=self._report_trouble,
            warn=self._warn,
        )
        self._concluder = Concluder(
            self._config,
            self._given,
            bench,
            worker=self._name,
            whole=self._whole,
            name_component=self._component,
            report_trouble=self._report_trouble,
        )
        age_all()
        return bench

    def _conclude(self, attempt: Attempt, *, torn_down_well: bool) -> pytest.CallInfo[None] | None:
        """Conclude an attempt whose teardown is done; return how that of the wider scopes went, if any."""
        concluder = self._concluder
        return None if concluder is None else concluder.conclude(attempt, torn_down_well=torn_down_well)

    def _conclude_owned(self, item: pytest.Item) -> None:
        """Conclude an attempt whose three reports are made but not logged yet."""
        attempt = self._attempt
        if attempt is None or attempt.item is not item:
            return
        try:
            ended = self._conclude(attempt, torn_down_well=attempt.reports["teardown"].passed)
            if ended is not None and ended.excinfo is not None:
                # The wider scopes' teardown belongs to this test's teardown, and so does its failure.
                attempt.reports["teardown"] = report_teardown(item, ended)
        finally:  # an interrupt in a re-run leaves the figures of the test's own run
            self.tell(attempt, attempt.reports["teardown"])

    def _tell_alerts(self, attempt: Attempt, report: pytest.TestReport) -> None:
        facts = attempt.facts
        if not facts.alerts:
            return
        self.alerts.extend(facts.alerts)
        speaking = [alert for alert in facts.alerts if alert.speaks]
        fail_on = self._given.settings.fail_on
        failing = [alert for alert in speaking if fail_on is not None and alert.severity >= fail_on]
        for alert in speaking:
            if alert not in failing:
                warn_of(self._config, attempt.item, alert)
        if failing:
            call = attempt.reports.get("call")
            # Where another plugin logs each report as it is made, the call's is out already.
            target = call if call is not None and not attempt.call_logged else report
            fail_test(target, attempt.item, failing)
            if facts.measurement is not None:
                facts.measurement = replace(facts.measurement, outcome="failed")

    def _component(self, item: pytest.Item) -> str:
        if self._names_components:
            try:
                named = item.ihook.pytest_memalert_component(item=item)
            except Exception as trouble:
                kind = describe_exception(trouble)
                self._tell_once(
                    f"pytest_memalert_component failed ({kind}); the test's file is its component"
                )
            else:
                if isinstance(named, str):
                    return named
        return item.nodeid.partition("::")[0]

    def _other_owners(self) -> list[Any]:
        """Return the other plugins' functions that may run an item themselves, first to be asked first."""
        if self._owners is None:
            self._owners = [
                function
                for function in reversed(self._config.hook.pytest_runtest_protocol.get_hookimpls())
                if not (function.wrapper or function.hookwrapper)
                and function.plugin is not self
                and function.plugin_name != "runner"
            ]
        return self._owners

    def _warn(self, text: str) -> None:
        """Warn of trouble that isn't the tests'."""
        tell_trouble(self._config, text)

    def _report_trouble(self, trouble: Exception) -> None:
        """Warn of our own trouble, once for each kind of it."""
        if self._attempt is not None:
            self._attempt.facts.unjudged = True
        kind = describe_exception(trouble)
        self._tell_once(f"memalert could not judge a test ({kind}); the test itself is not affected")

    def _tell_once(self, text: str) -> None:
        """Warn of trouble, at the test that is run; not again of the same."""
        if text not in self._told_trouble:
            self._told_trouble.add(text)
            tell_trouble(self._config, text, nodeid=self._attempt.item.nodeid if self._attempt else "")
