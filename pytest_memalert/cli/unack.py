"""The command ``memalert unack``: accept an alert no longer."""

from __future__ import annotations

import click

from pytest_memalert.acknowledgments import remove_entry
from pytest_memalert.cli.console import Unreadable, echo_wrapped
from pytest_memalert.cli.project import acknowledgments_path, edit_entries, metrics_with, read_entries
from pytest_memalert.escaping import escape_controls

__all__ = ["unack"]


@click.command(short_help="Take back the acceptance of an alert.")
@click.argument("fingerprint")
def unack(fingerprint: str) -> None:
    """Take the entry FINGERPRINT, or the only one that begins so, out of memalert.acks.toml.

    The rest of the file stays as it is, comments included.

    Exit status: 0 fine, 2 there is no such entry, or the file is wrong.
    """
    path = acknowledgments_path()
    metrics = metrics_with(path)
    entries = read_entries(path, metrics)
    found = [entry for entry in entries if entry.fingerprint.startswith(fingerprint)]
    found = [entry for entry in found if entry.fingerprint == fingerprint] or found
    if not found:
        raise Unreadable(f"{path}: nothing is acknowledged as '{fingerprint}'")
    if len(found) > 1:
        names = ", ".join(entry.fingerprint for entry in found)
        raise Unreadable(f"'{fingerprint}' is the beginning of {names}; write more of it")
    (entry,) = found
    edit_entries(path, lambda text: remove_entry(text, entry.fingerprint, place=path.name, metrics=metrics))
    told = f" ({escape_controls(entry.what)})" if entry.what else ""
    echo_wrapped(f"{path}: {escape_controls(entry.fingerprint)}{told} is no longer acknowledged")
