"""Holds the lives of alerts to what a session can know: nothing is resolved that nobody looked at."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.limits.defaults import DEFAULT_RULES
from pytest_memalert.lives import evolve, note_resolved
from pytest_memalert.model import (
    OPTED_OUT,
    AlertCategory,
    AlertCondition,
    AlertLife,
    AlertRule,
    AlertSeverity,
    GateResult,
    LeakVerdict,
    Note,
    PerformanceAlert,
    Run,
    SignalGrowth,
)
from tests.makers import MIB, NODEID, NOON, make_alert, make_run, make_test

GROWTH = AlertRule(
    name="growth",
    category=AlertCategory.MEMORY_GROWTH,
    severity=AlertSeverity.CRITICAL,
    metric="growth_bytes",
    threshold=MIB,
)
RULES = (*DEFAULT_RULES, GROWTH)


def make_leak(**changes: Any) -> PerformanceAlert:
    """Return an alert of the rule ``leak``."""
    return make_alert(rule="leak", category=AlertCategory.MEMORY_LEAK, metric="leak_bytes_per_run", **changes)


def go_on(
    previous: Mapping[str, AlertLife], run: Run, *, day: int = 0, **settings: Any
) -> dict[str, AlertLife]:
    """Return all lives after a run, some days later."""
    known: dict[str, Any] = {"rules": RULES, "leaks": "suspects", "at": NOON + timedelta(days=day)}
    changed = evolve(previous, run, **{**known, **settings})
    return {**previous, **{life.fingerprint: life for life in changed}}


def test_alert_seen_for_the_first_time_begins_a_life() -> None:
    lives = go_on({}, make_run(make_alert()))
    (life,) = lives.values()
    assert (life.first_seen, life.times, life.worst, life.resolved_at) == (NOON, 1, 12 * MIB, None)
    assert life.reopened == 0


def test_alert_seen_again_is_the_same_one_and_remembers_its_worst() -> None:
    lives = go_on({}, make_run(make_alert(observed=3.0)))
    again = go_on(lives, make_run(make_alert(observed=2.0)), day=1)
    assert again["f1"].times == 2
    assert again["f1"].worst == 3.0
    assert again["f1"].first_seen == NOON
    assert again["f1"].last_seen == NOON + timedelta(days=1)


def test_alert_with_more_to_observe_is_worse() -> None:
    lives = go_on({}, make_run(make_alert(observed=2.0)))
    assert go_on(lives, make_run(make_alert(observed=3.0)))["f1"].worst == 3.0


def test_alert_of_a_rule_that_forbids_low_values_is_worse_where_they_are_lower() -> None:
    low = {"condition": AlertCondition.LESS_THAN}
    lives = go_on({}, make_run(make_alert(observed=0.4, **low)))
    assert go_on(lives, make_run(make_alert(observed=0.3, **low)))["f1"].worst == 0.3
    assert go_on(lives, make_run(make_alert(observed=0.5, **low)))["f1"].worst == 0.4


def test_alert_that_did_not_come_back_is_resolved() -> None:
    lives = go_on(go_on({}, make_run(make_alert())), make_run(), day=1)
    assert lives["f1"].resolved_at == NOON + timedelta(days=1)
    assert lives["f1"].last_seen == NOON


def test_alert_is_not_resolved_by_a_run_without_its_test() -> None:
    lives = go_on({}, make_run(make_alert()))
    assert go_on(lives, make_run(tests=(make_test("tests/test_a.py::test_other"),))) == lives
    assert go_on(lives, make_run(tests=())) == lives


@pytest.mark.parametrize("outcome", ["failed", "error", "xfailed"])
def test_alert_is_not_resolved_by_a_test_that_did_not_run_through(outcome: str) -> None:
    lives = go_on({}, make_run(make_alert()))
    assert go_on(lives, make_run(tests=(make_test(outcome=outcome),))) == lives


@pytest.mark.parametrize("kind", ["not_repeated", "unclear"])
def test_alert_is_not_resolved_where_something_showed_and_was_not_repeated(kind: Any) -> None:
    lives = go_on({}, make_run(make_alert()))
    note = Note(kind=kind, nodeid=NODEID, text="peak 12 MiB in its first run; not repeated")
    assert go_on(lives, replace(make_run(), notes=(note,))) == lives
    assert go_on(lives, make_run())["f1"].resolved_at is not None


def test_alert_is_resolved_though_another_alert_failed_its_test() -> None:
    lives = go_on({}, make_run(make_alert()))
    other = make_alert(fingerprint="f2", rule="limit-peak", metric="peak_bytes")
    assert go_on(lives, make_run(other, tests=(make_test(outcome="failed"),)))["f1"].resolved_at == NOON


def test_alert_of_several_tests_is_resolved_when_all_of_them_ran() -> None:
    second = "tests/test_b.py::test_load"
    lives = go_on({}, make_run(make_alert(nodeids=(NODEID, second))))
    assert go_on(lives, make_run())["f1"].resolved_at is None
    assert go_on(lives, make_run(tests=(make_test(), make_test(second))))["f1"].resolved_at == NOON


OTHER = "tests/test_other.py::test_other"
GONE = frozenset({NODEID})


def test_alert_of_a_test_that_is_gone_is_resolved_by_a_whole_session_alone() -> None:
    lives = go_on({}, make_run(make_alert()))
    without = make_run(tests=(make_test(OTHER),))
    assert go_on(lives, without, gone=GONE, is_whole=False) == lives
    assert go_on(lives, without, gone=GONE)["f1"].resolved_at == NOON


def test_alert_of_a_test_that_is_gone_and_of_one_that_is_there_needs_the_latter_to_run() -> None:
    lives = go_on({}, make_run(make_alert(nodeids=(NODEID, OTHER))))
    assert go_on(lives, make_run(tests=(make_test(OTHER, outcome="failed"),)), gone=GONE) == lives
    assert go_on(lives, make_run(tests=(make_test(OTHER),)), gone=GONE)["f1"].resolved_at == NOON


@pytest.mark.parametrize("new", [f"{NODEID}_renamed", NODEID.replace("tests/", "moved/")])
def test_alert_of_a_test_that_may_have_another_name_now_is_resolved_where_that_ran_through(new: str) -> None:
    lives = go_on({}, make_run(make_leak()))
    for outcome, status in (("failed", "clean"), ("passed", "unclear")):
        test = make_test(new, outcome=outcome, leak=LeakVerdict(status=status))  # type: ignore[arg-type]
        assert go_on(lives, make_run(tests=(test,)), gone=GONE) == lives
    renamed = make_test(new, leak=LeakVerdict(status="clean"))
    assert go_on(lives, make_run(tests=(renamed,)), gone=GONE)["f1"].resolved_at == NOON
    expected = make_test(new, outcome="xfailed")
    assert go_on(lives, make_run(tests=(expected,)), gone=GONE)["f1"].resolved_at == NOON


def test_alert_of_a_renamed_test_is_not_resolved_while_one_of_its_rule_that_came_since_is_there() -> None:
    """An older one is another's."""
    older = make_alert(fingerprint="f0", nodeids=(OTHER,))
    lives = go_on({}, make_run(make_alert(), older))
    new = make_alert(fingerprint="f2", nodeids=(OTHER,), raised_at=NOON + timedelta(days=1))
    for day in (1, 2):
        lives = go_on(lives, make_run(new, tests=(make_test(OTHER),)), gone=GONE, day=day)
        assert lives["f1"].resolved_at is None
    lives = go_on(lives, make_run(older, tests=(make_test(OTHER),)), gone=GONE, day=3)
    assert lives["f1"].resolved_at is not None


