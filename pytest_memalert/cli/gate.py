"""The command ``memalert gate``: a report, or a merged one, held against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from pytest_memalert.cli.console import (
    ALERTS,
    FINE,
    PathOfUser,
    Unreadable,
    echo_line,
    echo_note,
    read_any,
    read_run,
    width,
    write_output,
)
from pytest_memalert.cli.project import find_configuration
from pytest_memalert.clock import utc_now
from pytest_memalert.errors import ConfigurationError
from pytest_memalert.gate.allowances import ALLOWANCES, Allowances, read_allowances
from pytest_memalert.gate.baseline import DEFAULT_NAME, Baseline
from pytest_memalert.gate.comparing import compare
from pytest_memalert.gate.regressions import judge
from pytest_memalert.model import AlertCategory, GateResult, Run, make_id
from pytest_memalert.reports import json as json_report
from pytest_memalert.reports import terminal
from pytest_memalert.settings import read_pyproject

__all__ = ["gate"]


@click.command(short_help="Hold a JSON report against the baseline.")
@click.argument("path", type=PathOfUser(dir_okay=False, allow_dash=True))
@click.option(
    "-b",
    "--baseline",
    "baseline_path",
    type=PathOfUser(dir_okay=False),
    default=Path(DEFAULT_NAME),
    show_default=True,
    metavar="FILE",
    help="What pytest --memalert --memalert-save wrote.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Tests that the baseline lacks are alerts, and tests that no report has fail, too.",
)
@click.option(
    "--config",
    type=PathOfUser(exists=True, dir_okay=False),
    metavar="FILE",
    help="A pyproject.toml, whose [tool.memalert.gate] says what is allowed; without it, that of the "
    "project here, if it has one.",
)
@click.option(
    "-o",
    "--output",
    type=PathOfUser(allow_dash=True),
    metavar="PATH",
    help='Write the judged report as JSON to this file; with "-" to standard output, and the text to '
    "standard error.",
)
@click.option("-v", "--verbose", count=True, help="Tell all alerts, tests and notes, and largest peaks, too.")
@click.option("-q", "--quiet", is_flag=True, help="Tell one line for each alert.")
@click.pass_context
def gate(
    context: click.Context,
    path: Path,
    baseline_path: Path,
    strict: bool,
    config: Path | None,
    output: Path | None,
    verbose: int,
    quiet: bool,
) -> None:
    """Hold the JSON report PATH against the baseline, and print what got worse.

    PATH is what memalert merge made of the shards of a suite, or the report of one run; "-" reads standard
    input. What the shards' own runs confirmed with --memalert-gate counts as it is, and tests that no shard
    has are missing. Of a report without --memalert-gate only first runs are known: only rises far beyond
    what a first run may bring are told.

    Exit status: 0 nothing got worse, 1 something did or an alert failed a test, 2 wrong usage, or what is
    given can't be read or doesn't compare.
    """
    run = read_run(path)
    baseline = _read_baseline(baseline_path)
    result = _judge(run, baseline, baseline_path, strict=strict, allowances=_read_allowances(config))
    if result.refusal is not None:
        raise Unreadable(f"'{baseline_path}': {result.refusal}")
    known = {
        nodeid
        for alert in run.alerts
        if alert.category is AlertCategory.MEMORY_REGRESSION
        for nodeid in alert.nodeids
    }
    found = judge(result, raised_at=utc_now(), make_id=make_id, skip=known, is_all=True)
    judged = replace(run, gate=result, alerts=(*run.alerts, *found))
    if output is not None:
        write_output(json_report.render(judged), output)
    to_error = str(output) == "-"
    for line in terminal.render(judged, verbosity=-1 if quiet else verbose, width=width()):
        if to_error:
            echo_note(line.text)
        else:
            echo_line(line)
    context.exit(ALERTS if _fails(judged) else FINE)


def _judge(run: Run, baseline: Baseline, path: Path, *, strict: bool, allowances: Allowances) -> GateResult:
    """Return what the baseline says of a run; what its own gate confirmed is taken as it is."""
    own = run.gate
    return compare(
        run.tests,
        baseline,
        key=run.environment.key,
        path=str(path),
        allowances=allowances,
        strict=strict or (own is not None and own.strict),
        confirmed=None if own is None else own.comparisons,
        renamed=() if own is None else own.renamed,
        uncompared=() if own is None else own.uncompared,
    )


def _fails(run: Run) -> bool:
    """Return whether the whole is not fine: a regression counts whatever the shards failed on."""
    return any(
        run.fails(alert) or (alert.speaks and alert.category is AlertCategory.MEMORY_REGRESSION)
        for alert in run.alerts
    )


def _read_baseline(path: Path) -> Baseline:
    if not path.exists():
        raise Unreadable(
            f"'{path}' is not there; save a baseline with: pytest --memalert --memalert-save, or name one "
            "with --baseline"
        )
    found = read_any(path)
    if isinstance(found, Run):
        raise Unreadable(f"'{path}' is the report of a run, not a baseline; see: memalert compare --help")
    return found


def _read_allowances(config: Path | None) -> Allowances:
    path = find_configuration(config)
    if path is None:
        return ALLOWANCES
    try:
        table = read_pyproject(path)
    except ConfigurationError as wrong:
        raise Unreadable("the configuration is wrong:", wrong.problems) from None
    written = table.get("gate")
    # A path there is the option --memalert-gate, written in the file.
    if not isinstance(written, Mapping):
        return ALLOWANCES
    allowances, problems = read_allowances(written, place=f"{path}: tool.memalert.gate")
    if problems:
        raise Unreadable("the configuration is wrong:", problems)
    return allowances
