"""The rules of a file: what its tables change in the rules by default, and what they add."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from pytest_memalert.anomalies import refuse_misuse
from pytest_memalert.errors import WrongValueError, nearest, show_toml
from pytest_memalert.limits.advice import advised
from pytest_memalert.limits.defaults import DEFAULT_RULES, category_of, condition_of
from pytest_memalert.limits.thresholds import read_threshold, threshold_fields
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import AlertCategory, AlertCondition, AlertRule, AlertSeverity, RuleScope
from pytest_memalert.units import UNIT_EXAMPLES, parse_size
from pytest_memalert.user_values import (
    collecting,
    read_choice,
    read_flag,
    read_member,
    read_text,
    read_texts,
    refuse_unknown,
)

__all__ = ["RULE_KEYS", "read_rules"]


def _read_tests(value: object) -> tuple[str, ...]:
    tests = read_texts(value)
    if not tests:
        raise WrongValueError(
            value, "names no test; leave the key out for a rule of all tests, or write enabled = false"
        )
    return tests


_READERS: dict[str, Callable[[object], object]] = {
    "name": read_text,
    "category": read_member(AlertCategory),
    "severity": read_member(AlertSeverity),
    "metric": read_text,
    "condition": read_member(AlertCondition),
    "scope": lambda value: read_choice(value, get_args(RuleScope)),
    "tests": _read_tests,
    "component": read_text,
    "min_growth": parse_size,
    "message": read_text,
    "recommendations": read_texts,
    "enabled": read_flag,
}

#: The keys of one rule in a file.
RULE_KEYS: tuple[str, ...] = (*_READERS, "threshold")


def read_rules(
    tables: object, *, place: str, metrics: Mapping[str, Metric] = METRICS, skip: Collection[int] = ()
) -> tuple[tuple[AlertRule, ...], list[str]]:
    """Return the rules in force, disabled ones included, and everything wrong with ``tables``.

    ``tables`` is what a file has under ``rules``, and ``place`` says where that is. A table changes
    the default rule of its name and severity, or adds a rule. Without severity it speaks of every
    default of its name; with one that no default of the name has, it adds that severity to them.
    Those numbered in ``skip`` are left out.
    """
    metrics = {**METRICS, **metrics}
    rules = {(rule.name, rule.severity): rule for rule in DEFAULT_RULES}
    if not isinstance(tables, list | tuple):
        what = "is not a list of tables; write [[tool.memalert.rules]] above each rule"
        return tuple(rules.values()), [f"{place}: {show_toml(tables)} {what}"]
    problems: list[str] = []
    written: dict[tuple[str, AlertSeverity], int] = {}
    for index, table in enumerate(tables):
        if index in skip:
            continue
        found, wrong = _read_table(table, f"{place}[{index}]", metrics)
        for rule in found:
            key = (rule.name, rule.severity)
            if key in written:
                known = f"rule {rule.name!r} ({rule.severity.value}) is already set by rules[{written[key]}]"
                wrong.append(f"{place}[{index}]: {known}; keep one of the two")
                break
            written[key] = index
            rules[key] = rule
        problems += wrong
    return tuple(rules.values()), problems


def _read_table(
    table: object, place: str, metrics: Mapping[str, Metric]
) -> tuple[tuple[AlertRule, ...], list[str]]:
    """Return the rules that one table sets, and everything wrong with it.

    The rules of a faulty table are those that it seems to mean, as far as its name and
    severity tell, so that a second table for the same rule is still noticed.
    """
    if not isinstance(table, Mapping):
        what = "is not a table; write [[tool.memalert.rules]] above each rule"
        return (), [f"{place}: {show_toml(table)} {what}"]
    fields: dict[str, Any] = {}
    problems = [f"{place}: {refuse_unknown('key', key, RULE_KEYS)}" for key in table if key not in RULE_KEYS]
    for key, read in _READERS.items():
        if key in table:
            with collecting(problems, f"{place}.{key}"):
                fields[key] = read(table[key])
    if fields.get("metric", "rss_bytes") not in metrics:
        problems.append(f"{place}.metric: {refuse_unknown('metric', fields.pop('metric'), metrics)}")
    if "name" not in table:
        problems.append(f"{place}: a name is missing; write name = '...'")
    namesakes = [rule for rule in DEFAULT_RULES if rule.name == fields.get("name")]
    metric = fields.get("metric")
    if "metric" not in table and namesakes:
        metric = namesakes[0].metric
    if "threshold" in table and metric is not None:
        with collecting(problems, f"{place}.threshold"):
            fields |= threshold_fields(read_threshold(table["threshold"], metrics[metric]))

    if "name" not in fields or ("severity" in table and "severity" not in fields):
        return (), problems
    incomplete = _missing(table, fields, namesakes, metrics)
    if incomplete is not None:
        problems.append(f"{place}: {incomplete}")
    fields["origin"] = place
    rules = _amend(namesakes, fields) if namesakes else (_new_rule(fields),)
    misuses = [misuse for rule in rules if (misuse := refuse_misuse(rule))]
    problems += [f"{place}.threshold: {misuse}" for misuse in dict.fromkeys(misuses)]
    return rules, problems


def _missing(
    table: Mapping[str, object],
    fields: Mapping[str, Any],
    namesakes: Sequence[AlertRule],
    metrics: Mapping[str, Metric],
) -> str | None:
    """Return what a table must have and lacks, and what to write."""
    name = fields["name"]
    if not namesakes:
        lacking = [key for key in ("metric", "threshold") if key not in table]
        if not lacking:
            return None
        defaults = {rule.name for rule in DEFAULT_RULES}
        near = nearest(name, sorted(defaults), cutoff=0.5)
        metric = fields.get("metric", "peak_bytes")
        examples = {
            "metric": f"metric = {metric!r} or that of another figure",
            "threshold": f"as its threshold {UNIT_EXAMPLES[metrics[metric].unit]}",
        }
        written = " and ".join(examples[key] for key in lacking)
        advice = f"did you mean the default rule {near!r}?" if near else f"write {written}"
        return f"{name!r} is a new rule and lacks {' and '.join(lacking)}; {advice}"
    severities = [rule.severity for rule in namesakes]
    is_pair = len(namesakes) > 1
    if is_pair and "severity" not in table and "threshold" in table:
        choices = " or ".join(f"severity = '{severity.value}'" for severity in severities)
        return f"{name!r} is a pair of rules, each with a threshold of its own; write {choices} beside it"
    if "threshold" in table:
        return None
    if is_pair and "severity" in fields and fields["severity"] not in severities:
        return f"a threshold is missing; no default rule {name!r} is of severity '{fields['severity'].value}'"
    metric = fields.get("metric", namesakes[0].metric)
    if metrics[metric].unit != metrics[namesakes[0].metric].unit:
        return f"a threshold is missing; that of {namesakes[0].metric} doesn't fit {metric}"
    return None


def _amend(namesakes: Sequence[AlertRule], fields: Mapping[str, Any]) -> tuple[AlertRule, ...]:
    """Return the default rules of one name that ``fields`` speak of, changed accordingly."""
    severity = fields.get("severity")
    meant = [rule for rule in namesakes if severity in (None, rule.severity)]
    # A further severity of a known name: ``leak`` as critical is the rule people write most.
    amended = tuple(replace(rule, **fields) for rule in meant or namesakes[:1])
    return amended if "recommendations" in fields else tuple(map(advised, amended))


def _new_rule(fields: Mapping[str, Any]) -> AlertRule:
    metric = fields.get("metric", "")
    # A limit set by hand is critical unless the hand says otherwise. The blanks stand for what
    # is already known to be missing; such a rule is never put in force.
    derived = {
        "metric": metric,
        "threshold": 0.0,
        "severity": AlertSeverity.CRITICAL,
        "category": category_of(metric),
        "condition": condition_of(metric),
    }
    values: dict[str, Any] = {**derived, **fields}
    rule = AlertRule(**values)
    return rule if "recommendations" in fields else advised(rule)
