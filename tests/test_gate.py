"""The gate's decisions, on scripted figures."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.comparisons import is_fixture, name_fixture
from pytest_memalert.gate.allowances import ALLOWANCES, Allowance, widen_for_order
from pytest_memalert.gate.baseline import Baseline, Entry, Figure
from pytest_memalert.gate.comparing import (
    allowances_of,
    allowed,
    compare,
    compare_figure,
    compare_whole,
    decide_peaks,
    figures_of_leak,
    find_excesses,
    has_leak,
    is_peak_odd,
    keep_written,
    settle,
    why_unlike,
)
from pytest_memalert.gate.fragments import gives_back, without_fragments
from pytest_memalert.gate.regressions import judge
from pytest_memalert.gate.renaming import match_renamed
from pytest_memalert.model import (
    AlertSeverity,
    Comparison,
    ComparisonStatus,
    GateResult,
    LeakAnalysis,
    Measurement,
    SignalGrowth,
)
from tests.makers import MIB, make_test

KIB = 2**10
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
OF_TESTS = ALLOWANCES.of_tests


def entry(**medians: int) -> Entry:
    """Return an entry of exact figures."""
    return Entry(figures={metric: Figure(median=median) for metric, median in medians.items()})


def leaking(bytes_per_run: float, blocks_per_run: float) -> LeakAnalysis:
    """Return what a search says of a test that leaves so much behind in each run."""
    return LeakAnalysis(status="leaking", bytes_per_run=bytes_per_run, blocks_per_run=blocks_per_run)


def measurement(nodeid: str, outcome: str = "passed", **values: float) -> Measurement:
    """Return a test's own run."""
    return replace(make_test(nodeid, outcome=outcome), values={"duration_s": 0.1, **values})


def decide(known: Entry, *, resident: list[float], traced: list[float]) -> str:
    """Return the metric and status of what further runs say of a peak."""
    found = decide_peaks("t", known, OF_TESTS, resident=resident, traced=traced)
    return f"{found[0].metric} {found[0].status}" if found else "nothing"


# ------------------------------------------------------------------ allowances


def test_allowance_is_the_most_of_share_floor_and_recorded_noise() -> None:
    """The noise counts twice: it was seen in two or three runs, and there will be many."""
    assert allowed(Figure(median=1000), Allowance(share=0.1, floor=5)) == 100
    assert allowed(Figure(median=10), Allowance(share=0.1, floor=5)) == 5
    assert allowed(Figure(median=1000, spread=80), Allowance(share=0.1, floor=5)) == 160


@given(
    st.integers(min_value=0, max_value=2**40),
    st.integers(min_value=0, max_value=2**30),
    st.floats(min_value=0, max_value=1e12),
)
def test_worse_and_better_are_what_lies_beyond_the_allowance(median: int, spread: int, seen: float) -> None:
    """On either side, and nothing in between."""
    figure, allowance = Figure(median=median, spread=spread), Allowance(share=0.05, floor=100)
    status = compare_figure("t", "peak_bytes", figure, allowance, observed=seen).status
    room = allowed(figure, allowance)
    if seen > median + room:
        assert status == "regression"
    elif seen < median - room:
        assert status == "improvement"
    else:
        assert status == "within"


def test_metric_that_is_off_is_never_worse() -> None:
    """Nor better."""
    off = Allowance(enabled=False)
    assert compare_figure("t", "peak_bytes", Figure(median=0), off, observed=1e9).status == "within"


# ----------------------------------------------------------------------- peaks


def test_first_run_with_the_peak_of_the_baseline_is_not_looked_at_again() -> None:
    """That is nearly every test."""
    known = entry(peak_bytes=10 * MIB, traced_peak_bytes=10 * MIB)
    assert not is_peak_odd(known, {"peak_bytes": 10 * MIB + 100 * KIB})
    # Most tests of little take some of what is free already.
    known = entry(peak_bytes=0, traced_peak_bytes=200 * KIB)
    assert not is_peak_odd(known, {"peak_bytes": 10 * KIB})


def test_a_tenth_of_a_mebibyte_is_looked_at() -> None:
    """Though the kernel's mark lags a little."""
    known = entry(peak_bytes=1 * MIB, traced_peak_bytes=1 * MIB)
    assert is_peak_odd(known, {"peak_bytes": 1 * MIB + 90 * KIB})


