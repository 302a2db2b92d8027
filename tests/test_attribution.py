"""Holds what is told of real leaks: survivors, sites, holders, advice."""

from __future__ import annotations

import asyncio
import atexit
import codecs
import contextlib
import contextvars
import copy
import copyreg
import ctypes
import functools
import gc
import io
import itertools
import logging
import mmap
import multiprocessing
import os
import platform
import queue
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import weakref
from array import array
from collections import ChainMap, OrderedDict, deque
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import click
import pytest

from pytest_memalert.attribution.allocation import line_watch, native
from pytest_memalert.attribution.allocation.packages import compiled_package_of_file, package_of_file
from pytest_memalert.attribution.bounding import bounds
from pytest_memalert.attribution.bounding.bounds import Bound, bounded_holder, filling_cache
from pytest_memalert.attribution.explain import explain
from pytest_memalert.attribution.explanation import Explanation
from pytest_memalert.attribution.holding.holder import AT_EXIT, AUDITED, NO_REFERRER, UNTRACKED
from pytest_memalert.attribution.holding.holders import HolderSearch
from pytest_memalert.attribution.objects import referents_of
from pytest_memalert.attribution.selection import Selection
from pytest_memalert.attribution.survivors import survivors, variables
from pytest_memalert.attribution.survivors.census import Census, hidden_groups
from pytest_memalert.attribution.survivors.groups import Group, Watch, group_of

KEEP: list[Any] = []
ITEMS: dict[Any, Any] = {}
COUNTS: dict[str, int] = {}
TAGS: set[Any] = set()
RING: deque[Any] = deque(maxlen=1000)
CALLBACKS: list[Any] = []
MOCK = mock.MagicMock()
CHAIN: Any = None
_VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("kept_in_context")


class Entry:
    registry: list[Entry] = []  # noqa: RUF012  the leak under test

    def __init__(self) -> None:
        self.values = [1]


class Slotted:
    __slots__ = ("__weakref__", "before", "text")

    before: Any
    text: str


class Squishy:
    """A cache that is emptied to its capacity where it has half as much again."""

    __slots__ = ("capacity", "data")

    def __init__(self) -> None:
        self.capacity = 500
        self.data: dict[int, object] = {}


class Service:
    @functools.cache  # noqa: B019  the leak under test
    def compute(self) -> list[int]:
        return [1]


@functools.lru_cache(maxsize=1000)
def cached(number: int) -> list[int]:
    return [number]


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    yield
    for container in (KEEP, ITEMS, COUNTS, TAGS, RING, CALLBACKS, Entry.registry):
        container.clear()
    MOCK.reset_mock()
    Service.compute.cache_clear()
    cached.cache_clear()
    globals()["CHAIN"] = None


def explained(leak: Callable[[], object]) -> Explanation:
    for _ in range(3):
        leak()

    def run() -> None:
        leak()

    return explain(run)


def counter() -> Callable[[], int]:
    numbers = iter(range(10**6))
    return lambda: next(numbers)


# ----------------------------------------------------------- what survives, and where


def test_an_instance_kept_in_a_module_level_dict_is_told_with_its_holder() -> None:
    number = counter()

    def leak() -> None:
        ITEMS[number()] = Entry()

    found = explained(leak)
    assert found.survivors[0].type == f"{__name__}.Entry"
    assert found.survivors[0].count == 1
    assert found.survivors[0].held_by[0] == f"module {__name__}"
    assert re.match(r"ITEMS: dict of \d+, grows by 1 a run", found.survivors[0].held_by[1])
    assert f"bound or clear `{__name__}.ITEMS` (dict)" in found.recommendations[0]
    assert f"`{__name__}.ITEMS.clear()`" in found.recommendations[0]


def test_the_site_is_the_users_line_and_function() -> None:
    def leak() -> None:
        KEEP.append([1])

    site = explained(leak).survivors[0].allocated_at[0]
    assert re.search(r"test_attribution\.py:\d+ in \S*leak$", site)


def test_the_site_of_an_instance_is_its_own() -> None:
    # Python 3.11 doesn't find an object that has a __dict__ by itself, and this one holds nothing.
    class Empty:
        pass

    def leak() -> None:
        KEEP.append(Empty())

    (survivor,) = explained(leak).survivors
    assert survivor.type.endswith("Empty")
    assert re.search(r"test_attribution\.py:\d+ in \S*leak$", survivor.allocated_at[0])


def test_the_count_is_of_one_run() -> None:
    def leak() -> None:
        KEEP.extend([[1], [2], [3]])

    assert [s.count for s in explained(leak).survivors] == [3]


def test_the_size_includes_untracked_objects_that_only_the_survivor_holds() -> None:
    def leak() -> None:
        KEEP.append([bytes(100_000)])

    assert explained(leak).survivors[0].size_bytes == pytest.approx(100_033 + 64, abs=64)


def test_a_run_that_allocates_much_is_traced_less_often_and_less_deep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sixteen frames of 400,000 numbers take 2.5 s a run; what is told of the leak is the same."""
    number = counter()

    def leak() -> None:
        ITEMS[number()] = Entry()

    usual, usual_calls = explained(leak), number()
    monkeypatch.setattr(survivors, "_HEAVY_RUN_S", 0.0)
    heavy, heavy_calls = explained(leak), number() - usual_calls
    assert heavy_calls <= usual_calls
    assert heavy.runs < usual.runs
    assert [(s.type, s.count, s.allocated_at) for s in heavy.survivors] == [
        (s.type, s.count, s.allocated_at) for s in usual.survivors
    ]
    assert heavy.signature == usual.signature


def test_the_size_leaves_out_what_was_there_before() -> None:
    old = bytes(100_000)

    def leak() -> None:
        KEEP.append([old])

    assert explained(leak).survivors[0].size_bytes < 200


def test_an_object_that_the_collector_does_not_track_is_found_in_the_container_that_grew() -> None:
    found = explained(lambda: KEEP.append(object()))
    assert found.survivors[0].type == "object"
    assert found.survivors[0].held_by[1].startswith("KEEP: list")
    assert not found.native


def test_elements_that_are_no_new_objects_are_told_by_the_container_that_grew() -> None:
    found = explained(lambda: KEEP.append(None))
    assert found.survivors[0].type == "element of list"
    assert found.survivors[0].held_by[1].startswith("KEEP: list")


def test_an_untracked_dict_that_grows_is_found() -> None:
    number = counter()

    def leak() -> None:
        COUNTS[f"name {number()}"] = number() + 1000

    found = explained(leak)
    assert {s.type for s in found.survivors} >= {"str"}
    assert found.survivors[0].held_by[1].startswith("COUNTS: dict")


def test_a_set_that_grows_is_found() -> None:
    number = counter()
    found = explained(lambda: TAGS.add(f"tag {number()}"))
    assert found.survivors[0].type == "str"
    assert found.survivors[0].held_by[1].startswith("TAGS: set")


def test_a_cache_of_the_last_result_is_no_survivor() -> None:
    def leak() -> None:
        ITEMS["last"] = Entry()
        KEEP.append([1])

    assert {s.type for s in explained(leak).survivors} == {"list"}


def test_nothing_is_told_of_a_test_that_leaves_nothing() -> None:
    found = explained(lambda: [Entry()])
    assert found.survivors == ()
    assert not found.native
    assert found.reason is not None


def test_what_the_collector_calls_changes_nothing_in_what_is_found() -> None:
    """A list of them, once dropped, lay ready for the test's next one, which then seemed made elsewhere."""

    def note(phase: str, info: dict[str, int]) -> None:
        pass

    number = counter()

    def leak() -> None:
        if number() % 2:
            KEEP.append([1])

    gc.callbacks.append(note)
    try:
        assert [s.type for s in explained(leak).survivors] == ["list"]
        assert gc.callbacks[-1] is note
    finally:
        gc.callbacks.remove(note)


def test_a_leak_of_every_second_run_is_found() -> None:
    number = counter()

    def leak() -> None:
        if number() % 2:
            KEEP.append([1])

    assert [s.type for s in explained(leak).survivors] == ["list"]


# --------------------------------------------------------------------- what holds it


def test_a_class_attribute_is_the_root() -> None:
    found = explained(lambda: Entry.registry.append(Entry()))
    assert found.survivors[0].held_by[0] == f"class {__name__}.Entry"
    assert found.survivors[0].held_by[1].startswith(".registry: list")
    assert "Entry.registry" in found.recommendations[0]


def test_a_closure_variable_is_named() -> None:
    box: list[object] = []

    def keep() -> None:
        box.append([1])

    KEEP.append(keep)
    hops = explained(keep).survivors[0].held_by
    assert any(hop.startswith(("closure variable box: list", "box: list")) for hop in hops)


