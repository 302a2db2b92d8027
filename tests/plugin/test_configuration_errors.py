"""Bad input is one usage error before the first test, and nothing is written."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_memalert import __version__

if TYPE_CHECKING:
    from tests.conftest import Inner

PASSING = """
    from pathlib import Path

    def test_it():
        Path("ran").touch()
"""


def assert_refused(inner: Inner, done: pytest.RunResult, *problems: str) -> None:
    """Assert one usage error with these lines, no test run and nothing written."""
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    told = done.errlines + done.outlines
    for problem in problems:
        assert any(problem in line for line in told), problem
    assert not any("Traceback" in line or "INTERNALERROR" in line for line in told)
    assert not inner.pytester.path.joinpath("ran").exists()
    assert not inner.pytester.path.joinpath("memalert.json").exists()
    assert not list(inner.pytester.path.glob(".memalert*"))


def test_every_problem_of_a_file_is_listed_at_once(inner: Inner) -> None:
    """Each with its place, the value and what to write instead."""
    inner.write(PASSING)
    inner.configure(
        """
        [[tool.memalert.rules]]
        name = "a"
        metric = "growth_bytes"
        threshold = "2 megs"

        [[tool.memalert.rules]]
        name = "b"
        metric = "growth_bites"
        threshold = "2 MiB"

        [[tool.memalert.rules]]
        name = "c"
        metric = "duration_s"
        threshold = "2 MiB"

        [[tool.memalert.rules]]
        name = "d"
        metric = "growth_bytes"
        treshold = "2 MiB"

        [[tool.memalert.rules]]
        name = "e"
        metric = "growth_bytes"
        threshold = "2 MiB"

        [[tool.memalert.rules]]
        name = "e"
        metric = "growth_bytes"
        threshold = "3 MiB"
        """,
        options="""
        leeks = "all"
        budget = "ten"
        """,
    )
    assert_refused(
        inner,
        inner.run(),
        "pyproject.toml: tool.memalert: unknown key 'leeks'; did you mean 'leaks'?",
        "pyproject.toml: tool.memalert.budget: 'ten' is neither a duration nor a share; write it as '30s' or",
        "tool.memalert.rules[0].threshold: '2 megs' is not a size; write it as '2 MiB'",
        "tool.memalert.rules[1].metric: unknown metric 'growth_bites'; did you mean 'growth_bytes'?",
        "tool.memalert.rules[2].threshold: '2 MiB' is not a duration; write it as '1.5 s' or 1.5",
        "tool.memalert.rules[3]: unknown key 'treshold'; did you mean 'threshold'?",
        "tool.memalert.rules[5]: rule 'e' (critical) is already set by rules[4]; keep one of the two",
    )


def test_invalid_toml_is_told_with_its_place(serial: Inner) -> None:
    """pytest's own configuration is elsewhere: it would have refused the file before us."""
    serial.write(PASSING)
    serial.pytester.makefile(".toml", pyproject="[tool.memalert\nleaks = 'off'")
    serial.pytester.makefile(".ini", own="[pytest]\n")
    done = serial.run("-c", "own.ini")
    assert_refused(serial, done, "pyproject.toml: is not valid TOML: ", "line 1")


def test_misspelt_ini_key_is_refused_by_the_nearest_name(serial: Inner) -> None:
    """pytest itself would only warn, and go on without it."""
    serial.write(PASSING)
    serial.configure(pytest_options="memalert_leeks = 'all'")
    done = serial.run()
    assert_refused(
        serial, done, "pyproject.toml: unknown key 'memalert_leeks'; did you mean 'memalert_leaks'?"
    )


def test_wrong_ini_value_is_refused(serial: Inner) -> None:
    """By its key and file."""
    serial.write(PASSING)
    serial.pytester.makefile(".ini", pytest="[pytest]\nmemalert_fail_on = sometimes\n")
    done = serial.run()
    assert_refused(
        serial,
        done,
        "pytest.ini: memalert_fail_on: 'sometimes' is not one of 'critical', 'warning', 'never'",
    )


