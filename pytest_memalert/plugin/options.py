"""The options as pytest knows them, and the settings made of what it was given."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.files import explain_unwritable
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import Probe
from pytest_memalert.plugin.pytest_internals import written_ini_keys
from pytest_memalert.settings import OPTIONS, Settings, load_settings, read_pyproject

if TYPE_CHECKING:
    from pytest_memalert.acknowledgments import Acknowledgment
    from pytest_memalert.delivery import Opened

__all__ = ["Given", "add_options", "is_on", "read_given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Hold what a session was given: settings, probes added, all metrics by name, acknowledgments.

    ``opened`` are the channels that the controller tells, ``terminal`` what one of them writes for
    the summary.
    """

    settings: Settings
    probes: tuple[Probe, ...]
    metrics: Mapping[str, Metric]
    acknowledgments: tuple[Acknowledgment, ...] = ()
    opened: tuple[Opened, ...] = ()
    terminal: io.StringIO = field(default_factory=io.StringIO)


def add_options(parser: pytest.Parser) -> None:
    """Declare the main switch and every option of ``settings.OPTIONS``."""
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


def is_on(config: pytest.Config) -> bool:
    """Return whether this session measures."""
    return bool(config.getoption("memalert") or config.getini("memalert"))


def read_given(config: pytest.Config, probe_lists: Sequence[Sequence[Probe] | None]) -> Given:
    """Return what the session was given; raise ConfigurationError with every problem in it."""
    problems: list[str] = []
    probes = tuple(probe for probes in probe_lists for probe in probes or ())
    metrics = dict(METRICS)
    for probe in probes:
        if probe.name in metrics:
            problems.append(
                f"pytest_memalert_probes: a metric named {probe.name!r} exists already; choose another name"
            )
        metrics[probe.name] = Metric(
            name=probe.name,
            label=probe.description or probe.name,
            unit=probe.unit,
            formula="a probe's reading after the test" + (" - before" if probe.kind == "growth" else ""),
            blind_spots="those of the probe",
            cost="that of the probe",
            session="sum" if probe.kind == "growth" else "last",
        )
    path = config.rootpath / "pyproject.toml"
    table: dict[str, object] = {}
    try:
        if path.is_file():
            table = read_pyproject(path)
    except ConfigurationError as wrong:
        problems.extend(wrong.problems)
    settings = None
    try:
        settings = load_settings(
            pyproject=table,
            pyproject_name="pyproject.toml",
            ini=_written_ini(config),
            ini_name=config.inipath.name if config.inipath else "the command line's -o",
            command_line={option.name: config.getoption(f"memalert_{option.name}") for option in OPTIONS},
            metrics=metrics,
            # Variables are for the process that sends; a worker may run elsewhere, and have others.
            environ=None if hasattr(config, "workerinput") else os.environ,
        )
    except ConfigurationError as wrong:
        problems.extend(wrong.problems)
    if settings is not None and settings.json is not None and not hasattr(config, "workerinput"):
        target = config.invocation_params.dir / settings.json
        if problem := explain_unwritable(target):
            problems.append(f"{settings.origins['json']}: {problem}")
    opened: tuple[Opened, ...] = ()
    terminal = io.StringIO()
    if settings is not None and settings.notify.routes and not hasattr(config, "workerinput"):
        # Now, not at the end: whoever waits for a run shall not learn then that nothing can be sent.
        from pytest_memalert.delivery import open_routes

        base = config.invocation_params.dir
        opened, unusable = open_routes(settings.notify, os.environ, base=base, terminal=terminal)
        problems.extend(unusable)
    acknowledgments: tuple[Acknowledgment, ...] = ()
    try:
        acknowledgments = _read_acknowledgments(config, metrics)
    except ConfigurationError as wrong:
        problems.extend(wrong.problems)
    if problems or settings is None:
        raise ConfigurationError(problems)
    return Given(
        settings=settings,
        probes=probes,
        metrics=metrics,
        acknowledgments=acknowledgments,
        opened=opened,
        terminal=terminal,
    )


def _read_acknowledgments(config: pytest.Config, metrics: Mapping[str, Metric]) -> tuple[Acknowledgment, ...]:
    """Return the entries of the file beside the configuration; most sessions have none."""
    path = config.rootpath / "memalert.acks.toml"
    if not path.is_file():
        return ()
    from pytest_memalert.acknowledgments import read_acknowledgments

    return read_acknowledgments(path, metrics)


def _written_ini(config: pytest.Config) -> dict[str, str]:
    """Return what the ini file and ``-o`` say under our keys, those that don't exist included."""
    known = {option.ini: str(value) for option in OPTIONS if (value := config.getini(option.ini))}
    overridden = (text.partition("=")[0] for text in config.getoption("override_ini") or ())
    unknown = [key for key in (*written_ini_keys(config), *overridden) if key.startswith("memalert_")]
    return {**dict.fromkeys(unknown, ""), **known}
