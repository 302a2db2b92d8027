"""Holds the commands about the history and the acknowledgments to what they say and to their exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_memalert.acknowledgments import parse_acknowledgments
from pytest_memalert.cli import main
from pytest_memalert.clock import utc_now
from pytest_memalert.history import Keep, write_history
from pytest_memalert.lives import evolve
from pytest_memalert.model import AlertCategory, AlertRule, AlertSeverity, PerformanceAlert, Survivor
from tests.makers import MIB, make_alert, make_run, make_test

NOW = utc_now()
HISTORY = ".memalert/history.sqlite3"
SPACED = "tests/test_c.py::test_load[a b]"
LOAD, SAVE = "tests/io/test_a.py::test_load", "tests/test_b.py::test_save"
RULE = AlertRule(
    name="peak",
    category=AlertCategory.MEMORY_THRESHOLD,
    severity=AlertSeverity.CRITICAL,
    metric="peak_bytes",
    threshold=MIB,
)
PEAK = make_alert(
    fingerprint="abc123def456",
    rule="peak",
    category=AlertCategory.MEMORY_THRESHOLD,
    component="tests/io",
    nodeids=(LOAD,),
    metric="peak_bytes",
    observed=8 * MIB,
    message=f"{LOAD}: peak 8 MiB is over the limit of 1 MiB",
    recommendations=("read it in parts",),
    survivors=(),
    raised_at=NOW,
)
LEAK = replace(
    PEAK,
    fingerprint="abd999999999",
    rule="leak-rate",
    category=AlertCategory.MEMORY_LEAK,
    severity=AlertSeverity.WARNING,
    nodeids=(SAVE,),
    metric="leak_rate_bytes_per_hour",
    observed=1e9,
    limit=5e7,
    message=f"{SAVE}: leaks 1.5 KiB per run",
    survivors=(Survivor(type="dict", count=2, size_bytes=1536, held_by=("module app", "ITEMS")),),
)


def go_into(inner: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Path:
    """Return a new directory that has one file, and is the current one now."""
    inner.mkdir()
    (inner / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(inner)
    return inner


def remember(
    *alerts: PerformanceAlert,
    days_ago: float = 0.0,
    name: str = "r1",
    path: str = HISTORY,
) -> None:
    """Write a run into the history of the current directory."""
    at = NOW - timedelta(days=days_ago)
    run = make_run(
        *(replace(alert, raised_at=at) for alert in alerts),
        run_id=name,
        started_at=at,
        duration_s=2.0,
        tests=(
            make_test(LOAD, peak_bytes=8 * MIB),
            make_test(SPACED, peak_bytes=8 * MIB),
            make_test(SAVE, leak_bytes_per_run=1536.0, leak_rate_bytes_per_hour=1e9),
        ),
        commit="3f2c1e9a0b12" + "0" * 28,
    )
    write_history(
        Path(path),
        lambda history: history.record(
            run,
            session={},
            leaks="suspects",
            evolve=lambda past: evolve(past.lives, run, rules=(RULE,), leaks="suspects", at=at),
            keep=Keep(max_age_s=1e9, max_runs=100, max_bytes=10**9),
        ),
        warn=print,
        at=at,
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current directory, a project's, seen through 200 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ada")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def run(*arguments: str, text: str | None = None) -> Result:
    """Return what the command did in this process."""
    return CliRunner().invoke(main, arguments, input=text)


def said(*arguments: str, status: int = 0, text: str | None = None) -> str:
    """Return what the command printed, having ended with this status."""
    result = run(*arguments, text=text)
    assert result.exit_code == status, result.output
    return result.output


def listed(*filters: str) -> list[str]:
    """Return the fingerprints that ``memalert history`` lists."""
    document: dict[str, Any] = json.loads(said("history", "--json", *filters))
    return [alert["fingerprint"] for alert in document["alerts"]]


# -------------------------------------------------------------------- history


def test_history_lists_the_alerts_the_latest_first() -> None:
    remember(LEAK, days_ago=2)
    remember(PEAK, name="r2")
    head, *rows = said("history").splitlines()
    assert head.split() == [
        "alert",
        "severity",
        "state",
        "last",
        "seen",
        "times",
        "observed",
        "worst",
        "rule",
        "test",
    ]
    assert [row.split()[0] for row in rows] == [PEAK.fingerprint, LEAK.fingerprint]
    assert rows[0].endswith(f"1      8 MiB      8 MiB      peak       {LOAD}")


def test_history_of_alerts_that_are_gone_says_resolved() -> None:
    remember(PEAK, days_ago=2)
    remember(name="r2")
    assert " resolved " in said("history")
    assert listed("--open") == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--test", "tests/io"], [PEAK]),
        (["--test", "*::test_save"], [LEAK]),
        (["--category", "memory_leak"], [LEAK]),
        (["--severity", "critical"], [PEAK]),
        (["--severity", "critical", "--severity", "warning"], [PEAK, LEAK]),
        (["--since", "1 day"], [PEAK]),
        (["--since", (NOW - timedelta(days=5)).date().isoformat()], [PEAK, LEAK]),
        (["--acknowledged"], []),
        (["--unacknowledged"], [PEAK, LEAK]),
        (["--category", "cpu_usage"], []),
    ],
)
def test_history_is_filtered(filters: Sequence[str], expected: Sequence[PerformanceAlert]) -> None:
    remember(LEAK, days_ago=2)
    remember(PEAK, name="r2")
    assert listed(*filters) == [alert.fingerprint for alert in expected]


def test_history_says_when_no_alert_fits() -> None:
    remember(PEAK)
    assert said("history", "--severity", "info") == "no alert fits\n"


def test_history_of_runs_has_commits_and_counts() -> None:
    remember(PEAK, days_ago=1)
    remember(name="r2")
    head, latest, first = said("history", "--runs").splitlines()
    assert head.startswith("run  started           commit      tests  took  critical")
    assert latest.startswith("r2 ")
    assert " ".join(first.split()[3:]) == "3f2c1e9a0b 3 2 s 1 0 0 cpython-3.11-linux-x86_64"
    document = json.loads(said("history", "--runs", "--json"))
    assert (document["format"], len(document["runs"])) == (1, 2)


def test_history_of_runs_takes_no_filters_of_alerts() -> None:
    remember(PEAK)
    assert "--runs goes with" in said("history", "--runs", "--severity", "critical", status=2)


@pytest.mark.parametrize("since", ["yesterday", "", "2026-13-45"])
def test_history_refuses_a_time_that_is_none(since: str) -> None:
    assert "write a day (2026-01-31) or how long ago (7 days)" in said("history", "--since", since, status=2)


def test_history_that_is_not_there_says_how_to_write_one() -> None:
    assert "one is written by: pytest --memalert" in said("history", status=2)


def test_history_is_found_from_a_directory_below(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(PEAK)
    (folder / "tests" / "io").mkdir(parents=True)
    monkeypatch.chdir(folder / "tests" / "io")
    assert listed() == [PEAK.fingerprint]


def test_history_of_the_configuration_is_read(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.memalert]\nhistory = "kept/h.db"\n', encoding="utf-8")
    remember(PEAK, path="kept/h.db")
    assert listed() == [PEAK.fingerprint]
    (folder / "pyproject.toml").write_text('[tool.memalert]\nhistory = "none"\n', encoding="utf-8")
    assert "the history is off" in said("history", status=2)


@pytest.mark.parametrize(
    ("name", "section"), [("pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")]
)
def test_history_of_the_ini_file_is_read(folder: Path, name: str, section: str) -> None:
    """Where pytest itself takes it from, it wins over the table."""
    (folder / "pyproject.toml").write_text('[tool.memalert]\nhistory = "other.db"\n', encoding="utf-8")
    (folder / name).write_text(f"[{section}]\nmemalert_history = kept/h.db\n", encoding="utf-8")
    remember(PEAK, path="kept/h.db")
    assert listed() == [PEAK.fingerprint]
    (folder / name).write_text(f"[{section}]\nmemalert_history = none\n", encoding="utf-8")
    assert f"{name}: memalert_history" in said("history", status=2)
    assert listed("--history", "kept/h.db") == [PEAK.fingerprint]


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("pyproject.toml", "tool.pytest.ini_options"),
        ("pyproject.toml", "tool.pytest"),
        ("pytest.toml", "pytest"),
        (".pytest.toml", "pytest"),
    ],
)
def test_history_of_pytests_own_toml_is_read(folder: Path, name: str, section: str) -> None:
    (folder / name).write_text(f'[{section}]\nmemalert_history = "kept/h.db"\n', encoding="utf-8")
    (folder / "tox.ini").write_text("[pytest]\nmemalert_history = other.db\n", encoding="utf-8")
    remember(PEAK, path="kept/h.db")
    assert listed() == [PEAK.fingerprint]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tox.ini", "[pytest]\n"),
        ("tox.ini", "no section\n"),
        ("setup.cfg", "[tool:pytest]\n"),
        ("pytest.ini", ""),
        (".pytest.ini", ""),
        ("pytest.toml", ""),
        (".pytest.toml", ""),
        (".git", "gitdir: elsewhere\n"),
    ],
)
def test_history_of_the_project_around_is_neither_listed_nor_cleared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    remember(PEAK)
    go_into(folder / "inner", monkeypatch, name, text)
    assert "there is no history" in said("history", status=2)
    assert "there is no history" in said("clear", "--yes", status=2)


@pytest.mark.parametrize("sign", ["pyproject.toml", "memalert.lock.json"])
def test_history_is_that_of_the_configuration_in_force(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    """As for pytest, what is nearer and configures nothing doesn't count; nor does what is beyond .git."""
    (folder / "pytest.ini").write_text("[pytest]\nmemalert_history = kept/h.db\n", encoding="utf-8")
    remember(PEAK, path="kept/h.db")
    inner = go_into(folder / "inner", monkeypatch, sign, "")
    assert listed() == [PEAK.fingerprint]
    (inner / ".git").mkdir()
    assert "there is no history" in said("history", status=2)


