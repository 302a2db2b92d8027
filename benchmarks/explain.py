"""Time to explain one confirmed leak on a heap of a million objects; the goal is 3 s at most.

python benchmarks/explain.py [--objects N]
python benchmarks/explain.py --per-run 500 4000 20000

With ``--per-run`` it is the CPU time to find and explain a leak of so many objects per run, on a small heap.
"""

from __future__ import annotations

import argparse
import gc
import time

from pytest_memalert import find_leaks
from pytest_memalert.attribution.explain import explain

HEAP: list[object] = []
ITEMS: dict[str, object] = {}
COUNTS: dict[str, int] = {}
NUMBERS: list[object] = []


class Entry:
    def __init__(self, number: int) -> None:
        self.number = number
        self.values = [number]


class Number:
    def __init__(self, number: int) -> None:
        self.number = number


def fill_heap(objects: int) -> None:
    """Make a heap of that many objects that the collector tracks: instances, lists, dicts, tuples."""
    while len(HEAP) * 4 < objects:
        entry = Entry(len(HEAP))
        HEAP.append((entry, {"entry": entry}))
    gc.collect()


def leak_an_instance() -> None:
    ITEMS[f"key {len(ITEMS)}"] = Entry(len(ITEMS))


def leak_an_untracked_object() -> None:
    NUMBERS.append(object())


def leak_into_an_untracked_dict() -> None:
    COUNTS[f"key {len(COUNTS)}"] = len(COUNTS) * 1000


def leak_native_memory() -> None:
    import ctypes

    ctypes.CDLL(None).malloc(5000)


def leak_nothing() -> None:
    Entry(1)


def time_many(count: int) -> None:
    """Print how long it takes to find and explain a leak of so many objects per run."""
    kept: list[object] = []
    began = time.process_time()
    analysis = find_leaks(lambda: kept.append([Number(number) for number in range(count)]))
    took = time.process_time() - began
    print(f"{count:7,} objects per run {took:6.2f} s of CPU, {analysis.status} after {analysis.runs:,} runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--per-run", type=int, nargs="+", default=[])
    arguments = parser.parse_args()
    for count in arguments.per_run:
        time_many(count)
    if arguments.per_run:
        return
    fill_heap(arguments.objects)
    print(f"{len(gc.get_objects()):,} objects tracked by the collector")
    for leak in (
        leak_an_instance,
        leak_an_untracked_object,
        leak_into_an_untracked_dict,
        leak_native_memory,
        leak_nothing,
    ):
        for _ in range(3):
            leak()

        def run(leak=leak) -> None:  # type: ignore[no-untyped-def]
            leak()

        began = time.perf_counter()
        explanation = explain(run)
        took = time.perf_counter() - began
        print(f"{leak.__name__:30} {took:6.2f} s  {explanation.signature}")


if __name__ == "__main__":
    main()
