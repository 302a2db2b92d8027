"""hunting/plain_look.py: suspects that are run again without freezing or collecting what is old."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator

import pytest

from pytest_memalert.collector import collect_young, full_collections
from pytest_memalert.hunting.plain_look import look_plainly
from pytest_memalert.hunting.under_way import is_searching
from pytest_memalert.leaks.policy import Policy
from pytest_memalert.model import LeakAnalysis

pytestmark = pytest.mark.skipif(sys.implementation.name != "cpython", reason="blocks are CPython's")

# As a suspect has it where there is no time for small leaks.
SUSPECT = Policy(quick_s=0.0, brief=True, weak_blocks=200.0, weak_bytes=8.5 * 1024)


@pytest.fixture
def kept() -> Iterator[list[object]]:
    """Give a place where a leak may pile up until the test is over."""
    things: list[object] = []
    yield things
    things.clear()


def looked_at(operation: Callable[[], object], *, policy: Policy = SUSPECT) -> LeakAnalysis | None:
    def run() -> None:
        operation()

    return look_plainly(run, policy, let_go=collect_young)


class Node:
    """One object of a cycle."""

    def __init__(self) -> None:
        self.me = self


def test_what_leaves_nothing_again_is_clean_after_two_runs() -> None:
    for _ in range(2):  # malloc makes room in the first look
        found = looked_at(lambda: [object() for _ in range(1000)])
    assert found is not None
    assert (found.status, found.runs) == ("clean", 2)


def test_nothing_old_is_collected_and_the_thresholds_are_as_they_were() -> None:
    full, thresholds, counts = full_collections(), gc.get_threshold(), []

    def operation() -> None:
        counts.append(gc.get_freeze_count())

    before = gc.get_stats()[2]["collections"]
    assert looked_at(operation) is not None
    assert gc.get_stats()[2]["collections"] == before
    assert full_collections() == full
    assert gc.get_threshold() == thresholds
    assert max(counts) < 2000, "only what Python itself froze at its start"


def test_a_leak_that_is_promised_to_be_found_goes_on_to_the_search(kept: list[object]) -> None:
    assert looked_at(lambda: kept.extend(object() for _ in range(300))) is None
    assert looked_at(lambda: kept.append(bytes(10 * 1024))) is None


def test_a_leak_in_every_second_run_goes_on_to_the_search(kept: list[object]) -> None:
    runs = iter(range(100))

    def operation() -> None:
        if next(runs) % 2 == 0:
            kept.extend(object() for _ in range(600))

    assert looked_at(operation) is None


def test_less_than_is_pursued_is_unclear_and_says_how_much(kept: list[object]) -> None:
    found = looked_at(lambda: kept.extend(object() for _ in range(60)))
    assert found is not None
    assert found.status == "unclear"
    assert found.blocks_per_run == pytest.approx(60, abs=15)
    assert "less than is pursued in a suspect" in (found.reason or "")


def test_small_growth_goes_on_where_there_is_time_to_pursue_it(kept: list[object]) -> None:
    policy = Policy(quick_s=0.0, brief=True, weak_blocks=0.05, weak_bytes=8.5 * 1024)
    assert looked_at(lambda: kept.extend(object() for _ in range(60)), policy=policy) is None


def test_cycles_that_died_within_a_long_run_are_collected_with_the_young() -> None:
    """Without being kept young they are old by then: 20,000 of them, in each run."""

    def operation() -> None:
        alive = [Node() for _ in range(20_000)]
        alive.clear()

    found = looked_at(operation)
    assert found is not None
    assert found.status == "clean"


def test_a_run_that_fails_is_no_evidence() -> None:
    found = look_plainly(lambda: "run again, it failed", SUSPECT, let_go=collect_young)
    assert found is not None
    assert (found.status, found.reason, found.runs) == ("unclear", "run again, it failed", 1)


def test_no_other_search_is_begun_within_it() -> None:
    seen = []
    looked_at(lambda: seen.append(is_searching()))
    assert seen
    assert all(seen)
    assert not is_searching()
