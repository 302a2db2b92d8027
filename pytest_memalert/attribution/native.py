"""Native growth: memory that no Python object accounts for, and the Python code that led to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

from pytest_memalert.attribution.repetition import attempt
from pytest_memalert.attribution.sites import Frame, is_framework, origin_of, useful
from pytest_memalert.collector import collect, frozen
from pytest_memalert.records import record

__all__ = ["NativeGrowth", "measure_native_growth"]

_PROFILED_RUNS = 2
_KEPT_FRAMES = 25
# What a place takes in so few runs may be so many times the growth, or that part of it.
_NEAR = 4


@record(frozen=True, slots=True, kw_only=True)
class NativeGrowth:
    """Say by how much the heap grows in each run, and where it grew most."""

    bytes_per_run: float | None
    frames: tuple[Frame, ...] = ()
    function: str | None = None
    reason: str | None = None


def measure_native_growth(run: Callable[[], str | None], *, runs: int) -> NativeGrowth:
    """Run untraced and return the growth of the heap per run, with the frames active then.

    Of several places, the one is taken whose growth is nearest to it.
    """
    read = _open_reader()
    readings: list[int] = [0] * (runs + 1)
    reason = None
    done = 0
    with frozen():  # each collection then visits only what the runs made
        for index in range(runs + 1):
            reason = attempt(run)
            if reason is not None:
                break
            collect()
            readings[index] = read() if read is not None else 0
            done = index
    if done < 1:
        return NativeGrowth(bytes_per_run=None, reason=reason)
    measured = (readings[done] - readings[0]) / done
    frames: tuple[Frame, ...] = ()
    function = None
    if read is not None and reason is None and sys.getprofile() is None:
        frames, function = _profile(run, read, measured * _PROFILED_RUNS)
    return NativeGrowth(
        bytes_per_run=measured if read is not None else None,
        frames=useful(frames),
        function=function,
        reason=reason,
    )


def _open_reader() -> Callable[[], int] | None:
    try:
        import psutil

        heap_info = psutil.heap_info
        heap_info()
    except (ImportError, AttributeError, OSError, NotImplementedError):
        return None

    def read() -> int:
        info = heap_info()
        return int(info.heap_used + info.mmap_used)

    return read


def _profile(
    run: Callable[[], str | None], read: Callable[[], int], expected_bytes: float
) -> tuple[tuple[Frame, ...], str | None]:
    """Read the heap at every call and return; return the stack and the C function with the growth.

    Memory freed elsewhere than where it was taken counts at both places: so the place nearest
    to the expected growth is taken, not the one with the most. One of pytest's only where no other comes
    near: it takes and frees much in each run, and with few runs some of that may look like the growth.
    """
    net: dict[tuple[str, int, str | None], int] = {}
    stacks: dict[tuple[str, int, str | None], tuple[Frame, ...]] = {}
    last = [read()]

    def observe(frame: FrameType, event: str, arg: object) -> None:
        growth = read() - last[0]
        if growth:
            active = frame.f_back if event == "call" and frame.f_back is not None else frame
            function = arg.__qualname__ if event == "c_return" and hasattr(arg, "__qualname__") else None
            key = (active.f_code.co_filename, active.f_lineno, function)
            net[key] = net.get(key, 0) + growth
            if growth > 0 and key not in stacks:
                stacks[key] = _stack(active)
        last[0] = read()

    try:
        sys.setprofile(observe)
        for _ in range(_PROFILED_RUNS):
            if attempt(run) is not None:
                break
    finally:
        sys.setprofile(None)
    near = [
        key
        for key in stacks
        if expected_bytes / _NEAR <= net[key] <= expected_bytes * _NEAR and origin_of(key[0]) != "own"
    ]
    if not near or expected_bytes <= 0:
        return (), None  # spread over many places, or grown in another thread
    best = min(near, key=lambda key: (is_framework(stacks[key]), abs(net[key] - expected_bytes)))
    return stacks[best], best[2]


def _stack(frame: FrameType | None) -> tuple[Frame, ...]:
    frames: list[Frame] = []
    while frame is not None and len(frames) < _KEPT_FRAMES:
        if origin_of(frame.f_code.co_filename) == "own":
            break
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return tuple(frames)