def test_a_chain_of_slots_is_followed_to_its_head() -> None:
    def leak() -> None:
        global CHAIN
        link = Slotted()
        link.before, link.text = CHAIN, "x" * 500
        CHAIN = link

    found = explained(leak)
    assert found.survivors[0].type == f"{__name__}.Slotted"
    # The way from each to the next is told once.
    way = (f"module {__name__}", f"CHAIN: {__name__}.Slotted", f".before: {__name__}.Slotted")
    assert found.survivors[0].held_by == way


def test_a_local_of_a_function_that_still_runs_is_named() -> None:
    kept: list[object] = []

    def leak() -> None:
        kept.append([1])

    hops = explained(leak).survivors[0].held_by
    assert any(re.search(r"\bkept: list of", hop) for hop in hops)


def test_a_thread_left_running_is_told_to_be_joined() -> None:
    end = threading.Event()

    def leak() -> None:
        threading.Thread(target=end.wait, daemon=True).start()

    try:
        found = explained(leak)
    finally:
        end.set()
    assert "threading.Thread" in {s.type for s in found.survivors}
    assert found.survivors[0].held_by[0].startswith("thread ")
    assert "join() the thread" in found.recommendations[0]


def test_room_that_a_table_makes_once_is_no_part_of_what_each_run_leaves() -> None:
    """That of atexit's callbacks made 23 KiB of 20."""
    census = Census(4)
    site = (__file__, 1)
    for run, (blocks, size) in enumerate([(3, 20_000), (6, 40_000), (9, 70_000), (12, 90_000)]):
        census.blocks[run][hash(site)] = blocks
        census.bytes[run][hash(site)] = size
    tracemalloc.start(1)
    try:
        (group,), total = hidden_groups(census, 4)
    finally:
        tracemalloc.stop()
    assert group.size_bytes == 20_000
    assert total > 20_000


def test_what_came_up_once_is_no_survivor_beside_what_each_run_leaves() -> None:
    """Two contexts of an event loop were told beside the bytes that were lost, with advice of their own."""
    often, once, large = (
        Group(type=kind, objects=[kind], per_run=1.0, size_bytes=size, confidence=confidence)
        for kind, size, confidence in (
            ("bytes", 20_000.0, 1.0),
            ("_contextvars.Context", 21.0, 0.33),
            ("shop.Order", 90_000.0, 0.33),
        )
    )
    seen = Watch(groups=[once, often])
    survivors._leave_out_accidents(seen)
    assert seen.groups == [often]
    seen = Watch(groups=[large, often])
    survivors._leave_out_accidents(seen)
    assert seen.groups == [large, often]


def test_a_container_without_a_place_has_that_of_what_is_most_of_it() -> None:
    """A tuple that lay ready before tracing has no trace: the 20 KB in it have."""
    filled: list[object] = []
    mixed: list[object] = []
    tracemalloc.start(5)
    try:
        filled += [bytes(20_000), 5000 + len(filled)]
        mixed += [bytes(2000), bytes(2000), bytes(2000)]
        groups = [
            group_of([kept], per_run=1.0, confidence=1.0, new_ids=set(), seen=set())
            for kept in (filled, mixed)
        ]
    finally:
        tracemalloc.stop()
    assert [len(group.frames) > 0 for group in groups] == [True, False]
    assert groups[0].frames[0][0] == __file__


def test_what_a_closure_holds_is_part_of_its_function() -> None:
    """Its cells seemed to be made by whoever calls the function around it: 20 KB by pytest."""

    def leak() -> None:
        pad = bytes(20_000)
        CALLBACKS.append(lambda: pad)

    (function,) = explained(leak).survivors
    assert (function.type, function.count) == ("function", 1)
    assert 20_000 < function.size_bytes < 20_500


def test_a_task_left_pending_is_told_to_be_cancelled() -> None:
    loop = asyncio.new_event_loop()

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    def leak() -> None:
        KEEP.append(loop.create_task(wait_for_ever()))
        loop.run_until_complete(asyncio.sleep(0))

    try:
        found = explained(leak)
        assert "cancel() and await the task" in found.recommendations[0]
        assert found.survivors[0].type == "_asyncio.Task"
        assert found.survivors[0].held_by[1].startswith("KEEP: list")
    finally:
        for task in KEEP:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*KEEP, return_exceptions=True))
        loop.close()


def test_a_missing_decref_has_no_python_referrer() -> None:
    def leak() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(Entry()))

    found = explained(leak)
    assert found.survivors[0].type == f"{__name__}.Entry"
    assert found.survivors[0].held_by[0] == "no Python referrer: a missing decref, or held from C"
    assert "decref" in found.recommendations[0]


def test_survivors_that_hold_each_other_have_a_holder() -> None:
    inner = [object()]
    outer = [inner]
    search = HolderSearch(survivors={id(inner), id(outer)}, ours=set(), grown=[])
    (holder,) = search.find([inner])
    assert holder is not None
    assert (holder.root, holder.keeper) == ("frame", None)


def test_what_the_interpreter_keeps_in_a_list_of_its_own_is_no_missing_decref() -> None:
    def leak() -> None:
        codecs.register(lambda name: None)

    found = explained(leak)
    assert found.survivors[0].held_by[0] == "C code, without a Python referrer"
    assert re.match(r"list of \d+, grows by 1 a run", found.survivors[0].held_by[1])
    assert "C code keeps it in a list: call codecs.unregister() in teardown" in found.recommendations[0]


def test_what_is_registered_for_a_fork_is_not_told_to_be_taken_back() -> None:
    """Nothing takes it back; that was said of codecs.register() as well."""
    found = explained(lambda: os.register_at_fork(before=lambda: None))
    assert "call os.register_at_fork() once per session" in found.recommendations[0]
    assert "codecs" not in found.recommendations[0]


