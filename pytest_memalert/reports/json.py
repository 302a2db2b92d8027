"""The JSON report: everything a run found, for programs to read."""

from __future__ import annotations

import json
from dataclasses import replace

from pytest_memalert.codec import encode_run
from pytest_memalert.model import Run

__all__ = ["render"]


def render(run: Run) -> str:
    """Return the report, in ASCII, ended by a newline; its format is that of ``codec.FORMAT``.

    Tests stay in the order in which they ran, which growth over a session depends on;
    alerts come worst first.
    """
    worst_first = sorted(run.alerts, key=lambda alert: alert.severity, reverse=True)
    document = encode_run(replace(run, alerts=tuple(worst_first)))
    # ASCII, since a node id may hold lone surrogates, which UTF-8 refuses and "\udcff" does not.
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"
