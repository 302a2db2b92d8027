"""The command ``memalert merge``: the reports of CI shards as one, or two branches' baselines."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_memalert.cli.console import (
    PathOfUser,
    Unreadable,
    echo_note,
    output_option,
    read_any,
    write_output,
)
from pytest_memalert.errors import MemalertError
from pytest_memalert.gate.baseline import Baseline, merge_baselines, render_baseline
from pytest_memalert.model import Run
from pytest_memalert.reports import json as json_report
from pytest_memalert.reports.words import counts_text
from pytest_memalert.shards import join
from pytest_memalert.units import counted

__all__ = ["merge"]


@click.command(short_help="Join reports of a suite's shards, or baselines.")
@click.argument("paths", nargs=-1, required=True, type=PathOfUser(dir_okay=False, allow_dash=True))
@output_option
def merge(paths: tuple[Path, ...], output: Path | None) -> None:
    """Join the JSON reports of a suite's shards, or baselines.

    PATHS are what pytest --memalert-json=PATH wrote in each shard; "-" reads standard input. The
    result has every test, the alerts with those of one fingerprint as one, and times summed; memalert gate
    and memalert report read it as any other. Reports of different environments are refused. A test in
    more than one report counts as the run that started last saw it, with a warning.

    Where PATHS are baselines (memalert.lock.json), of two figures the larger is taken; one in which git
    left its conflict markers is resolved the same way: memalert merge memalert.lock.json -o
    memalert.lock.json

    Exit status: 0 joined, 2 wrong usage, or PATHS can't be read or don't belong together.
    """
    found = [read_any(path, resolve=True) for path in paths]
    baselines = [each for each in found if isinstance(each, Baseline)]
    runs = [(str(path), each) for path, each in zip(paths, found, strict=True) if isinstance(each, Run)]
    if baselines and runs:
        raise Unreadable(
            f"'{runs[0][0]}' is the report of a run, and others are baselines; merge those of a kind"
        )
    if baselines:
        merged = merge_baselines(baselines)
        write_output(render_baseline(merged), output)
        tests = sum(len(entries) for entries in merged.environments.values())
        echo_note(f"merged {counted(len(baselines), 'baseline')}: {tests:,} entries")
        return
    try:
        joined = join(runs)
    except MemalertError as wrong:
        raise Unreadable(str(wrong).replace("\n", "\n  ")) from None
    write_output(json_report.render(joined.run), output)
    for warning in joined.warnings:
        echo_note(f"warning: {warning}")
    echo_note(
        f"merged {counted(len(runs), 'report')}: {counted(len(joined.run.tests), 'test')}, "
        f"{counts_text(joined.run.alerts)}"
    )
