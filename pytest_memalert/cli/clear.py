"""The command ``memalert clear``: forget what is remembered."""

from __future__ import annotations

from pathlib import Path

import click

from pytest_memalert.cli.console import Unreadable
from pytest_memalert.cli.project import history_option, locate_history, read_since
from pytest_memalert.clock import utc_now
from pytest_memalert.errors import MemalertError
from pytest_memalert.history import read_history, write_history
from pytest_memalert.units import counted

__all__ = ["clear"]


@click.command(short_help="Forget remembered runs, their figures and alerts.")
@click.option(
    "--before", metavar="TIME", help="Only what is older: a day (2026-01-31), or how long ago (90 days)."
)
@click.option("--resolved", is_flag=True, help="Only alerts that are resolved; runs and their figures stay.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@history_option
def clear(before: str | None, resolved: bool, yes: bool, history_path: Path | None) -> None:
    """Forget runs, their figures and their alerts: all, or those of before a time.

    It asks first. The acknowledgments are a file of yours and stay: memalert unack takes entries out.

    Exit status: 0 forgotten, 1 not confirmed, 2 wrong usage or a history that can't be read.
    """
    path, limit = locate_history(history_path), read_since(before)
    try:
        with read_history(path) as remembered:
            runs = [] if resolved else [r for r in remembered.runs() if limit is None or r.started_at < limit]
            lives = [
                life
                for life in remembered.lives()
                if (limit is None or life.last_seen < limit)
                and (not resolved or life.resolved_at is not None)
            ]
        what = f"{counted(len(runs), 'run')} and {counted(len(lives), 'alert')}"
        if resolved:
            what = counted(len(lives), "resolved alert")
        if not runs and not lives:
            click.echo("there is nothing to forget")
            return
        if not yes:
            click.confirm(f"forget {what} of '{path}'?", abort=True)
        write_history(
            path,
            lambda history: history.forget(before=limit, resolved_only=resolved),
            warn=lambda trouble: click.echo(trouble, err=True),
            at=utc_now(),
        )
    except MemalertError as problem:
        raise Unreadable(str(problem)) from None
    click.echo(f"forgot {what} of '{path}'")
