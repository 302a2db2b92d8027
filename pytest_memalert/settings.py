"""The settings: every option once; defaults < pyproject < ini < command line < marker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
from pytest_memalert.units import parse_duration, parse_ratio

if TYPE_CHECKING:
    from pytest_memalert.allowances import Allowances

# The limits are the last layer of the settings: who needs the one needs the other.
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

OptionKind = Literal["flag", "choice", "path", "duration", "budget", "baseline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Describe one option: its name in TOML, from which its flag and ini key follow, and its values.

    ``default`` is written as a user would write it. ``help`` is plain text: argparse, which
    formats it, needs its percent signs doubled.
    """

    name: str
    kind: OptionKind
    default: str | bool | None
    help: str
    choices: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def flag(self) -> str:
        """Return the option's name on the command line."""
        return f"--memalert-{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        """Return the option's key in an ini file."""
        return f"memalert_{self.name}"


#: Every option but the main switch, in the order of the help and the documentation.
OPTIONS: tuple[Option, ...] = (
    Option(
        name="leaks",
        kind="choice",
        choices=("off", "suspects", "all"),
        default="suspects",
        help="which tests to run again in search of leaks: none (off), only those whose first run "
        "stands out (suspects, the default), or every test (all; slower, and finds the smallest leaks)",
    ),
    Option(
        name="budget",
        kind="budget",
        default=None,
        metavar="LIMIT",
        help="most time that re-runs may add: a duration ('30s', '5 min') or a share of the time that "
        "the tests themselves take ('10%'); without one, 'all' checks every test, and suspects that turn "
        "out to be clean may take 5% of that time",
    ),
    Option(
        name="trace",
        kind="flag",
        default=False,
        help="trace Python's own allocations, for the exact peak of each test "
        "(tracemalloc; the suite takes 2 to 4 times as long)",
    ),
    Option(
        name="fail_on",
        kind="choice",
        choices=("critical", "warning", "never"),
        default="critical",
        help="which alerts fail their test: critical ones (the default), warnings too, or none (never); "
        "the others are shown as warnings",
    ),
    Option(
        name="save",
        kind="baseline",
        default=None,
        metavar="PATH",
        help="write what each test needs today to this baseline file ('memalert.lock.json' beside the "
        "configuration file by default), to be committed; of a part of the suite, that part is updated",
    ),
    Option(
        name="gate",
        kind="baseline",
        default=None,
        metavar="PATH",
        help="fail tests that need more than the baseline file allows ('memalert.lock.json' beside the "
        "configuration file by default); a test that seems to is run again before it fails",
    ),
    Option(
        name="strict",
        kind="flag",
        default=False,
        help="with --memalert-gate: tests that the baseline lacks fail, too",
    ),
    Option(
        name="json",
        kind="path",
        default=None,
        metavar="PATH",
        help="write the report of the run as JSON to this file",
    ),
    Option(
        name="sample_interval",
        kind="duration",
        default="10ms",
        metavar="DURATION",
        help="time between two readings of resident memory ('10ms' by default), on systems whose kernel "
        "keeps no high-water mark that can be reset per test: shorter spikes are missed; unused on Linux",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hold the most time that re-runs may add: ``seconds``, or a ``share`` of the tests' own time."""

    seconds: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold the value of every option, and the rules in force, disabled ones included.

    ``fail_on`` is None where no alert fails a test, ``allowances`` where the gate's own hold. ``origins``
    says, for each option by name, where its value was written; a rule has its own ``origin``.
    """

    leaks: LeakChecks
    budget: Budget | None
    trace: bool
    fail_on: AlertSeverity | None
    json: Path | None
    sample_interval_s: float
    rules: tuple[AlertRule, ...]
    origins: Mapping[str, str]
    save: Path | None = None
    gate: Path | None = None
    strict: bool = False
    allowances: Allowances | None = None


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
    allowances: Allowances | None = None
    wrong_allowances: list[str] = []
    if isinstance(table.get("gate"), Mapping):  # else it is the option of this name
        from pytest_memalert.allowances import read_allowances

        allowances, wrong_allowances = read_allowances(
            table.pop("gate"), place=f"{pyproject_name}: tool.memalert.gate"
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
    problems += [*wrong_rules, *wrong_allowances]
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
        save=values["save"],
        gate=values["gate"],
        strict=values["strict"],
        allowances=allowances,
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
            takes_words = option.kind in ("flag", "baseline")
            value = _FLAG_WORDS.get(text.lower(), text) if takes_words else text
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


def _read_baseline_path(value: object, option: Option) -> Path | None:
    """Return the path of a baseline; True means the one by default."""
    from pytest_memalert.baseline import DEFAULT_NAME

    if value is None or value is False:
        return None
    if value is True:
        return Path(DEFAULT_NAME)
    path = Path(read_text(value))
    if path.suffix != ".json":
        # "pytest --memalert-save tests" means the tests, and argparse takes them for the PATH.
        raise ValueError(
            f"{str(value)!r} is not the name of a .json file; to run {str(value)!r}, put it before "
            f"{option.flag}, or write {option.flag}={DEFAULT_NAME}"
        )
    return path


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
    "baseline": _read_baseline_path,
    "budget": _read_budget,
}
