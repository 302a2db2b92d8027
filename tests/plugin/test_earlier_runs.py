"""Rules that compare with earlier runs, and trends told at the end: with a history written beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pytest_memalert.comparisons import SESSION
from tests import histories
from tests.conftest import Inner

#: In the examples 40 MiB: more than 32 at once always come from the kernel and go back to it, so that each
#: run has the peak anew.
MIB = 2**20
# More than 32 MiB at once always come from the kernel, and go back to it: each run has the peak anew.
UNUSUAL = """
    [[tool.memalert.rules]]
    name = "unusual"
    metric = "peak_bytes"
    threshold = "p99 of 30 runs"
"""
LOAD = """
    def test_load():
        assert bytearray(b"x") * {size}
"""


def remember(inner: Inner, runs: Sequence[Mapping[str, float]], *, metric: str = "peak_bytes") -> None:
    """Write runs into the history of an inner session, each with its tests' values by node id."""
    histories.remember(inner.pytester.path / ".memalert" / "history.sqlite3", runs, metric=metric)


def notes(inner: Inner, kind: str) -> list[str]:
    """Return the texts of the last report's notes of a kind."""
    return [note["text"] for note in inner.report()["notes"] if note["kind"] == kind]


# ------------------------------------------------------------------ the rules


def test_test_beyond_its_own_past_fails(inner: Inner) -> None:
    """And the message says what set the limit."""
    inner.configure(UNUSUAL)
    inner.write(LOAD.format(size=40 * MIB))
    remember(inner, [{"test_a.py::test_load": 5.0 * MIB}] * 12)
    result = inner.run()
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*peak * is over the limit of 5.5 MiB that earlier runs set (p99 of 30 runs)*"]
    )
    (alert,) = inner.report()["alerts"]
    assert (alert["rule"], alert["limit"]) == ("unusual", 5.5 * MIB)


def test_run_after_a_lasting_change_does_not_call_it_resolved(serial: Inner) -> None:
    """What is part of the past now is usual, and as large as it was."""
    serial.configure(UNUSUAL)
    serial.write(LOAD.format(size=40 * MIB))
    remember(serial, [{"test_a.py::test_load": 5.0 * MIB}] * 12)
    serial.run().assert_outcomes(failed=1)
    serial.run().assert_outcomes(passed=1)
    (told,) = notes(serial, "resolved")
    assert "resolved" not in told
    assert told.startswith("no alert any more: test_a.py::test_load: peak ")
    assert "(p99 of 30 runs); it still is " in told


def test_test_within_its_own_past_passes(serial: Inner) -> None:
    """However much that is."""
    serial.configure(UNUSUAL)
    serial.write(LOAD.format(size=40 * MIB))
    remember(serial, [{"test_a.py::test_load": 60.0 * MIB}] * 12)
    result = serial.run()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert serial.report()["notes"] == []


def test_unusual_value_that_does_not_come_back_is_no_alert(serial: Inner) -> None:
    """It is repeated before it is told, as any limit."""
    serial.configure(UNUSUAL)
    serial.write(
        f"""
        CACHE = []

        def test_load():
            if not CACHE:
                CACHE.append(len(bytearray(b"x") * {40 * MIB}))
        """
    )
    remember(serial, [{"test_a.py::test_load": 0.0}] * 12)
    result = serial.run(leaks="suspects")
    result.assert_outcomes(passed=1)
    assert serial.report()["alerts"] == []
    assert any("one-time, no alert" in text for text in notes(serial, "one_time"))


def test_unusual_value_that_comes_back_is_an_alert(serial: Inner) -> None:
    """With the further runs as evidence."""
    serial.configure(UNUSUAL)
    serial.write(LOAD.format(size=40 * MIB))
    remember(serial, [{"test_a.py::test_load": 5.0 * MIB}] * 12)
    result = serial.run(leaks="suspects")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["* in the first run, at least * in * further run*"])


