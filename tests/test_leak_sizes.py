"""leaks/sizes.py: from scripted readings and traces to the growth and the bytes per run."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pytest_memalert.leaks.readings import Reading
from pytest_memalert.leaks.sizes import TracedGrowth, bytes_per_run, growth_of, growth_per_run, traced_growth
from tests.readings import accumulate, script


def test_growth_is_in_each_run_only_where_all_runs_were_like_the_single_ones() -> None:
    """The first runs are read one by one, later ones together."""
    steady = [Reading(runs=n, elapsed_s=0.0, levels={"blocks": 2.0 * n}) for n in (0, 1, 2, 3, 4, 20, 40)]
    assert growth_of(steady, "blocks").every_run
    slower = [replace(each, levels={"blocks": 2.0 * min(each.runs, 10)}) for each in steady]
    assert not growth_of(slower, "blocks").every_run


def test_one_time_step_does_not_falsify_the_growth_per_run() -> None:
    assert growth_per_run([(n, n + (130 if n > 700 else 0)) for n in range(1000)]) == 1


def test_growth_per_run_of_a_rare_leak_is_its_mean() -> None:
    assert growth_per_run([(n, n // 10) for n in range(1000)]) == pytest.approx(0.1, rel=0.05)


def test_growth_per_run_is_that_of_the_later_runs_where_a_cache_filled_during_the_first() -> None:
    runs = [*range(20), *range(20, 1301, 40)]
    growth = growth_of(
        [Reading(runs=n, elapsed_s=0.0, levels={"blocks": 11.0 * n + 4.0 * min(n, 128)}) for n in runs],
        "blocks",
    )
    assert (growth.per_run, growth.every_run) == (11.0, False)


def test_growth_per_run_of_a_heap_whose_first_runs_took_more_is_the_mean_of_all() -> None:
    runs = [*range(20), *range(20, 1301, 40)]
    noise = random.Random(1)
    points = [(n, 144.0 * n if n < 20 else 128.0 * n + noise.choice((300, 320, 350))) for n in runs]
    assert growth_per_run(points) == pytest.approx(128, rel=0.01)


def test_enlarged_buffer_is_no_part_of_the_leak() -> None:
    grown = traced_growth({}, {("a.py:1", 16): 20, ("a.py:1", 8856): 1, ("b.py:7", 400): 1}, runs=20)
    assert grown == TracedGrowth(small_bytes=16.0, large_bytes=0.0, large_count=0.0, traces=1.0)


@pytest.mark.parametrize("runs", [2, 3])
def test_dict_that_makes_room_in_one_of_few_traced_runs_is_no_part_of_the_leak(runs: int) -> None:
    """On a busy machine there were two, and 9 KiB per run were told of 416 bytes."""
    grown = traced_growth({}, {("a.py:1", 56): 2 * runs, ("a.py:2", 73_816): 1}, runs=runs)
    assert (grown.small_bytes, grown.large_bytes) == (112.0, 0.0)


def test_results_that_replace_each_other_do_not_falsify_the_size_of_a_large_object() -> None:
    """Over the few runs that are traced they may add a fifth: 18.7 KB were told of 15.4."""
    noise = random.Random(1)
    readings = script(
        lambda n: {"blocks": float(n), "heap": n * 15_408.0 + noise.randrange(60_000)}, runs=1300
    )
    traced = TracedGrowth(small_bytes=0.0, large_bytes=18_687.0, large_count=1.0, traces=1.0)
    assert bytes_per_run(readings, ("blocks", "heap"), traced) == pytest.approx(15_400, rel=0.01)


def test_what_caches_took_of_the_heap_in_the_first_runs_is_not_native_memory() -> None:
    """These are read one by one: 24.6 KiB were told of 19.7."""
    levels = accumulate([9872.0] * 64 + [3000.0] * 400)
    readings = script(lambda n: {"blocks": 205.0 * n, "heap": levels(n)}, runs=464)
    readings = [each for each in readings if each.runs <= 64 or each.runs % 40 == 0]
    traced = TracedGrowth(small_bytes=15_427, large_bytes=3040, large_count=2, traces=206)
    found = bytes_per_run(readings, ("blocks", "heap"), traced)
    assert found == pytest.approx(15_427 + 3040, rel=0.06)


def test_bytes_of_small_objects_are_those_traced() -> None:
    readings = script(lambda n: {"blocks": n * 2.0, "heap": 0.0})
    traced = TracedGrowth(small_bytes=88, large_bytes=0, large_count=0, traces=2)
    assert bytes_per_run(readings, ("blocks",), traced) == 88


def doubling(n: int) -> float:
    """Return the size of the table of a dict of n entries with texts as keys."""
    slots = 8
    while 2 * slots < 3 * n:
        slots *= 2
    return 2.0 * slots + 16 * 2 * slots / 3


@pytest.mark.parametrize("runs", [300, 700, 1300, 1400, 4000])
def test_room_that_a_container_makes_for_its_entries_is_part_of_them(runs: int) -> None:
    """A dict that doubles takes 19 to 38 bytes for each; they were left out."""
    readings = script(lambda n: {"blocks": float(n), "heap": doubling(n)}, runs=runs)
    traced = TracedGrowth(small_bytes=57, large_bytes=0, large_count=0, traces=1)
    assert bytes_per_run(readings, ("blocks",), traced) == pytest.approx(57 + doubling(runs) / runs, rel=0.05)


def test_what_fills_once_and_what_a_list_takes_for_an_object_is_no_room_of_a_leak() -> None:
    traced = TracedGrowth(small_bytes=16, large_bytes=0, large_count=0, traces=1)
    once = script(lambda n: {"blocks": float(n), "heap": 90_000.0 * min(1.0, n / 100)}, runs=1300)
    assert bytes_per_run(once, ("blocks",), traced) == 16
    entry = script(lambda n: {"blocks": float(n), "heap": 9.0 * n}, runs=1300)
    assert bytes_per_run(entry, ("blocks",), traced) == 16


def test_bytes_of_a_rare_leak_follow_the_pace_of_its_blocks() -> None:
    readings = script(lambda n: {"blocks": float(n // 10), "heap": 0.0})
    traced = TracedGrowth(small_bytes=12.8, large_bytes=0, large_count=0, traces=0.2)
    assert bytes_per_run(readings, ("blocks",), traced) == pytest.approx(6.4, rel=0.05)


def test_what_takes_the_place_of_an_older_object_is_traced_and_no_growth() -> None:
    readings = script(lambda n: {"blocks": n * 11.0, "heap": 0.0})
    traced = TracedGrowth(small_bytes=1500, large_bytes=0, large_count=0, traces=15)
    assert bytes_per_run(readings, ("blocks",), traced) == pytest.approx(1100)


def test_large_objects_count_once_though_heap_and_tracing_both_see_them() -> None:
    readings = script(lambda n: {"blocks": float(n), "heap": n * 1072.0})
    traced = TracedGrowth(small_bytes=0, large_bytes=1057, large_count=1, traces=1)
    assert bytes_per_run(readings, ("blocks", "heap"), traced) == 1057


def test_native_memory_is_added_to_the_objects() -> None:
    readings = script(lambda n: {"blocks": n * 6.0, "heap": n * 1056.0})
    traced = TracedGrowth(small_bytes=312, large_bytes=0, large_count=0, traces=6)
    assert bytes_per_run(readings, ("blocks", "heap"), traced) == 1368


def test_much_that_is_lost_in_one_of_eight_runs_is_counted_beside_little_in_each() -> None:
    """It was taken for a container that makes room."""
    readings = script(lambda n: {"blocks": 2.0 * n, "heap": 800_000.0 * (n // 8)}, runs=64)
    traced = TracedGrowth(small_bytes=64.0, large_bytes=0.0, large_count=0.0, traces=1.0)
    assert bytes_per_run(readings, ("blocks", "heap"), traced) == pytest.approx(100_064, rel=0.1)


def test_memory_that_is_taken_by_the_page_counts_by_its_mean() -> None:
    """As SQLite's: the usual run takes 1 KiB, every fourth has to take a page."""
    levels = accumulate([1024.0, 1024.0, 1024.0, 5120.0] * 50)
    readings = script(lambda n: {"blocks": float(n), "heap": levels(n)})
    traced = TracedGrowth(small_bytes=80, large_bytes=0, large_count=0, traces=1)
    assert bytes_per_run(readings, ("blocks", "heap"), traced) == pytest.approx(80 + 2048, rel=0.03)


