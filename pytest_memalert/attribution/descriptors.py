"""Open descriptors of this process: which there are, and what they lead to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

__all__ = ["open_descriptors", "targets_of"]

# Kept from import on: tests that patch `os` change nothing here.
_listdir, _readlink = os.listdir, os.readlink
# Only Linux has it.
_FOLDER = "/proc/self/fd"
_SHOWN_TARGETS = 3
#: The number of a pipe or a socket, which is another in each run.
_INODE = re.compile(r":\[\d+\]$")


def open_descriptors() -> frozenset[int]:
    """Return the descriptors that are open; none where the system doesn't tell."""
    try:
        return frozenset(int(name) for name in _listdir(_FOLDER))
    except OSError:
        return frozenset()


def targets_of(descriptors: Iterable[int]) -> tuple[str, ...]:
    """Return what these lead to, as "/dev/null" or "socket", each once, those of the newest first."""
    targets: dict[str, None] = {}
    for number in sorted(descriptors, reverse=True):
        try:
            target = _readlink(f"{_FOLDER}/{number}")
        except OSError:
            continue  # closed by now
        targets.setdefault(_INODE.sub("", target))
    return tuple(targets)[:_SHOWN_TARGETS]
