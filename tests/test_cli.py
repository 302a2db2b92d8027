"""Holds the command ``memalert`` to what it says and to its exit status: 0 fine, 1 alerts, 2 unreadable."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_memalert.cli import main
from pytest_memalert.limits.defaults import DEFAULT_RULES
from pytest_memalert.model import AlertSeverity, Overhead
from pytest_memalert.probes.demand import DEMAND_READINGS
from pytest_memalert.reports import json as json_report
from tests.makers import MIB, NODEID, make_alert, make_run, make_test


def write_report(path: Path, *severities: AlertSeverity, **changes: Any) -> Path:
    """Write the report of a run of one test, with an alert of each of these severities."""
    run = make_run(
        *(make_alert(severity=severity) for severity in severities),
        overhead=Overhead(tests_s=1.0),
        tests=(make_test(growth_bytes=12 * MIB),),
        **changes,
    )
    path.write_text(json_report.render(run), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the current one, seen through 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def run(*arguments: str | Path, text: str | bytes | None = None) -> Result:
    """Return what the command did in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=text)


def run_apart(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Return what the command did in a process of its own."""
    command = [sys.executable, "-m", "pytest_memalert.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


#: Changes the threshold of one default rule.
RSS_RULE = """
    [[tool.memalert.rules]]
    name = "rss"
    severity = "critical"
    threshold = "2 GB"
    """


def configure(folder: Path, table: str) -> None:
    """Write a ``pyproject.toml``."""
    (folder / "pyproject.toml").write_text(table, encoding="utf-8")


# ------------------------------------------------------------------ the group


def test_help_names_every_command_and_the_exit_status() -> None:
    output = run("--help").output
    assert all(f"\n  {name} " in output for name in main.commands)
    assert "..." not in output.partition("Commands:")[2]  # each says in one line what it does
    assert "Exit status" in output


def test_unknown_command_is_wrong_usage() -> None:
    assert run("reprot").exit_code == 2


def test_command_does_not_import_pytest() -> None:
    code = "import sys, pytest_memalert.cli; print({'pytest', '_pytest', 'psutil'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --------------------------------------------------------------------- report


def test_report_of_a_run_without_alerts_is_fine(folder: Path) -> None:
    result = run("report", write_report(folder / "memalert.json"))
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "run of 2026-11-23 12:00 UTC, CPython 3.11.7, Linux x86_64",
        "",
        "memalert: 1 test measured, added 0 us",
    ]


def test_report_with_an_alert_that_failed_a_test_ends_with_1(folder: Path) -> None:
    result = run("report", write_report(folder / "memalert.json", AlertSeverity.CRITICAL))
    assert result.exit_code == 1
    assert f"CRITICAL memory_growth  {NODEID}\n  growth 12 MiB is over" in result.output


def test_report_from_elsewhere_gives_github_no_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the merged report of a pull request of somebody else's."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    environment = replace(make_run().environment, python="3\n::error::python")
    alert = make_alert(message="grew\n::error::message", recommendations=("do\n::error::advice",))
    path = folder / "memalert.json"
    path.write_text(json_report.render(replace(make_run(alert), environment=environment)), encoding="utf-8")
    lines = run("report", path).output.splitlines()
    assert [line for line in lines if "::error::" in line]
    assert not [line for line in lines if line.strip().startswith("::")]


def test_report_with_warnings_alone_is_fine(folder: Path) -> None:
    result = run("report", write_report(folder / "memalert.json", AlertSeverity.WARNING))
    assert result.exit_code == 0
    assert "1 warning" in result.output


def test_report_holds_alerts_against_what_its_run_failed_on(folder: Path) -> None:
    path = write_report(folder / "memalert.json", AlertSeverity.CRITICAL, fail_on=None)
    assert run("report", path).exit_code == 0
    path = write_report(folder / "memalert.json", AlertSeverity.WARNING, fail_on=AlertSeverity.WARNING)
    assert run("report", path).exit_code == 1


def test_quiet_report_is_one_line_for_each_alert(folder: Path) -> None:
    result = run("report", "-q", write_report(folder / "memalert.json", AlertSeverity.CRITICAL))
    assert result.output == f"CRITICAL {NODEID}: growth 12 MiB is over the limit of 1 MiB\n"


def test_verbose_report_lists_the_largest_growths(folder: Path) -> None:
    result = run("report", "-v", write_report(folder / "memalert.json"))
    assert "largest growth:\n     12 MiB  tests/test_a.py::test_load\n" in result.output


def test_report_is_read_from_standard_input(folder: Path) -> None:
    text = write_report(folder / "memalert.json", AlertSeverity.CRITICAL).read_bytes()
    assert run("report", "-", text=text).exit_code == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[]", "report"),
        (b"{}", "--memalert-json PATH"),
        (b'{"format": 99}', "format: 99 is newer"),
        (b"[" * 100_000, "is n"),
    ],
)
def test_report_that_is_none_is_refused_in_one_line(folder: Path, content: bytes, said: str) -> None:
    (folder / "other.json").write_bytes(content)
    result = run("report", "other.json")
    assert result.exit_code == 2
    assert result.output.startswith("Error: 'other.json'")
    assert said in result.output
    assert result.output.count("\n") == 1


def test_report_that_is_missing_says_how_to_write_one(folder: Path) -> None:
    result = run("report", "missing.json")
    assert result.exit_code == 2
    assert "pytest --memalert --memalert-json=memalert.json" in result.output


def test_report_ends_with_its_status_in_a_process_of_its_own(folder: Path) -> None:
    done = run_apart("report", write_report(folder / "memalert.json", AlertSeverity.CRITICAL))
    assert (done.returncode, done.stderr) == (1, "")
    assert "\x1b" not in done.stdout


# ---------------------------------------------------------------------- rules


def test_rules_without_a_file_are_the_defaults(folder: Path) -> None:
    result = run("rules")
    assert result.exit_code == 0
    assert result.output.startswith("no pyproject.toml here: the rules by default\n")
    assert all(f"\n{rule.name}  {rule.severity.value}\n" in result.output for rule in DEFAULT_RULES)


def test_rules_say_where_each_value_was_written(folder: Path) -> None:
    configure(
        folder,
        """
        [tool.memalert]
        fail_on = "warning"

        [[tool.memalert.rules]]
        name = "io"
        metric = "peak_bytes"
        threshold = "8 MiB"
        tests = ["tests/io/*"]

        [[tool.memalert.rules]]
        name = "efficiency"
        enabled = false
        """,
    )
    output = run("rules").output
    assert (
        "io  critical\n  peak_bytes > 8 MiB\n  for tests tests/io/*\n"
        "  metric, tests, threshold: pyproject.toml: tool.memalert.rules[0]\n"
    ) in output
    assert "efficiency  warning  (off)\n" in output
    assert "  enabled: pyproject.toml: tool.memalert.rules[1]\n" in output
    assert "fail_on = warning  (pyproject.toml: tool.memalert.fail_on)\n" in output
    assert "leaks = suspects  (default)\n" in output


def test_rules_as_json_have_values_in_their_base_unit_and_their_origins(folder: Path) -> None:
    configure(folder, RSS_RULE)
    document = json.loads(run("rules", "--json").output)
    (rule,) = [r for r in document["rules"] if (r["name"], r["severity"]) == ("rss", "critical")]
    assert (rule["threshold"], rule["unit"]) == (2 * 10**9, "bytes")
    place = "pyproject.toml: tool.memalert.rules[0]"
    assert rule["origins"] == {"severity": f"{place}.severity", "threshold": f"{place}.threshold"}
    assert document["options"]["leaks"] == {"value": "suspects", "origin": "default"}
    assert (document["format"], document["config"]) == (1, "pyproject.toml")


def test_rules_on_the_metric_of_a_probe_are_told_as_not_checked(folder: Path) -> None:
    configure(
        folder,
        """
        [[tool.memalert.rules]]
        name = "cache"
        metric = "cache_entries"
        threshold = 100

        [[tool.memalert.rules]]
        name = "io"
        metric = "peak_bytes"
        threshold = "8 MiB"
        """,
    )
    result = run("rules")
    assert result.exit_code == 0
    assert "not checked: 'cache' on 'cache_entries'" in result.output
    # The number is that of the file, the rule set aside included.
    assert "tool.memalert.rules[1]\n" in result.output


def test_rule_on_a_misspelt_metric_is_wrong_and_not_set_aside(folder: Path) -> None:
    configure(
        folder,
        """
        [[tool.memalert.rules]]
        name = "io"
        metric = "peak_byte"
        severity = "fatal"
        threshold = "8 MiB"
        """,
    )
    result = run("rules")
    assert result.exit_code == 2
    assert "did you mean 'peak_bytes'?" in result.output
    assert "severity: 'fatal'" in result.output


def test_rules_that_are_wrong_are_all_listed_as_they_are_numbered_in_the_file(folder: Path) -> None:
    configure(
        folder,
        """
        [tool.memalert]
        fail_om = "warning"

        [[tool.memalert.rules]]
        name = "cache"
        metric = "cache_entries"

        [[tool.memalert.rules]]
        name = "io"
        metric = "peak_bytes"
        threshold = "8 megs"
        """,
    )
    result = run("rules")
    assert result.exit_code == 2
    assert "pyproject.toml: tool.memalert: unknown key 'fail_om'; did you mean 'fail_on'?" in result.output
    assert "tool.memalert.rules[1].threshold: '8 megs' is not a size; write it as '8 MiB'" in result.output


@pytest.mark.parametrize("rules", ['"none"', "[1]"])
def test_rules_that_are_no_tables_are_refused(folder: Path, rules: str) -> None:
    configure(folder, f"[tool.memalert]\nrules = {rules}\n")
    result = run("rules")
    assert result.exit_code == 2
    assert "[[tool.memalert.rules]]" in result.output


def test_rules_are_those_of_the_project_in_its_folders_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(folder, RSS_RULE)
    (folder / "tests" / "io").mkdir(parents=True)
    monkeypatch.chdir(folder / "tests" / "io")
    document = json.loads(run("rules", "--json").output)
    assert document["config"] == str(folder / "pyproject.toml")
    (rule,) = [r for r in document["rules"] if (r["name"], r["severity"]) == ("rss", "critical")]
    assert rule["threshold"] == 2 * 10**9


def test_rules_of_another_file_are_read_on_request(folder: Path) -> None:
    (folder / "other.toml").write_text("[tool.memalert]\nbudget = '30s'\n", encoding="utf-8")
    assert "budget = 30s  (other.toml: tool.memalert.budget)" in run("rules", "--config", "other.toml").output


def test_rules_of_a_file_that_is_not_there_are_wrong_usage(folder: Path) -> None:
    result = run("rules", "--config", "missing.toml")
    assert result.exit_code == 2
    assert "missing.toml" in result.output


def test_rules_end_with_their_status_in_a_process_of_its_own(folder: Path) -> None:
    (folder / "broken.toml").write_text("[tool.memalert\n", encoding="utf-8")
    done = run_apart("rules", "--config", folder / "broken.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not valid TOML" in done.stderr


# --------------------------------------------------------------------- doctor


def test_doctor_measures_every_reading_that_works_here(folder: Path) -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.output
    told = dict(re.findall(r"^  ([a-z ]+?) +(\d[\d.]* (?:us|ms)|no data)  ", result.output, re.MULTILINE))
    assert told.keys() >= {"resident memory", "peak", "heap", "blocks", "collection", *DEMAND_READINGS}
    assert told["resident memory"] != "no data"


def test_doctor_names_the_versions_that_matter(folder: Path) -> None:
    output = run("doctor").output
    assert re.match(r"pytest-memalert \S+, \w+ 3\.\d+\.\S+, \w+ \S+, psutil \d", output)
    assert re.search(r"^  pytest \d", output, re.MULTILINE)


def test_doctor_says_why_leaks_cannot_be_found_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    monkeypatch.setenv("COLUMNS", "200")
    done = run_apart("doctor")
    assert done.returncode == 0
    assert re.search(r"leak detection +OFF +.*PYTHONMALLOC", done.stdout)
    assert re.search(r"blocks +no data +", done.stdout)
