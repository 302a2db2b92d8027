"""Measure each test, from the sample before it to the metrics it has less what isn't its own."""

from __future__ import annotations

from _thread import _count as count_threads
from dataclasses import replace
from time import sleep

from pytest_memalert.clock import elapsed_s
from pytest_memalert.measurement import measure_test
from pytest_memalert.model import Sample
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.measuring.attempt import Attempt
from pytest_memalert.plugin.measuring.letting_go import LettingGo
from pytest_memalert.plugin.measuring.scopes import WiderFixtures
from pytest_memalert.plugin.pytest_internals import kept_output_bytes
from pytest_memalert.probes.malloc import trim_heap
from pytest_memalert.probes.sampler import Sampler

__all__ = ["Meter"]

_REPORT_MARGIN = {"blocks_growth": 100, "heap_growth_bytes": 4096, "rss_growth_bytes": 32768}
_LARGE_GARBAGE_BYTES = 64 * 1024
# Threads that are ending get a moment for it, and those of many re-runs longer: a busy machine is slow.
_ENDING_S, _LAST_ENDING_S = 0.0005, 0.02
# What pytest keeps of a subtest's report for its summary: 15 blocks for unittest's, 21 for its own.
_BLOCKS_PER_PART = 15


class Meter:
    """Measure the attempts of one process; ``keeps_peaks`` where a baseline is held against them."""

    def __init__(
        self,
        given: Given,
        sampler: Sampler,
        fixtures: WiderFixtures,
        letting_go: LettingGo,
        *,
        keeps_peaks: bool,
    ) -> None:
        self._sampler = sampler
        self._fixtures = fixtures
        self._letting_go = letting_go
        self._keeps_peaks = keeps_peaks
        self._checks_leaks = given.settings.leaks != "off"
        self._probe_kinds = {probe.name: probe.kind for probe in given.probes}
        # The blocks after the last test, with empty free lists.
        self._last_blocks: int | None = None
        #: The sample after the last test, where only pytest has been at work since.
        self.last: Sample | None = None

    def begin(self, attempt: Attempt) -> Sample:
        """Take the sample before a test, and return it."""
        sampler = self._sampler
        self._fixtures.start_test()
        sampler.reset_traced_peak()
        if sampler.children is not None:
            sampler.children.start_test()
        # Where the free lists were emptied, what pytest let go of since then lies in them: no block less.
        blocks = self._last_blocks if self._letting_go.is_emptying else None
        attempt.before = before = sampler.take(since=self.last, blocks=blocks)
        self.last = None
        if sampler.peaks is not None:
            attempt.window = sampler.peaks.open(level_bytes=before.rss_bytes)
        return before

    def measure(self, attempt: Attempt) -> dict[str, float]:
        """Return the metrics of an attempt that has ended, without the garbage it made."""
        if self._checks_leaks or self._keeps_peaks:
            self.close_window(attempt)
            self._letting_go.after_span()
            if self._keeps_peaks:
                # What malloc holds free would hide the next test's peak, which a baseline is held against.
                trim_heap()
            self._letting_go.end_test()
            return self._measure(attempt)
        values = self._measure(attempt)
        # Suspicion counts single blocks; without it, garbage matters where it is large.
        if values.get("growth_bytes", 0.0) <= _LARGE_GARBAGE_BYTES:
            return values
        self.close_window(attempt)
        self._letting_go.after_span()
        return self._measure(attempt)

    def measure_so_far(self, attempt: Attempt) -> dict[str, float]:
        """Return the metrics of an attempt whose last report is yet to be made, with a margin for it."""
        if self._sampler.peaks is not None and attempt.window is not None:
            self._sampler.peaks.peek(attempt.window)
        self._letting_go.after_span()
        values = self._measure(attempt, has_ended=False)
        # What the report takes must not make it stand out later.
        for metric, margin in _REPORT_MARGIN.items():
            if metric in values:
                values[metric] += margin
        return values

    def start_afresh(self, attempt: Attempt) -> None:
        """Have the next test begin with a sample of its own, after an attempt that more came after.

        A thread of a re-run that ended only in the next test would hide one that this leaves running.
        """
        self.last = None
        if self._sampler.peaks is not None:
            self._sampler.peaks.forget()
        until_s = elapsed_s() + _LAST_ENDING_S
        while attempt.facts.reruns and count_threads() > attempt.threads and elapsed_s() < until_s:
            sleep(_ENDING_S)
        if attempt.facts.reruns and self._checks_leaks:
            self._letting_go.after_reruns()
        if self._letting_go.is_emptying:
            self._letting_go.after_span()
            self._last_blocks = self._sampler.read_blocks()

    def close_window(self, attempt: Attempt) -> None:
        """End the window over the attempt's peak, if it hasn't yet: what is done next isn't the test's."""
        if self._sampler.peaks is not None and attempt.window is not None:
            self._sampler.peaks.close(attempt.window)

    def _measure(self, attempt: Attempt, *, has_ended: bool = True) -> dict[str, float]:
        """Return the metrics of the attempt as of now; end its window if it has ended."""
        sampler, before = self._sampler, attempt.before
        assert before is not None
        traced_peak_bytes = sampler.read_traced_peak()
        self.last = after = sampler.take()
        self._last_blocks = after.blocks
        window = attempt.window
        if has_ended and window is not None and sampler.peaks is not None:
            # With the level that the sample has read already: to read it costs 2 us.
            sampler.peaks.close(window, level_bytes=after.rss_bytes)
        if attempt.children:
            after = replace(after, extra={**after.extra, **attempt.children})
        deduction = self._fixtures.deduction
        if output_bytes := kept_output_bytes(attempt.item):
            deduction = replace(
                deduction,
                rss_bytes=deduction.rss_bytes + output_bytes,
                heap_bytes=deduction.heap_bytes + output_bytes,
            )
        if attempt.parts:
            deduction = replace(deduction, blocks=deduction.blocks + _BLOCKS_PER_PART * attempt.parts)
        values = measure_test(
            before,
            after,
            rss_peak_bytes=window.highest_bytes if window is not None else None,
            own_peak_bytes=window.own_highest_bytes if window is not None else None,
            traced_peak_bytes=traced_peak_bytes,
            deduction=deduction,
            probes=self._probe_kinds,
        )
        # Threads that Python started are counted in 0.1 us; those that are ending get a moment for it.
        if self._checks_leaks and count_threads() > attempt.threads:
            sleep(_ENDING_S)
            if (left := count_threads() - attempt.threads) > 0:
                values.setdefault("threads_growth", float(left))
        return values
