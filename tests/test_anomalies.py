"""Thresholds that earlier runs set: how they are read, and what they come to."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.anomalies import (
    is_of_history,
    note_gap,
    parse_history_threshold,
    resolve_rule,
)
from pytest_memalert.cli import main
from pytest_memalert.errors import ConfigurationError
from pytest_memalert.limits.marker import parse_marker
from pytest_memalert.limits.tables import read_rules
from pytest_memalert.model import (
    AlertCategory,
    AlertCondition,
    AlertRule,
    AlertSeverity,
    HistoryThreshold,
    SeriesPoint,
)
from pytest_memalert.rules import Breach, describe, find_breaches, group_notes

MIB = 2**20
START = datetime(2026, 11, 1, tzinfo=timezone.utc)
PLACE = "pyproject.toml: tool.memalert.rules"


def points(values: Sequence[float]) -> list[SeriesPoint]:
    """Return a series of one run a day."""
    return [
        SeriesPoint(run_id=str(day), started_at=START + timedelta(days=day), commit=None, value=value)
        for day, value in enumerate(values)
    ]


def rule(text: str = "p99 of 30 runs", metric: str = "peak_bytes", **changes: object) -> AlertRule:
    """Return a rule with this threshold, in bytes."""
    made = AlertRule(
        name="unusual",
        category=AlertCategory.MEMORY_THRESHOLD,
        severity=AlertSeverity.CRITICAL,
        metric=metric,
        threshold=math.nan,
        against=parse_history_threshold(text, "bytes"),
        origin=f"{PLACE}[0]",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def limit(values: Sequence[float], made: AlertRule) -> float | None:
    """Return the threshold that these values give a rule."""
    resolved = resolve_rule(made, points(values))
    return None if resolved is None else resolved.threshold


def problems_of(**keys: object) -> list[str]:
    """Return what is wrong with one rule."""
    return read_rules([{"name": "unusual", "metric": "peak_bytes", **keys}], place=PLACE)[1]


# -------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99 of 30 runs", ("percentile", 99, 30, 10, False)),
        ("P95.5  of 12 to 30 runs", ("percentile", 95.5, 30, 12, False)),
        ("p90 of 7 runs", ("percentile", 90, 7, 7, False)),
        ("4 MAD over median", ("mad", 4, 30, 10, False)),
        ("2.5 MAD over the median of 20 runs", ("mad", 2.5, 20, 10, False)),
        ("3 MADs under median of 15 to 20 runs", ("mad", -3, 20, 15, False)),
        ("step of 10 % in 20 runs", ("step", 0.1, 20, 10, True)),
        ("step of 5 MiB over 12 to 30 runs", ("step", 5 * MIB, 30, 12, False)),
        ("drift of 10% in 40 runs", ("drift", 0.1, 40, 10, True)),
    ],
)
def test_threshold_is_read(text: str, expected: tuple[str, float, int, int, bool]) -> None:
    """In any case and spacing; without runs 30 are looked at, without a minimum 10 are needed."""
    read = parse_history_threshold(text, "bytes")
    assert (read.kind, read.value, read.runs, read.minimum, read.is_share) == expected
    assert read.text == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("p99", "'p99' is no threshold of earlier runs; write it as 'p99 of 30 runs' or '4 MAD over median"),
        ("99 percentile of 30 runs", "is no threshold of earlier runs"),
        ("4 MAD above median", "is no threshold of earlier runs"),
        ("p100 of 30 runs", "percentiles lie between 0 and 100; write it as 'p99 of 30 runs'"),
        ("p0 of 30 runs", "percentiles lie between 0 and 100"),
        ("0 MAD over median", "half of all values lie there; write it as '4 MAD over median'"),
        ("p99 of 3 runs", "3 runs are too few to tell; write 5 or more"),
        ("p99 of 40 to 30 runs", "40 is more than 30; write the smaller number first"),
        ("p99 of 5000 runs", "5000 runs are more than are looked at; write 1000 or fewer"),
        ("step of 10 % in 5 runs", "5 runs are too few to tell; write 10 or more"),
        ("step of 10 % in 90 runs", "90 runs are more than are looked at; write 60 or fewer"),
        ("step of 10 megs in 20 runs", "'10 megs' is not a size; write it as '10 MiB'"),
        ("step of 0 % in 20 runs", "every change is more than none"),
    ],
)
def test_wrong_threshold_is_told_with_a_remedy(text: str, problem: str) -> None:
    """Nothing is guessed."""
    assert is_of_history(text)
    (told,) = problems_of(threshold=text, scope="session")
    assert told.startswith(f"{PLACE}[0].threshold: ")
    assert problem in told


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"threshold": "p99 of 30 runs", "condition": "<"}, "condition '<' doesn't go with 'p99 of 30 runs'"),
        ({"threshold": "p1 of 30 runs"}, "write condition = '<'"),
        ({"threshold": "p99 of 30 runs", "condition": "=="}, "write condition = '>'"),
        ({"threshold": "4 MAD under median"}, "write condition = '<'"),
        (
            {"threshold": "step of 10 % in 20 runs"},
            "in a rule of the configuration write scope = 'session' beside it; for tests write ",
        ),
        (
            {"threshold": "p99 of 30 runs", "metric": "leak_bytes_per_run"},
            "leak_bytes_per_run is known of tests that leak alone",
        ),
    ],
)
def test_threshold_that_does_not_go_with_its_rule_is_refused(keys: dict[str, object], problem: str) -> None:
    """It would fire always, never, or mean nothing."""
    (told,) = problems_of(**keys)
    assert problem in told


@pytest.mark.parametrize("text", ["5 MiB", "12", "2 megs", "1.5 s", "10 %"])
def test_quantity_is_no_threshold_of_history(text: str) -> None:
    """Well written or not, it is told as the quantity it is meant to be."""
    assert not is_of_history(text)


def test_rule_of_a_file_is_held_against_history() -> None:
    """Until it is resolved, no value breaks it."""
    rules, problems = read_rules(
        [{"name": "unusual", "metric": "peak_bytes", "threshold": "p99 of 30 runs"}], place=PLACE
    )
    made = rules[-1]
    assert problems == []
    assert made.against == HistoryThreshold(
        kind="percentile", value=99, runs=30, minimum=10, text="p99 of 30 runs"
    )
    assert find_breaches([made], {"peak_bytes": 1e18}) == ()


def test_quantity_takes_the_place_of_a_threshold_of_history() -> None:
    """A later table wins as a whole key."""
    rules, _ = read_rules([{"name": "efficiency", "threshold": "p5 of 20 runs"}], place=PLACE)
    assert [one.against is not None for one in rules if one.name == "efficiency"] == [True]
    rules, _ = read_rules([{"name": "efficiency", "threshold": 0.4}], place=PLACE)
    assert [one.against for one in rules if one.name == "efficiency"] == [None]


def test_marker_may_hold_a_test_against_its_history() -> None:
    """As a rule for all tests may."""
    (made,) = parse_marker([("test_a.py::test_b", {"peak": "p95 of 20 runs"}, ())]).rules
    assert made.against is not None
    assert made.against.text == "p95 of 20 runs"
    with pytest.raises(ConfigurationError) as refused:
        parse_marker([("test_a.py::test_b", {"peak": "p5 of 20 runs", "leak": "p95 of 20 runs"}, ())])
    assert len(refused.value.problems) == 2


# ------------------------------------------------------------------ resolving


def test_percentile_is_a_value_seen_and_leaves_the_least_change_above() -> None:
    """Half a MiB, or 5 % of the level."""
    ten = [MIB * n for n in range(1, 11)]
    assert limit(ten, rule("p90 of 30 runs")) == 9 * MIB + 512 * 1024
    assert limit(ten, rule("p91 of 30 runs")) == 10 * MIB + 512 * 1024
    assert limit([MIB * n for n in range(1, 12)], rule("p50 of 30 runs")) == 6 * MIB + 512 * 1024
    assert limit([100 * MIB] * 20, rule("p99 of 30 runs")) == 105 * MIB


def test_deviations_from_the_median_count_only_beyond_the_least_change() -> None:
    """Values that repeat exactly have a deviation of zero; nothing would be left to scatter."""
    assert limit([100 * MIB] * 20, rule("4 MAD over median")) == 105 * MIB
    spread = [100 * MIB, 90 * MIB, 110 * MIB] * 4 + [100 * MIB]
    assert limit(spread, rule("4 MAD over median")) == 140 * MIB


def test_what_a_tenth_of_the_runs_had_is_not_unusual() -> None:
    """The median and its deviations are blind to it; one run alone is no such thing."""
    two_values = [100 * MIB] * 16 + [130 * MIB] * 4
    assert limit(two_values, rule("4 MAD over median")) == 135 * MIB
    assert limit([100 * MIB] * 19 + [130 * MIB], rule("4 MAD over median")) == 105 * MIB


def test_lower_limits_lie_below() -> None:
    """For what is worse the less there is of it."""
    under = rule("4 MAD under median", condition=AlertCondition.LESS_THAN)
    assert limit([100 * MIB] * 20, under) == 95 * MIB
    low = rule("p5 of 20 runs", condition=AlertCondition.LESS_THAN)
    assert limit([100 * MIB] * 20, low) == 95 * MIB


def test_only_the_latest_runs_count() -> None:
    """As many as the threshold says."""
    assert limit([900 * MIB] * 5 + [100 * MIB] * 10, rule("p99 of 10 runs")) == 105 * MIB


def test_too_few_runs_resolve_nothing_and_are_noted() -> None:
    """Never silence: which rule, and how many runs it takes."""
    assert limit([100 * MIB] * 9, rule()) is None
    assert limit([100 * MIB] * 10, rule()) is not None
    note = note_gap(rule(), nodeid="test_a.py::test_b")
    assert (note.kind, note.nodeid) == ("no_history", "test_a.py::test_b")
    assert note.text == (
        "no data for peak_bytes (pyproject.toml: tool.memalert.rules[0]): 'p99 of 30 runs' needs "
        "10 earlier runs in the history; the limit was not judged"
    )


def test_notes_on_many_tests_without_history_are_one() -> None:
    """The first run of a suite is no wall of notes; other notes are left as they are."""
    gaps = [note_gap(rule(), nodeid=f"test_a.py::test_{number}") for number in (1, 2, 3, 3)]
    other = replace(gaps[0], kind="no_data")
    grouped = group_notes([*gaps, other, other])
    assert [note.kind for note in grouped] == ["no_history", "no_data", "no_data"]
    assert grouped[0].nodeid is None
    assert grouped[0].text.endswith("was not judged for 3 tests, among them test_a.py::test_1")
    assert group_notes(gaps[:1]) == (gaps[0],)


def test_alert_says_that_earlier_runs_set_the_limit() -> None:
    """And how."""
    resolved = resolve_rule(rule(), points([48 * MIB] * 20))
    assert resolved is not None
    (breach,) = find_breaches([resolved], {"peak_bytes": 61 * MIB})
    assert describe(breach, "test_load") == (
        "test_load: peak 61 MiB is over the limit of 50.4 MiB that earlier runs set (p99 of 30 runs)"
    )
    assert describe(Breach(rule=rule(against=None, threshold=MIB), observed=2 * MIB), "x").endswith("1 MiB")


# ---------------------------------------------------------------- the session


def session_limit(
    values: Sequence[float], text: str, condition: AlertCondition = AlertCondition.GREATER_THAN
) -> float:
    """Return the threshold of a trend rule, the last of ``values`` being this run's."""
    *past, now = points(values)
    resolved = resolve_rule(rule(text, scope="session", condition=condition), past, now=now)
    assert resolved is not None
    return resolved.threshold


