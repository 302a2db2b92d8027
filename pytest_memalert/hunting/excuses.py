"""Why growth of memory that no object shows may be no leak."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pytest_memalert.hunting.other_threads import OtherThreads
from pytest_memalert.hunting.traced_runs import stops_tracing
from pytest_memalert.leaks.noise import follows_objects, is_creep
from pytest_memalert.leaks.readings import Reading
from pytest_memalert.model import Signal
from pytest_memalert.records import record

__all__ = ["Excuse", "excuse_of_heap", "excuse_of_resident"]

_CREEPS = "resident memory creeps by less than a page per run, as gaps do where objects come and go"
_FOLLOWS = "resident memory follows objects that come and go over many runs"
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
    lost: Mapping[Signal, float], readings: Sequence[Reading], *, blocks: float, runs: int
) -> Excuse | None:
    """Return why what each of so many runs adds to resident memory alone is no leak, or may be none.

    ``blocks`` is how many blocks more there are after each run.
    """
    if is_creep(lost, blocks=blocks):
        return Excuse(reason=_CREEPS)
    return Excuse(status="unclear", reason=_FOLLOWS) if follows_objects(lost, readings, runs=runs) else None


def excuse_of_heap(
    lost: Mapping[Signal, float], *, run: Callable[[], str | None], runs: int, others: OtherThreads
) -> Excuse | None:
    """Return why what each run adds to malloc's heap, and to nothing that is counted, may be no leak.

    ``run`` may be called once more.
    """
    if not {"heap"} <= {*lost} <= {"heap", "resident", "mapped"}:
        return None
    if lost["heap"] < _LOST_BY_TRACING_BYTES and stops_tracing(run):
        return Excuse(status="unclear", reason=_TRACES)
    if lost["heap"] < _LOST_TO_THREADS_BYTES and others.are_at_work(runs):
        return Excuse(status="unclear", reason=_ARENAS)
    return None
