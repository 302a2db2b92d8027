"""Trends in scripted series: steps, drifts and outliers are told apart, noise is left alone."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from itertools import combinations
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_memalert.errors import MemalertError
from pytest_memalert.metrics import LEAST_CHANGES, LeastChange
from pytest_memalert.model import SeriesPoint
from pytest_memalert.plugin.session.trending import FEWEST_REMEMBERED
from pytest_memalert.trends import (
    MINIMUM_RUNS,
    Search,
    Trend,
    _chance_of_order,
    _cost_of_levels,
    _partition,
    describe_trend,
    find_trend,
    is_news,
)

MIB = 2**20
START = datetime(2026, 11, 1, 9, 30, tzinfo=timezone.utc)
#: What repeating a peak gives: whole pages, a few more or less.
JITTER = [4096 * (run * 7 % 5) for run in range(60)]


def points(values: Sequence[float], *, commits: bool = True) -> list[SeriesPoint]:
    """Return a series of one run a day."""
    return [
        SeriesPoint(
            run_id=f"run{day}",
            started_at=START + timedelta(days=day),
            commit=f"{day:07x}c0ffee" if commits else None,
            value=value,
        )
        for day, value in enumerate(values)
    ]


def jittered(*levels: float) -> list[float]:
    """Return these levels with the scatter that real peaks have."""
    return [level + JITTER[run % 60] for run, level in enumerate(levels)]


def trend_of(values: Sequence[float], *, metric: str = "peak_bytes", search: Search = "standard") -> Trend:
    """Return the trend of a series that is long enough for one."""
    found = find_trend(points(values), metric=metric, search=search)
    assert found is not None
    return found


STEP = jittered(*[48 * MIB] * 20, *[61 * MIB] * 7)
DRIFT = jittered(*[(40 + run / 2) * MIB for run in range(30)])
OUTLIER = jittered(*[48 * MIB] * 20, 61 * MIB)
STEADY = jittered(*[48 * MIB] * 30)
BUMP = jittered(*[48 * MIB] * 12, *[61 * MIB] * 4, *[48 * MIB] * 8)
IMPROVEMENT = jittered(*[61 * MIB] * 15, *[48 * MIB] * 6)
TWO_STEPS = jittered(*[48 * MIB] * 12, *[61 * MIB] * 8, *[75 * MIB] * 6)
UP_AND_DOWN = jittered(*[48 * MIB] * 12, *[61 * MIB] * 9, *[48 * MIB] * 9)

CLEAR = {
    "step": STEP,
    "drift": DRIFT,
    "outlier": OUTLIER,
    "steady": STEADY,
    "bump": BUMP,
    "improvement": IMPROVEMENT,
    "two steps": TWO_STEPS,
    "up and down": UP_AND_DOWN,
}


# -------------------------------------------------------------- what is told


def test_step_is_told_with_its_levels_and_the_first_run_of_the_new_one() -> None:
    """And how long ago that was; the latest run is 0 runs ago."""
    found = trend_of(STEP)
    assert (found.kind, found.runs_ago, found.runs, found.since.run_id) == ("step", 6, 27, "run20")
    assert found.before == pytest.approx(48 * MIB, abs=5 * 4096)
    assert found.after == pytest.approx(61 * MIB, abs=5 * 4096)
    assert found.change_ratio == pytest.approx(13 / 48, abs=0.002)


def test_slow_rise_is_a_drift_and_no_step() -> None:
    """Even though two halves of it have different levels."""
    found = trend_of(DRIFT)
    assert (found.kind, found.runs_ago, found.since.run_id) == ("drift", 29, "run0")
    assert found.before == pytest.approx(40 * MIB, rel=0.01)
    assert found.after == pytest.approx(54.5 * MIB, rel=0.01)


def test_single_value_far_out_is_an_outlier_and_no_step() -> None:
    """One run proves no level."""
    found = trend_of(OUTLIER)
    assert (found.kind, found.runs_ago) == ("outlier", 0)
    assert found.after == OUTLIER[-1]


def test_all_the_latest_runs_that_stand_out_are_told() -> None:
    """Though the last of them is a little above those just before it, and so stands out by itself as well."""
    found = trend_of([47.7 * MIB] * 12 + [58.08 * MIB, 58.09 * MIB, 58.16 * MIB])
    assert (found.kind, found.runs_ago, found.since.run_id) == ("outlier", 2, "run12")
    assert describe_trend(found, "test_load") == (
        "peak of test_load was 58.1 MiB in the latest 3 runs, 47.7 MiB in the 12 before"
    )


def test_outlier_of_the_past_is_forgotten() -> None:
    """What happened once, and not since, needs no one."""
    assert trend_of([*OUTLIER, *STEADY[:3]]).kind == "steady"


def test_bump_that_went_away_is_steady() -> None:
    """Four runs of it, eight runs ago."""
    assert trend_of(BUMP).kind == "steady"


def test_latest_of_two_steps_is_told() -> None:
    """With the level between them as what was before."""
    found = trend_of(TWO_STEPS)
    assert (found.kind, found.since.run_id) == ("step", "run20")
    assert found.before == pytest.approx(61 * MIB, rel=0.01)


def test_step_back_is_told_as_a_fall() -> None:
    """The way up before it is over."""
    found = trend_of(UP_AND_DOWN)
    assert (found.kind, found.since.run_id) == ("step", "run21")
    assert found.after < found.before


def test_values_that_repeat_exactly_are_judged_without_dividing_by_their_spread() -> None:
    """Traced peaks repeat to the byte."""
    assert trend_of([5 * MIB] * 20).kind == "steady"
    assert trend_of([5 * MIB] * 15 + [6 * MIB] * 5).kind == "step"
    assert trend_of([0.0] * 20).kind == "steady"


def test_session_looks_for_trends_once_there_are_runs_enough() -> None:
    """This one counts as well."""
    assert FEWEST_REMEMBERED + 1 == MINIMUM_RUNS


@pytest.mark.parametrize("runs", range(MINIMUM_RUNS))
def test_nothing_is_said_of_too_few_runs(runs: int) -> None:
    """However they look."""
    assert (
        find_trend(points([MIB] * (runs // 2) + [9 * MIB] * (runs - runs // 2)), metric="peak_bytes") is None
    )


def test_values_that_are_no_numbers_do_not_count() -> None:
    """They have no level."""
    assert find_trend(points([math.nan] * 5 + [MIB] * 9), metric="peak_bytes") is None
    assert trend_of([math.inf, *STEP]).kind == "step"


def test_change_below_the_least_is_not_told() -> None:
    """However clear it is: 5 % of a large peak, 512 KiB of a small one."""
    assert LEAST_CHANGES["bytes"] == LeastChange(absolute=512 * 1024, share=0.05)
    assert trend_of([100 * MIB] * 20 + [104 * MIB] * 10).kind == "steady"
    assert trend_of([100 * MIB] * 20 + [106 * MIB] * 10).kind == "step"
    assert trend_of([MIB] * 20 + [1.4 * MIB] * 10).kind == "steady"
    assert trend_of([MIB] * 20 + [1.6 * MIB] * 10).kind == "step"


def test_three_runs_of_twenty_prove_no_step() -> None:
    """Three in a row come about by chance; they are told as runs that stand out, when asked for."""
    assert trend_of([48 * MIB] * 17 + [61 * MIB] * 3).kind == "outlier"
    assert trend_of([48 * MIB] * 16 + [61 * MIB] * 4).kind == "step"


@pytest.mark.parametrize("low_share", [0.5, 0.8])
def test_two_values_in_no_order_are_no_step(low_share: float) -> None:
    """glibc gives a block from its heap or from the kernel, as the mood takes it."""
    chance = random.Random(4)
    told = [
        trend_of([48 * MIB if chance.random() < low_share else 61 * MIB for _ in range(30)]).kind
        for _ in range(200)
    ]
    assert told.count("step") + told.count("drift") <= 1


# ------------------------------------------------------------------ two methods


@pytest.mark.parametrize("name", CLEAR)
def test_ruptures_says_the_same_of_clear_cases(name: str) -> None:
    """Who proposes the change points makes no difference to what is told."""
    pytest.importorskip("ruptures")
    assert trend_of(CLEAR[name], search="ruptures") == trend_of(CLEAR[name])


def test_missing_ruptures_is_named_with_the_extra_to_install() -> None:
    """None in sys.modules makes its import fail."""
    with mock.patch.dict("sys.modules", {"ruptures": None}), pytest.raises(MemalertError) as refused:
        trend_of(STEP, search="ruptures")
    assert "pip install 'pytest-memalert[trends]'" in str(refused.value)


# ------------------------------------------------------------------------ news


def test_step_for_the_worse_is_news_until_it_is_old() -> None:
    """Then whoever wants it asks for it."""
    assert is_news(trend_of(STEP))
    assert is_news(trend_of(jittered(*[48 * MIB] * 20, *[61 * MIB] * 8)))
    assert not is_news(trend_of(jittered(*[48 * MIB] * 20, *[61 * MIB] * 9)))


def test_drift_upwards_is_news() -> None:
    """It goes on."""
    assert is_news(trend_of(DRIFT))


@pytest.mark.parametrize("name", ["improvement", "outlier", "steady", "up and down"])
def test_what_is_better_unproven_or_steady_is_no_news(name: str) -> None:
    """No line for it in each session's summary."""
    assert not is_news(trend_of(CLEAR[name]))
    assert not is_news(None)


