"""Resident memory that no allocation explains: an allocator's, in pieces, and not compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_memalert.gate.allowances import ALLOWANCES
from pytest_memalert.gate.baseline import ALLOCATED, Entry

__all__ = ["LARGEST_BLOCK_BYTES", "gives_back", "without_fragments", "without_session_fragments"]

#: What Python takes from malloc is no block of its own, and seen in the growth.
LARGEST_BLOCK_BYTES = 512
# Arenas that hold a few objects of many stay resident after a test that needed much: up to 9 % of its peak in
# further runs of one with threads (more-itertools).
_FRAGMENTED_SHARE = 0.25


def without_fragments(values: Mapping[str, float]) -> dict[str, float]:
    """Return a run's figures, with resident memory that no allocation explains left out of its growth.

    What is resident beyond what malloc handed out and beyond new blocks, at their largest, is an
    allocator's memory in pieces where it is little beside the peak; else the test mapped it itself.
    What new blocks explain is told by their number, where they are enough to be compared: in which run
    their arenas become resident is chance.
    """
    resident, peak = values.get("rss_growth_bytes"), values.get("peak_bytes")
    if resident is None or peak is None or "blocks_growth" not in values:
        return dict(values)
    heap_bytes, blocks = max(0.0, values.get("heap_growth_bytes", 0.0)), max(0.0, values["blocks_growth"])
    unexplained_bytes = resident - heap_bytes - LARGEST_BLOCK_BYTES * blocks
    are_compared = blocks > ALLOWANCES.of_tests["blocks_growth"].floor
    if not (0 < unexplained_bytes <= _FRAGMENTED_SHARE * peak or (unexplained_bytes <= 0 and are_compared)):
        return dict(values)
    return {**values, "growth_bytes": heap_bytes}  # blocks are a figure of their own


def gives_back(figures: Sequence[Mapping[str, float]]) -> bool:
    """Return whether what further runs grew by was not there any more when the next one began.

    An allocator's arenas become resident in each run, and are given back between two: the level after all of
    them is that after the first. Only where neither the heap nor blocks account for it.
    """
    later = figures[1:]
    levels = [values.get("rss_bytes") for values in figures]
    if not later or levels[0] is None or levels[-1] is None:
        return False
    grown_bytes = sum(values.get("rss_growth_bytes", 0.0) for values in later)
    held_bytes = sum(values.get("heap_growth_bytes", 0.0) for values in later)
    held_bytes += LARGEST_BLOCK_BYTES * sum(values.get("blocks_growth", 0.0) for values in later)
    return max(held_bytes, levels[-1] - levels[0]) < grown_bytes / 2


def without_session_fragments(entry: Entry, values: Mapping[str, float]) -> Mapping[str, float]:
    """Return a session's figures without the resident memory that no allocation explains at its end.

    What is resident beyond the baseline's, and neither malloc nor new blocks, at their largest, account for,
    is an allocator's memory in pieces: of an unchanged session it was 107 MiB (more-itertools).
    """
    resident, heap, blocks = (entry.figure(name) for name in ("rss_bytes", "heap_bytes", ALLOCATED))
    if resident is None or heap is None or blocks is None:
        return values
    if not {"rss_bytes", "heap_bytes", ALLOCATED} <= values.keys():
        return values
    allocated_bytes = max(0.0, values["heap_bytes"] - heap.median)
    allocated_bytes += LARGEST_BLOCK_BYTES * max(0.0, values[ALLOCATED] - blocks.median)
    pieces_bytes = max(0.0, values["rss_bytes"] - resident.median - allocated_bytes)
    found = {**values, "rss_bytes": values["rss_bytes"] - pieces_bytes}
    if "rss_peak_bytes" in values:
        found["rss_peak_bytes"] = values["rss_peak_bytes"] - pieces_bytes
    return found
