"""Holds when an operation isn't run any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_memalert.hunting import patience
from pytest_memalert.hunting.finding import find_leaks
from pytest_memalert.hunting.patience import Patience


def runs_that_take(durations_s: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[str | None]:
    """Yield what each run is answered, on a clock that moves by them alone."""
    now_s = [0.0]
    left = iter(durations_s)

    def run() -> None:
        now_s[0] += next(left)

    monkeypatch.setattr(patience, "elapsed_s", lambda: now_s[0])
    patient = Patience(run)
    patient.limit(60.0)
    for _ in durations_s:
        yield patient()


def test_operation_that_takes_twice_as_long_each_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = list(runs_that_take([0.01 * 2**n for n in range(12)], monkeypatch))
    assert answers[:8] == [None] * 8  # the last of which took 1.28 s
    assert set(answers[8:]) == {"each run takes longer than the one before"}


@pytest.mark.parametrize(
    "durations_s",
    [
        [3.0] * 10,
        [0.1, 0.1, 2.5, 2.5, 2.5, 2.5],  # traced
        [0.07, 0.07, 0.5, 1.2, 1.2, 1.2],  # with one frame of each allocation, then with more
        [0.1, 0.2, 0.4, 0.8, 0.8, 0.8],
        [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
    ],
)
def test_slow_operation_is_run_on(durations_s: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(runs_that_take(durations_s, monkeypatch)) == {None}


def test_operation_is_refused_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = list(runs_that_take([25.0] * 5, monkeypatch))
    assert answers == [None, None, None, "its runs take too long", "its runs take too long"]


def test_search_ends_where_what_leaks_makes_each_run_twice_as_long() -> None:
    """As wrappers do that ask the one within twice; it went on for hours."""

    class Wrapped:
        def __init__(self, inner: Wrapped | None) -> None:
            self.inner = inner
            self.kept = [object() for _ in range(400)]

        def get(self) -> int:
            return 1 if self.inner is None else self.inner.get() and self.inner.get()

    chain = [Wrapped(None)]

    def wrap() -> None:
        chain[0] = Wrapped(chain[0])
        chain[0].get()

    analysis = find_leaks(wrap)
    assert analysis.status != "clean"
    told = (analysis.reason or "", *analysis.recommendations)
    assert any("each run takes longer than the one before" in text for text in told)


def test_what_was_refused_for_want_of_time_may_have_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is explained is measured afterwards: a leak that took long to explain had no size."""
    now_s = [0.0]
    monkeypatch.setattr(patience, "elapsed_s", lambda: now_s[0])
    patient = Patience(lambda: None)
    patient.limit(30.0)
    now_s[0] = 31.0
    assert patient() == "its runs take too long"
    patient.limit(5.0)
    assert patient() is None
