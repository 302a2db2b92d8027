"""A comparison with a baseline, in words."""

from __future__ import annotations

import re

from pytest_memalert.metrics import METRICS
from pytest_memalert.model import Comparison
from pytest_memalert.units import Unit, format_quantity

__all__ = ["COLLECTION", "SESSION", "is_fixture", "is_whole", "name_fixture", "tell", "tell_runs", "unit_of"]

#: What stands for the node id of a whole session, in alerts, in the history, and in the baseline's entry of
#: one process; the entry of several xdist workers is ``session of 4 workers``.
SESSION = "session"
#: What stands for the node id in the entry of the collection: what importing the tests brought.
COLLECTION = "collection"
_WHOLE = re.compile(r"session(?: of \d+ workers)?|collection")
_FIXTURE = re.compile(r"fixture (?!.*::).+ in .+", re.DOTALL)

_UNITS_OF_WHOLE: dict[str, Unit] = {"setup_blocks": "count"}
_LABELS_OF_WHOLE = {
    "setup_bytes": "memory that its set-up brings",
    "setup_blocks": "blocks that its set-up brings",
    "rss_peak_bytes": "highest resident memory",
    "heap_bytes": "memory in use at the end",
    "heap_growth_bytes": "memory that imports at collection brought",
}


def is_whole(nodeid: str) -> bool:
    """Return whether a node id stands for a session, a collection or a wider fixture, and for no test."""
    return _WHOLE.fullmatch(nodeid) is not None or is_fixture(nodeid)


def name_fixture(name: str, file: str) -> str:
    """Return what stands for the node id in the entry of a fixture that is wider than a test."""
    return f"fixture {name} in {file}"


def is_fixture(nodeid: str) -> bool:
    """Return whether a node id stands for a wider fixture."""
    return _FIXTURE.fullmatch(nodeid) is not None


def unit_of(metric: str) -> Unit:
    """Return the unit of a metric of the baseline."""
    return METRICS[metric].unit if metric in METRICS else _UNITS_OF_WHOLE.get(metric, "bytes")


def tell(comparison: Comparison) -> str:
    """Return one line: what, how much, how far from the baseline; without the name of the test."""
    metric, unit = comparison.metric, unit_of(comparison.metric)
    label = METRICS[metric].label if metric in METRICS else metric
    if is_whole(comparison.nodeid):
        label = _LABELS_OF_WHOLE.get(metric, label)
    difference = comparison.observed - comparison.baseline
    observed, baseline, apart, room = (
        format_quantity(value, unit)
        for value in (comparison.observed, comparison.baseline, abs(difference), comparison.allowance)
    )
    if not comparison.baseline:
        return f"{label} {observed}, where the baseline has none (allowed: {room})"
    over = "over" if difference > 0 else "under"
    return f"{label} {observed} is {apart} {over} the baseline's {baseline} (allowed: {room})"


def tell_runs(comparison: Comparison) -> str:
    """Return what the confirming runs gave; empty where there were none."""
    unit = unit_of(comparison.metric)
    runs = ", ".join(format_quantity(value, unit) for value in comparison.further)
    return f"run again: {runs}" if runs else ""
