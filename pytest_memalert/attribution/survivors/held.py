"""Which of some objects anything else still holds, cycles among them notwithstanding."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from pytest_memalert.attribution.objects import referents_of

__all__ = ["held_from_outside"]


def held_from_outside(objects: Sequence[object], our_references: Mapping[int, int]) -> set[int]:
    """Return the identities of those objects that something besides them leads to.

    ``objects`` refers once to each; ``our_references`` counts, by identity, what else of ours does. As the
    collector finds cycles: an object with more references than these and those of the others is held, and
    so is all that it leads to.
    """
    references_among: dict[int, int] = dict.fromkeys(map(id, objects), 0)
    for obj in objects:
        for child in referents_of(obj):
            if id(child) in references_among:
                references_among[id(child)] += 1
    # In a loop as the one below: what a call itself refers to differs from Python to Python.
    (unheld,) = (sys.getrefcount(obj) for obj in [object()])
    pending = [
        obj
        for obj in objects
        if sys.getrefcount(obj) > unheld + references_among[id(obj)] + our_references.get(id(obj), 0)
    ]
    held: set[int] = set()
    while pending:
        obj = pending.pop()
        if id(obj) not in held:
            held.add(id(obj))
            pending.extend(
                child
                for child in referents_of(obj)
                if id(child) in references_among and id(child) not in held
            )
    return held