def test_empty_table_of_pytest_is_not_in_force(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.pytest]\n", encoding="utf-8")
    (folder / "tox.ini").write_text("[pytest]\nmemalert_history = kept/h.db\n", encoding="utf-8")
    remember(PEAK, path="kept/h.db")
    assert listed() == [PEAK.fingerprint]


@pytest.mark.parametrize(("name", "text"), [("tox.ini", "[tox]\n"), ("setup.cfg", "[metadata]\n")])
def test_ini_file_that_says_nothing_of_pytest_begins_no_project(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    remember(PEAK)
    go_into(folder / "inner", monkeypatch, name, text)
    assert listed() == [PEAK.fingerprint]


def test_history_that_is_corrupted_is_refused_and_left_alone(folder: Path) -> None:
    (folder / "h.db").write_bytes(b"no database" * 100)
    assert "can't be read" in said("history", "--history", "h.db", status=2)
    assert [path.name for path in folder.iterdir() if path.name.startswith("h.db")] == ["h.db"]


def test_what_comes_from_tests_is_escaped() -> None:
    remember(replace(PEAK, nodeids=("tests/\x1b[31mred.py::test",), message="\x1b[31mred"))
    assert "\x1b" not in said("history") + said("show", "abc")


def test_a_tilde_is_the_home_for_commands_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    away = f"'{folder / 'away.sqlite3'}'"
    assert away in run("history", "--history=~/away.sqlite3").output
    (folder / "pyproject.toml").write_text('[tool.memalert]\nhistory = "~/away.sqlite3"\n', encoding="utf-8")
    assert "'away.sqlite3'" in run("history").output
    (folder / "pyproject.toml").write_text('[tool.memalert]\nhistory = "off"\n', encoding="utf-8")
    assert "the history is off" in run("history").output


def test_history_prints_plainly_into_a_pipe() -> None:
    remember(PEAK)
    command = [sys.executable, "-m", "pytest_memalert.cli", "history"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines()[1].startswith(PEAK.fingerprint)
    assert "\x1b" not in done.stdout


# ----------------------------------------------------------------------- show


def test_show_tells_everything_of_an_alert_by_the_beginning_of_its_fingerprint() -> None:
    remember(LEAK, days_ago=2)
    remember(LEAK, name="r2")
    output = said("show", "abd")
    assert output.startswith(f"alert {LEAK.fingerprint}, open\n\n  {SAVE}: leaks 1.5 KiB per run\n")
    assert (
        "  each run leaves 2 dict, 1.5 KiB\n    held by module app, ITEMS\n  -> read it in parts\n" in output
    )
    assert "in 2 runs; at its worst 1 GB/hour" in output
    assert output.count(" 3f2c1e9a0b  1 GB/hour") == 2


def test_show_has_the_series_where_it_tells_more_than_the_runs_that_raised_it() -> None:
    remember(PEAK, days_ago=2)
    assert f"peak_bytes of {LOAD}" not in said("show", "abc")
    remember(days_ago=1, name="r2")
    output = said("show", "abc")
    assert f"peak_bytes of {LOAD}" in output
    assert output.count(" 3f2c1e9a0b  8 MiB") == 3  # raised once, and twice in the series


def test_show_as_json_has_occurrences_and_series() -> None:
    remember(PEAK)
    document = json.loads(said("show", "abc", "--json"))
    assert (document["format"], document["state"], document["acknowledgment"]) == (1, "open", None)
    assert [each["run_id"] for each in document["occurrences"]] == ["r1"]
    assert [point["value"] for point in document["series"]] == [8 * 2**20]


def test_show_has_the_series_of_a_test_with_spaces_in_its_name() -> None:
    remember(replace(PEAK, nodeids=(SPACED,)), days_ago=1)
    remember(name="r2")
    assert f"peak_bytes of {SPACED}" in said("show", "abc")


def test_show_refuses_a_beginning_that_is_of_none_or_of_several() -> None:
    remember(PEAK, LEAK)
    assert "no alert is remembered as 'zzz'; list them with: memalert history" in said(
        "show", "zzz", status=2
    )
    output = said("show", "ab", status=2)
    assert "'ab' is the beginning of 2 fingerprints: " in output
    assert PEAK.fingerprint in output


# ---------------------------------------------------------------- ack and unack


def entries(folder: Path) -> dict[str, Any]:
    """Return what is acknowledged, by fingerprint."""
    text = (folder / "memalert.acks.toml").read_text(encoding="utf-8")
    return {entry.fingerprint: entry for entry in parse_acknowledgments(text, "memalert.acks.toml")}


def test_ack_writes_an_entry_that_says_all_a_reviewer_asks(folder: Path) -> None:
    remember(PEAK)
    output = said("ack", "abc", "--reason", "loads all at once", "--until", "30 days")
    entry = entries(folder)[PEAK.fingerprint]
    assert (entry.reason, entry.author, entry.tests) == ("loads all at once", "Ada", (LOAD,))
    assert (entry.what, entry.metric, entry.accepted) == (PEAK.message, "peak_bytes", 8 * 2**20)
    assert entry.until == utc_now().date() + timedelta(days=30)
    assert output.startswith(
        f"memalert.acks.toml: {PEAK.fingerprint} is acknowledged until {entry.until}, up to 8 MiB"
    )
    assert " acknowledged " in said("history")
    assert listed("--acknowledged") == [PEAK.fingerprint]
    assert f"acknowledged by Ada until {entry.until}, up to 8 MiB: loads all at once" in said("show", "abc")


def test_ack_of_the_pace_of_a_leak_accepts_its_size(folder: Path) -> None:
    remember(LEAK)
    said("ack", "abd", "--reason", "known")
    entry = entries(folder)[LEAK.fingerprint]
    assert (entry.metric, entry.accepted) == ("leak_bytes_per_run", 1536)
    assert "up to 1.5 KiB: known" in said("show", LEAK.fingerprint)


def test_ack_tells_a_size_as_people_read_it_and_writes_it_exactly(folder: Path) -> None:
    """What is read back must be no less than what was observed."""
    remember(replace(PEAK, observed=2**20 + 111))
    assert "up to 1 MiB\n" in said("ack", "abc", "--reason", "x")
    assert 'accepted = "1048687 B"\n' in (folder / "memalert.acks.toml").read_text(encoding="utf-8")


def test_ack_takes_value_author_and_day_of_ones_own(folder: Path) -> None:
    remember(PEAK)
    day = (utc_now().date() + timedelta(days=3)).isoformat()
    said("ack", "abc", "--reason", "x", "--accept", "9 MiB", "--author", "Grace", "--until", day)
    entry = entries(folder)[PEAK.fingerprint]
    assert (entry.accepted, entry.author, entry.until.isoformat()) == (9 * 2**20, "Grace", day)


def test_ack_again_renews_the_entry_and_keeps_the_rest(folder: Path) -> None:
    remember(PEAK, LEAK)
    said("ack", "abc", "--reason", "x")
    path = folder / "memalert.acks.toml"
    path.write_text(path.read_text(encoding="utf-8") + "# ours\n", encoding="utf-8")
    said("ack", "abd", "--reason", "y")
    said("ack", "abc", "--reason", "z")
    assert list(entries(folder)) == [PEAK.fingerprint, LEAK.fingerprint]
    assert entries(folder)[PEAK.fingerprint].reason == "z"
    assert "\n# ours\n" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["abc"], "Missing option '--reason'"),
        (["abc", "--reason", " "], "say why the alert is accepted"),
        (["abc", "--reason", "x", "--until", "2020-01-01"], "2020-01-01 is past"),
        (["abc", "--reason", "x", "--until", "soon"], "'soon' is no date; write it as 2027-01-31"),
        (["abc", "--reason", "x", "--accept", "2 megs"], "'2 megs' is not a size; write it as '2 MiB'"),
        (["zzz", "--reason", "x"], "no alert is remembered as 'zzz'"),
    ],
)
def test_ack_refuses_what_makes_no_sense(folder: Path, arguments: Sequence[str], told: str) -> None:
    remember(PEAK)
    assert told in said("ack", *arguments, status=2)
    assert not (folder / "memalert.acks.toml").exists()