@pytest.mark.parametrize("peak", [9 * MIB, 11 * MIB, int(10.5 * MIB)])
def test_first_run_with_another_peak_is_looked_at_again(peak: int) -> None:
    """A lower one too: it may be better, or hidden in what an allocator held free."""
    known = entry(peak_bytes=10 * MIB, traced_peak_bytes=10 * MIB)
    assert is_peak_odd(known, {"peak_bytes": peak})


def test_test_whose_peak_the_kernel_does_not_see_is_always_looked_at() -> None:
    """Its resident peak says nothing: small objects fit into what is resident already."""
    known = entry(peak_bytes=100 * KIB, traced_peak_bytes=2 * MIB)
    assert is_peak_odd(known, {"peak_bytes": 100 * KIB})


def test_where_all_runs_are_traced_the_first_run_is_exact() -> None:
    """And what the kernel saw doesn't matter."""
    known = entry(peak_bytes=100 * KIB, traced_peak_bytes=2 * MIB)
    assert not is_peak_odd(known, {"peak_bytes": 0, "traced_peak_bytes": 2 * MIB})


def test_tracing_decides_about_a_peak() -> None:
    """Over and again over: worse; under: better; as it was: an allocator's doing."""
    known = entry(peak_bytes=10 * MIB, traced_peak_bytes=10 * MIB)
    worse = decide(known, resident=[11.0 * MIB] * 2, traced=[11.0 * MIB] * 2)
    assert worse == "traced_peak_bytes regression"
    better = decide(known, resident=[9.0 * MIB] * 2, traced=[9.0 * MIB] * 2)
    assert better == "traced_peak_bytes improvement"
    known = entry(peak_bytes=9 * MIB, traced_peak_bytes=10 * MIB)
    same = decide(known, resident=[10.2 * MIB] * 2, traced=[10.0 * MIB] * 2)
    assert same == "traced_peak_bytes within"


def test_native_memory_beyond_what_python_allocated_is_worse() -> None:
    """Tracing doesn't see it, the kernel does."""
    known = entry(peak_bytes=10 * MIB, traced_peak_bytes=1 * MIB)
    found = decide(known, resident=[14.0 * MIB] * 2, traced=[1.0 * MIB] * 2)
    assert found == "peak_bytes regression"


def test_resident_peak_that_python_allocations_explain_is_no_native_one() -> None:
    """The baseline's run found more free memory to put the same objects into."""
    known = entry(peak_bytes=1 * MIB, traced_peak_bytes=10 * MIB)
    assert decide(known, resident=[10.0 * MIB] * 2, traced=[10.0 * MIB] * 2) == "traced_peak_bytes within"


def test_blocks_that_take_more_than_was_asked_for_are_no_native_memory() -> None:
    """Of 24 bytes each, they take 32; the baseline's run found free ones. Beyond that it is native."""
    known = entry(peak_bytes=13 * MIB, traced_peak_bytes=14 * MIB)
    assert decide(known, resident=[16.5 * MIB] * 2, traced=[14.0 * MIB] * 2) == "traced_peak_bytes within"
    assert decide(known, resident=[20.0 * MIB] * 2, traced=[14.0 * MIB] * 2) == "peak_bytes regression"


def test_peak_that_is_over_in_one_of_two_runs_is_not_claimed() -> None:
    """The run nearest to the baseline speaks."""
    known = entry(peak_bytes=10 * MIB, traced_peak_bytes=10 * MIB)
    found = decide(known, resident=[11.0 * MIB, 10.0 * MIB], traced=[11.0 * MIB, 10.0 * MIB])
    assert found == "traced_peak_bytes within"


def test_peaks_that_differ_among_themselves_by_more_than_the_excess_prove_nothing() -> None:
    """A test whose threads hold now more and now less, though the two runs that were saved were alike."""
    known = entry(peak_bytes=33 * MIB, traced_peak_bytes=35 * MIB)
    assert decide(known, resident=[], traced=[94.0 * MIB, 52.0 * MIB]) == "traced_peak_bytes within"
    assert decide(known, resident=[], traced=[54.0 * MIB, 52.0 * MIB]) == "traced_peak_bytes regression"
    assert decide(known, resident=[], traced=[2.0 * MIB, 30.0 * MIB]) == "traced_peak_bytes within"


