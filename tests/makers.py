"""Records for tests: a test that grew by 12 MiB, its alert and its run, but for what a test says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from pytest_memalert.model import (
    UNCHECKED,
    AlertCategory,
    AlertCondition,
    AlertSeverity,
    Comparison,
    Environment,
    FixtureGrowth,
    GateResult,
    LeakVerdict,
    Measurement,
    Overhead,
    PerformanceAlert,
    Run,
    Survivor,
)

MIB = 2**20
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
NODEID = "tests/test_a.py::test_load"
HERE = Environment(
    implementation="CPython",
    python="3.11.7",
    platform="Linux",
    machine="x86_64",
    traced=False,
    memalert="0.1.0",
)


def make_test(
    nodeid: str = NODEID, *, outcome: str = "passed", leak: LeakVerdict = UNCHECKED, **values: float
) -> Measurement:
    """Return the measurement of a test, with these metrics alone."""
    return Measurement(
        nodeid=nodeid,
        worker="main",
        outcome=outcome,
        component="tests",
        rss_before_bytes=None,
        values=values,
        leak=leak,
    )


def make_fixture(**changes: Any) -> FixtureGrowth:
    """Return a session fixture that brought 31 MiB and gave all of it back."""
    fixture = FixtureGrowth(
        name="server",
        scope="session",
        location="tests/conftest.py",
        worker="main",
        nodeid=NODEID,
        setup_growth_bytes=31 * MIB,
        peak_bytes=None,
        growth_bytes=0,
    )
    return replace(fixture, **changes)


def make_alert(**changes: Any) -> PerformanceAlert:
    """Return a critical alert about one test, with all that an alert can say."""
    alert = PerformanceAlert(
        id="a1",
        fingerprint="f1",
        rule="growth",
        category=AlertCategory.MEMORY_GROWTH,
        severity=AlertSeverity.CRITICAL,
        component="tests",
        nodeids=(NODEID,),
        metric="growth_bytes",
        observed=12 * MIB,
        limit=MIB,
        condition=AlertCondition.GREATER_THAN,
        message=f"{NODEID}: growth 12 MiB is over the limit of 1 MiB",
        recommendations=("bound or clear `app.cache.ITEMS`",),
        survivors=(
            Survivor(
                type="dict",
                count=48,
                size_bytes=12 * 1024,
                allocated_at=("app/cache.py:14 in put",),
                held_by=("module app.cache", "ITEMS: dict of 48"),
            ),
        ),
        raised_at=NOON,
        location="tests/test_a.py:12",
    )
    return replace(alert, **changes)


def make_gate(**changes: Any) -> GateResult:
    """Return what a gate found: one regression, one new test."""
    comparison = Comparison(
        nodeid=NODEID,
        metric="peak_bytes",
        baseline=10 * MIB,
        observed=14 * MIB,
        allowance=MIB,
        status="regression",
    )
    gate = GateResult(
        path="memalert.lock.json",
        environment="cpython-3.11-linux-x86_64",
        compared=120,
        comparisons=(comparison,),
        new=("tests/test_b.py::test_new",),
    )
    return replace(gate, **changes)


def make_run(*alerts: PerformanceAlert, **changes: Any) -> Run:
    """Return a run of one test, with these alerts."""
    run = Run(
        run_id="r1",
        started_at=NOON,
        duration_s=10.0,
        environment=HERE,
        overhead=Overhead(tests_s=9.92, screening_s=0.08),
        reruns=0,
        tests=(make_test(peak_bytes=14 * MIB, growth_bytes=12 * MIB, rss_peak_bytes=84 * MIB),),
        fixtures=(),
        alerts=alerts,
        notes=(),
    )
    return replace(run, **changes)
