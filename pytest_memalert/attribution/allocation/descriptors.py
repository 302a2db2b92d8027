"""Open descriptors of this process: which there are, what they lead to, and where they are opened."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType

from pytest_memalert.attribution.allocation.line_watch import LineWatch
from pytest_memalert.attribution.allocation.sites import Frame, is_framework, stack_of, useful
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.collector import collect

__all__ = ["open_descriptors", "places_of_opening", "targets_of"]

# Kept from import on: tests that patch `os` change nothing here.
_listdir, _readlink, _open, _dup, _close, _fstat = (
    os.listdir,
    os.readlink,
    os.open,
    os.dup,
    os.close,
    os.fstat,
)
# Only Linux has it.
_FOLDER = "/proc/self/fd"
# For so long a run is watched: at each of its lines it takes 3 us.
_WATCHING_S = 1.0
_SHOWN_PLACES = 3
_SHOWN_TARGETS = 3
#: The number of a pipe or a socket, which is another in each run.
_INODE = re.compile(r":\[\d+\]$")


def open_descriptors() -> frozenset[int]:
    """Return the descriptors that are open; none where the system doesn't tell."""
    try:
        # That of the listing itself is closed by then.
        return frozenset(number for number in map(int, _listdir(_FOLDER)) if _is_open(number))
    except OSError:
        return frozenset()


def _is_open(number: int) -> bool:
    try:
        _fstat(number)
    except OSError:
        return False
    return True


def places_of_opening(run: Callable[[], str | None]) -> tuple[tuple[Frame, ...], ...]:
    """Return where a run opens what it leaves open, each place once with its callers, the first three.

    Nothing where somebody else profiles, where another thread opens it, or after more than a second of the
    run; and nothing of pytest's own.
    """
    if sys.getprofile() is not None or not open_descriptors():
        return ()
    found = _watched(run, follows_lines=sys.gettrace() is None)
    places = dict.fromkeys(useful(frames) for frames in found if not is_framework(frames))
    return tuple(frames for frames in places if frames)[:_SHOWN_PLACES]


def _watched(run: Callable[[], str | None], *, follows_lines: bool) -> list[tuple[Frame, ...]]:
    before = open_descriptors()
    watch = _OpeningWatch(follows_lines=follows_lines)
    with watch:
        problem = watch.observe(run)
    collect()
    left = open_descriptors() - before
    if problem is not None:
        # It may look at sys.gettrace() itself.
        return _watched(run, follows_lines=False) if follows_lines and attempt(run) is None else []
    return [watch.opened[number] for number in sorted(left) if number in watch.opened]


class _OpeningWatch(LineWatch):
    """Notice where each descriptor is opened.

    The lowest number that is free is the next one's: while it stays what it was, nothing was opened. To ask
    for it takes 1 us, to list them 15.
    """

    def __init__(self, *, follows_lines: bool) -> None:
        super().__init__(follows_lines=follows_lines)
        self._own = _open(os.devnull, os.O_RDONLY)
        self._free = 0
        self._known: frozenset[int] = frozenset()
        #: The stack at the opening of each, by number, of those that are open still.
        self.opened: dict[int, tuple[Frame, ...]] = {}

    def __enter__(self) -> None:
        self._known = open_descriptors()
        super().__enter__()

    def __exit__(self, *details: object) -> None:
        super().__exit__(*details)
        with suppress(OSError):  # the test may have closed it
            _close(self._own)

    def _begin(self) -> None:
        """Nothing of our own stays open between two events."""

    def _note(self, active: FrameType, line: int) -> None:
        free = _lowest_free(self._own)
        if free > self._free > 0:
            now = open_descriptors()
            stack = ((active.f_code.co_filename, line), *stack_of(active.f_back))
            for number in {self._free, *(now - self._known)}:
                self.opened[number] = stack
            self._known = now
        elif free < self._free:
            self._known = frozenset(number for number in self._known if _is_open(number))
        self._free = free
        if self.worked_s() > _WATCHING_S:
            self.stop()


def _lowest_free(descriptor: int) -> int:
    """Return the number that the next descriptor will have."""
    try:
        number = _dup(descriptor)
        _close(number)
    except OSError:  # the test has closed what isn't its own, or there are none left
        return 0
    return number


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
