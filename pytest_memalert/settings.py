"""The settings: each option's value; defaults < pyproject < ini < command line < marker."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_memalert.errors import ConfigurationError, WrongValueError, show_toml
from pytest_memalert.files import expand_path, is_source
from pytest_memalert.limits.tables import read_rules
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import AlertRule, AlertSeverity, LeakChecks
from pytest_memalert.options import OPTIONS, Option, OptionKind
from pytest_memalert.records import record
from pytest_memalert.units import parse_duration, parse_quantity, parse_ratio, parse_size
from pytest_memalert.user_values import collecting, read_choice, read_flag, read_text, refuse_unknown

if TYPE_CHECKING:
    from pytest_memalert.gate.allowances import Allowances
    from pytest_memalert.routes import Notify

__all__ = [
    "SHARE_OF_TURNS",
    "Budget",
    "LeakChecks",
    "Settings",
    "is_off",
    "parse_toml",
    "read_pyproject",
    "read_settings",
    "read_toml",
]

#: The share of a budget for those whose turn it is; with what remains, suspects out of turn are checked.
SHARE_OF_TURNS = 0.75

_LEAST_SHARE_S = 5.0


@record(frozen=True, slots=True, kw_only=True)
class Budget:
    """Hold the most time that re-runs may add: ``seconds``, or a ``share`` of the tests' own time."""

    seconds: float | None = None
    share: float | None = None

    def limit_s(self, tests_s: float) -> float:
        """Return the time, in seconds, where the tests themselves took ``tests_s``.

        A share is of 5 s at least: that of a quick suite would end before one leak is told from a cache.
        """
        if self.share is None:
            return self.seconds or 0.0
        return max(_LEAST_SHARE_S, self.share * tests_s) if self.share else 0.0


