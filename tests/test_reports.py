"""Holds the terminal summary and the JSON report to what a reader must find in them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.codec import TAKEN_KEYS, decode_run, encode_run
from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import (
    AlertSeverity,
    FixtureGrowth,
    GateResult,
    LeakVerdict,
    Measurement,
    Note,
    Overhead,
    PerformanceAlert,
    Run,
    Survivor,
)
from pytest_memalert.reports import json as json_report
from pytest_memalert.reports.terminal import Line, _columns, render, render_alert
from tests import makers
from tests.makers import MIB, NOON, make_fixture, make_test

# Words, wide words, control characters and whatever else: what node ids and reprs are made of.
TEXT = st.text(st.sampled_from("ab/:[]    \n\t\x1b\x9b\u202e漢é\udcff") | st.characters(), max_size=120)
TEXTS = st.lists(TEXT, max_size=7).map(tuple)
ALERTS = st.builds(
    PerformanceAlert,
    rule=TEXT,
    nodeids=TEXTS,
    message=TEXT,
    recommendations=TEXTS,
    survivors=st.lists(st.builds(Survivor, type=TEXT, allocated_at=TEXTS, held_by=TEXTS), max_size=2).map(
        tuple
    ),
    observed=st.integers(),
    limit=st.integers(),
    raised_at=st.just(NOON),
)
RUNS = st.builds(
    Run,
    started_at=st.just(NOON),
    duration_s=st.floats(0, 1e6),
    overhead=st.builds(Overhead, tests_s=st.floats(0, 1e6), screening_s=st.floats(0, 1e6)),
    reruns=st.integers(0),
    tests=st.lists(
        st.builds(
            Measurement,
            nodeid=TEXT,
            values=st.dictionaries(
                st.sampled_from(["growth_bytes", "peak_bytes", "rss_peak_bytes"]), st.integers(0, 10**12)
            ),
            phases=st.just({}),
        ),
        max_size=3,
    ).map(tuple),
    fixtures=st.lists(st.builds(FixtureGrowth, name=TEXT, location=TEXT), max_size=2).map(tuple),
    alerts=st.lists(ALERTS, max_size=2).map(tuple),
    notes=st.lists(st.builds(Note, nodeid=st.none() | TEXT, text=TEXT), max_size=5).map(tuple),
)


def make_alert(**changes: Any) -> PerformanceAlert:
    """Return a critical alert about one test."""
    alert = makers.make_alert(
        rule="growth-rate",
        message="test_load grew by 12 MiB, limit 1 MiB\nIt grew again in 3 of 3 re-runs.",
        recommendations=("bound app.cache.ITEMS or clear it in a fixture",),
        survivors=(),
    )
    return replace(alert, **changes)


def make_run(**changes: Any) -> Run:
    """Return a run in which all was well."""
    small = make_test("test_a.py::test_small", rss_peak_bytes=50 * MIB)
    large = make_test("test_a.py::test_x", rss_peak_bytes=84 * MIB)
    return replace(makers.make_run(tests=(small, large)), **changes)


def shown(run: Run, *, verbosity: int = 0, width: int = 100) -> list[str]:
    """Return the text of the summary's lines."""
    return [line.text for line in render(run, verbosity=verbosity, width=width)]


# --------------------------------------------------------------- all is well


def test_run_without_alerts_is_told_in_one_line() -> None:
    line = "memalert: 2 tests measured, resident peak 84 MiB (test_x), added 80 ms"
    assert shown(make_run()) == [line]
    assert shown(make_run(), width=len(line)) == [line]
    assert shown(make_run(), width=len(line) - 1) == [line.replace(" (test_x)", "")]


def test_heading_names_the_test_so_that_its_message_need_not() -> None:
    nodeid = "tests/test_a.py::test_load"
    alert = make_alert(message=f"{nodeid}: growth 12 MiB is over the limit of 1 MiB")
    assert shown(make_run(alerts=(alert,)))[:2] == [
        "CRITICAL memory_growth  tests/test_a.py::test_load",
        "  growth 12 MiB is over the limit of 1 MiB",
    ]
    assert render_alert(alert).startswith(f"{nodeid}: growth 12 MiB")


def test_quiet_line_that_is_too_long_names_the_function_alone() -> None:
    alert = make_alert(message="tests/test_a.py::test_load: growth 12 MiB is over the limit of 1 MiB")
    run = make_run(alerts=(alert,))
    assert shown(run, verbosity=-1, width=62) == [
        "CRITICAL test_load: growth 12 MiB is over the limit of 1 MiB"
    ]


