"""The options as pytest knows them; declared in every run, so this must stay light."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pytest

from pytest_memalert.options import OPTIONS

__all__ = [
    "BEGAN_AT",
    "add_options",
    "is_on",
    "may_hold_baseline",
    "read_ini",
    "refuse_idle_options",
    "written_ini",
]

#: When the session began: before it loaded anything of the user's.
BEGAN_AT = pytest.StashKey[datetime]()


def add_options(parser: pytest.Parser) -> None:
    """Declare the main switch and every option of ``options.OPTIONS``."""
    group = parser.getgroup("memalert", "memory regression testing (pytest-memalert)")
    group.addoption(
        "--memalert",
        action="store_true",
        default=None,
        help="measure the memory of every test, and alert on leaks, growth and limits",
    )
    parser.addini("memalert", "measure the memory of every test, as --memalert does", type="bool")
    for option in OPTIONS:
        help_text = option.help.replace("%", "%%")
        if option.kind == "flag":
            group.addoption(
                option.flag, dest=f"memalert_{option.name}", action="store_true", default=None, help=help_text
            )
        elif option.kind == "baseline":
            group.addoption(
                option.flag,
                dest=f"memalert_{option.name}",
                default=None,
                nargs="?",
                const=True,
                metavar=option.metavar,
                help=help_text,
            )
        elif option.kind == "urls":
            group.addoption(
                option.flag,
                dest=f"memalert_{option.name}",
                action="append",
                default=None,
                metavar=option.metavar,
                help=help_text,
            )
        else:
            # The values are read in settings.py, together with those of the files.
            group.addoption(
                option.flag,
                dest=f"memalert_{option.name}",
                default=None,
                metavar=option.metavar or "{" + ",".join(option.choices) + "}",
                help=help_text,
            )
        parser.addini(option.ini, option.help, default="")


def written_ini(config: pytest.Config) -> Mapping[str, object]:
    """Return what pytest keeps of the ini file, by key, those that nobody declared included."""
    # Config.inicfg is the public name, deprecated since pytest 9.2: reading it warns.
    written: Mapping[str, object] | None = vars(config).get("_inicfg")
    return config.inicfg if written is None else written


def read_ini(config: pytest.Config, key: str) -> object:
    """Return what is configured under a key of ours: a text, or what else TOML knows; "" where nothing is.

    In [tool.pytest] of pytest 9 a value has a type of its own. Some of our options take a flag or a path, or
    one text or several; getini() takes one type for each, and refuses or warns of others.
    """
    value = getattr(written_ini(config).get(key), "value", None)  # that has one since pytest 9
    return config.getini(key) if value is None or isinstance(value, str) else value


def is_on(config: pytest.Config) -> bool:
    """Return whether this session measures."""
    return bool(config.getoption("memalert") or config.getini("memalert"))


def refuse_idle_options(config: pytest.Config) -> None:
    """Refuse options on the command line that do nothing without the main switch; raises UsageError.

    A gate in CI that lost one word would be green for ever. Those in ``addopts`` may wait for it.
    """
    given = (str(argument).partition("=")[0] for argument in config.invocation_params.args)
    idle = [flag for flag in dict.fromkeys(given) if flag.startswith("--memalert-")]
    if idle:
        flags = ", ".join(idle)
        raise pytest.UsageError(
            f"memalert: {flags}: nothing is measured without --memalert; add it, or leave this out"
        )


def may_hold_baseline(early_config: pytest.Config) -> bool:
    """Return whether the command line or the ini file says so; pyproject.toml's table is read later."""
    given = early_config.known_args_namespace
    if not (given.memalert or early_config.getini("memalert")):
        return False
    return any(
        getattr(given, f"memalert_{name}") or read_ini(early_config, f"memalert_{name}")
        for name in ("save", "gate")
    )