def test_wrong_value_on_the_command_line_is_refused(serial: Inner) -> None:
    """By its flag."""
    serial.write(PASSING)
    done = serial.run("--memalert-fail-on=sometimes", "--memalert-budget=10")
    assert_refused(
        serial,
        done,
        "--memalert-fail-on: 'sometimes' is not one of 'critical', 'warning', 'never'",
        "--memalert-budget: '10' is neither a duration nor a share; write it as '30s' or '10%'",
    )


def test_wrong_markers_are_listed_at_once(inner: Inner) -> None:
    """A class's marker once, however many tests it covers; one message, under xdist as well."""
    inner.write(
        """
        from pathlib import Path
        import pytest

        @pytest.mark.memalert(grwth="1 MiB")
        def test_keyword():
            Path("ran").touch()

        @pytest.mark.memalert(growth="2 megs")
        class TestValues:
            def test_one(self): Path("ran").touch()
            def test_two(self): Path("ran").touch()

        @pytest.mark.memalert("2 MiB")
        def test_positional():
            Path("ran").touch()

        def test_fine():
            Path("ran").touch()
        """
    )
    done = inner.run()
    assert_refused(
        inner,
        done,
        "test_a.py::test_keyword: memalert(grwth=...): unknown keyword 'grwth'; did you mean 'growth'?",
        "test_a.py::TestValues: memalert(growth=...): '2 megs' is not a size; write it as '2 MiB'",
        "test_a.py::test_positional: memalert('2 MiB'): positional arguments mean nothing",
    )
    told = "\n".join(done.errlines + done.outlines)
    assert told.count("'2 megs'") == 1


def test_what_else_is_wrong_is_told_with_the_settings(serial: Inner) -> None:
    """Paths, addresses, the baseline and the acknowledgments: once each, in one go."""
    serial.write(PASSING)
    serial.configure(
        options="""
        budget = "ten"
        notify.urls = ["slak://token@channel"]
        """
    )
    (serial.pytester.path / "memalert.lock.json").write_text("<<<<<<< ours", encoding="utf-8")
    (serial.pytester.path / "memalert.acks.toml").write_text("[[acknowledged]]", encoding="utf-8")
    # Apart: it imports apprise, which works no more in a process where pytester has forgotten that it did.
    done = serial.run_apart("--memalert-json=test_a.py/report.json", "--memalert-gate")
    assert_refused(
        serial,
        done,
        "tool.memalert.budget: 'ten' is neither a duration nor a share",
        "--memalert-json: '",
        "memalert.lock.json",
        "memalert.acks.toml",
        "tool.memalert.notify.urls[0]",
    )
    told = "\n".join(done.errlines + done.outlines)
    assert told.count("notify.urls[0]") == told.count("tool.memalert.budget") == 1


def test_directory_as_report_path_is_refused(serial: Inner) -> None:
    """Before the first test, not after the last."""
    serial.write(PASSING)
    serial.pytester.mkdir("reports")
    done = serial.run("--memalert-json=reports")
    assert_refused(
        serial, done, "--memalert-json: '", "reports' is a directory; write a file name, such as '"
    )


