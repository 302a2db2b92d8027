"""Suspects that an earlier session checked: left alone while neither the code nor their first run changes."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from datetime import datetime, timezone
from textwrap import dedent
from zipfile import ZipFile

import pytest

from pytest_memalert.history import CheckedTest
from pytest_memalert.model import LeakStatus
from pytest_memalert.plugin.leak_checks.checked_before import choose
from tests.conftest import Inner

# A suspect for what fills once; with GROWS in the environment it leaks beside that.
FILLS = """
    import os

    MEMO, KEPT = [], []

    def test_fills():
        if not MEMO:
            MEMO.extend(object() for _ in range(500))
        if "GROWS" in os.environ:
            KEPT.append([object() for _ in range(300)])
"""
AS_BEFORE = "it left what it did when an earlier session checked it and found no leak"


def check(inner: Inner, *args: str, leaks: str | None = "suspects") -> tuple[str, str | None, int]:
    """Return the status and reason of the one test in a session, and how often it was run again."""
    assert inner.run_apart(*args, leaks=leaks).ret in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    leak = inner.tests()["test_fills"]["leak"]
    return leak["status"], leak["reason"], inner.report()["totals"]["reruns"]


def begin(suite: Inner) -> None:
    """Have a first session check the suspect, and others until its first run is what it will be.

    The first session compiles, and has no history to load.
    """
    assert check(suite)[0] == "clean"
    settle(suite)


def settle(suite: Inner) -> None:
    """Run sessions until one finds the suspect as before: the second as a rule."""
    assert AS_BEFORE in (check(suite)[1] for _ in range(3))


@pytest.fixture
def checked(serial: Inner) -> Inner:
    """Provide the suite after a session that checked its suspect."""
    serial.write(FILLS)
    begin(serial)
    return serial


def test_suspect_that_was_cleared_is_not_run_again_until_it_leaks(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is checked in each session from then on."""
    inner.write(FILLS)
    begin(inner)
    assert check(inner) == ("unchecked", AS_BEFORE, 0)
    monkeypatch.setenv("GROWS", "yes")
    for _ in range(2):
        assert check(inner)[0] == "leaking"


def test_suspects_as_before_are_counted_and_are_no_doubt(checked: Inner) -> None:
    result = checked.run_apart("-v", leaks="suspects")
    result.stdout.fnmatch_lines(["memalert: 1 test measured, *, 1 suspect as when checked before, added *"])
    result.stdout.no_fnmatch_line("*not known to leak*")


def test_leak_that_leaves_no_more_at_first_than_a_cache_did_is_found(checked: Inner) -> None:
    checked.write(FILLS.replace("if not MEMO", "if True"))
    assert check(checked)[0] == "leaking"


def test_code_that_is_put_in_place_with_an_older_time_is_a_change(checked: Inner) -> None:
    """As some installers put it, and some that restore a cache."""
    checked.write(FILLS.replace("if not MEMO", "if True"))
    os.utime(checked.pytester.path / "test_a.py", (1e9, 1e9))
    assert check(checked)[0] == "leaking"


def test_code_that_only_the_test_loads_is_looked_at_too(serial: Inner) -> None:
    serial.pytester.makepyfile(lazy=FILLS.replace("test_fills", "fill"))
    serial.write("def test_fills():\n    import lazy\n\n    lazy.fill()")
    begin(serial)
    serial.pytester.makepyfile(lazy=FILLS.replace("test_fills", "fill").replace("if not MEMO", "if True"))
    assert check(serial)[0] == "leaking"


def test_a_conftest_above_another_is_looked_at_too(serial: Inner) -> None:
    """Both have one name: only the last is among the modules."""
    fixture = FILLS.replace("def test_fills():", "import pytest\n    @pytest.fixture\n    def filled():")
    serial.pytester.mkdir("tests").joinpath("conftest.py").write_text("", encoding="utf-8")
    test = serial.pytester.path / "tests" / "test_a.py"
    test.write_text("def test_fills(filled): pass", encoding="utf-8")
    serial.pytester.makeconftest(fixture)
    begin(serial)
    serial.pytester.makeconftest(fixture.replace("if not MEMO", "if True"))
    assert check(serial)[0] == "leaking"


def test_a_plugin_that_no_file_is_of_is_no_trouble(checked: Inner) -> None:
    checked.pytester.makeconftest(
        """
        import types

        def pytest_configure(config):
            config.pluginmanager.register(types.ModuleType("of_no_file"))
        """
    )
    checked.run_apart(leaks="suspects").assert_outcomes(passed=1, warnings=0)


