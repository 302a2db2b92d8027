"""Leaks of class-, module- and package-scoped fixtures: found by setting them up again, told as theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_memalert.model import AlertCategory

if TYPE_CHECKING:
    from tests.conftest import Inner

#: Leak rules are on, as they are by default.
NEVER_FAIL = "[tool.memalert]\nfail_on = 'never'\n"

LEAKING = """
    import unittest
    import pytest

    KEPT = []

    class Connection:
        def __init__(self):
            self.rows = [object() for _ in range(400)]

    @pytest.fixture(scope="class")
    def connection():
        KEPT.append(Connection())
        yield

    @pytest.fixture(scope="module")
    def healthy(connection_of_session):
        yield [object() for _ in range(5000)]

    @pytest.fixture(scope="session")
    def connection_of_session():
        KEPT.append(Connection())
        yield

    class TestFirst:
        def test_one(self, connection, healthy): pass
        def test_two(self, connection, healthy): pass

    class TestSecond:
        def test_one(self, connection): pass

    class TestOfUnittest(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            KEPT.append(["kept"] + [object() for _ in range(500)])
        def test_one(self): pass

    class TestWithoutFixtures:
        def test_one(self): pass

    def test_last(healthy): pass
"""


def told(inner: Inner) -> dict[str, str]:
    """Return the first line of each alert of a leak that speaks, by the tests it names."""
    alerts: list[dict[str, Any]] = inner.report()["alerts"]
    return {
        ", ".join(sorted(nodeid.partition("::")[2] for nodeid in alert["nodeids"])): alert["message"]
        for alert in alerts
        if alert["category"] == AlertCategory.MEMORY_LEAK.value and not alert["inhibited_by"]
    }


@pytest.mark.parametrize("leaks", ["suspects", "all"])
def test_what_each_set_up_of_a_wider_fixture_leaves_is_found_and_told_as_its(
    serial: Inner, leaks: str
) -> None:
    """By default as well, where it is much; a healthy one beside it, and the session's, are not accused."""
    serial.pytester.makepyprojecttoml(NEVER_FAIL)
    serial.write(LEAKING)
    serial.run_apart("-Wignore", leaks=leaks).assert_outcomes(passed=6)
    found = told(serial)
    assert {*found} == {"TestFirst::test_two, TestSecond::test_one", "TestOfUnittest::test_one"}
    first = found["TestFirst::test_two, TestSecond::test_one"]
    assert "per set-up of connection" in first.splitlines()[0]
    assert "per set-up of setUpClass of TestOfUnittest" in found["TestOfUnittest::test_one"].splitlines()[0]
    assert {test["leak"]["status"] for test in serial.tests().values()} <= {"clean", "unchecked"}
    alert = next(alert for alert in serial.report()["alerts"] if "connection" in alert["message"])
    (survivor, *_) = alert["survivors"]
    assert survivor["type"] == "test_a.Connection"
    assert "in connection" in survivor["allocated_at"][0] or "in connection" in survivor["allocated_at"][1]
    assert survivor["held_by"][0] == "module test_a"
    assert survivor["held_by"][1].startswith("KEPT: list of ")


def test_leak_of_a_module_found_in_a_worker(inner: Inner) -> None:
    """A module's own set-up, in the last test of all, with the session's fixtures still there."""
    inner.pytester.makepyprojecttoml(NEVER_FAIL)
    inner.write(
        """
        import pytest

        KEPT = []

        def setup_module(module):
            KEPT.append([object() for _ in range(700)])

        @pytest.fixture(scope="session")
        def of_session():
            yield []
            KEPT.append("the session is over")

        def test_only(of_session):
            assert "the session is over" not in KEPT
            of_session.append("used")
        """
    )
    inner.run_apart("-Wignore", leaks="suspects").assert_outcomes(passed=1, warnings=0)
    (message,) = told(inner).values()
    assert message.startswith("test_a.py::test_only: leaks ")
    assert "per set-up of setup_module of test_a" in message.splitlines()[0]


def test_fixtures_are_torn_down_as_often_as_set_up_and_the_session_once(serial: Inner) -> None:
    """Whatever is run again: what comes after finds what it would have found."""
    serial.pytester.makepyprojecttoml(NEVER_FAIL)
    serial.write(
        """
        import pytest

        COUNTS = dict.fromkeys(["session", "module", "class"], 0)
        ENDED = dict(COUNTS)

        def counted(scope):
            @pytest.fixture(scope=scope, autouse=True)
            def fixture(request):
                COUNTS[scope] += 1
                assert COUNTS[scope] == ENDED[scope] + 1
                yield
                ENDED[scope] += 1
            return fixture

        of_session, of_module, of_class = map(counted, ["session", "module", "class"])

        class TestOne:
            def test_first(self): pass
            def test_last(self): pass

        class TestTwo:
            def test_first(self):
                assert ENDED["class"] == COUNTS["class"] - 1
                assert ENDED["class"] > 1, "the class of the first was not looked at"
                assert (COUNTS["module"], COUNTS["session"]) == (1, 1)
        """,
        test_b="""
        def test_other_module():
            from test_a import COUNTS, ENDED
            assert COUNTS["session"] == 1
            assert ENDED["module"] == COUNTS["module"] > 1
        """,
    )
    serial.run_apart("-Wignore", leaks="all").assert_outcomes(passed=4)
    assert serial.report()["alerts"] == []


@pytest.mark.parametrize("way", ["marker", "off"])
def test_fixtures_of_a_test_that_opts_out_are_left_alone(serial: Inner, way: str) -> None:
    marker = "pytestmark = pytest.mark.memalert(leaks='off')" if way == "marker" else ""
    serial.pytester.makepyprojecttoml(NEVER_FAIL)
    serial.write(
        f"""
        import pytest
        {marker}
        KEPT = []

        @pytest.fixture(scope="module")
        def leaking():
            KEPT.append([object() for _ in range(700)])

        def test_first(leaking): assert len(KEPT) == 1
        def test_last(leaking): assert len(KEPT) == 1
        """
    )
    serial.run_apart(leaks="off" if way == "off" else "all").assert_outcomes(passed=2)
    assert told(serial) == {}


def test_set_up_that_works_but_once_is_unclear(serial: Inner) -> None:
    """No alert, and the outcomes are those of a plain run."""
    serial.pytester.makepyprojecttoml(NEVER_FAIL)
    serial.write(
        """
        import pytest

        DONE = []

        @pytest.fixture(scope="module")
        def once():
            assert not DONE, "the port is taken"
            DONE.append([object() for _ in range(700)])
            yield

        def test_once(once): pass
        """
    )
    done = serial.run_apart("-v", leaks="all")
    done.assert_outcomes(passed=1)
    assert told(serial) == {}
    leak = serial.tests()["test_once"]["leak"]
    assert leak["status"] == "unclear"
    assert (
        leak["reason"]
        == "with once set up anew: run again, it failed (setup: AssertionError: the port is taken)"
    )


def test_teardown_of_a_module_that_fails_is_that_failure_alone(serial: Inner) -> None:
    serial.pytester.makepyprojecttoml(NEVER_FAIL)
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.fixture(scope="module")
        def failing():
            KEPT.append([object() for _ in range(700)])
            yield
            assert False, "it does not close"

        def test_last(failing): pass
        """
    )
    done = serial.run_apart(leaks="all")
    done.assert_outcomes(passed=1, errors=1)
    assert "it does not close" in done.stdout.str()
    assert told(serial) == {}


def test_interrupt_in_such_a_run_ends_the_session_and_calls_no_leak_resolved(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is still set up is torn down, once."""
    serial.pytester.makepyprojecttoml("[tool.memalert]\nhistory = 'history.db'")
    serial.write(
        """
        import os
        from pathlib import Path
        import pytest

        KEPT = []

        @pytest.fixture(scope="session", autouse=True)
        def of_session():
            yield
            with Path("ended").open("a") as file:
                file.write("once ")

        @pytest.fixture(scope="module")
        def leaking():
            KEPT.append([object() for _ in range(700)])
            if len(KEPT) == 3 and "INTERRUPTED" in os.environ:
                raise KeyboardInterrupt
            yield

        def test_only(leaking): pass
        """
    )
    assert serial.run_apart(leaks="suspects").ret == pytest.ExitCode.TESTS_FAILED
    monkeypatch.setenv("INTERRUPTED", "yes")
    assert serial.run_apart(leaks="suspects").ret == pytest.ExitCode.INTERRUPTED
    assert (serial.pytester.path / "ended").read_text(encoding="utf-8") == "once once "
    assert serial.tests()["test_only"]["leak"]["reason"] == "its check did not come to an end"
    assert not [note for note in serial.report()["notes"] if note["kind"] == "resolved"]


@pytest.mark.parametrize("place", ["first of two modules", "last of all"])
def test_last_test_that_stands_out_late_is_run_again_with_its_module(serial: Inner, place: str) -> None:
    """Linux counts pages late: what was mapped stood out once the module was torn down, and was unclear."""
    serial.pytester.makepyprojecttoml(NEVER_FAIL)
    last = "def test_last(): pass" if place == "first of two modules" else ""
    serial.write(
        """
        from pathlib import Path
        import pytest

        SET_UP, KEPT, LATE = [], [], []

        @pytest.fixture(scope="module", autouse=True)
        def of_module():
            SET_UP.append("module")
            yield
            KEPT.extend(LATE)
            LATE.clear()
            SET_UP.remove("module")

        def test_leaks():
            assert SET_UP == ["module"]
            # What it leaves is in the way of the module's teardown alone.
            LATE.append(b"x" * 4_000_000)
        """,
        conftest="""
        import pytest_memalert.plugin.measuring.meter as meter

        def unnoticed(self, attempt):
            return {}

        meter.Meter.measure_so_far = unnoticed
        """,
        **({"test_b": last} if last else {}),
    )
    serial.run_apart(leaks="suspects")
    leak = serial.tests()["test_leaks"]["leak"]
    assert leak["status"] == "leaking", leak
