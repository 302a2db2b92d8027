"""Write the generated tables of the reference pages from the code that they describe.

Run ``python docs/generate.py`` after changing an option, a metric or a default rule;
``--check`` writes nothing and exits with 1 where a page is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import click

from pytest_memalert.cli import main as main_command
from pytest_memalert.comparisons import unit_of
from pytest_memalert.gate.allowances import ALLOWANCE_KEYS, ALLOWANCES, UNTRACED_PEAK
from pytest_memalert.gate.baseline import SETUP_METRICS
from pytest_memalert.limits.defaults import DEFAULT_RULES
from pytest_memalert.limits.keywords import MARKER_KEYS
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertRule
from pytest_memalert.options import OPTIONS, Option
from pytest_memalert.units import UNIT_EXAMPLES, format_quantity

REFERENCE = Path(__file__).parent / "reference"

_SESSION_WORDS = {
    "last": "the last test's",
    "largest": "the largest",
    "smallest": "the smallest",
    "sum": "the sum",
}


def options_table() -> str:
    """Return the table of every option: flag, ini key, default, meaning."""
    rows = [
        (
            _code(f"{option.flag} {_values_text(option)}".rstrip()),
            _code(option.ini),
            "not set" if option.default is None else _code(_default_text(option.default)),
            _cell(option.help),
        )
        for option in OPTIONS
    ]
    return _table(("option", "ini key", "default", "meaning"), rows)


def metrics_table() -> str:
    """Return the table of every metric: unit, formula, blind spots, cost, value of a session."""
    rows = [
        (
            _code(metric.name),
            metric.unit,
            _cell(metric.formula),
            _cell(metric.blind_spots),
            _cell(metric.cost),
            _SESSION_WORDS[metric.session],
        )
        for metric in METRICS.values()
    ]
    return _table(("metric", "unit", "formula", "what it doesn't see", "cost", "of a session"), rows)


def default_rules_table() -> str:
    """Return the table of the rules that are on by default."""
    rows = [
        (
            _code(rule.name),
            rule.category.value,
            _code(_condition_text(rule)),
            "" if rule.min_growth is None else _megabytes(rule.min_growth),
            rule.severity.value,
        )
        for rule in DEFAULT_RULES
    ]
    return _table(("rule", "category", "fires when", "silent below", "severity"), rows)


def limits_table() -> str:
    """Return the table of the marker's limits: keyword, metric, how to write it."""
    rows = [
        (_code(keyword), _code(metric), _cell(UNIT_EXAMPLES[METRICS[metric].unit]))
        for keyword, metric in MARKER_KEYS.items()
        if metric is not None
    ]
    return _table(("keyword", "metric", "written, for example"), rows)


def allowances_table() -> str:
    """Return the table of the gate's allowances: key, metrics, share, floor."""
    defaults = {**ALLOWANCES.of_tests, **ALLOWANCES.of_session}
    rows = []
    for key, metrics in ALLOWANCE_KEYS.items():
        metric = metrics[0]
        floor = format_quantity(defaults[metric].floor, unit_of(metric))
        of = "the session" if metric in ALLOWANCES.of_session else "a test"
        of = "a wider fixture" if metric in SETUP_METRICS else of
        named = ", ".join(_code(name) for name in metrics)
        rows.append((_code(key), of, named, _percent(defaults[metric].share), floor))
        if key == "peak":
            floor = format_quantity(UNTRACED_PEAK.floor, "bytes")
            rows.append(
                ("", "a test that isn't traced", _code("peak_bytes"), _percent(UNTRACED_PEAK.share), floor)
            )
    return _table(("key", "of", "metric", "share", "floor"), rows)


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def command_table(name: str) -> str:
    """Return the table of a command's options: how each is written, its default, what it means."""
    context = click.Context(main_command)
    rows = []
    for option in main_command.commands[name].get_params(context):
        if isinstance(option, click.Option) and "--help" not in option.opts:
            default = option.default if option.show_default else None
            written = ", ".join([*option.opts, *option.secondary_opts])
            rows.append(
                (
                    _code(f"{written} {_click_values(option, context)}".rstrip()),
                    "" if default is None else _code(str(default)),
                    _cell(option.help or ""),
                )
            )
    return _table(("option", "default", "meaning"), rows)


#: The generated parts by the name in their opening marker.
GENERATED: dict[str, Callable[[], str]] = {
    "options": options_table,
    "metrics": metrics_table,
    "default rules": default_rules_table,
    "limits": limits_table,
    "allowances": allowances_table,
    **{f"command {name}": partial(command_table, name) for name in main_command.commands},
}


def renew(page: str) -> str:
    """Return the text of a page with every generated part written anew."""

    def rewritten(part: re.Match[str]) -> str:
        return f"{part['opening']}\n{GENERATED[part['name']]()}\n<!-- end -->"

    pattern = r"(?P<opening><!-- generated: (?P<name>[\w ]+) -->\n).*?<!-- end -->"
    return re.sub(pattern, rewritten, page, flags=re.DOTALL)


def stale_pages() -> dict[Path, str]:
    """Return the new text of each page that differs from what the code says."""
    texts = {page: page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md"))}
    return {page: new for page, old in texts.items() if (new := renew(old)) != old}


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` only compare; return the exit status."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    stale = stale_pages()
    for page, text in stale.items():
        if arguments:
            print(f"{page.name} is out of date; run: python docs/generate.py", file=sys.stderr)
        else:
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.name}")
    return 1 if stale and arguments else 0


def _condition_text(rule: AlertRule) -> str:
    unit = METRICS[rule.metric].unit
    limit = format_quantity(rule.threshold, unit)
    if unit.startswith("bytes") and rule.threshold:
        limit = _megabytes(rule.threshold) + unit.removeprefix("bytes")
    return f"{rule.metric} {rule.condition.value} {limit}"


def _megabytes(size_bytes: float) -> str:
    """Return a size as the defaults were set: in round millions of bytes."""
    return f"{size_bytes / 10**6:g} MB"


def _default_text(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _values_text(option: Option) -> str:
    if option.kind == "baseline":
        return f"[{option.metavar}]"  # which may be left out
    return f"{{{','.join(option.choices)}}}" if option.choices else option.metavar or ""


def _click_values(option: click.Option, context: click.Context) -> str:
    if option.is_flag or option.count:
        return ""
    # Without the range that click adds to a number's name.
    return option.make_metavar(context).removesuffix(" RANGE")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _cell(text: str) -> str:
    """Return text that can stand in a cell: no bar or line break, names as code."""
    text = " ".join(text.split()).replace("|", "\\|")
    return re.sub(r"(?<![\w`./])(--memalert[\w-]*|[a-z]+(?:_[a-z]+)+(?:\(\))?)(?![\w`])", r"`\1`", text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
