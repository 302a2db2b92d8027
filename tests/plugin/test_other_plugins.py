"""Other plugins do what they do, with --memalert as without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner

GROWING = """
    import pytest

    KEPT = []

    @pytest.mark.memalert(growth="1 MiB")
    def test_growing():
        KEPT.append(b"x" * 4 * 2**20)
"""


# ------------------------------------------------------- pytest-rerunfailures


def test_rerunfailures_runs_failing_tests_again(inner: Inner) -> None:
    """--reruns is not pre-empted."""
    pytest.importorskip("pytest_rerunfailures")
    inner.write(
        """
        RUNS = []

        def test_flaky():
            RUNS.append(1)
            assert len(RUNS) == 3
        """
    )
    done = inner.run("-p", "rerunfailures", "--reruns=2")
    done.assert_outcomes(passed=1)
    assert done.parseoutcomes()["rerun"] == 2
    assert inner.tests()["test_flaky"]["outcome"] == "passed"


def test_alert_under_rerunfailures_fails_the_session(serial: Inner) -> None:
    """Whichever report can still be failed is."""
    pytest.importorskip("pytest_rerunfailures")
    serial.write(GROWING)
    done = serial.run("-p", "rerunfailures", "--reruns=1")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["CRITICAL memory_growth  test_a.py::test_growing"])
    assert serial.report()["totals"]["tests"] == 1


def test_notes_under_rerunfailures_are_those_of_the_last_attempt(serial: Inner) -> None:
    """And what is told once in a session, whichever attempt it came with."""
    pytest.importorskip("pytest_rerunfailures")
    serial.write(
        """
        import pytest

        RUNS, KEPT = [], []

        @pytest.mark.memalert(rss="1 MiB", traced_peak="1 MiB", growth="1 MiB")
        def test_growing_twice():
            RUNS.append(1)
            if len(RUNS) < 3:
                KEPT.append(b"x" * 4 * 2**20)
        """
    )
    serial.run("-p", "rerunfailures", "--reruns=3").assert_outcomes(passed=1)
    kinds = sorted(note["kind"] for note in serial.report()["notes"])
    # Up to its version 16.1 no end of an earlier attempt is reported, and nothing of it known.
    assert kinds in (["already_above", "no_data"], ["already_above"])


def test_interrupt_in_a_rerun_keeps_the_figures_under_rerunfailures(serial: Inner) -> None:
    """It runs the test, and would log its reports only after all of it."""
    pytest.importorskip("pytest_rerunfailures")
    serial.write(
        """
        RUNS = []

        def test_interrupted():
            RUNS.append(1)
            if len(RUNS) == 5:
                raise KeyboardInterrupt
        """
    )
    done = serial.run_apart("-p", "rerunfailures", "--reruns=1", leaks="all")
    done.assert_outcomes(passed=1)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert serial.tests()["test_interrupted"]["leak"]["reason"] == "its check did not come to an end"


def test_rerunfailures_without_reruns_leaves_one_failed_test(serial: Inner) -> None:
    """It is installed, and does nothing."""
    pytest.importorskip("pytest_rerunfailures")
    serial.write(GROWING)
    done = serial.run("-p", "rerunfailures")
    done.assert_outcomes(failed=1, errors=0)


# ---------------------------------------------------------- kinds of tests


def test_unittest_cases_are_measured(serial: Inner) -> None:
    """Failures, skips and growth of a TestCase."""
    serial.write(
        """
        import unittest, pytest

        KEPT = []

        class TestAll(unittest.TestCase):
            @pytest.mark.memalert(growth="1 MiB")
            def test_growing(self): KEPT.append(b"x" * 4 * 2**20)
            def test_failing(self): self.fail("its own")
            @unittest.skip("not now")
            def test_skipped(self): pass
            def test_passing(self): pass

        class TestAsync(unittest.IsolatedAsyncioTestCase):
            async def test_awaiting(self): pass
        """
    )
    done = serial.run()
    done.assert_outcomes(passed=2, failed=2, skipped=1)
    done.stdout.fnmatch_lines(["*::TestAll::test_growing: growth 4 MiB is over the limit of 1 MiB"])


def test_subtests_of_unittest_keep_their_outcomes(serial: Inner) -> None:
    """A failed one mutes the alert of its test."""
    serial.write(
        """
        import unittest, pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        class TestAll(unittest.TestCase):
            def test_failing(self):
                KEPT.append(b"x" * 4 * 2**20)
                for number in range(3):
                    with self.subTest(number=number):
                        assert number != 1

            def test_passing(self):
                for number in range(3):
                    with self.subTest(number=number):
                        pass
        """
    )
    plain = serial.run(memalert=False).parseoutcomes()
    assert serial.run().parseoutcomes() == plain
    assert plain["failed"] >= 1


def test_doctests_are_measured(serial: Inner) -> None:
    """A failing one fails as ever."""
    serial.pytester.makepyfile(
        module='''
        def double(number):
            """
            >>> double(2)
            4
            """
            return number * 2

        def triple(number):
            """
            >>> triple(2)
            7
            """
            return number * 3
        '''
    )
    done = serial.run("--doctest-modules", "module.py")
    done.assert_outcomes(passed=1, failed=1)
    assert serial.report()["totals"]["tests"] == 2


def test_asyncio_tests_are_measured(serial: Inner) -> None:
    """With their loops' fixtures."""
    pytest.importorskip("pytest_asyncio")
    serial.write(
        """
        import asyncio, pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        async def test_growing():
            await asyncio.sleep(0)
            KEPT.append(b"x" * 4 * 2**20)

        async def test_fine():
            await asyncio.sleep(0)
        """
    )
    done = serial.run(
        "-p", "asyncio", "-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"
    )
    done.assert_outcomes(passed=1, failed=1)