def test_efficiency_that_falls_is_news() -> None:
    """The one metric of which less is worse."""
    assert is_news(trend_of([0.9] * 15 + [0.5] * 5, metric="efficiency_ratio"))
    assert not is_news(trend_of([0.5] * 15 + [0.9] * 5, metric="efficiency_ratio"))


# ----------------------------------------------------------------------- words


def test_words_of_a_step() -> None:
    """As short as people would say it."""
    step = trend_of([48 * MIB] * 20 + [61 * MIB] * 7)
    assert (
        describe_trend(step, "test_load") == "peak of test_load rose from 48 to 61 MiB at 0000014, 6 runs ago"
    )
    back = trend_of([61 * MIB] * 10 + [512 * 1024] * 6)
    assert describe_trend(back, "test_load") == (
        "peak of test_load fell from 61 MiB to 512 KiB at 000000a, 5 runs ago"
    )


def test_run_without_commit_is_named_by_its_time() -> None:
    """Not every suite is in a repository."""
    found = find_trend(points(STEP, commits=False), metric="peak_bytes")
    assert found is not None
    assert "at the run of 2026-11-21 09:30 UTC, 6 runs ago" in describe_trend(found, "test_load")


def test_words_of_a_drift_an_outlier_and_of_nothing() -> None:
    """Each says over how many runs."""
    drift = trend_of([(40 + run) * MIB for run in range(21)])
    assert describe_trend(drift, "test_load") == (
        "peak of test_load rises from run to run: from 40 to 60 MiB since 0000000, 20 runs ago"
    )
    outlier = trend_of([48 * MIB] * 20 + [61 * MIB])
    assert describe_trend(outlier, "test_load") == (
        "peak of test_load was 61 MiB in the latest run, 48 MiB in the 20 before"
    )
    two = trend_of([48 * MIB] * 20 + [61 * MIB] * 2)
    assert "was 61 MiB in the latest 2 runs, 48 MiB in the 20 before" in describe_trend(two, "test_load")
    assert describe_trend(trend_of([48 * MIB] * 20), "test_load") == (
        "peak of test_load is steady at 48 MiB over 20 runs"
    )


