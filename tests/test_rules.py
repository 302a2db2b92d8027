"""Rules against scripted values: which alerts there are, and what each says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.limits.defaults import DEFAULT_RULES
from pytest_memalert.limits.marker import parse_marker
from pytest_memalert.measurement import session_values, values_of_worst
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import (
    AlertCategory,
    AlertCondition,
    AlertRule,
    AlertSeverity,
    Measurement,
    PerformanceAlert,
)
from pytest_memalert.rules import (
    Breach,
    Screen,
    already_above,
    describe,
    find_breaches,
    find_gaps,
    find_unjudged,
    fingerprint,
    make_alert,
    matches,
    mildest,
    rules_for_test,
    tell_crossing,
)
from pytest_memalert.speaking import group_leaks, inhibit, mute

MIB = 2**20
NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
NODEID = "tests/io/test_a.py::test_load"


def rule(metric: str = "growth_bytes", threshold: float = MIB, **changes: object) -> AlertRule:
    """Return a critical rule of the user's own."""
    made = AlertRule(
        name="mine",
        category=AlertCategory.GENERAL,
        severity=AlertSeverity.CRITICAL,
        metric=metric,
        threshold=threshold,
        origin="pyproject.toml: tool.memalert.rules[0]",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def measurement(values: Mapping[str, float] | None = None, nodeid: str = NODEID) -> Measurement:
    """Return a measurement with these values."""
    return Measurement(
        nodeid=nodeid,
        worker="main",
        outcome="passed",
        component="tests/io/test_a.py",
        rss_before_bytes=100 * MIB,
        values=values or {},
    )


def alert(of: AlertRule, observed: float = 2 * MIB) -> PerformanceAlert:
    """Return the alert for a breach of a rule."""
    return make_alert(Breach(rule=of, observed=observed), id="1", measurement=measurement(), raised_at=NOON)


# ----------------------------------------------------------------- breaches


def test_value_equal_to_its_limit_passes() -> None:
    """And one byte more breaks it."""
    assert find_breaches([rule()], {"growth_bytes": MIB}) == ()
    assert [breach.observed for breach in find_breaches([rule()], {"growth_bytes": MIB + 1})] == [MIB + 1]


@pytest.mark.parametrize(
    ("condition", "breaking", "passing"),
    [
        (AlertCondition.GREATER_THAN, 11, 10),
        (AlertCondition.LESS_THAN, 9, 10),
        (AlertCondition.EQUALS, 10, 9),
        (AlertCondition.NOT_EQUALS, 9, 10),
    ],
)
def test_condition_decides(condition: AlertCondition, breaking: float, passing: float) -> None:
    """Each of the four."""
    made = rule("open_fds_growth", 10, condition=condition)
    assert find_breaches([made], {"open_fds_growth": breaking})
    assert not find_breaches([made], {"open_fds_growth": passing})


def test_metric_without_data_breaks_nothing() -> None:
    """It is a gap instead, told for rules of the user's own alone."""
    mine, default = rule("uss_bytes"), rule("uss_bytes", origin="default")
    assert find_breaches([mine], {}) == ()
    (gap,) = find_gaps([mine, default], {}, nodeid=NODEID, missing={"uss": "not on this system"})
    assert gap.kind == "no_data"
    assert "no data for uss_bytes" in gap.text
    assert "not on this system" in gap.text


def test_rate_is_guarded_by_the_least_growth() -> None:
    """A 2 ms test's noise is no rate; growth equal to the guard isn't over it."""
    guarded = rule("growth_rate_bytes_per_s", 1, min_growth=10**6)
    assert not find_breaches([guarded], {"growth_rate_bytes_per_s": 10**9, "growth_bytes": 10**6})
    assert find_breaches([guarded], {"growth_rate_bytes_per_s": 10**9, "growth_bytes": 10**6 + 1})


def test_efficiency_is_guarded_by_the_spike() -> None:
    """Growth doesn't matter to it."""
    guarded = rule("efficiency_ratio", 0.5, condition=AlertCondition.LESS_THAN, min_growth=50 * 10**6)
    assert not find_breaches([guarded], {"efficiency_ratio": 0.1, "peak_bytes": 10**6, "growth_bytes": 10**9})
    assert find_breaches([guarded], {"efficiency_ratio": 0.1, "peak_bytes": 60 * 10**6})


def test_line_crossed_before_the_test_is_not_its_breach() -> None:
    """Resident memory is the process' state."""
    line = rule("rss_bytes", 100)
    assert already_above(line, 101)
    assert not already_above(line, 100)
    assert not already_above(rule("growth_bytes", 100), 101)
    assert not find_breaches([line], {"rss_bytes": 200}, rss_before_bytes=101)
    assert find_breaches([line], {"rss_bytes": 200}, rss_before_bytes=100)


def test_mildest_repetition_is_claimed() -> None:
    """What every further run reached; a breach that one of them didn't is gone."""
    breach = Breach(rule=rule(), observed=9 * MIB)
    runs = [{"growth_bytes": 4 * MIB}, {"growth_bytes": 2 * MIB}, {"growth_bytes": 3 * MIB}]
    (kept,) = mildest([breach], runs)
    assert (kept.observed, kept.repeated) == (2 * MIB, 3)
    assert mildest([breach], [*runs, {"growth_bytes": MIB}]) == ()
    assert mildest([breach], []) == ()


def test_breach_is_unjudged_where_a_further_run_has_no_data() -> None:
    """One that a run with data didn't show is gone all the same."""
    breach = Breach(rule=rule(), observed=9 * MIB)
    again, gone = {"growth_bytes": 4 * MIB}, {"growth_bytes": 0}
    assert find_unjudged([breach], [again, {}]) == (breach,)
    assert find_unjudged([breach], [{}, again]) == (breach,)
    assert find_unjudged([breach], [again, {}, gone]) == ()
    assert find_unjudged([breach], [again, again]) == ()
    assert find_unjudged([breach], []) == ()


def test_mildest_of_less_is_worse_is_the_largest() -> None:
    """Efficiency is better the higher it is."""
    breach = Breach(rule=rule("efficiency_ratio", 0.5, condition=AlertCondition.LESS_THAN), observed=0.1)
    (kept,) = mildest([breach], [{"efficiency_ratio": 0.2}, {"efficiency_ratio": 0.4}])
    assert kept.observed == 0.4


# ------------------------------------------------------------ rules in force


def test_marker_replaces_every_rule_of_its_metric() -> None:
    """And a limit on growth speaks for the pace as well."""
    limits = parse_marker([(NODEID, {"growth": "8 MiB"}, ())]).rules
    rules = (*DEFAULT_RULES, rule())
    found = rules_for_test(rules, limits, nodeid=NODEID, component="x")
    assert [one.name for one in found if one.metric in ("growth_bytes", "growth_rate_bytes_per_s")] == [
        "limit-growth"
    ]
    assert "efficiency" in {one.name for one in found}


def test_limit_on_a_leak_speaks_for_its_pace() -> None:
    """Of the leak as of the growth that it is; descriptors and threads are no bytes."""
    limits = parse_marker([(NODEID, {"leak": "8 MiB"}, ())]).rules
    found = rules_for_test(DEFAULT_RULES, limits, nodeid=NODEID, component="x")
    assert {one.name for one in found} == {"limit-leak", "leak-handles", "efficiency", "rss"}


def test_rules_that_speak_of_others_are_left_out() -> None:
    """Disabled, of the session, of another component, of other tests."""
    others = [
        rule(enabled=False),
        rule(scope="session"),
        rule(component="billing"),
        rule(tests=("tests/net/*",)),
    ]
    assert rules_for_test(others, (), nodeid=NODEID, component="storage") == ()
    ours = [rule(component="stor*"), rule(tests=("tests/net/*", "tests/io/*"))]
    assert rules_for_test(ours, (), nodeid=NODEID, component="storage") == tuple(ours)


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("tests/io/*", True),
        ("tests/io", True),
        ("tests/io/", True),
        ("tests/io/test_a.py", True),
        (NODEID, True),
        ("*::test_load", True),
        ("tests/i", False),
        ("tests/io/test_a", False),
        ("tests/net/*", False),
        ("TESTS/io/*", False),
    ],
)
def test_pattern_covers_what_is_below_it(pattern: str, covered: bool) -> None:
    """As on pytest's command line, or as a glob."""
    assert matches(NODEID, pattern) is covered


