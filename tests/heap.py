"""Keeps the suite itself, all of which each worker holds, out of what tests collect."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["set_aside"]


@contextmanager
def set_aside() -> Iterator[None]:
    """Keep what the outer run has loaded out of an inner run's collections: they took most of its time.

    Only where no leak is searched for: a search that meets a frozen heap doesn't freeze it itself.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
