"""Holds a session to what it remembers of the ones before it, and to what it accepts."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.comparisons import SESSION
from pytest_memalert.history import read_history

if TYPE_CHECKING:
    from tests.conftest import Inner

FAT = """
    import pytest

    @pytest.mark.memalert(peak="1 MiB")
    def test_fat():
        assert not (b"x" * ({size} * 2**20)).endswith(b"y")

    def test_slim():
        pass
"""
LEAN = FAT.format(size=0)
DEFAULT = Path(".memalert") / "history.sqlite3"


def tomorrow(days: int = 1) -> str:
    """Return a day that is yet to come, or with a negative number one that is past."""
    return (utc_now().date() + timedelta(days=days)).isoformat()


def fingerprint(inner: Inner) -> str:
    """Return the fingerprint of the only alert of the last run."""
    (alert,) = inner.report()["alerts"]
    return str(alert["fingerprint"])


def acknowledge(inner: Inner, known: str, *, until: str, accepted: str = "42 MiB") -> None:
    """Write the file of acknowledgments."""
    (inner.pytester.path / "memalert.acks.toml").write_text(
        f'[[acknowledged]]\nfingerprint = "{known}"\nreason = "it loads all at once"\nauthor = "Ada"\n'
        f'tests = ["test_a.py::test_fat"]\nuntil = {until}\nmetric = "peak_bytes"\naccepted = "{accepted}"\n',
        encoding="utf-8",
    )


# -------------------------------------------------------------------- history


def test_session_is_remembered_beside_the_configuration(inner: Inner) -> None:
    inner.write(FAT.format(size=40))
    inner.run().assert_outcomes(passed=1, failed=1)
    with read_history(inner.pytester.path / DEFAULT) as history:
        (run,) = history.runs()
        (life,) = history.lives()
        peaks = history.series("test_a.py::test_fat", "peak_bytes", limit=9)
        session = history.series(SESSION, "duration_s", limit=9)
    assert (run.run_id, run.tests) == (inner.report()["run_id"], 2)
    assert life.fingerprint == fingerprint(inner)
    assert len(peaks) == len(session) == 1
    assert peaks[0].value > 35 * 2**20
    assert (inner.pytester.path / ".memalert" / ".gitignore").exists()


def test_alert_is_known_again_and_told_as_resolved(inner: Inner) -> None:
    for size in (40, 44, 0):
        inner.write(FAT.format(size=size))
        result = inner.run()
    result.assert_outcomes(passed=2)
    known = [line for line in result.outlines if line.startswith("note: resolved: test_a.py::test_fat: peak")]
    assert len(known) == 1
    with read_history(inner.pytester.path / DEFAULT) as history:
        (life,) = history.lives()
    assert (life.times, life.resolved_at is None) == (2, False)
    inner.write(FAT.format(size=40))
    result = inner.run()
    assert "note: resolved" not in result.stdout.str()
    with read_history(inner.pytester.path / DEFAULT) as history:
        assert history.lives()[0].reopened == 1


def test_alert_is_not_resolved_by_a_session_that_left_its_test_out(serial: Inner) -> None:
    serial.write(FAT.format(size=40))
    serial.run()
    assert "note: resolved" not in serial.run("-k", "slim").stdout.str()


LARGE = FAT.format(size=40)
OTHERS = "".join(f"def test_{n}(): pass\n" for n in range(9))


def states(inner: Inner) -> list[str]:
    """Return whether the alerts remembered are open or resolved."""
    with read_history(inner.pytester.path / DEFAULT) as history:
        return ["open" if life.resolved_at is None else "resolved" for life in history.lives()]


@pytest.mark.parametrize("gone", ["test", "file"])
def test_alert_of_a_test_that_is_deleted_is_resolved(inner: Inner, gone: str) -> None:
    inner.write(LARGE, test_b=OTHERS)
    inner.run()
    assert states(inner) == ["open"]
    if gone == "file":
        (inner.pytester.path / "test_a.py").unlink()
    else:
        inner.write(LARGE.replace("def test_fat", "def fat"))
    result = inner.run()
    result.stdout.fnmatch_lines(["note: resolved: test_a.py::test_fat: peak*"])
    assert states(inner) == ["resolved"]


def test_alert_of_a_test_that_is_left_out_stays_open(inner: Inner) -> None:
    inner.write(LARGE, test_b=OTHERS)
    inner.run()
    for left_out, arguments in (
        ("", ["--deselect=test_a.py::test_fat"]),
        ("", ["--ignore=test_a.py"]),
        ("", ["test_b.py", "test_a.py::test_slim"]),
        ("def pytest_collection_modifyitems(items): items[:] = items[1:]", []),
        ("collect_ignore = ['test_a.py']", []),
    ):
        inner.pytester.makeconftest(left_out)
        inner.run(*arguments)
        assert states(inner) == ["open"], (left_out, arguments)


def test_alert_of_a_test_that_may_exist_stays_open(inner: Inner) -> None:
    """Its collection fails, its module or itself is skipped; one of a new name has an alert of its own."""
    inner.write(LARGE, test_b=OTHERS)
    inner.run()
    for found, replacement, expected in (
        ("def test_slim", "assert False\n\n    def test_slim", ["open"]),
        ("def test_slim", "pytest.skip(allow_module_level=True)\n\n    def test_slim", ["open"]),
        ("@pytest", "@pytest.mark.skip\n    @pytest", ["open"]),
        ("def test_fat", "def test_renamed", ["open", "open"]),
    ):
        inner.write(LARGE.replace(found, replacement))
        inner.run("--continue-on-collection-errors")
        assert states(inner) == expected, replacement


PARAMETERS = """
    def pytest_addoption(parser):
        parser.addoption("--sizes", default="small")

    def pytest_generate_tests(metafunc):
        if "size" in metafunc.fixturenames:
            metafunc.parametrize("size", metafunc.config.getoption("sizes").split(","))
