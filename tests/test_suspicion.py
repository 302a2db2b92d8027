"""Tests for which first runs stand out."""

from __future__ import annotations

import pytest

from pytest_memalert.leaks.suspicion import Floor, is_alike

QUIET = {"blocks_growth": 150.0, "heap_growth_bytes": 1000.0, "rss_growth_bytes": 0.0}


def learnt(values: dict[str, float], *, tests: int = 64) -> Floor:
    floor = Floor()
    for _ in range(tests):
        floor.learn(values)
    return floor


def test_what_every_test_retains_is_no_suspicion() -> None:
    busy = {**QUIET, "blocks_growth": 900.0}
    assert not learnt(busy).stands_out(busy)


def test_a_leak_of_300_blocks_stands_out_whatever_the_suite_retains() -> None:
    for usual in (0.0, 150.0, 900.0):
        floor = learnt({**QUIET, "blocks_growth": usual})
        assert floor.stands_out({**QUIET, "blocks_growth": usual + 300})


def test_a_leak_of_300_blocks_stands_out_in_the_first_test() -> None:
    assert Floor().stands_out({**QUIET, "blocks_growth": 302.0})


def test_a_leak_of_10_kib_stands_out() -> None:
    floor = learnt(QUIET)
    assert floor.stands_out({**QUIET, "heap_growth_bytes": 1000.0 + 10 * 1024})


def test_memory_that_bypasses_malloc_stands_out_by_resident_memory() -> None:
    assert learnt(QUIET).stands_out({**QUIET, "rss_growth_bytes": 400_000.0})


def test_a_slow_test_stands_out_by_resident_memory_alone_where_it_is_much() -> None:
    floor = learnt(QUIET)
    slow = {**QUIET, "duration_s": 0.3}
    assert floor.stands_out({**QUIET, "duration_s": 0.03, "rss_growth_bytes": 150_000.0})
    assert not floor.stands_out({**slow, "rss_growth_bytes": 150_000.0})
    assert floor.stands_out({**slow, "rss_growth_bytes": 600_000.0})
    assert floor.stands_out({**slow, "blocks_growth": 460.0})


def test_resident_memory_that_blocks_account_for_is_no_suspicion_of_its_own() -> None:
    floor = learnt({**QUIET, "blocks_growth": 600.0})
    assert not floor.stands_out({**QUIET, "blocks_growth": 600.0, "rss_growth_bytes": 300_000.0})


def test_the_first_tests_are_judged_by_what_suites_retain_usually() -> None:
    assert not Floor().stands_out(QUIET)
    assert Floor().stands_out({**QUIET, "blocks_growth": 500.0})


def test_a_few_leaking_tests_do_not_raise_the_floor() -> None:
    floor = Floor()
    for index in range(64):
        floor.learn({**QUIET, "blocks_growth": 5000.0 if index % 3 == 0 else 150.0})
    assert floor.blocks == 150.0


def test_first_runs_are_alike_where_little_tells_them_apart() -> None:
    assert is_alike({**QUIET, "blocks_growth": 198.0, "heap_growth_bytes": 4000.0}, QUIET)
    assert is_alike({**QUIET, "rss_growth_bytes": 20_000.0}, QUIET)


@pytest.mark.parametrize(
    "leak",
    [
        # As little of a leak of 300 blocks or 10 KiB as may show beside what a run gave back.
        {"blocks_growth": 150.0 + 150.0},
        {"heap_growth_bytes": 1000.0 + 6 * 1024},
        {"rss_growth_bytes": 200 * 1024.0},
        {"threads_growth": 1.0},
    ],
)
def test_a_first_run_with_a_leak_that_came_since_is_not_alike(leak: dict[str, float]) -> None:
    assert not is_alike({**QUIET, **leak}, QUIET)


def test_a_first_run_that_left_less_is_not_alike() -> None:
    """What filled there fills elsewhere now: a leak of as much would not show."""
    assert not is_alike({**QUIET, "blocks_growth": 0.0}, QUIET)
    assert not is_alike({**QUIET, "heap_growth_bytes": -6000.0}, QUIET)


def test_what_is_known_of_one_of_two_first_runs_tells_nothing() -> None:
    unread = {name: value for name, value in QUIET.items() if name != "heap_growth_bytes"}
    assert not is_alike(unread, QUIET)
    assert not is_alike(QUIET, unread)
    assert is_alike(unread, unread)
