"""The pytest plugin: everything that imports pytest.

``worker.py`` is what happens where tests run (``concluding.py``: once a test is torn down),
``session/controller.py`` what happens once per session. Under xdist they are in different
processes; without it one process has both.
This module is loaded in every pytest run, with or without ``--memalert``: it must stay light.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.plugin.command_line import (
    BEGAN_AT,
    add_options,
    is_on,
    may_hold_baseline,
    refuse_idle_options,
)

if TYPE_CHECKING:
    from pytest_memalert.plugin.fixture import Memalert

_MARKER = (
    "memalert(rss=, peak=, growth=, growth_rate=, efficiency=, leak=, traced_peak=, duration=, cpu=, "
    "severity=, leaks='off'|'all', warmups=, runs=, reason=): limits on the memory of a test, "
    "judged when pytest runs with --memalert"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    from pytest_memalert.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Note when the session began; measure what a conftest.py, imported now, imports for a baseline."""
    early_config.stash[BEGAN_AT] = utc_now()
    if not may_hold_baseline(early_config):
        return (yield)
    _load_as_installed(early_config)
    try:
        from pytest_memalert.plugin.measuring.whole import measured_conftests
    except ImportError:  # of pytest's, where pytest_configure tells of it
        return (yield)

    with measured_conftests(early_config):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; where the session measures, the worker and the controller as well."""
    config.addinivalue_line("markers", _MARKER)
    if not is_on(config):
        refuse_idle_options(config)
        return
    _load_as_installed(config)
    try:
        _start(config)
    except ImportError as gone:
        if not (gone.name or "").startswith("_pytest."):
            raise
        raise pytest.UsageError(_tell_unsupported(gone)) from None


def _start(config: pytest.Config) -> None:
    """Register the worker and the controller; raise UsageError where the settings are wrong."""
    from pytest_memalert.errors import ConfigurationError
    from pytest_memalert.plugin.given.given import read_given

    try:
        given = read_given(config)
    except ConfigurationError as wrong:
        raise pytest.UsageError(f"memalert: {wrong}") from None
    worker = None
    if not config.getoption("setuponly", False):
        from pytest_memalert.plugin.collected import Collected
        from pytest_memalert.plugin.worker import Worker

        collected = Collected(config, given.settings)
        worker = Worker(config, given, collected)
        config.pluginmanager.register(collected, "memalert-collected")
        config.pluginmanager.register(worker, "memalert-worker")
    if not hasattr(config, "workerinput"):
        from pytest_memalert.plugin.session.controller import Controller

        controller = Controller(config, given, hear_report=worker.hear_report if worker else None)
        config.pluginmanager.register(controller, "memalert-controller")
    elif worker is not None:
        from pytest_memalert.plugin.phases import Logged

        config.pluginmanager.register(Logged(worker), "memalert-logged")


def _tell_unsupported(gone: ImportError) -> str:
    """Return what to do about a name that pytest has no more, and never promised to have."""
    from pytest_memalert import __version__

    what = str(gone).partition(" (")[0]
    return (
        f"memalert: pytest {pytest.__version__} is not supported by pytest-memalert {__version__} ({what}); "
        "upgrade pytest-memalert, or run with an older pytest or without --memalert"
    )


def _load_as_installed(config: pytest.Config) -> None:
    """Have our modules loaded from the bytecode that came with their installation.

    pytest rewrites the assertions of plugins, for which it compiles their source: in every run anew where
    it can't keep the result (PYTHONDONTWRITEBYTECODE, as most images of containers have it, or a folder
    that it may not write). That would double the time of a start, for assertions that no test makes.
    """
    marked = getattr(config.pluginmanager.rewrite_hook, "_must_rewrite", None)
    if isinstance(marked, set):
        marked -= {"pytest_memalert", "pytest_memalert.plugin"}


@pytest.fixture
def memalert(request: pytest.FixtureRequest) -> Memalert:
    """Measure blocks of the test, and see the alerts raised so far: ``memalert.measure("load")``."""
    from pytest_memalert.plugin.fixture import Memalert

    return Memalert(request.node)
