"""Tests for find_leaks and assert_no_leaks, with real leaks."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import ctypes
import functools
import gc
import io
import itertools
import os
import re
import sys
import threading
import tracemalloc
import warnings
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_memalert import LeakAnalysis, MemalertWarning, Survivor, assert_no_leaks, find_leaks
from pytest_memalert.attribution import explain as explaining
from pytest_memalert.attribution.allocation.descriptors import open_descriptors
from pytest_memalert.attribution.allocation.native import NativeGrowth
from pytest_memalert.attribution.explanation import Amount, Explanation
from pytest_memalert.hunting.investigation import (
    _are_turned_over,
    _watched_together,
    _without_caches,
    investigate,
)
from pytest_memalert.hunting.questions import SeenRuns
from pytest_memalert.hunting.recognition import Explained, scaled
from pytest_memalert.leaks.policy import Policy
from pytest_memalert.model import Signal

KEPT: list[object] = []
OTHERS: list[object] = []
BY_NAME: dict[str, list[object]] = {}
LATEST: deque[object] = deque(maxlen=50)

# Enough where the growth is plain and the number of runs is not what is tested.
FEW_RUNS = Policy(shape_runs=60, shape_s=0.0)


class Order:
    lines: deque[object]

    def __init__(self, number: int) -> None:
        self.number = number


class Receipt:
    pass


def keep_order(number: int = 1) -> None:
    KEPT.append(Order(number))


def keep_latest() -> None:
    LATEST.append(Order(1))


def forget_order() -> None:
    Order(1)


def investigate_two(
    first: Callable[[], None], then: Callable[[], None], **options: Any
) -> tuple[LeakAnalysis, LeakAnalysis, Explained]:
    """Return what is found of two operations, where the second is recognized by what is known of the first.

    One block that a thread of the test runner takes or gives back in those two runs is one too many
    (then it is investigated like any other): the chance is small, but there are thousands of tests.
    """
    for _ in range(3):
        explained = Explained()
        found = investigate(first, explained=explained, policy=FEW_RUNS)
        again = investigate(then, explained=explained, **options)
        if again.runs == 2:
            break
    return found, again, explained


async def keep_order_async() -> None:
    await asyncio.sleep(0)
    KEPT.append(Order(2))


@pytest.fixture(autouse=True)
def clear_kept() -> None:
    KEPT.clear()


def test_what_a_cache_takes_in_beside_a_leak_is_not_counted_nor_told() -> None:
    """Classes that typing keeps 128 of, beside a handler: they were told of, and 60 blocks for 6."""
    cached = functools.lru_cache(maxsize=128)(lambda index: Receipt())
    numbers = itertools.count(1000)

    def leak() -> None:
        cached(next(numbers))
        KEPT.append([Order(1), Order(2), Order(3), Order(4)])

    for runs in (40, None):  # while it fills, and long after it is full
        analysis = find_leaks(leak, runs=runs)
        assert analysis.status == "leaking"
        assert not any("Receipt" in kind.type for kind in analysis.survivors)
        own = find_leaks(lambda: KEPT.append([Order(1), Order(2), Order(3), Order(4)]), runs=runs)
        assert analysis.blocks_per_run == pytest.approx(own.blocks_per_run, rel=0.35)
        # What the cache takes is reckoned by the blocks: over few runs, no better than these are known.
        off = 0.35 if runs else 0.2
        assert analysis.bytes_per_run == pytest.approx(own.bytes_per_run, rel=off)


@pytest.mark.parametrize(
    ("seen", "blocks", "told"),
    [(4, 2.49, (5, 2, 80)), (3, 2.49, (5, 2, 80)), (2, 2.49, (2, 1, 32)), (4, 2, (4, 1, 64))],
)
def test_survivors_in_changing_numbers_are_told_by_what_all_the_runs_left(
    seen: int, blocks: float, told: tuple[int, int, int]
) -> None:
    """2.5 blocks per run were told, and below that each run left 4 objects."""
    kind = Survivor(type="object", count=seen, size_bytes=16 * seen)
    explanation = Explanation(survivors=(kind,), lost={"blocks": blocks})
    (found,) = scaled(explanation, blocks)
    assert (found.count, found.runs, found.size_bytes) == told


@pytest.mark.parametrize(("alike_from", "blocks"), [(76, 273.0), (0, 273.0), (250, 10.1)])
def test_what_a_leak_leaves_as_well_when_the_caches_are_full_is_its_own(
    alike_from: int, blocks: float
) -> None:
    """A reloaded module is in ``typing``'s caches, and in a registry: 273 blocks were told as 10."""
    analysis = LeakAnalysis(status="leaking", bytes_per_run=33_473.0, blocks_per_run=273.0, runs=300)
    seen = Explanation(
        own=Amount(objects=5, bytes=1092.0), cached=Amount(objects=130.7, bytes=40_745.0, limit=128)
    )
    runs = SeenRuns(count=300, share=1.0, usual_blocks=273.0, alike_from=alike_from)
    assert _without_caches(analysis, seen, runs).blocks_per_run == pytest.approx(blocks, rel=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted there")
def test_cache_does_not_excuse_descriptors_that_it_does_not_hold() -> None:
    opened: list[int] = []
    numbers = itertools.count(1000)
    parse = functools.lru_cache(maxsize=128)(lambda number: ([number, "x"], [number, "y"]))

    def leak() -> None:
        opened.extend(os.pipe())
        parse(next(numbers))

    try:
        analysis = find_leaks(leak)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert (analysis.status, analysis.bytes_per_run, analysis.blocks_per_run) == ("leaking", 0.0, 0.0)
    assert analysis.survivors == ()
    (advice,) = analysis.recommendations
    assert re.match(
        r"close what is opened at .*test_finding\.py:\d+ in .*\(what stays open leads to pipe\)$", advice
    )


def test_what_repetitions_of_a_leak_make_another_test_leave_is_not_that_ones() -> None:
    """The many handlers that one left take in what the next one says: it was told as a thousand of it."""
    explained = Explained()
    heard = KEPT

    def say(text: str) -> None:
        for handler in heard:
            handler(text)  # type: ignore[operator]

    def add_handler() -> None:
        out: list[str] = []
        heard.append(lambda text: out.append(f"got {text}"))

    policy = Policy(shape_runs=20, shape_s=0.0)
    leak = investigate(add_handler, explained=explained, policy=policy)
    assert leak.status == "leaking"
    after = investigate(lambda: say("hello"), explained=explained, policy=policy)
    assert after.status == "unclear"
    assert "repetitions of another test" in (after.reason or "")
    alone = investigate(lambda: say("hello"), policy=policy)
    assert alone.status == "leaking"


def test_what_the_collector_calls_leaves_is_no_leak_of_what_is_searched() -> None:
    """Our own collections are as many as the runs."""
    keep = lambda phase, info: KEPT.append(bytearray(10_000))  # noqa: E731  its name is nobody's business
    gc.callbacks.append(keep)
    try:
        assert find_leaks(forget_order).status == "clean"
        assert gc.callbacks[-1] is keep
    finally:
        gc.callbacks.remove(keep)


def test_tasks_that_wait_on_timers_are_told_without_the_timers_that_they_renew() -> None:
    """Each run renews hundreds: it was taken for one that makes much and leaves nearly nothing."""
    loop, tasks = asyncio.new_event_loop(), weakref.WeakSet[asyncio.Task[None]]()

    async def poll(event: asyncio.Event) -> None:
        while not event.is_set():
            await asyncio.sleep(0.01)

    async def handle() -> None:
        tasks.add(loop.create_task(poll(asyncio.Event())))
        await asyncio.sleep(0)

    try:
        analysis = find_leaks(lambda: loop.run_until_complete(handle()), runs=200)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
    assert analysis.status == "leaking", analysis.reason
    counts = {kind.type.rpartition(".")[2]: kind.count for kind in analysis.survivors}
    assert counts["Task"] == counts["Event"] == 1
    assert max(counts.values()) <= 4
    assert analysis.recommendations[0].startswith("cancel() and await the task")


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted there")
def test_cache_of_open_files_is_no_leak() -> None:
    numbers = itertools.count(1000)

    @functools.lru_cache(maxsize=128)
    def reader(number: int) -> io.FileIO:
        opened.append(io.FileIO(os.devnull))
        return opened[-1]

    # What is dropped unclosed would warn.
    opened = deque[io.FileIO](maxlen=130)
    try:
        assert find_leaks(lambda: reader(next(numbers))).status != "leaking"
    finally:
        for file in opened:
            file.close()


def test_leak_of_the_same_type_that_takes_more_has_its_own_figures() -> None:
    """The second was told with the size of the first, which a hundredth of it was."""

    class Parcel:
        def __init__(self, size_bytes: int) -> None:
            self.data = bytearray(size_bytes)

    for sizes in ((20_000, 2_000_000), (2_000_000, 20_000)):
        explained = Explained()
        for size_bytes in sizes:
            keep = functools.partial(lambda size: KEPT.append(Parcel(size)), size_bytes)
            analysis = investigate(keep, explained=explained, policy=FEW_RUNS)
            assert analysis.bytes_per_run == pytest.approx(size_bytes, rel=0.1)
            told_bytes = sum(kind.size_bytes for kind in analysis.survivors)
            assert told_bytes == pytest.approx(size_bytes, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted there")
def test_known_leak_does_not_hide_a_descriptor_left_open_beside_it() -> None:
    opened: list[int] = []

    def keep() -> None:
        KEPT.append(Order(1))

    def keep_and_open() -> None:
        KEPT.append(Order(1))
        opened.append(os.open(os.devnull, os.O_RDONLY))

    try:
        for operations in ((keep, keep_and_open), (keep_and_open, keep)):
            explained = Explained()
            found = {each: investigate(each, explained=explained, policy=FEW_RUNS) for each in operations}
            assert "descriptors" in {item.signal for item in found[keep_and_open].growth}
            assert "descriptors" not in {item.signal for item in found[keep].growth}
            assert found[keep].signature != found[keep_and_open].signature
    finally:
        for descriptor in opened:
            os.close(descriptor)


def test_what_is_very_large_is_found_in_few_runs() -> None:
    try:
        analysis = find_leaks(lambda: KEPT.append(bytearray(b"x") * 50_000_000))
    finally:
        KEPT.clear()
    assert analysis.status == "leaking"
    assert analysis.bytes_per_run == pytest.approx(50e6, rel=0.01)
    assert "KEPT" in analysis.recommendations[0]


@pytest.mark.parametrize(("size_bytes", "entries"), [(50_000_000, 6), (140_000_000, 8)])
def test_very_large_values_in_a_cache_are_no_leak(size_bytes: int, entries: int) -> None:
    numbers = itertools.count()
    keep = functools.lru_cache(maxsize=entries)(lambda number: bytearray(b"x") * size_bytes)
    assert find_leaks(lambda: keep(next(numbers))).status != "leaking"


def test_leak_is_told_unexplained_where_there_is_no_room_to_explain_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pytest_memalert.hunting.investigation.free_bytes", lambda: 10**9)
    try:
        analysis = find_leaks(lambda: KEPT.append(bytearray(b"x") * 130_000_000))
        assert len(KEPT) < 8
    finally:
        KEPT.clear()
    assert analysis.status == "leaking"
    assert re.search("takes 16 runs, and 954 MiB of memory are free", analysis.recommendations[0])


def test_large_leak_is_told_where_psutil_may_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be judged at all."""

    def refuse(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    try:
        analysis = find_leaks(lambda: KEPT.append(bytearray(b"x") * 20_000_000))
    finally:
        KEPT.clear()
    assert analysis.status == "leaking"
    assert "how much memory is free is not known" in analysis.recommendations[0]


def test_a_function_that_keeps_an_object_leaks_it_in_each_call() -> None:
    analysis = find_leaks(keep_order, 7)
    assert analysis.status == "leaking"
    assert analysis.blocks_per_run is not None
    assert analysis.blocks_per_run >= 1
    assert analysis.survivors[0].type.endswith("Order")
    assert "KEPT" in " ".join(analysis.survivors[0].held_by)
    assert any("KEPT" in advice for advice in analysis.recommendations)


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells what descriptors lead to")
@pytest.mark.skipif(sys.platform != "linux", reason="only there is known what they lead to")
def test_descriptors_that_lead_elsewhere_are_of_another_leak() -> None:
    """A pipe and a file were one alert, with what the first of them leads to."""
    before = open_descriptors()
    try:
        signatures = {
            find_leaks(each, runs=12).signature
            for each in (lambda: os.open(os.devnull, os.O_RDONLY), lambda: os.pipe())
        }
    finally:
        for number in open_descriptors() - before:
            with contextlib.suppress(OSError):
                os.close(number)
    assert len({signature and signature.partition(" from ")[0] for signature in signatures}) == 2


def test_a_lost_descriptor_is_told_to_be_closed_with_what_it_leads_to(tmp_path: Path) -> None:
    file = tmp_path / "left open"
    file.touch()
    opened: list[int] = [0] * 2000
    numbers = iter(range(2000))

    def leave_open() -> None:
        opened[next(numbers)] = os.open(file, os.O_RDONLY)

    try:
        analysis = find_leaks(leave_open)
    finally:
        for descriptor in filter(None, opened):
            os.close(descriptor)
    (advice,) = analysis.recommendations
    assert re.match(r"close what is opened at .*test_finding\.py:\d+ in .*leave_open, ", advice)
    assert f"leads to {file})" in advice


def test_a_lost_thread_is_told_to_be_joined() -> None:
    lock = threading.Lock()
    lock.acquire()

    def wait_for_lock() -> None:
        with lock:
            pass

    def leave_running() -> None:
        _thread.start_new_thread(wait_for_lock, ())

    try:
        analysis = find_leaks(leave_running)
    finally:
        lock.release()
    assert "join() the thread" in analysis.recommendations[0]


def test_a_function_that_keeps_nothing_is_clean() -> None:
    analysis = find_leaks(forget_order)
    assert (analysis.status, analysis.bytes_per_run) == ("clean", 0.0)


def test_an_object_called_as_an_async_function_is_awaited() -> None:
    class Keeper:
        async def __call__(self) -> None:
            await keep_order_async()

    assert find_leaks(Keeper()).status == "leaking"


def test_a_coroutine_that_nobody_awaits_is_refused() -> None:
    """It would be clean, whatever is in it."""
    with pytest.raises(TypeError, match="pass the async function itself"):
        find_leaks(lambda: keep_order_async())


@pytest.mark.parametrize("is_async", [False, True])
def test_generator_function_is_refused(is_async: bool) -> None:
    """Its call runs nothing, and would always be clean."""

    def keep() -> Iterator[int]:
        KEPT.append(Order(1))
        yield 1

    async def keep_async() -> AsyncIterator[int]:
        KEPT.append(Order(1))
        yield 1

    with pytest.raises(TypeError, match="calling a generator function runs nothing"):
        find_leaks(keep_async if is_async else keep)
    assert KEPT == []


def test_generators_left_open_in_the_loop_are_closed() -> None:
    closed: list[bool] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(True)

    left = []

    async def leave_open() -> None:
        left.append(numbers())
        async for _ in left[-1]:
            break

    find_leaks(leave_open, warmups=1, runs=2)
    assert len(closed) == len(left)


def test_an_assertion_that_can_say_nothing_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would pass wherever blocks aren't counted."""
    monkeypatch.setattr("pytest_memalert.hunting.hunt.refusal", lambda: "Python doesn't count blocks here")
    text = "keep_order leaks is unclear: Python doesn't count blocks"
    with pytest.warns(MemalertWarning, match=text) as seen:
        assert_no_leaks(keep_order)
    assert [warning.filename for warning in seen] == [__file__]


def test_an_assertion_that_can_say_nothing_passes_where_warnings_are_errors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It failed the test with an exception of its own."""
    monkeypatch.setattr("pytest_memalert.hunting.hunt.refusal", lambda: "Python doesn't count blocks here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert assert_no_leaks(keep_order).status == "unclear"
    assert "keep_order leaks is unclear: Python doesn't count blocks" in caplog.text


def test_a_leak_of_a_class_that_has_no_hash_is_found() -> None:
    """Nothing asks a metaclass for equality, or for a hash."""

    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            raise RuntimeError("asked for equality")

    class Odd(metaclass=Meta):
        def __init__(self) -> None:
            self.data = [1, 2, 3]

    analysis = investigate(lambda: KEPT.append(Odd()), explained=Explained())
    assert analysis.status == "leaking"
    assert any("Odd" in survivor.type for survivor in analysis.survivors)


def test_leak_is_explained_where_the_user_has_frozen_what_holds_it() -> None:
    """``gc.get_referrers`` doesn't look into what is frozen: a missing decref was blamed."""
    gc.collect()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        analysis = find_leaks(keep_order)
        assert analysis.status == "leaking"
        assert any("Order" in survivor.type for survivor in analysis.survivors)
        assert "KEPT" in " ".join(analysis.recommendations)
        assert gc.get_freeze_count() >= frozen
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(
    ("blocks", "confidence", "expected"), [(0.07, 1.0, True), (1.5, 1.0, False), (0.07, 0.3, False)]
)
def test_what_replaces_others_does_not_explain_growth_of_little(
    blocks: float, confidence: float, expected: bool
) -> None:
    """A cache of 50 ms that gets longer as the runs get quicker: two objects of each run were blamed."""
    survivor = Survivor(type="tuple", count=2, size_bytes=112)
    assert _are_turned_over(Explanation(survivors=(survivor,), confidence=confidence), blocks) == expected


def test_what_a_bounded_container_passes_on_is_a_leak() -> None:
    """It has been filled and emptied many times: what grows is where its entries go."""
    batch: deque[object] = deque(maxlen=50)
    archive: list[object] = []

    def handle() -> None:
        batch.append([])
        if len(batch) == 49:
            archive.append(list(batch))
            batch.clear()

    analysis = find_leaks(handle)
    assert analysis.status == "leaking"
    (advice,) = analysis.recommendations
    # Where a batch was passed on in the few runs that are watched, it is known where it goes.
    assert "`archive`" in advice or advice.endswith("and yet it stays: look for where it goes from there")


WINDOW: deque[object] = deque(maxlen=50)
SPILLED: list[object] = []
UNDO: list[object] = []
REDO: list[object] = []


class Event:
    """What is kept for a while, and then somewhere else."""


def spill() -> None:
    if len(WINDOW) == WINDOW.maxlen:
        SPILLED.append(WINDOW[0])
    WINDOW.append(Event())


def undo() -> None:
    UNDO.append(Event())
    if len(UNDO) > 100:
        REDO.append(UNDO.pop(0))


@pytest.mark.parametrize(("operation", "holder"), [(spill, "SPILLED"), (undo, "REDO")])
def test_what_a_full_container_drops_is_held_by_the_one_that_gets_longer(
    operation: Callable[[], None], holder: str
) -> None:
    """The newest are still in the full one: it was told, or that nothing in Python holds them."""
    analysis = find_leaks(operation)
    assert analysis.status == "leaking"
    assert any(holder in hop for hop in analysis.survivors[0].held_by)


def test_a_bounded_container_is_no_leak() -> None:
    assert find_leaks(keep_latest).status == "clean"


class Sized:
    """A cache of so many bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self.entries: dict[int, bytes] = {}

    def put(self, number: int, value: bytes) -> None:
        self.entries[number] = value
        self.used += len(value)
        while self.used > self.limit:
            self.used -= len(self.entries.pop(next(iter(self.entries))))


class Uncounted(Sized):
    """The same, but for a mistake: it counts what it replaces."""

    def put(self, number: int, value: bytes) -> None:
        self.used += len(self.entries.pop(number, b""))
        self.entries[number] = value
        while self.used > self.limit:
            self.used -= len(self.entries.pop(next(iter(self.entries))))


class Replacing:
    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}

    def put(self, number: int, value: bytes) -> None:
        if number in self.entries:
            del self.entries[number]
        self.entries[number] = value


def test_a_store_that_lets_go_beyond_a_size_is_not_accused_while_it_fills() -> None:
    """Of more entries than a search takes runs."""
    numbers = itertools.count(1000)
    store = Sized(100_000_000)
    analysis = find_leaks(lambda: store.put(next(numbers), bytes(4000)))
    assert analysis.status == "unclear"
    assert analysis.reason is not None
    assert analysis.reason.endswith("put removes from it by size")
    assert analysis.runs >= 300


def test_a_store_whose_size_is_never_counted_is_not_bounded_by_it() -> None:
    numbers = itertools.count(1000)
    store = Uncounted(1_000_000)
    assert find_leaks(lambda: store.put(next(numbers), bytes(4000))).status == "leaking"


@pytest.mark.parametrize("value", ["texts", "texts in a dict", "bytes in lists", "bytes and text"])
def test_what_the_entries_of_a_bounded_container_are_made_of_does_not_matter(value: str) -> None:
    """Of more entries than a search takes runs: lru_cache(5000) of a list of texts was accused in 5 of 5."""
    numbers = itertools.count(10**6)

    @lru_cache(maxsize=5000)
    def load(number: int) -> object:
        texts = [str(each) for each in range(1000, 1100)]
        made: dict[str, object] = {
            "texts": texts,
            "texts in a dict": {"number": number, "texts": texts},
            "bytes in lists": [bytes(1000) for _ in range(20)],
            "bytes and text": (bytes(5000), str(number)),
        }
        return made[value]

    analysis = find_leaks(lambda: load(next(numbers)))
    assert analysis.status == "clean"
    assert re.fullmatch(r"bounded: [\d,]+ of 5,000", analysis.reason or "")
    kept: list[object] = []
    assert find_leaks(lambda: kept.append(load(next(numbers)))).status == "leaking"


def test_what_was_let_go_of_is_not_remembered_as_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leak of the same objects in another test would have the same excuse."""
    explain = explaining.explain
    monkeypatch.setattr(explaining, "explain", lambda *a, **k: replace(explain(*a, **k), let_go=True))
    explained = Explained()
    analysis = investigate(keep_order, explained=explained, root=None)
    assert (analysis.status, analysis.reason) == ("unclear", "what kept it has let go of it a moment later")
    assert not explained.by_composition


def test_a_store_that_replaces_entries_is_not_bounded_by_that() -> None:
    numbers = itertools.count(1000)
    store = Replacing()
    assert find_leaks(lambda: store.put(next(numbers), bytes(4000))).status == "leaking"


class Generations:
    """Two dicts that take turns: of 800 entries 400 are let go of at once."""

    def __init__(self) -> None:
        self.young: dict[int, list[int]] = {}
        self.old: dict[int, list[int]] = {}

    def get(self, key: int) -> list[int]:
        value = self.young.get(key) or self.old.get(key)
        if value is None:
            value = [key] * 10
        self.young[key] = value
        if len(self.young) >= 400:
            self.old, self.young = self.young, {}
        return value


def test_two_generations_of_a_cache_are_no_leak_wherever_the_search_ends() -> None:
    """A third of what each run leaves stays for 1,500 runs, and goes."""
    for begun in (0, 130, 260):
        numbers = itertools.count()
        cache = Generations()
        for _ in range(begun):
            cache.get(next(numbers))
        assert find_leaks(lambda: cache.get(next(numbers))).status in ("clean", "unclear")  # noqa: B023


def test_an_async_function_is_awaited() -> None:
    assert find_leaks(keep_order_async).status == "leaking"
    assert KEPT


def test_an_async_function_is_checked_while_a_loop_is_running() -> None:
    async def within() -> str:
        return find_leaks(keep_order_async).status

    assert asyncio.run(within()) == "leaking"


def test_the_assertion_says_what_leaks_and_what_to_do() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_no_leaks(keep_order)
    text = str(caught.value)
    assert text.startswith("keep_order leaks ")
    assert "Order" in text
    assert "KEPT" in text
    assert "->" in text


def test_the_assertion_passes_where_nothing_leaks() -> None:
    assert assert_no_leaks(forget_order).status == "clean"


def test_an_exception_of_the_function_passes_through() -> None:
    def fail() -> None:
        raise LookupError("not here")

    with pytest.raises(LookupError, match="not here"):
        find_leaks(fail)


def test_the_calls_counted_are_bounded_by_runs() -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        KEPT.append(Order(3))

    analysis = find_leaks(count, runs=10)
    assert analysis.runs <= 10
    assert calls >= 10 or sys.gettrace() is not None


def test_a_bound_that_a_native_leak_happens_beside_does_not_excuse_it() -> None:
    """What is bounded must be what grows: a few bytes of a cache don't account for 4 KiB of malloc."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p

    def leak_beside_a_cache() -> None:
        libc.malloc(4096)
        LATEST.append(Order(4))

    analysis = find_leaks(leak_beside_a_cache)
    assert analysis.status == "leaking"
    assert analysis.bytes_per_run is not None
    assert 3700 < analysis.bytes_per_run < 4600


def test_a_place_within_pytest_does_not_excuse_native_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes and frees memory in every run: a chunk of the leak's size is there by chance."""
    place = (str(Path(pytest.__file__).parent.parent / "_pytest" / "runner.py"), 1)
    found = NativeGrowth(bytes_per_run=4112.0, frames=(place,))
    monkeypatch.setattr(explaining, "measure_native_growth", lambda run, *, runs: found)
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    analysis = find_leaks(lambda: libc.malloc(4096))
    assert analysis.status == "leaking"
    assert analysis.grown_at == ()
    assert "pytest" not in " ".join(analysis.recommendations)


def test_native_memory_beside_objects_is_told_with_its_size_and_place() -> None:
    """They were told alone: 88 bytes of them against 48 KiB per run."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p

    def leak_both() -> None:
        KEPT.append(Order(5))
        libc.malloc(50_000)

    analysis = find_leaks(leak_both)
    alone = find_leaks(lambda: KEPT.append(Order(5)))
    assert [kind.type for kind in analysis.survivors] == [kind.type for kind in alone.survivors]
    assert (analysis.reason or "").endswith("48.8 KiB of it native memory")
    assert analysis.grown_at[0].endswith("leak_both")
    assert "native memory" in analysis.recommendations[-1]
    assert alone.grown_at == ()
    assert "native" not in (alone.reason or "")


def test_a_text_that_grows_beside_objects_is_not_said_to_be_native() -> None:
    texts = [""]

    def grow() -> None:
        KEPT.append(Order(6))
        texts[0] += "x" * 12_000

    analysis = find_leaks(grow)
    assert analysis.survivors
    assert "native" not in " ".join((analysis.reason or "", *analysis.recommendations))


def test_what_shows_in_few_runs_is_told_of_as_many() -> None:
    """Four runs were watched: what all of them left was chance, or native memory."""
    calls = itertools.count(1)

    def leak_rarely() -> None:
        if next(calls) % 10 == 0:
            KEPT.append([bytes(1000) for _ in range(30)])

    analysis = find_leaks(leak_rarely)
    (survivor,) = analysis.survivors
    assert (survivor.type, survivor.count, survivor.runs) == ("list", 1, 10)
    assert 30_000 < survivor.size_bytes < 33_000
    assert any(hop.endswith("grows by 1 in 10 runs") for hop in survivor.held_by)
    assert survivor.left_by == "each 10 runs leave"
    assert analysis.confidence == pytest.approx(0.1)


def test_what_shows_too_rarely_to_be_watched_is_not_said_to_be_native() -> None:
    lost: dict[Signal, float] = {"blocks": 0.02, "heap": 2000.0}
    assert _watched_together(lost, 0.02, run_s=0.001) == (50, 1)
    assert _watched_together(lost, 0.02, run_s=0.1) == (1, 1)
    assert _watched_together({"heap": 2.0**25}, 0.1, run_s=0.001) == (1, 1)
    assert _watched_together(lost, 0.9, run_s=0.001) == (1, 1)


def test_a_leak_explained_before_is_recognized() -> None:
    """It costs fewer runs, and has the same signature."""
    first, again, explained = investigate_two(keep_order, keep_order)
    assert first.signature == again.signature is not None
    assert len(explained.by_composition) == len(explained.by_kinds) == 1
    assert (again.status, again.runs) == ("leaking", 2)
    assert again.bytes_per_run == first.bytes_per_run
    assert again.reason is not None
    assert again.reason.endswith("of a leak that was confirmed before")


@pytest.mark.parametrize("where", ["in a list with a name", "in a list that a dict has"])
def test_a_cache_of_what_leaks_elsewhere_is_no_leak(where: str) -> None:
    """What keeps the leak gets no more of them: they fill a cache, or leak elsewhere."""
    explained, policy = Explained(), FEW_RUNS
    kept: list[object] = KEPT if where == "in a list with a name" else BY_NAME.setdefault("orders", [])

    def keep() -> None:
        kept.append(Order(1))

    assert investigate(keep, explained=explained, policy=policy).status == "leaking"
    cache: list[object] = []

    def keep_few() -> None:
        cache.append(Order(1))
        if len(cache) >= 300:
            cache.clear()

    assert investigate(keep_few, explained=explained).status == "clean"

    def keep_elsewhere() -> None:
        OTHERS.append(Order(1))

    found = investigate(keep_elsewhere, explained=explained, policy=policy)
    assert found.status == "leaking"
    assert "OTHERS" in " ".join(found.survivors[0].held_by)
    OTHERS.clear()
    again = investigate(keep_elsewhere, explained=explained, policy=policy)
    assert again.signature == found.signature


def test_a_leak_of_what_a_cache_keeps_elsewhere_is_not_excused() -> None:
    """What is below a bound is no leak of such objects, wherever they are."""
    explained, cache = Explained(), deque[object](maxlen=3000)
    policy = Policy(shape_s=0.0)
    cached = investigate(lambda: cache.append([Order(1), [1], [2]]), explained=explained, policy=policy)
    assert (cached.status, (cached.reason or "")[:7]) == ("clean", "bounded")
    leak = investigate(lambda: KEPT.append([Order(1), [1], [2]]), explained=explained, policy=policy)
    assert leak.status == "leaking"


@pytest.mark.parametrize(("limit", "status"), [(10**8, "unclear"), (40, "clean")])
def test_a_cache_is_watched_until_it_is_full_where_there_is_time_for_that(limit: int, status: str) -> None:
    numbers = itertools.count(1000)

    @lru_cache(maxsize=limit)
    def load(number: int) -> object:
        return [Order(number)]

    def run() -> None:
        load(next(numbers))

    # As many runs as outlast a cache there is never time for.
    found = investigate(run, policy=Policy(filled_runs=10**9))
    assert found.status == status
    assert (found.runs < limit) == (limit > 40)
    if limit > 40:
        assert found.runs < 200
        assert (
            found.reason == f"what keeps most of it lets go again (bounded: {found.runs + 3} of 100,000,000)"
        )


SEEN_BY_COLLECTOR: dict[str, float] = {}
TEXT = ANOTHER_TEXT = ""


def test_what_a_callback_of_the_collector_makes_tells_no_leak_from_another() -> None:
    """Hypothesis has such a one: its floats were all that a leak of untracked memory was known by."""

    def note(phase: str, info: dict[str, int]) -> None:
        SEEN_BY_COLLECTOR[phase] = sum(info.values()) + 0.5

    def grow() -> None:
        global TEXT
        TEXT += "x" * 12_000

    def grow_another() -> None:
        global ANOTHER_TEXT
        ANOTHER_TEXT += "x" * 12_000

    known = Explained()
    gc.callbacks.append(note)
    try:
        places = [
            place for run in (grow, grow_another) for place in investigate(run, explained=known).grown_at
        ]
    finally:
        gc.callbacks.remove(note)
    assert [place.rpartition(".")[2] for place in places] == ["grow", "grow_another"]


def test_who_stops_tracing_only_where_it_began_is_not_accused() -> None:
    """Each stop loses memory up to Python 3.12; watched while tracing, it seemed not to stop it."""

    def deep(calls: int) -> list[str]:
        return deep(calls - 1) if calls else [str(number) * 3 for number in range(200)]

    def measure() -> None:
        was_tracing = tracemalloc.is_tracing()
        tracemalloc.start(25)
        for calls in range(30):
            deep(calls)
        if not was_tracing:
            tracemalloc.stop()

    assert investigate(measure).status != "leaking"


def test_a_recognized_leak_names_no_caller_of_the_test_that_was_explained() -> None:
    """Only the place of the allocation is the same: by which way a test comes to it is its own matter."""

    def keep(size: int) -> None:
        KEPT.append(bytearray(size))

    def place_one() -> None:
        keep(4096)

    def place_another() -> None:
        keep(4096)

    explained = Explained()
    first = investigate(place_one, explained=explained, policy=FEW_RUNS)
    # By what it is made of: that takes more than two runs.
    again = investigate(place_another, explained=explained)
    allocated_at = first.survivors[0].allocated_at
    assert [place.rpartition(".")[2] for place in allocated_at] == ["keep", "place_one"]
    assert [survivor.allocated_at for survivor in again.survivors] == [allocated_at[:1]]


def test_objects_with_many_functions_in_a_dict_of_dicts_are_recognized_after_two_runs() -> None:
    """A server's statistics ask its workers: none was known, and each test took as many runs as the first."""

    def keep_workers() -> None:
        asking = {}
        for number in range(10):
            worker = Order(number)
            worker.lines = deque[object]()
            asking[number] = {"asked": lambda worker=worker: worker, "more": [{}]}
        BY_NAME[f"server {len(BY_NAME)}"] = [asking]

    first, again, _ = investigate_two(keep_workers, keep_workers)
    assert (again.status, again.runs) == ("leaking", 2)
    assert again.signature == first.signature


def test_a_suspect_is_not_told_of_for_a_little_of_a_known_leak() -> None:
    """Whether it is a suspect at all is chance: each run of a suite would tell of other tests."""
    _, suspect, _ = investigate_two(
        keep_order, keep_order, policy=Policy(weak_blocks=200.0, weak_bytes=8704.0)
    )
    assert (suspect.status, suspect.runs) == ("unclear", 2)
    assert suspect.reason is not None
    assert "of a leak found in another test" in suspect.reason


def test_a_test_that_leaks_the_same_twice_is_recognized_with_twice_the_size() -> None:
    def keep_two_orders() -> None:
        keep_order()
        keep_order()

    first, twice, _ = investigate_two(keep_order, keep_two_orders)
    assert first.bytes_per_run is not None
    assert twice.bytes_per_run == 2 * first.bytes_per_run
    assert twice.blocks_per_run == 2 * (first.blocks_per_run or 0)
    assert twice.signature == first.signature
    (one,), (two,) = first.survivors, twice.survivors
    assert (one.count, two.count) == (1, 2)
    assert two.size_bytes == 2 * one.size_bytes


def test_what_the_first_run_of_a_recognized_leak_leaves_once_is_no_part_of_it() -> None:
    once = [Order(5)]

    def keep_order_and_fill_a_cache() -> None:
        keep_order()
        if once:
            once.clear()
            KEPT.append([bytes(100), bytes(200), bytes(300)])

    first, again, _ = investigate_two(keep_order, keep_order_and_fill_a_cache, warmups=0)
    assert again.runs == 2
    assert again.blocks_per_run == first.blocks_per_run
    assert again.reason is not None
    assert again.reason.endswith("in the last run, of a leak that was confirmed before")


def test_a_buffer_lost_beside_is_not_charged_to_who_leaves_the_same_objects_behind() -> None:
    """By its blocks it is hardly more: one or two."""
    explained = Explained()

    def keep_orders() -> None:
        for _ in range(10):
            keep_order()

    def keep_orders_and_a_buffer() -> None:
        keep_orders()
        KEPT.append(bytearray(2**16))

    first = investigate(keep_orders_and_a_buffer, explained=explained, policy=FEW_RUNS)
    then = investigate(keep_orders, explained=explained, policy=FEW_RUNS)
    assert first.bytes_per_run is not None
    assert then.bytes_per_run is not None
    assert first.bytes_per_run > 2**16
    assert then.bytes_per_run < 2**13


def test_another_leak_is_not_taken_for_a_known_one() -> None:
    """Neither by its type, nor where the type is the same and as much again is lost beside it."""
    explained = Explained()
    investigate(keep_order, explained=explained, policy=FEW_RUNS)

    def keep_receipt() -> None:
        KEPT.append(Receipt())

    def keep_order_and_text() -> None:
        keep_order()
        KEPT.extend([bytes(100), bytes(200), bytes(300), bytes(400)])

    for other in (keep_receipt, keep_order_and_text):
        analysis = investigate(other, explained=explained)
        assert analysis.status == "leaking"
        assert analysis.runs > 8
        assert "confirmed before" not in (analysis.reason or "")


def test_what_has_no_type_of_its_own_is_not_recognized_by_it() -> None:
    """Lists are everywhere: one kept here is no evidence about one kept there."""
    explained = Explained()
    investigate(lambda: KEPT.append([1, 2]), explained=explained)
    assert explained.by_kinds == {}


def test_a_search_in_another_thread_of_what_is_searched_runs_once() -> None:
    """It took 41 seconds, and its traces were told as a leak."""
    verdicts = []

    def search() -> None:
        verdicts.append(find_leaks(lambda: None).status)

    def in_thread() -> None:
        thread = threading.Thread(target=search)
        thread.start()
        thread.join()
        verdicts[1:] = []

    find_leaks(in_thread, runs=3)
    assert verdicts == ["unclear"]


def test_a_search_goes_on_after_one_within_it() -> None:
    """What came after the inner one was searched as if nothing was under way."""
    verdicts = set()

    def search_twice() -> None:
        investigate(lambda: None, policy=Policy(quick_s=0.0))
        verdicts.add(find_leaks(lambda: None).status)

    find_leaks(search_twice, runs=3)
    assert verdicts == {"unclear"}
    assert find_leaks(lambda: None).status == "clean"


def test_an_answer_that_can_not_be_asked_for_its_class_is_no_coroutine() -> None:
    def answer() -> object:
        return weakref.proxy(Order(1))

    assert find_leaks(answer).status == "clean"


def test_why_nothing_is_known_of_what_survives_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a fault of ours")

    monkeypatch.setattr("pytest_memalert.attribution.explain.watch", fail)
    analysis = find_leaks(keep_order, 1)
    assert analysis.recommendations == ("what survives could not be told: explaining it failed: ValueError",)


def test_a_list_of_many_lists_is_told_with_the_size_of_both() -> None:
    """The large one was one of a thousand that were measured, and stood for a hundred of them."""
    analysis = find_leaks(lambda: KEPT.append([[] for _ in range(8_000)]), runs=16)
    KEPT.clear()
    told_bytes = sum(kind.size_bytes for kind in analysis.survivors)
    made_bytes = 8_000 * (sys.getsizeof([]) + 8)
    assert told_bytes == pytest.approx(made_bytes, rel=0.2)
    assert analysis.bytes_per_run == pytest.approx(made_bytes, rel=0.2)


def test_a_leak_of_many_objects_is_told_with_its_place() -> None:
    """They are counted by type: to ask for the traceback of each took a minute for 20,000."""
    analysis = find_leaks(lambda: KEPT.append([Order(number) for number in range(6000)]), runs=16)
    (orders,) = [kind for kind in analysis.survivors if kind.type.endswith("Order")]
    assert orders.count == 6000
    assert "test_finding.py" in " ".join(orders.allocated_at)
    assert "KEPT" in " ".join(orders.held_by)
    KEPT.clear()
