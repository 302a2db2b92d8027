"""Follow runs line by line, and take note between two events: for what has a place and no traceback."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from pytest_memalert.attribution.allocation.sites import origin_of
from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.clock import Stopwatch

if TYPE_CHECKING:
    from _typeshed import TraceFunction

__all__ = ["LineWatch"]

# A run may have millions of lines: they are followed for so long.
_FOLLOWING_S = 1.0


class LineWatch(ABC):
    """Call ``_note`` at every line, call and return while runs are observed; to be derived from.

    Calls of built-in functions are events of their own; those of ctypes' and Cython's are not, and show
    between two lines: these are followed in code of the user and of libraries, but no longer than
    ``_FOLLOWING_S``.
    """

    def __init__(self, *, follows_lines: bool) -> None:
        # The functions in C that are running, each with the frame that called it.
        self._running: list[tuple[FrameType, object]] = []
        self._line = 0
        self._stopwatch = Stopwatch()
        self._follows_lines = follows_lines

    def __enter__(self) -> None:
        self._begin()
        if self._follows_lines:
            sys.settrace(self._see_call)
        sys.setprofile(self._see)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Watch no longer."""
        sys.setprofile(None)
        self._stop_following_lines()

    def worked_s(self) -> float:
        """Return for how long this has been at work, in seconds."""
        return self._stopwatch.worked_s()

    def observe(self, run: Callable[[], str | None]) -> str | None:
        """Run the test once; return None, or the reason why that is no evidence."""
        return attempt(run)

    @abstractmethod
    def _begin(self) -> None:
        """Take the state that the first event is compared with, or that of after this watch's own work."""

    @abstractmethod
    def _note(self, active: FrameType, line: int) -> None:
        """Put down what has changed since the last event to a line of the frame that was active."""

    def _see(self, frame: FrameType, event: str, arg: object) -> None:
        """Take note at a call or a return."""
        active = frame.f_back if event == "call" and frame.f_back is not None else frame
        # The line that is gone on with.
        goes_on = frame.f_back if event == "return" and frame.f_back is not None else frame
        concerns = self._concerns(active) or self._concerns(goes_on)
        if concerns:
            self._note(active, active.f_lineno)
        if event == "c_call":
            self._running.append((frame, arg))
        elif event in ("c_return", "c_exception") and self._running:
            self._running.pop()
        self._line = goes_on.f_lineno
        if concerns:
            self._begin()

    def _concerns(self, frame: FrameType) -> bool:
        """Return whether to take note at what a frame does; of what goes on between others, at its end."""
        return True

    def _see_call(self, frame: FrameType, _event: str, _arg: object) -> TraceFunction | None:
        """Follow the lines of a function that was called, if it is of those whose lines matter."""
        is_followed = origin_of(frame.f_code.co_filename) not in ("framework", "stdlib", "own")
        return self._see_line if is_followed else None

    def _see_line(self, frame: FrameType, event: str, _arg: object) -> TraceFunction | None:
        """Take note at the beginning of a line of what the one before it did."""
        if event == "line" and self._follows_lines:  # a frame that lives on keeps this function
            self._note(frame, self._line)
            self._line = frame.f_lineno
            if self.worked_s() > _FOLLOWING_S:
                self._stop_following_lines()
            self._begin()
        return self._see_line

    def _stop_following_lines(self) -> None:
        if self._follows_lines:
            self._follows_lines = False
            sys.settrace(None)
