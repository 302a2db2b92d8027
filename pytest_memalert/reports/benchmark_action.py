"""An export for github-action-benchmark: a list of values, of which smaller ones are better.

The format is that of its tool ``customSmallerIsBetter``,
https://github.com/benchmark-action/github-action-benchmark#examples
"""

from __future__ import annotations

import json

from pytest_memalert.escaping import escape_controls
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import Run
from pytest_memalert.reports.words import cut, exported_values

__all__ = ["render"]

_NAME_LENGTH = 1_000


def render(run: Run) -> str:
    """Return the export in ASCII, ended by a newline: one entry for each test's figure."""
    entries = [
        {
            "name": f"{cut(escape_controls(measurement.nodeid), _NAME_LENGTH)}: {METRICS[metric].label}",
            "unit": METRICS[metric].unit,
            "value": value,
        }
        for measurement in run.tests
        for metric, value in exported_values(measurement).items()
    ]
    return json.dumps(entries, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
