"""leaks/words.py: the growth of a leak, as an alert says it."""

from __future__ import annotations

from pytest_memalert.leaks.sizes import growth_of
from pytest_memalert.leaks.words import describe_growth
from pytest_memalert.model import SignalGrowth
from tests.readings import script


def test_growth_is_described_by_run() -> None:
    readings = script(lambda n: {"blocks": n * 4.0, "heap": n * 1_000_016.0}, runs=8)
    growth = [growth_of(readings, "blocks"), growth_of(readings, "heap")]
    assert describe_growth(growth) == "+4 blocks and +1,000,016 bytes of heap in each of 8 runs"


def test_one_of_a_thing_is_described_in_the_singular() -> None:
    growth = [SignalGrowth(signal="descriptors", per_run=1, runs=9, every_run=True)]
    assert describe_growth(growth) == "+1 open descriptor in each of 9 runs"