@pytest.mark.parametrize(
    ("option", "name"),
    [
        *((option, "test_a.py") for option in ("json", "markdown", "gitlab", "html", "history")),
        *(("json", name) for name in ("pyproject.toml", "new.cfg", "test_a.py::test_it")),
    ],
)
def test_no_option_writes_what_is_written_by_hand(serial: Inner, option: str, name: str) -> None:
    """What is to be run, put after an option that takes a path, was replaced by the report."""
    serial.write(PASSING)
    serial.configure()
    done = serial.run(f"--memalert-{option}", name)
    assert_refused(
        serial,
        done,
        f"--memalert-{option}: '{name}' is the name of a source or configuration file, which is never "
        f"overwritten; name another file, and put what is to be run before --memalert-{option}",
    )
    assert "def test_it" in (serial.pytester.path / "test_a.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "--memalert-json=README.md",
            "is nothing that memalert wrote: it is never overwritten; name another",
        ),
        (
            "--memalert-markdown=README.md",
            "is nothing that memalert wrote: it is never overwritten; name another",
        ),
        (
            "--memalert-notify=jsonl:README.md",
            "is nothing that memalert wrote: it is never overwritten; name another",
        ),
        ("--memalert-history=README.md", "is a text, and no history: it is never overwritten; name another"),
    ],
)
def test_no_option_replaces_a_file_that_memalert_did_not_write(serial: Inner, option: str, said: str) -> None:
    """The history renamed a README, and a report replaced it."""
    serial.write(PASSING)
    (serial.pytester.path / "README.md").write_text("# Ours, naïve\n", encoding="utf-8")
    assert_refused(serial, serial.run(option), "README.md' ", said)
    assert [each.name for each in serial.pytester.path.glob("README*")] == ["README.md"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
@pytest.mark.parametrize("option", ["json", "gate", "save", "history"])
def test_a_named_pipe_is_refused_before_anything_waits_for_it(serial: Inner, option: str) -> None:
    serial.write(PASSING)
    os.mkfifo(serial.pytester.path / "pipe.json")
    done = serial.run(f"--memalert-{option}=pipe.json")
    assert_refused(
        serial, done, f"--memalert-{option}: '", "pipe.json' is a device or pipe; name a file instead"
    )


@pytest.mark.parametrize("option", ["json", "gate", "save", "history"])
def test_a_name_that_is_too_long_is_a_usage_error(serial: Inner, option: str) -> None:
    """It was an internal error."""
    serial.write(PASSING)
    done = serial.run(f"--memalert-{option}={'x' * 300}.json")
    assert_refused(
        serial, done, f"--memalert-{option}: '", "can't be written (", "name a file in a directory you can"
    )


def test_a_dash_is_no_file_of_pytests_options(serial: Inner) -> None:
    """A file of that name was written; for the commands it is standard output."""
    serial.write(PASSING)
    done = serial.run("--memalert-json=-", "--memalert-history=-")
    advice = "'-' is no file; name one, and print it with: memalert report PATH"
    assert_refused(serial, done, f"--memalert-json: {advice}", f"--memalert-history: {advice}")


def test_a_tilde_is_the_home_in_every_path(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    home = serial.pytester.mkdir("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    serial.write(PASSING)
    serial.configure(options='html = "~/page"\nmarkdown = "~/r.md"\n')
    names = ("json=~/r.json", "gitlab=~/g.json", "history=~/h.sqlite3", "save=~/b.json")
    assert serial.run(*(f"--memalert-{name}" for name in names)).ret == 0
    written = {each.name for each in home.iterdir()}
    assert written == {"page", "r.md", "r.json", "g.json", "h.sqlite3", "b.json"}
    assert not (serial.pytester.path / "~").exists()


def test_a_report_may_have_any_other_name(serial: Inner) -> None:
    serial.write(PASSING)
    assert serial.run("--memalert-json=report", "--memalert-markdown=out.py.txt").ret == 0
    assert (serial.pytester.path / "report").read_text(encoding="utf-8").startswith("{")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--memalert-json=same", "--memalert-gitlab=./same"],
            "'same' is the file of --memalert-json; name another one",
        ),
        (
            ["--memalert-markdown=same", "--junitxml=same"],
            "--memalert-markdown: 'same' is the file of --junitxml",
        ),
        (
            ["--memalert-save=y.json", "--memalert-json=y.json"],
            "--memalert-json: 'y.json' is the file of --memalert-save",
        ),
        (
            ["--memalert-gate", "--memalert-json=./memalert.lock.json"],
            "--memalert-json: 'memalert.lock.json' is the file of --memalert-gate",
        ),
        (
            ["--memalert-gitlab=memalert.lock.json"],
            "--memalert-gitlab: 'memalert.lock.json' is the file of the baseline",
        ),
        (
            ["--memalert-history=h.db", "--memalert-json=h.db"],
            "--memalert-json: 'h.db' is the file of --memalert-history",
        ),
        (
            ["--memalert-markdown=.memalert/history.sqlite3"],
            "--memalert-markdown: '.memalert/history.sqlite3' is the file of the history",
        ),
        (
            ["--memalert-save=y.json", "--memalert-history=y.json"],
            "--memalert-history: 'y.json' is the file of --memalert-save",
        ),
        (
            ["--memalert-notify=jsonl:y.json", "--memalert-json=y.json"],
            "--memalert-notify[0]: 'jsonl:y.json' is the file of --memalert-json",
        ),
        (
            ["--memalert-notify=jsonl:memalert.acks.toml"],
            "--memalert-notify[0]: 'jsonl:memalert.acks.toml' is the name of a source or configuration file",
        ),
        (["--memalert-strict"], "--memalert-strict: nothing is held against a baseline; add --memalert-gate"),
    ],
)
def test_options_that_undo_one_another_are_refused(serial: Inner, options: list[str], told: str) -> None:
    serial.write(PASSING)
    assert_refused(serial, serial.run(*options), told)


