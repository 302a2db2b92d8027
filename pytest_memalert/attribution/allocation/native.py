"""Native growth: memory that no Python object accounts for, and the Python code that led to it."""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import mean, median
from types import BuiltinFunctionType, FrameType, ModuleType

from pytest_memalert.attribution.allocation.heap import open_heap_reader
from pytest_memalert.attribution.allocation.line_watch import LineWatch
from pytest_memalert.attribution.allocation.sites import (
    Frame,
    is_framework,
    origin_of,
    stack_of,
    start_tracing,
    useful,
)
from pytest_memalert.attribution.objects import is_kind, type_module
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.collector import collect, frozen
from pytest_memalert.records import record

__all__ = ["LARGE_BYTES", "NativeGrowth", "measure_native_beside", "measure_native_growth"]

#: Objects of more bytes are malloc's; smaller ones Python keeps in arenas of its own.
LARGE_BYTES = 512

# Of two runs, the noise of a heap may look like the growth; of eight it is a small part of it.
_PROFILED_RUNS, _FEWEST_PROFILED = 8, 2
_PROFILING_S = 1.0
_Place = tuple[str, int]
#: Of what several runs changed, what one does as a rule.
_Usual = Callable[[Sequence[int]], float]
# What a place takes in so few runs may be so many times the growth, or that part of it.
_NEAR = 4
# Of two places, either may be the one where it stays if they differ by less than this share of it.
_IN_DOUBT = 0.25


@record(frozen=True, slots=True, kw_only=True)
class NativeGrowth:
    """Say by how much the heap grows in each run, and where it grew most.

    ``function`` is the one in C that was active then, ``module`` the one that this, or its class, is from.
    """

    bytes_per_run: float | None
    frames: tuple[Frame, ...] = ()
    function: str | None = None
    module: str | None = None
    reason: str | None = None


def measure_native_growth(
    run: Callable[[], str | None], *, runs: int, resident: bool = False
) -> NativeGrowth:
    """Run untraced and return the growth of the heap per run, with the frames active then.

    Of several places, the one is taken whose growth is nearest to it. ``resident`` memory is measured where
    what grows isn't malloc's.
    """
    read = _open_resident_reader() if resident else open_heap_reader()
    readings, reason = _read_after_each(run, read or (lambda: 0), runs=runs)
    if len(readings) < 2 or read is None:
        return NativeGrowth(bytes_per_run=None, reason=reason)
    changes = [after - before for before, after in pairwise(readings)]
    # A large object that grows may do so in steps, in some of the runs.
    usual = median if _are_mostly_growth(changes) else mean
    return _with_place(run, read, usual(changes), usual=usual, reason=reason)


def measure_native_beside(
    run: Callable[[], str | None], *, runs: int, least_bytes: float, resident: bool = False
) -> NativeGrowth | None:
    """Return what the heap grows by in most runs beyond what Python's allocators take; None if that is less.

    ``resident`` is as above. What is told of is what most runs add: a list that makes room, or an object
    that is kept now and then, is none of it.
    """
    read = _open_resident_reader() if resident else open_heap_reader()
    if read is None or tracemalloc.is_tracing():
        return None
    taken, reason = _read_after_each(run, read, runs=runs)
    if reason is not None or _usual_step(taken) < least_bytes:
        return None
    start_tracing(1)
    try:
        traced, reason = _read_after_each(run, _traced_bytes if resident else _traced_large_bytes, runs=runs)
        if not tracemalloc.is_tracing():  # stopped by the test, or for a sub-interpreter that it makes
            return None
    finally:
        tracemalloc.stop()
    native = _usual_step(taken) - _usual_step(traced)
    if reason is not None or native < least_bytes:
        return None
    return _with_place(run, read, native, usual=median, reason=None)


def _read_after_each(
    run: Callable[[], str | None], read: Callable[[], int], *, runs: int
) -> tuple[Sequence[int], str | None]:
    """Return what is read after the first run and after each of so many more; why there are no more."""
    readings: list[int] = [0] * (runs + 1)
    done = 0
    with frozen():  # each collection then visits only what the runs made
        for index in range(runs + 1):
            reason = attempt(run)
            if reason is not None:
                break
            collect()
            readings[index] = read()
            done = index + 1
    return readings[:done], reason


def _are_mostly_growth(changes: Sequence[int]) -> bool:
    return 4 * sum(change > 0 for change in changes) >= 3 * len(changes)


def _usual_step(readings: Sequence[int]) -> float:
    return median(after - before for before, after in pairwise(readings))


def _traced_bytes() -> int:
    return tracemalloc.get_traced_memory()[0]


def _traced_large_bytes() -> int:
    if not tracemalloc.is_tracing():
        return 0
    return sum(trace.size for trace in tracemalloc.take_snapshot().traces if trace.size > LARGE_BYTES)


