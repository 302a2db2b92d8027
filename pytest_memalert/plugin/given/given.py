"""What pytest was given for a session: the settings, the probes, the baseline, the channels."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, get_args

import pytest

from pytest_memalert.codec import TAKEN_KEYS
from pytest_memalert.errors import ConfigurationError, describe_exception, show_code
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import Probe
from pytest_memalert.options import OPTIONS
from pytest_memalert.plugin.command_line import read_ini, written_ini
from pytest_memalert.plugin.given.destinations import report_problems
from pytest_memalert.records import record
from pytest_memalert.settings import Settings, read_pyproject, read_settings
from pytest_memalert.units import Unit
from pytest_memalert.user_values import collecting, read_choice

if TYPE_CHECKING:
    from pytest_memalert.acknowledgments import Acknowledgment
    from pytest_memalert.delivery import Opened
    from pytest_memalert.plugin.given.gate import GateGiven

__all__ = ["Given", "read_given"]


@record(frozen=True, slots=True, kw_only=True)
class Given:
    """Hold what a session was given: settings, probes added, all metrics by name, acknowledgments.

    ``opened`` are the channels that the controller tells, ``terminal`` what one of them writes for
    the summary.
    """

    settings: Settings
    probes: tuple[Probe, ...]
    metrics: Mapping[str, Metric]
    gate: GateGiven | None = None
    acknowledgments: tuple[Acknowledgment, ...] = ()
    opened: tuple[Opened, ...] = ()
    terminal: io.StringIO = field(default_factory=io.StringIO)


def read_given(config: pytest.Config) -> Given:
    """Return what the session was given; raise ConfigurationError with every problem in it."""
    problems: list[str] = []
    probes = _ask_for_probes(config, problems)
    metrics = dict(METRICS)
    for probe in probes:
        name: object = probe.name
        if not isinstance(name, str) or not name:
            problems.append(f"pytest_memalert_probes: {name!r} is no name; write a text in quotes")
            continue
        problems += _problems_of(probe, metrics)
        metrics[probe.name] = Metric(
            name=probe.name,
            label=probe.description or probe.name,
            # A wrong one is told of; what is held against it is read all the same.
            unit=probe.unit if probe.unit in get_args(Unit) else "count",
            formula="a probe's reading after the test" + (" - before" if probe.kind == "growth" else ""),
            blind_spots="those of the probe",
            cost="that of the probe",
            # A level is the state of the process: a further run adds to it.
            repeatable=probe.kind == "growth",
            session="sum" if probe.kind == "growth" else "last",
        )
    path = config.rootpath / "pyproject.toml"
    table: dict[str, object] = {}
    try:
        if path.is_file():
            table = read_pyproject(path)
    except ConfigurationError as wrong:
        problems.extend(wrong.problems)
    is_worker = hasattr(config, "workerinput")
    settings, wrong_settings = read_settings(
        pyproject=table,
        pyproject_name="pyproject.toml",
        ini=_written_ini(config),
        ini_name=config.inipath.name if config.inipath else "the command line's -o",
        command_line={option.name: config.getoption(f"memalert_{option.name}") for option in OPTIONS},
        metrics=metrics,
        # Variables are for the process that sends; a worker may run elsewhere, and have others.
        environ=None if is_worker else os.environ,
    )
    # What is right of them is looked into all the same, so that everything is told at once.
    problems.extend(wrong_settings)
    gate = None
    if config.getoption("memalert_strict") and settings.gate is None:
        problems.append("--memalert-strict: nothing is held against a baseline; add --memalert-gate")
    if (settings.save or settings.gate) is not None:
        from pytest_memalert.plugin.given.gate import read_gate_given

        try:
            gate = read_gate_given(config, settings)
        except ConfigurationError as wrong:
            problems.extend(wrong.problems)
    opened: tuple[Opened, ...] = ()
    terminal = io.StringIO()
    if not is_worker:
        if settings.notify is not None and settings.notify.routes:
            # Now, not at the end: whoever waits for a run shall not learn then that nothing can be sent.
            from pytest_memalert.delivery import open_routes

            base = config.invocation_params.dir
            opened, unusable = open_routes(settings.notify, os.environ, base=base, terminal=terminal)
            problems.extend(problem for problem in unusable if problem not in problems)
        problems += report_problems(config, settings, opened)
    acknowledgments: tuple[Acknowledgment, ...] = ()
    try:
        acknowledgments = _read_acknowledgments(config, metrics)
    except ConfigurationError as wrong:
        problems.extend(wrong.problems)
    if problems:
        raise ConfigurationError(problems)
    return Given(
        settings=settings,
        probes=probes,
        metrics=metrics,
        gate=gate,
        acknowledgments=acknowledgments,
        opened=opened,
        terminal=terminal,
    )


def _ask_for_probes(config: pytest.Config, problems: list[str]) -> tuple[Probe, ...]:
    """Return the probes that plugins add; ``problems`` takes what else they return or raise."""
    hook = config.hook.pytest_memalert_probes
    plugins = " or ".join(str(each.plugin_name) for each in hook.get_hookimpls())
    place, advice = f"pytest_memalert_probes of {plugins}", "return a list of pytest_memalert.Probe"
    try:
        found = [probe for probes in hook(config=config) for probe in probes]
    except Exception as trouble:  # what returns a number, say, can't be gone through
        problems.append(f"{place}: {describe_exception(trouble)}; {advice}")
        return ()
    problems += [
        f"{place}: {show_code(each)} is no probe; {advice}" for each in found if not isinstance(each, Probe)
    ]
    return tuple(each for each in found if isinstance(each, Probe))


def _problems_of(probe: Probe, metrics: Mapping[str, Metric]) -> list[str]:
    """Return what is wrong with a probe."""
    problems = []
    if probe.name in metrics:
        problems.append(f"a metric named {probe.name!r} exists already; choose another name")
    if probe.name in TAKEN_KEYS:
        other = f"probed_{probe.name}"
        problems.append(f"{probe.name!r} is a key of the report; choose another name, such as {other!r}")
    if not callable(probe.read):
        problems.append(f"read of {probe.name!r}: {show_code(probe.read)} is no function; write one")
    with collecting(problems, f"unit of {probe.name!r}", show=show_code):
        read_choice(probe.unit, get_args(Unit))
    with collecting(problems, f"kind of {probe.name!r}", show=show_code):
        read_choice(probe.kind, ("growth", "level"))
    return [f"pytest_memalert_probes: {problem}" for problem in problems]


def _read_acknowledgments(config: pytest.Config, metrics: Mapping[str, Metric]) -> tuple[Acknowledgment, ...]:
    """Return the entries of the file beside the configuration; most sessions have none."""
    path = config.rootpath / "memalert.acks.toml"
    if not path.is_file():
        return ()
    from pytest_memalert.acknowledgments import read_acknowledgments

    return read_acknowledgments(path, metrics)


def _written_ini(config: pytest.Config) -> dict[str, object]:
    """Return what the ini file and ``-o`` say under our keys, those that don't exist included."""
    known = {option.ini: value for option in OPTIONS if (value := read_ini(config, option.ini)) != ""}
    overridden = (text.partition("=")[0] for text in config.getoption("override_ini") or ())
    unknown = [key for key in (*written_ini(config), *overridden) if key.startswith("memalert_")]
    return {**dict.fromkeys(unknown, ""), **known}
