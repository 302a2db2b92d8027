"""An export for Bencher, in the Bencher Metric Format (BMF): each test's figures under its node id.

The format is https://bencher.dev/docs/reference/bencher-metric-format/
"""

from __future__ import annotations

import json

from pytest_memalert.model import Run
from pytest_memalert.reports.words import cut, exported_values

__all__ = ["NAME_LENGTH", "render"]

#: Bencher refuses longer names of benchmarks.
NAME_LENGTH = 1_024


def render(run: Run) -> str:
    """Return the export in ASCII, ended by a newline; a measure is called as its metric is, with hyphens.

    A hyphenated name is at once the measure's name and its slug, so that Bencher makes one measure of it.
    """
    document = {
        _name(measurement.nodeid): {
            metric.replace("_", "-"): {"value": value}
            for metric, value in exported_values(measurement).items()
        }
        for measurement in run.tests
    }
    # A benchmark without measures is nothing to Bencher.
    known = {name: measures for name, measures in document.items() if measures}
    return json.dumps(known, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def _name(nodeid: str) -> str:
    """Return a node id as a benchmark's name; "-bencher-ignore" at its end would silence it."""
    return (
        f"{cut(nodeid, NAME_LENGTH - 1)}." if nodeid.endswith("-bencher-ignore") else cut(nodeid, NAME_LENGTH)
    )
