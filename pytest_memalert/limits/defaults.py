"""The rules by default, and what a rule means that says less."""

from __future__ import annotations

from pytest_memalert.limits.advice import advised
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import AlertCategory, AlertCondition, AlertRule, AlertSeverity

__all__ = ["DEFAULT_RULES", "category_of", "condition_of"]

_MB = 10**6


def category_of(metric: str) -> AlertCategory:
    """Return the category of a rule on ``metric`` that names none; ``general`` for a metric of a plugin's."""
    return METRICS[metric].category if metric in METRICS else AlertCategory.GENERAL


def condition_of(metric: str) -> AlertCondition:
    """Return on which side of a limit a metric is worse: efficiency is the one of which less is."""
    return AlertCondition.LESS_THAN if metric == "efficiency_ratio" else AlertCondition.GREATER_THAN


def _default(
    name: str, severity: AlertSeverity, metric: str, threshold: float, *, min_growth: int | None = None
) -> AlertRule:
    return advised(
        AlertRule(
            name=name,
            category=category_of(metric),
            severity=severity,
            metric=metric,
            condition=condition_of(metric),
            threshold=threshold,
            min_growth=min_growth,
        )
    )


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
