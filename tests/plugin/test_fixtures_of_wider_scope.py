"""Fixtures wider than a test answer for their own growth, and stay set up while a test is repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner

MIB = 2**20
LIMIT = """
    [[tool.memalert.rules]]
    name = "grown"
    metric = "growth_bytes"
    threshold = "1 MiB"
"""


def fixtures(inner: Inner) -> dict[str, dict[str, Any]]:
    """Return the fixtures of the last report by name."""
    return {fixture["name"]: fixture for fixture in inner.report()["fixtures"]}


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_what_a_wider_fixture_brings_is_not_the_first_tests_growth(serial: Inner, scope: str) -> None:
    """It is the fixture's, and what it gives back isn't the last test's either."""
    serial.write(
        f"""
        import pytest

        @pytest.fixture(scope={scope!r})
        def large():
            yield b"x" * 20 * 2**20

        class TestAll:
            def test_first(self, large): assert large
            def test_last(self, large): assert large
        """
    )
    serial.configure(LIMIT)
    done = serial.run_apart("-v")
    done.assert_outcomes(passed=2, failed=0)
    for test in serial.tests().values():
        assert -MIB < test["growth_bytes"] < MIB
        assert test["peak_bytes"] < MIB
    large = fixtures(serial)["large"]
    assert large["scope"] == scope
    assert large["location"].startswith("test_a.py:")
    assert large["setup_growth_bytes"] == pytest.approx(20 * MIB, rel=0.1)
    assert large["growth_bytes"] < MIB
    done.stdout.fnmatch_lines([f"fixture 'large' ({scope}, test_a.py:*): * MiB at set-up, * after teardown"])


def test_what_remains_after_a_wider_fixtures_teardown_is_its_own(inner: Inner) -> None:
    """Told without -v, too."""
    inner.write(
        """
        import pytest

        KEPT = []

        @pytest.fixture(scope="module")
        def leaving():
            KEPT.append(b"x" * 6 * 2**20)
            yield
            KEPT.append(b"x" * 4 * 2**20)

        def test_it(leaving): pass
        """
    )
    inner.configure(LIMIT)
    done = inner.run_apart()
    done.assert_outcomes(passed=1, failed=0)
    leaving = fixtures(inner)["leaving"]
    assert leaving["setup_growth_bytes"] == pytest.approx(6 * MIB, rel=0.1)
    assert leaving["growth_bytes"] == pytest.approx(10 * MIB, rel=0.1)
    done.stdout.fnmatch_lines(["fixture 'leaving' (module, test_a.py:*): 6 MiB at set-up, 10 MiB *"])


def test_nested_fixtures_answer_each_for_themselves(serial: Inner) -> None:
    """The outer one's set-up holds the inner one's."""
    serial.write(
        """
        import pytest

        @pytest.fixture(scope="session")
        def wide():
            return b"x" * 6 * 2**20

        @pytest.fixture(scope="module")
        def narrow(request):
            request.getfixturevalue("wide")
            return b"x" * 12 * 2**20

        def test_it(narrow): pass
        """
    )
    serial.run_apart().assert_outcomes(passed=1)
    assert fixtures(serial)["wide"]["setup_growth_bytes"] == pytest.approx(6 * MIB, rel=0.1)
    assert fixtures(serial)["narrow"]["setup_growth_bytes"] == pytest.approx(12 * MIB, rel=0.1)


def test_parametrized_fixture_is_measured_for_each_parameter(serial: Inner) -> None:
    """Its tests grow by nothing."""
    serial.write(
        """
        import pytest

        @pytest.fixture(scope="module", params=[4, 8])
        def sized(request):
            return b"x" * request.param * 2**20

        def test_one(sized): assert sized
        def test_two(sized): assert sized
        """
    )
    serial.configure(LIMIT)
    serial.run_apart().assert_outcomes(passed=4, failed=0)
    tests = serial.tests().values()
    assert [test["growth_bytes"] < MIB for test in tests] == [True] * 4
    assert "sized" in fixtures(serial)


def test_xunit_set_up_is_a_fixture(serial: Inner) -> None:
    """setup_module and setUpClass are told by those names."""
    serial.write(
        """
        import unittest

        def setup_module():
            global TABLE
            TABLE = b"x" * 6 * 2**20

        def teardown_module():
            global TABLE
            del TABLE

        class TestCase(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.rows = b"x" * 4 * 2**20

            def test_it(self):
                assert TABLE and self.rows
        """
    )
    serial.configure(LIMIT)
    serial.run_apart().assert_outcomes(passed=1, failed=0)
    found = {fixture["name"].partition(" of ")[0]: fixture for fixture in serial.report()["fixtures"]}
    assert found["setup_module"]["setup_growth_bytes"] == pytest.approx(6 * MIB, rel=0.1)
    assert found["setUpClass"]["setup_growth_bytes"] == pytest.approx(4 * MIB, rel=0.1)
    assert serial.tests()["test_it"]["growth_bytes"] < MIB


def test_wider_fixtures_are_set_up_once_while_a_test_is_repeated(inner: Inner) -> None:
    """The last test of class and module is a suspect; a function fixture is set up for each run."""
    inner.write(
        """
        from pathlib import Path
        import pytest

        KEPT = []

        def note(what):
            with open("calls", "a") as file:
                file.write(what + " ")

        @pytest.fixture(scope="session")
        def session():
            note("session-up")
            yield
            note("session-down")

        @pytest.fixture(scope="module")
        def module(session):
            note("module-up")
            yield
            note("module-down")

        @pytest.fixture(scope="class")
        def klass(module):
            note("class-up")
            yield
            note("class-down")

        @pytest.fixture
        def function(klass):
            note("up")
            yield
            note("down")

        class TestAll:
            @pytest.mark.memalert(growth="1 MiB")
            def test_growing(self, function):
                KEPT.append(b"x" * 2 * 2**20)
        """
    )
    inner.run(leaks="suspects").assert_outcomes(failed=1)
    calls = inner.pytester.path.joinpath("calls").read_text(encoding="utf-8").split()
    assert calls[:4] == ["session-up", "module-up", "class-up", "up"]
    assert calls[-4:] == ["down", "class-down", "module-down", "session-down"]
    again = calls[3:-3]
    assert len(again) > 2
    assert again == ["up", "down"] * (len(again) // 2)


def test_next_module_finds_the_scopes_of_a_repeated_test_torn_down(serial: Inner) -> None:
    """What was held is released before the next test begins."""
    serial.write(
        """
        import pytest, state

        KEPT = []

        @pytest.fixture(scope="module")
        def exclusive():
            state.HELD = True
            yield
            state.HELD = False

        @pytest.mark.memalert(growth="1 MiB")
        def test_growing(exclusive):
            KEPT.append(b"x" * 2 * 2**20)
        """,
        test_b="import state\n\ndef test_after(): assert not state.HELD",
        state="HELD = False",
    )
    serial.run(leaks="suspects").assert_outcomes(failed=1, passed=1)
