"""What a test took, from scripted samples."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.measurement import (
    NO_RESIDUE,
    NOTHING_TO_DEDUCT,
    Deduction,
    Residue,
    discount,
    fold,
    measure_test,
)
from pytest_memalert.metrics import METRICS
from pytest_memalert.model import Measurement, Sample

MIB = 2**20
SIZES = st.integers(0, 2**40)
CHANGES = st.integers(-(2**40), 2**40)
DEDUCTIONS = st.builds(
    Deduction, rss_bytes=CHANGES, heap_bytes=CHANGES, blocks=CHANGES, duration_s=st.integers(0, 1000)
)


def sample(at_s: float, rss_mib: float | None, heap_mib: float | None = None, **extra: float) -> Sample:
    """Return a sample in MiB."""
    return Sample(
        at_s=at_s,
        rss_bytes=None if rss_mib is None else int(rss_mib * MIB),
        heap_bytes=None if heap_mib is None else int(heap_mib * MIB),
        blocks=1000,
        extra=extra,
    )


def test_growth_is_the_larger_of_resident_and_heap_growth() -> None:
    """Each is blind to something that the other sees."""
    touched = measure_test(sample(0, 100, 10), sample(1, 108, 12))
    untouched = measure_test(sample(0, 100, 10), sample(1, 101, 26))
    assert touched["growth_bytes"] == 8 * MIB
    assert untouched["growth_bytes"] == 16 * MIB


def test_what_is_not_known_is_absent() -> None:
    """Never zero."""
    values = measure_test(
        Sample(at_s=0, rss_bytes=None), Sample(at_s=2, rss_bytes=None), rss_peak_bytes=5 * MIB
    )
    assert values == {"duration_s": 2}


def test_reading_known_only_afterwards_gives_no_growth() -> None:
    """An expensive reading may be left out at either border."""
    values = measure_test(sample(0, 100), sample(1, 104, 50))
    assert "heap_growth_bytes" not in values
    assert values["growth_bytes"] == 4 * MIB


def test_peak_counts_from_the_start_of_the_test() -> None:
    """And efficiency is what remained of the highest."""
    values = measure_test(sample(0, 100), sample(1, 110), rss_peak_bytes=200 * MIB)
    assert values["rss_peak_bytes"] == 200 * MIB
    assert values["peak_bytes"] == 100 * MIB
    assert values["efficiency_ratio"] == 0.55


def test_peak_is_never_below_the_start() -> None:
    """The kernel counts the mark in pages of its own accounting."""
    values = measure_test(sample(0, 100), sample(1, 90), rss_peak_bytes=99 * MIB)
    assert values["rss_peak_bytes"] == 100 * MIB
    assert values["peak_bytes"] == 0


def test_what_wider_fixtures_brought_is_deducted() -> None:
    """From growth, heap, blocks and time; the peak has its own figure."""
    values = measure_test(
        sample(0, 100, 10),
        sample(3, 130, 31),
        rss_peak_bytes=140 * MIB,
        own_peak_bytes=120 * MIB,
        deduction=Deduction(rss_bytes=20 * MIB, heap_bytes=20 * MIB, blocks=-5, duration_s=2),
    )
    assert values["rss_growth_bytes"] == 10 * MIB
    assert values["heap_growth_bytes"] == 1 * MIB
    assert values["blocks_growth"] == 5
    assert values["duration_s"] == 1
    assert values["peak_bytes"] == 20 * MIB
    assert values["rss_peak_bytes"] == 140 * MIB
    assert values["growth_rate_bytes_per_s"] == 10 * MIB


def test_duration_of_nothing_has_no_rate() -> None:
    """Division by zero isn't infinity either."""
    values = measure_test(sample(5, 100), sample(5, 104))
    assert values["duration_s"] == 0
    assert "growth_rate_bytes_per_s" not in values


def test_extra_readings_become_growths_and_levels() -> None:
    """Under the names of their metrics; those of probes by their kind."""
    values = measure_test(
        sample(0, 100, fds=5, uss_bytes=10, pool=1, level=7),
        sample(1, 100, fds=8, uss_bytes=30, pool=4, level=9),
        probes={"pool": "growth", "level": "level"},
    )
    assert values["open_fds_growth"] == 3
    assert values["uss_bytes"] == 30
    assert values["pool"] == 3
    assert values["level"] == 9


