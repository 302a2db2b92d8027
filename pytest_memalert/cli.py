"""The command ``memalert``: what works here, which rules are in force, what a run found."""

from __future__ import annotations

import json
import platform
import re
import shutil
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import click

import pytest_memalert
from pytest_memalert.clock import elapsed_s
from pytest_memalert.codec import decode_run
from pytest_memalert.errors import ConfigurationError, MemalertError
from pytest_memalert.limits import RULE_KEYS
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertRule, Run
from pytest_memalert.reports import terminal
from pytest_memalert.settings import OPTIONS, Settings, load_settings, read_pyproject
from pytest_memalert.units import format_duration, format_quantity, format_size

__all__ = ["main"]

_FINE, _ALERTS, _UNREADABLE = 0, 1, 2

_NARROWEST_COLUMNS = 40
_COLOURS = ("red", "yellow", "green", "cyan")

# Enough for a stable median; 300 of the cheap ones take 5 ms. The dear ones stop earlier.
_READINGS = 300
_READINGS_AT_LEAST = 5
_READING_TIME_S = 0.2

#: The format of ``memalert rules --json``.
#:
#: 1  the first
RULES_FORMAT = 1

#: Packages that share a test run with this one, and what is to know about each.
_NEIGHBOURS = {
    "pytest": "8 or later is needed",
    "pytest-xdist": "each worker measures the tests that it runs; nothing to set",
    "pytest-rerunfailures": "a test that it runs again counts as it ended",
    "pytest-asyncio": "asynchronous tests are measured like others",
    "anyio": "asynchronous tests are measured like others",
    "pytest-cov": "works as before; its own growth is small",
    "pytest-timeout": "works as before; each re-run has the limit to itself",
    "pytest-randomly": "growth is the test's own in any order; resident memory depends on it",
    "pytest-benchmark": "what it repeats counts as one test",
    "hypothesis": "all examples together count as one test",
    "pytest-memray": "measure with one of the two at a time: it slows every allocation down",
}


class _Unreadable(click.ClickException):
    """Say what can't be read, and end with the status for that."""

    exit_code = _UNREADABLE


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 all is fine, 1 there are alerts, 2 wrong usage or unreadable input.",
)
@click.version_option(pytest_memalert.__version__, prog_name="memalert")
def main() -> None:
    """Look at memory regression testing from outside of a test run.

    The tests themselves are run by pytest: pytest --memalert
    """


# ------------------------------------------------------------------- report


