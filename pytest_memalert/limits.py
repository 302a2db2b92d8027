"""The limits that tests are held to: the rules by default, those of a file, those of a marker."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args

from pytest_memalert.anomalies import is_of_history, parse_history_threshold, refuse_misuse
from pytest_memalert.errors import ConfigurationError, WrongValueError, nearest, show_code, show_toml
from pytest_memalert.metrics import METRICS, Metric
from pytest_memalert.model import (
    AlertCategory,
    AlertCondition,
    AlertRule,
    AlertSeverity,
    HistoryThreshold,
    RuleScope,
)
from pytest_memalert.records import record
from pytest_memalert.units import parse_quantity, parse_size

__all__ = [
    "DEFAULT_RULES",
    "MARKER_KEYS",
    "RULE_KEYS",
    "MarkerLimits",
    "category_of",
    "collecting",
    "general_advice",
    "parse_marker",
    "read_choice",
    "read_count",
    "read_flag",
    "read_rules",
    "read_text",
    "refuse_unknown",
]

_MB = 10**6

#: The keywords of the marker: the metric that each limits, None where it sets no limit.
MARKER_KEYS: dict[str, str | None] = {
    "rss": "rss_bytes",
    "peak": "peak_bytes",
    "growth": "growth_bytes",
    "growth_rate": "growth_rate_bytes_per_s",
    "efficiency": "efficiency_ratio",
    "leak": "leak_bytes_per_run",
    "traced_peak": "traced_peak_bytes",
    "duration": "duration_s",
    "cpu": "cpu_s",
    "severity": None,
    "leaks": None,
    "warmups": None,
    "runs": None,
    "reason": None,
}

# What a rule recommends that has no recommendations of its own: where to look.
_ADVICE: dict[AlertCategory, tuple[str, ...]] = {
    AlertCategory.MEMORY_LEAK: (
        (
            "Look at what survives and at what holds it: bound or clear that container, "
            "or release the object in the teardown of the test or fixture that made it."
        ),
    ),
    AlertCategory.MEMORY_GROWTH: (
        (
            "Look for what the test adds to each time: a module-level list or dict, a cache without a bound, "
            "a handler, thread or file that stays open; undo it in teardown."
        ),
    ),
    AlertCategory.MEMORY_EFFICIENCY: (
        (
            "Lower the spike: read, parse or build in chunks rather than all at once, "
            "and drop each intermediate copy (del, a generator) before the next is made."
        ),
        "Run with --memalert-trace to see how much of the spike Python objects make up.",
    ),
    AlertCategory.MEMORY_THRESHOLD: (
        (
            "See which tests and fixtures brought the most memory; make their test data smaller "
            "or give large fixtures a narrower scope, so that they are torn down sooner."
        ),
    ),
    AlertCategory.CPU_USAGE: (
        "Profile this test alone (python -m cProfile -m pytest ...) and start with the costliest function.",
    ),
    AlertCategory.DISK_IO: (
        "Use smaller files or keep them in memory (io.BytesIO), and write each of them once.",
    ),
    AlertCategory.NETWORK_IO: (
        (
            "Replace the remote end by a local fake; the figure is the whole machine's, "
            "so repeat with nothing else running before looking further."
        ),
    ),
    AlertCategory.APPLICATION_LATENCY: (
        (
            "Run pytest --durations=10 to see whether set-up or the test itself takes the time, "
            "and repeat on an idle machine."
        ),
    ),
}
# The same of a session, where that is something else.
_ADVICE_OF_SESSION: dict[AlertCategory, tuple[str, ...]] = {
    AlertCategory.MEMORY_GROWTH: (
        (
            "Look for what tests add to each time: a module-level list or dict, a cache without a bound, "
            "a handler, thread or file that stays open; undo it in teardown."
        ),
        "The JSON report (--memalert-json PATH) says what each test added.",
    ),
    AlertCategory.CPU_USAGE: (
        "Profile the suite (python -m cProfile -m pytest ...) and start with the costliest function.",
    ),
    AlertCategory.APPLICATION_LATENCY: (
        "Run pytest --durations=10 to see which tests take the time, and repeat on an idle machine.",
    ),
}
# And how to allow what is meant: by a test's marker, and of a session, or where the marker has no keyword for
# the metric, by the rule.
_ALLOWING: dict[AlertCategory, tuple[str, str]] = {
    AlertCategory.MEMORY_LEAK: (
        "If it is meant to stay, allow it: @pytest.mark.memalert(leak='SIZE', reason='...').",
        "If it is meant to stay, raise the rule's limit.",
    ),
    AlertCategory.MEMORY_GROWTH: (
        "If the growth is meant, give the test its own limit: @pytest.mark.memalert(growth='2 MiB').",
        "If the growth is meant, raise the rule's limit.",
    ),
    AlertCategory.MEMORY_THRESHOLD: (
        "If this much is needed, raise the limit, for all tests by a rule or for this one by its marker.",
        "If this much is needed, raise the rule's limit.",
    ),
}


def _default(
    name: str, severity: AlertSeverity, metric: str, threshold: float, *, min_growth: int | None = None
) -> AlertRule:
    return _advised(
        AlertRule(
            name=name,
            category=category_of(metric),
            severity=severity,
            metric=metric,
            condition=_condition_of(metric),
            threshold=threshold,
            min_growth=min_growth,
        )
    )


def general_advice(rule: AlertRule) -> tuple[str, ...]:
    """Return what a rule recommends that has no recommendations of its own."""
    advice = _ADVICE.get(rule.category, ())
    if rule.scope == "session":
        advice = _ADVICE_OF_SESSION.get(rule.category, advice)
    if rule.category not in _ALLOWING:
        return advice
    by_marker, by_rule = _ALLOWING[rule.category]
    metric = METRICS.get(rule.metric)
    # A limit on the bytes of a leak covers the other metrics of leaks.
    has_keyword = rule.metric in MARKER_KEYS.values() or (metric is not None and metric.reading == "leak")
    return (*advice, by_marker if rule.scope == "test" and has_keyword else by_rule)


def _advised(rule: AlertRule) -> AlertRule:
    return replace(rule, recommendations=general_advice(rule))


def category_of(metric: str) -> AlertCategory:
    """Return the category of a rule on ``metric`` that names none; ``general`` for a metric of a plugin's."""
    return METRICS[metric].category if metric in METRICS else AlertCategory.GENERAL


