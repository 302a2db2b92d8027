"""Holds the command ``memalert notify`` to what it prints, sends and ends with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pytest_memalert.cli import main
from pytest_memalert.codec import decode_run, encode_run
from pytest_memalert.model import AlertSeverity, Run
from tests.test_cli import write_report

HEADLINE = "critical memory_growth: tests/test_a.py::test_load: growth 12 MiB is over the limit of 1 MiB"


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Run commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def report_of(path: Path, *severities: AlertSeverity, **changes: Any) -> Path:
    """Write a report, its alerts changed and each known by a fingerprint of its own."""
    written = write_report(path, *severities)
    run: Run = decode_run(json.loads(written.read_text()))
    alerts = tuple(
        replace(alert, fingerprint=f"f{number}", **changes) for number, alert in enumerate(run.alerts)
    )
    written.write_text(json.dumps(encode_run(replace(run, alerts=alerts))))
    return written


def notify(runner: CliRunner, *arguments: str) -> Result:
    return runner.invoke(main, ["notify", *arguments])


def configure(text: str) -> None:
    Path("pyproject.toml").write_text(text)


def test_dry_run_says_what_would_go_where_and_sends_nothing(runner: CliRunner, tmp_path: Path) -> None:
    report = report_of(tmp_path / "r.json", AlertSeverity.CRITICAL, AlertSeverity.WARNING)
    configure(
        """
        [tool.memalert.notify]
        urls = ["jsonl:out.jsonl"]
        [[tool.memalert.notify.routes]]
        channel = "https://me:w0rd@example.com/s3cr3t"
        severity = "critical"
        [[tool.memalert.notify.routes]]
        channel = "logging:leaks"
        categories = ["memory_leak"]
        """
    )
    done = notify(runner, str(report), "--dry-run")
    assert done.exit_code == 0
    assert " ".join(done.output.split()) == (
        f"jsonl:out.jsonl: 2 new NEW {HEADLINE} NEW {HEADLINE.replace('critical', 'warning')} "
        f"https://example.com/...: 1 new NEW {HEADLINE} logging:leaks: nothing"
    )
    assert not Path("out.jsonl").exists()


def test_alerts_of_a_report_are_sent(runner: CliRunner, tmp_path: Path) -> None:
    report = report_of(tmp_path / "r.json", AlertSeverity.CRITICAL)
    done = notify(runner, str(report), "--url", "jsonl:a.jsonl", "--url", "jsonl:b.jsonl")
    assert (done.exit_code, done.output) == (
        0,
        "sent to jsonl:a.jsonl: 1 new\nsent to jsonl:b.jsonl: 1 new\n",
    )
    (line,) = Path("a.jsonl").read_text().splitlines()
    assert json.loads(line)["run_id"] == "r1"


def test_report_is_read_from_standard_input(runner: CliRunner, tmp_path: Path) -> None:
    report = report_of(tmp_path / "r.json", AlertSeverity.CRITICAL)
    done = runner.invoke(main, ["notify", "-", "--url", "terminal"], input=report.read_bytes())
    assert done.exit_code == 0
    assert done.output.startswith(f"NEW {HEADLINE}\n")


def test_acknowledged_alerts_are_not_sent(runner: CliRunner, tmp_path: Path) -> None:
    report = report_of(tmp_path / "r.json", AlertSeverity.CRITICAL, acknowledged="known")
    done = notify(runner, str(report), "--url", "jsonl:a.jsonl")
    assert (done.exit_code, done.output) == (0, "nothing to send\n")
    assert not Path("a.jsonl").exists()


def test_made_up_alert_shows_whether_a_channel_works(runner: CliRunner) -> None:
    done = notify(runner, "--test", "--url", "jsonl:a.jsonl")
    assert (done.exit_code, done.output) == (0, "sent to jsonl:a.jsonl: 1 new\n")
    assert "this is a test of notifications" in Path("a.jsonl").read_text()


def test_what_could_not_be_sent_ends_with_one(runner: CliRunner) -> None:
    Path("a.jsonl").mkdir()
    done = notify(runner, "--test", "--url", "jsonl:a.jsonl", "--url", "jsonl:b.jsonl")
    assert done.exit_code == 1
    assert done.stdout == "sent to jsonl:b.jsonl: 1 new\n"
    assert done.stderr == "Error: jsonl:a.jsonl could not be told of 1 new (Is a directory)\n"


def test_report_or_test_must_be_given(runner: CliRunner) -> None:
    for arguments in ([], ["r.json", "--test"]):
        done = notify(runner, *arguments)
        assert done.exit_code == 2
        assert "give either the PATH of a JSON report, or --test" in done.stderr


def test_nowhere_to_send_to_is_said_so(runner: CliRunner) -> None:
    done = notify(runner, "--test")
    assert done.exit_code == 2
    assert (
        "nowhere to send to: write urls = ['...'] under [tool.memalert.notify], or give --url" in done.stderr
    )


def test_none_sends_nowhere_as_it_does_in_pytest(runner: CliRunner) -> None:
    """Whatever is beside it, in the configuration or as --url."""
    configure(
        """
        [tool.memalert.notify]
        urls = ["none"]
        [[tool.memalert.notify.routes]]
        channel = "jsonl:out.jsonl"
        """
    )
    for arguments in ([], ["--url", "none"]):
        done = notify(runner, "--test", *arguments)
        assert done.exit_code == 2
        assert "nowhere to send to" in done.stderr
    assert notify(runner, "--test", "--url", "jsonl:a.jsonl").exit_code == 0


def test_every_problem_of_the_configuration_is_listed_without_a_secret(runner: CliRunner) -> None:
    configure(
        """
        [tool.memalert.notify]
        urls = ["${MEMALERT_NOPE}", "s3cr3t"]
        max_shown = 0
        """
    )
    done = notify(runner, "--test")
    assert done.exit_code == 2
    place = "  pyproject.toml: tool.memalert.notify"
    examples = "'https://example.com/hook', 'jsonl:alerts.jsonl', 'logging:memalert' or '${SLACK_URL}'"
    missing = "'${MEMALERT_NOPE}' is not set in the environment; export MEMALERT_NOPE before the run"
    assert done.stderr.splitlines() == [
        "Error: the configuration is wrong:",
        f"{place}.max_shown: 0 is not a count of 1 or more; write a whole number such as 3",
        f"{place}.urls[0]: {missing}",
        f"{place}.urls[1]: '...' is not an address; write one such as {examples}",
    ]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_command_rules_shows_where_alerts_go_without_a_secret(runner: CliRunner, options: list[str]) -> None:
    configure(
        """
        [tool.memalert.notify]
        urls = ["https://example.com/s3cr3t"]
        [[tool.memalert.notify.routes]]
        channel = "slack://s3cr3t/s3cr3t/s3cr3t"
        """
    )
    done = runner.invoke(main, ["rules", *options])
    assert done.exit_code == 0
    assert "https://example.com/..." in done.output
    assert "slack://..." in done.output
    assert "s3cr3t" not in done.output
