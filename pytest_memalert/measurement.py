"""What a test took, computed from the samples around it; and a session, from all its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import methodcaller

from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import Measurement, Sample
from pytest_memalert.records import record

__all__ = [
    "NOTHING_TO_DEDUCT",
    "NO_RESIDUE",
    "Deduction",
    "Residue",
    "as_begun_at",
    "discount",
    "fold",
    "measure_test",
    "session_values",
    "values_of_worst",
]


@record(frozen=True, slots=True, kw_only=True)
class Deduction:
    """Hold what happened during a test but isn't the test's own.

    That is what wider fixtures brought or gave back, and the output that pytest keeps.
    """

    rss_bytes: int = 0
    heap_bytes: int = 0
    blocks: int = 0
    duration_s: float = 0.0


NOTHING_TO_DEDUCT = Deduction()


@record(frozen=True, slots=True, kw_only=True)
class Residue:
    """Hold the resident memory that re-runs left in the process: of a leak, many times what the suite does.

    ``base_bytes`` is what the process held without them when they ended. What it gives back since
    is taken to be theirs: a level is never counted below the base for their sake.
    """

    left_bytes: int = 0
    base_bytes: int = 0

    def less(self, rss_bytes: float) -> float:
        """Return a level of resident memory without the residue."""
        return rss_bytes - min(self.left_bytes, max(0, rss_bytes - self.base_bytes))

    def grown(self, *, before_bytes: int, after_bytes: int) -> Residue:
        """Return the residue after further re-runs, around which the process held so much."""
        left_bytes = self.left_bytes + max(0, after_bytes - before_bytes)
        return Residue(left_bytes=left_bytes, base_bytes=int(self.less(before_bytes)))


NO_RESIDUE = Residue()

# Metric -> the sample's extra reading whose growth it is; and those that are the extra reading of their name.
_EXTRA_GROWTHS = {name: metric.growth_of for name, metric in METRICS.items() if metric.growth_of is not None}
_EXTRA_LEVELS = tuple(name for name, metric in METRICS.items() if metric.is_level)


def measure_test(
    before: Sample,
    after: Sample,
    *,
    rss_peak_bytes: int | None = None,
    own_peak_bytes: int | None = None,
    traced_peak_bytes: int | None = None,
    deduction: Deduction = NOTHING_TO_DEDUCT,
    probes: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Return the metrics of one run of a test, by name; what isn't known is absent.

    ``rss_peak_bytes`` is the highest resident memory, ``own_peak_bytes`` the same without
    what wider fixtures brought (by default, all of it). ``probes`` maps the name of each
    added probe to its kind, ``growth`` or ``level``.
    """
    values: dict[str, float] = {}
    duration_s = max(0.0, after.at_s - before.at_s - deduction.duration_s)
    values["duration_s"] = duration_s
    growths = []
    if before.rss_bytes is not None and after.rss_bytes is not None:
        values["rss_bytes"] = after.rss_bytes
        values["rss_growth_bytes"] = after.rss_bytes - before.rss_bytes - deduction.rss_bytes
        growths.append(values["rss_growth_bytes"])
        if rss_peak_bytes is not None:
            # The mark is read in pages of its own accounting: never below what was seen at the borders.
            values["rss_peak_bytes"] = max(rss_peak_bytes, before.rss_bytes)
            own_bytes = rss_peak_bytes if own_peak_bytes is None else own_peak_bytes
            own_bytes = max(own_bytes, before.rss_bytes)
            values["peak_bytes"] = own_bytes - before.rss_bytes
            _rate_efficiency(values, before.rss_bytes)
    if before.heap_bytes is not None and after.heap_bytes is not None:
        values["heap_growth_bytes"] = after.heap_bytes - before.heap_bytes - deduction.heap_bytes
        growths.append(values["heap_growth_bytes"])
    if growths:
        values["growth_bytes"] = max(growths)
        if duration_s > 0:
            values["growth_rate_bytes_per_s"] = values["growth_bytes"] / duration_s
    if before.blocks is not None and after.blocks is not None:
        values["blocks_growth"] = after.blocks - before.blocks - deduction.blocks
    if traced_peak_bytes is not None and "traced_bytes" in before.extra:
        values["traced_peak_bytes"] = max(0, traced_peak_bytes - before.extra["traced_bytes"])
    if after.extra:
        kinds = probes or {}
        growths_of = {**_EXTRA_GROWTHS, **{name: name for name, kind in kinds.items() if kind == "growth"}}
        for metric, reading in growths_of.items():
            if reading in after.extra and reading in before.extra:
                values[metric] = after.extra[reading] - before.extra[reading]
        for name in (*_EXTRA_LEVELS, *(name for name, kind in kinds.items() if kind == "level")):
            if name in after.extra:
                values[name] = after.extra[name]
    return values


