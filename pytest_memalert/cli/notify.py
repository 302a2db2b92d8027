"""The command ``memalert notify``: tell channels of a run, from its JSON report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click

from pytest_memalert.channels.wording import headline, message_lines
from pytest_memalert.cli.console import ALERTS, FINE, PathOfUser, Unreadable, echo_wrapped, read_run
from pytest_memalert.cli.project import find_configuration
from pytest_memalert.clock import utc_now
from pytest_memalert.delivery import Opened, deliver, open_routes
from pytest_memalert.digest import count_kinds
from pytest_memalert.errors import ConfigurationError
from pytest_memalert.model import (
    AlertCategory,
    AlertCondition,
    AlertSeverity,
    PerformanceAlert,
)
from pytest_memalert.notify import Dispatch, address, begin_lives, find_due
from pytest_memalert.routes import Notify, read_notify, with_urls
from pytest_memalert.settings import read_pyproject

__all__ = ["notify"]


@click.command(short_help="Send the alerts of a JSON report to channels.")
@click.argument("path", required=False, type=PathOfUser(dir_okay=False, allow_dash=True))
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="Send there, instead of where the configuration says; can be given several times.",
)
@click.option(
    "--config",
    type=PathOfUser(exists=True, dir_okay=False),
    metavar="PATH",
    help="A pyproject.toml; without it, that of the project here, if it has one.",
)
@click.option("--dry-run", is_flag=True, help="Print what would go where, and send nothing.")
@click.option("--test", "is_test", is_flag=True, help="Send a made-up alert, to see whether it arrives.")
@click.option("-v", "--verbose", is_flag=True, help="Print messages in full.")
@click.pass_context
def notify(
    context: click.Context,
    path: Path | None,
    urls: tuple[str, ...],
    config: Path | None,
    dry_run: bool,
    is_test: bool,
    verbose: bool,
) -> None:
    """Send the alerts in the JSON report PATH to the channels of [tool.memalert.notify].

    PATH is what pytest --memalert-json=PATH wrote; "-" reads standard input. Every alert of the report
    counts as new, but for those acknowledged or inhibited. Of an address only scheme and host are shown.

    Exit status: 0 all was sent, 1 something could not be, 2 PATH or the configuration can't be read.
    """
    if (path is None) == (not is_test):
        raise click.UsageError("give either the PATH of a JSON report, or --test")
    run = None if path is None else read_run(path)
    alerts = (_made_up(),) if run is None else run.alerts
    plan, opened = _open(urls, config)
    if not opened:
        raise Unreadable(
            "nowhere to send to: write urls = ['...'] under [tool.memalert.notify], or give --url"
        )
    now = utc_now()
    due = find_due(begin_lives(alerts), seen={alert.fingerprint for alert in alerts}, pace=plan, now=now)
    dispatches = address(
        due, [each.route for each in opened], pace=plan, now=now, run_id=run.run_id if run else None
    )
    if dry_run:
        _print_plan(dispatches, opened, verbose=verbose)
        context.exit(FINE)
    delivery = deliver(dispatches, opened, pace=plan)
    for line in delivery.lines or ("nothing to send",) * (not delivery.troubles):
        echo_wrapped(line)
    for trouble in delivery.troubles:
        click.echo(f"Error: {trouble}", err=True)
    context.exit(ALERTS if delivery.troubles else FINE)


def _open(urls: tuple[str, ...], config: Path | None) -> tuple[Notify, tuple[Opened, ...]]:
    """Return what the configuration says, and its channels; raises Unreadable with every problem."""
    path = find_configuration(config)
    origin = f"{path}: tool.memalert.notify"
    problems: list[str] = []
    plan, written = Notify(), None
    try:
        table = read_pyproject(path) if path else {}
        plan, written, problems = read_notify(table.get("notify", {}), place=origin)
    except ConfigurationError as wrong:
        problems += wrong.problems
    if urls:
        plan, written, origin = replace(plan, routes=()), urls, "--url"
    plan = with_urls(plan, written or (), origin)
    opened, wrong_routes = open_routes(plan, os.environ, base=Path.cwd(), terminal=sys.stdout)
    problems += wrong_routes
    if problems:
        raise Unreadable("the configuration is wrong:", problems)
    return plan, opened


def _print_plan(dispatches: Iterable[Dispatch], opened: Iterable[Opened], *, verbose: bool) -> None:
    by_route = {each.route.key: each for each in dispatches}
    for to in opened:
        dispatch = by_route.get(to.route.key)
        if dispatch is None:
            click.echo(f"{to.shown}: nothing")
            continue
        click.echo(f"{to.shown}: {count_kinds(dispatch.messages)}")
        for message in dispatch.digest.messages:
            for line in message_lines(message) if verbose else (headline(message),):
                echo_wrapped(f"  {line}")
        if dispatch.digest.more:
            click.echo(f"  and {dispatch.digest.more:,} more")


def _made_up() -> PerformanceAlert:
    return PerformanceAlert(
        id="test",
        fingerprint="test",
        rule="test",
        category=AlertCategory.GENERAL,
        severity=AlertSeverity.CRITICAL,
        component="memalert",
        nodeids=(),
        metric="growth_bytes",
        observed=0.0,
        limit=0.0,
        condition=AlertCondition.GREATER_THAN,
        message="this is a test of notifications: no test grew",
        raised_at=utc_now(),
    )