def test_memory_that_is_taken_by_the_page_counts_though_blocks_that_stay_for_a_while_come_each_run() -> None:
    """A row of SQLite's each; its list of weak references is emptied now and then. It was to take nothing."""
    readings = script(lambda n: {"blocks": float(n % 200), "heap": 4384.0 * (n // 8)}, runs=190)
    assert bytes_per_run(readings, ("heap",), None) == pytest.approx(548, rel=0.05)


def test_bytes_of_which_nothing_is_seen_are_unknown_and_not_none() -> None:
    readings = script(lambda n: {"blocks": float(n), "heap": 0.0})
    traced = TracedGrowth(small_bytes=0, large_bytes=0, large_count=0, traces=0)
    assert bytes_per_run(readings, ("blocks",), traced) is None
    assert bytes_per_run(readings, ("descriptors",), None) == 0


def test_resident_memory_of_a_heap_that_is_not_counted_counts_as_such() -> None:
    """A text that is copied to grow: its heap jumps about, what it takes is resident."""
    readings = script(lambda n: {"heap": n * 5000.0, "resident": n * 5100.0, "mapped": n * 5100.0})
    assert bytes_per_run(readings, ("resident",), None) == pytest.approx(5100)


def test_bytes_are_unknown_where_blocks_could_not_be_traced() -> None:
    assert bytes_per_run(script(lambda n: {"blocks": float(n)}), ("blocks",), None) is None


def test_memory_mapped_behind_malloc_has_its_resident_size() -> None:
    readings = script(lambda n: {"heap": 0.0, "resident": n * 65536.0, "mapped": n * 65536.0})
    assert bytes_per_run(readings, ("resident", "mapped"), None) == 65536
