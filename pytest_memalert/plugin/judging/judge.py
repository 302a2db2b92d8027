"""Judge one test: rules against its figures, then repetition of what they would blame it for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.clock import elapsed_s, utc_now
from pytest_memalert.collector import collect_young
from pytest_memalert.limits.marker import MarkerLimits
from pytest_memalert.measurement import discount
from pytest_memalert.model import (
    AlertCondition,
    AlertRule,
    Measurement,
    Note,
    PerformanceAlert,
    make_id,
)
from pytest_memalert.plugin.facts import Facts
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.judging.case import Case
from pytest_memalert.plugin.judging.confirming import HUNTED, Confirmer
from pytest_memalert.plugin.judging.leaks import LeakJudge
from pytest_memalert.plugin.judging.rerun_costs import RerunCosts
from pytest_memalert.plugin.judging.resident_lines import MUCH_BYTES, ResidentLines
from pytest_memalert.plugin.leak_checks.leak_check import LeakCheck
from pytest_memalert.plugin.measuring.scopes import WiderFixtures
from pytest_memalert.probes.sampler import Sampler
from pytest_memalert.rules import (
    LEAK_METRICS,
    Breach,
    Screen,
    find_breaches,
    find_gaps,
    make_alert,
    rules_for_test,
)
from pytest_memalert.speaking import inhibit, mute
from pytest_memalert.units import format_beside, format_size

if TYPE_CHECKING:
    from pytest_memalert.gate.baseline import Entry
    from pytest_memalert.plugin.judging.gating import Gate, GateFinding
    from pytest_memalert.plugin.judging.past import PastOfTests
    from pytest_memalert.plugin.judging.repeating import Repeater
    from pytest_memalert.plugin.leak_checks.checked_before import CheckedBefore

__all__ = ["Judge"]

_FIXTURES_NAMED = 3


class Judge:
    """Judge the tests of one process; it remembers what was told, and what re-runs have cost."""

    def __init__(
        self,
        given: Given,
        sampler: Sampler,
        fixtures: WiderFixtures,
        *,
        turns: frozenset[str] | None,
        past: PastOfTests | None = None,
        before: CheckedBefore | None = None,
        let_go: Callable[[], None] = collect_young,
    ) -> None:
        self._given = given
        self._past = past
        self._sampler = sampler
        self._fixtures = fixtures
        self._made_repeater: Repeater | None = None
        self._rules = tuple(r for r in given.settings.rules if r.enabled and r.scope == "test")
        self._same_for_all = not any(rule.tests or rule.component for rule in self._rules)
        self._screen = Screen(self._rules)
        self._told: set[str] = set()
        self._leak_check = LeakCheck(given.settings.leaks, turns=turns, before=before, let_go=let_go)
        self._costs = RerunCosts(given.settings.budget)
        self._lines = ResidentLines(sampler, self._costs)
        self._leaks = LeakJudge(given.metrics, sampler, self._leak_check, self._costs)
        self._confirmer = Confirmer(sampler, self._leak_check, self._costs, repeater=lambda: self._repeater)
        self._gate: Gate | None = None
        if given.gate is not None:
            from pytest_memalert.plugin.judging.gating import Gate

            self._gate = Gate(given.gate, self._repeater, traces_all=given.settings.trace)
            self._leaks.why_accepted = self._gate.why_accepted

    @property
    def _repeater(self) -> Repeater:
        """Return what runs a test again, made for the first: in most sessions there is none."""
        if self._made_repeater is None:
            from pytest_memalert.plugin.judging.repeating import Repeater

            self._made_repeater = Repeater(self._sampler, self._fixtures, self._given.probes)
        return self._made_repeater

    @property
    def tracing_left_bytes(self) -> int:
        """Return what tracing single runs has left behind in this process so far."""
        return 0 if self._made_repeater is None else self._made_repeater.tracing_left_bytes

    def learn_collected(self, nodeids: Collection[str]) -> None:
        """Take in the ids of all tests that there are; only a gate has a use for them."""
        if self._gate is not None:
            self._gate.learn_collected(nodeids)

    def may_repeat(self, limits: MarkerLimits) -> bool:
        """Return whether the settings and the test's marker let it be run again."""
        return self._leak_check.may_repeat(limits)

    def would_repeat(
        self, nodeid: str, component: str, values: Mapping[str, float], limits: MarkerLimits
    ) -> bool:
        """Return whether a test with these figures will be run again."""
        is_wanted, _ = self._leak_check.decide(nodeid, values, limits)
        if is_wanted:
            return True
        if self._gate is not None and self._gate.wants(nodeid, values, limits):
            return True
        breaches = find_breaches(self._rules_for(nodeid, component, limits), values)
        return any(self._is_repeatable(breach) for breach in breaches)

    def usual_peak(self, nodeid: str, entry: Entry | None) -> int | None:
        """Return the peak that a test has as a rule: as it is to be saved, or as the baseline has it."""
        if entry is None and self._gate is not None:
            entry = self._gate.entry_of(nodeid)
        figure = None if entry is None else entry.figure("peak_bytes")
        return None if figure is None else figure.median

    def passes_over(self, measurement: Measurement, limits: MarkerLimits) -> bool:
        """Return whether there is nothing to say of a test, as of nearly every one: seen in 2 us.

        The measurement is a discounted one. It is learnt from then; ``judge`` is for all others.
        """
        values = measurement.values
        if (
            not self._same_for_all
            or limits.rules
            or self._past is not None
            or self._gate is not None
            or self._lines.crossed
            or self._screen.stops(values, rss_before_bytes=measurement.rss_before_bytes)
            or values.get("rss_growth_bytes", 0) >= MUCH_BYTES
            or self._leak_check.decide(measurement.nodeid, values, limits) != (False, None)
        ):
            return False
        self._costs.tests_s += values["duration_s"]
        self._leak_check.learn(values)
        return True

    def judge(
        self,
        measurement: Measurement,
        item: pytest.Item,
        limits: MarkerLimits,
        *,
        passed: bool,
        shared: Any = None,
    ) -> Facts:
        """Return what is found about a test; ``passed`` says whether it did so on its own account.

        Below the node ``shared``, if there is one, all is torn down already.
        """
        began_s = elapsed_s()
        rss_bytes = measurement.values.get("rss_bytes")
        measurement = self.discounted(measurement)
        self._costs.tests_s += measurement.values["duration_s"]
        self._lines.learn(measurement)
        rules = self._rules_for(measurement.nodeid, measurement.component, limits)
        notes = self._lines.note_crossed_before(rules, measurement, limits)
        if self._past is not None:
            unresolved = self._in_force(measurement.nodeid, measurement.component, limits)
            notes += self._past.find_gaps(unresolved, measurement.nodeid)
        notes += self._note_gaps(rules, measurement)
        self._lines.rearm(rules, measurement.values)
        case = Case(
            measurement=measurement,
            item=item,
            limits=limits,
            rules=rules,
            metrics=self._given.metrics,
            notes=notes,
            shared=shared,
        )
        if passed:
            self._leaks.look(case)
        leaks = case.leak is not None and case.leak.status == "leaking"
        self._leak_check.learn(measurement.values, leaks=leaks)
        breaches = [
            breach
            for breach in find_breaches(
                rules, case.measurement.values, rss_before_bytes=measurement.rss_before_bytes
            )
            if not self._lines.has_crossed(breach.rule)
        ]
        finding, gate_s = None, 0.0
        if self._gate is not None and passed:
            gate_began_s = elapsed_s()
            finding = self._hold_against_baseline(case)
            gate_s = elapsed_s() - gate_began_s if finding.reruns else 0.0
        if not breaches and case.leak is None and finding is None:
            return Facts(measurement=case.measurement, notes=case.notes, passed=passed)
        if not passed:
            alerts = mute(
                [self._alert(breach, measurement) for breach in breaches], reason="the test's own failure"
            )
        else:
            repeatable = [breach for breach in breaches if self._is_repeatable(breach)]
            alerts = inhibit(
                [
                    *self._leaks.find_alerts(case),
                    *self._alerts_of_state(case, breaches),
                    *(
                        self._alert_repeated(case, breach)
                        for breach in self._confirmer.confirm(case, repeatable)
                    ),
                    *(finding.alerts if finding is not None else ()),
                ]
            )
        if case.reruns:
            self._costs.note_residue(before_bytes=rss_bytes, after_bytes=self._sampler.read_rss())
        reruns_s = elapsed_s() - began_s if case.reruns else 0.0
        # The budget is for the search for leaks; with it spent, the gate would see nothing.
        self._costs.reruns_s += reruns_s - gate_s
        return Facts(
            measurement=case.measurement,
            alerts=alerts,
            notes=case.notes,
            reruns=case.reruns,
            reruns_s=reruns_s,
            comparisons=finding.comparisons if finding is not None else (),
            entry=finding.entry if finding is not None else None,
            renamed_from=finding.renamed_from if finding is not None else None,
            passed=passed,
            proof=case.proof,
        )

    def _hold_against_baseline(self, case: Case) -> GateFinding:
        """Return what the baseline has to do with the test; note what could not be confirmed."""
        assert self._gate is not None
        finding = self._gate.examine(case.item, case.measurement, case.limits, leak=case.leak)
        case.reruns += finding.reruns
        if finding.unclear is not None:
            case.note("unclear", f"{case.measurement.nodeid}: {finding.unclear}")
        return finding

    def discounted(self, measurement: Measurement) -> Measurement:
        """Return the measurement without what the re-runs of earlier tests left resident."""
        return discount(measurement, self._costs.residue)

    # ------------------------------------------------------------- wider fixtures

    def would_check_fixtures(self, nodeid: str, values: Mapping[str, float], limits: MarkerLimits) -> bool:
        """Return whether wider fixtures that left this behind are to be checked with their last test."""
        return self._leak_check.would_check_fixtures(nodeid, values, limits)

    def judge_fixtures(
        self,
        facts: Facts,
        item: pytest.Item,
        limits: MarkerLimits,
        *,
        names: Sequence[str],
        left: Mapping[str, float],
        shared: Any,
    ) -> tuple[Sequence[PerformanceAlert], Mapping[str, float]]:
        """Return the alerts of wider fixtures that leak, and the figures: ``LeakJudge`` says how."""
        measurement = facts.measurement
        if measurement is None or self._costs.why_spent():
            return [], {}
        case = Case(
            measurement=measurement,
            item=item,
            limits=limits,
            rules=self._rules_for(measurement.nodeid, measurement.component, limits),
            metrics=self._given.metrics,
            notes=[],
            shared=shared,
        )
        return self._leaks.judge_fixtures(facts, case, names=names, left=left)

    # ------------------------------------------------------------ which rules

    def _rules_for(self, nodeid: str, component: str, limits: MarkerLimits) -> tuple[AlertRule, ...]:
        rules = self._in_force(nodeid, component, limits)
        return rules if self._past is None else self._past.resolve(rules, nodeid)

    def _in_force(self, nodeid: str, component: str, limits: MarkerLimits) -> tuple[AlertRule, ...]:
        if self._same_for_all and not limits.rules:
            return self._rules
        return rules_for_test(self._rules, limits.rules, nodeid=nodeid, component=component)

    def _is_repeatable(self, breach: Breach) -> bool:
        return self._given.metrics[breach.rule.metric].repeatable

    # --------------------------------------------------- the state of the process

    def _alerts_of_state(self, case: Case, breaches: Sequence[Breach]) -> list[PerformanceAlert]:
        """Return the alerts of what can't be had again: lines crossed, levels reached."""
        alerts = []
        for breach in breaches:
            rule = breach.rule
            if self._is_repeatable(breach) or rule.metric in LEAK_METRICS:
                continue
            if rule.metric == "rss_bytes" and not self._lines.cross(rule):
                case.note("one_time", f"{case.describe(breach)}; garbage, gone when collected: no alert")
                continue
            alerts.append(self._alert(breach, case.measurement))
        return alerts

    # ---------------------------------------------------------------- words

    def _alert(self, breach: Breach, measurement: Measurement) -> PerformanceAlert:
        metric = self._given.metrics[breach.rule.metric]
        evidence = []
        if breach.repeated:
            limit, unit = breach.rule.threshold, metric.unit
            first = format_beside(measurement.values[metric.name], limit, unit)
            bound = "at most" if breach.rule.condition is AlertCondition.LESS_THAN else "at least"
            further = "the further run" if breach.repeated == 1 else f"each of {breach.repeated} further runs"
            least = format_beside(breach.observed, limit, unit)
            evidence.append(f"{first} in the first run, {bound} {least} in {further}")
        advice = []
        phases = {phase: size for phase, size in measurement.phases.items() if size >= 2**20}
        if phases and metric.unit in ("bytes", "bytes/s"):
            told = ", ".join(f"{phase} {format_size(size)}" for phase, size in phases.items())
            evidence.append(f"resident memory grew in: {told}")
            if max(phases, key=lambda phase: phases[phase]) == "setup":
                advice.append("most of it came during set-up: look at the test's fixtures first")
        if breach.rule.metric == "rss_bytes":
            advice += self._lines.name_growers()
        return make_alert(
            breach,
            id=make_id(),
            measurement=measurement,
            raised_at=utc_now(),
            evidence=evidence,
            recommendations=advice,
            metrics=self._given.metrics,
        )

    def _alert_repeated(self, case: Case, breach: Breach) -> PerformanceAlert:
        """Return the alert of what came back; growth that is a known leak's is explained as such."""
        alert = self._alert(breach, case.measurement)
        leak = case.leak
        if breach.rule.metric not in HUNTED or leak is None or not leak.recommendations:
            return alert
        return replace(alert, survivors=leak.survivors, recommendations=leak.recommendations)

    def _note_gaps(self, rules: Sequence[AlertRule], measurement: Measurement) -> list[Note]:
        missing = self._sampler.missing
        gaps = find_gaps(rules, measurement.values, nodeid=measurement.nodeid, missing=missing)
        return [gap for gap in gaps if self._once(gap.text)]

    def _once(self, text: str) -> bool:
        if text in self._told:
            return False
        self._told.add(text)
        return True