def test_run_without_tests_says_so() -> None:
    assert shown(make_run(tests=())) == ["memalert: 0 tests measured"]


def test_peak_that_nobody_measured_is_not_told() -> None:
    assert shown(make_run(tests=(make_test(),))) == ["memalert: 1 test measured, added 80 ms"]


def test_reruns_are_told_and_their_time_is_added() -> None:
    run = make_run(tests=(make_test(),), reruns=1200, overhead=Overhead(tests_s=3, reruns_s=1))
    assert shown(run) == ["memalert: 1 test measured, 1,200 re-runs, added 1 s"]


def test_quiet_run_without_alerts_says_nothing() -> None:
    run = make_run(
        alerts=(make_alert(inhibited_by="leak-rate"),), fixtures=(make_fixture(growth_bytes=2 * MIB),)
    )
    assert shown(run, verbosity=-1) == []


# -------------------------------------------------------------------- alerts


def test_alert_tells_severity_category_test_message_evidence_and_what_to_do() -> None:
    survivor = Survivor(
        type="dict",
        count=48,
        size_bytes=12 * 1024,
        allocated_at=("app/cache.py:14 in put",),
        held_by=("module app.cache", "ITEMS"),
    )
    assert shown(make_run(alerts=(make_alert(survivors=(survivor,)),)))[:-1] == [
        "CRITICAL memory_growth  tests/test_a.py::test_load",
        "  test_load grew by 12 MiB, limit 1 MiB",
        "  It grew again in 3 of 3 re-runs.",
        "  each run leaves 48 dict, 12 KiB",
        "    allocated at app/cache.py:14 in put",
        "    held by module app.cache, ITEMS",
        "  -> bound app.cache.ITEMS or clear it in a fixture",
        f"  alert {make_alert().fingerprint}",
        "",
        "1 critical",
    ]


def test_alert_that_stands_in_full_further_up_is_told_in_short() -> None:
    failing, warning = make_alert(), make_alert(severity=AlertSeverity.WARNING, nodeids=("t.py::test_b",))
    run = make_run(alerts=(failing, warning))
    told = [line.text for line in render(run, verbosity=0, width=100, shown_as_failed=failing.nodeids)]
    assert told[: told.index("")] == [
        "CRITICAL memory_growth  tests/test_a.py::test_load",
        "  test_load grew by 12 MiB, limit 1 MiB",
        "  -> bound app.cache.ITEMS or clear it in a fixture",
        f"  alert {failing.fingerprint}",
    ]
    assert "  It grew again in 3 of 3 re-runs." in told[told.index("") :]
    elsewhere = render(run, verbosity=0, width=100, shown_as_failed={"t.py::test_b"})
    assert sum(line.text == "  It grew again in 3 of 3 re-runs." for line in elsewhere) == 2


def test_quiet_run_tells_a_test_with_its_parameters_where_its_folders_have_no_room() -> None:
    alert = make_alert(
        nodeids=("tests/test_a.py::test_load[1]",), message="tests/test_a.py::test_load[1]: grew"
    )
    assert shown(make_run(alerts=(alert,)), verbosity=-1, width=34) == ["CRITICAL test_load[1]: grew"]


def test_quiet_run_tells_each_alert_in_one_line() -> None:
    run = make_run(alerts=(make_alert(severity=AlertSeverity.WARNING), make_alert()))
    assert shown(run, verbosity=-1) == [
        "CRITICAL test_load grew by 12 MiB, limit 1 MiB",
        "WARNING test_load grew by 12 MiB, limit 1 MiB",
    ]
    assert shown(run, verbosity=-1, width=24) == ["CRITICAL test_load gr...", "WARNING test_load gre..."]


def test_quiet_line_of_what_is_no_test_is_told_whole() -> None:
    """No failure says more of it."""
    alert = make_alert(
        nodeids=("fixture data in test_g.py",), message="fixture data in test_g.py: 173 KiB is over 90"
    )
    assert shown(make_run(alerts=(alert,)), verbosity=-1, width=40) == [
        "CRITICAL fixture data in test_g.py: 173",
        "    KiB is over 90",
    ]


def test_worst_alerts_come_first_and_like_ones_in_their_order() -> None:
    levels = [("b", "info"), ("a", "warning"), ("z", "critical"), ("c", "critical")]
    alerts = tuple(make_alert(nodeids=(name,), severity=AlertSeverity(level)) for name, level in levels)
    headings = [text for text in shown(make_run(alerts=alerts)) if "memory_growth" in text]
    assert headings == [
        "CRITICAL memory_growth  z",
        "CRITICAL memory_growth  c",
        "WARNING memory_growth  a",
        "INFO memory_growth  b",
    ]