"""
LIMITED = """
    import pytest

    pytestmark = pytest.mark.memalert(peak="1 MiB")

    def test_some():
        pass
"""


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("def test_size(size): bytearray(40 * 2**20 if size == 'large' else 1)", ["--sizes=small,large"]),
        ("def helper():\n        '>>> size = len(bytearray(40 * 2**20))'", ["--doctest-modules"]),
    ],
)
def test_alert_of_what_an_option_turned_on_stays_open_without_it(
    serial: Inner, source: str, options: list[str]
) -> None:
    """Of parameters, or of a doctest: it is still there."""
    serial.configure(
        """
        [[tool.memalert.rules]]
        name = "most"
        metric = "peak_bytes"
        threshold = "20 MiB"
        """
    )
    serial.pytester.makeconftest(PARAMETERS)
    serial.write(f"{LIMITED}\n    {source}", test_b=OTHERS)
    serial.run(*options)
    assert states(serial) == ["open"]
    serial.run()
    assert states(serial) == ["open"]


def test_alert_of_a_test_that_did_not_fail_last_stays_open(inner: Inner) -> None:
    """With --lf pytest leaves tests out while it collects."""
    inner.write(LARGE + "".join(f"\n    def test_{n}(): assert 0" for n in range(9)))
    inner.run("--memalert-fail-on=never")
    inner.write(LARGE.replace("test_fat", "fat") + "".join(f"\n    def test_{n}(): pass" for n in range(9)))
    inner.run("--lf", "--memalert-fail-on=never")
    assert states(inner) == ["open"]


def test_alert_of_a_test_that_may_have_moved_under_a_new_name_stays_open(serial: Inner) -> None:
    """A test that came since, in any file, and failed may be it: also in the session after."""
    serial.write(LARGE, test_b=OTHERS)
    serial.run()
    (serial.pytester.path / "test_a.py").unlink()
    serial.pytester.makepyfile(test_c="def test_moved(): assert 0")
    for _ in range(2):
        serial.run()
        assert states(serial) == ["open"]
    serial.pytester.makepyfile(test_c="def test_moved(): assert 1")
    serial.run()
    assert states(serial) == ["resolved"]


def test_alert_of_a_deleted_test_stays_open_where_the_session_ended_early(serial: Inner) -> None:
    serial.write(LARGE, test_b=OTHERS)
    serial.run()
    serial.write(
        LARGE.replace("def test_fat", "def fat"), test_b=OTHERS.replace("8(): pass", "8(): assert 0")
    )
    serial.run("-x")
    assert states(serial) == ["open"]


def test_history_of_a_path_of_ones_own(serial: Inner) -> None:
    serial.write(LEAN)
    serial.run("--memalert-history=kept/h.db")
    assert (serial.pytester.path / "kept" / "h.db").exists()
    assert not (serial.pytester.path / ".memalert").exists()


def test_history_is_the_same_one_wherever_pytest_is_started(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial.write(LEAN)
    below = serial.pytester.mkdir("below")
    monkeypatch.chdir(below)
    serial.run("..")
    assert (serial.pytester.path / DEFAULT).exists()


def test_leak_is_the_same_one_wherever_pytest_is_started(
    serial: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is accepted in the project's root alone."""
    serial.pytester.makepyprojecttoml("[tool.pytest.ini_options]")  # with leak rules
    serial.write("KEPT = []\n\n\ndef test_leaking():\n    KEPT.append(bytearray(400_000))\n")
    serial.run_apart(leaks=None)
    below = serial.pytester.mkdir("below")
    monkeypatch.chdir(below)
    serial.run_apart("..", leaks=None)
    with read_history(serial.pytester.path / DEFAULT) as history:
        assert [life.times for life in history.lives()] == [2]