def test_ack_tells_everything_that_is_wrong_with_the_file_and_leaves_it(folder: Path) -> None:
    remember(PEAK)
    path = folder / "memalert.acks.toml"
    path.write_text('[[acknowledged]]\nfingerprint = "f1"\nuntil = "soon"\n', encoding="utf-8")
    before = path.read_bytes()
    output = said("ack", "abc", "--reason", "x", status=2)
    assert "reason is missing" in output
    assert "'soon' is not a date" in output
    assert path.read_bytes() == before


def test_acks_at_once_lose_nothing(folder: Path) -> None:
    many = [replace(PEAK, fingerprint=f"{number:012x}") for number in range(4)]
    remember(*many)
    command = [sys.executable, "-m", "pytest_memalert.cli", "ack", "--reason", "x"]
    running = [subprocess.Popen([*command, alert.fingerprint], stdout=subprocess.DEVNULL) for alert in many]
    assert [process.wait() for process in running] == [0] * 4
    assert sorted(entries(folder)) == [alert.fingerprint for alert in many]


def test_unack_takes_the_entry_out(folder: Path) -> None:
    remember(PEAK, LEAK)
    said("ack", "abc", "--reason", "x")
    said("ack", "abd", "--reason", "y")
    assert "is no longer acknowledged" in said("unack", "abc")
    assert list(entries(folder)) == [LEAK.fingerprint]
    assert "nothing is acknowledged as 'abc'" in said("unack", "abc", status=2)


