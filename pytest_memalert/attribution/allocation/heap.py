"""How much of the heap is taken, to the block where the C library is glibc."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["open_heap_reader"]

#: glibc keeps what is freed for the thread that freed it: of each size so many, since 2.42 so many.
_KEPT, _KEPT_SINCE_2_42 = 7, 16
_SIZES, _STEP_BYTES = 64, 16
#: A block may be larger than was asked for, by a remainder too small to be one: others are tried.
_TRIES = 3


def open_heap_reader() -> Callable[[], int] | None:
    """Return what tells how many bytes malloc has handed out; None where the system doesn't tell."""
    try:
        import psutil

        heap_info = psutil.heap_info
        heap_info()
    except (ImportError, AttributeError, OSError, NotImplementedError):
        return None
    fill = _find_filler()

    def read() -> int:
        fill()
        info = heap_info()
        return int(info.heap_used + info.mmap_used)

    return read


def _find_filler() -> Callable[[], None]:
    """Return what makes glibc keep as many blocks for this thread as it will; else what does nothing.

    It counts them as handed out. So a line that takes what an earlier one let go of doesn't seem to take
    anything, and the next one that finds none of them left seems to take it: of 256 bytes per run
    that one line of lxml loses, 128 to 416 were read from run to run, and most of them at another line. With
    all places full it is 256 each time. It takes 0.2 ms.
    """
    if sys.platform != "linux":
        return lambda: None
    import ctypes

    library: Any = ctypes.CDLL(None)
    try:
        tell_version = library.gnu_get_libc_version
        malloc, free, usable_size = library.malloc, library.free, library.malloc_usable_size
    except AttributeError:  # another C library
        return lambda: None
    tell_version.restype = ctypes.c_char_p
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    free.restype, free.argtypes = None, [ctypes.c_void_p]
    usable_size.restype, usable_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    major, minor = map(int, tell_version().decode().split(".")[:2])
    wanted = _KEPT_SINCE_2_42 if (major, minor) >= (2, 42) else _KEPT
    block = malloc(1)
    smallest = usable_size(block)
    free(block)

    def fill() -> None:
        for size in range(smallest, smallest + _SIZES * _STEP_BYTES, _STEP_BYTES):
            fitting: list[int] = []
            others: list[int] = []
            while len(fitting) < wanted and len(others) < _TRIES * wanted:
                block = malloc(size)
                (fitting if usable_size(block) == size else others).append(block)
            for block in (*fitting, *others):
                free(block)

    return fill
