"""What pytest writes for CI, and tells it, at the end of a session."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from click.testing import CliRunner

from pytest_memalert.cli import main
from pytest_memalert.model import Run
from pytest_memalert.plugin.session.reporting import SUMMARY_BYTES, append_summary

if TYPE_CHECKING:
    from tests.conftest import Inner

GROWING = """
    import pytest

    KEPT = []

    @pytest.mark.memalert(growth="1 MiB")
    def test_growing():
        KEPT.append(b"x" * 4 * 2**20)

    def test_fine():
        pass
"""
NODEID = "test_a.py::test_growing"
# The first run may take up to an arena of Python's own besides.
TOLD = r"growth 4(\.1)? MiB is over the limit of 1 MiB"


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend that this is a step of a job of GitHub Actions; return the file of its summary."""
    summary = tmp_path / "summary.md"
    summary.write_text("# of an earlier command\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def test_summary_of_a_job_is_of_github_actions_alone(
    serial: Inner, github: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As annotations are: other programs set the variable for their own ends."""
    monkeypatch.delenv("GITHUB_ACTIONS")
    serial.write("def test_it(): pass")
    assert serial.run().ret == 0
    assert github.read_text(encoding="utf-8") == "# of an earlier command\n"


def commands(done: pytest.RunResult) -> list[str]:
    """Return the lines that the runner takes for commands."""
    return [line for line in done.outlines if line.strip().startswith("::") or "##[" in line]


def test_name_of_a_test_is_no_command_and_cuts_no_message(serial: Inner, github: Path) -> None:
    """Items that a plugin makes may be called anything."""
    serial.pytester.makeconftest(
        """
        import pytest

        KEPT = []

        class Case(pytest.Item):
            def runtest(self):
                KEPT.append(b"x" * 4 * 2**20)

        class File(pytest.File):
            def collect(self):
                yield Case.from_parent(self, name="a\\n::error::raw")

        def pytest_collect_file(file_path, parent):
            return File.from_parent(parent, path=file_path) if file_path.suffix == ".case" else None

        def pytest_collection_modifyitems(items):
            items[0].add_marker(pytest.mark.memalert(growth="1 MiB"))
        """
    )
    (serial.pytester.path / "x.case").write_text("")
    done = serial.run("x.case")
    done.assert_outcomes(failed=1)
    told = serial.report()["alerts"][0]["message"].splitlines()[0]
    assert told == "x.case::a\\n::error::raw: growth 4 MiB is over the limit of 1 MiB"
    # One command is ours, the annotation; one line is pytest's own, of its short summary.
    assert [line.split("x.case")[0] for line in commands(done)] == [
        "::error file=",
        "::error::raw - growth 4 MiB is over the limit of 1 MiB",
    ]


def test_every_report_that_is_asked_for_is_written(inner: Inner) -> None:
    """In one process and with workers alike."""
    inner.write(GROWING)
    done = inner.run(
        "--memalert-markdown=out/memory.md", "--memalert-gitlab=gl.json", "--memalert-html=out/page"
    )
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    folder = inner.pytester.path
    text = (folder / "out" / "memory.md").read_text(encoding="utf-8")
    assert "## memalert: 1 critical\n" in text
    assert re.search(rf"\| \*\*critical\*\* \| `{NODEID}` \| {TOLD} \|", text)
    (violation,) = json.loads((folder / "gl.json").read_text(encoding="utf-8"))
    assert violation["location"] == {"path": "test_a.py", "lines": {"begin": 5}}
    page = (folder / "out" / "page" / "index.html").read_text(encoding="utf-8")
    assert re.search(TOLD, page)
    assert "Plotly.newPlot" in page
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".memalert-")) == []


def test_reports_can_be_asked_for_in_pyproject(serial: Inner) -> None:
    """As every option can."""
    serial.configure(options="markdown = 'memory.md'\ngitlab = 'gl.json'")
    serial.write("def test_it(): pass")
    serial.run().assert_outcomes(passed=1)
    assert "## memalert: 0 alerts" in (serial.pytester.path / "memory.md").read_text(encoding="utf-8")
    assert (serial.pytester.path / "gl.json").read_text(encoding="utf-8") == "[]\n"


def test_reports_that_can_not_be_written_are_usage_errors_told_at_once(serial: Inner) -> None:
    """Before the first test, and nothing is written."""
    serial.write("def test_it(): open('ran', 'w')")
    serial.pytester.mkdir("folder")
    (serial.pytester.path / "file").touch()
    done = serial.run("--memalert-markdown=folder", "--memalert-gitlab=file/gl.json", "--memalert-html=file")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    told = done.stderr.str() + done.stdout.str()
    assert re.search(
        r"--memalert-markdown: '.*folder' is a directory; write a file name, .*memalert\.md'", told
    )
    assert re.search(r"--memalert-gitlab: '.*gl\.json' can't be written: '.*file' is not a directory", told)
    assert re.search(r"--memalert-html: '.*index\.html' can't be written", told)
    assert not (serial.pytester.path / "ran").exists()
    assert not (serial.pytester.path / "memalert.json").exists()


def test_missing_extra_is_a_usage_error(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names what to install."""
    monkeypatch.setattr("pytest_memalert.reports.html._PACKAGES", ("no_such_package_at_all",))
    serial.write("def test_it(): pass")
    done = serial.run("--memalert-html=page")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(
        ["*--memalert-html: no_such_package_at_all is not installed; *'pytest-memalert[[]html[]]'*"]
    )


def test_report_that_can_not_be_written_in_the_end_costs_no_other(serial: Inner) -> None:
    """It is a warning."""
    serial.write("import os\n\ndef test_it(): os.mkdir('memory.md')")
    done = serial.run("--memalert-markdown=memory.md", "--memalert-gitlab=gl.json")
    done.assert_outcomes(passed=1, warnings=1)
    done.stdout.fnmatch_lines(["*MemalertWarning: memalert could not write *memory.md*"])
    assert (serial.pytester.path / "gl.json").exists()


def test_github_is_told_where_the_test_is(inner: Inner, github: Path) -> None:
    """Once, whatever the number of workers; the exit status stays."""
    inner.write(GROWING)
    done = inner.run()
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    (command,) = commands(done)
    place = "::error file=test_a.py,line=5,title=memalert%3A memory_growth::"
    assert re.match(rf"{place}{NODEID}: {TOLD}", command)
    summary = github.read_text(encoding="utf-8")
    assert summary.startswith("# of an earlier command\n<!-- memalert -->\n## memalert: 1 critical\n")
    assert summary.count("## memalert") == 1


def test_github_is_told_of_a_file_from_the_top_of_its_repository(serial: Inner, github: Path) -> None:
    """pytest may have a configuration of its own further down."""
    top = serial.pytester.path
    (top / ".git").mkdir()
    below = serial.pytester.mkdir("backend")
    serial.write(GROWING)
    for name in ("test_a.py", "pyproject.toml"):
        (top / name).rename(below / name)
    (command,) = commands(serial.run("--rootdir=backend", "-c", "backend/pyproject.toml", "backend"))
    assert "file=backend/test_a.py,line=5," in command


def test_elsewhere_nothing_is_told_to_github(serial: Inner, tmp_path: Path) -> None:
    """Neither is without --memalert."""
    serial.write(GROWING)
    assert commands(serial.run()) == []


def test_without_memalert_github_is_told_nothing(serial: Inner, github: Path) -> None:
    """The plugin is inert."""
    serial.write(GROWING)
    assert commands(serial.run(memalert=False)) == []
    assert github.read_text(encoding="utf-8") == "# of an earlier command\n"


def test_without_a_terminal_there_are_no_commands(serial: Inner, github: Path) -> None:
    """The summary of the job is written all the same."""
    serial.write(GROWING)
    assert commands(serial.run_apart("-p", "no:terminal")) == []
    assert "## memalert: 1 critical" in github.read_text(encoding="utf-8")


def test_what_a_test_is_called_is_no_command(serial: Inner, github: Path) -> None:
    """However it is broken into lines, and whatever it prints without an end of the line."""
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        @pytest.mark.parametrize("name", ["a ::error::forged ##[error]forged", "b\\n::error::forged"])
        def test_growing(name):
            KEPT.append(b"x" * 4 * 2**20)
        """
    )
    done = serial.run("--no-header", "-p", "no:warnings", "--tb=no", "-rN", "-q")
    ours = done.outlines[next(at for at, line in enumerate(done.outlines) if "CRITICAL" in line) :]
    said = [line for line in ours if line.strip().startswith("::") or "##[" in line]
    assert len(said) == 2
    assert all(line.startswith("::error file=test_a.py,line=") for line in said)


@pytest.mark.parametrize("fail_on", ["warning", "never"])
def test_what_a_hook_makes_of_an_alert_is_no_command(serial: Inner, github: Path, fail_on: str) -> None:
    """In pytest's own summaries of failures and of warnings as well."""
    serial.pytester.makeconftest(
        """
        from dataclasses import replace

        def pytest_memalert_modify_alerts(alerts):
            alerts[:] = [replace(alert, message="bad ##[add-path]/evil") for alert in alerts]
        """
    )
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        def test_growing():
            KEPT.append(b"x" * 4 * 2**20)
        """
    )
    done = serial.run(f"--memalert-fail-on={fail_on}")
    assert "bad ##\\[add-path]/evil" in done.stdout.str()
    assert not [line for line in commands(done) if not line.startswith("::")]


def test_long_words_of_a_summary_are_broken_harmlessly(
    serial: Inner, github: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that would begin with a command begins with a backslash instead."""
    monkeypatch.setenv("COLUMNS", "40")
    serial.write(
        """
        import pytest

        KEPT = []

        @pytest.mark.memalert(growth="1 MiB")
        @pytest.mark.parametrize("name", ["a ::error::" + "forged" * 6])
        def test_growing(name):
            KEPT.append(b"x" * 4 * 2**20)
        """
    )
    done = serial.run_apart("--tb=no", "-rN")
    assert [line for line in done.outlines if line.strip().startswith("\\::error::forged")]
    assert len(commands(done)) == 1


def test_job_summary_stays_below_what_github_takes(serial: Inner, github: Path) -> None:
    """One that is full stays as it is, with a warning."""
    serial.write(GROWING)
    full = "x" * (SUMMARY_BYTES - 16_500)
    github.write_text(full, encoding="utf-8")
    serial.run()
    assert len(full) < github.stat().st_size < 2**20
    before = github.stat().st_size
    done = serial.run()
    assert github.stat().st_size == before
    done.stdout.fnmatch_lines(["*MemalertWarning: the summary of the job has no room left*"])


def test_job_summary_that_can_not_be_written_is_a_warning(
    serial: Inner, github: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run itself is not affected."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    serial.write("def test_it(): pass")
    done = serial.run()
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["*MemalertWarning: memalert could not add to the summary of the job*"])


def test_junit_failure_has_the_figures(serial: Inner) -> None:
    """As the failure's message and in its text."""
    serial.write(GROWING)
    serial.run("--junit-xml=junit.xml")
    (failure,) = ElementTree.parse(serial.pytester.path / "junit.xml").getroot().iter("failure")
    assert re.search(TOLD, failure.attrib["message"])
    assert re.search(TOLD, failure.text or "")
    assert "memory_growth" in (failure.text or "")


def test_shards_are_merged_and_judged_as_a_whole(serial: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline of the whole, two shards that each write a report, one verdict."""
    source = """
        import os

        KEPT = []

        def test_one():
            assert len(bytearray(%s)) > 1

        def test_two():
            pass
    """
    serial.write(source % "2 * 2**20", test_b="def test_three(): pass")
    folder = serial.pytester.path
    serial.run_apart("--memalert-save").assert_outcomes(passed=3)
    assert (folder / "memalert.lock.json").exists()

    def judge(*options: str) -> tuple[int, str]:
        for name in ("a", "b"):
            serial.run_apart("--memalert-gate", f"--memalert-json={name}.json", f"test_{name}.py")
        monkeypatch.chdir(folder)
        assert CliRunner().invoke(main, ["merge", "a.json", "b.json", "-o", "all.json"]).exit_code == 0
        result = CliRunner().invoke(main, ["gate", "all.json", *options])
        return result.exit_code, result.output

    status, told = judge()
    assert status == 0, told
    assert "3 tests" in told
    serial.write(source % "40 * 2**20")
    status, told = judge()
    assert status == 1, told
    assert "CRITICAL memory_regression  test_a.py::test_one" in told
    assert told.count("CRITICAL") == 1
    (folder / "test_b.py").write_text("def test_four(): pass\n")
    serial.write(source % "2 * 2**20")
    status, told = judge("--strict")
    assert status == 1, told
    assert "CRITICAL memory_regression  test_b.py::test_four" in told
    assert "test_b.py::test_three" in told


def test_summary_of_the_job_that_cannot_be_made_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    """Whatever it is in the run that a report can't take."""
    summary = tmp_path / "summary.md"
    trouble = append_summary(cast(Run, None), {"GITHUB_STEP_SUMMARY": str(summary)})
    assert trouble is not None
    assert trouble.startswith("memalert could not make the summary of the job (AttributeError: ")
    assert summary.read_bytes() == b""