def test_history_too_short_is_told_once_for_all_tests(inner: Inner) -> None:
    """Never passed in silence, and never a wall of notes."""
    inner.configure(UNUSUAL)
    inner.write(
        """
        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_load(number):
            pass
        """
    )
    remember(inner, [{"test_a.py::test_load[0]": 5.0 * MIB}] * 9)
    result = inner.run()
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(
        ["note: no data for peak_bytes (pyproject.toml: tool.memalert.rules?0?): 'p99 of 30 runs' needs 10 *"]
    )
    (told,) = notes(inner, "no_history")
    assert "for 6 tests, among them test_a.py::test_load[" in told


def test_marker_holds_one_test_against_its_past(serial: Inner) -> None:
    """The others are not compared."""
    serial.write(
        f"""
        import pytest

        @pytest.mark.memalert(peak="4 MAD over median of 20 runs")
        def test_load():
            assert bytearray(b"x") * {40 * MIB}

        def test_other():
            assert bytearray(b"x") * {40 * MIB}
        """
    )
    remember(serial, [{"test_a.py::test_load": 5.0 * MIB, "test_a.py::test_other": 5.0 * MIB}] * 12)
    result = serial.run()
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*that earlier runs set (4 MAD over median of 20 runs)*"])


def test_history_that_is_off_leaves_the_rule_without_data(serial: Inner) -> None:
    """That is told as well."""
    serial.configure(UNUSUAL, options='history = "none"')
    serial.write(LOAD.format(size=40 * MIB))
    serial.run().assert_outcomes(passed=1)
    assert len(notes(serial, "no_history")) == 1


def test_history_that_cannot_be_read_fails_no_test(serial: Inner) -> None:
    """It is our own trouble: a warning."""
    serial.configure(UNUSUAL)
    serial.write(LOAD.format(size=40 * MIB))
    directory = serial.pytester.mkdir(".memalert")
    (directory / "history.sqlite3").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    result = serial.run()
    assert result.parseoutcomes()["passed"] == 1
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*can't compare tests with earlier runs*"])
    assert len(notes(serial, "no_history")) == 1


def test_wrong_threshold_is_a_usage_error(serial: Inner) -> None:
    """Before the first test."""
    serial.configure(UNUSUAL.replace("p99 of 30 runs", "p99 of 3 runs"))
    serial.write(LOAD.format(size=1))
    result = serial.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*rules?0?.threshold: 'p99 of 3 runs': 3 runs are too few to tell*"])


