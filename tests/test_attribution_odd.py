"""Holders that are full or bounded beside a leak, and objects that are odd to look at."""

from __future__ import annotations

import ctypes
import functools
import gc
import itertools
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_memalert
from pytest_memalert import find_leaks
from pytest_memalert.attribution import heads
from pytest_memalert.attribution.allocation.sites import OWN_DIRECTORY, origin_of
from pytest_memalert.attribution.explain import explain
from pytest_memalert.attribution.explanation import Explanation
from pytest_memalert.attribution.holding.holder import NO_REFERRER
from pytest_memalert.attribution.objects import referents_of

KEEP: list[Any] = []


class Item:
    def __init__(self, number: int) -> None:
        self.number = number
        self.table: dict[int, tuple[int]] = {}


def explained(operation: Callable[[], object]) -> Explanation:
    """Return the explanation of an operation; nothing that it makes is kept for it."""

    def run() -> None:
        operation()

    return explain(run)


def counter() -> Callable[[], int]:
    """Return a function that returns another number each time."""
    return itertools.count(1000).__next__


# ------------------------------------------------------------ caches that are full


def lose(obj: object) -> None:
    """Take a reference that nobody gives back."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(obj))


def test_what_is_lost_is_not_excused_by_a_full_cache_that_has_it_too() -> None:
    """re keeps the latest patterns: "bounded: 512 of 512", said of one that lacked a decref."""
    number = counter()
    analysis = find_leaks(lambda: lose(re.compile(f"lost without a decref {number()}")))
    assert analysis.status == "leaking"
    assert [kind.held_by for kind in analysis.survivors if kind.type == "re.Pattern"] == [(NO_REFERRER,)]


def test_what_holds_an_object_besides_a_full_cache_is_told() -> None:
    number = counter()
    make = functools.lru_cache(maxsize=4)(lambda index: [index])
    for _ in range(4):
        make(number())
    found = explained(lambda: KEEP.append(make(number())))
    assert found.survivors[0].held_by[1].startswith("KEEP")


def test_a_list_that_a_full_cache_keeps_and_that_grows_is_a_leak() -> None:
    """Beside it, a ring buffer fills: it was called bounded by that."""

    @functools.lru_cache(maxsize=1)
    def handlers() -> list[object]:
        return []

    recent: deque[object] = deque(maxlen=50_000)

    def run() -> None:
        handlers().append([1])
        recent.append([2])

    assert find_leaks(run).status == "leaking"


def test_an_entry_that_grows_within_a_bounded_container_is_a_leak() -> None:
    ring: deque[list[object]] = deque([[]], maxlen=3000)
    assert find_leaks(lambda: ring[-1].append([1])).status == "leaking"


def test_a_missing_decref_beside_a_ring_buffer_that_fills_is_not_clean() -> None:
    recent: deque[object] = deque(maxlen=50_000)

    def handle() -> None:
        recent.append(Item(1))
        lose(Item(2))

    assert find_leaks(handle).status in ("unclear", "leaking")


def test_one_object_that_nobody_holds_does_not_speak_against_the_bound_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server's thread is about to drop it: a ring buffer beside was told as a leak."""
    monkeypatch.setattr("pytest_memalert.attribution.survivors.survivors._SLOW_RUN_S", 0.0)  # few runs
    recent: deque[object] = deque(maxlen=50_000)
    for phase in range(4):  # whichever of four runs it is that leaves it
        number = itertools.count(phase)

        def handle(number: Iterator[int] = number) -> None:
            recent.append(Item(1))
            if next(number) % 4 == 0:
                lose(Item(2))

        found = explained(handle)
        assert found.bounded is not None
        assert [survivor.count for survivor in found.survivors] == [1]


def test_objects_of_classes_that_each_run_makes_anew_are_one_kind_of_survivor() -> None:
    """Their metaclass may be as new, as where a module is loaded again."""

    def handle() -> None:
        class Meta(type):
            pass

        class Made(metaclass=Meta):
            pass

        KEEP.append(Made())

    found = explained(handle)
    names = {survivor.type.rpartition(".")[2]: survivor.count for survivor in found.survivors}
    assert names.items() >= {"Made": 1, "Meta": 1, "type": 1}.items()


def test_what_goes_into_the_middle_of_a_list_is_found_in_it() -> None:
    """The collector doesn't track it, and the ends of the list are what they were."""
    ordered = [(float(number), "x") for number in range(0, 2000, 2)]
    number = itertools.count(1000, 2)
    found = explained(lambda: ordered.insert(500, (float(next(number)), "y")))
    assert any("list of 1,0" in step for survivor in found.survivors for step in survivor.held_by)


def test_the_table_of_its_subclasses_that_a_class_has_is_no_missing_decref() -> None:
    """It is made with the first of them, which a decorator may have replaced since, as for slots."""

    def handle() -> None:
        base = type("Base", (), {})
        derived = type("Derived", (base,), {})
        KEEP.append(rebuilt(derived))

    def rebuilt(derived: type) -> type:
        return type("Derived", derived.__bases__, {})

    found = explained(handle)
    assert not any("decref" in advice for advice in found.recommendations)
    assert not any(NO_REFERRER in survivor.held_by for survivor in found.survivors)


# ----------------------------------------------------------------- odd objects


def test_a_key_too_long_to_be_written_ends_no_explanation() -> None:
    """repr() refuses a number of more than 4,300 digits."""
    number = counter()
    memo: dict[int, object] = {}
    found = explained(lambda: memo.setdefault(10**4400 + number(), [1]))
    assert found.reason is None
    assert found.survivors


def test_a_thread_whose_init_was_not_called_is_told() -> None:
    found = explained(lambda: KEEP.append(threading.Thread.__new__(threading.Thread)))
    assert found.reason is None
    assert found.survivors[0].type == "threading.Thread"


def test_a_search_leaves_no_object_in_the_frames_that_it_looked_at() -> None:
    """Up to Python 3.12 a frame keeps the locals that somebody asked for."""
    item = Item(1)
    reference = weakref.ref(item)
    found = explained(lambda: lose(Item(2)))
    assert found.survivors[0].held_by == (NO_REFERRER,)
    del item
    gc.collect()
    assert reference() is None


def test_files_beside_the_package_are_not_its_own() -> None:
    folder = Path(OWN_DIRECTORY)
    assert folder == Path(pytest_memalert.__file__).parent
    assert origin_of(str(folder / "model.py")) == "own"
    assert origin_of(str(folder.with_name(f"{folder.name}_demo") / "model.py")) != "own"


def test_a_table_that_many_survivors_share_is_looked_into_once() -> None:
    """600 objects with one table of 200,000 entries took half a minute."""
    table = {number: (number,) for number in range(200_000)}

    def leak() -> None:
        for _ in range(50):
            item = Item(1)
            item.table = table
            KEEP.append(item)

    looked_into = 0
    original = referents_of

    def count(obj: object) -> list[object]:
        nonlocal looked_into
        looked_into += obj is table
        return original(obj)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "referents_of", count)
        assert explained(leak).survivors
    assert looked_into <= 2


def test_tuples_of_plain_tuples_are_told_with_what_keeps_them() -> None:
    """The collector finds only by and by that it needn't look at them: nothing was told of them."""
    number = counter()
    rows: dict[int, object] = {}

    def leak() -> None:
        row = number()
        rows[row] = (float(row), (bytes(20_000), str(row)))

    found = explained(leak)
    (tuples,) = [kind for kind in found.survivors if kind.type == "tuple"]
    assert tuples.size_bytes > 20_000
    assert "rows" in " ".join(tuples.held_by)