def test_one_device_may_take_several_reports(serial: Inner) -> None:
    serial.write(PASSING)
    assert serial.run(f"--memalert-markdown={os.devnull}", f"--memalert-gitlab={os.devnull}").ret == 0


def test_several_routes_may_append_to_one_file(serial: Inner) -> None:
    serial.write(PASSING)
    serial.configure(
        options="""
        [[tool.memalert.notify.routes]]
        channel = "jsonl:alerts.jsonl"
        tests = ["a/*"]

        [[tool.memalert.notify.routes]]
        channel = "jsonl:alerts.jsonl"
        tests = ["b/*"]
        """
    )
    assert serial.run().ret == 0


def test_report_path_below_a_file_is_refused(serial: Inner) -> None:
    """What can't be made can't be written to."""
    serial.write(PASSING)
    done = serial.run("--memalert-json=test_a.py/report.json")
    assert_refused(serial, done, "--memalert-json: '", "test_a.py' is not a directory")


def test_options_that_do_nothing_without_the_switch_are_refused(serial: Inner) -> None:
    """A gate that lost one word in CI would be green for ever; what is in addopts waits for it."""
    serial.write(PASSING)
    done = serial.run("--memalert-gate", "--memalert-fail-on=never", leaks=None, memalert=False)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(
        ["ERROR: memalert: --memalert-gate, --memalert-fail-on: nothing is measured without --memalert*"]
    )
    serial.configure(pytest_options="addopts = '--memalert-leaks=all'")
    serial.run(leaks=None, memalert=False).assert_outcomes(passed=1)
    serial.configure(pytest_options="memalert = true")
    serial.run("--memalert-fail-on=never", leaks=None, memalert=False).assert_outcomes(passed=1)


def test_wrong_configuration_matters_to_nobody_without_memalert(serial: Inner) -> None:
    """Who doesn't measure isn't bothered."""
    serial.write("import pytest\n\n@pytest.mark.memalert(grwth='1')\ndef test_it(): pass")
    serial.configure(options="leeks = 'all'")
    serial.run(memalert=False).assert_outcomes(passed=1)


def test_configuration_in_pyproject_is_used(inner: Inner) -> None:
    """Each option, the file's below the command line's."""
    inner.write(
        """
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        def test_it():
            KEPT.append(b"x" * 4 * 2**20)
        """
    )
    inner.configure(options='fail_on = "never"\nleaks = "off"\njson = "from_file.json"')
    arguments = ["--memalert"]
    done = inner.run(*arguments, leaks=None, memalert=False)
    done.assert_outcomes(passed=1, warnings=1)
    assert inner.pytester.path.joinpath("from_file.json").exists()
    done = inner.run(*arguments, "--memalert-fail-on=critical", leaks=None, memalert=False)
    done.assert_outcomes(failed=1)


