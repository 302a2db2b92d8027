"""Explain what the system lost and no Python object accounts for: heap, descriptors, threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from pytest_memalert.attribution.advising import system_advice
from pytest_memalert.attribution.allocation import sites
from pytest_memalert.attribution.allocation.calls import Calls
from pytest_memalert.attribution.allocation.descriptors import places_of_opening, targets_of
from pytest_memalert.attribution.allocation.native import NativeGrowth
from pytest_memalert.attribution.allocation.packages import Package, package_of_file, package_of_module
from pytest_memalert.attribution.explanation import NOTHING, Explanation, without_counters
from pytest_memalert.attribution.holding.holder import AT_EXIT, AUDITED, NO_REFERRER, UNTRACKED
from pytest_memalert.model import Signal

__all__ = ["explain_heap", "with_native_beside", "with_system_advice"]

_NO_HOLDERS = ((), (NO_REFERRER,), (UNTRACKED,), (AT_EXIT,), (AUDITED,))

#: Below so many bytes per run, the noise of the heap itself, nothing is called native.
_LEAST_NATIVE_BYTES = 16


def explain_heap(
    growth: NativeGrowth, seen: Explanation, lost: Mapping[Signal, float], root: Path | None, calls: Calls
) -> Explanation:
    """Return the explanation of growth that no new Python object accounts for."""
    reason = growth.reason or seen.reason
    set_at = calls.registered_at.get("os.putenv", ())
    called = _Called(called=calls.extensions, environment_at=sites.describe(set_at[0]) if set_at else None)
    if growth.bytes_per_run is None or growth.bytes_per_run < _LEAST_NATIVE_BYTES:
        # What grows in steps, as a bytearray does, may not do so in these few runs.
        is_memory = reason is None and bool({"heap", "resident", "mapped"}.intersection(lost))
        return Explanation(
            recommendations=system_advice.recommend_for_memory(**called) if is_memory else (),
            runs=seen.runs,
            reason=reason or "nothing that survives the runs was found",
        )
    frames, grown_at = _place_of(growth)
    package = package_of_file(frames[0][0]) if frames else None
    if package is None and frames and growth.module is not None:
        package = package_of_module(growth.module)
    return Explanation(
        signature=f"native memory from {sites.place(frames[0], root)}" if frames else None,
        recommendations=system_advice.recommend_for_memory(
            place=grown_at[0] if grown_at else None,
            function=growth.function,
            package=package,
            caller=grown_at[1] if len(grown_at) > 1 else None,
            **called,
        ),
        component=sites.component_of(frames),
        native=True,
        grown_at=grown_at,
        confidence=1.0,
        runs=seen.runs,
        reason=reason,
    )


def with_native_beside(explanation: Explanation, growth: NativeGrowth, *, native_bytes: float) -> Explanation:
    """Return an explanation by objects with so much native memory beside them.

    It is known by the objects all the same.
    """
    _, grown_at = _place_of(growth)
    advised = system_advice.recommend_for_memory_beside(
        place=grown_at[0] if grown_at else None, function=growth.function
    )
    return replace(
        explanation,
        grown_at=grown_at,
        native_bytes=native_bytes,
        recommendations=(*explanation.recommendations, advised),
    )


def with_system_advice(
    explanation: Explanation,
    lost: Mapping[Signal, float],
    opened: frozenset[int],
    run: Callable[[], str | None],
    root: Path | None,
) -> Explanation:
    """Return the explanation with advice for lost descriptors and threads that no known holder explains.

    A leak that takes such is another one than the same without: who accepted that hasn't accepted them.
    """
    signature = explanation.signature
    is_held = any(survivor.held_by[:1] not in _NO_HOLDERS for survivor in explanation.survivors)
    if "descriptors" in lost and explanation.bounded is not None and not explanation.has_files:
        # What fills a cache opens none.
        cached = replace(explanation.own, limit=explanation.bounded.limit or 0)
        explanation = replace(explanation, survivors=(), recommendations=(), own=NOTHING, cached=cached)
        is_held, signature = False, None
    # Files that are kept are closed by letting go of them.
    descriptors = "descriptors" in lost and not (is_held and explanation.has_files)
    if explanation.framework or (is_held and not descriptors):
        signature = _with_left(signature, lost) if signature is not None else None
        return replace(explanation, signature=signature)
    targets = targets_of(opened) if descriptors else ()
    places = places_of_opening(run) if descriptors else ()
    advised = system_advice.recommend_for_system(
        descriptors=descriptors,
        threads="threads" in lost and not is_held,
        targets=targets,
        places=[_opening(frames) for frames in places],
    )
    # Where they are opened tells one leak from another, and what they lead to: of files where no place is
    # known, without the folder, which may be a test's own.
    names = [Path(target).name for target in targets if not (places and target.startswith("/"))]
    told_apart = [f" to {without_counters(name)}" for name in sorted(names)]
    told_apart += sorted(f" from {sites.place(frames[0], root)}" for frames in places)
    if is_held:
        advice_for_all = (*explanation.recommendations, *advised)
        signature = _with_left(signature, lost, told_apart) if signature is not None else None
        return replace(explanation, recommendations=advice_for_all, signature=signature)
    if not explanation.survivors and advised:
        # Memory beside them is the thread's own, or the buffer of a file.
        explanation = replace(explanation, recommendations=(), grown_at=())
        signature = None if places else signature
    signature = _with_left(signature, lost, told_apart)
    return replace(explanation, recommendations=(*advised, *explanation.recommendations), signature=signature)


def _with_left(
    signature: str | None, lost: Mapping[Signal, float], told_apart: Sequence[str] = ()
) -> str | None:
    """Return a signature, if there is one, with what is left open, and what tells that from others."""
    left = " and ".join(signal for signal in ("descriptors", "threads") if signal in lost)
    parts = (signature, f"{left} left open{''.join(told_apart)}" if left else None)
    return "; ".join(filter(None, parts)) or None


def _place_of(growth: NativeGrowth) -> tuple[tuple[sites.Frame, ...], tuple[str, ...]]:
    """Return where native memory grew, and that in words; nothing within pytest.

    That takes and frees memory all the time: that some of it grew there by as much is chance.
    """
    frames = () if sites.is_framework(growth.frames) else growth.frames
    return frames, tuple(sites.describe(frame) for frame in frames)


class _Called(TypedDict):
    called: tuple[Package, ...]
    environment_at: str | None


def _opening(frames: tuple[sites.Frame, ...]) -> system_advice.Opening:
    place, *callers = map(sites.describe, frames)
    return system_advice.Opening(
        place=place, caller=callers[0] if callers else None, package=package_of_file(frames[0][0])
    )
