"""The command ``memalert compare``: what changed from one state of a suite to another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from pytest_memalert.changes import CHANGE_METRICS, Change, Changes, Figures, find_changes, run_figures
from pytest_memalert.cli.console import (
    PathOfUser,
    Unreadable,
    echo_note,
    output_option,
    read_any,
    write_output,
)
from pytest_memalert.comparisons import unit_of
from pytest_memalert.escaping import escape_controls
from pytest_memalert.gate.baseline import Baseline
from pytest_memalert.measurement import values_of_worst
from pytest_memalert.model import Run
from pytest_memalert.reports import markdown
from pytest_memalert.reports.words import cut, label_of
from pytest_memalert.units import counted, format_quantity

__all__ = ["compare"]

#: The format of ``memalert compare --format json``.
#:
#: 1  the first
_COMPARE_FORMAT = 1

_NAME_LENGTH = 200
_NAMES_LISTED = 10


@click.command(short_help="Print what changed between reports or baselines.")
@click.argument("old", type=PathOfUser(dir_okay=False, allow_dash=True))
@click.argument("new", type=PathOfUser(dir_okay=False, allow_dash=True))
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(("text", "markdown", "json")),
    default="text",
    show_default=True,
    help="How to print the changes; JSON has all of them.",
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Most changes to print in text and Markdown; 0 prints all.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(CHANGE_METRICS),
    help="Compare this metric alone; can be given several times.",
)
@output_option
def compare(
    old: Path, new: Path, format_name: str, limit: int, metrics: tuple[str, ...], output: Path | None
) -> None:
    """Print what changed from OLD to NEW, the largest changes first.

    Each is a JSON report or a baseline (memalert.lock.json); one of both may be "-", standard input. No
    noise is taken off and nothing is judged: that is what memalert gate does.

    Exit status: 0 compared, 2 wrong usage, or OLD or NEW can't be read.
    """
    if str(old) == str(new) == "-":
        raise click.UsageError("only one of OLD and NEW can be standard input")
    states = _states(read_any(old)), _states(read_any(new))
    found = {
        key: _only(find_changes(before, after), metrics) for key, before, after in _pairs(*states, old, new)
    }
    write_output(_RENDERERS[format_name](found, limit), output)


# --------------------------------------------------------------------- states


def _states(source: Run | Baseline) -> dict[str, Figures]:
    """Return the figures of each environment that a report or a baseline has."""
    if isinstance(source, Baseline):
        return {
            key: {
                nodeid: {
                    metric: figure.median
                    for metric in CHANGE_METRICS
                    if (figure := entry.figure(metric)) is not None
                }
                for nodeid, entry in entries.items()
            }
            for key, entries in source.environments.items()
        }
    return {source.environment.key: run_figures(source.tests, values_of_worst(source.tests))}


def _pairs(
    before: Mapping[str, Figures], after: Mapping[str, Figures], old: Path, new: Path
) -> Iterator[tuple[str, Figures, Figures]]:
    """Yield what compares: the environments that both have, or the only one of each."""
    shared = [key for key in after if key in before]
    if shared:
        for key in shared:
            yield key, before[key], after[key]
    elif len(before) == len(after) == 1:
        (was, figures), (now, others) = *before.items(), *after.items()
        echo_note(f"warning: '{old}' is of {was}, '{new}' of {now}: figures differ for that alone")
        yield f"{was} -> {now}", figures, others
    else:
        raise Unreadable(
            f"'{old}' and '{new}' have no environment in common: "
            f"{', '.join(sorted(before)) or 'none'}; {', '.join(sorted(after)) or 'none'}"
        )


def _only(changes: Changes, metrics: tuple[str, ...]) -> Changes:
    if not metrics:
        return changes
    return Changes(
        changes=tuple(change for change in changes.changes if change.metric in metrics),
        compared=changes.compared,
        added=changes.added,
        removed=changes.removed,
    )


# ------------------------------------------------------------------ renderers


def _text(found: Mapping[str, Changes], limit: int) -> str:
    return "\n".join("".join(f"{line}\n" for line in _lines(key, each, limit)) for key, each in found.items())


def _lines(key: str, changes: Changes, limit: int) -> Iterator[str]:
    yield f"{escape_controls(key)}: {_headline(changes)}"
    shown = changes.changes[: limit or None]
    rows = [
        (_change(each), _figure(each, each.old), _figure(each, each.new), label_of(each.metric))
        for each in shown
    ]
    if rows:
        rows.insert(0, ("change", "old", "new", "metric"))
        sizes = [max(len(row[column]) for row in rows) for column in range(4)]
        names = ["test", *(escape_controls(each.nodeid) for each in shown)]
        yield ""
        for row, name in zip(rows, names, strict=True):
            cells = [cell.rjust(size) for cell, size in zip(row[:3], sizes, strict=False)]
            yield f"{'  '.join(cells)}  {row[3].ljust(sizes[3])}  {name}"
    if more := len(changes.changes) - len(shown):
        yield f"and {more:,} more: -n 0 prints all"
    for word, nodeids in (("added", changes.added), ("removed", changes.removed)):
        if nodeids:
            yield ""
            yield f"{word}:"
            named = nodeids[: _NAMES_LISTED if limit else None]
            yield from (f"  {escape_controls(nodeid)}" for nodeid in named)
            if more := len(nodeids) - len(named):
                yield f"  and {more:,} more: -n 0 prints all"


def _markdown(found: Mapping[str, Changes], limit: int) -> str:
    parts = []
    for key, changes in found.items():
        shown = changes.changes[: limit or None]
        rows = [
            f"| {markdown.code(cut(each.nodeid, _NAME_LENGTH))} | {markdown.prose(label_of(each.metric))} "
            f"| {_figure(each, each.old)} | {_figure(each, each.new)} | {_change(each)} |\n"
            for each in shown
        ]
        columns = ("test", "metric", "old", "new", "change")
        text = f"### {markdown.prose(key)}\n\n{_headline(changes)}\n"
        if rows:
            text += f"\n{markdown.table(columns, right=columns[2:])}{''.join(rows)}"
        if more := len(changes.changes) - len(shown):
            text += f"\nand {more:,} more\n"
        parts.append(text)
    return "\n".join(parts)


def _json(found: Mapping[str, Changes], limit: int) -> str:
    document = {
        "format": _COMPARE_FORMAT,
        "environments": [
            {
                "environment": key,
                "compared": changes.compared,
                "changes": [
                    {
                        "nodeid": change.nodeid,
                        "metric": change.metric,
                        "unit": unit_of(change.metric),
                        "old": change.old,
                        "new": change.new,
                        "difference": change.difference,
                        "ratio": change.ratio,
                    }
                    for change in changes.changes
                ],
                "added": list(changes.added),
                "removed": list(changes.removed),
            }
            for key, changes in found.items()
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


_RENDERERS: dict[str, Callable[[Mapping[str, Changes], int], str]] = {
    "text": _text,
    "markdown": _markdown,
    "json": _json,
}


def _headline(changes: Changes) -> str:
    parts = [
        counted(changes.compared, "test") + " compared",
        counted(len(changes.changes), "change"),
        f"{len(changes.added):,} added",
        f"{len(changes.removed):,} removed",
    ]
    return ", ".join(parts)


def _figure(change: Change, value: float) -> str:
    return format_quantity(value, unit_of(change.metric))


def _change(change: Change) -> str:
    sign = "+" if change.difference > 0 else ""
    share = "" if change.ratio is None else f" ({change.ratio:+,.0%})"
    return f"{sign}{_figure(change, change.difference)}{share}"
