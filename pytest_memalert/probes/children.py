"""The child processes that a test started, told from those that were there before."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

__all__ = ["Children"]


class Children:
    """Read the resident memory of the child processes that the test under way started.

    A server that a fixture of wider scope keeps is there in every later test, and none of theirs. Processes
    are known by id and time of creation, as psutil compares them: ids are used again.
    """

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._others: Set[psutil.Process] = frozenset()

    def present(self) -> Set[psutil.Process]:
        """Return the child processes that there are, their own children included; may raise psutil.Error."""
        return frozenset(self._process.children(recursive=True))

    def start_test(self) -> None:
        """Leave out what there is now."""
        self._others = self.present()

    def leave_out_since(self, before: Set[psutil.Process]) -> None:
        """Leave out what came since ``before`` was present: it is a wider fixture's."""
        self._others |= self.present() - before

    def read(self) -> Mapping[str, float]:
        """Return the resident memory of the test's child processes, summed; may raise psutil.Error."""
        import psutil

        total_bytes = 0
        for child in self.present() - self._others:
            try:
                total_bytes += child.memory_info().rss
            except psutil.Error:  # it ended between the listing and the look
                continue
        return {"children_rss_bytes": total_bytes}