def test_acknowledged_alerts_are_only_counted_and_inhibited_ones_not_even_that() -> None:
    run = make_run(
        alerts=(
            make_alert(),
            make_alert(severity=AlertSeverity.WARNING, inhibited_by="growth-rate"),
            make_alert(acknowledged="known"),
        )
    )
    texts = shown(run)
    assert [text for text in texts if "memory_growth" in text] == [
        "CRITICAL memory_growth  tests/test_a.py::test_load"
    ]
    assert texts[-2] == "1 critical, 1 acknowledged"


def test_run_whose_alerts_are_all_muted_counts_them_and_is_well() -> None:
    lines = render(make_run(alerts=(make_alert(acknowledged="known"),)), verbosity=0, width=100)
    assert lines[0] == Line(text="1 acknowledged")
    assert (len(lines), lines[1].markup) == (2, {"green": True})


def test_alert_of_many_tests_lists_the_first_five() -> None:
    texts = shown(make_run(alerts=(make_alert(nodeids=tuple(f"test_{n}" for n in range(598)), message="m"),)))
    assert texts[:8] == [
        "CRITICAL memory_growth  598 tests",
        "  m",
        "    test_0",
        "    test_1",
        "    test_2",
        "    test_3",
        "    test_4",
        "    and 593 more",
    ]


def test_many_are_counted_with_a_separator_wherever_they_are() -> None:
    many = tuple(f"test_{n}" for n in range(2_000))
    gate = GateResult(path="memalert.lock.json", environment="here", new=many)
    texts = shown(make_run(alerts=(make_alert(nodeids=many),), gate=gate))
    assert "    and 1,995 more" in texts
    names = ", ".join(many[:5])
    assert f"not in the baseline: {names} and 1,995 more (-v names them)" in texts


def test_alert_of_the_session_blames_no_test() -> None:
    assert shown(make_run(alerts=(make_alert(nodeids=()),)))[0] == "CRITICAL memory_growth  the session"


@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_alerts_after_the_twentieth_are_counted(verbosity: int) -> None:
    texts = shown(make_run(alerts=(make_alert(),) * 23), verbosity=verbosity)
    assert sum(text.startswith("CRITICAL") for text in texts) == 20
    assert "and 3 more: see the JSON report (--memalert-json PATH)" in texts


def test_color_is_beside_the_text_and_says_nothing_more() -> None:
    lines = render(make_run(alerts=(make_alert(),)), verbosity=0, width=100)
    assert lines[0].markup == {"red": True, "bold": True}
    assert all("\x1b" not in line.text for line in lines)


def test_section_of_a_failing_test_starts_with_the_message_and_ends_with_the_rule() -> None:
    assert render_alert(make_alert()).split("\n") == [
        "test_load grew by 12 MiB, limit 1 MiB",
        "It grew again in 3 of 3 re-runs.",
        "-> bound app.cache.ITEMS or clear it in a fixture",
        "(critical, memory_growth, rule growth-rate, alert f1)",
    ]


def test_long_holder_paths_and_many_kinds_of_survivors_are_cut() -> None:
    survivors = [
        Survivor(
            type="dict", count=1, size_bytes=64, allocated_at=(f"a.py:{line}",), held_by=tuple("abcdefg")
        )
        for line in range(7)
    ]
    rows = render_alert(make_alert(survivors=survivors)).split("\n")
    assert rows[2:18] == [
        *["each run leaves 1 dict, 64 B", "  allocated at a.py:0", "  held by a, b, c, d, e, ..."],
        *(
            row
            for line in range(1, 5)
            for row in (
                "each run leaves 1 dict, 64 B",
                f"  allocated at a.py:{line}",
                "  held by the same",
            )
        ),
        "and 2 more kinds of objects",
    ]


def test_survivors_of_which_nothing_else_is_known_come_along() -> None:
    def survivor(kind: str, *, at: str, held_by: str = "", runs: int = 1) -> Survivor:
        held = (held_by,) if held_by else ()
        return Survivor(type=kind, count=1, size_bytes=64, allocated_at=(at,), held_by=held, runs=runs)

    survivors = (
        survivor("Handler", at="a.py:1", held_by="module log"),
        survivor("list", at="a.py:1", held_by="module log"),
        survivor("set", at="a.py:2", held_by="module log"),
        *(survivor(kind, at="b.py:7") for kind in ("RLock", "deque", "method", "cell")),
        survivor("int", at="b.py:7", runs=3),
    )
    assert render_alert(make_alert(survivors=survivors)).split("\n")[2:-2] == [
        "each run leaves 1 Handler, 64 B",
        "  allocated at a.py:1",
        "  held by module log",
        "  along with 1 list (64 B), 1 RLock (64 B), 1 deque (64 B), 1 method (64 B), 1 more kind of objects",
        "each run leaves 1 set, 64 B",
        "  allocated at a.py:2",
        "  held by the same",
        "each 3 runs leave 1 int, 64 B",
        "  allocated at b.py:7",
    ]


