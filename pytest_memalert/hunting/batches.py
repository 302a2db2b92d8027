"""Run an operation again, in batches, and read the process to the block after each run or the last."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Literal

from pytest_memalert.clock import Stopwatch, elapsed_s
from pytest_memalert.hunting.rows import WIDTH, Rows
from pytest_memalert.leaks.policy import Step
from pytest_memalert.model import LeakAnalysis
from pytest_memalert.probes.exact import ExactReader

__all__ = ["Batches", "Operation"]

#: Runs the operation once; returns None, or why this run is no evidence.
Operation = Callable[[], "str | None"]

# Descriptors and threads are counted after each of so many runs, later after each batch.
_COUNTED_RUNS = 64
# Counting from here on, every index is an integer object of its own: those up to 256 exist once
# for all, and the 257th run would seem to leak a block.
_COUNT_FROM = 1000
# A batch is planned for 0.2 s at most; where the runs become slower, it ends after this.
_LONGEST_BATCH_S = 1.0


class Batches:
    """Hold the runs of one operation so far, and what was read of them."""

    def __init__(self, run: Operation, reader: ExactReader) -> None:
        self._run = run
        self._reader = reader
        self._stopwatch = Stopwatch()
        self.rows = Rows()
        self.runs = 0

    def perform(self, step: Step) -> str | None:
        """Run as often as the step says, with a reading at the start and after each or the last run."""
        run, reader, rows, each = self._run, self._reader, self.rows, step.each
        worked_s = self._stopwatch.worked_s
        until_s = worked_s() + _LONGEST_BATCH_S
        # Floats of their own from the start: the same number of blocks in the first reading and the last.
        began_s = elapsed_s()
        duration_s = elapsed_s() - began_s
        last = _COUNT_FROM + step.runs
        at = rows.next_at
        is_first = rows.is_empty
        over = False
        _make_frames()
        for index in range(_COUNT_FROM, last + 1):
            if index > _COUNT_FROM:
                began_s = elapsed_s()
                problem = run()
                duration_s = elapsed_s() - began_s
                if problem is not None:
                    self.runs += index - _COUNT_FROM
                    return problem
                # No number may be let go of between the first reading and the last: it is a block.
                over = index == last or worked_s() > until_s
                if not each and not over:
                    continue
            # Before what is dead is let go of: in Python 3.13 one reading of 300 had a block more, a float
            # that this had made.
            rows.describe(
                at,
                runs=self.runs + index - _COUNT_FROM,
                elapsed_s=worked_s(),
                duration_s=duration_s,
                starts=index == _COUNT_FROM,
            )
            reader.settle()
            border = over or index == _COUNT_FROM
            # Our own work between two batches opens no descriptor: they need no second start.
            counts = is_first if index == _COUNT_FROM else border or self.runs < _COUNTED_RUNS
            reader.read(rows.cells, at, counts=counts, dear=border)
            at += WIDTH
            if over:
                break
        rows.keep(at)
        self.runs += index - _COUNT_FROM
        return None

    def dismiss(
        self,
        status: Literal["clean", "unclear"],
        *,
        reason: str | None,
        left: tuple[float, float] | None = None,
    ) -> LeakAnalysis:
        """Return the verdict that nothing leaks, or that it can't be told.

        ``left`` has the blocks and bytes per run of growth that isn't pursued.
        """
        blocks, size_bytes = (0.0, 0.0) if status == "clean" else left or (None, None)
        return LeakAnalysis(
            status=status,
            reason=reason,
            bytes_per_run=None if size_bytes is None else max(0.0, size_bytes),
            blocks_per_run=None if blocks is None else max(0.0, blocks),
            runs=self.runs,
            duration_s=self.rows.duration_s(),
        )


def _make_frames() -> None:
    """Have the running functions' frame objects made now, and not by an operation that walks the stack.

    From Python 3.11 on they are made when somebody asks, and live as long as their function runs: the
    first run of each batch of a test that looks at its callers would seem to leave one.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        frame = frame.f_back