def test_sessions_themselves_make_the_past(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of them; the eleventh is compared."""
    serial.configure(UNUSUAL)
    serial.write(
        f"""
        import os

        def test_load():
            assert bytearray(b"x") * int(os.environ.get("SIZE", {40 * MIB}))
        """
    )
    for _ in range(10):
        serial.run().assert_outcomes(passed=1)
        assert len(notes(serial, "no_history")) == 1
    serial.run().assert_outcomes(passed=1)
    assert notes(serial, "no_history") == []
    monkeypatch.setenv("SIZE", str(60 * MIB))
    result = serial.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*that earlier runs set (p99 of 30 runs)*"])


# ---------------------------------------------------------------- the session

STEP_RULE = """
    [[tool.memalert.rules]]
    name = "descriptors"
    metric = "open_fds_growth"
    scope = "session"
    threshold = "step of 20 in 20 runs"
"""
DESCRIPTORS = """
    import os

    KEPT = []

    def test_open():
        KEPT.extend(os.dup(0) for _ in range(50))
"""


def test_step_of_the_session_fails_it_where_a_rule_asks(inner: Inner) -> None:
    """Only then is a trend more than advice."""
    inner.configure(STEP_RULE)
    inner.write(DESCRIPTORS)
    past = [{SESSION: 0.0, "test_a.py::test_open": 0.0}] * 15 + [
        {SESSION: 50.0, "test_a.py::test_open": 50.0}
    ] * 4
    remember(inner, past, metric="open_fds_growth")
    result = inner.run_apart()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*descriptor growth 50 is over the limit of 20 that earlier runs set (step of 20*"]
    )


def test_single_session_far_out_is_no_step(serial: Inner) -> None:
    """The level before was never left for long."""
    serial.configure(STEP_RULE)
    serial.write(DESCRIPTORS)
    remember(serial, [{SESSION: 0.0, "test_a.py::test_open": 0.0}] * 19, metric="open_fds_growth")
    result = serial.run_apart()
    assert result.ret == pytest.ExitCode.OK
    assert serial.report()["alerts"] == []
    assert serial.report()["notes"] == []


def test_session_rule_without_enough_sessions_is_noted(serial: Inner) -> None:
    """Never silence."""
    serial.configure(STEP_RULE)
    serial.write(DESCRIPTORS)
    result = serial.run_apart()
    assert result.ret == pytest.ExitCode.OK
    (told,) = notes(serial, "no_history")
    assert "'step of 20 in 20 runs' needs 10 earlier runs in the history" in told


def test_part_of_the_suite_is_not_compared_with_the_whole(serial: Inner) -> None:
    """Its values are those of another suite."""
    serial.configure(STEP_RULE.replace("step of 20 in 20 runs", "p99 of 20 runs"))
    serial.write(DESCRIPTORS)
    others = {f"test_b.py::test_{number}": 0.0 for number in range(9)}
    remember(serial, [{SESSION: 0.0, "test_a.py::test_open": 0.0, **others}] * 12, metric="open_fds_growth")
    assert serial.run_apart().ret == pytest.ExitCode.OK
    assert serial.report()["alerts"] == []


# --------------------------------------------------------------------- trends

ROSE = [{"test_a.py::test_load": 5.0 * MIB}] * 16 + [{"test_a.py::test_load": 60.0 * MIB}] * 4


def test_step_of_a_test_is_told_with_the_commit_it_came_with(inner: Inner) -> None:
    """As advice: the session passes."""
    inner.write(LOAD.format(size=40 * MIB))
    remember(inner, ROSE)
    result = inner.run()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["trend: peak of test_a.py::test_load rose from 5 to 60 MiB at 0000010, 4 runs ago"]
    )
    assert notes(inner, "trend") == [
        "peak of test_a.py::test_load rose from 5 to 60 MiB at 0000010, 4 runs ago"
    ]


def test_no_trend_is_told_of_what_is_steady_or_better(serial: Inner) -> None:
    """Good news is for those who ask."""
    serial.write(LOAD.format(size=1))
    remember(serial, [{"test_a.py::test_load": 30.0 * MIB}] * 16 + [{"test_a.py::test_load": 0.0}] * 4)
    result = serial.run()
    result.stdout.no_fnmatch_line("trend: *")
    assert serial.report()["notes"] == []


def test_many_tests_are_looked_at_where_they_have_moved(inner: Inner) -> None:
    """And no more lines are written unasked than a few; all of them with -v."""
    inner.write(
        f"""
        import pytest

        @pytest.mark.parametrize("number", range(26))
        def test_load(number):
            assert bytearray(b"x") * ({40 * MIB} if number < 5 else 1)
        """
    )
    steady = {f"test_a.py::test_load[{number}]": 0.0 for number in range(26)}
    risen = {**steady, **{f"test_a.py::test_load[{number}]": 60.0 * MIB for number in range(5)}}
    remember(inner, [steady] * 16 + [risen] * 4)
    result = inner.run("-n0" if not inner.distributed else "-n2")
    lines = [line for line in result.outlines if line.startswith("trend: ")]
    assert len(lines) == 3
    result.stdout.fnmatch_lines(["and 2 more trends: -v tells them"])
    assert len(notes(inner, "trend")) == 5
    again = inner.run("-v")
    assert len([line for line in again.outlines if line.startswith("trend: ")]) == 5


def test_history_that_is_off_has_no_trends(serial: Inner) -> None:
    """Nothing is read."""
    serial.configure(options='history = "none"')
    serial.write(LOAD.format(size=40 * MIB))
    remember(serial, ROSE)
    serial.run().stdout.no_fnmatch_line("trend: *")
