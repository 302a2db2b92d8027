"""What malloc's heap loses each time that tracemalloc is started and stopped.

python benchmarks/tracemalloc_stops.py
"""

from __future__ import annotations

import json
import sys
import tracemalloc

from pytest_memalert.probes.memory import open_heap_reader

CYCLES = 500


def cycle() -> None:
    """Trace a little of what many tests do."""
    tracemalloc.start()
    json.dumps({str(number): [number] for number in range(300)})
    tracemalloc.stop()


def main() -> None:
    """Print the bytes per stop."""
    read = open_heap_reader()
    if read is None:
        raise SystemExit("psutil has no heap_info() here")
    for _ in range(50):
        cycle()
    before = read() or 0
    for _ in range(CYCLES):
        cycle()
    print(f"Python {sys.version.split()[0]}: {((read() or 0) - before) / CYCLES:.0f} bytes per stop")


if __name__ == "__main__":
    main()