def test_unack_needs_no_history(folder: Path) -> None:
    (folder / "memalert.acks.toml").write_text(
        '# mine\n[[acknowledged]]\nfingerprint = "f1"\nreason = "x"\nuntil = 2020-01-01\n', encoding="utf-8"
    )
    said("unack", "f1")
    assert (folder / "memalert.acks.toml").read_text(encoding="utf-8") == "# mine\n"


def test_unack_calls_no_file_wrong_that_it_can_not_edit(folder: Path) -> None:
    text = 'acknowledged = [{fingerprint = "f1", reason = "x", until = 2030-01-01}]\n'
    (folder / "memalert.acks.toml").write_text(text, encoding="utf-8")
    assert said("unack", "f1", status=2).startswith("Error: memalert.acks.toml: can't be edited by this")
    assert (folder / "memalert.acks.toml").read_text(encoding="utf-8") == text


# ---------------------------------------------------------------------- clear


def test_clear_asks_first_and_says_what() -> None:
    remember(PEAK)
    output = said("clear", text="n\n", status=1)
    assert "forget 1 run and 1 alert of '.memalert/history.sqlite3'? [y/N]" in output
    assert listed() == [PEAK.fingerprint]
    assert f"forgot 1 run and 1 alert of '{HISTORY}'\n" in said("clear", text="y\n")
    assert listed() == []