# ------------------------------------------------------------------------ laws

series = st.lists(st.integers(0, 200 * MIB).map(float), min_size=MINIMUM_RUNS, max_size=40)
shapes = st.sampled_from(sorted(CLEAR))


@given(shapes, st.integers(0, 4))
def test_law_scale_changes_no_kind_where_the_share_decides(shape: str, doublings: int) -> None:
    """Twice the memory, twice the change."""
    scaled = [value * 2**doublings for value in CLEAR[shape]]
    assert (trend_of(scaled).kind, trend_of(scaled).runs_ago) == (
        trend_of(CLEAR[shape]).kind,
        trend_of(CLEAR[shape]).runs_ago,
    )


@given(shapes, st.integers(0, 200 * MIB))
def test_law_shift_changes_no_kind_where_the_size_decides(shape: str, shift: int) -> None:
    """Seconds have a least change of their own; here only its absolute part matters."""
    least = LeastChange(absolute=512 * 1024, share=0.0)
    with mock.patch.dict(LEAST_CHANGES, {"bytes": least}):
        shifted = trend_of([value + shift for value in CLEAR[shape]])
        assert (shifted.kind, shifted.runs_ago) == (
            trend_of(CLEAR[shape]).kind,
            trend_of(CLEAR[shape]).runs_ago,
        )


