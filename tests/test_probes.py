"""Readings of this process, and windows over a scripted high-water mark."""

from __future__ import annotations

import gc
import mmap
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_memalert.collector import collect_young
from pytest_memalert.model import Probe
from pytest_memalert.probes import peak
from pytest_memalert.probes.demand import DEMAND_READINGS
from pytest_memalert.probes.malloc import fix_thresholds
from pytest_memalert.probes.memory import (
    Rationed,
    free_bytes,
    open_heap_reader,
    open_rss_reader,
    shared_bytes,
)
from pytest_memalert.probes.peak import KernelMark, PeakWindows, open_peak_windows, share_peak_windows
from pytest_memalert.probes.procfs import STATM, ProcFile
from pytest_memalert.probes.sampler import Sampler

MIB = 2**20
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc/self is Linux's")


class ScriptedMark:
    """A high-water mark over a level that the test sets."""

    def __init__(self) -> None:
        self.level = self.highest = 100

    def go(self, *levels: int) -> None:
        """Move to each level in turn."""
        for self.level in levels:
            self.highest = max(self.highest, self.level)

    def reset(self) -> None:
        """Begin anew."""
        self.highest = self.level

    def read(self, level_bytes: int | None = None) -> int | None:
        """Return the highest since."""
        return self.highest

    def stop(self) -> None:
        """Do nothing."""


class BrokenMark(ScriptedMark):
    """A mark that can't be read any more."""

    def read(self, level_bytes: int | None = None) -> int | None:
        """Fail as a closed descriptor does."""
        raise OSError("gone")


# ------------------------------------------------------------------ windows


def test_window_sees_its_own_highest_only() -> None:
    """Not what was before it."""
    mark = ScriptedMark()
    windows = PeakWindows(mark)
    mark.go(500, 100)
    window = windows.open()
    mark.go(300, 120)
    assert windows.close(window).highest_bytes == 300


def test_inner_windows_peak_is_the_outer_ones_too() -> None:
    """What was before and after it isn't the inner one's."""
    mark = ScriptedMark()
    windows = PeakWindows(mark)
    outer = windows.open()
    mark.go(200, 100)
    inner = windows.open()
    mark.go(300, 100)
    windows.close(inner)
    mark.go(250, 100)
    windows.close(outer)
    assert inner.highest_bytes == 300
    assert outer.highest_bytes == 300


def test_window_apart_is_not_the_outer_ones() -> None:
    """A wider fixture's spike isn't the test's."""
    mark = ScriptedMark()
    windows = PeakWindows(mark)
    outer = windows.open()
    apart = windows.open(apart=True)
    mark.go(900, 150)
    windows.close(apart, shift_bytes=50)
    mark.go(170)
    windows.close(outer)
    assert apart.highest_bytes == 900
    assert outer.highest_bytes == 170
    assert outer.own_highest_bytes == 120


def test_what_was_at_work_between_two_windows_is_neither_ones() -> None:
    """Nor is its peak taken for the present level, at which a window needs no reset."""
    mark = ScriptedMark()
    windows = PeakWindows(mark)
    mark.go(100)
    windows.close(windows.open(level_bytes=100))
    mark.go(900, 100)
    windows.forget()
    assert windows.close(windows.open(level_bytes=100)).highest_bytes == 100


def test_peeking_leaves_the_window_open() -> None:
    """It may go higher still."""
    mark = ScriptedMark()
    windows = PeakWindows(mark)
    window = windows.open()
    mark.go(200)
    assert windows.peek(window).highest_bytes == 200
    mark.go(300)
    assert windows.close(window).highest_bytes == 300


def test_mark_that_can_not_be_read_is_no_data() -> None:
    """Neither an error nor zero."""
    windows = PeakWindows(BrokenMark())
    assert windows.close(windows.open()).highest_bytes is None


