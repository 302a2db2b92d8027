"""Confirm what the first run of a test broke a rule by: it counts where it comes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_memalert.collector import collect_all
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.plugin.judging.case import Case
from pytest_memalert.plugin.judging.rerun_costs import RerunCosts
from pytest_memalert.plugin.leak_checks.leak_check import LeakCheck
from pytest_memalert.probes.malloc import trim_heap
from pytest_memalert.probes.sampler import Sampler
from pytest_memalert.rules import Breach, find_breaches, find_unjudged, mildest

if TYPE_CHECKING:
    from pytest_memalert.plugin.judging.repeating import Repeater

__all__ = ["HUNTED", "Confirmer"]

# Growth that resident memory tells of.
_GROWN = ("growth_bytes", "growth_rate_bytes_per_s", "rss_growth_bytes")
#: Growth of which the leak engine has the last word, where it has looked.
HUNTED = ("growth_bytes", "growth_rate_bytes_per_s", "blocks_growth")


class Confirmer:
    """Run the tests of one process again where that tells a breach from what happens once."""

    def __init__(
        self,
        sampler: Sampler,
        leak_check: LeakCheck,
        costs: RerunCosts,
        *,
        repeater: Callable[[], Repeater],
    ) -> None:
        self._sampler = sampler
        self._leak_check = leak_check
        self._costs = costs
        self._repeater = repeater

    def confirm(self, case: Case, breaches: Sequence[Breach]) -> Sequence[Breach]:
        """Return those breaches that come back when the test runs again; note what becomes of the others."""
        if not breaches:
            return breaches
        if not self._leak_check.may_repeat(case.limits):
            # A limit set by hand is held against the one run there is. The rules by default
            # speak of growth that comes back, and nobody has seen whether it does.
            seen = [b for b in breaches if b.rule.origin != "default" or b.rule.metric not in HUNTED]
            return self._still_there(case, seen)
        hunted = [breach for breach in breaches if breach.rule.metric in HUNTED]
        kept: list[Breach] = []
        if case.leak is not None and (case.leak.status == "leaking" or case.leak.bytes_per_run is not None):
            # The leak engine has repeated the test already, and knows what each run leaves.
            kept += mildest(hunted, [_growth_as_hunted(case.leak)])
            _note_one_time(case, hunted, kept, case.leak.runs)
            breaches = [breach for breach in breaches if breach not in hunted]
        breaches = self._worth_repeating(case, breaches)
        if not breaches:
            return kept
        from pytest_memalert.plugin.rerun import can_rerun

        if why_not := can_rerun(case.item):
            by_hand = _set_by_hand(breaches)
            if left_out := [breach for breach in breaches if breach not in by_hand]:
                case.note("unclear", f"{case.describe(left_out[0])}; not repeated: {why_not}")
            return [*kept, *self._still_there(case, by_hand)]
        runs, unclear = self._repeater().repeat(
            case.item,
            breaches,
            before_bytes=case.measurement.rss_before_bytes,
            budget_s=self._costs.left_s(),
        )
        case.reruns += len(runs)
        if unclear:
            case.note("unclear", f"{case.describe(breaches[0])}; not repeated: {unclear}")
            return kept
        again = mildest(breaches, runs)
        unjudged = find_unjudged(breaches, runs)
        for breach in {breach.rule.metric: breach for breach in unjudged}.values():
            text = f"{case.describe(breach)} in its first run"
            case.note("no_data", f"{text}; no data in a further run: the limit was not judged")
        _note_one_time(case, [b for b in breaches if b not in unjudged], again, len(runs))
        return [*kept, *again]

    def _worth_repeating(self, case: Case, breaches: Sequence[Breach]) -> Sequence[Breach]:
        """Return those breaches for which the test is run again here.

        A limit set by hand always is, once at least: no budget lets pass what is over it. Of the rules
        by default, those on growth are the leak engine's to judge, two further runs being no proof that a
        pool has filled; the others are worth a share of the suite's time.
        """
        no_budget = self._costs.why_spent()
        by_hand = _set_by_hand(breaches)
        others = [b for b in breaches if b not in by_hand and b.rule.metric not in HUNTED]
        if not by_hand and (no_budget or not self._leak_check.purses.can_clear(case.measurement.values)):
            others = []
        left_out = [breach for breach in breaches if breach not in by_hand and breach not in others]
        if left_out:
            leak = case.measurement.leak
            why = no_budget or leak.reason or "that would take too much of the suite's time"
            what = "run again, it is unclear" if leak.runs else "not repeated"
            text = f"{case.describe(left_out[0])} in its first run; {what}: {why}"
            case.note("unclear" if no_budget or leak.runs else "not_repeated", text)
        return [*by_hand, *others]

    def _still_there(self, case: Case, breaches: Sequence[Breach]) -> Sequence[Breach]:
        """Return those breaches that hold without the memory that malloc keeps, though it is free.

        glibc raises its mmap threshold with each large block that is freed: the next one of that
        size comes from its heap, and stays resident when freed.
        """
        if not any(breach.rule.metric in _GROWN for breach in breaches):
            return breaches
        collect_all()
        trim_heap()
        rss_bytes = self._sampler.read_rss()
        values = dict(case.measurement.values)
        if rss_bytes is None or "rss_bytes" not in values or "heap_growth_bytes" not in values:
            return breaches  # what goes could be older than the test: only the heap tells
        values["rss_growth_bytes"] -= max(0, values["rss_bytes"] - self._costs.residue.less(rss_bytes))
        values["growth_bytes"] = max(values["rss_growth_bytes"], values["heap_growth_bytes"])
        if values["duration_s"] > 0:
            values["growth_rate_bytes_per_s"] = values["growth_bytes"] / values["duration_s"]
        kept: list[Breach] = []
        for breach in breaches:
            kept += find_breaches((breach.rule,), values) if breach.rule.metric in _GROWN else (breach,)
        return kept


def _note_one_time(case: Case, breaches: Sequence[Breach], kept: Sequence[Breach], runs: int) -> None:
    """Note the growth that did not come back, once for each metric."""
    told = {breach.rule.metric for breach in kept}
    for breach in breaches:
        if breach.rule.metric not in told:
            told.add(breach.rule.metric)
            later = "the next" if runs == 1 else f"each of {runs} further runs"
            text = f"{case.describe(breach)} in its first run, but not in {later}"
            case.note("one_time", f"{text}: one-time, no alert")


def _set_by_hand(breaches: Sequence[Breach]) -> list[Breach]:
    return [breach for breach in breaches if breach.rule.origin != "default"]


def _growth_as_hunted(analysis: LeakAnalysis) -> dict[str, float]:
    """Return what a leak analysis says of the metrics in ``HUNTED``, as the figures of a run."""
    growth_bytes = analysis.bytes_per_run or 0.0
    return {
        "growth_bytes": growth_bytes,
        "growth_rate_bytes_per_s": growth_bytes / analysis.duration_s if analysis.duration_s else 0.0,
        "blocks_growth": analysis.blocks_per_run or 0.0,
    }