@main.command()
@click.argument("path", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option("-v", "--verbose", count=True, help="Tell largest growths and peaks, fixtures and notes, too.")
@click.option("-q", "--quiet", is_flag=True, help="Tell one line for each alert.")
@click.pass_context
def report(context: click.Context, path: Path, verbose: int, quiet: bool) -> None:
    """Print what the run in the JSON report PATH found, as pytest did.

    PATH is what pytest --memalert-json=PATH wrote; "-" reads standard input.

    Exit status: 0 no alert failed a test, 1 some did, 2 PATH can't be read.
    """
    run = _read_run(path)
    where = run.environment
    if not quiet:
        when = run.started_at.strftime("%Y-%m-%d %H:%M UTC")
        click.echo(
            f"run of {when}, {where.implementation} {where.python}, {where.platform} {where.machine}\n"
        )
    for line in terminal.render(run, verbosity=-1 if quiet else verbose, width=_width()):
        _echo_line(line)
    context.exit(_ALERTS if any(run.fails(alert) for alert in run.alerts) else _FINE)


def _read_run(path: Path) -> Run:
    shown = "standard input" if str(path) == "-" else f"'{path}'"
    try:
        text = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return decode_run(json.loads(text))
    except OSError as problem:
        raise _Unreadable(
            f"{shown} can't be read: {problem.strerror or problem}; "
            "write a report with: pytest --memalert --memalert-json=memalert.json"
        ) from None
    except RecursionError:
        raise _Unreadable(f"{shown} is nested too deeply to be a report") from None
    except MemalertError as problem:
        raise _Unreadable(f"{shown}: {problem}") from None
    except ValueError as problem:  # neither text nor JSON
        raise _Unreadable(f"{shown} is not JSON: {problem}") from None


def _echo_line(line: terminal.Line) -> None:
    colour = next((name for name in _COLOURS if line.markup.get(name)), None)
    click.secho(line.text, fg=colour, bold=line.markup.get("bold") or None)


# -------------------------------------------------------------------- rules


@main.command()
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="PATH",
    help="A pyproject.toml; without it, that of the current directory if there is one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def rules(config: Path | None, as_json: bool) -> None:
    """Print the rules in force, and where each value came from.

    Reads [tool.memalert] of pyproject.toml. What pytest adds when it runs is not known here: ini keys, the
    command line, the markers of tests, and metrics of probes, whose rules are listed as not checked.

    Exit status: 0 fine, 2 the configuration is wrong or can't be read; every problem is listed.
    """
    path = config or Path("pyproject.toml")
    is_there = config is not None or path.is_file()
    try:
        table = read_pyproject(path) if is_there else {}
        settings, aside = _settings_of(table, str(path))
    except ConfigurationError as wrong:
        raise _Unreadable("\n  ".join(("the configuration is wrong:", *wrong.problems))) from None
    if as_json:
        document = {
            "format": RULES_FORMAT,
            "config": str(path) if is_there else None,
            "options": _options_entry(table, settings),
            "rules": [{**_rule_entry(rule), "origins": _origins(rule, table)} for rule in settings.rules],
            "not_checked": aside,
        }
        click.echo(json.dumps(document, indent=1, default=str))
        return
    click.echo(f"rules of {path}" if is_there else "no pyproject.toml here: the rules by default")
    for rule in settings.rules:
        click.echo()
        for text in _rule_lines(rule, _origins(rule, table)):
            _echo_wrapped(text)
    if aside:
        click.echo()
        names = ", ".join(f"{rule.get('name')!r} on {rule['metric']!r}" for rule in aside)
        _echo_wrapped(
            f"not checked: {names}: no metric of memalert, so a probe of yours must add it (the hook "
            "pytest_memalert_probes); pytest --memalert refuses the rule if none does"
        )
    click.echo()
    for name, entry in _options_entry(table, settings).items():
        value = "not set" if entry["value"] is None else json.dumps(entry["value"]).strip('"')
        _echo_wrapped(f"{name} = {value}  ({entry['origin']})")


def _settings_of(table: Mapping[str, object], name: str) -> tuple[Settings, list[dict[str, object]]]:
    """Return the settings of a table, and the rules set aside since their metric isn't known here.

    Raises ConfigurationError with every problem there is.
    """
    written = table.get("rules")
    tables: list[Any] = written if isinstance(written, list) else []
    kept = [index for index, rule in enumerate(tables) if not _is_on_an_added_metric(rule)]
    aside = [rule for index, rule in enumerate(tables) if index not in kept]
    read = {**table, "rules": [tables[index] for index in kept]} if aside else table

    def numbered_as_written(text: str) -> str:
        return re.sub(r"\brules\[(\d+)\]", lambda found: f"rules[{kept[int(found[1])]}]", text)

    try:
        settings = load_settings(pyproject=read, pyproject_name=name, ini={}, ini_name="", command_line={})
    except ConfigurationError as wrong:
        raise ConfigurationError(map(numbered_as_written, wrong.problems)) from None
    in_force = tuple(replace(rule, origin=numbered_as_written(rule.origin)) for rule in settings.rules)
    return replace(settings, rules=in_force), aside


def _is_on_an_added_metric(table: object) -> bool:
    """Return whether a rule can be read only where the probe that adds its metric is known."""
    metric = table.get("metric") if isinstance(table, Mapping) else None
    return isinstance(metric, str) and metric not in METRICS


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
    limit = format_quantity(rule.threshold, unit)
    off = "" if rule.enabled else "  (off)"
    yield f"{rule.name}  {rule.severity.value}{off}"
    yield f"  {rule.metric} {rule.condition.value} {limit}"
    if rule.min_growth is not None:
        metric = METRICS[rule.metric].spike or "growth_bytes"
        yield f"  silent while {metric} is {format_size(rule.min_growth)} or less"
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
        "threshold": rule.threshold,
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
            "value": table.get(option.name, option.default),
            "origin": settings.origins[option.name],
        }
        for option in OPTIONS
    }


# ------------------------------------------------------------------- doctor


@main.command()
def doctor() -> None:
    """Say which readings work here, what each costs, and which features are off and why.

    The costs are measured on the spot: the median of some hundred readings.
    """
    psutil_version = _version_of("psutil")
    click.echo(
        f"pytest-memalert {pytest_memalert.__version__}, "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, psutil {psutil_version or 'is missing'}"
    )
    if psutil_version is None:
        raise _Unreadable("nothing can be measured without psutil; write: pip install 'psutil>=7.2'")
    click.echo("\nreadings of every test")
    for name, read, note in _standing_readings():
        _echo_reading(name, read, note)
    click.echo("\nreadings on demand, taken only where a rule names a metric of theirs")
    for name, read, note in _demand_readings():
        _echo_reading(name, read, note)
    click.echo("\nfeatures")
    for name, is_on, note in _features():
        _echo_wrapped(f"  {name:<24}{'on ' if is_on else 'OFF'}  {note}")
    click.echo("\npackages that share the test run")
    for name, note in _NEIGHBOURS.items():
        version = _version_of(name)
        if version is not None:
            _echo_wrapped(f"  {f'{name} {version}':<29}{note}")


