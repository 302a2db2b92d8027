"""Whether a search for leaks is under way in this process: none is begun within another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_searching", "searching"]

# The threads in which a search is under way. Another one meanwhile, begun by what the first runs, would take
# thousands of runs for each of its runs, and what it leaves behind, as traces, be the outer one's finding.
_searching: set[int] = set()


def is_searching() -> bool:
    """Return whether a search is under way, in whichever thread."""
    return bool(_searching)


@contextmanager
def searching() -> Iterator[None]:
    """Say that a search is under way in this thread."""
    ident = threading.get_ident()
    is_outermost = ident not in _searching
    _searching.add(ident)
    try:
        yield
    finally:
        if is_outermost:
            _searching.discard(ident)
