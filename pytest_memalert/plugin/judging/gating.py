"""What a baseline means for one test: measured for it, or held against it, by running the test again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from pytest_memalert.clock import elapsed_s, utc_now
from pytest_memalert.comparisons import tell
from pytest_memalert.gate.allowances import Allowance, widen_for_children, widen_for_marker
from pytest_memalert.gate.baseline import Entry, summarize
from pytest_memalert.gate.comparing import (
    allowances_of,
    compare_figure,
    decide_peaks,
    figures_of_leak,
    find_excesses,
    has_leak,
    is_peak_odd,
    retains_less,
    settle,
)
from pytest_memalert.gate.fragments import gives_back, without_fragments
from pytest_memalert.gate.regressions import judge
from pytest_memalert.gate.renaming import match_renamed
from pytest_memalert.limits.marker import MarkerLimits
from pytest_memalert.metrics import PEAKS, RETAINED
from pytest_memalert.model import Comparison, GateResult, LeakAnalysis, Measurement, PerformanceAlert, make_id
from pytest_memalert.plugin.given.gate import GateGiven
from pytest_memalert.plugin.judging.repeating import Again, Repeater, have_seen_enough
from pytest_memalert.plugin.rerun import can_rerun
from pytest_memalert.probes.memory import child_page_faults
from pytest_memalert.records import record

__all__ = ["Gate", "GateFinding"]

# What is saved of a test is the median of so many further runs. A long one gets fewer, and is not traced:
# that makes a test of nothing but Python twelve times as long.
_SAVED_RUNS, _SAVED_RUNS_OF_LONG = 3, 2
_SAVED_TRACES = 2
_LONG_S = 2.0
# A peak is claimed when it is over in the test's own run and in so many further ones: in more where it is
# over by a few buffers, whose number may be chance (uvloop reads 256 KiB at once of what a subprocess wrote).
_PEAK_RUNS, _CLOSE_PEAK_RUNS = 2, 6
_CLOSE_BYTES, _CLOSE_S = 2**19, 2.0
# Growth is claimed when it came back in so many further runs at least: a pool of a few entries takes some to
# fill.
_GROWTH_RUNS = 4


@record(frozen=True, slots=True, kw_only=True)
class GateFinding:
    """Hold what was found about one test; ``unclear`` says why nothing could be, if so."""

    comparisons: tuple[Comparison, ...] = ()
    alerts: tuple[PerformanceAlert, ...] = ()
    entry: Entry | None = None
    renamed_from: str | None = None
    unclear: str | None = None
    reruns: int = 0


@record(slots=True, kw_only=True)
class _Runs:
    """The further runs of a test so far: their figures, and the peaks of those that were traced."""

    figures: list[dict[str, float]]
    traced: list[float]

    @property
    def count(self) -> int:
        return len(self.figures) + len(self.traced)

    @property
    def resident(self) -> list[float]:
        return [values["peak_bytes"] for values in self.figures if "peak_bytes" in values]


_NOTHING = GateFinding()


class Gate:
    """Hold the tests of one process against the baseline, or measure them for it."""

    def __init__(self, given: GateGiven, repeater: Repeater, *, traces_all: bool) -> None:
        self._given = given
        self._repeater = repeater
        self._traces_all = traces_all
        self._entries = given.baseline.environments.get(given.key, {})
        self._renamed: Mapping[str, str] = {}

    def learn_collected(self, nodeids: Collection[str]) -> None:
        """Take in the ids of all tests that there are, so that one whose id changed can be told."""
        self._renamed = match_renamed(self._entries, nodeids)

    def wants(self, nodeid: str, values: Mapping[str, float], limits: MarkerLimits) -> bool:
        """Return whether a test with these figures will be run again."""
        if limits.leaks == "off":
            return False
        if self._given.saves:
            return True
        entry = self.entry_of(nodeid)
        if entry is None or entry.once:
            return False
        if nodeid in self._renamed:
            return True  # only further runs make it certain that it is the same test
        allowances = self._allowances(nodeid, entry, limits)
        figures = without_fragments(values)
        return is_peak_odd(entry, figures) or bool(find_excesses(nodeid, entry, allowances, figures))

    def why_accepted(self, nodeid: str, leak: LeakAnalysis) -> str | None:
        """Return why a leak is no news: the baseline that was reviewed has it; None where it doesn't."""
        entry = self.entry_of(nodeid)
        if self._given.saves or entry is None or not has_leak(entry, leak):
            return None
        return f"{self._given.name} has this leak"

    def examine(
        self,
        item: pytest.Item,
        measurement: Measurement,
        limits: MarkerLimits,
        *,
        leak: LeakAnalysis | None,
    ) -> GateFinding:
        """Return what the baseline has to do with a test that passed.

        ``leak`` is what the search for leaks found out about it.
        """
        if self._given.saves:
            return self._measure(item, measurement, limits)
        nodeid = measurement.nodeid
        entry = self._entries.get(nodeid)
        if entry is not None:
            return self._hold(item, measurement, limits, entry, leak=leak)
        old = self._renamed.get(nodeid)
        if old is not None:
            entry = self._entries[old]
            found = self._hold(item, measurement, limits, entry, leak=leak, surely=True)
            # Only the same figures, to what tracing can tell, make it certain that it is the same test.
            if not found.comparisons and found.unclear is None and found.reruns:
                return replace(found, renamed_from=old)
        if not self._given.strict:
            return _NOTHING
        return GateFinding(alerts=self._judge(measurement, new=(nodeid,)))

    def entry_of(self, nodeid: str) -> Entry | None:
        """Return what the baseline has of a test, which may have been renamed since."""
        return self._entries.get(nodeid) or self._entries.get(self._renamed.get(nodeid, ""))

    def _allowances(self, nodeid: str, entry: Entry, limits: MarkerLimits) -> Mapping[str, Allowance]:
        allowances = allowances_of(entry, self._given.allowances.for_test(nodeid))
        medians = {metric: figure.median for metric in allowances if (figure := entry.figure(metric))}
        return widen_for_marker(allowances, limits, medians)

    # ------------------------------------------------------------------ saving

    def _measure(self, item: pytest.Item, measurement: Measurement, limits: MarkerLimits) -> GateFinding:
        """Return what the baseline is to say of a test."""
        values = measurement.values
        if limits.leaks == "off" or can_rerun(item):
            return GateFinding(entry=_once(values))
        leak = {name: values[name] for name in RETAINED[:1] if name in values}
        runs = _Runs(figures=[], traced=[])
        known = self._entries.get(measurement.nodeid)
        # About as long as before is treated as before: else the file would change from save to save.
        was_traced = known is not None and known.figure("traced_peak_bytes") is not None
        is_long = values["duration_s"] > _LONG_S * (2 if was_traced else 1)
        with self._repeater.again(item) as again:
            reason = None
            for _ in range(_SAVED_RUNS_OF_LONG if is_long else _SAVED_RUNS):
                reason = reason or self._run(again, runs, traced=False)
            for _ in range(0 if is_long else _SAVED_TRACES):
                reason = reason or self._run(again, runs, resident=False)
        if reason is not None:
            return GateFinding(entry=_once(values), reruns=runs.count)
        traced = [{"traced_peak_bytes": peak} for peak in runs.traced]
        entry = summarize([*({**run, **leak} for run in runs.figures), *traced])
        allowances = self._given.allowances.for_test(measurement.nodeid)
        return GateFinding(entry=settle(entry, allowances), reruns=runs.count)

    def _run(self, again: Again, runs: _Runs, *, resident: bool = True, traced: bool = True) -> str | None:
        """Run the test again, plainly and traced as asked for; return why that is no evidence."""
        if resident:
            values, reason = again.run()
            if reason:
                return reason
            if not self._traces_all:
                values.pop("traced_peak_bytes", None)
            runs.figures.append(without_fragments(values))
            if self._traces_all and "traced_peak_bytes" in values:
                runs.traced.append(values["traced_peak_bytes"])
        if traced and not self._traces_all:
            peak_bytes, reason = again.trace()
            if reason:
                return reason
            if peak_bytes is not None:
                runs.traced.append(peak_bytes)
        return None

    # ------------------------------------------------------------ held against it

    def _hold(
        self,
        item: pytest.Item,
        measurement: Measurement,
        limits: MarkerLimits,
        entry: Entry,
        *,
        leak: LeakAnalysis | None,
        surely: bool = False,
    ) -> GateFinding:
        """Return how a test compares; ``surely`` has it run again, however like its first run is."""
        nodeid, values = measurement.nodeid, without_fragments(measurement.values)
        allowances = self._allowances(nodeid, entry, limits)
        if entry.once or limits.leaks == "off":
            return self._hold_once(measurement, entry, allowances)
        odd = surely or is_peak_odd(entry, values)
        excesses = find_excesses(nodeid, entry, allowances, values)
        less = retains_less(nodeid, entry, allowances, values)
        proven: tuple[Comparison, ...] = ()
        if leak is not None and leak.status in ("clean", "leaking"):
            # The search for leaks has repeated the test already, and more often than is done here.
            if excesses:
                proven = find_excesses(nodeid, entry, allowances, figures_of_leak(leak, entry))
            excesses = ()
        if not odd and not excesses:
            return self._conclude(measurement, (*proven, *less), leak)
        reason = can_rerun(item)
        runs = _Runs(figures=[], traced=[])
        peaks: tuple[Comparison, ...] = ()
        if reason is None:
            with self._repeater.again(item) as again:
                peaks, excesses, reason = self._confirm(
                    again, runs, nodeid, entry, allowances, odd=odd, excesses=excesses
                )
        if reason is not None and not proven:
            told = [tell(each) for each in excesses] or ["its peak is not the baseline's"]
            return GateFinding(unclear=f"{told[0]}; not confirmed: {reason}", reruns=runs.count)
        finding = self._conclude(measurement, (*proven, *peaks, *excesses, *less), leak)
        return replace(finding, reruns=runs.count)

    def _confirm(
        self,
        again: Again,
        runs: _Runs,
        nodeid: str,
        entry: Entry,
        allowances: Mapping[str, Allowance],
        *,
        odd: bool,
        excesses: Sequence[Comparison],
    ) -> tuple[tuple[Comparison, ...], tuple[Comparison, ...], str | None]:
        """Run the test until what it is blamed for is gone, or was there often enough.

        Return the peak's comparison unless it is within, those of growth, and why the runs are no
        evidence, if they aren't.
        """
        began_s = elapsed_s()
        was_traced = entry.figure("traced_peak_bytes") is not None
        peaks: tuple[Comparison, ...] = ()
        left = {each.metric: each for each in excesses}
        faults = child_page_faults()
        while True:
            reason = self._run(again, runs, traced=odd and was_traced)
            if reason is not None:
                return (), tuple(left.values()), reason
            if child_page_faults() != faults:
                allowances = widen_for_children(allowances)
            if odd:
                peaks = decide_peaks(nodeid, entry, allowances, resident=runs.resident, traced=runs.traced)
                odd = bool(peaks) and peaks[0].status != "within"
            seen = {each.metric: each for each in find_excesses(nodeid, entry, allowances, runs.figures[-1])}
            left = {
                metric: replace(
                    each,
                    observed=min(each.observed, seen[metric].observed),
                    further=(*each.further, seen[metric].observed),
                )
                for metric, each in left.items()
                if metric in seen
            }
            count = len(runs.figures)
            taken_s = elapsed_s() - began_s
            enough = have_seen_enough(runs.figures, at_least=_GROWTH_RUNS, seconds=taken_s)
            close = bool(peaks) and abs(peaks[0].observed - peaks[0].baseline) < _CLOSE_BYTES
            wanted = _CLOSE_PEAK_RUNS if close and taken_s < _CLOSE_S else _PEAK_RUNS
            peak_is_decided = not odd or count >= wanted
            if peak_is_decided and (not left or enough):
                if gives_back(runs.figures):
                    left.pop("growth_bytes", None)
                return (peaks if odd else ()), tuple(left.values()), None

    def _hold_once(
        self, measurement: Measurement, entry: Entry, allowances: Mapping[str, Allowance]
    ) -> GateFinding:
        """Return what can be said of a test that can't be run again: nothing that would fail it."""
        figure, nodeid = entry.figure("peak_bytes"), measurement.nodeid
        if figure is None or "peak_bytes" not in measurement.values:
            return _NOTHING
        seen = compare_figure(
            nodeid,
            "peak_bytes",
            figure,
            allowances["peak_bytes"],
            observed=measurement.values["peak_bytes"],
        )
        if seen.status != "regression":
            return _NOTHING
        return GateFinding(unclear=f"{tell(seen)}; not confirmed: the test is not run again")

    def _conclude(
        self, measurement: Measurement, comparisons: tuple[Comparison, ...], leak: LeakAnalysis | None
    ) -> GateFinding:
        if not comparisons:
            return _NOTHING
        if leak is None or leak.status != "leaking":
            return GateFinding(comparisons=comparisons, alerts=self._judge(measurement, comparisons))
        # Apart from its peaks, so that an alert of the leak can speak for it.
        kept = tuple(each for each in comparisons if each.metric in RETAINED)
        others = tuple(each for each in comparisons if each.metric not in RETAINED)
        told = (
            replace(
                alert,
                survivors=leak.survivors,
                recommendations=(*leak.recommendations, *alert.recommendations[1:]),
            )
            for alert in self._judge(measurement, kept)
        )
        return GateFinding(comparisons=comparisons, alerts=(*told, *self._judge(measurement, others)))

    def _judge(
        self,
        measurement: Measurement,
        comparisons: tuple[Comparison, ...] = (),
        *,
        new: tuple[str, ...] = (),
    ) -> tuple[PerformanceAlert, ...]:
        given = self._given
        result = GateResult(
            path=given.name, environment=given.key, comparisons=comparisons, new=new, strict=given.strict
        )
        return judge(
            result,
            raised_at=utc_now(),
            make_id=make_id,
            components={measurement.nodeid: measurement.component},
        )


def _once(values: Mapping[str, float]) -> Entry:
    """Return the entry of a test that can't be run again: what it retained may have been a first use."""
    peaks = {metric: values[metric] for metric in PEAKS if metric in values}
    return summarize([peaks], once=True)
