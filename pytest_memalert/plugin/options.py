"""The settings, made of what pytest was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from pytest_memalert.errors import ConfigurationError
from pytest_memalert.files import explain_unwritable
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import Probe
from pytest_memalert.plugin.pytest_internals import written_ini_keys
from pytest_memalert.settings import OPTIONS, Settings, load_settings, read_pyproject

__all__ = ["Given", "read_given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Hold what a session was given: its settings, the probes added, and all metrics by name."""

    settings: Settings
    probes: tuple[Probe, ...]
    metrics: Mapping[str, Metric]


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
    if settings is not None and settings.json is not None and not hasattr(config, "workerinput"):
        target = config.invocation_params.dir / settings.json
        if problem := explain_unwritable(target):
            problems.append(f"{settings.origins['json']}: {problem}")
    if problems or settings is None:
        raise ConfigurationError(problems)
    return Given(settings=settings, probes=probes, metrics=metrics)


def _written_ini(config: pytest.Config) -> dict[str, str]:
    """Return what the ini file and ``-o`` say under our keys, those that don't exist included."""
    known = {option.ini: str(value) for option in OPTIONS if (value := config.getini(option.ini))}
    overridden = (text.partition("=")[0] for text in config.getoption("override_ini") or ())
    unknown = [key for key in (*written_ini_keys(config), *overridden) if key.startswith("memalert_")]
    return {**dict.fromkeys(unknown, ""), **known}