# ------------------------------------------------- fixtures, tables and notes


def test_fixture_whose_memory_remained_is_told_unasked() -> None:
    run = make_run(fixtures=(make_fixture(), make_fixture(name="pool", growth_bytes=2 * MIB)))
    assert (
        shown(run)[0] == "fixture 'pool' (session, tests/conftest.py): 31 MiB at set-up, 2 MiB after teardown"
    )
    assert len(shown(run)) == 2


def test_fixture_that_gave_all_back_is_told_when_asked() -> None:
    run = make_run(tests=(), fixtures=(make_fixture(), make_fixture(name="pool", setup_growth_bytes=MIB)))
    assert shown(run, verbosity=1)[:-1] == [
        "fixture 'server' (session, tests/conftest.py): 31 MiB at set-up, 0 B after teardown"
    ]


def test_fixture_that_is_set_up_many_times_is_told_once_with_the_sums() -> None:
    """Three times less than is told of one."""
    same = tuple(make_fixture(nodeid=f"test_a.py::Test{n}", growth_bytes=MIB // 2) for n in range(3))
    told = " ".join(shown(make_run(fixtures=same))[:2])
    assert told.startswith(
        "fixture 'server' (session, tests/conftest.py), set up 3 times: 93 MiB at set-up, 1.5"
    )


def test_fixture_without_teardown_is_told_as_still_set_up() -> None:
    run = make_run(tests=(), fixtures=(make_fixture(growth_bytes=None),))
    assert shown(run, verbosity=1)[0].endswith("31 MiB at set-up, still set up")


def test_fixture_names_its_worker_where_there_are_several() -> None:
    tests = (replace(make_test(), worker="gw0"), replace(make_test(), worker="gw1"))
    run = make_run(tests=tests, fixtures=(make_fixture(worker="gw1", growth_bytes=MIB),))
    assert shown(run)[0].startswith("fixture 'server' (session, tests/conftest.py, gw1): ")


def test_verbose_run_lists_the_five_largest_growths_and_peaks() -> None:
    tests = tuple(make_test(f"test_{n}", growth_bytes=n * MIB, peak_bytes=(10 - n) * MIB) for n in range(8))
    assert shown(make_run(tests=tests), verbosity=1)[:-1] == [
        "largest growth:",
        *[f"      {n} MiB  test_{n}" for n in (7, 6, 5, 4, 3)],
        "largest peak above the start:",
        *[f"{10 - n:>7} MiB  test_{n}" for n in range(5)],
    ]


@pytest.mark.parametrize("kind", ["no_data", "no_history", "unclear", "trouble"])
def test_few_notes_are_told_unasked(kind: Any) -> None:
    note = Note(kind=kind, nodeid="test_a", text="nothing known")
    assert shown(make_run(notes=(note,) * 3))[:-1] == ["note: test_a: nothing known"] * 3


def test_many_notes_are_counted_by_kind_until_asked() -> None:
    notes = (Note(kind="no_data", nodeid=None, text="n"),) * 3 + (
        Note(kind="unclear", nodeid=None, text="u"),
    )
    run = make_run(notes=notes)
    assert shown(run)[0] == "4 notes (3 without data, 1 unclear): -v tells them"
    assert shown(run, verbosity=1)[:-1] == ["note: n", "note: n", "note: n", "note: u"]


def test_one_time_growth_is_told_only_when_asked() -> None:
    note = Note(kind="one_time", nodeid="test_a", text="test_a grew by 3 MiB once")
    assert len(shown(make_run(notes=(note,)))) == 1
    assert shown(make_run(notes=(note,)), verbosity=1)[0] == "note: test_a grew by 3 MiB once"


def test_one_time_growth_of_a_test_that_leaks_is_not_told() -> None:
    note = Note(kind="one_time", nodeid="test_a", text="test_a grew by 3 MiB once")
    test = make_test("test_a", leak=LeakVerdict(status="leaking"))
    lines = shown(make_run(tests=(test,), notes=(note,)), verbosity=1)
    assert not any("3 MiB once" in line for line in lines)


def test_three_trends_are_told_unasked_before_the_notes() -> None:
    trends = tuple(Note(kind="trend", nodeid="t", text=f"peak of t{n} rose\x1b[2J") for n in range(5))
    run = make_run(notes=(Note(kind="no_data", nodeid=None, text="n"), *trends))
    told = [f"trend: peak of t{n} rose\\x1b[2J" for n in range(5)]
    assert shown(run)[:-1] == [*told[:3], "and 2 more trends: -v tells them", "note: n"]
    assert shown(run, verbosity=1)[:-1] == [*told, "note: n"]
    assert shown(run, verbosity=-1) == []


# ------------------------------------------------------------------ the laws


@given(RUNS, st.integers(-1, 2), st.integers(20, 120))
def test_law_no_line_is_wider_than_the_terminal_unless_a_word_is(
    run: Run, verbosity: int, width: int
) -> None:
    for line in render(run, verbosity=verbosity, width=width):
        if _columns(line.text) > width:  # a combining character takes no column
            assert " " not in line.text.strip(" ").removeprefix("-> ")


@given(RUNS, st.integers(-1, 2))
def test_law_no_line_steers_the_terminal(run: Run, verbosity: int) -> None:
    for line in render(run, verbosity=verbosity, width=40):
        assert line.text == escape_controls(line.text)


@given(RUNS)
def test_law_wrapping_loses_no_word(run: Run) -> None:
    # The last line of a run with tests leaves out a name that doesn't fit.
    run = replace(run, tests=())
    wide = " ".join(shown(run, width=10**6)).split()
    assert " ".join(shown(run, width=20)).split() == wide


def test_wide_characters_take_two_columns() -> None:
    note = Note(kind="trouble", nodeid=None, text="漢字漢字漢字 漢字漢字漢字")
    assert shown(make_run(notes=(note,)), width=30)[:2] == ["note: 漢字漢字漢字", "    漢字漢字漢字"]


def test_alert_on_a_narrow_terminal_is_broken_at_spaces() -> None:
    texts = shown(make_run(alerts=(make_alert(),)), width=40)
    assert texts[:6] == [
        "CRITICAL memory_growth",
        "    tests/test_a.py::test_load",
        "  test_load grew by 12 MiB, limit 1 MiB",
        "  It grew again in 3 of 3 re-runs.",
        "  -> bound app.cache.ITEMS or clear it",
        "     in a fixture",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\r\tc\x00\x7f", r"a\nb\r\tc\x00\x7f"),
        ("user\u202enimda", r"user\u202enimda"),
        ("\udcff", r"\udcff"),
        ("é漢 C:\\new", "é漢 C:\\new"),
    ],
)
def test_control_characters_become_visible_and_all_others_stay(text: str, expected: str) -> None:
    assert escape_controls(text) == expected


# ------------------------------------------------------------ the JSON report


def test_json_report_reads_back_with_the_worst_alert_first() -> None:
    run = make_run(alerts=(make_alert(severity=AlertSeverity.INFO), make_alert()))
    text = json_report.render(run)
    assert decode_run(json.loads(text)) == replace(run, alerts=run.alerts[::-1])
    assert text.endswith("}\n")


@given(RUNS)
def test_law_the_json_report_is_ascii_whatever_the_names_are(run: Run) -> None:
    assert json_report.render(run).isascii()


def test_the_json_report_is_the_encoded_run_written_test_by_test() -> None:
    run = make_run(alerts=())
    assert json_report.render(run) == json.dumps(encode_run(run), indent=1) + "\n"
    without = replace(run, tests=())
    assert json_report.render(without) == json.dumps(encode_run(without), indent=1) + "\n"


def test_number_that_is_not_finite_is_null_in_the_json_report() -> None:
    run = make_run(tests=(make_test(growth_bytes=float("nan")),), duration_s=float("inf"))
    (entry,) = json.loads(json_report.render(run))["tests"]
    assert entry["growth_bytes"] is None
    assert entry.keys() >= TAKEN_KEYS


@pytest.mark.parametrize(
    ("kind", "count", "told"),
    [
        ("bytes", 1, "1 bytes object"),
        ("bytes", 1200, "1,200 bytes objects"),
        ("dict", 3, "3 dict"),
        ("untracked object", 1, "1 untracked object"),
        ("untracked object", 3, "3 untracked objects"),
    ],
)
def test_objects_are_not_told_as_sizes(kind: str, count: int, told: str) -> None:
    """ "1 bytes, 1 MiB" reads as a contradiction."""
    assert Survivor(type=kind, count=count, size_bytes=2**20).told == told
