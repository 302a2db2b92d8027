"""What the growth of a leak is called in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytest_memalert.model import SignalGrowth
from pytest_memalert.units import format_mean

__all__ = ["describe_growth", "enumerate_handles", "noun"]


def describe_growth(growth: Sequence[SignalGrowth]) -> str:
    """Return the growth in words: "+4 blocks and +1,048,592 bytes of heap in each of 8 runs"."""
    if not growth:
        return "no growth"
    told = {item.signal for item in growth}
    growth = [item for item in growth if not _is_implied(item, told)] or growth
    parts = [
        f"{format_mean(item.per_run, signed=True)} {noun(item.signal, one=item.per_run == 1)}"
        for item in growth
    ]
    runs = max(item.runs for item in growth)
    every = all(item.every_run for item in growth)
    when = f"in each of {runs:,} runs" if every else f"per run, over {runs:,} runs"
    if runs == 1:
        when = "in the last run"
    listed = ", ".join(parts[:-1])
    return f"{f'{listed} and ' if listed else ''}{parts[-1]} {when}"


def enumerate_handles(growth: Sequence[SignalGrowth]) -> list[str]:
    """Return what is left open or running, each in words: "1 open descriptor", "2 threads"."""
    return [
        f"{format_mean(item.per_run)} {noun(item.signal, one=item.per_run == 1)}"
        for item in growth
        if item.signal in ("descriptors", "threads")
    ]


def noun(signal: str, *, one: bool = False) -> str:
    """Return what a signal counts, in the plural unless it is one: "bytes of heap"."""
    nouns = {
        "blocks": ("block", "blocks"),
        "descriptors": ("open descriptor", "open descriptors"),
        "threads": ("thread", "threads"),
        "heap": ("byte of heap", "bytes of heap"),
        "resident": ("byte of resident memory", "bytes of resident memory"),
        "mapped": ("byte of mappings", "bytes of mappings"),
        "lists": ("byte in lists and buffers", "bytes in lists and buffers"),
    }
    return nouns[signal][not one]


def _is_implied(growth: SignalGrowth, told: Collection[str]) -> bool:
    """Return whether it is but what others become: blocks and heap are resident and mapped in the end."""
    if growth.signal in ("resident", "mapped"):
        return "heap" in told or ("blocks" in told and not growth.every_run)
    if "lists" in told and growth.signal == "heap":
        return True
    # A container's room is part of its entries.
    return growth.signal == "heap" and "blocks" in told and growth.per_run < 32
