"""The JSON report: everything a run found, for programs to read."""

from __future__ import annotations

import json
from dataclasses import replace
from textwrap import indent

from pytest_memalert.codec import encode_run, encode_test, encode_totals
from pytest_memalert.model import Run

__all__ = ["render"]

# So it stands in the document alone: within a string a line would not end.
_NO_TESTS = '\n "tests": [],\n'


def render(run: Run) -> str:
    """Return the report, in ASCII, ended by a newline; its format is that of ``codec.FORMAT``.

    Tests stay in the order in which they ran, which growth over a session depends on;
    alerts come worst first.
    """
    worst_first = sorted(run.alerts, key=lambda alert: alert.severity, reverse=True)
    document = encode_run(replace(run, alerts=tuple(worst_first), tests=()))
    document["totals"] = encode_totals(run)
    text = _dump(document)
    if run.tests:
        # One after the other: as dicts, those of 60,000 tests take 250 MB.
        tests = ",\n".join(indent(_dump(encode_test(test)), "  ") for test in run.tests)
        before, after = text.split(_NO_TESTS, 1)
        text = "".join((before, '\n "tests": [\n', tests, "\n ],\n", after))
    return text + "\n"


def _dump(value: object) -> str:
    # ASCII, since a node id may hold lone surrogates, which UTF-8 refuses and "\udcff" does not.
    return json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False)