def test_an_audit_hook_is_no_missing_decref() -> None:
    """In a child: each hook is called for all that the process does from then on."""
    code = (
        "import sys\n"
        "from pytest_memalert.attribution.explain import explain\n"
        "def leak():\n"
        "    data = [1]\n"
        "    sys.addaudithook(lambda event, args: None if data else None)\n"
        "found = explain(leak)\n"
        "print(*found.survivors[0].held_by, *found.recommendations, sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held_by, text = done.stdout.splitlines()
    assert held_by == AUDITED
    assert text.startswith("sys.addaudithook() lets go of nothing: add the hook once per session")


def test_what_a_connection_of_sqlite_is_given_is_no_missing_decref() -> None:
    number = counter()
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:

        def leak() -> None:
            connection.create_function(f"function_{number()}", 1, lambda value: value)

        (first, *_) = explained(leak).recommendations
    assert re.match(
        r"the sqlite3.Connection keeps the functions that it is given: .*test_attribution\.py:\d+ in ", first
    )


def test_what_is_registered_with_copyreg_is_to_be_undone_there() -> None:
    def leak() -> None:
        class Made:
            pass

        copyreg.pickle(Made, lambda made: "Made")

    known = dict(copyreg.dispatch_table)
    try:
        found = explained(leak)
    finally:
        copyreg.dispatch_table.clear()
        copyreg.dispatch_table.update(known)
    assert found.recommendations[0].startswith(
        "undo in teardown what the test adds to `copyreg.dispatch_table`"
    )


def test_compiled_code_beside_a_package_is_that_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``_yaml`` is beside ``yaml``: no package was named, and whom to report it to was left open."""
    beside = ModuleType("_fastlib")
    beside.__file__ = "/env/site-packages/_fastlib.cpython-311-x86_64-linux-gnu.so"
    place = "/env/site-packages/fastlib/__init__.py"
    assert compiled_package_of_file(place) is None
    monkeypatch.setitem(sys.modules, "_fastlib", beside)
    package = compiled_package_of_file(place)
    assert package is not None
    assert package.name == "fastlib"


def test_package_of_a_namespace_is_the_one_that_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``zope``: of several distributions the first was told to be upgraded."""
    site = tmp_path / "site-packages"
    for name in ("alpha", "omega"):
        module = site / "shared_space" / name / "core.py"
        module.parent.mkdir(parents=True)
        module.write_text("")
        info = site / f"shared_{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: shared-{name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"shared_space/{name}/core.py,,\n")
        (info / "top_level.txt").write_text("shared_space\n")  # Python 3.10 reads nothing else
    monkeypatch.syspath_prepend(site)
    for name in ("alpha", "omega"):
        package = package_of_file(str(site / "shared_space" / name / "core.py"))
        assert str(package) == f"shared-{name} 1.0"


def test_a_compiled_module_of_its_own_is_told_by_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was called by its file: "fasthash.cpython-311-x86_64-linux-gnu", without a version."""
    site = tmp_path / "site-packages"
    module = f"fasthash{EXTENSION_SUFFIXES[0]}"
    info = site / "py_fasthash-2.1.dist-info"
    info.mkdir(parents=True)
    (site / module).write_text("")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: py-fasthash\nVersion: 2.1\n")
    (info / "RECORD").write_text(f"{module},,\n")
    (info / "top_level.txt").write_text("fasthash\n")
    monkeypatch.syspath_prepend(site)
    assert str(package_of_file(str(site / module))) == "py-fasthash 2.1"


def test_a_package_without_compiled_code_is_not_called_a_c_extension() -> None:
    def leak() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(click.Command("hello").params))

    found = explained(leak)
    assert re.search(r"click/core\.py:\d+ in ", found.survivors[0].allocated_at[0])
    assert "a C extension called here lacks a decref" in found.recommendations[0]
    assert "click 8" not in found.recommendations[0]
    assert "click/core.py" in found.recommendations[0]


class _Stream(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")


@pytest.mark.parametrize("make", [lambda: io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), _Stream])
def test_the_decoder_of_a_kept_stream_is_not_taken_for_a_missing_decref(make: Callable[[], object]) -> None:
    """It is made in the stream's own line, or in its class' constructor."""
    found = explained(lambda: KEEP.append(make()))
    assert any("Decoder" in one.type for one in found.survivors)
    assert [one.type for one in found.survivors if one.held_by[:1] == (NO_REFERRER,)] == []
    assert [text for text in found.recommendations if "decref" in text] == []
    assert any("KEEP" in text for text in found.recommendations)


def test_survivors_of_one_place_are_told_together_whoever_called_it() -> None:
    def make() -> None:
        KEEP.append(Entry())

    def leak() -> None:
        make()
        make()
        make()

    (found,) = (one for one in explained(leak).survivors if one.type.endswith("Entry"))
    assert found.count == 3
    lines = [int(place.split(":")[1].split()[0]) for place in found.allocated_at]
    first = leak.__code__.co_firstlineno
    assert (lines[0], sorted(lines[1:])) == (
        make.__code__.co_firstlineno + 1,
        [first + 1, first + 2, first + 3],
    )


def test_a_missing_decref_of_an_untracked_object_is_found_by_its_trace() -> None:
    def leak() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(bytes(1000)))

    found = explained(leak)
    assert found.survivors[0].held_by == (UNTRACKED,)
    assert "find what keeps what is made here" in found.recommendations[0]
    assert "a C extension called here lacks a decref" in found.recommendations[0]
    assert found.survivors[0].size_bytes == pytest.approx(1033, abs=100)
    assert re.search(r"test_attribution\.py:\d+ in \S*leak$", found.survivors[0].allocated_at[0])


GROUPED: frozenset[int] = frozenset()
CONFIGURED = ChainMap[str, int]()
PACKED = bytearray()


def group() -> None:
    global GROUPED
    GROUPED = GROUPED | {10**6 + len(GROUPED)}


def configure() -> None:
    global CONFIGURED
    CONFIGURED = CONFIGURED.new_child({"a": 1})


@pytest.mark.parametrize(("leak", "variable"), [(group, "GROUPED"), (configure, "CONFIGURED")])
def test_what_is_passed_on_to_a_new_value_is_held_by_the_variable(
    leak: Callable[[], None], variable: str
) -> None:
    """A C extension was said to lack a decref, which none was called of."""
    for _ in range(50):
        leak()
    found = explained(leak)
    assert variable in found.survivors[0].held_by[1]
    assert f"test_attribution.{variable}`" in found.recommendations[0]


def test_no_package_is_accused_where_a_variable_may_keep_what_cannot_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As an array of NumPy's: the collector isn't told what it holds, nor that there is one.
    monkeypatch.setattr(variables, "is_stdlib", lambda module: False)

    def leak() -> None:
        global PACKED
        PACKED = bytearray(PACKED + b"x")
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(bytes(1000)))

    advice = explained(leak).recommendations[0]
    assert "test_attribution.PACKED` (bytearray) may keep it" in advice
    assert "the only one seen" not in advice


def test_value_that_refuses_to_tell_its_length_has_none() -> None:
    """As an array without a dimension does, and what is closed."""
    closed = mmap.mmap(-1, 4096)
    assert variables._length_in_c(closed) == 4096
    closed.close()
    assert variables._length_in_c(closed) is None


def test_what_grows_is_told_and_not_a_full_cache_that_has_the_last_ones_as_well() -> None:
    """``re`` keeps the last 512 patterns; while it fills, it is a bounded holder like any other."""
    for number in range(600):
        re.compile(f"{number}(a|b)*")
    found = explained(lambda: KEEP.append(re.compile(f"{os.urandom(6).hex()}(a|b)*")))
    assert "KEEP" in " ".join(found.survivors[0].held_by)


def test_a_cache_that_is_filling_is_seen_where_others_hold_the_same_until_it_lets_go() -> None:
    """As with SQLAlchemy's compiled statements: event registries keep what they lead to, and are emptied."""
    cache, number = Squishy(), counter()

    def run() -> None:
        entry = [[number()], [number()]]
        KEEP.append(entry)
        cache.data[number()] = entry

    run()
    assert explained(run).bounded is None  # since KEEP isn't
    found = filling_cache(run)
    assert found is not None
    assert re.fullmatch(r"bounded: \d+ of 500", found.text)


def test_weak_references_to_what_is_gone_are_let_go_in_bulk() -> None:
    connection = sqlite3.connect(":memory:")

    def run() -> None:
        connection.execute("select 1").fetchone()

    found = filling_cache(run, blocks=1.0)
    assert found is not None
    assert found.text.startswith("weak references to what is gone")
    assert filling_cache(run, blocks=3.0) is None
    connection.close()


def test_dead_weak_references_that_a_variable_keeps_are_let_go_by_nobody() -> None:
    def run() -> None:
        KEEP.extend(weakref.ref(OrderedDict()) for _ in range(20))

    run()
    assert filling_cache(run, blocks=20.0) is None


def test_a_bound_beyond_what_tests_come_to_bounds_nothing() -> None:
    class Uploads:
        def __init__(self, max_size: int) -> None:
            self.max_size = max_size
            self.parts = [1, 2, 3]

    assert bounded_holder(Uploads(5_000)) == Bound(count=3, limit=5_000)
    assert bounded_holder(Uploads(5_000_000)) is None


def test_a_compiled_class_has_its_bound_and_its_length_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bounded_holder(array("q", [1, 2])) is None
    monkeypatch.setattr(bounds, "_BOUND_NAME", re.compile("^(?P<what>)itemsize$"))
    assert bounded_holder(array("q", [1, 2])) == Bound(count=2, limit=8)
    assert bounded_holder(array("q", range(8))) is None


def test_what_a_full_cache_takes_in_is_not_told_beside_a_leak() -> None:
    number = counter()
    recent = functools.lru_cache(maxsize=8)(lambda index: [index])
    for _ in range(8):
        recent(number())

    def leak() -> None:
        recent(number())
        KEEP.append([1])

    found = explained(leak)
    assert found.survivors[0].held_by[1].startswith("KEEP")
    assert "lru_cache" not in str(found)


def test_a_task_that_has_ended_is_not_to_be_cancelled() -> None:
    async def work() -> None:
        pass

    async def leak() -> None:
        KEEP.append(asyncio.ensure_future(work()))
        await KEEP[-1]

    (advice,) = explained(lambda: asyncio.run(leak())).recommendations[:1]
    assert "cancel" not in advice
    assert f"bound or clear `{__name__}.KEEP`" in advice


def test_what_a_running_thread_has_on_its_stack_is_no_missing_decref() -> None:
    """The collector doesn't see the stack of an expression that isn't done, as any(...) here."""
    done = threading.Event()

    def wait() -> None:
        any(done.wait(10) for _ in range(1))

    def leak() -> None:
        threading.Thread(target=wait, daemon=True).start()

    try:
        found = explained(leak)
        assert len(found.recommendations) == 1
        assert "join() the thread" in found.recommendations[0]
    finally:
        done.set()


def test_a_timer_of_threading_is_to_be_cancelled() -> None:
    timers: list[threading.Timer] = []

    def leak() -> None:
        timer = threading.Timer(60, cached, [[1]])
        timer.daemon = True
        timer.start()
        timers.append(timer)

    try:
        found = explained(leak)
    finally:
        for timer in timers:
            timer.cancel()
    assert "timer Thread-" in str(found.survivors)
    (text,) = found.recommendations
    assert text.startswith("cancel() and join() the timer")


def test_a_thread_that_has_ended_is_not_to_be_joined() -> None:
    def leak() -> None:
        KEEP.append(threading.Thread(target=len, args=("",)))
        KEEP[-1].start()
        KEEP[-1].join()

    (advice,) = explained(leak).recommendations[:1]
    assert "join()" not in advice
    assert f"bound or clear `{__name__}.KEEP`" in advice


def test_a_mock_in_a_cache_is_not_to_be_reset() -> None:
    kept = functools.lru_cache(maxsize=None)(lambda thing: [thing])
    found = explained(lambda: kept(mock.MagicMock()))
    assert "reset_mock" not in str(found.recommendations)
    assert "cache_clear()" in found.recommendations[0]


def test_a_cache_beside_a_leak_is_no_excuse_for_it() -> None:
    cache, number = Squishy(), counter()

    def run() -> None:
        KEEP.append([[1], [2], [3]])
        cache.data[number()] = [1]

    run()
    assert filling_cache(run) is None
    assert filling_cache(lambda: "it failed") is None


def test_a_cache_whose_one_entry_grows_is_no_excuse() -> None:
    """It is far below its bound, and stays there."""
    number = counter()

    @functools.lru_cache(maxsize=128)
    def store() -> list[object]:
        return []

    def run() -> None:
        store().append([number()])

    run()
    assert filling_cache(run) is None


def test_a_cache_with_the_lesser_part_of_the_bytes_is_no_excuse() -> None:
    cache, number = Squishy(), counter()

    def leak_numbers() -> None:
        KEEP.append(bytes(100_000))
        cache.data[number()] = [[1], [2], [3]]

    leak_numbers()
    assert filling_cache(leak_numbers, heap_bytes=100_000.0) is None
    assert filling_cache(leak_numbers) is not None

    def leak_bytes() -> None:
        KEEP.append(bytearray(65_536))
        RING.append(1.5)

    leak_bytes()
    assert filling_cache(leak_bytes, heap_bytes=65_536.0) is None


def test_an_unbounded_holder_is_preferred_to_a_bounded_one() -> None:
    def leak() -> None:
        entry = [1]
        RING.append(entry)
        KEEP.append({"deep": entry})
        KEEP.append(entry)

    assert explained(leak).bounded is None


@pytest.fixture(scope="module")
def recorder() -> SimpleNamespace:
    return SimpleNamespace(events=[])


def test_what_the_value_of_a_fixture_has_for_its_params_is_no_parameter(recorder: SimpleNamespace) -> None:
    recorder.params = []
    assert not explained(lambda: recorder.params.append([1])).in_parameter


def test_the_value_of_a_fixture_is_told_without_the_insides_of_pytest(recorder: SimpleNamespace) -> None:
    held_by = explained(lambda: recorder.events.append([1])).survivors[0].held_by
    assert held_by[0] == "fixture recorder: types.SimpleNamespace"
    assert re.fullmatch(r".events: list of \d+, grows by 1 a run", held_by[1])


READ, UNREAD = itertools.tee(itertools.count(10**9))


def test_what_an_iterator_of_tee_keeps_is_told_by_that_iterator() -> None:
    """No holder was told: more lay between than there are levels of the search."""

    def leak() -> None:
        for _ in range(400):
            next(READ)

    found = explained(leak)
    assert found.survivors[0].held_by[:2] == (f"module {__name__}", "UNREAD: itertools._tee")
    (text,) = found.recommendations
    assert f"itertools.tee(), `{__name__}.UNREAD`, keeps what another one has read" in text


AHEAD, BEHIND = itertools.tee(map(list, itertools.repeat((1,))))


def test_what_tee_keeps_is_held_by_the_iterator_that_lags_behind() -> None:
    """The newest are within reach of the one that is read, which lets go of them with the next."""

    def leak() -> None:
        next(AHEAD)

    for _ in range(300):
        leak()
    found = explained(leak)
    assert (found.survivors[0].type, found.survivors[0].held_by[1]) == ("list", "BEHIND: itertools._tee")
    assert (
        f"itertools.tee(), `{__name__}.BEHIND`, keeps what another one has read" in found.recommendations[0]
    )


LOCAL = threading.local()


def test_what_is_kept_for_a_thread_is_told_by_the_attribute() -> None:
    """It was told by the dicts in which the interpreter has it."""
    LOCAL.rows = []
    found = explained(lambda: LOCAL.rows.append(bytes(1000)))
    module, local, rows = found.survivors[0].held_by
    assert (module, local) == (f"module {__name__}", "LOCAL: _thread._local")
    assert rows.startswith(".rows: list of ")


def test_a_value_of_a_context_variable_is_held_by_it() -> None:
    def leak() -> None:
        _VARIABLE.set((*_VARIABLE.get(()), [1]))

    context = contextvars.copy_context()
    found = context.run(explained, leak)
    assert any("context variable kept_in_context" in one.held_by for one in found.survivors)
    assert any("reset the context variable `kept_in_context`" in advice for advice in found.recommendations)


def test_a_module_that_is_added_is_held_by_sys_modules() -> None:
    numbers = itertools.count()

    def leak() -> None:
        module = ModuleType(f"made_{next(numbers)}")
        sys.modules[module.__name__] = module

    try:
        found = explained(leak)
    finally:
        for name in [name for name in sys.modules if name.startswith("made_")]:
            del sys.modules[name]
    assert any(one.held_by[0] == "module sys" for one in found.survivors if one.held_by)
    assert any("remove from `sys.modules` in teardown" in advice for advice in found.recommendations)


def test_a_class_that_is_registered_is_held_by_the_registry() -> None:
    """And not by notes that pympler takes of classes."""

    class Base:
        known: ClassVar[list[type]] = []

        def __init_subclass__(cls) -> None:
            Base.known.append(cls)

    def leak() -> None:
        class Registered(Base):
            data = bytearray(2000)

    found = explained(leak)
    assert not any("pympler" in hop for one in found.survivors for hop in one.held_by)
    assert any("known" in advice for advice in found.recommendations)


def test_a_finalizer_is_to_be_detached() -> None:
    """To clear the registry would disable everybody's."""
    anchor = Slotted()

    def leak() -> None:
        weakref.finalize(anchor, len, [1])

    assert any("call detach()" in advice for advice in explained(leak).recommendations)


def test_what_a_survivor_holds_has_its_holder_though_the_oldest_of_its_kind_is_another() -> None:
    def leak() -> None:
        for keep, kept in (CALLBACKS, ["not a dict"]), (KEEP, {"parts": []}):
            keep.append((kept,))

    (found,) = (survivor for survivor in explained(leak).survivors if survivor.type == "dict")
    assert found.held_by[0] == f"module {__name__}"


def test_a_traceback_that_is_kept_leads_to_none_of_our_functions() -> None:
    def leak() -> None:
        try:
            raise ValueError
        except ValueError as problem:
            KEEP.append(problem)

    found = explained(leak)
    told = [*(one.type for one in found.survivors), *(hop for one in found.survivors for hop in one.held_by)]
    assert not any("pytest_memalert" in text for text in told)


@pytest.mark.parametrize("hops", [1, 3, 6])
def test_a_holder_some_steps_away_is_found(hops: int) -> None:
    inner: list[object] = []
    outer: object = inner
    for _ in range(hops):
        outer = {"next": outer}
    KEEP.append(outer)
    path = explained(lambda: inner.append([1])).survivors[0].held_by
    assert path[0].startswith(("module", "running function"))


# ----------------------------------------------------------------- bounded holders


@pytest.mark.parametrize("entry", [list, lambda: bytearray(100)])
def test_a_deque_below_its_bound_is_told_as_bounded(entry: Callable[[], object]) -> None:
    """Of entries that the collector tracks, and of others."""
    found = explained(lambda: RING.append(entry()))
    assert found.bounded is not None
    assert re.fullmatch(r"bounded: \d+ of 1,000", found.bounded.text)


def test_a_cache_below_its_bound_is_told_as_bounded() -> None:
    number = counter()
    found = explained(lambda: cached(number()))
    assert found.bounded is not None
    assert "of 1,000" in found.bounded.text


def test_a_list_is_not_bounded() -> None:
    assert explained(lambda: KEEP.append([1])).bounded is None


def test_a_bound_is_told_with_what_is_known_of_it() -> None:
    filling, full = Bound(count=37, limit=1000), Bound(count=1000, limit=1000, way="by app.put")
    assert (filling.text, filling.is_known, filling.is_reached) == ("bounded: 37 of 1,000", True, False)
    assert (full.text, full.is_reached) == ("bounded: 1,000 of 1,000, by app.put", True)
    unknown = Bound(way="app.put removes from it by age")
    assert (unknown.text, unknown.is_known, unknown.is_reached) == (unknown.way, False, False)


def test_bounds_are_read_from_deques_caches_and_instances() -> None:
    class Evicting:
        def __init__(self) -> None:
            self.maxsize = 10
            self.items = {1: 1, 2: 2}

    class Uploads:
        MAX_SIZE = 10 * 2**20  # of each, in bytes

        def __init__(self) -> None:
            self.seen = [1]

    class Limited(dict[int, int]):
        MAX_ENTRIES = 20

    class Connection:
        def __init__(self) -> None:
            self.max_table_capacity = 4096
            self.streams = {1: 1}

    class Recorder:
        def __init__(self) -> None:
            self._history_max_size = 10
            self._history = [1, 2]
            self.output = [1, 2, 3]

    assert bounded_holder(Connection()) is None  # of a table that isn't here
    assert bounded_holder(Recorder()) == Bound(count=2, limit=10)
    cache = Squishy()
    cache.data.update((number, number) for number in range(700))
    assert bounded_holder(cache) == Bound(count=700, limit=500)  # it may have half as much again
    cache.data.update((number, number) for number in range(750))
    assert bounded_holder(cache) is None
    assert bounded_holder(Limited({1: 1})) == Bound(count=1, limit=20)
    assert bounded_holder(Uploads()) is None
    full = deque([1, 2], maxlen=2)
    assert bounded_holder(deque([1], maxlen=1000)) == Bound(count=1, limit=1000)
    assert bounded_holder(full) is None
    assert bounded_holder(deque([1])) is None
    assert bounded_holder(Evicting()) == Bound(count=2, limit=10)
    assert bounded_holder([1]) is None
    assert bounded_holder(Service.compute) is None


def test_a_bound_is_read_without_asking_a_class_for_its_name() -> None:
    """A metaclass may have a property of that name, which is code of the user's."""

    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise AssertionError("asked")

    class Pages(dict[int, int], metaclass=Meta):
        PAGES_MAX_SIZE = 20

    bound = bounded_holder(Pages({1: 1}))
    assert bound == Bound(count=1, limit=20)


# -------------------------------------------------------------------------- advice


def advice(leak: Callable[[], object]) -> str:
    return "\n".join(explained(leak).recommendations)


def test_a_cache_on_a_method_is_told_to_be_one_per_instance() -> None:
    text = advice(lambda: Service().compute())
    assert "Service.compute` keeps every `self`" in text


def test_a_mock_at_module_level_is_told_to_be_reset() -> None:
    assert f"reset_mock() on {__name__}.MOCK" in advice(lambda: MOCK(1))


def test_a_callback_is_told_to_be_unregistered() -> None:
    assert f"unregister in teardown what the test registers in `{__name__}.CALLBACKS`" in advice(
        lambda: CALLBACKS.append([1])
    )


class Wrapped:
    def get(self) -> object: ...


def wrap_anew() -> None:
    original = Wrapped.get

    def get(self: Wrapped) -> object:
        return original(self)

    Wrapped.get = get  # type: ignore[method-assign]


def test_a_method_that_each_run_wraps_is_to_be_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was told to be bounded or cleared."""
    monkeypatch.setattr(Wrapped, "get", Wrapped.get)
    found = explained(wrap_anew)
    (text,) = found.recommendations
    assert text.startswith(f"restore `{__name__}.Wrapped.get` in teardown, or set it by pytest's monkeypatch")
    held_by = found.survivors[0].held_by
    assert held_by[0] == f"class {__name__}.Wrapped"
    assert len(held_by) == len(set(held_by))


def made_by_factory(kept: list[Any]) -> Callable[[], object]:
    return lambda: kept


FACTORY_MADE = made_by_factory([])


def test_a_function_that_collects_others_like_it_is_not_to_be_restored() -> None:
    kept: list[Any] = FACTORY_MADE()  # type: ignore[assignment]
    text = advice(lambda: kept.append(made_by_factory([])))
    kept.clear()
    assert text.startswith(f"bound or clear what `{__name__}.FACTORY_MADE` keeps")


def test_a_hook_of_the_interpreter_that_each_run_wraps_is_to_be_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def leak() -> None:
        original = sys.excepthook
        sys.excepthook = lambda *args: original(*args)

    assert advice(leak).startswith("restore `sys.excepthook` in teardown")


def test_a_trace_function_that_each_run_wraps_is_told_by_what_sets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threading, "_trace_hook", None)

    def leak() -> None:
        original = threading.gettrace()
        threading.settrace(lambda *args: original and original(*args))

    assert advice(leak).startswith("restore in teardown what threading.gettrace() told before")


def test_a_signal_handler_that_each_run_wraps_is_told_with_its_signal() -> None:
    """It was told to be cleared, and the signal wasn't named."""
    number = signal.Signals.SIGTERM
    before = signal.getsignal(number)

    def leak() -> None:
        original = signal.getsignal(number)

        def handle(signum: int, frame: Any) -> object:
            return original

        signal.signal(number, handle)

    try:
        found = explained(leak)
    finally:
        signal.signal(number, before)
    assert found.survivors[0].held_by[0] == "signal.signal() for SIGTERM"
    (text,) = found.recommendations
    assert text.startswith("restore in teardown the handler that signal.signal() returned for SIGTERM: ")


@functools.singledispatch
def shown(value: object) -> str:
    return ""


def test_what_singledispatch_keeps_is_not_told_to_be_unregistered() -> None:
    """There is no way to."""

    def leak() -> None:
        class Made: ...

        shown.register(Made, lambda value: "made")

    (text,) = explained(leak).recommendations
    assert text.startswith(f"`{__name__}.shown` is of functools.singledispatch, which lets go of no type")


def test_what_is_registered_to_run_at_exit_is_told_to_be_unregistered() -> None:
    def farewell(_: object) -> None: ...

    try:
        assert "atexit.unregister" in advice(lambda: atexit.register(farewell, [1]))
    finally:
        atexit.unregister(farewell)


def test_what_is_untracked_and_registered_to_run_at_exit_is_held_by_atexit() -> None:
    """Its holder was said not to be known, right above the advice that names atexit."""

    def farewell(_: object) -> None: ...

    try:
        found = explained(lambda: atexit.register(farewell, bytes(2000)))
    finally:
        atexit.unregister(farewell)
    assert {survivor.held_by for survivor in found.survivors} == {(AT_EXIT,)}
    assert "atexit.unregister" in found.recommendations[0]


class Pool:
    """Registers a method of its own for the exit."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        atexit.register(self.close)
        self.slots = [Slotted()]

    def close(self) -> None: ...


class _AnyOfPools:
    """Equals the methods of all pools."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return type(getattr(other, "__self__", None)) is Pool


def test_what_is_registered_to_run_at_exit_is_told_once_by_the_line_that_registers_it() -> None:
    """Each of its parts was told to be unregistered at the line where that was made."""
    found = explained(Pool)
    atexit.unregister(_AnyOfPools())  # type: ignore[arg-type]
    (text,) = found.recommendations
    line = Pool.__init__.__code__.co_firstlineno + 2
    assert f"atexit (tests/test_attribution.py:{line} in Pool.__init__)" in text
    assert {survivor.held_by[0] for survivor in found.survivors if survivor.held_by} == {AT_EXIT}


def test_loggers_with_changing_names_are_told_to_be_constant() -> None:
    number = counter()
    try:
        assert "constant names" in advice(lambda: logging.getLogger(f"attribution.{number()}"))
    finally:
        for name in [n for n in logging.Logger.manager.loggerDict if n.startswith("attribution.")]:
            del logging.Logger.manager.loggerDict[name]


def test_a_logging_handler_is_told_to_be_removed() -> None:
    logger = logging.getLogger("handled")
    try:
        assert "removeHandler()" in advice(lambda: logger.addHandler(logging.NullHandler()))
    finally:
        logger.handlers.clear()


def test_uncollectable_garbage_is_named() -> None:
    def leak() -> None:
        entry: Any = Entry()
        entry.itself = entry
        gc.garbage.append(entry)

    try:
        assert "gc.garbage keeps it" in advice(leak)
    finally:
        gc.garbage.clear()


def test_a_generator_that_is_kept_is_told_to_be_closed() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    def leak() -> None:
        generator = numbers()
        next(generator)
        KEEP.append(generator)

    assert "close() the generator" in advice(leak)


def test_a_variable_of_the_environment_is_to_be_undone_in_os_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def leak() -> None:
        names.append(f"MEMALERT_TEST_{len(names)}")
        os.environ[names[-1]] = "v" * 100

    try:
        text = advice(leak)
    finally:
        for name in names:
            del os.environ[name]
    assert "undo in teardown what the test adds to `os.environ`" in text
    assert "os.environ.clear" not in text
    assert "posix" not in text


def test_what_a_container_keeps_is_told_by_the_line_that_makes_the_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The largest survivor is far below, and was made elsewhere."""
    monkeypatch.setattr(logging, "statistics", {}, raising=False)
    number = counter()

    def leak() -> None:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        statistics = {"workers": {"first": thread}}
        logging.statistics[f"server {number()}"] = statistics  # type: ignore[attr-defined]

    for _ in range(20):
        leak()
    line = leak.__code__.co_firstlineno + 5
    assert re.match(
        rf"undo in teardown what the test adds to `logging.statistics`.*test_attribution\.py:{line} in ",
        explained(leak).recommendations[0],
    )


def test_what_the_standard_library_has_is_its_own_though_a_module_imports_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name that is the first in the alphabet was told: here "a_path"."""
    module = ModuleType("a_path")
    module.path = sys.path  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_path", module)
    monkeypatch.setattr(sys, "path", sys.path)
    before = list(sys.path)
    number = counter()
    try:
        text = advice(lambda: sys.path.append(f"/nowhere/{number()}"))
    finally:
        sys.path[:] = before
    assert "undo in teardown what the test adds to `sys.path`" in text


def test_a_registry_with_a_name_in_python_is_not_told_by_its_c_state() -> None:
    import _pickle  # noqa: F401  keeps the table in its state

    made: list[type] = []

    def leak() -> None:
        class Made:
            pass

        made.append(Made)
        copyreg.pickle(Made, lambda made: (Made, ()))

    found = explained(leak)
    for kind in made:
        del copyreg.dispatch_table[kind]
    holders = [" ".join(one.held_by) for one in found.survivors]
    assert not any("its C state" in holder for holder in holders)
    assert any("dispatch_table: dict" in holder for holder in holders)


def test_a_patch_that_was_never_stopped_is_to_be_stopped() -> None:
    try:
        text = advice(lambda: mock.patch(f"{__name__}.CHAIN").start())
    finally:
        mock.patch.stopall()
    assert "mock.patch.stopall()" in text
    assert "reset_mock" not in text


def test_a_module_that_gets_a_name_in_each_run_is_told_so() -> None:
    number = counter()

    def leak() -> None:
        globals()[f"made_{number()}"] = [1]

    try:
        found = explained(leak)
        again = explained(leak)
    finally:
        for name in [name for name in globals() if name.startswith("made_")]:
            del globals()[name]
    assert f"the module `{__name__}` gets a new name in each run, such as `made_" in found.recommendations[0]
    assert found.survivors[0].held_by[0] == f"module {__name__}, grows by 1 a run"
    assert found.signature == again.signature


@pytest.mark.parametrize("value", [[1], b"x" * 1000], ids=["tracked", "untracked"])
def test_a_class_that_gets_a_name_in_each_run_is_told_so(value: object) -> None:
    class Settings:
        pass

    ITEMS["settings"] = Settings
    number = counter()

    def leak() -> None:
        setattr(Settings, f"made_{number()}", copy.copy(value) if type(value) is list else bytes(1000))

    text = advice(leak)
    assert "Settings` gets a new name in each run" in text
    assert "clear" not in text


def test_a_container_that_grows_is_told_though_a_variable_is_bound_anew() -> None:
    def leak() -> None:
        globals()["CHAIN"] = [1]
        KEEP.append([1])

    assert f"`{__name__}.KEEP.clear()`" in advice(leak)


def test_weak_references_are_not_told_as_what_holds() -> None:
    """A cycle has no head, and the reference that the set has of it would be the only one."""

    class Branch:
        def __init__(self, tree: object) -> None:
            self.tree = tree

    class Tree:
        known: ClassVar[weakref.WeakSet[object]] = weakref.WeakSet()

        def __init__(self) -> None:
            self.branch = Branch(self)
            Tree.known.add(self)

    found = explained(lambda: KEEP.append(Tree()))
    assert "KEEP" in found.recommendations[0]
    assert "known" not in "".join(found.recommendations)
    assert "weakref" not in found.survivors[0].type
    assert "weakref" in found.survivors[-1].type
    assert "weakref" not in (found.signature or "weakref")


def test_a_weak_container_is_not_to_be_cleared_where_a_strong_one_holds() -> None:
    notes: weakref.WeakKeyDictionary[object, list[int]] = weakref.WeakKeyDictionary()
    ITEMS["notes"] = notes

    def leak() -> None:
        link = Slotted()
        notes[link] = [1]
        KEEP.append(link)

    found = explained(leak)
    assert [text for text in found.recommendations if "KEEP" not in text] == []
    assert found.survivors[0].type == f"{__name__}.Slotted"


def test_what_a_proxy_calls_back_does_not_stand_for_what_something_else_holds() -> None:
    """Types of ctypes were told by the table of proxies to them, on Python 3.13."""
    proxies: list[object] = []

    class Removal:
        def __call__(self, gone: object) -> None:
            pass

    def leak() -> None:
        kept = Entry()
        KEEP.append([kept, kept])
        proxies.append(weakref.proxy(kept, Removal()))

    found = explained(leak)
    assert f"module {__name__}" in found.survivors[0].held_by
    assert "Removal" not in found.survivors[0].type
    assert "KEEP" in found.recommendations[0]
    assert len(found.recommendations) == 1


def test_a_large_value_that_refers_to_its_weak_key_is_told_before_small_things_held_otherwise() -> None:
    states: weakref.WeakKeyDictionary[object, list[Any]] = weakref.WeakKeyDictionary()
    ITEMS["states"] = states

    def leak() -> None:
        key = Slotted()
        states[key] = [key, *([number] for number in range(200))]
        KEEP.append([1])

    found = explained(leak)
    assert "weakref.WeakKeyDictionary" in " ".join(found.survivors[0].held_by)
    assert "ITEMS" in found.recommendations[0]


def test_a_value_that_leads_to_its_weak_key_is_told_as_the_reason() -> None:
    states: weakref.WeakKeyDictionary[object, list[Any]] = weakref.WeakKeyDictionary()
    ITEMS["states"] = states

    def leak() -> None:
        key = Slotted()
        states[key] = [[key]]

    found = explained(leak)
    assert "leads to its own key" in found.recommendations[0]
    assert f"`{__name__}.ITEMS`" in found.recommendations[0]


def test_container_that_takes_in_objects_of_both_kinds_is_told_of_both() -> None:
    """The collector doesn't track a bytearray: it was left out wherever a tracked object came with it."""

    def leak() -> None:
        KEEP.append(Slotted())
        KEEP.append(bytearray(20_000))

    found = explained(leak)
    assert [survivor.type for survivor in found.survivors] == ["bytearray", f"{__name__}.Slotted"]
    assert found.survivors[0].size_bytes == pytest.approx(20_000, rel=0.01)


def test_full_cache_is_named_as_a_bound_where_nothing_else_holds_its_entries() -> None:
    """It may have been filling in the runs before: what was part of its entries was told as a leak of C."""
    number = counter()

    @functools.lru_cache(maxsize=64)
    def cached(number: int) -> dict[str, list[int]]:
        return {"entry": [number] * 10}

    def fill() -> None:
        cached(number())

    for _ in range(64):
        fill()
    found = explained(fill)
    assert found.full is not None
    assert found.full.text == "bounded: 64 of 64"
    assert "lru_cache" in " ".join(found.survivors[0].held_by)


def test_what_is_filled_anew_in_each_run_is_no_survivor_where_untracked_objects_leak() -> None:
    """ "Let go of a moment later", or a missing decref, was said of the whole leak."""
    current: set[object] = set()
    number = counter()

    def leak() -> None:
        while current:
            current.pop()
        for _ in range(4):
            current.add(Entry())
        KEEP.append("x" * 1000 + str(number()))

    found = explained(leak)
    assert [survivor.type for survivor in found.survivors] == ["str"]
    assert not found.let_go


def test_context_of_the_thread_is_told_whoever_has_a_token_of_it() -> None:
    """A fixture that has set another variable was blamed."""
    token = _VARIABLE.set("before")
    ITEMS["token"] = token
    try:
        (tree,) = gc.get_referents(contextvars.copy_context())
        search = HolderSearch(survivors={id(tree)}, ours=set(), grown=[])
        (holder,) = search.find([tree])
        assert holder is not None
        assert holder.root == "context"
    finally:
        _VARIABLE.reset(token)


def test_descriptors_beside_what_is_held_are_to_be_closed() -> None:
    """Not where what is held are the files."""
    opened: list[int] = []

    def leak() -> None:
        opened.extend(os.pipe())
        KEEP.append(Slotted())

    def leak_files() -> None:
        KEEP.append(Path(os.devnull).open())  # noqa: SIM115  the leak under test

    try:
        found = explain(leak, lost={"blocks": 3.0, "descriptors": 2.0})
        assert any("KEEP" in text for text in found.recommendations)
        assert "close what is opened at" in found.recommendations[-1]
        assert "descriptors left open" in (found.signature or "")
        found = explain(leak_files, lost={"blocks": 3.0, "descriptors": 1.0})
        assert not any("close what is opened" in text for text in found.recommendations)
    finally:
        for descriptor in opened:
            os.close(descriptor)
        for kept in KEEP:
            if isinstance(kept, io.TextIOWrapper):
                kept.close()


RAISED = ValueError("one for all")


def test_exception_that_is_raised_again_through_many_frames_is_found_by_its_name() -> None:
    """Its tracebacks, more by some in each run, are a chain longer than a search has levels."""

    def go_down(levels: int) -> None:
        if levels:
            go_down(levels - 1)
        raise RAISED

    def leak() -> None:
        with contextlib.suppress(ValueError):
            go_down(20)

    found = explained(leak)
    RAISED.__traceback__ = None
    (text,) = found.recommendations
    assert f"the one that `{__name__}.RAISED` keeps gets longer" in text
    assert found.survivors[0].held_by[:2] == (f"module {__name__}", "RAISED: ValueError")


def collecting(item: object, *, seen: list[object] = []) -> None:  # noqa: B006  the leak under test
    seen.append([item])


def collecting_plainly(item: object, number: int = 1, seen: list[object] = []) -> None:  # noqa: B006  the same
    seen.append(f"{item} {number} {time.time_ns()}")


@pytest.mark.parametrize("collect", [collecting, collecting_plainly])
def test_a_default_value_that_collects_is_told_by_its_parameter(collect: Callable[[object], None]) -> None:
    found = explained(lambda: collect(1))
    for values in (collect.__defaults__ or (), (collect.__kwdefaults__ or {}).values()):
        for value in values:
            if type(value) is list:
                value.clear()
    (text, *_) = found.recommendations
    assert text.startswith(f"the default value of `seen` of `{__name__}.{collect.__name__}` keeps it")
    assert re.match(r"default of seen: list of \d+, grows by 1 a run", found.survivors[0].held_by[2])


QUEUE: queue.Queue[object] = queue.Queue()


def test_a_queue_that_is_filled_is_to_be_emptied() -> None:
    (text,) = explained(lambda: QUEUE.put([1])).recommendations
    QUEUE.queue.clear()
    assert (
        f"take out what the test puts into `{__name__}.QUEUE` (queue.Queue), in teardown by get_nowait()"
        in text
    )


BOX = SimpleNamespace(kept=[])


def test_advice_has_no_numbers_that_differ_from_run_to_run() -> None:
    found = explained(lambda: BOX.kept.append([1]))
    BOX.kept.clear()
    assert any("grows by 1 a run" in hop for hop in found.survivors[0].held_by)
    (text,) = found.recommendations
    name = f"{__name__}.BOX"
    assert text == f"bound or clear what `{name}` keeps: BOX: types.SimpleNamespace > .kept: list"


def begin_process() -> object:
    return subprocess.Popen([sys.executable, "-V"], stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("make", "end"),
    [
        (Path(__file__).open, "close"),
        (begin_process, "wait"),
        (tempfile.TemporaryDirectory, "cleanup"),
        (multiprocessing.Process, "join"),
    ],
)
def test_what_is_open_is_to_be_closed_before_it_is_let_go_of(make: Callable[[], Any], end: str) -> None:
    """To clear the list leaves a process that ended, or a file until it is collected."""
    found = explain(lambda: KEEP.append(make()))
    for kept in KEEP:
        if end != "join":  # these weren't started
            getattr(kept, end)()
    assert f"call {end}() on what is made, and bound or clear `{__name__}.KEEP` (list)" in str(
        found.recommendations
    )


def test_what_has_neither_place_nor_holder_is_told_last() -> None:
    """A few tuples of nowhere stood before what was made in a line that is known."""
    KEEP.extend(Entry() for _ in range(3))
    line = ((__file__, 1),)

    def group_of(objects: list[Any], frames: tuple[tuple[str, int], ...]) -> Group:
        kind = type(objects[0]).__name__
        return Group(type=kind, objects=objects, frames=frames, per_run=1, size_bytes=64, confidence=1)

    groups = [
        group_of([Slotted() for _ in range(3)], ()),
        group_of([entry.values for entry in KEEP], line),
        group_of(list(KEEP), line),
    ]
    seen = Watch(groups=groups, new=[obj for group in groups for obj in group.objects], runs=3)
    assert [group.type for group in Selection(seen).users] == ["Entry", "list", "Slotted"]


def test_what_a_method_leads_to_is_part_of_the_object_that_the_method_is_of() -> None:
    """Its largest part was told as well as it, and before it: what holds both is a method alone."""

    class Index(list[int]): ...

    class Shop:
        def __init__(self) -> None:
            self.index = Index(range(100))

        def hear(self) -> None: ...

    found = explained(lambda: KEEP.append(Shop().hear))
    assert found.survivors[0].type.endswith("Shop")
    assert len(found.recommendations) == 1


def test_a_leak_in_a_local_variable_of_a_thread_is_known_whatever_the_thread_is_called() -> None:
    def work(orders: queue.Queue[object], done: queue.Queue[object]) -> None:
        handled: list[object] = []
        while (order := orders.get()) is not None:
            handled.append([order])
            done.put(True)

    signatures = set()
    for number in range(2):
        orders: queue.Queue[object] = queue.Queue()
        done: queue.Queue[object] = queue.Queue()
        thread = threading.Thread(target=work, args=(orders, done), name=f"worker-{number}")
        thread.start()

        def leak(orders: queue.Queue[object] = orders, done: queue.Queue[object] = done) -> None:
            orders.put(1)
            done.get()

        found = explained(leak)
        orders.put(None)
        thread.join()
        assert any(f"thread worker-{number}" in hop for hop in found.survivors[0].held_by)
        signatures.add(found.signature)
    (signature,) = signatures
    assert signature is not None
    assert "test_attribution.py in work handled" in signature


def test_exception_that_is_raised_again_is_told_as_the_reason() -> None:
    """It keeps the traceback of each time, with all that the frames refer to: four ways into it were told."""
    shared = ValueError("shared")
    ITEMS["error"] = shared

    def leak() -> None:
        with contextlib.suppress(ValueError):
            raise shared

    found = explained(leak)
    assert found.recommendations[0].startswith("make a new exception each time: ")
    assert len(found.recommendations) == 1


def test_what_the_last_run_replaced_is_no_survivor() -> None:
    """There are as many each time, and more of them from one place: so it is where freed memory is reused."""
    runs = itertools.count(1)
    current: list[list[object]] = []

    def leak() -> None:
        there = next(runs)
        current[:] = [[Slotted()] for _ in range(there)]
        current.extend([Slotted()] for _ in range(100 - there))
        KEEP.append({"kept": [1]})

    found = explained(leak)
    assert {survivor.type for survivor in found.survivors} == {"dict", "list"}
    assert all("KEEP" in " ".join(survivor.held_by) for survivor in found.survivors)


def test_a_bytearray_that_grows_is_told_by_its_name() -> None:
    """It grows in steps, of which the few runs of the explanation may see none."""
    data = bytearray()
    found = explain(lambda: data.extend(b"x" * 1000), lost={"heap": 1000.0})
    assert found.survivors[0].told == "1,000 bytes of bytearray"
    assert "`data`" in found.recommendations[0]


def test_a_text_that_grows_is_not_said_to_be_native_for_sure() -> None:
    texts = [""]

    def grow() -> None:
        texts[0] += "x" * 1000

    found = explain(grow, lost={"heap": 1000.0})
    assert "or one large object that grows (str, bytes, bytearray" in found.recommendations[0]


def test_a_large_object_that_moves_in_some_runs_is_told_by_the_line_that_makes_it_longer() -> None:
    """What malloc maps to have room for it is not what leaks."""
    texts, next_number = [""], counter()
    rooms: list[mmap.mmap] = []

    def make_longer() -> None:
        texts[0] += "x" * 12_000

    def grow() -> None:
        make_longer()
        if next_number() % 4 == 0:
            room = mmap.mmap(-1, 8 * 2**20)
            room.write(bytes(8 * 2**20))
            rooms.append(room)

    found = explain(grow, lost={"heap": 12_000.0, "resident": 53_000.0, "mapped": 53_000.0})
    assert found.grown_at[0].endswith(".make_longer")
    for room in rooms:
        room.close()


def test_a_survivor_is_not_its_own_holder() -> None:
    def leak() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(lambda: None))

    found = explained(leak)
    assert found.survivors[0].held_by == (NO_REFERRER,)
    assert "decref" in found.recommendations[0]


