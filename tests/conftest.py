"""What tests of the plugin share: an inner pytest run, undisturbed by the plugins installed here."""

from __future__ import annotations

import gc
import json
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from textwrap import dedent
from typing import Any

import hypothesis
import pytest

import pytest_memalert.plugin.fixture
import pytest_memalert.plugin.judging.gating
import pytest_memalert.plugin.leak_checks.turn_cache
import pytest_memalert.plugin.phases
import pytest_memalert.plugin.rerun

# Imported once, not anew in each inner run: pytester forgets what an inner run has imported.
import pytest_memalert.plugin.session.controller
import pytest_memalert.plugin.worker  # noqa: F401
from tests.heap import set_aside

pytest_plugins = "pytester"

# A law holds however long it takes: on a busy machine its first example is slow.
hypothesis.settings.register_profile("memalert", deadline=None)
hypothesis.settings.load_profile("memalert")

_OF_GITHUB = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")
_LEAK_RULES = ("leak", "leak-rate")

# A leak this plain shows in 40 runs; without a bound each of them would take its 1,300. Python 3.10 allocates
# for each function that was called 1,024 times, pytest's own included: 40 runs can't tell that from a leak.
FEW = 40 if sys.version_info >= (3, 11) else 1300


class Inner:
    """Run pytest with ``--memalert`` over the files that a test wrote with ``pytester``."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ways: list[str]) -> None:
        self.pytester = pytester
        self.distributed = "-n2" in ways
        self._ways = ways
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p memalert -p xdist")
        # Wide, so that no line that a test looks for is broken.
        monkeypatch.setenv("COLUMNS", "160")
        for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "CI", *_OF_GITHUB):
            monkeypatch.delenv(name, raising=False)
        self.configure()
        with warnings.catch_warnings():
            # What inner runs of the test before have left, files unclosed and all: while it is set aside, no
            # collection frees it, and in a process that holds 300 MB to need as much is no spike.
            warnings.simplefilter("ignore")
            gc.collect()

    def write(self, source: str, **others: str) -> None:
        """Write the tests of a file ``test_a.py``, and other files beside it."""
        self.pytester.makepyfile(test_a=source, **others)

    def configure(self, rules: str = "", *, pytest_options: str = "", options: str = "") -> None:
        """Write a ``pyproject.toml``; without leak rules, which have tests of their own."""
        self.pytester.makepyprojecttoml(
            "\n".join(
                (
                    "[tool.pytest.ini_options]",
                    dedent(pytest_options),
                    "[tool.memalert]",
                    dedent(options),
                    dedent(rules),
                    *(f"[[tool.memalert.rules]]\nname = {name!r}\nenabled = false" for name in _LEAK_RULES),
                )
            )
        )

    def run(self, *args: str | Path, leaks: str | None = "off", memalert: bool = True) -> pytest.RunResult:
        """Return the result of a run in this process (under xdist, its workers are others).

        Unless ``leaks`` says otherwise no test is run again: the first run counts.
        """
        with warnings.catch_warnings(), set_aside() if leaks == "off" else nullcontext():
            # The filters in force here are not the inner run's.
            warnings.resetwarnings()
            return self.pytester.runpytest_inprocess(*self._arguments(args, leaks, memalert))

    def run_apart(
        self, *args: str | Path, leaks: str | None = "off", memalert: bool = True
    ) -> pytest.RunResult:
        """Return the result of a run in a process of its own."""
        return self.pytester.runpytest_subprocess(*self._arguments(args, leaks, memalert))

    def report(self) -> dict[str, Any]:
        """Return the JSON report of the last run."""
        text = (self.pytester.path / "memalert.json").read_text(encoding="utf-8")
        report: dict[str, Any] = json.loads(text)
        return report

    def tests(self) -> dict[str, dict[str, Any]]:
        """Return the tests of the last report by their names alone."""
        return {test["nodeid"].rpartition("::")[2]: test for test in self.report()["tests"]}

    def _arguments(self, args: tuple[str | Path, ...], leaks: str | None, memalert: bool) -> list[str | Path]:
        ours: list[str | Path] = []
        if memalert:
            # Written beside the tests, unless the test says otherwise.
            ours = ["--memalert", "--memalert-json=memalert.json"]
            ours += [f"--memalert-leaks={leaks}"] if leaks else []
        return [*ours, *self._ways, *args]


@pytest.fixture(params=["serial", "-n2"])
def inner(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Inner:
    """Run pytest in one process, and once more with two xdist workers."""
    return Inner(pytester, monkeypatch, [] if request.param == "serial" else ["-n2"])


@pytest.fixture
def serial(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    """Run pytest in one process."""
    return Inner(pytester, monkeypatch, [])


@pytest.fixture
def distributed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    """Run pytest with two xdist workers."""
    return Inner(pytester, monkeypatch, ["-n2"])
