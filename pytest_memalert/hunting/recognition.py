"""Leaks that were explained: how one of them is known again, and what of its explanation holds then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING

from pytest_memalert.attribution.composition import Composition, Kinds
from pytest_memalert.hunting.questions import Left
from pytest_memalert.model import LeakAnalysis, Signal, Survivor
from pytest_memalert.records import record

if TYPE_CHECKING:
    from pytest_memalert.attribution.explanation import Explanation

__all__ = [
    "Explained",
    "Familiar",
    "Proof",
    "is_alike",
    "is_as_large",
    "is_its_pace",
    "is_kept_alike",
    "is_left_again",
    "remember",
    "scaled",
    "times_of",
    "to_recognize",
]

# How much more than the objects with a name of their own a leak may take, to be known by them.
_MOST_BESIDE = 4.0
_LEAST_NAMED_BYTES = 512
# How far the blocks of a run may be off those of the leak that it is recognized as, and the heap, whose
# chunks come and go.
_SAME = 0.1
# Where so much more was seen than there is, the runs that were watched left more, by chance. A number this
# near to a whole one is told as that, else as what comes of several runs.
_MOST_BY_CHANCE, _UNEVEN, _MOST_TOGETHER = 1.1, 0.05, 10
_SAME_BYTES, _SAME_SHARE = 4096.0, 0.25


@record(frozen=True, slots=True, kw_only=True)
class Familiar:
    """Hold what a leak costs each time that a test does what leaks; the one explained ``times`` times."""

    explanation: Explanation
    blocks: float
    heap_bytes: float
    bytes: float | None
    times: int
    harmless: str | None


@record(frozen=True, slots=True, kw_only=True)
class Proof:
    """Hold what a test's leak was found to be, and what a run left then: by that a later session knows it."""

    left: Left
    analysis: LeakAnalysis


@record(slots=True)
class Explained:
    """Hold the leaks explained so far, by what they leave behind: with its places, or by types alone.

    ``leaked_into`` has the containers that took them in, by identity, with their lengths. ``latest`` is the
    proof of the last investigation, None where there is none to be kept.
    """

    by_composition: dict[Composition, list[Explanation]] = field(default_factory=dict)
    by_kinds: dict[Kinds, list[Familiar]] = field(default_factory=dict)
    leaked_into: dict[int, int] = field(default_factory=dict)
    latest: Proof | None = None


def remember(known: Explained, analysis: LeakAnalysis, explanation: Explanation, left: Left) -> None:
    """Keep a leak, or what pytest itself leaves behind, so that it is recognized after two runs."""
    leaks = analysis.status == "leaking" and explanation.survivors
    harmless = analysis.status == "clean" and explanation.framework
    if not left.kinds or not (harmless or (leaks and is_its_pace(left, analysis))):
        return
    # A large buffer lost beside them has no type that tells: by these alone it would be charged to all
    # who leave such objects behind.
    named = {name for name, _ in left.kinds}
    named_bytes = sum(survivor.bytes_per_run for survivor in explanation.survivors if survivor.type in named)
    if leaks and (analysis.bytes_per_run or 0.0) > _MOST_BESIDE * max(named_bytes, _LEAST_NAMED_BYTES):
        return
    size_bytes = None if analysis.bytes_per_run is None else analysis.bytes_per_run / left.times
    familiar = Familiar(
        explanation=to_recognize(explanation, {"blocks": left.blocks, "heap": left.heap_bytes}),
        blocks=left.blocks / left.times,
        heap_bytes=left.heap_bytes / left.times,
        bytes=size_bytes,
        times=left.times,
        harmless=analysis.reason if harmless else None,
    )
    # A fixture's container is another one in each module: the latest is the one to be met again.
    others = [
        each
        for each in known.by_kinds.get(left.kinds, ())
        if each.explanation.signature != explanation.signature
    ]
    known.by_kinds[left.kinds] = [*others, familiar]


def is_its_pace(left: Left, analysis: LeakAnalysis) -> bool:
    """Return whether the run left what each run leaves, and nothing besides, such as an entry of a cache."""
    blocks = analysis.blocks_per_run
    return blocks is not None and abs(blocks - left.blocks) <= _SAME * left.blocks