# -------------------------------------------------------------------------- native


def test_memory_of_no_object_is_native_with_the_line_that_led_to_it() -> None:
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p

    def leak() -> None:
        malloc(50_000)

    found = explained(leak)
    assert found.native
    assert re.match(r"native memory, .*: it grew .*test_attribution\.py", found.recommendations[0])
    assert found.survivors == ()
    assert re.search(r"test_attribution\.py:\d+ in \S*leak$", found.grown_at[0])


def test_native_memory_grew_at_neither_of_two_lines_that_take_as_much() -> None:
    heap = bytearray()

    def leak() -> None:
        heap.extend(bytes(400))
        heap.extend(bytes(410))
        del heap[-410:]

    assert native._profile(leak, lambda: len(heap), 400.0) == ((), None, None)


def test_native_memory_is_not_told_where_garbage_is_let_go_of_runs_later() -> None:
    heap = bytearray()

    class Cycle:
        def __init__(self) -> None:
            self.own = self

        def __del__(self) -> None:
            del heap[-300:]

    def leak() -> None:
        heap.extend(bytes(100))
        heap.extend(bytes(300))
        Cycle()

    frames, *_ = native._profile(leak, lambda: len(heap), 100.0)
    assert frames[0] == (__file__, leak.__code__.co_firstlineno + 1)