def test_step_of_the_session_sets_a_limit_only_where_there_is_one() -> None:
    """The level before it, and the change that is allowed."""
    step = [100 * MIB] * 15 + [120 * MIB] * 5
    assert session_limit(step, "step of 10 % in 20 runs") == pytest.approx(110 * MIB)
    assert session_limit(step, "step of 8 MiB in 20 runs") == 108 * MIB
    assert math.isnan(session_limit(step, "step of 25 % in 20 runs"))
    assert math.isnan(session_limit(step, "drift of 10 % in 20 runs"))
    assert math.isnan(session_limit([100 * MIB] * 20, "step of 10 % in 20 runs"))
    assert math.isnan(session_limit([100 * MIB] * 19 + [120 * MIB], "step of 10 % in 20 runs"))


def test_drift_of_the_session_sets_a_limit() -> None:
    """From the level that it began at."""
    drift = [(100 + run) * MIB for run in range(20)]
    assert session_limit(drift, "drift of 10 % in 20 runs") == pytest.approx(110 * MIB)
    assert math.isnan(session_limit(drift, "step of 10 % in 20 runs"))


def test_fall_breaks_no_limit_above_and_a_rise_none_below() -> None:
    """Each rule looks one way."""
    fall = [120 * MIB] * 15 + [100 * MIB] * 5
    assert math.isnan(session_limit(fall, "step of 10 % in 20 runs"))
    below = session_limit(fall, "step of 10 % in 20 runs", condition=AlertCondition.LESS_THAN)
    assert below == pytest.approx(108 * MIB)


