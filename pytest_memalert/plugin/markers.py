"""Read the markers: the limits that a test, its class or its module sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.limits.marker import MarkerLimits, parse_marker
from pytest_memalert.model import AlertRule

__all__ = ["limits_of", "read_markers"]

_NO_LIMITS = MarkerLimits()

# Where a marker stands, and what it says.
_Layer = tuple[str, Mapping[str, Any], tuple[Any, ...]]
_LIMITS = pytest.StashKey[MarkerLimits]()


def read_markers(items: Sequence[pytest.Item]) -> list[AlertRule]:
    """Keep what the markers of each item ask for; return the rules that their limits are.

    Raise ``ConfigurationError`` with all that is wrong.
    """
    rules: list[AlertRule] = []
    problems: list[str] = []
    parent: pytest.Collector | None = None
    above: list[_Layer] = []
    for item in items:
        if item.parent is not parent:  # whose markers are the same for all of its items
            parent = item.parent
            above = [] if parent is None else list(_layers(parent))
        marks = [mark for mark in item.own_markers if getattr(mark, "name", None) == "memalert"]
        layers = [*((item.nodeid, mark.kwargs, mark.args) for mark in marks), *above] if marks else above
        if not layers:
            continue
        try:
            limits = parse_marker(layers)
        except ConfigurationError as wrong:
            # A class's or module's marker is wrong once, however many tests it covers.
            problems += [problem for problem in wrong.problems if problem not in problems]
        else:
            item.stash[_LIMITS] = limits
            rules.extend(limits.rules)
    if problems:
        raise ConfigurationError(problems)
    return rules


def limits_of(item: pytest.Item) -> MarkerLimits:
    """Return what the markers of an item ask for."""
    return item.stash.get(_LIMITS, _NO_LIMITS)


def _layers(node: pytest.Collector) -> Iterator[_Layer]:
    """Yield what the markers of a node and those above it say, the closest first."""
    for each, mark in node.iter_markers_with_node("memalert"):
        yield each.nodeid or "the session", mark.kwargs, mark.args
