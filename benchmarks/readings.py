"""Measure what each reading of the process costs, on small heaps and on large ones.

    python benchmarks/readings.py

Each line is the median over batches, in CPU microseconds of one reading, and the cheapest batch
beside it: on a busy machine the two differ. Every state of the heap is set up in a child process of its
own, so that none inherits another's. Prints Markdown.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIVE_OBJECTS = 2_000_000
FREE_CHUNKS = 500_000
_BATCHES = 15
_BATCH_S = 0.01

#: Names of the states of the heap, and what each is called in the table.
STATES = {
    "small": "a small heap",
    "objects": f"{LIVE_OBJECTS:,} live objects",
    "fragmented": f"{FREE_CHUNKS:,} free chunks",
}

# Two objects for each step: a list and the list in it, both tracked by the collector.
_held: list[list[list[object]]] = []
_chunks: list[bytearray] = []


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", choices=list(STATES), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.state:
        print(json.dumps(measure_state(options.state)))
        return 0
    costs = {state: _measure_apart(state) for state in STATES}
    print(f"| reading | {' | '.join(STATES.values())} |")
    print(f"|---|{'---|' * len(STATES)}")
    for name in costs["small"]:
        cells = []
        for state in STATES:
            cost = costs[state].get(name)
            cells.append("" if cost is None else f"{_tell(cost[0])} ({_tell(cost[1])})")
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


def measure_state(state: str) -> dict[str, tuple[float, float]]:
    """Return, for each reading, the median and the least CPU seconds it takes in this state of the heap."""
    set_up = {"small": lambda: None, "objects": _hold_objects, "fragmented": _free_every_other_chunk}
    readings = _readings()
    set_up[state]()
    return {name: cost_of(read, prepare=prepare) for name, (read, prepare) in readings.items()}


def cost_of(
    read: Callable[[], object], *, prepare: Callable[[], object] | None = None
) -> tuple[float, float]:
    """Return the median and the least CPU seconds of one call; ``prepare`` runs before each, unmeasured."""
    began_s = time.process_time()
    read()
    once_s = time.process_time() - began_s
    calls = 1 if prepare else max(1, min(5000, int(_BATCH_S / max(once_s, 1e-7))))
    costs = []
    for _ in range(_BATCHES):
        if prepare:
            prepare()
        began_s = time.process_time()
        for _ in range(calls):
            read()
        costs.append((time.process_time() - began_s) / calls)
    return statistics.median(costs), min(costs)


def _readings() -> dict[str, tuple[Callable[[], object], Callable[[], object] | None]]:
    """Return every reading that works here, by what it is called in the table."""
    import psutil

    from pytest_memalert.collector import empty_free_lists
    from pytest_memalert.probes.memory import open_rss_reader
    from pytest_memalert.probes.peak import open_peak_windows
    from pytest_memalert.probes.sampler import Sampler

    process = psutil.Process()
    read_rss = open_rss_reader()
    sampler = Sampler({"peak"})
    exact = Sampler({"peak", "blocks"})
    windows = open_peak_windows(read_rss, interval_s=0.01)
    readings: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
        "resident memory, as the plugin reads it": (read_rss, None),
        "`psutil.Process.memory_info()`": (process.memory_info, None),
        "`psutil.Process.memory_full_info()` (USS)": (process.memory_full_info, None),
        "`sys.getallocatedblocks()`": (sys.getallocatedblocks, None),
        "`psutil.Process.num_fds()`": (process.num_fds, None),
        "`psutil.Process.num_threads()`": (process.num_threads, None),
        "`psutil.Process.io_counters()`": (process.io_counters, None),
        "`psutil.net_io_counters()`": (psutil.net_io_counters, None),
        "`time.process_time()`": (time.process_time, None),
        "high-water mark: reset and read": (lambda: windows.close(windows.open()), None),
        "a sample, with `--memalert-leaks=off`": (sampler.take, None),
        "a sample, by default (with blocks)": (exact.take, None),
        "`gc.freeze(); gc.unfreeze()`": (_freeze_and_thaw, None),
        "emptying the free lists, 500 objects in them": (empty_free_lists, _fill_free_lists),
        "`gc.collect(1)`, nothing new": (lambda: gc.collect(1), None),
        "`gc.collect(1)`, 1,000 new objects": (lambda: gc.collect(1), _make_young),
        "`gc.collect()`": (gc.collect, None),
    }
    if sys.platform == "linux":
        from resource import RUSAGE_SELF, getrusage

        from pytest_memalert.probes.procfs import ProcFile, reset_high_water_mark

        statm = ProcFile("statm", size_bytes=96)
        status = ProcFile("status", size_bytes=4096)
        readings["`/proc/self/statm` by `pread`"] = (statm.read, None)
        readings["`/proc/self/status` by `pread` (`VmHWM`)"] = (status.read, None)
        readings["`getrusage()` (`ru_maxrss`)"] = (lambda: getrusage(RUSAGE_SELF).ru_maxrss, None)
        readings["writing to `/proc/self/clear_refs`"] = (reset_high_water_mark, None)
        readings["listing `/proc/self/fd`"] = (lambda: list(Path("/proc/self/fd").iterdir()), None)
    if hasattr(psutil, "heap_info"):
        readings["`psutil.heap_info()`"] = (psutil.heap_info, None)
        # The last: once trimmed, the heap is no longer what was set up.
        readings["`psutil.heap_trim()`, once trimmed"] = (psutil.heap_trim, None)
    return readings


def _freeze_and_thaw() -> None:
    gc.freeze()
    gc.unfreeze()


def _fill_free_lists() -> None:
    made: list[object] = [(number, number) for number in range(300)]
    made += [[number] for number in range(80)]
    made += [float(number) for number in range(100)]
    del made


def _make_young() -> None:
    gc.collect(1)
    _held[:] = [*_held[:1], [[] for _ in range(1000)]]


def _hold_objects() -> None:
    # Off while they are made: collections in between would be all that takes time here.
    gc.disable()
    _held.append([[object()] for _ in range(LIVE_OBJECTS // 2)])
    gc.enable()
    gc.collect()


def _free_every_other_chunk() -> None:
    # Over 512 bytes, so from malloc; neighbors stay, so what is freed can't be merged.
    _chunks.extend(bytearray(1040 + 16 * (number % 8)) for number in range(2 * FREE_CHUNKS))
    del _chunks[::2]


def _measure_apart(state: str) -> dict[str, tuple[float, float]]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")])),
    }
    command = [sys.executable, __file__, "--state", state]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return {name: (cost[0], cost[1]) for name, cost in json.loads(done.stdout).items()}


def _tell(seconds: float) -> str:
    for factor, unit in ((1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


if __name__ == "__main__":
    raise SystemExit(main())