def test_trend_of_too_few_runs_is_not_judged() -> None:
    """This run is one of them."""
    *past, now = points([100 * MIB] * 9)
    assert resolve_rule(rule("step of 10 % in 20 runs", scope="session"), past, now=now) is None


# ------------------------------------------------------------- memalert rules


def test_command_prints_the_threshold_as_it_was_written(tmp_path: Path) -> None:
    """And from how many runs on it is judged."""
    config = tmp_path / "pyproject.toml"
    config.write_text(
        "[[tool.memalert.rules]]\nname = 'unusual'\nmetric = 'peak_bytes'\nthreshold = 'p99 of 30 runs'\n",
        encoding="utf-8",
    )
    printed = CliRunner().invoke(main, ["rules", "--config", str(config)])
    assert printed.exit_code == 0
    assert "  peak_bytes > p99 of 30 runs\n" in printed.output
    assert "not judged while the history has fewer than 10 earlier runs" in printed.output
    document = json.loads(CliRunner().invoke(main, ["rules", "--json", "--config", str(config)]).output)
    unusual = document["rules"][-1]
    assert (unusual["threshold"], unusual["against"]) == (None, "p99 of 30 runs")


# ------------------------------------------------------------------------ laws

values_of_runs = st.lists(st.integers(0, 400 * MIB).map(float), min_size=10, max_size=30)