def test_alert_of_a_test_that_is_gone_is_resolved_where_what_came_since_ran_through() -> None:
    """It may have another name, in another class and file."""
    lives = go_on({}, make_run(make_leak()))
    unclear = make_run(tests=(make_test(OTHER, leak=LeakVerdict(status="unclear")),))
    assert go_on(lives, unclear, gone=GONE, since=lambda fingerprint: {OTHER}) == lives
    assert go_on(lives, unclear, gone=GONE)["f1"].resolved_at == NOON


@pytest.mark.parametrize(
    "rules",
    [
        DEFAULT_RULES,
        (replace(GROWTH, enabled=False),),
        (replace(GROWTH, tests=("tests/io/*",)),),
        (replace(GROWTH, metric="peak_bytes"),),
    ],
    ids=["removed", "disabled", "for other tests", "on another metric"],
)
def test_alert_whose_rule_is_no_longer_in_force_is_not_resolved(rules: tuple[AlertRule, ...]) -> None:
    lives = go_on({}, make_run(make_alert()))
    assert go_on(lives, make_run(), rules=rules) == lives


def test_alert_of_a_limit_on_the_test_itself_is_resolved_when_the_test_ran() -> None:
    lives = go_on({}, make_run(make_alert(rule="limit-growth")))
    assert go_on(lives, make_run())["f1"].resolved_at == NOON


