"""The records, in the order data flows; read this first.

sample -> measurement -> verdict -> alert -> run. None is changed once made. ``None``
means "not known", never "zero". Quantities end in their unit.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import total_ordering
from typing import Literal

from pytest_memalert.records import record
from pytest_memalert.units import Unit

__all__ = [
    "AlertCategory",
    "AlertCondition",
    "AlertLife",
    "AlertRule",
    "AlertSeverity",
    "Comparison",
    "ComparisonStatus",
    "Environment",
    "FixtureGrowth",
    "GateResult",
    "HistoryThreshold",
    "LeakAnalysis",
    "LeakChecks",
    "LeakStatus",
    "LeakVerdict",
    "Measurement",
    "Note",
    "Overhead",
    "PerformanceAlert",
    "Probe",
    "Run",
    "Sample",
    "SeriesPoint",
    "Signal",
    "SignalGrowth",
    "Survivor",
    "make_id",
]

# ------------------------------------------------------------------ the words


@total_ordering
class AlertSeverity(enum.Enum):
    """Say how bad an alert is: ``info < warning < critical``."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, AlertSeverity):
            return NotImplemented
        order = list(AlertSeverity)
        return order.index(self) < order.index(other)


class AlertCategory(enum.Enum):
    """Say what an alert is about."""

    MEMORY_LEAK = "memory_leak"
    MEMORY_GROWTH = "memory_growth"
    MEMORY_EFFICIENCY = "memory_efficiency"
    MEMORY_THRESHOLD = "memory_threshold"
    MEMORY_REGRESSION = "memory_regression"
    CPU_USAGE = "cpu_usage"
    DISK_IO = "disk_io"
    NETWORK_IO = "network_io"
    APPLICATION_LATENCY = "application_latency"
    GENERAL = "general"


class AlertCondition(enum.Enum):
    """Compare what was observed with a threshold; the alert fires where it holds."""

    GREATER_THAN = ">"
    LESS_THAN = "<"
    EQUALS = "=="
    NOT_EQUALS = "!="

    @classmethod
    def _missing_(cls, value: object) -> AlertCondition | None:
        # The spelled-out names are the seed system's; both are accepted everywhere.
        return next((member for member in cls if member.name.lower() == value), None)

    def holds(self, observed: float, threshold: float) -> bool:
        """Return whether ``observed`` breaks the threshold; a value equal to its limit passes ``>``."""
        if self is AlertCondition.GREATER_THAN:
            return observed > threshold
        if self is AlertCondition.LESS_THAN:
            return observed < threshold
        if self is AlertCondition.EQUALS:
            return observed == threshold
        return observed != threshold


RuleScope = Literal["test", "session"]
#: How a value lies to the baseline's: above what is allowed, below it, or neither.
ComparisonStatus = Literal["regression", "improvement", "within"]
LeakStatus = Literal["clean", "leaking", "unclear", "unchecked"]
#: How the reason begins of a test whose marker has it never run again; what the marker says follows.
OPTED_OUT = "its marker opts out"
#: The reason of an unchecked test that is no suspect, where a budget covers a part of the suite at a time.
OUT_OF_TURN = "its turn comes in a later session, as far as the budget goes"
#: The reasons of an unchecked suspect whose first run was like one that was checked in an earlier session.
AS_BEFORE = "it left what it did when an earlier session checked it and found no leak"
UNCLEAR_BEFORE = "it left what it did when an earlier session checked it, of which it stayed unclear"
#: Which tests are run again: none, those whose first run stands out, every one.
LeakChecks = Literal["off", "suspects", "all"]
#: What is read of an operation from run to run. "lists" has the bytes in use of the lists and buffers that
#: were seen to grow.
Signal = Literal["blocks", "descriptors", "threads", "heap", "resident", "mapped", "lists"]
# What one more of a signal takes at least: no block of pymalloc's is smaller.
_LEAST_BYTES: Mapping[str, float] = {"blocks": 16, "heap": 1, "resident": 1, "mapped": 1, "lists": 1}

# ----------------------------------------------------------------- measured


def make_id(size_bytes: int = 6) -> str:
    """Return a new identifier, in hexadecimal digits, two for each byte of chance."""
    return os.urandom(size_bytes).hex()


@record(frozen=True, slots=True, kw_only=True)
class Probe:
    """Add a reading of your own; rules can name it like any metric.

    ``read`` returns the current value in the base of ``unit``, or None when it isn't known;
    it is called before and after each test, so it must be quick. ``kind`` says whether
    the metric is what the test added (``growth``) or the value after it (``level``).
    """

    name: str
    unit: Unit
    read: Callable[[], float | None]
    kind: Literal["growth", "level"] = "growth"
    description: str = ""


