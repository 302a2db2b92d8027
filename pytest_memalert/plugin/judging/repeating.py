"""Run a test again to see whether what its first run broke a rule by comes back."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.clock import cpu_time_s, elapsed_s
from pytest_memalert.collector import collect_all
from pytest_memalert.measurement import Deduction, as_begun_at, fold, measure_test
from pytest_memalert.model import Probe
from pytest_memalert.plugin.measuring.scopes import WiderFixtures
from pytest_memalert.probes.exact import ExactReader
from pytest_memalert.probes.malloc import trim_heap
from pytest_memalert.probes.memory import open_heap_reader, read_nothing
from pytest_memalert.probes.sampler import Sampler
from pytest_memalert.records import record
from pytest_memalert.rules import Breach, find_breaches, mildest
from pytest_memalert.tracing import begin_tracing

if TYPE_CHECKING:
    from pytest_memalert.plugin.rerun import Rerunner

__all__ = ["Again", "Repeater", "have_seen_enough"]

# A breach is claimed when it came back in each further run. Two show that it wasn't the first
# use of something; a cache or pool of a few entries takes more, so a quick test gets them.
_RUNS_AT_LEAST = 2
_RUNS_AT_MOST = 8
_ENOUGH_S = 0.5
_ENOUGH_BYTES = 256 * 2**20


@record(frozen=True, slots=True, kw_only=True)
class Again:
    """Hold how to run one test once more.

    ``run`` returns the figures of a run, ``trace`` its exact Python-level peak in bytes; both
    return as well why the run is no evidence, if it isn't.
    """

    run: Callable[[], tuple[dict[str, float], str | None]]
    trace: Callable[[], tuple[int | None, str | None]]


class Repeater:
    """Run tests of one process again, with the readings that were taken around their own runs."""

    def __init__(self, sampler: Sampler, fixtures: WiderFixtures, probes: Sequence[Probe]) -> None:
        self._sampler = sampler
        self._fixtures = fixtures
        self._probe_kinds = {probe.name: probe.kind for probe in probes}
        self._read_heap = open_heap_reader() or read_nothing
        #: What tracing has left behind so far in this process, in bytes.
        self.tracing_left_bytes = 0

    def repeat(
        self,
        item: pytest.Item,
        breaches: Sequence[Breach],
        *,
        before_bytes: int | None,
        budget_s: float | None,
    ) -> tuple[list[dict[str, float]], str | None]:
        """Run the test until no breach comes back, or each has often enough; return the runs' figures.

        Ask ``can_rerun`` before. The second value says why the runs are no evidence, if they aren't. At
        least one run takes place, whatever is left of the budget. ``before_bytes`` is what was resident
        when the test began.
        """
        # Loaded for the first test that is run again: most sessions have none.
        from pytest_memalert.plugin.rerun import Rerunner

        runs: list[dict[str, float]] = []
        began_s = elapsed_s()
        with Rerunner(item) as rerunner:
            while True:
                values, reason = self._run_again(rerunner)
                if not reason and _peak_is_gone(breaches, values):
                    peak_bytes, reason = _trace_again(rerunner)
                    values["peak_bytes"] = max(values.get("peak_bytes", 0), peak_bytes or 0)
                values = as_begun_at(values, before_bytes)
                if reason:
                    return runs, reason
                runs.append(values)
                seconds = elapsed_s() - began_s
                enough = have_seen_enough(runs, at_least=_RUNS_AT_LEAST, seconds=seconds)
                if enough or not mildest(breaches, runs) or (budget_s is not None and seconds > budget_s):
                    return runs, None

    @contextmanager
    def again(self, item: pytest.Item) -> Iterator[Again]:
        """Give what runs the test again, one run at a time; ask ``can_rerun`` before."""
        # Everything alive is set aside meanwhile: a collection then visits what the runs make, 0.1 ms
        # instead of 40 and more on a heap of 300,000 objects.
        from pytest_memalert.plugin.rerun import Rerunner

        with Rerunner(item) as rerunner, ExactReader():
            yield Again(run=lambda: self._run_again(rerunner), trace=lambda: self._trace_apart(rerunner))

    def _trace_apart(self, rerunner: Rerunner) -> tuple[int | None, str | None]:
        """Return the exact peak of one more run, taking note of what tracing leaves behind.

        Each start and stop of tracemalloc loses the tracebacks that it kept, 20 to 50 KiB for a test
        of a web framework (CPython 3.11: its table of them frees the values, not the keys).
        """
        before = self._read_heap()
        traced = _trace_again(rerunner)
        collect_all()
        after = self._read_heap()
        if before is not None and after is not None:
            self.tracing_left_bytes += max(0, after - before)
        return traced

    def _run_again(self, rerunner: Rerunner) -> tuple[dict[str, float], str | None]:
        """Return the figures of one more run, and why they are no evidence if they aren't."""
        sampler, fixtures = self._sampler, self._fixtures
        collect_all()
        # Memory that malloc holds free would hide a peak; resident memory that is free isn't growth.
        trim_heap()
        fixtures.start_test()
        window = sampler.peaks.open() if sampler.peaks else None
        sampler.reset_traced_peak()
        before = sampler.take()
        outcome = rerunner.run()
        traced_peak_bytes = sampler.read_traced_peak()
        if sampler.peaks and window:
            sampler.peaks.close(window)
        ended_s, ended_cpu_s = elapsed_s(), cpu_time_s()
        collect_all()
        trim_heap()
        after = sampler.take()
        ours = Deduction(duration_s=after.at_s - ended_s)
        if "cpu_s" in after.extra:
            after = replace(after, extra={**after.extra, "cpu_s": ended_cpu_s})
        values = measure_test(
            before,
            after,
            rss_peak_bytes=window.highest_bytes if window else None,
            own_peak_bytes=window.own_highest_bytes if window else None,
            traced_peak_bytes=traced_peak_bytes,
            deduction=fold(fixtures.deduction, ours),
            probes=self._probe_kinds,
        )
        return values, outcome.objection


def have_seen_enough(runs: Sequence[Mapping[str, float]], *, at_least: int, seconds: float) -> bool:
    """Return whether growth that came back in each of these runs, which took so long, is to be claimed."""
    if len(runs) < at_least:
        return False
    grown_bytes = sum(max(0.0, values.get("growth_bytes", 0.0)) for values in runs)
    return len(runs) >= _RUNS_AT_MOST or seconds > _ENOUGH_S or grown_bytes > _ENOUGH_BYTES


def _peak_is_gone(breaches: Sequence[Breach], values: Mapping[str, float]) -> bool:
    """Return whether a peak was blamed that the further run's resident memory doesn't show."""
    peaks = [breach.rule for breach in breaches if breach.rule.metric == "peak_bytes"]
    return bool(peaks) and not find_breaches(peaks, values)


def _trace_again(rerunner: Rerunner) -> tuple[int | None, str | None]:
    """Return the exact Python-level peak of one more run, in bytes, and why it is no evidence.

    None where the test itself has stopped the tracing.

    What the allocator held already isn't resident anew, so the resident peak of a further
    run may be smaller than the first one's; tracing sees it all the same.
    """
    # Garbage that is collected in the midst of it would make room that another run doesn't have.
    collect_all()
    started = not tracemalloc.is_tracing()
    if started:
        begin_tracing()
    try:
        tracemalloc.reset_peak()
        before_bytes = tracemalloc.get_traced_memory()[0]
        outcome = rerunner.run()
        if not tracemalloc.is_tracing():
            return None, outcome.objection
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        if started:
            tracemalloc.stop()
    return max(0, peak_bytes - before_bytes), outcome.objection
