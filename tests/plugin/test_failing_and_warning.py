"""Alerts fail a test, or warn of it, the way pytest's own failures and warnings do."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner

GROWING = """
    import pytest

    KEPT = []

    def test_before():
        pass

    @pytest.mark.memalert(growth="1 MiB")
    def test_growing():
        KEPT.append(b"x" * 4 * 2**20)

    def test_after():
        pass
"""

# The same as a warning.
WARNING = GROWING.replace('growth="1 MiB"', 'growth="1 MiB", severity="warning"')


# ------------------------------------------------------------------ failing


def test_growth_that_comes_back_fails_the_test_itself(inner: Inner) -> None:
    """One failed test, not a passed one and an error; the alert is its section."""
    inner.write(GROWING)
    done = inner.run(leaks="suspects")
    done.assert_outcomes(passed=2, failed=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [
            "*_ test_growing _*",
            "test_a.py::test_growing: growth [34]* MiB is over the limit of 1 MiB",
            "4* MiB in the first run, at least [34]* MiB in * further run*",
            "-> *",
            "*= memory alerts =*",
            "CRITICAL memory_growth  test_a.py::test_growing",
            "  growth [34]* MiB is over the limit of 1 MiB",
            "1 critical",
            "memalert: 3 tests measured, *",
            "FAILED test_a.py::test_growing - growth [34]* MiB is over the limit of 1 MiB",
        ]
    )


def test_section_of_a_failure_is_broken_where_the_summary_is(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the terminal's width; what JUnit XML has of it is unbroken."""
    monkeypatch.setenv("COLUMNS", "70")
    serial.write(GROWING)
    done = serial.run("--junitxml=junit.xml", leaks="suspects")
    lines = done.stdout.str().splitlines()
    advice = "-> bound or clear `test_a.KEPT` (list), e.g. in a fixture:"
    for arrow in (advice, f"  {advice}"):
        assert lines[lines.index(arrow) + 1] == f"{arrow[: arrow.index('-')]}   `test_a.KEPT.clear()`"
    failure = ElementTree.parse(serial.pytester.path / "junit.xml").getroot().find(".//failure")
    assert failure is not None
    assert f"{advice} `test_a.KEPT.clear()`" in (failure.text or "")


@pytest.mark.parametrize("arguments", [[], ["--tb=no"], ["--tb=line"]])
def test_evidence_is_told_once_whether_sections_of_failures_are_shown_or_not(
    serial: Inner, arguments: list[str]
) -> None:
    serial.write(GROWING)
    lines = serial.run(*arguments).stdout.lines
    assert sum("resident memory grew in: call" in line for line in lines) == 1


@pytest.mark.parametrize("fail_on", ["critical", "never"])
def test_control_characters_in_a_message_reach_no_terminal(serial: Inner, fail_on: str) -> None:
    """They came through in pytest's own list of failures, and in its warnings where a hook wrote them."""
    serial.write(
        "def test_large(): bytearray(4 * 2**20)",
        conftest="""
        from dataclasses import replace

        def pytest_memalert_modify_alerts(alerts):
            alerts[:] = [replace(each, message=each.message.replace("red", "red\\x1b]0;")) for each in alerts]
        """,
    )
    serial.configure(
        """
        [[tool.memalert.rules]]
        name = "own"
        metric = "peak_bytes"
        threshold = "1 MiB"
        message = "\\u001b[31mred"
        """,
        options=f'fail_on = "{fail_on}"',
    )
    told = serial.run().stdout.str()
    assert "\\x1b[31mred\\x1b]0; (peak" in told
    assert "\x1b" not in told


def test_with_tb_line_an_alert_takes_as_many_lines_as_any_failure(serial: Inner) -> None:
    """Its whole section was there, and the summary told but half of it."""
    serial.write(GROWING)
    lines = serial.run("--tb=line").stdout.lines
    start = next(index for index, line in enumerate(lines) if "= FAILURES =" in line)
    assert "test_a.py::test_growing: growth " in lines[start + 1]
    assert re.fullmatch(r"\S*test_a.py:\d+: growth .* is over the limit of 1 MiB", lines[start + 2])
    assert "= memory alerts =" in lines[start + 3]
    assert any("resident memory grew in: call" in line for line in lines[start + 3 :])