def test_baseline_without_traced_peaks_is_compared_with_resident_ones() -> None:
    """Those of a test that ran once, or of a platform without tracing."""
    known = entry(peak_bytes=10 * MIB)
    assert decide(known, resident=[12.0 * MIB] * 2, traced=[2.0 * MIB]) == "peak_bytes regression"
    assert decide(entry(growth_bytes=1), resident=[1.0], traced=[1.0]) == "nothing"


@pytest.mark.parametrize(("observed", "status"), [(38.4, "within"), (42.0, "regression")])
def test_resident_peak_alone_is_allowed_more_than_one_beside_a_traced_peak(
    observed: float, status: ComparisonStatus
) -> None:
    """From process to process it differs by what is free to reuse."""
    known = entry(peak_bytes=36 * MIB)
    runs = [observed * MIB] * 2
    seen = decide_peaks("t", known, allowances_of(known, ALLOWANCES.of_tests), resident=runs, traced=[])
    assert [comparison.status for comparison in seen] == [status]


@pytest.mark.parametrize("figures", [{"peak_bytes": 36}, {"peak_bytes": 36, "traced_peak_bytes": 35}])
def test_allowance_that_somebody_set_stands(figures: dict[str, int]) -> None:
    """So does that of a test that was traced."""
    known = entry(**figures)
    own = {**ALLOWANCES.of_tests, "peak_bytes": Allowance(floor=5)}
    assert allowances_of(known, own) == own
    if len(figures) == 2:
        assert allowances_of(known, ALLOWANCES.of_tests) == ALLOWANCES.of_tests


@given(st.integers(min_value=2 * MIB, max_value=2**33))
def test_law_a_tenth_more_than_a_peak_of_two_mebibytes_is_worse(peak: int) -> None:
    """However large the peak."""
    known = entry(traced_peak_bytes=peak)
    assert decide(known, resident=[], traced=[peak * 1.1] * 2) == "traced_peak_bytes regression"


@given(st.integers(min_value=0, max_value=50 * MIB))
def test_law_a_mebibyte_more_is_worse_up_to_fifty(peak: int) -> None:
    """Beyond, it is less than the share that is allowed."""
    known = entry(traced_peak_bytes=peak)
    assert decide(known, resident=[], traced=[peak + MIB + 1] * 2) == "traced_peak_bytes regression"


# -------------------------------------------------------------------- retained


def test_test_that_retains_more_is_found_by_each_metric() -> None:
    """A test without a figure retained nothing."""
    values = {"growth_bytes": 64 * KIB, "blocks_growth": 1000, "leak_bytes_per_run": 64 * KIB}
    found = find_excesses("t", entry(peak_bytes=0), OF_TESTS, values)
    assert [each.metric for each in found] == ["leak_bytes_per_run", "growth_bytes", "blocks_growth"]
    assert find_excesses("t", entry(growth_bytes=64 * KIB), OF_TESTS, {"growth_bytes": 66 * KIB}) == ()


def test_leak_that_the_baseline_saw_in_its_blocks_is_no_news() -> None:
    """It was there when the baseline was saved, though nobody had the time to prove it."""
    known = entry(blocks_growth=18)
    assert has_leak(known, leaking(1500, 18))
    assert not has_leak(known, leaking(6000, 72))
    assert not has_leak(known, leaking(65_600, 1))
    assert has_leak(entry(growth_bytes=4096), leaking(4096, 0))
    assert not has_leak(entry(peak_bytes=1), leaking(64, 1))


def test_leak_that_the_baseline_has_is_known_up_to_a_tenth_more() -> None:
    """As a leak or by what each run left; descriptors and threads that leak take no bytes."""
    known = entry(leak_bytes_per_run=1000)
    assert has_leak(known, leaking(1090, 20))
    assert not has_leak(known, leaking(1110, 20))
    assert has_leak(entry(blocks_growth=18), leaking(1500, 18))
    # One that only some of the runs showed is within what they differed by.
    uneven = Entry(figures={"blocks_growth": Figure(median=0, spread=219)})
    assert has_leak(uneven, leaking(5000, 44))
    assert not has_leak(uneven, leaking(50_000, 440))
    assert not has_leak(known, leaking(0.0, 0.0))


