"""The command ``memalert report``: what a run found, from its JSON report."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_memalert.cli.console import ALERTS, FINE, echo_line, read_run, width
from pytest_memalert.reports import terminal

__all__ = ["report"]


@click.command()
@click.argument("path", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("-v", "--verbose", count=True, help="Tell largest growths and peaks, fixtures and notes, too.")
@click.option("-q", "--quiet", is_flag=True, help="Tell one line for each alert.")
@click.pass_context
def report(context: click.Context, path: Path, verbose: int, quiet: bool) -> None:
    """Print what the run in the JSON report PATH found, as pytest did.

    PATH is what pytest --memalert-json=PATH wrote; "-" reads standard input.

    Exit status: 0 no alert failed a test, 1 some did, 2 PATH can't be read.
    """
    run = read_run(path)
    where = run.environment
    if not quiet:
        when = run.started_at.strftime("%Y-%m-%d %H:%M UTC")
        click.echo(
            f"run of {when}, {where.implementation} {where.python}, {where.platform} {where.machine}\n"
        )
    for line in terminal.render(run, verbosity=-1 if quiet else verbose, width=width()):
        echo_line(line)
    context.exit(ALERTS if any(run.fails(alert) for alert in run.alerts) else FINE)