def discount(measurement: Measurement, residue: Residue) -> Measurement:
    """Return the measurement with its levels of resident memory as they were without any re-runs before."""
    before_bytes = measurement.rss_before_bytes
    if not residue.left_bytes or before_bytes is None:
        return measurement
    values = dict(measurement.values)
    for name in ("rss_bytes", "rss_peak_bytes"):
        if name in values:
            values[name] = residue.less(values[name])
    own_before_bytes = int(residue.less(before_bytes))
    _rate_efficiency(values, own_before_bytes)
    return replace(measurement, rss_before_bytes=own_before_bytes, values=values)


def as_begun_at(values: Mapping[str, float], before_bytes: int | None) -> dict[str, float]:
    """Return the figures of a further run as if it had begun with so much resident memory.

    The test's own run began with that: what earlier runs of it left must not make the same spike a
    smaller share of the whole.
    """
    figures = dict(values)
    if before_bytes is not None:
        _rate_efficiency(figures, before_bytes)
    return figures


def _rate_efficiency(values: dict[str, float], before_bytes: int) -> None:
    """Put in the ratio of the resident memory after a test to its peak, where both are known."""
    if "peak_bytes" in values and (highest_bytes := before_bytes + values["peak_bytes"]) > 0:
        ratio = (before_bytes + values["rss_growth_bytes"]) / highest_bytes
        values["efficiency_ratio"] = min(1.0, max(0.0, ratio))


def fold(first: Deduction, second: Deduction) -> Deduction:
    """Return both deductions as one."""
    return Deduction(
        rss_bytes=first.rss_bytes + second.rss_bytes,
        heap_bytes=first.heap_bytes + second.heap_bytes,
        blocks=first.blocks + second.blocks,
        duration_s=first.duration_s + second.duration_s,
    )


def session_values(tests: Sequence[Measurement], metrics: Mapping[str, Metric] = METRICS) -> dict[str, float]:
    """Return a process' metrics over the series of all its tests, in the order they ran.

    ``Metric.session`` says how each is made. The two rates are made from the sums.
    """
    values: dict[str, float] = {}
    all_values = [test.values for test in tests]
    # In the order in which the metrics first come up. No loop of ours goes over the values of each test, of
    # which there may be 60,000.
    for name in dict.fromkeys(chain.from_iterable(all_values)):
        metric = metrics.get(name)
        if metric is None:
            continue
        series = list(map(methodcaller("get", name), all_values))
        if None in series:
            series = [value for value in series if value is not None]
        if metric.session == "last":
            values[name] = series[-1]
        elif metric.session == "sum":
            values[name] = sum(series)
        else:
            values[name] = max(series) if metric.session == "largest" else min(series)
    if values.get("duration_s"):
        values["growth_rate_bytes_per_s"] = values.get("growth_bytes", 0.0) / values["duration_s"]
    if values.get("rss_peak_bytes"):
        values["efficiency_ratio"] = values["rss_bytes"] / values["rss_peak_bytes"]
    return values


def values_of_worst(
    tests: Sequence[Measurement], metrics: Mapping[str, Metric] = METRICS
) -> dict[str, float]:
    """Return the values of a session: each that of the process that is worst off, where there are several."""
    processes: dict[str, list[Measurement]] = {}
    for test in tests:
        processes.setdefault(test.worker, []).append(test)
    values: dict[str, float] = {}
    for series in processes.values():
        for name, value in session_values(series, metrics).items():
            worst = min if metrics[name].session == "smallest" else max
            values[name] = worst(value, values.get(name, value))
    return values