def test_traced_peak_is_what_tracing_saw_above_the_start() -> None:
    """And absent where nothing was traced before."""
    traced = measure_test(
        sample(0, 100, traced_bytes=40), sample(1, 100, traced_bytes=50), traced_peak_bytes=90
    )
    assert traced["traced_peak_bytes"] == 50
    assert traced["traced_growth_bytes"] == 10
    assert "traced_peak_bytes" not in measure_test(sample(0, 100), sample(1, 100), traced_peak_bytes=90)


@given(DEDUCTIONS, DEDUCTIONS, DEDUCTIONS)
def test_law_deductions_fold_in_any_order(first: Deduction, second: Deduction, third: Deduction) -> None:
    """Nested fixtures end in an order that must not matter."""
    assert fold(first, second) == fold(second, first)
    assert fold(fold(first, second), third) == fold(first, fold(second, third))
    assert fold(first, NOTHING_TO_DEDUCT) == first


@given(SIZES, SIZES, SIZES, SIZES)
def test_law_peak_and_efficiency_stay_in_their_ranges(before: int, after: int, peak: int, own: int) -> None:
    """Whatever the kernel says."""
    values = measure_test(
        Sample(at_s=0, rss_bytes=before),
        Sample(at_s=1, rss_bytes=after),
        rss_peak_bytes=peak,
        own_peak_bytes=own,
    )
    assert values["peak_bytes"] >= 0
    assert values["rss_peak_bytes"] >= before
    assert 0 <= values.get("efficiency_ratio", 0) <= 1


def measured(before: Sample, after: Sample, *, rss_peak_bytes: int) -> Measurement:
    """Return the measurement of a test between two samples."""
    return Measurement(
        nodeid="test_a.py::test_it",
        worker="main",
        outcome="passed",
        component="test_a.py",
        rss_before_bytes=before.rss_bytes,
        values=measure_test(before, after, rss_peak_bytes=rss_peak_bytes),
    )


def test_what_re_runs_left_is_in_no_later_level() -> None:
    """Growth stays the test's own; levels and their ratio are those of a process without re-runs."""
    residue = NO_RESIDUE.grown(before_bytes=60 * MIB, after_bytes=860 * MIB)
    found = discount(measured(sample(0, 860), sample(1, 870), rss_peak_bytes=900 * MIB), residue)
    assert found.rss_before_bytes == 60 * MIB
    assert found.values["rss_bytes"] == 70 * MIB
    assert found.values["rss_peak_bytes"] == 100 * MIB
    assert found.values["peak_bytes"] == 40 * MIB
    assert found.values["rss_growth_bytes"] == 10 * MIB
    assert found.values["efficiency_ratio"] == 0.7


def test_what_the_process_gave_back_was_what_re_runs_left() -> None:
    """A level is never below the one that the re-runs began with."""
    residue = Residue(left_bytes=800 * MIB, base_bytes=60 * MIB)
    assert residue.less(260 * MIB) == 60 * MIB
    assert residue.less(55 * MIB) == 55 * MIB


def test_residues_of_several_tests_add_up() -> None:
    """The second test itself had brought 10 MiB."""
    first = NO_RESIDUE.grown(before_bytes=60 * MIB, after_bytes=100 * MIB)
    second = first.grown(before_bytes=110 * MIB, after_bytes=140 * MIB)
    assert second == Residue(left_bytes=70 * MIB, base_bytes=70 * MIB)
    assert second.less(150 * MIB) == 80 * MIB


@given(rss=st.integers(0, 2**40), left=st.integers(0, 2**40), base=st.integers(0, 2**40))
def test_law_a_residue_takes_no_more_than_itself(rss: int, left: int, base: int) -> None:
    """Nor anything of what was there without it."""
    level = Residue(left_bytes=left, base_bytes=base).less(rss)
    assert min(rss, base) <= level <= rss
    assert rss - level <= left


def test_metrics_that_a_further_run_has_no_say_in() -> None:
    """States of the process, what the leak engine proves, and what a second run can't have again."""
    judged_by_the_first = {metric.name for metric in METRICS.values() if not metric.repeatable}
    assert {name for name in judged_by_the_first if not name.startswith("leak_")} == {
        "children_rss_bytes",
        "disk_read_bytes",
        "rss_bytes",
        "uss_bytes",
    }
