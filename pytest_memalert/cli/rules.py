"""The command ``memalert rules``: which rules are in force, and where each value came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from pytest_memalert.cli.console import PathOfUser, Unreadable, echo_wrapped
from pytest_memalert.cli.project import find_configuration
from pytest_memalert.errors import ConfigurationError, nearest
from pytest_memalert.limits.tables import RULE_KEYS
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertRule
from pytest_memalert.options import OPTIONS, Option
from pytest_memalert.settings import Settings, read_pyproject, read_settings
from pytest_memalert.units import format_limit

__all__ = ["rules"]

#: The format of ``memalert rules --json``.
#:
#: 1  the first
_RULES_FORMAT = 1


@click.command(short_help="Print the rules in force, and their origin.")
@click.option(
    "--config",
    type=PathOfUser(exists=True, dir_okay=False),
    metavar="PATH",
    help="A pyproject.toml; without it, that of the project here, if it has one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def rules(config: Path | None, as_json: bool) -> None:
    """Print the rules in force, and where each value came from.

    Reads [tool.memalert] of pyproject.toml. What pytest adds when it runs is not known here: ini keys, the
    command line, the markers of tests, and metrics of probes, whose rules are listed as not checked.

    Exit status: 0 fine, 2 the configuration is wrong or can't be read; every problem is listed.
    """
    path = find_configuration(config)
    try:
        table = read_pyproject(path) if path else {}
        settings, aside = _settings_of(table, str(path))
    except ConfigurationError as wrong:
        raise Unreadable("the configuration is wrong:", wrong.problems) from None
    if as_json:
        document = {
            "format": _RULES_FORMAT,
            "config": str(path) if path else None,
            "options": _options_entry(table, settings),
            "rules": [{**_rule_entry(rule), "origins": _origins(rule, table)} for rule in settings.rules],
            "not_checked": aside,
        }
        click.echo(json.dumps(document, indent=1, default=str))
        return
    click.echo(f"rules of {path}" if path else "no pyproject.toml here: the rules by default")
    for rule in settings.rules:
        click.echo()
        for text in _rule_lines(rule, _origins(rule, table)):
            echo_wrapped(text)
    if aside:
        click.echo()
        names = ", ".join(f"{rule.get('name')!r} on {rule['metric']!r}" for rule in aside)
        echo_wrapped(
            f"not checked: {names}: no metric of memalert, so a probe of yours must add it (the hook "
            "pytest_memalert_probes); pytest --memalert refuses the rule if none does"
        )
    click.echo()
    for name, entry in _options_entry(table, settings).items():
        value = "not set" if entry["value"] is None else json.dumps(entry["value"]).strip('"')
        echo_wrapped(f"{name} = {value}  ({entry['origin']})")


def _settings_of(table: Mapping[str, object], name: str) -> tuple[Settings, list[dict[str, object]]]:
    """Return the settings of a table, and the rules set aside since their metric isn't known here.

    Raises ConfigurationError with every problem there is.
    """
    written = table.get("rules")
    tables: list[Any] = written if isinstance(written, list) else []
    aside = {index: rule for index, rule in enumerate(tables) if _is_on_an_added_metric(rule)}
    settings, problems = read_settings(
        pyproject=table, pyproject_name=name, ini={}, ini_name="", command_line={}, skip_rules=aside
    )
    if problems:
        raise ConfigurationError(problems)
    return settings, list(aside.values())


def _is_on_an_added_metric(table: object) -> bool:
    """Return whether a rule can be read only where the probe that adds its metric is known.

    One whose metric is nearly one of ours is more likely misspelt.
    """
    metric = table.get("metric") if isinstance(table, Mapping) else None
    return isinstance(metric, str) and metric not in METRICS and not nearest(metric, METRICS, cutoff=0.85)


def _origins(rule: AlertRule, table: Mapping[str, Any]) -> dict[str, str]:
    """Return where each value of a rule that isn't the default was written."""
    numbered = re.search(r"\brules\[(\d+)\]$", rule.origin)
    if numbered is None:
        return {}
    written = table["rules"][int(numbered[1])]
    return {key: f"{rule.origin}.{key}" for key in RULE_KEYS if key in written and key != "name"}


def _rule_lines(rule: AlertRule, origins: Mapping[str, str]) -> Iterator[str]:
    """Yield what a rule says, and under it what isn't the default."""
    unit = METRICS[rule.metric].unit
    limit = rule.against.text if rule.against else format_limit(rule.threshold, unit)
    off = "" if rule.enabled else "  (off)"
    yield f"{rule.name}  {rule.severity.value}{off}"
    yield f"  {rule.metric} {rule.condition.value} {limit}"
    if rule.against is not None:
        yield f"  not judged while the history has fewer than {rule.against.minimum} earlier runs"
    if rule.min_growth is not None:
        metric = METRICS[rule.metric].spike or "growth_bytes"
        yield f"  silent while {metric} is {format_limit(rule.min_growth, 'bytes')} or less"
    if rule.scope == "session":
        yield "  judged once, over the whole session"
    if rule.tests:
        yield f"  for tests {', '.join(rule.tests)}"
    if rule.component is not None:
        yield f"  for component {rule.component}"
    if origins:
        yield f"  {', '.join(origins)}: {rule.origin}"


def _rule_entry(rule: AlertRule) -> dict[str, object]:
    return {
        "name": rule.name,
        "category": rule.category.value,
        "severity": rule.severity.value,
        "metric": rule.metric,
        "unit": METRICS[rule.metric].unit,
        "condition": rule.condition.value,
        "threshold": None if rule.against else rule.threshold,
        "against": rule.against.text if rule.against else None,
        "scope": rule.scope,
        "tests": list(rule.tests),
        "component": rule.component,
        "min_growth": rule.min_growth,
        "message": rule.message,
        "recommendations": list(rule.recommendations),
        "enabled": rule.enabled,
        "origin": rule.origin,
    }


def _options_entry(table: Mapping[str, object], settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the options as they were written, by name, each with where."""
    return {
        option.name: {
            "value": _value(option, table, settings),
            "origin": settings.origins[option.name],
        }
        for option in OPTIONS
    }


def _value(option: Option, table: Mapping[str, object], settings: Settings) -> object:
    """Return an option's value as it was written; of addresses, what may be shown."""
    if option.name == "notify":
        return [route.shown for route in settings.notify.routes] if settings.notify else None
    return table.get(option.name, option.default)
