"""The project that a command is about: its directory, its history, its acknowledgments."""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import click

from pytest_memalert.acknowledgments import FILE_NAME, Acknowledgment, read_acknowledgments
from pytest_memalert.cli.console import PathOfUser, Unreadable
from pytest_memalert.clock import utc_now
from pytest_memalert.errors import ConfigurationError, MemalertError
from pytest_memalert.files import expand_path, locked, replace_text
from pytest_memalert.metrics import METRICS, Metric, unknown_metric
from pytest_memalert.model import AlertLife
from pytest_memalert.settings import is_off, read_pyproject, read_toml
from pytest_memalert.units import parse_duration

__all__ = [
    "acknowledgments_path",
    "choose",
    "edit_entries",
    "find_configuration",
    "history_option",
    "locate_history",
    "metrics_with",
    "read_entries",
    "read_since",
]

_DEFAULT_HISTORY = ".memalert/history.sqlite3"
_INI_KEY = "memalert_history"
#: The files of pytest's own configuration and the table of each; the first that has one is in force.
_CONFIGURATIONS = {
    "pytest.toml": "pytest",
    ".pytest.toml": "pytest",
    "pytest.ini": "pytest",
    ".pytest.ini": "pytest",
    "pyproject.toml": "tool.pytest",
    "tox.ini": "pytest",
    "setup.cfg": "tool:pytest",
}
#: Those that are in force without a table, too: they are for pytest alone.
_FOR_PYTEST = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
#: What makes a directory the project's where none configures pytest.
_SIGNS = (".memalert", FILE_NAME, "memalert.lock.json", "pyproject.toml", ".git")

_F = TypeVar("_F", bound=Callable[..., Any])


def history_option(command: _F) -> _F:
    """Add the option that names the history."""
    return click.option(
        "--history",
        "history_path",
        type=PathOfUser(dir_okay=False),
        metavar="PATH",
        help=f"The file of the history; without it, that of the project here ({_DEFAULT_HISTORY}).",
    )(command)


def _find_project() -> Path:
    """Return the nearest directory upwards that configures pytest, else that has another sign of a project.

    The current one where there is none. Nothing of a project lies outside its repository.
    """
    here = Path().resolve()
    folders = []
    for folder in (here, *here.parents):
        folders.append(folder)
        if (folder / ".git").exists():
            break
    configured = (folder for folder in folders if _configuration_of_pytest(folder))
    marked = (folder for folder in folders if any((folder / sign).exists() for sign in _SIGNS))
    return next(configured, None) or next(marked, here)


def find_configuration(given: Path | None) -> Path | None:
    """Return the pyproject.toml that is given, else the project's; None where it has none."""
    if given is not None:
        return given
    path = _find_project() / "pyproject.toml"
    return _shortened(path) if path.is_file() else None


def _shortened(path: Path) -> Path:
    """Return a path as a user would write it here, where that is shorter."""
    here = Path().resolve()
    return path.relative_to(here) if path.is_relative_to(here) else path


def locate_history(given: Path | None) -> Path:
    """Return the file of the history: the one given, that of the configuration, or that by default."""
    if given is not None:
        return given
    project = _find_project()
    configuration = find_configuration(None)
    try:
        table = read_pyproject(configuration) if configuration else {}
    except ConfigurationError as wrong:
        raise Unreadable("the configuration is wrong:", wrong.problems) from None
    named, where = _history_in_ini(project) or (
        table.get("history", _DEFAULT_HISTORY),
        f"{configuration}: tool.memalert.history",
    )
    if not isinstance(named, str) or is_off(named):
        raise Unreadable(f"the history is off ({where}); name a file with --history PATH")
    path = project / expand_path(named)
    return _shortened(path)


def _history_in_ini(project: Path) -> tuple[object, str] | None:
    """Return what pytest's own configuration says of the history, which wins there too, and where it does."""
    name, options = _configuration_of_pytest(project) or ("", {})
    text = str(options.get(_INI_KEY, "")).strip()
    return (text, f"{project / name}: {_INI_KEY}") if text else None


