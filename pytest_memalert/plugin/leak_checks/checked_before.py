"""What earlier sessions found of suspects, for as long as neither the code nor their first run changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.errors import describe_exception
from pytest_memalert.leaks.suspicion import is_alike
from pytest_memalert.model import AS_BEFORE, UNCLEAR_BEFORE
from pytest_memalert.plugin.given.earlier_runs import reading_history
from pytest_memalert.plugin.given.environment import this_environment
from pytest_memalert.plugin.given.given import Given
from pytest_memalert.plugin.imports import globals_of
from pytest_memalert.plugin.leak_checks.proofs import Proofs

if TYPE_CHECKING:
    from pytest_memalert.history import CheckedTest
    from pytest_memalert.hunting.recognition import Proof

__all__ = ["CheckedBefore", "choose", "read_checked_before"]

# For so many sessions what a check found holds. A test of which it stayed unclear is worth another attempt
# sooner.
_CLEAN_FOR, _UNCLEAR_FOR = 10, 5
# Where every test was checked, the latest are enough: to read these takes 30 ms.
_MOST_CHECKED = 10_000


class CheckedBefore:
    """Say whether a suspect need not be checked; ``tests`` were checked before, the newest verdict first.

    Their node ids name files from the root folder of ``config``. ``proofs`` has what leaks were proven to be.
    """

    def __init__(self, tests: Iterable[CheckedTest], proofs: Proofs, config: pytest.Config) -> None:
        self._checked, self.leaking = choose(tests)
        self._proofs = proofs
        self._root = config.rootpath
        self._loaded: set[str] = set()
        # Of several files of a name, as conftest.py, only the last is in sys.modules.
        plugins = config.pluginmanager.get_plugins()
        files = [vars(plugin).get("__file__") for plugin in plugins if type(plugin) is ModuleType]
        self._last_change_s = max((_changed_s(file) for file in files if isinstance(file, str)), default=0.0)

    def why_left(self, nodeid: str, values: Mapping[str, float]) -> str | None:
        """Return why a test need not be checked: its first run left what it left then, by the same code.

        That holds of no session that began before the code last changed: a leak may have come since that
        leaves no more in its first run than a cache did that filled there.
        """
        before = self._checked.get(nodeid)
        if before is None or not is_alike(values, before.values):
            return None
        if not self._changed_s(nodeid) < before.started_at.timestamp() <= utc_now().timestamp():
            return None
        return AS_BEFORE if before.status == "clean" else UNCLEAR_BEFORE

    def proof_of(self, nodeid: str) -> Proof | None:
        """Return what the test, which is known to leak, was proven to leave in each run, by the same code."""
        if nodeid not in self.leaking:
            return None
        changed_at = datetime.fromtimestamp(self._changed_s(nodeid), timezone.utc)
        return self._proofs.find(nodeid, changed_at=changed_at)

    def _changed_s(self, nodeid: str) -> float:
        """Return when a file was last changed of the modules that were loaded: the test has just run."""
        for name in set(sys.modules) - self._loaded:
            self._loaded.add(name)
            file = globals_of(sys.modules.get(name)).get("__file__")
            if isinstance(file, str):
                self._last_change_s = max(self._last_change_s, _changed_s(file))
        # That of a doctest is no module.
        return max(self._last_change_s, _changed_s(self._root / nodeid.partition("::")[0]))


def read_checked_before(
    config: pytest.Config, given: Given, *, warn: Callable[[str], None]
) -> CheckedBefore | None:
    """Return what earlier sessions found; None where that is nothing, or the history can't be read.

    ``warn`` is told of trouble; that it is no history is told when it is written.
    """
    checked: list[CheckedTest] = []
    environment = this_environment(traced=given.settings.trace)
    try:
        with reading_history(
            config, given, purpose="can't see what was checked", warn=warn, tells_unopened=False
        ) as history:
            if history is not None:
                checked += history.checked(runs=_CLEAN_FOR, limit=_MOST_CHECKED, environment=environment)
    except Exception as trouble:  # each suspect is checked
        warn(f"memalert can't see what earlier sessions have checked ({describe_exception(trouble)})")
    return CheckedBefore(checked, Proofs(config, environment), config) if checked else None


def choose(tests: Iterable[CheckedTest]) -> tuple[dict[str, CheckedTest], frozenset[str]]:
    """Return by node id the tests that needn't be checked as they are, and those known to leak.

    ``tests`` come the newest first. One that leaked is in neither, once it was clean since.
    """
    found: dict[str, CheckedTest] = {}
    leaked, leaking, cleared = set(), set(), set()
    for test in tests:
        if test.status == "leaking":
            leaked.add(test.nodeid)
            if test.nodeid not in cleared:
                leaking.add(test.nodeid)
            continue
        if test.status == "clean":
            cleared.add(test.nodeid)
        if test.status == "clean" or test.age < _UNCLEAR_FOR:
            found.setdefault(test.nodeid, test)
    return {nodeid: test for nodeid, test in found.items() if nodeid not in leaked}, frozenset(leaking)


def _changed_s(file: str | Path) -> float:
    """Return when a file was last written, replaced or put in its place, or the archive that it is in."""
    path = str(file)
    while path:
        try:
            found = os.stat(path)  # noqa: PTH116 - a thousand of them
        except NotADirectoryError:
            path = os.path.dirname(path)  # noqa: PTH120
        except (OSError, ValueError):
            break
        else:
            # Installers may keep the time of writing; that of the change of the file's place is the system's.
            return max(found.st_mtime, found.st_ctime)
    return 0.0