@record(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold the value of every option, and the rules in force, disabled ones included.

    ``fail_on`` is None where no alert fails a test, ``allowances`` where the gate's own hold,
    ``notify`` where nobody is told of alerts. ``origins`` says, for each option by name, where its
    value was written; a rule has its own ``origin``.
    """

    leaks: LeakChecks
    budget: Budget | None
    trace: bool
    fail_on: AlertSeverity | None
    json: Path | None
    history: Path | None
    history_max_age_s: float
    history_max_runs: int
    history_max_bytes: int
    notify: Notify | None
    sample_interval_s: float
    rules: tuple[AlertRule, ...]
    origins: Mapping[str, str]
    save: Path | None = None
    gate: Path | None = None
    strict: bool = False
    allowances: Allowances | None = None
    html: Path | None = None
    markdown: Path | None = None
    gitlab: Path | None = None


def read_settings(
    *,
    pyproject: Mapping[str, object] | None,
    pyproject_name: str,
    ini: Mapping[str, object],
    ini_name: str,
    command_line: Mapping[str, object],
    metrics: Mapping[str, Metric] = METRICS,
    skip_rules: Collection[int] = (),
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, list[str]]:
    """Return the settings, and every problem there is: what is wrong is as if it weren't written.

    A later layer wins over an earlier one, option by option.

    ``pyproject`` is the parsed ``[tool.memalert]`` table; ``ini`` has ini keys; ``command_line`` has
    options by name, None where one was not given; a blank ini value counts as not given either.
    ``metrics`` has those that plugins add, too; the rules numbered in ``skip_rules`` are left out. With
    ``environ``, the environment, the addresses of notifications are looked at, which may name variables.
    """
    table = dict(pyproject or {})
    rules, wrong_rules = read_rules(
        table.pop("rules", ()),
        place=f"{pyproject_name}: tool.memalert.rules",
        metrics=metrics,
        skip=skip_rules,
    )
    allowances: Allowances | None = None
    wrong_allowances: list[str] = []
    if isinstance(table.get("gate"), Mapping):  # else it is the option of this name
        from pytest_memalert.gate.allowances import read_allowances

        allowances, wrong_allowances = read_allowances(
            table.pop("gate"), place=f"{pyproject_name}: tool.memalert.gate"
        )
    notify: Notify | None = None
    wrong_notify: list[str] = []
    if "notify" in table:
        # Imported here: this module is loaded in every pytest run, and most of them notify nobody.
        from pytest_memalert.routes import read_notify

        notify, urls, wrong_notify = read_notify(
            table.pop("notify"), place=f"{pyproject_name}: tool.memalert.notify"
        )
        if urls is not None:
            table["notify"] = urls
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    names = [*(option.name for option in OPTIONS), "rules"]
    problems = [
        *_unknown_keys(table, f"{pyproject_name}: tool.memalert", names),
        *_unknown_keys(ini, ini_name, [option.ini for option in OPTIONS], prefix="memalert_"),
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
    if values["notify"] is not None:
        from pytest_memalert.routes import with_urls

        notify = with_urls(notify, values["notify"], origins["notify"])
    problems += [*wrong_rules, *wrong_allowances, *wrong_notify, *_unusable_addresses(notify, environ)]
    settings = Settings(
        leaks=values["leaks"],
        budget=values["budget"],
        trace=values["trace"],
        fail_on=None if values["fail_on"] == "never" else AlertSeverity(values["fail_on"]),
        json=values["json"],
        history=values["history"],
        history_max_age_s=values["history_max_age"],
        history_max_runs=values["history_max_runs"],
        history_max_bytes=values["history_max_size"],
        notify=notify,
        sample_interval_s=values["sample_interval"],
        rules=rules,
        origins=origins,
        save=values["save"],
        gate=values["gate"],
        strict=values["strict"],
        allowances=allowances,
        html=values["html"],
        markdown=values["markdown"],
        gitlab=values["gitlab"],
    )
    return settings, problems


def read_pyproject(path: Path) -> dict[str, object]:
    """Return the ``[tool.memalert]`` table of a ``pyproject.toml``, empty if it has none.

    Raises ConfigurationError, with the path and where there is one the line, for a file that can't be read.
    """
    text = _read_text(path)
    # To parse a large file takes 3 ms, and pytest has just done so: where we aren't named there is no table.
    found: object = parse_toml(text, str(path)) if "memalert" in text else {}
    place = ""
    for key in ("tool", "memalert"):
        place = f"{place}.{key}".lstrip(".")
        found = found.get(key, {}) if isinstance(found, dict) else {}
        if not isinstance(found, dict):
            raise ConfigurationError(
                [f"{path}: {place}: {show_toml(found)} is not a table; write [tool.memalert]"]
            )
    return dict(found) if isinstance(found, dict) else {}


def read_toml(path: Path) -> dict[str, Any]:
    """Return all of a TOML file; raises ConfigurationError as ``read_pyproject`` does."""
    return parse_toml(_read_text(path), str(path))


def parse_toml(text: str, place: str) -> dict[str, Any]:
    """Return a text of TOML as a dict; raises ConfigurationError, headed by ``place``."""
    # Imported here, since most programs that use the package never read a file.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return dict(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([f"{place}: is not valid TOML: {error}"]) from error
    except ValueError as error:
        # Whole numbers of more than 4,300 digits: Python's text tells how to allow them, which is no advice.
        raise ConfigurationError([f"{place}: has a number of too many digits; write it shorter"]) from error
    except RecursionError as error:
        raise ConfigurationError([f"{place}: is nested too deeply; write fewer brackets"]) from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"{path}: can't be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{path}: is not UTF-8 text (at line {line}); save it as UTF-8"]) from error


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


def _from_ini(ini: Mapping[str, object], place: str) -> _Layer:
    for option in OPTIONS:
        value = ini.get(option.ini, "")
        if isinstance(value, str):
            value = value.strip()
            if option.kind in ("flag", "baseline"):
                value = _FLAG_WORDS.get(value.lower(), value)
        if value != "":
            yield option, value, f"{place}: {option.ini}"


def _from_command_line(command_line: Mapping[str, object]) -> _Layer:
    for option in OPTIONS:
        value = command_line.get(option.name)
        if value is not None:
            yield option, value, option.flag


def _unknown_keys(
    written: Iterable[str], place: str, known: Collection[str], *, prefix: str = ""
) -> list[str]:
    return [
        f"{place}: {refuse_unknown('key', key, known, prefix=prefix)}" for key in written if key not in known
    ]


# --------------------------------------------------------------------- values


def _read_path(value: object, option: Option) -> Path | None:
    path = _read_any_path(value)
    if path is not None and is_source(path):
        # "pytest --memalert-json test_a.py" means the tests, and argparse takes them for the PATH.
        raise ValueError(
            f"{str(value)!r} is the name of a source or configuration file, which is never overwritten; "
            f"name another file, and put what is to be run before {option.flag}"
        )
    return path


def _read_any_path(value: object) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if value == "-":
        raise ValueError("'-' is no file; name one, and print it with: memalert report PATH")
    if isinstance(value, str) and not value.strip():
        raise ValueError("a file is missing; write its path")
    if isinstance(value, str) and "\0" in value:
        raise WrongValueError(value, "has a null character, which no path can have")
    return expand_path(read_text(value))


def _read_baseline_path(value: object, option: Option) -> Path | None:
    """Return the path of a baseline; True means the one by default."""
    if value is None or value is False:
        return None
    from pytest_memalert.gate.baseline import DEFAULT_NAME

    if value is True:
        return Path(DEFAULT_NAME)
    path = _read_any_path(value)
    assert path is not None
    if path.suffix != ".json":
        # "pytest --memalert-save tests" means the tests, and argparse takes them for the PATH.
        raise ValueError(
            f"{str(value)!r} is not the name of a .json file; to run {str(value)!r}, put it before "
            f"{option.flag}, or write {option.flag}={DEFAULT_NAME}"
        )
    return path


def _read_history(value: object, option: Option) -> Path | None:
    return None if is_off(value) else _read_path(value, option)


def is_off(value: object) -> bool:
    """Return whether the value of the option that names the history says that there is to be none."""
    return isinstance(value, str) and value.strip().lower() in ("none", "off")


def _read_age(value: object, option: Option) -> float:
    age_s = _read_duration(value, option)
    if age_s <= 0:
        raise WrongValueError(value, f"keeps nothing; write it as {option.default!r}, or history = 'none'")
    _refuse_bare(value, " days", " hours")
    return age_s


def _read_runs(value: object, option: Option) -> int:
    count = int(parse_quantity(value, "count"))
    if count < 1:
        raise WrongValueError(value, "keeps nothing; write a number of runs such as 500, or history = 'none'")
    return count


def _read_size(value: object, option: Option) -> int:
    return parse_size(value)


def _read_interval(value: object, option: Option) -> float:
    interval_s = _read_duration(value, option)
    if interval_s <= 0:
        raise WrongValueError(value, f"leaves no time between two readings; write it as {option.default!r}")
    _refuse_bare(value, "ms", "s")
    return interval_s


def _read_duration(value: object, option: Option) -> float:
    try:
        return parse_duration(value)
    except ValueError:
        raise WrongValueError(value, f"is not a duration; write it as {option.default!r}") from None


def _refuse_bare(value: object, *units: str) -> None:
    """Refuse a duration that is a bare number: nothing is guessed."""
    number = value.strip() if isinstance(value, str) else str(value)
    if number[-1] in "0123456789.":
        meant = " or ".join(f"'{number}{unit}'" for unit in units)
        raise WrongValueError(value, f"has no unit; write it as {meant}")


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
    raise WrongValueError(value, "is neither a duration nor a share; write it as '30s' or '10%'")


def _read_urls(value: object, option: Option) -> tuple[str, ...] | None:
    if value is None:
        return None
    from pytest_memalert.routes import read_urls

    return read_urls(value)


def _unusable_addresses(notify: Notify | None, environ: Mapping[str, str] | None) -> list[str]:
    problems: list[str] = []
    if notify is None or environ is None:
        return problems
    from pytest_memalert.targets import read_target

    for route in notify.routes:
        with collecting(problems, route.origin):
            read_target(route.channel, environ)
    return problems


_READERS: dict[OptionKind, Callable[[object, Option], object]] = {
    "flag": lambda value, option: read_flag(value),
    "choice": lambda value, option: read_choice(value, option.choices),
    "path": _read_path,
    "duration": _read_interval,
    "baseline": _read_baseline_path,
    "budget": _read_budget,
    "history": _read_history,
    "age": _read_age,
    "runs": _read_runs,
    "size": _read_size,
    "urls": _read_urls,
}
