"""The records as plain dicts of JSON types, there and back.

Facts about one test travel as such a dict on its report, and the JSON report
is made of them; there is one spelling for both. The report writes every key
of the format, what travels leaves out what is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any, get_args, get_type_hints

from pytest_memalert.errors import MemalertError
from pytest_memalert.json_fields import (
    LARGEST,
    read_at,
    read_each,
    read_member,
    read_number,
    read_number_or_none,
    read_object,
    read_one_of,
    read_text,
    read_text_or_none,
    read_texts,
    read_time,
    read_whole,
    read_whole_or_none,
    unfit,
)
from pytest_memalert.model import (
    UNCHECKED,
    AlertCategory,
    AlertCondition,
    AlertLife,
    AlertSeverity,
    Comparison,
    ComparisonStatus,
    Environment,
    FixtureGrowth,
    GateResult,
    LeakStatus,
    LeakVerdict,
    Measurement,
    Note,
    Overhead,
    PerformanceAlert,
    Run,
    SignalGrowth,
    Survivor,
)

__all__ = [
    "FORMAT",
    "TAKEN_KEYS",
    "count_alerts",
    "decode_alert",
    "decode_comparison",
    "decode_fixture",
    "decode_leak",
    "decode_measurement",
    "decode_note",
    "decode_run",
    "decode_survivor",
    "encode_alert",
    "encode_comparison",
    "encode_environment",
    "encode_fixture",
    "encode_leak",
    "encode_life",
    "encode_measurement",
    "encode_note",
    "encode_overhead",
    "encode_run",
    "encode_survivor",
    "encode_test",
    "encode_totals",
]

#: The format of the JSON report. Older ones are read, newer ones refused.
#:
#: 1  the first
FORMAT = 1

#: The keys of a test's entry that are no metrics: a probe's metric can't have such a name.
TAKEN_KEYS = frozenset(
    ("nodeid", "worker", "outcome", "component", "rss_before_bytes", "rss_after_bytes", "phases", "leak")
)

# What a test's entry in the report always has, in the order of reading.
_TEST_KEYS: dict[str, object] = dict.fromkeys(
    (
        "nodeid",
        "worker",
        "outcome",
        "component",
        "duration_s",
        "rss_before_bytes",
        "rss_after_bytes",
        "rss_peak_bytes",
        "growth_bytes",
        "peak_bytes",
        "traced_peak_bytes",
        "cpu_s",
    )
)
_PHASE_KEYS: dict[str, object] = dict.fromkeys(
    ("setup_growth_bytes", "call_growth_bytes", "teardown_growth_bytes")
)
_PHASE_SUFFIX = "_growth_bytes"

_COMPARISON_STATUSES: tuple[str, ...] = get_args(ComparisonStatus)
_LEAK_STATUSES: tuple[str, ...] = get_args(LeakStatus)
_NOTE_KINDS: tuple[str, ...] = get_args(get_type_hints(Note)["kind"])

# ----------------------------------------------------------------- one test


def encode_measurement(measurement: Measurement) -> dict[str, object]:
    """Return a measurement as one flat dict, each metric by its name (``rss_bytes`` as ``rss_after_bytes``).

    What is not known is left out, and so are values that are not finite: JSON has no word for them.
    Raises MemalertError for a metric whose name is one of ``TAKEN_KEYS``.
    """
    entry: dict[str, object] = {
        "nodeid": measurement.nodeid,
        "worker": measurement.worker,
        "outcome": measurement.outcome,
        "component": measurement.component,
    }
    if measurement.rss_before_bytes is not None:
        entry["rss_before_bytes"] = measurement.rss_before_bytes
    for name, value in measurement.values.items():
        if name in TAKEN_KEYS:
            raise MemalertError(
                f"{measurement.nodeid}: a metric can't be called {name!r}, which is a key of the report; "
                f"write another name, such as {'probed_' + name!r}"
            )
        if abs(value) <= LARGEST:
            entry["rss_after_bytes" if name == "rss_bytes" else name] = value
    if measurement.phases:
        entry["phases"] = {phase + _PHASE_SUFFIX: growth for phase, growth in measurement.phases.items()}
    if measurement.leak != UNCHECKED:
        entry["leak"] = encode_leak(measurement.leak)
    return entry


def decode_measurement(entry: object) -> Measurement:
    """Return the measurement of such a dict, or of an entry of the report; raises MemalertError."""
    known = read_object(entry)
    values: dict[str, float] = {}
    for key in known:
        if (key not in TAKEN_KEYS or key == "rss_after_bytes") and known[key] is not None:
            values["rss_bytes" if key == "rss_after_bytes" else key] = read_number(known, key)
    phases, leak = known.get("phases"), known.get("leak")
    return Measurement(
        nodeid=read_text(known, "nodeid"),
        worker=read_text(known, "worker"),
        outcome=read_text(known, "outcome"),
        component=read_text(known, "component"),
        rss_before_bytes=read_whole_or_none(known, "rss_before_bytes"),
        values=values,
        phases={} if phases is None else read_at("phases", _decode_phases, phases),
        leak=UNCHECKED if leak is None else read_at("leak", decode_leak, leak),
    )


def _decode_phases(entry: object) -> dict[str, int]:
    growths = read_object(entry)
    return {
        key.removesuffix(_PHASE_SUFFIX): read_whole(growths, key)
        for key in growths
        if growths[key] is not None
    }


def encode_leak(verdict: LeakVerdict) -> dict[str, object]:
    """Return a verdict as a dict."""
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "bytes_per_run": _finite(verdict.bytes_per_run),
        "blocks_per_run": _finite(verdict.blocks_per_run),
        "runs": verdict.runs,
        "rate_bytes_per_hour": _finite(verdict.rate_bytes_per_hour),
        "brief": verdict.brief,
    }


def decode_leak(entry: object) -> LeakVerdict:
    """Return the verdict of such a dict; raises MemalertError."""
    known = read_object(entry)
    return LeakVerdict(
        status=read_one_of(known, "status", _LEAK_STATUSES),
        reason=read_text_or_none(known, "reason"),
        bytes_per_run=read_number_or_none(known, "bytes_per_run"),
        blocks_per_run=read_number_or_none(known, "blocks_per_run"),
        runs=read_whole(known, "runs"),
        rate_bytes_per_hour=read_number_or_none(known, "rate_bytes_per_hour"),
        brief=known.get("brief") is True,
    )


def encode_fixture(fixture: FixtureGrowth) -> dict[str, object]:
    """Return what a fixture brought as a dict."""
    return _shallow(fixture)


def decode_fixture(entry: object) -> FixtureGrowth:
    """Return what a fixture brought, from such a dict; raises MemalertError."""
    known = read_object(entry)
    return FixtureGrowth(
        name=read_text(known, "name"),
        scope=read_text(known, "scope"),
        location=read_text(known, "location"),
        worker=read_text(known, "worker"),
        nodeid=read_text(known, "nodeid"),
        setup_growth_bytes=read_whole(known, "setup_growth_bytes"),
        peak_bytes=read_whole_or_none(known, "peak_bytes"),
        growth_bytes=read_whole_or_none(known, "growth_bytes"),
    )


# ------------------------------------------------------------------- judged


def _encode_growth(growth: SignalGrowth) -> dict[str, object]:
    """Return the growth of a signal as a dict."""
    return _shallow(growth)


def _decode_growth(entry: object) -> SignalGrowth:
    """Return the growth of such a dict; raises MemalertError."""
    known = read_object(entry)
    return SignalGrowth(
        signal=read_text(known, "signal"),
        per_run=read_number(known, "per_run"),
        runs=read_whole(known, "runs"),
        every_run=known.get("every_run") is True,
    )


def encode_survivor(survivor: Survivor) -> dict[str, object]:
    """Return a survivor as a dict."""
    return {
        "type": survivor.type,
        "count": survivor.count,
        "size_bytes": survivor.size_bytes,
        "allocated_at": list(survivor.allocated_at),
        "held_by": list(survivor.held_by),
        "runs": survivor.runs,
    }


def decode_survivor(entry: object) -> Survivor:
    """Return the survivor of such a dict; raises MemalertError."""
    known = read_object(entry)
    return Survivor(
        type=read_text(known, "type"),
        count=read_whole(known, "count"),
        size_bytes=read_whole(known, "size_bytes"),
        allocated_at=read_texts(known, "allocated_at"),
        held_by=read_texts(known, "held_by"),
        runs=read_whole_or_none(known, "runs") or 1,
    )


def encode_alert(alert: PerformanceAlert) -> dict[str, object]:
    """Return an alert as a dict; a number that is not finite becomes None."""
    return {
        "id": alert.id,
        "fingerprint": alert.fingerprint,
        "rule": alert.rule,
        "category": alert.category.value,
        "severity": alert.severity.value,
        "component": alert.component,
        "nodeids": list(alert.nodeids),
        "metric": alert.metric,
        "observed": _finite(alert.observed),
        "limit": _finite(alert.limit),
        "condition": alert.condition.value,
        "message": alert.message,
        "recommendations": list(alert.recommendations),
        "raised_at": _utc(alert.raised_at),
        "acknowledged": alert.acknowledged,
        "inhibited_by": alert.inhibited_by,
        "location": alert.location,
        "growth": [_encode_growth(growth) for growth in alert.growth],
        "survivors": [encode_survivor(survivor) for survivor in alert.survivors],
    }


def decode_alert(entry: object) -> PerformanceAlert:
    """Return the alert of such a dict (a number that is None becomes nan); raises MemalertError."""
    known = read_object(entry)
    observed, limit = read_number_or_none(known, "observed"), read_number_or_none(known, "limit")
    return PerformanceAlert(
        id=read_text(known, "id"),
        fingerprint=read_text(known, "fingerprint"),
        rule=read_text(known, "rule"),
        category=read_member(known, "category", AlertCategory),
        severity=read_member(known, "severity", AlertSeverity),
        component=read_text(known, "component"),
        nodeids=read_texts(known, "nodeids"),
        metric=read_text(known, "metric"),
        observed=float("nan") if observed is None else observed,
        limit=float("nan") if limit is None else limit,
        condition=read_member(known, "condition", AlertCondition),
        message=read_text(known, "message"),
        recommendations=read_texts(known, "recommendations"),
        growth=read_each(known, "growth", _decode_growth),
        survivors=read_each(known, "survivors", decode_survivor),
        raised_at=read_time(known, "raised_at"),
        acknowledged=read_text_or_none(known, "acknowledged"),
        inhibited_by=read_text_or_none(known, "inhibited_by"),
        location=read_text_or_none(known, "location"),
    )


def encode_life(life: AlertLife) -> dict[str, object]:
    """Return what is remembered of a fingerprint as a dict, its latest occurrence under ``alert``."""
    return {
        "fingerprint": life.fingerprint,
        "first_seen": _utc(life.first_seen),
        "last_seen": _utc(life.last_seen),
        "times": life.times,
        "worst": _finite(life.worst),
        "resolved_at": None if life.resolved_at is None else _utc(life.resolved_at),
        "reopened": life.reopened,
        "notified": _finite(life.notified),
        "notified_at": None if life.notified_at is None else _utc(life.notified_at),
        "leaks": life.leaks,
        "alert": encode_alert(life.alert),
    }


def count_alerts(alerts: Iterable[PerformanceAlert]) -> dict[str, int]:
    """Return how many alerts there are of each severity.

    Acknowledged and inhibited ones count as that alone; one that is both, as acknowledged.
    """
    counts = {"critical": 0, "warning": 0, "info": 0, "acknowledged": 0, "inhibited": 0}
    for alert in alerts:
        if alert.acknowledged is not None:
            counts["acknowledged"] += 1
        elif alert.inhibited_by is not None:
            counts["inhibited"] += 1
        else:
            counts[alert.severity.value] += 1
    return counts


def encode_note(note: Note) -> dict[str, object]:
    """Return a note as a dict."""
    return _shallow(note)


def decode_note(entry: object) -> Note:
    """Return the note of such a dict; raises MemalertError."""
    known = read_object(entry)
    return Note(
        kind=read_one_of(known, "kind", _NOTE_KINDS),
        nodeid=read_text_or_none(known, "nodeid"),
        text=read_text(known, "text"),
    )


# -------------------------------------------------------------------- a run


def encode_environment(environment: Environment) -> dict[str, object]:
    """Return an environment as a dict."""
    return _shallow(environment)


def _decode_environment(entry: object) -> Environment:
    """Return the environment of such a dict; raises MemalertError."""
    known = read_object(entry)
    if not isinstance(known.get("traced"), bool):
        raise unfit("traced", known.get("traced"), "true or false")
    return Environment(
        implementation=read_text(known, "implementation"),
        python=read_text(known, "python"),
        platform=read_text(known, "platform"),
        machine=read_text(known, "machine"),
        traced=known["traced"],
        pytest=read_text_or_none(known, "pytest"),
        memalert=read_text(known, "memalert"),
        installation=read_text_or_none(known, "installation"),
    )


def encode_overhead(overhead: Overhead) -> dict[str, object]:
    """Return an overhead as a dict; a number that is not finite becomes 0."""
    return {name: _finite(value) or 0.0 for name, value in _shallow(overhead).items()}


def _decode_overhead(entry: object) -> Overhead:
    """Return the overhead of such a dict; raises MemalertError."""
    known = read_object(entry)
    return Overhead(
        tests_s=read_number(known, "tests_s"),
        screening_s=read_number(known, "screening_s"),
        reruns_s=read_number(known, "reruns_s"),
        reporting_s=read_number(known, "reporting_s"),
    )


def _encode_gate(gate: GateResult) -> dict[str, object]:
    """Return what the gate found as a dict; ``_decode_gate`` gives it back."""
    return {
        **_shallow(gate),
        "comparisons": [encode_comparison(each) for each in gate.comparisons],
        "new": list(gate.new),
        "missing": list(gate.missing),
        "renamed": [list(pair) for pair in gate.renamed],
        "uncompared": list(gate.uncompared),
        "wholes": list(gate.wholes),
    }


def _decode_gate(entry: object) -> GateResult:
    """Return what the gate found; raises MemalertError."""
    known = read_object(entry)
    return GateResult(
        path=read_text(known, "path"),
        environment=read_text(known, "environment"),
        compared=read_whole(known, "compared"),
        comparisons=read_each(known, "comparisons", decode_comparison),
        new=read_texts(known, "new"),
        missing=read_texts(known, "missing"),
        renamed=read_each(known, "renamed", _decode_renamed),
        uncompared=read_texts(known, "uncompared"),
        wholes=read_texts(known, "wholes"),
        strict=known.get("strict") is True,
        partial=known.get("partial") is True,
        refusal=read_text_or_none(known, "refusal"),
    )


def encode_comparison(comparison: Comparison) -> dict[str, object]:
    """Return a comparison as a dict."""
    return {**_shallow(comparison), "further": list(comparison.further)}


def decode_comparison(entry: object) -> Comparison:
    """Return the comparison of such a dict; raises MemalertError."""
    known = read_object(entry)
    further = known.get("further", [])
    if not isinstance(further, list):
        raise unfit("further", further, "a list of numbers")
    return Comparison(
        nodeid=read_text(known, "nodeid"),
        metric=read_text(known, "metric"),
        baseline=read_number(known, "baseline"),
        observed=read_number(known, "observed"),
        allowance=read_number(known, "allowance"),
        status=read_one_of(known, "status", _COMPARISON_STATUSES),
        further=tuple(read_number({"further": value}, "further") for value in further),
    )


def _decode_renamed(entry: object) -> tuple[str, str]:
    match entry:
        case [str() as old, str() as new]:
            return old, new
    raise unfit("renamed", entry, "a pair of node ids")


def encode_test(measurement: Measurement) -> dict[str, object]:
    """Return a test's entry in the report: every documented key, then the other metrics."""
    entry = {**_TEST_KEYS, **encode_measurement(measurement)}
    phases = entry.pop("phases", None)
    entry.pop("leak", None)
    entry["phases"] = {**_PHASE_KEYS, **(phases if isinstance(phases, dict) else {})}
    entry["leak"] = encode_leak(measurement.leak)
    return entry


