"""All four hooks of pytest-memalert."""

from __future__ import annotations

from pathlib import Path

import pytest
import shop

from pytest_memalert import Probe

KNOWN = pytest.StashKey[set[str]]()


def pytest_configure(config):
    """Register the marker that this suite uses for growth it knows of."""
    config.addinivalue_line("markers", "known_growth: the memory this test leaves behind is known")
    config.stash[KNOWN] = set()


def pytest_collection_modifyitems(config, items):
    """Remember which tests are marked: alerts name tests by their id."""
    config.stash[KNOWN].update(item.nodeid for item in items if item.get_closest_marker("known_growth"))


def pytest_memalert_probes(config):
    """Watch the entries of the shop's cache; the rule in pyproject.toml names this metric."""
    return [
        Probe(
            name="cache_entries",
            unit="count",
            read=lambda: len(shop.ENTRIES),
            description="cache growth",
        )
    ]


def pytest_memalert_component(item):
    """Name the component by the folder below tests; without one, let others answer."""
    folder = item.path.parent.name
    return None if folder == "tests" else folder


def pytest_memalert_modify_alerts(config, alerts):
    """Drop what is known."""
    alerts[:] = [alert for alert in alerts if not config.stash[KNOWN].intersection(alert.nodeids)]


def pytest_memalert_finished(config, run):
    """Write the components with their largest growth, and the alerts, as Markdown."""
    largest: dict[str, float] = {}
    for test in run.tests:
        growth = test.values.get("cache_entries", 0)
        largest[test.component] = max(growth, largest.get(test.component, 0))
    lines = ["| component | largest cache growth |", "|---|---|"]
    lines += [f"| {component} | {growth} |" for component, growth in sorted(largest.items())]
    speaking = [alert for alert in run.alerts if alert.inhibited_by is None]
    lines += ["", *(f"- {alert.severity.value}: {alert.rule}, {alert.component}" for alert in speaking)]
    path = Path(config.invocation_params.dir) / "memory.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
