"""The settings: each option's value; defaults < pyproject < ini < command line < marker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.limits import (
    DEFAULT_RULES,
    MARKER_KEYS,
    MarkerLimits,
    collecting,
    parse_marker,
    read_choice,
    read_flag,
    read_rules,
    read_text,
    refuse_unknown,
)
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import AlertRule, AlertSeverity
from pytest_memalert.options import OPTIONS, Option, OptionKind
from pytest_memalert.units import parse_duration, parse_ratio

# The options are what the settings are the values of, the limits their last layer: who needs the
# one needs the others.
__all__ = [
    "DEFAULT_RULES",
    "MARKER_KEYS",
    "OPTIONS",
    "Budget",
    "LeakChecks",
    "MarkerLimits",
    "Option",
    "OptionKind",
    "Settings",
    "load_settings",
    "parse_marker",
    "read_pyproject",
]

#: Which tests are run again: none, those whose first run stands out, every one.
LeakChecks = Literal["off", "suspects", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hold the most time that re-runs may add: ``seconds``, or a ``share`` of the tests' own time."""

    seconds: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold the value of every option, and the rules in force, disabled ones included.

    ``fail_on`` is None where no alert fails a test. ``origins`` says, for each option by
    name, where its value was written; a rule has its own ``origin``.
    """

    leaks: LeakChecks
    budget: Budget | None
    trace: bool
    fail_on: AlertSeverity | None
    json: Path | None
    sample_interval_s: float
    rules: tuple[AlertRule, ...]
    origins: Mapping[str, str]


def load_settings(
    *,
    pyproject: Mapping[str, object] | None,
    pyproject_name: str,
    ini: Mapping[str, str],
    ini_name: str,
    command_line: Mapping[str, object],
    metrics: Mapping[str, Metric] = METRICS,
) -> Settings:
    """Return the settings; a later layer wins over an earlier one, option by option.

    ``pyproject`` is the parsed ``[tool.memalert]`` table; ``ini`` has ini keys; ``command_line`` has
    options by name, None where one was not given; a blank ini value counts as not given either.
    ``metrics`` has those that plugins add, too. Raises ConfigurationError with every problem there is.
    """
    table = dict(pyproject or {})
    rules, wrong_rules = read_rules(
        table.pop("rules", ()), place=f"{pyproject_name}: tool.memalert.rules", metrics=metrics
    )
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    names = [*(option.name for option in OPTIONS), "rules"]
    problems = [
        *_unknown_keys(table, f"{pyproject_name}: tool.memalert", names),
        *_unknown_keys(ini, ini_name, [option.ini for option in OPTIONS]),
    ]
    for layer in (
        _defaults(),
        _from_table(table, f"{pyproject_name}: tool.memalert"),
        _from_ini(ini, ini_name),
        _from_command_line(command_line),
    ):
        for option, value, origin in layer:
            with collecting(problems, origin):
                values[option.name] = _READERS[option.kind](value, option)
                origins[option.name] = origin
    problems += wrong_rules
    if problems:
        raise ConfigurationError(problems)
    return Settings(
        leaks=values["leaks"],
        budget=values["budget"],
        trace=values["trace"],
        fail_on=None if values["fail_on"] == "never" else AlertSeverity(values["fail_on"]),
        json=values["json"],
        sample_interval_s=values["sample_interval"],
        rules=rules,
        origins=origins,
    )


def read_pyproject(path: Path) -> dict[str, object]:
    """Return the ``[tool.memalert]`` table of a ``pyproject.toml``, empty if it has none.

    Raises ConfigurationError, with the path and where there is one the line, for a file that can't be read.
    """
    # Imported here, since most programs that use the package never read a file.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        found: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{path}: is not UTF-8 text (at line {line}); save it as UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{path}: is not valid TOML: {error}"]) from error
    place = ""
    for key in ("tool", "memalert"):
        place = f"{place}.{key}".lstrip(".")
        found = found.get(key, {}) if isinstance(found, dict) else {}
        if not isinstance(found, dict):
            raise ConfigurationError([f"{path}: {place}: {found!r} is not a table; write [tool.memalert]"])
    return dict(found) if isinstance(found, dict) else {}


# --------------------------------------------------------------------- layers

_Layer = Iterator[tuple[Option, object, str]]

# The words that pytest itself takes in an ini file.
_FLAG_WORDS = dict.fromkeys(("true", "yes", "on", "1", "t", "y"), True) | dict.fromkeys(
    ("false", "no", "off", "0", "f", "n"), False
)


def _defaults() -> _Layer:
    for option in OPTIONS:
        yield option, option.default, "default"


def _from_table(table: Mapping[str, object], place: str) -> _Layer:
    for option in OPTIONS:
        if option.name in table:
            yield option, table[option.name], f"{place}.{option.name}"


def _from_ini(ini: Mapping[str, str], place: str) -> _Layer:
    for option in OPTIONS:
        text = ini.get(option.ini, "").strip()
        if text:
            value = _FLAG_WORDS.get(text.lower(), text) if option.kind == "flag" else text
            yield option, value, f"{place}: {option.ini}"


def _from_command_line(command_line: Mapping[str, object]) -> _Layer:
    for option in OPTIONS:
        value = command_line.get(option.name)
        if value is not None:
            yield option, value, option.flag


def _unknown_keys(written: Iterable[str], place: str, known: Collection[str]) -> list[str]:
    return [f"{place}: {refuse_unknown('key', key, known)}" for key in written if key not in known]


# --------------------------------------------------------------------- values


def _read_path(value: object, option: Option) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    return Path(read_text(value))


def _read_interval(value: object, option: Option) -> float:
    interval_s = parse_duration(value)
    if interval_s <= 0:
        raise ValueError(f"{value!r} leaves no time between two readings; write it as {option.default!r}")
    return interval_s


def _read_budget(value: object, option: Option) -> Budget | None:
    if value is None:
        return None
    # A bare number could be either; nothing is guessed.
    if isinstance(value, str) and value.strip()[-1:] not in "0123456789.":
        try:
            if value.rstrip().endswith("%"):
                return Budget(share=parse_ratio(value))
            return Budget(seconds=parse_duration(value))
        except ValueError:
            pass
    raise ValueError(f"{value!r} is neither a duration nor a share; write it as '30s' or '10%'")


_READERS: dict[OptionKind, Callable[[object, Option], object]] = {
    "flag": lambda value, option: read_flag(value),
    "choice": lambda value, option: read_choice(value, option.choices),
    "path": _read_path,
    "duration": _read_interval,
    "budget": _read_budget,
}
