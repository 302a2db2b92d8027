"""The console: what every command of ``memalert`` prints with, reads with and ends with."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from pytest_memalert.codec import decode_run
from pytest_memalert.errors import MemalertError
from pytest_memalert.escaping import disarm, escape_controls
from pytest_memalert.files import expand_path, explain_unwritable, replace_text
from pytest_memalert.gate.baseline import (
    DEFAULT_NAME,
    Baseline,
    merge_baselines,
    read_baseline,
    split_conflict,
)
from pytest_memalert.model import Run
from pytest_memalert.reports import terminal

__all__ = [
    "ALERTS",
    "FINE",
    "PathOfUser",
    "Unreadable",
    "echo_line",
    "echo_note",
    "echo_wrapped",
    "output_option",
    "read_any",
    "read_run",
    "table_lines",
    "width",
    "write_output",
]

#: The exit statuses: all is fine, there are alerts or regressions, wrong usage or unreadable input.
FINE, ALERTS, _UNREADABLE = 0, 1, 2

_NARROWEST_COLUMNS = 40
_COLORS = ("red", "yellow", "green", "cyan")
_HOW_TO_WRITE = "write a report with: pytest --memalert --memalert-json=memalert.json"


class Unreadable(click.ClickException):
    """Say what can't be read, with all that is wrong with it, and end with the status for that."""

    exit_code = _UNREADABLE

    def __init__(self, message: str, problems: Iterable[str] = ()) -> None:
        super().__init__(_harmless("\n  ".join((message, *problems))))


def read_run(path: Path) -> Run:
    """Return the run in a JSON report; ``-`` is standard input. Raises Unreadable."""
    content, shown = _read_bytes(path, advice=_HOW_TO_WRITE), _shown(path)
    if _is_baseline(content.decode("utf-8", "replace")):
        raise Unreadable(f"{shown} is a baseline, not the report of a run; {_HOW_TO_WRITE}")
    return _decode_run(content, shown)


def read_any(path: Path, *, resolve: bool = False) -> Run | Baseline:
    """Return what a file holds, a run's report or a baseline; ``-`` is standard input. Raises Unreadable.

    With ``resolve`` a baseline in which a merge left its conflict markers is read as both sides, joined.
    """
    content, shown = _read_bytes(path, advice=f"name a JSON report or a {DEFAULT_NAME}"), _shown(path)
    text = content.decode("utf-8", "replace")  # a report may be in any of JSON's encodings
    try:
        if resolve:
            sides = split_conflict(text)
            if sides[0] != sides[1]:
                return merge_baselines([read_baseline(side, shown) for side in sides])
        if _is_baseline(text):
            return read_baseline(text, shown)
        try:
            return _decode_run(content, shown)
        except Unreadable:
            if '"run_id"' in text:
                raise
            if path.name == DEFAULT_NAME:
                return read_baseline(text, shown)
            what = "is neither the report of a run nor a baseline, or only the beginning of one"
            how = "restore it, or write it anew with: pytest --memalert --memalert-json=PATH (a report)"
            raise Unreadable(f"{shown} {what}; {how} or --memalert-save=PATH (a baseline)") from None
    except MemalertError as problem:
        raise Unreadable(str(problem)) from None


def _is_baseline(text: str) -> bool:
    """Return whether a text is meant as a baseline, damaged as it may be: it begins with what each does."""
    # A report's first key after its format is another one.
    beginning = text[:4_096]
    return '"environments"' in beginning or beginning.lstrip().startswith(("<<<<<<<", "{\n<<<<<<<"))


def _decode_run(content: bytes, shown: str) -> Run:
    try:
        return decode_run(json.loads(content))
    except RecursionError:
        raise Unreadable(f"{shown} is nested too deeply to be a report") from None
    except MemalertError as problem:
        raise Unreadable(f"{shown}: {problem}") from None
    except ValueError as problem:  # neither text nor JSON
        raise Unreadable(f"{shown} is not JSON: {problem}; {_HOW_TO_WRITE}") from None


def _read_bytes(path: Path, *, advice: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as problem:
        reason = problem.strerror or problem
        raise Unreadable(f"{_shown(path)} can't be read: {reason}; {advice}") from None


def _shown(path: Path) -> str:
    return "standard input" if str(path) == "-" else f"'{path}'"


class PathOfUser(click.Path):
    """A path as the user writes it; ``~`` is the home where no shell has said so (``--output=~/a``)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, checked."""
        return Path(os.fsdecode(super().convert(expand_path(os.fsdecode(value)), param, ctx)))


#: The option that says where a command writes.
output_option = click.option(
    "-o",
    "--output",
    type=PathOfUser(allow_dash=True),
    metavar="PATH",
    help='Write to this file, whole or not at all; without it, or with "-", to standard output.',
)


def write_output(text: str, output: Path | None) -> None:
    """Write ``text`` where the user wants it, as UTF-8. Raises Unreadable."""
    if output is None or str(output) == "-":
        # As bytes: what a file holds doesn't depend on the language of the terminal.
        click.echo(text.encode("utf-8", errors="backslashreplace"), nl=False)
        return
    if problem := explain_unwritable(output):
        raise Unreadable(problem)
    former = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    if _is_baseline(former) and not _is_baseline(text):
        raise Unreadable(f"'{output}' is a baseline, which no report replaces; name another file")
    try:
        replace_text(output, text)
    except OSError as error:
        raise Unreadable(f"'{output}' can't be written: {error.strerror or error}") from None


def echo_note(text: str) -> None:
    """Print what is no result on standard error, where it disturbs no pipe."""
    click.echo(_harmless(text), err=True)


def _harmless(text: str) -> str:
    """Return a message, in which there may be names out of a file, so that it can't steer a terminal."""
    return disarm("\n".join(map(escape_controls, text.split("\n"))))


def echo_line(line: terminal.Line) -> None:
    """Print one line of a report, in its color where the terminal has colors."""
    color = next((name for name in _COLORS if line.markup.get(name)), None)
    click.secho(disarm(line.text), fg=color, bold=line.markup.get("bold") or None)


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
    click.echo(disarm("\n".join(lines)))