@pytest.mark.parametrize(
    ("heap", "blocks", "known"),
    [(262_304, 405, True), (3_600, 434, True), (300_000, 405, False), (262_304, 800, False)],
)
def test_leak_nobody_had_proven_is_known_by_its_heap_and_its_blocks(
    heap: int, blocks: int, known: bool
) -> None:
    """The growth of a run shows the one, its blocks the other; neither the sum, and both with their noise."""
    entry = Entry(
        figures={
            "growth_bytes": Figure(median=261_440, spread=240),
            "blocks_growth": Figure(median=388, spread=43),
        }
    )
    growth = (
        SignalGrowth(signal="blocks", per_run=blocks, runs=99),
        SignalGrowth(signal="heap", per_run=heap, runs=99),
    )
    leak = replace(leaking(heap + 84 * blocks, blocks), growth=growth)
    assert has_leak(entry, leak) is known


def test_leak_of_descriptors_is_not_known_by_its_blocks() -> None:
    leak = replace(leaking(800, 10), growth=(SignalGrowth(signal="descriptors", per_run=1, runs=9),))
    assert not has_leak(entry(blocks_growth=10), leak)


def test_small_objects_of_a_known_leak_are_no_growth_of_bytes() -> None:
    """Runs that found room for them in an arena showed 4 KiB; that is no rise to 54."""
    leak = leaking(54_990, 593)
    known = entry(growth_bytes=3728, blocks_growth=667)
    assert find_excesses("a::test", known, OF_TESTS, figures_of_leak(leak, known)) == ()
    (found, *_) = find_excesses("a::test", entry(), OF_TESTS, figures_of_leak(leak, entry()))
    assert found.status == "regression"


@pytest.mark.parametrize(
    ("level_step", "heap_growth", "blocks_growth", "given_back"),
    [
        (0, 0, 0, True),
        (290_000, 0, 0, False),
        (0, 290_000, 0, False),
        (0, 0, 700, False),
        (-50_000, 0, 3, True),
    ],
)
def test_growth_that_is_gone_when_the_next_run_begins_is_none(
    level_step: int, heap_growth: int, blocks_growth: int, given_back: bool
) -> None:
    """Arenas that each run makes resident, eight times by the same 284 KiB, were told as growth."""
    figures = [
        {
            "rss_bytes": 50_000_000.0 + level_step * run,
            "rss_growth_bytes": 290_000.0,
            "heap_growth_bytes": float(heap_growth),
            "blocks_growth": float(blocks_growth),
        }
        for run in range(8)
    ]
    assert gives_back(figures) == given_back
    assert not gives_back(figures[:1])


@pytest.mark.parametrize(
    ("resident", "heap", "blocks", "peak", "growth"),
    [
        (7 * MIB, 4 * KIB, 300, 85 * MIB, 4 * KIB),  # arenas in pieces, after 98 MiB of small objects
        (MIB, 0, 0, MIB, MIB),  # mapped by the test itself, and kept
        (64 * KIB, 0, 2000, 20 * MIB, 0),  # small objects, which are compared by their number
        (64 * KIB, 0, 150, 20 * MIB, 64 * KIB),  # too few of them for that
        (MIB, MIB, 1, 20 * MIB, MIB),  # a large one
        (-MIB, -2 * MIB, 0, MIB, -MIB),
    ],
)
def test_resident_memory_that_nothing_explains_is_no_growth_where_it_is_little_of_the_peak(
    resident: int, heap: int, blocks: int, peak: int, growth: int
) -> None:
    """Else it is: it may be mapped behind malloc's back."""
    values = {
        "rss_growth_bytes": resident,
        "heap_growth_bytes": heap,
        "blocks_growth": blocks,
        "peak_bytes": peak,
        "growth_bytes": max(resident, heap),
    }
    assert without_fragments(values)["growth_bytes"] == growth


def test_few_blocks_of_the_measuring_itself_are_not_written() -> None:
    """What is retained is."""
    noise = {"peak_bytes": Figure(median=1), "blocks_growth": Figure(median=7, spread=1)}
    assert set(settle(Entry(figures=noise), OF_TESTS).figures) == {"peak_bytes"}
    kept = settle(entry(blocks_growth=18, growth_bytes=4096), OF_TESTS)
    assert set(kept.figures) == {"blocks_growth", "growth_bytes"}


def test_what_is_within_its_allowance_stays_as_it_was_written() -> None:
    """A review shows what changed, not noise; and small steps are all held against the same figure."""
    written = entry(peak_bytes=10 * MIB, traced_peak_bytes=10 * MIB)
    again = entry(peak_bytes=10 * MIB + 5, traced_peak_bytes=11 * MIB)
    saved = keep_written(written, again, OF_TESTS)
    assert saved.figures == {**written.figures, "traced_peak_bytes": Figure(median=11 * MIB)}


