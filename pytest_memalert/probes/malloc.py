"""What the C library's malloc holds on to: given back, and kept the same from run to run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

__all__ = ["fix_thresholds", "refuse_huge_pages", "trim_heap"]

_M_MMAP_THRESHOLD = -3
# glibc's own first value: mallopt(3).
_MMAP_THRESHOLD_BYTES = 128 * 1024
# prctl(2); its other arguments are 0.
_PR_SET_THP_DISABLE = 41


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
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    mallopt = _function_of_c("mallopt")  # musl has none
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES))


def refuse_huge_pages() -> bool:
    """Have Linux give this process no transparent huge pages; return whether it will.

    Where one byte is touched, 2 MiB become resident, or don't, as memory is to be had and neighbors were
    advised: numpy asks for them (``madvise``) for arrays of 4 MiB, in a range that other blocks get later.
    The same test then has another resident peak, again and again, in one process or the next.
    """
    prctl = _function_of_c("prctl")
    return prctl is not None and bool(prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0)


def _function_of_c(name: str) -> Callable[..., int] | None:
    """Return a function of Linux's C library; None elsewhere, or where it has none of this name."""
    if sys.platform != "linux":
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), name, None)
