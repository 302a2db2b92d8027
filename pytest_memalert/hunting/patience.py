"""Runs of an operation until they take too long: a leak may make each slower than the one before."""

from __future__ import annotations

from array import array

from pytest_memalert.clock import elapsed_s
from pytest_memalert.hunting.batches import Operation

__all__ = ["Patience"]

# Five runs, each so many times as long as the one before, and the last as long as this: the next ones would
# take minutes, then hours. What is traced, with ever more frames, takes longer twice.
_RISING_RUNS, _SLOWER, _LONG_S = 5, 1.3, 1.0
_OUT_OF_TIME = "its runs take too long"


class Patience:
    """Run an operation as often as it is called, but refuse where that would take too long."""

    def __init__(self, run: Operation) -> None:
        self._run = run
        # No numbers of their own: each would be a block.
        self._last_s = array("d", bytes(8 * _RISING_RUNS))
        self._until_s = array("d", (float("inf"),))
        self._refusal: str | None = None
        self._began_s = elapsed_s()

    def age_s(self) -> float:
        """Return for how long it has been run, in seconds."""
        return elapsed_s() - self._began_s

    def run_s(self) -> float:
        """Return how long the longest of the last few runs took."""
        return max(self._last_s)

    def limit(self, seconds: float) -> None:
        """Refuse further runs after so many seconds from now, and none before for want of time."""
        self._until_s[0] = elapsed_s() + seconds
        if self._refusal == _OUT_OF_TIME:
            self._refusal = None

    def __call__(self) -> str | None:
        """Run it once; return None, or the reason why that is no evidence."""
        if self._refusal is None and elapsed_s() > self._until_s[0]:
            self._refusal = _OUT_OF_TIME
        if self._refusal is not None:
            return self._refusal
        began_s = elapsed_s()
        problem = self._run()
        last_s = self._last_s
        for index in range(1, _RISING_RUNS):
            last_s[index - 1] = last_s[index]
        last_s[-1] = elapsed_s() - began_s
        if last_s[-1] > _LONG_S and all(
            last_s[index] > _SLOWER * last_s[index - 1] > 0.0 for index in range(1, _RISING_RUNS)
        ):
            self._refusal = "each run takes longer than the one before"
        return problem