def test_another_installation_has_a_say_of_its_own(checked: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("other", os.environ.get("PYTHONPATH", ""))))
    assert check(checked)[0] == "clean"
    settle(checked)


def test_an_archive_that_a_module_is_in_is_looked_at(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = serial.pytester.path / "lib.zip"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(archive), os.environ.get("PYTHONPATH", ""))))
    serial.write("import lazy\ndef test_fills(): lazy.fill()")
    source = dedent(FILLS).replace("test_fills", "fill")
    for text in (source, source.replace("if not MEMO", "if True")):
        with ZipFile(archive, "w") as file:
            file.writestr("lazy.py", text)
        status, reason, _ = check(serial)
        assert reason != AS_BEFORE
    assert status == "leaking"


def test_a_session_of_the_future_says_nothing(checked: Inner) -> None:
    """The clock was put back since."""
    with closing(sqlite3.connect(checked.pytester.path / ".memalert" / "history.sqlite3")) as connection:
        connection.execute("UPDATE runs SET started_at = '2999-01-01T00:00:00.000000+00:00'")
        connection.commit()
    assert check(checked)[0] == "clean"


def test_text_of_a_doctest_is_code_too(serial: Inner) -> None:
    fills = """
        >>> import builtins
        >>> memo = builtins.__dict__.setdefault("memo", [])
        >>> if not memo:
        ...     memo.extend(object() for _ in range(500))
    """
    for text in (fills, fills, fills.replace("if not memo", "if True")):
        serial.pytester.maketxtfile(test_doc=text)
        serial.run_apart("--doctest-glob=*.txt", leaks="suspects")
    assert serial.tests()["test_doc.txt"]["leak"]["status"] == "leaking"


def test_who_asks_for_checks_has_them(checked: Inner) -> None:
    assert check(checked, leaks="all")[0] == "clean"


def test_without_a_history_each_session_checks(checked: Inner) -> None:
    assert check(checked, "--memalert-history=off")[0] == "clean"
    # It is no file of that name.
    assert not (checked.pytester.path / "off").exists()


def test_what_a_gate_says_does_not_depend_on_the_history(checked: Inner) -> None:
    checked.run_apart("--memalert-save", leaks="suspects")
    assert check(checked, "--memalert-gate")[0] == "clean"


def test_figures_that_cannot_be_read_are_no_trouble_for_a_check(checked: Inner) -> None:
    with closing(sqlite3.connect(checked.pytester.path / ".memalert" / "history.sqlite3")) as connection:
        connection.execute("UPDATE figures SET numbers = '[1,'")
        connection.commit()
    assert check(checked)[0] == "clean"


def test_history_that_cannot_be_read_is_no_trouble_for_a_check(checked: Inner) -> None:
    history = checked.pytester.path / ".memalert" / "history.sqlite3"
    history.write_bytes(b"not a database")
    assert check(checked)[0] == "clean"
    settle(checked)


def test_leak_that_does_not_stand_out_each_time_is_told_each_time(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the alert of a small leak came and went."""
    serial.write(
        """
        import os
        KEPT = []
        def test_fills():
            KEPT.append([object() for _ in range(100)])
            if len(KEPT) == 1 and "FILLS" in os.environ:
                KEPT.append([object() for _ in range(100)])
        """
    )
    monkeypatch.setenv("FILLS", "yes")
    assert check(serial)[0] == "leaking"
    monkeypatch.delenv("FILLS")
    assert check(serial)[0] == "leaking"
    # Until 3.10 the first test of a process has 12 KB of the interpreter's own, and stands out.
    if sys.version_info >= (3, 11):
        assert check(serial, "--memalert-history=none")[0] == "unchecked"


@pytest.mark.parametrize(
    ("verdicts", "holds", "leaks"),
    [
        (["clean"], True, False),
        (["unclear"], True, False),
        (["leaking"], False, True),
        # The newest verdict comes first.
        (["unclear", "clean"], True, False),
        (["clean", "leaking"], False, False),
        (["unclear", "leaking"], False, True),
        ([None] * 4 + ["unclear"], True, False),
        ([None] * 5 + ["unclear"], False, False),
        ([None] * 9 + ["clean"], True, False),
        ([None] * 5 + ["unclear", "clean"], True, False),
    ],
)
def test_what_was_found_holds_for_so_many_sessions(
    verdicts: list[LeakStatus | None], holds: bool, leaks: bool
) -> None:
    tests = [
        CheckedTest(nodeid="a", status=status, age=age, started_at=datetime.now(timezone.utc), values={})
        for age, status in enumerate(verdicts)
        if status is not None
    ]
    held, leaking = choose(tests)
    assert ("a" in held, "a" in leaking) == (holds, leaks)