def test_ini_key_turns_measuring_on(inner: Inner) -> None:
    """As --memalert does."""
    inner.write("def test_it(): pass")
    inner.configure(pytest_options="memalert = true")
    done = inner.run(memalert=False)
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(["memalert: 1 test measured, *"])


PYTEST = tuple(map(int, pytest.__version__.split(".")[:2]))


@pytest.mark.parametrize(
    "table",
    [
        "tool.pytest.ini_options",
        pytest.param(
            "tool.pytest", marks=pytest.mark.skipif(PYTEST < (9, 0), reason="it is new in pytest 9")
        ),
    ],
)
def test_values_of_toml_have_their_own_types(serial: Inner, table: str) -> None:
    """A flag or a number in quotes was all that pytest 9 took there, and a list nowhere."""
    serial.write(PASSING)
    serial.pytester.makepyprojecttoml(
        f"""
        [{table}]
        memalert = true
        memalert_trace = true
        memalert_save = true
        memalert_history_max_runs = 100
        memalert_history_max_size = "1 MiB"
        memalert_notify = ["jsonl:a.jsonl", "jsonl:b.jsonl"]
        memalert_strict = false
        """
    )
    done = serial.run("-o", "memalert_history_max_runs=none", memalert=False)
    assert_refused(serial, done, "memalert_history_max_runs: 'none'")
    done = serial.run("-o", "memalert_history_max_runs=9", "-o", "memalert_notify=x:y", memalert=False)
    assert_refused(serial, done, "memalert_notify[0]: no channel takes 'x:...'")
    done = serial.run("-W", "error", memalert=False)
    done.assert_outcomes(passed=1)
    assert done.ret == pytest.ExitCode.OK
    assert (serial.pytester.path / "memalert.lock.json").exists()


def test_wrong_type_of_toml_is_refused_by_its_key(serial: Inner) -> None:
    serial.write(PASSING)
    serial.pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        memalert = true
        memalert_leaks = ["all"]
        """
    )
    done = serial.run(memalert=False)
    assert_refused(
        serial, done, "pyproject.toml: memalert_leaks: ['all'] is not one of 'off', 'suspects', 'all'"
    )


def test_a_path_with_a_null_character_is_refused(serial: Inner) -> None:
    """It was an internal error, which hid all other problems."""
    serial.write(PASSING)
    serial.configure(options='markdown = "a\\u0000b"\nsave = "a\\u0000.json"\n')
    done = serial.run()
    assert_refused(
        serial,
        done,
        "tool.memalert.markdown: 'a\\x00b' has a null character, which no path can have",
        "tool.memalert.save: 'a\\x00.json' has a null character, which no path can have",
    )


def test_a_history_that_is_a_directory_is_refused(serial: Inner) -> None:
    serial.write(PASSING)
    serial.pytester.mkdir("runs")
    done = serial.run("--memalert-history=runs")
    assert_refused(
        serial, done, "--memalert-history: '", "runs' is a directory; write a file name, such as '"
    )


def without_a_private_name(inner: Inner) -> list[str]:
    """Return the arguments of a run under a pytest that lacks a private name which it doesn't need itself."""
    inner.pytester.makepyfile(newer_pytest="import _pytest._code.code as code\ndel code.ReprEntry")
    return ["-p", "newer_pytest"]


@pytest.mark.parametrize("arguments", [[], ["--memalert-save"]], ids=["measuring", "saving"])
def test_a_pytest_that_lacks_what_we_need_of_it_is_refused(inner: Inner, arguments: list[str]) -> None:
    """By its version and ours; it was an internal error."""
    inner.write(PASSING)
    done = inner.run_apart(*without_a_private_name(inner), *arguments)
    told = f"memalert: pytest {pytest.__version__} is not supported by pytest-memalert {__version__} "
    assert_refused(inner, done, told, "(cannot import name 'ReprEntry' from '_pytest._code.code')")


def test_a_pytest_that_lacks_what_we_need_of_it_runs_without_us(serial: Inner) -> None:
    serial.write(PASSING)
    serial.run_apart(*without_a_private_name(serial), memalert=False).assert_outcomes(passed=1)
