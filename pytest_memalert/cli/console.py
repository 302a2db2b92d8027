"""The console: what every command of ``memalert`` prints with, reads with and ends with."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from pytest_memalert.codec import decode_run
from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import escape_controls
from pytest_memalert.model import Run
from pytest_memalert.reports import terminal

__all__ = [
    "ALERTS",
    "FINE",
    "UNREADABLE",
    "Unreadable",
    "echo_line",
    "echo_wrapped",
    "read_run",
    "table_lines",
    "width",
]

#: The exit statuses: all is fine, there are alerts or regressions, wrong usage or unreadable input.
FINE, ALERTS, UNREADABLE = 0, 1, 2

_NARROWEST_COLUMNS = 40
_COLOURS = ("red", "yellow", "green", "cyan")


class Unreadable(click.ClickException):
    """Say what can't be read, and end with the status for that."""

    exit_code = UNREADABLE


def read_run(path: Path) -> Run:
    """Return the run in a JSON report; ``-`` is standard input. Raises Unreadable."""
    shown = "standard input" if str(path) == "-" else f"'{path}'"
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return decode_run(json.loads(text))
    except OSError as problem:
        raise Unreadable(
            f"{shown} can't be read: {problem.strerror or problem}; "
            "write a report with: pytest --memalert --memalert-json=memalert.json"
        ) from None
    except RecursionError:
        raise Unreadable(f"{shown} is nested too deeply to be a report") from None
    except MemalertError as problem:
        raise Unreadable(f"{shown}: {problem}") from None
    except ValueError as problem:  # neither text nor JSON
        raise Unreadable(f"{shown} is not JSON: {problem}") from None


def echo_line(line: terminal.Line) -> None:
    """Print one line of a report, in its colour where the terminal has colours."""
    colour = next((name for name in _COLOURS if line.markup.get(name)), None)
    click.secho(line.text, fg=colour, bold=line.markup.get("bold") or None)


def width() -> int:
    """Return the columns to print in."""
    return max(shutil.get_terminal_size().columns, _NARROWEST_COLUMNS)


def table_lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines, its columns as wide as what is in them; what comes from tests is escaped.

    A row may lack cells at its end. Nothing is cut: a table is made to be piped.
    """
    cells = [tuple(head), *(tuple(escape_controls(cell) for cell in row) for row in rows)]
    widths = [
        max((len(row[index]) for row in cells if index < len(row)), default=0) for index in range(len(head))
    ]
    lines = []
    for row in cells:
        padded = (cell.ljust(size) for cell, size in zip(row, widths, strict=False))
        lines.append("  ".join(padded).rstrip())
    return lines


def echo_wrapped(text: str) -> None:
    """Print one entry; what doesn't fit into the line is indented under it."""
    indent = " " * (len(text) - len(text.lstrip(" ")) + 4)
    lines = textwrap.wrap(
        text, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    click.echo("\n".join(lines))