def test_sampling_thread_sees_a_spike_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no mark; it isn't among the threads that tests list."""
    monkeypatch.setattr(sys, "platform", "unknown")
    level = {"rss": 100}
    read_twice = threading.Event()
    reads: list[int] = []

    def read_rss() -> int:
        reads.append(level["rss"])
        if reads.count(900) > 1:
            read_twice.set()
        return level["rss"]

    threads = threading.active_count()
    windows = open_peak_windows(read_rss, interval_s=0.001)
    assert threading.active_count() == threads
    window = windows.open()
    level["rss"] = 900
    assert read_twice.wait(30)
    level["rss"] = 100
    assert windows.close(window).highest_bytes == 900
    windows.stop()
    time.sleep(0.02)
    so_far = len(reads)
    time.sleep(0.02)
    assert len(reads) == so_far


def test_reading_of_the_sampling_thread_from_before_a_window_is_not_the_windows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was under way when the window began."""
    monkeypatch.setattr(sys, "platform", "unknown")
    here = threading.get_ident()
    is_reading, may_go_on, has_read_again = threading.Event(), threading.Event(), threading.Event()

    def read_rss() -> int:
        if threading.get_ident() == here:
            return 10
        if not is_reading.is_set():
            is_reading.set()
            may_go_on.wait(30)
            return 100
        has_read_again.set()
        return 10

    windows = open_peak_windows(read_rss, interval_s=0.001)
    assert is_reading.wait(30)
    window = windows.open()
    may_go_on.set()
    assert has_read_again.wait(30)
    assert windows.close(window).highest_bytes == 10
    windows.stop()


def test_mark_that_is_shared_is_kept_for_its_last_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_shared", None)
    monkeypatch.setattr(sys, "platform", "unknown")
    here = threading.get_ident()
    looked = threading.Event()

    def read_rss() -> int:
        if threading.get_ident() != here:
            looked.set()
        return 100

    windows = share_peak_windows(read_rss, interval_s=0.001)
    assert share_peak_windows(read_rss, interval_s=0.001) is windows
    windows.stop()
    looked.clear()
    assert looked.wait(30)
    windows.stop()
    assert share_peak_windows(read_rss, interval_s=0.001) is not windows


@on_linux
def test_mark_that_a_larger_parent_hides_is_read_from_the_file() -> None:
    """getrusage() never tells less than what the process reached that was there before this one."""
    read_rss = open_rss_reader()
    hidden_kib = 2**32  # 4 TiB
    mark = KernelMark(read_rss, lambda: hidden_kib)
    mark.reset()
    level = read_rss() or 0
    spike = mmap.mmap(-1, 8 * MIB)
    for page in range(0, 8 * MIB, 4096):
        spike[page] = 1
    spike.close()
    for _ in range(2):
        highest = mark.read() or 0
        assert 7 * MIB < highest - level < 64 * MIB


@on_linux
def test_mark_is_never_below_the_present_level() -> None:
    """The kernel counts pages by processor: what getrusage() tells is a little late."""
    mark = KernelMark(lambda: 900 * 1024, iter((100, 300)).__next__)
    assert mark.read() == 900 * 1024


@on_linux
def test_inherited_mark_is_not_taken_for_a_peak_once_it_was_reached() -> None:
    """A worker is about as large as its controller: one peak reaches what the controller had needed."""
    read_rss = open_rss_reader()
    level = read_rss() or 0
    inherited_kib = level // 1024 + 4096
    mark = KernelMark(read_rss, lambda: inherited_kib)
    mark.reset()
    spike = mmap.mmap(-1, 8 * MIB)
    for page in range(0, 8 * MIB, 4096):
        spike[page] = 1
    spike.close()
    assert (mark.read() or 0) > inherited_kib * 1024
    mark.reset()
    assert (mark.read() or 0) < inherited_kib * 1024


# ----------------------------------------------------------------- readings


def test_resident_memory_and_heap_follow_an_allocation() -> None:
    """Each by about its size."""
    read_rss, read_heap = open_rss_reader(), open_heap_reader()
    rss_before, heap_before = read_rss(), read_heap() if read_heap else None
    kept = b"x" * 40 * MIB
    rss_after, heap_after = read_rss(), read_heap() if read_heap else None
    assert len(kept) == 40 * MIB
    assert rss_before is not None
    assert rss_after is not None
    assert rss_after > 20 * MIB
    if heap_before is not None and heap_after is not None:
        assert 39 * MIB < heap_after - heap_before < 42 * MIB


@on_linux
def test_reading_survives_its_closed_descriptor() -> None:
    """Tests close descriptors that aren't theirs."""
    file = ProcFile("statm", size_bytes=96)
    first = file.read()
    os.close(file._fd)
    assert len(file.read().split()) == len(first.split())


