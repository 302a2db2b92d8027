"""Leaks that an earlier session proved: known again by two runs, and proven anew where anything changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_memalert.clock import utc_now
from pytest_memalert.hunting.questions import Left
from pytest_memalert.hunting.recognition import Proof
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.plugin.given.environment import this_environment
from pytest_memalert.plugin.leak_checks.cached import read_cached, write_cached
from pytest_memalert.plugin.leak_checks.proofs import Proofs, encode_proof, write_proofs
from tests.conftest import FEW, Inner

LEAKS = f"""
    import os

    import pytest

    KEPT = []

    @pytest.mark.memalert(runs={FEW})
    def test_leaks():
        if os.environ.get("LEAKS") != "no":
            KEPT.extend(set() for _ in range(300 * int(os.environ.get("TIMES", 1))))
"""
KEY = "memalert/leaks"
ENVIRONMENT = this_environment(traced=False)
LONG_AGO = datetime.fromtimestamp(0, tz=timezone.utc)
# With the default ones off.
LEAK_RULE = '[[tool.memalert.rules]]\nname = "any"\nmetric = "leak_bytes_per_run"\nthreshold = "0 B"'


def proven(inner: Inner, *args: str, leaks: str = "suspects") -> tuple[list[dict[str, Any]], int]:
    """Return the alerts of a session, and how often its tests were run again."""
    assert inner.run_apart(*args, leaks=leaks).ret == pytest.ExitCode.TESTS_FAILED
    report = inner.report()
    return report["alerts"], report["totals"]["reruns"]


def cached(inner: Inner) -> Path:
    """Return the file that holds the proofs."""
    return inner.pytester.path / ".pytest_cache" / "v" / "memalert" / "leaks"


@pytest.fixture
def leaking(serial: Inner) -> Inner:
    """Provide a suite after a session that has proven its leak."""
    return begin(serial)


def begin(suite: Inner) -> Inner:
    """Have a first session prove the leak."""
    suite.configure(LEAK_RULE)
    suite.write(LEAKS)
    assert proven(suite)[1] > 8
    return suite


def test_a_leak_that_was_proven_is_known_by_two_runs_and_told_as_before(inner: Inner) -> None:
    begin(inner)
    (before,) = inner.report()["alerts"]
    for leaks in ("suspects", "all"):
        (alert,), runs = proven(inner, leaks=leaks)
        assert runs == 2
        for key in ("fingerprint", "observed", "survivors", "recommendations", "component"):
            assert alert[key] == before[key], key
        assert alert["survivors"][0]["held_by"]
        assert "confirmed before" in inner.tests()["test_leaks"]["leak"]["reason"]


def test_a_leak_is_proven_anew_once_its_code_is_written_anew(leaking: Inner) -> None:
    leaking.write(LEAKS.replace("set()", "[]"))
    (alert,), runs = proven(leaking)
    assert runs > 8
    assert alert["survivors"][0]["type"] == "list"


def test_a_leak_that_has_become_larger_is_proven_anew(
    leaking: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is no code."""
    (before,) = leaking.report()["alerts"]
    monkeypatch.setenv("TIMES", "2")
    (alert,), runs = proven(leaking)
    assert runs > 8
    assert alert["observed"] == pytest.approx(2 * before["observed"], rel=0.1)


def test_a_leak_that_has_gone_is_not_told(leaking: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKS", "no")
    assert leaking.run_apart(leaks="suspects").ret == pytest.ExitCode.OK
    assert leaking.tests()["test_leaks"]["leak"]["status"] == "clean"


@pytest.mark.parametrize("option", ["-pno:cacheprovider", "--memalert-history=off"])
def test_without_a_cache_or_a_history_each_session_proves(leaking: Inner, option: str) -> None:
    assert proven(leaking, option)[1] > 8


def test_what_a_gate_says_does_not_depend_on_the_cache(leaking: Inner) -> None:
    proven(leaking, "--memalert-save")
    leaking.run_apart("--memalert-gate", leaks="suspects")
    assert leaking.report()["totals"]["reruns"] > 8


@pytest.fixture
def cache_of_a_proof(serial: Inner) -> tuple[pytest.Config, Any]:
    """Provide a configuration whose cache has the proof of one leak, and what is in it."""
    config = serial.pytester.parseconfigure()
    left = Left(kinds=frozenset({("set", 300)}), times=1, blocks=300.0, heap_bytes=0.0)
    proof = Proof(left=left, analysis=LeakAnalysis(status="leaking", bytes_per_run=64_800.0))
    write_proofs(config, {"test_a.py::test_leaks": encode_proof(proof)}, ENVIRONMENT, proven_at=utc_now())
    return config, read_cached(config, KEY)


def find_proof(config: pytest.Config, *, changed_at: datetime = LONG_AGO) -> Proof | None:
    """Return the proof that a new session finds."""
    return Proofs(config, ENVIRONMENT).find("test_a.py::test_leaks", changed_at=changed_at)


def _older(entry: Any) -> None:
    for test in entry["tests"].values():
        test["proven_at"] = (datetime.fromisoformat(test["proven_at"]) - timedelta(days=15)).isoformat()


def _of_the_future(entry: Any) -> None:
    for test in entry["tests"].values():
        test["proven_at"] = (datetime.fromisoformat(test["proven_at"]) + timedelta(days=2)).isoformat()


def _of_another_environment(entry: Any) -> None:
    entry["environment"]["python"] = "2.7.18"


def _of_another_format(entry: Any) -> None:
    entry["format"] = 0


def _without_kinds(entry: Any) -> None:
    for test in entry["tests"].values():
        test["proof"]["kinds"] = [["set", "many"]]


def _of_no_tests(entry: Any) -> None:
    entry["tests"] = 3


@pytest.mark.parametrize(
    "change",
    [_older, _of_the_future, _of_another_environment, _of_another_format, _without_kinds, _of_no_tests],
)
def test_a_proof_that_does_not_hold_here_is_none(
    cache_of_a_proof: tuple[pytest.Config, Any], change: Callable[[Any], None]
) -> None:
    config, entry = cache_of_a_proof
    change(entry)
    write_cached(config, KEY, entry)
    assert find_proof(config) is None


def test_a_proof_holds_until_its_code_is_changed(
    cache_of_a_proof: tuple[pytest.Config, Any],
) -> None:
    config, _ = cache_of_a_proof
    found = find_proof(config)
    assert found is not None
    assert found.left.kinds == {("set", 300)}
    assert find_proof(config, changed_at=utc_now()) is None