def test_regression_is_resolved_only_where_the_run_was_compared() -> None:
    regression = make_alert(rule="gate", category=AlertCategory.MEMORY_REGRESSION)
    gate = GateResult(path="memalert.lock.json", environment="here")
    lives = go_on({}, make_run(regression, gate=gate))
    assert go_on(lives, make_run()) == lives
    assert go_on(lives, make_run(gate=replace(gate, refusal="no entries"))) == lives
    assert go_on(lives, make_run(gate=gate))["f1"].resolved_at == NOON


def test_regression_of_a_session_is_resolved_only_where_the_session_was_compared() -> None:
    """Beside a test that failed it isn't."""
    regression = make_alert(
        rule="regression", category=AlertCategory.MEMORY_REGRESSION, nodeids=("session of 2 workers",)
    )
    gate = GateResult(path="memalert.lock.json", environment="here", wholes=("session of 2 workers",))
    lives = go_on({}, make_run(regression, gate=gate))
    assert go_on(lives, make_run(gate=replace(gate, wholes=("collection",)))) == lives
    assert go_on(lives, make_run(gate=gate))["f1"].resolved_at == NOON


def test_leak_is_not_resolved_where_nobody_looked_for_leaks() -> None:
    lives = go_on({}, make_run(make_leak()))
    assert go_on(lives, make_run(), leaks="off") == lives
    spent = make_test(leak=LeakVerdict(reason="the budget for re-runs is spent"))
    assert go_on(lives, make_run(tests=(spent,))) == lives
    opted_out = make_test(leak=LeakVerdict(reason=f"{OPTED_OUT}: inserts rows"))
    assert go_on(lives, make_run(tests=(opted_out,))) == lives
    unclear = make_test(leak=LeakVerdict(status="unclear", reason="it fails when repeated"))
    assert go_on(lives, make_run(tests=(unclear,))) == lives


def test_leak_that_made_its_test_a_suspect_is_resolved_when_the_test_is_none() -> None:
    lives = go_on({}, make_run(make_leak()))
    assert go_on(lives, make_run())["f1"].resolved_at == NOON


def test_leak_that_only_checking_every_test_finds_is_not_resolved_by_looking_at_suspects() -> None:
    lives = go_on({}, make_run(make_leak()), leaks="all")
    assert go_on(lives, make_run(), leaks="suspects") == lives
    clean = make_test(leak=LeakVerdict(status="clean"))
    assert go_on(lives, make_run(tests=(clean,)), leaks="all")["f1"].resolved_at == NOON


def test_leak_of_a_suspect_is_resolved_by_its_dismissal_for_little_and_no_other_one() -> None:
    dismissed = make_run(tests=(make_test(leak=LeakVerdict(status="clean", reason="left about 1 block")),))
    lives = go_on({}, make_run(make_leak()))
    assert go_on(lives, dismissed)["f1"].resolved_at == NOON
    lives = go_on({}, make_run(make_leak()), leaks="all")
    assert go_on(lives, dismissed) == lives
    assert go_on(lives, dismissed, leaks="all")["f1"].resolved_at == NOON


def test_leak_found_by_a_long_look_is_not_resolved_by_a_brief_one() -> None:
    brief = make_run(tests=(make_test(leak=LeakVerdict(status="clean", brief=True)),))
    lives = go_on({}, make_run(make_leak()), leaks="all")
    assert go_on(lives, brief, leaks="all") == lives
    # Lists that become longer are looked at by no brief check.
    for signal, is_seen in (("blocks", True), ("lists", False)):
        growth = SignalGrowth(signal=signal, per_run=8, runs=1304, every_run=True)
        lives = go_on({}, make_run(make_leak(growth=(growth,))), leaks="all")
        assert (go_on(lives, brief, leaks="all")["f1"].resolved_at == NOON) is is_seen
    lives = go_on({}, make_run(make_leak()))
    assert go_on(lives, brief, leaks="all")["f1"].resolved_at == NOON


def test_inhibited_alert_neither_begins_a_life_nor_ends_one() -> None:
    silent = make_alert(inhibited_by="rule leak: the growth is the leak's")
    assert go_on({}, make_run(silent)) == {}
    lives = go_on({}, make_run(make_alert()))
    assert go_on(lives, make_run(silent)) == lives


def test_acknowledged_alert_lives_on() -> None:
    lives = go_on(go_on({}, make_run(make_alert())), make_run(make_alert(acknowledged="known")))
    assert (lives["f1"].times, lives["f1"].resolved_at) == (2, None)


