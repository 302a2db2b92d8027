"""What earlier sessions found of suspects, for as long as neither the code nor their first run changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.plugin.environment import this_environment
from pytest_memalert.plugin.given import Given
from pytest_memalert.plugin.past import reading_history

__all__ = ["read_checked_before"]

# For so many sessions what a check found holds. A test of which it stayed unclear is worth another attempt
# sooner.
_CLEAN_FOR, _UNCLEAR_FOR = 20, 5
# Where every test was checked, the latest are enough: to read these takes 30 ms.
_MOST_CHECKED = 10_000


def read_checked_before(config: pytest.Config, given: Given) -> dict[str, Mapping[str, float]]:
    """Return the figures with which tests were checked in earlier sessions that found no leak in them.

    None of a session that began before the code last changed: a leak may have come since that leaves no more
    in its first run than a cache did that filled there. A history that can't be read is told of when it is
    written.
    """
    found: dict[str, Mapping[str, float]] = {}
    leaking = set()
    with reading_history(config, given, purpose="can't see what was checked", warn=lambda _: None) as history:
        if history is None:
            return {}
        checked = history.checked(
            since=_last_change(),
            runs=_CLEAN_FOR,
            limit=_MOST_CHECKED,
            environment=this_environment(traced=given.settings.trace),
        )
        for test in checked:
            if test.status == "leaking":
                leaking.add(test.nodeid)
            elif test.status == "clean" or test.age < _UNCLEAR_FOR:
                found.setdefault(test.nodeid, test.values)
    return {nodeid: values for nodeid, values in found.items() if nodeid not in leaking}


def _last_change() -> datetime:
    """Return when a file of a module that is loaded was last written, replaced or put in its place."""
    latest_s = 0.0
    for module in tuple(sys.modules.values()):
        try:
            # Not the attribute: to ask a lazy module for one loads it.
            file = object.__getattribute__(module, "__dict__").get("__file__")
            found = os.stat(file)  # noqa: PTH116 - a thousand of them
        except (OSError, TypeError, ValueError, AttributeError):
            continue
        # Installers may keep the time of writing; that of the change of the file's place is the system's.
        latest_s = max(latest_s, found.st_mtime, found.st_ctime)
    return datetime.fromtimestamp(min(latest_s, utc_now().timestamp()), timezone.utc)