def _condition_of(metric: str) -> AlertCondition:
    # Efficiency is the one metric of which less is worse.
    return AlertCondition.LESS_THAN if metric == "efficiency_ratio" else AlertCondition.GREATER_THAN


_WARNING, _CRITICAL = AlertSeverity.WARNING, AlertSeverity.CRITICAL

#: The rules that are on unless a file says otherwise; a name that occurs twice is a rule pair.
#: Descriptors and threads take none of the process' bytes: a leak of them has a rule of its own, which
#: comes before ``leak``, so that this one speaks where memory goes with them.
DEFAULT_RULES: tuple[AlertRule, ...] = (
    _default("leak-handles", _WARNING, "leak_handles_per_run", 0),
    _default("leak", _WARNING, "leak_bytes_per_run", 0),
    _default("leak-rate", _CRITICAL, "leak_rate_bytes_per_hour", 50 * _MB),
    _default("growth-rate", _WARNING, "growth_rate_bytes_per_s", 1 * _MB, min_growth=1 * _MB),
    _default("growth-rate", _CRITICAL, "growth_rate_bytes_per_s", 5 * _MB, min_growth=1 * _MB),
    _default("efficiency", _WARNING, "efficiency_ratio", 0.5, min_growth=50 * _MB),
    # What pytest keeps of each test takes a session of 100,000 tests there, 4 KiB at a time.
    _default("rss", _WARNING, "rss_bytes", 650 * _MB, min_growth=1 * _MB),
    _default("rss", _CRITICAL, "rss_bytes", 700 * _MB, min_growth=1 * _MB),
)


@record(frozen=True, slots=True, kw_only=True)
class MarkerLimits:
    """Hold what the markers of one test say; None where they are silent.

    ``rules`` has one rule for each limit, named ``limit-<keyword>``, with underscores as dashes.
    """

    rules: tuple[AlertRule, ...] = ()
    leaks: Literal["off", "all"] | None = None
    warmups: int | None = None
    runs: int | None = None
    reason: str | None = None


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


