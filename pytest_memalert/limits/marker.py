"""The limits that the markers of a test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pytest_memalert.anomalies import refuse_misuse
from pytest_memalert.errors import ConfigurationError, show_code
from pytest_memalert.limits.advice import advised
from pytest_memalert.limits.defaults import DEFAULT_RULES, category_of, condition_of
from pytest_memalert.limits.keywords import MARKER_KEYS
from pytest_memalert.limits.thresholds import read_threshold, threshold_fields
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertRule, AlertSeverity, HistoryThreshold
from pytest_memalert.records import record
from pytest_memalert.user_values import (
    collecting,
    read_choice,
    read_count,
    read_member,
    read_text,
    refuse_unknown,
)

__all__ = ["MarkerLimits", "parse_marker"]


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


def _read_marker_value(key: str, value: object) -> object:
    if key not in MARKER_KEYS:
        raise refuse_unknown("keyword", key, MARKER_KEYS)
    metric = MARKER_KEYS[key]
    if metric is not None:
        threshold = read_threshold(value, METRICS[metric])
        rule = _marker_rule(key, metric, threshold, AlertSeverity.CRITICAL, "")
        if misuse := refuse_misuse(rule):
            raise ValueError(misuse)
        return threshold
    if key == "severity":
        return read_member(AlertSeverity)(value)
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
    return advised(
        AlertRule(
            name=f"limit-{key.replace('_', '-')}",
            category=category_of(metric),
            severity=severity,
            metric=metric,
            condition=condition_of(metric),
            min_growth=next(guards, None) if key == "growth_rate" else None,
            origin=origin,
            **threshold_fields(threshold),
        )
    )
