"""Holds the history to what it promises: nothing committed is lost, nothing of others is touched."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_memalert.comparisons import SESSION
from pytest_memalert.errors import HistoryError
from pytest_memalert.history import History, Keep, Past, read_history, write_history
from pytest_memalert.history.schema import APPLICATION_ID, MIGRATIONS, migrate
from pytest_memalert.lives import evolve
from pytest_memalert.model import (
    AlertLife,
    LeakStatus,
    LeakVerdict,
    Measurement,
    PerformanceAlert,
    Run,
)
from tests import makers
from tests.makers import HERE, NODEID, NOON, make_alert

ROOT = Path(__file__).resolve().parent.parent
KEEP_ALL = Keep(max_age_s=1e9, max_runs=10**6, max_bytes=10**12)


def make_test(nodeid: str = NODEID, outcome: str = "passed", **values: float) -> Measurement:
    """Return what a test took: these metrics, or a peak and a duration."""
    test = makers.make_test(nodeid, outcome=outcome)
    return replace(test, values=values or {"peak_bytes": 100, "duration_s": 0.5})


def make_run(
    name: str,
    tests: Sequence[Measurement] = (make_test(),),
    alerts: Sequence[PerformanceAlert] = (),
    **changes: Any,
) -> Run:
    """Return a run of this name."""
    return makers.make_run(*alerts, run_id=name, tests=tuple(tests), **changes)


def remember(
    path: Path,
    run: Run,
    *,
    keep: Keep = KEEP_ALL,
    session: dict[str, float] | None = None,
    warnings: list[str] | None = None,
) -> tuple[AlertLife, ...]:
    """Write a run, as the end of a session does; trouble goes to ``warnings``."""

    def lives_after(past: Past) -> tuple[AlertLife, ...]:
        return evolve(past.lives, run, rules=(), leaks="suspects", at=run.started_at)

    def work(history: History) -> tuple[AlertLife, ...]:
        return history.record(run, session=session or {}, leaks="suspects", evolve=lives_after, keep=keep)

    told: list[str] = []
    lives = write_history(path, work, warn=told.append, at=run.started_at)
    if warnings is None:
        assert told == []
    else:
        warnings.extend(told)
    return lives


def names_of(path: Path) -> list[str]:
    """Return the runs in a history, the latest first."""
    with read_history(path) as history:
        return [run.run_id for run in history.runs()]


def values(path: Path, nodeid: str = NODEID, metric: str = "peak_bytes", **given: Any) -> list[float]:
    """Return the values of a series."""
    with read_history(path) as history:
        return [point.value for point in history.series(nodeid, metric, **{"limit": 30, **given})]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a history that isn't there yet, nor is its directory."""
    return tmp_path / ".memalert" / "history.sqlite3"


# ------------------------------------------------------------- there and back


def test_run_is_read_as_it_was_written(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()], commit="3f2c1e9"))
    with read_history(path) as history:
        (run,) = history.runs()
        ((life,), ((of_run, alert),)) = history.lives(), history.occurrences("f1")
    assert (run.run_id, run.started_at, run.commit, run.tests) == ("r1", NOON, "3f2c1e9", 1)
    assert run.environment == "cpython-3.11-linux-x86_64"
    assert run.alerts["critical"] == 1
    assert alert == life.alert == make_alert()
    assert of_run == run


def test_life_is_read_as_it_was_written(path: Path) -> None:
    (written,) = remember(path, make_run("r1", alerts=[make_alert()]))
    with read_history(path) as history:
        assert history.lives() == (written,)