def is_left_again(left: Left, before: Left) -> bool:
    """Return whether a run left what one left in an earlier session."""
    is_same = left.kinds == before.kinds and left.times == before.times
    return is_same and _is_as_much(left, before.blocks, before.heap_bytes)


def is_as_large(lost: Mapping[Signal, float], known: Mapping[Signal, float]) -> bool:
    """Return whether a test loses what is known of another one, be it several times, and nothing besides."""
    if any((name in lost) != (name in known) for name in ("descriptors", "threads")):
        return False
    blocks, known_blocks = lost.get("blocks", 0.0), known.get("blocks", 0.0)
    times = blocks / known_blocks if blocks and known_blocks else 1.0
    return _is_same_heap(lost.get("heap", 0.0), times * known.get("heap", 0.0))


def is_alike(left: Left, familiar: Familiar) -> bool:
    """Return whether what a run left takes as many blocks, and bytes of the heap, as a known leak."""
    return _is_as_much(left, left.times * familiar.blocks, left.times * familiar.heap_bytes)


def _is_as_much(left: Left, blocks: float, heap_bytes: float) -> bool:
    is_same = abs(left.blocks - blocks) <= max(1.0, _SAME * left.blocks)
    return is_same and _is_same_heap(left.heap_bytes, heap_bytes)


def _is_same_heap(size_bytes: float, known_bytes: float) -> bool:
    return abs(size_bytes - known_bytes) <= max(_SAME_BYTES, _SAME_SHARE * abs(size_bytes))


def is_kept_alike(familiar: Explanation, keepers: Mapping[int, int]) -> bool:
    """Return whether what keeps some objects is what keeps a known leak's: the same container, or nothing.

    The like of what leaks may fill a cache elsewhere, or leak there. A container that is shorter than the one
    that was known is another one, where that was.
    """
    alike = (keepers.get(key, -1) >= count for key, count in familiar.keepers.items())
    return any(alike) or not (keepers or familiar.keepers)


def to_recognize(explanation: Explanation, lost: Mapping[Signal, float]) -> Explanation:
    """Return an explanation as it holds for other tests, which come to the same place by other ways.

    ``lost`` is what the explained test leaves in each run; one that is known from another test keeps that
    one's.
    """
    shown = (replace(kind, allocated_at=kind.allocated_at[:1]) for kind in explanation.survivors)
    return replace(explanation, survivors=tuple(shown), lost=explanation.lost or dict(lost))


def scaled(explanation: Explanation, blocks: float | None) -> tuple[Survivor, ...]:
    """Return the survivors of a known leak, as many as a test leaves that does more of it, or less."""
    times = times_of(explanation, blocks)
    if times == 1.0:
        return _at_pace(explanation.survivors, blocks)
    return tuple(
        replace(kind, count=max(1, round(times * kind.count)), size_bytes=round(times * kind.size_bytes))
        for kind in explanation.survivors
    )


def _at_pace(survivors: tuple[Survivor, ...], blocks: float | None) -> tuple[Survivor, ...]:
    """Return the survivors no more often than there are blocks, where runs leave these in changing numbers.

    All the runs tell how many these are; the few that were watched left more, by chance. 2.5 a run are told
    as 5 of two.
    """
    seen = sum(kind.per_run for kind in survivors)
    if not blocks or not _varies(blocks) or seen <= _MOST_BY_CHANCE * blocks:
        return survivors
    return tuple(_left_by_several(kind, kind.per_run * blocks / seen) for kind in survivors)


def _varies(per_run: float) -> bool:
    return abs(per_run - round(per_run)) > _UNEVEN * per_run


def _left_by_several(kind: Survivor, per_run: float) -> Survivor:
    """Return a kind of which a run leaves so many on average: of as few runs as tell that to 5 %."""
    runs = next((n for n in range(1, _MOST_TOGETHER) if not _varies(n * per_run)), _MOST_TOGETHER)
    count = max(1, round(runs * per_run))
    return replace(kind, count=count, runs=runs, size_bytes=round(count * kind.size_bytes / kind.count))


def times_of(explanation: Explanation, blocks: float | None) -> float:
    """Return how many times as much as the test that was explained one does that leaves so many blocks."""
    known = explanation.lost.get("blocks", 0.0)
    return blocks / known if blocks and known else 1.0
