"""What fixtures wider than a test bring in their set-up, held against a baseline."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Inner

NAME = "memalert.lock.json"
SERVER = "fixture server in test_a.py"

BEFORE = """
    import unittest

    import pytest

    @pytest.fixture(scope="session")
    def server():
        return bytearray(100_000)

    @pytest.fixture(scope="module")
    def table():
        yield [object() for _ in range(2_000)]

    def setup_module():
        global DATA
        DATA = bytearray(20_000)

    def test_first():
        pass

    def test_server(server):
        pass

    def test_table(table, server):
        pass

    class TestPlain(unittest.TestCase):
        def test_plain(self):
            pass

    class TestData(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            cls.data = bytearray(30_000)

        def test_data(self):
            pass
"""


@pytest.fixture(autouse=True)
def _sessions_are_not_compared(request: pytest.FixtureRequest) -> None:
    """These runs are in one process, which isn't the same from one to the next."""
    keys = ("session_peak", "session_rss", "session_heap", "collection")
    inner: Inner = request.getfixturevalue("inner" if "inner" in request.fixturenames else "serial")
    inner.configure("\n".join(("[tool.memalert.gate]", *(f'{key} = "off"' for key in keys))))


def saved(inner: Inner) -> dict[str, Any]:
    """Return the entries of wider fixtures."""
    document = json.loads((inner.pytester.path / NAME).read_text(encoding="utf-8"))
    (entries,) = document["environments"].values()
    return {nodeid: entry for nodeid, entry in entries.items() if nodeid.startswith("fixture ")}


def test_saving_writes_what_each_set_up_brings(inner: Inner) -> None:
    """Of the project's own fixtures; a class without a ``setUpClass`` of its own has none."""
    inner.write(BEFORE)
    inner.run("--memalert-save")
    entries = saved(inner)
    assert [*entries] == [
        SERVER,
        "fixture setUpClass of TestData in test_a.py",
        "fixture setup_module of test_a in test_a.py",
        "fixture table in test_a.py",
    ]
    assert 100_000 <= entries[SERVER]["setup_bytes"][0] < 105_000
    assert 2_000 <= entries["fixture table in test_a.py"]["setup_blocks"][0] < 2_100
    inner.run("--memalert-gate").assert_outcomes(passed=5)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("100_000", "165_536", SERVER),
        ("2_000", "4_000", "fixture table in test_a.py"),
        ("20_000", "85_536", "fixture setup_module of test_a in test_a.py"),
        ("30_000", "95_536", "fixture setUpClass of TestData in test_a.py"),
    ],
)
def test_set_up_that_brings_more_fails_the_session(serial: Inner, old: str, new: str, named: str) -> None:
    """64 KiB more, or 2,000 small objects; the tests that use it are none the worse."""
    serial.write(BEFORE)
    serial.run("--memalert-save")
    serial.write(BEFORE.replace(old, new))
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=5)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(
        [f"CRITICAL memory_regression  {named}", "gate: 5 tests compared with *, 1 worse, 0 better"]
    )
    assert named in serial.report()["gate"]["wholes"]


def test_a_mebibyte_more_is_found_whatever_the_order(inner: Inner) -> None:
    """And with two workers, each of which sets the fixture up."""
    inner.write(BEFORE)
    inner.run("--memalert-save")
    inner.write(BEFORE.replace("100_000", "1_250_000"))
    done = inner.run("--memalert-gate", "--new-first")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines([f"CRITICAL memory_regression  {SERVER}"])


REVERSED = """
    def pytest_collection_modifyitems(items):
        items.reverse()
"""


def test_another_order_is_allowed_another_first_use(serial: Inner) -> None:
    """A cache that the tests filled is filled by a fixture, when that comes first."""
    text = (
        BEFORE.replace("return bytearray(100_000)", "fill(); return bytearray(100_000)")
        + """
    CACHE = []

    def fill():
        CACHE or CACHE.append(bytearray(200_000))

    def test_first():
        fill()
    """
    )
    text = text.replace(
        "def test_server(server)", "def test_filling():\n        fill()\n\n    def test_server(server)"
    )
    serial.write(text)
    serial.run("--memalert-save")
    serial.pytester.makeconftest(REVERSED)
    done = serial.run("--memalert-gate")
    done.assert_outcomes(passed=6)
    assert done.ret == pytest.ExitCode.OK


def test_imports_in_a_set_up_are_not_held_against_it(serial: Inner) -> None:
    """Who needs a module first pays for it; that is told where it makes a difference."""
    serial.pytester.makepyfile(large="DATA = bytearray(300_000)")
    serial.write(BEFORE)
    serial.run("--memalert-save")
    serial.write(BEFORE.replace("return bytearray(100_000)", "import large; return bytearray(100_000)"))
    done = serial.run_apart("--memalert-gate")
    done.assert_outcomes(passed=5)
    assert done.ret == pytest.ExitCode.OK
    told = f"note: {SERVER}: memory that its set-up brings * is * over *; not held against it:*"
    done.stdout.fnmatch_lines([told])


def test_a_new_fixture_passes_and_one_that_is_gone_is_dropped_at_saving(serial: Inner) -> None:
    serial.write(BEFORE)
    serial.run("--memalert-save")
    serial.write(BEFORE.replace("def server", "def service").replace("server)", "service)"))
    done = serial.run("--memalert-gate")
    assert done.ret == pytest.ExitCode.OK
    serial.run("--memalert-save")
    assert SERVER not in saved(serial)
    assert "fixture service in test_a.py" in saved(serial)