def test_life_goes_on_in_the_next_run(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    (life,) = remember(path, make_run("r2", alerts=[make_alert(observed=1e9)]))
    assert (life.times, life.worst) == (2, 1e9)


def test_what_was_sent_out_is_remembered(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    later = NOON + timedelta(hours=1)
    write_history(
        path, lambda h: h.mark_notified({"f1": 2048.0, "other": 1.0}, at=later), warn=print, at=NOON
    )
    (life,) = remember(path, make_run("r2", alerts=[make_alert()]))
    assert (life.notified, life.notified_at) == (2048.0, later)


def test_number_that_is_not_finite_is_not_known(path: Path) -> None:
    nan, infinite = float("nan"), float("inf")
    remember(path, make_run("r1", [make_test(a=nan, b=infinite, c=1.5)], [make_alert(observed=nan)]))
    assert [values(path, metric=name) for name in "abc"] == [[], [], [1.5]]
    with read_history(path) as history:
        assert history.lives()[0].worst != history.lives()[0].worst  # nan


def test_node_id_that_is_not_utf8_is_remembered(path: Path) -> None:
    odd = "tests/caf\udce9.py::test_\u202e"
    remember(path, make_run("r1", [make_test(odd)], [make_alert(nodeids=(odd,))]))
    assert values(path, odd) == [100]
    with read_history(path) as history:
        assert history.lives()[0].alert.nodeids == (odd,)


# --------------------------------------------------------------------- series


def test_series_is_the_latest_values_oldest_first(path: Path) -> None:
    for number in range(5):
        remember(path, make_run(f"r{number}", [make_test(peak_bytes=number)], commit=f"c{number}"))
    with read_history(path) as history:
        points = history.series(NODEID, "peak_bytes", limit=3)
    assert [(point.run_id, point.commit, point.value) for point in points] == [
        ("r2", "c2", 2),
        ("r3", "c3", 3),
        ("r4", "c4", 4),
    ]
    assert points[0].started_at == NOON


def test_series_leaves_out_a_test_that_failed_on_its_own_account(path: Path) -> None:
    remember(path, make_run("r1", [make_test(peak_bytes=1)]))
    remember(path, make_run("r2", [make_test(outcome="failed", peak_bytes=2)]))
    remember(path, make_run("r3", [make_test(outcome="failed", peak_bytes=3)], [make_alert()]))
    assert values(path) == [1, 3]


def test_series_is_of_one_environment(path: Path) -> None:
    other = replace(HERE, python="3.13.0")
    remember(path, make_run("r1", [make_test(peak_bytes=1)]))
    remember(path, make_run("r2", [make_test(peak_bytes=2)], environment=other))
    remember(path, make_run("r3", [make_test(peak_bytes=3)], environment=replace(HERE, python="3.11.9")))
    assert values(path) == [1, 3]
    assert values(path, environment=other) == [2]


def test_runs_are_counted_by_environment(path: Path) -> None:
    """Those of another Python are of no use to a series."""
    remember(path, make_run("r1", [make_test(peak_bytes=1)]))
    remember(path, make_run("r2", [make_test(peak_bytes=2)]))
    with read_history(path) as history:
        assert history.count_runs(HERE) == 2
        assert history.count_runs(replace(HERE, machine="another")) == 0


def test_series_of_the_session_has_whole_sessions_alone(path: Path) -> None:
    all_tests = [make_test(f"{NODEID}[{number}]") for number in range(10)]
    remember(path, make_run("r1", all_tests), session={"rss_bytes": 10})
    remember(path, make_run("r2", all_tests[:2]), session={"rss_bytes": 2})
    remember(path, make_run("r3", all_tests[:8]), session={"rss_bytes": 8})
    assert values(path, SESSION, "rss_bytes") == [10, 8]


def test_every_series_is_read_at_once(path: Path) -> None:
    remember(path, make_run("r1", [make_test("a", x=1), make_test("b", x=2)]))
    remember(path, make_run("r2", [make_test("a", x=3), make_test("c", y=4)]))
    with read_history(path) as history:
        found = history.every_series("x", limit=30)
    assert {nodeid: [point.value for point in points] for nodeid, points in found.items()} == {
        "a": [1, 3],
        "b": [2],
    }


def test_series_of_what_is_not_there_is_empty(path: Path) -> None:
    remember(path, make_run("r1"))
    assert values(path, "tests/test_a.py::test_other") == []
    assert values(path, metric="cpu_s") == []


# -------------------------------------------------------------------- pruning


def test_runs_beyond_the_count_are_forgotten_the_oldest_first(path: Path) -> None:
    for number in range(5):
        remember(path, make_run(f"r{number}"), keep=replace(KEEP_ALL, max_runs=3))
    assert names_of(path) == ["r4", "r3", "r2"]
    assert values(path) == [100, 100, 100]


def test_names_that_no_run_has_any_more_are_forgotten(path: Path) -> None:
    """Those of parameters that change with each run; what other runs have too stays."""
    for number in range(6):
        tests = [make_test(NODEID), *(make_test(f"{NODEID}[{number}-{each}]") for each in range(10))]
        remember(path, make_run(f"r{number}", tests), keep=replace(KEEP_ALL, max_runs=2))
    with closing(sqlite3.connect(path)) as connection:
        names = {name for (name,) in connection.execute("SELECT nodeid FROM tests")}
    assert names == {"session", NODEID, *(f"{NODEID}[{n}-{each}]" for n in (4, 5) for each in range(10))}
    assert len(values(path)) == 2


def test_runs_and_lives_beyond_the_age_are_forgotten(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    later = NOON + timedelta(days=8)
    remember(path, make_run("r2", started_at=later), keep=replace(KEEP_ALL, max_age_s=7 * 86400.0))
    assert names_of(path) == ["r2"]
    with read_history(path) as history:
        assert history.lives() == ()


def test_runs_beyond_the_size_are_forgotten_but_never_the_newest(path: Path) -> None:
    many = [make_test(f"{NODEID}[{number}]") for number in range(500)]
    for number in range(6):
        remember(path, make_run(f"r{number}", many), keep=replace(KEEP_ALL, max_bytes=200_000))
    assert 1 <= len(names_of(path)) < 6
    assert path.stat().st_size < 300_000
    remember(path, make_run("last", many), keep=replace(KEEP_ALL, max_bytes=1))
    assert names_of(path) == ["last"]


# ------------------------------------------------------------ files of trouble


def test_directory_that_was_made_is_kept_out_of_git(path: Path) -> None:
    remember(path, make_run("r1"))
    assert (path.parent / ".gitignore").read_text(encoding="utf-8").endswith("\n*\n")


def test_directory_that_was_there_is_left_alone_however_the_path_is_written(tmp_path: Path) -> None:
    """What was in it disappeared from git."""
    path = tmp_path / "missing" / ".." / "history.sqlite3"
    remember(path, make_run("r1"))
    assert not (tmp_path / ".gitignore").exists()
    with read_history(path) as history:
        assert len(history.runs()) == 1


def test_directory_that_was_there_is_left_alone(tmp_path: Path) -> None:
    remember(tmp_path / "history.sqlite3", make_run("r1"))
    assert [file.name for file in tmp_path.iterdir()] == ["history.sqlite3"]


@pytest.mark.parametrize("content", [b"no database at all, but longer than a header of SQLite is" * 20, b"x"])
def test_file_that_is_corrupted_is_set_aside_with_a_warning(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    told: list[str] = []
    remember(path, make_run("r1"), warnings=told)
    assert names_of(path) == ["r1"]
    aside = path.with_name("history.sqlite3.unreadable-20261123T120000")
    assert aside.read_bytes() == content
    assert len(told) == 1
    assert f"it is kept as {aside.name}, and a new one begins" in told[0]


def test_file_damaged_in_its_middle_is_set_aside_when_that_is_noticed(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    told: list[str] = []
    remember(path, make_run("r2"), warnings=told)
    assert (names_of(path), len(told)) == (["r2"], 1)


def test_file_cut_short_is_set_aside(path: Path) -> None:
    remember(path, make_run("r1", [make_test(f"{NODEID}[{number}]") for number in range(500)]))
    path.write_bytes(path.read_bytes()[:9000])
    told: list[str] = []
    remember(path, make_run("r2"), warnings=told)
    assert (names_of(path), len(told)) == (["r2"], 1)


def test_life_that_is_no_json_sets_the_file_aside(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE lives SET alert = '{'")
    connection.commit()
    connection.close()
    told: list[str] = []
    remember(path, make_run("r2"), warnings=told)
    assert "an alert is not JSON" in told[0]


def test_file_of_a_newer_version_is_set_aside_with_a_warning(path: Path) -> None:
    remember(path, make_run("r1"))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(HistoryError, match=r"is of version 99, newer than what this memalert reads"):
        names_of(path)
    told: list[str] = []
    remember(path, make_run("r2"), warnings=told)
    assert names_of(path) == ["r2"]
    assert path.with_name("history.sqlite3.newer-20261123T120000").exists()
    assert "version 99" in told[0]


def test_database_of_another_program_is_not_touched(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE precious (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="is the database of another program; name another file"):
        remember(path, make_run("r1"))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_path_that_is_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="unable to open database file"):
        remember(tmp_path, make_run("r1"))


def test_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match=r"file/h/history.*name a file in a directory that can be written"):
        remember(tmp_path / "file" / "h" / "history.sqlite3", make_run("r1"))


def test_full_disk_is_told_and_loses_nothing(path: Path) -> None:
    remember(path, make_run("r1"))

    def fill(history: History) -> None:
        # A file that may not grow is to SQLite what a full disk is.
        history._connection.execute("PRAGMA max_page_count = 1")
        history.record(
            make_run("r2", [make_test(f"{NODEID}[{n}]") for n in range(5000)]),
            session={},
            leaks="suspects",
            evolve=lambda past: (),
            keep=KEEP_ALL,
        )

    with pytest.raises(HistoryError, match="full"):
        write_history(path, fill, warn=print, at=NOON)
    assert names_of(path) == ["r1"]


def test_history_is_read_where_nothing_can_be_written(path: Path) -> None:
    """Seen as root, too, whom no permission stops: the copy has no files of the log beside it."""
    remember(path, make_run("r1"))
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert names_of(path) == ["r1"]
    finally:
        path.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("started_at", "yesterday", "'yesterday' is no time"),
        ("started_at", 3, "'3' is no time"),
        ("metrics", "zz", "a list of metrics is not JSON: "),
        ("metrics", "3", "'3' is no list of metrics"),
        ("report", "[]", "is not an object with keys"),
    ],
)
def test_row_of_a_run_that_makes_no_sense_is_told_with_its_file_and_what_to_do(
    path: Path, column: str, value: object, said: str
) -> None:
    """It was a traceback of the commands."""
    remember(path, make_run("r1"))
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE runs SET {column} = ?", (value,))
    connection.commit()
    connection.close()

    def read_everything() -> None:
        with read_history(path) as history:
            history.runs()
            history.series(NODEID, "rss_bytes", limit=5)
            history.every_series("rss_bytes", limit=5)

    with pytest.raises(
        HistoryError, match="move the file away, and the next pytest --memalert begins"
    ) as told:
        read_everything()
    assert f"the history '{path}' holds what can't be read (" in str(told.value)
    assert said in str(told.value)


def test_history_that_another_process_is_at_work_on_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_memalert.history.opening._WAIT_S", 0.1)
    remember(path, make_run("r1"))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(HistoryError) as told:
        write_history(path, lambda history: history.forget(), warn=print, at=NOON)
    connection.close()
    assert str(told.value) == (
        f"the history '{path}' can't be used (database is locked); another process is at work on it: wait "
        "for its end, or end it, and try again"
    )


def test_missing_history_says_how_one_is_written(path: Path) -> None:
    with pytest.raises(HistoryError, match="one is written by: pytest --memalert"):
        names_of(path)
    assert not path.parent.exists()


@pytest.mark.parametrize("beginning", [b"", b"made, but nothing in it"])
def test_history_of_which_nothing_was_written_is_missing(path: Path, beginning: bytes) -> None:
    """A session that is killed while it makes the file leaves one like this."""
    path.parent.mkdir()
    if beginning:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    else:
        path.touch()
    with pytest.raises(HistoryError, match="there is no history"):
        names_of(path)
    remember(path, make_run("r1"))
    assert names_of(path) == ["r1"]


def test_failing_write_leaves_no_part_of_a_run(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    with pytest.raises(HistoryError, match="UNIQUE"):
        remember(path, make_run("r1", alerts=[make_alert()]))
    with read_history(path) as history:
        assert history.lives()[0].times == 1
        assert len(history.occurrences("f1")) == 1


# ------------------------------------------------------- who was checked before


def remember_checked(path: Path, number: int, **statuses: LeakStatus) -> None:
    """Write the run of a day, with tests that were checked for leaks."""
    tests = [
        replace(make_test(f"test_a.py::{name}", blocks_growth=number), leak=LeakVerdict(status=status))
        for name, status in statuses.items()
    ]
    remember(path, make_run(f"r{number}", tests, started_at=NOON + timedelta(days=number)))


def checked(path: Path, **given: Any) -> list[tuple[str, str, int, float]]:
    """Return what is known of the tests that were checked."""
    with read_history(path) as history:
        found = history.checked(**{"runs": 9, "limit": 9, "environment": HERE, **given})
        return [
            (test.nodeid.removeprefix("test_a.py::"), test.status, test.age, test.values["blocks_growth"])
            for test in found
        ]


def test_tests_that_were_checked_are_told_the_newest_first(path: Path) -> None:
    remember_checked(path, 1, test_one="clean", test_two="leaking")
    remember_checked(path, 2, test_one="unchecked", test_two="unclear")
    assert checked(path) == [
        ("test_two", "unclear", 0, 2.0),
        ("test_one", "clean", 1, 1.0),
        ("test_two", "leaking", 1, 1.0),
    ]


def test_a_test_that_was_checked_knows_when(path: Path) -> None:
    remember_checked(path, 1, test_one="clean")
    with read_history(path) as history:
        (test,) = history.checked(runs=9, limit=9, environment=HERE)
    assert test.started_at == NOON + timedelta(days=1)


def test_of_the_tests_that_were_checked_those_asked_for_are_told(path: Path) -> None:
    for number in (1, 2, 3):
        remember_checked(path, number, test_one="clean", test_two="clean")
    elsewhere = replace(HERE, python="3.13.0")
    assert [age for _, _, age, _ in checked(path, runs=1)] == [0, 0]
    assert [age for _, _, age, _ in checked(path, limit=3)] == [0, 0, 1]
    assert checked(path, environment=elsewhere) == []


# ----------------------------------------------------------------- migrations


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """Return a database in memory; from Python 3.13 on one that isn't closed is a warning."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def test_migrations_are_run_in_order_and_once(connection: sqlite3.Connection) -> None:
    steps = ["CREATE TABLE a (x); -- not; the end\nINSERT INTO a VALUES (1);", "UPDATE a SET x = x + 1;"]
    migrate(connection, steps[:1])
    migrate(connection, steps)
    migrate(connection, steps)
    assert connection.execute("SELECT x FROM a").fetchall() == [(2,)]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_migration_that_fails_changes_nothing(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, ["CREATE TABLE a (x);\nINSERT INTO nowhere VALUES (1);"])
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)


def test_every_table_is_documented(connection: sqlite3.Connection) -> None:
    page = (ROOT / "docs" / "reference" / "history.md").read_text(encoding="utf-8")
    migrate(connection, MIGRATIONS)
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    assert tables
    for (table,) in tables:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        assert f"## `{table}`" in page
        assert [column for column in columns if f"| `{column}` |" not in page] == []


# --------------------------------------------------- several sessions at once


def write_several(path: Path, name: str, count: int) -> None:
    """Write so many runs (in a process of its own)."""
    for number in range(count):
        remember(path, make_run(f"{name}-{number}", alerts=[make_alert()]))


def test_sessions_that_write_at_once_lose_nothing(path: Path) -> None:
    """The first file is made by all of them at once, too."""
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_several, args=(path, f"s{number}", 6)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert sorted(names_of(path)) == sorted(f"s{a}-{b}" for a in range(4) for b in range(6))
    with read_history(path) as history:
        assert history.lives()[0].times == 24


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_session_killed_while_it_writes_loses_nothing_committed(tmp_path: Path) -> None:
    """200 kills take minutes: docs/reference/measured.md has them."""
    script = ROOT / "benchmarks" / "kill_history.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV_")}
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "4", "--tests", "100"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[2].startswith("| 4 |")


# ------------------------------------------------------------------ forgetting


def test_all_is_forgotten_on_request(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    assert write_history(path, lambda history: history.forget(), warn=print, at=NOON) == (1, 1)
    assert names_of(path) == []
    assert values(path) == []


def test_only_what_is_older_is_forgotten(path: Path) -> None:
    remember(path, make_run("r1", alerts=[make_alert()]))
    later = NOON + timedelta(days=2)
    remember(path, make_run("r2", alerts=[make_alert(fingerprint="f2")], started_at=later))
    day = NOON + timedelta(days=1)
    assert write_history(path, lambda history: history.forget(before=day), warn=print, at=NOON) == (1, 1)
    assert names_of(path) == ["r2"]


def test_copy_of_the_file_alone_has_everything(path: Path, tmp_path: Path) -> None:
    """The log of SQLite is gone once the session has ended: the file can be kept as an artifact."""
    remember(path, make_run("r1"))
    assert sorted(file.name for file in path.parent.iterdir()) == [".gitignore", "history.sqlite3"]
    shutil.copy(path, tmp_path / "copy.sqlite3")
    assert names_of(tmp_path / "copy.sqlite3") == ["r1"]