@on_linux
def test_reading_survives_a_descriptor_that_became_another_file() -> None:
    """And leaves that file alone."""
    read_rss = open_rss_reader()
    assert read_rss()
    ours = STATM._fd
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, ours)
    assert read_rss()
    assert os.read(ours, 1) == b""
    os.close(ours)
    os.close(null)


@on_linux
def test_samplers_share_their_descriptors() -> None:
    """They are never closed: a process in which a thousand sessions run would have none left."""
    Sampler(["peak"]).take()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        Sampler(["peak"]).take()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_expensive_reading_is_rationed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is None once it has taken more than its share of the time."""
    now = {"s": 0.0}
    monkeypatch.setattr("pytest_memalert.probes.memory.elapsed_s", lambda: now["s"])

    def read() -> int:
        now["s"] += 1
        return 7

    rationed = Rationed(read)
    # A single dear reading could be another process' doing: the second one in a row is charged.
    assert [rationed() for _ in range(4)] == [7, 7, None, None]
    now["s"] += 1000
    assert rationed() == 7


def test_cheap_reading_is_never_rationed(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is taken."""
    now = {"s": 0.0}
    monkeypatch.setattr("pytest_memalert.probes.memory.elapsed_s", lambda: now["s"])

    def read() -> int:
        now["s"] += 0.00005
        return 7

    rationed = Rationed(read)
    assert {rationed() for _ in range(1000)} == {7}


# ------------------------------------------------------------------ sampler


def test_sample_has_only_what_is_wanted() -> None:
    """The rest costs more than it tells."""
    plain = Sampler(())
    assert plain.take().extra == {}
    assert plain.take().blocks is None
    assert plain.peaks is None


@pytest.mark.parametrize("rationed", [True, False])
def test_heap_is_read_at_any_price_only_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, rationed: bool
) -> None:
    """A gate must see what a test keeps; measuring must not cost more than it tells."""
    now = {"s": 0.0}
    monkeypatch.setattr("pytest_memalert.probes.memory.elapsed_s", lambda: now["s"])

    def read() -> int:
        now["s"] += 1
        return 7

    monkeypatch.setattr("pytest_memalert.probes.sampler.open_heap_reader", lambda: read)
    sampler = Sampler((), rationed=rationed)
    assert (None in [sampler.take().heap_bytes for _ in range(5)]) is rationed