def test_clear_forgets_only_what_is_older() -> None:
    remember(LEAK, days_ago=3)
    remember(PEAK, name="r2")
    assert said("clear", "--before", "1 day", "--yes") == f"forgot 1 run and 1 alert of '{HISTORY}'\n"
    assert listed() == [PEAK.fingerprint]
    assert said("clear", "--before", "1 day", "--yes") == "there is nothing to forget\n"


def test_clear_of_what_is_resolved_keeps_runs() -> None:
    remember(PEAK, days_ago=2)
    remember(LEAK, name="r2")
    assert said("clear", "--resolved", "--yes") == f"forgot 1 resolved alert of '{HISTORY}'\n"
    assert listed() == [LEAK.fingerprint]
    assert len(json.loads(said("history", "--runs", "--json"))["runs"]) == 2


def test_clear_of_no_history_is_refused() -> None:
    assert "there is no history" in said("clear", "--yes", status=2)


# ----------------------------------------------------------------------- help


@pytest.mark.parametrize("command", ["history", "show", "ack", "unack", "clear"])
def test_help_of_each_command_names_its_exit_status(command: str) -> None:
    assert "Exit status: 0" in said(command, "--help")


def test_completion_of_the_shell_is_clicks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MEMALERT_COMPLETE", "bash_source")
    command = [sys.executable, "-c", "from pytest_memalert.cli import main; main(prog_name='memalert')"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "complete" in done.stdout
    assert "memalert" in done.stdout
