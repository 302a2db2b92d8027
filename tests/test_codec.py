"""Holds the codec to its law (what is written can be read back) and to the format of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_memalert import codec
from pytest_memalert.errors import MemalertError
from pytest_memalert.model import (
    AlertSeverity,
    Environment,
    FixtureGrowth,
    LeakVerdict,
    Measurement,
    Note,
    Overhead,
    PerformanceAlert,
    Run,
    SignalGrowth,
    Survivor,
)
from tests import makers
from tests.makers import NOON, make_alert, make_test

# Python reads "\ud83d\ude00" back as one character, so of the surrogates only those are
# drawn that stand for bytes which are no UTF-8: they are what file names bring.
TEXT = st.text(
    st.one_of(st.characters(), st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)), max_size=20
)
NUMBER = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
TIME = st.datetimes(timezones=st.just(timezone.utc))
METRIC = TEXT.filter(lambda name: name not in codec.TAKEN_KEYS)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)

LEAKS = st.builds(
    LeakVerdict,
    reason=st.none() | TEXT,
    bytes_per_run=st.none() | NUMBER,
    blocks_per_run=st.none() | NUMBER,
    rate_bytes_per_hour=st.none() | NUMBER,
)
MEASUREMENTS = st.builds(
    Measurement,
    nodeid=TEXT,
    worker=TEXT,
    outcome=TEXT,
    component=TEXT,
    values=st.dictionaries(METRIC | st.sampled_from(["rss_bytes", "growth_bytes"]), NUMBER, max_size=4),
    phases=st.dictionaries(st.sampled_from(["setup", "call", "teardown"]), st.integers()),
    leak=LEAKS,
)
FIXTURES = st.builds(FixtureGrowth, name=TEXT, scope=TEXT, location=TEXT, worker=TEXT, nodeid=TEXT)
SURVIVORS = st.builds(Survivor, type=TEXT, allocated_at=TEXTS, held_by=TEXTS)
GROWTHS = st.builds(SignalGrowth, signal=TEXT, per_run=NUMBER)
ALERTS = st.builds(
    PerformanceAlert,
    nodeids=TEXTS,
    observed=NUMBER,
    limit=NUMBER,
    message=TEXT,
    recommendations=TEXTS,
    growth=st.lists(GROWTHS, max_size=2).map(tuple),
    survivors=st.lists(SURVIVORS, max_size=2).map(tuple),
    raised_at=TIME,
    acknowledged=st.none() | TEXT,
    inhibited_by=st.none() | TEXT,
)
NOTES = st.builds(Note, nodeid=st.none() | TEXT, text=TEXT)
ENVIRONMENTS = st.builds(Environment, platform=TEXT, pytest=st.none() | TEXT)
OVERHEADS = st.builds(Overhead, tests_s=NUMBER, screening_s=NUMBER, reruns_s=NUMBER, reporting_s=NUMBER)
RUNS = st.builds(
    Run,
    run_id=TEXT,
    started_at=TIME,
    duration_s=NUMBER,
    environment=ENVIRONMENTS,
    overhead=OVERHEADS,
    tests=st.lists(MEASUREMENTS, max_size=2).map(tuple),
    fixtures=st.lists(FIXTURES, max_size=2).map(tuple),
    alerts=st.lists(ALERTS, max_size=2).map(tuple),
    notes=st.lists(NOTES, max_size=2).map(tuple),
    fail_on=st.none() | st.sampled_from(AlertSeverity),
    commit=st.none() | TEXT,
)
READ = "read and written again"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def make_measurement(**changes: Any) -> Measurement:
    """Return a measurement of one passed test."""
    test = replace(make_test(rss_bytes=1200, duration_s=0.5), worker="gw0", rss_before_bytes=1000)
    return replace(test, **changes)


def make_run(**changes: Any) -> Run:
    """Return a run of one test."""
    run = makers.make_run(make_alert(), reruns=3, tests=(make_measurement(),))
    return replace(run, **changes)


def encoded_run(**changes: Any) -> dict[str, Any]:
    """Return the report of ``make_run()`` with some of its keys replaced."""
    return {**codec.encode_run(make_run()), **changes}


def read_or_refused(document: object) -> str:
    """Return why a report is refused; ``READ`` when it is read and can be written again."""
    try:
        run = codec.decode_run(document)
    except MemalertError as error:
        return str(error)
    json.dumps(codec.encode_run(run), allow_nan=False)
    return READ


def through_json(value: object) -> object:
    """Return ``value`` as another program would read it."""
    return json.loads(json.dumps(value, allow_nan=False))


# ---------------------------------------------------------------- the laws


@given(MEASUREMENTS)
def test_law_a_measurement_comes_back_as_it_was(measurement: Measurement) -> None:
    assert codec.decode_measurement(through_json(codec.encode_measurement(measurement))) == measurement


@given(LEAKS)
def test_law_a_verdict_comes_back_as_it_was(verdict: LeakVerdict) -> None:
    assert codec.decode_leak(through_json(codec.encode_leak(verdict))) == verdict


@given(FIXTURES)
def test_law_a_fixture_comes_back_as_it_was(fixture: FixtureGrowth) -> None:
    assert codec.decode_fixture(through_json(codec.encode_fixture(fixture))) == fixture


@given(ALERTS)
def test_law_an_alert_comes_back_as_it_was(alert: PerformanceAlert) -> None:
    assert codec.decode_alert(through_json(codec.encode_alert(alert))) == alert


@given(NOTES)
def test_law_a_note_comes_back_as_it_was(note: Note) -> None:
    assert codec.decode_note(through_json(codec.encode_note(note))) == note


# Runs are large: on a busy machine making one is slow, and says nothing of what is tested.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(RUNS)
def test_law_a_run_comes_back_as_it_was(run: Run) -> None:
    assert codec.decode_run(through_json(codec.encode_run(run))) == run


@given(MEASUREMENTS)
def test_law_a_test_reads_the_same_from_its_report_and_from_the_json_report(measurement: Measurement) -> None:
    (entry,) = encoded_run(**codec.encode_run(make_run(tests=(measurement,))))["tests"]
    assert codec.decode_measurement(entry) == codec.decode_measurement(codec.encode_measurement(measurement))


@given(JSON_VALUES, st.sampled_from(sorted(codec.encode_run(make_run()))))
def test_law_a_damaged_report_is_read_or_refused_by_name(value: object, key: str) -> None:
    assert read_or_refused(encoded_run(**{key: value})).startswith((READ, key))


@given(JSON_VALUES, st.sampled_from(sorted(codec.encode_alert(make_alert()))))
def test_law_a_damaged_alert_is_read_or_refused_with_its_place(value: object, key: str) -> None:
    damaged = {**codec.encode_alert(make_alert()), key: value}
    assert read_or_refused(encoded_run(alerts=[damaged])).startswith((READ, f"alerts[0].{key}"))


# -------------------------------------------------------- what is not known


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_not_known(value: float) -> None:
    measurement = make_measurement(
        values={"rss_bytes": 5, "growth_bytes": value}, leak=LeakVerdict(status="clean", bytes_per_run=value)
    )
    decoded = codec.decode_measurement(through_json(codec.encode_measurement(measurement)))
    assert (decoded.values, decoded.leak.bytes_per_run) == ({"rss_bytes": 5}, None)


def test_no_number_of_a_report_is_infinite() -> None:
    run = make_run(
        duration_s=float("nan"),
        overhead=Overhead(tests_s=float("inf")),
        alerts=(make_alert(observed=float("inf"), limit=float("nan")),),
    )
    document = codec.encode_run(run)
    assert through_json(document) == document


def test_what_a_test_does_not_know_travels_not_at_all() -> None:
    assert codec.encode_measurement(make_measurement(rss_before_bytes=None, values={})) == {
        "nodeid": "tests/test_a.py::test_load",
        "worker": "gw0",
        "outcome": "passed",
        "component": "tests",
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_a_whole_number_beyond_every_float_is_refused_and_never_written(sign: int) -> None:
    """JSON has such numbers, and to compute with one was a traceback."""
    measurement = make_measurement(values={"rss_bytes": 5, "net_sent_bytes": sign * 10**400})
    entry = codec.encode_measurement(measurement)
    assert codec.decode_measurement(entry).values == {"rss_bytes": 5}
    with pytest.raises(MemalertError, match=r"^net_sent_bytes: -?1\d+\.\.\.\d+ is not a number$"):
        codec.decode_measurement({**entry, "net_sent_bytes": sign * 10**400})
    with pytest.raises(MemalertError, match="is not a whole number"):
        codec.decode_measurement({**entry, "rss_before_bytes": sign * 10**400})


# --------------------------------------------------------------- the format


def test_report_names_every_documented_key_of_a_test_and_null_is_not_known() -> None:
    (entry,) = encoded_run()["tests"]
    assert entry == {
        "nodeid": "tests/test_a.py::test_load",
        "worker": "gw0",
        "outcome": "passed",
        "component": "tests",
        "duration_s": 0.5,
        "rss_before_bytes": 1000,
        "rss_after_bytes": 1200,
        "rss_peak_bytes": None,
        "growth_bytes": None,
        "peak_bytes": None,
        "traced_peak_bytes": None,
        "cpu_s": None,
        "phases": {"setup_growth_bytes": None, "call_growth_bytes": None, "teardown_growth_bytes": None},
        "leak": {
            "status": "unchecked",
            "reason": None,
            "bytes_per_run": None,
            "blocks_per_run": None,
            "runs": 0,
            "rate_bytes_per_hour": None,
            "brief": False,
        },
    }


def test_report_has_every_other_metric_by_its_name() -> None:
    run = make_run(tests=(make_measurement(values={"uss_bytes": 7, "queue_length": 2}),))
    (entry,) = encoded_run(**codec.encode_run(run))["tests"]
    assert (entry["uss_bytes"], entry["queue_length"]) == (7, 2)


def test_report_has_the_keys_of_its_format() -> None:
    assert list(encoded_run()) == [
        "format",
        "run_id",
        "started_at",
        "duration_s",
        "commit",
        "fail_on",
        "environment",
        "overhead",
        "totals",
        "tests",
        "fixtures",
        "alerts",
        "notes",
        "gate",
    ]


def test_acknowledged_and_inhibited_alerts_are_counted_only_as_such() -> None:
    run = make_run(
        alerts=(
            make_alert(),
            make_alert(severity=AlertSeverity.WARNING),
            make_alert(severity=AlertSeverity.INFO),
            make_alert(inhibited_by="leak-rate"),
            make_alert(acknowledged="known"),
            make_alert(acknowledged="known", inhibited_by="leak-rate"),
        )
    )
    assert codec.encode_run(run)["totals"] == {
        "tests": 1,
        "reruns": 3,
        "alerts": {"critical": 1, "warning": 1, "info": 1, "acknowledged": 2, "inhibited": 1},
    }


def test_metric_named_like_a_key_of_the_report_is_refused() -> None:
    with pytest.raises(MemalertError, match=r"a metric can't be called 'outcome'.*'probed_outcome'"):
        codec.encode_measurement(make_measurement(values={"outcome": 1}))


def test_times_are_written_in_utc() -> None:
    there = datetime.fromisoformat("2026-11-23T14:00:00+02:00")
    assert codec.encode_alert(make_alert(raised_at=there))["raised_at"] == "2026-11-23T12:00:00+00:00"


def test_time_with_a_z_is_read() -> None:
    run = codec.decode_run(encoded_run(started_at="2026-11-23T12:00:00Z"))
    assert run.started_at == NOON


def test_newer_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(MemalertError, match=r"format: 2 is newer .*\(up to 1\); upgrade with: pip install"):
        codec.decode_run(encoded_run(format=2))


@pytest.mark.parametrize("document", [None, [], "text", {}, {"tests": []}, {"format": 1}])
def test_what_is_no_report_is_called_that(document: object) -> None:
    with pytest.raises(MemalertError, match=r"not a memalert report"):
        codec.decode_run(document)


def test_report_without_fail_on_failed_tests_on_critical_alerts() -> None:
    document = encoded_run()
    del document["fail_on"]
    assert codec.decode_run(document).fail_on is AlertSeverity.CRITICAL


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        ({"growth_bytes": "much"}, r"tests\[1\]\.growth_bytes: 'much' is not a number"),
        ({"growth_bytes": True}, r"tests\[1\]\.growth_bytes: True is not a number"),
        ({"growth_bytes": float("nan")}, r"tests\[1\]\.growth_bytes: nan is not a number"),
        ({"rss_before_bytes": 1.5}, r"tests\[1\]\.rss_before_bytes: 1.5 is not a whole number"),
        ({"nodeid": None}, r"tests\[1\]\.nodeid: null is not text"),
        (
            {"leak": {"status": "maybe", "runs": 0}},
            r"tests\[1\]\.leak\.status: 'maybe' is not one of clean, leaking, unclear, unchecked",
        ),
        (
            {"phases": {"call_growth_bytes": "1"}},
            r"tests\[1\]\.phases\.call_growth_bytes: '1' is not a whole",
        ),
    ],
)
def test_refusal_says_where_in_the_report(damage: dict[str, object], place: str) -> None:
    (entry,) = encoded_run()["tests"]
    with pytest.raises(MemalertError, match=place):
        codec.decode_run(encoded_run(tests=[entry, {**entry, **damage}]))