def parse_marker(
    layers: Sequence[tuple[str, Mapping[str, object], Sequence[object]]],
) -> MarkerLimits:
    """Return the limits that the markers of one test set, the closest winning key by key.

    ``layers`` are the markers, closest first: where each is written, its keywords, its
    positional arguments. Raises ConfigurationError with everything wrong with any of them.
    """
    problems: list[str] = []
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for place, keywords, positional in layers:
        if positional:
            arguments = ", ".join(map(show_code, positional))
            problems.append(
                f"{place}: memalert({arguments}): positional arguments mean nothing; "
                "name each limit, as in memalert(growth='2 MiB')"
            )
        for key, value in keywords.items():
            origin = f"{place}: memalert({key}=...)"
            with collecting(problems, origin, show=show_code):
                values.setdefault(key, _read_marker_value(key, value))
                origins.setdefault(key, origin)
    if problems:
        raise ConfigurationError(problems)
    severity = values.get("severity", AlertSeverity.CRITICAL)
    return MarkerLimits(
        rules=tuple(
            _marker_rule(key, metric, values[key], severity, origins[key])
            for key, metric in MARKER_KEYS.items()
            if metric is not None and key in values
        ),
        leaks=values.get("leaks"),
        warmups=values.get("warmups"),
        runs=values.get("runs"),
        reason=values.get("reason"),
    )


# ------------------------------------------------------------- single values


@contextmanager
def collecting(
    problems: list[str], place: str, *, show: Callable[[object], str] = show_toml
) -> Iterator[None]:
    """Add a ValueError of the block to ``problems``, headed by ``place``, so that reading goes on.

    A value is told by ``show``: as a file has it, unless it was written in code.
    """
    try:
        yield
    except WrongValueError as error:
        problems.append(f"{place}: {show(error.value)} {error.problem}")
    except ValueError as error:
        problems.append(f"{place}: {error}")


def refuse_unknown(noun: str, word: str, known: Collection[str], *, prefix: str = "") -> ValueError:
    """Return the error for a ``word`` that isn't known, naming the nearest that is.

    The ``prefix`` that all of them have makes none the nearer.
    """
    own = [each.removeprefix(prefix) for each in known]
    # "rss", of which "rss_bytes" is meant, is half of it.
    near = nearest(word.removeprefix(prefix), own, cutoff=0.5 if noun == "metric" else 0.6)
    advice = f"did you mean {prefix + near!r}?" if near else f"write one of {', '.join(map(repr, known))}"
    return ValueError(f"unknown {noun} {word!r}; {advice}")


def read_choice(value: object, choices: Collection[str]) -> str:
    """Return ``value`` if it is one of ``choices``; raises ValueError, naming them, if not."""
    if isinstance(value, str) and value in choices:
        return value
    near = nearest(value.lower(), choices) if isinstance(value, str) else None
    hint = f"; did you mean {near!r}?" if near else ""
    raise WrongValueError(value, f"is not one of {', '.join(map(repr, choices))}{hint}")


def read_flag(value: object) -> bool:
    """Return ``value`` if it is true or false; raises ValueError if not."""
    if isinstance(value, bool):
        return value
    raise WrongValueError(value, "is neither true nor false; write it as true or false, without quotes")


def read_text(value: object) -> str:
    """Return ``value`` if it is text and not blank; raises ValueError if not."""
    if not isinstance(value, str):
        raise WrongValueError(value, "is not a text; write one between quotes")
    if not value.strip():
        raise WrongValueError(value, "is empty; write a text")
    return value


