"""Why growth of memory that no object shows may be no leak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pytest_memalert.hunting.other_threads import OtherThreads
from pytest_memalert.hunting.traced_runs import stops_tracing
from pytest_memalert.leaks.noise import follows_objects, is_creep
from pytest_memalert.leaks.readings import Reading
from pytest_memalert.model import Signal
from pytest_memalert.probes.memory import open_heap_reader, open_rss_reader, shared_bytes
from pytest_memalert.records import record

__all__ = ["Excuse", "excuse_of_heap", "excuse_of_resident", "excuse_of_tracing"]

_CREEPS = "resident memory creeps by less than a page per run, as gaps do where objects come and go"
_FOLLOWS = "resident memory follows objects that come and go over many runs"
_TOUCHES_FILES = "what it makes resident is of files, which the kernel takes back"
_TOUCHES_HEAP = "what malloc handed out before may be touched for the first time"
_RUNS = 3
_TRACES = "it uses tracemalloc, which loses memory itself each time that it is stopped"
# 500 bytes for each stop on 3.11 (benchmarks/tracemalloc_stops.py): a test may stop it fifty times.
_LOST_BY_TRACING_BYTES = 32 * 1024
# A server's thread, or one that it starts for each request, has an arena of malloc's own, which fills slowly.
_LOST_TO_THREADS_BYTES = 1024
_ARENAS = "so little of malloc's heap may be what other threads' arenas keep"


@record(frozen=True, slots=True, kw_only=True)
class Excuse:
    """Say why growth is no leak ("clean"), or may be none ("unclear")."""

    status: Literal["clean", "unclear"] = "clean"
    reason: str


def excuse_of_resident(
    lost: Mapping[Signal, float],
    readings: Sequence[Reading],
    *,
    blocks: float,
    runs: int,
    run: Callable[[], str | None],
) -> Excuse | None:
    """Return why what each of so many runs adds to resident memory alone is no leak, or may be none.

    ``blocks`` is how many blocks more there are after each run. ``run`` may be called a few times more.
    """
    if is_creep(lost, blocks=blocks):
        return Excuse(reason=_CREEPS)
    if follows_objects(lost, readings, runs=runs):
        return Excuse(status="unclear", reason=_FOLLOWS)
    if {*lost} != {"resident"}:
        return None
    if _touches_files(run, lost["resident"]):
        return Excuse(reason=_TOUCHES_FILES)
    return Excuse(status="unclear", reason=_TOUCHES_HEAP) if _has_untouched_heap() else None


def _touches_files(run: Callable[[], str | None], rss_bytes: float) -> bool:
    """Return whether most of what a run makes resident is of files, or shared with other processes."""
    before = shared_bytes()
    if before is None:
        return False
    for _ in range(_RUNS):
        if run() is not None:
            return False
    after = shared_bytes()
    return after is not None and after - before >= _RUNS * rss_bytes / 2


def _has_untouched_heap() -> bool:
    """Return whether malloc has handed out more than is resident at all, as far as that is known."""
    read_heap = open_heap_reader()
    heap_bytes = None if read_heap is None else read_heap()
    rss_bytes = open_rss_reader()()
    return heap_bytes is not None and rss_bytes is not None and heap_bytes > rss_bytes


def excuse_of_heap(
    lost: Mapping[Signal, float], *, run: Callable[[], str | None], runs: int, others: OtherThreads
) -> Excuse | None:
    """Return why what each run adds to malloc's heap, and to nothing that is counted, may be no leak.

    ``run`` may be called once more.
    """
    if not _is_of_heap_alone(lost):
        return None
    if lost["heap"] < _LOST_TO_THREADS_BYTES and others.are_at_work(runs):
        return Excuse(status="unclear", reason=_ARENAS)
    return excuse_of_tracing(lost, run=run)


def excuse_of_tracing(lost: Mapping[Signal, float], *, run: Callable[[], str | None]) -> Excuse | None:
    """Return why growth of the heap alone may be what tracemalloc loses; ``run`` may be called once more."""
    if not _is_of_heap_alone(lost) or lost["heap"] >= _LOST_BY_TRACING_BYTES or not stops_tracing(run):
        return None
    return Excuse(status="unclear", reason=_TRACES)


def _is_of_heap_alone(lost: Mapping[Signal, float]) -> bool:
    return {"heap"} <= {*lost} <= {"heap", "resident", "mapped"}
