"""The metrics: each one's name, unit, category, formula, blind spots and cost, defined once.

Rules, markers, the JSON report and the documentation all read this table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pytest_memalert.model import AlertCategory
from pytest_memalert.records import record
from pytest_memalert.units import Unit, format_beside

__all__ = [
    "LEAST_CHANGES",
    "LONGEST_SERIES",
    "METRICS",
    "PEAKS",
    "RETAINED",
    "SESSION_PEAKS",
    "LeastChange",
    "Metric",
    "format_value",
    "readings_for",
    "unknown_metric",
]

#: The metrics of a test's peak: what the kernel saw resident, and what Python allocated, to the byte.
PEAKS = ("peak_bytes", "traced_peak_bytes")
#: The metrics of a whole session's peak.
SESSION_PEAKS = ("rss_peak_bytes",)
#: The metrics of what a test leaves behind, each time it runs.
RETAINED = ("leak_bytes_per_run", "growth_bytes", "blocks_growth")

#: How the value of a session is made from those of its tests, in each process;
#: the process with the largest is the one judged.
SessionValue = Literal["last", "largest", "sum", "smallest"]


@record(frozen=True, slots=True, kw_only=True)
class Metric:
    """One measurable quantity of a test; ``label`` is what alerts call it.

    ``reading`` names the probe reading it is made from; None means that the
    readings every test has (resident memory, heap, duration) suffice. Where it is just a figure of that
    reading, ``growth_of`` names the one whose growth it is, or ``is_level`` says that it is the one of its
    own name, after the test.
    ``repeatable`` says that a further run of the test gives a value that tells whether the first one's comes
    back; of another metric the first run counts.
    ``spike`` names the metric to which a rule's ``min_growth`` applies, ``category`` is that of a rule that
    names none.
    """

    name: str
    label: str
    unit: Unit
    formula: str
    blind_spots: str
    cost: str
    repeatable: bool
    reading: str | None = None
    growth_of: str | None = None
    is_level: bool = False
    session: SessionValue = "largest"
    spike: str | None = None
    category: AlertCategory = AlertCategory.GENERAL


@record(frozen=True, slots=True, kw_only=True)
class LeastChange:
    """Hold what is too small a change to mean anything from one run to another.

    That is ``absolute`` or, if larger, a ``share`` of the level.
    """

    absolute: float
    share: float

    def of(self, level: float) -> float:
        """Return the least change of a level, in its own unit."""
        return max(self.absolute, self.share * abs(level))


#: Runs that trends are looked for in, the latest: what was so before them is no news.
LONGEST_SERIES = 60

#: The least change by unit. For sizes see ``benchmarks/trends.py --reports`` and its table in
#: ``docs/reference/trends.md``: what the peaks of real tests scatter over runs. Times scatter by far more.
LEAST_CHANGES: dict[Unit, LeastChange] = {
    "bytes": LeastChange(absolute=512 * 1024, share=0.05),
    "bytes/s": LeastChange(absolute=512 * 1024, share=0.25),
    "bytes/hour": LeastChange(absolute=10 * 1024 * 1024, share=0.25),
    "seconds": LeastChange(absolute=0.1, share=0.25),
    "ratio": LeastChange(absolute=0.1, share=0.0),
    "count": LeastChange(absolute=10, share=0.1),
}

_FREE = "none beyond the readings every test has"

_TABLE = (
    Metric(
        name="rss_bytes",
        label="resident memory at the end",
        unit="bytes",
        category=AlertCategory.MEMORY_THRESHOLD,
        formula="resident memory after the test's teardown",
        blind_spots="pages never touched; memory swapped out; shared pages count in full",
        cost="2 us (Linux), 11 to 20 us elsewhere",
        repeatable=False,
        session="last",
    ),
    Metric(
        name="rss_peak_bytes",
        label="highest resident memory",
        unit="bytes",
        category=AlertCategory.MEMORY_THRESHOLD,
        formula="highest resident memory from before set-up to after teardown, "
        "without the set-up of wider fixtures",
        blind_spots="Linux: 128 KiB for each processor, which the kernel may count late; "
        "elsewhere: spikes shorter than the sampling interval",
        cost="4 to 9 us (Linux); elsewhere a sampling thread",
        reading="peak",
        repeatable=True,
    ),
    Metric(
        name="peak_bytes",
        label="peak",
        unit="bytes",
        category=AlertCategory.MEMORY_THRESHOLD,
        formula="rss_peak_bytes - resident memory before the test",
        blind_spots="memory that the allocator already held is not resident anew",
        cost="as rss_peak_bytes",
        reading="peak",
        repeatable=True,
    ),
    Metric(
        name="rss_growth_bytes",
        label="resident growth",
        unit="bytes",
        category=AlertCategory.MEMORY_GROWTH,
        formula="resident memory after - before, less what wider fixtures brought and captured output that "
        "pytest keeps",
        blind_spots="pages never touched; memory reused from what the allocator already held",
        cost=_FREE,
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="heap_growth_bytes",
        label="heap growth",
        unit="bytes",
        category=AlertCategory.MEMORY_GROWTH,
        formula="bytes handed out by malloc after - before, less what wider fixtures brought and captured "
        "output that pytest keeps",
        blind_spots="Python objects of up to 512 bytes; memory that bypasses malloc; absent on musl",
        cost="2 us; up to 8 ms on a badly fragmented heap, where it is read more rarely",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="growth_bytes",
        label="growth",
        unit="bytes",
        category=AlertCategory.MEMORY_GROWTH,
        formula="the larger of rss_growth_bytes and heap_growth_bytes",
        blind_spots="small Python objects that fit into memory already resident",
        cost=_FREE,
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="blocks_growth",
        label="block growth",
        unit="count",
        category=AlertCategory.MEMORY_GROWTH,
        formula="sys.getallocatedblocks() after - before, less what wider fixtures brought",
        blind_spots="memory that Python did not allocate; what a container's spare room takes in",
        cost="1 us on a small heap, 0.1 to 0.7 ms with 2 million objects",
        reading="blocks",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="growth_rate_bytes_per_s",
        label="growth rate",
        unit="bytes/s",
        category=AlertCategory.MEMORY_GROWTH,
        formula="growth_bytes / duration_s, of growth that came back on repetition",
        blind_spots="as growth_bytes; means nothing below min_growth",
        cost=_FREE,
        repeatable=True,
        spike="growth_bytes",
    ),
    Metric(
        name="efficiency_ratio",
        label="memory efficiency",
        unit="ratio",
        category=AlertCategory.MEMORY_EFFICIENCY,
        formula="rss_bytes / rss_peak_bytes",
        blind_spots="a large process hides a large spike",
        cost="as rss_peak_bytes",
        reading="peak",
        repeatable=True,
        session="smallest",
        spike="peak_bytes",
    ),
    Metric(
        name="leak_bytes_per_run",
        label="leak per run",
        unit="bytes",
        category=AlertCategory.MEMORY_LEAK,
        formula="bytes that each further run of the test leaves behind, proven by repetition",
        blind_spots="tests that can't be run again end as unclear",
        cost="re-runs of suspect tests",
        reading="leak",
        repeatable=False,
    ),
    Metric(
        name="leak_blocks_per_run",
        label="leaked blocks per run",
        unit="count",
        category=AlertCategory.MEMORY_LEAK,
        formula="allocated blocks that each further run leaves behind, proven by repetition",
        blind_spots="as leak_bytes_per_run",
        cost="re-runs of suspect tests",
        reading="leak",
        repeatable=False,
    ),
    Metric(
        name="leak_handles_per_run",
        label="leaked descriptors and threads per run",
        unit="count",
        category=AlertCategory.MEMORY_LEAK,
        formula="open descriptors and running threads that each further run leaves behind",
        blind_spots="as leak_bytes_per_run",
        cost="re-runs of suspect tests",
        reading="leak",
        repeatable=False,
    ),
    Metric(
        name="leak_rate_bytes_per_hour",
        label="leak rate",
        unit="bytes/hour",
        category=AlertCategory.MEMORY_LEAK,
        formula="leak_bytes_per_run / seconds per run x 3600",
        blind_spots="as leak_bytes_per_run",
        cost="re-runs of suspect tests",
        reading="leak",
        repeatable=False,
    ),
    Metric(
        name="traced_peak_bytes",
        label="traced peak",
        unit="bytes",
        category=AlertCategory.MEMORY_THRESHOLD,
        formula="tracemalloc's peak during the test - its current size before",
        blind_spots="memory not allocated through Python's allocators",
        cost="2 to 4 times the run time (--memalert-trace)",
        reading="traced",
        repeatable=True,
    ),
    Metric(
        name="traced_growth_bytes",
        label="traced growth",
        unit="bytes",
        category=AlertCategory.MEMORY_GROWTH,
        formula="tracemalloc's current size after - before",
        blind_spots="as traced_peak_bytes",
        cost="as traced_peak_bytes",
        reading="traced",
        growth_of="traced_bytes",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="uss_bytes",
        label="unique memory",
        unit="bytes",
        category=AlertCategory.MEMORY_THRESHOLD,
        formula="memory unique to the process after the test (psutil's USS)",
        blind_spots="shared pages",
        cost="0.3 to 12 ms",
        reading="uss",
        is_level=True,
        repeatable=False,
        session="last",
    ),
    Metric(
        name="children_rss_bytes",
        label="resident memory of child processes",
        unit="bytes",
        category=AlertCategory.MEMORY_THRESHOLD,
        formula="resident memory of the child processes that the test started, alive after its call, summed",
        blind_spots="children that ended before the test's call did; those that were there before, or that a "
        "wider fixture started; pages shared among them count for each",
        cost="2 ms and more",
        reading="children",
        is_level=True,
        repeatable=False,
    ),
    Metric(
        name="open_fds_growth",
        label="descriptor growth",
        unit="count",
        category=AlertCategory.MEMORY_GROWTH,
        formula="open descriptors (handles on Windows) after - before",
        blind_spots="one closed and another leaked in the same test cancel out",
        cost="12 us",
        reading="fds",
        growth_of="fds",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="threads_growth",
        label="thread growth",
        unit="count",
        category=AlertCategory.MEMORY_GROWTH,
        formula="threads of the process after - before; where no rule asks for it and tests are checked for "
        "leaks, how many more of Python's own there are, if any",
        blind_spots="a thread that is about to end still counts; unless a rule asks, threads of C code",
        cost="20 us where a rule asks",
        reading="threads",
        growth_of="threads",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="cpu_s",
        label="processor time",
        unit="seconds",
        category=AlertCategory.CPU_USAGE,
        formula="processor time (user and system) of the process over the test",
        blind_spots="child processes; other threads' work counts too",
        cost="1 us",
        reading="cpu",
        growth_of="cpu_s",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="disk_read_bytes",
        label="disk reads",
        unit="bytes",
        category=AlertCategory.DISK_IO,
        formula="bytes the process read from storage over the test",
        blind_spots="reads served from the page cache; absent on macOS",
        cost="15 us",
        reading="disk",
        growth_of="disk_read_bytes",
        repeatable=False,
        session="sum",
    ),
    Metric(
        name="disk_written_bytes",
        label="disk writes",
        unit="bytes",
        category=AlertCategory.DISK_IO,
        formula="bytes the process caused to be written to storage over the test",
        blind_spots="file systems in memory; absent on macOS",
        cost="15 us",
        reading="disk",
        growth_of="disk_written_bytes",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="net_sent_bytes",
        label="network bytes sent (system-wide)",
        unit="bytes",
        category=AlertCategory.NETWORK_IO,
        formula="bytes sent over all network interfaces of the machine during the test",
        blind_spots="system-wide: every other process counts too",
        cost="60 us",
        reading="net",
        growth_of="net_sent_bytes",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="net_received_bytes",
        label="network bytes received (system-wide)",
        unit="bytes",
        category=AlertCategory.NETWORK_IO,
        formula="bytes received over all network interfaces of the machine during the test",
        blind_spots="system-wide: every other process counts too",
        cost="60 us",
        reading="net",
        growth_of="net_received_bytes",
        repeatable=True,
        session="sum",
    ),
    Metric(
        name="duration_s",
        label="duration",
        unit="seconds",
        category=AlertCategory.APPLICATION_LATENCY,
        formula="wall time from before set-up to after teardown, without wider fixtures",
        blind_spots="a busy machine",
        cost=_FREE,
        repeatable=True,
        session="sum",
    ),
)

#: Every metric by name, in the order of the documentation.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}


def format_value(metric: str, value: float, *, limit: float) -> str:
    """Return a value of a metric for people, in the units of its limit; of a probe's, the bare number."""
    known = METRICS.get(metric)
    return f"{value:g}" if known is None else format_beside(value, limit, known.unit)


def unknown_metric(name: str) -> Metric:
    """Return a stand-in for a metric that only a probe or a report knows: a plain number."""
    return Metric(
        name=name,
        label=name,
        unit="count",
        formula="a probe's reading, or the report's own",
        blind_spots="those of the probe",
        cost="that of the probe",
        repeatable=False,
        session="last",
    )


def readings_for(metrics: Iterable[str]) -> frozenset[str]:
    """Return the probe readings without which these metrics have no data."""
    return frozenset(
        reading for name in metrics if name in METRICS and (reading := METRICS[name].reading) is not None
    )
