"""What the C library's malloc holds on to: given back, and kept the same from run to run."""

from __future__ import annotations

import os
import sys

__all__ = ["fix_thresholds", "trim_heap"]

_M_MMAP_THRESHOLD = -3
# glibc's own first value: mallopt(3).
_MMAP_THRESHOLD_BYTES = 128 * 1024


def trim_heap() -> None:
    """Give free memory back to the system where the C library can, so that a new peak shows."""
    import psutil

    trim = getattr(psutil, "heap_trim", None)
    if trim is not None:
        try:
            trim()
        except (OSError, RuntimeError, psutil.Error):
            pass


def fix_thresholds() -> bool:
    """Have glibc's malloc treat a block the same whatever was freed before; return whether it will.

    It maps blocks of 128 KiB and more each on its own: they are resident while they are there, and not
    after. But once such a block is freed, others up to its size come from the heap, where a list that
    grows is copied instead of moved: a test has another peak after other tests, 15.3 or 17.2 MiB, say
    (benchmarks/malloc_thresholds.py). Setting the threshold to what it is anyway ends that, and has large
    blocks cost the system's work each time. Whoever has set it in the environment keeps what they have.
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES))
