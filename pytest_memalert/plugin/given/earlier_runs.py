"""The history of earlier runs, opened for those who read it in a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_memalert.errors import HistoryError
from pytest_memalert.plugin.given.destinations import history_path
from pytest_memalert.plugin.given.given import Given

if TYPE_CHECKING:
    from pytest_memalert.history import History

__all__ = ["Warn", "reading_history"]

Warn = Callable[[str], None]


@contextmanager
def reading_history(
    config: pytest.Config, given: Given, *, purpose: str, warn: Warn, tells_unopened: bool = True
) -> Iterator[History | None]:
    """Open the history that the session has, to read it; None where there is none.

    Where it can't be read, ``warn`` is told for which ``purpose`` it is missed, and what was begun ends.
    That it can't be opened is told where it is written, too: ``tells_unopened`` says whether here as well.
    """
    path = history_path(config, given.settings)
    if path is None or not path.is_file():
        yield None
        return
    # SQLite takes longer to load than all else here.
    from pytest_memalert.history import read_history

    opened = False
    try:
        with read_history(path) as history:
            opened = True
            yield history
    except HistoryError as trouble:
        if opened or tells_unopened:
            warn(f"memalert {purpose}: {trouble}")
        if not opened:
            yield None
