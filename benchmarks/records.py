"""Measure what a frozen dataclass costs, and what a record of ours costs in its place.

    python benchmarks/records.py

Each line is the median over batches, in CPU microseconds: to define a class of ten fields, and to make
one instance. Prints Markdown.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_memalert.records import record

_FIELDS = 10
_BATCHES = 15
_BATCH_S = 0.02


def main() -> None:
    """Measure, and print the table."""
    print("| | to define | to make one |")
    print("|---|---|---|")
    for name, decorator in (("dataclass", dataclass), ("record", record)):
        define = partial(_define, decorator(frozen=True, slots=True, kw_only=True))
        values = {f"field_{number}": number for number in range(_FIELDS)}
        make = partial(define(), **values)
        print(f"| {name} | {_cost_us(define):.0f} | {_cost_us(make):.2f} |")


def _define(decorate: Callable[[type], type]) -> type:
    annotations = {f"field_{number}": "int" for number in range(_FIELDS)}
    # With a text of its own: without, dataclass makes one up, which takes longer than all the rest.
    return decorate(type("Defined", (), {"__annotations__": annotations, "__doc__": "Ten numbers."}))


def _cost_us(function: Callable[[], Any]) -> float:
    """Return the median over batches of one call, in CPU microseconds."""
    batches = []
    for _ in range(_BATCHES):
        calls, began_s = 0, time.process_time()
        while time.process_time() - began_s < _BATCH_S:
            for _ in range(10):
                function()
            calls += 10
        batches.append((time.process_time() - began_s) / calls * 1e6)
    return statistics.median(batches)


if __name__ == "__main__":
    main()
