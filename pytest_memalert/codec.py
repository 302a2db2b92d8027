"""The records as plain dicts of JSON types, there and back.

Facts about one test travel as such a dict on its report, and the JSON report
is made of them; there is one spelling for both. The report writes every key
of the format, what travels leaves out what is not known.
"""

from __future__ import annotations

import enum
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any, TypeVar, get_args, get_type_hints

from pytest_memalert.errors import MemalertError
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

_T = TypeVar("_T")
_E = TypeVar("_E", bound=enum.Enum)

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
        # Zero for what is finite only, and unlike math.isfinite for whole numbers of any size.
        if value - value == 0:
            entry["rss_after_bytes" if name == "rss_bytes" else name] = value
    if measurement.phases:
        entry["phases"] = {phase + _PHASE_SUFFIX: growth for phase, growth in measurement.phases.items()}
    if measurement.leak != UNCHECKED:
        entry["leak"] = encode_leak(measurement.leak)
    return entry


def decode_measurement(entry: object) -> Measurement:
    """Return the measurement of such a dict, or of an entry of the report; raises MemalertError."""
    known = _mapping(entry)
    values: dict[str, float] = {}
    for key in known:
        if (key not in TAKEN_KEYS or key == "rss_after_bytes") and known[key] is not None:
            values["rss_bytes" if key == "rss_after_bytes" else key] = _number(known, key)
    phases, leak = known.get("phases"), known.get("leak")
    return Measurement(
        nodeid=_text(known, "nodeid"),
        worker=_text(known, "worker"),
        outcome=_text(known, "outcome"),
        component=_text(known, "component"),
        rss_before_bytes=_whole_or_none(known, "rss_before_bytes"),
        values=values,
        phases={} if phases is None else _at("phases", _phases, phases),
        leak=UNCHECKED if leak is None else _at("leak", decode_leak, leak),
    )


def encode_leak(verdict: LeakVerdict) -> dict[str, object]:
    """Return a verdict as a dict."""
    return {
        "status": verdict.status,
        "reason": verdict.reason,
        "bytes_per_run": _finite(verdict.bytes_per_run),
        "blocks_per_run": _finite(verdict.blocks_per_run),
        "runs": verdict.runs,
        "rate_bytes_per_hour": _finite(verdict.rate_bytes_per_hour),
    }


def decode_leak(entry: object) -> LeakVerdict:
    """Return the verdict of such a dict; raises MemalertError."""
    known = _mapping(entry)
    return LeakVerdict(
        status=_one_of(known, "status", _LEAK_STATUSES),
        reason=_text_or_none(known, "reason"),
        bytes_per_run=_number_or_none(known, "bytes_per_run"),
        blocks_per_run=_number_or_none(known, "blocks_per_run"),
        runs=_whole(known, "runs"),
        rate_bytes_per_hour=_number_or_none(known, "rate_bytes_per_hour"),
    )


def encode_fixture(fixture: FixtureGrowth) -> dict[str, object]:
    """Return what a fixture brought as a dict."""
    return _shallow(fixture)


def decode_fixture(entry: object) -> FixtureGrowth:
    """Return what a fixture brought, from such a dict; raises MemalertError."""
    known = _mapping(entry)
    return FixtureGrowth(
        name=_text(known, "name"),
        scope=_text(known, "scope"),
        location=_text(known, "location"),
        worker=_text(known, "worker"),
        nodeid=_text(known, "nodeid"),
        setup_growth_bytes=_whole(known, "setup_growth_bytes"),
        peak_bytes=_whole_or_none(known, "peak_bytes"),
        growth_bytes=_whole_or_none(known, "growth_bytes"),
    )


# ------------------------------------------------------------------- judged


def _encode_survivor(survivor: Survivor) -> dict[str, object]:
    """Return a survivor as a dict."""
    return {
        "type": survivor.type,
        "count": survivor.count,
        "size_bytes": survivor.size_bytes,
        "allocated_at": list(survivor.allocated_at),
        "held_by": list(survivor.held_by),
    }


def _decode_survivor(entry: object) -> Survivor:
    """Return the survivor of such a dict; raises MemalertError."""
    known = _mapping(entry)
    return Survivor(
        type=_text(known, "type"),
        count=_whole(known, "count"),
        size_bytes=_whole(known, "size_bytes"),
        allocated_at=_texts(known, "allocated_at"),
        held_by=_texts(known, "held_by"),
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
        "survivors": [_encode_survivor(survivor) for survivor in alert.survivors],
    }