@given(st.permutations(STEADY))
def test_law_order_of_what_scatters_by_pages_makes_no_trend(values: list[float]) -> None:
    """It is below the least change, whatever its order."""
    assert trend_of(values).kind == "steady"


@given(st.integers(0, 29), st.integers(2, 100))
def test_law_one_value_more_never_makes_a_step(place: int, times: int) -> None:
    """Wherever it stands, however far out it is."""
    values = [*STEADY[:place], 48.0 * MIB * times, *STEADY[place:]]
    assert trend_of(values).kind in ("steady", "outlier")


@given(st.integers(0, 17), st.integers(2, 100))
def test_law_one_value_more_never_hides_a_step(place: int, times: int) -> None:
    """Levels are medians. Right beside the step it may be taken for its beginning."""
    values = [*STEP[:place], 48.0 * MIB * times, *STEP[place:]]
    found = trend_of(values)
    assert (found.kind, found.runs_ago) == ("step", 6)


@settings(max_examples=50)
@given(series)
def test_law_time_reversed_noise_is_judged_without_error_and_a_trend_tells_a_change(
    values: list[float],
) -> None:
    """Whatever the numbers: what is told is at least the least change."""
    for order in (values, values[::-1]):
        found = trend_of(order)
        change = abs(found.after - found.before)
        if found.kind == "steady":
            assert change == 0
        else:
            assert change >= LEAST_CHANGES["bytes"].absolute


@given(st.lists(st.integers(0, 9).map(float), min_size=6, max_size=11), st.integers(0, 20))
def test_law_no_other_levels_cost_less(values: list[float], penalty: int) -> None:
    """The partition is the best one there is: compared with every other."""
    starts = _partition(values, penalty)

    def total(begin: Sequence[int]) -> float:
        return _cost_of_levels(values, begin) + penalty * len(begin)

    places = range(3, len(values) - 2)
    others = (
        [0, *chosen]
        for count in range(3)
        for chosen in combinations(places, count)
        if all(second - first >= 3 for first, second in combinations(chosen, 2))
    )
    assert total(starts) <= min(map(total, others)) + 1e-9


@given(st.lists(st.integers(0, 6), min_size=4, max_size=9, unique=False), st.integers(2, 4))
def test_law_chance_of_an_order_is_what_counting_all_orders_gives(values: list[int], size: int) -> None:
    """For distinct values exactly; ties only make it larger."""
    distinct = [value + index / 100 for index, value in enumerate(values)]
    lower, upper = distinct[:-size], distinct[-size:]
    if not lower:
        return
    wrong = sum(low >= high for low in lower for high in upper)
    if 2 * wrong >= len(lower) * len(upper):
        assert _chance_of_order(lower, upper) == 1.0
        return
    as_good = 0
    ways = list(combinations(range(len(distinct)), size))
    for chosen in ways:
        high = [distinct[index] for index in chosen]
        low = [distinct[index] for index in range(len(distinct)) if index not in chosen]
        as_good += sum(a >= b for a in low for b in high) <= wrong
    assert _chance_of_order(lower, upper) == pytest.approx(as_good / len(ways))
