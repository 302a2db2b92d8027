"""What happens once per session: gather what was found, judge the whole, report it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.clock import elapsed_s, utc_now
from pytest_memalert.commit import read_commit
from pytest_memalert.comparisons import SESSION
from pytest_memalert.errors import MemalertError, describe_exception
from pytest_memalert.escaping import disarm, escape_controls, is_on_github
from pytest_memalert.lives import note_resolved
from pytest_memalert.measurement import session_values, values_of_worst
from pytest_memalert.model import (
    AlertLife,
    AlertRule,
    FixtureGrowth,
    GateResult,
    Measurement,
    Note,
    Overhead,
    PerformanceAlert,
    Run,
    make_id,
)
from pytest_memalert.plugin.command_line import BEGAN_AT
from pytest_memalert.plugin.facts import FACTS, LEFT_OUT, USAGE_ERROR, WHOLE, Facts, decode_facts
from pytest_memalert.plugin.given.destinations import history_path
from pytest_memalert.plugin.given.environment import this_environment
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.imports import ImportPaths
from pytest_memalert.plugin.pytest_internals import refit_section
from pytest_memalert.plugin.session.remembering import note_idle, remember
from pytest_memalert.plugin.session.reporting import append_summary, locate, write_reports
from pytest_memalert.plugin.session.trending import note_trends
from pytest_memalert.plugin.telling import accept_known, let_others_modify, tell_trouble
from pytest_memalert.reports import terminal
from pytest_memalert.rules import find_breaches, group_notes, make_alert
from pytest_memalert.speaking import group_leaks, inhibit
from pytest_memalert.units import counted

if TYPE_CHECKING:
    from pytest_memalert.plugin.session.keeping import Keeper, Saved

__all__ = ["Controller"]


class Controller:
    """The hooks of the session, in the process that the user started."""

    def __init__(
        self, config: pytest.Config, given: Given, *, hear_report: Callable[[pytest.TestReport], None] | None
    ) -> None:
        self._config = config
        # The worker's in this process: a hook of its own costs each of three reports a microsecond.
        self._hear_report = hear_report
        self._given = given
        # Most of what concludes a session is loaded when it is needed.
        self._import_paths = ImportPaths()
        # A conftest.py may have loaded the plugin, after the hook that notes when the session began.
        self._started_at = config.stash.get(BEGAN_AT, utc_now())
        self._started_s = elapsed_s()
        # By node id, since a test that another plugin runs again counts as it ended.
        self._tests: dict[str, Measurement] = {}
        self._alerts: dict[str, tuple[PerformanceAlert, ...]] = {}
        self._fixtures: dict[tuple[str, str, str, str], FixtureGrowth] = {}
        self._notes_of_tests: dict[str, list[Note]] = {}
        self._notes: list[Note] = []
        self._reruns = 0
        self._reruns_s = 0.0
        self._screening_s = 0.0
        self._checked: dict[str, tuple[float, float, str]] = {}
        self._proofs: dict[str, Mapping[str, object]] = {}
        self._run: Run | None = None
        self._news: tuple[str, ...] = ()
        self._was_left = False
        self._unmeasured: set[str] = set()
        self._left_out = False
        self._collection_failed = False
        self._keeper: Keeper | None = None
        self._saved: Saved | None = None
        self._baseline_failed = False
        if given.gate is not None:
            from pytest_memalert.plugin.session.keeping import Keeper

            self._keeper = Keeper(config, given.gate)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a worker found off the last report of a test."""
        if self._hear_report is not None:
            self._hear_report(report)
        facts = report.__dict__.pop(FACTS, None)
        if facts is None:
            if report.when not in ("call", "teardown"):  # xdist has a word of its own for a crash
                self._unmeasured.add(report.nodeid)
            return
        began_s = elapsed_s()
        try:
            found = facts if isinstance(facts, Facts) else decode_facts(facts)
            if found.alerts:
                location = locate(self._config, report.location)
                found.alerts = [replace(alert, location=location) for alert in found.alerts]
            self._gather(report.nodeid, found)
        except Exception as trouble:
            name = escape_controls(report.nodeid)
            self._warn(f"memalert lost what it found about {name} ({describe_exception(trouble)})")
        self._screening_s += elapsed_s() - began_s

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Refuse the session for what an xdist worker, which alone collects, found wrong with the markers."""
        output = getattr(node, "workeroutput", {})
        problems = output.get(USAGE_ERROR)
        if problems:
            raise pytest.UsageError(problems)
        self._left_out |= output.get(LEFT_OUT, True)
        if self._keeper is not None:
            self._keeper.note_process(output)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Take note of what was not collected."""
        self._collection_failed |= report.failed
        if self._keeper is not None and report.skipped:
            self._keeper.note_collection(report)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Take note that somebody wants to leave: what was found stays news for the next session.

        xdist ends a session by an exception of this kind too, once it has had its failures (-x).
        """
        left = excinfo.value
        self._was_left = type(left) is KeyboardInterrupt or isinstance(left, pytest.exit.Exception)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the session, let others see the run, write the report, decide the exit status."""
        if self._config.getoption("collectonly", False) or session.exitstatus == pytest.ExitCode.USAGE_ERROR:
            return
        try:
            with self._import_paths.kept():
                self._conclude(session)
        except Exception as trouble:
            self._warn(f"memalert could not conclude the session ({describe_exception(trouble)})")
        run = self._run
        if run is not None:
            self._fit_sections(run)
        # A gate that could not be judged has not been passed.
        failed = self._baseline_failed or (run is None and self._given.gate is not None)
        failed |= run is not None and any(run.fails(alert) for alert in run.alerts)
        if session.exitstatus == pytest.ExitCode.OK and failed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the summary."""
        if self._run is None:
            return
        try:
            with self._import_paths.kept():
                self._summarize(terminalreporter, self._run)
        except Exception as trouble:
            terminalreporter.write_line(f"memalert: no summary ({type(trouble).__name__})")

    # --------------------------------------------------------------- the steps

    def _conclude(self, session: pytest.Session) -> None:
        """Judge the session, remember and tell it.

        The ``reporting_s`` of the reports can't have their own writing in it, that of the summary has.
        """
        began_s = elapsed_s()
        self._run = run = self._finish(began_s, session)
        whole: dict[str, float] = {}
        if history_path(self._config, self._given.settings) is not None:
            try:
                whole = values_of_worst(run.tests, self._given.metrics)
                self._run = run = note_trends(self._config, self._given, run, whole)
            except Exception as problem:
                self._warn(f"memalert can't look for trends ({describe_exception(problem)})")
        others = self._find_unmeasured(session)
        lives = remember(self._config, self._given, run, whole, others=others, warn=self._warn)
        self._run = run = note_resolved(run, lives, whole)
        self._news = self._tell_news(run, lives, session.exitstatus)
        self._run = run = _reported_since(began_s, run)
        try:
            self._config.hook.pytest_memalert_finished(config=self._config, run=run)
        except Exception as problem:
            self._warn(f"pytest_memalert_finished failed ({describe_exception(problem)})")
        for trouble in write_reports(run, self._given.settings, self._config.invocation_params.dir):
            self._warn(trouble)
        if is_on_github() and (no_summary := append_summary(run, os.environ)):
            self._warn(no_summary)
        if self._checked:
            from pytest_memalert.leaks.turns import update
            from pytest_memalert.plugin.leak_checks.turn_cache import read_turns, write_turns

            write_turns(self._config, update(read_turns(self._config), self._checked))
        if self._proofs:
            from pytest_memalert.plugin.leak_checks.proofs import write_proofs

            write_proofs(self._config, self._proofs, run.environment, proven_at=run.started_at)
        self._run = _reported_since(began_s, run)

    def _find_unmeasured(self, session: pytest.Session) -> Collection[str] | None:
        """Return the tests that exist and weren't measured; None where that isn't known of all."""
        collected = self._config.pluginmanager.get_plugin("memalert-collected")
        if self._left_out or collected is None or collected.left_out or not self._ran_whole(session):
            return None
        return self._unmeasured

    def _ran_whole(self, session: pytest.Session) -> bool:
        """Return whether each test of what was asked for, unless deselected, came to its end."""
        # pytest.exit() chooses the status itself.
        ended_well = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not ended_well or self._was_left or session.shouldstop or session.shouldfail:
            return False
        # What is left out while pytest collects is never deselected: by --lf even tests of a file.
        option = self._config.option
        chosen = any(getattr(option, name, None) for name in ("lf", "ignore_glob", "pyargs"))
        chosen |= any("::" in str(argument) for argument in self._config.args)
        return not chosen and not self._collection_failed

    def _summarize(self, terminalreporter: pytest.TerminalReporter, run: Run) -> None:
        """Write the lines of the summary."""

        def say(text: str, **markup: bool) -> None:
            # What a test is called, say, must not be read as a command of ours.
            terminalreporter.write_line(disarm(text), **markup)

        for text in self._saved.lines() if self._saved is not None else ():
            say(escape_controls(text))
        width = terminalreporter.config.get_terminal_writer().fullwidth
        verbosity = terminalreporter.verbosity
        lines = terminal.render(
            run, verbosity=verbosity, width=width, shown_as_failed=self._shown_as_failed(terminalreporter)
        )
        if len(lines) > 1:
            has_alerts = any(alert.inhibited_by is None for alert in run.alerts)
            terminalreporter.write_sep("=", "memory alerts" if has_alerts else "memory")
        for line in lines:
            say(line.text, **line.markup)
        for text in self._news:
            say(text)
        if is_on_github():
            from pytest_memalert.reports import github

            for command in github.render(run).splitlines():
                terminalreporter.write_line(command)

    def _fit_sections(self, run: Run) -> None:
        """Break the lines of our sections as those of the summary are; for pytest's terminal alone.

        Only now: a worker of xdist has no terminal, and what JUnit takes off a report has no width.
        """
        terminalreporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminalreporter is None:
            return
        failed = {nodeid for alert in run.alerts if run.fails(alert) for nodeid in alert.nodeids}
        width = terminalreporter.config.get_terminal_writer().fullwidth
        told = 1 if self._config.getoption("tbstyle", "auto") == "line" else None

        def refit(lines: Sequence[str]) -> list[str]:
            return [disarm(fitting) for line in lines[:told] for fitting in terminal.wrap(line, width)]

        for report in terminalreporter.stats.get("failed", ()):
            if report.nodeid in failed:
                refit_section(report, refit)

    def _shown_as_failed(self, terminalreporter: pytest.TerminalReporter) -> set[str]:
        """Return the tests that have a section among the failures, which is more than a line."""
        if self._config.getoption("tbstyle", "auto") in ("no", "line"):
            return set()
        reports = (*terminalreporter.stats.get("failed", ()), *terminalreporter.stats.get("error", ()))
        return {report.nodeid for report in reports}

    def _gather(self, nodeid: str, facts: Facts) -> None:
        if facts.measurement is not None:
            self._unmeasured.discard(nodeid)
            self._tests.pop(nodeid, None)  # the series is in the order in which tests ended
            self._tests[nodeid] = facts.measurement
            self._alerts.pop(nodeid, None)
            # Of an attempt before, only what a process tells once is kept.
            before = self._notes_of_tests.pop(nodeid, ())
            told_once = [note for note in before if note.nodeid is None or note.kind == "no_data"]
            if told_once or facts.notes:
                self._notes_of_tests[nodeid] = [*told_once, *facts.notes]
            if facts.source is not None:
                duration_s = facts.measurement.values["duration_s"]
                self._checked[nodeid] = (facts.reruns_s, duration_s, facts.source)
            if facts.proof is not None:
                self._proofs[nodeid] = facts.proof
        if self._keeper is not None:
            self._keeper.gather(nodeid, facts)
        if facts.alerts:
            self._alerts[nodeid] = tuple(facts.alerts)
        for fixture in facts.fixtures:
            self._fixtures[fixture.worker, fixture.location, fixture.name, fixture.nodeid] = fixture
        self._reruns += facts.reruns
        self._reruns_s += facts.reruns_s
        self._screening_s += facts.screening_s

    def _finish(self, began_s: float, session: pytest.Session) -> Run:
        tests = tuple(self._tests.values())
        alerts = list(group_leaks(alert for found in self._alerts.values() for alert in found))
        alerts += self._judge_session(tests)
        gate, regressions = self._conclude_baseline(session, tests)
        alerts += regressions
        settings = self._given.settings
        run = Run(
            run_id=make_id(16),
            started_at=self._started_at,
            duration_s=elapsed_s() - self._started_s,
            environment=this_environment(traced=settings.trace),
            overhead=Overhead(
                tests_s=sum(test.values.get("duration_s", 0.0) for test in tests),
                screening_s=self._screening_s,
                reruns_s=self._reruns_s,
                reporting_s=elapsed_s() - began_s,
            ),
            reruns=self._reruns,
            tests=tests,
            fixtures=tuple(self._fixtures.values()),
            alerts=tuple(alerts),
            notes=group_notes((*chain.from_iterable(self._notes_of_tests.values()), *self._notes)),
            fail_on=settings.fail_on,
            gate=gate,
            commit=read_commit(self._config.rootpath, os.environ),
        )
        return note_idle(self._config, self._given, run)

    def _conclude_baseline(
        self, session: pytest.Session, tests: Sequence[Measurement]
    ) -> tuple[GateResult | None, Sequence[PerformanceAlert]]:
        """Save the baseline, or return how the session compares with it and the alerts about the whole."""
        keeper, given = self._keeper, self._given.gate
        if keeper is None or given is None:
            return None, ()
        worker = self._config.pluginmanager.get_plugin("memalert-worker")
        if worker is not None and not keeper.is_distributed:
            keeper.note_process({WHOLE: worker.sum_up()})
        if not given.saves:
            gate, alerts = keeper.hold(tests, ran_whole=self._ran_whole(session))
            self._notes += keeper.notes
            if keeper.unjudged:
                self._baseline_failed = True
                tests_text = counted(keeper.unjudged, "test")
                trouble = f"memalert could not hold {tests_text} against {given.name}, as it warns"
                tell_trouble(self._config, f"{trouble}; the gate is not passed")
            return gate, accept_known(self._given, let_others_modify(self._config, alerts), {})
        try:
            self._saved = keeper.save(ran_whole=self._ran_whole(session))
        except (OSError, MemalertError) as problem:
            self._baseline_failed = True
            trouble = f"memalert could not save the baseline: {problem}"
            tell_trouble(self._config, f"{trouble}; its file is as it was, and the session fails")
        return None, ()

    def _judge_session(self, tests: Sequence[Measurement]) -> list[PerformanceAlert]:
        """Return the alerts of session-scoped rules: for each, that of the process that is worst off."""
        rules = [r for r in self._given.settings.rules if r.enabled and r.scope == "session"]
        if not rules or not tests:
            return []
        rules = self._resolve_session_rules(rules, tests)
        processes: dict[str, list[Measurement]] = {}
        for test in tests:
            processes.setdefault(test.worker, []).append(test)
        worst: dict[tuple[str, str], PerformanceAlert] = {}
        for worker, series in processes.items():
            whole = Measurement(
                nodeid=SESSION if len(processes) == 1 else f"{SESSION} of {worker}",
                worker=worker,
                outcome="",
                component=SESSION,
                rss_before_bytes=series[0].rss_before_bytes,
                values=session_values(series, self._given.metrics),
            )
            for breach in find_breaches(rules, whole.values):
                alert = make_alert(
                    breach,
                    id=make_id(),
                    measurement=whole,
                    raised_at=utc_now(),
                    # Which process was worst off changes from run to run; the alert is the same.
                    signature=SESSION,
                    metrics=self._given.metrics,
                )
                key = (breach.rule.name, breach.rule.severity.value)
                if key not in worst or breach.rule.condition.holds(alert.observed, worst[key].observed):
                    worst[key] = alert
        alerts = let_others_modify(self._config, inhibit(list(worst.values())))
        return list(accept_known(self._given, alerts, {}))

    def _resolve_session_rules(
        self, rules: Sequence[AlertRule], tests: Sequence[Measurement]
    ) -> list[AlertRule]:
        """Return the rules with the thresholds that earlier sessions set; note those that can't be judged."""
        if not any(rule.against for rule in rules):
            return list(rules)
        from pytest_memalert.plugin.judging.past import resolve_for_session

        resolved, notes = resolve_for_session(
            self._config,
            self._given,
            rules,
            values=values_of_worst(tests, self._given.metrics),
            tests=len(tests),
            warn=self._warn,
        )
        self._notes += notes
        return resolved

    def _tell_news(self, run: Run, lives: Sequence[AlertLife], exitstatus: int) -> tuple[str, ...]:
        """Send what is news to the channels; return what the summary says of it."""
        if not self._given.opened or self._was_left or exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            return ()
        from pytest_memalert.plugin.session.notifying import tell_news

        history = history_path(self._config, self._given.settings)
        try:
            return tell_news(self._given, run, lives, history=history, warn=self._warn)
        except Exception as trouble:
            # Only its type: the text may hold an address.
            self._warn(f"memalert could not notify anybody ({type(trouble).__name__})")
            return ()

    def _warn(self, trouble: str) -> None:
        """Warn of trouble that isn't the tests'."""
        tell_trouble(self._config, f"{trouble}; the run itself is not affected")


def _reported_since(began_s: float, run: Run) -> Run:
    """Return the run with the time since ``began_s`` as its ``reporting_s``."""
    return replace(run, overhead=replace(run.overhead, reporting_s=elapsed_s() - began_s))
