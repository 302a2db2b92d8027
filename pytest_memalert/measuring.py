"""Measure a block of code: ``with measure("load") as m: ...``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType

from pytest_memalert.collector import collect_young
from pytest_memalert.errors import MemalertError
from pytest_memalert.measurement import Deduction, measure_test
from pytest_memalert.metrics import readings_for
from pytest_memalert.model import Sample
from pytest_memalert.probes.peak import PeakWindow, PeakWindows, share_peak_windows
from pytest_memalert.probes.sampler import Sampler

__all__ = ["MemoryReport", "measure"]

_READINGS = frozenset({"blocks"})
# How often resident memory is looked at where the kernel keeps no mark of its peak.
_INTERVAL_S = 0.01
# By the readings that they take: opening one costs up to a millisecond.
_samplers: dict[frozenset[str], Sampler] = {}


class MemoryReport:
    """Hold what a measured block took; the figures are known once the block has ended.

    It is the context manager that ``measure`` returns. Blocks may nest.
    """

    def __init__(self, name: str, sampler: Sampler) -> None:
        self.name = name
        self._sampler = sampler
        self._began: tuple[PeakWindows, PeakWindow, Sample] | None = None
        self._values: dict[str, float] | None = None

    def __enter__(self) -> MemoryReport:
        collect_young()
        windows = share_peak_windows(self._sampler.read_rss, interval_s=_INTERVAL_S)
        self._began = windows, windows.open(), self._sampler.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._began is not None
        windows, window, before = self._began
        ended = self._sampler.take()
        windows.close(window)
        windows.stop()
        collect_young()
        after = self._sampler.take()
        collected_s = after.at_s - ended.at_s
        if "cpu_s" in ended.extra:
            after = replace(after, extra={**after.extra, "cpu_s": ended.extra["cpu_s"]})
        self._values = measure_test(
            before,
            after,
            rss_peak_bytes=window.highest_bytes,
            own_peak_bytes=window.own_highest_bytes,
            deduction=Deduction(duration_s=collected_s),
        )

    @property
    def metrics(self) -> dict[str, float]:
        """Return every metric of the block by name; those that aren't known here are absent."""
        if self._values is None:
            raise MemalertError(
                f"measure({self.name!r}) has not ended: read its figures after the with block"
            )
        return dict(self._values)

    @property
    def growth_bytes(self) -> int | None:
        """Return what the block left behind, in bytes: the larger of resident and heap growth."""
        return self._whole("growth_bytes")

    @property
    def peak_bytes(self) -> int | None:
        """Return the highest resident memory during the block less that before it, in bytes."""
        return self._whole("peak_bytes")

    @property
    def blocks_growth(self) -> int | None:
        """Return how many more blocks Python has allocated after the block than before it."""
        return self._whole("blocks_growth")

    @property
    def duration_s(self) -> float:
        """Return the wall time of the block, in seconds."""
        return self.metrics["duration_s"]

    def _whole(self, name: str) -> int | None:
        value = self.metrics.get(name)
        return None if value is None else int(value)


def measure(name: str = "block", *, metrics: Iterable[str] = ()) -> MemoryReport:
    """Return a context manager that measures the block under it.

    ``metrics`` names those to be taken beyond memory and duration, such as ``cpu_s``; one that this
    platform lacks is absent.

    >>> with measure("build a table") as m:
    ...     table = [bytes(1000) for _ in range(1000)]
    >>> m.growth_bytes > 500_000
    True
    """
    # The one mark of a process is shared with whoever measures around the block.
    return MemoryReport(name, _sampler_of((_READINGS | readings_for(metrics)) - {"peak"}))


def _sampler_of(readings: frozenset[str]) -> Sampler:
    if readings not in _samplers:
        _samplers[readings] = Sampler(readings)
    return _samplers[readings]
