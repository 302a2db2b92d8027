"""Tests for whose turn it is to be checked for leaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_memalert.leaks.turns import (
    NO_TURNS,
    Turn,
    Turns,
    choose,
    decode_turns,
    encode_turns,
    source_of,
    update,
)
from pytest_memalert.settings import Budget


def taken(session: int, *, cost_s: float = 1.0, source: str = "v1") -> Turn:
    return Turn(session=session, cost_s=cost_s, duration_s=0.1, source=source)


SUITE = {"a": "v1", "b": "v1", "c": "v1", "d": "v1"}


def test_tests_never_checked_go_first() -> None:
    turns = Turns(session=3, tests={"a": taken(1), "b": taken(2), "d": taken(3)})
    assert set(choose(SUITE, turns, Budget(seconds=1.5)) or ()) == {"c"}


def test_a_test_that_changed_since_counts_as_never_checked() -> None:
    turns = Turns(session=3, tests={"a": taken(1), "b": taken(2), "c": taken(2), "d": taken(3, source="v0")})
    assert set(choose(SUITE, turns, Budget(seconds=1.5)) or ()) == {"d"}


def test_tests_checked_longest_ago_come_next() -> None:
    turns = Turns(session=4, tests={"a": taken(4), "b": taken(2), "c": taken(1), "d": taken(3)})
    # A quarter of a budget is left to suspects.
    assert set(choose(SUITE, turns, Budget(seconds=2.0 / 0.75)) or ()) == {"c", "b"}


def test_a_share_of_an_unknown_time_lets_any_test_be_checked() -> None:
    assert choose(SUITE, NO_TURNS, Budget(share=0.1)) is None


def test_a_share_known_of_few_tests_lets_the_others_be_checked() -> None:
    # Else the first test of the suite, being known, would use the budget up in session after session.
    turns = Turns(session=1, tests={"a": taken(1)})
    assert choose(SUITE, turns, Budget(share=0.01)) == frozenset(SUITE) - {"a"}
    assert choose({**SUITE, "a": "changed"}, turns, Budget(share=0.01)) == frozenset(SUITE)


def test_a_share_is_taken_of_the_time_that_the_tests_took_before() -> None:
    tests = {name: Turn(session=1, cost_s=20.0, duration_s=100.0, source="v1") for name in SUITE}
    assert set(choose(SUITE, Turns(session=1, tests=tests), Budget(share=0.1 / 0.75)) or ()) == {"a", "b"}


def test_a_share_of_a_quick_suite_is_enough_for_a_leak() -> None:
    turns = Turns(session=1, tests={name: taken(1, cost_s=0.9) for name in SUITE})
    assert choose(SUITE, turns, Budget(share=0.1)) == frozenset(SUITE)


def test_over_several_sessions_every_test_has_its_turn() -> None:
    turns, seen = NO_TURNS, set[str]()
    for _ in range(4):
        chosen = choose(SUITE, turns, Budget(seconds=1.0))
        assert chosen is not None
        seen |= chosen
        turns = update(turns, {nodeid: (1.0, 0.1, SUITE[nodeid]) for nodeid in chosen})
    assert seen == set(SUITE)


@given(
    costs=st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.001, 5.0), min_size=1),
    budget_s=st.floats(0.0, 10.0),
)
def test_law_the_budget_is_kept_but_for_the_one_test_that_is_always_checked(
    costs: dict[str, float], budget_s: float
) -> None:
    turns = Turns(session=1, tests={name: taken(1, cost_s=cost) for name, cost in costs.items()})
    chosen = choose(dict.fromkeys(costs, "v1"), turns, Budget(seconds=budget_s))
    assert chosen
    spent_s = sum(costs[name] for name in chosen)
    assert len(chosen) == 1 or spent_s <= budget_s + 1e-9


def test_turns_come_back_from_the_cache_as_they_were() -> None:
    turns = Turns(session=2, tests={"a": taken(1), "b": taken(2, cost_s=0.25)})
    assert decode_turns(encode_turns(turns)) == turns


def test_a_cache_that_says_anything_else_holds_no_turns() -> None:
    others: list[object] = [None, [], {"format": 2}, {"format": 1, "session": 1, "tests": {"a": [1]}}, "text"]
    for entry in others:
        assert decode_turns(entry) == NO_TURNS


def test_changed_code_has_another_source() -> None:
    def first() -> int:
        return 1

    def second() -> int:
        return 2

    def like_first() -> int:
        return 1

    assert source_of([first.__code__]) != source_of([second.__code__])
    assert source_of([first.__code__]) == source_of([like_first.__code__])