@pytest.mark.parametrize("refusal", [PermissionError(13, "denied"), psutil.AccessDenied()])
def test_what_psutil_may_not_read_is_not_known(monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    assert free_bytes() is None
    monkeypatch.setattr(psutil.Process, "memory_info", refuse)
    assert shared_bytes() is None


def test_every_reading_on_demand_is_had_or_its_lack_explained() -> None:
    """Whatever the platform."""
    names = {"cpu": "cpu_s", "disk": "disk_read_bytes", "net": "net_sent_bytes", "uss": "uss_bytes"}
    sampler = Sampler(DEMAND_READINGS)
    if sampler.children is not None:
        sampler.children.start_test()
    extra = {**sampler.take().extra, **sampler.read_children()}
    for reading in ("fds", "threads", "cpu", "disk", "net", "uss"):
        assert (names.get(reading, reading) in extra) is (reading not in sampler.missing)
    assert extra.get("children_rss_bytes") == (None if "children" in sampler.missing else 0)


def test_probe_of_others_is_read_and_its_trouble_is_no_data() -> None:
    """It raises, or returns something that is no number."""

    def probe(name: str, read: Callable[[], Any]) -> Probe:
        return Probe(name=name, unit="count", read=read)

    sampler = Sampler(
        (), probes=[probe("good", lambda: 3), probe("bad", lambda: 1 / 0), probe("odd", lambda: "3")]
    )
    assert sampler.take().extra == {"good": 3}


@pytest.mark.parametrize("exact", [True, False])
def test_fresh_sample_stands_for_the_one_before_the_next_test(exact: bool) -> None:
    """Where a millisecond hasn't passed, unless every block counts."""
    sampler = Sampler(["blocks"], exact=exact)
    last = sampler.take()
    kept = [object() for _ in range(100)]
    now = sampler.take(since=last)
    assert now.blocks is not None
    assert last.blocks is not None
    if now.at_s - last.at_s < 0.0005:
        assert (now.blocks == last.blocks) is not exact
    time.sleep(0.002)
    later = sampler.take(since=last).blocks
    assert later is not None
    assert later >= last.blocks + len(kept)


@pytest.mark.parametrize("has_survived_one", [False, True])
def test_cyclic_garbage_is_gone_after_the_screening_collection(has_survived_one: bool) -> None:
    """What came since the last one is visited, and nothing older."""

    class Node:
        pass

    collect_young()
    gone: list[int] = []
    node = Node()
    node.me = node  # type: ignore[attr-defined]
    weakref.finalize(node, gone.append, 1)
    if has_survived_one:
        gc.collect(0)
    del node
    collect_young()
    assert gone == [1]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="young objects are all that it counts there")
def test_the_screening_collection_lets_no_full_one_follow() -> None:
    """Ten of generation 1 do."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        collect_young()
        before = gc.get_count()[2]
        for _ in range(30):
            collect_young()
        after = gc.get_count()[2]
    finally:
        if was_enabled:
            gc.enable()
    assert after == before


# ------------------------------------------------------------------- malloc

_PEAK_OF_A_LIST = """
from pytest_memalert.probes.malloc import fix_thresholds, trim_heap
from pytest_memalert.probes.memory import open_rss_reader
from pytest_memalert.probes.peak import open_peak_windows
read_rss = open_rss_reader()
windows = open_peak_windows(read_rss, interval_s=0.001)
fixed = fix_thresholds()
blocks = [list(range(count * 30_000)) for count in range({lists})]
del blocks
trim_heap()
before = read_rss()
window = windows.open()
entries = []
for number in range(2_000_000):
    entries.append(None)
windows.close(window)
print(fixed, window.highest_bytes - before)
"""


@on_linux
def test_peak_does_not_depend_on_what_was_freed_before() -> None:
    """Once the thresholds of glibc's malloc are fixed; without, a list that grows is copied: 2 MiB more."""
    peaks = []
    for lists in (0, 10):
        code = _PEAK_OF_A_LIST.format(lists=lists)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        fixed, peak = done.stdout.split()
        if fixed != "True":
            pytest.skip("this C library has no such thresholds")
        peaks.append(int(peak))
    assert abs(peaks[0] - peaks[1]) < MIB


def test_thresholds_that_the_user_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, where glibc has read them."""
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000000")
    assert not fix_thresholds()


_ONE_BYTE_OF_A_HUGE_PAGE = """
import mmap
from pytest_memalert.probes.malloc import refuse_huge_pages
from pytest_memalert.probes.memory import open_rss_reader
refused = {refuse} and refuse_huge_pages()
memory = mmap.mmap(-1, 8 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
read_rss = open_rss_reader()
before = read_rss()
memory[5 * 2**20] = 1
print(refused, read_rss() - before)
"""


@on_linux
def test_one_byte_makes_no_huge_page_resident() -> None:
    """Where the kernel has such pages, and a library has asked for them."""
    grown = []
    for refuse in (False, True):
        code = _ONE_BYTE_OF_A_HUGE_PAGE.format(refuse=refuse)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        refused, size = done.stdout.split()
        if refuse and refused != "True":
            pytest.skip("this process may not refuse huge pages")
        grown.append(int(size))
    if grown[0] < 2 * MIB:
        pytest.skip("this kernel gives no huge pages")
    assert grown[1] < MIB
