"""plugin/measuring/letting_go.py: when the interpreter's free lists are emptied before each reading."""

from __future__ import annotations

import pytest

from pytest_memalert.collector import collect, collect_young
from pytest_memalert.plugin.measuring import letting_go
from pytest_memalert.plugin.measuring.letting_go import LettingGo


@pytest.fixture(autouse=True)
def heap_of_a_small_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letting_go, "allocated_blocks", lambda: 200_000)


def test_a_full_collection_in_re_runs_has_them_emptied_for_so_many_tests() -> None:
    letting = LettingGo()
    assert not letting.is_emptying
    collect()
    letting.after_reruns()
    tests = 0
    while letting.is_emptying:
        letting.after_span()
        letting.end_test()
        tests += 1
    assert tests == 200


def test_re_runs_that_collected_nothing_old_leave_them_filled() -> None:
    letting = LettingGo()
    collect_young()
    letting.after_reruns()
    assert not letting.is_emptying


def test_the_emptying_itself_is_no_reason_to_go_on_with_it() -> None:
    letting = LettingGo()
    collect()
    letting.after_reruns()
    for _ in range(199):
        letting.after_span()
        letting.end_test()
    letting.after_reruns()
    letting.end_test()
    assert not letting.is_emptying


def test_a_large_heap_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """With each emptying the interpreter forgets how many old objects there are, and collects too soon."""
    letting = LettingGo()
    monkeypatch.setattr(letting_go, "allocated_blocks", lambda: 1_000_000)
    collect()
    letting.after_reruns()
    assert not letting.is_emptying
