"""The changes from one state of a suite to another: what each test needs now and needed before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_memalert.comparisons import SESSION, is_whole, unit_of
from pytest_memalert.model import Measurement
from pytest_memalert.records import record

__all__ = ["CHANGE_METRICS", "Change", "Changes", "Figures", "find_changes", "run_figures"]

#: The metrics that are compared, in the order in which they are told where changes are equal.
CHANGE_METRICS = (
    "leak_bytes_per_run",
    "growth_bytes",
    "peak_bytes",
    "traced_peak_bytes",
    "traced_growth_bytes",
    "rss_peak_bytes",
    "rss_bytes",
    "heap_bytes",
    "heap_growth_bytes",
    "blocks_growth",
)

# Resident memory after a test is the state of the process: it is told of the whole session alone.
_OF_WHOLE = ("rss_peak_bytes", "rss_bytes", "heap_bytes", "heap_growth_bytes")
# A block is told among bytes by what pymalloc takes for one at the most.
_BYTES_PER_BLOCK = 512

#: The figures of each test, or whole session, by metric.
Figures = Mapping[str, Mapping[str, float]]


@record(frozen=True, slots=True, kw_only=True)
class Change:
    """Hold one metric of one test, before and after, in its base unit."""

    nodeid: str
    metric: str
    old: float
    new: float

    @property
    def difference(self) -> float:
        """Return by how much it went up; below zero where it went down."""
        return self.new - self.old

    @property
    def ratio(self) -> float | None:
        """Return the change as a share of what was; None where there was nothing."""
        return self.difference / self.old if self.old > 0 else None


@record(frozen=True, slots=True, kw_only=True)
class Changes:
    """Hold every change, the largest first, and the tests that only one of the two states has."""

    changes: tuple[Change, ...] = ()
    compared: int = 0
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def find_changes(old: Figures, new: Figures) -> Changes:
    """Return what differs between two states, the largest difference first; up and down alike."""
    changes = [
        Change(nodeid=nodeid, metric=metric, old=old[nodeid][metric], new=figures[metric])
        for nodeid, figures in new.items()
        if nodeid in old
        for metric in CHANGE_METRICS
        if metric in figures and metric in old[nodeid] and figures[metric] != old[nodeid][metric]
    ]
    changes.sort(key=lambda each: (-_weight(each), CHANGE_METRICS.index(each.metric), each.nodeid))
    return Changes(
        changes=tuple(changes),
        compared=sum(nodeid in old and not is_whole(nodeid) for nodeid in new),
        added=tuple(sorted(nodeid for nodeid in new if nodeid not in old and not is_whole(nodeid))),
        removed=tuple(sorted(nodeid for nodeid in old if nodeid not in new and not is_whole(nodeid))),
    )


def run_figures(
    tests: Iterable[Measurement], session: Mapping[str, float] | None = None
) -> dict[str, dict[str, float]]:
    """Return the figures of a run's tests, and of its session under ``session``.

    A test that was checked and doesn't leak leaks 0 a run; one that wasn't checked has no such figure.
    """
    figures: dict[str, dict[str, float]] = {}
    for test in tests:
        found = {
            metric: test.values[metric]
            for metric in CHANGE_METRICS
            if metric in test.values and metric not in _OF_WHOLE
        }
        if test.leak.status in ("clean", "leaking"):
            found["leak_bytes_per_run"] = test.leak.bytes_per_run or 0.0
        figures[test.nodeid] = found
    if session:
        figures[SESSION] = {metric: session[metric] for metric in _OF_WHOLE[:2] if metric in session}
    return figures


def _weight(change: Change) -> float:
    """Return the size of a change in bytes, so that the largest comes first whatever its metric."""
    size = abs(change.difference)
    return size * _BYTES_PER_BLOCK if unit_of(change.metric) == "count" else size
