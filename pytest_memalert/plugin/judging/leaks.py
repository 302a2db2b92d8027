"""Judge a test, or the wider fixtures torn down with it, for a leak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pytest_memalert.clock import elapsed_s, utc_now
from pytest_memalert.metrics import Metric
from pytest_memalert.model import (
    OUT_OF_TURN,
    LeakAnalysis,
    LeakVerdict,
    Measurement,
    PerformanceAlert,
    Survivor,
    make_id,
)
from pytest_memalert.plugin.facts import Facts
from pytest_memalert.plugin.judging.case import Case
from pytest_memalert.plugin.judging.confirming import HUNTED
from pytest_memalert.plugin.judging.rerun_costs import RerunCosts
from pytest_memalert.plugin.leak_checks.leak_check import LeakCheck
from pytest_memalert.probes.sampler import Sampler
from pytest_memalert.rules import LEAK_METRICS, judge_leak, leak_figures
from pytest_memalert.settings import SHARE_OF_TURNS
from pytest_memalert.speaking import inhibit

__all__ = ["LeakJudge"]

_FIXTURES_NAMED = 3
# A limit on one of these that somebody wrote may be far less than what a plain look can tell.
_TOLD_EXACTLY = {*HUNTED, *LEAK_METRICS}


class LeakJudge:
    """Have tests checked for leaks, within the budget, and make the alerts of what is found."""

    def __init__(
        self, metrics: Mapping[str, Metric], sampler: Sampler, leak_check: LeakCheck, costs: RerunCosts
    ) -> None:
        self._metrics = metrics
        self._sampler = sampler
        self._leak_check = leak_check
        self._costs = costs
        #: Why the leak of the test of this id is accepted, if it is: a gate knows.
        self.why_accepted: Callable[[str, LeakAnalysis], str | None] | None = None

    def look(self, case: Case) -> None:
        """Check the test for a leak if it is to be; put the verdict and its figures on the measurement."""
        values = case.measurement.values
        is_wanted, reason = self._leak_check.decide(case.measurement.nodeid, values, case.limits)
        if not is_wanted:
            if reason is not None:
                case.measurement = replace(case.measurement, leak=LeakVerdict(reason=reason))
            return
        # The last of a budget is for suspects.
        takes_turns = self._leak_check.takes_turns(values, case.limits)
        if no_budget := self._costs.why_spent(share=SHARE_OF_TURNS if takes_turns else 1.0):
            reason = OUT_OF_TURN if takes_turns else no_budget
            case.measurement = replace(case.measurement, leak=LeakVerdict(reason=reason))
            return
        analysis = self._check(case, values)
        if analysis.status == "leaking" and (proof := self._leak_check.proof) is not None:
            from pytest_memalert.plugin.leak_checks.proofs import encode_proof

            case.proof = encode_proof(proof)

    def find_alerts(self, case: Case, *, each: str = "run") -> list[PerformanceAlert]:
        """Return the alerts of the leak that was found, if any; ``each`` says what leaks anew."""
        analysis = case.leak
        if analysis is None or analysis.status != "leaking":
            return []
        accepted = self.why_accepted(case.measurement.nodeid, analysis) if self.why_accepted else None
        # A limit that somebody wrote holds whatever the baseline says.
        written = {(rule.name, rule.severity) for rule in case.rules if rule.origin != "default"}
        return [
            alert if (alert.rule, alert.severity) in written else replace(alert, acknowledged=accepted)
            for alert in judge_leak(
                analysis,
                case.rules,
                measurement=case.measurement,
                raised_at=utc_now(),
                make_id=make_id,
                each=each,
                metrics=self._metrics,
            )
        ]

    def judge_fixtures(
        self, facts: Facts, case: Case, *, names: Sequence[str], left: Mapping[str, float]
    ) -> tuple[Sequence[PerformanceAlert], Mapping[str, float]]:
        """Return the alerts of wider fixtures that leak, and the figures: of those below ``case.shared``.

        All is torn down there. Each run sets them up, runs the case's test and tears them down. ``left`` is
        what their first set-up left, and took. What it costs is put on the test's ``facts``.
        """
        began_s, rss_bytes = elapsed_s(), self._sampler.read_rss()
        own = case.measurement
        took_s = left["duration_s"] + own.values["duration_s"]
        analysis = self._check(case, {**left, "duration_s": took_s}, of_fixtures=True)
        told = " and ".join(_makers(names, analysis.survivors)[:_FIXTURES_NAMED])
        if analysis.status in ("unclear", "unchecked") and (
            own.leak.status == "clean" or own.leak.reason is None
        ):
            # Else what is known of these fixtures from before would seem to be over.
            verdict = replace(analysis.verdict, reason=f"with {told} set up anew: {analysis.reason}")
            facts.measurement = replace(own, leak=verdict)
        facts.reruns += case.reruns
        if case.reruns:
            self._costs.note_residue(before_bytes=rss_bytes, after_bytes=self._sampler.read_rss())
            reruns_s = elapsed_s() - began_s
            facts.reruns_s += reruns_s
            self._costs.reruns_s += reruns_s
        return inhibit(self.find_alerts(case, each=f"set-up of {told}")), case.measurement.values

    def _check(self, case: Case, values: Mapping[str, float], *, of_fixtures: bool = False) -> LeakAnalysis:
        """Run the case's test again as often as it takes; put what is found on the case, and return it."""
        case.leak, runs = self._leak_check.check(
            case.item,
            case.limits,
            values=values,
            budget_s=self._costs.for_a_search_s(),
            shared=case.shared,
            of_fixtures=of_fixtures,
            exactly=any(rule.metric in _TOLD_EXACTLY and rule.origin != "default" for rule in case.rules),
        )
        case.reruns += runs
        case.measurement = _with_leak(case.measurement, case.leak)
        return case.leak


def _makers(fixtures: Sequence[str], survivors: Sequence[Survivor]) -> Sequence[str]:
    """Return those of the fixtures in whose functions survivors were allocated; all of them, if in none."""
    # "test_a.py:34 in TestA.setUpClass" is in that of the fixture "setUpClass of TestA".
    frames = [frame for survivor in survivors for frame in survivor.allocated_at]
    functions = {frame.rpartition(" in ")[2].rpartition(".")[2] for frame in frames}
    return [name for name in fixtures if name.partition(" of ")[0] in functions] or fixtures


def _with_leak(measurement: Measurement, analysis: LeakAnalysis) -> Measurement:
    """Return the measurement with the verdict on a leak, and its figures where there is one."""
    values: Mapping[str, float] = measurement.values
    if analysis.status == "leaking":
        values = {**values, **leak_figures(analysis)}
    return replace(measurement, values=values, leak=analysis.verdict)
