"""What a hunt asks of whoever orders it, what it says with that, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_memalert.attribution.composition import Kinds
from pytest_memalert.hunting.excuses import Excuse
from pytest_memalert.model import Signal
from pytest_memalert.records import record

__all__ = ["IN_MOST_RUNS", "Bounded", "Known", "Left", "Recognize", "SeenRuns"]

#: Takes what one run left behind, and how to learn what keeps it; returns what is known of such a leak.
Recognize = Callable[["Left", Callable[[], Mapping[int, int]]], "Known | None"]
#: Says why growth of so much per run, by signal, seen in such runs, is no leak after all, or may be none;
#: None where it is one.
Bounded = Callable[[Mapping[Signal, float], "SeenRuns"], "Excuse | None"]

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
