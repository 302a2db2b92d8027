"""Let go of what is no growth before a reading: garbage, and what the interpreter keeps to use it again."""

from __future__ import annotations

from pytest_memalert.collector import collect_young, empty_free_lists

__all__ = ["LettingGo"]

# Full collections, as those of re-runs, empty the free lists. To fill them again took tests 200 to 400 blocks
# each, as a leak would: it made suspects of tests by the dozen, and each check emptied the lists once more.
_EMPTIED_FOR = 200


class LettingGo:
    """Collect the young garbage; for some tests after one was run again, empty the free lists as well.

    Of two readings that are compared either both or neither is to be taken with them empty.
    """

    def __init__(self) -> None:
        self._tests_left = 0

    @property
    def is_emptying(self) -> bool:
        """Return whether the free lists are emptied before each reading."""
        return self._tests_left > 0

    def begin_emptying(self) -> None:
        """Begin to empty the free lists, or go on with it: a full collection has emptied them."""
        self._tests_left = _EMPTIED_FOR

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
            empty_free_lists()
