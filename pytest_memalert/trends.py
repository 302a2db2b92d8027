"""Trends: tell a step, a drift and an outlier apart in the series of one metric over runs.

Nothing is told of fewer than ``MINIMUM_RUNS`` runs, of a change smaller than ``metrics.LEAST_CHANGES``,
or of one that chance alone would bring about. ``benchmarks/trends.py`` measures how often noise is accused
all the same, and how soon a real change is seen; the figures are in ``docs/reference/trends.md``.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Literal

from pytest_memalert.errors import MemalertError
from pytest_memalert.metrics import LEAST_CHANGES, LONGEST_SERIES, METRICS, LeastChange, Metric
from pytest_memalert.model import SeriesPoint
from pytest_memalert.records import record
from pytest_memalert.units import Unit, counted, format_quantity

__all__ = [
    "MINIMUM_RUNS",
    "Search",
    "Trend",
    "describe_trend",
    "find_trend",
    "is_news",
]

TrendKind = Literal["step", "drift", "outlier", "steady"]
#: Who proposes the change points: the partition below, or ``ruptures``. Both are held to the same proof.
Search = Literal["standard", "ruptures"]

#: Of fewer runs nothing is said.
MINIMUM_RUNS = 10
#: A level is one that this many runs had: before a change, and after it.
_LEAST_BEFORE, _LEAST_AFTER = 5, 3
#: How likely chance may be to bring about what is told, over all the places where it could have. For steps
#: 0.006 lets a step among 15 runs be told after 5, among 20 after 4; measured, since the other conditions
#: must hold as well, it is 0.002 for the noise that looks most like a step (two values, 1 in 2).
_STEP_CHANCE = 0.006
_DRIFT_CHANCE = 0.001
# In standard deviations, estimated robustly (1.4826 times the median absolute deviation, which makes it
# that of a normal distribution): how far levels lie apart, and a single value from the others.
_NORMAL = 1.4826
_STEP_DEVIATIONS = 3.0
_OUTLIER_DEVIATIONS = 6.0
#: A change is news for this many runs after the one in which it can first be told.
_NEWS_RUNS = 5


@record(frozen=True, slots=True, kw_only=True)
class Trend:
    """Say what became of a series; ``before`` and ``after`` are levels in the base unit of ``metric``.

    ``since`` is the first run of the new level, of the drift or of the outlier, ``runs_ago`` how many runs
    have been since: 0 is the latest. ``runs`` counts the runs that were looked at.
    """

    kind: TrendKind
    metric: str
    before: float
    after: float
    since: SeriesPoint
    runs_ago: int
    runs: int

    @property
    def change_ratio(self) -> float:
        """Return the change as a share of the level before; infinite where that was zero."""
        change = self.after - self.before
        if not self.before:
            return math.copysign(math.inf, change) if change else 0.0
        return change / abs(self.before)


def find_trend(
    points: Sequence[SeriesPoint],
    *,
    metric: str,
    metrics: Mapping[str, Metric] = METRICS,
    search: Search = "standard",
) -> Trend | None:
    """Return the trend that the latest of ``points`` (oldest first) are in; None of too few runs.

    Raises MemalertError where ``search`` is ``ruptures`` and that isn't installed.
    """
    points = [point for point in points if math.isfinite(point.value)][-LONGEST_SERIES:]
    if len(points) < MINIMUM_RUNS:
        return None
    values = [point.value for point in points]
    least = LEAST_CHANGES[metrics[metric].unit]

    def trend(kind: TrendKind, before: float, after: float, start: int) -> Trend:
        return Trend(
            kind=kind,
            metric=metric,
            before=before,
            after=after,
            since=points[start],
            runs_ago=len(points) - 1 - start,
            runs=len(points),
        )

    # What repeats is most of what there is: it is told from a change of level at a glance.
    if _has_moved(values, least):
        penalty = _penalty(values, least)
        starts = (
            _partition_by_ruptures(values, penalty) if search == "ruptures" else _partition(values, penalty)
        )
        line = _rising_line(values, least)
        levels_cost = _cost_of_levels(values, starts) + penalty * (len(starts) - 1)
        if line is not None and line.cost + penalty < levels_cost:
            return trend("drift", line.first, line.last, 0)
        for before, after, start in _changes(values, starts):
            if _is_step(before, after, least):
                return trend("step", median(before), median(after), start)
    if (outliers := _latest_outliers(values, least)) > 0:
        start = len(values) - outliers
        return trend("outlier", median(values[:start]), median(values[start:]), start)
    level = median(values)
    return trend("steady", level, level, 0)


def is_news(trend: Trend | None) -> bool:
    """Return whether a trend is worth a line unasked: for the worse, proven, and not told for long.

    An outlier is proven by no second run, and an old step is known: both are told when asked for.
    """
    if trend is None or trend.kind not in ("step", "drift"):
        return False
    lower_is_worse = METRICS[trend.metric].unit == "ratio" if trend.metric in METRICS else False
    if (trend.after < trend.before) != lower_is_worse:
        return False
    return trend.kind == "drift" or trend.runs_ago < _LEAST_AFTER + _NEWS_RUNS


def describe_trend(trend: Trend, subject: str, *, metrics: Mapping[str, Metric] = METRICS) -> str:
    """Return one line: what of ``subject`` changed, how, since which run and commit."""
    metric = metrics[trend.metric]
    what = f"{metric.label} of {subject}"
    before, after = _told_apart(trend.before, trend.after, metric.unit)
    worded = "rose" if trend.after > trend.before else "fell"
    ago = f"{counted(trend.runs_ago, 'run')} ago"
    if trend.kind == "step":
        return f"{what} {worded} from {_shared(before, after)} at {_name(trend.since)}, {ago}"
    if trend.kind == "drift":
        worded = "rises" if worded == "rose" else "falls"
        levels = _shared(before, after)
        return f"{what} {worded} from run to run: from {levels} since {_name(trend.since)}, {ago}"
    if trend.kind == "outlier":
        latest = trend.runs_ago + 1
        when = "in the latest run" if latest == 1 else f"in the latest {latest} runs"
        return f"{what} was {after} {when}, {before} in the {trend.runs - latest} before"
    return f"{what} is steady at {format_quantity(trend.after, metric.unit)} over {trend.runs} runs"


# ---------------------------------------------------------------------- words


def _name(point: SeriesPoint) -> str:
    """Return what a run is known by: its commit as people write it, else when it was."""
    if point.commit:
        return point.commit[:7]
    return f"the run of {point.started_at:%Y-%m-%d %H:%M} UTC"


def _told_apart(before: float, after: float, unit: Unit) -> tuple[str, str]:
    """Return both as text; as plain numbers where rounding would show them equal."""
    texts = format_quantity(before, unit), format_quantity(after, unit)
    if texts[0] == texts[1] and before != after:
        return f"{before:,.10g}", f"{after:,.10g}"
    return texts


def _shared(before: str, after: str) -> str:
    """Return "48 to 61 MiB" for "48 MiB" and "61 MiB"."""
    number, _, unit = before.partition(" ")
    return f"{number if unit and after.endswith(f' {unit}') else before} to {after}"


# ---------------------------------------------------------------------- steps


def _has_moved(values: Sequence[float], least: LeastChange) -> bool:
    """Return whether the latest level differs from one that a tenth of the runs had; most often not."""
    ordered = sorted(values)
    tenth = len(values) // 10
    recent = median(values[-_LEAST_AFTER:])
    low, high = ordered[tenth], ordered[-1 - tenth]
    return max(recent - low, high - recent) >= least.of(low if recent > low else high)


def _penalty(values: Sequence[float], least: LeastChange) -> float:
    """Return what a further level must explain to be one.

    As the Bayesian information criterion has it for noise with Laplace's distribution (of which the
    median is the likeliest level): its mean deviation, times log(n) for the two numbers that a level
    takes. Twice that, so that only what is well founded goes on to be proven. The deviation is
    estimated from the differences of neighbors, which a change of level hardly touches.
    """
    differences = median(abs(after - before) for before, after in pairwise(values))
    # For normal noise of deviation 1 the differences' median is 0.6745 * sqrt(2), the mean deviation 0.7979.
    deviation = differences * 0.7979 / (0.6745 * math.sqrt(2))
    floor = least.of(median(values)) / 8
    return 2 * max(deviation, floor) * math.log(len(values))


def _partition(values: Sequence[float], penalty: float) -> list[int]:
    """Return where the levels begin that explain the series best: least cost, ``penalty`` for each.

    Optimal partitioning (Jackson et al., An algorithm for optimal partitioning of data on an interval,
    2005) with the sum of absolute deviations from the median as cost, which single outliers don't sway.
    """
    size = len(values)
    best = [0.0] + [math.inf] * size
    begun = [0] * (size + 1)
    costs = [list(_costs_from(values, start)) for start in range(size)]
    for end in range(_LEAST_AFTER, size + 1):
        for start in range(end - _LEAST_AFTER + 1):
            total = best[start] + costs[start][end - start - 1] + penalty
            if total < best[end]:
                best[end], begun[end] = total, start
    starts = []
    end = size
    while end > 0:
        end = begun[end]
        starts.append(end)
    return starts[::-1]


def _partition_by_ruptures(values: Sequence[float], penalty: float) -> list[int]:
    """Return the same by ruptures (Truong, Oudre and Vayatis, 2020): PELT with the same cost."""
    try:
        import numpy
        import ruptures
    except ImportError:
        raise MemalertError(
            "ruptures is not installed; install it with: pip install 'pytest-memalert[trends]'"
        ) from None
    search = ruptures.Pelt(model="l1", min_size=_LEAST_AFTER, jump=1).fit(numpy.asarray(values, dtype=float))
    return [0, *(int(end) for end in search.predict(pen=penalty)[:-1])]


def _costs_from(values: Sequence[float], start: int) -> Iterator[float]:
    """Yield the absolute deviations from the median, summed, of the segments that begin at ``start``.

    Adding a value adds its distance to the median, or to the two middle values where there are two.
    """
    ordered: list[float] = []
    cost = 0.0
    for value in values[start:]:
        if ordered:
            low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
            cost += max(low - value, value - high, 0.0)
        insort(ordered, value)
        yield cost


def _cost_of_levels(values: Sequence[float], starts: Sequence[int]) -> float:
    """Return the cost of a partition, without penalties."""
    ends = [*starts[1:], len(values)]
    return sum(
        abs(value - median(values[start:end]))
        for start, end in zip(starts, ends, strict=True)
        for value in values[start:end]
    )


def _changes(
    values: Sequence[float], starts: Sequence[int]
) -> Iterator[tuple[Sequence[float], Sequence[float], int]]:
    """Yield the values before and after each change, and where it was: the latest first."""
    for index in range(len(starts) - 1, 0, -1):
        start = starts[index]
        # A level too short to be one is taken together with what was before it.
        begin = next((first for first in starts[index - 1 :: -1] if start - first >= _LEAST_BEFORE), None)
        if begin is not None:
            yield values[begin:start], values[start:], start


def _is_step(before: Sequence[float], after: Sequence[float], least: LeastChange) -> bool:
    """Return whether the levels differ, by enough, and so clearly that chance won't do it."""
    low, high = median(before), median(after)
    shift = abs(high - low)
    if shift < least.of(low):
        return False
    residuals = [abs(value - low) for value in before] + [abs(value - high) for value in after]
    if shift <= _STEP_DEVIATIONS * _NORMAL * median(residuals):
        return False
    places = len(before) + len(after) - _LEAST_BEFORE - _LEAST_AFTER + 1
    up = (before, after) if high > low else (after, before)
    return 2 * places * _chance_of_order(*up) <= _STEP_CHANCE


