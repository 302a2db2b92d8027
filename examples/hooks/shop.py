"""A shop whose searches and quotes are cached."""

from __future__ import annotations

import itertools

#: Answers by question.
ENTRIES: dict[str, list[str]] = {}
#: What was written to the shelf so far.
SHELF: list[bytearray] = []

_sessions = itertools.count()


def search(word: str) -> list[str]:
    """Return what was found for a word; an answer is kept, so the second time costs nothing."""
    return ENTRIES.setdefault(word, [word.title()])


def quote(customer: str) -> str:
    """Return a price for a customer; the mistake: the key is new in each session, so no answer is reused."""
    session = next(_sessions)
    for step in range(200):
        ENTRIES[f"{customer} {session} {step}"] = ["12.50"]
    return "12.50"


def store(size_bytes: int) -> int:
    """Return how many parcels lie on the shelf, the new one included."""
    SHELF.append(bytearray(b"p") * size_bytes)
    return len(SHELF)