def decode_alert(entry: object) -> PerformanceAlert:
    """Return the alert of such a dict (a number that is None becomes nan); raises MemalertError."""
    known = _mapping(entry)
    observed, limit = _number_or_none(known, "observed"), _number_or_none(known, "limit")
    return PerformanceAlert(
        id=_text(known, "id"),
        fingerprint=_text(known, "fingerprint"),
        rule=_text(known, "rule"),
        category=_member(known, "category", AlertCategory),
        severity=_member(known, "severity", AlertSeverity),
        component=_text(known, "component"),
        nodeids=_texts(known, "nodeids"),
        metric=_text(known, "metric"),
        observed=float("nan") if observed is None else observed,
        limit=float("nan") if limit is None else limit,
        condition=_member(known, "condition", AlertCondition),
        message=_text(known, "message"),
        recommendations=_texts(known, "recommendations"),
        survivors=_each(known, "survivors", _decode_survivor),
        raised_at=_time(known, "raised_at"),
        acknowledged=_text_or_none(known, "acknowledged"),
        inhibited_by=_text_or_none(known, "inhibited_by"),
        location=_text_or_none(known, "location"),
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
    known = _mapping(entry)
    return Note(
        kind=_one_of(known, "kind", _NOTE_KINDS),
        nodeid=_text_or_none(known, "nodeid"),
        text=_text(known, "text"),
    )


# -------------------------------------------------------------------- a run


def encode_environment(environment: Environment) -> dict[str, object]:
    """Return an environment as a dict."""
    return _shallow(environment)


def _decode_environment(entry: object) -> Environment:
    """Return the environment of such a dict; raises MemalertError."""
    known = _mapping(entry)
    if not isinstance(known.get("traced"), bool):
        raise _unfit("traced", known.get("traced"), "true or false")
    return Environment(
        implementation=_text(known, "implementation"),
        python=_text(known, "python"),
        platform=_text(known, "platform"),
        machine=_text(known, "machine"),
        traced=known["traced"],
        pytest=_text_or_none(known, "pytest"),
        memalert=_text(known, "memalert"),
    )


def encode_overhead(overhead: Overhead) -> dict[str, object]:
    """Return an overhead as a dict; a number that is not finite becomes 0."""
    return {name: _finite(value) or 0.0 for name, value in _shallow(overhead).items()}


def _decode_overhead(entry: object) -> Overhead:
    """Return the overhead of such a dict; raises MemalertError."""
    known = _mapping(entry)
    return Overhead(
        tests_s=_number(known, "tests_s"),
        screening_s=_number(known, "screening_s"),
        reruns_s=_number(known, "reruns_s"),
        reporting_s=_number(known, "reporting_s"),
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
    known = _mapping(entry)
    return GateResult(
        path=_text(known, "path"),
        environment=_text(known, "environment"),
        compared=_whole(known, "compared"),
        comparisons=_each(known, "comparisons", decode_comparison),
        new=_texts(known, "new"),
        missing=_texts(known, "missing"),
        renamed=_each(known, "renamed", _decode_renamed),
        uncompared=_texts(known, "uncompared"),
        wholes=_texts(known, "wholes"),
        strict=known.get("strict") is True,
        partial=known.get("partial") is True,
        refusal=_text_or_none(known, "refusal"),
    )


def encode_comparison(comparison: Comparison) -> dict[str, object]:
    """Return a comparison as a dict."""
    return {**_shallow(comparison), "further": list(comparison.further)}


def decode_comparison(entry: object) -> Comparison:
    """Return the comparison of such a dict; raises MemalertError."""
    known = _mapping(entry)
    further = known.get("further", [])
    if not isinstance(further, list):
        raise _unfit("further", further, "a list of numbers")
    return Comparison(
        nodeid=_text(known, "nodeid"),
        metric=_text(known, "metric"),
        baseline=_number(known, "baseline"),
        observed=_number(known, "observed"),
        allowance=_number(known, "allowance"),
        status=_one_of(known, "status", _COMPARISON_STATUSES),
        further=tuple(_number({"further": value}, "further") for value in further),
    )


def _decode_renamed(entry: object) -> tuple[str, str]:
    match entry:
        case [str() as old, str() as new]:
            return old, new
    raise _unfit("renamed", entry, "a pair of node ids")


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
        raise _unfit("format", found, f"a format of a memalert report, which are 1 to {FORMAT}")
    if found > FORMAT:
        raise MemalertError(
            f"format: {found} is newer than what this version reads (up to {FORMAT}); "
            "upgrade with: pip install --upgrade pytest-memalert"
        )
    return Run(
        run_id=_text(document, "run_id"),
        started_at=_time(document, "started_at"),
        duration_s=_number(document, "duration_s"),
        environment=_at("environment", _decode_environment, document.get("environment")),
        overhead=_at("overhead", _decode_overhead, document.get("overhead")),
        reruns=_at("totals", lambda totals: _whole(_mapping(totals), "reruns"), document.get("totals")),
        tests=_each(document, "tests", decode_measurement),
        fixtures=_each(document, "fixtures", decode_fixture),
        alerts=_each(document, "alerts", decode_alert),
        notes=_each(document, "notes", decode_note),
        fail_on=_fail_on(document),
        gate=None if document.get("gate") is None else _at("gate", _decode_gate, document["gate"]),
        commit=_text_or_none(document, "commit"),
    )


def _fail_on(document: Mapping[str, Any]) -> AlertSeverity | None:
    """Return the severity that failed a test in the run; null is "never"."""
    if "fail_on" in document and document["fail_on"] is None:
        return None
    return _member({"fail_on": "critical", **document}, "fail_on", AlertSeverity)


# ------------------------------------------------------------ to plain values


def _shallow(record: Any) -> dict[str, object]:
    """Return the fields of a record that holds none but plain values."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _finite(value: Any) -> float | None:
    """Return ``value`` if JSON can write it."""
    return value if value is not None and value - value == 0 else None


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat()


# ---------------------------------------------------------- from plain values


def _unfit(key: str, value: object, wanted: str) -> MemalertError:
    shown = "null" if value is None else reprlib.repr(value)
    return MemalertError(f"{key}: {shown} is not {wanted}")


def _at(key: str, decode: Callable[[object], _T], value: object) -> _T:
    """Return ``decode(value)``; what it raises names the place."""
    try:
        return decode(value)
    except MemalertError as error:
        raise MemalertError(f"{key}.{error}") from None


def _each(entry: Mapping[str, Any], key: str, decode: Callable[[object], _T]) -> tuple[_T, ...]:
    """Return the decoded entries of a list; a list that an older report lacks is empty."""
    values = entry.get(key)
    if values is None:
        return ()
    if not isinstance(values, list | tuple):
        raise _unfit(key, values, "a list")
    return tuple(_at(f"{key}[{index}]", decode, value) for index, value in enumerate(values))


def _mapping(entry: object) -> dict[str, Any]:
    # JSON's keys are text; only a dict made by hand has others.
    if not isinstance(entry, dict):
        raise _unfit("entry", entry, "an object with keys")
    return entry


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _unfit(key, value, "text")
    return value


def _text_or_none(entry: Mapping[str, Any], key: str) -> str | None:
    return None if entry.get(key) is None else _text(entry, key)


def _texts(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = entry.get(key)
    if values is None:
        return ()
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise _unfit(key, values, "a list of texts")
    return tuple(values)


def _phases(entry: object) -> dict[str, int]:
    growths = _mapping(entry)
    return {
        key.removesuffix(_PHASE_SUFFIX): _whole(growths, key) for key in growths if growths[key] is not None
    }


def _number(entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
        raise _unfit(key, value, "a number")
    return value


def _number_or_none(entry: Mapping[str, Any], key: str) -> float | None:
    return None if entry.get(key) is None else _number(entry, key)


def _whole(entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unfit(key, value, "a whole number")
    return value


def _whole_or_none(entry: Mapping[str, Any], key: str) -> int | None:
    return None if entry.get(key) is None else _whole(entry, key)


def _one_of(entry: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    value = _text(entry, key)
    if value not in allowed:
        raise _unfit(key, value, f"one of {', '.join(allowed)}")
    return value


def _member(entry: Mapping[str, Any], key: str, words: type[_E]) -> _E:
    value = _text(entry, key)
    try:
        return words(value)
    except ValueError:
        raise _unfit(key, value, f"one of {', '.join(word.value for word in words)}") from None


def _time(entry: Mapping[str, Any], key: str) -> datetime:
    value = _text(entry, key)
    try:
        # Python 3.10 doesn't read the "Z" that other programs write.
        moment = datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith("Z") else value)
        if moment.tzinfo is not None:
            return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass
    raise _unfit(key, value, "a time with its zone, such as '2026-01-31T12:00:00+00:00'")
