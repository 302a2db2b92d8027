"""Files under /proc/self, read many times."""

from __future__ import annotations

import sys
from os import O_RDONLY, O_WRONLY, close, write
from os import open as open_fd
from weakref import WeakSet

if sys.platform != "win32":
    from os import O_CLOEXEC, pread, register_at_fork

__all__ = ["STATM", "STATUS", "ProcFile", "reset_high_water_mark"]

# The functions are kept from import on: tests that patch `os` change nothing here. Only Linux has
# the files; elsewhere this module is imported and not used.

_read: WeakSet[ProcFile] = WeakSet()


def _forget_descriptors() -> None:
    """Have a forked child open its own files: the descriptors that it inherits tell of its parent."""
    for file in _read:
        file.forget()


if sys.platform != "win32":
    register_at_fork(after_in_child=_forget_descriptors)


class ProcFile:
    """Read a file of /proc/self anew each time through one kept descriptor.

    One ``pread`` costs 1.5 us against 8 us for open, read and close
    (benchmarks/readings.py). Tests may close any descriptor, and its number may
    come to mean a file of theirs: so this only ever reads, never closes, and
    opens anew when what it reads doesn't parse.
    """

    def __init__(self, name: str, *, size_bytes: int) -> None:
        self._path = f"/proc/self/{name}"
        self._size_bytes = size_bytes
        self.forget()
        _read.add(self)

    def read(self) -> bytes:
        """Return the file's content now; OSError where it can't be read."""
        try:
            return pread(self._fd, self._size_bytes, 0)
        except OSError:
            self.reopen()
            return pread(self._fd, self._size_bytes, 0)

    def forget(self) -> None:
        """Leave the descriptor as it is, and open the file for the next reading."""
        self._fd = -1

    def reopen(self) -> None:
        """Open the file again, leaving the old descriptor's number alone."""
        self._fd = open_fd(self._path, O_RDONLY | O_CLOEXEC)


# One of each for the process, opened when first read: descriptors are never closed, so a process in
# which many sessions run one after another, as in tests of plugins, would run out of them.
STATM = ProcFile("statm", size_bytes=96)
STATUS = ProcFile("status", size_bytes=4096)


def reset_high_water_mark() -> None:
    """Set VmHWM to the current resident size (Linux; proc(5), clear_refs, value 5)."""
    # Opened each time: a kept descriptor's number could by now be a file of the user's.
    fd = open_fd("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC)
    try:
        write(fd, b"5")
    finally:
        close(fd)
