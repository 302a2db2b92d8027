"""What was found about one test, on its way from where it ran to the controller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_memalert.codec import (
    decode_alert,
    decode_comparison,
    decode_fixture,
    decode_measurement,
    decode_note,
    encode_alert,
    encode_comparison,
    encode_fixture,
    encode_measurement,
    encode_note,
)
from pytest_memalert.metrics import RETAINED
from pytest_memalert.model import Comparison, FixtureGrowth, Measurement, Note, PerformanceAlert
from pytest_memalert.records import record

if TYPE_CHECKING:
    from pytest_memalert.gate.baseline import Entry

__all__ = [
    "FACTS",
    "LEFT_OUT",
    "USAGE_ERROR",
    "WHOLE",
    "Facts",
    "decode_facts",
    "encode_facts",
]

#: The attribute of a teardown report that carries what was found. A text wherever the
#: report may leave the process: it passes from an xdist worker to the controller, and
#: survives the worker's crash. The records themselves where it can't: 25 us less per test.
FACTS = "memalert_facts"
#: The key of an xdist worker's output under which it tells the controller what is wrong with the markers.
USAGE_ERROR = "memalert_usage_error"
#: The key under which it tells whether tests were taken out of those it collected.
LEFT_OUT = "memalert_left_out"
#: The key under which it tells of its process as a whole, for the baseline.
WHOLE = "memalert_whole"


@record(slots=True, kw_only=True)
class Facts:
    """Hold what was found about one test, and what it took to find it.

    ``source`` identifies the code of a test that took its turn in being checked for leaks.
    ``comparisons`` with the baseline are those that confirming runs gave, ``entry`` is what a session
    that saves has measured for the baseline, ``renamed_from`` the id that the baseline knows the test by.
    ``passed`` says whether the test passed by itself, whatever its alerts made of that; ``unjudged``, that
    trouble of ours kept it from being judged. ``proof`` is that of its leak, for later sessions.
    """

    measurement: Measurement | None = None
    alerts: Sequence[PerformanceAlert] = ()
    notes: Sequence[Note] = ()
    fixtures: Sequence[FixtureGrowth] = ()
    reruns: int = 0
    reruns_s: float = 0.0
    source: str | None = None
    screening_s: float = 0.0
    comparisons: Sequence[Comparison] = ()
    entry: Entry | None = None
    renamed_from: str | None = None
    passed: bool = False
    unjudged: bool = False
    proof: Mapping[str, object] | None = None

    @property
    def retains(self) -> bool:
        """Return whether each further run has left something behind, as far as is known."""
        if not self.reruns:
            return False
        known = self.entry is not None and any(self.entry.figures.get(metric) for metric in RETAINED)
        leaks = self.measurement is not None and self.measurement.leak.status == "leaking"
        return known or leaks or bool(self.comparisons)


def encode_facts(facts: Facts) -> str:
    """Return the facts as JSON, without what is empty.

    As a text, since what passes to another process must be of plain types, and hooks of anybody's
    may have put others in.
    """
    entry: dict[str, object] = {
        "alerts": [encode_alert(alert) for alert in facts.alerts],
        "notes": [encode_note(note) for note in facts.notes],
        "fixtures": [encode_fixture(fixture) for fixture in facts.fixtures],
        "reruns": facts.reruns,
        "reruns_s": facts.reruns_s,
        "source": facts.source,
        "screening_s": facts.screening_s,
        "passed": facts.passed,
        "unjudged": facts.unjudged,
        "proof": facts.proof,
    }
    if facts.comparisons:
        entry["comparisons"] = [encode_comparison(comparison) for comparison in facts.comparisons]
    if facts.entry is not None:
        entry["entry"] = _encode_entry(facts.entry)
    if facts.renamed_from is not None:
        entry["renamed_from"] = facts.renamed_from
    if facts.measurement is not None:
        entry["measurement"] = encode_measurement(facts.measurement)
    return json.dumps({key: value for key, value in entry.items() if value})


def decode_facts(text: str) -> Facts:
    """Return the facts of such a text; raises MemalertError."""
    entry: dict[str, Any] = json.loads(text)
    measurement = entry.get("measurement")
    return Facts(
        measurement=None if measurement is None else decode_measurement(measurement),
        alerts=[decode_alert(alert) for alert in entry.get("alerts", ())],
        notes=[decode_note(note) for note in entry.get("notes", ())],
        fixtures=[decode_fixture(fixture) for fixture in entry.get("fixtures", ())],
        reruns=entry.get("reruns", 0),
        reruns_s=entry.get("reruns_s", 0.0),
        source=entry.get("source"),
        screening_s=entry.get("screening_s", 0.0),
        comparisons=[decode_comparison(comparison) for comparison in entry.get("comparisons", ())],
        entry=None if entry.get("entry") is None else _decode_entry(entry["entry"]),
        renamed_from=entry.get("renamed_from"),
        passed=entry.get("passed", False),
        unjudged=entry.get("unjudged", False),
        proof=entry.get("proof"),
    )


def _encode_entry(entry: Entry) -> dict[str, object]:
    """Return what was measured for the baseline as a dict of JSON types."""
    figures = {metric: [figure.median, figure.spread] for metric, figure in entry.figures.items()}
    return {"figures": figures, "once": entry.once}


def _decode_entry(entry: Mapping[str, Any]) -> Entry:
    """Return what was measured for the baseline, from such a dict."""
    from pytest_memalert.gate.baseline import Entry, Figure

    return Entry(
        figures={
            metric: Figure(median=median, spread=spread)
            for metric, (median, spread) in entry["figures"].items()
        },
        once=entry["once"],
    )
