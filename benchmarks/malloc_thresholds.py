"""How much does the resident peak of one and the same code depend on what was freed before it?

    python benchmarks/malloc_thresholds.py

A list grows to 2 million entries, in processes that did different things before; with glibc's thresholds
as they are, and fixed. Prints Markdown: the peak in MiB, the least and the most of five runs.
"""

from __future__ import annotations

import json
import subprocess
import sys

RUNS = 5

#: What was done before, by how the table calls it.
BEFORE = {
    "nothing": "",
    "16 MiB freed": "block = bytearray(16 * 2**20); del block",
    "ten lists freed": "blocks = [list(range(n * 30_000)) for n in range(10)]; del blocks",
    "heap with holes": "kept = [bytes(2_000 + n) for n in range(20_000)]; del kept[::2]",
}

_RUN = """
import json
from pytest_memalert.probes.malloc import fix_thresholds, trim_heap
from pytest_memalert.probes.memory import open_rss_reader
from pytest_memalert.probes.peak import open_peak_windows
read_rss = open_rss_reader()
windows = open_peak_windows(read_rss, interval_s=0.001)
if {fix}:
    assert fix_thresholds(), "no glibc here"
{before}
peaks = []
for _ in range({runs}):
    trim_heap()
    before = read_rss()
    window = windows.open()
    entries = []
    for n in range(2_000_000):
        entries.append(None)
    del entries
    windows.close(window)
    peaks.append((window.highest_bytes - before) / 2**20)
print(json.dumps(peaks))
"""


def main() -> int:
    """Run each case in a process of its own; return the exit status."""
    print("| done before | thresholds as they are, MiB | fixed, MiB |")
    print("|---|---|---|")
    for name, before in BEFORE.items():
        cells = []
        for fix in (False, True):
            code = _RUN.format(fix=fix, before=before, runs=RUNS)
            done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            peaks = json.loads(done.stdout)
            cells.append(f"{min(peaks):.1f} to {max(peaks):.1f}")
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
