"""The command ``memalert``, a module for each of its commands."""

from __future__ import annotations

import click

import pytest_memalert
from pytest_memalert.cli.ack import ack
from pytest_memalert.cli.clear import clear
from pytest_memalert.cli.doctor import doctor
from pytest_memalert.cli.history import history
from pytest_memalert.cli.notify import notify
from pytest_memalert.cli.report import report
from pytest_memalert.cli.rules import rules
from pytest_memalert.cli.show import show
from pytest_memalert.cli.unack import unack

__all__ = ["main"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 all is fine, 1 there are alerts, 2 wrong usage or unreadable input.",
)
@click.version_option(pytest_memalert.__version__, prog_name="memalert")
def main() -> None:
    """Look at memory regression testing from outside of a test run.

    The tests themselves are run by pytest: pytest --memalert
    """


for _command in (ack, clear, doctor, history, notify, report, rules, show, unack):
    main.add_command(_command)