def test_failing_alert_is_one_failure_in_junit_xml(inner: Inner) -> None:
    """The figures are the test case's properties."""
    inner.write(GROWING)
    inner.run("--junitxml=junit.xml", "-o", "junit_family=xunit1")
    suite = ElementTree.parse(inner.pytester.path / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    failures = suite.findall("testcase/failure")
    assert len(failures) == 1
    assert re.search(r"growth (4(\.1)?|3\.[89]) MiB is over the limit of 1 MiB", failures[0].text or "")
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert len(cases) == 3
    properties = {
        entry.get("name"): float(entry.get("value", ""))
        for entry in cases["test_growing"].findall("properties/property")
    }
    assert properties["memalert_growth_bytes"] == pytest.approx(4 * 2**20, rel=0.05)
    assert properties["memalert_rss_bytes"] > 2**20
    others = {entry.get("name") for entry in cases["test_before"].findall("properties/property")}
    # Each takes pytest half a KiB: those that follow from others are left out.
    assert others == {
        "memalert_rss_bytes",
        "memalert_rss_peak_bytes",
        "memalert_peak_bytes",
        "memalert_growth_bytes",
    }


def test_junit_xml_has_what_an_alert_is_about(serial: Inner) -> None:
    serial.write(
        """
        import pytest, time

        @pytest.mark.memalert(duration="1ms")
        def test_slow(): time.sleep(0.01)
        """
    )
    serial.run("--junitxml=junit.xml", "-o", "junit_family=xunit1").assert_outcomes(failed=1)
    root = ElementTree.parse(serial.pytester.path / "junit.xml").getroot()
    assert "memalert_duration_s" in {entry.get("name") for entry in root.iter("property")}


def test_exit_first_stops_at_a_failing_alert(serial: Inner) -> None:
    """As it does at any failure."""
    serial.write(GROWING)
    done = serial.run("-x")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*stopping after 1 failures*"])


def test_exit_first_under_xdist_ends_with_a_failing_alert(distributed: Inner) -> None:
    """The session stops; what was running elsewhere may still have ended."""
    distributed.write(GROWING)
    done = distributed.run("-x")
    assert done.parseoutcomes()["failed"] == 1
    assert done.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


def test_maxfail_counts_failing_alerts(serial: Inner) -> None:
    """Two of three growing tests run."""
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        @pytest.mark.parametrize("number", range(3))
        def test_growing(number):
            KEPT.append(b"x" * 4 * 2**20)
        """
    )
    done = serial.run("--maxfail=2")
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*stopping after 2 failures*"])


def test_last_failed_runs_a_test_failed_by_an_alert_again(inner: Inner) -> None:
    """And only that one."""
    inner.write(GROWING)
    inner.run()
    done = inner.run("--lf")
    done.assert_outcomes(failed=1)
    assert list(inner.tests()) == ["test_growing"]


def test_failing_alert_opens_no_debugger(serial: Inner) -> None:
    """There is no exception to look at."""
    serial.write(GROWING)
    done = serial.run_apart("--pdb")
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.no_fnmatch_line("*PDB*")


def test_several_alerts_of_a_test_are_told_in_one_failure(serial: Inner) -> None:
    """The reason counts the others."""
    serial.write(GROWING.replace('growth="1 MiB"', 'growth="1 MiB", growth_rate="1 KiB/s"'))
    done = serial.run()
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(
        [
            "test_a.py::test_growing: growth [34]* MiB is over the limit of 1 MiB",
            "test_a.py::test_growing: growth rate * is over the limit of 1 KiB/s",
            "2 critical*",
            "FAILED test_a.py::test_growing - growth [34]* MiB is over the limit of 1 MiB (and 1 more)",
        ]
    )


def test_test_failed_by_an_alert_is_failed_in_the_report(serial: Inner) -> None:
    """The report agrees with the terminal."""
    serial.write(GROWING)
    serial.run()
    assert {name: test["outcome"] for name, test in serial.tests().items()} == {
        "test_before": "passed",
        "test_growing": "failed",
        "test_after": "passed",
    }


# ------------------------------------------------------------------ warning


def test_warning_alert_is_a_pytest_warning_at_the_test(inner: Inner) -> None:
    """The test passes."""
    inner.write(WARNING)
    done = inner.run()
    done.assert_outcomes(passed=3, warnings=1)
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(
        [
            "*= warnings summary =*",
            "test_a.py::test_growing",
            "  *test_a.py:8: MemoryAlertWarning: warning memory_growth: test_a.py::test_growing: growth *",
            "*= memory alerts =*",
            "WARNING memory_growth  test_a.py::test_growing",
            "1 warning",
        ]
    )


def test_warning_alert_fails_nothing_where_warnings_are_errors(inner: Inner) -> None:
    """What fails a test is up to --memalert-fail-on alone."""
    inner.write(WARNING)
    done = inner.run("-W", "error")
    done.assert_outcomes(passed=3, warnings=1)
    assert done.ret == pytest.ExitCode.OK


def test_warning_filter_silences_warning_alerts(serial: Inner) -> None:
    """The summary still lists the alert: it is no pytest warning there."""
    serial.write(WARNING)
    serial.configure(pytest_options='filterwarnings = ["ignore::pytest_memalert.MemoryAlertWarning"]')
    done = serial.run()
    done.assert_outcomes(passed=3, warnings=0)
    done.stdout.no_fnmatch_line("*MemoryAlertWarning*")
    done.stdout.fnmatch_lines(["WARNING memory_growth  test_a.py::test_growing"])


def test_fail_on_warning_fails_the_test_for_a_warning(serial: Inner) -> None:
    """No pytest warning is given as well."""
    serial.write(WARNING)
    done = serial.run("--memalert-fail-on=warning")
    done.assert_outcomes(passed=2, failed=1, warnings=0)
    assert done.ret == pytest.ExitCode.TESTS_FAILED


def test_fail_on_never_makes_every_alert_a_warning(serial: Inner) -> None:
    """Critical ones too."""
    serial.write(GROWING)
    done = serial.run("--memalert-fail-on=never")
    done.assert_outcomes(passed=3, warnings=1)
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["*MemoryAlertWarning: critical memory_growth: *", "1 critical"])


# --------------------------------------------------- the test's own outcome

OWN_OUTCOMES = """
    import pytest

    KEPT = []

    @pytest.fixture
    def broken_teardown():
        yield
        raise RuntimeError("teardown went wrong")

    @pytest.fixture
    def broken_setup():
        KEPT.append(b"x" * 4 * 2**20)
        raise RuntimeError("set-up went wrong")

    pytestmark = pytest.mark.memalert(growth="1 MiB")

    def grow():
        KEPT.append(b"x" * 4 * 2**20)

    def test_failing():
        grow()
        assert False, "its own failure"

    def test_skipping():
        grow()
        pytest.skip("its own skip")

    @pytest.mark.xfail(reason="known")
    def test_xfailing():
        grow()
        assert False

    @pytest.mark.xfail(reason="known")
    def test_xpassing():
        grow()

    @pytest.mark.xfail(reason="known", strict=True)
    def test_strictly_xpassing():
        grow()

    def test_with_broken_setup(broken_setup):
        pass

    def test_with_broken_teardown(broken_teardown):
        grow()
"""


def test_own_outcome_is_kept(serial: Inner) -> None:
    """Outcomes are those without --memalert; alerts of tests that fail are muted and counted."""
    serial.write(OWN_OUTCOMES)
    outcomes = {"failed": 2, "skipped": 1, "xfailed": 1, "xpassed": 1, "passed": 1, "errors": 2}
    assert serial.run(memalert=False).parseoutcomes() == outcomes
    done = serial.run()
    assert done.parseoutcomes() == outcomes
    done.stdout.no_fnmatch_line("CRITICAL*")
    done.stdout.fnmatch_lines(["FAILED test_a.py::test_failing - AssertionError: its own failure"])
    report = serial.report()
    assert report["totals"]["alerts"] == {
        "critical": 0,
        "warning": 0,
        "info": 0,
        "acknowledged": 0,
        "inhibited": len(report["alerts"]),
    }
    assert {alert["inhibited_by"] for alert in report["alerts"]} == {"the test's own failure"}
    assert report["totals"]["reruns"] == 0
    assert {name: test["outcome"] for name, test in serial.tests().items()} == {
        "test_failing": "failed",
        "test_xfailing": "xfailed",
        "test_xpassing": "xpassed",
        "test_strictly_xpassing": "failed",
        "test_with_broken_setup": "error",
        "test_with_broken_teardown": "error",
    }


@pytest.mark.parametrize("scope", ["class", "session"])
def test_failed_teardown_of_a_held_fixture_is_reported_once(serial: Inner, scope: str) -> None:
    """The last test that uses it is a suspect: the fixture waits for its repetition, then fails as ever."""
    assert_teardown_fails_once(serial, scope)


def test_failed_teardown_of_a_held_module_fixture_is_reported_once(inner: Inner) -> None:
    """In one process and in two."""
    assert_teardown_fails_once(inner, "module")


def assert_teardown_fails_once(inner: Inner, scope: str) -> None:
    """Assert that a test's growth and its wider fixture's teardown are a failure and an error."""
    inner.write(
        f"""
        import pytest

        KEPT = []
        SET_UP = []

        @pytest.fixture(scope={scope!r})
        def wide():
            SET_UP.append(1)
            yield len(SET_UP)
            print("teardown was reached")
            raise RuntimeError("wide teardown went wrong")

        class TestAll:
            @pytest.mark.memalert(growth="1 MiB")
            def test_growing(self, wide):
                assert wide == 1
                KEPT.append(b"x" * 4 * 2**20)
        """
    )
    done = inner.run(leaks="suspects")
    done.assert_outcomes(failed=1, errors=1)
    assert done.stdout.str().count("ERROR at teardown of TestAll.test_growing") == 1
    done.stdout.fnmatch_lines(
        [
            "*RuntimeError: wide teardown went wrong",
            "FAILED test_a.py::TestAll::test_growing - growth [34]* MiB is over*",
            "ERROR test_a.py::TestAll::test_growing - RuntimeError: wide teardown went wrong",
        ]
    )
    assert done.stdout.str().count("teardown was reached\n") == 1


# ------------------------------------------------------- trouble of our own


def raise_trouble(*_: object, **__: object) -> None:
    """Stand in for any part of ours that has a defect."""
    raise LookupError("our own")


@pytest.mark.parametrize("part", ["remember", "write_reports", "append_summary"])
def test_trouble_at_the_end_of_the_session_changes_no_outcome(
    serial: Inner, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It is a warning, which shows no line of our code; what fails by an alert of the session does so."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setattr(f"pytest_memalert.plugin.session.controller.{part}", raise_trouble)
    serial.write("def test_fine(): pass")
    done = serial.run()
    done.assert_outcomes(passed=1, warnings=1)
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(
        [
            "pytest-memalert:1",
            "*MemalertWarning: memalert could not conclude the session (LookupError: our own); the run*",
        ]
    )
    assert "def " not in done.stdout.str()


def test_trouble_with_the_summary_is_a_line_of_it(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_memalert.reports.terminal.render", raise_trouble)
    serial.write("def test_fine(): pass")
    done = serial.run()
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["memalert: no summary (LookupError)"])


def test_gate_that_could_not_be_judged_is_not_passed(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A green gate says that somebody looked."""
    serial.write("def test_fine(): pass")
    serial.run("--memalert-save")
    monkeypatch.setattr("pytest_memalert.plugin.session.controller.Controller._finish", raise_trouble)
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=1, warnings=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