# ------------------------------------------------------------------- whole runs

KNOWN = Baseline(
    environments={
        "k": {
            "a::one": entry(peak_bytes=MIB),
            "a::two": entry(peak_bytes=MIB),
            "a::gone": entry(peak_bytes=MIB),
            "session": entry(heap_bytes=10 * MIB),
        }
    }
)


def run(*tests: Measurement, **others: object) -> GateResult:
    """Return how these tests compare with ``KNOWN``."""
    return compare(tests, KNOWN, key="k", path="f", **others)  # type: ignore[arg-type]


def test_new_and_missing_tests_are_listed() -> None:
    """The session is none of them."""
    result = run(measurement("a::one"), measurement("a::new"))
    assert (result.compared, result.new, result.missing) == (1, ("a::new",), ("a::gone", "a::two"))


def test_test_that_was_skipped_or_failed_is_neither_missing_nor_compared() -> None:
    """It exists."""
    result = run(measurement("a::one"), measurement("a::two", "failed"), uncompared=["a::two", "a::gone"])
    assert (result.compared, result.missing, result.uncompared) == (1, (), ("a::gone", "a::two"))


def test_test_that_no_session_saves_is_not_new_for_ever() -> None:
    """What is expected to fail, or fails by itself: beside new tests the session would not be compared."""
    failing, expected = measurement("a::fails", "failed"), measurement("a::known", "xfailed")
    result = run(measurement("a::one"), failing, expected, uncompared=["a::fails"])
    assert (result.new, result.uncompared) == ((), ())


def test_nothing_is_missing_from_a_part_of_the_suite() -> None:
    """The rest was not asked for."""
    assert run(measurement("a::one"), partial=True).missing == ()


def test_renamed_test_is_neither_new_nor_missing() -> None:
    """And compared."""
    result = run(measurement("a::here"), measurement("a::two"), renamed=[("a::gone", "a::here")])
    assert (result.compared, result.new, result.missing) == (2, (), ("a::one",))


def test_other_environment_is_refused_by_name() -> None:
    """With what there is, and what to do."""
    result = compare([], KNOWN, key="other", path="f")
    assert result.refusal is not None
    assert "no entries for this environment (other), only for: k" in result.refusal
    assert "--memalert-save" in result.refusal


def test_report_without_confirming_runs_tells_only_of_large_peaks_and_proven_leaks() -> None:
    """A first run has the imports and caches of the whole suite in it."""
    result = run(
        measurement("a::one", peak_bytes=5 * MIB, growth_bytes=9 * MIB),
        measurement("a::two", peak_bytes=50 * MIB),
        measurement("a::gone", leak_bytes_per_run=4096),
    )
    assert [(each.nodeid, each.metric) for each in result.comparisons] == [
        ("a::two", "peak_bytes"),
        ("a::gone", "leak_bytes_per_run"),
    ]


def test_session_that_grew_is_worse() -> None:
    """By what is in use at its end, which is exact to some kilobytes."""
    known = KNOWN.environments["k"]["session"]
    (found,) = compare_whole("session", known, ALLOWANCES, {"heap_bytes": 15 * MIB})
    assert (found.metric, found.status) == ("heap_bytes", "regression")
    assert compare_whole("session", known, ALLOWANCES, {"heap_bytes": 13 * MIB}) == ()


@pytest.mark.parametrize(
    ("heap", "blocks", "worse"),
    [
        (40 * MIB, 500_000, []),
        (40 * MIB, 600_000, ["rss_peak_bytes", "rss_bytes"]),
        (90 * MIB, 500_000, ["rss_peak_bytes", "rss_bytes", "heap_bytes"]),
    ],
)
def test_resident_memory_in_pieces_makes_no_session_worse(heap: int, blocks: int, worse: list[str]) -> None:
    """Only what the heap or new blocks, at their largest, explain does."""
    session = {"rss_peak_bytes": 150 * MIB, "rss_bytes": 80 * MIB}
    known = entry(**session, heap_bytes=40 * MIB, allocated_blocks=500_000)
    values = {"rss_peak_bytes": 257 * MIB, "rss_bytes": 187 * MIB, "heap_bytes": heap}
    found = compare_whole("session", known, ALLOWANCES, {**values, "allocated_blocks": blocks})
    assert [each.metric for each in found if each.status == "regression"] == worse