def _with_place(
    run: Callable[[], str | None],
    read: Callable[[], int],
    measured: float,
    *,
    usual: _Usual,
    reason: str | None,
) -> NativeGrowth:
    frames: tuple[Frame, ...] = ()
    function = module = None
    if reason is None and sys.getprofile() is None:
        frames, function, module = _profile(run, read, measured, usual=usual)
    return NativeGrowth(
        bytes_per_run=measured, frames=useful(frames), function=function, module=module, reason=reason
    )


def _open_resident_reader() -> Callable[[], int]:
    import psutil

    memory_info = psutil.Process().memory_info
    return lambda: int(memory_info().rss)


def _profile(
    run: Callable[[], str | None],
    read: Callable[[], int],
    bytes_per_run: float,
    *,
    usual: _Usual = median,
) -> tuple[tuple[Frame, ...], str | None, str | None]:
    """Read the heap at every line, call and return; return the stack with the growth, and the C function.

    Memory freed elsewhere than where it was taken counts at both places: so the place nearest
    to the expected growth is taken, not the one with the most, by its ``usual`` growth in a run. One of
    pytest's only where no other comes near: it takes and frees much in each run, and some of that may look
    like the growth. Where another one comes about as near, one of the two gives it back later: which, can't
    be told, and so neither is taken.
    """
    watch, runs = _watched(run, read, follows_lines=sys.gettrace() is None)
    growth = {key: usual(watch.net[key][:runs]) for key in watch.stacks}

    def rank(key: _Place) -> tuple[bool, float]:
        return is_framework(watch.stacks[key]), abs(growth[key] - bytes_per_run)

    near = [
        key
        for key in watch.stacks
        if bytes_per_run / _NEAR <= growth[key] <= bytes_per_run * _NEAR and origin_of(key[0]) != "own"
    ]
    if not near or bytes_per_run <= 0:
        return (), None, None  # spread over many places, or grown in another thread
    best, *others = sorted(near, key=rank)
    is_own, distance = rank(best)
    if others and rank(others[0]) <= (is_own, distance + _IN_DOUBT * bytes_per_run):
        return (), None, None
    called = watch.functions.get(best)
    return watch.stacks[best], *(called.most_common(1)[0][0] if called else (None, None))


def _watched(
    run: Callable[[], str | None], read: Callable[[], int], *, follows_lines: bool
) -> tuple[_HeapWatch, int]:
    """Return what was seen, and in how many runs."""
    watch, runs = _HeapWatch(read, follows_lines=follows_lines), 0
    with frozen(), watch:  # each collection then visits only what the runs made
        while runs < _PROFILED_RUNS and (runs < _FEWEST_PROFILED or watch.worked_s() < _PROFILING_S):
            runs += 1
            if watch.observe(run) is not None:
                break
        else:
            return watch, runs
    # It may look at sys.gettrace() itself.
    return _watched(run, read, follows_lines=False) if follows_lines else (watch, runs)


class _HeapWatch(LineWatch):
    """Notice where the heap grows and shrinks while runs are observed."""

    def __init__(self, read: Callable[[], int], *, follows_lines: bool) -> None:
        super().__init__(follows_lines=follows_lines)
        self._read = read
        self._last_bytes = 0
        #: What each place took and gave back, run by run.
        self.net: dict[_Place, list[int]] = {}
        self.stacks: dict[_Place, tuple[Frame, ...]] = {}
        self.functions: dict[_Place, Counter[tuple[str | None, str | None]]] = {}
        self._run = -1

    def observe(self, run: Callable[[], str | None]) -> str | None:
        """Run the test once; return None, or the reason why that is no evidence."""
        self._run += 1
        problem = super().observe(run)
        collect()  # else what is garbage by now would go in the middle of a later run
        return problem

    def _concerns(self, frame: FrameType) -> bool:
        """Return whether the line matters: to read the heap takes 0.2 ms."""
        return origin_of(frame.f_code.co_filename) not in ("framework", "own")

    def _begin(self) -> None:
        self._last_bytes = self._read()

    def _note(self, active: FrameType, line: int) -> None:
        growth = self._read() - self._last_bytes
        if not growth:
            return
        key = (active.f_code.co_filename, line)
        if self._running and self._running[-1][0] is active:
            self.functions.setdefault(key, Counter())[_name_of(self._running[-1][1])] += growth
        self.net.setdefault(key, [0] * _PROFILED_RUNS)[self._run] += growth
        if growth > 0 and key not in self.stacks:
            self.stacks[key] = (key, *stack_of(active.f_back))


def _name_of(function: object) -> tuple[str | None, str | None]:
    """Return the name of a function in C, and of the module that it, or its class, is from."""
    if not is_kind(function, BuiltinFunctionType):
        return None, None
    owner = function.__self__  # type: ignore[attr-defined]
    module = type_module(type(owner)) if owner is not None and not is_kind(owner, ModuleType) else None
    return function.__qualname__, module or function.__module__  # type: ignore[attr-defined]