@pytest.mark.parametrize("way", ["--memalert-history=none", "-omemalert_history=none"])
def test_history_that_is_off_writes_nothing(serial: Inner, way: str) -> None:
    serial.write(FAT.format(size=40))
    result = serial.run(way)
    result.assert_outcomes(passed=1, failed=1)
    assert not (serial.pytester.path / ".memalert").exists()


def test_session_that_collects_only_remembers_nothing(serial: Inner) -> None:
    serial.write(LEAN)
    serial.run("--collect-only")
    assert not (serial.pytester.path / ".memalert").exists()


def test_session_without_memalert_remembers_nothing(serial: Inner) -> None:
    serial.write(LEAN)
    serial.run(memalert=False)
    assert not (serial.pytester.path / ".memalert").exists()


def test_as_many_runs_are_kept_as_the_configuration_says(serial: Inner) -> None:
    serial.configure(options="history_max_runs = 2")
    serial.write(LEAN)
    for _ in range(3):
        serial.run()
    with read_history(serial.pytester.path / DEFAULT) as history:
        assert len(history.runs()) == 2


def test_corrupted_history_is_set_aside_with_a_warning(serial: Inner) -> None:
    serial.write(LEAN)
    serial.run()
    (serial.pytester.path / DEFAULT).write_bytes(b"what is this?")
    result = serial.run("-Werror")
    result.assert_outcomes(passed=2, warnings=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines("*MemalertWarning: the history *history.sqlite3 can't be read*")
    with read_history(serial.pytester.path / DEFAULT) as history:
        assert len(history.runs()) == 1


def test_database_of_another_program_is_left_alone_with_a_warning(serial: Inner) -> None:
    connection = sqlite3.connect(serial.pytester.path / "app.db")
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    serial.write(LEAN)
    result = serial.run("--memalert-history=app.db")
    assert result.ret == 0
    result.stdout.fnmatch_lines("*could not remember this run: *app.db' is the database of another program*")


def test_row_that_makes_no_sense_is_a_warning_with_its_file_and_what_to_do(serial: Inner) -> None:
    serial.write(LEAN)
    serial.run(leaks="suspects")
    connection = sqlite3.connect(serial.pytester.path / DEFAULT)
    connection.execute("UPDATE runs SET started_at = 'yesterday'")
    connection.commit()
    connection.close()
    result = serial.run(leaks="suspects")
    assert result.ret == 0
    why = "holds what can't be read ('yesterday' is no time); move the file away"
    result.stdout.fnmatch_lines(f"*can't see what was checked: the history '*' {why}*")


def test_history_that_cannot_be_written_is_a_warning_only(serial: Inner) -> None:
    (serial.pytester.path / ".memalert").write_text("in the way", encoding="utf-8")
    serial.write(FAT.format(size=40))
    result = serial.run()
    result.assert_outcomes(passed=1, failed=1, warnings=1)
    result.stdout.fnmatch_lines("*MemalertWarning: memalert could not remember this run: *.memalert*")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("history_max_runs = 0", "history_max_runs: 0 keeps nothing"),
        ('history_max_age = "long"', "history_max_age: 'long' is not a duration"),
        ('history_max_size = "big"', "history_max_size: 'big' is not a size"),
    ],
)
def test_what_is_kept_is_refused_where_it_makes_no_sense(serial: Inner, options: str, said: str) -> None:
    serial.configure(options=options)
    serial.write(LEAN)
    result = serial.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(f"*pyproject.toml: tool.memalert.{said}*")


