"""One test under judgment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from pytest_memalert.limits.marker import MarkerLimits
from pytest_memalert.metrics import Metric
from pytest_memalert.model import AlertRule, LeakAnalysis, Measurement, Note
from pytest_memalert.records import record
from pytest_memalert.rules import Breach, describe

__all__ = ["Case"]


@record(slots=True, kw_only=True)
class Case:
    """What is gathered about one test while it is judged; ``proof`` is that of its leak, for the cache.

    Below the node ``shared``, if there is one, all is torn down already.
    """

    measurement: Measurement
    item: pytest.Item
    limits: MarkerLimits
    rules: Sequence[AlertRule]
    metrics: Mapping[str, Metric]
    notes: list[Note]
    leak: LeakAnalysis | None = None
    proof: Mapping[str, object] | None = None
    shared: Any = None
    reruns: int = 0

    def note(self, kind: Literal["no_data", "one_time", "not_repeated", "unclear"], text: str) -> None:
        """Take note of something about the test that is no alert."""
        self.notes.append(Note(kind=kind, nodeid=self.measurement.nodeid, text=text))

    def describe(self, breach: Breach) -> str:
        """Return in words that the test broke a rule."""
        return describe(breach, self.measurement.nodeid, metrics=self.metrics)