def test_noise_that_comes_and_goes_is_no_change_of_the_file() -> None:
    """A few blocks or kilobytes, which one save measures and the next one doesn't."""
    quiet = entry(peak_bytes=MIB)
    noisy = Entry(figures={**quiet.figures, "growth_bytes": Figure(median=0, spread=4096)})
    assert keep_written(noisy, quiet, OF_TESTS) == noisy
    assert keep_written(quiet, noisy, OF_TESTS) == quiet
    worse = entry(peak_bytes=MIB, growth_bytes=64 * KIB)
    assert keep_written(quiet, worse, OF_TESTS) == worse
    assert keep_written(worse, quiet, OF_TESTS) == quiet


def test_blocks_of_a_session_are_written_anew_only_where_they_are_others() -> None:
    """They are compared with nothing, and differ a little each time."""
    written = entry(allocated_blocks=500_000)
    assert keep_written(written, entry(allocated_blocks=501_000), ALLOWANCES.of_session) == written
    measured = entry(allocated_blocks=600_000)
    assert keep_written(written, measured, ALLOWANCES.of_session) == measured


def test_what_imports_bring_is_exact() -> None:
    """No test has run yet."""
    known = entry(heap_growth_bytes=2 * MIB)
    found = compare_whole("collection", known, ALLOWANCES, {"heap_growth_bytes": 2 * MIB + 64 * KIB})
    assert [each.status for each in found] == ["regression"]


FIXTURE = "fixture server in tests/conftest.py"


def test_set_up_that_brings_more_is_worse() -> None:
    """A line without figures is one of a set-up that brought nothing."""
    known = entry(setup_bytes=3 * MIB)
    (found,) = compare_whole(
        FIXTURE, known, ALLOWANCES, {"setup_bytes": 3 * MIB + 64 * KIB, "setup_blocks": 400}
    )
    assert (found.metric, found.status) == ("setup_bytes", "regression")
    (found,) = compare_whole(FIXTURE, entry(), ALLOWANCES, {"setup_bytes": 0, "setup_blocks": 600})
    assert (found.metric, found.status) == ("setup_blocks", "regression")
    elsewhere = widen_for_order(ALLOWANCES)
    assert compare_whole(FIXTURE, known, elsewhere, {"setup_bytes": 4 * MIB, "setup_blocks": 9_000}) == ()
    assert (
        len(compare_whole(FIXTURE, known, elsewhere, {"setup_bytes": 5 * MIB, "setup_blocks": 11_000})) == 2
    )


def test_set_up_that_imports_other_modules_is_not_compared() -> None:
    known = entry(setup_bytes=MIB, imported_modules=12)
    assert why_unlike(known, {"setup_bytes": MIB, "imported_modules": 12}) is None
    assert why_unlike(entry(), {"setup_bytes": MIB, "imported_modules": 0}) is None
    why = why_unlike(known, {"setup_bytes": MIB, "imported_modules": 13})
    assert why == "modules that its set-up imported: 13, when saved: 12; who needs one first pays for it"


def test_fixture_has_a_name_that_no_test_has() -> None:
    assert is_fixture(name_fixture("setUpClass of TestData", "tests/test a.py"))
    assert not is_fixture("fixture in test_a.py::test_a in b")
    assert not is_fixture("tests/fixture a in b.py::test_a")


def test_little_that_a_set_up_brings_is_not_written() -> None:
    few = entry(setup_bytes=1_000, setup_blocks=30, imported_modules=2)
    assert settle(few, ALLOWANCES.of_session) == entry(imported_modules=2)
    many = entry(setup_bytes=3_000, setup_blocks=40)
    assert settle(many, ALLOWANCES.of_session) == many


def test_session_that_compiled_other_modules_is_not_compared() -> None:
    """Compiling takes memory of its own."""
    assert why_unlike(entry(heap_bytes=1), {"compiled_modules": 2}) is None
    assert why_unlike(entry(heap_bytes=1, compiled_modules=40), {"compiled_modules": 41}) is None
    why = why_unlike(entry(heap_bytes=1, compiled_modules=40), {"compiled_modules": 0})
    assert why is not None
    assert why.startswith("0 modules were compiled in this run, and 40 in the one that was saved")


