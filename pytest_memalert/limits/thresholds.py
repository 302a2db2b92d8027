"""The threshold of a limit: a quantity, or a rule over what is remembered."""

from __future__ import annotations

import math
from typing import Any

from pytest_memalert.anomalies import is_of_history, parse_history_threshold
from pytest_memalert.errors import WrongValueError
from pytest_memalert.metrics import Metric
from pytest_memalert.model import HistoryThreshold
from pytest_memalert.units import parse_quantity

__all__ = ["read_threshold", "threshold_fields"]


def read_threshold(value: object, metric: Metric) -> float | HistoryThreshold:
    """Return the threshold that a value sets on a metric; raises ValueError where it sets none."""
    if isinstance(value, str) and is_of_history(value):
        return parse_history_threshold(value, metric.unit)
    threshold = parse_quantity(value, metric.unit)
    if metric.unit == "ratio" and threshold > 1:
        raise WrongValueError(value, "is more than the whole; write a share such as 0.5 or '50 %'")
    return threshold


def threshold_fields(threshold: float | HistoryThreshold) -> dict[str, Any]:
    """Return the fields of a rule that its threshold sets."""
    if isinstance(threshold, HistoryThreshold):
        return {"threshold": math.nan, "against": threshold}
    return {"threshold": threshold, "against": None}
