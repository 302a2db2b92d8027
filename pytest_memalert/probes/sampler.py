"""Samples of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite, nan
from typing import Any

from pytest_memalert.clock import elapsed_s
from pytest_memalert.model import Probe, Sample
from pytest_memalert.probes.children import Children
from pytest_memalert.probes.demand import open_demand_readings
from pytest_memalert.probes.memory import (
    Rationed,
    open_blocks_reader,
    open_heap_reader,
    open_rss_reader,
    read_nothing,
)
from pytest_memalert.probes.peak import PeakWindows, share_peak_windows

__all__ = ["Sampler"]

# pytest logs a test's reports and begins the next test in a quarter of this time, and hardly allocates.
_FRESH_S = 0.001

_NOTHING: Mapping[str, float] = {}


class Sampler:
    """Take samples with the readings that the metrics in force need, and no others.

    ``missing`` says why a reading that was asked for is not to be had here. ``exact`` asks for
    a reading of its own before each test, where a limit is on so little that what pytest itself does between
    two tests would count. Not ``rationed``, heap and blocks are read each time, whatever that costs on
    a heap with many holes.
    """

    def __init__(
        self,
        readings: Iterable[str],
        *,
        interval_s: float = 0.01,
        probes: Iterable[Probe] = (),
        exact: bool = True,
        rationed: bool = True,
    ) -> None:
        wanted = frozenset(readings)
        self.read_rss = open_rss_reader()
        heap = open_heap_reader()
        self._heap = Rationed(heap) if heap and rationed else heap
        blocks = open_blocks_reader() if "blocks" in wanted else None
        self.read_blocks = Rationed(blocks) if blocks and rationed else blocks or read_nothing
        readers, self.missing = open_demand_readings(wanted)
        # Child processes are looked at while the test's own are still alive: after the call.
        self.children = Children() if readers.pop("children", None) else None
        self._demand = tuple(readers.values())
        self._probes = tuple(probes)
        self._keeps_fresh = not (exact or self._demand or self._probes)
        self.peaks: PeakWindows | None = None
        if "peak" in wanted:
            self.peaks = share_peak_windows(self.read_rss, interval_s=interval_s)
        self.traced = "traced" in readers

    def take(self, *, since: Sample | None = None, blocks: int | None = None) -> Sample:
        """Return a sample of everything that is wanted.

        ``since`` is a sample after which only pytest has been at work. Where it is no older than a
        millisecond, nothing is read again unless ``exact`` samples are wanted: in between two tests, with
        cold caches, each reading costs three to five times what it does in a loop (benchmarks/readings.py).
        Where resident memory is what it was then, so is the heap, near enough: its reading costs 10 to 40 us
        once the heap has holes. ``blocks`` stand for their reading where they are known.
        """
        at_s = elapsed_s()
        if since is not None and self._keeps_fresh and at_s - since.at_s < _FRESH_S:
            return Sample(
                at_s=at_s, rss_bytes=since.rss_bytes, heap_bytes=since.heap_bytes, blocks=since.blocks
            )
        rss_bytes = self.read_rss()
        if since is not None and since.heap_bytes is not None and since.rss_bytes == rss_bytes:
            heap_bytes: int | None = since.heap_bytes
        else:
            heap_bytes = self._heap() if self._heap else None
        return Sample(
            at_s=at_s,
            rss_bytes=rss_bytes,
            heap_bytes=heap_bytes,
            blocks=self.read_blocks() if blocks is None else blocks,
            extra=self._read_extra() if self._demand or self._probes else _NOTHING,
        )

    def read_children(self) -> Mapping[str, float]:
        """Return the resident memory of the test's child processes, where a rule asks for it."""
        return self._guarded(self.children.read) if self.children is not None else _NOTHING

    def close(self) -> None:
        """End what was begun for the readings: a thread, where the kernel keeps no mark."""
        if self.peaks is not None:
            self.peaks.stop()

    def reset_traced_peak(self) -> None:
        """Begin tracemalloc's peak anew; nothing when it isn't tracing."""
        if self.traced:
            import tracemalloc

            if tracemalloc.is_tracing():
                tracemalloc.reset_peak()

    def read_traced_peak(self) -> int | None:
        """Return tracemalloc's peak since the last reset, in bytes; None when it isn't tracing."""
        if not self.traced:
            return None
        import tracemalloc

        return tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else None

    def _read_extra(self) -> Mapping[str, float]:
        extra: dict[str, float] = {}
        for read in self._demand:
            extra.update(self._guarded(read))
        for probe in self._probes:
            try:
                answer: Any = probe.read()
                # A number of another type (numpy's, a bool) would not pass to another process or a file.
                number = nan if isinstance(answer, str) else float(answer)
            except Exception:  # a probe is somebody's code: its trouble is "no data"
                continue
            if isfinite(number):
                extra[probe.name] = answer if type(answer) is int else number
        return extra

    @staticmethod
    def _guarded(read: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
        import psutil

        try:
            return read()
        except (OSError, ValueError, AttributeError, psutil.Error):
            return _NOTHING
