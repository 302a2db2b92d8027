"""The tests, which stay the same throughout the story."""

import journal
import pytest


@pytest.mark.memalert(leak="1 KiB")
def test_an_entry_is_written() -> None:
    assert journal.write("moved in").startswith("moved in")


def test_a_journal_begins_empty() -> None:
    assert journal.read() == []
