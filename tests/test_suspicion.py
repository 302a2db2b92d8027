"""Tests for which first runs stand out."""

from __future__ import annotations

from pytest_memalert.leaks.suspicion import Floor

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
