"""What a hunt asks of whoever orders it, what it says with that, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_memalert.attribution.composition import Kinds
from pytest_memalert.hunting.excuses import Excuse
from pytest_memalert.model import Signal
from pytest_memalert.records import record

__all__ = ["IN_MOST_RUNS", "Bounded", "Filling", "Known", "Left", "Questions", "Recognize", "SeenRuns"]

#: Takes what one run left behind, and how to learn what keeps it; returns what is known of such a leak.
Recognize = Callable[["Left", Callable[[], Mapping[int, int]]], "Known | None"]
#: Says why growth of so much per run, by signal, seen in such runs, is no leak after all, or may be none;
#: None where it is one.
Bounded = Callable[[Mapping[Signal, float], "SeenRuns"], "Excuse | None"]

#: Says, of growth of so much per run, by signal, that it is a cache's which so many further runs don't fill.
Filling = Callable[[Mapping[Signal, float], int], "Excuse | None"]

#: What shows in a smaller share of the runs shows in few.
IN_MOST_RUNS = 0.7


@record(frozen=True, slots=True, kw_only=True)
class Left:
    """Hold what one run left behind: these types, so many times, in blocks and in bytes of the heap."""

    kinds: Kinds
    times: int
    blocks: float
    heap_bytes: float


@record(frozen=True, slots=True, kw_only=True)
class SeenRuns:
    """Say how many runs there were, which share of them left something, and how many blocks as a rule.

    From the run ``alike_from`` on each left as many.
    """

    count: int
    share: float
    usual_blocks: float
    alike_from: int

    def has_outlasted(self, limit: int) -> bool:
        """Return whether as many runs as fill a cache of this limit left just as much once it was full."""
        return self.count - max(self.alike_from, limit) >= limit


@record(frozen=True, slots=True, kw_only=True)
class Known:
    """Hold what was found before of a leak that is met again, or why it is none."""

    bytes_per_run: float | None = None
    harmless: str | None = None


@record(frozen=True, slots=True, kw_only=True)
class Questions:
    """Hold what a hunt asks, each where there is somebody to answer it.

    ``recognize`` is asked after two runs that both left blocks behind: what the second of them left may
    be a leak that was confirmed before, down to its types and blocks.
    ``is_known`` is asked once growth is proven in eight runs: True says that this leak has
    been confirmed before, so that its shape need not be watched further. So is ``filling``, where there is no
    time for as many runs as outlast a cache: an excuse is the verdict. ``bounded`` is asked
    before a leak is told, with what each run leaves by signal, and whether there were fewer runs than a
    cache takes to fill: an excuse such as "bounded: 37 of 1,000" makes the verdict "clean", or "unclear".
    Those three are called unfrozen and may run the operation themselves.
    """

    recognize: Recognize | None = None
    is_known: Callable[[], bool] | None = None
    filling: Filling | None = None
    bounded: Bounded | None = None
