"""The formats that a run is exported in, by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from pytest_memalert.model import Run

__all__ = ["FORMATS", "export"]

#: The module of each, here beside, which has ``render``. It is loaded when asked for: the page's libraries
#: alone take a tenth of a second.
FORMATS = {
    "json": "json",
    "markdown": "markdown",
    "html": "html",
    "github": "github",
    "gitlab": "gitlab",
    "bencher": "bencher",
    "benchmark-action": "benchmark_action",
}


def export(run: Run, name: str) -> str:
    """Return a run in one of ``FORMATS``; raises MemalertError where that needs an extra that is missing."""
    render: Callable[[Run], str] = import_module(f"pytest_memalert.reports.{FORMATS[name]}").render
    return render(run)
