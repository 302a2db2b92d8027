"""The files that a session writes, or reads: where they are, and why what was asked for can't be."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.files import explain_unfit, explain_unwritable, is_other_text
from pytest_memalert.settings import Settings

if TYPE_CHECKING:
    from pytest_memalert.delivery import Opened

__all__ = ["history_path", "report_paths", "report_problems"]

# What each report is called in a message about a directory that was named instead.
_EXAMPLES = {
    "json": "memalert.json",
    "html": "index.html",
    "markdown": "memalert.md",
    "gitlab": "gl-code-quality-report.json",
}


def report_problems(config: pytest.Config, settings: Settings, opened: Sequence[Opened]) -> list[str]:
    """Return why what was asked for can't be written, each with where that was.

    That is reports, a history, or ``opened`` channels that write to a file which is already another's.
    """
    problems: list[str] = []
    taken = _taken(config, settings, problems)
    for name, path in report_paths(settings).items():
        target = config.invocation_params.dir / path
        if problem := explain_unwritable(target, example=_EXAMPLES[name]):
            problems.append(f"{settings.origins[name]}: {problem}")
        _take(target, str(path), settings.origins[name], taken, problems)
    if opened:
        # Imported here, as a baseline's modules below: most sessions need nothing of it, and start sooner.
        from pytest_memalert.channels.jsonl import JsonLinesChannel

        for each in opened:
            if isinstance(each.channel, JsonLinesChannel):
                # Several of them may share a file: each only appends to it.
                _take(each.channel.path, each.shown, each.route.origin, dict(taken), problems)
                if problem := explain_unfit(each.channel.path, example="alerts.jsonl"):
                    problems.append(f"{each.route.origin}: {problem}")
    history = history_path(config, settings)
    if history is not None and (problem := _history_problem(history, settings)):
        problems.append(f"{settings.origins['history']}: {problem}")
    if settings.html is not None:
        from pytest_memalert.reports import html

        if problem := html.explain_missing():
            problems.append(f"{settings.origins['html']}: {problem}")
    return problems


def history_path(config: pytest.Config, settings: Settings) -> Path | None:
    """Return the file of the history; None where it is off.

    What the command line says is relative to where pytest was started, all else to the configuration:
    the history is the same one wherever pytest is started.
    """
    if settings.history is None:
        return None
    by_hand = settings.origins["history"].startswith("--")
    return (config.invocation_params.dir if by_hand else config.rootpath) / settings.history


def _history_problem(path: Path, settings: Settings) -> str | None:
    """Return why a file can't be the history; that nothing can be written there is but a warning, later."""
    if problem := explain_unfit(path, example="history.sqlite3", replaces=False):
        return problem
    # What is in the place by default was made by us, and is set aside.
    if settings.origins["history"] != "default" and is_other_text(path):
        why = "is a text, and no history: it is never overwritten"
        return f"'{path}' {why}; name another file, or remove that one"
    return None


def _taken(config: pytest.Config, settings: Settings, problems: list[str]) -> dict[Path, str]:
    """Return the files besides reports, each with whose it is; ``problems`` takes those of two."""
    taken: dict[Path, str] = {}
    if xmlpath := config.getoption("xmlpath", None):
        _take(config.invocation_params.dir / xmlpath, xmlpath, "--junitxml", taken, problems)
    saved = settings.save or settings.gate
    if saved or report_paths(settings):
        from pytest_memalert.plugin.given.gate import locate_baseline

        option = "gate" if settings.save is None else "save"
        origin = settings.origins[option] if saved else "the baseline"
        _take(locate_baseline(config, settings), str(saved), origin, taken, problems)
    if (history := history_path(config, settings)) is not None:
        origin = settings.origins["history"]
        origin = "the history" if origin == "default" else origin
        _take(history, str(settings.history), origin, taken, problems)
    return taken


def _take(path: Path, shown: str, origin: str, taken: dict[Path, str], problems: list[str]) -> None:
    """Add a file to those that are taken, or to ``problems`` that it is taken already."""
    first = taken.setdefault(Path(os.path.realpath(path)), origin)
    if first != origin and (path.is_file() or not path.exists()):  # not /dev/null
        problems.append(f"{origin}: {shown!r} is the file of {first}; name another one")


def report_paths(settings: Settings) -> dict[str, Path]:
    """Return the file of each report that was asked for, by the name of its option."""
    page = None if settings.html is None else settings.html / _EXAMPLES["html"]
    asked = {
        "json": settings.json,
        "html": page,
        "markdown": settings.markdown,
        "gitlab": settings.gitlab,
    }
    return {name: path for name, path in asked.items() if path is not None}
