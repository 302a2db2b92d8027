"""purses.py: what there is time for, after so much spent and so much of the tests' own time."""

from __future__ import annotations

import time

import pytest

import pytest_memalert.plugin.leak_checks.purses as module
from pytest_memalert.limits.marker import MarkerLimits
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.options import OPTIONS
from pytest_memalert.plugin.leak_checks.leak_check import LeakCheck
from pytest_memalert.plugin.leak_checks.purses import Purses

QUICK = {"duration_s": 0.01, "blocks_growth": 400.0, "heap_growth_bytes": 20_000.0}
SLOW = {**QUICK, "duration_s": 0.4}
LARGE = {**QUICK, "heap_growth_bytes": 2.0**20}


def charge(purses: Purses, values: dict[str, float], seconds: float, *, pursued: bool = False) -> None:
    purses.charge_suspect(values, seconds, pursued=pursued, leaks=False)


@pytest.mark.parametrize(("spent_on", "other"), [(QUICK, LARGE), (LARGE, QUICK)])
def test_suspects_of_one_sort_leave_time_for_those_of_another(
    spent_on: dict[str, float], other: dict[str, float]
) -> None:
    purses = Purses()
    for _ in range(20):
        charge(purses, spent_on, 0.02)
    assert not purses.can_clear(spent_on)
    told = "clearing others took 400 ms, all that there is for it"
    assert purses.why_unchecked(spent_on) == told
    assert purses.can_clear(other)


def test_slow_suspects_leave_quick_ones_the_last_of_their_purse() -> None:
    purses = Purses()
    charge(purses, QUICK, 0.05)
    purses.tests_s = 60.0
    assert purses.can_clear(SLOW)
    while purses.can_clear(SLOW):
        charge(purses, SLOW, 0.8)
    assert purses.can_clear(QUICK)


def test_tests_that_run_fill_the_purses() -> None:
    purses = Purses()
    for _ in range(30):
        charge(purses, QUICK, 0.02)
    purses.tests_s = 60.0
    assert purses.can_clear(QUICK)


def test_the_first_suspect_is_checked_however_slow_its_first_run_was() -> None:
    """And it takes nothing from the others."""
    purses = Purses()
    first = {**SLOW, "duration_s": 9.0}
    assert purses.can_clear(first)
    charge(purses, first, 18.0)
    assert not purses.can_clear(first)
    assert purses.can_clear(QUICK)
    too_slow = {**SLOW, "duration_s": 11.0}
    assert Purses().why_unchecked(too_slow) == "running it again would take too much of the suite's time"


def test_a_cache_that_fills_for_seconds_leaves_other_suspects_their_first_run() -> None:
    purses = Purses()
    charge(purses, QUICK, 2.0)
    assert purses.why_not_followed(QUICK) is None
    charge(purses, QUICK, 2.0)
    assert purses.why_not_followed(QUICK) == "suspects that grew for a while took 2 s"
    assert purses.why_unchecked(QUICK) is None


def test_a_suspect_that_was_looked_at_plainly_takes_that_from_those_to_be_cleared_and_no_more() -> None:
    purses = Purses()
    slow = {**QUICK, "duration_s": 0.05}
    purses.charge_suspect(slow, 1.05, followed_s=1.0, pursued=False, leaks=False)
    purses.charge_suspect(slow, 1.25, followed_s=1.0, pursued=False, leaks=False)
    assert purses.can_clear({**QUICK, "duration_s": 0.03}), "0.3 s of 0.4"
    assert not purses.can_clear({**QUICK, "duration_s": 0.04})
    assert purses.why_not_followed(QUICK) == "suspects that grew for a while took 2 s"


def test_one_slow_suspect_that_grows_for_long_leaves_the_others_their_time() -> None:
    purses = Purses()
    charge(purses, QUICK, 9.0)
    assert purses.why_not_followed(QUICK) is None


def test_leaks_end_the_search_for_more_be_they_new_or_recognized() -> None:
    """One that is known may take as long again: in 83 tests of a server each took 17 s."""
    purses = Purses()
    purses.charge_suspect(QUICK, 17.0, pursued=False, leaks=True)
    assert purses.why_not_followed(QUICK) is None
    purses.charge_suspect(QUICK, 17.0, pursued=False, leaks=True)
    assert purses.why_not_followed(QUICK) == "the leaks found before took 34 s"
    assert purses.why_not_followed(LARGE) is None
    purses.tests_s = 200.0
    assert purses.why_not_followed(QUICK) is None


def test_small_growth_is_pursued_after_so_much_of_the_tests_time_and_charged_to_no_other_purse() -> None:
    purses = Purses()
    assert not purses.can_pursue()
    purses.tests_s = 60.0
    assert purses.can_pursue()
    charge(purses, QUICK, 7.0, pursued=True)
    assert not purses.can_pursue()
    assert purses.why_not_followed(QUICK) is None


def test_help_of_the_budget_tells_what_suspects_that_are_clean_may_take() -> None:
    share = 2 * (module._CLEARING_SHARE + module._DOUBT_SHARE) + module._PURSUIT_SHARE
    start_s = 2 * (module._CLEARING_S + module._DOUBT_S)
    (budget,) = (option for option in OPTIONS if option.name == "budget")
    assert f"may take {share:.0%} of that time, and {start_s:.1f} s" in budget.help


def test_one_store_that_is_looked_at_for_long_leaves_the_others_their_time() -> None:
    purses = Purses()
    purses.charge_look(12.0)
    assert purses.can_look()


def test_looking_at_flat_tests_ends_with_its_share() -> None:
    purses = Purses()
    assert purses.can_look()
    for _ in range(6):
        purses.charge_look(1.9)
    assert not purses.can_look()
    purses.tests_s = 15.0
    assert purses.can_look()


def test_what_a_test_with_a_leak_waits_for_counts_in_full(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a suite of servers that wait 20 s were 80."""

    def wait(*_: object, **__: object) -> tuple[LeakAnalysis, int, None]:
        time.sleep(0.2)
        return LeakAnalysis(status="leaking"), 3, None

    check = LeakCheck("suspects", turns=None)
    monkeypatch.setattr(check, "_investigate", wait)
    values = {"duration_s": 0.1, "blocks_growth": 400.0}
    assert check.check(request.node, MarkerLimits(), values=values, budget_s=None)[1] == 3
    assert check.purses._finding[False].spent_s >= 0.2
