"""Memory regression testing for pytest.

The data flows one way: a probe is read into a sample, samples around a test become
its measurement, rules turn measurements into alerts, alerts and measurements make up
the run, and reports render the run. ``model.py`` has these records in that order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_memalert.errors import (
    ConfigurationError,
    DeliveryError,
    MemalertError,
    MemalertWarning,
    MemoryAlertWarning,
)

if TYPE_CHECKING:
    from pytest_memalert.alerts import AlertManager
    from pytest_memalert.channels import AlertChannel
    from pytest_memalert.hunting.finding import assert_no_leaks, find_leaks
    from pytest_memalert.measuring import MemoryReport, measure
    from pytest_memalert.model import (
        AlertCategory,
        AlertCondition,
        AlertRule,
        AlertSeverity,
        FixtureGrowth,
        LeakAnalysis,
        LeakVerdict,
        Measurement,
        PerformanceAlert,
        Probe,
        Run,
        Survivor,
    )

__version__ = "0.1.0"

__all__ = [
    "AlertCategory",
    "AlertChannel",
    "AlertCondition",
    "AlertManager",
    "AlertRule",
    "AlertSeverity",
    "ConfigurationError",
    "DeliveryError",
    "FixtureGrowth",
    "LeakAnalysis",
    "LeakVerdict",
    "Measurement",
    "MemalertError",
    "MemalertWarning",
    "MemoryAlertWarning",
    "MemoryReport",
    "PerformanceAlert",
    "Probe",
    "Run",
    "Survivor",
    "assert_no_leaks",
    "find_leaks",
    "measure",
]

# Imported when first asked for. The measuring ones need psutil, and to make the records takes 15 ms:
# a test run without --memalert pays for neither.
_LATE = {
    "AlertChannel": "channels",
    "AlertManager": "alerts",
    "MemoryReport": "measuring",
    "assert_no_leaks": "hunting.finding",
    "find_leaks": "hunting.finding",
    "measure": "measuring",
    **dict.fromkeys(
        (
            "AlertCategory",
            "AlertCondition",
            "AlertRule",
            "AlertSeverity",
            "FixtureGrowth",
            "LeakAnalysis",
            "LeakVerdict",
            "Measurement",
            "PerformanceAlert",
            "Probe",
            "Run",
            "Survivor",
        ),
        "model",
    ),
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