def read_count(value: object, *, least: int = 1) -> int:
    """Return ``value`` if it is a whole number of ``least`` or more; raises ValueError if not."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise WrongValueError(value, f"is not a count of {least} or more; write a whole number such as 3")


def _read_texts(value: object) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(text, str) and text.strip() for text in value):
        return tuple(value)
    example = [value] if isinstance(value, str) and value.strip() else ["...", "..."]
    raise WrongValueError(value, f"is not a list of texts; write it as {example!r}")


_Member = TypeVar("_Member", bound=enum.Enum)


def _read_member(kind: type[_Member]) -> Callable[[object], _Member]:
    def read(value: object) -> _Member:
        try:
            return kind(value)
        except ValueError:
            # Raises, since every value of the enumeration was tried: this is for its wording.
            return kind(read_choice(value, [member.value for member in kind]))

    return read


def _read_threshold(value: object, metric: Metric) -> float | HistoryThreshold:
    if isinstance(value, str) and is_of_history(value):
        return parse_history_threshold(value, metric.unit)
    threshold = parse_quantity(value, metric.unit)
    if metric.unit == "ratio" and threshold > 1:
        raise WrongValueError(value, "is more than the whole; write a share such as 0.5 or '50 %'")
    return threshold


# ---------------------------------------------------------- a table of a file

_READERS: dict[str, Callable[[object], object]] = {
    "name": read_text,
    "category": _read_member(AlertCategory),
    "severity": _read_member(AlertSeverity),
    "metric": read_text,
    "condition": _read_member(AlertCondition),
    "scope": lambda value: read_choice(value, get_args(RuleScope)),
    "tests": _read_texts,
    "component": read_text,
    "min_growth": parse_size,
    "message": read_text,
    "recommendations": _read_texts,
    "enabled": read_flag,
}

#: The keys of one rule in a file.
RULE_KEYS: tuple[str, ...] = (*_READERS, "threshold")


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
            fields |= _threshold_fields(_read_threshold(table["threshold"], metrics[metric]))

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


def _threshold_fields(threshold: float | HistoryThreshold) -> dict[str, Any]:
    """Return the fields of a rule that its threshold sets."""
    if isinstance(threshold, HistoryThreshold):
        return {"threshold": math.nan, "against": threshold}
    return {"threshold": threshold, "against": None}


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
        hint = f"; did you mean the default rule {near!r}?" if near else ""
        return f"{name!r} is a new rule and lacks {' and '.join(lacking)}{hint}"
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
    return amended if "recommendations" in fields else tuple(map(_advised, amended))


def _new_rule(fields: Mapping[str, Any]) -> AlertRule:
    metric = fields.get("metric", "")
    # A limit set by hand is critical unless the hand says otherwise. The blanks stand for what
    # is already known to be missing; such a rule is never put in force.
    derived = {
        "metric": metric,
        "threshold": 0.0,
        "severity": AlertSeverity.CRITICAL,
        "category": category_of(metric),
        "condition": _condition_of(metric),
    }
    values: dict[str, Any] = {**derived, **fields}
    rule = AlertRule(**values)
    return rule if "recommendations" in fields else _advised(rule)


# ------------------------------------------------------------------- a marker


def _read_marker_value(key: str, value: object) -> object:
    if key not in MARKER_KEYS:
        raise refuse_unknown("keyword", key, MARKER_KEYS)
    metric = MARKER_KEYS[key]
    if metric is not None:
        threshold = _read_threshold(value, METRICS[metric])
        rule = _marker_rule(key, metric, threshold, AlertSeverity.CRITICAL, "")
        if misuse := refuse_misuse(rule):
            raise ValueError(misuse)
        return threshold
    if key == "severity":
        return _read_member(AlertSeverity)(value)
    if key == "leaks":
        return read_choice(value, ("off", "all"))
    if key == "reason":
        return read_text(value)
    return read_count(value, least=1 if key == "runs" else 0)


def _marker_rule(
    key: str, metric: str, threshold: float | HistoryThreshold, severity: AlertSeverity, origin: str
) -> AlertRule:
    # A rate means nothing on a test's noise, whoever sets the limit.
    guards = (rule.min_growth for rule in DEFAULT_RULES if rule.metric == metric)
    return _advised(
        AlertRule(
            name=f"limit-{key.replace('_', '-')}",
            category=category_of(metric),
            severity=severity,
            metric=metric,
            condition=_condition_of(metric),
            min_growth=next(guards, None) if key == "growth_rate" else None,
            origin=origin,
            **_threshold_fields(threshold),
        )
    )
