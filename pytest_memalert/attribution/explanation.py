"""What is known of a leak: text and numbers; no object of the test's is kept alive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from pytest_memalert.attribution.bounding.bounds import Bound
from pytest_memalert.model import Signal, Survivor
from pytest_memalert.records import record

__all__ = ["NOTHING", "Amount", "Explanation", "without_counters"]

# A number at the end of a name: "argmap_read_17", "<argmap> compilation 21".
_COUNTER = re.compile(r"(?<=[_ ])\d+\b")


@record(frozen=True, slots=True, kw_only=True)
class Amount:
    """Hold so many objects, and what they take, in each run; what holds them keeps up to so many."""

    objects: float
    bytes: float
    limit: int = 0


NOTHING = Amount(objects=0.0, bytes=0.0)


@record(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Hold what is known of a leak.

    ``signature`` says what survives, where it was allocated and what holds it, without a number: two tests
    that show the same leak have the same; None where nothing is known that would tell it from another one.
    ``native`` says that the heap grew and no Python object accounts for it; ``grown_at`` has the Python
    frames active then. ``native_bytes`` is what each run takes of native memory beside the survivors, where
    these are the lesser part of what is lost. ``framework`` says that everything was allocated within pytest,
    pluggy or their plugins, and that no variable of the user's holds it: those survivors are in
    ``framework_survivors``, and raise nothing. ``bounded`` is set where every survivor is held by something
    that evicts, and that is not yet full, ``full`` where by something that is: it may have been filling
    before. ``in_parameter`` says that all of it is kept by a value that the test is parametrized with.
    ``is_whole`` says that these survivors are all that a run leaves, as far as is seen: none was
    left out as being part of others, and what was traced is theirs. ``let_go`` says that nothing but this
    search holds the survivors: what did so has let go of them since. ``has_files`` says that some of them
    have a descriptor. ``own`` is how much they are in each run, ``cached`` how much caches take in beside
    them. ``keepers`` are what was there before and holds the survivors, by identity, with the length of each:
    by them is the leak recognized. ``by_way_of`` has for each kind that matters what leads to its keeper, in
    the same way.
    ``lost`` is what each run of the explained operation took, by signal, where that is kept for the
    recognition.
    ``reason`` says why facts are missing. ``confidence`` is the share of runs that grew.
    """

    survivors: tuple[Survivor, ...] = ()
    framework_survivors: tuple[Survivor, ...] = ()
    signature: str | None = None
    recommendations: tuple[str, ...] = ()
    component: str = ""
    native: bool = False
    native_bytes: float = 0.0
    grown_at: tuple[str, ...] = ()
    framework: bool = False
    bounded: Bound | None = None
    full: Bound | None = None
    in_parameter: bool = False
    is_whole: bool = True
    let_go: bool = False
    has_files: bool = False
    own: Amount = NOTHING
    cached: Amount = NOTHING
    keepers: Mapping[int, int] = field(default_factory=dict)
    by_way_of: tuple[Mapping[int, int], ...] = ()
    confidence: float = 0.0
    runs: int = 0
    lost: Mapping[Signal, float] = field(default_factory=dict)
    reason: str | None = None


def without_counters(signature: str) -> str:
    """Return a signature with "#" for each number that ends a name.

    Generated code counts up in its names, from run to run with what ran before.
    """
    return _COUNTER.sub("#", signature)
