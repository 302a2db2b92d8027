"""leaks/words.py: the growth of a leak, as an alert says it."""

from __future__ import annotations

from pytest_memalert.leaks.sizes import growth_of
from pytest_memalert.leaks.words import describe_growth, is_in_each_run
from pytest_memalert.model import SignalGrowth
from tests.readings import script


def test_growth_is_described_by_run() -> None:
    readings = script(lambda n: {"blocks": n * 4.0, "heap": n * 1_000_016.0}, runs=8)
    growth = [growth_of(readings, "blocks"), growth_of(readings, "heap")]
    assert describe_growth(growth) == "+4 blocks and +1,000,016 bytes of heap in each of 8 runs"


def test_one_of_a_thing_is_described_in_the_singular() -> None:
    growth = [SignalGrowth(signal="descriptors", per_run=1, runs=9, every_run=True)]
    assert describe_growth(growth) == "+1 open descriptor in each of 9 runs"


def test_growth_in_each_run_is_told_from_growth_in_some_and_from_that_of_lists() -> None:
    """Lists that become longer are looked at by no brief check."""
    found = {}
    for signal, every_run in (("blocks", True), ("blocks", False), ("lists", True)):
        growth = SignalGrowth(signal=signal, per_run=8, runs=1304, every_run=every_run)
        message = f"test_a.py::test_it: leaks 8 B per run\n{describe_growth([growth])}\neach run leaves 1 str"
        found[signal, every_run] = is_in_each_run(message)
    assert found == {("blocks", True): True, ("blocks", False): False, ("lists", True): False}
