"""Let go of what is no growth before a reading: garbage, and what the interpreter keeps to use it again."""

from __future__ import annotations

from pytest_memalert.collector import allocated_blocks, collect_young, empty_free_lists, full_collections

__all__ = ["LettingGo"]

# Full collections, as those of re-runs, empty the free lists. To fill them again took tests 200 to 400 blocks
# each, as a leak would: it made suspects of tests by the dozen, and each check emptied the lists once more.
_EMPTIED_FOR = 200
# With each emptying the interpreter forgets how many old objects there are, and collects them all too soon:
# on a heap of a million blocks that takes 0.1 to 0.2 s each time, more than a few further suspects.
_MOST_BLOCKS = 500_000


class LettingGo:
    """Collect the young garbage; for some tests after one was run again, empty the free lists as well.

    Of two readings that are compared either both or neither is to be taken with them empty.
    """

    def __init__(self) -> None:
        self._tests_left = 0
        self._full = full_collections()

    @property
    def is_emptying(self) -> bool:
        """Return whether the free lists are emptied before each reading."""
        return self._tests_left > 0

    def after_reruns(self) -> None:
        """Begin to empty the free lists, or go on with it, where a full collection has emptied them."""
        if full_collections() != self._full:
            self._full = full_collections()
            self._tests_left = _EMPTIED_FOR if allocated_blocks() <= _MOST_BLOCKS else 0

    def end_test(self) -> None:
        """Count a test that was measured."""
        if self._tests_left:
            self._tests_left -= 1

    def before_span(self) -> None:
        """Let go of what is older than a part of a test that is measured by itself."""
        # Else the garbage in it is found at the end of the test, and is no growth of that.
        if self._tests_left:
            self.after_span()

    def after_span(self) -> None:
        """Let go of what was made up to here."""
        collect_young()
        if self._tests_left:
            others = full_collections() - self._full
            empty_free_lists()
            self._full = full_collections() - others
