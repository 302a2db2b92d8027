"""``measure`` in any program."""

from __future__ import annotations

import gc

import pytest

from pytest_memalert import measure
from pytest_memalert.errors import MemalertError

MIB = 2**20


def test_block_that_keeps_memory_grows_by_it() -> None:
    """The larger of resident and heap growth."""
    with measure("keep") as measured:
        kept = b"x" * 8 * MIB
    assert len(kept) == 8 * MIB
    assert measured.growth_bytes is not None
    assert 7 * MIB < measured.growth_bytes < 10 * MIB
    assert measured.duration_s > 0


def test_block_that_gives_back_does_not_grow() -> None:
    """On the heap; resident memory may stay with the allocator."""
    with measure("give back") as measured:
        len(b"x" * 8 * MIB)
    assert measured.metrics.get("heap_growth_bytes", 0) < MIB


def test_blocks_count_python_objects() -> None:
    """Of up to 512 bytes."""
    with measure("objects") as measured:
        kept = [object() for _ in range(5000)]
    assert len(kept) == 5000
    assert measured.blocks_growth is not None
    assert measured.blocks_growth >= 4900


def test_what_is_collected_after_a_block_takes_none_of_its_time() -> None:
    """Neither the pace of its growth nor its processor time has it in."""
    gc.disable()
    try:
        with measure("cycles", metrics=["cpu_s"]) as measured:
            for _ in range(200_000):
                cycle: list[object] = []
                cycle.append(cycle)
    finally:
        gc.enable()
    values = measured.metrics
    assert values["growth_rate_bytes_per_s"] == pytest.approx(values["growth_bytes"] / measured.duration_s)
    assert values["cpu_s"] <= 1.1 * measured.duration_s


def test_figures_are_known_after_the_block_alone() -> None:
    """And what went wrong is said."""
    with measure("load") as measured, pytest.raises(MemalertError, match="measure\\('load'\\) has not ended"):
        _ = measured.growth_bytes


def test_exception_of_a_block_passes_through() -> None:
    """The figures are known all the same."""
    measured = measure("fails")
    with pytest.raises(ValueError, match="its own"), measured:
        raise ValueError("its own")
    assert measured.duration_s >= 0