_Reading = tuple[str, "Callable[[], object] | None", str]


def _standing_readings() -> Iterator[_Reading]:
    """Yield the readings that every test has: name, reader or None, and how or why not."""
    from pytest_memalert.probes.memory import open_blocks_reader, open_heap_reader, open_rss_reader
    from pytest_memalert.probes.peak import open_peak_windows
    from pytest_memalert.probes.sampler import collect_young

    rss = open_rss_reader()
    if rss() is None:
        yield "resident memory", None, "the system doesn't tell it"
    else:
        yield "resident memory", rss, "/proc/self/statm" if sys.platform == "linux" else "psutil"
        windows = open_peak_windows(rss, interval_s=0.01)
        exact = "the kernel's high-water mark, exact"
        note = exact if _kernel_keeps_a_mark() else "sampled by a thread: short spikes are missed"
        yield "peak", lambda: windows.close(windows.open()), note
    heap = open_heap_reader()
    yield (
        "heap",
        heap,
        "bytes handed out by malloc" if heap else "the C library doesn't tell (psutil.heap_info)",
    )
    blocks = open_blocks_reader()
    yield (
        "blocks",
        blocks,
        "objects of Python's allocator" if blocks else "Python doesn't count (PYTHONMALLOC?)",
    )
    yield "collection", collect_young, "of what the test made, so that garbage isn't growth"


def _kernel_keeps_a_mark() -> bool:
    from pytest_memalert.probes.procfs import reset_high_water_mark

    if sys.platform != "linux":
        return False
    try:
        reset_high_water_mark()
    except OSError:  # forbidden in some containers
        return False
    return True


def _demand_readings() -> Iterator[_Reading]:
    """Yield the readings that only some rules need, in the same form."""
    from pytest_memalert.probes.demand import DEMAND_READINGS, open_demand_readings

    readers, missing = open_demand_readings(frozenset(DEMAND_READINGS))
    for name in DEMAND_READINGS:
        metrics = ", ".join(metric.name for metric in METRICS.values() if metric.reading == name)
        if name == "traced":
            metrics = f"{metrics}; with --memalert-trace only, which slows the suite 2 to 4 times"
        yield name, readers.get(name), metrics if name in readers else f"{metrics}: {missing[name]}"


def _features() -> Iterator[tuple[str, bool, str]]:
    """Yield what may be off: name, whether it is on, and what that means or why not."""
    import psutil

    from pytest_memalert.probes.exact import refusal

    reason = refusal()
    yield "leak detection", reason is None, reason or "suspect tests are run again and read to the block"
    can_trim = hasattr(psutil, "heap_trim")
    told = "free memory is given back before a re-run, so that its peak shows"
    yield (
        "heap trim",
        can_trim,
        told if can_trim else "psutil has no heap_trim here: small peaks may not show",
    )


def _echo_reading(name: str, read: Callable[[], object] | None, note: str) -> None:
    cost = "no data" if read is None else format_duration(_median_cost_s(read))
    _echo_wrapped(f"  {name:<17}{cost:>8}  {note}")


def _median_cost_s(read: Callable[[], object]) -> float:
    """Return what one reading costs, in seconds: the median of as many as fit into a fifth of a second."""
    costs_s: list[float] = []
    began_s = elapsed_s()
    while len(costs_s) < _READINGS:
        before_s = elapsed_s()
        read()
        after_s = elapsed_s()
        costs_s.append(after_s - before_s)
        if after_s - began_s > _READING_TIME_S and len(costs_s) >= _READINGS_AT_LEAST:
            break
    return statistics.median(costs_s)


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# -------------------------------------------------------------------- words


def _width() -> int:
    return max(shutil.get_terminal_size().columns, _NARROWEST_COLUMNS)


def _echo_wrapped(text: str) -> None:
    """Print one entry; what doesn't fit into the line is indented under it."""
    indent = " " * (len(text) - len(text.lstrip(" ")) + 4)
    lines = textwrap.wrap(
        text, _width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
