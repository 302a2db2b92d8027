"""What the re-runs in one process cost it: time, which a budget may bound, and resident memory."""

from __future__ import annotations

from pytest_memalert.measurement import NO_RESIDUE
from pytest_memalert.settings import Budget

__all__ = ["RerunCosts"]

# A search that was begun is brought to its end: cut short, it could not tell what it saw.
_SEARCH_S = 2.0


class RerunCosts:
    """Keep what the re-runs have cost so far, beside what the tests themselves took."""

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self.tests_s = 0.0
        self.reruns_s = 0.0
        #: What they left resident: no later test is blamed for it.
        self.residue = NO_RESIDUE

    def left_s(self, *, share: float = 1.0) -> float | None:
        """Return the time left for re-runs of this share of the budget, in seconds; None without a bound."""
        budget = self._budget
        if budget is None:
            return None
        return share * budget.limit_s(self.tests_s) - self.reruns_s

    def for_a_search_s(self) -> float | None:
        """Return the time for a search for a leak that begins now; None where there is no bound."""
        left_s = self.left_s()
        return None if left_s is None else max(left_s, _SEARCH_S)

    def why_spent(self, *, share: float = 1.0) -> str | None:
        """Return why there is no time for a re-run, or None; ``share`` of the budget is for this purpose."""
        left_s = self.left_s(share=share)
        return "the budget for re-runs is spent" if left_s is not None and left_s <= 0 else None

    def note_residue(self, *, before_bytes: float | None, after_bytes: int | None) -> None:
        """Take note of what the re-runs of one test left, around which the process held so much."""
        if before_bytes is not None and after_bytes is not None:
            self.residue = self.residue.grown(before_bytes=int(before_bytes), after_bytes=after_bytes)