def test_pattern_of_a_test_covers_its_parameters() -> None:
    """Brackets would be a set of characters in a glob."""
    assert matches(f"{NODEID}[a-1]", NODEID)
    assert matches(f"{NODEID}[a-1]", f"{NODEID}[a-1]")


# ------------------------------------------------------------------- alerts


def test_higher_severity_of_a_pair_speaks() -> None:
    """The other is inhibited; other rules are left alone."""
    warning = alert(rule(severity=AlertSeverity.WARNING))
    critical = alert(rule())
    other = alert(rule(name="other", severity=AlertSeverity.WARNING))
    found = inhibit([warning, critical, other])
    assert [one.inhibited_by for one in found] == ["critical of the same rule", None, None]


def leak(
    *, severity: AlertSeverity = AlertSeverity.WARNING, nodeid: str = NODEID, **changes: object
) -> PerformanceAlert:
    """Return an alert of one and the same leak."""
    of = rule("leak_bytes_per_run", 0, name="leak", category=AlertCategory.MEMORY_LEAK, severity=severity)
    made = make_alert(
        Breach(rule=of, observed=1000),
        id="1",
        measurement=measurement(nodeid=nodeid),
        raised_at=NOON,
        signature="app.ITEMS",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


GROWTH = rule(name="growth-rate", category=AlertCategory.MEMORY_GROWTH, severity=AlertSeverity.WARNING)


def test_leak_speaks_for_the_growth_it_causes() -> None:
    """Unless that growth is the more severe."""
    assert [one.inhibited_by for one in inhibit([leak(), alert(GROWTH)])] == [
        None,
        "rule leak: the growth is the leak's",
    ]
    severe = alert(replace(GROWTH, severity=AlertSeverity.CRITICAL))
    assert [one.inhibited_by for one in inhibit([leak(), severe])] == [None, None]


def test_leak_is_silent_on_what_is_no_growth() -> None:
    """A test that leaks may be slow as well."""
    slow = alert(rule("duration_s", 1, name="slow", severity=AlertSeverity.WARNING))
    assert [one.inhibited_by for one in inhibit([leak(), slow])] == [None, None]


def test_pace_of_a_leak_speaks_for_the_leak_where_it_is_the_more_severe() -> None:
    """And the growth stays silent."""
    pace = leak(severity=AlertSeverity.CRITICAL, rule="leak-rate", fingerprint="other")
    found = inhibit([leak(), pace, alert(GROWTH)])
    assert [one.inhibited_by is None for one in found] == [False, True, False]
    assert found[0].inhibited_by == "rule leak-rate, of the same leak"


def test_acknowledged_leak_still_speaks_for_the_growth_it_causes() -> None:
    """Else accepting the leak would fail the test for its growth."""
    found = inhibit([leak(acknowledged="known"), alert(GROWTH)])
    assert found[1].inhibited_by is not None


def test_one_leak_is_one_alert_that_lists_every_test_that_shows_it() -> None:
    """The one with the most to observe speaks, and is the first: else the heading named another test."""
    others = [leak(nodeid="tests/b.py::test_b", observed=3000.0), leak(nodeid=NODEID), alert(GROWTH)]
    first, second = group_leaks([leak(), *others])
    assert (first.nodeids, first.observed) == (("tests/b.py::test_b", NODEID), 3000)
    assert second.rule == "growth-rate"


def test_the_lower_of_two_speaks_where_a_rule_forbids_low_values() -> None:
    first, second = (
        leak(nodeid=f"tests/{name}.py::test", observed=observed, condition=AlertCondition.LESS_THAN)
        for name, observed in (("a", 9.0), ("b", 2.0))
    )
    (one,) = group_leaks([first, second])
    assert (one.nodeids, one.observed) == (("tests/b.py::test", "tests/a.py::test"), 2.0)


def test_alerts_of_tests_that_share_no_leak_are_not_grouped() -> None:
    """Nor are two severities of one leak."""
    separate = [
        leak(),
        leak(fingerprint="other"),
        leak(severity=AlertSeverity.CRITICAL),
        alert(GROWTH),
        alert(GROWTH),
    ]
    assert group_leaks(separate) == tuple(separate)


def test_leak_acknowledged_in_one_test_and_outgrown_in_another_still_speaks() -> None:
    """Even where the accepted one has the higher value, as with paces it may."""
    grown = leak(nodeid="tests/b.py::test_b")
    assert group_leaks([leak(acknowledged="known", observed=9000.0), grown])[1] == grown


def test_muted_alerts_say_why() -> None:
    """All of them."""
    assert [one.inhibited_by for one in mute([alert(rule())], reason="the test's own failure")] == [
        "the test's own failure"
    ]


def test_headline_says_which_test_what_how_much_and_against_what() -> None:
    """In one line."""
    breach = Breach(rule=rule(), observed=4 * MIB)
    assert describe(breach, NODEID) == f"{NODEID}: growth 4 MiB is over the limit of 1 MiB"


def test_what_breaks_a_limit_is_shown_in_the_units_of_the_limit() -> None:
    """A limit of "50 MB" that is told as 47.7 MiB is nobody's own."""
    breach = Breach(rule=rule(threshold=5e7), observed=6e7)
    assert describe(breach, NODEID) == f"{NODEID}: growth 60 MB is over the limit of 50 MB"


def test_headline_tells_values_apart_that_round_to_the_same() -> None:
    """'1 MiB is over 1 MiB' would be nonsense."""
    assert "1,048,577 is over the limit of 1,048,576" in describe(
        Breach(rule=rule(), observed=MIB + 1), NODEID
    )


def test_headline_tells_rates_apart_in_the_unit_of_their_limit() -> None:
    """They were "5.03e+06" and "5e+06"."""
    breach = Breach(rule=rule(metric="growth_rate_bytes_per_s", threshold=5e6), observed=5.03e6)
    assert describe(breach, NODEID) == f"{NODEID}: growth rate 5.03 MB/s is over the limit of 5 MB/s"


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_label_of_a_metric_fits_the_session_as_well(metric: Metric) -> None:
    """It stands for one test and for the whole."""
    assert "test" not in metric.label


def test_own_message_and_recommendations_of_a_rule_are_used() -> None:
    """What is known of the case comes first."""
    made = rule(message="too much", recommendations=("Less.",), component="storage")
    found = make_alert(
        Breach(rule=made, observed=2 * MIB),
        id="1",
        measurement=measurement(),
        raised_at=NOON,
        evidence=["seen twice"],
        recommendations=["Look here."],
    )
    first, *evidence = found.message.split("\n")
    assert first == f"{NODEID}: too much (growth 2 MiB is over the limit of 1 MiB)"
    assert evidence == ["seen twice"]
    assert found.recommendations == ("Look here.", "Less.")
    assert found.component == "storage"
    assert found.nodeids == (NODEID,)


@given(st.floats(1, 1e12), st.sampled_from(AlertSeverity))
def test_law_fingerprint_knows_no_number_and_no_severity(threshold: float, severity: AlertSeverity) -> None:
    """The same finding is known again in the next run."""
    assert fingerprint(rule(threshold=threshold, severity=severity), NODEID) == fingerprint(rule(), NODEID)


def test_fingerprints_of_other_rules_metrics_and_tests_differ() -> None:
    """Each part counts."""
    prints = {
        fingerprint(rule(), NODEID),
        fingerprint(rule(name="other"), NODEID),
        fingerprint(rule("peak_bytes"), NODEID),
        fingerprint(rule(), "tests/test_b.py::test_other"),
    }
    assert len(prints) == 4


# ------------------------------------------------------------------ session


def test_session_values_are_made_as_each_metric_says() -> None:
    """Last, largest, sum, smallest; rates from the sums."""
    values = session_values(
        [
            measurement({"rss_bytes": 50, "growth_bytes": 10, "rss_peak_bytes": 100, "duration_s": 1}),
            measurement({"rss_bytes": 40, "growth_bytes": -4, "rss_peak_bytes": 80, "duration_s": 2}),
        ]
    )
    assert values["rss_bytes"] == 40
    assert values["growth_bytes"] == 6
    assert values["rss_peak_bytes"] == 100
    assert values["growth_rate_bytes_per_s"] == 2
    assert values["efficiency_ratio"] == 0.4


def test_session_without_data_has_no_values() -> None:
    """Not zeros."""
    assert session_values([measurement()]) == {}


def test_crossing_names_the_largest_growers() -> None:
    """Seldom the last one."""
    told = tell_crossing([measurement({"rss_growth_bytes": 24 * MIB})])
    assert told == f"the largest growth in this process so far: {NODEID} (+24 MiB)"


def test_values_of_several_processes_are_those_of_the_worst() -> None:
    """The higher one, and the lower one of the ratio that is the better the higher it is."""

    def test_of(worker: str, rss_bytes: float, peak_bytes: float) -> Measurement:
        values = {"rss_bytes": rss_bytes, "rss_peak_bytes": peak_bytes, "duration_s": 1.0}
        return replace(measurement(values), worker=worker)

    tests = [test_of("gw0", 50, 100), test_of("gw1", 40, 50), test_of("gw0", 60, 100)]
    worst = values_of_worst(tests)
    assert (worst["rss_bytes"], worst["rss_peak_bytes"], worst["duration_s"]) == (60, 100, 2)
    assert worst["efficiency_ratio"] == 0.6
    assert values_of_worst(tests[1:2]) == session_values(tests[1:2])
    assert values_of_worst([]) == {}


# ------------------------------------------------------------- at one look

_SCREENED = [
    *DEFAULT_RULES,
    rule("open_fds_growth", 2, origin="default", condition=AlertCondition.EQUALS),
    rule("threads_growth", 0, origin="default", condition=AlertCondition.NOT_EQUALS),
    rule("cpu_s", 1),
]
_FIGURES = st.dictionaries(
    st.sampled_from(sorted({each.metric for each in _SCREENED} | {"growth_bytes", "peak_bytes"})),
    st.one_of(st.integers(-2, 3), st.integers(0, 10**9), st.floats(0, 2)),
)


@given(_FIGURES, st.none() | st.integers(0, 10**9))
def test_law_what_the_screen_lets_pass_has_nothing_to_tell(
    values: dict[str, float], before: int | None
) -> None:
    """Neither a breach, nor a metric without data, nor a line that was crossed before."""
    if Screen(_SCREENED).stops(values, rss_before_bytes=before):
        return
    assert find_breaches(_SCREENED, values, rss_before_bytes=before) == ()
    assert find_gaps(_SCREENED, values, nodeid=NODEID, missing={}) == ()
    assert not any(already_above(each, before) for each in _SCREENED)


def test_screen_lets_a_quick_test_pass_that_took_one_page() -> None:
    """At that rate it would be over the limit; nearly every test must pass at one look."""
    values = {
        "duration_s": 0.0003,
        "rss_bytes": 80 * MIB,
        "growth_bytes": 4096,
        "growth_rate_bytes_per_s": 4096 / 0.0003,
        "efficiency_ratio": 0.99,
        "peak_bytes": 8192,
    }
    assert not Screen(DEFAULT_RULES).stops(values, rss_before_bytes=80 * MIB)
    assert Screen(DEFAULT_RULES).stops({**values, "growth_bytes": 2 * MIB}, rss_before_bytes=80 * MIB)


def test_of_two_rules_on_one_leak_as_severe_the_later_speaks() -> None:
    """Make every leak fail, as the how-to has it, and each was told twice."""
    pace = leak(rule="leak-rate", fingerprint="other")
    found = inhibit([pace, leak()])
    assert [one.inhibited_by for one in found] == ["rule leak, of the same leak", None]
