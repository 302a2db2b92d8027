"""Suspects that an earlier session checked: left alone while neither the code nor their first run changes."""

from __future__ import annotations

import os

import pytest

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


@pytest.fixture
def checked(inner: Inner) -> Inner:
    """Provide the suite after a session that checked its suspect."""
    inner.write(FILLS)
    status, _, reruns = check(inner)
    assert status == "clean"
    assert reruns > 0
    return inner


def test_suspect_that_was_cleared_is_not_run_again(checked: Inner) -> None:
    for _ in range(2):
        assert check(checked) == ("unchecked", AS_BEFORE, 0)


def test_suspects_as_before_are_counted_and_are_no_doubt(checked: Inner) -> None:
    result = checked.run_apart("-v", leaks="suspects")
    result.stdout.fnmatch_lines(["memalert: 1 test measured, *, 1 suspect as when checked before, added *"])
    result.stdout.no_fnmatch_line("*not known to leak*")


def test_leak_that_came_since_is_found(checked: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is checked in each session from then on."""
    monkeypatch.setenv("GROWS", "yes")
    for _ in range(2):
        assert check(checked)[0] == "leaking"


def test_leak_that_leaves_no_more_at_first_than_a_cache_did_is_found(checked: Inner) -> None:
    checked.write(FILLS.replace("if not MEMO", "if True"))
    assert check(checked)[0] == "leaking"


def test_code_that_is_put_in_place_with_an_older_time_is_a_change(checked: Inner) -> None:
    """As some installers put it, and some that restore a cache."""
    checked.write(FILLS.replace("if not MEMO", "if True"))
    os.utime(checked.pytester.path / "test_a.py", (1e9, 1e9))
    assert check(checked)[0] == "leaking"


def test_who_asks_for_checks_has_them(checked: Inner) -> None:
    assert check(checked, leaks="all")[0] == "clean"


def test_without_a_history_each_session_checks(checked: Inner) -> None:
    assert check(checked, "--memalert-history=off")[0] == "clean"


def test_what_a_gate_says_does_not_depend_on_the_history(checked: Inner) -> None:
    checked.run_apart("--memalert-save", leaks="suspects")
    assert check(checked, "--memalert-gate")[0] == "clean"


def test_history_that_cannot_be_read_is_no_trouble_for_a_check(checked: Inner) -> None:
    history = checked.pytester.path / ".memalert" / "history.sqlite3"
    history.write_bytes(b"not a database")
    assert check(checked)[0] == "clean"
    assert check(checked)[1] == AS_BEFORE
