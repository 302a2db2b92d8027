"""Containers that the code around them keeps small: a bound that stands in the source, and nowhere else.

``if len(CACHE) > 500: CACHE.clear()`` is as good a bound as ``maxsize``, and so are entries that are dropped
once they are too old, or too large together; only that no object says so. Read are the files that define
what holds the container (``reading``): ``places`` and ``naming`` tell which names there are it, ``habits``
what a function does to it.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from fnmatch import fnmatchcase
from types import CodeType

from pytest_memalert.attribution.allocation.packages import is_stdlib
from pytest_memalert.attribution.reading.habits import Habits, Reading
from pytest_memalert.attribution.reading.naming import Place
from pytest_memalert.attribution.reading.places import places_of
from pytest_memalert.attribution.reading.source import Function
from pytest_memalert.records import record

__all__ = ["Eviction", "find_eviction", "running"]

#: Functions gone through for one container, and for one that adds to it: 0.3 ms each.
_MOST_FUNCTIONS = 2000
_MOST_FUNCTIONS_OF_ONE = 200


#: The code of the test that is run, or of whatever function is, and what the functions of tests are called.
_test: ContextVar[tuple[CodeType | None, Collection[str]]] = ContextVar("_test", default=(None, ("test",)))


@contextmanager
def running(function: object, *, tests: Collection[str] = ("test",)) -> Iterator[None]:
    """Let what a test itself does with containers count, while it is run and explained.

    ``tests`` are the names of tests: how they begin, or patterns, as in pytest's ``python_functions``.
    """
    code = None
    with suppress(Exception):  # one that wraps itself, or whatever an odd object does
        code = getattr(inspect.unwrap(function), "__code__", None)  # type: ignore[arg-type]
    before = _test.set((code, (*tests, "test")))
    try:
        yield
    finally:
        _test.reset(before)


@record(frozen=True, slots=True, kw_only=True)
class Eviction:
    """Say which function lets go of what it keeps: beyond ``limit`` elements, where that is known.

    ``by`` is what it bounds the container by: ``length``, or ``age`` or ``size``, where all go that are
    beyond some limit. It is None where one goes at a time, for a reason that isn't told from here: perhaps
    the entry that is replaced, which bounds nothing.
    """

    function: str
    by: str | None
    limit: int | None = None


def find_eviction(container: object) -> Eviction | None:
    """Return how the code that adds to a container lets go of its elements, if it does.

    The function that adds, or one that it calls, removes something where the length is more than a limit, or
    adds nothing more there; or slices off what is too much; or compares something else, as the time, and
    removes all that it holds for; or removes one for whatever reason. What others may remove, as from a
    registry, is no bound. The objects themselves are not asked. Of several, the largest limit is told.
    """
    found = []
    try:
        for place in places_of(container):
            found += list(_read(place))
    except Exception:  # whatever a module's source or an odd referrer holds
        pass
    return max(found, key=_rank, default=None)


def _rank(found: Eviction) -> tuple[int, int]:
    if found.limit is not None:
        return 2, found.limit
    return (0 if found.by is None else 1), 0


def _read(place: Place) -> Iterator[Eviction]:
    left = _MOST_FUNCTIONS
    adding: set[str] = set()
    functions = [each for each in place.functions() if _may_run(each)]
    # Those that don't name it may call one that adds to it, and then one that removes.
    for function in sorted(functions, key=lambda each: not place.is_named_in(each)):
        if not place.is_named_in(function) and not any(function.mentions(name) for name in adding):
            continue
        reading = Reading(left=min(left, _MOST_FUNCTIONS_OF_ONE))
        allowed = reading.left
        try:
            habits = Habits(function, place, reading).read()
        except Exception:  # an odd piece of source, or more of it than there is stack
            continue
        left -= allowed - reading.left
        if habits.adds:
            adding.add(function.node.name)
        found = _judge(habits, f"{place.module(function)}.{_qualified(function)}")
        # The registry of running threads: who ends is removed, and who doesn't is left.
        if found is not None and (found.by is not None or not is_stdlib(place.module(function))):
            yield found


def _qualified(function: Function) -> str:
    """Return the name of a function, of a method with its class."""
    return function.node.name if function.owner is None else f"{function.owner.name}.{function.node.name}"


def _may_run(function: Function) -> bool:
    """Return whether a function may be one of those that run: what one test removes is none of another's."""
    name = function.node.name
    test, tests = _test.get()
    if not any(name.startswith(each) or fnmatchcase(name, each) for each in tests):
        return True
    return test is not None and (test.co_name, test.co_firstlineno) == (name, function.first_line)


def _judge(habits: Habits, name: str) -> Eviction | None:
    """Return what a function bounds a container by, together with those it calls."""
    if habits.limits and (habits.adds or habits.calls_adding):
        known = [int(limit) for limit in habits.limits if limit is not None]
        return Eviction(
            function=name, by="length", limit=max(known) if len(known) == len(habits.limits) else None
        )
    # A run of the whole program adds, too, and cleans up.
    if not habits.adds:
        return None
    if habits.removes_beyond:
        return Eviction(function=name, by="age" if habits.by_age else "size")
    return Eviction(function=name, by=None) if habits.removes else None