def _configuration_of_pytest(folder: Path) -> tuple[str, Mapping[str, object]] | None:
    """Return the name of the file that configures pytest in a directory, and what it says."""
    for name, section in _CONFIGURATIONS.items():
        if (folder / name).is_file():
            options = _read_table(folder / name, section)
            if options is not None or name in _FOR_PYTEST:
                return name, options or {}
    return None


def _read_table(path: Path, section: str) -> Mapping[str, object] | None:
    """Return pytest's table in a file; None where it has none."""
    try:
        if path.suffix != ".toml":
            parser = configparser.RawConfigParser(strict=False)
            parser.read_string(path.read_text(encoding="utf-8"))
            return parser[section] if parser.has_section(section) else None
        found = read_toml(path)
        for key in section.split("."):
            found = found[key]
        return {**found, **found.get("ini_options", {})} if found else None  # as pytest has it
    except (OSError, UnicodeDecodeError, configparser.Error, ConfigurationError):
        return {}  # it may well have one; pytest tells what is wrong with it
    except (LookupError, TypeError, AttributeError):
        return None


def acknowledgments_path() -> Path:
    """Return the file of the project's acknowledgments, whether it is there or not."""
    return _shortened(_find_project() / FILE_NAME)


def read_entries(path: Path, metrics: Any = METRICS) -> tuple[Acknowledgment, ...]:
    """Return the entries of the acknowledgments file; raises Unreadable with every problem in it."""
    try:
        return read_acknowledgments(path, metrics)
    except ConfigurationError as wrong:
        raise Unreadable("the acknowledgments are wrong:", wrong.problems) from None


def edit_entries(path: Path, change: Callable[[str], str]) -> None:
    """Replace the text of the acknowledgments file by what ``change`` makes of it; two at once lose nothing.

    Raises Unreadable, the file untouched, where that can't be done.
    """
    try:
        with locked(path):
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            replace_text(path, change(text))
    except ConfigurationError as wrong:
        raise Unreadable("the acknowledgments are wrong:", wrong.problems) from None
    except MemalertError as problem:
        raise Unreadable(str(problem)) from None
    except UnicodeDecodeError:
        raise Unreadable(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as problem:
        raise Unreadable(f"{path}: {problem.strerror or problem}") from None


def metrics_with(path: Path) -> dict[str, Metric]:
    """Return all metrics, those included that a probe adds and that the acknowledgments file names.

    The probes are known to pytest alone; it refuses the name if none adds it.
    """
    metrics = dict(METRICS)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for name in re.findall(r"""(?m)^\s*metric\s*=\s*["']([A-Za-z_][\w.]*)["']""", text):
        if name not in metrics:
            metrics[name] = unknown_metric(name)
    return metrics


def choose(lives: tuple[AlertLife, ...], prefix: str) -> AlertLife:
    """Return the one alert whose fingerprint begins so; raises Unreadable where it is none, or not one."""
    found = [life for life in lives if life.fingerprint.startswith(prefix)]
    exact = [life for life in found if life.fingerprint == prefix]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise Unreadable(f"no alert is remembered as '{prefix}'; list them with: memalert history")
    names = ", ".join(life.fingerprint for life in found[:5])
    more = ", ..." if len(found) > 5 else ""
    raise Unreadable(
        f"'{prefix}' is the beginning of {len(found)} fingerprints: {names}{more}; write more of it"
    )


def read_since(text: str | None) -> datetime | None:
    """Return the time that a text names: a day (its beginning, UTC), a time, or so long ago."""
    if text is None:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), time(), timezone.utc)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except ValueError:
        pass
    try:
        return utc_now() - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        raise Unreadable(f"'{text}' is no time; write a day (2026-01-31) or how long ago (7 days)") from None
