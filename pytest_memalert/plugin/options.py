"""The options as pytest knows them, and the settings made of what it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import Probe
from pytest_memalert.plugin.pytest_internals import written_ini_keys
from pytest_memalert.plugin.reporting import report_problems
from pytest_memalert.settings import OPTIONS, Settings, load_settings, read_pyproject

if TYPE_CHECKING:
    from pytest_memalert.plugin.gate_given import GateGiven

__all__ = ["Given", "add_options", "is_on", "read_given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Hold what a session was given: its settings, the probes added, and all metrics by name."""

    settings: Settings
    probes: tuple[Probe, ...]
    metrics: Mapping[str, Metric]
    gate: GateGiven | None = None


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
        )
    except ConfigurationError as wrong:
        problems.extend(wrong.problems)
    if settings is not None and not hasattr(config, "workerinput"):
        problems += report_problems(config, settings)
    gate = None
    if settings is not None and (settings.save or settings.gate) is not None:
        from pytest_memalert.plugin.gate_given import read_gate_given

        try:
            gate = read_gate_given(config, settings)
        except ConfigurationError as wrong:
            problems.extend(wrong.problems)
    if problems or settings is None:
        raise ConfigurationError(problems)
    return Given(settings=settings, probes=probes, metrics=metrics, gate=gate)


def _written_ini(config: pytest.Config) -> dict[str, str]:
    """Return what the ini file and ``-o`` say under our keys, those that don't exist included."""
    known = {option.ini: str(value) for option in OPTIONS if (value := config.getini(option.ini))}
    overridden = (text.partition("=")[0] for text in config.getoption("override_ini") or ())
    unknown = [key for key in (*written_ini_keys(config), *overridden) if key.startswith("memalert_")]
    return {**dict.fromkeys(unknown, ""), **known}
