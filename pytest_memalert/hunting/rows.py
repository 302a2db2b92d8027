"""The rows of a hunt: what was read after each run, in an array made beforehand.

Keeping books must not allocate: a hunt counts single memory blocks, and a float that was kept would be one.
So a row is numbers within an array, and who hunts holds but the place where the next one goes.
"""

from __future__ import annotations

from array import array
from statistics import median

from pytest_memalert.leaks.readings import SIGNALS, Reading
from pytest_memalert.model import Signal

__all__ = ["WIDTH", "Rows", "differences", "new_levels"]

# A row: runs so far, time so far, duration of the run, whether a batch starts here, the signals.
_RUNS, _ELAPSED, _DURATION, _STARTS, _FIRST = range(5)
WIDTH = _FIRST + len(SIGNALS)
# Places up to 256 are integers that exist once for all: beyond, the place of the next row is a block. So the
# first row lies beyond already, or one of the first batch would seem to leave that block.
_SKIPPED = 256 // WIDTH + 1
_ROWS = 2048 + _SKIPPED
# A batch may take so many: there is none to begin where fewer are left.
_ROWS_OF_BATCH = 80


class Rows:
    """Hold the rows of one hunt.

    ``cells`` has them one after the other, each ``WIDTH`` wide. A batch of runs is written from ``next_at``
    on, and counts once ``keep`` was told where it ends.
    """

    def __init__(self) -> None:
        self.cells = array("d", bytes(8 * WIDTH * _ROWS))
        self._used = _SKIPPED

    @property
    def is_empty(self) -> bool:
        """Return whether no batch was kept."""
        return self._used == _SKIPPED

    @property
    def is_full(self) -> bool:
        """Return whether another batch may not fit."""
        return self._used > _ROWS - _ROWS_OF_BATCH

    @property
    def next_at(self) -> int:
        """Return where the signals of the next row begin."""
        return self._used * WIDTH + _FIRST

    def describe(self, at: int, *, runs: int, elapsed_s: float, duration_s: float, starts: bool) -> None:
        """Write what a row is about, whose signals begin at ``at``; allocates nothing that stays.

        ``runs`` took place until then, the last of which took ``duration_s``; ``starts`` says that a batch
        starts here.
        """
        cells = self.cells
        cells[at - _FIRST + _RUNS] = runs
        cells[at - _FIRST + _ELAPSED] = elapsed_s
        cells[at - _FIRST + _DURATION] = duration_s
        cells[at - _FIRST + _STARTS] = starts

    def keep(self, until: int) -> None:
        """Keep the rows so far; the signals of the next one begin at ``until``."""
        self._used = until // WIDTH

    def readings(self) -> list[Reading]:
        """Return the readings so far, batch joined to batch: between two of them, only we were at work."""
        readings = [Reading(runs=0, elapsed_s=0.0, levels=dict.fromkeys(SIGNALS, 0.0))]
        levels = dict.fromkeys(SIGNALS, 0.0)
        offsets = dict.fromkeys(SIGNALS, 0.0)
        for index in range(_SKIPPED, self._used):
            row = self.cells[index * WIDTH : (index + 1) * WIDTH]
            values = dict(zip(SIGNALS, row[_FIRST:], strict=True))
            if row[_STARTS]:
                offsets.update(
                    {
                        name: levels[name] - value for name, value in values.items() if value == value
                    }  # not NaN
                )
                continue
            known = {
                name: level
                for name, value in values.items()
                if (level := value + offsets[name]) == level  # not NaN
            }
            levels.update(known)
            readings.append(Reading(runs=int(row[_RUNS]), elapsed_s=row[_ELAPSED], levels=known))
        return readings

    def duration_s(self) -> float | None:
        """Return what a run takes, the median of those that were read; None where there is none."""
        rows = (index * WIDTH for index in range(_SKIPPED, self._used))
        durations = [self.cells[row + _DURATION] for row in rows if not self.cells[row + _STARTS]]
        return median(durations) if durations else None


def new_levels() -> array[float]:
    """Return room for one value of each signal."""
    return array("d", bytes(8 * len(SIGNALS)))


def differences(start: array[float], end: array[float]) -> dict[Signal, float]:
    """Return how far each signal rose from some levels to others, where both have it."""
    return {
        name: after - before
        for name, before, after in zip(SIGNALS, start, end, strict=True)
        if after - before == after - before  # not NaN
    }
