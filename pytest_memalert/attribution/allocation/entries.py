"""Where the entries of containers are made: their keys, or what is put in."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping

from pytest_memalert.attribution.allocation.sites import (
    Frame,
    frames_of,
    is_framework,
    is_ours,
    start_tracing,
    traceback_of,
    useful,
)
from pytest_memalert.attribution.containers import newest
from pytest_memalert.attribution.objects import length
from pytest_memalert.attribution.repetition import attempt

__all__ = ["places_of_entries"]

#: So many of what a run put into a container are looked at.
_MOST_ENTRIES = 100


def places_of_entries(
    run: Callable[[], str | None], containers: Mapping[int, object]
) -> dict[int, tuple[Frame, ...]]:
    """Run the test once more and return where an entry of each container is made, by the same numbers.

    Of one of a dict the key tells, if it is made anew: what it stands for may have been made long before.
    """
    before = {number: length(container) or 0 for number, container in containers.items()}
    started_tracing = start_tracing()
    try:
        attempt(run)
        places = {}
        for number, container in containers.items():
            added = min((length(container) or 0) - before[number], _MOST_ENTRIES)
            if added > 0 and (frames := _frames_of_newest(container, added)):
                places[number] = frames
        return places
    finally:
        if started_tracing:
            tracemalloc.stop()


def _frames_of_newest(container: object, added: int) -> tuple[Frame, ...]:
    for obj in newest(container, added):
        traceback = traceback_of(obj)
        frames = frames_of(traceback)
        if frames and not is_ours(traceback) and not is_framework(frames):
            return useful(frames)
    return ()