def test_anyio_tests_are_measured(serial: Inner) -> None:
    """On asyncio, which is always there."""
    pytest.importorskip("anyio")
    serial.write(
        """
        import anyio, pytest

        KEPT = []

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        @pytest.mark.anyio
        @pytest.mark.memalert(growth="1 MiB")
        async def test_growing():
            await anyio.sleep(0)
            KEPT.append(b"x" * 4 * 2**20)
        """
    )
    serial.run_apart("-p", "anyio").assert_outcomes(failed=1)


def test_hypothesis_tests_are_measured(serial: Inner) -> None:
    """Nothing is frozen or registered that it would warn of."""
    pytest.importorskip("hypothesis")
    serial.write(
        """
        from hypothesis import given, strategies as st

        @given(st.integers())
        def test_it(number): assert number == number
        """
    )
    done = serial.run_apart("-p", "hypothesispytest", "-W", "error")
    done.assert_outcomes(passed=1, warnings=0)


# ------------------------------------------------- plugins around the tests


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("pytest_timeout", ["-p", "timeout", "--timeout=60"]),
        ("pytest_randomly", ["-p", "randomly", "-p", "no:xdist"]),
        ("pytest_benchmark", ["-p", "benchmark", "-p", "no:xdist"]),
        ("pytest_cov", ["-p", "pytest_cov", "--cov=test_a", "--cov-report="]),
    ],
)
def test_plugin_is_not_disturbed(serial: Inner, module: str, arguments: list[str]) -> None:
    """The one growing test fails, for its growth alone; some of it may be coverage.py's own."""
    pytest.importorskip(module)
    serial.write(GROWING + "\n    def test_fine(): pass\n")
    done = serial.run_apart(*arguments)
    done.assert_outcomes(passed=1, failed=1, errors=0, warnings=0)
    done.stdout.fnmatch_lines(["*test_growing: growth 4* MiB is over the limit of 1 MiB"])


def test_timeout_ends_a_slow_test_as_ever(serial: Inner) -> None:
    """And those after it are measured."""
    pytest.importorskip("pytest_timeout")
    serial.write("import time\n\ndef test_slow(): time.sleep(30)\n\ndef test_fine(): pass")
    done = serial.run_apart("-p", "timeout", "--timeout=0.5", "--timeout-method=signal")
    done.assert_outcomes(passed=1, failed=1)
    assert set(serial.tests()) == {"test_slow", "test_fine"}


def test_reports_come_in_order_where_another_plugin_may_run_the_test(serial: Inner) -> None:
    """Those of subtests came before that of the set-up."""
    inner = serial
    inner.pytester.makeconftest(
        """
        def pytest_runtest_protocol(item, nextitem):
            return None

        def pytest_runtest_logreport(report):
            with open("reports", "a") as file:
                file.write(f"{report.when} {type(report).__name__}\\n")
        """
    )
    inner.write(
        """
        import unittest

        class TestParts(unittest.TestCase):
            def test_parts(self):
                with self.subTest(part=1):
                    pass
        """
    )
    done = inner.run()
    done.assert_outcomes(passed=1)
    told = (inner.pytester.path / "reports").read_text(encoding="utf-8").splitlines()
    assert told[0] == "setup TestReport"
    assert told[-2:] == ["call TestReport", "teardown TestReport"]