def _chance_of_order(lower: Sequence[float], upper: Sequence[float]) -> float:
    """Return how likely an order as good as this is if all values are alike: the exact rank sum test.

    (Mann and Whitney, On a test of whether one of two random variables is stochastically larger than the
    other, 1947.) A tie counts as out of order, which errs on the quiet side.
    """
    wrong = sum(low >= high for low in lower for high in upper)
    if 2 * wrong >= len(lower) * len(upper):
        return 1.0
    # The orders with 0, 1, 2, ... such pairs, counted by the Gaussian binomial coefficient.
    orders = [1] + [0] * wrong
    for size in range(1, len(upper) + 1):
        for pairs in range(wrong, len(lower) + size - 1, -1):
            orders[pairs] -= orders[pairs - len(lower) - size]
        for pairs in range(size, wrong + 1):
            orders[pairs] += orders[pairs - size]
    return sum(orders) / math.comb(len(lower) + len(upper), len(upper))


# ---------------------------------------------------------------------- drift


@record(frozen=True, slots=True, kw_only=True)
class _Line:
    """Hold a line over a series: its first and last value, and the deviations from it, summed."""

    first: float
    last: float
    cost: float


def _rising_line(values: Sequence[float], least: LeastChange) -> _Line | None:
    """Return the line that a series follows, up or down; None where chance could order it as well.

    Whether it does: Mann, Nonparametric tests against trend, 1945; Kendall, Rank correlation methods, 1975
    (with his correction for ties). Its slope, the median of those of all pairs: Sen, Estimates of the
    regression coefficient based on Kendall's tau, 1968.
    """
    size = len(values)
    pairs = [(first, second) for first in range(size) for second in range(first + 1, size)]
    score = sum((values[b] > values[a]) - (values[b] < values[a]) for a, b in pairs)
    ties: dict[float, int] = {}
    for value in values:
        ties[value] = ties.get(value, 0) + 1
    variance = (
        size * (size - 1) * (2 * size + 5) - sum(n * (n - 1) * (2 * n + 5) for n in ties.values())
    ) / 18
    if not score or variance <= 0:
        return None
    chance = math.erfc((abs(score) - 1) / math.sqrt(2 * variance))
    if chance > _DRIFT_CHANCE:
        return None
    slope = median((values[b] - values[a]) / (b - a) for a, b in pairs)
    start = median(value - slope * index for index, value in enumerate(values))
    end = start + slope * (size - 1)
    if abs(end - start) < least.of(start):
        return None
    cost = sum(abs(value - start - slope * index) for index, value in enumerate(values))
    return _Line(first=start, last=end, cost=cost)


# ------------------------------------------------------------------- outliers


def _latest_outliers(values: Sequence[float], least: LeastChange) -> int:
    """Return how many of the latest values stand out, too few yet to be proven a level; 0 most often.

    By Hampel's identifier (The influence curve and its role in robust estimation, 1974), farther out
    than his, and beyond everything that was seen before.
    """
    level = median(values)
    if abs(values[-1] - level) < least.of(level):
        return 0  # nearly always: what stands out does so from the whole as well
    # The most first: of several alike, the last may stand out a little even from those just before it.
    for count in range(len(values) // 3, 0, -1):
        earlier, latest = values[:-count], values[-count:]
        level = median(earlier)
        deviation = _NORMAL * median(abs(value - level) for value in earlier)
        bound = max(_OUTLIER_DEVIATIONS * deviation, least.of(level))
        if min(latest) > max(max(earlier), level + bound) or max(latest) < min(min(earlier), level - bound):
            return count
    return 0
