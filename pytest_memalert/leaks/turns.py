"""Whose turn it is to be checked for leaks, when a budget covers only part of a suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean, median
from typing import Any
from zlib import crc32

from pytest_memalert.records import record
from pytest_memalert.settings import SHARE_OF_TURNS, Budget

__all__ = ["Turn", "Turns", "choose", "decode_turns", "encode_turns", "source_of", "update"]

#: 1: {"format", "session", "tests": {node id: [session, cost_s, duration_s, source]}}
_FORMAT = 1

# What checking a test is taken to cost before any was checked: a quick one's. Too many have their turn sooner
# than too few, of which a part of the budget would be left.
_GUESSED_COST_S = 0.02


@record(frozen=True, slots=True, kw_only=True)
class Turn:
    """Say when a test was last checked, what that took, and what the test's code was then.

    ``session`` counts the sessions that checked any. ``duration_s`` is that of the test's own run.
    """

    session: int
    cost_s: float
    duration_s: float
    source: str


@record(frozen=True, slots=True, kw_only=True)
class Turns:
    """Hold the turns of a suite's tests by node id, up to and including ``session``."""

    session: int = 0
    tests: Mapping[str, Turn]


NO_TURNS = Turns(tests={})


def choose(candidates: Mapping[str, str], turns: Turns, budget: Budget) -> frozenset[str] | None:
    """Return which tests to check: those never checked, or changed since, then the longest ago.

    ``candidates`` are the node ids collected, each with what its code is now. Only as many
    are chosen as most of the budget covers by what they cost before, but at least one. None means
    any: with a share of a time that isn't known yet, the budget is met as the run goes on. While
    it is known of too few tests, all others are chosen: else the first would have every turn.
    """
    known = {nodeid: turns.tests[nodeid] for nodeid in candidates if nodeid in turns.tests}
    tests_s = 0.0
    if budget.share is not None:
        if not known:
            return None
        if 2 * len(known) < len(candidates):
            return frozenset(
                nodeid
                for nodeid, source in candidates.items()
                if nodeid not in known or known[nodeid].source != source
            )
        mean_s = fmean(turn.duration_s for turn in known.values())
        tests_s = mean_s * len(candidates)
    left_s = SHARE_OF_TURNS * budget.limit_s(tests_s)
    usual_s = median(turn.cost_s for turn in known.values()) if known else _GUESSED_COST_S

    def age(nodeid: str) -> int:
        turn = known.get(nodeid)
        return -1 if turn is None or turn.source != candidates[nodeid] else turn.session

    chosen: set[str] = set()
    for nodeid in sorted(candidates, key=age):  # stable: equals in the order of the suite
        cost_s = known[nodeid].cost_s if nodeid in known else usual_s
        if chosen and cost_s > left_s:
            break
        left_s -= cost_s
        chosen.add(nodeid)
    return frozenset(chosen)


def update(turns: Turns, checked: Mapping[str, tuple[float, float, str]]) -> Turns:
    """Return the turns after one more session, which checked these: cost, duration and code of each."""
    session = turns.session + 1
    newest = {
        nodeid: Turn(session=session, cost_s=cost_s, duration_s=duration_s, source=source)
        for nodeid, (cost_s, duration_s, source) in checked.items()
    }
    return Turns(session=session, tests={**turns.tests, **newest})


def encode_turns(turns: Turns) -> dict[str, object]:
    """Return turns as a dict of JSON types."""
    tests = {
        nodeid: [turn.session, round(turn.cost_s, 6), round(turn.duration_s, 6), turn.source]
        for nodeid, turn in turns.tests.items()
    }
    return {"format": _FORMAT, "session": turns.session, "tests": tests}


def decode_turns(entry: Any) -> Turns:
    """Return the turns of such a dict; none at all of anything else, a cache being no contract."""
    try:
        if entry["format"] != _FORMAT:
            return NO_TURNS
        tests = {
            str(nodeid): Turn(
                session=int(session), cost_s=float(cost_s), duration_s=float(duration_s), source=str(source)
            )
            for nodeid, (session, cost_s, duration_s, source) in entry["tests"].items()
        }
        return Turns(session=int(entry["session"]), tests=tests)
    except (KeyError, TypeError, ValueError, AttributeError):
        return NO_TURNS


def source_of(codes: Iterable[object]) -> str:
    """Return what tells one version of a test's code from another."""
    total = 0
    for code in codes:
        names = (getattr(code, name, b"") for name in ("co_code", "co_names", "co_varnames"))
        constants = [
            constant
            for constant in getattr(code, "co_consts", ())
            if isinstance(constant, str | bytes | int | float)
        ]
        total = crc32(repr((*names, constants)).encode("utf-8", "backslashreplace"), total)
    return f"{total:08x}"