# -------------------------------------------------------------------- renamed


@pytest.mark.parametrize(
    ("known", "collected", "found"),
    [
        (["a::t[1]"], ["a::t[one]"], {"a::t[one]": "a::t[1]"}),
        (["a::t[1]", "a::t[2]"], ["a::t[1]", "a::t[two]"], {"a::t[two]": "a::t[2]"}),
        (["a::t[1]", "a::t[2]"], ["a::t[x]", "a::t[y]"], {}),
        (["a::t[1]"], ["b::t[one]"], {}),
        (["a::t[1]"], ["a::t[1]", "a::t[2]"], {}),
        (["a::old"], ["a::new"], {}),
    ],
)
def test_renamed_test_is_matched_only_where_one_went_and_one_came(
    known: list[str], collected: list[str], found: dict[str, str]
) -> None:
    """Of one function; then its figures must agree as well."""
    assert match_renamed(known, collected) == found


# --------------------------------------------------------------------- alerts


def comparison(metric: str, status: ComparisonStatus = "regression", nodeid: str = "a::one") -> Comparison:
    """Return a comparison of a mebibyte with two."""
    return Comparison(
        nodeid=nodeid,
        metric=metric,
        baseline=MIB,
        observed=2 * MIB,
        allowance=64 * KIB,
        status=status,
        further=(2 * MIB, 2 * MIB),
    )


def alerts_of(result: GateResult) -> list[str]:
    """Return the messages of the alerts."""
    alerts = judge(result, raised_at=NOW, make_id=lambda: "id")
    assert all(alert.severity is AlertSeverity.CRITICAL and alert.rule == "regression" for alert in alerts)
    return [alert.message for alert in alerts]


def test_test_that_got_worse_in_two_ways_is_one_alert() -> None:
    """The first line stands alone; then the evidence, and what else got worse."""
    found = (comparison("traced_peak_bytes"), comparison("growth_bytes"), comparison("peak_bytes", "within"))
    (message,) = alerts_of(GateResult(path="f", environment="k", comparisons=found))
    assert message.splitlines() == [
        "a::one: growth 2 MiB is 1 MiB over the baseline's 1 MiB (allowed: 64 KiB)",
        "run again: 2 MiB, 2 MiB",
        "also, traced peak 2 MiB is 1 MiB over the baseline's 1 MiB (allowed: 64 KiB)",
    ]


def test_improvement_is_no_alert() -> None:
    """It is told elsewhere."""
    found = (comparison("peak_bytes", "improvement"),)
    assert alerts_of(GateResult(path="f", environment="k", comparisons=found)) == []


def test_new_tests_fail_only_when_strict() -> None:
    """Each with the command that saves it."""
    assert alerts_of(GateResult(path="f", environment="k", new=("a::new",))) == []
    (message,) = alerts_of(GateResult(path="f", environment="k", new=("a::new",), strict=True))
    assert message == "a::new: is not in the baseline f, which --memalert-strict asks for"


def test_alert_says_how_to_save_the_test_in_a_shell() -> None:
    """Whatever characters its id has."""
    found = (comparison("peak_bytes", nodeid="a::t[it's $HOME]"),)
    (alert,) = judge(
        GateResult(path="f", environment="k", comparisons=found), raised_at=NOW, make_id=lambda: "id"
    )
    assert "pytest 'a::t[it'\\''s $HOME]' --memalert --memalert-save" in alert.recommendations[1]


def test_advice_of_a_collection_is_about_imports() -> None:
    """No test and no fixture has run yet, of which -v could list the largest."""
    found = (comparison("heap_growth_bytes", nodeid="collection"),)
    (alert,) = judge(
        GateResult(path="f", environment="k", comparisons=found), raised_at=NOW, make_id=lambda: "id"
    )
    assert "python -X importtime -m pytest --collect-only" in alert.recommendations[0]
    assert not any("fixture" in text for text in alert.recommendations)


def test_fingerprint_is_the_same_whatever_the_figures() -> None:
    """So that an acknowledgment holds."""
    one, other = (
        judge(
            GateResult(path="f", environment="k", comparisons=(found,)), raised_at=NOW, make_id=lambda: "id"
        )[0].fingerprint
        for found in (comparison("peak_bytes"), comparison("peak_bytes"))
    )
    assert one == other