@given(values_of_runs, st.integers(1, 99), st.sampled_from(["p{} of 30 runs", "{} MAD over median"]))
def test_law_limit_lies_at_least_the_least_change_from_the_middle(
    values: list[float], number: int, form: str
) -> None:
    """So what scatters by less breaks nothing."""
    if form.startswith("p"):
        number = 50 + number // 2
    found = limit(values, rule(form.format(number)))
    middle = limit(values, rule("p50 of 30 runs"))
    assert found is not None
    assert middle is not None
    assert found >= middle


@given(values_of_runs, st.randoms())
def test_law_order_of_the_runs_does_not_matter_to_a_percentile(values: list[float], chance: object) -> None:
    """Only which they are."""
    mixed = sorted(values, key=lambda _: chance.random())  # type: ignore[attr-defined]
    assert limit(mixed, rule()) == limit(values, rule())


@given(values_of_runs)
def test_law_percentiles_are_in_order(values: list[float]) -> None:
    """The higher, the less often broken."""
    limits = [limit(values, rule(f"p{percent} of 30 runs")) for percent in (50, 75, 90, 99)]
    assert limits == sorted(limits)  # type: ignore[type-var]


@given(values_of_runs)
def test_law_no_value_of_the_past_breaks_the_highest_percentile(values: list[float]) -> None:
    """A rule that its own series would break cries wolf."""
    made = resolve_rule(rule("p99.9 of 30 runs"), points(values))
    assert made is not None
    assert all(not find_breaches([made], {"peak_bytes": value}) for value in values)
