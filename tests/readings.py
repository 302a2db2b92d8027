"""Scripted readings of a repeated operation, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Callable

from pytest_memalert.leaks.readings import Reading
from pytest_memalert.model import Signal

Levels = dict[Signal, float]
QUICK_S = 0.0002


def accumulate(increments: list[float]) -> Callable[[int], float]:
    sums = [0.0]
    for increment in increments:
        sums.append(sums[-1] + increment)
    return lambda n: sums[min(n, len(sums) - 1)]


def script(levels: Callable[[int], Levels], *, runs: int = 100) -> list[Reading]:
    return [Reading(runs=n, elapsed_s=n * QUICK_S, levels=levels(n)) for n in range(runs + 1)]