@record(frozen=True, slots=True, kw_only=True)
class Sample:
    """Hold one reading of the process.

    ``extra`` has the readings that only some rules need, by the name of the
    reading: ``fds``, ``threads``, ``cpu_s``, ``uss_bytes``, ...
    """

    at_s: float
    rss_bytes: int | None
    heap_bytes: int | None = None
    blocks: int | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


@record(frozen=True, slots=True, kw_only=True)
class LeakVerdict:
    """Say whether a test leaks, and how that is known.

    ``brief`` says that a test was to be checked, and was clean, but that there was no time to run it long
    enough for a leak of some runs only.
    """

    status: LeakStatus = "unchecked"
    reason: str | None = None
    bytes_per_run: float | None = None
    blocks_per_run: float | None = None
    runs: int = 0
    rate_bytes_per_hour: float | None = None
    brief: bool = False


UNCHECKED = LeakVerdict()


@record(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Hold what one test took: its first run's metrics, by name (see ``metrics.METRICS``).

    A metric that was not sampled, or that the platform lacks, is absent.
    ``phases`` has the growth of resident memory, in bytes, in set-up, call and teardown.
    """

    nodeid: str
    worker: str
    outcome: str
    component: str
    rss_before_bytes: int | None
    values: Mapping[str, float]
    phases: Mapping[str, int] = field(default_factory=dict)
    leak: LeakVerdict = UNCHECKED


@record(frozen=True, slots=True, kw_only=True)
class FixtureGrowth:
    """Hold what one class-, module-, package- or session-scoped fixture brought.

    ``growth_bytes`` is what remained after its teardown; None while it is still set up.
    """

    name: str
    scope: str
    location: str
    worker: str
    nodeid: str
    setup_growth_bytes: int
    peak_bytes: int | None
    growth_bytes: int | None


# ------------------------------------------------------------------- judged


@record(frozen=True, slots=True, kw_only=True)
class HistoryThreshold:
    """Say what of the values in earlier runs a rule compares with; ``text`` is as it was written.

    ``value`` is the percentile (0 to 100), how many median absolute deviations from the median, or the
    change of a step or drift: a share of the level if ``is_share``, else in the metric's base unit.
    Of ``runs`` runs at most, and nothing is judged where there are fewer than ``minimum``.
    """

    kind: Literal["percentile", "mad", "step", "drift"]
    value: float
    runs: int
    minimum: int
    text: str
    is_share: bool = False


# Not a record: all of a process share those by default.
@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """Say when to alert: ``metric`` ``condition`` ``threshold``, in the metric's base unit.

    Where the rule is held ``against`` earlier runs, ``threshold`` is NaN, with which no value
    compares, until it is known for the test at hand.

    ``tests`` are globs over node ids; empty means every test. ``min_growth`` is the
    growth (for ``efficiency_ratio``: the spike), in bytes, below which the rule is silent.
    ``origin`` says where the rule was written, for error messages and ``memalert rules``.
    A rule is known by its name and severity: two severities of a name are a rule pair.
    """

    name: str
    category: AlertCategory
    severity: AlertSeverity
    metric: str
    condition: AlertCondition = AlertCondition.GREATER_THAN
    threshold: float
    scope: RuleScope = "test"
    tests: tuple[str, ...] = ()
    component: str | None = None
    min_growth: int | None = None
    message: str | None = None
    recommendations: tuple[str, ...] = ()
    enabled: bool = True
    origin: str = "default"
    against: HistoryThreshold | None = None


@record(frozen=True, slots=True, kw_only=True)
class Survivor:
    """Describe one kind of object that a leak leaves behind in each run, or in so many ``runs``."""

    type: str
    count: int
    size_bytes: int
    allocated_at: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    runs: int = 1

    @property
    def per_run(self) -> float:
        """Return how many a single run leaves."""
        return self.count / self.runs

    @property
    def bytes_per_run(self) -> float:
        """Return how large what a single run leaves is, in bytes."""
        return self.size_bytes / self.runs

    @property
    def left_by(self) -> str:
        """Return what leaves it: "each run leaves"."""
        return "each run leaves" if self.runs == 1 else f"each {self.runs:,} runs leave"

    @property
    def told(self) -> str:
        """Return how many there are of what: "3 dict"; "1 bytes" would be read as a size."""
        if self.type == "bytes":
            return f"{self.count:,} bytes {'object' if self.count == 1 else 'objects'}"
        part, of, whole = self.type.partition(" of ")
        has_plural = of or " " in part  # "element of list", "untracked object"; a type's name has none
        return f"{self.count:,} {part}{'s' if has_plural and self.count != 1 else ''}{of}{whole}"


@record(frozen=True, slots=True, kw_only=True)
class SignalGrowth:
    """Hold how one signal (``blocks``, ``heap``, ``descriptors``, ...) grew over ``runs`` runs.

    ``every_run`` says that each single run that was read added exactly ``per_run``.
    """

    signal: str
    per_run: float
    runs: int
    every_run: bool = False


@record(frozen=True, slots=True, kw_only=True)
class LeakAnalysis:
    """Hold what repeating an operation showed.

    ``duration_s`` is the median of one run. ``growth`` is the evidence, signal by signal.
    The rest is what attribution found of a confirmed leak: ``survivors``, what each run leaves
    behind; ``component``, the package or file that made them; ``confidence``, the share of runs
    that left some; ``signature``, by which the leak is known wherever it shows;
    ``grown_at``, where memory grew that no new object accounts for; and what to do. ``brief`` is as
    in a ``LeakVerdict``.
    """

    status: LeakStatus
    reason: str | None = None
    bytes_per_run: float | None = None
    blocks_per_run: float | None = None
    runs: int = 0
    duration_s: float | None = None
    rate_bytes_per_hour: float | None = None
    growth: tuple[SignalGrowth, ...] = ()
    survivors: tuple[Survivor, ...] = ()
    component: str = ""
    confidence: float | None = None
    signature: str | None = None
    grown_at: tuple[str, ...] = ()
    recommendations: tuple[str, ...] = ()
    brief: bool = False

    @property
    def handles_per_run(self) -> float:
        """Return how many descriptors and threads each run leaves open or running."""
        return sum(each.per_run for each in self.growth if each.signal in ("descriptors", "threads"))

    @property
    def least_bytes_per_run(self) -> float:
        """Return the bytes that each run takes; where they aren't known, what grew has so many at least."""
        return self.bytes_per_run or max(
            (_LEAST_BYTES.get(each.signal, 0) * each.per_run for each in self.growth), default=0.0
        )

    @property
    def verdict(self) -> LeakVerdict:
        """Return the part that a measurement carries."""
        return LeakVerdict(
            status=self.status,
            reason=self.reason,
            bytes_per_run=self.bytes_per_run,
            blocks_per_run=self.blocks_per_run,
            runs=self.runs,
            rate_bytes_per_hour=self.rate_bytes_per_hour,
            brief=self.brief,
        )


# Not a record: hooks of anybody's are given it, and what they set on it would be seen by all.
@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceAlert:
    """Hold one finding: what grew, how much, against what, and what to do.

    ``observed`` and ``limit`` are in the base unit of ``metric``. ``inhibited_by``
    names what keeps the alert from speaking (a higher severity, the test's own failure).
    ``growth`` is the evidence of a leak, signal by signal, ``survivors`` what each run leaves behind.
    ``location`` is where its first test is defined, ``file:line`` from the top of the repository.
    """

    id: str
    fingerprint: str
    rule: str
    category: AlertCategory
    severity: AlertSeverity
    component: str
    nodeids: tuple[str, ...]
    metric: str
    observed: float
    limit: float
    condition: AlertCondition
    message: str
    recommendations: tuple[str, ...] = ()
    growth: tuple[SignalGrowth, ...] = ()
    survivors: tuple[Survivor, ...] = ()
    raised_at: datetime
    acknowledged: str | None = None
    inhibited_by: str | None = None
    location: str | None = None

    @property
    def speaks(self) -> bool:
        """Return whether it is told of, and may fail a test: nobody acknowledged it, nothing inhibits it."""
        return self.acknowledged is None and self.inhibited_by is None

    def with_component(self, component: str) -> PerformanceAlert:
        """Return the same alert for another component."""
        return replace(self, component=component)

    def with_recommendations(self, *recommendations: str) -> PerformanceAlert:
        """Return the same alert with these recommendations added."""
        return replace(self, recommendations=(*self.recommendations, *recommendations))


@record(frozen=True, slots=True, kw_only=True)
class Note:
    """Say something that is no alert: a metric without data, growth that was one-time, ..."""

    kind: Literal[
        "no_data",
        "no_history",
        "one_time",
        "not_repeated",
        "unclear",
        "already_above",
        "acknowledgment",
        "resolved",
        "trend",
        "trouble",
    ]
    nodeid: str | None
    text: str


@record(frozen=True, slots=True, kw_only=True)
class AlertLife:
    """Hold what is remembered of a fingerprint over sessions: when it was seen, how bad at its worst.

    ``alert`` is its latest occurrence. ``resolved_at`` is set while it is gone; ``reopened`` counts
    its returns. ``notified`` is the observed value that was last sent out, at ``notified_at``: None
    where nothing was since it came (back). ``leaks`` is how closely its tests were looked at when it was
    last seen (the setting of that name): who looks less closely later can't say that a leak is gone.
    """

    fingerprint: str
    alert: PerformanceAlert
    first_seen: datetime
    last_seen: datetime
    times: int = 1
    worst: float
    resolved_at: datetime | None = None
    reopened: int = 0
    notified: float | None = None
    notified_at: datetime | None = None
    leaks: LeakChecks = "suspects"


# ------------------------------------------------------- compared with a baseline


@record(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Hold one metric of one test, or of the session, beside what the baseline has for it.

    ``nodeid`` is ``session`` for the whole. ``allowance`` is how far above ``baseline`` a value may lie;
    all three are in the metric's base unit. ``further`` are the values of the runs that confirmed it.
    """

    nodeid: str
    metric: str
    baseline: float
    observed: float
    allowance: float
    status: ComparisonStatus
    further: tuple[float, ...] = ()


@record(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Hold what comparing a run with a baseline gave.

    ``comparisons`` are the regressions and improvements; ``compared`` counts the tests that were held
    against the baseline. ``new`` tests are not in it, ``missing`` ones are there and were not collected;
    ``renamed`` pairs old and new node ids. ``uncompared`` ones were collected, but skipped or failed by
    themselves. ``strict`` says whether new tests fail; ``partial`` that only part of the suite was
    selected, so that nothing can be said to be missing. ``wholes`` are what was compared beside the
    tests: the session, the collection.
    ``refusal`` says why nothing could be compared (no entries for this environment, ...).
    """

    path: str
    environment: str
    compared: int = 0
    comparisons: tuple[Comparison, ...] = ()
    new: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    uncompared: tuple[str, ...] = ()
    wholes: tuple[str, ...] = ()
    strict: bool = False
    partial: bool = False
    refusal: str | None = None


# -------------------------------------------------------------------- a run


@record(frozen=True, slots=True, kw_only=True)
class Environment:
    """Say where a run took place; only runs of like environments compare.

    ``installation`` tells those apart whose Python or packages lie in different places: a digest of these.
    """

    implementation: str
    python: str
    platform: str
    machine: str
    traced: bool
    pytest: str | None = None
    memalert: str
    installation: str | None = None

    @property
    def key(self) -> str:
        """Return what environments have in common whose figures compare: "cpython-3.11-linux-x86_64"."""
        minor = ".".join(self.python.split(".")[:2])
        parts = [self.implementation, minor, self.platform, self.machine]
        return "-".join([*parts, "traced"] if self.traced else parts).lower()


@record(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Say where the time of a run went, in seconds, summed over workers."""

    tests_s: float = 0.0
    screening_s: float = 0.0
    reruns_s: float = 0.0
    reporting_s: float = 0.0


@record(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold everything one session found; reports, channels and history read this alone.

    ``commit`` is what the working tree's version control had checked out; None where it is not known.
    """

    run_id: str
    started_at: datetime
    duration_s: float
    environment: Environment
    overhead: Overhead
    reruns: int
    tests: tuple[Measurement, ...]
    fixtures: tuple[FixtureGrowth, ...]
    alerts: tuple[PerformanceAlert, ...]
    notes: tuple[Note, ...]
    fail_on: AlertSeverity | None = AlertSeverity.CRITICAL
    gate: GateResult | None = None
    commit: str | None = None

    def fails(self, alert: PerformanceAlert) -> bool:
        """Return whether ``alert`` fails its test under this run's ``--memalert-fail-on``."""
        return self.fail_on is not None and alert.speaks and alert.severity >= self.fail_on


# ------------------------------------------------------------------ over runs


@record(frozen=True, slots=True, kw_only=True)
class SeriesPoint:
    """Hold the value that one metric of a test, or of the session, had in one of the runs remembered.

    ``value`` is in the metric's base unit; ``commit`` is the run's, None where it is not known.
    """

    run_id: str
    started_at: datetime
    commit: str | None
    value: float