# In a process of its own: that of many tests may by now take its memory from an arena that isn't told of.
_TAKEN_AND_GIVEN_BACK = """
import ctypes
from pytest_memalert.attribution.allocation.heap import open_heap_reader
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
read = open_heap_reader()
levels = [read(), 0, 0]
blocks = [library.malloc(200) for _ in range(5)]
levels[1] = read()
for block in blocks:
    library.free(block)
levels[2] = read()
print(levels[1] - levels[0], levels[2] - levels[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed like that")
def test_memory_that_malloc_keeps_for_the_thread_counts_where_it_is_taken_and_given_back() -> None:
    """A line that took what an earlier one had freed seemed to take nothing, and the next one all of it."""
    done = subprocess.run([sys.executable, "-c", _TAKEN_AND_GIVEN_BACK], capture_output=True, check=True)
    assert done.stdout.split() == [b"1040", b"-1040"]


def test_objects_that_come_and_go_do_not_explain_what_the_heap_alone_loses() -> None:
    """A log that is full gets an entry for each that it drops: there are no more blocks."""
    malloc = ctypes.CDLL(None).malloc
    malloc.argtypes, malloc.restype = [ctypes.c_size_t], ctypes.c_void_p

    def leak() -> None:
        malloc(300)
        KEEP.append(Entry())

    found = explain(leak, lost={"heap": 304.0})
    assert found.native
    assert found.survivors == ()
    assert [survivor.type for survivor in explain(leak, lost={"heap": 304.0, "blocks": 3.0}).survivors]


def test_native_memory_grew_where_it_did_in_most_runs_in_the_function_of_c_that_was_active() -> None:
    heap, number = bytearray(), counter()

    def leak() -> None:
        if number() == 0:
            heap.extend(bytes(8 * 300))  # noise, by chance as much as eight runs leak
        heap.extend(bytes(400))

    frames, function, module = native._profile(leak, lambda: len(heap), 300.0)
    assert frames[0] == (__file__, leak.__code__.co_firstlineno + 3)
    assert (function, module) == ("bytearray.extend", "builtins")


def test_native_memory_grew_at_the_line_that_called_what_is_no_event() -> None:
    heap = bytearray()
    # As with ctypes' and Cython's functions, no profiler is told of a call of these.
    take, take_less = (functools.partial(heap.extend, bytes(size)) for size in (9000, 3000))

    def leak() -> None:
        take()
        take_less()
        del heap[-9000:]

    frames, *_ = native._profile(leak, lambda: len(heap), 3000.0)
    assert frames[0] == (__file__, leak.__code__.co_firstlineno + 2)


def test_test_that_looks_for_a_tracer_is_watched_without_one() -> None:
    heap = bytearray()

    def leak() -> None:
        assert sys.gettrace() is None
        heap.extend(bytes(400))

    frames, *_ = native._profile(leak, lambda: len(heap), 400.0)
    assert frames[0] == (__file__, leak.__code__.co_firstlineno + 2)
    assert sys.gettrace() is None


def test_names_of_the_environment_are_told_to_be_kept_by_the_c_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = counter()

    def leak() -> None:
        monkeypatch.setenv(f"MEMALERT_{number()}", "x" * 500)
        monkeypatch.undo()

    for _ in range(50):
        leak()
    found = explain(leak, lost={"heap": 500.0})
    assert "the C library keeps each name and value that os.environ was ever given" in str(
        found.recommendations
    )


def test_lines_are_not_followed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_watch, "_FOLLOWING_S", 0.0)
    heap = bytearray()
    traced = []

    def leak() -> None:
        heap.extend(bytes(400))
        traced.append(sys.gettrace() is not None)

    frames, *_ = native._profile(leak, lambda: len(heap), 400.0)
    assert frames[0] == (__file__, leak.__code__.co_firstlineno + 1)
    assert not any(traced)


# ----------------------------------------------------------------------- signature


def test_two_tests_with_one_leak_have_one_signature() -> None:
    def first() -> None:
        register()

    def second() -> None:
        for _ in range(3):
            register()

    def register() -> None:
        Entry.registry.append(Entry())

    assert explained(first).signature == explained(second).signature


def test_the_signature_has_no_count_and_no_line() -> None:
    signature = explained(lambda: KEEP.append([1])).signature
    assert signature is not None
    assert not re.search(r":\d|\bof \d", signature)


def test_the_signature_has_no_counter_of_generated_code() -> None:
    def made(number: int) -> Callable[[], None]:
        generated = type(f"Wrapper_{number}", (), {"__module__": "generated"})
        return lambda: KEEP.append(generated())

    first, second = explained(made(7)).signature, explained(made(12)).signature
    assert first == second
    assert "generated.Wrapper_#" in (first or "")


def test_the_signature_is_the_same_from_every_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parent.parent
    here = explain(lambda: KEEP.append([1]), root=root).signature
    monkeypatch.chdir(tmp_path)
    assert explain(lambda: KEEP.append([1]), root=root).signature == here
    assert "tests/test_attribution.py in " in (here or "")


def test_leaks_held_elsewhere_have_another_signature() -> None:
    def leak(container: list[object]) -> None:
        container.append([1])

    one = explained(functools.partial(leak, KEEP)).signature
    assert one != explained(functools.partial(leak, CALLBACKS)).signature


# ------------------------------------------------------------------ no harm is done


class Hostile:
    """Do harm whenever any of its code runs."""

    def __init__(self) -> None:
        object.__setattr__(self, "payload", [1])

    def harm(self, *_: object) -> Any:
        HARM.append(1)
        raise RuntimeError("code of the survivor was run")

    __repr__ = __str__ = __eq__ = __hash__ = __len__ = __bool__ = __sizeof__ = harm
    __getattribute__ = __setattr__ = __iter__ = __contains__ = __format__ = harm
    __class__ = property(harm)


class HostileDict(dict[Any, Any]):
    def harm(self, *_: object) -> Any:
        HARM.append(1)
        raise RuntimeError("code of the container was run")

    __len__ = __iter__ = __contains__ = __getitem__ = __repr__ = __eq__ = harm
    items = keys = values = harm
    __hash__ = None


class HostileMeta(type):
    def harm(cls, *_: object) -> Any:
        HARM.append(1)
        raise RuntimeError("code of the metaclass was run")

    __hash__ = __eq__ = __instancecheck__ = __subclasscheck__ = __repr__ = harm


HARM: list[int] = []


@pytest.mark.parametrize("kind", [Hostile, HostileDict])
def test_no_code_of_a_survivor_is_run(kind: type) -> None:
    HARM.clear()
    found = explained(lambda: KEEP.append(kind()))
    assert found.survivors[0].type == f"{__name__}.{kind.__name__}"
    assert found.survivors[0].held_by[1].startswith("KEEP: list")
    assert HARM == []


def test_no_code_of_a_container_is_run() -> None:
    HARM.clear()
    number = counter()
    container = HostileDict()
    KEEP.append(container)
    found = explained(lambda: dict.__setitem__(container, number(), [1]))
    assert "list" in {s.type for s in found.survivors}
    assert HARM == []


def test_no_code_of_a_metaclass_is_run() -> None:
    kind = HostileMeta("Made", (), {})
    HARM.clear()
    found = explained(lambda: KEEP.append(kind()))
    assert found.survivors[0].type.endswith("Made")
    assert HARM == []


def test_the_survivors_die_once_their_holder_drops_them() -> None:
    died: list[int] = []

    class Mortal:
        def __del__(self) -> None:
            died.append(1)

    explained(lambda: KEEP.append(Mortal()))
    kept = len(KEEP)
    KEEP.clear()
    gc.collect()
    assert len(died) == kept


def test_nothing_stays_frozen_or_traced() -> None:
    before = gc.get_freeze_count()
    explained(lambda: KEEP.append([1]))
    assert gc.get_freeze_count() <= before
    assert not tracemalloc.is_tracing()


def test_what_was_there_before_is_not_counted_where_the_user_traces() -> None:
    """It has a trace then, as what the runs left."""
    tracemalloc.start()
    try:
        KEEP.extend(bytearray(100_000) for _ in range(10))
        found = explained(lambda: KEEP.append(bytearray(100_000)))
    finally:
        tracemalloc.stop()
    assert [(each.type, each.count) for each in found.survivors] == [("bytearray", 1)]


def test_a_run_that_raises_is_told_as_the_reason() -> None:
    def run() -> None:
        raise ValueError("no")

    found = explain(run)
    assert found.reason == "the re-run raised ValueError"
    assert found.survivors == ()


def test_a_run_that_is_no_evidence_is_told_as_the_reason() -> None:
    assert explain(lambda: "it failed this time").reason == "it failed this time"


def test_a_test_that_fails_only_while_frozen_is_explained_unfrozen() -> None:
    def run() -> str | None:
        KEEP.append([1])
        return "frozen" if gc.get_freeze_count() > 10_000 else None

    found = explain(run)
    assert "list" in {s.type for s in found.survivors}


def test_modules_that_are_no_modules_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    HARM.clear()
    monkeypatch.setitem(sys.modules, "hostile", Hostile())
    assert explained(lambda: KEEP.append([1])).survivors
    assert HARM == []


def test_the_free_lists_of_a_module_are_not_touched() -> None:
    """Up to CPython 3.12.2 references to dead objects from there hang the next collection."""
    import _asyncio

    assert referents_of(_asyncio) == [vars(_asyncio)]
