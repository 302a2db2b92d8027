"""Alerts about what got worse than the baseline."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from pytest_memalert.comparisons import COLLECTION, SESSION, is_fixture, is_whole, tell, tell_runs
from pytest_memalert.metrics import PEAKS
from pytest_memalert.model import (
    AlertCategory,
    AlertCondition,
    AlertSeverity,
    Comparison,
    GateResult,
    PerformanceAlert,
)

__all__ = ["judge"]

# Which comparison of a test speaks first.
_ORDER = (
    "leak_bytes_per_run",
    "growth_bytes",
    "blocks_growth",
    "traced_peak_bytes",
    "peak_bytes",
    "heap_growth_bytes",
    "setup_bytes",
    "setup_blocks",
    "heap_bytes",
    "rss_bytes",
    "rss_peak_bytes",
)
_NAMED = 3
_SAVE_WHOLE = "If that is meant, save the whole suite again: pytest --memalert --memalert-save"
_ADVICE_OF_FIXTURE = (
    "Look at what this change made the fixture load, make or keep, or what it is the first to use.",
    _SAVE_WHOLE,
)
_PLUGINS_COUNT = "Plugins and options that were not there when it was saved count as well: --cov, say."
_ADVICE_OF_COLLECTION = (
    (
        "Look at what conftest.py and the test modules import, or make at module level, since the baseline "
        "was saved: python -X importtime -m pytest --collect-only lists what they import."
    ),
    _PLUGINS_COUNT,
    _SAVE_WHOLE,
)
_ADVICE_OF_SESSION = (
    (
        "Look at what is imported, cached or kept by wide fixtures since the baseline was saved: "
        "pytest -v --memalert lists the tests and fixtures that brought most."
    ),
    _PLUGINS_COUNT,
    _SAVE_WHOLE,
)


def judge(
    result: GateResult,
    *,
    raised_at: datetime,
    make_id: Callable[[], str],
    components: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
    is_all: bool = False,
) -> tuple[PerformanceAlert, ...]:
    """Return an alert for each test that got worse, for the session, and, when strict, for each new test.

    All are critical and of rule ``regression``. ``skip`` are tests whose alert was raised where they ran.
    ``is_all`` says that these are the reports of the whole suite: when strict, tests that are missing
    from them are one alert.
    """
    by_test: dict[str, list[Comparison]] = {}
    for comparison in result.comparisons:
        if comparison.status == "regression" and comparison.nodeid not in skip:
            by_test.setdefault(comparison.nodeid, []).append(comparison)
    alerts = []
    for nodeid, found in by_test.items():
        found.sort(key=lambda comparison: _ORDER.index(comparison.metric))
        alerts.append(
            _alert(
                nodeid,
                found[0].metric,
                observed=found[0].observed,
                limit=found[0].baseline + found[0].allowance,
                message="\n".join(
                    [
                        f"{nodeid}: {tell(found[0])}",
                        *filter(None, [tell_runs(found[0])]),
                        *(f"also, {tell(other)}" for other in found[1:]),
                    ]
                ),
                recommendations=_advice(found[0], result.path),
                raised_at=raised_at,
                id=make_id(),
                components=components,
            )
        )
    for nodeid in result.new if result.strict else ():
        if nodeid in skip:
            continue
        alerts.append(
            _alert(
                nodeid,
                "baseline",
                observed=0.0,
                limit=0.0,
                message=f"{nodeid}: is not in the baseline {result.path}, which --memalert-strict asks for",
                recommendations=(_save(nodeid),),
                raised_at=raised_at,
                id=make_id(),
                components=components,
            )
        )
    if is_all and result.strict and result.missing:
        count = len(result.missing)
        named = ", ".join(result.missing[:_NAMED]) + (", ..." if count > _NAMED else "")
        tests = "1 test is" if count == 1 else f"{count:,} tests are"
        alerts.append(
            _alert(
                SESSION,
                "baseline",
                observed=float(count),
                limit=0.0,
                message=f"{SESSION}: {tests} in the baseline {result.path} and in no report: {named}",
                recommendations=(
                    "Look whether a part of the suite didn't run, or its report was not merged.",
                    _SAVE_WHOLE,
                ),
                raised_at=raised_at,
                id=make_id(),
                components=components,
            )
        )
    return tuple(alerts)


def _advice(comparison: Comparison, path: str) -> tuple[str, ...]:
    if is_fixture(comparison.nodeid):
        return _ADVICE_OF_FIXTURE
    if comparison.nodeid == COLLECTION:
        return _ADVICE_OF_COLLECTION
    if is_whole(comparison.nodeid):
        return _ADVICE_OF_SESSION
    what = "what it keeps at once" if comparison.metric in PEAKS else "what it leaves behind"
    return (
        f"Look at what this change made the test hold: {what} has grown since {path} was saved.",
        f"If that is meant: {_save(comparison.nodeid)}",
    )


def _save(nodeid: str) -> str:
    # In single quotes, as a shell takes it; a quote of its own would end them.
    quoted = "'" + nodeid.replace("'", "'\\''") + "'"
    return f"save the test's figures with: pytest {quoted} --memalert --memalert-save"


def _alert(
    nodeid: str,
    metric: str,
    *,
    observed: float,
    limit: float,
    message: str,
    recommendations: tuple[str, ...],
    raised_at: datetime,
    id: str,
    components: Mapping[str, str] | None,
) -> PerformanceAlert:
    return PerformanceAlert(
        id=id,
        fingerprint=hashlib.sha256(
            f"regression\0{metric}\0{nodeid}".encode("utf-8", "backslashreplace")
        ).hexdigest()[:12],
        rule="regression",
        category=AlertCategory.MEMORY_REGRESSION,
        severity=AlertSeverity.CRITICAL,
        component=(components or {}).get(nodeid, nodeid.partition("::")[0]),
        nodeids=(nodeid,),
        metric=metric,
        observed=observed,
        limit=limit,
        condition=AlertCondition.GREATER_THAN,
        message=message,
        recommendations=recommendations,
        raised_at=raised_at,
    )