def encode_totals(run: Run) -> dict[str, object]:
    """Return how many tests, re-runs and alerts a run had."""
    return {"tests": len(run.tests), "reruns": run.reruns, "alerts": count_alerts(run.alerts)}


def encode_run(run: Run) -> dict[str, object]:
    """Return a run as the JSON report, of format ``FORMAT``; ``decode_run`` gives the run back.

    Raises MemalertError for a metric whose name is one of ``TAKEN_KEYS``.
    """
    return {
        "format": FORMAT,
        "run_id": run.run_id,
        "started_at": _utc(run.started_at),
        "duration_s": _finite(run.duration_s) or 0.0,
        "commit": run.commit,
        "fail_on": None if run.fail_on is None else run.fail_on.value,
        "environment": encode_environment(run.environment),
        "overhead": encode_overhead(run.overhead),
        "totals": encode_totals(run),
        "tests": [encode_test(measurement) for measurement in run.tests],
        "fixtures": [encode_fixture(fixture) for fixture in run.fixtures],
        "alerts": [encode_alert(alert) for alert in run.alerts],
        "notes": [encode_note(note) for note in run.notes],
        "gate": None if run.gate is None else _encode_gate(run.gate),
    }


def decode_run(document: object) -> Run:
    """Return the run of a JSON report.

    Raises MemalertError, with the place inside the report, for what is no report or is of a newer format.
    """
    if not isinstance(document, dict) or "format" not in document:
        raise MemalertError("not a memalert report: it has no 'format'; write one with --memalert-json PATH")
    found = document["format"]
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise unfit("format", found, f"a format of a memalert report, which are 1 to {FORMAT}")
    if found > FORMAT:
        raise MemalertError(
            f"format: {found} is newer than what this version reads (up to {FORMAT}); "
            "upgrade with: pip install --upgrade pytest-memalert"
        )
    if "run_id" not in document:
        raise MemalertError("not a memalert report: it has no 'run_id'; write one with --memalert-json PATH")
    return Run(
        run_id=read_text(document, "run_id"),
        started_at=read_time(document, "started_at"),
        duration_s=read_number(document, "duration_s"),
        environment=read_at("environment", _decode_environment, document.get("environment")),
        overhead=read_at("overhead", _decode_overhead, document.get("overhead")),
        reruns=read_at(
            "totals", lambda totals: read_whole(read_object(totals), "reruns"), document.get("totals")
        ),
        tests=read_each(document, "tests", decode_measurement),
        fixtures=read_each(document, "fixtures", decode_fixture),
        alerts=read_each(document, "alerts", decode_alert),
        notes=read_each(document, "notes", decode_note),
        fail_on=_fail_on(document),
        gate=None if document.get("gate") is None else read_at("gate", _decode_gate, document["gate"]),
        commit=read_text_or_none(document, "commit"),
    )


def _fail_on(document: Mapping[str, Any]) -> AlertSeverity | None:
    """Return the severity that failed a test in the run; null is "never"."""
    if "fail_on" in document and document["fail_on"] is None:
        return None
    return read_member({"fail_on": "critical", **document}, "fail_on", AlertSeverity)


# ------------------------------------------------------------ to plain values


def _shallow(record: Any) -> dict[str, object]:
    """Return the fields of a record that holds none but plain values."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _finite(value: Any) -> float | None:
    """Return ``value`` if JSON can write it."""
    return value if value is not None and abs(value) <= LARGEST else None


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat()