def test_alert_that_comes_back_is_reopened_and_not_notified_yet() -> None:
    lives = go_on(go_on({}, make_run(make_alert())), make_run(), day=1)
    lives["f1"] = replace(lives["f1"], notified=2.0, notified_at=NOON)
    back = go_on(lives, make_run(make_alert()), day=2)
    assert (back["f1"].reopened, back["f1"].resolved_at, back["f1"].notified) == (1, None, None)


def test_of_a_pair_of_severities_the_one_that_speaks_is_remembered() -> None:
    warning = make_alert(severity=AlertSeverity.WARNING, inhibited_by="critical of the same rule")
    lives = go_on({}, make_run(warning, make_alert()))
    assert lives["f1"].alert.severity is AlertSeverity.CRITICAL
    assert lives["f1"].times == 1


def test_of_an_alert_acknowledged_in_one_test_and_outgrown_in_another_the_latter_is_remembered() -> None:
    accepted = make_leak(observed=9.0, acknowledged="known")
    lives = go_on({}, make_run(make_leak(observed=3.0), accepted))
    assert lives["f1"].alert.acknowledged is None


@pytest.mark.parametrize("nodeid", ["session", "session of gw1"])
def test_alert_of_the_session_is_resolved_by_a_whole_session_alone(nodeid: str) -> None:
    rule = replace(GROWTH, scope="session")
    lives = go_on({}, make_run(make_alert(nodeids=(nodeid,))))
    assert go_on(lives, make_run(), rules=(rule,), is_whole=False) == lives
    assert go_on(lives, make_run(), rules=(rule,))["f1"].resolved_at == NOON


def test_what_is_resolved_is_noted_by_its_first_line() -> None:
    run = make_run(tests=(make_test(growth_bytes=0.0),))
    alert = make_alert(message=f"{NODEID}: growth 2 MiB is over the limit of 1 MiB\nand so on")
    lives = go_on(go_on({}, make_run(alert)), run, day=1)
    (note,) = note_resolved(run, lives.values(), {}).notes
    assert note.kind == "resolved"
    assert note.text == (
        f"resolved: {NODEID}: growth 2 MiB is over the limit of 1 MiB "
        "(alert f1, first seen 2026-11-23, in 1 run)"
    )
    assert note_resolved(run, (), {}) is run


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "no alert any more"),
        ({"nodeids": ("session",)}, "no alert any more"),
        ({"limit": 60.0 * MIB}, "resolved"),
        ({"category": AlertCategory.MEMORY_REGRESSION}, "resolved"),
        ({"metric": "leak_bytes_per_run"}, "resolved"),
    ],
)
def test_value_that_stays_beyond_a_limit_that_moved_is_not_called_resolved(
    changes: Mapping[str, Any], told: str
) -> None:
    """As the limit that earlier runs set does, once they have the value."""
    alert = make_alert(**{"metric": "peak_bytes", "limit": 50.0 * MIB, **changes})
    (life,) = go_on({}, make_run(alert)).values()
    run = make_run(tests=(make_test(peak_bytes=58.1 * MIB),))
    lives = [replace(life, resolved_at=NOON)]
    (note,) = note_resolved(run, lives, {"peak_bytes": 58.1 * MIB}).notes
    assert note.text.startswith(f"{told}: {alert.message}")
    assert ("; it still is 58.1 MiB (alert f1, " in note.text) == (told != "resolved")


def test_value_beyond_its_limit_in_the_first_of_several_runs_alone_is_resolved() -> None:
    (life,) = go_on({}, make_run(make_alert())).values()
    once = Note(kind="one_time", nodeid=NODEID, text="growth 20 MiB in its first run: one-time, no alert")
    run = make_run(tests=(make_test(growth_bytes=20.0 * MIB),), notes=(once,))
    *_, note = note_resolved(run, [replace(life, resolved_at=NOON)], {}).notes
    assert note.text.startswith("resolved: ")


observed = st.none() | st.floats(min_value=0, max_value=100)


@given(st.lists(observed, max_size=12))
def test_law_a_life_counts_its_runs_and_its_returns(story: list[float | None]) -> None:
    lives: dict[str, AlertLife] = {}
    for value in story:
        lives = go_on(lives, make_run(*([] if value is None else [make_alert(observed=value)])))
    seen = [value for value in story if value is not None]
    if not seen:
        assert lives == {}
        return
    (life,) = lives.values()
    begun = story[story.index(seen[0]) :]
    returns = sum(a is None and b is not None for a, b in itertools.pairwise(begun))
    assert (life.times, life.worst, life.reopened) == (len(seen), max(seen), returns)
    assert (life.resolved_at is None) == (story[-1] is not None)