def test_commit_of_the_run_is_that_of_ci(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SHA", "3f2c1e9a0b12" + "0" * 28)
    serial.write(LEAN)
    serial.run()
    assert serial.report()["commit"] == "3f2c1e9a0b12" + "0" * 28


# ------------------------------------------------------------- acknowledgments


def test_acknowledged_alert_fails_no_test_and_is_still_counted(inner: Inner) -> None:
    inner.write(FAT.format(size=40))
    inner.run().assert_outcomes(passed=1, failed=1)
    acknowledge(inner, fingerprint(inner), until=tomorrow())
    result = inner.run()
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result.stdout.fnmatch_lines("1 acknowledged")
    assert inner.report()["totals"]["alerts"]["acknowledged"] == 1
    assert inner.report()["alerts"][0]["acknowledged"].startswith("it loads all at once (Ada, until ")


def test_acknowledged_alert_is_shown_on_request(serial: Inner) -> None:
    serial.write(FAT.format(size=40))
    serial.run()
    acknowledge(serial, fingerprint(serial), until=tomorrow())
    assert "acknowledged:" not in serial.run().outlines
    serial.run("-v").stdout.fnmatch_lines(
        [
            "acknowledged:",
            "  critical test_a.py::test_fat: peak *",
            f"    it loads all at once (Ada, until {tomorrow()}), alert {fingerprint(serial)}",
        ]
    )


def test_expired_acknowledgment_fails_the_test_again_and_is_told(serial: Inner) -> None:
    serial.write(FAT.format(size=40))
    serial.run()
    acknowledge(serial, fingerprint(serial), until=tomorrow(-1))
    result = serial.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(f"*its acknowledgment expired on {tomorrow(-1)} (Ada, it loads all at once)")
    result.stdout.fnmatch_lines(
        f"note: memalert.acks.toml: acknowledged[[]0]: * expired on {tomorrow(-1)}; renew it with *"
    )


def test_alert_that_has_grown_beyond_what_was_accepted_fails_the_test_again(serial: Inner) -> None:
    serial.write(FAT.format(size=40))
    serial.run()
    acknowledge(serial, fingerprint(serial), until=tomorrow())
    serial.run().assert_outcomes(passed=2)
    serial.write(FAT.format(size=80))
    result = serial.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines("*it has grown beyond the 42 MiB acknowledged (Ada, it loads all at once)")


def test_unused_acknowledgment_is_told(serial: Inner) -> None:
    serial.write(LEAN)
    acknowledge(serial, "0123456789ab", until=tomorrow())
    result = serial.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        "note: memalert.acks.toml: acknowledged[[]0]: 0123456789ab is unused: the alert was not raised; *"
    )
    assert "is unused" not in serial.run("-k", "slim").stdout.str()


def test_acknowledged_session_alert_fails_nothing(serial: Inner) -> None:
    serial.configure(
        '[[tool.memalert.rules]]\nname = "whole"\nmetric = "rss_bytes"\nthreshold = 1\nscope = "session"'
    )
    serial.write(LEAN)
    assert serial.run().ret == pytest.ExitCode.TESTS_FAILED
    (serial.pytester.path / "memalert.acks.toml").write_text(
        f'[[acknowledged]]\nfingerprint = "{fingerprint(serial)}"\nreason = "known"\nuntil = {tomorrow()}\n',
        encoding="utf-8",
    )
    assert serial.run().ret == 0


def test_session_alert_is_the_same_one_with_any_number_of_workers(serial: Inner) -> None:
    serial.configure(
        '[[tool.memalert.rules]]\nname = "whole"\nmetric = "rss_bytes"\nthreshold = 1\nscope = "session"'
    )
    serial.write(LEAN)
    serial.run()
    alone = fingerprint(serial)
    serial.run("-n2")
    assert fingerprint(serial) == alone


def test_everything_wrong_with_the_file_is_told_before_the_first_test(serial: Inner) -> None:
    serial.configure(options='fail_on = "sometimes"')
    serial.write(LEAN)
    (serial.pytester.path / "memalert.acks.toml").write_text(
        '[[acknowledged]]\nfingerprint = "f1"\nuntil = "soon"\n', encoding="utf-8"
    )
    result = serial.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "*pyproject.toml: tool.memalert.fail_on: 'sometimes' is not one of *",
            "memalert.acks.toml: acknowledged[[]0]: reason is missing; *",
            "memalert.acks.toml: acknowledged[[]0].until: 'soon' is not a date; write it as 2027-01-31",
        ]
    )
