"""The command ``memalert report``: what a run found, from its JSON report, in any format."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_memalert.cli.console import (
    ALERTS,
    FINE,
    PathOfUser,
    Unreadable,
    echo_line,
    output_option,
    read_run,
    width,
    write_output,
)
from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import Run
from pytest_memalert.reports import formats, terminal

__all__ = ["FORMATS", "report"]

#: Text, which needs to know the terminal, and every other.
FORMATS = ("text", *formats.FORMATS)


@click.command(short_help="Print or convert what a JSON report found.")
@click.argument("path", type=PathOfUser(dir_okay=False, allow_dash=True))
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="text: as pytest told it; markdown: for a pull request's comment; html: a page that needs nothing "
    "beside it; github: annotations of GitHub Actions; gitlab: a code quality report; bencher, "
    "benchmark-action: figures for those dashboards; json: the report as this version writes it.",
)
@output_option
@click.option(
    "-v", "--verbose", count=True, help="Text: tell largest growths and peaks, fixtures and notes, too."
)
@click.option("-q", "--quiet", is_flag=True, help="Text: tell one line for each alert.")
@click.option("--exit-zero", is_flag=True, help="End with 0 also where alerts failed a test.")
@click.pass_context
def report(
    context: click.Context,
    path: Path,
    format_name: str,
    output: Path | None,
    verbose: int,
    quiet: bool,
    exit_zero: bool,
) -> None:
    """Print what the run in the JSON report PATH found, as pytest did or in another format.

    PATH is what pytest --memalert-json=PATH or memalert merge wrote; "-" reads standard input.

    Exit status: 0 no alert failed a test, 1 some did, 2 PATH can't be read.
    """
    run = read_run(path)
    if format_name == "text":
        _tell(run, output, verbosity=-1 if quiet else verbose)
    else:
        try:
            text = formats.export(run, format_name)
        except MemalertError as problem:
            raise Unreadable(str(problem)) from None
        write_output(text, output)
    fails = any(run.fails(alert) for alert in run.alerts)
    context.exit(ALERTS if fails and not exit_zero else FINE)


def _tell(run: Run, output: Path | None, *, verbosity: int) -> None:
    where = run.environment
    when = run.started_at.strftime("%Y-%m-%d %H:%M UTC")
    lines = list(terminal.render(run, verbosity=verbosity, width=width()))
    if verbosity >= 0:
        place = f"{where.implementation} {where.python}, {where.platform} {where.machine}"
        lines = [
            terminal.Line(text=f"run of {when}, {escape_controls(place)}"),
            terminal.Line(text=""),
            *lines,
        ]
    if output is not None and str(output) != "-":
        write_output("".join(f"{line.text}\n" for line in lines), output)
        return
    for line in lines:
        echo_line(line)
